//! The stop of a node that may be compromised: in stages, to a known state, from which it does not come back by itself.

use super::{Control, FenceFailure};
use crate::config::Config;
use crate::control::Actor;
use crate::error::Error;
use aws_lc_rs::digest::{SHA256, digest};
use ravelin_event::Event;
use ravelin_respond::{Action, Direction, Frozen, Retained};
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// In the data directory: the node was stopped by an order, and does not serve until it is released.
pub const FENCED_FILE: &str = "fenced.json";

impl Control {
    /// Stops the node in stages: no new connections; no new messages; acknowledgements that are under way; the clients, those of classes that
    /// are never cut off last; then what the node is by then is written down, and it stops as it always does, by which store
    /// and record are synced and the record is signed. What was written down is an event of that record as well.
    pub(super) fn fence_node(&self, order: u64) -> Result<String, FenceFailure> {
        self.0.fence.stopping.store(true, Ordering::Relaxed);
        let result = self.try_fence_node(order);
        if result.is_err() {
            self.0.fence.stopping.store(false, Ordering::Relaxed);
        }
        result
    }

    fn try_fence_node(&self, order: u64) -> Result<String, FenceFailure> {
        let config = self.config();
        for index in 0..config.listeners.len() {
            let index = u16::try_from(index).unwrap_or(u16::MAX);
            self.blocking_ask_all(move |view| view.close_listener(index, true))?;
        }
        // Nobody publishes any more; what was taken before is acknowledged. With the node, this ends.
        let freeze = Action::Freeze {
            filter: "#".into(),
            messages: Frozen::Drop,
            direction: Direction::Publish,
            retained: Retained::Serve,
        };
        self.blocking_restrict(order, &freeze).map_err(|error| FenceFailure::Invalid(error.to_string()))?;
        let ended = self.drain(|_| true, "the node is stopped by an order")?;
        let (sessions, retained) = self.counts()?;
        let sha256 = config.sha256();
        let record = self.0.recorder.as_ref().map(|recorder| recorder.status());
        let sequence = record.as_ref().map(|record| record.sequence);
        if let Some(path) = fenced_file(&config) {
            let state = json!({
                "order": order, "at_ms": self.now().wall_ms, "node": config.node.name, "config_sha256": sha256,
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
            config_sha256: sha256,
            sessions,
            retained,
            record_sequence: sequence,
        });
        if !self.stop(&Actor { name: format!("order {order}"), ..Actor::node() }) {
            return Err(FenceFailure::Invalid(
                "the node does not run as a service that could be stopped".into(),
            ));
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

fn fenced_file(config: &Config) -> Option<PathBuf> {
    config.node.data.as_ref().map(|data| data.join(FENCED_FILE))
}

/// Whether the node was stopped by an order that nobody has released it from.
pub(crate) fn refuse_if_fenced(config: &Config) -> Result<(), Error> {
    match fenced_file(config).filter(|path| path.exists()) {
        None => Ok(()),
        Some(path) => {
            let state = std::fs::read_to_string(&path).unwrap_or_default();
            Err(Error::Fenced { path, state: state.trim().into() })
        }
    }
}

impl Config {
    /// SHA-256 of the configuration file's text, in lower-case hex.
    pub fn sha256(&self) -> String {
        digest(&SHA256, self.text().as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
