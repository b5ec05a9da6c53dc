//! The whole reasoning behind a decision of the directory, for people. It walks through the rules one by one and knows
//! nothing of how they are compiled: a test holds the two to one opinion.

use super::compile::{Ask, Question, in_order};
use super::decide::is_below;
use super::model::{Role, Rule, RuleType};
use super::template::{Fit, Level, Subject, Template};
use super::{Action, Directory};
use crate::access::is_of_the_node;
use ravelin_event::Principal;
use serde::Serialize;

/// Rules that are shown beside the one that decides.
const STEPS_MAX: usize = 100;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// `file` or `directory`.
    pub source: &'static str,
    /// The role that the rule is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The group by which the client has the role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The rule, or what else was looked at.
    pub what: String,
    /// What came of it.
    pub outcome: String,
    /// Whether it decided.
    pub decides: bool,
}

/// What the directory says, and why.
pub struct Reasoning {
    /// Whether it allows.
    pub allowed: bool,
    /// Whether a rule or a state of the identity says so, rather than a default.
    pub explicit: bool,
    /// What was looked at, in order.
    pub steps: Vec<Step>,
}

impl Step {
    fn new(what: impl Into<String>, outcome: impl Into<String>, decides: bool) -> Step {
        let (role, group) = (None, None);
        Step { source: "directory", role, group, what: what.into(), outcome: outcome.into(), decides }
    }
}

impl Directory {
    /// The decision on an action by the directory alone, with everything that was looked at. Slow; marks nothing as used.
    pub fn explain(&self, who: &Principal, action: Action<'_>) -> Reasoning {
        let inner = &*self.0;
        let (question, topic, ask) = action.question();
        let mut steps = Vec::new();
        let refused = |mut steps: Vec<Step>, what: &str, outcome: &str| {
            steps.push(Step::new(what, outcome, true));
            Reasoning { allowed: false, explicit: true, steps }
        };
        if question == Question::Publish && is_of_the_node(topic) {
            return refused(steps, "topic of the node", "nobody publishes there");
        }
        let entry = who.identity.as_deref().and_then(|identity| inner.identities.get(identity));
        steps.push(self.whoami(who));
        if entry.is_some_and(|entry| entry.identity.disabled) {
            return refused(steps, "the identity", "it is disabled");
        }
        if is_below(topic, "$CONTROL") && question != Question::Unsubscribe {
            if !who.identity.as_deref().is_some_and(|identity| self.is_administrator(identity)) {
                return refused(steps, "topic $CONTROL", "it is for administrators, and the client is none");
            }
            steps.push(Step::new("topic $CONTROL", "the client is an administrator", false));
        }
        let subject = inner.subject(who, entry.map(|entry| &**entry));
        for asked in inner.asked(who, entry.map(|entry| &**entry)) {
            let found = explain_role(&asked.entry.role, question, topic, ask, &subject);
            let decided = found.iter().find(|found| found.decides).map(|found| found.allow);
            for found in found {
                if steps.len() < STEPS_MAX || found.decides {
                    let mut step = Step::new(found.what, found.outcome, found.decides);
                    step.role = Some(asked.entry.role.name.to_string());
                    step.group = asked.group.map(String::from);
                    steps.push(step);
                }
            }
            if let Some(allowed) = decided {
                return Reasoning { allowed, explicit: true, steps };
            }
        }
        let verdict = inner.default(who, entry.is_some(), question, topic);
        let (what, outcome) = match verdict.reason {
            super::Reason::Default => {
                (format!("default for {}", default_name(question)), say(verdict.allowed))
            }
            _ => ("the directory".to_string(), "it knows nothing of the client".to_string()),
        };
        steps.push(Step::new(what, outcome, true));
        Reasoning { allowed: verdict.allowed, explicit: false, steps }
    }

    fn whoami(&self, who: &Principal) -> Step {
        let Some(name) = who.identity.as_deref() else {
            let group = self.anonymous_group().unwrap_or("none");
            return Step::new("the client is anonymous", format!("the anonymous group is {group}"), false);
        };
        let administrator = if self.is_administrator(name) { ", an administrator" } else { "" };
        let Some(identity) = self.identity(name) else {
            let what = format!("identity {name:?}{administrator}");
            return Step::new(what, "it is not in the directory", false);
        };
        let list = |memberships: &[super::Membership]| {
            let names: Vec<String> =
                memberships.iter().map(|known| format!("{} ({})", known.name, known.priority)).collect();
            if names.is_empty() { "none".to_string() } else { names.join(", ") }
        };
        let (roles, groups) = (list(&identity.roles), list(&identity.groups));
        let what = format!("identity {name:?}{administrator}");
        Step::new(what, format!("roles by priority: {roles}; groups: {groups}"), false)
    }
}

struct Found {
    what: String,
    outcome: String,
    decides: bool,
    allow: bool,
}

/// What a role has to say: every rule that is about the topic, until one decides.
fn explain_role(
    role: &Role,
    question: Question,
    topic: &str,
    ask: Ask<'_>,
    subject: &Subject<'_>,
) -> Vec<Found> {
    let mut found = Vec::new();
    let mut others = 0_usize;
    if question == Question::Subscribe && !role.allow_wildcard_subscriptions && topic.contains(['+', '#']) {
        let what = format!("role {}", role.name);
        let outcome = "it refuses filters with wildcards".to_string();
        return vec![Found { what, outcome, decides: true, allow: false }];
    }
    for (_, rule) in in_order(&role.rules) {
        if !is_about(rule.rule_type, question) {
            continue;
        }
        let (outcome, decides) = match judge(rule, question, topic, ask, subject) {
            Judged::Elsewhere => {
                others += 1;
                continue;
            }
            Judged::NotMet(why) => (why, false),
            Judged::Decides => (say(rule.allow), true),
        };
        found.push(Found { what: rule.to_string(), outcome, decides, allow: rule.allow });
        if decides {
            return found;
        }
    }
    if found.is_empty() {
        let what = format!("role {}", role.name);
        let outcome = format!("none of its {others} rules on this is about the topic");
        found.push(Found { what, outcome, decides: false, allow: false });
    }
    found
}

fn is_about(rule_type: RuleType, question: Question) -> bool {
    match question {
        Question::Publish => rule_type == RuleType::PublishClientSend,
        Question::Receive => rule_type == RuleType::PublishClientReceive || rule_type.is_subscribe(),
        Question::Subscribe => rule_type.is_subscribe(),
        Question::Unsubscribe => {
            matches!(rule_type, RuleType::UnsubscribeLiteral | RuleType::UnsubscribePattern)
        }
    }
}

enum Judged {
    /// The rule is about other topics.
    Elsewhere,
    /// It is about the topic, but does not hold, and why.
    NotMet(String),
    Decides,
}

fn judge(rule: &Rule, question: Question, topic: &str, ask: Ask<'_>, subject: &Subject<'_>) -> Judged {
    let Ok(template) = Template::parse(&rule.topic, !rule.rule_type.is_literal()) else {
        return Judged::Elsewhere;
    };
    let as_written = rule.rule_type.is_literal() && question != Question::Receive;
    let fit = if as_written {
        if *template.filter == *topic { Fit::Yes } else { Fit::No }
    } else {
        covers(&template.levels, topic, subject)
    };
    match fit {
        Fit::No => return Judged::Elsewhere,
        Fit::Unsafe if rule.allow => {
            let names: Vec<_> = template.levels.iter().filter_map(unsafe_name(subject)).collect();
            let names = names.join(", ");
            return Judged::NotMet(format!(
                "does not hold: what {names} stands for is not known or not safe"
            ));
        }
        Fit::Unsafe | Fit::Yes => {}
    }
    if question == Question::Receive {
        return Judged::Decides;
    }
    if let Some(qos) = rule.qos_max.filter(|qos| ask.qos > *qos) {
        return Judged::NotMet(format!("does not hold: QoS {} is more than {qos}", ask.qos));
    }
    if rule.retain.is_some_and(|retain| retain != ask.retain) {
        let with = if ask.retain { "with" } else { "without" };
        return Judged::NotMet(format!("does not hold: the message is {with} the retain flag"));
    }
    match (template.share.as_deref().or(rule.shared_group.as_deref()), ask.shared) {
        (None, _) | (Some(""), None) => Judged::Decides,
        (Some(wanted), Some(group)) if wanted == group => Judged::Decides,
        (Some(_), Some(group)) => Judged::NotMet(format!("does not hold: the shared group is {group}")),
        (Some(_), None) => Judged::NotMet("does not hold: the subscription is not shared".into()),
    }
}

fn unsafe_name<'a>(subject: &'a Subject<'_>) -> impl Fn(&Level) -> Option<&'static str> + 'a {
    |level| match level {
        Level::Variable(variable) if variable.fit("\u{0}", subject) == Fit::Unsafe => Some(variable.text()),
        _ => None,
    }
}

/// Whether a rule's levels cover a topic or a filter.
fn covers(levels: &[Level], topic: &str, subject: &Subject<'_>) -> Fit {
    let is_system = topic.starts_with('$');
    let mut fit = Fit::Yes;
    let mut rest = topic.split('/');
    for (index, level) in levels.iter().enumerate() {
        let top_of_system = is_system && index == 0;
        if *level == Level::Hash {
            return if top_of_system { Fit::No } else { fit };
        }
        let matched = match (level, rest.next()) {
            (_, None | Some("#")) => Fit::No,
            (Level::Plus, Some(_)) if top_of_system => Fit::No,
            (Level::Plus, Some(_)) => Fit::Yes,
            (_, Some("+")) => Fit::No,
            (Level::Name(name), Some(given)) if **name == *given => Fit::Yes,
            (Level::Variable(variable), Some(given)) => match variable.fit(given, subject) {
                Fit::Yes if top_of_system => Fit::Unsafe,
                fit => fit,
            },
            _ => Fit::No,
        };
        match matched {
            Fit::No => return Fit::No,
            Fit::Unsafe => fit = Fit::Unsafe,
            Fit::Yes => {}
        }
    }
    if rest.next().is_some() { Fit::No } else { fit }
}

fn say(allowed: bool) -> String {
    if allowed { "allows".into() } else { "denies".into() }
}

fn default_name(question: Question) -> &'static str {
    match question {
        Question::Publish => "publishClientSend",
        Question::Receive => "publishClientReceive",
        Question::Subscribe => "subscribe",
        Question::Unsubscribe => "unsubscribe",
    }
}
