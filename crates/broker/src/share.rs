//! Shared subscriptions (section 4.8.2): a group gets each message once.
//!
//! A group lives on one shard, its home, which follows from its name and filter. The home picks the member; a member on
//! a sister shard gets the message through a [`crate::ShardMessage`].

use crate::broker::LinkId;
use crate::deliver::{Fan, RemoteMember};
use crate::session::Share;
use crate::trie::NodeId;
use crate::{Broker, Now, home_shard};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ravelin_mqtt::{QoS, SubscribeOptions, check_filter};
use std::collections::{BTreeMap, VecDeque};

/// A member of a group.
pub(crate) struct Member {
    pub shard: u16,
    pub uid: u64,
    pub options: SubscribeOptions,
    pub subscription_id: u32,
    /// As its shard last told; for members of this shard the session is asked.
    pub online: bool,
}

/// Who waits for the answers of sister shards.
#[derive(Clone, Copy)]
pub(crate) enum Waiter {
    /// A link's pending acknowledgement, by its number.
    Link(LinkId, u32),
    /// A sister that asked this shard, and gets its answer once the journal is durable up to `seq`, too.
    Shard { shard: u16, token: u64, seq: u64 },
    /// A will that was published, by its name.
    Will(u64),
}

struct Group {
    /// `$share/group/filter`
    key: Box<str>,
    node: NodeId,
    members: Vec<Member>,
    next: usize,
}

/// The groups whose home is this shard, and what this shard has asked its sisters.
#[derive(Default)]
pub(crate) struct Groups {
    slots: Vec<Option<Group>>,
    free: Vec<u32>,
    by_key: HashMap<Box<str>, u32, FixedState>,
    local_members: usize,
    /// The groups that sessions of this shard are in, wherever their home is, and how many of them.
    wanted: HashMap<Box<str>, u32, FixedState>,
    /// By token: who waits, and how many answers are due.
    pub answers: BTreeMap<u64, (Waiter, u16)>,
    /// Sessions that have ended, each with the last token before: when all answers up to it have come, the sisters are told.
    pub ended: VecDeque<(u64, u64)>,
    pub last_token: u64,
    /// Records for each sister shard, sent in one message a turn.
    pub outbox: Vec<Vec<u8>>,
}

impl Groups {
    /// Groups whose home is this shard.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether a session of this shard may not be the first of a group. Every group counts where its members are: its
    /// home may be a shard that does not know them.
    pub fn refuses(&self, key: &str, max: usize) -> bool {
        self.wanted.len() >= max && !self.wanted.contains_key(key)
    }

    /// Shared subscriptions of this shard's sessions.
    pub fn local_members(&self) -> usize {
        self.local_members
    }
}

impl Broker {
    /// Subscribes a session to a shared filter, or changes its options.
    pub(crate) fn share(
        &mut self,
        index: u32,
        filter: &str,
        options: SubscribeOptions,
        id: u32,
        exists: bool,
    ) {
        let home = home_shard(filter, self.shards);
        self.sessions.index_uid(index);
        if !exists {
            self.weigh(index, filter, true);
        }
        let Some(session) = self.sessions.get_mut(index) else { return };
        let share = Share { filter: filter.into(), options, subscription_id: id };
        match session.shares.iter_mut().find(|share| *share.filter == *filter) {
            Some(old) => *old = share,
            None => session.shares.push(share),
        }
        if !exists {
            self.groups.local_members += 1;
            *self.groups.wanted.entry(filter.into()).or_insert(0) += 1;
            self.subscriptions += 1;
        }
        let member = Member {
            shard: self.shard,
            uid: session.uid,
            options,
            subscription_id: id,
            online: session.link.is_some(),
        };
        if home == self.shard {
            self.join(filter, member);
        } else {
            self.send_join(home, filter, &member);
        }
    }

    /// The sister shard, as a mask, that is the home of a shared filter.
    pub(crate) fn home_elsewhere(&self, filter: &str) -> u64 {
        match home_shard(filter, self.shards) {
            home if home != self.shard && filter.starts_with("$share/") => 1 << home,
            _ => 0,
        }
    }

    /// A member joins a group of this shard.
    pub(crate) fn join(&mut self, key: &str, member: Member) {
        let Ok(Some(shared)) = check_filter(key, u16::MAX) else { return };
        let id = match self.groups.by_key.get(key) {
            Some(&id) => id,
            None => {
                let node = self.trie.insert(shared.filter);
                let first = !self.trie.wanted_here(node);
                let group = Some(Group { key: key.into(), node, members: Vec::new(), next: 0 });
                let id = match self.groups.free.pop() {
                    Some(id) => {
                        self.groups.slots[id as usize] = group;
                        id
                    }
                    None => {
                        self.groups.slots.push(group);
                        (self.groups.slots.len() - 1) as u32
                    }
                };
                self.groups.by_key.insert(key.into(), id);
                self.trie.groups_mut(node).push(id);
                if first {
                    self.tell_interest(shared.filter, true);
                }
                self.changed(shared.filter);
                id
            }
        };
        let Some(group) = &mut self.groups.slots[id as usize] else { return };
        match group.members.iter_mut().find(|old| old.uid == member.uid) {
            Some(old) => *old = member,
            None => group.members.push(member),
        }
    }

    /// A session leaves a shared filter. False: it had not subscribed.
    pub(crate) fn unshare(&mut self, index: u32, filter: &str) -> bool {
        let Some(session) = self.sessions.get_mut(index) else { return false };
        let uid = session.uid;
        let Some(at) = session.shares.iter().position(|share| *share.filter == *filter) else { return false };
        session.shares.swap_remove(at);
        self.groups.local_members -= 1;
        if let Some(members) = self.groups.wanted.get_mut(filter) {
            *members -= 1;
            if *members == 0 {
                self.groups.wanted.remove(filter);
            }
        }
        self.subscriptions -= 1;
        self.weigh(index, filter, false);
        let home = home_shard(filter, self.shards);
        if home == self.shard {
            self.leave(filter, uid);
        } else {
            self.send_leave(home, filter, uid);
        }
        true
    }

    /// A member leaves a group of this shard.
    pub(crate) fn leave(&mut self, key: &str, uid: u64) {
        let Some(&id) = self.groups.by_key.get(key) else { return };
        let Some(group) = &mut self.groups.slots[id as usize] else { return };
        group.members.retain(|member| member.uid != uid);
        if !group.members.is_empty() {
            return;
        }
        let node = group.node;
        self.groups.by_key.remove(key);
        self.groups.slots[id as usize] = None;
        self.groups.free.push(id);
        self.trie.groups_mut(node).retain(|other| *other != id);
        let filter = self.trie.filter(node);
        if !self.trie.wanted_here(node) {
            self.tell_interest(&filter, false);
        }
        self.trie.prune(node);
        self.changed(&filter);
    }

    /// A member's connection came or went.
    pub(crate) fn member_state(&mut self, key: &str, uid: u64, online: bool) {
        let Some(&id) = self.groups.by_key.get(key) else { return };
        let members = self.groups.slots[id as usize].iter_mut().flat_map(|group| &mut group.members);
        for member in members.filter(|member| member.uid == uid) {
            member.online = online;
        }
    }

    /// Tells the homes of a session's groups that its connection came or went.
    pub(crate) fn share_state(&mut self, index: u32, online: bool) {
        if self.shards == 1 {
            return;
        }
        let Some(session) = self.sessions.get(index) else { return };
        let uid = session.uid;
        for share in session.shares.clone() {
            let home = home_shard(&share.filter, self.shards);
            if home != self.shard {
                self.send_member_state(home, &share.filter, uid, online);
            }
        }
    }

    /// Hands the message to one member of a group: one that is connected and idle, else one that is connected, else one
    /// whose session keeps it.
    pub(crate) fn deliver_shared(&mut self, now: Now, group: u32, fan: &mut Fan<'_>) {
        let Some(Some(slot)) = self.groups.slots.get(group as usize) else { return };
        debug_assert!(self.groups.by_key.contains_key(&slot.key));
        let n = slot.members.len();
        let mut chosen: Option<(u8, usize)> = None;
        for step in 0..n {
            let at = (slot.next + step) % n;
            let rank = self.rank(&slot.members[at], fan);
            if rank > 0 && chosen.is_none_or(|(best, _)| rank > best) {
                chosen = Some((rank, at));
                if rank == 3 {
                    break;
                }
            }
        }
        let Some((_, at)) = chosen else { return };
        let member = &slot.members[at];
        let qos = fan.parts.qos.min(member.options.qos);
        let retain = member.options.retain_as_published && fan.parts.retain;
        let (shard, uid, id) = (member.shard, member.uid, member.subscription_id);
        if let Some(Some(slot)) = self.groups.slots.get_mut(group as usize) {
            slot.next = (at + 1) % n;
        }
        if shard != self.shard {
            fan.receivers += 1;
            fan.shared.push(RemoteMember { shard, uid, qos, retain, subscription_id: id });
        } else if let Some(index) = self.sessions.find_uid(uid) {
            let ids = (id != 0).then(|| std::rc::Rc::from([id]));
            self.deliver_to(now, index, qos, retain, ids, fan);
        }
    }

    /// How well a member can take a message: 0 not at all, 3 at once.
    fn rank(&self, member: &Member, fan: &Fan<'_>) -> u8 {
        if member.shard != self.shard {
            return match member.online {
                true => 3,
                false if fan.parts.qos == QoS::AtMostOnce || member.options.qos == QoS::AtMostOnce => 0,
                false => 1,
            };
        }
        let session = self.sessions.find_uid(member.uid).and_then(|index| self.sessions.get(index));
        let Some(session) = session else { return 0 };
        if !self.authorizer.may_receive(&session.who, fan.parts.topic) {
            return 0;
        }
        match &session.link {
            Some(link)
                if session.sending.queue.is_empty() && link.unacked < link.window_max && link.has_room() =>
            {
                3
            }
            Some(_) => 2,
            None if fan.parts.qos == QoS::AtMostOnce || member.options.qos == QoS::AtMostOnce => 0,
            None => 1,
        }
    }
}
