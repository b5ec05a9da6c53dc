//! `ravelin pub`: publishes messages, waits for what the broker says about each, and says so with its exit code.

use crate::client::connection::{Outgoing, Unreleased};
use crate::client::error::finish;
use crate::client::options::{ConnectArgs, ConnectOptions, parse_qos};
use crate::client::property::MessageProperties;
use crate::client::{Connection, Error, Event, Incoming};
use anyhow::Context;
use ravelin_mqtt::{AckKind, QoS, ReasonCode, check_topic};
use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  ravelin pub -t site/7/temp -m 21.5
  ravelin pub -h bus.example --cafile ca.crt --cert meter.crt --key meter.key -t site/7/temp -m 21.5 -q 1 -r
  sensor | ravelin pub -t site/7/temp -l -q 1
  ravelin pub -t rpc/7 -m ping -D publish response-topic rpc/7/answer -D publish correlation-data 1

Exit codes: 0 published (at QoS 1 and 2: acknowledged), 1 refused or failed, 2 wrong usage.
MQTT 5.0 is spoken by default, because 3.1.1 brokers cannot say why they refuse; -V mqttv311 for the older one.";

/// Lines that wait between the reader of standard input and the connection.
const LINES_WAITING: usize = 256;

/// What the command takes. No `Debug`: it may hold a password.
#[derive(clap::Args)]
#[command(disable_help_flag = true, disable_version_flag = true, after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("content").required(true))]
pub struct Args {
    /// Publish to this topic
    #[arg(short = 't', long, value_name = "TOPIC", required_unless_present = "url")]
    topic: Option<String>,
    /// Publish this text
    #[arg(short = 'm', long, value_name = "TEXT", group = "content", allow_hyphen_values = true)]
    message: Option<String>,
    /// Publish the content of this file
    #[arg(short = 'f', long, value_name = "FILE", group = "content")]
    file: Option<PathBuf>,
    /// Publish each line of standard input
    #[arg(short = 'l', long, group = "content")]
    stdin_line: bool,
    /// Publish an empty message; with -r it removes the retained one
    #[arg(short = 'n', long, group = "content")]
    null_message: bool,
    /// Publish all of standard input as one message
    #[arg(short = 's', long, group = "content")]
    stdin_file: bool,
    /// QoS: 0 at most once, 1 at least once, 2 exactly once
    #[arg(short = 'q', long, value_name = "QOS", default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// Retain the message
    #[arg(short = 'r', long)]
    retain: bool,
    /// Publish the message this many times
    #[arg(long, value_name = "COUNT", default_value_t = 1, conflicts_with = "stdin_line",
        value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// Seconds between repeated messages
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = parse_seconds)]
    repeat_delay: Duration,
    /// Messages at QoS 1 and 2 that may be unacknowledged
    #[arg(short = 'M', long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    max_inflight: u16,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let quiet = args.connect.quiet;
    finish("pub", quiet, publish(args))
}

fn publish(args: Args) -> anyhow::Result<ExitCode> {
    let options = args.connect.resolve()?;
    let topic = match (&args.topic, &options.url_topic) {
        (Some(topic), _) | (None, Some(topic)) => topic.clone(),
        (None, None) => return Err(Error::Usage("no topic was given (-t, or in the URL)".into()).into()),
    };
    check_topic(&topic, u16::MAX).map_err(|why| Error::Usage(format!("topic '{topic}': {why}")))?;
    let once = args.content()?;
    let connection = Connection::open(&options, Unreleased::default(), None)?;
    check_terms(&args, &options, &connection)?;
    let source = match once {
        Some(payload) => Source::once(payload, args.repeat, args.repeat_delay),
        None => Source::lines(&connection),
    };
    let window = usize::from(args.max_inflight.min(connection.terms.receive_max));
    let mut publisher = Publisher {
        forward: options.properties.publish.builder().into_raw(),
        properties: options.properties.publish.clone(),
        topic,
        qos: args.qos,
        retain: args.retain,
        quiet: args.connect.quiet,
        window,
        in_flight: HashMap::new(),
        published: 0,
        refused: 0,
        connection,
    };
    let ended = publisher.publish_all(source);
    if let Err(error) = ended {
        let unknown = publisher.in_flight.len();
        return Err(match unknown {
            0 => error.into(),
            _ => anyhow::Error::from(error).context(format!("{unknown} messages were not acknowledged")),
        });
    }
    let refused = publisher.refused;
    publisher
        .connection
        .disconnect(options.properties.disconnect_expiry_s, &options.properties.disconnect_user)?;
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Args {
    /// The one message to publish, or `None` for lines of standard input.
    fn content(&self) -> anyhow::Result<Option<Vec<u8>>> {
        if let Some(text) = &self.message {
            return Ok(Some(text.clone().into_bytes()));
        }
        if let Some(file) = &self.file {
            return Ok(Some(
                std::fs::read(file).with_context(|| format!("failed to read {}", file.display()))?,
            ));
        }
        if self.stdin_file {
            let mut all = Vec::new();
            std::io::stdin().read_to_end(&mut all).context("failed to read standard input")?;
            return Ok(Some(all));
        }
        Ok(self.null_message.then(Vec::new))
    }
}

/// What the broker announced not to take is not sent to it.
fn check_terms(args: &Args, options: &ConnectOptions, connection: &Connection) -> Result<(), Error> {
    let terms = &connection.terms;
    // MQTT-3.2.2-11.
    if args.qos as u8 > terms.qos_max {
        return Err(Error::NotOffered(format!("the broker takes QoS {} at most", terms.qos_max)));
    }
    // MQTT-3.2.2-14.
    if args.retain && !terms.retain_available {
        return Err(Error::NotOffered("the broker does not keep retained messages".into()));
    }
    // MQTT-3.3.2-9.
    if let Some(alias) = options.properties.publish.topic_alias.filter(|&alias| alias > terms.topic_alias_max)
    {
        return Err(Error::NotOffered(format!(
            "topic alias {alias} is above the broker's maximum of {}",
            terms.topic_alias_max
        )));
    }
    Ok(())
}

struct Publisher {
    connection: Connection,
    topic: String,
    qos: QoS,
    retain: bool,
    properties: MessageProperties,
    forward: Vec<u8>,
    quiet: bool,
    window: usize,
    /// Number of each message that is not acknowledged, by packet identifier.
    in_flight: HashMap<u16, u64>,
    published: u64,
    refused: u64,
}

impl Publisher {
    fn publish_all(&mut self, mut source: Source) -> Result<(), Error> {
        loop {
            let mut wait_until = None;
            let mut exhausted = false;
            while self.in_flight.len() < self.window {
                match source.next() {
                    Next::Message(payload) => self.publish(&payload)?,
                    Next::At(moment) => {
                        wait_until = Some(moment);
                        break;
                    }
                    Next::NotYet => break,
                    Next::End => {
                        exhausted = true;
                        break;
                    }
                }
            }
            self.connection.flush()?;
            if exhausted && self.in_flight.is_empty() {
                return Ok(());
            }
            if let Event::Received(incoming) = self.connection.next(wait_until)? {
                self.handle(incoming)?;
            }
        }
    }

    fn publish(&mut self, payload: &[u8]) -> Result<(), Error> {
        let message = Outgoing {
            topic: &self.topic,
            payload,
            qos: self.qos,
            retain: self.retain,
            properties: &self.properties,
            forward: &self.forward,
        };
        let packet_id = self.connection.publish(message)?;
        self.published += 1;
        if packet_id != 0 {
            self.in_flight.insert(packet_id, self.published);
        }
        Ok(())
    }

    fn handle(&mut self, incoming: Incoming) -> Result<(), Error> {
        match incoming {
            Incoming::Ack { kind: AckKind::PubRec, packet_id, reason, .. } if !reason.is_failure() => {
                self.connection.release(packet_id)
            }
            Incoming::Ack { packet_id, reason, text, .. } => {
                if let Some(number) = self.in_flight.remove(&packet_id)
                    && reason.is_failure()
                {
                    self.refused += 1;
                    self.report(number, reason, text);
                }
                Ok(())
            }
            // A kept session may have subscriptions: their messages are for another time, and stay with the broker.
            _ => Ok(()),
        }
    }

    fn report(&self, number: u64, reason: ReasonCode, text: Option<String>) {
        if self.quiet {
            return;
        }
        let text = text.map(|text| format!(", \"{}\"", text.escape_debug())).unwrap_or_default();
        eprintln!("ravelin pub: message {number} to '{}' was refused: {reason}{text}", self.topic);
    }
}

/// Where messages come from.
enum Source {
    Once { payload: Vec<u8>, left: u64, delay: Duration, next_at: Option<Instant> },
    Lines(Receiver<Vec<u8>>),
}

enum Next {
    Message(Vec<u8>),
    At(Instant),
    NotYet,
    End,
}

impl Source {
    fn once(payload: Vec<u8>, left: u64, delay: Duration) -> Source {
        Source::Once { payload, left, delay, next_at: None }
    }

    /// Lines of standard input, read by a thread, so that waiting for a line keeps the connection alive.
    fn lines(connection: &Connection) -> Source {
        let (sender, receiver) = sync_channel(LINES_WAITING);
        let waker = connection.waker();
        std::thread::spawn(move || {
            let mut input = std::io::stdin().lock();
            let mut line = Vec::new();
            while matches!(input.read_until(b'\n', &mut line), Ok(count) if count > 0) {
                if line.last() == Some(&b'\n') {
                    line.pop();
                }
                if sender.send(std::mem::take(&mut line)).is_err() {
                    return;
                }
                // Without the waker the connection ends with the next thing it waits for.
                let _ = waker.wake();
            }
            drop(sender);
            let _ = waker.wake();
        });
        Source::Lines(receiver)
    }

    fn next(&mut self) -> Next {
        match self {
            Source::Once { left: 0, .. } => Next::End,
            Source::Once { payload, left, delay, next_at } => {
                let now = Instant::now();
                if let Some(at) = next_at.filter(|&at| at > now) {
                    return Next::At(at);
                }
                *left -= 1;
                *next_at = Some(now + *delay);
                Next::Message(payload.clone())
            }
            Source::Lines(receiver) => match receiver.try_recv() {
                Ok(line) => Next::Message(line),
                Err(TryRecvError::Empty) => Next::NotYet,
                Err(TryRecvError::Disconnected) => Next::End,
            },
        }
    }
}

/// Parses seconds with a fraction.
fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected seconds, for example 0.5".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|why| why.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Line::try_parse_from(std::iter::once("pub").chain(line.split(' '))).map(|line| line.args)
    }

    #[test]
    fn exactly_one_content() {
        for line in
            ["-t a -m x", "-t a -n", "-t a -l", "-t a -s", "-t a -f x", "-L mqtt://h/a -m x", "-t a -m -1"]
        {
            assert!(parse(line).is_ok(), "{line}");
        }
        for line in
            ["-t a", "-t a -m x -n", "-m x", "-t a -l --repeat 2", "-t a -m x -q 3", "-t a -m x --repeat 0"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn h_is_the_host_as_in_mosquitto_pub() {
        assert!(parse("-h bus -t a -m x -d -c -i me -k 10 -x 60 -u n -P p -V mqttv5 -r -q 1").is_ok());
        assert_eq!(
            parse("--help").err().map(|error| error.kind()),
            Some(clap::error::ErrorKind::DisplayHelp)
        );
    }

    #[test]
    fn repeats_wait_for_their_time() {
        let mut source = Source::once(b"x".to_vec(), 2, Duration::from_secs(3600));
        assert!(matches!(source.next(), Next::Message(_)));
        assert!(matches!(source.next(), Next::At(_)));
        let mut source = Source::once(b"x".to_vec(), 2, Duration::ZERO);
        assert!(matches!(source.next(), Next::Message(_)));
        assert!(matches!(source.next(), Next::Message(_)));
        assert!(matches!(source.next(), Next::End));
    }
}
