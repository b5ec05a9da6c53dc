//! Replays the records of a verified log, oldest first, one frame in memory at a time.

use crate::{
    Disk, Error, Report,
    crypto::{SealingKey, Tag},
    layout::{RECORD_PREFIX_BYTES, Records, StoreId, segment_name},
    manifest::Position,
    segment::FrameReader,
};
use std::{collections::VecDeque, sync::Arc};

/// A segment that was verified.
pub(crate) struct Readable {
    pub(crate) segment: u64,
    pub(crate) header_tag: Tag,
    pub(crate) end: Position,
    pub(crate) key: SealingKey,
}

/// The records of the log, in order, and the report of what was found.
///
/// `open` verified the whole log before; here each frame is authenticated again, so a file that changes meanwhile
/// ends the stream with an error. An iterator over owned records; [`Recovery::next_record`] and
/// [`Recovery::for_each_record`] copy nothing.
pub struct Recovery {
    disk: Arc<dyn Disk>,
    store: StoreId,
    segments: VecDeque<Readable>,
    current: Option<(FrameReader, Position)>,
    /// Where the next record begins in the current frame's records.
    at: usize,
    report: Report,
    failed: bool,
}

impl Recovery {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        store: StoreId,
        segments: Vec<Readable>,
        report: Report,
    ) -> Recovery {
        Recovery { disk, store, segments: segments.into(), current: None, at: 0, report, failed: false }
    }

    /// What was found.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The next record; `None` at the end of the log.
    pub fn next_record(&mut self) -> Result<Option<&[u8]>, Error> {
        if self.failed {
            return Ok(None);
        }
        match self.find() {
            Ok(Some(length)) => {
                let start = self.at + RECORD_PREFIX_BYTES;
                self.at = start + length;
                let frame = self.current.as_ref().map(|(reader, _)| reader.records());
                Ok(frame.and_then(|records| records.get(start..start + length)))
            }
            Ok(None) => Ok(None),
            Err(error) => {
                self.failed = true;
                Err(error)
            }
        }
    }

    /// Gives every record to `visit`, in order; returns the report.
    pub fn for_each_record(mut self, mut visit: impl FnMut(&[u8])) -> Result<Report, Error> {
        while let Some(record) = self.next_record()? {
            visit(record);
        }
        Ok(self.report)
    }

    /// Moves to the next record and returns its length.
    fn find(&mut self) -> Result<Option<usize>, Error> {
        loop {
            let Some((reader, end)) = &mut self.current else {
                let Some(next) = self.segments.pop_front() else { return Ok(None) };
                let name = segment_name(next.segment);
                let path = self.disk.path(&name);
                let file = self.disk.open(&name).map_err(Error::io("open", &path))?;
                let reader = FrameReader::new(
                    file,
                    path,
                    self.store,
                    next.segment,
                    next.key,
                    next.header_tag,
                    next.end.offset,
                );
                self.current = Some((reader, next.end));
                self.at = 0;
                continue;
            };
            if let Some(record) = Records::new(&reader.records()[self.at..]).next() {
                return Ok(Some(record.len()));
            }
            self.at = 0;
            if reader.position() == *end {
                self.current = None;
            } else if !reader.advance()? {
                return Err(reader.changed_while_read());
            }
        }
    }
}

impl Iterator for Recovery {
    type Item = Result<Vec<u8>, Error>;

    fn next(&mut self) -> Option<Result<Vec<u8>, Error>> {
        self.next_record().map(|record| record.map(<[u8]>::to_vec)).transpose()
    }
}
