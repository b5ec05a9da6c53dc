//! Messages for clients that are away: queueing them, and draining the queues when all come back at once.

use super::args::{TargetArgs, parse_seconds, raise_open_files};
use super::engine::Engine;
use super::histogram::Histogram;
use super::link::SessionKind;
use super::phases::{Filters, connect_all, disconnect_all, rest, subscribe_all};
use super::process::BrokerProcess;
use super::report::Report;
use super::stored::{Batch, Fetch, publish};
use super::{version_name, wire};
use ravelin_mqtt::QoS;
use std::time::Duration;

/// What the scenario is told.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Load")]
pub struct QueueArgs {
    /// Clients that are away
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    clients: u64,
    /// Messages for each; many brokers queue 1000 at most
    #[arg(long, value_name = "COUNT", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..))]
    per_client: u64,
    /// Bytes of a payload, at least 20
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,
    /// Publishers; --clients must be a multiple, so that each topic has one publisher and keeps its order
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    pubs: u64,
    /// Messages of a publisher that may be unacknowledged
    #[arg(long, value_name = "MESSAGES", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    inflight: u16,
    /// Seconds without any message after which what is missing counts as lost
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = parse_seconds)]
    quiet: Duration,
}

/// Handshakes at a time.
const WAVE: usize = 64;

/// Runs the scenario.
pub fn run(target: &TargetArgs, args: &QueueArgs) -> anyhow::Result<Report> {
    if !args.clients.is_multiple_of(args.pubs) {
        let why = format!("--clients {} is not a multiple of --pubs {}", args.clients, args.pubs);
        return Err(crate::client::Error::Usage(why).into());
    }
    let target = target.resolve()?;
    raise_open_files();
    let broker = BrokerProcess::new(target.broker_pid);
    let mut report = Report::new("queue");
    report.text("mqtt", "MQTT", version_name(&target));
    let mut engine = Engine::new(target)?;
    let prefix = engine.target.client_prefix.clone();
    let run = std::process::id();
    let (clients, total) = (args.clients as usize, args.clients * args.per_client);
    let ignored = &mut Histogram::default();

    let client_ids: Vec<String> = (0..clients).map(|number| format!("{prefix}c{number}")).collect();
    let opened = connect_all(&mut engine, &client_ids, SessionKind::Kept, WAVE, ignored)?;
    let jobs =
        (0..clients).map(|number| (number, Filters::one(format!("bench/q{run}/{number}/v")))).collect();
    let subscribed = subscribe_all(&mut engine, jobs, QoS::AtLeastOnce, 1)?;
    disconnect_all(&mut engine)?;

    let base = engine.links.len();
    let publisher_ids: Vec<String> = (0..args.pubs).map(|number| format!("{prefix}p{number}")).collect();
    connect_all(&mut engine, &publisher_ids, SessionKind::Clean, WAVE, ignored)?;
    let lanes: Vec<usize> = (base..base + publisher_ids.len()).collect();
    rest(&mut engine, broker, Duration::from_secs(3))?;
    let clients_u64 = args.clients;
    let topic = |number: u64| format!("bench/q{run}/{}/v", number % clients_u64);
    let address = |number: u64| ((number % clients_u64) as u32, (number / clients_u64) as u32);
    let batch = Batch {
        total,
        topic: &topic,
        address: &address,
        payload: wire::payload(args.size),
        retain: false,
        run,
    };
    let before = broker.sample();
    let queued = publish(&mut engine, &lanes, args.inflight, &batch)?;
    let queueing = broker.sample();
    rest(&mut engine, broker, Duration::from_secs(5))?;
    let full = broker.sample();

    let base = engine.links.len();
    let mut fetch = Fetch::new(&engine, run, clients, args.per_client);
    let draining = broker.sample();
    let began_ns = engine.now_ns();
    for (at, client_id) in client_ids.iter().enumerate() {
        engine.open(base + at, client_id, SessionKind::Kept);
    }
    fetch.wait(&mut engine, args.quiet)?;
    // What comes now is a duplicate.
    engine.turn(Duration::from_millis(100), &mut fetch)?;
    let drained = broker.sample();
    let seconds = fetch.last_ns.saturating_sub(began_ns) as f64 / 1e9;

    report.count("clients", "clients away", args.clients);
    report.count("per_client", "messages for each", args.per_client);
    report.count("payload_bytes", "payload bytes", batch.payload.len() as u64);
    report.count("queued", "queued", queued.acknowledged);
    report.number("queued_per_s", "queued", queued.acknowledged as f64 / queueing.since_s(&before), "msg/s");
    if broker.is_known() {
        let cpu_s = queueing.broker_cpu_s - before.broker_cpu_s;
        let count = queued.acknowledged.max(1) as f64;
        report.number("queue_broker_cpu_us", "broker CPU to queue one", cpu_s * 1e6 / count, "µs");
        report.number("queued_per_broker_cpu_s", "queued a broker CPU second", count / cpu_s, "msg");
        let bytes = full.broker_rss_bytes as f64 - before.broker_rss_bytes as f64;
        report.bytes("bytes_per_queued", "broker memory for one", bytes / count);
    }
    report.number("drained_per_s", "drained", fetch.received as f64 / seconds, "msg/s");
    if broker.is_known() {
        let cpu_s = drained.broker_cpu_s - draining.broker_cpu_s;
        report.number(
            "drain_broker_cpu_us",
            "broker CPU to drain one",
            cpu_s * 1e6 / fetch.received as f64,
            "µs",
        );
    }
    report.number("other_cores", "others on this machine", queueing.other_cores(&before), "cores");
    report.count("sessions_present", "sessions found again", fetch.sessions_present);
    report.count("lost", "lost", fetch.lost());
    report.count("duplicated", "duplicated", fetch.duplicated);
    report.count("out_of_order", "out of order", fetch.out_of_order);
    report.fault_count((clients - opened) as u64, "connections were not opened");
    report.fault_count(subscribed.refused, "subscriptions were refused");
    report.fault_count(total - queued.acknowledged, "messages were not acknowledged");
    report.fault_count(queued.refused, "messages were refused");
    report.fault_count(args.clients - fetch.sessions_present, "sessions were not there any more");
    report.fault_count(fetch.lost(), "messages were lost");
    report.fault_count(fetch.duplicated, "messages came more than once");
    report.fault_count(fetch.out_of_order, "messages came out of order");
    super::report_engine(&mut report, &engine, broker);

    // The sessions are not left behind.
    disconnect_all(&mut engine)?;
    connect_all(&mut engine, &client_ids, SessionKind::Clean, WAVE, ignored)?;
    disconnect_all(&mut engine)?;
    Ok(report)
}
