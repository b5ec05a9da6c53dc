//! `ravelin detect`: what detectors have said, what is not to be told, how far clients are trusted.
//!
//! All but `replay` asks a running node over its control lane.

mod alarms;
mod inspections;
mod replay;
mod suppressions;
mod trust;

use super::ctl::NodeArgs;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  ravelin detect alarms --state open --dir plant
  ravelin detect alarms --follow --dir plant
  ravelin detect show 17 --dir plant
  ravelin detect verify 17 false-positive --note 'firmware update' --dir plant
  ravelin detect suppress --detector flood --subject client:meter-7 --for 1h --dir plant
  ravelin detect trust meter-7 --dir plant
  ravelin detect detectors --dir plant
  ravelin detect replay capture.pcap

The node is found as by `ravelin ctl`: --dir, or --url with --ca and a certificate or a token.
Exit codes: 0 done, 1 the node refused, 2 wrong usage, 3 the node cannot be reached.";

/// See alarms and trust; verify, suppress, replay.
#[derive(clap::Args)]
#[command(arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Alarms, open and recent, and those to come
    Alarms(alarms::Args),
    /// One alarm: what was seen, by which test, beside which threshold
    Show(alarms::ShowArgs),
    /// Say what an alarm was found to be
    Verify(alarms::VerifyArgs),
    /// Have alarms of a detector or about a subject not told
    Suppress(suppressions::SuppressArgs),
    /// Take a suppression back
    Unsuppress(suppressions::UnsuppressArgs),
    /// What is suppressed, by whom, until when
    Suppressions(suppressions::Args),
    /// How far clients are trusted, and why
    Trust(trust::Args),
    /// What each detector looks for, how, and how often it is wrong
    Detectors(trust::DetectorsArgs),
    /// The last inspection of each device, and when the next is due
    Inspections(inspections::Args),
    /// Record that somebody has inspected a device and its vicinity
    Inspect(inspections::InspectArgs),
    /// Run recorded traffic through the detectors: a capture, a table of events, a node's event log
    Replay(replay::Args),
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Alarms(args) => args.run(),
        Command::Show(args) => args.run(),
        Command::Verify(args) => args.run(),
        Command::Suppress(args) => args.run(),
        Command::Unsuppress(args) => args.run(),
        Command::Suppressions(args) => args.run(),
        Command::Trust(args) => args.run(),
        Command::Detectors(args) => args.run(),
        Command::Inspections(args) => args.run(),
        Command::Inspect(args) => args.run(),
        Command::Replay(args) => replay::run(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn every_command_is_well_formed_and_has_an_example() {
        Line::command().debug_assert();
        for command in Line::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let path = format!("ravelin detect {}", command.get_name());
            assert!(help.contains(&path), "`{path}` has no example of itself");
        }
    }

    #[test]
    fn what_an_operator_types_is_understood() {
        for line in [
            "x alarms --state open --severity high --json --dir plant",
            "x alarms --follow",
            "x show 7",
            "x verify 7 benign-positive --note planned",
            "x suppress --detector flood --for 1h",
            "x trust meter-7",
            "x replay - --json --port 1884",
        ] {
            let words = line.split(' ');
            assert!(Line::try_parse_from(words).is_ok(), "{line}");
        }
        for line in ["x verify 7 perhaps", "x suppress", "x alarms --severity bad"] {
            assert!(Line::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
