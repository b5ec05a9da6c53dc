//! Item 48: lock-out turned against those whom it protects, and its tables against the node.

use crate::support::source;
use ravelin_attacks::node::Setup;
use ravelin_attacks::witness::Witness;
use ravelin_attacks::{Connect, MIB, Node, Peer, Trial};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const BAD_PASSWORD: u8 = 0x86;
const TOO_OFTEN: u8 = 0x9F;
const LISTENER: &str = "transport = \"tcp\"\nbind_client_id = \"none\"\nauthentication = [\"password\"]";
/// "right", in a format that is quick to verify: what is tested is not the hash.
pub const QUICK: &str = "$6$cmF2ZWxpbi1zdG9ybQ==$68L54lNxQfugf2PxvequO+yJabRnb49uwHKeHmPBRFb6VZ9M3MAQ3Jf4Uh6dD91iS+Kb/\
     R+cJfrhIY5VoXn1QQ==";

/// A password file in which all of these users have the password "right".
pub fn quick_passwords<'u>(users: impl IntoIterator<Item = &'u str>) -> String {
    users.into_iter().map(|user| format!("{user}:{QUICK}\n")).collect()
}

fn setup(users: &[&str]) -> Setup {
    Setup::default()
        .section("[authentication]\npassword_file = \"passwords\"")
        .file("passwords", quick_passwords(users.iter().copied()).as_bytes())
}

/// Tries to log in from the loopback address `from`; the reason code.
fn log_in(node: SocketAddr, from: usize, client_id: &str, user: &str, password: &str) -> u8 {
    let mut peer = Peer::open_from(node, source(from));
    peer.greet(&Connect::v5(client_id).user(user, password)).expect("a CONNACK").reason()
}

/// The victim's name is hammered from many addresses, its own among them, for as long as it lives there.
#[test]
fn a48_a_name_that_is_hammered_does_not_lock_its_owner_out() {
    let mut node = setup(&["witness", "victim", "other"]).listener(LISTENER).start();
    let address = node.address();
    let witness =
        Witness::start(|client_id| Peer::connect(address, &Connect::v5(client_id).user("witness", "right")));
    let home = 0;
    assert_eq!(log_in(address, home, "meter", "victim", "right"), 0);
    let trial = Trial::begin_with(&node, 16 * MIB, witness);
    let (mut looked_at, mut refused, mut cpu) = (0, 0, Vec::new());
    for round in 0..60 {
        let before = node.cpu();
        for from in 0..50 {
            match log_in(address, from, "x", "victim", &format!("guess{round}")) {
                BAD_PASSWORD => looked_at += 1,
                TOO_OFTEN => refused += 1,
                other => panic!("{other:02x}"),
            }
        }
        cpu.push(node.cpu() - before);
        // The owner comes from where it always comes from.
        assert_eq!(log_in(address, home, "meter", "victim", "right"), 0, "round {round}");
    }
    println!(
        "{looked_at} guesses were looked at, {refused} were refused unseen; CPU of the last round {:?}",
        cpu[59]
    );
    assert!(looked_at < 100, "{looked_at} guesses of 3000");
    let event = node.expect("login.locked_out", &[("identity", "victim")]);
    assert!(event.number("pause_s") >= 1 && event.text("address").starts_with("127.1."));
    node.expect("login.failed", &[("identity", "victim")]);
    node.expect("connection.refused", &[("why", "locked_out"), ("identity", "victim")]);
    trial.finish(&mut node);
}

/// Somebody behind the NAT of many others fails in every name. Who logged in there before still does; who did not, waits.
#[test]
fn a48_a_nat_is_not_locked_out_by_one_behind_it() {
    let users: Vec<String> = (0..30).map(|number| format!("user{number}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut node = setup(&users).listener(LISTENER).start();
    let (address, nat) = (node.address(), 7);
    for user in &users[..20] {
        assert_eq!(log_in(address, nat, &format!("{user}-meter"), user, "right"), 0);
    }
    let mut looked_at = 0;
    for round in 0..20 {
        for user in users.iter().copied().chain(["nobody", "admin", "root"]) {
            looked_at += u32::from(log_in(address, nat, "x", user, "guess") == BAD_PASSWORD);
        }
        for user in &users[..20] {
            let reason = log_in(address, nat, &format!("{user}-meter"), user, "right");
            assert_eq!(reason, 0, "{user} in round {round}");
        }
    }
    assert!(looked_at < 250, "{looked_at} guesses of 660");
    assert_eq!(log_in(address, nat, "new", users[25], "right"), TOO_OFTEN, "a newcomer waits");
    assert_eq!(log_in(address, 9, "new", users[25], "right"), 0, "but not elsewhere");
    node.expect("login.locked_out", &[("scope", "address")]);
    node.assert_healthy();
}

/// Addresses without end, as IPv6 has them: hosts of one /64 are one, and many /64s fill no table beyond its size.
#[test]
fn a48_ipv6_hopping_and_spoofed_keys() {
    let listener = format!("{LISTENER}\nproxy_protocol = true\nproxy_trusted = [\"127.0.0.0/8\"]");
    let mut node = setup(&["victim"]).listener(&listener).limits("lockout_entries_max = 64").start();
    let address = node.address();
    // What the proxy says of where the client is.
    let from = |host: &str, client_id: &str, user: &str, password: &str| {
        let mut peer = Peer::open(address);
        let header = format!("PROXY TCP6 {host} 2001:db8::1 1000 1883\r\n");
        let connect = Connect::v5(client_id).user(user, password).to_bytes();
        peer.send(&[header.as_bytes(), &connect].concat());
        peer.read().expect("a CONNACK").reason()
    };
    assert_eq!(from("2001:db8:77::1", "meter", "victim", "right"), 0);
    let hops: Vec<u8> =
        (1..100).map(|host| from(&format!("2001:db8:1::{host:x}"), "x", "victim", "guess")).collect();
    assert_eq!(hops.iter().filter(|reason| **reason == BAD_PASSWORD).count(), 5, "one /64 is one address");
    let before = node.memory();
    for network in 0..2000u32 {
        let host = format!("2001:db8:{:x}:{:x}::1", 0x100 + (network >> 8), network & 255);
        let reason = from(&host, "x", &format!("name{network}"), "guess");
        assert!(reason == BAD_PASSWORD || reason == TOO_OFTEN, "{reason:02x}");
    }
    let grown = node.memory().saturating_sub(before);
    assert!(grown < 4 * MIB, "{} KiB", grown >> 10);
    assert_eq!(from("2001:db8:77::1", "meter", "victim", "right"), 0, "what was proven was not displaced");
    node.assert_healthy();
}

/// A refusal is no oracle: who exists and who does not wait alike, and are refused alike and at once.
#[test]
fn a48_a_pause_tells_nothing_of_who_exists() {
    let users = [("victim", "a better password")];
    let mut node = Setup::default().listener(LISTENER).passwords(&users).start();
    let address = node.address();
    for user in ["victim", "nobody"] {
        for _ in 0..5 {
            assert_eq!(log_in(address, 3, "x", user, "guess"), BAD_PASSWORD);
        }
        let started = Instant::now();
        assert_eq!(log_in(address, 3, "x", user, "guess"), TOO_OFTEN, "{user}");
        assert_eq!(log_in(address, 3, "x", user, "a better password"), TOO_OFTEN, "{user}");
        assert!(started.elapsed() < Duration::from_millis(900), "{user}: the pause is a second");
        let mut old = Peer::open_from(address, source(3));
        let connack = old.greet(&Connect::v311("x").user(user, "guess")).expect("a CONNACK");
        assert_eq!(connack.reason(), 5, "{user}");
    }
    let hashed = refused_unseen_costs(&mut node, address);
    println!("CPU of a refusal that is not looked at: {hashed:?}");
    // argon2id takes tens of milliseconds.
    assert!(hashed < Duration::from_millis(3), "{hashed:?}");
    node.assert_healthy();
}

fn refused_unseen_costs(node: &mut Node, address: SocketAddr) -> Duration {
    // Up to a pause of eight seconds.
    for _ in 0..4 {
        while log_in(address, 4, "x", "victim", "guess") != TOO_OFTEN {}
        std::thread::sleep(Duration::from_millis(1100));
    }
    while log_in(address, 4, "x", "victim", "guess") != TOO_OFTEN {}
    let before = node.cpu();
    for _ in 0..200 {
        assert_eq!(log_in(address, 4, "x", "victim", "guess"), TOO_OFTEN);
    }
    (node.cpu() - before) / 200
}
