//! Connections that come and go: CONNECT, CONNACK, DISCONNECT, and again.

use super::args::{TargetArgs, parse_seconds, raise_open_files};
use super::engine::{Engine, Handler};
use super::histogram::Histogram;
use super::link::{Link, SessionKind};
use super::phases::rest;
use super::process::BrokerProcess;
use super::report::Report;
use super::version_name;
use ravelin_mqtt::Version;
use std::time::Duration;

/// What the scenario is told.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct ChurnArgs {
    /// Connections at a time
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..))]
    concurrency: u64,
    /// Seconds that are measured
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_seconds)]
    duration: Duration,
}

/// How long the last connections may take.
const LAST_NS: u64 = 3_000_000_000;

struct Churn {
    version: Version,
    latency: Histogram,
    accepted: u64,
    free: Vec<usize>,
}

impl Handler for Churn {
    fn packet(&mut self, _number: usize, _link: &mut Link, _first: u8, _body: &[u8], _now_ns: u64) {}

    fn opened(&mut self, _number: usize, link: &mut Link, now_ns: u64) {
        self.latency.record(now_ns - link.opened_ns);
        self.accepted += 1;
        link.leave(self.version);
    }

    fn closed(&mut self, number: usize) {
        self.free.push(number);
    }
}

/// Runs the scenario.
pub fn run(target: &TargetArgs, args: &ChurnArgs) -> anyhow::Result<Report> {
    let target = target.resolve()?;
    raise_open_files();
    let broker = BrokerProcess::new(target.broker_pid);
    let mut report = Report::new("churn");
    report.text("mqtt", "MQTT", version_name(&target));
    let mut engine = Engine::new(target)?;
    rest(&mut engine, broker, Duration::from_secs(3))?;

    let concurrency = args.concurrency as usize;
    let mut churn = Churn {
        version: engine.target.version,
        latency: Histogram::default(),
        accepted: 0,
        free: (0..concurrency).rev().collect(),
    };
    let prefix = engine.target.client_prefix.clone();
    let mut started = 0u64;
    let before = broker.sample();
    let end_ns = engine.now_ns() + args.duration.as_nanos() as u64;
    loop {
        let now_ns = engine.now_ns();
        if now_ns >= end_ns && churn.free.len() == concurrency || now_ns >= end_ns + LAST_NS {
            break;
        }
        while let Some(number) = churn.free.pop_if(|_| now_ns < end_ns) {
            if !engine.open(number, &format!("{prefix}{started}"), SessionKind::Clean) {
                churn.free.push(number);
                break;
            }
            started += 1;
        }
        engine.turn(Duration::from_millis(50), &mut churn)?;
    }
    let end = broker.sample();
    rest(&mut engine, broker, Duration::from_secs(5))?;
    let after = broker.sample();

    let seconds = end.since_s(&before);
    let accepted = churn.accepted as f64;
    report.count("concurrency", "connections at a time", args.concurrency);
    report.count("started", "started", started);
    report.count("accepted", "accepted", churn.accepted);
    report.number("connected_per_s", "connected", accepted / seconds, "/s");
    report.latency("connect_latency_us", "time to CONNACK", &churn.latency);
    if broker.is_known() {
        let cpu_s = after.broker_cpu_s - before.broker_cpu_s;
        report.number("connect_broker_cpu_us", "broker CPU a connection", cpu_s * 1e6 / accepted, "µs");
        report.number(
            "connections_per_broker_cpu_s",
            "connections a broker CPU second",
            accepted / cpu_s,
            "",
        );
        let growth = after.broker_rss_bytes as f64 - before.broker_rss_bytes as f64;
        report.bytes("rss_growth_bytes", "broker memory grew by", growth);
    }
    report.number("generator_cores", "generator", (end.own_cpu_s - before.own_cpu_s) / seconds, "cores");
    report.number("other_cores", "others on this machine", end.other_cores(&before), "cores");
    report.fault_count(started - churn.accepted, "connections were not accepted");
    super::report_engine(&mut report, &engine, broker);
    Ok(report)
}
