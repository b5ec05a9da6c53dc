//! Every other event, by its id and its fields.

use super::table::is_of_the_network;
use super::{Base, Class, Mapping, attack, endpoint, mapping, user};
use crate::{Origin, fields};
use ravelin_event::Severity;
use serde_json::{Map, Value, json};

type Fields = Map<String, Value>;

pub(super) fn of(
    origin: &Origin,
    at_ms: u64,
    id: &str,
    severity: Severity,
    fields: Fields,
    uid: &str,
) -> Value {
    let base = Base { origin, at_ms, id, severity, uid };
    let (class, activity) = match mapping(id) {
        Some(Mapping::To(Class::RemediationActivity, activity)) => remediation(&fields, activity),
        Some(Mapping::To(class, activity)) => (class, activity),
        Some(Mapping::Not(_)) | None => (Class::ApplicationError, 99),
    };
    let mut event = base.of(class, activity);
    fill(&mut event, class, &base, &fields);
    if let Some(message) = message(&fields) {
        event.insert("message".into(), message.into());
    }
    if let Some((status, detail)) = status(id, &fields) {
        event.insert("status_id".into(), status.into());
        if let Some(detail) = detail {
            event.insert("status_detail".into(), detail.into());
        }
    }
    if let Some(technique) = fields::text(&fields, "technique") {
        event.insert("attacks".into(), attack(technique));
    }
    event.insert("unmapped".into(), json!({ "mqtt": fields }));
    Value::Object(event)
}

/// 1: isolate, 2: evict, 3: restore, 4: harden; what waits for approval, or was refused, is none of them.
fn remediation(fields: &Fields, activity: u32) -> (Class, u32) {
    let action = fields::text(fields, "action").unwrap_or_default();
    let class = match is_of_the_network(action) {
        true => Class::NetworkRemediationActivity,
        false => Class::RemediationActivity,
    };
    let activity = match (activity, action) {
        (1, "disconnect" | "ban" | "revoke_certificate" | "revoke_credential") => 2,
        (1, "throttle" | "posture") => 4,
        (activity, _) => activity,
    };
    (class, activity)
}

fn fill(event: &mut Fields, class: Class, base: &Base<'_>, fields: &Fields) {
    let mut put = |name: &str, value: Value| drop(event.insert(name.into(), value));
    let address = fields::address(fields);
    let (identity, client_id) = (fields::text(fields, "identity"), fields::text(fields, "client_id"));
    let node = json!({ "name": base.origin.node });
    let source = address.map(endpoint);
    match class {
        Class::DetectionFinding => put("finding_info", finding(base, fields)),
        Class::AccountChange => {
            put("user", user(identity, client_id));
            source.into_iter().for_each(|source| put("src_endpoint", source));
        }
        Class::Authentication => {
            put("user", user(identity, client_id));
            put("service", json!({ "name": "mqtt" }));
            put("dst_endpoint", node);
            put("is_remote", true.into());
            source.into_iter().for_each(|source| put("src_endpoint", source));
        }
        Class::AuthorizeSession => {
            put("user", user(identity, client_id));
            put("privileges", json!([base.id.split('.').next().unwrap_or_default()]));
            put("dst_endpoint", node);
            source.into_iter().for_each(|source| put("src_endpoint", source));
        }
        Class::EntityManagement => put("entity", entity(base, fields)),
        Class::NetworkActivity => {
            put("connection_info", json!({ "direction_id": 1, "protocol_name": "tcp" }));
            put("app_name", "mqtt".into());
            let listens = base.id == "node.listening";
            put("dst_endpoint", if listens { source.clone().unwrap_or(node) } else { node });
            source.filter(|_| !listens).into_iter().for_each(|source| put("src_endpoint", source));
            if identity.is_some() || client_id.is_some() {
                put("actor", json!({ "user": user(identity, client_id) }));
            }
        }
        Class::InventoryInfo => put("device", device(fields::text(fields, "device"), base)),
        Class::DeviceConfigStateChange => put("device", device(None, base)),
        Class::ApplicationLifecycle => {
            let version = &base.origin.version;
            put("app", json!({ "name": "Ravelin", "vendor_name": "Ravelin", "version": version }));
        }
        Class::ApiActivity => api(&mut put, base, fields, source),
        Class::ApplicationError => {}
        Class::RemediationActivity | Class::NetworkRemediationActivity => {
            let order = fields.get("order").or_else(|| fields.get("subject"));
            let order = order.map(|order| order.to_string().trim_matches('"').to_owned());
            put("command_uid", format!("{}/order/{}", base.origin.node, order.unwrap_or_default()).into());
            put("actor", json!({ "user": { "name": fields::text(fields, "by").unwrap_or("ravelin") } }));
            if class == Class::NetworkRemediationActivity {
                put("connection_info", json!({ "direction_id": 1, "protocol_name": "tcp" }));
            }
        }
    }
}

fn api(put: &mut impl FnMut(&str, Value), base: &Base<'_>, fields: &Fields, source: Option<Value>) {
    let actor = ["actor", "identity", "client_id"].iter().find_map(|name| fields::text(fields, name));
    put("actor", json!({ "user": { "name": actor.unwrap_or("unknown") } }));
    let operation = ["action", "path"].iter().find_map(|name| fields::text(fields, name));
    put(
        "api",
        json!({
            "operation": operation.unwrap_or(base.id),
            "service": { "name": fields::text(fields, "via").unwrap_or("mqtt") },
        }),
    );
    // An order of the node itself, or of a file, comes from nowhere else.
    let by = fields::text(fields, "client_id").or(fields::text(fields, "via")).unwrap_or("node");
    put("src_endpoint", source.unwrap_or_else(|| json!({ "name": by })));
    let about = ["subject", "filter", "topic"].iter().find_map(|name| fields::text(fields, name));
    if let Some(about) = about {
        put("resources", json!([{ "name": about }]));
    }
}

fn finding(base: &Base<'_>, fields: &Fields) -> Value {
    let about = ["alarm", "client_id", "device", "certificate", "detector"].iter();
    let about = about.filter_map(|name| fields.get(*name)).map(|value| value.to_string()).next();
    let about = about.unwrap_or_default();
    let uid = format!("{}/{}/{}", base.origin.node, base.id, about.trim_matches('"'));
    let mut info =
        json!({ "uid": uid, "title": base.id, "data_sources": ["mqtt"], "created_time": base.at_ms });
    if let Some(why) = message(fields) {
        info["desc"] = why.into();
    }
    info
}

fn entity(base: &Base<'_>, fields: &Fields) -> Value {
    let names = ["serial", "subject", "identity", "device"];
    let name = names.iter().find_map(|name| fields::text(fields, name)).unwrap_or("unknown");
    let of = base.id.split('.').next().unwrap_or_default();
    json!({ "name": name, "type": if of == "certificate" { "Certificate" } else { "Device" } })
}

/// 1: a server, the node itself; 7: a device of the internet of things.
fn device(name: Option<&str>, base: &Base<'_>) -> Value {
    match name {
        Some(name) => json!({ "type_id": 7, "name": name }),
        None => json!({ "type_id": 1, "name": base.origin.node, "hostname": base.origin.host }),
    }
}

/// The field that says most.
fn message(fields: &Fields) -> Option<String> {
    let names =
        ["summary", "effect", "detail", "why", "error", "warning", "meaning", "what", "closes", "reason"];
    names.iter().find_map(|name| fields::text(fields, name)).map(str::to_owned)
}

/// 1: success, 2: failure; and why, in the node's words. What neither succeeds nor fails has none.
fn status(id: &str, fields: &Fields) -> Option<(u8, Option<String>)> {
    let words = ["why", "error", "detail", "cause"];
    let detail = words.iter().find_map(|name| fields::text(fields, name)).map(str::to_owned);
    if let Some(done) = fields.get("done").and_then(Value::as_bool) {
        return Some((if done { 1 } else { 2 }, detail));
    }
    let (_, last) = id.split_once('.')?;
    match last {
        "refused" | "failed" | "files_refused" | "reload_failed" | "exceeded" | "undeliverable" => {
            Some((2, detail))
        }
        "connected" | "reauthenticated" | "taken" | "issued" | "reloaded" | "signed" => Some((1, None)),
        _ => None,
    }
}
