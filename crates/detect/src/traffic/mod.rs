//! What clients publish and subscribe, beside what is usual for them.
//!
//! A client's hot state is [`State`]: fixed size, touched by each of its meters. Rhythms, the topics that it has used and
//! baselines of absent clients are in bounded tables of [`Traffic`]. Nothing here judges by one odd packet: that is a finding.

mod availability;
mod catalog;
mod inspection;
mod rhythm;
mod scan;
mod seen;
mod settings;
mod shared;
mod strangers;
mod verdict;
mod volume;
pub(crate) mod wheel;

pub use crate::behaviour::Behaviour;
pub use availability::Presence;
pub use catalog::DETECTORS;
pub use inspection::Inspection;
pub use rhythm::Rhythm;
pub(crate) use settings::check_topic;
pub use settings::{Expectation, Settings};
pub use shared::Shared;
pub(crate) use shared::{handle, tick};
pub use verdict::{Change, Detector};

use crate::baseline::{Baseline, Classes, Kept, Peak};
use crate::sight::Metered;
use crate::{Raise, Sight};
use availability::Availability;
use ravelin_event::Subject;
use seen::{Live, Seen};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use strangers::Strangers;

/// Windows in which volumes are counted, in milliseconds.
pub const WINDOW_MS: u64 = 10_000;
/// After an alarm a client teaches nothing for so long.
const HOLD_MS: u64 = 600_000;
/// Counts decay with this time constant.
const TAU_MS: f32 = 60_000.0;
/// Windows between two records of one baseline: an hour of traffic.
const WINDOWS_PER_WRITE: u16 = 360;
/// A new client is recorded after so many.
const WINDOWS_BEFORE_WRITE: u16 = 30;
/// Records that wait to be taken; those that do not fit are written an hour later.
const WRITES_MAX: usize = 4_096;

/// What is hot of one client: 40 bytes, with a pointer to the rest.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The last meter; what decays was decayed up to here.
    at_ms: u64,
    cold: Box<Cold>,
    /// Counts of this window.
    messages: f32,
    bytes: f32,
    /// Messages, and those without a subscriber, decayed.
    recent: f32,
    undelivered: f32,
    flags: u8,
}

/// What is usual for one client, and what it has asked for.
#[derive(Clone, Debug, Default)]
struct Cold {
    /// When it began to send, after a minute of silence.
    active_ms: u64,
    /// The start of the window.
    window_ms: u64,
    /// Nothing is learned before that.
    hold_until_ms: u64,
    /// When it subscribed to everything; 0: it did not.
    wide_ms: u64,
    /// When its scan began.
    scan_ms: u64,
    /// Retained and QoS 2 messages of this window.
    costly: f32,
    /// Retained messages on new topics, decayed.
    retained_new: f32,
    /// QoS 2 messages that were begun and not released, decayed.
    unreleased: f32,
    /// Messages that may be sent at once, because they were due while the client was away.
    catch_up: f32,
    /// CUSUMs: scanning by subscribing, by publishing, outliers of size.
    scan_subscribe: f32,
    scan_publish: f32,
    odd_size: f32,
    peak_messages: Peak,
    peak_bytes: Peak,
    peak_costly: Peak,
    peak_size: Peak,
    /// Messages without a subscriber, a minute.
    usual_undelivered: f32,
    /// Windows that were learned from, and spans with a size.
    windows: u16,
    sizes: u16,
    /// Since the last record.
    unwritten: u16,
    /// Different topics and filters: now, and as they were learned.
    topics: u16,
    filters: u16,
    learned_topics: u16,
    learned_filters: u16,
    /// Events of the scan.
    probes: u16,
}

/// Bits of [`State::flags`].
mod flag {
    /// It was taken from its baseline, or there is none.
    pub const KNOWN: u8 = 1;
    /// It has published.
    pub const PUBLISHED: u8 = 2;
    /// It has subscribed to `#`.
    pub const WIDE: u8 = 4;
    /// It has subscribed to `$SYS/#`.
    pub const SYS: u8 = 8;
    /// Its class has learned from it.
    pub const TAUGHT: u8 = 16;
}

/// Who it is, as far as a detector must know.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// The Client Identifier.
    pub client_id: &'a Arc<str>,
    /// The class.
    pub class: Option<&'a Arc<str>>,
    /// Whether it has proven an identity.
    pub identified: bool,
    /// Whether the inventory knows it as declared.
    pub declared: bool,
    /// The source that it is or was connected from; see [`source_of`](crate::entities::source_of).
    pub source: Option<IpAddr>,
}

impl Who<'_> {
    fn subject(&self) -> Subject {
        Subject::Client(self.client_id.clone())
    }

    /// Its source, if that is all that there is to know it by.
    fn stranger_at(&self) -> Option<IpAddr> {
        self.source.filter(|_| self.is_anonymous())
    }

    /// Whether nobody vouches for it.
    fn is_anonymous(&self) -> bool {
        !self.identified && self.class.is_none() && !self.declared
    }
}

/// What the detectors of this module know beside the hot states.
pub struct Traffic {
    /// Topics and filters by client.
    seen: Seen,
    live: Live,
    classes: Classes,
    kept: Kept,
    availability: Availability,
    strangers: Strangers,
    /// Windows of all clients in which most messages had no subscriber, and all windows; decayed.
    fleet: Fleet,
    writes: BTreeMap<Arc<str>, Vec<u8>>,
    started_ms: u64,
}

/// How much of what the bus carries has no subscriber.
#[derive(Clone, Copy, Debug, Default)]
struct Fleet {
    at_ms: u64,
    windows: f32,
    undelivered: f32,
    /// The last clients of which most was undelivered.
    clients: [u64; FLEET_CLIENTS_MIN],
}

/// Different clients that send in vain before the bus is blamed.
const FLEET_CLIENTS_MIN: usize = 4;
/// Windows of others that must be known before the bus is blamed.
const FLEET_WINDOWS_MIN: f32 = 20.0;
/// They are forgotten with this time constant.
const FLEET_TAU_MS: f32 = 600_000.0;

impl Fleet {
    fn count(&mut self, at_ms: u64, client: u64, undelivered: bool) {
        if undelivered && !self.clients.contains(&client) {
            self.clients.rotate_right(1);
            self.clients[0] = client;
        }
        let decay = (-(at_ms.saturating_sub(self.at_ms) as f32) / FLEET_TAU_MS).exp();
        self.at_ms = self.at_ms.max(at_ms);
        self.windows = self.windows * decay + 1.0;
        self.undelivered = self.undelivered * decay + f32::from(u8::from(undelivered));
    }

    /// The share, once enough is known.
    fn share(&self) -> Option<f32> {
        (self.windows >= FLEET_WINDOWS_MIN && !self.clients.contains(&0))
            .then(|| self.undelivered / self.windows)
    }
}

impl Traffic {
    /// One that knows nothing.
    pub fn new(seed: u64) -> Traffic {
        Traffic {
            seen: Seen::new(seed),
            live: Live::default(),
            classes: Classes::default(),
            kept: Kept::default(),
            availability: Availability::new(seed),
            strangers: Strangers::new(seed),
            fleet: Fleet::default(),
            writes: BTreeMap::new(),
            started_ms: 0,
        }
    }

    /// Something was seen of the client `who`, whose state is `state`. What is to be said goes to `out`.
    pub fn handle_client(
        &mut self,
        settings: &Settings,
        expect: &[Expectation],
        who: Who<'_>,
        state: &mut State,
        (at_ms, sight): (u64, &Sight),
        out: &mut Vec<Raise>,
    ) {
        if self.started_ms == 0 {
            self.started_ms = at_ms;
        }
        let first = out.len();
        self.know(settings, who, state);
        match sight {
            Sight::Metered(metered) => self.handle_metered(settings, who, state, metered, out),
            Sight::Subscribed { filter, .. } => {
                scan::handle_subscribed(self, settings, who, state, at_ms, filter, out);
            }
            Sight::Denied { operation, name, count, .. } => {
                scan::handle_denied(self, settings, who, state, at_ms, (*operation, name, *count), out);
            }
            Sight::Arrived(arrived) => {
                state.flags &= !(flag::WIDE | flag::SYS);
                state.cold.wide_ms = 0;
                self.availability.handle_arrived(settings, arrived, at_ms);
            }
            Sight::Left { cause, .. } => self.availability.handle_left(expect, who, at_ms, *cause, out),
            Sight::WillPublished { topic, .. } => {
                self.availability.handle_will(expect, who, at_ms, topic, out);
            }
            _ => {}
        }
        if out[first..].iter().any(|raise| !raise.is_finding) {
            state.cold.hold_until_ms = at_ms + HOLD_MS;
        }
    }

    /// Takes what is usual from the baseline, the first time that the client is seen.
    fn know(&mut self, settings: &Settings, who: Who<'_>, state: &mut State) {
        if state.flags & flag::KNOWN != 0 {
            return;
        }
        state.flags |= flag::KNOWN;
        let Some(baseline) = self.kept.take(who.client_id) else { return };
        state.cold.windows = baseline.windows;
        state.cold.peak_messages = baseline.messages;
        state.cold.peak_bytes = baseline.bytes;
        state.cold.peak_costly = baseline.costly;
        state.cold.peak_size = baseline.size;
        state.cold.sizes = baseline.sizes;
        state.cold.usual_undelivered = baseline.undelivered;
        (state.cold.learned_topics, state.cold.learned_filters) = (baseline.topics, baseline.filters);
        self.availability.restore(settings, who, &baseline.rhythms);
    }

    fn handle_metered(
        &mut self,
        settings: &Settings,
        who: Who<'_>,
        state: &mut State,
        metered: &Metered,
        out: &mut Vec<Raise>,
    ) {
        let (at_ms, first) = (metered.to_ms, out.len());
        state.decay(at_ms);
        if at_ms >= state.cold.window_ms + WINDOW_MS {
            self.close_window(settings, who, state, at_ms);
            // A window begins with the first message in it, not on the clock.
            state.cold.window_ms = metered.from_ms.min(at_ms);
        }
        if state.recent < 0.5 {
            state.cold.active_ms = metered.from_ms.min(at_ms);
        }
        if metered.messages > 0 {
            self.handle_away(settings, who, state, metered);
        }
        volume::count(state, metered);
        volume::judge(self, settings, who, state, metered, out);
        if metered.messages > 0 {
            state.flags |= flag::PUBLISHED;
            scan::handle_topics(self, settings, who, state, metered, out);
            // What comes in a flood is off every rhythm: that is said already.
            let flooded = out[first..].iter().any(|raise| raise.info.name == catalog::FLOOD.info.name);
            let learn = at_ms >= state.cold.hold_until_ms && !flooded;
            self.availability.handle_metered(settings, who, metered, (learn, flooded), &mut self.live, out);
        }
        scan::judge_wide(settings, who, state, metered, out);
    }

    /// A client that was away may send at once what was due meanwhile.
    fn handle_away(&mut self, settings: &Settings, who: Who<'_>, state: &mut State, metered: &Metered) {
        let away_ms = self.availability.away_ms(who.client_id, metered.from_ms);
        if away_ms > WINDOW_MS && state.cold.windows >= crate::baseline::TRAINED_WINDOWS {
            let due = state.cold.peak_messages.peak * (away_ms as f32 / WINDOW_MS as f32);
            state.cold.catch_up = due.min(settings.flood_messages_quota as f32 / 10.0);
        }
    }

    /// The window is over: what was in it becomes usual, if nothing was odd about it.
    fn close_window(&mut self, settings: &Settings, who: Who<'_>, state: &mut State, at_ms: u64) {
        if state.messages > 0.0 {
            let client = self.seen.key(u8::MAX, who.client_id, "");
            self.fleet.count(at_ms, client, state.undelivered > state.recent * 0.5);
        }
        if volume::learn(self, settings, who, state, at_ms) {
            state.cold.learned_topics = state.cold.learned_topics.max(state.cold.topics);
            state.cold.learned_filters = state.cold.learned_filters.max(state.cold.filters);
            state.cold.unwritten = state.cold.unwritten.saturating_add(1);
            if state.cold.unwritten >= WINDOWS_PER_WRITE
                || state.cold.windows == WINDOWS_BEFORE_WRITE && state.cold.unwritten == WINDOWS_BEFORE_WRITE
            {
                self.write(who, state);
            }
        }
        (state.messages, state.bytes, state.cold.costly) = (0.0, 0.0, 0.0);
        state.cold.catch_up = 0.0;
    }

    fn write(&mut self, who: Who<'_>, state: &mut State) {
        if self.writes.len() < WRITES_MAX {
            state.cold.unwritten = 0;
            let record = self.baseline(who, state).to_record();
            self.writes.insert(who.client_id.clone(), record);
        }
    }

    /// What is usual for `who`, in the form that is kept.
    pub fn baseline(&self, who: Who<'_>, state: &State) -> Baseline {
        Baseline {
            class: who.class.cloned(),
            windows: state.cold.windows,
            messages: state.cold.peak_messages,
            bytes: state.cold.peak_bytes,
            undelivered: state.cold.usual_undelivered,
            costly: state.cold.peak_costly,
            size: state.cold.peak_size,
            sizes: state.cold.sizes,
            filters: state.cold.learned_filters,
            topics: state.cold.learned_topics,
            rhythms: self.availability.kept(who.client_id),
        }
    }

    /// The client gives way in the hot table: its baseline is kept.
    pub fn handle_evicted(&mut self, settings: &Settings, who: Who<'_>, state: &State) {
        if state.cold.windows > 0 {
            let baseline = self.baseline(who, state);
            self.kept.insert(who.client_id.clone(), baseline, settings.baselines_max);
        }
    }

    /// A baseline that was written before: of `client_id`.
    ///
    /// # Errors
    /// What is wrong with the record.
    pub fn restore(&mut self, settings: &Settings, client_id: &str, record: &[u8]) -> Result<(), String> {
        let baseline = Baseline::from_record(record)?;
        if let Some(class) = &baseline.class
            && baseline.windows >= crate::baseline::TRAINED_WINDOWS
        {
            self.classes.learn(class, baseline.messages.peak, baseline.bytes.peak);
        }
        self.kept.insert(client_id.into(), baseline, settings.baselines_max);
        Ok(())
    }

    /// A baseline that is to be written: whose, and the record.
    pub fn poll_write(&mut self) -> Option<(Arc<str>, Vec<u8>)> {
        self.writes.pop_first()
    }

    /// Baselines of clients that are not in the hot table.
    pub fn kept(&self) -> impl Iterator<Item = (&Arc<str>, &Baseline)> {
        self.kept.iter()
    }

    /// The node started, or something was not seen: no conclusion may be drawn from silence before `at_ms`.
    pub fn handle_blind(&mut self, at_ms: u64, started: bool) {
        if started {
            self.started_ms = at_ms;
        }
        self.availability.handle_blind(at_ms, started);
    }

    /// Time has passed.
    pub fn handle_tick(
        &mut self,
        settings: &Settings,
        expect: &[Expectation],
        at_ms: u64,
        out: &mut Vec<Raise>,
    ) {
        self.availability.handle_tick(settings, expect, at_ms, out);
    }

    /// Things that gave way in bounded tables so far.
    pub fn evictions(&self) -> u64 {
        self.seen.forgotten
            + self.live.evictions
            + self.kept.evictions
            + self.availability.evictions
            + self.strangers.evictions()
    }

    /// Presence and inspections.
    pub fn availability(&self) -> &Availability {
        &self.availability
    }

    /// Presence and inspections.
    pub fn availability_mut(&mut self) -> &mut Availability {
        &mut self.availability
    }
}

impl State {
    /// Windows that its baseline was learned from.
    pub(crate) fn windows(&self) -> u16 {
        self.cold.windows
    }

    fn decay(&mut self, at_ms: u64) {
        let gone = at_ms.saturating_sub(self.at_ms);
        if gone == 0 {
            return;
        }
        self.at_ms = at_ms;
        let decay = if gone as f32 > TAU_MS * 20.0 { 0.0 } else { (-(gone as f32) / TAU_MS).exp() };
        let cold = &mut *self.cold;
        for count in [&mut self.recent, &mut self.undelivered, &mut cold.retained_new, &mut cold.unreleased] {
            *count *= decay;
        }
        // A scan that stopped is over after some minutes, also when nothing good follows.
        for scan in [&mut cold.scan_subscribe, &mut cold.scan_publish] {
            *scan *= (-(gone as f32) / (TAU_MS * 60.0)).exp();
        }
    }
}

#[cfg(test)]
mod tests;
