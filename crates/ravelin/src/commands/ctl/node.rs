//! The node itself: status, who asks, listeners, reload, log level, drain, shutdown.

use super::Ctl;
use super::table::Table;
use ravelin_console::api::node::{Drain, ListenerStatus, LogLevel, NodeStatus, Whoami};
use ravelin_console::client::ClientError;

/// Orders and questions to the node.
#[derive(clap::Subcommand)]
pub enum Command {
    /// How the node is
    #[command(after_help = "Example:\n  ravelin ctl status --dir plant")]
    Status,
    /// Who you are to the node, and your role
    #[command(after_help = "Example:\n  ravelin ctl whoami --dir plant")]
    Whoami,
    /// The listeners of the data plane
    #[command(after_help = "Example:\n  ravelin ctl listeners --dir plant")]
    Listeners,
    /// Read configuration, certificates, rules and passwords again
    #[command(after_help = "Example:\n  ravelin ctl reload --dir plant")]
    Reload,
    /// Show from which level on events are logged, or change it until the next reload
    #[command(
        after_help = "Examples:\n  ravelin ctl loglevel --dir plant\n  ravelin ctl loglevel debug --dir plant"
    )]
    Loglevel {
        /// The new level
        #[arg(value_parser = ["trace", "debug", "info", "warn"])]
        level: Option<String>,
    },
    /// Have readiness say no, so that a load balancer sends nobody here any more
    #[command(
        after_help = "Examples:\n  ravelin ctl drain --dir plant\n  ravelin ctl drain --off --dir plant"
    )]
    Drain {
        /// Have it say yes again
        #[arg(long)]
        off: bool,
    },
    /// Stop the node in order
    #[command(after_help = "Example:\n  ravelin ctl shutdown --dir plant")]
    Shutdown,
    /// The API's document (OpenAPI 3.1)
    #[command(after_help = "Example:\n  ravelin ctl openapi --dir plant > openapi.json")]
    Openapi,
    /// What the node counts, in the text format of Prometheus
    #[command(after_help = "Example:\n  ravelin ctl metrics --dir plant")]
    Metrics,
}

/// Runs the command.
pub fn run(ctl: &Ctl, command: Command) -> Result<(), ClientError> {
    let client = &ctl.client;
    match command {
        Command::Status => ctl.print(&client.get::<NodeStatus>("/v1/status")?, status),
        Command::Whoami => ctl.print(&client.get::<Whoami>("/v1/whoami")?, |who| {
            Table::new(&["NAME", "ROLE"]).with([[who.name.clone(), who.role.clone()]])
        }),
        Command::Listeners => ctl.print(&client.get::<Vec<ListenerStatus>>("/v1/listeners")?, |all| {
            let columns = ["LISTENER", "TRANSPORT", "ADDRESS", "CERTIFICATE", "AUTHENTICATION"];
            Table::new(&columns).with(all.iter().map(|one| {
                let [name, transport, address, certificate] =
                    [&one.name, &one.transport, &one.address, &one.client_certificate].map(Clone::clone);
                [name, transport, address, certificate, one.authentication.join(", ")]
            }))
        }),
        Command::Reload => {
            client.order_plain("POST", "/v1/reload")?;
            ctl.done("the configuration took effect");
        }
        Command::Loglevel { level: None } => {
            ctl.print(&client.get::<LogLevel>("/v1/loglevel")?, |now| {
                Table::new(&["LEVEL"]).with([[now.level.clone()]])
            });
        }
        Command::Loglevel { level: Some(level) } => {
            client.order("PUT", "/v1/loglevel", Some(&LogLevel { level: level.clone() }))?;
            ctl.done(&format!("events are logged from {level} on, until the next reload"));
        }
        Command::Drain { off } => {
            client.order("PUT", "/v1/drain", Some(&Drain { draining: !off }))?;
            ctl.done(if off { "readiness says yes" } else { "readiness says no" });
        }
        Command::Shutdown => {
            client.order_plain("POST", "/v1/shutdown")?;
            ctl.done("the node stops");
        }
        Command::Openapi => print!("{}", client.get_text("/v1/openapi.json")?),
        Command::Metrics => print!("{}", client.get_text("/metrics")?),
    }
    Ok(())
}

fn status(status: &NodeStatus) -> Table {
    let mut table = Table::pairs();
    let state = match (status.ready, status.draining) {
        (false, _) => "not ready",
        (true, true) => "draining",
        (true, false) => "ready",
    };
    table.pair("node", format!("{} (ravelin {})", status.name, status.version));
    table.pair("state", state);
    let (days, rest) = (status.uptime_s / 86_400, status.uptime_s % 86_400);
    table.pair("up", format!("{days}d {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60));
    table.pair("shards", status.shards);
    table.pair("connections", status.connections);
    table.pair("clients", format!("{} connected, {} sessions", status.clients_connected, status.sessions));
    table.pair("subscriptions", status.subscriptions);
    table.pair("retained", status.retained);
    table.pair("queued", status.queued);
    table.pair("publishes", format!("{} in, {} out", status.publishes_in, status.publishes_out));
    table
}
