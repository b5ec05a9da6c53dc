//! What is usual: peaks, sizes and shares of one client, and the medians of its class.
//!
//! A baseline is learned from windows in which no test is above half its threshold and no alarm is open, and what it can be
//! led to is bounded (see [`Peak`]). It is what survives a restart.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Windows (of 10 s, with traffic) after which a baseline is used.
pub const TRAINED_WINDOWS: u16 = 6;
/// Windows after which the anchor stands: an hour of traffic.
const ANCHORED_WINDOWS: u16 = 360;
/// What a peak may gain in a window: it doubles in a day at most (8,640 windows).
const GROWTH: f32 = 1.000_080_2;
/// And fades with a half-life of about a week, so that one loud hour is not usual for ever.
const FADE: f32 = 0.999_988_5;
/// A peak never exceeds so many times its anchor.
pub const ANCHOR_MULTIPLE: f32 = 4.0;

/// The largest usual count of a window.
///
/// For the first hour the peak is the largest window that was accepted. After that its `anchor` stands, and the peak follows
/// at most twofold in a day and never beyond [`ANCHOR_MULTIPLE`] anchors: whoever raises a client's traffic slowly, to train the
/// detector, ends at `flood_multiple * ANCHOR_MULTIPLE` times its first hour's peak, or at the floor, and is found there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// The largest usual count.
    pub peak: f32,
    /// What it is tied to; 0: still learning.
    pub anchor: f32,
}

impl Peak {
    /// A window of `count` was accepted; it was window number `windows`.
    pub fn learn(&mut self, count: f32, windows: u16) {
        if windows < ANCHORED_WINDOWS {
            self.peak = self.peak.max(count);
            return;
        }
        if self.anchor == 0.0 {
            self.anchor = self.peak.max(1.0);
        }
        if count > self.peak {
            self.peak = count.min(self.peak * GROWTH).min(self.anchor * ANCHOR_MULTIPLE);
        } else {
            self.peak = (self.peak * FADE).max(self.anchor / ANCHOR_MULTIPLE);
        }
    }
}

/// Mean and mean deviation (Jacobson 1988, as the retransmission timer of TCP), of whatever unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usual {
    /// The mean.
    pub mean: f32,
    /// The mean absolute deviation.
    pub deviation: f32,
    /// How many there were; stops at the largest.
    pub count: u16,
}

impl Usual {
    /// One more. The first eight count alike, later ones with a weight of 1/8 and 1/4, as in RFC 6298.
    pub fn learn(&mut self, value: f32) {
        self.count = self.count.saturating_add(1);
        if self.count == 1 {
            (self.mean, self.deviation) = (value, 0.0);
            return;
        }
        let weight = f32::from(self.count.min(8)).recip();
        let error = value - self.mean;
        self.mean += error * weight;
        self.deviation += (error.abs() - self.deviation) * weight.max(0.25);
    }
}

/// What is usual for one client: the form that is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Its class when it was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Arc<str>>,
    /// Windows that it was learned from.
    pub windows: u16,
    /// Messages in 10 s.
    pub messages: Peak,
    /// Bytes in 10 s.
    pub bytes: Peak,
    /// Messages without a subscriber, a minute.
    pub undelivered: f32,
    /// Messages with RETAIN and messages of QoS 2 in 10 s.
    pub costly: Peak,
    /// The largest payload, in bytes.
    pub size: Peak,
    /// Spans that it was learned from.
    pub sizes: u16,
    /// Different filters.
    pub filters: u16,
    /// Different topics.
    pub topics: u16,
    /// Rhythms of its topics; the first without a topic is that of all its messages.
    #[serde(default)]
    pub rhythms: Vec<KeptRhythm>,
}

/// A rhythm, as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KeptRhythm {
    /// The topic; none: all messages of the client.
    pub topic: Option<Arc<str>>,
    /// The gap between two messages, in milliseconds.
    pub gap: Usual,
    /// The longest usual gap, in milliseconds.
    pub longest: f32,
}

/// Rhythms of one client that are kept.
pub const KEPT_RHYTHMS_MAX: usize = 8;
/// The longest record of a baseline that is read.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;

impl Baseline {
    /// The record.
    pub fn to_record(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_record(bytes: &[u8]) -> Result<Baseline, String> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(format!("a baseline of {} bytes; at most {RECORD_BYTES_MAX}", bytes.len()));
        }
        let mut baseline: Baseline = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        baseline.rhythms.truncate(KEPT_RHYTHMS_MAX);
        let figures = [
            baseline.messages.peak,
            baseline.messages.anchor,
            baseline.bytes.peak,
            baseline.bytes.anchor,
            baseline.undelivered,
            baseline.costly.peak,
            baseline.costly.anchor,
            baseline.size.peak,
            baseline.size.anchor,
        ];
        match figures.iter().all(|figure| figure.is_finite() && *figure >= 0.0) {
            true => Ok(baseline),
            false => Err("a baseline with a figure that is none".into()),
        }
    }
}

/// What is usual in a class: the medians of its latest members.
#[derive(Clone, Debug, Default)]
struct Class {
    messages: Vec<f32>,
    bytes: Vec<f32>,
    next: usize,
    medians: Option<(f32, f32)>,
}

/// Members whose figures count for a class.
const MEMBERS_MAX: usize = 64;
/// Members from which on a class is known.
const MEMBERS_MIN: usize = 8;

/// The classes: a new client starts from the medians of its own.
#[derive(Clone, Debug, Default)]
pub struct Classes {
    classes: BTreeMap<Arc<str>, Class>,
}

impl Classes {
    /// Classes that are told apart; more share nothing.
    const CLASSES_MAX: usize = 256;

    /// A member of `class` was trained: its peaks.
    pub fn learn(&mut self, class: &Arc<str>, messages: f32, bytes: f32) {
        if !self.classes.contains_key(class) && self.classes.len() >= Self::CLASSES_MAX {
            return;
        }
        let known = self.classes.entry(class.clone()).or_default();
        known.medians = None;
        if known.messages.len() < MEMBERS_MAX {
            known.messages.push(messages);
            known.bytes.push(bytes);
        } else {
            let at = known.next % MEMBERS_MAX;
            (known.messages[at], known.bytes[at]) = (messages, bytes);
        }
        known.next = known.next.wrapping_add(1);
    }

    /// The median peaks of `class` (messages, bytes), once `MEMBERS_MIN` members are known.
    pub fn medians(&mut self, class: &str) -> Option<(f32, f32)> {
        let known = self.classes.get_mut(class).filter(|known| known.messages.len() >= MEMBERS_MIN)?;
        let Class { messages, bytes, medians, .. } = known;
        Some(*medians.get_or_insert_with(|| (median(messages), median(bytes))))
    }
}

fn median(values: &[f32]) -> f32 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f32::total_cmp);
    sorted[sorted.len() / 2]
}

/// Baselines of clients that are not in the hot table now: restored ones, and those of clients that gave way. Bounded: the
/// oldest goes.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    baselines: BTreeMap<Arc<str>, (u64, Baseline)>,
    order: BTreeMap<u64, Arc<str>>,
    next: u64,
    /// Baselines that gave way.
    pub evictions: u64,
}

impl Kept {
    /// Keeps one, at most `max` in all.
    pub fn insert(&mut self, client_id: Arc<str>, baseline: Baseline, max: usize) {
        self.take(&client_id);
        self.next += 1;
        self.order.insert(self.next, client_id.clone());
        self.baselines.insert(client_id, (self.next, baseline));
        while self.baselines.len() > max.max(1) {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.baselines.remove(&oldest);
            self.evictions += 1;
        }
    }

    /// Takes one out.
    pub fn take(&mut self, client_id: &str) -> Option<Baseline> {
        let (at, baseline) = self.baselines.remove(client_id)?;
        self.order.remove(&at);
        Some(baseline)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Baseline)> {
        self.baselines.iter().map(|(client_id, (_, baseline))| (client_id, baseline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most that a patient attacker gets: every window just under what is accepted (half the threshold).
    #[test]
    fn a_slow_ramp_ends_at_four_anchors() {
        let mut peak = Peak::default();
        for window in 0..ANCHORED_WINDOWS {
            peak.learn(10.0, window);
        }
        let mut first_day = 0.0;
        for window in 0..8_640 * 60_u32 {
            let threshold = (4.0 * peak.peak).max(100.0);
            peak.learn(threshold / 2.0, ANCHORED_WINDOWS);
            if window == 8_640 {
                first_day = peak.peak;
            }
        }
        assert!(first_day <= 20.1, "{first_day} after a day");
        assert_eq!(peak.peak, 10.0 * ANCHOR_MULTIPLE);
    }

    #[test]
    fn a_peak_fades_but_not_below_a_quarter_of_its_anchor() {
        let mut peak = Peak::default();
        (0..ANCHORED_WINDOWS).for_each(|window| peak.learn(40.0, window));
        peak.learn(1.0, ANCHORED_WINDOWS);
        assert!(peak.peak > 39.9);
        (0..8_640 * 90_u32).for_each(|_| peak.learn(1.0, ANCHORED_WINDOWS));
        assert_eq!(peak.peak, 10.0);
    }

    #[test]
    fn usual_follows_and_measures_its_error() {
        let mut usual = Usual::default();
        for gap in [300.0_f32, 301.0, 299.0, 300.0, 300.5] {
            usual.learn(gap);
        }
        assert!((usual.mean - 300.1).abs() < 0.2, "{usual:?}");
        assert!(usual.deviation < 1.0);
        for _ in 0..100 {
            usual.learn(60.0);
        }
        assert!((usual.mean - 60.0).abs() < 0.5);
    }

    #[test]
    fn a_class_is_known_by_eight_members_and_one_liar_does_not_move_it() {
        let mut classes = Classes::default();
        let class: Arc<str> = "meter".into();
        for member in 0..7 {
            classes.learn(&class, 10.0 + member as f32, 100.0);
        }
        assert_eq!(classes.medians("meter"), None);
        classes.learn(&class, 1e6, 1e9);
        assert_eq!(classes.medians("meter"), Some((14.0, 100.0)));
        assert_eq!(classes.medians("pump"), None);
    }

    #[test]
    fn kept_baselines_are_bounded_and_the_oldest_goes() {
        let mut kept = Kept::default();
        for client in 0..30 {
            kept.insert(format!("c{client}").into(), Baseline::default(), 10);
        }
        assert_eq!((kept.iter().count(), kept.evictions), (10, 20));
        assert!(kept.take("c0").is_none() && kept.take("c29").is_some());
    }

    #[test]
    fn records_are_read_back_and_nonsense_is_refused() {
        let mut baseline = Baseline { windows: 7, class: Some("meter".into()), ..Baseline::default() };
        baseline.rhythms.push(KeptRhythm { topic: Some("a/b".into()), ..KeptRhythm::default() });
        assert_eq!(Baseline::from_record(&baseline.to_record()), Ok(baseline.clone()));
        assert!(Baseline::from_record(b"{").is_err());
        baseline.messages.peak = -1.0;
        assert!(Baseline::from_record(&baseline.to_record()).is_err());
        assert!(Baseline::from_record(&vec![b' '; RECORD_BYTES_MAX + 1]).is_err());
    }
}
