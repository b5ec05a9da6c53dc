//! The packets of the hot path, made to be cheap for the generator: a PUBLISH is encoded once by the codec and then only
//! patched; what comes in is looked at where it lies.

use ravelin_mqtt::{DecodeLimits, PublishOut, QoS, Version, encode_publish};

/// The smallest payload: it has room for a [`Stamp`].
pub const STAMP_BYTES: usize = 20;

/// The broker under test may send whatever the protocol allows.
pub const LIMITS: DecodeLimits = DecodeLimits {
    topic_levels_max: u16::MAX,
    topic_bytes_max: u16::MAX,
    user_properties_max: u16::MAX,
    properties_bytes_max: u32::MAX,
    filters_max: u16::MAX,
    client_id_bytes_max: u16::MAX,
    username_bytes_max: u16::MAX,
    password_bytes_max: u16::MAX,
};

/// What each payload starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// When it was due, in nanoseconds of the run's clock.
    pub time_ns: u64,
    /// Which run it belongs to.
    pub run: u32,
    /// Which publisher sent it.
    pub publisher: u32,
    /// Its number at that publisher.
    pub number: u32,
}

impl Stamp {
    /// Writes the stamp over the start of `payload`.
    #[inline]
    pub fn write(&self, payload: &mut [u8]) {
        payload[..8].copy_from_slice(&self.time_ns.to_be_bytes());
        payload[8..12].copy_from_slice(&self.run.to_be_bytes());
        payload[12..16].copy_from_slice(&self.publisher.to_be_bytes());
        payload[16..20].copy_from_slice(&self.number.to_be_bytes());
    }

    /// Reads the stamp of a payload.
    #[inline]
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let stamp = payload.first_chunk::<STAMP_BYTES>()?;
        let word = |at: usize| u32::from_be_bytes([stamp[at], stamp[at + 1], stamp[at + 2], stamp[at + 3]]);
        Some(Stamp {
            time_ns: u64::from(word(0)) << 32 | u64::from(word(4)),
            run: word(8),
            publisher: word(12),
            number: word(16),
        })
    }
}

/// A payload of `bytes` bytes (at least [`STAMP_BYTES`]) that does not compress to nothing and is easy to see in a dump.
pub fn payload(bytes: usize) -> Vec<u8> {
    (0..bytes.max(STAMP_BYTES)).map(|at| b'a' + (at % 26) as u8).collect()
}

/// A PUBLISH whose packet identifier and stamp are still to be filled in.
pub struct Template {
    packet: Vec<u8>,
    packet_id_at: usize,
    payload_at: usize,
}

impl Template {
    /// Encodes the PUBLISH of one topic.
    pub fn new(version: Version, qos: QoS, retain: bool, topic: &str, payload: &[u8]) -> Template {
        let mut packet = Vec::new();
        let publish = PublishOut {
            dup: false,
            qos,
            retain,
            topic,
            packet_id: 1,
            topic_alias: None,
            expiry_s: None,
            subscription_ids: &[],
            forward: &[],
            payload,
        };
        encode_publish(&mut packet, version, &publish);
        let payload_at = packet.len() - payload.len();
        // Behind the fixed header, whose length has one byte for each 7 bits.
        let header = 1 + packet[1..5].iter().take_while(|&&byte| byte >= 0x80).count() + 1;
        Template { packet, packet_id_at: header + 2 + topic.len(), payload_at }
    }

    /// Appends the packet at QoS 0.
    #[inline]
    pub fn push(&self, out: &mut Vec<u8>, stamp: &Stamp) {
        let at = out.len();
        out.extend_from_slice(&self.packet);
        stamp.write(&mut out[at + self.payload_at..]);
    }

    /// Appends the packet at QoS 1 or 2.
    #[inline]
    pub fn push_numbered(&self, out: &mut Vec<u8>, packet_id: u16, stamp: &Stamp) {
        let at = out.len();
        self.push(out, stamp);
        out[at + self.packet_id_at..at + self.packet_id_at + 2].copy_from_slice(&packet_id.to_be_bytes());
    }
}

/// Types of control packets, as in the upper half of the first byte.
pub mod kind {
    /// PUBLISH.
    pub const PUBLISH: u8 = 3;
    /// PUBACK.
    pub const PUBACK: u8 = 4;
    /// PUBREC.
    pub const PUBREC: u8 = 5;
    /// PUBREL.
    pub const PUBREL: u8 = 6;
    /// PUBCOMP.
    pub const PUBCOMP: u8 = 7;
    /// SUBACK.
    pub const SUBACK: u8 = 9;
}

/// Appends an acknowledgement that says "success", which is the same in both versions.
#[inline]
pub fn push_ack(out: &mut Vec<u8>, kind: u8, packet_id: u16) {
    let flags = if kind == kind::PUBREL { 2 } else { 0 };
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[kind << 4 | flags, 2, high, low]);
}

/// The packet identifier and the reason code of an acknowledgement.
#[inline]
pub fn read_ack(body: &[u8]) -> Option<(u16, u8)> {
    let [high, low, rest @ ..] = body else { return None };
    Some((u16::from_be_bytes([*high, *low]), rest.first().copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_mqtt::{Ack, AckKind, Packet, Properties, ReasonCode, Sender, decode, encode_ack, peek};

    #[test]
    fn template_is_what_the_codec_reads() {
        let stamp = Stamp { time_ns: 0x0102_0304_0506_0708, run: 9, publisher: 10, number: 11 };
        for version in [Version::V311, Version::V5] {
            for (qos, size) in [(QoS::AtMostOnce, 20), (QoS::AtLeastOnce, 64), (QoS::ExactlyOnce, 20_000)] {
                let template = Template::new(version, qos, false, "a/b", &payload(size));
                let mut out = vec![0xFF];
                let packet_id = if qos == QoS::AtMostOnce {
                    template.push(&mut out, &stamp);
                    0
                } else {
                    template.push_numbered(&mut out, 0x1234, &stamp);
                    0x1234
                };
                let frame = peek(&out[1..], u32::MAX).unwrap().unwrap();
                assert_eq!(frame.total_len, out.len() - 1);
                let body = &out[1 + frame.header_len..];
                let Packet::Publish(publish) =
                    decode(frame.first, body, version, Sender::Client, &LIMITS).unwrap()
                else {
                    panic!("not a PUBLISH")
                };
                assert_eq!((publish.topic, publish.packet_id, publish.qos), ("a/b", packet_id, qos));
                assert_eq!(publish.payload.len(), size);
                assert_eq!(Stamp::read(publish.payload), Some(stamp));
                assert_eq!(publish.payload[20..], payload(size)[20..]);
            }
        }
    }

    #[test]
    fn acknowledgements_are_those_of_the_codec() {
        for (ours, theirs) in [
            (kind::PUBACK, AckKind::PubAck),
            (kind::PUBREC, AckKind::PubRec),
            (kind::PUBREL, AckKind::PubRel),
            (kind::PUBCOMP, AckKind::PubComp),
        ] {
            let (mut fast, mut codec) = (Vec::new(), Vec::new());
            push_ack(&mut fast, ours, 0xABCD);
            let ack = Ack {
                kind: theirs,
                packet_id: 0xABCD,
                reason: ReasonCode::SUCCESS,
                reason_string: None,
                properties: Properties::EMPTY,
            };
            encode_ack(&mut codec, Version::V5, &ack);
            assert_eq!(fast, codec);
            assert_eq!(read_ack(&fast[2..]), Some((0xABCD, 0)));
        }
        assert_eq!(read_ack(&[0, 1, 0x87]), Some((1, 0x87)));
        assert_eq!(read_ack(&[0]), None);
    }
}
