//! What is taken from clients for a time: frozen topics, quarantine, throttles, posture, trust.

use super::Control;
use ravelin_respond::Action;
use std::sync::Arc;

/// Why a restriction was not made or not lifted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestrictFailure {
    /// It cannot be, and what to do about it.
    #[error("{0}")]
    Invalid(String),
}

impl Control {
    /// Whether rules must not cut this client off.
    pub fn is_never_cut(&self, _client_id: &str) -> bool {
        false
    }

    /// Puts `action` (freeze, quarantine, throttle, posture) into force as order `order`; says what it met. Called again
    /// with the same order, as after a restart, it changes nothing.
    pub(crate) fn blocking_restrict(&self, _order: u64, action: &Action) -> Result<String, RestrictFailure> {
        Err(RestrictFailure::Invalid(format!("{action} cannot be done yet")))
    }

    /// Takes back what the order has put into force; says what that met.
    pub(crate) fn blocking_lift(&self, _order: u64, action: &Action) -> Result<String, RestrictFailure> {
        Err(RestrictFailure::Invalid(format!("{action} cannot be done yet")))
    }

    /// Clients' trust has changed: rules that go by it are asked again. Trust restricts, it never grants.
    pub(crate) fn trust_changed(&self, _scores: &[(Arc<str>, u8)]) {}
}
