//! Detectors: what clients do goes in, alarms that say why come out.
//!
//! Pure: the time is an argument, there is no IO, and the same sights in the same order give the same alarms. A running
//! node feeds [`Engine`] from its watch thread; `ravelin detect replay` feeds it from a recorded log or a capture.
//!
//! ```
//! # use ravelin_detect::{Engine, Settings, Sight};
//! let mut engine = Engine::new(Settings::default(), 7);
//! engine.handle(1_000, &Sight::Started);
//! engine.handle_tick(2_000);
//! assert!(engine.poll_notice().is_none());
//! ```
//!
//! How it is built: [`Engine`] resolves whom a sight concerns to a slot of a bounded table ([`entities`]), once; hands it
//! to the detectors ([`connection`], [`traffic`]), which count in fixed-size state with the tests of [`statistics`]; what
//! they find goes through [`Cx::raise`] (`episodes`), which makes one alarm of an episode, and one of a whole fleet's.

mod alarms;
pub mod baseline;
pub mod behaviour;
pub mod connection;
mod cx;
mod detector;
mod engine;
#[cfg(test)]
mod engine_tests;
pub mod entities;
mod episodes;
#[cfg(test)]
mod episodes_tests;
mod error;
mod fleet;
mod persist;
pub mod physical;
mod raise;
mod settings;
mod sight;
pub mod statistics;
pub mod traffic;
mod trust;
pub mod value;
#[cfg(test)]
mod world;

pub use alarms::{AlarmTable, Suppression};
pub use cx::{ClientNames, ClientState, Cx, SourceState};
pub use detector::{DetectorInfo, detectors_table};
pub use engine::{DetectorFigures, Engine, EngineFigures};
pub use error::Error;
pub use persist::Write;
pub use raise::Raise;
pub use settings::{EpisodeSettings, Limits, Settings};
pub use sight::{Arrived, Metered, Operation, Sight, TopicMeter};
pub use trust::{Trust, TrustChange, TrustReason, TrustSettings, beta_quantile};
