//! What a device tells of itself in a birth message.

mod json;
pub mod sparkplug;

use serde::{Deserialize, Serialize};

/// Where birth messages are, and where in them the facts are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BirthRule {
    /// The topic filter.
    pub filter: String,
    /// How the payload is written.
    pub format: BirthFormat,
    /// Where the client library is told: JSON pointers (RFC 6901), or names of Sparkplug metrics in any case.
    pub library: Vec<String>,
    /// Where the firmware version is told.
    pub firmware: Vec<String>,
    /// Where the model is told.
    pub model: Vec<String>,
    /// Where the latitude is told, in degrees north.
    pub latitude: Vec<String>,
    /// Where the longitude is told, in degrees east.
    pub longitude: Vec<String>,
}

/// How a birth message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BirthFormat {
    /// JSON.
    Json,
    /// Sparkplug B (the Tahu protocol buffer).
    Sparkplug,
}

impl BirthRule {
    /// Sparkplug B birth certificates of edge nodes and devices. The names of the metrics are those that its
    /// implementations use; the specification prescribes none.
    pub fn sparkplug() -> BirthRule {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        BirthRule {
            filter: "spBv1.0/+/NBIRTH/+".into(),
            format: BirthFormat::Sparkplug,
            library: names(&[
                "Properties/Library",
                "Properties/Client Library",
                "Node Info/Library",
                "Library",
            ]),
            firmware: names(&[
                "Properties/Firmware Version",
                "Properties/FW",
                "Properties/Firmware",
                "Node Info/Firmware Version",
                "Firmware Version",
                "Firmware",
            ]),
            model: names(&[
                "Properties/Hardware Model",
                "Properties/Model",
                "Properties/Hardware Make",
                "Node Info/Model",
                "Hardware Model",
                "Model",
            ]),
            latitude: names(&["Properties/Latitude", "Position/Latitude", "Latitude"]),
            longitude: names(&["Properties/Longitude", "Position/Longitude", "Longitude"]),
        }
    }
}

/// What a birth message told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BirthFacts {
    /// The client library.
    pub library: Option<String>,
    /// The firmware version.
    pub firmware: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// Latitude and longitude in degrees, where both are told and possible.
    pub position: Option<(f32, f32)>,
}

/// A value that a birth message gives a name to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A number.
    Number(f64),
}

impl Value {
    fn text(self) -> String {
        match self {
            Value::Text(text) => text,
            Value::Number(number) => number.to_string(),
        }
    }

    fn number(self) -> Option<f64> {
        match self {
            Value::Number(number) => Some(number),
            Value::Text(text) => text.trim().parse().ok(),
        }
    }
}

/// Reads a birth message by the first rule whose filter matches its topic. `None`: no rule, or not such a message.
pub fn read(rules: &[BirthRule], topic: &str, payload: &[u8]) -> Option<BirthFacts> {
    let rule = rules.iter().find(|rule| ravelin_mqtt::matches(&rule.filter, topic))?;
    match rule.format {
        BirthFormat::Json => {
            let document = json::parse(payload)?;
            Some(facts(rule, |pointer| json::find(&document, pointer)))
        }
        BirthFormat::Sparkplug => {
            let metrics = sparkplug::metrics(payload).ok()?;
            let find = |name: &str| {
                metrics
                    .iter()
                    .find(|metric| metric.name.eq_ignore_ascii_case(name))
                    .and_then(|metric| metric.value.clone())
            };
            Some(facts(rule, find))
        }
    }
}

fn facts(rule: &BirthRule, find: impl Fn(&str) -> Option<Value>) -> BirthFacts {
    let first = |places: &[String]| places.iter().find_map(|place| find(place));
    let degrees = |places: &[String], most: f64| {
        first(places).and_then(Value::number).filter(|value| value.abs() <= most).map(|value| value as f32)
    };
    BirthFacts {
        library: first(&rule.library).map(Value::text),
        firmware: first(&rule.firmware).map(Value::text),
        model: first(&rule.model).map(Value::text),
        position: degrees(&rule.latitude, 90.0).zip(degrees(&rule.longitude, 180.0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> BirthRule {
        let one = |pointer: &str| vec![pointer.to_owned()];
        BirthRule {
            filter: "devices/+/birth".into(),
            format: BirthFormat::Json,
            library: one("/client/library"),
            firmware: vec!["/fw".into(), "/versions/0".into()],
            model: one("/a~1b"),
            latitude: one("/position/lat"),
            longitude: one("/position/lon"),
        }
    }

    #[test]
    fn json_pointers_find_the_facts() {
        let payload = br#"{"client":{"library":"paho 1.3"},"versions":["2.1"],"a/b":7,"position":{"lat":"48.2","lon":16.37}}"#;
        let facts = read(&[rule()], "devices/m-1/birth", payload).unwrap();
        assert_eq!((facts.library.as_deref(), facts.firmware.as_deref()), (Some("paho 1.3"), Some("2.1")));
        assert_eq!((facts.model.as_deref(), facts.position), (Some("7"), Some((48.2, 16.37))));
        assert_eq!(read(&[rule()], "devices/m-1/data", payload), None);
        assert_eq!(read(&[rule()], "devices/m-1/birth", b"{"), None);
    }

    #[test]
    fn a_place_that_does_not_exist_is_no_place() {
        let payload = br#"{"position":{"lat":91,"lon":16.37}}"#;
        assert_eq!(read(&[rule()], "devices/m-1/birth", payload).unwrap().position, None);
    }

    #[test]
    fn a_sparkplug_birth_tells_the_firmware() {
        let payload = sparkplug::tests::payload(&[
            ("Properties/Firmware Version", "4.2"),
            ("Properties/Model", "RTU-9"),
        ]);
        let facts = read(&[BirthRule::sparkplug()], "spBv1.0/north/NBIRTH/rtu-1", &payload).unwrap();
        assert_eq!((facts.firmware.as_deref(), facts.model.as_deref()), (Some("4.2"), Some("RTU-9")));
    }
}
