//! What is taken from clients for a time, on a running node: quarantine, throttles, the posture, trust; and whom none of it
//! cuts off.

mod support;

use ravelin_broker::home_shard;
use ravelin_mqtt::{Connect, QoS, SubscribeOptions, Subscription, Version, encode_subscribe};
use ravelin_node::Node;
use ravelin_node::control::{Actor, Ends};
use ravelin_protect::Secret;
use ravelin_protect::directory::{Class, Identity};
use ravelin_protect::password::Edit;
use ravelin_respond::{Action, Posture};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::*;

const NOT_AUTHORIZED: u8 = 0x87;

fn open(more: &str) -> (Node, Log) {
    let text = format!(
        "[node]\nworkers = 2\n[[listener]]\nname = \"a\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
         bind_client_id = \"none\"\ndangerous_anonymous = true\n[access]\ndangerous_allow_everything = true\n{more}"
    );
    node(&text, Path::new("/"))
}

/// A node that `alice`, of the class "relay", and `bob`, of none, log in on with their passwords.
fn with_users(base: &Path, class: Class, more: &str) -> (Node, Log) {
    let mut edit = Edit::open(&base.join("passwords")).unwrap();
    for user in ["alice", "bob"] {
        edit.set(user, &Secret::new("right")).unwrap();
    }
    edit.save().unwrap();
    let text = format!(
        "[node]\nworkers = 2\n[[listener]]\nname = \"a\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
         bind_client_id = \"none\"\nauthentication = [\"password\"]\n[authentication]\npassword_file = \"passwords\"\n\
         [access]\ndangerous_allow_everything = true\n{more}"
    );
    let (node, log) = node(&text, base);
    let actor = Actor::node();
    let created = node.control().change_directory(&actor, "test", "alice", |edit| {
        let name = class.name.clone();
        edit.set_class(class)?;
        edit.create_identity(Identity { class: Some(name), ..Identity::new("alice") })?;
        Ok(Ends::new())
    });
    created.unwrap();
    (node, log)
}

fn log_in(node: &Node, client_id: &str, user: &str) -> Result<Client<TcpStream>, u8> {
    let mut client = Client::new(connect_socket(node.addresses()[0]), Version::V5);
    let connect = Connect { username: Some(user), password: Some(b"right"), ..connect(client_id) };
    match client.try_connect(&connect).0 {
        0 => Ok(client),
        reason => Err(reason),
    }
}

fn put(node: &Node, order: u64, action: &Action) -> String {
    node.control().blocking_restrict(order, action).unwrap_or_else(|error| panic!("{error}"))
}

fn lift(node: &Node, order: u64, action: &Action) -> String {
    node.control().blocking_lift(order, action).unwrap_or_else(|error| panic!("{error}"))
}

/// The reason code of the SUBACK.
fn subscribe(client: &mut Client<TcpStream>, filter: &str) -> u8 {
    let mut out = Vec::new();
    let filters = [Subscription { filter, options: SubscribeOptions::default() }];
    encode_subscribe(&mut out, Version::V5, 1, None, &filters, Default::default());
    client.send(&out);
    *client.packet().expect("SUBACK").last().unwrap()
}

/// The reason code of the PUBACK.
fn publish(client: &mut Client<TcpStream>, topic: &str) -> u8 {
    client.send(&publish_bytes(topic, QoS::AtLeastOnce, 1, false, b"x"));
    let packet = client.packet().expect("PUBACK");
    assert_eq!(packet[0], 0x40, "{packet:02x?}");
    match packet.get(4).copied().unwrap_or(0) {
        // Nobody subscribes: it is a success.
        0x10 => 0,
        reason => reason,
    }
}

#[test]
fn quarantine_meets_a_connected_client_at_once_and_its_next_connection() {
    let (node, _) = open("");
    let mut suspect = client(node.addresses()[0], "suspect");
    suspect.subscribe("plant/#", QoS::AtMostOnce);
    let mut other = client(node.addresses()[0], "other");
    other.subscribe("#", QoS::AtMostOnce);
    let mut sender = client(node.addresses()[0], "sender");
    let action = Action::Quarantine { client_id: "suspect".into() };
    let effect = put(&node, 1, &action);
    assert_eq!(effect, "the client is connected and has 0 subscriptions left");
    put(&node, 1, &action);
    for _ in 0..2 {
        sender.publish_acknowledged("plant/1", 1, false, b"for others");
        assert_eq!(other.message().0, "plant/1");
        assert_eq!(publish(&mut suspect, "plant/1"), NOT_AUTHORIZED);
        assert_eq!(publish(&mut suspect, "quarantine/other"), NOT_AUTHORIZED);
        assert_eq!(publish(&mut suspect, "quarantine/suspect"), 0);
        assert_eq!(other.message().0, "quarantine/suspect");
        assert_eq!(subscribe(&mut suspect, "plant/#"), NOT_AUTHORIZED);
        suspect = client(node.addresses()[0], "suspect");
    }
    lift(&node, 1, &action);
    assert_eq!(publish(&mut suspect, "plant/1"), 0);
    assert_eq!(subscribe(&mut suspect, "plant/#"), 0);
    assert!(put(&node, 2, &Action::Quarantine { client_id: "away".into() }).contains("next connection"));
    node.shutdown().unwrap();
}

#[test]
fn a_class_with_the_flag_is_kept_apart_and_stays_so_over_a_reload() {
    let base = tempfile::tempdir().unwrap();
    let class = Class { name: "apart".into(), quarantine: true, ..Class::default() };
    let (mut node, _) = with_users(base.path(), class, "");
    let mut alice = log_in(&node, "a", "alice").unwrap();
    let mut bob = log_in(&node, "b", "bob").unwrap();
    let freeze = Action::Freeze {
        filter: "cmd/#".into(),
        messages: Default::default(),
        direction: Default::default(),
        retained: Default::default(),
    };
    put(&node, 1, &freeze);
    for _ in 0..2 {
        assert_eq!(publish(&mut alice, "plant/1"), NOT_AUTHORIZED);
        assert_eq!(publish(&mut alice, "quarantine/a"), 0);
        assert_eq!(publish(&mut bob, "plant/1"), 0);
        assert_eq!(publish(&mut bob, "cmd/1"), NOT_AUTHORIZED);
        let config = (*node.config()).clone();
        node.reload(config).unwrap();
    }
    lift(&node, 1, &freeze);
    assert_eq!(publish(&mut bob, "cmd/1"), 0);
    let actor = Actor::node();
    let lifted = node.control().change_directory(&actor, "test", "apart", |edit| {
        edit.set_class(Class { name: "apart".into(), ..Class::default() })?;
        Ok(Ends::new())
    });
    lifted.unwrap();
    assert_eq!(publish(&mut alice, "plant/1"), 0);
    node.shutdown().unwrap();
}

#[test]
fn a_throttle_delays_one_client_and_loses_nothing() {
    let (node, log) = open("");
    let mut listener = client(node.addresses()[0], "listener");
    listener.subscribe("t", QoS::AtMostOnce);
    let mut slow = client(node.addresses()[0], "slow");
    let action = Action::Throttle { client_id: "slow".into(), messages_per_s: 10 };
    put(&node, 3, &action);
    let start = Instant::now();
    let all: Vec<u8> = (1..=30u16)
        .flat_map(|id| publish_bytes("t", QoS::AtLeastOnce, id, false, &id.to_be_bytes()))
        .collect();
    slow.send(&all);
    for id in 1..=30u16 {
        assert_eq!(listener.message().1, id.to_be_bytes());
        assert_eq!(slow.packet().unwrap(), [0x40, 2, (id >> 8) as u8, id as u8]);
    }
    // Ten at once, the other twenty at ten a second.
    assert!(start.elapsed() >= Duration::from_millis(1900), "{:?}", start.elapsed());
    log.wait_for(&["rate.exceeded", "order 3", "slow"]);
    // Whoever reconnects does not start anew.
    let mut slow = client(node.addresses()[0], "slow");
    let start = Instant::now();
    for id in 1..=5 {
        slow.publish_acknowledged("t", id, false, b"x");
        listener.message();
    }
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
    lift(&node, 3, &action);
    for id in 1..=500 {
        slow.publish_acknowledged("t", id, false, b"x");
        listener.message();
    }
    let nothing = Action::Throttle { client_id: "slow".into(), messages_per_s: 0 };
    assert!(node.control().blocking_restrict(4, &nothing).is_err());
    node.shutdown().unwrap();
}

#[test]
fn the_posture_closes_in_stages_and_opens_again() {
    let base = tempfile::tempdir().unwrap();
    let class = Class { name: "relay".into(), never_cut: true, ..Class::default() };
    let more = "[[rate]]\nname = \"all\"\nscope = \"client\"\nmessages = \"8/h\"\non_exceed = \"drop\"\n\
                [posture.elevated]\nrefuse_new_devices = false\n";
    let (node, log) = with_users(base.path(), class, more);
    let mut alice = log_in(&node, "relay", "alice").unwrap();
    let mut bob = log_in(&node, "b", "bob").unwrap();
    bob.subscribe("kept/#", QoS::AtMostOnce);
    let many = |node: &Node, name: &str| {
        let mut client = log_in(node, name, "bob").unwrap();
        (0..12).filter(|_| publish(&mut client, "t") == 0).count()
    };
    assert_eq!(many(&node, "c1"), 8);
    let elevated = Action::Posture { level: Posture::Elevated };
    let effect = put(&node, 1, &elevated);
    assert!(effect.contains("elevated") && effect.contains("divided by 2"), "{effect}");
    log.wait_for(&["posture.changed", "normal", "elevated", "order 1", "divided by 2"]);
    assert_eq!(many(&node, "c2"), 4);
    let lockdown = Action::Posture { level: Posture::Lockdown };
    put(&node, 2, &lockdown);
    assert_eq!(node.control().posture(), Posture::Lockdown);
    assert_eq!(log_in(&node, "new", "bob").err(), Some(NOT_AUTHORIZED));
    log.wait_for(&["connection.refused", "posture", "new"]);
    assert_eq!(subscribe(&mut bob, "other/#"), NOT_AUTHORIZED);
    assert_eq!(subscribe(&mut bob, "other/+"), 0);
    assert_eq!(subscribe(&mut bob, "kept/#"), 0, "what it has stays");
    // Who is never cut off goes on, and comes again.
    assert_eq!(publish(&mut alice, "kept/1"), 0);
    assert_eq!(bob.message().0, "kept/1");
    drop(alice);
    let mut alice = log_in(&node, "relay2", "alice").unwrap();
    assert_eq!(subscribe(&mut alice, "all/#"), 0);
    lift(&node, 2, &lockdown);
    assert_eq!(node.control().posture(), Posture::Elevated, "what was before");
    log.wait_for(&["posture.changed", "lockdown", "elevated", "order 2"]);
    log_in(&node, "new", "bob").unwrap();
    lift(&node, 1, &elevated);
    assert_eq!(node.control().posture(), Posture::Normal);
    assert_eq!(many(&node, "c3"), 8);
    assert_eq!(subscribe(&mut bob, "other/#"), 0);
    node.shutdown().unwrap();
}

#[test]
fn an_elevated_posture_refuses_devices_that_nobody_has_seen() {
    let (node, _) = open(
        "[posture.lockdown]\nrefuse_anonymous = false\nrefuse_new_sessions = false\nclosed_listeners = [\"a\"]\n",
    );
    let address = node.addresses()[0];
    drop(client(address, "seen"));
    let known = || node.control().inventory(|inventory, _| inventory.known().contains("seen", None));
    wait_until(known, || "the inventory has not seen it".into());
    let elevated = Action::Posture { level: Posture::Elevated };
    put(&node, 1, &elevated);
    drop(client(address, "seen"));
    let mut stranger = Client::new(connect_socket(address), Version::V5);
    assert_eq!(stranger.try_connect(&connect("stranger")).0, NOT_AUTHORIZED);
    put(&node, 2, &Action::Posture { level: Posture::Lockdown });
    let mut late = Client::new(connect_socket(address), Version::V5);
    assert_eq!(late.try_connect(&connect("seen")).0, NOT_AUTHORIZED, "the listener is closed");
    lift(&node, 2, &Action::Posture { level: Posture::Lockdown });
    lift(&node, 1, &elevated);
    client(address, "stranger");
    node.shutdown().unwrap();
}

#[test]
fn who_is_never_cut_off_is_known_by_its_session_and_its_identity() {
    let base = tempfile::tempdir().unwrap();
    let class = Class { name: "relay".into(), never_cut: true, ..Class::default() };
    let (node, _) = with_users(base.path(), class, "");
    let control = node.control();
    assert!(control.is_never_cut("alice"), "the identity of that name");
    assert!(!control.is_never_cut("relay-7") && !control.is_never_cut("bob"));
    let _relay = log_in(&node, "relay-7", "alice").unwrap();
    let _bob = log_in(&node, "alice", "bob").unwrap();
    assert!(control.is_never_cut("relay-7"), "the class of the session");
    assert!(!control.is_never_cut("alice"), "the session of that name is bob's");
    node.shutdown().unwrap();
}

#[test]
fn little_trust_takes_rights_from_those_concerned_and_gives_none() {
    // The test says who is trusted, not the detectors.
    let (node, _) = open(
        "[detect]\nenabled = false\n[[trust]]\nbelow = 30\ndeny = [\"publish plant/+/cmd/#\", \"subscribe secret/#\"]\nqos_max = 1\n\
         [[trust]]\nbelow = 10\nquarantine = true\n",
    );
    let address = node.addresses()[0];
    let (mut low, mut fine) = (client(address, "low"), client(address, "fine"));
    low.subscribe("secret/#", QoS::AtMostOnce);
    low.subscribe("other/#", QoS::AtMostOnce);
    low.subscribe("+/+", QoS::AtMostOnce);
    let score = |score: u8| {
        node.control().trust_changed(&[("low".into(), score), ("fine".into(), 90)]);
        node.control().blocking_ask_all(|_| ()).unwrap();
    };
    score(29);
    assert_eq!(publish(&mut low, "plant/1/cmd/open"), NOT_AUTHORIZED);
    assert_eq!(publish(&mut fine, "secret/a"), 0);
    assert_eq!(publish(&mut fine, "other/a"), 0);
    assert_eq!(low.message().0, "other/a", "nothing of what is secret came by the broader filter");
    assert_eq!(publish(&mut low, "plant/1/state"), 0);
    low.send(&publish_bytes("plant/1/state", QoS::ExactlyOnce, 2, false, b"x"));
    assert_eq!(low.packet().unwrap()[4], NOT_AUTHORIZED, "above the highest QoS");
    score(35);
    assert_eq!(publish(&mut low, "plant/1/cmd/open"), NOT_AUTHORIZED, "not yet");
    score(9);
    assert_eq!(publish(&mut low, "plant/1/state"), NOT_AUTHORIZED, "quarantine");
    score(100);
    assert_eq!(publish(&mut low, "plant/1/cmd/open"), 0);
    let shard = home_shard("low", 2);
    let left = node.control().blocking_ask(shard, |view| view.broker().subscriptions_of("low").unwrap());
    assert!(left.unwrap().is_empty(), "trust gives nothing back: the client asks again");
    assert_eq!(subscribe(&mut low, "secret/#"), 0);
    node.shutdown().unwrap();
}

#[test]
fn a_thousand_restrictions_are_enough() {
    let (node, _) = open("");
    let control = node.control();
    for order in 0..1000 {
        put(&node, order, &Action::Throttle { client_id: format!("c{order}").into(), messages_per_s: 5 });
    }
    put(&node, 7, &Action::Throttle { client_id: "c7".into(), messages_per_s: 5 });
    let more = Action::Quarantine { client_id: Arc::from("one too many") };
    assert!(control.blocking_restrict(1000, &more).unwrap_err().to_string().contains("lift one first"));
    node.shutdown().unwrap();
}
