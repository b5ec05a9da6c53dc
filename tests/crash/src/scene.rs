//! A node, its clients, and the rounds of load that each end with SIGKILL.

use crate::client::{Acking, Client};
use crate::fickle::Fickle;
use crate::ledger::{Ledger, missing};
use crate::node::{Durability, Node, files_with, segments};
use crate::rng::Rng;
use crate::talk::{Talk, plain};
use crate::wills::Wills;
use crate::wire::Version;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How often one node is killed.
const KILLS_MAX: u32 = 100;
/// How long the last round may take to deliver all that is owed.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// Nothing comes any more: what is missing then is lost.
const SILENCE: Duration = Duration::from_secs(3);
/// Bytes of the largest messages where the log must grow quickly, and how many there are in a round at most.
const BULK_BYTES_MAX: usize = 500_000;
const BULK_QUOTA: usize = 2000;

/// When a node is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// At some time up to so many milliseconds after the load began.
    Within(u64),
    /// Up to so many milliseconds after a segment of the log was begun or removed, as at the start, in the middle and at
    /// the end of a checkpoint; after three seconds in any case.
    AtCheckpoint(u64),
}

/// What a run does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// For the output.
    pub name: &'static str,
    /// Workers of each round, in turn.
    pub workers: &'static [u16],
    /// How often the node is killed.
    pub kills: u32,
    /// When.
    pub kill: Kill,
    /// When a message counts as stored.
    pub durability: Durability,
    /// Bytes of the largest payloads.
    pub filler_max: usize,
    /// Messages that each publisher adds in a round.
    pub quota: usize,
}

/// The state of a run.
struct Scene {
    plan: Plan,
    seed: u64,
    rng: Rng,
    data: PathBuf,
    node: Option<Node>,
    ledger: Ledger,
    clients: Vec<Client>,
    keeper: usize,
    fickle: Vec<Fickle>,
    wills: Wills,
    started: Instant,
    starts: Duration,
    /// Kills at a change of the log's segments, and how often its oldest segment was removed.
    hits: u32,
    compactions: u32,
}

/// Runs a plan and panics with all that was wrong. Many kills are shared among several nodes, one after the other. The
/// first seed is `RAVELIN_CRASH_SEED`, else a new one.
pub fn run(plan: Plan) {
    let first = match std::env::var("RAVELIN_CRASH_SEED") {
        Ok(text) => text.parse().expect("RAVELIN_CRASH_SEED is a number"),
        Err(_) => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.unwrap_or_default().as_nanos() as u64 % 1_000_000_000
        }
    };
    let all = plan.kills;
    for (seed, done) in (first..).zip((0..all).step_by(KILLS_MAX as usize)) {
        run_once(Plan { kills: KILLS_MAX.min(all - done), ..plan.clone() }, seed);
    }
}

fn run_once(plan: Plan, seed: u64) {
    println!("{}: {} kills, RAVELIN_CRASH_SEED={seed}", plan.name, plan.kills);
    let directory = tempfile::tempdir().expect("there is room for temporary files");
    let mut scene = Scene::new(plan, seed, directory.path().join("data"));
    if let Err(error) = scene.play() {
        scene.ledger.fault(format!("stopped: {error}"));
    }
    scene.close();
    let verdict = scene.ledger.verdict();
    if !verdict.is_empty() {
        let kept = std::env::var_os("RAVELIN_CRASH_KEEP").is_some().then(|| directory.keep());
        // Not who came and went: they are many.
        let told = |line: &&String| !line.contains(" client.");
        let log = scene.node.iter().flat_map(|node| node.log.iter().filter(told));
        let log = log.map(String::as_str).collect::<Vec<_>>().join("\n");
        let Plan { name, .. } = scene.plan;
        panic!("{name}, seed {seed}, data {kept:?}:\n{verdict}\nlast start:\n{log}");
    }
}

/// How often a run kills its node: its share of `RAVELIN_CRASH_RUNS`, which is 200 unless it is set.
pub fn kills(of_200: u32) -> u32 {
    let all = std::env::var("RAVELIN_CRASH_RUNS").ok();
    let all: u32 = all.map_or(200, |text| text.parse().expect("RAVELIN_CRASH_RUNS is a number"));
    (of_200 as u64 * all as u64).div_ceil(200) as u32
}

impl Scene {
    fn new(plan: Plan, seed: u64, data: PathBuf) -> Scene {
        let mut rng = Rng::new(seed);
        let mut ledger = Ledger::new(format!("quokka{:08x}", rng.next_u64() as u32));
        ledger.qos2_may_repeat = plan.workers.windows(2).any(|pair| pair[0] != pair[1]);
        let mark = ledger.marker.clone();
        let id = |name: &str| format!("{mark}-{name}");
        let mut stream = |folder: &str, name: String, qos: u8| {
            ledger.add_stream(format!("{mark}/{folder}/{name}"), qos, plan.filler_max)
        };
        let mut clients = Vec::new();
        for (i, version) in [Version::V5, Version::V311, Version::V5].into_iter().enumerate() {
            let streams = [
                stream("ward", format!("{i}/a"), 1),
                stream("ward", format!("{i}/b"), 2),
                stream("ward", format!("{i}/c"), 2),
                stream("team", format!("{i}"), 1),
            ];
            clients.push(Client::new(id(&format!("writer{i}")), version).writes(&streams));
        }
        let kept: Vec<usize> = (0..6).map(|i| stream("keep", format!("{i}"), 1 + i % 2)).collect();
        for stream in ledger.streams.iter_mut().filter(|stream| !stream.topic.contains("/bulk/")) {
            stream.ordered = stream.topic.contains("/ward/");
            stream.retained = stream.topic.contains("/keep/");
        }
        if matches!(plan.kill, Kill::AtCheckpoint(_)) {
            // So much passes through that the log is compacted again and again; nobody lets it pile up.
            let bulk = ledger.add_stream(format!("{mark}/bulk/0"), 1, BULK_BYTES_MAX);
            ledger.streams[bulk].ordered = true;
            clients.push(Client::new(id("bulkwriter"), Version::V5).writes(&[bulk]));
            let filter = format!("{mark}/bulk/#");
            clients.push(Client::new(id("bulkreader"), Version::V5).reads(&filter, 1, None));
        }
        let keeper = clients.len();
        clients.push(Client::new(id("keeper"), Version::V5).writes(&kept));
        let ward = format!("{mark}/ward/#");
        let will = format!("{mark}/will/+");
        let team = format!("$share/squad/{mark}/team/#");
        for (name, version, filter, qos, receive_max) in [
            ("always2", Version::V5, &ward, 2, None),
            ("always2old", Version::V311, &ward, 2, None),
            ("now1", Version::V5, &ward, 1, None),
            ("now2small", Version::V5, &ward, 2, Some(5)),
            ("seldom2", Version::V311, &ward, 2, None),
            ("seldom1", Version::V5, &ward, 1, Some(100)),
            ("watcher", Version::V5, &will, 2, None),
            ("team0", Version::V5, &team, 1, None),
            ("team1", Version::V5, &team, 1, Some(20)),
            ("team2seldom", Version::V311, &team, 1, None),
        ] {
            clients.push(Client::new(id(name), version).reads(filter, qos, receive_max));
        }
        // One that does both.
        clients[1] =
            std::mem::replace(&mut clients[1], Client::new(String::new(), Version::V5)).reads(&ward, 2, None);
        Scene {
            fickle: (0..2).map(|i| Fickle::new(format!("{mark}-fickle{i}"), 4)).collect(),
            plan,
            seed,
            rng,
            data,
            node: None,
            ledger,
            clients,
            keeper,
            wills: Wills::default(),
            started: Instant::now(),
            starts: Duration::ZERO,
            hits: 0,
            compactions: 0,
        }
    }

    fn play(&mut self) -> io::Result<()> {
        self.set_up()?;
        for round in 0..self.plan.kills {
            self.round(round)?;
            if self.ledger.faults.len() > 5 {
                return Ok(());
            }
        }
        self.last_round()
    }

    fn start(&mut self, round: u32, durability: Durability) -> io::Result<()> {
        let workers = self.plan.workers[round as usize % self.plan.workers.len()];
        self.ledger.place = format!("round {round} ({workers} workers)");
        if round > 0 && self.rng.percent(10) {
            let after = Duration::from_millis(self.rng.below(80));
            Node::start_and_kill(&self.data, workers, durability, after);
        }
        let before = Instant::now();
        let node = Node::start(&self.data, workers, durability)
            .map_err(|refusal| io::Error::other(format!("the node does not start: {refusal:?}")))?;
        self.starts += before.elapsed();
        for line in node.log.iter().filter(|line| line.contains("store.") || line.contains("internal")) {
            if !line.contains("store.restored") && !line.contains("store.torn_tail") {
                self.ledger.fault(format!("the node says: {line}"));
            }
        }
        self.node = Some(node);
        Ok(())
    }

    fn address(&self) -> std::net::SocketAddr {
        self.node.as_ref().map_or_else(|| ([127, 0, 0, 1], 1).into(), |node| node.address)
    }

    /// Everyone subscribes before anything is published.
    fn set_up(&mut self) -> io::Result<()> {
        // The first start makes the key, which the other durabilities need a configuration for.
        self.start(0, Durability::Commit)?;
        let address = self.address();
        for fickle in &mut self.fickle {
            fickle.set_up(address)?;
        }
        for client in &mut self.clients {
            client.connect(address);
        }
        self.spin_until(Instant::now() + DRAIN_MAX, |scene| scene.clients.iter().all(Client::is_idle));
        if !self.clients.iter().all(Client::is_idle) {
            return Err(io::Error::other("the clients cannot connect and subscribe"));
        }
        self.kill();
        Ok(())
    }

    fn round(&mut self, round: u32) -> io::Result<()> {
        self.start(round, self.plan.durability)?;
        // Half of the rounds begin with load at once: what a node does in its first milliseconds counts as well.
        if self.rng.percent(50) {
            self.check_quietly()?;
        }
        self.begin_load();
        let begun = Instant::now();
        match self.plan.kill {
            Kill::Within(most_ms) => {
                let (a, b) = (self.rng.below(most_ms + 1), self.rng.below(most_ms + 1));
                if self.rng.percent(30) {
                    self.spin_until(begun + Duration::from_millis(a.min(b)), |_| false);
                    self.reconnect_some();
                    self.spin_until(begun + Duration::from_millis(a.max(b)), |_| false);
                } else {
                    self.spin_until(begun + Duration::from_millis(a), |_| false);
                }
            }
            Kill::AtCheckpoint(most_ms) => {
                let skip = self.rng.below(2) as usize;
                let (mut last, mut changes) = (segments(&self.data), 0);
                self.spin_until(begun + Duration::from_secs(3), |scene| {
                    let found = segments(&scene.data);
                    if found != last {
                        changes += 1;
                        scene.compactions += (found.first() != last.first()) as u32;
                        last = found;
                    }
                    changes > skip
                });
                self.hits += (changes > skip) as u32;
                let until = Instant::now() + Duration::from_millis(self.rng.below(most_ms + 1));
                self.spin_until(until, |_| false);
            }
        }
        if self.node.as_mut().is_some_and(Node::has_ended) {
            self.ledger.fault("the node ended by itself".into());
        }
        self.kill();
        Ok(())
    }

    fn begin_load(&mut self) {
        let address = self.address();
        for client in &mut self.clients {
            let seldom = client.id.contains("seldom");
            let bulk = client.id.contains("bulk");
            let always = bulk || client.id.contains("always") || client.id.contains("writer");
            if !always && self.rng.percent(if seldom { 80 } else { 20 }) {
                continue;
            }
            client.acking = match self.rng.below(10) {
                0..5 => Acking::Prompt,
                5..7 => Acking::Late(60),
                7..9 => Acking::Never,
                _ => Acking::AllButFirst,
            };
            client.window = [1, 8, 40][self.rng.below(3) as usize];
            client.quota = if client.streams.is_empty() { 0 } else { self.plan.quota };
            if bulk {
                (client.acking, client.window) = (Acking::Prompt, 8);
                client.quota = if client.streams.is_empty() { 0 } else { BULK_QUOTA };
            }
            client.connect(address);
        }
        for fickle in &mut self.fickle {
            fickle.connect(address);
        }
        for _ in 0..3 {
            self.wills.open(address, &mut self.ledger, &mut self.rng);
        }
        if self.rng.percent(30) {
            self.wills.break_one();
        }
    }

    /// Some connections break and are made anew while the node runs.
    fn reconnect_some(&mut self) {
        let address = self.address();
        for client in &mut self.clients {
            if client.is_online() && self.rng.percent(25) {
                client.connect(address);
            }
        }
    }

    /// What can be compared only while nothing else happens: retained messages, changed subscriptions, clean leaving.
    fn check_quietly(&mut self) -> io::Result<()> {
        let address = self.address();
        self.check_retained()?;
        self.wills.come_and_go(address, &mut self.ledger, &mut self.rng)?;
        let prober_id = format!("{}-prober", self.ledger.marker);
        let (mut prober, _) = Talk::connect(address, &plain(&prober_id, true, 0))?;
        for fickle in &mut self.fickle {
            fickle.check(address, &mut prober, &mut self.ledger)?;
        }
        self.wills.all_that_left_is_durable(&mut self.ledger);
        prober.disconnect();
        Ok(())
    }

    /// Every retained topic has the latest acknowledged value, or one that was sent after it.
    fn check_retained(&mut self) -> io::Result<()> {
        let id = format!("{}-retained", self.ledger.marker);
        let (mut talk, _) = Talk::connect(self.address(), &plain(&id, true, 0))?;
        talk.subscribe(&format!("{}/keep/#", self.ledger.marker), 1)?;
        talk.ping()?;
        for stream in self.clients[self.keeper].streams.clone() {
            let topic = self.ledger.streams[stream].topic.clone();
            let found = talk.inbox.iter().find(|publish| publish.topic == topic);
            let number = match found.map(|publish| self.ledger.name_of(&publish.payload)) {
                None => None,
                Some(Some((of, number))) if of == stream => Some(number),
                Some(_) => {
                    self.ledger.fault(format!("{topic} retains what was never published there"));
                    continue;
                }
            };
            let messages = &self.ledger.streams[stream].messages;
            let acked = messages.iter().rposition(|message| message.acked);
            // What may be there: the state after the last acknowledged update, or after any later one.
            let mut states = (acked.unwrap_or(0)..messages.len()).map(|n| (n % 5 != 4).then_some(n));
            let fits = states.any(|state| state == number) || acked.is_none() && number.is_none();
            if !fits {
                let sent = messages.len();
                self.ledger.fault(format!(
                    "{topic} retains {number:?}; acknowledged up to {acked:?}, {sent} were sent"
                ));
            }
        }
        talk.disconnect();
        Ok(())
    }

    /// Lets everyone do what can be done until a time, or until something holds.
    fn spin_until(&mut self, until: Instant, mut done: impl FnMut(&mut Scene) -> bool) {
        loop {
            let now = Instant::now();
            if now >= until || done(self) {
                return;
            }
            if !self.turn(now, true) {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }

    fn turn(&mut self, now: Instant, busy: bool) -> bool {
        let mut moved = false;
        for client in &mut self.clients {
            moved |= client.turn(&mut self.ledger, &mut self.rng, now);
        }
        for fickle in &mut self.fickle {
            moved |= fickle.turn(&mut self.ledger, &mut self.rng, busy);
        }
        moved | self.wills.turn(&mut self.ledger)
    }

    /// Kills the node; then everyone takes what had still come.
    fn kill(&mut self) {
        if let Some(node) = &mut self.node {
            node.kill();
        }
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until {
            self.turn(Instant::now(), false);
            let connected = self.clients.iter().any(Client::is_connected)
                || self.fickle.iter().any(Fickle::is_connected)
                || self.wills.is_connected();
            if !connected {
                break;
            }
        }
        self.clients.iter_mut().for_each(Client::drop_connection);
        self.fickle.iter_mut().for_each(Fickle::drop_connection);
    }

    /// Nobody is killed any more, and all that is owed must come.
    fn last_round(&mut self) -> io::Result<()> {
        self.start(self.plan.kills, self.plan.durability)?;
        self.check_quietly()?;
        let address = self.address();
        for client in &mut self.clients {
            client.acking = Acking::Prompt;
            client.quota = 0;
            client.window = 20;
            client.connect(address);
        }
        let settled =
            |scene: &mut Scene| scene.clients.iter().all(Client::is_idle) && scene.missing().is_empty();
        let until = Instant::now() + DRAIN_MAX;
        let (mut deliveries, mut last) = (0, Instant::now());
        while Instant::now() < until && last.elapsed() < SILENCE && !settled(self) {
            self.spin_until(Instant::now() + Duration::from_millis(50), |_| false);
            if deliveries != self.ledger.deliveries {
                (deliveries, last) = (self.ledger.deliveries, Instant::now());
            }
        }
        // What must not come gets time to come.
        self.spin_until(Instant::now() + Duration::from_millis(300), |_| false);
        for fault in self.missing() {
            self.ledger.fault(fault);
        }
        let stuck: Vec<String> = self
            .clients
            .iter()
            .filter(|client| !client.is_idle())
            .map(|client| format!("{} is not done: {} messages under way", client.id, client.under_way()))
            .collect();
        stuck.into_iter().for_each(|fault| self.ledger.fault(fault));
        self.check_withdrawn();
        self.check_retained()
    }

    /// Acknowledged messages that someone who must have them has not got.
    fn missing(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for client in &self.clients {
            let Some((filter, _)) = &client.filter else { continue };
            let folder = ["/ward/", "/will/", "/bulk/"].into_iter().find(|folder| filter.contains(folder));
            let Some(folder) = folder else { continue };
            let missing: Vec<_> =
                client.reader.missing(&self.ledger, |stream| stream.topic.contains(folder)).collect();
            if !missing.is_empty() {
                let first = &missing[..missing.len().min(10)];
                faults.push(format!("{} never got {} messages: {first:?}", client.id, missing.len()));
            }
        }
        let team: Vec<&Client> = self.clients.iter().filter(|client| client.id.contains("team")).collect();
        let wanted = |stream: &crate::ledger::Stream| stream.topic.contains("/team/");
        let got = |name| team.iter().any(|client| client.reader.count(name) > 0);
        let lost: Vec<_> = missing(&self.ledger, wanted, got).collect();
        if !lost.is_empty() {
            let first = &lost[..lost.len().min(10)];
            faults.push(format!("nobody of the shared subscription got {} messages: {first:?}", lost.len()));
        }
        faults
    }

    /// Wills of those who left cleanly.
    fn check_withdrawn(&mut self) {
        let mut faults = Vec::new();
        for (id, stream) in self.ledger.streams.iter().enumerate() {
            let forbidden = stream.messages.first().is_some_and(|message| message.forbidden);
            if forbidden && self.clients.iter().any(|client| client.reader.count((id, 0)) > 0) {
                faults.push(format!("the will {} of a client that left cleanly was published", stream.topic));
            }
        }
        faults.into_iter().for_each(|fault| self.ledger.fault(fault));
    }

    /// The end: nothing on disk is readable, and the figures of the run.
    fn close(&mut self) {
        self.kill();
        for found in files_with(&self.data, &[&self.ledger.marker, "/ward/", "fickle"]) {
            self.ledger.fault(found);
        }
        let published: usize = self.ledger.streams.iter().map(|stream| stream.messages.len()).sum();
        let Ledger { deliveries, redeliveries, .. } = self.ledger;
        println!(
            "{} (seed {}): {:.1} s, {published} messages, {deliveries} deliveries, {redeliveries} of them again, \
             mean start {:.0} ms, {} kills at a new or removed segment, {} checkpoints ended",
            self.plan.name,
            self.seed,
            self.started.elapsed().as_secs_f64(),
            self.starts.as_secs_f64() * 1000.0 / (self.plan.kills + 2) as f64,
            self.hits,
            self.compactions,
        );
    }
}
