//! Items 9 to 17: packets that are well-formed, at the wrong time or with the wrong content.

use crate::support::{refused_after, refused_before, source};
use ravelin_attacks::wire::{
    DISCONNECT, PINGREQ, ack, binary, packet, subscribe, unsubscribe, user_property,
};
use ravelin_attacks::{Connect, MIB, Node, Peer, Publish, Trial, hex};
use std::time::Duration;

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const NOT_AUTHORIZED: u8 = 0x87;
const TOPIC_NAME_INVALID: u8 = 0x90;
const ID_NOT_FOUND: u8 = 0x92;

/// emqx#17258, a crash.
#[test]
fn a09_second_connect() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    for (number, level) in [5, 4].into_iter().enumerate() {
        let first = Connect { level, ..Connect::v5(format!("attacker-{number}")) };
        let second = Connect { level, ..Connect::v5("someone-else") };
        refused_after(&node, number, level, &second.to_bytes(), &[PROTOCOL_ERROR]);
        // The same in one write, behind the first.
        let mut peer = Peer::open_from(node.address(), source(10 + number));
        peer.send(&[first.to_bytes(), first.to_bytes()].concat());
        let packets = peer.read_to_close();
        assert_eq!((packets[0].kind(), packets[0].reason()), (2, 0));
        assert!(
            packets.iter().filter(|packet| packet.kind() == 2).count() == 1,
            "one CONNACK: {packets:02x?}"
        );
        node.expect_disconnected(peer.address, "protocol_error");
    }
    trial.finish(&mut node);
}

/// The emqx-go report: acknowledgements of nothing, packets at the wrong time.
#[test]
fn a10_packets_before_connect_after_disconnect_and_acks_of_nothing() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let mut listener = Peer::connect(node.address(), &Connect::v5("listener"));
    listener.subscribe("a10/#", 0);
    let publish = Publish::new("a10/never", "x").to_bytes();
    let early = [subscribe(1, &[("a10/#", 0)]), publish.clone(), PINGREQ.to_vec(), DISCONNECT.to_vec()];
    for (number, bytes) in early.iter().enumerate() {
        let bytes = [&bytes[..], &Connect::v5("late").to_bytes()].concat();
        refused_before(&node, number, &bytes, &["malformed", "protocol"], &[]);
    }
    for number in 10..12 {
        let level = if number == 10 { 5 } else { 4 };
        let mut peer =
            Peer::connect_from(node.address(), source(number), &Connect { level, ..Connect::v5("gone") });
        let publish =
            if level == 5 { publish.clone() } else { Publish::new("a10/never", "x").to_bytes_v311() };
        peer.send(&[DISCONNECT, &publish, &publish].concat());
        assert_eq!(peer.read_to_close(), []);
        node.expect_disconnected(peer.address, "normal");
    }
    let mut peer = Peer::connect(node.address(), &Connect::v5("acks"));
    for round in 0..1000u16 {
        for first in [0x40, 0x50, 0x62, 0x70] {
            peer.send(&ack(first, 1 + round * 64));
        }
        // PUBREC and PUBREL of nothing are answered with Packet Identifier not found.
        assert_eq!(peer.expect(6).reason(), ID_NOT_FOUND);
        assert_eq!(peer.expect(7).reason(), ID_NOT_FOUND);
    }
    peer.ping();
    assert_eq!(listener.drain(), [], "a message after DISCONNECT or before CONNECT was delivered");
    trial.finish(&mut node);
}

/// CVE-2024-36856, CVE-2024-35512.
#[test]
fn a11_protocol_names_and_versions_mixed() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let hello = |name: &str, level: u8| {
        let properties: &[u8] = if level >= 5 { &[0] } else { &[] };
        packet(0x10, &[&binary(name)[..], &[level, 2, 0, 60], properties, &binary("c")].concat())
    };
    let names = [
        ("MQTT", 0),
        ("MQTT", 3),
        ("MQTT", 6),
        ("MQTT", 0x84),
        ("MQTT", 0x85),
        ("MQTT", 255),
        ("MQIsdp", 3),
        ("MQIsdp", 4),
        ("mqtt", 4),
        ("MQTTX", 5),
        ("MQT", 5),
        ("", 4),
        ("\u{feff}MQTT", 5),
        ("HTTP", 5),
    ];
    for (number, (name, level)) in names.into_iter().enumerate() {
        // 0x01 is 3.1.1 for a version that is not spoken, 0x84 the same in 5.0.
        refused_before(&node, number, &hello(name, level), &["protocol", "malformed"], &[0x01, 0x84]);
    }
    // After CONNECT of one version, packets that only the other one has.
    refused_after(&node, 40, 4, &hex("f00118"), &[]);
    refused_after(&node, 41, 4, &subscribe(1, &[("", 0)]), &[]);
    let v5_in_v311 = packet(0x82, &hex("0001 00 000161 2c"));
    refused_after(&node, 42, 4, &v5_in_v311, &[]);
    let v311_in_v5 = packet(0x82, &hex("0001 000161 00"));
    refused_after(&node, 43, 5, &v311_in_v5, &[MALFORMED, PROTOCOL_ERROR]);
    refused_after(&node, 44, 4, &hello("MQTT", 5), &[]);
    refused_after(&node, 45, 5, &hello("MQIsdp", 3), &[MALFORMED, PROTOCOL_ERROR]);
    trial.finish(&mut node);
}

/// CVE-2017-7653; FlashMQ 1.27.1 missed some at the edges of its vectors, so every place in a long string is tried.
#[test]
fn a12_text_that_is_not_utf8_or_has_control_characters() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    // NUL, overlong, surrogate, beyond U+10FFFF, lone continuation, cut sequence, never a byte of UTF-8.
    let bad: Vec<Vec<u8>> = ["00", "c080", "eda080", "edbfbf", "f4908080", "80", "e282", "ff", "f8888080 80"]
        .iter()
        .map(|bytes| hex(bytes))
        .collect();
    // What Ravelin refuses in names besides: control characters and non-characters.
    let unprintable: Vec<Vec<u8>> =
        ["01", "1b", "0a", "7f", "c285", "efbfbf"].iter().map(|bytes| hex(bytes)).collect();
    let mut number = 0;
    for text in bad.iter().chain(&unprintable) {
        let text = [b"a", &text[..], b"z"].concat();
        let whys = ["malformed", "bad_name", "protocol"];
        refused_before(&node, number, &Connect::v5(&text).to_bytes(), &whys, &[MALFORMED, 0x85]);
        refused_before(
            &node,
            number + 1,
            &Connect::v5("c").will(&text, "").to_bytes(),
            &whys,
            &[MALFORMED, TOPIC_NAME_INVALID],
        );
        refused_before(&node, number + 2, &Connect::v5("c").user(&text, "p").to_bytes(), &whys, &[MALFORMED]);
        let publish = Publish::new(&text, "").to_bytes();
        refused_after(&node, number + 3, 5, &publish, &[MALFORMED, TOPIC_NAME_INVALID]);
        number += 4;
    }
    for text in &bad {
        let text = [b"a", &text[..], b"z"].concat();
        refused_after(&node, number, 5, &subscribe(1, &[(&text, 0)]), &[MALFORMED]);
        refused_after(&node, number + 1, 5, &unsubscribe(1, &[&text]), &[MALFORMED]);
        let property = [&[0x26][..], &binary("k"), &binary(&text)].concat();
        refused_after(
            &node,
            number + 2,
            5,
            &Publish::new("t", "").properties(property).to_bytes(),
            &[MALFORMED],
        );
        number += 3;
    }
    for at in 0..70 {
        let mut text = vec![b'a'; 70];
        text[at] = if at % 2 == 0 { 0 } else { 0xFF };
        refused_after(&node, number, 5, &Publish::new(&text, "").to_bytes(), &[MALFORMED]);
        number += 1;
    }
    trial.finish(&mut node);
}

/// CVE-2021-34432.
#[test]
fn a13_topic_of_length_0() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    for (number, qos) in [0u8, 1, 2].into_iter().enumerate() {
        let publish = Publish::new("", "x").qos(qos, 7);
        refused_after(&node, 2 * number, 5, &publish.to_bytes(), &[PROTOCOL_ERROR, TOPIC_NAME_INVALID]);
        refused_after(&node, 2 * number + 1, 4, &publish.to_bytes_v311(), &[]);
    }
    refused_before(
        &node,
        20,
        &Connect::v5("c").will("", "x").to_bytes(),
        &["bad_name", "malformed"],
        &[TOPIC_NAME_INVALID, MALFORMED],
    );
    // A filter is refused alone; the connection may stay.
    let mut peer = Peer::connect_from(node.address(), source(30), &Connect::v5("filters"));
    peer.send(&subscribe(1, &[("", 0)]));
    let answer = peer.read();
    assert!(answer.is_none_or(|packet| packet.kind() == 14 || packet.reasons() == [0x8F]));
    trial.finish(&mut node);
}

/// CVE-2018-12543, FlashMQ 1.27.1, mosquitto 2.0.16: what begins with `$` is the server's.
#[test]
fn a14_topics_that_begin_with_dollar() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let mut listener = Peer::connect(node.address(), &Connect::v5("listener"));
    for filter in ["$SYS/forged/#", "$CONTROL/#", "$share/#", "$other/#", "#"] {
        listener.subscribe(filter, 0);
    }
    listener.drain();
    let mut peer = Peer::connect_from(node.address(), source(0), &Connect::v5("forger"));
    for (number, topic) in
        ["$SYS/forged/version", "$CONTROL/dynamic-security/v1", "$share/g/t"].into_iter().enumerate()
    {
        let id = number as u16 + 1;
        peer.send(&Publish::new(topic, "forged").qos(1, id).retain().to_bytes());
        assert_eq!(peer.expect(4).reason(), NOT_AUTHORIZED, "{topic}");
        node.expect("publish.refused", &[("topic", topic), ("address", &peer.address.to_string())]);
        let will = Connect::v5("w").will(topic, "forged");
        refused_before(&node, 10 + number, &will.to_bytes(), &["access_rule", "bad_name"], &[NOT_AUTHORIZED]);
    }
    // Odd ones are ordinary topics, or refused: `$`, `$/`, `$$SYS`.
    for topic in ["$", "$/", "$$SYS/x", "$sys/x"] {
        peer.send(&Publish::new(topic, "x").qos(1, 9).retain().to_bytes());
        peer.expect(4);
    }
    let got: Vec<String> = listener.drain().iter().map(|message| message.topic()).collect();
    let forged = |topic: &String| ["$SYS", "$CONTROL", "$share"].iter().any(|start| topic.starts_with(start));
    assert!(!got.iter().any(forged), "{got:?}");
    let mut after = Peer::connect(node.address(), &Connect::v5("after"));
    after.subscribe("$SYS/forged/#", 0);
    after.subscribe("$CONTROL/#", 0);
    assert_eq!(after.drain(), [], "nothing forged was retained");
    trial.finish(&mut node);
}

/// CVE-2017-7654, CVE-2021-34431, CVE-2023-3592, mosquitto 2.0.21, CVE-2024-42649: what is refused leaves nothing behind.
#[test]
fn a15_leaks_on_refused_connect_subscribe_and_will() {
    let mut node = Node::open("");
    let user: Vec<u8> =
        (0..60).flat_map(|number| user_property(&format!("k{number}"), &"v".repeat(100))).collect();
    let refused = |count: usize| {
        for number in 0..count {
            let mut peer = Peer::open(node.address());
            // A will to a topic with a wildcard, one that is not well-formed, a late error in a large packet.
            let connect = match number % 3 {
                0 => Connect::v5("leak").properties(&user).will("a/#", vec![b'w'; 5000]).to_bytes(),
                1 => Connect::v5("leak").properties(&user).will("$SYS/x", vec![b'w'; 5000]).to_bytes(),
                _ => packet(
                    0x10,
                    &[&binary("MQTT")[..], &[5, 0xC6, 0, 60, 0], &binary("leak"), &vec![0; 6000]].concat(),
                ),
            };
            let _ = peer.try_send(&connect);
            assert!(peer.read().is_none_or(|connack| connack.reason() >= 0x80));
        }
        let mut peer = Peer::connect(node.address(), &Connect::v5("leak"));
        for number in 0..count {
            let filters: Vec<(String, u8)> =
                (0..20).map(|at| (format!("leak/{number}/{at}/#/x"), 0)).collect();
            peer.send(&subscribe(1 + (number % 1000) as u16, &filters));
            assert!(peer.expect(9).reasons().iter().all(|reason| *reason == 0x8F));
        }
    };
    refused(200);
    let trial = Trial::begin(&node, 8 * MIB);
    refused(1500);
    trial.finish(&mut node);
    assert!(node.count("connection.refused") > 0 && node.count("subscribe.refused") > 0);
}

/// mosquitto 2.0.20: a Response Topic is a topic; correlation data is carried, not understood.
#[test]
fn a17_response_topics_and_correlation_data() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let response = |topic: &[u8]| [&[0x08][..], &binary(topic)].concat();
    let bad: [&[u8]; 7] = [b"a/#", b"+", b"a/+/b", b"", b"a\0b", b"\xff", &[b'/'; 65_000]];
    for (number, topic) in bad.into_iter().enumerate() {
        let publish = Publish::new("a17", "x").properties(response(topic)).to_bytes();
        refused_after(&node, number, 5, &publish, &[MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID, 0x97]);
        let will = Connect { properties: Vec::new(), ..Connect::v5("w").will("t", "") };
        let mut will = will;
        if let Some(will) = &mut will.will {
            will.properties = response(topic);
        }
        let whys = ["malformed", "bad_name", "protocol", "too_large"];
        refused_before(
            &node,
            20 + number,
            &will.to_bytes(),
            &whys,
            &[MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID, 0x95, 0x97],
        );
    }
    let twice = [response(b"a"), response(b"b")].concat();
    refused_after(
        &node,
        40,
        5,
        &Publish::new("a17", "x").properties(twice).to_bytes(),
        &[PROTOCOL_ERROR, MALFORMED],
    );
    // Large correlation data is carried whole, in order, to who subscribed.
    let mut peer = Peer::connect(node.address(), &Connect::v5("requester"));
    peer.subscribe("a17/ok", 0);
    let data = [&[0x09][..], &binary(vec![7u8; 60_000])].concat();
    peer.send(&Publish::new("a17/ok", "x").properties(&data).to_bytes());
    let message = peer.expect(3);
    assert!(message.body.windows(data.len()).any(|window| window == data), "the correlation data is whole");
    assert_eq!(peer.poll(Duration::from_millis(1)), None);
    trial.finish(&mut node);
}
