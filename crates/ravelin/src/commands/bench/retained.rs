//! Retained messages: storing many, and fetching all of them by one wildcard subscription.

use super::args::{TargetArgs, parse_seconds, raise_open_files};
use super::engine::Engine;
use super::histogram::Histogram;
use super::link::SessionKind;
use super::phases::{connect_all, disconnect_all, rest};
use super::process::BrokerProcess;
use super::report::Report;
use super::stored::{Batch, Fetch, publish};
use super::{version_name, wire};
use crate::client::options::parse_qos;
use ravelin_mqtt::{Properties, QoS, SubscribeOptions, Subscription, encode_subscribe};
use std::time::Duration;

/// What the scenario is told.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct RetainedArgs {
    /// Retained messages
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    count: u64,
    /// Bytes of a payload, at least 20
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Publishers
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    pubs: u64,
    /// Messages of a publisher that may be unacknowledged
    #[arg(long, value_name = "MESSAGES", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    inflight: u16,
    /// QoS of the subscription that fetches
    #[arg(long, value_name = "QOS", default_value = "1", value_parser = parse_qos)]
    qos: QoS,
    /// Times to fetch; the figures are of the median one
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
    /// Seconds without any message after which what is missing counts as lost
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = parse_seconds)]
    quiet: Duration,
    /// Leave the retained messages at the broker
    #[arg(long)]
    keep: bool,
}

/// One fetch.
struct Pass {
    per_s: f64,
    cpu_us: f64,
    first_us: f64,
    lost: u64,
    duplicated: u64,
}

/// Runs the scenario.
pub fn run(target: &TargetArgs, args: &RetainedArgs) -> anyhow::Result<Report> {
    let target = target.resolve()?;
    raise_open_files();
    let broker = BrokerProcess::new(target.broker_pid);
    let mut report = Report::new("retained");
    report.text("mqtt", "MQTT", version_name(&target));
    let mut engine = Engine::new(target)?;
    let prefix = engine.target.client_prefix.clone();
    let client_ids: Vec<String> = (0..args.pubs).map(|number| format!("{prefix}p{number}")).collect();
    connect_all(&mut engine, &client_ids, SessionKind::Clean, 64, &mut Histogram::default())?;
    let lanes: Vec<usize> = (0..client_ids.len()).collect();
    rest(&mut engine, broker, Duration::from_secs(3))?;

    let run = std::process::id();
    // A topic of this run only, so that another run's leftovers are not counted.
    let topic = |number: u64| format!("bench/r{run}/{}/{}/v", number / 100, number % 100);
    let address = |number: u64| (0, number as u32);
    let mut batch = Batch {
        total: args.count,
        topic: &topic,
        address: &address,
        payload: wire::payload(args.size),
        retain: true,
        run,
    };
    let before = broker.sample();
    let stored = publish(&mut engine, &lanes, args.inflight, &batch)?;
    let storing = broker.sample();
    rest(&mut engine, broker, Duration::from_secs(5))?;
    let full = broker.sample();

    let mut passes = Vec::new();
    for number in 0..args.repeat {
        let client_id = format!("{prefix}s{number}");
        if let Some(pass) = fetch(&mut engine, broker, args, &client_id, run)? {
            passes.push(pass);
        }
        rest(&mut engine, broker, Duration::from_secs(1))?;
    }
    if !args.keep {
        batch.payload.clear();
        publish(&mut engine, &lanes, args.inflight, &batch)?;
    }
    rest(&mut engine, broker, Duration::from_secs(5))?;
    let after = broker.sample();

    passes.sort_by(|one, other| one.per_s.total_cmp(&other.per_s));
    let each = 1.0 / stored.acknowledged.max(1) as f64;
    report.count("count", "retained messages", args.count);
    report.count("payload_bytes", "payload bytes", batch_bytes(args));
    report.number("stored_per_s", "stored", stored.acknowledged as f64 / storing.since_s(&before), "msg/s");
    if broker.is_known() {
        let cpu_us = (storing.broker_cpu_s - before.broker_cpu_s) * 1e6 * each;
        report.number("store_broker_cpu_us", "broker CPU to store one", cpu_us, "µs");
        let bytes = full.broker_rss_bytes as f64 - before.broker_rss_bytes as f64;
        report.bytes("bytes_per_retained", "broker memory for one", bytes * each);
    }
    if let Some(median) = passes.get(passes.len() / 2) {
        report.number("fetched_per_s", "fetched", median.per_s, "msg/s");
        report.number("first_us", "first after", median.first_us, "µs");
        if broker.is_known() {
            report.number("fetch_broker_cpu_us", "broker CPU to fetch one", median.cpu_us, "µs");
            report.bytes("rss_after_bytes", "broker memory after", after.broker_rss_bytes as f64);
        }
    }
    report.number("other_cores", "others on this machine", storing.other_cores(&before), "cores");
    let lost = passes.iter().map(|pass| pass.lost).max().unwrap_or(args.count);
    let duplicated = passes.iter().map(|pass| pass.duplicated).max().unwrap_or(0);
    report.count("lost", "lost", lost);
    report.count("duplicated", "duplicated", duplicated);
    report.fault_count(args.count - stored.acknowledged, "messages were not acknowledged");
    report.fault_count(stored.refused, "messages were refused");
    report.fault_count(lost, "messages were lost");
    report.fault_count(duplicated, "messages came more than once");
    super::report_engine(&mut report, &engine, broker);
    disconnect_all(&mut engine)?;
    Ok(report)
}

fn batch_bytes(args: &RetainedArgs) -> u64 {
    args.size.max(wire::STAMP_BYTES) as u64
}

/// A new client subscribes to everything.
fn fetch(
    engine: &mut Engine,
    broker: BrokerProcess,
    args: &RetainedArgs,
    client_id: &str,
    run: u32,
) -> anyhow::Result<Option<Pass>> {
    let number = engine.links.len();
    let version = engine.target.version;
    connect_all(engine, &[client_id.to_owned()], SessionKind::Clean, 1, &mut Histogram::default())?;
    let before = broker.sample();
    let began_ns = engine.now_ns();
    let mut fetch = Fetch::new(engine, run, 1, args.count);
    let Some(link) = engine.ready(number) else { return Ok(None) };
    let filter = format!("bench/r{run}/#");
    let options = SubscribeOptions { qos: args.qos, ..SubscribeOptions::default() };
    encode_subscribe(
        &mut link.out,
        version,
        1,
        None,
        &[Subscription { filter: &filter, options }],
        Properties::EMPTY,
    );
    engine.flush(number, &mut fetch);
    fetch.wait(engine, args.quiet)?;
    let after = broker.sample();
    if let Some(link) = engine.ready(number) {
        link.leave(version);
        engine.flush(number, &mut fetch);
    }
    let seconds = fetch.last_ns.saturating_sub(began_ns) as f64 / 1e9;
    Ok(Some(Pass {
        per_s: fetch.received as f64 / seconds,
        cpu_us: (after.broker_cpu_s - before.broker_cpu_s) * 1e6 / fetch.received.max(1) as f64,
        first_us: fetch.first_ns.map_or(f64::NAN, |first_ns| (first_ns - began_ns) as f64 / 1e3),
        lost: fetch.lost(),
        duplicated: fetch.duplicated,
    }))
}
