//! What was seen on the bus, in the words of detectors.
//!
//! What a client sent in one harvest comes as flows (a row for each topic) and as a reading; together they are one meter. What
//! is told of a client that was let in comes in two halves, the event and the [`Arrival`] in front of it.

use super::super::{Arrival, Watched};
use foldhash::HashMap;
use ravelin_broker::{Flow, Observed, Reading, Watch};
use ravelin_detect::{Arrived, Metered, Operation, Sight, TopicMeter};
use ravelin_event::{Event, Record, Refusal};
use std::collections::VecDeque;
use std::sync::Arc;

/// Arrivals whose event has not come yet. It follows within the same turn of a shard.
const ARRIVALS_MAX: usize = 1_024;
/// The span of a meter whose first message is younger: shards do not harvest more often.
const SPAN_MIN_MS: u64 = 250;

/// Whether the inventory has a client of this Client Identifier and identity as declared.
pub(super) type IsDeclared<'a> = &'a dyn Fn(&str, Option<&str>) -> bool;

/// Turns what was seen into sights. It remembers the first half of what comes in two.
#[derive(Default)]
pub(super) struct Translator {
    arrivals: HashMap<Arc<str>, Arc<Arrival>>,
    order: VecDeque<Arc<str>>,
    metered: Meters,
}

/// Whether detectors have any use for it. What they cause themselves is not among it: no alarm can feed a detector.
pub(super) fn concerns(seen: &Watched) -> bool {
    match seen {
        Watched::Event(record) | Watched::Unlogged { record, .. } => matches!(
            record.event,
            Event::ConnectionRefused { .. }
                | Event::Connected { .. }
                | Event::Disconnected { .. }
                | Event::PublishRefused { .. }
                | Event::SubscribeRefused { .. }
                | Event::UnsubscribeRefused { .. }
                | Event::WillRefused { .. }
                | Event::Subscribed { .. }
                | Event::WillPublished { .. }
                | Event::QueueFull { .. }
                | Event::DuplicateClient { .. }
                | Event::ClonedCertificate { .. }
                | Event::MovedDevice { .. }
        ),
        Watched::Observed(observed) => observed.watch.contains(Watch::DETECT),
        Watched::Arrived(_)
        | Watched::Flows(..)
        | Watched::Readings(..)
        | Watched::Opened { .. }
        | Watched::Abandoned { .. } => true,
        Watched::Delivered(_) | Watched::Handshake(_) | Watched::Notice(_) => false,
    }
}

impl Translator {
    /// Gives what `seen` means, with its time, to `tell`. What may have a second half waits for the next call, or for
    /// [`Translator::finish`].
    pub fn take(&mut self, seen: &Watched, is_declared: IsDeclared<'_>, tell: &mut impl FnMut(u64, Sight)) {
        if let Watched::Readings(at_ms, readings) = seen {
            if self.metered.at_ms != *at_ms {
                self.metered.finish(tell);
            }
            self.metered.read(*at_ms, readings);
            return self.metered.finish(tell);
        }
        self.metered.finish(tell);
        match seen {
            Watched::Event(record) => self.event(record, 1, is_declared, tell),
            Watched::Unlogged { record, count } => self.event(record, *count, is_declared, tell),
            Watched::Arrived(arrival) => self.keep(arrival),
            Watched::Flows(at_ms, flows) => self.metered.flow(*at_ms, flows),
            Watched::Opened { wall_ms, address, count } => {
                tell(*wall_ms, Sight::Opened { address: *address, count: *count });
            }
            Watched::Abandoned { wall_ms, address, open_ms, bytes } => {
                tell(*wall_ms, Sight::Abandoned { address: *address, open_ms: *open_ms, bytes: *bytes });
            }
            Watched::Observed(observed) => tell(observed.wall_ms, observation(observed)),
            Watched::Readings(..) | Watched::Delivered(_) | Watched::Handshake(_) | Watched::Notice(_) => {}
        }
    }

    /// Nothing more comes for now.
    pub fn finish(&mut self, tell: &mut impl FnMut(u64, Sight)) {
        self.metered.finish(tell);
    }

    fn keep(&mut self, arrival: &Arc<Arrival>) {
        if self.order.len() >= ARRIVALS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.arrivals.remove(&oldest);
        }
        self.order.push_back(Arc::clone(&arrival.client_id));
        self.arrivals.insert(Arc::clone(&arrival.client_id), Arc::clone(arrival));
    }

    fn event(
        &mut self,
        record: &Record,
        count: u32,
        is_declared: IsDeclared<'_>,
        tell: &mut impl FnMut(u64, Sight),
    ) {
        let sight = match &record.event {
            Event::Connected { client_id, identity, address, keep_alive_s, clean_start, .. } => {
                let kept = self.arrivals.remove(client_id.as_str());
                self.order.retain(|waiting| **waiting != **client_id);
                let kept = kept.as_deref();
                let Some(address) = *address else { return };
                let identity = kept.and_then(|kept| kept.identity.clone()).or_else(|| name(identity));
                Sight::Arrived(Arc::new(Arrived {
                    declared: is_declared(client_id, identity.as_deref()),
                    client_id: client_id.as_str().into(),
                    identity,
                    class: kept.and_then(|kept| kept.class.clone()),
                    certificate: kept.and_then(|kept| kept.certificate.clone()),
                    address,
                    keep_alive_s: *keep_alive_s,
                    clean_start: *clean_start,
                    will: kept.is_some_and(|kept| kept.will),
                }))
            }
            event => match of_event(event, count) {
                Some(sight) => sight,
                None => return,
            },
        };
        tell(record.at_ms, sight);
    }
}

/// What an event that stands for itself means. A log-in that failed is not among them: the refusal that follows is.
fn of_event(event: &Event, count: u32) -> Option<Sight> {
    let denied = |client_id: &str, operation, what: &str, why| Sight::Denied {
        client_id: client_id.into(),
        operation,
        name: what.into(),
        why,
        count,
    };
    Some(match event {
        Event::ConnectionRefused { address, client_id, identity, why } => Sight::Refused {
            address: *address,
            client_id: name(client_id),
            identity: name(identity),
            why: *why,
            count,
        },
        Event::Disconnected { client_id, address, cause, .. } => {
            Sight::Left { client_id: client_id.as_str().into(), address: *address, cause: *cause }
        }
        // What an order has closed says nothing of whoever meets it.
        Event::PublishRefused { why: Refusal::Frozen, .. }
        | Event::WillRefused { why: Refusal::Frozen, .. }
        | Event::SubscribeRefused { why: Refusal::Posture, .. } => return None,
        Event::PublishRefused { client_id, topic, why, .. } => {
            denied(client_id, Operation::Publish, topic, *why)
        }
        Event::SubscribeRefused { client_id, filter, why, .. } => {
            denied(client_id, Operation::Subscribe, filter, *why)
        }
        Event::UnsubscribeRefused { client_id, filter, why, .. } => {
            denied(client_id, Operation::Unsubscribe, filter, *why)
        }
        Event::WillRefused { client_id, topic, why, .. } => denied(client_id, Operation::Will, topic, *why),
        Event::Subscribed { client_id, filter, .. } => {
            Sight::Subscribed { client_id: client_id.as_str().into(), filter: filter.as_str().into() }
        }
        Event::WillPublished { client_id, topic } => {
            Sight::WillPublished { client_id: client_id.as_str().into(), topic: topic.as_str().into() }
        }
        Event::QueueFull { client_id, dropped } => {
            // The event has the total, and comes with each doubling of it.
            let count = if *dropped > 1 { dropped - dropped / 2 } else { *dropped };
            Sight::Dropped { client_id: client_id.as_str().into(), count }
        }
        Event::DuplicateClient { client_id, addresses, why, .. } => cloned(client_id, addresses, why),
        Event::ClonedCertificate { certificate, addresses, why, .. } => cloned(certificate, addresses, why),
        Event::MovedDevice { device, address, why } => {
            let client_id = device.split_once(':').map_or(device.as_str(), |(_, name)| name);
            cloned(client_id, std::slice::from_ref(address), why)
        }
        _ => return None,
    })
}

fn cloned(client_id: &str, addresses: &[String], why: &str) -> Sight {
    let addresses = addresses.iter().filter_map(|address| address.parse().ok()).collect();
    Sight::Cloned { client_id: client_id.into(), addresses, why: why.into() }
}

fn observation(observed: &Observed) -> Sight {
    Sight::Observed {
        client_id: observed.who.client_id.clone(),
        topic: observed.topic.as_ref().into(),
        payload: observed.payload.as_ref().into(),
        retain: observed.retain,
    }
}

fn name(text: &Option<String>) -> Option<Arc<str>> {
    text.as_deref().map(Into::into)
}

/// The meters of one harvest of one shard, in the making.
#[derive(Default)]
struct Meters {
    at_ms: u64,
    all: Vec<Metered>,
    places: HashMap<Arc<str>, usize>,
}

impl Meters {
    fn of(&mut self, client_id: &Arc<str>) -> &mut Metered {
        let at_ms = self.at_ms;
        let next = self.all.len();
        let place = *self.places.entry(Arc::clone(client_id)).or_insert(next);
        if place == next {
            let from_ms = at_ms.saturating_sub(SPAN_MIN_MS);
            self.all.push(Metered {
                client_id: Arc::clone(client_id),
                from_ms,
                to_ms: at_ms,
                ..Metered::default()
            });
        }
        &mut self.all[place]
    }

    fn flow(&mut self, at_ms: u64, flows: &[Flow]) {
        self.at_ms = at_ms;
        // The row without a name is what found no place; the figures of the node count it.
        for flow in flows.iter().filter(|flow| !flow.client_id.is_empty()) {
            let metered = self.of(&flow.client_id);
            metered.from_ms = metered.from_ms.min(flow.first_wall_ms);
            metered.messages += flow.messages;
            metered.bytes += flow.bytes;
            metered.largest = metered.largest.max(flow.largest);
            metered.undelivered += flow.undelivered;
            metered.retained += flow.retained;
            metered.qos.iter_mut().zip(flow.qos).for_each(|(sum, part)| *sum += part);
            metered.topics.push(TopicMeter {
                topic: Arc::clone(&flow.topic),
                messages: flow.messages,
                bytes: flow.bytes,
                undelivered: flow.undelivered,
                retained: flow.retained,
                first_ms: flow.first_wall_ms,
                last_ms: flow.last_wall_ms,
            });
        }
    }

    fn read(&mut self, at_ms: u64, readings: &[Reading]) {
        self.at_ms = at_ms;
        for reading in readings {
            let metered = self.of(&reading.client_id);
            metered.packets += reading.packets;
            metered.sent += reading.sent;
            metered.inflight = reading.inflight;
        }
    }

    fn finish(&mut self, tell: &mut impl FnMut(u64, Sight)) {
        self.places.clear();
        for mut metered in self.all.drain(..) {
            if metered.topics.len() > Metered::TOPICS_MAX {
                metered.topics.sort_by_key(|topic| std::cmp::Reverse(topic.messages));
                let others = metered.topics.split_off(Metered::TOPICS_MAX);
                metered.other_topics = u32::try_from(others.len()).unwrap_or(u32::MAX);
                metered.other_messages = others.iter().map(|topic| topic.messages).sum();
            }
            tell(metered.to_ms, Sight::Metered(Arc::new(metered)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_event::{DisconnectCause, Notice};
    use std::net::SocketAddr;

    fn seen(at_ms: u64, event: Event) -> Watched {
        Watched::Event(Arc::new(Record::new(at_ms, event)))
    }

    fn address() -> SocketAddr {
        "192.0.2.7:4711".parse().unwrap()
    }

    /// What all of it means.
    fn sights(all: &[Watched]) -> Vec<(u64, Sight)> {
        let (mut translator, mut told) = (Translator::default(), Vec::new());
        let mut tell = |at_ms, sight| told.push((at_ms, sight));
        for one in all {
            translator.take(one, &|client_id, _| client_id == "meter-1", &mut tell);
        }
        translator.finish(&mut tell);
        told
    }

    fn arrival(client_id: &str) -> Watched {
        Watched::Arrived(Arc::new(Arrival {
            wall_ms: 5,
            client_id: client_id.into(),
            identity: Some("meter".into()),
            class: Some("meters".into()),
            certificate: Some("ab".into()),
            address: address().ip(),
            listener: 0,
            version: "5",
            keep_alive_s: 60,
            will: true,
            properties: Vec::new(),
        }))
    }

    fn connected(client_id: &str) -> Watched {
        seen(
            6,
            Event::Connected {
                client_id: client_id.into(),
                identity: Some("meter".into()),
                address: Some(address()),
                version: "5",
                keep_alive_s: 30,
                clean_start: true,
                session_present: false,
            },
        )
    }

    #[test]
    fn the_two_halves_of_an_arrival_become_one_after_the_connection_that_it_replaces() {
        let left = seen(
            6,
            Event::Disconnected {
                client_id: "meter-1".into(),
                identity: None,
                address: Some(address()),
                cause: DisconnectCause::TakenOver,
                detail: None,
            },
        );
        let told = sights(&[arrival("meter-1"), left, connected("meter-1"), connected("meter-2")]);
        assert!(matches!(&told[0].1, Sight::Left { cause: DisconnectCause::TakenOver, .. }), "{told:?}");
        let arrived = |at: usize| match &told[at].1 {
            Sight::Arrived(arrived) => Arrived::clone(arrived),
            other => panic!("{other:?}"),
        };
        let expected = Arrived {
            client_id: "meter-1".into(),
            identity: Some("meter".into()),
            class: Some("meters".into()),
            certificate: Some("ab".into()),
            address: address(),
            keep_alive_s: 30,
            clean_start: true,
            will: true,
            declared: true,
        };
        assert_eq!((told[1].0, arrived(1)), (6, expected));
        let second = arrived(2);
        assert!(!second.will && !second.declared && second.class.is_none() && second.identity.is_some());
    }

    #[test]
    fn arrivals_without_an_event_are_forgotten() {
        let mut translator = Translator::default();
        for number in 0..3_000 {
            translator.take(&arrival(&format!("c{number}")), &|_, _| false, &mut |_, _| {});
        }
        assert!(translator.arrivals.len() <= ARRIVALS_MAX && translator.order.len() <= ARRIVALS_MAX);
    }

    fn flow(client_id: &str, topic: &str, messages: u64) -> Flow {
        Flow {
            client_id: client_id.into(),
            identity: None,
            topic: topic.into(),
            messages,
            bytes: 10 * messages,
            qos: [messages, 0, 0],
            retained: 1,
            undelivered: 2,
            largest: 10,
            first_wall_ms: 700,
            last_wall_ms: 990,
        }
    }

    #[test]
    fn flows_and_the_reading_of_a_harvest_are_one_meter() {
        let reading =
            |client_id: &str, packets| Reading { client_id: client_id.into(), packets, sent: 4, inflight: 1 };
        let told = sights(&[
            Watched::Flows(
                1_000,
                [flow("a", "x", 3), flow("b", "x", 1), flow("a", "y", 5), flow("", "", 9)].into(),
            ),
            Watched::Readings(1_000, [reading("a", 9), reading("c", 1)].into()),
            Watched::Flows(2_000, [flow("a", "x", 1)].into()),
            Watched::Readings(2_300, [reading("a", 1)].into()),
        ]);
        let meters: Vec<&Metered> = told
            .iter()
            .map(|(_, sight)| match sight {
                Sight::Metered(metered) => &**metered,
                other => panic!("{other:?}"),
            })
            .collect();
        let names: Vec<(&str, u64, u64, u64)> =
            meters.iter().map(|m| (&*m.client_id, m.to_ms, m.messages, m.packets)).collect();
        let expected = [
            ("a", 1_000, 8, 9),
            ("b", 1_000, 1, 0),
            ("c", 1_000, 0, 1),
            ("a", 2_000, 1, 0),
            ("a", 2_300, 0, 1),
        ];
        assert_eq!(names, expected);
        let first = meters[0];
        assert_eq!((first.bytes, first.largest, first.undelivered, first.retained), (80, 10, 4, 2));
        assert_eq!((first.from_ms, first.qos, first.sent, first.inflight), (700, [8, 0, 0], 4, 1));
        assert_eq!((first.topics.len(), &*first.topics[1].topic, first.topics[1].last_ms), (2, "y", 990));
    }

    #[test]
    fn topics_beyond_the_limit_are_counted_together() {
        let flows: Vec<Flow> = (1..=100).map(|n| flow("a", &format!("t{n}"), n)).collect();
        let told = sights(&[Watched::Flows(1_000, flows.into())]);
        let Sight::Metered(metered) = &told[0].1 else { panic!("{told:?}") };
        assert_eq!((metered.topics.len(), metered.topics[0].messages), (Metered::TOPICS_MAX, 100));
        assert_eq!((metered.other_topics, metered.other_messages), (36, (1..=36).sum()));
    }

    #[test]
    fn refusals_denials_and_drops_keep_their_counts() {
        let record = Arc::new(Record::new(
            7,
            Event::PublishRefused {
                client_id: "a".into(),
                identity: None,
                address: None,
                topic: "t".into(),
                why: Refusal::AccessRule,
            },
        ));
        let refused = Event::ConnectionRefused {
            address: address(),
            client_id: None,
            identity: Some("alice".into()),
            why: Refusal::BadCredentials,
        };
        let told = sights(&[
            Watched::Unlogged { record, count: 40 },
            seen(8, refused),
            seen(9, Event::QueueFull { client_id: "a".into(), dropped: 8 }),
            seen(9, Event::QueueFull { client_id: "a".into(), dropped: 1 }),
        ]);
        assert!(matches!(&told[0], (7, Sight::Denied { operation: Operation::Publish, count: 40, .. })));
        assert!(matches!(
            &told[1],
            (8, Sight::Refused { why: Refusal::BadCredentials, count: 1, identity: Some(_), .. })
        ));
        let dropped =
            |at: usize| matches!(&told[at].1, Sight::Dropped { count, .. } if *count == [4, 1][at - 2]);
        assert!(dropped(2) && dropped(3), "{told:?}");
    }

    #[test]
    fn what_an_order_has_closed_is_nobodys_scan() {
        let (client_id, identity, address) = ("a".to_string(), None, None);
        let (topic, filter) = ("t".to_string(), "t/#".to_string());
        let told = sights(&[
            seen(
                1,
                Event::PublishRefused {
                    client_id: client_id.clone(),
                    identity: identity.clone(),
                    address,
                    topic,
                    why: Refusal::Frozen,
                },
            ),
            seen(2, Event::SubscribeRefused { client_id, identity, address, filter, why: Refusal::Posture }),
        ]);
        assert!(told.is_empty(), "{told:?}");
    }

    #[test]
    fn what_detectors_say_never_comes_back_to_them() {
        let alarm = Event::AlarmCleared {
            alarm: 1,
            detector: "flood".into(),
            subject: "client:a".into(),
            lasted_ms: 1,
        };
        let trust = Event::TrustChanged {
            client_id: "a".into(),
            identity: None,
            from: 80,
            to: 20,
            why: "guesses".into(),
        };
        for event in [alarm, trust] {
            let one = seen(1, event);
            assert!(!concerns(&one));
            assert!(sights(&[one]).is_empty());
        }
        let notice = Watched::Notice(Arc::new(Notice::Cleared(Arc::new(super::super::tests::alarm()))));
        assert!(!concerns(&notice) && sights(&[notice]).is_empty());
        let moved = Event::MovedDevice {
            device: "client:pump".into(),
            address: "192.0.2.9".into(),
            why: "another site".into(),
        };
        let told = sights(&[seen(3, moved)]);
        assert!(
            matches!(&told[0].1, Sight::Cloned { client_id, addresses, .. } if &**client_id == "pump" && addresses.len() == 1)
        );
    }
}
