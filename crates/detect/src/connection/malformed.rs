//! Malformed packets and protocol errors.
//!
//! Statistic: log-likelihood CUSUM of a source's connections (ended by a malformed packet or protocol error, or not),
//! t0 = 0.01, t1 = 0.5, h = 11.5: three in a row, and a false alarm once in 100,000 connections at most where up to one in a
//! hundred goes wrong. Counted are connections and not packets: an attacker can send as many good packets as he likes, but
//! each bad one costs him the connection. An hour of a client's activity is a good one. A single bad one is a finding: it is logged, and nobody is woken.

use super::authentication::seconds;
use super::trail::Step;
use crate::Raise;
use crate::trust::Bad;
use crate::{Cx, DetectorInfo};
use ravelin_event::{DisconnectCause, Severity, Subject};
use std::net::SocketAddr;

const HOUR_MS: u64 = 3_600_000;

pub(super) const MALFORMED: DetectorInfo = DetectorInfo {
    name: "malformed_packets",
    subcategory: "DE.NM-2",
    technique: Some("T0866"),
    statistic: "log-likelihood CUSUM of connections that a malformed packet or protocol error ended, t0 = 0.01, t1 = 0.5",
    threshold: "h = 11.5: 3 in a row",
    false_alarms: "at most once in 100,000 connections of a source of which up to 1 % end so (Lorden's bound)",
    entity: "source",
    description: "What comes from an address is not MQTT, or breaks its rules, again and again: a fuzzer, a scanner, an \
                  exploit, or broken firmware. A single one is a finding.",
};

pub(super) fn left(
    cx: &mut Cx,
    at_ms: u64,
    slot: u32,
    source: u32,
    address: SocketAddr,
    cause: DisconnectCause,
) {
    if cause == DisconnectCause::ProtocolError {
        cx.distrust(at_ms, slot, Bad::Malformed, 1.0);
        count(cx, at_ms, source, Some(slot), address, 1);
    } else if cause != DisconnectCause::TakenOver {
        good(cx, at_ms, source);
    }
}

fn good(cx: &mut Cx, at_ms: u64, source: u32) {
    let test = cx.settings.connection.malformed;
    let cusum = &mut cx.sources.at_mut(source).connection.malformed;
    cusum.count(&test, at_ms, false);
    if cusum.score() > 0.0 && cusum.is_calm(&test) {
        let subject = Subject::Source(*cx.sources.key(source));
        cx.clear(at_ms, MALFORMED.name, &subject);
    }
}

/// A client is active: an hour of that is worth a connection that ended well, since good connections last and bad ones do
/// not.
pub(super) fn active(cx: &mut Cx, at_ms: u64, slot: u32) {
    let client = cx.clients.at_mut(slot);
    let since_ms = client.connection.hour_ms.max(client.arrived_ms);
    if at_ms < since_ms + HOUR_MS {
        return;
    }
    client.connection.hour_ms = at_ms;
    if let Some(address) = client.names.address {
        let source = cx.source(at_ms, address.ip());
        good(cx, at_ms, source);
    }
}

/// `times` connections of a source ended so.
pub(super) fn count(
    cx: &mut Cx,
    at_ms: u64,
    source: u32,
    slot: Option<u32>,
    address: SocketAddr,
    times: u32,
) {
    let test = cx.settings.connection.malformed;
    let cusum = &mut cx.sources.at_mut(source).connection.malformed;
    let is_alarm = cusum.count_bad(&test, at_ms, times);
    let cusum = *cusum;
    let subject = Subject::Source(*cx.sources.key(source));
    if is_alarm && cx.goes_on(at_ms, MALFORMED.name, &subject, cusum.score().into(), Severity::Medium) {
        return;
    }
    let severity = if is_alarm { Severity::Medium } else { Severity::Informational };
    let mut raise = Raise::new(&MALFORMED, subject, severity, if is_alarm { 95 } else { 40 });
    raise.is_finding = !is_alarm;
    raise.client = slot;
    raise.address = Some(address);
    (raise.value, raise.threshold) = (cusum.score().into(), test.threshold.into());
    raise.baseline = Some(test.tolerated.into());
    raise.unit = "ln likelihood ratio";
    raise.first_ms = cusum.since_ms();
    raise.window_ms = at_ms.saturating_sub(cusum.since_ms());
    raise.events = cusum.bad().into();
    let trail = &cx.sources.at(source).connection.trail;
    raise.counted = trail.counted(cusum.since_ms(), &[Step::Malformed, Step::ProtocolError]);
    raise.summary = format!(
        "{} of {} connections from {} ended with a malformed packet or protocol error in {}",
        cusum.bad(),
        cusum.all(),
        address.ip(),
        seconds(raise.window_ms),
    );
    raise = raise.figure("malformed", cusum.bad().into(), "connections");
    raise = raise.figure("connections", cusum.all().into(), "connections");
    cx.raise(at_ms, raise);
}
