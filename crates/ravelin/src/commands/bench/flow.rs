//! The scenarios with steady traffic: fan-in, fan-out, pairs, exchange, many subscriptions.

use super::args::{LoadArgs, TargetArgs, raise_open_files};
use super::engine::Engine;
use super::histogram::Histogram;
use super::link::SessionKind;
use super::phases::{connect_all, disconnect_all, rest, subscribe_all};
use super::plan::Plan;
use super::process::{BrokerProcess, Sample};
use super::report::Report;
use super::traffic::{Counts, Measured, Traffic};
use super::version_name;
use ravelin_mqtt::QoS;
use std::time::{Duration, Instant};

/// Handshakes at a time.
const WAVE: usize = 64;

/// What is particular to the scenario of many subscriptions.
pub struct Grid {
    /// Filters in one SUBSCRIBE.
    pub per_packet: usize,
    /// The longest wait for the broker to come to rest after the last SUBACK.
    pub settle: Duration,
}

/// Runs a scenario.
pub fn run(
    scenario: &str,
    target: &TargetArgs,
    load: &LoadArgs,
    mut plan: Plan,
    grid: Option<Grid>,
) -> anyhow::Result<Report> {
    let target = target.resolve()?;
    let broker = BrokerProcess::new(target.broker_pid);
    raise_open_files();
    let mut report = Report::new(scenario);
    report.text("mqtt", "MQTT", version_name(&target));
    let mut engine = Engine::new(target)?;

    let (publishers, subscribers) = (plan.publishers.len(), plan.subscribers.len());
    let subscriptions = plan.subscription_count();
    let prefix = engine.target.client_prefix.clone();
    let client_ids: Vec<String> =
        (0..publishers + subscribers).map(|number| format!("{prefix}{number}")).collect();
    let connected =
        connect_all(&mut engine, &client_ids, SessionKind::Clean, WAVE, &mut Histogram::default())?;

    let before = broker.sample();
    let jobs =
        plan.subscribers.drain(..).enumerate().map(|(at, filters)| (publishers + at, filters)).collect();
    let began = Instant::now();
    let per_packet = grid.as_ref().map_or(1, |grid| grid.per_packet);
    let subscribed = subscribe_all(&mut engine, jobs, load.qos, per_packet)?;
    let subscribing_s = began.elapsed().as_secs_f64();
    if let Some(grid) = &grid {
        rest(&mut engine, broker, grid.settle)?;
    }
    let after = broker.sample();

    let mut traffic = Traffic::new(&engine, &plan, subscribers, load);
    let measured = traffic.drive(&mut engine, broker, load)?;
    traffic.drain(&mut engine, load.drain)?;

    report.count("qos", "QoS", load.qos as u64);
    report.count("publishers", "publishers", publishers as u64);
    report.count("subscribers", "subscribers", subscribers as u64);
    report.count("subscriptions", "subscriptions", subscriptions as u64);
    report.count("payload_bytes", "payload bytes", load.size.max(super::wire::STAMP_BYTES) as u64);
    match load.rate {
        Some(rate) => report.number("rate_per_s", "rate", rate, "msg/s"),
        None => report.count("window", "window", load.window.into()),
    }
    if load.qos != QoS::AtMostOnce {
        report.count("inflight", "in flight at most", load.inflight.into());
    }
    if grid.is_some() {
        report_subscribing(&mut report, broker, subscribed.granted, subscribing_s, &before, &after);
    }
    report_measured(&mut report, broker, &measured, &traffic);
    report_counts(&mut report, &traffic.counts);
    report.fault_count((publishers + subscribers - connected) as u64, "connections were not opened");
    report.fault_count(subscribed.refused, "subscriptions were refused");
    super::report_engine(&mut report, &engine, broker);
    disconnect_all(&mut engine)?;
    Ok(report)
}

fn report_subscribing(
    report: &mut Report,
    broker: BrokerProcess,
    granted: u64,
    seconds: f64,
    before: &Sample,
    after: &Sample,
) {
    report.number("subscribed_per_s", "subscribed", granted as f64 / seconds, "/s");
    if broker.is_known() {
        let each = 1.0 / granted.max(1) as f64;
        let cpu_us = (after.broker_cpu_s - before.broker_cpu_s) * 1e6 * each;
        report.number("subscribe_broker_cpu_us", "broker CPU a subscription", cpu_us, "µs");
        let bytes = (after.broker_rss_bytes as f64 - before.broker_rss_bytes as f64) * each;
        report.bytes("bytes_per_subscription", "broker memory a subscription", bytes);
    }
}

fn report_measured(report: &mut Report, broker: BrokerProcess, measured: &Measured, traffic: &Traffic) {
    let Measured { begin, end, published, delivered } = measured;
    let seconds = end.since_s(begin);
    report.number("measured_s", "measured", seconds, "s");
    report.number("published_per_s", "published", *published as f64 / seconds, "msg/s");
    report.number("delivered_per_s", "delivered", *delivered as f64 / seconds, "msg/s");
    report.latency("latency_us", "latency", traffic.latency());
    if broker.is_known() {
        let cpu_s = end.broker_cpu_s - begin.broker_cpu_s;
        report.number(
            "delivered_per_broker_cpu_s",
            "delivered a broker CPU second",
            *delivered as f64 / cpu_s,
            "msg",
        );
        report.number(
            "broker_cpu_us_per_delivery",
            "broker CPU a delivery",
            cpu_s * 1e6 / *delivered as f64,
            "µs",
        );
        report.number(
            "broker_cpu_us_per_publish",
            "broker CPU a publish",
            cpu_s * 1e6 / *published as f64,
            "µs",
        );
        report.number("broker_cores", "broker", cpu_s / seconds, "cores");
        report.bytes("broker_rss_bytes", "broker memory", end.broker_rss_bytes as f64);
        report.count("broker_threads", "broker threads", end.broker_threads);
    }
    report.number("generator_cores", "generator", (end.own_cpu_s - begin.own_cpu_s) / seconds, "cores");
    report.number("other_cores", "others on this machine", end.other_cores(begin), "cores");
}

fn report_counts(report: &mut Report, counts: &Counts) {
    let lost = counts.expected.saturating_sub(counts.delivered);
    report.count("published", "published in all", counts.published);
    report.count("delivered", "delivered in all", counts.delivered);
    report.count("lost", "lost", lost);
    report.count("duplicated", "duplicated", counts.duplicated);
    report.count("out_of_order", "out of order", counts.out_of_order);
    report.fault_count(lost, "messages were lost");
    report.fault_count(counts.duplicated, "messages came more than once");
    report.fault_count(counts.out_of_order, "messages came out of order");
    report.fault_count(counts.refused, "messages were refused");
    report.fault_count(counts.unexpected, "messages came that were not expected");
    report.fault_count(
        counts.held_back,
        "messages were held back, because the broker did not take them in time",
    );
    report.fault_count(counts.stalls, "times a full window was given up");
}
