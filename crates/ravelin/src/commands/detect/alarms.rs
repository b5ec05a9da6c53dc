//! Alarms: a list, one of them, and what it was found to be.

use super::NodeArgs;
use crate::commands::ctl::table::{Table, or_dash, plain, time};
use crate::commands::ctl::{Ctl, events};
use ravelin_console::api::alarms::VerificationOrder;
use ravelin_console::api::events::EventItem;
use ravelin_console::client::{ClientError, segment};
use ravelin_event::{Alarm, Verification};
use std::io::Write;
use std::process::ExitCode;

const SEVERITIES: [&str; 5] = ["informational", "low", "medium", "high", "critical"];

/// Alarms, open and recent.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin detect alarms --state open --dir plant
  ravelin detect alarms --detector flood --severity high --json --dir plant
  ravelin detect alarms --follow --dir plant

With --follow, alarms are shown as they are raised and end, until interrupted; with --json each is one line.")]
pub struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// Only those that go on, or that are over
    #[arg(long, value_parser = ["open", "cleared", "all"], default_value = "all")]
    state: String,
    /// Only those of this detector or behaviour
    #[arg(long)]
    detector: Option<String>,
    /// Only those as bad as this, or worse
    #[arg(long, value_parser = SEVERITIES)]
    severity: Option<String>,
    /// Only those about this: client:NAME, source:ADDRESS, identity:NAME, topic:NAME, device:NAME, class:NAME, fleet
    #[arg(long)]
    subject: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100)]
    max: usize,
    /// Show those to come instead, until interrupted
    #[arg(short, long)]
    follow: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.node.run("detect alarms", |ctl| if self.follow { self.tail(ctl) } else { self.list(ctl) })
    }

    fn list(&self, ctl: &Ctl) -> Result<(), ClientError> {
        let mut path = format!("/v1/alarms?state={}", self.state);
        let filters =
            [("detector", &self.detector), ("severity", &self.severity), ("subject", &self.subject)];
        for (name, value) in filters {
            if let Some(value) = value {
                path.push_str(&format!("&{name}={}", segment(value)));
            }
        }
        let all: Vec<Alarm> = ctl.all(&path, self.max)?;
        ctl.print(&all, |all| {
            let columns = ["ALARM", "RAISED", "STATE", "SEVERITY", "DETECTOR", "SUBJECT", "SUMMARY"];
            Table::new(&columns).with(all.iter().map(row))
        });
        Ok(())
    }

    /// The live tail goes over the stream of events: an alarm is one of them.
    fn tail(&self, ctl: &Ctl) -> Result<(), ClientError> {
        events::read(ctl, 1, "&id=alarm.", true, |item| !self.picks(item) || print(ctl, item))
    }

    fn picks(&self, item: &EventItem) -> bool {
        let field = |name: &str| item.fields[name].as_str();
        let rank = |word: &str| SEVERITIES.iter().position(|severity| *severity == word);
        let bad = |least: &String| field("severity").is_none_or(|severity| rank(severity) >= rank(least));
        let same = |name: &str, wanted: &Option<String>| {
            wanted.as_deref().is_none_or(|wanted| field(name) == Some(wanted))
        };
        let state = match self.state.as_str() {
            "open" => item.id != "alarm.cleared",
            "cleared" => item.id == "alarm.cleared",
            _ => true,
        };
        state
            && same("detector", &self.detector)
            && same("subject", &self.subject)
            && self.severity.as_ref().is_none_or(bad)
    }
}

/// One alarm as the stream of events has it. False: whoever reads has gone.
fn print(ctl: &Ctl, item: &EventItem) -> bool {
    let line = if ctl.is_json() {
        serde_json::to_string(item).unwrap_or_default()
    } else {
        let text = |name: &str| match &item.fields[name] {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Null => String::new(),
            other => other.to_string(),
        };
        let what = item.id.strip_prefix("alarm.").unwrap_or(&item.id);
        let told = match what {
            "cleared" => format!("after {} s", item.fields["lasted_ms"].as_u64().unwrap_or(0) / 1000),
            "suppressed" => format!("{} times: {}", text("count"), text("why")),
            _ => text("summary"),
        };
        let words = [
            time(item.at_ms),
            what.into(),
            text("alarm"),
            text("severity"),
            text("detector"),
            text("subject"),
            told,
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
        plain(&words.join("  "))
    };
    writeln!(std::io::stdout(), "{line}").is_ok()
}

fn row(alarm: &Alarm) -> [String; 7] {
    [
        alarm.id.to_string(),
        time(alarm.raised_ms),
        state(alarm).into(),
        alarm.severity.name().into(),
        alarm.detector.to_string(),
        alarm.subject.to_string(),
        alarm.summary.clone(),
    ]
}

fn state(alarm: &Alarm) -> &'static str {
    match (alarm.is_open(), alarm.suppressed) {
        (true, false) => "open",
        (false, false) => "over",
        (true, true) => "open, not told",
        (false, true) => "over, not told",
    }
}

/// One alarm.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  ravelin detect show 17 --dir plant")]
pub struct ShowArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its number
    id: u64,
}

impl ShowArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.node.run("detect show", |ctl| {
            let alarm: Alarm = ctl.client.get(&format!("/v1/alarms/{}", self.id))?;
            ctl.print(&alarm, explanation);
            Ok(())
        })
    }
}

/// What an alarm says of itself.
fn explanation(alarm: &Alarm) -> Table {
    let mut table = Table::pairs();
    table.pair("alarm", alarm.id);
    table.pair("state", state(alarm));
    table.pair("summary", &alarm.summary);
    table.pair("detector", format!("{} ({})", alarm.detector, alarm.subcategory));
    table.pair("severity", format!("{}, {} % sure", alarm.severity.name(), alarm.confidence));
    table.pair("technique", or_dash(&alarm.technique));
    table.pair("subject", &alarm.subject);
    let names = [
        ("client", alarm.client_id.as_deref()),
        ("identity", alarm.identity.as_deref()),
        ("class", alarm.class.as_deref()),
        ("topic", alarm.topic.as_deref()),
    ];
    for (name, value) in names {
        if let Some(value) = value {
            table.pair(name, value);
        }
    }
    if let Some(address) = alarm.address {
        table.pair("address", address);
    }
    table.pair("first event", time(alarm.first_ms));
    table.pair(
        "raised",
        format!("{}, after {} ms", time(alarm.raised_ms), alarm.raised_ms.saturating_sub(alarm.first_ms)),
    );
    table.pair("last event", time(alarm.last_ms));
    if let Some(cleared_ms) = alarm.cleared_ms {
        table.pair("over", time(cleared_ms));
    }
    table.pair("test", &alarm.statistic);
    table.pair("value", format!("{} {}", shown(alarm.value), alarm.unit));
    table.pair("threshold", format!("{} {}", shown(alarm.threshold), alarm.unit));
    if let Some(baseline) = alarm.baseline {
        table.pair("usual", format!("{} {}", shown(baseline), alarm.unit));
    }
    table.pair("window", format!("{} s, {} events", shown(alarm.window_ms as f64 / 1000.0), alarm.events));
    for figure in &alarm.figures {
        table.pair(&plain(&figure.name), format!("{} {}", shown(figure.value), figure.unit));
    }
    for counted in &alarm.counted {
        table.pair("counted", format!("{} {}", time(counted.at_ms), counted.what));
    }
    table.pair("false alarms", &alarm.false_alarms);
    table.pair("found to be", word(alarm.verification));
    table
}

/// A number without digits that say nothing.
fn shown(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn word(verification: Verification) -> &'static str {
    match verification {
        Verification::Unknown => "not yet verified",
        Verification::TruePositive => "true positive",
        Verification::BenignPositive => "benign positive",
        Verification::FalsePositive => "false positive",
    }
}

/// Say what an alarm was found to be.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ravelin detect verify 17 true-positive --dir plant\n  ravelin detect verify 17 false-positive --note \
                  'firmware update' --dir plant"
)]
pub struct VerifyArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its number
    id: u64,
    /// It was what it says; it was, and was meant to be; it was not; nobody knows
    #[arg(value_enum)]
    verification: Word,
    /// Why, for the record
    #[arg(long, default_value = "")]
    note: String,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Word {
    TruePositive,
    BenignPositive,
    FalsePositive,
    Unknown,
}

impl From<Word> for Verification {
    fn from(word: Word) -> Verification {
        match word {
            Word::TruePositive => Verification::TruePositive,
            Word::BenignPositive => Verification::BenignPositive,
            Word::FalsePositive => Verification::FalsePositive,
            Word::Unknown => Verification::Unknown,
        }
    }
}

impl VerifyArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.node.run("detect verify", |ctl| {
            let verification = Verification::from(self.verification);
            let order = VerificationOrder { verification, note: self.note.clone() };
            ctl.client.order("POST", &format!("/v1/alarms/{}/verification", self.id), Some(&order))?;
            ctl.done(&format!("alarm {} is kept as: {}", self.id, word(verification)));
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_explains_itself_to_a_person() {
        let alarm: Alarm = serde_json::from_value(serde_json::json!({
            "id": 17, "detector": "repeated_authentication", "subcategory": "DE.ID-1", "technique": "T1110",
            "severity": "high", "confidence": 99, "subject": {"kind": "source", "name": "192.0.2.7"},
            "client_id": null, "identity": "alice\u{1b}", "class": null, "address": "192.0.2.7:4711", "topic": null,
            "first_ms": 1_000, "raised_ms": 12_000, "last_ms": 12_000, "cleared_ms": null,
            "statistic": "log-likelihood CUSUM", "value": 12.4766, "threshold": 11.5, "baseline": null, "unit": "",
            "window_ms": 11_000, "events": 6, "counted": [{"at_ms": 1_000, "what": "bad credentials"}],
            "figures": [{"name": "failures", "value": 6.0, "unit": "logins"}],
            "summary": "6 of 6 log-ins failed", "false_alarms": "once in 100,000 log-ins"
        }))
        .unwrap();
        let text = explanation(&alarm).to_string();
        for part in [
            "6 of 6 log-ins failed",
            "12.477",
            "11.5",
            "6 logins",
            "after 11000 ms",
            "not yet verified",
            "\\u{1b}",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(row(&alarm)[5], "source:192.0.2.7");
    }
}
