//! What the core asks of its shell.

use crate::{LinkId, Watch};
use ravelin_event::{DisconnectCause, Event, Principal};
use ravelin_mqtt::{Properties, QoS};
use std::sync::Arc;

/// Something that the shell must do. Drain them all after every turn, in order.
#[derive(Debug)]
pub enum Output {
    /// Write out what the link's outbound holds, then close its network connection.
    Close(Close),
    /// Something happened: log it, count it.
    Event(Event),
    /// Carry a message to a sister shard, keeping order.
    Send(u16, ShardMessage),
    /// Something was published to a topic that is watched ([`crate::Authorizer::watch`]). It was accepted; that it is durable
    /// is not said.
    Observed(Box<Observed>),
    /// A message that is recorded has come to somebody.
    Delivered(Delivered),
}

/// A publish to a watched topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Who watches.
    pub watch: Watch,
    /// Names the message on this node: no other one has the name, also after a restart, while the wall clock does not go
    /// back. [`Delivered`] has the same one, if the watch has [`Watch::RECORD`].
    pub id: u64,
    /// Who published it, or whose will it is.
    pub who: Principal,
    /// The topic.
    pub topic: Box<str>,
    /// The payload.
    pub payload: Box<[u8]>,
    /// The properties that are passed on, as [`Properties::parse_forwarded`] reads them.
    pub properties: Box<[u8]>,
    /// The publisher's QoS.
    pub qos: QoS,
    /// The publisher's RETAIN flag.
    pub retain: bool,
    /// It may be a repetition of an earlier one, by the same or another name: DUP was set, or the name of its Packet
    /// Identifier was known.
    pub duplicate: bool,
    /// It is a will.
    pub will: bool,
    /// When, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
}

impl Observed {
    /// The properties that are passed on: User Properties, Response Topic, Correlation Data, ...
    pub fn properties(&self) -> Properties<'_> {
        Properties::parse_forwarded(&self.properties).unwrap_or(Properties::EMPTY)
    }
}

/// A message that is recorded has come to somebody. It may be told twice, after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its name, as [`Observed`] told.
    pub id: u64,
    /// The Client Identifier of whoever got it.
    pub to: Arc<str>,
    /// The identity of whoever got it.
    pub identity: Option<Arc<str>>,
    /// The QoS of the delivery.
    pub qos: QoS,
    /// When, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// How it is known.
    pub how: How,
}

/// How it is known that a message has come to somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// At QoS 0: it was written to the connection.
    Written,
    /// The receiver has acknowledged it: PUBACK, or PUBREC, with which it is the receiver's (section 4.3.3).
    Acknowledged,
    /// The receiver has acknowledged it with a reason that says that it did not take it (MQTT 5.0).
    Refused,
}

/// The end of a network connection, as the core wants it. The link is already gone from the core.
#[derive(Debug)]
pub struct Close {
    /// The link; its id is not used again.
    pub link: LinkId,
    /// The shell's token for it.
    pub token: u64,
    /// The last bytes to write (what was waiting, and a DISCONNECT where the protocol has one).
    pub last: crate::Outbound,
    /// Why.
    pub cause: DisconnectCause,
}

/// A message between shards. Opaque to the shell, which keeps order per pair of shards and never drops one.
#[derive(Debug)]
pub struct ShardMessage(pub(crate) Vec<u8>);

impl ShardMessage {
    /// Its size, for the bounded mailbox.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// What was restored from the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreSummary {
    /// Sessions.
    pub sessions: u64,
    /// Retained messages.
    pub retained: u64,
    /// Queued messages.
    pub queued: u64,
}

/// Counters of one shard since its start, and gauges; the shell sums them for `$SYS` and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Links (connected clients).
    pub connected: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Subscriptions.
    pub subscriptions: u64,
    /// Shared subscriptions among them.
    pub shared_subscriptions: u64,
    /// Retained messages.
    pub retained: u64,
    /// Bytes of retained messages.
    pub retained_bytes: u64,
    /// Messages queued.
    pub queued: u64,
    /// Bytes queued.
    pub queued_bytes: u64,
    /// Messages that wait because their topic is frozen.
    pub held: u64,
    /// Bytes of them.
    pub held_bytes: u64,
    /// Control packets received.
    pub packets_received: u64,
    /// Control packets sent.
    pub packets_sent: u64,
    /// Bytes received in control packets.
    pub bytes_received: u64,
    /// Bytes handed to links.
    pub bytes_sent: u64,
    /// PUBLISH packets received.
    pub publish_received: u64,
    /// PUBLISH packets sent.
    pub publish_sent: u64,
    /// PUBLISH payload bytes received.
    pub publish_bytes_received: u64,
    /// PUBLISH payload bytes sent.
    pub publish_bytes_sent: u64,
    /// Messages dropped: queue or outbound full, or too large for the client.
    pub publish_dropped: u64,
    /// Messages that expired before they were delivered.
    pub publish_expired: u64,
    /// Publishes that no subscriber wanted.
    pub publish_undeliverable: u64,
    /// Publishes, subscriptions and wills refused by access rules.
    pub denied: u64,
    /// Publishes refused by the meter.
    pub publish_limited: u64,
    /// Publishes and wills refused because their topic is frozen.
    pub publish_frozen: u64,
    /// Sessions that expired.
    pub sessions_expired: u64,
    /// Takeovers.
    pub takeovers: u64,
}
