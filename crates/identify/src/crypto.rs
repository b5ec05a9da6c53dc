//! Which cryptography was used: counts of real handshakes.

use crate::certificate::CertificateFacts;
use crate::names::Names;
use crate::seen::HandshakeSeen;
use crate::time::rfc3339;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What handshakes have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Kind {
    pub(crate) listener: Arc<str>,
    pub(crate) version: Arc<str>,
    pub(crate) suite: Arc<str>,
    pub(crate) group: Option<Arc<str>>,
}

/// How often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) full: u64,
    pub(crate) resumed: u64,
    pub(crate) last_s: i64,
}

/// Handshakes since the start of the node.
#[derive(Debug)]
pub(crate) struct Handshakes {
    max: usize,
    pub(crate) kinds: BTreeMap<Kind, Count>,
    /// Those that are not told apart.
    pub(crate) others: u64,
    /// What the listeners showed, by fingerprint.
    pub(crate) own: BTreeMap<String, CertificateFacts>,
}

/// A line of the list of handshakes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandshakeView {
    /// The listener.
    pub listener: String,
    /// The version of TLS.
    pub version: String,
    /// The cipher suite.
    pub suite: String,
    /// The key exchange group.
    pub group: Option<String>,
    /// Full handshakes.
    pub full: u64,
    /// Resumed ones.
    pub resumed: u64,
    /// When last (RFC 3339).
    pub last: String,
}

/// Certificates of listeners that are kept: a node that renews daily has some.
const OWN_MAX: usize = 64;

impl Handshakes {
    pub(crate) fn new(max: usize) -> Handshakes {
        Handshakes { max, kinds: BTreeMap::new(), others: 0, own: BTreeMap::new() }
    }

    pub(crate) fn count(&mut self, seen: &HandshakeSeen<'_>, names: &mut Names) {
        let kind = Kind {
            listener: names.intern(seen.listener),
            version: names.intern(seen.version),
            suite: names.intern(seen.suite),
            group: seen.group.map(|group| names.intern(group)),
        };
        if let Some(own) = seen.own
            && (self.own.len() < OWN_MAX || self.own.contains_key(&own.fingerprint))
            && !self.own.contains_key(&own.fingerprint)
        {
            self.own.insert(own.fingerprint.clone(), own.clone());
        }
        if self.kinds.len() >= self.max && !self.kinds.contains_key(&kind) {
            self.others = self.others.saturating_add(1);
            return;
        }
        let count = self.kinds.entry(kind).or_default();
        let counter = if seen.resumed { &mut count.resumed } else { &mut count.full };
        *counter = counter.saturating_add(1);
        count.last_s = count.last_s.max(i64::try_from(seen.at_ms / 1000).unwrap_or(i64::MAX));
    }

    pub(crate) fn list(&self) -> Vec<HandshakeView> {
        let view = |(kind, count): (&Kind, &Count)| HandshakeView {
            listener: kind.listener.to_string(),
            version: kind.version.to_string(),
            suite: kind.suite.to_string(),
            group: kind.group.as_deref().map(str::to_owned),
            full: count.full,
            resumed: count.resumed,
            last: rfc3339(count.last_s),
        };
        self.kinds.iter().map(view).collect()
    }
}
