//! What several attacks have in common.

use ravelin_attacks::{Connect, Node, Packet, Peer};
use std::net::Ipv4Addr;

/// An address of the loopback network for attacker `number`: refusals are told for each address up to a limit.
pub fn source(number: usize) -> Ipv4Addr {
    let number = number as u32 + 1;
    Ipv4Addr::from(0x7F01_0000 + number)
}

/// Bytes that must be refused before there is a session. `codes`: what a CONNACK may say, if there is one.
pub fn refused_before(node: &Node, number: usize, bytes: &[u8], whys: &[&str], codes: &[u8]) {
    let mut peer = Peer::open_from(node.address(), source(number));
    // The node may close before it has read everything.
    let _ = peer.try_send(bytes);
    let answers = peer.read_to_close();
    let fits = |answer: &Packet| answer.kind() == 2 && codes.contains(&answer.reason());
    assert!(answers.len() <= 1 && answers.iter().all(fits), "{bytes:02x?}: {answers:02x?}");
    node.expect_refused(peer.address, whys);
}

/// Bytes of an accepted client that must end its connection, with one of these reasons for MQTT 5.0.
pub fn refused_after(node: &Node, number: usize, level: u8, bytes: &[u8], reasons: &[u8]) {
    let connect = Connect { level, ..Connect::v5(format!("attacker-{number}")) };
    let mut peer = Peer::connect_from(node.address(), source(number), &connect);
    let _ = peer.try_send(bytes);
    peer.is_ended_with_one_of(reasons);
    let address = peer.address.to_string();
    node.expect_where(&format!("the end of {address} after {bytes:02x?}"), |event| {
        event.is("client.disconnected", &[("address", &address)])
            && matches!(event.text("cause"), "protocol_error" | "limit_exceeded")
    });
}
