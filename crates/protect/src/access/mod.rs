//! Who may publish, receive and subscribe to what, in the syntax of Mosquitto's `acl_file`.
//!
//! ```text
//! topic read public/#            # before the first `user`: for anonymous clients
//!
//! user meter-7
//! topic write readings/meter-7
//! topic read commands/meter-7/+
//! topic deny commands/meter-7/debug
//!
//! pattern write status/%c        # for every client: %c is its Client Identifier, %u its identity
//! ```
//!
//! What no rule allows is denied, and what a `deny` rule names is denied whatever else allows it. A file without
//! rules denies everything.
//!
//! What Ravelin does more than Mosquitto:
//! * **A subscription is checked when it is made**, not only on delivery: its filter must be covered by one rule that
//!   allows reading (and not be covered by a denial). A filter that merely overlaps with what may be read is refused.
//!   Delivery is checked for each topic as well, so a denial within a filter holds.
//! * **`topic subscribe F`** (not in Mosquitto, where that is an error) allows to subscribe to filters within `F` but
//!   not to receive what no `read` rule allows: with `topic subscribe #` a client may subscribe as broadly as with
//!   Mosquitto.
//! * **A denial wins everywhere**, also one in a `pattern` over an allowance in a `user` section.
//! * **Names with `+`, `#` or `/`** (CVE-2017-7650) never make a pattern allow something, and a pattern that denies
//!   holds for them in any case.
//! * **Nobody publishes to `$SYS` and `$MONITOR`.** Reading them takes a rule that begins with the same level; `#` does not
//!   reach them.

mod parse;
mod trie;

use crate::directory::{Usage, UsageClock};
use crate::{Error, FileErrors, file};
use ravelin_event::Principal;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use trie::{Names, Terminal, Trie};

/// Largest access-rules file.
pub const FILE_BYTES_MAX: u64 = 64 << 20;

/// What a client wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Publish to a topic.
    Publish,
    /// Be delivered a message of a topic.
    Receive,
    /// Subscribe to a filter.
    Subscribe,
}

/// One rule of the file.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The line it stands on, from 1.
    pub line: usize,
    /// The line's text.
    pub text: String,
    /// Whose section it stands in; `None` before the first one, and for a pattern, which is for everyone.
    pub user: Option<Arc<str>>,
    /// When it was used.
    pub usage: Arc<Usage>,
}

/// Two rules are one if they stand in one place and say the same; when they were used is no part of them.
impl PartialEq for Rule {
    fn eq(&self, other: &Rule) -> bool {
        (self.line, &self.text, &self.user) == (other.line, &other.text, &other.user)
    }
}

impl Eq for Rule {}

impl Rule {
    /// Whether it denies; every other rule is a grant.
    pub fn is_denial(&self) -> bool {
        self.text.split_whitespace().nth(1) == Some("deny") && self.text.split_whitespace().count() > 2
    }
}

/// A decision and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// Whether the action is allowed.
    pub allowed: bool,
    /// The rule that decided; `None` is the default: no rule allows it.
    pub rule: Option<&'a Rule>,
}

type Sections = HashMap<Box<str>, Trie, foldhash::fast::FixedState>;

/// The compiled rules. Immutable: a reload compiles the file again and swaps the whole.
#[derive(Clone)]
pub struct AccessRules {
    anonymous: Trie,
    users: Sections,
    patterns: Trie,
    rules: Vec<Rule>,
    everything: bool,
    clock: Arc<UsageClock>,
}

impl AccessRules {
    /// No rules: everything is denied.
    pub fn deny_everything() -> AccessRules {
        AccessRules {
            anonymous: Trie::default(),
            users: Sections::default(),
            patterns: Trie::default(),
            rules: Vec::new(),
            everything: false,
            clock: Arc::default(),
        }
    }

    /// Everyone may do everything, but publish to `$SYS` and anything in `$CONTROL`. For test suites and benchmarks.
    pub fn allow_everything() -> AccessRules {
        AccessRules { everything: true, ..AccessRules::deny_everything() }
    }

    /// Reads the file at `path`.
    pub fn load(path: &Path) -> Result<AccessRules, Error> {
        let text = file::read_text(path, FILE_BYTES_MAX)?;
        Ok(AccessRules::parse(&text, &path.display().to_string())?)
    }

    /// Parses the text of a rules file; `name` is what errors call it. Never panics, whatever the text. A file with an
    /// error gives no rules at all: a denial that was misspelt must not be missing.
    pub fn parse(text: &str, name: &str) -> Result<AccessRules, FileErrors> {
        parse::parse(text, name)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules, in the order of their lines.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Takes over from the rules before a reload when those that stay were used, and the clock that says so.
    pub fn continue_from(&mut self, before: &AccessRules) {
        let mut used: HashMap<_, _> =
            before.rules.iter().map(|rule| ((rule.user.as_deref(), &*rule.text), &rule.usage)).collect();
        for rule in &mut self.rules {
            if let Some(usage) = used.remove(&(rule.user.as_deref(), &*rule.text)) {
                rule.usage = usage.clone();
            }
        }
        self.clock = before.clock.clone();
    }

    /// These rules, marked as used by this clock.
    pub fn with_clock(mut self, clock: Arc<UsageClock>) -> AccessRules {
        self.clock = clock;
        self
    }

    /// Whether `principal` may publish to `topic`.
    pub fn may_publish(&self, principal: &Principal, topic: &str) -> bool {
        self.decide(principal, Action::Publish, topic) == Some(true)
    }

    /// Whether `principal` may be delivered a message of `topic`.
    pub fn may_receive(&self, principal: &Principal, topic: &str) -> bool {
        self.decide(principal, Action::Receive, topic) == Some(true)
    }

    /// Whether `principal` may subscribe to `filter` (also one that begins with `$share/group/`).
    pub fn may_subscribe(&self, principal: &Principal, filter: &str) -> bool {
        self.decide(principal, Action::Subscribe, filter) == Some(true)
    }

    /// The decision on an action, and the rule that it rests on. Slower than `may_..`; always of the same opinion.
    pub fn explain(&self, principal: &Principal, action: Action, topic: &str) -> Decision<'_> {
        let (access, topic) = match action {
            Action::Publish if is_of_the_node(topic) => return Decision { allowed: false, rule: None },
            Action::Publish => (trie::WRITE, topic),
            Action::Receive => (trie::READ, topic),
            Action::Subscribe => (trie::READ | trie::SUBSCRIBE, shared(topic)),
        };
        if self.everything {
            return Decision { allowed: !is_privileged(topic), rule: None };
        }
        let mut allowing = None;
        let denying = self.visit(principal, topic, &mut |terminal, denials_only| {
            if let Some(rule) = terminal.denied_by {
                return ControlFlow::Break(rule);
            }
            if !denials_only && terminal.allowed & access != 0 {
                let first =
                    terminal.allowed_by.iter().filter(|(bits, _)| bits & access != 0).map(|(_, rule)| *rule);
                allowing = first.chain(allowing).min();
            }
            ControlFlow::Continue(())
        });
        let rule = |index: u32| self.rules.get(index as usize);
        match denying {
            ControlFlow::Break(index) => Decision { allowed: false, rule: rule(index) },
            ControlFlow::Continue(()) => {
                Decision { allowed: allowing.is_some(), rule: allowing.and_then(rule) }
            }
        }
    }

    /// What the rules say: allowed, denied, or nothing. Marks the rule that it rests on as used.
    pub fn decide(&self, principal: &Principal, action: Action, topic: &str) -> Option<bool> {
        let (access, topic) = match action {
            Action::Publish if is_of_the_node(topic) => return None,
            Action::Publish => (trie::WRITE, topic),
            Action::Receive => (trie::READ, topic),
            Action::Subscribe => (trie::READ | trie::SUBSCRIBE, shared(topic)),
        };
        self.answer(principal, access, topic)
    }

    fn answer(&self, principal: &Principal, access: u8, topic: &str) -> Option<bool> {
        if self.everything {
            return (!is_privileged(topic)).then_some(true);
        }
        let mut allowing = None;
        let end = self.visit(principal, topic, &mut |terminal, denials_only| {
            if let Some(rule) = terminal.denied_by {
                return ControlFlow::Break(rule);
            }
            if allowing.is_none() && !denials_only && terminal.allowed & access != 0 {
                let mut by = terminal.allowed_by.iter();
                allowing = by.find(|(bits, _)| bits & access != 0).map(|(_, rule)| *rule);
            }
            ControlFlow::Continue(())
        });
        let (rule, allowed) = match end {
            ControlFlow::Break(rule) => (Some(rule), false),
            ControlFlow::Continue(()) => (allowing, true),
        };
        let rule = rule?;
        if let Some(used) = self.rules.get(rule as usize) {
            used.usage.touch(&self.clock);
        }
        Some(allowed)
    }

    /// Calls `found` for whatever applies to the principal and covers the topic (or filter).
    fn visit<B>(
        &self,
        principal: &Principal,
        topic: &str,
        found: &mut impl FnMut(&Terminal, bool) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let section = match &principal.identity {
            None => Some(&self.anonymous),
            Some(identity) => self.users.get(&**identity),
        };
        if let Some(section) = section {
            section.visit(topic, &Names::NONE, found)?;
        }
        if self.patterns.is_empty() {
            return ControlFlow::Continue(());
        }
        self.patterns.visit(topic, &Names::of(principal), found)
    }
}

/// What only the node publishes.
pub(crate) fn is_of_the_node(topic: &str) -> bool {
    is_below(topic, "$SYS") || is_below(topic, "$MONITOR")
}

/// What takes a rule that says so, even where everything is allowed: to administer the bus, and to watch everybody on it.
fn is_privileged(topic: &str) -> bool {
    is_below(topic, "$CONTROL") || is_below(topic, "$MONITOR")
}

/// Whether a topic or filter has this first level.
fn is_below(topic: &str, level: &str) -> bool {
    topic.strip_prefix(level).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The filter of a shared subscription.
fn shared(filter: &str) -> &str {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((_, filter)) => filter,
        None => filter,
    }
}
