//! How a client proved who it is, kept small beside its connection, and whether it may stay when things change.

use super::Authenticator;
use crate::jwt::KeyId;
use crate::scram::Mechanism;
use crate::{IdentityFrom, ListenerPolicy, SecondFactor};
use ravelin_event::Principal;

/// What a client proved itself with, beside or instead of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum With {
    /// Nothing: the certificate alone, or nobody.
    #[default]
    Nothing,
    /// Its password.
    Password,
    /// An exchange that proves its password.
    Scram(Mechanism),
    /// A one-time code.
    Totp,
    /// A token.
    Token,
}

/// What a client has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Proof {
    /// It showed a certificate that gives it its identity.
    pub certificate: bool,
    /// And, or instead, this.
    pub with: With,
}

impl Proof {
    /// Whether it is what is demanded beside a certificate.
    pub(super) fn satisfies(self, demanded: SecondFactor) -> bool {
        let second = match self.with {
            With::Nothing => SecondFactor::None,
            With::Password | With::Scram(_) => SecondFactor::Password,
            With::Token => SecondFactor::Token,
            With::Totp => SecondFactor::Totp,
        };
        demanded == SecondFactor::None || (self.certificate && second == demanded)
    }
}

/// What a token gives its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenTerms {
    /// Until when, in seconds since the Unix epoch, leeway included.
    pub until_s: u64,
    /// Which key signed it.
    pub key: KeyId,
}

/// How a connected client proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Standing {
    /// What it proved.
    pub proof: Proof,
    /// Tells the credential that it used from one that takes its place.
    pub tag: u32,
    /// What its token gives it.
    pub token: Option<TokenTerms>,
}

impl Authenticator {
    /// Whether a client that is connected would be let in again as it was; the error says why not. For use after any
    /// change of users, classes, keys or listeners.
    pub fn still_admits(
        &self,
        policy: &ListenerPolicy,
        principal: &Principal,
        standing: &Standing,
    ) -> Result<(), &'static str> {
        let Some(identity) = principal.identity.as_deref() else {
            return if policy.anonymous {
                Ok(())
            } else {
                Err("nobody is let in any more who proves nothing")
            };
        };
        let known = self.known(identity);
        let Standing { proof, tag, token } = standing;
        let methods = policy.methods;
        let offered = match proof.with {
            With::Nothing => methods.certificate,
            With::Password => methods.password || proof.certificate,
            With::Scram(mechanism) => methods.scram(mechanism),
            With::Totp => proof.certificate,
            With::Token => methods.jwt || proof.certificate,
        };
        if known.disabled {
            return Err("its identity is disabled");
        }
        if known.class_is_unknown {
            return Err("its class does not exist any more");
        }
        if !offered {
            return Err("its way to prove who it is is not offered any more");
        }
        if policy.identity_from == IdentityFrom::Fingerprint && proof.certificate {
            let whose = principal.certificate.as_deref().and_then(|hash| self.identity_by_fingerprint(hash));
            if whose.as_deref() != Some(identity) {
                return Err("its certificate is not its identity's any more");
            }
        }
        match known.tag(proof.with) {
            None => return Err("its user is not known any more"),
            Some(now) if now != *tag => return Err("its password was changed"),
            Some(_) => {}
        }
        if let Some(terms) = token
            && !self.issuers.iter().any(|issuer| issuer.keys().has(terms.key))
        {
            return Err("the key that signed its token is not trusted any more");
        }
        let by_class = match (&known.class, &principal.class) {
            (Some(_), _) => known.second_factor,
            // A class that the token named.
            (None, Some(class)) if token.is_some() => {
                self.class(class).ok_or("its class does not exist any more")?
            }
            (None, _) => SecondFactor::None,
        };
        if !proof.satisfies(policy.second_factor.max(by_class)) {
            return Err("more is demanded of its class than it has proven");
        }
        if known.client_id.as_deref().is_some_and(|only| only != &*principal.client_id) {
            return Err("its identity is bound to another client identifier");
        }
        Ok(())
    }
}
