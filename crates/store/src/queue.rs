//! The producer's end of the log: handing over batches, learning what is durable.

use crate::{
    Error, Refused,
    layout::{RECORD_BYTES_MAX, Records},
    shared::{Shared, lock},
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Release},
        },
    },
};

/// The number of a record of one producer, from 1. 0 is before the first.
pub type Seq = u64;

/// Names one checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CheckpointId(pub(crate) u64);

/// Called by the writer thread; must not block.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

/// So many emptied buffers are kept for reuse, none of them larger than [`SPARE_BYTES_MAX`].
const SPARES_MAX: usize = 8;
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Appends a record to a batch.
///
/// # Panics
/// When the record is larger than 257 MiB.
pub fn push_record(batch: &mut Vec<u8>, record: &[u8]) {
    assert!(record.len() <= RECORD_BYTES_MAX, "a record of {} bytes", record.len());
    batch.extend_from_slice(&(record.len() as u32).to_le_bytes());
    batch.extend_from_slice(record);
}

/// What one producer shares with the writer.
#[derive(Default)]
pub(crate) struct Lane {
    queue: Mutex<Queue>,
    durable: AtomicU64,
    wake: OnceLock<Wake>,
}

#[derive(Default)]
struct Queue {
    batches: Vec<Vec<u8>>,
    last: Seq,
    /// Bytes that wait for the disk, with those the writer has in hand.
    bytes: usize,
    spares: Vec<Vec<u8>>,
    checkpoint_done: Option<CheckpointId>,
    closed: bool,
}

/// What the writer took from a lane.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) batches: Vec<Vec<u8>>,
    pub(crate) last: Seq,
    pub(crate) checkpoint_done: Option<CheckpointId>,
}

impl Lane {
    pub(crate) fn attach(&self, wake: Wake) -> bool {
        self.wake.set(wake).is_ok()
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.wake.get().is_some()
    }

    pub(crate) fn wake(&self) {
        if let Some(wake) = self.wake.get() {
            // A panic in there is the caller's fault, and must not take the log down with it.
            let _ = catch_unwind(AssertUnwindSafe(wake));
        }
    }

    pub(crate) fn durable(&self) -> Seq {
        self.durable.load(Acquire)
    }

    /// Takes all that waits. `taken.batches` must be empty; its room is reused.
    pub(crate) fn take(&self, taken: &mut Taken, close: bool) {
        debug_assert!(taken.batches.is_empty());
        let mut queue = lock(&self.queue);
        std::mem::swap(&mut queue.batches, &mut taken.batches);
        taken.last = queue.last;
        taken.checkpoint_done = queue.checkpoint_done.take();
        queue.closed |= close;
    }

    /// Gives back the buffers of what was written, and says how far the lane is durable.
    pub(crate) fn publish(&self, taken: &mut Taken) {
        let bytes: usize = taken.batches.iter().map(Vec::len).sum();
        {
            let mut queue = lock(&self.queue);
            queue.bytes -= bytes;
            for mut batch in taken.batches.drain(..) {
                if queue.spares.len() < SPARES_MAX && batch.capacity() <= SPARE_BYTES_MAX {
                    batch.clear();
                    queue.spares.push(batch);
                }
            }
        }
        self.durable.store(taken.last, Release);
        self.wake();
    }
}

/// The end of the log that one shard holds.
pub struct Producer {
    shared: Arc<Shared>,
    index: usize,
    last: Seq,
    spares: Vec<Vec<u8>>,
    checkpoint_done: u64,
}

impl Producer {
    pub(crate) fn new(shared: Arc<Shared>, index: usize) -> Producer {
        Producer { shared, index, last: 0, spares: Vec::new(), checkpoint_done: 0 }
    }

    /// What the store counted since it was opened.
    pub fn stats(&self) -> crate::Stats {
        self.shared.counters.snapshot(self.shared.checkpoint() != 0)
    }

    /// Hands a batch, `(u32 LE length, bytes)*`, to the writer thread; returns the number of its last record. Never
    /// waits for the disk. [`push_record`] builds batches; [`Producer::recycle`] gives buffers for them.
    ///
    /// The records are replayed in the order of the calls. They are durable when [`Producer::durable`] reaches the
    /// number returned.
    pub fn append(&mut self, batch: Vec<u8>) -> Result<Seq, Refused> {
        if self.shared.failed() {
            return Err(Refused { error: Error::Failed, batch });
        }
        let max = self.shared.queue_bytes_max;
        if batch.len() > max {
            return Err(Refused { error: Error::BatchTooLarge { bytes: batch.len(), max }, batch });
        }
        let Some(count) = Records::count(&batch) else {
            return Err(Refused { error: Error::MalformedBatch, batch });
        };
        if count == 0 {
            self.keep(batch);
            return Ok(self.last);
        }
        let last = self.last + count;
        {
            let mut queue = lock(&self.shared.lanes[self.index].queue);
            if queue.closed {
                return Err(Refused { error: Error::Closed, batch });
            }
            let bytes = queue.bytes;
            if bytes + batch.len() > max {
                return Err(Refused { error: Error::Full { producer: self.index, bytes }, batch });
            }
            queue.bytes += batch.len();
            queue.batches.push(batch);
            queue.last = last;
            if self.spares.is_empty() {
                std::mem::swap(&mut self.spares, &mut queue.spares);
            }
        }
        self.last = last;
        self.shared.nudge();
        Ok(last)
    }

    /// An empty buffer, one that was used before if there is one.
    pub fn recycle(&mut self) -> Vec<u8> {
        self.spares.pop().unwrap_or_default()
    }

    /// The number of the last record that was appended.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// Every record up to this one is durable.
    pub fn durable(&self) -> Seq {
        self.shared.lanes[self.index].durable()
    }

    /// True when the disk failed: nothing more becomes durable, so nothing more may be acknowledged.
    pub fn failed(&self) -> bool {
        self.shared.failed()
    }

    /// The checkpoint that this producer has yet to do its part for: append its whole state as ordinary records,
    /// in as many batches as it likes and between its ordinary ones, and then call [`Producer::checkpoint_done`].
    pub fn checkpoint_wanted(&self) -> Option<CheckpointId> {
        let running = self.shared.checkpoint();
        (running != 0 && running != self.checkpoint_done).then_some(CheckpointId(running))
    }

    /// Says that the whole state of this producer was appended since it first saw `checkpoint`. When all producers
    /// have said so and their records are durable, what was written before the checkpoint is deleted.
    pub fn checkpoint_done(&mut self, checkpoint: CheckpointId) {
        self.checkpoint_done = checkpoint.0;
        lock(&self.shared.lanes[self.index].queue).checkpoint_done = Some(checkpoint);
        self.shared.nudge();
    }

    fn keep(&mut self, mut batch: Vec<u8>) {
        if self.spares.len() < SPARES_MAX {
            batch.clear();
            self.spares.push(batch);
        }
    }
}
