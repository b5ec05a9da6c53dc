//! Who publishes how much to which topic, since the last time that somebody asked.
//!
//! A link counts what goes to its last topic beside that topic's route, so a publish to the same topic again costs two
//! additions. When another topic comes, or the flows are taken, the counts move to a table of a bounded size; what finds no
//! place there is counted together.

use crate::{Broker, Now};
use foldhash::fast::FixedState;
use hashbrown::HashTable;
use ravelin_mqtt::QoS;
use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

/// What one publisher has published to one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The publisher; empty for all that found no place of its own.
    pub client_id: Arc<str>,
    /// Its identity.
    pub identity: Option<Arc<str>>,
    /// The topic; empty for all that found no place of its own.
    pub topic: Arc<str>,
    /// Messages that were accepted.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// The messages by QoS.
    pub qos: [u64; 3],
    /// Those with RETAIN.
    pub retained: u64,
    /// Those that no subscription matched.
    pub undelivered: u64,
    /// The largest payload, in bytes.
    pub largest: u32,
    /// When the first and the last of them came, in milliseconds since the Unix epoch.
    pub first_wall_ms: u64,
    /// See `first_wall_ms`.
    pub last_wall_ms: u64,
}

/// What a client did since the last harvest beside publishing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The client.
    pub client_id: Arc<str>,
    /// Control packets of all kinds that came from it.
    pub packets: u64,
    /// PUBLISH packets that were sent to it.
    pub sent: u64,
    /// Messages that are sent to it and not acknowledged.
    pub inflight: u32,
}

/// Links that are looked at in one harvest because of what was sent to them: all of ten thousand within seconds.
const LINKS_READ: u32 = 1_000;

/// What a link has published to its last topic and not yet handed over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub qos: [u64; 3],
    pub bytes: u64,
    /// Milliseconds of the node's clock at the first and the last of them.
    pub first_ms: u64,
    pub last_ms: u64,
    pub retained: u32,
    pub undelivered: u32,
    pub largest: u32,
}

impl Counts {
    #[inline]
    pub fn count(&mut self, now_ms: u64, qos: QoS, retain: bool, bytes: usize) {
        self.qos[qos as usize] += 1;
        self.bytes += bytes as u64;
        if self.first_ms == 0 {
            self.first_ms = now_ms;
        }
        self.last_ms = now_ms;
        // A packet has less than 256 MiB.
        self.largest = self.largest.max(bytes as u32);
        if retain {
            self.retained += 1;
        }
    }

    pub fn messages(&self) -> u64 {
        self.qos.iter().sum()
    }

    fn add(&mut self, other: &Counts) {
        for (sum, part) in self.qos.iter_mut().zip(other.qos) {
            *sum += part;
        }
        self.bytes += other.bytes;
        self.first_ms = if self.first_ms == 0 { other.first_ms } else { self.first_ms.min(other.first_ms) };
        self.last_ms = self.last_ms.max(other.last_ms);
        self.retained = self.retained.saturating_add(other.retained);
        self.undelivered = self.undelivered.saturating_add(other.undelivered);
        self.largest = self.largest.max(other.largest);
    }

    fn into_flow(self, now: Now, client_id: Arc<str>, identity: Option<Arc<str>>, topic: Arc<str>) -> Flow {
        Flow {
            client_id,
            identity,
            topic,
            messages: self.messages(),
            bytes: self.bytes,
            qos: self.qos,
            retained: self.retained.into(),
            undelivered: self.undelivered.into(),
            largest: self.largest,
            first_wall_ms: now.wall_of(self.first_ms),
            last_wall_ms: now.wall_of(self.last_ms),
        }
    }
}

struct Entry {
    uid: u64,
    client_id: Arc<str>,
    identity: Option<Arc<str>>,
    topic: Rc<str>,
    counts: Counts,
}

/// The flows of a shard.
pub(crate) struct Flows {
    entries: Vec<Entry>,
    table: HashTable<u32>,
    hasher: FixedState,
    /// What found no place.
    other: Counts,
    /// The sessions whose links count something since the last harvest.
    pub counting: BTreeSet<u32>,
    /// What was harvested and not yet taken.
    harvested: VecDeque<Flow>,
    readings: Vec<Reading>,
    /// Where the next look at all links begins.
    read_from: u32,
}

impl Flows {
    pub fn new(seed: u64) -> Flows {
        Flows {
            entries: Vec::new(),
            table: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            other: Counts::default(),
            counting: BTreeSet::new(),
            harvested: VecDeque::new(),
            readings: Vec::new(),
            read_from: 0,
        }
    }

    fn add(
        &mut self,
        max: usize,
        uid: u64,
        topic: &Rc<str>,
        counts: &Counts,
        who: &ravelin_event::Principal,
    ) {
        let key = self.hasher.hash_one((uid, &**topic));
        let entries = &self.entries;
        let found = self.table.find(key, |&at| {
            let entry = &entries[at as usize];
            entry.uid == uid && (Rc::ptr_eq(&entry.topic, topic) || entry.topic == *topic)
        });
        if let Some(&at) = found {
            return self.entries[at as usize].counts.add(counts);
        }
        if self.entries.len() >= max {
            return self.other.add(counts);
        }
        let at = self.entries.len() as u32;
        self.entries.push(Entry {
            uid,
            client_id: who.client_id.clone(),
            identity: who.identity.clone(),
            topic: topic.clone(),
            counts: *counts,
        });
        let (entries, hasher) = (&self.entries, &self.hasher);
        let hash = |&at: &u32| hasher.hash_one((entries[at as usize].uid, &*entries[at as usize].topic));
        self.table.insert_unique(key, at, hash);
    }

    fn harvest(&mut self, now: Now) {
        self.table.clear();
        let flows = std::mem::take(&mut self.entries).into_iter();
        self.harvested.extend(flows.map(|entry| {
            entry.counts.into_flow(now, entry.client_id, entry.identity, Arc::from(&*entry.topic))
        }));
        let other = std::mem::take(&mut self.other);
        if other.messages() > 0 {
            self.harvested.push_back(other.into_flow(now, Arc::from(""), None, Arc::from("")));
        }
    }
}

impl Broker {
    /// Whether a client did something since the last harvest, or some of that waits to be taken.
    pub fn has_flows(&self) -> bool {
        !self.flows.counting.is_empty() || !self.flows.entries.is_empty() || !self.flows.harvested.is_empty()
    }

    /// What clients have published since the last call, at most `max` rows; what is left over comes with the next call,
    /// before anything newer. At most [`crate::Limits::flows_max`] publishers and topics are told apart between two
    /// harvests; the others are one row without a name.
    pub fn take_flows(&mut self, now: Now, max: usize) -> Vec<Flow> {
        if self.flows.harvested.is_empty() {
            for index in std::mem::take(&mut self.flows.counting) {
                self.hand_over_flow(index);
                self.read_link(index);
                if let Some(link) = self.link_mut(index) {
                    link.counting = false;
                }
            }
            self.read_links();
            self.flows.harvested = VecDeque::new();
            self.flows.harvest(now);
        }
        let most = max.min(self.flows.harvested.len());
        self.flows.harvested.drain(..most).collect()
    }

    /// What the harvest that [`Broker::take_flows`] made last has read of clients beside their flows. Who sends
    /// something is read each time; who only receives, within some harvests.
    pub fn take_readings(&mut self) -> Vec<Reading> {
        std::mem::take(&mut self.flows.readings)
    }

    /// Looks at the next links in turn.
    fn read_links(&mut self) {
        let slots = self.sessions.slots();
        let from = if self.flows.read_from >= slots { 0 } else { self.flows.read_from };
        let end = from.saturating_add(LINKS_READ).min(slots);
        for index in from..end {
            self.read_link(index);
        }
        self.flows.read_from = end;
    }

    fn read_link(&mut self, index: u32) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some(link) = session.link.as_deref_mut() else { return };
        let packets = link.traffic.packets_in - link.told.packets_in;
        let sent = link.traffic.messages_out - link.told.messages_out;
        if packets == 0 && sent == 0 {
            return;
        }
        link.told = link.traffic;
        let client_id = session.who.client_id.clone();
        self.flows.readings.push(Reading { client_id, packets, sent, inflight: link.unacked.into() });
    }

    /// A link has something to be read at the next harvest.
    #[inline]
    pub(crate) fn count_packet(&mut self, now: Now, index: u32) {
        let Some(link) = self.link_mut(index) else { return };
        link.last_heard_ms = now.mono_ms;
        link.traffic.packets_in += 1;
        if !link.counting {
            link.counting = true;
            self.flows.counting.insert(index);
        }
    }

    /// The last publish of a link found nobody.
    #[cold]
    pub(crate) fn count_undelivered(&mut self, index: u32) {
        self.stats.publish_undeliverable += 1;
        if let Some(memo) = self.link_mut(index).and_then(|link| link.memo.as_mut()) {
            memo.counts.undelivered = memo.counts.undelivered.saturating_add(1);
        }
    }

    /// The link's counts go to the table: its next publish goes elsewhere, or somebody asks, or it ends.
    pub(crate) fn hand_over_flow(&mut self, index: u32) {
        let max = self.limits.flows_max;
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some(link) = session.link.as_deref_mut() else { return };
        let Some(memo) = &mut link.memo else { return };
        let counts = std::mem::take(&mut memo.counts);
        let messages = counts.messages();
        if messages == 0 {
            return;
        }
        link.traffic.messages_in += messages;
        link.traffic.bytes_in += counts.bytes;
        if max > 0 {
            self.flows.add(max, session.uid, &memo.route.topic, &counts, &session.who);
        }
    }
}
