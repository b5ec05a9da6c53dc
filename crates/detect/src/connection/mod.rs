//! Detectors of connections and log-ins.

use crate::statistics::CusumTest;
use crate::{Cx, DetectorInfo, Sight};
use serde::{Deserialize, Serialize};

/// What the detectors of connections go by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {}

impl Settings {
    /// All tests that are log-likelihood CUSUMs.
    pub fn tests(&self) -> Vec<CusumTest> {
        Vec::new()
    }
}

/// What is kept of each client.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClientConnection {}

/// What is kept of each source.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceConnection {}

/// What is kept beside that.
pub(crate) struct Shared {}

impl Shared {
    pub fn new(_settings: &crate::Settings, _seed: u64) -> Shared {
        Shared {}
    }
}

/// What there is to know of these detectors.
pub const DETECTORS: &[DetectorInfo] = &[];

pub(crate) fn handle(_shared: &mut Shared, cx: &mut Cx, at_ms: u64, slot: Option<u32>, sight: &Sight) {
    match sight {
        Sight::Started => cx.started_ms = at_ms,
        Sight::Missed { .. } => cx.missed_ms = at_ms,
        Sight::Arrived(arrived) => {
            let Some(slot) = slot else { return };
            let client = cx.clients.at_mut(slot);
            client.names.identity = arrived.identity.clone();
            client.names.class = arrived.class.clone();
            client.names.certificate = arrived.certificate.clone();
            client.names.address = Some(arrived.address);
            client.names.declared = arrived.declared;
            client.arrived_ms = at_ms;
            if !std::mem::replace(&mut client.is_online, true) {
                cx.online += 1;
            }
            cx.trust_arrived(at_ms, slot);
        }
        Sight::Left { .. } => {
            let Some(slot) = slot else { return };
            if std::mem::replace(&mut cx.clients.at_mut(slot).is_online, false) {
                cx.online -= 1;
            }
        }
        Sight::Metered(_) => {
            if let Some(slot) = slot {
                cx.trust_active(at_ms, slot);
            }
        }
        _ => {}
    }
}

pub(crate) fn tick(_shared: &mut Shared, _cx: &mut Cx, _at_ms: u64) {}
