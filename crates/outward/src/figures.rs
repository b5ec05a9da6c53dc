//! How a destination is doing, for whoever asks.

use serde::Serialize;

/// What a destination does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing waits.
    #[default]
    Idle,
    /// It is being sent to.
    Sending,
    /// The last attempt has failed; the next comes after a pause.
    Retrying,
}

impl State {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            State::Idle => "idle",
            State::Sending => "sending",
            State::Retrying => "retrying",
        }
    }
}

/// How a destination is doing.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DestinationView {
    /// Its name.
    pub name: String,
    /// `webhook`, `syslog`, `fail2ban`, `file`, `mqtt`.
    pub kind: &'static str,
    /// Where it is, without anything secret.
    pub target: String,
    /// What it does.
    pub state: State,
    /// Entries that wait.
    pub waiting: u64,
    /// Their bytes.
    pub waiting_bytes: u64,
    /// Entries that have arrived.
    pub sent: u64,
    /// Attempts that have failed.
    pub failed: u64,
    /// Entries that were dropped because there was no room.
    pub dropped: u64,
    /// Entries that the destination refuses for good.
    pub refused: u64,
    /// How long the oldest entry has waited, in milliseconds.
    pub oldest_ms: u64,
    /// When something arrived last, in milliseconds since the Unix epoch.
    pub last_sent_ms: Option<u64>,
    /// Why the last attempt has failed; `None` once one did not.
    pub error: Option<String>,
}

/// What a destination counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub state: State,
    pub sent: u64,
    pub failed: u64,
    pub dropped: u64,
    /// Dropped, and the destination was not told yet.
    pub untold: u64,
    pub refused: u64,
    /// Up to this number everything has arrived, was dropped or is refused.
    pub through: u64,
    pub last_sent_ms: Option<u64>,
    pub failing_since_ms: Option<u64>,
    pub error: Option<String>,
}
