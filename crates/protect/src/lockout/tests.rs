use super::*;
use proptest::prelude::*;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;

fn lockout() -> Lockout {
    Lockout::new(LockoutLimits::default(), RandomState::new())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn login<'a>(user: &'a str, address: &str, client_id: &'a str) -> Login<'a> {
    Login { user, address: ip(address), client_id, certificate: None }
}

/// Tries to log in; `None` is a refusal.
fn attempt(lockout: &mut Lockout, now_ms: u64, login: Login<'_>, right: bool) -> Option<bool> {
    let ticket = lockout.begin(now_ms, login).ok()??;
    lockout.finish(now_ms, ticket, if right { Outcome::Succeeded } else { Outcome::Failed });
    Some(right)
}

#[test]
fn five_failures_are_free_and_pauses_double_up_to_a_quarter_of_an_hour() {
    let mut lockout = lockout();
    let (mut now_ms, mut pauses) = (0, Vec::new());
    for _ in 0..20 {
        let ticket = lockout.begin(now_ms, login("alice", "192.0.2.1", "c")).unwrap().unwrap();
        let locked = lockout.finish(now_ms, ticket, Outcome::Failed);
        pauses.push(locked.map_or(0, |locked| (locked.until_ms - now_ms) / SECOND));
        if let Some(locked) = locked {
            assert!(lockout.begin(locked.until_ms - 1, login("alice", "192.0.2.1", "c")).is_err());
            now_ms = locked.until_ms;
        }
    }
    assert_eq!(pauses[..10], [0, 0, 0, 0, 1, 2, 4, 8, 16, 32]);
    assert_eq!(pauses[15..], [900; 5]);
}

#[test]
fn failures_are_forgotten_with_time_but_not_during_a_pause() {
    let mut lockout = lockout();
    for _ in 0..4 {
        attempt(&mut lockout, 0, login("alice", "192.0.2.1", "c"), false);
    }
    // Two minutes for each failure.
    let later = 8 * MINUTE;
    assert!(lockout.list(later, 10).is_empty());
    for _ in 0..4 {
        assert_eq!(attempt(&mut lockout, later, login("alice", "192.0.2.1", "c"), false), Some(false));
    }
    assert_eq!(attempt(&mut lockout, later, login("alice", "192.0.2.1", "c"), true), Some(true));
}

#[test]
fn a_success_forgives_the_pair_but_neither_the_address_nor_the_name() {
    let mut lockout = lockout();
    for name in 0..19 {
        attempt(&mut lockout, 0, login(&format!("user{name}"), "192.0.2.1", "c"), false);
    }
    // The attacker has one valid account there, and uses it between guesses.
    assert_eq!(attempt(&mut lockout, 0, login("mallory", "192.0.2.1", "m"), true), Some(true));
    assert_eq!(
        attempt(&mut lockout, 0, login("next", "192.0.2.1", "c"), false),
        Some(false),
        "the twentieth"
    );
    assert_eq!(attempt(&mut lockout, 1, login("another", "192.0.2.1", "c"), false), None);
    assert_eq!(attempt(&mut lockout, 1, login("mallory", "192.0.2.1", "other"), true), Some(true));
    assert_eq!(attempt(&mut lockout, 1, login("another", "192.0.2.1", "c"), false), None);
}

#[test]
fn many_at_once_after_a_pause_get_one_guess() {
    let mut lockout = lockout();
    for _ in 0..5 {
        attempt(&mut lockout, 0, login("alice", "192.0.2.1", "c"), false);
    }
    let now_ms = 2 * SECOND;
    let first = lockout.begin(now_ms, login("alice", "192.0.2.1", "c")).unwrap().unwrap();
    let refused =
        (0..50).filter(|_| lockout.begin(now_ms, login("alice", "192.0.2.1", "c")).is_err()).count();
    assert_eq!(refused, 50);
    lockout.finish(now_ms, first, Outcome::Abandoned);
    assert!(
        lockout.begin(now_ms, login("alice", "192.0.2.1", "c")).is_ok(),
        "an abandoned one is no failure"
    );
}

#[test]
fn an_ipv6_network_of_64_bits_is_one_address() {
    let mut lockout = lockout();
    for host in 0..5 {
        attempt(&mut lockout, 0, login("alice", &format!("2001:db8::{host}"), "c"), false);
    }
    assert_eq!(attempt(&mut lockout, 1, login("alice", "2001:db8::ffff", "c"), true), None);
    assert_eq!(attempt(&mut lockout, 1, login("alice", "2001:db8:0:1::1", "c"), true), Some(true));
}

#[test]
fn a_certificate_is_locked_out_by_nobody_but_itself() {
    let mut lockout = lockout();
    let device = Login { certificate: Some("ab"), ..login("pump", "192.0.2.1", "pump") };
    for second in 0..3600 {
        let now_ms = second * SECOND;
        attempt(&mut lockout, now_ms, login("pump", "192.0.2.1", "pump"), false);
        attempt(&mut lockout, now_ms, login("pump", &format!("198.51.100.{}", second % 250), "pump"), false);
        assert_eq!(attempt(&mut lockout, now_ms, device, true), Some(true), "after {second} s");
    }
    // Its second factor cannot be guessed at will, though: half a minute for each.
    let guesses = (3600..7200).filter(|s| attempt(&mut lockout, s * SECOND, device, false).is_some()).count();
    assert!((100..140).contains(&guesses), "{guesses}");
}

/// Attack 48: a user's name is hammered from everywhere; the user logs in from where it always does.
#[test]
fn a_hammered_name_does_not_lock_its_owner_out() {
    let mut lockout = lockout();
    assert_eq!(attempt(&mut lockout, 0, login("victim", "192.0.2.1", "meter"), true), Some(true));
    let mut guesses = 0;
    for step in 0..200_000u64 {
        // Ten a second from a thousand addresses, for more than five hours.
        let now_ms = MINUTE + step * 100;
        let address = format!("198.51.{}.{}", step % 1000 / 250, step % 250);
        guesses += u32::from(attempt(&mut lockout, now_ms, login("victim", &address, "x"), false).is_some());
        if step % 600 == 0 {
            let owner = login("victim", "192.0.2.1", "meter");
            assert_eq!(attempt(&mut lockout, now_ms, owner, true), Some(true), "at {now_ms}");
            let elsewhere = login("victim", "192.0.2.1", "another client");
            assert_eq!(attempt(&mut lockout, now_ms, elsewhere, true), Some(true), "at {now_ms}");
        }
    }
    // Some 50 before the name is slow everywhere, then two a minute.
    assert!(guesses < 1000, "{guesses} of 200000 guesses were looked at");
}

/// Attack 48: somebody behind a NAT fails in every name, also in those of its neighbours.
#[test]
fn a_neighbour_behind_the_same_nat_does_not_lock_the_others_out() {
    let mut lockout = lockout();
    let nat = "203.0.113.7";
    for user in 0..100 {
        let (name, id) = (format!("user{user}"), format!("meter{user}"));
        assert_eq!(attempt(&mut lockout, 0, login(&name, nat, &id), true), Some(true));
    }
    let mut guesses = 0;
    for step in 0..100_000u64 {
        let now_ms = MINUTE + step * 100;
        // Names of neighbours, and others.
        let name = format!("user{}", step % 200);
        guesses += u32::from(attempt(&mut lockout, now_ms, login(&name, nat, "x"), false).is_some());
        let user = step % 100;
        let (name, id) = (format!("user{user}"), format!("meter{user}"));
        assert_eq!(
            attempt(&mut lockout, now_ms, login(&name, nat, &id), true),
            Some(true),
            "{name} at {now_ms}"
        );
    }
    assert!(guesses < 3000, "{guesses} of 100000 guesses were looked at");
}

/// Attack 50: after a restart nobody is known, and all come back at once, some of them through one NAT.
#[test]
fn a_storm_of_right_log_ins_locks_nobody_out() {
    let mut lockout = lockout();
    let mut pending = Vec::new();
    for client in 0..20_000u32 {
        let address = if client % 2 == 0 {
            "203.0.113.7".into()
        } else {
            format!("10.0.{}.{}", client % 200, client % 250)
        };
        let (name, id) = (format!("user{}", client % 300), format!("meter{client}"));
        pending.push(lockout.begin(0, login(&name, &address, &id)).unwrap().unwrap());
        if pending.len() == 500 {
            for ticket in pending.drain(..) {
                assert_eq!(lockout.finish(1, ticket, Outcome::Succeeded), None);
            }
        }
    }
    assert_eq!(lockout.counters(), LockoutCounters::default());
}

#[test]
fn tables_are_bounded_and_what_was_proven_is_not_displaced_by_failures() {
    let limits = LockoutLimits { entries_max: 1000, ..LockoutLimits::default() };
    let mut lockout = Lockout::new(limits, RandomState::new());
    assert_eq!(attempt(&mut lockout, 0, login("victim", "192.0.2.1", "meter"), true), Some(true));
    for key in 0..50_000u32 {
        let address = format!("2001:db8:{:x}:{:x}::1", key >> 8, key & 255);
        attempt(&mut lockout, 1, login(&format!("name{key}"), &address, "x"), false);
    }
    assert!(lockout.len() <= 1000);
    for _ in 0..200 {
        attempt(&mut lockout, 2, login("victim", "192.0.2.1", "x"), false);
    }
    assert_eq!(attempt(&mut lockout, 3, login("victim", "192.0.2.1", "meter"), true), Some(true));
}

#[test]
fn what_is_counted_is_listed_and_cleared() {
    let mut lockout = lockout();
    for _ in 0..6 {
        attempt(&mut lockout, 0, login("alice", "192.0.2.1", "c"), false);
    }
    attempt(&mut lockout, 0, login("bob", "192.0.2.2", "c"), false);
    let list = lockout.list(0, 10);
    assert_eq!((list[0].scope, list[0].failures, list[0].locked_ms), (Scope::Pair, 5, 1000));
    assert_eq!(list.len(), 6, "a pair, an address and a name of each");
    assert_eq!(lockout.list(0, 2).len(), 2);
    assert_eq!(lockout.clear(Some("alice"), Some(ip("192.0.2.1"))), 1);
    assert_eq!(attempt(&mut lockout, 1, login("alice", "192.0.2.1", "c"), true), Some(true));
    assert!(lockout.clear(None, None) > 0 && lockout.list(0, 10).is_empty());
}

#[test]
fn it_can_be_off() {
    let limits = LockoutLimits { enabled: false, ..LockoutLimits::default() };
    let mut lockout = Lockout::new(limits, RandomState::new());
    assert!(matches!(lockout.begin(0, login("a", "192.0.2.1", "c")), Ok(None)));
}

proptest! {
    /// Whatever others do and whenever, a device that proved itself and makes no mistake is never refused.
    #[test]
    fn nobody_else_can_lock_a_known_device_out(
        steps in proptest::collection::vec((0u64..40_000, 0u8..4, 0u8..3, 0u8..3, any::<bool>()), 1..300),
    ) {
        let mut lockout = lockout();
        let owner = login("victim", "192.0.2.1", "meter");
        prop_assert_eq!(attempt(&mut lockout, 0, owner, true), Some(true));
        let mut now_ms = 0;
        for (wait_ms, user, address, client_id, right) in steps {
            now_ms += wait_ms;
            let user = ["victim", "alice", "bob", "nobody"][usize::from(user)];
            let address = ["192.0.2.1", "192.0.2.2", "2001:db8::1"][usize::from(address)];
            let client_id = ["x", "y", ""][usize::from(client_id)];
            attempt(&mut lockout, now_ms, login(user, address, client_id), right && user != "victim");
            prop_assert_eq!(attempt(&mut lockout, now_ms, owner, true), Some(true));
        }
    }
}
