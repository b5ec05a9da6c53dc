//! What all detectors share: who there is, and the way to raise an alarm.

use crate::entities::{Table, source_of};
use crate::episodes::Episodes;
use crate::persist::Changed;
use crate::trust::TrustChange;
use crate::{Settings, Sight, connection, traffic, trust};
use foldhash::fast::FixedState;
use std::collections::{BTreeSet, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is known of a client beside what it does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClientNames {
    /// The Client Identifier.
    pub client_id: Arc<str>,
    /// The identity.
    pub identity: Option<Arc<str>>,
    /// The class.
    pub class: Option<Arc<str>>,
    /// The fingerprint of its certificate.
    pub certificate: Option<Arc<str>>,
    /// From where it is or was connected.
    pub address: Option<SocketAddr>,
    /// Whether the inventory knows it as declared.
    pub declared: bool,
}

/// What is kept of a client.
#[derive(Debug, Default)]
pub struct ClientState {
    /// Its names.
    pub names: ClientNames,
    /// When it was first seen, in milliseconds since the Unix epoch; over restarts.
    pub known_since_ms: u64,
    /// When it was last let in; 0: not since the start.
    pub arrived_ms: u64,
    /// Whether it is connected, as far as was seen.
    pub is_online: bool,
    /// What the detectors of connections keep.
    pub connection: connection::ClientConnection,
    /// What the detectors of messages keep.
    pub traffic: traffic::State,
    /// Its trust.
    pub trust: trust::State,
}

// What is kept hot of a client: four cache lines.
const _: () = assert!(
    size_of::<connection::ClientConnection>() + size_of::<traffic::State>() + size_of::<trust::State>()
        <= 256
);

/// What is kept of an address.
#[derive(Debug, Default)]
pub struct SourceState {
    /// When it was first seen, in milliseconds since the Unix epoch.
    pub known_since_ms: u64,
    /// What the detectors of connections keep.
    pub connection: connection::SourceConnection,
}

/// What all detectors share.
pub struct Cx {
    /// What they go by.
    pub settings: Arc<Settings>,
    /// Clients that were let in at some time, by Client Identifier.
    pub clients: Table<Arc<str>, ClientState>,
    /// Addresses; see [`source_of`].
    pub sources: Table<IpAddr, SourceState>,
    /// The latest time that was told, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// When sights were last missed; 0: never. No conclusion may be drawn from silence around it.
    pub missed_ms: u64,
    /// When the node has started; 0: unknown. Everybody comes back after that.
    pub started_ms: u64,
    /// When the first sight came.
    pub first_ms: u64,
    /// Whether it remembers clients from before it started.
    pub remembers: bool,
    /// Clients that are connected, as far as was seen.
    pub online: u32,
    pub(crate) hasher: FixedState,
    pub(crate) episodes: Episodes,
    pub(crate) trust_changes: VecDeque<TrustChange>,
    /// Clients that made room in this sight.
    pub(crate) evicted: Vec<ClientState>,
    pub(crate) changed: BTreeSet<Changed>,
    /// Changes that were not kept because nobody took them.
    pub(crate) changes_lost: u64,
}

impl Cx {
    pub(crate) fn new(settings: Arc<Settings>, seed: u64) -> Cx {
        let limits = &settings.limits;
        Cx {
            clients: Table::new(limits.clients, seed ^ 1),
            sources: Table::new(limits.sources, seed ^ 2),
            now_ms: 0,
            missed_ms: 0,
            started_ms: 0,
            first_ms: 0,
            remembers: false,
            online: 0,
            hasher: FixedState::with_seed(seed ^ 3),
            episodes: Episodes::new(&settings, seed ^ 4),
            trust_changes: VecDeque::new(),
            evicted: Vec::new(),
            changed: BTreeSet::new(),
            changes_lost: 0,
            settings,
        }
    }

    /// A hash for sketches, the same in all of them.
    pub fn hash<T: Hash + ?Sized>(&self, value: &T) -> u64 {
        self.hasher.hash_one(value)
    }

    /// The names of a client.
    pub fn names(&self, slot: u32) -> &ClientNames {
        &self.clients.at(slot).names
    }

    /// The slot of the client that a sight is about, if it is about one that was let in.
    pub(crate) fn resolve(&mut self, at_ms: u64, sight: &Sight) -> Option<u32> {
        let client_id = match sight {
            Sight::Arrived(arrived) => &arrived.client_id,
            Sight::Metered(metered) => &metered.client_id,
            Sight::Left { client_id, .. }
            | Sight::Denied { client_id, .. }
            | Sight::Subscribed { client_id, .. }
            | Sight::WillPublished { client_id, .. }
            | Sight::Dropped { client_id, .. }
            | Sight::Observed { client_id, .. } => client_id,
            // A Client Identifier that is only claimed makes no entry, and is no sign of life.
            Sight::Refused { client_id, .. } => return self.clients.find(client_id.as_deref()?),
            Sight::Cloned { client_id, .. } => return self.clients.find(&**client_id),
            _ => return None,
        };
        // What was not told apart, or the node's own messages.
        if client_id.is_empty() {
            return None;
        }
        let make = || Cx::new_client(Arc::clone(client_id), at_ms);
        let (slot, evicted) = self.clients.touch(&**client_id, make);
        if let Some((client_id, old)) = evicted {
            self.online -= u32::from(old.is_online);
            self.change(Changed::Trust(client_id));
            self.evicted.push(old);
        }
        Some(slot)
    }

    pub(crate) fn new_client(client_id: Arc<str>, at_ms: u64) -> (Arc<str>, ClientState) {
        let names = ClientNames { client_id: Arc::clone(&client_id), ..ClientNames::default() };
        (client_id, ClientState { names, known_since_ms: at_ms, ..ClientState::default() })
    }

    /// The slot of the source that an address is of.
    pub fn source(&mut self, at_ms: u64, address: IpAddr) -> u32 {
        let source = source_of(address);
        let make = || (source, SourceState { known_since_ms: at_ms, ..SourceState::default() });
        self.sources.touch(&source, make).0
    }

    /// Remembers that something is to be written.
    pub(crate) fn change(&mut self, changed: Changed) {
        let limits = &self.settings.limits;
        if self.changed.len() >= 2 * (limits.clients + limits.alarms) {
            self.changes_lost += 1;
            return;
        }
        self.changed.insert(changed);
    }
}
