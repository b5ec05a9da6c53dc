//! `ravelin client`: adds, lists and removes clients of a deployment.

mod add;
mod list;
mod remove;
mod rules;

use std::path::PathBuf;
use std::process::ExitCode;

/// Add, list and remove clients: certificates, passwords, access rules.
#[derive(clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  ravelin client add meter-7 --dir plant --publish 'meters/meter-7/#'
  ravelin client add tablet --dir plant --password --subscribe 'meters/+/reading'
  ravelin client list --dir plant
  ravelin client remove meter-7 --dir plant"
)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Add(add::Args),
    List(list::Args),
    Remove(remove::Args),
}

/// Where the deployment is.
#[derive(clap::Args)]
pub struct Dir {
    /// The deployment that `ravelin init` made.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Add(args) => add::run(args),
        Command::List(args) => list::run(args),
        Command::Remove(args) => remove::run(args),
    }
}
