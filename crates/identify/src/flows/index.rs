//! Which subscriptions a topic pattern meets.

use crate::topics::overlaps;
use std::collections::{BTreeMap, BTreeSet};

/// Topic filters and who has them. Filters without wildcards are looked up; the others are kept by their first level.
#[derive(Debug)]
pub(super) struct Subscriptions<T> {
    exact: BTreeMap<String, BTreeSet<T>>,
    wild: BTreeMap<String, BTreeMap<String, BTreeSet<T>>>,
}

impl<T> Default for Subscriptions<T> {
    fn default() -> Subscriptions<T> {
        Subscriptions { exact: BTreeMap::new(), wild: BTreeMap::new() }
    }
}

impl<T: Clone + Ord> Subscriptions<T> {
    pub(super) fn add(&mut self, filter: &str, who: &T) {
        let holders = match is_wild(filter) {
            false => self.exact.entry(filter.to_owned()).or_default(),
            true => {
                let first = filter.split('/').next().unwrap_or_default();
                self.wild.entry(first.to_owned()).or_default().entry(filter.to_owned()).or_default()
            }
        };
        if !holders.contains(who) {
            holders.insert(who.clone());
        }
    }

    /// Who gets some message that the pattern covers.
    pub(super) fn of(&self, pattern: &str) -> BTreeSet<T> {
        let mut found = BTreeSet::new();
        let mut take = |filters: &BTreeMap<String, BTreeSet<T>>| {
            // MQTT-4.7.2-1: a filter that starts with a wildcard does not match a topic that starts with `$`.
            let meets = |filter: &str| {
                overlaps(filter, pattern) && !(pattern.starts_with('$') && filter.starts_with(['+', '#']))
            };
            for (_, holders) in filters.iter().filter(|(filter, _)| meets(filter)) {
                found.extend(holders.iter().cloned());
            }
        };
        let first = pattern.split('/').next().unwrap_or_default();
        if matches!(first, "+" | "#") {
            self.wild.values().for_each(&mut take);
        } else {
            [first, "+", "#"].iter().filter_map(|first| self.wild.get(*first)).for_each(&mut take);
        }
        if is_wild(pattern) {
            // Of the filters that begin as the pattern does before its first wildcard.
            let fixed = &pattern[..pattern.find(['+', '#']).unwrap_or(pattern.len())];
            // `a/#` is also `a`.
            let start = fixed.strip_suffix('/').unwrap_or(fixed);
            let range =
                self.exact.range(start.to_owned()..).take_while(|(filter, _)| filter.starts_with(start));
            for (_, holders) in range.filter(|(filter, _)| overlaps(filter, pattern)) {
                found.extend(holders.iter().cloned());
            }
        } else if let Some(holders) = self.exact.get(pattern) {
            found.extend(holders.iter().cloned());
        }
        found
    }
}

fn is_wild(filter: &str) -> bool {
    filter.split('/').any(|level| matches!(level, "+" | "#"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_index_finds_what_comparing_all_finds(
            filters in prop::collection::vec("[ab+]{1}(/[ab+]{1}){0,3}(/#)?", 1..12),
            pattern in "[ab+]{1}(/[ab+]{1}){0,3}(/#)?",
        ) {
            let mut index = Subscriptions::default();
            for (number, filter) in filters.iter().enumerate() {
                index.add(filter, &number);
            }
            let expected: BTreeSet<usize> = (0..filters.len()).filter(|&number| overlaps(&filters[number], &pattern)).collect();
            prop_assert_eq!(index.of(&pattern), expected);
        }

        #[test]
        fn a_topic_meets_the_filters_that_match_it(
            filters in prop::collection::vec("[$ab+]{1}(/[ab+]{1}){0,3}(/#)?", 1..12),
            topic in "[$ab]{1}(/[ab]{1}){0,3}",
        ) {
            let mut index = Subscriptions::default();
            for (number, filter) in filters.iter().enumerate() {
                index.add(filter, &number);
            }
            let matching = |number: &usize| ravelin_mqtt::matches(&filters[*number], &topic);
            let expected: BTreeSet<usize> = (0..filters.len()).filter(matching).collect();
            prop_assert_eq!(index.of(&topic), expected);
        }
    }
}
