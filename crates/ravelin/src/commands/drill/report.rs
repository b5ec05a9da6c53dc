//! What a drill reports.

use super::scenario::Attack;
use ravelin_event::Alarm;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;

/// A drill, as it went.
#[derive(Serialize)]
pub struct Report {
    /// The scenario.
    pub scenario: &'static str,
    /// The node's name.
    pub node: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub began_ms: u64,
    /// How long it took.
    pub took_ms: u64,
    /// Attack by attack.
    pub results: Vec<Result>,
}

/// How an attack ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// An alarm was raised, and a check stopped it.
    StoppedAndAlarmed,
    /// A check stopped it.
    Stopped,
    /// An alarm was raised.
    Alarmed,
    /// Nothing came of it.
    Missed,
    /// It could not be rehearsed here.
    NotRun,
}

/// One attack, and what came of it.
#[derive(Serialize)]
pub struct Result {
    /// Its name.
    pub attack: &'static str,
    /// What was done.
    pub what: &'static str,
    /// Techniques of ATT&CK.
    pub techniques: &'static [&'static str],
    /// When it began, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// How long the attack itself took.
    pub injected_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The check that stopped it.
    pub stopped_by: Option<String>,
    /// From its begin to that.
    pub stop_ms: Option<u64>,
    /// The number of the alarm.
    pub alarm: Option<u64>,
    /// The detector that raised it.
    pub detector: Option<String>,
    /// From the begin of the attack to the alarm; 0: it was open already, and the attack kept it going.
    pub detect_ms: Option<u64>,
    /// What the alarm says.
    pub summary: Option<String>,
    /// What was done about it.
    pub answers: Vec<Answer>,
    /// What the attacker was told, or why the attack was not run.
    pub told: Option<String>,
    /// Events that were too old to be read any more: a stop may have been among them.
    pub missed_events: u64,
}

/// An order that an alarm led to.
#[derive(Serialize)]
pub struct Answer {
    /// Its number.
    pub order: u64,
    /// What.
    pub action: String,
    /// How far it is.
    pub state: String,
    /// From the alarm to its effect, if it has one.
    pub contain_ms: Option<u64>,
}

impl Answer {
    pub fn of(order: &Value) -> Answer {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Answer {
            order: order["id"].as_u64().unwrap_or_default(),
            action: format!("{} {}", text(&order["action"]["action"]), text(&order["subject"])),
            state: text(&order["state"]),
            contain_ms: order["contain_ms"].as_u64(),
        }
    }
}

impl Result {
    pub fn new(attack: &Attack) -> Result {
        Result {
            attack: attack.name,
            what: attack.what,
            techniques: attack.techniques,
            started_ms: 0,
            injected_ms: 0,
            outcome: Outcome::Missed,
            stopped_by: None,
            stop_ms: None,
            alarm: None,
            detector: None,
            detect_ms: None,
            summary: None,
            answers: Vec::new(),
            told: None,
            missed_events: 0,
        }
    }

    pub fn not_run(&mut self, why: &str) {
        self.outcome = Outcome::NotRun;
        self.told = Some(why.into());
    }

    /// A check has stopped it.
    pub fn stopped(&mut self, by: Option<(String, u64)>) {
        if let Some((check, at_ms)) = by {
            self.outcome = Outcome::Stopped;
            self.stop_ms = Some(at_ms.saturating_sub(self.started_ms));
            self.stopped_by = Some(check);
        }
    }

    /// An alarm was raised.
    pub fn alarmed(&mut self, alarm: &Alarm, answers: Vec<Answer>) {
        self.outcome = match self.outcome {
            Outcome::Stopped => Outcome::StoppedAndAlarmed,
            _ => Outcome::Alarmed,
        };
        self.alarm = Some(alarm.id);
        self.detector = Some(alarm.detector.to_string());
        self.detect_ms = Some(alarm.raised_ms.saturating_sub(self.started_ms));
        self.summary = Some(alarm.summary.clone());
        self.answers = answers;
    }
}

impl Report {
    pub fn new(scenario: &'static str, node: String, began_ms: u64) -> Report {
        Report { scenario, node, began_ms, took_ms: 0, results: Vec::new() }
    }

    /// Whether every attack that ran was seen or stopped, and one did.
    pub fn all_held(&self) -> bool {
        self.held() == self.ran() && self.ran() > 0
    }

    fn ran(&self) -> usize {
        self.results.iter().filter(|one| one.outcome != Outcome::NotRun).count()
    }

    fn held(&self) -> usize {
        let unheld = |one: &&Result| matches!(one.outcome, Outcome::Missed | Outcome::NotRun);
        self.results.len() - self.results.iter().filter(unheld).count()
    }

    /// The drill in a line.
    pub fn line(&self) -> String {
        let not_run = self.results.len() - self.ran();
        let mut line =
            format!("{} of {} attacks stopped or alarmed by a named check", self.held(), self.ran());
        if not_run > 0 {
            let _ = write!(line, ", {not_run} not run");
        }
        line
    }

    /// The drill for people.
    pub fn text(&self) -> String {
        let mut text = format!("Drill {} on {}\n\n", self.scenario, self.node);
        for one in &self.results {
            let word = match one.outcome {
                Outcome::StoppedAndAlarmed => "stopped, alarmed",
                Outcome::Stopped => "stopped",
                Outcome::Alarmed => "alarmed",
                Outcome::Missed => "MISSED",
                Outcome::NotRun => "not run",
            };
            let _ =
                writeln!(text, "{:24} {word:18} {} ({})", one.attack, one.what, one.techniques.join(", "));
            if let (Some(check), Some(ms)) = (&one.stopped_by, one.stop_ms) {
                let _ = writeln!(text, "{:24} by {check}, after {ms} ms", "");
            }
            if let (Some(detector), Some(ms), Some(summary)) = (&one.detector, one.detect_ms, &one.summary) {
                let _ = writeln!(text, "{:24} {detector} after {ms} ms: {summary}", "");
            }
            for answer in &one.answers {
                let _ = writeln!(text, "{:24} -> {} ({})", "", answer.action, answer.state);
            }
            if one.outcome != Outcome::Stopped
                && let Some(told) = &one.told
            {
                let _ = writeln!(text, "{:24} {told}", "");
            }
        }
        let _ = writeln!(text, "\n{}, in {:.1} s.", self.line(), self.took_ms as f64 / 1000.0);
        crate::commands::ctl::plain(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::drill::scenario;

    fn report(outcomes: &[Outcome]) -> Report {
        let mut report = Report::new("note", "n".into(), 0);
        for (outcome, attack) in outcomes.iter().zip(scenario::SCENARIOS[0].attacks) {
            let mut result = Result::new(attack);
            result.outcome = *outcome;
            report.results.push(result);
        }
        report
    }

    #[test]
    fn a_missed_attack_and_a_drill_that_did_nothing_do_not_hold() {
        assert!(report(&[Outcome::Stopped, Outcome::Alarmed, Outcome::NotRun]).all_held());
        assert!(!report(&[Outcome::Stopped, Outcome::Missed]).all_held());
        assert!(!report(&[Outcome::NotRun]).all_held());
        let line = report(&[Outcome::Stopped, Outcome::Missed, Outcome::NotRun]).line();
        assert_eq!(line, "1 of 2 attacks stopped or alarmed by a named check, 1 not run");
    }
}
