//! Why the record could not be opened, written or read.

use std::io;
use std::path::PathBuf;

/// What failed, and on what.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation.
    #[error("failed to {operation} {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        operation: &'static str,
        /// What it was attempted on.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A segment could not be read or written.
    #[error(transparent)]
    Store(#[from] ravelin_store::Error),
    /// Another process writes the record.
    #[error("the record in {} is written by another process", path.display())]
    Locked {
        /// The directory of the record.
        path: PathBuf,
    },
    /// There is no record.
    #[error("there is no record in {}", path.display())]
    NoRecord {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The keys of the record cannot be opened.
    #[error("the keys of the record, {}, cannot be used: {problem}", path.display())]
    Ring {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file that should be an export, a head or a public key is not.
    #[error("{what}: {problem}")]
    Malformed {
        /// The file, and the line where there is one.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The cryptographic module refused an operation that cannot fail on sound input.
    #[error("the cryptographic module failed to {operation}")]
    Crypto {
        /// What was attempted.
        operation: &'static str,
    },
    /// The disk fails; try again when it works.
    #[error("the record cannot be written at the moment: its disk fails")]
    Failing,
    /// The thread that writes the record has ended.
    #[error("the record is closed")]
    Closed,
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { operation, path, source }
    }

    pub(crate) fn malformed(what: impl Into<String>, problem: impl Into<String>) -> Error {
        Error::Malformed { what: what.into(), problem: problem.into() }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        let source = match self {
            Error::Io { source, .. } => source,
            Error::Store(ravelin_store::Error::Io { source, .. }) => source,
            _ => return false,
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }
}
