//! AUTH of a live client: re-authentication with the method of its CONNECT (section 4.12.1), same identity only.

use super::Shard;
use super::slab::Key;
use ravelin_broker::LinkId;
use ravelin_event::{DisconnectCause, Event};
use ravelin_mqtt::{Packet, ReasonCode, Sender, Version, decode};
use ravelin_protect::{Admission, Denied, Step};

impl Shard {
    pub(super) fn receive_auth(&mut self, key: Key, link: LinkId, first: u8, body: &[u8]) {
        self.broker.handle_heard(self.now, link);
        let auth = match decode(first, body, Version::V5, Sender::Client, &self.policy.core.decode) {
            Ok(Packet::Auth(auth)) => auth,
            Ok(_) => return self.end_reauth(link, ReasonCode::PROTOCOL_ERROR, "not an AUTH packet"),
            Err(error) => return self.malformed(link, &error),
        };
        let Some(conn) = self.conns.get_mut(key) else { return };
        let entrance = usize::from(conn.entrance);
        let Some(reauth) = conn.reauth.as_deref_mut() else { return };
        // MQTT-4.12.1-1: the method is that of CONNECT.
        if auth.method != Some(&*reauth.method) {
            return self.end_reauth(link, ReasonCode::PROTOCOL_ERROR, "another authentication method");
        }
        let step = match (auth.reason, reauth.exchange.take()) {
            (ReasonCode::RE_AUTHENTICATE, None) => {
                let Some(principal) = self.broker.principal(link) else { return };
                let policy = &self.policy.entrances[entrance].listener;
                let (authenticator, now_s) = (&self.policy.authenticator, self.now.wall_ms / 1000);
                authenticator.begin_again(policy, principal, &reauth.method, auth.data, now_s)
            }
            (ReasonCode::CONTINUE_AUTHENTICATION, Some(exchange)) => {
                exchange.proceed(&self.policy.authenticator, auth.data.unwrap_or_default())
            }
            _ => return self.end_reauth(link, ReasonCode::PROTOCOL_ERROR, "AUTH out of turn"),
        };
        let method = reauth.method.clone();
        match step {
            Step::Accept(admission) => {
                let Admission { principal, auth_data, standing } = *admission;
                // A token that gives other groups, or another class, is for another connection: what the client has
                // subscribed to was allowed by the one before.
                if self.broker.principal(link) != Some(&principal) {
                    let what = "what it may do is no longer the same";
                    return self.end_reauth(link, ReasonCode::NOT_AUTHORIZED, what);
                }
                conn.proven_s = (self.now.mono_ms / 1000) as u32;
                self.broker.send_auth(link, ReasonCode::SUCCESS, &method, auth_data.as_deref());
                self.keep_standing(key, &standing);
                self.emit(Event::Reauthenticated {
                    client_id: principal.client_id.to_string(),
                    identity: principal.identity.map(|identity| identity.to_string()),
                });
            }
            Step::Challenge { data, state } => {
                reauth.exchange = Some(state);
                self.broker.send_auth(link, ReasonCode::CONTINUE_AUTHENTICATION, &method, Some(&data));
            }
            // MQTT-4.12.1-2: the connection ends.
            Step::Refuse(denied) => {
                self.refused_again(key, link, &denied);
                self.end_reauth(link, disconnect_reason(denied.reason), "re-authentication failed")
            }
            Step::Hash(..) => self.end_reauth(link, ReasonCode::BAD_AUTHENTICATION_METHOD, "no exchange"),
        }
    }

    fn refused_again(&mut self, key: Key, link: LinkId, denied: &Denied) {
        let (Some(finding), Some(conn)) = (&denied.finding, self.conns.get(key)) else { return };
        let (address, principal) = (conn.address, self.broker.principal(link));
        let event = Event::CredentialRefused {
            address,
            client_id: principal.map(|principal| principal.client_id.to_string()),
            identity: finding.identity.as_deref().map(Into::into),
            credential: finding.credential,
            what: finding.what.clone(),
        };
        self.emit(event);
    }

    fn end_reauth(&mut self, link: LinkId, reason: ReasonCode, detail: &str) {
        let cause = if reason == ReasonCode::PROTOCOL_ERROR {
            DisconnectCause::ProtocolError
        } else {
            DisconnectCause::Administrative
        };
        self.broker.disconnect(self.now, link, reason, cause, Some(detail.into()));
    }
}

/// What a CONNACK would say, in the words that a DISCONNECT has (section 3.14.2.1).
fn disconnect_reason(reason: ReasonCode) -> ReasonCode {
    match reason {
        ReasonCode::MALFORMED_PACKET
        | ReasonCode::PROTOCOL_ERROR
        | ReasonCode::NOT_AUTHORIZED
        | ReasonCode::BAD_AUTHENTICATION_METHOD
        | ReasonCode::SERVER_BUSY => reason,
        ReasonCode::SERVER_UNAVAILABLE => ReasonCode::SERVER_BUSY,
        _ => ReasonCode::NOT_AUTHORIZED,
    }
}
