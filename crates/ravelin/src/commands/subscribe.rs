//! `ravelin sub`: subscribes and prints what comes, one message a line, in a format of the user's choice.
//!
//! A message is acknowledged after it was written to standard output, so a reader that dies loses nothing.

use crate::client::connection::{Outgoing, Unreleased};
use crate::client::error::{EXIT_TIMED_OUT, finish};
use crate::client::format::Format;
use crate::client::options::{ConnectArgs, ConnectOptions, parse_qos};
use crate::client::property::MessageProperties;
use crate::client::{Connection, Error, Event, Incoming, Message, Moment};
use ravelin_mqtt::{
    QoS, ReasonCode, RetainHandling, SubscribeOptions, Subscription, Version, check_filter, matches,
};
use std::io::{BufWriter, ErrorKind, Stdout, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "\
Examples:
  ravelin sub -t 'site/+/temp' -v
  ravelin sub -h bus.example --cafile ca.crt --cert op.crt --key op.key -t '#' --json
  ravelin sub -t site/7/temp -C 1 -W 5              one message, or exit code 27 after five seconds
  ravelin sub -t '#' -F '@T %-30t %q %r %p'         time, topic, QoS, retained, payload
  ravelin sub -t 'old/#' --remove-retained --retained-only -W 2

Formats (-F): %t topic, %p payload, %x %X payload in hex, %l its length, %q QoS, %r retained, %m packet id,
  %I date and time, %U Unix time, %j JSON, %J JSON with a JSON payload, %C content type, %R response topic,
  %D correlation data, %E expiry, %F payload format, %S subscription id, %A topic alias, %P user properties,
  %% @@ \\\\ themselves, @X as strftime, \\n \\t \\0 ...; widths as %-10.10t. Times are in UTC.

Exit codes: 0 done, 1 refused or connection lost, 2 wrong usage, 27 timed out (-W).
A lost connection ends the command unless --reconnect is given.";

/// The longest pause between attempts to connect again.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(30);

/// What the command takes. No `Debug`: it may hold a password.
#[derive(clap::Args)]
#[command(disable_help_flag = true, disable_version_flag = true, after_help = EXAMPLES)]
pub struct Args {
    /// Subscribe to this topic filter; may be repeated
    #[arg(short = 't', long, value_name = "FILTER", required_unless_present_any = ["url", "unsubscribe"])]
    topic: Vec<String>,
    /// Do not print messages on topics that match this filter; may be repeated
    #[arg(short = 'T', long, value_name = "FILTER")]
    filter_out: Vec<String>,
    /// Unsubscribe from this filter, in a session that was kept (-c); may be repeated
    #[arg(short = 'U', long, value_name = "FILTER")]
    unsubscribe: Vec<String>,
    /// QoS at most: 0, 1 or 2
    #[arg(short = 'q', long, value_name = "QOS", default_value = "0", value_parser = parse_qos)]
    qos: QoS,
    /// Keep the retain flag as the publisher set it (MQTT 5.0)
    #[arg(long)]
    retain_as_published: bool,
    /// Get no messages that this client published (MQTT 5.0)
    #[arg(long)]
    no_local: bool,
    /// Retained messages: always, new (only for a new subscription) or never (MQTT 5.0)
    #[arg(long, value_name = "WHEN", value_parser = ["always", "new", "never"])]
    retain_handling: Option<String>,
    /// End after this many messages
    #[arg(short = 'C', value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after this many seconds, with exit code 27
    #[arg(short = 'W', value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// End as soon as the broker has acknowledged the subscriptions
    #[arg(short = 'E')]
    exit_after_subscribe: bool,
    /// Do not print retained messages
    #[arg(short = 'R')]
    no_retained: bool,
    /// Print only retained messages, and end at the first that is not
    #[arg(long, conflicts_with = "no_retained")]
    retained_only: bool,
    /// Remove the retained messages that are received, except those filtered out with -T
    #[arg(long)]
    remove_retained: bool,
    /// Connect again when the connection is lost
    #[arg(long)]
    reconnect: bool,
    /// Print the topic before the payload
    #[arg(short = 'v', long, help_heading = "Output")]
    verbose: bool,
    /// Print this format; it wins over -v
    #[arg(short = 'F', value_name = "FORMAT", help_heading = "Output")]
    format: Option<String>,
    /// Print one JSON object a message (the same as -F %j)
    #[arg(long, help_heading = "Output", conflicts_with_all = ["verbose", "format"])]
    json: bool,
    /// Print no line break after a message
    #[arg(short = 'N', help_heading = "Output")]
    no_newline: bool,
    #[command(flatten)]
    connect: ConnectArgs,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let deadline = args.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let quiet = args.connect.quiet;
    finish("sub", quiet, subscribe(args, deadline))
}

fn subscribe(args: Args, deadline: Option<Instant>) -> anyhow::Result<ExitCode> {
    let options = args.connect.resolve()?;
    let mut filters = args.topic.clone();
    filters.extend(options.url_topic.clone());
    if filters.is_empty() && args.unsubscribe.is_empty() {
        return Err(Error::Usage("no topic filter was given (-t, or in the URL)".into()).into());
    }
    for filter in filters.iter().chain(&args.filter_out).chain(&args.unsubscribe) {
        check_filter(filter, u16::MAX)
            .map_err(|why| Error::Usage(format!("topic filter '{filter}': {why}")))?;
    }
    let version_5 = args.retain_as_published || args.no_local || args.retain_handling.is_some();
    if version_5 && options.version == Version::V311 {
        let which = "--retain-as-published, --no-local and --retain-handling need MQTT 5.0: use -V 5";
        return Err(Error::Usage(which.into()).into());
    }
    let mut subscriber = Subscriber {
        format: args.output_format()?,
        out: BufWriter::new(std::io::stdout()),
        quiet: args.connect.quiet,
        printed: 0,
        filters,
        args: &args,
        options: &options,
        deadline,
    };
    subscriber.run()
}

impl Args {
    fn output_format(&self) -> Result<Format, Error> {
        let newline = !self.no_newline;
        match &self.format {
            Some(text) => Format::parse(text, newline),
            None if self.json => Ok(Format::json(newline)),
            None if self.verbose => Ok(Format::verbose(newline)),
            None => Ok(Format::payload(newline)),
        }
    }

    fn subscribe_options(&self) -> SubscribeOptions {
        SubscribeOptions {
            qos: self.qos,
            no_local: self.no_local,
            retain_as_published: self.retain_as_published,
            retain_handling: match self.retain_handling.as_deref() {
                Some("new") => RetainHandling::SendIfNew,
                Some("never") => RetainHandling::DoNotSend,
                _ => RetainHandling::Send,
            },
        }
    }
}

struct Subscriber<'a> {
    args: &'a Args,
    options: &'a ConnectOptions,
    filters: Vec<String>,
    format: Format,
    out: BufWriter<Stdout>,
    quiet: bool,
    printed: u64,
    deadline: Option<Instant>,
}

/// Why a connection was left, other than by an error.
enum End {
    /// What was asked for is done.
    Done,
    /// The time of `-W` is over.
    TimedOut,
    /// Nobody reads standard output any more.
    NoReader,
    /// The broker grants none of the subscriptions.
    Denied,
}

impl Subscriber<'_> {
    fn run(&mut self) -> anyhow::Result<ExitCode> {
        let mut unreleased = Unreleased::default();
        let mut pause = Duration::from_secs(1);
        loop {
            let error = match Connection::open(self.options, std::mem::take(&mut unreleased), self.deadline) {
                Err(_) if self.is_late() => return Ok(self.timed_out()),
                Err(error) => error,
                Ok(mut connection) => {
                    pause = Duration::from_secs(1);
                    match self.serve(&mut connection) {
                        Ok(End::TimedOut) => {
                            self.leave(connection)?;
                            return Ok(self.timed_out());
                        }
                        Ok(End::Done) => {
                            self.leave(connection)?;
                            return Ok(ExitCode::SUCCESS);
                        }
                        Ok(End::Denied) => {
                            self.leave(connection)?;
                            return Ok(ExitCode::FAILURE);
                        }
                        Ok(End::NoReader) => return Ok(ExitCode::SUCCESS),
                        Err(error) => {
                            unreleased = connection.into_unreleased();
                            error
                        }
                    }
                }
            };
            if !self.args.reconnect || !may_pass(&error) {
                return Err(error.into());
            }
            self.warn(&format!(
                "{:#}; connecting again in {} s",
                anyhow::Error::from(error),
                pause.as_secs()
            ));
            let until = Instant::now() + pause;
            std::thread::sleep(self.deadline.map_or(until, |deadline| deadline.min(until)) - Instant::now());
            if self.is_late() {
                return Ok(self.timed_out());
            }
            pause = (pause * 2).min(RECONNECT_PAUSE_MAX);
        }
    }

    /// Subscribes and prints until there is a reason to stop.
    fn serve(&mut self, connection: &mut Connection) -> Result<End, Error> {
        let unsubscribe: Vec<&str> = self.args.unsubscribe.iter().map(String::as_str).collect();
        if !unsubscribe.is_empty() {
            connection.unsubscribe(&unsubscribe, &self.options.properties.unsubscribe_user)?;
        }
        if !self.filters.is_empty() {
            let options = self.args.subscribe_options();
            let subscriptions: Vec<Subscription<'_>> =
                self.filters.iter().map(|filter| Subscription { filter, options }).collect();
            let properties = &self.options.properties;
            connection.subscribe(&subscriptions, properties.subscription_id, &properties.subscribe_user)?;
        }
        // Messages that are in the output but not acknowledged.
        let mut written: Vec<(u16, QoS)> = Vec::new();
        loop {
            if connection.is_drained() && !self.settle(connection, &mut written)? {
                return Ok(End::NoReader);
            }
            let end = match connection.next(self.deadline)? {
                Event::Deadline => Some(End::TimedOut),
                Event::Woken => None,
                Event::Received(Incoming::SubAck(reasons)) => self.granted(&reasons)?,
                Event::Received(Incoming::UnsubAck(reasons)) => self.unsubscribed(&reasons),
                Event::Received(Incoming::Ack { .. }) => None,
                Event::Received(Incoming::Message(message)) => {
                    written.push((message.packet_id, message.qos));
                    match self.print(connection, &message)? {
                        Some(end) => Some(end),
                        None if self.is_late() => Some(End::TimedOut),
                        None => None,
                    }
                }
            };
            if let Some(end) = end {
                return Ok(if self.settle(connection, &mut written)? { end } else { End::NoReader });
            }
        }
    }

    /// Writes the output and acknowledges what is in it; false when nobody reads it.
    fn settle(&mut self, connection: &mut Connection, written: &mut Vec<(u16, QoS)>) -> Result<bool, Error> {
        if let Err(error) = self.out.flush() {
            return if error.kind() == ErrorKind::BrokenPipe { Ok(false) } else { Err(error.into()) };
        }
        for (packet_id, qos) in written.drain(..) {
            connection.acknowledge(packet_id, qos)?;
        }
        connection.flush()?;
        Ok(true)
    }

    fn print(&mut self, connection: &mut Connection, message: &Message) -> Result<Option<End>, Error> {
        if self.args.retained_only && !message.retain {
            return Ok(Some(End::Done));
        }
        let filtered_out = self.args.filter_out.iter().any(|filter| matches(filter, &message.topic));
        if filtered_out {
            return Ok(None);
        }
        if message.retain {
            if self.args.remove_retained {
                remove_retained(connection, &message.topic)?;
            }
            if self.args.no_retained {
                return Ok(None);
            }
        }
        match self.format.write(&mut self.out, message, Moment::now()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Some(End::NoReader)),
            Err(error) => return Err(error.into()),
            Ok(Err(why)) => self.warn(&why),
            Ok(Ok(())) => {}
        }
        self.printed += 1;
        Ok((Some(self.printed) == self.args.count).then_some(End::Done))
    }

    fn granted(&self, reasons: &[ReasonCode]) -> Result<Option<End>, Error> {
        if reasons.len() != self.filters.len() {
            // MQTT-3.8.4-6
            return Err(Error::Protocol("SUBACK has not one reason code for each filter".into()));
        }
        for (filter, reason) in self.filters.iter().zip(reasons).filter(|(_, reason)| reason.is_failure()) {
            self.warn(&format!("the subscription to '{filter}' was refused: {reason}"));
        }
        if reasons.iter().all(|reason| reason.is_failure()) {
            return Ok(Some(End::Denied));
        }
        Ok(self.args.exit_after_subscribe.then_some(End::Done))
    }

    fn unsubscribed(&self, reasons: &[ReasonCode]) -> Option<End> {
        for (filter, reason) in
            self.args.unsubscribe.iter().zip(reasons).filter(|(_, reason)| reason.is_failure())
        {
            self.warn(&format!("the end of the subscription to '{filter}' was refused: {reason}"));
        }
        self.filters.is_empty().then_some(End::Done)
    }

    fn leave(&self, connection: Connection) -> Result<(), Error> {
        let properties = &self.options.properties;
        connection.disconnect(properties.disconnect_expiry_s, &properties.disconnect_user)
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn timed_out(&self) -> ExitCode {
        self.warn("timed out");
        ExitCode::from(EXIT_TIMED_OUT)
    }

    fn warn(&self, what: &str) {
        if !self.quiet {
            eprintln!("ravelin sub: {what}");
        }
    }
}

/// Clears the retained message of a topic.
fn remove_retained(connection: &mut Connection, topic: &str) -> Result<(), Error> {
    let properties = MessageProperties::default();
    let message = Outgoing {
        topic,
        payload: &[],
        qos: QoS::AtMostOnce,
        retain: true,
        properties: &properties,
        forward: &[],
    };
    connection.publish(message).map(drop)
}

/// Whether trying again may help.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Resolve { .. } | Error::Connect { .. } | Error::NoAnswer(_) | Error::Io(_) => true,
        Error::Refused { reason, .. } | Error::Closed { reason: Some(reason), .. } => matches!(
            *reason,
            ReasonCode::SERVER_UNAVAILABLE
                | ReasonCode::SERVER_BUSY
                | ReasonCode::SERVER_SHUTTING_DOWN
                | ReasonCode::KEEP_ALIVE_TIMEOUT
                | ReasonCode::CONNECTION_RATE_EXCEEDED
                | ReasonCode::MAXIMUM_CONNECT_TIME
        ),
        Error::Closed { reason: None, .. } => true,
        _ => false,
    }
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
        Line::try_parse_from(std::iter::once("sub").chain(line.split(' '))).map(|line| line.args)
    }

    #[test]
    fn the_flags_of_mosquitto_sub() {
        let line = "-h bus -p 1 -t a/# -t b -T a/x -q 2 -C 3 -W 4 -R -N -E -v -U c -i me -c -k 5 -x 6 -V 5 -u n -P p -d";
        let args = parse(line).unwrap();
        assert_eq!(args.topic, ["a/#", "b"]);
        assert_eq!((args.count, args.timeout, args.qos), (Some(3), Some(4), QoS::ExactlyOnce));
    }

    #[test]
    fn something_to_subscribe_to_and_one_format() {
        for line in ["-v", "-t a --json -v", "-t a -R --retained-only", "-t a -C 0", "-t a -q 3"] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(parse("-L mqtt://h/a").is_ok());
        assert!(parse("-U a -c -i me").is_ok());
    }

    #[test]
    fn trying_again_is_for_what_may_pass() {
        assert!(may_pass(&Error::Closed { reason: None, text: None }));
        assert!(may_pass(&Error::Refused { reason: ReasonCode::SERVER_BUSY, text: None }));
        assert!(!may_pass(&Error::Refused { reason: ReasonCode::NOT_AUTHORIZED, text: None }));
        assert!(!may_pass(&Error::Closed { reason: Some(ReasonCode::SESSION_TAKEN_OVER), text: None }));
    }
}
