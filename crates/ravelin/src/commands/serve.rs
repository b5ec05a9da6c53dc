//! `ravelin serve`: runs the broker until it is told to stop.

use anyhow::Context;
use ravelin_console::Console;
use ravelin_event::Event;
use ravelin_node::config::{Config, ConfigErrors};
use ravelin_node::control::FENCED_FILE;
use ravelin_node::{Caught, Error, Node, Sandbox, firewall, run as run_node};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What the command takes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The configuration: a file, or a directory that `ravelin init` made.
    #[arg(
        value_name = "CONFIG|DIR",
        conflicts_with = "dangerous_open",
        required_unless_present = "dangerous_open"
    )]
    config: Option<PathBuf>,

    /// How many worker threads serve clients; 0 is one for each core. Overrides the configuration.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=i64::from(ravelin_broker::SHARDS_MAX)))]
    workers: Option<u16>,

    /// Everyone may do everything, unencrypted, on this loopback address. For test suites and benchmarks.
    #[arg(long, value_name = "ADDR:PORT")]
    dangerous_open: Option<SocketAddr>,

    /// The node was stopped by an order (`ravelin respond stop-node`): let it serve again, and say why. It is recorded.
    #[arg(long, value_name = "WHY", conflicts_with = "dangerous_open")]
    release_fence: Option<String>,

    /// Where `--dangerous-open` keeps its state; without it, nothing is kept.
    #[arg(long, value_name = "DIR", requires = "dangerous_open")]
    data: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  ravelin serve plant                                     run the deployment in ./plant
  ravelin serve /etc/ravelin/ravelin.toml --workers 4     with four worker threads
  ravelin serve --dangerous-open 127.0.0.1:1883           open to this machine, for tests

SIGHUP reads configuration, certificates, rules and passwords again; SIGTERM and SIGINT stop in order.

Exit codes: 0 stopped in order, 1 failed, 2 wrong usage, 78 stopped by an order and not released (--release-fence): starting
again does not help, and whatever supervises the node leaves it alone.";

/// Of a node that an order has stopped. As EX_CONFIG of sysexits.h, it tells a supervisor that the same start fails the same way;
/// `RestartPreventExitStatus=` of the systemd unit names it.
const EXIT_FENCED: u8 = 78;

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    report_panics_on_one_line();
    if let Some(address) = args.dangerous_open {
        return serve_open(address, args.data, args.workers.unwrap_or(0));
    }
    let path = args.config.context("a configuration is needed")?;
    let workers = args.workers;
    let load = move || load(&path, workers);
    let config = load()?;
    let released = args.release_fence.map(|why| release(&config, why)).transpose()?;
    // It keeps a right that the node gives up now.
    let firewall = firewall::Agent::start(&config);
    // Before anything starts a thread.
    let sandbox = Sandbox::enter(&config)?;
    let caught = Caught::new()?;
    let node = match Node::start(config) {
        Err(error @ Error::Fenced { .. }) => {
            eprintln!("ravelin: {error}");
            return Ok(ExitCode::from(EXIT_FENCED));
        }
        started => started?,
    };
    node.control().attach_firewall(firewall);
    if let Some(event) = released {
        node.control().emit(event);
    }
    // It answers until the node has stopped, and says then that it has.
    let _console = match Console::start(node.control()) {
        Ok(console) => console,
        Err(error) => {
            node.shutdown()?;
            return Err(error.into());
        }
    };
    close(sandbox, &node)?;
    run_node(node, caught, load)?;
    Ok(ExitCode::SUCCESS)
}

/// Takes the mark away that an order has left; what it said goes to the log and the record.
fn release(config: &Config, why: String) -> anyhow::Result<Event> {
    let data = config.node.data.as_ref().context("a node without `data` is never stopped for good")?;
    let mark = data.join(FENCED_FILE);
    let state = std::fs::read_to_string(&mark)
        .with_context(|| format!("the node was not stopped by an order: there is no {}", mark.display()))?;
    anyhow::ensure!(!why.trim().is_empty(), "--release-fence takes a reason");
    std::fs::remove_file(&mark).with_context(|| format!("failed to remove {}", mark.display()))?;
    Ok(Event::Released { why, state: state.trim().into() })
}

/// Everything is open: from here on only what a node must do is allowed.
fn close(sandbox: Sandbox, node: &Node) -> anyhow::Result<()> {
    if let Some(event) = sandbox.close()? {
        node.control().emit(event);
    }
    Ok(())
}

fn load(path: &Path, workers: Option<u16>) -> Result<Config, ConfigErrors> {
    let mut config = Config::load(path)?;
    if let Some(workers) = workers {
        config.node.workers = usize::from(workers);
    }
    Ok(config)
}

fn serve_open(address: SocketAddr, data: Option<PathBuf>, workers: u16) -> anyhow::Result<ExitCode> {
    let load = move || Config::dangerous_open(address, data.clone(), usize::from(workers));
    let config = load()?;
    eprintln!("WARNING: --dangerous-open: no encryption, no authentication, no access rules.");
    eprintln!(
        "WARNING: everyone on this machine may read and write everything. For tests and benchmarks only."
    );
    let sandbox = Sandbox::enter(&config)?;
    let caught = Caught::new()?;
    let node = Node::start(config)?;
    close(sandbox, &node)?;
    run_node(node, caught, load)?;
    Ok(ExitCode::SUCCESS)
}

/// A panic that was contained is an event in the log; here it leaves one line with its place, in which nothing that a
/// client sent can start another line.
fn report_panics_on_one_line() {
    std::panic::set_hook(Box::new(|info| {
        let what = info.payload_as_str().unwrap_or("panic").escape_debug();
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        // There is nowhere to tell that standard error is gone.
        let _ = writeln!(std::io::stderr(), "internal error at {place}: {what}");
    }));
}
