//! `pub` and `sub` against a broker that plays a script: what Mosquitto never does, but the protocol allows.

use ravelin_mqtt::{
    Ack, AckKind, Auth, ConnAck, Disconnect, Packet, Properties, PublishOut, QoS, ReasonCode, Sender, SubAck,
    Version, decode, encode_ack, encode_auth, encode_connack, encode_disconnect, encode_pingresp,
    encode_publish, encode_suback, peek,
};
use ravelin_protect::Secret;
use ravelin_protect::scram::{ClientFirst, Mechanism, ScramServer, ScramVerifier};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// The broker's end of one connection.
struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Peer {
    fn accept(listener: &TcpListener) -> Peer {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Peer { stream, input: Vec::new() }
    }

    /// The next packet goes to `look`.
    fn read<T>(&mut self, look: impl FnOnce(Packet<'_>) -> T) -> T {
        loop {
            if let Some(frame) = peek(&self.input, u32::MAX).unwrap()
                && self.input.len() >= frame.total_len
            {
                let packet: Vec<u8> = self.input.drain(..frame.total_len).collect();
                let body = &packet[frame.header_len..];
                return look(
                    decode(frame.first, body, Version::V5, Sender::Client, &Default::default()).unwrap(),
                );
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the client closed early");
            self.input.extend_from_slice(&buffer[..count]);
        }
    }

    fn write(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        encode(&mut out);
        self.stream.write_all(&out).unwrap();
    }

    fn greet(&mut self, connack: ConnAck<'_>) {
        self.read(|packet| assert!(matches!(packet, Packet::Connect(_)), "{packet:?}"));
        self.write(|out| encode_connack(out, Version::V5, &connack));
    }

    fn grant(&mut self) {
        let packet_id = self.read(|packet| match packet {
            Packet::Subscribe(subscribe) => subscribe.packet_id,
            other => panic!("{other:?}"),
        });
        let suback = SubAck {
            packet_id,
            reason_string: None,
            properties: Properties::EMPTY,
            reasons: &[QoS::ExactlyOnce as u8],
        };
        self.write(|out| encode_suback(out, Version::V5, &suback));
    }

    fn publish(&mut self, publish: PublishOut<'_>) {
        self.write(|out| encode_publish(out, Version::V5, &publish));
    }

    fn ack(&mut self, kind: AckKind, packet_id: u16, reason: ReasonCode) {
        let ack = Ack { kind, packet_id, reason, reason_string: None, properties: Properties::EMPTY };
        self.write(|out| encode_ack(out, Version::V5, &ack));
    }

    fn expect_ack(&mut self, kind: AckKind, packet_id: u16) {
        self.read(|packet| {
            let Packet::Ack(ack) = packet else { panic!("{packet:?}") };
            assert_eq!((ack.kind, ack.packet_id), (kind, packet_id));
        });
    }

    fn expect_disconnect(&mut self) {
        self.read(|packet| assert!(matches!(packet, Packet::Disconnect(_)), "{packet:?}"));
    }
}

fn message<'a>(
    topic: &'a str,
    alias: Option<u16>,
    qos: QoS,
    packet_id: u16,
    payload: &'a [u8],
) -> PublishOut<'a> {
    PublishOut {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id,
        topic_alias: alias,
        expiry_s: None,
        subscription_ids: &[],
        forward: &[],
        payload,
    }
}

/// A listener and a `ravelin` that connects to it.
fn start(args: &[&str]) -> (TcpListener, Child) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let child = Command::new(env!("CARGO_BIN_EXE_ravelin"))
        .args(args)
        .args(["-h", "127.0.0.1", "-p", &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (listener, child)
}

fn finish(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn topic_aliases_of_the_broker_are_resolved() {
    let (listener, child) =
        start(&["sub", "-t", "#", "-v", "-C", "4", "-D", "connect", "topic-alias-maximum", "2", "-W", "20"]);
    let mut peer = Peer::accept(&listener);
    peer.greet(ConnAck::default());
    peer.grant();
    peer.publish(message("first", Some(1), QoS::AtMostOnce, 0, b"a"));
    peer.publish(message("second", Some(2), QoS::AtMostOnce, 0, b"b"));
    peer.publish(message("", Some(1), QoS::AtMostOnce, 0, b"c"));
    peer.publish(message("", Some(2), QoS::AtMostOnce, 0, b"d"));
    peer.expect_disconnect();
    drop(peer);
    assert_eq!(finish(child).1, "first a\nsecond b\nfirst c\nsecond d\n");
}

#[test]
fn aliases_that_were_not_offered_or_stand_for_nothing_are_the_brokers_fault() {
    for (maximum, alias, words) in
        [("1", 2, "alias 2 was not offered"), ("1", 1, "alias 1 stands for nothing")]
    {
        let (listener, child) =
            start(&["sub", "-t", "#", "-D", "connect", "topic-alias-maximum", maximum, "-W", "20"]);
        let mut peer = Peer::accept(&listener);
        peer.greet(ConnAck::default());
        peer.grant();
        peer.publish(message("", Some(alias), QoS::AtMostOnce, 0, b"a"));
        let (code, _, error) = finish(child);
        assert_eq!(code, Some(1));
        assert!(error.contains("the broker broke the protocol") && error.contains(words), "{error}");
    }
}

#[test]
fn a_qos_2_message_that_is_sent_again_is_printed_once() {
    let (listener, child) = start(&["sub", "-t", "#", "-q", "2", "-C", "2", "-W", "20"]);
    let mut peer = Peer::accept(&listener);
    peer.greet(ConnAck::default());
    peer.grant();
    peer.publish(message("t", None, QoS::ExactlyOnce, 7, b"once"));
    peer.expect_ack(AckKind::PubRec, 7);
    peer.publish(PublishOut { dup: true, ..message("t", None, QoS::ExactlyOnce, 7, b"once") });
    peer.expect_ack(AckKind::PubRec, 7);
    peer.ack(AckKind::PubRel, 7, ReasonCode::SUCCESS);
    peer.expect_ack(AckKind::PubComp, 7);
    // The identifier is free again: this is another message.
    peer.publish(message("t", None, QoS::ExactlyOnce, 7, b"another"));
    peer.expect_ack(AckKind::PubRec, 7);
    peer.expect_disconnect();
    drop(peer);
    assert_eq!(finish(child), (Some(0), "once\nanother\n".into(), String::new()));
}

#[test]
fn reconnecting_keeps_what_qos_2_needs_to_know() {
    let (listener, child) =
        start(&["sub", "-t", "#", "-q", "2", "-C", "2", "-W", "20", "--reconnect", "-c", "-i", "me"]);
    let mut peer = Peer::accept(&listener);
    peer.greet(ConnAck::default());
    peer.grant();
    peer.publish(message("t", None, QoS::ExactlyOnce, 7, b"once"));
    peer.expect_ack(AckKind::PubRec, 7);
    drop(peer);
    let mut peer = Peer::accept(&listener);
    peer.greet(ConnAck { session_present: true, ..ConnAck::default() });
    peer.grant();
    peer.publish(PublishOut { dup: true, ..message("t", None, QoS::ExactlyOnce, 7, b"once") });
    peer.expect_ack(AckKind::PubRec, 7);
    peer.publish(message("t", None, QoS::AtMostOnce, 0, b"another"));
    peer.expect_disconnect();
    drop(peer);
    let (code, output, error) = finish(child);
    assert_eq!((code, output.as_str()), (Some(0), "once\nanother\n"));
    assert!(error.contains("connecting again"), "{error}");
}

#[test]
fn the_servers_keep_alive_is_kept() {
    let (listener, child) = start(&["sub", "-t", "#", "-C", "1", "-W", "20"]);
    let mut peer = Peer::accept(&listener);
    peer.greet(ConnAck { server_keep_alive_s: Some(1), ..ConnAck::default() });
    peer.grant();
    for _ in 0..2 {
        peer.read(|packet| assert!(matches!(packet, Packet::PingReq), "{packet:?}"));
        peer.write(encode_pingresp);
    }
    peer.publish(message("t", None, QoS::AtMostOnce, 0, b"x"));
    peer.expect_disconnect();
    drop(peer);
    assert_eq!(finish(child).0, Some(0));
}

#[test]
fn a_broker_that_answers_no_ping_is_lost() {
    let (listener, child) = start(&["sub", "-t", "#", "-k", "1", "-W", "20"]);
    let mut peer = Peer::accept(&listener);
    peer.greet(ConnAck::default());
    peer.grant();
    let (code, _, error) = finish(child);
    assert_eq!(code, Some(1));
    assert!(error.contains("did not answer PINGREQ"), "{error}");
}

#[test]
fn receive_maximum_bounds_what_is_in_flight() {
    let (listener, mut child) = start(&["pub", "-t", "t", "-l", "-q", "1"]);
    child.stdin.take().unwrap().write_all(b"1\n2\n3\n4\n5\n").unwrap();
    let mut peer = Peer::accept(&listener);
    peer.greet(ConnAck { receive_max: Some(2), ..ConnAck::default() });
    let mut waiting = Vec::new();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        waiting.push(peer.read(|packet| {
            let Packet::Publish(publish) = packet else { panic!("{packet:?}") };
            seen.push(publish.payload.to_vec());
            publish.packet_id
        }));
        // The third comes only once one of the first two is acknowledged, or the broker would never read again.
        if waiting.len() == 2 || seen.len() == 5 {
            assert_eq!(peer.input.len(), 0, "more than two are in flight");
            for packet_id in waiting.drain(..) {
                peer.ack(AckKind::PubAck, packet_id, ReasonCode::SUCCESS);
            }
        }
    }
    peer.expect_disconnect();
    drop(peer);
    assert_eq!(finish(child).0, Some(0));
    assert_eq!(seen, [b"1", b"2", b"3", b"4", b"5"]);
}

#[test]
fn what_the_broker_does_not_take_is_not_sent() {
    let cases: [(&[&str], ConnAck<'_>, &str); 4] = [
        (&["-q", "2", "-m", "x"], ConnAck { qos_max: Some(1), ..ConnAck::default() }, "QoS 1 at most"),
        (&["-r", "-m", "x"], ConnAck { retain_available: Some(false), ..ConnAck::default() }, "retained"),
        (
            &["-m", "a long text"],
            ConnAck { packet_bytes_max: Some(10), ..ConnAck::default() },
            "the broker takes 10",
        ),
        (&["-m", "x", "-D", "publish", "topic-alias", "3"], ConnAck::default(), "maximum of 0"),
    ];
    for (args, connack, words) in cases {
        let (listener, child) = start(&[&["pub", "-t", "t"], args].concat());
        let mut peer = Peer::accept(&listener);
        peer.greet(connack);
        let (code, _, error) = finish(child);
        assert_eq!(code, Some(1), "{args:?}");
        assert!(error.contains(words), "{args:?}: {error}");
    }
}

#[test]
fn the_brokers_disconnect_is_told_and_escaped() {
    let (listener, child) = start(&["sub", "-t", "#", "-W", "20"]);
    let mut peer = Peer::accept(&listener);
    peer.greet(ConnAck::default());
    peer.grant();
    let disconnect = Disconnect {
        reason: ReasonCode::SESSION_TAKEN_OVER,
        reason_string: Some("by \u{1b}[31manother"),
        ..Disconnect::default()
    };
    peer.write(|out| encode_disconnect(out, Version::V5, &disconnect));
    let (code, _, error) = finish(child);
    assert_eq!(code, Some(1));
    assert!(error.contains("Session taken over (0x8E)") && error.contains("\\u{1b}[31manother"), "{error}");
}

/// Plays the server of SCRAM; with `forged` it does not know the password and makes its last message up.
fn scram(mechanism: Mechanism, option: &str, forged: bool) -> (Option<i32>, String, String) {
    let (listener, child) = start(&["pub", "-t", "t", "-m", "x", option, "-u", "meter", "-P", "pencil"]);
    let mut peer = Peer::accept(&listener);
    let first = peer.read(|packet| {
        let Packet::Connect(connect) = packet else { panic!("{packet:?}") };
        assert_eq!(connect.auth_method, Some(mechanism.name()));
        assert_eq!(connect.password, None, "the password must not be sent");
        connect.auth_data.unwrap().to_vec()
    });
    let verifier =
        ScramVerifier::create_with(mechanism, &Secret::new(*b"pencil"), b"a salt of some length", 4096)
            .unwrap();
    let first = ClientFirst::parse(&first).unwrap();
    let (server, challenge) =
        ScramServer::begin(first, Arc::new(verifier), true, "server-nonce-of-a-length").unwrap();
    let auth = Auth {
        reason: ReasonCode::CONTINUE_AUTHENTICATION,
        method: Some(mechanism.name()),
        data: Some(&challenge),
        ..Auth::default()
    };
    peer.write(|out| encode_auth(out, &auth));
    let proof = peer.read(|packet| match packet {
        Packet::Auth(auth) => auth.data.unwrap().to_vec(),
        other => panic!("{other:?}"),
    });
    let end = server.finish(&proof).unwrap();
    let made_up = b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".to_vec();
    let end = if forged { made_up } else { end };
    let connack =
        ConnAck { auth_method: Some(mechanism.name()), auth_data: Some(&end), ..ConnAck::default() };
    peer.write(|out| encode_connack(out, Version::V5, &connack));
    if !forged {
        peer.read(|packet| assert!(matches!(packet, Packet::Publish(_)), "{packet:?}"));
        peer.expect_disconnect();
    }
    drop(peer);
    finish(child)
}

#[test]
fn scram_proves_the_password_both_ways() {
    for (mechanism, option) in [
        (Mechanism::Sha256, "--scram"),
        (Mechanism::Sha256, "--scram=sha-256"),
        (Mechanism::Sha512, "--scram=sha-512"),
    ] {
        assert_eq!(scram(mechanism, option, false), (Some(0), String::new(), String::new()));
    }
    let (code, _, error) = scram(Mechanism::Sha512, "--scram=sha-512", true);
    assert_eq!(code, Some(1));
    assert!(error.contains("authentication failed"), "{error}");
}
