//! The accept ladder: bans, token buckets, connection caps, pre-authentication slots, lock-out.
//!
//! Pure: time is an argument. One ladder serves all shards, because an address may reach any of them; it is asked when a
//! connection is accepted, when it logs in, when it is authenticated and when it ends, never for a packet.

mod rung;

pub use rung::{Rung, RungFigures, Rungs};

use ravelin_broker::Now;
use ravelin_protect::table::Table;
use ravelin_protect::{Bans, Lockout, LockoutLimits, address_key};
use std::hash::RandomState;
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
    /// Bans.
    pub bans_max: usize,
    /// Failed log-ins.
    pub lockout: LockoutLimits,
}

/// What was let in and what each rung refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LadderCounters {
    /// Connections admitted.
    pub admitted: u64,
    /// Refused: the address is banned.
    pub banned: u64,
    /// Refused: the node is short of memory.
    pub memory: u64,
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

/// How full the ladder is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LadderLevels {
    /// Connections.
    pub connections: u32,
    /// The most there were at once.
    pub connections_high: u32,
    /// Connections that are not authenticated.
    pub preauth: u32,
    /// The most there were at once.
    pub preauth_high: u32,
    /// Addresses that are remembered.
    pub addresses: usize,
    /// Bans.
    pub bans: usize,
    /// Entries of the fullest table of lock-out.
    pub lockout: usize,
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

    /// What is missing until it is full again, in thousandths of a token.
    fn debt(&self, now_ms: u64, per_s: u32, burst: u32) -> u64 {
        let gained = now_ms.saturating_sub(self.at_ms).saturating_mul(u64::from(per_s));
        (u64::from(burst.max(1)) * 1000).saturating_sub(self.level.saturating_add(gained))
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
    preauth_high: u32,
    addresses: Table<IpAddr, Address>,
    /// Connections of each listener.
    entrances: Vec<u32>,
    counters: LadderCounters,
    /// The node has no memory to spare: nobody new.
    is_short_of_memory: bool,
    /// Who is banned.
    pub bans: Bans,
    /// Who failed to log in.
    pub lockout: Lockout,
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
            preauth_high: 0,
            addresses: Table::new(limits.addresses_max),
            entrances: Vec::new(),
            counters: LadderCounters::default(),
            is_short_of_memory: false,
            bans: Bans::new(limits.bans_max),
            lockout: Lockout::new(limits.lockout, RandomState::new()),
        }
    }

    /// Changes the limits; who is in stays in.
    pub fn set_limits(&mut self, limits: LadderLimits) {
        self.limits = limits;
        self.addresses.set_max(limits.addresses_max);
        self.bans.set_max(limits.bans_max);
        self.lockout.set_limits(limits.lockout);
    }

    /// Says whether new connections are refused for want of memory.
    pub fn set_short_of_memory(&mut self, is_short: bool) {
        self.is_short_of_memory = is_short;
    }

    /// What was let in and refused.
    pub fn counters(&self) -> LadderCounters {
        self.counters
    }

    /// The most connections there were at once.
    pub fn connections_high(&self) -> u32 {
        self.connections_high
    }

    /// How full it is.
    pub fn levels(&self) -> LadderLevels {
        LadderLevels {
            connections: self.connections,
            connections_high: self.connections_high,
            preauth: self.preauth,
            preauth_high: self.preauth_high,
            addresses: self.addresses.len(),
            bans: self.bans.len(),
            lockout: self.lockout.len(),
        }
    }

    /// A connection from `address` at the listener `entrance`, which may have `entrance_max` of them: takes a token
    /// and a pre-authentication slot, or says which rung refuses it. The cheapest rung is asked first.
    pub fn admit(&mut self, now: Now, address: IpAddr, entrance: u16, entrance_max: u32) -> Result<(), Rung> {
        let (limits, now_ms) = (self.limits, now.mono_ms);
        if !self.bans.is_empty() && self.bans.is_address_banned(address, now.wall_ms / 1000) {
            self.counters.banned += 1;
            return Err(Rung::Banned);
        }
        if self.is_short_of_memory {
            self.counters.memory += 1;
            return Err(Rung::Memory);
        }
        let entrance = usize::from(entrance);
        if self.entrances.len() <= entrance {
            self.entrances.resize(entrance + 1, 0);
        }
        if over(limits.connections_max, self.connections) || over(entrance_max, self.entrances[entrance]) {
            self.counters.connections += 1;
            return Err(Rung::Connections);
        }
        if over(limits.preauth_max, self.preauth) {
            self.counters.preauth += 1;
            return Err(Rung::Preauth);
        }
        // The address's own rungs come before the common bucket, so that one address cannot use up what all share.
        if self.counts(address) {
            self.admit_address(now_ms, address)?;
        }
        if limits.accept_per_s > 0 && !self.bucket.take(now_ms, limits.accept_per_s, limits.accept_burst) {
            self.counters.rate += 1;
            return Err(Rung::Rate);
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
        self.preauth_high = self.preauth_high.max(self.preauth);
        self.counters.admitted += 1;
        Ok(())
    }

    /// Whether the limits per address hold for it.
    fn counts(&self, address: IpAddr) -> bool {
        !(self.limits.exempt_loopback && address.to_canonical().is_loopback())
    }

    fn admit_address(&mut self, now_ms: u64, address: IpAddr) -> Result<(), Rung> {
        let limits = self.limits;
        let (per_s, burst) = (limits.accept_per_address_per_s, limits.accept_per_address_burst);
        // Who is connected is not forgotten. Of the others, who owes least gives way to a stranger: a table that is full of
        // debtors, which whoever has many addresses can bring about, shuts nobody out (attack 48).
        let worth = |entry: &Address| {
            (entry.connections == 0)
                .then(|| if per_s > 0 { entry.bucket.debt(now_ms, per_s, burst) } else { 0 })
        };
        let make = || Address { bucket: TokenBucket::full(burst, now_ms), connections: 0, preauth: 0 };
        let Some(entry) = self.addresses.entry(address_key(address), worth, make) else {
            self.counters.connections += 1;
            return Err(Rung::Connections);
        };
        if over(limits.connections_per_address_max, entry.connections) {
            self.counters.connections_address += 1;
            return Err(Rung::ConnectionsAddress);
        }
        if over(limits.preauth_per_address_max, entry.preauth) {
            self.counters.preauth_address += 1;
            return Err(Rung::PreauthAddress);
        }
        if per_s > 0 && !entry.bucket.take(now_ms, per_s, burst) {
            self.counters.rate_address += 1;
            return Err(Rung::RateAddress);
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
}

fn over(limit: u32, count: u32) -> bool {
    limit > 0 && count >= limit
}

#[cfg(test)]
mod tests;
