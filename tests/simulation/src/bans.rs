//! Rights that come and go, and what an administrator does to sessions meanwhile.

use crate::model::Publication;
use crate::world::{Alive, TOPICS, World};
use ravelin_broker::{Authorizer, Publishing, Subscribing, Watch, home_shard};
use ravelin_event::Principal;
use ravelin_mqtt::{QoS, ReasonCode};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Where an administrator's answers go; nobody subscribes there.
const DIRECT: &str = "direct";

/// What the clients of a world may not do. Everybody else may do everything.
#[derive(Clone, Default)]
pub(crate) struct Bans {
    publish: BTreeSet<(usize, String)>,
    subscribe: BTreeSet<(usize, String)>,
    receive: BTreeSet<(usize, String)>,
    /// Clients that may not have wills.
    wills: BTreeSet<usize>,
    /// Topics whose messages wait.
    frozen: BTreeMap<&'static str, Watch>,
}

/// The client of a principal, if it is one of the world's.
fn client_of(who: &Principal) -> Option<usize> {
    who.client_id.strip_prefix("client-")?.parse().ok()
}

impl Authorizer for Bans {
    fn may_publish(&self, who: &Principal, what: &Publishing<'_>) -> bool {
        client_of(who).is_none_or(|client| match what.topic.starts_with("w/") {
            true => !self.wills.contains(&client),
            false => !self.publish.contains(&(client, what.topic.to_owned())),
        })
    }

    fn may_subscribe(&self, who: &Principal, what: &Subscribing<'_>) -> bool {
        let filter = match what.group {
            Some(group) => format!("$share/{group}/{}", what.filter),
            None => what.filter.to_owned(),
        };
        client_of(who).is_none_or(|client| !self.subscribe.contains(&(client, filter)))
    }

    fn may_receive(&self, who: &Principal, topic: &str) -> bool {
        client_of(who).is_none_or(|client| !self.receive.contains(&(client, topic.to_owned())))
    }

    fn watch(&self, topic: &str) -> Watch {
        self.frozen.get(topic).copied().unwrap_or(Watch::NONE)
    }

    fn freezes(&self) -> Watch {
        self.frozen.values().fold(Watch::NONE, |all, watch| all | *watch)
    }
}

/// What the world knows of the rights of its clients.
#[derive(Default)]
pub(crate) struct Law {
    pub bans: Bans,
    /// The last step in which a client might not receive a topic; the end of time while it may not.
    banned: BTreeMap<(usize, String), u64>,
    /// How far a connection had been written to when its client lost the right to a topic.
    written: BTreeMap<(usize, String), u64>,
    /// Subscriptions that were ended, with the step, until that is durable.
    ended: Vec<(u64, usize, u64)>,
    /// Messages that were sent, once at least, when it was not allowed.
    pub denied: BTreeSet<u64>,
}

impl Law {
    pub fn may_publish(&self, client: usize, topic: &str) -> bool {
        !self.bans.publish.contains(&(client, topic.to_owned()))
    }

    pub fn may_subscribe(&self, client: usize, filter: &str) -> bool {
        !self.bans.subscribe.contains(&(client, filter.to_owned()))
    }

    /// Whether what is published to a topic waits.
    pub fn is_frozen(&self, topic: &str) -> bool {
        self.bans.watch(topic).contains(Watch::HOLD)
    }

    pub fn may_have_will(&self, client: usize) -> bool {
        !self.bans.wills.contains(&client)
    }

    /// The last step in which the client might not receive the topic.
    pub fn banned(&self, client: usize, topic: &str) -> Option<u64> {
        self.banned.get(&(client, topic.to_owned())).copied()
    }

    /// A packet that ends `at` bytes into the connection has brought a message.
    pub fn check_received(&self, client: usize, topic: &str, at: u64) {
        let key = (client, topic.to_owned());
        if self.bans.receive.contains(&key) {
            let written = self.written.get(&key).copied().unwrap_or(0);
            assert!(at <= written, "client-{client} may not receive {topic}");
        }
    }

    /// The client has a new connection: nothing is written to it.
    pub fn connected(&mut self, client: usize) {
        self.written.retain(|(other, _), _| *other != client);
    }
}

impl World {
    /// Some right goes, or comes back.
    pub(crate) fn change_rights(&mut self) {
        let client = self.random.below(self.clients.len());
        let topic = (*self.random.pick(&TOPICS)).to_owned();
        let filter = self.random.below(self.model.filters.len());
        let filter = self.model.filters[filter].text.to_owned();
        // Whatever has happened so far happened under the old rights.
        self.look_at_events();
        let bans = &mut self.law.bans;
        let toggle = |set: &mut BTreeSet<(usize, String)>, name: String| {
            let key = (client, name);
            set.remove(&key) || !set.insert(key)
        };
        let what = match self.random.below(4) {
            0 => format!("publish {topic}: {}", toggle(&mut bans.publish, topic.clone())),
            1 => format!("subscribe {filter}: {}", toggle(&mut bans.subscribe, filter.clone())),
            2 => format!("have wills: {}", bans.wills.remove(&client) || !bans.wills.insert(client)),
            _ => {
                let allowed = toggle(&mut bans.receive, topic.clone());
                let step = if allowed { self.step } else { u64::MAX };
                let written = self.written(client);
                self.law.banned.insert((client, topic.clone()), step);
                self.law.written.insert((client, topic.clone()), written);
                format!("receive {topic}: {allowed}")
            }
        };
        self.note(|world| format!("{} may {what}", world.clients[client].id));
        self.apply_rights();
    }

    /// A topic is frozen, so that its messages wait; or it is not any more.
    pub(crate) fn change_freezes(&mut self) {
        let topic = *self.random.pick(&TOPICS);
        let ways = [
            Watch::HOLD,
            Watch::HOLD | Watch::DELAY,
            Watch::HOLD | Watch::DELAY | Watch::WITHHOLD,
            Watch::HOLD | Watch::WITHHOLD,
        ];
        let way = *self.random.pick(&ways);
        self.look_at_events();
        if self.law.bans.frozen.remove(topic).is_none() {
            self.law.bans.frozen.insert(topic, way);
        }
        self.note(|world| format!("frozen: {:?}", world.law.bans.frozen));
        self.apply_freezes();
    }

    fn apply_freezes(&mut self) {
        let now_ms = self.now_ms();
        let bans = &self.law.bans;
        self.retained.waited(now_ms, |topic| bans.watch(topic).contains(Watch::HOLD));
        self.cluster.set_freezes(Rc::new(bans.clone()));
    }

    fn apply_rights(&mut self) {
        self.cluster.set_rights(Rc::new(self.law.bans.clone()));
        self.rights_applied();
    }

    /// The shards go by the rights: what these forbid is over.
    pub(crate) fn rights_applied(&mut self) {
        let step = self.step;
        for client in self.law.bans.wills.clone() {
            self.wills.forbidden(client, step);
        }
        for (client, filter) in &self.law.bans.subscribe {
            for entry in self.model.entries.iter_mut() {
                let is = entry.client == *client && self.model.filters[entry.filter].text == *filter;
                if is && entry.may_until.is_none() {
                    entry.must_until.get_or_insert(step);
                    self.law.ended.push((entry.no, *client, step));
                }
            }
        }
    }

    /// That subscriptions were ended is durable where it was on the disk's way.
    pub(crate) fn look_at_ended(&mut self) {
        let ended = std::mem::take(&mut self.law.ended);
        for (no, client, at) in ended {
            let home = home_shard(&self.clients[client].id, self.cluster.shards());
            match self.synced[home as usize] >= at {
                true => self.model.unsubscribed(no, self.step),
                false => self.law.ended.push((no, client, at)),
            }
        }
    }

    /// The process has died: what was not durable may not have happened, and what is still forbidden is ended again.
    pub(crate) fn rights_after_crash(&mut self) {
        self.law.ended.clear();
        self.law.written.clear();
        self.rights_applied();
    }

    /// Everybody may publish everything and have wills again.
    pub(crate) fn allow_publishing(&mut self) {
        self.look_at_events();
        self.law.bans.publish.clear();
        self.law.bans.wills.clear();
        self.apply_rights();
        self.law.bans.frozen.clear();
        self.apply_freezes();
    }

    /// Everything is quiet: only what is forbidden now can have consequences.
    pub(crate) fn quiet_rights(&mut self) {
        self.law.banned.retain(|_, step| *step == u64::MAX);
        self.law.denied.clear();
    }

    fn written(&mut self, client: usize) -> u64 {
        let id = self.clients[client].id.clone();
        let (home, now) = self.cluster.home(&id);
        let link = home.session(now, &id).and_then(|info| info.link);
        link.map_or(0, |link| link.bytes_out + link.outbound_bytes as u64)
    }

    /// Messages for the client's session that were dropped, since it began or the process did.
    pub(crate) fn dropped(&mut self, client: usize) -> u64 {
        let id = self.clients[client].id.clone();
        let (home, now) = self.cluster.home(&id);
        home.session(now, &id).map_or(0, |info| info.dropped)
    }

    /// An administrator answers a client.
    pub(crate) fn publish_direct(&mut self, client: usize) {
        self.last_tag += 1;
        let tag = self.last_tag;
        let qos = *self.random.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let id = self.clients[client].id.clone();
        let (home, now) = self.cluster.home(&id);
        let taken = home.publish_direct(now, &id, DIRECT, tag.to_string().as_bytes(), qos);
        self.cluster.turn_all();
        self.note(|_| format!("{tag} is sent to {id}, {qos:?}: {taken}"));
        if taken {
            let direct = Some((client, self.known[client].no));
            let publication = Publication {
                direct,
                accepted: Some(self.step),
                sends: 1,
                ..Publication::new(None, DIRECT, qos, self.step)
            };
            self.model.publications.insert(tag, publication);
        }
    }

    /// An administrator ends a connection.
    pub(crate) fn disconnect_by_force(&mut self, client: usize) {
        let id = self.clients[client].id.clone();
        let connected = self.clients[client].conn.is_some();
        self.look_at_events();
        if connected {
            self.left(client, self.now_ms(), true);
        }
        self.note(|_| format!("{id} is disconnected"));
        let (home, now) = self.cluster.home(&id);
        let reason = ReasonCode::ADMINISTRATIVE_ACTION;
        assert_eq!(home.disconnect_session(now, &id, reason, Some("because".into())), connected);
        self.cluster.turn_all();
        self.look();
    }

    /// An administrator ends a session.
    pub(crate) fn wipe(&mut self, client: usize) {
        let id = self.clients[client].id.clone();
        self.look_at_events();
        if self.clients[client].conn.is_some() {
            self.left(client, self.now_ms(), true);
        }
        self.note(|_| format!("the session of {id} is wiped"));
        let (home, now) = self.cluster.home(&id);
        home.end_session(now, &id, true);
        self.cluster.turn_all();
        let (now_ms, step) = (self.now_ms(), self.step);
        // The will is due when the session ends (MQTT-3.1.3-9).
        self.wills.reconnected(client, false, now_ms, step);
        let known = &mut self.known[client];
        if known.alive != Alive::No {
            (known.alive, known.changed, known.moved) = (Alive::No, step, step);
        }
        let no = known.no;
        self.model.ended(client, no, step);
        self.look();
    }
}
