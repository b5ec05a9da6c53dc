//! `ravelin detect replay`: what Ravelin would have said to recorded traffic.

use crate::client::Moment;
use anyhow::Context;
use ravelin_detect::{Engine, Settings};
use ravelin_event::{Alarm, Notice};
use ravelin_node::config::DetectConfig;
use ravelin_replay::{Form, Options, Player, Tally, Warning, read};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Odd places of a recording that are named; more are counted.
const WARNINGS_MAX: u64 = 20;
/// The same recording gives the same alarms.
const SEED: u64 = 0x5261_7665_6C69_6E00;

const EXAMPLES: &str = "\
Examples:
  ravelin detect replay capture.pcapng                  what Ravelin would have said to it
  ravelin detect replay events.csv.gz --json            one JSON object an alarm, one a line
  ravelin detect replay events.csv --settings plant     as the node of the deployment in ./plant would have seen it
  tcpdump -i eth0 -U -w - tcp port 1883 | ravelin detect replay -

A recording is a capture (pcap, pcapng), a table of events in CSV, or the JSON event log of a node; each may be compressed
with gzip. Nothing is sent anywhere, and no node is needed. A label in a table is not shown to the detectors.
Settings are those of a node, in its words: [detect], [[behaviour]], [[expect]], [[physical]] and [[value]] of a ravelin.toml,
or of a file that has nothing else. The detectors are told the payloads of topics that [[physical]] and [[value]] name.
Exit codes: 0 it was read to its end (whatever was found), 1 it or the settings cannot be read, 2 wrong usage.";

/// Run recorded traffic through the detectors.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The recording; `-` is standard input.
    file: PathBuf,
    /// Print one JSON object an alarm, one a line, when it is raised.
    #[arg(long)]
    json: bool,
    /// Print all that is said: also what is worse or over, and findings that are no alarm.
    #[arg(long)]
    all: bool,
    /// The configuration of a node (or its directory), or a file with its sections of detection alone; what is not in it
    /// has its default.
    #[arg(long, value_name = "FILE|DIR")]
    settings: Option<PathBuf>,
    /// A port on which a capture has MQTT, beside 1883 (repeatable); others are recognised by their CONNECT.
    #[arg(long = "port", value_name = "PORT")]
    ports: Vec<u16>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let settings = match &args.settings {
        Some(path) => settings(path)?,
        None => Settings::default(),
    };
    let mut options = Options::default();
    options.ports.extend(&args.ports);
    let input: Box<dyn Read> = if args.file == Path::new("-") {
        Box::new(std::io::stdin().lock())
    } else {
        let file = std::fs::File::open(&args.file)
            .with_context(|| format!("failed to open {}", args.file.display()))?;
        Box::new(file)
    };
    let output = RefCell::new(Output::new(args.json, args.all));
    let mut odd = 0;
    let started = Instant::now();
    let say = |notice: Notice| output.borrow_mut().say(&notice);
    let warn = |warning: Warning| {
        odd += 1;
        if odd <= WARNINGS_MAX {
            eprintln!("ravelin: warning: {warning}");
        }
    };
    let mut player = Player::new(Engine::new(settings, SEED), say, warn);
    let result = read(input, &options, &mut player);
    let (engine, tally) = player.finish();
    let watches = engine.settings().topics().next().is_some();
    let mut output = output.into_inner();
    if odd > WARNINGS_MAX {
        eprintln!("ravelin: warning: {} more odd places were left out", odd - WARNINGS_MAX);
    }
    let closed = output.closed();
    // Of what could not be read at all, nothing is said beside why: "no alarm" would be no news.
    let summarised = if args.json || (result.is_err() && tally.rows == 0) {
        output.out.flush()
    } else {
        output.summary(tally, odd, started.elapsed())
    };
    let form = result.with_context(|| format!("failed to replay {}", args.file.display()))?;
    if watches && tally.observed == 0 {
        let why = if form == Form::Log { ": an event log has no messages" } else { "" };
        eprintln!("ravelin: warning: no message to a topic of [[physical]] or [[value]] was seen{why}");
    }
    if !closed {
        summarised.context("failed to write")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The error shows each line that is wrong, and points at what is wrong in it.
fn settings(path: &Path) -> anyhow::Result<Settings> {
    DetectConfig::load(path).map(|config| config.settings).map_err(|errors| anyhow::anyhow!("{errors}"))
}

struct Output {
    json: bool,
    all: bool,
    out: BufWriter<std::io::Stdout>,
    failed: Option<std::io::Error>,
    raised: u64,
    findings: u64,
    cleared: u64,
    by_detector: BTreeMap<String, u64>,
}

impl Output {
    fn new(json: bool, all: bool) -> Output {
        Output {
            json,
            all,
            out: BufWriter::new(std::io::stdout()),
            failed: None,
            raised: 0,
            findings: 0,
            cleared: 0,
            by_detector: BTreeMap::new(),
        }
    }

    fn say(&mut self, notice: &Notice) {
        let (word, is_new) = match notice {
            Notice::Raised(alarm) => {
                self.raised += 1;
                *self.by_detector.entry(alarm.detector.to_string()).or_default() += 1;
                ("raised", true)
            }
            Notice::Worsened(_) => ("worsened", false),
            Notice::Cleared(_) => {
                self.cleared += 1;
                ("cleared", false)
            }
            _ => {
                self.findings += 1;
                ("finding", false)
            }
        };
        if (!is_new && !self.all) || self.failed.is_some() {
            return;
        }
        let result =
            if self.json { self.object(word, notice.alarm()) } else { self.line(word, notice.alarm()) };
        // Whoever reads along sees it now.
        if let Err(error) = result.and_then(|()| self.out.flush()) {
            self.failed = Some(error);
        }
    }

    /// Whether nobody reads any more, as `head` does: no failure.
    fn closed(&self) -> bool {
        self.failed.as_ref().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// The alarm's own JSON, and which notice it is.
    fn object(&mut self, word: &str, alarm: &Alarm) -> std::io::Result<()> {
        #[derive(serde::Serialize)]
        struct Told<'a> {
            notice: &'a str,
            #[serde(flatten)]
            alarm: &'a Alarm,
        }
        serde_json::to_writer(&mut self.out, &Told { notice: word, alarm })?;
        writeln!(self.out)
    }

    fn line(&mut self, word: &str, alarm: &Alarm) -> std::io::Result<()> {
        if self.raised + self.findings + self.cleared <= 1 {
            let (time, what) = ("time (UTC)", "severity");
            writeln!(self.out, "{time:27} {what:13} {:28} {:32} what", "detector", "subject")?;
        }
        let what = if word == "raised" { alarm.severity.name() } else { word };
        let at_ms =
            if word == "cleared" { alarm.cleared_ms.unwrap_or(alarm.last_ms) } else { alarm.raised_ms };
        writeln!(
            self.out,
            "{:27} {what:13} {:28} {:32} {}",
            utc(at_ms),
            alarm.detector,
            printable(&alarm.subject.to_string()),
            printable(&alarm.summary)
        )
    }

    fn summary(&mut self, tally: Tally, odd: u64, took: Duration) -> std::io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let span = Duration::from_millis(tally.last_ms.saturating_sub(tally.first_ms));
        if self.raised > 0 {
            writeln!(self.out)?;
        }
        writeln!(
            self.out,
            "{} events over {}, {} told to the detectors, read in {:.2} s ({:.0}/s)",
            tally.rows,
            lasting(span),
            tally.sights,
            took.as_secs_f64(),
            tally.rows as f64 / took.as_secs_f64().max(1e-6)
        )?;
        if odd > 0 {
            writeln!(self.out, "{odd} odd places were left out")?;
        }
        if self.raised == 0 {
            writeln!(self.out, "no alarm, {} findings", self.findings)?;
        } else {
            let open = self.raised.saturating_sub(self.cleared);
            writeln!(
                self.out,
                "{} alarms ({open} open at the end), {} findings",
                self.raised, self.findings
            )?;
            for (detector, count) in &self.by_detector {
                writeln!(self.out, "  {detector:32} {count:>6}")?;
            }
        }
        self.out.flush()
    }
}

/// What a client named may hold bytes that a terminal obeys.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn lasting(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..120 => format!("{:.1} s", span.as_secs_f64()),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{:.1} h", seconds as f64 / 3_600.0),
        _ => format!("{:.1} days", seconds as f64 / 86_400.0),
    }
}

/// Milliseconds since the Unix epoch, for people.
fn utc(at_ms: u64) -> String {
    Moment::from_unix(at_ms / 1000, (at_ms % 1000) as u32 * 1_000_000).rfc3339_us()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_not_printed() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\u{fffd}c");
    }

    #[test]
    fn settings_are_those_of_a_node_and_what_is_wrong_is_pointed_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("detect.toml");
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            settings(&path).map_err(|error| error.to_string())
        };
        let text = "[detect]\nquiet = \"7m\"\n[[value]]\ntopic = \"volt\"\nmax = 250\n";
        let read = load(text).unwrap();
        assert_eq!((read.episodes.quiet_ms, read.topics().collect::<Vec<_>>()), (420_000, vec!["volt"]));
        let error = load("[detect]\nquiet = \"7m\"\nnonsense = 1\n").unwrap_err();
        assert!(error.contains("detect.toml:3:") && error.contains("nonsense"), "{error}");
        // The engine's own form is no configuration.
        let error = load("[episodes]\nquiet_ms = 7\n").unwrap_err();
        assert!(error.contains("detect.toml:1:") && error.contains("no key `episodes`"), "{error}");
    }
}
