//! Hands over what was seen: on the watch thread, and never waiting.

use crate::control::{Control, Watched, Watcher};
use ravelin_broker::{Now, Watch};
use ravelin_outward::{Item, Outward};
use std::sync::{Arc, PoisonError};

/// Lines for one sum of events: fail2ban needs no more to keep somebody out.
const EACH_MAX: u32 = 10;

pub(super) struct Teller {
    control: Control,
    outward: Outward,
}

impl Teller {
    pub fn new(control: Control, outward: Outward) -> Teller {
        Teller { control, outward }
    }
}

impl Watcher for Teller {
    fn watch(&mut self, now: Now, batch: &[Watched], _: u64) {
        if !self.outward.is_empty() {
            let each = self.outward.wants_each();
            for seen in batch {
                match seen {
                    Watched::Event(record) => self.outward.tell(Item::event(Arc::clone(record)), false),
                    Watched::Notice(notice) => self.outward.tell(Item::notice(Arc::clone(notice)), false),
                    Watched::Unlogged { record, count } if each => {
                        for _ in 0..(*count).min(EACH_MAX) {
                            self.outward.tell(Item::event(Arc::clone(record)), true);
                        }
                    }
                    _ => {}
                }
            }
        }
        let mut monitor = self.control.0.outward.monitor.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(monitor) = monitor.as_mut() else { return };
        for seen in batch {
            match seen {
                Watched::Event(record) => monitor.tell(&Item::event(Arc::clone(record))),
                Watched::Notice(notice) => monitor.tell(&Item::notice(Arc::clone(notice))),
                Watched::Observed(observed) if observed.watch.contains(Watch::TAP) => monitor.tap(observed),
                _ => {}
            }
        }
        monitor.publish(&self.control, now);
    }
}
