//! Lock-out: whoever fails to log in again and again waits, longer each time.
//!
//! A lock-out is a weapon if it can be aimed: at a user, by failing in the user's name, or at a network, by failing from
//! its address. So four things are counted apart ([`Scope`]):
//!
//! | scope | who fails | who waits |
//! |---|---|---|
//! | pair | a user's name from one address | that name from that address, but not a device that proved itself there |
//! | address | any name from one address | names that never logged in from there |
//! | user | one name from addresses where it never logged in | that name from such addresses |
//! | device | a client that proved itself there, by its own attempts | that client, and not for long |
//!
//! A *device* is a user name, an address and a Client Identifier that were right together once, or a certificate. It
//! waits for its own failures only. What is known was proven by a log-in, so nobody fills those tables without passwords.
//! Unknown users are counted like known ones: a refusal does not tell whether a user exists.
//!
//! Pure: time is an argument, in milliseconds of a clock that never goes back.

mod count;

use crate::address_key;
use crate::table::Table;
use count::Count;
use serde::Serialize;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;

/// What is kept of a user name, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// When who waits, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockoutLimits {
    /// Whether it is on.
    pub enabled: bool,
    /// Failures of one user name from one address before it waits.
    pub free: u32,
    /// The same for all names from one address.
    pub free_per_address: u32,
    /// The same for one name from all addresses where it never logged in.
    pub free_per_user: u32,
    /// The first pause; each one after it is twice as long.
    pub pause_first_ms: u64,
    /// The longest pause.
    pub pause_max_ms: u64,
    /// The longest pause of a device that proved itself, and of a name that is tried from everywhere.
    pub pause_known_max_ms: u64,
    /// After so long without a failure and without a pause, one failure is forgotten.
    pub forget_ms: u64,
    /// How long a log-in makes a device and its address known.
    pub known_ms: u64,
    /// Entries of each table.
    pub entries_max: usize,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One user name from one address.
    Pair,
    /// All names from one address.
    Address,
    /// One name from all addresses where it is not known.
    User,
    /// One client that is known.
    Device,
}

impl Scope {
    /// As it is written in events.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Pair => "pair",
            Scope::Address => "address",
            Scope::User => "user",
            Scope::Device => "device",
        }
    }
}

impl Ticket {
    /// The user name (its beginning, if it is long).
    pub fn user(&self) -> &str {
        &self.user
    }
}

/// Who wants to log in.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// The user name.
    pub user: &'a str,
    /// Where from.
    pub address: IpAddr,
    /// The Client Identifier.
    pub client_id: &'a str,
    /// The fingerprint of a certificate that was verified: then only this certificate's own failures count.
    pub certificate: Option<&'a str>,
}

/// Who waits until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locked {
    /// For what.
    pub scope: Scope,
    /// Failures that are not forgotten.
    pub failures: u32,
    /// Until when.
    pub until_ms: u64,
}

/// How a log-in ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The client proved itself.
    Succeeded,
    /// It did not.
    Failed,
    /// Neither: the connection ended, or the node was busy.
    Abandoned,
}

/// A log-in that was let through; to be given back with its outcome.
#[derive(Debug)]
pub struct Ticket {
    user: Arc<str>,
    address: IpAddr,
    keys: Keys,
    /// Where it counts.
    counted: Vec<Scope>,
}

#[derive(Clone, Copy, Debug)]
struct Keys {
    pair: u64,
    user: u64,
    device: u64,
    certificate: bool,
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockoutEntry {
    /// What is counted.
    pub scope: Scope,
    /// The user name, where one is counted (its beginning, if it is long).
    pub user: Option<Arc<str>>,
    /// The address, where one is counted.
    pub address: Option<IpAddr>,
    /// Failures that are not forgotten.
    pub failures: u32,
    /// For how long it still waits, in milliseconds; 0: it does not.
    pub locked_ms: u64,
}

/// What lock-out did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LockoutCounters {
    /// Log-ins that failed.
    pub failed: u64,
    /// Log-ins that were refused unseen, by scope: pair, address, user, device.
    pub refused: [u64; 4],
    /// Pauses that began.
    pub locked: u64,
}

struct Known {
    at_ms: u64,
}

struct Entry {
    user: Option<Arc<str>>,
    address: Option<IpAddr>,
    count: Count,
}

/// The state of lock-out.
pub struct Lockout {
    limits: LockoutLimits,
    hasher: RandomState,
    /// User names and addresses that were right together.
    pairs_known: Table<u64, Known>,
    /// Devices: when they proved themselves.
    devices_known: Table<u64, Known>,
    /// Failures, by scope.
    failures: [Table<u64, Entry>; 4],
    counters: LockoutCounters,
}

impl Lockout {
    /// Nobody has failed yet. The keys of the tables are hashed with `hasher`, so that nobody can choose two that
    /// collide.
    pub fn new(limits: LockoutLimits, hasher: RandomState) -> Lockout {
        let table = || Table::new(limits.entries_max);
        Lockout {
            limits,
            hasher,
            pairs_known: Table::new(limits.entries_max),
            devices_known: Table::new(limits.entries_max),
            failures: [table(), table(), table(), table()],
            counters: LockoutCounters::default(),
        }
    }

    /// Changes the limits; what was counted stays.
    pub fn set_limits(&mut self, limits: LockoutLimits) {
        self.limits = limits;
        self.pairs_known.set_max(limits.entries_max);
        self.devices_known.set_max(limits.entries_max);
        for table in &mut self.failures {
            table.set_max(limits.entries_max);
        }
    }

    /// What it did.
    pub fn counters(&self) -> LockoutCounters {
        self.counters
    }

    /// Entries of the fullest table.
    pub fn len(&self) -> usize {
        let failures = self.failures.iter().map(Table::len).max().unwrap_or(0);
        failures.max(self.pairs_known.len()).max(self.devices_known.len())
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asks whether a log-in may be tried now. `None` in place of a ticket: lock-out is off.
    pub fn begin(&mut self, now_ms: u64, login: Login<'_>) -> Result<Option<Ticket>, Locked> {
        if !self.limits.enabled {
            return Ok(None);
        }
        let address = address_key(login.address);
        let keys = self.keys(&login, address);
        let counted = self.scopes(now_ms, keys);
        for &scope in &counted {
            let (free, pause_max_ms) = self.allowance(scope);
            let key = self.key(scope, keys, address);
            let forget_ms = self.limits.forget_ms;
            let Some(entry) = self.failures[scope as usize].get_mut(&key) else { continue };
            entry.count.forget(now_ms, forget_ms);
            if let Some(until_ms) = entry.count.locked_until(now_ms, free, pause_max_ms) {
                self.counters.refused[scope as usize] += 1;
                return Err(Locked { scope, failures: entry.count.level, until_ms });
            }
        }
        for &scope in &counted {
            let key = self.key(scope, keys, address);
            if let Some(entry) = self.failures[scope as usize].get_mut(&key) {
                entry.count.pending += 1;
            }
        }
        Ok(Some(Ticket { user: shorten(login.user), address, keys, counted }))
    }

    /// Says how a log-in ended. Returns the longest pause that began with it.
    pub fn finish(&mut self, now_ms: u64, ticket: Ticket, outcome: Outcome) -> Option<Locked> {
        for &scope in &ticket.counted {
            let key = self.key(scope, ticket.keys, ticket.address);
            if let Some(entry) = self.failures[scope as usize].get_mut(&key) {
                entry.count.pending = entry.count.pending.saturating_sub(1);
            }
        }
        match outcome {
            Outcome::Abandoned => None,
            Outcome::Succeeded => {
                self.succeeded(now_ms, &ticket);
                None
            }
            Outcome::Failed => self.failed(now_ms, &ticket),
        }
    }

    /// Everything that is counted and not forgotten, those that wait longest first, at most `max`.
    pub fn list(&self, now_ms: u64, max: usize) -> Vec<LockoutEntry> {
        let mut list = Vec::new();
        for scope in [Scope::Pair, Scope::Address, Scope::User, Scope::Device] {
            for (_, entry) in self.failures[scope as usize].iter() {
                let mut count = entry.count;
                count.forget(now_ms, self.limits.forget_ms);
                if count.level > 0 {
                    list.push(LockoutEntry {
                        scope,
                        user: entry.user.clone(),
                        address: entry.address,
                        failures: count.level,
                        locked_ms: count.until_ms.saturating_sub(now_ms),
                    });
                }
            }
        }
        let order = |entry: &LockoutEntry| {
            (
                std::cmp::Reverse((entry.locked_ms, entry.failures)),
                entry.scope,
                entry.user.clone(),
                entry.address,
            )
        };
        list.sort_by_cached_key(order);
        list.truncate(max);
        list
    }

    /// Forgets the failures of a user, of an address, of both together, or all. Returns how many entries there were.
    pub fn clear(&mut self, user: Option<&str>, address: Option<IpAddr>) -> usize {
        let user = user.map(shorten);
        let address = address.map(address_key);
        let meant = |entry: &Entry| {
            user.as_ref().is_none_or(|user| entry.user.as_ref() == Some(user))
                && address.is_none_or(|address| entry.address == Some(address))
        };
        self.failures.iter_mut().map(|table| table.retain(|_, entry| !meant(entry))).sum()
    }

    fn succeeded(&mut self, now_ms: u64, ticket: &Ticket) {
        let keys = ticket.keys;
        self.failures[Scope::Device as usize].remove(&keys.device);
        if keys.certificate {
            return;
        }
        // Somebody at this address knows the password. A device that was known before says nothing about others there,
        // and neither the address nor the name everywhere is forgiven: one valid account would buy guesses at all others.
        if ticket.counted.contains(&Scope::Pair) {
            self.failures[Scope::Pair as usize].remove(&keys.pair);
        }
        let worth = |known: &Known| Some(known.at_ms);
        for (table, key) in [(&mut self.pairs_known, keys.pair), (&mut self.devices_known, keys.device)] {
            if let Some(known) = table.entry(key, worth, || Known { at_ms: now_ms }) {
                known.at_ms = now_ms;
            }
        }
    }

    fn failed(&mut self, now_ms: u64, ticket: &Ticket) -> Option<Locked> {
        self.counters.failed += 1;
        let mut longest: Option<Locked> = None;
        for &scope in &ticket.counted {
            let (free, pause_max_ms) = self.allowance(scope);
            let key = self.key(scope, ticket.keys, ticket.address);
            let (first_ms, forget_ms) = (self.limits.pause_first_ms, self.limits.forget_ms);
            let named = scope != Scope::Address;
            let placed = scope != Scope::User;
            let make = || Entry {
                user: named.then(|| ticket.user.clone()),
                address: placed.then_some(ticket.address),
                count: Count::default(),
            };
            let worth = move |entry: &Entry| Some(entry.count.remembered_until(forget_ms));
            let Some(entry) = self.failures[scope as usize].entry(key, worth, make) else { continue };
            entry.count.forget(now_ms, forget_ms);
            if let Some(until_ms) = entry.count.fail(now_ms, free, first_ms, pause_max_ms) {
                let locked = Locked { scope, failures: entry.count.level, until_ms };
                if longest.is_none_or(|longest| longest.until_ms < until_ms) {
                    longest = Some(locked);
                }
            }
        }
        self.counters.locked += u64::from(longest.is_some());
        longest
    }

    /// What counts for a log-in.
    fn scopes(&self, now_ms: u64, keys: Keys) -> Vec<Scope> {
        let known = |known: Option<&Known>| {
            known.is_some_and(|known| now_ms.saturating_sub(known.at_ms) < self.limits.known_ms)
        };
        if keys.certificate || known(self.devices_known.get(&keys.device)) {
            vec![Scope::Device]
        } else if known(self.pairs_known.get(&keys.pair)) {
            vec![Scope::Pair]
        } else {
            vec![Scope::Pair, Scope::Address, Scope::User]
        }
    }

    fn allowance(&self, scope: Scope) -> (u32, u64) {
        let limits = &self.limits;
        match scope {
            Scope::Pair => (limits.free, limits.pause_max_ms),
            Scope::Address => (limits.free_per_address, limits.pause_max_ms),
            Scope::User => (limits.free_per_user, limits.pause_known_max_ms),
            Scope::Device => (limits.free, limits.pause_known_max_ms),
        }
    }

    fn keys(&self, login: &Login<'_>, address: IpAddr) -> Keys {
        let device = match login.certificate {
            Some(certificate) => self.hasher.hash_one(("certificate", certificate)),
            None => self.hasher.hash_one((login.user, address, login.client_id)),
        };
        Keys {
            pair: self.hasher.hash_one((login.user, address)),
            user: self.hasher.hash_one(login.user),
            device,
            certificate: login.certificate.is_some(),
        }
    }

    fn key(&self, scope: Scope, keys: Keys, address: IpAddr) -> u64 {
        match scope {
            Scope::Pair => keys.pair,
            Scope::Address => self.hasher.hash_one(address),
            Scope::User => keys.user,
            Scope::Device => keys.device,
        }
    }
}

/// The beginning of a name.
fn shorten(name: &str) -> Arc<str> {
    let mut end = name.len().min(NAME_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name[..end].into()
}

impl Default for LockoutLimits {
    fn default() -> LockoutLimits {
        LockoutLimits {
            enabled: true,
            free: 5,
            free_per_address: 20,
            free_per_user: 50,
            pause_first_ms: 1000,
            pause_max_ms: 15 * 60_000,
            pause_known_max_ms: 30_000,
            forget_ms: 2 * 60_000,
            known_ms: 30 * 86_400_000,
            entries_max: 65_536,
        }
    }
}

#[cfg(test)]
mod tests;
