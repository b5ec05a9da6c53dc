//! What can be wrong with a recording.

use std::fmt;

/// Why a recording cannot be read (any further).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system, or the compression.
    #[error("failed to read {what}")]
    Read {
        /// What was read, and how far.
        what: String,
        /// Why not.
        source: std::io::Error,
    },
    /// It is none of the forms that are known.
    #[error("{0}")]
    Unknown(String),
    /// A capture is damaged from here on.
    #[error("byte {offset} of the capture: {what}")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong.
        what: String,
    },
}

/// Where in a recording; all count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a table or a log.
    Line(u64),
    /// A packet of a capture.
    Packet(u64),
    /// An event, where it does not matter what the recording is.
    Event(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(number) => write!(f, "line {number}"),
            Place::Packet(number) => write!(f, "packet {number}"),
            Place::Event(number) => write!(f, "event {number}"),
        }
    }
}

/// One thing that is odd and was left out: `line 12, column src: "10.0.0" is no address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub place: Place,
    /// The column of a table; empty where there is none.
    pub column: &'static str,
    /// What is odd.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.place)?;
        if !self.column.is_empty() {
            write!(f, ", column {}", self.column)?;
        }
        write!(f, ": {}", self.what)
    }
}
