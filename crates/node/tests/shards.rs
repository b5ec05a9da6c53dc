//! Several shards: a client is served wherever its connection arrives, and order holds across them.

mod support;

use ravelin_mqtt::{QoS, Version};
use support::*;

#[test]
fn messages_cross_shards_in_order() {
    let (node, _) = open_node(4, None);
    let address = node.addresses()[0];
    let mut subscribers: Vec<_> = (0..8).map(|i| client(address, &format!("subscriber-{i}"))).collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe("a/#", QoS::AtLeastOnce);
    }
    let mut publishers: Vec<_> = (0..4).map(|i| client(address, &format!("publisher-{i}"))).collect();
    for round in 0..100u16 {
        for (index, publisher) in publishers.iter_mut().enumerate() {
            publisher.send(&publish_bytes(
                &format!("a/{index}"),
                QoS::AtLeastOnce,
                round + 1,
                false,
                &round.to_be_bytes(),
            ));
        }
    }
    for subscriber in &mut subscribers {
        let mut next = [0u16; 4];
        for _ in 0..400 {
            let (topic, payload, packet_id) = subscriber.message();
            let index: usize = topic[2..].parse().unwrap();
            assert_eq!(payload, next[index].to_be_bytes());
            next[index] += 1;
            let [high, low] = packet_id.to_be_bytes();
            subscriber.send(&[0x40, 2, high, low]);
        }
    }
    node.shutdown().unwrap();
}

#[test]
fn what_one_shard_acknowledged_the_others_know() {
    let (node, _) = open_node(4, None);
    let address = node.addresses()[0];
    for round in 0..300u32 {
        // The subscription is acknowledged; a message sent after that must arrive, whichever shards are concerned.
        let mut subscriber = client(address, &format!("s{round}"));
        let mut publisher = client(address, &format!("p{round}"));
        let topic = format!("t/{round}");
        subscriber.subscribe(&topic, QoS::AtMostOnce);
        publisher.publish(&topic, b"now");
        assert_eq!(subscriber.message().1, b"now");
        // A retained message is acknowledged; a subscription made after that must bring it.
        publisher.publish_acknowledged(&format!("r/{round}"), 1, true, b"kept");
        subscriber.subscribe(&format!("r/{round}"), QoS::AtMostOnce);
        assert_eq!(subscriber.message().1, b"kept");
    }
    node.shutdown().unwrap();
}

#[test]
fn a_client_takes_its_session_over_from_any_connection() {
    let (node, _) = open_node(4, None);
    let address = node.addresses()[0];
    let mut connect = connect("same");
    (connect.clean_start, connect.session_expiry_s) = (false, Some(60));
    let mut current = Client::new(connect_socket(address), Version::V5);
    assert!(!current.connect(&connect));
    for _ in 0..50 {
        let mut next = Client::new(connect_socket(address), Version::V5);
        assert!(next.connect(&connect), "the session is present");
        assert_eq!(current.expect_end(), Some(0x8E));
        current = next;
    }
    current.ping();
    node.shutdown().unwrap();
}

#[test]
fn a_flood_between_shards_is_bounded_and_loses_nothing_at_qos_1() {
    let (node, _) = open_node(2, None);
    let address = node.addresses()[0];
    let mut subscribers: Vec<_> = (0..4).map(|i| client(address, &format!("s{i}"))).collect();
    for subscriber in &mut subscribers {
        subscriber.subscribe("flood", QoS::AtLeastOnce);
    }
    const MESSAGES: u16 = 500;
    let payload = vec![5; 20_000];
    let publisher = std::thread::spawn(move || {
        let mut publisher = client(address, "publisher");
        for id in 1..=MESSAGES {
            publisher.send(&publish_bytes("flood", QoS::AtLeastOnce, id, false, &payload));
        }
        for _ in 1..=MESSAGES {
            assert_eq!(publisher.packet().unwrap()[0], 0x40);
        }
    });
    for subscriber in &mut subscribers {
        for _ in 0..MESSAGES {
            let (_, payload, packet_id) = subscriber.message();
            assert_eq!(payload.len(), 20_000);
            let [high, low] = packet_id.to_be_bytes();
            subscriber.send(&[0x40, 2, high, low]);
        }
    }
    publisher.join().unwrap();
    node.shutdown().unwrap();
}
