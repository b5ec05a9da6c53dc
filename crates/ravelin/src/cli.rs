//! The command line: which commands there are, and how a failure ends.
//!
//! Exit codes are the same for every command: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.
//! `serve` has one more, 78: the node was stopped by an order and does not serve until it is released.

use crate::commands;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A secure MQTT 3.1.1 / 5.0 broker for critical infrastructure.
#[derive(Parser)]
#[command(name = "ravelin", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ravelin init plant                       create a secure deployment in ./plant
  ravelin serve plant                      run it
  ravelin client add meter-7 --dir plant   give a device its certificate
  ravelin check plant                      find what is wrong with a configuration";

#[derive(Subcommand)]
enum Command {
    /// Create a secure deployment: configuration, private CA, certificates, operator, store key.
    Init(commands::init::Args),
    /// Run the broker.
    Serve(commands::serve::Args),
    /// Add, list and remove clients: certificates, passwords, access rules.
    Client(commands::client::Args),
    /// Administer a running node.
    Ctl(commands::ctl::Args),
    /// See alarms and trust; verify, suppress, replay.
    Detect(commands::detect::Args),
    /// Rehearse attacks on a running node that consents, and see what it noticed.
    Drill(commands::drill::Args),
    /// Act on alarms: disconnect, ban, quarantine, revoke, freeze, stop; approve and take back.
    Respond(commands::respond::Args),
    /// Show, verify and hand out the record of transmissions.
    Audit(commands::audit::Args),
    /// Set, check or delete a password in a password file.
    Passwd(commands::passwd::Args),
    /// Give the encrypted store a new key.
    RotateKey(commands::rotate_key::Args),
    /// Check a configuration and every file it names, without serving.
    Check(commands::check::Args),
    /// Print what this binary is made of: a CycloneDX bill of materials.
    Sbom(commands::sbom::Args),
    /// Publish messages.
    Pub(commands::publish::Args),
    /// The firewall's agent, which `serve` starts.
    #[command(hide = true, name = ravelin_node::firewall::AGENT_COMMAND)]
    FirewallAgent(commands::firewall_agent::Args),
    /// Subscribe and print messages.
    Sub(commands::subscribe::Args),
    /// Measure a broker: throughput, latency, loss, order.
    Bench(commands::bench::Args),
}

/// Parses the command line and runs the command.
pub fn run() -> ExitCode {
    end_with_whoever_reads();
    let result = match Cli::parse().command {
        Command::Init(args) => commands::init::run(args),
        Command::Serve(args) => commands::serve::run(args),
        Command::Client(args) => commands::client::run(args),
        Command::Ctl(args) => commands::ctl::run(args),
        Command::Detect(args) => commands::detect::run(args),
        Command::Drill(args) => commands::drill::run(args),
        Command::Respond(args) => commands::respond::run(args),
        Command::Audit(args) => commands::audit::run(args),
        Command::Passwd(args) => commands::passwd::run(args),
        Command::RotateKey(args) => commands::rotate_key::run(args),
        Command::Check(args) => commands::check::run(args),
        Command::Sbom(args) => commands::sbom::run(args),
        Command::Pub(args) => commands::publish::run(args),
        Command::FirewallAgent(args) => commands::firewall_agent::run(args),
        Command::Sub(args) => commands::subscribe::run(args),
        Command::Bench(args) => commands::bench::run(args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("ravelin: {error:#}");
        ExitCode::FAILURE
    })
}

/// `ravelin ... | head`: who has read enough closes the pipe, and `println` panics. That is the end, and no fault.
fn end_with_whoever_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str().is_some_and(|what| what.starts_with("failed printing to stdout")) {
            std::process::exit(0);
        }
        usual(info);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example_in_its_help() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example"), "`ravelin {}` has no example", command.get_name());
        }
    }
}
