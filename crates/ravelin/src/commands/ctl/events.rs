//! The recent events, and those to come.

use super::Ctl;
use super::table::{plain, time};
use ravelin_console::api::events::{EventItem, EventsPage};
use ravelin_console::client::{ClientError, segment};
use std::io::Write;

/// See the recent events, and those to come.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  ravelin ctl events --dir plant
  ravelin ctl events --follow --level warn --dir plant
  ravelin ctl events --id admin. --json --dir plant

With --json, each event is one line.")]
pub struct Args {
    /// Go on with those to come, until interrupted
    #[arg(short, long)]
    follow: bool,
    /// So many of the last
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    last: u16,
    /// Only warnings, or also changes
    #[arg(long, default_value = "info", value_parser = ["info", "warn"])]
    level: String,
    /// Only events whose id begins with this
    #[arg(long, value_name = "PREFIX")]
    id: Option<String>,
}

/// Runs the command.
pub fn run(ctl: &Ctl, args: Args) -> Result<(), ClientError> {
    let mut filter = format!("&level={}", args.level);
    if let Some(id) = &args.id {
        filter.push_str(&format!("&id={}", segment(id)));
    }
    read(ctl, args.last, &filter, args.follow, |item| print(ctl, item))
}

/// Gives the last events to `show`, and those to come if `follow`; until it is false: whoever reads has gone.
pub fn read(
    ctl: &Ctl,
    last: u16,
    filter: &str,
    follow: bool,
    mut show: impl FnMut(&EventItem) -> bool,
) -> Result<(), ClientError> {
    let mut page: EventsPage = ctl.client.get(&format!("/v1/events?limit={last}{filter}"))?;
    loop {
        if page.missed > 0 && follow {
            eprintln!("ravelin: {} events were too old to be kept", page.missed);
        }
        if !page.items.iter().all(&mut show) || !follow {
            return Ok(());
        }
        page = ctl.client.get(&format!("/v1/events?limit=1000&wait_s=20&after={}{filter}", page.next))?;
    }
}

fn print(ctl: &Ctl, item: &EventItem) -> bool {
    let mut line = String::new();
    if ctl.json {
        line = serde_json::to_string(item).unwrap_or_default();
    } else {
        line.push_str(&format!("{} {:5} {}", time(item.at_ms), item.level, item.id));
        for (name, value) in
            item.fields.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null())
        {
            match value.as_str() {
                Some(text) if text.contains(|c: char| c.is_whitespace() || c == '"') || text.is_empty() => {
                    line.push_str(&format!(" {name}={text:?}"));
                }
                Some(text) => line.push_str(&format!(" {name}={text}")),
                None => line.push_str(&format!(" {name}={value}")),
            }
        }
        line = plain(&line);
    }
    writeln!(std::io::stdout(), "{line}").is_ok()
}
