//! How long calls of the control lane take, by route.

use super::{Exposition, Kind};
use crate::state::{ApiState, lock};
use axum::http::{Method, StatusCode};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Upper bounds of the buckets, in seconds.
const BOUNDS_S: [f64; 11] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0];

/// What was called: bounded by the routes and methods that there are.
type Route = (&'static str, String);

/// The calls since the start.
#[derive(Default)]
pub(crate) struct Calls(Mutex<BTreeMap<Route, Call>>);

#[derive(Default)]
struct Call {
    buckets: [u64; BOUNDS_S.len()],
    beyond: u64,
    sum_s: f64,
    /// By the class of the status: 2xx, 4xx, 5xx, others.
    classes: [u64; 4],
}

const CLASSES: [&str; 4] = ["2xx", "4xx", "5xx", "other"];

impl Calls {
    /// Notes a call. Paths that there are not are one route.
    pub fn record(&self, method: &Method, route: Option<&str>, status: StatusCode, took: Duration) {
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            Method::PUT => "PUT",
            Method::PATCH => "PATCH",
            Method::DELETE => "DELETE",
            _ => "other",
        };
        let mut calls = lock(&self.0);
        let call = calls.entry((method, route.unwrap_or("other").to_owned())).or_default();
        let took_s = took.as_secs_f64();
        match BOUNDS_S.iter().position(|bound| took_s <= *bound) {
            Some(bucket) => call.buckets[bucket] += 1,
            None => call.beyond += 1,
        }
        call.sum_s += took_s;
        let class = match status.as_u16() / 100 {
            2 => 0,
            4 => 1,
            5 => 2,
            _ => 3,
        };
        call.classes[class] += 1;
    }
}

/// The lane's own families.
pub(super) fn write(out: &mut Exposition, state: &ApiState) {
    let calls = lock(&state.lane.calls.0);
    out.family(
        "ravelin_control_request_duration_seconds",
        Kind::Histogram,
        "How long requests of the control lane took, by route.",
    );
    for ((method, route), call) in calls.iter() {
        let buckets: Vec<_> = BOUNDS_S.iter().copied().zip(call.buckets).collect();
        out.histogram(&[("method", method), ("route", route)], &buckets, call.beyond, call.sum_s);
    }
    out.family("ravelin_control_requests_total", Kind::Counter, "Requests of the control lane, by status.");
    for ((method, route), call) in calls.iter() {
        for (class, count) in CLASSES.iter().zip(call.classes).filter(|(_, count)| *count > 0) {
            out.sample(&[("method", method), ("route", route), ("status", class)], count as f64);
        }
    }
    drop(calls);
    let counters = &state.lane.counters;
    let connections = counters.connections.load(Ordering::Relaxed);
    out.single("ravelin_control_connections", Kind::Gauge, "Connections of the control lane.", connections);
    out.family("ravelin_control_refused_total", Kind::Counter, "What the control lane refused, by reason.");
    for (why, count) in [
        ("connections", &counters.connections_refused),
        ("handshake", &counters.handshakes_failed),
        ("unauthenticated", &counters.unauthenticated),
        ("forbidden", &counters.forbidden),
        ("throttled", &counters.throttled),
    ] {
        out.sample(&[("why", why)], count.load(Ordering::Relaxed) as f64);
    }
}
