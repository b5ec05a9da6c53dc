//! `ravelin bench`: what a broker does under load, from outside and by any broker's rules: throughput, latency, loss,
//! duplicates, order, and what it cost the broker in CPU time and memory.
//!
//! A scenario is a file or, where its traffic is steady, a plan in [`plan`]; all of them run on the [`engine`], one thread
//! with one poll. Pin the broker to one core and the generator to another, and compare brokers by deliveries a broker CPU
//! second: that figure does not depend on how many cores there are.

mod args;
mod churn;
mod control;
mod engine;
mod flow;
mod histogram;
mod idle;
mod link;
mod phases;
mod plan;
mod process;
mod queue;
mod reject;
mod report;
mod respond;
mod retained;
mod sequence;
mod stored;
mod traffic;
mod wire;

use crate::client::error::finish;
use args::{LoadArgs, Target, TargetArgs, parse_seconds};
use clap::Subcommand;
use engine::Engine;
use plan::Plan;
use process::BrokerProcess;
use ravelin_mqtt::Version;
use report::Report;
use std::process::ExitCode;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  ravelin bench pairs --port 1883 --broker-pid $(pidof mosquitto)
  taskset -c 1 ravelin bench fan-out --subs 500 --qos 1 --mqtt 5 --duration 10 --json
  ravelin bench pairs --pairs 1 --window 1                     one message at a time: latency
  ravelin bench pairs --rate 20000 --tls --cafile ca.crt --port 8883
  ravelin bench idle --connections 50000 --broker-pid $(pidof mosquitto)
  ravelin bench subs --subscriptions 1000000 --broker-pid $(pidof mosquitto)

Exit codes: 0 nothing went wrong, 1 something was lost, refused, duplicated or out of order, 2 wrong usage.";

/// What the command takes. No `Debug`: it may hold a password.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Many publishers, few subscribers with a wildcard
    #[command(after_help = "Example:\n  ravelin bench fan-in --pubs 100 --subs 1 --qos 1")]
    FanIn {
        /// Publishers
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = at_least_one, help_heading = "Load")]
        pubs: usize,
        /// Subscribers
        #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = at_least_one, help_heading = "Load")]
        subs: usize,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Few publishers, many subscribers that hear all of them
    #[command(after_help = "Example:\n  ravelin bench fan-out --pubs 1 --subs 500")]
    FanOut {
        /// Publishers
        #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = at_least_one, help_heading = "Load")]
        pubs: usize,
        /// Subscribers
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = at_least_one, help_heading = "Load")]
        subs: usize,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Publishers that each have a subscriber of their own
    #[command(after_help = "Example:\n  ravelin bench pairs --pairs 50 --qos 2 --broker-pid 4711")]
    Pairs {
        /// Pairs of a publisher and a subscriber
        #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = at_least_one, help_heading = "Load")]
        pairs: usize,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Groups that share topics by wildcards; every tenth subscriber hears everything
    #[command(after_help = "Example:\n  ravelin bench exchange --pubs 20 --subs 20 --groups 5")]
    Exchange {
        /// Publishers
        #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = at_least_one, help_heading = "Load")]
        pubs: usize,
        /// Subscribers
        #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = at_least_one, help_heading = "Load")]
        subs: usize,
        /// Groups
        #[arg(long, value_name = "COUNT", default_value_t = 5, value_parser = at_least_one, help_heading = "Load")]
        groups: usize,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Messages that each match one to three of very many subscriptions
    #[command(
        after_help = "Example:\n  ravelin bench subs --subscriptions 1000000 --pubs 8 --broker-pid 4711"
    )]
    Subs {
        /// Subscriptions, over thirty connections: 70 % without wildcard, 20 % with +, 10 % with #
        #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=100_000_000), help_heading = "Load")]
        subscriptions: u32,
        /// Filters in one SUBSCRIBE
        #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = at_least_one, help_heading = "Load")]
        per_packet: usize,
        /// Publishers
        #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = at_least_one, help_heading = "Load")]
        pubs: usize,
        /// Longest wait in seconds for the broker to come to rest after the last SUBACK
        #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = parse_seconds, help_heading = "Load")]
        settle: Duration,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Connections that do nothing: memory and CPU of each
    #[command(after_help = "Example:\n  ravelin bench idle --connections 50000 --broker-pid 4711")]
    Idle {
        #[command(flatten)]
        idle: idle::IdleArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Connections that come and go
    #[command(
        after_help = "Example:\n  ravelin bench churn --concurrency 32 --tls --cafile ca.crt --port 8883"
    )]
    Churn {
        #[command(flatten)]
        churn: churn::ChurnArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Refused connections: what each rung of the accept ladder costs, and what a flood does to others (Ravelin only)
    #[command(
        after_help = "Examples:\n  ravelin bench reject\n  ravelin bench reject --only banned_address --seconds 10 --json"
    )]
    Reject {
        #[command(flatten)]
        reject: reject::RejectArgs,
    },
    /// The control lane: calls and bans, with the data plane idle and saturated
    #[command(after_help = "\
Example:
  ravelin bench control --dir plant --port 1883 --broker-pid $(pidof ravelin)

The listener must let the bench use Client Identifiers of its own (`bind_client_id = \"none\"`), and whoever calls must be an
operator.")]
    Control {
        #[command(flatten)]
        control: control::ControlArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Orders: each action from its request until it is so, with the data plane idle and saturated
    #[command(after_help = "\
Example:
  ravelin bench respond --dir plant --port 1883 --broker-pid $(pidof ravelin)

The listener must let the bench use Client Identifiers of its own (`bind_client_id = \"none\"`), and whoever calls must be an
operator.")]
    Respond {
        #[command(flatten)]
        control: control::ControlArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Retained messages: storing them, and fetching all by one wildcard
    #[command(after_help = "Example:\n  ravelin bench retained --count 100000 --broker-pid 4711")]
    Retained {
        #[command(flatten)]
        retained: retained::RetainedArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Messages for clients that are away: queueing and draining them
    #[command(
        after_help = "Example:\n  ravelin bench queue --clients 100 --per-client 900 --broker-pid 4711"
    )]
    Queue {
        #[command(flatten)]
        queue: queue::QueueArgs,
        #[command(flatten)]
        target: TargetArgs,
    },
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Scenario::Reject { reject } = &args.scenario
        && let Some(config) = &reject.node
    {
        reject::serve(config, reject.ban.as_deref(), reject.core())?;
        return Ok(ExitCode::SUCCESS);
    }
    let (json, result) = measure(args.scenario);
    let report = match result {
        Ok(report) => report,
        Err(error) => return finish("bench", false, Err(error)),
    };
    report.print(json);
    Ok(if report.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn measure(scenario: Scenario) -> (bool, anyhow::Result<Report>) {
    match scenario {
        Scenario::FanIn { pubs, subs, load, target } => {
            (target.json, flow::run("fan-in", &target, &load, Plan::fan_in(pubs, subs), None))
        }
        Scenario::FanOut { pubs, subs, load, target } => {
            (target.json, flow::run("fan-out", &target, &load, Plan::fan_out(pubs, subs), None))
        }
        Scenario::Pairs { pairs, load, target } => {
            (target.json, flow::run("pairs", &target, &load, Plan::pairs(pairs), None))
        }
        Scenario::Exchange { pubs, subs, groups, load, target } => {
            (target.json, flow::run("exchange", &target, &load, Plan::exchange(pubs, subs, groups), None))
        }
        Scenario::Subs { subscriptions, per_packet, pubs, settle, load, target } => {
            let plan = Plan::subscriptions(pubs, subscriptions as usize);
            (target.json, flow::run("subs", &target, &load, plan, Some(flow::Grid { per_packet, settle })))
        }
        Scenario::Idle { idle, target } => (target.json, idle::run(&target, &idle)),
        Scenario::Churn { churn, target } => (target.json, churn::run(&target, &churn)),
        Scenario::Reject { reject } => (reject.json, reject::run(&reject)),
        Scenario::Control { control, target } => (target.json, control::run(&target, &control)),
        Scenario::Respond { control, target } => (target.json, respond::run(&target, &control)),
        Scenario::Retained { retained, target } => (target.json, retained::run(&target, &retained)),
        Scenario::Queue { queue, target } => (target.json, queue::run(&target, &queue)),
    }
}

/// Parses a count that is not 0.
fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&count| count > 0).ok_or_else(|| "expected a number from 1 on".into())
}

/// What is spoken, and over what.
fn version_name(target: &Target) -> &'static str {
    match (target.version, target.tls.is_some()) {
        (Version::V311, false) => "3.1.1",
        (Version::V311, true) => "3.1.1 over TLS",
        (Version::V5, false) => "5.0",
        (Version::V5, true) => "5.0 over TLS",
    }
}

/// What every report ends with: lost connections, and whether the broker is still there.
fn report_engine(report: &mut Report, engine: &Engine, broker: BrokerProcess) {
    report.count("connections_lost", "connections lost", engine.lost);
    if engine.lost > 0 {
        report.fault_count(engine.lost, "connections were lost");
    }
    if let Some(error) = &engine.first_error {
        report.fault(format!("first error: {error}"));
    }
    if !broker.is_alive() {
        report.fault("the broker's process has ended");
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
    fn every_scenario_is_well_formed_and_has_an_example() {
        Line::command().debug_assert();
        for scenario in Line::command().get_subcommands() {
            let help = scenario.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.contains(&format!("ravelin bench {}", scenario.get_name())),
                "{}",
                scenario.get_name()
            );
        }
    }

    #[test]
    fn a_scenario_takes_only_its_own_options() {
        for (line, accepted) in [
            ("bench pairs --pairs 2 --qos 1", true),
            ("bench pairs --subs 2", false),
            ("bench idle --rate 5", false),
            ("bench fan-out --pubs 0", false),
            ("bench subs --subscriptions 5", false),
            ("bench queue --clients 8 --pubs 4", true),
            ("bench", false),
        ] {
            assert_eq!(Line::try_parse_from(line.split(' ')).is_ok(), accepted, "{line}");
        }
    }
}
