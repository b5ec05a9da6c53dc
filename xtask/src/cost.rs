//! `cargo xtask bench --cost`: what Protect and Identify cost on the path of a message.
//!
//! The same binary twice: bare, as `serve --dangerous-open` runs it, and with everything on: access rules, rates of several
//! scopes, the inventory with its flows, the record, the control lane. The two take turns, so that what else the machine
//! does meets both. With `--baseline FILE` a third column is another binary, bare: an earlier build, for instance.

use crate::bench::{ACTIVE, Args, Broker, Scenario, measure, median};
use crate::command::{build_release, shown};
use anyhow::bail;
use std::path::Path;
use std::process::{Command, Stdio};

/// The figures that the goal is about, in the words of the comparison's scenarios.
pub const SCENARIOS: [&str; 6] =
    ["pairs QoS 0", "pairs QoS 1", "pairs QoS 2", "fan-out to 50", "fan-in", "one message at a time"];

/// What is on beside the deployment's defaults. The bus itself is open, as it is on the bare node: what is measured is
/// what is beside it.
const SECTIONS: &str = r#"
[[listener]]
name = "bench"
transport = "tcp"
address = "127.0.0.1:PORT"
bind_client_id = "none"
dangerous_anonymous = true

[[rate]]
scope = "client"
messages = ["1000000000/s", "10000000000/m"]
bytes = "1000GB/s"

[[rate]]
scope = "topic"
of = "elsewhere/#"
messages = "1000/s"
"#;

/// An open node, with and without detection.
const WATCHED: &str = r#"
[[listener]]
name = "bench"
transport = "tcp"
address = "127.0.0.1:PORT"
bind_client_id = "none"
dangerous_anonymous = true

[access]
dangerous_allow_everything = true

[detect]
enabled = DETECT
"#;

/// Rules that the bench's clients go by, among rules for others.
const RULES: &str = "topic readwrite #\n\nuser dms\ntopic read meters/+/reading\ntopic write commands/+/switch\n\n\
                     pattern write meters/%u/#\npattern read commands/%u/#\n";

pub fn run(args: &Args) -> anyhow::Result<bool> {
    let binary = build_release()?;
    let bases: Vec<&Path> = args.baseline.iter().map(|path| &**path).collect();
    let head = if bases.is_empty() { "" } else { " baseline, bare |" };
    println!("| scenario | bare | all on | unit | all on / bare |{head}");
    println!("|---|---:|---:|---|---:|{}", if bases.is_empty() { "" } else { "---:|" });
    for scenario in args.chosen(&SCENARIOS) {
        row(&binary, bases.first().copied(), scenario, args)?;
    }
    Ok(true)
}

/// `cargo xtask bench --detection`: the same node with detection and without, in turns. Its threads share the core with the
/// shard, so that what a detector does on the side is counted as well.
pub fn detection(args: &Args) -> anyhow::Result<bool> {
    let binary = build_release()?;
    println!("| scenario | detection off | on | unit | on / off |\n|---|---:|---:|---|---:|");
    for scenario in &ACTIVE {
        let (mut off, mut on) = (Vec::new(), Vec::new());
        for _ in 0..args.runs.max(1) {
            off.push(measure(&binary, watched(&binary, false)?, scenario, args)?);
            on.push(measure(&binary, watched(&binary, true)?, scenario, args)?);
        }
        let (off, on) = (median(off), median(on));
        println!("| {} | {off:.0} | {on:.0} | {} | {:.3} |", scenario.name, scenario.unit, on / off);
    }
    Ok(true)
}

/// An open node that differs in nothing but whether it detects.
fn watched(binary: &Path, detect: bool) -> anyhow::Result<Broker> {
    let (directory, port) = crate::bench::place()?;
    let path = directory.path().join("ravelin.toml");
    std::fs::write(&path, WATCHED.replace("PORT", &port.to_string()).replace("DETECT", &detect.to_string()))?;
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(binary).args(["serve", "--workers", "1"]).arg(directory.path());
    Broker::start(command, directory, port)
}

fn row(binary: &Path, baseline: Option<&Path>, scenario: &Scenario, args: &Args) -> anyhow::Result<()> {
    let (mut bare, mut full, mut base) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.runs.max(1) {
        bare.push(measure(binary, Broker::ravelin(binary)?, scenario, args)?);
        full.push(measure(binary, everything(binary)?, scenario, args)?);
        if let Some(baseline) = baseline {
            base.push(measure(binary, Broker::ravelin(baseline)?, scenario, args)?);
        }
    }
    let (bare, full) = (median(bare), median(full));
    let base = if base.is_empty() { String::new() } else { format!(" {:.0} |", median(base)) };
    let ratio = full / bare;
    println!("| {} | {bare:.0} | {full:.0} | {} | {ratio:.3} |{base}", scenario.name, scenario.unit);
    Ok(())
}

/// A deployment with all of Protect and Identify on.
fn everything(binary: &Path) -> anyhow::Result<Broker> {
    let (directory, port) = crate::bench::place()?;
    let deployment = directory.path().join("deployment");
    let mut init = Command::new(binary);
    // Its own listeners take ports that the system chooses.
    init.arg("init").arg(&deployment).stdout(Stdio::null());
    if !init.status()?.success() {
        bail!("{} failed", shown(&init));
    }
    let path = deployment.join("ravelin.toml");
    let text = std::fs::read_to_string(&path)?;
    let text: String = text.lines().map(any_port).collect();
    let text = text.replace("#topics = []", "topics = [\"recorded/#\"]");
    std::fs::write(&path, text + &SECTIONS.replace("PORT", &port.to_string()))?;
    let rules = deployment.join("access.rules");
    std::fs::write(&rules, RULES)?;
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(binary).args(["serve", "--workers", "1"]).arg(&deployment);
    Broker::start(command, directory, port)
}

/// A line of a configuration, with the port that the system chooses in the place of one of loopback.
fn any_port(line: &str) -> String {
    let address = line.strip_prefix("address = \"").and_then(|rest| rest.rsplit_once(':'));
    match address {
        Some((host, _)) => format!("address = \"{host}:0\"\n"),
        None => format!("{line}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::any_port;

    #[test]
    fn only_addresses_change() {
        assert_eq!(any_port("address = \"127.0.0.1:8883\""), "address = \"127.0.0.1:0\"\n");
        assert_eq!(any_port("#address = \"x:1\""), "#address = \"x:1\"\n");
    }
}
