//! What the detectors of connections go by.

use crate::statistics::CusumTest;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One false alarm in a hundred thousand outcomes: ln(100,000).
const ONE_IN_100_000: f32 = 11.5;

/// What the detectors of connections go by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Log-ins of a source, and with a User Name: refused or not.
    pub authentication: CusumTest,
    /// Connections of a client, and of a source: whether they end abnormally within [`Settings::short_s`].
    pub termination: CusumTest,
    /// Connections of a source: whether they end with a malformed packet or a protocol error.
    pub malformed: CusumTest,
    /// Connections of a source: whether they end without having sent data.
    pub silent: CusumTest,
    /// Connections of a client: whether they take over one that is itself younger than [`Settings::short_s`].
    pub takeover: CusumTest,
    /// Connection attempts in a minute that need no explanation: of a client, and of all strangers at one source.
    pub attempts_per_minute: f64,
    /// The same of strangers at one source while the engine itself is new, and everybody is a stranger to it.
    pub attempts_per_minute_cold: f64,
    /// Connections that a source may open in a second.
    pub opened_per_second: f64,
    /// The same while the engine is new.
    pub opened_per_second_cold: f64,
    /// How improbable a count must be to be an alarm.
    pub chance: f64,
    /// Minutes for which the engine counts as new, if it has nothing that it remembers.
    pub cold_min: u64,
    /// Seconds after which a client that has sent data is known.
    pub known_after_s: u64,
    /// Seconds below which a connection is short.
    pub short_s: u64,
    /// Seconds after which a connection without data is idle.
    pub idle_after_s: u64,
    /// Idle connections of strangers that a source may hold; five times as many while the engine is new.
    pub idle_held: u32,
    /// Connections without a CONNECT that a source may hold for ten seconds.
    pub half_open_held: u32,
    /// Client Identifiers with which one identity may come in an hour to still speak for each of them.
    pub clients_per_identity: u32,
    /// First failed log-ins of different sources in an hour that need no explanation.
    pub failing_sources_per_hour: f64,
    /// A storm is more than this percentage of the known clients that lose their connections or come back in a minute ...
    pub storm_percent: u32,
    /// ... and so many of them at least.
    pub storm_min: u32,
    /// Addresses that open connections only to see whether the node is there.
    pub health_checks: Vec<IpAddr>,
}

impl Default for Settings {
    fn default() -> Self {
        let test = |tolerated, attack| CusumTest { tolerated, attack, threshold: ONE_IN_100_000 };
        Settings {
            authentication: test(0.1, 0.8),
            termination: test(0.3, 0.9),
            malformed: test(0.01, 0.5),
            silent: test(0.05, 0.8),
            takeover: test(0.02, 0.5),
            attempts_per_minute: 6.0,
            attempts_per_minute_cold: 60.0,
            opened_per_second: 50.0,
            opened_per_second_cold: 500.0,
            chance: 1e-5,
            cold_min: 10,
            known_after_s: 300,
            short_s: 60,
            idle_after_s: 30,
            idle_held: 20,
            half_open_held: 50,
            clients_per_identity: 8,
            failing_sources_per_hour: 1.0,
            storm_percent: 20,
            storm_min: 10,
            health_checks: Vec::new(),
        }
    }
}

impl Settings {
    /// All tests that are log-likelihood CUSUMs.
    pub fn tests(&self) -> [CusumTest; 5] {
        [self.authentication, self.termination, self.malformed, self.silent, self.takeover]
    }
}

impl crate::Settings {
    pub(crate) fn authentication(&self) -> CusumTest {
        self.connection.authentication
    }
}
