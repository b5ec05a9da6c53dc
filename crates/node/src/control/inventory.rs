//! The inventory of a node: fed by what the watch thread sees, asked and ordered by whoever administers.
//!
//! It has a lock of its own that no shard ever takes. What shards need of it, whom to let in, is a snapshot in their policy. The watch
//! thread holds the lock for some hundred things at a time, so that a question waits for a millisecond and not for a flood.

use super::certificate::facts_of;
use super::{Actor, Changed, Control, Inner, RecordsError, Space, Unavailable, Watched, Watcher};
use crate::config::{Config, places};
use crate::policy::Rights;
use ravelin_broker::Now;
use ravelin_broker::{Authorizer, Publishing};
use ravelin_event::{Event, Principal};
use ravelin_identify::seen::{BirthSeen, FlowSeen, HandshakeSeen, Seen};
use ravelin_identify::{
    Admission, CertificateFacts, Declared, Error as InventoryError, Inventory, State, Traffic, Unknown,
};
use ravelin_mqtt::{QoS, ReasonCode};
use ravelin_respond::Posture;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// A client was let in, with what the event of it does not say.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// When, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// The Client Identifier.
    pub client_id: Arc<str>,
    /// The identity.
    pub identity: Option<Arc<str>>,
    /// The class.
    pub class: Option<Arc<str>>,
    /// The fingerprint of the certificate.
    pub certificate: Option<Arc<str>>,
    /// Where it is.
    pub address: IpAddr,
    /// The listener, as an index in the configuration's order.
    pub listener: u16,
    /// The version: `3.1.1` or `5`.
    pub version: &'static str,
    /// Its Keep Alive.
    pub keep_alive_s: u16,
    /// Whether it left a will.
    pub will: bool,
    /// The User Properties of its CONNECT.
    pub properties: Vec<(String, String)>,
}

/// A TLS handshake was completed.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// When, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// The listener, as an index in the configuration's order.
    pub listener: u16,
    /// The version, such as `TLS 1.3`.
    pub version: &'static str,
    /// The cipher suite.
    pub suite: Option<&'static str>,
    /// The group of the key exchange, if there was one.
    pub group: Option<&'static str>,
    /// Whether a session was resumed.
    pub resumed: bool,
    /// The client's certificate, in DER.
    pub peer: Option<CertificateDer<'static>>,
}

/// Why an order to the inventory was not carried out, or not to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryFailure {
    /// It cannot be. Nothing has changed.
    #[error(transparent)]
    Inventory(#[from] InventoryError),
    /// It is in force, but will not outlive a restart.
    #[error("it is in force until the node stops, but could not be stored: {0}")]
    Records(#[from] RecordsError),
    /// A shard did not answer: a session may still be connected.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The inventory, and the certificates of the listeners in their order.
pub(crate) struct Devices {
    inventory: Mutex<Inventory>,
    own: Mutex<Vec<Option<CertificateFacts>>>,
}

impl Devices {
    pub fn new(config: &Config, seed: u64, now_ms: u64) -> Devices {
        let inventory = Inventory::new(config.inventory.settings.clone(), places(config, &[]), seed, now_ms);
        Devices { inventory: Mutex::new(inventory), own: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inventory> {
        self.inventory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a client of these names is a declared device.
    pub fn is_declared(&self, client_id: &str, identity: Option<&str>) -> bool {
        self.lock().is_declared(client_id, identity)
    }

    fn own(&self, listener: u16) -> Option<CertificateFacts> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.get(usize::from(listener)).cloned().flatten()
    }
}

impl Control {
    /// Looks into the inventory; `look` is told the time in milliseconds since the Unix epoch. It should not take long:
    /// what is seen waits for it.
    pub fn inventory<T>(&self, look: impl FnOnce(&Inventory, u64) -> T) -> T {
        let now_ms = self.now().wall_ms;
        look(&self.0.devices.lock(), now_ms)
    }

    /// Declares devices, all or none; returns how many. Whoever is connected and no longer admitted is disconnected.
    pub async fn declare_devices(
        &self,
        actor: &Actor,
        devices: Vec<Declared>,
    ) -> Result<usize, InventoryFailure> {
        let subject = match &devices[..] {
            [one] => one.name.to_string(),
            many => format!("{} devices", many.len()),
        };
        let now_ms = self.now().wall_ms;
        let ordered = self.order_inventory(|inventory| inventory.declare(devices, now_ms));
        self.settle_inventory(actor, "inventory.declare", &subject, ordered).await
    }

    /// Takes a declaration back.
    pub async fn undeclare_device(&self, actor: &Actor, name: &str) -> Result<Declared, InventoryFailure> {
        let ordered = self.order_inventory(|inventory| inventory.undeclare(name));
        self.settle_inventory(actor, "inventory.undeclare", name, ordered).await
    }

    /// Retires a device, reports it as lost, or reinstates it. Its connections end if it is refused from now on.
    pub async fn set_device_state(
        &self,
        actor: &Actor,
        name: &str,
        state: State,
        why: &str,
    ) -> Result<(), InventoryFailure> {
        let why =
            if why.is_empty() { format!("by {}", actor.name) } else { format!("{why} (by {})", actor.name) };
        let ordered = self.order_inventory(|inventory| inventory.set_state(name, state, &why));
        let action = match state {
            State::Retired => "inventory.retire",
            State::Lost => "inventory.lose",
            _ => "inventory.reinstate",
        };
        self.settle_inventory(actor, action, name, ordered).await.map(drop)
    }

    /// Forgets what was seen of a device that is not declared.
    pub async fn forget_device(&self, actor: &Actor, key: &str) -> Result<(), InventoryFailure> {
        let ordered = self.order_inventory(|inventory| inventory.remove(key));
        self.settle_inventory(actor, "inventory.forget", key, ordered).await
    }

    /// Carries an order out and writes what must outlive a restart, under the lock under which a checkpoint is written.
    fn order_inventory<T>(
        &self,
        order: impl FnOnce(&mut Inventory) -> Result<T, InventoryError>,
    ) -> Result<(T, Result<u64, RecordsError>), InventoryFailure> {
        let mut inventory = self.0.devices.lock();
        let result = order(&mut inventory)?;
        let mut stored = Ok(0);
        for write in inventory.poll_urgent() {
            let one = self.write_device(&write);
            // One that failed counts, whatever follows.
            stored = stored.and(one);
        }
        let events = events_of(&mut inventory);
        let admissions = inventory.admissions();
        // A posture lets in who is declared, also who was just now.
        let known = (self.posture() != Posture::Normal).then(|| (inventory.known(), inventory.declared()));
        drop(inventory);
        events.into_iter().for_each(|event| self.emit(event));
        self.change_policy(Changed::Ahead, |policy| {
            policy.programme.admissions = admissions;
            if let Some((known, declared)) = known {
                policy.programme.restrictions = policy.programme.restrictions.with_known(known, declared);
            }
        });
        Ok((result, stored))
    }

    fn write_device(&self, write: &ravelin_identify::Write) -> Result<u64, RecordsError> {
        match &write.value {
            Some(value) => self.records().put(Space::Inventory, &write.key, value),
            None => self.records().delete(Space::Inventory, &write.key),
        }
    }

    /// Disconnects whom the order concerns, waits for the disk, and tells what became of it.
    async fn settle_inventory<T>(
        &self,
        actor: &Actor,
        action: &str,
        subject: &str,
        ordered: Result<(T, Result<u64, RecordsError>), InventoryFailure>,
    ) -> Result<T, InventoryFailure> {
        let result = match ordered {
            Err(error) => Err(error),
            Ok((result, stored)) => {
                let ended = self.enforce_admissions().await;
                let settled = match stored {
                    Ok(number) => self.records().settled(number).await,
                    Err(error) => Err(error),
                };
                ended.map_err(Into::into).and_then(|_| settled.map_err(Into::into)).map(|()| result)
            }
        };
        let error = result.as_ref().err().map(ToString::to_string);
        self.administered(actor, action, subject, error.as_deref().map_or(Ok(""), Err));
        result
    }

    /// Ends the connections of those who would not be let in as they are. How many.
    async fn enforce_admissions(&self) -> Result<usize, Unavailable> {
        let (admissions, unknown, quarantine) = self.inventory(|inventory, _| {
            let settings = inventory.settings();
            (inventory.admissions(), settings.unknown, settings.quarantine_class.clone())
        });
        let ended = self.ask_all(move |view| {
            view.disconnect_where(ReasonCode::NOT_AUTHORIZED, "the inventory has it otherwise now", |conn| {
                let who = conn.principal;
                let class = who.class.as_deref();
                match admissions.decide(&who.client_id, who.identity.as_deref()) {
                    Admission::Admit => unknown == Unknown::Quarantine && class == Some(&*quarantine),
                    Admission::Quarantine(into) => class != Some(&*into),
                    Admission::Refuse(_) | Admission::RefuseUnknown => true,
                }
            })
        });
        Ok(ended.await?.iter().sum())
    }

    /// Whether the rights in force let a client of these names publish to a topic at QoS 0. Of a pattern, the text of it is
    /// asked about.
    pub fn may_publish_now(
        &self,
        client_id: &str,
        identity: Option<&str>,
        class: Option<&str>,
        topic: &str,
    ) -> bool {
        let who = Principal {
            identity: identity.map(Into::into),
            class: class.map(Into::into),
            ..Principal::anonymous(client_id)
        };
        let what = Publishing { topic, qos: QoS::AtMostOnce, retain: false };
        Rights::of(&self.policy()).may_publish(&who, &what)
    }

    /// Takes up what the store held of devices, and begins to watch.
    pub(crate) fn open_inventory(&self) {
        self.configure_inventory();
        let mut inventory = self.0.devices.lock();
        for (key, value) in self.records().load(Space::Inventory) {
            if let Err(error) = inventory.restore(&key, &value) {
                let detail = format!("{} of the inventory: {error}", key.escape_debug());
                self.emit(Event::RecordUnreadable { detail });
            }
        }
        let admissions = inventory.admissions();
        drop(inventory);
        self.change_policy(Changed::Ahead, |policy| policy.programme.admissions = admissions);
        let inner = Arc::downgrade(&self.0);
        self.records().register(Space::Inventory, move |dump| {
            let Some(inner) = inner.upgrade() else { return };
            inner.devices.lock().dump(|key, value| dump.write(key, value));
        });
        self.add_watcher(Box::new(Eyes::new(Arc::downgrade(&self.0))));
    }

    /// Goes by the configuration in force.
    pub(crate) fn configure_inventory(&self) {
        let config = self.config();
        let own = config.listeners.iter().map(|listener| {
            let path = &listener.tls.as_ref()?.certificate;
            facts_of(CertificateDer::from_pem_file(path).ok()?.as_ref())
        });
        *self.0.devices.own.lock().unwrap_or_else(PoisonError::into_inner) = own.collect();
        let mut inventory = self.0.devices.lock();
        inventory.configure(config.inventory.settings.clone(), places(&config, &self.0.addresses));
        let admissions = inventory.admissions();
        drop(inventory);
        self.change_policy(Changed::Ahead, |policy| policy.programme.admissions = admissions);
    }
}

fn events_of(inventory: &mut Inventory) -> Vec<Event> {
    std::iter::from_fn(|| inventory.poll_event()).collect()
}

/// What is seen in one go under the lock.
const CHUNK: usize = 256;
/// Certificates of handshakes whose client has not come in yet.
const CERTIFICATES_MAX: usize = 4_096;
const TICK_MS: u64 = 1_000;

/// Feeds the inventory.
struct Eyes {
    inner: Weak<Inner>,
    /// By fingerprint, oldest first in `order`.
    certificates: BTreeMap<String, CertificateFacts>,
    order: VecDeque<String>,
    ticked_ms: u64,
    written_ms: u64,
}

impl Eyes {
    fn new(inner: Weak<Inner>) -> Eyes {
        Eyes { inner, certificates: BTreeMap::new(), order: VecDeque::new(), ticked_ms: 0, written_ms: 0 }
    }

    fn see(&mut self, inner: &Inner, config: &Config, inventory: &mut Inventory, seen: &Watched) {
        match seen {
            Watched::Event(record) | Watched::Unlogged { record, .. } => {
                inventory.handle_event(record.at_ms, &record.event);
            }
            Watched::Arrived(arrival) => self.arrived(config, inventory, arrival),
            Watched::Handshake(handshake) => self.shook(inner, config, inventory, handshake),
            Watched::Flows(at_ms, flows) => {
                // The row without a name is what found no place; the figures of the node count it.
                for flow in flows.iter().filter(|flow| !flow.client_id.is_empty()) {
                    inventory.handle_flow(&FlowSeen {
                        at_ms: *at_ms,
                        client_id: &flow.client_id,
                        identity: flow.identity.as_deref(),
                        topic: &flow.topic,
                        traffic: Traffic {
                            messages: flow.messages,
                            bytes: flow.bytes,
                            qos: flow.qos,
                            retained: flow.retained,
                        },
                    });
                }
            }
            Watched::Observed(observed) if observed.watch.contains(ravelin_broker::Watch::OBSERVE) => {
                inventory.handle_birth(&BirthSeen {
                    at_ms: observed.wall_ms,
                    client_id: &observed.who.client_id,
                    identity: observed.who.identity.as_deref(),
                    topic: &observed.topic,
                    payload: &observed.payload,
                });
            }
            Watched::Observed(_)
            | Watched::Delivered(_)
            | Watched::Opened { .. }
            | Watched::Abandoned { .. }
            | Watched::Readings(..)
            | Watched::Notice(_) => {}
        }
    }

    fn arrived(&self, config: &Config, inventory: &mut Inventory, arrival: &Arrival) {
        let properties: Vec<(&str, &str)> =
            arrival.properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        inventory.handle_seen(&Seen {
            at_ms: arrival.wall_ms,
            client_id: &arrival.client_id,
            identity: arrival.identity.as_deref(),
            address: Some(arrival.address),
            listener: listener_name(config, arrival.listener),
            class: arrival.class.as_deref(),
            version: arrival.version,
            keep_alive_s: arrival.keep_alive_s,
            certificate: arrival.certificate.as_deref().and_then(|print| self.certificates.get(print)),
            properties: &properties,
        });
    }

    fn shook(&mut self, inner: &Inner, config: &Config, inventory: &mut Inventory, handshake: &Handshake) {
        let peer = handshake.peer.as_ref().and_then(|certificate| facts_of(certificate));
        let own = inner.devices.own(handshake.listener);
        let version = handshake.version.strip_prefix("TLS ").unwrap_or(handshake.version);
        // The library calls `TLS_AES_256_GCM_SHA384` so, that it is not taken for one of TLS 1.2.
        let suite = handshake.suite.unwrap_or("unknown").replacen("TLS13_", "TLS_", 1);
        inventory.handle_handshake(&HandshakeSeen {
            at_ms: handshake.wall_ms,
            listener: listener_name(config, handshake.listener).unwrap_or("unknown"),
            version,
            suite: &suite,
            group: handshake.group,
            resumed: handshake.resumed,
            peer: peer.as_ref(),
            own: own.as_ref(),
        });
        let Some(peer) = peer else { return };
        if self.certificates.contains_key(&peer.fingerprint) {
            return;
        }
        if self.order.len() >= CERTIFICATES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.certificates.remove(&oldest);
        }
        self.order.push_back(peer.fingerprint.clone());
        self.certificates.insert(peer.fingerprint.clone(), peer);
    }
}

fn listener_name(config: &Config, listener: u16) -> Option<&str> {
    config.listeners.get(usize::from(listener)).map(|listener| &*listener.name)
}

impl Watcher for Eyes {
    fn watch(&mut self, now: Now, batch: &[Watched], _: u64) {
        let Some(inner) = self.inner.upgrade() else { return };
        let control = Control(inner);
        let config = control.config();
        for chunk in batch.chunks(CHUNK) {
            let mut inventory = control.0.devices.lock();
            for seen in chunk {
                self.see(&control.0, &config, &mut inventory, seen);
            }
            let events = events_of(&mut inventory);
            drop(inventory);
            events.into_iter().for_each(|event| control.emit(event));
        }
        if now.mono_ms.saturating_sub(self.ticked_ms) >= TICK_MS {
            self.ticked_ms = now.mono_ms;
            let mut inventory = control.0.devices.lock();
            inventory.tick(now.wall_ms);
            let events = events_of(&mut inventory);
            drop(inventory);
            events.into_iter().for_each(|event| control.emit(event));
        }
        let interval_ms = u64::try_from(config.inventory.write_interval.as_millis()).unwrap_or(u64::MAX);
        if now.mono_ms.saturating_sub(self.written_ms) >= interval_ms {
            self.written_ms = now.mono_ms;
            let now_s = u32::try_from(now.wall_ms / 1000).unwrap_or(u32::MAX);
            // Under the lock: a checkpoint in between would else write an older state behind a newer one.
            let mut inventory = control.0.devices.lock();
            for write in inventory.poll_writes(now_s, config.inventory.write_max) {
                // It is behind again with the next change; a store that has failed says so by itself.
                let _ = control.write_device(&write);
            }
        }
    }
}
