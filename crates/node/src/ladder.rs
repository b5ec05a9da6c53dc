//! The first rungs of the accept ladder: token buckets, connection caps and pre-authentication slots.
//!
//! Pure: time is an argument. One ladder serves all shards, because an address may reach any of them; it is asked once
//! when a connection is accepted, once when it is authenticated and once when it ends, never for a packet.

use foldhash::HashMap;
use ravelin_event::Refusal;
use ravelin_protect::address_key;
use std::net::IpAddr;

/// What the ladder allows. A rate or count of 0 means: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LadderLimits {
    /// Connections of the whole node.
    pub connections_max: u32,
    /// Connections of one address (IPv6: of one /64).
    pub connections_per_address_max: u32,
    /// Connections that are not authenticated yet.
    pub preauth_max: u32,
    /// Connections of one address that are not authenticated yet.
    pub preauth_per_address_max: u32,
    /// New connections a second, in all.
    pub accept_per_s: u32,
    /// How many may come at once.
    pub accept_burst: u32,
    /// New connections a second from one address.
    pub accept_per_address_per_s: u32,
    /// How many may come at once from one address.
    pub accept_per_address_burst: u32,
    /// Addresses that are remembered.
    pub addresses_max: usize,
    /// Whether loopback is exempt from the limits per address.
    pub exempt_loopback: bool,
}

/// What was let in and what each rung refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LadderCounters {
    /// Connections admitted.
    pub admitted: u64,
    /// Refused: too many new connections in all.
    pub rate: u64,
    /// Refused: too many new connections from the address.
    pub rate_address: u64,
    /// Refused: the node has all the connections it may have.
    pub connections: u64,
    /// Refused: the address has all the connections it may have.
    pub connections_address: u64,
    /// Refused: too many connections wait to be authenticated.
    pub preauth: u64,
    /// Refused: too many connections of the address wait to be authenticated.
    pub preauth_address: u64,
}

/// A bucket that is filled at a steady rate and emptied by what happens.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// In thousandths of a token, so that a millisecond of one token a second counts.
    level: u64,
    at_ms: u64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn full(burst: u32, now_ms: u64) -> TokenBucket {
        TokenBucket { level: u64::from(burst) * 1000, at_ms: now_ms }
    }

    /// Takes one token, if there is one.
    pub fn take(&mut self, now_ms: u64, per_s: u32, burst: u32) -> bool {
        let full = u64::from(burst.max(1)) * 1000;
        let elapsed_ms = now_ms.saturating_sub(self.at_ms);
        self.level = self.level.saturating_add(elapsed_ms.saturating_mul(u64::from(per_s))).min(full);
        self.at_ms = self.at_ms.max(now_ms);
        if self.level < 1000 {
            return false;
        }
        self.level -= 1000;
        true
    }

    fn is_full(&self, now_ms: u64, per_s: u32, burst: u32) -> bool {
        let gained = now_ms.saturating_sub(self.at_ms).saturating_mul(u64::from(per_s));
        self.level.saturating_add(gained) >= u64::from(burst.max(1)) * 1000
    }
}

struct Address {
    bucket: TokenBucket,
    connections: u32,
    preauth: u32,
}

/// The state of the ladder.
pub struct Ladder {
    limits: LadderLimits,
    bucket: TokenBucket,
    connections: u32,
    connections_high: u32,
    preauth: u32,
    addresses: HashMap<IpAddr, Address>,
    /// Connections of each listener.
    entrances: Vec<u32>,
    counters: LadderCounters,
}

impl Ladder {
    /// A ladder with full buckets.
    pub fn new(limits: LadderLimits, now_ms: u64) -> Ladder {
        Ladder {
            limits,
            bucket: TokenBucket::full(limits.accept_burst, now_ms),
            connections: 0,
            connections_high: 0,
            preauth: 0,
            addresses: HashMap::default(),
            entrances: Vec::new(),
            counters: LadderCounters::default(),
        }
    }

    /// Changes the limits; who is in stays in.
    pub fn set_limits(&mut self, limits: LadderLimits) {
        self.limits = limits;
    }

    /// What was let in and refused.
    pub fn counters(&self) -> LadderCounters {
        self.counters
    }

    /// The most connections there were at once.
    pub fn connections_high(&self) -> u32 {
        self.connections_high
    }

    /// A connection from `address` at the listener `entrance`, which may have `entrance_max` of them: takes a token
    /// and a pre-authentication slot, or says which rung refuses it. The cheapest rung is asked first.
    pub fn admit(
        &mut self,
        now_ms: u64,
        address: IpAddr,
        entrance: u16,
        entrance_max: u32,
    ) -> Result<(), Refusal> {
        let limits = self.limits;
        let entrance = usize::from(entrance);
        if self.entrances.len() <= entrance {
            self.entrances.resize(entrance + 1, 0);
        }
        if over(limits.connections_max, self.connections) || over(entrance_max, self.entrances[entrance]) {
            self.counters.connections += 1;
            return Err(Refusal::TooManyConnections);
        }
        if over(limits.preauth_max, self.preauth) {
            self.counters.preauth += 1;
            return Err(Refusal::TooManyConnections);
        }
        // The address's own rungs come before the common bucket, so that one address cannot use up what all share.
        if self.counts(address) {
            self.admit_address(now_ms, address)?;
        }
        if limits.accept_per_s > 0 && !self.bucket.take(now_ms, limits.accept_per_s, limits.accept_burst) {
            self.counters.rate += 1;
            return Err(Refusal::ConnectionRate);
        }
        if self.counts(address)
            && let Some(entry) = self.addresses.get_mut(&address_key(address))
        {
            entry.connections += 1;
            entry.preauth += 1;
        }
        self.entrances[entrance] += 1;
        self.connections += 1;
        self.connections_high = self.connections_high.max(self.connections);
        self.preauth += 1;
        self.counters.admitted += 1;
        Ok(())
    }

    /// Whether the limits per address hold for it.
    fn counts(&self, address: IpAddr) -> bool {
        !(self.limits.exempt_loopback && address.to_canonical().is_loopback())
    }

    fn admit_address(&mut self, now_ms: u64, address: IpAddr) -> Result<(), Refusal> {
        let limits = self.limits;
        if self.addresses.len() >= limits.addresses_max {
            self.forget_idle(now_ms);
        }
        let full = self.addresses.len() >= limits.addresses_max;
        let key = address_key(address);
        if full && !self.addresses.contains_key(&key) {
            // Every remembered address is in use or in debt: a stranger waits until one is forgotten.
            self.counters.connections += 1;
            return Err(Refusal::TooManyConnections);
        }
        let entry = self.addresses.entry(key).or_insert_with(|| Address {
            bucket: TokenBucket::full(limits.accept_per_address_burst, now_ms),
            connections: 0,
            preauth: 0,
        });
        if over(limits.connections_per_address_max, entry.connections) {
            self.counters.connections_address += 1;
            return Err(Refusal::TooManyConnections);
        }
        if over(limits.preauth_per_address_max, entry.preauth) {
            self.counters.preauth_address += 1;
            return Err(Refusal::TooManyConnections);
        }
        let (per_s, burst) = (limits.accept_per_address_per_s, limits.accept_per_address_burst);
        if per_s > 0 && !entry.bucket.take(now_ms, per_s, burst) {
            self.counters.rate_address += 1;
            return Err(Refusal::ConnectionRate);
        }
        Ok(())
    }

    /// A connection was authenticated: its pre-authentication slot is free.
    pub fn authenticated(&mut self, address: IpAddr) {
        self.preauth = self.preauth.saturating_sub(1);
        if let Some(entry) = self.addresses.get_mut(&address_key(address)) {
            entry.preauth = entry.preauth.saturating_sub(1);
        }
    }

    /// A connection ended.
    pub fn release(&mut self, address: IpAddr, entrance: u16, was_authenticated: bool) {
        if !was_authenticated {
            self.authenticated(address);
        }
        self.connections = self.connections.saturating_sub(1);
        if let Some(count) = self.entrances.get_mut(usize::from(entrance)) {
            *count = count.saturating_sub(1);
        }
        if let Some(entry) = self.addresses.get_mut(&address_key(address)) {
            entry.connections = entry.connections.saturating_sub(1);
        }
    }

    fn forget_idle(&mut self, now_ms: u64) {
        let (per_s, burst) = (self.limits.accept_per_address_per_s, self.limits.accept_per_address_burst);
        self.addresses.retain(|_, entry| {
            entry.connections > 0 || (per_s > 0 && !entry.bucket.is_full(now_ms, per_s, burst))
        });
    }
}

fn over(limit: u32, count: u32) -> bool {
    limit > 0 && count >= limit
}

#[cfg(test)]
mod tests {
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
        }
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
        assert!(
            bucket.take(1_000_000, 1, 2) && bucket.take(1_000_000, 1, 2) && !bucket.take(1_000_000, 1, 2)
        );
        assert!(!bucket.take(5, 1, 2), "a clock that went back gives nothing");
    }

    #[test]
    fn slots_of_an_address_are_freed_by_authentication_and_by_the_end() {
        let mut ladder = Ladder::new(limits(), 0);
        let a = ip("192.0.2.1");
        for _ in 0..3 {
            assert_eq!(ladder.admit(0, a, 0, 0), Ok(()));
        }
        assert_eq!(ladder.admit(0, a, 0, 0), Err(Refusal::TooManyConnections));
        assert_eq!(ladder.counters().preauth_address, 1);
        ladder.authenticated(a);
        assert_eq!(ladder.admit(0, a, 0, 0), Ok(()));
        ladder.authenticated(a);
        assert_eq!(ladder.admit(0, a, 0, 0), Err(Refusal::TooManyConnections));
        assert_eq!(ladder.counters().connections_address, 1);
        ladder.release(a, 0, true);
        assert_eq!(ladder.admit(0, a, 0, 0), Ok(()));
        ladder.release(a, 0, false);
        assert_eq!(ladder.admit(0, a, 0, 0), Err(Refusal::ConnectionRate), "five tokens are spent");
        assert_eq!(ladder.admit(500, a, 0, 0), Ok(()));
    }

    #[test]
    fn one_address_does_not_starve_another() {
        let mut ladder = Ladder::new(limits(), 0);
        for _ in 0..100 {
            let _ = ladder.admit(0, ip("192.0.2.1"), 0, 0);
        }
        assert_eq!(ladder.admit(0, ip("192.0.2.2"), 0, 0), Ok(()));
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let mut ladder = Ladder::new(limits(), 0);
        for i in 0..3 {
            assert_eq!(ladder.admit(0, ip(&format!("2001:db8::{i}")), 0, 0), Ok(()));
        }
        assert!(ladder.admit(0, ip("2001:db8::ffff:1"), 0, 0).is_err());
        assert_eq!(ladder.admit(0, ip("2001:db8:0:1::1"), 0, 0), Ok(()));
        assert_eq!(address_key(ip("::ffff:192.0.2.1")), ip("192.0.2.1"));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_who_owes_nothing() {
        let mut ladder = Ladder::new(limits(), 0);
        for i in 0..4 {
            let a = ip(&format!("192.0.2.{i}"));
            assert_eq!(ladder.admit(0, a, 0, 0), Ok(()));
            ladder.release(a, 0, false);
        }
        assert!(ladder.admit(0, ip("192.0.2.9"), 0, 0).is_err(), "all four still owe a token");
        assert_eq!(ladder.admit(10_000, ip("192.0.2.9"), 0, 0), Ok(()));
        assert!(ladder.addresses.len() <= 4);
    }

    #[test]
    fn loopback_is_exempt_per_address_only() {
        let mut ladder = Ladder::new(limits(), 0);
        for _ in 0..8 {
            assert_eq!(ladder.admit(0, ip("127.0.0.1"), 0, 0), Ok(()));
        }
        assert_eq!(ladder.admit(0, ip("127.0.0.1"), 0, 0), Err(Refusal::TooManyConnections));
    }

    #[test]
    fn a_listener_has_a_limit_of_its_own() {
        let mut ladder = Ladder::new(limits(), 0);
        assert_eq!(ladder.admit(0, ip("192.0.2.1"), 1, 1), Ok(()));
        assert!(ladder.admit(0, ip("192.0.2.2"), 1, 1).is_err());
        assert_eq!(ladder.admit(0, ip("192.0.2.2"), 0, 1), Ok(()));
        ladder.release(ip("192.0.2.1"), 1, false);
        assert_eq!(ladder.admit(0, ip("192.0.2.3"), 1, 1), Ok(()));
    }
}
