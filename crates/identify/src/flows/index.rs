//! Which subscriptions a topic pattern meets: a tree of filters by level.
//!
//! A topic costs its levels, whatever the number of filters. A pattern with wildcards may meet a large part of the tree: all questions
//! together may look at so many nodes, and after that say that they were cut.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

/// Nodes that all questions together look at: about a second.
const LOOKS_MAX: u64 = 5_000_000;

/// Topic filters and who has them.
#[derive(Debug)]
pub(super) struct Subscriptions<T> {
    root: Node<T>,
    looks: Cell<u64>,
}

#[derive(Debug)]
struct Node<T> {
    children: BTreeMap<String, Node<T>>,
    /// Whose filter ends here.
    here: BTreeSet<T>,
    /// Whose filter ends here with `#`.
    below: BTreeSet<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Node<T> {
        Node { children: BTreeMap::new(), here: BTreeSet::new(), below: BTreeSet::new() }
    }
}

impl<T> Default for Subscriptions<T> {
    fn default() -> Subscriptions<T> {
        Subscriptions { root: Node::default(), looks: Cell::new(LOOKS_MAX) }
    }
}

impl<T: Clone + Ord> Subscriptions<T> {
    pub(super) fn add(&mut self, filter: &str, who: &T) {
        let mut node = &mut self.root;
        for level in filter.split('/') {
            if level == "#" {
                node.below.insert(who.clone());
                return;
            }
            if !node.children.contains_key(level) {
                node.children.insert(level.to_owned(), Node::default());
            }
            let Some(child) = node.children.get_mut(level) else { return };
            node = child;
        }
        node.here.insert(who.clone());
    }

    /// Whether a question was not answered to its end.
    pub(super) fn is_cut(&self) -> bool {
        self.looks.get() == 0
    }

    /// Who gets some message that the pattern covers.
    pub(super) fn of(&self, pattern: &str) -> BTreeSet<T> {
        let levels: Vec<&str> = pattern.split('/').collect();
        let mut found = BTreeSet::new();
        // Node, how many levels of the pattern lead to it, and whether all below it counts.
        let mut waiting = vec![(&self.root, 0, false)];
        while let Some((node, depth, all)) = waiting.pop() {
            let Some(left) = self.looks.get().checked_sub(1) else { break };
            self.looks.set(left);
            // MQTT-4.7.2-1: a filter that starts with a wildcard does not match a topic that starts with `$`.
            let hidden = depth == 0 && pattern.starts_with('$');
            if !hidden {
                found.extend(node.below.iter().cloned());
            }
            let level = levels.get(depth).copied();
            if all || level.is_none() || level == Some("#") {
                // `a/#` is also `a`.
                found.extend(node.here.iter().cloned());
            }
            match level {
                _ if all => waiting.extend(node.children.values().map(|child| (child, depth, true))),
                Some("#") => waiting.extend(node.children.values().map(|child| (child, depth, true))),
                Some("+") => waiting.extend(node.children.values().map(|child| (child, depth + 1, false))),
                Some(level) => {
                    let any = Some("+").filter(|_| !hidden);
                    let names = [Some(level), any].into_iter().flatten();
                    waiting
                        .extend(names.filter_map(|name| Some((node.children.get(name)?, depth + 1, false))));
                }
                None => {}
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topics::overlaps;
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

    #[test]
    fn what_is_asked_is_bounded() {
        let mut index = Subscriptions::default();
        for number in 0..10_000 {
            index.add(&format!("a/{number}/#"), &0);
        }
        for _ in 0..1_000 {
            index.of("+/+/x");
        }
        assert!(index.is_cut());
        assert!(index.of("a/1/x").is_empty(), "and does not begin anew");
    }
}
