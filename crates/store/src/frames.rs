//! One segment by itself: sealed frames, written once from front to back, read back frame by frame.
//!
//! What the store's log is made of, for another log that orders its segments in a way of its own. The format is that of
//! `FORMAT.md`; which segments there should be, and how far each should reach, is for the caller to know.

use crate::{
    Disk, Error, KeyId, Keys, Preallocate,
    crypto::{SealingKey, Tag},
    layout::{
        FRAME_HEADER_BYTES, HEADER_BYTES, HeaderProblem, Link, SegmentHeader, parse_segment_name,
        segment_name,
    },
    segment::{FrameReader, SegmentWriter},
};
use std::io::ErrorKind;

/// Where a segment ends: its number, and the tag of its last frame (of its header when it has none). The segment that
/// follows names it, so that neither can be exchanged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentEnd {
    /// The number of the segment; 0 is before the first.
    pub segment: u64,
    /// The tag.
    pub tag: [u8; 16],
}

/// A segment that is being written.
pub struct FrameWriter {
    segment: SegmentWriter,
    preallocate: Preallocate,
    composed: Vec<u8>,
}

impl FrameWriter {
    /// Creates the file of segment `number` of the log `log`, encrypted with the current key of `keys`, and makes it
    /// durable. The number must never have been used with the same log.
    pub fn create(
        disk: &dyn Disk,
        keys: &Keys,
        log: [u8; 16],
        number: u64,
        previous: SegmentEnd,
        preallocate: Preallocate,
    ) -> Result<FrameWriter, Error> {
        let previous = Link { segment: previous.segment, tag: previous.tag };
        let segment = SegmentWriter::create(disk, keys, log, number, previous)?;
        Ok(FrameWriter { segment, preallocate, composed: Vec::new() })
    }

    /// Seals `body` as the next frame. It is written by [`FrameWriter::commit`].
    pub fn push(&mut self, body: &[u8]) -> Result<(), Error> {
        let start = self.segment.open_frame(&mut self.composed);
        debug_assert!(self.composed.len() >= start + FRAME_HEADER_BYTES);
        self.composed.extend_from_slice(body);
        self.segment.close_frame(&mut self.composed, start)
    }

    /// Writes the frames that were pushed and makes them durable. After an error nothing is known of the file, and the
    /// log must go on in another segment once what is in this one was read.
    pub fn commit(&mut self) -> Result<(), Error> {
        if !self.composed.is_empty() {
            self.segment.write(&self.composed, self.preallocate)?;
            self.composed.clear();
            self.composed.shrink_to(4 << 20);
        }
        if self.segment.is_dirty() { self.segment.sync() } else { Ok(()) }
    }

    /// Commits, and gives back room that was made ahead.
    pub fn finish(&mut self) -> Result<(), Error> {
        self.commit()?;
        self.segment.finish()
    }

    /// Where the segment ends, with the frames that were pushed.
    pub fn end(&self) -> SegmentEnd {
        let link = self.segment.composed_link();
        SegmentEnd { segment: link.segment, tag: link.tag }
    }

    /// Bytes of the segment, with the frames that were pushed.
    pub fn bytes(&self) -> u64 {
        self.segment.offset()
    }

    /// Bytes of the segment that are known to be durable.
    pub fn durable_bytes(&self) -> u64 {
        self.segment.entry.reached.offset
    }

    /// The key it is encrypted with.
    pub fn key(&self) -> KeyId {
        self.segment.entry.key
    }
}

/// A segment whose header is authentic.
pub struct SegmentFrames {
    pub(crate) header: SegmentHeader,
    pub(crate) header_tag: Tag,
    pub(crate) reader: FrameReader,
    /// Bytes of the file.
    pub(crate) length: u64,
}

/// What became of opening a segment.
pub enum OpenedSegment {
    /// There is no such file.
    Missing,
    /// Its header is not authentic, or is that of another segment or log.
    Unreadable {
        /// Bytes of the file.
        length: u64,
        /// Where the last byte is that is not zero.
        content: u64,
        /// Why, when the file itself may be sound: an unknown key or version.
        reason: Option<Error>,
    },
    /// It can be read.
    Sound(Box<SegmentFrames>),
}

impl SegmentFrames {
    /// Opens segment `number`, of the log `log` if that is known.
    pub fn open(
        disk: &dyn Disk,
        keys: &Keys,
        log: Option<[u8; 16]>,
        number: u64,
    ) -> Result<OpenedSegment, Error> {
        SegmentFrames::open_to(disk, keys, log, number, u64::MAX)
    }

    /// The same, reading frames up to the offset `limit`.
    pub(crate) fn open_to(
        disk: &dyn Disk,
        keys: &Keys,
        log: Option<[u8; 16]>,
        number: u64,
        limit: u64,
    ) -> Result<OpenedSegment, Error> {
        let name = segment_name(number);
        let path = disk.path(&name);
        let file = match disk.open(&name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(OpenedSegment::Missing),
            other => other.map_err(Error::io("open", &path))?,
        };
        let length = file.length().map_err(Error::io("measure", &path))?;
        let mut bytes = [0; HEADER_BYTES];
        let mut filled = 0;
        while filled < HEADER_BYTES {
            match file.read_at(&mut bytes[filled..], filled as u64).map_err(Error::io("read", &path))? {
                0 => break,
                more => filled += more,
            }
        }
        match authentic_header(keys, log, number, &bytes, &path)? {
            Ok((header, key, header_tag)) => {
                let reader = FrameReader::new(file, path, header.store, number, key, header_tag, limit);
                Ok(OpenedSegment::Sound(Box::new(SegmentFrames { header, header_tag, reader, length })))
            }
            Err(reason) => {
                let id = [0; 16];
                let key = SealingKey::derive(keys.current().1, &id, &[b"none"])?;
                let reader = FrameReader::new(file, path, id, number, key, id, 0);
                Ok(OpenedSegment::Unreadable { length, content: reader.last_content()?, reason })
            }
        }
    }

    /// Reads the next frame; false when what follows is not the next authentic frame.
    pub fn advance(&mut self) -> Result<bool, Error> {
        self.reader.advance()
    }

    /// The body of the frame that was read last.
    pub fn body(&self) -> &[u8] {
        self.reader.records()
    }

    /// The log that the segment is of.
    pub fn log(&self) -> [u8; 16] {
        self.header.store
    }

    /// The key it is encrypted with.
    pub fn key(&self) -> KeyId {
        self.header.key
    }

    /// The segment before, as this one knows it.
    pub fn previous(&self) -> SegmentEnd {
        SegmentEnd { segment: self.header.previous.segment, tag: self.header.previous.tag }
    }

    /// The end of the frame that was read last.
    pub fn end(&self) -> SegmentEnd {
        SegmentEnd { segment: self.header.segment, tag: self.reader.position().tag }
    }

    /// The offset in the file where that is.
    pub fn offset(&self) -> u64 {
        self.reader.position().offset
    }

    /// Frames that were read.
    pub fn frames(&self) -> u64 {
        self.reader.position().frames
    }

    /// The end of the last byte of the file that is not zero; at least [`SegmentFrames::offset`].
    pub fn content_end(&self) -> Result<u64, Error> {
        self.reader.last_content()
    }

    /// Whether what follows cannot be an unfinished write: an authentic frame behind it says that it had been durable.
    pub fn later_frame_proves_loss(&mut self) -> Result<bool, Error> {
        self.reader.later_frame_proves_loss()
    }
}

/// The numbers of the segments in `disk`, in order.
pub fn segment_numbers(disk: &dyn Disk) -> Result<Vec<u64>, Error> {
    let names = disk.list().map_err(Error::io("list", disk.path("")))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| parse_segment_name(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The name of a segment's file.
pub fn segment_file_name(number: u64) -> String {
    segment_name(number)
}

/// The header, the key of the segment and the header's tag; or why the header is not that of segment `number`.
#[allow(clippy::type_complexity)]
fn authentic_header(
    keys: &Keys,
    log: Option<[u8; 16]>,
    number: u64,
    bytes: &[u8; HEADER_BYTES],
    path: &std::path::Path,
) -> Result<Result<(SegmentHeader, SealingKey, Tag), Option<Error>>, Error> {
    let header = match SegmentHeader::parse(bytes) {
        Ok(header) => header,
        Err(HeaderProblem::Version(version)) => {
            return Ok(Err(Some(Error::UnknownVersion { path: path.into(), version })));
        }
        Err(HeaderProblem::NotAHeader) => return Ok(Err(None)),
    };
    let Some(master) = keys.secret(header.key) else {
        return Ok(Err(Some(Error::UnknownKey { path: path.into(), id: header.key })));
    };
    let key = header.derive_key(master)?;
    let Some(tag) = SegmentHeader::authenticate(bytes, &key) else { return Ok(Err(None)) };
    if header.segment != number || log.is_some_and(|log| log != header.store) {
        return Ok(Err(None));
    }
    Ok(Ok((header, key, tag)))
}
