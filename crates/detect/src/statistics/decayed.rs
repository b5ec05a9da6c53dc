//! A count that forgets: each event weighs less as it gets older.

/// An exponentially decayed count: 16 bytes. With a constant rate r its mean is r x tau, and its spread is less than that of a
/// Poisson count with the same mean (half the variance), so a Poisson tail bounds it from above.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Decayed {
    count: f32,
    at_ms: u64,
}

impl Decayed {
    /// Adds `weight` at `at_ms` and returns the count; `tau_ms` is the time after which an event weighs 1/e.
    pub fn add(&mut self, tau_ms: u64, at_ms: u64, weight: f32) -> f32 {
        self.count = self.now(tau_ms, at_ms) + weight;
        self.at_ms = self.at_ms.max(at_ms);
        self.count
    }

    /// The count at `at_ms`.
    pub fn now(&self, tau_ms: u64, at_ms: u64) -> f32 {
        if self.count == 0.0 {
            return 0.0;
        }
        let age = at_ms.saturating_sub(self.at_ms) as f32 / tau_ms.max(1) as f32;
        self.count * (-age).exp()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        *self = Decayed::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_rate_comes_to_rate_times_tau() {
        let mut count = Decayed::default();
        for second in 0..600 {
            count.add(60_000, second * 1_000, 0.5);
        }
        assert!((count.now(60_000, 599_000) - 30.0).abs() < 0.5, "{count:?}");
        assert!(count.now(60_000, 1_199_000) < 0.01);
    }

    #[test]
    fn what_comes_late_does_not_turn_time_back() {
        let mut count = Decayed::default();
        count.add(1_000, 5_000, 1.0);
        assert_eq!(count.add(1_000, 4_000, 1.0), 2.0);
        assert_eq!(count.now(1_000, 5_000), 2.0);
    }
}
