//! What may flow against what does.

use super::index::Subscriptions;
use super::{Flow, Flows};
use crate::declared::Entry;
use crate::inventory::Inventory;
use crate::topics::{covers, overlaps};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A flow that a declaration or a conduit names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FlowRule {
    /// Who declares it: `device {name}` or `conduit {name}`.
    pub source: String,
    /// `publish` or `subscribe`, or `pass` for a conduit.
    pub action: String,
    /// The topic filter.
    pub filter: String,
}

/// What the access rules say of a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// This rule lets its publisher publish it.
    By(String),
    /// None does now.
    Nothing,
    /// That cannot be said: the publisher is a group.
    NotAsked,
}

/// An observed flow with what allows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The flow.
    pub flow: Flow,
    /// What lets its publishers publish it, as the access rules say.
    pub allowed: Permission,
    /// Declarations that name it.
    pub declared_by: Vec<String>,
}

/// Authorised against observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Authorised {
    /// Flows that were observed and that no declaration names.
    pub undeclared: Vec<Judged>,
    /// Flows that were observed and that the access rules do not allow (any more).
    pub disallowed: Vec<Judged>,
    /// Flows that go from one zone to another without a conduit.
    pub unconduited: Vec<Judged>,
    /// Flows that were declared and never observed.
    pub unseen: Vec<FlowRule>,
    /// Flows that are as declared.
    pub agreeing: u64,
    /// The matrix that was judged was not whole, or there is more than is listed.
    pub truncated: bool,
}

/// Declared flows that were never seen, in one answer.
const UNSEEN_MAX: usize = 10_000;

impl Inventory {
    /// Judges observed flows. `allowed` says what the access rules say of one.
    pub fn authorised(&self, flows: &Flows, mut allowed: impl FnMut(&Flow) -> Permission) -> Authorised {
        let mut result = Authorised { truncated: flows.truncated, ..Authorised::default() };
        let declared = self.declared_publishers();
        for flow in &flows.flows {
            let declared_by = self.declared_by_whom(flow, flows.grouped, &declared);
            let judged = Judged { flow: flow.clone(), allowed: allowed(flow), declared_by };
            let disallowed = judged.allowed == Permission::Nothing;
            result.agreeing += u64::from(!judged.declared_by.is_empty() && !disallowed);
            if flow.crosses_zones {
                result.unconduited.push(judged.clone());
            }
            if disallowed {
                result.disallowed.push(judged.clone());
            }
            if judged.declared_by.is_empty() {
                result.undeclared.push(judged);
            }
        }
        result.unseen = self.unseen(flows);
        result.truncated |= result.unseen.len() > UNSEEN_MAX || declared.is_cut();
        result.unseen.truncate(UNSEEN_MAX);
        result
    }

    /// Who is declared to publish to what.
    fn declared_publishers(&self) -> Subscriptions<Arc<str>> {
        let mut declared = Subscriptions::default();
        for (name, entry) in self.declared.iter() {
            for filter in self.expanded(name, entry, &entry.kind.publishes) {
                declared.add(&filter, name);
            }
        }
        declared
    }

    fn declared_by_whom(
        &self,
        flow: &Flow,
        grouped: bool,
        declared: &Subscriptions<Arc<str>>,
    ) -> Vec<String> {
        if !flow.conduits.is_empty() {
            return flow.conduits.iter().map(|name| format!("conduit {name}")).collect();
        }
        if grouped {
            // A group is no device: any declaration that covers the topic may be of one of its members.
            let first = declared.of(&flow.topic).into_iter().next();
            return first.map(|name| format!("device {name} and perhaps others")).into_iter().collect();
        }
        let Some((name, entry)) = self.declared.get(&flow.publisher.name) else { return Vec::new() };
        let filters = self.expanded(name, entry, &entry.kind.publishes);
        match filters.iter().any(|filter| covers(filter, &flow.topic)) {
            true => vec![format!("device {name}")],
            false => Vec::new(),
        }
    }

    fn unseen(&self, flows: &Flows) -> Vec<FlowRule> {
        let mut unseen = Vec::new();
        for (name, entry) in self.declared.iter() {
            let source = format!("device {name}");
            let keys = self.declared.keys_of(name, entry);
            let devices = || keys.iter().filter_map(|key| Some((key, self.devices.get(key)?)));
            let kinds =
                [("publish", &entry.kind.publishes, true), ("subscribe", &entry.kind.subscribes, false)];
            for (action, filters, publishes) in kinds {
                for filter in filters.iter() {
                    let used = devices().any(|(key, device)| {
                        let (own, topics) =
                            (device.own(key), if publishes { &device.published } else { &device.subscribed });
                        let filter = own.expand(filter);
                        topics.iter().any(|topic| overlaps(&filter, &own.expand(&topic.pattern)))
                    });
                    if !used {
                        let filter = filter.to_string();
                        unseen.push(FlowRule { source: source.clone(), action: action.into(), filter });
                    }
                }
            }
        }
        for conduit in &self.places.conduits {
            let used = flows.flows.iter().any(|flow| flow.conduits.contains(&conduit.name));
            if !used {
                let filter = if conduit.topics.is_empty() { "#".into() } else { conduit.topics.join(", ") };
                unseen.push(FlowRule {
                    source: format!("conduit {}", conduit.name),
                    action: "pass".into(),
                    filter,
                });
            }
        }
        unseen
    }

    fn expanded(&self, name: &Arc<str>, entry: &Entry, filters: &[Arc<str>]) -> Vec<String> {
        let keys = self.declared.keys_of(name, entry);
        let found = keys.iter().find_map(|key| Some((key, self.devices.get(key)?)));
        match found {
            Some((key, device)) => filters.iter().map(|filter| device.own(key).expand(filter)).collect(),
            None => filters.iter().map(ToString::to_string).collect(),
        }
    }
}
