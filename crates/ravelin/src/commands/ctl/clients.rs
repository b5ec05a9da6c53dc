//! Clients and their sessions.

use super::Ctl;
use super::table::{Table, or_dash, time};
use ravelin_console::api::clients::{Client, Subscription};
use ravelin_console::client::{ClientError, segment};

/// See clients, their sessions and subscriptions; disconnect them.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// All clients
    #[command(
        after_help = "Examples:\n  ravelin ctl clients list --dir plant\n  ravelin ctl clients list --connected --max 20 --dir plant"
    )]
    List {
        /// Only those that are connected
        #[arg(long)]
        connected: bool,
        /// At most so many
        #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
        max: usize,
    },
    /// One client
    #[command(after_help = "Example:\n  ravelin ctl clients show meter-7 --dir plant")]
    Show {
        /// Its Client Identifier
        client_id: String,
    },
    /// The subscriptions of a client
    #[command(after_help = "Example:\n  ravelin ctl clients subscriptions meter-7 --dir plant")]
    Subscriptions {
        /// Its Client Identifier
        client_id: String,
    },
    /// End a client's connection; it may come back
    #[command(after_help = "Example:\n  ravelin ctl clients disconnect meter-7 --dir plant")]
    Disconnect {
        /// Its Client Identifier
        client_id: String,
    },
    /// End a client's connection, and its session with all that waits for it
    #[command(after_help = "Example:\n  ravelin ctl clients wipe meter-7 --dir plant")]
    Wipe {
        /// Its Client Identifier
        client_id: String,
    },
}

/// Runs the command.
pub fn run(ctl: &Ctl, args: Args) -> Result<(), ClientError> {
    match args.command {
        Command::List { connected, max } => {
            let mut all: Vec<Client> = ctl.all("/v1/clients", max)?;
            all.retain(|client| client.connected || !connected);
            all.sort_by(|a, b| a.client_id.cmp(&b.client_id));
            ctl.print(&all, |all| list(all));
        }
        Command::Show { client_id } => {
            let client: Client = ctl.client.get(&format!("/v1/clients/{}", segment(&client_id)))?;
            ctl.print(&client, show);
        }
        Command::Subscriptions { client_id } => {
            let path = format!("/v1/clients/{}/subscriptions", segment(&client_id));
            let all: Vec<Subscription> = ctl.all(&path, usize::MAX)?;
            ctl.print(&all, |all| {
                let row = |one: &Subscription| [one.filter.clone(), one.qos.to_string(), or_dash(&one.id)];
                Table::new(&["FILTER", "QOS", "ID"]).with(all.iter().map(row))
            });
        }
        Command::Disconnect { client_id } => {
            ctl.client.order_plain("POST", &format!("/v1/clients/{}/disconnect", segment(&client_id)))?;
            ctl.done(&format!("{client_id} is disconnected"));
        }
        Command::Wipe { client_id } => {
            ctl.client.order_plain("DELETE", &format!("/v1/sessions/{}?wipe=true", segment(&client_id)))?;
            ctl.done(&format!("{client_id} is disconnected and its session is gone"));
        }
    }
    Ok(())
}

fn list(all: &[Client]) -> Table {
    let columns = ["CLIENT", "IDENTITY", "ADDRESS", "VERSION", "CONNECTED", "SUBSCRIPTIONS", "QUEUED"];
    Table::new(&columns).with(all.iter().map(|client| {
        let since = client.connection.as_ref().map(|connection| time(connection.since_ms));
        [
            client.client_id.clone(),
            or_dash(&client.identity),
            or_dash(&client.address),
            client.version.clone(),
            or_dash(&since),
            client.subscriptions.to_string(),
            client.queued.to_string(),
        ]
    }))
}

fn show(client: &Client) -> Table {
    let mut table = Table::pairs();
    table.pair("client", &client.client_id);
    table.pair("identity", or_dash(&client.identity));
    table.pair("class", or_dash(&client.class));
    table.pair("certificate", or_dash(&client.certificate));
    table.pair("address", or_dash(&client.address));
    table.pair("version", &client.version);
    match &client.connection {
        Some(connection) => {
            table.pair("connected", format!("since {}", time(connection.since_ms)));
            table.pair("keep alive", format!("{} s", connection.keep_alive_s));
            table.pair(
                "received",
                format!("{} messages, {} bytes", connection.messages_in, connection.bytes_in),
            );
            table.pair(
                "sent",
                format!("{} messages, {} bytes", connection.messages_out, connection.bytes_out),
            );
        }
        None => {
            let until =
                client.expires_ms.map_or_else(|| "without end".into(), |at| format!("until {}", time(at)));
            table.pair("connected", format!("no; the session is kept {until}"));
        }
    }
    table.pair("subscriptions", client.subscriptions);
    table.pair("queued", format!("{} messages, {} bytes", client.queued, client.queued_bytes));
    table.pair("in flight", client.inflight);
    table.pair("dropped", client.dropped);
    table.pair("will", if client.will { "yes" } else { "no" });
    table
}
