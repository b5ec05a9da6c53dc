//! What shards tell each other.
//!
//! A shard knows of its sisters only which filters they want. A publish goes to the sisters that want it, which match it
//! among their own sessions and answer, where the publisher waits for an acknowledgement, once what must be durable is.

use crate::deliver::Fan;
use crate::journal::{Kind, Reader, Writer};
use crate::publish::Asked;
use crate::share::{Member, Waiter};
use crate::taken::{Origin, Part};
use crate::{Broker, Now, Output, RestoreError, ShardMessage, Watch};
use ravelin_mqtt::QoS;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Say {
    Publish = 1,
    Answer = 2,
    Interest = 3,
    NoInterest = 4,
    Release = 5,
    Join = 6,
    Leave = 7,
    MemberState = 8,
    Shared = 9,
    Ended = 10,
    Ask = 11,
    Stuck = 12,
}

impl Say {
    fn from_u8(value: u8) -> Option<Say> {
        use Say::*;
        [Publish, Answer, Interest, NoInterest, Release, Join, Leave, MemberState, Shared, Ended, Ask, Stuck]
            .into_iter()
            .find(|say| *say as u8 == value)
    }
}

type Read<T> = Result<T, RestoreError>;

impl Broker {
    fn say(&mut self, shard: u16, say: Say, write: impl FnOnce(&mut Writer<'_>)) {
        let outbox = &mut self.groups.outbox;
        if outbox.len() <= shard as usize {
            outbox.resize_with(shard as usize + 1, Vec::new);
        }
        let mut writer = Writer(&mut outbox[shard as usize]);
        writer.u8(say as u8);
        write(&mut writer);
    }

    fn sisters(&self) -> impl Iterator<Item = u16> + use<> {
        let own = self.shard;
        (0..self.shards).filter(move |shard| *shard != own)
    }

    /// All shards but this one, as a mask.
    pub(crate) fn all_sisters(&self) -> u64 {
        self.sisters().fold(0, |mask, shard| mask | 1 << shard)
    }

    /// What was said since the last call, one message a shard.
    pub(crate) fn poll_said(&mut self) -> Option<Output> {
        let shard = self.groups.outbox.iter().position(|bytes| !bytes.is_empty())?;
        let bytes = std::mem::take(&mut self.groups.outbox[shard]);
        Some(Output::Send(shard as u16, ShardMessage(bytes)))
    }

    pub(crate) fn tell_interest(&mut self, filter: &str, on: bool) {
        let say = if on { Say::Interest } else { Say::NoInterest };
        for shard in self.sisters() {
            self.say(shard, say, |writer| writer.text(filter));
        }
    }

    fn next_token(&mut self) -> u64 {
        self.groups.last_token += 1;
        self.groups.last_token
    }

    /// Sends a client's message to the sisters that want it, and to members of shared subscriptions there.
    pub(crate) fn forward(
        &mut self,
        now: Now,
        fan: &Fan<'_>,
        remote: u64,
        stamp: Option<u64>,
        origin: Option<Origin>,
    ) -> Asked {
        if remote == 0 && fan.shared.is_empty() {
            return Asked::default();
        }
        let token = if fan.parts.qos == QoS::AtMostOnce { 0 } else { self.next_token() };
        let asked = self.forward_with(now, fan, remote, stamp, origin, token);
        if token == 0 { Asked::default() } else { Asked { shards: asked, token } }
    }

    /// Sends the broker's own message. Only for a will somebody waits for an answer.
    pub(crate) fn forward_own(
        &mut self,
        now: Now,
        fan: &Fan<'_>,
        remote: u64,
        stamp: Option<u64>,
        origin: Option<Origin>,
    ) -> Asked {
        if remote == 0 && fan.shared.is_empty() {
            return Asked::default();
        }
        let token = if origin.is_some() { self.next_token() } else { 0 };
        let asked = self.forward_with(now, fan, remote, stamp, origin, token);
        if token == 0 { Asked::default() } else { Asked { shards: asked, token } }
    }

    fn forward_with(
        &mut self,
        now: Now,
        fan: &Fan<'_>,
        remote: u64,
        stamp: Option<u64>,
        origin: Option<Origin>,
        token: u64,
    ) -> u16 {
        let mut asked = 0;
        for shard in (0..self.shards).filter(|shard| remote & 1 << shard != 0) {
            asked += 1;
            self.say(shard, Say::Publish, |writer| {
                writer.int(token);
                writer.int(origin.map_or(0, |(uid, _)| uid));
                writer.int(origin.map_or(0, |(_, packet_id)| packet_id as u64));
                writer.optional_int(stamp);
                writer.parts(now, fan.parts);
                if stamp.is_some() {
                    writer.u8(fan.author.is_some() as u8);
                    writer.author(fan.author.as_deref());
                }
            });
        }
        for member in &fan.shared {
            asked += 1;
            self.say(member.shard, Say::Shared, |writer| {
                writer.int(token);
                writer.int(origin.map_or(0, |(uid, _)| uid));
                writer.int(origin.map_or(0, |(_, packet_id)| packet_id as u64));
                writer.int(member.uid);
                writer.u8(member.qos as u8 | (member.retain as u8) << 2);
                writer.int(member.subscription_id as u64);
                writer.parts(now, fan.parts);
            });
        }
        asked
    }

    pub(crate) fn send_answer(&mut self, shard: u16, token: u64) {
        self.say(shard, Say::Answer, |writer| writer.int(token));
    }

    /// Answers once the journal is durable up to `seq`.
    fn answer_after(&mut self, shard: u16, token: u64, seq: u64) {
        if token == 0 {
            return;
        }
        if seq <= self.journal.durable() {
            self.send_answer(shard, token);
        } else if self.store_failed {
            self.send_stuck(shard, token);
        } else {
            self.waiting_shards.push_back((seq, shard, token));
        }
    }

    /// There will be no answer: it would have to wait for a store that has failed.
    pub(crate) fn send_stuck(&mut self, shard: u16, token: u64) {
        self.say(shard, Say::Stuck, |writer| writer.int(token));
    }

    /// A QoS 2 message was released: the sisters forget that they have it, and answer when that is durable.
    pub(crate) fn release_on_sisters(&mut self, origin: Origin) -> Asked {
        if self.shards == 1 {
            return Asked::default();
        }
        let token = self.next_token();
        for shard in self.sisters() {
            self.say(shard, Say::Release, |writer| {
                writer.int(token);
                writer.int(origin.0);
                writer.int(origin.1 as u64);
            });
        }
        Asked { shards: self.shards - 1, token }
    }

    pub(crate) fn journal_released(&mut self, origin: Origin) -> u64 {
        let shard = self.shard;
        self.journal.record(Kind::Released, |record| {
            record.int(shard as u64);
            record.int(origin.0);
            record.int(origin.1 as u64);
        })
    }

    /// Asks the sisters to answer when they have heard all that was said to them; those in `deep`, when all of theirs have
    /// heard, too: the home of a shared subscription tells the others about it.
    pub(crate) fn ask_sisters(&mut self, deep: u64) -> Asked {
        if self.shards == 1 {
            return Asked::default();
        }
        let token = self.next_token();
        for shard in self.sisters() {
            self.say(shard, Say::Ask, |writer| {
                writer.int(token);
                writer.u8((deep & 1 << shard != 0) as u8);
            });
        }
        Asked { shards: self.shards - 1, token }
    }

    /// A session that the journal knew has ended: what it sent is forgotten, here and on the sister shards, but not before
    /// all has arrived. A sister may pass a message on to another one, where it must not come after the end.
    pub(crate) fn end_taken(&mut self, uid: u64) {
        self.groups.ended.push_back((self.groups.last_token, uid));
        self.forget_ended();
    }

    fn forget_ended(&mut self) {
        let oldest = self.groups.answers.keys().next().copied().unwrap_or(u64::MAX);
        while let Some((_, uid)) = self.groups.ended.pop_front_if(|(token, _)| *token < oldest) {
            self.taken.forget(uid);
            for shard in self.sisters() {
                self.say(shard, Say::Ended, |writer| writer.int(uid));
            }
        }
    }

    pub(crate) fn send_join(&mut self, home: u16, key: &str, member: &Member) {
        self.say(home, Say::Join, |writer| {
            writer.text(key);
            writer.int(member.uid);
            writer.options(member.options);
            writer.int(member.subscription_id as u64);
            writer.u8(member.online as u8);
        });
    }

    pub(crate) fn send_leave(&mut self, home: u16, key: &str, uid: u64) {
        self.say(home, Say::Leave, |writer| {
            writer.text(key);
            writer.int(uid);
        });
    }

    pub(crate) fn send_member_state(&mut self, home: u16, key: &str, uid: u64, online: bool) {
        self.say(home, Say::MemberState, |writer| {
            writer.text(key);
            writer.int(uid);
            writer.u8(online as u8);
        });
    }

    /// A sister shard says something. Messages of one sister must come in the order in which it sent them.
    pub fn handle_shard(&mut self, now: Now, from: u16, message: ShardMessage) {
        let mut reader = Reader(&message.0);
        while !reader.0.is_empty() {
            if self.hear(now, from, &mut reader).is_err() {
                debug_assert!(false, "a sister shard is not understood");
                return;
            }
        }
    }

    fn hear(&mut self, now: Now, from: u16, reader: &mut Reader<'_>) -> Read<()> {
        let say = Say::from_u8(reader.u8()?).ok_or(RestoreError("unknown message between shards"))?;
        match say {
            Say::Publish => self.hear_publish(now, from, reader)?,
            Say::Shared => self.hear_shared(now, from, reader)?,
            Say::Answer => {
                let token = reader.int()?;
                self.hear_answer(token);
            }
            Say::Stuck => {
                let token = reader.int()?;
                self.hear_stuck(now, token);
            }
            Say::Interest | Say::NoInterest => {
                let filter = reader.text()?;
                let node = self.trie.insert(filter);
                match say {
                    Say::Interest => *self.trie.remote_mut(node) |= 1 << from,
                    _ => *self.trie.remote_mut(node) &= !(1 << from),
                }
                self.trie.prune(node);
                self.changed(filter);
            }
            Say::Release => {
                let token = reader.int()?;
                let origin = (reader.int()?, reader.int()? as u16);
                let seq = match self.taken.release(origin) {
                    Some(true) => self.journal_released(origin),
                    Some(false) => 0,
                    // It may be repeated, and the record of the first on the way to the disk.
                    None => self.journal.seq(),
                };
                self.answer_after(from, token, seq);
            }
            Say::Ended => {
                let uid = reader.int()?;
                self.taken.forget(uid);
            }
            Say::Ask => {
                let (token, deep) = (reader.int()?, reader.u8()? != 0);
                match deep.then(|| self.ask_sisters(0)) {
                    Some(asked) if asked.shards > 0 => {
                        let waiter = Waiter::Shard { shard: from, token, seq: 0 };
                        self.groups.answers.insert(asked.token, (waiter, asked.shards));
                    }
                    _ => self.send_answer(from, token),
                }
            }
            Say::Join => {
                let key = reader.text()?;
                let member = Member {
                    shard: from,
                    uid: reader.int()?,
                    options: reader.options()?,
                    subscription_id: reader.int()? as u32,
                    online: reader.u8()? != 0,
                };
                self.join(key, member);
            }
            Say::Leave => {
                let (key, uid) = (reader.text()?, reader.int()?);
                self.leave(key, uid);
            }
            Say::MemberState => {
                let (key, uid, online) = (reader.text()?, reader.int()?, reader.u8()? != 0);
                self.member_state(key, uid, online);
            }
        }
        Ok(())
    }

    fn hear_answer(&mut self, token: u64) {
        let Some((waiter, left)) = self.groups.answers.get_mut(&token) else { return };
        let waiter = *waiter;
        *left -= 1;
        let last = *left == 0;
        if last {
            self.groups.answers.remove(&token);
        }
        match waiter {
            Waiter::Link(link, number) => self.shard_answered(link, number),
            Waiter::Shard { shard, token, seq } if last => self.answer_after(shard, token, seq),
            Waiter::Will(name) if last => self.will_answered(name),
            Waiter::Shard { .. } | Waiter::Will(_) => {}
        }
        if last {
            self.forget_ended();
        }
    }

    fn hear_stuck(&mut self, now: Now, token: u64) {
        match self.groups.answers.remove(&token) {
            Some((Waiter::Link(link, _), _)) => {
                if let Some(index) = self.session_of(link) {
                    self.end_stuck(now, index);
                }
            }
            Some((Waiter::Shard { shard, token, .. }, _)) => self.send_stuck(shard, token),
            // The will stays in the store, which has it.
            Some((Waiter::Will { .. }, _)) | None => {}
        }
        self.forget_ended();
    }

    fn hear_publish(&mut self, now: Now, from: u16, reader: &mut Reader<'_>) -> Read<()> {
        let token = reader.int()?;
        let origin = (reader.int()?, reader.int()? as u16);
        let origin = (origin.0 != 0).then_some(origin);
        let stamp = reader.optional_int()?;
        let parts = reader.parts(now)?;
        if let Some(stamp) = stamp {
            let author = if reader.u8()? != 0 { Some(reader.principal()?) } else { None };
            self.retain(parts, stamp, author.as_ref());
        }
        let mut fan = Fan::new(parts, None, self.buffers.pop().unwrap_or_default());
        let known = origin.and_then(|origin| Some(self.taken.get(origin, 0)?.members.clone()));
        let seq = match known {
            Some(members) => {
                fan.shared = members;
                self.journal.seq()
            }
            None => {
                let route = self.route(parts.topic);
                self.fan_out(now, &route, &mut fan);
                self.store_fan(now, &mut fan, origin, 0)
            }
        };
        self.pass_shared(now, from, &fan, origin, token, seq);
        for index in std::mem::take(&mut fan.pump) {
            self.pump(now, index);
        }
        self.recycle(fan.take_buffer());
        Ok(())
    }

    fn store_fan(&mut self, now: Now, fan: &mut Fan<'_>, origin: Option<Origin>, scope: u64) -> u64 {
        let journaled = !fan.durable.is_empty() || origin.is_some() && !fan.shared.is_empty();
        if let Some(origin) = origin {
            self.taken.insert(origin, scope, Part { journaled, members: fan.shared.clone() });
        }
        if journaled { self.journal_published(now, fan, origin, scope, None) } else { 0 }
    }

    /// Passes a sister's message on to members of shared subscriptions on other shards, and answers the sister once
    /// they have it and the journal is durable up to `seq`.
    fn pass_shared(
        &mut self,
        now: Now,
        from: u16,
        fan: &Fan<'_>,
        origin: Option<Origin>,
        token: u64,
        seq: u64,
    ) {
        if fan.shared.is_empty() {
            return self.answer_after(from, token, seq);
        }
        let own = if token == 0 { 0 } else { self.next_token() };
        let asked = self.forward_with(now, fan, 0, None, origin, own);
        if token != 0 {
            self.groups.answers.insert(own, (Waiter::Shard { shard: from, token, seq }, asked));
        }
    }

    fn hear_shared(&mut self, now: Now, from: u16, reader: &mut Reader<'_>) -> Read<()> {
        let token = reader.int()?;
        let origin = (reader.int()?, reader.int()? as u16);
        let origin = (origin.0 != 0).then_some(origin);
        let uid = reader.int()?;
        let (qos, flags) = reader.qos()?;
        let id = reader.int()? as u32;
        let parts = reader.parts(now)?;
        if origin.is_some_and(|origin| self.taken.get(origin, uid).is_some()) {
            self.answer_after(from, token, self.journal.seq());
            return Ok(());
        }
        let mut fan = Fan::new(parts, None, self.buffers.pop().unwrap_or_default());
        let watch = if self.hold.on { self.authorizer.watch(parts.topic) } else { Watch::NONE };
        fan.waits = watch.contains(Watch::DELAY);
        let found = self.sessions.find_uid(uid).filter(|_| !watch.contains(Watch::MUTE));
        let found = found.filter(|index| {
            let session = self.sessions.get(*index);
            session.is_some_and(|session| self.authorizer.may_receive(&session.who, parts.topic))
        });
        match found {
            Some(index) => {
                let ids = (id != 0).then(|| std::rc::Rc::from([id]));
                self.deliver_to(now, index, qos, flags & 1 != 0, ids, &mut fan);
            }
            None => self.stats.publish_dropped += 1,
        }
        let seq = self.store_fan(now, &mut fan, origin, uid);
        for index in std::mem::take(&mut fan.pump) {
            self.pump(now, index);
        }
        self.recycle(fan.take_buffer());
        self.answer_after(from, token, seq);
        Ok(())
    }
}
