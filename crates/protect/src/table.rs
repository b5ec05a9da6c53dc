//! A table that never holds more than it may: when it is full, a new entry takes the place of the one that matters
//! least among a few. Whoever fills it with keys of his own pays a constant time for each, and displaces first what
//! is worth least, not what others need (attack 48).

use foldhash::HashMap;
use std::hash::Hash;

/// Entries that are looked at for one to give up.
const SAMPLE: usize = 8;

/// A bounded map.
pub struct Table<K, V> {
    max: usize,
    places: HashMap<K, u32>,
    entries: Vec<(K, V)>,
    /// Where the next sample begins.
    hand: usize,
}

impl<K: Hash + Eq + Clone, V> Table<K, V> {
    /// An empty table of at most `max` entries (at least one).
    pub fn new(max: usize) -> Table<K, V> {
        Table {
            max: max.clamp(1, u32::MAX as usize),
            places: HashMap::default(),
            entries: Vec::new(),
            hand: 0,
        }
    }

    /// Changes the most it may hold; what is there stays until it is displaced.
    pub fn set_max(&mut self, max: usize) {
        self.max = max.clamp(1, u32::MAX as usize);
    }

    /// The most it may hold.
    pub fn max(&self) -> usize {
        self.max
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.places.get(key).map(|at| &self.entries[*at as usize].1)
    }

    /// The entry of a key.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.places.get(key).map(|at| &mut self.entries[*at as usize].1)
    }

    /// The entry of a key, made if it is not there. In a full table the entry of least `worth` among a few gives way;
    /// `None` is worth keeping at any price. Nothing is returned if all of them are.
    pub fn entry(
        &mut self,
        key: K,
        worth: impl Fn(&V) -> Option<u64>,
        make: impl FnOnce() -> V,
    ) -> Option<&mut V> {
        if let Some(at) = self.places.get(&key) {
            return Some(&mut self.entries[*at as usize].1);
        }
        if self.entries.len() >= self.max {
            self.displace(worth)?;
        }
        self.places.insert(key.clone(), self.entries.len() as u32);
        self.entries.push((key, make()));
        self.entries.last_mut().map(|(_, value)| value)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.places.remove(key)? as usize;
        Some(self.take(at))
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, value)| (key, value))
    }

    /// Keeps the entries that `keep` says; returns how many went.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) -> usize {
        let before = self.entries.len();
        let mut at = 0;
        while at < self.entries.len() {
            let (key, value) = &self.entries[at];
            if keep(key, value) {
                at += 1;
                continue;
            }
            let key = key.clone();
            self.places.remove(&key);
            self.take(at);
        }
        before - self.entries.len()
    }

    fn displace(&mut self, worth: impl Fn(&V) -> Option<u64>) -> Option<()> {
        let len = self.entries.len();
        let sample = (0..SAMPLE.min(len)).map(|step| (self.hand + step) % len);
        let least = sample.filter_map(|at| Some((worth(&self.entries[at].1)?, at))).min();
        self.hand = (self.hand + SAMPLE) % len;
        let (_, at) = least?;
        let key = self.entries[at].0.clone();
        self.places.remove(&key);
        self.take(at);
        Some(())
    }

    /// Takes the entry at a place out, which its key no longer names; the last one moves there.
    fn take(&mut self, at: usize) -> V {
        let (_, value) = self.entries.swap_remove(at);
        if let Some((moved, _)) = self.entries.get(at)
            && let Some(place) = self.places.get_mut(moved)
        {
            *place = at as u32;
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_least_worth_gives_way_and_what_must_stay_stays() {
        let mut table = Table::new(4);
        let worth = |value: &u64| (*value < 100).then_some(*value);
        for (key, value) in [("a", 3), ("b", 1), ("c", 100), ("d", 2)] {
            assert!(table.entry(key, worth, || value).is_some());
        }
        table.entry("e", worth, || 100).unwrap();
        assert_eq!((table.get(&"b"), table.get(&"a")), (None, Some(&3)));
        table.entry("f", worth, || 100).unwrap();
        table.entry("g", worth, || 100).unwrap();
        assert!(table.entry("h", worth, || 1).is_none(), "all are worth keeping");
        assert_eq!(table.len(), 4);
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0u8..20, any::<bool>()), 0..200)) {
            let (mut table, mut model) = (Table::new(100), BTreeMap::new());
            for (at, (key, add)) in steps.into_iter().enumerate() {
                if add {
                    *table.entry(key, |_| Some(0), || 0).unwrap() = at;
                    model.insert(key, at);
                } else {
                    prop_assert_eq!(table.remove(&key), model.remove(&key));
                }
            }
            table.retain(|key, _| key % 3 != 0);
            model.retain(|key, _| key % 3 != 0);
            let all: BTreeMap<u8, usize> = table.iter().map(|(key, value)| (*key, *value)).collect();
            prop_assert_eq!(&all, &model);
            for key in 0..20 {
                prop_assert_eq!(table.get(&key), model.get(&key));
            }
        }
    }
}
