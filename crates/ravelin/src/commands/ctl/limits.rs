//! Every limit, and how near the node is to it.

use super::Ctl;
use super::table::{Table, or_dash};
use ravelin_console::api::limits::Limit;
use ravelin_console::client::ClientError;

/// See every limit, and how near the node is to it.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ravelin ctl limits --dir plant\n  ravelin ctl limits --used --dir plant"
)]
pub struct Args {
    /// Only limits of which something is used, or that refused something
    #[arg(long)]
    used: bool,
}

/// Runs the command.
pub fn run(ctl: &Ctl, args: Args) -> Result<(), ClientError> {
    let mut all: Vec<Limit> = ctl.client.get("/v1/limits")?;
    all.retain(|one| !args.used || one.used.unwrap_or(0) > 0 || one.refused.unwrap_or(0) > 0);
    ctl.print(&all, |all| {
        let row = |one: &Limit| {
            [one.name.clone(), one.configured.clone(), or_dash(&one.used), or_dash(&one.refused)]
        };
        Table::new(&["LIMIT", "SET TO", "USED", "REFUSED"]).with(all.iter().map(row))
    });
    Ok(())
}
