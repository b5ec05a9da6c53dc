//! What a shard counts beside its core, and how it is published: plain numbers, copied out once a second.

use crate::ladder::Rungs;
use ravelin_broker::Stats;

/// Counted by the shell of one shard since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted by the kernel for this shard.
    pub accepted: u64,
    /// Closed by the ladder's first rungs.
    pub refused_ladder: u64,
    /// PROXY protocol headers refused.
    pub refused_proxy: u64,
    /// TLS handshakes that failed.
    pub refused_tls: u64,
    /// WebSocket handshakes and frames refused.
    pub refused_websocket: u64,
    /// What came first was not an acceptable CONNECT.
    pub refused_connect: u64,
    /// No accepted CONNECT in time.
    pub refused_deadline: u64,
    /// Refused by authentication.
    pub refused_authentication: u64,
    /// Refused because too many passwords were being verified.
    pub refused_busy: u64,
    /// Refused by the core.
    pub refused_core: u64,
    /// Connections handed to another shard.
    pub moved: u64,
    /// How often a connection that exceeded a rate was made to wait.
    pub delayed: u64,
    /// TLS connections that were given new keys.
    pub keys_refreshed: u64,
    /// QoS 0 messages that waited and were dropped because memory was short.
    pub shed_messages: u64,
    /// Clients disconnected because memory was short and they read slowly.
    pub shed_connections: u64,
    /// Clients disconnected because they took nothing.
    pub slow_readers: u64,
    /// Bytes read from sockets.
    pub socket_bytes_in: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Panics that were contained to one connection.
    pub panics: u64,
}

/// What a shard publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// The shell's counters.
    pub counters: Counters,
    /// The core's counters and gauges.
    pub stats: Stats,
    /// What the rungs of the accept ladder refused, and what it cost.
    pub rungs: Rungs,
    /// Connections of the shard, authenticated or not.
    pub connections: u64,
}

/// The sum of the figures of several shards.
pub fn sum(all: &[Figures]) -> Figures {
    let mut total = Figures::default();
    for figures in all {
        total.connections += figures.connections;
        total.rungs.add(&figures.rungs);
        add_counters(&mut total.counters, &figures.counters);
        add_stats(&mut total.stats, &figures.stats);
    }
    total
}

macro_rules! add_fields {
    ($total:expr, $part:expr, $($field:ident),* $(,)?) => { $($total.$field += $part.$field;)* };
}

fn add_counters(total: &mut Counters, part: &Counters) {
    add_fields!(
        total,
        part,
        accepted,
        refused_ladder,
        refused_proxy,
        refused_tls,
        refused_websocket,
        refused_connect,
        refused_deadline,
        refused_authentication,
        refused_busy,
        refused_core,
        moved,
        delayed,
        keys_refreshed,
        shed_messages,
        shed_connections,
        slow_readers,
        socket_bytes_in,
        turns,
        panics,
    );
}

fn add_stats(total: &mut Stats, part: &Stats) {
    // Retained messages are replicated: every shard has them all.
    total.retained = total.retained.max(part.retained);
    total.retained_bytes = total.retained_bytes.max(part.retained_bytes);
    add_fields!(
        total,
        part,
        connected,
        sessions,
        subscriptions,
        shared_subscriptions,
        queued,
        queued_bytes,
        held,
        held_bytes,
        packets_received,
        packets_sent,
        bytes_received,
        bytes_sent,
        publish_received,
        publish_sent,
        publish_bytes_received,
        publish_bytes_sent,
        publish_dropped,
        publish_expired,
        publish_undeliverable,
        denied,
        publish_limited,
        publish_frozen,
        sessions_expired,
        takeovers,
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_and_replicated_gauges_do_not() {
        let mut figures = Figures::default();
        figures.stats.publish_sent = 3;
        figures.stats.retained = 7;
        figures.counters.accepted = 2;
        let total = sum(&[figures, figures]);
        assert_eq!((total.stats.publish_sent, total.stats.retained, total.counters.accepted), (6, 7, 4));
    }
}
