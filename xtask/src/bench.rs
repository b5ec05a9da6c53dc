//! `cargo xtask bench`: Ravelin beside Mosquitto in one run, in ratios.
//!
//! The broker is pinned to one core and the generator to another; figures are per second of broker CPU time, so that
//! what else the machine does matters little. A scenario is run against both brokers in turn, several times; the table
//! shows the median of each and their ratio.

use crate::command::{build_release, shown, works};
use anyhow::{Context, bail};
use serde_json::Value;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Compare Ravelin with Mosquitto on this machine.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask bench --runs 3 pairs fan-out\n  cargo xtask bench --cost --runs 5\n  cargo xtask bench --detection --runs 5"
)]
pub struct Args {
    /// How often each scenario is run against each broker.
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
    /// Seconds that each run measures.
    #[arg(long, default_value_t = 3)]
    duration: u32,
    /// Measure what Protect and Identify cost instead: Ravelin bare and with everything on.
    #[arg(long)]
    cost: bool,
    /// Measure what detection costs with 10,000 active clients: the same node with it and without.
    #[arg(long, conflicts_with = "cost")]
    detection: bool,
    /// Another build of `ravelin`, bare, as a further column of --cost.
    #[arg(long, value_name = "FILE", requires = "cost")]
    pub baseline: Option<PathBuf>,
    /// Only scenarios whose name contains one of these.
    names: Vec<String>,
}

/// A line of the table.
pub struct Scenario {
    pub name: &'static str,
    /// Arguments of `ravelin bench`.
    arguments: &'static str,
    /// The figure in its JSON.
    figure: &'static str,
    pub unit: &'static str,
    /// More is better.
    more: bool,
    /// `--duration` is understood.
    timed: bool,
}

/// What detection is measured with: 10,000 clients that all do something all the time.
pub const ACTIVE: [Scenario; 2] = [
    rate("5,000 pairs QoS 0", "pairs --pairs 5000"),
    rate("5,000 pairs QoS 1", "pairs --pairs 5000 --qos 1"),
];

const fn rate(name: &'static str, arguments: &'static str) -> Scenario {
    let figure = "delivered_per_broker_cpu_s";
    Scenario { name, arguments, figure, unit: "deliveries/CPU s", more: true, timed: true }
}

const fn stored(
    name: &'static str,
    arguments: &'static str,
    figure: &'static str,
    unit: &'static str,
) -> Scenario {
    Scenario { name, arguments, figure, unit, more: false, timed: false }
}

const SCENARIOS: &[Scenario] = &[
    rate("pairs QoS 0", "pairs"),
    rate("pairs QoS 1", "pairs --qos 1"),
    rate("pairs QoS 2", "pairs --qos 2"),
    rate("pairs QoS 0, MQTT 5.0", "pairs --mqtt 5"),
    rate("pairs QoS 0, 1 KiB", "pairs --size 1024"),
    rate("fan-in", "fan-in"),
    rate("fan-out to 50", "fan-out"),
    rate("fan-out to 500", "fan-out --subs 500"),
    rate("exchange", "exchange"),
    rate("one message at a time", "pairs --pairs 1 --window 1"),
    Scenario {
        name: "publish among 1 million subscriptions",
        arguments: "subs --subscriptions 1000000",
        figure: "broker_cpu_us_per_publish",
        unit: "CPU us",
        more: false,
        timed: true,
    },
    stored("queueing for offline sessions", "queue", "queue_broker_cpu_us", "CPU us/message"),
    stored("draining the queues", "queue", "drain_broker_cpu_us", "CPU us/message"),
    stored("retained by wildcard", "retained", "fetch_broker_cpu_us", "CPU us/message"),
    stored("idle connection", "idle --connections 10000", "bytes_per_connection", "bytes"),
    Scenario {
        name: "connect and disconnect",
        arguments: "churn",
        figure: "connect_broker_cpu_us",
        unit: "CPU us",
        more: false,
        timed: true,
    },
];

pub fn run(args: &Args) -> anyhow::Result<bool> {
    for (program, arguments) in [("mosquitto", &["-h"][..]), ("taskset", &["--version"])] {
        // Mosquitto's help exits with a failure; that it ran at all is what counts.
        if Command::new(program).args(arguments).output().is_err() {
            bail!("{program} is missing: apt-get install mosquitto util-linux");
        }
    }
    if !works("taskset", ["-c", "1", "true"]) {
        bail!("the comparison needs two cores: one for the broker, one for the generator");
    }
    if args.cost {
        return crate::cost::run(args);
    }
    if args.detection {
        return crate::cost::detection(args);
    }
    let binary = build_release()?;
    println!("| scenario | Mosquitto | Ravelin | unit | ratio |\n|---|---:|---:|---|---:|");
    for scenario in args.chosen(&[]) {
        compare(&binary, scenario, args)?;
    }
    Ok(true)
}

impl Args {
    /// The scenarios that were asked for, of those with one of `names` (none: of all).
    pub fn chosen<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'static Scenario> + 'a {
        let asked =
            |name: &str| self.names.is_empty() || self.names.iter().any(|part| name.contains(&**part));
        let within = |name: &str| names.is_empty() || names.contains(&name);
        SCENARIOS.iter().filter(move |scenario| asked(scenario.name) && within(scenario.name))
    }
}

fn compare(binary: &Path, scenario: &Scenario, args: &Args) -> anyhow::Result<()> {
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..args.runs.max(1) {
        theirs.push(measure(binary, Broker::mosquitto()?, scenario, args)?);
        ours.push(measure(binary, Broker::ravelin(binary)?, scenario, args)?);
    }
    let (theirs, ours) = (median(theirs), median(ours));
    let ratio = if scenario.more { ours / theirs } else { theirs / ours };
    let digits = if theirs.min(ours) < 100.0 { 2 } else { 0 };
    println!("| {} | {theirs:.digits$} | {ours:.digits$} | {} | {ratio:.1} |", scenario.name, scenario.unit);
    Ok(())
}

pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

pub fn measure(binary: &Path, broker: Broker, scenario: &Scenario, args: &Args) -> anyhow::Result<f64> {
    let mut command = Command::new("taskset");
    command.args(["-c", "1"]).arg(binary).arg("bench").args(scenario.arguments.split(' '));
    if scenario.timed {
        command.args(["--duration", &args.duration.to_string()]);
    }
    command.args(["--port", &broker.port.to_string()]);
    command.args(["--broker-pid", &broker.child.id().to_string(), "--json"]);
    let output = command.stderr(Stdio::inherit()).output().context("failed to run the generator")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let json: Value = serde_json::from_str(text.trim())
        .with_context(|| format!("{} printed no JSON: {text}", shown(&command)))?;
    json[scenario.figure]
        .as_f64()
        .with_context(|| format!("{} did not measure {}", shown(&command), scenario.figure))
}

/// A broker of its own for every run, pinned to the first core.
pub struct Broker {
    child: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Broker {
    fn mosquitto() -> anyhow::Result<Broker> {
        let (directory, port) = place()?;
        let file = directory.path().join("mosquitto.conf");
        // Without its limit on queued messages, which would drop what is measured.
        std::fs::write(
            &file,
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"),
        )?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0", "mosquitto", "-c"]).arg(&file);
        Broker::start(command, directory, port)
    }

    pub fn ravelin(binary: &Path) -> anyhow::Result<Broker> {
        let (directory, port) = place()?;
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]).arg(binary).args(["serve", "--workers", "1", "--dangerous-open"]);
        command.arg(format!("127.0.0.1:{port}")).arg("--data").arg(directory.path().join("data"));
        Broker::start(command, directory, port)
    }

    pub fn start(mut command: Command, directory: tempfile::TempDir, port: u16) -> anyhow::Result<Broker> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("failed to run {}", shown(&command)))?;
        let broker = Broker { child, port, directory };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > until {
                bail!("{} does not listen on port {port}", shown(&command));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(broker)
    }
}

pub fn place() -> anyhow::Result<(tempfile::TempDir, u16)> {
    let directory = tempfile::tempdir().context("failed to make a temporary directory")?;
    let port = TcpListener::bind("127.0.0.1:0").context("no free port")?.local_addr()?.port();
    Ok((directory, port))
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Both brokers write what they have to disk when they are asked to stop; nobody needs that here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = &self.directory;
    }
}
