//! How regularly something comes: the mean gap and its mean deviation, as TCP keeps its round-trip time.

/// Gap mean and mean deviation (Jacobson 1988): 20 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gap {
    last_ms: u64,
    mean_ms: f32,
    deviation_ms: f32,
    gaps: u32,
}

impl Gap {
    /// It came at `at_ms`. Returns the gap to the time before, if there was one.
    pub fn count(&mut self, at_ms: u64) -> Option<u64> {
        let last = self.last_ms;
        self.last_ms = last.max(at_ms);
        if last == 0 {
            return None;
        }
        let gap = at_ms.saturating_sub(last);
        self.learn(gap);
        Some(gap)
    }

    /// It came at `at_ms`, and nothing is to be learned from that.
    pub fn skip(&mut self, at_ms: u64) {
        self.last_ms = self.last_ms.max(at_ms);
    }

    fn learn(&mut self, gap_ms: u64) {
        let gap = gap_ms as f32;
        self.gaps = self.gaps.saturating_add(1);
        if self.gaps == 1 {
            (self.mean_ms, self.deviation_ms) = (gap, gap / 2.0);
            return;
        }
        let error = gap - self.mean_ms;
        self.mean_ms += error / 8.0;
        self.deviation_ms += (error.abs() - self.deviation_ms) / 4.0;
    }

    /// The mean gap, in milliseconds.
    pub fn mean_ms(&self) -> f32 {
        self.mean_ms
    }

    /// Its mean deviation, in milliseconds.
    pub fn deviation_ms(&self) -> f32 {
        self.deviation_ms
    }

    /// Gaps that were learned from.
    pub fn gaps(&self) -> u32 {
        self.gaps
    }

    /// When it came last; 0: never.
    pub fn last_ms(&self) -> u64 {
        self.last_ms
    }

    /// When it is late: the mean and `deviations` mean deviations after the last.
    pub fn late_ms(&self, deviations: f32) -> u64 {
        self.last_ms + (self.mean_ms + deviations * self.deviation_ms) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rhythm_is_learned_within_some_gaps() {
        let mut gap = Gap::default();
        for tick in 1..=40u64 {
            gap.count(tick * 10_000 + tick % 3 * 100);
        }
        assert!((gap.mean_ms() - 10_000.0).abs() < 150.0, "{gap:?}");
        assert!(gap.deviation_ms() < 250.0, "{gap:?}");
        assert!(gap.late_ms(8.0) < 400_100 + 10_200 + 8 * 250);
    }
}
