//! What clients did in a span of time, counted as a shard counts it.

use super::connection::Connection;
use crate::Row;
use ravelin_detect::{Metered, Sight, TopicMeter};
use std::collections::VecDeque;
use std::sync::Arc;

/// Clients whose meters run at once; what others do in the same span is not told.
const METERS_MAX: usize = 1 << 20;

/// The meters of the span that runs.
#[derive(Default)]
pub(super) struct Meters {
    running: Vec<Metered>,
    /// The number of the span: a place in `running` is one of this span only.
    span: u64,
    /// When the span began.
    pub from_ms: u64,
}

impl Meters {
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// The meter of a connection's client.
    pub fn of(&mut self, connection: &mut Connection, now_ms: u64) -> Option<&mut Metered> {
        if self.running.is_empty() {
            self.span += 1;
            self.from_ms = now_ms - now_ms % super::METER_MS;
        }
        if connection.meter.0 != self.span {
            if self.running.len() >= METERS_MAX {
                return None;
            }
            connection.meter = (self.span, self.running.len() as u32);
            self.running.push(Metered {
                client_id: Arc::clone(&connection.client_id),
                from_ms: self.from_ms,
                inflight: connection.inflight,
                ..Metered::default()
            });
        }
        self.running.get_mut(connection.meter.1 as usize)
    }

    /// Ends the span, and tells what was counted.
    pub fn take(&mut self, to_ms: u64, out: &mut VecDeque<(u64, Sight)>) {
        for mut metered in self.running.drain(..) {
            metered.to_ms = to_ms;
            metered.topics.sort_by_key(|topic| std::cmp::Reverse(topic.messages));
            out.push_back((to_ms, Sight::Metered(Arc::new(metered))));
        }
    }
}

/// Counts a PUBLISH of a client.
pub(super) fn count(
    metered: &mut Metered,
    row: &Row<'_>,
    topic: Option<&Arc<str>>,
    now_ms: u64,
    undelivered: bool,
) {
    metered.packets += 1;
    metered.messages += 1;
    metered.bytes += u64::from(row.payload_len);
    metered.largest = metered.largest.max(row.payload_len);
    metered.undelivered += u64::from(undelivered);
    metered.retained += u64::from(row.retain);
    metered.qos[usize::from(row.qos.min(2))] += 1;
    let Some(topic) = topic else {
        metered.other_messages += 1;
        return;
    };
    let known =
        metered.topics.iter().rposition(|known| Arc::ptr_eq(&known.topic, topic) || known.topic == *topic);
    let meter = match known {
        Some(at) => &mut metered.topics[at],
        None if metered.topics.len() < Metered::TOPICS_MAX => {
            metered.topics.push(TopicMeter {
                topic: Arc::clone(topic),
                first_ms: now_ms,
                ..TopicMeter::default()
            });
            let last = metered.topics.len() - 1;
            &mut metered.topics[last]
        }
        None => {
            metered.other_topics += 1;
            metered.other_messages += 1;
            return;
        }
    };
    meter.messages += 1;
    meter.bytes += u64::from(row.payload_len);
    meter.undelivered += u64::from(undelivered);
    meter.retained += u64::from(row.retain);
    meter.last_ms = now_ms;
}
