//! What a refused connection costs at each rung of the accept ladder, and what a flood of them does to those who are
//! served.
//!
//! Unlike the other scenarios this one starts nodes of its own, since each rung needs a configuration that refuses there:
//! this binary again, pinned to one core, with a directory that goes with it. The flood and the client whose latency is
//! measured run on another core, the flood with the lowest priority, so that it does not delay the measurement itself.

mod flood;
mod node;
mod probe;
mod rungs;

use super::process::BrokerProcess;
use super::report::Report;
use flood::{Flood, Say};
use node::Child;
pub use node::serve;
use rungs::{Ground, RUNGS, Rung};
use std::path::PathBuf;
use std::time::Duration;

/// What the scenario is told.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct RejectArgs {
    /// Seconds of each measurement
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = super::args::parse_seconds)]
    seconds: Duration,
    /// Only these rungs; the flood runs always
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The core of the nodes
    #[arg(long, value_name = "CORE", default_value_t = 0)]
    node_core: usize,
    /// The core of the flood and of the client that is served
    #[arg(long, value_name = "CORE", default_value_t = 1)]
    flood_core: usize,
    /// Print one line of JSON instead of a table
    #[arg(long, help_heading = "Output")]
    pub json: bool,
    /// Be a node: what the scenario starts
    #[arg(long, value_name = "CONFIG", hide = true)]
    pub node: Option<PathBuf>,
    /// Ban this subject, being a node
    #[arg(long, value_name = "SUBJECT", hide = true)]
    pub ban: Option<String>,
}

impl RejectArgs {
    /// The core of the nodes.
    pub fn core(&self) -> usize {
        self.node_core
    }
}

/// Runs the scenario.
pub fn run(args: &RejectArgs) -> anyhow::Result<Report> {
    super::args::raise_open_files();
    let ground = Ground::new()?;
    let mut report = Report::new("reject");
    flood::pin(args.flood_core)?;
    for rung in RUNGS {
        if args.only.is_empty() || args.only.iter().any(|name| name == rung.name) {
            price(args, &ground, rung, &mut report)?;
        }
    }
    for (rung, keys) in
        [("banned_address", rungs::BANNED_FLOOD), ("malformed_connect", rungs::MALFORMED_FLOOD)]
    {
        let rung =
            RUNGS.iter().find(|one| one.name == rung).ok_or_else(|| anyhow::anyhow!("no such rung"))?;
        flooded(args, &ground, rung, &keys, &mut report)?;
    }
    Ok(report)
}

/// CPU microseconds of the node for each refused connection.
fn price(args: &RejectArgs, ground: &Ground, rung: &Rung, report: &mut Report) -> anyhow::Result<()> {
    let mut node = Child::start(&ground.config(rung)?, rung.ban, args.node_core)?;
    let say = ground.say(rung)?;
    let held = (rung.prime)(&node, &say)?;
    let process = BrokerProcess::new(Some(node.pid()));
    let before = process.sample();
    let flood = Flood::run(node.address, say, args.seconds, rung.size())?;
    let after = process.sample();
    drop(held);
    let refused = node.refused(rung.rung)?;
    let us = (after.broker_cpu_s - before.broker_cpu_s) * 1e6 / flood.ended.max(1) as f64;
    report.number(rung.name, rung.label, us, "µs CPU a refusal");
    report.number(rung.rate_key, "  refused", flood.ended as f64 / after.since_s(&before), "/s");
    // Each rung must have refused what was sent against it, or its price is of something else.
    if refused * 100 < flood.ended * 95 {
        report.fault(format!("{}: {refused} of {} were refused at that rung", rung.name, flood.ended));
    }
    Ok(())
}

/// What somebody who is served notices of a flood.
fn flooded(
    args: &RejectArgs,
    ground: &Ground,
    rung: &Rung,
    keys: &rungs::FloodKeys,
    report: &mut Report,
) -> anyhow::Result<()> {
    let node = Child::start(&ground.open_config(rung)?, rung.ban, args.node_core)?;
    let say: Say = ground.say(rung)?;
    let mut probe = probe::Probe::connect(node.address)?;
    probe.measure(Duration::from_secs(1))?;
    let quiet = probe.measure(args.seconds)?;
    let flood = Flood::start(node.address, say, rung.size())?;
    probe.measure(Duration::from_secs(1))?;
    let process = BrokerProcess::new(Some(node.pid()));
    let (before, ended) = (process.sample(), flood.ended());
    let busy = probe.measure(args.seconds)?;
    let (after, ended) = (process.sample(), flood.ended() - ended);
    flood.stop()?;
    report.latency(keys.quiet, keys.quiet_label, &quiet);
    report.latency(keys.busy, keys.busy_label, &busy);
    let ratio = busy.quantile(0.99) as f64 / quiet.quantile(0.99).max(1) as f64;
    report.number(keys.ratio, "  p99 flooded / quiet", ratio, "x");
    report.number(keys.rate, "  the flood", ended as f64 / after.since_s(&before), "/s");
    let cores = (after.broker_cpu_s - before.broker_cpu_s) / after.since_s(&before);
    report.number(keys.cores, "  the node meanwhile", cores, "cores");
    Ok(())
}
