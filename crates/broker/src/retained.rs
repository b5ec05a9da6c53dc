//! Retained messages, by topic.
//!
//! A tree with one node per topic level, as [`crate::trie`], but its children are also linked, because a wildcard must
//! visit them. Every shard holds all retained messages; of two that meet, the one with the later stamp stays.

use crate::author::Authors;
use crate::message::Message;
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashTable};
use std::hash::BuildHasher;
use std::rc::Rc;

type NodeId = u32;
const ROOT: NodeId = 0;
const NONE: NodeId = u32::MAX;

struct Node {
    parent: NodeId,
    first_child: NodeId,
    next: NodeId,
    previous: NodeId,
    level: Box<str>,
    /// When the topic was last set or cleared: shard-independent, later wins.
    stamp: u64,
    message: Option<Rc<Message>>,
}

/// The retained messages of a node.
pub(crate) struct Retained {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    table: HashTable<NodeId>,
    hasher: FixedState,
    count: usize,
    bytes: usize,
    /// Memory of the tree without the messages.
    tree_bytes: usize,
    pub authors: Authors,
    /// When topics were cleared lately: an older message that arrives later from a sister shard must stay out.
    cleared: HashMap<Box<str>, u64, FixedState>,
}

/// Clearings remembered; with more, the older half is forgotten.
const CLEARED_MAX: usize = 4096;

impl Retained {
    pub fn new(seed: u64) -> Retained {
        Retained {
            nodes: vec![Node::new(NONE, "".into())],
            free: Vec::new(),
            table: HashTable::new(),
            hasher: FixedState::with_seed(seed),
            count: 0,
            bytes: 0,
            tree_bytes: 0,
            authors: Authors::new(seed),
            cleared: HashMap::with_hasher(FixedState::with_seed(seed)),
        }
    }

    /// Messages held.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Nodes in use, the root included.
    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory of the messages, of their authors and of the tree that they hang in: one small message can need a node for
    /// every level.
    pub fn memory(&self) -> usize {
        self.bytes + self.tree_bytes + self.authors.bytes()
    }

    fn key(&self, parent: NodeId, level: &str) -> u64 {
        self.hasher.hash_one(level) ^ (parent as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn child(&self, parent: NodeId, level: &str) -> Option<NodeId> {
        self.table
            .find(self.key(parent, level), |&id| {
                let node = &self.nodes[id as usize];
                node.parent == parent && *node.level == *level
            })
            .copied()
    }

    fn find(&self, topic: &str) -> Option<NodeId> {
        topic.split('/').try_fold(ROOT, |at, level| self.child(at, level))
    }

    /// The message retained for exactly this topic.
    pub fn get(&self, topic: &str) -> Option<&Rc<Message>> {
        self.nodes[self.find(topic)? as usize].message.as_ref()
    }

    /// Sets the message of a topic, unless a later one is there. Returns the slot for an expiry timer, if it was set.
    pub fn set(&mut self, message: Rc<Message>, stamp: u64) -> Option<u32> {
        if self.cleared.get(message.topic()).is_some_and(|&cleared| cleared > stamp) {
            self.forget_author(&message);
            return None;
        }
        let mut at = ROOT;
        for level in message.topic().split('/') {
            at = match self.child(at, level) {
                Some(child) => child,
                None => self.add_child(at, level),
            };
        }
        let node = &mut self.nodes[at as usize];
        if node.stamp > stamp {
            self.forget_author(&message);
            return None;
        }
        node.stamp = stamp;
        self.bytes += message.size();
        match node.message.replace(message) {
            Some(old) => {
                self.bytes -= old.size();
                self.forget_author(&old);
            }
            None => self.count += 1,
        }
        Some(at)
    }

    fn forget_author(&mut self, message: &Message) {
        if let Some(author) = &message.author {
            self.authors.release(author);
        }
    }

    /// Clears a topic, unless a later message is there. Returns whether one was removed.
    pub fn clear(&mut self, topic: &str, stamp: u64) -> bool {
        self.note_cleared(topic, stamp);
        match self.find(topic) {
            Some(id) if self.nodes[id as usize].stamp <= stamp => self.take(id).is_some(),
            _ => false,
        }
    }

    fn note_cleared(&mut self, topic: &str, stamp: u64) {
        if self.cleared.len() >= CLEARED_MAX {
            let mut stamps: Vec<u64> = self.cleared.values().copied().collect();
            let (_, &mut middle, _) = stamps.select_nth_unstable(CLEARED_MAX / 2);
            self.cleared.retain(|_, stamp| *stamp > middle);
        }
        let last = self.cleared.entry(topic.into()).or_insert(stamp);
        *last = stamp.max(*last);
    }

    /// The topics that were cleared lately, and when.
    pub fn cleared(&self) -> Vec<(Box<str>, u64)> {
        let mut cleared: Vec<_> = self.cleared.iter().map(|(topic, stamp)| (topic.clone(), *stamp)).collect();
        cleared.sort_unstable();
        cleared
    }

    fn take(&mut self, id: NodeId) -> Option<Rc<Message>> {
        let message = self.nodes[id as usize].message.take()?;
        self.count -= 1;
        self.bytes -= message.size();
        self.forget_author(&message);
        self.prune(id);
        Some(message)
    }

    /// When the message of a slot expires.
    pub fn expires_ms(&self, slot: u32) -> Option<u64> {
        self.nodes.get(slot as usize)?.message.as_ref()?.expires_ms
    }

    /// Removes the message of a slot if it has expired by `now_ms`.
    pub fn expire(&mut self, slot: u32, now_ms: u64) -> bool {
        if self.expires_ms(slot).is_none_or(|at| at > now_ms) {
            return false;
        }
        let stamp = self.nodes[slot as usize].stamp;
        let Some(message) = self.take(slot) else { return false };
        // What it has replaced must not come back.
        self.note_cleared(message.topic(), stamp);
        true
    }

    fn add_child(&mut self, parent: NodeId, level: &str) -> NodeId {
        let mut node = Node::new(parent, level.into());
        self.tree_bytes += node.size();
        node.next = self.nodes[parent as usize].first_child;
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as NodeId
            }
        };
        let next = std::mem::replace(&mut self.nodes[parent as usize].first_child, id);
        if next != NONE {
            self.nodes[next as usize].previous = id;
        }
        let key = self.key(parent, level);
        let (nodes, hasher) = (&self.nodes, &self.hasher);
        self.table.insert_unique(key, id, |&other| {
            let node = &nodes[other as usize];
            hasher.hash_one(&*node.level) ^ (node.parent as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        });
        id
    }

    fn prune(&mut self, mut id: NodeId) {
        while id != ROOT {
            let node = &self.nodes[id as usize];
            if node.first_child != NONE || node.message.is_some() {
                return;
            }
            let (parent, next, previous) = (node.parent, node.next, node.previous);
            let key = self.key(parent, &node.level);
            if let Ok(found) = self.table.find_entry(key, |&other| other == id) {
                found.remove();
            }
            match previous {
                NONE => self.nodes[parent as usize].first_child = next,
                _ => self.nodes[previous as usize].next = next,
            }
            if next != NONE {
                self.nodes[next as usize].previous = previous;
            }
            self.tree_bytes -= self.nodes[id as usize].size();
            self.nodes[id as usize] = Node::new(NONE, "".into());
            self.free.push(id);
            id = parent;
        }
    }

    /// Calls `visit` with each retained message whose topic matches the filter, until it returns false. Returns how many
    /// nodes were visited.
    pub fn matches(&self, filter: &str, mut visit: impl FnMut(&Rc<Message>) -> bool) -> usize {
        let mut visits = 0;
        // (node, rest of the filter below it; `None` when the filter ends at the node)
        let mut stack: Vec<(NodeId, Option<&str>)> = vec![(ROOT, Some(filter))];
        while let Some((id, rest)) = stack.pop() {
            visits += 1;
            let Some(rest) = rest else {
                if !self.visit(id, &mut visit) {
                    return visits;
                }
                continue;
            };
            let (level, below) = match rest.split_once('/') {
                Some((level, below)) => (level, Some(below)),
                None => (rest, None),
            };
            match level {
                "#" => {
                    if !self.subtree(id, &mut visits, &mut visit) {
                        return visits;
                    }
                }
                "+" => {
                    // MQTT-4.7.2-1
                    let visible =
                        |&child: &NodeId| id != ROOT || !self.nodes[child as usize].level.starts_with('$');
                    let before = stack.len();
                    stack.extend(self.children(id).filter(visible).map(|child| (child, below)));
                    visits += stack.len() - before;
                }
                _ => stack.extend(self.child(id, level).map(|child| (child, below))),
            }
        }
        visits
    }

    fn visit(&self, id: NodeId, visit: &mut impl FnMut(&Rc<Message>) -> bool) -> bool {
        self.nodes[id as usize].message.as_ref().is_none_or(visit)
    }

    fn children(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let mut at = self.nodes[id as usize].first_child;
        std::iter::from_fn(move || {
            let child = at;
            (child != NONE).then(|| {
                at = self.nodes[child as usize].next;
                child
            })
        })
    }

    /// All below `top`, and `top` itself (`sport/#` matches `sport`) unless it is the root. False: `visit` wants no more.
    fn subtree(&self, top: NodeId, visits: &mut usize, visit: &mut impl FnMut(&Rc<Message>) -> bool) -> bool {
        let mut stack: Vec<NodeId> = match top {
            ROOT => self
                .children(ROOT)
                .filter(|&child| !self.nodes[child as usize].level.starts_with('$'))
                .collect(),
            _ => vec![top],
        };
        while let Some(id) = stack.pop() {
            *visits += 1;
            if !self.visit(id, visit) {
                return false;
            }
            stack.extend(self.children(id));
        }
        true
    }

    /// The message and stamp in a slot, for a checkpoint that walks all slots.
    pub fn slot(&self, slot: u32) -> Option<(u64, &Rc<Message>)> {
        let node = &self.nodes[slot as usize];
        node.message.as_ref().map(|message| (node.stamp, message))
    }

    /// Slots there are.
    pub fn slots(&self) -> u32 {
        self.nodes.len() as u32
    }
}

impl Node {
    fn new(parent: NodeId, level: Box<str>) -> Node {
        Node { parent, first_child: NONE, next: NONE, previous: NONE, level, stamp: 0, message: None }
    }

    /// With the text of the level, as the heap holds it, and the place in the hash table.
    fn size(&self) -> usize {
        size_of::<Node>() + self.level.len() + 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Parts;
    use proptest::prelude::*;
    use ravelin_mqtt::QoS;
    use std::collections::BTreeMap;

    fn message(topic: &str) -> Rc<Message> {
        let parts = Parts {
            topic,
            forward: &[],
            payload: b"x",
            qos: QoS::AtMostOnce,
            retain: true,
            expires_ms: None,
            record: 0,
        };
        Rc::new(parts.to_message())
    }

    fn topic() -> impl Strategy<Value = String> {
        proptest::collection::vec(prop_oneof!["a", "b", "\\$c", ""], 1..4).prop_map(|levels| levels.join("/"))
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof!["a", "b", "\\+", "\\$c", ""];
        (proptest::collection::vec(level, 1..4), any::<bool>())
            .prop_map(|(levels, multi)| levels.join("/") + if multi { "/#" } else { "" })
    }

    proptest! {
        #[test]
        fn matching_equals_the_naive_matcher(
            steps in proptest::collection::vec((topic(), any::<bool>()), 1..40), filter in filter(),
        ) {
            let (mut tree, mut model) = (Retained::new(3), BTreeMap::new());
            for (stamp, (topic, set)) in steps.iter().enumerate() {
                if *set {
                    tree.set(message(topic), stamp as u64);
                    model.insert(topic.clone(), ());
                } else {
                    prop_assert_eq!(tree.clear(topic, stamp as u64), model.remove(topic).is_some());
                }
            }
            let mut got = Vec::new();
            tree.matches(&filter, |message| {
                got.push(message.topic().to_owned());
                true
            });
            got.sort();
            let expected: Vec<_> =
                model.keys().filter(|topic| ravelin_mqtt::matches(&filter, topic)).cloned().collect();
            prop_assert_eq!(got, expected);
            prop_assert_eq!(tree.count(), model.len());
        }
    }

    #[test]
    fn the_later_stamp_wins_whatever_the_order_of_arrival() {
        let mut tree = Retained::new(3);
        assert!(tree.set(message("a"), 5).is_some());
        assert!(tree.set(message("a"), 4).is_none());
        assert!(!tree.clear("a", 4));
        assert!(tree.clear("a", 6));
        assert_eq!((tree.count(), tree.bytes(), tree.memory()), (0, 0, 0));
        assert!(tree.set(message("a"), 5).is_none(), "cleared later than it was set");
    }
}
