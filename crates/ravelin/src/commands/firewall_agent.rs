//! The agent that `serve` starts where `[firewall]` is enabled. Nobody calls it by hand.

use std::path::PathBuf;
use std::process::ExitCode;

/// What the command takes.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  `ravelin serve` starts it where `[firewall] enabled = true`.")]
pub struct Args {
    /// The table that it may change
    #[arg(long)]
    table: String,
    /// The program
    #[arg(long)]
    nft: PathBuf,
    /// Leave the table when the node has ended
    #[arg(long)]
    leave: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    ravelin_node::firewall::serve_agent(&args.table, &args.nft, args.leave)?;
    Ok(ExitCode::SUCCESS)
}
