//! The two ends of the detectors' queue: what the watch thread puts in, and the thread that feeds the engine.

use super::super::{Control, Inner, Watched, Watcher};
use super::sights::{Translator, concerns};
use super::{Said, WITH_ORDER_MAX};
use ravelin_broker::Now;
use ravelin_detect::Sight;
use ravelin_event::{Alarm, Event, Notice};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// What is seen in one go under the lock.
const CHUNK: usize = 256;
const TICK_MS: u64 = 1_000;
/// Alarms that were left out are told of so often.
const TELL_LIMITED_MS: u64 = 10_000;

/// Hands over what concerns detectors. On the watch thread.
pub(super) struct Forward {
    inner: Weak<Inner>,
    batch: Vec<Watched>,
}

/// Feeds the engine. On the thread of the detectors.
pub(super) struct Detector {
    inner: Weak<Inner>,
    translator: Translator,
    ticked_ms: u64,
    written_ms: u64,
    told_ms: u64,
}

impl Forward {
    pub fn new(inner: Weak<Inner>) -> Forward {
        Forward { inner, batch: Vec::new() }
    }
}

impl Watcher for Forward {
    fn watch(&mut self, _: Now, batch: &[Watched], dropped: u64) {
        let Some(inner) = self.inner.upgrade() else { return };
        if !inner.config.borrow().detect.enabled {
            return;
        }
        let queue = &inner.detection.queue;
        if dropped > 0 {
            queue.lost(dropped);
        }
        self.batch.extend(batch.iter().filter(|seen| concerns(seen)).cloned());
        queue.push_all(&mut self.batch);
    }
}

impl Detector {
    pub fn new(inner: Weak<Inner>) -> Detector {
        Detector { inner, translator: Translator::default(), ticked_ms: 0, written_ms: 0, told_ms: 0 }
    }

    /// Feeds the engine with `chunk`, and tells what it says.
    fn feed(&mut self, control: &Control, chunk: &[Watched]) {
        let inner = &control.0;
        let is_declared =
            |client_id: &str, identity: Option<&str>| inner.devices.is_declared(client_id, identity);
        let (mut said, mut engine) = (Said::default(), inner.detection.lock());
        let began = Instant::now();
        let mut tell = |at_ms, sight: Sight| engine.handle(at_ms, &sight);
        for seen in chunk {
            self.translator.take(seen, &is_declared, &mut tell);
        }
        self.translator.finish(&mut tell);
        said.take(&mut engine);
        inner.detection.meter.sights(began);
        if !said.notices.is_empty() {
            // Before anybody is told: what is told of has a number that a restart does not give out again.
            let _ = control.write_detection(&mut engine, WITH_ORDER_MAX);
        }
        drop(engine);
        control.tell(said);
    }

    fn tick(&mut self, control: &Control, now: Now) {
        if now.mono_ms.saturating_sub(self.ticked_ms) < TICK_MS {
            return;
        }
        self.ticked_ms = now.mono_ms;
        let (mut said, mut engine) = (Said::default(), control.0.detection.lock());
        let began = Instant::now();
        engine.handle_tick(now.wall_ms);
        said.take(&mut engine);
        control.0.detection.meter.ticks(began);
        if !said.notices.is_empty() {
            let _ = control.write_detection(&mut engine, WITH_ORDER_MAX);
        }
        drop(engine);
        control.tell(said);
    }

    fn write(&mut self, control: &Control, now: Now) {
        let config = control.config();
        let interval_ms = u64::try_from(config.detect.write_interval.as_millis()).unwrap_or(u64::MAX);
        if now.mono_ms.saturating_sub(self.written_ms) < interval_ms {
            return;
        }
        self.written_ms = now.mono_ms;
        // Under the lock: a checkpoint in between would else write an older state behind a newer one.
        let mut engine = control.0.detection.lock();
        // A store that has failed says so by itself.
        let _ = control.write_detection(&mut engine, config.detect.write_max);
    }

    /// Tells the log of alarms that were left out because too many came.
    fn tell_limited(&mut self, control: &Control, now: Now) {
        if now.mono_ms.saturating_sub(self.told_ms) < TELL_LIMITED_MS {
            return;
        }
        self.told_ms = now.mono_ms;
        let mut engine = control.0.detection.lock();
        let limited: Vec<_> = std::iter::from_fn(|| engine.poll_limited()).collect();
        drop(engine);
        for (detector, count) in limited {
            let why = "more than `alarms_per_minute` of this detector".into();
            control.emit(Event::AlarmsSuppressed { detector: detector.to_string(), count, why });
        }
    }
}

impl Watcher for Detector {
    fn watch(&mut self, now: Now, batch: &[Watched], dropped: u64) {
        let Some(inner) = self.inner.upgrade() else { return };
        let control = Control(inner);
        if dropped > 0 {
            control.0.detection.meter.missed(dropped);
            control.0.detection.lock().handle(now.wall_ms, &Sight::Missed { count: dropped });
        }
        for chunk in batch.chunks(CHUNK) {
            self.feed(&control, chunk);
        }
        if control.config().detect.enabled {
            self.tick(&control, now);
        }
        self.write(&control, now);
        self.tell_limited(&control, now);
    }
}

/// A notice, as the log has it.
pub(super) fn event_of(notice: &Notice) -> Event {
    let alarm = notice.alarm();
    let (detector, subject) = (alarm.detector.to_string(), alarm.subject.to_string());
    match notice {
        Notice::Cleared(alarm) => Event::AlarmCleared {
            alarm: alarm.id,
            detector,
            subject,
            lasted_ms: alarm.cleared_ms.unwrap_or(alarm.last_ms).saturating_sub(alarm.first_ms),
        },
        Notice::Finding(alarm) => Event::FindingLogged {
            alarm: alarm.id,
            detector,
            subject,
            client_id: text(&alarm.client_id),
            address: alarm.address,
            summary: alarm.summary.clone(),
        },
        _ => raised(alarm, detector, subject),
    }
}

fn raised(alarm: &Alarm, detector: String, subject: String) -> Event {
    Event::AlarmRaised {
        alarm: alarm.id,
        detector,
        severity: alarm.severity.name(),
        confidence: alarm.confidence,
        subject,
        technique: text(&alarm.technique),
        client_id: text(&alarm.client_id),
        identity: text(&alarm.identity),
        address: alarm.address,
        events: alarm.events,
        summary: alarm.summary.clone(),
    }
}

fn text(name: &Option<Arc<str>>) -> Option<String> {
    name.as_deref().map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::super::tests::alarm;
    use super::*;

    #[test]
    fn each_notice_has_its_event() {
        let alarm = Arc::new(alarm());
        let raised = event_of(&Notice::Raised(Arc::clone(&alarm)));
        assert!(
            matches!(&raised, Event::AlarmRaised { alarm: 17, severity: "high", subject, .. } if subject == "source:192.0.2.7")
        );
        assert_eq!(event_of(&Notice::Worsened(Arc::clone(&alarm))), raised);
        let cleared = event_of(&Notice::Cleared(Arc::clone(&alarm)));
        assert!(matches!(cleared, Event::AlarmCleared { alarm: 17, lasted_ms: 72_000, .. }));
        assert_eq!(event_of(&Notice::Finding(alarm)).id(), "alarm.finding");
    }
}
