//! Seeded simulation of the broker core: shards, mail between them, clients that speak real bytes, a store that lags and
//! crashes. No socket, file, thread or clock: a run is a function of its seed.
//!
//! [`Cluster`] drives the core as the node does; [`Conn`] is one client's end of a connection.

mod cluster;
mod random;
mod store;
mod wire;

pub use cluster::{Cluster, Conn, Rights};
pub use random::Random;
pub use store::Disk;
pub use wire::{Got, Login, Message, ack, publish, subscribe, unsubscribe};
