//! `[detect]`, `[[behaviour]]`, `[[expect]]`, `[[physical]]` and `[[value]]`: what detectors go by.
//!
//! Names and units are those of the file; the engine's own are converted here. What is not written has the engine's default.

mod fields;

use super::read::Table;
use fields::Fields;
use ravelin_detect::Settings;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
/// Entries of a table, at most.
const ENTRIES_MAX: u64 = 10_000_000;

/// What detectors go by, and what the node does for them.
#[derive(Clone, Debug, PartialEq)]
pub struct DetectConfig {
    /// Whether there is any detection.
    pub enabled: bool,
    /// Settings of the detectors.
    pub settings: Settings,
    /// How often what was learned goes to disk, a little each time.
    pub write_interval: Duration,
    /// Records that go to disk each time, at most.
    pub write_max: usize,
}

impl DetectConfig {
    /// The topics whose messages detectors want to see.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        std::iter::empty()
    }
}

/// Reads the sections out of the file.
pub(super) fn read(root: &mut Table<'_, '_>) -> DetectConfig {
    root.table("detect", section)
}

fn section(table: &mut Table<'_, '_>) -> DetectConfig {
    let mut config = DetectConfig {
        enabled: table.take("enabled").unwrap_or(true),
        settings: Settings::default(),
        write_interval: table
            .take_between("write_interval", Duration::from_secs(1), DAY)
            .unwrap_or(Duration::from_secs(10)),
        write_max: 500,
    };
    let mut fields = Fields(table);
    fields.count("write_max", &mut config.write_max, 1, 100_000);
    let settings = &mut config.settings;
    let episodes = &mut settings.episodes;
    fields.time("hold_off", &mut episodes.hold_off_ms, 1, DAY);
    fields.time("quiet", &mut episodes.quiet_ms, 1, 7 * DAY);
    fields.count("alarms_per_minute", &mut episodes.alarms_per_minute, 1, 1_000_000);
    fields.time("fleet_window", &mut episodes.fleet_window_ms, 1, DAY);
    fields.count("fleet_percent", &mut episodes.fleet_percent, 1, 100);
    fields.count("fleet_min", &mut episodes.fleet_min, 2, 1_000_000);
    let limits = &mut settings.limits;
    fields.count("clients_max", &mut limits.clients, 16, ENTRIES_MAX);
    fields.count("sources_max", &mut limits.sources, 16, ENTRIES_MAX);
    fields.count("identities_max", &mut limits.identities, 16, ENTRIES_MAX);
    fields.count("failing_users_max", &mut limits.failing_users, 16, 1_000_000);
    fields.count("alarms_max", &mut limits.alarms, 16, 1_000_000);
    fields.count("suppressions_max", &mut limits.suppressions, 1, 100_000);
    fields.count("notices_max", &mut limits.notices, 16, 1_000_000);
    settings.connection = table.typed("connection");
    settings.traffic = table.typed("traffic");
    table.table("trust", |table| {
        let (mut fields, trust) = (Fields(table), &mut settings.trust);
        fields.hours("good_half_life", &mut trust.good_half_life_h, 365 * DAY);
        fields.hours("bad_half_life", &mut trust.bad_half_life_h, 365 * DAY);
        fields.number("good_per_day", &mut trust.good_per_day, 0.0, 10_000.0);
        fields.time("good_every", &mut trust.good_every_min, 60_000, DAY);
        fields.count("prior_enrolled", &mut trust.prior_enrolled, 0, 100);
        fields.count("prior_identified", &mut trust.prior_identified, 0, 100);
        fields.count("prior_unknown", &mut trust.prior_unknown, 0, 100);
    });
    config
}
