//! From a message to the connections and queues of those who get it.

use crate::broker::LinkId;
use crate::freeze::{must_wait, watch_of};
use crate::journal::Kind;
use crate::link::Link;
use crate::message::{Message, Parts};
use crate::route::Target;
use crate::sending::{Delivery, Queued, Slot, Stage, packet_id};
use crate::{Broker, How, Now, Stats, Watch};
use ravelin_event::{Event, Principal};
use ravelin_mqtt::{AckKind, PublishOut, QoS, Version, encode_publish, encode_publish_head, publish_len};
use std::rc::Rc;

/// Payloads from here on are shared among connections instead of copied to each.
const SHARE_FROM: usize = 4096;

/// A message on its way to its receivers, and what is made of it once for all of them.
pub(crate) struct Fan<'a> {
    pub parts: Parts<'a>,
    /// Whose it is, if it is to be retained.
    pub author: Option<Box<Principal>>,
    /// The publishing session, for No Local.
    pub publisher: Option<u32>,
    /// The message as it is kept, made when the first one needs to keep it.
    pub message: Option<Rc<Message>>,
    /// Sessions that the journal must name.
    pub durable: Vec<DurableTarget>,
    /// Sessions to pump once the journal has the message.
    pub pump: Vec<u32>,
    /// Members of shared subscriptions on sister shards who get it.
    pub shared: Vec<RemoteMember>,
    /// Receivers, counting those whose queue was full.
    pub receivers: usize,
    /// Its topic is frozen: it may come to queues, and no further.
    pub waits: bool,
    /// It was sent before under another identifier.
    pub again: bool,
    template: Template,
}

/// A durable session that gets the message.
pub(crate) struct DurableTarget {
    pub uid: u64,
    pub seq: u64,
    pub qos: QoS,
    pub retain: bool,
    pub subscription_ids: Option<Rc<[u32]>>,
}

/// A member of a shared subscription on a sister shard, chosen for a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteMember {
    pub shard: u16,
    pub uid: u64,
    pub qos: QoS,
    pub retain: bool,
    pub subscription_id: u32,
}

/// The last packet encoded: most receivers get the same bytes but for the Packet Identifier.
#[derive(Default)]
struct Template {
    bytes: Vec<u8>,
    key: Option<(Version, QoS, bool)>,
    packet_id_at: usize,
}

impl<'a> Fan<'a> {
    pub fn new(parts: Parts<'a>, publisher: Option<u32>, buffer: Vec<u8>) -> Fan<'a> {
        Fan {
            parts,
            author: None,
            publisher,
            message: None,
            durable: Vec::new(),
            pump: Vec::new(),
            shared: Vec::new(),
            receivers: 0,
            waits: false,
            again: false,
            template: Template { bytes: buffer, ..Template::default() },
        }
    }

    pub fn message(&mut self) -> Rc<Message> {
        self.message.get_or_insert_with(|| Rc::new(self.parts.to_message())).clone()
    }

    /// The buffer, for the next fan; this one is done.
    pub fn take_buffer(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.template.bytes);
        buffer.clear();
        buffer
    }
}

/// One delivery's variable parts.
#[derive(Clone, Copy)]
struct Send<'a> {
    qos: QoS,
    retain: bool,
    dup: bool,
    packet_id: u16,
    subscription_ids: &'a [u32],
}

/// Why a packet was not written.
#[derive(Clone, Copy)]
enum NotSent {
    Expired,
    TooLarge,
}

impl Broker {
    /// Hands the message to one session.
    pub(crate) fn deliver(&mut self, now: Now, target: &Target, fan: &mut Fan<'_>) {
        let own;
        let mut target = target;
        if target.no_local && fan.publisher == Some(target.session) {
            // MQTT-3.8.3-3: only the subscriptions without No Local count for the session's own messages.
            let Some(merged) = self.own_target(target.session, fan.parts.topic) else { return };
            own = merged;
            target = &own;
        }
        // MQTT-3.8.4-8: the lower of the two QoS.
        let qos = fan.parts.qos.min(QoS::from_u8(target.qos).unwrap_or(QoS::ExactlyOnce));
        // MQTT-3.3.1-12, MQTT-3.3.1-13
        let retain = target.retain_as_published && fan.parts.retain;
        self.deliver_to(now, target.session, qos, retain, target.subscription_ids.clone(), fan);
    }

    /// Hands a message to a session: writes it, or puts it into the queue.
    #[inline]
    pub(crate) fn deliver_to(
        &mut self,
        now: Now,
        index: u32,
        qos: QoS,
        retain: bool,
        ids: Option<Rc<[u32]>>,
        fan: &mut Fan<'_>,
    ) {
        match fan.parts.record {
            0 => self.hand_to(now, index, qos, retain, ids, fan),
            record => {
                let before = self.stats.publish_sent;
                self.hand_to(now, index, qos, retain, ids, fan);
                if qos == QoS::AtMostOnce && self.stats.publish_sent > before {
                    self.delivered(now, index, record, qos, How::Written);
                }
            }
        }
    }

    #[inline(never)]
    fn hand_to(
        &mut self,
        now: Now,
        index: u32,
        qos: QoS,
        retain: bool,
        ids: Option<Rc<[u32]>>,
        fan: &mut Fan<'_>,
    ) {
        let outbound_max = self.outbound_max();
        let Some(session) = self.sessions.get_mut(index) else { return };
        let version = session.version;
        let Some(link) = session.link.as_deref_mut() else {
            if qos != QoS::AtMostOnce {
                fan.receivers += 1;
                self.enqueue(index, qos, retain, ids, fan);
            }
            return;
        };
        fan.receivers += 1;
        let sending = &mut session.sending;
        let direct = sending.queue.is_empty()
            && !fan.waits
            && (qos == QoS::AtMostOnce
                || !session.durable
                    && link.unacked < link.window_max
                    && link.has_room()
                    && sending.window_open(sending.last_seq() + 1)
                    && link.resend_at == sending.end_seq());
        if !direct {
            self.enqueue(index, qos, retain, ids, fan);
            return;
        }
        if link.out.len() > outbound_max {
            self.dropped(index);
            return;
        }
        let mut id = 0;
        if qos != QoS::AtMostOnce {
            let seq = sending.next_seq();
            id = packet_id(seq);
            sending.open_slot(
                seq,
                Slot {
                    stage: Stage::Sent,
                    qos,
                    counted: true,
                    dup: false,
                    delivery: None,
                    record: fan.parts.record,
                },
            );
            link.resend_at = seq + 1;
            link.unacked += 1;
        }
        let Some(link) = self.touch(index) else { return };
        let send =
            Send { qos, retain, dup: false, packet_id: id, subscription_ids: ids.as_deref().unwrap_or(&[]) };
        let sent = write_direct(link, version, now, fan, send);
        self.sent(index, id, sent, fan.parts.payload.len());
    }

    /// Counts a packet that was written, or undoes what was prepared for one that was not.
    fn sent(&mut self, index: u32, id: u16, sent: Result<usize, NotSent>, payload: usize) {
        match sent {
            Ok(bytes) => count_sent(&mut self.stats, bytes, payload),
            Err(why) => {
                match why {
                    NotSent::Expired => self.stats.publish_expired += 1,
                    // MQTT-3.1.2-25: discarded as if it had been sent.
                    NotSent::TooLarge => self.stats.publish_dropped += 1,
                }
                if id != 0
                    && let Some(session) = self.sessions.get_mut(index)
                    && let Some(seq) = session.sending.seq_of(id)
                {
                    self.finish(index, seq);
                }
            }
        }
    }

    /// Whether a link must not be listened to. What it is owed beyond what may wait are answers to its own packets, and
    /// more packets would only add to them (attack 32).
    pub fn is_choked(&self, link: LinkId) -> bool {
        let Some(session) = self.session_of(link).and_then(|index| self.sessions.get(index)) else {
            return false;
        };
        // A message may exceed the limit by its own length, which is no fault of the client's.
        session.link.as_deref().is_some_and(|link| link.out.len() > self.outbound_max() + (64 << 10))
    }

    /// What waits for one connection has changed from `before` to `after` bytes.
    pub fn count_outbound(&mut self, before: usize, after: usize) {
        self.outbound_bytes = (self.outbound_bytes + after).saturating_sub(before);
    }

    /// Work that was done so far: deliveries, and filters compared with topics that were new. Few bytes of a client can
    /// cause much of it.
    pub fn work(&self) -> u64 {
        self.work
    }

    /// Most bytes that may wait for one link just now.
    fn outbound_max(&self) -> usize {
        if self.outbound_bytes > self.limits.outbound_bytes_total_max {
            64 << 10
        } else {
            self.limits.outbound_bytes_max
        }
    }

    /// Puts a message into the session's queue, and names the session for the journal if it is durable.
    pub(crate) fn enqueue(
        &mut self,
        index: u32,
        qos: QoS,
        retain: bool,
        subscription_ids: Option<Rc<[u32]>>,
        fan: &mut Fan<'_>,
    ) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let full = session.sending.queue.len() >= self.limits.queue_messages_max
            || session.sending.queue_bytes >= self.limits.queue_bytes_max
            || self.queued_bytes >= self.limits.queue_bytes_total_max;
        match full {
            true => self.dropped(index),
            false => self.append(index, qos, retain, subscription_ids, fan),
        }
    }

    /// The same, however full the queue is.
    pub(crate) fn append(
        &mut self,
        index: u32,
        qos: QoS,
        retain: bool,
        subscription_ids: Option<Rc<[u32]>>,
        fan: &mut Fan<'_>,
    ) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let message = fan.message();
        let (mut seq, mut after) = (0, 0);
        if qos != QoS::AtMostOnce {
            seq = session.sending.next_seq();
            if session.durable {
                let subscription_ids = subscription_ids.clone();
                fan.durable.push(DurableTarget { uid: session.uid, seq, qos, retain, subscription_ids });
                if qos == QoS::ExactlyOnce {
                    // The record is the next one that is written.
                    after = self.journal.seq() + 1;
                }
            }
        }
        self.queued += 1;
        self.queued_bytes += message.size();
        let delivery = Delivery { message, qos, retain, subscription_ids };
        session.sending.push(Queued { delivery, seq, after, released: false, again: fan.again });
        if after > 0 {
            self.waiting.push_back((after, index));
        } else if session.link.is_some() {
            fan.pump.push(index);
        }
    }

    pub(crate) fn dropped(&mut self, index: u32) {
        self.stats.publish_dropped += 1;
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.dropped += 1;
        // One event for the first, then for every doubling: a flood of drops is no flood of events.
        if session.dropped.is_power_of_two() {
            let event =
                Event::QueueFull { client_id: session.who.client_id.to_string(), dropped: session.dropped };
            self.event(event);
        }
    }

    /// Moves messages from the queue to the connection while the client and the disk let it.
    pub(crate) fn pump(&mut self, now: Now, index: u32) {
        loop {
            let durable = self.journal.durable();
            let Some(session) = self.sessions.get_mut(index) else { return };
            let Some(link) = session.link.as_deref_mut() else { return };
            if !link.has_room() {
                return;
            }
            if link.resend_at < session.sending.end_seq() {
                if !self.resend(now, index) {
                    return;
                }
                continue;
            }
            let Some(front) = session.sending.queue.front() else { return };
            if self.hold.delays {
                let (topic, authorizer) = (front.delivery.message.topic(), &*self.authorizer);
                if must_wait(watch_of(&mut self.routes, self.generation, authorizer, topic), front) {
                    if !self.park_front(index) {
                        return;
                    }
                    continue;
                }
            }
            let qos = front.delivery.qos;
            if front.after > durable
                || qos != QoS::AtMostOnce
                    && (link.unacked >= link.window_max || !session.sending.window_open(front.seq))
            {
                return;
            }
            self.send_front(now, index);
        }
    }

    fn send_front(&mut self, now: Now, index: u32) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some(queued) = session.sending.pop() else { return };
        self.queued -= 1;
        self.queued_bytes -= queued.delivery.message.size();
        if queued.released {
            return self.release_front(index, queued.seq);
        }
        let delivery = queued.delivery;
        let (mut id, mut dup) = (0, false);
        if delivery.qos != QoS::AtMostOnce {
            id = packet_id(queued.seq);
            dup = queued.again || session.sending.was_sent(queued.seq);
            let keep = session.durable.then(|| delivery.clone());
            let slot = Slot {
                stage: Stage::Sent,
                qos: delivery.qos,
                counted: true,
                dup: false,
                delivery: keep,
                record: delivery.message.record,
            };
            session.sending.open_slot(queued.seq, slot);
            if let Some(link) = session.link.as_deref_mut() {
                link.unacked += 1;
                link.resend_at = queued.seq + 1;
            }
        }
        self.write_delivery(now, index, &delivery, id, dup);
    }

    /// The client may not have the message any more. If it has it, it gives its identifier free.
    fn release_front(&mut self, index: u32, seq: u64) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let slot = Slot {
            stage: Stage::Released,
            qos: QoS::ExactlyOnce,
            counted: false,
            dup: true,
            delivery: None,
            record: 0,
        };
        session.sending.open_slot(seq, slot);
        if let Some(link) = session.link.as_deref_mut() {
            link.resend_at = seq + 1;
        }
        let after = self.journal.seq();
        self.acknowledge(index, after, 0, AckKind::PubRel, packet_id(seq), Default::default());
    }

    /// Sends the next message of the window again after a reconnect (MQTT-4.4.0-1). False: the client's window is full.
    fn resend(&mut self, now: Now, index: u32) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let Some(link) = session.link.as_deref_mut() else { return false };
        let seq = link.resend_at.max(session.sending.first_seq());
        link.resend_at = seq;
        let Some(slot) = session.sending.slot_mut(seq) else { return false };
        match slot.stage {
            Stage::Done | Stage::Withdrawn => link.resend_at += 1,
            Stage::Released => {
                link.resend_at += 1;
                slot.counted = false;
                // That PUBREC came may not be on disk yet.
                let after = self.journal.seq();
                self.acknowledge(index, after, 0, AckKind::PubRel, packet_id(seq), Default::default());
            }
            Stage::Sent => {
                if self.hold.delays
                    && let Some(delivery) = &slot.delivery
                    && self.authorizer.watch(delivery.message.topic()).contains(Watch::DELAY)
                {
                    link.resend_at += 1;
                    let parked = self.park_slot(index, seq);
                    if let Some(link) = self.link_mut(index).filter(|_| !parked) {
                        link.resend_at = seq;
                    }
                    return parked;
                }
                if link.unacked >= link.window_max {
                    return false;
                }
                link.resend_at += 1;
                link.unacked += 1;
                slot.counted = true;
                let dup = std::mem::replace(&mut slot.dup, true);
                match slot.delivery.clone() {
                    Some(delivery) => self.write_delivery(now, index, &delivery, packet_id(seq), dup),
                    None => self.finish(index, seq),
                }
            }
        }
        true
    }

    fn write_delivery(&mut self, now: Now, index: u32, delivery: &Delivery, id: u16, dup: bool) {
        let Some(version) = self.sessions.get(index).map(|session| session.version) else { return };
        let Some(link) = self.touch(index) else { return };
        let message = &delivery.message;
        let ids = delivery.subscription_ids.as_deref().unwrap_or(&[]);
        let send =
            Send { qos: delivery.qos, retain: delivery.retain, dup, packet_id: id, subscription_ids: ids };
        let block = Some((message.block(), message.payload_at()));
        let sent = write(link, version, now, &message.parts(), send, block);
        if message.record != 0 && id == 0 && sent.is_ok() {
            self.delivered(now, index, message.record, delivery.qos, How::Written);
        }
        self.sent(index, id, sent, message.payload().len());
    }

    /// A message of the window is done with; the journal is told.
    pub(crate) fn finish(&mut self, index: u32, seq: u64) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some(slot) = session.sending.finish(seq) else { return };
        if slot.counted
            && let Some(link) = session.link.as_deref_mut()
        {
            link.unacked = link.unacked.saturating_sub(1);
        }
        // That it was withdrawn is in the journal already.
        if session.durable && slot.stage != Stage::Withdrawn {
            let uid = session.uid;
            self.journal.record(Kind::Acked, |record| {
                record.int(uid);
                record.int(seq);
            });
        }
    }
}

fn count_sent(stats: &mut Stats, bytes: usize, payload: usize) {
    stats.packets_sent += 1;
    stats.publish_sent += 1;
    stats.bytes_sent += bytes as u64;
    stats.publish_bytes_sent += payload as u64;
}

/// Writes a message that was just published. The bytes of the last receiver are used again where they fit.
fn write_direct(
    link: &mut Link,
    version: Version,
    now: Now,
    fan: &mut Fan<'_>,
    send: Send<'_>,
) -> Result<usize, NotSent> {
    let plain = send.subscription_ids.is_empty()
        && fan.parts.expires_ms.is_none()
        && link.aliases.as_ref().is_none_or(|aliases| aliases.outbound_max == 0);
    if !plain || fan.parts.payload.len() >= SHARE_FROM {
        let message = (fan.parts.payload.len() >= SHARE_FROM).then(|| fan.message());
        let block = message.as_ref().map(|message| (message.block(), message.payload_at()));
        return write(link, version, now, &fan.parts, send, block);
    }
    let template = &mut fan.template;
    let key = Some((version, send.qos, send.retain));
    if template.key != key {
        template.key = key;
        template.bytes.clear();
        encode_publish(&mut template.bytes, version, &packet(&fan.parts, send, None, fan.parts.topic, None));
        let header = 2 + template.bytes[1..4].iter().take_while(|byte| **byte & 0x80 != 0).count();
        template.packet_id_at = header + 2 + fan.parts.topic.len();
    }
    if template.bytes.len() > link.packet_bytes_max as usize {
        return Err(NotSent::TooLarge);
    }
    let out = link.out.buffer();
    let at = out.len();
    out.extend_from_slice(&template.bytes);
    if send.qos != QoS::AtMostOnce {
        out[at + template.packet_id_at..][..2].copy_from_slice(&send.packet_id.to_be_bytes());
    }
    link.traffic.messages_out += 1;
    Ok(template.bytes.len())
}

fn packet<'a>(
    parts: &Parts<'a>,
    send: Send<'a>,
    expiry_s: Option<u32>,
    topic: &'a str,
    topic_alias: Option<u16>,
) -> PublishOut<'a> {
    PublishOut {
        dup: send.dup,
        qos: send.qos,
        retain: send.retain,
        topic,
        packet_id: send.packet_id,
        topic_alias,
        expiry_s,
        subscription_ids: send.subscription_ids,
        forward: parts.forward,
        payload: parts.payload,
    }
}

/// Writes any message; a large payload is shared when it stands in a block.
fn write(
    link: &mut Link,
    version: Version,
    now: Now,
    parts: &Parts<'_>,
    send: Send<'_>,
    block: Option<(&Rc<[u8]>, usize)>,
) -> Result<usize, NotSent> {
    let expiry_s = match parts.expiry_left_s(now) {
        // MQTT-4.3.3-7: what was sent once does not expire.
        Err(_) if send.dup => Some(1),
        left => left.map_err(|_| NotSent::Expired)?,
    };
    let alias_bytes = if link.aliases.is_some() { 3 } else { 0 };
    let len = publish_len(version, &packet(parts, send, expiry_s, parts.topic, None)) + alias_bytes;
    if len > link.packet_bytes_max as usize {
        return Err(NotSent::TooLarge);
    }
    let alias = link.aliases.as_mut().and_then(|aliases| aliases.outgoing(parts.topic));
    let topic = if matches!(alias, Some((_, true))) { "" } else { parts.topic };
    let packet = packet(parts, send, expiry_s, topic, alias.map(|(alias, _)| alias));
    let before = link.out.len();
    match block {
        Some((block, payload_at)) if parts.payload.len() >= SHARE_FROM => {
            if encode_publish_head(link.out.buffer(), version, &packet) {
                link.out.push_shared(block.clone(), payload_at);
            }
        }
        _ => {
            encode_publish(link.out.buffer(), version, &packet);
        }
    }
    link.traffic.messages_out += 1;
    Ok(link.out.len() - before)
}
