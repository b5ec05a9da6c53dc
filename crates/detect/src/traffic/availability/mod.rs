//! Who should be there and is not: presence, expected messages, inspections.
//!
//! Silence is looked for with a timing wheel: each rhythm has one place in it, so that a message costs no timer. One episode
//! of silence is one alarm, and so is a network with all that is behind it: see [`outage`]. While the node does not see
//! everything, nothing is concluded.

mod outage;
mod silence;

use super::catalog as text;
use super::inspection::Inspections;
use super::rhythm::Rhythm;
use super::seen::Live;
use super::wheel::Wheel;
use super::{Expectation, Settings, Who};
use crate::Raise;
use crate::baseline::{KEPT_RHYTHMS_MAX, KeptRhythm};
use crate::entities::source_of;
use crate::sight::{Arrived, Metered};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use outage::Outage;
use ravelin_event::{DisconnectCause, Subject};
use serde::Serialize;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// Devices with rounds are looked for so often.
const DEVICES_MS: u64 = 600_000;
/// Ends of connections decay with this time constant.
const FLAPPING_TAU_MS: f32 = 600_000.0;
/// Abnormal ends that are flapping: six within ten minutes, with their decay.
const FLAPS: f32 = 4.5;
/// Findings of late messages of one client: one in so long.
const LATE_EVERY_MS: u64 = 3_600_000;
/// Rhythms by topic of one client; what it publishes to more topics has a rhythm as a whole.
const TOPICS_MAX: u8 = 32;
const HOUR_MS: u64 = 3_600_000;

/// A client, as far as it is expected.
#[derive(Clone, Debug)]
struct Client {
    client_id: Arc<str>,
    class: Option<Arc<str>>,
    rhythm: Rhythm,
    topics: Vec<u64>,
    arrived_ms: u64,
    left_ms: u64,
    keep_alive_s: u16,
    connected: bool,
    /// It said goodbye, or was sent away.
    dismissed: bool,
    /// Connections that its messages came over; from 3 on it is a device that sleeps between them.
    connections: u8,
    silent: bool,
    /// Since when.
    silent_ms: u64,
    /// The outage that it is part of; 0: none.
    outage: u32,
    /// Where it is or was connected from.
    source: Option<IpAddr>,
    flaps: f32,
    flaps_ms: u64,
    late_ms: u64,
    wills: u16,
}

#[derive(Clone, Debug)]
struct Topic {
    client: u64,
    topic: Arc<str>,
    rhythm: Rhythm,
    silent: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Watched {
    Client(u64),
    Topic(u64),
}

/// Whether a client is there.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Presence {
    /// The Client Identifier.
    pub client_id: Arc<str>,
    /// Its class.
    pub class: Option<Arc<str>>,
    /// Whether it is connected.
    pub connected: bool,
    /// When its last message came, in milliseconds since the Unix epoch; 0: never.
    pub last_message_ms: u64,
    /// The learned period of its messages, if it has one.
    pub period_ms: Option<u64>,
    /// Whether an alarm of silence is open.
    pub silent: bool,
}

/// See the module's documentation.
pub struct Availability {
    clients: HashMap<u64, Client, FixedState>,
    topics: HashMap<u64, Topic, FixedState>,
    hasher: FixedState,
    wheel: Wheel<Watched>,
    due: Vec<Watched>,
    pending: VecDeque<(u64, u64)>,
    outages: Vec<Outage>,
    /// Outages so far.
    outages_ever: u32,
    blind_ms: u64,
    /// Inspections of devices.
    pub inspections: Inspections,
    devices_ms: u64,
    /// Alarms that are over: about whom, and which.
    ended: VecDeque<(Subject, &'static str)>,
    /// Clients and topics that found no place.
    pub evictions: u64,
}

impl Availability {
    pub(super) fn new(seed: u64) -> Availability {
        let map = || FixedState::with_seed(seed ^ 2);
        Availability {
            clients: HashMap::with_hasher(map()),
            topics: HashMap::with_hasher(map()),
            hasher: FixedState::with_seed(seed ^ 3),
            wheel: Wheel::default(),
            due: Vec::new(),
            pending: VecDeque::new(),
            outages: Vec::new(),
            outages_ever: 0,
            blind_ms: 0,
            inspections: Inspections::default(),
            devices_ms: 0,
            ended: VecDeque::new(),
            evictions: 0,
        }
    }

    fn key(&self, client_id: &str) -> u64 {
        std::hash::BuildHasher::hash_one(&self.hasher, client_id)
    }

    /// The client, which is made if there is room. When there is none, one that has left makes room.
    fn client(&mut self, client_id: &Arc<str>, class: Option<&Arc<str>>, max: usize) -> Option<u64> {
        let key = self.key(client_id);
        if self.clients.contains_key(&key) {
            return Some(key);
        }
        if self.clients.len() >= max {
            self.evictions += 1;
            let gone = |client: &Client| !client.connected && !client.silent;
            // Seldom: the table is as large as that of the clients.
            let oldest = self.clients.iter().filter(|(_, client)| gone(client));
            let oldest = oldest.min_by_key(|(key, client)| (client.left_ms, **key)).map(|(key, _)| *key)?;
            self.forget(oldest);
        }
        let client = Client {
            client_id: client_id.clone(),
            class: class.cloned(),
            rhythm: Rhythm::default(),
            topics: Vec::new(),
            arrived_ms: 0,
            left_ms: 0,
            keep_alive_s: 0,
            connected: false,
            dismissed: false,
            connections: 0,
            silent: false,
            silent_ms: 0,
            outage: 0,
            source: None,
            flaps: 0.0,
            flaps_ms: 0,
            late_ms: 0,
            wills: 0,
        };
        self.clients.insert(key, client);
        self.wheel.insert(Watched::Client(key), 0);
        Some(key)
    }

    fn forget(&mut self, key: u64) {
        let Some(client) = self.clients.remove(&key) else { return };
        self.end_outage_of(client.outage);
        for topic in client.topics {
            self.topics.remove(&topic);
        }
    }

    pub(super) fn handle_arrived(&mut self, settings: &Settings, arrived: &Arrived, at_ms: u64) {
        let key = self.client(&arrived.client_id, arrived.class.as_ref(), settings.rhythms_max);
        let Some(client) = key.and_then(|key| self.clients.get_mut(&key)) else { return };
        if client.class != arrived.class {
            client.class.clone_from(&arrived.class);
        }
        client.connected = true;
        client.dismissed = false;
        client.arrived_ms = at_ms;
        client.keep_alive_s = arrived.keep_alive_s;
        client.source = Some(source_of(arrived.address.ip()));
        client.connections = client.connections.saturating_add(1);
        client.rhythm.handle_connected();
        for topic in client.topics.clone() {
            if let Some(topic) = self.topics.get_mut(&topic) {
                topic.rhythm.handle_connected();
            }
        }
    }

    pub(super) fn handle_left(
        &mut self,
        expect: &[Expectation],
        who: Who<'_>,
        at_ms: u64,
        cause: DisconnectCause,
        out: &mut Vec<Raise>,
    ) {
        use DisconnectCause as Cause;
        let key = self.key(who.client_id);
        let Some(client) = self.clients.get_mut(&key) else { return };
        if cause == Cause::TakenOver {
            // It is there: on another connection.
            return;
        }
        client.connected = false;
        client.left_ms = at_ms;
        let ordered =
            matches!(cause, Cause::Administrative | Cause::Expired | Cause::Shutdown | Cause::Internal);
        client.dismissed = ordered || cause == Cause::Normal;
        if client.dismissed {
            return;
        }
        let decay = (-(at_ms.saturating_sub(client.flaps_ms) as f32) / FLAPPING_TAU_MS).exp();
        client.flaps = client.flaps * decay + 1.0;
        client.flaps_ms = at_ms;
        if client.flaps < FLAPS {
            return;
        }
        let (flaps, name) = (client.flaps.ceil(), &client.client_id);
        let raise = Raise::of(&text::FLAPPING, who.subject(), at_ms)
            .measured(client.flaps, FLAPS, "ends/10 min")
            .over(at_ms.saturating_sub(FLAPPING_TAU_MS as u64), at_ms, flaps as u64)
            .says(format!("{name} lost its connection about {flaps:.0} times within ten minutes"));
        let expected = expectation(expect, client.class.as_ref()).is_some_and(|expected| expected.connected);
        out.push(if expected { raise } else { raise.only_kept() });
    }

    pub(super) fn handle_will(
        &mut self,
        expect: &[Expectation],
        who: Who<'_>,
        at_ms: u64,
        topic: &Arc<str>,
        out: &mut Vec<Raise>,
    ) {
        let key = self.key(who.client_id);
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.wills = client.wills.saturating_add(1);
        if expectation(expect, client.class.as_ref()).is_some_and(|expected| expected.connected) {
            let says = format!("the will of {} was published to {topic}", client.client_id);
            out.push(Raise::of(&text::WILL, who.subject(), at_ms).on(topic).says(says));
        }
    }

    /// How long the client had sent nothing at `at_ms`; 0 if nothing is known.
    pub(super) fn away_ms(&self, client_id: &str, at_ms: u64) -> u64 {
        let client = self.clients.get(&self.key(client_id)).filter(|client| client.rhythm.last_ms > 0);
        client.map_or(0, |client| at_ms.saturating_sub(client.rhythm.last_ms))
    }

    /// Messages came. `learn`: no alarm is open; `flooded`: they are a flood, and no rhythm is judged.
    pub(super) fn handle_metered(
        &mut self,
        settings: &Settings,
        who: Who<'_>,
        metered: &Metered,
        (learn, flooded): (bool, bool),
        live: &mut Live,
        out: &mut Vec<Raise>,
    ) {
        let Some(key) = self.client(who.client_id, who.class, settings.rhythms_max) else { return };
        let Some(client) = self.clients.get_mut(&key) else { return };
        // Whoever sends is connected, whatever was missed.
        client.connected = true;
        let first = metered.topics.iter().map(|topic| topic.first_ms).min().unwrap_or(metered.from_ms);
        let last = metered.topics.iter().map(|topic| topic.last_ms).max().unwrap_or(metered.to_ms);
        let learn = learn && !client.silent;
        if let Some(verdict) = silence::late(client, who, first) {
            out.push(verdict);
        }
        let outage = std::mem::take(&mut client.outage);
        if std::mem::take(&mut client.silent) && outage == 0 {
            self.ended.push_back((who.subject(), text::SILENT.info.name));
        }
        client.rhythm.handle(metered.messages, first, last, learn, u16::MAX);
        for meter in &metered.topics {
            let topic_key = std::hash::BuildHasher::hash_one(&self.hasher, (key, &*meter.topic));
            let full = self.topics.len() >= settings.rhythms_max;
            let topic = match self.topics.get_mut(&topic_key) {
                Some(topic) => topic,
                None if client.topics.len() >= TOPICS_MAX.into() => continue,
                None if full => {
                    self.evictions += 1;
                    continue;
                }
                None => {
                    client.topics.push(topic_key);
                    self.wheel.insert(Watched::Topic(topic_key), metered.to_ms);
                    let rhythm = Rhythm::default();
                    let topic = Topic { client: key, topic: meter.topic.clone(), rhythm, silent: false };
                    self.topics.entry(topic_key).or_insert(topic)
                }
            };
            if topic.rhythm.last_ms / HOUR_MS != meter.last_ms / HOUR_MS {
                live.insert(meter.last_ms, &meter.topic, settings.live_max);
            }
            let learn = learn && !topic.silent;
            if std::mem::take(&mut topic.silent) {
                self.ended.push_back((who.subject(), text::MISSING.info.name));
            }
            let grown = topic.rhythm.handle(
                meter.messages,
                meter.first_ms,
                meter.last_ms,
                learn,
                settings.rhythm_gaps,
            );
            if grown && !flooded && topic.rhythm.early >= settings.rhythm_threshold {
                out.push(off_rhythm(settings, who, topic, meter.last_ms));
            }
        }
        self.end_outage_of(outage);
    }

    /// The rhythms of a client, in the form that is kept.
    pub(super) fn kept(&self, client_id: &str) -> Vec<KeptRhythm> {
        let Some(client) = self.clients.get(&self.key(client_id)) else { return Vec::new() };
        let topics = client.topics.iter().filter_map(|topic| self.topics.get(topic));
        let topics = topics.filter(|topic| topic.rhythm.is_regular());
        let topics = topics.map(|topic| topic.rhythm.to_kept(Some(topic.topic.clone())));
        let all = std::iter::once(client.rhythm.to_kept(None));
        all.chain(topics).take(KEPT_RHYTHMS_MAX).collect()
    }

    /// Takes over what was kept.
    pub(super) fn restore(&mut self, settings: &Settings, who: Who<'_>, rhythms: &[KeptRhythm]) {
        let Some(key) = self.client(who.client_id, who.class, settings.rhythms_max) else { return };
        for kept in rhythms {
            let rhythm = Rhythm::from_kept(kept);
            let Some(name) = &kept.topic else {
                if let Some(client) = self.clients.get_mut(&key) {
                    client.rhythm = rhythm;
                }
                continue;
            };
            let topic_key = std::hash::BuildHasher::hash_one(&self.hasher, (key, &**name));
            if self.topics.len() >= settings.rhythms_max || self.topics.contains_key(&topic_key) {
                continue;
            }
            let topic = Topic { client: key, topic: name.clone(), rhythm, silent: false };
            self.topics.insert(topic_key, topic);
            self.wheel.insert(Watched::Topic(topic_key), 0);
            if let Some(client) = self.clients.get_mut(&key) {
                client.topics.push(topic_key);
            }
        }
    }

    /// Something was not seen: silence counts from here on. `started`: nobody is connected.
    pub(super) fn handle_blind(&mut self, at_ms: u64, started: bool) {
        self.blind_ms = self.blind_ms.max(at_ms);
        self.pending.clear();
        if started {
            for client in self.clients.values_mut() {
                (client.connected, client.left_ms) = (false, at_ms);
            }
        }
    }

    pub(super) fn handle_tick(
        &mut self,
        settings: &Settings,
        expect: &[Expectation],
        at_ms: u64,
        out: &mut Vec<Raise>,
    ) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.take_due(at_ms, &mut due);
        for watched in due.drain(..) {
            match watched {
                Watched::Client(key) => self.look_at_client(settings, expect, key, at_ms),
                Watched::Topic(key) => self.look_at_topic(settings, key, at_ms, out),
            }
        }
        self.due = due;
        self.tell_silence(settings, expect, at_ms, out);
        self.find_devices(expect, at_ms);
        self.inspections.judge(expect, at_ms, out);
    }

    /// Whether a client is there, if it is known.
    pub fn presence(&self, client_id: &str) -> Option<Presence> {
        self.clients.get(&self.key(client_id)).map(|client| Presence {
            client_id: client.client_id.clone(),
            class: client.class.clone(),
            connected: client.connected,
            last_message_ms: client.rhythm.last_ms,
            period_ms: client.rhythm.is_regular().then_some(client.rhythm.gap.mean as u64),
            silent: client.silent,
        })
    }

    /// An alarm that is over: about whom, and which.
    pub(super) fn poll_ended(&mut self) -> Option<(Subject, &'static str)> {
        self.ended.pop_front().or_else(|| self.inspections.ended.pop_front())
    }

    /// Once in ten minutes: which devices have rounds.
    fn find_devices(&mut self, expect: &[Expectation], at_ms: u64) {
        if at_ms < self.devices_ms + DEVICES_MS || expect.iter().all(|one| one.inspection_days.is_none()) {
            return;
        }
        self.devices_ms = at_ms;
        for client in self.clients.values() {
            let class = client.class.as_ref();
            if expectation(expect, class).is_some_and(|expected| expected.inspection_days.is_some()) {
                self.inspections.find(&client.client_id, class, at_ms);
            }
        }
    }
}

/// What is expected of a class.
pub(super) fn expectation<'a>(
    expect: &'a [Expectation],
    class: Option<&Arc<str>>,
) -> Option<&'a Expectation> {
    let class = class?;
    expect.iter().find(|expected| expected.class == *class)
}

fn off_rhythm(settings: &Settings, who: Who<'_>, topic: &Topic, at_ms: u64) -> Raise {
    let (rhythm, name) = (&topic.rhythm, who.client_id);
    let (earlies, period) = (rhythm.earlies, rhythm.gap.mean / 1e3);
    Raise::of(&text::OFF_RHYTHM, who.subject(), at_ms)
        .measured(rhythm.early, settings.rhythm_threshold, "")
        .over(rhythm.first_early_ms, at_ms, earlies.into())
        .usual(rhythm.gap.mean)
        .with("period", period, "s")
        .with("early", earlies, "messages")
        .on(&topic.topic)
        .says(format!(
            "{earlies} messages of {name} to {} came before half of its period of {period:.1} s",
            topic.topic
        ))
}
