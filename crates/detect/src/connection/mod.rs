//! Detectors of connections and log-ins: what can be said before anybody looks at messages.
//!
//! The hardest part is not to see attacks but to tell them from a fleet that comes back. What does that here: clients that
//! are known need no explanation when they return; connections that lasted say nothing by ending; who comes back after an
//! outage is counted by [`storm`](self) alone; and sources with many known clients are allowed in proportion.

mod attempts;
mod authentication;
mod malformed;
mod settings;
mod silent;
mod state;
mod storm;
mod takeover;
mod termination;
mod trail;

pub use settings::Settings;
pub(crate) use state::Shared;
pub use state::{ClientConnection, SourceConnection};

use crate::entities::source_of;
use crate::trust::Bad;
use crate::{Arrived, Cx, DetectorInfo, Sight};
use ravelin_event::{DisconnectCause, Refusal};
use std::net::SocketAddr;
use std::sync::Arc;
use trail::{Fault, Step, fault};

/// What there is to know of these detectors.
pub const DETECTORS: &[DetectorInfo] = &[
    attempts::ATTEMPTS,
    attempts::FLOOD,
    termination::TERMINATION,
    storm::STORM,
    authentication::AUTHENTICATION,
    authentication::DISTRIBUTED,
    malformed::MALFORMED,
    silent::SILENT,
    takeover::TAKEOVER,
];

pub(crate) fn handle(shared: &mut Shared, cx: &mut Cx, at_ms: u64, slot: Option<u32>, sight: &Sight) {
    match (sight, slot) {
        (Sight::Started, _) => storm::started(cx, at_ms),
        (Sight::Missed { .. }, _) => cx.missed_ms = at_ms,
        (Sight::Opened { address, count }, _) => attempts::opened(shared, cx, at_ms, *address, *count),
        (Sight::Abandoned { address, .. }, _) => abandoned(shared, cx, at_ms, *address),
        (Sight::Refused { address, client_id: _, identity, why, count }, slot) => {
            let refused =
                Refused { address: *address, identity: identity.as_ref(), why: *why, count: *count };
            refused.handle(shared, cx, at_ms, slot);
        }
        (Sight::Arrived(arrived), Some(slot)) => handle_arrived(shared, cx, at_ms, slot, arrived),
        (Sight::Left { address, cause, .. }, Some(slot)) => {
            handle_left(shared, cx, at_ms, slot, *address, *cause);
        }
        (Sight::Subscribed { .. } | Sight::Observed { .. }, Some(slot)) => silent::acted(cx, at_ms, slot),
        (Sight::Metered(metered), Some(slot)) => {
            if metered.messages > 0 {
                silent::acted(cx, at_ms, slot);
                malformed::active(cx, at_ms, slot);
            }
            cx.trust_active(at_ms, slot);
        }
        (Sight::Denied { count, .. }, Some(slot)) => {
            silent::acted(cx, at_ms, slot);
            cx.distrust(at_ms, slot, Bad::Denied, (*count).min(10) as f32);
        }
        (Sight::Cloned { addresses, why, .. }, Some(slot)) => {
            takeover::cloned(cx, at_ms, slot, addresses, why)
        }
        _ => {}
    }
}

pub(crate) fn tick(shared: &mut Shared, cx: &mut Cx, at_ms: u64) {
    silent::tick(shared, cx, at_ms);
    authentication::tick(shared, at_ms);
}

fn abandoned(shared: &mut Shared, cx: &mut Cx, at_ms: u64, address: SocketAddr) {
    if is_health_check(cx, address) {
        return;
    }
    let source = cx.source(at_ms, address.ip());
    let state = &mut cx.sources.at_mut(source).connection;
    state.half_open = state.half_open.saturating_sub(1);
    state.trail.push(at_ms, Step::Abandoned);
    attempts::stranger(shared, cx, at_ms, source, address, 1);
    silent::abandoned(cx, at_ms, source, address);
}

fn is_health_check(cx: &Cx, address: SocketAddr) -> bool {
    let checks = &cx.settings.connection.health_checks;
    !checks.is_empty() && checks.contains(&address.ip().to_canonical())
}

struct Refused<'a> {
    address: SocketAddr,
    identity: Option<&'a Arc<str>>,
    why: Refusal,
    count: u32,
}

impl Refused<'_> {
    fn handle(&self, shared: &mut Shared, cx: &mut Cx, at_ms: u64, slot: Option<u32>) {
        let source = cx.source(at_ms, self.address.ip());
        let state = &mut cx.sources.at_mut(source).connection;
        state.half_open = state.half_open.saturating_sub(self.count);
        let fault = fault(self.why);
        let step = match fault {
            Fault::Login => Step::BadLogin,
            Fault::Malformed => Step::Malformed,
            Fault::Tls => Step::Tls,
            Fault::Attempt => Step::Refused,
            Fault::None => return,
        };
        state.trail.push(at_ms, step);
        if !is_health_check(cx, self.address) {
            match fault {
                Fault::Login => {
                    let (identity, count) = (self.identity, self.count);
                    authentication::failed(shared, cx, at_ms, source, self.address, identity, count);
                }
                Fault::Malformed => malformed::count(cx, at_ms, source, None, self.address, self.count),
                Fault::Tls => termination::handshake_failed(cx, at_ms, source, self.address, self.count),
                Fault::Attempt | Fault::None => {}
            }
            attempts::stranger(shared, cx, at_ms, source, self.address, self.count);
        }
        // Whoever only claims to be a client from elsewhere must not be able to spoil its name.
        let Some(slot) = slot else { return };
        let home = cx.names(slot).address.map(|address| source_of(address.ip()));
        if home == Some(source_of(self.address.ip())) {
            if fault == Fault::Login {
                cx.distrust(at_ms, slot, Bad::RefusedLogin, self.count.min(10) as f32);
            }
            attempts::of_client(cx, at_ms, slot, self.count);
        }
    }
}

/// What is to be known of an arrival.
struct Arrival {
    source: u32,
    address: SocketAddr,
    is_known: bool,
    /// The age of the connection that it took over, in milliseconds.
    took_over: Option<u64>,
    /// It came from somewhere else than before.
    moved: bool,
}

fn handle_arrived(shared: &mut Shared, cx: &mut Cx, at_ms: u64, slot: u32, arrived: &Arrived) {
    let source = cx.source(at_ms, arrived.address.ip());
    let is_known = attempts::is_known(shared, cx, at_ms, slot, arrived);
    let client = cx.clients.at_mut(slot);
    let before = client.names.address.replace(arrived.address);
    let age = at_ms.saturating_sub(client.arrived_ms);
    // The end of the old connection may be among what was missed.
    let is_sure = cx.missed_ms == 0 || cx.missed_ms < client.arrived_ms;
    let lives = (client.is_online || client.connection.was_taken_over) && is_sure;
    let arrival = Arrival {
        source,
        address: arrived.address,
        is_known,
        took_over: (lives && client.arrived_ms > 0).then_some(age),
        moved: before.is_some_and(|before| source_of(before.ip()) != source_of(arrived.address.ip())),
    };
    client.names.identity.clone_from(&arrived.identity);
    client.names.class.clone_from(&arrived.class);
    client.names.certificate.clone_from(&arrived.certificate);
    client.names.declared = arrived.declared;
    client.arrived_ms = at_ms;
    let state = &mut client.connection;
    state.took_over = client.is_online;
    (state.was_taken_over, state.acts, state.is_stranger) = (false, false, !is_known);
    state.trail.push(at_ms, if arrival.took_over.is_some() { Step::TakenOver } else { Step::Arrived });
    if !std::mem::replace(&mut client.is_online, true) {
        cx.online += 1;
    }
    let state = &mut cx.sources.at_mut(source).connection;
    state.half_open = state.half_open.saturating_sub(1);
    state.trail.push(at_ms, if is_known { Step::Arrived } else { Step::Stranger });
    authentication::succeeded(shared, cx, at_ms, slot, source, arrived);
    storm::arrived(shared, cx, at_ms, slot, is_known);
    takeover::arrived(cx, at_ms, slot, &arrival);
    attempts::arrived(shared, cx, at_ms, slot, &arrival);
    silent::arrived(shared, cx, at_ms, slot, &arrival);
    cx.trust_arrived(at_ms, slot);
}

fn handle_left(
    shared: &mut Shared,
    cx: &mut Cx,
    at_ms: u64,
    slot: u32,
    address: Option<SocketAddr>,
    cause: DisconnectCause,
) {
    let client = cx.clients.at_mut(slot);
    let state = &mut client.connection;
    if cause == DisconnectCause::TakenOver {
        // The new connection may have been told of before the end of the old one.
        if std::mem::take(&mut state.took_over) {
            return;
        }
        state.was_taken_over = true;
    }
    let lasted_ms = if client.arrived_ms == 0 { u64::MAX } else { at_ms.saturating_sub(client.arrived_ms) };
    // Who has stayed, and has sent something, is a stranger no more.
    let stayed = state.has_acted && lasted_ms >= cx.settings.connection.known_after_s * 1_000;
    state.is_stranger &= !stayed;
    if std::mem::replace(&mut client.is_online, false) {
        cx.online -= 1;
    }
    let Some(address) = address.or(client.names.address) else { return };
    let source = cx.source(at_ms, address.ip());
    if stayed {
        let hash = cx.hash(cx.clients.key(slot));
        cx.sources.at_mut(source).connection.known.insert(hash);
    }
    silent::left(cx, at_ms, slot, source, address, cause, lasted_ms);
    attempts::left(cx, at_ms, slot, source, address, lasted_ms);
    storm::left(shared, cx, at_ms, slot, cause);
    termination::left(cx, at_ms, slot, source, address, cause, lasted_ms);
    malformed::left(cx, at_ms, slot, source, address, cause);
}

#[cfg(test)]
mod tests;
