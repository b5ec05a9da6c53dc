//! What was seen.

use super::Inventory;
use super::live::{Beginning, Entry};
use crate::birth;
use crate::certificate::{Certificate, CertificateFacts, Issuance, bytes, fingerprint_bytes, hex};
use crate::device::{Address, Client, Device, Facts, Key, Version, short};
use crate::findings::{FindingKind, Pair};
use crate::names::tidy;
use crate::network::Network;
use crate::seen::{BirthSeen, FlowSeen, Gone, HandshakeSeen, Seen};
use crate::time::seconds;
use crate::topics::{Own, Traffic};
use ravelin_event::{DisconnectCause, Event};
use std::net::IpAddr;
use std::sync::Arc;

/// What a device may say of itself, in bytes.
const TOLD_BYTES_MAX: usize = 64;
/// Distinguished names and serial numbers, in bytes.
const NAME_BYTES_MAX: usize = 256;

impl Inventory {
    /// A client connected and was admitted.
    pub fn handle_seen(&mut self, seen: &Seen<'_>) {
        let (key, now_s) =
            (Key::of(self.settings.keyed_by, seen.client_id, seen.identity), seconds(seen.at_ms));
        let address = seen.address.map(|address| address.to_canonical());
        let new = self.touch(&key, now_s);
        let client_id = self.note_client(&key, seen.client_id, now_s, true);
        self.note_facts(&key, seen, now_s);
        if new {
            self.tell_discovered(&key, seen);
        }
        if let Some(address) = address {
            self.judge_move(seen.at_ms, &key, address);
            self.note_address(&key, address, now_s);
        }
        let certificate = seen.certificate.and_then(|facts| fingerprint_bytes(&facts.fingerprint));
        let half = certificate.and_then(|bytes| Beginning::new(u64::from_be_bytes(*bytes.first_chunk()?)));
        let entry = Entry {
            device: key.clone(),
            connected: true,
            address,
            since_s: now_s,
            keep_alive_s: seen.keep_alive_s,
            certificate: half,
        };
        let before = self.live.connected(client_id.clone(), entry);
        if let Some(other) = before.as_ref().map(|before| &before.device).filter(|other| **other != key)
            && let Some(device) = self.devices.get_mut(other)
        {
            device
                .clients
                .iter_mut()
                .filter(|client| client.id == client_id)
                .for_each(|client| client.connected = false);
        }
        if let Some(before) = before.filter(|before| before.connected)
            && let Some(pair) = before.address.zip(address)
        {
            self.judge_takeover(seen.at_ms, &key, &client_id, [pair.0, pair.1]);
        }
        if let (Some(half), Some(address)) = (half, address) {
            self.pair_up(&half, &client_id, address, now_s);
        }
    }

    /// A connection ended.
    pub fn handle_gone(&mut self, gone: &Gone<'_>) {
        // The connection that took over has the Client Identifier now.
        if gone.taken_over {
            return;
        }
        let client_id = short(gone.client_id);
        let Some(key) = self.live.disconnected(&client_id).map(|entry| entry.device.clone()) else { return };
        let now_s = seconds(gone.at_ms);
        if let Some(device) = self.devices.get_mut(&key) {
            device.last_s = device.last_s.max(now_s);
            for client in device.clients.iter_mut().filter(|client| client.id == client_id) {
                (client.connected, client.last_s) = (false, now_s);
            }
        }
    }

    /// A client subscribed.
    pub fn handle_subscribed(&mut self, at_ms: u64, client_id: &str, filter: &str) {
        let Some(key) = self.device_of(client_id) else { return };
        let now_s = seconds(at_ms);
        let max = self.settings.limits.topics_per_device_max;
        let Some(device) = self.devices.get_mut(&key) else { return };
        let pattern = own(&key, device, client_id).pattern(filter);
        let changed = device.subscribed.add(&pattern, &Traffic::default(), now_s, max, &mut self.names);
        device.last_s = device.last_s.max(now_s);
        if changed {
            self.mark(&key);
        }
    }

    /// A client unsubscribed.
    pub fn handle_unsubscribed(&mut self, client_id: &str, filter: &str) {
        let Some(key) = self.device_of(client_id) else { return };
        let Some(device) = self.devices.get_mut(&key) else { return };
        let pattern = own(&key, device, client_id).pattern(filter);
        if device.subscribed.remove(&pattern) {
            self.mark(&key);
        }
    }

    /// A session ended, and its subscriptions with it. Those of a device with other sessions stay: which of them had
    /// which is not kept.
    pub fn handle_session_ended(&mut self, client_id: &str) {
        let Some(key) = self.device_of(client_id) else { return };
        let Some(device) = self.devices.get_mut(&key) else { return };
        let alone = device.clients.len() == 1 && !device.more_clients;
        if (alone || !device.is_connected()) && device.subscribed.len() > 0 {
            device.subscribed.clear();
            self.mark(&key);
        }
    }

    /// What a client published since the last harvest.
    pub fn handle_flow(&mut self, flow: &FlowSeen<'_>) {
        let (key, now_s) =
            (Key::of(self.settings.keyed_by, flow.client_id, flow.identity), seconds(flow.at_ms));
        self.touch(&key, now_s);
        let max = self.settings.limits.topics_per_device_max;
        let Some(device) = self.devices.get_mut(&key) else { return };
        let pattern = own(&key, device, flow.client_id).pattern(flow.topic);
        let changed = device.published.add(&pattern, &flow.traffic, now_s, max, &mut self.names);
        if changed {
            self.mark(&key);
        } else {
            self.mark_later(&key, now_s);
        }
    }

    /// A client published what may be its birth message. True if it told something.
    pub fn handle_birth(&mut self, birth: &BirthSeen<'_>) -> bool {
        if birth.payload.len() > self.settings.limits.birth_bytes_max {
            return false;
        }
        let Some(facts) = birth::read(&self.settings.births, birth.topic, birth.payload) else {
            return false;
        };
        let (key, now_s) =
            (Key::of(self.settings.keyed_by, birth.client_id, birth.identity), seconds(birth.at_ms));
        self.touch(&key, now_s);
        let told = [facts.library, facts.firmware, facts.model];
        self.note_told(&key, told.each_ref().map(Option::as_deref), facts.position);
        true
    }

    /// A TLS handshake was completed.
    pub fn handle_handshake(&mut self, handshake: &HandshakeSeen<'_>) {
        self.handshakes.count(handshake, &mut self.names);
    }

    /// An event, if it is one that the inventory goes by. [`Event::Connected`] is not: [`Inventory::handle_seen`] has more.
    pub fn handle_event(&mut self, at_ms: u64, event: &Event) {
        match event {
            Event::Disconnected { client_id, cause, .. } => {
                let taken_over = *cause == DisconnectCause::TakenOver;
                self.handle_gone(&Gone { at_ms, client_id, taken_over });
            }
            Event::Subscribed { client_id, filter, .. } => self.handle_subscribed(at_ms, client_id, filter),
            Event::Unsubscribed { client_id, filter } => self.handle_unsubscribed(client_id, filter),
            Event::SessionEnded { client_id, .. } => self.handle_session_ended(client_id),
            _ => {}
        }
    }

    fn device_of(&self, client_id: &str) -> Option<Key> {
        self.live.get(&short(client_id)).map(|entry| entry.device.clone())
    }

    /// The device, made if it is new; true if it is.
    fn touch(&mut self, key: &Key, now_s: u32) -> bool {
        if !self.devices.contains_key(key) {
            self.make_room();
            let facts = self.facts.share(Facts::default());
            self.devices.insert(key.clone(), Box::new(Device::new(now_s, facts)));
            self.drop_placeholders(key);
            self.mark(key);
            return true;
        }
        let Some(device) = self.devices.get_mut(key) else { return false };
        let (from, to) = (device.state, device.state.seen());
        let first = device.last_s == 0;
        if first {
            device.first_s = now_s;
        }
        device.last_s = device.last_s.max(now_s);
        if from != to {
            device.state = to;
            self.tell_state(key, from, to, "seen".into());
            self.mark(key);
        }
        first
    }

    fn note_client(&mut self, key: &Key, client_id: &str, now_s: u32, connected: bool) -> Arc<str> {
        let max = self.settings.limits.clients_per_device_max.max(1);
        let name = short(client_id);
        let Some(device) = self.devices.get_mut(key) else { return name };
        if let Some(client) = device.clients.iter_mut().find(|client| client.id == name) {
            (client.last_s, client.connected) = (now_s, connected);
            return client.id.clone();
        }
        // The key of an anonymous device is its Client Identifier: one copy.
        let id = if let Key::Client(own) = key
            && **own == *name
        {
            own.clone()
        } else {
            name
        };
        if device.clients.len() >= max {
            let oldest =
                device.clients.iter().enumerate().min_by_key(|(_, client)| (client.connected, client.last_s));
            if let Some(index) = oldest.map(|(index, _)| index) {
                let gone = device.clients.swap_remove(index);
                device.more_clients = true;
                self.live.forget(&gone.id, key);
            }
        }
        device.clients.push(Client { id: id.clone(), last_s: now_s, connected });
        self.mark(key);
        id
    }

    fn note_facts(&mut self, key: &Key, seen: &Seen<'_>, now_s: u32) {
        let certificate = seen.certificate.and_then(|facts| self.certificate(facts));
        let listener = seen.listener.map(|name| self.names.intern(name));
        let class = seen.class.map(|name| self.names.intern(name));
        let Some(device) = self.devices.get_mut(key) else { return };
        device.connects = device.connects.saturating_add(1);
        device.version = Version::parse(seen.version);
        let identity = seen.identity.filter(|_| matches!(key, Key::Client(_)));
        let same = device.certificate.as_deref() == certificate.as_ref().or(device.certificate.as_deref())
            && device.identity.as_deref() == identity;
        if let Some(certificate) = certificate.filter(|_| !same) {
            device.certificate = Some(Box::new(certificate));
        }
        if device.identity.as_deref() != identity {
            device.identity = identity.map(short);
        }
        let before = Facts::clone(&device.facts);
        if same {
            self.mark_later(key, now_s);
        } else {
            self.mark(key);
        }
        self.set_facts(key, Facts { listener, class, ..before });
        let settings = &self.settings;
        let find = |names: &[String]| {
            let named =
                |(name, _): &&(&str, &str)| names.iter().any(|known| known.eq_ignore_ascii_case(name));
            seen.properties.iter().find(named).map(|(_, value)| *value)
        };
        let told = [&settings.library_properties, &settings.firmware_properties, &settings.model_properties];
        self.note_told(key, told.map(|names| find(names)), None);
    }

    fn note_told(&mut self, key: &Key, told: [Option<&str>; 3], position: Option<(f32, f32)>) {
        if told.iter().all(Option::is_none) && position.is_none() {
            return;
        }
        let [library, firmware, model] = told.map(|text| {
            let text = tidy(text?, TOLD_BYTES_MAX);
            (!text.is_empty()).then(|| self.names.intern(&text))
        });
        let Some(device) = self.devices.get_mut(key) else { return };
        let moved = position.is_some() && device.position.as_deref() != position.as_ref();
        if moved {
            device.position = position.map(Box::new);
        }
        let before = Facts::clone(&device.facts);
        let after = Facts {
            library: library.or(before.library),
            firmware: firmware.or(before.firmware),
            model: model.or(before.model),
            ..before
        };
        if moved {
            self.mark(key);
        }
        self.set_facts(key, after);
    }

    fn set_facts(&mut self, key: &Key, facts: Facts) {
        let Some(device) = self.devices.get_mut(key) else { return };
        if *device.facts != facts {
            device.facts = self.facts.share(facts);
            self.mark(key);
        }
    }

    fn note_address(&mut self, key: &Key, ip: IpAddr, now_s: u32) {
        let max = self.settings.limits.addresses_per_device_max.max(1);
        let Some(device) = self.devices.get_mut(key) else { return };
        if latest(device, ip).is_some_and(|before| home(before) != home(ip)) {
            device.settled_s = now_s;
        }
        if let Some(address) = device.addresses.iter_mut().find(|address| address.ip == ip) {
            address.last_s = now_s;
            return;
        }
        if device.addresses.len() >= max {
            let oldest = device.addresses.iter().enumerate().min_by_key(|(_, address)| address.last_s);
            oldest.map(|(index, _)| index).map(|index| device.addresses.swap_remove(index));
        }
        device.addresses.push(Address { ip, first_s: now_s, last_s: now_s });
        self.mark(key);
    }

    /// The facts of a certificate, compact; `None` if they have no fingerprint.
    pub(super) fn certificate(&mut self, facts: &CertificateFacts) -> Option<Certificate> {
        let mut shared = |text: &str| self.names.intern(&tidy(text, NAME_BYTES_MAX));
        let (issuer, signature) = (shared(&facts.issuer), shared(&facts.signature));
        let (key, key_bits) = (facts.key, facts.key_bits);
        let issuance = self.issuances.share(Issuance { issuer, key, key_bits, signature });
        let mut serial = bytes(&facts.serial)?;
        // RFC 5280, 4.1.2.2: 20 bytes at most; and one for the sign.
        serial.truncate(21);
        Some(Certificate {
            fingerprint: fingerprint_bytes(&facts.fingerprint)?,
            subject: tidy(&facts.subject, NAME_BYTES_MAX).into(),
            serial: serial.into(),
            not_before_s: facts.not_before_s,
            not_after_s: facts.not_after_s,
            issuance,
        })
    }

    fn tell_discovered(&mut self, key: &Key, seen: &Seen<'_>) {
        let declared = self.declared.of(key).map(|(name, _)| name.to_string());
        self.findings.emit(Event::DeviceDiscovered {
            device: key.to_string(),
            client_id: short(seen.client_id).to_string(),
            identity: seen.identity.map(|identity| short(identity).to_string()),
            address: seen.address.map(|address| address.to_string()),
            declared,
        });
    }

    fn judge_takeover(&mut self, at_ms: u64, key: &Key, client_id: &Arc<str>, addresses: [IpAddr; 2]) {
        let at_home = self.declared.of(key).is_some_and(|(_, declared)| {
            addresses.iter().all(|address| declared.expects(*address) == Some(true))
        });
        let thresholds = &self.settings.thresholds;
        let found = self.findings.taken_over(at_ms, thresholds, client_id, addresses, at_home);
        let Some((addresses, why)) = found else { return };
        let kind = FindingKind::DuplicateClient;
        if self.findings.found(at_ms, thresholds.again_after_s, kind, client_id, &addresses, &why) {
            self.findings.emit(Event::DuplicateClient {
                client_id: client_id.to_string(),
                device: key.to_string(),
                addresses: addresses.iter().map(ToString::to_string).collect(),
                why,
            });
        }
    }

    /// Remembers that the certificate is in use by another client at another address.
    fn pair_up(&mut self, half: &Beginning, client_id: &Arc<str>, address: IpAddr, now_s: u32) {
        let thresholds = &self.settings.thresholds;
        let mut pairs = Vec::new();
        for (other_id, other) in
            self.live.holders(half).filter(|(id, other)| *id != client_id && other.connected)
        {
            let Some(theirs) = other.address else { continue };
            // One device may speak both families; and behind one address it cannot be told from another.
            if theirs == address || theirs.is_ipv4() != address.is_ipv4() {
                continue;
            }
            // MQTT-3.1.2-22: a half-open connection lives for 1.5 times its Keep Alive.
            let half_open = match other.keep_alive_s {
                0 => thresholds.clone_overlap_no_keep_alive_s,
                keep_alive => u32::from(keep_alive) * 3 / 2 + 5,
            };
            let due_s = now_s.saturating_add(half_open.max(thresholds.clone_overlap_s));
            let clients = [other_id.clone(), client_id.clone()];
            pairs.push(Pair { due_s, clients, since_s: [other.since_s, now_s] });
        }
        pairs.into_iter().for_each(|pair| self.findings.watch_pair(pair));
    }

    pub(super) fn judge_pairs(&mut self, now_ms: u64) {
        let now_s = seconds(now_ms);
        for pair in self.findings.due_pairs(now_s) {
            let [one, other] = [0, 1].map(|side: usize| {
                let entry = self.live.get(&pair.clients[side])?;
                (entry.connected && entry.since_s == pair.since_s[side]).then_some(entry)
            });
            let (Some(one), Some(other)) = (one, other) else { continue };
            let addresses: Vec<IpAddr> = [one.address, other.address].into_iter().flatten().collect();
            let key = one.device.clone();
            let fingerprint = self.devices.get(&key).and_then(|device| device.certificate.as_ref());
            let Some(fingerprint) = fingerprint.map(|certificate| hex(&certificate.fingerprint)) else {
                continue;
            };
            let why = format!(
                "two clients live side by side with it for {} s, longer than a half-open connection can last",
                now_s.saturating_sub(pair.since_s[0].max(pair.since_s[1])),
            );
            let again = self.settings.thresholds.again_after_s;
            let subject: Arc<str> = fingerprint.as_str().into();
            let kind = FindingKind::ClonedCertificate;
            if self.findings.found(now_ms, again, kind, &subject, &addresses, &why) {
                self.findings.emit(Event::ClonedCertificate {
                    certificate: fingerprint,
                    client_ids: pair.clients.iter().map(ToString::to_string).collect(),
                    addresses: addresses.iter().map(ToString::to_string).collect(),
                    why,
                });
            }
        }
    }

    /// Whether the device should be where it connects from. Asked before the address is noted.
    fn judge_move(&mut self, at_ms: u64, key: &Key, address: IpAddr) {
        let Some(why) = self.why_moved(key, address, seconds(at_ms)) else { return };
        let (again, subject): (_, Arc<str>) =
            (self.settings.thresholds.again_after_s, key.to_string().into());
        if self.findings.found(at_ms, again, FindingKind::MovedDevice, &subject, &[address], &why) {
            let (device, address) = (key.to_string(), address.to_string());
            self.findings.emit(Event::MovedDevice { device, address, why });
        }
    }

    fn why_moved(&self, key: &Key, address: IpAddr, now_s: u32) -> Option<String> {
        let site = self.places.site_of(address);
        if let Some((_, declared)) = self.declared.of(key) {
            match (declared.expects(address), &declared.kind.site, site) {
                (Some(false), _, _) => {
                    let networks: Vec<String> =
                        declared.kind.networks.iter().map(ToString::to_string).collect();
                    return Some(format!(
                        "{address} is in none of its declared networks {}",
                        networks.join(", ")
                    ));
                }
                (_, Some(expected), Some(site)) if **expected != *site.name => {
                    return Some(format!("{address} is at site {:?}, declared is {expected:?}", site.name));
                }
                // Something is declared, and it is as declared.
                (Some(true), _, _) | (None, Some(_), _) => return None,
                (None, None, _) => {}
            }
        }
        let device = self.devices.get(key)?;
        let before = latest(device, address)?;
        let stayed_s = now_s.saturating_sub(device.settled_s);
        let elsewhere =
            home(before) != home(address) && !self.same_site(before, site.map(|site| &*site.name));
        (elsewhere && stayed_s >= self.settings.thresholds.settled_after_s && device.connects > 2).then(
            || {
                format!(
                    "{address} is not in {}, which it had not left for {} days",
                    home(before),
                    stayed_s / 86_400
                )
            },
        )
    }

    fn same_site(&self, address: IpAddr, site: Option<&str>) -> bool {
        site.is_some() && self.places.site_of(address).map(|site| &*site.name) == site
    }
}

/// The network that a device is at home in, if nothing is declared: one of a provider, a campus, a region.
fn home(ip: IpAddr) -> Network {
    Network::around(ip, if ip.is_ipv4() { 16 } else { 48 })
}

/// The last address of the same family.
fn latest(device: &Device, address: IpAddr) -> Option<IpAddr> {
    let family = device.addresses.iter().filter(|known| known.ip.is_ipv4() == address.is_ipv4());
    family.max_by_key(|known| known.last_s).map(|known| known.ip)
}

/// The names that stand for themselves in the patterns of a device whose client this is.
fn own<'a>(key: &'a Key, device: &'a Device, client_id: &'a str) -> Own<'a> {
    match key {
        Key::Client(_) => Own { client_id, identity: device.identity.as_deref() },
        Key::Identity(identity) => Own { client_id, identity: Some(identity) },
    }
}
