//! `cargo xtask test`: every check and every test, stage by stage, and what came of each.
//!
//! Cargo is asked twice to build: all tests once, with one set of features, and the release binary. The test programs
//! are then run one after the other, so that the stages can be told apart without building anything again.

use crate::command::{build_release, cargo, run as run_command, stream};
use crate::prerequisites;
use anyhow::{Context, bail};
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the command takes.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask test                              everything, as CI does
  cargo xtask test --stage clippy --stage unit  two stages
  cargo xtask test --list                       what the stages are")]
pub struct Args {
    /// Run this stage only (repeatable).
    #[arg(long = "stage", value_name = "NAME")]
    stages: Vec<String>,
    /// List the stages.
    #[arg(long)]
    list: bool,
}

/// A test program that runs longer than this hangs.
const PROGRAM_TIMEOUT_S: u32 = 1200;

struct Stage {
    name: &'static str,
    what: &'static str,
    work: fn(&mut Run) -> anyhow::Result<()>,
}

const STAGES: [Stage; 13] = [
    Stage { name: "fmt", what: "the code is formatted", work: fmt },
    Stage { name: "clippy", what: "no lint is raised", work: clippy },
    Stage { name: "docs", what: "the documentation builds, and its links hold", work: docs },
    Stage { name: "deny", what: "dependencies: licences, bans, sources", work: deny },
    Stage { name: "house", what: "the rules of the house", work: house },
    Stage { name: "unit", what: "tests of each crate, properties, fuzz corpus, simulation", work: unit },
    Stage { name: "doc-tests", what: "examples in the documentation", work: doc_tests },
    Stage { name: "release", what: "the release binary builds", work: release },
    Stage { name: "conformance", what: "every normative statement, over a socket", work: conformance },
    Stage { name: "e2e", what: "the release binary with real clients", work: e2e },
    Stage { name: "attacks", what: "attacks and bad inputs", work: attacks },
    Stage { name: "detection", what: "attacks found and false alarms, measured", work: detection },
    Stage { name: "crash", what: "kill -9 under load", work: crash },
];

/// Packages whose tests run the release binary, each a stage of its own.
const BLACK_BOX: [&str; 5] =
    ["ravelin-conformance", "ravelin-e2e", "ravelin-attacks", "ravelin-detection", "ravelin-crash"];

/// Runs the command; tells whether everything passed.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    if args.list {
        for stage in &STAGES {
            println!("{:12} {}", stage.name, stage.what);
        }
        return Ok(true);
    }
    if let Some(unknown) = args.stages.iter().find(|name| STAGES.iter().all(|stage| stage.name != **name)) {
        bail!("there is no stage {unknown:?} (`cargo xtask test --list` lists them)");
    }
    let started = Instant::now();
    let mut run = Run::default();
    let mut outcomes = Vec::new();
    for stage in &STAGES {
        if !args.stages.is_empty() && !args.stages.iter().any(|name| name == stage.name) {
            continue;
        }
        println!("\n=== {}: {}", stage.name, stage.what);
        let stage_started = Instant::now();
        let before = run.count;
        let result = (stage.work)(&mut run);
        let mut count = run.count.since(before);
        if let Err(error) = &result {
            println!("{} failed: {error:#}", stage.name);
            // A stage that is no test counts as one if it fails.
            count.failed = count.failed.max(1);
        }
        let outcome =
            Outcome { name: stage.name, passed: result.is_ok(), count, took: stage_started.elapsed() };
        println!("=== {}: {} in {}", stage.name, outcome.word(), shown(outcome.took));
        outcomes.push(outcome);
    }
    Ok(summarise(&outcomes, started.elapsed()))
}

/// What the stages share.
#[derive(Default)]
struct Run {
    /// The test programs, once they are built.
    programs: Option<Vec<Program>>,
    /// The release binary, once it is built.
    binary: Option<PathBuf>,
    count: Count,
}

/// A test program that cargo built.
#[derive(Clone)]
struct Program {
    package: String,
    target: String,
    directory: PathBuf,
    executable: PathBuf,
}

#[derive(Clone, Copy, Default)]
struct Count {
    passed: u64,
    failed: u64,
    ignored: u64,
}

impl Count {
    fn since(self, before: Count) -> Count {
        Count {
            passed: self.passed - before.passed,
            failed: self.failed - before.failed,
            ignored: self.ignored - before.ignored,
        }
    }

    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...`; other lines say nothing.
    fn read(&mut self, line: &str) {
        let Some(result) = line.trim().strip_prefix("test result: ") else { return };
        for part in result.split(['.', ';']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) =
                (words.next().and_then(|word| word.parse::<u64>().ok()), words.next())
            else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

fn fmt(_: &mut Run) -> anyhow::Result<()> {
    run_command(&mut cargo(["fmt", "--all", "--check"]))
}

fn clippy(_: &mut Run) -> anyhow::Result<()> {
    let arguments = ["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    run_command(&mut cargo(arguments))
}

fn docs(_: &mut Run) -> anyhow::Result<()> {
    let arguments = ["doc", "--locked", "--workspace", "--no-deps"];
    run_command(cargo(arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny(_: &mut Run) -> anyhow::Result<()> {
    prerequisites::cargo_deny()?;
    run_command(&mut cargo(["deny", "--locked", "check", "bans", "licenses", "sources"]))
}

fn house(run: &mut Run) -> anyhow::Result<()> {
    run.test(|program| program.package == "xtask", &[])
}

fn unit(run: &mut Run) -> anyhow::Result<()> {
    prerequisites::peers()?;
    run.test(|program| program.package != "xtask" && !BLACK_BOX.contains(&program.package.as_str()), &[])
}

fn doc_tests(run: &mut Run) -> anyhow::Result<()> {
    let count = &mut run.count;
    let mut command = cargo(["test", "--locked", "--workspace", "--doc", "--no-fail-fast"]);
    if !stream(&mut command, |line| count.read(line))? {
        bail!("examples in the documentation fail");
    }
    Ok(())
}

fn release(run: &mut Run) -> anyhow::Result<()> {
    run.binary().map(|_| ())
}

fn conformance(run: &mut Run) -> anyhow::Result<()> {
    prerequisites::peers()?;
    run.binary()?;
    // The table of statements and results is printed even where all is well.
    run.test(|program| program.package == "ravelin-conformance", &["--show-output"])
}

fn e2e(run: &mut Run) -> anyhow::Result<()> {
    prerequisites::peers()?;
    run.binary()?;
    run.test(|program| program.package == "ravelin-e2e", &[])
}

fn attacks(run: &mut Run) -> anyhow::Result<()> {
    run.binary()?;
    run.test(|program| program.package == "ravelin-attacks", &[])
}

fn detection(run: &mut Run) -> anyhow::Result<()> {
    prerequisites::attack_tools();
    run.binary()?;
    // The tables of figures are printed even where all is well.
    run.test(|program| program.package == "ravelin-detection", &["--show-output"])
}

fn crash(run: &mut Run) -> anyhow::Result<()> {
    run.binary()?;
    run.test(|program| program.package == "ravelin-crash", &[])
}

impl Run {
    fn binary(&mut self) -> anyhow::Result<PathBuf> {
        match &self.binary {
            Some(binary) => Ok(binary.clone()),
            None => Ok(self.binary.insert(build_release()?).clone()),
        }
    }

    fn programs(&mut self) -> anyhow::Result<Vec<Program>> {
        match &self.programs {
            Some(programs) => Ok(programs.clone()),
            None => Ok(self.programs.insert(build_tests()?).clone()),
        }
    }

    /// Runs the test programs that are wanted, all of them even if one fails.
    fn test(&mut self, wanted: impl Fn(&Program) -> bool, arguments: &[&str]) -> anyhow::Result<()> {
        let programs = self.programs()?;
        let mut failed = Vec::new();
        for program in programs.iter().filter(|program| wanted(program)) {
            println!("\n--- {} {}", program.package, program.target);
            // `timeout` ends the brokers that a hanging test has started, too.
            let mut command = Command::new("timeout");
            command.arg("--kill-after=10").arg(PROGRAM_TIMEOUT_S.to_string()).arg(&program.executable);
            command.args(arguments).current_dir(&program.directory);
            command.env("CARGO_MANIFEST_DIR", &program.directory);
            command.env("CARGO_PKG_NAME", &program.package);
            if let Some(binary) = &self.binary {
                command.env("RAVELIN_BIN", binary);
            }
            let count = &mut self.count;
            if !stream(&mut command, |line| count.read(line))? {
                failed.push(format!("{} {}", program.package, program.target));
            }
        }
        if !failed.is_empty() {
            bail!("{}", failed.join(", "));
        }
        Ok(())
    }
}

/// Builds every test of the workspace.
fn build_tests() -> anyhow::Result<Vec<Program>> {
    let arguments =
        ["test", "--locked", "--workspace", "--no-run", "--message-format=json-render-diagnostics"];
    let mut command = cargo(arguments);
    let output =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("failed to run cargo")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let mut programs = Vec::new();
    for line in output.stdout.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"{")) {
        let message: Value = serde_json::from_slice(line).context("failed to read what cargo built")?;
        programs.extend(program(&message));
    }
    programs.sort_by(|a, b| (&a.package, &a.target).cmp(&(&b.package, &b.target)));
    Ok(programs)
}

/// The test program of which a message of cargo tells, if it does.
fn program(message: &Value) -> Option<Program> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    let directory = manifest.parent()?.to_owned();
    let text = std::fs::read_to_string(&manifest).ok()?;
    let package = text.lines().find_map(|line| line.strip_prefix("name = "))?.trim_matches('"').to_owned();
    let kind = message["target"]["kind"][0].as_str()?;
    Some(Program {
        package,
        target: format!("({kind} {})", message["target"]["name"].as_str()?),
        directory,
        executable: message["executable"].as_str()?.into(),
    })
}

struct Outcome {
    name: &'static str,
    passed: bool,
    count: Count,
    took: Duration,
}

impl Outcome {
    fn word(&self) -> &'static str {
        if self.passed { "ok" } else { "FAILED" }
    }
}

/// Prints the table, and the line that says it all; tells whether everything passed.
fn summarise(outcomes: &[Outcome], took: Duration) -> bool {
    let mut total = Count::default();
    println!(
        "\n{:12} {:7} {:>7} {:>7} {:>8} {:>9}",
        "stage", "result", "passed", "failed", "ignored", "time"
    );
    for outcome in outcomes {
        let Count { passed, failed, ignored } = outcome.count;
        println!(
            "{:12} {:7} {passed:>7} {failed:>7} {ignored:>8} {:>9}",
            outcome.name,
            outcome.word(),
            shown(outcome.took)
        );
        total.passed += passed;
        total.failed += failed;
        total.ignored += ignored;
    }
    println!("in {}", shown(took));
    println!("{} passed, {} failed", total.passed, total.failed);
    total.failed == 0
}

fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_of_a_test_program_is_counted() {
        let mut count = Count::default();
        count.read(
            "test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 4 filtered out; finished in 0.02s",
        );
        count.read("test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out");
        count.read("test my::test ... ok");
        assert_eq!((count.passed, count.failed, count.ignored), (13, 2, 3));
    }

    #[test]
    fn a_stage_stands_once() {
        for (index, stage) in STAGES.iter().enumerate() {
            assert!(STAGES[..index].iter().all(|other| other.name != stage.name), "{} twice", stage.name);
        }
    }
}
