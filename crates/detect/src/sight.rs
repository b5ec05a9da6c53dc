//! What detectors are told. One vocabulary for a running node, a recorded event log and a capture.

use ravelin_event::{DisconnectCause, Refusal};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What a client tried that it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// PUBLISH.
    Publish,
    /// SUBSCRIBE.
    Subscribe,
    /// UNSUBSCRIBE.
    Unsubscribe,
    /// A will message.
    Will,
}

/// One thing that was seen. When it was seen is told beside it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Sight {
    /// Somebody opened connections, whatever became of them.
    Opened {
        /// From where.
        address: SocketAddr,
        /// How many.
        count: u32,
    },
    /// A connection ended before it had a session, and it was not refused: nothing or half a CONNECT had come.
    Abandoned {
        /// From where.
        address: SocketAddr,
        /// How long it was open.
        open_ms: u64,
        /// Bytes that had come.
        bytes: u64,
    },
    /// Somebody was refused before there was a session.
    Refused {
        /// From where.
        address: SocketAddr,
        /// The Client Identifier, if it came so far.
        client_id: Option<Arc<str>>,
        /// The identity or User Name, if it came so far.
        identity: Option<Arc<str>>,
        /// Why.
        why: Refusal,
        /// How often (what was summed up to protect the log comes as one).
        count: u32,
    },
    /// A client was let in.
    Arrived(Arc<Arrived>),
    /// A client's connection ended.
    Left {
        /// The client.
        client_id: Arc<str>,
        /// From where it was connected.
        address: Option<SocketAddr>,
        /// Why.
        cause: DisconnectCause,
    },
    /// A client has asked for something that it may not.
    Denied {
        /// The client.
        client_id: Arc<str>,
        /// What it tried.
        operation: Operation,
        /// The topic or filter.
        name: Arc<str>,
        /// Why not.
        why: Refusal,
        /// How often.
        count: u32,
    },
    /// A client subscribed.
    Subscribed {
        /// The client.
        client_id: Arc<str>,
        /// The filter, with `$share/group/`.
        filter: Arc<str>,
    },
    /// What a client did since the last time: its meter.
    Metered(Arc<Metered>),
    /// A client's will was published.
    WillPublished {
        /// The client.
        client_id: Arc<str>,
        /// The topic.
        topic: Arc<str>,
    },
    /// Messages for a client were dropped because its queue was full.
    Dropped {
        /// The client that did not take them.
        client_id: Arc<str>,
        /// How many.
        count: u64,
    },
    /// A message to a topic that is watched, with its payload: physical sensors, measured values.
    Observed {
        /// Who published it.
        client_id: Arc<str>,
        /// The topic.
        topic: Arc<str>,
        /// The payload.
        payload: Arc<[u8]>,
        /// RETAIN.
        retain: bool,
    },
    /// The inventory has found two clients with one Client Identifier or one certificate, or a device elsewhere.
    Cloned {
        /// The client, or the certificate's fingerprint.
        client_id: Arc<str>,
        /// The addresses.
        addresses: Vec<IpAddr>,
        /// What exactly.
        why: Arc<str>,
    },
    /// Things that were not seen: the queue was full. No conclusion may be drawn from silence.
    Missed {
        /// How many.
        count: u64,
    },
    /// The node has started: nobody is connected, and everybody is about to come back.
    Started,
}

/// A client that was let in.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// The Client Identifier.
    pub client_id: Arc<str>,
    /// The identity.
    pub identity: Option<Arc<str>>,
    /// The class.
    pub class: Option<Arc<str>>,
    /// The fingerprint of its certificate.
    pub certificate: Option<Arc<str>>,
    /// From where.
    pub address: SocketAddr,
    /// Its Keep Alive, in seconds; 0: none.
    pub keep_alive_s: u16,
    /// Clean Start.
    pub clean_start: bool,
    /// Whether it left a will.
    pub will: bool,
    /// Whether the inventory knows it as declared.
    pub declared: bool,
}

/// What a client did in a span of time. Counts are of that span, not totals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metered {
    /// The client.
    pub client_id: Arc<str>,
    /// Milliseconds since the Unix epoch at which the span began.
    pub from_ms: u64,
    /// And ended.
    pub to_ms: u64,
    /// PUBLISH packets that were accepted.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// The largest payload.
    pub largest: u32,
    /// Messages that no subscription matched.
    pub undelivered: u64,
    /// Messages with RETAIN.
    pub retained: u64,
    /// Messages by QoS.
    pub qos: [u64; 3],
    /// Control packets of all kinds that came.
    pub packets: u64,
    /// PUBLISH packets that were sent to it.
    pub sent: u64,
    /// Messages that are sent to it and not acknowledged now.
    pub inflight: u32,
    /// Topics in this span, those with most messages first; [`Metered::TOPICS_MAX`] at most.
    pub topics: Vec<TopicMeter>,
    /// Topics that were not told apart, and the messages to them.
    pub other_topics: u32,
    /// Messages to those.
    pub other_messages: u64,
}

impl Metered {
    /// Topics of one span that are told apart.
    pub const TOPICS_MAX: usize = 64;
}

/// What went to one topic in the span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopicMeter {
    /// The topic.
    pub topic: Arc<str>,
    /// Messages.
    pub messages: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// Those that no subscription matched.
    pub undelivered: u64,
    /// Those with RETAIN.
    pub retained: u64,
    /// When the first came, in milliseconds since the Unix epoch.
    pub first_ms: u64,
    /// When the last came.
    pub last_ms: u64,
}
