//! Certificates as they are administered: revoked, issued, and kept up to date while the node runs.
//!
//! | file | what of it |
//! |---|---|
//! | `revoke` | certificates and identities are revoked: live sessions, tickets, queues, the CA's list |
//! | `issue` | the private CA issues, renews, and publishes its list |
//! | `keeper` | the thread that looks at files, fetches lists and OCSP answers, and renews the CA's list |
//! | `staple` | OCSP answers for the listeners' own certificates |
//!
//! A revocation is in the policy first, where every handshake and every session that begins meets it; then the shards
//! cut whoever is connected; then it is stored, and the CA's list is written. Nothing here runs on a shard for longer
//! than it takes to compare a name, and every order blocks: it is for threads that may wait.

mod issue;
mod keeper;
mod revoke;
mod staple;

pub use issue::{CaStatus, CertificateDone, IssuedCertificate};
pub use revoke::{RevokeDone, Sessions};

pub(crate) use keeper::{KeysThread, cached_lists};

use super::{Control, Inner, RecordsError, Space, Unavailable};
use crate::config::{Fetched, ListenerFiles};
use crate::error::Error;
use issue::IssuedTable;
use ravelin_event::Event;
use ravelin_protect::pki::RequestError;
use ravelin_protect::{Revocation, RevocationError, Revocations, tls};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why an order about certificates was not carried out, or not in full.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysFailure {
    /// What is to be revoked cannot be meant.
    #[error(transparent)]
    Revocation(#[from] RevocationError),
    /// The request gets no certificate.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It is revoked: nothing is issued for it.
    #[error("{0} is revoked")]
    Revoked(String),
    /// The node has no CA.
    #[error("this node has no CA: there is no `[ca]` in its configuration")]
    NoCa,
    /// The CA cannot be used.
    #[error("the CA cannot be used: {0}")]
    Ca(#[from] ravelin_protect::Error),
    /// As many certificates as may be remembered are valid at once.
    #[error("{0} certificates are valid: no more are issued")]
    TooMany(usize),
    /// A shard did not answer: a session may still be connected.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// It is in force, but will not outlive a restart.
    #[error("it is in force until the node stops, but could not be stored: {0}")]
    Records(#[from] RecordsError),
}

/// The state behind the orders.
#[derive(Default)]
pub(crate) struct Keys {
    /// Held while revocations, certificates and their records change, and while the records are written for a
    /// checkpoint.
    issued: Mutex<IssuedTable>,
    /// Held while the CA's list is written.
    list: Mutex<()>,
    /// Held while the files of listeners are read and taken up: a reload and the keeper must not overtake each other.
    files: Mutex<()>,
    /// The revocation lists that come from URLs.
    fetched: Mutex<Arc<Fetched>>,
    /// OCSP answers by the SHA-256 of the certificate that they are about.
    staples: Mutex<BTreeMap<Vec<u8>, Vec<u8>>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keys {
    /// With the lists that were fetched before.
    pub fn new(fetched: Fetched) -> Keys {
        Keys { fetched: Mutex::new(Arc::new(fetched)), ..Keys::default() }
    }

    /// Held while files are read and taken up.
    pub fn hold_files(&self) -> MutexGuard<'_, ()> {
        lock(&self.files)
    }

    /// The revocation lists that were fetched.
    pub fn fetched(&self) -> Arc<Fetched> {
        Arc::clone(&lock(&self.fetched))
    }

    /// Puts the OCSP answers that are known to what was just read.
    pub fn staple(&self, listeners: &mut [Option<ListenerFiles>]) {
        let staples = lock(&self.staples);
        for files in listeners.iter_mut().flatten() {
            if let Some(answer) = staples.get(&staple::name_of(&files.identity)) {
                files.tls = Arc::new(tls::with_staple(&files.tls, &files.identity, Some(answer.clone())));
            }
        }
    }
}

impl Control {
    /// Takes up what the store held of revocations and certificates.
    pub(crate) fn open_keys(&self) -> Result<(), Error> {
        let mut revoked = Vec::new();
        for (key, value) in self.records().load(Space::Revocations) {
            match serde_json::from_slice::<Revocation>(&value) {
                Ok(revocation) => revoked.push(revocation),
                // Whom it was about cannot be known, and he must not get in: the node does not start.
                Err(error) => {
                    let what = format!("the revocation of {key} in the store cannot be read: {error}");
                    return Err(Error::NeedsRestart(what));
                }
            }
        }
        let unreadable = lock(&self.0.keys.issued).load(self.records().load(Space::Certificates));
        for detail in unreadable {
            self.emit(Event::RecordUnreadable { detail });
        }
        self.change_policy(super::Changed::Ahead, |policy| {
            policy.programme.revocations = Revocations::new(revoked);
        });
        let inner = Arc::downgrade(&self.0);
        self.records().register(Space::Revocations, move |dump| {
            let Some(inner) = inner.upgrade() else { return };
            let _held = lock(&inner.keys.issued);
            for revocation in revocations(&inner).iter() {
                dump.write(&revocation.subject.key(), &to_json(&**revocation));
            }
        });
        let inner = Arc::downgrade(&self.0);
        self.records().register(Space::Certificates, move |dump| {
            let Some(inner) = inner.upgrade() else { return };
            for (serial, value) in lock(&inner.keys.issued).records() {
                dump.write(serial, &value);
            }
        });
        Ok(())
    }
}

/// What is revoked now.
fn revocations(inner: &Inner) -> Revocations {
    lock(&inner.policy).programme.revocations.clone()
}

fn to_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // Text and numbers, which JSON always has words for.
    serde_json::to_vec(value).unwrap_or_default()
}
