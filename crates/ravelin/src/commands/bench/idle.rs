//! Connections that do nothing: what opening one costs, what holding one costs.

use super::args::{TargetArgs, raise_open_files};
use super::engine::Engine;
use super::histogram::Histogram;
use super::link::SessionKind;
use super::phases::{Filters, connect_all, disconnect_all, rest, subscribe_all};
use super::process::BrokerProcess;
use super::report::Report;
use super::version_name;
use ravelin_mqtt::QoS;
use std::time::Duration;

/// What the scenario is told.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct IdleArgs {
    /// Connections to open and hold
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    connections: usize,
    /// Handshakes at a time
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..))]
    wave: u64,
    /// Seconds to hold them once the broker is at rest
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = super::args::parse_seconds)]
    hold: Duration,
    /// Do not subscribe each connection to a topic of its own
    #[arg(long)]
    no_subscribe: bool,
}

/// Files that are open besides the connections.
const OTHER_FILES: u64 = 64;

/// Runs the scenario.
pub fn run(target: &TargetArgs, args: &IdleArgs) -> anyhow::Result<Report> {
    let target = target.resolve()?;
    let limit = raise_open_files();
    if limit < args.connections as u64 + OTHER_FILES {
        anyhow::bail!(
            "{} connections need that many open files, and the limit is {limit}: raise it (ulimit -n)",
            args.connections
        );
    }
    let broker = BrokerProcess::new(target.broker_pid);
    let mut report = Report::new("idle");
    report.text("mqtt", "MQTT", version_name(&target));
    let mut engine = Engine::new(target)?;
    rest(&mut engine, broker, Duration::from_secs(3))?;

    let before = broker.sample();
    let prefix = engine.target.client_prefix.clone();
    let client_ids: Vec<String> = (0..args.connections).map(|number| format!("{prefix}{number}")).collect();
    let mut latency = Histogram::default();
    let connected =
        connect_all(&mut engine, &client_ids, SessionKind::Clean, args.wave as usize, &mut latency)?;
    let opened = broker.sample();

    let mut refused = 0;
    if !args.no_subscribe {
        let jobs =
            (0..args.connections).map(|number| (number, Filters::one(format!("device/{number}/command"))));
        refused = subscribe_all(&mut engine, jobs.collect(), QoS::AtLeastOnce, 1)?.refused;
    }
    rest(&mut engine, broker, Duration::from_secs(5))?;
    let resting = broker.sample();
    engine.idle(args.hold)?;
    let held = broker.sample();
    let lost = engine.lost;
    disconnect_all(&mut engine)?;
    rest(&mut engine, broker, Duration::from_secs(10))?;
    let after = broker.sample();

    let each = 1.0 / connected.max(1) as f64;
    report.count("connections", "connections", args.connections as u64);
    report.count("connected", "connected", connected as u64);
    report.number("connected_per_s", "connected", connected as f64 / opened.since_s(&before), "/s");
    report.latency("connect_latency_us", "time to CONNACK", &latency);
    if broker.is_known() {
        let cpu_us = |from: f64, to: f64| (to - from) * 1e6 * each;
        let connect_us = cpu_us(before.broker_cpu_s, opened.broker_cpu_s);
        report.number("connect_broker_cpu_us", "broker CPU a connection", connect_us, "µs");
        let bytes = resting.broker_rss_bytes as f64 - before.broker_rss_bytes as f64;
        report.bytes("bytes_per_connection", "broker memory a connection", bytes * each);
        let cores = (held.broker_cpu_s - resting.broker_cpu_s) / held.since_s(&resting);
        report.number("held_broker_cores", "broker while holding", cores, "cores");
        let disconnect_us = cpu_us(held.broker_cpu_s, after.broker_cpu_s);
        report.number("disconnect_broker_cpu_us", "broker CPU a disconnection", disconnect_us, "µs");
        report.bytes("rss_before_bytes", "broker memory before", before.broker_rss_bytes as f64);
        report.bytes("rss_held_bytes", "broker memory while holding", resting.broker_rss_bytes as f64);
        report.bytes("rss_after_bytes", "broker memory after", after.broker_rss_bytes as f64);
    }
    report.number("other_cores", "others on this machine", opened.other_cores(&before), "cores");
    report.fault_count((args.connections - connected) as u64, "connections were not opened");
    report.fault_count(refused, "subscriptions were refused");
    engine.lost = lost;
    super::report_engine(&mut report, &engine, broker);
    Ok(report)
}
