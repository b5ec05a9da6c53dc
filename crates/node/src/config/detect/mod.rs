//! `[detect]`, `[[behaviour]]`, `[[expect]]`, `[[physical]]` and `[[value]]`: what detectors go by.
//!
//! Names and units are those of the file; the engine's own are converted here. What is not written has the engine's default.

mod expect;
mod fields;

use super::diagnostic::{ConfigErrors, Source};
use super::read::Table;
use super::sections;
use fields::{Fields, wrong};
use ravelin_detect::Settings;
use std::path::Path;
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
    /// Reads these sections of the file at `path` (or of `ravelin.toml` in the directory at `path`), which may be all that
    /// there is in it. What else is there must be right, too, but a node need not be able to serve with it.
    pub fn load(path: &Path) -> Result<DetectConfig, ConfigErrors> {
        let help = "name the configuration of a node, or a file with some of its sections";
        let (source, base) = Source::load(path, help)?;
        Ok(sections::parse_part(source, &base)?.detect)
    }
}

/// Reads the sections out of the file.
pub(super) fn read(root: &mut Table<'_, '_>) -> DetectConfig {
    let mut config = root.table("detect", section);
    expect::read(root, &mut config.settings);
    config
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
    for test in settings.connection.tests() {
        let shares = 0.0 < test.tolerated && test.tolerated < test.attack && test.attack < 1.0;
        if !shares || test.threshold <= 0.0 {
            let what = format!("{test:?} is not a test").replace("CusumTest", "");
            let help = "0 < `tolerated` < `attack` < 1, and `threshold` is above 0: ln(outcomes between two false alarms)";
            wrong(table, "connection", what, help);
        }
    }
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

#[cfg(test)]
mod tests {
    use super::DetectConfig;
    use crate::config::Config;
    use std::path::Path;

    const LISTENER: &str = "[[listener]]\nname = \"field\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
        dangerous_anonymous = true\n[access]\ndangerous_allow_everything = true\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(&format!("{LISTENER}{text}"), Path::new("/")).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_file_may_have_these_sections_only_and_is_read_as_strictly() {
        let folder = tempfile::tempdir().unwrap();
        let load = |text: &str| {
            std::fs::write(folder.path().join("ravelin.toml"), text).unwrap();
            DetectConfig::load(folder.path()).map_err(|errors| errors.to_string())
        };
        let part = "[detect]\nquiet = \"7m\"\n[[value]]\ntopic = \"volt\"\nmax = 250\n";
        let read = load(part).unwrap();
        assert_eq!((read.settings.episodes.quiet_ms, read.settings.value.len()), (420_000, 1));
        assert_eq!(load(&format!("{LISTENER}{part}")), Ok(read));
        let error = load("[detect]\nquiet = \"7m\"\n[[valu]]\ntopic = \"volt\"\n").unwrap_err();
        assert!(error.contains("ravelin.toml:3:") && error.contains("did you mean `value`"), "{error}");
        let error = DetectConfig::load(&folder.path().join("none.toml")).unwrap_err().to_string();
        assert!(error.contains("none.toml") && error.contains("name the configuration"), "{error}");
    }

    #[test]
    fn detection_is_on_and_has_the_defaults_of_the_engine() {
        let detect = parse("").unwrap().detect;
        assert!(detect.enabled && detect.settings == ravelin_detect::Settings::default());
    }

    #[test]
    fn what_is_written_counts() {
        let text = "[detect]\nquiet = \"7m\"\nalarms_max = 50\n[detect.trust]\ngood_half_life = \"12h\"\n\
                    [detect.connection]\nshort_s = 30\nhealth_checks = [\"10.0.0.5\"]\n\
                    authentication = { tolerated = 0.2, attack = 0.9, threshold = 9.0 }\n";
        let settings = parse(text).unwrap().detect.settings;
        assert_eq!((settings.episodes.quiet_ms, settings.limits.alarms), (420_000, 50));
        assert!((settings.trust.good_half_life_h - 12.0).abs() < 1e-6);
        assert_eq!((settings.connection.short_s, settings.connection.health_checks.len()), (30, 1));
        assert!((settings.connection.authentication.threshold - 9.0).abs() < 1e-6);
    }

    #[test]
    fn what_is_expected_is_read_in_the_words_of_its_users() {
        let text = r#"
[[behaviour]]
name = "messages sent"
metric = "aws:num-messages-sent"
classes = ["meters"]
criteria = { comparison_operator = "less-than-equals", value = { count = 500 }, duration_seconds = 300 }
[[behaviour]]
name = "addresses"
metric = "aws:source-ip-address"
criteria = { comparisonOperator = "in-cidr-set", value = { cidrs = ["10.0.0.0/8"] } }
[[expect]]
class = "meters"
interval = "60s"
grace = "1.5m"
connected = true
inspection_every = "90d"
[[physical]]
topic = "doors/+/state"
kind = "door"
alarm_when = { equals = "open" }
[[value]]
topic = "meters/+/volt"
pointer = "/volt"
min = 110
max = 130.5
"#;
        let text = text.replace("1.5m", "90s");
        let detect = parse(&text).unwrap().detect;
        let settings = &detect.settings;
        assert_eq!((settings.behaviours.len(), settings.behaviours[0].duration_s()), (2, 300));
        let expected = &settings.expect[0];
        assert_eq!((expected.interval_s, expected.grace_s), (Some(60.0), Some(90.0)));
        assert_eq!((expected.inspection_days, expected.connected, expected.watch), (Some(90), true, None));
        assert_eq!((settings.value[0].min, settings.value[0].max), (Some(110.0), Some(130.5)));
        assert_eq!(settings.topics().collect::<Vec<_>>(), ["doors/+/state", "meters/+/volt"]);
    }

    #[test]
    fn what_the_guide_shows_is_understood() {
        let guide = concat!(
            include_str!("../../../../../docs/guide/detection.md"),
            include_str!("../../../../../docs/guide/configuration.md"),
        );
        let blocks = guide.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```"));
        let ours = ["[detect", "[[behaviour]]", "[[expect]]", "[[physical]]", "[[value]]"];
        let mut count = 0;
        for (block, _) in blocks.filter(|(block, _)| ours.iter().any(|name| block.starts_with(name))) {
            parse(block).unwrap_or_else(|error| panic!("{block}\n{error}"));
            count += 1;
        }
        assert!(count >= 6, "{count} examples");
    }

    #[test]
    fn an_error_points_at_its_line() {
        let lines = LISTENER.lines().count();
        for (text, line, says) in [
            ("[detect]\nquite = \"7m\"\n", 2, "did you mean `quiet`"),
            ("[detect]\nquiet = \"7 minutes\"\n", 2, "a duration"),
            ("[detect]\nfleet_percent = 101\n", 2, "not within"),
            ("[detect.trust]\nprior_unknown = 500\n", 2, "not within"),
            ("[detect.connection]\nshort_s = 5\nshort = 5\n", 3, "unknown field `short`"),
            ("[detect.connection]\nshort_s = \"a minute\"\n", 2, "invalid type"),
            ("[detect.connection]\nchance = nan\n", 2, "finite"),
            (
                "[detect.connection]\nauthentication = { tolerated = 0.9, attack = 0.1, threshold = 1.0 }\n",
                1,
                "is not a test",
            ),
            (
                "[[behaviour]]\nname = \"a\"\nmetric = \"aws:num-messages\"\ncriteria = {}\n",
                3,
                "unknown variant",
            ),
            (
                "[[behaviour]]\nname = \"a\"\nmetric = \"aws:num-disconnects\"\ncriteria = {}\n",
                1,
                "give one of",
            ),
            ("[[expect]]\ninterval = \"1m\"\n", 1, "a class"),
            ("[[expect]]\nclass = \"a\"\ninterval = 60\n", 3, "a duration"),
            ("[[physical]]\ntopic = \"a/#/b\"\n", 1, "a/#/b"),
            ("[[physical]]\ntopic = \"a\"\n", 1, "alarm_when"),
            ("[[value]]\ntopic = \"a\"\n", 1, "give a limit"),
            ("[[value]]\ntopic = \"a\"\nmin = 2\nmax = 1\n", 1, "min is above max"),
            ("[[value]]\ntopic = \"a\"\nmaximum = 1\n", 3, "unknown field"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("ravelin.toml:{}:", lines + line)), "{text}: {error}");
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
