//! JSON birth messages.

use super::Value;
use serde_json::Value as Json;

/// The document; `None` if it is not JSON. How deep it may be nested is bounded by the parser (128), how long by the caller.
pub(super) fn parse(payload: &[u8]) -> Option<Json> {
    serde_json::from_slice(payload).ok()
}

/// The scalar at a JSON pointer.
pub(super) fn find(document: &Json, pointer: &str) -> Option<Value> {
    match document.pointer(pointer)? {
        Json::String(text) => Some(Value::Text(text.clone())),
        Json::Number(number) => number.as_f64().map(Value::Number),
        Json::Bool(value) => Some(Value::Text(value.to_string())),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}
