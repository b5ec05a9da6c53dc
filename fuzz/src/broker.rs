//! Targets for the core, `ravelin-broker`.

use ravelin_broker::{
    Authorizer, Broker, Connecting, Limits, LinkId, Now, Outbound, Output, Publishing, Subscribing,
    home_shard,
};
use ravelin_event::{DisconnectCause, Principal};
use ravelin_mqtt::*;
use std::rc::Rc;

/// Two clients send frames, on one shard or on two: a byte of options (bit 0: two shards, bit 1: both clients speak
/// the same version, bit 2: tight limits), then frames behind three bytes: who sends it and when, the first byte, how
/// long the body is.
///
/// Whatever comes, the broker sends nothing but legal packets, its tables stay sound, and what it wrote to its journal
/// can be restored.
pub fn broker_frames(data: &[u8]) {
    let bus = play(data);
    let mut restored = Vec::new();
    for shard in 0..bus.shards.len() {
        let mut broker = new_broker(shard, bus.shards.len(), Limits::default());
        for record in &bus.journal {
            broker.restore(bus.now, record).expect("the broker understands what it wrote");
        }
        broker.finish_restore(bus.now);
        broker.check_invariants();
        restored.push(broker);
    }
    let mut bus = Bus::of(restored, bus.now, [Version::V5; 2]);
    bus.settle();
    bus.connect(0);
    bus.connect(1);
    bus.end();
}

/// The journal of [`broker_frames`], for seeds of [`broker_restore`].
pub fn records(data: &[u8]) -> Vec<Vec<u8>> {
    play(data).journal
}

/// A byte of options (bit 0: two shards, bit 1: the second of them), then journal records, each behind its length in
/// two bytes, as they could only be in a store of another version.
///
/// What is restored can be checkpointed, and restored from that, and goes on to live. The core does not look again at the
/// topics and properties of authentic records, so what it then sends is not looked at either.
pub fn broker_restore(data: &[u8]) {
    let Some((&options, mut rest)) = data.split_first() else { return };
    let count = 1 + usize::from(options & 1);
    let shard = usize::from(options >> 1 & 1) % count;
    let mut broker = new_broker(shard, count, Limits::default());
    while let [high, low, after @ ..] = rest {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(after.len());
        let (record, after) = after.split_at(len);
        if let Err(error) = broker.restore(START, record) {
            assert!(!error.to_string().is_empty());
        }
        rest = after;
    }
    let summary = broker.finish_restore(START);
    broker.check_invariants();
    assert_eq!(broker.stats().sessions, summary.sessions);
    assert_eq!(broker.stats().retained, summary.retained);

    broker.checkpoint_begin();
    while !broker.checkpoint_step(START, 4096) {}
    let mut again = new_broker(shard, count, Limits::default());
    for record in split(&broker.take_journal(Vec::new()).unwrap_or_default()) {
        again.restore(START, record).expect("the broker understands its checkpoint");
    }
    assert_eq!(again.finish_restore(START).sessions, summary.sessions);
    again.check_invariants();

    // Its clients come back, and everything has its time.
    let mut brokers = vec![again];
    if count == 2 {
        let mut sister = new_broker(1 - shard, count, Limits::default());
        sister.finish_restore(START);
        brokers.insert(1 - shard, sister);
    }
    let mut bus = Bus::of(brokers, START, [Version::V311, Version::V5]);
    bus.judged = false;
    bus.settle();
    for client in 0..2 {
        bus.connect(client);
        let topic = PublishOut {
            dup: false,
            qos: QoS::ExactlyOnce,
            retain: false,
            topic: "a/b",
            packet_id: 1,
            topic_alias: None,
            expiry_s: None,
            subscription_ids: &[],
            forward: &[],
            payload: b"x",
        };
        let mut packet = Vec::new();
        encode_publish(&mut packet, bus.clients[client].version, &topic);
        bus.frame(client, packet[0], &packet[2..]);
        bus.frame(client, 0x62, &[0, 1]);
    }
    bus.end();
}

const START: Now = Now { mono_ms: 1_000_000, wall_ms: 1_700_000_000_000 };

/// Some things are not for everybody.
struct NotSecrets;

impl Authorizer for NotSecrets {
    fn may_publish(&self, _: &Principal, what: &Publishing<'_>) -> bool {
        !what.topic.starts_with("secret")
    }

    fn may_subscribe(&self, _: &Principal, what: &Subscribing<'_>) -> bool {
        !what.filter.starts_with("secret")
    }

    fn may_receive(&self, _: &Principal, topic: &str) -> bool {
        !topic.starts_with("secret")
    }
}

fn new_broker(shard: usize, shards: usize, limits: Limits) -> Broker {
    Broker::new(shard as u16, shards as u16, limits, Rc::new(NotSecrets), 7)
}

fn tight() -> Limits {
    Limits {
        subscriptions_per_session_max: 2,
        subscriptions_max: 3,
        shared_groups_max: 1,
        retained_count_max: 1,
        retained_bytes_max: 64,
        retained_message_bytes_max: 16,
        queue_messages_max: 2,
        queue_bytes_max: 200,
        queue_bytes_total_max: 300,
        inflight_max: 2,
        receive_max: 2,
        topic_alias_max: 2,
        will_bytes_max: 8,
        route_cache_max: 2,
        ..Limits::default()
    }
}

fn play(data: &[u8]) -> Bus {
    let (&options, mut rest) = data.split_first().unwrap_or((&0, &[]));
    let count = 1 + usize::from(options & 1);
    let versions = if options & 2 == 0 { [Version::V5, Version::V311] } else { [Version::V5; 2] };
    let limits = if options & 4 == 0 { Limits::default() } else { tight() };
    let brokers = (0..count).map(|shard| {
        let mut broker = new_broker(shard, count, limits.clone());
        broker.finish_restore(START);
        broker
    });
    let mut bus = Bus::of(brokers.collect(), START, versions);
    while let [who, first, len, after @ ..] = rest {
        let (body, after) = after.split_at(usize::from(*len).min(after.len()));
        bus.pass(u64::from(who >> 2) * 250);
        let client = usize::from(who & 1);
        bus.connect(client);
        bus.frame(client, *first, body);
        if who & 2 == 0 {
            bus.settle();
        }
        rest = after;
    }
    bus.settle();
    bus.check();
    bus.end();
    bus
}

/// Shards, what they say to each other, and the clients at their links.
struct Bus {
    shards: Vec<Shard>,
    clients: [Client; 2],
    now: Now,
    /// What the broker sends must be legal.
    judged: bool,
    /// All records of all shards, in the order in which they were stored.
    journal: Vec<Vec<u8>>,
}

struct Shard {
    broker: Broker,
    records: u64,
}

struct Client {
    id: String,
    shard: usize,
    version: Version,
    link: Option<LinkId>,
}

impl Bus {
    fn of(brokers: Vec<Broker>, now: Now, versions: [Version; 2]) -> Bus {
        let count = brokers.len();
        let client = |index: usize| {
            let shard = index % count;
            let mut ids = (0..).map(|number| format!("client-{index}-{number}"));
            let id = ids.find(|id| usize::from(home_shard(id, count as u16)) == shard).unwrap_or_default();
            Client { id, shard, version: versions[index], link: None }
        };
        let clients = [client(0), client(1)];
        let shards = brokers.into_iter().map(|broker| Shard { broker, records: 0 }).collect();
        Bus { shards, clients, now, judged: true, journal: Vec::new() }
    }

    /// Connects a client that is not connected, to the session it had.
    fn connect(&mut self, index: usize) {
        let client = &self.clients[index];
        if client.link.is_some() {
            return;
        }
        let will = Will {
            topic: "a/gone",
            payload: b"bye",
            qos: QoS::ExactlyOnce,
            retain: index == 0,
            delay_s: 1,
            expiry_s: None,
            properties: Properties::EMPTY,
        };
        let v5 = client.version == Version::V5;
        let connect = Connect {
            version: client.version,
            clean_start: false,
            keep_alive_s: 20,
            client_id: &client.id,
            will: Some(will),
            username: None,
            password: None,
            session_expiry_s: v5.then_some(100),
            receive_max: v5.then_some(3),
            packet_bytes_max: None,
            topic_alias_max: if v5 { 2 } else { 0 },
            request_response_info: false,
            request_problem_info: true,
            auth_method: None,
            auth_data: None,
            properties: Properties::EMPTY,
        };
        let connecting = Connecting {
            connect: &connect,
            token: index as u64,
            principal: Principal::anonymous(client.id.as_str()),
            client_id_assigned: false,
            auth_method: None,
            auth_data: None,
        };
        let shard = client.shard;
        if let Ok(link) = self.shards[shard].broker.handle_connect(self.now, connecting) {
            self.clients[index].link = Some(link);
        }
        self.settle();
    }

    fn frame(&mut self, index: usize, first: u8, body: &[u8]) {
        let client = &self.clients[index];
        // The shell keeps AUTH to itself.
        if let Some(link) = client.link
            && first >> 4 != 15
        {
            self.shards[client.shard].broker.handle_frame(self.now, link, first, body);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += ms;
        for shard in &mut self.shards {
            shard.broker.handle_timeout(self.now);
        }
    }

    /// Does what the shell does in a turn until there is nothing more to do; the store is as quick as can be.
    fn settle(&mut self) {
        let mut busy = true;
        while std::mem::take(&mut busy) {
            for shard in 0..self.shards.len() {
                busy |= self.turn(shard);
            }
        }
    }

    fn turn(&mut self, shard: usize) -> bool {
        let mut busy = false;
        let now = self.now;
        let Shard { broker, records } = &mut self.shards[shard];
        if let Some(batch) = broker.take_journal(Vec::new()) {
            let before = self.journal.len();
            self.journal.extend(split(&batch).map(<[u8]>::to_vec));
            *records += (self.journal.len() - before) as u64;
            broker.handle_durable(now, *records);
            busy = true;
        }
        while let Some(output) = self.shards[shard].broker.poll_output() {
            busy = true;
            match output {
                Output::Close(mut close) => {
                    let client = &mut self.clients[close.token as usize];
                    take(&mut close.last, self.judged.then_some(client.version));
                    if client.link == Some(close.link) {
                        client.link = None;
                    }
                }
                Output::Observed(seen) => assert!(seen.watch.is_watched()),
                Output::Delivered(_) => unreachable!("nothing is recorded"),
                Output::Event(event) => assert!(!format!("{event:?}").is_empty()),
                Output::Send(to, message) => {
                    assert_ne!(usize::from(to), shard, "a shard talks to itself");
                    self.shards[usize::from(to)].broker.handle_shard(now, shard as u16, message);
                }
            }
        }
        let broker = &mut self.shards[shard].broker;
        while let Some((link, token)) = broker.poll_flush() {
            busy = true;
            if let Some(out) = broker.outbound(link) {
                take(out, self.judged.then_some(self.clients[token as usize].version));
            }
            broker.handle_drained(now, link);
        }
        busy
    }

    fn check(&self) {
        for shard in &self.shards {
            shard.broker.check_invariants();
        }
    }

    /// The connections break, and then everything has its time: wills, sessions, retained messages.
    fn end(&mut self) {
        for index in 0..self.clients.len() {
            if let Some(link) = self.clients[index].link.take() {
                let broker = &mut self.shards[self.clients[index].shard].broker;
                broker.handle_closed(self.now, link, DisconnectCause::Reset, None);
            }
        }
        self.settle();
        self.check();
        for _ in 0..3 {
            self.pass(50_000);
            self.settle();
        }
        self.check();
    }
}

/// Takes all that waits to be written, which must be whole packets that a server may send in this version.
fn take(out: &mut Outbound, version: Option<Version>) {
    let mut bytes = Vec::new();
    while !out.is_empty() {
        let mut slices = [&[][..]; 8];
        let filled = out.slices(&mut slices);
        let piece = slices[..filled].concat();
        out.consume(piece.len());
        bytes.extend(piece);
    }
    let Some(version) = version else { return };
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let frame = peek(rest, u32::MAX).expect("a legal header").expect("a whole header");
        let (packet, after) = rest.split_at_checked(frame.total_len).expect("a whole packet");
        let body = &packet[frame.header_len..];
        if let Err(error) = decode(frame.first, body, version, Sender::Server, &DecodeLimits::default()) {
            panic!("the broker sends {packet:02X?}: {error}");
        }
        rest = after;
    }
}

/// The records of a batch, each behind its length.
fn split(mut batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = batch.split_first_chunk()?;
        let (record, rest) = rest.split_at(u32::from_le_bytes(*len) as usize);
        batch = rest;
        Some(record)
    })
}
