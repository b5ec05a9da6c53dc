//! PUBACK, PUBREC, PUBREL, PUBCOMP (sections 3.4 to 3.7), DISCONNECT (3.14) and AUTH (3.15).

use super::{Auth, DecodeLimits, Disconnect, Error, Property, Reader, Sender, Version, properties};
use crate::properties::{IdSet, id, id_set};
use crate::{Ack, AckKind, Properties, ReasonCode};

const ACK: IdSet = id_set(&[id::REASON_STRING, id::USER_PROPERTY]);
const DISCONNECT: IdSet =
    id_set(&[id::SESSION_EXPIRY, id::REASON_STRING, id::USER_PROPERTY, id::SERVER_REFERENCE]);
const AUTH: IdSet = id_set(&[id::AUTH_METHOD, id::AUTH_DATA, id::REASON_STRING, id::USER_PROPERTY]);

#[inline]
pub(super) fn ack<'a>(
    packet_type: u8,
    mut reader: Reader<'a>,
    version: Version,
    sender: Sender,
    limits: &DecodeLimits,
) -> Result<Ack<'a>, Error> {
    let kind = match packet_type {
        4 => AckKind::PubAck,
        5 => AckKind::PubRec,
        6 => AckKind::PubRel,
        _ => AckKind::PubComp,
    };
    let packet_id = reader.packet_id()?;
    let mut ack = Ack {
        kind,
        packet_id,
        reason: ReasonCode::SUCCESS,
        reason_string: None,
        properties: Properties::EMPTY,
    };
    // Remaining Length 2 means Success (section 3.4.2.1), and is all that 3.1.1 has.
    if version == Version::V5 && !reader.is_empty() {
        ack.reason = ReasonCode(reader.u8()?);
        // MQTT-3.4.2-1, MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1: one of the codes of the packet's table.
        let legal = match (kind, ack.reason.0) {
            (_, 0x00) => true,
            (AckKind::PubAck | AckKind::PubRec, 0x10) => sender == Sender::Server,
            (AckKind::PubAck | AckKind::PubRec, 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99) => true,
            (AckKind::PubRel | AckKind::PubComp, 0x92) => true,
            _ => false,
        };
        if !legal {
            return Err(Error::ProtocolError(
                "reason code is not one of the acknowledgement's (MQTT-3.4.2-1)",
            ));
        }
        // Without a Property Length there are no properties (section 3.4.2.2.1).
        if !reader.is_empty() {
            ack.properties = properties(&mut reader, version, ACK, limits, |property| {
                if let Property::ReasonString(text) = property {
                    ack.reason_string = Some(text);
                }
            })?;
        }
    }
    reader.end()?;
    Ok(ack)
}

pub(super) fn disconnect<'a>(
    mut reader: Reader<'a>,
    version: Version,
    sender: Sender,
    limits: &DecodeLimits,
) -> Result<Disconnect<'a>, Error> {
    let mut disconnect = Disconnect::default();
    // Remaining Length 0 means Normal disconnection (section 3.14.2.1), and is all that 3.1.1 has.
    if version == Version::V5 && !reader.is_empty() {
        disconnect.reason = ReasonCode(reader.u8()?);
        // MQTT-3.14.2-1: one of the codes of the table, and sent by the side that the table names.
        let legal = match disconnect.reason.0 {
            0x00 | 0x80..=0x83 | 0x90 | 0x93..=0x99 => true,
            0x04 => sender == Sender::Client,
            0x87 | 0x89 | 0x8B | 0x8D..=0x8F | 0x9A..=0xA2 => sender == Sender::Server,
            _ => false,
        };
        if !legal {
            return Err(Error::ProtocolError(
                "reason code is not one of this side's DISCONNECT (MQTT-3.14.2-1)",
            ));
        }
        if !reader.is_empty() {
            disconnect.properties =
                properties(&mut reader, version, DISCONNECT, limits, |property| match property {
                    Property::SessionExpiry(seconds) => disconnect.session_expiry_s = Some(seconds),
                    Property::ReasonString(text) => disconnect.reason_string = Some(text),
                    Property::ServerReference(text) => disconnect.server_reference = Some(text),
                    _ => {}
                })?;
        }
        // MQTT-3.14.2-2: a server does not send a Session Expiry Interval.
        if sender == Sender::Server && disconnect.session_expiry_s.is_some() {
            return Err(Error::ProtocolError(
                "DISCONNECT of a server has a session expiry interval (MQTT-3.14.2-2)",
            ));
        }
    }
    reader.end()?;
    Ok(disconnect)
}

pub(super) fn auth<'a>(
    mut reader: Reader<'a>,
    sender: Sender,
    limits: &DecodeLimits,
) -> Result<Auth<'a>, Error> {
    let mut auth = Auth::default();
    let short = reader.is_empty();
    if !short {
        auth.reason = ReasonCode(reader.u8()?);
        auth.properties = properties(&mut reader, Version::V5, AUTH, limits, |property| match property {
            Property::AuthMethod(text) => auth.method = Some(text),
            Property::AuthData(bytes) => auth.data = Some(bytes),
            Property::ReasonString(text) => auth.reason_string = Some(text),
            _ => {}
        })?;
    }
    // MQTT-3.15.2-1: one of the codes of the table, and sent by the side that the table names.
    let legal = match auth.reason {
        ReasonCode::SUCCESS => sender == Sender::Server,
        ReasonCode::CONTINUE_AUTHENTICATION => true,
        ReasonCode::RE_AUTHENTICATE => sender == Sender::Client,
        _ => false,
    };
    if !legal {
        return Err(Error::ProtocolError("reason code is not one of this side's AUTH (MQTT-3.15.2-1)"));
    }
    // Only the short form (section 3.15.2.1) can do without a method (section 3.15.2.2.2).
    if auth.method.is_none() && !short {
        return Err(Error::ProtocolError("AUTH has no authentication method (section 3.15.2.2.2)"));
    }
    reader.end()?;
    Ok(auth)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{is_malformed, is_protocol_error, packet, read};
    use super::*;
    use crate::Packet;
    use Sender::{Client, Server};

    fn acks() -> [(AckKind, u8); 4] {
        [(AckKind::PubAck, 0x40), (AckKind::PubRec, 0x50), (AckKind::PubRel, 0x62), (AckKind::PubComp, 0x70)]
    }

    #[test]
    fn two_bytes_mean_success() {
        for (kind, first) in acks() {
            for version in [Version::V311, Version::V5] {
                let bytes = [first, 2, 1, 2];
                let Ok(Packet::Ack(ack)) = read(&bytes, version, Client) else { panic!("{kind:?}") };
                assert_eq!((ack.kind, ack.packet_id, ack.reason), (kind, 0x0102, ReasonCode::SUCCESS));
            }
        }
    }

    #[test]
    fn packet_identifier_is_never_zero_and_never_cut() {
        for (_, first) in acks() {
            for version in [Version::V311, Version::V5] {
                assert!(is_protocol_error(read(&[first, 2, 0, 0], version, Client)));
                assert!(is_malformed(read(&[first, 1, 1], version, Client)));
                assert!(is_malformed(read(&[first, 0], version, Client)));
            }
        }
    }

    #[test]
    fn an_acknowledgement_of_3_1_1_has_nothing_more() {
        for (_, first) in acks() {
            assert!(is_malformed(read(&[first, 3, 0, 1, 0], Version::V311, Client)));
        }
    }

    #[test]
    fn reason_codes_are_those_of_the_packet_and_the_side() {
        for (kind, first) in acks() {
            for sender in [Client, Server] {
                for code in 0..=255u8 {
                    let publish_side = matches!(kind, AckKind::PubAck | AckKind::PubRec);
                    let legal = match code {
                        0 => true,
                        0x10 => publish_side && sender == Server,
                        0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99 => publish_side,
                        0x92 => !publish_side,
                        _ => false,
                    };
                    let bytes = [first, 3, 0, 1, code];
                    let result = read(&bytes, Version::V5, sender);
                    assert_eq!(result.is_ok(), legal, "{kind:?} 0x{code:02X}");
                    assert!(legal || is_protocol_error(result));
                }
            }
        }
    }

    #[test]
    fn acknowledgement_properties_are_read_and_bounded() {
        let bytes = packet(0x40, &[&[0, 9, 0x87, 12], b"\x1F\0\x02no", b"\x26\0\x01a\0\x01b"]);
        let Ok(Packet::Ack(ack)) = read(&bytes, Version::V5, Client) else { panic!() };
        assert_eq!(ack.reason_string, Some("no"));
        assert_eq!(ack.properties.user_properties().collect::<Vec<_>>(), [("a", "b")]);
        // The block's length lies, by one too many and one too few (attack 7).
        for length in [11, 13] {
            let mut bytes = bytes.clone();
            bytes[5] = length;
            assert!(is_malformed(read(&bytes, Version::V5, Client)), "{length}");
        }
        // A property of another packet: a Topic Alias.
        assert!(is_malformed(read(&[0x40, 7, 0, 9, 0, 3, 0x23, 0, 1], Version::V5, Client)));
    }

    #[test]
    fn disconnect_of_3_1_1_is_empty() {
        assert_eq!(read(&[0xE0, 0], Version::V311, Client), Ok(Packet::Disconnect(Disconnect::default())));
        assert!(is_malformed(read(&[0xE0, 1, 0], Version::V311, Client)));
    }

    #[test]
    fn disconnect_codes_belong_to_a_side() {
        // Table 3-10 of the specification.
        let client = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
        let server = [
            0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96,
            0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2,
        ];
        for code in 0..=255u8 {
            assert_eq!(
                read(&[0xE0, 1, code], Version::V5, Client).is_ok(),
                client.contains(&code),
                "0x{code:02X}"
            );
            assert_eq!(
                read(&[0xE0, 1, code], Version::V5, Server).is_ok(),
                server.contains(&code),
                "0x{code:02X}"
            );
        }
    }

    #[test]
    fn only_a_client_changes_the_session_expiry() {
        let bytes = [0xE0, 7, 0, 5, 0x11, 0, 0, 0, 9];
        let Ok(Packet::Disconnect(disconnect)) = read(&bytes, Version::V5, Client) else { panic!() };
        assert_eq!(disconnect.session_expiry_s, Some(9));
        assert!(is_protocol_error(read(&bytes, Version::V5, Server)));
    }

    #[test]
    fn auth_needs_a_method_and_a_code_of_its_side() {
        let method: &[u8] = b"\x15\0\x01m";
        for (code, sender, legal) in [
            (0x00, Server, true),
            (0x00, Client, false),
            (0x18, Server, true),
            (0x18, Client, true),
            (0x19, Server, false),
            (0x19, Client, true),
            (0x87, Server, false),
        ] {
            let bytes = packet(0xF0, &[&[code, 4], method]);
            assert_eq!(read(&bytes, Version::V5, sender).is_ok(), legal, "0x{code:02X} {sender:?}");
            assert!(read(&packet(0xF0, &[&[code, 0]]), Version::V5, sender).is_err());
        }
        assert!(read(&[0xF0, 0], Version::V5, Server).is_ok());
        assert!(is_protocol_error(read(&[0xF0, 0], Version::V5, Client)));
        assert!(is_malformed(read(&[0xF0, 1, 0x18], Version::V5, Client)));
    }
}
