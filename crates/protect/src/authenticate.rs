//! Who a connecting client is. One snapshot of what is known, replaced whole on a reload.

use crate::scram::{ClientFirst, METHOD, ScramError, ScramServer, nonce};
use crate::{
    BindClientId, CertificateFacts, ClientCertificate, HashJob, ListenerPolicy, NodeSecret, PasswordFile,
    Secret, random,
};
use ravelin_event::{Principal, Refusal};
use ravelin_mqtt::ReasonCode;
use std::net::SocketAddr;
use std::sync::Arc;

/// Longest user name that is looked at.
const USER_BYTES_MAX: usize = 1024;

/// What a client presents when it connects.
#[derive(Clone, Copy)]
pub struct Attempt<'a> {
    /// The Client Identifier; empty asks the server to assign one.
    pub client_id: &'a str,
    /// The User Name of CONNECT.
    pub username: Option<&'a str>,
    /// The Password of CONNECT.
    pub password: Option<&'a [u8]>,
    /// The client certificate that TLS verified.
    pub certificate: Option<&'a CertificateFacts>,
    /// The Authentication Method of CONNECT or AUTH.
    pub auth_method: Option<&'a str>,
    /// The Authentication Data of CONNECT or AUTH.
    pub auth_data: Option<&'a [u8]>,
    /// Where the client connects from.
    pub address: SocketAddr,
}

/// What to do next with a client.
#[must_use]
pub enum Step {
    /// It is let in. An empty Client Identifier was replaced by one that nobody else uses. `auth_data` goes into the
    /// CONNACK (or into the AUTH that ends a re-authentication).
    Accept {
        /// Who it is.
        principal: Principal,
        /// The server's last word of an exchange.
        auth_data: Option<Vec<u8>>,
    },
    /// It is refused: why, for the log, and the reason code, for the peer.
    Refuse(Refusal, ReasonCode),
    /// Run the job in the hash pool, then [`Pending::finish`].
    Hash(HashJob, Pending),
    /// Send AUTH with these data; give the answer to [`Exchange::proceed`].
    Challenge {
        /// Authentication Data of the AUTH packet.
        data: Vec<u8>,
        /// The exchange so far.
        state: Exchange,
    },
}

/// Who the client will be once it has proven it.
#[derive(Clone)]
struct Claim {
    client_id: Arc<str>,
    certificate: Option<Arc<str>>,
    address: SocketAddr,
    bind: BindClientId,
    /// The identity that the certificate gives, or that was proven before: the one to be proven must be the same.
    same_as: Option<Arc<str>>,
}

/// A password that is being verified.
pub struct Pending {
    claim: Claim,
    identity: Arc<str>,
}

/// An exchange that is under way.
pub struct Exchange {
    claim: Claim,
    server: ScramServer,
}

/// What is known of users, and the decision who is let in.
#[derive(Clone)]
pub struct Authenticator {
    passwords: Arc<PasswordFile>,
    secret: NodeSecret,
}

impl Authenticator {
    /// An authenticator that knows the users of `passwords` (none: nobody logs in by password or SCRAM).
    pub fn new(passwords: Option<Arc<PasswordFile>>, secret: NodeSecret) -> Authenticator {
        Authenticator { passwords: passwords.unwrap_or_else(|| Arc::new(PasswordFile::empty())), secret }
    }

    /// Whether `identity` is a user with a password or SCRAM entry: after a reload, whoever logged in as one that is
    /// gone is disconnected.
    pub fn knows_user(&self, identity: &str) -> bool {
        self.passwords.user(identity).is_some()
    }

    /// Decides on a CONNECT.
    pub fn begin(&self, policy: &ListenerPolicy, attempt: Attempt<'_>) -> Step {
        let mut claim = Claim {
            client_id: attempt.client_id.into(),
            certificate: attempt.certificate.map(|facts| facts.fingerprint.clone()),
            address: attempt.address,
            bind: policy.bind_client_id,
            same_as: None,
        };
        // TLS has refused a connection without certificate already; a transport that forgot to ask is refused here.
        if policy.client_certificate == ClientCertificate::Required && attempt.certificate.is_none() {
            return Step::Refuse(Refusal::NoCertificate, ReasonCode::NOT_AUTHORIZED);
        }
        // A certificate that is shown is never ignored: what else the client claims must agree with it.
        if let Some(facts) = attempt.certificate {
            match facts.identity(policy.identity_from) {
                Ok(identity) => claim.same_as = Some(identity),
                Err(_) => return Step::Refuse(Refusal::BadCertificate, ReasonCode::NOT_AUTHORIZED),
            }
        }
        if let Some(username) = attempt.username {
            if username.len() > USER_BYTES_MAX {
                return Step::Refuse(Refusal::BadCredentials, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
            }
            // Whoever shows a certificate and names itself must be one and the same, on every kind of listener.
            if claim.same_as.as_deref().is_some_and(|identity| identity != username) {
                return Step::Refuse(Refusal::IdentityMismatch, ReasonCode::NOT_AUTHORIZED);
            }
        }
        if let Some(method) = attempt.auth_method {
            return self.begin_exchange(policy, claim, method, attempt.auth_data, attempt.username);
        }
        let has_credentials = attempt.username.is_some() || attempt.password.is_some();
        if policy.methods.password && has_credentials {
            // Also beside a certificate: a password that is offered and wrong never gets in.
            return self.begin_password(claim, attempt.username, attempt.password, policy);
        }
        if policy.methods.certificate
            && let Some(identity) = claim.same_as.clone()
        {
            return claim.accept(Some(identity), None);
        }
        if policy.anonymous {
            // Whoever proves nothing is nobody, whatever it says or shows.
            return claim.accept(None, None);
        }
        if has_credentials {
            return Step::Refuse(Refusal::BadCredentials, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
        }
        Step::Refuse(Refusal::BadCredentials, ReasonCode::NOT_AUTHORIZED)
    }

    /// Decides on an AUTH with reason Re-authenticate. The identity stays the same, or the client is refused.
    pub fn begin_again(
        &self,
        policy: &ListenerPolicy,
        current: &Principal,
        auth_method: &str,
        auth_data: Option<&[u8]>,
    ) -> Step {
        let (Some(identity), Some(address)) = (&current.identity, current.address) else {
            return Step::Refuse(Refusal::IdentityMismatch, ReasonCode::NOT_AUTHORIZED);
        };
        let claim = Claim {
            client_id: current.client_id.clone(),
            certificate: current.certificate.clone(),
            address,
            // The Client Identifier was accepted when the client connected, and does not change.
            bind: BindClientId::None,
            same_as: Some(identity.clone()),
        };
        self.begin_exchange(policy, claim, auth_method, auth_data, None)
    }

    /// Continues an exchange with the data of an AUTH packet.
    pub fn proceed(&self, state: Exchange, auth_data: &[u8]) -> Step {
        state.proceed(auth_data)
    }

    fn begin_password(
        &self,
        claim: Claim,
        username: Option<&str>,
        password: Option<&[u8]>,
        policy: &ListenerPolicy,
    ) -> Step {
        let bad = Step::Refuse(Refusal::BadCredentials, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
        let (Some(username), Some(password)) = (username, password) else {
            // A certificate alone is enough where it is a method, and it may come with the user name that it proves.
            return match (policy.methods.certificate, claim.same_as.clone(), password) {
                (true, Some(identity), None) => claim.accept(Some(identity), None),
                _ => bad,
            };
        };
        // CVE-2016-9877: an empty password never succeeds, not even against a hash of nothing.
        if username.is_empty() || password.is_empty() || password.len() > crate::password::PASSWORD_BYTES_MAX
        {
            return bad;
        }
        let job = self.passwords.job(username, Secret::new(password), &self.secret);
        Step::Hash(job, Pending { claim, identity: username.into() })
    }

    fn begin_exchange(
        &self,
        policy: &ListenerPolicy,
        claim: Claim,
        method: &str,
        data: Option<&[u8]>,
        username: Option<&str>,
    ) -> Step {
        if !policy.methods.scram_sha_256 || method != METHOD {
            return Step::Refuse(Refusal::BadAuthenticationMethod, ReasonCode::BAD_AUTHENTICATION_METHOD);
        }
        let client_first = match ClientFirst::parse(data.unwrap_or_default()) {
            Ok(client_first) => client_first,
            Err(error) => return refuse_scram(error),
        };
        let other = |name: &str| name != client_first.user;
        if username.is_some_and(other) || claim.same_as.as_deref().is_some_and(other) {
            return Step::Refuse(Refusal::IdentityMismatch, ReasonCode::NOT_AUTHORIZED);
        }
        let Ok(bytes) = random::<18>() else {
            return Step::Refuse(Refusal::Busy, ReasonCode::SERVER_UNAVAILABLE);
        };
        let (verifier, known) = self.passwords.verifier(&client_first.user, &self.secret);
        match ScramServer::begin(client_first, verifier, known, &nonce(&bytes)) {
            Ok((server, data)) => Step::Challenge { data, state: Exchange { claim, server } },
            Err(error) => refuse_scram(error),
        }
    }
}

impl Pending {
    /// Who the client says it is.
    pub fn user(&self) -> &str {
        &self.identity
    }

    /// Whether the client has shown a certificate of that user beside.
    pub fn is_certified(&self) -> bool {
        self.claim.is_certified()
    }

    /// Continues after the hash job: `verified` is what it returned.
    pub fn finish(self, verified: bool) -> Step {
        if verified {
            self.claim.accept(Some(self.identity), None)
        } else {
            Step::Refuse(Refusal::BadCredentials, ReasonCode::BAD_USER_NAME_OR_PASSWORD)
        }
    }
}

impl Exchange {
    /// Who the client says it is.
    pub fn user(&self) -> &str {
        self.server.user()
    }

    /// Whether the client has shown a certificate of that user beside.
    pub fn is_certified(&self) -> bool {
        self.claim.is_certified()
    }

    /// The method of the exchange: each AUTH packet of it must name the same one (MQTT-4.12.0-5).
    pub fn method(&self) -> &'static str {
        METHOD
    }

    /// Continues with the data of an AUTH packet.
    pub fn proceed(self, auth_data: &[u8]) -> Step {
        let identity: Arc<str> = self.server.user().into();
        match self.server.finish(auth_data) {
            Ok(server_final) => self.claim.accept(Some(identity), Some(server_final)),
            Err(error) => refuse_scram(error),
        }
    }
}

impl Claim {
    /// A certificate was verified, and gives the identity that is claimed.
    fn is_certified(&self) -> bool {
        self.certificate.is_some() && self.same_as.is_some()
    }

    /// The last step of every way in: the identity is proven, what the client claims beside it must agree.
    fn accept(self, identity: Option<Arc<str>>, auth_data: Option<Vec<u8>>) -> Step {
        if let Some(identity) = &identity {
            let other = self.same_as.as_ref().is_some_and(|same| same != identity);
            // An empty Client Identifier is assigned here, and is the identity's own.
            let unbound = !self.client_id.is_empty() && !self.bind.allows(identity, &self.client_id);
            if other || unbound {
                return Step::Refuse(Refusal::IdentityMismatch, ReasonCode::NOT_AUTHORIZED);
            }
        }
        let client_id = if self.client_id.is_empty() {
            let Ok(bytes) = random::<12>() else {
                return Step::Refuse(Refusal::Busy, ReasonCode::SERVER_UNAVAILABLE);
            };
            let prefix = identity.as_deref().unwrap_or("auto");
            format!("{prefix}-{}", crate::certificate::hex(&bytes)).into()
        } else {
            self.client_id
        };
        let principal = Principal {
            identity,
            certificate: self.certificate,
            address: Some(self.address),
            ..Principal::anonymous(client_id)
        };
        Step::Accept { principal, auth_data }
    }
}

/// Unknown user and wrong proof are told apart nowhere; a message that no client of the method sends is.
fn refuse_scram(error: ScramError) -> Step {
    match error {
        ScramError::Malformed | ScramError::TooLong => {
            Step::Refuse(Refusal::Protocol, ReasonCode::BAD_USER_NAME_OR_PASSWORD)
        }
        _ => Step::Refuse(Refusal::BadCredentials, ReasonCode::BAD_USER_NAME_OR_PASSWORD),
    }
}
