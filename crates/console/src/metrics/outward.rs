//! Who is told of alarms, actions and events: what waits, what has arrived, what was lost.

use super::{Exposition, Kind};
use ravelin_node::control::{Control, DestinationView};

/// Name, kind, meaning, and the figure.
type Family = (&'static str, Kind, &'static str, fn(&DestinationView) -> f64);

const FAMILIES: [Family; 7] = [
    ("ravelin_outward_waiting", Kind::Gauge, "Entries that wait for a destination.", |view| {
        view.waiting as f64
    }),
    ("ravelin_outward_waiting_bytes", Kind::Gauge, "Bytes of what waits for a destination.", |view| {
        view.waiting_bytes as f64
    }),
    ("ravelin_outward_oldest_seconds", Kind::Gauge, "Age of the oldest entry that waits.", |view| {
        view.oldest_ms as f64 / 1000.0
    }),
    ("ravelin_outward_sent_total", Kind::Counter, "Entries that have arrived.", |view| view.sent as f64),
    ("ravelin_outward_failed_total", Kind::Counter, "Attempts that have failed.", |view| view.failed as f64),
    ("ravelin_outward_dropped_total", Kind::Counter, "Entries dropped, since there was no room.", |view| {
        view.dropped as f64
    }),
    (
        "ravelin_outward_refused_total",
        Kind::Counter,
        "Entries that a destination has refused for good.",
        |view| view.refused as f64,
    ),
];

pub(super) fn write(out: &mut Exposition, control: &Control) {
    let views = control.destinations();
    for (name, kind, help, figure) in FAMILIES {
        out.family(name, kind, help);
        for view in &views {
            out.sample(&[("destination", &view.name)], figure(view));
        }
    }
    let help = "Entries dropped before they were any destination's, since too much came at once.";
    out.single("ravelin_outward_lost_total", Kind::Counter, help, control.outward_lost());
}
