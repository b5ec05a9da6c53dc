//! What was done about alarms.

use super::{Exposition, Kind};
use ravelin_node::control::{Control, TOOK_BUCKETS_S};

pub(super) fn write(out: &mut Exposition, control: &Control) {
    let figures = control.respond_figures();
    out.family("ravelin_orders", Kind::Gauge, "Orders that are kept, by action and state.");
    for ((action, state), count) in &figures.desk.orders {
        out.sample(&[("action", action), ("state", state.name())], *count as f64);
    }
    let help = "From an order, or its last approval, until it was in force.";
    out.family("ravelin_order_effect_seconds", Kind::Histogram, help);
    for (action, counts, sum_us) in &figures.took {
        let buckets: Vec<(f64, u64)> = TOOK_BUCKETS_S.iter().copied().zip(counts.iter().copied()).collect();
        let beyond = counts[TOOK_BUCKETS_S.len()];
        out.histogram(&[("action", action)], &buckets, beyond, *sum_us as f64 / 1e6);
    }
    for (name, help, value) in [
        (
            "ravelin_orders_overflowed_total",
            "Orders of playbooks that were refused because too many wait or are in force.",
            figures.desk.overflowed,
        ),
        (
            "ravelin_respond_notices_dropped_total",
            "Alarms that playbooks did not see because too many waited.",
            figures.notices_dropped,
        ),
    ] {
        out.single(name, Kind::Counter, help, value);
    }
}
