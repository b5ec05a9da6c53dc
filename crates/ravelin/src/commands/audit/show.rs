//! `ravelin audit show`: entries, picked and printed.

use super::{Place, when};
use crate::client::calendar::Moment;
use ravelin_audit::Item;
use ravelin_audit::entry::{How, What};
use ravelin_mqtt::{check_filter, matches};
use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{BufWriter, ErrorKind, Write};
use std::process::ExitCode;
use std::time::Duration;

/// How often `--follow` looks.
const LOOK: Duration = Duration::from_millis(250);

/// Show entries of the record.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin audit show plant                                 everything
  ravelin audit show plant --since 2h --topic 'commands/#' what was sent on these topics, and to whom it came
  ravelin audit show plant --kind administration --who operator
  ravelin audit show plant --follow --json                 as it happens, one JSON object a line

A transmission tells the SHA-256 of the payload: `printf %s open | sha256sum` says whether it was `open`.")]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    pick: Pick,
    /// Go on with what comes.
    #[arg(long)]
    follow: bool,
    /// One JSON object a line: the number and the entry.
    #[arg(long)]
    json: bool,
}

/// Which entries are meant.
#[derive(clap::Args)]
pub struct Pick {
    /// From then on: a time in UTC (2026-11-24T09:30) or how long ago (90m, 2d).
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    since: Option<u64>,
    /// Up to then.
    #[arg(long, value_name = "TIME", value_parser = when::parse)]
    until: Option<u64>,
    /// Messages on topics that match this filter, with their deliveries; refusals of such topics.
    #[arg(long, value_name = "FILTER", value_parser = parse_filter)]
    topic: Option<String>,
    /// A Client Identifier, an identity, or an administrator, on either side.
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// A kind: transmission, delivery, administration, refusal, gap, ... (repeatable).
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// One message: its transmission and deliveries.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

fn parse_filter(text: &str) -> Result<String, String> {
    match check_filter(text, u16::MAX) {
        Ok(None) => Ok(text.into()),
        Ok(Some(_)) => Err("a shared subscription is no filter of topics".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// Picks entries; remembers which messages were meant, for their deliveries.
pub struct Picker {
    pick: Pick,
    messages: HashSet<String>,
}

impl Pick {
    pub fn picker(self) -> Picker {
        Picker { pick: self, messages: HashSet::new() }
    }

    pub fn since(&self) -> Option<u64> {
        self.since
    }

    /// Whether everything is meant.
    pub fn is_everything(&self) -> bool {
        let Pick { since, until, topic, who, kinds, id } = self;
        since.is_none()
            && until.is_none()
            && topic.is_none()
            && who.is_none()
            && kinds.is_empty()
            && id.is_none()
    }
}

impl Picker {
    pub fn is_meant(&mut self, item: &Item) -> bool {
        let Some(entry) = &item.entry else { return self.pick.is_everything() };
        let pick = &self.pick;
        let in_time = pick.since.is_none_or(|since| entry.at_ms >= since)
            && pick.until.is_none_or(|until| entry.at_ms <= until);
        let of_topic = self.is_of_topic(&entry.what);
        // A message may be meant by a delivery that comes outside the time or of another kind.
        if of_topic
            && let What::Transmission(message) = &entry.what
            && self.pick.topic.is_some()
        {
            self.messages.insert(message.id.clone());
        }
        let pick = &self.pick;
        in_time
            && of_topic
            && (pick.kinds.is_empty() || pick.kinds.iter().any(|kind| kind == entry.what.kind()))
            && pick.who.as_ref().is_none_or(|who| people(&entry.what).contains(&who.as_str()))
            && pick.id.as_ref().is_none_or(|id| message_of(&entry.what) == Some(id))
    }

    fn is_of_topic(&self, what: &What) -> bool {
        let Some(filter) = &self.pick.topic else { return true };
        match what {
            What::Transmission(message) => matches(filter, &message.topic),
            What::Delivery(delivery) => self.messages.contains(&delivery.id),
            What::Refusal(refusal) => refusal.subject.as_ref().is_some_and(|topic| matches(filter, topic)),
            _ => false,
        }
    }
}

fn message_of(what: &What) -> Option<&String> {
    match what {
        What::Transmission(message) => Some(&message.id),
        What::Delivery(delivery) => Some(&delivery.id),
        _ => None,
    }
}

fn people(what: &What) -> Vec<&str> {
    match what {
        What::Transmission(message) => {
            [Some(message.client_id.as_str()), message.identity.as_deref()].into_iter().flatten().collect()
        }
        What::Delivery(delivery) => {
            [Some(delivery.client_id.as_str()), delivery.identity.as_deref()].into_iter().flatten().collect()
        }
        What::Refusal(refusal) => {
            [refusal.client_id.as_deref(), refusal.identity.as_deref()].into_iter().flatten().collect()
        }
        What::Administration(order) => vec![&order.actor, &order.subject],
        _ => Vec::new(),
    }
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { place, pick, follow, json } = args;
    let mut reader = place.reader()?;
    if let Some(since) = pick.since().filter(|_| pick.topic.is_none()) {
        reader.skip_to(since)?;
    }
    let mut picker = pick.picker();
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut problems = 0;
    loop {
        while let Some(item) = reader.next_item()? {
            if picker.is_meant(&item) {
                let line = if json { as_json(&item) } else { as_text(&item) };
                if let Err(error) = writeln!(out, "{line}") {
                    return closed(error);
                }
            }
        }
        for problem in reader.take_problems() {
            eprintln!("ravelin: {problem}");
            problems += 1;
        }
        if let Err(error) = out.flush() {
            return closed(error);
        }
        if !follow {
            break;
        }
        std::thread::sleep(LOOK);
    }
    Ok(if problems == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Whoever read the output has seen enough.
fn closed(error: std::io::Error) -> anyhow::Result<ExitCode> {
    if error.kind() == ErrorKind::BrokenPipe { Ok(ExitCode::SUCCESS) } else { Err(error.into()) }
}

fn as_json(item: &Item) -> String {
    // The text is a JSON object, authentic as it is.
    format!("{{\"sequence\":{},\"entry\":{}}}", item.sequence, item.text)
}

fn as_text(item: &Item) -> String {
    let Some(entry) = &item.entry else { return format!("{:>19} {}", item.sequence, plain(&item.text)) };
    let mut line = format!("{} {} {}", time(entry.at_ms), item.sequence, entry.what.kind());
    let mut push = |name: &str, value: &str| {
        let _ = write!(line, " {name}={}", plain(value));
    };
    match &entry.what {
        What::Transmission(one) => {
            push("from", &one.client_id);
            one.identity.iter().for_each(|identity| push("identity", identity));
            one.address.iter().for_each(|address| push("address", address));
            push("topic", &one.topic);
            push("bytes", &one.bytes.to_string());
            push("sha256", &one.sha256);
            push("qos", &one.qos.to_string());
            if one.retain {
                push("retain", "true");
            }
            if one.duplicate {
                push("duplicate", "true");
            }
            push("id", &one.id);
        }
        What::Delivery(one) => {
            push("to", &one.client_id);
            one.identity.iter().for_each(|identity| push("identity", identity));
            push("qos", &one.qos.to_string());
            push(
                "how",
                match one.how {
                    How::Written => "written",
                    How::Acknowledged => "acknowledged",
                    How::Refused => "refused",
                },
            );
            push("id", &one.id);
        }
        What::Administration(one) => {
            push("actor", &one.actor);
            push("via", &one.via);
            one.address.iter().for_each(|address| push("address", address));
            push("action", &one.action);
            push("subject", &one.subject);
            push("done", &one.done.to_string());
            if !one.detail.is_empty() {
                push("detail", &one.detail);
            }
        }
        _ => fields(&item.text, &mut push),
    }
    line
}

/// The fields of any other kind, as they are.
fn fields(text: &str, push: &mut impl FnMut(&str, &str)) {
    let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(text) else { return };
    for (name, value) in fields.iter().filter(|(name, _)| !["at_ms", "kind"].contains(&name.as_str())) {
        match value {
            serde_json::Value::String(text) => push(name, text),
            other => push(name, &other.to_string()),
        }
    }
}

/// A value that can neither start a line nor drive a terminal.
fn plain(text: &str) -> String {
    let quiet = |c: char| c.is_alphanumeric() || "-_.:/@+#$[]%,=".contains(c);
    if !text.is_empty() && text.chars().all(quiet) { text.into() } else { format!("{text:?}") }
}

pub fn time(at_ms: u64) -> String {
    let moment = Moment::from_unix(at_ms / 1000, (at_ms % 1000) as u32 * 1_000_000);
    // To the millisecond.
    let text = moment.rfc3339_us();
    format!("{}Z", &text[..text.len().saturating_sub(4)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_chose_can_neither_start_a_line_nor_drive_a_terminal() {
        for bad in ["a\nb", "a\u{1b}[31m", "a\u{202e}b", "", "a b", "\u{9b}x"] {
            let shown = plain(bad);
            assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}'), "{shown}");
            assert!(shown.starts_with('"'));
        }
        assert_eq!(plain("meters/7/reading"), "meters/7/reading");
        assert_eq!(time(951_782_400_007), "2000-02-29T00:00:00.007Z");
    }
}
