//! Bytes to packets and back, for MQTT 3.1.1 and MQTT 5.0; topic names and topic filters.
//!
//! Pure: no socket, clock, file, thread or randomness. Limits are arguments. Packets are views that borrow the bytes
//! they were decoded from; nothing is copied and nothing is allocated for a PUBLISH.
//!
//! The crate does not keep state: packet identifiers in use, topic aliases and sessions live in `ravelin-broker`.
//!
//! [`peek`] finds where a packet ends, [`decode`] (or [`decode_publish`]) reads its body, and the `encode_*` functions append
//! a packet to a buffer. Every rule that a packet can break on its own is checked while decoding; nothing that arrives
//! makes this crate panic, and the work is linear in the bytes that arrived.
//!
//! ```
//! use ravelin_mqtt::{DecodeLimits, Packet, Sender, Version, decode, peek};
//!
//! let received = b"\x30\x07\0\x03a/bhi\xC0";
//! let frame = peek(received, 65_536)?.expect("the whole fixed header is there");
//! let body = &received[frame.header_len..frame.total_len];
//! let packet = decode(frame.first, body, Version::V311, Sender::Client, &DecodeLimits::default())?;
//! let Packet::Publish(publish) = packet else { panic!() };
//! assert_eq!((publish.topic, publish.payload), ("a/b", &b"hi"[..]));
//! # Ok::<(), ravelin_mqtt::Error>(())
//! ```

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
    encode_pingresp, encode_publish, encode_publish_head, encode_suback, encode_subscribe, encode_unsuback,
    encode_unsubscribe, publish_len,
};
pub use error::Error;
pub use frame::{Frame, peek};
pub use packet::*;
pub use properties::{Properties, PropertiesBuilder, Property};
pub use reason::ReasonCode;
pub use text::check_text;
pub use topic::{MAX_TOPIC_BYTES, SharedFilter, TopicError, check_filter, check_topic, levels, matches};
