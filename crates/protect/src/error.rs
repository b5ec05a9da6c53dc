//! What can go wrong in this crate, told to an operator. What a peer is told is a reason code, never one of these.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A failure of an operation on a file, a certificate or a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("failed to {operation} {}: {detail}", path.display())]
    Io {
        /// What was attempted ("read", "create").
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kind of the failure.
        kind: io::ErrorKind,
        /// The operating system's words.
        detail: String,
    },
    /// A file has lines that cannot be accepted.
    #[error("{0}")]
    File(FileErrors),
    /// A file does not hold what it should.
    #[error("{}: {detail}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A certificate could not be made or read.
    #[error("certificate: {0}")]
    Certificate(String),
    /// TLS could not be configured.
    #[error("TLS: {0}")]
    Tls(String),
    /// A user name, password or other value cannot be used.
    #[error("{0}")]
    Value(String),
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system")]
    Random,
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: &Path, error: &io::Error) -> Error {
        Error::Io { operation, path: path.into(), kind: error.kind(), detail: error.to_string() }
    }

    pub(crate) fn content(path: &Path, detail: impl Into<String>) -> Error {
        Error::Content { path: path.into(), detail: detail.into() }
    }
}

impl From<FileErrors> for Error {
    fn from(errors: FileErrors) -> Error {
        Error::File(errors)
    }
}

/// What is wrong at one place of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The file's name, as it was given.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.what)?;
        if self.help.is_empty() { Ok(()) } else { write!(f, " ({})", self.help) }
    }
}

/// Everything that is wrong with a file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileErrors(pub Vec<FileError>);

impl fmt::Display for FileErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for FileErrors {}
