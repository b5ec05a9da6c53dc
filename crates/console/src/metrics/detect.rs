//! What detectors have seen and said, and what they cost.

use super::{Exposition, Kind};
use ravelin_node::control::Control;

pub(super) fn write(out: &mut Exposition, control: &Control) {
    let figures = control.detect_figures();
    let engine = &figures.engine;
    out.family("ravelin_alarms_open", Kind::Gauge, "Alarms that go on, by detector.");
    for (detector, counts) in &engine.detectors {
        out.sample(&[("detector", detector)], counts.open as f64);
    }
    out.family("ravelin_alarms_raised_total", Kind::Counter, "Alarms that were raised, by detector.");
    for (detector, counts) in &engine.detectors {
        out.sample(&[("detector", detector)], counts.raised as f64);
    }
    out.family("ravelin_alarms_suppressed_total", Kind::Counter, "Alarms that were not told, and why not.");
    for (detector, counts) in &engine.detectors {
        out.sample(&[("detector", detector), ("why", "suppression")], counts.suppressed as f64);
        out.sample(&[("detector", detector), ("why", "too_many")], counts.limited as f64);
    }
    for (name, help, value) in [
        ("ravelin_alarms_kept", "Alarms that are kept, open and recent.", engine.alarms),
        ("ravelin_detect_clients", "Clients that detectors remember.", engine.clients),
        ("ravelin_detect_sources", "Addresses that detectors remember.", engine.sources),
    ] {
        out.single(name, Kind::Gauge, help, value);
    }
    out.family(
        "ravelin_detect_evictions_total",
        Kind::Counter,
        "Entries that detectors forgot because a table was full.",
    );
    out.sample(&[("table", "clients")], engine.clients_evicted as f64);
    out.sample(&[("table", "sources")], engine.sources_evicted as f64);
    out.sample(&[("table", "traffic")], engine.traffic_evicted as f64);
    for (name, help, value) in [
        ("ravelin_detect_sights_total", "Things that detectors were told.", engine.sights),
        (
            "ravelin_detect_missed_total",
            "Things that detectors were not told because a queue was full.",
            figures.missed,
        ),
        (
            "ravelin_detect_notices_lost_total",
            "Notices and changes that nobody took in time.",
            engine.notices_lost + engine.changes_lost,
        ),
        ("ravelin_detect_records_written_total", "Records of detection that were stored.", figures.written),
    ] {
        out.single(name, Kind::Counter, help, value);
    }
    out.family("ravelin_detect_seconds_total", Kind::Counter, "Time that detectors took, by what for.");
    out.sample(&[("for", "sights")], figures.sights_took.as_secs_f64());
    out.sample(&[("for", "ticks")], figures.ticks_took.as_secs_f64());
}
