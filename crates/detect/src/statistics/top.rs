//! Those with most of something, of more than can be kept (space-saving, Metwally et al. 2005).

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::hash::{BuildHasher, Hash};

/// One that is kept.
#[derive(Clone, Debug)]
pub struct Topped<K, V> {
    /// Which.
    pub key: K,
    /// Its count; too high by at most [`Topped::error`].
    pub count: u64,
    /// What it may have taken over from another.
    pub error: u64,
    /// What else is kept of it; begins anew when another takes the place.
    pub value: V,
}

/// At most `max` keys with counts. Whoever has more than 1/`max` of all is among them.
pub struct Top<K, V> {
    entries: Vec<Topped<K, V>>,
    /// Their counts once more: the least is looked for among these, which are small.
    counts: Vec<u64>,
    index: HashTable<u32>,
    hasher: FixedState,
    max: usize,
}

impl<K: Hash + Eq + Clone, V: Default> Top<K, V> {
    /// An empty one for at most `max` (at least one).
    pub fn new(max: usize, seed: u64) -> Top<K, V> {
        let hasher = FixedState::with_seed(seed);
        Top { entries: Vec::new(), counts: Vec::new(), index: HashTable::new(), hasher, max: max.max(1) }
    }

    /// Counts `times` for `key`, which takes the place of the least if there is no other.
    pub fn count(&mut self, key: &K, times: u64) -> &mut Topped<K, V> {
        let at = match self.position(key) {
            Some(at) => at,
            None => self.place(key),
        };
        let entry = &mut self.entries[at];
        entry.count = entry.count.saturating_add(times);
        self.counts[at] = entry.count;
        entry
    }

    /// What is kept of `key`.
    pub fn find_mut(&mut self, key: &K) -> Option<&mut Topped<K, V>> {
        self.position(key).map(|at| &mut self.entries[at])
    }

    /// Halves all counts: what was long ago counts less.
    pub fn age(&mut self) {
        for entry in &mut self.entries {
            (entry.count, entry.error) = (entry.count / 2, entry.error / 2);
        }
        self.counts.iter_mut().for_each(|count| *count /= 2);
    }

    /// All that are kept, in no order of meaning.
    pub fn entries(&self) -> &[Topped<K, V>] {
        &self.entries
    }

    fn position(&self, key: &K) -> Option<usize> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |&at| self.entries[at as usize].key == *key).map(|&at| at as usize)
    }

    fn place(&mut self, key: &K) -> usize {
        let hash = self.hasher.hash_one(key);
        let at = if self.entries.len() < self.max {
            self.entries.push(Topped { key: key.clone(), count: 0, error: 0, value: V::default() });
            self.counts.push(0);
            self.entries.len() - 1
        } else {
            let least = (0..self.counts.len()).min_by_key(|&at| self.counts[at]).unwrap_or(0);
            let old = self.hasher.hash_one(&self.entries[least].key);
            if let Ok(entry) = self.index.find_entry(old, |&at| at as usize == least) {
                entry.remove();
            }
            let entry = &mut self.entries[least];
            (entry.key, entry.error, entry.value) = (key.clone(), entry.count, V::default());
            least
        };
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index.insert_unique(hash, at as u32, |&at| hasher.hash_one(&entries[at as usize].key));
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn counts_err_by_what_they_say_and_the_frequent_are_kept(keys in prop::collection::vec(0u16..40, 1..400)) {
            let mut top: Top<u16, ()> = Top::new(10, 1);
            let mut naive: BTreeMap<u16, u64> = BTreeMap::new();
            for key in &keys {
                top.count(key, 1);
                *naive.entry(*key).or_default() += 1;
            }
            for entry in top.entries() {
                let exact = naive[&entry.key];
                prop_assert!(entry.count >= exact && entry.count - entry.error <= exact);
            }
            for (key, count) in naive {
                if count > keys.len() as u64 / 10 {
                    prop_assert!(top.find_mut(&key).is_some(), "{key} with {count} of {}", keys.len());
                }
            }
        }
    }
}
