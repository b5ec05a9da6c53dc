//! Why an order is refused.

use crate::action::Invalid;
use crate::order::State;
use crate::policy::Role;
use std::sync::Arc;

/// Why something is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The action cannot be meant.
    #[error("{0}")]
    Invalid(#[from] Invalid),
    /// Whoever asks has not the role that it takes.
    #[error("{what} takes the role {needs}")]
    NotAllowed {
        /// What was asked.
        what: &'static str,
        /// What it takes.
        needs: Role,
    },
    /// It may not be in force for so long.
    #[error("{action} may last {max_s} seconds at most")]
    TooLong {
        /// The action.
        action: &'static str,
        /// The limit.
        max_s: u64,
    },
    /// It may not be in force until it is lifted.
    #[error("{action} needs a time limit: it must not be in force until somebody remembers it")]
    NeedsTime {
        /// The action.
        action: &'static str,
    },
    /// It has no time limit: nothing of it stays, or it is final.
    #[error("{action} takes no time limit: {why}")]
    TakesNoTime {
        /// The action.
        action: &'static str,
        /// Why.
        why: &'static str,
    },
    /// It would cut off clients that are never to be cut off.
    #[error("it would cut off {}, which must never be cut off; if it must be, say `override_never_cut`, and a second person approves", .0.join(", "))]
    NeverCut(Vec<Arc<str>>),
    /// Something else of the same kind is in force.
    #[error("order {order} is in the way: {what}")]
    Conflict {
        /// The other order.
        order: u64,
        /// What it does.
        what: String,
    },
    /// The same is just being taken back.
    #[error("order {0} of the same is being taken back; try again when it has ended")]
    Ending(u64),
    /// Too many orders wait or are in force.
    #[error("{max} orders {what} already; undo or refuse some first")]
    Full {
        /// How many there may be.
        max: usize,
        /// Are in force, or wait.
        what: &'static str,
    },
    /// There is no such order.
    #[error("there is no order {0}")]
    Unknown(u64),
    /// It does not wait for approval.
    #[error("order {order} does not wait for approval: it is {}", .state.name())]
    NotProposed {
        /// The order.
        order: u64,
        /// How it is.
        state: State,
    },
    /// The same person cannot be two.
    #[error("{by} stands behind order {order} already: another person must approve it")]
    SamePerson {
        /// The order.
        order: u64,
        /// Who.
        by: Arc<str>,
    },
    /// There is nothing to take back.
    #[error("order {order} is {}: there is nothing to take back", .state.name())]
    NotInForce {
        /// The order.
        order: u64,
        /// How it is.
        state: State,
    },
    /// It cannot be taken back.
    #[error("{action} cannot be taken back: {why}")]
    Final {
        /// The action.
        action: &'static str,
        /// What to do instead.
        why: &'static str,
    },
    /// A record of an order cannot be understood.
    #[error("the record {key} cannot be understood: {what}")]
    Record {
        /// Its key.
        key: String,
        /// What is wrong.
        what: String,
    },
}
