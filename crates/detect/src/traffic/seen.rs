//! Who has used which topic and filter, and which topics are alive. Exact up to a bound, and then the longest unused is
//! forgotten.

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::ops::Bound;
use std::sync::Arc;

/// A set of hashes in two generations: when the young one is full, it becomes the old one, and the old one is forgotten.
#[derive(Clone, Debug)]
pub struct Seen {
    young: HashSet<u64, FixedState>,
    old: HashSet<u64, FixedState>,
    hasher: FixedState,
    /// Generations that were forgotten.
    pub forgotten: u64,
}

impl Seen {
    /// An empty one.
    pub fn new(seed: u64) -> Seen {
        let hasher = FixedState::with_seed(seed);
        let set = || HashSet::with_hasher(FixedState::with_seed(seed ^ 1));
        Seen { young: set(), old: set(), hasher, forgotten: 0 }
    }

    /// The key of two names.
    pub fn key(&self, kind: u8, client_id: &str, name: &str) -> u64 {
        self.hasher.hash_one((kind, client_id, name))
    }

    /// Remembers `key`; whether it is new. At most `max` in all.
    pub fn insert(&mut self, key: u64, max: usize) -> bool {
        if self.young.contains(&key) {
            return false;
        }
        let new = !self.old.remove(&key);
        if self.young.len() >= (max / 2).max(1) {
            self.forgotten += 1;
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(key);
        new
    }
}

/// Topics that somebody has published to, for the question whether a filter matches anything.
#[derive(Clone, Debug, Default)]
pub struct Live {
    topics: BTreeMap<Arc<str>, u64>,
    /// Topics that gave way.
    pub evictions: u64,
}

/// A topic is alive for a day after somebody published to it.
const ALIVE_MS: u64 = 86_400_000;
/// Topics that are compared with one filter: a bound on what a filter like `+/+/x` costs.
const COMPARED_MAX: usize = 512;

impl Live {
    /// Somebody published to `topic`.
    pub fn insert(&mut self, at_ms: u64, topic: &Arc<str>, max: usize) {
        if let Some(last) = self.topics.get_mut(topic) {
            *last = at_ms;
            return;
        }
        if self.topics.len() >= max {
            self.topics.retain(|_, last| at_ms.saturating_sub(*last) < ALIVE_MS);
            if self.topics.len() >= max {
                // Full of living topics: the half used longest ago goes, so that this is seldom done.
                let mut ages: Vec<u64> = self.topics.values().copied().collect();
                ages.sort_unstable();
                let middle = ages[ages.len() / 2];
                let before = self.topics.len();
                self.topics.retain(|_, last| *last > middle);
                self.evictions += (before - self.topics.len()) as u64;
            }
        }
        self.topics.insert(topic.clone(), at_ms);
    }

    /// Whether `filter` (with or without `$share/group/`) matches a living topic. When too many have to be compared, the
    /// answer is yes: in doubt for the client.
    pub fn matches(&self, at_ms: u64, filter: &str) -> bool {
        let filter = without_share(filter);
        let alive = |last: &u64| at_ms.saturating_sub(*last) < ALIVE_MS;
        let Some(wildcard) = filter.find(['+', '#']) else {
            return self.topics.get(filter).is_some_and(alive);
        };
        // `a/#` matches `a` as well: the range begins with the parent level.
        let prefix = filter[..wildcard].trim_end_matches('/');
        let mut compared = 0;
        for (topic, last) in self.topics.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)) {
            if !topic.starts_with(prefix) {
                return false;
            }
            compared += 1;
            if compared > COMPARED_MAX || alive(last) && ravelin_mqtt::matches(filter, topic) {
                return true;
            }
        }
        false
    }
}

/// The Topic Filter of a shared subscription.
pub fn without_share(filter: &str) -> &str {
    filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map_or(filter, |(_, filter)| filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_new_once_until_it_is_forgotten() {
        let mut seen = Seen::new(7);
        let key = seen.key(0, "c", "a/b");
        assert!(seen.insert(key, 100));
        assert!(!seen.insert(key, 100));
        for other in 0..60u64 {
            seen.insert(other, 100);
        }
        assert!(!seen.insert(key, 100), "the old generation still knows it");
        for other in 1_000..1_200u64 {
            seen.insert(other, 100);
        }
        assert!(seen.insert(key, 100));
        assert!(seen.forgotten > 2);
        assert!(seen.young.len() + seen.old.len() <= 100);
    }

    #[test]
    fn filters_match_living_topics() {
        let mut live = Live::default();
        for topic in ["plant/a/temp", "plant/b/temp", "plant", "office/door"] {
            live.insert(1, &topic.into(), 100);
        }
        for filter in
            ["plant/a/temp", "plant/+/temp", "plant/#", "#", "+/door", "$share/g/plant/#", "plant/a/#"]
        {
            assert!(live.matches(2, filter), "{filter}");
        }
        for filter in ["plant/c/temp", "plan", "plant/+/hum", "yard/#", "$SYS/#", "off/+"] {
            assert!(!live.matches(2, filter), "{filter}");
        }
        assert!(!live.matches(ALIVE_MS + 2, "plant/#"), "a day later nothing is alive");
    }

    #[test]
    fn living_topics_are_bounded() {
        let mut live = Live::default();
        for topic in 0..1_000u64 {
            live.insert(topic, &format!("t/{topic}").into(), 100);
        }
        assert!(live.topics.len() <= 100 && live.evictions > 0);
        assert!(live.matches(1_000, "t/999"));
    }
}
