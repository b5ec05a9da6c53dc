//! Strangers by their address: Client Identifiers that nobody vouches for cost nothing, so they are counted and not listed.

use crate::Raise;
use crate::entities::Table;
use crate::statistics::Hll;
use foldhash::fast::FixedState;
use ravelin_event::Subject;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

/// Addresses of strangers that are told apart; the one not heard of for longest makes room.
const SOURCES_MAX: usize = 4_096;
/// An address is somebody new after an hour, and its alarm is over.
const QUIET_MS: u64 = 3_600_000;

/// What is known of strangers, by source.
pub(super) struct Strangers {
    sources: Table<IpAddr, Strange>,
    hasher: FixedState,
}

#[derive(Default)]
struct Strange {
    clients: Hll,
    last_ms: u64,
}

impl Strangers {
    pub fn new(seed: u64) -> Strangers {
        let hasher = FixedState::with_seed(seed ^ 4);
        Strangers { sources: Table::new(SOURCES_MAX, seed ^ 5), hasher }
    }

    /// Makes what was found of one client at `source` a thing of the source, with the Client Identifiers so far as a figure.
    pub fn count(&mut self, mut raise: Raise, source: IpAddr, client_id: &Arc<str>, at_ms: u64) -> Raise {
        let (slot, _) = self.sources.touch(&source, || (source, Strange::default()));
        let strange = self.sources.at_mut(slot);
        if at_ms.saturating_sub(strange.last_ms) > QUIET_MS {
            strange.clients.clear();
        }
        strange.last_ms = at_ms;
        strange.clients.insert(self.hasher.hash_one(client_id));
        raise.subject = Subject::Source(source);
        raise.client_id = Some(Arc::clone(client_id));
        let clients = strange.clients.estimate().round();
        raise.until_cleared_or(QUIET_MS).with("clients", clients, "Client Identifiers")
    }

    /// Addresses that made room.
    pub fn evictions(&self) -> u64 {
        self.sources.evicted()
    }
}
