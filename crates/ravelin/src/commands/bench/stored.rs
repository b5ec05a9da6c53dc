//! What the scenarios with stored messages share: publishing with acknowledgement, and fetching what was stored.

use super::engine::{Engine, Handler};
use super::link::Link;
use super::sequence::{Arrival, Sequence};
use super::wire::{self, Stamp, kind};
use ravelin_mqtt::{PublishOut, QoS, Sender, Version, decode_publish, encode_publish};
use std::io;
use std::time::Duration;

/// The longest wait of a turn.
const TURN: Duration = Duration::from_millis(50);
/// Output of a publisher that is collected before it is written.
const BATCH_BYTES: usize = 256 * 1024;
/// After so long without an acknowledgement the rest is given up.
const STALL_NS: u64 = 10_000_000_000;

/// What came of publishing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Published {
    /// Messages that were acknowledged.
    pub acknowledged: u64,
    /// Of them, those with a reason code that says no.
    pub refused: u64,
}

/// Messages to publish at QoS 1: message `n` goes over publisher `n % publishers`, so that a topic keeps its order.
pub struct Batch<'a> {
    /// How many.
    pub total: u64,
    /// The topic of a message.
    pub topic: &'a dyn Fn(u64) -> String,
    /// Who gets it and its number there, for the stamp.
    pub address: &'a dyn Fn(u64) -> (u32, u32),
    /// The payload; its start becomes the stamp. Empty removes a retained message.
    pub payload: Vec<u8>,
    /// Retain them.
    pub retain: bool,
    /// Marks the messages of this run.
    pub run: u32,
}

struct Lane {
    link: usize,
    next: u64,
    next_packet_id: u16,
    unacknowledged: u32,
}

struct Publishing {
    lanes: Vec<Lane>,
    /// Lane of a connection.
    lane_of: Vec<usize>,
    result: Published,
    last_ns: u64,
}

impl Handler for Publishing {
    fn packet(&mut self, number: usize, _link: &mut Link, first: u8, body: &[u8], now_ns: u64) {
        let lane = self.lane_of.get(number).and_then(|&lane| self.lanes.get_mut(lane));
        let (kind::PUBACK, Some(lane), Some((_, reason))) = (first >> 4, lane, wire::read_ack(body)) else {
            return;
        };
        lane.unacknowledged = lane.unacknowledged.saturating_sub(1);
        self.result.acknowledged += 1;
        self.result.refused += u64::from(reason >= 0x80);
        self.last_ns = now_ns;
    }
}

/// Publishes a batch over the connections `links`, with at most `inflight` messages unacknowledged on each.
pub fn publish(
    engine: &mut Engine,
    links: &[usize],
    inflight: u16,
    batch: &Batch<'_>,
) -> io::Result<Published> {
    let version = engine.target.version;
    let mut lane_of = vec![usize::MAX; engine.links.len()];
    for (lane, &link) in links.iter().enumerate() {
        lane_of[link] = lane;
    }
    let lanes = links
        .iter()
        .enumerate()
        .map(|(at, &link)| Lane { link, next: at as u64, next_packet_id: 0, unacknowledged: 0 })
        .collect();
    let mut publishing =
        Publishing { lanes, lane_of, result: Published::default(), last_ns: engine.now_ns() };
    let mut payload = batch.payload.clone();
    loop {
        let mut open = 0;
        for at in 0..publishing.lanes.len() {
            let lane = &mut publishing.lanes[at];
            let number = lane.link;
            let Some(link) = engine.ready(number) else { continue };
            open += 1;
            let window = u32::from(inflight.min(link.receive_max));
            if link.pending() > 0 {
                continue;
            }
            while lane.next < batch.total && lane.unacknowledged < window && link.pending() < BATCH_BYTES {
                lane.next_packet_id = lane.next_packet_id % u16::MAX + 1;
                if !payload.is_empty() {
                    let (publisher, number) = (batch.address)(lane.next);
                    Stamp { time_ns: 0, run: batch.run, publisher, number }.write(&mut payload);
                }
                push(
                    &mut link.out,
                    version,
                    batch.retain,
                    &(batch.topic)(lane.next),
                    lane.next_packet_id,
                    &payload,
                );
                lane.next += links.len() as u64;
                lane.unacknowledged += 1;
            }
            engine.flush(number, &mut publishing);
        }
        let stalled = engine.now_ns().saturating_sub(publishing.last_ns) > STALL_NS;
        if publishing.result.acknowledged >= batch.total || open == 0 || stalled {
            return Ok(publishing.result);
        }
        engine.turn(TURN, &mut publishing)?;
    }
}

fn push(out: &mut Vec<u8>, version: Version, retain: bool, topic: &str, packet_id: u16, payload: &[u8]) {
    let publish = PublishOut {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain,
        topic,
        packet_id,
        topic_alias: None,
        expiry_s: None,
        subscription_ids: &[],
        forward: &[],
        payload,
    };
    encode_publish(out, version, &publish);
}

/// What is expected of a fetch: `each` messages for each of `receivers`, by the stamps.
pub struct Fetch {
    version: Version,
    run: u32,
    receivers: usize,
    each: u64,
    seen: Vec<bool>,
    sequences: Vec<Sequence>,
    /// Messages that came, each once.
    pub received: u64,
    /// Messages that came again.
    pub duplicated: u64,
    /// Messages that came behind a later one.
    pub out_of_order: u64,
    /// Connections that found their session.
    pub sessions_present: u64,
    /// When the first message came.
    pub first_ns: Option<u64>,
    /// When the last message came.
    pub last_ns: u64,
}

impl Fetch {
    /// Nothing has come yet.
    pub fn new(engine: &Engine, run: u32, receivers: usize, each: u64) -> Fetch {
        Fetch {
            version: engine.target.version,
            run,
            receivers,
            each,
            seen: vec![false; receivers * each as usize],
            sequences: vec![Sequence::default(); receivers],
            received: 0,
            duplicated: 0,
            out_of_order: 0,
            sessions_present: 0,
            first_ns: None,
            last_ns: engine.now_ns(),
        }
    }

    /// Messages that are expected.
    pub fn expected(&self) -> u64 {
        self.receivers as u64 * self.each
    }

    /// Messages that did not come.
    pub fn lost(&self) -> u64 {
        self.expected() - self.received
    }

    /// Lets messages come until all are there, or none came for `quiet`.
    pub fn wait(&mut self, engine: &mut Engine, quiet: Duration) -> io::Result<()> {
        while self.received < self.expected()
            && engine.now_ns().saturating_sub(self.last_ns) <= quiet.as_nanos() as u64
        {
            engine.turn(TURN, self)?;
        }
        Ok(())
    }
}

impl Handler for Fetch {
    fn opened(&mut self, _number: usize, link: &mut Link, _now_ns: u64) {
        self.sessions_present += u64::from(link.session_present);
    }

    fn packet(&mut self, _number: usize, link: &mut Link, first: u8, body: &[u8], now_ns: u64) {
        if first >> 4 != kind::PUBLISH {
            return;
        }
        let Ok(publish) = decode_publish(first, body, self.version, Sender::Server, &wire::LIMITS, "") else {
            return;
        };
        if publish.qos == QoS::AtLeastOnce {
            wire::push_ack(&mut link.out, kind::PUBACK, publish.packet_id);
        }
        let Some(stamp) = Stamp::read(publish.payload).filter(|stamp| stamp.run == self.run) else { return };
        let (receiver, number) = (stamp.publisher as usize, u64::from(stamp.number));
        if receiver >= self.receivers || number >= self.each {
            return;
        }
        self.last_ns = now_ns;
        self.first_ns.get_or_insert(now_ns);
        if std::mem::replace(&mut self.seen[receiver * self.each as usize + number as usize], true) {
            self.duplicated += 1;
            return;
        }
        self.out_of_order += u64::from(self.sequences[receiver].arrive(stamp.number) != Arrival::InOrder);
        self.received += 1;
    }
}
