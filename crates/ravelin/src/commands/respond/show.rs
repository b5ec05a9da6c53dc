//! What was ordered; approval, refusal, undo; playbooks.

use super::NodeArgs;
use crate::commands::ctl::Ctl;
use crate::commands::ctl::table::{Table, or_dash, time};
use ravelin_console::api::orders::{OrderItem, OrderWhy, PlaybookItem};
use ravelin_console::client::segment;
use serde_json::json;
use std::process::ExitCode;

/// Orders, newest first.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ravelin respond list --dir plant\n  ravelin respond list --state live --json --dir plant"
)]
pub struct ListArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Only those in this state: proposed, running, in_force, done, undone, expired, refused, failed, or live
    #[arg(long)]
    state: Option<String>,
    /// Only those of this action
    #[arg(long)]
    action: Option<String>,
    /// Only those of this playbook
    #[arg(long)]
    playbook: Option<String>,
    /// So many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    last: u16,
}

impl ListArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut path = "/v1/orders".to_owned();
        for (name, value) in [("state", &self.state), ("action", &self.action), ("playbook", &self.playbook)]
        {
            if let Some(value) = value {
                let separator = if path.contains('?') { '&' } else { '?' };
                path.push_str(&format!("{separator}{name}={}", segment(value)));
            }
        }
        self.node.run("respond list", |ctl| {
            let orders: Vec<OrderItem> = ctl.all(&path, usize::from(self.last))?;
            ctl.print(&orders, |orders| {
                let mut table =
                    Table::new(&["ORDER", "STATE", "ACTION", "SUBJECT", "BY", "ORDERED", "UNTIL", "EFFECT"]);
                for order in orders {
                    let what = order
                        .error
                        .as_ref()
                        .or(order.ended_why.as_ref().filter(|why| !why.is_empty()))
                        .or(order.effect.as_ref());
                    table.row([
                        order.id.to_string(),
                        order.state.name().into(),
                        order.action.name().into(),
                        order.subject.clone(),
                        order.by.clone(),
                        time(order.requested_ms),
                        or_dash(&order.until_ms.map(time)),
                        or_dash(&what.cloned()),
                    ]);
                }
                table
            });
            Ok(())
        })
    }
}

/// One order.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  ravelin respond show 17 --dir plant")]
pub struct ShowArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its number
    id: u64,
}

impl ShowArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.node.run("respond show", |ctl| {
            let order: OrderItem = ctl.client.get(&format!("/v1/orders/{}", self.id))?;
            print_order(ctl, &order);
            Ok(())
        })
    }
}

/// Agree to an order that waits.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  ravelin respond approve 17 --dir plant")]
pub struct ApproveArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its number
    id: u64,
}

impl ApproveArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.node.run("respond approve", |ctl| {
            let path = format!("/v1/orders/{}/approve", self.id);
            let order: OrderItem = ctl.client.call("POST", &path, &json!({}))?;
            print_order(ctl, &order);
            Ok(())
        })
    }
}

/// Refuse an order that waits.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  ravelin respond reject 17 --why 'it is the new firmware' --dir plant")]
pub struct RejectArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its number
    id: u64,
    /// Why, for the record
    #[arg(long, default_value = "")]
    why: String,
}

impl RejectArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        end(self.node, "reject", self.id, self.why)
    }
}

/// Take an order back.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  ravelin respond undo 17 --why 'false alarm' --dir plant")]
pub struct UndoArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its number
    id: u64,
    /// Why, for the record
    #[arg(long, default_value = "")]
    why: String,
}

impl UndoArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        end(self.node, "undo", self.id, self.why)
    }
}

fn end(node: NodeArgs, how: &str, id: u64, why: String) -> anyhow::Result<ExitCode> {
    node.run(&format!("respond {how}"), |ctl| {
        let order: OrderItem =
            ctl.client.call("POST", &format!("/v1/orders/{id}/{how}"), &OrderWhy { why })?;
        print_order(ctl, &order);
        Ok(())
    })
}

/// Playbooks.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  ravelin respond playbooks --dir plant")]
pub struct PlaybooksArgs {
    #[command(flatten)]
    node: NodeArgs,
}

impl PlaybooksArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.node.run("respond playbooks", |ctl| {
            let playbooks: Vec<PlaybookItem> = ctl.client.get("/v1/playbooks")?;
            ctl.print(&playbooks, |playbooks| {
                let columns =
                    ["PLAYBOOK", "MODE", "CORE", "DOES", "MATCHED", "OBSERVED", "ASKED", "ACTED", "REFUSED"];
                let mut table = Table::new(&columns);
                for one in playbooks {
                    let does: Vec<&str> = one.steps.iter().map(|step| step.action.name()).collect();
                    let counts = [one.matched, one.observed, one.asked, one.acted, one.refused];
                    let mut row =
                        vec![one.name.clone(), one.mode.clone(), one.core.join(" "), does.join(", ")];
                    row.extend(counts.map(|count| count.to_string()));
                    table.row(row);
                }
                table
            });
            Ok(())
        })
    }
}

/// An order, whole.
pub fn print_order(ctl: &Ctl, order: &OrderItem) {
    ctl.print(order, |order| {
        let mut table = Table::pairs();
        table.pair("order", order.id);
        table.pair("state", order.state.name());
        table.pair("action", order.action.to_string());
        table.pair("by", &order.by);
        if !order.why.is_empty() {
            table.pair("why", &order.why);
        }
        if let Some(alarm) = order.alarm {
            table.pair("alarm", alarm);
        }
        let people: Vec<&str> = order.approvals.iter().map(|approval| approval.by.as_str()).collect();
        table.pair("people", format!("{} of {}: {}", people.len(), order.needs.max(1), people.join(", ")));
        table.pair("ordered", time(order.requested_ms));
        for (name, at_ms) in
            [("in force", order.effective_ms), ("until", order.until_ms), ("ended", order.ended_ms)]
        {
            if let Some(at_ms) = at_ms {
                table.pair(name, time(at_ms));
            }
        }
        if let Some(took_us) = order.took_us {
            table.pair("took", format!("{:.1} ms", took_us as f64 / 1000.0));
        }
        for (name, text) in [("met", &order.effect), ("error", &order.error), ("ended by", &order.ended_by)] {
            if let Some(text) = text {
                table.pair(name, text);
            }
        }
        if let Some(why) = order.ended_why.as_ref().filter(|why| !why.is_empty()) {
            table.pair("ended for", why);
        }
        table.pair("undo", &order.undo);
        for (name, ms) in [
            ("time to detect", order.detect_ms),
            ("time to contain", order.contain_ms),
            ("time to recover", order.recover_ms),
        ] {
            if let Some(ms) = ms {
                table.pair(name, format!("{:.3} s", ms as f64 / 1000.0));
            }
        }
        table
    });
}
