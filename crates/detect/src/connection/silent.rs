//! Clients that connect and do not send data: SlowITe, half-open connections, connect and close, hoards of idle connections.
//!
//! Statistic: log-likelihood CUSUM of a source's connections (ended without any data, by a stranger or before a CONNECT, or
//! not), t0 = 0.05, t1 = 0.8, h = 11.5: five in a row, and a false alarm once in 100,000 connections at most where up to one in
//! twenty ends so. Connections that are held without ending are counted beside quotas: 20 of strangers that have been without
//! data for 30 s (100 while the engine is new), and 50 without a CONNECT for ten seconds, and two more for each known client.
//!
//! Data is a message or a subscription, at any time: a known client may wait in silence for commands.

use super::authentication::seconds;
use super::state::{IdleAt, WATCHED_MAX};
use super::trail::Step;
use super::{Arrival, Shared, attempts};
use crate::Raise;
use crate::persist::Changed;
use crate::{Cx, DetectorInfo};
use ravelin_event::{Counted, DisconnectCause, Severity, Subject};
use std::net::SocketAddr;
use std::sync::Arc;

/// Half-open connections may be so old.
const HALF_OPEN_MS: u64 = 10_000;

pub(super) const SILENT: DetectorInfo = DetectorInfo {
    name: "silent_connections",
    subcategory: "DE.ID-4",
    technique: Some("T0814"),
    statistic: "log-likelihood CUSUM of connections that end without data, t0 = 0.05, t1 = 0.8; and quotas of idle and \
                half-open ones",
    threshold: "h = 11.5: 5 in a row; 20 idle ones for 30 s; 50 half-open ones for 10 s",
    false_alarms: "at most once in 100,000 connections of a source of which up to 5 % end so (Lorden's bound); the quotas are \
                   kept by whoever has fewer such connections",
    entity: "source",
    description: "Connections are opened from one address and nothing is sent: they are closed at once, never send a \
                  CONNECT, or are kept idle until none are left for others (SlowITe).",
};

/// A client has sent data.
pub(super) fn acted(cx: &mut Cx, at_ms: u64, slot: u32) {
    let state = &mut cx.clients.at_mut(slot).connection;
    let is_first = !std::mem::replace(&mut state.has_acted, true);
    if std::mem::replace(&mut state.acts, true) {
        return;
    }
    if is_first {
        // After a restart it is to be known.
        cx.change(Changed::Trust(Arc::clone(cx.clients.key(slot))));
    }
    release(cx, slot);
    let Some(address) = cx.names(slot).address else { return };
    let source = cx.source(at_ms, address.ip());
    let test = cx.settings.connection.silent;
    let cusum = &mut cx.sources.at_mut(source).connection.silent;
    cusum.count(&test, at_ms, false);
    if cusum.score() > 0.0 && cusum.is_calm(&test) {
        let subject = Subject::Source(*cx.sources.key(source));
        cx.clear(at_ms, SILENT.name, &subject);
    }
}

/// It is not idle any more.
fn release(cx: &mut Cx, slot: u32) {
    let Some(idle_at) = cx.clients.at_mut(slot).connection.idle_at.take() else { return };
    if idle_at.is_held {
        let held = &mut cx.sources.at_mut(idle_at.source).connection.idle_held;
        *held = held.saturating_sub(1);
    }
}

pub(super) fn arrived(shared: &mut Shared, cx: &mut Cx, at_ms: u64, slot: u32, arrival: &Arrival) {
    release(cx, slot);
    if arrival.is_known || cx.clients.at(slot).connection.has_acted {
        return;
    }
    if shared.watched.len() >= WATCHED_MAX {
        shared.unwatched += 1;
        return;
    }
    let idle_at = IdleAt { source: arrival.source, is_held: false };
    cx.clients.at_mut(slot).connection.idle_at = Some(idle_at);
    let due_ms = at_ms + cx.settings.connection.idle_after_s * 1_000;
    shared.watched.push_back((due_ms, slot, at_ms));
}

/// Looks at the connections that should have sent something by now.
pub(super) fn tick(shared: &mut Shared, cx: &mut Cx, at_ms: u64) {
    while let Some(&(due_ms, slot, since_ms)) = shared.watched.front() {
        if due_ms > at_ms {
            break;
        }
        shared.watched.pop_front();
        let client = cx.clients.at_mut(slot);
        let Some(idle_at) = &mut client.connection.idle_at else { continue };
        if client.arrived_ms != since_ms || !client.is_online || idle_at.is_held {
            continue;
        }
        idle_at.is_held = true;
        let source = idle_at.source;
        let Some(address) = client.names.address else { continue };
        let state = &mut cx.sources.at_mut(source).connection;
        state.idle_held += 1;
        state.trail.push(at_ms, Step::Idle);
        let held = state.idle_held;
        let quota = cx.settings.connection.idle_held * attempts::cold_factor(cx, at_ms);
        if held >= quota {
            raise_held(cx, at_ms, source, address, held, quota, "connections without data for half a minute");
        }
    }
}

/// Connections were opened: are there too many of which nothing came?
pub(super) fn half_open(cx: &mut Cx, at_ms: u64, source: u32, address: SocketAddr) {
    let (settings, missed_ms) = (&cx.settings.connection, cx.missed_ms);
    let held_max = settings.half_open_held;
    let state = &mut cx.sources.at_mut(source).connection;
    if state.half_open < held_max {
        state.half_open_ms = 0;
        return;
    }
    // Arrivals may be among what was missed.
    if missed_ms > 0 && state.half_open_ms <= missed_ms && state.half_open_ms > 0 {
        (state.half_open, state.half_open_ms) = (0, 0);
        return;
    }
    if state.half_open_ms == 0 {
        state.half_open_ms = at_ms;
    }
    let quota = held_max + 2 * state.known.estimate() as u32;
    let held = state.half_open;
    if held >= quota && at_ms >= state.half_open_ms + HALF_OPEN_MS {
        raise_held(cx, at_ms, source, address, held, quota, "connections without a CONNECT");
    }
}

fn raise_held(
    cx: &mut Cx,
    at_ms: u64,
    source: u32,
    address: SocketAddr,
    held: u32,
    quota: u32,
    what: &'static str,
) {
    let subject = Subject::Source(*cx.sources.key(source));
    if cx.goes_on(at_ms, SILENT.name, &subject, held.into(), Severity::High) {
        return;
    }
    let trail = &cx.sources.at(source).connection.trail;
    let mut raise = Raise::new(&SILENT, subject, Severity::High, 90);
    raise.counted = trail.counted(0, &[Step::Idle, Step::Stranger]);
    if raise.counted.is_empty() {
        let what = format!("{quota} {what}").into();
        let since_ms = cx.sources.at(source).connection.half_open_ms;
        raise.counted.push(Counted { at_ms: since_ms, what });
    }
    raise.address = Some(address);
    raise.statistic = Some(format!("{what} that a source holds"));
    (raise.value, raise.threshold, raise.baseline) = (held.into(), quota.into(), Some(0.0));
    (raise.unit, raise.events) = ("connections", held.into());
    raise.window_ms = cx.settings.connection.idle_after_s * 1_000;
    raise.first_ms = at_ms.saturating_sub(raise.window_ms);
    raise.summary = format!("{} holds {held} {what}; {quota} are too many", address.ip());
    cx.raise(at_ms, raise);
}

pub(super) fn left(
    cx: &mut Cx,
    at_ms: u64,
    slot: u32,
    source: u32,
    address: SocketAddr,
    cause: DisconnectCause,
    lasted_ms: u64,
) {
    release(cx, slot);
    let state = &cx.clients.at(slot).connection;
    let is_ours = matches!(
        cause,
        DisconnectCause::Administrative
            | DisconnectCause::Shutdown
            | DisconnectCause::Internal
            | DisconnectCause::Expired
    );
    if state.acts || state.has_acted || !state.is_stranger || is_ours || lasted_ms == u64::MAX {
        return;
    }
    cx.sources.at_mut(source).connection.trail.push(at_ms, Step::NoData);
    count_bad(cx, at_ms, source, address);
}

/// A connection ended before there was a CONNECT.
pub(super) fn abandoned(cx: &mut Cx, at_ms: u64, source: u32, address: SocketAddr) {
    count_bad(cx, at_ms, source, address);
}

fn count_bad(cx: &mut Cx, at_ms: u64, source: u32, address: SocketAddr) {
    let test = cx.settings.connection.silent;
    let cusum = &mut cx.sources.at_mut(source).connection.silent;
    let is_alarm = cusum.count(&test, at_ms, true);
    let cusum = *cusum;
    let subject = Subject::Source(*cx.sources.key(source));
    if !is_alarm || cx.goes_on(at_ms, SILENT.name, &subject, cusum.score().into(), Severity::Medium) {
        return;
    }
    let trail = &cx.sources.at(source).connection.trail;
    let mut raise = Raise::new(&SILENT, subject, Severity::Medium, 90);
    raise.counted = trail.counted(cusum.since_ms(), &[Step::NoData, Step::Abandoned]);
    raise.address = Some(address);
    (raise.value, raise.threshold) = (cusum.score().into(), test.threshold.into());
    raise.baseline = Some(test.tolerated.into());
    raise.unit = "ln likelihood ratio";
    raise.first_ms = cusum.since_ms();
    raise.window_ms = at_ms.saturating_sub(cusum.since_ms());
    raise.events = cusum.bad().into();
    raise.summary = format!(
        "{} of {} connections from {} were closed without any data in {}",
        cusum.bad(),
        cusum.all(),
        address.ip(),
        seconds(raise.window_ms),
    );
    raise = raise.figure("without_data", cusum.bad().into(), "connections");
    cx.raise(at_ms, raise);
}
