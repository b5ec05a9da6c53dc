//! Looking back: which grants nobody used, and whom new rules would have refused.

use super::Action;
use crate::Rights;
use ravelin_event::Principal;
use serde::Serialize;

/// A rule that allows something, and when it was last used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Grant {
    /// `file` or `directory`.
    pub source: &'static str,
    /// The role it is of; of a file, the user of its section.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The rule.
    pub rule: String,
    /// When it was last used, in seconds since the Unix epoch; `None`: not since the node started.
    pub last_s: Option<u32>,
    /// In how many seconds it was used since then.
    pub seconds: u64,
}

/// What a client did on the bus: once, or so many times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Who did it.
    pub who: Principal,
    /// What it did.
    pub kind: TrafficKind,
    /// The topic, or the filter without `$share/group/`.
    pub topic: String,
    /// The highest QoS at which it did.
    pub qos: u8,
    /// Whether a message was to be retained.
    pub retain: bool,
    /// The group of a shared subscription.
    pub group: Option<String>,
    /// How often.
    pub count: u64,
    /// When last, in seconds since the Unix epoch.
    pub last_s: u32,
}

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrafficKind {
    /// It published.
    Publish,
    /// It was sent something.
    Receive,
    /// It subscribed.
    Subscribe,
}

/// What new rules would refuse that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WouldRefuse {
    /// The Client Identifier.
    pub client_id: String,
    /// The identity.
    pub identity: Option<String>,
    /// What it did.
    pub action: TrafficKind,
    /// The topic or filter.
    pub topic: String,
    /// How often it did.
    pub count: u64,
    /// When last, in seconds since the Unix epoch.
    pub last_s: u32,
    /// The rule that would refuse it, or why else.
    pub why: String,
}

impl TrafficKind {
    /// `publish`, `receive` or `subscribe`.
    pub fn name(self) -> &'static str {
        match self {
            TrafficKind::Publish => "publish",
            TrafficKind::Receive => "receive",
            TrafficKind::Subscribe => "subscribe",
        }
    }
}

impl Traffic {
    fn action(&self) -> Action<'_> {
        match self.kind {
            TrafficKind::Publish => {
                Action::Publish { topic: &self.topic, qos: self.qos, retain: self.retain }
            }
            TrafficKind::Receive => Action::Receive { topic: &self.topic },
            TrafficKind::Subscribe => {
                Action::Subscribe { filter: &self.topic, group: self.group.as_deref(), qos: self.qos }
            }
        }
    }
}

impl Rights {
    /// The grants that were not used since `since_s` (seconds since the Unix epoch): in the order of the file and of the
    /// names of roles. Those of the built-in role are no grants to take away.
    pub fn unused(&self, since_s: u32) -> Vec<Grant> {
        let mut unused = self.grants();
        unused.retain(|grant| grant.last_s.is_none_or(|last_s| last_s < since_s));
        unused
    }

    /// Every grant and when it was used.
    pub fn grants(&self) -> Vec<Grant> {
        let of_file = self.access.rules().iter().filter(|rule| !rule.is_denial()).map(|rule| Grant {
            source: "file",
            role: rule.user.as_deref().map(String::from),
            rule: format!("line {}: {}", rule.line, rule.text),
            last_s: rule.usage.last_s(),
            seconds: rule.usage.seconds(),
        });
        let roles = self.directory.roles().filter(|role| *role.name != *super::ADMIN_ROLE);
        let of_directory = roles.flat_map(|role| {
            role.rules.iter().filter(|rule| rule.allow).map(|rule| Grant {
                source: "directory",
                role: Some(role.name.to_string()),
                rule: rule.to_string(),
                last_s: rule.usage.last_s(),
                seconds: rule.usage.seconds(),
            })
        });
        of_file.chain(of_directory).collect()
    }
}

/// Whom `new` would refuse what they did and `old` allows, the most frequent first, at most `max`. Nothing is marked as used.
pub fn dry_run<'a>(
    old: &Rights,
    new: &Rights,
    traffic: impl IntoIterator<Item = &'a Traffic>,
    max: usize,
) -> Vec<WouldRefuse> {
    let mut refused = Vec::new();
    for seen in traffic {
        let explanation = new.explain(&seen.who, seen.action());
        // What is refused already is not what a change would break.
        if explanation.allowed || !old.explain(&seen.who, seen.action()).allowed {
            continue;
        }
        let why = explanation.steps.iter().find(|step| step.decides);
        let why = why.map_or("no rule allows it".into(), |step| match &step.role {
            Some(role) => format!("role {role}: {}: {}", step.what, step.outcome),
            None => format!("{}: {}", step.what, step.outcome),
        });
        refused.push(WouldRefuse {
            client_id: seen.who.client_id.to_string(),
            identity: seen.who.identity.as_deref().map(String::from),
            action: seen.kind,
            topic: seen.topic.clone(),
            count: seen.count,
            last_s: seen.last_s,
            why,
        });
    }
    refused.sort_by(|a, b| {
        b.count.cmp(&a.count).then_with(|| (&a.client_id, &a.topic).cmp(&(&b.client_id, &b.topic)))
    });
    refused.truncate(max);
    refused
}
