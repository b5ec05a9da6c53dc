//! Reading the journal back after a start.
//!
//! Every shard is given every record, and keeps what belongs to its own sessions: the number of shards may have changed.
//! The records are first gathered into a plain model, which [`Broker::finish_restore`] turns into live sessions.

use crate::deliver::RemoteMember;
use crate::journal::{Kind, Reader};
use crate::message::Message;
use crate::sending::{Delivery, Queued, Slot, Stage};
use crate::session::{Session, StoredWill, Subscriptions};
use crate::taken::{Origin, Part};
use crate::timers::{Timer, TimerKind};
use crate::wills::Published;
use crate::{Broker, Now, RestoreSummary, home_shard};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use ravelin_event::Principal;
use ravelin_mqtt::{QoS, SubscribeOptions, Version};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A record that cannot be understood. It is authentic, so another version of Ravelin wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreError(pub(crate) &'static str);

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a journal record cannot be understood: {}", self.0)
    }
}

impl std::error::Error for RestoreError {}

type Read<T> = Result<T, RestoreError>;

/// The model that records are gathered in.
#[derive(Default)]
pub(crate) struct Restoring {
    sessions: BTreeMap<u64, Restored>,
    bodies: HashMap<u64, Rc<Message>, FixedState>,
    /// QoS 2 messages taken while there were several shards, of which one may have it on disk and another not.
    spread: HashSet<Origin, FixedState>,
    /// The sessions of all shards, and the names of their wills; 0 where there is none.
    alive: HashMap<u64, u64, FixedState>,
    /// Wills of all shards that were published and may not have come everywhere, by name.
    wills: BTreeMap<u64, Published>,
}

struct Restored {
    who: Principal,
    version: Version,
    expiry_s: u32,
    connected: bool,
    expires_wall_ms: Option<u64>,
    will: Option<StoredWill>,
    received: Vec<u16>,
    subscriptions: BTreeMap<Box<str>, (SubscribeOptions, u32)>,
    last_seq: u64,
    /// Messages up to here may have been sent.
    sent: u64,
    messages: BTreeMap<u64, RestoredMessage>,
}

/// A sequence number of a session's messages. No session lives to see the limit.
fn read_seq(reader: &mut Reader<'_>) -> Read<u64> {
    let seq = reader.int()?;
    if seq == 0 || seq > SEQ_MAX {
        return Err(RestoreError("a sequence number is out of range"));
    }
    Ok(seq)
}

const SEQ_MAX: u64 = 1 << 56;

/// The QoS of a message that is kept for a session, which is not 0, and the flags beside it.
fn read_kept_qos(reader: &mut Reader<'_>) -> Read<(QoS, u8)> {
    let (qos, flags) = reader.qos()?;
    if qos == QoS::AtMostOnce {
        return Err(RestoreError("a message of QoS 0 is kept"));
    }
    Ok((qos, flags))
}

struct RestoredMessage {
    qos: QoS,
    released: bool,
    delivery: Option<Delivery>,
}

impl Broker {
    /// Takes one journal record, in the journal's order, before anything else happens.
    pub fn restore(&mut self, now: Now, record: &[u8]) -> Result<(), RestoreError> {
        let Some(mut restoring) = self.restoring.take() else {
            return Err(RestoreError("it came after the restoring had ended"));
        };
        let result = self.restore_record(now, record, &mut restoring);
        self.restoring = Some(restoring);
        result
    }

    fn restore_record(&mut self, now: Now, record: &[u8], restoring: &mut Restoring) -> Read<()> {
        let mut reader = Reader(record);
        let kind = Kind::from_u8(reader.u8()?).ok_or(RestoreError("its kind is unknown"))?;
        match kind {
            Kind::Session => self.restore_session(now, &mut reader, restoring)?,
            Kind::Published => self.restore_published(now, &mut reader, restoring)?,
            Kind::Retained => {
                let stamp = reader.int()?;
                let parts = reader.parts(now)?;
                let author = reader.author()?;
                self.retain(parts, stamp, author.as_ref());
            }
            Kind::Released => self.restore_released(&mut reader, restoring)?,
            Kind::Taken => {
                let (shard, shards) = (reader.int()?, reader.int()?);
                let (origin, scope) = ((reader.int()?, reader.int()? as u16), reader.int()?);
                self.restore_taken(shard, shards, origin, scope, reader.members()?);
            }
            Kind::WillPublished => {
                let published = Published::read(now, &mut reader)?;
                restoring.will_published(published);
            }
            Kind::SessionEnded => {
                let uid = reader.int()?;
                restoring.sessions.remove(&uid);
                restoring.alive.remove(&uid);
                self.taken.forget(uid);
            }
            _ => {
                let uid = reader.int()?;
                if let Some(session) = restoring.sessions.get_mut(&uid) {
                    session.apply(now, kind, &mut reader)?;
                    restoring.alive.insert(uid, session.will_name());
                } else {
                    restoring.note_will(now, uid, kind, &mut reader)?;
                }
            }
        }
        Ok(())
    }

    fn restore_session(&mut self, now: Now, reader: &mut Reader<'_>, restoring: &mut Restoring) -> Read<()> {
        let uid = reader.int()?;
        self.last_uid = self.last_uid.max(uid);
        let session = Restored::read(now, reader, uid, restoring, &mut self.last_message_id)?;
        restoring.alive.insert(uid, session.will_name());
        if home_shard(&session.who.client_id, self.shards) == self.shard {
            restoring.sessions.insert(uid, session);
        }
        Ok(())
    }

    fn restore_published(
        &mut self,
        now: Now,
        reader: &mut Reader<'_>,
        restoring: &mut Restoring,
    ) -> Read<()> {
        let id = reader.int()?;
        self.last_message_id = self.last_message_id.max(id);
        let (shard, shards) = (reader.int()?, reader.int()?);
        let origin = (reader.int()?, reader.int()? as u16);
        let (scope, members) = (reader.int()?, reader.members()?);
        let stamp = reader.optional_int()?;
        let parts = reader.parts(now)?;
        if origin.0 != 0 {
            self.restore_taken(shard, shards, origin, scope, members);
            match shards {
                1 => restoring.spread.remove(&origin),
                _ => restoring.spread.insert(origin),
            };
            if let Some(publisher) = restoring.sessions.get_mut(&origin.0)
                && !publisher.received.contains(&origin.1)
            {
                publisher.received.push(origin.1);
            }
        }
        let mut message = None;
        for _ in 0..reader.int()? {
            let (uid, seq) = (reader.int()?, read_seq(reader)?);
            let (qos, flags) = read_kept_qos(reader)?;
            let subscription_ids = reader.ids()?;
            let Some(session) = restoring.sessions.get_mut(&uid) else { continue };
            let message = message
                .get_or_insert_with(|| {
                    let message = parts.to_message();
                    message.id.set(id);
                    Rc::new(message)
                })
                .clone();
            let delivery = Delivery { message, qos, retain: flags & 1 != 0, subscription_ids };
            session.last_seq = session.last_seq.max(seq);
            let message = RestoredMessage { qos, released: false, delivery: Some(delivery) };
            session.messages.insert(seq, message);
        }
        if let Some(stamp) = stamp {
            let author = reader.author()?;
            self.retain(parts, stamp, author.as_ref());
        }
        Ok(())
    }

    fn restore_taken(
        &mut self,
        shard: u64,
        shards: u64,
        origin: Origin,
        scope: u64,
        members: Vec<RemoteMember>,
    ) {
        // Their sessions may be unknown by now, or never were journaled; no other one may get their names.
        let names = members.iter().map(|member| member.uid);
        self.last_uid = names.chain([origin.0]).fold(self.last_uid, u64::max);
        // With another number of shards it is not known which of them did what.
        if shard == self.shard as u64 && shards == self.shards as u64 {
            let sisters = self.all_sisters();
            let members = members
                .into_iter()
                .filter(|member| sisters.checked_shr(member.shard as u32).is_some_and(|bits| bits & 1 != 0))
                .collect();
            self.taken.insert(origin, scope, Part { journaled: true, members });
        }
    }

    fn restore_released(&mut self, reader: &mut Reader<'_>, restoring: &mut Restoring) -> Read<()> {
        let _shard = reader.int()?;
        let origin = (reader.int()?, reader.int()? as u16);
        // Whichever shard wrote it: the publisher has released the message, and it does not use the identifier again before
        // all have written it. With fewer shards in between, some never did.
        self.taken.release(origin);
        restoring.wills.remove(&origin.0);
        if let Some(publisher) = restoring.sessions.get_mut(&origin.0) {
            publisher.received.retain(|id| *id != origin.1);
        }
        restoring.spread.remove(&origin);
        Ok(())
    }

    /// All records were given: the sessions come to life, without connections. Wills of clients that were connected are
    /// due, as after any other network failure.
    pub fn finish_restore(&mut self, now: Now) -> RestoreSummary {
        let mut summary = RestoreSummary { retained: self.retained.count() as u64, ..Default::default() };
        let Some(restoring) = self.restoring.take() else { return summary };
        // A record of this shard may stand behind the one that ended the publisher's session on another.
        let names = restoring.alive.values().chain(restoring.wills.keys()).copied();
        let names: HashSet<u64, FixedState> = names.collect();
        self.taken.retain(|uid| restoring.alive.contains_key(&uid) || names.contains(&uid));
        self.last_uid = names.into_iter().fold(self.last_uid, u64::max);
        for published in restoring.wills.into_values() {
            if home_shard(&published.who.client_id, self.shards) == self.shard {
                // Not before the sister shards know each other's filters.
                let (at_ms, kind) = (now.mono_ms, TimerKind::WillDelay);
                self.timers.push(Timer { at_ms, key: u32::MAX, generation: 0, kind });
                self.unfinished.push(published);
            }
        }
        for (uid, restored) in restoring.sessions {
            if self.sessions.find(&restored.who.client_id).is_some() {
                continue;
            }
            summary.sessions += 1;
            summary.queued += restored.messages.len() as u64;
            let unsure = |id: &&u16| self.shards > 1 || restoring.spread.contains(&(uid, **id));
            let unsure = restored.received.iter().filter(unsure).copied().collect();
            self.revive(now, uid, restored, unsure);
        }
        summary
    }

    fn revive(&mut self, now: Now, uid: u64, restored: Restored, unsure: Vec<u16>) {
        let expiry_ms = restored.expiry_s as u64 * 1000;
        let expires_ms = match restored.expires_wall_ms {
            Some(wall_ms) => now.mono_of(wall_ms),
            None => now.mono_ms + expiry_ms,
        };
        let mut will = restored.will;
        if restored.connected
            && let Some(will) = &mut will
        {
            will.due_ms = Some(now.mono_ms + (will.delay_s as u64 * 1000).min(expiry_ms));
        }
        let due_ms = will.as_ref().and_then(|will| will.due_ms);
        let index = self.sessions.insert(Session {
            uid,
            who: restored.who,
            version: restored.version,
            expiry_s: restored.expiry_s,
            durable: restored.expiry_s > 0,
            named: true,
            journaled: true,
            link: None,
            subscriptions: Subscriptions::default(),
            shares: Vec::new(),
            extra_weight: 0,
            sending: Default::default(),
            received: restored.received,
            received_unsure: unsure,
            will: will.map(Box::new),
            expires_ms: Some(expires_ms),
            dropped: 0,
        });
        self.sessions.index_uid(index);
        for (filter, (options, id)) in restored.subscriptions {
            if filter.starts_with("$share/") {
                // The limit on groups held when it was made.
                self.share(index, &filter, options, id, false);
            } else {
                self.place(index, &filter, options, id);
            }
        }
        self.requeue(index, restored.messages, restored.last_seq, restored.connected, restored.sent);
        if restored.connected && restored.expiry_s > 0 {
            // Delays run from this start on, also if the process dies again before they have passed.
            self.journal_disconnected(now, index);
        }
        let generation = self.sessions.generation(index);
        self.timers.push(Timer { at_ms: expires_ms, key: index, generation, kind: TimerKind::SessionExpiry });
        if let Some(at_ms) = due_ms {
            self.timers.push(Timer { at_ms, key: index, generation, kind: TimerKind::WillDelay });
        }
    }

    /// Messages that were sent go into the window; the others wait in the queue. Whatever may have been sent has DUP set.
    fn requeue(
        &mut self,
        index: u32,
        messages: BTreeMap<u64, RestoredMessage>,
        last_seq: u64,
        connected: bool,
        sent: u64,
    ) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let sending = &mut session.sending;
        let base = messages.keys().next().map_or(last_seq, |first| first - 1);
        sending.continue_after(base);
        let (mut queued, mut bytes) = (0, 0);
        // What a connected client had been sent is not known: acknowledgements that had not reached the disk made room for
        // more than the window holds. All of it may have been, which is what DUP says (section 3.3.1.1).
        sending.may_have_sent(if connected { last_seq } else { sent });
        let answered = messages.iter().rev().find(|(_, message)| message.released).map_or(0, |(seq, _)| *seq);
        let window_end = sent.min(base + self.limits.inflight_max as u64).max(answered);
        for (seq, message) in messages {
            if seq > window_end || !sending.window_open(seq) {
                let Some(delivery) = message.delivery else { continue };
                queued += 1;
                bytes += delivery.message.size();
                sending.push(Queued { delivery, seq, after: 0, released: false, again: false });
            } else {
                let stage = if message.released { Stage::Released } else { Stage::Sent };
                let record = message.delivery.as_ref().map_or(0, |delivery| delivery.message.record);
                let delivery = message.delivery;
                let slot = Slot { stage, qos: message.qos, counted: false, dup: true, delivery, record };
                sending.open_slot(seq, slot);
            }
        }
        sending.continue_after(last_seq);
        self.queued += queued;
        self.queued_bytes += bytes;
    }
}

impl Restoring {
    fn will_published(&mut self, published: Published) {
        // The record that the session has no will any more may be lost.
        if let Some(session) = self.sessions.get_mut(&published.uid)
            && session.will_name() == published.will.name
        {
            session.will = None;
        }
        self.wills.insert(published.will.name, published);
    }

    /// What a record says about the will of a session of another shard.
    fn note_will(&mut self, now: Now, uid: u64, kind: Kind, reader: &mut Reader<'_>) -> Read<()> {
        let Some(name) = self.alive.get_mut(&uid) else { return Ok(()) };
        match kind {
            Kind::Connected => {
                read_version(reader)?;
                reader.int()?;
                *name = read_will(now, reader)?.map_or(0, |will| will.name);
            }
            Kind::WillGone => *name = 0,
            _ => {}
        }
        Ok(())
    }
}

impl Restored {
    fn will_name(&self) -> u64 {
        self.will.as_ref().map_or(0, |will| will.name)
    }

    fn read(
        now: Now,
        reader: &mut Reader<'_>,
        uid: u64,
        restoring: &mut Restoring,
        last_message_id: &mut u64,
    ) -> Read<Restored> {
        let who = reader.principal()?;
        let version = read_version(reader)?;
        let expiry_s = reader.int()? as u32;
        let connected = reader.u8()? != 0;
        let expires_wall_ms = reader.optional_int()?;
        let will = read_will(now, reader)?;
        let mut received = Vec::new();
        for _ in 0..reader.int()? {
            let (id, unsure) = reader.int().map(|int| ((int >> 1) as u16, int & 1 != 0))?;
            if received.contains(&id) {
                return Err(RestoreError("an identifier is received twice"));
            }
            received.push(id);
            match unsure {
                true => restoring.spread.insert((uid, id)),
                false => restoring.spread.remove(&(uid, id)),
            };
        }
        let mut subscriptions = BTreeMap::new();
        for _ in 0..reader.int()? {
            let (filter, options, id) = (reader.text()?, reader.options()?, reader.id()?);
            subscriptions.insert(filter.into(), (options, id));
        }
        let (last_seq, sent) = (reader.int()?.min(SEQ_MAX), reader.int()?);
        let mut messages = BTreeMap::new();
        for _ in 0..reader.int()? {
            let seq = read_seq(reader)?;
            let (qos, flags) = read_kept_qos(reader)?;
            let released = flags & 2 != 0;
            let delivery = match released {
                true => None,
                false => Some(read_delivery(now, reader, qos, flags & 1 != 0, restoring, last_message_id)?),
            };
            messages.insert(seq, RestoredMessage { qos, released, delivery });
        }
        Ok(Restored {
            who,
            version,
            expiry_s,
            connected,
            expires_wall_ms,
            will,
            received,
            subscriptions,
            last_seq,
            sent,
            messages,
        })
    }

    fn apply(&mut self, now: Now, kind: Kind, reader: &mut Reader<'_>) -> Read<()> {
        match kind {
            Kind::Subscribed => {
                let (filter, options, id) = (reader.text()?, reader.options()?, reader.id()?);
                self.subscriptions.insert(filter.into(), (options, id));
            }
            Kind::Unsubscribed => {
                self.subscriptions.remove(reader.text()?);
            }
            Kind::Acked => {
                let seq = read_seq(reader)?;
                self.messages.remove(&seq);
                self.last_seq = self.last_seq.max(seq);
                self.sent = self.sent.max(seq);
            }
            Kind::Received => {
                let seq = read_seq(reader)?;
                self.sent = self.sent.max(seq);
                let message = RestoredMessage { qos: QoS::ExactlyOnce, released: true, delivery: None };
                if self.messages.contains_key(&seq) {
                    self.messages.insert(seq, message);
                }
            }
            Kind::Connected => {
                self.version = read_version(reader)?;
                self.expiry_s = reader.int()? as u32;
                self.will = read_will(now, reader)?;
                self.connected = true;
                self.expires_wall_ms = None;
            }
            Kind::Disconnected => {
                let wall_ms = reader.int()?;
                self.expiry_s = reader.int()? as u32;
                self.connected = false;
                self.expires_wall_ms = Some(wall_ms.saturating_add(self.expiry_s as u64 * 1000));
                match (reader.u8()? != 0, &mut self.will) {
                    (true, Some(will)) => {
                        let delay_ms = will.delay_s.min(self.expiry_s) as u64 * 1000;
                        will.due_ms = Some(now.mono_of(wall_ms.saturating_add(delay_ms)));
                    }
                    _ => self.will = None,
                }
                self.sent = self.sent.max(reader.int()?);
            }
            Kind::WillGone => self.will = None,
            _ => return Err(RestoreError("its kind does not belong to a session")),
        }
        Ok(())
    }
}

fn read_version(reader: &mut Reader<'_>) -> Read<Version> {
    match reader.u8()? {
        0 => Ok(Version::V311),
        1 => Ok(Version::V5),
        _ => Err(RestoreError("a protocol version is unknown")),
    }
}

pub(crate) fn read_will(now: Now, reader: &mut Reader<'_>) -> Read<Option<StoredWill>> {
    if reader.u8()? == 0 {
        return Ok(None);
    }
    Ok(Some(StoredWill {
        name: reader.int()?,
        restored: true,
        expiry_s: reader.optional_int()?.map(|s| s as u32),
        delay_s: reader.int()? as u32,
        due_ms: reader.optional_int()?.map(|wall_ms| now.mono_of(wall_ms)),
        message: Rc::new(reader.message(now)?),
    }))
}

fn read_delivery(
    now: Now,
    reader: &mut Reader<'_>,
    qos: QoS,
    retain: bool,
    restoring: &mut Restoring,
    last_message_id: &mut u64,
) -> Read<Delivery> {
    let subscription_ids = reader.ids()?;
    let id = reader.int()?;
    *last_message_id = (*last_message_id).max(id);
    let message = if reader.u8()? != 0 {
        let message = reader.message(now)?;
        message.id.set(id);
        let message = Rc::new(message);
        restoring.bodies.insert(id, message.clone());
        message
    } else {
        restoring.bodies.get(&id).cloned().ok_or(RestoreError("a message body is missing"))?
    };
    Ok(Delivery { message, qos, retain, subscription_ids })
}
