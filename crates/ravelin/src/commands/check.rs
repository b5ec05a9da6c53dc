//! Not written yet.

use std::process::ExitCode;

/// What the command takes.
#[derive(clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("this command is not written yet")
}
