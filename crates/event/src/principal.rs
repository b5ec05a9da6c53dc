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
    /// The class of the identity; `None` is the default class, and that of a session restored from disk.
    pub class: Option<Arc<str>>,
    /// What the client certificate says; `None` without one, and for a session restored from disk. A rule that needs
    /// an attribute which is not there does not match.
    pub attributes: Option<Arc<CertificateAttributes>>,
    /// The groups and roles that a token gives it beside those of the directory; `None` without one, and for a session
    /// restored from disk.
    pub granted: Option<Arc<Granted>>,
}

/// What a token gives its holder for as long as it counts. Names of groups and roles that do not exist give nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Names of groups.
    pub groups: Vec<Arc<str>>,
    /// Names of roles.
    pub roles: Vec<Arc<str>>,
}

/// What a verified client certificate says, as access rules and the inventory use it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificateAttributes {
    /// Common Name of the subject.
    pub common_name: Option<String>,
    /// Organization of the subject.
    pub organization: Option<String>,
    /// Organizational Unit of the subject.
    pub organizational_unit: Option<String>,
    /// Country of the subject.
    pub country: Option<String>,
    /// Serial number, in lower-case hex.
    pub serial: String,
    /// Distinguished name of the issuer.
    pub issuer: String,
    /// DNS names of the subject alternative name.
    pub dns: Vec<String>,
    /// URIs of the subject alternative name.
    pub uri: Vec<String>,
    /// E-mail addresses of the subject alternative name.
    pub email: Vec<String>,
    /// End of validity, in seconds since the Unix epoch.
    pub not_after_s: i64,
}

impl Principal {
    /// An anonymous client.
    pub fn anonymous(client_id: impl Into<Arc<str>>) -> Principal {
        Principal {
            client_id: client_id.into(),
            identity: None,
            certificate: None,
            address: None,
            class: None,
            attributes: None,
            granted: None,
        }
    }
}
