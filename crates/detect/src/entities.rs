//! A bounded table of whom something is kept about: each has a slot, and who was not seen for longest makes room.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, Ipv6Addr};

const NONE: u32 = u32::MAX;

/// Entities by key, at most so many.
pub struct Table<K, V> {
    slots: Vec<Slot<K, V>>,
    index: HashTable<u32>,
    hasher: FixedState,
    max: usize,
    newest: u32,
    oldest: u32,
    evicted: u64,
}

struct Slot<K, V> {
    key: K,
    value: V,
    newer: u32,
    older: u32,
}

impl<K: Hash + Eq, V> Table<K, V> {
    /// An empty one for at most `max` entities (at least one).
    pub fn new(max: usize, seed: u64) -> Table<K, V> {
        let max = max.clamp(1, NONE as usize);
        Table {
            slots: Vec::new(),
            index: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            max,
            newest: NONE,
            oldest: NONE,
            evicted: 0,
        }
    }

    /// The slot of `key`, if it has one. It does not count as seen.
    pub fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<u32>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |&slot| self.slots[slot as usize].key.borrow() == key).copied()
    }

    /// The slot of `key`, which is seen now; `make` makes it one if it has none. If somebody had to make room for it, the
    /// old key and value come back too.
    pub fn touch<Q: Hash + Eq + ?Sized>(
        &mut self,
        key: &Q,
        make: impl FnOnce() -> (K, V),
    ) -> (u32, Option<(K, V)>)
    where
        K: Borrow<Q>,
    {
        if let Some(slot) = self.find(key) {
            if slot != self.newest {
                self.unlink(slot);
                self.link(slot);
            }
            return (slot, None);
        }
        let (key, value) = make();
        let hash = self.hasher.hash_one(&key);
        let (slot, out) = if self.slots.len() < self.max {
            self.slots.push(Slot { key, value, newer: NONE, older: NONE });
            (self.slots.len() as u32 - 1, None)
        } else {
            let slot = self.oldest;
            self.unlink(slot);
            let old_hash = self.hasher.hash_one(&self.slots[slot as usize].key);
            if let Ok(entry) = self.index.find_entry(old_hash, |&at| at == slot) {
                entry.remove();
            }
            self.evicted += 1;
            let place = &mut self.slots[slot as usize];
            let old = (std::mem::replace(&mut place.key, key), std::mem::replace(&mut place.value, value));
            (slot, Some(old))
        };
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.index.insert_unique(hash, slot, |&at| hasher.hash_one(&slots[at as usize].key));
        self.link(slot);
        (slot, out)
    }

    fn link(&mut self, slot: u32) {
        let before = std::mem::replace(&mut self.newest, slot);
        self.slots[slot as usize].older = before;
        self.slots[slot as usize].newer = NONE;
        match before {
            NONE => self.oldest = slot,
            before => self.slots[before as usize].newer = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let (newer, older) = (self.slots[slot as usize].newer, self.slots[slot as usize].older);
        match newer {
            NONE => self.newest = older,
            newer => self.slots[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.slots[older as usize].newer = newer,
        }
    }

    /// Whose slot it is. Slots come from [`Table::find`] and [`Table::touch`].
    pub fn key(&self, slot: u32) -> &K {
        &self.slots[slot as usize].key
    }

    /// What is kept in a slot.
    pub fn at(&self, slot: u32) -> &V {
        &self.slots[slot as usize].value
    }

    /// What is kept in a slot.
    pub fn at_mut(&mut self, slot: u32) -> &mut V {
        &mut self.slots[slot as usize].value
    }

    /// How many there are; slots are those below.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// How many had to make room.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

/// What stands for an address: of IPv4 itself (also as mapped to IPv6), of IPv6 the first of its /64, since whoever has one
/// address of a /64 has all of them.
pub fn source_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_ipv6_network_is_one_source_and_a_mapped_address_is_that_of_ipv4() {
        let source = |text: &str| source_of(text.parse().unwrap()).to_string();
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(source("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(source("192.0.2.7"), "192.0.2.7");
    }

    proptest! {
        /// Against a naive list: the newest first, the last falls out.
        #[test]
        fn who_was_not_seen_for_longest_makes_room(keys in prop::collection::vec(0u8..12, 1..200)) {
            let mut table: Table<u8, u64> = Table::new(5, 3);
            let mut naive: Vec<(u8, u64)> = Vec::new();
            for (at, key) in keys.into_iter().enumerate() {
                let (slot, out) = table.touch(&key, || (key, at as u64));
                let gone = match naive.iter().position(|(other, _)| *other == key) {
                    Some(place) => { let entry = naive.remove(place); naive.insert(0, entry); None }
                    None => {
                        naive.insert(0, (key, at as u64));
                        if naive.len() > 5 { naive.pop() } else { None }
                    }
                };
                prop_assert_eq!(out, gone);
                prop_assert_eq!(*table.at(slot), naive[0].1);
                for (key, value) in &naive {
                    prop_assert_eq!(*table.at(table.find(key).unwrap()), *value);
                }
                prop_assert_eq!(table.len(), naive.len());
            }
        }
    }
}
