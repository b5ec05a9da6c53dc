//! What is known of an identity, wherever it is written: the Directory first, then the files.

use crate::password::{StoredHash, User};
use crate::scram::{Mechanism, ScramVerifier};
use crate::totp::Totp;
use crate::{Authenticator, HashJob, SecondFactor, Secret};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// What is known of one identity.
#[derive(Default)]
pub(super) struct Known {
    pub credentials: User,
    pub disabled: bool,
    /// The class that it is in; `None`: the default class.
    pub class: Option<Arc<str>>,
    /// It is in a class that does not exist: what that class would demand cannot be known.
    pub class_is_unknown: bool,
    /// What its class demands beside a certificate.
    pub second_factor: SecondFactor,
    /// The only Client Identifier that it may use.
    pub client_id: Option<Arc<str>>,
}

/// Identities of the Directory that are looked at for one whose cost an unknown one shall have.
const MODELS_LOOKED_AT: usize = 32;

impl Authenticator {
    /// What is known of `identity`. An identity that nobody knows is like one without any credentials.
    pub(super) fn known(&self, identity: &str) -> Known {
        let filed = self.passwords.user(identity);
        let Some(listed) = self.directory.identity(identity) else {
            return Known { credentials: filed.cloned().unwrap_or_default(), ..Known::default() };
        };
        let class = listed.class.as_deref().map(|name| self.directory.class(name));
        Known {
            credentials: merged(listed.credentials.user(), filed),
            disabled: listed.disabled,
            class: listed.class.clone(),
            class_is_unknown: matches!(class, Some(None)),
            second_factor: class.flatten().map_or(SecondFactor::None, |class| class.second_factor),
            client_id: listed.client_id.clone(),
        }
    }

    /// Which identity has the certificate with this fingerprint.
    pub(super) fn identity_by_fingerprint(&self, fingerprint: &str) -> Option<Arc<str>> {
        self.directory.identity_by_fingerprint(fingerprint).map(|listed| listed.name.clone())
    }

    /// What a token's class claim stands for; `None`: there is no such class.
    pub(super) fn class(&self, name: &str) -> Option<SecondFactor> {
        self.directory.class(name).map(|class| class.second_factor)
    }

    /// The job that says whether `password` is that of `identity`. Who does not exist, or has none, costs as much as one of
    /// those who have, always the same one.
    pub(super) fn password_job(&self, identity: &str, password: Secret) -> HashJob {
        if let Some(stored) = self.known(identity).credentials.password {
            return HashJob::known(password, stored);
        }
        let model = self.model("password", identity, |user| user.password.clone());
        let model = model.or_else(|| self.passwords.model_hash(identity, &self.secret));
        HashJob::unknown(password, model.unwrap_or_else(|| Arc::new(StoredHash::dummy())))
    }

    /// The SCRAM verifier of `identity`, and whether it has one. For one that has none it is made up, always the same, and
    /// looks like one of those that are real.
    pub(super) fn verifier(&self, mechanism: Mechanism, identity: &str) -> (Arc<ScramVerifier>, bool) {
        if let Some(verifier) = self.known(identity).verifier(mechanism) {
            return (verifier.clone(), true);
        }
        let model = self.model("scram", identity, |user| user.scram(mechanism).cloned());
        let model = model.or_else(|| self.passwords.model_verifier(identity, &self.secret));
        let made_up = ScramVerifier::made_up(mechanism, identity, &self.secret, model.as_deref());
        (Arc::new(made_up), false)
    }

    /// A credential of the Directory that one for an unknown identity is made up after, as often as its share of all
    /// identities is.
    fn model<T>(&self, purpose: &str, identity: &str, of: impl Fn(&User) -> Option<T>) -> Option<T> {
        let listed = self.directory.identity_count();
        let all = listed + self.passwords.len();
        let place = self.secret.pick(purpose, identity, all);
        if place >= listed {
            return None;
        }
        let mut looked_at = self.directory.identities_from(place).take(MODELS_LOOKED_AT);
        looked_at.find_map(|listed| of(listed.credentials.user()))
    }
}

/// What the Directory says of passwords takes the place of all that the file says: a password that was changed in the one
/// must not be good any more in the other, whatever the way in which it is proven.
fn merged(listed: &User, filed: Option<&User>) -> User {
    let Some(filed) = filed else { return listed.clone() };
    let has_password =
        listed.password.is_some() || listed.scram_sha_256.is_some() || listed.scram_sha_512.is_some();
    let password = if has_password { listed } else { filed };
    User { totp: listed.totp.clone().or_else(|| filed.totp.clone()), ..password.clone() }
}

/// Tells a credential from the one that takes its place, without keeping it. Not secret, and not to be kept on disk.
pub(super) fn tag_of_hash(stored: &StoredHash) -> u32 {
    tag(stored.to_string().as_bytes())
}

/// The same of a SCRAM verifier.
pub(super) fn tag_of_verifier(verifier: &ScramVerifier) -> u32 {
    tag(verifier.to_string().as_bytes())
}

/// The same of the secret of one-time codes.
pub(super) fn tag_of_totp(totp: &Totp) -> u32 {
    tag(totp.to_entry().as_bytes())
}

fn tag(bytes: &[u8]) -> u32 {
    let mut hasher = foldhash::quality::FixedState::with_seed(0x7A6).build_hasher();
    hasher.write(bytes);
    hasher.finish() as u32
}

impl Known {
    /// The tag of the credential that `with` is proven by; `None` if it has none.
    pub fn tag(&self, with: super::With) -> Option<u32> {
        match with {
            super::With::Password => self.credentials.password.as_deref().map(tag_of_hash),
            super::With::Scram(mechanism) => {
                self.verifier(mechanism).map(|verifier| tag_of_verifier(verifier))
            }
            super::With::Totp => self.credentials.totp.as_deref().map(tag_of_totp),
            super::With::Nothing | super::With::Token => Some(0),
        }
    }

    pub fn verifier(&self, mechanism: Mechanism) -> Option<&Arc<ScramVerifier>> {
        self.credentials.scram(mechanism)
    }
}
