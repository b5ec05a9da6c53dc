//! Project commands: `cargo xtask test`, `demo`, `sbom`, `soak`.

mod bench;
mod command;
mod cost;
mod demo;
mod prerequisites;
mod sbom;
mod soak;
mod test;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Commands for working on Ravelin.
#[derive(Parser)]
#[command(name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check and every test, as CI does; installs what the tests need.
    Test(test::Args),
    /// Run the energy provider's scenario with five clients over mutual TLS, and say whether all held.
    Demo(demo::Args),
    /// Compare Ravelin's speed and memory with Mosquitto's on this machine.
    Bench(bench::Args),
    /// Write the software bill of materials of the default build again, after a dependency has changed.
    Sbom(sbom::Args),
    /// Run the open-ended tests for hours: simulation, crashes, fuzzing.
    Soak(soak::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Test(args) => test::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Sbom(args) => sbom::run(&args),
        Command::Soak(args) => soak::run(&args),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
