//! The rules of a role, compiled: a tree of topic levels for each kind of question. A decision visits only the branches
//! that the topic can take, each at most once, allocates nothing, and finds the rule that a walk through all of them in
//! their order would have found first.

use super::DirectoryError;
use super::model::{Role, Rule, RuleType};
use super::template::{Fit, Level, Subject, Template, Variable};
use hashbrown::HashTable;
use std::collections::HashMap;
use std::hash::BuildHasher;

/// What is asked beside the topic.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub qos: u8,
    pub retain: bool,
    /// The group of a shared subscription.
    pub shared: Option<&'a str>,
}

/// Which question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Publish,
    Receive,
    Subscribe,
    Unsubscribe,
}

/// The compiled rules of a role.
pub(super) struct Compiled {
    publish: Tree,
    /// The rules on receiving; after all of those, those on subscribing: who may not subscribe to a topic is not sent it
    /// through a broader filter, and who may is sent it without a further rule.
    receive: Tree,
    subscribe: Tree,
    unsubscribe: Tree,
}

/// Rules for one question.
#[derive(Default)]
struct Tree {
    nodes: Vec<Node>,
    edges: HashTable<Edge>,
    /// Filters that are meant as they are written.
    literal: HashMap<Box<str>, Vec<Entry>, foldhash::fast::FixedState>,
}

/// `node` has a `child` for the level `name`.
struct Edge {
    node: u32,
    name: Box<str>,
    child: u32,
}

#[derive(Default)]
struct Node {
    plus: Option<u32>,
    variables: Vec<(Variable, u32)>,
    has_names: bool,
    /// Rules that end here.
    exact: Vec<Entry>,
    /// Rules that go on with `#`: for this level and all below.
    hash: Vec<Entry>,
}

/// A rule at its place.
#[derive(Clone)]
pub(super) struct Entry {
    /// The lower, the earlier it is asked.
    rank: u32,
    /// Which rule of the role.
    pub rule: u32,
    pub allow: bool,
    qos_max: u8,
    retain: Option<bool>,
    shared: Shared,
}

#[derive(Clone)]
enum Shared {
    Any,
    Not,
    Only(Box<str>),
}

const HASHER: foldhash::fast::FixedState = foldhash::fast::FixedState::with_seed(0x5255_4C45_5300_0001);

impl Compiled {
    /// Compiles a role; the error is about its first rule that is not one.
    pub fn new(role: &Role) -> Result<Compiled, DirectoryError> {
        let mut compiled = Compiled {
            publish: Tree::new(),
            receive: Tree::new(),
            subscribe: Tree::new(),
            unsubscribe: Tree::new(),
        };
        for (rank, (index, rule)) in in_order(&role.rules).enumerate() {
            rule.check()?;
            let template = Template::parse(&rule.topic, !rule.rule_type.is_literal())?;
            let entry = Entry::new(rank as u32, index, rule, &template)?;
            match rule.rule_type {
                RuleType::PublishClientSend => compiled.publish.add(&template, entry),
                RuleType::PublishClientReceive => compiled.receive.add(&template, entry),
                RuleType::SubscribeLiteral => {
                    // Whether it was shared, and at which QoS, is of no matter when a message is delivered.
                    let unconditional = Entry { qos_max: 2, shared: Shared::Any, ..entry.clone() };
                    compiled.receive.add(&template, unconditional);
                    compiled.subscribe.add_literal(&template, entry);
                }
                RuleType::SubscribePattern => {
                    let unconditional = Entry { qos_max: 2, shared: Shared::Any, ..entry.clone() };
                    compiled.receive.add(&template, unconditional);
                    compiled.subscribe.add(&template, entry);
                }
                RuleType::UnsubscribeLiteral => compiled.unsubscribe.add_literal(&template, entry),
                RuleType::UnsubscribePattern => compiled.unsubscribe.add(&template, entry),
            }
        }
        Ok(compiled)
    }

    /// The first rule, in their order, that answers the question for `topic`.
    pub fn find(
        &self,
        question: Question,
        topic: &str,
        ask: Ask<'_>,
        subject: &Subject<'_>,
    ) -> Option<&Entry> {
        match question {
            Question::Publish => self.publish.find(topic, ask, subject),
            Question::Receive => self.receive.find(topic, ask, subject),
            Question::Subscribe => self.subscribe.find(topic, ask, subject),
            Question::Unsubscribe => self.unsubscribe.find(topic, ask, subject),
        }
    }
}

/// The rules in the order in which they are asked: filters that are meant as written before patterns, then by
/// priority, denials before allowances, and as they were added. Rules on receiving come before those on subscribing.
pub(super) fn in_order(rules: &[Rule]) -> impl Iterator<Item = (u32, &Rule)> {
    let mut order: Vec<u32> = (0..rules.len() as u32).collect();
    order.sort_by_key(|index| {
        let rule = &rules[*index as usize];
        (rule.rule_type, -i64::from(rule.priority), rule.allow, *index)
    });
    order.into_iter().map(|index| (index, &rules[index as usize]))
}

impl Entry {
    fn new(rank: u32, index: u32, rule: &Rule, template: &Template) -> Result<Entry, DirectoryError> {
        let shared = match (template.share.as_deref(), rule.shared_group.as_deref()) {
            (None, None) => Shared::Any,
            (None, Some("")) => Shared::Not,
            (None, Some(group)) | (Some(group), None) => Shared::Only(group.into()),
            (Some(_), Some(_)) => {
                return Err(DirectoryError::BadRule("the topic names a shared group already"));
            }
        };
        if template.share.is_some() && !rule.rule_type.is_subscribe() {
            return Err(DirectoryError::BadRule("`$share/group/` is for subscribing"));
        }
        let qos_max = rule.qos_max.unwrap_or(2);
        Ok(Entry { rank, rule: index, allow: rule.allow, qos_max, retain: rule.retain, shared })
    }

    fn holds(&self, ask: Ask<'_>) -> bool {
        ask.qos <= self.qos_max
            && self.retain.is_none_or(|retain| retain == ask.retain)
            && match &self.shared {
                Shared::Any => true,
                Shared::Not => ask.shared.is_none(),
                Shared::Only(group) => ask.shared == Some(&**group),
            }
    }
}

struct Search<'t, 'a> {
    tree: &'t Tree,
    ask: Ask<'a>,
    subject: &'a Subject<'a>,
    best: Option<&'t Entry>,
}

impl Tree {
    fn new() -> Tree {
        Tree { nodes: vec![Node::default()], ..Tree::default() }
    }

    fn add_literal(&mut self, template: &Template, entry: Entry) {
        self.literal.entry(template.filter.clone()).or_default().push(entry);
    }

    fn add(&mut self, template: &Template, entry: Entry) {
        let mut at = 0;
        for level in &template.levels {
            at = match level {
                Level::Hash => return self.nodes[at as usize].hash.push(entry),
                Level::Plus => match self.nodes[at as usize].plus {
                    Some(child) => child,
                    None => {
                        let child = self.new_node();
                        *self.nodes[at as usize].plus.insert(child)
                    }
                },
                Level::Variable(variable) => {
                    let known = self.nodes[at as usize].variables.iter().find(|(known, _)| known == variable);
                    match known.map(|(_, child)| *child) {
                        Some(child) => child,
                        None => {
                            let child = self.new_node();
                            self.nodes[at as usize].variables.push((*variable, child));
                            child
                        }
                    }
                }
                Level::Name(name) => match self.child(at, name) {
                    Some(child) => child,
                    None => {
                        let child = self.new_node();
                        self.nodes[at as usize].has_names = true;
                        let hash = |edge: &Edge| hash_of(edge.node, &edge.name);
                        let edge = Edge { node: at, name: name.clone(), child };
                        self.edges.insert_unique(hash_of(at, name), edge, hash);
                        child
                    }
                },
            };
        }
        self.nodes[at as usize].exact.push(entry);
    }

    fn new_node(&mut self) -> u32 {
        self.nodes.push(Node::default());
        self.nodes.len() as u32 - 1
    }

    fn child(&self, node: u32, name: &str) -> Option<u32> {
        let found = self.edges.find(hash_of(node, name), |edge| edge.node == node && *edge.name == *name);
        found.map(|edge| edge.child)
    }

    fn find(&self, topic: &str, ask: Ask<'_>, subject: &Subject<'_>) -> Option<&Entry> {
        if !self.literal.is_empty()
            && let Some(entries) = self.literal.get(topic)
            && let Some(entry) = entries.iter().find(|entry| entry.holds(ask))
        {
            return Some(entry);
        }
        let mut search = Search { tree: self, ask, subject, best: None };
        search.visit(0, Some(topic), topic.starts_with('$'), false);
        search.best
    }
}

impl<'t> Search<'t, '_> {
    /// Visits `node` with the levels that are left. `top_of_system`: the next level begins with `$`, which wildcards do
    /// not match (MQTT-4.7.2-1). `denials_only`: a variable before could be anything.
    fn visit(&mut self, node: u32, rest: Option<&str>, top_of_system: bool, denials_only: bool) {
        let tree: &'t Tree = self.tree;
        let Some(node_data) = tree.nodes.get(node as usize) else { return };
        if !top_of_system {
            self.look_at(&node_data.hash, denials_only);
        }
        let Some(rest) = rest else { return self.look_at(&node_data.exact, denials_only) };
        let (level, rest) = match rest.split_once('/') {
            Some((level, rest)) => (level, Some(rest)),
            None => (rest, None),
        };
        // `#` in a filter is covered by a `#` only, which was looked at.
        if level == "#" {
            return;
        }
        if let Some(plus) = node_data.plus
            && !top_of_system
        {
            self.visit(plus, rest, false, denials_only);
        }
        // `+` in a filter is covered by `+` or `#`, by no name.
        if level == "+" {
            return;
        }
        if node_data.has_names
            && let Some(child) = tree.child(node, level)
        {
            self.visit(child, rest, false, denials_only);
        }
        for (variable, child) in &node_data.variables {
            match variable.fit(level, self.subject) {
                Fit::No => {}
                // No name that a client has makes it part of the system's topics.
                Fit::Yes => self.visit(*child, rest, false, denials_only | top_of_system),
                Fit::Unsafe => self.visit(*child, rest, false, true),
            }
        }
    }

    fn look_at(&mut self, entries: &'t [Entry], denials_only: bool) {
        // They stand in the order of their ranks.
        let found = entries.iter().find(|entry| !(denials_only && entry.allow) && entry.holds(self.ask));
        if let Some(entry) = found
            && self.best.is_none_or(|best| entry.rank < best.rank)
        {
            self.best = Some(entry);
        }
    }
}

fn hash_of(node: u32, name: &str) -> u64 {
    HASHER.hash_one((node, name))
}
