//! `cargo xtask soak`: the tests that find more the longer they run.

use crate::command::{build_release, cargo, root, run as run_command, target};
use anyhow::Context;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What the command takes.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask soak                       an hour, shared among simulation, crashes, a fleet and fuzzing
  cargo xtask soak --minutes 600 --only fuzz")]
pub struct Args {
    /// How long in all.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(3..=100_000))]
    minutes: u64,
    /// Only one of them.
    #[arg(long, value_enum)]
    only: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// Seeds of the simulation that no test has run.
    Simulation,
    /// Kills of the release binary under load.
    Crash,
    /// A simulated fleet, of seeds that no test has run.
    Fleet,
    /// Every fuzz target under libFuzzer.
    Fuzz,
}

/// Seeds between two looks at the clock.
const SEEDS: u64 = 100;

/// A kill and what is checked after it take about so long.
const CRASH_RUN_MS: u64 = 500;

/// Runs the command; an error is a finding.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let kinds = match args.only {
        Some(kind) => vec![kind],
        None => vec![Kind::Simulation, Kind::Crash, Kind::Fleet, Kind::Fuzz],
    };
    let share = Duration::from_secs(args.minutes * 60 / kinds.len() as u64);
    for kind in kinds {
        match kind {
            Kind::Simulation => simulation(share)?,
            Kind::Crash => crash(share)?,
            Kind::Fleet => fleet(share)?,
            Kind::Fuzz => fuzz(share)?,
        }
    }
    println!("nothing was found");
    Ok(true)
}

fn simulation(time: Duration) -> anyhow::Result<()> {
    println!("\n=== simulation: {} minutes of seeds", time.as_secs() / 60);
    let deadline = Instant::now() + time;
    // The time of day: seeds that no soak before has had.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let mut start = since.as_secs() * SEEDS;
    while Instant::now() < deadline {
        let mut command = cargo(["run", "--release", "--package", "ravelin-simulation", "--"]);
        command.args(["--seeds", &SEEDS.to_string(), "--steps", "5000", "--start", &start.to_string()]);
        run_command(&mut command)?;
        start += SEEDS;
    }
    Ok(())
}

fn fleet(time: Duration) -> anyhow::Result<()> {
    println!("\n=== fleet: {} minutes of virtual weeks", time.as_secs() / 60);
    let deadline = Instant::now() + time;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    let mut seed = since.as_secs();
    while Instant::now() < deadline {
        let mut command = cargo(["run", "--release", "--package", "ravelin-detection", "--"]);
        command.args(["--clients", "400", "--days", "7", "--attacks", "5", "--seed", &seed.to_string()]);
        run_command(&mut command)?;
        seed += 1;
    }
    Ok(())
}

fn crash(time: Duration) -> anyhow::Result<()> {
    let runs = (time.as_millis() as u64 / CRASH_RUN_MS).max(1).to_string();
    println!("\n=== crash: {runs} kills");
    let binary = build_release()?;
    let mut command = cargo(["test", "--package", "ravelin-crash", "--", "--nocapture"]);
    run_command(command.env("RAVELIN_BIN", binary).env("RAVELIN_CRASH_RUNS", runs))
}

fn fuzz(time: Duration) -> anyhow::Result<()> {
    let folder = root().join("fuzz/corpus");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .with_context(|| format!("failed to read {}", folder.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    let seconds = time.as_secs() / names.len().max(1) as u64;
    for name in &names {
        println!("\n=== fuzz {name}: {seconds} s");
        let found = target().join("fuzz").join(name);
        std::fs::create_dir_all(&found).with_context(|| format!("failed to create {}", found.display()))?;
        let mut command: Command = cargo(["fuzz", "run", "--fuzz-dir", "fuzz/libfuzzer", name]);
        command.arg(&found).arg(folder.join(name));
        command.args(["--", "-max_len=4096"]).arg(format!("-max_total_time={seconds}"));
        // libFuzzer's instrumentation needs a nightly compiler, or the pinned one that takes itself for one.
        run_command(command.env("RUSTC_BOOTSTRAP", "1"))?;
    }
    Ok(())
}
