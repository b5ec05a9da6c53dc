//! Packets to bytes. Each function appends one whole packet to `out`.
//!
//! The caller's data is trusted to obey the protocol; what would make a packet that cannot be parsed (a string beyond 65,535
//! bytes, a packet beyond 268,435,455) is a mistake of ours: it fails a debug assertion, and in a release build the string
//! is cut or the packet left out, so that the stream stays in step.

mod control;
mod publish;
mod session;

use crate::{Properties, properties::id, varint};

pub use control::{encode_ack, encode_auth, encode_disconnect, encode_pingreq, encode_pingresp};
pub use publish::{PublishOut, encode_publish, publish_len};
pub use session::{
    encode_connack, encode_connect, encode_suback, encode_subscribe, encode_unsuback, encode_unsubscribe,
};

/// Writes a packet whose length is not known before: `body` appends what follows the fixed header.
fn packet(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(first);
    body(out);
    let length = out.len() - start - 1;
    if length > varint::MAX as usize {
        debug_assert!(false, "a packet of {length} bytes");
        out.truncate(start);
        return;
    }
    varint::insert(out, start + 1, length as u32);
}

/// Writes a block of properties with its length in front.
fn properties(out: &mut Vec<u8>, block: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    block(out);
    let length = (out.len() - start).min(varint::MAX as usize);
    varint::insert(out, start, length as u32);
}

/// Reason String and User Properties, which most packets can have.
fn reason_and_user(out: &mut Vec<u8>, reason_string: Option<&str>, user: &Properties<'_>) {
    text_property(out, id::REASON_STRING, reason_string);
    user.user_into(out);
}

fn text_property(out: &mut Vec<u8>, identifier: u8, value: Option<&str>) {
    if let Some(value) = value {
        out.push(identifier);
        text(out, value);
    }
}

fn binary_property(out: &mut Vec<u8>, identifier: u8, value: Option<&[u8]>) {
    if let Some(value) = value {
        out.push(identifier);
        binary(out, value);
    }
}

fn u8_property(out: &mut Vec<u8>, identifier: u8, value: Option<u8>) {
    if let Some(value) = value {
        out.extend_from_slice(&[identifier, value]);
    }
}

fn bool_property(out: &mut Vec<u8>, identifier: u8, value: Option<bool>) {
    u8_property(out, identifier, value.map(u8::from));
}

fn u16_property(out: &mut Vec<u8>, identifier: u8, value: Option<u16>) {
    if let Some(value) = value {
        let [high, low] = value.to_be_bytes();
        out.extend_from_slice(&[identifier, high, low]);
    }
}

fn u32_property(out: &mut Vec<u8>, identifier: u8, value: Option<u32>) {
    if let Some(value) = value {
        let [a, b, c, d] = value.to_be_bytes();
        out.extend_from_slice(&[identifier, a, b, c, d]);
    }
}

fn u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// A UTF-8 Encoded String (section 1.5.4).
fn text(out: &mut Vec<u8>, text: &str) {
    binary(out, sendable(text).as_bytes());
}

/// Binary Data (section 1.5.6).
fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    debug_assert!(bytes.len() <= usize::from(u16::MAX));
    let bytes = &bytes[..bytes.len().min(usize::from(u16::MAX))];
    u16(out, bytes.len() as u16);
    out.extend_from_slice(bytes);
}

/// As much of `text` as a length of two bytes can announce.
#[inline]
fn sendable(text: &str) -> &str {
    debug_assert!(text.len() <= usize::from(u16::MAX));
    if text.len() <= usize::from(u16::MAX) {
        text
    } else {
        &text[..text.floor_char_boundary(usize::from(u16::MAX))]
    }
}
