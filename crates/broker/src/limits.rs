//! What the core allows. Every queue, table and string has a bound here.

use ravelin_mqtt::DecodeLimits;

/// The limits of one shard's core. Node-wide limits are divided among the shards by the shell.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What a packet may hold.
    pub decode: DecodeLimits,
    /// Largest packet that a client may send, in bytes; told to MQTT 5.0 clients as Maximum Packet Size.
    pub packet_bytes_max: u32,
    /// Most sessions, connected or not.
    pub sessions_max: usize,
    /// Longest Session Expiry Interval granted, in seconds.
    pub session_expiry_s_max: u32,
    /// Most subscriptions of one session.
    pub subscriptions_per_session_max: usize,
    /// Most subscriptions of this shard.
    pub subscriptions_max: usize,
    /// Most shared subscription groups of this shard.
    pub shared_groups_max: usize,
    /// Most retained messages.
    pub retained_count_max: usize,
    /// Most bytes of retained messages (topic, properties and payload).
    pub retained_bytes_max: usize,
    /// Whether a retained message whose author may not publish it any more is kept from subscribers.
    pub retained_author_checked: bool,
    /// Largest payload of a retained message.
    pub retained_message_bytes_max: usize,
    /// Most messages queued for one session.
    pub queue_messages_max: usize,
    /// Most bytes queued for one session.
    pub queue_bytes_max: usize,
    /// Most bytes queued for all sessions of this shard.
    pub queue_bytes_total_max: usize,
    /// Most publishes to frozen topics of this shard's clients that wait for the end of the freeze.
    pub held_messages_max: usize,
    /// Most bytes of them.
    pub held_bytes_max: usize,
    /// Most unacknowledged QoS 1 and 2 messages that are sent to a client; an MQTT 5.0 client may ask for fewer.
    pub inflight_max: u16,
    /// Most unacknowledged QoS 1 and 2 messages that a client may send: Receive Maximum.
    pub receive_max: u16,
    /// Most topic aliases per connection and direction.
    pub topic_alias_max: u16,
    /// Most bytes of the topics that one connection's aliases stand for, in each direction.
    pub topic_alias_bytes_max: usize,
    /// Most bytes waiting to be written to one connection before QoS 0 messages are dropped for it.
    pub outbound_bytes_max: usize,
    /// Most bytes waiting to be written to all connections of this shard; beyond it, each may hold 64 KiB.
    pub outbound_bytes_total_max: usize,
    /// Largest will payload.
    pub will_bytes_max: usize,
    /// Longest Will Delay Interval granted, in seconds.
    pub will_delay_s_max: u32,
    /// Longest Keep Alive, in seconds; a client that asks for more, or for none, is given this one. 0: none.
    pub keep_alive_s_max: u16,
    /// Most routes remembered.
    pub route_cache_max: usize,
    /// Most publishers and topics that are told apart between two calls of [`crate::Broker::take_flows`]; 0: none.
    pub flows_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            decode: DecodeLimits::default(),
            packet_bytes_max: 1 << 20,
            sessions_max: 1_000_000,
            session_expiry_s_max: 7 * 24 * 3600,
            subscriptions_per_session_max: 10_000,
            subscriptions_max: 5_000_000,
            shared_groups_max: 10_000,
            retained_count_max: 1_000_000,
            retained_bytes_max: 1 << 30,
            retained_author_checked: true,
            retained_message_bytes_max: 1 << 20,
            queue_messages_max: 100_000,
            queue_bytes_max: 64 << 20,
            queue_bytes_total_max: 2 << 30,
            held_messages_max: 100_000,
            held_bytes_max: 64 << 20,
            inflight_max: 1024,
            receive_max: 1024,
            topic_alias_max: 64,
            topic_alias_bytes_max: 64 << 10,
            outbound_bytes_max: 8 << 20,
            outbound_bytes_total_max: 512 << 20,
            will_bytes_max: 64 << 10,
            will_delay_s_max: 24 * 3600,
            keep_alive_s_max: 3600,
            route_cache_max: 65_536,
            flows_max: 32_768,
        }
    }
}
