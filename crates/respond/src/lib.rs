//! What is done about an alarm, by a playbook or by hand: actions with approval, a time limit and an undo.
//!
//! Pure: [`Action`]s are values. What decides hands out jobs; the node carries them out and says how it went.

mod action;

pub use action::{Action, Direction, Frozen, Posture, Retained, parse_network};
