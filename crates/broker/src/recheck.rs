//! New access rules: what they no longer allow ends at once.
//!
//! For every session, connected or not: subscriptions, messages that wait, messages that were sent and not acknowledged, and
//! the will. Retained messages are asked about when they are delivered, for both their author and their receiver.
//! `docs/decisions/0011-rights-that-end.md` tells what becomes of Packet Identifiers.

use crate::authorize::subscribing;
use crate::journal::Kind;
use crate::message::{Message, Parts};
use crate::sending::Stage;
use crate::{Authorizer, Broker, Now, Publishing};
use ravelin_event::{Event, Principal, Refusal};
use ravelin_mqtt::QoS;
use std::rc::Rc;
use std::sync::Arc;

impl Broker {
    /// New access rules: what is no longer allowed ends at once.
    pub fn set_authorizer(&mut self, now: Now, authorizer: Rc<dyn Authorizer>) {
        self.authorizer = authorizer;
        self.generation += 1;
        for index in self.sessions.indexes() {
            self.drop_forbidden(index);
            // What went has made room.
            self.pump(now, index);
        }
        self.thaw(now);
    }

    /// The same where only the rights of some clients have changed: nobody else is looked at.
    pub fn set_authorizer_for(&mut self, now: Now, authorizer: Rc<dyn Authorizer>, client_ids: &[Arc<str>]) {
        self.authorizer = authorizer;
        self.generation += 1;
        for index in client_ids.iter().filter_map(|id| self.sessions.find(id)).collect::<Vec<_>>() {
            self.drop_forbidden(index);
            self.pump(now, index);
        }
    }

    /// Ends what the access rules no longer allow to a session.
    pub(crate) fn drop_forbidden(&mut self, index: u32) {
        self.drop_forbidden_subscriptions(index);
        self.hand_over_flow(index);
        if let Some(link) = self.link_mut(index) {
            link.memo = None;
        }
        let authorizer = self.authorizer.clone();
        self.drop_deliveries(index, &move |who, topic| !authorizer.may_receive(who, topic));
        self.drop_forbidden_will(index);
    }

    /// Withdraws what waits for a session or is not acknowledged, and `denied` to it.
    pub(crate) fn drop_deliveries(&mut self, index: u32, denied: &dyn Fn(&Principal, &str) -> bool) {
        let dropped = self.drop_forbidden_window(index, denied)
            + self.drop_forbidden_queue(index, denied)
            + self.drop_parked(index, denied);
        if dropped == 0 {
            return;
        }
        self.stats.publish_dropped += dropped;
        if let Some(session) = self.sessions.get(index) {
            let client_id = session.who.client_id.to_string();
            self.event(Event::DeliveriesWithdrawn { client_id, messages: dropped });
        }
    }

    fn drop_forbidden_subscriptions(&mut self, index: u32) {
        for (filter, options, _) in self.subscriptions_at(index) {
            let what = subscribing(&filter, options.qos);
            let forbidden = self
                .sessions
                .get(index)
                .is_some_and(|session| !self.authorizer.may_subscribe(&session.who, &what));
            if forbidden {
                self.unsubscribe(index, &filter);
                self.refused_subscribe(index, &filter, Refusal::AccessRule);
            }
        }
    }

    /// Messages that were sent and are not acknowledged are not sent again. Returns how many.
    fn drop_forbidden_window(&mut self, index: u32, denied: &dyn Fn(&Principal, &str) -> bool) -> u64 {
        let Some(session) = self.sessions.get_mut(index) else { return 0 };
        let (uid, durable) = (session.uid, session.durable);
        let (mut gone, mut released, mut dropped) = (Vec::new(), Vec::new(), 0);
        for (seq, slot) in (session.sending.first_seq()..).zip(&mut session.sending.window) {
            let Some(delivery) = slot.delivery.as_ref().filter(|_| slot.stage == Stage::Sent) else {
                continue;
            };
            if !denied(&session.who, delivery.message.topic()) {
                continue;
            }
            slot.delivery = None;
            dropped += 1;
            match slot.qos {
                // The client may hold the identifier until it hears PUBREL. It is sent when PUBREC comes, or in place of the
                // PUBLISH after a reconnect, where a client that does not know the identifier says so (section 3.7.2.1).
                QoS::ExactlyOnce => {
                    slot.stage = Stage::Released;
                    released.push(seq);
                }
                // Its PUBACK may still come on this connection, and counts for Receive Maximum until then.
                _ if slot.counted => {
                    slot.stage = Stage::Withdrawn;
                    gone.push(seq);
                }
                _ => gone.push(seq),
            }
        }
        for &seq in released.iter().filter(|_| durable) {
            self.journal_sent(Kind::Received, uid, seq);
        }
        for seq in gone {
            if durable {
                self.journal_sent(Kind::Acked, uid, seq);
            }
            if let Some(session) = self.sessions.get_mut(index)
                && session.sending.slot_mut(seq).is_some_and(|slot| slot.stage == Stage::Sent)
            {
                session.sending.finish(seq);
            }
        }
        dropped
    }

    fn drop_forbidden_queue(&mut self, index: u32, denied: &dyn Fn(&Principal, &str) -> bool) -> u64 {
        let Some(session) = self.sessions.get_mut(index) else { return 0 };
        let (who, uid, durable) = (&session.who, session.uid, session.durable);
        let (mut gone, mut released) = (Vec::new(), Vec::new());
        let sending = &mut session.sending;
        let sent_before = sending.sent_before();
        let nothing = std::cell::OnceCell::new();
        let (mut bytes, mut count, mut dropped) = (0, 0, 0);
        sending.queue.retain_mut(|queued| {
            if queued.released || !denied(who, queued.delivery.message.topic()) {
                return true;
            }
            dropped += 1;
            bytes += queued.delivery.message.size();
            if queued.delivery.qos == QoS::ExactlyOnce && queued.seq <= sent_before {
                // It was sent by an earlier process, and the client may hold the identifier.
                queued.released = true;
                queued.delivery.message = nothing.get_or_init(empty_message).clone();
                bytes -= queued.delivery.message.size();
                released.push(queued.seq);
                return true;
            }
            count += 1;
            gone.push(queued.seq);
            false
        });
        sending.queue_bytes -= bytes;
        self.queued_bytes -= bytes;
        self.queued -= count;
        for seq in gone.into_iter().filter(|seq| *seq != 0 && durable) {
            self.journal_sent(Kind::Acked, uid, seq);
        }
        for seq in released.into_iter().filter(|_| durable) {
            self.journal_sent(Kind::Received, uid, seq);
        }
        dropped
    }

    fn drop_forbidden_will(&mut self, index: u32) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some(will) = &session.will else { return };
        let message = &will.message;
        let what = Publishing { topic: message.topic(), qos: message.qos, retain: message.retain };
        if self.authorizer.may_publish(&session.who, &what) {
            return;
        }
        let event = Event::WillRefused {
            client_id: session.who.client_id.to_string(),
            identity: session.who.identity.as_deref().map(str::to_owned),
            address: session.who.address,
            topic: message.topic().to_owned(),
            why: Refusal::AccessRule,
        };
        let (uid, name, restored) = (session.uid, will.name, will.restored);
        session.will = None;
        self.stats.denied += 1;
        self.event(event);
        self.journal_will_gone(uid);
        if restored {
            self.end_taken(name);
        }
    }

    pub(crate) fn journal_sent(&mut self, kind: Kind, uid: u64, seq: u64) {
        self.journal.record(kind, |record| {
            record.int(uid);
            record.int(seq);
        });
    }

    /// Whether the author of a retained message may not publish it any more.
    pub(crate) fn is_disowned(&self, message: &Message) -> bool {
        let Some(author) = message.author.as_ref().filter(|_| self.limits.retained_author_checked) else {
            return false;
        };
        let what = Publishing { topic: message.topic(), qos: message.qos, retain: true };
        !self.authorizer.may_publish(&author.who, &what)
    }
}

/// Stands for the message of an identifier that is only released.
fn empty_message() -> Rc<Message> {
    let parts = Parts {
        topic: "",
        forward: &[],
        payload: &[],
        qos: QoS::ExactlyOnce,
        retain: false,
        expires_ms: None,
        record: 0,
    };
    Rc::new(parts.to_message())
}
