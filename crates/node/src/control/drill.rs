//! Drills: attacks that somebody rehearses on the running node, because its configuration consents.
//!
//! The node does not attack itself: `ravelin drill` does, with clients whose names begin with [`PREFIX`]. Here is only the consent,
//! that one runs at a time, and that the record knows of it: whoever reads of the alarms later must be able to tell.

use super::{Actor, Control};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How the names of a drill's clients begin.
pub const PREFIX: &str = "drill-";
/// A drill whose end nobody told is over after so long.
const LONGEST_MS: u64 = 15 * 60 * 1000;
/// Longest name of a scenario, and longest outcome that is recorded.
const TEXT_BYTES_MAX: usize = 1024;

/// A drill that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drill {
    /// Its number.
    pub id: u64,
    /// What is rehearsed.
    pub scenario: String,
    /// Who ordered it.
    pub by: String,
    /// Since when, in milliseconds since the Unix epoch.
    pub began_ms: u64,
}

/// Why a drill did not begin or was not ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DrillFailure {
    /// The configuration does not consent.
    #[error("this node does not consent to drills")]
    NotAllowed,
    /// One runs already.
    #[error("drill {} ({}) runs, by {}", .0.id, .0.scenario, .0.by)]
    Running(Drill),
    /// There is none with this number.
    #[error("no drill {0} runs")]
    Unknown(u64),
    /// What was given is too long.
    #[error("{what} is longer than {TEXT_BYTES_MAX} bytes")]
    TooLong {
        /// What.
        what: &'static str,
    },
}

/// The one that runs.
#[derive(Default)]
pub(crate) struct Drills(Mutex<Option<Drill>>);

impl Drills {
    fn lock(&self) -> MutexGuard<'_, Option<Drill>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// The drill that runs, if one does.
    pub fn drill(&self) -> Option<Drill> {
        let now_ms = self.now().wall_ms;
        self.0.drills.lock().clone().filter(|drill| now_ms < drill.began_ms + LONGEST_MS)
    }

    /// Begins a drill.
    pub fn begin_drill(&self, actor: &Actor, scenario: &str) -> Result<Drill, DrillFailure> {
        let result = self.try_begin(actor, scenario);
        let failure = result.as_ref().err().map(ToString::to_string);
        let outcome = failure.as_deref().map_or(Ok("its clients' names begin with drill-"), Err);
        self.administered(actor, "drill.begin", &scenario[..scenario.floor_char_boundary(64)], outcome);
        result
    }

    fn try_begin(&self, actor: &Actor, scenario: &str) -> Result<Drill, DrillFailure> {
        if !self.config().drill.allow {
            return Err(DrillFailure::NotAllowed);
        }
        if scenario.len() > TEXT_BYTES_MAX {
            return Err(DrillFailure::TooLong { what: "the name of the scenario" });
        }
        if let Some(running) = self.drill() {
            return Err(DrillFailure::Running(running));
        }
        let began_ms = self.now().wall_ms;
        let drill = Drill { id: began_ms, scenario: scenario.into(), by: actor.name.clone(), began_ms };
        *self.0.drills.lock() = Some(drill.clone());
        Ok(drill)
    }

    /// Ends a drill; `outcome` is what its report says in a line.
    pub fn end_drill(&self, actor: &Actor, id: u64, outcome: &str) -> Result<(), DrillFailure> {
        if outcome.len() > TEXT_BYTES_MAX {
            return Err(DrillFailure::TooLong { what: "the outcome" });
        }
        let mut running = self.0.drills.lock();
        let Some(drill) = running.take_if(|drill| drill.id == id) else {
            return Err(DrillFailure::Unknown(id));
        };
        drop(running);
        self.administered(actor, "drill.end", &drill.scenario, Ok(outcome));
        Ok(())
    }
}
