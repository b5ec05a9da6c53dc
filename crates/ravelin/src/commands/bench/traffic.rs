//! Steady traffic: publishers that keep a window full or a schedule, subscribers that acknowledge and take note.
//!
//! In the closed loop a publisher may have so many messages that were not delivered everywhere, so the broker's delivery
//! sets the pace and no queue grows. In the open loop messages are due on a schedule, and their latency counts from then,
//! whatever held them back.

use super::args::LoadArgs;
use super::engine::{Engine, Handler};
use super::histogram::Histogram;
use super::link::Link;
use super::plan::{Plan, Topics, grid_topic};
use super::process::{BrokerProcess, Sample};
use super::report::{duration, grouped};
use super::sequence::{Arrival, Sequence};
use super::wire::{self, Stamp, Template, kind};
use ravelin_mqtt::{PublishOut, QoS, Sender, Version, decode_publish, encode_publish};
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Output of a publisher that is collected before it is written.
const BATCH_BYTES: usize = 256 * 1024;
/// Output that may wait on one publisher in the open loop before messages are held back.
const BACKLOG_BYTES: usize = 4 * 1024 * 1024;
/// A window that stayed full this long without a delivery has lost messages.
const STALL_NS: u64 = 1_000_000_000;
/// How often stalls are looked for.
const CHECK_NS: u64 = 100_000_000;
/// After everything has come, how long to look for duplicates.
const LINGER_NS: u64 = 100_000_000;

/// What was counted, over the whole run or up to a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Messages published.
    pub published: u64,
    /// Messages acknowledged.
    pub acknowledged: u64,
    /// Deliveries, each message once for each subscriber.
    pub delivered: u64,
    /// Deliveries that had come before.
    pub duplicated: u64,
    /// Deliveries that came behind a later message of their publisher.
    pub out_of_order: u64,
    /// Deliveries that the plan expects of all messages published.
    pub expected: u64,
    /// Acknowledgements with a reason code that says no.
    pub refused: u64,
    /// Messages that belong to nobody here.
    pub unexpected: u64,
    /// Messages that a schedule had to leave out, because the broker did not take them.
    pub held_back: u64,
    /// Times that a full window was given up.
    pub stalls: u64,
}

/// What the measured time gave.
pub struct Measured {
    /// The machine at its start.
    pub begin: Sample,
    /// The machine at its end.
    pub end: Sample,
    /// Counts within it.
    pub published: u64,
    /// Deliveries within it.
    pub delivered: u64,
}

struct Publisher {
    link: usize,
    source: Source,
    deliveries: f64,
    next_number: u32,
    next_packet_id: u16,
    unacknowledged: u32,
    /// Deliveries that are still to come.
    owed: i64,
    owed_max: i64,
    last_progress_ns: u64,
    /// Is in [`Traffic::eager`].
    eager: bool,
}

enum Source {
    Template(Template),
    Grid { exact: u32, plus: u32, hash: u32 },
}

/// The traffic of a run.
pub struct Traffic {
    version: Version,
    qos: QoS,
    payload: Vec<u8>,
    run: u32,
    inflight: u32,
    publishers: Vec<Publisher>,
    subscribers: usize,
    paired: bool,
    sequences: Vec<Sequence>,
    /// Publishers that may have something to send.
    eager: Vec<usize>,
    random: u64,
    measuring: bool,
    latency: Histogram,
    second: Histogram,
    /// What was counted so far.
    pub counts: Counts,
}

impl Traffic {
    /// Traffic by `plan`: publishers are the connections from 0 on, subscribers those behind them.
    pub fn new(engine: &Engine, plan: &Plan, subscribers: usize, load: &LoadArgs) -> Traffic {
        let version = engine.target.version;
        let payload = wire::payload(load.size);
        let publishers: Vec<Publisher> = plan
            .publishers
            .iter()
            .enumerate()
            .map(|(link, publisher)| Publisher {
                link,
                source: match &publisher.topics {
                    Topics::One(topic) => {
                        Source::Template(Template::new(version, load.qos, false, topic, &payload))
                    }
                    &Topics::Grid { exact, plus, hash } => Source::Grid { exact, plus, hash },
                },
                deliveries: publisher.deliveries,
                next_number: 0,
                next_packet_id: 0,
                unacknowledged: 0,
                owed: 0,
                owed_max: ((f64::from(load.window) * publisher.deliveries) as i64).max(1),
                last_progress_ns: engine.now_ns(),
                eager: true,
            })
            .collect();
        let (from, to) = (publishers.len(), subscribers);
        Traffic {
            version,
            qos: load.qos,
            payload,
            // A message of an earlier run that is still under way is none of ours.
            run: std::process::id() ^ (engine.now_ns() as u32).rotate_left(16),
            inflight: load.inflight.into(),
            eager: (0..from).collect(),
            publishers,
            subscribers: to,
            paired: plan.paired,
            sequences: vec![Sequence::default(); if plan.paired { to } else { from * to }],
            random: 0x9E37_79B9_7F4A_7C15,
            measuring: false,
            latency: Histogram::default(),
            second: Histogram::default(),
            counts: Counts::default(),
        }
    }

    /// The latencies of the measured time, in nanoseconds.
    pub fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// Warms up and measures.
    pub fn drive(
        &mut self,
        engine: &mut Engine,
        broker: BrokerProcess,
        load: &LoadArgs,
    ) -> io::Result<Measured> {
        let start_ns = engine.now_ns();
        let begin_ns = start_ns + load.warmup.as_nanos() as u64;
        let end_ns = begin_ns + load.duration.as_nanos() as u64;
        let mut progress = Progress::new(start_ns, end_ns);
        let mut schedule = load.rate.map(|rate| Schedule { start_ns, step_ns: 1e9 / rate, next: 0 });
        let mut check_ns = start_ns + CHECK_NS;
        let mut begin = (broker.sample(), self.counts);
        loop {
            let now_ns = engine.now_ns();
            if !self.measuring && now_ns >= begin_ns {
                begin = (broker.sample(), self.counts);
                self.measuring = true;
            }
            if now_ns >= end_ns {
                break;
            }
            if now_ns >= check_ns {
                check_ns = now_ns + CHECK_NS;
                self.give_up_stalls(now_ns);
                progress.show(now_ns, &self.counts, &mut self.second);
            }
            let mut wake_ns = end_ns.min(check_ns);
            match &mut schedule {
                Some(schedule) => wake_ns = wake_ns.min(self.publish_due(engine, schedule, now_ns)),
                None => self.publish_eager(engine),
            }
            engine.turn(wait(wake_ns, engine.now_ns()), self)?;
        }
        let (end, counts) = (broker.sample(), self.counts);
        self.measuring = false;
        progress.clear();
        Ok(Measured {
            begin: begin.0,
            end,
            published: counts.published - begin.1.published,
            delivered: counts.delivered - begin.1.delivered,
        })
    }

    /// Waits for what is under way, until nothing has come for `quiet`.
    pub fn drain(&mut self, engine: &mut Engine, quiet: Duration) -> io::Result<()> {
        let mut last = (0, engine.now_ns());
        loop {
            let now_ns = engine.now_ns();
            let progress = self.counts.delivered + self.counts.acknowledged;
            if progress != last.0 {
                last = (progress, now_ns);
            }
            let unacknowledged: u32 = self.publishers.iter().map(|publisher| publisher.unacknowledged).sum();
            let complete = self.counts.delivered >= self.counts.expected && unacknowledged == 0;
            let limit_ns = if complete { LINGER_NS } else { quiet.as_nanos() as u64 };
            if now_ns - last.1 >= limit_ns {
                return Ok(());
            }
            engine.turn(Duration::from_millis(20), self)?;
        }
    }

    /// Publishers whose window has room fill it, each with one write.
    fn publish_eager(&mut self, engine: &mut Engine) {
        let mut eager = std::mem::take(&mut self.eager);
        let now_ns = engine.now_ns();
        for index in eager.drain(..) {
            let publisher = &mut self.publishers[index];
            publisher.eager = false;
            let number = publisher.link;
            let Some(link) = engine.ready(number) else { continue };
            if link.pending() > 0 {
                continue;
            }
            let inflight = self.inflight.min(link.receive_max.into());
            let mut any = false;
            loop {
                let publisher = &self.publishers[index];
                let full = self.qos != QoS::AtMostOnce && publisher.unacknowledged >= inflight;
                if publisher.owed >= publisher.owed_max || full || link.pending() >= BATCH_BYTES {
                    break;
                }
                self.put(index, link, now_ns);
                any = true;
            }
            if any {
                engine.flush(number, self);
            }
        }
        // What became eager meanwhile went to the new list.
        if self.eager.is_empty() {
            self.eager = eager;
        }
    }

    /// Publishes everything that is due, with one write for each publisher; gives the time of the next.
    fn publish_due(&mut self, engine: &mut Engine, schedule: &mut Schedule, now_ns: u64) -> u64 {
        let first = schedule.next;
        while schedule.due_ns() <= now_ns {
            let index = (schedule.next % self.publishers.len() as u64) as usize;
            let due_ns = schedule.due_ns();
            schedule.next += 1;
            let number = self.publishers[index].link;
            let unacknowledged = self.publishers[index].unacknowledged;
            match engine.ready(number) {
                Some(link)
                    if link.pending() < BACKLOG_BYTES
                        && (self.qos == QoS::AtMostOnce || unacknowledged < link.receive_max.into()) =>
                {
                    self.put(index, link, due_ns);
                }
                _ => self.counts.held_back += 1,
            }
        }
        let touched = (schedule.next - first).min(self.publishers.len() as u64);
        for offset in 0..touched {
            let index = ((first + offset) % self.publishers.len() as u64) as usize;
            engine.flush(self.publishers[index].link, self);
        }
        schedule.due_ns()
    }

    /// Appends one message of a publisher.
    #[inline]
    fn put(&mut self, index: usize, link: &mut Link, time_ns: u64) {
        let publisher = &mut self.publishers[index];
        let stamp = Stamp { time_ns, run: self.run, publisher: index as u32, number: publisher.next_number };
        publisher.next_number = publisher.next_number.wrapping_add(1);
        if self.qos != QoS::AtMostOnce {
            publisher.next_packet_id = publisher.next_packet_id % u16::MAX + 1;
            publisher.unacknowledged += 1;
        }
        let deliveries = match &publisher.source {
            Source::Template(template) => {
                if self.qos == QoS::AtMostOnce {
                    template.push(&mut link.out, &stamp);
                } else {
                    template.push_numbered(&mut link.out, publisher.next_packet_id, &stamp);
                }
                publisher.deliveries as u64
            }
            &Source::Grid { exact, plus, hash } => {
                let number = (next_random(&mut self.random) >> 32) as u32 % exact;
                stamp.write(&mut self.payload);
                let publish = PublishOut {
                    dup: false,
                    qos: self.qos,
                    retain: false,
                    topic: &grid_topic(number as usize),
                    packet_id: publisher.next_packet_id,
                    topic_alias: None,
                    expiry_s: None,
                    subscription_ids: &[],
                    forward: &[],
                    payload: &self.payload,
                };
                encode_publish(&mut link.out, self.version, &publish);
                1 + u64::from(number < plus) + u64::from(number < hash)
            }
        };
        publisher.owed += deliveries as i64;
        self.counts.expected += deliveries;
        self.counts.published += 1;
    }

    #[inline]
    fn make_eager(&mut self, index: usize) {
        let publisher = &mut self.publishers[index];
        if !publisher.eager {
            publisher.eager = true;
            self.eager.push(index);
        }
    }

    fn give_up_stalls(&mut self, now_ns: u64) {
        for index in 0..self.publishers.len() {
            let publisher = &mut self.publishers[index];
            let full = publisher.owed >= publisher.owed_max;
            if full && now_ns.saturating_sub(publisher.last_progress_ns) > STALL_NS {
                publisher.owed = 0;
                publisher.last_progress_ns = now_ns;
                self.counts.stalls += 1;
                self.make_eager(index);
            }
        }
    }

    #[inline]
    fn delivered(&mut self, number: usize, stamp: Stamp, now_ns: u64) {
        let index = stamp.publisher as usize;
        let subscriber = number - self.publishers.len();
        let at = if self.paired { subscriber } else { subscriber * self.publishers.len() + index };
        match self.sequences[at].arrive(stamp.number) {
            Arrival::InOrder => {}
            Arrival::Late => self.counts.out_of_order += 1,
            Arrival::Duplicate => {
                self.counts.duplicated += 1;
                return;
            }
        }
        self.counts.delivered += 1;
        let publisher = &mut self.publishers[index];
        publisher.owed -= 1;
        publisher.last_progress_ns = now_ns;
        self.make_eager(index);
        if self.measuring {
            let latency_ns = now_ns.saturating_sub(stamp.time_ns);
            self.latency.record(latency_ns);
            self.second.record(latency_ns);
        }
    }

    /// Whether the stamp is of a message that connection `number` has to get.
    #[inline]
    fn is_ours(&self, number: usize, stamp: &Stamp) -> bool {
        let publishers = self.publishers.len();
        stamp.run == self.run
            && (stamp.publisher as usize) < publishers
            && (publishers..publishers + self.subscribers).contains(&number)
            && (!self.paired || stamp.publisher as usize == number - publishers)
    }
}

impl Handler for Traffic {
    #[inline]
    fn packet(&mut self, number: usize, link: &mut Link, first: u8, body: &[u8], now_ns: u64) {
        match first >> 4 {
            kind::PUBLISH => {
                let Ok(publish) =
                    decode_publish(first, body, self.version, Sender::Server, &wire::LIMITS, "")
                else {
                    self.counts.unexpected += 1;
                    return;
                };
                match publish.qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => wire::push_ack(&mut link.out, kind::PUBACK, publish.packet_id),
                    QoS::ExactlyOnce => wire::push_ack(&mut link.out, kind::PUBREC, publish.packet_id),
                }
                match Stamp::read(publish.payload) {
                    Some(stamp)
                        if self.is_ours(number, &stamp) && publish.payload.len() == self.payload.len() =>
                    {
                        self.delivered(number, stamp, now_ns);
                    }
                    _ => self.counts.unexpected += 1,
                }
            }
            kind::PUBREL => {
                if let Some((packet_id, _)) = wire::read_ack(body) {
                    wire::push_ack(&mut link.out, kind::PUBCOMP, packet_id);
                }
            }
            acknowledgement @ (kind::PUBACK | kind::PUBREC | kind::PUBCOMP) => {
                let Some((packet_id, reason)) = wire::read_ack(body) else { return };
                if acknowledgement == kind::PUBREC && reason < 0x80 {
                    wire::push_ack(&mut link.out, kind::PUBREL, packet_id);
                    return;
                }
                self.counts.refused += u64::from(reason >= 0x80);
                self.counts.acknowledged += 1;
                if let Some(publisher) = self.publishers.get_mut(number) {
                    publisher.unacknowledged = publisher.unacknowledged.saturating_sub(1);
                    self.make_eager(number);
                }
            }
            _ => {}
        }
    }

    fn writable(&mut self, number: usize) {
        if number < self.publishers.len() {
            self.make_eager(number);
        }
    }
}

/// When each message of an open loop is due.
struct Schedule {
    start_ns: u64,
    step_ns: f64,
    next: u64,
}

impl Schedule {
    fn due_ns(&self) -> u64 {
        self.start_ns + (self.next as f64 * self.step_ns) as u64
    }
}

/// The poll counts in milliseconds and wakes late rather than early, so the last one is spent looking.
fn wait(until_ns: u64, now_ns: u64) -> Duration {
    Duration::from_millis(until_ns.saturating_sub(now_ns) / 1_000_000)
}

/// Xorshift: the topics of a run are at random and the same in every run.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The line that tells once a second how it goes, on a terminal.
struct Progress {
    next_ns: u64,
    start_ns: u64,
    last: Counts,
    shown: bool,
}

impl Progress {
    fn new(start_ns: u64, end_ns: u64) -> Progress {
        // Nobody waits impatiently for two seconds.
        let wanted = io::stderr().is_terminal() && end_ns - start_ns > 2_000_000_000;
        let next_ns = if wanted { start_ns + 1_000_000_000 } else { u64::MAX };
        Progress { next_ns, start_ns, last: Counts::default(), shown: false }
    }

    fn show(&mut self, now_ns: u64, counts: &Counts, latency: &mut Histogram) {
        if now_ns < self.next_ns {
            return;
        }
        let p99 = match latency.count() {
            0 => "warming up".to_owned(),
            _ => format!("p99 {}", duration(latency.quantile(0.99) as f64 / 1000.0)),
        };
        let _ = write!(
            io::stderr(),
            "\r\x1b[K{:3} s  published {}/s  delivered {}/s  {p99}",
            (now_ns - self.start_ns) / 1_000_000_000,
            grouped(counts.published - self.last.published),
            grouped(counts.delivered - self.last.delivered),
        );
        self.last = *counts;
        self.shown = true;
        self.next_ns += 1_000_000_000;
        latency.clear();
    }

    fn clear(&self) {
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
