//! Writing one segment, and reading one frame by frame.

use crate::{
    Disk, DiskFile, Error, Keys, Preallocate,
    crypto::{self, SealingKey, TAG_BYTES, Tag},
    layout::{
        BODY_PREFIX_BYTES, FRAME_HEADER_BYTES, FRAME_OVERHEAD, FrameHeader, HEADER_BYTES, Link,
        SegmentHeader, StoreId, frame_aad, segment_name,
    },
    manifest::{Entry, Position},
};
use std::path::PathBuf;

/// Writes larger than this share of the chunk are not worth zeros ahead.
const ZERO_SHARE: u64 = 8;
const READ_BYTES: usize = 512 << 10;

/// The segment that is being written.
pub(crate) struct SegmentWriter {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    store: StoreId,
    key: SealingKey,
    /// As the manifest shall know it; `reached` is what is durable.
    pub(crate) entry: Entry,
    /// Frames that were composed; those up to `written` were written.
    composed: Position,
    written: u64,
    allocated: u64,
}

impl SegmentWriter {
    /// Creates the file with its header and makes both durable.
    pub(crate) fn create(
        disk: &dyn Disk,
        keys: &Keys,
        store: StoreId,
        segment: u64,
        previous: Link,
    ) -> Result<SegmentWriter, Error> {
        let (id, master) = keys.current();
        let header = SegmentHeader { store, segment, key: id, salt: crypto::random()?, previous };
        let key = header.derive_key(master)?;
        let (bytes, tag) = header.seal(&key)?;
        let name = segment_name(segment);
        let path = disk.path(&name);
        let mut file = disk.create(&name).map_err(Error::io("create", &path))?;
        file.write_at(&bytes, 0).map_err(Error::io("write", &path))?;
        file.sync().map_err(Error::io("sync", &path))?;
        disk.sync_dir().map_err(Error::io("sync directory", disk.path("")))?;
        let start = Position { frames: 0, offset: HEADER_BYTES as u64, tag };
        let entry =
            Entry { segment, key: id, header_tag: tag, ended: false, gap_before: false, reached: start };
        let written = start.offset;
        Ok(SegmentWriter { file, path, store, key, entry, composed: start, written, allocated: written })
    }

    /// Opens a frame in `out`; records may be pushed behind it until [`SegmentWriter::close_frame`].
    pub(crate) fn open_frame(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(&[0; FRAME_HEADER_BYTES]);
        // A later frame thereby proves that the earlier ones were durable, and did not merely fail to be written.
        out.extend_from_slice(&self.entry.reached.frames.to_le_bytes());
        start
    }

    /// Seals the frame that began at `start` of `out`.
    pub(crate) fn close_frame(&mut self, out: &mut Vec<u8>, start: usize) -> Result<(), Error> {
        let length = out.len() - start - FRAME_HEADER_BYTES;
        let header = FrameHeader { length: length as u32, counter: self.composed.frames + 1 };
        let (head, body) = out[start..].split_at_mut(FRAME_HEADER_BYTES);
        head.copy_from_slice(&header.to_bytes());
        let aad =
            frame_aad(&self.store, self.entry.segment, self.composed.offset, header, &self.composed.tag);
        let tag = self.key.seal(header.counter, &aad, body)?;
        out.extend_from_slice(&tag);
        self.composed = Position {
            frames: header.counter,
            offset: self.composed.offset + (FRAME_OVERHEAD + length) as u64,
            tag,
        };
        Ok(())
    }

    /// Where the next frame would begin.
    pub(crate) fn offset(&self) -> u64 {
        self.composed.offset
    }

    /// The end of the last frame that was composed.
    pub(crate) fn composed_link(&self) -> Link {
        Link { segment: self.entry.segment, tag: self.composed.tag }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.composed.frames == 0
    }

    /// True when there are frames that no sync has covered.
    pub(crate) fn is_dirty(&self) -> bool {
        self.composed.frames != self.entry.reached.frames
    }

    /// Writes composed frames.
    pub(crate) fn write(&mut self, frames: &[u8], preallocate: Preallocate) -> Result<(), Error> {
        let end = self.written + frames.len() as u64;
        debug_assert_eq!(end, self.composed.offset);
        self.allocate(end, preallocate)?;
        self.file.write_at(frames, self.written).map_err(Error::io("write", &self.path))?;
        self.written = end;
        Ok(())
    }

    fn allocate(&mut self, end: u64, preallocate: Preallocate) -> Result<(), Error> {
        let (Preallocate::Reserve(chunk) | Preallocate::Zero(chunk)) = preallocate else { return Ok(()) };
        if end <= self.allocated || chunk == 0 {
            return Ok(());
        }
        // Zeros ahead of large writes would double what is written and save few syncs.
        if matches!(preallocate, Preallocate::Zero(_)) && end - self.written > chunk / ZERO_SHARE {
            self.allocated = end;
            return Ok(());
        }
        let target = end.div_ceil(chunk) * chunk;
        if matches!(preallocate, Preallocate::Reserve(_)) {
            self.file
                .reserve(self.allocated, target - self.allocated)
                .map_err(Error::io("reserve", &self.path))?;
        } else {
            let zeros = vec![0; (64 << 10).min(chunk as usize)];
            let mut at = end.max(self.allocated);
            while at < target {
                let take = zeros.len().min((target - at) as usize);
                self.file.write_at(&zeros[..take], at).map_err(Error::io("write", &self.path))?;
                at += take as u64;
            }
        }
        self.allocated = target;
        Ok(())
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("sync", &self.path))?;
        self.entry.reached = self.composed;
        Ok(())
    }

    /// Ends the segment where it is: gives back preallocated room, and syncs.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        if self.allocated > self.written {
            self.file.truncate(self.written).map_err(Error::io("truncate", &self.path))?;
            self.allocated = self.written;
        } else if !self.is_dirty() {
            return Ok(());
        }
        self.sync()
    }
}

/// A segment that is being read.
pub(crate) struct FrameReader {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    store: StoreId,
    segment: u64,
    key: SealingKey,
    at: Position,
    /// Where reading ends, when that is known ahead.
    limit: u64,
    window: Vec<u8>,
    window_start: u64,
    /// The body of the last frame, within the window.
    body: std::ops::Range<usize>,
}

impl FrameReader {
    /// Reads from after the header, up to `limit`.
    pub(crate) fn new(
        file: Box<dyn DiskFile>,
        path: PathBuf,
        store: StoreId,
        segment: u64,
        key: SealingKey,
        header_tag: Tag,
        limit: u64,
    ) -> FrameReader {
        let at = Position { frames: 0, offset: HEADER_BYTES as u64, tag: header_tag };
        FrameReader {
            file,
            path,
            store,
            segment,
            key,
            at,
            limit,
            window: Vec::new(),
            window_start: at.offset,
            body: 0..0,
        }
    }

    /// The end of the last authentic frame.
    pub(crate) fn position(&self) -> Position {
        self.at
    }

    pub(crate) fn into_key(self) -> SealingKey {
        self.key
    }

    /// The error for a frame that was authentic a moment ago and is not any more.
    pub(crate) fn changed_while_read(&self) -> Error {
        let problem =
            std::io::Error::new(std::io::ErrorKind::InvalidData, "the file changed after it was verified");
        Error::io("replay", &self.path)(problem)
    }

    /// Reads the next frame; false when what follows is not the next authentic frame.
    pub(crate) fn advance(&mut self) -> Result<bool, Error> {
        self.body = 0..0;
        let Some(start) = self.fill(self.at.offset, FRAME_HEADER_BYTES)? else { return Ok(false) };
        let Some(header) = FrameHeader::parse(&self.window[start..]) else { return Ok(false) };
        if header.counter != self.at.frames + 1 {
            return Ok(false);
        }
        let length = header.length as usize;
        let Some(start) = self.fill(self.at.offset, FRAME_OVERHEAD + length)? else { return Ok(false) };
        let body = start + FRAME_HEADER_BYTES;
        let sealed = &mut self.window[body..body + length + TAG_BYTES];
        let Some(tag) = sealed.last_chunk::<TAG_BYTES>().copied() else { return Ok(false) };
        let aad = frame_aad(&self.store, self.segment, self.at.offset, header, &self.at.tag);
        if self.key.open(header.counter, &aad, sealed).is_none() {
            return Ok(false);
        }
        self.body = body + BODY_PREFIX_BYTES..body + length;
        self.at = Position {
            frames: header.counter,
            offset: self.at.offset + (FRAME_OVERHEAD + length) as u64,
            tag,
        };
        Ok(true)
    }

    /// The records of the last frame.
    pub(crate) fn records(&self) -> &[u8] {
        &self.window[self.body.clone()]
    }

    /// The index in the window where `length` bytes from `offset` stand; `None` when the file is too short.
    fn fill(&mut self, offset: u64, length: usize) -> Result<Option<usize>, Error> {
        if offset + length as u64 > self.limit {
            return Ok(None);
        }
        let start = (offset - self.window_start) as usize;
        if start + length <= self.window.len() {
            return Ok(Some(start));
        }
        // What a header claims is no reason to allocate: the file must be that long.
        if self.limit == u64::MAX {
            self.limit = self.file.length().map_err(Error::io("measure", &self.path))?;
            return self.fill(offset, length);
        }
        self.window.drain(..start.min(self.window.len()));
        self.window_start = offset;
        let wanted = (length.max(READ_BYTES) as u64).min(self.limit - offset) as usize;
        let mut filled = self.window.len();
        self.window.resize(wanted.max(filled), 0);
        while filled < wanted {
            let at = offset + filled as u64;
            match self.file.read_at(&mut self.window[filled..], at).map_err(Error::io("read", &self.path))? {
                0 => break,
                more => filled += more,
            }
        }
        self.window.truncate(filled);
        Ok((length <= filled).then_some(0))
    }

    /// Looks behind the position for an authentic frame which says that more frames than were read had been durable.
    /// Returns true when there is one: then the unreadable part is no torn write.
    pub(crate) fn later_frame_proves_loss(&mut self) -> Result<bool, Error> {
        let length = self.file.length().map_err(Error::io("measure", &self.path))?;
        self.window = Vec::new();
        self.body = 0..0;
        // Bounds the work that a hostile file can cause: candidates are authenticated, which reads them whole.
        let mut budget = 4 * length + (1 << 20);
        let mut chunk = vec![0; READ_BYTES];
        let mut at = self.at.offset;
        while at + FRAME_OVERHEAD as u64 <= length {
            let read = self.file.read_at(&mut chunk, at).map_err(Error::io("read", &self.path))?;
            let Some(found) = FrameHeader::find(&chunk[..read]) else {
                if read < 4 {
                    return Ok(false);
                }
                at += read as u64 - 3;
                continue;
            };
            let candidate = at + found as u64;
            at = candidate + 1;
            let Some(frame) = self.candidate(candidate, length)? else { continue };
            budget = budget.saturating_sub(frame.bytes);
            if frame.durable.is_some_and(|durable| durable > self.at.frames) {
                return Ok(true);
            }
            if frame.durable.is_some() {
                at = candidate + frame.bytes;
            }
            if budget == 0 {
                return Ok(false);
            }
        }
        Ok(false)
    }

    fn candidate(&self, offset: u64, file_length: u64) -> Result<Option<Candidate>, Error> {
        // The 16 bytes before a frame are the tag it is chained to.
        let mut head = [0; TAG_BYTES + FRAME_HEADER_BYTES];
        let start = offset - TAG_BYTES as u64;
        if self.file.read_at(&mut head, start).map_err(Error::io("read", &self.path))? < head.len() {
            return Ok(None);
        }
        let (previous, header) = head.split_at(TAG_BYTES);
        let (Some(header), Ok(previous)) = (FrameHeader::parse(header), previous.try_into()) else {
            return Ok(None);
        };
        let bytes = (FRAME_OVERHEAD + header.length as usize) as u64;
        if header.counter <= self.at.frames || offset + bytes > file_length {
            return Ok(None);
        }
        let mut sealed = vec![0; header.length as usize + TAG_BYTES];
        let mut filled = 0;
        while filled < sealed.len() {
            let at = offset + (FRAME_HEADER_BYTES + filled) as u64;
            match self.file.read_at(&mut sealed[filled..], at).map_err(Error::io("read", &self.path))? {
                0 => return Ok(None),
                more => filled += more,
            }
        }
        let aad = frame_aad(&self.store, self.segment, offset, header, &previous);
        let body = self.key.open(header.counter, &aad, &mut sealed);
        let durable = body.and_then(|body| body.first_chunk().map(|bytes| u64::from_le_bytes(*bytes)));
        Ok(Some(Candidate { bytes, durable }))
    }

    /// The end of the last byte that is not zero at or after the position; the position itself when all are zero.
    pub(crate) fn last_content(&self) -> Result<u64, Error> {
        let mut end = self.at.offset;
        let mut chunk = vec![0; READ_BYTES];
        let mut at = self.at.offset;
        loop {
            let read = self.file.read_at(&mut chunk, at).map_err(Error::io("read", &self.path))?;
            if read == 0 {
                return Ok(end);
            }
            if let Some(last) = chunk[..read].iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            at += read as u64;
        }
    }
}

struct Candidate {
    bytes: u64,
    /// How many frames it says were durable, when it is authentic.
    durable: Option<u64>,
}
