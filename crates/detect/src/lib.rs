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

mod engine;
mod settings;
mod sight;

pub use engine::Engine;
pub use settings::Settings;
pub use sight::{Arrived, Metered, Operation, Sight, TopicMeter};
