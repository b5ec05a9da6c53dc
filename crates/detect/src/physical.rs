//! Sensors of the device's vicinity: doors, tamper switches, vibration. `[[physical]]` maps topics to devices.

use crate::traffic::{Change, Detector, check_topic};
use crate::value::{Field, check_pointer, field, read};
use crate::{DetectorInfo, Raise};
use ravelin_event::{Severity, Subject};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a sensor watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhysicalKind {
    /// A switch in the device's housing.
    #[default]
    Tamper,
    /// The door of its cabinet or station.
    Door,
    /// That somebody shakes, saws or drills.
    Vibration,
    /// Anything else: water, heat, tilt.
    Other,
}

impl PhysicalKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            PhysicalKind::Tamper => "tamper",
            PhysicalKind::Door => "door",
            PhysicalKind::Vibration => "vibration",
            PhysicalKind::Other => "other",
        }
    }
}

/// When a payload is an alarm: all that is said must hold.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Condition {
    /// The text, without regard to case and to space around it; for JSON also `true`, a number, or a string.
    pub equals: Option<Arc<str>>,
    /// More than that.
    pub above: Option<f64>,
    /// Less than that.
    pub below: Option<f64>,
}

/// One kind of sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PhysicalRule {
    /// Topics.
    pub topic: Arc<str>,
    /// What it watches.
    pub kind: PhysicalKind,
    /// The level of the topic that names the device, from 0; none: the publisher is the device.
    pub device_level: Option<usize>,
    /// Where the state is in a JSON payload (RFC 6901); none: the payload is the state.
    pub pointer: Option<Arc<str>>,
    /// When it is an alarm.
    pub alarm_when: Condition,
    /// How bad it is.
    pub severity: Severity,
}

impl Default for PhysicalRule {
    fn default() -> Self {
        PhysicalRule {
            topic: "".into(),
            kind: PhysicalKind::Tamper,
            device_level: None,
            pointer: None,
            alarm_when: Condition::default(),
            severity: Severity::High,
        }
    }
}

/// What is documented of it.
pub static PHYSICAL: Detector = Detector {
    info: DetectorInfo {
        name: "physical",
        subcategory: "DE.PM-2",
        technique: Some("T0864"),
        entity: "device",
        statistic: "the state of a sensor",
        threshold: "alarm_when of [[physical]]",
        false_alarms: "those of the sensor; a state that lasts is one alarm, and an announced visit is a suppression",
        description: "A tamper switch, a door contact or a vibration sensor of a device says that somebody is there.",
    },
    severity: Severity::High,
    confidence: 90,
};

/// Devices and sensors of which the state is known.
const STATES_MAX: usize = 65_536;

/// What is known of sensors.
#[derive(Debug, Default)]
pub struct Physical {
    states: BTreeMap<(Arc<str>, PhysicalKind), bool>,
    /// Sensors that found no place: they are judged each time as if they were quiet before.
    pub evictions: u64,
}

impl PhysicalRule {
    /// Whether its parts make sense.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), String> {
        check_topic(&self.topic)?;
        if self.alarm_when == Condition::default() {
            return Err("alarm_when says what is an alarm: { equals = \"open\" }, { above = 2.5 }".into());
        }
        check_pointer(self.pointer.as_deref())
    }
}

impl Physical {
    /// `client_id` published `payload` to `topic` at `at_ms`.
    pub fn handle(
        &mut self,
        rules: &[PhysicalRule],
        at_ms: u64,
        (client_id, topic): (&Arc<str>, &Arc<str>),
        payload: &[u8],
        out: &mut Vec<Change>,
    ) {
        for rule in rules {
            if !ravelin_mqtt::matches(&rule.topic, topic) {
                continue;
            }
            let Some(alarm) = rule.alarm_when.holds(payload, rule.pointer.as_deref()) else { continue };
            let device: Arc<str> = match rule.device_level {
                Some(level) => match ravelin_mqtt::levels(topic).nth(level).filter(|name| !name.is_empty()) {
                    Some(name) => name.into(),
                    None => client_id.clone(),
                },
                None => client_id.clone(),
            };
            let before = self.change(&device, rule.kind, alarm);
            let (subject, kind) = (Subject::Device(device.clone()), rule.kind.name());
            let name: Arc<str> = format!("physical_{kind}").into();
            match (before, alarm) {
                (false, true) => {
                    let says = format!("the {kind} sensor of {device} has gone off ({topic})");
                    let mut raise = Raise::of(&PHYSICAL, subject, at_ms).on(topic).severity(rule.severity);
                    raise = raise.measured(1.0, 1.0, "").says(says).until_cleared();
                    (raise.name, raise.client_id) = (Some(name), Some(client_id.clone()));
                    // Doors of many stations are many doors.
                    raise.folds = false;
                    out.push(Change::Raised(Box::new(raise)));
                }
                (true, false) => out.push(Change::Ended(subject, name)),
                _ => {}
            }
        }
    }

    /// Remembers a state; what it was.
    fn change(&mut self, device: &Arc<str>, kind: PhysicalKind, alarm: bool) -> bool {
        let key = (device.clone(), kind);
        if !self.states.contains_key(&key) && self.states.len() >= STATES_MAX {
            self.evictions += 1;
            return false;
        }
        self.states.insert(key, alarm).unwrap_or(false)
    }
}

impl Condition {
    /// Whether it holds; `None`: the payload has no such state.
    fn holds(&self, payload: &[u8], pointer: Option<&str>) -> Option<bool> {
        let mut holds = true;
        if let Some(wanted) = &self.equals {
            let text = match field(payload, pointer)? {
                Field::Text(text) => text.trim().to_owned(),
                Field::Json(serde_json::Value::String(text)) => text,
                Field::Json(value) => value.to_string(),
            };
            holds &= text.trim().eq_ignore_ascii_case(wanted.trim());
        }
        if self.above.is_some() || self.below.is_some() {
            let value = read(payload, pointer, None)?;
            holds &=
                self.above.is_none_or(|least| value > least) && self.below.is_none_or(|most| value < most);
        }
        Some(holds && *self != Condition::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door() -> PhysicalRule {
        PhysicalRule {
            topic: "station/+/door".into(),
            kind: PhysicalKind::Door,
            device_level: Some(1),
            alarm_when: Condition { equals: Some("open".into()), ..Condition::default() },
            ..PhysicalRule::default()
        }
    }

    fn run(rule: &PhysicalRule, topic: &str, payloads: &[&str]) -> Vec<Change> {
        let (mut physical, mut out) = (Physical::default(), Vec::new());
        for (nth, payload) in payloads.iter().enumerate() {
            let names = (&"gateway".into(), &topic.into());
            physical.handle(std::slice::from_ref(rule), nth as u64, names, payload.as_bytes(), &mut out);
        }
        out
    }

    #[test]
    fn a_door_that_stays_open_is_one_alarm_of_its_station() {
        let changes =
            run(&door(), "station/north/door", &["closed", "OPEN ", "open", "open", "closed", "closed"]);
        assert_eq!(changes.len(), 2, "{changes:?}");
        let Change::Raised(verdict) = &changes[0] else { panic!("{changes:?}") };
        assert_eq!(verdict.subject, Subject::Device("north".into()));
        assert_eq!(verdict.name.as_deref(), Some("physical_door"));
        let Change::Ended(subject, name) = &changes[1] else { panic!("{changes:?}") };
        assert_eq!((subject, &**name), (&Subject::Device("north".into()), "physical_door"));
    }

    #[test]
    fn json_states_and_numbers() {
        let mut rule = door();
        (rule.pointer, rule.alarm_when.equals) = (Some("/state/tamper".into()), Some("true".into()));
        assert_eq!(run(&rule, "station/a/door", &[r#"{"state":{"tamper":true}}"#]).len(), 1);
        assert_eq!(
            run(&rule, "station/a/door", &[r#"{"state":{"tamper":false}}"#, "{}", "no json"]).len(),
            0
        );
        rule.pointer = None;
        rule.alarm_when = Condition { above: Some(2.5), ..Condition::default() };
        assert_eq!(run(&rule, "station/a/door", &["0.1", "2.5", "2.6", "9"]).len(), 1);
        rule.alarm_when = Condition::default();
        assert_eq!(run(&rule, "station/a/door", &["anything"]).len(), 0, "nothing to alarm on");
    }

    #[test]
    fn without_a_level_the_publisher_is_the_device() {
        let mut rule = door();
        rule.device_level = None;
        let changes = run(&rule, "station/north/door", &["open"]);
        let Change::Raised(verdict) = &changes[0] else { panic!("{changes:?}") };
        assert_eq!(verdict.subject, Subject::Device("gateway".into()));
        assert!(run(&rule, "other/north/door", &["open"]).is_empty());
    }
}
