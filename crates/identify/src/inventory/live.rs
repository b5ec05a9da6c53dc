//! Which device a Client Identifier belongs to, and who is connected with which certificate.

use crate::device::Key;
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

/// Of a fingerprint.
pub(crate) type Beginning = NonZeroU64;

/// A Client Identifier.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) device: Key,
    pub(crate) connected: bool,
    /// Its latest connection.
    pub(crate) address: Option<IpAddr>,
    pub(crate) since_s: u32,
    pub(crate) keep_alive_s: u16,
    /// The beginning of the certificate's fingerprint. Who could make two of one CA's certificates agree in 64 bits would
    /// be reported as a clone of himself.
    pub(crate) certificate: Option<Beginning>,
}

/// All Client Identifiers that a device is known by.
#[derive(Debug)]
pub(crate) struct Live {
    clients: HashMap<Arc<str>, Entry, FixedState>,
    /// Who is connected with a certificate.
    holders: HashMap<Beginning, SmallVec<[Arc<str>; 1]>, FixedState>,
}

/// How many connections with one certificate are told apart.
const HOLDERS_MAX: usize = 64;

impl Live {
    pub(crate) fn new(seed: u64) -> Live {
        let state = FixedState::with_seed(seed);
        Live { clients: HashMap::with_hasher(state.clone()), holders: HashMap::with_hasher(state) }
    }

    pub(crate) fn get(&self, client_id: &str) -> Option<&Entry> {
        self.clients.get(client_id)
    }

    /// A client connected; what was known of it before.
    pub(crate) fn connected(&mut self, client_id: Arc<str>, entry: Entry) -> Option<Entry> {
        let certificate = entry.certificate;
        let before = self.clients.insert(client_id.clone(), entry);
        if let Some(old) = before.as_ref().and_then(|before| before.certificate)
            && Some(old) != certificate
        {
            self.release(&old, &client_id);
        }
        if let Some(certificate) = certificate {
            let holders = self.holders.entry(certificate).or_default();
            if !holders.contains(&client_id) && holders.len() < HOLDERS_MAX {
                holders.push(client_id);
            }
        }
        before
    }

    pub(crate) fn disconnected(&mut self, client_id: &str) -> Option<&Entry> {
        let entry = self.clients.get_mut(client_id)?;
        entry.connected = false;
        if let Some(certificate) = entry.certificate.take() {
            self.release(&certificate, client_id);
        }
        self.clients.get(client_id)
    }

    /// Others that are connected with this certificate.
    pub(crate) fn holders(&self, certificate: &Beginning) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        let holders = self.holders.get(certificate).into_iter().flatten();
        holders.filter_map(|id| Some((id, self.clients.get(id)?)))
    }

    /// The device `key` gives up the Client Identifier.
    pub(crate) fn forget(&mut self, client_id: &str, key: &Key) {
        if self.clients.get(client_id).is_some_and(|entry| entry.device == *key) {
            self.disconnected(client_id);
            self.clients.remove(client_id);
        }
    }

    /// Puts back a Client Identifier of a restored device.
    pub(crate) fn restore(&mut self, client_id: Arc<str>, device: Key) {
        self.clients.entry(client_id).or_insert(Entry {
            device,
            connected: false,
            address: None,
            since_s: 0,
            keep_alive_s: 0,
            certificate: None,
        });
    }

    fn release(&mut self, certificate: &Beginning, client_id: &str) {
        if let Some(holders) = self.holders.get_mut(certificate) {
            holders.retain(|id| **id != *client_id);
            if holders.is_empty() {
                self.holders.remove(certificate);
            }
        }
    }
}
