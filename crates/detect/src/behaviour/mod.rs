//! Behaviours: what an operator expects of clients, in the words of AWS IoT Device Defender.
//!
//! A datapoint is what a client did within `duration_seconds`, or one event for metrics that have no duration. So many
//! datapoints in a row that violate the criteria raise an alarm with the behaviour's name, so many that do not clear it. A
//! percentile is one of all clients of the behaviour; what is learned is learned of each client. Whoever is in alarm teaches
//! nothing.

mod settings;

pub use settings::{
    Behaviour, Cidr, ComparisonOperator, ConfidenceLevel, Criteria, Metric, MetricValue, MlDetectionConfig,
    Percentile, StatisticalThreshold,
};

use crate::baseline::Usual;
use crate::traffic::wheel::Wheel;
use crate::traffic::{Change, Detector};
use crate::{DetectorInfo, Raise, Sight};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ravelin_event::{Severity, Subject};
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

/// What is documented of it.
pub static BEHAVIOUR: Detector = Detector {
    info: DetectorInfo {
        name: "behaviour",
        subcategory: "DE.NM-1",
        technique: None,
        entity: "client",
        statistic: "datapoints in a row that violate the criteria of a [[behaviour]]",
        threshold: "consecutive_datapoints_to_alarm",
        false_alarms: "those of the criteria; a percentile pXX is exceeded by its share of datapoints, so ask for several in a row",
        description: "A client does not behave as it was configured; the alarm has the behaviour's name.",
    },
    severity: Severity::Medium,
    confidence: 90,
};

/// Clients and behaviours of which datapoints are kept.
const TRACKS_MAX: usize = 200_000;
/// Datapoints of all clients before a percentile is used.
const PERCENTILE_MIN: f64 = 100.0;
/// Datapoints of one client before what is learned is used.
const LEARNED_MIN: u16 = 12;
/// After so many nothing more is learned: the baseline is static.
const LEARNED_MAX: u16 = 2_016;

/// One behaviour of one client.
#[derive(Clone, Debug)]
struct Track {
    client_id: Arc<str>,
    since_ms: u64,
    value: f64,
    usual: Usual,
    /// The mean of the first datapoints, to which what is learned is tied.
    anchor: f32,
    bad: u8,
    good: u8,
    alarmed: bool,
    online: bool,
    left_ms: u64,
}

/// What all clients do: counts by size, four to an octave; the error of a percentile is a tenth at most.
#[derive(Clone, Debug, Default)]
struct Histogram {
    buckets: BTreeMap<u16, f64>,
    total: f64,
}

impl Histogram {
    /// Datapoints that count; older ones fade.
    const KEPT: f64 = 100_000.0;

    fn bucket(value: f64) -> u16 {
        ((value.max(0.0) + 1.0).log2() * 4.0).round() as u16
    }

    fn learn(&mut self, value: f64) {
        *self.buckets.entry(Self::bucket(value)).or_default() += 1.0;
        self.total += 1.0;
        if self.total >= Self::KEPT {
            self.buckets.values_mut().for_each(|count| *count /= 2.0);
            self.total /= 2.0;
        }
    }

    fn percentile(&self, percent: f64) -> Option<f64> {
        if self.total < PERCENTILE_MIN {
            return None;
        }
        let mut below = self.total * percent / 100.0;
        for (bucket, count) in &self.buckets {
            below -= count;
            if below <= 0.0 {
                return Some((f64::from(*bucket) / 4.0).exp2() - 1.0);
            }
        }
        None
    }
}

/// All behaviours.
pub struct Behaviours {
    tracks: HashMap<u64, Track, FixedState>,
    histograms: BTreeMap<usize, Histogram>,
    hasher: FixedState,
    wheel: Wheel<(usize, u64)>,
    /// Clients and behaviours that found no place.
    pub evictions: u64,
}

impl Behaviours {
    /// None is known yet.
    pub fn new(seed: u64) -> Behaviours {
        Behaviours {
            tracks: HashMap::with_hasher(FixedState::with_seed(seed ^ 6)),
            histograms: BTreeMap::new(),
            hasher: FixedState::with_seed(seed ^ 7),
            wheel: Wheel::default(),
            evictions: 0,
        }
    }

    /// Other behaviours hold from now on: what was measured is forgotten.
    pub fn clear(&mut self) {
        self.tracks.clear();
        self.histograms.clear();
        self.wheel = Wheel::default();
    }

    /// Something was seen of a client.
    pub fn handle(
        &mut self,
        behaviours: &[Behaviour],
        at_ms: u64,
        (client_id, class): (&Arc<str>, Option<&Arc<str>>),
        sight: &Sight,
        out: &mut Vec<Change>,
    ) {
        for (nth, behaviour) in behaviours.iter().enumerate() {
            if !behaviour.is_for(class) {
                continue;
            }
            if let (Metric::SourceIpAddress, Sight::Arrived(arrived)) = (behaviour.metric, sight) {
                self.judge_address(nth, behaviour, at_ms, client_id, arrived.address.ip(), out);
                continue;
            }
            let Some(value) = measure(behaviour, sight) else { continue };
            let Some(key) = self.track(nth, behaviour, at_ms, client_id) else { continue };
            if behaviour.metric.is_immediate() {
                self.judge(nth, behaviour, key, value, at_ms, out);
                continue;
            }
            let Some(track) = self.tracks.get_mut(&key) else { continue };
            track.value += value;
            match sight {
                Sight::Left { .. } => (track.online, track.left_ms) = (false, at_ms),
                Sight::Arrived(_) => (track.online, track.left_ms) = (true, 0),
                Sight::Metered(_) => track.online = true,
                _ => {}
            }
        }
    }

    fn track(&mut self, nth: usize, behaviour: &Behaviour, at_ms: u64, client_id: &Arc<str>) -> Option<u64> {
        let key = self.hasher.hash_one((nth, &**client_id));
        if self.tracks.contains_key(&key) {
            return Some(key);
        }
        if self.tracks.len() >= TRACKS_MAX {
            self.evictions += 1;
            return None;
        }
        let track = Track {
            client_id: client_id.clone(),
            since_ms: at_ms,
            value: 0.0,
            usual: Usual::default(),
            anchor: 0.0,
            bad: 0,
            good: 0,
            alarmed: false,
            online: true,
            left_ms: 0,
        };
        self.tracks.insert(key, track);
        if !behaviour.metric.is_immediate() {
            self.wheel.insert((nth, key), at_ms + u64::from(behaviour.duration_s()) * 1_000);
        }
        Some(key)
    }

    /// Time has passed: datapoints that are complete are judged.
    pub fn handle_tick(&mut self, behaviours: &[Behaviour], at_ms: u64, out: &mut Vec<Change>) {
        let mut due = Vec::new();
        self.wheel.take_due(at_ms, &mut due);
        for (nth, key) in due {
            let Some(behaviour) = behaviours.get(nth) else { continue };
            let duration_ms = u64::from(behaviour.duration_s()) * 1_000;
            let Some(track) = self.tracks.get_mut(&key) else { continue };
            if at_ms < track.since_ms + duration_ms {
                self.wheel.insert((nth, key), track.since_ms + duration_ms);
                continue;
            }
            let gone_s =
                if track.left_ms > 0 { at_ms.saturating_sub(track.left_ms) as f64 / 1_000.0 } else { 0.0 };
            let (mut value, absent) = (std::mem::take(&mut track.value), !track.online);
            track.since_ms = at_ms;
            if behaviour.metric == Metric::DisconnectDuration {
                value = gone_s;
            } else if absent && value == 0.0 {
                // Who is not connected does nothing; that is no datapoint. A day later it is forgotten.
                if gone_s > 86_400.0 && !track.alarmed {
                    self.tracks.remove(&key);
                    continue;
                }
                self.wheel.insert((nth, key), at_ms + duration_ms);
                continue;
            }
            self.judge(nth, behaviour, key, value, at_ms, out);
            self.wheel.insert((nth, key), at_ms + duration_ms);
        }
    }

    /// One datapoint.
    fn judge(
        &mut self,
        nth: usize,
        behaviour: &Behaviour,
        key: u64,
        value: f64,
        at_ms: u64,
        out: &mut Vec<Change>,
    ) {
        let Some(track) = self.tracks.get_mut(&key) else { return };
        let histogram = self.histograms.entry(nth).or_default();
        let expected = expected(behaviour, histogram, &track.usual);
        let violates = expected.is_some_and(|expected| expected.is_violated_by(value));
        if !track.alarmed {
            if behaviour.criteria.statistical_threshold.is_some() {
                histogram.learn(value);
            }
            if let (Some(ml), false) = (behaviour.criteria.ml_detection_config, violates) {
                track.learn(value as f32, ml.confidence_level);
            }
        }
        track.count(behaviour, violates);
        let subject = Subject::Client(track.client_id.clone());
        if violates && !track.alarmed && track.bad >= behaviour.to_alarm() {
            track.alarmed = true;
            if let (Some(expected), false) = (expected, behaviour.suppress_alerts) {
                out.push(Change::Raised(Box::new(raise(behaviour, track, value, expected, at_ms))));
            }
        } else if track.alarmed && track.good >= behaviour.to_clear() {
            track.alarmed = false;
            out.push(Change::Ended(subject, behaviour.name.clone()));
        }
    }

    fn judge_address(
        &mut self,
        nth: usize,
        behaviour: &Behaviour,
        at_ms: u64,
        client_id: &Arc<str>,
        address: IpAddr,
        out: &mut Vec<Change>,
    ) {
        let Some(value) = &behaviour.criteria.value else { return };
        let inside = value.cidrs.iter().any(|network| network.contains(address));
        let violates =
            inside != (behaviour.criteria.comparison_operator == Some(ComparisonOperator::InCidrSet));
        let Some(key) = self.track(nth, behaviour, at_ms, client_id) else { return };
        let Some(track) = self.tracks.get_mut(&key) else { return };
        track.count(behaviour, violates);
        let name = &behaviour.name;
        if violates && !track.alarmed && track.bad >= behaviour.to_alarm() {
            track.alarmed = true;
            let says = format!("{name}: {client_id} connected from {address}, which is not where it may");
            let raise = Raise::of(&BEHAVIOUR, Subject::Client(client_id.clone()), at_ms);
            let mut raise = raise.severity(behaviour.severity).says(says).until_cleared();
            raise.name = Some(name.clone());
            if !behaviour.suppress_alerts {
                out.push(Change::Raised(Box::new(raise)));
            }
        } else if track.alarmed && track.good >= behaviour.to_clear() {
            track.alarmed = false;
            out.push(Change::Ended(Subject::Client(client_id.clone()), name.clone()));
        }
    }
}

impl Track {
    /// Learns a datapoint, unless it is more than half way to an alarm or more than twice what the first ones were. So whoever
    /// raises a metric slowly gets to (1 + deviations / 2) times twice the first mean at most.
    fn learn(&mut self, value: f32, level: ConfidenceLevel) {
        if self.usual.count < LEARNED_MIN {
            self.usual.learn(value);
            self.anchor = self.usual.mean;
            return;
        }
        let near = (value - self.usual.mean).abs() <= room(&self.usual, level) * 0.5;
        if near && value <= self.anchor * 2.0 + 1.0 && self.usual.count < LEARNED_MAX {
            self.usual.learn(value);
        }
    }

    fn count(&mut self, behaviour: &Behaviour, violates: bool) {
        if violates {
            (self.bad, self.good) = (self.bad.saturating_add(1).min(behaviour.to_alarm()), 0);
        } else {
            (self.bad, self.good) = (0, self.good.saturating_add(1).min(behaviour.to_clear()));
        }
    }
}

/// What a sight adds to a behaviour's metric; 0 keeps the client known.
fn measure(behaviour: &Behaviour, sight: &Sight) -> Option<f64> {
    let is_low = matches!(
        behaviour.criteria.comparison_operator,
        Some(ComparisonOperator::GreaterThan | ComparisonOperator::GreaterThanEquals)
    );
    let value = match (behaviour.metric, sight) {
        (Metric::MessageByteSize, Sight::Metered(metered)) if metered.messages > 0 => {
            // Expected to be greater: what is small matters, and only the mean is known of that.
            if is_low { metered.bytes as f64 / metered.messages as f64 } else { metered.largest.into() }
        }
        (Metric::MessageByteSize | Metric::SourceIpAddress, _) => return None,
        (Metric::NumMessagesSent, Sight::Metered(metered)) => metered.messages as f64,
        (Metric::NumMessagesReceived, Sight::Metered(metered)) => metered.sent as f64,
        (Metric::AllBytesOut, Sight::Metered(metered)) => metered.bytes as f64,
        (Metric::AllPacketsOut, Sight::Metered(metered)) => metered.packets as f64,
        (Metric::NumMessagesUndelivered, Sight::Metered(metered)) => metered.undelivered as f64,
        (Metric::NumMessagesRetained, Sight::Metered(metered)) => metered.retained as f64,
        (Metric::NumMessagesDropped, Sight::Dropped { count, .. }) => *count as f64,
        (Metric::NumAuthorizationFailures, Sight::Denied { count, .. }) => (*count).into(),
        (Metric::NumConnectionAttempts, Sight::Arrived(_)) => 1.0,
        (Metric::NumConnectionAttempts, Sight::Refused { count, .. }) => (*count).into(),
        (Metric::NumDisconnects, Sight::Left { .. }) => 1.0,
        (_, Sight::Arrived(_) | Sight::Left { .. } | Sight::Metered(_)) => 0.0,
        _ => return None,
    };
    Some(value)
}

/// What is expected of a datapoint.
#[derive(Clone, Copy, Debug)]
struct Expected {
    low: f64,
    high: f64,
    operator: Option<ComparisonOperator>,
    usual: Option<f64>,
}

impl Expected {
    fn is_violated_by(&self, value: f64) -> bool {
        match self.operator {
            Some(operator) => !operator.holds(value, self.high),
            None => value < self.low || value > self.high,
        }
    }
}

/// `None` while it is not known.
fn expected(behaviour: &Behaviour, histogram: &Histogram, usual: &Usual) -> Option<Expected> {
    let criteria = &behaviour.criteria;
    if let Some(ml) = criteria.ml_detection_config {
        if usual.count < LEARNED_MIN {
            return None;
        }
        let room = f64::from(room(usual, ml.confidence_level));
        let mean = f64::from(usual.mean);
        return Some(Expected { low: mean - room, high: mean + room, operator: None, usual: Some(mean) });
    }
    let value = match (criteria.statistical_threshold, &criteria.value) {
        (Some(threshold), _) => histogram.percentile(threshold.statistic.0)?,
        (None, Some(value)) => value.number.or(value.count.map(|count| count as f64))?,
        (None, None) => return None,
    };
    Some(Expected { low: value, high: value, operator: criteria.comparison_operator, usual: None })
}

/// How far from the mean is still usual: mean deviations, of which one is at least a twentieth of the mean and half a unit, and
/// at most half of the mean and a unit.
fn room(usual: &Usual, level: ConfidenceLevel) -> f32 {
    let mean = usual.mean.abs();
    usual.deviation.clamp((mean / 20.0).max(0.5), mean / 2.0 + 1.0) * level.deviations()
}

fn raise(behaviour: &Behaviour, track: &Track, value: f64, expected: Expected, at_ms: u64) -> Raise {
    let (name, client, metric) = (&behaviour.name, &track.client_id, behaviour.metric);
    let (unit, duration_s) = (metric.unit(), behaviour.duration_s());
    let threshold = if value < expected.low { expected.low } else { expected.high };
    let span_ms = u64::from(duration_s) * 1_000 * u64::from(track.bad);
    let during = if metric.is_immediate() { String::new() } else { format!(" in {duration_s} s") };
    let mut raise = Raise::of(&BEHAVIOUR, Subject::Client(client.clone()), at_ms)
        .measured(value, threshold, unit)
        .over(if metric.is_immediate() { at_ms } else { at_ms.saturating_sub(span_ms) }, at_ms, track.bad.into())
        .severity(behaviour.severity)
        .says(format!(
            "{name}: {metric} of {client} is {value:.1} {unit}{during}, and {threshold:.1} is the bound that was set or learned"
        ))
        .until_cleared();
    raise.baseline = expected.usual;
    raise.name = Some(name.clone());
    raise.statistic = Some(format!("{metric}, {} datapoints in a row", track.bad));
    raise
}

#[cfg(test)]
mod tests;
