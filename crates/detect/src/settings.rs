//! What detectors go by.

use crate::{connection, traffic, trust::TrustSettings};
use serde::{Deserialize, Serialize};

/// Settings of all detectors. Everything has a default, so an empty table of TOML is all of them.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Of what can be seen of connections and log-ins.
    pub connection: connection::Settings,
    /// Of what can be seen of messages.
    pub traffic: traffic::Settings,
    /// Behaviours that clients are expected to keep.
    pub behaviours: Vec<traffic::Behaviour>,
    /// What is expected of classes: intervals, presence, inspections.
    pub expect: Vec<traffic::Expectation>,
    /// Sensors of doors, tampering and vibration.
    pub physical: Vec<crate::physical::PhysicalRule>,
    /// Limits of measured values and set-points.
    pub value: Vec<crate::value::ValueRule>,
    /// Of the trust score.
    pub trust: TrustSettings,
    /// Of how alarms are told.
    pub episodes: EpisodeSettings,
    /// How much is kept.
    pub limits: Limits,
}

impl Settings {
    /// Filters of the topics whose messages detectors want to see, with their payloads.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        let physical = self.physical.iter().map(|rule| &*rule.topic);
        physical.chain(self.value.iter().map(|rule| &*rule.topic))
    }
}

/// How alarms are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EpisodeSettings {
    /// Milliseconds for which an alarm stays open at least.
    pub hold_off_ms: u64,
    /// Milliseconds without another sign of it after which it is over, where a detector says nothing else.
    pub quiet_ms: u64,
    /// Alarms that one detector raises at once, and as many again in a minute. What is beyond is counted and not told.
    pub alarms_per_minute: u32,
    /// Milliseconds within which many clients must raise the same for it to have one cause.
    pub fleet_window_ms: u64,
    /// The percentage of the known clients that it must be more than.
    pub fleet_percent: u32,
    /// And so many of them at least.
    pub fleet_min: u32,
}

impl Default for EpisodeSettings {
    fn default() -> Self {
        EpisodeSettings {
            hold_off_ms: 60_000,
            quiet_ms: 300_000,
            alarms_per_minute: 30,
            fleet_window_ms: 60_000,
            fleet_percent: 5,
            fleet_min: 10,
        }
    }
}

/// How much is kept. When a table is full, what was not seen for longest makes room, and is counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Clients, of about half a kilobyte each.
    pub clients: usize,
    /// Sources (addresses, or IPv6 /64), of about half a kilobyte each.
    pub sources: usize,
    /// Identities that have logged in.
    pub identities: usize,
    /// User names whose failures are counted: those with most.
    pub failing_users: usize,
    /// Alarms, open and recent.
    pub alarms: usize,
    /// Suppressions.
    pub suppressions: usize,
    /// Notices that wait to be taken.
    pub notices: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            clients: 100_000,
            sources: 65_536,
            identities: 65_536,
            failing_users: 512,
            alarms: 10_000,
            suppressions: 1_000,
            notices: 10_000,
        }
    }
}
