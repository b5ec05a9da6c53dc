//! Each limit of `[limits]`: what it is set to, how much of it is used, how often it refused. Where the node does not
//! count it, it says so by leaving the figure out.

use super::{Exposition, Kind};
use ravelin_node::Rung;
use ravelin_node::config::{LIMITS, Limits};
use ravelin_node::control::Control;
use ravelin_protect::lockout::Scope;

/// A limit and its use.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LimitUse {
    pub name: &'static str,
    pub meaning: &'static str,
    /// As a configuration has it.
    pub configured: String,
    /// As a number in its own unit (bytes, seconds, events a second, things).
    pub limit: f64,
    pub used: Option<u64>,
    pub refused: Option<u64>,
}

/// All limits in the order of their documentation.
pub(crate) fn uses(control: &Control) -> Vec<LimitUse> {
    let limits = control.config().limits.clone();
    let (figures, ladder) = (control.figures(), control.ladder());
    let (stats, counters) = (&figures.stats, &figures.counters);
    let (levels, memory, lockout) = (control.ladder_levels(), control.memory(), control.lockout_counters());
    let refused = |scope: Scope| Some(lockout.refused[scope as usize]);
    let use_of = |name: &str| match name {
        "memory_max" => (Some(memory.used_bytes), Some(ladder.memory)),
        "bans_max" => (Some(levels.bans as u64), Some(ladder.banned)),
        "addresses_max" => (Some(levels.addresses as u64), None),
        "lockout_failures" => (None, Some(lockout.refused.iter().sum())),
        "lockout_failures_per_address" => (None, refused(Scope::Address)),
        "lockout_failures_per_user" => (None, refused(Scope::User)),
        "lockout_pause_known_max" => (None, refused(Scope::Device)),
        "lockout_entries_max" => (Some(levels.lockout as u64), None),
        "connections_max" => (Some(figures.connections), Some(ladder.connections)),
        "connections_per_address_max" => (None, Some(ladder.connections_address)),
        "connection_rate" => (None, Some(ladder.rate)),
        "connection_rate_per_address" => (None, Some(ladder.rate_address)),
        "pre_auth_max" => (Some(levels.preauth.into()), Some(ladder.preauth)),
        "connect_bytes_max" => (None, Some(figures.rungs.of(Rung::Connect).refused)),
        "pre_auth_per_address_max" => (None, Some(ladder.preauth_address)),
        "connect_deadline" => (None, Some(counters.refused_deadline)),
        "sessions_max" => (Some(stats.sessions), None),
        "subscriptions_max" => (Some(stats.subscriptions), None),
        "retained_count_max" => (Some(stats.retained), None),
        "retained_bytes_max" => (Some(stats.retained_bytes), None),
        "held_messages_max" => (Some(stats.held), None),
        "held_bytes_max" => (Some(stats.held_bytes), None),
        "queue_bytes_total_max" => (Some(stats.queued_bytes), None),
        "stall_timeout" => (None, Some(counters.slow_readers)),
        _ => (None, None),
    };
    let values = values(&limits);
    let describe = |entry: &ravelin_node::config::LimitEntry| {
        let (configured, limit) = values
            .iter()
            .find(|(name, ..)| *name == entry.name)
            .map(|(_, shown, number)| (shown.clone(), *number))?;
        let (used, refused) = use_of(entry.name);
        // A share of the machine's memory is told in bytes.
        let limit = if entry.name == "memory_max" { memory.ceiling_bytes as f64 } else { limit };
        Some(LimitUse { name: entry.name, meaning: entry.meaning.trim(), configured, limit, used, refused })
    };
    LIMITS.iter().filter_map(describe).collect()
}

fn values(limits: &Limits) -> Vec<(&'static str, String, f64)> {
    limits.values()
}

pub(super) fn write(out: &mut Exposition, control: &Control) {
    let all = uses(control);
    out.family("ravelin_limit", Kind::Gauge, "What each limit is set to, in its own unit.");
    for one in &all {
        out.sample(&[("limit", one.name)], one.limit);
    }
    out.family("ravelin_limit_used", Kind::Gauge, "How much of a limit is used.");
    for (one, used) in all.iter().filter_map(|one| Some((one, one.used?))) {
        out.sample(&[("limit", one.name)], used as f64);
    }
    out.family("ravelin_limit_refused_total", Kind::Counter, "How often a limit refused something.");
    for (one, refused) in all.iter().filter_map(|one| Some((one, one.refused?))) {
        out.sample(&[("limit", one.name)], refused as f64);
    }
}
