//! Runs the tests against a broker, in parallel, and collects what came out.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, ensure};

use crate::context::{Context, ScramCredential};
use crate::report::{Outcome, Report, Run};
use crate::statement;
use crate::suite::{self, Mark, Test};
use crate::wire::Version;

/// What to run, and against which broker.
#[derive(Clone)]
pub struct Options {
    /// `host:port` of a plain listener that lets everybody in.
    pub address: String,
    /// `host:port` of a WebSocket listener, for the statements of chapter 6.
    pub websocket: Option<String>,
    /// A user of SCRAM-SHA-256, for the statements of chapter 4.12.
    pub scram: Option<ScramCredential>,
    /// One version only.
    pub version: Option<Version>,
    /// Only statements and tests whose id or name contains this.
    pub only: Option<String>,
    /// Tests at a time.
    pub jobs: usize,
    /// Failures that are known.
    pub expected: Vec<Deviation>,
    /// A test that was left out for want of an option counts as a gap.
    pub strict: bool,
}

impl Options {
    /// The whole suite against the plain listener at `address`.
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            websocket: None,
            scram: None,
            version: None,
            only: None,
            jobs: 8,
            expected: Vec::new(),
            strict: false,
        }
    }
}

/// A failure that is known of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// The statement that is not kept.
    pub id: String,
    /// Version and name of the test, as `v5/name`.
    pub test: String,
    /// Why the broker is believed to be at fault.
    pub reason: String,
}

impl Deviation {
    /// Reads a file of `id test reason...` lines; `#` starts a comment line.
    ///
    /// # Errors
    /// A line with too few words, or a test that does not exist or does not cover the statement.
    pub fn parse_all(text: &str) -> Result<Vec<Self>> {
        let mut deviations = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let deviation = Self::parse(line).with_context(|| format!("line {}", index + 1))?;
            deviations.push(deviation);
        }
        Ok(deviations)
    }

    fn parse(line: &str) -> Result<Self> {
        let mut words = line.splitn(3, char::is_whitespace);
        let (Some(id), Some(test), Some(reason)) = (words.next(), words.next(), words.next()) else {
            anyhow::bail!("expected: id test reason");
        };
        let covers = |known: &Test, version| {
            test == full_name(version, known.name) && known.ids(version).contains(&id)
        };
        let known = suite::all().any(|known| covers(known, Version::V311) || covers(known, Version::V5));
        ensure!(known, "there is no test {test} that covers {id}");
        Ok(Self { id: id.to_owned(), test: test.to_owned(), reason: reason.trim().to_owned() })
    }
}

fn full_name(version: Version, name: &str) -> String {
    format!("{version}/{name}")
}

/// Runs the suite.
///
/// # Errors
/// The broker cannot be reached, or nothing matches the selection.
pub fn run(options: &Options) -> Result<Report> {
    std::net::TcpStream::connect(&options.address)
        .with_context(|| format!("failed to connect to {}", options.address))?;
    let mut work = selection(options);
    ensure!(!work.is_empty() || options.only.is_some(), "there is nothing to run");
    // What waits for timers starts first, so that the rest runs meanwhile.
    work.sort_by_key(|(_, test)| test.mark != Mark::Slow);
    let run_tag = run_tag();
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, work.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((version, test)) = work.get(index) else { return };
                    let outcome = run_one(options, *version, test, format!("{run_tag}{index}"));
                    let mut outcomes = outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    outcomes.insert((*version, test.name), outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let runs = work
        .iter()
        .filter_map(|(version, test)| {
            let outcome = outcomes.get(&(*version, test.name))?.clone();
            let name = full_name(*version, test.name);
            Some(Run { version: *version, name, ids: test.ids(*version), outcome })
        })
        .collect();
    let statements = versions(options).into_iter().flat_map(statement::all).collect();
    Ok(Report::new(statements, runs, options))
}

fn versions(options: &Options) -> Vec<Version> {
    match options.version {
        Some(version) => vec![version],
        None => vec![Version::V311, Version::V5],
    }
}

fn selection(options: &Options) -> Vec<(Version, &'static Test)> {
    let wanted = |version, test: &Test| match &options.only {
        None => true,
        Some(part) => {
            full_name(version, test.name).contains(part)
                || test.ids(version).iter().any(|id| id.contains(part.as_str()))
        }
    };
    let mut work = Vec::new();
    for version in versions(options) {
        let tests = suite::all().filter(|test| !test.ids(version).is_empty() && wanted(version, test));
        work.extend(tests.map(|test| (version, test)));
    }
    work
}

fn run_one(options: &Options, version: Version, test: &Test, tag: String) -> Outcome {
    if test.mark == Mark::Scram && options.scram.is_none() {
        return Outcome::Skip("needs --scram user:password".into());
    }
    if test.mark == Mark::WebSocket && options.websocket.is_none() {
        return Outcome::Skip("needs --ws host:port".into());
    }
    let context =
        Context::new(options.address.clone(), options.websocket.clone(), options.scram.clone(), version, tag);
    let outcome = match catch_unwind(AssertUnwindSafe(|| (test.run)(&context))) {
        Ok(Ok(())) => Outcome::Pass,
        Ok(Err(error)) => Outcome::Fail(format!("{error:#}")),
        Err(_) => Outcome::Fail("the test panicked".into()),
    };
    // What is left behind disturbs no other test, which all have names of their own.
    context.tidy().ok();
    outcome
}

/// Six letters and digits that differ from run to run.
fn run_tag() -> String {
    let mut number = RandomState::new().hash_one(std::process::id());
    let alphabet = b"0123456789abcdefghijklmnopqrstuvwxyz";
    (0..6)
        .map(|_| {
            let letter = alphabet[(number % 36) as usize];
            number /= 36;
            char::from(letter)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_name_an_existing_test_and_one_of_its_ids() {
        let good = "# comment\n\nMQTT-3.12.4-1 v5/ping_is_answered it sleeps\n";
        let parsed = Deviation::parse_all(good).unwrap();
        assert_eq!(parsed.len(), 1);
        assert_eq!(parsed[0].reason, "it sleeps");
        for bad in ["MQTT-3.12.4-1 v5/nothing why", "MQTT-3.1.0-1 v5/ping_is_answered why", "MQTT-3.12.4-1"] {
            assert!(Deviation::parse_all(bad).is_err(), "{bad}");
        }
    }
}
