//! Devices as lists show them.

use super::Inventory;
use crate::certificate::CertificateView;
use crate::device::{AddressView, Device, DeviceView, Key, TopicView};
use crate::error::Error;
use crate::lifecycle::State;
use crate::time::{rfc3339, seconds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

/// Which devices a list is of; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Their state.
    pub state: Option<State>,
    /// Declared or not.
    pub declared: Option<bool>,
    /// Connected or not.
    pub connected: Option<bool>,
    /// Their site.
    pub site: Option<String>,
    /// Their class.
    pub class: Option<String>,
    /// Part of a name: key, declaration, Client Identifier.
    pub text: Option<String>,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// The devices.
    pub devices: Vec<DeviceView>,
    /// Where the next page begins; `None`: this is the last one.
    pub next: Option<String>,
}

/// The inventory in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Devices in all.
    pub devices: u64,
    /// Of them connected.
    pub connected: u64,
    /// Of them declared.
    pub declared: u64,
    /// By state.
    pub states: BTreeMap<String, u64>,
    /// By protocol version.
    pub versions: BTreeMap<String, u64>,
    /// Findings.
    pub findings: u64,
}

/// How many devices a page looks at to find those that the filter names.
const LOOK_MAX: usize = 20_000;

impl Inventory {
    /// A page of devices, in the order of their keys, after the one with key `after`. It may have fewer than `max` devices, or none,
    /// and not be the last one.
    pub fn page(&self, after: Option<&str>, max: usize, filter: &Filter, now_ms: u64) -> Page {
        let from = after.and_then(Key::parse).map_or(Unbounded, Excluded);
        let (mut devices, mut looked) = (Vec::new(), 0);
        let mut range = self.devices.range((from, Unbounded));
        let mut last = None;
        for (key, device) in range.by_ref() {
            looked += 1;
            last = Some(key);
            if self.fits(key, device, filter, now_ms) {
                devices.push(self.view(key, device, now_ms));
            }
            if devices.len() >= max.max(1) || looked >= LOOK_MAX {
                break;
            }
        }
        let next = range.next().and(last).map(Key::to_string);
        Page { devices, next }
    }

    /// One device, by its key or the name that it is declared by.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`].
    pub fn device(&self, name: &str, now_ms: u64) -> Result<DeviceView, Error> {
        let keys = match Key::parse(name).filter(|key| self.devices.contains_key(key)) {
            Some(key) => vec![key],
            None => self.resolve(name)?,
        };
        // The one that was seen last, where a declaration covers several.
        let found = keys
            .iter()
            .filter_map(|key| self.devices.get_key_value(key))
            .max_by_key(|(_, device)| device.last_s);
        let (key, device) = found.ok_or_else(|| Error::Unknown(name.into()))?;
        Ok(self.view(key, device, now_ms))
    }

    /// The inventory in figures.
    pub fn summary(&self, now_ms: u64) -> Summary {
        let mut summary = Summary { devices: self.devices.len() as u64, ..Summary::default() };
        for (key, device) in &self.devices {
            summary.connected += u64::from(device.is_connected());
            summary.declared += u64::from(self.declared.of(key).is_some());
            *summary.states.entry(self.state(device, now_ms).to_string()).or_default() += 1;
            if !device.version.as_str().is_empty() {
                *summary.versions.entry(device.version.as_str().to_owned()).or_default() += 1;
            }
        }
        summary.findings = self.findings().len() as u64;
        summary
    }

    fn state(&self, device: &Device, now_ms: u64) -> State {
        let idle_s = if device.is_connected() { 0 } else { seconds(now_ms).saturating_sub(device.last_s) };
        device.state.aged(idle_s, self.settings.dormant_after_s)
    }

    fn fits(&self, key: &Key, device: &Device, filter: &Filter, now_ms: u64) -> bool {
        let declared = self.declared.of(key);
        let text = |text: &String| {
            let names = [key.name()].into_iter().chain(declared.map(|(name, _)| &**name));
            names.chain(device.clients.iter().map(|client| &*client.id)).any(|name| name.contains(&**text))
        };
        filter.state.is_none_or(|state| state == self.state(device, now_ms))
            && filter.declared.is_none_or(|wanted| wanted == declared.is_some())
            && filter.connected.is_none_or(|wanted| wanted == device.is_connected())
            && filter.class.as_ref().is_none_or(|class| device.facts.class.as_deref() == Some(class))
            && filter.site.as_ref().is_none_or(|site| self.site_name(key, device) == Some(site))
            && filter.text.as_ref().is_none_or(text)
    }

    /// The site of a device: as declared, else by its last address.
    pub(crate) fn site_name<'a>(&'a self, key: &Key, device: &Device) -> Option<&'a str> {
        let declared = self.declared.of(key).and_then(|(_, entry)| entry.kind.site.as_deref());
        declared.or_else(|| Some(&*self.places.site_of(device.address()?)?.name))
    }

    /// The zone of a device: that of its site, else that which its listener faces.
    pub(crate) fn zone_name<'a>(&'a self, key: &Key, device: &Device) -> Option<&'a str> {
        let site = self.site_name(key, device).and_then(|site| self.places.site(site)?.zone.as_deref());
        site.or_else(|| self.places.zone_of_listener(device.facts.listener.as_deref()?))
    }

    /// Where a device is: as declared, as it says, or where its site is.
    pub(crate) fn position(&self, key: &Key, device: &Device) -> Option<(f64, f64)> {
        let declared = self.declared.of(key).and_then(|(_, entry)| entry.position());
        let told = device.position.as_deref().copied();
        let site = || self.site_name(key, device).and_then(|site| self.places.site(site)?.position);
        declared
            .map(|position| (position.latitude, position.longitude))
            .or_else(|| told.map(|(latitude, longitude)| (f64::from(latitude), f64::from(longitude))))
            .or_else(|| site().map(|position| (position.latitude, position.longitude)))
    }

    pub(crate) fn view(&self, key: &Key, device: &Device, now_ms: u64) -> DeviceView {
        let (declared_name, declared) = self.declared.of(key).unzip();
        let (facts, now_s) = (&*device.facts, seconds(now_ms));
        let text = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        let time = |second: u32| (device.last_s != 0).then(|| rfc3339(i64::from(second)));
        let own = device.own(key);
        let topics = |topics: &crate::topics::Topics| {
            topics.iter().map(|topic| TopicView::of(topic, own, now_s)).collect()
        };
        let mut addresses: Vec<_> = device.addresses.to_vec();
        addresses.sort_by_key(|address| std::cmp::Reverse(address.last_s));
        DeviceView {
            key: key.to_string(),
            declared: declared_name.map(ToString::to_string),
            state: self.state(device, now_ms),
            client_ids: device.clients.iter().map(|client| client.id.to_string()).collect(),
            more_client_ids: device.more_clients,
            identity: text(own.identity),
            connected: device.is_connected(),
            certificate: device.certificate.as_deref().map(CertificateView::from),
            addresses: addresses.iter().map(AddressView::from).collect(),
            listener: text(facts.listener.as_deref()),
            version: text(Some(device.version.as_str())),
            library: text(facts.library.as_deref()),
            firmware: text(facts.firmware.as_deref()),
            model: text(declared.and_then(|entry| entry.kind.model.as_deref()).or(facts.model.as_deref())),
            first_seen: time(device.first_s),
            last_seen: time(device.last_s),
            connects: device.connects,
            published: topics(&device.published),
            subscribed: topics(&device.subscribed),
            class: text(facts.class.as_deref()),
            owner: text(declared.and_then(|entry| entry.kind.owner.as_deref())),
            criticality: text(declared.and_then(|entry| Some(entry.kind.criticality?.as_str()))),
            site: text(self.site_name(key, device)),
            zone: text(self.zone_name(key, device)),
            position: self.position(key, device),
        }
    }
}
