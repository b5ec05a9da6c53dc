//! Item 43: WebSocket, which lets web pages and their frames in.

use crate::support::source;
use ravelin_attacks::node::Setup;
use ravelin_attacks::websocket::{BINARY, WebSocket, frame, request};
use ravelin_attacks::wire::PINGREQ;
use ravelin_attacks::{Connect, MIB, Node, Peer, Publish, Trial, hex};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const PROTOCOL: &str = "Sec-WebSocket-Protocol: mqtt";

/// A node whose second listener is for WebSocket.
fn node(limits: &str) -> (Node, SocketAddr) {
    let listener = "transport = \"ws\"\nbind_client_id = \"none\"\ndangerous_anonymous = true\n\
                    allowed_origins = [\"https://plant.example\"]";
    let node = Setup::default().open_listener().listener(listener).limits(limits).start();
    let address = node.addresses[1];
    (node, address)
}

/// A connection whose opening handshake has succeeded, with nothing of MQTT on it yet.
fn opened(address: SocketAddr, number: usize) -> Peer {
    let mut peer = Peer::open_from(address, source(number));
    peer.send(&request("/mqtt", &[PROTOCOL]));
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut peer.socket(), &mut byte).expect("an answer");
        head.extend(byte);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    peer
}

/// CVE-2026-67405: pages of other origins, clients that do not offer `mqtt`, requests that are none, heads without end.
#[test]
fn a43_opening_handshakes() {
    let (mut node, address) = node("connect_deadline = \"1s\"");
    let trial = Trial::begin(&node, 16 * MIB);
    let endless = [&request("/mqtt", &[PROTOCOL])[..40], &vec![b'a'; 100_000]].concat();
    let refused: [(Vec<u8>, &str); 10] = [
        (request("/mqtt", &[PROTOCOL, "Origin: https://evil.example"]), "403"),
        (request("/mqtt", &[PROTOCOL, "Origin: null"]), "403"),
        (request("/mqtt", &[PROTOCOL, "Origin: https://plant.example.evil.example"]), "403"),
        (request("/mqtt", &[]), "400"),
        (request("/mqtt", &["Sec-WebSocket-Protocol: chat"]), "400"),
        (request("/admin", &[PROTOCOL]), "404"),
        (b"POST /mqtt HTTP/1.1\r\n\r\n".to_vec(), "405"),
        (Connect::v5("plain").to_bytes(), "405"),
        (hex("16030100f4010000f00303"), "405"),
        (endless, "431"),
    ];
    for (number, (bytes, status)) in refused.into_iter().enumerate() {
        let mut peer = Peer::open_from(address, source(number));
        let _ = peer.try_send(&bytes);
        let answer = String::from_utf8_lossy(&peer.read_bytes_to_close()).into_owned();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer:?}");
        assert!(!answer.to_lowercase().contains("ravelin"), "the answer names the product");
        node.expect_refused(peer.address, &["web_socket"]);
    }
    // Heads that come byte by byte have the same deadline as everything before CONNECT.
    let mut slow: Vec<Peer> = (20..60).map(|number| Peer::open_from(address, source(number))).collect();
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(500) {
        for peer in &mut slow {
            let _ = peer.try_send(b"GET / HTTP"[..1].as_ref());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    for peer in &mut slow {
        peer.read_bytes_to_close();
    }
    assert!(started.elapsed() < Duration::from_secs(4));
    // The page that is listed, and a client that is no browser, get in.
    let mut page = Peer::open(address);
    page.send(&request("/mqtt", &[PROTOCOL, "Origin: https://plant.example"]));
    let mut head = [0; 12];
    std::io::Read::read_exact(&mut page.socket(), &mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 101");
    trial.finish(&mut node);
}

/// GO-2026-4533 and the like: frames that lie about their length, break the framing, or are text.
#[test]
fn a43_frames() {
    let (mut node, address) = node("");
    let trial = Trial::begin(&node, 16 * MIB);
    let connect = Connect::v5("ws").to_bytes();
    let bad: [(Vec<u8>, u16); 14] = [
        (hex("82ff7fffffffffffffff 01020304"), 1009), // 2^63 - 1 bytes
        (hex("82ffffffffffffffffff 01020304"), 1009), // 2^64 - 1 bytes
        (hex("82ff0000000000000000 01020304"), 1002), // an extended length of 0
        (hex("82fe0000 01020304"), 1002),
        (frame(0x81, &connect), 1003), // text (MQTT-6.0.0-1)
        (frame(0x01, b"a"), 1003),
        (hex("820210 00"), 1002),      // not masked
        (frame(0xC2, &connect), 1002), // reserved bits
        (frame(0x83, &connect), 1002), // reserved opcodes
        (frame(0x8F, b""), 1002),
        (frame(0x80, &connect), 1002), // a continuation of nothing
        ([frame(0x02, b"\x10"), frame(0x82, &connect)].concat(), 1002), // a message within a message
        (frame(0x09, b""), 1002),      // a fragmented ping
        (hex("89fe0080 01020304"), 1002), // a ping of 128 bytes
    ];
    for (number, (bytes, code)) in bad.into_iter().enumerate() {
        let mut peer = opened(address, number);
        let _ = peer.try_send(&bytes);
        let answer = peer.read_bytes_to_close();
        let close = [&[0x88, 2][..], &code.to_be_bytes()].concat();
        assert!(answer.ends_with(&close), "{bytes:02x?}: {answer:02x?}");
        node.expect_refused(peer.address, &["web_socket"]);
    }
    // 200 connections claim a frame of 1 MiB each and send little of it.
    let hoard: Vec<Peer> = (0..200)
        .map(|number| {
            let mut peer = opened(address, 100 + number % 50);
            peer.send(&hex("82ff0000000000100000 01020304 1111"));
            peer
        })
        .collect();
    // What is wrong after CONNECT ends the client's connection, and is told as such.
    let mut peer = opened(address, 90);
    peer.send(&frame(BINARY, &connect));
    let mut connack = [0; 6];
    std::io::Read::read_exact(&mut peer.socket(), &mut connack).expect("a frame with CONNACK");
    assert_eq!((connack[0], connack[2], connack[5]), (BINARY, 0x20, 0), "{connack:02x?}");
    peer.send(&frame(0x81, PINGREQ));
    peer.read_bytes_to_close();
    node.expect_disconnected(peer.address, "protocol_error");
    drop(hoard);
    trial.finish(&mut node);
}

/// Packets in fragments and frames of one byte, many packets in one frame, pings in between: all the same to MQTT.
#[test]
fn a43_fragmented_mqtt() {
    let (mut node, address) = node("");
    let trial = Trial::begin(&node, 16 * MIB);
    let connect = Connect::v5("fragments").to_bytes();
    let mut peer = opened(address, 0);
    let mut bytes = frame(0x02, &connect[..1]);
    for byte in &connect[1..] {
        bytes.extend(frame(0x00, &[*byte]));
        bytes.extend(frame(0x89, b"ping"));
        bytes.extend(frame(0x00, b""));
    }
    bytes.extend(frame(0x80, &PINGREQ.repeat(3)));
    for chunk in bytes.chunks(7) {
        peer.send(chunk);
    }
    let expected = connect.len() - 1;
    let mut answers = Vec::new();
    while answers.windows(6).filter(|window| window == b"\x8a\x04ping").count() < expected
        || answers.windows(2).filter(|window| window == &[0xD0, 0]).count() < 3
    {
        let mut chunk = [0; 4096];
        let count = std::io::Read::read(&mut peer.socket(), &mut chunk).expect("answers");
        assert!(count > 0, "closed: {answers:02x?}");
        answers.extend_from_slice(&chunk[..count]);
    }
    // A ping flood whose pongs are not read ends; it does not pile up.
    let mut flood = Peer::try_open(address, source(1), Some(4096)).expect("a connection");
    flood.send(&request("/mqtt", &[PROTOCOL]));
    flood.socket().set_write_timeout(Some(Duration::from_millis(300))).expect("a time limit");
    let pings = frame(0x89, &[b'p'; 125]).repeat(500);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) && flood.try_send(&pings).is_ok() {}
    // Service over WebSocket is the same as over TCP.
    let socket = TcpStream::connect(address).expect("a connection");
    let stream = WebSocket::open(socket.try_clone().expect("a socket"), "/mqtt").expect("a handshake");
    let mut client = Peer::over(Box::new(stream), socket);
    assert_eq!(client.greet(&Connect::v5("client")).map(|connack| connack.reason()), Some(0));
    client.subscribe("a43", 0);
    client.send(&Publish::new("a43", vec![b'x'; 100_000]).to_bytes());
    assert_eq!(client.expect(3).body.len(), 100_006);
    trial.finish(&mut node);
}
