//! What is on the bus: an inventory of its devices, built from what they do; beside it what an operator declared, and the
//! difference; the cryptography in use; who sends what to whom; and where all of it is.
//!
//! Pure: no socket, clock, file, thread or lock. An [`Inventory`] is told what was seen (`handle_*`, the types in [`seen`]),
//! takes orders ([`Inventory::declare`], [`Inventory::set_state`]), and gives events, records for the disk and documents.
//! Everything that a client can make grow is bounded by [`Limits`]; what a client says of itself is text that documents escape.
//!
//! The life of a device: `LIFECYCLE.md`.

mod admission;
mod bill;
pub mod birth;
mod certificate;
mod crypto;
pub mod declared;
mod device;
mod error;
mod findings;
pub mod flows;
mod inventory;
mod lifecycle;
pub mod map;
mod names;
mod network;
mod place;
mod pool;
pub mod seen;
mod settings;
mod time;
mod topics;

pub use admission::{Admission, Admissions, Known};
pub use certificate::{CertificateFacts, CertificateView, KeyKind};
pub use crypto::HandshakeView;
pub use declared::{Criticality, Declared, Difference, Mismatch};
pub use device::{AddressView, DeviceView, Key, TopicView};
pub use error::{Error, Place};
pub use findings::{Finding, FindingKind};
pub use inventory::{Filter, Inventory, Page, Summary, Write};
pub use lifecycle::{STATES, State};
pub use network::Network;
pub use place::{Conduit, Infrastructure, Listener, Places, Position, Site};
pub use settings::{KeyedBy, Limits, Settings, Thresholds, Unknown};
pub use topics::{Traffic, overlaps};
