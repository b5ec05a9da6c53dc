//! Duplicate Client Identifiers, cloned certificates, moved devices.
//!
//! What is told, and what is not, so that networks that translate addresses and devices that roam cause no alarm:
//!
//! * **Duplicate**: two clients with one Client Identifier throw each other out, again and again. Told when a connection was taken
//!   over from an address that had lost it to another one before, `duplicate_returns` times within the window; a device that
//!   roams changes its address and stays there. Within declared networks the threshold is five times as high. Behind one
//!   translated address duplicates cannot be told from reconnects, and are not.
//! * **Cloned**: one certificate, two Client Identifiers, two addresses of one family, at the same time. Told once both connections have
//!   lived side by side for longer than the older one could have stayed half-open: 1.5 times its Keep Alive.
//! * **Moved**: an address outside the declared networks, or at another site than declared; for a device of which nothing is declared, an
//!   address outside the /16 (IPv6: /48) that it never left for a week.

use crate::settings::Thresholds;
use crate::time::{rfc3339, seconds};
use ravelin_event::Event;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Two clients use one Client Identifier.
    DuplicateClient,
    /// Two clients use one certificate.
    ClonedCertificate,
    /// A device is where it should not be.
    MovedDevice,
}

/// A finding as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// The device, or the Client Identifier.
    pub subject: String,
    /// When it was first found (RFC 3339).
    pub first: String,
    /// When it was last found (RFC 3339).
    pub last: String,
    /// How often.
    pub times: u64,
    /// The figures and the threshold.
    pub why: String,
    /// The addresses concerned.
    pub addresses: Vec<IpAddr>,
}

struct Kept {
    first_s: u32,
    last_s: u32,
    told_s: u32,
    times: u64,
    why: String,
    addresses: SmallVec<[IpAddr; 2]>,
}

/// A Client Identifier that changes hands.
struct Flap {
    since_s: u32,
    returns: u8,
    addresses: SmallVec<[IpAddr; 4]>,
}

/// Two connections that share a certificate; looked at again when it is due.
pub(crate) struct Pair {
    pub(crate) due_s: u32,
    pub(crate) clients: [Arc<str>; 2],
    pub(crate) since_s: [u32; 2],
}

/// What was found, and what may become a finding.
pub(crate) struct Findings {
    max: usize,
    kept: BTreeMap<(FindingKind, Arc<str>), Kept>,
    flaps: BTreeMap<Arc<str>, Flap>,
    pairs: VecDeque<Pair>,
    events: VecDeque<Event>,
}

/// How many addresses of one flap are told apart.
const FLAP_ADDRESSES_MAX: usize = 8;

impl Findings {
    pub(crate) fn new(max: usize) -> Findings {
        let (kept, flaps) = (BTreeMap::new(), BTreeMap::new());
        Findings { max, kept, flaps, pairs: VecDeque::new(), events: VecDeque::new() }
    }

    pub(crate) fn list(&self) -> Vec<Finding> {
        let mut list: Vec<Finding> = self
            .kept
            .iter()
            .map(|((kind, subject), kept)| Finding {
                kind: *kind,
                subject: subject.to_string(),
                first: rfc3339(i64::from(kept.first_s)),
                last: rfc3339(i64::from(kept.last_s)),
                times: kept.times,
                why: kept.why.clone(),
                addresses: kept.addresses.to_vec(),
            })
            .collect();
        list.sort_by(|one, other| other.last.cmp(&one.last));
        list
    }

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(crate) fn emit(&mut self, event: Event) {
        // Nobody takes them: a shell that does not ask must not make the queue grow.
        if self.events.len() >= self.max {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// A live connection of `client_id` at `old` was taken over from `new`. `declared` says whether both are where the
    /// device is declared to be.
    pub(crate) fn taken_over(
        &mut self,
        at_ms: u64,
        thresholds: &Thresholds,
        client_id: &Arc<str>,
        [old, new]: [IpAddr; 2],
        declared: bool,
    ) -> Option<(SmallVec<[IpAddr; 2]>, String)> {
        let now_s = seconds(at_ms);
        if old == new {
            return None;
        }
        if self.flaps.len() >= self.max && !self.flaps.contains_key(client_id) {
            let stale = |flap: &Flap| now_s.saturating_sub(flap.since_s) > thresholds.duplicate_window_s;
            self.flaps.retain(|_, flap| !stale(flap));
            if self.flaps.len() >= self.max {
                return None;
            }
        }
        let flap = self.flaps.entry(client_id.clone()).or_insert_with(|| Flap {
            since_s: now_s,
            returns: 0,
            addresses: SmallVec::new(),
        });
        if now_s.saturating_sub(flap.since_s) > thresholds.duplicate_window_s {
            *flap = Flap { since_s: now_s, returns: 0, addresses: SmallVec::new() };
        }
        // `addresses` are those that lost the connection.
        if flap.addresses.contains(&new) {
            flap.returns = flap.returns.saturating_add(1);
        }
        if !flap.addresses.contains(&old) && flap.addresses.len() < FLAP_ADDRESSES_MAX {
            flap.addresses.push(old);
        }
        let needed =
            if declared { thresholds.duplicate_returns_declared } else { thresholds.duplicate_returns };
        if flap.returns < needed {
            return None;
        }
        let where_from = if declared { " within its declared networks" } else { "" };
        let why = format!(
            "taken over back and forth between {} addresses{where_from}: {} returns to an address that had lost it, {} s since the first (threshold {needed} in {} s)",
            flap.addresses.len(),
            flap.returns,
            now_s.saturating_sub(flap.since_s),
            thresholds.duplicate_window_s
        );
        let addresses = flap.addresses.iter().copied().collect();
        // It counts anew: the next one says that it goes on.
        self.flaps.remove(client_id);
        Some((addresses, why))
    }

    /// Two connections with one certificate, to be looked at when they can no longer be a connection and what is left of it.
    pub(crate) fn watch_pair(&mut self, pair: Pair) {
        if self.pairs.len() < self.max {
            self.pairs.push_back(pair);
        }
    }

    /// The pairs that are due.
    pub(crate) fn due_pairs(&mut self, now_s: u32) -> Vec<Pair> {
        let (due, waiting) =
            std::mem::take(&mut self.pairs).into_iter().partition(|pair| pair.due_s <= now_s);
        self.pairs = waiting;
        Vec::from_iter::<VecDeque<Pair>>(due)
    }

    /// Keeps a finding; true if it is to be told: new, or not told for long, or for another reason.
    pub(crate) fn found(
        &mut self,
        at_ms: u64,
        again_after_s: u32,
        kind: FindingKind,
        subject: &Arc<str>,
        addresses: &[IpAddr],
        why: &str,
    ) -> bool {
        let now_s = seconds(at_ms);
        let key = (kind, subject.clone());
        if !self.kept.contains_key(&key) && self.kept.len() >= self.max {
            // The one that was found longest ago makes room.
            let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.last_s).map(|(key, _)| key.clone());
            oldest.and_then(|oldest| self.kept.remove(&oldest));
        }
        let kept = self.kept.entry(key).or_insert_with(|| Kept {
            first_s: now_s,
            last_s: now_s,
            told_s: 0,
            times: 0,
            why: String::new(),
            addresses: SmallVec::new(),
        });
        let other_addresses = !addresses.iter().all(|address| kept.addresses.contains(address));
        // A device abroad gets a new address every day: that is the same finding.
        let other_addresses = other_addresses && kind != FindingKind::MovedDevice;
        let tell = kept.times == 0 || other_addresses || now_s.saturating_sub(kept.told_s) >= again_after_s;
        kept.times = kept.times.saturating_add(1);
        kept.last_s = now_s;
        kept.why = why.to_owned();
        kept.addresses = addresses.iter().copied().collect();
        if tell {
            kept.told_s = now_s;
        }
        tell
    }
}
