//! New access rules: what they no longer allow ends at once.

use crate::authorize::subscribing;
use crate::journal::Kind;
use crate::{Authorizer, Broker, Now};
use ravelin_event::Refusal;
use std::rc::Rc;

impl Broker {
    /// New access rules: what is no longer allowed ends at once.
    pub fn set_authorizer(&mut self, now: Now, authorizer: Rc<dyn Authorizer>) {
        self.authorizer = authorizer;
        self.generation += 1;
        for index in self.sessions.indexes() {
            self.drop_forbidden(index);
            self.pump(now, index);
        }
    }

    /// Ends what the access rules no longer allow: subscriptions, and messages that wait.
    pub(crate) fn drop_forbidden(&mut self, index: u32) {
        self.drop_forbidden_subscriptions(index);
        self.hand_over_flow(index);
        if let Some(link) = self.link_mut(index) {
            link.memo = None;
        }
        self.drop_forbidden_queue(index);
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

    fn drop_forbidden_queue(&mut self, index: u32) {
        let authorizer = self.authorizer.clone();
        let Some(session) = self.sessions.get_mut(index) else { return };
        let who = session.who.clone();
        let (uid, durable) = (session.uid, session.durable);
        let mut gone = Vec::new();
        let sending = &mut session.sending;
        let (mut bytes, mut count) = (0, 0);
        sending.queue.retain(|queued| {
            let keep = authorizer.may_receive(&who, queued.delivery.message.topic());
            if !keep {
                bytes += queued.delivery.message.size();
                count += 1;
                gone.push(queued.seq);
            }
            keep
        });
        sending.queue_bytes -= bytes;
        self.queued_bytes -= bytes;
        self.queued -= count;
        self.stats.publish_dropped += count as u64;
        for seq in gone.into_iter().filter(|seq| *seq != 0 && durable) {
            self.journal.record(Kind::Acked, |record| {
                record.int(uid);
                record.int(seq);
            });
        }
    }
}
