//! The declarations, compact: what the devices of a fleet have in common is kept once.

use super::{Criticality, Declared};
use crate::device::Key;
use crate::names::Names;
use crate::network::Network;
use crate::place::Position;
use crate::pool::Pool;
use crate::settings::KeyedBy;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

/// What many devices have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) owner: Option<Arc<str>>,
    pub(crate) model: Option<Arc<str>>,
    pub(crate) criticality: Option<Criticality>,
    pub(crate) site: Option<Arc<str>>,
    class: Option<Arc<str>>,
    version: Option<Arc<str>>,
    firmware: Option<Arc<str>>,
    pub(crate) networks: Vec<Network>,
    pub(crate) publishes: Vec<Arc<str>>,
    pub(crate) subscribes: Vec<Arc<str>>,
}

/// A declaration.
#[derive(Debug)]
pub(crate) struct Entry {
    identity: Option<Arc<str>>,
    /// Of its own, where there is anything.
    own: Option<Box<Own>>,
    pub(crate) kind: Arc<Kind>,
}

/// What no other device has.
#[derive(Debug, Default, PartialEq)]
struct Own {
    client_ids: Vec<Arc<str>>,
    position: Option<Position>,
    certificate: Option<Arc<str>>,
}

impl Entry {
    /// The declaration as it was given, without a state.
    pub(crate) fn declared(&self, name: &Arc<str>) -> Declared {
        let Kind {
            owner,
            model,
            criticality,
            site,
            class,
            version,
            firmware,
            networks,
            publishes,
            subscribes,
        } = Kind::clone(&self.kind);
        Declared {
            name: name.clone(),
            identity: self.identity.clone(),
            client_ids: self.client_ids().to_vec(),
            owner,
            model,
            criticality,
            site,
            position: self.position(),
            class,
            certificate: self.own.as_ref().and_then(|own| own.certificate.clone()),
            version,
            firmware,
            networks,
            publishes,
            subscribes,
            state: None,
        }
    }

    pub(crate) fn position(&self) -> Option<Position> {
        self.own.as_ref()?.position
    }

    fn client_ids(&self) -> &[Arc<str>] {
        self.own.as_ref().map_or(&[], |own| &own.client_ids)
    }

    /// Whether the address is where the device should come from; `None` if nothing is declared.
    pub(crate) fn expects(&self, address: IpAddr) -> Option<bool> {
        let networks = &self.kind.networks;
        (!networks.is_empty()).then(|| networks.iter().any(|network| network.contains(address)))
    }
}

/// All declarations, by name and by key.
#[derive(Debug)]
pub(crate) struct Register {
    keyed_by: KeyedBy,
    entries: BTreeMap<Arc<str>, Entry>,
    kinds: Pool<Kind>,
    /// The names of declarations by those keys that are not called so.
    others: HashMap<Key, Arc<str>, FixedState>,
}

impl Register {
    pub(crate) fn new(keyed_by: KeyedBy, seed: u64) -> Register {
        let others = HashMap::with_hasher(FixedState::with_seed(seed));
        Register { keyed_by, entries: BTreeMap::new(), kinds: Pool::new(seed), others }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<(&Arc<str>, &Entry)> {
        self.entries.get_key_value(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.entries.iter()
    }

    /// The keys of a declaration.
    pub(crate) fn keys_of(&self, name: &Arc<str>, entry: &Entry) -> Vec<Key> {
        keys(name, entry.identity.as_ref(), entry.client_ids(), self.keyed_by)
    }

    /// Every key that is declared.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.entries.iter().flat_map(|(name, entry)| self.keys_of(name, entry))
    }

    /// The declaration that covers a key.
    pub(crate) fn of(&self, key: &Key) -> Option<(&Arc<str>, &Entry)> {
        if let Some(name) = self.others.get(key) {
            return self.get(name);
        }
        let (name, entry) = self.get(key.name())?;
        self.keys_of(name, entry).contains(key).then_some((name, entry))
    }

    /// Puts a declaration in the place of the one of its name.
    pub(crate) fn insert(&mut self, declared: Declared, names: &mut Names) {
        self.remove(&declared.name);
        let Declared { name, identity, client_ids, position, certificate, .. } = declared;
        let mut shared = |text: Option<Arc<str>>| text.map(|text| names.intern(&text));
        let mut kind = Kind {
            owner: shared(declared.owner),
            model: shared(declared.model),
            criticality: declared.criticality,
            site: shared(declared.site),
            class: shared(declared.class),
            version: shared(declared.version),
            firmware: shared(declared.firmware),
            networks: declared.networks,
            publishes: declared.publishes.iter().map(|filter| names.intern(filter)).collect(),
            subscribes: declared.subscribes.iter().map(|filter| names.intern(filter)).collect(),
        };
        kind.networks.shrink_to_fit();
        let entry = Entry {
            // One copy of the name, where the identity is the same.
            identity: identity.map(|identity| if identity == name { name.clone() } else { identity }),
            own: Some(Own { client_ids, position, certificate })
                .filter(|own| *own != Own::default())
                .map(Box::new),
            kind: self.kinds.share(kind),
        };
        for key in self.keys_of(&name, &entry) {
            if key.name() != &*name {
                self.others.insert(key, name.clone());
            }
        }
        self.entries.insert(name, entry);
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Declared> {
        let (name, entry) = self.entries.remove_entry(name)?;
        for key in self.keys_of(&name, &entry) {
            self.others.remove(&key);
        }
        Some(entry.declared(&name))
    }
}

/// The keys under which a device is found on the bus.
pub(super) fn keys(
    name: &Arc<str>,
    identity: Option<&Arc<str>>,
    client_ids: &[Arc<str>],
    by: KeyedBy,
) -> Vec<Key> {
    let clients = client_ids.iter().map(|id| Key::Client(id.clone()));
    match (identity, by) {
        (Some(identity), KeyedBy::Identity) => {
            [Key::Identity(identity.clone())].into_iter().chain(clients).collect()
        }
        _ if !client_ids.is_empty() => clients.collect(),
        (None, KeyedBy::Identity) => vec![Key::Identity(name.clone())],
        (_, KeyedBy::ClientId) => vec![Key::Client(name.clone())],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_is_found_by_each_of_its_keys_and_no_other() {
        let (mut names, mut register) = (Names::new(1), Register::new(KeyedBy::Identity, 1));
        let ids = || vec!["Meter 1".into(), "modem".into()];
        let declared =
            Declared { identity: Some("meter1".into()), client_ids: ids(), ..Declared::named("Meter 1") };
        register.insert(declared.clone(), &mut names);
        register.insert(Declared::named("Meter 2"), &mut names);
        let name = |key: Key| register.of(&key).map(|(name, _)| name.to_string());
        assert_eq!(name(Key::identity("meter1")).as_deref(), Some("Meter 1"));
        assert_eq!(name(Key::client("modem")).as_deref(), Some("Meter 1"));
        assert_eq!(name(Key::client("Meter 1")).as_deref(), Some("Meter 1"));
        assert_eq!(name(Key::identity("Meter 1")), None, "its name is no key of it");
        assert_eq!(name(Key::identity("Meter 2")).as_deref(), Some("Meter 2"));
        assert_eq!(name(Key::client("Meter 2")), None);
        assert_eq!(register.remove("Meter 1"), Some(declared));
        assert!(register.of(&Key::client("modem")).is_none() && register.others.is_empty());
    }
}
