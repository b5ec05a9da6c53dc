//! Repeated connection attempts, and floods of connections.
//!
//! Statistic: an exponentially decayed count (tau 60 s, or 1 s of a flood) of connections that need an explanation, beside the
//! Poisson distribution of what is allowed. Such a count has half the variance of a Poisson count of the same mean, so its tail
//! is bounded by the Poisson tail.
//!
//! A client that is known needs no explanation when it comes back: it is known if the inventory declares it, if it has sent
//! data at some time and that is five minutes ago, or if an identity speaks for it that does not speak for many. What needs
//! one are strangers, refusals, and connections that came to nothing. Each known client at a source allows for two more a
//! minute, and sixty more while the fleet comes back, so an address with a fleet behind it is not like one with a single device.

use super::trail::Step;
use super::{Arrival, Shared};
use crate::Raise;
use crate::statistics::{Decayed, poisson_threshold};
use crate::{Arrived, Cx, DetectorInfo};
use ravelin_event::{Severity, Subject};
use std::net::SocketAddr;
use std::sync::Arc;

const MINUTE_MS: u64 = 60_000;
const SECOND_MS: u64 = 1_000;
const HOUR_MS: u64 = 3_600_000;
/// Who is gone so soon has not come to stay.
const VANISHED_MS: u64 = 10_000;

pub(super) const ATTEMPTS: DetectorInfo = DetectorInfo {
    name: "repeated_connection_attempts",
    subcategory: "DE.NM-1",
    technique: Some("T0814"),
    statistic: "decayed count of connection attempts (tau 60 s) beside a Poisson tail",
    threshold: "P(N >= n) <= 1e-5 for 6 a minute, and 2 more for each known client of a source: 20 in a minute",
    false_alarms: "less than once in 100,000 looks for whoever keeps to what is allowed",
    entity: "source, client",
    description: "One client connects again and again, or strangers do from one address: nobody knows them, or they are \
                  refused, or nothing comes of it, or they are gone within seconds.",
};

pub(super) const FLOOD: DetectorInfo = DetectorInfo {
    name: "connection_flood",
    subcategory: "DE.NM-1",
    technique: Some("T0814"),
    statistic: "decayed count of opened connections (tau 1 s) beside a Poisson tail",
    threshold: "P(N >= n) <= 1e-5 for 50 a second and 3 more for each known client of the source: 84 in a second",
    false_alarms: "less than once in 100,000 looks for a source that keeps to what is allowed",
    entity: "source",
    description: "Very many connections are opened from one address within a second, whatever becomes of them.",
};

/// Whether it explains itself that this client comes.
pub(super) fn is_known(shared: &mut Shared, cx: &Cx, at_ms: u64, slot: u32, arrived: &Arrived) -> bool {
    let client = cx.clients.at(slot);
    let settings = &cx.settings.connection;
    let known_for_ms = at_ms.saturating_sub(client.known_since_ms);
    let is_known =
        arrived.declared || (client.connection.has_acted && known_for_ms >= settings.known_after_s * 1_000);
    let Some(identity) = &arrived.identity else { return is_known };
    let (slot, _) = shared.identities.touch(&**identity, || (Arc::clone(identity), Default::default()));
    let state = shared.identities.at_mut(slot);
    if at_ms >= state.since_ms + HOUR_MS {
        state.clients.clear();
        state.since_ms = at_ms;
    }
    state.clients.insert(cx.hash(&*arrived.client_id));
    is_known || state.clients.estimate() <= settings.clients_per_identity as f32 + 0.5
}

/// Whether the engine itself is so new that everybody is a stranger to it.
fn is_cold(cx: &Cx, at_ms: u64) -> bool {
    at_ms < cx.first_ms + cx.settings.connection.cold_min * MINUTE_MS && !cx.remembers
}

/// By how much more is allowed while the engine is new.
pub(super) fn cold_factor(cx: &Cx, at_ms: u64) -> u32 {
    if is_cold(cx, at_ms) { 5 } else { 1 }
}

/// Whether something more special has been said of a source already.
fn is_explained(cx: &Cx, subject: &Subject) -> bool {
    let special = ["repeated_authentication", "malformed_packets", "silent_connections", "connection_flood"];
    special.iter().any(|detector| cx.is_open(detector, subject))
}

pub(super) fn opened(shared: &mut Shared, cx: &mut Cx, at_ms: u64, address: SocketAddr, count: u32) {
    shared.sees_openings = true;
    if super::is_health_check(cx, address) {
        return;
    }
    let source = cx.source(at_ms, address.ip());
    let state = &mut cx.sources.at_mut(source).connection;
    state.half_open = state.half_open.saturating_add(count);
    count_opened(cx, at_ms, source, address, count);
    super::silent::half_open(cx, at_ms, source, address);
}

fn count_opened(cx: &mut Cx, at_ms: u64, source: u32, address: SocketAddr, count: u32) {
    let settings = &cx.settings.connection;
    let cold = is_cold(cx, at_ms);
    let allowed = if cold { settings.opened_per_second_cold } else { settings.opened_per_second };
    let chance = settings.chance;
    let state = &mut cx.sources.at_mut(source).connection;
    let many = f64::from(state.opened.add(SECOND_MS, at_ms, count as f32));
    if many <= allowed {
        return;
    }
    let known = f64::from(state.known.estimate());
    let mean = allowed + 3.0 * known;
    let subject = Subject::Source(*cx.sources.key(source));
    if many <= mean || cx.goes_on(at_ms, FLOOD.name, &subject, many, Severity::High) {
        return;
    }
    let threshold = poisson_threshold(mean, chance);
    if many < threshold as f64 {
        return;
    }
    let trail = cx.sources.at(source).connection.trail;
    let mut raise = Raise::new(&FLOOD, subject, Severity::High, 95);
    raise.address = Some(address);
    (raise.value, raise.threshold, raise.baseline) = (many, threshold as f64, Some(mean));
    (raise.unit, raise.window_ms, raise.events) = ("connections", SECOND_MS, many as u64);
    raise.first_ms = at_ms.saturating_sub(SECOND_MS);
    raise.counted =
        trail.counted(raise.first_ms, &[Step::Arrived, Step::Stranger, Step::Refused, Step::Abandoned]);
    raise.summary = format!(
        "{} opened {many:.0} connections within a second; {mean:.0} are allowed for the {known:.0} known clients there",
        address.ip()
    );
    raise = raise.figure("known_clients", known.round(), "clients");
    cx.raise(at_ms, raise);
}

/// Somebody came to a source who explains nothing.
pub(super) fn stranger(
    shared: &mut Shared,
    cx: &mut Cx,
    at_ms: u64,
    source: u32,
    address: SocketAddr,
    count: u32,
) {
    if !shared.sees_openings {
        count_opened(cx, at_ms, source, address, count);
    }
    let settings = &cx.settings.connection;
    let cold = is_cold(cx, at_ms);
    let allowed = if cold { settings.attempts_per_minute_cold } else { settings.attempts_per_minute };
    let state = &mut cx.sources.at_mut(source).connection;
    let many = f64::from(state.strangers.add(MINUTE_MS, at_ms, count as f32));
    raise_strangers(cx, at_ms, source, address, many, allowed, "attempts of strangers");
}

fn raise_strangers(
    cx: &mut Cx,
    at_ms: u64,
    source: u32,
    address: SocketAddr,
    many: f64,
    allowed: f64,
    what: &str,
) {
    if many <= allowed {
        return;
    }
    let chance = cx.settings.connection.chance;
    let trail = cx.sources.at(source).connection.trail;
    let known = f64::from(cx.sources.at(source).connection.known.estimate());
    // In a storm all of them come at once, and are refused, and come again.
    let each = if cx.is_open(super::storm::STORM.name, &Subject::Fleet) { 60.0 } else { 2.0 };
    let mean = allowed + each * known;
    let subject = Subject::Source(*cx.sources.key(source));
    if many <= mean
        || cx.goes_on(at_ms, ATTEMPTS.name, &subject, many, Severity::Medium)
        || is_explained(cx, &subject)
    {
        return;
    }
    let threshold = poisson_threshold(mean, chance) as f64;
    if many + 0.01 < threshold {
        return;
    }
    let from_ms = at_ms.saturating_sub(MINUTE_MS);
    let steps =
        [Step::Stranger, Step::Refused, Step::BadLogin, Step::Malformed, Step::Abandoned, Step::NoData];
    let mut raise = Raise::new(&ATTEMPTS, subject, Severity::Medium, 90);
    raise.counted = trail.counted(from_ms, &steps);
    raise.address = Some(address);
    (raise.value, raise.threshold, raise.baseline) = (many, threshold, Some(mean));
    (raise.unit, raise.window_ms, raise.events) = ("attempts", MINUTE_MS, many.round() as u64);
    raise.first_ms = raise.counted.first().map_or(from_ms, |counted| counted.at_ms);
    raise.summary = format!(
        "{many:.0} {what} from {} within a minute; {mean:.0} are allowed for the {known:.0} known clients there",
        address.ip()
    );
    raise = raise.figure("known_clients", known.round(), "clients");
    cx.raise(at_ms, raise);
}

pub(super) fn arrived(shared: &mut Shared, cx: &mut Cx, at_ms: u64, slot: u32, arrival: &Arrival) {
    let Arrival { source, address, is_known, .. } = *arrival;
    if is_known {
        if !shared.sees_openings {
            count_opened(cx, at_ms, source, address, 1);
        }
        let hash = cx.hash(cx.clients.key(slot));
        cx.sources.at_mut(source).connection.known.insert(hash);
    } else {
        stranger(shared, cx, at_ms, source, address, 1);
    }
    of_client(cx, at_ms, slot, 1);
}

/// A stranger that is gone within seconds counts whether the engine is new or not.
pub(super) fn left(cx: &mut Cx, at_ms: u64, slot: u32, source: u32, address: SocketAddr, lasted_ms: u64) {
    if !cx.clients.at(slot).connection.is_stranger || lasted_ms > VANISHED_MS {
        return;
    }
    let allowed = cx.settings.connection.attempts_per_minute;
    let state = &mut cx.sources.at_mut(source).connection;
    let many = f64::from(state.vanished.add(MINUTE_MS, at_ms, 1.0));
    raise_strangers(cx, at_ms, source, address, many, allowed, "strangers came and were gone");
}

/// A client has connected, or tried to.
pub(super) fn of_client(cx: &mut Cx, at_ms: u64, slot: u32, count: u32) {
    let settings = Arc::clone(&cx.settings);
    let mean = settings.connection.attempts_per_minute;
    let attempts: &mut Decayed = &mut cx.clients.at_mut(slot).connection.attempts;
    let many = f64::from(attempts.add(MINUTE_MS, at_ms, count as f32));
    if many <= mean {
        return;
    }
    let subject = Subject::Client(Arc::clone(cx.clients.key(slot)));
    if cx.goes_on(at_ms, ATTEMPTS.name, &subject, many, Severity::Medium)
        || cx.is_open(super::takeover::TAKEOVER.name, &subject)
    {
        return;
    }
    let threshold = poisson_threshold(mean, settings.connection.chance) as f64;
    if many + 0.01 < threshold {
        return;
    }
    let client = cx.clients.at(slot);
    let mut raise = Raise::new(&ATTEMPTS, subject, Severity::Medium, 85);
    raise.client = Some(slot);
    raise.counted = client.connection.trail.counted(0, &[Step::Arrived, Step::TakenOver]);
    (raise.value, raise.threshold, raise.baseline) = (many, threshold, Some(mean));
    (raise.unit, raise.window_ms, raise.events) = ("attempts", MINUTE_MS, many.round() as u64);
    raise.first_ms = at_ms.saturating_sub(MINUTE_MS).max(client.known_since_ms);
    let name = &client.names.client_id;
    raise.summary = format!("{name} connected {many:.0} times within a minute; {mean:.0} are allowed");
    cx.raise(at_ms, raise);
}
