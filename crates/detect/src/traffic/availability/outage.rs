//! Networks that are lost: many fall silent, one alarm says so.
//!
//! The silence of a client began between its last message and the one that is missing. If one is about to be told, all others
//! are looked at whose silence may have begun at the same moment: with two behind one address it is the address that is
//! lost, with three it is something that they share; and so it is if ten
//! and 5 % of all, or three and half, are silent within an hour, whenever each began. Who is found silent later and fits
//! joins. It ends when all are back, or when three quarters are after an hour: who is silent then is told by itself.
//!
//! Three that fail independently are taken for one loss if they fail within the same moment: a period and a half of the
//! most frequent of them.

use super::silence::{PENDING_MS, silent, silent_at};
use super::{Availability, Client, expectation};
use crate::Raise;
use crate::traffic::catalog as text;
use crate::traffic::{Expectation, Settings};
use ravelin_event::Subject;

/// Whoever fell silent within this time belongs together, if it is a large part of the fleet.
const TOGETHER_MS: u64 = 3_600_000;
/// Silent clients behind one address whose network is lost.
const OF_SOURCE: usize = 2;
/// Silent clients that fell silent at one moment and share something.
const OF_FLEET: usize = 3;
/// Outages at once; what is beyond is told client by client.
const OUTAGES_MAX: usize = 64;
/// A message counts as missing after so many periods.
const MISSING_PERIODS: f32 = 1.5;

/// Clients that fell silent together.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    number: u32,
    subject: Subject,
    began: Began,
    /// Clients that were silent in it, and those that still are.
    all: u32,
    silent: u32,
    told_ms: u64,
}

/// Between when and when silence began, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Began {
    from_ms: u64,
    to_ms: u64,
}

impl Began {
    /// Within an hour, of whoever belongs to a large part of the fleet.
    const fn within_hour(at_ms: u64) -> Began {
        Began { from_ms: at_ms.saturating_sub(TOGETHER_MS), to_ms: at_ms + TOGETHER_MS }
    }

    /// What both have in common.
    fn and(self, other: Began) -> Option<Began> {
        let began = Began { from_ms: self.from_ms.max(other.from_ms), to_ms: self.to_ms.min(other.to_ms) };
        (began.from_ms <= began.to_ms).then_some(began)
    }
}

impl Availability {
    /// What is pending becomes one alarm of those that fell silent together, or after a while one of the client alone.
    pub(super) fn tell_silence(
        &mut self,
        settings: &Settings,
        expect: &[Expectation],
        at_ms: u64,
        out: &mut Vec<Raise>,
    ) {
        // What is over is told before anything else is told of the same subject.
        if self.release(at_ms) || self.pending.is_empty() {
            return;
        }
        let (mut expected, mut together) = (0, self.pending.len());
        for client in self.clients.values() {
            expected += usize::from(silent_at(settings, expect, client, 0).is_some());
            together += usize::from(client.silent && at_ms.saturating_sub(client.silent_ms) < TOGETHER_MS);
        }
        if together >= 10 && together * 20 > expected || together >= 3 && together * 2 >= expected {
            let first_ms = self.pending[0].0;
            let number = self.begin_outage(Subject::Fleet, Began::within_hour(at_ms));
            while let Some((_, key)) = self.pending.pop_front() {
                self.join(number, key, at_ms);
            }
            return out.push(fleet_silent(together, expected, first_ms, at_ms));
        }
        while let Some((since_ms, key)) = self.pending.front().copied() {
            if at_ms.saturating_sub(since_ms) < PENDING_MS {
                return;
            }
            self.pending.pop_front();
            let Some(client) = self.clients.get(&key) else { continue };
            if silent_at(settings, expect, client, self.blind_ms).is_none_or(|due| due > at_ms) {
                continue;
            }
            if let Some(raise) = self.tell_together(settings, expect, (key, expected), at_ms) {
                out.push(raise);
                continue;
            }
            let Some(client) = self.clients.get_mut(&key) else { continue };
            (client.silent, client.silent_ms) = (true, at_ms);
            out.push(silent(settings, expect, client, at_ms));
            client.rhythm.silences = client.rhythm.silences.saturating_add(1);
        }
    }

    /// The alarm of those with which this client fell silent, if there are any.
    fn tell_together(
        &mut self,
        settings: &Settings,
        expect: &[Expectation],
        (key, expected): (u64, usize),
        at_ms: u64,
    ) -> Option<Raise> {
        let client = self.clients.get(&key)?;
        let (began, source) = (began(expect, client)?, client.source);
        let joins = |outage: &&Outage| {
            let here = outage.subject == Subject::Fleet
                || source.map(Subject::Source) == Some(outage.subject.clone());
            here && outage.began.and(began).is_some()
        };
        if let Some(outage) = self.outages.iter().find(joins) {
            let (number, subject, all) = (outage.number, outage.subject.clone(), outage.all as usize + 1);
            self.join(number, key, at_ms);
            return Some(lost(subject, all, expected, began.from_ms, at_ms));
        }
        if self.outages.len() >= OUTAGES_MAX {
            return None;
        }
        let (mut here, mut everywhere, mut at_source) = ((began, 0), (began, 0), 0);
        for other in self.clients.values() {
            let is_expected = silent_at(settings, expect, other, 0).is_some();
            let is_here = source.is_some() && other.source == source;
            at_source += usize::from(is_expected && is_here);
            let Some(since) = missing_since(expect, other, at_ms).filter(|_| is_expected) else { continue };
            for (began, count) in is_here.then_some(&mut here).into_iter().chain([&mut everywhere]) {
                if let Some(both) = began.and(since) {
                    (*began, *count) = (both, *count + 1);
                }
            }
        }
        // More than half of what is behind the address, or it would be a strange loss of its network.
        let of_source = source.filter(|_| here.1 >= OF_SOURCE && here.1 * 2 > at_source);
        let of_fleet = everywhere.1 >= OF_FLEET;
        let (subject, (began, count), of) = match of_source {
            // Other addresses are silent too: what is lost is larger.
            Some(_) if of_fleet && everywhere.1 >= here.1 + OF_FLEET => {
                (Subject::Fleet, everywhere, expected)
            }
            Some(source) => (Subject::Source(source), here, at_source),
            None if of_fleet => (Subject::Fleet, everywhere, expected),
            None => return None,
        };
        let number = self.begin_outage(subject.clone(), began);
        self.join(number, key, at_ms);
        Some(lost(subject, count, of, began.from_ms, at_ms))
    }

    /// The outage, which is made if there is none about this that began then.
    fn begin_outage(&mut self, subject: Subject, began: Began) -> u32 {
        let same = |outage: &&mut Outage| outage.subject == subject && outage.began.and(began).is_some();
        if let Some(outage) = self.outages.iter_mut().find(same) {
            return outage.number;
        }
        if self.outages.len() >= OUTAGES_MAX {
            return self.outages[OUTAGES_MAX - 1].number;
        }
        self.outages_ever += 1;
        let number = self.outages_ever;
        self.outages.push(Outage { number, subject, began, all: 0, silent: 0, told_ms: 0 });
        number
    }

    fn join(&mut self, number: u32, key: u64, at_ms: u64) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let Some(outage) = self.outages.iter_mut().find(|outage| outage.number == number) else { return };
        (client.silent, client.silent_ms, client.outage) = (true, at_ms, number);
        (outage.all, outage.silent, outage.told_ms) = (outage.all + 1, outage.silent + 1, at_ms);
    }

    /// One client of this outage is back, or forgotten.
    pub(super) fn end_outage_of(&mut self, number: u32) {
        let Some(at) = self.outages.iter().position(|outage| outage.number == number) else { return };
        let outage = &mut self.outages[at];
        outage.silent = outage.silent.saturating_sub(1);
        if outage.silent == 0 {
            self.end_outage(at);
        }
    }

    fn end_outage(&mut self, at: usize) {
        let outage = self.outages.remove(at);
        if self.outages.iter().all(|other| other.subject != outage.subject) {
            self.ended.push_back((outage.subject, text::FLEET_SILENT.info.name));
        }
    }

    /// Ends what is over for most: who is still silent is looked at by itself. Whether anything was.
    fn release(&mut self, at_ms: u64) -> bool {
        let is_over =
            |outage: &Outage| at_ms >= outage.told_ms + TOGETHER_MS && outage.silent * 4 <= outage.all;
        let before = self.outages.len();
        while let Some(at) = self.outages.iter().position(is_over) {
            let number = self.outages[at].number;
            for client in self.clients.values_mut().filter(|client| client.outage == number) {
                (client.silent, client.outage) = (false, 0);
            }
            self.end_outage(at);
        }
        self.outages.len() < before
    }
}

/// When the silence of a client began, if it is one now.
fn began(expect: &[Expectation], client: &Client) -> Option<Began> {
    let from_ms = client.rhythm.last_ms.max(client.arrived_ms);
    let interval_s = expectation(expect, client.class.as_ref()).and_then(|expected| expected.interval_s);
    let learned = client.rhythm.is_regular().then_some(client.rhythm.gap.mean);
    let period = interval_s.map(|seconds| seconds as f32 * 1_000.0).or(learned);
    let left_ms = if client.connected { u64::MAX } else { client.left_ms.max(from_ms) };
    let to_ms = period.map_or(left_ms, |period| left_ms.min(from_ms + (period * MISSING_PERIODS) as u64));
    (to_ms < u64::MAX).then_some(Began { from_ms, to_ms })
}

/// The same, if a message is missing by now or the connection was lost.
fn missing_since(expect: &[Expectation], client: &Client, at_ms: u64) -> Option<Began> {
    let is_lost = !client.connected && !client.dismissed && client.left_ms > 0;
    began(expect, client).filter(|began| is_lost || began.to_ms < at_ms)
}

fn fleet_silent(together: usize, expected: usize, first_ms: u64, at_ms: u64) -> Raise {
    Raise::of(&text::FLEET_SILENT, Subject::Fleet, at_ms)
        .measured(together as f32, (expected as f32 / 20.0).max(10.0).min(expected as f32 / 2.0), "clients")
        .over(first_ms, at_ms, together as u64)
        .usual(expected as f32)
        .says(format!("{together} of {expected} clients that send regularly became silent within an hour"))
        .until_cleared()
}

/// The alarm about those that fell silent at one moment.
fn lost(subject: Subject, count: usize, of: usize, first_ms: u64, at_ms: u64) -> Raise {
    let (whence, least) = match &subject {
        Subject::Source(source) => (format!(" behind {source}"), OF_SOURCE),
        _ => (String::new(), OF_FLEET),
    };
    let of = of.max(count);
    Raise::of(&text::FLEET_SILENT, subject, at_ms)
        .measured(count as f32, least as f32, "clients")
        .over(first_ms, at_ms, count as u64)
        .usual(of as f32)
        .with("clients", count as f32, "clients")
        .says(format!(
            "{count} of {of} clients{whence} that send regularly became silent at one moment: a network or power is lost"
        ))
        .until_cleared()
}
