//! The record as one thread writes it: append, commit, sign, begin segments, delete the oldest. No thread and no clock.

use crate::body;
use crate::chain::{Chain, Salt, hex};
use crate::entry::{Damaged, Entry, Gap, Pruned, SegmentBegin, Started, What};
use crate::error::Error;
use crate::head::Head;
use crate::open::{self, Found};
use crate::ring::Ring;
use ravelin_store::{Disk, FrameWriter, KeyId, Keys, Preallocate, SegmentEnd, segment_file_name};
use std::sync::Arc;

/// Frames are closed when they reach this size.
const FRAME_BYTES: usize = 256 << 10;
const PREALLOCATE: Preallocate = Preallocate::Zero(256 << 10);
/// Salts that are drawn at once.
const SALTS: usize = 256;

/// A segment that has ended or is being written.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub number: u64,
    pub key: KeyId,
    /// The chain before its first entry.
    pub before: Chain,
    /// When it began.
    pub began_ms: u64,
    pub bytes: u64,
}

/// What was found when the record was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenReport {
    /// True when there was none.
    pub created: bool,
    /// Bytes of an unfinished write that were cut off the end.
    pub torn_bytes: u64,
    /// What was damaged at the end of the record, as far as it had to be read.
    pub damage: Vec<String>,
    /// The last entry.
    pub sequence: u64,
}

/// What a record is opened with again after a failure.
pub(crate) struct Parts {
    pub disk: Arc<dyn Disk>,
    pub store: Arc<Keys>,
    /// The segment that was written, and how much of it is known to be durable. What follows can perhaps be read, but a
    /// file whose sync failed once is not trusted: it is cut off, and written again elsewhere.
    doubtful: Option<(u64, u64)>,
}

impl Parts {
    /// Cuts off what is not known to be durable.
    pub fn settle(&mut self) -> Result<(), Error> {
        let Some((segment, bytes)) = self.doubtful else { return Ok(()) };
        match open::cut(&*self.disk, segment, bytes) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
        self.doubtful = None;
        Ok(())
    }
}

/// The record as it is written.
pub(crate) struct RecordLog {
    disk: Arc<dyn Disk>,
    store: Arc<Keys>,
    ring: Ring,
    node: String,
    version: String,
    chain: Chain,
    segment: FrameWriter,
    /// Oldest first; the last is the one that is written.
    segments: Vec<Segment>,
    body: Vec<u8>,
    salts: Vec<u8>,
    /// Entries since the last checkpoint.
    pub unsigned: u64,
    segment_bytes_max: u64,
    /// What `HEAD` says.
    newest: Option<Head>,
}

impl RecordLog {
    /// Opens the record in `disk`, or makes one; goes on in a new segment.
    pub fn open(
        disk: Arc<dyn Disk>,
        store: Arc<Keys>,
        names: (&str, &str),
        segment_bytes_max: u64,
        now_ms: u64,
    ) -> Result<(RecordLog, OpenReport), Error> {
        let (mut log, report, lost_after) =
            RecordLog::prepare(disk, store, names, segment_bytes_max, now_ms)?;
        log.begin(&report, lost_after, now_ms)?;
        Ok((log, report))
    }

    /// The same after a failure, with what is needed to try once more if it fails again.
    pub fn open_again(
        mut parts: Parts,
        names: (&str, &str),
        segment_bytes_max: u64,
        now_ms: u64,
    ) -> Result<RecordLog, (Parts, Error)> {
        if let Err(error) = parts.settle() {
            return Err((parts, error));
        }
        let (disk, store) = (Arc::clone(&parts.disk), Arc::clone(&parts.store));
        match RecordLog::prepare(disk, store, names, segment_bytes_max, now_ms) {
            Err(error) => Err((parts, error)),
            Ok((mut log, report, lost_after)) => match log.begin(&report, lost_after, now_ms) {
                Ok(()) => Ok(log),
                Err(error) => Err((log.into_parts(), error)),
            },
        }
    }

    fn prepare(
        disk: Arc<dyn Disk>,
        store: Arc<Keys>,
        names: (&str, &str),
        segment_bytes_max: u64,
        now_ms: u64,
    ) -> Result<(RecordLog, OpenReport, Option<u64>), Error> {
        let found = open::find(&*disk, &store)?;
        let Found { ring, mut segments, chain, last, torn, damage, lost_after, created, .. } = found;
        let mut report = OpenReport { created, torn_bytes: 0, damage, sequence: chain.sequence };
        // Also without an unfinished write: what a killed process left may be in the cache of the system alone.
        if let Some(torn) = torn {
            report.torn_bytes = torn.bytes;
            open::cut(&*disk, torn.segment, torn.offset)?;
        }
        let number = open::next_number(&*disk)?;
        let segment = FrameWriter::create(&*disk, &ring.data, ring.record, number, last, PREALLOCATE)?;
        segments.push(Segment { number, key: segment.key(), before: chain, began_ms: now_ms, bytes: 0 });
        let log = RecordLog {
            disk,
            store,
            ring,
            node: names.0.into(),
            version: names.1.into(),
            chain,
            segment,
            segments,
            body: Vec::new(),
            salts: Vec::new(),
            unsigned: 0,
            segment_bytes_max,
            newest: None,
        };
        Ok((log, report, lost_after))
    }

    /// The first entries of a start.
    fn begin(&mut self, report: &OpenReport, lost_after: Option<u64>, now_ms: u64) -> Result<(), Error> {
        self.push_segment_entry(now_ms)?;
        if let Some(after) = lost_after {
            let damaged = Damaged { after, before: self.chain.sequence, detail: report.damage.join("; ") };
            self.append(&Entry::new(now_ms, What::Damaged(damaged)))?;
        }
        let started =
            Started { node: self.node.clone(), version: self.version.clone(), torn_bytes: report.torn_bytes };
        self.append(&Entry::new(now_ms, What::Started(started)))?;
        self.checkpoint(now_ms, false)?;
        // The key of the store was rotated while nobody wrote.
        if self.ring.sealed_with != self.store.current_id() {
            self.rotate_keys(None, now_ms)?;
        }
        Ok(())
    }

    /// What `HEAD` says.
    pub fn newest_head(&self) -> Option<&Head> {
        self.newest.as_ref()
    }

    /// The last entry.
    pub fn sequence(&self) -> u64 {
        self.chain.sequence
    }

    /// The id of the record.
    pub fn record(&self) -> [u8; 16] {
        self.ring.record
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        let ended: u64 = self.segments.iter().rev().skip(1).map(|segment| segment.bytes).sum();
        ended + self.segment.bytes() + self.body.len() as u64
    }

    /// How many segments there are.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// The first entry that is there, and when its segment began.
    pub fn oldest(&self) -> (u64, u64) {
        self.segments.first().map_or((0, 0), |segment| (segment.before.sequence + 1, segment.began_ms))
    }

    /// Adds an entry. It is on disk after [`RecordLog::commit`].
    pub fn append(&mut self, entry: &Entry) -> Result<(), Error> {
        let text = entry.to_json();
        debug_assert!(text.len() <= body::TEXT_BYTES_MAX);
        let salt = self.salt()?;
        self.chain.add(&salt, text.as_bytes());
        body::push(&mut self.body, &salt, text.as_bytes());
        self.unsigned += 1;
        if self.body.len() >= FRAME_BYTES { self.close_frame() } else { Ok(()) }
    }

    /// Makes all entries durable.
    pub fn commit(&mut self) -> Result<(), Error> {
        self.close_frame()?;
        Ok(self.segment.commit()?)
    }

    /// Signs for all entries, makes them durable, and says so in `HEAD`. `closed`: nothing follows.
    pub fn checkpoint(&mut self, now_ms: u64, closed: bool) -> Result<Head, Error> {
        let checkpoint = self.ring.signer.sign(self.ring.record, &self.chain, now_ms, closed)?;
        let head = Head::new(checkpoint.clone(), self.ring.signer.public());
        self.append(&Entry::new(now_ms, What::Checkpoint(checkpoint)))?;
        self.unsigned = 0;
        self.commit()?;
        head.write(&*self.disk)?;
        self.newest = Some(head.clone());
        Ok(head)
    }

    /// Begins a new segment when this one is large enough.
    pub fn rotate_if_due(&mut self, now_ms: u64) -> Result<(), Error> {
        if self.segment.bytes() < self.segment_bytes_max { Ok(()) } else { self.rotate(now_ms) }
    }

    fn rotate(&mut self, now_ms: u64) -> Result<(), Error> {
        self.checkpoint(now_ms, false)?;
        self.segment.finish()?;
        if let Some(last) = self.segments.last_mut() {
            last.bytes = self.segment.bytes();
        }
        self.begin_segment(self.segment.end(), now_ms)
    }

    fn begin_segment(&mut self, previous: SegmentEnd, now_ms: u64) -> Result<(), Error> {
        let number = open::next_number(&*self.disk)?;
        let (keys, record) = (&self.ring.data, self.ring.record);
        self.segment = FrameWriter::create(&*self.disk, keys, record, number, previous, PREALLOCATE)?;
        let (key, before) = (self.segment.key(), self.chain);
        self.segments.push(Segment { number, key, before, began_ms: now_ms, bytes: 0 });
        self.push_segment_entry(now_ms)
    }

    /// The first entry of a segment, in a frame of its own: it is read alone to know where the segment stands.
    fn push_segment_entry(&mut self, now_ms: u64) -> Result<(), Error> {
        let begin = SegmentBegin {
            record: hex(&self.ring.record),
            segment: self.segments.last().map_or(0, |segment| segment.number),
            sequence: self.chain.sequence + 1,
            head: hex(&self.chain.head),
            signer: self.ring.signer.public().to_entry(),
        };
        self.append(&Entry::new(now_ms, What::Segment(begin)))?;
        self.close_frame()
    }

    /// Deletes the oldest segments: all that ended before `keep_from_ms`, and further ones down to `bytes_max` if `force`.
    /// Returns the last entry that was deleted, if any was.
    pub fn prune(
        &mut self,
        keep_from_ms: u64,
        bytes_max: u64,
        force: bool,
        now_ms: u64,
    ) -> Result<Option<u64>, Error> {
        let mut bytes = self.bytes();
        let (mut by_age, mut by_size) = (0, 0);
        for pair in self.segments.windows(2) {
            // It ended when the next one began.
            if by_size == 0 && pair[1].began_ms < keep_from_ms {
                by_age += 1;
            } else if force && bytes > bytes_max {
                by_size += 1;
            } else {
                break;
            }
            bytes = bytes.saturating_sub(pair[0].bytes);
        }
        let count = by_age + by_size;
        let Some(first_kept) = self.segments.get(count).filter(|_| count > 0) else { return Ok(None) };
        let up_to = first_kept.before;
        let why = if by_size > 0 { "the record had reached its largest size" } else { "retention" };
        let pruned =
            Pruned { up_to: up_to.sequence, head: hex(&up_to.head), segments: count as u64, why: why.into() };
        // Signed and on disk before the first file goes: a deletion that nobody signed for is damage.
        self.append(&Entry::new(now_ms, What::Pruned(pruned)))?;
        self.checkpoint(now_ms, false)?;
        while self.segments.first().is_some_and(|segment| segment.before.sequence < up_to.sequence) {
            let name = segment_file_name(self.segments[0].number);
            self.disk.remove(&name).map_err(Error::io("remove", self.disk.path(&name)))?;
            self.segments.remove(0);
        }
        self.disk.sync_dir().map_err(Error::io("sync directory", self.disk.path("")))?;
        let used: Vec<KeyId> = self.segments.iter().map(|segment| segment.key).collect();
        self.ring.retain(&*self.disk, &self.store, &used)?;
        Ok(Some(up_to.sequence))
    }

    /// Encrypts and signs with new keys from now on, sealed with the current key of `store` (or of the keys it has).
    pub fn rotate_keys(&mut self, store: Option<Keys>, now_ms: u64) -> Result<(), Error> {
        if let Some(store) = store {
            self.store = Arc::new(store);
        }
        let ring = self.ring.rotated(&self.store)?;
        // The old key signs for the new one; if the node ends before the new one is on disk, the old one goes on.
        let public = ring.signer.public().to_entry();
        self.append(&Entry::new(now_ms, What::Signer(public)))?;
        self.checkpoint(now_ms, false)?;
        self.segment.finish()?;
        if let Some(last) = self.segments.last_mut() {
            last.bytes = self.segment.bytes();
        }
        ring.write(&*self.disk, &self.store)?;
        self.ring = ring;
        self.begin_segment(self.segment.end(), now_ms)?;
        self.checkpoint(now_ms, false)?;
        Ok(())
    }

    /// Says that entries were lost.
    pub fn gap(&mut self, lost: u64, since_ms: u64, why: &str, now_ms: u64) -> Result<(), Error> {
        self.append(&Entry::new(now_ms, What::Gap(Gap { lost, since_ms, why: why.into() })))
    }

    /// The last entry and the last signature.
    pub fn close(&mut self, now_ms: u64) -> Result<Head, Error> {
        self.append(&Entry::new(now_ms, What::Stopped {}))?;
        let head = self.checkpoint(now_ms, true)?;
        self.segment.finish()?;
        Ok(head)
    }

    /// What is needed to open the record again after a failure.
    pub fn into_parts(self) -> Parts {
        let number = self.segments.last().map_or(0, |segment| segment.number);
        Parts { disk: self.disk, store: self.store, doubtful: Some((number, self.segment.durable_bytes())) }
    }

    fn close_frame(&mut self) -> Result<(), Error> {
        if !self.body.is_empty() {
            self.segment.push(&self.body)?;
            self.body.clear();
        }
        Ok(())
    }

    fn salt(&mut self) -> Result<Salt, Error> {
        if self.salts.is_empty() {
            self.salts.resize(SALTS * size_of::<Salt>(), 0);
            aws_lc_rs::rand::fill(&mut self.salts)
                .map_err(|_| Error::Crypto { operation: "draw random bytes" })?;
        }
        let at = self.salts.len() - size_of::<Salt>();
        let mut salt = Salt::default();
        salt.copy_from_slice(&self.salts[at..]);
        self.salts.truncate(at);
        Ok(salt)
    }
}
