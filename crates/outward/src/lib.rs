//! How alarms, actions and events reach others.
//!
//! Two halves. **Formats** are pure functions of what happened: [`ocsf`] (OCSF 1.8), [`syslog`] (RFC 5424), [`fail2ban`],
//! [`native`] JSON, the [`topics`] of monitors. **Delivery** is IO: a [`Spool`] for each destination, bounded in entries
//! and bytes, a thread that sends what is in it in order, again and again until it is taken, and one that fills it.
//! What waits is kept by the [`Host`], so that it survives a restart: at least once, except where a destination says otherwise.
//!
//! It knows the vocabulary (`ravelin-event`) and nothing of the node, of detectors or of actions. It never tells of events of
//! its own (`outward.*`): a destination that fails would be told that it fails.

mod destination;
mod error;
pub mod fail2ban;
mod fields;
mod figures;
mod item;
pub mod native;
pub mod ocsf;
mod outward;
mod render;
mod selection;
pub mod senders;
pub mod sign;
mod spool;
pub mod syslog;
mod text;
mod time;
pub mod topics;

pub use destination::{Backoff, Settings};
pub use error::Error;
pub use figures::{DestinationView, State};
pub use item::{Item, Origin, What};
pub use outward::{Host, Outward};
pub use render::Form;
pub use selection::Selection;
pub use spool::{Entry, Spool, SpoolLimits};
