//! How the detectors of this room say what they found.

use crate::{DetectorInfo, Raise};
use ravelin_event::{Severity, Subject};
use std::sync::Arc;

/// A detector: what is documented of it, and what its alarms are as a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detector {
    /// What is documented.
    pub info: DetectorInfo,
    /// How bad it is.
    pub severity: Severity,
    /// How sure it is, in percent.
    pub confidence: u8,
}

impl Raise {
    /// What `detector` has found of `subject`.
    pub(crate) fn of(detector: &'static Detector, subject: Subject, at_ms: u64) -> Raise {
        let mut raise = Raise::new(&detector.info, subject, detector.severity, detector.confidence);
        raise.is_finding = detector.severity == Severity::Informational;
        raise.first_ms = at_ms;
        raise
    }

    /// What was measured, beside what would have been too much.
    pub(crate) fn measured(
        mut self,
        value: impl Into<f64>,
        threshold: impl Into<f64>,
        unit: &'static str,
    ) -> Raise {
        (self.value, self.threshold, self.unit) = (value.into(), threshold.into(), unit);
        self
    }

    /// Over which time and how many events.
    pub(crate) fn over(mut self, first_ms: u64, at_ms: u64, events: u64) -> Raise {
        (self.first_ms, self.window_ms, self.events) = (first_ms, at_ms.saturating_sub(first_ms), events);
        self
    }

    /// What is usual.
    pub(crate) fn usual(mut self, baseline: impl Into<f64>) -> Raise {
        self.baseline = Some(baseline.into());
        self
    }

    /// The topic or filter.
    pub(crate) fn on(mut self, topic: &Arc<str>) -> Raise {
        self.topic = Some(topic.clone());
        self
    }

    /// One more figure.
    pub(crate) fn with(self, name: &str, value: impl Into<f64>, unit: &str) -> Raise {
        self.figure(name, value.into(), unit)
    }

    /// It is only kept, and nobody is told.
    pub(crate) fn only_kept(mut self) -> Raise {
        (self.is_finding, self.severity) = (true, Severity::Informational);
        self
    }

    /// Another severity than the detector's own.
    pub(crate) fn severity(mut self, severity: Severity) -> Raise {
        self.severity = severity;
        self
    }

    /// The sentence.
    pub(crate) fn says(mut self, summary: String) -> Raise {
        self.summary = summary;
        self
    }

    /// It goes on until the detector says that it is over.
    pub(crate) fn until_cleared(self) -> Raise {
        self.until_cleared_or(UNTIL_CLEARED_MS)
    }

    /// It goes on until it has been quiet for so long.
    pub(crate) fn until_cleared_or(mut self, quiet_ms: u64) -> Raise {
        self.quiet_ms = Some(quiet_ms);
        self
    }
}

/// A month: what nobody has cleared by then is over.
const UNTIL_CLEARED_MS: u64 = 30 * 86_400_000;

/// What changed for something that has a state: a sensor, a behaviour.
#[derive(Clone, Debug)]
pub enum Change {
    /// It is one to alarm on now.
    Raised(Box<Raise>),
    /// It is no longer: of whom, and the name of the alarm's detector.
    Ended(Subject, Arc<str>),
}
