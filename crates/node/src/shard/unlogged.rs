//! Events that the log only sums up after ten seconds: detectors must count them sooner.
//!
//! Who comes and goes is told of each time; the refusals of one connection are summed up until the next harvest.

use crate::control::Watched;
use foldhash::HashMap;
use ravelin_event::{Event, Record};
use std::net::SocketAddr;
use std::sync::Arc;

/// Connections and kinds of events that are told apart between two harvests.
const ENTRIES_MAX: usize = 1024;

/// What is summed up.
#[derive(Default)]
pub(super) struct Unlogged {
    /// By the event's place in the catalogue, and the connection.
    entries: HashMap<(usize, Option<SocketAddr>), (u64, Event, u32)>,
}

impl Unlogged {
    /// Takes an event; what must not wait goes to `seen`.
    pub fn take(&mut self, wall_ms: u64, event: Event, seen: &mut Vec<Watched>) {
        let address = match &event {
            // Of full queues there is one for each doubling, and each client has its own.
            Event::Connected { .. } | Event::Disconnected { .. } | Event::QueueFull { .. } => {
                let record = Arc::new(Record::new(wall_ms, event));
                return seen.push(Watched::Unlogged { record, count: 1 });
            }
            Event::ConnectionRefused { address, .. } => Some(*address),
            // The refusal that it explains is counted.
            Event::CredentialRefused { .. } => return,
            Event::PublishRefused { address, .. }
            | Event::SubscribeRefused { address, .. }
            | Event::WillRefused { address, .. } => *address,
            _ => None,
        };
        if self.entries.len() >= ENTRIES_MAX {
            self.flush(seen);
        }
        let entry = self.entries.entry((event.index(), address)).or_insert_with(|| (0, event.clone(), 0));
        *entry = (wall_ms, event, entry.2.saturating_add(1));
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Hands over what is summed up, in the order of time.
    pub fn flush(&mut self, seen: &mut Vec<Watched>) {
        let mut all: Vec<_> = self.entries.drain().map(|(_, entry)| entry).collect();
        all.sort_by_key(|(wall_ms, ..)| *wall_ms);
        seen.extend(all.into_iter().map(|(wall_ms, event, count)| {
            let record = Arc::new(Record::new(wall_ms, event));
            Watched::Unlogged { record, count }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_event::Refusal;

    fn refused(port: u16) -> Event {
        let address = Some(SocketAddr::from(([192, 0, 2, 1], port)));
        let (topic, why) = ("t".into(), Refusal::AccessRule);
        Event::PublishRefused { client_id: "a".into(), identity: None, address, topic, why }
    }

    #[test]
    fn refusals_of_a_connection_are_summed_up_and_nothing_is_lost() {
        let (mut unlogged, mut seen) = (Unlogged::default(), Vec::new());
        for at in 0..5000u32 {
            unlogged.take(at.into(), refused(at as u16 % 2000), &mut seen);
        }
        assert!(unlogged.entries.len() <= ENTRIES_MAX);
        unlogged.flush(&mut seen);
        assert!(unlogged.is_empty());
        let total: u32 =
            seen.iter().map(|one| if let Watched::Unlogged { count, .. } = one { *count } else { 0 }).sum();
        assert_eq!(total, 5000);
    }

    #[test]
    fn who_comes_and_goes_is_told_of_at_once() {
        let (mut unlogged, mut seen) = (Unlogged::default(), Vec::new());
        let cause = ravelin_event::DisconnectCause::Normal;
        let event =
            Event::Disconnected { client_id: "a".into(), identity: None, address: None, cause, detail: None };
        unlogged.take(1, event, &mut seen);
        assert!(unlogged.is_empty() && seen.len() == 1);
    }
}
