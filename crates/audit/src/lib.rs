//! The record: who sent what, when, and whom it reached; who administered the node; what was refused. So that nobody can
//! deny it later, and nobody can change it unnoticed.
//!
//! Append-only segments, encrypted; every entry hashed into a chain; the chain signed every few seconds. A [`Recording`]
//! writes, fed by [`Recorder`]s; [`Reader`] shows; [`verify`] finds any cut, edit, repetition or exchange, and says where;
//! [`export`] hands out evidence that anyone can verify with the public key alone.
//!
//! This crate knows nothing of MQTT, and does not decide what is recorded. The format on disk, and what can and cannot be
//! noticed, is in `FORMAT.md`.
#![forbid(unsafe_code)]

mod body;
mod chain;
mod disk;
pub mod entry;
mod error;
pub mod export;
mod head;
mod log;
mod open;
mod read;
mod recorder;
mod ring;
#[doc(hidden)]
pub mod testing;
mod verify;
mod walk;
mod writer;

pub use chain::{Chain, Hash, PublicKey, hex, leaf, sha256};
pub use disk::ReadOnlyDisk;
pub use error::Error;
pub use head::Head;
pub use log::OpenReport;
pub use read::{Item, Reader};
pub use recorder::{Draft, Notice, OnFull, Options, Recorder, Recording, Status};
pub use verify::{Damage, DamageKind, Verification, verify};
