//! Why something was refused, and why a connection ended.

use serde::{Deserialize, Serialize};

/// Whose fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// The bytes are not a packet.
    Malformed,
    /// The packet is well-formed but not allowed here.
    ProtocolViolation,
    /// The peer could not prove who it is.
    NotAuthenticated,
    /// The peer may not do this.
    NotAuthorized,
    /// A limit of the node was reached.
    LimitExceeded,
    /// The node could not store what it would have to acknowledge.
    Storage,
}

/// Why a connection or an operation was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// Unknown user, wrong password, or no credentials: told apart nowhere.
    BadCredentials,
    /// The listener demands a client certificate and none was presented.
    NoCertificate,
    /// The certificate was not accepted (chain, validity, name, revocation).
    BadCertificate,
    /// The certificate or the identity was revoked.
    Revoked,
    /// The certificate's identity may not use this Client Identifier or User Name.
    IdentityMismatch,
    /// The second factor that is demanded beside a certificate is missing, wrong or used up.
    SecondFactor,
    /// The token is not accepted.
    BadToken,
    /// The identity is disabled.
    Disabled,
    /// The identity is in a class that does not exist.
    UnknownClass,
    /// The authentication method is not offered.
    BadAuthenticationMethod,
    /// An access rule (or the absence of one) forbids it.
    AccessRule,
    /// The topic is frozen.
    Frozen,
    /// The posture of the node closes it.
    Posture,
    /// The client publishes more than its limits allow.
    PublishRate,
    /// The device was retired, or reported as lost.
    Retired,
    /// The device is not declared, and only declared ones are let in.
    Undeclared,
    /// Too many connections (in all, from this address, or waiting to be authenticated).
    TooManyConnections,
    /// Too many connection attempts from this address.
    ConnectionRate,
    /// The CONNECT packet did not arrive in time or was too large.
    ConnectDeadline,
    /// The address, the Client Identifier, the identity or the certificate is banned.
    Banned,
    /// Too many log-ins failed: it must wait.
    LockedOut,
    /// A configured rate was exceeded.
    RateExceeded,
    /// The node is short of memory.
    Memory,
    /// Too many sessions.
    TooManySessions,
    /// Too many subscriptions.
    TooManySubscriptions,
    /// Too many retained messages or bytes.
    TooManyRetained,
    /// The topic, filter or Client Identifier is not acceptable.
    BadName,
    /// The packet exceeds a size limit.
    TooLarge,
    /// The packet is malformed.
    Malformed,
    /// The packet breaks the protocol.
    Protocol,
    /// The password-hash pool is full.
    Busy,
    /// The node is shutting down.
    ShuttingDown,
    /// The store failed.
    Storage,
    /// The TLS handshake failed.
    Tls,
    /// The WebSocket handshake or framing was not acceptable.
    WebSocket,
    /// The PROXY protocol header was missing, malformed or from an untrusted peer.
    ProxyProtocol,
}

/// Why a connection ended. The causes are those that a detector must tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DisconnectCause {
    /// The client sent DISCONNECT with reason Normal disconnection.
    Normal,
    /// The client sent DISCONNECT with another reason (its will is published).
    WithWill,
    /// The peer closed the connection without DISCONNECT.
    NoDisconnect,
    /// The connection was reset or failed.
    Reset,
    /// No packet within 1.5 times Keep Alive (MQTT-3.1.2-22).
    KeepAlive,
    /// The client sent something malformed or forbidden by the protocol.
    ProtocolError,
    /// A new connection with the same Client Identifier took over.
    TakenOver,
    /// TLS failed after the handshake.
    Tls,
    /// The client did not take what was sent to it.
    SlowReader,
    /// A limit was exceeded.
    LimitExceeded,
    /// A rule, a reload or an operator ended it.
    Administrative,
    /// What the client had proven itself with has expired.
    Expired,
    /// The node is shutting down.
    Shutdown,
    /// An internal error, contained to this connection.
    Internal,
}
