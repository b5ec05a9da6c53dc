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

#[cfg(test)]
mod tests {
    use super::super::tests::{is_malformed, is_protocol_error, packet, read};
    use super::super::{Sender, decode};
    use super::*;
    use crate::{Packet, TopicError};
    use Sender::{Client, Server};

    const V311: &[u8] = b"\0\x04MQTT\x04";
    const V5: &[u8] = b"\0\x04MQTT\x05";

    fn connected(bytes: &[u8]) -> Result<Connect<'_>, Error> {
        match read(bytes, Version::V311, Client)? {
            Packet::Connect(connect) => Ok(connect),
            other => panic!("{other:?}"),
        }
    }

    /// A CONNECT of 5.0 with clean start, a block of properties and client identifier "c".
    fn with(block: &[u8]) -> Vec<u8> {
        packet(0x10, &[V5, &[2, 0, 60, block.len() as u8], block, b"\0\x01c"])
    }

    #[test]
    fn every_field_is_read() {
        let block = b"\x11\0\0\0\x0A\x21\0\x05\x27\0\0\x10\0\x22\0\x03\x19\x01\x17\x00\x15\0\x01m\x16\0\x01d";
        let will = b"\x0A\x18\0\0\0\x07\x02\0\0\0\x08\0\x01w\0\x02pl";
        let bytes = packet(
            0x10,
            &[V5, &[0xF6, 1, 0, block.len() as u8], block, b"\0\x02id", will, b"\0\x01u", b"\0\x02pw"],
        );
        let connect = connected(&bytes).unwrap();
        assert_eq!(connect.version, Version::V5);
        assert!(connect.clean_start && connect.request_response_info && !connect.request_problem_info);
        assert_eq!((connect.keep_alive_s, connect.client_id), (256, "id"));
        assert_eq!((connect.username, connect.password), (Some("u"), Some(&b"pw"[..])));
        assert_eq!((connect.session_expiry_s, connect.receive_max), (Some(10), Some(5)));
        assert_eq!((connect.packet_bytes_max, connect.topic_alias_max), (Some(4096), 3));
        assert_eq!((connect.auth_method, connect.auth_data), (Some("m"), Some(&b"d"[..])));
        let will = connect.will.unwrap();
        assert_eq!(
            (will.topic, will.payload, will.qos, will.retain),
            ("w", &b"pl"[..], QoS::ExactlyOnce, true)
        );
        assert_eq!((will.delay_s, will.expiry_s), (7, Some(8)));
    }

    #[test]
    fn defaults_hold_without_properties() {
        let bytes = packet(0x10, &[V311, &[2, 0, 0], b"\0\0"]);
        let connect = connected(&bytes).unwrap();
        assert!(connect.request_problem_info && !connect.request_response_info);
        assert_eq!((connect.session_expiry_s, connect.receive_max, connect.topic_alias_max), (None, None, 0));
    }

    #[test]
    fn other_protocols_and_versions_are_named() {
        for (head, error) in [
            (&b"\0\x06MQIsdp\x03"[..], Error::UnsupportedVersion(3)),
            (b"\0\x04MQTT\x03", Error::UnsupportedVersion(3)),
            (b"\0\x04MQTT\x06", Error::UnsupportedVersion(6)),
            // The bridge bit of some brokers is no part of the protocol.
            (b"\0\x04MQTT\x84", Error::UnsupportedVersion(0x84)),
        ] {
            assert_eq!(connected(&packet(0x10, &[head, &[2, 0, 0, 0, 0]])), Err(error));
            assert_eq!(connect_version(head), None);
        }
        for head in
            [&b"\0\x04mqtt\x04"[..], b"\0\x04MQTU\x04", b"\0\0\x04", b"\0\x06MQIsdp\x04", b"\0\x05MQTT\0\x04"]
        {
            assert!(is_malformed(connected(&packet(0x10, &[head, &[2, 0, 0, 0, 0]]))), "{head:?}");
        }
        assert_eq!(connect_version(V311), Some(Version::V311));
        assert_eq!(connect_version(V5), Some(Version::V5));
        assert_eq!(connect_version(&V5[..6]), None);
    }

    #[test]
    fn flags_are_checked_in_every_combination() {
        for (head, v5) in [(V311, false), (V5, true)] {
            for flags in 0..=255u8 {
                let block: &[u8] = if v5 { &[0] } else { &[] };
                let will = if flags & 4 != 0 { [block, b"\0\x01w\0\0"].concat() } else { Vec::new() };
                let user: &[u8] = if flags & 0x80 != 0 { b"\0\x01u" } else { b"" };
                let password: &[u8] = if flags & 0x40 != 0 { b"\0\x01p" } else { b"" };
                let bytes = packet(0x10, &[head, &[flags, 0, 0], block, b"\0\x01c", &will, user, password]);
                let reserved = flags & 1 != 0;
                let will_bits = flags & 0x18 == 0x18 || (flags & 4 == 0 && flags & 0x38 != 0);
                let lone_password = !v5 && flags & 0xC0 == 0x40;
                let result = connected(&bytes);
                assert_eq!(
                    result.is_ok(),
                    !(reserved || will_bits || lone_password),
                    "{flags:08b} {result:?}"
                );
                assert!(result.is_ok() || is_malformed(result));
            }
        }
    }

    #[test]
    fn every_cut_and_every_addition_is_malformed() {
        let whole = packet(
            0x10,
            &[V5, &[0xC6, 0, 60, 3, 0x21, 0, 5], b"\0\x02id", b"\0\0\x01w\0\x01p", b"\0\x01u", b"\0\x01p"],
        );
        assert!(connected(&whole).is_ok());
        for cut in 2..whole.len() {
            assert!(is_malformed(connected(&packet(0x10, &[&whole[2..cut]]))), "{cut}");
        }
        assert!(is_malformed(connected(&packet(0x10, &[&whole[2..], &[0]]))));
    }

    #[test]
    fn properties_are_the_ones_of_connect_and_legal() {
        for block in [
            &b"\x21\0\0"[..],
            b"\x27\0\0\0\0",
            b"\x17\x02",
            b"\x19\x02",
            b"\x16\0\x01d",
            b"\x21\0\x01\x21\0\x01",
        ] {
            assert!(is_protocol_error(connected(&with(block))), "{block:?}");
        }
        for block in [
            &b"\x23\0\x01"[..],
            b"\x18\0\0\0\0",
            b"\x00\0",
            b"\x7F\0",
            b"\x80\x01\0",
            b"\x26\0\x01a",
            b"\x21\0",
        ] {
            assert!(is_malformed(connected(&with(block))), "{block:?}");
        }
    }

    #[test]
    fn user_properties_are_counted() {
        // Attack 19.
        let limits =
            DecodeLimits { user_properties_max: 2, properties_bytes_max: 20, ..DecodeLimits::default() };
        let connect = |count: usize, size: usize| {
            let value = "v".repeat(size);
            let block: Vec<u8> = [b"\x26\0\0\0", &[size as u8][..], value.as_bytes()].concat().repeat(count);
            let body = [V5, &[2, 0, 0, block.len() as u8], &block, b"\0\0"].concat();
            decode(0x10, &body, Version::V5, Client, &limits).err()
        };
        assert_eq!(connect(2, 5), None);
        assert_eq!(connect(3, 0), Some(Error::LimitExceeded("user properties in one packet")));
        assert_eq!(connect(2, 6), Some(Error::LimitExceeded("bytes of properties in one packet")));
    }

    #[test]
    fn client_identifier_is_clean_and_bounded() {
        let id = |head: &[u8], flags: u8, id: &[u8]| {
            let block: &[u8] = if head == V5 { &[0] } else { &[] };
            let length = (id.len() as u16).to_be_bytes();
            connected(&packet(0x10, &[head, &[flags, 0, 0], block, &length, id])).err()
        };
        let invalid = |error| matches!(error, Some(Error::InvalidClientId(_)));
        assert_eq!(id(V5, 0, b""), None);
        assert_eq!(id(V311, 2, b""), None);
        assert!(invalid(id(V311, 0, b"")));
        assert_eq!(id(V311, 0, &[b'x'; 256]), None);
        assert!(invalid(id(V311, 0, &[b'x'; 257])));
        assert!(invalid(id(V5, 2, b"a\nb")));
        assert!(invalid(id(V5, 2, "a\u{FFFF}".as_bytes())));
        assert!(matches!(id(V5, 2, b"\xFF"), Some(Error::Malformed(_))));
        assert!(matches!(id(V5, 2, b"a\0"), Some(Error::Malformed(_))));
    }

    #[test]
    fn will_is_a_message_that_could_be_published() {
        let will = |topic: &[u8]| {
            connected(&packet(0x10, &[V311, &[6, 0, 0], b"\0\x01c", &[0, topic.len() as u8], topic, b"\0\0"]))
                .err()
        };
        assert_eq!(will(b"a/b"), None);
        assert_eq!(will(b""), Some(Error::InvalidTopic(TopicError::Empty)));
        assert_eq!(will(b"a/#"), Some(Error::InvalidTopic(TopicError::WildcardInName)));
        assert!(matches!(will(b"\xC0\x80"), Some(Error::Malformed(_))));
        // A property of CONNECT among those of the will.
        let bytes = packet(0x10, &[V5, &[6, 0, 0, 0], b"\0\x01c", b"\x03\x21\0\x01", b"\0\x01w\0\0"]);
        assert!(is_malformed(connected(&bytes)));
    }

    #[test]
    fn credentials_are_bounded() {
        let limits = DecodeLimits { username_bytes_max: 2, password_bytes_max: 2, ..DecodeLimits::default() };
        let login = |fields: &[u8]| {
            let body = [V311, &[0xC2, 0, 0], b"\0\0", fields].concat();
            decode(0x10, &body, Version::V311, Client, &limits).err()
        };
        assert_eq!(login(b"\0\x02us\0\x02pw"), None);
        assert!(matches!(login(b"\0\x03use\0\x02pw"), Some(Error::LimitExceeded(_))));
        assert!(matches!(login(b"\0\x02us\0\x03pwd"), Some(Error::LimitExceeded(_))));
        assert!(matches!(login(b"\0\x02u\n\0\x02pw"), Some(Error::Malformed(_))));
    }

    #[test]
    fn connack_codes_and_flags_are_checked() {
        for code in 0..=255u8 {
            assert_eq!(read(&[0x20, 2, 0, code], Version::V311, Server).is_ok(), code <= 5, "0x{code:02X}");
            let v5 = [
                0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97,
                0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9F,
            ]
            .contains(&code);
            assert_eq!(read(&[0x20, 3, 0, code, 0], Version::V5, Server).is_ok(), v5, "0x{code:02X}");
        }
        assert!(is_malformed(read(&[0x20, 2, 2, 0], Version::V311, Server)));
        assert!(is_protocol_error(read(&[0x20, 2, 1, 5], Version::V311, Server)));
        assert!(is_malformed(read(&[0x20, 3, 0, 0, 0], Version::V311, Server)));
        assert!(is_protocol_error(read(&[0x20, 5, 0, 0, 2, 0x24, 2], Version::V5, Server)));
    }
}
