//! Revoking: what is said holds at once, for whoever connects, resumes or is connected.

use super::super::{Actor, Changed, Control, ShardView, Space, Unavailable};
use super::issue::ListOutcome;
use super::{KeysFailure, lock, to_json};
use ravelin_event::{Event, Principal};
use ravelin_protect::revocation::normal_serial;
use ravelin_protect::{Revocation, RevocationSubject, tls};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Sessions that are looked at in one question to a shard.
const PAGE: usize = 1000;

/// What becomes of the sessions of whoever is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    /// Subscriptions and queued messages stay, for when it comes back with another certificate.
    Keep,
    /// Subscriptions and queued messages go, on disk too.
    Wipe,
}

/// What a revocation did.
#[derive(Clone, Debug, PartialEq)]
pub struct RevokeDone {
    /// The revocation as it is in force.
    pub revocation: Revocation,
    /// Connections that were ended.
    pub disconnected: usize,
    /// Sessions that were wiped.
    pub wiped: usize,
    /// From the order until the last connection was ended.
    pub took: Duration,
    /// What became of the CA's revocation list.
    pub list: ListOutcome,
}

impl Control {
    /// Revokes certificates: one by its serial number or fingerprint, or all of an identity that there are so far.
    /// Returns when every session that used one is closed, no ticket resumes it, and the revocation is stored.
    pub fn revoke_certificate(
        &self,
        actor: &Actor,
        subject: RevocationSubject,
        reason: &str,
        sessions: Sessions,
    ) -> Result<RevokeDone, KeysFailure> {
        let key = subject.key();
        let result = self.revoke(actor, subject, reason, sessions);
        let outcome = match &result {
            Ok(done) => Ok(format!(
                "{} connections ended in {} us, {} sessions wiped, list {}; {}",
                done.disconnected,
                done.took.as_micros(),
                done.wiped,
                done.list,
                done.revocation.reason
            )),
            Err(error) => Err(error.to_string()),
        };
        let outcome = outcome.as_ref().map(String::as_str).map_err(String::as_str);
        self.administered(actor, "certificate.revoke", &key, outcome);
        result
    }

    /// Revokes an identity, however it proves itself, until [`Control::lift_revocation`].
    pub fn revoke_identity(
        &self,
        actor: &Actor,
        identity: &str,
        reason: &str,
        sessions: Sessions,
    ) -> Result<RevokeDone, KeysFailure> {
        self.revoke_certificate(actor, RevocationSubject::identity(identity)?, reason, sessions)
    }

    fn revoke(
        &self,
        actor: &Actor,
        subject: RevocationSubject,
        reason: &str,
        sessions: Sessions,
    ) -> Result<RevokeDone, KeysFailure> {
        let began = Instant::now();
        let reason: String = reason.chars().filter(|c| !c.is_control()).take(256).collect();
        let at_s = self.now().wall_ms / 1000;
        let revocation = Revocation { subject, reason, by: actor.name.clone(), at_s };
        let stored = {
            let mut issued = lock(&self.0.keys.issued);
            self.put_in_force(&revocation)?;
            let stored =
                self.records().put(Space::Revocations, &revocation.subject.key(), &to_json(&revocation));
            for (serial, value) in issued.revoke(&revocation) {
                self.records().put(Space::Certificates, &serial, &value)?;
            }
            stored
        };
        let meant = revocation.clone();
        let ended = self.blocking_ask_all(move |view| view.disconnect_revoked(&meant))?;
        let took = began.elapsed();
        let wiped = match sessions {
            Sessions::Keep => 0,
            Sessions::Wipe => self.wipe_sessions_of(&revocation)?,
        };
        let list = self.list_after_revocation();
        self.emit(Event::CertificateRevoked {
            subject: revocation.subject.key(),
            by: revocation.by.clone(),
            reason: revocation.reason.clone(),
        });
        self.records().blocking_settled(stored?)?;
        let disconnected = ended.iter().sum();
        Ok(RevokeDone { revocation, disconnected, wiped, took, list })
    }

    /// From here on every handshake and every session that begins meets it, and no ticket that was issued before
    /// resumes anything.
    fn put_in_force(&self, revocation: &Revocation) -> Result<(), KeysFailure> {
        self.change_policy(Changed::Ahead, |policy| {
            policy.programme.revocations = policy.programme.revocations.with(revocation.clone())?;
            for files in policy.entrances.iter_mut().filter_map(|entrance| entrance.files.as_mut()) {
                // Without new ticket keys the revocation still holds: it is looked at after a resumption too.
                if let Ok(rotated) = tls::with_new_tickets(&files.tls) {
                    files.tls = Arc::new(rotated);
                }
            }
            Ok(())
        })
    }

    /// Lifts a revocation of an identity or of its certificates; a certificate by itself stays revoked, as it is on the
    /// lists of those who fetched them. Returns whether there was one.
    pub fn lift_revocation(&self, actor: &Actor, subject: &RevocationSubject) -> Result<bool, KeysFailure> {
        let may = matches!(subject, RevocationSubject::Identity(_));
        let result = if may { self.lift(subject) } else { Ok(false) };
        let outcome = match &result {
            Ok(true) => Ok(String::new()),
            Ok(false) if !may => {
                Err("only an identity can be taken back; issue another certificate".to_owned())
            }
            Ok(false) => Err("it is not revoked".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let outcome = outcome.as_ref().map(String::as_str).map_err(String::as_str);
        self.administered(actor, "certificate.lift", &subject.key(), outcome);
        result
    }

    fn lift(&self, subject: &RevocationSubject) -> Result<bool, KeysFailure> {
        let number = {
            let _held = lock(&self.0.keys.issued);
            let lifted = self.change_policy(Changed::Ahead, |policy| {
                let (left, lifted) = policy.programme.revocations.without(subject);
                policy.programme.revocations = left;
                lifted
            });
            if lifted.is_none() {
                return Ok(false);
            }
            self.records().delete(Space::Revocations, &subject.key())?
        };
        self.records().blocking_settled(number)?;
        Ok(true)
    }

    /// Up to `max` revocations in the order of their keys, those behind `after`.
    pub fn revocations(&self, after: Option<&str>, max: usize) -> Vec<Revocation> {
        let snapshot = super::revocations(&self.0);
        let mut all: Vec<(String, Revocation)> =
            snapshot.iter().map(|one| (one.subject.key(), Revocation::clone(one))).collect();
        all.retain(|(key, _)| after.is_none_or(|after| key.as_str() > after));
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.into_iter().take(max).map(|(_, revocation)| revocation).collect()
    }

    fn wipe_sessions_of(&self, revocation: &Revocation) -> Result<usize, Unavailable> {
        let prints = match &revocation.subject {
            RevocationSubject::Serial { serial, .. } => lock(&self.0.keys.issued).fingerprint_of(serial),
            _ => None,
        };
        let mut wiped = 0;
        for shard in 0..self.shards() {
            let mut after = None;
            loop {
                let (meant, print) = (revocation.clone(), prints.clone());
                let (ended, next) =
                    self.blocking_ask(shard, move |view| wipe_page(view, after, &meant, print.as_deref()))?;
                wiped += ended;
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(wiped)
    }
}

/// Wipes the sessions of one page that are meant; gives where the next page begins.
fn wipe_page(
    view: &mut ShardView<'_>,
    after: Option<u32>,
    revocation: &Revocation,
    fingerprint: Option<&str>,
) -> (usize, Option<u32>) {
    let now = view.now();
    let page = view.broker().sessions_page(now, after, PAGE);
    let meant = page.sessions.iter().filter(|session| is_of(&session.who, revocation, fingerprint));
    let names: Vec<_> = meant.map(|session| Arc::clone(&session.who.client_id)).collect();
    let ended = names.iter().filter(|name| view.broker().end_session(now, name, true)).count();
    (ended, page.next)
}

/// Whether a session belongs to what was revoked. `fingerprint` is that of the certificate with the revoked serial
/// number, where it is known: of a session that was restored from disk no more than the fingerprint is.
fn is_of(who: &Principal, revocation: &Revocation, fingerprint: Option<&str>) -> bool {
    let by_certificate = who.certificate.as_deref();
    match &revocation.subject {
        RevocationSubject::Identity(name) => who.identity.as_deref() == Some(name),
        RevocationSubject::CertificatesOf(name) => {
            by_certificate.is_some() && who.identity.as_deref() == Some(name)
        }
        RevocationSubject::Fingerprint(print) => by_certificate == Some(print),
        RevocationSubject::Serial { serial, issuer } => {
            let said = who.attributes.as_ref().is_some_and(|attributes| {
                normal_serial(&attributes.serial) == *serial
                    && issuer.as_ref().is_none_or(|issuer| *issuer == attributes.issuer)
            });
            said || (fingerprint.is_some() && by_certificate == fingerprint)
        }
    }
}
