//! The tests, by subject, each registered with the statements that it covers.
//!
//! A table line reads `name: [ids of 3.1.1] [ids of 5.0];`, the ids without their `MQTT-`. A test runs once per version for which
//! it has ids. `@Slow` tests wait for a timer and start first; `@Scram` and `@WebSocket` tests need an option.

use anyhow::Result;

use crate::context::Context;
use crate::wire::Version;

mod alias;
mod auth;
mod connack;
mod connect;
mod connect_payload;
mod ending;
mod expiry;
mod flow;
mod framing;
mod keep_alive;
mod limits;
mod matching;
mod ordering;
mod properties;
mod publish;
mod qos_in;
mod qos_out;
mod retain;
mod scram;
mod session;
mod shared;
mod subscribe;
mod subscription;
mod unsubscribe;
mod utf8;
mod websocket;
mod will;

/// What a test needs or how it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Quick,
    /// Waits for a timer of the broker.
    Slow,
    /// Needs a SCRAM credential.
    Scram,
    /// Needs a WebSocket listener.
    WebSocket,
}

/// A test and what it covers.
pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Context) -> Result<()>,
    pub(crate) v311: &'static [&'static str],
    pub(crate) v5: &'static [&'static str],
    pub(crate) mark: Mark,
}

impl Test {
    pub(crate) fn ids(&self, version: Version) -> &'static [&'static str] {
        if version == Version::V311 { self.v311 } else { self.v5 }
    }
}

macro_rules! mark {
    () => {
        $crate::suite::Mark::Quick
    };
    ($mark:ident) => {
        $crate::suite::Mark::$mark
    };
}

/// Declares the table of a file.
macro_rules! tests {
    ($($name:ident $(@ $mark:ident)? : [$($old:literal)*] [$($new:literal)*];)*) => {
        pub(crate) const TESTS: &[$crate::suite::Test] = &[$($crate::suite::Test {
            name: stringify!($name),
            run: $name,
            v311: &[$(concat!("MQTT-", $old)),*],
            v5: &[$(concat!("MQTT-", $new)),*],
            mark: $crate::suite::mark!($($mark)?),
        }),*];
    };
}

use mark;
use tests;

/// Every test.
pub(crate) fn all() -> impl Iterator<Item = &'static Test> {
    [
        alias::TESTS,
        auth::TESTS,
        connack::TESTS,
        connect::TESTS,
        connect_payload::TESTS,
        ending::TESTS,
        expiry::TESTS,
        flow::TESTS,
        framing::TESTS,
        keep_alive::TESTS,
        limits::TESTS,
        matching::TESTS,
        ordering::TESTS,
        properties::TESTS,
        publish::TESTS,
        qos_in::TESTS,
        qos_out::TESTS,
        retain::TESTS,
        scram::TESTS,
        session::TESTS,
        shared::TESTS,
        subscribe::TESTS,
        subscription::TESTS,
        unsubscribe::TESTS,
        utf8::TESTS,
        websocket::TESTS,
        will::TESTS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod unit {
    use std::collections::BTreeSet;

    use super::*;
    use crate::statement;

    #[test]
    fn every_statement_has_a_test_or_an_exemption_and_not_both() {
        for version in [Version::V311, Version::V5] {
            let tested: BTreeSet<_> = all().flat_map(|test| test.ids(version)).copied().collect();
            for statement in statement::all(version) {
                let exempt = statement::exemption(version, &statement.id).is_some();
                let covered = tested.contains(statement.id.as_str());
                assert_ne!(exempt, covered, "{version} {}", statement.id);
            }
        }
    }

    #[test]
    fn every_id_of_the_tables_exists() {
        for version in [Version::V311, Version::V5] {
            let known: BTreeSet<_> = statement::all(version).into_iter().map(|s| s.id).collect();
            for test in all() {
                for id in test.ids(version) {
                    assert!(known.contains(*id), "{} names {id}, unknown in {version}", test.name);
                }
            }
        }
        let exempt = [(Version::V311, statement::CLIENT_V311), (Version::V5, statement::CLIENT_V5)];
        for (version, list) in exempt {
            let known: BTreeSet<_> = statement::all(version).into_iter().map(|s| s.id).collect();
            for (id, _) in list {
                assert!(known.contains(&format!("MQTT-{id}")), "{id}, unknown in {version}");
            }
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names = BTreeSet::new();
        for test in all() {
            assert!(names.insert(test.name), "{} twice", test.name);
        }
    }
}
