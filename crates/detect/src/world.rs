//! A small world for tests: clients that come and go, attackers, and what the engine says of them.

use crate::{Arrived, Engine, Metered, Settings, Sight, TopicMeter};
use ravelin_event::{Alarm, DisconnectCause, Notice, Refusal};
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) struct World {
    pub engine: Engine,
    pub now_ms: u64,
    pub notices: Vec<Notice>,
    pub ticked_ms: u64,
    pub port: u16,
}

impl World {
    /// A world that begins on a day of 2026.
    pub fn new() -> World {
        let mut settings = Settings::default();
        // Its clients stop sending when a test is about something else.
        settings.traffic.learn_silence = false;
        World::with(settings)
    }

    pub fn with(settings: Settings) -> World {
        let now_ms = 1_790_000_000_000;
        let engine = Engine::new(settings, 7);
        World { engine, now_ms, notices: Vec::new(), ticked_ms: now_ms, port: 1_024 }
    }

    /// One in which the engine is not new any more, and some clients are known: `home-0` to `home-19`, each at its address.
    pub fn settled() -> World {
        let mut world = World::new();
        for i in 0..20 {
            let (name, address) = (format!("home-{i}"), format!("192.0.2.{i}"));
            world.arrive(&name, &address, None);
            world.publish(&name, 1);
            world.wait(1_000);
        }
        world.wait(1_200_000);
        assert_eq!(world.raised(), []);
        world
    }

    pub fn sight(&mut self, sight: Sight) {
        self.engine.handle(self.now_ms, &sight);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(notice) = self.engine.poll_notice() {
            self.notices.push(notice);
        }
    }

    /// Lets time pass, with a tick each second.
    pub fn wait(&mut self, ms: u64) {
        self.now_ms += ms;
        while self.ticked_ms + 1_000 <= self.now_ms {
            self.ticked_ms += 1_000;
            self.engine.handle_tick(self.ticked_ms);
            self.drain();
        }
    }

    fn address(&mut self, ip: &str) -> SocketAddr {
        self.port = self.port.checked_add(1).unwrap_or(1_024);
        SocketAddr::new(ip.parse().unwrap(), self.port)
    }

    pub fn opened(&mut self, ip: &str, count: u32) {
        let address = self.address(ip);
        self.sight(Sight::Opened { address, count });
    }

    pub fn abandon(&mut self, ip: &str) {
        let address = self.address(ip);
        self.sight(Sight::Abandoned { address, open_ms: 1, bytes: 0 });
    }

    pub fn arrive(&mut self, client_id: &str, ip: &str, identity: Option<&str>) {
        let address = self.address(ip);
        self.sight(Sight::Arrived(Arc::new(Arrived {
            client_id: client_id.into(),
            identity: identity.map(Arc::from),
            class: None,
            certificate: None,
            address,
            keep_alive_s: 60,
            clean_start: true,
            will: false,
            declared: false,
        })));
    }

    pub fn leave(&mut self, client_id: &str, cause: DisconnectCause) {
        self.sight(Sight::Left { client_id: client_id.into(), address: None, cause });
    }

    pub fn refuse(&mut self, ip: &str, user: Option<&str>, why: Refusal) {
        let address = self.address(ip);
        let identity = user.map(Arc::from);
        self.sight(Sight::Refused { address, client_id: None, identity, why, count: 1 });
    }

    pub fn publish(&mut self, client_id: &str, messages: u64) {
        let topic = TopicMeter {
            topic: format!("home/{client_id}").into(),
            messages,
            bytes: 8 * messages,
            undelivered: 0,
            retained: 0,
            first_ms: self.now_ms,
            last_ms: self.now_ms,
        };
        self.sight(Sight::Metered(Arc::new(Metered {
            client_id: client_id.into(),
            from_ms: self.now_ms,
            to_ms: self.now_ms,
            messages,
            bytes: 8 * messages,
            largest: 8,
            packets: messages,
            topics: vec![topic],
            ..Metered::default()
        })));
    }

    /// The detector and subject of each alarm that was raised, in order.
    pub fn raised(&self) -> Vec<(String, String)> {
        let raised = self.notices.iter().filter(|notice| matches!(notice, Notice::Raised(_)));
        raised
            .map(|notice| (notice.alarm().detector.to_string(), notice.alarm().subject.to_string()))
            .collect()
    }

    pub fn findings(&self) -> usize {
        self.notices.iter().filter(|notice| matches!(notice, Notice::Finding(_))).count()
    }

    /// The only alarm that was raised.
    pub fn only(&self) -> Arc<Alarm> {
        let raised = self.raised();
        assert_eq!(raised.len(), 1, "{raised:?}");
        let raised = self.notices.iter().find(|notice| matches!(notice, Notice::Raised(_)));
        Arc::clone(raised.unwrap().alarm())
    }
}

/// Whether an alarm says all that an operator needs.
pub(crate) fn explains_itself(alarm: &Alarm) {
    assert!(
        !alarm.statistic.is_empty() && !alarm.unit.is_empty() && !alarm.false_alarms.is_empty(),
        "{alarm:?}"
    );
    assert!(alarm.value > 0.0 && alarm.threshold > 0.0 && alarm.value + 0.02 >= alarm.threshold, "{alarm:?}");
    assert!(alarm.baseline.is_some() && alarm.events > 0 && alarm.confidence > 0, "{alarm:?}");
    assert!(!alarm.counted.is_empty() && alarm.counted.len() <= Alarm::COUNTED_MAX, "{alarm:?}");
    assert!(alarm.counted.is_sorted_by_key(|counted| counted.at_ms), "{alarm:?}");
    assert!(alarm.first_ms <= alarm.raised_ms && !alarm.summary.is_empty(), "{alarm:?}");
    assert!(alarm.counted.iter().all(|counted| counted.at_ms <= alarm.raised_ms), "{alarm:?}");
}
