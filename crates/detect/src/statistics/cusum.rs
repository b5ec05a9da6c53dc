//! The log-likelihood CUSUM (Page 1954): is this stream of outcomes worse than what is tolerated?

use serde::{Deserialize, Serialize};

/// What a test goes by: `S <- max(0, S + ln(bad ? t1/t0 : (1-t1)/(1-t0)))`, an alarm when `S >= h`.
///
/// Lorden's bound (1971): for any stream in which an outcome is bad with a probability of at most t0, given all before it, the
/// mean number of outcomes between two false alarms is at least e^h.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CusumTest {
    /// The share of bad outcomes that is tolerated, t0.
    pub tolerated: f32,
    /// The share that an attack has, t1; more than that.
    pub attack: f32,
    /// h: the natural logarithm of the outcomes between two false alarms.
    pub threshold: f32,
}

impl CusumTest {
    /// What one bad outcome adds.
    pub fn bad(&self) -> f32 {
        (self.attack / self.tolerated).ln()
    }

    /// What one good outcome adds: less than nothing.
    pub fn good(&self) -> f32 {
        ((1.0 - self.attack) / (1.0 - self.tolerated)).ln()
    }

    /// Bad outcomes in a row, from nothing, that are an alarm.
    pub fn in_a_row(&self) -> u32 {
        (self.threshold / self.bad()).ceil() as u32
    }

    /// Outcomes between two false alarms, at least, in the mean.
    pub fn outcomes_per_false_alarm(&self) -> f64 {
        f64::from(self.threshold).exp()
    }
}

/// A running test of one stream: 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cusum {
    score: f32,
    bad: u16,
    all: u16,
    since_ms: u64,
}

impl Cusum {
    /// Takes an outcome, and says whether it is an alarm now. The score does not go above the threshold, so that it falls as
    /// soon as outcomes are good again.
    pub fn count(&mut self, test: &CusumTest, at_ms: u64, bad: bool) -> bool {
        if self.score == 0.0 {
            if !bad {
                return false;
            }
            *self = Cusum { since_ms: at_ms, ..Cusum::default() };
        }
        self.all = self.all.saturating_add(1);
        self.bad = self.bad.saturating_add(bad.into());
        let step = if bad { test.bad() } else { test.good() };
        self.score = (self.score + step).clamp(0.0, test.threshold);
        self.score >= test.threshold
    }

    /// Takes several bad outcomes at once.
    pub fn count_bad(&mut self, test: &CusumTest, at_ms: u64, times: u32) -> bool {
        let mut alarm = self.score >= test.threshold;
        let steps = times.min(test.in_a_row() + 1);
        for _ in 0..steps {
            alarm = self.count(test, at_ms, true);
        }
        let rest = u16::try_from(times - steps).unwrap_or(u16::MAX);
        self.all = self.all.saturating_add(rest);
        self.bad = self.bad.saturating_add(rest);
        alarm
    }

    /// Takes back `times` bad outcomes that were worth `score`: they turned out to be something else.
    pub fn take_back(&mut self, score: f32, times: u16) {
        self.score = (self.score - score).max(0.0);
        self.bad = self.bad.saturating_sub(times);
        self.all = self.all.saturating_sub(times);
        if self.score == 0.0 {
            *self = Cusum::default();
        }
    }

    /// The score.
    pub fn score(&self) -> f32 {
        self.score
    }

    /// Whether an alarm is over: less than a quarter of the threshold is left.
    pub fn is_calm(&self, test: &CusumTest) -> bool {
        self.score < test.threshold / 4.0
    }

    /// Whether nothing may be learned from the stream: it may be an attack already.
    pub fn is_suspicious(&self, test: &CusumTest) -> bool {
        self.score > test.threshold / 2.0
    }

    /// Bad outcomes since the score was last zero; 65,535 stands for more.
    pub fn bad(&self) -> u32 {
        self.bad.into()
    }

    /// All outcomes since then.
    pub fn all(&self) -> u32 {
        self.all.into()
    }

    /// When the first of them was, in milliseconds since the Unix epoch.
    pub fn since_ms(&self) -> u64 {
        self.since_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// SplitMix64: good enough to simulate outcomes.
    fn next(state: &mut u64) -> f64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// The mean run length of `test` when a share `t0` is bad, from `runs` alarms.
    fn run_length(test: &CusumTest, runs: u32) -> f64 {
        let (mut seed, mut outcomes) = (0x5eed, 0u64);
        for _ in 0..runs {
            let mut cusum = Cusum::default();
            loop {
                outcomes += 1;
                if cusum.count(test, 1, next(&mut seed) < f64::from(test.tolerated)) {
                    break;
                }
            }
        }
        outcomes as f64 / f64::from(runs)
    }

    /// Each test of the connection detectors, at thresholds that are lower than theirs so that the null can be simulated: the
    /// bound holds for any h, and the ratio to e^h does not fall as h rises.
    #[test]
    fn without_an_attack_it_runs_as_long_as_lorden_promises() {
        for test in crate::connection::Settings::default().tests() {
            for threshold in [3.0, 5.0, 6.5] {
                let lower = CusumTest { threshold, ..test };
                let (length, promised) = (run_length(&lower, 400), f64::from(threshold).exp());
                assert!(length >= promised * 0.9, "{lower:?}: {length} outcomes, promised {promised}");
            }
        }
    }

    #[test]
    fn six_refused_of_six_are_an_alarm_and_a_success_between_takes_longer() {
        let test = CusumTest { tolerated: 0.1, attack: 0.8, threshold: 11.5 };
        assert_eq!(test.in_a_row(), 6);
        let mut cusum = Cusum::default();
        let alarms: Vec<bool> = (0..6).map(|at| cusum.count(&test, at, true)).collect();
        assert_eq!(alarms, [false, false, false, false, false, true]);
        assert_eq!((cusum.bad(), cusum.all(), cusum.since_ms()), (6, 6, 0));
    }

    #[test]
    fn it_is_calm_after_good_outcomes_and_counts_anew() {
        let test = CusumTest { tolerated: 0.1, attack: 0.8, threshold: 11.5 };
        let mut cusum = Cusum::default();
        assert!(cusum.count_bad(&test, 5, 1_000));
        assert_eq!(cusum.bad(), 1_000);
        let good = (0..)
            .take_while(|_| {
                cusum.count(&test, 6, false);
                !cusum.is_calm(&test)
            })
            .count();
        assert!(good < 8, "{good}");
        for _ in 0..8 {
            cusum.count(&test, 7, false);
        }
        assert_eq!(cusum.score(), 0.0);
        cusum.count(&test, 9, true);
        assert_eq!((cusum.bad(), cusum.all(), cusum.since_ms()), (1, 1, 9));
    }

    proptest! {
        #[test]
        fn it_is_the_maximum_over_all_starts(outcomes in prop::collection::vec(any::<bool>(), 0..60)) {
            let test = CusumTest { tolerated: 0.2, attack: 0.7, threshold: 1e6 };
            let mut cusum = Cusum::default();
            for bad in &outcomes { cusum.count(&test, 1, *bad); }
            let naive = (0..=outcomes.len()).map(|from| outcomes[from..].iter()
                .map(|bad| if *bad { test.bad() } else { test.good() }).sum::<f32>()).fold(0.0f32, f32::max);
            prop_assert!((cusum.score() - naive).abs() < 1e-3, "{} {}", cusum.score(), naive);
        }
    }
}
