//! PUBLISH from a client, and messages that the broker publishes itself: wills and `$SYS`.

use crate::authorize::{Permit, TAP, is_control};
use crate::broker::LinkId;
use crate::deliver::Fan;
use crate::flows::Counts;
use crate::journal::Kind;
use crate::link::Memo;
use crate::message::Parts;
use crate::observe::Seen;
use crate::route::{Route, Target};
use crate::taken::{Origin, Part};
use crate::{Broker, Metered, Now, Publishing, Verdict, Watch};
use ravelin_event::{DisconnectCause, Principal, Refusal};
use ravelin_mqtt::{AckKind, Error, Publish, QoS, ReasonCode, Sender, Version, decode_publish};
use std::cell::Cell;
use std::rc::Rc;

impl Broker {
    /// Handles one control packet of a live link: the first byte of its fixed header, and all that follows the fixed
    /// header. AUTH does not come here; the shell owns that exchange.
    pub fn handle_frame(&mut self, now: Now, link: LinkId, first: u8, body: &[u8]) {
        let Some(index) = self.session_of(link) else { return };
        self.stats.packets_received += 1;
        self.stats.bytes_received += body.len() as u64 + 2;
        self.count_packet(now, index);
        match first >> 4 {
            3 => self.handle_publish(now, index, first, body),
            4..=7 => self.handle_ack(now, index, first, body),
            _ => self.handle_other(now, index, first, body),
        }
        if self.store_failed {
            self.end_if_stuck(now, index);
        }
    }

    fn handle_publish(&mut self, now: Now, index: u32, first: u8, body: &[u8]) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let version = session.version;
        let memo = session.link.as_ref().and_then(|link| link.memo.as_ref());
        let memo = memo.map(|memo| (memo.route.clone(), memo.permit));
        let known = memo.as_ref().map_or("", |(route, _)| &route.topic);
        let publish = match decode_publish(first, body, version, Sender::Client, &self.limits.decode, known) {
            Ok(publish) => publish,
            Err(error) => return self.fail(now, index, &error),
        };
        self.stats.publish_received += 1;
        self.stats.publish_bytes_received += publish.payload.len() as u64;
        let aliased;
        let topic = match publish.topic_alias {
            None => publish.topic,
            Some(alias) => match self.resolve_alias(index, alias, publish.topic) {
                Ok(topic) => {
                    aliased = topic;
                    &aliased
                }
                Err(reason) => {
                    let cause = match reason {
                        ReasonCode::QUOTA_EXCEEDED => DisconnectCause::LimitExceeded,
                        _ => DisconnectCause::ProtocolError,
                    };
                    return self.close_link(now, index, Some(reason), cause, Some("topic alias".into()));
                }
            },
        };
        let (route, permit) = match memo {
            Some((route, permit)) if *route.topic == *topic && self.is_valid(&route) => (route, permit),
            _ => self.look_up(index, topic),
        };
        if self.meter.is_some() && !self.measure(now, index, &publish, &route, body.len()) {
            return;
        }
        if publish.qos != QoS::AtMostOnce && !self.admit(now, index, &publish) {
            return;
        }
        if !permit.allows(publish.qos, publish.retain) && !self.ask_permit(index, &route, permit, &publish) {
            self.refused_publish(index, topic, Refusal::AccessRule);
            return self.answer_publish(index, &publish, ReasonCode::NOT_AUTHORIZED);
        }
        if route.watch.is_special() && self.handle_special(now, index, &publish, &route) {
            return;
        }
        let mut buffer = std::mem::take(&mut self.scratch);
        let forward = if publish.properties.forward_is_whole() {
            publish.properties.raw()
        } else {
            buffer.clear();
            publish.properties.forward_into(&mut buffer);
            &buffer
        };
        let parts = Parts {
            topic,
            forward,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires_ms: publish.expiry_s.map(|s| now.mono_ms + s as u64 * 1000),
            record: 0,
        };
        self.pass_on(now, index, &publish, parts, &route);
        self.scratch = buffer;
    }

    /// Takes a publish that may be made, unless it cannot be recorded or retained as it must.
    #[inline]
    pub(crate) fn pass_on(
        &mut self,
        now: Now,
        index: u32,
        publish: &Publish<'_>,
        parts: Parts<'_>,
        route: &Route,
    ) {
        if self.recording.refusing && route.watch.contains(Watch::RECORD) {
            return self.refuse_unrecorded(now, index, publish, parts.topic);
        }
        if publish.retain
            && let Some(reason) = self.retain_refusal(index, parts.topic, publish)
        {
            return self.answer_publish(index, publish, reason);
        }
        self.count_flow(now, index, publish);
        self.accept(now, index, publish, parts, route);
    }

    /// The route of a topic, remembered by the link with what it learns of the session's rights.
    #[inline(never)]
    pub(crate) fn look_up(&mut self, index: u32, topic: &str) -> (Rc<Route>, Permit) {
        let route = self.route(topic);
        self.hand_over_flow(index);
        let permit = Permit::default();
        if let Some(link) = self.link_mut(index) {
            link.memo = Some(Memo { route: route.clone(), permit, counts: Counts::default() });
        }
        (route, permit)
    }

    /// Whether the session may publish this. The answer is remembered for publishes of the same topic, QoS and RETAIN.
    #[inline(never)]
    fn ask_permit(&mut self, index: u32, route: &Rc<Route>, permit: Permit, publish: &Publish<'_>) -> bool {
        if let Some(allowed) = permit.get(publish.qos, publish.retain) {
            return allowed;
        }
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let what = Publishing { topic: &route.topic, qos: publish.qos, retain: publish.retain };
        let allowed = !is_reserved(what.topic) && self.authorizer.may_publish(&session.who, &what);
        let memo = session.link.as_deref_mut().and_then(|link| link.memo.as_mut());
        if let Some(memo) = memo.filter(|memo| Rc::ptr_eq(&memo.route, route)) {
            memo.permit = permit.with(publish.qos, publish.retain, allowed);
        }
        allowed
    }

    /// Asks the meter. False: the publish is too much, and was dealt with.
    #[inline(never)]
    fn measure(&mut self, now: Now, index: u32, publish: &Publish<'_>, route: &Route, bytes: usize) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let (Some(meter), Some(link)) = (&self.meter, session.link.as_deref_mut()) else { return true };
        let what = Metered { topic: &route.topic, watch: route.watch, bytes, qos: publish.qos };
        let verdict = meter.publish(now, link.token, &session.who, &what);
        // What was taken before is only acknowledged again: a refusal would have the client send it as another message.
        let known = publish.qos == QoS::ExactlyOnce && session.received.contains(&publish.packet_id);
        if verdict == Verdict::Pass || verdict == Verdict::Refuse && known {
            return true;
        }
        let silent = session.version == Version::V311 && publish.qos != QoS::AtMostOnce;
        self.stats.publish_limited += 1;
        self.tell_limited(index, &route.topic, Refusal::PublishRate);
        match verdict {
            Verdict::Refuse if !silent => self.answer_publish(index, publish, ReasonCode::QUOTA_EXCEEDED),
            _ => {
                let (reason, detail) = (Some(ReasonCode::QUOTA_EXCEEDED), Some("publishes too much".into()));
                self.close_link(now, index, reason, DisconnectCause::LimitExceeded, detail);
            }
        }
        false
    }

    /// Counts an accepted publish with the topic that the link remembers, which is its topic.
    #[inline(always)]
    pub(crate) fn count_flow(&mut self, now: Now, index: u32, publish: &Publish<'_>) {
        let Some(memo) = self.link_mut(index).and_then(|link| link.memo.as_mut()) else { return };
        memo.counts.count(now.mono_ms, publish.qos, publish.retain, publish.payload.len());
    }

    fn resolve_alias(&mut self, index: u32, alias: u16, topic: &str) -> Result<Rc<str>, ReasonCode> {
        // MQTT-3.3.2-9: not above what CONNACK told.
        if alias > self.limits.topic_alias_max {
            return Err(ReasonCode::TOPIC_ALIAS_INVALID);
        }
        let bytes_max = self.limits.topic_alias_bytes_max;
        let Some(link) = self.link_mut(index) else { return Err(ReasonCode::UNSPECIFIED_ERROR) };
        let aliases = link.aliases.get_or_insert_default();
        aliases.bytes_max = bytes_max;
        let at = alias as usize - 1;
        if aliases.inbound.len() <= at {
            aliases.inbound.resize(at + 1, None);
        }
        if topic.is_empty() {
            return aliases.inbound[at].clone().ok_or(ReasonCode::PROTOCOL_ERROR);
        }
        if aliases.inbound[at].as_deref() != Some(topic) {
            let former = aliases.inbound[at].as_ref().map_or(0, |topic| topic.len());
            let bytes = aliases.inbound_bytes - former + topic.len();
            if bytes > bytes_max {
                return Err(ReasonCode::QUOTA_EXCEEDED);
            }
            aliases.inbound_bytes = bytes;
            aliases.inbound[at] = Some(topic.into());
        }
        aliases.inbound[at].clone().ok_or(ReasonCode::PROTOCOL_ERROR)
    }

    /// Checks a QoS 1 or 2 message against Receive Maximum and earlier ones with its Packet Identifier. False: it was
    /// dealt with.
    fn admit(&mut self, now: Now, index: u32, publish: &Publish<'_>) -> bool {
        let receive_max = self.limits.receive_max as usize;
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let Some(link) = session.link.as_deref_mut() else { return false };
        let known = publish.qos == QoS::ExactlyOnce && session.received.contains(&publish.packet_id);
        if known {
            if let Some(at) = session.received_unsure.iter().position(|id| *id == publish.packet_id) {
                // This shard has it, sister shards may not. They get it again and know what they have.
                session.received_unsure.swap_remove(at);
                return true;
            }
            // MQTT-4.3.3-10: not delivered twice.
            let seq = if session.durable { self.journal.seq() } else { 0 };
            // Its entry may still be on the way to the record.
            let record = self.last_unrecorded();
            let answers = self.answers_of_record(record);
            let (kind, reason) = (AckKind::PubRec, ReasonCode::SUCCESS);
            let number = self.acknowledge(index, seq, answers, kind, publish.packet_id, reason);
            self.expect_record(index, record, number);
            return false;
        }
        let unanswered = session.received.len() + link.qos1_pending as usize;
        let over = match session.version {
            // MQTT-3.3.4-7
            Version::V5 => unanswered >= receive_max,
            // 3.1.1 has no Receive Maximum; identifiers that are never released are hoarding all the same, and there are
            // only so many of them.
            Version::V311 => {
                publish.qos == QoS::ExactlyOnce && session.received.len() >= receive_max.max(1024)
                    || unanswered >= u16::MAX as usize
            }
        };
        if over {
            let reason = Some(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED);
            self.close_link(
                now,
                index,
                reason,
                DisconnectCause::LimitExceeded,
                Some("receive maximum".into()),
            );
        }
        !over
    }

    fn retain_refusal(&mut self, index: u32, topic: &str, publish: &Publish<'_>) -> Option<ReasonCode> {
        let new = !publish.payload.is_empty();
        let full = publish.payload.len() > self.limits.retained_message_bytes_max
            || self.retained.memory() + publish.payload.len() > self.limits.retained_bytes_max
            || self.retained.count() >= self.limits.retained_count_max && self.retained.get(topic).is_none();
        (new && full).then(|| {
            self.refused_publish(index, topic, Refusal::TooManyRetained);
            ReasonCode::QUOTA_EXCEEDED
        })
    }

    /// Answers a publish that is not passed on.
    pub(crate) fn answer_publish(&mut self, index: u32, publish: &Publish<'_>, reason: ReasonCode) {
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => AckKind::PubAck,
            QoS::ExactlyOnce => AckKind::PubRec,
        };
        let Some(session) = self.sessions.get_mut(index) else { return };
        let (mut seq, mut asked) = (0, Asked::default());
        if kind == AckKind::PubRec {
            let known = session.received.contains(&publish.packet_id);
            match session.version {
                // MQTT-3.3.5-2 (3.1.1): a positive acknowledgement, and the handshake to its end.
                Version::V311 if !known => session.received.push(publish.packet_id),
                Version::V311 => {}
                // MQTT-4.3.3-9: the identifier is free again, also when the message was taken before.
                Version::V5 if known => (_, seq, asked) = self.release(index, publish.packet_id),
                Version::V5 => {}
            }
        }
        let number = self.acknowledge(index, seq, asked.shards, kind, publish.packet_id, reason);
        self.expect_answers(index, number, asked);
    }

    fn accept(&mut self, now: Now, index: u32, publish: &Publish<'_>, parts: Parts<'_>, route: &Route) {
        let origin = self.origin(index, publish);
        let known = origin.and_then(|origin| Some(self.taken.get(origin, 0)?.members.clone()));
        let needs_disk = publish.qos != QoS::AtMostOnce && self.store_failed;
        let mut fan = Fan::new(parts, Some(index), self.buffers.pop().unwrap_or_default());
        if route.watch.is_watched() {
            let seen = Seen { duplicate: publish.dup || known.is_some(), will: false };
            fan.parts.record = self.observe_client(now, index, route.watch, &fan.parts, seen);
        }
        // A message that is known was retained when it was taken; a later one may have come since.
        let stamp = (parts.retain && known.is_none()).then(|| self.next_stamp(now));
        if stamp.is_some() {
            fan.author = self.sessions.get(index).map(|session| Box::new(session.who.clone()));
        }
        let again = known.is_some();
        match known {
            Some(members) => fan.shared = members,
            None => self.fan_out(now, route, &mut fan),
        }
        let mut remote = route.remote;
        if stamp.is_some() || again {
            // Whoever was asked the first time must have answered before the identifier is released, whatever is wanted now.
            remote = self.all_sisters();
        }
        let durable = !fan.durable.is_empty() || stamp.is_some() || origin.is_some() && !again;
        if needs_disk && durable {
            // What cannot be stored is not acknowledged. Those who are connected have it; the publisher sends it again.
            self.recycle(fan.take_buffer());
            let reason = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
            return match self.sessions.get(index).map(|session| session.version) {
                // An acknowledgement of 3.1.1 has no reason: whatever is answered says that all is well.
                Some(Version::V311) => {
                    let detail = Some("the store has failed".into());
                    self.close_link(now, index, None, DisconnectCause::Internal, detail);
                }
                _ => self.answer_publish(index, publish, reason),
            };
        }
        let mut seq = 0;
        if durable {
            seq = self.journal_published(now, &mut fan, origin, 0, stamp);
        } else if again {
            // Its record may still be on the way to the disk.
            seq = self.journal.seq();
        }
        if let Some(stamp) = stamp {
            self.retain(fan.parts, stamp, fan.author.as_deref());
        }
        if let Some(origin) = origin.filter(|_| !again) {
            self.taken.insert(origin, 0, Part { journaled: true, members: fan.shared.clone() });
        }
        let asked = self.forward(now, &fan, remote, stamp, origin);
        for index in std::mem::take(&mut fan.pump) {
            self.pump(now, index);
        }
        let reached = fan.receivers > 0 || route.remote != 0;
        if !reached {
            self.count_undelivered(index);
        }
        let record = fan.parts.record;
        self.recycle(fan.take_buffer());
        if publish.qos == QoS::AtMostOnce {
            return;
        }
        let reason = if reached { ReasonCode::SUCCESS } else { ReasonCode::NO_MATCHING_SUBSCRIBERS };
        self.answer_accepted(index, publish, (seq, asked, record), reason);
    }

    /// What names a QoS 2 message of a journaled publisher, so that no shard takes it twice.
    fn origin(&self, index: u32, publish: &Publish<'_>) -> Option<Origin> {
        let session = self.sessions.get(index)?;
        (publish.qos == QoS::ExactlyOnce && session.named).then_some((session.uid, publish.packet_id))
    }

    /// Hands the message to all of this shard who get it.
    pub(crate) fn fan_out(&mut self, now: Now, route: &Route, fan: &mut Fan<'_>) {
        fan.waits = route.watch.contains(Watch::DELAY);
        self.work += route.targets.len() as u64;
        for target in &route.targets {
            self.deliver(now, target, fan);
        }
        for &group in &route.groups {
            self.deliver_shared(now, group, fan);
        }
    }

    /// Writes the message, where it came from and for whom to the journal.
    pub(crate) fn journal_published(
        &mut self,
        now: Now,
        fan: &mut Fan<'_>,
        origin: Option<Origin>,
        scope: u64,
        stamp: Option<u64>,
    ) -> u64 {
        let id = match &fan.message {
            Some(message) if message.id.get() != 0 => message.id.get(),
            _ => self.next_message_id(),
        };
        if let Some(message) = &fan.message {
            message.id.set(id);
        }
        let (parts, durable, shard, shards) = (fan.parts, &fan.durable, self.shard, self.shards);
        let author = fan.author.as_deref().filter(|_| stamp.is_some());
        // The members chosen on sister shards matter only if the message may come again.
        let members = if origin.is_some() { &fan.shared[..] } else { &[] };
        self.journal.record(Kind::Published, |record| {
            record.int(id);
            record.int(shard as u64);
            record.int(shards as u64);
            record.int(origin.map_or(0, |(uid, _)| uid));
            record.int(origin.map_or(0, |(_, packet_id)| packet_id as u64));
            record.int(scope);
            record.members(members);
            record.optional_int(stamp);
            record.parts(now, parts);
            record.int(durable.len() as u64);
            for target in durable {
                record.int(target.uid);
                record.int(target.seq);
                record.u8(target.qos as u8 | (target.retain as u8) << 2);
                record.ids(target.subscription_ids.as_deref());
            }
            record.author(author);
        })
    }

    /// Publishes a message that no connected client has just sent: a will, what waited for its client's topic and not for its
    /// client, or `$SYS`, which is nobody's. A client's is journaled if it must be. With an origin no shard takes it twice, and the answer tells whom to
    /// wait for.
    pub(crate) fn publish_own(
        &mut self,
        now: Now,
        mut parts: Parts<'_>,
        by: Option<By<'_>>,
        origin: Option<Origin>,
    ) -> Asked {
        let durable = by.is_some();
        let route = self.route(parts.topic);
        if let Some(By { who, again, will }) = by.filter(|_| route.watch.is_watched()) {
            let seen = Seen { duplicate: again, will };
            parts.record = self.observe(now, route.watch, who, &parts, seen);
        }
        if route.watch.contains(Watch::CONTROL) {
            return Asked::default();
        }
        // MQTT-3.8.3-3 is about the messages of a Client Identifier. A will is the broker's.
        let publisher = by.filter(|by| !by.will).and_then(|by| self.sessions.find(&by.who.client_id));
        let mut fan = Fan::new(parts, publisher, self.buffers.pop().unwrap_or_default());
        let stamp = parts.retain.then(|| self.next_stamp(now));
        fan.author = by.filter(|_| stamp.is_some()).map(|by| Box::new(by.who.clone()));
        let known = origin.and_then(|origin| Some(self.taken.get(origin, 0)?.members.clone()));
        match known {
            Some(members) => fan.shared = members,
            None => self.fan_out(now, &route, &mut fan),
        }
        let stored = !fan.durable.is_empty() || origin.is_some() && !fan.shared.is_empty();
        if stored || durable && stamp.is_some() {
            if let Some(origin) = origin {
                self.taken.insert(origin, 0, Part { journaled: true, members: fan.shared.clone() });
            }
            self.journal_published(now, &mut fan, origin, 0, stamp.filter(|_| durable));
        }
        if let Some(stamp) = stamp {
            self.retain(parts, stamp, fan.author.as_deref());
        }
        let remote = if stamp.is_some() { self.all_sisters() } else { route.remote };
        let asked = self.forward_own(now, &fan, remote, stamp, origin);
        for index in std::mem::take(&mut fan.pump) {
            self.pump(now, index);
        }
        self.recycle(fan.take_buffer());
        asked
    }

    /// A stamp later than any that this shard has seen, different from those of other shards.
    fn next_stamp(&mut self, now: Now) -> u64 {
        let least = (self.retain_stamp >> 6).max(now.wall_ms << 10);
        self.retain_stamp = (least + 1) << 6 | self.shard as u64;
        self.retain_stamp
    }

    pub(crate) fn is_valid(&self, route: &Route) -> bool {
        route.generation == self.generation
            && !route.stale.get()
            && (route.cached.get() || route.exact_generation == self.exact_generation)
    }

    /// Whether somebody, on this shard or another, wants to know who publishes to `topic`.
    fn is_tapped(&mut self, topic: &str) -> bool {
        let mut ids = Vec::new();
        self.trie.matches(&[TAP, topic].concat(), |id| ids.push(id));
        ids.into_iter().any(|id| self.trie.wanted_here(id) || self.trie.remote(id) != 0)
    }

    /// Who gets messages of a topic.
    pub(crate) fn route(&mut self, topic: &str) -> Rc<Route> {
        if let Some(route) = self.routes.get(topic, self.generation) {
            return route.clone();
        }
        let watch = match is_control(topic) {
            true => self.authorizer.watch(topic) | Watch::CONTROL,
            false => self.authorizer.watch(topic),
        };
        let watch = match watch.contains(Watch::TAP) && !self.is_tapped(topic) {
            true => watch.without(Watch::TAP),
            false => watch,
        };
        let muted = watch.contains(Watch::MUTE);
        let mut route = Route {
            topic: topic.into(),
            watch,
            generation: self.generation,
            stale: Cell::new(false),
            cached: Cell::new(false),
            exact_generation: self.exact_generation,
            targets: Vec::new(),
            groups: Vec::new(),
            remote: 0,
        };
        let (mut nodes, mut entries) = (0, Vec::new());
        let mut ids = Vec::new();
        if !muted {
            self.trie.matches(topic, |id| ids.push(id));
        }
        self.work += ids.len() as u64;
        for id in ids {
            nodes += usize::from(!self.trie.entries(id).is_empty());
            entries.extend_from_slice(self.trie.entries(id));
            route.groups.extend_from_slice(self.trie.groups(id));
            route.remote |= self.trie.remote(id);
        }
        self.work += entries.len() as u64;
        if nodes > 1 {
            entries.sort_by_key(|entry| entry.session);
        }
        route.targets = merge(&entries);
        route.targets.retain(|target| {
            let session = self.sessions.get(target.session);
            session.is_some_and(|session| self.authorizer.may_receive(&session.who, topic))
        });
        let route = Rc::new(route);
        self.routes.offer(&route);
        route
    }

    /// What a session gets of its own messages.
    pub(crate) fn own_target(&mut self, session: u32, topic: &str) -> Option<Target> {
        let mut entries = Vec::new();
        let mut ids = Vec::new();
        self.trie.matches(topic, |id| ids.push(id));
        for id in ids {
            let own = |entry: &&crate::trie::Entry| entry.session == session && !entry.no_local;
            entries.extend(self.trie.entries(id).iter().filter(own).copied());
        }
        merge(&entries).pop()
    }

    /// A packet could not be decoded: tell the client if its version can be told, and end the connection.
    pub(crate) fn fail(&mut self, now: Now, index: u32, error: &Error) {
        let cause = DisconnectCause::ProtocolError;
        self.close_link(now, index, Some(error.into()), cause, Some(error.to_string()));
    }
}

/// Whether a topic is the server's own (section 4.7.2): no rule can let a client publish to it, nor leave a will there.
/// `$CONTROL` is not among them: publishes there are for the server, see [`Watch::CONTROL`].
pub(crate) fn is_reserved(topic: &str) -> bool {
    matches!(ravelin_mqtt::levels(topic).next(), Some("$SYS" | "$MONITOR" | "$share"))
}

/// Whose a message is that no connected client has just sent.
#[derive(Clone, Copy)]
pub(crate) struct By<'a> {
    pub who: &'a Principal,
    /// It may have been published before.
    pub again: bool,
    pub will: bool,
}

/// Sister shards that were asked to say when they have a message.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked {
    pub shards: u16,
    pub token: u64,
}

/// Merges the entries of each session into one target; entries of a session stand together.
fn merge(entries: &[crate::trie::Entry]) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::with_capacity(entries.len());
    for entry in entries {
        let id = (entry.subscription_id != 0).then_some(entry.subscription_id);
        match targets.last_mut() {
            Some(last) if last.session == entry.session => {
                last.qos = last.qos.max(entry.qos);
                last.no_local |= entry.no_local;
                last.retain_as_published |= entry.retain_as_published;
                if let Some(id) = id {
                    // MQTT-3.3.4-3, MQTT-3.3.4-4: all identifiers of the overlapping subscriptions.
                    let mut ids = last.subscription_ids.as_deref().unwrap_or_default().to_vec();
                    if !ids.contains(&id) {
                        ids.push(id);
                    }
                    last.subscription_ids = Some(ids.into());
                }
            }
            _ => targets.push(Target {
                session: entry.session,
                qos: entry.qos,
                no_local: entry.no_local,
                retain_as_published: entry.retain_as_published,
                subscription_ids: id.map(|id| Rc::from([id])),
            }),
        }
    }
    targets
}
