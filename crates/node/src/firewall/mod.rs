//! The operating system's firewall: one nftables table that Ravelin owns, with a set of networks whose packets to the
//! node's listeners are dropped.
//!
//! The node has given up its rights by the time that it serves. So a small process of the same binary is started before that; it
//! keeps CAP_NET_ADMIN and nothing else, and understands three requests ([`wire`]): which ports, which networks for how
//! long, and what the table holds. It writes the text for `nft` itself, from parsed addresses (`rules`). Nothing outside the one
//! table is touched. Where the right or `nft` is missing, nothing is pretended: the node says what it would have set.

pub(crate) mod agent;
pub(crate) mod guard;
pub(crate) mod listing;
pub(crate) mod rules;
#[doc(hidden)]
pub mod wire;

pub use agent::{AGENT_COMMAND, Duties, serve as serve_agent};
pub use listing::Dropped;

use crate::config::{Config, FirewallConfig};
use listing::Listing;
use rules::{Blocked, Hits};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use wire::Request;

/// The agent answers in milliseconds; one that has not by then never will, and nobody waits for it any longer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The node's end of the agent.
pub struct Agent {
    stream: UnixStream,
    /// It ends when the socket closes.
    _child: Child,
}

impl Agent {
    /// Starts the agent, where the configuration asks for a firewall. Call it before [`crate::Sandbox::enter`]. An agent that cannot be
    /// started is an error to be told; the node then runs dry.
    pub fn start(config: &Config) -> Option<Result<Agent, String>> {
        let FirewallConfig { enabled, table, nft, leave, never } = &config.firewall;
        if !enabled {
            return None;
        }
        let program = std::env::current_exe().map_err(|error| format!("the path of this program: {error}"));
        Some(program.and_then(|program| {
            let mut command = Command::new(&program);
            command.env_clear().arg(AGENT_COMMAND).arg("--table").arg(table).arg("--nft").arg(nft);
            command.args(never.iter().map(|network| format!("--never={network}")));
            command.args(config.sandbox.user.iter().map(|user| format!("--user={user}")));
            if *leave {
                command.arg("--leave");
            }
            Agent::start_as(command)
        }))
    }

    /// The same with another program in its place, which gets the socket as its standard input.
    pub fn start_as(mut command: Command) -> Result<Agent, String> {
        let told = |error: io::Error| format!("the firewall agent could not be started: {error}");
        let (stream, agents) = UnixStream::pair().map_err(told)?;
        stream.set_read_timeout(Some(ANSWER_MAX)).map_err(told)?;
        stream.set_write_timeout(Some(ANSWER_MAX)).map_err(told)?;
        // A group of its own: an interrupt from a terminal is for the node.
        command.stdin(Stdio::from(OwnedFd::from(agents))).stdout(Stdio::null()).process_group(0);
        command.spawn().map(|child| Agent { stream, _child: child }).map_err(told)
    }

    /// Has the agent do something; its answer, or why it did not. The outer error: it has failed for good.
    fn ask(&mut self, request: &Request) -> Result<Result<String, String>, String> {
        let told =
            |error: io::Error| format!("the firewall agent does not answer: {error}; restart the node");
        self.stream.write_all(&request.encode()).map_err(told)?;
        let mut head = [0; wire::ANSWER_HEAD];
        self.stream.read_exact(&mut head).map_err(told)?;
        let (done, length) =
            wire::answer_head(head).ok_or("the firewall agent answers nonsense; restart the node")?;
        let mut text = vec![0; length];
        self.stream.read_exact(&mut text).map_err(told)?;
        let text = String::from_utf8_lossy(&text).into_owned();
        Ok(if done { Ok(text) } else { Err(text) })
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
    pub blocked: Vec<Dropped>,
    /// Packets that were dropped since the table was made.
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
    /// The agent has made the table.
    made: bool,
    /// Why there is no agent or no table, or what went wrong last.
    problem: Option<String>,
    table: String,
    ports: Vec<u16>,
}

impl Firewall {
    /// Takes the agent up, and has it make the table. Returns what an earlier node has left in it, which stays there.
    pub fn attach(
        &mut self,
        agent: Option<Result<Agent, String>>,
        config: &FirewallConfig,
        ports: Vec<u16>,
    ) -> Vec<Dropped> {
        *self = Firewall { table: config.table.clone(), ports, ..Firewall::default() };
        match agent {
            None => self.problem = Some("the firewall is not enabled (`[firewall] enabled = true`)".into()),
            Some(Err(why)) => self.problem = Some(why),
            Some(Ok(agent)) => self.agent = Some(agent),
        }
        if self.make().is_err() { Vec::new() } else { self.list().dropped }
    }

    fn make(&mut self) -> Result<(), String> {
        if !self.made {
            self.ask(&Request::Ports(self.ports.clone()))?;
            self.made = true;
        }
        Ok(())
    }

    /// From now on these are dropped, and nobody else.
    ///
    /// # Errors
    /// Why not; what was dropped before still is.
    pub fn block(&mut self, blocked: Vec<Blocked>) -> Result<(), String> {
        self.make()?;
        self.ask(&Request::Block(blocked)).map(|_| ())
    }

    fn list(&mut self) -> Listing {
        self.ask(&Request::List).map(|text| Listing::parse(&text)).unwrap_or_default()
    }

    fn ask(&mut self, request: &Request) -> Result<String, String> {
        let Some(agent) = &mut self.agent else { return Err(self.problem.clone().unwrap_or_default()) };
        let answer = agent.ask(request).unwrap_or_else(|failed| {
            // What it says next may be the answer to this.
            self.agent = None;
            Err(failed)
        });
        self.problem = answer.as_ref().err().cloned();
        answer
    }

    /// Whether packets can really be dropped.
    pub fn is_active(&self) -> bool {
        self.made && self.agent.is_some()
    }

    /// Where packets are dropped.
    pub fn place(&self) -> String {
        let ports: Vec<_> = self.ports.iter().map(ToString::to_string).collect();
        format!("table inet {}, ports {}", self.table, ports.join(", "))
    }

    /// What `nft` is (or would be) told to drop these.
    pub fn text(&self, blocked: &[Blocked]) -> String {
        rules::elements(&self.table, blocked, &BTreeMap::new())
    }

    /// How it is. `blocked`: what is to be dropped.
    pub fn view(&mut self, enabled: bool, blocked: &[Blocked]) -> FirewallView {
        let not_counted =
            |one: &Blocked| Dropped { network: one.network, seconds: one.seconds, packets: 0, bytes: 0 };
        let mut view = FirewallView {
            state: if enabled { "dry_run" } else { "off" },
            why: None,
            table: self.table.clone(),
            ports: self.ports.clone(),
            blocked: blocked.iter().map(not_counted).collect(),
            packets: 0,
            bytes: 0,
            text: self.text(blocked),
        };
        if self.is_active() {
            let Listing { all: Hits { packets, bytes }, dropped } = self.list();
            if self.problem.is_none() {
                view = FirewallView { state: "active", blocked: dropped, packets, bytes, ..view };
            }
        }
        view.why = self.problem.clone();
        view
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_agent_it_runs_dry_and_says_what_it_would_do() {
        let mut firewall = Firewall::default();
        let config = FirewallConfig { enabled: true, ..FirewallConfig::default() };
        firewall.attach(Some(Err("no rights".into())), &config, vec![8883]);
        let blocked = vec![Blocked { network: "192.0.2.7/32".parse().unwrap(), seconds: Some(60) }];
        assert_eq!(firewall.block(blocked.clone()), Err("no rights".into()));
        let view = firewall.view(true, &blocked);
        assert_eq!((view.state, view.why.as_deref()), ("dry_run", Some("no rights")));
        assert!(view.text.contains("192.0.2.7/32 timeout 60s"), "{}", view.text);
    }
}
