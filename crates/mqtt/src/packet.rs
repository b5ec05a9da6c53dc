//! The packets, as views over the bytes that they came from (and, for the sending side, over the caller's data).
//!
//! What MQTT 3.1.1 does not have is `None`, empty or the default when a packet of that version is decoded.

use crate::{Properties, ReasonCode};

/// The protocol versions that Ravelin speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V311,
    /// MQTT 5.0, protocol level 5.
    V5,
}

/// Quality of Service (MQTT 5.0 section 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum QoS {
    /// At most once.
    #[default]
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level for 0, 1 or 2.
    pub const fn from_u8(value: u8) -> Option<QoS> {
        match value {
            0 => Some(QoS::AtMostOnce),
            1 => Some(QoS::AtLeastOnce),
            2 => Some(QoS::ExactlyOnce),
            _ => None,
        }
    }
}

/// Any control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "a view that lives on the stack for one call")]
pub enum Packet<'a> {
    /// CONNECT, client to server.
    Connect(Connect<'a>),
    /// CONNACK, server to client.
    ConnAck(ConnAck<'a>),
    /// PUBLISH, both ways.
    Publish(Publish<'a>),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP, both ways.
    Ack(Ack<'a>),
    /// SUBSCRIBE, client to server.
    Subscribe(Subscribe<'a>),
    /// SUBACK, server to client.
    SubAck(SubAck<'a>),
    /// UNSUBSCRIBE, client to server.
    Unsubscribe(Unsubscribe<'a>),
    /// UNSUBACK, server to client.
    UnsubAck(SubAck<'a>),
    /// PINGREQ, client to server.
    PingReq,
    /// PINGRESP, server to client.
    PingResp,
    /// DISCONNECT, client to server; in MQTT 5.0 both ways.
    Disconnect(Disconnect<'a>),
    /// AUTH, both ways, MQTT 5.0 only.
    Auth(Auth<'a>),
}

/// CONNECT (section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    /// The protocol version.
    pub version: Version,
    /// Clean Start (Clean Session in 3.1.1).
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive_s: u16,
    /// The Client Identifier; may be empty.
    pub client_id: &'a str,
    /// The Will Message.
    pub will: Option<Will<'a>>,
    /// User Name.
    pub username: Option<&'a str>,
    /// Password.
    pub password: Option<&'a [u8]>,
    /// Session Expiry Interval in seconds. A 3.1.1 packet decodes to `None`: the broker decides from Clean Session.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum; never 0.
    pub receive_max: Option<u16>,
    /// Maximum Packet Size; never 0.
    pub packet_bytes_max: Option<u32>,
    /// Topic Alias Maximum.
    pub topic_alias_max: u16,
    /// Request Response Information.
    pub request_response_info: bool,
    /// Request Problem Information; true when absent.
    pub request_problem_info: bool,
    /// Authentication Method.
    pub auth_method: Option<&'a str>,
    /// Authentication Data.
    pub auth_data: Option<&'a [u8]>,
    /// User Properties and the rest, in order.
    pub properties: Properties<'a>,
}

/// The Will part of a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    /// Will Topic; a valid topic name.
    pub topic: &'a str,
    /// Will Payload.
    pub payload: &'a [u8],
    /// Will QoS.
    pub qos: QoS,
    /// Will Retain.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub delay_s: u32,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// All will properties; see [`Properties::forward_into`].
    pub properties: Properties<'a>,
}

/// CONNACK (section 3.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Session Present.
    pub session_present: bool,
    /// The reason code. For 3.1.1 it is translated from and to the return codes of MQTT-3.2.2.3.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum.
    pub receive_max: Option<u16>,
    /// Maximum QoS: `Some(0)` or `Some(1)`; absent means 2.
    pub qos_max: Option<u8>,
    /// Retain Available; absent means true.
    pub retain_available: Option<bool>,
    /// Maximum Packet Size.
    pub packet_bytes_max: Option<u32>,
    /// Assigned Client Identifier.
    pub assigned_client_id: Option<&'a str>,
    /// Topic Alias Maximum.
    pub topic_alias_max: Option<u16>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// Wildcard Subscription Available.
    pub wildcard_available: Option<bool>,
    /// Subscription Identifiers Available.
    pub subscription_ids_available: Option<bool>,
    /// Shared Subscription Available.
    pub shared_available: Option<bool>,
    /// Server Keep Alive in seconds.
    pub server_keep_alive_s: Option<u16>,
    /// Response Information.
    pub response_info: Option<&'a str>,
    /// Server Reference.
    pub server_reference: Option<&'a str>,
    /// Authentication Method.
    pub auth_method: Option<&'a str>,
    /// Authentication Data.
    pub auth_data: Option<&'a [u8]>,
    /// All properties as received; when encoding, only its User Properties are written.
    pub properties: Properties<'a>,
}

/// PUBLISH (section 3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    /// DUP flag.
    pub dup: bool,
    /// QoS level.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic Name; empty only in MQTT 5.0 together with a topic alias.
    pub topic: &'a str,
    /// Packet Identifier; 0 at QoS 0, never 0 otherwise.
    pub packet_id: u16,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// Topic Alias; never 0.
    pub topic_alias: Option<u16>,
    /// All properties; see [`Properties::forward_into`].
    pub properties: Properties<'a>,
    /// Application Message.
    pub payload: &'a [u8],
}

/// Which acknowledgement an [`Ack`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AckKind {
    /// PUBACK (section 3.4).
    PubAck = 4,
    /// PUBREC (section 3.5).
    PubRec = 5,
    /// PUBREL (section 3.6).
    PubRel = 6,
    /// PUBCOMP (section 3.7).
    PubComp = 7,
}

/// PUBACK, PUBREC, PUBREL and PUBCOMP, which share one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which of the four.
    pub kind: AckKind,
    /// Packet Identifier; never 0.
    pub packet_id: u16,
    /// Reason code; Success when absent.
    pub reason: ReasonCode,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub properties: Properties<'a>,
}

/// SUBSCRIBE (section 3.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Packet Identifier; never 0.
    pub packet_id: u16,
    /// Subscription Identifier, 1 to 268,435,455.
    pub subscription_id: Option<u32>,
    /// User Properties.
    pub properties: Properties<'a>,
    /// The checked payload: at least one filter. Iterate with [`Subscribe::filters`].
    pub payload: &'a [u8],
}

/// One filter of a SUBSCRIBE with its options (section 3.8.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscription<'a> {
    /// The Topic Filter: well-formed text, but not yet checked as a filter. See [`crate::check_filter`].
    pub filter: &'a str,
    /// The options.
    pub options: SubscribeOptions,
}

/// Subscription Options (section 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SubscribeOptions {
    /// Maximum QoS that the server may send.
    pub qos: QoS,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub retain_as_published: bool,
    /// Retain Handling.
    pub retain_handling: RetainHandling,
}

/// Retain Handling (section 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RetainHandling {
    /// Send retained messages at the time of the subscribe.
    #[default]
    Send = 0,
    /// Send them only if the subscription does not exist yet.
    SendIfNew = 1,
    /// Do not send them.
    DoNotSend = 2,
}

/// SUBACK (section 3.9) and UNSUBACK (section 3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Packet Identifier; never 0.
    pub packet_id: u16,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub properties: Properties<'a>,
    /// One reason code a filter. An UNSUBACK of 3.1.1 has none.
    pub reasons: &'a [u8],
}

/// UNSUBSCRIBE (section 3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Packet Identifier; never 0.
    pub packet_id: u16,
    /// User Properties.
    pub properties: Properties<'a>,
    /// The checked payload: at least one filter. Iterate with [`Unsubscribe::filters`].
    pub payload: &'a [u8],
}

/// DISCONNECT (section 3.14).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// Reason code.
    pub reason: ReasonCode,
    /// Session Expiry Interval in seconds.
    pub session_expiry_s: Option<u32>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// Server Reference.
    pub server_reference: Option<&'a str>,
    /// User Properties.
    pub properties: Properties<'a>,
}

/// AUTH (section 3.15).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, Continue authentication or Re-authenticate.
    pub reason: ReasonCode,
    /// Authentication Method.
    pub method: Option<&'a str>,
    /// Authentication Data.
    pub data: Option<&'a [u8]>,
    /// Reason String.
    pub reason_string: Option<&'a str>,
    /// User Properties.
    pub properties: Properties<'a>,
}
