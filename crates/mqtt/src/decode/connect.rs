//! CONNECT and CONNACK (sections 3.1 and 3.2).

use super::{DecodeLimits, Error, Property, Reader, Version, properties};
use crate::properties::{IdSet, id, id_set};
use crate::{ConnAck, Connect, Properties, QoS, ReasonCode, Will, check_text, check_topic, text};

const CONNECT: IdSet = id_set(&[
    id::SESSION_EXPIRY,
    id::RECEIVE_MAX,
    id::PACKET_BYTES_MAX,
    id::TOPIC_ALIAS_MAX,
    id::REQUEST_RESPONSE_INFO,
    id::REQUEST_PROBLEM_INFO,
    id::USER_PROPERTY,
    id::AUTH_METHOD,
    id::AUTH_DATA,
]);

const WILL: IdSet = id_set(&[
    id::WILL_DELAY,
    id::PAYLOAD_FORMAT,
    id::MESSAGE_EXPIRY,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
]);

const CONNACK: IdSet = id_set(&[
    id::SESSION_EXPIRY,
    id::RECEIVE_MAX,
    id::QOS_MAX,
    id::RETAIN_AVAILABLE,
    id::PACKET_BYTES_MAX,
    id::ASSIGNED_CLIENT_ID,
    id::TOPIC_ALIAS_MAX,
    id::REASON_STRING,
    id::USER_PROPERTY,
    id::WILDCARD_AVAILABLE,
    id::SUBSCRIPTION_IDS_AVAILABLE,
    id::SHARED_AVAILABLE,
    id::SERVER_KEEP_ALIVE,
    id::RESPONSE_INFO,
    id::SERVER_REFERENCE,
    id::AUTH_METHOD,
    id::AUTH_DATA,
]);

/// Connect Flags (section 3.1.2.3).
mod flag {
    pub(super) const RESERVED: u8 = 0x01;
    pub(super) const CLEAN_START: u8 = 0x02;
    pub(super) const WILL: u8 = 0x04;
    pub(super) const WILL_RETAIN: u8 = 0x20;
    pub(super) const PASSWORD: u8 = 0x40;
    pub(super) const USERNAME: u8 = 0x80;
}

/// The version that the body of a CONNECT asks for, also of one that [`crate::decode`] refuses: it decides how the refusal
/// is written. `None` if it is not one that is spoken here.
pub fn connect_version(body: &[u8]) -> Option<Version> {
    version(&mut Reader { rest: body }).ok()
}

/// Protocol Name and Protocol Version (sections 3.1.2.1 and 3.1.2.2).
fn version(reader: &mut Reader<'_>) -> Result<Version, Error> {
    let name = reader.binary()?;
    let level = reader.u8()?;
    match (name, level) {
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQTT", 5) => Ok(Version::V5),
        // MQTT-3.1.2-2: a server that does not speak the version may say so with 0x84 (3.1.1: 0x01) and must close.
        (b"MQTT", _) | (b"MQIsdp", 3) => Err(Error::UnsupportedVersion(level)),
        // MQTT-3.1.2-1: any other name.
        _ => Err(Error::Malformed("protocol name is not MQTT (MQTT-3.1.2-1)")),
    }
}

pub(super) fn connect<'a>(mut reader: Reader<'a>, limits: &DecodeLimits) -> Result<Connect<'a>, Error> {
    let version = version(&mut reader)?;
    let flags = reader.u8()?;
    check_flags(flags, version)?;
    let keep_alive_s = reader.u16()?;
    let mut connect = Connect {
        version,
        clean_start: flags & flag::CLEAN_START != 0,
        keep_alive_s,
        client_id: "",
        will: None,
        username: None,
        password: None,
        session_expiry_s: None,
        receive_max: None,
        packet_bytes_max: None,
        topic_alias_max: 0,
        request_response_info: false,
        request_problem_info: true,
        auth_method: None,
        auth_data: None,
        properties: Properties::EMPTY,
    };
    connect.properties = properties(&mut reader, version, CONNECT, limits, |property| match property {
        Property::SessionExpiry(seconds) => connect.session_expiry_s = Some(seconds),
        Property::ReceiveMax(value) => connect.receive_max = Some(value),
        Property::PacketBytesMax(value) => connect.packet_bytes_max = Some(value),
        Property::TopicAliasMax(value) => connect.topic_alias_max = value,
        Property::RequestResponseInfo(value) => connect.request_response_info = value,
        Property::RequestProblemInfo(value) => connect.request_problem_info = value,
        Property::AuthMethod(text) => connect.auth_method = Some(text),
        Property::AuthData(bytes) => connect.auth_data = Some(bytes),
        _ => {}
    })?;
    if connect.auth_data.is_some() && connect.auth_method.is_none() {
        return Err(Error::ProtocolError("authentication data without a method (section 3.1.2.11.10)"));
    }
    // MQTT-3.1.3-1: the fields of the payload, in this order, as the flags say.
    let client_id = reader.binary()?;
    if flags & flag::WILL != 0 {
        connect.will = Some(will(&mut reader, flags, version, limits)?);
    }
    if flags & flag::USERNAME != 0 {
        connect.username = Some(username(reader.binary()?, limits)?);
    }
    if flags & flag::PASSWORD != 0 {
        let password = reader.binary()?;
        if password.len() > usize::from(limits.password_bytes_max) {
            return Err(Error::LimitExceeded("bytes of a password"));
        }
        connect.password = Some(password);
    }
    reader.end()?;
    // Last, so that a packet which is malformed as well is called malformed.
    connect.client_id = check_client_id(client_id, connect.clean_start, version, limits)?;
    Ok(connect)
}

fn check_flags(flags: u8, version: Version) -> Result<(), Error> {
    // MQTT-3.1.2-3: the reserved flag is 0.
    if flags & flag::RESERVED != 0 {
        return Err(Error::Malformed("reserved connect flag is set (MQTT-3.1.2-3)"));
    }
    let will_qos = flags >> 3 & 0b11;
    // MQTT-3.1.2-12 (3.1.1: MQTT-3.1.2-14): Will QoS is not 3.
    if will_qos == 3 {
        return Err(Error::Malformed("will QoS is 3 (MQTT-3.1.2-12)"));
    }
    // MQTT-3.1.2-11, MQTT-3.1.2-13 (3.1.1: -13, -15): without a will, its QoS and Retain are 0.
    if flags & flag::WILL == 0 && (will_qos != 0 || flags & flag::WILL_RETAIN != 0) {
        return Err(Error::Malformed("will QoS or will retain without a will (MQTT-3.1.2-11)"));
    }
    // 3.1.1 only, MQTT-3.1.2-22: without a user name there is no password.
    if version == Version::V311 && flags & flag::PASSWORD != 0 && flags & flag::USERNAME == 0 {
        return Err(Error::Malformed("password without a user name (3.1.1: MQTT-3.1.2-22)"));
    }
    Ok(())
}

fn check_client_id<'a>(
    bytes: &'a [u8],
    clean_start: bool,
    version: Version,
    limits: &DecodeLimits,
) -> Result<&'a str, Error> {
    // MQTT-3.1.3-4: UTF-8.
    let client_id = check_text(bytes)?;
    if client_id.len() > usize::from(limits.client_id_bytes_max) {
        return Err(Error::InvalidClientId("it is longer than the limit"));
    }
    if text::has_unprintable(client_id) {
        return Err(Error::InvalidClientId("it has a control character or non-character"));
    }
    // 3.1.1 only, MQTT-3.1.3-7 and -8: an empty identifier needs Clean Session 1.
    if version == Version::V311 && client_id.is_empty() && !clean_start {
        return Err(Error::InvalidClientId("it is empty and the session is not clean (3.1.1: MQTT-3.1.3-8)"));
    }
    Ok(client_id)
}

fn username<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<&'a str, Error> {
    if bytes.len() > usize::from(limits.username_bytes_max) {
        return Err(Error::LimitExceeded("bytes of a user name"));
    }
    // MQTT-3.1.3-12: UTF-8.
    let username = check_text(bytes)?;
    if text::has_unprintable(username) {
        return Err(Error::Malformed("user name has a control character or non-character (section 1.5.4)"));
    }
    Ok(username)
}

fn will<'a>(
    reader: &mut Reader<'a>,
    flags: u8,
    version: Version,
    limits: &DecodeLimits,
) -> Result<Will<'a>, Error> {
    let mut delay_s = 0;
    let mut expiry_s = None;
    let properties = properties(reader, version, WILL, limits, |property| match property {
        Property::WillDelay(seconds) => delay_s = seconds,
        Property::MessageExpiry(seconds) => expiry_s = Some(seconds),
        _ => {}
    })?;
    // MQTT-3.1.3-11: UTF-8.
    let topic = reader.text()?;
    if topic.len() > usize::from(limits.topic_bytes_max) {
        return Err(Error::InvalidTopic(crate::TopicError::TooLong));
    }
    check_topic(topic, limits.topic_levels_max).map_err(Error::InvalidTopic)?;
    let payload = reader.binary()?;
    Ok(Will {
        topic,
        payload,
        qos: QoS::from_u8(flags >> 3 & 0b11).unwrap_or_default(),
        retain: flags & flag::WILL_RETAIN != 0,
        delay_s,
        expiry_s,
        properties,
    })
}

pub(super) fn connack<'a>(
    mut reader: Reader<'a>,
    version: Version,
    limits: &DecodeLimits,
) -> Result<ConnAck<'a>, Error> {
    let flags = reader.u8()?;
    // MQTT-3.2.2-1: bits 7 to 1 are reserved.
    if flags & !1 != 0 {
        return Err(Error::Malformed("reserved connect acknowledge flags are set (MQTT-3.2.2-1)"));
    }
    let code = reader.u8()?;
    let reason = connack_reason(code, version)?;
    let session_present = flags & 1 != 0;
    // MQTT-3.2.2-6 (3.1.1: MQTT-3.2.2-4): no session with a refusal.
    if session_present && reason != ReasonCode::SUCCESS {
        return Err(Error::ProtocolError("session present in a refusal (MQTT-3.2.2-6)"));
    }
    let mut connack = ConnAck { session_present, reason, ..ConnAck::default() };
    connack.properties = properties(&mut reader, version, CONNACK, limits, |property| match property {
        Property::SessionExpiry(seconds) => connack.session_expiry_s = Some(seconds),
        Property::ReceiveMax(value) => connack.receive_max = Some(value),
        Property::QosMax(value) => connack.qos_max = Some(value),
        Property::RetainAvailable(value) => connack.retain_available = Some(value),
        Property::PacketBytesMax(value) => connack.packet_bytes_max = Some(value),
        Property::AssignedClientId(text) => connack.assigned_client_id = Some(text),
        Property::TopicAliasMax(value) => connack.topic_alias_max = Some(value),
        Property::ReasonString(text) => connack.reason_string = Some(text),
        Property::WildcardAvailable(value) => connack.wildcard_available = Some(value),
        Property::SubscriptionIdsAvailable(value) => connack.subscription_ids_available = Some(value),
        Property::SharedAvailable(value) => connack.shared_available = Some(value),
        Property::ServerKeepAlive(seconds) => connack.server_keep_alive_s = Some(seconds),
        Property::ResponseInfo(text) => connack.response_info = Some(text),
        Property::ServerReference(text) => connack.server_reference = Some(text),
        Property::AuthMethod(text) => connack.auth_method = Some(text),
        Property::AuthData(bytes) => connack.auth_data = Some(bytes),
        _ => {}
    })?;
    reader.end()?;
    Ok(connack)
}

fn connack_reason(code: u8, version: Version) -> Result<ReasonCode, Error> {
    match version {
        Version::V311 => ReasonCode::from_return_code(code),
        // MQTT-3.2.2-8: one of the codes of the table.
        Version::V5 => match code {
            0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F => Some(ReasonCode(code)),
            _ => None,
        },
    }
    .ok_or(Error::ProtocolError("CONNACK has an undefined reason code (MQTT-3.2.2-8)"))
}
