//! The writer thread: takes what is pending, commits it at once, tells the producers.

use crate::{
    Durability, Error, Options,
    layout::Records,
    log::Log,
    queue::{CheckpointId, Taken},
    shared::{Command, Shared, lock},
};
use std::{
    sync::{
        Arc,
        atomic::Ordering::{Acquire, Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Runs until the store closes; returns why it failed, if it did.
pub(crate) fn run(log: Log, shared: Arc<Shared>, options: &Options) -> Result<(), Error> {
    let _sentinel = Sentinel { shared: &shared };
    let now = Instant::now();
    let mut writer = Writer {
        log,
        shared: &shared,
        durability: options.durability,
        anchor_interval: options.anchor_interval,
        anchor_bytes: options.anchor_bytes,
        taken: shared.lanes.iter().map(|_| Taken::default()).collect(),
        checkpoint: None,
        checkpoints_begun: 0,
        checkpoint_requested: false,
        unanchored_since: None,
        last_sync: now,
    };
    writer.count();
    let result = writer.turns();
    if let Err(error) = &result {
        shared.fail(error);
        writer.refuse_until_closed();
    }
    result
}

struct Writer<'a> {
    log: Log,
    shared: &'a Shared,
    durability: Durability,
    anchor_interval: Duration,
    anchor_bytes: u64,
    taken: Vec<Taken>,
    checkpoint: Option<Checkpoint>,
    checkpoints_begun: u64,
    checkpoint_requested: bool,
    /// When the oldest sync happened that the manifest does not know of.
    unanchored_since: Option<Instant>,
    last_sync: Instant,
}

struct Checkpoint {
    id: u64,
    first_segment: u64,
    /// Which producers have said that they are done.
    done: Vec<bool>,
}

impl Writer<'_> {
    fn turns(&mut self) -> Result<(), Error> {
        loop {
            // Order matters: whoever appends after this point sets the flag again.
            let pending = self.shared.take_pending();
            let closing = self.shared.closing.load(Acquire);
            if pending || closing {
                self.obey()?;
                self.commit(closing)?;
                self.advance_checkpoint(closing)?;
            }
            if closing {
                return self.log.close();
            }
            let timeout = self.housekeep()?;
            if !pending {
                match timeout {
                    Some(timeout) => thread::park_timeout(timeout),
                    None => thread::park(),
                }
            }
        }
    }

    fn obey(&mut self) -> Result<(), Error> {
        let commands = std::mem::take(&mut *lock(&self.shared.commands));
        for command in commands {
            match command {
                Command::Checkpoint => self.checkpoint_requested = true,
                Command::RotateKey(keys, answer) => {
                    // A key file that does not hold the key is the caller's to mend; the log has not changed.
                    let result = keys.check_file().map(|()| keys);
                    match result {
                        Ok(keys) => {
                            self.log.replace_keys(*keys)?;
                            self.checkpoint_requested = true;
                            let _ = answer.send(Ok(()));
                        }
                        Err(error) => {
                            let _ = answer.send(Err(error));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// One group commit of all that waits.
    fn commit(&mut self, closing: bool) -> Result<(), Error> {
        for (lane, taken) in self.shared.lanes.iter().zip(&mut self.taken) {
            lane.take(taken, closing);
        }
        let batches = || self.taken.iter().flat_map(|taken| &taken.batches).map(Vec::as_slice);
        if batches().next().is_none() {
            return Ok(());
        }
        let records: u64 = batches().filter_map(Records::count).sum();
        self.log.append(batches())?;
        if self.durability == Durability::Commit {
            self.sync()?;
        }
        let counters = &self.shared.counters;
        counters.records.fetch_add(records, Relaxed);
        counters.commits.fetch_add(1, Relaxed);
        self.count();
        for (lane, taken) in self.shared.lanes.iter().zip(&mut self.taken) {
            if !taken.batches.is_empty() {
                lane.publish(taken);
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Error> {
        let before = Instant::now();
        self.log.sync()?;
        self.last_sync = Instant::now();
        self.shared.counters.sync_took(self.last_sync - before);
        Ok(())
    }

    /// Begins a checkpoint that is due, ends one that all producers are done with. Runs after the commit that took
    /// the producers' words, so what they appended before is written.
    fn advance_checkpoint(&mut self, closing: bool) -> Result<(), Error> {
        for (index, taken) in self.taken.iter_mut().enumerate() {
            if let (Some(CheckpointId(done)), Some(checkpoint)) =
                (taken.checkpoint_done.take(), &mut self.checkpoint)
                && done == checkpoint.id
            {
                checkpoint.done[index] = true;
            }
        }
        if let Some(checkpoint) =
            self.checkpoint.take_if(|checkpoint| checkpoint.done.iter().all(|done| *done))
        {
            self.shared.publish_checkpoint(0);
            if let Err(warning) = self.log.end_checkpoint(checkpoint.first_segment)? {
                self.shared.counters.warn(&warning);
            }
            self.shared.counters.checkpoints.fetch_add(1, Relaxed);
            self.count();
        }
        let due = !closing && (self.checkpoint_requested || self.log.checkpoint_due());
        // A producer that was not taken yet could not re-emit its state, which would be lost.
        let all_attached = self.shared.lanes.iter().all(|lane| lane.is_attached());
        if self.checkpoint.is_none() && due && all_attached && !self.shared.lanes.is_empty() {
            self.checkpoint_requested = false;
            self.checkpoints_begun += 1;
            let first_segment = self.log.begin_checkpoint()?;
            let done = vec![false; self.shared.lanes.len()];
            self.checkpoint = Some(Checkpoint { id: self.checkpoints_begun, first_segment, done });
            self.shared.publish_checkpoint(self.checkpoints_begun);
            self.count();
        }
        Ok(())
    }

    /// What time asks for: interval syncs, anchors. Returns when to look again.
    fn housekeep(&mut self) -> Result<Option<Duration>, Error> {
        let mut timeout: Option<Duration> = None;
        if let (Durability::Interval(interval), true) = (self.durability, self.log.is_dirty()) {
            let elapsed = self.last_sync.elapsed();
            if elapsed >= interval {
                self.sync()?;
            } else {
                timeout = Some(interval - elapsed);
            }
        }
        let unanchored = self.log.unanchored_bytes();
        if unanchored == 0 {
            self.unanchored_since = None;
        } else {
            let waited = self.unanchored_since.get_or_insert_with(Instant::now).elapsed();
            if waited >= self.anchor_interval || unanchored >= self.anchor_bytes {
                self.log.anchor()?;
                self.unanchored_since = None;
            } else {
                let wait = self.anchor_interval - waited;
                timeout = Some(timeout.map_or(wait, |timeout| timeout.min(wait)));
            }
        }
        Ok(timeout)
    }

    fn count(&self) {
        let counters = &self.shared.counters;
        counters.bytes_written.store(self.log.written_bytes(), Relaxed);
        counters.segments.store(self.log.segments(), Relaxed);
        counters.live_bytes.store(self.log.live_bytes(), Relaxed);
    }

    /// After a failure: answers commands and keeps what the producers appended from looking durable.
    fn refuse_until_closed(&mut self) {
        while !self.shared.closing.load(Acquire) {
            self.shared.take_pending();
            for command in std::mem::take(&mut *lock(&self.shared.commands)) {
                if let Command::RotateKey(_, answer) = command {
                    let _ = answer.send(Err(Error::Failed));
                }
            }
            thread::park();
        }
    }
}

/// A panic of the thread must look like a failed disk, not like a slow one.
struct Sentinel<'a> {
    shared: &'a Shared,
}

impl Drop for Sentinel<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.shared.fail(&Error::WriterPanicked);
        }
    }
}
