//! The fields of a declaration as text: what CSV and JSON have in common.

use super::{Criticality, Declared, LIST_MAX, NAME_BYTES_MAX};
use crate::certificate::fingerprint_bytes;
use crate::lifecycle::State;
use crate::network::Network;
use crate::place::Position;
use std::sync::Arc;

/// The fields, in the order of an export.
pub const FIELDS: [&str; 18] = [
    "name",
    "identity",
    "client_ids",
    "owner",
    "model",
    "criticality",
    "site",
    "latitude",
    "longitude",
    "class",
    "certificate",
    "version",
    "firmware",
    "networks",
    "publishes",
    "subscribes",
    "state",
    "note",
];

/// A declaration that is being read.
#[derive(Debug, Default)]
pub(super) struct Draft {
    declared: Declared,
    latitude: Option<f64>,
    longitude: Option<f64>,
}

impl Draft {
    /// Sets a field; an empty text leaves it out.
    pub(super) fn set(&mut self, field: &str, values: &[String]) -> Result<(), String> {
        let declared = &mut self.declared;
        match field {
            "client_ids" => declared.client_ids = list(values, check_text)?,
            "publishes" => declared.publishes = list(values, check_filter)?,
            "subscribes" => declared.subscribes = list(values, check_filter)?,
            "networks" => {
                let given = values.iter().filter(|text| !text.is_empty());
                declared.networks = given.map(|text| text.parse::<Network>()).collect::<Result<_, _>>()?;
                within_list(declared.networks.len())?;
            }
            _ => return self.set_one(field, values),
        }
        Ok(())
    }

    fn set_one(&mut self, field: &str, values: &[String]) -> Result<(), String> {
        let text = match values {
            [] => return Ok(()),
            [text] if text.is_empty() => return Ok(()),
            [text] => text,
            _ => return Err("takes one value, not a list".into()),
        };
        let declared = &mut self.declared;
        let name = || check_text(text).map(|()| Arc::<str>::from(&**text));
        match field {
            "name" => declared.name = name()?,
            "identity" => declared.identity = Some(name()?),
            "owner" => declared.owner = Some(name()?),
            "model" => declared.model = Some(name()?),
            "site" => declared.site = Some(name()?),
            "class" => declared.class = Some(name()?),
            "firmware" => declared.firmware = Some(name()?),
            "version" => declared.version = Some(check_version(text).and_then(|()| name())?),
            "certificate" => declared.certificate = Some(check_fingerprint(text).and_then(|()| name())?),
            "criticality" => declared.criticality = Some(criticality(text)?),
            "state" => declared.state = Some(text.parse::<State>()?),
            "latitude" => self.latitude = Some(degrees(text, 90.0)?),
            "longitude" => self.longitude = Some(degrees(text, 180.0)?),
            // For whoever keeps the file; not part of what is declared.
            "note" => {}
            _ => return Err(format!("is not a field; there are {}", FIELDS.join(", "))),
        }
        Ok(())
    }

    /// The declaration, if it is whole. The error names the field.
    pub(super) fn finish(mut self) -> Result<Declared, (&'static str, String)> {
        if self.declared.name.is_empty() {
            return Err(("name", "is missing".into()));
        }
        self.declared.position = match (self.latitude, self.longitude) {
            (None, None) => None,
            (Some(latitude), Some(longitude)) => Position::new(latitude, longitude),
            (Some(_), None) => return Err(("longitude", "is missing beside latitude".into())),
            (None, Some(_)) => return Err(("latitude", "is missing beside longitude".into())),
        };
        match self.declared.check() {
            Ok(()) => Ok(self.declared),
            Err(crate::Error::Field { field, what }) => Err((field, what)),
            Err(other) => Err(("name", other.to_string())),
        }
    }
}

/// The texts of a field of a declaration, as they are exported; empty is left out.
pub(super) fn texts(declared: &Declared, field: &str) -> Vec<String> {
    let one = |text: &Option<Arc<str>>| text.iter().map(|text| text.to_string()).collect();
    let many = |texts: &[Arc<str>]| texts.iter().map(|text| text.to_string()).collect();
    let number = |number: Option<f64>| number.iter().map(f64::to_string).collect();
    match field {
        "name" => vec![declared.name.to_string()],
        "identity" => one(&declared.identity),
        "client_ids" => many(&declared.client_ids),
        "owner" => one(&declared.owner),
        "model" => one(&declared.model),
        "criticality" => declared.criticality.iter().map(|word| word.as_str().to_owned()).collect(),
        "site" => one(&declared.site),
        "latitude" => number(declared.position.map(|position| position.latitude)),
        "longitude" => number(declared.position.map(|position| position.longitude)),
        "class" => one(&declared.class),
        "certificate" => one(&declared.certificate),
        "version" => one(&declared.version),
        "firmware" => one(&declared.firmware),
        "networks" => declared.networks.iter().map(Network::to_string).collect(),
        "publishes" => many(&declared.publishes),
        "subscribes" => many(&declared.subscribes),
        "state" => declared.state.iter().map(State::to_string).collect(),
        _ => Vec::new(),
    }
}

/// Whether a field is a list.
pub(super) fn is_list(field: &str) -> bool {
    matches!(field, "client_ids" | "networks" | "publishes" | "subscribes")
}

fn list(values: &[String], check: impl Fn(&str) -> Result<(), String>) -> Result<Vec<Arc<str>>, String> {
    within_list(values.len())?;
    let given = values.iter().filter(|text| !text.is_empty());
    given.map(|text| check(text).map(|()| Arc::from(&**text))).collect()
}

fn within_list(length: usize) -> Result<(), String> {
    if length > LIST_MAX { Err(format!("more than {LIST_MAX} entries")) } else { Ok(()) }
}

pub(super) fn check_text(text: &str) -> Result<(), String> {
    match text {
        "" => Err("is empty".into()),
        _ if text.len() > NAME_BYTES_MAX => Err(format!("is longer than {NAME_BYTES_MAX} bytes")),
        _ if text.chars().any(char::is_control) => Err("has control characters".into()),
        _ if text.trim() != text => Err("begins or ends with a space".into()),
        // What separates the entries of a list in CSV.
        _ if text.contains(';') => Err("has a semicolon, which separates the entries of a list".into()),
        _ => Ok(()),
    }
}

pub(super) fn check_filter(filter: &str) -> Result<(), String> {
    check_text(filter)?;
    match ravelin_mqtt::check_filter(filter, 128) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{filter:?} is not a topic filter: {error}")),
    }
}

pub(super) fn check_fingerprint(text: &str) -> Result<(), String> {
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    match fingerprint_bytes(text) {
        Some(_) if lower => Ok(()),
        _ => Err("is not a SHA-256 fingerprint: 64 lower-case hex digits".into()),
    }
}

pub(super) fn check_version(text: &str) -> Result<(), String> {
    match text {
        "3.1.1" | "5" => Ok(()),
        _ => Err(format!("{text:?} is neither 3.1.1 nor 5")),
    }
}

fn criticality(text: &str) -> Result<Criticality, String> {
    let all = [Criticality::Low, Criticality::Medium, Criticality::High, Criticality::Critical];
    all.into_iter()
        .find(|word| word.as_str() == text)
        .ok_or_else(|| format!("{text:?} is none of low, medium, high, critical"))
}

fn degrees(text: &str, most: f64) -> Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| number.abs() <= most);
    number.ok_or_else(|| format!("{text:?} is not a number of degrees between -{most} and {most}"))
}
