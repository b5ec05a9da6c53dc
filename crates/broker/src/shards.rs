//! What shards tell each other.
//!
//! A shard knows of its sisters only which filters they want. A publish goes to the sisters that want it, which match it
//! among their own sessions and answer, where the publisher waits for an acknowledgement, once what must be durable is.

use crate::deliver::{Fan, RemoteMember};
use crate::journal::{Kind, Reader, Writer};
use crate::publish::Asked;
use crate::share::Member;
use crate::{Broker, Now, Output, RestoreError, ShardMessage};
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
}

impl Say {
    fn from_u8(value: u8) -> Option<Say> {
        use Say::*;
        [Publish, Answer, Interest, NoInterest, Release, Join, Leave, MemberState, Shared]
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
        _index: u32,
        fan: &Fan<'_>,
        remote: u64,
        stamp: Option<u64>,
        origin: Option<(u64, u16)>,
    ) -> Asked {
        if remote == 0 && fan.shared.is_empty() {
            return Asked::default();
        }
        let token = if fan.parts.qos == QoS::AtMostOnce { 0 } else { self.next_token() };
        let asked = self.forward_with(now, fan, remote, stamp, origin, token);
        if token == 0 { Asked::default() } else { Asked { shards: asked, token } }
    }

    /// Sends the broker's own message; nobody waits for an answer.
    pub(crate) fn forward_own(&mut self, now: Now, fan: &Fan<'_>, remote: u64, stamp: Option<u64>) {
        self.forward_with(now, fan, remote, stamp, None, 0);
    }

    fn forward_with(
        &mut self,
        now: Now,
        fan: &Fan<'_>,
        remote: u64,
        stamp: Option<u64>,
        origin: Option<(u64, u16)>,
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
            });
        }
        for member in &fan.shared {
            asked += 1;
            self.say(member.shard, Say::Shared, |writer| {
                writer.int(token);
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
        } else {
            self.waiting_shards.push_back((seq, shard, token));
        }
    }

    /// A QoS 2 message was released: the sisters forget that they have it, and answer when that is durable.
    pub(crate) fn release_on_sisters(&mut self, origin: (u64, u16)) -> Asked {
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

    pub(crate) fn journal_released(&mut self, origin: (u64, u16)) -> u64 {
        let shard = self.shard;
        self.journal.record(Kind::Released, |record| {
            record.int(shard as u64);
            record.int(origin.0);
            record.int(origin.1 as u64);
        })
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
                let seq = if self.taken.remove(&origin) { self.journal_released(origin) } else { 0 };
                self.answer_after(from, token, seq);
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
        let Some((link, number, left)) = self.groups.answers.get_mut(&token) else { return };
        let (link, number) = (*link, *number);
        *left -= 1;
        if *left == 0 {
            self.groups.answers.remove(&token);
        }
        self.shard_answered(link, number);
    }

    fn hear_publish(&mut self, now: Now, from: u16, reader: &mut Reader<'_>) -> Read<()> {
        let token = reader.int()?;
        let origin = (reader.int()?, reader.int()? as u16);
        let origin = (origin.0 != 0).then_some(origin);
        let stamp = reader.optional_int()?;
        let parts = reader.parts(now)?;
        if origin.is_some_and(|origin| self.taken.contains(&origin)) {
            self.answer_after(from, token, self.journal.seq());
            return Ok(());
        }
        let route = self.route(parts.topic);
        let mut fan = Fan::new(parts, None, self.buffers.pop().unwrap_or_default());
        self.fan_out(now, &route, &mut fan);
        // Members elsewhere are told without an answer of their own: the group's home vouches for them.
        let asked = std::mem::take(&mut fan.shared);
        let seq = self.store_fan(now, &mut fan, origin);
        self.pass_shared(now, &fan, asked);
        if let Some(stamp) = stamp {
            self.retain(parts, stamp);
        }
        for index in std::mem::take(&mut fan.pump) {
            self.pump(now, index);
        }
        self.recycle(fan.into_buffer());
        self.answer_after(from, token, seq);
        Ok(())
    }

    fn store_fan(&mut self, now: Now, fan: &mut Fan<'_>, origin: Option<(u64, u16)>) -> u64 {
        if fan.durable.is_empty() {
            return 0;
        }
        if let Some(origin) = origin {
            self.taken.insert(origin);
        }
        self.journal_published(now, fan, origin, None)
    }

    fn pass_shared(&mut self, now: Now, fan: &Fan<'_>, members: Vec<RemoteMember>) {
        let mut shared = Fan::new(fan.parts, None, Vec::new());
        shared.shared = members;
        self.forward_with(now, &shared, 0, None, None, 0);
    }

    fn hear_shared(&mut self, now: Now, from: u16, reader: &mut Reader<'_>) -> Read<()> {
        let (token, uid) = (reader.int()?, reader.int()?);
        let (qos, flags) = reader.qos()?;
        let id = reader.int()? as u32;
        let parts = reader.parts(now)?;
        let mut fan = Fan::new(parts, None, self.buffers.pop().unwrap_or_default());
        let found = self.sessions.find_uid(uid).filter(|index| {
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
        let seq = self.store_fan(now, &mut fan, None);
        for index in std::mem::take(&mut fan.pump) {
            self.pump(now, index);
        }
        self.recycle(fan.into_buffer());
        self.answer_after(from, token, seq);
        Ok(())
    }
}
