//! Abnormal terminations, told apart by cause: no DISCONNECT, reset, keep-alive expiry, protocol error, TLS alert. Take-overs
//! have a test of their own.
//!
//! Statistic: log-likelihood CUSUM of connections by client and by source (ended abnormally within a minute of their
//! beginning, or not), t0 = 0.3, t1 = 0.9, h = 11.5: eleven in a row, and a false alarm once in 100,000 connections at most
//! where up to three in ten end so. A connection that had lasted says nothing by its end, and one of ten minutes is a good one:
//! whoever loses power or roams ends abnormally, once each time. While a storm is open, ends of known clients are the storm's.

use super::authentication::seconds;
use super::trail::{Causes, Step, abnormal};
use crate::Raise;
use crate::statistics::Cusum;
use crate::trust::Bad;
use crate::{Cx, DetectorInfo};
use ravelin_event::{Counted, DisconnectCause, Severity, Subject};
use std::net::SocketAddr;
use std::sync::Arc;

pub(super) const TERMINATION: DetectorInfo = DetectorInfo {
    name: "abnormal_termination",
    subcategory: "DE.NM-2",
    technique: Some("T0814"),
    statistic: "log-likelihood CUSUM of connections that end abnormally within a minute, t0 = 0.3, t1 = 0.9",
    threshold: "h = 11.5: 11 in a row",
    false_alarms: "at most once in 100,000 connections of a client or source of which up to 30 % end so (Lorden's bound)",
    entity: "client, source",
    description: "Connections end soon after they began, and not by a DISCONNECT; the alarm says by what: no DISCONNECT, \
                  reset, keep-alive expiry, protocol error or TLS alert.",
};

/// So often in a row it must have happened to a known client to count for its source.
const REPEATS_MIN: u32 = 3;
/// So many times longer than a short one a connection has lasted, and is good whatever ends it.
const LASTED: u64 = 10;

const STEPS: [Step; 5] = [Step::NoDisconnect, Step::Reset, Step::KeepAlive, Step::ProtocolError, Step::Tls];

pub(super) fn left(
    cx: &mut Cx,
    at_ms: u64,
    slot: u32,
    source: u32,
    address: SocketAddr,
    cause: DisconnectCause,
    lasted_ms: u64,
) {
    let step = abnormal(cause);
    let trail_step = step.unwrap_or(Step::Ended);
    cx.clients.at_mut(slot).connection.trail.push(at_ms, trail_step);
    cx.sources.at_mut(source).connection.trail.push(at_ms, trail_step);
    let short_ms = cx.settings.connection.short_s * 1_000;
    let has_lasted = lasted_ms != u64::MAX && lasted_ms >= LASTED * short_ms;
    let is_good = matches!(cause, DisconnectCause::Normal | DisconnectCause::WithWill) || has_lasted;
    if step.is_none() && !is_good {
        return;
    }
    let is_stranger = cx.clients.at(slot).connection.is_stranger;
    if step.is_some() && !is_stranger && cx.is_open(super::storm::STORM.name, &Subject::Fleet) {
        return;
    }
    if step.is_some() {
        cx.distrust(at_ms, slot, Bad::AbnormalEnd, 1.0);
    }
    if step.is_some() && lasted_ms >= short_ms && !has_lasted {
        return;
    }
    let step = step.filter(|_| !has_lasted);
    count_client(cx, at_ms, slot, step);
    // In an update each client behind an address reboots once or twice; that says nothing about the address.
    let repeats = cx.clients.at(slot).connection.termination.bad() >= REPEATS_MIN;
    if step.is_some() && !is_stranger && !repeats {
        return;
    }
    count_source(cx, at_ms, source, Some(slot), address, step, 1);
}

/// A TLS handshake failed before there was a client.
pub(super) fn handshake_failed(cx: &mut Cx, at_ms: u64, source: u32, address: SocketAddr, count: u32) {
    count_source(cx, at_ms, source, None, address, Some(Step::Tls), count);
}

fn count_client(cx: &mut Cx, at_ms: u64, slot: u32, step: Option<Step>) {
    let test = cx.settings.connection.termination;
    let state = &mut cx.clients.at_mut(slot).connection;
    let is_alarm = state.termination.count(&test, at_ms, step.is_some());
    let (cusum, causes) = count_cause(&mut state.causes, state.termination, step, 1);
    let counted = state.trail.counted(cusum.since_ms(), &STEPS);
    let subject = Subject::Client(Arc::clone(cx.clients.key(slot)));
    if step.is_none() {
        if cusum.is_calm(&test) {
            cx.clear(at_ms, TERMINATION.name, &subject);
        }
        return;
    }
    if !is_alarm || cx.goes_on(at_ms, TERMINATION.name, &subject, cusum.score().into(), Severity::Medium) {
        return;
    }
    // What is said of its address is said of it.
    let source = cx.names(slot).address.map(|address| crate::entities::source_of(address.ip()));
    if source.is_some_and(|source| cx.is_open(TERMINATION.name, &Subject::Source(source))) {
        return;
    }
    let name = cx.names(slot).client_id.to_string();
    let mut raise = raise(cx, at_ms, subject, &cusum, causes, counted, &name);
    raise.client = Some(slot);
    cx.raise(at_ms, raise);
}

fn count_source(
    cx: &mut Cx,
    at_ms: u64,
    source: u32,
    slot: Option<u32>,
    address: SocketAddr,
    step: Option<Step>,
    times: u32,
) {
    let test = cx.settings.connection.termination;
    let state = &mut cx.sources.at_mut(source).connection;
    let is_alarm = match step {
        Some(_) => state.termination.count_bad(&test, at_ms, times),
        None => state.termination.count(&test, at_ms, false),
    };
    let (cusum, causes) = count_cause(&mut state.causes, state.termination, step, times);
    let counted = state.trail.counted(cusum.since_ms(), &STEPS);
    let subject = Subject::Source(*cx.sources.key(source));
    if step.is_none() {
        if cusum.is_calm(&test) {
            cx.clear(at_ms, TERMINATION.name, &subject);
        }
        return;
    }
    if !is_alarm || cx.goes_on(at_ms, TERMINATION.name, &subject, cusum.score().into(), Severity::Medium) {
        return;
    }
    // One client that is in trouble is said of itself.
    if slot.is_some_and(|slot| cx.clients.at(slot).connection.termination.bad() >= cusum.bad()) {
        return;
    }
    let name = address.ip().to_string();
    let mut raise = raise(cx, at_ms, subject, &cusum, causes, counted, &name);
    raise.address = Some(address);
    cx.raise(at_ms, raise);
}

/// Keeps the causes in step with the test.
fn count_cause(causes: &mut Causes, cusum: Cusum, step: Option<Step>, times: u32) -> (Cusum, Causes) {
    if cusum.all() <= 1 {
        causes.clear();
    }
    if let Some(step) = step {
        (0..times.min(255)).for_each(|_| causes.count(step));
    }
    (cusum, *causes)
}

fn raise(
    cx: &Cx,
    at_ms: u64,
    subject: Subject,
    cusum: &Cusum,
    causes: Causes,
    counted: Vec<Counted>,
    whose: &str,
) -> Raise {
    let test = cx.settings.connection.termination;
    let mut raise = Raise::new(&TERMINATION, subject, Severity::Medium, 85);
    (raise.value, raise.threshold) = (cusum.score().into(), test.threshold.into());
    raise.baseline = Some(test.tolerated.into());
    raise.unit = "ln likelihood ratio";
    raise.first_ms = cusum.since_ms();
    raise.window_ms = at_ms.saturating_sub(cusum.since_ms());
    raise.events = cusum.bad().into();
    raise.counted = counted;
    let named = causes.named();
    let causes: Vec<String> = named.iter().map(|(name, count)| format!("{count} x {name}")).collect();
    raise.summary = format!(
        "{} of {} connections of {whose} ended abnormally within a minute of their beginning, in {}: {}",
        cusum.bad(),
        cusum.all(),
        seconds(raise.window_ms),
        causes.join(", "),
    );
    named.into_iter().fold(raise, |raise, (name, count)| raise.figure(name, count.into(), "connections"))
}
