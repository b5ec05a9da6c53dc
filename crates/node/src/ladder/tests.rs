use super::*;

fn limits() -> LadderLimits {
    LadderLimits {
        connections_max: 10,
        connections_per_address_max: 4,
        preauth_max: 8,
        preauth_per_address_max: 3,
        accept_per_s: 1000,
        accept_burst: 1000,
        accept_per_address_per_s: 2,
        accept_per_address_burst: 5,
        addresses_max: 4,
        exempt_loopback: true,
        bans_max: 10,
        lockout: LockoutLimits::default(),
    }
}

fn at(mono_ms: u64) -> Now {
    Now { mono_ms, wall_ms: 1_000_000 + mono_ms }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_bucket_refills_at_its_rate_and_not_beyond_its_burst() {
    let mut bucket = TokenBucket::full(2, 0);
    assert!(bucket.take(0, 1, 2) && bucket.take(0, 1, 2) && !bucket.take(0, 1, 2));
    assert!(!bucket.take(999, 1, 2));
    assert!(bucket.take(1000, 1, 2) && !bucket.take(1000, 1, 2));
    assert!(bucket.take(1_000_000, 1, 2) && bucket.take(1_000_000, 1, 2) && !bucket.take(1_000_000, 1, 2));
    assert!(!bucket.take(5, 1, 2), "a clock that went back gives nothing");
}

#[test]
fn slots_of_an_address_are_freed_by_authentication_and_by_the_end() {
    let mut ladder = Ladder::new(limits(), 0);
    let a = ip("192.0.2.1");
    for _ in 0..3 {
        assert_eq!(ladder.admit(at(0), a, 0, 0), Ok(()));
    }
    assert_eq!(ladder.admit(at(0), a, 0, 0), Err(Rung::PreauthAddress));
    assert_eq!(ladder.counters().preauth_address, 1);
    ladder.authenticated(a);
    assert_eq!(ladder.admit(at(0), a, 0, 0), Ok(()));
    ladder.authenticated(a);
    assert_eq!(ladder.admit(at(0), a, 0, 0), Err(Rung::ConnectionsAddress));
    assert_eq!(ladder.counters().connections_address, 1);
    ladder.release(a, 0, true);
    assert_eq!(ladder.admit(at(0), a, 0, 0), Ok(()));
    ladder.release(a, 0, false);
    assert_eq!(ladder.admit(at(0), a, 0, 0), Err(Rung::RateAddress), "five tokens are spent");
    assert_eq!(ladder.admit(at(500), a, 0, 0), Ok(()));
}

#[test]
fn one_address_does_not_starve_another() {
    let mut ladder = Ladder::new(limits(), 0);
    for _ in 0..100 {
        let _ = ladder.admit(at(0), ip("192.0.2.1"), 0, 0);
    }
    assert_eq!(ladder.admit(at(0), ip("192.0.2.2"), 0, 0), Ok(()));
}

#[test]
fn an_ipv6_network_is_one_address() {
    let mut ladder = Ladder::new(limits(), 0);
    for i in 0..3 {
        assert_eq!(ladder.admit(at(0), ip(&format!("2001:db8::{i}")), 0, 0), Ok(()));
    }
    assert!(ladder.admit(at(0), ip("2001:db8::ffff:1"), 0, 0).is_err());
    assert_eq!(ladder.admit(at(0), ip("2001:db8:0:1::1"), 0, 0), Ok(()));
    assert_eq!(address_key(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
}

#[test]
fn the_table_is_bounded_and_forgets_who_owes_nothing() {
    let mut ladder = Ladder::new(limits(), 0);
    for i in 0..4 {
        let a = ip(&format!("192.0.2.{i}"));
        assert_eq!(ladder.admit(at(0), a, 0, 0), Ok(()));
        ladder.release(a, 0, false);
    }
    // One of them gives way to a stranger, as long as it is not connected.
    for i in 10..14 {
        assert_eq!(ladder.admit(at(0), ip(&format!("192.0.2.{i}")), 0, 0), Ok(()));
        assert!(ladder.addresses.len() <= 4);
    }
    assert_eq!(ladder.admit(at(0), ip("192.0.2.99"), 0, 0), Err(Rung::Connections), "all are connected");
    assert_eq!(ladder.levels().addresses, 4);
}

#[test]
fn loopback_is_exempt_per_address_only() {
    let mut ladder = Ladder::new(limits(), 0);
    for _ in 0..8 {
        assert_eq!(ladder.admit(at(0), ip("127.0.0.1"), 0, 0), Ok(()));
    }
    assert_eq!(ladder.admit(at(0), ip("127.0.0.1"), 0, 0), Err(Rung::Preauth));
}

#[test]
fn a_listener_has_a_limit_of_its_own() {
    let mut ladder = Ladder::new(limits(), 0);
    assert_eq!(ladder.admit(at(0), ip("192.0.2.1"), 1, 1), Ok(()));
    assert!(ladder.admit(at(0), ip("192.0.2.2"), 1, 1).is_err());
    assert_eq!(ladder.admit(at(0), ip("192.0.2.2"), 0, 1), Ok(()));
    ladder.release(ip("192.0.2.1"), 1, false);
    assert_eq!(ladder.admit(at(0), ip("192.0.2.3"), 1, 1), Ok(()));
}

#[test]
fn a_banned_address_takes_nothing_from_anybody() {
    let mut ladder = Ladder::new(limits(), 0);
    let subject = ravelin_protect::BanSubject::parse("network:192.0.2.0/24").unwrap();
    let ban =
        ravelin_protect::Ban { subject, reason: "".into(), by: "".into(), at_s: 0, until_s: Some(1005) };
    ladder.bans.insert(ban, 1000).unwrap();
    for _ in 0..100 {
        assert_eq!(ladder.admit(at(0), ip("192.0.2.7"), 0, 0), Err(Rung::Banned));
    }
    assert_eq!((ladder.counters().banned, ladder.levels().addresses), (100, 0));
    assert_eq!(ladder.admit(at(0), ip("198.51.100.1"), 0, 0), Ok(()));
    assert_eq!(ladder.admit(at(5000), ip("192.0.2.7"), 0, 0), Ok(()), "it has ended");
}

#[test]
fn nobody_new_comes_in_when_memory_is_short() {
    let mut ladder = Ladder::new(limits(), 0);
    ladder.set_short_of_memory(true);
    assert_eq!(ladder.admit(at(0), ip("192.0.2.7"), 0, 0), Err(Rung::Memory));
    ladder.set_short_of_memory(false);
    assert_eq!(ladder.admit(at(0), ip("192.0.2.7"), 0, 0), Ok(()));
}
