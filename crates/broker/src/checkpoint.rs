//! Writing the whole state again, a little at a time, so that old records can be dropped.

use crate::journal::{Kind, Writer};
use crate::message::{Message, Parts};
use crate::sending::{Delivery, Queued, Stage};
use crate::session::{Session, StoredWill};
use crate::{Broker, Now};
use ravelin_mqtt::QoS;
use std::rc::Rc;

/// How far a checkpoint has come.
pub(crate) struct Progress {
    taken: bool,
    session: u32,
    /// Retained messages set after this stamp are written by every shard: the record of the one that set them may not be on
    /// disk when the older message's record is cut off.
    since: u64,
    retained: u32,
}

impl Broker {
    /// Starts writing the whole state. What changes meanwhile is journaled as always.
    pub fn checkpoint_begin(&mut self) {
        self.epoch += 1;
        self.checkpoint = Some(Progress { taken: false, session: 0, since: self.retain_stamp, retained: 0 });
    }

    /// Writes more of the state, about `budget_bytes` of it. True when all was written.
    pub fn checkpoint_step(&mut self, now: Now, budget_bytes: usize) -> bool {
        let Some(mut progress) = self.checkpoint.take() else { return true };
        let until = self.journal.len() + budget_bytes;
        if !std::mem::replace(&mut progress.taken, true) {
            self.journal_taken();
            self.journal_cleared(now);
            for published in self.wills.values().cloned().collect::<Vec<_>>() {
                self.journal_published_will(now, &published);
            }
        }
        while progress.session < self.sessions.slots() {
            if self.journal.len() >= until {
                self.checkpoint = Some(progress);
                return false;
            }
            if self.sessions.get(progress.session).is_some_and(|session| session.journaled) {
                self.journal_session(now, progress.session);
            }
            progress.session += 1;
        }
        while progress.retained < self.retained.slots() {
            if self.journal.len() >= until {
                self.checkpoint = Some(progress);
                return false;
            }
            self.journal_retained(now, progress.retained, progress.since);
            progress.retained += 1;
        }
        true
    }

    /// Few, so they are written at once.
    fn journal_taken(&mut self) {
        let (shard, shards) = (self.shard, self.shards);
        for (origin, scope, part) in self.taken.iter().filter(|(.., part)| part.journaled) {
            self.journal.record(Kind::Taken, |record| {
                record.int(shard as u64);
                record.int(shards as u64);
                record.int(origin.0);
                record.int(origin.1 as u64);
                record.int(scope);
                record.members(&part.members);
            });
        }
    }

    /// A sister shard that has not heard yet that a topic was cleared may write its message once more: it must stay out.
    fn journal_cleared(&mut self, now: Now) {
        for (topic, stamp) in self.retained.cleared() {
            if (stamp & 63) % self.shards as u64 != self.shard as u64 || is_of_the_node(&topic) {
                continue;
            }
            let parts = Parts {
                topic: &topic,
                forward: &[],
                payload: &[],
                qos: QoS::AtMostOnce,
                retain: true,
                expires_ms: None,
                record: 0,
            };
            self.journal.record(Kind::Retained, |record| {
                record.int(stamp);
                record.parts(now, parts);
            });
        }
    }

    /// Every shard writes the retained messages that it set, and those that were set lately.
    fn journal_retained(&mut self, now: Now, slot: u32, since: u64) {
        let Some((stamp, message)) = self.retained.slot(slot) else { return };
        let own = (stamp & 63) % self.shards as u64 == self.shard as u64;
        if !own && stamp <= since || is_of_the_node(message.topic()) {
            return;
        }
        let message = message.clone();
        self.journal.record(Kind::Retained, |record| {
            record.int(stamp);
            record.parts(now, message.parts());
            record.author(message.author.as_ref().map(|author| &author.who));
        });
    }

    /// Writes the whole state of a session.
    pub(crate) fn journal_session(&mut self, now: Now, index: u32) {
        let mut bodies = Vec::new();
        let Some(session) = self.sessions.get(index) else { return };
        for message in messages(session, self.hold.parked(index)) {
            if message.id.get() == 0 {
                bodies.push(message.clone());
            }
        }
        for message in bodies {
            message.id.set(self.next_message_id());
        }
        let epoch = self.epoch;
        let Some(session) = self.sessions.get(index) else { return };
        let (trie, shards, parked) = (&self.trie, self.shards, self.hold.parked(index));
        self.journal.record(Kind::Session, |record| {
            write_head(record, now, shards, session);
            let nodes = session.subscriptions.nodes();
            record.int((nodes.len() + session.shares.len()) as u64);
            for node in nodes {
                let Some(position) = session.subscriptions.get(node) else { continue };
                let entry = trie.entry(node, position);
                record.text(&trie.filter(node));
                record.options(ravelin_mqtt::SubscribeOptions {
                    qos: QoS::from_u8(entry.qos).unwrap_or_default(),
                    no_local: entry.no_local,
                    retain_as_published: entry.retain_as_published,
                    retain_handling: Default::default(),
                });
                record.int(entry.subscription_id as u64);
            }
            for share in &session.shares {
                record.text(&share.filter);
                record.options(share.options);
                record.int(share.subscription_id as u64);
            }
            write_messages(record, now, session, parked, epoch);
        });
    }
}

fn messages<'a>(session: &'a Session, parked: &'a [Queued]) -> impl Iterator<Item = &'a Rc<Message>> {
    let window = session.sending.window.iter().filter_map(|slot| slot.delivery.as_ref());
    let queue =
        session.sending.queue.iter().chain(parked).filter(|queued| queued.seq != 0 && !queued.released);
    let queue = queue.map(|queued| &queued.delivery);
    window.chain(queue).map(|delivery| &delivery.message)
}

fn write_head(record: &mut Writer<'_>, now: Now, shards: u16, session: &Session) {
    record.int(session.uid);
    record.principal(&session.who);
    record.u8(session.version as u8);
    record.int(session.expiry_s as u64);
    record.u8(session.link.is_some() as u8);
    record.optional_int(session.expires_ms.map(|at| now.wall_of(at)));
    write_will(record, now, session.will.as_deref());
    record.int(session.received.len() as u64);
    for &id in &session.received {
        // Other shards, of this process or an earlier one with more of them, may not have the message.
        let unsure = shards > 1 || session.received_unsure.contains(&id);
        record.int((id as u64) << 1 | unsure as u64);
    }
}

/// A will, or that there is none.
pub(crate) fn write_will(record: &mut Writer<'_>, now: Now, will: Option<&StoredWill>) {
    record.u8(will.is_some() as u8);
    if let Some(will) = will {
        record.int(will.name);
        record.optional_int(will.expiry_s.map(u64::from));
        record.int(will.delay_s as u64);
        record.optional_int(will.due_ms.map(|at| now.wall_of(at)));
        record.parts(now, will.message.parts());
    }
}

fn write_messages(record: &mut Writer<'_>, now: Now, session: &Session, parked: &[Queued], epoch: u32) {
    let sending = &session.sending;
    record.int(sending.last_seq());
    // Nothing after this one was ever sent.
    record.int(sending.last_sent());
    let window = sending
        .window
        .iter()
        .enumerate()
        .map(|(i, slot)| (sending.first_seq() + i as u64, slot.stage, slot.qos, slot.delivery.as_ref()));
    // What waits because it is frozen is what waits.
    let queue = sending.queue.iter().chain(parked).filter(|queued| queued.seq != 0);
    let stage = |released| if released { Stage::Released } else { Stage::Sent };
    let queue =
        queue.map(|queued| (queued.seq, stage(queued.released), queued.delivery.qos, Some(&queued.delivery)));
    // A session that is journaled for its will only does not keep what it sent.
    let kept = |&(_, stage, ..): &(u64, Stage, _, _)| {
        session.durable && !matches!(stage, Stage::Withdrawn | Stage::Done)
    };
    let all: Vec<_> = window.chain(queue).filter(kept).collect();
    record.int(all.len() as u64);
    for (seq, stage, qos, delivery) in all {
        record.int(seq);
        let retain = delivery.is_some_and(|delivery| delivery.retain);
        let released = stage == Stage::Released;
        record.u8(qos as u8 | (retain as u8) << 2 | (released as u8) << 3);
        if !released {
            write_delivery(record, now, delivery, epoch);
        }
    }
}

fn write_delivery(record: &mut Writer<'_>, now: Now, delivery: Option<&Delivery>, epoch: u32) {
    let Some(delivery) = delivery else {
        debug_assert!(false, "a durable session keeps what it sent");
        record.ids(None);
        record.int(0);
        record.u8(0);
        return;
    };
    record.ids(delivery.subscription_ids.as_deref());
    record.int(delivery.message.id.get());
    // A body that this checkpoint has written already is only named.
    let known = delivery.message.epoch.replace(epoch) == epoch;
    record.u8(!known as u8);
    if !known {
        record.parts(now, delivery.message.parts());
    }
}

/// What the node says of itself is said again after a restart.
fn is_of_the_node(topic: &str) -> bool {
    topic.starts_with("$SYS/") || topic.starts_with("$MONITOR/")
}
