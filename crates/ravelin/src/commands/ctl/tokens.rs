//! API tokens.

use super::Ctl;
use super::table::{Table, time};
use ravelin_console::api::tokens::{TokenCreated, TokenRequest};
use ravelin_console::client::{ClientError, segment};
use ravelin_console::tokens::Token;
use ravelin_node::control::Role;

/// Make, list and revoke API tokens.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Make a token; it is shown this once
    #[command(
        after_help = "Example:\n  ravelin ctl tokens create prometheus --role viewer --expires-in 365d --dir plant"
    )]
    Create {
        /// What it is for
        name: String,
        /// What it may do
        #[arg(long, value_parser = ["viewer", "operator", "admin"])]
        role: String,
        /// How long it lasts: 12h, 30d [default: 90d]
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<String>,
    },
    /// All tokens, without what proves them
    #[command(after_help = "Example:\n  ravelin ctl tokens list --dir plant")]
    List,
    /// Revoke a token: the next request with it is refused
    #[command(after_help = "Example:\n  ravelin ctl tokens revoke 3f9ab0c1d2e4 --dir plant")]
    Revoke {
        /// Its id
        id: String,
    },
}

/// Runs the command.
pub fn run(ctl: &Ctl, args: Args) -> Result<(), ClientError> {
    match args.command {
        Command::Create { name, role, expires_in } => {
            let role = match role.as_str() {
                "admin" => Role::Admin,
                "operator" => Role::Operator,
                _ => Role::Viewer,
            };
            let request = TokenRequest { name, role, expires_in };
            let created: TokenCreated = ctl.client.call("POST", "/v1/tokens", &request)?;
            ctl.print(&created, |created| {
                let mut table = Table::pairs();
                table.pair("token", &created.secret);
                table.pair("id", &created.token.id);
                table.pair("role", created.token.role.name());
                table.pair("expires", time(created.token.expires_s.saturating_mul(1000)));
                table.pair("", "It is shown this once: only its SHA-256 is kept.");
                table
            });
        }
        Command::List => {
            let all: Vec<Token> = ctl.all("/v1/tokens", usize::MAX)?;
            let seconds = |at: u64| time(at.saturating_mul(1000));
            ctl.print(&all, |all| {
                let columns = ["ID", "NAME", "ROLE", "EXPIRES", "LAST USED", "FROM", "MADE BY"];
                Table::new(&columns).with(all.iter().map(|token| {
                    [
                        token.id.clone(),
                        token.name.clone(),
                        token.role.name().into(),
                        seconds(token.expires_s),
                        token.last_used_s.map_or_else(|| "-".into(), seconds),
                        token.last_address.map_or_else(|| "-".into(), |address| address.to_string()),
                        token.created_by.clone(),
                    ]
                }))
            });
        }
        Command::Revoke { id } => {
            ctl.client.order_plain("DELETE", &format!("/v1/tokens/{}", segment(&id)))?;
            ctl.done(&format!("the token {id} is revoked"));
        }
    }
    Ok(())
}
