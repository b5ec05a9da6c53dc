//! What detection has done, and what it costs.

use ravelin_detect::EngineFigures;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What detection has done since the start, and what it costs.
#[derive(Clone, Debug)]
pub struct DetectFigures {
    /// What the engine counts.
    pub engine: EngineFigures,
    /// Time that the engine took for what was seen.
    pub sights_took: Duration,
    /// Time that the engine took for the passing of time.
    pub ticks_took: Duration,
    /// Things that were not seen because a queue was full.
    pub missed: u64,
    /// Records that were written to the store.
    pub written: u64,
}

/// Counts, without a lock.
#[derive(Default)]
pub(super) struct Meter {
    sights_ns: AtomicU64,
    ticks_ns: AtomicU64,
    missed: AtomicU64,
    written: AtomicU64,
}

impl Meter {
    pub fn sights(&self, began: Instant) {
        add(&self.sights_ns, nanoseconds(began));
    }

    pub fn ticks(&self, began: Instant) {
        add(&self.ticks_ns, nanoseconds(began));
    }

    pub fn missed(&self, count: u64) {
        add(&self.missed, count);
    }

    pub fn written(&self, count: u64) {
        add(&self.written, count);
    }

    pub fn figures(&self, engine: EngineFigures) -> DetectFigures {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DetectFigures {
            engine,
            sights_took: Duration::from_nanos(read(&self.sights_ns)),
            ticks_took: Duration::from_nanos(read(&self.ticks_ns)),
            missed: read(&self.missed),
            written: read(&self.written),
        }
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn nanoseconds(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
