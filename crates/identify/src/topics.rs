//! The topics of one device: a bounded set of patterns with counters.
//!
//! A level that is the device's Client Identifier or identity is written `%c` or `%u`, so a fleet whose members differ in
//! nothing else shares the strings. Beyond the bound, topics that differ in one level become one pattern with `+` in
//! that level; where none do, the deepest ends are cut to `#`. A pattern stands for what was seen, and says no more: nobody
//! is granted anything by it.

use crate::names::Names;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::sync::Arc;

/// A pattern and what went over it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Topic {
    /// As a topic filter, with `%c` and `%u` levels.
    pub(crate) pattern: Arc<str>,
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    /// When last, in seconds since the Unix epoch.
    pub(crate) last_s: u32,
    /// Messages per second over the last minutes, as [`decay`] keeps it.
    pub(crate) rate: f32,
    /// Which QoS was seen: bits 0 to 2; bit 3 is retain.
    pub(crate) flags: u8,
}

/// The flag of a retained message.
pub(crate) const RETAINED: u8 = 8;

/// What one harvest counted for a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Messages.
    pub messages: u64,
    /// Bytes of payload and topic.
    pub bytes: u64,
    /// Messages by Quality of Service.
    pub qos: [u64; 3],
    /// How many of them were to be retained.
    pub retained: u64,
}

impl Traffic {
    fn flags(&self) -> u8 {
        let qos = (0..3).filter(|&level| self.qos[level] > 0).fold(0, |flags, level| flags | 1 << level);
        if self.retained > 0 { qos | RETAINED } else { qos }
    }
}

/// The rate that is left of `rate` after `seconds` without a message: it halves every minute.
pub(crate) fn decay(rate: f32, seconds: u32) -> f32 {
    const HALF_LIFE_S: f32 = 60.0;
    let left = rate * (-(seconds as f32) / HALF_LIFE_S).exp2();
    if left < 0.000_1 { 0.0 } else { left }
}

/// The names that stand for themselves in a pattern.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    pub(crate) client_id: &'a str,
    pub(crate) identity: Option<&'a str>,
}

impl Own<'_> {
    /// `meters/m-1/volt` of client `m-1` is `meters/%c/volt`.
    pub(crate) fn pattern(&self, topic: &str) -> String {
        let level = |level: &str| -> Option<&'static str> {
            match level {
                _ if level.is_empty() => None,
                _ if level == self.client_id => Some("%c"),
                _ if Some(level) == self.identity => Some("%u"),
                _ => None,
            }
        };
        join(topic.split('/').map(|own| level(own).unwrap_or(own)))
    }

    /// The topic (or filter) that the pattern stands for.
    pub(crate) fn expand(&self, pattern: &str) -> String {
        join(pattern.split('/').map(|level| match level {
            "%c" => self.client_id,
            "%u" => self.identity.unwrap_or(level),
            _ => level,
        }))
    }
}

fn join<'a>(levels: impl Iterator<Item = &'a str>) -> String {
    let mut joined = String::new();
    for (index, level) in levels.enumerate() {
        if index > 0 {
            joined.push('/');
        }
        joined.push_str(level);
    }
    joined
}

/// A bounded set of patterns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topics {
    // A boxed vector: most devices have one or two topics, many have none.
    entries: Vec<Topic>,
}

impl Topics {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic> {
        self.entries.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Counts traffic on a pattern. True if the set of patterns changed.
    pub(crate) fn add(
        &mut self,
        pattern: &str,
        traffic: &Traffic,
        now_s: u32,
        max: usize,
        names: &mut Names,
    ) -> bool {
        let known = self.entries.iter().position(|topic| covers(&topic.pattern, pattern));
        let (index, new) = match known {
            Some(index) => (index, false),
            None => (self.insert(&cut(pattern), now_s, max, names), true),
        };
        let topic = &mut self.entries[index];
        let elapsed = now_s.saturating_sub(topic.last_s).max(1);
        // A share of the half-life is learned per harvest, whatever time lies between two.
        let weight = 1.0 - decay(1.0, elapsed);
        topic.rate = topic.rate * (1.0 - weight) + weight * (traffic.messages as f32 / elapsed as f32);
        topic.messages = topic.messages.saturating_add(traffic.messages);
        topic.bytes = topic.bytes.saturating_add(traffic.bytes);
        topic.flags |= traffic.flags();
        topic.last_s = topic.last_s.max(now_s);
        new
    }

    /// Takes a pattern out, exactly as it was added; a pattern that absorbed it stays.
    pub(crate) fn remove(&mut self, pattern: &str) -> bool {
        let before = self.entries.len();
        self.entries.retain(|topic| *topic.pattern != *pattern);
        self.entries.len() != before
    }

    pub(crate) fn clear(&mut self) {
        self.entries = Vec::new();
    }

    /// Puts back what was kept on disk.
    pub(crate) fn restore(&mut self, topic: Topic, max: usize) {
        if self.entries.len() < max {
            self.entries.push(topic);
        }
    }

    fn insert(&mut self, pattern: &str, now_s: u32, max: usize, names: &mut Names) -> usize {
        let topic = Topic {
            pattern: names.intern(pattern),
            messages: 0,
            bytes: 0,
            last_s: now_s,
            rate: 0.0,
            flags: 0,
        };
        self.entries.reserve_exact(1);
        self.entries.push(topic);
        while self.entries.len() > max.max(1) {
            let merged = generalise(self.entries.iter().map(|topic| &*topic.pattern));
            self.absorb(names.intern(&merged));
        }
        let covering = self.entries.iter().position(|topic| covers(&topic.pattern, pattern));
        covering.unwrap_or(self.entries.len() - 1)
    }

    /// One entry for all that `wide` covers.
    fn absorb(&mut self, wide: Arc<str>) {
        let mut sum = Topic { pattern: wide, messages: 0, bytes: 0, last_s: 0, rate: 0.0, flags: 0 };
        self.entries.retain(|topic| {
            let covered = covers(&sum.pattern, &topic.pattern);
            if covered {
                sum.messages = sum.messages.saturating_add(topic.messages);
                sum.bytes = sum.bytes.saturating_add(topic.bytes);
                sum.last_s = sum.last_s.max(topic.last_s);
                sum.rate += topic.rate;
                sum.flags |= topic.flags;
            }
            !covered
        });
        self.entries.push(sum);
    }
}

/// How long a pattern may be: what is deeper or longer is cut to `#`.
const PATTERN_BYTES_MAX: usize = 120;
const LEVELS_MAX: usize = 12;

/// The pattern, or as many of its levels as are kept and `#`.
fn cut(pattern: &str) -> Cow<'_, str> {
    let mut end = 0;
    for (index, level) in pattern.split('/').enumerate() {
        let next = end + level.len() + usize::from(index > 0);
        if index >= LEVELS_MAX || next > PATTERN_BYTES_MAX {
            let wide = if index == 0 { "#".to_owned() } else { format!("{}/#", &pattern[..end]) };
            return Cow::Owned(wide);
        }
        end = next;
    }
    Cow::Borrowed(pattern)
}

/// Whether every topic of `narrow` is one of `wide`; both are patterns. Unlike in MQTT, `#` and `+` cover `$` topics: a
/// pattern is a summary.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    let (mut wide, mut narrow) = (wide.split('/'), narrow.split('/'));
    loop {
        match (wide.next(), narrow.next()) {
            (Some("#"), _) => return true,
            (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(left), Some(right)) if left == right => {}
            _ => return false,
        }
    }
}

/// Whether some topic is one of both patterns.
pub fn overlaps(left: &str, right: &str) -> bool {
    let (mut left, mut right) = (left.split('/'), right.split('/'));
    loop {
        match (left.next(), right.next()) {
            (Some("#"), _) | (_, Some("#")) => return true,
            (None, None) => return true,
            (Some(one), Some(other)) if one == "+" || other == "+" || one == other => {}
            // `a/#` is also `a`.
            _ => return false,
        }
    }
}

/// A pattern that covers at least two of the given: the one that gives up least.
///
/// Best is `+` in the level in which most of them differ while all other levels agree; else the two with the longest common
/// beginning, cut to `#`.
pub(crate) fn generalise<'a>(patterns: impl Iterator<Item = &'a str>) -> String {
    let split: Vec<Vec<&str>> = patterns.map(|pattern| pattern.split('/').collect()).collect();
    let mut best: Option<(usize, String)> = None;
    for (index, levels) in split.iter().enumerate() {
        for at in 0..levels.len() {
            if matches!(levels[at], "+" | "#") {
                continue;
            }
            let alike = split[index..].iter().filter(|other| differ_only_at(levels, other, at)).count();
            if alike > best.as_ref().map_or(1, |(count, _)| *count) {
                let wide = levels.iter().enumerate().map(|(level, own)| if level == at { "+" } else { own });
                best = Some((alike, join(wide)));
            }
        }
    }
    best.map_or_else(|| cut_longest_common(&split), |(_, pattern)| pattern)
}

fn differ_only_at(left: &[&str], right: &[&str], at: usize) -> bool {
    left.len() == right.len() && (0..left.len()).all(|level| level == at || left[level] == right[level])
}

fn cut_longest_common(split: &[Vec<&str>]) -> String {
    let common = |left: &[&str], right: &[&str]| {
        left.iter().zip(right).take_while(|(one, other)| one == other).count()
    };
    let mut longest: (usize, &[&str]) = (0, &[]);
    for (index, left) in split.iter().enumerate() {
        for right in &split[index + 1..] {
            // `a/b/#` and `a/b/#` cannot both be there; `a/#` and `a/b` become `a/#`.
            let length = common(left, right);
            if length > longest.0 {
                longest = (length, &left[..length]);
            }
        }
    }
    join(longest.1.iter().copied().filter(|level| *level != "#").chain(["#"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one() -> Traffic {
        Traffic { messages: 1, bytes: 10, qos: [0, 1, 0], retained: 0 }
    }

    fn filled(topics: &[String], max: usize) -> Topics {
        let (mut names, mut kept) = (Names::new(1), Topics::default());
        for (second, topic) in (0..).zip(topics) {
            kept.add(topic, &one(), second, max, &mut names);
        }
        kept
    }

    #[test]
    fn own_names_are_written_as_the_access_rules_write_them() {
        let own = Own { client_id: "m-1", identity: Some("meter1") };
        assert_eq!(own.pattern("meters/m-1/meter1/volt"), "meters/%c/%u/volt");
        assert_eq!(own.expand("meters/%c/%u/volt"), "meters/m-1/meter1/volt");
    }

    #[test]
    fn beyond_the_bound_the_level_that_differs_becomes_a_plus() {
        let topics: Vec<String> = (0..100).map(|number| format!("house/{number}/light")).collect();
        let kept = filled(&topics, 8);
        let patterns: Vec<_> = kept.iter().map(|topic| &*topic.pattern).collect();
        assert_eq!(patterns, ["house/+/light"]);
        assert_eq!(kept.iter().map(|topic| topic.messages).sum::<u64>(), 100);
    }

    #[test]
    fn what_has_nothing_in_common_ends_as_everything() {
        let topics: Vec<String> =
            (0..10).map(|number| vec![format!("{number}"); number + 1].join("/")).collect();
        let kept = filled(&topics, 3);
        assert!(kept.len() <= 3);
        assert!(topics.iter().all(|topic| kept.iter().any(|kept| covers(&kept.pattern, topic))));
    }

    #[test]
    fn patterns_overlap_where_a_topic_is_in_both() {
        for (left, right, expected) in [
            ("a/+/c", "a/b/+", true),
            ("a/#", "a", true),
            ("a/b", "a/c", false),
            ("a/b/#", "a/+", true),
            ("#", "x/y", true),
            ("a/b", "a", false),
        ] {
            assert_eq!(overlaps(left, right), expected, "{left} {right}");
            assert_eq!(overlaps(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn a_rate_settles_at_what_is_sent() {
        let (mut names, mut kept) = (Names::new(1), Topics::default());
        for second in 0..900 {
            kept.add("a", &Traffic { messages: 5, ..Traffic::default() }, second, 4, &mut names);
        }
        let rate = kept.iter().next().unwrap().rate;
        assert!((4.5..=5.5).contains(&rate), "{rate}");
        assert!(decay(rate, 600) < 0.01);
    }

    proptest! {
        #[test]
        fn every_topic_stays_covered_and_no_message_is_lost(
            topics in prop::collection::vec("[ab1]{1,2}(/[ab1]{0,2}){0,14}", 1..60),
            max in 1usize..10,
        ) {
            let kept = filled(&topics, max);
            prop_assert!(kept.len() <= max);
            prop_assert_eq!(kept.iter().map(|topic| topic.messages).sum::<u64>(), topics.len() as u64);
            for topic in &topics {
                prop_assert!(kept.iter().any(|kept| covers(&kept.pattern, topic)), "{} in {:?}", topic, kept);
            }
        }
    }
}
