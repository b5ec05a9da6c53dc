//! Acknowledgements, pings, DISCONNECT and AUTH.

use super::{binary_property, packet, properties, reason_and_user, text_property, u32_property};
use crate::{Ack, AckKind, Auth, Disconnect, ReasonCode, Version, properties::id};

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP. For 3.1.1 only the Packet Identifier is written.
#[inline]
pub fn encode_ack(out: &mut Vec<u8>, version: Version, ack: &Ack<'_>) {
    debug_assert!(ack.packet_id != 0);
    // MQTT-3.6.1-1: the flags of a PUBREL are 0010.
    let first = (ack.kind as u8) << 4 | if ack.kind == AckKind::PubRel { 0b0010 } else { 0 };
    let [high, low] = ack.packet_id.to_be_bytes();
    let plain = ack.reason_string.is_none() && ack.properties.is_empty();
    if version == Version::V311 || (plain && ack.reason == ReasonCode::SUCCESS) {
        // Success without properties needs neither (section 3.4.2.1).
        out.extend_from_slice(&[first, 2, high, low]);
    } else if plain {
        // Without properties their length can be left out (section 3.4.2.2.1).
        out.extend_from_slice(&[first, 3, high, low, ack.reason.0]);
    } else {
        packet(out, first, |out| {
            out.extend_from_slice(&[high, low, ack.reason.0]);
            properties(out, |out| reason_and_user(out, ack.reason_string, &ack.properties));
        });
    }
}

/// Appends a DISCONNECT. For 3.1.1 it has no content, and only a client may send it.
pub fn encode_disconnect(out: &mut Vec<u8>, version: Version, disconnect: &Disconnect<'_>) {
    let plain = disconnect.session_expiry_s.is_none()
        && disconnect.reason_string.is_none()
        && disconnect.server_reference.is_none()
        && disconnect.properties.is_empty();
    if version == Version::V311 || (plain && disconnect.reason == ReasonCode::SUCCESS) {
        out.extend_from_slice(&[0xE0, 0]);
    } else if plain {
        out.extend_from_slice(&[0xE0, 1, disconnect.reason.0]);
    } else {
        packet(out, 0xE0, |out| {
            out.push(disconnect.reason.0);
            properties(out, |out| {
                u32_property(out, id::SESSION_EXPIRY, disconnect.session_expiry_s);
                text_property(out, id::SERVER_REFERENCE, disconnect.server_reference);
                reason_and_user(out, disconnect.reason_string, &disconnect.properties);
            });
        });
    }
}

/// Appends an AUTH, which only MQTT 5.0 has.
pub fn encode_auth(out: &mut Vec<u8>, auth: &Auth<'_>) {
    let plain = auth.method.is_none()
        && auth.data.is_none()
        && auth.reason_string.is_none()
        && auth.properties.is_empty();
    if plain && auth.reason == ReasonCode::SUCCESS {
        // Section 3.15.2.1.
        out.extend_from_slice(&[0xF0, 0]);
        return;
    }
    packet(out, 0xF0, |out| {
        out.push(auth.reason.0);
        properties(out, |out| {
            text_property(out, id::AUTH_METHOD, auth.method);
            binary_property(out, id::AUTH_DATA, auth.data);
            reason_and_user(out, auth.reason_string, &auth.properties);
        });
    });
}

/// Appends a PINGREQ.
pub fn encode_pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xC0, 0]);
}

/// Appends a PINGRESP.
pub fn encode_pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0xD0, 0]);
}
