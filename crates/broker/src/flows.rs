//! Who publishes how much to which topic, since the last time that somebody asked.
//!
//! A link counts what goes to its last topic beside that topic's route, so a publish to the same topic again costs two
//! additions. When another topic comes, or the flows are taken, the counts move to a table of a bounded size; what finds no
//! place there is counted together.

use crate::Broker;
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

/// What a link has published to its last topic and not yet handed over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub qos: [u64; 3],
    pub bytes: u64,
    pub retained: u64,
}

impl Counts {
    #[inline]
    pub fn count(&mut self, qos: QoS, retain: bool, bytes: usize) {
        self.qos[qos as usize] += 1;
        self.bytes += bytes as u64;
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
        self.retained += other.retained;
    }

    fn into_flow(self, client_id: Arc<str>, identity: Option<Arc<str>>, topic: Arc<str>) -> Flow {
        let Counts { qos, bytes, retained } = self;
        Flow {
            client_id,
            identity,
            topic,
            messages: self.messages(),
            bytes,
            qos,
            retained,
            undelivered: 0,
            largest: 0,
            first_wall_ms: 0,
            last_wall_ms: 0,
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

    fn harvest(&mut self) {
        self.table.clear();
        let flows = std::mem::take(&mut self.entries).into_iter();
        self.harvested.extend(
            flows.map(|entry| {
                entry.counts.into_flow(entry.client_id, entry.identity, Arc::from(&*entry.topic))
            }),
        );
        let other = std::mem::take(&mut self.other);
        if other.messages() > 0 {
            self.harvested.push_back(other.into_flow(Arc::from(""), None, Arc::from("")));
        }
    }
}

impl Broker {
    /// What clients have published since the last call, at most `max` rows; what is left over comes with the next call,
    /// before anything newer. At most [`crate::Limits::flows_max`] publishers and topics are told apart between two
    /// harvests; the others are one row without a name.
    pub fn take_flows(&mut self, max: usize) -> Vec<Flow> {
        if self.flows.harvested.is_empty() {
            for index in std::mem::take(&mut self.flows.counting) {
                self.hand_over_flow(index);
                if let Some(link) = self.link_mut(index) {
                    link.counting = false;
                }
            }
            self.flows.harvested = VecDeque::new();
            self.flows.harvest();
        }
        let most = max.min(self.flows.harvested.len());
        self.flows.harvested.drain(..most).collect()
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
