//! The topics of monitors: what the node alone publishes below `$MONITOR`, and what is in the messages.
//!
//! | topic | retained | what |
//! |---|---|---|
//! | `$MONITOR/alarms/SEVERITY/DETECTOR` | no | what became of an alarm |
//! | `$MONITOR/orders/ACTION` | no | an action was proposed, taken, refused, has failed or ended |
//! | `$MONITOR/trust/CLIENT` | yes | the trust of a client |
//! | `$MONITOR/status` | yes | how the node is |
//! | `$MONITOR/tap/TOPIC` | no | that somebody published to TOPIC |

use crate::{Item, Origin, What, native};
use serde_json::Value;

/// The first level of all of them.
pub const ROOT: &str = "$MONITOR";
/// Below it: who published what, without payload.
pub const TAP: &str = "$MONITOR/tap";

/// Topic, message, and whether it is retained; `None`: monitors are not told of it.
pub fn message(origin: &Origin, item: &Item, uid: &str) -> Option<(String, String, bool)> {
    let value = native::value(origin, item, uid);
    let (topic, retained) = match &item.what {
        What::Notice(notice) => {
            let alarm = notice.alarm();
            (format!("{ROOT}/alarms/{}/{}", item.severity().name(), level(&alarm.detector)), false)
        }
        What::Event(record) => topic_of(record.event.id(), &value["fields"])?,
        What::Test { .. } => (format!("{ROOT}/test"), false),
    };
    Some((topic, value.to_string(), retained))
}

fn topic_of(id: &str, fields: &Value) -> Option<(String, bool)> {
    let text = |name: &str| fields[name].as_str().unwrap_or_default();
    match id {
        "trust.changed" => Some((format!("{ROOT}/trust/{}", level(text("client_id"))), true)),
        "posture.changed" => Some((format!("{ROOT}/orders/posture"), false)),
        id if id.starts_with("action.") => Some((format!("{ROOT}/orders/{}", level(text("action"))), false)),
        _ => None,
    }
}

/// One level of a topic out of any text: what would divide it, or mean more than itself, is written as `%` and two digits.
pub fn level(text: &str) -> String {
    let mut level = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '/' | '+' | '#' | '%' => level.push_str(&format!("%{:02X}", c as u32)),
            c if crate::text::must_escape(c) => level.push('_'),
            c => level.push(c),
        }
    }
    if level.is_empty() { "-".into() } else { level }
}
