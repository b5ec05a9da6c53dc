//! The control lane under load: how long a call takes, and a ban until the banned client's socket is closed, with the data
//! plane idle and with it saturated.
//!
//! The flood has an engine and a thread of its own. A call asks a shard, so it waits for whatever the shard does at the time. A
//! ban counts from when its request is sent; the client that it closes has been connected for it.

use super::args::{LoadArgs, Target, TargetArgs, parse_seconds, raise_open_files};
use super::engine::{Engine, Handler};
use super::histogram::Histogram;
use super::link::{Link, SessionKind};
use super::phases::{connect_all, disconnect_all, rest, subscribe_all};
use super::plan::Plan;
use super::process::BrokerProcess;
use super::report::{Report, duration};
use super::traffic::{Measured, Traffic};
use super::version_name;
use crate::commands::ctl::ConnectionArgs;
use anyhow::Context;
use ravelin_console::client::{self, Client, ClientError};
use ravelin_mqtt::QoS;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What the 99th percentile shall stay below, saturated.
const CALL_GOAL: Duration = Duration::from_millis(10);
const BAN_GOAL: Duration = Duration::from_millis(50);
/// A banned client that is still there has not been banned.
const EFFECT_MAX: Duration = Duration::from_secs(5);
/// Between two calls, and two bans: the lane lets one address have a thousand requests a second.
pub(super) const BETWEEN: Duration = Duration::from_millis(3);

/// What the scenario is told.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Load")]
pub struct ControlArgs {
    /// Seconds that calls are measured, and bans, in each of the two states
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = parse_seconds)]
    pub(super) duration: Duration,
    /// Pairs of a publisher and a subscriber that saturate the data plane
    #[arg(long, value_name = "COUNT", default_value_t = 50, value_parser = super::at_least_one)]
    pairs: usize,
    /// Messages of a publisher that may be undelivered
    #[arg(long, value_name = "MESSAGES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,
    /// The deployment whose control lane is called [default: RAVELIN_DIR]
    #[arg(long, value_name = "DIR", help_heading = "Control lane")]
    pub(super) dir: Option<PathBuf>,
    /// The control lane [default: RAVELIN_URL, or what the deployment says]; RAVELIN_CA, RAVELIN_CERT, RAVELIN_KEY and
    /// RAVELIN_TOKEN say who calls
    #[arg(long, value_name = "URL", help_heading = "Control lane")]
    pub(super) url: Option<String>,
}

/// What one state of the data plane gave.
#[derive(Default)]
struct Figures {
    calls: Histogram,
    bans: Histogram,
    failed: Vec<String>,
}

/// Runs the scenario.
pub fn run(target: &TargetArgs, args: &ControlArgs) -> anyhow::Result<Report> {
    let target = target.resolve()?;
    raise_open_files();
    let broker = BrokerProcess::new(target.broker_pid);
    let connection = ConnectionArgs {
        dir: args.dir.clone(),
        url: args.url.clone(),
        timeout: 60,
        ..ConnectionArgs::default()
    };
    let lane = Lane::open(Client::new(&connection.target()?)?, &target)?;

    let mut report = Report::new("control");
    report.text("mqtt", "MQTT", version_name(&target));
    rest(&mut Engine::new(target.clone())?, broker, Duration::from_secs(3))?;
    let mut lane = lane;
    let idle = lane.measure(args.duration)?;
    report.latency("idle_call_us", "call, idle", &idle.calls);
    report.latency("idle_ban_us", "ban, idle", &idle.bans);

    let (flooded, flood) = saturated_by(&target, broker, args, || lane.measure(args.duration))?;
    let (measured, lost) = flood;
    report.latency("saturated_call_us", "call, saturated", &flooded.calls);
    report.latency("saturated_ban_us", "ban, saturated", &flooded.bans);
    report_flood(&mut report, broker, &measured);
    for (key, label, count) in [
        ("calls", "calls", idle.calls.count() + flooded.calls.count()),
        ("bans", "bans", idle.bans.count() + flooded.bans.count()),
    ] {
        report.count(key, label, count);
    }
    for what in idle.failed.into_iter().chain(flooded.failed) {
        report.fault(what);
    }
    for (what, histogram, goal) in [("a call", &flooded.calls, CALL_GOAL), ("a ban", &flooded.bans, BAN_GOAL)]
    {
        let p99 = Duration::from_nanos(histogram.quantile(0.99));
        if p99 > goal {
            let (p99, goal) = (duration(p99.as_micros() as f64), duration(goal.as_micros() as f64));
            report.fault(format!("saturated, the 99th percentile of {what} is {p99}; the goal is {goal}"));
        }
    }
    report.fault_count(lost, "connections of the flood were lost");
    super::report_engine(&mut report, &lane.engine, broker);
    Ok(report)
}

pub(super) fn report_flood(report: &mut Report, broker: BrokerProcess, measured: &Measured) {
    let Measured { begin, end, delivered, .. } = measured;
    let seconds = end.since_s(begin);
    report.number("delivered_per_s", "delivered meanwhile", *delivered as f64 / seconds, "msg/s");
    if broker.is_known() {
        let cpu_s = end.broker_cpu_s - begin.broker_cpu_s;
        report.number("broker_cores", "broker", cpu_s / seconds, "cores");
    }
    report.number("generator_cores", "generator", (end.own_cpu_s - begin.own_cpu_s) / seconds, "cores");
    report.number("other_cores", "others on this machine", end.other_cores(begin), "cores");
}

/// Measures while another thread floods the broker. The flood begins before and ends behind.
pub(super) fn saturated_by<T>(
    target: &Target,
    broker: BrokerProcess,
    args: &ControlArgs,
    measure: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, (Measured, u64))> {
    let flows = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| flood(target, broker, args, &flows));
        while !flows.load(Ordering::Acquire) {
            anyhow::ensure!(!flood.is_finished(), "the flood did not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_secs(1));
        let figures = measure();
        let flood = flood.join().map_err(|_| anyhow::anyhow!("the flood failed"))??;
        Ok((figures?, flood))
    })
}

fn flood(
    target: &Target,
    broker: BrokerProcess,
    args: &ControlArgs,
    flows: &AtomicBool,
) -> anyhow::Result<(Measured, u64)> {
    let mut engine = Engine::new(target.clone())?;
    let mut plan = Plan::pairs(args.pairs);
    let (publishers, subscribers) = (plan.publishers.len(), plan.subscribers.len());
    let prefix = format!("{}flood-", target.client_prefix);
    let names: Vec<String> =
        (0..publishers + subscribers).map(|number| format!("{prefix}{number}")).collect();
    let connected = connect_all(&mut engine, &names, SessionKind::Clean, 64, &mut Histogram::default())?;
    anyhow::ensure!(
        connected == names.len(),
        "{connected} of {} connections of the flood opened",
        names.len()
    );
    let jobs =
        plan.subscribers.drain(..).enumerate().map(|(at, filters)| (publishers + at, filters)).collect();
    subscribe_all(&mut engine, jobs, QoS::AtMostOnce, 1)?;
    let load = LoadArgs {
        qos: QoS::AtMostOnce,
        size: 64,
        // Two measurements, the wait before them, and some time behind.
        duration: args.duration * 2 + Duration::from_secs(2),
        warmup: Duration::ZERO,
        drain: Duration::from_secs(1),
        window: args.window,
        rate: None,
        inflight: 20,
    };
    let mut traffic = Traffic::new(&engine, &plan, subscribers, &load);
    flows.store(true, Ordering::Release);
    let measured = traffic.drive(&mut engine, broker, &load)?;
    traffic.drain(&mut engine, load.drain)?;
    let lost = engine.lost;
    disconnect_all(&mut engine)?;
    Ok((measured, lost))
}

/// The lane that is called, and the clients that it closes.
pub(super) struct Lane {
    pub client: Client,
    pub engine: Engine,
    prefix: String,
    next: u64,
}

impl Lane {
    pub fn open(client: Client, target: &Target) -> anyhow::Result<Lane> {
        let who: Value = client.get("/v1/whoami").context("the control lane was asked who calls")?;
        anyhow::ensure!(
            who["role"] != "viewer",
            "to ban takes the role operator, and {} is viewer",
            who["name"]
        );
        Ok(Lane {
            client,
            engine: Engine::new(target.clone())?,
            prefix: target.client_prefix.clone(),
            next: 0,
        })
    }

    fn measure(&mut self, time: Duration) -> anyhow::Result<Figures> {
        let mut figures = Figures::default();
        self.calls(time, &mut figures)?;
        self.bans(time, &mut figures)?;
        Ok(figures)
    }

    /// One call after the other, each to the shard of a client that is connected.
    fn calls(&mut self, time: Duration, figures: &mut Figures) -> anyhow::Result<()> {
        let name = self.connect()?;
        let path = format!("/v1/clients/{}", client::segment(&name));
        let until = Instant::now() + time;
        while Instant::now() < until {
            let began = Instant::now();
            let answer: Result<Value, ClientError> = self.client.get(&path);
            figures.calls.record(began.elapsed().as_nanos() as u64);
            if let Err(error) = answer {
                figures.failed.push(format!("a call failed: {error}"));
                break;
            }
            std::thread::sleep(BETWEEN);
        }
        disconnect_all(&mut self.engine)?;
        Ok(())
    }

    /// One ban after the other, each of a client of its own.
    fn bans(&mut self, time: Duration, figures: &mut Figures) -> anyhow::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let name = self.connect()?;
            match self.ban(&name)? {
                Ok(took) => figures.bans.record(took.as_nanos() as u64),
                Err(why) => {
                    figures.failed.push(why);
                    break;
                }
            }
            std::thread::sleep(BETWEEN);
        }
        Ok(())
    }

    /// A client that is connected; its name.
    pub fn connect(&mut self) -> anyhow::Result<String> {
        self.next += 1;
        let name = format!("{}victim-{}", self.prefix, self.next);
        self.engine.links.clear();
        let opened = connect_all(
            &mut self.engine,
            std::slice::from_ref(&name),
            SessionKind::Clean,
            1,
            &mut Histogram::default(),
        )?;
        let why = self.engine.first_error.clone().unwrap_or_default();
        anyhow::ensure!(opened == 1, "no connection as {name}: {why}");
        Ok(name)
    }

    /// Bans a client that is connected; how long until its socket was closed, or why it was not.
    fn ban(&mut self, name: &str) -> anyhow::Result<Result<Duration, String>> {
        let subject = format!("client_id:{name}");
        let order = json!({ "subject": subject, "reason": "ravelin bench control", "duration": "1m" });
        let made = self.until_closed(name, |client| client.call::<Value>("POST", "/v1/bans", &order))?;
        let took = match made {
            (Err(error), _) => return Ok(Err(format!("a ban failed: {error}"))),
            (Ok(_), took) => took,
        };
        self.client.order_plain("DELETE", &format!("/v1/bans/{}", client::segment(&subject)))?;
        Ok(took)
    }

    /// Has `order` close a client that is connected; its answer, and how long until the socket was closed, or why it was not.
    #[allow(clippy::type_complexity, reason = "two results, of two peers")]
    pub fn until_closed<T: Send>(
        &mut self,
        name: &str,
        order: impl FnOnce(&Client) -> Result<T, ClientError> + Send,
    ) -> anyhow::Result<(Result<T, ClientError>, Result<Duration, String>)> {
        let (client, engine) = (&self.client, &mut self.engine);
        let mut watch = Watch { closed: None };
        let began = Instant::now();
        let made = std::thread::scope(|scope| {
            let made = scope.spawn(|| order(client));
            while watch.closed.is_none() && began.elapsed() < EFFECT_MAX {
                // The scenario's end of this connection is no loss.
                let lost = engine.lost;
                engine.turn(Duration::from_millis(1), &mut watch)?;
                engine.lost = lost;
                if made.is_finished() && watch.closed.is_none() && began.elapsed() > Duration::from_secs(1) {
                    break;
                }
            }
            made.join().map_err(|_| anyhow::anyhow!("the order's thread failed"))
        })?;
        self.engine.first_error = None;
        let closed = watch.closed.map(|at| at - began);
        Ok((made, closed.ok_or_else(|| format!("{name} was cut off and is still connected"))))
    }
}

/// Sees when the one connection is closed.
struct Watch {
    closed: Option<Instant>,
}

impl Handler for Watch {
    fn packet(&mut self, _number: usize, _link: &mut Link, _first: u8, _body: &[u8], _now_ns: u64) {}

    fn closed(&mut self, _number: usize) {
        self.closed.get_or_insert_with(Instant::now);
    }
}
