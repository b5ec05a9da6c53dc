//! What proves an identity of the directory, beyond a password.

use super::Ctl;
use super::table::Table;
use ravelin_console::api::directory::totp::TotpEnrolled;
use ravelin_console::client::{ClientError, segment};

/// Give an identity a secret of one-time codes, or take it away.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a secret of one-time codes; its otpauth URI is shown this once, and one that was there is good no more
    #[command(after_help = "\
Examples:
  ravelin ctl identity totp meter-7 --dir plant
  ravelin ctl identity totp meter-7 --json --dir plant | jq -r .uri | qrencode -t ansiutf8
  ravelin ctl identity totp meter-7 --remove --dir plant")]
    Totp {
        /// The identity
        name: String,
        /// Take the secret away instead
        #[arg(long)]
        remove: bool,
    },
}

/// Runs the command.
pub fn run(ctl: &Ctl, args: Args) -> Result<(), ClientError> {
    let Command::Totp { name, remove } = args.command;
    let path = format!("/v1/directory/identities/{}/totp", segment(&name));
    if remove {
        ctl.client.order_plain("DELETE", &path)?;
        ctl.done(&format!("{name} has no secret of one-time codes any more"));
        return Ok(());
    }
    let enrolled: TotpEnrolled = ctl.client.call("POST", &path, &())?;
    ctl.print(&enrolled, |enrolled| {
        let mut table = Table::pairs();
        table.pair("uri", &enrolled.uri);
        table.pair("secret", &enrolled.secret);
        table.pair("", "It is shown this once. Whoever has it can make codes.");
        table
    });
    Ok(())
}
