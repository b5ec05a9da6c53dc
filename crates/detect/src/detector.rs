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
