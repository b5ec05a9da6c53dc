//! Devices as an operator declares them.

mod csv;
mod diff;
mod fields;
mod json;
mod register;

pub use csv::{export_csv, import_csv};
pub use diff::{Difference, Mismatch};
pub(crate) use diff::{mismatches, without_share};
pub use fields::FIELDS;
pub use json::{export_json, import_json};
pub(crate) use register::{Entry, Register};

use crate::device::Key;
use crate::error::Error;
use crate::lifecycle::State;
use crate::network::Network;
use crate::place::Position;
use crate::settings::KeyedBy;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;

/// A declared device. Every field but the name may be left out; what is left out is not compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// What it is called.
    pub name: Arc<str>,
    /// The identity that it proves; without this and `client_ids`, its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Arc<str>>,
    /// The Client Identifiers that it uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client_ids: Vec<Arc<str>>,
    /// Who is responsible for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Arc<str>>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Arc<str>>,
    /// How much depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criticality: Option<Criticality>,
    /// Where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Arc<str>>,
    /// Where exactly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// The class that its identity should have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<Arc<str>>,
    /// The fingerprint of its certificate (SHA-256, lower-case hex).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Arc<str>>,
    /// The protocol version that it should speak: `3.1.1` or `5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// The firmware that it should run: a version, or `>=` and the least one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<Arc<str>>,
    /// The networks that it should come from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<Network>,
    /// The topic filters that it should publish to; `%c` and `%u` as in access rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publishes: Vec<Arc<str>>,
    /// The topic filters that it should subscribe to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscribes: Vec<Arc<str>>,
    /// Retired or lost; anything else is what was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

/// How much depends on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Criticality {
    /// Little.
    Low,
    /// Something.
    Medium,
    /// Much.
    High,
    /// Safety, or everything.
    Critical,
}

impl Criticality {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Criticality::Low => "low",
            Criticality::Medium => "medium",
            Criticality::High => "high",
            Criticality::Critical => "critical",
        }
    }
}

/// What may be in one declaration.
pub(crate) const NAME_BYTES_MAX: usize = 256;
pub(crate) const LIST_MAX: usize = 64;

impl Declared {
    /// A device of this name and nothing more.
    pub fn named(name: &str) -> Declared {
        Declared { name: name.into(), ..Declared::default() }
    }

    /// The keys under which the device is found on the bus.
    pub fn keys(&self, by: KeyedBy) -> Vec<Key> {
        register::keys(&self.name, self.identity.as_ref(), &self.client_ids, by)
    }

    /// Whether the address is where    /// Whether the address is where the device should come from; `None` if nothing is declared.
    pub fn expects(&self, address: IpAddr) -> Option<bool> {
        if self.networks.is_empty() {
            return None;
        }
        Some(self.networks.iter().any(|network| network.contains(address)))
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    ///
    /// [`Error::Field`] for a field that is empty, too long, no topic filter, or a state that cannot be declared.
    pub fn check(&self) -> Result<(), Error> {
        let wrong = |field: &'static str, what: String| Err(Error::Field { field, what });
        let names = [
            ("name", Some(&self.name)),
            ("identity", self.identity.as_ref()),
            ("owner", self.owner.as_ref()),
            ("model", self.model.as_ref()),
            ("site", self.site.as_ref()),
            ("class", self.class.as_ref()),
            ("certificate", self.certificate.as_ref()),
            ("version", self.version.as_ref()),
            ("firmware", self.firmware.as_ref()),
        ];
        let ids = self.client_ids.iter().map(|id| ("client_ids", id));
        for (field, text) in names.iter().filter_map(|(field, text)| Some((*field, (*text)?))).chain(ids) {
            if let Err(what) = fields::check_text(text) {
                return wrong(field, what);
            }
        }
        if let Some(position) = self.position
            && Position::new(position.latitude, position.longitude).is_none()
        {
            return wrong("latitude", format!("{position:?} is not on Earth"));
        }
        for (field, filters) in [("publishes", &self.publishes), ("subscribes", &self.subscribes)] {
            for filter in filters {
                if let Err(what) = fields::check_filter(filter) {
                    return wrong(field, what);
                }
            }
        }
        let lists = [
            ("client_ids", self.client_ids.len()),
            ("networks", self.networks.len()),
            ("publishes", self.publishes.len()),
            ("subscribes", self.subscribes.len()),
        ];
        if let Some((field, _)) = lists.iter().find(|(_, length)| *length > LIST_MAX) {
            return wrong(field, format!("more than {LIST_MAX} entries"));
        }
        self.check_words()
    }

    fn check_words(&self) -> Result<(), Error> {
        if let Some(certificate) = &self.certificate {
            fields::check_fingerprint(certificate)
                .map_err(|what| Error::Field { field: "certificate", what })?;
        }
        if let Some(version) = &self.version {
            fields::check_version(version).map_err(|what| Error::Field { field: "version", what })?;
        }
        match self.state {
            None | Some(State::Registered | State::Retired | State::Lost) => Ok(()),
            Some(state) => Err(Error::Field {
                field: "state",
                what: format!("{state} cannot be declared: only registered, retired and lost"),
            }),
        }
    }
}
