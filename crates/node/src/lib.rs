//! Listeners, TLS, WebSocket, shards: the shell that drives the pure cores.
//!
//! A [`Node`] is started from a [`config::Config`], which can be read again while it runs. It has one thread for each
//! shard, each with its own poll, its own [`ravelin_broker::Broker`] and the connections whose sessions it owns; beside
//! them a thread that writes the store, one that writes the log, a few that verify passwords, and one for `$SYS`.
//!
//! This crate decides nothing that a pure core could decide: it moves bytes, keeps time and enforces what only it can
//! see (who connects from where, how fast, and who does not read).

pub mod config;
pub mod control;
mod error;
pub mod fetch;
pub mod firewall;
mod hashpool;
mod issuers;
mod ladder;
mod listen;
pub mod log;
mod memory;
mod metrics;
mod node;
mod policy;
#[doc(hidden)]
pub mod proxy;
mod rates;
mod reload;
mod restrictions;
mod sandbox;
mod shard;
mod signals;
mod storage;
mod sys;
mod transport;
#[doc(hidden)]
pub mod ws;

/// The software bill of materials of the default build: a CycloneDX 1.6 document, made by `cargo xtask sbom`.
pub const SBOM: &str = include_str!("../sbom.json");

pub use error::Error;
pub use ladder::{LadderCounters, LadderLevels, Rung, RungFigures, Rungs};
pub use memory::{MemoryFigures, MemoryStage};
pub use metrics::{Counters, Figures};
pub use node::Node;
pub use rates::RateFigures;
pub use sandbox::Sandbox;
pub use signals::{Caught, run};
