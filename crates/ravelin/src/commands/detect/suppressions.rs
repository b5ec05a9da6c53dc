//! Suppressions: alarms that are not told.

use super::NodeArgs;
use crate::commands::ctl::table::{Table, or_dash, time};
use ravelin_console::api::alarms::{SuppressionItem, SuppressionMade, SuppressionOrder};
use std::process::ExitCode;

/// Have alarms of a detector or about a subject not told.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin detect suppress --detector flood --subject client:meter-7 --for 1h --why 'load test' --dir plant
  ravelin detect suppress --subject class:meters --for 2h --why 'firmware' --dir plant

They are raised, kept and counted as before, but nobody is told, and no playbook acts on them.")]
pub struct SuppressArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Alarms of this detector or behaviour [default: of all]
    #[arg(long, required_unless_present = "subject")]
    detector: Option<String>,
    /// Alarms about this: client:NAME, source:ADDRESS, identity:NAME, topic:NAME, device:NAME, class:NAME, fleet
    #[arg(long)]
    subject: Option<String>,
    /// For how long: 15m, 7d [default: until it is taken back]
    #[arg(long = "for", value_name = "DURATION")]
    duration: Option<String>,
    /// Why
    #[arg(long, default_value = "")]
    why: String,
}

impl SuppressArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let SuppressArgs { node, detector, subject, duration, why } = self;
        node.run("detect suppress", |ctl| {
            let order = SuppressionOrder { detector, subject, duration, why };
            let made: SuppressionMade = ctl.client.call("POST", "/v1/suppressions", &order)?;
            ctl.print_text(&made, |made| format!("suppression {} is in force\n", made.id));
            Ok(())
        })
    }
}

/// Take a suppression back.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  ravelin detect unsuppress 3 --dir plant")]
pub struct UnsuppressArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// Its number
    id: u64,
}

impl UnsuppressArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.node.run("detect unsuppress", |ctl| {
            ctl.client.order_plain("DELETE", &format!("/v1/suppressions/{}", self.id))?;
            ctl.done(&format!("suppression {} is taken back", self.id));
            Ok(())
        })
    }
}

/// What is suppressed.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  ravelin detect suppressions --dir plant")]
pub struct Args {
    #[command(flatten)]
    node: NodeArgs,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.node.run("detect suppressions", |ctl| {
            let all: Vec<SuppressionItem> = ctl.all("/v1/suppressions", usize::MAX)?;
            ctl.print(&all, |all| {
                let row = |one: &SuppressionItem| {
                    [
                        one.id.to_string(),
                        or_dash(&one.detector),
                        or_dash(&one.subject),
                        one.until_ms.map_or_else(|| "it is taken back".into(), time),
                        one.by.clone(),
                        one.why.clone(),
                    ]
                };
                let columns = ["SUPPRESSION", "DETECTOR", "SUBJECT", "UNTIL", "BY", "WHY"];
                Table::new(&columns).with(all.iter().map(row))
            });
            Ok(())
        })
    }
}
