//! The life cycle of a device. States and transitions: [`LIFECYCLE.md`](../LIFECYCLE.md).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where a device is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Declared, and not yet seen.
    Registered,
    /// Seen within the last days.
    #[default]
    Active,
    /// Not seen for as many days as are configured.
    Dormant,
    /// Taken out of service by an operator: refused.
    Retired,
    /// Missing or stolen, says an operator: refused, and reported when it appears.
    Lost,
}

/// Every state, in the order of a life.
pub const STATES: [State; 5] =
    [State::Registered, State::Active, State::Dormant, State::Retired, State::Lost];

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Registered => "registered",
            State::Active => "active",
            State::Dormant => "dormant",
            State::Retired => "retired",
            State::Lost => "lost",
        }
    }

    /// Whether such a device is refused.
    pub fn is_refused(self) -> bool {
        matches!(self, State::Retired | State::Lost)
    }

    /// The state after an operator asked for `to`, of a device that `was_seen` or not.
    ///
    /// # Errors
    ///
    /// The hint for the operator, where the life cycle does not lead there.
    pub(crate) fn ordered(self, to: State, was_seen: bool) -> Result<State, &'static str> {
        match (self, to) {
            (from, to) if from == to => Ok(from),
            // Out of service, from wherever it is.
            (_, State::Retired | State::Lost) => Ok(to),
            // Back into service: what was never seen is registered again; the rest proves itself by connecting.
            (State::Retired | State::Lost, State::Registered | State::Active) => {
                Ok(if was_seen { State::Dormant } else { State::Registered })
            }
            (State::Retired | State::Lost, State::Dormant) => Err(": reinstate it as registered or active"),
            _ => Err(": only a device itself becomes active, and only time makes it dormant"),
        }
    }

    /// The state after the device was seen.
    pub(crate) fn seen(self) -> State {
        match self {
            // Refused before it gets here; a live session is closed by the order that retired it.
            State::Retired | State::Lost => self,
            State::Registered | State::Active | State::Dormant => State::Active,
        }
    }

    /// The state after `idle_s` seconds without a sight.
    pub(crate) fn aged(self, idle_s: u32, dormant_after_s: u32) -> State {
        match self {
            State::Active if idle_s > dormant_after_s => State::Dormant,
            other => other,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = String;

    fn from_str(text: &str) -> Result<State, String> {
        STATES
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("{text:?} is none of registered, active, dormant, retired, lost"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_retires_and_reinstates_and_nothing_else() {
        for from in STATES {
            assert_eq!(from.ordered(State::Retired, true), Ok(State::Retired));
            assert_eq!(from.ordered(State::Lost, true), Ok(State::Lost));
        }
        assert_eq!(State::Retired.ordered(State::Active, true), Ok(State::Dormant));
        assert_eq!(State::Lost.ordered(State::Registered, false), Ok(State::Registered));
        assert!(State::Registered.ordered(State::Active, false).is_err());
        assert!(State::Active.ordered(State::Dormant, true).is_err());
        assert!(State::Retired.ordered(State::Dormant, true).is_err());
    }

    #[test]
    fn sight_wakes_and_time_puts_to_sleep() {
        assert_eq!(State::Dormant.seen(), State::Active);
        assert_eq!(State::Retired.seen(), State::Retired);
        assert_eq!(State::Active.aged(10, 10), State::Active);
        assert_eq!(State::Active.aged(11, 10), State::Dormant);
        assert_eq!(State::Registered.aged(1_000, 10), State::Registered);
    }
}
