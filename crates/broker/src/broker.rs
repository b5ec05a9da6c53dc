//! One shard: its state, and the way in and out.

use crate::flows::Flows;
use crate::journal::Journal;
use crate::link::Link;
use crate::message::{Message, Parts};
use crate::restore::Restoring;
use crate::retained::Retained;
use crate::route::RouteCache;
use crate::session::{Sessions, extra_weight};
use crate::share::Groups;
use crate::taken::Taken;
use crate::timers::{TimerKind, Timers};
use crate::trie::Trie;
use crate::walk::Walks;
use crate::wills::Published;
use crate::{Authorizer, Limits, Meter, Now, Output, Stats};
use foldhash::fast::FixedState;
use ravelin_event::{DisconnectCause, Event, Principal, Refusal};
use ravelin_mqtt::{Connect, QoS, ReasonCode};
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::rc::Rc;

/// A connection, as the core names it. Never used again once it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u64);

impl LinkId {
    pub(crate) fn new(session: u32, generation: u32) -> LinkId {
        LinkId((generation as u64) << 32 | session as u64)
    }

    pub(crate) fn session(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Most shards: sets of them are the bits of a word.
pub const SHARDS_MAX: u16 = u64::BITS as u16;

/// The shard that owns the session of a Client Identifier. The same on every run.
pub fn home_shard(client_id: &str, shards: u16) -> u16 {
    (FixedState::with_seed(0x5241_5645_4C49_4E00).hash_one(client_id) % shards.max(1) as u64) as u16
}

/// A client that has proven who it is.
pub struct Connecting<'a> {
    /// Its CONNECT.
    pub connect: &'a Connect<'a>,
    /// The shell's own name for the connection; it comes back in [`Broker::poll_flush`] and [`crate::Close`].
    pub token: u64,
    /// Who it is; the Client Identifier is never empty.
    pub principal: Principal,
    /// The server chose the Client Identifier, which CONNACK tells.
    pub client_id_assigned: bool,
    /// Authentication Method to repeat in CONNACK.
    pub auth_method: Option<&'a str>,
    /// The last Authentication Data, for CONNACK.
    pub auth_data: Option<&'a [u8]>,
}

/// A shard of the broker.
pub struct Broker {
    pub(crate) shard: u16,
    pub(crate) shards: u16,
    pub(crate) limits: Limits,
    pub(crate) authorizer: Rc<dyn Authorizer>,
    pub(crate) meter: Option<Rc<dyn Meter>>,
    pub(crate) sessions: Sessions,
    pub(crate) trie: Trie,
    pub(crate) routes: RouteCache,
    /// Counts changes that may touch any route.
    pub(crate) generation: u64,
    /// Counts changes to subscriptions without wildcards.
    pub(crate) exact_generation: u64,
    pub(crate) retained: Retained,
    pub(crate) walks: Walks,
    pub(crate) retain_stamp: u64,
    pub(crate) groups: Groups,
    pub(crate) journal: Journal,
    pub(crate) store_failed: bool,
    /// Sessions to look at once the journal is durable up to a sequence number.
    pub(crate) waiting: VecDeque<(u64, u32)>,
    /// Answers to sister shards that wait for the disk.
    pub(crate) waiting_shards: VecDeque<(u64, u16, u64)>,
    pub(crate) taken: Taken,
    pub(crate) timers: Timers,
    pub(crate) dirty: VecDeque<u32>,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) buffers: Vec<Vec<u8>>,
    pub(crate) outbound_bytes: usize,
    pub(crate) work: u64,
    pub(crate) queued: usize,
    pub(crate) queued_bytes: usize,
    pub(crate) subscriptions: usize,
    /// What they weigh beyond their number.
    pub(crate) extra_weight: usize,
    pub(crate) connected: usize,
    pub(crate) last_uid: u64,
    pub(crate) last_message_id: u64,
    /// Of the names in the transmission record.
    pub(crate) last_record: u64,
    pub(crate) flows: Flows,
    pub(crate) recording: crate::recording::Recording,
    pub(crate) epoch: u32,
    pub(crate) checkpoint: Option<crate::checkpoint::Progress>,
    pub(crate) restoring: Option<Box<Restoring>>,
    /// Wills that were published and that sister shards have not yet answered for, by name.
    pub(crate) wills: BTreeMap<u64, Rc<Published>>,
    pub(crate) hold: crate::freeze::Hold,
    /// Those of an earlier process, to go out again once the sister shards know each other's filters.
    pub(crate) unfinished: Vec<Published>,
    pub(crate) scratch: Vec<u8>,
    pub(crate) stats: Stats,
}

impl Broker {
    /// An empty shard. `seed` makes its hash tables unpredictable to those who choose topics and identifiers.
    pub fn new(shard: u16, shards: u16, limits: Limits, authorizer: Rc<dyn Authorizer>, seed: u64) -> Broker {
        assert!((1..=SHARDS_MAX).contains(&shards) && shard < shards, "between 1 and {SHARDS_MAX} shards");
        Broker {
            shard,
            shards,
            meter: None,
            sessions: Sessions::new(seed),
            trie: Trie::new(seed ^ 1),
            routes: RouteCache::new(seed ^ 2, limits.route_cache_max),
            generation: 0,
            exact_generation: 0,
            retained: Retained::new(seed ^ 3),
            walks: Walks::default(),
            retain_stamp: 0,
            groups: Groups::default(),
            journal: Journal::default(),
            store_failed: false,
            waiting: VecDeque::new(),
            waiting_shards: VecDeque::new(),
            taken: Taken::default(),
            timers: Timers::default(),
            dirty: VecDeque::new(),
            outputs: VecDeque::new(),
            buffers: Vec::new(),
            outbound_bytes: 0,
            work: 0,
            queued: 0,
            queued_bytes: 0,
            subscriptions: 0,
            extra_weight: 0,
            connected: 0,
            last_uid: 0,
            last_message_id: 0,
            last_record: 0,
            flows: Flows::new(seed ^ 4),
            recording: Default::default(),
            epoch: 1,
            checkpoint: None,
            restoring: Some(Box::default()),
            wills: BTreeMap::new(),
            hold: crate::freeze::Hold::new(authorizer.freezes()),
            unfinished: Vec::new(),
            scratch: Vec::new(),
            stats: Stats::default(),
            limits,
            authorizer,
        }
    }

    /// The session of a live link.
    pub(crate) fn session_of(&self, link: LinkId) -> Option<u32> {
        let index = link.session();
        let live = self.sessions.generation(index) == link.generation()
            && self.sessions.get(index).is_some_and(|session| session.link.is_some());
        live.then_some(index)
    }

    pub(crate) fn link_mut(&mut self, index: u32) -> Option<&mut Link> {
        self.sessions.get_mut(index)?.link.as_deref_mut()
    }

    /// A session subscribed to a filter, or no longer does.
    pub(crate) fn weigh(&mut self, index: u32, filter: &str, subscribed: bool) {
        let weight = extra_weight(filter);
        let Some(session) = self.sessions.get_mut(index).filter(|_| weight > 0) else { return };
        if subscribed {
            session.extra_weight += weight;
            self.extra_weight += weight as usize;
        } else {
            session.extra_weight -= weight;
            self.extra_weight -= weight as usize;
        }
    }

    /// A uid that no session has had, on any shard.
    pub(crate) fn next_uid(&mut self) -> u64 {
        let shards = self.shards as u64;
        let next = self.last_uid + 1;
        self.last_uid = next + (shards + self.shard as u64 - next % shards) % shards;
        self.last_uid
    }

    pub(crate) fn next_message_id(&mut self) -> u64 {
        let shards = self.shards as u64;
        let next = self.last_message_id + 1;
        self.last_message_id = next + (shards + self.shard as u64 - next % shards) % shards;
        self.last_message_id
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Prepares a link to be written to: it gets a buffer and goes on the list of links to flush.
    pub(crate) fn touch(&mut self, index: u32) -> Option<&mut Link> {
        let link = self.sessions.get_mut(index)?.link.as_deref_mut()?;
        if !link.dirty {
            link.dirty = true;
            self.dirty.push_back(index);
            if link.out.buffer().capacity() == 0
                && let Some(buffer) = self.buffers.pop()
            {
                link.out.adopt(buffer);
            }
        }
        Some(link)
    }

    /// The bytes that may be written to a link. None while what its CONNACK promises is not durable.
    pub fn outbound(&mut self, link: LinkId) -> Option<&mut crate::Outbound> {
        let index = self.session_of(link)?;
        let link = self.link_mut(index)?;
        (link.opens_after == 0).then_some(&mut link.out)
    }

    /// The shell took a packet of a link for itself (AUTH): it counts, and is a sign of life (MQTT-3.1.2-22).
    pub fn handle_heard(&mut self, now: Now, link: LinkId) {
        let Some(index) = self.session_of(link) else { return };
        self.stats.packets_received += 1;
        if let Some(link) = self.link_mut(index) {
            link.last_heard_ms = now.mono_ms;
        }
    }

    /// The shell has written all that was waiting: the buffer comes back, and more is taken from the queue.
    pub fn handle_drained(&mut self, now: Now, link: LinkId) {
        let Some(index) = self.session_of(link) else { return };
        self.pump(now, index);
        let Some(link) = self.link_mut(index) else { return };
        if !link.dirty
            && let Some(buffer) = link.out.release()
        {
            self.recycle(buffer);
        }
    }

    /// Takes a buffer back for reuse.
    pub fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < 256 && buffer.capacity() <= 256 << 10 {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// The next link with bytes to write, and the shell's token for it.
    pub fn poll_flush(&mut self) -> Option<(LinkId, u64)> {
        loop {
            let index = self.dirty.pop_front()?;
            let generation = self.sessions.generation(index);
            // One that is not open yet is listed again when it opens.
            if let Some(link) = self.link_mut(index)
                && link.opens_after == 0
                && std::mem::take(&mut link.dirty)
            {
                return Some((LinkId::new(index, generation), link.token));
            }
        }
    }

    /// The next thing for the shell to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front().or_else(|| self.poll_said())
    }

    /// What must be stored since the last call. `recycled` becomes the next batch's buffer.
    pub fn take_journal(&mut self, recycled: Vec<u8>) -> Option<Vec<u8>> {
        self.journal.take(recycled)
    }

    /// All journal records up to the `seq`-th are on disk.
    pub fn handle_durable(&mut self, now: Now, seq: u64) {
        self.journal.set_durable(seq);
        while self.waiting.front().is_some_and(|(at, _)| *at <= seq) {
            if let Some((_, index)) = self.waiting.pop_front() {
                self.open(index);
                self.flush_pending(index);
                self.pump(now, index);
            }
        }
        while self.waiting_shards.front().is_some_and(|(at, ..)| *at <= seq) {
            if let Some((_, shard, token)) = self.waiting_shards.pop_front() {
                self.send_answer(shard, token);
            }
        }
    }

    /// The store failed: nothing more becomes durable, so nothing that must be is acknowledged any more.
    pub fn handle_store_failed(&mut self, now: Now) {
        if !std::mem::replace(&mut self.store_failed, true) {
            self.event(Event::StoreFailed { error: "the log cannot be written; see store.* metrics".into() });
            for index in self.sessions.indexes() {
                self.open(index);
                self.end_if_stuck(now, index);
            }
            for (_, shard, token) in std::mem::take(&mut self.waiting_shards) {
                self.send_stuck(shard, token);
            }
        }
    }

    /// When [`Broker::handle_timeout`] is due, on the monotonic clock.
    pub fn poll_timeout(&self) -> Option<u64> {
        self.walks.due_ms().or_else(|| self.timers.next_ms())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        for published in std::mem::take(&mut self.unfinished) {
            self.send_will(now, published, true);
        }
        while let Some(timer) = self.timers.pop_due(now.mono_ms) {
            match timer.kind {
                TimerKind::RetainedExpiry => {
                    if self.retained.expire(timer.key, now.mono_ms) {
                        self.stats.publish_expired += 1;
                    }
                }
                _ if self.sessions.generation(timer.key) != timer.generation => {}
                TimerKind::KeepAlive => self.check_keep_alive(now, timer.key),
                TimerKind::WillDelay => self.check_will(now, timer.key),
                TimerKind::SessionExpiry => self.check_expiry(now, timer.key),
            }
        }
        self.walk_on(now);
    }

    /// A client that connects and leaves again and again, or a topic that is retained again and again, leaves deadlines
    /// that mean nothing and lie far ahead.
    pub(crate) fn sweep_timers(&mut self) {
        if !self.timers.is_crowded() {
            return;
        }
        let (sessions, retained) = (&self.sessions, &self.retained);
        self.timers.sweep(|timer| {
            let session =
                sessions.get(timer.key).filter(|_| sessions.generation(timer.key) == timer.generation);
            match timer.kind {
                TimerKind::RetainedExpiry => retained.expires_ms(timer.key) == Some(timer.at_ms),
                TimerKind::KeepAlive => session.is_some_and(|session| session.link.is_some()),
                TimerKind::SessionExpiry => {
                    session.is_some_and(|session| session.expires_ms == Some(timer.at_ms))
                }
                TimerKind::WillDelay => session
                    .and_then(|session| session.will.as_ref())
                    .is_some_and(|will| will.due_ms == Some(timer.at_ms)),
            }
        });
    }

    /// Publishes a `$SYS` message, retained, on all shards.
    pub fn publish_system(&mut self, now: Now, topic: &str, payload: &[u8]) {
        self.publish_monitor(now, topic, payload, true);
    }

    /// Publishes a message of the node's own at QoS 0: to whoever subscribes, on all shards.
    pub fn publish_monitor(&mut self, now: Now, topic: &str, payload: &[u8], retain: bool) {
        let parts =
            Parts { topic, forward: &[], payload, qos: QoS::AtMostOnce, retain, expires_ms: None, record: 0 };
        self.publish_own(now, parts, None, None);
    }

    /// Ends a link for a reason of the shell's.
    pub fn disconnect(
        &mut self,
        now: Now,
        link: LinkId,
        reason: ReasonCode,
        cause: DisconnectCause,
        detail: Option<String>,
    ) {
        if let Some(index) = self.session_of(link) {
            self.close_link(now, index, Some(reason), cause, detail);
        }
    }

    /// Sends an AUTH packet (section 3.15) to a link.
    pub fn send_auth(&mut self, link: LinkId, reason: ReasonCode, method: &str, data: Option<&[u8]>) {
        let Some(index) = self.session_of(link) else { return };
        if let Some(link) = self.touch(index) {
            let auth = ravelin_mqtt::Auth { reason, method: Some(method), data, ..Default::default() };
            ravelin_mqtt::encode_auth(link.out.buffer(), &auth);
            self.stats.packets_sent += 1;
        }
    }

    /// New limits, for what comes from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// What measures the publishes of clients from now on.
    pub fn set_meter(&mut self, meter: Option<Rc<dyn Meter>>) {
        self.meter = meter;
    }

    /// Who is at the other end of a link.
    pub fn principal(&self, link: LinkId) -> Option<&Principal> {
        Some(&self.sessions.get(self.session_of(link)?)?.who)
    }

    /// Messages of a link that are under way: sent to the client and not acknowledged, or received from it and not yet
    /// acknowledged or, of QoS 2, released.
    pub fn unsettled(&self, link: LinkId) -> usize {
        let session = self.session_of(link).and_then(|index| self.sessions.get(index));
        session.map_or(0, |session| {
            let on_link = |link: &Link| usize::from(link.unacked) + link.pending.len();
            session.received.len() + session.link.as_deref().map_or(0, on_link)
        })
    }

    /// All live links.
    pub fn links(&self) -> Vec<LinkId> {
        let live = |&index: &u32| self.sessions.get(index).is_some_and(|session| session.link.is_some());
        let id = |index| LinkId::new(index, self.sessions.generation(index));
        self.sessions.indexes().into_iter().filter(live).map(id).collect()
    }

    /// Ends all links; sessions stay.
    pub fn shutdown(&mut self, now: Now) {
        for link in self.links() {
            let reason = ReasonCode::SERVER_SHUTTING_DOWN;
            self.close_link(now, link.session(), Some(reason), DisconnectCause::Shutdown, None);
        }
    }

    /// Counters and gauges.
    pub fn stats(&self) -> Stats {
        let (held, held_bytes) = self.hold.figures();
        Stats {
            held: held as u64,
            held_bytes: held_bytes as u64,
            connected: self.connected as u64,
            sessions: self.sessions.len() as u64,
            subscriptions: self.subscriptions as u64,
            shared_subscriptions: self.groups.local_members() as u64,
            retained: self.retained.count() as u64,
            retained_bytes: self.retained.bytes() as u64,
            queued: self.queued as u64,
            queued_bytes: self.queued_bytes as u64,
            ..self.stats
        }
    }

    /// The fields of an event about a session.
    pub(crate) fn refused_publish(&mut self, index: u32, topic: &str, why: Refusal) {
        self.stats.denied += 1;
        self.refused_publish_event(index, topic, why);
    }

    pub(crate) fn refused_publish_event(&mut self, index: u32, topic: &str, why: Refusal) {
        let Some(session) = self.sessions.get(index) else { return };
        let event = Event::PublishRefused {
            client_id: session.who.client_id.to_string(),
            identity: session.who.identity.as_deref().map(str::to_owned),
            address: session.who.address,
            topic: topic.to_owned(),
            why,
        };
        self.event(event);
    }

    /// Keeps a retained message, or clears its topic when the payload is empty (MQTT-3.3.1-6).
    pub(crate) fn retain(
        &mut self,
        message: Parts<'_>,
        stamp: u64,
        author: Option<&Principal>,
    ) -> Option<Rc<Message>> {
        self.retain_stamp = self.retain_stamp.max(stamp);
        if message.payload.is_empty() {
            self.retained.clear(message.topic, stamp);
            return None;
        }
        let mut message = message.to_message();
        message.author = author.map(|who| self.retained.authors.of(who));
        let message = Rc::new(message);
        if let Some(slot) = self.retained.set(message.clone(), stamp)
            && let Some(at_ms) = message.expires_ms
        {
            self.timers.push(crate::timers::Timer {
                at_ms,
                key: slot,
                generation: 0,
                kind: TimerKind::RetainedExpiry,
            });
            self.sweep_timers();
        }
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Publishing, Subscribing};
    use ravelin_mqtt::{Sender, Version, decode};

    struct Open;

    impl Authorizer for Open {
        fn may_publish(&self, _: &Principal, _: &Publishing<'_>) -> bool {
            true
        }

        fn may_subscribe(&self, _: &Principal, _: &Subscribing<'_>) -> bool {
            true
        }

        fn may_receive(&self, _: &Principal, _: &str) -> bool {
            true
        }
    }

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 1_700_000_000_000 + mono_ms }
    }

    #[test]
    fn a_packet_that_the_shell_takes_is_a_sign_of_life() {
        let mut broker = Broker::new(0, 1, Limits::default(), Rc::new(Open), 7);
        // Keep alive of 10 s, Client Identifier "a".
        let body = b"\0\x04MQTT\x05\x02\0\x0a\0\0\x01a";
        let decoded = decode(0x10, body, Version::V5, Sender::Client, &broker.limits.decode);
        let Ok(ravelin_mqtt::Packet::Connect(connect)) = decoded else { panic!("{decoded:?}") };
        let connecting = Connecting {
            connect: &connect,
            token: 0,
            principal: Principal::anonymous("a"),
            client_id_assigned: false,
            auth_method: None,
            auth_data: None,
        };
        let link = broker.handle_connect(at(0), connecting).unwrap();
        let received = broker.stats().packets_received;
        for second in [10, 20, 30] {
            broker.handle_heard(at(second * 1000), link);
            broker.handle_timeout(at(second * 1000 + 14_999));
            assert_eq!(broker.links(), [link], "heard {second} s after CONNECT");
        }
        assert_eq!(broker.stats().packets_received, received + 3);
        broker.handle_timeout(at(45_000));
        assert!(broker.links().is_empty(), "nothing was heard for 15 s");
        // One that is gone is not heard any more.
        broker.handle_heard(at(45_000), link);
        assert_eq!(broker.stats().packets_received, received + 3);
    }
}
