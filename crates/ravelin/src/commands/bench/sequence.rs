//! What a sequence number means on the way from one publisher to one subscriber: new, late or a duplicate.

/// How far back a late number can still be told from a duplicate.
const WINDOW: u32 = 128;

/// What a received number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The first time, and behind everything before it.
    InOrder,
    /// The first time, but a higher number came before.
    Late,
    /// Not the first time (or so old that nothing else is likely).
    Duplicate,
}

/// The numbers that came from one publisher to one subscriber.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequence {
    /// One above the highest number so far.
    next: u32,
    /// Bit `n` says whether number `next - 1 - n` came.
    came: u128,
}

impl Sequence {
    /// Takes note of a number.
    #[inline]
    pub fn arrive(&mut self, number: u32) -> Arrival {
        if number >= self.next {
            let ahead = number - self.next + 1;
            self.came = self.came.checked_shl(ahead).unwrap_or(0) | 1;
            self.next = number + 1;
            return Arrival::InOrder;
        }
        let back = self.next - 1 - number;
        if back >= WINDOW || self.came >> back & 1 == 1 {
            return Arrival::Duplicate;
        }
        self.came |= 1 << back;
        Arrival::Late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_three_kinds() {
        let mut sequence = Sequence::default();
        let mut arrive = |number| sequence.arrive(number);
        assert_eq!(arrive(0), Arrival::InOrder);
        assert_eq!(arrive(2), Arrival::InOrder);
        assert_eq!(arrive(1), Arrival::Late);
        assert_eq!(arrive(1), Arrival::Duplicate);
        assert_eq!(arrive(129), Arrival::InOrder);
        assert_eq!(arrive(3), Arrival::Late);
        assert_eq!(arrive(2), Arrival::Duplicate);
        assert_eq!(arrive(1_000_000), Arrival::InOrder);
        assert_eq!(arrive(999_999), Arrival::Late);
        assert_eq!(arrive(999_000), Arrival::Duplicate);
    }

    #[test]
    fn agrees_with_a_set_within_the_window() {
        let (mut sequence, mut set, mut highest) = (Sequence::default(), HashSet::new(), 0u32);
        let mut state = 1u32;
        for step in 0..20_000u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let number = (step / 2 + (state >> 24) % 100).saturating_sub(20);
            if highest.saturating_sub(number) >= WINDOW - 1 {
                continue;
            }
            let expected = match (set.insert(number), number >= highest) {
                (false, _) => Arrival::Duplicate,
                (true, true) => Arrival::InOrder,
                (true, false) => Arrival::Late,
            };
            highest = highest.max(number + 1);
            assert_eq!(sequence.arrive(number), expected, "step {step}, number {number}");
        }
    }
}
