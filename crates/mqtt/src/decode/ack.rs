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
