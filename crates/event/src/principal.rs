//! Who acts on the bus.

use std::net::SocketAddr;
use std::sync::Arc;

/// An authenticated (or knowingly anonymous) client, as access rules and events see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// The Client Identifier.
    pub client_id: Arc<str>,
    /// The identity that was proven: the user name of a password log-in or the name taken from the certificate.
    /// `None` is an anonymous client.
    pub identity: Option<Arc<str>>,
    /// SHA-256 fingerprint of the client certificate, in lower-case hex, when one was presented.
    pub certificate: Option<Arc<str>>,
    /// Where the client connected from; `None` once the session is offline and was restored from disk.
    pub address: Option<SocketAddr>,
}

impl Principal {
    /// An anonymous client.
    pub fn anonymous(client_id: impl Into<Arc<str>>) -> Principal {
        Principal { client_id: client_id.into(), identity: None, certificate: None, address: None }
    }
}
