//! The firewall agent: a process of its own that may change the one table, and can do nothing else.
//!
//! What it may touch is on its command line and never changes: the table, and the networks that are never dropped. The ports are
//! told once, before the node reads a byte of a client: a node in a stranger's hands cannot have another port guarded.

use super::guard;
use super::listing::Listing;
use super::rules::{self, Blocked};
use super::wire::{self, Request};
use crate::config::Network;
use crate::sandbox;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The hidden command of the binary that runs it.
pub const AGENT_COMMAND: &str = "firewall-agent";

/// What an agent may do.
#[derive(Clone, Debug)]
pub struct Duties {
    /// The table that it may change.
    pub table: String,
    /// The program.
    pub nft: PathBuf,
    /// The table stays when the node has ended.
    pub leave: bool,
    /// Networks that are never dropped.
    pub never: Vec<Network>,
    /// The user to become, when started as root: a name, or `uid:gid`.
    pub user: Option<String>,
}

struct Agent<'d> {
    duties: &'d Duties,
    /// The table is there, and its ports are fixed.
    made: bool,
}

/// Serves the node on standard input, which is a socket, until that closes its end.
///
/// # Errors
/// If standard input is no socket, or something else than requests comes from it.
pub fn serve(duties: &Duties) -> io::Result<()> {
    if !rules::is_table_name(&duties.table) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the table's name is not one of Ravelin's"));
    }
    // A signal to the node's group is for the node; the agent ends with its input.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let mut stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let restricted = sandbox::confine_agent(duties.user.as_deref(), &duties.nft);
    let mut agent = Agent { duties, made: false };
    while let Some(request) = Request::read(&mut stream)? {
        let result = restricted.clone().and_then(|()| agent.carry_out(&request));
        stream.write_all(&wire::answer(&result))?;
    }
    if agent.made && !duties.leave {
        agent.write(&rules::table(&duties.table, &[])).map_err(io::Error::other)?;
    }
    Ok(())
}

impl Agent<'_> {
    fn carry_out(&mut self, request: &Request) -> Result<String, String> {
        let table = &self.duties.table;
        match request {
            Request::Ports(_) if self.made => Err("the table is made, and its ports are fixed".into()),
            Request::Ports(ports) => {
                // What an earlier node had dropped stays dropped: its orders may still be in force.
                let before = self.list().map(|text| Listing::parse(&text)).unwrap_or_default();
                let kept = before.dropped.iter().filter(|one| self.spare(one.network).is_ok());
                let kept = kept
                    .map(|one| Blocked { network: one.network, seconds: one.seconds })
                    .collect::<Vec<_>>();
                let text = rules::table(table, ports) + &rules::elements(table, &kept, &before.hits());
                self.write(&text).inspect(|_| self.made = true)
            }
            Request::Block(blocked) => {
                for one in blocked {
                    self.spare(one.network)?;
                }
                let counted = Listing::parse(&self.list()?).hits();
                self.write(&rules::elements(table, blocked, &counted))
            }
            Request::List => self.list(),
        }
    }

    fn spare(&self, network: Network) -> Result<(), String> {
        let network = network.to_canonical();
        guard::check(network, &self.duties.never, &guard::own_addresses())
            .map_err(|spared| spared.to_string())
    }

    fn list(&self) -> Result<String, String> {
        self.run(&["-j", "list", "table", "inet", &self.duties.table], "")
    }

    fn write(&self, text: &str) -> Result<String, String> {
        self.run(&["-f", "-"], text)
    }

    fn run(&self, arguments: &[&str], text: &str) -> Result<String, String> {
        let told = |error: io::Error| format!("{}: {error}", self.duties.nft.display());
        let mut child = Command::new(&self.duties.nft)
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(told)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that ends early says why on its standard error.
            let _ = stdin.write_all(text.as_bytes());
        }
        let output = child.wait_with_output().map_err(told)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let first: Vec<&str> = errors.lines().take(3).collect();
        Err(format!("nft failed: {}", first.join(" ")))
    }
}
