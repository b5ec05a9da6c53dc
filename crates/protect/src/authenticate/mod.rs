//! Who a connecting client is. One snapshot of what is known, replaced whole on a reload.
//!
//! | file | what of it |
//! |---|---|
//! | `mod` | which proof a client offers, and whether the listener takes it |
//! | `claim` | the last step of every way in: what else must agree before it is let in |
//! | `exchange` | SCRAM and tokens by MQTT 5.0's enhanced authentication |
//! | `known` | what the Directory and the files know of an identity |
//! | `standing` | whether a client that is connected may stay |

mod claim;
mod exchange;
mod known;
mod standing;

pub use exchange::Exchange;
pub use standing::{Proof, Standing, TokenTerms, With};

use crate::directory::{Directory, DirectoryLimits};
use crate::jwt::{Issuer, TokenError, looks_like_token};
use crate::password::CodeWork;
use crate::totp::{Ledger, LedgerError, Totp};
use crate::{
    CertificateFacts, ClientCertificate, HashJob, ListenerPolicy, NodeSecret, PasswordFile, SecondFactor,
    Secret, Unproven,
};
use claim::Claim;
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
    /// The time, in seconds since the Unix epoch.
    pub now_s: u64,
}

/// What to do next with a client.
#[must_use]
pub enum Step {
    /// It is let in.
    Accept(Box<Admission>),
    /// It is refused.
    Refuse(Denied),
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

/// A client that is let in.
#[derive(Clone, Debug)]
pub struct Admission {
    /// Who it is. An empty Client Identifier was replaced by one that nobody else uses.
    pub principal: Principal,
    /// The server's last word of an exchange: into the CONNACK, or into the AUTH that ends a re-authentication.
    pub auth_data: Option<Vec<u8>>,
    /// How it proved that, and for how long.
    pub standing: Standing,
}

/// A client that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Why, for the log.
    pub why: Refusal,
    /// The reason code, for the peer: it says less.
    pub reason: ReasonCode,
    /// What exactly is wrong, for the log, where `why` alone would leave an operator guessing.
    pub finding: Option<Box<Finding>>,
}

/// What exactly is wrong with what a client presented. Never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Who the client says, or has proven, to be.
    pub identity: Option<Arc<str>>,
    /// What is wrong: "jwt", "totp", "certificate", "class", "identity".
    pub credential: &'static str,
    /// In which way.
    pub what: String,
}

impl Denied {
    /// A refusal that says no more.
    pub fn new(why: Refusal, reason: ReasonCode) -> Denied {
        Denied { why, reason, finding: None }
    }

    pub(crate) fn because(
        self,
        identity: Option<Arc<str>>,
        credential: &'static str,
        what: impl Into<String>,
    ) -> Denied {
        Denied { finding: Some(Box::new(Finding { identity, credential, what: what.into() })), ..self }
    }

    pub(crate) fn credentials() -> Denied {
        Denied::new(Refusal::BadCredentials, ReasonCode::BAD_USER_NAME_OR_PASSWORD)
    }

    fn mismatch() -> Denied {
        Denied::new(Refusal::IdentityMismatch, ReasonCode::NOT_AUTHORIZED)
    }

    fn busy() -> Denied {
        Denied::new(Refusal::Busy, ReasonCode::SERVER_UNAVAILABLE)
    }

    /// The peer learns that its token is not accepted, or that we cannot tell now; the log learns why.
    fn token(error: &TokenError, identity: Option<Arc<str>>) -> Denied {
        let denied = match error {
            TokenError::NoKeys => Denied::new(Refusal::BadToken, ReasonCode::SERVER_UNAVAILABLE),
            _ => Denied::new(Refusal::BadToken, ReasonCode::BAD_USER_NAME_OR_PASSWORD),
        };
        denied.because(identity, "jwt", error.to_string())
    }
}

/// A proof that is being verified.
pub struct Pending {
    claim: Claim,
    identity: Arc<str>,
    with: With,
}

/// Where what is known of users comes from. The default knows nobody.
#[derive(Clone, Default)]
pub struct Sources {
    /// The password file.
    pub passwords: Option<Arc<PasswordFile>>,
    /// Who is administered while the node runs.
    pub directory: Option<Directory>,
    /// Whose tokens are accepted.
    pub issuers: Arc<[Issuer]>,
    /// Which one-time codes were used; shared by all snapshots of a node.
    pub ledger: Ledger,
}

/// What is known of users, and the decision who is let in.
#[derive(Clone)]
pub struct Authenticator {
    passwords: Arc<PasswordFile>,
    directory: Directory,
    issuers: Arc<[Issuer]>,
    ledger: Ledger,
    secret: NodeSecret,
}

impl Authenticator {
    /// An authenticator that knows what `sources` know.
    pub fn new(sources: Sources, secret: NodeSecret) -> Authenticator {
        let Sources { passwords, directory, issuers, ledger } = sources;
        let passwords = passwords.unwrap_or_else(|| Arc::new(PasswordFile::empty()));
        let directory = directory.unwrap_or_else(|| Directory::new(DirectoryLimits::default()));
        Authenticator { passwords, directory, issuers, ledger, secret }
    }

    /// The issuers whose tokens are accepted.
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    /// Takes over from the snapshot before what is in no file: the Directory, which one-time codes were used, and the keys
    /// of issuers that are fetched.
    pub fn after(self, earlier: &Authenticator) -> Authenticator {
        let issuers = self.issuers.iter().map(|issuer| issuer.clone().after(&earlier.issuers)).collect();
        let (directory, ledger) = (earlier.directory.clone(), earlier.ledger.clone());
        Authenticator { directory, ledger, issuers, ..self }
    }

    /// The same that goes by another Directory.
    pub fn with_directory(self, directory: Directory) -> Authenticator {
        Authenticator { directory, ..self }
    }

    /// The same that goes by another ledger of one-time codes.
    pub fn with_ledger(self, ledger: Ledger) -> Authenticator {
        Authenticator { ledger, ..self }
    }

    /// Decides on a CONNECT.
    pub fn begin(&self, policy: &ListenerPolicy, attempt: Attempt<'_>) -> Step {
        let claim = match self.claim(policy, &attempt) {
            Ok(claim) => claim,
            Err(denied) => return Step::Refuse(denied),
        };
        if let Some(method) = attempt.auth_method {
            return self.begin_exchange(policy, claim, method, &attempt);
        }
        match claim.second_factor {
            SecondFactor::None => self.begin_single(policy, claim, &attempt),
            demanded => self.begin_second(claim, demanded, &attempt),
        }
    }

    /// Decides on an AUTH with reason Re-authenticate. The identity stays the same, or the client is refused.
    pub fn begin_again(
        &self,
        policy: &ListenerPolicy,
        current: &Principal,
        auth_method: &str,
        auth_data: Option<&[u8]>,
        now_s: u64,
    ) -> Step {
        let (Some(identity), Some(address)) = (&current.identity, current.address) else {
            return Step::Refuse(Denied::mismatch());
        };
        let attempt = Attempt {
            client_id: &current.client_id,
            username: None,
            password: None,
            certificate: None,
            auth_method: None,
            auth_data,
            address,
            now_s,
        };
        match self.claim_again(policy, current, identity) {
            Ok(claim) => self.begin_exchange(policy, claim, auth_method, &attempt),
            Err(denied) => Step::Refuse(denied),
        }
    }

    /// One proof is enough; what else is shown must not contradict it.
    fn begin_single(&self, policy: &ListenerPolicy, claim: Claim, attempt: &Attempt<'_>) -> Step {
        let has_credentials = attempt.username.is_some() || attempt.password.is_some();
        // A token is never tried as a password, nor the other way round: one guess, one look.
        if let Some(token) =
            attempt.password.filter(|password| policy.methods.jwt && looks_like_token(password))
        {
            return self.begin_token(claim, token, attempt);
        }
        if policy.methods.password && has_credentials {
            // Also beside a certificate: a password that is offered and wrong never gets in.
            return self.begin_password(claim, policy.methods.certificate, attempt);
        }
        if policy.methods.jwt && attempt.password.is_some() {
            let error = TokenError::Malformed("it does not have three parts");
            return Step::Refuse(Denied::token(&error, attempt.username.map(Into::into)));
        }
        if policy.methods.certificate
            && let Some(identity) = claim.same_as.clone()
        {
            return self.admit(claim, Some(identity), With::Nothing);
        }
        if policy.anonymous {
            // Whoever proves nothing is nobody, whatever it says or shows.
            return self.admit(claim, None, With::Nothing);
        }
        if has_credentials {
            return Step::Refuse(Denied::credentials());
        }
        Step::Refuse(Denied::new(Refusal::BadCredentials, ReasonCode::NOT_AUTHORIZED))
    }

    /// A certificate is there, and is not enough.
    fn begin_second(&self, claim: Claim, demanded: SecondFactor, attempt: &Attempt<'_>) -> Step {
        let Some(identity) = claim.same_as.clone() else {
            return Step::Refuse(Denied::new(Refusal::NoCertificate, ReasonCode::NOT_AUTHORIZED));
        };
        let Some(proof) = attempt.password.filter(|password| !password.is_empty()) else {
            let what = format!("the second factor ({}) is missing", demanded.name());
            let denied = Denied::new(Refusal::SecondFactor, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
            return Step::Refuse(denied.because(Some(identity), demanded.name(), what));
        };
        match demanded {
            SecondFactor::Token => self.begin_token(claim, proof, attempt),
            SecondFactor::Totp => self.begin_code(claim, identity, proof, attempt.now_s),
            SecondFactor::None | SecondFactor::Password => self.hash(claim, &identity, proof),
        }
    }

    fn begin_password(&self, claim: Claim, certificate: bool, attempt: &Attempt<'_>) -> Step {
        let (Some(username), Some(password)) = (attempt.username, attempt.password) else {
            // A certificate alone is enough where it is a method, and it may come with the user name that it proves.
            return match (certificate, claim.same_as.clone(), attempt.password) {
                (true, Some(identity), None) => self.admit(claim, Some(identity), With::Nothing),
                _ => Step::Refuse(Denied::credentials()),
            };
        };
        if username.is_empty() {
            return Step::Refuse(Denied::credentials());
        }
        self.hash(claim, username, password)
    }

    fn hash(&self, claim: Claim, username: &str, password: &[u8]) -> Step {
        // CVE-2016-9877: an empty password never succeeds, not even against a hash of nothing.
        if password.is_empty() || password.len() > crate::password::PASSWORD_BYTES_MAX {
            return Step::Refuse(Denied::credentials());
        }
        let job = self.password_job(username, Secret::new(password));
        Step::Hash(job, Pending { claim, identity: username.into(), with: With::Password })
    }

    fn begin_code(&self, claim: Claim, identity: Arc<str>, code: &[u8], now_s: u64) -> Step {
        let enrolled = self.known(&identity).credentials.totp;
        let known = enrolled.is_some();
        let totp = enrolled.unwrap_or_else(|| Arc::new(Totp::made_up(&identity, &self.secret)));
        let job = HashJob::code(CodeWork {
            code: Secret::new(code),
            totp,
            known,
            identity: identity.clone(),
            now_s,
            ledger: self.ledger.clone(),
        });
        Step::Hash(job, Pending { claim, identity, with: With::Totp })
    }

    fn begin_token(&self, mut claim: Claim, token: &[u8], attempt: &Attempt<'_>) -> Step {
        let said = || attempt.username.filter(|name| !name.is_empty());
        let (claims, key) = match Issuer::verify(&self.issuers, token, attempt.now_s) {
            Ok(verified) => verified,
            Err(error) => {
                let identity = claim.same_as.clone().or_else(|| said().map(Into::into));
                return Step::Refuse(Denied::token(&error, identity));
            }
        };
        let identity: Arc<str> = claims.identity.as_str().into();
        if said().is_some_and(|name| name != &*identity) {
            let what = "the token is of another identity than the user name";
            return Step::Refuse(Denied::mismatch().because(Some(identity), "jwt", what));
        }
        claim.token = Some(Box::new((claims, key)));
        self.admit(claim, Some(identity), With::Token)
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

    /// Continues after the job: `result` is what it returned. The authenticator is that of now: an identity that was
    /// disabled while its password was hashed is not let in.
    pub fn finish(self, authenticator: &Authenticator, result: Result<(), Unproven>) -> Step {
        let Pending { claim, identity, with } = self;
        let code = match result {
            Ok(()) => return authenticator.admit(claim, Some(identity), with),
            Err(Unproven::Wrong) if with != With::Totp => return Step::Refuse(Denied::credentials()),
            Err(Unproven::Wrong) => None,
            Err(Unproven::Code(error)) => Some(error),
        };
        let reason = ReasonCode::BAD_USER_NAME_OR_PASSWORD;
        let (denied, what) = match code {
            None => (Denied::new(Refusal::SecondFactor, reason), "the one-time code is wrong".into()),
            Some(error @ LedgerError::NotKept) => (Denied::busy(), error.to_string()),
            Some(error) => (Denied::new(Refusal::SecondFactor, reason), error.to_string()),
        };
        Step::Refuse(denied.because(Some(identity), "totp", what))
    }
}

/// The identity of a certificate that must be there is said to be `NoCertificate` when it is not.
fn needs_certificate(policy: &ListenerPolicy) -> bool {
    policy.client_certificate == ClientCertificate::Required
}
