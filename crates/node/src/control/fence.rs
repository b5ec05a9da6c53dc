//! What is closed from outside: the operating system's firewall, listeners, the node itself.

use super::Control;
use ravelin_respond::Action;

/// Why something was not closed or not opened again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FenceFailure {
    /// It cannot be, and what to do about it.
    #[error("{0}")]
    Invalid(String),
}

impl Control {
    /// Puts `action` (firewall, stop_listener, stop_node) into force as order `order`, for `ttl_s` seconds where it has a
    /// time limit; says what it met. Called again with the same order, as after a restart, it changes nothing.
    pub(crate) fn blocking_fence(
        &self,
        _order: u64,
        action: &Action,
        _ttl_s: Option<u64>,
    ) -> Result<String, FenceFailure> {
        Err(FenceFailure::Invalid(format!("{action} cannot be done yet")))
    }

    /// Takes back what the order has put into force; says what that met.
    pub(crate) fn blocking_unfence(&self, _order: u64, action: &Action) -> Result<String, FenceFailure> {
        Err(FenceFailure::Invalid(format!("{action} cannot be done yet")))
    }
}
