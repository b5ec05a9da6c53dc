//! `ravelin ctl`: administers a running node over its control lane.
//!
//! Thin: each subject is a file with its subcommands; [`Ctl`] is the connection and the form of the output. A new subject
//! is a file here and a line in [`Command`] and [`run`].

mod acl;
mod bans;
mod certificates;
mod clients;
mod connection;
mod directory;
pub(super) mod events;
mod firewall;
mod identity;
mod inventory;
mod limits;
mod map;
mod node;
mod outward;
mod record;
pub(super) mod table;
mod tokens;

pub use connection::ConnectionArgs;
use ravelin_console::client::{Client, ClientError};
use ravelin_console::page::Listing;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::process::ExitCode;
use table::Table;
pub use table::plain;

/// The exit code of wrong usage, as clap has it.
const EXIT_USAGE: u8 = 2;
/// The exit code of a node that cannot be reached.
const EXIT_UNREACHABLE: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  ravelin ctl status --dir plant
  ravelin ctl clients list --dir plant --json
  ravelin ctl clients disconnect meter-7 --dir plant
  ravelin ctl ban add client_id:meter-7 --reason stolen --dir plant
  ravelin ctl tokens create prometheus --role viewer --dir plant
  RAVELIN_URL=https://bus:8886 RAVELIN_CA=ca.crt RAVELIN_TOKEN=ravelin_... ravelin ctl status

The node is found by --dir (a deployment that `ravelin init` made; its admin's certificate is used), or by --url with --ca and
a certificate or a token. RAVELIN_DIR, RAVELIN_URL, RAVELIN_CA, RAVELIN_CERT, RAVELIN_KEY and RAVELIN_TOKEN say the same.

Exit codes: 0 done, 1 the node refused, 2 wrong usage, 3 the node cannot be reached.";

/// Administer a running node.
#[derive(clap::Args)]
#[command(arg_required_else_help = true, after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Print JSON instead of a table
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Node(node::Command),
    /// Issue, renew, list and revoke certificates
    Cert(certificates::Args),
    /// See the CA and its revocation list
    Crl(certificates::CrlArgs),
    /// See clients, their sessions and subscriptions; disconnect them
    Clients(clients::Args),
    /// Keep clients out, and let them in again
    Ban(bans::BanArgs),
    /// See failed log-ins and who must wait for them; forget them
    Lockout(bans::LockoutArgs),
    /// See the configured rates, and how often each was exceeded
    #[command(after_help = "Example:\n  ravelin ctl rates --dir plant")]
    Rates,
    /// See what each rung of the accept ladder refused, and what that costs
    #[command(after_help = "Example:\n  ravelin ctl ladder --dir plant")]
    Ladder,
    /// See what the operating system's firewall drops for the node, and how much it has dropped
    #[command(after_help = "Example:\n  ravelin ctl firewall --dir plant")]
    Firewall,
    /// See and change identities, groups, roles and classes
    Directory(directory::Args),
    /// See why a client may do something, and whom new rules would refuse
    Acl(acl::Args),
    /// See the recent events, and those to come
    Events(events::Args),
    /// Give an identity a secret of one-time codes, or take it away
    Identity(identity::Args),
    /// See devices, seen and declared; declare, import, retire them
    Inventory(inventory::Args),
    #[command(flatten)]
    Map(map::Command),
    /// See every limit, and how near the node is to it
    Limits(limits::Args),
    /// See how the record of transmissions is
    Record(record::Args),
    /// See who is told of alarms, actions and events, and whether it arrives
    Outward(outward::Args),
    /// Make, list and revoke API tokens
    Tokens(tokens::Args),
}

/// Where the node is and how to print, for commands beside `ctl`.
#[derive(clap::Args)]
pub struct NodeArgs {
    #[command(flatten)]
    connection: ConnectionArgs,
    /// Print JSON instead of a table
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// The connection, and how to print.
pub struct Ctl {
    pub client: Client,
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    Ok(connected("ctl", &args.connection, args.json, |ctl| match args.command {
        Command::Node(command) => node::run(ctl, command),
        Command::Cert(args) => certificates::run(ctl, args),
        Command::Crl(args) => certificates::run_crl(ctl, args),
        Command::Clients(args) => clients::run(ctl, args),
        Command::Ban(args) => bans::run(ctl, args),
        Command::Lockout(args) => bans::run_lockout(ctl, args),
        Command::Rates => bans::run_rates(ctl),
        Command::Ladder => bans::run_ladder(ctl),
        Command::Firewall => firewall::run(ctl),
        Command::Directory(args) => directory::run(ctl, args),
        Command::Acl(args) => acl::run(ctl, args),
        Command::Events(args) => events::run(ctl, args),
        Command::Identity(args) => identity::run(ctl, args),
        Command::Inventory(args) => inventory::run(ctl, args),
        Command::Map(command) => map::run(ctl, command),
        Command::Limits(args) => limits::run(ctl, args),
        Command::Record(args) => record::run(ctl, args),
        Command::Outward(args) => outward::run(ctl, args),
        Command::Tokens(args) => tokens::run(ctl, args),
    }))
}

impl NodeArgs {
    /// Does `work` on the node, for `ravelin COMMAND`; the exit codes are those of `ctl`.
    pub fn run(
        &self,
        command: &str,
        work: impl FnOnce(&Ctl) -> Result<(), ClientError>,
    ) -> anyhow::Result<ExitCode> {
        Ok(connected(command, &self.connection, self.json, work))
    }
}

fn connected(
    command: &str,
    connection: &ConnectionArgs,
    json: bool,
    work: impl FnOnce(&Ctl) -> Result<(), ClientError>,
) -> ExitCode {
    let client = connection.target().and_then(|target| Client::new(&target));
    match client.and_then(|client| work(&Ctl { client, json })) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ravelin {command}: {}", plain(&error.to_string()));
            ExitCode::from(match error {
                ClientError::Usage(_) => EXIT_USAGE,
                ClientError::Unreachable { .. } => EXIT_UNREACHABLE,
                _ => 1,
            })
        }
    }
}

impl Ctl {
    /// Prints a value: as JSON, or as `table` shows it.
    pub fn print<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> Table) {
        if self.json {
            println!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
        } else {
            print!("{}", table(value));
        }
    }

    /// Prints a value: as JSON, or as the text that `text` makes of it.
    pub fn print_text<T: Serialize>(&self, value: &T, text: impl FnOnce(&T) -> String) {
        if self.json {
            println!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
        } else {
            print!("{}", text(value));
        }
    }

    /// Whether JSON is to be printed.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Says that an order was carried out.
    pub fn done(&self, what: &str) {
        if self.json {
            println!("{}", serde_json::json!({ "done": what }));
        } else {
            println!("{}", plain(what));
        }
    }

    /// All items of a list, page by page; at most `max` of them.
    pub fn all<T: DeserializeOwned>(&self, path: &str, max: usize) -> Result<Vec<T>, ClientError> {
        let separator = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut after) = (Vec::new(), String::new());
        loop {
            let limit = (max - items.len()).clamp(1, 1000);
            let page: Listing<T> = self.client.get(&format!("{path}{separator}limit={limit}{after}"))?;
            items.extend(page.items);
            match page.next {
                Some(next) if items.len() < max => after = format!("&after={next}"),
                _ => return Ok(items),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn leaves(command: &clap::Command, path: &str, found: &mut Vec<(String, String)>) {
        if command.get_subcommands().next().is_none() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            found.push((path.into(), help));
        }
        for sub in command.get_subcommands() {
            leaves(sub, &format!("{path} {}", sub.get_name()), found);
        }
    }

    #[test]
    fn every_command_is_well_formed_and_has_an_example() {
        Line::command().debug_assert();
        let mut found = Vec::new();
        leaves(&Line::command(), "ravelin ctl", &mut found);
        assert!(found.len() > 10);
        for (path, help) in found {
            assert!(help.contains(&path), "`{path}` has no example of itself");
        }
    }
}
