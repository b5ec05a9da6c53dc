//! What the tests of this crate share: a node on a free port, and a client that is nothing but a stream of bytes.
#![allow(dead_code, reason = "each test file uses a part of it")]

use ravelin_mqtt::{
    Connect, Packet, Properties, PublishOut, QoS, Sender, SubscribeOptions, Subscription, Version, decode,
    encode_connect, encode_publish, encode_subscribe, peek,
};
use ravelin_node::Node;
use ravelin_node::config::Config;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Takes the event log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// Waits until a line has all of `parts`.
    pub fn wait_for(&self, parts: &[&str]) {
        let found = |text: &str| text.lines().any(|line| parts.iter().all(|part| line.contains(part)));
        wait_until(|| found(&self.text()), || format!("no line with {parts:?} in\n{}", self.text()));
    }
}

pub fn wait_until(mut condition: impl FnMut() -> bool, what: impl Fn() -> String) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "{}", what());
        std::thread::yield_now();
    }
}

/// A node that everyone may do everything on.
pub fn open_node(workers: usize, data: Option<&Path>) -> (Node, Log) {
    let config = Config::dangerous_open(([127, 0, 0, 1], 0).into(), data.map(Into::into), workers).unwrap();
    start(config)
}

/// A node with the configuration `text`, whose paths are relative to `base`.
pub fn node(text: &str, base: &Path) -> (Node, Log) {
    start(Config::parse(text, base).unwrap_or_else(|errors| panic!("{errors}")))
}

pub fn start(config: Config) -> (Node, Log) {
    let log = Log::default();
    let node = Node::start_with_log(config, Box::new(log.clone())).unwrap_or_else(|error| panic!("{error}"));
    (node, log)
}

/// A client over any stream.
pub struct Client<S> {
    pub stream: S,
    pub version: Version,
    received: Vec<u8>,
}

pub fn connect_socket(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A connected client.
pub fn client(address: SocketAddr, client_id: &str) -> Client<TcpStream> {
    let mut client = Client::new(connect_socket(address), Version::V5);
    client.connect(&connect(client_id));
    client
}

pub fn connect(client_id: &str) -> Connect<'_> {
    Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 60,
        client_id,
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
        properties: Properties::default(),
    }
}

pub fn publish_bytes(topic: &str, qos: QoS, packet_id: u16, retain: bool, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let publish = PublishOut {
        dup: false,
        qos,
        retain,
        topic,
        packet_id,
        topic_alias: None,
        expiry_s: None,
        subscription_ids: &[],
        forward: &[],
        payload,
    };
    encode_publish(&mut out, Version::V5, &publish);
    out
}

impl<S: Read + Write> Client<S> {
    pub fn new(stream: S, version: Version) -> Client<S> {
        Client { stream, version, received: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
        self.stream.flush().unwrap();
    }

    /// Sends CONNECT and expects it to be accepted.
    pub fn connect(&mut self, connect: &Connect<'_>) -> bool {
        let (reason, session_present) = self.try_connect(connect);
        assert_eq!(reason, 0, "CONNACK");
        session_present
    }

    /// The reason code and Session Present of CONNACK.
    pub fn try_connect(&mut self, connect: &Connect<'_>) -> (u8, bool) {
        let mut out = Vec::new();
        encode_connect(&mut out, connect);
        self.version = connect.version;
        self.send(&out);
        self.connack()
    }

    pub fn connack(&mut self) -> (u8, bool) {
        let packet = self.packet().expect("CONNACK");
        assert_eq!(packet[0], 0x20, "CONNACK: {packet:02x?}");
        (packet[3], packet[2] & 1 == 1)
    }

    /// The next whole packet; `None` at the end of the stream.
    pub fn packet(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = peek(&self.received, u32::MAX).unwrap()
                && frame.total_len <= self.received.len()
            {
                let rest = self.received.split_off(frame.total_len);
                return Some(std::mem::replace(&mut self.received, rest));
            }
            let mut buffer = [0; 65536];
            match self.stream.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.received.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return None,
                Err(error) => panic!("read: {error}"),
            }
        }
    }

    pub fn subscribe(&mut self, filter: &str, qos: QoS) {
        let mut out = Vec::new();
        let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
        let filters = [Subscription { filter, options }];
        encode_subscribe(&mut out, self.version, 1, None, &filters, Properties::default());
        self.send(&out);
        // Messages may come before SUBACK (section 3.8.4): they are read later, in their order.
        let mut early = Vec::new();
        let suback = loop {
            let packet = self.packet().expect("SUBACK");
            if packet[0] >> 4 != 3 {
                break packet;
            }
            early.extend(packet);
        };
        early.append(&mut self.received);
        self.received = early;
        assert_eq!(suback[0], 0x90, "SUBACK: {suback:02x?}");
        assert_eq!(*suback.last().unwrap(), qos as u8, "SUBACK: {suback:02x?}");
    }

    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        self.send(&publish_bytes(topic, QoS::AtMostOnce, 0, false, payload));
    }

    /// Publishes at QoS 1 and waits for the acknowledgement.
    pub fn publish_acknowledged(&mut self, topic: &str, packet_id: u16, retain: bool, payload: &[u8]) {
        self.send(&publish_bytes(topic, QoS::AtLeastOnce, packet_id, retain, payload));
        let ack = self.packet().expect("PUBACK");
        assert_eq!(ack[0], 0x40, "PUBACK: {ack:02x?}");
        assert_eq!(&ack[2..4], packet_id.to_be_bytes());
    }

    /// The next message: topic, payload, packet id.
    pub fn message(&mut self) -> (String, Vec<u8>, u16) {
        let packet = self.packet().expect("PUBLISH");
        let frame = peek(&packet, u32::MAX).unwrap().unwrap();
        let limits = ravelin_mqtt::DecodeLimits::default();
        match decode(frame.first, &packet[frame.header_len..], self.version, Sender::Server, &limits) {
            Ok(Packet::Publish(publish)) => {
                (publish.topic.into(), publish.payload.to_vec(), publish.packet_id)
            }
            other => panic!("PUBLISH expected, not {other:?}"),
        }
    }

    /// Expects the server to end the connection, perhaps after a DISCONNECT, whose reason is returned.
    pub fn expect_end(&mut self) -> Option<u8> {
        let mut reason = None;
        while let Some(packet) = self.packet() {
            if packet[0] == 0xE0 {
                reason = packet.get(2).copied().or(Some(0));
            }
        }
        reason
    }

    pub fn ping(&mut self) {
        self.send(&[0xC0, 0]);
        assert_eq!(self.packet().expect("PINGRESP"), [0xD0, 0]);
    }
}

/// A WebSocket client that masks what it sends and unframes what it reads.
pub struct WebSocket<S> {
    pub stream: S,
    /// Payload bytes a frame.
    step: usize,
    waiting: Vec<u8>,
}

impl<S: Read + Write> WebSocket<S> {
    pub fn open(mut stream: S, step: usize) -> WebSocket<S> {
        let request = "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
            Sec-WebSocket-Protocol: mqtt\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
        WebSocket { stream, step, waiting: Vec::new() }
    }
}

pub fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [9, 8, 7, 6];
    let mut bytes = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..=125 => bytes.push(0x80 | len as u8),
        len => {
            bytes.push(0x80 | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
    bytes
}

impl<S: Write> Write for WebSocket<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for chunk in bytes.chunks(self.step) {
            self.stream.write_all(&frame(2, chunk))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Read> Read for WebSocket<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.waiting.is_empty() {
            let mut head = [0; 2];
            self.stream.read_exact(&mut head)?;
            assert_eq!(head[1] & 0x80, 0, "a server does not mask");
            let mut length = u64::from(head[1]);
            if length >= 126 {
                let mut extended = vec![0; if length == 126 { 2 } else { 8 }];
                self.stream.read_exact(&mut extended)?;
                length = extended.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
            }
            let mut payload = vec![0; length as usize];
            self.stream.read_exact(&mut payload)?;
            match head[0] {
                0x82 => self.waiting = payload,
                0x88 => return Ok(0),
                0x8A => assert_eq!(payload, b"still there?"),
                other => panic!("frame {other:02x}"),
            }
        }
        let count = buffer.len().min(self.waiting.len());
        buffer[..count].copy_from_slice(&self.waiting[..count]);
        self.waiting.drain(..count);
        Ok(count)
    }
}
