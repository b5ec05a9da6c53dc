//! What a listener demands of whoever connects to it.

use crate::scram::Mechanism;
use serde::{Deserialize, Serialize};

/// Whether a client must show a certificate in the TLS handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientCertificate {
    /// No certificate, no connection.
    #[default]
    Required,
    /// A certificate is verified if the client shows one.
    Optional,
    /// The client is not asked for one.
    None,
}

/// Which name of a certificate is the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum IdentityFrom {
    /// The Common Name of the subject; a certificate with more than one is refused.
    #[default]
    CommonName,
    /// The first DNS name of the Subject Alternative Name extension.
    SanDns,
    /// The first URI of the Subject Alternative Name extension.
    SanUri,
    /// The first e-mail address of the Subject Alternative Name extension.
    SanEmail,
    /// None: the Directory says which identity has the certificate with this SHA-256 fingerprint. One that it does not
    /// know is refused.
    Fingerprint,
}

/// What a client must prove beside its certificate, the less strict first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondFactor {
    /// Nothing: one proof is enough.
    #[default]
    None,
    /// Its password, in CONNECT or by SCRAM.
    Password,
    /// A token of an issuer.
    #[serde(rename = "jwt")]
    Token,
    /// A one-time code, in the password field of CONNECT.
    Totp,
}

impl SecondFactor {
    /// The name, as configurations and classes have it.
    pub fn name(self) -> &'static str {
        match self {
            SecondFactor::None => "none",
            SecondFactor::Password => "password",
            SecondFactor::Token => "jwt",
            SecondFactor::Totp => "totp",
        }
    }
}

/// Which Client Identifiers an identity may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BindClientId {
    /// Any: whoever is authenticated may take over any session.
    None,
    /// The Client Identifier equals the identity.
    #[default]
    Equal,
    /// The Client Identifier is the identity, or the identity followed by one of `-_.:` and anything.
    Prefix,
}

impl BindClientId {
    /// Whether `identity` may use `client_id`.
    pub fn allows(self, identity: &str, client_id: &str) -> bool {
        match self {
            BindClientId::None => true,
            BindClientId::Equal => identity == client_id,
            BindClientId::Prefix => client_id.strip_prefix(identity).is_some_and(|rest| {
                rest.is_empty() || (rest.len() > 1 && rest.starts_with(['-', '_', '.', ':']))
            }),
        }
    }
}

/// The ways to authenticate that a listener offers. One that succeeds is enough; what else the client presents must
/// not contradict it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Methods {
    /// The client's certificate says who it is.
    pub certificate: bool,
    /// User name and password in CONNECT.
    pub password: bool,
    /// The `SCRAM-SHA-256` exchange of MQTT 5.0's enhanced authentication.
    pub scram_sha_256: bool,
    /// The same with SHA-512.
    pub scram_sha_512: bool,
    /// A signed token, in the password field or by MQTT 5.0's enhanced authentication.
    pub jwt: bool,
}

impl Methods {
    /// Whether a member of the SCRAM family is offered.
    pub fn scram(self, mechanism: Mechanism) -> bool {
        match mechanism {
            Mechanism::Sha256 => self.scram_sha_256,
            Mechanism::Sha512 => self.scram_sha_512,
        }
    }
}

/// What a listener demands of whoever connects to it. The default admits nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ListenerPolicy {
    /// Whether a client certificate is needed.
    pub client_certificate: ClientCertificate,
    /// Which name of the certificate is the identity.
    pub identity_from: IdentityFrom,
    /// Which Client Identifiers an identity may use.
    pub bind_client_id: BindClientId,
    /// How a client can authenticate.
    pub methods: Methods,
    /// What every client must prove beside its certificate. The class of an identity can demand more, not less.
    pub second_factor: SecondFactor,
    /// Whether a client that presents nothing is let in as nobody.
    pub anonymous: bool,
}

impl ListenerPolicy {
    /// Everyone is let in as nobody. For test suites and benchmarks on loopback.
    pub fn dangerous_open() -> ListenerPolicy {
        ListenerPolicy {
            client_certificate: ClientCertificate::None,
            bind_client_id: BindClientId::None,
            anonymous: true,
            ..ListenerPolicy::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_bound_to_the_identity() {
        for (bind, client_id, allowed) in [
            (BindClientId::Equal, "meter-7", true),
            (BindClientId::Equal, "meter-7-b", false),
            (BindClientId::Equal, "METER-7", false),
            (BindClientId::Equal, "", false),
            (BindClientId::Prefix, "meter-7", true),
            (BindClientId::Prefix, "meter-7-b", true),
            (BindClientId::Prefix, "meter-7:b", true),
            (BindClientId::Prefix, "meter-7-", false),
            (BindClientId::Prefix, "meter-77", false),
            (BindClientId::Prefix, "meter-7/b", false),
            (BindClientId::Prefix, "a-meter-7", false),
            (BindClientId::None, "anything", true),
        ] {
            assert_eq!(bind.allows("meter-7", client_id), allowed, "{bind:?} {client_id}");
        }
    }
}
