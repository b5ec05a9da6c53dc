//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677, and SHA-512 put into the same place): a log-in in which the
//! password never crosses the wire, and after which each side knows that the other knew it.
//!
//! Two pure state machines, [`ScramServer`] and [`ScramClient`]; the nonce is an argument.
//!
//! * No channel binding: a client that demands it (`p=`) is refused, `n` and `y` are accepted. The exchange is bound to
//!   its connection by nothing but TLS; what stands in the way of a relay is the server's certificate.
//! * User names and passwords are printable ASCII (space to `~`). RFC 5802 asks for SASLprep, which leaves these
//!   characters as they are; all others are refused, so that two spellings of one name can never be two users.
//! * A message has at most [`MESSAGE_BYTES_MAX`] bytes.

mod client;
mod mechanism;
mod message;
mod server;
mod verifier;

pub use client::ScramClient;
pub use mechanism::Mechanism;
pub use message::ScramError;
pub use server::{ClientFirst, ScramServer};
pub use verifier::{ITERATIONS, ScramVerifier};

/// Longest message of an exchange, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// A nonce from random bytes, as it appears in a message.
pub fn nonce(random: &[u8; 18]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(random)
}
