//! Quality of trust: how a client has behaved so far, as a figure from 0 to 100 with its reasons. In access rules it can
//! only restrict, never grant.
//!
//! The beta reputation model (Josang and Ismail, 2002): with decayed weights r of good and s of bad behaviour and a prior a,
//! trust is (r + 2a) / (r + s + 2), its uncertainty 2 / (r + s + 2), and its lower bound the 5 % quantile of
//! Beta(r + 2a, s + 2(1 - a)). Weights decay by time, not by event, and bad ones slower; good ones are capped per day, so that
//! a talkative client cannot buy trust.

mod beta;

pub use beta::beta_quantile;

use crate::cx::{ClientNames, Cx};
use crate::persist::Changed;
use ravelin_event::Severity;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

const DAY_MS: u64 = 86_400_000;
/// Changes that wait to be taken.
const CHANGES_MAX: usize = 10_000;

/// Settings of the trust score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrustSettings {
    /// Hours after which good behaviour counts half.
    pub good_half_life_h: f32,
    /// Hours after which bad behaviour counts half.
    pub bad_half_life_h: f32,
    /// Good behaviour that counts in a day, at most.
    pub good_per_day: f32,
    /// Minutes of undisturbed activity that count as one good.
    pub good_every_min: u32,
    /// The prior, in percent, of who is declared in the inventory or has shown a certificate.
    pub prior_enrolled: u8,
    /// Of who has proven an identity otherwise.
    pub prior_identified: u8,
    /// Of everybody else.
    pub prior_unknown: u8,
}

impl Default for TrustSettings {
    fn default() -> Self {
        TrustSettings {
            good_half_life_h: 24.0,
            bad_half_life_h: 168.0,
            good_per_day: 50.0,
            good_every_min: 10,
            prior_enrolled: 90,
            prior_identified: 75,
            prior_unknown: 50,
        }
    }
}

impl TrustSettings {
    pub(crate) fn prior(&self, names: &ClientNames) -> u8 {
        if names.declared || names.certificate.is_some() {
            self.prior_enrolled
        } else if names.identity.is_some() {
            self.prior_identified
        } else {
            self.prior_unknown
        }
        .min(100)
    }
}

/// What counts against a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    RefusedLogin,
    Malformed,
    Denied,
    AbnormalEnd,
    Alarm,
    Takeover,
}

const BADS: [(Bad, &str); 6] = [
    (Bad::RefusedLogin, "refused log-ins"),
    (Bad::Malformed, "malformed packets and protocol errors"),
    (Bad::Denied, "denied topics"),
    (Bad::AbnormalEnd, "connections that ended abnormally"),
    (Bad::Alarm, "alarms"),
    (Bad::Takeover, "take-overs from elsewhere"),
];

impl Bad {
    /// The weight of one.
    pub fn weight(self) -> f32 {
        match self {
            Bad::RefusedLogin => 1.0,
            Bad::Malformed => 3.0,
            Bad::Denied => 2.0,
            Bad::AbnormalEnd => 0.2,
            Bad::Alarm => 10.0,
            Bad::Takeover => 20.0,
        }
    }
}

/// The weight of an alarm.
pub(crate) fn alarm_weight(severity: Severity) -> f32 {
    match severity {
        Severity::Informational => 0.0,
        Severity::Low => 3.0,
        Severity::Medium => 10.0,
        Severity::High => 20.0,
        Severity::Critical => 30.0,
    }
}

/// What is kept of one client: 96 bytes at most.
#[derive(Clone, Copy, Debug)]
pub struct State {
    at_ms: u64,
    /// When activity last counted as good.
    good_ms: u64,
    last_alarm: u64,
    good: f32,
    today: f32,
    day: u32,
    bad: [f32; 6],
    bad_s: [u32; 6],
    prior: u8,
    told: u8,
    written: u8,
}

impl Default for State {
    fn default() -> Self {
        State {
            at_ms: 0,
            good_ms: 0,
            last_alarm: 0,
            good: 0.0,
            today: 0.0,
            day: 0,
            bad: [0.0; 6],
            bad_s: [0; 6],
            prior: 50,
            told: u8::MAX,
            written: u8::MAX,
        }
    }
}

impl State {
    /// Lets `to_ms` be now.
    fn decay(&mut self, settings: &TrustSettings, to_ms: u64) {
        let hours = to_ms.saturating_sub(self.at_ms) as f32 / 3_600_000.0;
        if hours > 0.0 {
            self.good *= (-hours / settings.good_half_life_h.max(0.01)).exp2();
            let factor = (-hours / settings.bad_half_life_h.max(0.01)).exp2();
            self.bad.iter_mut().for_each(|bad| *bad *= factor);
            self.at_ms = to_ms;
        }
    }

    /// Something bad, `weight` in all.
    pub(crate) fn worsen(&mut self, settings: &TrustSettings, at_ms: u64, what: Bad, weight: f32) {
        self.decay(settings, at_ms);
        self.bad[what as usize] += weight;
        self.bad_s[what as usize] = (at_ms / 1_000) as u32;
    }

    /// It did what it should.
    pub(crate) fn improve(&mut self, settings: &TrustSettings, at_ms: u64, weight: f32) {
        self.decay(settings, at_ms);
        let day = (at_ms / DAY_MS) as u32;
        if day != self.day {
            (self.day, self.today) = (day, 0.0);
        }
        let weight = weight.min(settings.good_per_day - self.today).max(0.0);
        self.today += weight;
        self.good += weight;
    }

    /// It was active, and nothing was wrong.
    pub(crate) fn active(&mut self, settings: &TrustSettings, at_ms: u64) -> bool {
        if self.good_ms == 0 {
            self.good_ms = at_ms;
        }
        if at_ms.saturating_sub(self.good_ms) < u64::from(settings.good_every_min) * 60_000 {
            return false;
        }
        self.good_ms = at_ms;
        self.improve(settings, at_ms, 1.0);
        true
    }

    /// Trust from 0 to 1.
    fn value(&self) -> f32 {
        let bad: f32 = self.bad.iter().sum();
        (self.good + self.prior_weight()) / (self.good + bad + 2.0)
    }

    fn prior_weight(&self) -> f32 {
        2.0 * f32::from(self.prior) / 100.0
    }

    fn score(&self) -> u8 {
        (self.value() * 100.0).round() as u8
    }

    fn trust(mut self, settings: &TrustSettings, at_ms: u64) -> Trust {
        self.decay(settings, at_ms);
        let bad: f32 = self.bad.iter().sum();
        let a = f64::from(self.good + self.prior_weight()).max(1e-3);
        let b = f64::from(bad + 2.0 - self.prior_weight()).max(1e-3);
        let mut reasons: Vec<TrustReason> = BADS
            .iter()
            .filter(|(what, _)| self.bad[*what as usize] >= 0.05)
            .map(|(what, name)| TrustReason {
                what: match what {
                    Bad::Alarm if self.last_alarm > 0 => {
                        format!("{name}, the last {}", self.last_alarm).into()
                    }
                    _ => (*name).into(),
                },
                weight: self.bad[*what as usize],
                at_ms: u64::from(self.bad_s[*what as usize]) * 1_000,
            })
            .collect();
        reasons.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        Trust {
            score: self.score(),
            lower: (beta_quantile(a, b, 0.05) * 100.0).round() as u8,
            uncertainty: 2.0 / (self.good + bad + 2.0),
            good: self.good,
            prior: self.prior,
            reasons,
        }
    }

    pub(crate) fn stored(&self, known_since_ms: u64, has_acted: bool) -> Stored {
        let State { at_ms, last_alarm, good, today, day, bad, bad_s, prior, .. } = *self;
        Stored { known_since_ms, has_acted, at_ms, last_alarm, good, today, day, bad, bad_s, prior }
    }
}

/// What is kept over a restart.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Stored {
    known_since_ms: u64,
    /// Whether it had sent data.
    has_acted: bool,
    at_ms: u64,
    last_alarm: u64,
    good: f32,
    today: f32,
    day: u32,
    bad: [f32; 6],
    bad_s: [u32; 6],
    prior: u8,
}

/// How far a client can be trusted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trust {
    /// From 0 to 100. Below 30 is red, below 80 amber.
    pub score: u8,
    /// It is above this with 95 % certainty.
    pub lower: u8,
    /// From 0 to 1: how little is known.
    pub uncertainty: f32,
    /// The weight of good behaviour.
    pub good: f32,
    /// What it began with, in percent.
    pub prior: u8,
    /// What counts against it, heaviest first.
    pub reasons: Vec<TrustReason>,
}

/// Something that counts against a client.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrustReason {
    /// What.
    pub what: Arc<str>,
    /// How much, as of now.
    pub weight: f32,
    /// When it last happened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// A client's trust has gone to another band, or over a multiple of ten.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrustChange {
    /// The client.
    pub client_id: Arc<str>,
    /// Its identity.
    pub identity: Option<Arc<str>>,
    /// Its score before.
    pub from: u8,
    /// Its score now.
    pub to: u8,
    /// The heaviest reason.
    pub why: Arc<str>,
}

/// 0: red, 1: amber, 2: green.
fn band(score: u8) -> u8 {
    u8::from(score >= 30) + u8::from(score >= 80)
}

impl Cx {
    /// Something that counts against a client.
    pub(crate) fn distrust(&mut self, at_ms: u64, slot: u32, what: Bad, times: f32) {
        let settings = &self.settings.trust;
        self.clients.at_mut(slot).trust.worsen(settings, at_ms, what, what.weight() * times);
        self.tell_trust(at_ms, slot);
    }

    pub(crate) fn distrust_alarm(&mut self, at_ms: u64, slot: u32, id: u64, severity: Severity) {
        let trust = &mut self.clients.at_mut(slot).trust;
        trust.worsen(&self.settings.trust, at_ms, Bad::Alarm, alarm_weight(severity));
        trust.last_alarm = id;
        self.tell_trust(at_ms, slot);
    }

    /// An alarm of this weight was none.
    pub(crate) fn pardon(&mut self, at_ms: u64, slot: u32, weight: f32) {
        let trust = &mut self.clients.at_mut(slot).trust;
        trust.decay(&self.settings.trust, at_ms);
        let alarms = &mut trust.bad[Bad::Alarm as usize];
        *alarms = (*alarms - weight).max(0.0);
        self.tell_trust(at_ms, slot);
    }

    /// A client was active.
    pub(crate) fn trust_active(&mut self, at_ms: u64, slot: u32) {
        if self.clients.at_mut(slot).trust.active(&self.settings.trust, at_ms) {
            self.tell_trust(at_ms, slot);
        }
    }

    /// A client was let in as what its names say.
    pub(crate) fn trust_arrived(&mut self, at_ms: u64, slot: u32) {
        let client = self.clients.at_mut(slot);
        client.trust.prior = self.settings.trust.prior(&client.names);
        client.trust.decay(&self.settings.trust, at_ms);
        self.tell_trust(at_ms, slot);
    }

    /// Looks whether time has changed it.
    pub(crate) fn trust_ages(&mut self, at_ms: u64, slot: u32) {
        self.clients.at_mut(slot).trust.decay(&self.settings.trust, at_ms);
        self.tell_trust(at_ms, slot);
    }

    pub(crate) fn trust_of(&self, slot: u32) -> Trust {
        self.clients.at(slot).trust.trust(&self.settings.trust, self.now_ms)
    }

    /// Tells and writes a change that is large enough.
    fn tell_trust(&mut self, at_ms: u64, slot: u32) {
        let client_id = Arc::clone(self.clients.key(slot));
        let client = self.clients.at_mut(slot);
        let (score, told) = (client.trust.score(), client.trust.told);
        if score.abs_diff(client.trust.written) >= 5 {
            client.trust.written = score;
            self.changed.insert(Changed::Trust(Arc::clone(&client_id)));
        }
        if told == u8::MAX {
            client.trust.told = score;
            return;
        }
        // Two points more than the line: a score that lies on it does not go to and fro.
        let crossed = band(score) != band(told) || score / 10 != told / 10;
        if !crossed || score.abs_diff(told) < 2 {
            return;
        }
        client.trust.told = score;
        let identity = client.names.identity.clone();
        let trust = client.trust.trust(&self.settings.trust, at_ms);
        let why = match trust.reasons.first() {
            Some(reason) if score < told => Arc::clone(&reason.what),
            _ => "it behaves as it should, and what was bad is longer ago".into(),
        };
        if self.trust_changes.len() < CHANGES_MAX {
            self.trust_changes.push_back(TrustChange { client_id, identity, from: told, to: score, why });
        }
    }

    pub(crate) fn restore_trust(&mut self, client_id: &str, stored: &Stored) {
        let (slot, _) =
            self.clients.touch(client_id, || Cx::new_client(client_id.into(), stored.known_since_ms));
        let Stored { at_ms, last_alarm, good, today, day, bad, bad_s, prior, .. } = *stored;
        let mut state = State { at_ms, last_alarm, good, today, day, bad, bad_s, prior, ..State::default() };
        (state.told, state.written) = (state.score(), state.score());
        let client = self.clients.at_mut(slot);
        client.trust = state;
        client.connection.has_acted = stored.has_acted;
        self.remembers = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> TrustSettings {
        TrustSettings::default()
    }

    #[test]
    fn a_guesser_is_red_at_its_sixth_failure() {
        let mut state = State::default();
        let scores: Vec<u8> = (0..6)
            .map(|at| {
                state.worsen(&settings(), at * 1_000, Bad::RefusedLogin, 1.0);
                state.trust(&settings(), at * 1_000).score
            })
            .collect();
        assert_eq!(scores, [33, 25, 20, 17, 14, 13]);
        assert!(state.trust(&settings(), 6_000).lower < 3);
    }

    #[test]
    fn a_good_client_is_green_after_half_an_hour_and_cannot_buy_more_than_a_day_allows() {
        let mut state = State::default();
        let green = (0..2_000u64).find(|minute| {
            state.active(&settings(), minute * 60_000);
            state.trust(&settings(), minute * 60_000).score >= 80
        });
        assert_eq!(green, Some(31));
        let mut chatty = State::default();
        (0..100_000u64).for_each(|i| chatty.improve(&settings(), i, 1.0));
        assert!(chatty.good <= 50.0, "{}", chatty.good);
    }

    #[test]
    fn bad_is_half_forgotten_in_a_week_and_good_in_a_day() {
        let mut state = State::default();
        state.improve(&settings(), 1, 40.0);
        state.worsen(&settings(), 1, Bad::Alarm, 20.0);
        let week = state.trust(&settings(), 1 + 7 * DAY_MS);
        assert!((week.reasons[0].weight - 10.0).abs() < 0.01, "{week:?}");
        assert!((week.good - 40.0 / 128.0).abs() < 0.01, "{week:?}");
    }

    #[test]
    fn an_enrolled_client_starts_green_and_a_lower_bound_says_how_little_that_rests_on() {
        let state = State { prior: 90, ..State::default() };
        let trust = state.trust(&settings(), 1);
        assert_eq!((trust.score, trust.uncertainty), (90, 1.0));
        assert!(trust.lower < 60, "{trust:?}");
        let mut proven = state;
        (0..5).for_each(|day| proven.improve(&settings(), day * DAY_MS, 50.0));
        assert!(proven.trust(&settings(), 4 * DAY_MS).lower >= 95);
    }

    #[test]
    fn the_state_of_a_client_is_small() {
        assert!(size_of::<State>() <= 96, "{}", size_of::<State>());
    }
}
