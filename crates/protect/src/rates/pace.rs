//! A window as a message is counted in it: what can be divided beforehand is.

use super::Quota;

/// How long something takes at a quota's rate, as a multiplication and a shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    /// Nanoseconds of one, times two to the power of `shift`, rounded up: no more passes than the rate allows.
    multiplier: u64,
    shift: u32,
    /// How far the time at which all is paid may lie ahead, in nanoseconds: what may come at once.
    pub tolerance_ns: u64,
}

impl Pace {
    pub fn new(quota: &Quota, burst: Option<u64>) -> Pace {
        let seconds_ns = quota.per.as_secs().saturating_mul(1_000_000_000);
        let per_ns = u128::from(seconds_ns.saturating_add(u64::from(quota.per.subsec_nanos())));
        let amount = u128::from(quota.amount.max(1));
        // As many bits as fit 64 say it most exactly. Nothing is lost: a window has at most 52, and 52 + 63 fit 128.
        let shift = 63 - (u128::BITS - (per_ns / amount).leading_zeros()).min(63);
        let multiplier = (per_ns << shift).div_ceil(amount);
        let span = |count: u64| u128::from(count) * per_ns / amount;
        let tolerance_ns = burst.map_or(per_ns, |burst| span(burst.max(1)));
        Pace { multiplier: narrow(multiplier), shift, tolerance_ns: narrow(tolerance_ns) }
    }

    /// How long so much takes, in nanoseconds.
    #[inline]
    pub fn span_ns(&self, amount: u64) -> u64 {
        narrow((u128::from(amount) * u128::from(self.multiplier)) >> self.shift)
    }
}

#[inline]
fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    proptest! {
        /// It is what a division says, or one nanosecond in a thousand millions more.
        #[test]
        fn a_pace_is_what_a_division_says(
            amount in prop_oneof![1u64..1000, 1u64..10_000_000_000],
            per_ms in prop_oneof![1u64..10_000, 1u64..31 * 86_400_000],
            count in prop_oneof![1u64..100, 1u64..10_000_000],
        ) {
            let quota = Quota { amount, per: Duration::from_millis(per_ms), bytes: false };
            let exact = u128::from(count) * u128::from(per_ms) * 1_000_000 / u128::from(amount);
            let exact = exact.min(u128::from(u64::MAX));
            let span = u128::from(Pace::new(&quota, None).span_ns(count));
            prop_assert!(span >= exact && span <= exact + 1 + exact / 1_000_000_000, "{span} for {exact}");
        }
    }

    #[test]
    fn what_is_too_much_for_64_bits_is_the_most_there_is() {
        let quota = Quota { amount: 1, per: Duration::from_secs(31 * 86_400), bytes: false };
        assert_eq!(Pace::new(&quota, Some(u64::MAX)).tolerance_ns, u64::MAX);
        assert_eq!(Pace::new(&quota, None).span_ns(u64::MAX), u64::MAX);
    }
}
