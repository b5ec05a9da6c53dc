//! Items 25 to 33: state that is piled up until somebody runs out of memory.

use crate::support::{refused_after, refused_before, source};
use ravelin_attacks::peer::Packet;
use ravelin_attacks::wire::{DISCONNECT, PINGREQ, ack, subscribe};
use ravelin_attacks::{Connect, MIB, Node, Peer, Publish, Trial};
use std::time::{Duration, Instant};

const RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
const TOPIC_ALIAS_INVALID: u8 = 0x94;
const PACKET_TOO_LARGE: u8 = 0x95;
const QUOTA_EXCEEDED: u8 = 0x97;

/// CVE-2023-28366: QoS 2 that is never released, and identifiers that come again.
#[test]
fn a25_qos2_never_released_and_duplicate_ids() {
    let mut node = Node::open("receive_max = 100");
    let trial = Trial::begin(&node, 32 * MIB);
    let mut listener = Peer::connect(node.address(), &Connect::v5("listener"));
    listener.subscribe("a25/#", 0);
    let payload = vec![b'x'; 10_000];
    for (number, level) in [5u8, 4].into_iter().enumerate() {
        let connect = Connect { level, ..Connect::v5(format!("hoarder{number}")) };
        let mut peer = Peer::connect_from(node.address(), source(number), &connect);
        // 3.1.1 has no Receive Maximum; the node draws the line at 1024.
        for id in 1..=2000u16 {
            let publish = Publish::new("a25/x", &payload).qos(2, id);
            let bytes = if level == 5 { publish.to_bytes() } else { publish.to_bytes_v311() };
            if peer.try_send(&bytes).is_err() {
                break;
            }
        }
        let answers = peer.read_to_close();
        let recs = answers.iter().filter(|packet| packet.kind() == 5).count();
        assert!(recs <= if level == 5 { 100 } else { 1024 }, "{recs} were taken");
        if level == 5
            && let Some(last) = answers.last().filter(|packet| packet.kind() == 14)
        {
            assert_eq!(last.reason(), RECEIVE_MAXIMUM_EXCEEDED);
        }
        node.expect_disconnected(peer.address, "limit_exceeded");
    }
    listener.drain();
    // One identifier, again and again: one message.
    let mut peer = Peer::connect(node.address(), &Connect::v5("again"));
    for round in 0..1000 {
        let publish = Publish::new("a25/again", "x").qos(2, 1);
        peer.send(&if round == 0 { publish } else { publish.dup() }.to_bytes());
        assert_eq!(peer.expect(5).packet_id(), 1);
    }
    assert_eq!(listener.drain().len(), 1);
    trial.finish(&mut node);
}

/// rmqtt#456, CVE-2026-8741: a QoS 2 message that is sent again, on any connection of the session, is one message.
#[test]
fn a26_qos2_replay() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let mut listener = Peer::connect(node.address(), &Connect::v5("listener"));
    listener.subscribe("a26/#", 2);
    let lasting = Connect::v5("replayer").lasting();
    for round in 1..=50u16 {
        let publish = Publish::new(format!("a26/{round}"), "x").qos(2, round);
        let mut first = Peer::connect(node.address(), &lasting);
        first.send(&publish.to_bytes());
        assert_eq!(first.expect(5).reason() & 0x80, 0);
        // A second connection of the same session takes over and replays, before and after PUBREL.
        let mut second = Peer::connect(node.address(), &lasting);
        second.send(&[publish.clone().dup().to_bytes(), publish.dup().to_bytes()].concat());
        second.expect(5);
        second.expect(5);
        second.send(&[ack(0x62, round), ack(0x62, round)].concat());
        assert_eq!(second.expect(7).reason(), 0);
        assert_eq!(second.expect(7).reason(), 0x92, "released once");
    }
    let mut topics: Vec<String> = Vec::new();
    while topics.len() < 50 {
        let messages = listener.drain();
        assert!(!messages.is_empty(), "only {} of 50", topics.len());
        topics.extend(messages.iter().map(Packet::topic));
    }
    let expected: Vec<String> = (1..=50).map(|round| format!("a26/{round}")).collect();
    assert_eq!(topics, expected, "each once, in order");
    assert_eq!(listener.drain(), []);
    trial.finish(&mut node);
}

/// CVE-2026-95845, FlashMQ 1.23.2: who never acknowledges, and who is away, has a queue with an end.
#[test]
fn a27_subscriber_that_never_acknowledges() {
    let mut node = Node::open("queue_messages_max = 1000\nqueue_bytes_max = \"1MiB\"\ninflight_max = 20");
    let trial = Trial::begin(&node, 48 * MIB);
    let mut away = Peer::connect(node.address(), &Connect::v5("away").lasting());
    away.subscribe("a27/#", 1);
    away.send(DISCONNECT);
    away.read_to_close();
    let mut deaf = Peer::connect_from(node.address(), source(1), &Connect::v5("deaf"));
    deaf.subscribe("a27/#", 2);
    let mut publisher = Peer::connect_from(node.address(), source(2), &Connect::v5("publisher"));
    for round in 0..200u16 {
        let large: Vec<u8> = (0..50)
            .flat_map(|at| Publish::new("a27/x", vec![b'x'; 4000]).qos(1, 1 + round * 50 + at).to_bytes())
            .collect();
        publisher.send(&large);
        for _ in 0..50 {
            assert!(publisher.expect(4).reason() < 0x80, "the publisher is not punished for it");
        }
    }
    let mut sent = 0;
    while deaf.poll(Duration::from_millis(50)).is_some() {
        sent += 1;
    }
    assert_eq!(sent, 20, "no more than the window");
    node.expect("queue.full", &[("client_id", "deaf")]);
    node.expect("queue.full", &[("client_id", "away")]);
    // What was kept for the one who was away is there, and bounded by the bytes.
    let mut back = Peer::connect(node.address(), &Connect::v5("away").lasting());
    let mut kept = 0;
    loop {
        match back.drain().len() {
            0 => break,
            count => kept += count,
        }
    }
    assert!((200..=400).contains(&kept), "{kept} messages of 4 KB in 1 MiB");
    trial.finish(&mut node);
}

/// Random Client Identifiers, Clean Start 0, expiry 0xFFFFFFFF.
#[test]
fn a28_session_hoarding() {
    let mut node = Node::open("sessions_max = 200\nsession_expiry_max = \"1h\"");
    let trial = Trial::begin(&node, 16 * MIB);
    let (mut accepted, mut refused) = (0, 0);
    for number in 0..600 {
        let connect = if number % 2 == 0 {
            Connect::v5(format!("h{number}"))
        } else {
            Connect::v311(format!("h{number}"))
        };
        let mut peer = Peer::open_from(node.address(), source(number % 3));
        let connack = peer.greet(&connect.lasting()).expect("an answer");
        match (connack.reason(), number % 2) {
            (0, even) => {
                accepted += 1;
                // Session Expiry Interval: what is granted, not what was asked for.
                assert!(even == 1 || connack.body.windows(5).any(|bytes| bytes == [0x11, 0, 0, 0x0E, 0x10]));
            }
            (QUOTA_EXCEEDED, 0) | (0x03, 1) => refused += 1,
            other => panic!("{other:02x?}"),
        }
        let _ = peer.try_send(DISCONNECT);
    }
    assert!((150..=200).contains(&accepted), "{accepted} sessions");
    assert_eq!(accepted + refused, 600);
    node.expect("connection.refused", &[("why", "too_many_sessions")]);
    // Whoever has a session still gets to it.
    Peer::connect(node.address(), &Connect::v5("h0").lasting());
    trial.finish(&mut node);
}

/// As many retained messages as there are topics, each as large as may be.
#[test]
fn a29_retained_bomb() {
    let limits =
        "retained_count_max = 500\nretained_bytes_max = \"4MiB\"\nretained_message_bytes_max = \"100KiB\"";
    let mut node = Node::open(limits);
    let trial = Trial::begin(&node, 24 * MIB);
    let mut peer = Peer::connect_from(node.address(), source(0), &Connect::v5("bomber"));
    let mut retain = |topic: &str, bytes: usize| {
        peer.send(&Publish::new(topic, vec![b'x'; bytes]).qos(1, 1).retain().to_bytes());
        peer.expect(4).reason()
    };
    let large = (0..400).filter(|number| retain(&format!("large/{number}"), 50_000) < 0x80).count();
    assert!((70..=84).contains(&large), "{large} messages of 50 KB in 4 MiB");
    assert_eq!(retain("large/0", 102_401), QUOTA_EXCEEDED, "larger than one may be");
    assert!(retain("large/0", 0) < 0x80 && retain("large/0", 50_000) < 0x80, "a place that was given back");
    for number in 0..large {
        retain(&format!("large/{number}"), 0);
    }
    let small = (0..1000).filter(|number| retain(&format!("small/{number}"), 1) < 0x80).count();
    assert_eq!(small, 500);
    assert!(retain("small/0", 10) < 0x80, "what is there can be replaced");
    node.expect("publish.refused", &[("why", "too_many_retained"), ("address", &peer.address.to_string())]);
    trial.finish(&mut node);
}

/// The same with topics that are as deep and long as may be, and hardly a payload: the tree counts too.
#[test]
fn a29_retained_bomb_of_deep_topics() {
    let mut node = Node::open("retained_bytes_max = \"8MiB\"");
    let trial = Trial::begin(&node, 64 * MIB);
    let mut peer = Peer::connect(node.address(), &Connect::v5("bomber"));
    let mut refused = 0;
    for batch in 0..200u32 {
        let messages: Vec<u8> = (0..250)
            .flat_map(|at| {
                let topic = format!("{}{}", batch * 250 + at, "/a".repeat(127));
                Publish::new(topic, "x").qos(1, 1 + at as u16).retain().to_bytes()
            })
            .collect();
        peer.send(&messages);
        refused += (0..250).filter(|_| peer.expect(4).reason() == QUOTA_EXCEEDED).count();
    }
    assert!(refused > 0, "50000 topics of 128 levels are kept in 8 MiB");
    trial.finish(&mut node);
}

/// Aliases of 0, beyond the maximum, unknown, and as many as may be for the longest topics on many connections.
#[test]
fn a30_topic_aliases() {
    let mut node = Node::open("topic_alias_max = 64\ntopic_alias_bytes_max = \"16KiB\"");
    let trial = Trial::begin(&node, 48 * MIB);
    let alias = |alias: u16| [&[0x23][..], &alias.to_be_bytes()].concat();
    for (number, value) in [0u16, 65, 1000, 65_535].into_iter().enumerate() {
        let publish = Publish::new("a30", "").properties(alias(value)).to_bytes();
        refused_after(&node, number, 5, &publish, &[TOPIC_ALIAS_INVALID]);
    }
    for (number, value) in [1u16, 64].into_iter().enumerate() {
        let publish = Publish::new("", "").properties(alias(value)).to_bytes();
        refused_after(&node, 10 + number, 5, &publish, &[0x82, TOPIC_ALIAS_INVALID]);
    }
    let mut peers = Vec::new();
    for number in 0..200 {
        let mut peer = Peer::connect_from(node.address(), source(20), &Connect::v5(format!("alias{number}")));
        let bytes: Vec<u8> = (1..=64)
            .flat_map(|value| {
                let topic = format!("{number}/{value}/{}", "a".repeat(4000));
                Publish::new(topic, "").properties(alias(value)).to_bytes()
            })
            .collect();
        // Beyond the bytes that aliases may stand for, the connection ends.
        let _ = peer.try_send(&bytes);
        peers.push(peer);
    }
    for peer in &mut peers {
        peer.is_ended_with(QUOTA_EXCEEDED);
        node.expect_disconnected(peer.address, "limit_exceeded");
    }
    // An alias may get another topic as often as one likes.
    let mut peer = Peer::connect(node.address(), &Connect::v5("changing"));
    for number in 0..100 {
        let topic = format!("{number}/{}", "a".repeat(4000));
        peer.send(&Publish::new(topic, "").properties(alias(1)).to_bytes());
    }
    peer.ping();
    trial.finish(&mut node);
}

/// Wills that are too large, that all go off at once, that are due after their session's end (CVE-2019-11778).
#[test]
fn a31_will_bomb() {
    let mut node = Node::open("will_bytes_max = \"32KiB\"");
    let trial = Trial::begin(&node, 64 * MIB);
    let mut listener = Peer::connect(node.address(), &Connect::v5("listener"));
    listener.subscribe("a31/#", 0);
    let large = Connect::v5("large").will("a31/large", vec![b'w'; 32_769 - 1]).to_bytes();
    // The CONNECT's own cap comes first.
    refused_before(&node, 0, &large, &["too_large"], &[PACKET_TOO_LARGE]);
    let mut late = Connect::v5("late").properties(&[0x11, 0, 0, 0, 1]).will("a31/late", "late");
    if let Some(will) = &mut late.will {
        will.properties = vec![0x18, 0xFF, 0xFF, 0xFF, 0xFF];
    }
    // Will Delay beyond the session's expiry: it is due when the session ends.
    Peer::connect(node.address(), &late).reset();
    let mut bombs: Vec<Peer> = (0..300)
        .map(|number| {
            let connect = Connect::v5(format!("w{number}")).will(format!("a31/{number}"), vec![b'w'; 12_000]);
            Peer::connect_from(node.address(), source(1), &connect)
        })
        .collect();
    for bomb in bombs.drain(..) {
        bomb.reset();
    }
    let mut topics = Vec::new();
    while topics.len() < 301 {
        topics.push(listener.expect(3).topic());
    }
    assert!(topics.contains(&"a31/late".to_string()));
    topics.sort();
    topics.dedup();
    assert_eq!(topics.len(), 301, "each will once");
    trial.finish(&mut node);
}

/// `$share` without group or filter, wildcards in the group, No Local, and groups without end: CVE-2026-95843.
#[test]
fn a33_shared_subscriptions() {
    let mut node = Node::open("shared_groups_max = 100");
    let trial = Trial::begin(&node, 16 * MIB);
    let invalid = [
        "$share//t",
        "$share/g/",
        "$share/g",
        "$share/",
        "$share/g+/t",
        "$share/#/t",
        "$share/+/t",
        "$share/g/a#",
    ];
    for (number, filter) in invalid.into_iter().enumerate() {
        let mut peer = Peer::connect_from(node.address(), source(number), &Connect::v5("invalid"));
        peer.send(&subscribe(1, &[(filter, 0)]));
        let answer = peer.read().expect("an answer");
        assert!(
            answer.kind() == 14 && answer.reason() >= 0x80 || answer.reasons() == [0x8F],
            "{filter}: {answer:02x?}"
        );
    }
    // MQTT-3.8.3-4: No Local with a shared subscription is a Protocol Error.
    refused_after(&node, 20, 5, &subscribe(1, &[("$share/g/t", 4)]), &[0x82]);
    let mut groups = 0;
    for client in 0..4 {
        let mut peer =
            Peer::connect_from(node.address(), source(30), &Connect::v5(format!("groups{client}")));
        for batch in 0..10u16 {
            let filters: Vec<(String, u8)> =
                (0..100).map(|at| (format!("$share/{client}-{batch}-{at}/t"), 0)).collect();
            peer.send(&subscribe(1 + batch, &filters));
            groups += peer.expect(9).reasons().iter().filter(|reason| **reason == 0).count();
        }
        // The groups stay as long as the session.
        peer.send(PINGREQ);
        std::mem::forget(peer);
    }
    assert!(groups <= 100, "{groups} groups");
    node.expect("subscribe.refused", &[("why", "too_many_subscriptions")]);
    trial.finish(&mut node);
}

/// Many shared subscriptions of one client, one after the other: the time for each must not grow with their number.
#[test]
fn a33_thousands_of_shared_subscriptions_of_one_client() {
    let mut node = Node::open("shared_groups_max = 100000");
    let trial = Trial::begin(&node, 32 * MIB);
    let mut peer = Peer::connect(node.address(), &Connect::v5("shares"));
    let started = Instant::now();
    for batch in 0..10u16 {
        let filters: Vec<(String, u8)> =
            (0..999).map(|at| (format!("$share/{batch}-{at}/shared/by/all"), 0)).collect();
        peer.send(&subscribe(1 + batch, &filters));
        assert!(peer.expect(9).reasons().iter().all(|reason| *reason == 0));
    }
    let used = started.elapsed();
    // Gone in one go.
    peer.reset();
    trial.finish(&mut node);
    assert!(used < Duration::from_secs(4), "{used:?} for 9990 groups");
}
