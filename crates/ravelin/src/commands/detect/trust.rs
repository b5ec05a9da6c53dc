//! Trust, and the detectors.

use super::NodeArgs;
use crate::commands::ctl::table::{Table, or_dash, time};
use ravelin_console::api::alarms::{DetectorItem, TrustItem};
use ravelin_console::client::segment;
use std::process::ExitCode;

/// How far clients are trusted, and why.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin detect trust --below 80 --dir plant
  ravelin detect trust meter-7 --dir plant

A score is from 0 to 100: red below 30, amber below 80, green from there on. Trust only restricts, it never grants.")]
pub struct Args {
    #[command(flatten)]
    node: NodeArgs,
    /// One client, with the reasons
    client_id: Option<String>,
    /// Only those whose score is lower
    #[arg(long, value_name = "SCORE", conflicts_with = "client_id")]
    below: Option<u8>,
    /// At most so many clients
    #[arg(long, default_value_t = 1_000)]
    max: usize,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.node.run("detect trust", |ctl| {
            if let Some(client_id) = &self.client_id {
                let one: TrustItem = ctl.client.get(&format!("/v1/trust/{}", segment(client_id)))?;
                ctl.print(&one, reasons);
                return Ok(());
            }
            let mut all: Vec<TrustItem> = ctl.all("/v1/trust", self.max)?;
            all.retain(|one| self.below.is_none_or(|below| one.score < below));
            all.sort_by(|a, b| a.score.cmp(&b.score).then_with(|| a.client_id.cmp(&b.client_id)));
            ctl.print(&all, |all| {
                let row = |one: &TrustItem| {
                    let worst = one.reasons.first().map(|reason| reason.what.clone());
                    [
                        one.client_id.clone(),
                        one.score.to_string(),
                        one.band.clone(),
                        one.lower.to_string(),
                        or_dash(&worst),
                    ]
                };
                Table::new(&["CLIENT", "SCORE", "BAND", "AT LEAST", "BECAUSE"]).with(all.iter().map(row))
            });
            Ok(())
        })
    }
}

fn reasons(one: &TrustItem) -> Table {
    let mut table = Table::pairs();
    table.pair("client", &one.client_id);
    table.pair("score", format!("{} of 100, {}", one.score, one.band));
    table.pair("at least", format!("{} (95 % sure)", one.lower));
    table.pair("uncertainty", format!("{:.2}", one.uncertainty));
    for reason in &one.reasons {
        table.pair("because", format!("{} ({:+.1}, {})", reason.what, reason.weight, time(reason.at_ms)));
    }
    table
}

/// What each detector looks for.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  ravelin detect detectors --dir plant\n  ravelin detect detectors flood --dir plant"
)]
pub struct DetectorsArgs {
    #[command(flatten)]
    node: NodeArgs,
    /// One of them, with all that is to be said of it
    name: Option<String>,
}

impl DetectorsArgs {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        self.node.run("detect detectors", |ctl| {
            let mut all: Vec<DetectorItem> = ctl.client.get("/v1/detectors")?;
            let Some(name) = &self.name else {
                ctl.print(&all, |all| {
                    let row = |one: &DetectorItem| {
                        [
                            one.name.clone(),
                            one.subcategory.clone(),
                            or_dash(&one.technique),
                            one.entity.clone(),
                            one.description.clone(),
                        ]
                    };
                    let columns = ["DETECTOR", "SERVES", "TECHNIQUE", "PER", "LOOKS FOR"];
                    Table::new(&columns).with(all.iter().map(row))
                });
                return Ok(());
            };
            all.retain(|one| one.name == *name);
            let Some(one) = all.pop() else {
                let what = format!("there is no detector {name:?}; see `ravelin detect detectors`");
                return Err(ravelin_console::client::ClientError::Usage(what));
            };
            ctl.print(&one, |one| {
                let mut table = Table::pairs();
                table.pair("detector", &one.name);
                table.pair("looks for", &one.description);
                table.pair("serves", &one.subcategory);
                table.pair("technique", or_dash(&one.technique));
                table.pair("per", &one.entity);
                table.pair("test", &one.statistic);
                table.pair("threshold", &one.threshold);
                table.pair("false alarms", &one.false_alarms);
                table
            });
            Ok(())
        })
    }
}
