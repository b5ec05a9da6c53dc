//! Item 44: TLS.

use crate::support::source;
use ravelin_attacks::node::Setup;
use ravelin_attacks::secure::{Authority, Identity, listener, tls};
use ravelin_attacks::witness::Witness;
use ravelin_attacks::{Connect, MIB, Node, Peer, Trial, hex};
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A node that asks for client certificates, and how those who have one connect.
struct Fortress {
    node: Node,
    authority: Authority,
    member: Arc<ClientConfig>,
}

fn fortress(limits: &str) -> Fortress {
    let authority = Authority::default();
    let server = authority.server();
    let node = Setup::default()
        .listener(&format!("{}bind_client_id = \"none\"", listener("tls", "required")))
        .file("ca.crt", authority.certificate.as_bytes())
        .file("server.crt", server.certificate.as_bytes())
        .file("server.key", server.key.as_bytes())
        .limits(limits)
        .start();
    let member = authority.config(Some((&authority.client("member", 0), &[])));
    Fortress { node, authority, member }
}

impl Fortress {
    fn address(&self) -> SocketAddr {
        self.node.address()
    }

    fn begin(&self, growth_max: u64) -> Trial {
        let (address, member) = (self.address(), Arc::clone(&self.member));
        Trial::begin_with(
            &self.node,
            growth_max,
            Witness::start(move |client_id| enter(address, &member, client_id)),
        )
    }
}

fn enter(address: SocketAddr, config: &Arc<ClientConfig>, client_id: &str) -> Peer {
    let mut peer = tls(address, config).expect("a connection");
    let connack = peer.greet(&Connect::v5(client_id)).expect("an answer");
    assert_eq!(connack.reason(), 0);
    peer
}

/// A ClientHello, as far as `length`, that nothing follows.
fn client_hello(length: usize) -> Vec<u8> {
    let authority = Authority::default();
    let name = rustls::pki_types::ServerName::try_from("node").expect("a name");
    let mut client = rustls::ClientConnection::new(authority.config(None), name).expect("a client");
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).expect("bytes");
    }
    bytes.truncate(length);
    bytes
}

/// Many who begin a handshake and stop: after nothing, after half a ClientHello, after a whole one.
#[test]
fn a44_handshakes_that_stall() {
    let mut fortress = fortress("connect_deadline = \"1500ms\"");
    let trial = fortress.begin(32 * MIB);
    let hello = client_hello(usize::MAX);
    let started = Instant::now();
    let mut stalled: Vec<Peer> = (0..300)
        .map(|number| {
            let mut peer = Peer::open_from(fortress.address(), source(number));
            peer.send(&hello[..hello.len() * (number % 3) / 2]);
            peer
        })
        .collect();
    for peer in &mut stalled {
        peer.read_bytes_to_close();
    }
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
    for peer in stalled.iter().take(10) {
        fortress.node.expect_refused(peer.address, &["connect_deadline"]);
    }
    trial.finish(&mut fortress.node);
}

/// Handshakes as fast as they can be asked for, from those who will not finish them and from those who do.
#[test]
fn a44_handshake_flood() {
    let mut fortress = fortress("pre_auth_max = 64");
    let trial = fortress.begin(48 * MIB);
    let hello = client_hello(usize::MAX);
    let (address, member) = (fortress.address(), Arc::clone(&fortress.member));
    let flood = std::thread::spawn(move || {
        let started = Instant::now();
        let mut held = std::collections::VecDeque::new();
        while started.elapsed() < Duration::from_secs(2) {
            if let Ok(mut peer) = Peer::try_open(address, source(0), None) {
                let _ = peer.try_send(&hello);
                held.push_back(peer);
            }
            if held.len() > 100 {
                held.pop_front();
            }
        }
    });
    flood.join().expect("the flood");
    // The door is not shut for good: a client whose slot was taken gets in as soon as one is free.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut peer = tls(address, &member).expect("a connection");
        if peer.greet(&Connect::v5("late")).is_some_and(|connack| connack.reason() == 0) {
            break;
        }
        assert!(Instant::now() < deadline, "no room after the flood");
    }
    fortress.node.expect("connection.refused", &[("why", "too_many_connections")]);
    trial.finish(&mut fortress.node);
}

/// MQTT, HTTP and noise in plain text to a TLS port; a TLS record that lies; renegotiation is not in TLS as spoken here.
#[test]
fn a44_plain_text_and_bad_records() {
    let mut fortress = fortress("");
    let trial = fortress.begin(16 * MIB);
    let hello = client_hello(usize::MAX);
    let mut altered = hello.clone();
    altered[20..60].fill(0xFF);
    let samples: [Vec<u8>; 8] = [
        Connect::v5("plain").to_bytes(),
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n".to_vec(),
        vec![0; 2000],
        hex("1603 0100 00"),                                    // a record of nothing
        hex("1603 01ff ff"),                                    // larger than a record may be
        hex("1703 0300 10 00000000000000000000000000000000"),   // data before the handshake
        hex("1503 0300 02 02 28"),                              // an alert first
        [&hex("16030100 ff 01ffffff")[..], &[0; 300]].concat(), // a ClientHello of 16 MiB
    ];
    for (number, bytes) in samples.iter().chain([&altered]).enumerate() {
        let mut peer = Peer::open_from(fortress.address(), source(number));
        let _ = peer.try_send(bytes);
        // What claims to go on is waited for until the deadline; then it ends like the others.
        let _ = peer.socket().shutdown(std::net::Shutdown::Write);
        let answer = peer.read_bytes_to_close();
        assert!(!answer.windows(2).any(|window| window == [0x20, 2]), "no CONNACK in plain text");
    }
    for number in [0, 1, 2] {
        let from = source(number).to_string();
        fortress.node.expect_where("the refusal of plain text", |event| {
            event.is("connection.refused", &[("why", "tls")]) && event.text("address").starts_with(&from)
        });
    }
    trial.finish(&mut fortress.node);
}

/// Chains that are large, of strangers, or both: verified within bounds, refused with a reason.
#[test]
fn a44_client_chains() {
    let mut fortress = fortress("");
    let address = fortress.address();
    let trial = fortress.begin(32 * MIB);
    let stranger = Authority::default();
    let attempt = |config: &Arc<ClientConfig>| {
        let mut peer = tls(address, config).expect("a connection");
        let connack = peer.greet(&Connect::v5("chain"));
        (peer.address, connack.map(|connack| connack.reason()))
    };
    // Strangers, of the same name, with the true CA's certificate behind theirs.
    let forged = stranger.client("member", 0);
    let ca = fortress.authority.certificate.clone();
    let forged = fortress.authority.config(Some((&forged, &[&ca])));
    let nobody = fortress.authority.config(None);
    for config in [&forged, &nobody] {
        let (from, reason) = attempt(config);
        assert_ne!(reason, Some(0), "a stranger got in");
        fortress.node.expect_refused(from, &["bad_certificate", "no_certificate", "tls"]);
    }
    // About 60 KB of names in one certificate, and the same as certificates that are not needed.
    let large = fortress.authority.client("large", 900);
    assert!(large.certificate.len() > 60_000, "{}", large.certificate.len());
    let padding: Vec<Identity> = (0..3).map(|_| stranger.client("padding", 250)).collect();
    let behind: Vec<&str> = padding.iter().map(|identity| identity.certificate.as_str()).collect();
    let padded = fortress.authority.config(Some((&fortress.authority.client("padded", 0), &behind)));
    let large = fortress.authority.config(Some((&large, &[])));
    for _ in 0..10 {
        // Either is fine: it is a member's, only large. What it must not do is cost others anything.
        attempt(&large);
        attempt(&padded);
    }
    trial.finish(&mut fortress.node);
}
