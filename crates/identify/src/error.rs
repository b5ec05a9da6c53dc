//! What can be wrong with what an operator asks for or a file says.

use crate::lifecycle::State;
use thiserror::Error;

/// Why a declaration, an import or a change of state was not accepted. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A place in an imported file is wrong.
    #[error("{place}: {what}")]
    Import {
        /// Where it is.
        place: Place,
        /// What is wrong there.
        what: String,
    },
    /// A field of a declaration is wrong.
    #[error("{field}: {what}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// No such device.
    #[error("there is no device {0:?}")]
    Unknown(String),
    /// The life cycle does not lead from one state to the other.
    #[error("{device:?} is {from} and cannot become {to}{hint}")]
    Transition {
        /// The device.
        device: String,
        /// The state it is in.
        from: State,
        /// The state that was asked for.
        to: State,
        /// What to do instead; empty or starting with `: `.
        hint: &'static str,
    },
    /// A limit of the inventory is reached.
    #[error("the inventory takes at most {max} {what}")]
    LimitExceeded {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        max: usize,
    },
}

/// A place in an imported file, as an editor counts: from one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The line; 0 where it is not known.
    pub line: usize,
    /// The column, in characters; 0 where it is not known.
    pub column: usize,
    /// The field, or empty.
    pub field: String,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.line, self.column) {
            (0, _) => f.write_str("input")?,
            (line, 0) => write!(f, "line {line}")?,
            (line, column) => write!(f, "line {line}, column {column}")?,
        }
        if self.field.is_empty() { Ok(()) } else { write!(f, ", field {:?}", self.field) }
    }
}
