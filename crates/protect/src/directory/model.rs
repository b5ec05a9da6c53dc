//! What a directory holds: identities, groups, roles with their rules, classes.
//!
//! In JSON they are what Mosquitto's `dynamic-security.json` has, with Ravelin's additions: in records of the store, in
//! answers and in files that are imported.

use super::limits::{
    FINGERPRINTS_MAX, PRIORITY_DEFAULT, check_count, check_name, check_text, clamp_priority,
};
use super::usage::Usage;
use super::{Credentials, DirectoryError};
use crate::SecondFactor;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The role of whoever may administer the node. It is built in.
pub const ADMIN_ROLE: &str = "admin";

/// Somebody that can prove who it is.
#[derive(Clone)]
pub struct Identity {
    /// Its name: the user name of a log-in, or the name that a certificate gives.
    pub name: Arc<str>,
    /// The only Client Identifier that it may use; `None`: the listener's rule alone counts.
    pub client_id: Option<Arc<str>>,
    /// What proves it: password hashes, SCRAM verifiers, the secret of one-time codes.
    pub credentials: Credentials,
    /// SHA-256 fingerprints of certificates that are its own, in lower-case hex: for listeners that know their clients by
    /// these. No two identities have the same.
    pub fingerprints: Vec<Arc<str>>,
    /// Its class; `None` is the default class.
    pub class: Option<Arc<str>>,
    /// Its groups, the highest priority first.
    pub groups: Vec<Membership>,
    /// Its own roles, the highest priority first.
    pub roles: Vec<Membership>,
    /// Whether it is refused whatever it proves.
    pub disabled: bool,
    /// What it is called by people.
    pub text_name: Option<Box<str>>,
    /// What it is.
    pub text_description: Option<Box<str>>,
}

/// A group of identities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name.
    pub name: Arc<str>,
    /// Its roles, the highest priority first.
    pub roles: Vec<Membership>,
    /// What it is called by people.
    pub text_name: Option<Box<str>>,
    /// What it is.
    pub text_description: Option<Box<str>>,
}

/// A set of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: Arc<str>,
    /// Its rules, in the order in which they were added.
    pub rules: Vec<Rule>,
    /// Whether filters with wildcards may be subscribed to; if not, they are refused by this role whatever its rules
    /// and those of what follows say.
    pub allow_wildcard_subscriptions: bool,
    /// What it is called by people.
    pub text_name: Option<Box<str>>,
    /// What it is.
    pub text_description: Option<Box<str>>,
}

/// Where something belongs, and how early it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The name of the role or group.
    pub name: Arc<str>,
    /// The higher, the earlier.
    pub priority: i32,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RuleType {
    /// A client publishes to a topic.
    PublishClientSend,
    /// A client is delivered a message of a topic.
    PublishClientReceive,
    /// A client subscribes to exactly this filter.
    SubscribeLiteral,
    /// A client subscribes to a filter that this one covers.
    SubscribePattern,
    /// A client unsubscribes from exactly this filter.
    UnsubscribeLiteral,
    /// A client unsubscribes from a filter that this one covers.
    UnsubscribePattern,
}

/// A rule of a role.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it is about.
    pub rule_type: RuleType,
    /// The topic or filter, with wildcards and variables.
    pub topic: Arc<str>,
    /// The higher, the earlier it is asked within its role. At the same priority a denial comes first.
    pub priority: i32,
    /// Whether it allows or denies.
    pub allow: bool,
    /// For publishing and subscribing: it allows up to this QoS.
    pub qos_max: Option<u8>,
    /// For publishing: it is only about messages with (or without) the retain flag.
    pub retain: Option<bool>,
    /// For subscribing: it is only about shared subscriptions of this group; empty, only about those that are not shared.
    pub shared_group: Option<Arc<str>>,
    /// When it was used.
    pub usage: Arc<Usage>,
}

/// A class of identities: what they must show, and how they are treated.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Class {
    /// Its name.
    #[serde(rename = "classname")]
    pub name: Arc<str>,
    /// What must be proven beside the first factor.
    #[serde(rename = "secondfactor")]
    pub second_factor: SecondFactor,
    /// The name of the set of rate limits that holds for it.
    #[serde(rename = "limits", skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<str>>,
    /// Whether its clients are kept apart.
    pub quarantine: bool,
    /// Whether its clients are never cut off to save resources.
    #[serde(rename = "nevercut")]
    pub never_cut: bool,
    /// How old the keys of a connection may become, in seconds; `None`: the listener's rule counts.
    #[serde(rename = "keyage_s", skip_serializing_if = "Option::is_none")]
    pub key_age_max_s: Option<u32>,
    /// What it is.
    #[serde(rename = "textdescription", skip_serializing_if = "Option::is_none")]
    pub text_description: Option<Box<str>>,
}

/// What holds where no rule says anything, for identities of the directory. Secure by default: nothing is allowed but
/// to unsubscribe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// Whether a client may publish.
    pub publish_client_send: bool,
    /// Whether a client is delivered what neither a rule on receiving nor one on subscribing speaks of.
    pub publish_client_receive: bool,
    /// Whether a client may subscribe.
    pub subscribe: bool,
    /// Whether a client may unsubscribe.
    pub unsubscribe: bool,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            publish_client_send: false,
            publish_client_receive: false,
            subscribe: false,
            unsubscribe: true,
        }
    }
}

impl Defaults {
    /// The defaults under the names that Mosquitto gives them.
    pub fn named(self) -> [(&'static str, bool); 4] {
        [
            ("publishClientSend", self.publish_client_send),
            ("publishClientReceive", self.publish_client_receive),
            ("subscribe", self.subscribe),
            ("unsubscribe", self.unsubscribe),
        ]
    }

    /// Sets the default of that name; false if there is none.
    pub fn set(&mut self, name: &str, allow: bool) -> bool {
        let field = match name {
            name if name.eq_ignore_ascii_case("publishClientSend") => &mut self.publish_client_send,
            name if name.eq_ignore_ascii_case("publishClientReceive") => &mut self.publish_client_receive,
            name if name.eq_ignore_ascii_case("subscribe") => &mut self.subscribe,
            name if name.eq_ignore_ascii_case("unsubscribe") => &mut self.unsubscribe,
            _ => return false,
        };
        *field = allow;
        true
    }
}

impl Identity {
    /// An identity that can do nothing yet.
    pub fn new(name: impl Into<Arc<str>>) -> Identity {
        Identity {
            name: name.into(),
            client_id: None,
            credentials: Credentials::default(),
            fingerprints: Vec::new(),
            class: None,
            groups: Vec::new(),
            roles: Vec::new(),
            disabled: false,
            text_name: None,
            text_description: None,
        }
    }

    /// Whether what lets a client in is the same for both, but for the password: the Client Identifier that it is bound to, the
    /// class, the certificates.
    pub fn is_bound_as(&self, other: &Identity) -> bool {
        self.client_id == other.client_id
            && self.class == other.class
            && self.fingerprints == other.fingerprints
    }

    pub(super) fn check(&self) -> Result<(), DirectoryError> {
        check_name("username", &self.name)?;
        if let Some(client_id) = &self.client_id {
            check_name("client id", client_id)?;
        }
        check_count("fingerprints of a client", self.fingerprints.len(), FINGERPRINTS_MAX)?;
        let is_hex = |text: &str| {
            text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        if !self.fingerprints.iter().all(|fingerprint| is_hex(fingerprint)) {
            return Err(DirectoryError::BadFingerprint);
        }
        check_text("textname", self.text_name.as_deref())?;
        check_text("textdescription", self.text_description.as_deref())
    }
}

impl Group {
    /// A group without roles.
    pub fn new(name: impl Into<Arc<str>>) -> Group {
        Group { name: name.into(), roles: Vec::new(), text_name: None, text_description: None }
    }

    pub(super) fn check(&self) -> Result<(), DirectoryError> {
        check_name("groupname", &self.name)?;
        check_text("textname", self.text_name.as_deref())?;
        check_text("textdescription", self.text_description.as_deref())
    }
}

impl Role {
    /// A role without rules.
    pub fn new(name: impl Into<Arc<str>>) -> Role {
        Role {
            name: name.into(),
            rules: Vec::new(),
            allow_wildcard_subscriptions: true,
            text_name: None,
            text_description: None,
        }
    }

    /// The rule of that type and topic.
    pub fn rule(&self, rule_type: RuleType, topic: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.rule_type == rule_type && *rule.topic == *topic)
    }

    pub(super) fn check(&self) -> Result<(), DirectoryError> {
        check_name("rolename", &self.name)?;
        check_text("textname", self.text_name.as_deref())?;
        check_text("textdescription", self.text_description.as_deref())
    }
}

impl Membership {
    /// A membership with the priority that Mosquitto gives where none is told.
    pub fn new(name: impl Into<Arc<str>>) -> Membership {
        Membership { name: name.into(), priority: PRIORITY_DEFAULT }
    }

    /// The order in which memberships are asked: the highest priority first, then by name.
    pub(super) fn sort(memberships: &mut [Membership]) {
        memberships.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.name.cmp(&b.name)));
    }
}

impl RuleType {
    /// Every type, in the order in which they are listed.
    pub const ALL: [RuleType; 6] = [
        RuleType::PublishClientSend,
        RuleType::PublishClientReceive,
        RuleType::SubscribeLiteral,
        RuleType::SubscribePattern,
        RuleType::UnsubscribeLiteral,
        RuleType::UnsubscribePattern,
    ];

    /// How Mosquitto calls it.
    pub fn name(self) -> &'static str {
        match self {
            RuleType::PublishClientSend => "publishClientSend",
            RuleType::PublishClientReceive => "publishClientReceive",
            RuleType::SubscribeLiteral => "subscribeLiteral",
            RuleType::SubscribePattern => "subscribePattern",
            RuleType::UnsubscribeLiteral => "unsubscribeLiteral",
            RuleType::UnsubscribePattern => "unsubscribePattern",
        }
    }

    /// The type of that name, in any case of its letters.
    pub fn parse(name: &str) -> Option<RuleType> {
        RuleType::ALL.into_iter().find(|known| known.name().eq_ignore_ascii_case(name))
    }

    pub(super) fn is_literal(self) -> bool {
        matches!(self, RuleType::SubscribeLiteral | RuleType::UnsubscribeLiteral)
    }

    pub(super) fn is_subscribe(self) -> bool {
        matches!(self, RuleType::SubscribeLiteral | RuleType::SubscribePattern)
    }
}

/// Two rules are one if they say the same; when they were used is no part of them.
impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        self.key() == other.key()
            && self.priority == other.priority
            && self.allow == other.allow
            && self.qos_max == other.qos_max
            && self.retain == other.retain
            && self.shared_group == other.shared_group
    }
}

impl Eq for Rule {}

impl Rule {
    /// A rule without conditions.
    pub fn new(rule_type: RuleType, topic: impl Into<Arc<str>>, allow: bool) -> Rule {
        Rule {
            rule_type,
            topic: topic.into(),
            priority: 0,
            allow,
            qos_max: None,
            retain: None,
            shared_group: None,
            usage: Arc::default(),
        }
    }

    /// A role has one rule of a type and a topic.
    pub(super) fn key(&self) -> (RuleType, &str) {
        (self.rule_type, &self.topic)
    }

    /// Whether what it demands goes with its type.
    pub(super) fn check(&self) -> Result<(), DirectoryError> {
        let bad = |what| Err(DirectoryError::BadRule(what));
        let publish = self.rule_type == RuleType::PublishClientSend;
        if self.priority != clamp_priority(self.priority.into()) {
            return Err(DirectoryError::BadPriority);
        }
        if self.qos_max.is_some() && !publish && !self.rule_type.is_subscribe() {
            return bad("`qosmax` is for publishing and subscribing");
        }
        if self.qos_max.is_some_and(|qos| qos > 2) {
            return bad("`qosmax` is 0, 1 or 2");
        }
        if self.qos_max.is_some() && !self.allow {
            return bad("`qosmax` is for rules that allow");
        }
        if self.retain.is_some() && !publish {
            return bad("`retain` is for publishing");
        }
        if self.shared_group.is_some() && !self.rule_type.is_subscribe() {
            return bad("`sharedgroup` is for subscribing");
        }
        if let Some(group) = self.shared_group.as_deref().filter(|group| !group.is_empty()) {
            check_name("sharedgroup", group)?;
            if group.contains(['+', '#', '/']) {
                return bad("a `sharedgroup` has no `+`, `#` or `/`");
            }
        }
        Ok(())
    }
}

/// The text in which a rule is shown: `allow publishClientSend meters/%u/# (priority 5, qos at most 1)`.
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let effect = if self.allow { "allow" } else { "deny" };
        write!(f, "{effect} {} {} (priority {}", self.rule_type.name(), self.topic, self.priority)?;
        if let Some(qos) = self.qos_max {
            write!(f, ", qos at most {qos}")?;
        }
        match self.retain {
            Some(true) => f.write_str(", retained only")?,
            Some(false) => f.write_str(", not retained")?,
            None => {}
        }
        match self.shared_group.as_deref() {
            Some("") => f.write_str(", not shared")?,
            Some(group) => write!(f, ", shared group {group}")?,
            None => {}
        }
        f.write_str(")")
    }
}
