//! What an operator orders.

use super::Inventory;
use super::records::{self, Write};
use crate::declared::{Declared, Difference, Entry, mismatches};
use crate::device::{Device, Facts, Key};
use crate::error::Error;
use crate::lifecycle::State;
use crate::time::seconds;
use std::sync::Arc;

impl Inventory {
    /// Declares devices, or declares them anew. All of them, or none.
    ///
    /// # Errors
    ///
    /// What is wrong with one of them, [`Error::LimitExceeded`], or [`Error::Transition`] for a state that cannot be declared.
    pub fn declare(&mut self, devices: Vec<Declared>, now_ms: u64) -> Result<usize, Error> {
        let max = self.settings.limits.declared_max;
        let new = devices.iter().filter(|declared| self.declared.get(&declared.name).is_none()).count();
        if self.declared.len() + new > max {
            return Err(Error::LimitExceeded { what: "declared devices", max });
        }
        self.check_keys(&devices)?;
        for declared in &devices {
            declared.check()?;
            if let Some(state) = declared.state {
                self.check_state(declared, state)?;
            }
        }
        let count = devices.len();
        for declared in devices {
            self.declare_one(declared, now_ms);
        }
        Ok(count)
    }

    /// Takes a declaration back. Its device is unknown from now on, or forgotten if it was never seen.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`].
    pub fn undeclare(&mut self, name: &str) -> Result<Declared, Error> {
        let declared = self.declared.remove(name).ok_or_else(|| Error::Unknown(name.into()))?;
        for key in declared.keys(self.settings.keyed_by) {
            if self.devices.get(&key).is_some_and(|device| device.last_s == 0 && !device.state.is_refused()) {
                self.forget(&key);
            }
        }
        self.urgent.push_back(Write { key: records::declared_key(name), value: None });
        Ok(declared)
    }

    /// Retires a device, reports it as lost, or reinstates it. The keys whose connections the shell must end now are
    /// returned: all names that the device is known by.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], or [`Error::Transition`] where its life does not lead there.
    pub fn set_state(&mut self, name: &str, to: State, why: &str) -> Result<Vec<Key>, Error> {
        let keys = self.resolve(name)?;
        let mut changed = Vec::new();
        for key in &keys {
            let Some(device) = self.devices.get(key) else { continue };
            let from = device.state;
            let state = from.ordered(to, device.last_s != 0).map_err(|hint| Error::Transition {
                device: name.into(),
                from,
                to,
                hint,
            })?;
            changed.push((key.clone(), from, state));
        }
        for (key, from, state) in changed.iter().filter(|(_, from, state)| from != state) {
            self.put_state(key, *from, *state, why);
        }
        let mut all = keys.clone();
        if let Some((name, entry)) = keys.first().and_then(|key| self.declared.of(key)) {
            all.extend(self.declared.keys_of(name, entry).into_iter().filter(|key| !keys.contains(key)));
        }
        Ok(all)
    }

    /// Forgets a device that is not declared: what was seen of it, and its life.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`]; [`Error::Field`] if it is declared.
    pub fn remove(&mut self, key: &str) -> Result<(), Error> {
        let known = Key::parse(key).filter(|key| self.devices.contains_key(key));
        let key = known.ok_or_else(|| Error::Unknown(key.into()))?;
        if let Some((name, _)) = self.declared.of(&key) {
            let what = format!("it is declared as {name:?}: take the declaration back first");
            return Err(Error::Field { field: "name", what });
        }
        self.forget(&key);
        Ok(())
    }

    /// The declarations, in the order of their names, with the state that an operator gave.
    pub fn declarations(&self) -> impl Iterator<Item = Declared> {
        self.declared.iter().map(|(name, entry)| self.with_state(name, entry))
    }

    /// A declaration.
    pub fn declaration(&self, name: &str) -> Option<Declared> {
        self.declared.get(name).map(|(name, entry)| self.with_state(name, entry))
    }

    /// Declared against discovered; at most `max` entries of each kind.
    pub fn difference(&self, max: usize) -> Difference {
        let mut difference = Difference::default();
        for (name, entry) in self.declared.iter() {
            let keys = self.declared.keys_of(name, entry);
            let seen = keys.iter().filter_map(|key| Some((key, self.devices.get(key)?)));
            let seen: Vec<_> = seen.filter(|(_, device)| device.last_s != 0).collect();
            if seen.is_empty() {
                push(&mut difference.missing, name.to_string(), max, &mut difference.truncated);
                continue;
            }
            let declared = entry.declared(name);
            let differs =
                seen.iter().flat_map(|(key, device)| mismatches(&declared, key, device, &self.places));
            let before = difference.mismatched.len();
            for mismatch in differs {
                push(&mut difference.mismatched, mismatch, max, &mut difference.truncated);
            }
            difference.agreeing += u64::from(difference.mismatched.len() == before);
        }
        for key in self.devices.keys().filter(|key| self.declared.of(key).is_none()) {
            push(&mut difference.unknown, key.to_string(), max, &mut difference.truncated);
        }
        difference
    }

    /// What of one declared device is not as declared.
    pub fn mismatches_of(&self, name: &str) -> Result<Vec<crate::declared::Mismatch>, Error> {
        let (name, entry) = self.declared.get(name).ok_or_else(|| Error::Unknown(name.into()))?;
        let (declared, keys) = (entry.declared(name), self.declared.keys_of(name, entry));
        let seen = keys
            .iter()
            .filter_map(|key| Some((key, self.devices.get(key).filter(|device| device.last_s != 0)?)));
        Ok(seen.flat_map(|(key, device)| mismatches(&declared, key, device, &self.places)).collect())
    }

    /// The records of a name: that of a declaration, or `identity:..`, `client:..`.
    pub(super) fn resolve(&self, name: &str) -> Result<Vec<Key>, Error> {
        if let Some((name, entry)) = self.declared.get(name) {
            return Ok(self.existing(self.declared.keys_of(name, entry).iter()));
        }
        let key = Key::parse(name).filter(|key| self.devices.contains_key(key));
        match key {
            Some(key) => match self.declared.of(&key) {
                Some((name, entry)) => Ok(self.existing(self.declared.keys_of(name, entry).iter())),
                None => Ok(vec![key]),
            },
            None => Err(Error::Unknown(name.into())),
        }
    }

    /// No two declarations may be of one device.
    fn check_keys(&self, devices: &[Declared]) -> Result<(), Error> {
        let mut claimed = std::collections::BTreeMap::new();
        for declared in devices {
            for key in declared.keys(self.settings.keyed_by) {
                let other = self.declared.of(&key).map(|(name, _)| name).filter(|name| {
                    // One that is declared anew by the same order no longer counts.
                    !devices.iter().any(|one| one.name == **name)
                });
                if let Some(other) =
                    other.or_else(|| claimed.get(&key)).filter(|other| **other != declared.name)
                {
                    let what =
                        format!("{key} is declared as {other:?} already, not only as {:?}", declared.name);
                    return Err(Error::Field { field: "identity", what });
                }
                claimed.insert(key, declared.name.clone());
            }
        }
        Ok(())
    }

    fn check_state(&self, declared: &Declared, to: State) -> Result<(), Error> {
        for key in declared.keys(self.settings.keyed_by) {
            let device = self.devices.get(&key);
            let (from, seen) =
                device.map_or((State::Registered, false), |device| (device.state, device.last_s != 0));
            // An import says "registered" of whatever is in service.
            if to == State::Registered && !from.is_refused() {
                continue;
            }
            from.ordered(to, seen).map_err(|hint| Error::Transition {
                device: declared.name.to_string(),
                from,
                to,
                hint,
            })?;
        }
        Ok(())
    }

    fn declare_one(&mut self, mut declared: Declared, now_ms: u64) {
        let state = declared.state.take();
        let keys = declared.keys(self.settings.keyed_by);
        self.urgent.push_back(records::declared_write(&declared));
        self.declared.insert(declared, &mut self.names);
        if !keys.iter().any(|key| self.devices.contains_key(key)) {
            let facts = self.facts.share(Facts::default());
            let mut device = Device::new(0, facts);
            (device.state, device.first_s) = (State::Registered, seconds(now_ms));
            self.make_room();
            self.devices.insert(keys[0].clone(), Box::new(device));
            self.urgent_device(&keys[0]);
        }
        let Some(to) = state else { return };
        for key in self.existing(keys.iter()) {
            let Some(device) = self.devices.get(&key) else { continue };
            let from = device.state;
            if to == State::Registered && !from.is_refused() {
                continue;
            }
            if let Ok(state) = from.ordered(to, device.last_s != 0)
                && from != state
            {
                self.put_state(&key, from, state, "declared so");
            }
        }
    }

    fn put_state(&mut self, key: &Key, from: State, to: State, why: &str) {
        if let Some(device) = self.devices.get_mut(key) {
            device.state = to;
        }
        self.tell_state(key, from, to, why.to_owned());
        self.urgent_device(key);
    }

    /// A declared device was seen under `key`: what stood for it under another of its names goes.
    pub(super) fn drop_placeholders(&mut self, key: &Key) {
        let Some((name, entry)) = self.declared.of(key) else { return };
        for other in self.declared.keys_of(name, entry).iter().filter(|other| *other != key) {
            let never_seen = |device: &Device| device.last_s == 0 && !device.state.is_refused();
            if self.devices.get(other).is_some_and(|device| never_seen(device)) {
                self.forget(other);
            }
        }
    }

    fn with_state(&self, name: &Arc<str>, entry: &Entry) -> Declared {
        let keys = self.declared.keys_of(name, entry);
        let states = keys.iter().filter_map(|key| self.devices.get(key)).map(|device| device.state);
        Declared { state: states.filter(|state| state.is_refused()).max(), ..entry.declared(name) }
    }
}

fn push<T>(list: &mut Vec<T>, entry: T, max: usize, truncated: &mut bool) {
    if list.len() < max { list.push(entry) } else { *truncated = true }
}
