//! What is encoded decodes to the same packet, for both versions and both directions, whatever its fields.

use proptest::{collection::vec, option, prelude::*};
use ravelin_mqtt::*;

/// Text that any string may contain.
fn text() -> impl Strategy<Value = String> {
    "[ -~äß漢\u{1F600}\n]{0,24}"
}

/// A topic name.
fn topic() -> impl Strategy<Value = String> {
    "[a-zé$ ]{0,6}(/[a-zé$ ]{0,6}){0,5}".prop_filter("not empty", |topic| !topic.is_empty())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), vec(any::<u8>(), 100..400)]
}

fn user() -> impl Strategy<Value = PropertiesBuilder> {
    vec((text(), text()), 0..4).prop_map(|pairs| {
        pairs.iter().fold(PropertiesBuilder::new(), |builder, (key, value)| builder.user_property(key, value))
    })
}

/// What goes with a message, in one of several orders.
fn forward() -> impl Strategy<Value = PropertiesBuilder> {
    (user(), any::<bool>(), option::of(text()), option::of(topic()), option::of(bytes())).prop_map(
        |(builder, is_text, content_type, response_topic, correlation)| {
            let mut builder = if is_text { builder.payload_is_text() } else { builder };
            if let Some(topic) = response_topic {
                builder = builder.response_topic(&topic);
            }
            if let Some(data) = correlation {
                builder = builder.user_property("between", "two").correlation_data(&data);
            }
            if let Some(content_type) = content_type {
                builder = builder.content_type(&content_type);
            }
            builder
        },
    )
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V311), Just(Version::V5)]
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![Just(QoS::AtMostOnce), Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)]
}

/// Decodes the one packet that `encoded` must be.
fn read(encoded: &[u8], version: Version, sender: Sender) -> Packet<'_> {
    let frame = peek(encoded, u32::MAX).expect("a legal header").expect("a whole header");
    assert_eq!(frame.total_len, encoded.len());
    decode(frame.first, &encoded[frame.header_len..], version, sender, &DecodeLimits::default())
        .expect("a legal packet")
}

fn user_of(properties: Properties<'_>) -> Vec<(&str, &str)> {
    properties.user_properties().collect()
}

/// The User Properties that a packet of this version can carry.
fn carried(version: Version, user: &PropertiesBuilder) -> Vec<(&str, &str)> {
    if version == Version::V5 { user_of(user.properties()) } else { Vec::new() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn publish(
        version in version(),
        (dup, qos, retain) in (any::<bool>(), qos(), any::<bool>()),
        topic in topic(),
        packet_id in 1..=u16::MAX,
        topic_alias in option::of(1..=u16::MAX),
        expiry_s in option::of(any::<u32>()),
        ids in vec(1..=268_435_455u32, 0..3),
        forward in forward(),
        payload in bytes(),
    ) {
        let dup = dup && qos != QoS::AtMostOnce;
        let out = PublishOut {
            dup, qos, retain, topic: &topic, packet_id, topic_alias, expiry_s,
            subscription_ids: &ids, forward: forward.properties().raw(), payload: &payload,
        };
        let mut encoded = Vec::new();
        encode_publish(&mut encoded, version, &out);
        prop_assert_eq!(encoded.len(), publish_len(version, &out));
        let mut apart = Vec::new();
        prop_assert!(encode_publish_head(&mut apart, version, &out));
        apart.extend_from_slice(&payload);
        prop_assert_eq!(&apart, &encoded);
        let Packet::Publish(publish) = read(&encoded, version, Sender::Server) else { panic!() };
        prop_assert_eq!((publish.dup, publish.qos, publish.retain), (dup, qos, retain));
        prop_assert_eq!(publish.topic, topic.as_str());
        prop_assert_eq!(publish.payload, payload.as_slice());
        prop_assert_eq!(publish.packet_id, if qos == QoS::AtMostOnce { 0 } else { packet_id });
        if version == Version::V5 {
            prop_assert_eq!((publish.topic_alias, publish.expiry_s), (topic_alias, expiry_s));
            let received: Vec<u32> = publish.properties.iter().filter_map(|property| match property {
                Property::SubscriptionId(id) => Some(id),
                _ => None,
            }).collect();
            prop_assert_eq!(received, ids);
            let mut passed_on = Vec::new();
            publish.properties.forward_into(&mut passed_on);
            prop_assert_eq!(passed_on, forward.properties().raw());
        } else {
            prop_assert!(publish.properties.is_empty());
        }
        // The short cut for a known topic changes nothing.
        let frame = peek(&encoded, u32::MAX).unwrap().unwrap();
        let body = &encoded[frame.header_len..];
        let known =
            decode_publish(frame.first, body, version, Sender::Server, &DecodeLimits::default(), &topic);
        prop_assert_eq!(known, Ok(publish));
    }

    #[test]
    fn acknowledgements(
        version in version(),
        kind in prop_oneof![
            Just(AckKind::PubAck), Just(AckKind::PubRec), Just(AckKind::PubRel), Just(AckKind::PubComp)
        ],
        packet_id in 1..=u16::MAX,
        failed in any::<bool>(),
        reason_string in option::of(text()),
        user in user(),
    ) {
        let reason = match kind {
            _ if !failed => ReasonCode::SUCCESS,
            AckKind::PubAck | AckKind::PubRec => ReasonCode::NOT_AUTHORIZED,
            AckKind::PubRel | AckKind::PubComp => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        let ack = Ack { kind, packet_id, reason, reason_string: reason_string.as_deref(), properties: user.properties() };
        let mut encoded = Vec::new();
        encode_ack(&mut encoded, version, &ack);
        for sender in [Sender::Client, Sender::Server] {
            let Packet::Ack(decoded) = read(&encoded, version, sender) else { panic!() };
            prop_assert_eq!((decoded.kind, decoded.packet_id), (kind, packet_id));
            prop_assert_eq!(user_of(decoded.properties), carried(version, &user));
            if version == Version::V5 {
                prop_assert_eq!((decoded.reason, decoded.reason_string), (reason, reason_string.as_deref()));
            }
        }
    }

    #[test]
    fn connect(
        version in version(),
        (clean_start, keep_alive_s, client_id) in (any::<bool>(), any::<u16>(), "[a-zé-]{1,20}"),
        will in option::of((topic(), bytes(), qos(), any::<bool>(), any::<u32>(), option::of(any::<u32>()), forward())),
        (username, password) in (option::of("[a-zé@]{0,9}"), option::of(bytes())),
        (session_expiry_s, receive_max) in (option::of(any::<u32>()), option::of(1..=u16::MAX)),
        (packet_bytes_max, topic_alias_max) in (option::of(1..=u32::MAX), any::<u16>()),
        (request_response_info, request_problem_info) in any::<(bool, bool)>(),
        auth in option::of((text(), option::of(bytes()))),
        user in user(),
    ) {
        let v5 = version == Version::V5;
        let connect = Connect {
            version, clean_start, keep_alive_s, client_id: &client_id,
            will: will.as_ref().map(|(topic, payload, qos, retain, delay_s, expiry_s, forward)| Will {
                topic, payload, qos: *qos, retain: *retain, delay_s: *delay_s, expiry_s: *expiry_s,
                properties: forward.properties(),
            }),
            username: username.as_deref(), password: password.as_deref(),
            session_expiry_s, receive_max, packet_bytes_max, topic_alias_max,
            request_response_info, request_problem_info,
            auth_method: auth.as_ref().map(|(method, _)| method.as_str()),
            auth_data: auth.as_ref().and_then(|(_, data)| data.as_deref()),
            properties: user.properties(),
        };
        let mut encoded = Vec::new();
        encode_connect(&mut encoded, &connect);
        let Packet::Connect(decoded) = read(&encoded, Version::V311, Sender::Client) else { panic!() };
        let mut expected = connect.clone();
        expected.properties = decoded.properties;
        if let (Some(expected), Some(decoded)) = (&mut expected.will, &decoded.will) {
            let (mut sent, mut received) = (Vec::new(), Vec::new());
            expected.properties.forward_into(&mut sent);
            decoded.properties.forward_into(&mut received);
            prop_assert_eq!(received, if v5 { sent } else { Vec::new() });
            expected.properties = decoded.properties;
            if !v5 {
                (expected.delay_s, expected.expiry_s) = (0, None);
            }
        }
        prop_assert_eq!(user_of(decoded.properties), carried(version, &user));
        if !v5 {
            expected = Connect {
                password: expected.password.filter(|_| username.is_some()),
                session_expiry_s: None, receive_max: None, packet_bytes_max: None, topic_alias_max: 0,
                request_response_info: false, request_problem_info: true, auth_method: None, auth_data: None,
                ..expected
            };
        }
        prop_assert_eq!(decoded, expected);
    }

    #[test]
    fn connack(
        version in version(),
        session_present in any::<bool>(),
        numbers in (option::of(any::<u32>()), option::of(1..=u16::MAX), option::of(0..=1u8), option::of(1..=u32::MAX)),
        more in (option::of(any::<u16>()), option::of(any::<u16>())),
        flags in any::<(Option<bool>, Option<bool>, Option<bool>, Option<bool>)>(),
        texts in vec(option::of(text()), 5),
        data in option::of(bytes()),
        user in user(),
    ) {
        let connack = ConnAck {
            session_present, reason: ReasonCode::SUCCESS,
            session_expiry_s: numbers.0, receive_max: numbers.1, qos_max: numbers.2, packet_bytes_max: numbers.3,
            topic_alias_max: more.0, server_keep_alive_s: more.1,
            retain_available: flags.0, wildcard_available: flags.1, subscription_ids_available: flags.2,
            shared_available: flags.3,
            assigned_client_id: texts[0].as_deref(), reason_string: texts[1].as_deref(),
            response_info: texts[2].as_deref(), server_reference: texts[3].as_deref(),
            auth_method: texts[4].as_deref(), auth_data: data.as_deref(),
            properties: user.properties(),
        };
        let mut encoded = Vec::new();
        encode_connack(&mut encoded, version, &connack);
        let Packet::ConnAck(decoded) = read(&encoded, version, Sender::Server) else { panic!() };
        prop_assert_eq!(user_of(decoded.properties), carried(version, &user));
        let properties = decoded.properties;
        let expected = match version {
            Version::V5 => ConnAck { properties, ..connack },
            Version::V311 => ConnAck { session_present, properties, ..ConnAck::default() },
        };
        prop_assert_eq!(decoded, expected);
    }

    #[test]
    fn subscribe_and_unsubscribe(
        version in version(),
        packet_id in 1..=u16::MAX,
        id in option::of(1..=268_435_455u32),
        filters in vec((text(), qos(), any::<bool>(), any::<bool>(), 0..3), 1..6),
        user in user(),
    ) {
        let v5 = version == Version::V5;
        let subscriptions: Vec<Subscription<'_>> = filters.iter().map(|(filter, qos, no_local, published, handling)| {
            let handlings = [RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DoNotSend];
            let options = SubscribeOptions {
                qos: *qos,
                no_local: v5 && *no_local,
                retain_as_published: v5 && *published,
                retain_handling: if v5 { handlings[*handling as usize] } else { RetainHandling::Send },
            };
            Subscription { filter, options }
        }).collect();
        let mut encoded = Vec::new();
        encode_subscribe(&mut encoded, version, packet_id, id, &subscriptions, user.properties());
        let Packet::Subscribe(decoded) = read(&encoded, version, Sender::Client) else { panic!() };
        prop_assert_eq!((decoded.packet_id, decoded.subscription_id), (packet_id, id.filter(|_| v5)));
        prop_assert_eq!(decoded.filters().collect::<Vec<_>>(), subscriptions);
        prop_assert_eq!(user_of(decoded.properties), carried(version, &user));

        let names: Vec<&str> = filters.iter().map(|(filter, ..)| filter.as_str()).collect();
        encoded.clear();
        encode_unsubscribe(&mut encoded, version, packet_id, &names, user.properties());
        let Packet::Unsubscribe(decoded) = read(&encoded, version, Sender::Client) else { panic!() };
        prop_assert_eq!(decoded.packet_id, packet_id);
        prop_assert_eq!(decoded.filters().collect::<Vec<_>>(), names);
        prop_assert_eq!(user_of(decoded.properties), carried(version, &user));
    }

    #[test]
    fn suback_and_unsuback(
        version in version(),
        packet_id in 1..=u16::MAX,
        reasons in vec(prop_oneof![Just(0u8), Just(0x80), Just(0x87), Just(0x8F)], 1..9),
        reason_string in option::of(text()),
        user in user(),
    ) {
        let suback = SubAck {
            packet_id, reason_string: reason_string.as_deref(), properties: user.properties(), reasons: &reasons,
        };
        let v5 = version == Version::V5;
        for unsubscribe in [false, true] {
            let mut encoded = Vec::new();
            if unsubscribe {
                encode_unsuback(&mut encoded, version, &suback);
            } else {
                encode_suback(&mut encoded, version, &suback);
            }
            let (Packet::SubAck(decoded) | Packet::UnsubAck(decoded)) = read(&encoded, version, Sender::Server) else {
                panic!()
            };
            prop_assert_eq!(decoded.packet_id, packet_id);
            prop_assert_eq!(decoded.reason_string, reason_string.as_deref().filter(|_| v5));
            prop_assert_eq!(user_of(decoded.properties), carried(version, &user));
            let translated: Vec<u8> = reasons.iter().map(|&code| if v5 { code } else { code.min(0x80) }).collect();
            prop_assert_eq!(decoded.reasons, if unsubscribe && !v5 { Vec::new() } else { translated });
        }
    }

    #[test]
    fn disconnect_and_auth(
        texts in vec(option::of(text()), 3),
        method in text(),
        data in option::of(bytes()),
        expiry in option::of(any::<u32>()),
        user in user(),
    ) {
        let disconnect = Disconnect {
            reason: ReasonCode::UNSPECIFIED_ERROR, session_expiry_s: expiry, reason_string: texts[0].as_deref(),
            server_reference: texts[1].as_deref(), properties: user.properties(),
        };
        let mut encoded = Vec::new();
        encode_disconnect(&mut encoded, Version::V5, &disconnect);
        let Packet::Disconnect(decoded) = read(&encoded, Version::V5, Sender::Client) else { panic!() };
        prop_assert_eq!(user_of(decoded.properties), user_of(user.properties()));
        prop_assert_eq!(&decoded, &Disconnect { properties: decoded.properties, ..disconnect });

        let auth = Auth {
            reason: ReasonCode::CONTINUE_AUTHENTICATION, method: Some(&method), data: data.as_deref(),
            reason_string: texts[2].as_deref(), properties: user.properties(),
        };
        encoded.clear();
        encode_auth(&mut encoded, &auth);
        let Packet::Auth(decoded) = read(&encoded, Version::V5, Sender::Server) else { panic!() };
        prop_assert_eq!(user_of(decoded.properties), user_of(user.properties()));
        prop_assert_eq!(&decoded, &Auth { properties: decoded.properties, ..auth });
    }

    #[test]
    fn arbitrary_bytes_never_panic(data in vec(any::<u8>(), 0..200), first in any::<u8>(), small in any::<bool>()) {
        let limits = if small {
            DecodeLimits { topic_levels_max: 1, topic_bytes_max: 1, user_properties_max: 0, filters_max: 1,
                ..DecodeLimits::default() }
        } else {
            DecodeLimits::default()
        };
        let _ = peek(&data, 100);
        let _ = connect_version(&data);
        let _ = Properties::parse_forwarded(&data).map(|properties| properties.iter().count());
        for version in [Version::V311, Version::V5] {
            for sender in [Sender::Client, Sender::Server] {
                let _ = decode(first, &data, version, sender, &limits);
            }
        }
    }
}
