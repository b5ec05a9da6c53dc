//! QoS 2 messages of durable publishers that this shard took part in and that are not yet released, so that a message
//! that is sent again, after a lost connection or a crash, is not delivered again.

use crate::deliver::RemoteMember;
use std::collections::BTreeMap;

/// What names a QoS 2 message while it is under way: the publisher's uid and the Packet Identifier.
pub(crate) type Origin = (u64, u16);

/// What this shard did with a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    /// The journal knows of it.
    pub journaled: bool,
    /// Members of shared subscriptions on sister shards that were chosen: the same get it again.
    pub members: Vec<RemoteMember>,
}

/// The messages taken. A shard may take a message for those who match it (scope 0), and for a member of a shared
/// subscription that was chosen elsewhere (its uid).
#[derive(Default)]
pub(crate) struct Taken(BTreeMap<(u64, u16, u64), Part>);

impl Taken {
    pub fn get(&self, origin: Origin, scope: u64) -> Option<&Part> {
        self.0.get(&(origin.0, origin.1, scope))
    }

    pub fn insert(&mut self, origin: Origin, scope: u64, part: Part) {
        self.0.insert((origin.0, origin.1, scope), part);
    }

    /// The message was released. Tells whether it was known, and if so, whether the journal knew it.
    pub fn release(&mut self, origin: Origin) -> Option<bool> {
        self.remove((origin.0, origin.1, 0), (origin.0, origin.1, u64::MAX))
    }

    /// The publisher's session has ended.
    pub fn forget(&mut self, uid: u64) {
        self.remove((uid, 0, 0), (uid, u16::MAX, u64::MAX));
    }

    fn remove(&mut self, from: (u64, u16, u64), to: (u64, u16, u64)) -> Option<bool> {
        let keys: Vec<_> = self.0.range(from..=to).map(|(key, _)| *key).collect();
        keys.iter().filter_map(|key| self.0.remove(key)).map(|part| part.journaled).reduce(|a, b| a || b)
    }

    /// Keeps the messages of some publishers.
    pub fn retain(&mut self, mut keep: impl FnMut(u64) -> bool) {
        self.0.retain(|(uid, ..), _| keep(*uid));
    }

    pub fn iter(&self) -> impl Iterator<Item = (Origin, u64, &Part)> {
        self.0.iter().map(|(&(uid, packet_id, scope), part)| ((uid, packet_id), scope, part))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }
}
