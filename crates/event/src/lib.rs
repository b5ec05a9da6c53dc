//! The one vocabulary of what happened on the bus.
//!
//! Every event is one variant of [`Event`] with an id, a level and a description; logs, metrics, alarms and the
//! documentation come from that one list ([`CATALOG`]). Events carry fields, not sentences, and never a payload or a
//! secret.
//!
//! Pure: the time of an event is an argument of [`Record::new`].

mod alarm;
mod catalog;
mod cause;
mod principal;
mod record;

pub use alarm::{Alarm, Counted, Figure, Notice, Severity, Subject, Verification};
pub use catalog::{CATALOG, Entry, Event};
pub use cause::{DisconnectCause, Fault, Refusal};
pub use principal::{CertificateAttributes, Granted, Principal};
pub use record::{Level, Record};
