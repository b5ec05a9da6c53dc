//! Kills a real node under load and checks that nothing acknowledged is lost.
//!
//! The clients speak MQTT through a codec of their own, so that a mistake in the broker's cannot hide itself. They keep
//! their half of each session while the node is killed; a [`ledger::Ledger`] holds what was published and acknowledged,
//! and says what must not be.
//!
//! | variable | meaning |
//! |---|---|
//! | `RAVELIN_BIN` | the binary that is tested; else the newer of the release and the debug build |
//! | `RAVELIN_CRASH_RUNS` | how often a node is killed under load, in all tests together; about 200 unless it is set |
//! | `RAVELIN_CRASH_SEED` | repeats a run, as far as the clock lets it; every run prints its seed |
//! | `RAVELIN_CRASH_KEEP` | if it is set, the data directory of a run that failed is kept |

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
