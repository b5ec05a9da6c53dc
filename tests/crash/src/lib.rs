//! Kills a real node under load and checks that nothing acknowledged is lost.
//!
//! The clients speak MQTT through a codec of their own, so that a mistake in the broker's cannot hide itself. They keep
//! their half of each session while the node is killed; a [`ledger::Ledger`] holds what was published and acknowledged,
//! and says what must not be.

pub mod client;
pub mod conn;
pub mod fickle;
pub mod ledger;
pub mod node;
pub mod rng;
pub mod scene;
pub mod talk;
pub mod wills;
pub mod wire;
