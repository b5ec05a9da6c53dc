//! What is done about an alarm, by a playbook or by hand: actions with approval, a time limit and an undo.
//!
//! Pure: [`Action`]s are values. The [`Desk`] decides and hands out [`Job`]s; the node carries them out and says how it
//! went. Time is an argument, in milliseconds since the Unix epoch. `LIFECYCLE.md` has the states of an order.

mod action;
mod desk;
mod error;
mod order;
mod playbook;
mod policy;

pub use action::{
    Action, ActionKind, Direction, Frozen, Invalid, NAME_BYTES_MAX, Posture, Retained, parse_network,
};
pub use desk::{Desk, DeskFigures, Facts, Job, Outcome, Preview, Request, Verdict, Wanted, Write};
pub use error::Error;
pub use order::{AlarmTimes, Approval, Ending, Order, OrderView, State};
pub use playbook::{Bound, Conditions, Missing, Mode, Playbook, PlaybookFigures, Step, Values};
pub use policy::{APPROVALS_MAX, Limits, Person, Policy, Role, Settings};
