//! The recent events, for `GET /v1/events`: a ring of bounded count and bytes, and a wake for who waits for the next.

use ravelin_broker::Now;
use ravelin_event::{Level, Record};
use ravelin_node::control::{Watched, Watcher};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Bytes of all events that are kept.
const BYTES_MAX: usize = 16 << 20;

/// An event that is kept.
#[derive(Clone)]
pub(crate) struct Kept {
    /// Counts up from 1, without a gap.
    pub number: u64,
    pub record: Arc<Record>,
    bytes: usize,
}

/// The recent events. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Recent(Arc<Inner>);

struct Inner {
    max: usize,
    ring: Mutex<Ring>,
    /// The number of the newest.
    newest: watch::Sender<u64>,
}

#[derive(Default)]
struct Ring {
    kept: VecDeque<Kept>,
    bytes: usize,
    newest: u64,
}

/// A stretch of the ring.
pub(crate) struct Stretch {
    pub events: Vec<Kept>,
    /// Events between what was asked for and the oldest that is kept.
    pub missed: u64,
    /// Where the next stretch begins: everything up to here was looked at.
    pub upto: u64,
}

impl Recent {
    pub fn new(max: usize) -> Recent {
        Recent(Arc::new(Inner { max, ring: Mutex::default(), newest: watch::Sender::new(0) }))
    }

    /// What fills it.
    pub fn watcher(&self) -> Box<dyn Watcher> {
        Box::new(Filling(self.clone()))
    }

    /// At most `max` events after `after` that `wanted` picks, oldest first.
    pub fn after(&self, after: u64, max: usize, wanted: impl Fn(&Record) -> bool) -> Stretch {
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = ring.kept.front().map_or(ring.newest + 1, |kept| kept.number);
        let missed = oldest.saturating_sub(after.saturating_add(1));
        let skip = usize::try_from((after + 1).saturating_sub(oldest)).unwrap_or(usize::MAX);
        let (mut events, mut upto) = (Vec::new(), after.max(oldest.saturating_sub(1)).min(ring.newest));
        for kept in ring.kept.iter().skip(skip) {
            if wanted(&kept.record) {
                if events.len() == max {
                    return Stretch { events, missed, upto };
                }
                events.push(kept.clone());
            }
            upto = kept.number;
        }
        Stretch { events, missed, upto }
    }

    /// Where the last `count` events begin.
    pub fn tail(&self, count: usize) -> u64 {
        let ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.newest.saturating_sub(count as u64)
    }

    /// Waits until there is an event after `after`.
    pub async fn wait_after(&self, after: u64) {
        let mut newest = self.0.newest.subscribe();
        // It ends only with the ring itself, and the caller holds that.
        let _ = newest.wait_for(|&newest| newest > after).await;
    }

    fn push(&self, record: &Arc<Record>) {
        let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        // What clients chose is as long as they were allowed to make it; the event's own text stands for it.
        let bytes = serde_json::to_string(&**record).map_or(0, |text| text.len()) + 64;
        ring.newest += 1;
        ring.bytes += bytes;
        let number = ring.newest;
        ring.kept.push_back(Kept { number, record: Arc::clone(record), bytes });
        while ring.kept.len() > self.0.max || ring.bytes > BYTES_MAX {
            let Some(oldest) = ring.kept.pop_front() else { break };
            ring.bytes -= oldest.bytes;
        }
    }
}

struct Filling(Recent);

impl Watcher for Filling {
    fn watch(&mut self, _: Now, batch: &[Watched], _: u64) {
        let mut grown = false;
        for seen in batch {
            #[allow(irrefutable_let_patterns)]
            if let Watched::Event(record) = seen
                && record.event.level() >= Level::Info
            {
                self.0.push(record);
                grown = true;
            }
        }
        if grown {
            let newest = self.0.0.ring.lock().unwrap_or_else(PoisonError::into_inner).newest;
            self.0.0.newest.send_replace(newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_event::Event;

    fn filled(max: usize, count: u64) -> Recent {
        let recent = Recent::new(max);
        for sessions in 1..=count {
            recent.push(&Arc::new(Record::new(sessions, Event::Stopped { sessions })));
        }
        recent
    }

    #[test]
    fn stretches_meet_and_what_was_missed_is_told() {
        let recent = filled(16, 20);
        let first = recent.after(0, 10, |_| true);
        assert_eq!((first.missed, first.events[0].number, first.upto), (4, 5, 14));
        let second = recent.after(first.upto, 10, |_| true);
        assert_eq!((second.missed, second.events.len(), second.upto), (0, 6, 20));
        assert!(recent.after(20, 10, |_| true).events.is_empty());
        assert_eq!(recent.after(u64::MAX - 1, 10, |_| true).upto, 20, "a number that never was");
        assert_eq!(recent.after(recent.tail(3), 10, |_| true).events.len(), 3);
    }

    #[test]
    fn what_is_not_wanted_is_passed_over() {
        let recent = filled(16, 10);
        let none = recent.after(0, 10, |_| false);
        assert_eq!((none.events.len(), none.upto), (0, 10));
        let even = |record: &Record| matches!(record.event, Event::Stopped { sessions } if sessions % 2 == 0);
        let some = recent.after(0, 2, even);
        assert_eq!(some.events.iter().map(|kept| kept.number).collect::<Vec<_>>(), [2, 4]);
        assert_eq!(recent.after(some.upto, 10, even).events[0].number, 6);
    }

    #[test]
    fn bytes_are_bounded_too() {
        let recent = Recent::new(1_000_000);
        let event = Event::Administered {
            actor: "a".into(),
            role: "admin",
            via: "api",
            address: None,
            action: "x".into(),
            subject: "s".repeat(64 << 10),
            done: true,
            detail: String::new(),
        };
        let record = Arc::new(Record::new(0, event));
        for _ in 0..1000 {
            recent.push(&record);
        }
        let ring = recent.0.ring.lock().unwrap();
        assert!(ring.bytes <= BYTES_MAX && ring.kept.len() > 100);
    }
}
