//! Seeded simulation of the broker core: shards, mail between them, clients that speak real bytes, a store that lags and
//! crashes. No socket, file, thread or clock: a run is a function of its seed.
//!
//! [`Cluster`] drives the core as the node does; [`Conn`] is one client's end of a connection. [`World`] lets many clients do
//! anything at any time, and holds what they get against a model.

mod bans;
mod client;
mod cluster;
mod connections;
mod damage;
mod model;
mod quiet;
mod random;
mod retained;
mod rights;
mod store;
mod traffic;
mod wills;
mod wire;
mod world;

pub use cluster::{Cluster, Conn};
pub use damage::{damage, frames, restore};
pub use random::Random;
pub use rights::Rights;
pub use store::Disk;
pub use wire::{Got, Login, Message, ack, publish, subscribe, unsubscribe};
pub use world::World;
