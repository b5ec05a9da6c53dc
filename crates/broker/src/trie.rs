//! Topic filters and who subscribed to them.
//!
//! A filter without wildcards is one node, found by one probe with the whole topic. Filters with wildcards form a tree
//! with one node per level; a child is found in the same hash table, keyed by parent and level. So a node is small, and a
//! publish costs one probe plus one per level and live branch, whatever the number of other subscriptions. All walks are
//! loops: a topic of 65,000 levels cannot exhaust the stack.

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use smallvec::SmallVec;
use std::hash::BuildHasher;

pub(crate) type NodeId = u32;
/// The parent of the first levels of filters with wildcards.
const ROOT: NodeId = 0;
/// The parent of all filters without wildcards, whose only level is the whole filter.
const EXACT: NodeId = 1;
const NONE: NodeId = u32::MAX;

/// A subscriber at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub session: u32,
    /// 0: none.
    pub subscription_id: u32,
    pub qos: u8,
    pub no_local: bool,
    pub retain_as_published: bool,
}

struct Node {
    parent: NodeId,
    plus: NodeId,
    hash: NodeId,
    children: u32,
    level: Box<str>,
    entries: SmallVec<[Entry; 1]>,
    /// Shared subscription groups at this filter, by key.
    groups: Vec<u32>,
    /// Shards other than this one that have subscribers here.
    remote: u64,
}

/// The filters of a shard.
pub(crate) struct Trie {
    nodes: Vec<Node>,
    free: Vec<NodeId>,
    table: HashTable<NodeId>,
    hasher: FixedState,
    frontier: Vec<NodeId>,
    next: Vec<NodeId>,
}

/// What changed at a node with a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removed {
    /// The session whose entry moved into the freed place, if any: its position is now the freed one.
    pub moved: Option<u32>,
}

impl Trie {
    pub fn new(seed: u64) -> Trie {
        Trie {
            nodes: vec![Node::new(NONE, "".into()), Node::new(NONE, "".into())],
            free: Vec::new(),
            table: HashTable::new(),
            // The seed keeps an attacker from choosing levels that collide.
            hasher: FixedState::with_seed(seed),
            frontier: Vec::new(),
            next: Vec::new(),
        }
    }

    fn key(&self, parent: NodeId, level: &str) -> u64 {
        self.hasher.hash_one(level) ^ (parent as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn child(&self, parent: NodeId, level: &str, level_hash: u64) -> Option<NodeId> {
        let key = level_hash ^ (parent as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.table
            .find(key, |&id| {
                let node = &self.nodes[id as usize];
                node.parent == parent && *node.level == *level
            })
            .copied()
    }

    /// The node of a filter, made if need be.
    pub fn insert(&mut self, filter: &str) -> NodeId {
        if !is_wild(filter) {
            let found = self.child(EXACT, filter, self.hasher.hash_one(filter));
            return found.unwrap_or_else(|| self.add_child(EXACT, filter));
        }
        let mut at = ROOT;
        for level in filter.split('/') {
            at = match level {
                "+" if self.nodes[at as usize].plus != NONE => self.nodes[at as usize].plus,
                "#" if self.nodes[at as usize].hash != NONE => self.nodes[at as usize].hash,
                "+" | "#" => self.add_child(at, level),
                _ => match self.child(at, level, self.hasher.hash_one(level)) {
                    Some(child) => child,
                    None => self.add_child(at, level),
                },
            };
        }
        at
    }

    fn add_child(&mut self, parent: NodeId, level: &str) -> NodeId {
        let node = Node::new(parent, level.into());
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
        match level {
            "+" => self.nodes[parent as usize].plus = id,
            "#" => self.nodes[parent as usize].hash = id,
            _ => {
                let key = self.key(parent, level);
                let (nodes, hasher) = (&self.nodes, &self.hasher);
                self.table.insert_unique(key, id, |&other| {
                    let node = &nodes[other as usize];
                    hasher.hash_one(&*node.level) ^ (node.parent as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
                });
            }
        }
        self.nodes[parent as usize].children += 1;
        id
    }

    /// The node of a filter, if there is one.
    pub fn find(&self, filter: &str) -> Option<NodeId> {
        if !is_wild(filter) {
            return self.child(EXACT, filter, self.hasher.hash_one(filter));
        }
        let mut at = ROOT;
        for level in filter.split('/') {
            at = match level {
                "+" => Some(self.nodes[at as usize].plus).filter(|&id| id != NONE)?,
                "#" => Some(self.nodes[at as usize].hash).filter(|&id| id != NONE)?,
                _ => self.child(at, level, self.hasher.hash_one(level))?,
            };
        }
        Some(at)
    }

    /// Removes a node that nobody needs, and the ancestors that were there for it only.
    pub fn prune(&mut self, mut id: NodeId) {
        while id > EXACT {
            let node = &self.nodes[id as usize];
            if node.children > 0 || !node.entries.is_empty() || !node.groups.is_empty() || node.remote != 0 {
                return;
            }
            let parent = node.parent;
            match &*node.level {
                "+" => self.nodes[parent as usize].plus = NONE,
                "#" => self.nodes[parent as usize].hash = NONE,
                level => {
                    let key = self.key(parent, level);
                    if let Ok(found) = self.table.find_entry(key, |&other| other == id) {
                        found.remove();
                    }
                }
            }
            self.nodes[parent as usize].children -= 1;
            self.nodes[id as usize] = Node::new(NONE, "".into());
            self.free.push(id);
            id = parent;
        }
    }

    /// Adds a subscriber; returns its position.
    pub fn add(&mut self, id: NodeId, entry: Entry) -> u32 {
        let entries = &mut self.nodes[id as usize].entries;
        entries.push(entry);
        (entries.len() - 1) as u32
    }

    /// The subscriber at a position.
    pub fn entry_mut(&mut self, id: NodeId, position: u32) -> &mut Entry {
        &mut self.nodes[id as usize].entries[position as usize]
    }

    /// The subscriber at a position.
    pub fn entry(&self, id: NodeId, position: u32) -> Entry {
        self.nodes[id as usize].entries[position as usize]
    }

    /// Removes the subscriber at a position. The caller prunes.
    pub fn remove(&mut self, id: NodeId, position: u32) -> Removed {
        let entries = &mut self.nodes[id as usize].entries;
        entries.swap_remove(position as usize);
        let moved = entries.get(position as usize).map(|entry| entry.session);
        if entries.is_empty() {
            entries.shrink_to_fit();
        }
        Removed { moved }
    }

    pub fn entries(&self, id: NodeId) -> &[Entry] {
        &self.nodes[id as usize].entries
    }

    pub fn groups(&self, id: NodeId) -> &[u32] {
        &self.nodes[id as usize].groups
    }

    pub fn groups_mut(&mut self, id: NodeId) -> &mut Vec<u32> {
        &mut self.nodes[id as usize].groups
    }

    pub fn remote(&self, id: NodeId) -> u64 {
        self.nodes[id as usize].remote
    }

    pub fn remote_mut(&mut self, id: NodeId) -> &mut u64 {
        &mut self.nodes[id as usize].remote
    }

    /// Whether somebody on this shard wants what matches here.
    pub fn wanted_here(&self, id: NodeId) -> bool {
        let node = &self.nodes[id as usize];
        !node.entries.is_empty() || !node.groups.is_empty()
    }

    /// Writes the filter of a node.
    pub fn filter(&self, id: NodeId) -> String {
        let mut levels: SmallVec<[&str; 16]> = SmallVec::new();
        let mut at = id;
        while at > EXACT {
            levels.push(&self.nodes[at as usize].level);
            at = self.nodes[at as usize].parent;
        }
        levels.reverse();
        levels.join("/")
    }

    /// Calls `visit` with each node whose filter matches the topic.
    pub fn matches(&mut self, topic: &str, mut visit: impl FnMut(NodeId)) {
        if self.nodes[EXACT as usize].children > 0
            && let Some(exact) = self.child(EXACT, topic, self.hasher.hash_one(topic))
        {
            visit(exact);
        }
        let (mut frontier, mut next) = (std::mem::take(&mut self.frontier), std::mem::take(&mut self.next));
        frontier.clear();
        frontier.push(ROOT);
        // MQTT-4.7.2-1: a filter that begins with a wildcard does not match a topic that begins with `$`.
        let mut wild = !topic.starts_with('$');
        for level in topic.split('/') {
            let level_hash = self.hasher.hash_one(level);
            next.clear();
            for &id in &frontier {
                let node = &self.nodes[id as usize];
                if wild && node.hash != NONE {
                    visit(node.hash);
                }
                if wild && node.plus != NONE {
                    next.push(node.plus);
                }
                if node.children > 0
                    && let Some(child) = self.child(id, level, level_hash)
                {
                    next.push(child);
                }
            }
            wild = true;
            std::mem::swap(&mut frontier, &mut next);
            if frontier.is_empty() {
                break;
            }
        }
        for &id in &frontier {
            visit(id);
            // `sport/#` matches `sport` too (section 4.7.1.2).
            let hash = self.nodes[id as usize].hash;
            if hash != NONE {
                visit(hash);
            }
        }
        self.frontier = frontier;
        self.next = next;
    }

    /// Subscribers at all nodes.
    pub fn subscribers(&self) -> usize {
        self.nodes.iter().map(|node| node.entries.len()).sum()
    }

    /// Nodes in use, the two roots included.
    pub fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }
}

/// Whether a filter has a wildcard; a level that only contains one of the characters was refused before.
fn is_wild(filter: &str) -> bool {
    filter.bytes().any(|byte| matches!(byte, b'+' | b'#'))
}

impl Node {
    fn new(parent: NodeId, level: Box<str>) -> Node {
        Node {
            parent,
            plus: NONE,
            hash: NONE,
            children: 0,
            level,
            entries: SmallVec::new(),
            groups: Vec::new(),
            remote: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(session: u32) -> Entry {
        Entry { session, subscription_id: 0, qos: 0, no_local: false, retain_as_published: false }
    }

    fn matching(trie: &mut Trie, topic: &str) -> Vec<String> {
        let mut ids = Vec::new();
        trie.matches(topic, |id| ids.push(id));
        let mut filters: Vec<_> =
            ids.into_iter().filter(|&id| trie.wanted_here(id)).map(|id| trie.filter(id)).collect();
        filters.sort();
        filters
    }

    #[test]
    fn a_deep_topic_does_not_recurse() {
        let mut trie = Trie::new(1);
        let id = trie.insert("#");
        trie.add(id, entry(1));
        assert_eq!(matching(&mut trie, &"/".repeat(65_000)), ["#"]);
    }

    #[test]
    fn pruning_leaves_nothing_behind() {
        let mut trie = Trie::new(1);
        let a = trie.insert("a/+/c/#");
        trie.add(a, entry(1));
        let b = trie.insert("a/+");
        trie.add(b, entry(2));
        trie.remove(a, 0);
        trie.prune(a);
        assert_eq!(trie.find("a/+/c/#"), None);
        assert_eq!(trie.find("a/+"), Some(b));
        trie.remove(b, 0);
        trie.prune(b);
        assert_eq!(trie.len(), 2);
    }

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("$x".to_owned()), Just(String::new())]
    }

    fn filter() -> impl Strategy<Value = String> {
        let levels = proptest::collection::vec(prop_oneof![4 => level(), 2 => Just("+".to_owned())], 1..5);
        (levels, any::<bool>()).prop_map(|(levels, multi)| {
            let filter = levels.join("/");
            if multi { format!("{filter}/#") } else { filter }
        })
    }

    proptest! {
        #[test]
        fn matching_equals_the_naive_matcher(
            filters in proptest::collection::vec(filter(), 1..12),
            topic in proptest::collection::vec(level(), 1..6),
        ) {
            let topic = topic.join("/");
            let mut trie = Trie::new(7);
            for (i, filter) in filters.iter().enumerate() {
                let id = trie.insert(filter);
                trie.add(id, entry(i as u32));
            }
            let mut expected: Vec<_> =
                filters.iter().filter(|filter| ravelin_mqtt::matches(filter, &topic)).cloned().collect();
            expected.sort();
            expected.dedup();
            prop_assert_eq!(matching(&mut trie, &topic), expected);
        }
    }
}
