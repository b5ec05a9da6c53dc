//! Orders under load: how long each action takes from its request until it is so, with the data plane idle and saturated.
//!
//! A disconnect, a ban and a quarantine of a client count until the client's socket is closed, or until the node answers if it stays
//! connected; the others until the node answers, which is when every shard goes by them and the order is on disk: an upper
//! bound. Each order is taken back before the next. Two people are needed for nothing here: who calls must be an operator,
//! and the policies of the actions as they are shipped.

use super::args::TargetArgs;
use super::control::{BETWEEN, ControlArgs, Lane, report_flood, saturated_by};
use super::engine::Engine;
use super::histogram::Histogram;
use super::phases::{disconnect_all, rest};
use super::process::BrokerProcess;
use super::report::{Report, duration};
use super::version_name;
use crate::commands::ctl::ConnectionArgs;
use ravelin_console::api::orders::{OrderItem, OrderRequest};
use ravelin_console::client::{Client, ClientError};
use ravelin_respond::{Action, Direction, Frozen, Posture, Retained};
use serde_json::json;
use std::time::{Duration, Instant};

/// What the 99th percentile shall stay below.
const GOAL: Duration = Duration::from_millis(100);

/// One action, and how what it measured is called.
struct Measured {
    idle: &'static str,
    saturated: &'static str,
    label: &'static str,
    labels: [&'static str; 2],
    /// Whether the client's socket is closed by it.
    closes: bool,
    action: fn(&str) -> Action,
}

const ACTIONS: [Measured; 6] = [
    Measured {
        idle: "idle_disconnect_us",
        saturated: "saturated_disconnect_us",
        label: "disconnect",
        labels: ["disconnect, idle", "disconnect, saturated"],
        closes: true,
        action: |name| Action::Disconnect { client_id: name.into() },
    },
    Measured {
        idle: "idle_ban_us",
        saturated: "saturated_ban_us",
        label: "ban",
        labels: ["ban, idle", "ban, saturated"],
        closes: true,
        action: |name| Action::Ban { subject: format!("client_id:{name}").into() },
    },
    Measured {
        idle: "idle_quarantine_us",
        saturated: "saturated_quarantine_us",
        label: "quarantine",
        labels: ["quarantine, idle", "quarantine, saturated"],
        closes: false,
        action: |name| Action::Quarantine { client_id: name.into() },
    },
    Measured {
        idle: "idle_throttle_us",
        saturated: "saturated_throttle_us",
        label: "throttle",
        labels: ["throttle, idle", "throttle, saturated"],
        closes: false,
        action: |name| Action::Throttle { client_id: name.into(), messages_per_s: 1 },
    },
    Measured {
        idle: "idle_freeze_us",
        saturated: "saturated_freeze_us",
        label: "freeze",
        labels: ["freeze, idle", "freeze, saturated"],
        closes: false,
        action: |name| Action::Freeze {
            filter: format!("{name}/#").into(),
            messages: Frozen::Drop,
            direction: Direction::Both,
            retained: Retained::Withhold,
        },
    },
    Measured {
        idle: "idle_posture_us",
        saturated: "saturated_posture_us",
        label: "posture",
        labels: ["posture, idle", "posture, saturated"],
        closes: false,
        action: |_| Action::Posture { level: Posture::Elevated },
    },
];

/// What one state of the data plane gave: one histogram an action.
#[derive(Default)]
struct Figures {
    took: [Histogram; ACTIONS.len()],
    failed: Vec<String>,
}

/// Runs the scenario.
pub fn run(target: &TargetArgs, args: &ControlArgs) -> anyhow::Result<Report> {
    let target = target.resolve()?;
    super::args::raise_open_files();
    let broker = BrokerProcess::new(target.broker_pid);
    let connection = ConnectionArgs {
        dir: args.dir.clone(),
        url: args.url.clone(),
        timeout: 60,
        ..ConnectionArgs::default()
    };
    let mut lane = Lane::open(Client::new(&connection.target()?)?, &target)?;
    let mut report = Report::new("respond");
    report.text("mqtt", "MQTT", version_name(&target));
    rest(&mut Engine::new(target.clone())?, broker, Duration::from_secs(3))?;
    let idle = measure(&mut lane, args.duration)?;
    let (flooded, (measured, lost)) =
        saturated_by(&target, broker, args, || measure(&mut lane, args.duration))?;
    for (at, one) in ACTIONS.iter().enumerate() {
        report.latency(one.idle, one.labels[0], &idle.took[at]);
        report.latency(one.saturated, one.labels[1], &flooded.took[at]);
        for (state, histogram) in [("idle", &idle.took[at]), ("saturated", &flooded.took[at])] {
            let p99 = Duration::from_nanos(histogram.quantile(0.99));
            if p99 > GOAL {
                let (p99, goal) = (duration(p99.as_micros() as f64), duration(GOAL.as_micros() as f64));
                let what =
                    format!("{state}, the 99th percentile of {} is {p99}; the goal is {goal}", one.label);
                report.fault(what);
            }
        }
    }
    report_flood(&mut report, broker, &measured);
    for what in idle.failed.into_iter().chain(flooded.failed) {
        report.fault(what);
    }
    report.fault_count(lost, "connections of the flood were lost");
    super::report_engine(&mut report, &lane.engine, broker);
    Ok(report)
}

/// All actions in turn, for `time`.
fn measure(lane: &mut Lane, time: Duration) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    let until = Instant::now() + time;
    while Instant::now() < until && figures.failed.is_empty() {
        for (at, one) in ACTIONS.iter().enumerate() {
            match order(lane, one)? {
                Ok(took) => figures.took[at].record(took.as_nanos() as u64),
                Err(why) => figures.failed.push(why),
            }
            std::thread::sleep(BETWEEN);
        }
    }
    disconnect_all(&mut lane.engine)?;
    Ok(figures)
}

/// Orders an action about a client of its own, and takes it back; how long it took.
fn order(lane: &mut Lane, one: &Measured) -> anyhow::Result<Result<Duration, String>> {
    let name = lane.connect()?;
    let request = OrderRequest {
        action: (one.action)(&name),
        duration: None,
        why: "ravelin bench respond".into(),
        alarm: None,
        override_never_cut: false,
    };
    let make = |client: &Client| client.call::<OrderItem>("POST", "/v1/orders", &request);
    let began = Instant::now();
    let (made, took): (Result<OrderItem, ClientError>, Duration) = if one.closes {
        match lane.until_closed(&name, make)? {
            (made, Ok(took)) => (made, took),
            (Ok(_), Err(why)) => return Ok(Err(why)),
            (Err(error), _) => return Ok(Err(format!("{} failed: {error}", one.label))),
        }
    } else {
        (make(&lane.client), began.elapsed())
    };
    let order = match made {
        Ok(order) => order,
        Err(error) => return Ok(Err(format!("{} failed: {error}", one.label))),
    };
    if order.action.has_undo() {
        let path = format!("/v1/orders/{}/undo", order.id);
        lane.client.call::<OrderItem>("POST", &path, &json!({}))?;
    }
    Ok(Ok(took))
}
