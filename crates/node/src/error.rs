//! Why a node could not start, or could not read its configuration again.

use crate::config::ConfigErrors;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What failed, and on what.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener could not be opened.
    #[error("failed to listen on {address} (listener {listener})")]
    Listen {
        /// The listener's name.
        listener: String,
        /// Its address.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The operating system refused something that the node needs.
    #[error("failed to {operation}")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A directory could not be used.
    #[error("failed to {operation} {}", path.display())]
    Directory {
        /// What was attempted.
        operation: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The store could not be opened or written.
    #[error(transparent)]
    Store(#[from] ravelin_store::Error),
    /// The record of transmissions could not be opened or written.
    #[error(transparent)]
    Record(#[from] ravelin_audit::Error),
    /// The process could not be restricted as the configuration demands.
    #[error("failed to close the sandbox: {problem}")]
    Sandbox {
        /// Which part, and why.
        problem: String,
    },
    /// Users, rules, certificates or keys could not be read.
    #[error(transparent)]
    Protect(#[from] ravelin_protect::Error),
    /// What was administered and stored cannot be read.
    #[error("{detail}; the node does not serve without it: restore the data from a copy")]
    Records {
        /// What is wrong with it.
        detail: String,
    },
    /// A thread of the node ended by itself.
    #[error("{thread} ended")]
    ThreadEnded {
        /// Which.
        thread: &'static str,
    },
    /// The configuration, or a file that it names, cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The node was stopped by an order and has not been released.
    #[error(
        "the node was stopped by an order and does not serve until it is released: see what happened, then start it with \
         `ravelin serve --release-fence \"WHY\"` ({}: {state})",
        path.display()
    )]
    Fenced {
        /// What was written down then.
        path: PathBuf,
        /// Its text.
        state: String,
    },
    /// A configuration that was read again differs in what cannot change while the node runs.
    #[error("{0}")]
    NeedsRestart(String),
}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Error {
        Error::System { operation: "start a thread", source }
    }
}

impl Error {
    pub(crate) fn system(operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::System { operation, source }
    }
}
