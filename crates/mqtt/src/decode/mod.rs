//! Bytes to packets: [`decode`] for any packet, [`decode_publish`] for the one that comes by the million.
//!
//! The caller has found the packet's end with [`crate::peek`]. Every rule that one packet can break on its own is checked
//! here; rules that need the connection's or the session's state are the broker's.

mod ack;
mod connect;
mod publish;
mod subscribe;

use crate::properties::{BlockLimits, IdSet};
use crate::reader::Reader;
use crate::{Auth, Disconnect, Error, Packet, Properties, Property, Version};

pub use connect::connect_version;
pub use publish::decode_publish;

/// Who sent a packet: each side may send only some of the packets (section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A client; this is a server that reads.
    Client,
    /// A server; this is a client that reads.
    Server,
}

/// What a packet may contain at most. The packet's size is bounded before, by [`crate::peek`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Levels of a topic name.
    pub topic_levels_max: u16,
    /// Bytes of a topic name or topic filter.
    pub topic_bytes_max: u16,
    /// User properties in one block.
    pub user_properties_max: u16,
    /// Bytes of one block of properties.
    pub properties_bytes_max: u32,
    /// Filters in one SUBSCRIBE or UNSUBSCRIBE.
    pub filters_max: u16,
    /// Bytes of a client identifier.
    pub client_id_bytes_max: u16,
    /// Bytes of a user name.
    pub username_bytes_max: u16,
    /// Bytes of a password.
    pub password_bytes_max: u16,
}

impl Default for DecodeLimits {
    fn default() -> DecodeLimits {
        DecodeLimits {
            topic_levels_max: 128,
            topic_bytes_max: 4096,
            user_properties_max: 64,
            properties_bytes_max: 64 * 1024,
            filters_max: 1024,
            client_id_bytes_max: 256,
            username_bytes_max: 1024,
            // Room for a signed token in the place of a password.
            password_bytes_max: 8192,
        }
    }
}

impl DecodeLimits {
    fn block(&self) -> BlockLimits {
        BlockLimits {
            bytes_max: self.properties_bytes_max,
            user_properties_max: self.user_properties_max,
            topic_bytes_max: self.topic_bytes_max,
            topic_levels_max: self.topic_levels_max,
        }
    }
}

/// Decodes one packet: `first` is the first byte of its fixed header and `body` all bytes after the fixed header.
///
/// `version` is the one of the connection; a CONNECT brings its own.
pub fn decode<'a>(
    first: u8,
    body: &'a [u8],
    version: Version,
    sender: Sender,
    limits: &DecodeLimits,
) -> Result<Packet<'a>, Error> {
    let packet_type = first >> 4;
    // MQTT-2.1.3-1 (3.1.1: MQTT-2.2.2-1, -2): reserved flags have the listed value: 2 for PUBREL, SUBSCRIBE and
    // UNSUBSCRIBE, 0 for the rest; a PUBLISH has flags of its own.
    let reserved = match packet_type {
        3 => first & 0x0F,
        6 | 8 | 10 => 0b0010,
        _ => 0,
    };
    if first & 0x0F != reserved {
        return Err(Error::Malformed("reserved flags of the fixed header are wrong (MQTT-2.1.3-1)"));
    }
    let allowed = match packet_type {
        1 | 8 | 10 | 12 => sender == Sender::Client,
        2 | 9 | 11 | 13 => sender == Sender::Server,
        14 => sender == Sender::Client || version == Version::V5,
        _ => true,
    };
    if !allowed {
        return Err(Error::ProtocolError("packet type is not for this direction (section 2.1.2)"));
    }
    let reader = Reader { rest: body };
    match packet_type {
        1 => connect::connect(reader, limits).map(Packet::Connect),
        2 => connect::connack(reader, version, limits).map(Packet::ConnAck),
        3 => publish::publish(first, body, version, sender, limits, "").map(Packet::Publish),
        4..=7 => ack::ack(packet_type, reader, version, sender, limits).map(Packet::Ack),
        8 => subscribe::subscribe(reader, version, limits).map(Packet::Subscribe),
        9 => subscribe::suback(reader, version, limits).map(Packet::SubAck),
        10 => subscribe::unsubscribe(reader, version, limits).map(Packet::Unsubscribe),
        11 => subscribe::unsuback(reader, version, limits).map(Packet::UnsubAck),
        12 => reader.end().map(|()| Packet::PingReq),
        13 => reader.end().map(|()| Packet::PingResp),
        14 => ack::disconnect(reader, version, sender, limits).map(Packet::Disconnect),
        15 if version == Version::V5 => ack::auth(reader, sender, limits).map(Packet::Auth),
        _ => Err(Error::Malformed("packet type is reserved (section 2.1.2)")),
    }
}

/// Reads a block of properties with the length in front of it; for 3.1.1, which has none, reads nothing.
fn properties<'a>(
    reader: &mut Reader<'a>,
    version: Version,
    allowed: IdSet,
    limits: &DecodeLimits,
    each: impl FnMut(Property<'a>),
) -> Result<Properties<'a>, Error> {
    if version == Version::V311 {
        return Ok(Properties::EMPTY);
    }
    let length = reader.varint()?;
    let raw = reader.take(length as usize)?;
    Properties::check(raw, allowed, 0, &limits.block(), each)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes a whole packet under the default limits.
    pub(super) fn read(packet: &[u8], version: Version, sender: Sender) -> Result<Packet<'_>, Error> {
        let frame = crate::peek(packet, u32::MAX)?.expect("a whole fixed header");
        assert_eq!(frame.total_len, packet.len(), "the test's packet has a wrong length");
        decode(frame.first, &packet[frame.header_len..], version, sender, &DecodeLimits::default())
    }

    /// Puts a fixed header in front of the parts.
    pub(super) fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let mut packet = vec![first];
        crate::varint::write(&mut packet, body.len() as u32);
        packet.extend_from_slice(&body);
        packet
    }

    pub(super) fn is_malformed<T>(result: Result<T, Error>) -> bool {
        matches!(result, Err(Error::Malformed(_)))
    }

    pub(super) fn is_protocol_error<T>(result: Result<T, Error>) -> bool {
        matches!(result, Err(Error::ProtocolError(_)))
    }

    const BOTH: [(Version, Sender); 4] = [
        (Version::V311, Sender::Client),
        (Version::V311, Sender::Server),
        (Version::V5, Sender::Client),
        (Version::V5, Sender::Server),
    ];

    #[test]
    fn reserved_flags_of_every_type_are_checked() {
        // MQTT-2.1.3-1; type 3 has flags of its own.
        for packet_type in (1u8..=15).filter(|&packet_type| packet_type != 3) {
            let right = if matches!(packet_type, 6 | 8 | 10) { 2 } else { 0 };
            for flags in (0u8..16).filter(|&flags| flags != right) {
                for (version, sender) in BOTH {
                    let result =
                        decode(packet_type << 4 | flags, &[0, 1], version, sender, &DecodeLimits::default());
                    assert!(is_malformed(result), "type {packet_type} flags {flags}");
                }
            }
        }
    }

    #[test]
    fn each_side_sends_only_its_own_packets() {
        let limits = DecodeLimits::default();
        for version in [Version::V311, Version::V5] {
            for first in [0x20, 0x90, 0xB0, 0xD0] {
                assert!(is_protocol_error(decode(first, &[0, 0], version, Sender::Client, &limits)));
            }
            for first in [0x10, 0x82, 0xA2, 0xC0] {
                assert!(is_protocol_error(decode(first, &[], version, Sender::Server, &limits)));
            }
        }
        assert!(is_protocol_error(decode(0xE0, &[], Version::V311, Sender::Server, &limits)));
        assert!(decode(0xE0, &[], Version::V5, Sender::Server, &limits).is_ok());
        assert!(decode(0xE0, &[], Version::V311, Sender::Client, &limits).is_ok());
    }

    #[test]
    fn types_that_the_version_does_not_have_are_malformed() {
        let limits = DecodeLimits::default();
        for sender in [Sender::Client, Sender::Server] {
            assert!(is_malformed(decode(0xF0, &[], Version::V311, sender, &limits)));
            assert!(is_malformed(decode(0x00, &[], Version::V5, sender, &limits)));
        }
    }

    #[test]
    fn pings_have_no_content() {
        let limits = DecodeLimits::default();
        for version in [Version::V311, Version::V5] {
            assert_eq!(decode(0xC0, &[], version, Sender::Client, &limits), Ok(Packet::PingReq));
            assert_eq!(decode(0xD0, &[], version, Sender::Server, &limits), Ok(Packet::PingResp));
            assert!(is_malformed(decode(0xC0, &[0], version, Sender::Client, &limits)));
            assert!(is_malformed(decode(0xD0, &[0], version, Sender::Server, &limits)));
        }
    }
}
