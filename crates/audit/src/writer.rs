//! The life of the thread that writes: take, write, sync, tell; sign; delete what is old; survive a disk that fails.

use crate::entry::{Entry, Gap, What};
use crate::error::Error;
use crate::log::{OpenReport, Parts, RecordLog};
use crate::recorder::{Draft, Notice, Notify, OnFull, Options, Queue, Shared, lock};
use ravelin_store::{Disk, Keys};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the thread looks at the clock when nothing happens.
const IDLE: Duration = Duration::from_millis(500);
/// How often a disk that fails is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// How often it is looked for segments to delete.
const PRUNE_MS: u64 = 60_000;
/// The clock was set if it differs by more from what the monotonic one says.
const JUMP_MS: u64 = 1000;
/// Beyond its largest size a record takes so much more of what is not traffic: what is administered while it is full.
const RESERVE_BYTES: u64 = 64 << 20;

pub(crate) struct Writer {
    /// `None` while the disk fails.
    log: Option<RecordLog>,
    /// What the log is opened with again.
    parts: Option<Parts>,
    options: Options,
    shared: Arc<Shared>,
    notify: Notify,
    /// Entries that are not known to be durable, oldest first.
    pending: VecDeque<Entry>,
    /// The last batch of them, and what they count for in the queue.
    ticket: u64,
    bytes: u64,
    lost: Lost,
    full: bool,
    signed_at: Instant,
    tried_at: Instant,
    next_prune_ms: u64,
    clock: (Instant, u64),
}

/// What was lost and is not told of yet.
#[derive(Default)]
struct Lost {
    count: u64,
    since_ms: u64,
    why: &'static str,
}

pub(crate) fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Writer {
    pub fn open(
        disk: Arc<dyn Disk>,
        store: Keys,
        options: Options,
        shared: Arc<Shared>,
        now_ms: u64,
        notify: Notify,
    ) -> Result<(Writer, OpenReport), Error> {
        let names = (options.node.as_str(), options.version.as_str());
        let (log, report) = RecordLog::open(disk, Arc::new(store), names, options.segment_bytes_max, now_ms)?;
        let writer = Writer {
            log: Some(log),
            parts: None,
            options,
            shared,
            notify,
            pending: VecDeque::new(),
            ticket: 0,
            bytes: 0,
            lost: Lost::default(),
            full: false,
            signed_at: Instant::now(),
            tried_at: Instant::now(),
            next_prune_ms: 0,
            clock: (Instant::now(), now_ms),
        };
        writer.publish_status(None);
        Ok((writer, report))
    }

    pub fn run(mut self) -> Result<(), Error> {
        loop {
            let (drafts, closed) = self.take();
            let now_ms = self.watch_clock();
            self.accept(drafts, now_ms);
            let written = self.write(now_ms);
            self.rotate_keys(now_ms);
            // Where nothing may be lost, what could not be written goes on waiting, and keeps its place in the queue.
            if written || self.options.on_full != OnFull::Refuse {
                self.shared.publish(self.ticket, std::mem::take(&mut self.bytes));
            }
            if closed {
                return self.close(now_ms);
            }
        }
    }

    /// Waits for something to do.
    fn take(&mut self) -> (Vec<Draft>, bool) {
        let shared = Arc::clone(&self.shared);
        let failing = self.log.is_none();
        let queue = lock(&shared.queue);
        let nothing = |queue: &mut Queue| {
            !queue.closed
                && (failing || queue.drafts.is_empty() && queue.keys.is_none() && queue.dropped == 0)
        };
        let waited = shared.filled.wait_timeout_while(queue, IDLE, nothing);
        let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        let drafts = std::mem::take(&mut queue.drafts);
        let dropped = std::mem::take(&mut queue.dropped);
        self.bytes += drafts.iter().map(|draft| draft.bytes as u64).sum::<u64>();
        self.ticket = queue.ticket;
        let closed = queue.closed;
        drop(queue);
        if dropped > 0 {
            self.lose(dropped, wall_ms(), "the queue of the record was full");
        }
        (drafts, closed)
    }

    fn accept(&mut self, drafts: Vec<Draft>, now_ms: u64) {
        let log_bytes = self.log.as_ref().map_or(0, RecordLog::bytes);
        let over = log_bytes > self.options.bytes_max.saturating_add(RESERVE_BYTES);
        let failing = self.log.is_none() && self.options.on_full != OnFull::Refuse;
        let full = self.full && self.options.on_full == OnFull::Gap;
        for draft in drafts {
            if failing {
                self.lose(1, now_ms, "the disk failed");
            } else if over || full && draft.is_traffic {
                self.lose(1, now_ms, "the record had its largest size");
            } else {
                self.pending.push_back(draft.make());
            }
        }
    }

    fn lose(&mut self, count: u64, now_ms: u64, why: &'static str) {
        if self.lost.count == 0 {
            (self.lost.since_ms, self.lost.why) = (now_ms, why);
        }
        self.lost.count += count;
        lock(&self.shared.status).lost += count;
    }

    /// Brings everything pending to disk; false if the disk refuses.
    fn write(&mut self, now_ms: u64) -> bool {
        if self.log.is_none() && !self.reopen(now_ms) {
            return false;
        }
        let result = self.try_write(now_ms);
        match &result {
            Ok(()) => self.publish_status(None),
            Err(error) => self.fail(error),
        }
        result.is_ok()
    }

    fn try_write(&mut self, now_ms: u64) -> Result<(), Error> {
        let Some(log) = &mut self.log else { return Err(Error::Closed) };
        // A gap is told before what came after it. While the record is full it goes on growing, and is told at its end.
        if self.lost.count > 0 && !self.full {
            let Lost { count: lost, since_ms, why } = std::mem::take(&mut self.lost);
            let gap = Gap { lost, since_ms, why: why.into() };
            self.pending.push_front(Entry::new(now_ms, What::Gap(gap)));
        }
        for entry in &self.pending {
            log.append(entry)?;
        }
        log.commit()?;
        self.pending.clear();
        let due = self.signed_at.elapsed() >= self.options.checkpoint_interval
            || log.unsigned >= self.options.checkpoint_entries;
        if log.unsigned > 0 && due {
            let head = log.checkpoint(now_ms, false)?;
            (self.notify)(Notice::Signed(Box::new(head)));
        }
        if log.unsigned == 0 {
            self.signed_at = Instant::now();
        }
        log.rotate_if_due(now_ms)?;
        self.prune(now_ms)
    }

    fn prune(&mut self, now_ms: u64) -> Result<(), Error> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let over = log.bytes() > self.options.bytes_max;
        if now_ms >= self.next_prune_ms || over && !self.full {
            self.next_prune_ms = now_ms + PRUNE_MS;
            let keep_from_ms = match self.options.retention.as_millis() as u64 {
                0 => 0,
                retention_ms => now_ms.saturating_sub(retention_ms),
            };
            let force = self.options.on_full == OnFull::Prune;
            if let Some(up_to) = log.prune(keep_from_ms, self.options.bytes_max, force, now_ms)? {
                (self.notify)(Notice::Pruned { up_to });
            }
        }
        let full = log.bytes() > self.options.bytes_max && self.options.on_full != OnFull::Prune;
        if full != std::mem::replace(&mut self.full, full) {
            let refusing = full && self.options.on_full == OnFull::Refuse;
            self.shared.refusing.store(refusing, Ordering::Relaxed);
            if full {
                (self.notify)(Notice::Full { refusing });
            } else {
                (self.notify)(Notice::Recovered { lost: self.lost.count });
            }
        }
        Ok(())
    }

    /// The disk refused: what is in the log is not known any more, and is found out when it is opened again.
    fn fail(&mut self, error: &Error) {
        if let Some(log) = self.log.take() {
            self.parts = Some(log.into_parts());
            let refusing = self.options.on_full == OnFull::Refuse;
            self.shared.refusing.store(refusing, Ordering::Relaxed);
            self.publish_status(Some(told(error)));
            (self.notify)(Notice::Failed { error: told(error), refusing });
            if !refusing {
                let lost = self.pending.len() as u64;
                self.pending.clear();
                self.lose(lost, wall_ms(), "the disk failed");
            }
        }
        self.tried_at = Instant::now();
        self.publish_status(Some(told(error)));
    }

    fn reopen(&mut self, now_ms: u64) -> bool {
        if self.tried_at.elapsed() < RETRY {
            return false;
        }
        let Some(parts) = self.parts.take() else { return false };
        let names = (self.options.node.as_str(), self.options.version.as_str());
        match RecordLog::open_again(parts, names, self.options.segment_bytes_max, now_ms) {
            Ok(log) => {
                self.log = Some(log);
                self.shared.refusing.store(self.full, Ordering::Relaxed);
                (self.notify)(Notice::Recovered { lost: self.lost.count });
                true
            }
            Err((parts, error)) => {
                self.parts = Some(parts);
                self.fail(&error);
                false
            }
        }
    }

    fn rotate_keys(&mut self, now_ms: u64) {
        let Some((keys, answer)) = lock(&self.shared.queue).keys.take() else { return };
        let Some(log) = &mut self.log else {
            let _ = answer.send(Err(Error::Failing));
            return;
        };
        let result = log.rotate_keys(Some(keys), now_ms);
        let failed = result.as_ref().err().map(told);
        // Whoever asked may have gone.
        let _ = answer.send(result);
        if let Some(error) = failed {
            self.fail(&Error::malformed("rotating the keys of the record", error));
        }
    }

    /// The time; notes when the clock was set.
    fn watch_clock(&mut self) -> u64 {
        let now_ms = wall_ms();
        let (at, wall) = std::mem::replace(&mut self.clock, (Instant::now(), now_ms));
        let due_ms = wall + at.elapsed().as_millis() as u64;
        if now_ms.abs_diff(due_ms) > JUMP_MS {
            self.pending.push_back(Entry::new(now_ms, What::ClockJump { from_ms: due_ms, to_ms: now_ms }));
            self.next_prune_ms = self.next_prune_ms.min(now_ms + PRUNE_MS);
            (self.notify)(Notice::ClockJump { from_ms: due_ms, to_ms: now_ms });
        }
        now_ms
    }

    fn close(mut self, now_ms: u64) -> Result<(), Error> {
        lock(&self.shared.queue).keys = None;
        let Some(log) = &mut self.log else { return Err(Error::Closed) };
        if self.lost.count > 0 {
            log.gap(self.lost.count, self.lost.since_ms, self.lost.why, now_ms)?;
        }
        let head = log.close(now_ms)?;
        (self.notify)(Notice::Signed(Box::new(head)));
        Ok(())
    }

    fn publish_status(&self, failure: Option<String>) {
        let mut status = lock(&self.shared.status);
        if let Some(log) = &self.log {
            status.sequence = log.sequence();
            status.first = log.oldest().0;
            status.bytes = log.bytes();
            status.segments = log.segments() as u64;
            if let Some(head) = log.newest_head().filter(|head| head.checkpoint.sequence != status.signed) {
                status.record.clone_from(&head.checkpoint.record);
                status.signed = head.checkpoint.sequence;
                status.head.clone_from(&head.checkpoint.head);
                status.key_fingerprint = head.key().map(|key| key.fingerprint()).unwrap_or_default();
            }
        }
        status.failure = failure;
    }
}

/// An error with what caused it.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
