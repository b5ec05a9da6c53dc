//! A test per normative statement of MQTT 3.1.1 and 5.0, against any broker, over a socket.
//!
//! The suite knows no broker: it has a codec of its own (`wire` builds what clients send, `packet` and `verify` judge
//! what the server sends) and needs a plain listener at which everybody may do everything. It says nothing of speed,
//! nor of access rules.
//!
//! ```no_run
//! let report = ravelin_conformance::run(&ravelin_conformance::Options::new("127.0.0.1:1883"))?;
//! print!("{report}");
//! # anyhow::Ok(())
//! ```

mod context;
mod packet;
mod peer;
mod report;
mod run;
mod sha256;
mod statement;
mod suite;
mod verify;
mod wire;

pub use context::ScramCredential;
pub use report::Report;
pub use run::{Deviation, Options, run};
pub use wire::Version;
