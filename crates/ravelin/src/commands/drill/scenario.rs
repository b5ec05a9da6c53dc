//! What there is to rehearse.

use super::stage::Stage;
use super::{energy, note};
use std::fmt::Write;

/// A set of attacks.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is.
    pub what: &'static str,
    /// In the order in which they are rehearsed.
    pub attacks: &'static [Attack],
}

/// One attack, and what must come of it: an alarm for one of the subcategories, or a refusal.
pub struct Attack {
    /// Its name.
    pub name: &'static str,
    /// What the attacker does.
    pub what: &'static str,
    /// Techniques of ATT&CK.
    pub techniques: &'static [&'static str],
    /// Subcategories of the Core whose alarms count as seen.
    pub alarms: &'static [&'static str],
    /// Events by which the attack counts as stopped: the check that refused it.
    pub stops: &'static [Stop],
    /// Whether the attacker may be thrown out meanwhile.
    pub ends_in_refusal: bool,
    /// How long its alarm may take, in seconds, where that is longer than usual: silence is only known after a while.
    pub patience_s: u64,
    /// Does it.
    pub run: fn(&mut Stage) -> anyhow::Result<()>,
}

/// An event that stops an attack, and the name of the check.
pub struct Stop {
    /// The event's id.
    pub event: &'static str,
    /// Its `why`, where that must be one.
    pub why: Option<&'static str>,
    /// The check.
    pub check: &'static str,
}

/// All of them.
pub const SCENARIOS: [Scenario; 2] = [
    Scenario {
        name: "note",
        what: "the detections of the note's section 2.1.3, one attack each",
        attacks: note::ATTACKS,
    },
    Scenario {
        name: "energy-provider",
        what: "the energy provider's test lab (Appendix A) under attack",
        attacks: energy::ATTACKS,
    },
];

/// The one with this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// What `--list` prints.
pub fn list() -> String {
    let mut text = String::new();
    for scenario in &SCENARIOS {
        let _ = writeln!(text, "{}: {}", scenario.name, scenario.what);
        for attack in scenario.attacks {
            let _ = writeln!(text, "  {:24} {} ({})", attack.name, attack.what, attack.techniques.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_attack_has_a_name_of_its_own_and_something_that_must_come_of_it() {
        for scenario in &SCENARIOS {
            let mut names = BTreeSet::new();
            for attack in scenario.attacks {
                assert!(names.insert(attack.name), "{} twice", attack.name);
                assert!(!attack.alarms.is_empty() || !attack.stops.is_empty(), "{}", attack.name);
                assert!(attack.techniques.iter().all(|one| one.starts_with('T')), "{}", attack.name);
            }
        }
    }

    #[test]
    fn the_notes_detections_are_all_rehearsed() {
        let covered: BTreeSet<_> = note::ATTACKS.iter().flat_map(|attack| attack.alarms).copied().collect();
        for row in ["DE.NM-1", "DE.NM-2", "DE.PM-1", "DE.PM-2", "DE.ID-1", "DE.ID-2", "DE.ID-3", "DE.ID-4"] {
            assert!(covered.contains(row), "{row}");
        }
    }

    #[test]
    fn stops_are_events_of_the_catalogue() {
        for stop in SCENARIOS.iter().flat_map(|one| one.attacks).flat_map(|attack| attack.stops) {
            let known = ravelin_event::CATALOG.iter().any(|entry| entry.id == stop.event);
            assert!(known, "{}", stop.event);
        }
    }
}
