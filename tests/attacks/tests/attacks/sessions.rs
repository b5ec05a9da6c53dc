//! Items 32, 34, 35, 47: connections that are slow, that fight, that use up the system, that bring bad packets.

use crate::support::source;
use ravelin_attacks::node::Setup;
use ravelin_attacks::wire::{DISCONNECT, PINGREQ, binary, packet, subscribe};
use ravelin_attacks::{Connect, MIB, Node, Peer, Publish, Trial, hex};
use rustix::process::Signal;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
const SESSION_TAKEN_OVER: u8 = 0x8E;

/// A reader that takes nothing from a topic that many publish to: what waits for it is bounded, then it is dropped.
#[test]
fn a32_slow_readers_of_a_busy_topic() {
    let mut node =
        Node::open("outbound_bytes_max = \"1MiB\"\nstall_timeout = \"1s\"\nqueue_bytes_max = \"2MiB\"");
    let trial = Trial::begin(&node, 96 * MIB);
    let mut slow: Vec<Peer> = (0..20)
        .map(|number| {
            let mut peer = Peer::try_open(node.address(), source(number), Some(4096)).expect("a connection");
            assert_eq!(
                peer.greet(&Connect::v5(format!("slow{number}"))).map(|connack| connack.reason()),
                Some(0)
            );
            assert!(peer.subscribe("a32/#", (number % 2) as u8) <= 1);
            peer
        })
        .collect();
    let mut publisher = Peer::connect(node.address(), &Connect::v5("publisher"));
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_secs(2) {
        publisher.send(&Publish::new("a32/x", vec![b'x'; 20_000]).qos(1, 1).to_bytes());
        publisher.expect(4);
        sent += 1;
    }
    for peer in &mut slow {
        node.expect_disconnected(peer.address, "slow_reader");
    }
    println!("{sent} messages");
    trial.finish(&mut node);
}

/// A client that asks and never reads the answers: it must not be listened to while its answers pile up.
#[test]
fn a32_requests_whose_answers_are_not_read() {
    let mut node = Node::open("outbound_bytes_max = \"1MiB\"");
    let trial = Trial::begin(&node, 32 * MIB);
    let pings = PINGREQ.repeat(32 << 10);
    let subscribes =
        subscribe(1, &(0..200).map(|at| (format!("a32/{at}"), 0)).collect::<Vec<_>>()).repeat(20);
    let publishes = Publish::new("a32/none", "").qos(1, 1).to_bytes().repeat(4000);
    for (number, flood) in [pings, subscribes, publishes].into_iter().enumerate() {
        let mut peer = Peer::try_open(node.address(), source(number), Some(4096)).expect("a connection");
        peer.greet(&Connect::v5(format!("deaf{number}")));
        peer.socket().set_write_timeout(Some(Duration::from_millis(300))).expect("a time limit");
        let started = Instant::now();
        let mut floods = 0;
        while started.elapsed() < Duration::from_secs(2) && peer.try_send(&flood).is_ok() {
            floods += 1;
        }
        println!("{floods} floods of {} bytes", flood.len());
        // Its own doing: it may stay, or be gone, but it was not fed without end.
        std::mem::forget(peer);
    }
    trial.finish(&mut node);
}

/// A few who flood with all they have do not keep those behind them from being read.
#[test]
fn a32_floods_of_many() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 64 * MIB);
    let address = node.address();
    let floods: Vec<_> = (0..40)
        .map(|number| {
            std::thread::spawn(move || {
                let mut peer =
                    Peer::connect_from(address, source(number), &Connect::v5(format!("flood{number}")));
                let burst = Publish::new(format!("flood/{number}"), vec![b'x'; 60_000]).to_bytes().repeat(10);
                let started = Instant::now();
                while started.elapsed() < Duration::from_secs(2) {
                    peer.send(&burst);
                }
            })
        })
        .collect();
    for flood in floods {
        flood.join().expect("the flood");
    }
    trial.finish(&mut node);
}

/// A reader that takes a byte now and then is as slow as one that takes none: the kernel has room for more only when a
/// good part of its buffer was taken, and that must happen within `stall_timeout`.
#[test]
fn a32_a_reader_that_trickles() {
    let mut node = Node::open("outbound_bytes_max = \"1MiB\"\nstall_timeout = \"1s\"");
    let trial = Trial::begin(&node, 48 * MIB);
    let mut slow = Peer::try_open(node.address(), source(0), Some(4096)).expect("a connection");
    assert_eq!(slow.greet(&Connect::v5("trickle")).map(|connack| connack.reason()), Some(0));
    assert_eq!(slow.subscribe("a32/trickle", 0), 0);
    let mut socket = slow.socket().try_clone().expect("the socket");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut taken = 0;
            while !done.load(Ordering::Relaxed) && matches!(socket.read(&mut [0]), Ok(1)) {
                taken += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(taken > 20, "it took {taken} bytes");
        });
        let mut publisher = Peer::connect(node.address(), &Connect::v5("publisher"));
        for _ in 0..300 {
            publisher.send(&Publish::new("a32/trickle", vec![b'x'; 20_000]).to_bytes());
        }
        publisher.ping();
        node.expect_disconnected(slow.address, "slow_reader");
        done.store(true, Ordering::Relaxed);
    });
    trial.finish(&mut node);
}

/// SlowITe, SlowTT, CVE-2020-13849: a Keep Alive of 65535 s is not granted, and single bytes do not keep one alive.
#[test]
fn a32_slow_writers_and_long_keep_alives() {
    let mut node = Node::open("keep_alive_max = \"60s\"\nconnect_deadline = \"1s\"");
    let trial = Trial::begin(&node, 16 * MIB);
    for keep_alive in [0, 61, 65_535] {
        let mut peer = Peer::open(node.address());
        let connack = peer.greet(&Connect::v5("patient").keep_alive(keep_alive)).expect("an answer");
        assert!(
            connack.body.windows(3).any(|bytes| bytes == [0x13, 0, 60]),
            "Server Keep Alive 60: {connack:02x?}"
        );
    }
    let mut mute: Vec<Peer> = (0..50).map(|number| Peer::open_from(node.address(), source(number))).collect();
    let mut slow = Peer::connect(node.address(), &Connect::v5("slow").keep_alive(1));
    let started = Instant::now();
    slow.send(&hex("30f0ff3f"));
    let answer = loop {
        let _ = slow.try_send(b"x");
        if let Some(packet) = slow.poll(Duration::from_millis(100)) {
            break packet;
        }
        assert!(started.elapsed() < Duration::from_secs(5), "a byte now and then keeps it alive");
    };
    assert_eq!(answer.reason(), KEEP_ALIVE_TIMEOUT);
    node.expect_disconnected(slow.address, "keep_alive");
    for peer in &mut mute {
        assert_eq!(peer.read(), None);
        node.expect_refused(peer.address, &["connect_deadline"]);
    }
    trial.finish(&mut node);
}

/// A client of 3.1.1 cannot be told of another Keep Alive; silence beyond the longest one ends it all the same.
#[test]
fn a32_clients_of_3_1_1_that_ask_for_no_keep_alive() {
    let mut node = Node::open("keep_alive_max = \"1s\"");
    let trial = Trial::begin(&node, 16 * MIB);
    for keep_alive in [0, 65_535] {
        let mut silent = Peer::connect(node.address(), &Connect::v311("silent").keep_alive(keep_alive));
        assert_eq!(silent.read(), None, "Keep Alive {keep_alive}: the connection ends");
        node.expect_disconnected(silent.address, "keep_alive");
    }
    trial.finish(&mut node);
}

/// Two clients fight for one identifier as fast as they can.
#[test]
fn a34_takeover_fight() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 32 * MIB);
    let address = node.address();
    let mut owner = Peer::connect(address, &Connect::v5("prey").lasting());
    owner.subscribe("a34/prey", 1);
    let fighters: Vec<_> = (0..2)
        .map(|number| {
            std::thread::spawn(move || {
                let started = Instant::now();
                let mut rounds = 0;
                let mut last = None;
                while started.elapsed() < Duration::from_secs(2) {
                    let mut peer = Peer::open_from(address, source(number));
                    let connack = peer.greet(&Connect::v5("prey").lasting());
                    assert!(connack.is_none_or(|connack| connack.reason() == 0));
                    rounds += 1;
                    last = Some(peer);
                }
                (rounds, last.map(|mut peer| peer.poll(Duration::from_millis(1))))
            })
        })
        .collect();
    let rounds: u32 = fighters.into_iter().map(|fighter| fighter.join().expect("it fought").0).sum();
    let told: Vec<u8> = owner.read_to_close().iter().map(|packet| packet.reason()).collect();
    assert_eq!(told, [SESSION_TAKEN_OVER]);
    println!("{rounds} rounds");
    // The session has come through, with its subscription.
    let mut survivor = Peer::connect(address, &Connect::v5("prey").lasting());
    let mut publisher = Peer::connect(address, &Connect::v5("publisher"));
    publisher.send(&Publish::new("a34/prey", "x").qos(1, 1).to_bytes());
    assert_eq!(survivor.expect(3).topic(), "a34/prey");
    node.expect("client.disconnected", &[("client_id", "prey"), ("cause", "taken_over")]);
    trial.finish(&mut node);
}

/// CVE-2026-95847, GHSA-52qw-whmv-87c5: identifiers made to collide with keys of a store do not, also after a restart.
#[test]
fn a34_crafted_client_ids_do_not_share_sessions() {
    let ids = [
        "a",
        "a/b",
        "a:b",
        "a\\b",
        "A",
        "__proto__",
        "constructor",
        "../a",
        "a*",
        "a%",
        "a%00",
        "a|b",
        "a b",
        "'; DROP TABLE",
        "\u{e9}",
        "e\u{301}",
        "0",
        "00",
        "null",
    ];
    let node = Setup::default().durable().start();
    let trial = Trial::begin(&node, 32 * MIB);
    for (number, id) in ids.iter().enumerate() {
        let mut peer = Peer::connect(node.address(), &Connect::v5(id).lasting());
        assert_eq!(peer.subscribe(&format!("a34/{number}"), 1), 1);
        peer.send(DISCONNECT);
        peer.read_to_close();
    }
    let mut node = node;
    trial.finish(&mut node);
    let (_, setup) = node.kill();
    let mut node = setup.start();
    let trial = Trial::begin(&node, 32 * MIB);
    let mut publisher = Peer::connect(node.address(), &Connect::v5("publisher"));
    for number in 0..ids.len() {
        publisher.send(&Publish::new(format!("a34/{number}"), "x").qos(1, 1).to_bytes());
        assert_eq!(publisher.expect(4).reason(), 0);
    }
    for (number, id) in ids.iter().enumerate() {
        let mut peer = Peer::open(node.address());
        let connack = peer.greet(&Connect::v5(id).lasting()).expect("an answer");
        assert_eq!(connack.body[..2], [1, 0], "the session of {id:?} is there");
        let topics: Vec<String> = peer.drain().iter().map(|message| message.topic()).collect();
        assert_eq!(topics, [format!("a34/{number}")], "{id:?}");
    }
    trial.finish(&mut node);
}

/// CVE-2017-7652: out of file descriptors, a reload fails, and what was closed stays closed.
#[test]
fn a35_file_descriptors_exhausted_then_reload() {
    let listener = "transport = \"tcp\"\nbind_client_id = \"none\"\nauthentication = [\"password\"]";
    let setup = Setup::default().listener(listener).open_listener().passwords(&[("witness", "right")]);
    let mut node =
        setup.rules("topic readwrite witness/#\nuser witness\ntopic readwrite allowed/#\n").start();
    let trial = Trial::begin_at(&node, 32 * MIB, node.addresses[1]);
    let closed = node.address();
    let login = Connect::v5("before").user("witness", "right");
    let mut before = Peer::connect(closed, &login);
    node.limit_files(node.open_files() as u64 + 40);
    let mut hogs = Vec::new();
    for number in 0..120 {
        match Peer::try_open(closed, source(number), None) {
            Ok(peer) => hogs.push(peer),
            Err(_) => break,
        }
    }
    node.expect("node.resource_exhausted", &[("resource", "file descriptors")]);
    node.signal(Signal::HUP);
    let failed = node.expect_where("the end of the reload", |event| event.id().starts_with("node.reload"));
    assert_eq!(failed.id(), "node.reload_failed", "with no descriptor left, no file can be read");
    // The one who is in has the rights it had, no more.
    before.send(&Publish::new("forbidden/x", "").qos(1, 1).to_bytes());
    assert_eq!(before.expect(4).reason(), 0x87);
    assert_eq!(before.subscribe("forbidden/#", 0), 0x87);
    assert_eq!(before.subscribe("allowed/#", 0), 0);
    drop(hogs);
    // Descriptors are free again: strangers are still refused, and who is known gets in.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut stranger = Peer::open(closed);
        match stranger.greet(&Connect::v5("stranger")) {
            Some(connack) => break assert!(connack.reason() >= 0x80, "the node opened up"),
            None => assert!(Instant::now() < deadline, "the node does not recover"),
        }
    }
    let mut wrong = Peer::open(closed);
    assert_eq!(
        wrong.greet(&Connect::v5("w").user("witness", "wrong")).map(|connack| connack.reason()),
        Some(0x86)
    );
    let mut after = Peer::connect(closed, &Connect::v5("after").user("witness", "right"));
    assert_eq!(after.subscribe("forbidden/#", 0), 0x87);
    node.signal(Signal::HUP);
    node.expect("node.reloaded", &[]);
    assert_eq!(after.subscribe("allowed/#", 0), 0);
    trial.finish(&mut node);
}

/// CVE-2026-95842: bad packets of some, thousands of them, end nobody else's connection.
#[test]
fn a47_one_bad_packet_ends_one_connection() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 48 * MIB);
    let mut others: Vec<Peer> = (0..100)
        .map(|number| Peer::connect(node.address(), &Connect::v5(format!("other{number}"))))
        .collect();
    for peer in &mut others {
        peer.subscribe("a47/others", 0);
    }
    let samples = [
        Connect::v5("m")
            .properties(&hex("11000000ff 210014 22000a 170119 01"))
            .will("w", "p")
            .user("u", "p")
            .to_bytes(),
        Publish::new("a47/topic", "payload")
            .qos(2, 7)
            .properties(hex("0101 0200000005 23 0001 080001 72"))
            .to_bytes(),
        subscribe(1, &[("a47/+/#", 2), ("$share/g/a47", 1)]),
        packet(0xA2, &[&hex("0001 00")[..], &binary("a47/+/#")].concat()),
        packet(0x62, &hex("0007 92 05 1f 0002 6e6f")),
        packet(0xE0, &hex("04 05 11 00000005")),
        packet(0xF0, &hex("18 09 15 0001 61 16 0002 0102")),
    ];
    let mut random = 0x2545_F491_4F6C_DD1Du64;
    let mut next = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % bound as u64) as usize
    };
    for round in 0..1500 {
        let mut bytes = samples[next(samples.len())].clone();
        for _ in 0..=next(3) {
            let at = next(bytes.len());
            match next(4) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes[at] ^= 1 << next(8),
                2 => bytes.truncate(at + 1),
                _ => bytes.insert(at, 0xFF),
            }
        }
        let mut peer = Peer::open_from(node.address(), source(round % 200));
        if round % 3 > 0 {
            peer.greet(&Connect { level: 4 + (round % 2) as u8, ..Connect::v5(format!("m{}", round % 50)) });
        }
        let _ = peer.try_send(&bytes);
        // Every tenth waits for what comes of it; the others are gone at once.
        if round % 10 == 0 {
            let _ = peer.poll(Duration::from_millis(5));
        }
    }
    let mut publisher = Peer::connect(node.address(), &Connect::v5("publisher"));
    publisher.send(&Publish::new("a47/others", "x").qos(1, 1).to_bytes());
    for peer in &mut others {
        assert_eq!(peer.expect(3).topic(), "a47/others");
    }
    trial.finish(&mut node);
}
