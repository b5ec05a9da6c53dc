//! Clients that do anything at any time, against shards, mail and a disk that are late, and a process that dies.

use crate::client::{Client, Heard};
use crate::model::{Filter, Model, Publication, Receiver};
use crate::retained::Retained;
use crate::wills::Wills;
use crate::wire::{Login, Message, subscribe, unsubscribe};
use crate::{Cluster, Random};
use ravelin_broker::{Limits, home_shard};
use ravelin_event::{DisconnectCause, Event};
use ravelin_mqtt::{QoS, ReasonCode, SubscribeOptions, Version};
use std::collections::{BTreeMap, VecDeque};

pub(crate) const TOPICS: [&str; 7] = ["a", "a/b", "a/b/c", "b", "b/c", "/c", "$d/e"];

/// Whether the broker has a session for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alive {
    No,
    /// It ends at a time of the wall clock between these two, if the client is away.
    Yes(u64, u64),
    Unknown,
}

/// What is known of the session that the broker has for a client.
pub(crate) struct Known {
    pub no: u64,
    pub alive: Alive,
    pub durable: bool,
    pub expiry_ms: u64,
    /// The longest it had.
    pub longest_ms: u64,
    /// The step in which it began or ended, or became durable or not.
    pub changed: u64,
    /// The step in which its connection came or went.
    pub moved: u64,
    pub fuzzy: bool,
    pub subscribes: u32,
    /// What CONNACK will say.
    pub present: bool,
}

/// A simulated world.
pub struct World {
    pub(crate) cluster: Cluster,
    pub(crate) random: Random,
    pub(crate) clients: Vec<Client>,
    pub(crate) known: Vec<Known>,
    pub(crate) model: Model,
    pub(crate) wills: Wills,
    pub(crate) will_messages: BTreeMap<u64, Message>,
    pub(crate) retained: Retained,
    pub(crate) step: u64,
    /// By shard: the step after which everything was durable.
    pub(crate) synced: Vec<u64>,
    pub(crate) last_crash: u64,
    last_tag: u64,
    trace: VecDeque<String>,
    seed: u64,
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in &self.trace {
                eprintln!("  {line}");
            }
            eprintln!(
                "seed {} failed in step {}; replay: cargo run -p ravelin-simulation -- --start {} --seeds 1 --steps {}",
                self.seed, self.step, self.seed, self.step
            );
        }
    }
}

fn filters() -> Vec<Filter> {
    let filter = |text: &'static str, qos: u8, id: Option<u32>| Filter {
        text,
        plain: text
            .strip_prefix("$share/")
            .and_then(|rest| rest.split_once('/'))
            .map_or(text, |(_, plain)| plain),
        shared: text.starts_with("$share/"),
        qos: QoS::from_u8(qos).expect("0, 1 or 2"),
        no_local: false,
        retain_as_published: false,
        id,
    };
    vec![
        filter("a", 2, None),
        filter("a/b", 1, Some(1)),
        filter("a/+", 2, Some(2)),
        filter("a/#", 2, None),
        filter("#", 1, Some(300)),
        filter("+/c", 0, None),
        filter("b", 2, None),
        filter("b/c", 2, Some(4)),
        filter("/+", 1, None),
        filter("$d/#", 2, Some(5)),
        filter("w/+", 1, None),
        Filter { no_local: true, ..filter("b/+", 2, Some(6)) },
        Filter { retain_as_published: true, ..filter("+", 2, None) },
        filter("$share/g/a/#", 2, Some(7)),
        filter("$share/h/a/b", 1, None),
        filter("$share/g/b", 0, None),
    ]
}

impl World {
    /// The world of a seed.
    pub fn new(seed: u64) -> World {
        let mut random = Random::new(seed);
        let shards = 1 + random.below(3) as u16;
        let limits = Limits {
            inflight_max: *random.pick(&[1, 3, 20, 1024]),
            topic_alias_max: *random.pick(&[0, 3]),
            route_cache_max: *random.pick(&[2, 1000]),
            keep_alive_s_max: 0,
            session_expiry_s_max: 100_000,
            ..Limits::default()
        };
        let count = 3 + random.below(7);
        let known = |_| Known {
            no: 0,
            alive: Alive::No,
            durable: false,
            expiry_ms: 0,
            longest_ms: 0,
            changed: 0,
            moved: 0,
            fuzzy: false,
            subscribes: 0,
            present: false,
        };
        World {
            cluster: Cluster::with_limits(shards, limits),
            clients: (0..count).map(|i| Client::new(&format!("client-{i}"))).collect(),
            known: (0..count).map(known).collect(),
            model: Model::new(filters()),
            wills: Wills::default(),
            will_messages: BTreeMap::new(),
            retained: Retained::default(),
            step: 0,
            synced: vec![0; shards as usize],
            last_crash: 0,
            last_tag: 0,
            trace: VecDeque::new(),
            random,
            seed,
        }
    }

    /// Lets so many things happen, then ends everything. Panics when something is not as it must be.
    pub fn run(mut self, steps: u64) {
        while self.step < steps {
            self.step += 1;
            self.act();
            self.look();
        }
        self.finish();
    }

    pub(crate) fn note(&mut self, what: impl FnOnce(&World) -> String) {
        let line = format!("{:>5} {:>7} {}", self.step, self.cluster.now.wall_ms % 10_000_000, what(self));
        if self.trace.len() >= 400 {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.cluster.now.wall_ms
    }

    fn act(&mut self) {
        let client = self.random.below(self.clients.len());
        match self.random.below(1000) {
            0..60 => self.connect(client),
            60..85 => self.drop_conn(client),
            85..100 => self.disconnect(client),
            100..150 => self.subscribe(client),
            150..170 => self.unsubscribe(client),
            170..420 => self.publish(client),
            420..560 => {
                self.read(client);
                let most = self.random.below(6);
                self.clients[client].acknowledge(&mut self.cluster, most);
            }
            560..580 => {
                let stalled = self.random.one_in(2);
                if let Some(conn) = self.clients[client].conn {
                    self.clients[client].stalled = stalled;
                    self.cluster.set_stalled(conn, stalled);
                }
            }
            580..800 => self.deliver_mail(),
            800..930 => {
                let shard = self.random.below(self.cluster.shards() as usize) as u16;
                let most = *self.random.pick(&[1, 3, 1000]);
                self.cluster.sync(shard, most);
            }
            930..960 => {
                let ms = *self.random.pick(&[1, 10, 400, 3_000]);
                self.advance(ms);
            }
            960..990 => self.checkpoint(),
            990..992 => self.crash(),
            992..995 => self.quiet(),
            _ if self.clients[client].ready => self.clients[client].send(&mut self.cluster, &[0xC0, 0]),
            _ => {}
        }
    }

    fn deliver_mail(&mut self) {
        let routes = self.cluster.mail_routes();
        if !routes.is_empty() {
            let &(from, to) = self.random.pick(&routes);
            self.cluster.deliver_mail(from, to);
        }
    }

    fn checkpoint(&mut self) {
        if self.cluster.checkpoint_end() {
            if self.random.one_in(5) {
                self.note(|_| "checkpoint".into());
                self.cluster.checkpoint_begin();
            }
            return;
        }
        let shard = self.random.below(self.cluster.shards() as usize) as u16;
        let budget = *self.random.pick(&[1, 500, 100_000]);
        self.cluster.checkpoint_step(shard, budget);
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.note(|_| format!("{ms} ms pass"));
        self.cluster.advance(ms);
        self.look();
        self.wills.check(self.now_ms());
    }

    /// Takes notice of what the core says has happened, and of what is durable.
    pub(crate) fn look(&mut self) {
        for (now, event) in std::mem::take(&mut self.cluster.events) {
            match event {
                Event::WillPublished { topic, client_id } => {
                    self.note(|_| format!("will {topic} of {client_id} is published"));
                    self.will_published(&topic, now.wall_ms);
                }
                Event::Disconnected { client_id, cause, .. } => match cause {
                    DisconnectCause::KeepAlive => self.cut_off(&client_id, now.wall_ms),
                    DisconnectCause::Normal
                    | DisconnectCause::WithWill
                    | DisconnectCause::Reset
                    | DisconnectCause::TakenOver => {}
                    cause => panic!("{client_id} was cut off: {cause:?}"),
                },
                Event::SessionEnded { client_id, expired: true } => self.expired(&client_id, now.wall_ms),
                _ => {}
            }
        }
        for shard in 0..self.cluster.shards() {
            if self.cluster.disk.pending(shard) == 0 {
                self.synced[shard as usize] = self.step;
            }
        }
        if self.step.is_multiple_of(64) {
            for shard in 0..self.cluster.shards() {
                self.cluster.shard(shard).check_invariants();
            }
        }
    }

    fn index_of(&self, client_id: &str) -> usize {
        self.clients.iter().position(|client| client.id == client_id).expect("a client of this world")
    }

    fn will_published(&mut self, topic: &str, at_ms: u64) {
        let tag: u64 = topic.trim_start_matches("w/").parse().expect("a tag");
        self.wills.published(tag, at_ms, self.step);
        let message = self.will_messages[&tag].clone();
        if message.retain {
            self.retained.published(topic, tag, false, at_ms, None, self.step);
        }
        let publication = self.model.publications.entry(tag).or_insert_with(|| Publication {
            publisher: None,
            topic: topic.into(),
            qos: message.qos,
            retain: message.retain,
            expires_ms: None,
            may_expire: false,
            sent: self.step,
            sends: 0,
            accepted: None,
            recounted: false,
        });
        publication.sends += 1;
    }

    fn cut_off(&mut self, client_id: &str, at_ms: u64) {
        let client = self.index_of(client_id);
        let keep_alive_ms = self.clients[client].login.keep_alive_s as u64 * 1000;
        let silent_ms = at_ms - self.clients[client].sent_ms;
        assert!(
            keep_alive_ms > 0 && silent_ms == keep_alive_ms * 3 / 2,
            "{client_id} silent for {silent_ms} ms"
        );
        self.note(|_| format!("{client_id} is cut off"));
        self.left(client, at_ms, true);
    }

    fn expired(&mut self, client_id: &str, at_ms: u64) {
        let client = self.index_of(client_id);
        let known = &mut self.known[client];
        if let Alive::Yes(earliest, latest) = known.alive {
            assert!((earliest..=latest).contains(&at_ms), "{client_id} expired at {at_ms}, not {earliest}");
            (known.alive, known.changed) = (Alive::No, self.step);
            let no = known.no;
            self.model.ended(client, no, self.step);
        }
    }

    fn login(&mut self, client: usize) -> Login {
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
        if random.one_in(3) {
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

    fn expected_present(&self, client: usize, clean: bool) -> Option<bool> {
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

    fn connect(&mut self, client: usize) {
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
    fn connected(&mut self, client: usize, present: bool) {
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
            if message.retain {
                let empty = message.payload.is_empty();
                self.retained.published(&message.topic, tag, empty, now_ms, expires_ms, self.step);
            }
            if let Some(publication) = self.model.publications.get_mut(&tag) {
                publication.sends += 1;
                let last = publication.expires_ms.zip(expires_ms).map(|(first, again)| first.max(again));
                publication.expires_ms = last;
            }
        }
    }

    fn may_come_twice(&mut self, client: usize) {
        for outgoing in &self.clients[client].outgoing {
            if let Some(publication) = self.model.publications.get_mut(&outgoing.tag) {
                publication.recounted = true;
            }
        }
    }

    /// A connection has ended, at a time of the wall clock.
    fn left(&mut self, client: usize, at_ms: u64, with_will: bool) {
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

    fn drop_conn(&mut self, client: usize) {
        let Some(conn) = self.clients[client].conn else { return };
        self.note(|world| format!("{} is lost", world.clients[client].id));
        // The client may have read some of it.
        if self.random.one_in(2) {
            self.read(client);
        }
        self.left(client, self.now_ms(), true);
        self.cluster.drop_conn(conn);
    }

    fn disconnect(&mut self, client: usize) {
        let Some(conn) = self.clients[client].conn.filter(|_| self.clients[client].ready) else { return };
        let with_will = self.clients[client].version() == Version::V5 && self.random.one_in(3);
        self.note(|world| format!("{} says goodbye, with will: {with_will}", world.clients[client].id));
        let bytes: &[u8] = if with_will { &[0xE0, 1, 4] } else { &[0xE0, 0] };
        self.left(client, self.now_ms(), with_will);
        self.cluster.send(conn, bytes);
        assert!(!self.cluster.is_open(conn));
    }

    fn subscribe(&mut self, client: usize) {
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
        chosen.retain(|&filter| fits(&self.model.filters[filter]));
        if chosen.is_empty() {
            return;
        }
        let subscription_id = id.filter(|_| version == Version::V5);
        let mut filters = Vec::new();
        for &filter in &chosen {
            self.model.subscribe(client, no, filter);
            let Filter { text, qos, no_local, retain_as_published, .. } = self.model.filters[filter];
            filters
                .push((text, SubscribeOptions { qos, no_local, retain_as_published, ..Default::default() }));
        }
        self.known[client].subscribes += chosen.len() as u32;
        let id = self.clients[client].free_id();
        self.note(|world| format!("{} subscribes to {filters:?}", world.clients[client].id));
        self.clients[client].await_suback(id, chosen);
        self.clients[client].send(&mut self.cluster, &subscribe(version, id, subscription_id, &filters));
    }

    fn unsubscribe(&mut self, client: usize) {
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
        self.model.unsubscribe(client, no, filter, self.step);
        let id = self.clients[client].free_id();
        let text = self.model.filters[filter].text;
        self.note(|world| format!("{} unsubscribes from {text}", world.clients[client].id));
        self.clients[client].await_unsuback(id, vec![filter]);
        self.clients[client].send(&mut self.cluster, &unsubscribe(version, id, &[text]));
    }

    fn publish(&mut self, client: usize) {
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
        }
        if self.clients[client].version() == Version::V5 && random.one_in(10) {
            message.expiry_s = Some(*random.pick(&[1, 5, 100]));
        }
        let expires_ms = message.expiry_s.map(|s| now_ms + s as u64 * 1000);
        let empty = message.payload.is_empty();
        if message.retain {
            self.retained.published(topic, tag, empty, now_ms, expires_ms, step);
        }
        if !empty {
            let publication = Publication {
                publisher: Some(client),
                topic: topic.into(),
                qos: message.qos,
                retain: message.retain,
                expires_ms,
                may_expire: expires_ms.is_some(),
                sent: step,
                sends: 1,
                accepted: None,
                recounted: false,
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
                Heard::Message(message) => {
                    let receiver = Receiver {
                        client,
                        session: no,
                        fuzzy: self.known[client].fuzzy,
                        read_ms: self.clients[client].read_ms,
                        subscribes: self.known[client].subscribes,
                    };
                    self.note(|world| {
                        let Message { dup, id, qos, .. } = message;
                        let text = message.text().trim_end();
                        format!("{} gets {text} as {id}, {qos:?} dup {dup}", world.clients[client].id)
                    });
                    self.model.received(&receiver, &message);
                }
                Heard::Accepted(tag) => {
                    self.retained.accepted(tag);
                    if let Some(publication) = self.model.publications.get_mut(&tag) {
                        publication.accepted.get_or_insert(step);
                    }
                }
                Heard::Subscribed(filters) => {
                    for filter in filters {
                        self.model.subscribed(client, no, filter, step);
                    }
                }
                Heard::Unsubscribed(filters) => {
                    for filter in filters {
                        self.model.unsubscribed(client, no, filter, step);
                    }
                }
                Heard::Ended(reason) => {
                    let expected = [ReasonCode::SESSION_TAKEN_OVER, ReasonCode::KEEP_ALIVE_TIMEOUT];
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

    fn crash(&mut self) {
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
        self.advance(0);
    }
}
