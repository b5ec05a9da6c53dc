//! The fields of what happened, as every format reads them.

use serde_json::{Map, Value};
use std::net::SocketAddr;

/// Longest text that is told, in bytes: a Client Identifier or a topic may have 65,535.
pub(crate) const TEXT_BYTES_MAX: usize = 1024;

/// The fields of an object, without those that say nothing, and with every text cut.
pub(crate) fn clipped(value: Value) -> Map<String, Value> {
    let Value::Object(mut fields) = value else { return Map::new() };
    fields.retain(|_, value| !value.is_null());
    fields.values_mut().for_each(clip);
    fields
}

fn clip(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > TEXT_BYTES_MAX => {
            let mut end = TEXT_BYTES_MAX;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push('…');
        }
        Value::Array(items) => items.iter_mut().for_each(clip),
        Value::Object(fields) => fields.values_mut().for_each(clip),
        _ => {}
    }
}

/// A field that is a text.
pub(crate) fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    fields.get(name).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Where the client was, where one is meant.
pub(crate) fn address(fields: &Map<String, Value>) -> Option<SocketAddr> {
    let address: SocketAddr = text(fields, "address")?.parse().ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
