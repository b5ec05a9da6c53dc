//! Storms: very many clients lose their connections or come back within a minute, after an outage or a restart.
//!
//! Statistic: different known clients that ended abnormally, or came back after that, or came back after the node's start, in
//! 60 s. Threshold: more than 20 % of all known clients and 10 at least. It is one alarm about the fleet, of low severity, and
//! what the clients do in a storm raises no alarms about them. Clients that disconnect as planned do not count, so sensors that
//! wake, report and sleep are no storm.

use super::Shared;
use super::trail::abnormal;
use crate::Raise;
use crate::{Cx, DetectorInfo};
use ravelin_event::{Counted, DisconnectCause, Severity, Subject};

const WINDOW_MS: u64 = 60_000;

pub(super) const STORM: DetectorInfo = DetectorInfo {
    name: "reconnect_storm",
    subcategory: "DE.NM-2",
    technique: None,
    statistic: "different known clients that lost their connection or came back after that, in 60 s",
    threshold: "more than 20 % of the known clients, and 10 at least",
    false_alarms: "none by chance: clients that fail independently would have to do so within the same minute",
    entity: "fleet",
    description: "A large part of the fleet loses its connections or comes back at once: an outage of power or network, a \
                  restart, an update. One alarm for all of them, and none about each.",
};

/// The node has started: whoever was connected is not.
pub(super) fn started(cx: &mut Cx, at_ms: u64) {
    cx.started_ms = at_ms;
    cx.online = 0;
    for slot in 0..cx.clients.len() as u32 {
        let client = cx.clients.at_mut(slot);
        client.is_online = false;
        client.connection.was_lost = true;
        client.connection.took_over = false;
        client.connection.idle_at = None;
    }
}

pub(super) fn left(shared: &mut Shared, cx: &mut Cx, at_ms: u64, slot: u32, cause: DisconnectCause) {
    let is_lost = abnormal(cause).is_some() || cause == DisconnectCause::Shutdown;
    let state = &mut cx.clients.at_mut(slot).connection;
    state.was_lost = is_lost;
    // A connection that a packet ended was ended by somebody.
    if is_lost && cause != DisconnectCause::ProtocolError && !state.is_stranger {
        count(shared, cx, at_ms, slot);
    }
}

pub(super) fn arrived(shared: &mut Shared, cx: &mut Cx, at_ms: u64, slot: u32, is_known: bool) {
    let was_lost = std::mem::take(&mut cx.clients.at_mut(slot).connection.was_lost);
    if was_lost && is_known {
        count(shared, cx, at_ms, slot);
    }
}

fn count(shared: &mut Shared, cx: &mut Cx, at_ms: u64, slot: u32) {
    while shared.storm.front().is_some_and(|(then, _)| then + WINDOW_MS < at_ms) {
        shared.storm.pop_front();
    }
    let state = &mut cx.clients.at_mut(slot).connection;
    if state.storm_ms == 0 || at_ms > state.storm_ms + WINDOW_MS {
        state.storm_ms = at_ms;
        shared.storm.push_back((at_ms, slot));
    }
    let settings = &cx.settings.connection;
    let share = cx.clients.len() as u64 * u64::from(settings.storm_percent) / 100 + 1;
    let (many, needed) = (shared.storm.len() as u64, share.max(settings.storm_min.into()));
    if many < needed || cx.goes_on(at_ms, STORM.name, &Subject::Fleet, many as f64, Severity::Low) {
        return;
    }
    let mut raise = Raise::new(&STORM, Subject::Fleet, Severity::Low, 95);
    (raise.value, raise.threshold, raise.baseline) = (many as f64, needed as f64, Some(0.0));
    (raise.unit, raise.window_ms, raise.events) = ("clients", WINDOW_MS, many);
    raise.first_ms = shared.storm.front().map_or(at_ms, |(then, _)| *then);
    let after_start = cx.started_ms > 0 && at_ms < cx.started_ms + 10 * WINDOW_MS;
    let ends = shared.storm.iter().take(4).chain(shared.storm.iter().rev().take(4).rev());
    raise.counted = ends
        .map(|(at_ms, slot)| {
            let what = format!("{} lost its connection or came back", cx.clients.key(*slot));
            Counted { at_ms: *at_ms, what: what.into() }
        })
        .collect();
    raise.summary = format!(
        "{many} of {} known clients lost their connections or came back within a minute{}",
        cx.clients.len(),
        if after_start { ", after the start of the node" } else { "" }
    );
    raise = raise.figure("known_clients", cx.clients.len() as f64, "clients");
    raise = raise.figure("connected", cx.online.into(), "clients");
    cx.raise(at_ms, raise);
}
