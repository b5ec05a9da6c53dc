//! One order: an action, who wants it and who agrees, how long it lasts, and the times that later are evidence.

use crate::action::Action;
use ravelin_event::Alarm;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for approval.
    Proposed,
    /// It is being carried out.
    Running,
    /// It is in force.
    InForce,
    /// It was carried out, and nothing of it stays that could end.
    Done,
    /// It was taken back.
    Undone,
    /// Its time was over, and it was taken back.
    Expired,
    /// It was refused: by somebody, by a rule, or because nobody approved it in time.
    Refused,
    /// It could not be carried out.
    Failed,
}

impl State {
    /// All of them.
    pub const ALL: [State; 8] = [
        State::Proposed,
        State::Running,
        State::InForce,
        State::Done,
        State::Undone,
        State::Expired,
        State::Refused,
        State::Failed,
    ];

    /// The word for it, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Proposed => "proposed",
            State::Running => "running",
            State::InForce => "in_force",
            State::Done => "done",
            State::Undone => "undone",
            State::Expired => "expired",
            State::Refused => "refused",
            State::Failed => "failed",
        }
    }

    /// Whether something of it is to come.
    pub fn is_live(self) -> bool {
        matches!(self, State::Proposed | State::Running | State::InForce)
    }
}

/// Somebody's agreement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub by: Arc<str>,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// The alarm that an order answers, and its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmTimes {
    /// Its number.
    pub id: u64,
    /// The first event that counts.
    pub first_ms: u64,
    /// When it was raised.
    pub raised_ms: u64,
}

impl AlarmTimes {
    /// The times of an alarm.
    pub fn of(alarm: &Alarm) -> AlarmTimes {
        AlarmTimes { id: alarm.id, first_ms: alarm.first_ms, raised_ms: alarm.raised_ms }
    }
}

/// Why an order ends, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// [`State::Undone`] or [`State::Expired`].
    pub into: State,
    /// Who ends it.
    pub by: Arc<str>,
    /// Why.
    pub why: String,
}

/// An order. Its JSON is its record in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number; rises with each.
    pub id: u64,
    /// What is done.
    pub action: Action,
    /// How it is.
    pub state: State,
    /// Who ordered it: a name, or `playbook:NAME`.
    pub by: Arc<str>,
    /// The playbook, if one did.
    #[serde(default)]
    pub playbook: Option<Arc<str>>,
    /// The alarm that it answers.
    #[serde(default)]
    pub alarm: Option<AlarmTimes>,
    /// Why.
    pub why: String,
    /// Whether somebody has said that it may cut off clients that are never to be cut off.
    #[serde(default)]
    pub override_never_cut: bool,
    /// How many people must stand behind it.
    pub needs: u8,
    /// Who does; whoever ordered it by hand comes first.
    #[serde(default)]
    pub approvals: Vec<Approval>,
    /// When it was ordered, in milliseconds since the Unix epoch.
    pub requested_ms: u64,
    /// When the last approval that it needed came.
    #[serde(default)]
    pub approved_ms: Option<u64>,
    /// When it was in force.
    #[serde(default)]
    pub effective_ms: Option<u64>,
    /// For how long, in seconds; `None`: until it is lifted, or it is momentary.
    #[serde(default)]
    pub time_s: Option<u64>,
    /// Until when.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// When it had ended.
    #[serde(default)]
    pub ended_ms: Option<u64>,
    /// Who ended it, and why.
    #[serde(default)]
    pub ending: Option<Ending>,
    /// Microseconds from the order, or the last approval, until it was in force.
    #[serde(default)]
    pub took_us: Option<u64>,
    /// What it met.
    #[serde(default)]
    pub effect: Option<String>,
    /// What went wrong.
    #[serde(default)]
    pub error: Option<String>,
    /// What was there before and is put back at the end; whoever carries out orders knows what it means.
    #[serde(default)]
    pub prior: Option<String>,
    /// How often the same was ordered while it was in force.
    #[serde(default)]
    pub refreshed: u32,
    /// A job of it is with whoever carries it out. Not stored: after a restart it is handed out again.
    #[serde(skip)]
    pub(crate) at_work: bool,
    /// When what failed is tried again.
    #[serde(skip)]
    pub(crate) retry_ms: Option<u64>,
}

/// An order as it is shown. `detect_ms`, `contain_ms` and `recover_ms` are the times to detect, contain and recover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderView {
    /// Its number.
    pub id: u64,
    /// What is done.
    pub action: Action,
    /// Whom or what it meets.
    pub subject: String,
    /// How it is.
    pub state: State,
    /// Who ordered it.
    pub by: String,
    /// The playbook, if one did.
    pub playbook: Option<String>,
    /// The alarm that it answers.
    pub alarm: Option<u64>,
    /// Why.
    pub why: String,
    /// How many people must stand behind it.
    pub needs: u8,
    /// Who does.
    pub approvals: Vec<Approval>,
    /// How it is taken back, in words.
    pub undo: String,
    /// When it was ordered, in milliseconds since the Unix epoch.
    pub requested_ms: u64,
    /// When it was approved.
    pub approved_ms: Option<u64>,
    /// When it was in force.
    pub effective_ms: Option<u64>,
    /// Until when.
    pub until_ms: Option<u64>,
    /// When it had ended.
    pub ended_ms: Option<u64>,
    /// Who ended it.
    pub ended_by: Option<String>,
    /// Why it ended.
    pub ended_why: Option<String>,
    /// Microseconds from the order, or the last approval, until it was in force.
    pub took_us: Option<u64>,
    /// What it met.
    pub effect: Option<String>,
    /// What went wrong.
    pub error: Option<String>,
    /// How often the same was ordered while it was in force.
    pub refreshed: u32,
    /// From the first event of the alarm until it was raised.
    pub detect_ms: Option<u64>,
    /// From the alarm until the order was in force.
    pub contain_ms: Option<u64>,
    /// From when it was in force until it had ended.
    pub recover_ms: Option<u64>,
}

impl Order {
    /// As it is shown.
    pub fn view(&self) -> OrderView {
        let alarm = self.alarm.as_ref();
        let ending = self.ending.as_ref();
        OrderView {
            id: self.id,
            subject: self.action.subject(),
            undo: self.action.undo_text().into(),
            action: self.action.clone(),
            state: self.state,
            by: self.by.to_string(),
            playbook: self.playbook.as_ref().map(ToString::to_string),
            alarm: alarm.map(|alarm| alarm.id),
            why: self.why.clone(),
            needs: self.needs,
            approvals: self.approvals.clone(),
            requested_ms: self.requested_ms,
            approved_ms: self.approved_ms,
            effective_ms: self.effective_ms,
            until_ms: self.until_ms,
            ended_ms: self.ended_ms,
            ended_by: ending.map(|ending| ending.by.to_string()),
            ended_why: ending.map(|ending| ending.why.clone()),
            took_us: self.took_us,
            effect: self.effect.clone(),
            error: self.error.clone(),
            refreshed: self.refreshed,
            detect_ms: alarm.map(|alarm| alarm.raised_ms.saturating_sub(alarm.first_ms)),
            contain_ms: alarm
                .zip(self.effective_ms)
                .map(|(alarm, effective_ms)| effective_ms.saturating_sub(alarm.raised_ms)),
            recover_ms: self
                .effective_ms
                .zip(self.ended_ms)
                .filter(|_| matches!(self.state, State::Undone | State::Expired))
                .map(|(effective_ms, ended_ms)| ended_ms.saturating_sub(effective_ms)),
        }
    }

    /// Whether it is in force and nothing has begun to end it.
    pub fn holds(&self) -> bool {
        matches!(self.state, State::Running | State::InForce) && self.ending.is_none()
    }

    /// Whether it is with whoever carries it out.
    pub fn is_at_work(&self) -> bool {
        self.at_work
    }

    /// How many of the approvals that it needs are missing.
    pub fn missing(&self) -> u8 {
        self.needs.saturating_sub(u8::try_from(self.approvals.len()).unwrap_or(u8::MAX))
    }
}
