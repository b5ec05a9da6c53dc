//! Orders by hand: one command an action.

use super::NodeArgs;
use super::show::print_order;
use crate::commands::ctl::Ctl;
use crate::commands::ctl::table::{Table, or_dash};
use clap::ValueEnum;
use ravelin_console::api::orders::{OrderItem, OrderRequest, PostureItem, PreviewItem};
use ravelin_console::client::ClientError;
use ravelin_respond::{Action, Direction, Frozen, Posture, Retained};
use std::process::ExitCode;
use std::sync::Arc;

/// How an order is given.
#[derive(clap::Args)]
pub struct OrderArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// For how long: 15m, 7d [default: as the action's policy has it]
    #[arg(long = "for", value_name = "DURATION", conflicts_with = "until_lifted", help_heading = "Order")]
    duration: Option<String>,
    /// Until it is taken back, where that is allowed
    #[arg(long, help_heading = "Order")]
    until_lifted: bool,
    /// Why, for the record
    #[arg(long, default_value = "", help_heading = "Order")]
    why: String,
    /// The alarm that it answers
    #[arg(long, value_name = "NUMBER", help_heading = "Order")]
    alarm: Option<u64>,
    /// It may cut off clients that must never be; then a second person approves
    #[arg(long, help_heading = "Order")]
    override_never_cut: bool,
    /// Say whom it would meet and how it is taken back, and do nothing
    #[arg(long, help_heading = "Order")]
    dry_run: bool,
}

#[derive(clap::Subcommand)]
pub enum Command {
    /// End a client's connection; it may come back
    #[command(after_help = "Example:\n  ravelin respond disconnect meter-7 --why 'odd messages' --dir plant")]
    Disconnect {
        /// Its Client Identifier
        client_id: Arc<str>,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Keep somebody out; who is connected is disconnected at once
    #[command(after_help = "Examples:\n  ravelin respond ban client_id:meter-7 --for 1h --dir plant\n  \
                      ravelin respond ban network:192.0.2.0/24 --for 15m --dry-run --dir plant")]
    Ban {
        /// client_id:NAME, identity:NAME, certificate:SHA-256 or network:CIDR
        subject: Arc<str>,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Put a client into the restricted class
    #[command(after_help = "Example:\n  ravelin respond quarantine meter-7 --for 1h --dir plant")]
    Quarantine {
        /// Its Client Identifier
        client_id: Arc<str>,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Revoke a certificate and end its sessions; final
    #[command(
        after_help = "Example:\n  ravelin respond revoke-certificate 0A:1B:2C --why 'tablet lost' --dir plant\n\n\
                      It cannot be taken back: issue another certificate for whoever needs one."
    )]
    RevokeCertificate {
        /// Its SHA-256 fingerprint, or its serial number
        certificate: Arc<str>,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Disable an identity and end its sessions; undo enables it again
    #[command(after_help = "Example:\n  ravelin respond revoke-credential alice --why left --dir plant")]
    RevokeCredential {
        /// The identity
        identity: Arc<str>,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Freeze the topics that match a filter
    #[command(
        after_help = "Examples:\n  ravelin respond freeze 'plant/feeder-3/#' --for 15m --dir plant\n  \
                      ravelin respond freeze 'plant/+/command' --publish --hold --for 5m --dir plant"
    )]
    Freeze {
        /// The topic filter
        filter: Arc<str>,
        /// Messages wait instead of being refused
        #[arg(long)]
        hold: bool,
        /// Only nobody publishes
        #[arg(long, conflicts_with = "receive")]
        publish: bool,
        /// Only nobody receives
        #[arg(long)]
        receive: bool,
        /// New subscribers still get retained messages
        #[arg(long)]
        serve_retained: bool,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Let a client publish no more than so much
    #[command(after_help = "Example:\n  ravelin respond throttle meter-7 --rate 10 --for 15m --dir plant")]
    Throttle {
        /// Its Client Identifier
        client_id: Arc<str>,
        /// Messages in a second
        #[arg(long, value_name = "MESSAGES", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// See how strict the node is, or make it stricter, or normal again
    #[command(
        after_help = "Examples:\n  ravelin respond posture --dir plant\n  ravelin respond posture lockdown --for 30m --why 'attack' --dir plant"
    )]
    Posture {
        /// The level [default: show it]
        level: Option<Level>,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Have the operating system's firewall drop what comes from a network
    #[command(after_help = "Example:\n  ravelin respond firewall 192.0.2.7 --for 1h --dir plant")]
    Firewall {
        /// An address, or a network as CIDR
        network: Arc<str>,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Close a listener; two people
    #[command(after_help = "Example:\n  ravelin respond stop-listener public --for 1h --dir plant")]
    StopListener {
        /// Its name in the configuration
        listener: Arc<str>,
        #[command(flatten)]
        order: OrderArgs,
    },
    /// Stop the node in stages, to a known state; two people
    #[command(after_help = "Example:\n  ravelin respond stop-node --why 'compromised' --dir plant")]
    StopNode {
        #[command(flatten)]
        order: OrderArgs,
    },
}

/// How strict the node is.
#[derive(Clone, Copy, ValueEnum)]
pub enum Level {
    /// As configured
    Normal,
    /// Tighter limits
    Elevated,
    /// Only who must goes on
    Lockdown,
}

impl Command {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Command::Disconnect { client_id, order } => order.give(Action::Disconnect { client_id }),
            Command::Ban { subject, order } => order.give(Action::Ban { subject }),
            Command::Quarantine { client_id, order } => order.give(Action::Quarantine { client_id }),
            Command::RevokeCertificate { certificate, order } => {
                order.give(Action::RevokeCertificate { certificate })
            }
            Command::RevokeCredential { identity, order } => {
                order.give(Action::RevokeCredential { identity })
            }
            Command::Throttle { client_id, rate, order } => {
                order.give(Action::Throttle { client_id, messages_per_s: rate })
            }
            Command::Firewall { network, order } => order.give(Action::Firewall { network }),
            Command::StopListener { listener, order } => order.give(Action::StopListener { listener }),
            Command::StopNode { order } => order.give(Action::StopNode {}),
            Command::Posture { level: None, order } => order.node.run("respond posture", show_posture),
            Command::Posture { level: Some(level), order } => order.give(Action::Posture {
                level: match level {
                    Level::Normal => Posture::Normal,
                    Level::Elevated => Posture::Elevated,
                    Level::Lockdown => Posture::Lockdown,
                },
            }),
            Command::Freeze { filter, hold, publish, receive, serve_retained, order } => {
                let direction = match (publish, receive) {
                    (true, _) => Direction::Publish,
                    (_, true) => Direction::Receive,
                    _ => Direction::Both,
                };
                order.give(Action::Freeze {
                    filter,
                    messages: if hold { Frozen::Hold } else { Frozen::Drop },
                    direction,
                    retained: if serve_retained { Retained::Serve } else { Retained::Withhold },
                })
            }
        }
    }
}

impl OrderArgs {
    fn give(self, action: Action) -> anyhow::Result<ExitCode> {
        let OrderArgs { node, duration, until_lifted, why, alarm, override_never_cut, dry_run } = self;
        let name = format!("respond {}", action.name().replace('_', "-"));
        let duration = if until_lifted { Some("until_lifted".into()) } else { duration };
        let order = OrderRequest { action, duration, why, alarm, override_never_cut };
        node.run(&name, |ctl| {
            if dry_run {
                let preview: PreviewItem = ctl.client.call("POST", "/v1/orders/preview", &order)?;
                ctl.print(&preview, preview_table);
            } else {
                let made: OrderItem = ctl.client.call("POST", "/v1/orders", &order)?;
                print_order(ctl, &made);
            }
            Ok(())
        })
    }
}

fn preview_table(preview: &PreviewItem) -> Table {
    let mut table = Table::pairs();
    table.pair("would do", preview.action.to_string());
    table.pair("people", format!("{} must stand behind it", preview.needs.max(1)));
    table.pair(
        "for",
        preview.time_s.map_or("until it is taken back, or nothing of it stays".into(), |s| format!("{s} s")),
    );
    table.pair("undo", &preview.undo);
    if let Some(order) = preview.refreshes {
        table.pair("refreshes", format!("order {order}"));
    }
    table.pair("clients", format!("{} of {} connected", preview.clients, preview.connected));
    table.pair("sessions", preview.sessions);
    table.pair("subscriptions", preview.subscriptions);
    table.pair("meets", or_dash(&Some(preview.names.join(", ")).filter(|names| !names.is_empty())));
    if !preview.never_cut.is_empty() {
        table.pair("NEVER CUT", preview.never_cut.join(", "));
    }
    table
}

fn show_posture(ctl: &Ctl) -> Result<(), ClientError> {
    let posture: PostureItem = ctl.client.get("/v1/posture")?;
    ctl.print(&posture, |posture| {
        let mut table = Table::pairs();
        table.pair("posture", &posture.posture);
        table.pair("closes", &posture.closes);
        for stage in &posture.stages {
            table.pair(&format!("  {} would close", stage.level), &stage.closes);
        }
        let orders: Vec<String> = posture.orders.iter().map(ToString::to_string).collect();
        table.pair("orders", or_dash(&Some(orders.join(", ")).filter(|orders| !orders.is_empty())));
        table
    });
    Ok(())
}
