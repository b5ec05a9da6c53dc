//! The operating system's firewall: one nftables table that Ravelin owns, with a set of networks whose packets to the
//! node's listeners are dropped.
//!
//! The node has given up its rights by the time that it serves. So a small process of the same binary is started before that; it
//! keeps CAP_NET_ADMIN and nothing else, and understands three requests ([`wire`]): which ports, which networks for how
//! long, and what the table holds. It writes the text for `nft` itself, from parsed addresses ([`rules`]). Nothing outside the one
//! table is touched. Where the right or `nft` is missing, nothing is pretended: the node says what it would have set.

pub(crate) mod agent;
pub(crate) mod rules;
#[doc(hidden)]
pub mod wire;

pub use agent::{AGENT_COMMAND, serve as serve_agent};

use crate::config::{Config, FirewallConfig};
use rules::Blocked;
use serde::Serialize;
use serde_json::Value;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use wire::Request;

/// The node's end of the agent.
pub struct Agent {
    child: Child,
}

impl Agent {
    /// Starts the agent, where the configuration asks for a firewall. Call it before [`crate::Sandbox::enter`]. An agent that cannot be
    /// started is an error to be told; the node then runs dry.
    pub fn start(config: &Config) -> Option<Result<Agent, String>> {
        let FirewallConfig { enabled, table, nft, leave, .. } = &config.firewall;
        if !enabled {
            return None;
        }
        let program = std::env::current_exe().map_err(|error| format!("the path of this program: {error}"));
        Some(program.and_then(|program| {
            let mut command = Command::new(&program);
            command.arg(AGENT_COMMAND).arg("--table").arg(table).arg("--nft").arg(nft);
            if *leave {
                command.arg("--leave");
            }
            let spawned = command.env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            spawned.map(|child| Agent { child }).map_err(|error| format!("{}: {error}", program.display()))
        }))
    }

    /// Has the agent do something; its answer, or why it did not.
    fn ask(&mut self, request: &Request) -> Result<String, String> {
        let told = |error: std::io::Error| format!("the firewall agent does not answer: {error}");
        let stdin = self.child.stdin.as_mut().ok_or("the firewall agent has no input")?;
        stdin.write_all(&request.encode()).and_then(|()| stdin.flush()).map_err(told)?;
        let stdout = self.child.stdout.as_mut().ok_or("the firewall agent has no output")?;
        let mut head = [0; wire::ANSWER_HEAD];
        stdout.read_exact(&mut head).map_err(told)?;
        let (done, length) = wire::answer_head(head).ok_or("the firewall agent answers nonsense")?;
        let mut text = vec![0; length];
        stdout.read_exact(&mut text).map_err(told)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        if done { Ok(text) } else { Err(text) }
    }
}

/// How the firewall is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FirewallView {
    /// `off`, `active`, or `dry_run`: nothing is really dropped.
    pub state: &'static str,
    /// Why it runs dry.
    pub why: Option<String>,
    /// The table.
    pub table: String,
    /// The ports of the listeners.
    pub ports: Vec<u16>,
    /// What is (or would be) dropped.
    pub blocked: Vec<Blocked>,
    /// Packets that were dropped.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// What `nft` is (or would be) told.
    pub text: String,
}

/// The firewall as the node keeps it.
#[derive(Default)]
pub(crate) struct Firewall {
    agent: Option<Agent>,
    /// Why there is no agent, or what it said last when it could not do what it was asked to.
    problem: Option<String>,
    table: String,
    ports: Vec<u16>,
    blocked: Vec<Blocked>,
}

impl Firewall {
    /// Takes the agent up, and has it make the table.
    pub fn attach(&mut self, agent: Option<Result<Agent, String>>, config: &FirewallConfig, ports: Vec<u16>) {
        self.table = config.table.clone();
        self.ports = ports;
        self.problem = None;
        match agent {
            None => self.problem = Some("the firewall is not enabled (`[firewall] enabled = true`)".into()),
            Some(Err(why)) => self.problem = Some(why),
            Some(Ok(agent)) => {
                self.agent = Some(agent);
                self.set_up();
            }
        }
        let blocked = std::mem::take(&mut self.blocked);
        self.block(blocked);
    }

    fn set_up(&mut self) {
        let ports = Request::Ports(self.ports.clone());
        if let Some(agent) = &mut self.agent
            && let Err(why) = agent.ask(&ports)
        {
            self.problem = Some(why);
        }
    }

    /// From now on these are dropped, and nobody else. Whether they really are.
    pub fn block(&mut self, blocked: Vec<Blocked>) -> bool {
        self.blocked = blocked;
        let Some(agent) = self.agent.as_mut().filter(|_| self.problem.is_none()) else { return false };
        match agent.ask(&Request::Block(self.blocked.clone())) {
            Ok(_) => true,
            Err(why) => {
                self.problem = Some(why);
                false
            }
        }
    }

    /// Why nothing is dropped; `None` if it is.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Where packets are dropped.
    pub fn place(&self) -> String {
        let ports: Vec<_> = self.ports.iter().map(ToString::to_string).collect();
        format!("table inet {}, ports {}", self.table, ports.join(", "))
    }

    /// What `nft` is (or would be) told now.
    pub fn text(&self) -> String {
        rules::elements(&self.table, &self.blocked)
    }

    /// How it is.
    pub fn view(&mut self, enabled: bool) -> FirewallView {
        let counted = match self.agent.as_mut().filter(|_| self.problem.is_none()) {
            Some(agent) => agent.ask(&Request::List).unwrap_or_default(),
            None => String::new(),
        };
        let (packets, bytes) = counters(&counted);
        FirewallView {
            state: match (enabled, &self.problem) {
                (false, _) => "off",
                (true, None) => "active",
                (true, Some(_)) => "dry_run",
            },
            why: self.problem.clone(),
            table: self.table.clone(),
            ports: self.ports.clone(),
            blocked: self.blocked.clone(),
            packets,
            bytes,
            text: self.text(),
        }
    }
}

/// Packets and bytes of the table's counter, out of what `nft -j list table` says.
fn counters(listed: &str) -> (u64, u64) {
    let listed: Value = serde_json::from_str(listed).unwrap_or_default();
    let objects = listed["nftables"].as_array().into_iter().flatten();
    let counter = objects.map(|object| &object["counter"]).find(|counter| counter["name"] == rules::COUNTER);
    counter.map_or((0, 0), |counter| {
        (counter["packets"].as_u64().unwrap_or_default(), counter["bytes"].as_u64().unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_read_from_what_nft_lists() {
        let listed = r#"{"nftables":[{"metainfo":{"version":"1.0.6"}},{"table":{"family":"inet","name":"r"}},
            {"counter":{"family":"inet","name":"dropped","table":"r","handle":3,"packets":7,"bytes":420}}]}"#;
        assert_eq!(counters(listed), (7, 420));
        assert_eq!(counters("not JSON"), (0, 0));
    }

    #[test]
    fn without_an_agent_it_runs_dry_and_says_what_it_would_do() {
        let mut firewall = Firewall::default();
        let config = FirewallConfig { enabled: true, ..FirewallConfig::default() };
        firewall.attach(Some(Err("no rights".into())), &config, vec![8883]);
        let blocked = vec![Blocked { network: "192.0.2.7/32".parse().unwrap(), seconds: Some(60) }];
        assert!(!firewall.block(blocked));
        let view = firewall.view(true);
        assert_eq!((view.state, view.why.as_deref()), ("dry_run", Some("no rights")));
        assert!(view.text.contains("192.0.2.7/32 timeout 60s"), "{}", view.text);
    }
}
