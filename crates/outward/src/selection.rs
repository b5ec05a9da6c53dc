//! Which of what happens a destination is told of.

use crate::{Item, What};
use ravelin_event::{Level, Notice, Severity};
use std::sync::Arc;

/// What a destination is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Alarms of this severity and above; `None`: no alarms. Findings are informational.
    pub alarms: Option<Severity>,
    /// Ids of events (`record.signed`), or beginnings of them (`action.*`); `*` is all.
    pub events: Vec<String>,
    /// Events of this level and above.
    pub level: Level,
    /// Also each of those events that the log sums up, as whoever counts them needs.
    pub each: bool,
    /// Only what says from which address it came.
    pub with_address: bool,
}

impl Default for Selection {
    /// Alarms from low on, actions, orders, certificates, the posture, and what proves that the record was not cut.
    fn default() -> Selection {
        Selection {
            alarms: Some(Severity::Low),
            events: Selection::EVENTS.map(str::to_owned).to_vec(),
            level: Level::Info,
            each: false,
            with_address: false,
        }
    }
}

impl Selection {
    /// The events that are told of unless others are named.
    pub const EVENTS: [&'static str; 5] =
        ["action.*", "admin.*", "certificate.*", "posture.*", "record.signed"];
    /// The events that fail2ban is told of unless others are named.
    pub const REFUSALS: [&'static str; 3] = ["login.failed", "login.locked_out", "connection.refused"];

    /// Whether it is told of `item`. `summed_up`: the log sums it up with others.
    pub fn wants(&self, item: &Item, summed_up: bool) -> bool {
        match &item.what {
            What::Event(record) => {
                let event = &record.event;
                (self.each || !summed_up)
                    && event.level() >= self.level
                    && self.events.iter().any(|pattern| is_meant(pattern, event.id()))
                    && is_told(event.id())
            }
            What::Notice(notice) => {
                let alarm = notice.alarm();
                let placed = !self.with_address || alarm.address.is_some();
                // An alarm that somebody has suppressed is not told of, and neither is its end.
                let ends = self.with_address && matches!(**notice, Notice::Cleared(_));
                placed
                    && !ends
                    && !alarm.suppressed
                    && self.alarms.is_some_and(|least| item.severity() >= least)
            }
            What::Test { destination: _, by: _ } => true,
        }
    }

    /// A pattern that no event has, where there is one.
    pub fn unknown_pattern(patterns: &[String]) -> Option<&String> {
        let known = |pattern: &String| ravelin_event::CATALOG.iter().any(|entry| is_meant(pattern, entry.id));
        patterns.iter().find(|pattern| !known(pattern))
    }
}

/// Alarms come as notices, which say more; and nobody is told of failures to tell.
fn is_told(id: &str) -> bool {
    !id.starts_with("outward.") && !matches!(id, "alarm.raised" | "alarm.cleared" | "alarm.finding")
}

fn is_meant(pattern: &str, id: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => id.starts_with(beginning),
        None => pattern == id,
    }
}

/// Whether any of them is told of `item`.
pub(crate) fn any<'a>(
    mut selections: impl Iterator<Item = &'a Arc<Selection>>,
    item: &Item,
    summed_up: bool,
) -> bool {
    selections.any(|selection| selection.wants(item, summed_up))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_event::{Event, Record};

    fn event(event: Event) -> Item {
        Item::event(Arc::new(Record::new(1, event)))
    }

    #[test]
    fn events_are_told_by_id_beginning_and_level() {
        let selection = Selection::default();
        let stopped = event(Event::Stopped { sessions: 1 });
        let posture =
            Event::PostureChanged { from: "normal", to: "lockdown", by: "a".into(), closes: "b".into() };
        assert!(selection.wants(&event(posture), false));
        assert!(!selection.wants(&stopped, false));
        let all = Selection { events: vec!["*".into()], ..Selection::default() };
        assert!(all.wants(&stopped, false) && !all.wants(&stopped, true));
        assert!(!Selection { level: Level::Warn, ..all.clone() }.wants(&stopped, false));
        let own = Event::OutwardDropped { destination: "a".into(), dropped: 1, why: "b".into() };
        assert!(!all.wants(&event(own), false), "never of its own failures");
    }

    #[test]
    fn patterns_that_no_event_has_are_found() {
        let patterns = ["action.*", "node.stopped", "acton.*"].map(String::from);
        assert_eq!(Selection::unknown_pattern(&patterns), Some(&patterns[2]));
        assert_eq!(Selection::unknown_pattern(&patterns[..2]), None);
    }
}
