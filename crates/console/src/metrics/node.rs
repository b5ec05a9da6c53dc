//! What the node counts: the shards' figures and the accept ladder.

use super::{Exposition, Kind};
use ravelin_node::control::Control;
use ravelin_node::{Counters, Figures, LadderCounters, Rung};
use ravelin_protect::lockout::Scope;

pub(super) fn write(out: &mut Exposition, control: &Control) {
    let status = control.status();
    out.family("ravelin_info", Kind::Gauge, "The node; its value is 1.");
    out.sample(&[("name", &status.name), ("version", status.version)], 1.0);
    out.single("ravelin_uptime_seconds", Kind::Gauge, "Time since the start.", status.uptime_s);
    out.single(
        "ravelin_ready",
        Kind::Gauge,
        "Whether the node serves and its store works.",
        status.ready.into(),
    );
    out.single("ravelin_shards", Kind::Gauge, "Worker threads.", status.shards as u64);
    let resident = resident_bytes();
    out.single("ravelin_resident_memory_bytes", Kind::Gauge, "Memory of the process.", resident);
    let figures = control.figures();
    gauges(out, &figures);
    traffic(out, &figures);
    refused(out, &figures, &control.ladder());
    protection(out, control, &figures.counters);
}

fn gauges(out: &mut Exposition, figures: &Figures) {
    let stats = &figures.stats;
    for (name, help, value) in [
        ("ravelin_connections", "Connections, authenticated or not.", figures.connections),
        ("ravelin_clients_connected", "Clients with a session that are connected.", stats.connected),
        ("ravelin_sessions", "Sessions, connected or not.", stats.sessions),
        ("ravelin_subscriptions", "Subscriptions.", stats.subscriptions),
        ("ravelin_shared_subscriptions", "Shared subscriptions.", stats.shared_subscriptions),
        ("ravelin_retained_messages", "Retained messages.", stats.retained),
        ("ravelin_retained_bytes", "Bytes of retained messages.", stats.retained_bytes),
        ("ravelin_queued_messages", "Messages that wait for sessions.", stats.queued),
        ("ravelin_queued_bytes", "Bytes that wait for sessions.", stats.queued_bytes),
        ("ravelin_held_messages", "Messages that wait because their topic is frozen.", stats.held),
        ("ravelin_held_bytes", "Bytes that wait because their topic is frozen.", stats.held_bytes),
    ] {
        out.single(name, Kind::Gauge, help, value);
    }
}

fn traffic(out: &mut Exposition, figures: &Figures) {
    let (stats, counters) = (&figures.stats, &figures.counters);
    let pairs = [
        ("ravelin_packets_total", "MQTT packets.", stats.packets_received, stats.packets_sent),
        ("ravelin_packet_bytes_total", "Bytes of MQTT packets.", stats.bytes_received, stats.bytes_sent),
        ("ravelin_publishes_total", "PUBLISH packets.", stats.publish_received, stats.publish_sent),
        (
            "ravelin_publish_bytes_total",
            "Payload bytes of PUBLISH packets.",
            stats.publish_bytes_received,
            stats.publish_bytes_sent,
        ),
    ];
    for (name, help, received, sent) in pairs {
        out.family(name, Kind::Counter, help);
        out.sample(&[("direction", "in")], received as f64);
        out.sample(&[("direction", "out")], sent as f64);
    }
    for (name, help, value) in [
        ("ravelin_publishes_dropped_total", "Messages dropped for a full queue.", stats.publish_dropped),
        ("ravelin_publishes_expired_total", "Messages whose expiry came first.", stats.publish_expired),
        (
            "ravelin_publishes_undeliverable_total",
            "Messages without a subscriber.",
            stats.publish_undeliverable,
        ),
        ("ravelin_publishes_frozen_total", "Publishes refused for a frozen topic.", stats.publish_frozen),
        ("ravelin_denied_total", "Publishes, subscriptions and wills that no rule allowed.", stats.denied),
        ("ravelin_sessions_expired_total", "Sessions that expired.", stats.sessions_expired),
        (
            "ravelin_takeovers_total",
            "Connections that another of the same Client Identifier ended.",
            stats.takeovers,
        ),
        ("ravelin_socket_bytes_in_total", "Bytes read from sockets.", counters.socket_bytes_in),
        ("ravelin_connections_moved_total", "Connections handed to another shard.", counters.moved),
        (
            "ravelin_slow_readers_total",
            "Clients disconnected because they took nothing.",
            counters.slow_readers,
        ),
        ("ravelin_shard_turns_total", "Turns of the shards' loops.", counters.turns),
        ("ravelin_panics_total", "Internal errors that were contained to one connection.", counters.panics),
    ] {
        out.single(name, Kind::Counter, help, value);
    }
}

/// Each rung of the accept ladder, in the order of what a refusal costs.
fn refused(out: &mut Exposition, figures: &Figures, ladder: &LadderCounters) {
    out.single(
        "ravelin_connections_accepted_total",
        Kind::Counter,
        "Connections that the kernel gave.",
        figures.counters.accepted,
    );
    out.single(
        "ravelin_connections_admitted_total",
        Kind::Counter,
        "Connections that the first rungs let in.",
        ladder.admitted,
    );
    out.family(
        "ravelin_connections_refused_total",
        Kind::Counter,
        "Connections refused, by the rung that did it.",
    );
    for rung in Rung::ALL {
        out.sample(&[("rung", rung.name())], figures.rungs.of(*rung).refused as f64);
    }
    out.family(
        "ravelin_connection_refusal_seconds",
        Kind::Gauge,
        "What a refusal takes of a worker's time, by rung, as far as one was timed.",
    );
    for rung in Rung::ALL {
        if let Some(us) = figures.rungs.of(*rung).cost_us() {
            out.sample(&[("rung", rung.name())], us / 1e6);
        }
    }
}

/// Lock-out, rates, and what was given up for want of memory.
fn protection(out: &mut Exposition, control: &Control, counters: &Counters) {
    let lockout = control.lockout_counters();
    out.single("ravelin_logins_failed_total", Kind::Counter, "Log-ins that failed.", lockout.failed);
    out.single(
        "ravelin_lockouts_total",
        Kind::Counter,
        "Pauses that began after failed log-ins.",
        lockout.locked,
    );
    out.family(
        "ravelin_logins_locked_out_total",
        Kind::Counter,
        "Log-ins refused during a pause, by what it is for.",
    );
    for scope in [Scope::Pair, Scope::Address, Scope::User, Scope::Device] {
        out.sample(&[("scope", scope.name())], lockout.refused[scope as usize] as f64);
    }
    out.family("ravelin_rate_exceeded_total", Kind::Counter, "How often a configured rate was exceeded.");
    for one in control.rates() {
        out.sample(&[("rate", &one.rule.name)], one.exceeded as f64);
    }
    let memory = control.memory();
    for (name, help, value) in [
        (
            "ravelin_memory_used_bytes",
            "Memory in use, without what is free for use again.",
            memory.used_bytes,
        ),
        ("ravelin_memory_ceiling_bytes", "The ceiling of the node's memory; 0: none.", memory.ceiling_bytes),
        ("ravelin_memory_stage", "0 calm, 1 refusing, 2 shedding, 3 cutting.", memory.stage as u64),
    ] {
        out.single(name, Kind::Gauge, help, value);
    }
    for (name, help, value) in [
        ("ravelin_rate_delays_total", "How often a connection was made to wait.", counters.delayed),
        ("ravelin_memory_shed_messages_total", "QoS 0 messages given up for memory.", counters.shed_messages),
        (
            "ravelin_memory_shed_connections_total",
            "Slow readers given up for memory.",
            counters.shed_connections,
        ),
    ] {
        out.single(name, Kind::Counter, help, value);
    }
}

/// Memory of the process; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}
