//! The engine's way to the detectors of this room, and back from what they find to its alarms.

use super::{Change, Inspection, Presence, Traffic, Who};
use crate::behaviour::Behaviours;
use crate::cx::{ClientNames, ClientState, Cx};
use crate::entities::source_of;
use crate::physical::Physical;
use crate::value::Values;
use crate::{Engine, Error, Raise, Settings, Sight, Write};
use ravelin_event::Subject;
use std::sync::Arc;

/// What is kept beside the state of each client.
pub struct Shared {
    traffic: Traffic,
    values: Values,
    physical: Physical,
    behaviours: Behaviours,
    /// The settings that the behaviours were measured by.
    settings: Arc<Settings>,
    inspected: Vec<Arc<str>>,
    found: Vec<Raise>,
    changes: Vec<Change>,
}

impl Shared {
    pub(crate) fn new(settings: &Arc<Settings>, seed: u64) -> Shared {
        Shared {
            traffic: Traffic::new(seed ^ 0x10),
            values: Values::new(seed ^ 0x20),
            physical: Physical::default(),
            behaviours: Behaviours::new(seed ^ 0x30),
            settings: Arc::clone(settings),
            inspected: Vec::new(),
            found: Vec::new(),
            changes: Vec::new(),
        }
    }

    /// Things that found no place in a bounded table of this room, or gave way there.
    pub(crate) fn evictions(&self) -> u64 {
        self.traffic.evictions() + self.values.evictions + self.physical.evictions + self.behaviours.evictions
    }

    fn tell(&mut self, cx: &mut Cx, at_ms: u64) {
        for raise in std::mem::take(&mut self.found) {
            raise_of_client(cx, at_ms, raise);
        }
        for change in std::mem::take(&mut self.changes) {
            match change {
                Change::Raised(raise) => raise_of_client(cx, at_ms, *raise),
                Change::Ended(subject, detector) => cx.clear(at_ms, &detector, &subject),
            }
        }
        while let Some((subject, detector)) = self.traffic.availability_mut().poll_ended() {
            cx.clear(at_ms, detector, &subject);
        }
    }

    pub(crate) fn poll_write(&mut self) -> Option<Write> {
        if let Some(device) = self.inspected.pop() {
            let inspection = self.traffic.availability().inspections.one(&device)?;
            return Some(write_inspection(inspection));
        }
        let (client_id, record) = self.traffic.poll_write()?;
        Some(Write { key: format!("baseline/{client_id}"), value: Some(record) })
    }

    pub(crate) fn dump(&self, cx: &Cx) -> Vec<Write> {
        let inspections = self.traffic.availability().inspections.all().map(write_inspection);
        let kept = self.traffic.kept().map(|(client_id, baseline)| (client_id.clone(), baseline.to_record()));
        let hot = (0..cx.clients.len() as u32).map(|slot| cx.clients.at(slot)).filter_map(|client| {
            let learned = client.traffic.windows() > 0;
            learned.then(|| {
                let baseline = self.traffic.baseline(who(client), &client.traffic);
                (client.names.client_id.clone(), baseline.to_record())
            })
        });
        let baselines = kept
            .chain(hot)
            .map(|(client_id, record)| Write { key: format!("baseline/{client_id}"), value: Some(record) });
        inspections.chain(baselines).collect()
    }

    pub(crate) fn restore_baseline(
        &mut self,
        settings: &Settings,
        client_id: &str,
        record: &[u8],
    ) -> Result<(), String> {
        self.traffic.restore(&settings.traffic, client_id, record)
    }

    pub(crate) fn restore_inspection(&mut self, record: &[u8]) -> Result<(), String> {
        let inspection: Inspection = serde_json::from_slice(record).map_err(|error| error.to_string())?;
        self.traffic.availability_mut().inspections.record(inspection);
        Ok(())
    }
}

fn write_inspection(inspection: &Inspection) -> Write {
    Write { key: format!("inspection/{}", inspection.device), value: serde_json::to_vec(inspection).ok() }
}

fn who(client: &ClientState) -> Who<'_> {
    who_of(&client.names)
}

fn who_of(names: &ClientNames) -> Who<'_> {
    Who {
        client_id: &names.client_id,
        class: names.class.as_ref(),
        identified: names.identity.is_some() || names.certificate.is_some(),
        declared: names.declared,
        source: names.address.map(|address| source_of(address.ip())),
    }
}

fn raise_of_client(cx: &mut Cx, at_ms: u64, mut raise: Raise) {
    let client_id = match &raise.subject {
        Subject::Client(client_id) => Some(client_id.clone()),
        _ => raise.client_id.clone(),
    };
    raise.client = client_id.and_then(|client_id| cx.clients.find(&*client_id));
    cx.raise(at_ms, raise);
}

/// Something was seen. `slot` is the client that it is about.
pub(crate) fn handle(shared: &mut Shared, cx: &mut Cx, at_ms: u64, slot: Option<u32>, sight: &Sight) {
    let settings = Arc::clone(&cx.settings);
    for old in std::mem::take(&mut cx.evicted) {
        shared.traffic.handle_evicted(&settings.traffic, who(&old), &old.traffic);
    }
    match sight {
        Sight::Started => return shared.traffic.handle_blind(at_ms, true),
        Sight::Missed { .. } => return shared.traffic.handle_blind(at_ms, false),
        _ => {}
    }
    let Some(slot) = slot else { return };
    let client = cx.clients.at_mut(slot);
    let names = client.names.clone();
    let (client_id, class) = (&names.client_id, names.class.as_ref());
    let who = who_of(&names);
    let Shared { traffic, behaviours, values, physical, found, changes, .. } = shared;
    let state = &mut client.traffic;
    traffic.handle_client(&settings.traffic, &settings.expect, who, state, (at_ms, sight), found);
    if !settings.behaviours.is_empty() {
        behaviours.handle(&settings.behaviours, at_ms, (client_id, class), sight, changes);
    }
    if let Sight::Observed { topic, payload, .. } = sight {
        values.handle(&settings.value, at_ms, (client_id, topic), payload, found);
        physical.handle(&settings.physical, at_ms, (client_id, topic), payload, changes);
    }
    shared.tell(cx, at_ms);
}

/// Time has passed.
pub(crate) fn tick(shared: &mut Shared, cx: &mut Cx, at_ms: u64) {
    let settings = Arc::clone(&cx.settings);
    if !Arc::ptr_eq(&settings, &shared.settings) {
        if settings.behaviours != shared.settings.behaviours {
            shared.behaviours.clear();
        }
        shared.settings = Arc::clone(&settings);
    }
    shared.traffic.handle_tick(&settings.traffic, &settings.expect, at_ms, &mut shared.found);
    shared.behaviours.handle_tick(&settings.behaviours, at_ms, &mut shared.changes);
    shared.tell(cx, at_ms);
}

/// Inspections that wait to be written.
const INSPECTED_MAX: usize = 10_000;

impl Engine {
    /// A person has inspected a device and its vicinity; an alarm that it was overdue is over.
    ///
    /// # Errors
    /// [`Error::TooManyInspections`].
    pub fn record_inspection(&mut self, inspection: Inspection) -> Result<(), Error> {
        let device = inspection.device.clone();
        let now_ms = self.cx.now_ms;
        if self.traffic.inspected.len() >= INSPECTED_MAX
            || !self.traffic.traffic.availability_mut().inspections.record(inspection)
        {
            return Err(Error::TooManyInspections);
        }
        self.traffic.inspected.push(device);
        self.traffic.tell(&mut self.cx, now_ms);
        Ok(())
    }

    /// Inspections by device. One without `by` was never made: its device is known since `at_ms`.
    pub fn inspections(&self) -> impl Iterator<Item = &Inspection> {
        self.traffic.traffic.availability().inspections.all()
    }

    /// When the next inspection of a device is due, in milliseconds since the Unix epoch; `None`: it has no rounds.
    pub fn inspection_due_ms(&self, device: &str) -> Option<u64> {
        self.traffic.traffic.availability().inspections.due_ms(&self.cx.settings.expect, device)
    }

    /// Whether a client is there, and how often it sends.
    pub fn presence(&self, client_id: &str) -> Option<Presence> {
        self.traffic.traffic.availability().presence(client_id)
    }
}
