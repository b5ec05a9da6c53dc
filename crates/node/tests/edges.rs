//! WebSocket and the PROXY protocol, over sockets.

mod support;

use ravelin_mqtt::{QoS, Version};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use support::*;

fn config(listener: &str) -> String {
    format!(
        r#"
        [[listener]]
        name = "edge"
        address = "127.0.0.1:0"
        bind_client_id = "none"
        dangerous_anonymous = true
        {listener}

        [access]
        dangerous_allow_everything = true
        "#
    )
}

/// A WebSocket client that masks what it sends and unframes what it reads.
struct WebSocket {
    stream: TcpStream,
    /// Payload bytes a frame.
    step: usize,
    waiting: Vec<u8>,
}

impl WebSocket {
    fn open(mut stream: TcpStream, step: usize) -> WebSocket {
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

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
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

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for chunk in bytes.chunks(self.step) {
            self.stream.write_all(&frame(2, chunk))?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Read for WebSocket {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
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

#[test]
fn mqtt_over_websocket_in_any_frames() {
    let (node, _) = node(&config("transport = \"ws\"\nwebsocket_path = \"/mqtt\""), Path::new(""));
    let socket = || connect_socket(node.addresses()[0]);
    let mut subscriber = Client::new(WebSocket::open(socket(), 1), Version::V5);
    subscriber.connect(&connect("subscriber"));
    subscriber.subscribe("a", QoS::AtMostOnce);
    let mut publisher = Client::new(WebSocket::open(socket(), 1000), Version::V5);
    publisher.connect(&connect("publisher"));
    let large = vec![4; 200_000];
    for payload in [&b"x"[..], &[5; 300], &large, b"y"] {
        publisher.publish("a", payload);
        assert_eq!(subscriber.message().1, payload);
    }
    publisher.stream.stream.write_all(&frame(9, b"still there?")).unwrap();
    publisher.ping();
    // Text carries no MQTT.
    publisher.stream.stream.write_all(&frame(1, b"text")).unwrap();
    assert!(publisher.expect_end().is_some());
    subscriber.ping();
    node.shutdown().unwrap();
}

#[test]
fn pages_of_other_sites_do_not_get_in() {
    let listener =
        "transport = \"ws\"\nwebsocket_path = \"/mqtt\"\nallowed_origins = [\"https://ours.example\"]";
    let (node, log) = node(&config(listener), Path::new(""));
    let ask = |extra: &str, protocol: &str| {
        let mut stream = connect_socket(node.addresses()[0]);
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{extra}\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).unwrap();
        String::from_utf8(start[9..].to_vec()).unwrap()
    };
    assert_eq!(ask("", "mqtt"), "101");
    assert_eq!(ask("Origin: https://ours.example\r\n", "mqtt"), "101");
    assert_eq!(ask("Origin: https://evil.example\r\n", "mqtt"), "403");
    assert_eq!(ask("", "chat"), "400");
    log.wait_for(&["connection.refused", "web_socket"]);
    node.shutdown().unwrap();
}

#[test]
fn a_proxy_names_the_client_if_it_is_trusted() {
    let trusted = "transport = \"tcp\"\nproxy_protocol = true\nproxy_trusted = [\"127.0.0.0/8\"]";
    let (node, log) = node(&config(trusted), Path::new(""));
    let mut client = Client::new(connect_socket(node.addresses()[0]), Version::V5);
    let mut wire = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 1883\r\n".to_vec();
    ravelin_mqtt::encode_connect(&mut wire, &connect("behind"));
    for byte in wire {
        client.send(&[byte]);
    }
    assert_eq!(client.connack(), (0, false));
    log.wait_for(&["client.connected", "address=192.0.2.7:4711"]);
    client.ping();
    let mut direct = Client::new(connect_socket(node.addresses()[0]), Version::V5);
    let mut wire = Vec::new();
    ravelin_mqtt::encode_connect(&mut wire, &connect("direct"));
    direct.send(&wire);
    assert_eq!(direct.expect_end(), None);
    log.wait_for(&["connection.refused", "proxy_protocol"]);
    node.shutdown().unwrap();
}

#[test]
fn who_is_not_a_trusted_proxy_is_not_heard() {
    let trusted = "transport = \"tcp\"\nproxy_protocol = true\nproxy_trusted = [\"192.0.2.0/24\"]";
    let (node, log) = node(&config(trusted), Path::new(""));
    let mut client = Client::new(connect_socket(node.addresses()[0]), Version::V5);
    assert_eq!(client.expect_end(), None);
    log.wait_for(&["connection.refused", "proxy_protocol"]);
    node.shutdown().unwrap();
}
