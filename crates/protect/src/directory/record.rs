//! The durable form of a directory: one record for each identity, group, role and class, and one for the settings.

use super::limits::PRIORITY_DEFAULT;
use super::model::{Class, Defaults, Group, Identity, Membership, Role, Rule, RuleType};
use super::usage::Usage;
use super::{Credentials, DirectoryError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// One record that changed: its key, and its value or `None` if it is gone.
#[derive(Clone, PartialEq, Eq)]
pub struct Change {
    key: String,
    value: Option<Value>,
}

impl Change {
    /// The key in the store.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value, or `None` if the record is gone. It may hold password hashes: it is for the encrypted store.
    pub fn value(&self) -> Option<&Value> {
        self.value.as_ref()
    }

    fn set(kind: &str, name: &str, value: impl Serialize) -> Change {
        Change { key: format!("{kind}/{name}"), value: serde_json::to_value(value).ok() }
    }

    pub(super) fn identity(identity: &Identity) -> Change {
        Change::set("identity", &identity.name, IdentityRecord::of(identity))
    }

    pub(super) fn group(group: &Group) -> Change {
        Change::set("group", &group.name, GroupRecord::of(group))
    }

    pub(super) fn role(role: &Role) -> Change {
        Change::set("role", &role.name, RoleRecord::of(role))
    }

    pub(super) fn class(class: &Class) -> Change {
        Change::set("class", &class.name, class)
    }

    pub(super) fn settings(settings: &Settings) -> Change {
        Change::set("settings", "", settings)
    }

    pub(super) fn gone(kind: &str, name: &str) -> Change {
        Change { key: format!("{kind}/{name}"), value: None }
    }
}

/// What is about the directory as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    #[serde(rename = "anonymousGroup")]
    pub anonymous_group: Option<Arc<str>>,
    #[serde(rename = "defaultGroup")]
    pub default_group: Option<Arc<str>>,
    #[serde(rename = "defaultACLAccess", with = "defaults")]
    pub defaults: Defaults,
    #[serde(rename = "changeIndex")]
    pub change_index: u64,
}

mod defaults {
    use super::Defaults;
    use serde::{Deserialize, Deserializer, Serializer};
    use std::collections::BTreeMap;

    pub fn serialize<S: Serializer>(defaults: &Defaults, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(defaults.named())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Defaults, D::Error> {
        let mut defaults = Defaults::default();
        for (name, allow) in BTreeMap::<String, bool>::deserialize(deserializer)? {
            defaults.set(&name, allow);
        }
        Ok(defaults)
    }
}

/// What a record is, read again.
pub(super) enum Loaded {
    Identity(Identity),
    Group(Group),
    Role(Role),
    Class(Class),
    Settings(Settings),
}

/// Reads a record.
pub(super) fn load(key: &str, value: &[u8]) -> Result<Loaded, DirectoryError> {
    let bad = |detail: String| DirectoryError::Record { key: key.into(), detail };
    let Some((kind, name)) = key.split_once('/') else {
        return Err(bad("the key has no kind".into()));
    };
    fn read<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, String> {
        serde_json::from_slice(value).map_err(|error| error.to_string())
    }
    let (loaded, own) = match kind {
        "identity" => {
            let identity = read::<IdentityRecord>(value).map_err(bad)?.into_identity()?;
            let own = identity.name.clone();
            (Loaded::Identity(identity), own)
        }
        "group" => {
            let group = read::<GroupRecord>(value).map_err(bad)?.into_group();
            let own = group.name.clone();
            (Loaded::Group(group), own)
        }
        "role" => {
            let role = read::<RoleRecord>(value).map_err(bad)?.into_role();
            let own = role.name.clone();
            (Loaded::Role(role), own)
        }
        "class" => {
            let class = read::<Class>(value).map_err(bad)?;
            let own = class.name.clone();
            (Loaded::Class(class), own)
        }
        "settings" => (Loaded::Settings(read(value).map_err(bad)?), "".into()),
        other => return Err(bad(format!("{other:?} is not a kind of record"))),
    };
    if *own == *name { Ok(loaded) } else { Err(bad("its name is another one".into())) }
}

/// A role, as it is referred to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RoleRef {
    rolename: Arc<str>,
    #[serde(default = "priority_default", skip_serializing_if = "is_priority_default")]
    priority: i32,
}

/// A group, as it is referred to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct GroupRef {
    groupname: Arc<str>,
    #[serde(default = "priority_default", skip_serializing_if = "is_priority_default")]
    priority: i32,
}

fn priority_default() -> i32 {
    PRIORITY_DEFAULT
}

fn is_priority_default(priority: &i32) -> bool {
    *priority == PRIORITY_DEFAULT
}

/// The roles of an identity or a group, as JSON has them.
pub(super) fn role_refs(memberships: &[Membership]) -> Vec<RoleRef> {
    let refs = memberships.iter();
    refs.map(|role| RoleRef { rolename: role.name.clone(), priority: role.priority }).collect()
}

/// The groups of an identity, as JSON has them.
pub(super) fn group_refs(memberships: &[Membership]) -> Vec<GroupRef> {
    let refs = memberships.iter();
    refs.map(|group| GroupRef { groupname: group.name.clone(), priority: group.priority }).collect()
}

fn roles_of(refs: Vec<RoleRef>) -> Vec<Membership> {
    refs.into_iter().map(|role| Membership { name: role.rolename, priority: role.priority }).collect()
}

#[derive(Serialize, Deserialize)]
struct IdentityRecord {
    username: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    clientid: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    textname: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    textdescription: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    disabled: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    roles: Vec<RoleRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    groups: Vec<GroupRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    class: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fingerprints: Vec<Arc<str>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    credentials: Vec<String>,
}

impl IdentityRecord {
    fn of(identity: &Identity) -> IdentityRecord {
        IdentityRecord {
            username: identity.name.clone(),
            clientid: identity.client_id.clone(),
            textname: identity.text_name.clone(),
            textdescription: identity.text_description.clone(),
            disabled: identity.disabled,
            roles: role_refs(&identity.roles),
            groups: group_refs(&identity.groups),
            class: identity.class.clone(),
            fingerprints: identity.fingerprints.clone(),
            credentials: identity.credentials.lines().map(String::from).collect(),
        }
    }

    fn into_identity(self) -> Result<Identity, DirectoryError> {
        let groups = self.groups.into_iter();
        Ok(Identity {
            name: self.username,
            client_id: self.clientid,
            credentials: Credentials::parse(self.credentials.iter().map(String::as_str))?,
            fingerprints: self.fingerprints,
            class: self.class,
            groups: groups
                .map(|group| Membership { name: group.groupname, priority: group.priority })
                .collect(),
            roles: roles_of(self.roles),
            disabled: self.disabled,
            text_name: self.textname,
            text_description: self.textdescription,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct GroupRecord {
    groupname: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    textname: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    textdescription: Option<Box<str>>,
    #[serde(default)]
    roles: Vec<RoleRef>,
}

impl GroupRecord {
    fn of(group: &Group) -> GroupRecord {
        GroupRecord {
            groupname: group.name.clone(),
            textname: group.text_name.clone(),
            textdescription: group.text_description.clone(),
            roles: role_refs(&group.roles),
        }
    }

    fn into_group(self) -> Group {
        Group {
            name: self.groupname,
            roles: roles_of(self.roles),
            text_name: self.textname,
            text_description: self.textdescription,
        }
    }
}

/// A role, as JSON has it.
#[derive(Serialize, Deserialize)]
pub(super) struct RoleRecord {
    rolename: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    textname: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    textdescription: Option<Box<str>>,
    #[serde(default = "yes")]
    allowwildcardsubs: bool,
    #[serde(default)]
    acls: Vec<RuleRecord>,
}

fn yes() -> bool {
    true
}

/// A rule, as JSON has it. What is not known is refused: a condition that is left out would make the rule mean more.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleRecord {
    acltype: RuleType,
    topic: Arc<str>,
    #[serde(default)]
    priority: i32,
    #[serde(default)]
    allow: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    qosmax: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retain: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sharedgroup: Option<Arc<str>>,
}

impl RoleRecord {
    /// The rules are listed by type, and by priority within each, as Mosquitto lists them.
    pub(super) fn of(role: &Role) -> RoleRecord {
        let mut rules: Vec<&Rule> = role.rules.iter().collect();
        rules.sort_by_key(|rule| (rule.rule_type, std::cmp::Reverse(rule.priority)));
        RoleRecord {
            rolename: role.name.clone(),
            textname: role.text_name.clone(),
            textdescription: role.text_description.clone(),
            allowwildcardsubs: role.allow_wildcard_subscriptions,
            acls: rules.into_iter().map(RuleRecord::of).collect(),
        }
    }

    fn into_role(self) -> Role {
        Role {
            name: self.rolename,
            rules: self.acls.into_iter().map(RuleRecord::into_rule).collect(),
            allow_wildcard_subscriptions: self.allowwildcardsubs,
            text_name: self.textname,
            text_description: self.textdescription,
        }
    }
}

impl RuleRecord {
    fn of(rule: &Rule) -> RuleRecord {
        RuleRecord {
            acltype: rule.rule_type,
            topic: rule.topic.clone(),
            priority: rule.priority,
            allow: rule.allow,
            qosmax: rule.qos_max,
            retain: rule.retain,
            sharedgroup: rule.shared_group.clone(),
        }
    }

    fn into_rule(self) -> Rule {
        Rule {
            rule_type: self.acltype,
            topic: self.topic,
            priority: self.priority,
            allow: self.allow,
            qos_max: self.qosmax,
            retain: self.retain,
            shared_group: self.sharedgroup,
            usage: Arc::new(Usage::default()),
        }
    }
}
