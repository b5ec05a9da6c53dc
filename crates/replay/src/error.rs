//! What can be wrong with a recording.

use std::fmt;

/// Why a recording cannot be read (any further).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system, or the compression.
    #[error("failed to read {what}")]
    Read {
        /// What was read.
        what: &'static str,
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

/// One thing that is odd and was left out: `line 12, column src: "10.0.0" is no address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The line, from 1; for a capture the packet.
    pub line: u64,
    /// The column of a table; empty where there is none.
    pub column: &'static str,
    /// What is odd.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.column.is_empty() {
            write!(f, ", column {}", self.column)?;
        }
        write!(f, ": {}", self.what)
    }
}
