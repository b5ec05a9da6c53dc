//! What is told: an event, a notice of a detector, or a test.

use crate::fields;
use ravelin_event::{Event, Level, Notice, Record, Severity};
use std::sync::Arc;

/// Who tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The name of the node.
    pub node: String,
    /// The version of its software.
    pub version: String,
    /// The name of the machine.
    pub host: String,
    /// The process.
    pub process: u32,
}

/// What is told.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum What {
    /// Something happened.
    Event(Arc<Record>),
    /// A detector has said something.
    Notice(Arc<Notice>),
    /// Somebody wants to know whether it arrives.
    Test {
        /// Where it goes.
        destination: Arc<str>,
        /// Who asked for it.
        by: Arc<str>,
    },
}

/// One thing to tell, and when it happened.
#[derive(Clone, Debug)]
pub struct Item {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

impl Item {
    /// An event.
    pub fn event(record: Arc<Record>) -> Item {
        Item { at_ms: record.at_ms, what: What::Event(record) }
    }

    /// A notice: its time is that of the last thing that became of the alarm.
    pub fn notice(notice: Arc<Notice>) -> Item {
        let alarm = notice.alarm();
        let at_ms = match &*notice {
            Notice::Cleared(alarm) => alarm.cleared_ms.unwrap_or(alarm.last_ms),
            Notice::Worsened(alarm) => alarm.last_ms,
            _ => alarm.raised_ms,
        };
        Item { at_ms, what: What::Notice(notice) }
    }

    /// A test.
    pub fn test(at_ms: u64, destination: &str, by: &str) -> Item {
        Item { at_ms, what: What::Test { destination: destination.into(), by: by.into() } }
    }

    /// The id: that of the event.
    pub fn id(&self) -> &'static str {
        match &self.what {
            What::Event(record) => record.event.id(),
            What::Notice(notice) => match **notice {
                Notice::Raised(_) => "alarm.raised",
                Notice::Worsened(_) => "alarm.worsened",
                Notice::Cleared(_) => "alarm.cleared",
                _ => "alarm.finding",
            },
            What::Test { .. } => "outward.test",
        }
    }

    /// How bad it is; what is least bad is left out first when there is no room.
    pub fn severity(&self) -> Severity {
        match &self.what {
            What::Event(record) => severity_of(&record.event),
            What::Notice(notice) => match &**notice {
                Notice::Finding(_) => Severity::Informational,
                other => other.alarm().severity,
            },
            What::Test { .. } => Severity::Low,
        }
    }

    /// Its fields, as JSON, with every text cut at a length that any format has room for.
    pub(crate) fn fields(&self) -> serde_json::Map<String, serde_json::Value> {
        let value = match &self.what {
            What::Event(record) => serde_json::to_value(&record.event),
            What::Notice(notice) => serde_json::to_value(&**notice.alarm()),
            What::Test { destination, by } => Ok(serde_json::json!({
                "destination": destination, "by": by, "summary": "a test, nothing has happened",
            })),
        };
        fields::clipped(value.unwrap_or_default())
    }
}

/// A warning is worth waking someone; some of them are worse.
fn severity_of(event: &Event) -> Severity {
    match event {
        Event::StoreFailed { .. } | Event::StoreDamaged { .. } | Event::RecordDamaged { .. } => {
            Severity::Critical
        }
        Event::ActionTaken { .. } | Event::ActionFailed { .. } | Event::PostureChanged { .. } => {
            Severity::High
        }
        event => match event.level() {
            Level::Warn => Severity::Medium,
            _ => Severity::Informational,
        },
    }
}
