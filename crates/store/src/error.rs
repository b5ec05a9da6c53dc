//! Everything that can go wrong, each with the operation and the path it happened to.

use crate::{Damage, KeyId};
use std::{fmt, io, path::PathBuf};

/// Why an operation on the store failed.
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
    /// Another process (or another `Store` of this one) has the directory open.
    #[error("{} is in use by another process; stop it first", path.display())]
    Locked {
        /// The directory of the store.
        path: PathBuf,
    },
    /// The key file cannot be used as it is.
    #[error("key file {} cannot be used: {problem}", path.display())]
    KeyFile {
        /// The key file.
        path: PathBuf,
        /// What is wrong with it. Never quotes its contents.
        problem: String,
    },
    /// The store was written with a key that the key file does not hold.
    #[error("{} is encrypted with key {id}, which the key file does not hold; give the key file that belongs to this store", path.display())]
    UnknownKey {
        /// The file that needs the key.
        path: PathBuf,
        /// The key it needs.
        id: KeyId,
    },
    /// The file was written by a version of the format that this version cannot read.
    #[error("{} has format version {version}, which this version cannot read", path.display())]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// The log was altered, cut or has lost a file, and `Options::accept_damage` is not set. Nothing was changed.
    #[error("{}", damaged(path, damage))]
    Damaged {
        /// The directory of the store.
        path: PathBuf,
        /// All that was found, oldest segment first.
        damage: Vec<Damage>,
    },
    /// The producer's queue is full: the disk does not keep up. Try again after the next wake.
    #[error("the queue of producer {producer} is full ({bytes} bytes wait for the disk)")]
    Full {
        /// Which producer.
        producer: usize,
        /// How many bytes wait.
        bytes: usize,
    },
    /// The batch can never be accepted: it is larger than the whole queue.
    #[error("a batch of {bytes} bytes is larger than the limit of {max}")]
    BatchTooLarge {
        /// The size of the batch.
        bytes: usize,
        /// The largest that is accepted.
        max: usize,
    },
    /// The batch is not a sequence of length-prefixed records. A fault of the caller.
    #[error("the batch is not a sequence of length-prefixed records")]
    MalformedBatch,
    /// The disk failed earlier; nothing more will become durable. `Stats::failure` has the cause.
    #[error("the store has failed earlier and accepts nothing more")]
    Failed,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// There is no such producer, or it was taken already.
    #[error("producer {index} does not exist or was taken already")]
    NoSuchProducer {
        /// The index that was asked for.
        index: usize,
    },
    /// The cryptographic module refused an operation that cannot fail on sound input.
    #[error("the cryptographic module failed to {operation}")]
    Crypto {
        /// What was attempted.
        operation: &'static str,
    },
    /// The writer thread ended by a panic. A fault of this crate, or of a wake function.
    #[error("the writer thread ended by a panic")]
    WriterPanicked,
}

impl Error {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { operation, path, source }
    }

    pub(crate) fn key_file(path: impl Into<PathBuf>, problem: impl Into<String>) -> Error {
        Error::KeyFile { path: path.into(), problem: problem.into() }
    }
}

fn damaged(path: &std::path::Path, damage: &[Damage]) -> String {
    use fmt::Write as _;
    let mut text = format!("the log in {} is damaged:", path.display());
    for one in damage {
        let _ = write!(text, " {one};");
    }
    text.push_str(
        " nothing was changed. Restore the directory from a backup or a standby, or accept the loss (accept_damage): \
         what is readable is kept, damaged files are set aside beside the log, and the loss is reported",
    );
    text
}

/// An append that was refused, with the batch, so that nothing is lost.
pub struct Refused {
    /// Why.
    pub error: Error,
    /// The batch as it was handed over.
    pub batch: Vec<u8>,
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("error", &self.error).field("batch_bytes", &self.batch.len()).finish()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        refused.error
    }
}
