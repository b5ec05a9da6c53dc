//! The detectors of messages through the engine: from sights to alarms.

use crate::{Arrived, Engine, Metered, Settings, Sight, TopicMeter};
use ravelin_event::{Alarm, DisconnectCause, Notice};
use std::sync::Arc;

mod presence;
mod scan;
mod volume;

const START_MS: u64 = 1_700_000_000_000;

/// An engine, its clock, and what it has said.
struct Bench {
    engine: Engine,
    now_ms: u64,
    raised: Vec<Arc<Alarm>>,
    cleared: Vec<Arc<Alarm>>,
    findings: Vec<Arc<Alarm>>,
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        let engine = Engine::new(settings, 7);
        let mut bench = Bench { engine, now_ms: START_MS, raised: vec![], cleared: vec![], findings: vec![] };
        bench.pass(1_000);
        bench
    }

    fn drain(&mut self) {
        while let Some(notice) = self.engine.poll_notice() {
            match notice {
                Notice::Raised(alarm) => self.raised.push(alarm),
                Notice::Cleared(alarm) => self.cleared.push(alarm),
                Notice::Finding(alarm) => self.findings.push(alarm),
                _ => {}
            }
        }
    }

    fn see(&mut self, sight: Sight) {
        self.engine.handle(self.now_ms, &sight);
        self.drain();
    }

    /// Time passes, with a tick each second.
    fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while self.now_ms < until {
            self.now_ms = (self.now_ms + 1_000).min(until);
            self.engine.handle_tick(self.now_ms);
        }
        self.drain();
    }

    fn arrive(&mut self, client_id: &str, class: Option<&str>) {
        self.see(arrived(client_id, class));
    }

    /// `messages` to each of `topics` within the last second.
    fn publish(&mut self, client_id: &str, topics: &[&str], messages: u64, undelivered: bool) {
        let meter = metered(self.now_ms, client_id, topics, messages, undelivered);
        self.see(Sight::Metered(Arc::new(meter)));
    }

    fn names(&self) -> Vec<&str> {
        self.raised.iter().map(|alarm| &*alarm.detector).collect()
    }

    fn found(&self, detector: &str) -> bool {
        self.findings.iter().any(|alarm| &*alarm.detector == detector)
    }
}

fn arrived(client_id: &str, class: Option<&str>) -> Sight {
    Sight::Arrived(Arc::new(Arrived {
        client_id: client_id.into(),
        identity: class.map(|_| client_id.into()),
        class: class.map(Arc::from),
        certificate: None,
        address: "192.0.2.7:4711".parse().unwrap(),
        keep_alive_s: 60,
        clean_start: true,
        will: false,
        declared: class.is_some(),
    }))
}

fn metered(at_ms: u64, client_id: &str, topics: &[&str], messages: u64, undelivered: bool) -> Metered {
    let all = messages * topics.len() as u64;
    Metered {
        client_id: client_id.into(),
        from_ms: at_ms - 1_000,
        to_ms: at_ms,
        messages: all,
        bytes: all * 20,
        largest: 20,
        undelivered: if undelivered { all } else { 0 },
        qos: [all, 0, 0],
        packets: all,
        topics: topics
            .iter()
            .map(|topic| TopicMeter {
                topic: (*topic).into(),
                messages,
                bytes: messages * 20,
                undelivered: if undelivered { messages } else { 0 },
                retained: 0,
                first_ms: if messages > 1 { at_ms - 900 } else { at_ms },
                last_ms: at_ms,
            })
            .collect(),
        ..Metered::default()
    }
}

fn left(client_id: &str, cause: DisconnectCause) -> Sight {
    Sight::Left { client_id: client_id.into(), address: None, cause }
}
