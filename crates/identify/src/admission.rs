//! Whom the inventory lets onto the bus: asked for every connection, once it is known who it is.

use crate::device::Key;
use crate::lifecycle::State;
use crate::settings::{KeyedBy, Unknown};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use std::sync::Arc;

/// What becomes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It may come in.
    Admit,
    /// It may come in, into this class.
    Quarantine(Arc<str>),
    /// It is refused: the device is retired or lost.
    Refuse(State),
    /// It is refused: the device is not declared.
    RefuseUnknown,
}

/// A snapshot that answers without a lock. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admissions {
    keyed_by: KeyedBy,
    unknown: Unknown,
    quarantine: Arc<str>,
    refused: Arc<HashMap<Key, State, FixedState>>,
    /// Empty where unknown devices are admitted.
    known: Arc<HashSet<Key, FixedState>>,
}

impl Default for Admissions {
    /// Everyone may come in.
    fn default() -> Admissions {
        Admissions::new(KeyedBy::Identity, Unknown::Admit, "", [].into_iter(), [].into_iter())
    }
}

impl Admissions {
    pub(crate) fn new(
        keyed_by: KeyedBy,
        unknown: Unknown,
        quarantine: &str,
        refused: impl Iterator<Item = (Key, State)>,
        known: impl Iterator<Item = Key>,
    ) -> Admissions {
        let mut refusals = HashMap::with_hasher(FixedState::default());
        refusals.extend(refused);
        let mut names = HashSet::with_hasher(FixedState::default());
        if unknown != Unknown::Admit {
            names.extend(known);
        }
        Admissions {
            keyed_by,
            unknown,
            quarantine: quarantine.into(),
            refused: Arc::new(refusals),
            known: Arc::new(names),
        }
    }

    /// What becomes of a client. Whatever record it may be: a retired Client Identifier is refused under any identity, and a
    /// retired identity under any Client Identifier.
    pub fn decide(&self, client_id: &str, identity: Option<&str>) -> Admission {
        if self.refused.is_empty() && self.unknown == Unknown::Admit {
            return Admission::Admit;
        }
        let client = Key::client(client_id);
        let identity = identity.map(Key::identity);
        let either = [Some(&client), identity.as_ref()];
        if let Some(state) = either.iter().flatten().find_map(|key| self.refused.get(*key)) {
            return Admission::Refuse(*state);
        }
        // Known is who proves to be; where identities are shared, the Client Identifier must be declared itself.
        let known = match (self.keyed_by, &identity) {
            (KeyedBy::Identity, Some(identity)) => {
                self.known.contains(identity) || self.known.contains(&client)
            }
            (KeyedBy::Identity, None) | (KeyedBy::ClientId, _) => self.known.contains(&client),
        };
        match self.unknown {
            Unknown::Admit => Admission::Admit,
            _ if known => Admission::Admit,
            Unknown::Quarantine => Admission::Quarantine(self.quarantine.clone()),
            Unknown::Refuse => Admission::RefuseUnknown,
        }
    }
}

/// Devices, by either of their names. Cheap to ask, not to make.
#[derive(Clone, Debug, Default)]
pub struct Known(HashSet<Key, FixedState>);

impl Known {
    pub(crate) fn new(keys: impl Iterator<Item = Key>) -> Known {
        Known(keys.collect())
    }

    /// Whether a client is one of them: by its identity, if it has proven one, or by its Client Identifier.
    pub fn contains(&self, client_id: &str, identity: Option<&str>) -> bool {
        identity.is_some_and(|identity| self.0.contains(&Key::identity(identity)))
            || self.0.contains(&Key::client(client_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admissions(unknown: Unknown) -> Admissions {
        let refused =
            [(Key::Identity("old".into()), State::Retired), (Key::Client("gone".into()), State::Lost)];
        let known = [Key::Identity("meter1".into())];
        Admissions::new(KeyedBy::Identity, unknown, "q", refused.into_iter(), known.into_iter())
    }

    #[test]
    fn retired_and_lost_are_refused_by_either_name() {
        for unknown in [Unknown::Admit, Unknown::Quarantine, Unknown::Refuse] {
            let admissions = admissions(unknown);
            assert_eq!(admissions.decide("x", Some("old")), Admission::Refuse(State::Retired));
            assert_eq!(admissions.decide("gone", Some("meter1")), Admission::Refuse(State::Lost));
            assert_eq!(admissions.decide("x", Some("meter1")), Admission::Admit);
        }
    }

    #[test]
    fn unknown_ones_are_as_configured() {
        assert_eq!(admissions(Unknown::Admit).decide("x", None), Admission::Admit);
        assert_eq!(admissions(Unknown::Quarantine).decide("x", None), Admission::Quarantine("q".into()));
        assert_eq!(admissions(Unknown::Refuse).decide("x", Some("y")), Admission::RefuseUnknown);
        assert_eq!(
            admissions(Unknown::Refuse).decide("meter1", None),
            Admission::RefuseUnknown,
            "a claim is no proof"
        );
    }
}
