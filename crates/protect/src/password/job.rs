//! What proves an identity and takes time: a password hash, which is dear by design, or a one-time code, whose use must
//! be on disk before it counts. A bounded pool runs these jobs, never the thread that serves connections, and never for
//! more clients at once than the pool has threads.

use super::hash::StoredHash;
use crate::Secret;
use crate::totp::{Ledger, LedgerError, Totp};
use std::sync::Arc;

/// One proof to verify. Dropping the job wipes the secret.
pub struct HashJob(Work);

enum Work {
    Password { password: Secret, stored: Arc<StoredHash>, known: bool },
    Code(CodeWork),
}

/// A one-time code to verify.
pub(crate) struct CodeWork {
    pub code: Secret,
    pub totp: Arc<Totp>,
    /// False: the secret was made up, the identity has none.
    pub known: bool,
    pub identity: Arc<str>,
    pub now_s: u64,
    pub ledger: Ledger,
}

/// Why a proof did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unproven {
    /// It is wrong, or there is nothing that it could be compared with.
    #[error("wrong")]
    Wrong,
    /// It is a one-time code that does not count.
    #[error(transparent)]
    Code(#[from] LedgerError),
}

impl HashJob {
    /// A job for a user that exists.
    pub(crate) fn known(password: Secret, stored: Arc<StoredHash>) -> HashJob {
        HashJob(Work::Password { password, stored, known: true })
    }

    /// A job that costs what `stored` costs and always fails: the user does not exist.
    pub(crate) fn unknown(password: Secret, stored: Arc<StoredHash>) -> HashJob {
        HashJob(Work::Password { password, stored, known: false })
    }

    pub(crate) fn code(work: CodeWork) -> HashJob {
        HashJob(Work::Code(work))
    }

    /// Verifies. A password takes tens of milliseconds and megabytes of memory, a right code the time of a write to disk.
    pub fn run(self) -> Result<(), Unproven> {
        match self.0 {
            // Both are evaluated: an unknown user takes as long as a known one.
            Work::Password { password, stored, known } => match stored.verify(&password) & known {
                true => Ok(()),
                false => Err(Unproven::Wrong),
            },
            Work::Code(work) => work.run(),
        }
    }
}

impl CodeWork {
    fn run(self) -> Result<(), Unproven> {
        let found = self.totp.verify(self.code.expose(), self.now_s).filter(|_| self.known);
        let over_s = found.map_or(0, |step| self.totp.over_s(step));
        match self.ledger.settle(&self.identity, found, over_s, self.now_s)? {
            true => Ok(()),
            false => Err(Unproven::Wrong),
        }
    }
}
