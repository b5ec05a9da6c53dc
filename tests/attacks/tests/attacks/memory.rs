//! A ceiling for the memory of the whole node, and what is given up below it: never what was acknowledged.

use crate::support::source;
use ravelin_attacks::node::Setup;
use ravelin_attacks::wire::ack;
use ravelin_attacks::{Connect, MIB, Peer, Publish};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CEILING: u64 = 200;
const PAYLOAD: usize = 32 << 10;

/// Readers that do not read, a flood of QoS 0 for them, and QoS 1 that must survive all of it.
#[test]
fn a_flood_stays_below_the_ceiling_and_loses_nothing_acknowledged() {
    let limits =
        format!("memory_max = \"{CEILING}MiB\"\noutbound_bytes_max = \"32MiB\"\nstall_timeout = \"10m\"");
    let mut node = Setup::default().limits(&limits).start();
    let address = node.address();
    let keeper = Connect::v5("keeper").lasting();
    Peer::connect(address, &keeper).subscribe("keep/#", 1);
    let mut readers: Vec<Peer> = (0..24)
        .map(|number| {
            let mut peer = Peer::try_open(address, source(number), Some(4096)).expect("a connection");
            assert_eq!(peer.greet(&Connect::v5(format!("reader{number}"))).expect("a CONNACK").reason(), 0);
            // Each its own: what goes to several is in memory once.
            peer.subscribe(&format!("flood/{number}"), 0);
            peer
        })
        .collect();
    let mut publisher = Peer::connect_from(address, source(100), &Connect::v5("publisher"));
    node.forget_memory_peak();
    let stop = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut peer = Peer::connect_from(address, source(101), &Connect::v5("flooder"));
            let each = |number| Publish::new(format!("flood/{number}"), vec![b'f'; PAYLOAD]).to_bytes();
            let round: Vec<u8> = (0..24).flat_map(each).collect();
            while !stop.load(Ordering::Relaxed) && peer.try_send(&round).is_ok() {}
        }
    });
    // What is acknowledged is kept for whoever is away, however slowly it goes.
    let (mut acknowledged, started) = (0u16, Instant::now());
    while started.elapsed() < Duration::from_secs(12) {
        acknowledged += 1;
        let mut payload = vec![b'k'; PAYLOAD];
        payload[..2].copy_from_slice(&acknowledged.to_be_bytes());
        publisher.send(&Publish::new("keep/x", payload).qos(1, acknowledged).to_bytes());
        assert_eq!(publisher.expect(4).reason() & 0x80, 0);
        std::thread::sleep(Duration::from_millis(5));
    }
    let short = node.expect_where("what is given up, and why", |event| {
        event.id() == "node.memory" && matches!(event.text("stage"), "shedding" | "cutting")
    });
    assert_eq!(short.number("ceiling_bytes"), CEILING * MIB);
    let peak = node.memory_peak();
    println!("{acknowledged} were acknowledged; the peak was {} MiB of {CEILING}", peak >> 20);
    assert!(peak < (CEILING + 32) * MIB, "{} MiB", peak >> 20);
    stop.store(true, Ordering::Relaxed);
    for reader in readers.drain(..) {
        reader.reset();
    }
    flood.join().expect("the flood ends");
    // Nothing waits any more but what was acknowledged: everybody is welcome again.
    let mut peer = come_back(address, &keeper);
    for number in 1..=acknowledged {
        let message = peer.expect(3);
        let payload = &message.body[message.body.len() - PAYLOAD..];
        assert_eq!(payload[..2], number.to_be_bytes(), "in order, and none is missing");
        peer.send(&ack(0x40, message.publish_id()));
    }
    assert!(peer.drain().is_empty());
    node.assert_healthy();
}

fn come_back(address: std::net::SocketAddr, connect: &Connect) -> Peer {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(mut peer) = Peer::try_open(address, source(0), None)
            && peer.greet(connect).is_some_and(|connack| connack.reason() == 0)
        {
            return peer;
        }
        assert!(Instant::now() < deadline, "new connections are still refused");
        std::thread::sleep(Duration::from_millis(100));
    }
}
