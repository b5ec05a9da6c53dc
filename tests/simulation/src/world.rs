//! Clients that do anything at any time, against shards, mail and a disk that are late, and a process that dies.

use crate::bans::Law;
use crate::client::Client;
use crate::model::{Filter, Model, Publication};
use crate::retained::Retained;
use crate::wills::Wills;
use crate::wire::Message;
use crate::{Cluster, Random};
use ravelin_broker::Limits;
use ravelin_event::{DisconnectCause, Event};
use ravelin_mqtt::QoS;
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
    /// In which session and after which crash drops were last counted, and how many there were.
    pub drops: ((u64, u64), u64),
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
    pub(crate) law: Law,
    /// Queues are short, or connections slow: messages are dropped.
    pub(crate) tight: bool,
    pub(crate) step: u64,
    /// By shard: the step after which everything was durable.
    pub(crate) synced: Vec<u64>,
    pub(crate) last_crash: u64,
    pub(crate) last_tag: u64,
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
        let tight = random.one_in(3);
        let short =
            |choices: &[usize], random: &mut Random| if tight { *random.pick(choices) } else { 1 << 26 };
        let limits = Limits {
            queue_messages_max: short(&[3, 20, 1000], &mut random),
            queue_bytes_max: short(&[2_000, 1 << 20], &mut random),
            outbound_bytes_max: short(&[100_000, 8 << 20], &mut random),
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
            drops: ((0, 0), 0),
        };
        World {
            cluster: Cluster::with_limits(shards, limits),
            clients: (0..count).map(|i| Client::new(&format!("client-{i}"))).collect(),
            known: (0..count).map(known).collect(),
            model: Model::new(filters()),
            wills: Wills::default(),
            will_messages: BTreeMap::new(),
            retained: Retained::default(),
            law: Law::default(),
            tight,
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
        self.live(steps);
        self.finish();
    }

    /// Lets so many things happen.
    pub fn live(&mut self, steps: u64) {
        while self.step < steps {
            self.step += 1;
            self.act();
            self.look();
        }
    }

    /// The records on the disk, with all that was on the way there.
    pub fn records(&mut self) -> Vec<Vec<u8>> {
        self.cluster.settle();
        self.cluster.disk.records().to_vec()
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
            580..786 => self.deliver_mail(),
            786..790 => self.change_freezes(),
            790..794 => self.change_rights(),
            794..797 => self.publish_direct(client),
            797..799 => self.disconnect_by_force(client),
            799..800 => self.wipe(client),
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
        self.look_at_events();
        self.look_at_disks();
    }

    /// Takes notice of what the core says has happened.
    pub(crate) fn look_at_events(&mut self) {
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
                    | DisconnectCause::TakenOver
                    | DisconnectCause::Administrative => {}
                    cause => panic!("{client_id} was cut off: {cause:?}"),
                },
                Event::SessionEnded { client_id, expired: true } => self.expired(&client_id, now.wall_ms),
                _ => {}
            }
        }
    }

    fn look_at_disks(&mut self) {
        for shard in 0..self.cluster.shards() {
            if self.cluster.disk.pending(shard) == 0 {
                self.synced[shard as usize] = self.step;
            }
        }
        self.look_at_ended();
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
            retain: message.retain,
            ..Publication::new(None, topic, message.qos, self.step)
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
}
