//! Connections come and go, and the process dies: what is then known of the sessions.

use crate::model::Publication;
use crate::wire::{Login, Message};
use crate::world::{Alive, Known, World};
use ravelin_broker::home_shard;
use ravelin_event::Event;
use ravelin_mqtt::Version;

impl World {
    pub(crate) fn login(&mut self, client: usize) -> Login {
        let random = &mut self.random;
        let id = self.clients[client].id.clone();
        let v5 = !random.one_in(3);
        let mut login = if v5 { Login::v5(&id) } else { Login::v311(&id) };
        login.clean = self.clients[client].must_clean || random.one_in(4);
        if v5 {
            login.expiry_s = *random.pick(&[None, Some(2), Some(20), Some(2000), Some(2000)]);
            login.receive_max = *random.pick(&[None, Some(1), Some(3)]);
            login.alias_max = *random.pick(&[0, 0, 2]);
        }
        login.keep_alive_s = *random.pick(&[0, 0, 0, 4]);
        if random.one_in(3) && self.law.may_have_will(client) {
            self.last_tag += 1;
            let tag = self.last_tag;
            let text = tag.to_string();
            let qos = self.random.below(3) as u8;
            let mut message = Message::new(&format!("w/{text}"), &text, qos);
            message.retain = self.random.one_in(5);
            let delay_s = if v5 { *self.random.pick(&[0, 0, 1, 5]) } else { 0 };
            self.will_messages.insert(tag, message.clone());
            login = login.with_will(message, delay_s);
        }
        login
    }

    pub(crate) fn expected_present(&self, client: usize, clean: bool) -> Option<bool> {
        let known = &self.known[client];
        match known.alive {
            _ if clean => Some(false),
            Alive::No => Some(false),
            Alive::Unknown => None,
            Alive::Yes(..) if self.clients[client].conn.is_some() => Some(known.durable),
            Alive::Yes(earliest, _) if self.now_ms() < earliest => Some(true),
            Alive::Yes(_, latest) if self.now_ms() >= latest => Some(false),
            Alive::Yes(..) => None,
        }
    }

    pub(crate) fn connect(&mut self, client: usize) {
        let login = self.login(client);
        self.connect_with(client, login);
    }

    pub(crate) fn connect_with(&mut self, client: usize, login: Login) {
        let (expected, now_ms, step) = (self.expected_present(client, login.clean), self.now_ms(), self.step);
        let will = login.will.as_ref().map(|(message, delay_s, _)| (message.clone(), *delay_s));
        let expiry_s = match login.version {
            Version::V5 => login.expiry_s.unwrap_or(0),
            Version::V311 if login.clean => 0,
            Version::V311 => self.cluster.limits.session_expiry_s_max,
        };
        self.note(|_| format!("{login:?}"));
        self.law.connected(client);
        self.clients[client].connect(&mut self.cluster, login);
        let told = |(_, event): &(_, Event)| match event {
            Event::Connected { session_present, .. } => Some(*session_present),
            _ => None,
        };
        let present = self.cluster.events.iter().find_map(told).expect("an event says so");
        assert!(expected.is_none_or(|expected| expected == present), "session present: {present}");
        self.wills.reconnected(client, present, now_ms, step);
        let known = &mut self.known[client];
        let (old, durable) = (known.no, expiry_s > 0);
        if !present {
            *known =
                Known { no: old + 1, changed: step, fuzzy: false, subscribes: 0, longest_ms: 0, ..*known };
        } else if known.durable != durable || known.alive == Alive::Unknown {
            known.changed = step;
        }
        known.alive = Alive::Yes(u64::MAX, u64::MAX);
        (known.durable, known.expiry_ms, known.moved) = (durable, expiry_s as u64 * 1000, step);
        known.longest_ms = known.longest_ms.max(known.expiry_ms);
        known.present = present;
        if !present {
            self.model.ended(client, old, step);
            self.clients[client].forget_received();
            // What is sent again to a new session is a new message to it.
            self.may_come_twice(client);
        }
        if let Some((message, delay_s)) = will {
            let tag = message.text().parse().expect("a tag");
            self.wills.armed(tag, client, delay_s as u64 * 1000, step);
        }
        self.look();
    }

    /// CONNACK: what it says is durable. What was under way is sent again.
    pub(crate) fn connected(&mut self, client: usize, present: bool) {
        let (now_ms, known) = (self.now_ms(), &mut self.known[client]);
        assert_eq!(known.present, present, "Session Present");
        (known.changed, known.moved) = (0, 0);
        self.wills.confirmed(client);
        for tag in self.clients[client].send_again(&mut self.cluster) {
            let outgoing = self.clients[client].outgoing.iter().find(|outgoing| outgoing.tag == tag);
            let message = outgoing.expect("it was just sent").message.clone();
            // For the broker its time begins anew.
            let v5 = self.clients[client].version() == Version::V5;
            let expiry_s = message.expiry_s.filter(|_| v5);
            let expires_ms = expiry_s.map(|s| now_ms + s as u64 * 1000);
            if !self.law.may_publish(client, &message.topic) {
                self.law.denied.insert(tag);
                continue;
            }
            if message.retain {
                let empty = message.payload.is_empty();
                self.retained.published(&message.topic, tag, empty, now_ms, expires_ms, self.step);
                // One of 3.1.1 that was refused may have been answered as if it was taken.
                if self.law.denied.contains(&tag) || self.law.is_frozen(&message.topic) {
                    self.retained.waits(&message.topic, tag);
                }
            }
            if self.law.denied.contains(&tag) && !message.payload.is_empty() {
                // It may not have been allowed before.
                let (step, qos) = (self.step, message.qos);
                let first = || Publication {
                    retain: message.retain,
                    expires_ms,
                    may_expire: message.expiry_s.is_some(),
                    ..Publication::new(Some(client), &message.topic, qos, step)
                };
                self.model.publications.entry(tag).or_insert_with(first);
            }
            if let Some(publication) = self.model.publications.get_mut(&tag) {
                publication.sends += 1;
                let last = publication.expires_ms.zip(expires_ms).map(|(first, again)| first.max(again));
                publication.expires_ms = last;
            }
        }
    }

    pub(crate) fn may_come_twice(&mut self, client: usize) {
        for outgoing in &self.clients[client].outgoing {
            if let Some(publication) = self.model.publications.get_mut(&outgoing.tag) {
                publication.recounted = true;
            }
        }
    }

    /// A connection has ended, at a time of the wall clock.
    pub(crate) fn left(&mut self, client: usize, at_ms: u64, with_will: bool) {
        let step = self.step;
        let known = &mut self.known[client];
        let expiry_ms = if known.durable { known.expiry_ms } else { 0 };
        known.moved = step;
        known.alive =
            if known.durable { Alive::Yes(at_ms + expiry_ms, at_ms + expiry_ms) } else { Alive::No };
        let (no, durable) = (known.no, known.durable);
        if !durable {
            self.model.ended(client, no, step);
        }
        match with_will {
            true => self.wills.lost(client, at_ms, expiry_ms, step),
            false => self.wills.withdrawn(client, step),
        }
        self.clients[client].lose();
    }

    pub(crate) fn drop_conn(&mut self, client: usize) {
        let Some(conn) = self.clients[client].conn else { return };
        self.note(|world| format!("{} is lost", world.clients[client].id));
        // The client may have read some of it.
        if self.random.one_in(2) {
            self.read(client);
        }
        self.left(client, self.now_ms(), true);
        self.cluster.drop_conn(conn);
    }

    pub(crate) fn disconnect(&mut self, client: usize) {
        let Some(conn) = self.clients[client].conn.filter(|_| self.clients[client].ready) else { return };
        let with_will = self.clients[client].version() == Version::V5 && self.random.one_in(3);
        self.note(|world| format!("{} says goodbye, with will: {with_will}", world.clients[client].id));
        let bytes: &[u8] = if with_will { &[0xE0, 1, 4] } else { &[0xE0, 0] };
        self.left(client, self.now_ms(), with_will);
        self.cluster.send(conn, bytes);
        assert!(!self.cluster.is_open(conn));
    }

    pub(crate) fn crash(&mut self) {
        let before = self.cluster.shards();
        let shards = if self.random.one_in(3) { 1 + self.random.below(3) as u16 } else { before };
        self.note(|world| format!("crash; {shards} shards; durable up to {:?}", world.synced));
        self.cluster.down_ms = *self.random.pick(&[0, 100, 4_000]);
        let mut random = self.random.clone();
        self.cluster.crash(&mut random, shards);
        self.random = random;
        self.model.crashes += 1;
        self.last_crash = self.step;
        let now_ms = self.now_ms();
        let durable: Vec<u64> =
            self.clients.iter().map(|client| self.synced[home_shard(&client.id, before) as usize]).collect();
        for (client, &durable) in durable.iter().enumerate() {
            let connected = self.clients[client].conn.is_some();
            self.clients[client].lose();
            if shards != before {
                self.may_come_twice(client);
            }
            let known = &mut self.known[client];
            let fresh = now_ms + known.expiry_ms;
            if known.changed > durable || known.alive == Alive::Unknown {
                known.alive = Alive::Unknown;
                known.fuzzy = true;
                self.model.uncertain(client);
            } else if known.alive != Alive::No && !known.durable {
                known.alive = Alive::No;
                let no = known.no;
                self.model.ended(client, no, self.step);
            } else if let Alive::Yes(earliest, latest) = known.alive {
                let certain = known.moved <= durable;
                known.alive = match (connected, certain) {
                    (true, true) => Alive::Yes(fresh, fresh),
                    // That it came back is not on disk: it may have been away all the time.
                    (true, false) => Alive::Unknown,
                    // What ran out while the process was down ends with the start.
                    (false, true) => Alive::Yes(earliest.max(now_ms), latest.max(now_ms)),
                    // Nor is the expiry of its last connection, then.
                    (false, false) => Alive::Yes(now_ms, latest.max(now_ms + known.longest_ms)),
                };
            }
            self.known[client].moved = self.step;
        }
        let expiry_ms = |client: usize| {
            let known: &Known = &self.known[client];
            if known.durable { known.expiry_ms } else { 0 }
        };
        self.wills.crashed(now_ms, |client| durable[client], expiry_ms, self.step);
        self.synced = vec![0; shards as usize];
        self.rights_after_crash();
        self.advance(0);
    }
}
