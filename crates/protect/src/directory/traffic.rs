//! What clients did on the bus, kept in a bounded table: the traffic that new rules are tried on.

use super::review::{Traffic, TrafficKind};
use ravelin_event::Principal;
use std::collections::HashMap;
use std::sync::Arc;

/// Of a full table, so many of the oldest rows make room at once.
const ROOM: usize = 8;

/// Who published what, at most so many rows; the oldest make room.
pub struct TrafficLog {
    rows: HashMap<(Arc<str>, Box<str>), Row>,
    rows_max: usize,
    dropped: u64,
}

struct Row {
    identity: Option<Arc<str>>,
    qos: u8,
    retain: bool,
    count: u64,
    last_s: u32,
}

/// A client that listens, for [`received`].
pub struct Listening {
    /// Who it is.
    pub who: Principal,
    /// Its filters, with `$share/group/` where they are shared, and the QoS of each.
    pub filters: Vec<(String, u8)>,
}

impl TrafficLog {
    /// An empty log of at most so many rows.
    pub fn new(rows_max: usize) -> TrafficLog {
        TrafficLog { rows: HashMap::new(), rows_max: rows_max.max(ROOM), dropped: 0 }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows had to make room.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// A client published so many messages to a topic, at most at this QoS, some of them to be retained or none.
    pub fn published(&mut self, seen: Published<'_>) {
        let key = (seen.client_id.clone(), Box::from(seen.topic));
        let is_same = |row: &Row| row.identity.as_ref() == seen.identity;
        if let Some(row) = self.rows.get_mut(&key).filter(|row| is_same(row)) {
            row.qos = row.qos.max(seen.qos);
            row.retain |= seen.retain;
            row.count += seen.count;
            row.last_s = row.last_s.max(seen.last_s);
            return;
        }
        if self.rows.len() >= self.rows_max {
            self.make_room();
        }
        let Published { identity, qos, retain, count, last_s, .. } = seen;
        self.rows.insert(key, Row { identity: identity.cloned(), qos, retain, count, last_s });
    }

    fn make_room(&mut self) {
        let mut times: Vec<u32> = self.rows.values().map(|row| row.last_s).collect();
        let place = times.len() / ROOM;
        let (_, oldest, _) = times.select_nth_unstable(place);
        let (oldest, before) = (*oldest, self.rows.len());
        self.rows.retain(|_, row| row.last_s > oldest);
        self.dropped += (before - self.rows.len()) as u64;
    }

    /// What was published since `since_s`, by clients as `who` knows them (their certificates, for one).
    pub fn since(&self, since_s: u32, who: impl Fn(&str) -> Option<Principal>) -> Vec<Traffic> {
        let rows = self.rows.iter().filter(|(_, row)| row.last_s >= since_s);
        let mut traffic: Vec<Traffic> = rows
            .map(|((client_id, topic), row)| {
                let live = who(client_id).filter(|who| who.identity == row.identity);
                let who = live.unwrap_or_else(|| {
                    let mut who = Principal::anonymous(client_id.clone());
                    who.identity = row.identity.clone();
                    who
                });
                Traffic {
                    who,
                    kind: TrafficKind::Publish,
                    topic: topic.to_string(),
                    qos: row.qos,
                    retain: row.retain,
                    group: None,
                    count: row.count,
                    last_s: row.last_s,
                }
            })
            .collect();
        traffic.sort_by(|a, b| (&a.who.client_id, &a.topic).cmp(&(&b.who.client_id, &b.topic)));
        traffic
    }
}

/// What was published, for [`TrafficLog::published`].
#[derive(Clone, Copy)]
pub struct Published<'a> {
    /// The Client Identifier.
    pub client_id: &'a Arc<str>,
    /// The identity.
    pub identity: Option<&'a Arc<str>>,
    /// The topic.
    pub topic: &'a str,
    /// The highest QoS.
    pub qos: u8,
    /// Whether a message was to be retained.
    pub retain: bool,
    /// Messages.
    pub count: u64,
    /// When, in seconds since the Unix epoch.
    pub last_s: u32,
}

/// What `listening` clients subscribed to, and what of the `published` they were sent by that; at most `max` rows.
pub fn received(published: &[Traffic], listening: &[Listening], now_s: u32, max: usize) -> Vec<Traffic> {
    let mut traffic = Vec::new();
    for client in listening {
        for (filter, qos) in &client.filters {
            let (group, filter) = match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
                Some((group, filter)) => (Some(group), filter),
                None => (None, filter.as_str()),
            };
            let row = |kind, topic: &str, qos, group: Option<&str>, count, last_s| Traffic {
                who: client.who.clone(),
                kind,
                topic: topic.into(),
                qos,
                retain: false,
                group: group.map(String::from),
                count,
                last_s,
            };
            traffic.push(row(TrafficKind::Subscribe, filter, *qos, group, 1, now_s));
            let sent = published.iter().filter(|seen| ravelin_mqtt::matches(filter, &seen.topic));
            for seen in sent {
                traffic.push(row(TrafficKind::Receive, &seen.topic, 0, None, seen.count, seen.last_s));
                if traffic.len() >= max {
                    return traffic;
                }
            }
        }
    }
    traffic
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_add_up_and_the_oldest_make_room() {
        let mut log = TrafficLog::new(16);
        let client_id: Arc<str> = "c".into();
        for number in 0..100_u32 {
            let topic = format!("t/{number}");
            let seen = Published {
                client_id: &client_id,
                identity: None,
                topic: &topic,
                qos: 0,
                retain: false,
                count: 1,
                last_s: number,
            };
            log.published(seen);
            log.published(Published { qos: 2, retain: true, count: 4, ..seen });
            assert!(log.len() <= 16);
        }
        assert_eq!(log.len() as u64 + log.dropped(), 100);
        let traffic = log.since(99, |_| None);
        assert_eq!(traffic.len(), 1);
        let last = &traffic[0];
        assert_eq!((&*last.topic, last.qos, last.retain, last.count), ("t/99", 2, true, 5));
    }

    #[test]
    fn what_matches_a_filter_was_received() {
        let mut log = TrafficLog::new(16);
        let client_id: Arc<str> = "c".into();
        for topic in ["a/1", "a/2", "b"] {
            let (identity, qos, retain, count, last_s) = (None, 0, false, 3, 7);
            log.published(Published { client_id: &client_id, identity, topic, qos, retain, count, last_s });
        }
        let filters = vec![("$share/g/a/#".to_string(), 1), ("c".to_string(), 0)];
        let listening = [Listening { who: Principal::anonymous("d"), filters }];
        let received = received(&log.since(0, |_| None), &listening, 9, 100);
        let told: Vec<_> =
            received.iter().map(|row| (row.kind, &*row.topic, row.group.as_deref(), row.count)).collect();
        use TrafficKind::{Receive, Subscribe};
        assert_eq!(
            told,
            [
                (Subscribe, "a/#", Some("g"), 1),
                (Receive, "a/1", None, 3),
                (Receive, "a/2", None, 3),
                (Subscribe, "c", None, 1)
            ]
        );
    }
}
