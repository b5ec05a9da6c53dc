//! Frozen topics on a running node.

mod support;

use ravelin_mqtt::{Connect, QoS, Version};
use ravelin_node::Node;
use ravelin_respond::{Action, Direction, Frozen, Retained};
use std::net::TcpStream;
use std::time::{Duration, Instant};
use support::*;

const NOT_AUTHORIZED: u8 = 0x87;
const NO_SUBSCRIBERS: u8 = 0x10;

fn freeze(filter: &str, messages: Frozen, direction: Direction) -> Action {
    Action::Freeze { filter: filter.into(), messages, direction, retained: Retained::Withhold }
}

fn put(node: &Node, order: u64, action: &Action) -> String {
    node.control().blocking_restrict(order, action).unwrap_or_else(|error| panic!("{error}"))
}

fn lift(node: &Node, order: u64, action: &Action) -> String {
    node.control().blocking_lift(order, action).unwrap_or_else(|error| panic!("{error}"))
}

/// The reason code of a PUBACK or PUBREC.
fn reason(packet: &[u8]) -> u8 {
    assert!(packet[0] == 0x40 || packet[0] == 0x50, "{packet:02x?}");
    packet.get(4).copied().unwrap_or(0)
}

/// A publish as 3.1.1 has it: without the length of the properties.
fn old(topic: &str, qos: QoS, packet_id: u16, payload: &[u8]) -> Vec<u8> {
    let mut publish = publish_bytes(topic, qos, packet_id, false, payload);
    publish.remove(2 + 2 + topic.len() + if qos == QoS::AtMostOnce { 0 } else { 2 });
    publish[1] -= 1;
    publish
}

fn client_of(node: &Node, client_id: &str, version: Version, kept: bool) -> Client<TcpStream> {
    let mut client = Client::new(connect_socket(node.addresses()[0]), version);
    let expiry = (kept && version == Version::V5).then_some(3600);
    client.connect(&Connect { version, clean_start: !kept, session_expiry_s: expiry, ..connect(client_id) });
    client
}

#[test]
fn what_is_frozen_is_refused_and_everything_else_goes_on() {
    let (node, log) = open_node(2, None);
    let mut all = client(node.addresses()[0], "all");
    all.subscribe("#", QoS::AtLeastOnce);
    let mut sender = client(node.addresses()[0], "sender");
    let action = freeze("plant/+/cmd/#", Frozen::Drop, Direction::Both);
    let effect = put(&node, 7, &action);
    assert!(effect.contains("in force on 2 shards"), "{effect}");
    assert_eq!(put(&node, 7, &action), effect, "it is in force already");
    sender.publish("plant/1/cmd/open", b"dropped");
    for (id, qos) in [(1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
        sender.send(&publish_bytes("plant/1/cmd/open", qos, id, false, b"refused"));
        assert_eq!(reason(&sender.packet().unwrap()), NOT_AUTHORIZED);
    }
    sender.publish_acknowledged("plant/1/state", 3, false, b"goes on");
    assert_eq!(all.message().1, b"goes on");
    log.wait_for(&["publish.refused", "frozen", "plant/1/cmd/open", "sender"]);
    wait_until(|| node.figures().stats.publish_frozen == 3, || format!("{:?}", node.figures().stats));
    lift(&node, 7, &action);
    assert_eq!(lift(&node, 7, &action), "it was not in force");
    sender.publish_acknowledged("plant/1/cmd/open", 4, false, b"again");
    all.send(&[0x40, 2, 0, 1]);
    assert_eq!(all.message().1, b"again", "nothing of what was refused comes later");
    node.shutdown().unwrap();
}

#[test]
fn the_system_and_what_is_no_filter_cannot_be_frozen() {
    let (node, _) = open_node(1, None);
    for filter in ["$SYS/#", "$CONTROL/dynamic-security/#", "$share/g/a", "a/#/b", ""] {
        let refused = node.control().blocking_restrict(1, &freeze(filter, Frozen::Drop, Direction::Both));
        assert!(refused.is_err(), "{filter}");
    }
    put(&node, 1, &freeze("#", Frozen::Drop, Direction::Both));
    let mut watcher = client(node.addresses()[0], "watcher");
    watcher.subscribe("$SYS/broker/version", QoS::AtMostOnce);
    assert!(watcher.message().0.starts_with("$SYS/"));
    node.shutdown().unwrap();
}

#[test]
fn what_is_held_waits_unacknowledged_and_is_released_in_order() {
    let (node, _) = open_node(3, None);
    let mut all = client(node.addresses()[0], "all");
    all.subscribe("a/#", QoS::ExactlyOnce);
    let mut sender = client(node.addresses()[0], "sender");
    let mut leaver = client(node.addresses()[0], "leaver");
    let action = freeze("a/+", Frozen::Hold, Direction::Both);
    put(&node, 1, &action);
    sender.send(&publish_bytes("a/b", QoS::AtLeastOnce, 1, false, b"1"));
    sender.send(&publish_bytes("a/b", QoS::AtMostOnce, 0, false, b"2"));
    sender.send(&publish_bytes("a/b", QoS::ExactlyOnce, 2, false, b"3"));
    leaver.send(&publish_bytes("a/c", QoS::AtMostOnce, 0, false, b"left behind"));
    leaver.send(&publish_bytes("a/c", QoS::AtLeastOnce, 9, false, b"taken along"));
    leaver.ping();
    drop(leaver);
    // Not acknowledged, and the client goes on with other topics.
    sender.publish_acknowledged("other", 3, false, b"x");
    wait_until(|| node.figures().stats.held == 4, || format!("{:?}", node.figures().stats));
    lift(&node, 1, &action);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(String::from_utf8(all.message().1).unwrap());
    }
    let of_sender: Vec<_> = seen.iter().filter(|text| text.len() == 1).collect();
    assert_eq!(of_sender, ["1", "2", "3"]);
    assert!(seen.contains(&"left behind".into()), "QoS 0 outlives its connection: {seen:?}");
    assert_eq!(sender.packet().unwrap(), [0x40, 2, 0, 1]);
    assert_eq!(sender.packet().unwrap(), [0x50, 2, 0, 2]);
    node.shutdown().unwrap();
}

#[test]
fn a_client_that_reconnects_sends_what_was_held_again_and_it_comes_once() {
    for version in [Version::V5, Version::V311] {
        let (node, _) = open_node(2, None);
        let mut all = client(node.addresses()[0], "all");
        all.subscribe("a/#", QoS::ExactlyOnce);
        let mut sender = client_of(&node, "sender", version, true);
        let action = freeze("a/b", Frozen::Hold, Direction::Both);
        put(&node, 1, &action);
        let publish = |dup: u8| {
            let mut bytes = match version {
                Version::V5 => publish_bytes("a/b", QoS::ExactlyOnce, 5, false, b"once"),
                Version::V311 => old("a/b", QoS::ExactlyOnce, 5, b"once"),
            };
            bytes[0] |= dup << 3;
            bytes
        };
        sender.send(&publish(0));
        sender.ping();
        let mut sender = client_of(&node, "sender", version, true);
        sender.send(&publish(1));
        sender.ping();
        lift(&node, 1, &action);
        assert_eq!(sender.packet().unwrap(), [0x50, 2, 0, 5]);
        sender.send(&[0x62, 2, 0, 5]);
        assert_eq!(sender.packet().unwrap()[0], 0x70);
        all.message();
        all.ping();
        node.shutdown().unwrap();
    }
}

#[test]
fn who_cannot_be_told_of_a_refusal_is_not_acknowledged_and_sends_again() {
    let (node, log) = open_node(1, None);
    let mut all = client(node.addresses()[0], "all");
    all.subscribe("#", QoS::AtLeastOnce);
    let mut sender = client_of(&node, "old", Version::V311, true);
    let action = freeze("a", Frozen::Drop, Direction::Both);
    put(&node, 1, &action);
    sender.send(&old("a", QoS::AtLeastOnce, 1, b"stale"));
    // Neither acknowledged nor cut off; the same packet again changes nothing.
    let mut again = old("a", QoS::AtLeastOnce, 1, b"stale");
    again[0] |= 8;
    sender.send(&again);
    sender.send(&old("b", QoS::AtLeastOnce, 2, b"other"));
    assert_eq!(sender.packet().unwrap(), [0x40, 2, 0, 2]);
    assert_eq!(all.message().1, b"other");
    lift(&node, 1, &action);
    sender.expect_end();
    log.wait_for(&["client.disconnected", "frozen topic"]);
    let mut sender = client_of(&node, "old", Version::V311, true);
    sender.send(&again);
    assert_eq!(sender.packet().unwrap(), [0x40, 2, 0, 1]);
    all.send(&[0x40, 2, 0, 1]);
    assert_eq!(all.message().1, b"stale", "because the client still wants it");
    node.shutdown().unwrap();
}

#[test]
fn what_waits_for_subscribers_is_withdrawn_or_waits_on() {
    for (messages, comes) in [(Frozen::Drop, false), (Frozen::Hold, true)] {
        let (node, _) = open_node(2, None);
        let mut kept = client_of(&node, "kept", Version::V5, true);
        kept.subscribe("a/#", QoS::AtLeastOnce);
        kept.send(&[0xE0, 0]);
        kept.expect_end();
        let mut sender = client(node.addresses()[0], "sender");
        for (id, topic) in [(1, "a/frozen"), (2, "a/free"), (3, "a/frozen")] {
            sender.publish_acknowledged(topic, id, false, topic.as_bytes());
        }
        let action = freeze("a/frozen", messages, Direction::Receive);
        put(&node, 1, &action);
        let mut kept = client_of(&node, "kept", Version::V5, true);
        assert_eq!(kept.message().0, "a/free", "what is not frozen does not wait behind what is");
        kept.ping();
        sender.send(&publish_bytes("a/frozen", QoS::AtLeastOnce, 4, false, b"new"));
        if messages == Frozen::Drop {
            assert_eq!(reason(&sender.packet().unwrap()), NO_SUBSCRIBERS, "nobody gets it, which is said");
        }
        sender.ping();
        lift(&node, 1, &action);
        if comes {
            let payloads: Vec<_> = (0..3).map(|_| kept.message().1).collect();
            assert_eq!(payloads, [&b"a/frozen"[..], b"a/frozen", b"new"]);
            assert_eq!(reason(&sender.packet().unwrap()), 0);
        }
        kept.ping();
        node.shutdown().unwrap();
    }
}

#[test]
fn retained_messages_are_withheld_and_come_after_the_freeze() {
    let (node, _) = open_node(2, None);
    let mut sender = client(node.addresses()[0], "sender");
    sender.publish_acknowledged("a/state", 1, true, b"kept");
    let action = freeze("a/#", Frozen::Hold, Direction::Both);
    put(&node, 1, &action);
    let mut early = client(node.addresses()[0], "early");
    early.subscribe("a/+", QoS::AtMostOnce);
    early.ping();
    sender.send(&publish_bytes("a/state", QoS::AtLeastOnce, 2, true, b"newer"));
    sender.ping();
    lift(&node, 1, &action);
    assert_eq!(early.message().1, b"kept");
    assert_eq!(early.message().1, b"newer");
    let served = Action::Freeze {
        filter: "a/#".into(),
        messages: Frozen::Drop,
        direction: Direction::Both,
        retained: Retained::Serve,
    };
    put(&node, 2, &served);
    let mut late = client(node.addresses()[0], "late");
    late.subscribe("a/+", QoS::AtMostOnce);
    assert_eq!(late.message().1, b"newer");
    node.shutdown().unwrap();
}

#[test]
fn a_freeze_holds_for_shared_subscriptions_and_wills() {
    let (node, _) = open_node(2, None);
    let mut member = client(node.addresses()[0], "member");
    member.subscribe("$share/group/a/#", QoS::AtMostOnce);
    let will = ravelin_mqtt::Will {
        topic: "a/will",
        payload: b"gone",
        qos: QoS::AtLeastOnce,
        retain: false,
        delay_s: 0,
        expiry_s: None,
        properties: Default::default(),
    };
    let mut dying = Client::new(connect_socket(node.addresses()[0]), Version::V5);
    dying.connect(&Connect { will: Some(will), ..connect("dying") });
    let action = freeze("a/#", Frozen::Hold, Direction::Both);
    put(&node, 1, &action);
    let mut sender = client(node.addresses()[0], "sender");
    sender.publish("a/b", b"shared");
    sender.ping();
    drop(dying);
    wait_until(|| node.figures().stats.connected == 2, || format!("{:?}", node.figures().stats));
    member.ping();
    lift(&node, 1, &action);
    let mut topics = [member.message().0, member.message().0];
    topics.sort();
    assert_eq!(topics, ["a/b", "a/will"]);
    node.shutdown().unwrap();
}

#[test]
fn from_the_order_on_nothing_frozen_comes_while_clients_flood() {
    let (node, _) = open_node(2, None);
    let mut all = client(node.addresses()[0], "all");
    all.subscribe("load/#", QoS::AtMostOnce);
    let address = node.addresses()[0];
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|i| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut sender = client(address, &format!("sender{i}"));
                let batch: Vec<u8> =
                    (0..64).flat_map(|_| publish_bytes("load/x", QoS::AtMostOnce, 0, false, b"x")).collect();
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    sender.send(&batch);
                }
            })
        })
        .collect();
    for _ in 0..1000 {
        all.message();
    }
    let ordered = Instant::now();
    let action = freeze("load/#", Frozen::Drop, Direction::Both);
    put(&node, 1, &action);
    let in_force = ordered.elapsed();
    // What was written before the order comes, then the answer to a question that was asked after it, and then nothing.
    let mut marker = client(node.addresses()[0], "marker");
    all.send(&[0xC0, 0]);
    let mut after = 0u64;
    let answered = loop {
        let packet = all.packet().unwrap();
        if packet[0] == 0xD0 {
            break ordered.elapsed();
        }
        after += 1;
    };
    all.subscribe("other", QoS::AtMostOnce);
    marker.publish("other", b"marker");
    assert_eq!(all.message().1, b"marker", "the flood goes on and nothing of it comes");
    println!("in force after {in_force:?}, last message within {answered:?}, {after} were on the way");
    // How long it takes while the shards are busy, again and again.
    let mut took: Vec<Duration> = (2..102)
        .map(|order| {
            let ordered = Instant::now();
            put(&node, order, &freeze(&format!("other/{order}/#"), Frozen::Drop, Direction::Both));
            ordered.elapsed()
        })
        .collect();
    took.sort();
    println!("100 orders: median {:?}, p99 {:?}, longest {:?}", took[50], took[98], took[99]);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    node.shutdown().unwrap();
}
