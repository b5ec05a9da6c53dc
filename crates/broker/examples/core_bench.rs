//! What the core costs per message, without any socket: `cargo run --release -p ravelin-broker --example core_bench`.
//!
//! With an argument (`pairs`, `pairs1`, `pairs2`, `fan-out`, `many`, `freezes`) only that one runs, for a fixed number of messages, so that
//! `valgrind --tool=callgrind` counts the same instructions every time.

#![allow(clippy::disallowed_methods, reason = "it measures: it is no part of the pure crate")]

use ravelin_broker::{Authorizer, Broker, Connecting, Limits, LinkId, Now, Publishing, Subscribing, Watch};
use ravelin_event::Principal;
use ravelin_mqtt::{
    Connect, PublishOut, QoS, SubscribeOptions, Subscription, Version, encode_publish, encode_subscribe, peek,
};
use std::rc::Rc;
use std::time::Instant;

struct Open;

impl Authorizer for Open {
    fn may_publish(&self, _: &Principal, _: &Publishing<'_>) -> bool {
        true
    }
    fn may_subscribe(&self, _: &Principal, _: &Subscribing<'_>) -> bool {
        true
    }
    fn may_receive(&self, _: &Principal, _: &str) -> bool {
        true
    }
}

const NOW: Now = Now { mono_ms: 1000, wall_ms: 1_700_000_000_000 };

fn connect(broker: &mut Broker, id: &str) -> LinkId {
    let connect = Connect {
        version: Version::V311,
        clean_start: true,
        keep_alive_s: 60,
        client_id: id,
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
        properties: Default::default(),
    };
    let connecting = Connecting {
        connect: &connect,
        token: 0,
        principal: Principal::anonymous(id),
        client_id_assigned: false,
        auth_method: None,
        auth_data: None,
    };
    broker.handle_connect(NOW, connecting).expect("accepted")
}

fn feed(broker: &mut Broker, link: LinkId, bytes: &[u8]) {
    let mut at = 0;
    while let Ok(Some(frame)) = peek(&bytes[at..], 1 << 20) {
        broker.handle_frame(NOW, link, frame.first, &bytes[at + frame.header_len..at + frame.total_len]);
        at += frame.total_len;
    }
}

fn drain(broker: &mut Broker) {
    while let Some((link, _)) = broker.poll_flush() {
        if let Some(out) = broker.outbound(link) {
            let n = out.len();
            out.consume(n);
        }
        broker.handle_drained(NOW, link);
    }
    while broker.poll_output().is_some() {}
}

fn subscribe(broker: &mut Broker, link: LinkId, filters: &[String], qos: QoS) {
    let options = SubscribeOptions { qos, ..Default::default() };
    let subscriptions: Vec<_> = filters.iter().map(|filter| Subscription { filter, options }).collect();
    let mut bytes = Vec::new();
    encode_subscribe(&mut bytes, Version::V311, 1, None, &subscriptions, Default::default());
    feed(broker, link, &bytes);
    drain(broker);
}

fn publishes(topics: &[String], qos: QoS) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (i, topic) in topics.iter().enumerate() {
        let publish = PublishOut {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id: i as u16 + 1,
            topic_alias: None,
            expiry_s: None,
            subscription_ids: &[],
            forward: &[],
            payload: &[b'x'; 64],
        };
        encode_publish(&mut bytes, Version::V311, &publish);
    }
    bytes
}

fn report(name: &str, messages: usize, deliveries: usize, started: Instant) {
    let ns = started.elapsed().as_nanos() as f64;
    println!(
        "{name:10} {:8.1} ns a publish {:8.1} ns a delivery",
        ns / messages as f64,
        ns / deliveries as f64
    );
}

/// A publisher and a subscriber on one topic, 32 messages a turn; acknowledgements included above QoS 0.
fn pairs(qos: QoS, turns: usize) {
    let mut broker = Broker::new(0, 1, Limits::default(), Rc::new(Open), 7);
    let (from, to) = (connect(&mut broker, "publisher"), connect(&mut broker, "subscriber"));
    let topic = "load/pair/17/v".to_owned();
    subscribe(&mut broker, to, std::slice::from_ref(&topic), qos);
    let batch = publishes(&vec![topic; 32], qos);
    let started = Instant::now();
    let mut seq = 0u64;
    for _ in 0..turns {
        feed(&mut broker, from, &batch);
        let mut acks = Vec::new();
        if qos != QoS::AtMostOnce {
            for i in 0..32u16 {
                let [a, b] = ((seq % 65_535) as u16 + 1).to_be_bytes();
                seq += 1;
                match qos {
                    QoS::AtLeastOnce => acks.extend_from_slice(&[0x40, 2, a, b]),
                    _ => {
                        acks.extend_from_slice(&[0x50, 2, a, b]);
                        acks.extend_from_slice(&[0x70, 2, a, b]);
                        let [a, b] = (i + 1).to_be_bytes();
                        feed(&mut broker, from, &[0x62, 2, a, b]);
                    }
                }
            }
        }
        drain(&mut broker);
        feed(&mut broker, to, &acks);
        drain(&mut broker);
    }
    assert_eq!(broker.stats().publish_sent, turns as u64 * 32);
    report(&format!("pairs q{}", qos as u8), turns * 32, turns * 32, started);
}

/// Everybody may do everything, but a hundred other topics are frozen.
struct Freezing(Vec<String>);

impl Freezing {
    fn new() -> Freezing {
        Freezing((0..100).map(|i| format!("plant/{i}/+/cmd/#")).collect())
    }
}

impl Authorizer for Freezing {
    fn may_publish(&self, _: &Principal, _: &Publishing<'_>) -> bool {
        true
    }
    fn may_subscribe(&self, _: &Principal, _: &Subscribing<'_>) -> bool {
        true
    }
    fn may_receive(&self, _: &Principal, _: &str) -> bool {
        true
    }
    fn watch(&self, topic: &str) -> Watch {
        let frozen = self.0.iter().any(|filter| ravelin_mqtt::matches(filter, topic));
        if frozen { Watch::HOLD | Watch::DELAY | Watch::WITHHOLD } else { Watch::NONE }
    }
    fn freezes(&self) -> Watch {
        Watch::HOLD | Watch::DELAY | Watch::WITHHOLD
    }
}

/// Nanoseconds of a publish and its delivery, while nothing is frozen or other topics are. `topics`: different ones in turn.
fn frozen_pair(rights: Rc<dyn Authorizer>, qos: QoS, topics: usize, turns: usize) -> f64 {
    let mut broker = Broker::new(0, 1, Limits::default(), rights, 7);
    let (from, to) = (connect(&mut broker, "publisher"), connect(&mut broker, "subscriber"));
    subscribe(&mut broker, to, &["load/#".into()], QoS::AtMostOnce);
    let topics: Vec<String> = (0..32).map(|i| format!("load/pair/{}/v", i % topics)).collect();
    let batch = publishes(&topics, qos);
    let started = Instant::now();
    for _ in 0..turns {
        feed(&mut broker, from, &batch);
        drain(&mut broker);
    }
    started.elapsed().as_nanos() as f64 / (turns * 32) as f64
}

/// What freezes of other topics cost those that are not frozen: both alternately, the fastest of each.
fn freezes(turns: usize) {
    for (name, qos, topics) in [
        ("q0, one topic", QoS::AtMostOnce, 1),
        ("q0, 32 topics", QoS::AtMostOnce, 32),
        ("q1, one topic", QoS::AtLeastOnce, 1),
    ] {
        let mut best = [f64::MAX; 2];
        for _ in 0..10 {
            best[0] = best[0].min(frozen_pair(Rc::new(Open), qos, topics, turns));
            best[1] = best[1].min(frozen_pair(Rc::new(Freezing::new()), qos, topics, turns));
        }
        let [open, freezing] = best;
        println!("freezes {name}: {open:.1} ns without, {freezing:.1} ns with 100; {:.3}", freezing / open);
    }
}

fn fan_out(turns: usize) {
    let mut broker = Broker::new(0, 1, Limits::default(), Rc::new(Open), 7);
    let from = connect(&mut broker, "publisher");
    for i in 0..50 {
        let link = connect(&mut broker, &format!("s{i}"));
        subscribe(&mut broker, link, &["load/out/0/v".into()], QoS::AtMostOnce);
    }
    let batch = publishes(&vec!["load/out/0/v".to_owned(); 32], QoS::AtMostOnce);
    let started = Instant::now();
    for _ in 0..turns {
        feed(&mut broker, from, &batch);
        drain(&mut broker);
    }
    report("fan-out", turns * 32, turns * 32 * 50, started);
}

/// A publish among `n` subscriptions, each to its own topic, with topics in no order.
fn many(n: usize, turns: usize) {
    let limits = Limits { subscriptions_per_session_max: n, ..Limits::default() };
    let mut broker = Broker::new(0, 1, limits, Rc::new(Open), 7);
    let from = connect(&mut broker, "publisher");
    for i in 0..10 {
        let link = connect(&mut broker, &format!("s{i}"));
        let filters: Vec<_> = (i * n / 10..(i + 1) * n / 10)
            .map(|k| format!("site/{}/dev/{}/temp", k / 100, k % 100))
            .collect();
        for chunk in filters.chunks(100) {
            subscribe(&mut broker, link, chunk, QoS::AtMostOnce);
        }
    }
    let mut k = 1usize;
    let topics: Vec<_> = (0..32_000)
        .map(|_| {
            k = k.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("site/{}/dev/{}/temp", (k >> 33) % n / 100, (k >> 33) % n % 100)
        })
        .collect();
    let batches: Vec<_> = topics.chunks(32).map(|chunk| publishes(chunk, QoS::AtMostOnce)).collect();
    let started = Instant::now();
    for turn in 0..turns {
        feed(&mut broker, from, &batches[turn % batches.len()]);
        drain(&mut broker);
    }
    report(&format!("many {n}"), turns * 32, turns * 32, started);
}

fn main() {
    let only = std::env::args().nth(1);
    let on = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let turns = if only.is_some() { 2_000 } else { 100_000 };
    if on("pairs") {
        pairs(QoS::AtMostOnce, turns);
    }
    if on("pairs1") {
        pairs(QoS::AtLeastOnce, turns);
    }
    if on("pairs2") {
        pairs(QoS::ExactlyOnce, turns);
    }
    if on("fan-out") {
        fan_out(turns / 10);
    }
    if on("freezes") {
        freezes(turns / 10);
    }
    if on("many") {
        for n in [1_000, 100_000, 1_000_000] {
            many(n, turns / 10);
        }
    }
}
