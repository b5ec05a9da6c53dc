//! Plain TCP: bytes in any cut, what is refused before CONNECT, and the life of a node.

mod support;

use ravelin_mqtt::{QoS, Version, encode_connect};
use ravelin_node::config::Config;
use std::io::Write;
use support::*;

#[test]
fn packets_arrive_whole_however_their_bytes_are_cut() {
    let (node, _) = open_node(1, None);
    let address = node.addresses()[0];
    let mut subscriber = client(address, "subscriber");
    subscriber.subscribe("a/#", QoS::AtMostOnce);
    let mut wire = Vec::new();
    encode_connect(&mut wire, &connect("publisher"));
    let large = vec![7; 100_000];
    let payloads: [&[u8]; 4] = [b"", b"x", &large, b"end"];
    for payload in payloads {
        wire.extend(publish_bytes("a/b", QoS::AtMostOnce, 0, false, payload));
    }
    for step in [wire.len(), 1, 7, 4096] {
        let mut socket = connect_socket(address);
        let wire = if step == 1 { &wire[..400] } else { &wire[..] };
        for chunk in wire.chunks(step) {
            socket.write_all(chunk).unwrap();
        }
        let whole = if step == 1 { 2 } else { 4 };
        for payload in &payloads[..whole] {
            let (topic, got, _) = subscriber.message();
            assert_eq!((topic.as_str(), &got[..]), ("a/b", *payload), "step {step}");
        }
    }
    node.shutdown().unwrap();
}

#[test]
fn packets_behind_connect_are_handled_after_it() {
    let (node, _) = open_node(4, None);
    let mut wire = Vec::new();
    encode_connect(&mut wire, &connect("eager"));
    wire.extend([0xC0, 0, 0xC0, 0]);
    for _ in 0..20 {
        let mut client = Client::new(connect_socket(node.addresses()[0]), Version::V5);
        client.send(&wire);
        assert_eq!(client.connack(), (0, false));
        assert_eq!(client.packet().unwrap(), [0xD0, 0]);
        assert_eq!(client.packet().unwrap(), [0xD0, 0]);
    }
    node.shutdown().unwrap();
}

#[test]
fn what_is_not_connect_ends_the_connection_at_once() {
    let (node, log) = open_node(1, None);
    let first: [&[u8]; 5] =
        [&[0x30, 0xFF, 0xFF, 0xFF, 0x7F], &[0x00], &[0x11, 0], b"GET / HTTP/1.1", &[0xC0, 0]];
    for bytes in first {
        let mut client = Client::new(connect_socket(node.addresses()[0]), Version::V5);
        client.send(bytes);
        assert_eq!(client.expect_end(), None);
    }
    log.wait_for(&["connection.refused", "malformed"]);
    wait_until(|| node.figures().counters.refused_connect == 5, || format!("{:?}", node.figures()));
    node.shutdown().unwrap();
}

#[test]
fn a_connect_is_capped_and_has_a_deadline() {
    let mut config = Config::dangerous_open(([127, 0, 0, 1], 0).into(), None, 1).unwrap();
    config.limits.connect_deadline = std::time::Duration::from_millis(200);
    let (node, log) = start(config);
    let mut large = Client::new(connect_socket(node.addresses()[0]), Version::V5);
    large.send(&[0x10, 0x80, 0x80, 0x04]);
    assert_eq!(large.expect_end(), None);
    log.wait_for(&["connection.refused", "too_large"]);
    let mut slow = Client::new(connect_socket(node.addresses()[0]), Version::V5);
    slow.send(&[0x10, 0x20, 0, 4]);
    assert_eq!(slow.expect_end(), None);
    log.wait_for(&["connection.refused", "connect_deadline"]);
    node.shutdown().unwrap();
}

#[test]
fn an_unsupported_version_is_answered_in_its_own_form() {
    let (node, _) = open_node(1, None);
    let connect = |level: u8| [&[0x10, 13, 0, 4][..], b"MQTT", &[level, 2, 0, 60, 0, 1, b'a']].concat();
    let answer = |level: u8| {
        let mut client = Client::new(connect_socket(node.addresses()[0]), Version::V5);
        client.send(&connect(level));
        let answer = client.packet();
        assert_eq!(client.packet(), None);
        answer
    };
    assert_eq!(answer(3), Some(vec![0x20, 2, 0, 1]));
    assert_eq!(answer(6), Some(vec![0x20, 3, 0, 0x84, 0]));
    node.shutdown().unwrap();
}

#[test]
fn a_session_without_name_cannot_be_kept() {
    let (node, _) = open_node(1, None);
    let mut client = Client::new(connect_socket(node.addresses()[0]), Version::V311);
    let mut connect = connect("");
    (connect.version, connect.clean_start) = (Version::V311, false);
    assert_eq!(client.try_connect(&connect), (2, false));
    assert_eq!(client.packet(), None);
    node.shutdown().unwrap();
}

#[test]
fn a_client_is_told_when_the_node_stops_and_its_session_survives() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = open_node(3, Some(directory.path()));
    let address = node.addresses()[0];
    let mut durable = connect("durable");
    (durable.clean_start, durable.session_expiry_s) = (false, Some(3600));
    for _ in 0..2 {
        let mut away = Client::new(connect_socket(address), Version::V5);
        away.connect(&durable);
        away.subscribe("a/#", QoS::AtLeastOnce);
    }
    let mut publisher = client(address, "publisher");
    for id in 1..=100 {
        publisher.publish_acknowledged("a/b", id, false, &id.to_be_bytes());
    }
    publisher.publish_acknowledged("r/b", 101, true, b"kept");
    let waiter = std::thread::spawn(move || publisher.expect_end());
    node.shutdown().unwrap();
    assert_eq!(waiter.join().unwrap(), Some(0x8B));
    log.wait_for(&["node.stopped"]);

    let (node, log) = open_node(2, Some(directory.path()));
    log.wait_for(&["store.restored", "sessions=1", "retained=1"]);
    let mut back = Client::new(connect_socket(node.addresses()[0]), Version::V5);
    assert!(back.connect(&durable), "the session is present");
    for id in 1..=100u16 {
        assert_eq!(back.message().1, id.to_be_bytes());
    }
    let mut reader = client(node.addresses()[0], "reader");
    reader.subscribe("r/#", QoS::AtMostOnce);
    assert_eq!(reader.message().1, b"kept");
    node.shutdown().unwrap();
}

#[test]
fn who_takes_nothing_is_disconnected_and_harms_nobody() {
    let mut config = Config::dangerous_open(([127, 0, 0, 1], 0).into(), None, 1).unwrap();
    config.limits.stall_timeout = std::time::Duration::from_secs(1);
    let (node, log) = start(config);
    let address = node.addresses()[0];
    let mut slow = client(address, "slow");
    slow.subscribe("a", QoS::AtMostOnce);
    let mut quick = client(address, "quick");
    quick.subscribe("b", QoS::AtMostOnce);
    let mut publisher = client(address, "publisher");
    let payload = vec![1; 100_000];
    for _ in 0..200 {
        publisher.publish("a", &payload);
        publisher.publish("b", b"x");
        assert_eq!(quick.message().1, b"x");
    }
    log.wait_for(&["client.disconnected", "client_id=slow", "slow_reader"]);
    publisher.ping();
    node.shutdown().unwrap();
}
