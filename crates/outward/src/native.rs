//! JSON of our own: an event as the log has it, an alarm as it is everywhere.

use crate::{Item, Origin, What};
use serde_json::{Value, json};

/// `{"at_ms":..,"id":..,"node":..,"uid":..,"severity":..,"fields":{..}}`, or `"alarm":{..}` in place of `fields`.
/// `uid` is the same each time that this is sent, and different from that of anything else: by it a receiver tells
/// what it has got twice.
pub fn value(origin: &Origin, item: &Item, uid: &str) -> Value {
    let body = if matches!(item.what, What::Notice(_)) { "alarm" } else { "fields" };
    json!({
        "at_ms": item.at_ms,
        "id": item.id(),
        "node": origin.node,
        "uid": uid,
        "severity": item.severity().name(),
        body: item.fields(),
    })
}
