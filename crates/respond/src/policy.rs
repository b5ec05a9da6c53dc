//! What an action takes: who may order it, how many must approve, and for how long it may be in force.

use crate::action::{Action, ActionKind};
use std::fmt;
use std::sync::Arc;

/// What somebody may do. Each includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// See.
    Viewer,
    /// Act on clients.
    Operator,
    /// Change who may do what, and the node.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        })
    }
}

/// A person who orders or approves. Two people are two names: who has two names can be both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The identity, or the name of the token.
    pub name: Arc<str>,
    /// What it may do.
    pub role: Role,
}

/// What one action takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How many people must stand behind it, whoever orders it being one. 0: a rule may act by itself.
    pub approvals: u8,
    /// Who may order it.
    pub ordered_by: Role,
    /// Who may approve it.
    pub approved_by: Role,
    /// For how long it is in force unless told otherwise, in seconds; `None`: until it is lifted, or it is momentary.
    pub time_s: Option<u64>,
    /// For how long at most, in seconds.
    pub time_max_s: u64,
    /// Whether it may be in force until it is lifted.
    pub until_lifted: bool,
}

/// Approvals that an action takes at most.
pub const APPROVALS_MAX: u8 = 5;

const HOUR: u64 = 3600;
const DAY: u64 = 86_400;

impl Policy {
    /// What an action takes unless it is configured.
    pub const fn of(kind: ActionKind) -> Policy {
        let (approvals, time_s, time_max_s, until_lifted) = match kind {
            ActionKind::Disconnect => (0, None, 0, false),
            ActionKind::Ban | ActionKind::Quarantine => (0, Some(HOUR), 30 * DAY, true),
            ActionKind::RevokeCertificate => (1, None, 0, false),
            ActionKind::RevokeCredential => (1, None, 365 * DAY, true),
            ActionKind::Freeze => (1, Some(HOUR / 4), DAY, false),
            ActionKind::Throttle | ActionKind::Posture => (0, Some(HOUR), 7 * DAY, false),
            ActionKind::Firewall => (1, Some(HOUR), DAY, false),
            ActionKind::StopListener => (2, Some(HOUR), 7 * DAY, true),
            ActionKind::StopNode => (2, None, 0, false),
        };
        let approved_by = match kind {
            ActionKind::StopListener | ActionKind::StopNode => Role::Admin,
            _ => Role::Operator,
        };
        Policy { approvals, ordered_by: Role::Operator, approved_by, time_s, time_max_s, until_lifted }
    }

    /// How few approvals may be configured.
    pub const fn approvals_min(kind: ActionKind) -> u8 {
        match kind {
            ActionKind::StopListener | ActionKind::StopNode => 2,
            _ => 0,
        }
    }
}

/// How much is kept and may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Orders that wait, run or are in force.
    pub live_max: usize,
    /// Of those, the ones that wait for approval.
    pub proposed_max: usize,
    /// Orders that are kept in all; the oldest that have ended go first.
    pub kept_max: usize,
    /// What all playbooks together may do by themselves within [`Limits::automatic_window_ms`]; then they ask.
    pub automatic_max: u32,
    /// See there.
    pub automatic_window_ms: u64,
    /// Alarms whose times are remembered.
    pub alarms_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            live_max: 1000,
            proposed_max: 200,
            kept_max: 10_000,
            automatic_max: 100,
            automatic_window_ms: 600_000,
            alarms_max: 4096,
        }
    }
}

/// Rules of the desk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    policies: [Policy; ActionKind::ALL.len()],
    /// How long an order waits for approval, in milliseconds.
    pub proposal_ms: u64,
    /// How long after a failure something is tried again, in milliseconds.
    pub retry_ms: u64,
    /// How much is kept and may wait.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            policies: ActionKind::ALL.map(Policy::of),
            proposal_ms: HOUR * 1000,
            retry_ms: 10_000,
            limits: Limits::default(),
        }
    }
}

impl Settings {
    /// What an action takes.
    pub fn policy(&self, action: &Action) -> &Policy {
        &self.policies[action.kind() as usize]
    }

    /// Changes what an action takes. What always takes two people still does.
    pub fn set_policy(&mut self, kind: ActionKind, policy: Policy) {
        let approvals = policy.approvals.clamp(Policy::approvals_min(kind), APPROVALS_MAX);
        self.policies[kind as usize] = Policy { approvals, ..policy };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stops_a_node_takes_two_people_whatever_is_configured() {
        let mut settings = Settings::default();
        for kind in ActionKind::ALL {
            settings.set_policy(kind, Policy { approvals: 0, ..Policy::of(kind) });
        }
        assert_eq!(settings.policy(&Action::StopNode {}).approvals, 2);
        assert_eq!(settings.policy(&Action::StopListener { listener: "a".into() }).approvals, 2);
        assert_eq!(settings.policy(&Action::Firewall { network: "::/64".into() }).approvals, 0);
    }

    #[test]
    fn a_default_time_is_within_its_maximum() {
        for kind in ActionKind::ALL {
            let policy = Policy::of(kind);
            assert!(policy.time_s.is_none_or(|time_s| time_s <= policy.time_max_s), "{kind:?}");
        }
    }
}
