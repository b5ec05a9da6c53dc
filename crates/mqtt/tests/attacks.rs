//! Byte sequences that crashed, hung or deceived real brokers: each is refused, with the right reason, at a small cost.

use ravelin_mqtt::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Reads packets until one is refused or the bytes end; the reason code of the refusal, and how many were read before.
fn refused(stream: &[u8], mut version: Version) -> (usize, Option<ReasonCode>) {
    let limits = DecodeLimits::default();
    let mut rest = stream;
    for count in 0.. {
        let frame = match peek(rest, 1 << 20) {
            Ok(Some(frame)) if frame.total_len <= rest.len() => frame,
            Ok(_) => return (count, None),
            Err(error) => return (count, Some(ReasonCode::from(&error))),
        };
        let body = &rest[frame.header_len..frame.total_len];
        match decode(frame.first, body, version, Sender::Client, &limits) {
            Ok(Packet::Connect(connect)) => version = connect.version,
            Ok(_) => {}
            Err(error) => return (count, Some(ReasonCode::from(&error))),
        }
        rest = &rest[frame.total_len..];
    }
    unreachable!()
}

fn first_refused(stream: &str, version: Version) -> Option<ReasonCode> {
    let (before, reason) = refused(&hex(stream), version);
    assert_eq!(before, 0, "{stream}");
    reason
}

const MALFORMED: Option<ReasonCode> = Some(ReasonCode::MALFORMED_PACKET);
const PROTOCOL: Option<ReasonCode> = Some(ReasonCode::PROTOCOL_ERROR);

#[test]
fn attack_01_a_huge_remaining_length_is_refused_with_its_header() {
    assert_eq!(first_refused("10 FFFFFF7F", Version::V311), Some(ReasonCode::PACKET_TOO_LARGE));
    assert_eq!(first_refused("30 80808001", Version::V5), Some(ReasonCode::PACKET_TOO_LARGE));
}

#[test]
fn attack_03_variable_byte_integers_of_five_bytes_and_padded_ones() {
    for stream in ["30 FFFFFFFF01", "10 8080808001", "C0 8000", "30 83 00 000174", "30 818080 00"] {
        assert_eq!(first_refused(stream, Version::V311), MALFORMED, "{stream}");
    }
    // In the length of the properties.
    assert_eq!(first_refused("30 08 000174 FFFFFFFF01", Version::V5), MALFORMED);
    assert_eq!(first_refused("30 05 000174 8000", Version::V5), MALFORMED);
}

#[test]
fn attack_04_reserved_types_and_flags() {
    for stream in ["00 00", "0F 00", "11 00", "C1 00", "E8 00", "80 00", "A0 00", "60 02 0001", "43 02 0001"]
    {
        assert_eq!(first_refused(stream, Version::V311), MALFORMED, "{stream}");
        assert_eq!(first_refused(stream, Version::V5), MALFORMED, "{stream}");
    }
    assert_eq!(first_refused("F0 00", Version::V311), MALFORMED);
    assert_eq!(first_refused("36 05 000174 0001", Version::V311), MALFORMED);
    assert_eq!(first_refused("38 03 000174", Version::V311), MALFORMED);
}

#[test]
fn attack_05_a_publish_cut_before_its_packet_identifier() {
    for stream in ["32 03 000174", "34 04 000174 00", "32 02 0000"] {
        assert_eq!(first_refused(stream, Version::V311), MALFORMED, "{stream}");
        assert_eq!(first_refused(stream, Version::V5), MALFORMED, "{stream}");
    }
}

#[test]
fn attack_06_strings_that_end_after_the_packet() {
    for stream in [
        "10 0C 0004 4D515454 04 02 003C FFFF",
        "10 02 FFFF",
        "30 04 FFFF 6162",
        "82 05 0001 FFFF 61",
        "A2 04 0001 0001",
        "10 0D 0004 4D515454 04 C2 003C 0000 FF",
    ] {
        assert_eq!(first_refused(stream, Version::V311), MALFORMED, "{stream}");
    }
    // In a property.
    assert_eq!(first_refused("30 08 000174 04 03 FFFF 61", Version::V5), MALFORMED);
}

#[test]
fn attack_07_lengths_of_properties_that_lie() {
    for stream in [
        "30 04 000174 05",
        "30 06 000174 02 26 00",
        // A user property that is a key without a value.
        "30 08 000174 04 26 0001 6B",
        "40 05 0001 00 7F 1F",
        "E0 02 00 FF",
    ] {
        assert_eq!(first_refused(stream, Version::V5), MALFORMED, "{stream}");
    }
}

#[test]
fn attack_08_packets_of_a_server_from_a_client() {
    // The published proof of concept: a CONNECT with a Receive Maximum and no room for it, then a CONNACK.
    let stream = hex("101000044d5154540502003c03210014000029020001e000");
    assert_eq!(refused(&stream, Version::V311), (1, MALFORMED));
    for stream in ["20 02 0000", "90 03 0001 00", "B0 02 0001", "D0 00"] {
        assert_eq!(first_refused(stream, Version::V311), PROTOCOL, "{stream}");
        assert_eq!(first_refused(stream, Version::V5), PROTOCOL, "{stream}");
    }
}

#[test]
fn attack_11_other_protocol_names_and_versions() {
    let unsupported = Some(ReasonCode::UNSUPPORTED_PROTOCOL_VERSION);
    assert_eq!(first_refused("10 0E 0006 4D5149736470 03 02 003C 0000", Version::V311), unsupported);
    assert_eq!(first_refused("10 0C 0004 4D515454 06 02 003C 0000", Version::V311), unsupported);
    assert_eq!(first_refused("10 0C 0004 4D515454 00 02 003C 0000", Version::V311), unsupported);
    assert_eq!(first_refused("10 0C 0004 6D717474 04 02 003C 0000", Version::V311), MALFORMED);
    // 3.1.1 by name, and then a packet of 5.0.
    let stream = hex("10 0C 0004 4D515454 04 02 003C 0000 F0 00");
    assert_eq!(refused(&stream, Version::V5), (1, MALFORMED));
}

#[test]
fn attack_12_text_that_is_no_text() {
    for bytes in ["C0AF", "EDA080", "F4908080", "FFFE", "6100", "0061"] {
        let publish = format!("30 04 0002 {bytes}");
        if bytes.len() == 4 {
            assert_eq!(first_refused(&publish, Version::V311), MALFORMED, "{bytes}");
        }
        let length = bytes.len() / 2;
        let subscribe = format!("82 {:02X} 0001 00{length:02X} {bytes} 00", 5 + length);
        assert_eq!(first_refused(&subscribe, Version::V311), MALFORMED, "{bytes}");
        let connect = format!("10 {:02X} 0004 4D515454 04 02 003C 00{length:02X} {bytes}", 12 + length);
        assert_eq!(first_refused(&connect, Version::V311), MALFORMED, "{bytes}");
    }
    // A control character names nothing.
    assert_eq!(first_refused("30 03 0001 07", Version::V311), Some(ReasonCode::TOPIC_NAME_INVALID));
}

#[test]
fn attack_13_topics_of_no_characters() {
    assert_eq!(first_refused("30 02 0000", Version::V311), Some(ReasonCode::TOPIC_NAME_INVALID));
    assert_eq!(first_refused("30 03 0000 00", Version::V5), PROTOCOL);
    let will = "10 11 0004 4D515454 04 06 003C 0001 63 0000 0000";
    assert_eq!(first_refused(will, Version::V311), Some(ReasonCode::TOPIC_NAME_INVALID));
}

#[test]
fn attack_16_acknowledgements_without_reason_codes() {
    // From a malicious server, to a client or bridge of ours.
    for (packet, version) in
        [("90 02 0001", Version::V311), ("90 03 0001 00", Version::V5), ("B0 03 0001 00", Version::V5)]
    {
        let bytes = hex(packet);
        let result = decode(bytes[0], &bytes[2..], version, Sender::Server, &DecodeLimits::default());
        assert!(matches!(result, Err(Error::ProtocolError(_))), "{packet}");
    }
}

#[test]
fn attack_17_a_wildcard_in_the_response_topic() {
    assert_eq!(first_refused("30 09 000174 05 08 0002 2F23", Version::V5), PROTOCOL);
}

#[test]
fn attack_18_a_topic_of_sixty_five_thousand_levels() {
    let mut packet = hex("30 828004 FFFF");
    packet[1..4].copy_from_slice(&[0x81, 0x80, 0x04]);
    packet.extend_from_slice(&[b'/'; 65_535]);
    assert_eq!(refused(&packet, Version::V311), (0, Some(ReasonCode::TOPIC_NAME_INVALID)));
}

#[test]
fn attack_19_thousands_of_user_properties() {
    // 12,000 pairs without characters, 60,000 bytes.
    let block = [0x26, 0, 0, 0, 0].repeat(12_000);
    let mut body = hex("000174 E0D403");
    body.extend_from_slice(&block);
    let result = decode(0x30, &body, Version::V5, Sender::Client, &DecodeLimits::default());
    assert_eq!(result, Err(Error::LimitExceeded("user properties in one packet")));
}

#[test]
fn attack_20_a_subscribe_of_thousands_of_filters() {
    let mut body = vec![0, 1];
    body.extend_from_slice(&b"\0\x01+\0".repeat(2_000));
    let result = decode(0x82, &body, Version::V311, Sender::Client, &DecodeLimits::default());
    assert_eq!(result, Err(Error::LimitExceeded("topic filters in one packet")));
}

#[test]
fn attack_30_topic_alias_zero() {
    assert_eq!(first_refused("30 07 000174 03 230000", Version::V5), Some(ReasonCode::TOPIC_ALIAS_INVALID));
}

#[test]
fn attack_33_shared_subscriptions_without_group_or_filter() {
    for filter in ["$share//t", "$share/g/", "$share/g", "$share/", "$share/+/t", "$share/a#b/t"] {
        assert!(check_filter(filter, 128).is_err(), "{filter}");
    }
    // No Local on a shared subscription.
    assert_eq!(first_refused("82 10 0001 00 000A 2473686172652F672F74 04", Version::V5), PROTOCOL);
}
