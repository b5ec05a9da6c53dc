//! The log as one thread sees it: append, sync, rotate, checkpoint, close. No threads and no clock in here.

use crate::{
    Disk, Error, Keys, Options, Preallocate, Recovery,
    layout::{FRAME_BYTES_TARGET, FRAME_HEADER_BYTES, Link, RECORD_PREFIX_BYTES, Records, segment_name},
    manifest::Manifest,
    repair,
    segment::SegmentWriter,
};
use std::sync::Arc;

/// Frames gather up to this size before they are written.
const WRITE_BYTES: usize = 4 << 20;
/// So many segments that are not due to the log's size are worth a checkpoint: each start begins a new one.
const SURPLUS_SEGMENTS_MAX: u64 = 64;

pub(crate) struct Log {
    disk: Arc<dyn Disk>,
    keys: Keys,
    manifest: Manifest,
    active: SegmentWriter,
    buffer: Vec<u8>,
    /// The start of the frame that is open in `buffer`.
    frame: Option<usize>,
    segment_bytes_max: u64,
    checkpoint_bytes_min: u64,
    checkpoint_growth: u64,
    preallocate: Preallocate,
    /// Bytes of the live segments before the active one.
    ended_bytes: u64,
    /// Where the manifest says the active segment reaches.
    anchored: u64,
    written_bytes: u64,
    /// Set by the first error: what is on disk is unknown from then on.
    failed: bool,
}

impl Log {
    /// Verifies the log in `disk`, repairs what may be repaired, and goes on with a new segment.
    pub(crate) fn open(
        disk: &Arc<dyn Disk>,
        keys: Keys,
        options: &Options,
    ) -> Result<(Log, Recovery), Error> {
        let (manifest, leftovers, recovery) = repair::prepare(disk, &keys, options.accept_damage)?;
        let log = Log::start(Arc::clone(disk), keys, manifest, options)?;
        // Only after the new manifest stands are the files it disowned removed.
        repair::remove(&**disk, &leftovers)?;
        Ok((log, recovery))
    }

    /// Continues the log that `manifest` describes, all of whose segments have ended, with a new segment.
    fn start(
        disk: Arc<dyn Disk>,
        keys: Keys,
        mut manifest: Manifest,
        options: &Options,
    ) -> Result<Log, Error> {
        let active = next_segment(&*disk, &keys, &mut manifest)?;
        manifest.closed_cleanly = false;
        manifest.write(&*disk, &keys)?;
        let ended_bytes = manifest.entries.iter().rev().skip(1).map(|entry| entry.reached.offset).sum();
        let anchored = active.offset();
        Ok(Log {
            disk,
            keys,
            manifest,
            active,
            buffer: Vec::new(),
            frame: None,
            segment_bytes_max: options.segment_bytes_max,
            checkpoint_bytes_min: options.checkpoint_bytes_min,
            checkpoint_growth: options.checkpoint_growth,
            preallocate: options.preallocate,
            ended_bytes,
            anchored,
            written_bytes: 0,
            failed: false,
        })
    }

    /// Encrypts and writes the records of well-formed batches, in this order. They are durable after the next sync.
    pub(crate) fn append<'a>(&mut self, batches: impl Iterator<Item = &'a [u8]>) -> Result<(), Error> {
        self.guarded(|log| {
            for batch in batches {
                log.append_batch(batch)?;
            }
            log.flush()
        })
    }

    /// Makes everything durable that was appended.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        self.guarded(|log| log.active.sync())
    }

    /// True when something was appended since the last sync.
    pub(crate) fn is_dirty(&self) -> bool {
        self.active.is_dirty()
    }

    /// Begins a segment from which a checkpoint's records are written; returns it.
    pub(crate) fn begin_checkpoint(&mut self) -> Result<u64, Error> {
        self.guarded(|log| {
            if !log.active.is_empty() {
                log.next()?;
            }
            Ok(log.active.entry.segment)
        })
    }

    /// Deletes the segments before `first`: all state is in the records from there on. Then drops the keys that no
    /// segment uses any more. An error of the key file does not fail the log; it is returned apart.
    pub(crate) fn end_checkpoint(&mut self, first: u64) -> Result<Result<(), Error>, Error> {
        self.guarded(|log| {
            log.active.sync()?;
            log.store_active();
            let obsolete: Vec<u64> = log.manifest.entries.iter().map(|entry| entry.segment).collect();
            log.manifest.entries.retain(|entry| entry.segment >= first);
            log.count_ended();
            log.manifest.checkpoint_bytes = log.live_bytes();
            // Only after the manifest disowned them may they go.
            log.write_manifest()?;
            for segment in obsolete.into_iter().filter(|segment| *segment < first) {
                let name = segment_name(segment);
                log.disk.remove(&name).map_err(Error::io("remove", log.disk.path(&name)))?;
            }
            log.disk.sync_dir().map_err(Error::io("sync directory", log.disk.path("")))?;
            let used: Vec<_> = log.manifest.entries.iter().map(|entry| entry.key).collect();
            Ok(log.keys.drop_unused(&used).map(|_| ()))
        })
    }

    /// Records in the manifest how far the log is durable, so that a later cut is noticed.
    pub(crate) fn anchor(&mut self) -> Result<(), Error> {
        self.guarded(|log| {
            log.store_active();
            log.write_manifest()
        })
    }

    /// How many durable bytes the manifest does not know of.
    pub(crate) fn unanchored_bytes(&self) -> u64 {
        self.active.entry.reached.offset.saturating_sub(self.anchored)
    }

    /// Writes new segments with the current key of `keys` from now on; keeps the old keys to read with.
    pub(crate) fn replace_keys(&mut self, keys: Keys) -> Result<(), Error> {
        keys.check_file()?;
        self.guarded(|log| {
            let older = std::mem::replace(&mut log.keys, keys);
            log.keys.adopt(older);
            log.next()
        })
    }

    /// Ends the log: everything is durable, and the manifest says exactly how far it reaches.
    pub(crate) fn close(&mut self) -> Result<(), Error> {
        self.guarded(|log| {
            log.active.finish()?;
            log.active.entry.ended = true;
            log.store_active();
            log.manifest.closed_cleanly = true;
            log.write_manifest()
        })
    }

    /// True when the log has grown so much that a checkpoint is due.
    pub(crate) fn checkpoint_due(&self) -> bool {
        let limit = self
            .checkpoint_bytes_min
            .max(self.manifest.checkpoint_bytes.saturating_mul(self.checkpoint_growth));
        let deserved = self.live_bytes() / self.segment_bytes_max.max(1) + SURPLUS_SEGMENTS_MAX;
        self.live_bytes() > limit || self.segments() > deserved
    }

    /// Bytes of all live segments.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.ended_bytes + self.active.offset()
    }

    /// The number of live segments.
    pub(crate) fn segments(&self) -> u64 {
        self.manifest.entries.len() as u64
    }

    /// Bytes of frames that were written since the start.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    fn append_batch(&mut self, mut batch: &[u8]) -> Result<(), Error> {
        while !batch.is_empty() {
            let start = self.frame_start()?;
            let room = FRAME_BYTES_TARGET.saturating_sub(self.buffer.len() - start);
            let mut take = if batch.len() <= room { batch.len() } else { Records::split(batch, room) };
            if take == 0 && self.buffer.len() - start > FRAME_HEADER_BYTES + crate::layout::BODY_PREFIX_BYTES
            {
                self.close_frame()?;
                continue;
            }
            if take == 0 {
                // A record larger than a frame makes a frame of its own.
                let first = Records::new(batch)
                    .next()
                    .map_or(batch.len(), |record| record.len() + RECORD_PREFIX_BYTES);
                take = first.min(batch.len());
            }
            self.buffer.extend_from_slice(&batch[..take]);
            batch = &batch[take..];
            if self.buffer.len() - start >= FRAME_BYTES_TARGET {
                self.close_frame()?;
            }
        }
        Ok(())
    }

    fn frame_start(&mut self) -> Result<usize, Error> {
        if let Some(start) = self.frame {
            return Ok(start);
        }
        if self.active.offset() >= self.segment_bytes_max && !self.active.is_empty() {
            self.next()?;
        }
        let start = self.active.open_frame(&mut self.buffer);
        self.frame = Some(start);
        Ok(start)
    }

    fn close_frame(&mut self) -> Result<(), Error> {
        if let Some(start) = self.frame.take() {
            self.active.close_frame(&mut self.buffer, start)?;
            if self.buffer.len() >= WRITE_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if let Some(start) = self.frame.take() {
            self.active.close_frame(&mut self.buffer, start)?;
        }
        if !self.buffer.is_empty() {
            self.active.write(&self.buffer, self.preallocate)?;
            self.written_bytes += self.buffer.len() as u64;
            self.buffer.clear();
            self.buffer.shrink_to(2 * WRITE_BYTES);
        }
        Ok(())
    }

    fn next(&mut self) -> Result<(), Error> {
        self.flush()?;
        self.active.finish()?;
        self.active.entry.ended = true;
        self.store_active();
        self.active = next_segment(&*self.disk, &self.keys, &mut self.manifest)?;
        // Frames go into a segment only after the manifest knows it: an unknown segment with frames is proof that
        // the manifest was replaced by an older one.
        self.write_manifest()?;
        self.count_ended();
        Ok(())
    }

    fn store_active(&mut self) {
        if let Some(last) = self.manifest.entries.last_mut() {
            let gap_before = last.gap_before;
            last.clone_from(&self.active.entry);
            last.gap_before = gap_before;
        }
    }

    fn write_manifest(&mut self) -> Result<(), Error> {
        self.manifest.write(&*self.disk, &self.keys)?;
        self.anchored = self.active.entry.reached.offset;
        Ok(())
    }

    fn count_ended(&mut self) {
        let ended = self.manifest.entries.iter().rev().skip(1);
        self.ended_bytes = ended.map(|entry| entry.reached.offset).sum();
    }

    /// After the first error nothing is attempted again: a file whose sync failed once cannot be trusted, even when
    /// a second sync succeeds.
    fn guarded<T>(&mut self, run: impl FnOnce(&mut Log) -> Result<T, Error>) -> Result<T, Error> {
        if self.failed {
            return Err(Error::Failed);
        }
        let result = run(self);
        self.failed |= result.is_err();
        result
    }
}

fn next_segment(disk: &dyn Disk, keys: &Keys, manifest: &mut Manifest) -> Result<SegmentWriter, Error> {
    let previous = manifest.entries.last().map_or(Link { segment: 0, tag: [0; 16] }, |entry| entry.link());
    let active = SegmentWriter::create(disk, keys, manifest.store, manifest.next_segment, previous)?;
    manifest.next_segment += 1;
    manifest.entries.push(active.entry.clone());
    Ok(active)
}
