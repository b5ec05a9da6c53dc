//! Devices: seen and declared, their life, what differs, what was found.

use super::Ctl;
use super::table::{Table, or_dash};
use ravelin_console::api::inventory::{Imported, StateOrder};
use ravelin_console::client::{ClientError, segment};
use ravelin_identify::declared::{export_json, import_csv, import_json};
use ravelin_identify::{DeviceView, Difference, Finding, Summary};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// See devices, seen and declared; declare, import, retire them.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// All devices
    #[command(after_help = "Example:\n  ravelin ctl inventory list --state dormant --dir plant")]
    List {
        /// Only those in this state: registered, active, dormant, retired, lost
        #[arg(long)]
        state: Option<String>,
        /// Only those at this site
        #[arg(long)]
        site: Option<String>,
        /// Only those that are not declared
        #[arg(long)]
        undeclared: bool,
        /// Only those that are connected
        #[arg(long)]
        connected: bool,
        /// Only those with this in one of their names
        text: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 1_000)]
        max: usize,
    },
    /// One device: all that is known of it
    #[command(after_help = "Example:\n  ravelin ctl inventory show identity:meter-7 --dir plant")]
    Show {
        /// Its key (identity:.., client:..) or the name it is declared by
        device: String,
    },
    /// The inventory in figures
    #[command(after_help = "Example:\n  ravelin ctl inventory summary --dir plant")]
    Summary,
    /// Duplicate Client Identifiers, cloned certificates, moved devices
    #[command(after_help = "Example:\n  ravelin ctl inventory findings --dir plant")]
    Findings,
    /// Declared against seen: missing, unknown, mismatched
    #[command(after_help = "Example:\n  ravelin ctl inventory diff --dir plant")]
    Diff,
    /// Declare a device
    #[command(
        after_help = "Example:\n  ravelin ctl inventory declare \"Meter 7\" identity=meter-7 owner=grid networks=10.1.0.0/16 --dir plant"
    )]
    Declare {
        /// What it is called
        name: String,
        /// Fields: identity, client_ids, owner, model, criticality, site, latitude, longitude, class, certificate, version,
        /// firmware, networks, publishes, subscribes; the entries of a list are separated by ;
        #[arg(value_name = "FIELD=VALUE")]
        fields: Vec<String>,
    },
    /// Take a declaration back
    #[command(after_help = "Example:\n  ravelin ctl inventory undeclare \"Meter 7\" --dir plant")]
    Undeclare {
        /// What it is called
        name: String,
    },
    /// Declare all devices of a file, or none: CSV or JSON by its name
    #[command(after_help = "Example:\n  ravelin ctl inventory import devices.csv --dir plant")]
    Import {
        /// The file
        file: PathBuf,
    },
    /// Print all declarations, for `import`
    #[command(after_help = "Example:\n  ravelin ctl inventory export --format csv --dir plant > devices.csv")]
    Export {
        /// How
        #[arg(long, default_value = "json", value_parser = ["json", "csv"])]
        format: String,
    },
    /// Take a device out of service: it is cut off and refused from now on
    #[command(
        after_help = "Example:\n  ravelin ctl inventory retire identity:meter-7 --reason replaced --dir plant"
    )]
    Retire(StateArgs),
    /// Report a device as missing or stolen: it is cut off and refused from now on
    #[command(
        after_help = "Example:\n  ravelin ctl inventory lost identity:tablet-3 --reason stolen --dir plant"
    )]
    Lost(StateArgs),
    /// Put a retired or lost device back into service
    #[command(after_help = "Example:\n  ravelin ctl inventory reinstate identity:tablet-3 --dir plant")]
    Reinstate(StateArgs),
    /// Forget what was seen of a device that is not declared
    #[command(after_help = "Example:\n  ravelin ctl inventory forget client:visitor --dir plant")]
    Forget {
        /// Its key
        device: String,
    },
}

#[derive(clap::Args)]
struct StateArgs {
    /// Its key (identity:.., client:..) or the name it is declared by
    device: String,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
}

/// Runs the command.
pub fn run(ctl: &Ctl, args: Args) -> Result<(), ClientError> {
    match args.command {
        Command::List { state, site, undeclared, connected, text, max } => {
            let flag = |set: bool, word: &str| set.then(|| word.to_owned());
            let query = [
                ("state", state),
                ("site", site),
                ("declared", flag(undeclared, "false")),
                ("connected", flag(connected, "true")),
                ("text", text),
            ];
            let pairs =
                query.iter().filter_map(|(key, value)| Some(format!("{key}={}", segment(value.as_ref()?))));
            let path = format!("/v1/inventory/devices?{}", pairs.collect::<Vec<_>>().join("&"));
            let devices: Vec<DeviceView> = ctl.all(&path, max)?;
            ctl.print(&devices, |devices| list(devices));
        }
        Command::Show { device } => {
            let view: DeviceView = ctl.client.get(&format!("/v1/inventory/devices/{}", segment(&device)))?;
            ctl.print(&view, show);
        }
        Command::Summary => {
            let summary: Summary = ctl.client.get("/v1/inventory/summary")?;
            ctl.print(&summary, |summary| {
                let mut table = Table::pairs();
                table.pair("devices", summary.devices);
                table.pair("connected", summary.connected);
                table.pair("declared", summary.declared);
                summary.states.iter().for_each(|(state, count)| table.pair(state, count));
                summary
                    .versions
                    .iter()
                    .for_each(|(version, count)| table.pair(&format!("MQTT {version}"), count));
                table.pair("findings", summary.findings);
                table
            });
        }
        Command::Findings => {
            let findings: Vec<Finding> = ctl.all("/v1/inventory/findings", usize::MAX)?;
            ctl.print(&findings, |findings| {
                let mut table = Table::pairs();
                for finding in findings {
                    let kind = serde_json::to_value(finding.kind).unwrap_or_default();
                    table.pair(
                        "finding",
                        format!("{} of {}", kind.as_str().unwrap_or_default(), finding.subject),
                    );
                    table.pair("  why", &finding.why);
                    table.pair("  when", format!("{} times, last {}", finding.times, finding.last));
                }
                if findings.is_empty() {
                    table.pair("(none)", "");
                }
                table
            });
        }
        Command::Diff => {
            let difference: Difference = ctl.client.get("/v1/inventory/difference?max=100000")?;
            ctl.print(&difference, diff);
        }
        command => return order(ctl, command),
    }
    Ok(())
}

/// The commands that change something, and `export`.
fn order(ctl: &Ctl, command: Command) -> Result<(), ClientError> {
    match command {
        Command::Declare { name, fields } => {
            let fields = pairs(&fields)?;
            ctl.client.order("PUT", &format!("/v1/inventory/declared/{}", segment(&name)), Some(&fields))?;
            ctl.done(&format!("{name} is declared"));
        }
        Command::Undeclare { name } => {
            ctl.client.order_plain("DELETE", &format!("/v1/inventory/declared/{}", segment(&name)))?;
            ctl.done(&format!("{name} is no longer declared"));
        }
        Command::Import { file } => {
            let imported: Imported = ctl.client.call("POST", "/v1/inventory/import", &read(&file)?)?;
            ctl.done(&format!("{} devices are declared", imported.declared));
        }
        Command::Export { format } => {
            print!("{}", ctl.client.get_text(&format!("/v1/inventory/declared?format={format}"))?);
        }
        Command::Retire(args) => set_state(ctl, &args, "retired", "is retired")?,
        Command::Lost(args) => set_state(ctl, &args, "lost", "is reported as lost")?,
        Command::Reinstate(args) => set_state(ctl, &args, "active", "is back in service")?,
        Command::Forget { device } => {
            ctl.client.order_plain("DELETE", &format!("/v1/inventory/devices/{}", segment(&device)))?;
            ctl.done(&format!("{device} is forgotten"));
        }
        Command::List { .. }
        | Command::Show { .. }
        | Command::Summary
        | Command::Findings
        | Command::Diff => {}
    }
    Ok(())
}

fn set_state(ctl: &Ctl, args: &StateArgs, state: &str, done: &str) -> Result<(), ClientError> {
    let order = StateOrder { state: state.into(), reason: args.reason.clone() };
    ctl.client.order(
        "POST",
        &format!("/v1/inventory/devices/{}/state", segment(&args.device)),
        Some(&order),
    )?;
    ctl.done(&format!("{} {done}", args.device));
    Ok(())
}

/// The file, understood here: an error has its line without a node being asked.
fn read(file: &std::path::Path) -> Result<Box<RawValue>, ClientError> {
    const FILE_BYTES_MAX: u64 = 256 << 20;
    let usage = |what: String| ClientError::Usage(format!("{}: {what}", file.display()));
    let text = ravelin_protect::file::read_text(file, FILE_BYTES_MAX)
        .map_err(|error| ClientError::Usage(error.to_string()))?;
    let is_csv = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let devices = if is_csv { import_csv(&text) } else { import_json(&text) };
    let devices = devices.map_err(|error| usage(error.to_string()))?;
    RawValue::from_string(export_json(devices.iter()).trim_end().to_owned())
        .map_err(|error| usage(error.to_string()))
}

/// `owner=grid` as a field.
fn pairs(fields: &[String]) -> Result<Map<String, Value>, ClientError> {
    let mut map = Map::new();
    for field in fields {
        let (name, value) = field
            .split_once('=')
            .ok_or_else(|| ClientError::Usage(format!("{field:?} is not FIELD=VALUE")))?;
        let is_list = matches!(name, "client_ids" | "networks" | "publishes" | "subscribes");
        let value = match is_list {
            true => value.split(';').map(|entry| entry.trim().to_owned()).collect::<Vec<_>>().into(),
            false => Value::from(value),
        };
        map.insert(name.into(), value);
    }
    Ok(map)
}

fn list(devices: &[DeviceView]) -> Table {
    let columns = ["DEVICE", "DECLARED AS", "STATE", "UP", "ADDRESS", "SITE", "FIRMWARE", "LAST SEEN"];
    Table::new(&columns).with(devices.iter().map(|device| {
        [
            device.key.clone(),
            or_dash(&device.declared),
            device.state.to_string(),
            if device.connected { "yes" } else { "no" }.into(),
            or_dash(&device.addresses.first().map(|known| known.address)),
            or_dash(&device.site),
            or_dash(&device.firmware),
            or_dash(&device.last_seen),
        ]
    }))
}

fn show(device: &DeviceView) -> Table {
    let mut table = Table::pairs();
    let mut some = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            table.pair(name, value);
        }
    };
    some("device", Some(device.key.clone()));
    some("declared as", device.declared.clone());
    some("state", Some(format!("{}{}", device.state, if device.connected { ", connected" } else { "" })));
    some("identity", device.identity.clone());
    let more = if device.more_client_ids { " and more" } else { "" };
    some("client ids", Some(format!("{}{more}", device.client_ids.join(", "))));
    let addresses =
        device.addresses.iter().map(|known| format!("{} (last {})", known.address, known.last_seen));
    some("addresses", Some(addresses.collect::<Vec<_>>().join(", ")));
    some("listener", device.listener.clone());
    some("MQTT", device.version.clone());
    some("library", device.library.clone());
    some("firmware", device.firmware.clone());
    some("model", device.model.clone());
    if let Some(certificate) = &device.certificate {
        some("certificate", Some(format!("{} by {}", certificate.subject, certificate.issuer)));
        some("  serial", Some(certificate.serial.clone()));
        some("  valid until", Some(certificate.not_after.clone()));
        some("  key", Some(format!("{}, {} bits", certificate.key, certificate.key_bits)));
        some("  fingerprint", Some(certificate.fingerprint.clone()));
    }
    some("class", device.class.clone());
    some("owner", device.owner.clone());
    some("criticality", device.criticality.clone());
    some("site", device.site.clone());
    some("zone", device.zone.clone());
    some("position", device.position.map(|(latitude, longitude)| format!("{latitude}, {longitude}")));
    some("first seen", device.first_seen.clone());
    some("last seen", device.last_seen.clone());
    some("connects", Some(device.connects.to_string()));
    for topic in &device.published {
        some(
            "publishes",
            Some(format!("{} ({} messages, {:.1}/s)", topic.topic, topic.messages, topic.rate)),
        );
    }
    for topic in &device.subscribed {
        some("subscribes", Some(topic.topic.clone()));
    }
    table
}

fn diff(difference: &Difference) -> Table {
    let mut table = Table::new(&["", "DEVICE", "FIELD", "DECLARED", "SEEN"]);
    let empty = String::new;
    let missing =
        difference.missing.iter().map(|name| ["missing".into(), name.clone(), empty(), empty(), empty()]);
    let unknown =
        difference.unknown.iter().map(|key| ["unknown".into(), key.clone(), empty(), empty(), empty()]);
    let other = difference.mismatched.iter().map(|one| {
        ["differs".into(), one.device.clone(), one.field.clone(), one.declared.clone(), one.observed.clone()]
    });
    missing.chain(unknown).chain(other).for_each(|row| table.row(row));
    table.row(["agree".into(), difference.agreeing.to_string(), empty(), empty(), empty()]);
    table
}
