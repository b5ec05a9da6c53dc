//! The verification of a password, as a job that a bounded pool runs: hashing is dear by design, so it never runs on
//! the thread that serves connections, and never for more clients at once than the pool has threads.

use super::hash::StoredHash;
use crate::Secret;
use std::sync::Arc;

/// One password to verify. Dropping the job wipes the password.
pub struct HashJob {
    password: Secret,
    stored: Arc<StoredHash>,
    known: bool,
}

impl HashJob {
    /// A job for a user that exists.
    pub(crate) fn known(password: Secret, stored: Arc<StoredHash>) -> HashJob {
        HashJob { password, stored, known: true }
    }

    /// A job that costs what `stored` costs and always fails: the user does not exist.
    pub(crate) fn unknown(password: Secret, stored: Arc<StoredHash>) -> HashJob {
        HashJob { password, stored, known: false }
    }

    /// Verifies. Takes tens of milliseconds and megabytes of memory.
    pub fn run(self) -> bool {
        // Both are evaluated: an unknown user takes as long as a known one.
        self.stored.verify(&self.password) & self.known
    }
}
