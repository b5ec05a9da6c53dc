//! Syslog, as RFC 5424 has it.
//!
//! ```text
//! <106>1 2026-11-24T06:53:43.007Z bus-1 ravelin 4711 alarm.raised [ravelin@32473 node="plant" ...] summary
//! ```
//!
//! The message is printable ASCII whatever a client chose (other characters become `\u` and their UTF-16), so it needs no
//! byte order mark. The values of the structured data are UTF-8, as RFC 5424 demands, with `"`, `\` and `]` escaped; control
//! characters, which it advises against, become `\\u` and their number. 32473 is the number that RFC 5612 keeps for examples:
//! who has one of their own names it in the configuration.

use crate::text::{ascii_json, must_escape, name, push_ascii};
use crate::time::rfc3339;
use crate::{Item, Origin, fields, ocsf};
use ravelin_event::Severity;
use serde_json::{Map, Value};
use std::fmt::Write;

/// The enterprise number of the structured data's name.
pub const ENTERPRISE: u32 = 32_473;
/// Longest value of structured data.
const VALUE_BYTES_MAX: usize = 255;
/// Most of them.
const PARAMETERS_MAX: usize = 24;

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// 0 to 23: 10 is `authpriv`, 16 to 23 are `local0` to `local7`.
    pub facility: u8,
    /// The enterprise number of the structured data's name.
    pub enterprise: u32,
    /// The message is OCSF in JSON rather than a sentence.
    pub ocsf: bool,
}

/// The whole message, without framing. `uid` is the same each time that this is sent.
pub fn message(origin: &Origin, item: &Item, uid: &str, style: Style) -> String {
    let fields = item.fields();
    let priority = u16::from(style.facility.min(23)) * 8 + level(item.severity());
    let mut line = format!(
        "<{priority}>1 {} {} ravelin {} {} ",
        rfc3339(item.at_ms),
        name(&origin.host, 255),
        origin.process,
        name(item.id(), 32)
    );
    push_data(&mut line, origin, item, uid, &fields, style.enterprise);
    line.push(' ');
    if style.ocsf {
        line.push_str(&ascii_json(&ocsf::value(origin, item, uid).to_string()));
    } else {
        let sentence = fields::text(&fields, "summary").map(str::to_owned);
        push_ascii(&mut line, &sentence.unwrap_or_else(|| plain(item, &fields)), |_| false);
    }
    line
}

/// RFC 5425, 4.3: the length in octets, a space, the message.
pub fn frame(message: &str) -> Vec<u8> {
    let mut frame = format!("{} ", message.len()).into_bytes();
    frame.extend(message.as_bytes());
    frame
}

/// Severities as RFC 5424 numbers them.
fn level(severity: Severity) -> u16 {
    match severity {
        Severity::Critical => 1,
        Severity::High => 2,
        Severity::Medium => 4,
        Severity::Low => 5,
        Severity::Informational => 6,
    }
}

fn push_data(
    line: &mut String,
    origin: &Origin,
    item: &Item,
    uid: &str,
    fields: &Map<String, Value>,
    enterprise: u32,
) {
    let _ = write!(line, "[ravelin@{enterprise}");
    push_parameter(line, "node", &origin.node);
    push_parameter(line, "uid", uid);
    push_parameter(line, "severity", item.severity().name());
    for (label, value) in fields.iter().take(PARAMETERS_MAX) {
        match value {
            Value::String(text) => push_parameter(line, label, text),
            Value::Number(number) => push_parameter(line, label, &number.to_string()),
            Value::Bool(truth) => push_parameter(line, label, &truth.to_string()),
            // What an alarm is about: `client:meter-7`.
            Value::Object(object) if label == "subject" => {
                let kind = fields::text(object, "kind").unwrap_or_default();
                let about = object.get("name").and_then(Value::as_str).map(|name| format!("{kind}:{name}"));
                push_parameter(line, label, about.as_deref().unwrap_or(kind));
            }
            _ => {}
        }
    }
    line.push(']');
}

fn push_parameter(line: &mut String, label: &str, value: &str) {
    // SD-NAME: at most 32 characters, none of `=`, space, `]`, `"`.
    let _ = write!(line, " {}=\"", name(label, 32));
    let mut length = 0;
    for c in value.chars() {
        length += c.len_utf8();
        if length > VALUE_BYTES_MAX {
            line.push('…');
            break;
        }
        match c {
            '"' | '\\' | ']' => {
                line.push('\\');
                line.push(c);
            }
            c if must_escape(c) => {
                let _ = write!(line, "\\\\u{:04x}", c as u32);
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

/// The id and its fields, for what has no sentence.
fn plain(item: &Item, fields: &Map<String, Value>) -> String {
    let mut sentence = item.id().to_owned();
    for (label, value) in fields {
        match value {
            Value::String(text) => {
                let _ = write!(sentence, " {label}={text:?}");
            }
            other => {
                let _ = write!(sentence, " {label}={other}");
            }
        }
    }
    sentence
}
