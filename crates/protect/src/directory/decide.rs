//! The answer to a question: may this client do that? On the path of a message: nothing is allocated.

use super::compile::{Ask, Question};
use super::model::{Role, Rule};
use super::template::{GroupNames, Subject};
use super::{ADMIN_ROLE, Directory, IdentityEntry, Inner};
use crate::access::is_of_the_node;
use ravelin_event::Principal;

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action<'a> {
    /// Publish to a topic.
    Publish {
        /// The topic.
        topic: &'a str,
        /// The QoS.
        qos: u8,
        /// Whether the message is to be retained.
        retain: bool,
    },
    /// Be delivered a message of a topic.
    Receive {
        /// The topic.
        topic: &'a str,
    },
    /// Subscribe to a filter.
    Subscribe {
        /// The filter, without `$share/group/`.
        filter: &'a str,
        /// The group of a shared subscription.
        group: Option<&'a str>,
        /// The QoS that is asked for.
        qos: u8,
    },
    /// Unsubscribe from a filter.
    Unsubscribe {
        /// The filter, without `$share/group/`.
        filter: &'a str,
    },
}

/// A decision and what it rests on.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// Whether the action is allowed.
    pub allowed: bool,
    /// Whether a rule (or a state of the identity) says so; if not, it is a default or the lack of one.
    pub explicit: bool,
    /// What it rests on.
    pub reason: Reason<'a>,
}

/// What a decision rests on.
#[derive(Clone, Copy, Debug)]
pub enum Reason<'a> {
    /// A rule.
    Rule {
        /// Of this role.
        role: &'a Role,
        /// The rule.
        rule: &'a Rule,
        /// The group by which the client has the role; `None`: it has it itself.
        group: Option<&'a str>,
    },
    /// The role refuses filters with wildcards.
    NoWildcards {
        /// The role.
        role: &'a Role,
    },
    /// The identity is disabled.
    Disabled,
    /// The topic is the system's: nobody publishes there.
    System,
    /// The topic is for administrators.
    Control,
    /// No rule is about it: the default for identities of the directory.
    Default,
    /// The directory does not know the client and has nothing to say.
    Unknown,
}

impl<'a> Action<'a> {
    pub(super) fn question(self) -> (Question, &'a str, Ask<'a>) {
        let plain = Ask { qos: 0, retain: false, shared: None };
        match self {
            Action::Publish { topic, qos, retain } => {
                (Question::Publish, topic, Ask { qos, retain, shared: None })
            }
            Action::Receive { topic } => (Question::Receive, topic, plain),
            Action::Subscribe { filter, group, qos } => {
                (Question::Subscribe, filter, Ask { qos, retain: false, shared: group })
            }
            Action::Unsubscribe { filter } => (Question::Unsubscribe, filter, plain),
        }
    }

    /// `publish`, `receive`, `subscribe` or `unsubscribe`.
    pub fn name(self) -> &'static str {
        match self {
            Action::Publish { .. } => "publish",
            Action::Receive { .. } => "receive",
            Action::Subscribe { .. } => "subscribe",
            Action::Unsubscribe { .. } => "unsubscribe",
        }
    }

    /// The topic or filter.
    pub fn topic(self) -> &'a str {
        self.question().1
    }
}

/// Whether a topic or filter is `root` or below.
pub(super) fn is_below(topic: &str, root: &str) -> bool {
    topic.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A role that is asked, and the group by which the client has it.
pub(super) struct Asked<'a> {
    pub entry: &'a super::RoleEntry,
    pub group: Option<&'a str>,
}

impl Directory {
    /// The decision on an action, by the directory alone. Marks the rule as used.
    pub fn decide<'a>(&'a self, who: &Principal, action: Action<'_>) -> Verdict<'a> {
        let inner = &*self.0;
        let (question, topic, ask) = action.question();
        let say = |allowed, reason| Verdict { allowed, explicit: true, reason };
        if question == Question::Publish && is_of_the_node(topic) {
            return say(false, Reason::System);
        }
        let entry = who.identity.as_deref().and_then(|identity| inner.identities.get(identity));
        if entry.is_some_and(|entry| entry.identity.disabled) {
            return say(false, Reason::Disabled);
        }
        if is_below(topic, "$CONTROL")
            && question != Question::Unsubscribe
            && !who.identity.as_deref().is_some_and(|identity| self.is_administrator(identity))
        {
            return say(false, Reason::Control);
        }
        let subject = inner.subject(who, entry.map(|entry| &**entry));
        for asked in inner.asked(who, entry.map(|entry| &**entry)) {
            let role = &asked.entry.role;
            if question == Question::Subscribe
                && !role.allow_wildcard_subscriptions
                && topic.contains(['+', '#'])
            {
                return say(false, Reason::NoWildcards { role });
            }
            let Some(found) = asked.entry.compiled.find(question, topic, ask, &subject) else { continue };
            let Some(rule) = role.rules.get(found.rule as usize) else { continue };
            rule.usage.touch(&inner.clock);
            return say(found.allow, Reason::Rule { role, rule, group: asked.group });
        }
        inner.default(who, entry.is_some(), question, topic)
    }
}

impl Inner {
    pub(super) fn subject<'a>(&'a self, who: &'a Principal, entry: Option<&'a IdentityEntry>) -> Subject<'a> {
        let numbers = entry.map_or(&[][..], |entry| &entry.groups);
        let granted = who.granted.as_deref().map_or(&[][..], |granted| &granted.groups);
        Subject { who, groups: GroupNames { slots: &self.groups, numbers, granted } }
    }

    /// The roles that are asked, in their order.
    pub(super) fn asked<'a, 'w>(
        &'a self,
        who: &'w Principal,
        entry: Option<&'a IdentityEntry>,
    ) -> impl Iterator<Item = Asked<'a>> + use<'a, 'w> {
        // Whoever the configuration makes an administrator has the role before all others.
        let configured = who.identity.as_deref().is_some_and(|name| self.administrators.contains(name));
        let admin = if configured { self.roles.get(ADMIN_ROLE) } else { None };
        let own = entry.map_or(&[][..], |entry| &entry.roles);
        let groups = entry.map_or(&[][..], |entry| &entry.groups);
        let last = if who.identity.is_some() { self.default_group } else { self.anonymous_group };
        // What a token gives comes after what the directory says, and never makes an administrator.
        let (granted_groups, granted_roles) = match who.granted.as_deref() {
            Some(granted) => (&granted.groups[..], &granted.roles[..]),
            None => (&[][..], &[][..]),
        };
        let granted_groups = granted_groups.iter().filter_map(|name| self.groups.get(name));
        let granted_roles = granted_roles
            .iter()
            .filter(|name| ***name != *ADMIN_ROLE)
            .filter_map(|name| self.roles.get(name));
        let by_group = groups.iter().filter_map(|slot| self.groups.at(*slot)).chain(granted_groups);
        let by_group = by_group.chain(last.and_then(|slot| self.groups.at(slot)));
        let by_group = by_group.flat_map(|group| {
            let roles = group.roles.iter().filter_map(|slot| self.roles.at(*slot));
            roles.map(|entry| Asked { entry, group: Some(&group.group.name) })
        });
        let own = own.iter().filter_map(|slot| self.roles.at(*slot)).chain(granted_roles);
        admin.into_iter().chain(own).map(|entry| Asked { entry, group: None }).chain(by_group)
    }

    pub(super) fn default<'a>(
        &self,
        who: &Principal,
        known: bool,
        question: Question,
        topic: &str,
    ) -> Verdict<'a> {
        let say = |allowed, reason| Verdict { allowed, explicit: false, reason };
        if !known && (who.identity.is_some() || self.anonymous_group.is_none()) {
            // Everyone may stop to listen.
            return say(question == Question::Unsubscribe, Reason::Unknown);
        }
        let defaults = self.settings.defaults;
        let allowed = match question {
            Question::Publish => defaults.publish_client_send,
            Question::Receive => defaults.publish_client_receive,
            Question::Subscribe => defaults.subscribe,
            Question::Unsubscribe => defaults.unsubscribe,
        };
        // A topic of the system's is reached by a rule that names it only.
        say(allowed && (!topic.starts_with('$') || question == Question::Unsubscribe), Reason::Default)
    }
}
