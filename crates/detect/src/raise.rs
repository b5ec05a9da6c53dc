//! What a detector hands over when it has found something.

use crate::DetectorInfo;
use ravelin_event::{Alarm, Counted, Figure, Severity, Subject, Verification};
use std::net::SocketAddr;
use std::sync::Arc;

/// What a detector has found: the alarm that it would be.
#[derive(Clone, Debug)]
pub struct Raise {
    /// The detector.
    pub info: &'static DetectorInfo,
    /// The name of a configured behaviour, instead of the detector's.
    pub name: Option<Arc<str>>,
    /// What it is about.
    pub subject: Subject,
    /// The client's slot: fills in what is known of it and is not given here.
    pub client: Option<u32>,
    /// The Client Identifier.
    pub client_id: Option<Arc<str>>,
    /// The identity, or the User Name that was tried.
    pub identity: Option<Arc<str>>,
    /// From where.
    pub address: Option<SocketAddr>,
    /// The topic or filter.
    pub topic: Option<Arc<str>>,
    /// How bad it is if it is true.
    pub severity: Severity,
    /// How sure it is, in percent.
    pub confidence: u8,
    /// The first event that counts, in milliseconds since the Unix epoch.
    pub first_ms: u64,
    /// The test, if it is not the detector's usual one.
    pub statistic: Option<String>,
    /// Its value.
    pub value: f64,
    /// From where on it is an alarm.
    pub threshold: f64,
    /// What is usual.
    pub baseline: Option<f64>,
    /// The unit of the three.
    pub unit: &'static str,
    /// Over which time it was counted, in milliseconds.
    pub window_ms: u64,
    /// How many events count.
    pub events: u64,
    /// Some of them.
    pub counted: Vec<Counted>,
    /// More figures.
    pub figures: Vec<Figure>,
    /// One sentence for an operator.
    pub summary: String,
    /// What the test promises, if it is not the detector's usual promise.
    pub false_alarms: Option<String>,
    /// Milliseconds without another sign after which it is over; `None`: [`crate::EpisodeSettings::quiet_ms`].
    pub quiet_ms: Option<u64>,
    /// Milliseconds that it waits for others of its kind, which would make it one alarm of the fleet. 0: told at once.
    pub gather_ms: u64,
    /// Whether many of its kind may become one alarm.
    pub folds: bool,
    /// Whether it is only logged.
    pub is_finding: bool,
}

impl Raise {
    /// What `info` has found of `subject`, with nothing else filled in.
    pub fn new(info: &'static DetectorInfo, subject: Subject, severity: Severity, confidence: u8) -> Raise {
        Raise {
            info,
            name: None,
            subject,
            client: None,
            client_id: None,
            identity: None,
            address: None,
            topic: None,
            severity,
            confidence,
            first_ms: 0,
            statistic: None,
            value: 0.0,
            threshold: 0.0,
            baseline: None,
            unit: "",
            window_ms: 0,
            events: 1,
            counted: Vec::new(),
            figures: Vec::new(),
            summary: String::new(),
            false_alarms: None,
            quiet_ms: None,
            gather_ms: 0,
            folds: true,
            is_finding: false,
        }
    }

    /// Adds a figure.
    pub fn figure(mut self, name: &str, value: f64, unit: &str) -> Raise {
        self.figures.push(Figure { name: name.into(), value, unit: unit.into() });
        self
    }

    pub(crate) fn detector(&self) -> &str {
        self.name.as_deref().unwrap_or(self.info.name)
    }

    pub(crate) fn alarm(self, at_ms: u64, class: Option<Arc<str>>) -> Alarm {
        let mut counted = self.counted;
        if counted.len() > Alarm::COUNTED_MAX {
            // The first and the last of them.
            let half = Alarm::COUNTED_MAX / 2;
            counted.drain(half..counted.len() - half);
        }
        Alarm {
            id: 0,
            detector: self.name.unwrap_or_else(|| self.info.name.into()),
            subcategory: self.info.subcategory.into(),
            technique: self.info.technique.map(Arc::from),
            severity: if self.is_finding { Severity::Informational } else { self.severity },
            confidence: self.confidence.min(100),
            subject: self.subject,
            client_id: self.client_id,
            identity: self.identity,
            class,
            address: self.address,
            topic: self.topic,
            first_ms: if self.first_ms == 0 { at_ms } else { self.first_ms.min(at_ms) },
            raised_ms: at_ms,
            last_ms: at_ms,
            cleared_ms: None,
            statistic: self.statistic.map_or_else(|| self.info.statistic.into(), Arc::from),
            value: self.value,
            threshold: self.threshold,
            baseline: self.baseline,
            unit: self.unit.into(),
            window_ms: self.window_ms,
            events: self.events,
            counted,
            figures: self.figures,
            summary: self.summary,
            false_alarms: self.false_alarms.map_or_else(|| self.info.false_alarms.into(), Arc::from),
            verification: Verification::Unknown,
            suppressed: false,
        }
    }
}
