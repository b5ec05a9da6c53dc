//! Bans and lock-out on a running node.

mod support;

use ravelin_mqtt::{Connect, Version};
use ravelin_node::control::{Actor, BanFailure};
use ravelin_node::{Node, Rung};
use ravelin_protect::lockout::Scope;
use ravelin_protect::password::Edit;
use ravelin_protect::{Ban, BanError, BanSubject, Secret};
use std::net::TcpStream;
use std::path::Path;
use support::*;

const BANNED: u8 = 0x8A;
const BAD_PASSWORD: u8 = 0x86;
const TOO_OFTEN: u8 = 0x9F;

fn ban(subject: &str, until_s: Option<u64>) -> Ban {
    let subject = BanSubject::parse(subject).unwrap();
    Ban { subject, reason: "a test".into(), by: "tester".into(), at_s: 0, until_s }
}

fn now_s(node: &Node) -> u64 {
    node.control().now().wall_ms / 1000
}

/// A node with a store in `base` that two users may log in on; `limits` are more keys.
fn with_users(base: &Path, limits: &str) -> (Node, Log) {
    let (passwords, key) = (base.join("passwords"), base.join("store.key"));
    if !passwords.exists() {
        let mut edit = Edit::open(&passwords).unwrap();
        for (user, password) in [("alice", "right"), ("bob", "right too")] {
            edit.set(user, &Secret::new(password)).unwrap();
        }
        edit.save().unwrap();
        ravelin_store::Keys::create(&key).unwrap();
    }
    let text = format!(
        "[node]\nworkers = 2\ndata = \"data\"\n[store]\nkey_file = \"store.key\"\n\
         [[listener]]\nname = \"a\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\nbind_client_id = \"none\"\n\
         authentication = [\"password\"]\n[authentication]\npassword_file = \"passwords\"\n\
         [access]\ndangerous_allow_everything = true\n[limits]\n{limits}"
    );
    node(&text, base)
}

fn log_in(
    node: &Node,
    client_id: &str,
    user: &str,
    password: &str,
    version: Version,
) -> (u8, Client<TcpStream>) {
    let mut client = Client::new(connect_socket(node.addresses()[0]), version);
    let connect =
        Connect { version, username: Some(user), password: Some(password.as_bytes()), ..connect(client_id) };
    let (reason, _) = client.try_connect(&connect);
    (reason, client)
}

#[test]
fn a_ban_cuts_who_is_connected_and_keeps_out_who_comes() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = with_users(directory.path(), "");
    let control = node.control();
    let (_, mut pump) = log_in(&node, "pump", "alice", "right", Version::V5);
    let (_, mut valve) = log_in(&node, "valve", "bob", "right too", Version::V5);
    let done = control.blocking_ban(&Actor::node(), ban("client_id:pump", None)).unwrap();
    assert_eq!((done.disconnected, pump.expect_end()), (1, Some(BANNED)));
    valve.ping();
    log.wait_for(&["admin.order", "ban.add", "client_id:pump"]);
    assert_eq!(log_in(&node, "pump", "alice", "right", Version::V5).0, BANNED);
    assert_eq!(log_in(&node, "pump", "alice", "right", Version::V311).0, 5);
    log.wait_for(&["connection.refused", "banned", "pump"]);
    assert_eq!(log_in(&node, "other", "alice", "right", Version::V5).0, 0);

    let done = control.blocking_ban(&Actor::node(), ban("identity:bob", None)).unwrap();
    assert_eq!((done.disconnected, valve.expect_end()), (1, Some(BANNED)));
    assert_eq!(log_in(&node, "valve2", "bob", "right too", Version::V5).0, BANNED);
    assert_eq!(
        log_in(&node, "valve2", "bob", "wrong", Version::V5).0,
        BAD_PASSWORD,
        "told who proves it only"
    );

    let subject = BanSubject::parse("identity:bob").unwrap();
    assert!(control.blocking_unban(&Actor::node(), &subject).unwrap().is_some());
    assert!(control.blocking_unban(&Actor::node(), &subject).unwrap().is_none());
    assert_eq!(log_in(&node, "valve2", "bob", "right too", Version::V5).0, 0);
    node.shutdown().unwrap();
}

#[test]
fn a_banned_address_is_closed_before_it_says_a_word() {
    let directory = tempfile::tempdir().unwrap();
    let (node, _) = with_users(directory.path(), "");
    let control = node.control();
    let (_, mut client) = log_in(&node, "a", "alice", "right", Version::V5);
    let done =
        control.blocking_ban(&Actor::node(), ban("network:127.0.0.0/8", Some(now_s(&node) + 3600))).unwrap();
    assert_eq!((done.disconnected, client.expect_end()), (1, Some(BANNED)));
    for _ in 0..100 {
        let mut stranger = Client::new(connect_socket(node.addresses()[0]), Version::V5);
        assert_eq!(stranger.packet(), None);
    }
    assert_eq!(control.ladder().banned, 100);
    let priced = || control.figures().rungs.of(Rung::Banned);
    wait_until(|| priced().refused == 100, || format!("{:?}", priced()));
    assert!(priced().cost_us().is_some_and(|us| us > 0.0 && us < 10_000.0), "{:?}", priced());
    control.blocking_unban(&Actor::node(), &BanSubject::parse("network:127.0.0.0/8").unwrap()).unwrap();
    assert_eq!(log_in(&node, "a", "alice", "right", Version::V5).0, 0);
    node.shutdown().unwrap();
}

#[test]
fn bans_outlive_restarts_and_end_by_themselves() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = with_users(directory.path(), "bans_max = 3");
    let control = node.control();
    let soon_s = now_s(&node) + 2;
    for subject in ["client_id:kept", "network:192.0.2.0/24"] {
        control.blocking_ban(&Actor::node(), ban(subject, None)).unwrap();
    }
    control.blocking_ban(&Actor::node(), ban("client_id:soon", Some(soon_s))).unwrap();
    let full = control.blocking_ban(&Actor::node(), ban("client_id:more", None));
    assert_eq!(full, Err(BanFailure::Ban(BanError::Full(3))));
    assert_eq!(control.ladder_levels().bans, 3);
    log.wait_for(&["ban.ended", "client_id:soon"]);
    assert!(now_s(&node) >= soon_s);
    control.blocking_ban(&Actor::node(), ban("client_id:lifted", None)).unwrap();
    control.blocking_unban(&Actor::node(), &BanSubject::ClientId("lifted".into())).unwrap();
    let before = control.bans(None, 10);
    node.shutdown().unwrap();

    let (node, _) = with_users(directory.path(), "bans_max = 1");
    let after = node.control().bans(None, 10);
    assert_eq!(after, before, "none is lifted by a smaller limit");
    assert_eq!(after.len(), 2);
    assert_eq!(log_in(&node, "kept", "alice", "right", Version::V5).0, BANNED);
    assert_eq!(log_in(&node, "soon", "alice", "right", Version::V5).0, 0);
    node.shutdown().unwrap();
}

#[test]
fn repeated_failures_are_refused_unseen_and_a_known_client_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = with_users(directory.path(), "lockout_pause = \"1h\"\nlockout_pause_max = \"1h\"");
    let control = node.control();
    assert_eq!(log_in(&node, "meter", "alice", "right", Version::V5).0, 0);
    for _ in 0..5 {
        assert_eq!(log_in(&node, "x", "alice", "wrong", Version::V5).0, BAD_PASSWORD);
        assert_eq!(log_in(&node, "x", "nobody", "wrong", Version::V5).0, BAD_PASSWORD);
    }
    log.wait_for(&["login.failed", "127.0.0.1", "alice"]);
    log.wait_for(&["login.locked_out", "alice", "pause_s=3600"]);
    for user in ["alice", "nobody"] {
        assert_eq!(log_in(&node, "x", user, "right", Version::V5).0, TOO_OFTEN, "existing or not");
        assert_eq!(log_in(&node, "x", user, "right", Version::V311).0, 5);
    }
    // The client that logged in here before still does; so do others.
    assert_eq!(log_in(&node, "meter", "alice", "right", Version::V5).0, 0);
    assert_eq!(log_in(&node, "x", "bob", "right too", Version::V5).0, 0);
    let list = control.lockouts(10);
    assert!(list.iter().any(|entry| {
        entry.scope == Scope::Pair && entry.user.as_deref() == Some("alice") && entry.locked_ms > 3_000_000
    }));
    let counters = control.lockout_counters();
    assert_eq!((counters.failed, counters.refused[Scope::Pair as usize]), (10, 4));
    let refused = || control.figures().rungs.of(Rung::LockedOut).refused;
    wait_until(|| refused() == 4, || format!("{}", refused()));
    assert!(control.clear_lockouts(&Actor::node(), Some("alice"), None) >= 1);
    assert_eq!(log_in(&node, "x", "alice", "right", Version::V5).0, 0);
    node.shutdown().unwrap();
}
