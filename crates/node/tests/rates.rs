//! Rates on a running node.

mod support;

use ravelin_mqtt::{Connect, QoS, Version};
use ravelin_node::{Node, Rung};
use std::time::{Duration, Instant};
use support::*;

const QUOTA_EXCEEDED: u8 = 0x97;

fn with_rates(rates: &str) -> (Node, Log) {
    let text = format!(
        "[node]\nworkers = 2\n[[listener]]\nname = \"a\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
         bind_client_id = \"none\"\ndangerous_anonymous = true\n[access]\ndangerous_allow_everything = true\n{rates}"
    );
    node(&text, std::path::Path::new("/"))
}

/// The reason code of a PUBACK.
fn puback(packet: &[u8]) -> u8 {
    assert_eq!(packet[0], 0x40, "{packet:02x?}");
    packet.get(4).copied().unwrap_or(0)
}

#[test]
fn who_is_delayed_loses_nothing_and_is_not_cut_off() {
    let (node, log) = with_rates(
        "[[rate]]\nname = \"slow\"\nscope = \"client\"\nmessages = [\"20/s\", \"infinity\"]\nmessages_burst = 10\n",
    );
    let mut listener = client(node.addresses()[0], "listener");
    listener.subscribe("t", QoS::AtMostOnce);
    let mut sender = Client::new(connect_socket(node.addresses()[0]), Version::V5);
    // A keep alive much shorter than what it will take: the silence is not the client's.
    sender.connect(&Connect { keep_alive_s: 1, ..connect("sender") });
    let (start, messages) = (Instant::now(), 80u16);
    let all: Vec<u8> = (1..=messages)
        .flat_map(|id| publish_bytes("t", QoS::AtLeastOnce, id, false, &id.to_be_bytes()))
        .collect();
    sender.send(&all);
    for id in 1..=messages {
        assert_eq!(listener.message().1, id.to_be_bytes());
        assert_eq!(puback(&sender.packet().expect("PUBACK")), 0);
    }
    // Ten at once, the other seventy at twenty a second.
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(3400) && took < Duration::from_secs(8), "{took:?}");
    log.wait_for(&["rate.exceeded", "slow", "messages", "sender", "delay"]);
    assert!(node.control().rates()[0].exceeded >= 60);
    wait_until(|| node.figures().counters.delayed >= 60, || format!("{:?}", node.figures().counters));
    sender.ping();
    node.shutdown().unwrap();
}

#[test]
fn who_is_refused_is_told_and_others_are_not_touched() {
    let (node, _) = with_rates(
        "[[rate]]\nname = \"few\"\nscope = \"client\"\nof = \"noisy\"\nmessages = \"5/h\"\non_exceed = \"drop\"\n",
    );
    let mut noisy = client(node.addresses()[0], "noisy");
    for id in 1..=20u16 {
        noisy.send(&publish_bytes("t", QoS::AtLeastOnce, id, false, b"x"));
        let expected = if id <= 5 { 0 } else { QUOTA_EXCEEDED };
        let reason = puback(&noisy.packet().expect("PUBACK"));
        // Nobody subscribes: 0x10 is a success.
        assert_eq!(if reason == 0x10 { 0 } else { reason }, expected, "message {id}");
    }
    noisy.publish("t", b"dropped");
    noisy.ping();
    // Whoever reconnects does not start anew, and 3.1.1 has no word for it.
    let mut old = Client::new(connect_socket(node.addresses()[0]), Version::V311);
    old.connect(&Connect { version: Version::V311, ..connect("noisy") });
    old.send(&{
        let mut publish = publish_bytes("t", QoS::AtLeastOnce, 1, false, b"x");
        // Without the length of the properties it is one of 3.1.1.
        publish.remove(2 + 2 + 1 + 2);
        publish[1] -= 1;
        publish
    });
    old.expect_end();
    let mut quiet = client(node.addresses()[0], "quiet");
    for id in 1..=20u16 {
        quiet.publish_acknowledged("t", id, false, b"x");
    }
    node.shutdown().unwrap();
}

#[test]
fn bytes_of_an_address_and_connects_are_limited_for_all_shards_together() {
    let (node, log) = with_rates(
        "[[rate]]\nname = \"bytes\"\nscope = \"address\"\nof = \"127.0.0.0/8\"\nbytes = \"50KB/h\"\n\
         on_exceed = \"disconnect\"\n\
         [[rate]]\nname = \"come\"\nscope = \"listener\"\nof = \"a\"\nconnects = \"4/h\"\n",
    );
    let mut clients: Vec<_> = (0..4).map(|i| client(node.addresses()[0], &format!("c{i}"))).collect();
    let mut fifth = Client::new(connect_socket(node.addresses()[0]), Version::V5);
    assert_eq!(fifth.try_connect(&connect("c4")).0, 0x9F);
    log.wait_for(&["connection.refused", "rate_exceeded", "c4"]);
    let refused = || node.control().figures().rungs.of(Rung::Rate).refused;
    wait_until(|| refused() == 1, || format!("{}", refused()));
    // Together they may send 50 KB: 12 messages of 4 KB each, whoever sends them.
    let mut sent = 0;
    'all: for round in 0.. {
        for client in &mut clients {
            client.send(&publish_bytes("t", QoS::AtLeastOnce, round + 1, false, &[0; 4000]));
            match client.packet() {
                Some(packet) if packet[0] == 0x40 => sent += 1,
                Some(packet) => {
                    assert_eq!((packet[0], packet[2]), (0xE0, QUOTA_EXCEEDED));
                    break 'all;
                }
                None => panic!("no DISCONNECT"),
            }
        }
    }
    assert_eq!(sent, 12);
    node.shutdown().unwrap();
}

#[test]
fn subscribing_too_often_waits_or_ends() {
    let (node, _) = with_rates(
        "[[rate]]\nname = \"s\"\nscope = \"client\"\nsubscribes = \"3/h\"\non_exceed = \"disconnect\"\n",
    );
    let mut client = client(node.addresses()[0], "a");
    for round in 0..3 {
        client.subscribe(&format!("t/{round}"), QoS::AtMostOnce);
    }
    let mut subscribe = Vec::new();
    let filters = [ravelin_mqtt::Subscription { filter: "x", options: Default::default() }];
    ravelin_mqtt::encode_subscribe(&mut subscribe, Version::V5, 1, None, &filters, Default::default());
    client.send(&subscribe);
    assert_eq!(client.expect_end(), Some(QUOTA_EXCEEDED));
    node.shutdown().unwrap();
}

#[test]
fn topics_have_a_rate_of_their_own_whoever_publishes() {
    let (node, _) = with_rates(
        "[[rate]]\nname = \"t\"\nscope = \"topic\"\nof = \"a/#\"\nmessages = \"6/h\"\non_exceed = \"drop\"\n",
    );
    let mut clients: Vec<_> = (0..4).map(|i| client(node.addresses()[0], &format!("c{i}"))).collect();
    let mut taken = 0;
    for round in 1..=5u16 {
        for client in &mut clients {
            client.send(&publish_bytes("a/b", QoS::AtLeastOnce, round, false, b"x"));
            taken += u32::from(puback(&client.packet().expect("PUBACK")) < 0x80);
            client.send(&publish_bytes("b/a", QoS::AtLeastOnce, 100 + round, false, b"x"));
            assert!(puback(&client.packet().expect("PUBACK")) < 0x80);
        }
    }
    assert_eq!(taken, 6);
    node.shutdown().unwrap();
}
