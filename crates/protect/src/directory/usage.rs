//! When a grant was used: a second and a count for each rule, written by whoever decides, read by whoever reviews.
//!
//! A rule that is used a million times a second is written to once a second; the rest reads one word that all rules
//! share and one of the rule's own.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// When a rule was used.
#[derive(Debug, Default)]
pub struct Usage {
    /// The last second, since the Unix epoch; 0 is never.
    last_s: AtomicU32,
    /// The seconds in which it was used.
    seconds: AtomicU64,
}

/// The time as rules are marked with it, which whoever drives the node sets about once a second.
#[derive(Debug, Default)]
pub struct UsageClock(AtomicU32);

impl UsageClock {
    /// Sets the time, in seconds since the Unix epoch. Until it is set, nothing is counted.
    pub fn set(&self, now_s: u32) {
        self.0.store(now_s, Ordering::Relaxed);
    }

    /// The time as it was last set.
    pub fn now_s(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Usage {
    /// The rule decided something.
    #[inline]
    pub fn touch(&self, clock: &UsageClock) {
        let now_s = clock.now_s();
        // Two threads may both count the same second: the count is an order of size, the time is exact.
        if self.last_s.load(Ordering::Relaxed) != now_s {
            self.last_s.store(now_s, Ordering::Relaxed);
            self.seconds.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The second in which it was last used, since the Unix epoch; `None`: not since the node started.
    pub fn last_s(&self) -> Option<u32> {
        Some(self.last_s.load(Ordering::Relaxed)).filter(|last_s| *last_s != 0)
    }

    /// In how many seconds it was used.
    pub fn seconds(&self) -> u64 {
        self.seconds.load(Ordering::Relaxed)
    }
}
