//! The stop of a node that may be compromised: in stages, to a known state, from which it does not come back by itself.

use super::{Control, FenceFailure};
use crate::config::Config;
use crate::control::Actor;
use crate::error::Error;
use aws_lc_rs::digest::{SHA256, digest};
use ravelin_event::Event;
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// In the data directory: the node was stopped by an order, and does not serve until it is released.
pub const FENCED_FILE: &str = "fenced.json";

/// Who stops a node, and why: it goes into the record and into what the node leaves behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopReason {
    /// Who ordered it.
    pub by: String,
    /// Who approved it.
    pub approved_by: Vec<String>,
    /// Why.
    pub why: String,
}

impl Control {
    /// Stops the node in stages: no new connections; no new messages of those who are next; what is under way with them; they themselves,
    /// those of classes that are never cut off last; then what the node is by then is written down, and it stops as it always does, by which store
    /// and record are synced and the record is signed. What was written down is an event of that record as well.
    ///
    /// # Errors
    /// Why the node goes on. Its listeners are open again then, but for those that orders of their own have closed.
    pub fn blocking_stop_node(&self, order: u64, reason: &StopReason) -> Result<String, FenceFailure> {
        if !self.is_attended() {
            return Err(unattended());
        }
        self.0.fence.stopping.store(true, Ordering::Relaxed);
        self.try_stop_node(order, reason).map_err(|cause| {
            if let Some(path) = fenced_file(&self.config()) {
                // A node that goes on is not fenced. Mostly it is not there: nothing came so far.
                let _ = std::fs::remove_file(path);
            }
            let listeners = self.go_on();
            self.0.fence.stopping.store(false, Ordering::Relaxed);
            FenceFailure::NotStopped { cause: Box::new(cause), listeners }
        })
    }

    /// Opens the listeners again that only the stop had closed; says how they are.
    fn go_on(&self) -> &'static str {
        let closed: Vec<u16> = self.0.fence.lock().listeners.values().copied().collect();
        let is_meant = move |listener: u16| !closed.contains(&listener);
        match self.blocking_ask_all(move |view| view.open_listeners(&is_meant)) {
            Ok(_) => "its listeners are open again",
            Err(_) => "its listeners are open again but on shards that do not answer",
        }
    }

    fn try_stop_node(&self, order: u64, reason: &StopReason) -> Result<String, FenceFailure> {
        let config = self.config();
        for index in 0..config.listeners.len() {
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            self.blocking_ask_all(move |view| view.close_listener(index))?;
        }
        let ended = self.drain(|_| true, "the node is stopped by an order")?;
        let (sessions, retained) = self.counts()?;
        let sha256 = config.sha256();
        let record = self.0.recorder.as_ref().map(|recorder| recorder.status());
        let sequence = record.as_ref().map(|record| record.sequence);
        if let Some(path) = fenced_file(&config) {
            let state = json!({
                "order": order, "by": reason.by, "approved_by": reason.approved_by, "why": reason.why, "at_ms": self.now().wall_ms, "node": config.node.name, "config_sha256": sha256,
                "sessions": sessions, "retained": retained, "record_sequence": sequence,
            });
            let failed = |error: ravelin_protect::Error| FenceFailure::State {
                path: path.display().to_string(),
                error: error.to_string(),
            };
            ravelin_protect::file::replace(&path, format!("{state}\n").as_bytes()).map_err(failed)?;
        }
        self.emit(Event::Fenced {
            order,
            by: reason.by.clone(),
            approved_by: reason.approved_by.join(", "),
            why: reason.why.clone(),
            config_sha256: sha256,
            sessions,
            retained,
            record_sequence: sequence,
        });
        if !self.stop(&Actor { name: format!("order {order}"), ..Actor::node() }) {
            return Err(unattended());
        }
        Ok(format!(
            "{ended} connections ended, {sessions} sessions and {retained} retained messages kept; the node stops"
        ))
    }

    /// Sessions and retained messages as the shards have them now.
    fn counts(&self) -> Result<(u64, u64), FenceFailure> {
        let stats = self.blocking_ask_all(|view| view.broker().stats())?;
        let retained = stats.iter().map(|one| one.retained).max().unwrap_or_default();
        Ok((stats.iter().map(|one| one.sessions).sum(), retained))
    }
}

fn unattended() -> FenceFailure {
    FenceFailure::Invalid("the node does not run as a service that could be stopped".into())
}

fn fenced_file(config: &Config) -> Option<PathBuf> {
    config.node.data.as_ref().map(|data| data.join(FENCED_FILE))
}

/// Puts the record's signed head, which covers the event `node.fenced`, below the state of a node that an order has stopped. Called once
/// the record has closed.
pub(crate) fn seal(config: &Config) -> Result<(), FenceFailure> {
    let (Some(path), Some(record)) = (fenced_file(config), config.record_directory()) else { return Ok(()) };
    let failed = |error: String| FenceFailure::State { path: path.display().to_string(), error };
    let head = std::fs::read_to_string(record.join("HEAD")).map_err(|error| failed(error.to_string()))?;
    let state = std::fs::read_to_string(&path).map_err(|error| failed(error.to_string()))?;
    let text = format!("{}\n{}\n", state.trim_end(), head.trim_end());
    ravelin_protect::file::replace(&path, text.as_bytes()).map_err(|error| failed(error.to_string()))
}

/// Whether the node was stopped by an order that nobody has released it from.
pub(crate) fn refuse_if_fenced(config: &Config) -> Result<(), Error> {
    match fenced_file(config).filter(|path| path.exists()) {
        None => Ok(()),
        Some(path) => {
            let state = std::fs::read_to_string(&path).unwrap_or_default();
            let state = state.lines().next().unwrap_or_default().into();
            Err(Error::Fenced { path, state })
        }
    }
}

impl Config {
    /// SHA-256 of the configuration file's text, in lower-case hex.
    pub fn sha256(&self) -> String {
        digest(&SHA256, self.text().as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
