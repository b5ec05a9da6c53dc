//! Detectors of what clients send and ask for.

use crate::{Cx, DetectorInfo, Sight};
use serde::{Deserialize, Serialize};

/// What the detectors of messages go by.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {}

/// A behaviour that clients are expected to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// Its name, as in alarms.
    pub name: String,
}

/// What is kept of each client.
#[derive(Clone, Copy, Debug, Default)]
pub struct State {}

/// What is kept beside that.
#[derive(Debug, Default)]
pub struct Shared {}

/// What there is to know of these detectors.
pub const DETECTORS: &[DetectorInfo] = &[];

/// Something was seen. `slot` is the client that it is about; its names and whether it is online are up to date.
pub(crate) fn handle(_shared: &mut Shared, _cx: &mut Cx, _at_ms: u64, _slot: Option<u32>, _sight: &Sight) {}

/// Time has passed.
pub(crate) fn tick(_shared: &mut Shared, _cx: &mut Cx, _at_ms: u64) {}
