//! Why something did not reach a destination.

use std::time::Duration;

/// Why something did not reach a destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be reached, does not answer, or is not who it should be. Tried again.
    #[error("{0}")]
    Unreachable(String),
    /// It answers that it cannot take anything now. Tried again, not before the pause it asks for.
    #[error("it answered {status}")]
    Busy {
        /// The HTTP status.
        status: u16,
        /// How long it wants to be left alone, where it says so.
        pause: Option<Duration>,
    },
    /// It will never take this: what it was sent is left out and counted.
    #[error("it refuses what it was sent: {status}")]
    Refused {
        /// The HTTP status.
        status: u16,
    },
    /// A setting that cannot be used.
    #[error("{0}")]
    Settings(String),
    /// There is no destination of this name.
    #[error("there is no destination {0:?}")]
    Unknown(String),
}

impl Error {
    /// Of the operating system, while doing something.
    pub(crate) fn io(operation: &str, error: &std::io::Error) -> Error {
        Error::Unreachable(format!("{operation}: {error}"))
    }
}
