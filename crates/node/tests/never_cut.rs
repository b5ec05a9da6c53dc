//! Near the ceiling of memory slow readers are disconnected, but for classes that are never cut off.

mod support;

use ravelin_mqtt::{Connect, QoS, Version};
use ravelin_node::config::Config;
use ravelin_node::control::{Actor, Ends};
use ravelin_protect::Secret;
use ravelin_protect::directory::{Class, Identity};
use ravelin_protect::password::Edit;
use std::net::TcpStream;
use support::*;

const PAYLOAD: usize = 32 << 10;

fn log_in(address: std::net::SocketAddr, client_id: &str, user: &str) -> Client<TcpStream> {
    let mut client = Client::new(connect_socket(address), Version::V5);
    client.connect(&Connect { username: Some(user), password: Some(b"right"), ..connect(client_id) });
    client
}

#[test]
fn a_slow_reader_of_a_class_that_is_never_cut_off_stays_and_the_others_go() {
    let base = tempfile::tempdir().unwrap();
    let mut edit = Edit::open(&base.path().join("passwords")).unwrap();
    for user in ["relay", "other"] {
        edit.set(user, &Secret::new("right")).unwrap();
    }
    edit.save().unwrap();
    let text = |memory_max: u64| {
        format!(
            "[node]\nworkers = 1\n[[listener]]\nname = \"a\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
             bind_client_id = \"none\"\nauthentication = [\"password\"]\n[authentication]\n\
             password_file = \"passwords\"\n[access]\ndangerous_allow_everything = true\n[limits]\n\
             memory_max = \"{memory_max}MiB\"\noutbound_bytes_max = \"256MiB\"\nstall_timeout = \"10m\"\n"
        )
    };
    let (mut node, log) = node(&text(1 << 16), base.path());
    let created = node.control().change_directory(&Actor::node(), "test", "relay", |edit| {
        edit.set_class(Class { name: "relays".into(), never_cut: true, ..Class::default() })?;
        edit.create_identity(Identity { class: Some("relays".into()), ..Identity::new("relay") })?;
        Ok(Ends::new())
    });
    created.unwrap();
    let address = node.addresses()[0];
    // Neither reads from here on, and the one that must stay has the longer buffer, which would go first.
    let mut relay = log_in(address, "relay-7", "relay");
    let mut other = log_in(address, "other-1", "other");
    relay.subscribe("to/relay", QoS::AtMostOnce);
    other.subscribe("to/other", QoS::AtMostOnce);
    let mut sender = log_in(address, "sender", "other");
    for (topic, messages) in [("to/relay", 2400), ("to/other", 1600)] {
        let message = publish_bytes(topic, QoS::AtMostOnce, 0, false, &[b'x'; PAYLOAD]);
        (0..messages).for_each(|_| sender.send(&message));
    }
    sender.ping();
    assert!(node.control().is_never_cut("relay-7") && !node.control().is_never_cut("other-1"));
    // The ceiling comes down to what is in use.
    let waits = || node.control().memory().used_bytes >> 20 > 100;
    wait_until(waits, || format!("{:?}", node.control().memory()));
    let ceiling = (node.control().memory().used_bytes >> 20).max(16);
    node.reload(Config::parse(&text(ceiling), base.path()).unwrap()).unwrap();
    log.wait_for(&["node.memory", "cutting"]);
    log.wait_for(&["client.disconnected", "other-1", "slow_reader"]);
    wait_until(|| node.figures().counters.slow_readers == 1, || format!("{:?}", node.figures().counters));
    node.reload(Config::parse(&text(1 << 16), base.path()).unwrap()).unwrap();
    for _ in 0..2400 {
        assert_eq!(relay.message().1.len(), PAYLOAD, "all that waited for it comes");
    }
    relay.ping();
    assert!(!log.text().lines().any(|line| line.contains("client.disconnected") && line.contains("relay-7")));
    node.shutdown().unwrap();
}
