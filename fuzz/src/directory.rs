//! Targets for the directory: commands, files that are taken over, rules.

use ravelin_event::{CertificateAttributes, Principal};
use ravelin_protect::directory::dynsec::{Batch, Connections, DynsecLimits, broker_response};
use ravelin_protect::directory::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Small, so that limits are reached.
const LIMITS: DirectoryLimits = DirectoryLimits {
    identities_max: 6,
    groups_max: 4,
    roles_max: 5,
    classes_max: 2,
    rules_per_role_max: 6,
    rules_max: 30,
    roles_each_max: 3,
    groups_each_max: 3,
};

/// Some of everything, under names of one letter.
static BEFORE: LazyLock<Directory> = LazyLock::new(|| {
    let request = json!({"commands": [
        {"command": "createRole", "rolename": "r", "acls": [{"acltype": "publishClientSend", "topic": "a/%u/#", "allow": true}]},
        {"command": "createRole", "rolename": "s", "acls": [{"acltype": "subscribePattern", "topic": "a/+", "allow": false}]},
        {"command": "createGroup", "groupname": "g", "roles": [{"rolename": "s"}]},
        {"command": "createClient", "username": "u", "password": "p", "roles": [{"rolename": "r"}], "groups": [{"groupname": "g"}]},
        {"command": "setAnonymousGroup", "groupname": "g"},
    ]});
    applied(&Directory::new(LIMITS), request.to_string().as_bytes()).directory
});

fn applied(directory: &Directory, payload: &[u8]) -> dynsec::Outcome {
    let Ok(mut batch) = Batch::parse(payload, DynsecLimits::default()) else { panic!("it was read before") };
    batch.hash_passwords(|password| {
        assert!(!password.expose().is_empty());
        let hash = "$7$1$c2FsdA==$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
        Ok(Credentials::parse([hash]).expect("it is a hash"))
    });
    batch.apply(directory, &Connections::new())
}

fn records(directory: &Directory) -> BTreeMap<String, Value> {
    directory
        .records()
        .filter_map(|change| Some((change.key().to_string(), change.value()?.clone())))
        .collect()
}

/// What is in a directory can be read again, and is within its limits.
fn check(directory: &Directory) {
    let records = records(directory);
    let bytes: Vec<(&str, Vec<u8>)> =
        records.iter().map(|(key, value)| (key.as_str(), value.to_string().into_bytes())).collect();
    let again = Directory::from_records(LIMITS, bytes.iter().map(|(key, value)| (*key, value.as_slice())));
    let again = again.unwrap_or_else(|error| panic!("what was stored is read again: {error}"));
    assert_eq!(self::records(&again), records);
    assert!(
        directory.identity_count() <= LIMITS.identities_max && directory.role_count() <= LIMITS.roles_max
    );
    assert!(directory.role(ADMIN_ROLE).is_some_and(|role| role.rules.len() == 8), "the built-in role stays");
}

/// A request of dynamic security.
pub fn directory_commands(data: &[u8]) {
    let before = &*BEFORE;
    let answers = |response: &Value| response["responses"].as_array().map_or(0, Vec::len);
    assert!(answers(&broker_response(data, DynsecLimits::default(), &Value::Null)) <= 1001);
    if let Err(response) = Batch::parse(data, DynsecLimits::default()) {
        assert_eq!(answers(&response), 1, "one answer says what is wrong");
        return;
    }
    let outcome = applied(before, data);
    assert!(answers(&outcome.response) >= outcome.done.len(), "each command has an answer");
    let mut stored = records(before);
    for change in &outcome.changes {
        match change.value() {
            Some(value) => stored.insert(change.key().into(), value.clone()),
            None => stored.remove(change.key()),
        };
    }
    assert_eq!(records(&outcome.directory), stored, "the changes are all that changed");
    check(&outcome.directory);
}

/// A `dynamic-security.json`.
pub fn directory_import(data: &[u8]) {
    let options =
        ImportOptions { replace: true, administrators: data.len().is_multiple_of(2), defaults: true };
    let Ok((directory, _, done)) = BEFORE.import(data, options) else { return };
    check(&directory);
    if !options.administrators {
        assert!(done.administrators.iter().all(|name| !directory.is_administrator(name)));
    }
}

/// A Client Identifier, an identity, a topic and a unit of the certificate, each in a line, and then rules: a type's
/// number, `+` or `-`, and the topic.
pub fn directory_rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    let (client_id, identity, topic, unit) = (next(), next(), next(), next());
    let mut edit = Directory::new(DirectoryLimits::default()).edit();
    let _ = edit.create_group(Group::new("g"));
    let _ = edit.create_role(Role::new("r"));
    for line in lines.take(50) {
        let mut chars = line.chars();
        let (Some(number), Some(sign)) = (chars.next().and_then(|c| c.to_digit(10)), chars.next()) else {
            continue;
        };
        let Some(rule_type) = RuleType::ALL.get(number as usize) else { continue };
        let mut rule = Rule::new(*rule_type, chars.as_str(), sign == '+');
        rule.priority = line.len() as i32 % 3;
        let _ = edit.add_rule("r", rule);
    }
    let mut known = Identity::new(identity);
    known.roles.push(Membership::new("r"));
    known.groups.push(Membership::new("g"));
    let is_known = edit.create_identity(known).is_ok();
    let Ok((directory, _)) = edit.finish() else { panic!("a change that was made ends") };
    let mut who = Principal::anonymous(client_id);
    who.identity = Some(identity.into());
    who.certificate = Some("ab".into());
    who.attributes = (!unit.is_empty()).then(|| {
        Arc::new(CertificateAttributes { organizational_unit: Some(unit.into()), ..Default::default() })
    });
    for action in [
        Action::Publish { topic, qos: 1, retain: false },
        Action::Receive { topic },
        Action::Subscribe { filter: topic, group: None, qos: 0 },
        Action::Unsubscribe { filter: topic },
    ] {
        let verdict = directory.decide(&who, action);
        let reasoning = directory.explain(&who, action);
        assert_eq!(
            (verdict.allowed, verdict.explicit),
            (reasoning.allowed, reasoning.explicit),
            "{action:?}"
        );
        let by_rule = matches!(verdict.reason, Reason::Rule { .. });
        let unsubscribes = matches!(action, Action::Unsubscribe { .. });
        assert!(
            !verdict.allowed || (by_rule && is_known) || unsubscribes,
            "nothing is allowed without a rule"
        );
    }
}
