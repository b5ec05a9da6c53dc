//! Names that are kept once, and who has subscribed to what.

use super::Table;
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use ravelin_mqtt::matches;
use std::sync::Arc;

/// Names that are shared; more are kept by whoever needs them.
const NAMES_MAX: usize = 200_000;
/// Filters with wildcards, and topics whose route is remembered.
const WILDCARDS_MAX: usize = 10_000;
const ROUTES_MAX: usize = 100_000;
/// Filters of one client.
const FILTERS_MAX: usize = 10_000;

/// Each name once.
#[derive(Default)]
pub(super) struct Names(HashSet<Arc<str>, FixedState>);

impl Names {
    pub fn keep(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        if self.0.len() < NAMES_MAX {
            self.0.insert(Arc::clone(&name));
        }
        name
    }
}

/// The filters that were granted, and whether one of them matches a topic.
#[derive(Default)]
pub(super) struct Subscriptions {
    by_client: Table<Arc<str>, HashSet<Arc<str>, FixedState>>,
    /// How many clients have each filter without wildcards.
    exact: Table<Arc<str>, u32>,
    wild: Vec<(Arc<str>, u32)>,
    /// What was found for a topic, until a subscription changes.
    routes: Table<Arc<str>, bool>,
}

impl Subscriptions {
    pub fn add(&mut self, client_id: &Arc<str>, filter: Arc<str>) {
        let filters = self.by_client.entry(Arc::clone(client_id)).or_default();
        if filters.len() >= FILTERS_MAX || !filters.insert(Arc::clone(&filter)) {
            return;
        }
        self.routes.clear();
        let plain = plain(&filter);
        if !plain.contains(['+', '#']) {
            *self.exact.entry(plain.into()).or_default() += 1;
        } else if let Some((_, count)) = self.wild.iter_mut().find(|(known, _)| **known == *plain) {
            *count += 1;
        } else if self.wild.len() < WILDCARDS_MAX {
            self.wild.push((plain.into(), 1));
        }
    }

    pub fn remove(&mut self, client_id: &Arc<str>, filter: &str) {
        if self.by_client.get_mut(client_id).is_some_and(|filters| filters.remove(filter)) {
            self.routes.clear();
            self.dropped(plain(filter));
        }
    }

    /// The session has ended.
    pub fn end(&mut self, client_id: &Arc<str>) {
        let Some(filters) = self.by_client.remove(client_id) else { return };
        self.routes.clear();
        for filter in filters {
            self.dropped(plain(&filter));
        }
    }

    fn dropped(&mut self, plain: &str) {
        if let Some(count) = self.exact.get_mut(plain) {
            *count -= 1;
            if *count == 0 {
                self.exact.remove(plain);
            }
        } else if let Some(at) = self.wild.iter().position(|(known, _)| **known == *plain) {
            self.wild[at].1 -= 1;
            if self.wild[at].1 == 0 {
                self.wild.swap_remove(at);
            }
        }
    }

    /// Whether somebody has a filter that matches.
    pub fn reach(&mut self, topic: &Arc<str>) -> bool {
        if let Some(known) = self.routes.get(topic) {
            return *known;
        }
        let found =
            self.exact.contains_key(topic) || self.wild.iter().any(|(filter, _)| matches(filter, topic));
        if self.routes.len() >= ROUTES_MAX {
            self.routes.clear();
        }
        self.routes.insert(Arc::clone(topic), found);
        found
    }

    /// Whether this client has a filter that matches.
    pub fn has(&self, client_id: &Arc<str>, topic: &str) -> bool {
        let Some(filters) = self.by_client.get(client_id) else { return false };
        filters.contains(topic) || filters.iter().any(|filter| matches(plain(filter), topic))
    }
}

/// The filter of a shared subscription without its group.
fn plain(filter: &str) -> &str {
    let rest = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    rest.map_or(filter, |(_, filter)| filter)
}
