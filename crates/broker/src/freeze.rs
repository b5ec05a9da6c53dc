//! Frozen topics: what is published to them is refused or waits, and what waits for their subscribers goes or stays.
//!
//! Which topics are frozen, and how, the authorizer says with [`Watch`], which is remembered with the route: to a topic that is
//! not frozen nothing is done for a message. `docs/decisions/0025-restrictions.md` tells what publishers are told, and why.

use crate::broker::LinkId;
use crate::deliver::Fan;
use crate::journal::Kind;
use crate::message::Message;
use crate::publish::{By, is_reserved};
use crate::route::{Route, RouteCache};
use crate::sending::{Queued, Stage};
use crate::wills::Published;
use crate::{Authorizer, Broker, Now, Publishing, Watch};
use ravelin_event::{DisconnectCause, Principal, Refusal};
use ravelin_mqtt::{Properties, Publish, QoS, ReasonCode, Version};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

/// What waits for the end of a freeze.
#[derive(Default)]
pub(crate) struct Hold {
    /// Something is frozen.
    pub on: bool,
    /// Something of what waits for subscribers has to go on waiting.
    pub delays: bool,
    /// Publishes, in the order in which they came.
    kept: VecDeque<Kept>,
    /// Bytes of them.
    bytes: usize,
    /// Messages that waited for a subscriber already, by session; in their order.
    parked: BTreeMap<u32, Vec<Queued>>,
    /// Names of wills that are due; [`Broker::wills`] has them.
    wills: BTreeSet<u64>,
    /// Retained messages that new subscriptions did not get.
    owed: Vec<Owed>,
}

/// A publish that was neither passed on nor acknowledged.
struct Kept {
    link: LinkId,
    packet_id: u16,
    dup: bool,
    qos: QoS,
    topic: Rc<str>,
    /// `None`: it was refused, which this client cannot be told.
    message: Option<Message>,
    /// Whose it is, once the connection is gone.
    who: Option<Rc<Principal>>,
}

/// A retained message that a subscription is due.
struct Owed {
    session: u32,
    uid: u64,
    filter: Rc<str>,
    topic: Box<str>,
    qos: QoS,
    subscription_id: u32,
}

impl Kept {
    fn size(&self) -> usize {
        size_of::<Kept>() + self.message.as_ref().map_or(0, Message::size)
    }
}

impl Hold {
    /// Nothing waits yet, where topics are frozen in these ways.
    pub fn new(ways: Watch) -> Hold {
        Hold { on: ways.is_frozen(), delays: ways.contains(Watch::DELAY), ..Hold::default() }
    }

    /// Publishes and messages for subscribers that wait, and their bytes.
    pub fn figures(&self) -> (usize, usize) {
        let parked = self.parked.values().flatten();
        let (count, bytes) =
            parked.fold((0, 0), |(count, bytes), one| (count + 1, bytes + one.delivery.message.size()));
        (self.kept.len() + count, self.bytes + bytes)
    }

    /// What waits for a subscriber because it is frozen, beside what is in its queue.
    pub fn parked(&self, session: u32) -> &[Queued] {
        self.parked.get(&session).map_or(&[], Vec::as_slice)
    }

    /// One that was sent on an earlier connection comes later than those that were not, and belongs before them.
    pub fn park(&mut self, session: u32, queued: Queued) {
        let parked = self.parked.entry(session).or_default();
        let at = match queued.seq {
            0 => None,
            seq => parked.iter().position(|other| other.seq > seq),
        };
        parked.insert(at.unwrap_or(parked.len()), queued);
    }

    /// The session has ended.
    pub fn forget_session(&mut self, session: u32) {
        self.parked.remove(&session);
    }

    /// QoS 0 messages are not part of the state of a session without a connection.
    pub fn drop_qos0(&mut self, session: u32) {
        if let Some(parked) = self.parked.get_mut(&session) {
            parked.retain(|queued| queued.delivery.qos != QoS::AtMostOnce);
        }
    }

    /// The connection has ended: what it was not acknowledged is the client's, which sends it again. At QoS 0 it will not.
    pub fn forget_link(&mut self, link: LinkId, who: &Principal) {
        if !self.kept.iter().any(|kept| kept.link == link) {
            return;
        }
        let who = Rc::new(who.clone());
        let mut gone = 0;
        self.kept.retain_mut(|kept| {
            if kept.link != link {
                return true;
            }
            kept.who = Some(who.clone());
            let stays = kept.qos == QoS::AtMostOnce;
            gone += if stays { 0 } else { kept.size() };
            stays
        });
        self.bytes -= gone;
    }
}

/// How a topic is frozen: from its route, if that is remembered.
pub(crate) fn watch_of(
    routes: &mut RouteCache,
    generation: u64,
    authorizer: &dyn Authorizer,
    topic: &str,
) -> Watch {
    routes.get(topic, generation).map_or_else(|| authorizer.watch(topic), |route| route.watch)
}

/// Whether a message for a subscriber has to wait. A retained one that may be served does not.
pub(crate) fn must_wait(watch: Watch, queued: &Queued) -> bool {
    watch.contains(Watch::DELAY) && (watch.contains(Watch::WITHHOLD) || !queued.delivery.retain)
}

impl Broker {
    /// Other topics are frozen from now on, or in another way; who may do what is as it was. What no longer has to wait goes
    /// on before anything else is handled, in the order in which it came.
    pub fn set_freezes(&mut self, now: Now, authorizer: Rc<dyn Authorizer>) {
        self.authorizer = authorizer;
        self.generation += 1;
        self.thaw(now);
    }

    /// A publish to a topic that not everything may be published to. False: it goes on as any other.
    #[cold]
    pub(crate) fn handle_special(
        &mut self,
        now: Now,
        index: u32,
        publish: &Publish<'_>,
        route: &Route,
    ) -> bool {
        if route.watch.contains(Watch::CONTROL) {
            self.take_control(now, index, publish, route);
            return true;
        }
        let generation = self.sessions.generation(index);
        let Some(session) = self.sessions.get(index) else { return true };
        if publish.qos == QoS::ExactlyOnce && session.received.contains(&publish.packet_id) {
            // It was taken before the freeze; not all shards may have it.
            return false;
        }
        // 3.1.1 has no word for a refusal: whatever is answered says that all is well (see 0025).
        let silent = session.version == Version::V311 && publish.qos != QoS::AtMostOnce;
        let link = LinkId::new(index, generation);
        let is_repeated = publish.dup
            && self.hold.kept.iter().any(|kept| {
                kept.link == link && kept.packet_id == publish.packet_id && kept.qos == publish.qos
            });
        if is_repeated {
            return true;
        }
        let refused = route.watch.contains(Watch::REFUSE);
        if !refused && self.keep(now, index, link, publish, route) {
            return true;
        }
        self.stats.publish_frozen += 1;
        self.tell_limited(index, &route.topic, Refusal::Frozen);
        match silent {
            true => self.withhold(now, index, link, publish, route),
            false if refused => self.answer_publish(index, publish, ReasonCode::NOT_AUTHORIZED),
            false => self.answer_publish(index, publish, ReasonCode::QUOTA_EXCEEDED),
        }
        true
    }

    /// Tells of a publish that is too much, or to a frozen topic. One event for the first of a connection, then for every
    /// doubling: a flood of publishes is no flood of events.
    pub(crate) fn tell_limited(&mut self, index: u32, topic: &str, why: Refusal) {
        let Some(link) = self.link_mut(index) else { return };
        link.limited += 1;
        if link.limited.is_power_of_two() {
            self.refused_publish_event(index, topic, why);
        }
    }

    /// Keeps a publish for later. False: there is no room.
    fn keep(&mut self, now: Now, index: u32, link: LinkId, publish: &Publish<'_>, route: &Route) -> bool {
        let mut forward = Vec::new();
        publish.properties.forward_into(&mut forward);
        let message = crate::message::Parts {
            topic: &route.topic,
            forward: &forward,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires_ms: publish.expiry_s.map(|s| now.mono_ms + s as u64 * 1000),
            record: 0,
        };
        let kept = Kept {
            link,
            packet_id: publish.packet_id,
            dup: publish.dup,
            qos: publish.qos,
            topic: route.topic.clone(),
            message: Some(message.to_message()),
            who: None,
        };
        if self.hold.kept.len() >= self.limits.held_messages_max
            || self.hold.bytes + kept.size() > self.limits.held_bytes_max
        {
            return false;
        }
        self.count_unanswered(index, publish.qos);
        self.hold.bytes += kept.size();
        self.hold.kept.push_back(kept);
        true
    }

    /// Refuses a publish of a client that cannot be told: it is not acknowledged, and so stays with the client.
    fn withhold(&mut self, now: Now, index: u32, link: LinkId, publish: &Publish<'_>, route: &Route) {
        let kept = Kept {
            link,
            packet_id: publish.packet_id,
            dup: publish.dup,
            qos: publish.qos,
            topic: route.topic.clone(),
            message: None,
            who: None,
        };
        if self.hold.kept.len() >= self.limits.held_messages_max {
            let detail = Some("too much is frozen".into());
            return self.close_link(now, index, None, DisconnectCause::LimitExceeded, detail);
        }
        self.count_unanswered(index, publish.qos);
        self.hold.bytes += kept.size();
        self.hold.kept.push_back(kept);
    }

    /// It counts for Receive Maximum until it is answered.
    fn count_unanswered(&mut self, index: u32, qos: QoS) {
        if let Some(link) = self.link_mut(index).filter(|_| qos != QoS::AtMostOnce) {
            link.qos1_pending = link.qos1_pending.saturating_add(1);
        }
    }

    /// Gives a will back that may be published now; what must not be was dealt with.
    pub(crate) fn freezes_will(&mut self, now: Now, published: Published, again: bool) -> Option<Published> {
        let watch = self.authorizer.watch(published.will.message.topic());
        let full = self.hold.wills.len() >= self.limits.held_messages_max;
        if watch.contains(Watch::REFUSE) || watch.contains(Watch::HOLD) && full {
            self.refuse_will(&published, Refusal::Frozen);
            self.stats.publish_frozen += 1;
            self.will_done(&published, again);
            return None;
        }
        if !watch.contains(Watch::HOLD) {
            return Some(published);
        }
        self.journal_published_will(now, &published);
        self.journal_will_gone(published.uid);
        self.hold.wills.insert(published.will.name);
        self.wills.insert(published.will.name, Rc::new(published));
        None
    }

    /// A retained message is not handed out now; the subscription gets it later.
    pub(crate) fn owe_withheld(
        &mut self,
        index: u32,
        filter: &Rc<str>,
        topic: &str,
        qos: QoS,
        subscription_id: u32,
    ) {
        let Some(session) = self.sessions.get(index) else { return };
        if self.hold.owed.len() >= self.limits.held_messages_max {
            return self.dropped(index);
        }
        let (uid, filter, topic) = (session.uid, filter.clone(), topic.into());
        self.hold.owed.push(Owed { session: index, uid, filter, topic, qos, subscription_id });
    }

    /// Goes by what the authorizer says of freezes now.
    pub(crate) fn thaw(&mut self, now: Now) {
        let ways = self.authorizer.freezes();
        let was_on = std::mem::replace(&mut self.hold.on, ways.is_frozen());
        self.hold.delays = ways.contains(Watch::DELAY);
        if ways.contains(Watch::MUTE) {
            self.drop_muted();
        }
        if !was_on {
            return;
        }
        self.pay_owed(now);
        self.unpark(now);
        self.release_kept(now);
        self.release_wills(now);
        for index in self.sessions.indexes() {
            self.pump(now, index);
        }
    }

    /// What waits for subscribers of topics that nobody may receive goes.
    fn drop_muted(&mut self) {
        let authorizer = self.authorizer.clone();
        let muted = move |_: &Principal, topic: &str| authorizer.watch(topic).contains(Watch::MUTE);
        for index in self.sessions.indexes() {
            let Some(session) = self.sessions.get(index) else { continue };
            let sending = &session.sending;
            if !sending.queue.is_empty() || !sending.window.is_empty() || !self.hold.parked(index).is_empty()
            {
                self.drop_deliveries(index, &muted);
            }
        }
    }

    /// Drops what is parked for a session and `denied`. Returns how much.
    pub(crate) fn drop_parked(&mut self, index: u32, denied: &dyn Fn(&Principal, &str) -> bool) -> u64 {
        let Some(mut parked) = self.hold.parked.remove(&index) else { return 0 };
        let Some(session) = self.sessions.get(index) else { return 0 };
        let (uid, durable) = (session.uid, session.durable);
        let mut gone = Vec::new();
        parked.retain(|queued| {
            let stays = !denied(&session.who, queued.delivery.message.topic());
            if !stays {
                gone.push(queued.seq);
            }
            stays
        });
        if !parked.is_empty() {
            self.hold.parked.insert(index, parked);
        }
        for &seq in gone.iter().filter(|seq| **seq != 0 && durable) {
            self.journal_sent(Kind::Acked, uid, seq);
        }
        gone.len() as u64
    }

    /// Takes a message at the front of a queue out of it until its freeze ends. False: the whole queue waits.
    pub(crate) fn park_front(&mut self, index: u32) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let sending = &mut session.sending;
        let Some(front) = sending.queue.front() else { return false };
        // The client may hold the identifier from before a restart: it cannot be sent under another one.
        if front.delivery.qos == QoS::ExactlyOnce && sending.was_sent(front.seq) {
            return false;
        }
        let Some(mut queued) = sending.pop() else { return false };
        queued.again |= queued.seq != 0 && sending.was_sent(queued.seq);
        self.queued -= 1;
        self.queued_bytes -= queued.delivery.message.size();
        self.hold.park(index, queued);
        true
    }

    /// Takes a message that was sent on an earlier connection out of the window until its freeze ends. False: what comes
    /// behind it waits, too.
    pub(crate) fn park_slot(&mut self, index: u32, seq: u64) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let Some(slot) = session.sending.slot_mut(seq) else { return false };
        if slot.qos == QoS::ExactlyOnce {
            return false;
        }
        let Some(delivery) = slot.delivery.take() else { return false };
        slot.stage = Stage::Sent;
        session.sending.finish(seq);
        self.hold.park(index, Queued { delivery, seq, after: 0, released: false, again: true });
        true
    }

    /// What is parked for a session goes before what is not of the same topics and has not been sent either: all of it is
    /// parked, in order.
    fn park_followers(&mut self, index: u32) {
        let parked = self.hold.parked(index).iter();
        let topics: BTreeSet<Box<str>> = parked.map(|one| one.delivery.message.topic().into()).collect();
        let Some(session) = self.sessions.get_mut(index) else { return };
        let sending = &mut session.sending;
        let unsent = session.link.as_deref().map_or(0, |link| link.resend_at).max(sending.first_seq());
        let (mut slots, mut queued) = (Vec::new(), VecDeque::new());
        for seq in unsent..sending.end_seq() {
            let slot = sending.slot_mut(seq).filter(|slot| slot.stage == Stage::Sent);
            let delivery = slot.and_then(|slot| slot.delivery.as_ref());
            if delivery.is_some_and(|delivery| topics.contains(delivery.message.topic())) {
                slots.push(seq);
            }
        }
        let sent_before = sending.sent_before();
        let stays = |one: &Queued| {
            one.released
                || one.delivery.qos == QoS::ExactlyOnce && one.seq <= sent_before
                || !topics.contains(one.delivery.message.topic())
        };
        if sending.queue.iter().any(|one| !stays(one)) {
            let (rest, moved) = std::mem::take(&mut sending.queue).into_iter().partition(stays);
            (sending.queue, queued) = (rest, moved);
        }
        let bytes: usize = queued.iter().map(|one| one.delivery.message.size()).sum();
        sending.queue_bytes -= bytes;
        self.queued_bytes -= bytes;
        self.queued -= queued.len();
        for mut one in queued {
            one.again |= one.seq != 0 && one.seq <= sent_before;
            self.hold.park(index, one);
        }
        for seq in slots {
            self.park_slot(index, seq);
        }
    }

    /// What was parked joins the ends of the queues again, with new numbers.
    fn unpark(&mut self, now: Now) {
        for index in self.hold.parked.keys().copied().collect::<Vec<_>>() {
            self.park_followers(index);
        }
        for (index, parked) in std::mem::take(&mut self.hold.parked) {
            for queued in parked {
                if must_wait(self.authorizer.watch(queued.delivery.message.topic()), &queued) {
                    self.hold.park(index, queued);
                } else {
                    self.unpark_one(now, index, queued);
                }
            }
        }
    }

    fn unpark_one(&mut self, now: Now, index: u32, queued: Queued) {
        let Some(session) = self.sessions.get(index) else { return };
        let (uid, durable, seq) = (session.uid, session.durable, queued.seq);
        let delivery = queued.delivery;
        let mut fan = Fan::new(delivery.message.parts(), None, Vec::new());
        fan.message = Some(delivery.message.clone());
        fan.again = queued.again;
        if delivery.qos != QoS::AtMostOnce || session.link.is_some() {
            self.append(index, delivery.qos, delivery.retain, delivery.subscription_ids, &mut fan);
        }
        if !fan.durable.is_empty() {
            self.journal_published(now, &mut fan, None, 0, None);
        }
        if seq != 0 && durable {
            self.journal_sent(Kind::Acked, uid, seq);
        }
    }

    /// Hands out the retained messages that were withheld from new subscriptions.
    fn pay_owed(&mut self, now: Now) {
        for owed in std::mem::take(&mut self.hold.owed) {
            if self.hold.on && self.authorizer.watch(&owed.topic).contains(Watch::WITHHOLD) {
                self.hold.owed.push(owed);
                continue;
            }
            let session = self.sessions.get(owed.session).filter(|session| session.uid == owed.uid);
            let node = self.trie.find(&owed.filter);
            let subscribed =
                session.zip(node).is_some_and(|(session, node)| session.subscriptions.get(node).is_some());
            let message = self.retained.get(&owed.topic).filter(|_| subscribed);
            if let Some(message) = message.cloned() {
                let ids = (owed.subscription_id != 0).then(|| Rc::from([owed.subscription_id]));
                self.send_one_retained(now, owed.session, &message, owed.qos, ids);
            }
        }
    }

    fn release_kept(&mut self, now: Now) {
        let mut silent = Vec::new();
        self.hold.bytes = 0;
        for kept in std::mem::take(&mut self.hold.kept) {
            let watch = self.authorizer.watch(&kept.topic);
            if self.hold.on && (watch.contains(Watch::REFUSE) || watch.contains(Watch::HOLD)) {
                self.hold.bytes += kept.size();
                self.hold.kept.push_back(kept);
            } else if kept.message.is_none() {
                silent.push(kept.link);
            } else {
                self.go_on(now, kept);
            }
        }
        for link in silent {
            // The client sends again, on its next connection, what it has no acknowledgement for.
            if let Some(index) = self.session_of(link) {
                let detail = Some("what it published to a frozen topic was not taken".into());
                self.close_link(now, index, None, DisconnectCause::Administrative, detail);
            }
        }
    }

    /// A publish that was kept is handled as if it had just come.
    fn go_on(&mut self, now: Now, kept: Kept) {
        let Some(message) = &kept.message else { return };
        let Some(index) = self.session_of(kept.link) else {
            // Only at QoS 0 does it outlive its connection.
            if let Some(who) = kept.who.as_deref().filter(|who| self.may_publish_kept(who, message)) {
                self.publish_own(now, message.parts(), Some(By { who, again: false, will: false }), None);
            }
            return;
        };
        if let Some(link) = self.link_mut(index).filter(|_| kept.qos != QoS::AtMostOnce) {
            link.qos1_pending = link.qos1_pending.saturating_sub(1);
        }
        let publish = Publish {
            dup: kept.dup,
            qos: kept.qos,
            retain: message.retain,
            topic: &kept.topic,
            packet_id: kept.packet_id,
            expiry_s: None,
            topic_alias: None,
            properties: Properties::EMPTY,
            payload: message.payload(),
        };
        // Rights may have changed since.
        let Some(session) = self.sessions.get(index) else { return };
        if !self.may_publish_kept(&session.who, message) {
            self.refused_publish(index, &kept.topic, Refusal::AccessRule);
            return self.answer_publish(index, &publish, ReasonCode::NOT_AUTHORIZED);
        }
        let (route, _) = self.look_up(index, &kept.topic);
        self.pass_on(now, index, &publish, message.parts(), &route);
    }

    fn may_publish_kept(&self, who: &Principal, message: &Message) -> bool {
        let what = Publishing { topic: message.topic(), qos: message.qos, retain: message.retain };
        !is_reserved(what.topic) && self.authorizer.may_publish(who, &what)
    }

    fn release_wills(&mut self, now: Now) {
        for name in std::mem::take(&mut self.hold.wills) {
            let Some(published) = self.wills.remove(&name).and_then(Rc::into_inner) else { continue };
            self.send_will(now, published, true);
        }
    }
}
