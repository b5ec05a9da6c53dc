//! Items 18 to 24: little input, much work.

use crate::support::{refused_after, refused_before, source};
use ravelin_attacks::node::Setup;
use ravelin_attacks::wire::{DISCONNECT, ack, packet, properties, subscribe, unsubscribe, user_property};
use ravelin_attacks::witness::Witness;
use ravelin_attacks::{Connect, MIB, Node, Peer, Publish, Trial};
use std::time::{Duration, Instant};

const TOPIC_NAME_INVALID: u8 = 0x90;
const QUOTA_EXCEEDED: u8 = 0x97;

/// CVE-2019-11779, CVE-2026-95844, CVE-2021-33175, CVE-2021-33176: the number of levels is capped, and with the cap
/// raised as far as the configuration allows, nothing recurses.
#[test]
fn a18_topics_of_65400_levels() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let bomb = "/".repeat(65_400);
    refused_after(&node, 0, 5, &Publish::new(&bomb, "").retain().to_bytes(), &[TOPIC_NAME_INVALID]);
    refused_after(&node, 1, 4, &Publish::new(&bomb, "").to_bytes_v311(), &[]);
    refused_before(
        &node,
        2,
        &Connect::v5("c").will(&bomb, "").to_bytes(),
        &["too_large", "bad_name"],
        &[0x95, TOPIC_NAME_INVALID],
    );
    // As many bytes as are allowed, all of them levels.
    let levels = "/".repeat(4000);
    refused_after(&node, 3, 5, &Publish::new(&levels, "").to_bytes(), &[TOPIC_NAME_INVALID]);
    for (number, filter) in
        [bomb.clone(), levels, "+/".repeat(2000), format!("$share/g/{}", "/".repeat(4000))].iter().enumerate()
    {
        for bytes in [subscribe(1, &[(filter, 0)]), unsubscribe(1, &[filter])] {
            let mut peer = Peer::connect_from(node.address(), source(10 + number), &Connect::v5("filters"));
            peer.send(&bytes);
            let refused = peer.read().expect("an answer");
            assert!(
                refused.kind() == 14 && refused.reason() >= 0x80 || refused.reasons()[0] >= 0x80,
                "{refused:02x?}"
            );
        }
    }
    trial.finish(&mut node);

    let mut node = Node::open("topic_bytes_max = 65535\ntopic_levels_max = 32768");
    let trial = Trial::begin(&node, 96 * MIB);
    let mut peer = Peer::connect(node.address(), &Connect::v5("deep"));
    let deep = "/".repeat(32_767);
    for filter in ["/#", &deep, &"+/".repeat(32_767), &format!("{}#", "+/".repeat(32_767))] {
        assert!(peer.subscribe(filter, 1) <= 1);
    }
    for id in 1..=5 {
        peer.send(&Publish::new(&deep, "x").qos(1, id).retain().to_bytes());
        let message = peer.expect(3);
        assert_eq!(message.topic().len(), deep.len());
        peer.send(&ack(0x40, message.publish_id()));
        peer.drain();
    }
    peer.send(&unsubscribe(2, &["/#", &deep]));
    assert_eq!(peer.expect(11).reasons(), [0, 0]);
    trial.finish(&mut node);
}

/// The memory of depth: what a client subscribes to within its limits costs no more than its bytes suggest.
#[test]
fn a18_many_deep_filters() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 64 * MIB);
    let mut peer = Peer::connect(node.address(), &Connect::v5("deep"));
    let mut granted = 0;
    let tail = "/a".repeat(126);
    for batch in 0..20u16 {
        let filters: Vec<(String, u8)> = (0..500)
            .map(|at| {
                (format!("{}{tail}{}", u32::from(batch) * 500 + at, if at % 2 == 0 { "/a" } else { "/+" }), 0)
            })
            .collect();
        peer.send(&subscribe(batch + 1, &filters));
        let reasons = peer.expect(9).reasons().to_vec();
        assert!(reasons.iter().all(|reason| [0, QUOTA_EXCEEDED].contains(reason)));
        granted += reasons.iter().filter(|reason| **reason == 0).count();
    }
    // A filter of 128 levels weighs as much as nine.
    assert!((1000..1300).contains(&granted), "{granted}");
    node.expect("subscribe.refused", &[("why", "too_many_subscriptions")]);
    peer.send(DISCONNECT);
    peer.read_to_close();
    let mut peer = Peer::connect(node.address(), &Connect::v5("shallow"));
    for batch in 0..20u16 {
        let filters: Vec<(String, u8)> =
            (0..500).map(|at| (format!("plant/{batch}/{at}/+/state"), 0)).collect();
        peer.send(&subscribe(batch + 1, &filters));
        assert!(peer.expect(9).reasons().iter().all(|reason| *reason == 0), "ordinary ones weigh one each");
    }
    trial.finish(&mut node);
}

/// CVE-2021-41039: properties that take time to compare or to keep.
#[test]
fn a19_thousands_of_user_properties() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let many = user_property("", "").repeat(12_000);
    let before = node.cpu();
    for number in 0..20 {
        refused_after(
            &node,
            number,
            5,
            &Publish::new("t", "").properties(&many).to_bytes(),
            &[QUOTA_EXCEEDED],
        );
        let body = [&[0, 1][..], &properties(&many), b"\0\x01t\0"].concat();
        refused_after(&node, 40 + number, 5, &packet(0x82, &body), &[QUOTA_EXCEEDED]);
        refused_after(
            &node,
            80 + number,
            5,
            &packet(0xE0, &[&[4][..], &properties(&many)].concat()),
            &[QUOTA_EXCEEDED],
        );
    }
    let some = user_property("", "").repeat(2500);
    refused_before(
        &node,
        120,
        &Connect::v5("c").properties(&some).to_bytes(),
        &["too_large"],
        &[0x95, QUOTA_EXCEEDED],
    );
    // As many as are allowed are carried.
    let mut peer = Peer::connect(node.address(), &Connect::v5("carried"));
    peer.subscribe("a19", 0);
    let allowed = user_property("k", "v").repeat(64);
    for _ in 0..500 {
        peer.send(&Publish::new("a19", "").properties(&allowed).to_bytes());
        assert!(peer.expect(3).body.ends_with(&allowed));
    }
    let used = node.cpu() - before;
    assert!(used < Duration::from_secs(3), "{used:?} of processor time");
    trial.finish(&mut node);
}

/// Filters of `+` in every combination, and topics that all of them match: each new topic costs a visit to all, and
/// others must still be served meanwhile.
#[test]
fn a20_combinations_of_wildcards_and_deep_topics() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 64 * MIB);
    let mut peer = Peer::connect_from(node.address(), source(0), &Connect::v5("combinations"));
    let filter = |number: u32| {
        let levels: Vec<&str> = (0..13).map(|bit| if number >> bit & 1 == 0 { "+" } else { "a" }).collect();
        (levels.join("/") + if number.is_multiple_of(2) { "/#" } else { "" }, 0)
    };
    let mut granted = 0;
    for batch in 0..16u32 {
        let filters: Vec<(String, u8)> = (0..512).map(|at| filter(batch * 512 + at)).collect();
        peer.send(&subscribe(1 + batch as u16, &filters));
        granted += peer.expect(9).reasons().iter().filter(|reason| **reason == 0).count();
    }
    assert_eq!(granted, 8192);
    let mut publisher = Peer::connect_from(node.address(), source(1), &Connect::v5("deep"));
    let started = Instant::now();
    let mut published = 0u32;
    while started.elapsed() < Duration::from_secs(1) {
        let topic = format!("{}a/{published}", "a/".repeat(12));
        publisher.send(&Publish::new(topic, "x").qos(1, 1 + (published % 1000) as u16).to_bytes());
        published += 1;
        publisher.expect(4);
    }
    publisher.ping();
    // Beyond its share a client gets no more.
    for id in 0..2u16 {
        let filters: Vec<(String, u8)> = (0..1000).map(|at| (format!("more/{id}/{at}"), 0)).collect();
        peer.send(&subscribe(100 + id, &filters));
    }
    let more: Vec<u8> =
        [peer.expect(9), peer.expect(9)].iter().flat_map(|suback| suback.reasons().to_vec()).collect();
    assert_eq!(more.iter().filter(|reason| **reason == 0).count(), 10_000 - granted);
    assert_eq!(more.iter().filter(|reason| **reason == QUOTA_EXCEEDED).count(), 2000 + granted - 10_000);
    node.expect("subscribe.refused", &[("why", "too_many_subscriptions")]);
    println!("{published} topics");
    trial.finish(&mut node);
}

/// The same topics in one write: a turn does its share of the work, and everybody else has one before the next.
#[test]
fn a20_burst_of_deep_topics() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 64 * MIB);
    let mut peer = Peer::connect_from(node.address(), source(0), &Connect::v5("combinations"));
    let filter = |number: u32| {
        let levels: Vec<&str> = (0..13).map(|bit| if number >> bit & 1 == 0 { "+" } else { "a" }).collect();
        (levels.join("/") + if number.is_multiple_of(2) { "/#" } else { "" }, 0)
    };
    for batch in 0..16u32 {
        let filters: Vec<(String, u8)> = (0..512).map(|at| filter(batch * 512 + at)).collect();
        peer.send(&subscribe(1 + batch as u16, &filters));
        peer.expect(9);
    }
    let mut publisher = Peer::connect_from(node.address(), source(1), &Connect::v5("deep"));
    let burst: Vec<u8> =
        (0..3000).flat_map(|n| Publish::new(format!("{}a/{n}", "a/".repeat(12)), "x").to_bytes()).collect();
    publisher.send(&burst);
    publisher.ping();
    trial.finish(&mut node);
}

/// FlashMQ's node limits: a subscription to everything over a large tree of retained messages, again and again, in one
/// write.
#[test]
fn a22_wildcard_subscriptions_over_many_retained_messages() {
    let mut node = Node::open("");
    let mut publisher = Peer::connect(node.address(), &Connect::v5("retainer"));
    for batch in 0..100 {
        let messages: Vec<u8> = (0..1000)
            .flat_map(|at| Publish::new(format!("r/{batch}/{at}"), "x").retain().to_bytes())
            .collect();
        publisher.send(&messages);
        publisher.ping();
    }
    let trial = Trial::begin(&node, 128 * MIB);
    let bombs: Vec<u8> =
        (1..=200u16).flat_map(|id| subscribe(id, &[("#", 0), ("+/+/+", 0), ("r/+/1/#", 0)])).collect();
    let mut bombers: Vec<Peer> = (0..4)
        .map(|number| Peer::connect_from(node.address(), source(number), &Connect::v5(format!("b{number}"))))
        .collect();
    for bomber in &mut bombers {
        bomber.send(&bombs);
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        for bomber in &mut bombers[..2] {
            bomber.poll(Duration::from_millis(1));
        }
    }
    trial.finish(&mut node);
}

/// Subscribing and unsubscribing as fast as it goes: remembered routes are worthless meanwhile, and no more.
#[test]
fn a23_subscribe_and_unsubscribe_churn() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 32 * MIB);
    let mut peers: Vec<Peer> = (0..2)
        .map(|number| {
            Peer::connect_from(node.address(), source(number), &Connect::v5(format!("churn{number}")))
        })
        .collect();
    let filters = ["#", "+/pace", "witness/#", "$share/g/witness/+", "a/b/c"];
    let all: Vec<(&str, u8)> = filters.iter().map(|filter| (*filter, 0)).collect();
    let round = [subscribe(1, &all), unsubscribe(2, &filters)].concat().repeat(50);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(2) {
        for peer in &mut peers {
            peer.send(&round);
        }
        for peer in &mut peers {
            for _ in 0..50 {
                assert!(peer.expect(9).reasons().iter().all(|reason| *reason == 0));
                assert!(peer.expect(11).reasons().iter().all(|reason| *reason == 0));
            }
        }
    }
    trial.finish(&mut node);
}

/// vernemq#579, #176: hashing is dear, so it is bounded, elsewhere, and takes as long for a user who does not exist.
#[test]
fn a24_flood_of_wrong_passwords() {
    let listener = "transport = \"tcp\"\nbind_client_id = \"none\"\nauthentication = [\"password\"]";
    let mut node =
        Setup::default().listener(listener).passwords(&[("witness", "right"), ("victim", "right")]).start();
    let address = node.address();
    let witness =
        Witness::start(|client_id| Peer::connect(address, &Connect::v5(client_id).user("witness", "right")));
    // Two hashes at once of 19 MiB each.
    let trial = Trial::begin_with(&node, 96 * MIB, witness);
    // The victim has proven itself where it lives; the guesses come from elsewhere, so that none is a pause's.
    let at_home = Connect::v5("victim").user("victim", "right");
    Peer::connect(address, &at_home);
    let mut number = 1000;
    let mut alone = |user: &str| {
        number += 1;
        let mut peer = Peer::open_from(address, source(number));
        let started = Instant::now();
        let connack = peer.greet(&Connect::v5("timing").user(user, "wrong")).expect("an answer");
        assert_eq!(connack.reason(), 0x86);
        started.elapsed()
    };
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        known.push(alone("victim"));
        unknown.push(alone("nobody"));
    }
    let (known, unknown) = (median(&mut known), median(&mut unknown));
    let ratio = known.as_secs_f64() / unknown.as_secs_f64();
    assert!((0.4..2.5).contains(&ratio), "who exists can be told: {known:?} and {unknown:?}");

    let mut flood: Vec<Peer> = (0..300).map(|number| Peer::open_from(address, source(number))).collect();
    for (number, peer) in flood.iter_mut().enumerate() {
        let user = if number % 2 == 0 { "victim" } else { "nobody" };
        peer.send(&Connect::v5(format!("flood{number}")).user(user, "wrong").to_bytes());
    }
    let (mut wrong, mut busy) = (0, 0);
    for peer in &mut flood {
        match peer.read().expect("an answer").reason() {
            0x86 => wrong += 1,
            0x89 => busy += 1,
            // By then the name is slow for those who never logged in with it.
            0x9F => {}
            other => panic!("{other:02x}"),
        }
    }
    assert!(wrong > 0 && busy > 100, "{wrong} were hashed, {busy} were turned away");
    node.expect("connection.refused", &[("why", "bad_credentials"), ("identity", "victim")]);
    node.expect("connection.refused", &[("why", "busy")]);
    trial.finish(&mut node);
    // The victim was not locked out by it.
    Peer::connect(address, &at_home);
}
