//! The small MQTT client that `ravelin pub`, `ravelin sub` and `ravelin bench` share: what to connect to and as whom, TLS,
//! WebSocket, one connection at a time, and how a received message is printed.
//!
//! It is a client for the command line: one thread, one connection, everything bounded by the connection itself. It keeps no
//! session on disk, and nothing of it is used by the broker.

pub mod address;
pub mod calendar;
pub mod connection;
pub mod error;
pub mod format;
mod json;
pub mod message;
pub mod options;
pub mod property;
mod scram;
pub mod tls;
pub mod transport;
mod websocket;

pub use calendar::Moment;
pub use connection::{Connection, Event, Incoming};
pub use error::Error;
pub use message::Message;
