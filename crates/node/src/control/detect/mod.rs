//! The node's side of detection: what is seen goes into the engine, what the engine says goes out.
//!
//! The engine has a thread and a lock of its own (docs/decisions/0023): the watch thread hands over what concerns detectors and
//! goes on. Whoever asks or orders holds the lock for a moment; no shard ever takes it.

mod figures;
mod sights;
mod watcher;

pub use figures::DetectFigures;

use super::{Actor, Control, RecordsError, Space, WatchQueue, WatchThread};
use crate::config::Config;
use figures::Meter;
use ravelin_detect::traffic::Inspection;
use ravelin_detect::{Engine, Error as EngineError, Sight, Suppression, TrustChange, Write};
use ravelin_event::{Event, Notice, Verification};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use watcher::{Detector, Forward};

/// Records that are written at once with an order or an alarm, which are among the first of what is behind.
const WITH_ORDER_MAX: usize = 64;

/// Why an order to the detectors was not carried out, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DetectFailure {
    /// It cannot be. Nothing has changed.
    #[error(transparent)]
    Detect(#[from] EngineError),
    /// It is in force, but will not outlive a restart.
    #[error("it is in force until the node stops, but could not be stored: {0}")]
    Records(#[from] RecordsError),
}

/// The engine, and what waits for it.
pub(crate) struct Detection {
    engine: Mutex<Engine>,
    queue: Arc<WatchQueue>,
    meter: Meter,
}

/// What the engine has to say after a while under its lock.
#[derive(Default)]
struct Said {
    notices: Vec<Notice>,
    trust: Vec<TrustChange>,
}

impl Detection {
    pub fn new(config: &Config, seed: u64) -> Detection {
        Detection {
            engine: Mutex::new(Engine::new(config.detect.settings.clone(), seed)),
            queue: WatchQueue::new(),
            meter: Meter::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Said {
    fn take(&mut self, engine: &mut Engine) {
        self.notices.extend(std::iter::from_fn(|| engine.poll_notice()));
        self.trust.extend(std::iter::from_fn(|| engine.poll_trust()));
    }
}

impl Control {
    /// Looks into the engine; `look` is told the time in milliseconds since the Unix epoch. It should not take long: what is
    /// seen waits for it.
    pub fn detection<T>(&self, look: impl FnOnce(&Engine, u64) -> T) -> T {
        let now_ms = self.now().wall_ms;
        look(&self.0.detection.lock(), now_ms)
    }

    /// Has alarms not told; returns the number of the suppression. May wait for the disk.
    pub fn suppress_alarms(&self, actor: &Actor, suppression: Suppression) -> Result<u64, DetectFailure> {
        let subject = match (&suppression.detector, &suppression.subject) {
            (Some(detector), Some(subject)) => format!("{detector} {subject}"),
            (Some(detector), None) => detector.to_string(),
            (None, Some(subject)) => subject.to_string(),
            (None, None) => "all".into(),
        };
        let why = suppression.why.to_string();
        let done = self.order_detection(WITH_ORDER_MAX, |engine| engine.suppress(suppression));
        self.settle_detection(actor, "alarm.suppress", &subject, &why, done)
    }

    /// Takes a suppression back. May wait for the disk.
    pub fn unsuppress_alarms(&self, actor: &Actor, id: u64) -> Result<(), DetectFailure> {
        let done = self.order_detection(WITH_ORDER_MAX, |engine| engine.unsuppress(id));
        self.settle_detection(actor, "alarm.unsuppress", &format!("suppression:{id}"), "", done)
    }

    /// Says what an alarm was found to be. May wait for the disk.
    pub fn verify_alarm(
        &self,
        actor: &Actor,
        id: u64,
        verification: Verification,
        note: &str,
    ) -> Result<(), DetectFailure> {
        let done =
            self.order_detection(WITH_ORDER_MAX, |engine| engine.verify(id, verification, &actor.name, note));
        let word = serde_json::to_value(verification).unwrap_or_default();
        let detail = format!("{} {note}", word.as_str().unwrap_or_default());
        self.settle_detection(actor, "alarm.verify", &format!("alarm:{id}"), detail.trim_end(), done)
    }

    /// Records that somebody has inspected a device. May wait for the disk.
    pub fn record_inspection(&self, actor: &Actor, inspection: Inspection) -> Result<(), DetectFailure> {
        let (device, by) = (Arc::clone(&inspection.device), Arc::clone(&inspection.by));
        // It is the last of what is behind.
        let done = self.order_detection(usize::MAX, |engine| engine.record_inspection(inspection));
        self.settle_detection(actor, "inspection.record", &device, &format!("by {by}"), done)
    }

    /// What detection has done and what it costs.
    pub fn detect_figures(&self) -> DetectFigures {
        let detection = &self.0.detection;
        detection.meter.figures(detection.lock().figures())
    }

    /// Carries an order out and writes what must outlive a restart, under the lock under which a checkpoint is written.
    fn order_detection<T>(
        &self,
        write_max: usize,
        order: impl FnOnce(&mut Engine) -> Result<T, EngineError>,
    ) -> Result<(T, Result<u64, RecordsError>), EngineError> {
        let mut engine = self.0.detection.lock();
        let result = order(&mut engine)?;
        let stored = self.write_detection(&mut engine, write_max);
        let mut said = Said::default();
        said.take(&mut engine);
        drop(engine);
        self.tell(said);
        Ok((result, stored))
    }

    /// Waits for the disk, and tells what became of an order.
    fn settle_detection<T>(
        &self,
        actor: &Actor,
        action: &str,
        subject: &str,
        detail: &str,
        done: Result<(T, Result<u64, RecordsError>), EngineError>,
    ) -> Result<T, DetectFailure> {
        let result = match done {
            Err(error) => Err(error.into()),
            Ok((result, stored)) => {
                let settled = stored.and_then(|number| self.records().blocking_settled(number));
                settled.map(|()| result).map_err(Into::into)
            }
        };
        let error = result.as_ref().err().map(|error: &DetectFailure| error.to_string());
        self.administered(actor, action, subject, error.as_deref().map_or(Ok(detail), Err));
        result
    }

    /// Writes at most `max` records that are behind. The number of the last, or why one was not taken; the engine holds it for
    /// written all the same, and it is behind again with the next change.
    fn write_detection(&self, engine: &mut Engine, max: usize) -> Result<u64, RecordsError> {
        let (mut stored, mut written) = (Ok(0), 0);
        while written < max
            && let Some(Write { key, value }) = engine.poll_write()
        {
            let one = match value {
                Some(value) => self.records().put(Space::Detection, &key, &value),
                None => self.records().delete(Space::Detection, &key),
            };
            stored = stored.and(one);
            written += 1;
        }
        self.0.detection.meter.written(written as u64);
        stored
    }

    /// Tells the log, whoever watches and the rules of trust what the engine said.
    fn tell(&self, said: Said) {
        for notice in said.notices {
            if notice.alarm().suppressed {
                continue;
            }
            self.emit(watcher::event_of(&notice));
            self.0.watch.push(super::Watched::Notice(Arc::new(notice)));
        }
        if said.trust.is_empty() {
            return;
        }
        let scores: Vec<(Arc<str>, u8)> =
            said.trust.iter().map(|change| (Arc::clone(&change.client_id), change.to)).collect();
        self.trust_changed(&scores);
        for change in said.trust {
            self.emit(Event::TrustChanged {
                client_id: change.client_id.to_string(),
                identity: change.identity.as_deref().map(Into::into),
                from: change.from,
                to: change.to,
                why: change.why.to_string(),
            });
        }
    }

    /// Takes up what the store held, and begins to look.
    pub(crate) fn open_detection(&self) {
        let mut engine = self.0.detection.lock();
        for (key, value) in self.records().load(Space::Detection) {
            if let Err(error) = engine.restore(&key, &value) {
                let detail = format!("{} of detection: {error}", key.escape_debug());
                self.emit(Event::RecordUnreadable { detail });
            }
        }
        engine.handle(self.now().wall_ms, &Sight::Started);
        drop(engine);
        let inner = Arc::downgrade(&self.0);
        self.records().register(Space::Detection, move |dump| {
            let Some(inner) = inner.upgrade() else { return };
            let engine = inner.detection.lock();
            for write in engine.dump() {
                if let Some(value) = write.value {
                    dump.write(&write.key, &value);
                }
            }
        });
        self.0.detection.queue.add(Box::new(Detector::new(Arc::downgrade(&self.0))));
        self.add_watcher(Box::new(Forward::new(Arc::downgrade(&self.0))));
    }

    /// Goes by the configuration in force. What is known stays.
    pub(crate) fn configure_detection(&self) {
        let settings = self.config().detect.settings.clone();
        self.0.detection.lock().set_settings(settings);
    }

    /// Starts the thread of the detectors.
    pub(crate) fn start_detection(&self) -> std::io::Result<WatchThread> {
        let clock = self.0.clock;
        // The watch thread has rested already, and hands over whole batches.
        self.0.detection.queue.start("ravelin-detect", Duration::ZERO, move || clock.now())
    }

    /// Writes all that is behind, once the thread has ended.
    pub(crate) fn close_detection(&self) {
        let mut engine = self.0.detection.lock();
        // A store that has failed says so by itself.
        let _ = self.write_detection(&mut engine, usize::MAX);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ravelin_event::{Alarm, Severity, Subject, Verification};

    /// An alarm about a guesser.
    pub(crate) fn alarm() -> Alarm {
        Alarm {
            id: 17,
            detector: "repeated_authentication".into(),
            subcategory: "DE.ID-1".into(),
            technique: Some("T1110".into()),
            severity: Severity::High,
            confidence: 99,
            subject: Subject::Source([192, 0, 2, 7].into()),
            client_id: None,
            identity: Some("alice".into()),
            class: None,
            address: Some(([192, 0, 2, 7], 4711).into()),
            topic: None,
            first_ms: 1_000,
            raised_ms: 12_000,
            last_ms: 13_000,
            cleared_ms: Some(73_000),
            statistic: "log-likelihood CUSUM of refused log-ins".into(),
            value: 12.4,
            threshold: 11.5,
            baseline: None,
            unit: "".into(),
            window_ms: 11_000,
            events: 6,
            counted: Vec::new(),
            figures: Vec::new(),
            summary: "6 of 6 log-ins failed".into(),
            false_alarms: "once in 100,000 log-ins".into(),
            verification: Verification::Unknown,
            suppressed: false,
        }
    }
}
