//! Why bytes were not a packet, and what the peer is told about it.

use std::fmt;

use crate::{ReasonCode, TopicError};

/// Why a packet was refused. Every variant is the peer's fault; the text names what was wrong and, where there is one,
/// the normative statement.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The bytes cannot be parsed by the rules of the specification.
    Malformed(&'static str),
    /// The bytes can be parsed, but say what the protocol does not allow.
    ProtocolError(&'static str),
    /// The packet is longer than the limit.
    PacketTooLarge {
        /// Bytes of the whole packet, as announced by its fixed header.
        bytes: u32,
        /// Bytes allowed.
        bytes_max: u32,
    },
    /// A limit of this server other than the packet size was exceeded.
    LimitExceeded(&'static str),
    /// The CONNECT asks for a protocol level that is not spoken here.
    UnsupportedVersion(u8),
    /// The Client Identifier is not accepted (MQTT-3.1.3-8).
    InvalidClientId(&'static str),
    /// A Topic Name (of a PUBLISH or of a will) is not valid.
    InvalidTopic(TopicError),
    /// A Topic Alias of 0 (MQTT-3.3.2-8).
    InvalidTopicAlias,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Malformed(what) => write!(f, "malformed packet: {what}"),
            Error::ProtocolError(what) => write!(f, "protocol error: {what}"),
            Error::PacketTooLarge { bytes, bytes_max } => {
                write!(f, "packet too large: {bytes} bytes, {bytes_max} allowed")
            }
            Error::LimitExceeded(what) => write!(f, "limit exceeded: {what}"),
            Error::UnsupportedVersion(level) => write!(f, "unsupported protocol level {level}"),
            Error::InvalidClientId(what) => write!(f, "client identifier not valid: {what}"),
            Error::InvalidTopic(error) => write!(f, "topic name invalid: {error}"),
            Error::InvalidTopicAlias => f.write_str("topic alias invalid: it is 0 (MQTT-3.3.2-8)"),
        }
    }
}

// The text of `InvalidTopic` contains its cause, so `source` stays empty: no cause is printed twice.
impl std::error::Error for Error {}

impl From<&Error> for ReasonCode {
    /// What a CONNACK or DISCONNECT says about the error.
    fn from(error: &Error) -> ReasonCode {
        match error {
            Error::Malformed(_) => ReasonCode::MALFORMED_PACKET,
            Error::ProtocolError(_) => ReasonCode::PROTOCOL_ERROR,
            Error::PacketTooLarge { .. } => ReasonCode::PACKET_TOO_LARGE,
            Error::LimitExceeded(_) => ReasonCode::QUOTA_EXCEEDED,
            Error::UnsupportedVersion(_) => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            Error::InvalidClientId(_) => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            Error::InvalidTopic(_) => ReasonCode::TOPIC_NAME_INVALID,
            Error::InvalidTopicAlias => ReasonCode::TOPIC_ALIAS_INVALID,
        }
    }
}
