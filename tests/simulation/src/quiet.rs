//! Times when nothing is under way: everything that was promised must have come, and nothing may be left over.

use crate::Cluster;
use crate::Got;
use crate::model::Publication;
use crate::wire::{Login, Message, publish, subscribe};
use crate::world::{Alive, World};
use ravelin_broker::home_shard;
use ravelin_mqtt::{SubscribeOptions, Version};
use std::collections::BTreeMap;

impl World {
    /// Everybody connects, everything arrives and is acknowledged. Then the promises are looked at.
    pub(crate) fn quiet(&mut self) {
        self.note(|_| "quiet".into());
        self.allow_publishing();
        for client in 0..self.clients.len() {
            if self.clients[client].conn.is_none() {
                let id = self.clients[client].id.clone();
                let clean = self.clients[client].must_clean;
                self.connect_with(client, Login { clean, ..Login::v5(&id).kept() });
            }
            self.clients[client].stalled = false;
            let conn = self.clients[client].conn.expect("it is connected");
            self.cluster.set_stalled(conn, false);
        }
        let mut rounds = 0;
        loop {
            self.cluster.settle();
            let mut any = false;
            for client in 0..self.clients.len() {
                any |= self.read(client);
                any |= !self.clients[client].is_idle();
                self.clients[client].acknowledge(&mut self.cluster, usize::MAX);
            }
            self.look();
            if !any {
                break;
            }
            rounds += 1;
            if rounds > 3_000 {
                for client in self.clients.iter().filter(|client| !client.is_idle()) {
                    eprintln!("{} is not idle: {:?}", client.id, client.outgoing);
                }
                panic!("it never becomes quiet");
            }
        }
        self.advance(0);
        self.check_quiet();
    }

    fn check_quiet(&mut self) {
        for shard in 0..self.cluster.shards() {
            self.cluster.shard(shard).check_invariants();
            let held = self.cluster.shard(shard).held();
            let under_way = self.cluster.shard(shard).under_way();
            assert_eq!(under_way, [""; 0], "nothing is under way on shard {shard}");
            assert_eq!(held.questions, 0, "nothing is asked by shard {shard}");
        }
        let stats = self.cluster.stats();
        assert_eq!(stats.iter().map(|stats| stats.connected).sum::<u64>(), self.clients.len() as u64);
        assert_eq!(stats.iter().map(|stats| stats.queued + stats.queued_bytes).sum::<u64>(), 0);
        self.check_promises();
        let actual = self.read_retained();
        let (now_ms, last_crash) = (self.now_ms(), self.last_crash);
        self.retained.check(&actual, now_ms, last_crash);
        // The newest is the only one that may come again.
        let kept: Vec<u64> = actual.values().copied().collect();
        self.model.forget_past(&kept);
        self.wills.quiet();
        self.quiet_rights();
        self.cluster.settle();
        self.look();
    }

    fn check_promises(&mut self) {
        let (known, law, last_crash, tight) = (&self.known, &self.law, self.last_crash, self.tight);
        let durable = |client: usize| {
            let known = &known[client];
            (known.durable && !known.fuzzy && matches!(known.alive, Alive::Yes(..))).then_some(known.no)
        };
        let forgiven = |client: usize, publication: &Publication| {
            // What is not yet durable may be lost in a crash, and drops before it are not counted any more.
            let uncertain = (tight || publication.direct.is_some()) && publication.sent <= last_crash;
            uncertain || law.banned(client, &publication.topic).is_some_and(|at| at >= publication.sent)
        };
        let missing = self.model.missing_promises(durable, forgiven);
        for client in 0..self.clients.len() {
            let dropped = self.dropped(client);
            let known = &mut self.known[client];
            let before = if known.drops.0 == (known.no, last_crash) { known.drops.1 } else { 0 };
            known.drops = ((known.no, last_crash), dropped);
            let missing = missing.get(&client).map_or(&[][..], Vec::as_slice);
            assert!(
                missing.len() as u64 <= dropped - before,
                "{} never got {missing:?}, and {} messages were dropped for it",
                self.clients[client].id,
                dropped - before
            );
        }
    }

    /// What each shard has retained, which must be the same.
    fn read_retained(&mut self) -> BTreeMap<String, u64> {
        let mut all: Option<BTreeMap<String, u64>> = None;
        for shard in 0..self.cluster.shards() {
            let found = probe(&mut self.cluster, shard);
            if let Some(all) = &all {
                assert_eq!(all, &found, "shard {shard} and the first have retained the same");
            }
            all.get_or_insert(found);
        }
        all.unwrap_or_default()
    }

    /// Everybody leaves for good, and nothing is left.
    pub(crate) fn finish(&mut self) {
        self.step += 1;
        self.quiet();
        for client in 0..self.clients.len() {
            let id = self.clients[client].id.clone();
            self.connect_with(client, Login::v5(&id));
            let conn = self.clients[client].conn.expect("it is connected");
            self.cluster.settle();
            self.wills.withdrawn(client, self.step);
            self.clients[client].lose();
            self.cluster.send(conn, &[0xE0, 0]);
        }
        self.look();
        let topics: Vec<String> = self.read_retained().into_keys().collect();
        let (cleaner, _) = prober(&mut self.cluster, 0);
        for topic in topics {
            self.cluster.send(cleaner, &publish(Version::V5, &Message::new(&topic, "", 0).retained()));
        }
        self.cluster.drop_conn(cleaner);
        self.cluster.settle();
        self.advance(1_000_000_000);
        self.cluster.settle();
        for shard in 0..self.cluster.shards() {
            self.cluster.shard(shard).check_invariants();
            assert_eq!(
                self.cluster.shard(shard).held(),
                Default::default(),
                "what shard {shard} still holds"
            );
            let stats = self.cluster.shard(shard).stats();
            let gauges = [stats.connected, stats.sessions, stats.subscriptions, stats.shared_subscriptions];
            assert_eq!(gauges, [0; 4]);
            let gauges = [stats.queued, stats.queued_bytes, stats.retained, stats.retained_bytes];
            assert_eq!(gauges, [0; 4]);
        }
    }
}

/// A client that lives on a given shard.
fn prober(cluster: &mut Cluster, shard: u16) -> (u64, String) {
    let lives_there = |id: &String| home_shard(id, cluster.shards()) == shard;
    let id = (0..).map(|i| format!("probe-{i}")).find(lives_there).expect("one of them");
    let conn = cluster.connect(&Login::v5(&id)).expect("not refused");
    (conn, id)
}

fn probe(cluster: &mut Cluster, shard: u16) -> BTreeMap<String, u64> {
    let (conn, _) = prober(cluster, shard);
    let filters = [("#", SubscribeOptions::default()), ("$d/#", SubscribeOptions::default())];
    cluster.send(conn, &subscribe(Version::V5, 1, None, &filters));
    let mut found = BTreeMap::new();
    cluster.settle();
    for got in cluster.receive(conn) {
        if let Got::Publish(message) = got {
            assert!(message.retain);
            let tag = message.text().trim_end().parse().expect("a tag");
            assert!(found.insert(message.topic, tag).is_none(), "twice");
        }
    }
    cluster.drop_conn(conn);
    cluster.settle();
    cluster.events.clear();
    found
}
