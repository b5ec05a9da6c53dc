//! What other threads ask of a shard.

use super::Shard;
use super::conn::Stage;
use super::mailbox::{Mail, mail_bytes};
use super::slab::Key;
use crate::control::{Changed, ConnInfo, Order, ShardView};
use crate::policy::{Policy, Rights};
use ravelin_event::{DisconnectCause, Refusal};
use ravelin_mqtt::ReasonCode;
use std::rc::Rc;
use std::sync::Arc;

impl Shard {
    /// Deals with all mail. One atomic load when there is none.
    #[inline]
    pub(super) fn take_mail(&mut self) {
        self.mailboxes[usize::from(self.id)].take(&mut self.mail);
        while let Some(mail) = self.mail.pop_front() {
            let bytes = mail_bytes(&mail);
            self.survive(None, |shard| shard.handle_mail(mail));
            if bytes > 0 && self.mailbox().done(bytes) {
                for sister in self.mailboxes.iter() {
                    sister.wake().ring();
                }
            }
        }
    }

    /// Carries out all orders of the control lane. One atomic load when there is none.
    #[inline]
    pub(super) fn take_orders(&mut self) {
        while let Some(order) = self.mailbox().next_order() {
            self.survive(None, |shard| match order {
                Order::Policy(policy, changed) => shard.change_policy(policy, changed),
                Order::Run(run) => run(&mut ShardView { shard }),
            });
        }
    }

    fn handle_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Sister(from, messages) => {
                for message in messages {
                    self.broker.handle_shard(self.now, from, message);
                }
            }
            Mail::Moved(moved) => self.take_in(*moved),
            Mail::Hashed(key, pending, result) => {
                let step = pending.finish(&self.policy.authenticator, result);
                self.hashed(key, step);
            }
            Mail::System(entries) => {
                for (topic, value) in entries {
                    self.broker.publish_system(self.now, &topic, value.as_bytes());
                }
            }
            Mail::Monitor(monitored) => {
                for message in &monitored.messages {
                    self.broker.publish_monitor(self.now, &message.topic, &message.payload, message.retain);
                }
            }
            Mail::Shutdown => self.stop(),
        }
    }

    /// Hands the messages for sister shards over. Before anything of this turn is written to a socket: what a client
    /// sees acknowledged, every shard has been told.
    pub(super) fn post_outboxes(&mut self) {
        for (id, outbox) in self.outboxes.iter_mut().enumerate() {
            if !outbox.is_empty() {
                self.mailboxes[id].post(Mail::Sister(self.id, std::mem::take(outbox)));
            }
        }
    }

    /// Goes by a new configuration. Who is connected stays, unless its certificate or its user is trusted no longer.
    fn change_policy(&mut self, policy: Arc<Policy>, changed: Changed) {
        self.policy = policy;
        let rights = || Rc::new(Rights::of(&self.policy));
        match &changed {
            Changed::Ahead => return,
            Changed::Trust => return self.verify_again(),
            Changed::Freezes => return self.broker.set_freezes(self.now, rights()),
            Changed::Posture => {
                self.broker.set_freezes(self.now, rights());
                return self.set_rates();
            }
            Changed::Clients(client_ids) => {
                self.broker.set_authorizer_for(self.now, rights(), client_ids);
                return self.meter_again(client_ids);
            }
            Changed::Everything | Changed::Rights => {}
        }
        let rights = rights();
        self.set_rates();
        self.apply_limits();
        self.broker.set_authorizer(self.now, rights);
        let keys: Vec<Key> = self.conns.keys().collect();
        if changed == Changed::Everything {
            self.verify_again();
        }
        for key in keys {
            self.disconnect_unknown(key);
        }
    }

    /// Whoever would not be let in again as it was does not stay: its identity is gone or disabled, its password was
    /// changed, its class demands more, the key of its token is not trusted any more.
    fn disconnect_unknown(&mut self, key: Key) {
        let Some(conn) = self.conns.get(key) else { return };
        let Some(link) = conn.link() else { return };
        let Some(principal) = self.broker.principal(link) else { return };
        let listener = &self.policy.entrances[usize::from(conn.entrance)].listener;
        let standing = self.tokens.standing(key, conn);
        if let Err(why) = self.policy.authenticator.still_admits(listener, principal, &standing) {
            self.end_administratively(key, why);
        }
    }

    pub(super) fn end_administratively(&mut self, key: Key, detail: &str) {
        let Some(conn) = self.conns.get(key) else { return };
        match &conn.stage {
            Stage::Live(link) => {
                let (link, reason) = (*link, ReasonCode::NOT_AUTHORIZED);
                self.broker.disconnect(
                    self.now,
                    link,
                    reason,
                    DisconnectCause::Administrative,
                    Some(detail.into()),
                );
            }
            Stage::Pre(_) => self.refuse_pending(key, Refusal::BadCertificate, ReasonCode::NOT_AUTHORIZED),
            Stage::Closing(_) => {}
        }
    }

    /// Ends the connections that `is_meant` picks; returns how many.
    pub(crate) fn disconnect_where(
        &mut self,
        reason: ReasonCode,
        detail: &str,
        mut is_meant: impl FnMut(ConnInfo<'_>) -> bool,
    ) -> usize {
        let keys: Vec<Key> = self.conns.keys().collect();
        let mut ended = 0;
        for key in keys {
            let Some(conn) = self.conns.get(key) else { continue };
            let Some(link) = conn.link() else { continue };
            let Some(principal) = self.broker.principal(link) else { continue };
            let chain = conn.tls.as_ref().map(|tls| tls.peer_certificates()).unwrap_or_default();
            let (address, listener) = (conn.address, conn.entrance);
            let certificate = chain.first().map(|end_entity| end_entity.as_ref());
            if is_meant(ConnInfo { principal, address, listener, certificate }) {
                let cause = DisconnectCause::Administrative;
                self.broker.disconnect(self.now, link, reason, cause, Some(detail.into()));
                ended += 1;
            }
        }
        ended
    }

    /// The node stops: no new connections, DISCONNECT to all, and the end once they are written.
    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        for bound in &mut self.bound {
            let _ = self.poll.registry().deregister(&mut bound.listener);
        }
        self.bound.clear();
        let waiting: Vec<Key> = self.conns.keys().collect();
        for key in waiting {
            if matches!(self.conns.get(key).map(|conn| &conn.stage), Some(Stage::Pre(_))) {
                self.refuse_pending(key, Refusal::ShuttingDown, ReasonCode::SERVER_SHUTTING_DOWN);
            }
        }
        self.broker.shutdown(self.now);
    }
}
