//! A table of connections whose keys are never mistaken for those of an earlier occupant.

/// Names an occupant: its place and the generation of the place. Fits a poll token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(pub u64);

impl Key {
    fn new(index: usize, generation: u32) -> Key {
        Key(index as u64 | u64::from(generation) << 32)
    }

    /// Its place.
    pub fn index(self) -> usize {
        (self.0 & 0xFFFF_FFFF) as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Generations stay below this, so that the largest keys are free for other tokens.
const GENERATION_MAX: u32 = u32::MAX >> 1;

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub fn new() -> Slab<T> {
        Slab { places: Vec::new(), free: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let place = &mut self.places[index as usize];
            place.value = Some(value);
            return Key::new(index as usize, place.generation);
        }
        self.places.push(Place { generation: 0, value: Some(value) });
        Key::new(self.places.len() - 1, 0)
    }

    #[inline]
    pub fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index())?;
        if place.generation != key.generation() { None } else { place.value.as_ref() }
    }

    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index())?;
        if place.generation != key.generation() { None } else { place.value.as_mut() }
    }

    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index())?;
        if place.generation != key.generation() {
            return None;
        }
        let value = place.value.take()?;
        place.generation = if place.generation == GENERATION_MAX { 0 } else { place.generation + 1 };
        self.free.push(key.index() as u32);
        Some(value)
    }

    /// How many places there are, taken or free.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Who is in a place.
    pub fn key_at(&self, index: usize) -> Option<Key> {
        let place = self.places.get(index).filter(|place| place.value.is_some())?;
        Some(Key::new(index, place.generation))
    }

    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.value.is_some())
            .map(|(index, place)| Key::new(index, place.generation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_does_not_reach_the_next_occupant() {
        let mut slab = Slab::new();
        let a = slab.insert('a');
        assert_eq!(slab.remove(a), Some('a'));
        let b = slab.insert('b');
        assert_eq!(a.index(), b.index());
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.get_mut(a), None);
        assert_eq!(slab.remove(a), None);
        assert_eq!((slab.get(b), slab.len()), (Some(&'b'), 1));
        assert_eq!(slab.keys().collect::<Vec<_>>(), [b]);
    }
}
