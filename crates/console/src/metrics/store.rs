//! What the encrypted store counts.

use super::{Exposition, Kind};
use ravelin_node::control::Control;

pub(super) fn write(out: &mut Exposition, control: &Control) {
    let Some(stats) = control.store_stats() else { return };
    for (name, help, value) in [
        ("ravelin_store_records_total", "Records written.", stats.records),
        ("ravelin_store_written_bytes_total", "Bytes written to segments.", stats.bytes_written),
        ("ravelin_store_commits_total", "Rounds of the writer that wrote something.", stats.commits),
        ("ravelin_store_checkpoints_total", "Checkpoints completed.", stats.checkpoints),
        ("ravelin_store_warnings_total", "Errors that did not fail the store.", stats.warnings),
    ] {
        out.single(name, Kind::Counter, help, value);
    }
    for (name, help, value) in [
        ("ravelin_store_segments", "Live segments.", stats.segments),
        ("ravelin_store_live_bytes", "Bytes of the live segments.", stats.live_bytes),
        (
            "ravelin_store_failed",
            "Whether the store has failed; nothing more becomes durable.",
            stats.failure.is_some().into(),
        ),
        ("ravelin_store_checkpoint_running", "Whether a checkpoint runs.", stats.checkpoint_running.into()),
    ] {
        out.single(name, Kind::Gauge, help, value);
    }
    out.family("ravelin_store_sync_duration_seconds", Kind::Histogram, "How long it took to sync to disk.");
    let latency = &stats.sync_latency;
    // Bucket `n` is below 2^n microseconds; the last counts all others.
    let (beyond, bounded) = latency.buckets.split_last().map_or((0, &[][..]), |(last, rest)| (*last, rest));
    let buckets: Vec<(f64, u64)> =
        bounded.iter().enumerate().map(|(power, count)| ((1u64 << power) as f64 / 1e6, *count)).collect();
    out.histogram(&[], &buckets, beyond, latency.total.as_secs_f64());
}
