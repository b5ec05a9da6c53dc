//! Who should be there and is not: presence, expected messages, inspections.
//!
//! Silence is looked for with a timing wheel: each rhythm has one place in it, so that a message costs no timer. One episode
//! of silence is one alarm. What is about to be said waits for half a minute: if many fall silent together, it is said once,
//! of the fleet. While the node does not see everything, nothing is concluded.

use super::catalog as text;
use super::inspection::Inspections;
use super::rhythm::Rhythm;
use super::seen::Live;
use super::wheel::Wheel;
use super::{Expectation, Settings, Who};
use crate::Raise;
use crate::baseline::{KEPT_RHYTHMS_MAX, KeptRhythm};
use crate::sight::{Arrived, Metered};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ravelin_event::{DisconnectCause, Subject};
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::Arc;

/// A learned rhythm says nothing of a client that has left before this is over.
const AWAY_MS: u64 = 900_000;
/// Silence waits so long to be told, for others that fall silent too.
const PENDING_MS: u64 = 30_000;
/// Whoever fell silent within this time belongs together.
const TOGETHER_MS: u64 = 3_600_000;
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
        if let Some(verdict) = late(client, who, first) {
            out.push(verdict);
        }
        if std::mem::take(&mut client.silent) {
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

    fn look_at_client(&mut self, settings: &Settings, expect: &[Expectation], key: u64, at_ms: u64) {
        let Some(client) = self.clients.get(&key) else { return };
        let again = match silent_at(settings, expect, client, self.blind_ms) {
            Some(due_ms) if due_ms > at_ms => due_ms,
            Some(_) if client.silent || self.pending.iter().any(|(_, pending)| *pending == key) => {
                at_ms + PENDING_MS
            }
            Some(_) => {
                self.pending.push_back((at_ms, key));
                at_ms + PENDING_MS
            }
            None => at_ms + PENDING_MS,
        };
        self.wheel.insert(Watched::Client(key), again);
    }

    /// What is pending becomes one alarm of the fleet, or after a while one of each client that is still silent.
    fn tell_silence(
        &mut self,
        settings: &Settings,
        expect: &[Expectation],
        at_ms: u64,
        out: &mut Vec<Raise>,
    ) {
        if self.pending.is_empty() {
            return;
        }
        let (mut expected, mut together) = (0, self.pending.len());
        for client in self.clients.values() {
            expected += usize::from(silent_at(settings, expect, client, 0).is_some());
            together += usize::from(client.silent && at_ms.saturating_sub(client.silent_ms) < TOGETHER_MS);
        }
        if together >= 10 && together * 20 > expected || together >= 3 && together * 2 >= expected {
            out.push(fleet_silent(together, expected, self.pending[0].0, at_ms));
            while let Some((_, key)) = self.pending.pop_front() {
                if let Some(client) = self.clients.get_mut(&key) {
                    (client.silent, client.silent_ms) = (true, at_ms);
                }
            }
            return;
        }
        while let Some((since_ms, key)) = self.pending.front().copied() {
            if at_ms.saturating_sub(since_ms) < PENDING_MS {
                return;
            }
            self.pending.pop_front();
            let Some(client) = self.clients.get_mut(&key) else { continue };
            if silent_at(settings, expect, client, self.blind_ms).is_none_or(|due| due > at_ms) {
                continue;
            }
            (client.silent, client.silent_ms) = (true, at_ms);
            out.push(silent(settings, expect, client, at_ms));
            client.rhythm.silences = client.rhythm.silences.saturating_add(1);
        }
    }

    fn look_at_topic(&mut self, settings: &Settings, key: u64, at_ms: u64, out: &mut Vec<Raise>) {
        let Some(topic) = self.topics.get_mut(&key) else { return };
        let Some(client) = self.clients.get(&topic.client) else { return };
        let since_ms = topic.rhythm.last_ms.max(self.blind_ms).max(client.arrived_ms);
        let after = topic.rhythm.silent_after_ms(floor_ms(client.keep_alive_s));
        let due_ms = after.map(|after| since_ms + after);
        // Others came meanwhile, and lately: the client is well. What it has not sent since it connected is not missed: new
        // firmware has other topics.
        let period = topic.rhythm.gap.mean as u64;
        let sent = topic.rhythm.last_ms >= client.arrived_ms;
        let others = sent && client.rhythm.last_ms > since_ms + period && !client.silent;
        let again = match due_ms {
            Some(due_ms) if due_ms > at_ms => due_ms,
            Some(_) if others && client.connected && !topic.silent && settings.learn_silence => {
                topic.silent = true;
                let missing = topic.rhythm.missing(at_ms);
                let (name, topic_name) = (&client.client_id, &topic.topic);
                out.push(
                    Raise::of(&text::MISSING, Subject::Client(name.clone()), at_ms)
                        .measured((at_ms - since_ms) as f32, after.unwrap_or(0) as f32, "ms")
                        .over(since_ms, at_ms, missing)
                        .usual(topic.rhythm.gap.mean)
                        .on(topic_name)
                        .says(format!(
                            "{missing} messages of {name} to {topic_name} are missing, while others come"
                        ))
                        .until_cleared(),
                );
                topic.rhythm.silences = topic.rhythm.silences.saturating_add(1);
                at_ms + PENDING_MS
            }
            _ => at_ms + PENDING_MS,
        };
        self.wheel.insert(Watched::Topic(key), again);
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

/// While a connection may be lost without anybody knowing, Keep Alive decides, not silence.
fn floor_ms(keep_alive_s: u16) -> u64 {
    // MQTT-3.1.2-22: no packet within 1.5 x keep alive ends the connection.
    if keep_alive_s == 0 {
        300_000
    } else {
        (u64::from(keep_alive_s) * 1_500 + 10_000).clamp(30_000, 300_000)
    }
}

/// From when on the client's silence counts.
fn silent_at(settings: &Settings, expect: &[Expectation], client: &Client, blind_ms: u64) -> Option<u64> {
    let expected = expectation(expect, client.class.as_ref());
    if expected.is_some_and(|expected| expected.watch == Some(false)) {
        return None;
    }
    let last = client.rhythm.last_ms.max(blind_ms).max(client.arrived_ms);
    if let Some(interval_s) = expected.and_then(|expected| expected.interval_s) {
        let grace_s = expected.and_then(|expected| expected.grace_s).unwrap_or(interval_s);
        return Some(last + ((interval_s + grace_s) * 1_000.0) as u64);
    }
    if let Some(expected) = expected.filter(|expected| expected.connected && !client.connected) {
        return Some(client.left_ms.max(blind_ms) + (expected.grace_s.unwrap_or(300.0) * 1_000.0) as u64);
    }
    if !settings.learn_silence {
        return None;
    }
    let after = client.rhythm.silent_after_ms(floor_ms(client.keep_alive_s))?;
    // A device that sleeps between its messages is away for longer than it is there.
    let stayed_ms = client.left_ms.saturating_sub(client.arrived_ms);
    let sleeps = client.connections >= 3 && (stayed_ms as f32) < client.rhythm.gap.mean;
    match (client.connected, client.dismissed && !sleeps) {
        (true, _) => Some(last + after),
        // It said goodbye, and does not come and go.
        (false, true) => None,
        (false, false) => Some(last + after.max(AWAY_MS)),
    }
}

fn late(client: &mut Client, who: Who<'_>, at_ms: u64) -> Option<Raise> {
    let (gap, period) = (at_ms.saturating_sub(client.rhythm.last_ms) as f32, client.rhythm.gap.mean);
    let judged = client.rhythm.is_regular() && client.rhythm.gap.count >= 8 && client.rhythm.last_ms > 0;
    let connected = client.arrived_ms <= client.rhythm.last_ms;
    if !judged || !connected || client.silent || gap < period * 1.5 || gap < 10_000.0 {
        return None;
    }
    if at_ms < client.late_ms + LATE_EVERY_MS && client.late_ms > 0 {
        return None;
    }
    client.late_ms = at_ms;
    let name = &client.client_id;
    Some(
        Raise::of(&text::LATE, who.subject(), at_ms)
            .measured(gap, period * 1.5, "ms")
            .over(client.rhythm.last_ms, at_ms, client.rhythm.missing(at_ms))
            .usual(period)
            .says(format!("{name} sends every {:.1} s, and now {:.1} s passed", period / 1e3, gap / 1e3)),
    )
}

fn silent(settings: &Settings, expect: &[Expectation], client: &Client, at_ms: u64) -> Raise {
    let name = &client.client_id;
    let last =
        client.rhythm.last_ms.max(client.arrived_ms).max(if client.connected { 0 } else { client.left_ms });
    let gone = at_ms.saturating_sub(last) as f32;
    let expected = expectation(expect, client.class.as_ref());
    let interval = expected.and_then(|expected| expected.interval_s).map(|seconds| seconds as f32 * 1_000.0);
    let period = interval.unwrap_or(client.rhythm.gap.mean);
    let there = if client.connected { "is connected and silent" } else { "has left and is silent" };
    Raise::of(&text::SILENT, Subject::Client(name.clone()), at_ms)
        .measured(
            gone,
            silent_at(settings, expect, client, 0).map_or(0, |due| due.saturating_sub(last)) as f32,
            "ms",
        )
        .over(last, at_ms, client.rhythm.missing(at_ms).max(1))
        .usual(period)
        .with("wills", client.wills, "messages")
        .says(format!("{name} {there} for {:.0} s; it sends every {:.0} s", gone / 1e3, period / 1e3))
        .until_cleared()
}

fn fleet_silent(together: usize, expected: usize, first_ms: u64, at_ms: u64) -> Raise {
    Raise::of(&text::FLEET_SILENT, Subject::Fleet, at_ms)
        .measured(together as f32, (expected as f32 / 20.0).max(10.0).min(expected as f32 / 2.0), "clients")
        .over(first_ms, at_ms, together as u64)
        .usual(expected as f32)
        .says(format!("{together} of {expected} clients that send regularly became silent within an hour"))
        .until_cleared_or(TOGETHER_MS)
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
