//! Maps that are cheap to copy and cheap to change: what did not change is shared between the copies.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;

/// Buckets of a table. A change copies one of them, and the list of them.
const BUCKETS: usize = 1024;
/// Names in one run of the ordered list.
const RUN: usize = 512;

type Hasher = foldhash::fast::FixedState;
type Bucket<T> = HashMap<Arc<str>, T, Hasher>;

/// Many values by name, also in the order of their names. A copy is a pointer or two; a change costs as much with a
/// million entries as with a thousand.
#[derive(Clone)]
pub(super) struct Table<T> {
    buckets: Arc<Vec<Option<Arc<Bucket<T>>>>>,
    names: Names,
    len: usize,
}

impl<T: Clone> Table<T> {
    pub fn new() -> Table<T> {
        Table { buckets: Arc::new(vec![None; BUCKETS]), names: Names::default(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn get(&self, name: &str) -> Option<&T> {
        self.buckets[bucket_of(name)].as_ref()?.get(name)
    }

    /// Sets the value of `name`; gives what it replaces.
    pub fn insert(&mut self, name: Arc<str>, value: T) -> Option<T> {
        let buckets = Arc::make_mut(&mut self.buckets);
        let bucket = buckets[bucket_of(&name)].get_or_insert_default();
        let replaced = Arc::make_mut(bucket).insert(name.clone(), value);
        if replaced.is_none() {
            self.names.insert(name);
            self.len += 1;
        }
        replaced
    }

    pub fn remove(&mut self, name: &str) -> Option<T> {
        self.get(name)?;
        let bucket = Arc::make_mut(&mut self.buckets)[bucket_of(name)].as_mut()?;
        let removed = Arc::make_mut(bucket).remove(name);
        if removed.is_some() {
            self.names.remove(name);
            self.len -= 1;
        }
        removed
    }

    /// The names after `after`, in order.
    pub fn names_after<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = &'a Arc<str>> + use<'a, T> {
        self.names.after(after)
    }

    /// The names from the `offset`-th on, in order.
    pub fn names_from(&self, offset: usize) -> impl Iterator<Item = &Arc<str>> {
        self.names.from(offset)
    }

    /// All entries, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &T)> {
        self.names.from(0).filter_map(|name| Some((name, self.get(name)?)))
    }
}

fn bucket_of(name: &str) -> usize {
    Hasher::with_seed(0x4449_5245_4354_4F52).hash_one(name) as usize % BUCKETS
}

/// An ordered list of names in runs; a change copies one run and the list of runs.
#[derive(Clone, Default)]
struct Names(Arc<Vec<Arc<Vec<Arc<str>>>>>);

impl Names {
    /// The run that `name` is in or would be in.
    fn run_of(&self, name: &str) -> usize {
        self.0.partition_point(|run| run.first().is_some_and(|first| **first <= *name)).saturating_sub(1)
    }

    fn insert(&mut self, name: Arc<str>) {
        let at = self.run_of(&name);
        let runs = Arc::make_mut(&mut self.0);
        if runs.is_empty() {
            runs.push(Arc::default());
        }
        let run = Arc::make_mut(&mut runs[at]);
        let Err(place) = run.binary_search(&name) else { return };
        run.insert(place, name);
        if run.len() > RUN {
            let rest = run.split_off(RUN / 2);
            runs.insert(at + 1, Arc::new(rest));
        }
    }

    fn remove(&mut self, name: &str) {
        let at = self.run_of(name);
        let runs = Arc::make_mut(&mut self.0);
        let Some(run) = runs.get_mut(at).map(Arc::make_mut) else { return };
        if let Ok(place) = run.binary_search_by(|known| (**known).cmp(name)) {
            run.remove(place);
        }
        if run.is_empty() {
            runs.remove(at);
        }
    }

    fn after<'a>(&'a self, after: Option<&str>) -> impl Iterator<Item = &'a Arc<str>> + use<'a> {
        let (run, place) = match after {
            None => (0, 0),
            Some(after) => {
                let run = self.run_of(after);
                let place = self.0.get(run).map_or(0, |run| run.partition_point(|name| **name <= *after));
                (run, place)
            }
        };
        let first = self.0.get(run).map_or(&[][..], |run| &run[place.min(run.len())..]);
        first.iter().chain(self.0.iter().skip(run + 1).flat_map(|run| run.iter()))
    }

    fn from(&self, mut offset: usize) -> impl Iterator<Item = &Arc<str>> {
        let mut run = 0;
        while let Some(names) = self.0.get(run)
            && offset >= names.len()
        {
            offset -= names.len();
            run += 1;
        }
        let first = self.0.get(run).map_or(&[][..], |run| &run[offset..]);
        first.iter().chain(self.0.iter().skip(run + 1).flat_map(|run| run.iter()))
    }
}

/// Some hundreds or thousands of values that are referred to by number, which does not change while they live.
pub(super) struct Slots<T>(Arc<Inner<T>>);

struct Inner<T> {
    items: Vec<Option<Arc<T>>>,
    by_name: std::collections::BTreeMap<Arc<str>, u32>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    pub fn new() -> Slots<T> {
        Slots(Arc::new(Inner { items: Vec::new(), by_name: Default::default(), free: Vec::new() }))
    }

    pub fn len(&self) -> usize {
        self.0.by_name.len()
    }

    /// The value with a number.
    pub fn at(&self, slot: u32) -> Option<&Arc<T>> {
        self.0.items.get(slot as usize)?.as_ref()
    }

    pub fn slot(&self, name: &str) -> Option<u32> {
        self.0.by_name.get(name).copied()
    }

    pub fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.at(self.slot(name)?)
    }

    /// All values, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<T>)> {
        self.0.by_name.iter().filter_map(|(name, slot)| Some((name, self.at(*slot)?)))
    }

    /// Sets the value of `name`; gives its number.
    pub fn insert(&mut self, name: Arc<str>, value: Arc<T>) -> u32 {
        let inner = Arc::make_mut(&mut self.0);
        if let Some(slot) = inner.by_name.get(&name) {
            inner.items[*slot as usize] = Some(value);
            return *slot;
        }
        let slot = inner.free.pop().unwrap_or(inner.items.len() as u32);
        if slot as usize == inner.items.len() {
            inner.items.push(None);
        }
        inner.items[slot as usize] = Some(value);
        inner.by_name.insert(name, slot);
        slot
    }

    /// Removes `name`. Nothing may refer to its number any more: it is given to somebody else.
    pub fn remove(&mut self, name: &str) -> Option<Arc<T>> {
        let inner = Arc::make_mut(&mut self.0);
        let slot = inner.by_name.remove(name)?;
        inner.free.push(slot);
        inner.items[slot as usize].take()
    }
}

impl<T> Clone for Slots<T> {
    fn clone(&self) -> Slots<T> {
        Slots(Arc::clone(&self.0))
    }
}

/// The values are shared, whatever they are.
impl<T> Clone for Inner<T> {
    fn clone(&self) -> Inner<T> {
        Inner { items: self.items.clone(), by_name: self.by_name.clone(), free: self.free.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_table_is_what_an_ordered_map_is_and_copies_do_not_change() {
        let mut table = Table::new();
        let mut model = BTreeMap::new();
        let mut state = 7_u64;
        let mut copies = Vec::new();
        for step in 0..20_000_u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name = format!("n{}", (state >> 33) % 4_000);
            if (state >> 20).is_multiple_of(3) {
                assert_eq!(table.remove(&name), model.remove(&name));
            } else {
                assert_eq!(table.insert(name.as_str().into(), step), model.insert(name, step));
            }
            assert_eq!(table.len(), model.len());
            if step % 5_000 == 4_999 {
                copies.push((table.clone(), model.clone()));
            }
        }
        for (table, model) in &copies {
            let all: Vec<(String, u32)> =
                table.iter().map(|(name, value)| (name.to_string(), *value)).collect();
            assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>());
            for (offset, (name, _)) in all.iter().enumerate().step_by(97) {
                let after: Vec<_> =
                    table.names_after(Some(name)).take(3).map(|name| name.to_string()).collect();
                let from: Vec<_> =
                    table.names_from(offset + 1).take(3).map(|name| name.to_string()).collect();
                assert_eq!(after, from);
                assert_eq!(
                    from,
                    all.iter().skip(offset + 1).take(3).map(|(name, _)| name.clone()).collect::<Vec<_>>()
                );
            }
            assert_eq!(table.names_after(Some("zzz")).count() + table.names_from(all.len()).count(), 0);
        }
    }

    #[test]
    fn a_number_stays_until_its_name_goes() {
        let mut slots = Slots::new();
        let a = slots.insert("a".into(), Arc::new(1));
        let b = slots.insert("b".into(), Arc::new(2));
        let before = slots.clone();
        assert_eq!(slots.insert("a".into(), Arc::new(3)), a);
        assert_eq!(slots.remove("b").as_deref(), Some(&2));
        assert_eq!(slots.insert("c".into(), Arc::new(4)), b, "its number is free");
        assert_eq!((before.get("a").map(|x| **x), before.get("b").map(|x| **x)), (Some(1), Some(2)));
        assert_eq!((slots.len(), slots.at(b).map(|x| **x)), (2, Some(4)));
    }
}
