//! Who the client says to be, and the last step of every way in: everything that it claims must agree, and what its
//! class demands must have been shown.

use super::standing::{Proof, Standing, TokenTerms, With};
use super::{Admission, Attempt, Authenticator, Denied, Step, USER_BYTES_MAX, needs_certificate};
use crate::jwt::{Claims, KeyId};
use crate::{BindClientId, CertificateFacts, IdentityFrom, ListenerPolicy, SecondFactor, random};
use ravelin_event::{CertificateAttributes, Granted, Principal, Refusal};
use ravelin_mqtt::ReasonCode;
use std::net::SocketAddr;
use std::sync::Arc;

/// Who the client will be once it has proven it.
#[derive(Clone)]
pub(super) struct Claim {
    pub client_id: Arc<str>,
    pub certificate: Option<Arc<str>>,
    pub attributes: Option<Arc<CertificateAttributes>>,
    pub address: SocketAddr,
    pub bind: BindClientId,
    /// The identity that the certificate gives, or that was proven before: the one to be proven must be the same.
    pub same_as: Option<Arc<str>>,
    /// What the listener demands beside a certificate, or the class of `same_as`, whichever is stricter.
    pub second_factor: SecondFactor,
    /// What a token claimed, once it was verified.
    pub token: Option<Box<(Claims, KeyId)>>,
    /// The last word of an exchange.
    pub auth_data: Option<Vec<u8>>,
}

impl Authenticator {
    /// What can be said before anything is proven.
    pub(super) fn claim(&self, policy: &ListenerPolicy, attempt: &Attempt<'_>) -> Result<Claim, Denied> {
        // TLS has refused a connection without certificate already; a transport that forgot to ask is refused here.
        let needed = needs_certificate(policy) || policy.second_factor != SecondFactor::None;
        if needed && attempt.certificate.is_none() {
            return Err(Denied::new(Refusal::NoCertificate, ReasonCode::NOT_AUTHORIZED));
        }
        let mut claim = Claim {
            client_id: attempt.client_id.into(),
            certificate: attempt.certificate.map(|facts| facts.fingerprint.clone()),
            attributes: None,
            address: attempt.address,
            bind: policy.bind_client_id,
            same_as: None,
            second_factor: policy.second_factor,
            token: None,
            auth_data: None,
        };
        // A certificate that is shown is never ignored: what else the client claims must agree with it.
        if let Some(facts) = attempt.certificate {
            let identity = self.identity_of(policy, facts)?;
            claim.second_factor = claim.second_factor.max(self.demanded(&identity)?);
            claim.attributes = Some(facts.attributes());
            claim.same_as = Some(identity);
        }
        if let Some(username) = attempt.username {
            if username.len() > USER_BYTES_MAX {
                return Err(Denied::credentials());
            }
            // Whoever shows a certificate and names itself must be one and the same, on every kind of listener. A token
            // says itself whose it is.
            let unnamed =
                username.is_empty() && (policy.methods.jwt || claim.second_factor == SecondFactor::Token);
            if !unnamed && claim.same_as.as_deref().is_some_and(|identity| identity != username) {
                return Err(Denied::mismatch());
            }
        }
        Ok(claim)
    }

    /// The same for a client that has proven who it is, and proves it again.
    pub(super) fn claim_again(
        &self,
        policy: &ListenerPolicy,
        current: &Principal,
        identity: &Arc<str>,
    ) -> Result<Claim, Denied> {
        let address = current.address.ok_or_else(Denied::mismatch)?;
        Ok(Claim {
            client_id: current.client_id.clone(),
            certificate: current.certificate.clone(),
            attributes: current.attributes.clone(),
            address,
            // The Client Identifier was accepted when the client connected, and does not change.
            bind: BindClientId::None,
            same_as: Some(identity.clone()),
            second_factor: policy.second_factor.max(self.demanded(identity)?),
            token: None,
            auth_data: None,
        })
    }

    fn identity_of(&self, policy: &ListenerPolicy, facts: &CertificateFacts) -> Result<Arc<str>, Denied> {
        let wrong = |what: String| {
            let denied = Denied::new(Refusal::BadCertificate, ReasonCode::NOT_AUTHORIZED);
            denied.because(None, "certificate", what)
        };
        if policy.identity_from == IdentityFrom::Fingerprint {
            let unknown =
                || wrong(format!("no identity has a certificate with the fingerprint {}", facts.fingerprint));
            return self.identity_by_fingerprint(&facts.fingerprint).ok_or_else(unknown);
        }
        facts.identity(policy.identity_from).map_err(|error| wrong(error.to_string()))
    }

    /// What the class of an identity that is known by its certificate demands. It has proven who it is, so it may be told
    /// that it is refused.
    fn demanded(&self, identity: &Arc<str>) -> Result<SecondFactor, Denied> {
        let known = self.known(identity);
        if known.disabled {
            return Err(disabled(identity));
        }
        if known.class_is_unknown {
            return Err(unknown_class(identity, known.class.as_deref()));
        }
        Ok(known.second_factor)
    }

    /// The last step of every way in: the identity is proven, what the client claims beside it must agree.
    pub(super) fn admit(&self, claim: Claim, identity: Option<Arc<str>>, with: With) -> Step {
        match self.try_admit(claim, identity, with) {
            Ok(admission) => Step::Accept(Box::new(admission)),
            Err(denied) => Step::Refuse(denied),
        }
    }

    fn try_admit(&self, claim: Claim, identity: Option<Arc<str>>, with: With) -> Result<Admission, Denied> {
        let proof = Proof { certificate: identity.is_some() && claim.certificate.is_some(), with };
        let (mut class, mut tag) = (None, 0);
        if let Some(identity) = &identity {
            let known = self.known(identity);
            if claim.same_as.as_ref().is_some_and(|same| same != identity) {
                return Err(Denied::mismatch());
            }
            if known.disabled {
                return Err(disabled(identity));
            }
            class = self.class_of(&known, claim.token.as_deref().map(|(claims, _)| claims), identity)?;
            let demanded =
                claim.second_factor.max(class.as_ref().map_or(SecondFactor::None, |class| class.1));
            if !proof.satisfies(demanded) {
                // Without its certificate, whoever guesses a password must not learn that it was right.
                let what = format!("a certificate and {} are demanded", demanded.name());
                let denied = Denied::new(Refusal::SecondFactor, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
                return Err(denied.because(Some(identity.clone()), demanded.name(), what));
            }
            check_client_id(&claim, identity, known.client_id.as_deref())?;
            tag = known.tag(with).unwrap_or_default();
        }
        // FlashMQ 1.27.1: whoever proves nothing is nobody, and what its certificate says opens no door either.
        let attributes = claim.attributes.clone().filter(|_| identity.is_some());
        let client_id = claim.client_id(identity.as_deref(), &self.known_client_id(identity.as_deref()))?;
        let principal = Principal {
            client_id,
            identity,
            certificate: claim.certificate,
            address: Some(claim.address),
            class: class.map(|class| class.0),
            attributes,
            granted: claim.token.as_deref().and_then(|(claims, _)| granted(claims)),
        };
        let token = claim.token.map(|token| TokenTerms { until_s: token.0.until_s, key: token.1 });
        Ok(Admission { principal, auth_data: claim.auth_data, standing: Standing { proof, tag, token } })
    }

    /// The class and what it demands. The Directory's word counts; a token speaks for those that have none there.
    fn class_of(
        &self,
        known: &super::known::Known,
        claims: Option<&Claims>,
        identity: &Arc<str>,
    ) -> Result<Option<(Arc<str>, SecondFactor)>, Denied> {
        if known.class_is_unknown {
            return Err(unknown_class(identity, known.class.as_deref()));
        }
        if let Some(class) = &known.class {
            return Ok(Some((class.clone(), known.second_factor)));
        }
        let Some(name) = claims.and_then(|claims| claims.class.as_deref()) else { return Ok(None) };
        match self.class(name) {
            Some(demanded) => Ok(Some((name.into(), demanded))),
            None => Err(unknown_class(identity, Some(name))),
        }
    }

    fn known_client_id(&self, identity: Option<&str>) -> Option<Arc<str>> {
        self.known(identity?).client_id
    }
}

/// The Client Identifier must be one that the identity may use, by the listener, the Directory and the token.
fn check_client_id(claim: &Claim, identity: &Arc<str>, bound: Option<&str>) -> Result<(), Denied> {
    // An empty one is assigned, and is the identity's own.
    if claim.client_id.is_empty() {
        return Ok(());
    }
    let by_token = claim.token.as_deref().and_then(|(claims, _)| claims.client_id.as_deref());
    for (only, whose) in [(bound, "the directory"), (by_token, "the token")] {
        if only.is_some_and(|only| only != &*claim.client_id) {
            let what = format!("{whose} gives it another client identifier");
            return Err(Denied::mismatch().because(Some(identity.clone()), "identity", what));
        }
    }
    // What the Directory says of this one identity goes before the listener's rule for all.
    if bound.is_none() && !claim.bind.allows(identity, &claim.client_id) {
        return Err(Denied::mismatch());
    }
    Ok(())
}

impl Claim {
    /// A certificate was verified, and gives the identity that is claimed.
    pub fn is_certified(&self) -> bool {
        self.certificate.is_some() && self.same_as.is_some()
    }

    /// The Client Identifier, assigned if the client left it to us.
    fn client_id(&self, identity: Option<&str>, bound: &Option<Arc<str>>) -> Result<Arc<str>, Denied> {
        if !self.client_id.is_empty() {
            return Ok(self.client_id.clone());
        }
        let by_token = self.token.as_deref().and_then(|(claims, _)| claims.client_id.as_deref());
        match (bound, by_token) {
            (Some(bound), Some(by_token)) if **bound != *by_token => return Err(Denied::mismatch()),
            (Some(bound), _) => return Ok(bound.clone()),
            (None, Some(by_token)) => return Ok(by_token.into()),
            (None, None) => {}
        }
        let bytes = random::<12>().map_err(|_| Denied::busy())?;
        let prefix = identity.unwrap_or("auto");
        Ok(format!("{prefix}-{}", crate::certificate::hex(&bytes)).into())
    }
}

/// The groups and roles that a token names.
fn granted(claims: &Claims) -> Option<Arc<Granted>> {
    let names = |list: &[String]| list.iter().map(|name| name.as_str().into()).collect();
    let granted = Granted { groups: names(&claims.groups), roles: names(&claims.roles) };
    (granted != Granted::default()).then(|| Arc::new(granted))
}

fn disabled(identity: &Arc<str>) -> Denied {
    let denied = Denied::new(Refusal::Disabled, ReasonCode::NOT_AUTHORIZED);
    denied.because(Some(identity.clone()), "identity", "the identity is disabled")
}

fn unknown_class(identity: &Arc<str>, class: Option<&str>) -> Denied {
    let what = format!("there is no class {:?}: what it demands cannot be known", class.unwrap_or_default());
    let denied = Denied::new(Refusal::UnknownClass, ReasonCode::NOT_AUTHORIZED);
    denied.because(Some(identity.clone()), "class", what)
}
