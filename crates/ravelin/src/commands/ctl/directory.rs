//! The directory: identities, groups, roles, classes.

use super::Ctl;
use super::table::{Table, or_dash};
use ravelin_console::api::directory::whole::{ImportRequest, Imported, Settings};
use ravelin_console::client::{ClientError, segment};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// See and change identities, groups, roles and classes.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

/// What there is in the directory.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Kind {
    Identities,
    Groups,
    Roles,
    Classes,
}

#[derive(clap::Subcommand)]
enum Command {
    /// All identities, groups, roles or classes
    #[command(after_help = "Example:\n  ravelin ctl directory list identities --dir plant")]
    List {
        /// What
        kind: Kind,
        /// At most so many
        #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
        max: usize,
    },
    /// One of them, as JSON
    #[command(after_help = "Example:\n  ravelin ctl directory show roles meter --dir plant")]
    Show {
        /// What
        kind: Kind,
        /// Its name
        name: String,
    },
    /// Make one, or change it: it is as the JSON in a file says
    #[command(after_help = "Examples:
  echo '{\"acls\":[{\"acltype\":\"publishClientSend\",\"topic\":\"meters/%u/#\",\"allow\":true}]}' |
    ravelin ctl directory set roles meter --dir plant
  ravelin ctl directory set identities meter-7 meter-7.json --dir plant

The fields are those of Mosquitto's dynamic security, and `ravelin ctl directory show` shows them.")]
    Set {
        /// What
        kind: Kind,
        /// Its name
        name: String,
        /// The file [default: standard input]
        file: Option<PathBuf>,
    },
    /// Set an identity's password, which is read from standard input
    #[command(after_help = "Example:\n  ravelin ctl directory password meter-7 --dir plant < password.txt")]
    Password {
        /// The identity
        name: String,
    },
    /// Delete one; the connections of an identity that is deleted end
    #[command(after_help = "Example:\n  ravelin ctl directory delete identities meter-7 --dir plant")]
    Delete {
        /// What
        kind: Kind,
        /// Its name
        name: String,
    },
    /// The groups and defaults of the directory as a whole
    #[command(after_help = "Example:\n  ravelin ctl directory settings --dir plant")]
    Settings,
    /// Carry out commands of Mosquitto's dynamic security, and print the answers
    #[command(after_help = "Example:
  ravelin ctl directory commands change.json --dir plant

The file holds what a client would publish to $CONTROL/dynamic-security/v1: {\"commands\":[...]}.")]
    Commands {
        /// The file [default: standard input]
        file: Option<PathBuf>,
    },
    /// Take over a dynamic-security.json of Mosquitto: all of it, or nothing
    #[command(after_help = "Example:
  ravelin ctl directory import /var/lib/mosquitto/dynamic-security.json --dir plant

Whoever administered Mosquitto administers this node only with --administrators.")]
    Import {
        /// The file
        file: PathBuf,
        /// Take the place of what has the same name; otherwise that is an error
        #[arg(long)]
        replace: bool,
        /// Give the role `admin` to whoever administered Mosquitto
        #[arg(long)]
        administrators: bool,
        /// Take over the defaults where no rule says anything; Mosquitto's are broader
        #[arg(long)]
        defaults: bool,
    },
}

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Kind::Identities => "/v1/directory/identities",
            Kind::Groups => "/v1/directory/groups",
            Kind::Roles => "/v1/directory/roles",
            Kind::Classes => "/v1/directory/classes",
        }
    }

    fn of(self, name: &str) -> String {
        format!("{}/{}", self.path(), segment(name))
    }
}

/// Runs the command.
pub fn run(ctl: &Ctl, args: Args) -> Result<(), ClientError> {
    match args.command {
        Command::List { kind, max } => {
            let all: Vec<Value> = ctl.all(kind.path(), max)?;
            ctl.print(&all, |all| list(kind, all));
        }
        Command::Show { kind, name } => {
            let value: Value = ctl.client.get(&kind.of(&name))?;
            ctl.print_text(&value, pretty);
        }
        Command::Set { kind, name, file } => {
            let value: Value = ctl.client.call("PUT", &kind.of(&name), &read_json(file.as_deref())?)?;
            ctl.print_text(&value, pretty);
        }
        Command::Password { name } => {
            let usage = |error: anyhow::Error| ClientError::Usage(format!("{error:#}"));
            let password = crate::commands::passwd::read_password().map_err(usage)?;
            let password = String::from_utf8_lossy(password.expose());
            let command = json!({"command": "setClientPassword", "username": name, "password": password});
            let answer: Value = ctl.client.call("POST", COMMANDS, &json!({ "commands": [command] }))?;
            if let Some(error) = answer["responses"][0]["error"].as_str() {
                return Err(ClientError::Unmet(error.into()));
            }
            ctl.done(&format!("{name} has a new password; the sessions of the old one have ended"));
        }
        Command::Delete { kind, name } => {
            ctl.client.order_plain("DELETE", &kind.of(&name))?;
            ctl.done(&format!("{name} is deleted"));
        }
        Command::Settings => {
            let settings: Settings = ctl.client.get("/v1/directory/settings")?;
            ctl.print(&settings, |settings| {
                let mut table = Table::pairs();
                table.pair("anonymous group", or_dash(&settings.anonymous_group));
                table.pair("default group", or_dash(&settings.default_group));
                let may = |allowed| if allowed { "allow" } else { "deny" };
                table.pair("publishClientSend", may(settings.defaults.publish_client_send));
                table.pair("publishClientReceive", may(settings.defaults.publish_client_receive));
                table.pair("subscribe", may(settings.defaults.subscribe));
                table.pair("unsubscribe", may(settings.defaults.unsubscribe));
                table
            });
        }
        Command::Commands { file } => {
            let answer: Value = ctl.client.call("POST", COMMANDS, &read_json(file.as_deref())?)?;
            ctl.print_text(&answer, pretty);
            let answers = answer["responses"].as_array().map_or(&[][..], Vec::as_slice);
            let failed = answers.iter().filter(|answer| answer.get("error").is_some()).count();
            if failed > 0 {
                return Err(ClientError::Unmet(format!(
                    "{failed} of {} commands were refused",
                    answers.len()
                )));
            }
        }
        Command::Import { file, replace, administrators, defaults } => {
            let request = ImportRequest { file: read_json(Some(&file))?, replace, administrators, defaults };
            let done: Imported = ctl.client.call("POST", "/v1/directory/import", &request)?;
            ctl.print(&done, |done| {
                let mut table = Table::pairs();
                table.pair("clients", done.clients);
                table.pair("groups", done.groups);
                table.pair("roles", done.roles);
                let role = if administrators { "administrators" } else { "administered Mosquitto" };
                table.pair(
                    role,
                    if done.administrators.is_empty() { "-".into() } else { done.administrators.join(", ") },
                );
                for note in &done.notes {
                    table.pair("note", note);
                }
                table
            });
        }
    }
    Ok(())
}

const COMMANDS: &str = "/v1/directory/commands";

fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.lines().map(|line| super::table::plain(line) + "\n").collect()
}

fn read_json(file: Option<&Path>) -> Result<Value, ClientError> {
    let (name, text) = match file {
        Some(path) => (path.display().to_string(), std::fs::read_to_string(path)),
        None => ("standard input".into(), std::io::read_to_string(std::io::stdin())),
    };
    let bad = |error: String| ClientError::Usage(format!("{name}: {error}"));
    serde_json::from_str(&text.map_err(|error| bad(error.to_string()))?)
        .map_err(|error| bad(error.to_string()))
}

fn list(kind: Kind, all: &[Value]) -> Table {
    let text = |value: &Value| match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let name = |item: &Value| {
                let name = item.get("rolename").or_else(|| item.get("groupname")).unwrap_or(item);
                name.as_str().map_or_else(|| name.to_string(), String::from)
            };
            if list.is_empty() { "-".into() } else { list.iter().map(name).collect::<Vec<_>>().join(", ") }
        }
        other => other.to_string(),
    };
    let (columns, fields): (&[&str], &[&str]) = match kind {
        Kind::Identities => (
            &["NAME", "DISABLED", "CLASS", "ROLES", "GROUPS", "CREDENTIALS"],
            &["username", "disabled", "class", "roles", "groups", "credentials"],
        ),
        Kind::Groups => (&["NAME", "ROLES", "TEXT"], &["groupname", "roles", "textname"]),
        Kind::Roles => (&["NAME", "TEXT"], &["rolename", "textdescription"]),
        Kind::Classes => (&["NAME", "SECOND FACTOR", "LIMITS"], &["classname", "secondfactor", "limits"]),
    };
    Table::new(columns)
        .with(all.iter().map(|one| fields.iter().map(|field| text(&one[*field])).collect::<Vec<_>>()))
}
