//! Declarations as JSON: a list of objects, or `{"devices": [...]}`, with the fields of the CSV form.

use super::Declared;
use super::fields::{Draft, is_list, texts};
use crate::error::{Error, Place};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Reads declarations.
///
/// # Errors
///
/// [`Error::Import`] with the line, the column and the field of the first thing that is wrong. Nothing is taken then.
pub fn import_json(text: &str) -> Result<Vec<Declared>, Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped<'a> {
        #[serde(borrow)]
        devices: Vec<&'a RawValue>,
    }
    let whole: &RawValue = serde_json::from_str(text).map_err(|error| syntax(text, text, "", &error))?;
    let inner = whole.get();
    let items: Vec<&RawValue> = match inner.starts_with('{') {
        true => serde_json::from_str::<Wrapped<'_>>(inner).map(|wrapped| wrapped.devices),
        false => serde_json::from_str(inner),
    }
    .map_err(|error| syntax(text, inner, "", &error))?;
    let (mut devices, mut names) = (Vec::with_capacity(items.len()), BTreeSet::new());
    for item in items {
        let declared = device(text, item.get())?;
        if !names.insert(declared.name.clone()) {
            let what = format!("{:?} is there twice", declared.name);
            return Err(Error::Import { place: place(text, item.get(), "name"), what });
        }
        devices.push(declared);
    }
    Ok(devices)
}

fn device(text: &str, item: &str) -> Result<Declared, Error> {
    let fields: Fields<'_> = serde_json::from_str(item).map_err(|error| syntax(text, item, "", &error))?;
    let mut draft = Draft::default();
    for (field, raw) in &fields.0 {
        let wrong = |what: String| Error::Import { place: place(text, raw.get(), field), what };
        let values = values(field, raw).map_err(wrong)?;
        draft.set(field, &values).map_err(wrong)?;
    }
    draft.finish().map_err(|(field, what)| {
        let at = fields.0.iter().find(|(name, _)| name == field).map_or(item, |(_, raw)| raw.get());
        Error::Import { place: place(text, at, field), what }
    })
}

/// An object with its fields in order, each one once.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Fields<'a>, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object that declares a device")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields: Vec<(String, &'de RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if fields.iter().any(|(known, _)| *known == name) {
                        return Err(serde::de::Error::custom(format!("field {name:?} is there twice")));
                    }
                    fields.push((name, value));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

fn values(field: &str, raw: &RawValue) -> Result<Vec<String>, String> {
    let scalar = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) if !is_list(field) => Ok(number.to_string()),
        _ if is_list(field) => Err("takes a list of texts".to_owned()),
        _ => Err("takes a text or a number".to_owned()),
    };
    match serde_json::from_str(raw.get()).map_err(|error| error.to_string())? {
        Value::Null => Ok(Vec::new()),
        Value::Array(entries) if is_list(field) => entries.iter().map(scalar).collect(),
        Value::Array(_) => Err("takes one value, not a list".into()),
        value => Ok(vec![scalar(&value)?]),
    }
}

/// Where `part` begins in `text`. It is borrowed from it: the difference of the addresses is the offset.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize).min(text.len())
}

fn place(text: &str, part: &str, field: &str) -> Place {
    let before = text.get(..offset(text, part)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { line, column, field: field.into() }
}

fn syntax(text: &str, part: &str, field: &str, error: &serde_json::Error) -> Error {
    let start = place(text, part, field);
    let (line, column) = match error.line() {
        0 => (start.line, start.column),
        1 => (start.line, start.column + error.column().saturating_sub(1)),
        line => (start.line + line - 1, error.column()),
    };
    let message = error.to_string();
    // The parser's own place is relative to the part.
    let what = message.rsplit_once(" at line ").map_or(&*message, |(what, _)| what).to_owned();
    Error::Import { place: Place { line, column, field: field.into() }, what }
}

/// Writes declarations so that [`import_json`] reads the same.
pub fn export_json<'a>(devices: impl Iterator<Item = &'a Declared>) -> String {
    let objects: Vec<Value> = devices.map(object).collect();
    let mut text = serde_json::to_string_pretty(&json!({ "devices": objects })).unwrap_or_default();
    text.push('\n');
    text
}

fn object(declared: &Declared) -> Value {
    let mut object = Map::new();
    for field in super::FIELDS {
        let texts = texts(declared, field);
        if texts.is_empty() {
            continue;
        }
        let value = match field {
            "latitude" => json!(declared.position.map(|position| position.latitude)),
            "longitude" => json!(declared.position.map(|position| position.longitude)),
            _ if is_list(field) => json!(texts),
            _ => json!(texts[0]),
        };
        object.insert(field.into(), value);
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::super::{Criticality, export_csv, import_csv};
    use super::*;
    use crate::lifecycle::State;
    use crate::place::Position;
    use proptest::prelude::*;

    #[test]
    fn an_error_names_line_column_and_field() {
        for (text, expected) in [
            (
                "[{\"name\": \"m1\",\n  \"networks\": [\"10.0.0.0/99\"]}]",
                "line 2, column 15, field \"networks\": \"10.0.0.0/99\" is not a network",
            ),
            ("[{\"name\": \"m1\", \"colour\": 1}]", "line 1, column 27, field \"colour\": is not a field"),
            (
                "[{\"name\": \"m1\"},\n {\"name\": \"m1\"}]",
                "line 2, column 2, field \"name\": \"m1\" is there twice",
            ),
            ("[{\"name\": \"m1\"\n \"owner\": 1}]", "line 2, column 2: expected `,` or `}`"),
            ("[{\"name\": \"m1\", \"name\": \"m2\"}]", "line 1, column 29: field \"name\" is there twice"),
            ("[1]", "line 1, column 2: invalid type: integer `1`, expected an object that declares a device"),
            ("{\"device\": []}", "line 1, column 9: unknown field `device`, expected `devices`"),
            ("[{\"owner\": \"x\"}]", "line 1, column 2, field \"name\": is missing"),
            (
                "[{\"name\": \"m1\", \"owner\": [\"x\"]}]",
                "line 1, column 26, field \"owner\": takes one value, not a list",
            ),
            (
                "[{\"name\": \"m1\", \"networks\": {}}]",
                "line 1, column 29, field \"networks\": takes a list of texts",
            ),
            (
                "[{\"name\": \"m1\", \"latitude\": 91, \"longitude\": 1}]",
                "line 1, column 29, field \"latitude\": \"91\" is not a number of degrees",
            ),
            ("", "line 1"),
        ] {
            let error = import_json(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }

    fn declared() -> impl Strategy<Value = Declared> {
        let word = "[a-zA-Z0-9 ,\"'é<&=]{0,10}[a-z]";
        let maybe = || prop::option::of(word.prop_map(|text| text.trim().into()));
        let words = || prop::collection::vec(word.prop_map(|text| text.trim().into()), 0..3);
        let network = (any::<u32>(), 0u8..=32).prop_map(|(bits, prefix)| {
            crate::network::Network::around(std::net::Ipv4Addr::from_bits(bits).into(), prefix)
        });
        let position = prop::option::of((-90.0f64..90.0, -180.0f64..180.0));
        let first = (maybe(), words(), maybe(), maybe(), maybe(), position, maybe());
        let second = (prop::collection::vec(network, 0..3), words(), words(), any::<bool>());
        (first, second).prop_map(|(first, second)| Declared {
            name: "x".into(),
            identity: first.0,
            client_ids: first.1,
            owner: first.2,
            model: first.3,
            site: first.4,
            position: first.5.and_then(|(latitude, longitude)| Position::new(latitude, longitude)),
            class: first.6,
            networks: second.0,
            publishes: second.1,
            subscribes: second.2,
            criticality: second.3.then_some(Criticality::High),
            certificate: second.3.then(|| "0f".repeat(32).into()),
            version: second.3.then(|| "5".into()),
            firmware: second.3.then(|| ">=1.2".into()),
            state: second.3.then_some(State::Retired),
        })
    }

    proptest! {
        #[test]
        fn what_is_exported_is_imported_the_same(devices in prop::collection::vec(declared(), 0..5)) {
            let mut devices = devices;
            for (number, declared) in devices.iter_mut().enumerate() {
                declared.name = format!("device {number}").into();
            }
            prop_assert_eq!(&import_json(&export_json(devices.iter())).unwrap(), &devices);
            prop_assert_eq!(&import_csv(&export_csv(devices.iter())).unwrap(), &devices);
        }

        #[test]
        fn no_text_makes_the_imports_panic(text in "[\\[\\]{}\",:a-z0-9;é\n\r]{0,80}") {
            let _ = import_json(&text);
            let _ = import_csv(&text);
            let _ = import_csv(&format!("name,owner\n{text}"));
        }
    }
}
