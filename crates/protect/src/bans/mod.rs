//! Who is banned: client ids, identities, certificates and networks, until when, why and by whom.
//!
//! Pure: time is an argument, in seconds since the Unix epoch, since a ban outlives a restart. The set is bounded; what is
//! stored of a ban is the [`Ban`] itself, under [`BanSubject::key`].

mod prefixes;

use crate::Network;
use prefixes::Prefixes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Longest client id, identity, reason and name of who banned, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Who or what is banned.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum BanSubject {
    /// Clients with this Client Identifier.
    ClientId(Arc<str>),
    /// Clients that proved to be this identity.
    Identity(Arc<str>),
    /// Clients that show the certificate with this SHA-256 fingerprint, in lower-case hex.
    Certificate(Arc<str>),
    /// Whoever connects from this network.
    Network(Network),
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Who is banned.
    pub subject: BanSubject,
    /// Why, for whoever reads the list.
    #[serde(default)]
    pub reason: Arc<str>,
    /// Who banned.
    #[serde(default)]
    pub by: Arc<str>,
    /// Since when, in seconds since the Unix epoch.
    #[serde(default)]
    pub at_s: u64,
    /// Until when, in seconds since the Unix epoch; `None` is until it is lifted.
    #[serde(default)]
    pub until_s: Option<u64>,
}

/// Why a ban cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BanError {
    /// There are as many bans as there may be.
    #[error("there are {0} bans, as many as there may be: lift some, or raise `bans_max`")]
    Full(usize),
    /// It would end before it begins.
    #[error("the ban ends in the past")]
    Past,
    /// It would shut out everybody.
    #[error("a ban of {0} would shut out everybody")]
    Everybody(Network),
    /// A text is empty or too long.
    #[error("{0} is empty or longer than {TEXT_BYTES_MAX} bytes")]
    Text(&'static str),
    /// The fingerprint is none.
    #[error("a fingerprint is 64 hexadecimal digits (SHA-256)")]
    Fingerprint,
    /// What was given names no subject.
    #[error("`{0}` is not `client_id:NAME`, `identity:NAME`, `certificate:FINGERPRINT` or `network:CIDR`")]
    Subject(String),
}

impl BanSubject {
    /// The one way to write it: `client_id:NAME`, `identity:NAME`, `certificate:FINGERPRINT`, `network:CIDR`. Also the key
    /// under which the ban is stored.
    pub fn key(&self) -> String {
        self.to_string()
    }

    /// Reads what [`BanSubject::key`] wrote.
    pub fn parse(text: &str) -> Result<BanSubject, BanError> {
        let wrong = || BanError::Subject(text.chars().take(80).collect());
        let (kind, value) = text.split_once(':').ok_or_else(wrong)?;
        let subject = match kind {
            "client_id" => BanSubject::ClientId(value.into()),
            "identity" => BanSubject::Identity(value.into()),
            "certificate" => BanSubject::Certificate(value.into()),
            "network" => BanSubject::Network(value.parse().map_err(|()| wrong())?),
            _ => return Err(wrong()),
        };
        subject.checked()
    }

    /// The canonical form, if it can be banned.
    fn checked(self) -> Result<BanSubject, BanError> {
        match self {
            BanSubject::Network(network) => {
                let network = network.to_canonical();
                if network.is_everything() {
                    return Err(BanError::Everybody(network));
                }
                Ok(BanSubject::Network(network))
            }
            BanSubject::Certificate(fingerprint) => {
                let plain: String = fingerprint.chars().filter(|c| *c != ':').collect();
                if plain.len() != 64 || !plain.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(BanError::Fingerprint);
                }
                Ok(BanSubject::Certificate(plain.to_ascii_lowercase().into()))
            }
            BanSubject::ClientId(name) => text("the client id", &name).map(|()| BanSubject::ClientId(name)),
            BanSubject::Identity(name) => text("the identity", &name).map(|()| BanSubject::Identity(name)),
        }
    }
}

impl fmt::Display for BanSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BanSubject::ClientId(name) => write!(f, "client_id:{name}"),
            BanSubject::Identity(name) => write!(f, "identity:{name}"),
            BanSubject::Certificate(fingerprint) => write!(f, "certificate:{fingerprint}"),
            BanSubject::Network(network) => write!(f, "network:{network}"),
        }
    }
}

fn text(what: &'static str, text: &str) -> Result<(), BanError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX { Err(BanError::Text(what)) } else { Ok(()) }
}

impl Ban {
    /// Whether it counts at `now_s`.
    pub fn is_in_force(&self, now_s: u64) -> bool {
        self.until_s.is_none_or(|until_s| until_s > now_s)
    }

    /// Whether it is meant for a client with these names at this address.
    pub fn covers(
        &self,
        client_id: &str,
        identity: Option<&str>,
        certificate: Option<&str>,
        address: Option<IpAddr>,
    ) -> bool {
        match &self.subject {
            BanSubject::ClientId(name) => **name == *client_id,
            BanSubject::Identity(name) => identity == Some(name),
            BanSubject::Certificate(fingerprint) => certificate == Some(fingerprint),
            BanSubject::Network(network) => address.is_some_and(|address| network.contains(address)),
        }
    }
}

/// All bans.
pub struct Bans {
    max: usize,
    /// By subject, for the list.
    all: BTreeMap<BanSubject, Ban>,
    client_ids: BTreeSet<Arc<str>>,
    identities: BTreeSet<Arc<str>>,
    certificates: BTreeSet<Arc<str>>,
    networks: Prefixes,
    /// Those that end, by when.
    ends: BTreeSet<(u64, BanSubject)>,
}

impl Bans {
    /// No bans; there may be `max`.
    pub fn new(max: usize) -> Bans {
        Bans {
            max,
            all: BTreeMap::new(),
            client_ids: BTreeSet::new(),
            identities: BTreeSet::new(),
            certificates: BTreeSet::new(),
            networks: Prefixes::new(),
            ends: BTreeSet::new(),
        }
    }

    /// Changes how many there may be; those that are there stay.
    pub fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Bans, or changes the ban of the same subject. Returns the ban as it is in force, its subject in canonical form.
    pub fn insert(&mut self, ban: Ban, now_s: u64) -> Result<Ban, BanError> {
        let ban = Ban { subject: ban.subject.checked()?, ..ban };
        for (what, value) in [("the reason", &ban.reason), ("the name of who bans", &ban.by)] {
            if value.len() > TEXT_BYTES_MAX {
                return Err(BanError::Text(what));
            }
        }
        if !ban.is_in_force(now_s) {
            return Err(BanError::Past);
        }
        if self.remove(&ban.subject).is_none() && self.all.len() >= self.max {
            return Err(BanError::Full(self.max));
        }
        match &ban.subject {
            BanSubject::ClientId(name) => drop(self.client_ids.insert(name.clone())),
            BanSubject::Identity(name) => drop(self.identities.insert(name.clone())),
            BanSubject::Certificate(fingerprint) => drop(self.certificates.insert(fingerprint.clone())),
            BanSubject::Network(network) => self.networks.insert(*network, ban.until_s.unwrap_or(u64::MAX)),
        }
        if let Some(until_s) = ban.until_s {
            self.ends.insert((until_s, ban.subject.clone()));
        }
        self.all.insert(ban.subject.clone(), ban.clone());
        Ok(ban)
    }

    /// Takes up a ban that was stored, also if fewer are allowed by now: none is lifted by a smaller limit.
    pub fn restore(&mut self, ban: Ban, now_s: u64) -> Result<(), BanError> {
        let max = std::mem::replace(&mut self.max, usize::MAX);
        let result = self.insert(ban, now_s);
        self.max = max;
        result.map(drop)
    }

    /// Lifts a ban; returns what it was.
    pub fn remove(&mut self, subject: &BanSubject) -> Option<Ban> {
        let canonical = subject.clone().checked().ok()?;
        let ban = self.all.remove(&canonical)?;
        match &ban.subject {
            BanSubject::ClientId(name) => drop(self.client_ids.remove(name)),
            BanSubject::Identity(name) => drop(self.identities.remove(name)),
            BanSubject::Certificate(fingerprint) => drop(self.certificates.remove(fingerprint)),
            BanSubject::Network(network) => self.networks.remove(*network),
        }
        if let Some(until_s) = ban.until_s {
            self.ends.remove(&(until_s, ban.subject.clone()));
        }
        Some(ban)
    }

    /// Takes out up to `max` bans that have ended, earliest first.
    pub fn expire(&mut self, now_s: u64, max: usize) -> Vec<Ban> {
        let mut ended = Vec::new();
        while ended.len() < max
            && let Some((until_s, subject)) = self.ends.first()
            && *until_s <= now_s
        {
            let subject = subject.clone();
            match self.remove(&subject) {
                Some(ban) => ended.push(ban),
                None => drop(self.ends.pop_first()),
            }
        }
        ended
    }

    /// The ban of an address: of the longest network that it is in.
    pub fn of_address(&self, address: IpAddr, now_s: u64) -> Option<&Ban> {
        let network = self.networks.find(address, now_s)?;
        self.all.get(&BanSubject::Network(network))
    }

    /// Whether an address is banned; the same, without looking for why.
    pub fn is_address_banned(&self, address: IpAddr, now_s: u64) -> bool {
        self.networks.find(address, now_s).is_some()
    }

    /// The ban of a client with these names, whatever its address.
    pub fn of_client(
        &self,
        client_id: &str,
        identity: Option<&str>,
        certificate: Option<&str>,
        now_s: u64,
    ) -> Option<&Ban> {
        let named = [
            self.client_ids.get(client_id).map(|name| BanSubject::ClientId(name.clone())),
            identity
                .and_then(|name| self.identities.get(name))
                .map(|name| BanSubject::Identity(name.clone())),
            certificate
                .and_then(|name| self.certificates.get(name))
                .map(|name| BanSubject::Certificate(name.clone())),
        ];
        let found = named.iter().flatten().filter_map(|subject| self.all.get(subject));
        found.filter(|ban| ban.is_in_force(now_s)).max_by_key(|ban| ban.until_s.unwrap_or(u64::MAX))
    }

    /// The ban of exactly this subject.
    pub fn get(&self, subject: &BanSubject) -> Option<&Ban> {
        self.all.get(&subject.clone().checked().ok()?)
    }

    /// Up to `max` bans in the order of their subjects, those behind `after`.
    pub fn page(&self, after: Option<&BanSubject>, max: usize) -> Vec<Ban> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.all.range::<BanSubject, _>((from, Unbounded)).take(max).map(|(_, ban)| ban.clone()).collect()
    }

    /// All bans.
    pub fn iter(&self) -> impl Iterator<Item = &Ban> {
        self.all.values()
    }
}

#[cfg(test)]
mod tests;
