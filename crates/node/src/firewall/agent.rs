//! The firewall agent: a process of its own that may change the one table, and can do nothing else.

use super::rules;
use super::wire::{self, Request};
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io::{self, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The hidden command of the binary that runs it.
pub const AGENT_COMMAND: &str = "firewall-agent";

/// Serves the node on standard input and output until that closes its end. `leave`: the table stays then.
pub fn serve(table: &str, nft: &Path, leave: bool) -> io::Result<()> {
    if !rules::is_table_name(table) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the table's name is not a word"));
    }
    // A signal to the node's group is for the node; the agent ends with its input.
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    let restricted = keep_net_admin();
    let mut input = BufReader::new(io::stdin().lock());
    let mut output = io::stdout().lock();
    let mut made = false;
    while let Some(request) = Request::read(&mut input)? {
        let result = match &restricted {
            Ok(()) => carry_out(table, nft, &request),
            Err(why) => Err(why.clone()),
        };
        made |= matches!(request, Request::Ports(_)) && result.is_ok();
        output.write_all(&wire::answer(&result))?;
        output.flush()?;
    }
    if made && !leave {
        run(nft, &["-f", "-"], &rules::table(table, &[])).map_err(io::Error::other)?;
    }
    Ok(())
}

fn carry_out(table: &str, nft: &Path, request: &Request) -> Result<String, String> {
    match request {
        Request::Ports(ports) => run(nft, &["-f", "-"], &rules::table(table, ports)),
        Request::Block(blocked) => run(nft, &["-f", "-"], &rules::elements(table, blocked)),
        Request::List => run(nft, &["-j", "list", "table", "inet", table], ""),
    }
}

/// Keeps the one capability, also for `nft`, and gives up the others for good.
fn keep_net_admin() -> Result<(), String> {
    let told = |error: rustix::io::Errno| error.to_string();
    let held = rustix::thread::capabilities(None).map_err(told)?;
    let keep = CapabilitySet::NET_ADMIN;
    if !held.permitted.contains(keep) {
        return Err("the node was started without the right to change the firewall (CAP_NET_ADMIN)".into());
    }
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for number in 0..64 {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if one == keep {
                continue;
            }
            match rustix::thread::remove_capability_from_bounding_set(one) {
                Ok(()) => {}
                Err(rustix::io::Errno::INVAL) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
    }
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable: keep };
    rustix::thread::set_capabilities(None, sets).map_err(told)?;
    // Whoever is not root hands it on to `nft` this way only.
    let _ = rustix::thread::configure_capability_in_ambient_set(keep, true);
    Ok(())
}

fn run(nft: &Path, arguments: &[&str], text: &str) -> Result<String, String> {
    let told = |error: io::Error| format!("{}: {error}", nft.display());
    let mut child = Command::new(nft)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(told)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes()).map_err(told)?;
    }
    let output = child.wait_with_output().map_err(told)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let first: Vec<&str> = errors.lines().take(3).collect();
    Err(format!("nft failed: {}", first.join(" ")))
}
