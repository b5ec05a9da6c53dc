//! Writes the seeds of the codec's targets to `corpus/`: `cargo run -p ravelin-fuzz --example seed_corpus`.
//!
//! Seeds that a fuzzer found are added by hand and stay; this writes only its own names.

use std::{fs, path::PathBuf};

use ravelin_mqtt::*;

fn main() {
    let user = PropertiesBuilder::new().user_property("site", "north").user_property("site", "süd");
    let forward = PropertiesBuilder::new()
        .payload_is_text()
        .content_type("text/plain")
        .response_topic("reply/7")
        .correlation_data(&[0, 1, 2])
        .user_property("unit", "kW");
    let versions = [(Version::V311, 0u8, "v311"), (Version::V5, 1, "v5")];
    for (version, option, label) in versions {
        for (side, name, packet) in packets(version, user.properties(), forward.properties()) {
            for (tight, suffix) in [(0, ""), (2, "-tight")] {
                let bytes = [&[option | tight], &packet[..]].concat();
                for target in side {
                    save(target, &format!("{name}-{label}{suffix}"), &bytes);
                }
            }
        }
    }
    for (name, option, text) in ATTACKS {
        let bytes = [&[*option], &hex(text)[..]].concat();
        save("packet_client", name, &bytes);
        save("packet_server", name, &bytes);
        save("peek", name, &bytes[1..]);
    }
    for (index, publish) in PUBLISHES.iter().enumerate() {
        save("publish", &format!("publish-{index:02}"), publish);
    }
    save("properties", "forward", forward.properties().raw());
    save("properties", "user", user.properties().raw());
    save("properties", "empty", b"");
    save("properties", "repeated", b"\x01\x01\x01\x01");
    save("properties", "cut", b"\x26\0\x01k");
    save("properties", "binary", b"\x01\x00\x26\0\0\0\0\x09\0\x02\xFF\0");
    for (index, text) in TEXTS.iter().enumerate() {
        save("text", &format!("text-{index:02}"), text);
    }
    for (index, topic) in TOPICS.iter().enumerate() {
        save("topic", &format!("topic-{index:02}"), topic.as_bytes());
    }
}

type Named = (&'static [&'static str], &'static str, Vec<u8>);

const CLIENT: &[&str] = &["packet_client"];
const SERVER: &[&str] = &["packet_server"];
const BOTH: &[&str] = &["packet_client", "packet_server"];

/// One of each packet.
fn packets(version: Version, user: Properties<'_>, forward: Properties<'_>) -> Vec<Named> {
    let mut packets: Vec<Named> = Vec::new();
    let mut add = |side, name, encode: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        encode(&mut out);
        packets.push((side, name, out));
    };
    let will = Will {
        topic: "a/gone",
        payload: b"bye",
        qos: QoS::AtLeastOnce,
        retain: true,
        delay_s: 5,
        expiry_s: Some(60),
        properties: forward,
    };
    let connect = Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        client_id: "meter-7",
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
    let full = Connect {
        will: Some(will),
        username: Some("user"),
        password: Some(b"secret"),
        session_expiry_s: Some(3600),
        receive_max: Some(20),
        packet_bytes_max: Some(65_536),
        topic_alias_max: 10,
        request_response_info: true,
        request_problem_info: false,
        auth_method: Some("SCRAM-SHA-256"),
        auth_data: Some(b"n,,n=user"),
        properties: user,
        ..connect.clone()
    };
    add(CLIENT, "connect", &|out| encode_connect(out, &connect));
    add(CLIENT, "connect-full", &|out| encode_connect(out, &full));
    let connack = ConnAck {
        session_expiry_s: Some(60),
        receive_max: Some(5),
        qos_max: Some(1),
        retain_available: Some(false),
        packet_bytes_max: Some(1024),
        assigned_client_id: Some("given"),
        topic_alias_max: Some(3),
        reason_string: Some("welcome"),
        server_keep_alive_s: Some(30),
        response_info: Some("reply/"),
        properties: user,
        ..ConnAck::default()
    };
    let refusal = ConnAck { reason: ReasonCode::NOT_AUTHORIZED, ..ConnAck::default() };
    add(SERVER, "connack", &|out| encode_connack(out, version, &connack));
    add(SERVER, "connack-refusal", &|out| encode_connack(out, version, &refusal));
    let publish = PublishOut {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: "a/b",
        packet_id: 9,
        topic_alias: None,
        expiry_s: None,
        subscription_ids: &[],
        forward: &[],
        payload: b"21.5",
    };
    let full =
        PublishOut { dup: true, qos: QoS::ExactlyOnce, retain: true, expiry_s: Some(9), ..publish.clone() };
    let full = PublishOut { topic_alias: Some(2), forward: forward.raw(), ..full };
    let matched = PublishOut { subscription_ids: &[1, 200, 70_000], ..publish.clone() };
    add(BOTH, "publish", &|out| encode_publish(out, version, &publish));
    add(BOTH, "publish-full", &|out| encode_publish(out, version, &full));
    add(SERVER, "publish-matched", &|out| encode_publish(out, version, &matched));
    for (kind, name) in [
        (AckKind::PubAck, "puback"),
        (AckKind::PubRec, "pubrec"),
        (AckKind::PubRel, "pubrel"),
        (AckKind::PubComp, "pubcomp"),
    ] {
        let reason = match kind {
            AckKind::PubAck | AckKind::PubRec => ReasonCode::QUOTA_EXCEEDED,
            AckKind::PubRel | AckKind::PubComp => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        let ack = Ack { kind, packet_id: 9, reason, reason_string: Some("why"), properties: user };
        add(BOTH, name, &|out| encode_ack(out, version, &ack));
    }
    let options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::SendIfNew,
    };
    let subscriptions = [
        Subscription { filter: "a/+/#", options },
        Subscription { filter: "$share/g/b", options: SubscribeOptions::default() },
    ];
    add(CLIENT, "subscribe", &|out| encode_subscribe(out, version, 3, Some(300), &subscriptions, user));
    add(CLIENT, "unsubscribe", &|out| encode_unsubscribe(out, version, 4, &["a/+/#", "$share/g/b"], user));
    let suback = SubAck { packet_id: 3, reason_string: Some("one"), properties: user, reasons: &[1, 0x87] };
    let unsuback = SubAck { reasons: &[0, 0x11], ..suback.clone() };
    add(SERVER, "suback", &|out| encode_suback(out, version, &suback));
    add(SERVER, "unsuback", &|out| encode_unsuback(out, version, &unsuback));
    add(CLIENT, "pingreq", &encode_pingreq);
    add(SERVER, "pingresp", &encode_pingresp);
    let disconnect = Disconnect {
        reason: ReasonCode::PACKET_TOO_LARGE,
        session_expiry_s: None,
        reason_string: Some("too large"),
        server_reference: Some("other:8883"),
        properties: user,
    };
    add(BOTH, "disconnect", &|out| encode_disconnect(out, version, &disconnect));
    if version == Version::V5 {
        let auth = Auth {
            reason: ReasonCode::CONTINUE_AUTHENTICATION,
            method: Some("SCRAM-SHA-256"),
            data: Some(b"r=1"),
            reason_string: None,
            properties: user,
        };
        add(BOTH, "auth", &|out| encode_auth(out, &auth));
    }
    packets
}

/// What bit other brokers; the number is that of the attack in `crates/mqtt/tests/attacks.rs`.
const ATTACKS: &[(&str, u8, &str)] = &[
    ("attack-01-length", 0, "10FFFFFF7F"),
    ("attack-03-five-bytes", 0, "30FFFFFFFF01"),
    ("attack-03-padded", 0, "C08000"),
    ("attack-04-reserved", 0, "0F00"),
    ("attack-04-flags", 0, "62020001E80043020001"),
    ("attack-05-no-identifier", 0, "3203000174"),
    ("attack-06-string", 0, "100C00044D5154540402003CFFFF"),
    ("attack-06-property", 1, "3008000174 03 FFFF6100"),
    ("attack-07-pair", 1, "3008000174042600016B"),
    ("attack-08-proof", 0, "101000044d5154540502003c03210014000029020001e000"),
    ("attack-11-old", 0, "100E00064D514973647003 02003C0000"),
    ("attack-12-overlong", 0, "30040002C0AF"),
    ("attack-12-surrogate", 0, "30050003EDA080"),
    ("attack-13-empty", 0, "30020000"),
    ("attack-16-suback", 0, "90020001"),
    ("attack-17-response", 1, "30090001740508 00022F23"),
    ("attack-30-alias", 1, "300700017403230000"),
    ("attack-33-no-local", 1, "8210000100000A2473686172652F672F7404"),
    ("stream", 0, "101000044D5154540402003C00046D31323330050003612F6278C00082080002000361 2F2301E000"),
];

const PUBLISHES: &[&[u8]] = &[
    b"\0\x03a/b\0\0\x03a/bpayload",
    b"\0\x03a/b\x02\0\x03a/b\0\x07payload",
    b"\0\x03a/b\x0D\0\x03a/c\0\x07",
    b"\x01\x03a/b\0\0\x03a/b\0payload",
    b"\x01\0\0\0\0\x03\x23\0\x05payload",
    b"\x01\x03a/b\x02\0\x03a/b\0\x07\x0C\x02\0\0\0\x09\x26\0\x01k\0\x01vpayload",
    b"\x05\x03a/b\0\0\x03a/b\x04\x0B\x01\x0B\x02p",
    b"\x03\x0Ca/b/c/d/e/fg\0\0\x0Ca/b/c/d/e/fg\0",
    b"\0\x02\xC3\xA9\0\0\x02\xC3\xA9",
    b"\0\0\x06\0\x01t",
];

const TEXTS: &[&[u8]] = &[
    b"",
    b"plain ascii that is longer than one vector register, and then some more of it",
    "größer 漢字 \u{1F600}".as_bytes(),
    b"a\0b",
    b"\xC0\xAF",
    b"\xED\xA0\x80",
    b"\xF4\x90\x80\x80",
    b"\xEF\xBB\xBFbom",
    b"cut \xE2\x82",
];

const TOPICS: &[&str] = &[
    "a/b\na/b",
    "a/+/c\na/b/c",
    "a/#\na",
    "#\n$SYS/x",
    "+/x\n$SYS/x",
    "$SYS/#\n$SYS/x",
    "$share/g/a/+\na/b",
    "$share//a\na",
    "$share/g/\na",
    "a#/b\nc",
    "a+\na",
    "/\n/",
    "+/+\n/x",
    "é/+/ü\né/b/ü",
    "a/\u{85}\na/\u{FFFE}",
    "/////////////////////////////////////////\n///////////////////////////////",
];

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn save(target: &str, name: &str, bytes: &[u8]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)
        .unwrap_or_else(|error| panic!("failed to create {}: {error}", folder.display()));
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap_or_else(|error| panic!("failed to write {}: {error}", path.display()));
}
