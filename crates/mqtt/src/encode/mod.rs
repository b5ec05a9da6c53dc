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
pub use publish::{PublishOut, encode_publish, encode_publish_head, publish_len};
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ack, AckKind, ConnAck, Disconnect, PropertiesBuilder, ReasonCode, SubAck, Version};

    fn bytes(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        // A packet is appended; what stands before it stays.
        let mut out = vec![0xAA];
        encode(&mut out);
        assert_eq!(out.remove(0), 0xAA);
        out
    }

    fn ack(kind: AckKind, reason: ReasonCode) -> Ack<'static> {
        Ack { kind, packet_id: 0x0102, reason, reason_string: None, properties: Properties::EMPTY }
    }

    #[test]
    fn acknowledgements_take_their_shortest_form() {
        for (kind, first) in [
            (AckKind::PubAck, 0x40),
            (AckKind::PubRec, 0x50),
            (AckKind::PubRel, 0x62),
            (AckKind::PubComp, 0x70),
        ] {
            for version in [Version::V311, Version::V5] {
                let success = bytes(|out| encode_ack(out, version, &ack(kind, ReasonCode::SUCCESS)));
                assert_eq!(success, [first, 2, 1, 2]);
            }
            let failed = ack(kind, ReasonCode::QUOTA_EXCEEDED);
            assert_eq!(bytes(|out| encode_ack(out, Version::V5, &failed)), [first, 3, 1, 2, 0x97]);
            assert_eq!(bytes(|out| encode_ack(out, Version::V311, &failed)), [first, 2, 1, 2]);
            let told = Ack { reason_string: Some("no"), ..failed };
            let expected = [first, 9, 1, 2, 0x97, 5, 0x1F, 0, 2, b'n', b'o'];
            assert_eq!(bytes(|out| encode_ack(out, Version::V5, &told)), expected);
            assert_eq!(bytes(|out| encode_ack(out, Version::V311, &told)), [first, 2, 1, 2]);
        }
    }

    #[test]
    fn connack_of_3_1_1_has_a_return_code() {
        for (reason, code) in [
            (ReasonCode::SUCCESS, 0),
            (ReasonCode::UNSUPPORTED_PROTOCOL_VERSION, 1),
            (ReasonCode::CLIENT_IDENTIFIER_NOT_VALID, 2),
            (ReasonCode::SERVER_BUSY, 3),
            (ReasonCode::BAD_USER_NAME_OR_PASSWORD, 4),
            (ReasonCode::NOT_AUTHORIZED, 5),
            (ReasonCode::BANNED, 5),
        ] {
            let connack = ConnAck { reason, session_present: true, ..ConnAck::default() };
            let present = u8::from(reason == ReasonCode::SUCCESS);
            assert_eq!(bytes(|out| encode_connack(out, Version::V311, &connack)), [0x20, 2, present, code]);
        }
    }

    #[test]
    fn suback_of_3_1_1_knows_one_failure_and_unsuback_nothing() {
        let suback = SubAck {
            packet_id: 5,
            reason_string: Some("not for 3.1.1"),
            properties: Properties::EMPTY,
            reasons: &[0, 1, 2, 0x87, 0x8F],
        };
        let encoded = bytes(|out| encode_suback(out, Version::V311, &suback));
        assert_eq!(encoded, [0x90, 7, 0, 5, 0, 1, 2, 0x80, 0x80]);
        assert_eq!(bytes(|out| encode_unsuback(out, Version::V311, &suback)), [0xB0, 2, 0, 5]);
    }

    #[test]
    fn disconnect_takes_its_shortest_form() {
        let mut disconnect = Disconnect::default();
        assert_eq!(bytes(|out| encode_disconnect(out, Version::V5, &disconnect)), [0xE0, 0]);
        disconnect.reason = ReasonCode::SERVER_SHUTTING_DOWN;
        assert_eq!(bytes(|out| encode_disconnect(out, Version::V5, &disconnect)), [0xE0, 1, 0x8B]);
        assert_eq!(bytes(|out| encode_disconnect(out, Version::V311, &disconnect)), [0xE0, 0]);
        let user = PropertiesBuilder::new().user_property("a", "b");
        disconnect.properties = user.properties();
        let expected = [0xE0, 9, 0x8B, 7, 0x26, 0, 1, b'a', 0, 1, b'b'];
        assert_eq!(bytes(|out| encode_disconnect(out, Version::V5, &disconnect)), expected);
    }

    #[test]
    fn lengths_of_more_than_one_byte_are_put_in_place() {
        let text = "x".repeat(300);
        let disconnect = Disconnect { reason_string: Some(&text), ..Disconnect::default() };
        let encoded = bytes(|out| encode_disconnect(out, Version::V5, &disconnect));
        // 1 reason, 2 bytes of property length, 1 identifier, 2 bytes of text length, 300 of text.
        assert_eq!(encoded[..6], [0xE0, 0xB2, 0x02, 0, 0xAF, 0x02]);
        assert_eq!(encoded.len(), 3 + 306);
    }

    #[test]
    #[cfg(not(debug_assertions))]
    fn what_is_too_long_for_the_protocol_is_cut_at_a_character() {
        let text = "é".repeat(40_000);
        let disconnect = Disconnect { reason_string: Some(&text), ..Disconnect::default() };
        let encoded = bytes(|out| encode_disconnect(out, Version::V5, &disconnect));
        let frame = crate::peek(&encoded, u32::MAX).unwrap().unwrap();
        assert_eq!(frame.total_len, encoded.len());
        let body = &encoded[frame.header_len..];
        let limits = crate::DecodeLimits { properties_bytes_max: 1 << 20, ..Default::default() };
        assert!(crate::decode(frame.first, body, Version::V5, crate::Sender::Server, &limits).is_ok());
    }
}
