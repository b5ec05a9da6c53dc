//! What there is to know of a detector.

use serde::Serialize;

/// What a detector is and what it promises. The documentation and the API come from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DetectorInfo {
    /// Its name, as in alarms.
    pub name: &'static str,
    /// The subcategory of the Core that it serves.
    pub subcategory: &'static str,
    /// The technique of ATT&CK, where one fits.
    pub technique: Option<&'static str>,
    /// The statistic.
    pub statistic: &'static str,
    /// From where on it is an alarm, by default.
    pub threshold: &'static str,
    /// How often it would be raised without an attack.
    pub false_alarms: &'static str,
    /// What it keeps count of: `client`, `source`, `identity`, `fleet`.
    pub entity: &'static str,
    /// What it finds, in a sentence.
    pub description: &'static str,
}

/// The table of all detectors as it stands in the guide, in Markdown.
pub fn detectors_table() -> String {
    let mut table = String::from(
        "| detector | about | serves | ATT&CK | what it finds | statistic and threshold | false alarms |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for info in crate::Engine::detectors() {
        let DetectorInfo {
            name, subcategory, entity, description, statistic, threshold, false_alarms, ..
        } = info;
        let technique = info.technique.unwrap_or("-");
        table.push_str(&format!(
            "| `{name}` | {entity} | {subcategory} | {technique} | {description} | {statistic}; {threshold} | {false_alarms} |\n"
        ));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_guide_has_the_table() {
        let guide = include_str!("../../../docs/guide/detection.md");
        let (_, rest) = guide.split_once("--example detectors -->\n").expect("the mark before the table");
        let (table, _) = rest.split_once("<!-- end of detectors -->").expect("the mark after it");
        let is_same = table.trim() == detectors_table().trim();
        assert!(
            is_same,
            "run `cargo run -p ravelin-detect --example detectors` and put what it prints between the marks"
        );
    }

    #[test]
    fn names_are_told_apart_and_everything_is_said() {
        let all = crate::Engine::detectors();
        assert_eq!(all.iter().map(|info| info.name).collect::<BTreeSet<_>>().len(), all.len());
        for info in all {
            assert!(info.subcategory.starts_with("DE."), "{info:?}");
            let said = [info.statistic, info.threshold, info.false_alarms, info.entity, info.description];
            assert!(said.iter().all(|text| !text.is_empty() && !text.contains(['|', '\n'])), "{info:?}");
        }
    }
}
