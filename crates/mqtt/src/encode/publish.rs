//! PUBLISH (section 3.3), the hot path.

use super::sendable;
use crate::{QoS, Version, properties::id, varint};

/// A PUBLISH to send.
#[derive(Clone, Debug)]
pub struct PublishOut<'a> {
    /// DUP flag.
    pub dup: bool,
    /// QoS level.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
    /// Topic Name; may be empty when `topic_alias` is set.
    pub topic: &'a str,
    /// Packet Identifier; ignored at QoS 0.
    pub packet_id: u16,
    /// Topic Alias. This and what follows up to the payload is MQTT 5.0 only and ignored for 3.1.1.
    pub topic_alias: Option<u16>,
    /// Remaining Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// Subscription Identifiers.
    pub subscription_ids: &'a [u32],
    /// Property bytes to pass on as they are (from [`crate::Properties::forward_into`]).
    pub forward: &'a [u8],
    /// Application Message.
    pub payload: &'a [u8],
}

/// The lengths that have to be known before the first byte is written.
struct Lengths {
    properties: u32,
    remaining: usize,
}

#[inline]
fn lengths(version: Version, publish: &PublishOut<'_>) -> Lengths {
    let packet_id = if publish.qos == QoS::AtMostOnce { 0 } else { 2 };
    let mut remaining = 2 + sendable(publish.topic).len() + packet_id + publish.payload.len();
    let mut properties = 0;
    if version == Version::V5 {
        properties = publish.forward.len();
        if publish.topic_alias.is_some() {
            properties += 3;
        }
        if publish.expiry_s.is_some() {
            properties += 5;
        }
        for &id in publish.subscription_ids {
            properties += 1 + varint::len(id);
        }
        let announced = properties.min(varint::MAX as usize) as u32;
        remaining += varint::len(announced) + properties;
    }
    Lengths { properties: properties.min(varint::MAX as usize) as u32, remaining }
}

/// Bytes of the whole packet, for the peer's Maximum Packet Size (MQTT-3.1.2-24).
#[inline]
pub fn publish_len(version: Version, publish: &PublishOut<'_>) -> usize {
    let remaining = lengths(version, publish).remaining;
    1 + varint::len(remaining.min(u32::MAX as usize) as u32) + remaining
}

/// Appends a PUBLISH.
#[inline]
pub fn encode_publish(out: &mut Vec<u8>, version: Version, publish: &PublishOut<'_>) {
    if write_head(out, version, publish, publish.payload.len()) {
        out.extend_from_slice(publish.payload);
    }
}

/// Appends all of a PUBLISH but its payload, which the caller sends after it from where it is.
///
/// Tells whether it did: not for a packet beyond the 268,435,455 bytes of the protocol, whose payload must not be sent either.
#[inline]
pub fn encode_publish_head(out: &mut Vec<u8>, version: Version, publish: &PublishOut<'_>) -> bool {
    write_head(out, version, publish, 0)
}

/// The head, with room for `more` bytes after it.
#[inline]
fn write_head(out: &mut Vec<u8>, version: Version, publish: &PublishOut<'_>, more: usize) -> bool {
    // MQTT-3.3.1-2: DUP is 0 at QoS 0.
    debug_assert!(!publish.dup || publish.qos != QoS::AtMostOnce);
    // MQTT-2.2.1-3: a Packet Identifier is never 0.
    debug_assert!(publish.packet_id != 0 || publish.qos == QoS::AtMostOnce);
    let Lengths { properties, remaining } = lengths(version, publish);
    if remaining > varint::MAX as usize {
        debug_assert!(false, "a PUBLISH of {remaining} bytes");
        return false;
    }
    out.reserve(remaining + 5 - publish.payload.len() + more);
    let topic = sendable(publish.topic);
    let first = 0x30 | u8::from(publish.dup) << 3 | (publish.qos as u8) << 1 | u8::from(publish.retain);
    let [high, low] = (topic.len() as u16).to_be_bytes();
    if remaining < 0x80 {
        out.extend_from_slice(&[first, remaining as u8, high, low]);
    } else {
        out.push(first);
        varint::write(out, remaining as u32);
        out.extend_from_slice(&[high, low]);
    }
    out.extend_from_slice(topic.as_bytes());
    if publish.qos != QoS::AtMostOnce {
        out.extend_from_slice(&publish.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        varint::write(out, properties);
        if properties > 0 {
            write_properties(out, publish);
        }
    }
    true
}

fn write_properties(out: &mut Vec<u8>, publish: &PublishOut<'_>) {
    super::u16_property(out, id::TOPIC_ALIAS, publish.topic_alias);
    super::u32_property(out, id::MESSAGE_EXPIRY, publish.expiry_s);
    for &identifier in publish.subscription_ids {
        out.push(id::SUBSCRIPTION_ID);
        varint::write(out, identifier);
    }
    out.extend_from_slice(publish.forward);
}

#[cfg(all(test, not(debug_assertions)))]
mod tests {
    use super::*;

    #[test]
    fn a_packet_that_the_protocol_cannot_carry_is_left_out_whole() {
        let payload = vec![0; varint::MAX as usize];
        let publish = PublishOut {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "t",
            packet_id: 0,
            topic_alias: None,
            expiry_s: None,
            subscription_ids: &[],
            forward: &[],
            payload: &payload,
        };
        let mut out = Vec::new();
        encode_publish(&mut out, Version::V311, &publish);
        assert!(!encode_publish_head(&mut out, Version::V311, &publish));
        assert!(out.is_empty());
    }
}
