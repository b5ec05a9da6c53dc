//! Recorded traffic, read again: what a running node would have told the detectors.
//!
//! A recording is an event log in CSV (one [`Row`] an event, also gzip-compressed), a capture (pcap or pcapng), or the
//! JSON event log of a node. [`read`] finds out which, and hands what is in it to a [`Sink`], one thing after the other: a
//! recording is never in memory as a whole. A [`Player`] is the sink that runs it through [`ravelin_detect::Engine`].
//!
//! A label (`bruteforce`, `benign`) is handed over beside a row and not in it: no detector can see one.

mod capture;
mod csv;
mod error;
mod log;
mod player;
mod row;
mod source;
mod translate;

pub use error::{Error, Place, Warning};
pub use player::{Player, Tally};
pub use row::{Row, What};
pub use source::{Form, Options, read};
pub use translate::Translator;

use ravelin_detect::Sight;

/// Who takes what is in a recording.
pub trait Sink {
    /// An event on a connection, and its label where the recording has some.
    fn row(&mut self, row: &Row<'_>, label: Option<&str>);

    /// Something that a node has told in these words, at `at_ms` (milliseconds since the Unix epoch).
    fn sight(&mut self, at_ms: u64, sight: Sight);

    /// Something in the recording is odd and was left out.
    fn warn(&mut self, warning: Warning);
}
