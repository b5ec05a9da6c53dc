//! Inspections of devices by people: rounds that are due, and what was recorded of them.

use super::Expectation;
use super::availability::expectation;
use super::catalog as text;
use crate::Raise;
use ravelin_event::Subject;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Devices of which inspections are known.
const INSPECTIONS_MAX: usize = 50_000;
const DAY_MS: u64 = 86_400_000;
/// Whether one is overdue is looked at so often.
const EVERY_MS: u64 = 600_000;

/// An inspection of a device and its vicinity by a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inspection {
    /// The device: its Client Identifier.
    pub device: Arc<str>,
    /// Its class.
    #[serde(default)]
    pub class: Option<Arc<str>>,
    /// Who inspected it; empty: nobody yet.
    #[serde(default)]
    pub by: Arc<str>,
    /// When, or when the device was first seen, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Where the report is.
    #[serde(default)]
    pub document: Arc<str>,
}

/// What is known of inspections.
#[derive(Debug, Default)]
pub struct Inspections {
    /// By device; and whether it was told that it is overdue.
    devices: BTreeMap<Arc<str>, (Inspection, bool)>,
    judged_ms: u64,
    pub(super) ended: VecDeque<(Subject, &'static str)>,
}

impl Inspections {
    /// A person has inspected a device, or it was restored. False: there is no room for another device.
    pub fn record(&mut self, inspection: Inspection) -> bool {
        let device = inspection.device.clone();
        if !self.devices.contains_key(&device) && self.devices.len() >= INSPECTIONS_MAX {
            return false;
        }
        if let Some((_, true)) = self.devices.insert(device.clone(), (inspection, false)) {
            self.ended.push_back((Subject::Device(device), text::INSPECTION.info.name));
        }
        true
    }

    /// A device has rounds: its first inspection is due from now on.
    pub(super) fn find(&mut self, device: &Arc<str>, class: Option<&Arc<str>>, at_ms: u64) {
        if let Some((inspection, _)) = self.devices.get_mut(device) {
            if inspection.class.is_none() {
                inspection.class = class.cloned();
            }
            return;
        }
        let (device, class) = (device.clone(), class.cloned());
        self.record(Inspection { device, class, by: "".into(), at_ms, document: "".into() });
    }

    /// What is known of one device.
    pub fn one(&self, device: &str) -> Option<&Inspection> {
        self.devices.get(device).map(|(inspection, _)| inspection)
    }

    /// By device. One without `by`: never inspected, and known since `at_ms`.
    pub fn all(&self) -> impl Iterator<Item = &Inspection> {
        self.devices.values().map(|(inspection, _)| inspection)
    }

    /// When the next inspection of a device is due, in milliseconds since the Unix epoch.
    pub fn due_ms(&self, expect: &[Expectation], device: &str) -> Option<u64> {
        let inspection = self.one(device)?;
        let days = expectation(expect, inspection.class.as_ref())?.inspection_days?;
        Some(inspection.at_ms + u64::from(days) * DAY_MS)
    }

    /// Which are overdue.
    pub(super) fn judge(&mut self, expect: &[Expectation], at_ms: u64, out: &mut Vec<Raise>) {
        if at_ms < self.judged_ms + EVERY_MS {
            return;
        }
        self.judged_ms = at_ms;
        for (inspection, told) in self.devices.values_mut().filter(|(_, told)| !told) {
            let days =
                expectation(expect, inspection.class.as_ref()).and_then(|expected| expected.inspection_days);
            let gone = at_ms.saturating_sub(inspection.at_ms);
            let Some(days) = days.filter(|days| gone > u64::from(*days) * DAY_MS) else { continue };
            *told = true;
            let device = &inspection.device;
            let mut raise = Raise::of(&text::INSPECTION, Subject::Device(device.clone()), at_ms)
                .measured((gone / DAY_MS) as f64, days, "days")
                .over(inspection.at_ms, at_ms, 1)
                .says(format!("{device} was to be inspected every {days} days, and nobody has recorded that"))
                .until_cleared();
            // Each device is visited by itself.
            raise.folds = false;
            out.push(raise);
        }
    }
}
