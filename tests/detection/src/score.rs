//! Alarms beside labels.
//!
//! An *episode* is a run of rows of one attack with less than `GAP_US` between them; a label such as `flood#3` is one
//! episode, however long its pauses. An alarm is *true* if it is about somebody who has rows in an episode, and its time
//! touches that episode; every other alarm is false. *Recall* is the share of episodes with a true alarm, *precision* the
//! share of alarms that are true. Findings are no alarms and count nowhere.

use ravelin_event::{Alarm, Notice, Subject};
use ravelin_replay::{Row, What};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// What is not an attack.
pub const BENIGN: &str = "benign";
/// A longer pause ends an episode.
const GAP_US: u64 = 60_000_000;
/// An alarm may come so long after the end of an episode: some tests need the silence after it.
const LATE_MS: u64 = 60_000;

/// An attack.
#[derive(Clone, Debug, Default)]
pub struct Episode {
    /// The label, without the number of the episode.
    pub class: String,
    /// When each of its rows was, in microseconds since the Unix epoch.
    pub rows: Vec<u64>,
    clients: BTreeSet<String>,
    sources: BTreeSet<IpAddr>,
    identities: BTreeSet<String>,
    topics: BTreeSet<String>,
}

impl Episode {
    /// When it began, in milliseconds.
    pub fn from_ms(&self) -> u64 {
        self.rows.first().map_or(0, |at_us| at_us / 1000)
    }

    /// When it ended, in milliseconds.
    pub fn to_ms(&self) -> u64 {
        self.rows.last().map_or(0, |at_us| at_us / 1000)
    }

    fn take(&mut self, row: &Row<'_>) {
        self.rows.push(row.at_us);
        self.sources.insert(row.source.ip());
        for (set, name) in [
            (&mut self.clients, row.client_id),
            (&mut self.identities, row.user_name),
            (&mut self.topics, row.topic),
        ] {
            if !name.is_empty() && !set.contains(name) {
                set.insert(name.to_owned());
            }
        }
    }

    /// Whether an alarm is about this.
    fn explains(&self, alarm: &Alarm) -> bool {
        let until_ms = alarm.cleared_ms.unwrap_or(u64::MAX).max(alarm.raised_ms);
        let in_time = alarm.raised_ms <= self.to_ms() + LATE_MS && until_ms >= self.from_ms();
        let client = |name: &str| self.clients.contains(name);
        let source = |address: &IpAddr| self.sources.contains(address);
        in_time
            && match &alarm.subject {
                Subject::Client(name) => {
                    client(name) || alarm.address.is_some_and(|address| source(&address.ip()))
                }
                Subject::Source(address) => source(address),
                Subject::Identity(name) => self.identities.contains(&**name),
                Subject::Topic(name) => self.topics.contains(&**name),
                // It names nobody: it must have been raised because of this.
                Subject::Fleet | Subject::Node | Subject::Class(_) => alarm.raised_ms >= self.from_ms(),
                _ => alarm.client_id.as_deref().is_some_and(client),
            }
    }
}

/// What is known to be true.
#[derive(Default)]
pub struct Truth {
    episodes: Vec<Episode>,
    /// The episode of each label that may go on.
    running: BTreeMap<String, usize>,
    /// When each client was first and last seen to do no harm, in microseconds.
    benign: BTreeMap<Arc<str>, (u64, u64)>,
    /// The client of each connection, for rows without its name.
    names: BTreeMap<u64, Arc<str>>,
    last_us: u64,
}

impl Truth {
    /// Takes a row and its label.
    pub fn see(&mut self, row: &Row<'_>, label: &str) {
        self.last_us = self.last_us.max(row.at_us);
        if label == BENIGN {
            if row.what == What::Connect {
                self.names.insert(row.connection, row.client_id.into());
            }
            if let Some(name) = self.names.get(&row.connection) {
                match self.benign.get_mut(name) {
                    Some(seen) => seen.1 = row.at_us,
                    None => drop(self.benign.insert(Arc::clone(name), (row.at_us, row.at_us))),
                }
            }
            return;
        }
        let running = self.running.get(label).copied().filter(|&at| {
            label.contains('#')
                || self.episodes[at].rows.last().is_none_or(|last| row.at_us.saturating_sub(*last) < GAP_US)
        });
        let at = running.unwrap_or_else(|| {
            let class = label.split('#').next().unwrap_or(label).to_owned();
            self.episodes.push(Episode { class, ..Episode::default() });
            self.running.insert(label.to_owned(), self.episodes.len() - 1);
            self.episodes.len() - 1
        });
        self.episodes[at].take(row);
    }

    /// An attack that shows only in what is missing: what this client would have sent between two of its rows.
    pub fn missing(&mut self, class: &str, client_id: &str, source: IpAddr, from_us: u64, to_us: u64) {
        self.episodes.push(Episode {
            class: class.to_owned(),
            rows: vec![from_us, to_us],
            clients: BTreeSet::from([client_id.to_owned()]),
            sources: BTreeSet::from([source]),
            ..Episode::default()
        });
    }

    /// The attacks.
    pub fn episodes(&self) -> &[Episode] {
        &self.episodes
    }

    /// How long all benign clients together were there, in days.
    pub fn client_days(&self) -> f64 {
        self.benign.values().map(|(first, last)| (last - first) as f64 / 86_400e6).sum()
    }
}

/// What was said.
#[derive(Default)]
pub struct Alarms {
    /// All alarms, by their number.
    pub raised: BTreeMap<u64, Arc<Alarm>>,
    /// Findings, by detector.
    pub findings: BTreeMap<String, u64>,
}

impl Alarms {
    /// Takes a notice.
    pub fn hear(&mut self, notice: &Notice) {
        match notice {
            Notice::Finding(alarm) => *self.findings.entry(alarm.detector.to_string()).or_default() += 1,
            Notice::Raised(alarm) => drop(self.raised.insert(alarm.id, Arc::clone(alarm))),
            other => {
                let alarm = other.alarm();
                if let Some(known) = self.raised.get_mut(&alarm.id) {
                    *known = Arc::clone(alarm);
                }
            }
        }
    }
}

/// How one class of attacks fared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Attacks.
    pub episodes: u64,
    /// Those that an alarm was raised about.
    pub found: u64,
    /// Seconds from the first row of each that was found to the first alarm, in order.
    pub seconds: Vec<f64>,
    /// Rows of it up to then.
    pub events: Vec<u64>,
    /// True alarms, by detector.
    pub alarms: BTreeMap<String, u64>,
}

impl Figures {
    /// The share of the attacks that was found.
    pub fn recall(&self) -> f64 {
        if self.episodes == 0 { 1.0 } else { self.found as f64 / self.episodes as f64 }
    }

    /// The median of the seconds to the first alarm.
    pub fn median_s(&self) -> Option<f64> {
        self.seconds.get(self.seconds.len().checked_sub(1)? / 2).copied()
    }
}

/// A judgement of many recordings.
#[derive(Default)]
pub struct Score {
    /// By class of attack.
    pub classes: BTreeMap<String, Figures>,
    /// Alarms that are false, each with the recording that it came from.
    pub false_alarms: Vec<(String, Arc<Alarm>)>,
    /// All alarms that are true.
    pub true_alarms: u64,
    /// Attacks that were missed: the recording, the class, when it began (milliseconds), how many rows.
    pub missed: Vec<(String, String, u64, usize)>,
    /// Benign clients, times days.
    pub client_days: f64,
    /// Findings.
    pub findings: u64,
}

impl Score {
    /// Judges what was said in one recording.
    pub fn judge(&mut self, name: &str, truth: &Truth, alarms: &Alarms) {
        self.client_days += truth.client_days();
        self.findings += alarms.findings.values().sum::<u64>();
        for alarm in alarms.raised.values() {
            if !truth.episodes.iter().any(|episode| episode.explains(alarm)) {
                self.false_alarms.push((name.to_owned(), Arc::clone(alarm)));
            } else {
                self.true_alarms += 1;
            }
        }
        for episode in &truth.episodes {
            let figures = self.classes.entry(episode.class.clone()).or_default();
            figures.episodes += 1;
            let about: Vec<&Arc<Alarm>> =
                alarms.raised.values().filter(|alarm| episode.explains(alarm)).collect();
            for alarm in &about {
                *figures.alarms.entry(alarm.detector.to_string()).or_default() += 1;
            }
            let Some(first_ms) = about.iter().map(|alarm| alarm.raised_ms).min() else {
                self.missed.push((
                    name.to_owned(),
                    episode.class.clone(),
                    episode.from_ms(),
                    episode.rows.len(),
                ));
                continue;
            };
            figures.found += 1;
            figures.seconds.push(first_ms.saturating_sub(episode.from_ms()) as f64 / 1000.0);
            figures.seconds.sort_by(f64::total_cmp);
            figures
                .events
                .push(episode.rows.iter().filter(|at_us| **at_us / 1000 <= first_ms).count() as u64);
            figures.events.sort_unstable();
        }
    }

    /// The share of all alarms that is true.
    pub fn precision(&self) -> f64 {
        let all = self.true_alarms + self.false_alarms.len() as u64;
        if all == 0 { 1.0 } else { self.true_alarms as f64 / all as f64 }
    }

    /// The share of all attacks that was found.
    pub fn recall(&self) -> f64 {
        let episodes: u64 = self.classes.values().map(|figures| figures.episodes).sum();
        let found: u64 = self.classes.values().map(|figures| figures.found).sum();
        if episodes == 0 { 1.0 } else { found as f64 / episodes as f64 }
    }

    /// The median of the seconds to the first alarm, of all attacks that were found.
    pub fn median_s(&self) -> f64 {
        let mut all: Vec<f64> = self.classes.values().flat_map(|figures| figures.seconds.clone()).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
    }

    /// The figures as a table, and each miss and each false alarm.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:28} {:>8} {:>6} {:>7} {:>10} {:>10} {:>8}  {}\n",
            "attack", "episodes", "found", "recall", "median s", "slowest s", "events", "alarms"
        );
        for (class, figures) in &self.classes {
            let detectors: Vec<String> =
                figures.alarms.iter().map(|(name, count)| format!("{name} {count}")).collect();
            let _ = writeln!(
                text,
                "{class:28} {:>8} {:>6} {:>7.3} {:>10.3} {:>10.3} {:>8}  {}",
                figures.episodes,
                figures.found,
                figures.recall(),
                figures.median_s().unwrap_or(f64::NAN),
                figures.seconds.last().copied().unwrap_or(f64::NAN),
                figures.events.get(figures.events.len().saturating_sub(1) / 2).copied().unwrap_or(0),
                detectors.join(", ")
            );
        }
        let _ = writeln!(
            text,
            "precision {:.4} ({} true, {} false), recall {:.4}, median {:.3} s, {} findings, {:.1} benign client-days, \
             {:.4} false alarms a client-day",
            self.precision(),
            self.true_alarms,
            self.false_alarms.len(),
            self.recall(),
            self.median_s(),
            self.findings,
            self.client_days,
            self.false_alarms.len() as f64 / self.client_days.max(1e-9)
        );
        for (name, class, from_ms, rows) in self.missed.iter().take(20) {
            let _ = writeln!(text, "missed: {name}: {class} of {rows} rows from {from_ms} ms");
        }
        for (name, alarm) in self.false_alarms.iter().take(40) {
            let _ = writeln!(
                text,
                "false: {name}: {} {} {}..{} ms: {}",
                alarm.detector, alarm.subject, alarm.first_ms, alarm.raised_ms, alarm.summary
            );
        }
        text
    }
}
