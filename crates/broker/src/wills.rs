//! Wills that are published. A will for others than this shard's sessions is kept, under a name of its own, until all who
//! get it have it on disk: the session that it came from may have a new connection by then, or have ended.

use crate::journal::{Kind, Reader};
use crate::message::Parts;
use crate::publish::By;
use crate::restore::read_will;
use crate::session::StoredWill;
use crate::share::Waiter;
use crate::taken::Origin;
use crate::{Broker, Now, Publishing, RestoreError};
use ravelin_event::{Event, Principal, Refusal};
use std::rc::Rc;

/// Stands for the Packet Identifier of a will, which has none; its name stands for the uid.
const WILL: u16 = 0;

/// A will that was published and that sister shards have not yet answered for.
pub(crate) struct Published {
    /// The session that it came from.
    pub uid: u64,
    pub who: Principal,
    pub will: StoredWill,
}

impl Published {
    /// What names the will as a message.
    fn origin(&self) -> Origin {
        (self.will.name, WILL)
    }

    /// Reads what [`Broker::journal_published_will`] wrote.
    pub fn read(now: Now, reader: &mut Reader<'_>) -> Result<Published, RestoreError> {
        let uid = reader.int()?;
        let who = reader.principal()?;
        let will = read_will(now, reader)?.ok_or(RestoreError("a will is missing"))?;
        Ok(Published { uid, who, will })
    }
}

impl Broker {
    /// Publishes the session's will now.
    pub(crate) fn publish_will(&mut self, now: Now, index: u32) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some(will) = session.will.take() else { return };
        let published = Published { uid: session.uid, who: session.who.clone(), will: *will };
        self.send_will(now, published, false);
    }

    /// `again`: an earlier process has published it, and may not have come far.
    pub(crate) fn send_will(&mut self, now: Now, published: Published, again: bool) {
        let published = match self.hold.on {
            true => self.freezes_will(now, published, again),
            false => Some(published),
        };
        let Some(published) = published else { return };
        let Published { who, will, .. } = &published;
        let (client_id, message) = (who.client_id.to_string(), will.message.clone());
        // Rights may have changed since CONNECT.
        let what = Publishing { topic: message.topic(), qos: message.qos, retain: message.retain };
        if !self.authorizer.may_publish(who, &what) {
            self.stats.denied += 1;
            self.refuse_will(&published, Refusal::AccessRule);
            return self.will_done(&published, again);
        }
        let expires_ms = will.expiry_s.map(|s| now.mono_ms + s as u64 * 1000);
        let parts = Parts { expires_ms, ..message.parts() };
        self.event(Event::WillPublished { client_id, topic: message.topic().to_owned() });
        let asked =
            self.publish_own(now, parts, Some(By { who, again, will: true }), Some(published.origin()));
        if asked.shards == 0 {
            return self.will_done(&published, again);
        }
        // A sister writes its part into the journal at its own time: if the node dies between, the will goes out again, and
        // whoever has it knows its name.
        self.journal_published_will(now, &published);
        self.journal_will_gone(published.uid);
        self.groups.answers.insert(asked.token, (Waiter::Will(published.will.name), asked.shards));
        self.wills.insert(published.will.name, Rc::new(published));
    }

    /// All who get a will have it.
    pub(crate) fn will_answered(&mut self, name: u64) {
        if let Some(published) = self.wills.remove(&name) {
            self.will_done(&published, true);
        }
    }

    pub(crate) fn refuse_will(&mut self, published: &Published, why: Refusal) {
        let who = &published.who;
        self.outputs.push_back(crate::Output::Event(Event::PublishRefused {
            client_id: who.client_id.to_string(),
            identity: who.identity.as_deref().map(str::to_owned),
            address: who.address,
            topic: published.will.message.topic().to_owned(),
            why,
        }));
    }

    /// ... or nobody does. `named`: the journal knows it by its name.
    pub(crate) fn will_done(&mut self, published: &Published, named: bool) {
        if self.taken.release(published.origin()).is_some() || named {
            self.journal_released(published.origin());
        }
        self.journal_will_gone(published.uid);
        self.release_on_sisters(published.origin());
    }

    /// The journal forgets the will of a session, unless the client has come back with another one.
    pub(crate) fn journal_will_gone(&mut self, uid: u64) {
        let session = self.sessions.find_uid(uid).and_then(|index| self.sessions.get(index));
        if session.is_some_and(|session| session.will.is_none()) {
            self.journal.record(Kind::WillGone, |record| record.int(uid));
        }
    }

    /// Writes a will that was published, by its name.
    pub(crate) fn journal_published_will(&mut self, now: Now, published: &Published) {
        self.journal.record(Kind::WillPublished, |record| {
            record.int(published.uid);
            record.principal(&published.who);
            crate::checkpoint::write_will(record, now, Some(&published.will));
        });
    }
}
