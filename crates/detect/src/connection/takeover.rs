//! Cloned identities: two devices with one Client Identifier take each other's session over, again and again.
//!
//! Statistic: log-likelihood CUSUM of a client's connections (took over a live one that was itself less than a minute old, or
//! not), t0 = 0.02, t1 = 0.5, h = 11.5: four in a row, and a false alarm once in 100,000 connections at most where up to one in
//! fifty does so. A client that roams takes over its own old session too, but that one had lasted. Whether the two sit at
//! different addresses decides how bad it is, not whether it is an alarm.

use super::Arrival;
use super::authentication::seconds;
use super::trail::Step;
use crate::Raise;
use crate::trust::Bad;
use crate::{Cx, DetectorInfo};
use ravelin_event::{Counted, Severity, Subject};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) const TAKEOVER: DetectorInfo = DetectorInfo {
    name: "cloned_identity",
    subcategory: "DE.NM-2",
    technique: Some("T0859"),
    statistic: "log-likelihood CUSUM of connections that take over a live one younger than a minute, t0 = 0.02, t1 = 0.5",
    threshold: "h = 11.5: 4 in a row",
    false_alarms: "at most once in 100,000 connections of a client of which up to 2 % do so (Lorden's bound)",
    entity: "client",
    description: "Two devices have one Client Identifier: each takes over the other's session again and again. What the \
                  inventory finds of that kind counts as two, and the first time is a finding.",
};

pub(super) fn arrived(cx: &mut Cx, at_ms: u64, slot: u32, arrival: &Arrival) {
    let short_ms = cx.settings.connection.short_s * 1_000;
    let is_bad = arrival.took_over.is_some_and(|age_ms| age_ms < short_ms);
    let test = cx.settings.connection.takeover;
    let state = &mut cx.clients.at_mut(slot).connection;
    state.moved = if state.takeover.score() > 0.0 { state.moved || arrival.moved } else { arrival.moved };
    let is_alarm = state.takeover.count(&test, at_ms, is_bad);
    if !is_bad {
        if state.takeover.is_calm(&test) && state.takeover.score() > 0.0 {
            let subject = Subject::Client(Arc::clone(cx.clients.key(slot)));
            cx.clear(at_ms, TAKEOVER.name, &subject);
        }
        return;
    }
    if is_alarm {
        raise(cx, at_ms, slot, None);
    }
}

/// The inventory has found two clients with one name or certificate, or a device elsewhere.
pub(super) fn cloned(cx: &mut Cx, at_ms: u64, slot: u32, addresses: &[IpAddr], why: &Arc<str>) {
    let test = cx.settings.connection.takeover;
    let state = &mut cx.clients.at_mut(slot).connection;
    state.moved |= addresses.len() > 1;
    let is_alarm = state.takeover.count_bad(&test, at_ms, 2);
    if is_alarm {
        raise(cx, at_ms, slot, Some(why));
        return;
    }
    let mut finding = build(cx, at_ms, slot, Severity::Informational, Some(why));
    finding.is_finding = true;
    cx.raise(at_ms, finding);
}

fn raise(cx: &mut Cx, at_ms: u64, slot: u32, why: Option<&Arc<str>>) {
    let state = &cx.clients.at(slot).connection;
    let severity = if state.moved { Severity::High } else { Severity::Medium };
    let score = f64::from(state.takeover.score());
    let subject = Subject::Client(Arc::clone(cx.clients.key(slot)));
    if cx.goes_on(at_ms, TAKEOVER.name, &subject, score, severity) {
        return;
    }
    cx.distrust(at_ms, slot, Bad::Takeover, 1.0);
    let raise = build(cx, at_ms, slot, severity, why);
    cx.raise(at_ms, raise);
}

fn build(cx: &Cx, at_ms: u64, slot: u32, severity: Severity, why: Option<&Arc<str>>) -> Raise {
    let test = cx.settings.connection.takeover;
    let client = cx.clients.at(slot);
    let (cusum, moved) = (client.connection.takeover, client.connection.moved);
    let subject = Subject::Client(Arc::clone(cx.clients.key(slot)));
    let mut raise = Raise::new(&TAKEOVER, subject, severity, if moved { 95 } else { 80 });
    raise.client = Some(slot);
    (raise.value, raise.threshold) = (cusum.score().into(), test.threshold.into());
    raise.baseline = Some(test.tolerated.into());
    raise.unit = "ln likelihood ratio";
    raise.first_ms = cusum.since_ms();
    raise.window_ms = at_ms.saturating_sub(cusum.since_ms());
    raise.events = cusum.bad().into();
    raise.counted = client.connection.trail.counted(cusum.since_ms(), &[Step::TakenOver]);
    if let Some(why) = why {
        raise.counted.push(Counted { at_ms, what: Arc::clone(why) });
    }
    let whence = if moved { "from different addresses" } else { "from one address" };
    raise.summary = match why {
        Some(why) => format!("{}: {why}", client.names.client_id),
        None => format!(
            "{} of {} connections as {} took over a live one {whence} in {}: two devices have one Client Identifier",
            cusum.bad(),
            cusum.all(),
            client.names.client_id,
            seconds(raise.window_ms),
        ),
    };
    raise.figure("take_overs", cusum.bad().into(), "connections")
}
