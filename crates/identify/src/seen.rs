//! What the shell tells the inventory.

use crate::certificate::CertificateFacts;
use crate::topics::Traffic;
use std::net::IpAddr;

/// A client connected and was admitted.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The Client Identifier.
    pub client_id: &'a str,
    /// The identity that it proved; `None` is anonymous.
    pub identity: Option<&'a str>,
    /// Where it came from.
    pub address: Option<IpAddr>,
    /// The name of the listener.
    pub listener: Option<&'a str>,
    /// The class of the identity.
    pub class: Option<&'a str>,
    /// The protocol version: `3.1.1` or `5`.
    pub version: &'a str,
    /// Its Keep Alive in seconds; 0 is none.
    pub keep_alive_s: u16,
    /// The certificate that it presented.
    pub certificate: Option<&'a CertificateFacts>,
    /// The User Properties of its CONNECT.
    pub properties: &'a [(&'a str, &'a str)],
}

/// A connection ended.
#[derive(Clone, Copy, Debug)]
pub struct Gone<'a> {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The Client Identifier.
    pub client_id: &'a str,
    /// Another connection with the same Client Identifier took its place.
    pub taken_over: bool,
}

/// What a client published to one topic since the last harvest.
#[derive(Clone, Copy, Debug)]
pub struct FlowSeen<'a> {
    /// The end of the harvest, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The publisher's Client Identifier.
    pub client_id: &'a str,
    /// Its identity.
    pub identity: Option<&'a str>,
    /// The topic.
    pub topic: &'a str,
    /// How much.
    pub traffic: Traffic,
}

/// A client published what may be its birth message.
#[derive(Clone, Copy, Debug)]
pub struct BirthSeen<'a> {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The publisher's Client Identifier.
    pub client_id: &'a str,
    /// Its identity.
    pub identity: Option<&'a str>,
    /// The topic.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
}

/// A TLS handshake was completed.
#[derive(Clone, Copy, Debug)]
pub struct HandshakeSeen<'a> {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The name of the listener.
    pub listener: &'a str,
    /// The version: `1.2` or `1.3`.
    pub version: &'a str,
    /// The cipher suite by its IANA name, such as `TLS_AES_256_GCM_SHA384`.
    pub suite: &'a str,
    /// The key exchange group, such as `X25519MLKEM768`; `None` if the handshake had none (a resumption without it).
    pub group: Option<&'a str>,
    /// Whether a session was resumed.
    pub resumed: bool,
    /// The client's certificate.
    pub peer: Option<&'a CertificateFacts>,
    /// The certificate that the listener showed.
    pub own: Option<&'a CertificateFacts>,
}
