//! What the process may still do once it serves: its own files, its own sockets, nothing else of the machine.
//!
//! In two steps. [`Sandbox::enter`], before any other thread exists (what a thread may do is its own affair, and new threads
//! inherit it): another user, no capabilities, no new privileges, and with landlock only the files that the configuration
//! names. [`Sandbox::close`], once everything is open: with seccomp only the system calls that a node makes, for all threads.
//! What the kernel does not have is said; `mode = "require"` makes it fatal.

mod calls;
mod files;
mod user;

use crate::config::{Config, SandboxMode};
use crate::error::Error;
use ravelin_event::Event;
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::path::Path;

/// A sandbox that is half closed.
pub struct Sandbox {
    mode: SandboxMode,
    applied: Vec<String>,
    missing: Vec<String>,
}

impl Sandbox {
    /// Gives up what is not needed from here on. Call it before anything starts a thread.
    pub fn enter(config: &Config) -> Result<Sandbox, Error> {
        let mode = config.sandbox.mode;
        let mut sandbox = Sandbox { mode, applied: Vec::new(), missing: Vec::new() };
        let ports = config.listeners.iter().map(|listener| listener.address.port());
        let low = ports.into_iter().any(|port| (1..1024).contains(&port));
        let keep = if low { CapabilitySet::NET_BIND_SERVICE } else { CapabilitySet::empty() };
        if let Some(name) = &config.sandbox.user {
            sandbox.note("user", user::become_user(name, keep).map(|()| true))?;
        }
        if mode == SandboxMode::Off {
            return Ok(sandbox);
        }
        sandbox.note("capabilities", drop_capabilities(keep, false).map(|()| true))?;
        sandbox.note("no_new_privs", no_new_privs())?;
        sandbox.note("landlock", files::restrict(config))?;
        Ok(sandbox)
    }

    /// Allows only the system calls of a node, on all threads. Call it when everything is open. Returns what to tell.
    pub fn close(mut self) -> Result<Option<Event>, Error> {
        if self.mode == SandboxMode::Off {
            return Ok(None);
        }
        self.note("seccomp", calls::restrict())?;
        let (applied, missing) = (self.applied.join(", "), self.missing.join(", "));
        Ok(Some(match missing.is_empty() {
            true => Event::SandboxClosed { applied },
            false => Event::SandboxIncomplete { applied, missing },
        }))
    }

    /// How a part went: `Ok(false)` is that the kernel has only a part of it.
    fn note(&mut self, what: &'static str, result: Result<bool, String>) -> Result<(), Error> {
        let problem = match result {
            Ok(true) => {
                self.applied.push(what.into());
                return Ok(());
            }
            Ok(false) => {
                self.applied.push(what.into());
                format!("{what} (the kernel has only a part of it)")
            }
            Err(error) => format!("{what} ({error})"),
        };
        // Whoever asked for another user does not want to be served as root.
        if self.mode == SandboxMode::Require || what == "user" {
            return Err(Error::Sandbox { problem });
        }
        self.missing.push(problem);
        Ok(())
    }
}

/// Becomes what the firewall's agent is: another user, if one is named, with CAP_NET_ADMIN and nothing else, which what it
/// runs inherits; with landlock, it may read and run the system's programs and `nft`, and write nothing.
pub(crate) fn confine_agent(user: Option<&str>, nft: &Path) -> Result<(), String> {
    let keep = CapabilitySet::NET_ADMIN;
    let held = rustix::thread::capabilities(None).map_err(|error| error.to_string())?;
    if !held.permitted.contains(keep) {
        return Err("the node was started without the right to change the firewall (CAP_NET_ADMIN)".into());
    }
    if let Some(name) = user {
        user::become_user(name, keep)?;
    }
    drop_capabilities(keep, true)?;
    no_new_privs()?;
    // A kernel without landlock, or with a part of it, is told of by the node, which needs it more.
    let _ = files::restrict_to_programs(nft);
    Ok(())
}

/// Keeps of what is held only `keep` (a port below 1024 is still to be opened: whoever opens it needs a capability, which is
/// of no use once no call that listens is allowed any more). `inherited`: also what the process runs has it.
fn drop_capabilities(keep: CapabilitySet, inherited: bool) -> Result<(), String> {
    let told = |error: rustix::io::Errno| error.to_string();
    let held = rustix::thread::capabilities(None).map_err(told)?;
    let keep = held.permitted & keep;
    // Only whoever may take capabilities out of the bounding set need do so.
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for number in 0..64 {
            let one = CapabilitySet::from_bits_retain(1 << number);
            if inherited && keep.contains(one) {
                continue;
            }
            match rustix::thread::remove_capability_from_bounding_set(one) {
                Ok(()) => {}
                // The kernel has no more.
                Err(rustix::io::Errno::INVAL) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
    }
    let inheritable = if inherited { keep } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective: keep, permitted: keep, inheritable };
    rustix::thread::set_capabilities(None, sets).map_err(told)?;
    for one in inheritable.iter() {
        rustix::thread::configure_capability_in_ambient_set(one, true).map_err(told)?;
    }
    Ok(())
}

fn no_new_privs() -> Result<bool, String> {
    rustix::thread::set_no_new_privs(true).map(|()| true).map_err(|error| error.to_string())
}
