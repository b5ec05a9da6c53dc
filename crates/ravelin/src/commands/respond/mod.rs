//! `ravelin respond`: what is done about alarms, by hand: order, approve, take back, and see what playbooks do.

mod orders;
mod show;

use super::ctl::NodeArgs;
use std::process::ExitCode;

const EXAMPLES: &str = "\
Examples:
  ravelin respond ban client_id:meter-7 --for 1h --why 'guesses passwords' --dir plant
  ravelin respond freeze 'plant/feeder-3/#' --for 15m --dry-run --dir plant
  ravelin respond list --state live --dir plant
  ravelin respond approve 17 --dir plant
  ravelin respond undo 17 --why 'false alarm' --dir plant
  ravelin respond playbooks --dir plant

The node is found as by `ravelin ctl`: --dir, or --url with --ca and a certificate or a token.
Exit codes: 0 in force, done, or waiting for approval; 1 the node refused or it failed; 2 wrong usage; 3 the node cannot be reached.";

/// Act on alarms: disconnect, ban, quarantine, revoke, freeze, stop; approve and take back.
#[derive(clap::Args)]
#[command(arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Orders, newest first
    List(show::ListArgs),
    /// One order: who, why, how long, and the times to detect, contain and recover
    Show(show::ShowArgs),
    #[command(flatten)]
    Order(orders::Command),
    /// Agree to an order that waits
    Approve(show::ApproveArgs),
    /// Refuse an order that waits
    Reject(show::RejectArgs),
    /// Take an order back
    Undo(show::UndoArgs),
    /// Playbooks: which alarm each answers, in which mode, and what it did
    Playbooks(show::PlaybooksArgs),
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::List(args) => args.run(),
        Command::Show(args) => args.run(),
        Command::Order(command) => command.run(),
        Command::Approve(args) => args.run(),
        Command::Reject(args) => args.run(),
        Command::Undo(args) => args.run(),
        Command::Playbooks(args) => args.run(),
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
            let name = format!("ravelin respond {}", command.get_name());
            assert!(help.contains(&name), "`{name}` has no example of itself");
        }
    }

    #[test]
    fn only_what_an_action_has_is_taken() {
        for (line, accepted) in [
            ("respond ban client_id:a --for 1h --why x --dry-run", true),
            ("respond ban client_id:a --for 1h --until-lifted", false),
            ("respond freeze a/# --hold --publish --for 5m", true),
            ("respond freeze a/# --publish --receive", false),
            ("respond throttle a --rate 0", false),
            ("respond posture high", false),
            ("respond stop-node now", false),
            ("respond", false),
        ] {
            assert_eq!(Line::try_parse_from(line.split(' ')).is_ok(), accepted, "{line}");
        }
    }
}
