//! What the store counted.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

const BUCKETS: usize = 24;

/// What the store counted since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records that were written.
    pub records: u64,
    /// Bytes that were written to segments, with the overhead of frames.
    pub bytes_written: u64,
    /// Rounds of the writer thread that wrote something.
    pub commits: u64,
    /// How long `fdatasync` took.
    pub sync_latency: Latency,
    /// Live segments.
    pub segments: u64,
    /// Bytes of the live segments.
    pub live_bytes: u64,
    /// Checkpoints that were completed.
    pub checkpoints: u64,
    /// True while a checkpoint runs.
    pub checkpoint_running: bool,
    /// Errors that did not fail the store, such as a key file that could not be rewritten.
    pub warnings: u64,
    /// The newest of those.
    pub last_warning: Option<String>,
    /// Why the store failed, if it did.
    pub failure: Option<String>,
}

/// Durations, counted in buckets that double.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Their sum.
    pub total: Duration,
    /// The longest.
    pub max: Duration,
    /// Bucket `n` counts those below `2^n` microseconds that are in no earlier bucket; the last counts all others.
    pub buckets: [u64; BUCKETS],
}

impl Latency {
    /// The mean.
    pub fn mean(&self) -> Duration {
        self.total.checked_div(self.count.try_into().unwrap_or(u32::MAX)).unwrap_or_default()
    }

    /// An upper bound of the given quantile (0.99 for the 99th percentile), to the precision of the buckets.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let wanted = (self.count as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (power, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_micros(1 << power).min(self.max);
            }
        }
        self.max
    }
}

/// The counters behind [`Stats`], written by the writer thread.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) records: AtomicU64,
    pub(crate) bytes_written: AtomicU64,
    pub(crate) commits: AtomicU64,
    pub(crate) segments: AtomicU64,
    pub(crate) live_bytes: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    sync_count: AtomicU64,
    sync_total_ns: AtomicU64,
    sync_max_ns: AtomicU64,
    sync_buckets: [AtomicU64; BUCKETS],
    warnings: AtomicU64,
    last_warning: Mutex<Option<String>>,
    failure: Mutex<Option<String>>,
}

impl Counters {
    pub(crate) fn sync_took(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sync_count.fetch_add(1, Relaxed);
        self.sync_total_ns.fetch_add(ns, Relaxed);
        self.sync_max_ns.fetch_max(ns, Relaxed);
        let bucket = (64 - (ns / 1000).leading_zeros()) as usize;
        self.sync_buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Relaxed);
    }

    pub(crate) fn warn(&self, error: &crate::Error) {
        self.warnings.fetch_add(1, Relaxed);
        *self.last_warning.lock().unwrap_or_else(PoisonError::into_inner) = Some(describe(error));
    }

    pub(crate) fn fail(&self, error: &crate::Error) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| describe(error));
    }

    pub(crate) fn snapshot(&self, checkpoint_running: bool) -> Stats {
        let mut buckets = [0; BUCKETS];
        for (to, from) in buckets.iter_mut().zip(&self.sync_buckets) {
            *to = from.load(Relaxed);
        }
        Stats {
            records: self.records.load(Relaxed),
            bytes_written: self.bytes_written.load(Relaxed),
            commits: self.commits.load(Relaxed),
            sync_latency: Latency {
                count: self.sync_count.load(Relaxed),
                total: Duration::from_nanos(self.sync_total_ns.load(Relaxed)),
                max: Duration::from_nanos(self.sync_max_ns.load(Relaxed)),
                buckets,
            },
            segments: self.segments.load(Relaxed),
            live_bytes: self.live_bytes.load(Relaxed),
            checkpoints: self.checkpoints.load(Relaxed),
            checkpoint_running,
            warnings: self.warnings.load(Relaxed),
            last_warning: self.last_warning.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            failure: self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

/// The error with its sources: a string keeps none.
fn describe(error: &crate::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_quantiles_are_bounds() {
        let counters = Counters::default();
        for us in [3, 3, 3, 900] {
            counters.sync_took(Duration::from_micros(us));
        }
        let latency = counters.snapshot(false).sync_latency;
        assert_eq!(latency.quantile(0.5), Duration::from_micros(4));
        assert_eq!(latency.quantile(1.0), Duration::from_micros(900));
        assert_eq!(latency.max, Duration::from_micros(900));
    }
}
