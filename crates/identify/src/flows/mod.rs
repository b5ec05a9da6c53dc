//! Who sends what to whom.
//!
//! The traffic that publishers were seen to send is joined with the subscriptions that are live. Where there are many devices, or a topic tree
//! with many branches, rows are grouped: devices by class and site, topics as `generalise` does.

mod authorised;
mod index;

pub use authorised::{Authorised, FlowRule, Judged, Permission};

use crate::declared::without_share;
use crate::device::{Device, Key};
use crate::inventory::Inventory;
use crate::time::seconds;
use crate::topics::{RETAINED, covers, decay, generalise};
use index::Subscriptions;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How fine the matrix is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowOptions {
    /// Up to so many devices each is a row of its own; above, they are grouped by class and site.
    pub devices_max: usize,
    /// Topics below this many levels are cut to `#`.
    pub depth: usize,
    /// Different topic patterns; beyond, they are generalised.
    pub topics_max: usize,
    /// Rows; beyond, the answer says that it is cut.
    pub rows_max: usize,
}

impl Default for FlowOptions {
    fn default() -> FlowOptions {
        FlowOptions { devices_max: 100, depth: 8, topics_max: 200, rows_max: 5_000 }
    }
}

/// An end of a flow: a device, or a group of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct End {
    /// What it is called: the name a device is declared by, its key, or the group.
    pub name: String,
    /// Its zone.
    pub zone: Option<String>,
    /// How many devices it stands for.
    pub devices: u64,
}

/// A row of the matrix.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// Who publishes.
    pub publisher: End,
    /// The topic, or a pattern.
    pub topic: String,
    /// Who is subscribed; `None`: nobody is, the messages went nowhere.
    pub subscriber: Option<End>,
    /// Messages that the publishers sent.
    pub messages: u64,
    /// Bytes that they sent.
    pub bytes: u64,
    /// Messages per second, lately.
    pub rate: f64,
    /// The Qualities of Service that were used.
    pub qos: Vec<u8>,
    /// Whether messages were to be retained.
    pub retain: bool,
    /// The conduits that allow it, where it goes from one zone to another.
    pub conduits: Vec<String>,
    /// It goes from one zone to another and no conduit allows that.
    pub crosses_zones: bool,
}

/// The matrix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    /// Its rows: by publisher, topic, subscriber.
    pub flows: Vec<Flow>,
    /// Devices stand for themselves; else they are grouped.
    pub grouped: bool,
    /// There are more rows.
    pub truncated: bool,
}

/// What is summed up in a row.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    messages: u64,
    bytes: u64,
    rate: f64,
    flags: u8,
}

impl Sum {
    fn add(&mut self, other: Sum) {
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.rate += other.rate;
        self.flags |= other.flags;
    }
}

/// What each group (by its place among them) publishes to each topic.
type Published = BTreeMap<(usize, String), Sum>;

/// The name of an end and its zone.
type Group = (String, Option<String>);

impl Inventory {
    /// The matrix of flows.
    pub fn flows(&self, options: &FlowOptions, now_ms: u64) -> Flows {
        let grouped = self.devices.values().filter(|device| device.last_s != 0).count() > options.devices_max;
        let (groups, published, subscriptions) = self.collect(options, grouped, seconds(now_ms));
        let topics = generalised(published.keys().map(|(_, topic)| topic.as_str()), options.topics_max);
        let mut rows: BTreeMap<(usize, String, Option<usize>), Sum> = BTreeMap::new();
        for ((publisher, topic), sum) in published {
            let wide = topics.get(&topic).cloned().unwrap_or_else(|| topic.clone());
            let subscribers = subscriptions.of(&topic);
            if subscribers.is_empty() {
                rows.entry((publisher, wide.clone(), None)).or_default().add(sum);
            }
            for subscriber in subscribers {
                rows.entry((publisher, wide.clone(), Some(subscriber))).or_default().add(sum);
            }
        }
        let truncated = rows.len() > options.rows_max || subscriptions.is_cut();
        let row = |((publisher, topic, subscriber), sum): (&(usize, String, Option<usize>), &Sum)| {
            let publisher = groups[*publisher].clone();
            let subscriber = subscriber.map(|index| groups[index].clone());
            let to = subscriber.as_ref().and_then(|end| end.zone.as_deref());
            let (conduits, crosses_zones) = self.conduits_of(publisher.zone.as_deref(), to, topic);
            Flow {
                publisher,
                topic: topic.clone(),
                subscriber,
                messages: sum.messages,
                bytes: sum.bytes,
                rate: sum.rate,
                qos: (0..3).filter(|level| sum.flags & (1 << level) != 0).collect(),
                retain: sum.flags & RETAINED != 0,
                conduits,
                crosses_zones,
            }
        };
        Flows { flows: rows.iter().take(options.rows_max).map(row).collect(), grouped, truncated }
    }

    /// What a device or a group is called in the matrix.
    fn group(&self, key: &Key, device: &Device, grouped: bool) -> Group {
        let zone = self.zone_name(key, device).map(str::to_owned);
        let declared = self.declared.of(key).map(|(name, _)| name);
        let name = match grouped {
            false => declared.map_or_else(|| key.to_string(), ToString::to_string),
            true => {
                let class = device.facts.class.as_deref().unwrap_or("default class");
                let site = self.site_name(key, device).unwrap_or("no site");
                format!("{class} at {site}")
            }
        };
        (name, zone)
    }

    /// The groups; what each publishes, and to what each is subscribed, by its place among them.
    fn collect(
        &self,
        options: &FlowOptions,
        grouped: bool,
        now_s: u32,
    ) -> (Vec<End>, Published, Subscriptions<usize>) {
        let (mut groups, mut places) = (Vec::new(), BTreeMap::<Group, usize>::new());
        let (mut published, mut subscriptions) = (Published::new(), Subscriptions::default());
        for (key, device) in self.devices.iter().filter(|(_, device)| device.last_s != 0) {
            let (name, zone) = self.group(key, device, grouped);
            let group = *places.entry((name.clone(), zone.clone())).or_insert(groups.len());
            if group == groups.len() {
                groups.push(End { name, zone, devices: 0 });
            }
            groups[group].devices += 1;
            let own = device.own(key);
            for topic in device.published.iter() {
                let sum = Sum {
                    messages: topic.messages,
                    bytes: topic.bytes,
                    rate: f64::from(decay(topic.rate, now_s.saturating_sub(topic.last_s))),
                    flags: topic.flags,
                };
                let topic = depth(&own.expand(&topic.pattern), options.depth);
                published.entry((group, topic)).or_default().add(sum);
            }
            for topic in device.subscribed.iter() {
                subscriptions.add(without_share(&own.expand(&topic.pattern)), &group);
            }
        }
        (groups, published, subscriptions)
    }

    /// The conduits that allow a flow between zones, and whether it needs one and has none.
    fn conduits_of(&self, from: Option<&str>, to: Option<&str>, topic: &str) -> (Vec<String>, bool) {
        let (Some(from), Some(to)) = (from, to) else { return (Vec::new(), false) };
        if from == to {
            return (Vec::new(), false);
        }
        let allows =
            |filters: &[String]| filters.is_empty() || filters.iter().any(|filter| covers(filter, topic));
        let between = self.places.conduits.iter().filter(|conduit| conduit.from == from && conduit.to == to);
        let names: Vec<String> =
            between.filter(|conduit| allows(&conduit.topics)).map(|conduit| conduit.name.clone()).collect();
        let crosses = names.is_empty();
        (names, crosses)
    }
}

/// The topic, or as many of its levels and `#`.
fn depth(topic: &str, levels: usize) -> String {
    match topic.match_indices('/').nth(levels.max(1) - 1) {
        Some((end, _)) if topic.split('/').count() > levels.max(1) => format!("{}/#", &topic[..end]),
        _ => topic.to_owned(),
    }
}

/// What each topic is called so that there are at most `max` names. Empty: as they are.
fn generalised<'a>(topics: impl Iterator<Item = &'a str>, max: usize) -> BTreeMap<String, String> {
    let all: BTreeSet<&str> = topics.collect();
    if all.len() <= max.max(1) {
        return BTreeMap::new();
    }
    let mut names: Vec<String> = all.iter().map(|topic| (*topic).to_owned()).collect();
    let mut wide: BTreeSet<String> = names.iter().cloned().collect();
    // First whole levels at once, from the one with most branches; then by pairs, which is dear, for what is left.
    while wide.len() > max.max(1) {
        let before = wide.len();
        if before > PAIRS_MAX {
            let level = widest_level(&wide);
            names.iter_mut().for_each(|name| *name = widen_level(name, level));
        } else {
            let merged = generalise(wide.iter().map(String::as_str));
            let covered: BTreeSet<&str> =
                wide.iter().map(String::as_str).filter(|name| covers(&merged, name)).collect();
            for name in names.iter_mut().filter(|name| covered.contains(name.as_str())) {
                name.clone_from(&merged);
            }
        }
        wide = names.iter().cloned().collect();
        if wide.len() >= before {
            names.fill("#".to_owned());
            break;
        }
    }
    all.into_iter().map(str::to_owned).zip(names).collect()
}

/// Comparing all pairs is done for this many patterns at most.
const PAIRS_MAX: usize = 256;

/// The level in which the patterns have most different names; `None`: there are only wildcards.
fn widest_level(patterns: &BTreeSet<String>) -> Option<usize> {
    let mut names: BTreeMap<usize, BTreeSet<&str>> = BTreeMap::new();
    for pattern in patterns {
        for (level, name) in pattern.split('/').enumerate().filter(|(_, name)| !matches!(*name, "+" | "#")) {
            names.entry(level).or_default().insert(name);
        }
    }
    let most = names.iter().max_by_key(|(level, names)| (names.len(), std::cmp::Reverse(**level)));
    most.map(|(level, _)| *level)
}

/// The pattern with `+` in that level.
fn widen_level(pattern: &str, level: Option<usize>) -> String {
    let levels = pattern.split('/').enumerate();
    let wide = levels.map(|(at, name)| if Some(at) == level && name != "#" { "+" } else { name });
    wide.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_cut_by_depth() {
        assert_eq!(depth("a/b/c/d", 2), "a/b/#");
        assert_eq!(depth("a/b", 2), "a/b");
        assert_eq!(depth("a", 1), "a");
    }

    #[test]
    fn many_topics_become_few_and_all_stay_covered() {
        let topics: Vec<String> = (0..5_000)
            .map(|number| format!("site{}/meter{number}/{}", number % 5, ["volt", "amp"][number % 2]))
            .collect();
        for max in [1, 5, 20, 300] {
            let names = generalised(topics.iter().map(String::as_str), max);
            let wide: BTreeSet<&String> = names.values().collect();
            assert!(wide.len() <= max, "{} of {max}", wide.len());
            assert!(topics.iter().all(|topic| covers(&names[topic], topic)));
        }
        assert!(generalised(["a", "b"].into_iter(), 2).is_empty());
    }
}
