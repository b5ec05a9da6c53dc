//! The outcome of a run: a row per statement and test, a summary, and whether the broker conforms.

use std::fmt;

use serde_json::{Value, json};

use crate::run::{Deviation, Options};
use crate::statement::{self, Exemption, Statement};
use crate::wire::Version;

/// What came out of one run of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Pass,
    Fail(String),
    Skip(String),
}

/// A test that was run, or left out, for one version.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) version: Version,
    pub(crate) name: String,
    pub(crate) ids: &'static [&'static str],
    pub(crate) outcome: Outcome,
}

/// Everything that is to be said of a broker.
#[derive(Debug)]
pub struct Report {
    rows: Vec<Row>,
    runs: Vec<Run>,
    expected: Vec<Deviation>,
    strict: bool,
}

#[derive(Debug)]
struct Row {
    version: Version,
    id: String,
    text: String,
    test: String,
    verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    /// Passes although a deviation is listed.
    BetterThanExpected,
    Fail(String),
    ExpectedFail(String),
    Skip(String),
    Client(&'static str),
    Gap,
}

impl Verdict {
    fn word(&self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::BetterThanExpected => "PASS (a failure was expected)",
            Self::Fail(_) => "FAIL",
            Self::ExpectedFail(_) => "EXPECTED FAIL",
            Self::Skip(_) => "SKIP",
            Self::Client(_) => "CLIENT",
            Self::Gap => "GAP",
        }
    }

    fn reason(&self) -> &str {
        match self {
            Self::Fail(reason) | Self::ExpectedFail(reason) | Self::Skip(reason) => reason,
            Self::Client(reason) => reason,
            Self::Gap => "no test and no exemption",
            Self::Pass | Self::BetterThanExpected => "",
        }
    }
}

impl Report {
    pub(crate) fn new(statements: Vec<Statement>, runs: Vec<Run>, options: &Options) -> Self {
        let mut report =
            Self { rows: Vec::new(), runs, expected: options.expected.clone(), strict: options.strict };
        for statement in &statements {
            report.add(statement, options.only.as_deref());
        }
        report
    }

    fn add(&mut self, statement: &Statement, only: Option<&str>) {
        let row = |test: &str, verdict| Row {
            version: statement.version,
            id: statement.id.clone(),
            text: statement.text.clone(),
            test: test.to_owned(),
            verdict,
        };
        let mut rows: Vec<Row> = self
            .runs
            .iter()
            .filter(|run| run.version == statement.version && run.ids.contains(&statement.id.as_str()))
            .map(|run| row(&run.name, self.verdict(run)))
            .collect();
        if rows.is_empty() && only.is_none_or(|part| statement.id.contains(part)) {
            rows.push(match statement::exemption(statement.version, &statement.id) {
                Some(Exemption::Client(reason)) => row("-", Verdict::Client(reason)),
                None => row("-", Verdict::Gap),
            });
        }
        self.rows.append(&mut rows);
    }

    fn verdict(&self, run: &Run) -> Verdict {
        let listed = self.expected.iter().find(|deviation| deviation.test == run.name);
        match (&run.outcome, listed) {
            (Outcome::Pass, None) => Verdict::Pass,
            (Outcome::Pass, Some(_)) => Verdict::BetterThanExpected,
            (Outcome::Fail(reason), None) => Verdict::Fail(reason.clone()),
            (Outcome::Fail(_), Some(deviation)) => Verdict::ExpectedFail(deviation.reason.clone()),
            (Outcome::Skip(reason), _) => Verdict::Skip(reason.clone()),
        }
    }

    /// Whether nothing failed that was not expected to, and no statement was left without an answer.
    pub fn is_success(&self) -> bool {
        self.rows.iter().all(|row| match row.verdict {
            Verdict::Fail(_) | Verdict::Gap => false,
            Verdict::Skip(_) => !self.strict,
            _ => true,
        })
    }

    /// The report as JSON.
    pub fn to_json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "version": row.version.to_string(),
                    "id": row.id,
                    "statement": row.text,
                    "test": row.test,
                    "result": row.verdict.word(),
                    "reason": row.verdict.reason(),
                })
            })
            .collect();
        json!({ "success": self.is_success(), "summary": self.summary(), "rows": rows })
    }

    fn summary(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for version in [Version::V311, Version::V5] {
            let count = |wanted: fn(&Verdict) -> bool| {
                let rows = self.rows.iter().filter(|row| row.version == version && wanted(&row.verdict));
                let mut ids: Vec<&str> = rows.map(|row| row.id.as_str()).collect();
                ids.dedup();
                ids.len()
            };
            let runs = |wanted: fn(&Outcome) -> bool| {
                self.runs.iter().filter(|run| run.version == version && wanted(&run.outcome)).count()
            };
            if count(|_| true) == 0 {
                continue;
            }
            lines.push(format!(
                "{version}: {} statements; {} tested, {} client-only, {} gaps; {} tests: {} passed, {} failed, {} skipped",
                count(|_| true),
                count(|verdict| !matches!(verdict, Verdict::Client(_) | Verdict::Gap)),
                count(|verdict| matches!(verdict, Verdict::Client(_))),
                count(|verdict| matches!(verdict, Verdict::Gap)),
                runs(|_| true),
                runs(|outcome| *outcome == Outcome::Pass),
                runs(|outcome| matches!(outcome, Outcome::Fail(_))),
                runs(|outcome| matches!(outcome, Outcome::Skip(_))),
            ));
        }
        lines
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.rows {
            let version = row.version.to_string();
            write!(f, "{version:<6} {:<15} {:<55} {}", row.id, row.test, row.verdict.word())?;
            match row.verdict.reason() {
                "" => writeln!(f)?,
                reason => writeln!(f, ": {reason}")?,
            }
        }
        writeln!(f)?;
        for run in &self.runs {
            match self.verdict(run) {
                Verdict::Fail(reason) => writeln!(f, "FAIL {} {:?}: {reason}", run.name, run.ids)?,
                Verdict::BetterThanExpected => {
                    writeln!(f, "PASS {}, though its failure was expected", run.name)?;
                }
                _ => {}
            }
        }
        for line in self.summary() {
            writeln!(f, "{line}")?;
        }
        let unmet = self.rows.iter().filter(|row| matches!(row.verdict, Verdict::Gap)).count();
        writeln!(f, "{}", if self.is_success() { "conforms" } else { "does not conform" })?;
        if unmet > 0 {
            writeln!(f, "{unmet} statements have neither a test nor an exemption")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(outcome: Outcome, options: &Options) -> Report {
        let statements =
            statement::all(Version::V5).into_iter().filter(|s| s.id == "MQTT-3.12.4-1").collect();
        let run = Run { version: Version::V5, name: "v5/x".into(), ids: &["MQTT-3.12.4-1"], outcome };
        Report::new(statements, vec![run], options)
    }

    #[test]
    fn failures_gaps_and_in_strict_runs_skips_count_against_the_broker() {
        let mut options = Options::new("");
        assert!(report(Outcome::Pass, &options).is_success());
        assert!(report(Outcome::Skip("no".into()), &options).is_success());
        assert!(!report(Outcome::Fail("no".into()), &options).is_success());
        options.strict = true;
        assert!(!report(Outcome::Skip("no".into()), &options).is_success());
        let gap = Report::new(statement::all(Version::V5), Vec::new(), &options);
        assert!(!gap.is_success());
    }

    #[test]
    fn an_expected_failure_is_no_failure_and_its_passing_is_said() {
        let mut options = Options::new("");
        options.expected.push(Deviation {
            id: "MQTT-3.12.4-1".into(),
            test: "v5/x".into(),
            reason: "r".into(),
        });
        assert!(report(Outcome::Fail("no".into()), &options).is_success());
        let better = report(Outcome::Pass, &options);
        assert!(better.is_success());
        assert!(better.to_string().contains("though its failure was expected"));
    }
}
