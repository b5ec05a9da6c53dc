//! What an operator sets.

use crate::birth::BirthRule;
use serde::{Deserialize, Serialize};

/// What becomes of a device that is not declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// It may connect as its identity's rules say.
    #[default]
    Admit,
    /// It is put into the quarantine class.
    Quarantine,
    /// It is refused.
    Refuse,
}

/// What a record of the inventory is kept by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyedBy {
    /// The proven identity, else the Client Identifier.
    #[default]
    Identity,
    /// The Client Identifier: where many devices share one identity.
    ClientId,
}

/// Rules of the inventory.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// What is a device.
    pub keyed_by: KeyedBy,
    /// What becomes of a device that is not declared.
    pub unknown: Unknown,
    /// The class of an unknown device under [`Unknown::Quarantine`].
    pub quarantine_class: String,
    /// After how many seconds without a sight a device is dormant.
    pub dormant_after_s: u32,
    /// Names of User Properties of CONNECT, in any case, that tell the client library.
    pub library_properties: Vec<String>,
    /// Those that tell the firmware version.
    pub firmware_properties: Vec<String>,
    /// Those that tell the model.
    pub model_properties: Vec<String>,
    /// Where birth messages are and what they tell.
    pub births: Vec<BirthRule>,
    /// Thresholds of the findings.
    pub thresholds: Thresholds,
    /// How much is kept.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Settings {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Settings {
            keyed_by: KeyedBy::Identity,
            unknown: Unknown::Admit,
            quarantine_class: "quarantine".into(),
            dormant_after_s: 30 * 86_400,
            library_properties: names(&["library", "client_library", "client-library", "lib", "sdk"]),
            firmware_properties: names(&[
                "firmware",
                "firmware_version",
                "firmware-version",
                "fw",
                "fw_version",
            ]),
            model_properties: names(&["model", "hardware", "device_model", "device-model"]),
            births: vec![BirthRule::sparkplug()],
            thresholds: Thresholds::default(),
            limits: Limits::default(),
        }
    }
}

/// When an observation becomes a finding. Why these values: the guide's chapter on the inventory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// How often a Client Identifier must return to an address that it had been taken from, within the window.
    pub duplicate_returns: u8,
    /// The same, where all addresses are in networks that the device is declared in.
    pub duplicate_returns_declared: u8,
    /// The window, in seconds.
    pub duplicate_window_s: u32,
    /// How long two connections must live side by side with one certificate, in seconds; at least 1.5 times the Keep Alive
    /// of the older one counts in any case.
    pub clone_overlap_s: u32,
    /// The same, where the older one has no Keep Alive.
    pub clone_overlap_no_keep_alive_s: u32,
    /// How long an undeclared device must have been in one network before leaving it is a finding, in seconds.
    pub settled_after_s: u32,
    /// A finding is not told again for so long, in seconds.
    pub again_after_s: u32,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        Thresholds {
            duplicate_returns: 4,
            duplicate_returns_declared: 20,
            duplicate_window_s: 600,
            clone_overlap_s: 30,
            clone_overlap_no_keep_alive_s: 900,
            settled_after_s: 7 * 86_400,
            again_after_s: 86_400,
        }
    }
}

/// How much is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Devices; the one that was not seen for longest makes room, unless it is declared, retired or lost.
    pub devices_max: usize,
    /// Declared devices.
    pub declared_max: usize,
    /// Client Identifiers of one device.
    pub clients_per_device_max: usize,
    /// Addresses of one device.
    pub addresses_per_device_max: usize,
    /// Topic patterns of one device that it publishes to; the same number again that it subscribes to.
    pub topics_per_device_max: usize,
    /// Bytes of a birth message that are looked at; a longer one is not.
    pub birth_bytes_max: usize,
    /// Findings that are kept.
    pub findings_max: usize,
    /// Different handshakes (listener, version, suite, group) that are told apart.
    pub handshakes_max: usize,
    /// Certificates in the cryptographic bill of materials; those that expire first.
    pub bill_certificates_max: usize,
    /// Bytes of an imported file.
    pub import_bytes_max: usize,
    /// Seconds between two writes of the record of a device that only moved on.
    pub write_every_s: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            devices_max: 1_000_000,
            declared_max: 1_000_000,
            clients_per_device_max: 8,
            addresses_per_device_max: 4,
            topics_per_device_max: 16,
            birth_bytes_max: 65_536,
            findings_max: 4_096,
            handshakes_max: 256,
            bill_certificates_max: 10_000,
            import_bytes_max: 64 * 1024 * 1024,
            write_every_s: 3_600,
        }
    }
}
