//! The inventory: what is known of every device.

mod live;
mod observe;
mod order;
mod records;
mod view;

pub use records::Write;
pub use view::{Filter, Page, Summary};

use crate::admission::{Admissions, Known};
use crate::certificate::Issuance;
use crate::crypto::Handshakes;
use crate::declared::Register;
use crate::device::{Device, Facts, Key};
use crate::findings::{Finding, Findings};
use crate::names::Names;
use crate::place::Places;
use crate::pool::Pool;
use crate::settings::{Settings, Unknown};
use crate::time::seconds;
use foldhash::fast::FixedState;
use hashbrown::HashSet;
use live::Live;
use ravelin_event::Event;
use std::collections::{BTreeMap, VecDeque};

/// Everything that is known of the devices on the bus. One owner drives it: `handle_*` for what was seen, `declare` and its like
/// for what an operator orders, `poll_*` for what must go out.
pub struct Inventory {
    pub(crate) settings: Settings,
    pub(crate) places: Places,
    pub(crate) names: Names,
    facts: Pool<Facts>,
    issuances: Pool<Issuance>,
    /// In the order of their keys, which is that of the pages.
    pub(crate) devices: BTreeMap<Key, Box<Device>>,
    pub(crate) live: Live,
    pub(crate) declared: Register,
    pub(crate) findings: Findings,
    pub(crate) handshakes: Handshakes,
    /// Devices whose record on disk is behind.
    behind: VecDeque<Key>,
    /// Records that must be written now.
    urgent: VecDeque<Write>,
    /// How far the walk that puts devices to sleep has come.
    walked: Option<Key>,
    /// Since when handshakes are counted.
    pub(crate) since_s: u32,
}

/// How many devices one tick looks at for their age.
const WALK: usize = 1_000;

impl Inventory {
    /// An empty inventory. `seed` orders hash tables, `now_ms` is the time since when handshakes are counted.
    pub fn new(settings: Settings, places: Places, seed: u64, now_ms: u64) -> Inventory {
        let findings = Findings::new(settings.limits.findings_max);
        let handshakes = Handshakes::new(settings.limits.handshakes_max);
        let declared = Register::new(settings.keyed_by, seed);
        Inventory {
            settings,
            places,
            names: Names::new(seed),
            facts: Pool::new(seed),
            issuances: Pool::new(seed),
            devices: BTreeMap::new(),
            live: Live::new(seed),
            declared,
            findings,
            handshakes,
            behind: VecDeque::new(),
            urgent: VecDeque::new(),
            walked: None,
            since_s: seconds(now_ms),
        }
    }

    /// Takes a new configuration. What a device is (`keyed_by`) stays as it was: records are kept by it.
    pub fn configure(&mut self, settings: Settings, places: Places) {
        let keyed_by = self.settings.keyed_by;
        self.settings = Settings { keyed_by, ..settings };
        self.places = places;
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Where everything is.
    pub fn places(&self) -> &Places {
        &self.places
    }

    /// How many devices there are, seen or declared.
    pub fn len(&self) -> usize {
        self.devices.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// What was found, latest first.
    pub fn findings(&self) -> Vec<Finding> {
        self.findings.list()
    }

    /// The handshakes that were seen since the start.
    pub fn handshakes(&self) -> Vec<crate::HandshakeView> {
        self.handshakes.list()
    }

    /// The names that a device (by its key or the name it is declared by) last connected with: Client Identifier, identity,
    /// class.
    pub fn names_of(&self, name: &str) -> Option<(String, Option<String>, Option<String>)> {
        let keys = match Key::parse(name).filter(|key| self.devices.contains_key(key)) {
            Some(key) => vec![key],
            None => self.resolve(name).ok()?,
        };
        let key = keys.iter().max_by_key(|key| self.devices.get(*key).map(|device| device.last_s))?;
        let device = self.devices.get(key)?;
        let own = device.own(key);
        let class = device.facts.class.as_deref().map(str::to_owned);
        Some((own.client_id.to_owned(), own.identity.map(str::to_owned), class))
    }

    /// Whether a client of these names is a declared device.
    pub fn is_declared(&self, client_id: &str, identity: Option<&str>) -> bool {
        self.declared.of(&Key::of(self.settings.keyed_by, client_id, identity)).is_some()
    }

    /// The next event to tell.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.findings.poll_event()
    }

    /// A snapshot of whom to let in.
    pub fn admissions(&self) -> Admissions {
        let settings = &self.settings;
        let refused = self.devices.iter().filter(|(_, device)| device.state.is_refused());
        let refused = refused.flat_map(|(key, device)| {
            let state = device.state;
            let others = self.declared.of(key).map(|(name, entry)| self.declared.keys_of(name, entry));
            let others = others.unwrap_or_default();
            others.into_iter().chain([key.clone()]).map(move |key| (key, state))
        });
        // Where everyone is admitted, nobody needs to be known.
        let known = (settings.unknown != Unknown::Admit).then(|| self.declared.keys());
        Admissions::new(
            settings.keyed_by,
            settings.unknown,
            &settings.quarantine_class,
            refused,
            known.into_iter().flatten(),
        )
    }

    /// A snapshot of the devices that are declared.
    pub fn declared(&self) -> Known {
        Known::new(self.declared.keys())
    }

    /// A snapshot of the devices that were seen or are declared, and are not refused.
    pub fn known(&self) -> Known {
        let seen = self.devices.iter().filter(|(_, device)| !device.state.is_refused());
        Known::new(self.declared.keys().chain(seen.map(|(key, _)| key.clone())))
    }

    /// Time passes: pairs of connections become findings, devices fall asleep. About once a second.
    pub fn tick(&mut self, now_ms: u64) {
        self.judge_pairs(now_ms);
        self.age(now_ms);
    }

    fn age(&mut self, now_ms: u64) {
        use std::ops::Bound::{Excluded, Unbounded};
        let now_s = seconds(now_ms);
        let from = self.walked.take().map_or(Unbounded, Excluded);
        let (mut last, mut looked) = (None, 0);
        let mut fell = Vec::new();
        for (key, device) in self.devices.range_mut((from, Unbounded)).take(WALK) {
            let idle = if device.is_connected() { 0 } else { now_s.saturating_sub(device.last_s) };
            let aged = device.state.aged(idle, self.settings.dormant_after_s);
            if aged != device.state {
                fell.push((key.clone(), device.state, aged));
                device.state = aged;
            }
            (last, looked) = (Some(key), looked + 1);
        }
        // At the end the walk begins anew.
        self.walked = last.filter(|_| looked == WALK).cloned();
        for (key, from, to) in fell {
            let days = self.settings.dormant_after_s / 86_400;
            self.tell_state(&key, from, to, format!("not seen for {days} days"));
            self.mark(&key);
        }
    }

    fn tell_state(&mut self, key: &Key, from: crate::State, to: crate::State, why: String) {
        self.findings.emit(Event::DeviceState {
            device: key.to_string(),
            from: from.as_str(),
            to: to.as_str(),
            why,
        });
    }

    /// Makes room for another device: a hundredth of those that were not seen for longest go, unless an operator knows them.
    fn make_room(&mut self) {
        if self.devices.len() < self.settings.limits.devices_max {
            return;
        }
        let may_go = |key: &Key, device: &Device| {
            !device.is_connected() && !device.state.is_refused() && self.declared.of(key).is_none()
        };
        let mut ages: Vec<(u32, Key)> = self
            .devices
            .iter()
            .filter(|(key, device)| may_go(key, device))
            .map(|(key, device)| (device.last_s, key.clone()))
            .collect();
        let count = (self.settings.limits.devices_max / 100).max(1).min(ages.len());
        if count == 0 {
            return;
        }
        ages.select_nth_unstable(count - 1);
        for (_, key) in ages.drain(..count) {
            self.forget(&key);
        }
    }

    /// Takes a device out, and its record on disk.
    fn forget(&mut self, key: &Key) {
        let Some(device) = self.devices.remove(key) else { return };
        for client in &device.clients {
            self.live.forget(&client.id, key);
        }
        self.urgent.push_back(Write { key: records::device_key(key), value: None });
    }

    /// The keys of these devices that exist, each once.
    fn existing<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Vec<Key> {
        let mut seen = HashSet::with_hasher(FixedState::default());
        keys.filter(|key| self.devices.contains_key(*key) && seen.insert((*key).clone())).cloned().collect()
    }
}
