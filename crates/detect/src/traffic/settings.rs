//! What the detectors of messages go by. Each default says why.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Settings of the detectors of messages, subscriptions and rhythms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// A client whose peak is learned floods from here on, whatever it has learned (messages in 10 s).
    pub flood_messages_floor: u32,
    /// A client that nobody knows yet floods from here on (messages in 10 s), unless its class is known.
    pub flood_messages_new: u32,
    /// The same in bytes of payload.
    pub flood_bytes_floor: u64,
    /// See `flood_bytes_floor`.
    pub flood_bytes_new: u64,
    /// Flood is so many times the learned peak.
    pub flood_multiple: f32,
    /// Nobody may send more, whatever was learned (messages in 10 s).
    pub flood_messages_quota: u32,
    /// See `flood_messages_quota`, in bytes.
    pub flood_bytes_quota: u64,
    /// What a class may always send (messages in 10 s): a gateway, a historian that replays.
    pub flood_messages_by_class: BTreeMap<Arc<str>, u32>,
    /// Retained messages on topics that the client never used, decayed over a minute, from which on it is abuse.
    pub retained_new_max: f32,
    /// Messages with RETAIN and messages of QoS 2 (one with both counts twice) in 10 s: each makes the node keep something.
    pub costly_floor: u32,
    /// The same for a declared client that nobody knows yet.
    pub costly_declared: u32,
    /// QoS 2 messages that a client began and did not release, decayed over a minute, from which on it is abuse.
    pub unreleased_max: f32,
    /// Messages without a subscriber, decayed over a minute.
    pub undeliverable_max: f32,
    /// If more than this share of what all others send has no subscriber, it is the bus and not the client.
    pub undeliverable_fleet_share: f32,
    /// New filters or topics that come to nothing in a row, about: the threshold of the log-likelihood CUSUM of scans.
    pub scan_threshold: f32,
    /// Classes that may subscribe to everything (`#`, `$SYS/#`).
    pub wide_classes: Vec<Arc<str>>,
    /// A client without identity or class that subscribes to everything and only listens, after so many seconds.
    pub wide_silent_s: u32,
    /// Threshold of the CUSUM of messages that come before half their period.
    pub rhythm_threshold: f32,
    /// Gaps after which a rhythm is known well enough to say that a message is off it.
    pub rhythm_gaps: u16,
    /// Whether to tell that a client, or one of its topics, broke a rhythm that was learned and fell silent. What is expected
    /// of its class is told in any case.
    pub learn_silence: bool,
    /// Payloads from this size on may be outliers, in bytes.
    pub size_floor: u32,
    /// A payload that is so many times the largest usual one is an outlier.
    pub size_multiple: f32,
    /// Topics and clients whose rhythm is kept.
    pub rhythms_max: usize,
    /// Topics and filters of which is known who used them.
    pub seen_max: usize,
    /// Topics that are known to be alive.
    pub live_max: usize,
    /// Clients whose baseline is kept though they are not connected.
    pub baselines_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            flood_messages_floor: 100,
            flood_messages_new: 500,
            flood_bytes_floor: 1 << 20,
            flood_bytes_new: 5 << 20,
            flood_multiple: 4.0,
            flood_messages_quota: 50_000,
            flood_bytes_quota: 500 << 20,
            flood_messages_by_class: BTreeMap::new(),
            retained_new_max: 60.0,
            costly_floor: 50,
            costly_declared: 300,
            unreleased_max: 20.0,
            undeliverable_max: 90.0,
            undeliverable_fleet_share: 0.6,
            scan_threshold: 11.5,
            wide_classes: Vec::new(),
            wide_silent_s: 60,
            rhythm_threshold: 11.5,
            rhythm_gaps: 16,
            learn_silence: true,
            size_floor: 1024,
            size_multiple: 8.0,
            rhythms_max: 65_536,
            seen_max: 131_072,
            live_max: 32_768,
            baselines_max: 20_000,
        }
    }
}

/// What is expected of a class: `[[expect]]`. What is not said is learned.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expectation {
    /// The class; of several for one class the first counts.
    pub class: Arc<str>,
    /// A message is expected so often, in seconds; none: learned.
    pub interval_s: Option<f64>,
    /// And so much later it is late, in seconds; none: one interval.
    pub grace_s: Option<f64>,
    /// Whether its clients are expected to be connected all the time: one that has left is absent after the grace.
    pub connected: bool,
    /// Whether to alarm at all when a client of this class is silent; `false` for tools and laptops.
    pub watch: Option<bool>,
    /// Days between two inspections of a device; none: no rounds.
    pub inspection_days: Option<u32>,
}

/// A filter of a rule, as an operator writes it.
pub(crate) fn check_topic(filter: &str) -> Result<(), String> {
    match ravelin_mqtt::check_filter(filter, u16::MAX) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(format!("topic is `{filter}`: leave out $share and the group")),
        Err(error) => Err(format!("topic is `{filter}`, which is no Topic Filter: {error}")),
    }
}

impl Expectation {
    /// Whether its parts make sense.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), String> {
        let seconds = |value: Option<f64>| value.is_none_or(|value| (0.1..=31_536_000.0).contains(&value));
        if self.class.is_empty() {
            return Err("class says for whom it is".into());
        }
        if !seconds(self.interval_s)
            || !self.grace_s.is_none_or(|grace| (0.0..=31_536_000.0).contains(&grace))
        {
            return Err("interval_s is 0.1 to 31536000 seconds, and grace_s 0 to 31536000".into());
        }
        if self.inspection_days.is_some_and(|days| !(1..=36_500).contains(&days)) {
            return Err("inspection_days is 1 to 36500".into());
        }
        Ok(())
    }
}
