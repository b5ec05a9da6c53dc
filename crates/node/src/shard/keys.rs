//! Certificates and keys of live connections: verified again when the trust changed, revoked while they are connected,
//! and not used for longer than a listener allows.
//!
//! None of it may hold up the messages of others: what concerns all connections is done a few at a time.

use super::Shard;
use super::conn::Conn;
use super::slab::Key;
use ravelin_event::{DisconnectCause, Principal};
use ravelin_mqtt::ReasonCode;
use ravelin_protect::{CertificateFacts, Revocation, RevocationSubject, Revocations, serial_of};
use rustls::pki_types::{CertificateDer, UnixTime};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long certificates are verified in one turn.
const VERIFY_SLICE: Duration = Duration::from_millis(2);
/// All connections are looked at in so many seconds, or in fewer if there are few.
const ROUND_S: usize = 64;
/// As many are looked at in a second at least.
const LOOKED_AT_MIN: usize = 4096;

/// What is under way.
#[derive(Default)]
pub(super) struct KeyCare {
    /// Connections whose certificates are to be verified again.
    unverified: VecDeque<Key>,
    /// Whose age is looked at next.
    cursor: usize,
}

impl KeyCare {
    /// Whether there is something to do in the next turn.
    pub fn is_busy(&self) -> bool {
        !self.unverified.is_empty()
    }
}

impl Shard {
    /// Has all certificates verified anew: a CA may be gone, a revocation list may have grown.
    pub(super) fn verify_again(&mut self) {
        self.care.unverified.clear();
        self.care.unverified.extend(self.conns.keys());
        self.verify_some();
    }

    /// Verifies certificates for a while. Each takes a signature, some 100 microseconds.
    pub(super) fn verify_some(&mut self) {
        if self.care.unverified.is_empty() {
            return;
        }
        let now = UnixTime::since_unix_epoch(Duration::from_millis(self.now.wall_ms));
        let begin = Instant::now();
        while let Some(key) = self.care.unverified.pop_front() {
            if !self.is_trusted(key, now) {
                self.end_administratively(key, "its certificate is not trusted any more");
            }
            if begin.elapsed() >= VERIFY_SLICE {
                break;
            }
        }
    }

    fn is_trusted(&self, key: Key, now: UnixTime) -> bool {
        let Some(conn) = self.conns.get(key) else { return true };
        let chain = chain_of(conn);
        let entrance = &self.policy.entrances[usize::from(conn.entrance)];
        let trust = entrance.files.as_ref().and_then(|files| files.trust.as_ref());
        chain.is_empty() || trust.is_some_and(|trust| trust.accepts(chain, now))
    }

    /// The revocation that meets this chain, or the identity that it gives at this listener.
    pub(super) fn revocation_of_chain(
        &self,
        entrance: u16,
        chain: &[CertificateDer<'_>],
    ) -> Option<Arc<Revocation>> {
        let revocations = &self.policy.programme.revocations;
        if revocations.is_empty() {
            return None;
        }
        let facts = |der: &CertificateDer<'_>| CertificateFacts::parse(der).ok();
        let end_entity = facts(chain.first()?)?;
        let policy = &self.policy.entrances[usize::from(entrance)].listener;
        let of_identity = || {
            let identity = end_entity.identity(policy.identity_from).ok()?;
            revocations.of_identity(&identity, Some(&end_entity))
        };
        let of_issuers = || chain[1..].iter().find_map(|der| revocations.of_certificate(&facts(der)?));
        revocations.of_certificate(&end_entity).or_else(of_identity).or_else(of_issuers)
    }

    /// The revocation that meets a client whose session is to begin. Here, and not only in the handshake: what is
    /// revoked while a connection is on its way between two shards would be met by neither.
    pub(super) fn revocation_of_client(&self, key: Key, who: &Principal) -> Option<Arc<Revocation>> {
        let revocations = &self.policy.programme.revocations;
        if revocations.is_empty() {
            return None;
        }
        let conn = self.conns.get(key)?;
        let of_chain = self.revocation_of_chain(conn.entrance, chain_of(conn));
        let of_identity = || {
            let facts = chain_of(conn).first().and_then(|der| CertificateFacts::parse(der).ok());
            revocations.of_identity(who.identity.as_deref()?, facts.as_ref())
        };
        of_chain.or_else(of_identity)
    }

    /// Ends the connections that a revocation meets; returns how many. Names are compared; certificates are only read
    /// where the name fits.
    pub(crate) fn disconnect_revoked(&mut self, revocation: &Revocation) -> usize {
        let keys: Vec<Key> = self.conns.keys().collect();
        let met: Vec<Key> = keys.into_iter().filter(|key| self.is_met(*key, revocation)).collect();
        for key in &met {
            self.end_administratively(*key, "its certificate or identity was revoked");
        }
        met.len()
    }

    fn is_met(&self, key: Key, revocation: &Revocation) -> bool {
        let Some(conn) = self.conns.get(key) else { return false };
        let who = conn.link().and_then(|link| self.broker.principal(link));
        let is_called = |name: &str| who.is_some_and(|who| who.identity.as_deref() == Some(name));
        let alone = || Revocations::new([revocation.clone()]);
        let facts = |der: &CertificateDer<'_>| CertificateFacts::parse(der).ok();
        let chain = chain_of(conn);
        match &revocation.subject {
            RevocationSubject::Identity(name) => is_called(name),
            RevocationSubject::CertificatesOf(name) => {
                let facts = chain.first().filter(|_| is_called(name)).and_then(facts);
                facts.is_some_and(|facts| alone().of_identity(name, Some(&facts)).is_some())
            }
            RevocationSubject::Fingerprint(print) => {
                // The fingerprint of the client's own certificate is known; those of issuers are rarely sent.
                who.is_some_and(|who| who.certificate.as_deref() == Some(print))
                    || chain.iter().any(|der| facts(der).is_some_and(|facts| *facts.fingerprint == **print))
            }
            RevocationSubject::Serial { serial, .. } => chain.iter().any(|der| {
                serial_of(der).as_ref() == Some(serial)
                    && facts(der).is_some_and(|facts| alone().of_certificate(&facts).is_some())
            }),
        }
    }

    /// Once a second: keys and sessions that are too old, among as many connections as it takes to see all of them in
    /// about a minute.
    pub(super) fn check_ages(&mut self) {
        let places = self.conns.places();
        for _ in 0..(places / ROUND_S).max(LOOKED_AT_MIN).min(places) {
            let at = self.care.cursor;
            self.care.cursor = if at + 1 >= places { 0 } else { at + 1 };
            if let Some(key) = self.conns.key_at(at) {
                self.contain(key, |shard| shard.check_age(key));
            }
        }
    }

    fn check_age(&mut self, key: Key) {
        let now_ms = self.now.mono_ms;
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Some(link) = conn.link() else { return };
        let ages = self.policy.entrances[usize::from(conn.entrance)].ages;
        if is_due(now_ms, u64::from(conn.proven_s) * 1000, ages.session, key) {
            let detail = "it did not authenticate again within `session_age_max`";
            return self.end_aged(link, detail);
        }
        let Some(tls) = conn.tls.as_deref_mut() else { return };
        let many = ages.key_bytes > 0 && tls.bytes_since_keys() >= ages.key_bytes;
        if !many && !is_due(now_ms, tls.keys_since_ms(), ages.key, key) {
            return;
        }
        match tls.refresh_keys(now_ms) {
            Ok(true) => {
                self.counters.keys_refreshed += 1;
                self.mark_dirty(key);
            }
            Ok(false) => {
                self.end_aged(link, "its keys are older than `key_age_max`, and TLS 1.2 has no new ones")
            }
            Err(error) => {
                let (reason, detail) = (ReasonCode::UNSPECIFIED_ERROR, Some(error.to_string()));
                self.broker.disconnect(self.now, link, reason, DisconnectCause::Tls, detail);
            }
        }
    }

    fn end_aged(&mut self, link: ravelin_broker::LinkId, detail: &str) {
        let (reason, cause) = (ReasonCode::MAXIMUM_CONNECT_TIME, DisconnectCause::Administrative);
        self.broker.disconnect(self.now, link, reason, cause, Some(detail.into()));
    }
}

/// The chain that a client was verified by; empty without one.
pub(super) fn chain_of(conn: &Conn) -> &[CertificateDer<'static>] {
    conn.tls.as_ref().map(|tls| tls.peer_certificates()).unwrap_or_default()
}

/// Whether what began at `since_ms` is too old. Those that connected at once, as after a restart, are not due at once:
/// each is due at some moment of the last tenth of the time.
fn is_due(now_ms: u64, since_ms: u64, age: Duration, key: Key) -> bool {
    let age_ms = age.as_millis() as u64;
    if age_ms == 0 {
        return false;
    }
    // Any number that differs from connection to connection does.
    let spread = key.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
    let early_ms = (age_ms / 10) * spread / (1 << 16);
    now_ms.saturating_sub(since_ms) >= age_ms - early_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_is_due_at_different_times_and_never_late() {
        let age = Duration::from_secs(1000);
        let due_at = |key| (0..=1_000_000).step_by(100).find(|at| is_due(5 + at, 5, age, Key(key))).unwrap();
        let all: std::collections::BTreeSet<u64> = (0..1000).map(due_at).collect();
        assert!(*all.first().unwrap() >= 899_900 && *all.last().unwrap() <= 1_000_000);
        assert!(all.len() > 500, "{}", all.len());
        assert!(!is_due(u64::MAX, 0, Duration::ZERO, Key(1)), "zero is never");
    }
}
