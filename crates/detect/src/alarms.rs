//! The alarms that are kept, and what keeps some from being told.

use ravelin_event::{Alarm, Subject};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Alarms by number, at most so many: the oldest that is over makes room.
pub struct AlarmTable {
    alarms: BTreeMap<u64, Arc<Alarm>>,
    max: usize,
}

impl AlarmTable {
    /// An empty one for at most `max` (at least one).
    pub fn new(max: usize) -> AlarmTable {
        AlarmTable { alarms: BTreeMap::new(), max: max.max(1) }
    }

    /// Keeps an alarm. Returns the number of the one that made room for it.
    pub fn insert(&mut self, alarm: Arc<Alarm>) -> Option<u64> {
        self.alarms.insert(alarm.id, alarm);
        if self.alarms.len() <= self.max {
            return None;
        }
        let over = self.alarms.values().find(|alarm| !alarm.is_open()).or(self.alarms.values().next());
        let id = over.map(|alarm| alarm.id)?;
        self.alarms.remove(&id);
        Some(id)
    }

    /// The alarm with this number.
    pub fn find(&self, id: u64) -> Option<&Arc<Alarm>> {
        self.alarms.get(&id)
    }

    /// The alarm with this number, to be changed. Whoever holds it already keeps what he holds.
    pub fn find_mut(&mut self, id: u64) -> Option<&mut Alarm> {
        self.alarms.get_mut(&id).map(Arc::make_mut)
    }

    /// All, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &Arc<Alarm>> {
        self.alarms.values().rev()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.alarms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.alarms.is_empty()
    }
}

/// What is not to be told: alarms of a detector, of a subject, or of both. They are kept, and marked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Suppression {
    /// Its number; 0 when it is new, and is to get one.
    #[serde(default)]
    pub id: u64,
    /// Only this detector's.
    pub detector: Option<Arc<str>>,
    /// Only about this subject.
    pub subject: Option<Subject>,
    /// Until when, in milliseconds since the Unix epoch; `None`: until it is taken away.
    pub until_ms: Option<u64>,
    /// Who wanted it.
    pub by: Arc<str>,
    /// Why.
    pub why: Arc<str>,
}

impl Suppression {
    /// Whether it meets an alarm of `detector` about `subject` at `at_ms`.
    pub fn meets(&self, at_ms: u64, detector: &str, subject: &Subject) -> bool {
        !self.is_over(at_ms)
            && self.detector.as_deref().is_none_or(|name| name == detector)
            && self.subject.as_ref().is_none_or(|of| of == subject)
    }

    /// Whether its time is over.
    pub fn is_over(&self, at_ms: u64) -> bool {
        self.until_ms.is_some_and(|until| at_ms >= until)
    }
}
