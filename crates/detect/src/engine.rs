//! The engine: hands each sight to the detectors that it concerns, and keeps what they know.

use crate::{Settings, Sight};
use ravelin_event::Notice;
use std::collections::VecDeque;

/// All detectors, and all that they know.
pub struct Engine {
    settings: Settings,
    notices: VecDeque<Notice>,
}

impl Engine {
    /// One that knows nothing yet.
    pub fn new(settings: Settings, _seed: u64) -> Engine {
        Engine { settings, notices: VecDeque::new() }
    }

    /// What it goes by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Something was seen at `at_ms`, in milliseconds since the Unix epoch. Sights come in order, give or take some
    /// milliseconds.
    pub fn handle(&mut self, _at_ms: u64, _sight: &Sight) {}

    /// Time has passed. At least once a second.
    pub fn handle_tick(&mut self, _at_ms: u64) {}

    /// What is to be told.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }
}
