//! `cargo xtask demo`: the energy provider's test lab on a broker that was set up a moment ago.
//!
//! Ten steps with five clients, each a process of its own with its own certificate, and two attempts that must fail. The
//! devices are played here: what one applies or measures follows from what it received, so that a lost, altered or
//! misdirected message ends the story. Then the tablet's certificate is revoked while it is connected, and the record is
//! verified. In the end a drill attacks the lab, and each attack is stopped or alarmed by a named check.

mod attacked;
mod broker;
mod client;
mod lab;
mod matrix;
mod stolen;
mod story;
mod ticket;

use crate::command::{build_release, root};
use broker::Broker;
use client::Client;
use matrix::Matrix;
use std::path::PathBuf;
use std::time::Instant;
use story::Story;

/// What the command takes.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask demo
  cargo xtask demo --keep lab        leave the deployment in ./lab

Exit status: 0 if all ten steps happened in order, both attempts were refused, a revoked certificate was worth nothing
at once, and every attack of the drill was stopped or alarmed.")]
pub struct Args {
    /// Create the deployment here and leave it; otherwise it is in a temporary directory and deleted.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Run this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// The scenario's clients, in the order in which the note names them.
const CLIENTS: [&str; 5] = ["tablet", "power-supply", "smart-meter", "dms", "capacitor-bank"];

/// Runs the command; tells whether all held.
pub fn run(args: &Args) -> anyhow::Result<bool> {
    let mut story = Story::new();
    story.title("The energy provider's test lab", "MQTT and the NIST Cybersecurity Framework, Appendix A");
    let binary = match &args.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => {
            story.note("building the release binary; the first time takes some minutes");
            build_release()?
        }
    };

    let started = Instant::now();
    story.chapter("Setting up");
    let matrix = Matrix::load(&root().join("framework/scenarios/energy-provider/access.acl"))?;
    let mut broker = Broker::create(&binary, args.keep.as_deref(), &mut story)?;
    for name in CLIENTS {
        broker.add_client(name, &matrix, &mut story)?;
    }
    broker.serve(&mut story)?;
    let clients = CLIENTS.map(|name| Client::start(&broker, name, matrix.subscribes(name)));
    let [tablet, power_supply, smart_meter, dms, capacitor_bank] = clients;
    let mut bench = lab::Bench {
        tablet: tablet?,
        power_supply: power_supply?,
        smart_meter: smart_meter?,
        dms: dms?,
        capacitor_bank: capacitor_bank?,
    };
    story.fact(
        "subscribers",
        "connected, each with its own certificate; the meter connects when it has a reading",
    );

    story.chapter("The ten steps");
    let steps = bench.play(&mut story);
    let attempts = match steps.outcome {
        Ok(()) => {
            story.chapter("Two attempts that must fail");
            bench.attack(&broker, &mut story)
        }
        Err(error) => lab::Held { count: 0, outcome: Err(error) },
    };
    let stolen = match attempts.outcome {
        Ok(()) => {
            story.chapter("The tablet is stolen");
            stolen::play(&bench, &broker, &mut story)
        }
        Err(error) => lab::Held { count: 0, outcome: Err(error) },
    };
    let attacked = match stolen.outcome {
        Ok(()) => {
            story.chapter("The lab under attack");
            attacked::play(&bench, &broker, &mut story)
        }
        Err(error) => lab::Held { count: 0, outcome: Err(error) },
    };
    drop(bench);
    let stopped = broker.stop();

    let failure = attacked.outcome.and(stopped).err();
    let summary = format!(
        "{} of {} steps in order, {} of {} attempts refused, {} of {} parts of the revocation held, {} of {} attacks \
         stopped or alarmed, in {:.1} s",
        steps.count,
        lab::STEPS,
        attempts.count,
        lab::ATTEMPTS,
        stolen.count,
        stolen::PARTS,
        attacked.count,
        attacked::ATTACKS,
        started.elapsed().as_secs_f64()
    );
    match &failure {
        None => story.success(&summary),
        Some(error) => story.failure(&summary, error),
    }
    Ok(failure.is_none())
}
