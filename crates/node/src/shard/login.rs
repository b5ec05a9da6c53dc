//! Who logs in: bans of names, and lock-out around the steps of authentication.

use super::Shard;
use super::conn::Stage;
use super::slab::Key;
use ravelin_event::{Event, Refusal};
use ravelin_mqtt::{ReasonCode, Version};
use ravelin_protect::Step;
use ravelin_protect::lockout::{Locked, Login, Outcome};
use std::net::IpAddr;

impl Shard {
    /// Whether a client with these names is banned.
    pub(super) fn is_banned(
        &self,
        client_id: &str,
        identity: Option<&str>,
        certificate: Option<&str>,
    ) -> bool {
        let ladder = self.ladder();
        !ladder.bans.is_empty()
            && ladder.bans.of_client(client_id, identity, certificate, self.now.wall_ms / 1000).is_some()
    }

    pub(super) fn is_address_banned(&self, address: IpAddr) -> bool {
        let ladder = self.ladder();
        !ladder.bans.is_empty() && ladder.bans.is_address_banned(address, self.now.wall_ms / 1000)
    }

    /// Lets lock-out see a step of authentication. An error is the reason code for whoever must wait: that costs no
    /// hash, takes the same time for a user that does not exist, and says nothing of either.
    pub(super) fn count_login(&mut self, key: Key, step: Step) -> Result<Step, ReasonCode> {
        let begun = match &step {
            // A hash for a log-in that has a ticket is the second factor of it.
            Step::Hash(_, pending) => self.begin_login(key, pending.user(), pending.is_certified()),
            Step::Challenge { state, .. } => self.begin_login(key, state.user(), state.is_certified()),
            Step::Accept(_) => {
                self.finish_login(key, Outcome::Succeeded);
                Ok(())
            }
            Step::Refuse(denied) if matches!(denied.why, Refusal::BadCredentials | Refusal::SecondFactor) => {
                self.finish_login(key, Outcome::Failed);
                Ok(())
            }
            Step::Refuse(_) => {
                self.finish_login(key, Outcome::Abandoned);
                Ok(())
            }
        };
        begun.map(|()| step)
    }

    /// A log-in that is given up neither failed nor succeeded.
    pub(super) fn give_up_login(&mut self, key: Key) {
        self.finish_login(key, Outcome::Abandoned);
    }

    fn begin_login(&mut self, key: Key, user: &str, is_certified: bool) -> Result<(), ReasonCode> {
        let limits = self.policy.core.decode;
        let Some(conn) = self.conns.get(key) else { return Ok(()) };
        let address = conn.address.ip();
        let Stage::Pre(pre) = &conn.stage else { return Ok(()) };
        if pre.login.is_some() {
            return Ok(());
        }
        let certificate = pre.certificate.as_ref().filter(|_| is_certified);
        let certificate = certificate.map(|facts| facts.fingerprint.clone());
        let Some((connect, _)) =
            pre.connect.as_deref().and_then(|packet| super::preauth::decode_connect(packet, &limits))
        else {
            return Ok(());
        };
        let login =
            Login { user, address, client_id: connect.client_id, certificate: certificate.as_deref() };
        // A device of 3.1.1 is told what it is told when its password is wrong for good: it has no code for this.
        let reason = match connect.version {
            Version::V311 => ReasonCode::NOT_AUTHORIZED,
            Version::V5 => ReasonCode::CONNECTION_RATE_EXCEEDED,
        };
        let begun = self.ladder().lockout.begin(self.now.mono_ms, login);
        match begun {
            Ok(ticket) => {
                if let Some(pre) = self.pre(key) {
                    pre.login = ticket.map(Box::new);
                }
                Ok(())
            }
            Err(_) => Err(reason),
        }
    }

    fn finish_login(&mut self, key: Key, outcome: Outcome) {
        let Some(ticket) = self.pre(key).and_then(|pre| pre.login.take()) else { return };
        let identity = ticket.user().to_owned();
        let locked = self.ladder().lockout.finish(self.now.mono_ms, *ticket, outcome);
        if outcome != Outcome::Failed {
            return;
        }
        let limits = self.policy.core.decode;
        let Some(conn) = self.conns.get(key) else { return };
        let address = conn.address;
        let packet = self.pre(key).and_then(|pre| pre.connect.as_deref());
        let connect = packet.and_then(|packet| super::preauth::decode_connect(packet, &limits));
        let client_id = connect.map(|(connect, _)| connect.client_id.to_owned()).unwrap_or_default();
        let identity = Some(identity);
        if let Some(Locked { scope, failures, until_ms }) = locked {
            self.emit(Event::LoginLockedOut {
                address,
                client_id: client_id.clone(),
                identity: identity.clone(),
                scope: scope.name(),
                failures,
                pause_s: until_ms.saturating_sub(self.now.mono_ms).div_ceil(1000),
            });
        }
        self.emit(Event::LoginFailed { address, client_id, identity, why: Refusal::BadCredentials });
    }
}
