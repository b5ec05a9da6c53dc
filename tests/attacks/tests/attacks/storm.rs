//! Item 50: all clients come back at once after a restart. That is no attack, and must not be taken for one.

use crate::lockout::quick_passwords;
use crate::support::source;
use ravelin_attacks::node::Setup;
use ravelin_attacks::{Connect, Peer};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CLIENTS: usize = 3000;
/// They share these, as fleets do.
const USERS: usize = 40;
/// Of three clients, one is behind this address.
const NAT: usize = 200;
/// Connections that are being opened at once.
const THREADS: usize = 100;
/// By when all must be back.
const BACK: Duration = Duration::from_secs(60);

/// emqx#14145, mosquitto#2830.
#[test]
fn a50_reconnect_storm_after_a_restart() {
    let users: Vec<String> = (0..USERS).map(|number| format!("user{number}")).collect();
    let listener = "transport = \"tcp\"\nbind_client_id = \"none\"\nauthentication = [\"password\"]";
    let setup = Setup::default()
        .listener(listener)
        .section("[authentication]\npassword_file = \"passwords\"")
        .file("passwords", quick_passwords(users.iter().map(String::as_str)).as_bytes())
        .limits("exempt_loopback = false")
        .durable();
    let node = setup.start();
    let connected = storm(node.address(), None);
    assert_eq!(connected.len(), CLIENTS);
    // As a crash leaves it: nobody was told, everybody notices at once.
    let (_, setup) = node.kill();
    drop(connected);

    let mut node = setup.start();
    let stop = Arc::new(AtomicBool::new(false));
    let misconfigured = std::thread::spawn({
        let (address, stop) = (node.address(), Arc::clone(&stop));
        move || {
            // Among those behind the NAT there is one whose password is wrong, and it never gives up.
            while !stop.load(Ordering::Relaxed) {
                if let Ok(mut peer) = Peer::try_open(address, source(NAT), None) {
                    peer.greet(&Connect::v5("misconfigured").user("user3", "wrong"));
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        }
    });
    let started = Instant::now();
    let connected = storm(node.address(), Some(started + BACK));
    let took = started.elapsed();
    stop.store(true, Ordering::Relaxed);
    misconfigured.join().expect("it ends");
    println!("{} clients were back after {took:?}", connected.len());
    assert_eq!(connected.len(), CLIENTS, "all came back");
    let wronged = |id: &str| {
        node.events()
            .iter()
            .filter(|event| event.id() == id && event.text("client_id") != "misconfigured")
            .count()
    };
    assert_eq!((wronged("login.failed"), wronged("login.locked_out")), (0, 0));
    node.assert_healthy();
    for (mut peer, _) in connected.into_iter().step_by(100) {
        peer.ping();
    }
}

/// All clients connect, each as often as it must; returns those that did.
fn storm(node: SocketAddr, deadline: Option<Instant>) -> Vec<(Peer, usize)> {
    let (next, connected) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CLIENTS {
                        return;
                    }
                    if let Some(peer) = come(node, number, deadline) {
                        connected.lock().expect("no panic").push((peer, number));
                    }
                }
            });
        }
    });
    connected.into_inner().expect("no panic")
}

/// One client, with the patience that clients have.
fn come(node: SocketAddr, number: usize, deadline: Option<Instant>) -> Option<Peer> {
    let from = if number.is_multiple_of(3) { NAT } else { number % 50 };
    let user = format!("user{}", number % USERS);
    let connect = Connect::v5(format!("client{number}")).user(&user, "right").lasting();
    let mut pause = Duration::from_millis(50);
    loop {
        if let Ok(mut peer) = Peer::try_open(node, source(from), None)
            && let Some(connack) = peer.greet(&connect)
        {
            match connack.reason() {
                0 => return Some(peer),
                // Busy: it comes again. Everything else is a false accusation.
                0x88 | 0x89 => {}
                other => panic!("client{number} was refused with {other:02x}"),
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return None;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}
