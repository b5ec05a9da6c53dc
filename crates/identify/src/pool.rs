//! Values that many have in common are kept once.

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use std::hash::Hash;
use std::sync::Arc;

/// A set of shared values. What nobody refers to any more is swept out as the set grows.
#[derive(Debug)]
pub(crate) struct Pool<T> {
    set: HashSet<Arc<T>, FixedState>,
    sweep_at: usize,
}

/// Below this many values nothing is swept.
const SWEEP_MIN: usize = 1_024;

impl<T: Hash + Eq> Pool<T> {
    pub(crate) fn new(seed: u64) -> Pool<T> {
        Pool { set: HashSet::with_hasher(FixedState::with_seed(seed)), sweep_at: SWEEP_MIN }
    }

    /// The one copy of `value`.
    pub(crate) fn share(&mut self, value: T) -> Arc<T> {
        if let Some(known) = self.set.get(&value) {
            return known.clone();
        }
        if self.set.len() >= self.sweep_at {
            self.set.retain(|value| Arc::strong_count(value) > 1);
            // Twice what is in use: sweeping costs a constant per new value.
            self.sweep_at = (self.set.len() * 2).max(SWEEP_MIN);
        }
        let value = Arc::new(value);
        self.set.insert(value.clone());
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_kept_once_and_not_for_ever() {
        let mut pool = Pool::new(1);
        let first = pool.share(0);
        assert!(Arc::ptr_eq(&first, &pool.share(0)));
        for number in 1..10_000 {
            pool.share(number);
        }
        assert!(pool.set.len() <= 2 * SWEEP_MIN, "{} kept", pool.set.len());
        assert!(Arc::ptr_eq(&first, &pool.share(0)));
    }
}
