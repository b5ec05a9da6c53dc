//! The record of transmissions, as the running node has it.

use super::Ctl;
use super::table::Table;
use ravelin_console::api::record::RecordStatus;
use ravelin_console::client::ClientError;

/// See how the record of transmissions is; `ravelin audit` shows and verifies what is in it.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ravelin ctl record --dir plant\n  ravelin ctl record status --dir plant --json"
)]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// How it is: entries, signatures, size, whether it is written
    #[command(after_help = "Example:\n  ravelin ctl record status --dir plant")]
    Status,
}

/// Runs the command.
pub fn run(ctl: &Ctl, args: Args) -> Result<(), ClientError> {
    let Command::Status = args.command.unwrap_or(Command::Status);
    let status: RecordStatus = ctl.client.get("/v1/record")?;
    ctl.print(&status, |status| {
        let rows = [
            ["record", &status.record],
            ["entries", &format!("{} to {}", status.first, status.last)],
            ["signed", &format!("up to {}", status.signed)],
            ["head", &status.head],
            ["key", &status.key_fingerprint],
            ["size", &format!("{} bytes in {} segments", status.bytes, status.segments)],
            ["lost", &status.lost.to_string()],
            ["refusing", if status.refusing { "yes" } else { "no" }],
            ["failure", status.failure.as_deref().unwrap_or("-")],
        ]
        .map(|row| row.map(str::to_owned));
        Table::pairs().with(rows)
    });
    Ok(())
}
