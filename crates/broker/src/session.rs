//! A session: what is kept of a client between its connections.

use crate::link::Link;
use crate::message::Message;
use crate::sending::Sending;
use crate::trie::NodeId;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use ravelin_event::Principal;
use ravelin_mqtt::{SubscribeOptions, Version};
use smallvec::SmallVec;
use std::hash::BuildHasher;
use std::rc::Rc;

/// A session of this shard.
pub(crate) struct Session {
    /// Its name in the journal and among shards; never used again.
    pub uid: u64,
    pub who: Principal,
    pub version: Version,
    /// Granted Session Expiry Interval; `u32::MAX` never expires.
    pub expiry_s: u32,
    /// Its state is journaled: it outlives its connection.
    pub durable: bool,
    /// Its QoS 2 messages have names, so that no shard takes one twice: it is durable, or was on an earlier connection.
    pub named: bool,
    /// The journal knows of it (durable, or it has a will).
    pub journaled: bool,
    pub link: Option<Box<Link>>,
    pub subscriptions: Subscriptions,
    pub shares: Vec<Share>,
    /// What deep and long filters weigh beyond one subscription each.
    pub extra_weight: u32,
    pub sending: Sending,
    /// Packet Identifiers of QoS 2 messages received and not yet released.
    pub received: Vec<u16>,
    /// Those of them that were restored: sister shards may not have the message.
    pub received_unsure: Vec<u16>,
    pub will: Option<Box<StoredWill>>,
    /// When the session ends, while it has no connection.
    pub expires_ms: Option<u64>,
    /// Messages dropped since the last event about it.
    pub dropped: u64,
}

/// A will, and when it is due once the connection is gone.
pub(crate) struct StoredWill {
    /// What names it among shards and in the journal while it is published, as a uid does.
    pub name: u64,
    /// An earlier process may have published it, and sister shards may know its name.
    pub restored: bool,
    pub message: Rc<Message>,
    /// Message Expiry Interval: counts from when the will is published.
    pub expiry_s: Option<u32>,
    pub delay_s: u32,
    pub due_ms: Option<u64>,
}

/// A shared subscription of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// `$share/group/filter`.
    pub filter: Box<str>,
    pub options: SubscribeOptions,
    pub subscription_id: u32,
}

/// What a filter weighs beyond one subscription: 1 for every 16 levels, each of which may need a node, or for every 256
/// bytes. Nothing for an ordinary filter.
pub(crate) fn extra_weight(filter: &str) -> u32 {
    if filter.len() < 16 {
        return 0;
    }
    let levels = filter.bytes().filter(|byte| *byte == b'/').count();
    (levels / 16).max(filter.len() / 256) as u32
}

/// The places in the trie where a session has subscribed. Few for most, tens of thousands for some.
pub(crate) enum Subscriptions {
    Few(SmallVec<[(NodeId, u32); 2]>),
    Many(HashMap<NodeId, u32, FixedState>),
}

impl Default for Subscriptions {
    fn default() -> Subscriptions {
        Subscriptions::Few(SmallVec::new())
    }
}

const FEW: usize = 16;

impl Subscriptions {
    pub fn len(&self) -> usize {
        match self {
            Subscriptions::Few(few) => few.len(),
            Subscriptions::Many(many) => many.len(),
        }
    }

    /// The position of the session's entry at a node.
    pub fn get(&self, node: NodeId) -> Option<u32> {
        match self {
            Subscriptions::Few(few) => few.iter().find(|(id, _)| *id == node).map(|(_, position)| *position),
            Subscriptions::Many(many) => many.get(&node).copied(),
        }
    }

    pub fn set(&mut self, node: NodeId, position: u32) {
        match self {
            Subscriptions::Few(few) => {
                if let Some(place) = few.iter_mut().find(|(id, _)| *id == node) {
                    place.1 = position;
                } else if few.len() < FEW {
                    few.push((node, position));
                } else {
                    let mut many: HashMap<_, _, _> = few.drain(..).collect();
                    many.insert(node, position);
                    *self = Subscriptions::Many(many);
                }
            }
            Subscriptions::Many(many) => {
                many.insert(node, position);
            }
        }
    }

    pub fn remove(&mut self, node: NodeId) -> Option<u32> {
        match self {
            Subscriptions::Few(few) => {
                let at = few.iter().position(|(id, _)| *id == node)?;
                Some(few.swap_remove(at).1)
            }
            Subscriptions::Many(many) => many.remove(&node),
        }
    }

    /// The nodes, in an order that does not depend on hashing.
    pub fn nodes(&self) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> = match self {
            Subscriptions::Few(few) => few.iter().map(|(id, _)| *id).collect(),
            Subscriptions::Many(many) => many.keys().copied().collect(),
        };
        nodes.sort_unstable();
        nodes
    }
}

/// The sessions of a shard, by slot, by Client Identifier and by uid.
pub(crate) struct Sessions {
    slots: Vec<SessionSlot>,
    free: Vec<u32>,
    by_client_id: HashTable<u32>,
    by_uid: HashMap<u64, u32, FixedState>,
    hasher: FixedState,
    count: usize,
}

struct SessionSlot {
    /// Counts connections and sessions in this slot: a link's id is the slot and this number.
    generation: u32,
    session: Option<Box<Session>>,
}

impl Sessions {
    pub fn new(seed: u64) -> Sessions {
        Sessions {
            slots: Vec::new(),
            free: Vec::new(),
            by_client_id: HashTable::new(),
            by_uid: HashMap::with_hasher(FixedState::with_seed(seed)),
            hasher: FixedState::with_seed(seed),
            count: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn insert(&mut self, session: Session) -> u32 {
        let key = self.hasher.hash_one(&*session.who.client_id);
        let journaled = session.journaled.then_some(session.uid);
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.slots.push(SessionSlot { generation: 0, session: None });
                (self.slots.len() - 1) as u32
            }
        };
        self.slots[index as usize].session = Some(Box::new(session));
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.by_client_id.insert_unique(key, index, |&other| {
            slots[other as usize]
                .session
                .as_ref()
                .map_or(0, |session| hasher.hash_one(&*session.who.client_id))
        });
        if let Some(uid) = journaled {
            self.by_uid.insert(uid, index);
        }
        self.count += 1;
        index
    }

    /// Makes the session findable by its uid: sister shards or the journal will name it.
    pub fn index_uid(&mut self, index: u32) {
        if let Some(session) = self.get(index) {
            self.by_uid.insert(session.uid, index);
        }
    }

    pub fn remove(&mut self, index: u32) -> Option<Box<Session>> {
        let slot = self.slots.get_mut(index as usize)?;
        let session = slot.session.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        let key = self.hasher.hash_one(&*session.who.client_id);
        if let Ok(found) = self.by_client_id.find_entry(key, |&other| other == index) {
            found.remove();
        }
        self.by_uid.remove(&session.uid);
        self.free.push(index);
        self.count -= 1;
        Some(session)
    }

    pub fn find(&self, client_id: &str) -> Option<u32> {
        let key = self.hasher.hash_one(client_id);
        self.by_client_id
            .find(key, |&index| self.get(index).is_some_and(|session| *session.who.client_id == *client_id))
            .copied()
    }

    pub fn find_uid(&self, uid: u64) -> Option<u32> {
        self.by_uid.get(&uid).copied()
    }

    pub fn get(&self, index: u32) -> Option<&Session> {
        self.slots.get(index as usize)?.session.as_deref()
    }

    pub fn get_mut(&mut self, index: u32) -> Option<&mut Session> {
        self.slots.get_mut(index as usize)?.session.as_deref_mut()
    }

    pub fn generation(&self, index: u32) -> u32 {
        self.slots.get(index as usize).map_or(0, |slot| slot.generation)
    }

    /// Makes all earlier links of the slot invalid.
    pub fn bump(&mut self, index: u32) -> u32 {
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        slot.generation
    }

    /// All slots in use, in order.
    pub fn indexes(&self) -> Vec<u32> {
        (0..self.slots.len() as u32).filter(|&index| self.slots[index as usize].session.is_some()).collect()
    }

    pub fn slots(&self) -> u32 {
        self.slots.len() as u32
    }
}
