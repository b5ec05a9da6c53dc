//! The agent that `serve` starts where `[firewall]` is enabled. Nobody calls it by hand.

use ravelin_node::config::Network;
use ravelin_node::firewall::{Duties, serve_agent};
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
    /// A network that is never dropped
    #[arg(long, value_parser = network)]
    never: Vec<Network>,
    /// The user to become
    #[arg(long)]
    user: Option<String>,
    /// Leave the table when the node has ended
    #[arg(long)]
    leave: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { table, nft, never, user, leave } = args;
    serve_agent(&Duties { table, nft, leave, never, user })?;
    Ok(ExitCode::SUCCESS)
}

fn network(text: &str) -> Result<Network, String> {
    text.parse().map_err(|()| format!("{text:?} is not a network"))
}
