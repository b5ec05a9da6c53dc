//! The shapes of answers.

use super::field::Command;
use crate::directory::model::{Group, Identity, Role};
use crate::directory::record::{RoleRecord, group_refs, role_refs};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// How Mosquitto writes the commands that answer with data.
const WITH_DATA: [&str; 9] = [
    "getClient",
    "listClients",
    "getGroup",
    "listGroups",
    "getAnonymousGroup",
    "getRole",
    "listRoles",
    "getDefaultACLAccess",
    "getDetails",
];

/// The answer to a command that was refused.
pub(super) fn failed(command: &str, error: &str, correlation: Option<&str>) -> Value {
    let mut answer = json!({ "command": command, "error": error });
    if let Some(correlation) = correlation {
        answer["correlationData"] = correlation.into();
    }
    answer
}

/// The answer to a command that was done.
pub(super) fn given(command: &Command, data: Option<Value>) -> Value {
    let canonical = WITH_DATA.iter().find(|known| known.eq_ignore_ascii_case(&command.given_name));
    let name = canonical.map_or(command.given_name.as_str(), |name| name);
    let mut answer = json!({ "command": name });
    if let Some(data) = data {
        answer["data"] = data;
    }
    if let Some(correlation) = command.correlation() {
        answer["correlationData"] = correlation.into();
    }
    answer
}

fn with_texts(object: &mut Map<String, Value>, name: Option<&str>, description: Option<&str>) {
    if let Some(name) = name {
        object.insert("textname".into(), name.into());
    }
    if let Some(description) = description {
        object.insert("textdescription".into(), description.into());
    }
}

/// An identity, without what proves it. Mosquitto knows nothing of classes and fingerprints, and tools pass them over.
pub(super) fn client(identity: &Identity, addresses: &[String]) -> Value {
    let mut object = Map::new();
    object.insert("username".into(), (*identity.name).into());
    if let Some(client_id) = identity.client_id.as_deref() {
        object.insert("clientid".into(), client_id.into());
    }
    with_texts(&mut object, identity.text_name.as_deref(), identity.text_description.as_deref());
    if identity.disabled {
        object.insert("disabled".into(), true.into());
    }
    if let Some(class) = identity.class.as_deref() {
        object.insert("class".into(), class.into());
    }
    if !identity.fingerprints.is_empty() {
        object.insert("fingerprints".into(), json!(identity.fingerprints));
    }
    object.insert("roles".into(), json!(role_refs(&identity.roles)));
    object.insert("groups".into(), json!(group_refs(&identity.groups)));
    let connections: Vec<Value> = addresses.iter().map(|address| json!({ "address": address })).collect();
    object.insert("connections".into(), connections.into());
    Value::Object(object)
}

/// A group and who is in it.
pub(super) fn group(group: &Group, members: &[Arc<str>]) -> Value {
    let mut object = Map::new();
    object.insert("groupname".into(), (*group.name).into());
    with_texts(&mut object, group.text_name.as_deref(), group.text_description.as_deref());
    let clients: Vec<Value> = members.iter().map(|name| json!({ "username": **name })).collect();
    object.insert("clients".into(), clients.into());
    object.insert("roles".into(), json!(role_refs(&group.roles)));
    Value::Object(object)
}

/// A role and its rules.
pub(super) fn role(role: &Role) -> Value {
    json!(RoleRecord::of(role))
}

/// `{"totalCount":..,"clients":[..]}`: at most as many as are asked for, and as there is room for.
pub(super) fn list(
    command: &Command,
    what: &str,
    total: usize,
    mut room: usize,
    items: impl Iterator<Item = Value>,
) -> Value {
    let count = command.number("count").and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
    let mut listed = Vec::new();
    for item in items.take(count) {
        let bytes = item.to_string().len() + 1;
        if bytes > room {
            break;
        }
        room -= bytes;
        listed.push(item);
    }
    json!({ "totalCount": total, what: listed })
}
