//! Deadlines. Entries are not removed when they lose their meaning: whoever takes one out asks whether it still has one,
//! and when there are many, those that have none are swept out together.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKind {
    /// The link's Keep Alive may have run out.
    KeepAlive,
    /// The session's expiry interval may have run out.
    SessionExpiry,
    /// The will delay may have run out.
    WillDelay,
    /// A retained message may have expired; the key is its slot.
    RetainedExpiry,
}

/// One deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timer {
    pub at_ms: u64,
    pub key: u32,
    /// The generation of what `key` names.
    pub generation: u32,
    pub kind: TimerKind,
}

/// All deadlines of a shard.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<Timer>>,
    /// With so many, those that mean nothing any more are removed.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 1024;

impl Timers {
    pub fn push(&mut self, timer: Timer) {
        self.heap.push(Reverse(timer));
    }

    /// Whether it is time to look for deadlines that mean nothing any more.
    pub fn is_crowded(&self) -> bool {
        self.heap.len() >= self.sweep_at.max(SWEEP_MIN)
    }

    /// Keeps what still means something. Each deadline is looked at once for each that was added since.
    pub fn sweep(&mut self, mut keep: impl FnMut(&Timer) -> bool) {
        self.heap.retain(|Reverse(timer)| keep(timer));
        self.heap.shrink_to(2 * self.heap.len());
        self.sweep_at = 2 * self.heap.len();
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn next_ms(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(timer)| timer.at_ms)
    }

    pub fn pop_due(&mut self, now_ms: u64) -> Option<Timer> {
        if self.next_ms()? > now_ms {
            return None;
        }
        self.heap.pop().map(|Reverse(timer)| timer)
    }
}
