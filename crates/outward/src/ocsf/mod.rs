//! OCSF 1.8: the Open Cybersecurity Schema Framework, in JSON.
//!
//! OCSF has no class of MQTT. An alarm is a Detection Finding (2004), an action a Remediation Activity (7001, 7004), an order
//! an API Activity (6003), a log-in an Authentication (3002), a refusal of a right an Authorize Session (3003), a connection a
//! Network Activity (4001), a change of the configuration a Device Config State Change (5019); [`TABLE`] has every event. All
//! of the event is in `unmapped.mqtt` as well, with the names that the log has.

mod event;
mod finding;
mod table;

pub use table::{Class, Mapping, TABLE, mapping};

use crate::{Item, Origin, What};
use ravelin_event::Severity;
use serde_json::{Map, Value, json};

/// The version of the schema.
pub const VERSION: &str = "1.8.0";

/// `item` as an event of OCSF. `uid` is the same each time that this is sent.
pub fn value(origin: &Origin, item: &Item, uid: &str) -> Value {
    match &item.what {
        What::Notice(notice) => finding::of(origin, item, notice, uid),
        _ => of_fields(origin, item.at_ms, item.id(), item.severity(), item.fields(), uid),
    }
}

/// An event by its id and fields, as the log has them. What has no class of its own is a General Application Error that is
/// informational, so that nothing that was asked for is lost.
pub fn of_fields(
    origin: &Origin,
    at_ms: u64,
    id: &str,
    severity: Severity,
    fields: Map<String, Value>,
    uid: &str,
) -> Value {
    event::of(origin, at_ms, id, severity, fields, uid)
}

/// What all classes have.
struct Base<'a> {
    origin: &'a Origin,
    at_ms: u64,
    id: &'a str,
    severity: Severity,
    uid: &'a str,
}

impl Base<'_> {
    fn of(&self, class: Class, activity: u32) -> Map<String, Value> {
        let uid = class.uid();
        let mut event = Map::new();
        let mut put = |name: &str, value: Value| drop(event.insert(name.into(), value));
        put("class_uid", uid.into());
        put("category_uid", (uid / 1000).into());
        put("activity_id", activity.into());
        put("type_uid", (u64::from(uid) * 100 + u64::from(activity)).into());
        put("time", self.at_ms.into());
        put("severity_id", severity_id(self.severity).into());
        put("severity", severity_name(self.severity).into());
        if activity == 99 {
            put("activity_name", self.id.into());
        }
        let mut product =
            json!({ "name": "Ravelin", "vendor_name": "Ravelin", "version": self.origin.version });
        product["uid"] = self.origin.node.clone().into();
        put(
            "metadata",
            json!({
                "version": VERSION,
                "product": product,
                "uid": self.uid,
                "event_code": self.id,
                "log_name": "ravelin",
                "log_provider": self.origin.host,
            }),
        );
        event
    }
}

fn severity_id(severity: Severity) -> u8 {
    match severity {
        Severity::Informational => 1,
        Severity::Low => 2,
        Severity::Medium => 3,
        Severity::High => 4,
        Severity::Critical => 5,
    }
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational => "Informational",
        Severity::Low => "Low",
        Severity::Medium => "Medium",
        Severity::High => "High",
        Severity::Critical => "Critical",
    }
}

/// A technique of ATT&CK for ICS.
fn attack(technique: &str) -> Value {
    json!([{ "technique": { "uid": technique }, "version": "18.1" }])
}

/// Where a client was.
fn endpoint(address: std::net::SocketAddr) -> Value {
    let ip = address.ip().to_canonical();
    json!({ "ip": ip.to_string(), "port": address.port() })
}

/// Who it was: the identity that was proven or tried, and the Client Identifier.
fn user(identity: Option<&str>, client_id: Option<&str>) -> Value {
    match (identity, client_id) {
        (Some(identity), Some(client_id)) => json!({ "name": identity, "uid": client_id }),
        (Some(identity), None) => json!({ "name": identity }),
        (None, Some(client_id)) => json!({ "uid": client_id }),
        (None, None) => json!({ "name": "anonymous" }),
    }
}
