//! Clients subscribe, publish and read.

use crate::client::Heard;
use crate::model::{Filter, Publication, Receiver};
use crate::wire::{Message, subscribe, unsubscribe};
use crate::world::{TOPICS, World};
use ravelin_mqtt::{ReasonCode, SubscribeOptions, Version};

impl World {
    pub(crate) fn subscribe(&mut self, client: usize) {
        if !self.clients[client].ready {
            return;
        }
        let (no, version) = (self.known[client].no, self.clients[client].version());
        let mut chosen = vec![self.random.below(self.model.filters.len())];
        if self.random.one_in(4) {
            chosen.push(self.random.below(self.model.filters.len()));
        }
        let id = self.model.filters[chosen[0]].id;
        // One SUBSCRIBE has one identifier, and a filter always the same options.
        let fits = |filter: &Filter| filter.id == id && (version == Version::V5 || !filter.no_local);
        let may = |filter: &Filter| self.law.may_subscribe(client, filter.text);
        chosen.retain(|&filter| fits(&self.model.filters[filter]) && may(&self.model.filters[filter]));
        if chosen.is_empty() {
            return;
        }
        let subscription_id = id.filter(|_| version == Version::V5);
        let (mut filters, mut subscriptions) = (Vec::new(), Vec::new());
        for &filter in &chosen {
            subscriptions.push(self.model.subscribe(client, no, filter));
            let Filter { text, qos, no_local, retain_as_published, .. } = self.model.filters[filter];
            filters
                .push((text, SubscribeOptions { qos, no_local, retain_as_published, ..Default::default() }));
        }
        self.known[client].subscribes += chosen.len() as u32;
        let id = self.clients[client].free_id();
        self.note(|world| format!("{} subscribes to {filters:?}", world.clients[client].id));
        self.clients[client].await_suback(id, subscriptions);
        self.clients[client].send(&mut self.cluster, &subscribe(version, id, subscription_id, &filters));
    }

    pub(crate) fn unsubscribe(&mut self, client: usize) {
        if !self.clients[client].ready {
            return;
        }
        let (no, version) = (self.known[client].no, self.clients[client].version());
        let mine = |entry: &&crate::model::Entry| entry.client == client && entry.may_until.is_none();
        let all: Vec<usize> = self.model.entries.iter().filter(mine).map(|entry| entry.filter).collect();
        if all.is_empty() {
            return;
        }
        let filter = *self.random.pick(&all);
        let subscriptions = self.model.unsubscribe(client, no, filter, self.step);
        let id = self.clients[client].free_id();
        let text = self.model.filters[filter].text;
        self.note(|world| format!("{} unsubscribes from {text}", world.clients[client].id));
        self.clients[client].await_unsuback(id, subscriptions);
        self.clients[client].send(&mut self.cluster, &unsubscribe(version, id, &[text]));
    }

    pub(crate) fn publish(&mut self, client: usize) {
        if !self.clients[client].ready || self.clients[client].outgoing.len() >= 200 {
            return;
        }
        self.last_tag += 1;
        let (tag, now_ms, step) = (self.last_tag, self.now_ms(), self.step);
        let random = &mut self.random;
        let topic = *random.pick(&TOPICS);
        let mut message = Message::new(topic, &tag.to_string(), random.below(3) as u8);
        message.retain = random.one_in(8);
        if message.retain && random.one_in(3) {
            message.payload.clear();
        } else if random.one_in(20) {
            message.payload.resize(5000, b' ');
        } else if self.tight && !message.retain && random.one_in(50) {
            message.payload.resize(100_000, b' ');
        }
        if self.clients[client].version() == Version::V5 && random.one_in(10) {
            message.expiry_s = Some(*random.pick(&[1, 5, 100]));
        }
        let expires_ms = message.expiry_s.map(|s| now_ms + s as u64 * 1000);
        let empty = message.payload.is_empty();
        let allowed = self.law.may_publish(client, topic);
        if !allowed {
            self.law.denied.insert(tag);
        }
        if message.retain && allowed {
            self.retained.published(topic, tag, empty, now_ms, expires_ms, step);
            if self.law.is_frozen(topic) {
                self.retained.waits(topic, tag);
            }
        }
        if !empty && allowed {
            let publication = Publication {
                retain: message.retain,
                expires_ms,
                may_expire: expires_ms.is_some(),
                sends: 1,
                ..Publication::new(Some(client), topic, message.qos, step)
            };
            self.model.publications.insert(tag, publication);
        }
        self.note(|world| {
            let Message { qos, retain, expiry_s, .. } = message;
            format!("{} publishes {tag} to {topic}, {qos:?} {retain} {expiry_s:?}", world.clients[client].id)
        });
        self.clients[client].publish(&mut self.cluster, message, tag);
    }

    /// The client reads what has arrived. Tells whether there was something.
    pub(crate) fn read(&mut self, client: usize) -> bool {
        let heard = self.clients[client].read(&mut self.cluster);
        let any = !heard.is_empty();
        let (no, step) = (self.known[client].no, self.step);
        for heard in heard {
            match heard {
                Heard::Connected(present) => self.connected(client, present),
                Heard::Message(message, at) => {
                    self.law.check_received(client, &message.topic, at);
                    let receiver = Receiver {
                        client,
                        session: no,
                        fuzzy: self.known[client].fuzzy,
                        read_ms: self.clients[client].read_ms,
                        subscribes: self.known[client].subscribes,
                        banned: self.law.banned(client, &message.topic),
                    };
                    self.note(|world| {
                        let Message { dup, id, qos, .. } = message;
                        let text = message.text().trim_end();
                        format!("{} gets {text} as {id}, {qos:?} dup {dup}", world.clients[client].id)
                    });
                    self.model.received(&receiver, &message);
                }
                Heard::Denied(tag) => {
                    assert!(self.law.denied.contains(&tag), "{tag} was refused, but it was allowed");
                }
                // A client of 3.1.1 is not told that it may not (MQTT-3.3.5-2).
                Heard::Accepted(tag) if self.law.denied.contains(&tag) => {}
                Heard::Accepted(tag) => {
                    self.retained.accepted(tag);
                    if let Some(publication) = self.model.publications.get_mut(&tag) {
                        publication.accepted.get_or_insert(step);
                    }
                }
                Heard::Subscribed(all) => all.iter().for_each(|&no| self.model.subscribed(no, step)),
                Heard::Unsubscribed(all) => all.iter().for_each(|&no| self.model.unsubscribed(no, step)),
                Heard::Ended(reason) => {
                    let expected = [
                        ReasonCode::SESSION_TAKEN_OVER,
                        ReasonCode::KEEP_ALIVE_TIMEOUT,
                        ReasonCode::ADMINISTRATIVE_ACTION,
                    ];
                    assert!(expected.contains(&reason), "{} was told {reason}", self.clients[client].id);
                }
            }
        }
        // Before the CONNACK, messages may wait behind it.
        if self.clients[client].ready && !self.clients[client].stalled {
            self.clients[client].read_ms = self.now_ms();
        }
        any
    }
}
