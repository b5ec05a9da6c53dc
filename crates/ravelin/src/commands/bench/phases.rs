//! What every scenario begins and ends with: connect many, subscribe many, disconnect all, let the broker come to rest.

use super::engine::{Engine, Handler};
use super::histogram::Histogram;
use super::link::{Link, SessionKind, State};
use super::process::BrokerProcess;
use super::wire::kind;
use ravelin_mqtt::{
    Packet, Properties, QoS, Sender, SubscribeOptions, Subscription, decode, encode_subscribe,
};
use std::io;
use std::time::{Duration, Instant};

/// The longest wait of a turn, so that deadlines are noticed.
const TURN: Duration = Duration::from_millis(50);
/// A broker at rest uses less than this share of a core.
const REST_SHARE: f64 = 0.02;

/// The topic filters of one connection, made when they are needed: a million of them need not be in memory.
pub struct Filters {
    /// How many.
    pub count: usize,
    /// The filter with a number.
    pub make: Box<dyn Fn(usize) -> String>,
}

impl Filters {
    /// One filter.
    pub fn one(filter: impl Into<String>) -> Filters {
        let filter = filter.into();
        Filters { count: 1, make: Box::new(move |_| filter.clone()) }
    }
}

/// What came of subscribing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subscribed {
    /// Filters that were granted.
    pub granted: u64,
    /// Filters that were refused.
    pub refused: u64,
}

/// Opens one connection for each client identifier, behind those that exist, with at most `wave` handshakes at a time; gives
/// how many are ready. `latency` gets the time from the first SYN to the CONNACK.
pub fn connect_all(
    engine: &mut Engine,
    client_ids: &[String],
    session: SessionKind,
    wave: usize,
    latency: &mut Histogram,
) -> io::Result<usize> {
    struct Connecting<'a> {
        latency: &'a mut Histogram,
        opened: usize,
        failed: usize,
    }
    impl Handler for Connecting<'_> {
        fn packet(&mut self, _number: usize, _link: &mut Link, _first: u8, _body: &[u8], _now_ns: u64) {}
        fn opened(&mut self, _number: usize, link: &mut Link, now_ns: u64) {
            self.latency.record(now_ns - link.opened_ns);
            self.opened += 1;
        }
        fn closed(&mut self, _number: usize) {
            self.failed += 1;
        }
    }
    let base = engine.links.len();
    let deadline = Instant::now() + engine.target.timeout;
    let mut connecting = Connecting { latency, opened: 0, failed: 0 };
    let mut started = 0;
    while connecting.opened + connecting.failed < client_ids.len() {
        while started < client_ids.len() && started - connecting.opened - connecting.failed < wave {
            if !engine.open(base + started, &client_ids[started], session) {
                connecting.failed += 1;
            }
            started += 1;
        }
        if Instant::now() > deadline {
            engine.note(format!(
                "{} of {} connections were ready in time",
                connecting.opened,
                client_ids.len()
            ));
            break;
        }
        engine.turn(TURN, &mut connecting)?;
    }
    engine.links.resize_with(base + client_ids.len(), || None);
    Ok(connecting.opened)
}

/// Subscribes connections to their filters, `per_packet` filters a SUBSCRIBE, one SUBSCRIBE at a time for each connection.
pub fn subscribe_all(
    engine: &mut Engine,
    jobs: Vec<(usize, Filters)>,
    qos: QoS,
    per_packet: usize,
) -> io::Result<Subscribed> {
    struct Job {
        filters: Filters,
        next: usize,
        waiting: bool,
    }
    struct Subscribing {
        version: ravelin_mqtt::Version,
        jobs: Vec<Option<Job>>,
        /// Connections that can send their next SUBSCRIBE.
        idle: Vec<usize>,
        open: usize,
        result: Subscribed,
    }
    impl Handler for Subscribing {
        fn packet(&mut self, number: usize, _link: &mut Link, first: u8, body: &[u8], _now_ns: u64) {
            let Some(Some(job)) = self.jobs.get_mut(number) else { return };
            if first >> 4 != kind::SUBACK || !std::mem::take(&mut job.waiting) {
                return;
            }
            if let Ok(Packet::SubAck(suback)) =
                decode(first, body, self.version, Sender::Server, &super::wire::LIMITS)
            {
                let refused = suback.reasons.iter().filter(|&&reason| reason >= 0x80).count() as u64;
                self.result.refused += refused;
                self.result.granted += suback.reasons.len() as u64 - refused;
            }
            if job.next < job.filters.count {
                self.idle.push(number);
            } else {
                self.open -= 1;
            }
        }
        fn closed(&mut self, number: usize) {
            if let Some(Some(job)) = self.jobs.get(number)
                && (job.waiting || job.next < job.filters.count)
            {
                self.open -= 1;
            }
        }
    }
    let mut subscribing = Subscribing {
        version: engine.target.version,
        jobs: Vec::new(),
        idle: Vec::new(),
        open: 0,
        result: Subscribed::default(),
    };
    subscribing.jobs.resize_with(engine.links.len(), || None);
    for (number, filters) in jobs {
        if filters.count > 0 && engine.ready(number).is_some() {
            subscribing.jobs[number] = Some(Job { filters, next: 0, waiting: false });
            subscribing.idle.push(number);
            subscribing.open += 1;
        }
    }
    let deadline = Instant::now() + engine.target.timeout;
    let version = engine.target.version;
    let options = SubscribeOptions { qos, ..SubscribeOptions::default() };
    while subscribing.open > 0 {
        for number in std::mem::take(&mut subscribing.idle) {
            let (Some(Some(job)), Some(link)) = (subscribing.jobs.get_mut(number), engine.ready(number))
            else {
                continue;
            };
            let end = (job.next + per_packet).min(job.filters.count);
            let filters: Vec<String> = (job.next..end).map(|at| (job.filters.make)(at)).collect();
            let subscriptions: Vec<Subscription<'_>> =
                filters.iter().map(|filter| Subscription { filter, options }).collect();
            encode_subscribe(&mut link.out, version, 1, None, &subscriptions, Properties::EMPTY);
            job.next = end;
            job.waiting = true;
            engine.flush(number, &mut subscribing);
        }
        if Instant::now() > deadline {
            engine.note("subscribing took too long");
            break;
        }
        engine.turn(TURN, &mut subscribing)?;
    }
    Ok(subscribing.result)
}

/// Ends every connection properly and waits until the broker has closed them (at most five seconds).
pub fn disconnect_all(engine: &mut Engine) -> io::Result<()> {
    struct Leaving {
        open: usize,
    }
    impl Handler for Leaving {
        fn packet(&mut self, _number: usize, _link: &mut Link, _first: u8, _body: &[u8], _now_ns: u64) {}
        fn closed(&mut self, _number: usize) {
            self.open -= 1;
        }
    }
    let mut leaving = Leaving { open: engine.links.iter().flatten().count() };
    let version = engine.target.version;
    for number in 0..engine.links.len() {
        match &mut engine.links[number] {
            Some(link) if link.state == State::Ready => link.leave(version),
            Some(link) if link.state == State::Leaving => {}
            Some(_) => {
                engine.links[number] = None;
                leaving.open -= 1;
            }
            None => {}
        }
        engine.flush(number, &mut leaving);
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while leaving.open > 0 && Instant::now() < deadline {
        engine.turn(TURN, &mut leaving)?;
    }
    engine.links.iter_mut().for_each(|link| *link = None);
    Ok(())
}

/// Waits until the broker uses next to no CPU, at most `longest`; without a process to look at, half a second.
pub fn rest(engine: &mut Engine, broker: BrokerProcess, longest: Duration) -> io::Result<()> {
    if !broker.is_known() {
        return engine.idle(longest.min(Duration::from_millis(500)));
    }
    let deadline = Instant::now() + longest;
    loop {
        let before = broker.sample();
        engine.idle(Duration::from_millis(200))?;
        let after = broker.sample();
        let share = (after.broker_cpu_s - before.broker_cpu_s) / after.since_s(&before);
        if share < REST_SHARE || Instant::now() > deadline {
            return Ok(());
        }
    }
}
