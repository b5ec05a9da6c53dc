//! Who is told of alarms, actions and events.

use super::Ctl;
use super::table::Table;
use ravelin_console::api::outward::{Destination, Destinations};
use ravelin_console::client::{ClientError, segment};

/// See who is told of alarms, actions and events, and whether it arrives.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ravelin ctl outward --dir plant\n  ravelin ctl outward list --dir plant --json\n  ravelin ctl outward test siem --dir plant"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// All of them: what waits, what has arrived, what has failed
    #[command(after_help = "Example:\n  ravelin ctl outward list --dir plant")]
    List,
    /// Send a test to one of them, and wait until it has arrived
    #[command(after_help = "Example:\n  ravelin ctl outward test siem --dir plant")]
    Test {
        /// Its name in the configuration
        name: String,
    },
}

/// Runs the command.
pub fn run(ctl: &Ctl, args: Args) -> Result<(), ClientError> {
    match args.command.unwrap_or(Command::List) {
        Command::List => {
            let all: Destinations = ctl.client.get("/v1/outward")?;
            ctl.print(&all, |all| all.items.iter().fold(table(), |table, one| table.with([row(one)])));
        }
        Command::Test { name } => {
            let path = format!("/v1/outward/{}/test", segment(&name));
            let arrived: Destination = ctl.client.call("POST", &path, &())?;
            ctl.print(&arrived, |one| table().with([row(one)]));
        }
    }
    Ok(())
}

fn table() -> Table {
    Table::new(&[
        "NAME", "KIND", "STATE", "WAITING", "OLDEST", "SENT", "FAILED", "DROPPED", "TARGET", "ERROR",
    ])
}

fn row(one: &Destination) -> [String; 10] {
    [
        one.name.clone(),
        one.kind.clone(),
        one.state.clone(),
        one.waiting.to_string(),
        format!("{} s", one.oldest_ms / 1000),
        one.sent.to_string(),
        one.failed.to_string(),
        (one.dropped + one.refused).to_string(),
        one.target.clone(),
        one.error.clone().unwrap_or_else(|| "-".into()),
    ]
}
