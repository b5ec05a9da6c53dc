//! Who may do what: why, which grants nobody uses, and whom new rules would refuse.

use super::Ctl;
use super::table::{Table, or_dash, plain, time};
use ravelin_console::api::acl::{DryRunRequest, DryRunResult, Unused, Why};
use ravelin_console::client::{ClientError, segment};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// See why a client may do something, which grants nobody uses, and whom new rules would refuse.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Why a client may do something, or may not
    #[command(after_help = "Examples:
  ravelin ctl acl why meter-7 publish meters/meter-7/reading --dir plant
  ravelin ctl acl why meter-7 subscribe 'commands/#' --qos 1 --dir plant
  ravelin ctl acl why new-id publish a/b --identity meter-7 --dir plant

Of a client that has a session, its certificate counts too. The exit code is 0 also where it may not.")]
    Why {
        /// The Client Identifier
        client: String,
        /// What it wants to do
        #[arg(value_parser = ["publish", "receive", "subscribe", "unsubscribe"])]
        action: String,
        /// The topic, or the filter
        topic: String,
        /// The identity, of a client that has no session [default: the Client Identifier]
        #[arg(long)]
        identity: Option<String>,
        /// The QoS of a publish or a subscription
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
        qos: u8,
        /// The message is to be retained
        #[arg(long)]
        retain: bool,
    },
    /// The grants that nobody used
    #[command(after_help = "Example:\n  ravelin ctl acl unused --for 30d --dir plant")]
    Unused {
        /// For how long nobody used it: 30d, 12h [default: since the node started]
        #[arg(long = "for", value_name = "DURATION")]
        unused_for: Option<String>,
    },
    /// Whom new rules would refuse, tried on what clients did; nothing changes
    #[command(after_help = "Examples:
  ravelin ctl acl dry-run --rules new-access.rules --dir plant
  ravelin ctl acl dry-run --commands change.json --within 1d --dir plant

The commands are those of Mosquitto's dynamic security: {\"commands\":[{\"command\":\"removeRoleACL\",...}]}.
The exit code is 1 if anybody would be refused.")]
    DryRun {
        /// A new access-rules file
        #[arg(long, value_name = "FILE")]
        rules: Option<PathBuf>,
        /// Commands that would change the directory, in a JSON file
        #[arg(long, value_name = "FILE")]
        commands: Option<PathBuf>,
        /// Only what was done within so long: 1h, 7d
        #[arg(long, value_name = "DURATION")]
        within: Option<String>,
    },
}

/// Runs the command.
pub fn run(ctl: &Ctl, args: Args) -> Result<(), ClientError> {
    match args.command {
        Command::Why { client, action, topic, identity, qos, retain } => {
            let mut path = format!(
                "/v1/acl/why?client={}&action={action}&topic={}&qos={qos}&retain={retain}",
                segment(&client),
                segment(&topic)
            );
            if let Some(identity) = identity {
                path.push_str(&format!("&identity={}", segment(&identity)));
            }
            let why: Why = ctl.client.get(&path)?;
            ctl.print_text(&why, |why| why.text.lines().map(|line| plain(line) + "\n").collect());
        }
        Command::Unused { unused_for } => {
            let query = unused_for.map_or_else(String::new, |text| format!("?for={}", segment(&text)));
            let unused: Unused = ctl.client.get(&format!("/v1/acl/unused{query}"))?;
            let seconds = |at: u32| time(u64::from(at) * 1000);
            ctl.print(&unused, |unused| {
                Table::new(&["SOURCE", "ROLE", "RULE", "LAST USED"]).with(unused.grants.iter().map(|grant| {
                    let last = grant.last_s.map_or_else(|| "never".into(), seconds);
                    [grant.source.clone(), or_dash(&grant.role), grant.rule.clone(), last]
                }))
            });
        }
        Command::DryRun { rules, commands, within } => return try_rules(ctl, rules, commands, within),
    }
    Ok(())
}

fn try_rules(
    ctl: &Ctl,
    rules: Option<PathBuf>,
    commands: Option<PathBuf>,
    within: Option<String>,
) -> Result<(), ClientError> {
    if rules.is_none() && commands.is_none() {
        return Err(ClientError::Usage("there is nothing to try: give --rules or --commands".into()));
    }
    let rules = rules.as_deref().map(read).transpose()?;
    let commands = match commands.as_deref() {
        None => Vec::new(),
        Some(path) => {
            let bad = |what: &str| ClientError::Usage(format!("{}: {what}", path.display()));
            let text: Value = serde_json::from_str(&read(path)?).map_err(|error| bad(&error.to_string()))?;
            let list = text.get("commands").unwrap_or(&text).as_array().cloned();
            list.ok_or_else(|| bad("it is no {\"commands\":[...]}"))?
        }
    };
    let request = DryRunRequest { rules, commands, within };
    let result: DryRunResult = ctl.client.call("POST", "/v1/acl/dry-run", &request)?;
    for answer in result.responses.iter().filter(|answer| answer.get("error").is_some()) {
        eprintln!("{}", plain(&answer.to_string()));
    }
    ctl.print(&result, |result| {
        let columns = ["CLIENT", "IDENTITY", "ACTION", "TOPIC", "COUNT", "LAST", "WHY"];
        Table::new(&columns).with(result.refused.iter().map(|one| {
            [
                one.client_id.clone(),
                or_dash(&one.identity),
                one.action.clone(),
                one.topic.clone(),
                one.count.to_string(),
                time(u64::from(one.last_s) * 1000),
                one.why.clone(),
            ]
        }))
    });
    match result.refused.len() {
        0 => Ok(()),
        count => Err(ClientError::Unmet(format!("{count} of {} would be refused", result.tried))),
    }
}

fn read(path: &Path) -> Result<String, ClientError> {
    std::fs::read_to_string(path).map_err(|error| ClientError::Usage(format!("{}: {error}", path.display())))
}
