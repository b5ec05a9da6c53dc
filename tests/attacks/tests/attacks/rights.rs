//! Items 38, 39, 42: rights that went and still work, wills around the rules, addresses that a proxy is said to vouch for.

use ravelin_attacks::node::Setup;
use ravelin_attacks::{Connect, MIB, Node, Peer, Publish, Trial};
use rustix::process::Signal;
use std::time::Duration;

const NOT_AUTHORIZED: u8 = 0x87;
const PASSWORDS: &str = "transport = \"tcp\"\nauthentication = [\"password\"]";
/// The rules of the witnesses, on the open listener.
const WITNESSES: &str = "topic readwrite #\n";

fn user(name: &str) -> Connect {
    Connect::v5(name).user(name, format!("{name}'s password"))
}

fn setup(rules: &str) -> Setup {
    let users = ["reader", "writer"].map(|name| (name, format!("{name}'s password")));
    let users: Vec<_> = users.iter().map(|(name, password)| (*name, password.as_str())).collect();
    Setup::default()
        .open_listener()
        .listener(PASSWORDS)
        .passwords(&users)
        .rules(&format!("{WITNESSES}{rules}"))
}

/// Changes the rules of a running node, and waits until they are in force.
fn change_rules(node: &Node, rules: &str) {
    let reloads = node.count("node.reloaded");
    std::fs::write(node.path().join("access.rules"), format!("{WITNESSES}{rules}")).expect("the rules");
    node.signal(Signal::HUP);
    while node.count("node.reloaded") == reloads {
        std::thread::sleep(Duration::from_millis(5));
    }
}

const BOTH: &str = "user writer\ntopic write a38/#\nuser reader\ntopic read a38/#\n";
const WRITER_ONLY: &str = "user writer\ntopic write a38/#\n";

/// CVE-2021-34434, CVE-2018-12546: a right that was withdrawn works no more, whatever of it was under way: queued, sent and
/// unacknowledged, retained, subscribed.
#[test]
fn a38_rights_that_were_withdrawn() {
    let mut node = setup(BOTH).start();
    let trial = Trial::begin(&node, 32 * MIB);
    let address = node.addresses[1];
    let mut writer = Peer::connect(address, &user("writer"));
    let mut reader = Peer::connect(address, &user("reader").lasting());
    assert_eq!(reader.subscribe("a38/#", 1), 1);
    // One is received and not acknowledged: it would be sent again.
    writer.send(&Publish::new("a38/sent", "sent").qos(1, 1).to_bytes());
    assert_eq!(reader.expect(3).topic(), "a38/sent");
    drop(reader);
    node.expect("client.disconnected", &[("client_id", "reader")]);
    // Others are queued for it, or kept.
    writer.send(&Publish::new("a38/queued", "queued").qos(1, 2).to_bytes());
    writer.send(&Publish::new("a38/queued", "queued").qos(2, 3).to_bytes());
    writer.send(&Publish::new("a38/kept", "kept").qos(1, 4).retain().to_bytes());
    for _ in 0..4 {
        writer.read().expect("an acknowledgement");
    }
    change_rules(&node, WRITER_ONLY);
    let mut reader = Peer::connect(address, &user("reader").lasting());
    writer.send(&Publish::new("a38/now", "now").qos(1, 5).to_bytes());
    writer.expect(4);
    assert!(
        reader.poll(Duration::from_millis(300)).is_none(),
        "something came that it may not read any more"
    );
    assert_eq!(reader.subscribe("a38/kept", 1), NOT_AUTHORIZED);
    reader.ping();
    // And a right that comes back brings only what is new.
    change_rules(&node, BOTH);
    assert_eq!(reader.subscribe("a38/new", 1), 1);
    writer.send(&Publish::new("a38/new", "new").qos(1, 6).to_bytes());
    assert_eq!(reader.expect(3).topic(), "a38/new");
    trial.finish(&mut node);
}

/// The same for a client that is connected while its right goes.
#[test]
fn a38_rights_withdrawn_from_who_is_connected() {
    let mut node = setup(BOTH).start();
    let trial = Trial::begin(&node, 32 * MIB);
    let address = node.addresses[1];
    let mut writer = Peer::connect(address, &user("writer"));
    let mut reader = Peer::connect(address, &user("reader"));
    assert_eq!(reader.subscribe("a38/#", 1), 1);
    change_rules(&node, WRITER_ONLY);
    writer.send(&Publish::new("a38/now", "now").qos(1, 1).to_bytes());
    writer.expect(4);
    assert!(reader.poll(Duration::from_millis(300)).is_none(), "it may not read that any more");
    reader.ping();
    change_rules(&node, "user reader\ntopic read a38/#\n");
    writer.send(&Publish::new("a38/now", "now").qos(1, 2).to_bytes());
    assert_eq!(writer.expect(4).reason(), NOT_AUTHORIZED);
    trial.finish(&mut node);
}

/// CVE-2026-95846: a will is a publish, when it is left and when it is carried out.
#[test]
fn a39_wills_around_the_rules() {
    let rules = "user writer\ntopic write a39/mine\n";
    let mut node = setup(rules).start();
    let trial = Trial::begin(&node, 32 * MIB);
    let address = node.addresses[1];
    let mut open = Peer::connect(node.addresses[0], &Connect::v5("everything"));
    assert_eq!(open.subscribe("a39/#", 1), 1);
    // One that it may never publish.
    let mut peer = Peer::open(address);
    if peer.greet(&user("writer").will("a39/other", "forged")).is_some_and(|connack| connack.reason() == 0) {
        peer.reset();
    }
    node.expect("will.refused", &[("topic", "a39/other")]);
    // One that it may publish.
    Peer::connect(address, &user("writer").will("a39/mine", "allowed")).reset();
    assert_eq!(open.expect(3).topic(), "a39/mine");
    // One that it might have published when it connected.
    let peer = Peer::connect(address, &user("writer").will("a39/mine", "late"));
    change_rules(&node, "");
    peer.reset();
    node.expect_where("the refusal of the will", |event| {
        ["will.refused", "publish.refused"].contains(&event.id()) && event.text("topic") == "a39/mine"
    });
    assert!(open.poll(Duration::from_millis(300)).is_none(), "a will that nobody may publish");
    trial.finish(&mut node);
}

/// A PROXY protocol header of version 2: command, family, body.
fn proxy_v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    header
}

/// A header that says 203.0.113.9, and these extensions behind it.
fn from_elsewhere(extensions: &[u8]) -> Vec<u8> {
    let addresses = [203, 0, 113, 9, 127, 0, 0, 1, 0x12, 0x34, 0x22, 0xB3];
    proxy_v2(1, 0x11, &[&addresses, extensions].concat())
}

const PROXY: &str = "transport = \"tcp\"\nbind_client_id = \"none\"\ndangerous_anonymous = true\n\
                     proxy_protocol = true\n";

/// Whoever is no trusted proxy could say anything: it is not even read.
#[test]
fn a42_headers_of_strangers() {
    let listener = format!("{PROXY}proxy_trusted = [\"192.0.2.1/32\"]");
    let mut node = Setup::default().open_listener().listener(&listener).start();
    let trial = Trial::begin(&node, 16 * MIB);
    for header in [from_elsewhere(&[]), b"PROXY TCP4 203.0.113.9 127.0.0.1 4660 8883\r\n".to_vec()] {
        let mut peer = Peer::open(node.addresses[1]);
        let from = peer.address;
        let _ = peer.try_send(&[header, Connect::v5("spoof").to_bytes()].concat());
        assert!(peer.read_bytes_to_close().is_empty());
        node.expect_refused(from, &["proxy_protocol"]);
    }
    assert!(node.events().iter().all(|event| !event.text("address").starts_with("203.0.113.9")));
    trial.finish(&mut node);
}

/// A trusted proxy whose headers lie about their length, or carry what would be a line of the log.
#[test]
fn a42_headers_that_lie() {
    let listener = format!("{PROXY}proxy_trusted = [\"127.0.0.0/8\"]");
    let mut node = Setup::default().open_listener().listener(&listener).start();
    let trial = Trial::begin(&node, 16 * MIB);
    let connect = Connect::v5("behind").to_bytes();
    // An extension that reaches beyond the header; a whole header of extensions that is too long; no CONNECT follows.
    let overrun = from_elsewhere(&[0x22, 0xFF, 0xFF, b'a']);
    let long = from_elsewhere(&[&[0x22, 0xFF, 0x00][..], &[b'a'; 0xFF00 - 12]].concat());
    let family = proxy_v2(1, 0x7F, &[0; 12]);
    let short = proxy_v2(1, 0x11, &[1, 2, 3]);
    let command = proxy_v2(0xF, 0x11, &[0; 12]);
    for bad in [long, short, command, b"PROXY TCP4 203.0.113.9\r\n".to_vec(), connect.clone()] {
        let mut peer = Peer::open(node.addresses[1]);
        let _ = peer.try_send(&[bad, connect.clone()].concat());
        assert!(peer.read_bytes_to_close().is_empty(), "nothing is answered to a header that lies");
    }
    // What an extension says is of no account, whatever it is: the header's own length holds.
    let common_name = b"x\r\nINFO client.connected client_id=forged";
    let mut ssl =
        vec![0x20, 0, (8 + common_name.len()) as u8, 7, 0, 0, 0, 0, 0x22, 0, common_name.len() as u8];
    ssl.extend(common_name);
    for (number, header) in [overrun, family, from_elsewhere(&ssl)].into_iter().enumerate() {
        let mut peer = Peer::open(node.addresses[1]);
        let name = format!("told{number}");
        let _ = peer.try_send(&[header, Connect::v5(&name).to_bytes()].concat());
        if let Some(connack) = peer.read() {
            assert_eq!(connack.reason(), 0);
            peer.ping();
        }
    }
    let lines = node.lines();
    assert!(
        lines.iter().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()),
        "a line is forged"
    );
    node.expect_where("the address of the client, not the proxy's", |event| {
        event.is("client.connected", &[("client_id", "told2"), ("address", "203.0.113.9:4660")])
    });
    trial.finish(&mut node);
}

/// CVE-2026-67411: a proxy that does not say who its client is (LOCAL, UNKNOWN) must not make it a user of this machine: the
/// limits per address, from which loopback is exempt, hold.
#[test]
fn a42_sources_that_are_lost() {
    let listener = format!("{PROXY}proxy_trusted = [\"127.0.0.0/8\"]");
    let mut node = Setup::default().open_listener().listener(&listener).start();
    let trial = Trial::begin(&node, 16 * MIB);
    for (number, header) in [proxy_v2(0, 0, &[]), b"PROXY UNKNOWN\r\n".to_vec()].into_iter().enumerate() {
        let name = format!("lost{number}");
        let mut peer = Peer::open(node.addresses[1]);
        let from = peer.address.to_string();
        let _ = peer.try_send(&[header, Connect::v5(&name).to_bytes()].concat());
        match peer.read() {
            // It is let in as what it is, the proxy itself, with no name and no right beyond its listener's.
            Some(connack) if connack.reason() == 0 => {
                let event = node.expect("client.connected", &[("client_id", &name)]);
                assert_eq!((event.text("address"), event.text("identity")), (from.as_str(), ""));
            }
            _ => drop(node.expect_where("its refusal", |event| event.id() == "connection.refused")),
        }
    }
    trial.finish(&mut node);
}
