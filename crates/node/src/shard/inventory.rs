//! What the inventory has to do with a shard: whom it lets in, and what it is told.
//!
//! Nothing here is done for each message: an arrival and a handshake once a connection.

use super::Shard;
use crate::control::{Arrival, Handshake, Watched};
use crate::transport::tls::Tls;
use ravelin_broker::Connecting;
use ravelin_event::{Principal, Refusal};
use ravelin_identify::Admission;
use ravelin_mqtt::Version;
use std::sync::Arc;

/// User Properties of one CONNECT that the inventory is told, and how long each part of one may be: it looks for a few
/// short ones.
const PROPERTIES_MAX: usize = 16;
const PROPERTY_BYTES_MAX: usize = 128;

impl Shard {
    /// Why the inventory does not let this client in. One that it does not know may be put into another class.
    pub(super) fn admission(&self, principal: &mut Principal) -> Option<Refusal> {
        let admissions = &self.policy.programme.admissions;
        match admissions.decide(&principal.client_id, principal.identity.as_deref()) {
            Admission::Admit => None,
            Admission::Quarantine(class) => {
                principal.class = Some(class);
                None
            }
            Admission::Refuse(_) => Some(Refusal::Retired),
            Admission::RefuseUnknown => Some(Refusal::Undeclared),
        }
    }

    /// What the inventory is told of a client, once it is let in.
    pub(super) fn arrival(&self, connecting: &Connecting<'_>, listener: u16) -> Option<Watched> {
        let (connect, who) = (connecting.connect, &connecting.principal);
        let short = |text: &str| text.len() <= PROPERTY_BYTES_MAX;
        let user = connect.properties.user_properties().filter(|(name, value)| short(name) && short(value));
        let user = user.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Some(Watched::Arrived(Arc::new(Arrival {
            wall_ms: self.now.wall_ms,
            client_id: who.client_id.clone(),
            identity: who.identity.clone(),
            class: who.class.clone(),
            certificate: who.certificate.clone(),
            address: who.address?.ip(),
            listener,
            version: if connect.version == Version::V5 { "5" } else { "3.1.1" },
            keep_alive_s: connect.keep_alive_s,
            will: connect.will.is_some(),
            properties: user.take(PROPERTIES_MAX).collect(),
        })))
    }
}

/// What a completed handshake agreed on.
pub(super) fn handshake(tls: &Tls, wall_ms: u64, listener: u16) -> Watched {
    let agreed = tls.agreed();
    Watched::Handshake(Arc::new(Handshake {
        wall_ms,
        listener,
        version: agreed.version,
        suite: agreed.suite,
        group: agreed.group,
        resumed: agreed.resumed,
        peer: tls.peer_certificates().first().cloned(),
    }))
}
