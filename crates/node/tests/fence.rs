//! Listeners that are closed by an order, and a node that is stopped for good, on a running node.

mod support;

use ravelin_mqtt::{QoS, Version};
use ravelin_node::control::{FENCED_FILE, StopReason};
use ravelin_node::{Caught, Error, Node, config::Config};
use ravelin_respond::Action;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Instant;
use support::*;

const SHUTTING_DOWN: u8 = 0x8B;

/// Two open listeners.
const TWO: &str = r#"
[[listener]]
name = "field"
transport = "tcp"
address = "127.0.0.1:0"
bind_client_id = "none"
dangerous_anonymous = true
[[listener]]
name = "office"
transport = "tcp"
address = "127.0.0.1:0"
bind_client_id = "none"
dangerous_anonymous = true
[access]
dangerous_allow_everything = true
"#;

fn close(listener: &str) -> Action {
    Action::StopListener { listener: listener.into() }
}

/// Whether whoever connects is let go without a word.
fn is_let_go(address: SocketAddr) -> bool {
    let mut socket = connect_socket(address);
    socket.read(&mut [0; 1]).map_or(true, |read| read == 0)
}

#[test]
fn a_closed_listener_ends_its_connections_and_opens_again() {
    let (node, log) = node(TWO, Path::new("."));
    let (field, office) = (node.addresses()[0], node.addresses()[1]);
    let mut meter = Client::new(connect_socket(field), Version::V5);
    meter.connect(&connect("meter"));
    let mut clerk = client(office, "clerk");
    let control = node.control();

    let wrong = control.blocking_fence(1, &close("nowhere"), None).unwrap_err().to_string();
    assert!(wrong.contains("field, office"), "{wrong}");
    let begun = Instant::now();
    let effect = control.blocking_fence(2, &close("field"), None).unwrap();
    println!("request to last connection ended: {:?}", begun.elapsed());
    assert!(effect.contains("1 connections ended"), "{effect}");
    assert_eq!(meter.expect_end(), Some(SHUTTING_DOWN));
    assert!(is_let_go(field));
    log.wait_for(&["connection.refused", "shutting_down"]);
    clerk.ping();

    // Two orders: the last that is taken back opens it.
    control.blocking_fence(3, &close("field"), None).unwrap();
    assert!(control.blocking_unfence(2, &close("field")).unwrap().contains("another order"));
    assert!(is_let_go(field));
    control.blocking_unfence(3, &close("field")).unwrap();
    client(field, "meter").ping();
    node.shutdown().unwrap();
}

/// Publishes one after the other as fast as they are acknowledged, until the connection ends; returns the numbers of those that
/// the node has taken over: QoS 1 with PUBACK, QoS 2 with PUBREC.
fn publish_until_the_end(address: SocketAddr, name: &str, qos: QoS, first: u32) -> Vec<u32> {
    let mut socket = connect_socket(address);
    let mut client = Client::new(socket.try_clone().unwrap(), Version::V5);
    client.connect(&connect(name));
    let mut taken = Vec::new();
    for number in first.. {
        let packet_id = (number % 60_000) as u16 + 1;
        if socket.write_all(&publish_bytes("a", qos, packet_id, false, &number.to_be_bytes())).is_err() {
            break;
        }
        let Some(answer) = client.packet().filter(|packet| matches!(packet[0], 0x40 | 0x50)) else { break };
        assert_eq!(answer[2..4], packet_id.to_be_bytes());
        taken.push(number);
        if qos == QoS::ExactlyOnce {
            let [high, low] = packet_id.to_be_bytes();
            if socket.write_all(&[0x62, 2, high, low]).is_err()
                || client.packet().is_none_or(|packet| packet[0] != 0x70)
            {
                break;
            }
        }
    }
    taken
}

#[test]
fn what_was_acknowledged_while_a_listener_closes_is_delivered() {
    // What waits for the subscriber meanwhile must fit.
    let limits = "[limits]\nqueue_messages_max = 1000000\nqueue_bytes_max = \"256MiB\"\n";
    let (node, _log) = node(&format!("{TWO}{limits}"), Path::new("."));
    let (field, office) = (node.addresses()[0], node.addresses()[1]);
    let mut keeper = Client::new(connect_socket(office), Version::V5);
    let subscriber =
        ravelin_mqtt::Connect { version: Version::V5, session_expiry_s: Some(3600), ..connect("subscriber") };
    keeper.connect(&subscriber);
    keeper.subscribe("a", QoS::AtLeastOnce);
    drop(keeper);
    let once = std::thread::spawn(move || publish_until_the_end(field, "once", QoS::AtLeastOnce, 0));
    let exactly =
        std::thread::spawn(move || publish_until_the_end(field, "exactly", QoS::ExactlyOnce, 1 << 20));
    let control = node.control();
    wait_until(|| node.figures().stats.publish_received > 50, || "nobody publishes".into());
    control.blocking_fence(1, &close("field"), None).unwrap();
    let (once, exactly) = (once.join().unwrap(), exactly.join().unwrap());
    assert!(!once.is_empty() && !exactly.is_empty());
    control.blocking_unfence(1, &close("field")).unwrap();
    client(field, "other").ping();

    let mut keeper = Client::new(connect_socket(office), Version::V5);
    keeper.connect(&ravelin_mqtt::Connect { clean_start: false, ..subscriber });
    let mut missing: std::collections::BTreeSet<u32> = once.into_iter().chain(exactly).collect();
    let mut exactly_once = std::collections::BTreeSet::new();
    while !missing.is_empty() {
        let (_, payload, packet_id) = keeper.message();
        let number = u32::from_be_bytes(payload.try_into().unwrap());
        assert!(number < 1 << 20 || exactly_once.insert(number), "{number} came twice");
        missing.remove(&number);
        let [high, low] = packet_id.to_be_bytes();
        keeper.send(&[0x40, 2, high, low]);
    }
    node.shutdown().unwrap();
}

#[test]
fn a_node_that_is_stopped_for_good_keeps_what_it_acknowledged_and_waits_to_be_released() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let config = || Config::dangerous_open(([127, 0, 0, 1], 0).into(), Some(data.clone()), 1).unwrap();
    let (running, log) = start(config());
    let field = running.addresses()[0];
    let mut kept = Client::new(connect_socket(field), Version::V5);
    let subscriber =
        ravelin_mqtt::Connect { version: Version::V5, session_expiry_s: Some(3600), ..connect("subscriber") };
    kept.connect(&subscriber);
    kept.subscribe("a", QoS::AtLeastOnce);
    drop(kept);
    let mut sender = client(field, "sender");
    for id in 1..=20 {
        sender.publish_acknowledged("a", id, false, &[id as u8]);
    }
    let control = running.control();
    let caught = Caught::new().unwrap();
    let same = config();
    let served = std::thread::spawn(move || ravelin_node::run(running, caught, move || Ok(same.clone())));
    // Whoever runs the node takes its orders a moment after it was started.
    wait_until(|| control.is_attended(), || "nobody runs the node".into());
    let reason = StopReason {
        by: "anna".into(),
        approved_by: vec!["bert".into(), "cleo".into()],
        why: "compromised".into(),
    };
    // What it was cannot be written down: it goes on, and takes who comes.
    std::fs::create_dir(data.join(FENCED_FILE)).unwrap();
    let failed = control.blocking_stop_node(8, &reason).unwrap_err().to_string();
    assert!(failed.contains(FENCED_FILE) && failed.contains("its listeners are open again"), "{failed}");
    assert!(control.status().ready && !log.text().contains("node.fenced"));
    assert_eq!(sender.expect_end(), Some(SHUTTING_DOWN));
    client(field, "sender").ping();
    std::fs::remove_dir(data.join(FENCED_FILE)).unwrap();

    let effect = control.blocking_stop_node(9, &reason).unwrap();
    assert!(effect.contains("sessions") && !control.status().ready, "{effect}");
    served.join().unwrap().unwrap();
    log.wait_for(&["node.fenced", "order=9"]);

    let mark = data.join(FENCED_FILE);
    let state = std::fs::read_to_string(&mark).unwrap();
    assert!(state.contains("\"order\":9") && state.contains(&config().sha256()), "{state}");
    // Signed: the record's head, after its last entry, and what it says of the stop.
    let (first, head) = state.split_once('\n').unwrap();
    let head = ravelin_audit::Head::parse(head, "head").unwrap();
    let told: serde_json::Value = serde_json::from_str(first).unwrap();
    assert_eq!(told["approved_by"], serde_json::json!(["bert", "cleo"]));
    assert!(head.checkpoint.closed && Some(head.checkpoint.sequence) > told["record_sequence"].as_u64());
    let Err(Error::Fenced { .. }) = Node::start(config()) else {
        panic!("it serves although nobody released it")
    };

    std::fs::remove_file(mark).unwrap();
    let (again, _) = start(config());
    let mut kept = Client::new(connect_socket(again.addresses()[0]), Version::V5);
    let back = ravelin_mqtt::Connect { clean_start: false, ..subscriber };
    kept.connect(&back);
    for id in 1..=20 {
        assert_eq!(kept.message().1, [id], "nothing that was acknowledged is lost");
    }
    again.shutdown().unwrap();
}

#[test]
fn a_listener_that_an_order_has_closed_stays_closed_when_the_node_is_not_stopped() {
    let directory = tempfile::tempdir().unwrap();
    ravelin_store::Keys::create(directory.path().join("store.key")).unwrap();
    let text = format!("[node]\ndata = \"data\"\n[store]\nkey_file = \"store.key\"\n{TWO}");
    let config = || Config::parse(&text, directory.path()).unwrap_or_else(|errors| panic!("{errors}"));
    let (running, _log) = start(config());
    let (field, office) = (running.addresses()[0], running.addresses()[1]);
    let (control, caught, same) = (running.control(), Caught::new().unwrap(), config());
    let nobody = control.blocking_stop_node(1, &StopReason::default()).unwrap_err().to_string();
    assert!(nobody.contains("does not run as a service"), "{nobody}");
    let served = std::thread::spawn(move || ravelin_node::run(running, caught, move || Ok(same.clone())));
    wait_until(|| control.is_attended(), || "nobody runs the node".into());
    control.blocking_fence(1, &close("field"), None).unwrap();
    std::fs::create_dir(directory.path().join("data").join(FENCED_FILE)).unwrap();
    control.blocking_stop_node(2, &StopReason::default()).unwrap_err();
    assert!(is_let_go(field));
    client(office, "clerk").ping();
    control.blocking_unfence(1, &close("field")).unwrap();
    client(field, "meter").ping();
    assert!(control.stop(&ravelin_node::control::Actor::node()));
    served.join().unwrap().unwrap();
}

#[test]
fn without_an_agent_the_firewall_says_what_it_would_do() {
    let (node, _) = node(TWO, Path::new("."));
    let block = Action::Firewall { network: "198.51.100.7".into() };
    let control = node.control();
    control.attach_firewall(None);
    let effect = control.blocking_fence(1, &block, Some(60)).unwrap();
    assert!(effect.contains("dry run") && effect.contains("198.51.100.7/32 timeout 60s"), "{effect}");
    assert_eq!(control.firewall().state, "off");
    assert_eq!(control.firewall().blocked.len(), 1);
    control.blocking_unfence(1, &block).unwrap();
    assert!(control.firewall().blocked.is_empty());
    let own = Action::Firewall { network: "127.0.0.1".into() };
    assert!(control.blocking_fence(2, &own, None).is_err());
    node.shutdown().unwrap();
}
