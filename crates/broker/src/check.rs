//! What must hold between the parts of a shard, checked by recomputing it. For tests: it looks at everything.

use crate::Broker;
use crate::sending::Stage;
use std::collections::BTreeSet;

/// What a shard holds in its tables, to see that nothing stays behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Nodes of the filter tree, without its roots.
    pub filters: usize,
    /// Nodes of the tree of retained messages, without its root.
    pub retained_nodes: usize,
    /// Shared subscription groups.
    pub groups: usize,
    /// Questions to sister shards that wait for an answer.
    pub questions: usize,
    /// QoS 2 messages under way.
    pub taken: usize,
    /// Deadlines.
    pub timers: usize,
}

impl Broker {
    #[doc(hidden)]
    pub fn held(&self) -> Held {
        Held {
            filters: self.trie.len() - 2,
            retained_nodes: self.retained.len() - 1,
            groups: self.groups.len(),
            questions: self.groups.answers.len(),
            taken: self.taken.len(),
            timers: self.timers.len(),
        }
    }

    /// The QoS 2 messages under way, for the message of a failed test: publisher, identifier, scope, and whether the
    /// journal knows.
    #[doc(hidden)]
    pub fn under_way(&self) -> Vec<String> {
        let who = |uid| {
            let index = self.sessions.find_uid(uid);
            index.and_then(|index| self.sessions.get(index)).map_or("", |session| &session.who.client_id)
        };
        let line = |(origin, scope, part): (crate::taken::Origin, u64, &crate::taken::Part)| {
            format!("{}:{} {} for {scope}, journaled: {}", origin.0, who(origin.0), origin.1, part.journaled)
        };
        self.taken.iter().map(line).collect()
    }

    /// Panics if a gauge or an index is not what it should be.
    #[doc(hidden)]
    pub fn check_invariants(&self) {
        let (mut connected, mut subscriptions, mut shared) = (0, 0, 0);
        let (mut queued, mut queued_bytes) = (0, 0);
        let indexes = self.sessions.indexes();
        for &index in &indexes {
            let Some(session) = self.sessions.get(index) else { continue };
            assert_eq!(self.sessions.find(&session.who.client_id), Some(index), "found by client identifier");
            if session.journaled {
                assert_eq!(self.sessions.find_uid(session.uid), Some(index), "found by uid");
            }
            assert!(session.journaled || !session.durable, "what is durable is journaled");
            for node in session.subscriptions.nodes() {
                let position = session.subscriptions.get(node).unwrap_or(u32::MAX);
                assert_eq!(self.trie.entry(node, position).session, index, "the entry is the session's");
            }
            subscriptions += session.subscriptions.len() + session.shares.len();
            shared += session.shares.len();
            let sending = &session.sending;
            let bytes: usize = sending.queue.iter().map(|queued| queued.delivery.message.size()).sum();
            assert_eq!(bytes, sending.queue_bytes, "bytes queued for a session");
            queued += sending.queue.len();
            queued_bytes += bytes;
            let counted =
                sending.window.iter().filter(|slot| slot.counted && slot.stage != Stage::Done).count();
            match &session.link {
                Some(link) => {
                    connected += 1;
                    assert_eq!(
                        counted, link.unacked as usize,
                        "messages that the client has not acknowledged"
                    );
                    assert!(link.unacked <= link.window_max, "Receive Maximum");
                }
                None => {
                    assert_eq!(counted, 0, "nothing is under way without a connection");
                    let waits = |slot: &crate::sending::Slot| slot.stage == Stage::Withdrawn;
                    assert!(!sending.window.iter().any(waits), "its PUBACK cannot come any more");
                }
            }
            let unique: BTreeSet<u16> = session.received.iter().copied().collect();
            assert_eq!(unique.len(), session.received.len(), "an identifier is received once");
            assert!(session.received_unsure.iter().all(|id| unique.contains(id)), "unsure, but not received");
        }
        assert_eq!(indexes.len(), self.sessions.len(), "sessions");
        assert_eq!(connected, self.connected, "connected");
        assert_eq!(subscriptions, self.subscriptions, "subscriptions");
        assert_eq!(shared, self.groups.local_members(), "shared subscriptions");
        assert_eq!((queued, queued_bytes), (self.queued, self.queued_bytes), "queued");
        assert_eq!(self.trie.subscribers(), subscriptions - shared, "entries of the filter tree");
        let (mut count, mut bytes) = (0, 0);
        for (_, message) in (0..self.retained.slots()).filter_map(|slot| self.retained.slot(slot)) {
            count += 1;
            bytes += message.size();
        }
        assert_eq!((count, bytes), (self.retained.count(), self.retained.bytes()), "retained");
    }
}
