//! What can go wrong.

use std::sync::Arc;

/// Why the engine did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no alarm with this number, or it was too long ago.
    #[error("there is no alarm {0}: see `ravelin detect alarms` for those that are kept")]
    NoSuchAlarm(u64),
    /// There is no suppression with this number.
    #[error("there is no suppression {0}: see `ravelin detect suppressions`")]
    NoSuchSuppression(u64),
    /// There are as many suppressions as may be.
    #[error("there are {0} suppressions already, which is the limit: take one away that is not needed")]
    TooManySuppressions(usize),
    /// A suppression would keep everything from being told, without end.
    #[error("a suppression needs a detector, a subject or a time at which it ends")]
    SuppressesAll,
    /// There are as many devices with inspections as may be, or nobody takes what is to be written.
    #[error("no more inspections can be recorded: those of 50,000 devices are kept")]
    TooManyInspections,
    /// What was stored is not what this version writes.
    #[error("the stored record {key} cannot be read: {why}")]
    Stored {
        /// Its key.
        key: Arc<str>,
        /// Why not.
        why: Arc<str>,
    },
}
