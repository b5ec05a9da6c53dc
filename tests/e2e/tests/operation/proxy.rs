//! Behind a load balancer that speaks the PROXY protocol.

use crate::mosquitto;
use ravelin_e2e::{Deployment, Node, output};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const V1: &[u8] = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 8883\r\n";
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\x00\x71\x09\xc0\x00\x02\x01\x12\x67\x22\xb3";

fn deployment(trusted: &str) -> Deployment {
    let deployment = Deployment::new();
    deployment.edit("#proxy_protocol = false", "proxy_protocol = true");
    deployment.edit("#proxy_trusted = [\"10.0.0.5/32\"]", &format!("proxy_trusted = [\"{trusted}\"]"));
    deployment
}

/// A load balancer for one connection: sends `header` and then what the client sends; gives its port.
fn balance(header: &'static [u8], to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().expect("a client");
        let mut node = TcpStream::connect(("127.0.0.1", to)).expect("the node");
        node.write_all(header).expect("the header");
        let (from_node, to_client) =
            (node.try_clone().expect("a socket"), client.try_clone().expect("a socket"));
        std::thread::spawn(move || copy(from_node, to_client));
        copy(client, node);
    });
    port
}

/// Copies until either end is gone.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    to.shutdown(std::net::Shutdown::Both).ok();
}

#[test]
fn the_client_is_known_by_the_address_that_a_trusted_proxy_names() {
    let deployment = deployment("127.0.0.0/8");
    let node = Node::serve(&deployment);
    for header in [V1, V2] {
        let start = node.mark();
        let port = balance(header, node.port("mutual-tls"));
        let mut publish = mosquitto("pub", port, &deployment, "operator", "operator");
        let output = output(publish.args(["-q", "1", "-t", "a", "-m", "b"]), b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        node.wait_for(start, "client.connected", |fields| fields["address"] == "203.0.113.9:4711");
    }
}

#[test]
fn a_proxy_that_is_not_trusted_is_not_believed() {
    let deployment = deployment("10.0.0.5/32");
    let node = Node::serve(&deployment);
    let start = node.mark();
    let port = balance(V1, node.port("mutual-tls"));
    let mut publish = mosquitto("pub", port, &deployment, "operator", "operator");
    assert!(!output(publish.args(["-q", "1", "-t", "a", "-m", "b"]), b"").status.success());
    let refused = node.wait_for(start, "connection.refused", |_| true);
    assert!(refused["fields"]["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")));
}
