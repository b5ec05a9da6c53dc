//! A histogram of durations with a bounded relative error, in a fixed and small amount of memory (as HdrHistogram does it).
//!
//! Values below 128 are exact; above, every power of two is split into 64 buckets, so an answer is at most 1/64 too high.

/// Buckets for every `u64`.
const BUCKETS: usize = 58 * 64 + 64;

/// Counts of values.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], total: 0, max: 0 }
    }
}

impl Histogram {
    /// Adds a value.
    #[inline]
    pub fn record(&mut self, value: u64) {
        self.counts[bucket(value)] += 1;
        self.total += 1;
        self.max = self.max.max(value);
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest value, exactly.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The value that `share` (0 to 1) of all values do not exceed; 0 if there are none.
    pub fn quantile(&self, share: f64) -> u64 {
        let wanted = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return highest(index).min(self.max);
            }
        }
        self.max
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.max = 0;
    }
}

/// The seven leading bits of the value, behind the buckets of all smaller powers of two.
#[inline]
fn bucket(value: u64) -> usize {
    let shift = 57u32.saturating_sub(value.leading_zeros());
    ((shift as usize) << 6) + (value >> shift) as usize
}

/// The highest value of a bucket.
fn highest(index: usize) -> u64 {
    if index < 128 {
        return index as u64;
    }
    let shift = index / 64 - 1;
    let leading = (index - shift * 64) as u64;
    // In two steps: the last bucket ends with the last `u64`.
    (leading << shift) + ((1u64 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_a_bucket_that_ends_little_above_it() {
        for shift in 0..64 {
            for near in [0u64, 1, 2, 3, 1000] {
                for value in [(1u64 << shift).wrapping_add(near), (1u64 << shift).wrapping_sub(near)] {
                    let end = highest(bucket(value));
                    assert!(end >= value, "{value} is above {end}");
                    assert!(end - value <= value / 64, "{value} became {end}");
                }
            }
        }
        assert_eq!(highest(bucket(u64::MAX)), u64::MAX);
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn buckets_follow_each_other() {
        for index in 1..bucket(u64::MAX) {
            assert_eq!(bucket(highest(index)), index);
            assert_eq!(bucket(highest(index) + 1), index + 1);
        }
    }

    #[test]
    fn quantiles_of_a_line() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000 {
            histogram.record(value);
        }
        for (share, exact) in
            [(0.0, 1.0), (0.5, 50_000.0), (0.9, 90_000.0), (0.99, 99_000.0), (0.999, 99_900.0)]
        {
            let answer = histogram.quantile(share) as f64;
            assert!(answer >= exact && answer <= exact * (1.0 + 1.0 / 64.0), "{share}: {answer}");
        }
        assert_eq!(histogram.quantile(1.0), 100_000);
        assert_eq!(histogram.max(), 100_000);
        histogram.clear();
        assert_eq!((histogram.quantile(0.5), histogram.count()), (0, 0));
    }
}
