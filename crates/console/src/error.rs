//! Why the control lane could not open, or could not be reached.

use ravelin_node::config::ConfigErrors;
use std::io;
use std::net::SocketAddr;

/// What failed, and on what.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration, or a file that it names, cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The listener could not be opened.
    #[error("failed to listen on {address} (the control lane)")]
    Listen {
        /// Its address.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The operating system refused something that the lane needs.
    #[error("failed to {operation}")]
    System {
        /// What was attempted.
        operation: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}
