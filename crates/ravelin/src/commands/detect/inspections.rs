//! Inspections of devices by people.

use super::NodeArgs;
use crate::commands::ctl::table::{Table, or_dash, time};
use ravelin_console::api::alarms::{InspectionItem, InspectionOrder};
use std::process::ExitCode;

/// The last inspection of each device, and when the next is due.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  ravelin detect inspections --overdue --dir plant")]
pub struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// Only those that are overdue
    #[arg(long)]
    overdue: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.node.run("detect inspections", |ctl| {
            let mut all: Vec<InspectionItem> = ctl.all("/v1/inspections", usize::MAX)?;
            all.retain(|one| one.overdue || !self.overdue);
            ctl.print(&all, |all| {
                let row = |one: &InspectionItem| {
                    let due = one.due_ms.map(time);
                    [
                        one.device.clone(),
                        or_dash(&one.class),
                        if one.by.is_some() { time(one.at_ms) } else { "never".into() },
                        or_dash(&one.by),
                        if one.overdue { format!("{}, overdue", or_dash(&due)) } else { or_dash(&due) },
                        or_dash(&one.document),
                    ]
                };
                let columns = ["DEVICE", "CLASS", "INSPECTED", "BY", "DUE", "DOCUMENT"];
                Table::new(&columns).with(all.iter().map(row))
            });
            Ok(())
        })
    }
}

/// Record that somebody has inspected a device and its vicinity.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  ravelin detect inspect meter-7 --by 'A. Novak' --document rounds/2026-11.pdf --dir plant"
)]
pub struct InspectArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// The device: its Client Identifier
    device: String,
    /// Who inspected it [default: who records it]
    #[arg(long)]
    by: Option<String>,
    /// Where the report is: a file, a ticket, a URL
    #[arg(long, default_value = "")]
    document: String,
}

impl InspectArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let InspectArgs { node, device, by, document } = self;
        node.run("detect inspect", |ctl| {
            let order = InspectionOrder { device: device.clone(), by, at_ms: None, document };
            ctl.client.order("POST", "/v1/inspections", Some(&order))?;
            ctl.done(&format!("the inspection of {device} is recorded"));
            Ok(())
        })
    }
}
