//! `ravelin drill`: rehearses attacks on a running node that consents, and reports what it saw, how fast, and what was done.
//!
//! The attackers are real clients over TLS, each with an identity and a certificate that are made for the drill and end with
//! it; their names begin with `drill-`. The node's answers are read where an operator would read them: alarms, orders and
//! events of the REST API.

mod attacker;
mod energy;
mod note;
mod report;
mod scenario;
mod stage;
mod watch;

use crate::commands::ctl::ConnectionArgs;
use anyhow::Context;
use ravelin_console::client::{Client, ClientError};
use report::Report;
use scenario::{Attack, Scenario};
use stage::Stage;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Rehearse attacks on a running node that consents, and see what it noticed
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin drill --list
  ravelin drill note --dir plant
  ravelin drill energy-provider --dir lab --json > report.json
  ravelin drill note --only guessing --only flood --dir plant

The node consents by `[drill]` with `allow = true` in its configuration; it takes an admin. The attackers' names begin with
`drill-`; they get identities, certificates and one role of their own, which are taken away at the end. Attacks that need a real
client's certificate run only where `[drill] play` names that client and DIR/clients has its key.

Exit codes: 0 every attack that ran was stopped or alarmed, 1 one was not, or the drill failed, 2 wrong usage, 3 the node cannot be
reached.")]
pub struct Args {
    /// What to rehearse (see --list)
    #[arg(required_unless_present = "list")]
    scenario: Option<String>,
    /// List the scenarios and their attacks
    #[arg(long)]
    list: bool,
    /// Only this attack (repeatable)
    #[arg(long, value_name = "ATTACK")]
    only: Vec<String>,
    /// How long an alarm is waited for after an attack, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    patience: u64,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.list {
        print!("{}", scenario::list());
        return Ok(ExitCode::SUCCESS);
    }
    let name = args.scenario.as_deref().unwrap_or_default();
    let Some(scenario) = scenario::find(name) else {
        let names: Vec<_> = scenario::SCENARIOS.iter().map(|one| one.name).collect();
        eprintln!("ravelin drill: there is no scenario {name:?}; there are {}", names.join(", "));
        return Ok(ExitCode::from(2));
    };
    if let Some(unknown) = args.only.iter().find(|only| scenario.attacks.iter().all(|one| one.name != **only))
    {
        eprintln!("ravelin drill: {name} has no attack {unknown:?}; see ravelin drill --list");
        return Ok(ExitCode::from(2));
    }
    let target = args.connection.target()?;
    let client = Client::new(&target)?;
    let dir = args.connection.dir.clone().or_else(|| std::env::var_os("RAVELIN_DIR").map(Into::into));
    let mut stage = Stage::open(client, &target, dir)?;
    let drill = stage.begin(scenario.name)?;
    let result = rehearse(&mut stage, scenario, &args);
    let outcome = match &result {
        Ok(report) => report.line(),
        Err(error) => format!("failed: {error:#}"),
    };
    let cleared = stage.end(drill, &outcome);
    let report = result?;
    cleared?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.text());
    }
    Ok(if report.all_held() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn rehearse(stage: &mut Stage, scenario: &Scenario, args: &Args) -> anyhow::Result<Report> {
    let began = Instant::now();
    let mut report = Report::new(scenario.name, stage.node()?, now_ms());
    let chosen = |attack: &&Attack| args.only.is_empty() || args.only.iter().any(|only| *only == attack.name);
    let attacks: Vec<_> = scenario.attacks.iter().filter(chosen).collect();
    for (at, attack) in attacks.iter().enumerate() {
        if std::io::stderr().is_terminal() {
            eprintln!("{}/{} {}: {}", at + 1, attacks.len(), attack.name, attack.what);
        }
        report.results.push(one(stage, attack, Duration::from_secs(args.patience))?);
    }
    report.took_ms = began.elapsed().as_millis() as u64;
    Ok(report)
}

/// One attack: injected, and what came of it.
fn one(stage: &mut Stage, attack: &Attack, patience: Duration) -> anyhow::Result<report::Result> {
    let mut result = report::Result::new(attack);
    stage.next_source();
    let mut watch = watch::Watch::begin(stage, attack)?;
    result.started_ms = now_ms();
    match (attack.run)(stage) {
        Ok(()) => {}
        Err(error) if error.is::<stage::CannotRun>() => {
            result.not_run(&error.to_string());
            return Ok(result);
        }
        // Being thrown out is what an attacker must expect; not being able to prepare is another thing.
        Err(error) if attack.ends_in_refusal && !error.is::<ClientError>() => {
            result.told = Some(format!("{error:#}"))
        }
        Err(error) => return Err(error).with_context(|| format!("attack {}", attack.name)),
    }
    result.injected_ms = now_ms() - result.started_ms;
    watch.conclude(stage, attack, &mut result, patience.max(Duration::from_secs(attack.patience_s)))?;
    stage.leave();
    Ok(result)
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
