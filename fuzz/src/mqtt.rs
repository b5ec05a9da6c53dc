//! Targets for the codec, `ravelin-mqtt`.

use ravelin_mqtt::*;

/// What a client sends to a server: a byte of options, then packets, until one is refused.
pub fn packet_client(data: &[u8]) {
    stream(data, Sender::Client);
}

/// What a server sends to a client or bridge of ours: a byte of options, then packets, until one is refused.
pub fn packet_server(data: &[u8]) {
    stream(data, Sender::Server);
}

/// The fixed header of anything.
pub fn peek(data: &[u8]) {
    let limit = 1 << 16;
    match ravelin_mqtt::peek(data, limit) {
        Ok(Some(frame)) => {
            assert_eq!(frame.first, data[0]);
            assert!((2..=5).contains(&frame.header_len) && frame.header_len <= data.len());
            assert!(frame.total_len >= frame.header_len && frame.total_len <= limit as usize);
            // More bytes change nothing, fewer are not enough.
            let header = &data[..frame.header_len];
            assert_eq!(ravelin_mqtt::peek(header, limit), Ok(Some(frame)));
            assert_eq!(ravelin_mqtt::peek(&header[..header.len() - 1], limit), Ok(None));
        }
        // Whoever dribbles a header is refused by its fifth byte.
        Ok(None) => assert!(data.len() < 5),
        Err(error) => assert!(ReasonCode::from(&error).is_failure()),
    }
}

/// A byte of options, a length, a known topic of that length, the first byte, and the body of a PUBLISH.
pub fn publish(data: &[u8]) {
    let [options, length, rest @ ..] = data else { return };
    let Some((known, [flags, body @ ..])) = rest.split_at_checked(usize::from(*length)) else { return };
    let (version, limits) = options_of(*options);
    let sender = if options & 4 == 0 { Sender::Client } else { Sender::Server };
    let first = 0x30 | flags & 0x0F;
    let plain = decode_publish(first, body, version, sender, &limits, "");
    assert_eq!(decode(first, body, version, sender, &limits), plain.clone().map(Packet::Publish));
    let Ok(known) = std::str::from_utf8(known) else { return };
    // A known topic is one that passed before.
    if known.len() <= usize::from(limits.topic_bytes_max)
        && check_topic(known, limits.topic_levels_max).is_ok()
    {
        assert_eq!(decode_publish(first, body, version, sender, &limits, known), plain);
    }
    if let Ok(publish) = plain {
        assert!(publish.topic.is_empty() || check_topic(publish.topic, limits.topic_levels_max).is_ok());
        assert!(!publish.topic.is_empty() || publish.topic_alias.is_some());
        assert_eq!(publish.packet_id == 0, publish.qos == QoS::AtMostOnce);
        assert!(body.ends_with(publish.payload));
    }
}

/// A block of properties as it is stored with a message.
pub fn properties(data: &[u8]) {
    let Ok(properties) = Properties::parse_forwarded(data) else { return };
    assert!(properties.forward_is_whole());
    assert_eq!(properties.is_empty(), data.is_empty());
    let mut forwarded = Vec::new();
    properties.forward_into(&mut forwarded);
    assert_eq!(forwarded, data);
    // Built again from what the iterator tells, it is the same.
    let mut builder = PropertiesBuilder::new();
    for property in properties.iter() {
        builder = match property {
            Property::PayloadFormat(1) => builder.payload_is_text(),
            // The builder has no word for the default.
            Property::PayloadFormat(_) => return,
            Property::ContentType(text) => builder.content_type(text),
            Property::ResponseTopic(topic) => builder.response_topic(topic),
            Property::CorrelationData(bytes) => builder.correlation_data(bytes),
            Property::UserProperty(key, value) => builder.user_property(key, value),
            other => panic!("{other:?} is not for passing on"),
        };
    }
    assert_eq!(builder.into_raw(), data);
}

/// Any string.
pub fn text(data: &[u8]) {
    let valid = std::str::from_utf8(data).is_ok_and(|text| !text.contains('\0'));
    assert_eq!(check_text(data).is_ok(), valid);
}

/// A topic filter and a topic name with a line feed between them.
pub fn topic(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (filter, name) = text.split_once('\n').unwrap_or((text, ""));
    let _ = matches(filter, name);
    let checked = check_filter(filter, 32);
    assert_eq!(checked.is_ok(), specified_filter(filter), "{filter:?}");
    if check_topic(name, 32).is_err() {
        return;
    }
    assert!(matches(name, name));
    let filter = match checked {
        Ok(Some(shared)) => shared.filter,
        Ok(None) => filter,
        Err(_) => return,
    };
    assert_eq!(matches(filter, name), specified_match(filter, name), "{filter:?} {name:?}");
}

/// The rules for filters by levels, in other words than the codec's.
fn specified_filter(filter: &str) -> bool {
    let mut levels: Vec<&str> = levels(filter).collect();
    if levels[0] == "$share" && levels.len() > 1 {
        if levels[1].is_empty() || levels[1].contains(['+', '#']) {
            return false;
        }
        levels.drain(..2);
    }
    let printable = |character: char| {
        let code = character as u32;
        !character.is_control() && !(0xFDD0..=0xFDEF).contains(&code) && code & 0xFFFF < 0xFFFE
    };
    if levels.is_empty() || levels == [""] || levels.len() > 32 || filter.len() > MAX_TOPIC_BYTES {
        return false;
    }
    let last = levels.len() - 1;
    filter.chars().all(printable)
        && levels.iter().enumerate().all(|(index, level)| match *level {
            "+" => true,
            "#" => index == last,
            other => !other.contains(['+', '#']),
        })
}

/// The rules for matching by levels, in other words than the codec's.
fn specified_match(filter: &str, name: &str) -> bool {
    let (filter, name): (Vec<&str>, Vec<&str>) = (levels(filter).collect(), levels(name).collect());
    if name[0].starts_with('$') && matches!(filter[0], "+" | "#") {
        return false;
    }
    let (filter, open) = match filter.split_last() {
        Some((&"#", parent)) => (parent, true),
        _ => (&filter[..], false),
    };
    (filter.len() == name.len() || open && filter.len() < name.len())
        && filter.iter().zip(&name).all(|(level, name)| *level == "+" || level == name)
}

/// Bit 0: the version; bit 1: tight limits.
fn options_of(options: u8) -> (Version, DecodeLimits) {
    let version = if options & 1 == 0 { Version::V311 } else { Version::V5 };
    let tight = DecodeLimits {
        topic_levels_max: 3,
        topic_bytes_max: 12,
        user_properties_max: 1,
        properties_bytes_max: 40,
        filters_max: 2,
        client_id_bytes_max: 8,
        username_bytes_max: 8,
        password_bytes_max: 8,
    };
    (version, if options & 2 == 0 { DecodeLimits::default() } else { tight })
}

fn stream(data: &[u8], sender: Sender) {
    let Some((&options, mut rest)) = data.split_first() else { return };
    let (mut version, limits) = options_of(options);
    while let Ok(Some(frame)) = ravelin_mqtt::peek(rest, 1 << 20) {
        let Some((packet, after)) = rest.split_at_checked(frame.total_len) else { return };
        let body = &packet[frame.header_len..];
        match decode(frame.first, body, version, sender, &limits) {
            Ok(packet) => {
                if let Packet::Connect(connect) = &packet {
                    version = connect.version;
                    assert_eq!(connect_version(body), Some(version));
                }
                written_and_read_again(&packet, body.len(), version, sender, &limits);
            }
            Err(error) => {
                assert!(ReasonCode::from(&error).is_failure());
                assert!(!error.to_string().is_empty());
                return;
            }
        }
        rest = after;
    }
}

/// A packet that was accepted can be written; what was written is accepted, not longer, and written again the same.
fn written_and_read_again(
    packet: &Packet<'_>,
    body_len: usize,
    version: Version,
    sender: Sender,
    limits: &DecodeLimits,
) {
    let once = write(packet, version);
    let frame = ravelin_mqtt::peek(&once, u32::MAX).expect("a legal header").expect("a whole header");
    assert_eq!(frame.total_len, once.len());
    let body = &once[frame.header_len..];
    assert!(body.len() <= body_len, "{packet:?}");
    let again = match decode(frame.first, body, version, sender, limits) {
        Ok(again) => again,
        Err(error) => panic!("{packet:?} was written as {once:02X?}: {error}"),
    };
    assert_eq!(write(&again, version), once, "{packet:?}");
    // The blocks of properties may be in another order; everything else is as it was.
    assert_eq!(without_properties(again), without_properties(packet.clone()));
}

fn without_properties(mut packet: Packet<'_>) -> Packet<'_> {
    let properties = match &mut packet {
        Packet::Connect(connect) => {
            if let Some(will) = &mut connect.will {
                will.properties = Properties::EMPTY;
            }
            &mut connect.properties
        }
        Packet::ConnAck(connack) => &mut connack.properties,
        Packet::Publish(publish) => &mut publish.properties,
        Packet::Ack(ack) => &mut ack.properties,
        Packet::Subscribe(subscribe) => &mut subscribe.properties,
        Packet::SubAck(suback) | Packet::UnsubAck(suback) => &mut suback.properties,
        Packet::Unsubscribe(unsubscribe) => &mut unsubscribe.properties,
        Packet::Disconnect(disconnect) => &mut disconnect.properties,
        Packet::Auth(auth) => &mut auth.properties,
        Packet::PingReq | Packet::PingResp => return packet,
    };
    *properties = Properties::EMPTY;
    packet
}

fn write(packet: &Packet<'_>, version: Version) -> Vec<u8> {
    let mut out = Vec::new();
    match packet {
        Packet::Connect(connect) => encode_connect(&mut out, connect),
        Packet::ConnAck(connack) => encode_connack(&mut out, version, connack),
        Packet::Publish(publish) => write_publish(&mut out, publish, version),
        Packet::Ack(ack) => encode_ack(&mut out, version, ack),
        Packet::Subscribe(subscribe) => {
            let subscriptions: Vec<Subscription<'_>> = subscribe.filters().collect();
            let (packet_id, id) = (subscribe.packet_id, subscribe.subscription_id);
            encode_subscribe(&mut out, version, packet_id, id, &subscriptions, subscribe.properties);
        }
        Packet::SubAck(suback) => encode_suback(&mut out, version, suback),
        Packet::Unsubscribe(unsubscribe) => {
            let filters: Vec<&str> = unsubscribe.filters().collect();
            encode_unsubscribe(&mut out, version, unsubscribe.packet_id, &filters, unsubscribe.properties);
        }
        Packet::UnsubAck(unsuback) => encode_unsuback(&mut out, version, unsuback),
        Packet::PingReq => encode_pingreq(&mut out),
        Packet::PingResp => encode_pingresp(&mut out),
        Packet::Disconnect(disconnect) => encode_disconnect(&mut out, version, disconnect),
        Packet::Auth(auth) => encode_auth(&mut out, auth),
    }
    out
}

fn write_publish(out: &mut Vec<u8>, publish: &Publish<'_>, version: Version) {
    let mut forward = Vec::new();
    publish.properties.forward_into(&mut forward);
    assert_eq!(publish.properties.forward_is_whole(), forward == publish.properties.raw());
    let subscription_ids: Vec<u32> = publish
        .properties
        .iter()
        .filter_map(|property| match property {
            Property::SubscriptionId(id) => Some(id),
            _ => None,
        })
        .collect();
    let publish = PublishOut {
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: publish.topic,
        packet_id: publish.packet_id,
        topic_alias: publish.topic_alias,
        expiry_s: publish.expiry_s,
        subscription_ids: &subscription_ids,
        forward: &forward,
        payload: publish.payload,
    };
    encode_publish(out, version, &publish);
    assert_eq!(out.len(), publish_len(version, &publish));
}
