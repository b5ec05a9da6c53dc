//! MQTT 5.0's enhanced authentication: SCRAM, which takes two messages of the client, and tokens, which take one.

use super::claim::Claim;
use super::{Attempt, Authenticator, Denied, Step, With};
use crate::jwt;
use crate::scram::{ClientFirst, Mechanism, ScramError, ScramServer, nonce};
use crate::{ListenerPolicy, SecondFactor, random};
use ravelin_event::Refusal;
use ravelin_mqtt::ReasonCode;
use std::sync::Arc;

/// An exchange that is under way.
pub struct Exchange {
    claim: Claim,
    server: ScramServer,
}

impl Authenticator {
    pub(super) fn begin_exchange(
        &self,
        policy: &ListenerPolicy,
        claim: Claim,
        method: &str,
        attempt: &Attempt<'_>,
    ) -> Step {
        let data = attempt.auth_data.unwrap_or_default();
        if jwt::METHODS.contains(&method)
            && (policy.methods.jwt || claim.second_factor == SecondFactor::Token)
        {
            return self.begin_token(claim, data, attempt);
        }
        let mechanism = Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == method);
        let Some(mechanism) = mechanism.filter(|mechanism| policy.methods.scram(*mechanism)) else {
            return Step::Refuse(Denied::new(
                Refusal::BadAuthenticationMethod,
                ReasonCode::BAD_AUTHENTICATION_METHOD,
            ));
        };
        let client_first = match ClientFirst::parse(data) {
            Ok(client_first) => client_first,
            Err(error) => return refuse_scram(error),
        };
        let other = |name: &str| name != client_first.user;
        if attempt.username.is_some_and(other) || claim.same_as.as_deref().is_some_and(other) {
            return Step::Refuse(Denied::mismatch());
        }
        let Ok(bytes) = random::<18>() else { return Step::Refuse(Denied::busy()) };
        let (verifier, known) = self.verifier(mechanism, &client_first.user);
        match ScramServer::begin(client_first, verifier, known, &nonce(&bytes)) {
            Ok((server, data)) => Step::Challenge { data, state: Exchange { claim, server } },
            Err(error) => refuse_scram(error),
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
        self.server.mechanism().name()
    }

    /// Continues with the data of an AUTH packet.
    pub fn proceed(self, authenticator: &Authenticator, auth_data: &[u8]) -> Step {
        let Exchange { mut claim, server } = self;
        let (identity, with): (Arc<str>, _) = (server.user().into(), With::Scram(server.mechanism()));
        match server.finish(auth_data) {
            Ok(server_final) => {
                claim.auth_data = Some(server_final);
                authenticator.admit(claim, Some(identity), with)
            }
            Err(error) => refuse_scram(error),
        }
    }
}

/// Unknown user and wrong proof are told apart nowhere; a message that no client of the method sends is.
fn refuse_scram(error: ScramError) -> Step {
    let why = match error {
        ScramError::Malformed | ScramError::TooLong => Refusal::Protocol,
        _ => Refusal::BadCredentials,
    };
    Step::Refuse(Denied::new(why, ReasonCode::BAD_USER_NAME_OR_PASSWORD))
}
