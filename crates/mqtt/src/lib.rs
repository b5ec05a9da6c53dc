//! Bytes to packets and back, for MQTT 3.1.1 and MQTT 5.0; topic names and topic filters.
//!
//! Pure: no socket, clock, file, thread or randomness. Limits are arguments. Packets are views that borrow the bytes
//! they were decoded from; nothing is copied and nothing is allocated for a PUBLISH.
//!
//! The crate does not keep state: packet identifiers in use, topic aliases and sessions live in `ravelin-broker`.

mod decode;
mod encode;
mod error;
mod frame;
mod packet;
mod properties;
mod reader;
mod reason;
mod text;
mod topic;
mod varint;

pub use decode::{DecodeLimits, Sender, connect_version, decode, decode_publish};
pub use encode::{
    PublishOut, encode_ack, encode_auth, encode_connack, encode_connect, encode_disconnect, encode_pingreq,
    encode_pingresp, encode_publish, encode_suback, encode_subscribe, encode_unsuback, encode_unsubscribe,
    publish_len,
};
pub use error::Error;
pub use frame::{Frame, peek};
pub use packet::*;
pub use properties::{Properties, PropertiesBuilder, Property};
pub use reason::ReasonCode;
pub use text::check_text;
pub use topic::{MAX_TOPIC_BYTES, SharedFilter, TopicError, check_filter, check_topic, levels, matches};
