//! What of the inventory is on disk: a record a device and one a declaration, in JSON.
//!
//! Orders are written at once. What was seen is written when it is new, and at most every `write_every_s` when only times and
//! counters moved on: after a crash those are that old.

use super::Inventory;
use crate::certificate::{Certificate, CertificateFacts};
use crate::declared::Declared;
use crate::device::{Address, Client, Device, Facts, Key, Version};
use crate::lifecycle::State;
use crate::topics::{Topic, Topics};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// A record to write, or to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its key.
    pub key: String,
    /// Its value; `None` deletes it.
    pub value: Option<Vec<u8>>,
}

/// Library, firmware, model and position, as it says.
type Told = (Option<Arc<str>>, Option<Arc<str>>, Option<Arc<str>>, Option<(f32, f32)>);

/// A device on disk. Field names are short: there may be a million of them.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    #[serde(rename = "s")]
    state: State,
    #[serde(rename = "f")]
    first_s: u32,
    #[serde(rename = "l")]
    last_s: u32,
    #[serde(rename = "h", default)]
    settled_s: u32,
    #[serde(rename = "n", default)]
    connects: u32,
    #[serde(rename = "v", default)]
    version: Version,
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    identity: Option<Arc<str>>,
    #[serde(rename = "c", default, skip_serializing_if = "Vec::is_empty")]
    clients: Vec<(Arc<str>, u32)>,
    #[serde(rename = "m", default, skip_serializing_if = "std::ops::Not::not")]
    more_clients: bool,
    #[serde(rename = "x", default, skip_serializing_if = "Option::is_none")]
    certificate: Option<CertificateFacts>,
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<(IpAddr, u32, u32)>,
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    listener: Option<Arc<str>>,
    #[serde(rename = "k", default, skip_serializing_if = "Option::is_none")]
    class: Option<Arc<str>>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    told: Option<Told>,
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    published: Vec<(Arc<str>, u64, u64, u32, u8)>,
    #[serde(rename = "u", default, skip_serializing_if = "Vec::is_empty")]
    subscribed: Vec<(Arc<str>, u64, u64, u32, u8)>,
}

pub(super) fn device_key(key: &Key) -> String {
    format!("d:{key}")
}

pub(super) fn declared_key(name: &str) -> String {
    format!("n:{name}")
}

pub(super) fn declared_write(declared: &Declared) -> Write {
    Write { key: declared_key(&declared.name), value: serde_json::to_vec(declared).ok() }
}

impl Inventory {
    /// The records that must be written now, in order: what was ordered, and then up to `max` of what was seen.
    pub fn poll_writes(&mut self, now_s: u32, max: usize) -> Vec<Write> {
        let mut writes: Vec<Write> = self.urgent.drain(..).collect();
        for _ in 0..max {
            let Some(key) = self.behind.pop_front() else { break };
            // Forgotten in the meantime, or written with an order.
            let Some(device) = self.devices.get_mut(&key).filter(|device| device.dirty) else { continue };
            (device.dirty, device.written_s) = (false, now_s);
            writes.push(device_write(&key, device));
        }
        writes
    }

    /// What an operator ordered and must be durable before the order is answered.
    pub fn poll_urgent(&mut self) -> Vec<Write> {
        self.urgent.drain(..).collect()
    }

    /// Every record, for a log that is written anew.
    pub fn dump(&self, mut write: impl FnMut(&str, &[u8])) {
        let declared = self.declared.iter().map(|(name, entry)| declared_write(&entry.declared(name)));
        let devices = self.devices.iter().map(|(key, device)| device_write(key, device));
        for Write { key, value } in declared.chain(devices) {
            write(&key, &value.unwrap_or_default());
        }
    }

    /// Takes back what was on disk, before anything is seen. The key of a record that could not be read is returned.
    ///
    /// # Errors
    ///
    /// What is wrong with the record.
    pub fn restore(&mut self, key: &str, value: &[u8]) -> Result<(), String> {
        if let Some(name) = key.strip_prefix("n:") {
            let declared: Declared = serde_json::from_slice(value).map_err(|error| error.to_string())?;
            if *declared.name != *name {
                return Err(format!("declares {:?}", declared.name));
            }
            declared.check().map_err(|error| error.to_string())?;
            self.declared.insert(declared, &mut self.names);
            return Ok(());
        }
        let device = key.strip_prefix("d:").and_then(Key::parse).ok_or("is no record of the inventory")?;
        let kept: Kept = serde_json::from_slice(value).map_err(|error| error.to_string())?;
        self.restore_device(device, kept);
        Ok(())
    }

    fn restore_device(&mut self, key: Key, kept: Kept) {
        let limits = self.settings.limits.clone();
        let certificate = kept.certificate.and_then(|facts| self.certificate(&facts));
        let names = &mut self.names;
        let mut shared = |text: Option<Arc<str>>| text.map(|text| names.intern(&text));
        let (library, firmware, model, position) = kept.told.unwrap_or_default();
        let [library, firmware, model] = [library, firmware, model].map(&mut shared);
        let (listener, class) = (shared(kept.listener), shared(kept.class));
        let mut topics = |kept: Vec<(Arc<str>, u64, u64, u32, u8)>| {
            let mut topics = Topics::default();
            for (pattern, messages, bytes, last_s, flags) in kept {
                let pattern = names.intern(&pattern);
                topics.restore(
                    Topic { pattern, messages, bytes, last_s, rate: 0.0, flags },
                    limits.topics_per_device_max,
                );
            }
            topics
        };
        let (published, subscribed) = (topics(kept.published), topics(kept.subscribed));
        let client = |(id, last_s): (Arc<str>, u32)| Client { id, last_s, connected: false };
        let device = Device {
            clients: kept.clients.into_iter().take(limits.clients_per_device_max).map(client).collect(),
            more_clients: kept.more_clients,
            identity: kept.identity,
            certificate: certificate.map(Box::<Certificate>::new),
            addresses: kept
                .addresses
                .into_iter()
                .take(limits.addresses_per_device_max)
                .map(|(ip, first_s, last_s)| Address { ip, first_s, last_s })
                .collect(),
            facts: self.facts.share(Facts { listener, class, library, firmware, model }),
            position: position.map(Box::new),
            version: kept.version,
            state: kept.state,
            first_s: kept.first_s,
            last_s: kept.last_s,
            settled_s: kept.settled_s,
            connects: kept.connects,
            published,
            subscribed,
            dirty: false,
            written_s: kept.last_s,
        };
        for client in &device.clients {
            self.live.restore(client.id.clone(), key.clone());
        }
        self.devices.insert(key, Box::new(device));
    }

    /// The record of a device on disk is behind.
    pub(super) fn mark(&mut self, key: &Key) {
        if let Some(device) = self.devices.get_mut(key)
            && !device.dirty
        {
            device.dirty = true;
            self.behind.push_back(key.clone());
        }
    }

    /// Only times and counters of it are.
    pub(super) fn mark_later(&mut self, key: &Key, now_s: u32) {
        let every_s = self.settings.limits.write_every_s;
        if self.devices.get(key).is_some_and(|device| now_s.saturating_sub(device.written_s) >= every_s) {
            self.mark(key);
        }
    }

    pub(super) fn urgent_device(&mut self, key: &Key) {
        if let Some(device) = self.devices.get_mut(key) {
            device.dirty = false;
            self.urgent.push_back(device_write(key, device));
        }
    }
}

fn device_write(key: &Key, device: &Device) -> Write {
    let topics = |topics: &Topics| {
        topics
            .iter()
            .map(|topic| (topic.pattern.clone(), topic.messages, topic.bytes, topic.last_s, topic.flags))
            .collect()
    };
    let kept = Kept {
        state: device.state,
        first_s: device.first_s,
        last_s: device.last_s,
        settled_s: device.settled_s,
        connects: device.connects,
        version: device.version,
        identity: device.identity.clone(),
        clients: device.clients.iter().map(|client| (client.id.clone(), client.last_s)).collect(),
        more_clients: device.more_clients,
        certificate: device.certificate.as_deref().map(CertificateFacts::from),
        addresses: device.addresses.iter().map(|known| (known.ip, known.first_s, known.last_s)).collect(),
        listener: device.facts.listener.clone(),
        class: device.facts.class.clone(),
        told: Some((
            device.facts.library.clone(),
            device.facts.firmware.clone(),
            device.facts.model.clone(),
            device.position.as_deref().copied(),
        ))
        .filter(|told| *told != (None, None, None, None)),
        published: topics(&device.published),
        subscribed: topics(&device.subscribed),
    };
    // A structure of texts and numbers always serializes.
    Write { key: device_key(key), value: Some(serde_json::to_vec(&kept).unwrap_or_default()) }
}
