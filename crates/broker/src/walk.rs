//! Retained messages for new subscriptions (MQTT-3.3.1-9, -10), a share at a time.
//!
//! A subscription to `#` is a walk through all retained messages, and a client can ask for thousands in one write
//! (attack 22). Each turn does a share of the walks; the others wait, a session after the other, while everybody else is
//! served. A walk that waits is lost in a crash, as is a SUBACK that was not read.

use crate::deliver::Fan;
use crate::message::Message;
use crate::{Broker, Now, Watch};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ravelin_mqtt::{QoS, SubscribeOptions};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Nodes that are visited in one turn before the next walk waits for another.
const VISITS_MAX: usize = 16_384;
/// What a message that is sent costs, in visits.
const SENT_VISITS: usize = 4;
/// More messages than this do not fit an outbound that has room.
const DIRECT_MAX: usize = 65_536;

/// What is due to a subscription.
struct Walk {
    options: SubscribeOptions,
    subscription_id: u32,
}

/// Walks that wait.
#[derive(Default)]
pub(crate) struct Walks {
    /// Sessions that wait, by index and uid, in the order of their turns.
    turns: VecDeque<(u32, u64)>,
    /// By uid and filter. A filter that is subscribed to again meanwhile is walked once.
    waiting: HashMap<u64, BTreeMap<Box<str>, Walk>, FixedState>,
    /// The turn, and what was visited in it.
    now_ms: u64,
    visits: usize,
}

impl Walks {
    /// When the next share is due, if one is.
    pub fn due_ms(&self) -> Option<u64> {
        (!self.turns.is_empty()).then_some(self.now_ms)
    }

    /// Whether a walk may begin at once.
    fn is_free(&mut self, now: Now) -> bool {
        if self.now_ms != now.mono_ms {
            (self.now_ms, self.visits) = (now.mono_ms, 0);
        }
        self.turns.is_empty() && self.visits < VISITS_MAX
    }

    /// A subscription has ended.
    pub fn forget(&mut self, uid: u64, filter: &str) {
        if let Some(waiting) = self.waiting.get_mut(&uid) {
            waiting.remove(filter);
        }
    }
}

impl Broker {
    /// Sends the retained messages of a new subscription, now or soon.
    pub(crate) fn owe_retained(
        &mut self,
        now: Now,
        index: u32,
        filter: String,
        options: SubscribeOptions,
        id: u32,
    ) {
        if self.walks.is_free(now) {
            return self.send_retained(now, index, &filter, options, id);
        }
        let Some(uid) = self.sessions.get(index).map(|session| session.uid) else { return };
        let waiting = self.walks.waiting.entry(uid).or_insert_with(|| {
            self.walks.turns.push_back((index, uid));
            BTreeMap::new()
        });
        waiting.insert(filter.into(), Walk { options, subscription_id: id });
    }

    /// Does a share of the walks that wait.
    pub(crate) fn walk_on(&mut self, now: Now) {
        (self.walks.now_ms, self.walks.visits) = (now.mono_ms, 0);
        while self.walks.visits < VISITS_MAX {
            let Some((index, uid)) = self.walks.turns.pop_front() else { return };
            let session = self.sessions.get(index).filter(|session| session.uid == uid);
            let wanted = session.is_some_and(|session| session.durable || session.link.is_some());
            let next = self.walks.waiting.get_mut(&uid).and_then(|waiting| waiting.pop_first());
            let Some((filter, walk)) = next.filter(|_| wanted) else {
                self.walks.waiting.remove(&uid);
                continue;
            };
            self.walks.turns.push_back((index, uid));
            self.send_retained(now, index, &filter, walk.options, walk.subscription_id);
        }
    }

    fn send_retained(&mut self, now: Now, index: u32, filter: &str, options: SubscribeOptions, id: u32) {
        // What can be neither sent nor kept is not looked for.
        let most = self.room_for_retained(index);
        let mut found: Vec<Rc<Message>> = Vec::new();
        if most > 0 {
            self.walks.visits += self.retained.matches(filter, |message| {
                found.push(message.clone());
                found.len() < most
            });
        }
        self.walks.visits += 1 + SENT_VISITS * found.len();
        if found.len() == most {
            self.dropped(index);
        }
        let ids = (id != 0).then(|| Rc::from([id]));
        let filter: Rc<str> = filter.into();
        for message in found {
            if self.hold.on && self.authorizer.watch(message.topic()).contains(Watch::WITHHOLD) {
                self.owe_withheld(index, &filter, message.topic(), options.qos, id);
                continue;
            }
            self.send_one_retained(now, index, &message, options.qos, ids.clone());
        }
        self.pump(now, index);
    }

    /// Sends a retained message to a new subscription that may have it.
    pub(crate) fn send_one_retained(
        &mut self,
        now: Now,
        index: u32,
        message: &Rc<Message>,
        qos: QoS,
        ids: Option<Rc<[u32]>>,
    ) {
        let Some(session) = self.sessions.get(index) else { return };
        if message.parts().expiry_left_s(now).is_err()
            || !self.authorizer.may_receive(&session.who, message.topic())
            || self.is_disowned(message)
        {
            return;
        }
        let qos = message.qos.min(qos);
        let mut fan = Fan::new(message.parts(), None, self.buffers.pop().unwrap_or_default());
        fan.message = Some(message.clone());
        // MQTT-3.3.1-8: RETAIN is 1 in what a new subscription gets.
        if session.durable && qos != QoS::AtMostOnce || self.must_queue(index) {
            self.enqueue(index, qos, true, ids, &mut fan);
        } else {
            self.deliver_to(now, index, qos, true, ids, &mut fan);
        }
        if !fan.durable.is_empty() {
            self.journal_published(now, &mut fan, None, 0, None);
        }
        self.recycle(fan.take_buffer());
    }

    /// How many messages a session can take, at most.
    fn room_for_retained(&self, index: u32) -> usize {
        let Some(session) = self.sessions.get(index) else { return 0 };
        let sending = &session.sending;
        let full = sending.queue_bytes >= self.limits.queue_bytes_max
            || self.queued_bytes >= self.limits.queue_bytes_total_max;
        let queue = if full { 0 } else { self.limits.queue_messages_max.saturating_sub(sending.queue.len()) };
        let direct = session.link.as_deref().is_some_and(|link| link.has_room());
        queue + if direct { DIRECT_MAX } else { 0 }
    }

    /// Whether a retained message should wait in the queue rather than be dropped for a slow connection.
    fn must_queue(&self, index: u32) -> bool {
        let link = self.sessions.get(index).and_then(|session| session.link.as_deref());
        link.is_some_and(|link| !link.has_room())
    }
}
