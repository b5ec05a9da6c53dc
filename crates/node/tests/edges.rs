//! WebSocket and the PROXY protocol, over sockets.

mod support;

use ravelin_mqtt::{QoS, Version};
use std::io::{Read, Write};
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
