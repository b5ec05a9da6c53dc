//! The state of a rate: for each window the time at which all that was taken has leaked out again.

use super::Windows;
use super::pace::Pace;
use std::sync::atomic::{AtomicU64, Ordering};

/// No debt grows beyond what takes so long to pay back, in nanoseconds: one hour.
const DEBT_NS_MAX: u64 = 3_600_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// What was taken from the windows of a rate.
#[derive(Debug)]
pub struct Bucket {
    /// Theoretical arrival times, in nanoseconds.
    empty_at_ns: Box<[AtomicU64]>,
}

impl Bucket {
    /// A full bucket for `windows`.
    pub fn new(windows: &Windows) -> Bucket {
        Bucket { empty_at_ns: windows.quotas().iter().map(|_| AtomicU64::new(0)).collect() }
    }

    /// Takes `cost` from every window, or from none if one of them has too little. What is larger than a window altogether
    /// passes when that window is full, and is paid for afterwards; else it could never pass.
    pub fn take(&self, windows: &Windows, now_ms: u64, cost: u64) -> bool {
        self.take_as::<false>(windows, now_ms, cost)
    }

    /// The same for a bucket that one thread alone counts in: no operation is atomic as a whole.
    pub fn take_alone(&self, windows: &Windows, now_ms: u64, cost: u64) -> bool {
        self.take_as::<true>(windows, now_ms, cost)
    }

    #[inline]
    fn take_as<const ALONE: bool>(&self, windows: &Windows, now_ms: u64, cost: u64) -> bool {
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        for (at, (pace, cell)) in self.pairs(windows).enumerate() {
            let cost_ns = pace.span_ns(cost);
            let limit_ns = now_ns.saturating_add(pace.tolerance_ns);
            let taken = update::<ALONE>(cell, |empty_ns| {
                let next_ns = empty_ns.max(now_ns).saturating_add(cost_ns);
                (next_ns <= limit_ns || empty_ns <= now_ns).then(|| next_ns.min(now_ns + DEBT_NS_MAX))
            });
            if taken.is_err() {
                for (pace, cell) in self.pairs(windows).take(at) {
                    cell.fetch_sub(pace.span_ns(cost).min(DEBT_NS_MAX), Ordering::Relaxed);
                }
                return false;
            }
        }
        true
    }

    /// Takes `cost` from every window, also what is not there; returns after how many milliseconds it would have been.
    pub fn charge(&self, windows: &Windows, now_ms: u64, cost: u64) -> u64 {
        self.charge_as::<false>(windows, now_ms, cost)
    }

    /// The same for a bucket that one thread alone counts in.
    pub fn charge_alone(&self, windows: &Windows, now_ms: u64, cost: u64) -> u64 {
        self.charge_as::<true>(windows, now_ms, cost)
    }

    #[inline]
    fn charge_as<const ALONE: bool>(&self, windows: &Windows, now_ms: u64, cost: u64) -> u64 {
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        let mut wait_ns = 0;
        for (pace, cell) in self.pairs(windows) {
            let cost_ns = pace.span_ns(cost);
            let limit_ns = now_ns.saturating_add(pace.tolerance_ns);
            let next = |empty_ns: u64| empty_ns.max(now_ns).saturating_add(cost_ns).min(now_ns + DEBT_NS_MAX);
            let (Ok(before) | Err(before)) = update::<ALONE>(cell, |empty_ns| Some(next(empty_ns)));
            wait_ns = wait_ns.max(next(before).saturating_sub(limit_ns));
        }
        if wait_ns == 0 { 0 } else { wait_ns.div_ceil(NS_PER_MS) }
    }

    /// Whether nothing is owed any more: it is as good as a new one.
    pub fn is_full(&self, now_ms: u64) -> bool {
        let now_ns = now_ms.saturating_mul(NS_PER_MS);
        self.empty_at_ns.iter().all(|cell| cell.load(Ordering::Relaxed) <= now_ns)
    }

    fn pairs<'b>(&'b self, windows: &'b Windows) -> impl Iterator<Item = (&'b Pace, &'b AtomicU64)> {
        windows.paces.iter().zip(&self.empty_at_ns)
    }
}

/// Changes a cell as a whole, or by a load and a store where nobody else does. `Ok` and `Err` have the value before.
#[inline]
fn update<const ALONE: bool>(cell: &AtomicU64, change: impl Fn(u64) -> Option<u64>) -> Result<u64, u64> {
    if !ALONE {
        return cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, change);
    }
    let before = cell.load(Ordering::Relaxed);
    let next = change(before).ok_or(before)?;
    cell.store(next, Ordering::Relaxed);
    Ok(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn windows(texts: &[&str]) -> Windows {
        Windows::parse(texts.iter().copied()).unwrap()
    }

    #[test]
    fn a_window_lets_through_its_amount_and_then_its_rate() {
        let windows = windows(&["10/s"]);
        let bucket = Bucket::new(&windows);
        assert_eq!((0..20).filter(|_| bucket.take(&windows, 5000, 1)).count(), 10);
        assert!(!bucket.take(&windows, 5099, 1));
        assert!(bucket.take(&windows, 5100, 1) && !bucket.take(&windows, 5100, 1));
        assert!(!bucket.take(&windows, 4000, 1), "a clock that went back gives nothing");
        assert_eq!((0..20).filter(|_| bucket.take(&windows, 60_000, 1)).count(), 10, "and saves up no more");
    }

    #[test]
    fn every_window_must_allow_it_and_none_pays_for_a_refusal() {
        let windows = windows(&["10/s", "15/m"]);
        let bucket = Bucket::new(&windows);
        assert_eq!((0..20).filter(|_| bucket.take(&windows, 1000, 1)).count(), 10);
        assert_eq!((0..20).filter(|_| bucket.take(&windows, 2000, 1)).count(), 5, "the minute is used up");
        // The refusals of the minute took nothing from the second.
        assert_eq!((0..20).filter(|_| bucket.take(&windows, 5000, 1)).count(), 1);
    }

    #[test]
    fn a_burst_is_what_may_come_at_once() {
        let windows = windows(&["100/s"]).with_burst(Some(3));
        let bucket = Bucket::new(&windows);
        assert_eq!((0..20).filter(|_| bucket.take(&windows, 1000, 1)).count(), 3);
        assert_eq!((0..20).filter(|_| bucket.take(&windows, 1010, 1)).count(), 1);
    }

    #[test]
    fn what_is_larger_than_a_window_passes_and_is_paid_for() {
        let windows = windows(&["1KB/s"]);
        let bucket = Bucket::new(&windows);
        assert!(bucket.take(&windows, 1000, 5000));
        assert!(!bucket.take(&windows, 5000, 1) && bucket.take(&windows, 6000, 1));
    }

    #[test]
    fn alone_or_not_the_same_passes() {
        let windows = windows(&["10/s", "100/m", "1000/h"]).with_burst(Some(7));
        let (alone, shared) = (Bucket::new(&windows), Bucket::new(&windows));
        for step in 0..2000u64 {
            let (now_ms, cost) = (1000 + step * 37, step % 3 + 1);
            let both = |bucket: &Bucket, is_alone: bool| match (step % 5 == 0, is_alone) {
                (true, true) => bucket.charge_alone(&windows, now_ms, cost),
                (true, false) => bucket.charge(&windows, now_ms, cost),
                (false, true) => u64::from(bucket.take_alone(&windows, now_ms, cost)),
                (false, false) => u64::from(bucket.take(&windows, now_ms, cost)),
            };
            assert_eq!(both(&alone, true), both(&shared, false), "step {step}");
        }
    }

    #[test]
    fn a_charge_says_how_long_to_wait() {
        let windows = windows(&["10/s"]);
        let bucket = Bucket::new(&windows);
        assert_eq!(bucket.charge(&windows, 1000, 10), 0);
        assert_eq!(bucket.charge(&windows, 1000, 1), 100);
        assert_eq!(bucket.charge(&windows, 1000, 1), 200);
        assert_eq!(bucket.charge(&windows, 1000, u64::MAX), 3_600_000 - 1000, "debt has a limit");
    }

    proptest! {
        /// In whatever time, no more passes than the burst and what the rate gives in that time.
        #[test]
        fn no_interval_has_more_than_its_share(
            amount in 1u64..50,
            per_ms in 1u64..5000,
            burst in proptest::option::of(1u64..80),
            steps in proptest::collection::vec((0u64..400, 1u64..6), 1..200),
        ) {
            let windows = windows(&[&format!("{amount}/{per_ms}ms")]).with_burst(burst);
            let bucket = Bucket::new(&windows);
            let mut now_ms = 10_000;
            let mut passed: Vec<(u64, u64)> = Vec::new();
            for (wait_ms, cost) in steps {
                now_ms += wait_ms;
                // What is larger than the burst is a case of its own.
                if cost <= burst.unwrap_or(amount) && bucket.take(&windows, now_ms, cost) {
                    passed.push((now_ms, cost));
                }
            }
            for (at, (from_ms, _)) in passed.iter().enumerate() {
                let mut sum = 0;
                for (until_ms, cost) in &passed[at..] {
                    sum += cost;
                    let share = (until_ms - from_ms) * amount / per_ms + burst.unwrap_or(amount) + 1;
                    prop_assert!(sum <= share, "{sum} of {share} in {} ms", until_ms - from_ms);
                }
            }
        }
    }
}
