//! What the core knows of a connection.

use crate::authorize::Permit;
use crate::flows::Counts;
use crate::outbound::Outbound;
use crate::route::Route;
use hashbrown::HashMap;
use ravelin_mqtt::{AckKind, ReasonCode};
use std::collections::VecDeque;
use std::rc::Rc;

/// A connected client's connection. Small: an idle one is nearly all of what a client costs.
pub(crate) struct Link {
    /// The shell's name for it.
    pub token: u64,
    pub out: Outbound,
    /// On the list of links to flush.
    pub dirty: bool,
    /// Nothing is written before the journal is durable up to here: CONNACK promises the session and its will. 0: it is.
    pub opens_after: u64,
    /// The client asked not to get reason strings (MQTT-3.1.2-29).
    pub problem_info: bool,
    /// The client's Maximum Packet Size.
    pub packet_bytes_max: u32,
    /// Most unacknowledged messages that may be sent to the client.
    pub window_max: u16,
    /// Unacknowledged messages sent on this connection.
    pub unacked: u16,
    /// QoS 1 messages received and not yet acknowledged.
    pub qos1_pending: u16,
    pub keep_alive_ms: u32,
    pub clean_start: bool,
    /// Wall clock of its CONNECT.
    pub since_ms: u64,
    pub last_heard_ms: u64,
    pub memo: Option<Memo>,
    /// Among those whose counts are asked for at the next harvest of flows.
    pub counting: bool,
    /// PUBLISH packets that the meter refused.
    pub limited: u64,
    pub traffic: Traffic,
    /// What of it the last reading has told.
    pub told: Traffic,
    /// Acknowledgements that wait for the disk or for a sister shard, in order.
    pub pending: VecDeque<Pending>,
    /// The number of the first of them.
    pub pending_base: u32,
    /// The next message of the session's window to send again after a reconnect.
    pub resend_at: u64,
    pub aliases: Option<Box<Aliases>>,
}

/// What is remembered of the topic that a link last published to.
pub(crate) struct Memo {
    pub route: Rc<Route>,
    /// What is known of the client's rights to publish to it.
    pub permit: Permit,
    /// What was published to it and is not yet in the table of flows, nor in the link's traffic.
    pub counts: Counts,
}

/// Messages and packets of a connection.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub messages_in: u64,
    /// Bytes of their payloads.
    pub bytes_in: u64,
    pub messages_out: u64,
    /// Control packets of all kinds.
    pub packets_in: u64,
}

/// An acknowledgement that is not yet due.
pub(crate) struct Pending {
    /// It may go once the journal is durable up to here.
    pub seq: u64,
    /// ... and so many sister shards have answered.
    pub shards: u16,
    pub what: PendingAck,
}

/// Which one.
pub(crate) enum PendingAck {
    Ack(AckKind, u16, ReasonCode),
    /// An encoded SUBACK or UNSUBACK.
    Packet(Vec<u8>),
}

/// Topic aliases of a connection, both ways (section 3.3.2.3.4).
#[derive(Default)]
pub(crate) struct Aliases {
    /// What the client's aliases mean; index 0 is alias 1.
    pub inbound: Vec<Option<Rc<str>>>,
    /// Bytes of those topics, and of those of `outbound`.
    pub inbound_bytes: usize,
    pub outbound_bytes: usize,
    pub outbound: HashMap<Box<str>, u16, foldhash::fast::FixedState>,
    pub outbound_max: u16,
    /// Most bytes of topics in each direction.
    pub bytes_max: usize,
}

impl Aliases {
    /// The alias for a topic to send: the number, and whether the client knows it already.
    pub fn outgoing(&mut self, topic: &str) -> Option<(u16, bool)> {
        if let Some(&alias) = self.outbound.get(topic) {
            return Some((alias, true));
        }
        let bytes = self.outbound_bytes + topic.len();
        if self.outbound.len() >= self.outbound_max as usize || bytes > self.bytes_max {
            return None;
        }
        self.outbound_bytes = bytes;
        let alias = self.outbound.len() as u16 + 1;
        self.outbound.insert(topic.into(), alias);
        Some((alias, false))
    }
}

impl Link {
    /// Whether more queued messages may be written: little is waiting for the socket.
    pub fn has_room(&self) -> bool {
        self.out.len() < 256 << 10
    }
}
