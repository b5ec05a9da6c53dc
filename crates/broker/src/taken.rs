//! QoS 2 messages of durable publishers that this shard took part in and that are not yet released, so that a message
//! that is sent again, after a lost connection or a crash, is not delivered again.

use crate::deliver::RemoteMember;
use std::collections::BTreeMap;

/// What names a QoS 2 message while it is under way: the publisher's uid and the Packet Identifier.
pub(crate) type Origin = (u64, u16);

/// What this shard did with a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Part {
    /// The shard that it came from in this process.
    pub from: Option<u16>,
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
        self.remove((origin.0, origin.1, 0), (origin.0, origin.1, u64::MAX), |_| true)
    }

    /// The shards, as a mask, of the members that a publisher's messages under way were passed on to.
    pub fn passed_to(&self, uid: u64) -> u64 {
        let parts = self.0.range((uid, 0, 0)..=(uid, u16::MAX, u64::MAX)).map(|(_, part)| part);
        parts.flat_map(|part| &part.members).fold(0, |mask, member| mask | 1 << member.shard)
    }

    /// The publisher's session has ended, a shard says. What came from another shard may come from there again, and is
    /// forgotten when that one says so, too.
    pub fn forget(&mut self, uid: u64, by: Option<u16>) {
        let gone = |part: &Part| part.from.is_none() || part.from == by;
        self.remove((uid, 0, 0), (uid, u16::MAX, u64::MAX), gone);
    }

    fn remove(
        &mut self,
        from: (u64, u16, u64),
        to: (u64, u16, u64),
        gone: impl Fn(&Part) -> bool,
    ) -> Option<bool> {
        let all = self.0.range(from..=to);
        let keys: Vec<_> = all.filter(|(_, part)| gone(part)).map(|(key, _)| *key).collect();
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
