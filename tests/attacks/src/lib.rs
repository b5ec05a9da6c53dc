//! What the attacks of `tests/` need: a node of its own for each test, a client that sends any bytes, a pair of
//! witnesses that notice when the service of others suffers, a broker that lies.
//!
//! Every attack runs as a [`Trial`]: while it goes on, the witnesses exchange messages at a steady pace, and in the end
//! none may be lost, none may have been late, the node's memory may not have grown beyond the bound that the test
//! states, the process must live and must have panicked nowhere.

pub mod false_broker;
pub mod node;
pub mod peer;
pub mod secure;
pub mod trial;
pub mod websocket;
pub mod wire;
pub mod witness;

pub use node::{Event, Node};
pub use peer::{Packet, Peer};
pub use trial::Trial;
pub use wire::{Connect, Publish, hex};

/// A mebibyte.
pub const MIB: u64 = 1 << 20;
