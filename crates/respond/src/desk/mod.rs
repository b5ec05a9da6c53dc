//! Where orders are taken, approved, carried out and ended.

mod alarms;
mod outcomes;
mod people;

use crate::action::{Action, Posture};
use crate::error::Error;
use crate::order::{AlarmTimes, Ending, Order, State};
use crate::playbook::{Playbook, PlaybookFigures, Running, Spent, Step};
use crate::policy::Settings;
use ravelin_event::{Alarm, Event};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Longest reason, in characters.
const WHY_CHARS_MAX: usize = 512;
/// Longest account of what an order met, and of what it found and puts back, in bytes.
const EFFECT_BYTES_MAX: usize = 4096;
const KEY: &str = "order/";

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub action: Action,
    /// For how long, in seconds; `None`: as the action's policy has it.
    pub time_s: Option<u64>,
    /// Until it is lifted, where that is allowed.
    pub until_lifted: bool,
    /// Why.
    pub why: String,
    /// The alarm that it answers.
    pub alarm: Option<u64>,
    /// It may cut off clients that are never to be cut off.
    pub override_never_cut: bool,
}

/// What is so at the moment, as far as an action is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Clients among those it meets that must never be cut off; a few of them are enough.
    pub never_cut: Vec<Arc<str>>,
    /// Connected clients that it meets.
    pub clients: u32,
    /// Connected clients in all.
    pub connected: u32,
}

/// What a request would come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    /// The action in its one form.
    pub action: Action,
    /// How many people must stand behind it.
    pub needs: u8,
    /// For how long, in seconds.
    pub time_s: Option<u64>,
    /// The order that is in force, or waits, and would be refreshed instead.
    pub refreshes: Option<u64>,
}

/// What a playbook wants to do about an alarm.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The playbook.
    pub playbook: Arc<Playbook>,
    /// What is to be done.
    pub action: Action,
    /// For how long.
    pub time_s: Option<u64>,
    /// The alarm.
    pub alarm: Arc<Alarm>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The playbook only observes.
    Observed,
    /// An order was made, or one of the same refreshed.
    Ordered(u64),
    /// It may not be done.
    Refused(String),
}

/// Something to carry out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Put it into force. Of an order that is in force already, `again`: after a restart, or for longer.
    Do {
        /// The order.
        order: u64,
        /// What to do.
        action: Action,
        /// Who ordered it.
        by: Arc<str>,
        /// Why.
        why: String,
        /// Until when, in milliseconds since the Unix epoch.
        until_ms: Option<u64>,
        /// It is in force already, or was before the restart.
        again: bool,
        /// What the order found when it was first put into force.
        prior: Option<String>,
    },
    /// Take it back.
    Undo {
        /// The order.
        order: u64,
        /// What was done.
        action: Action,
        /// Who ends it.
        by: Arc<str>,
        /// What was there before.
        prior: Option<String>,
    },
}

/// How a job went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in force, or done.
    Done {
        /// Since when, in milliseconds since the Unix epoch.
        effective_ms: u64,
        /// Microseconds from the order, or the last approval, to that.
        took_us: u64,
        /// What it met.
        effect: String,
        /// What went wrong all the same.
        warning: Option<String>,
    },
    /// It is not in force, and nothing of it stays.
    Failed(String),
    /// It is taken back.
    Undone,
    /// It could not be taken back; it is tried again.
    NotUndone(String),
}

/// A record to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its key.
    pub key: String,
    /// Its value; `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// How full the desk is, and what it has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeskFigures {
    /// Orders that are kept, by action and state.
    pub orders: BTreeMap<(&'static str, State), u64>,
    /// Orders of playbooks that were refused because too many waited.
    pub overflowed: u64,
}

/// Takes orders and keeps them until they have ended, and then as long as there is room.
#[derive(Debug)]
pub struct Desk {
    settings: Settings,
    orders: BTreeMap<u64, Order>,
    live: BTreeSet<u64>,
    next: u64,
    playbooks: Vec<Running>,
    /// What all playbooks did by themselves.
    automatic: Spent,
    /// Times of alarms, oldest number first.
    alarms: BTreeMap<u64, AlarmTimes>,
    overflowed: u64,
    jobs: VecDeque<Job>,
    events: VecDeque<Event>,
    writes: VecDeque<Write>,
}

impl Desk {
    /// A desk without orders.
    pub fn new(settings: Settings, playbooks: Vec<Playbook>) -> Desk {
        Desk {
            settings,
            orders: BTreeMap::new(),
            live: BTreeSet::new(),
            next: 1,
            playbooks: playbooks.into_iter().map(Running::new).collect(),
            automatic: Spent::default(),
            alarms: BTreeMap::new(),
            overflowed: 0,
            jobs: VecDeque::new(),
            events: VecDeque::new(),
            writes: VecDeque::new(),
        }
    }

    /// Goes by other rules from now on. What is in force stays as it was ordered; a playbook that has not changed goes on
    /// from what it has spent.
    pub fn configure(&mut self, settings: Settings, playbooks: Vec<Playbook>) {
        self.settings = settings;
        let mut before = std::mem::take(&mut self.playbooks);
        self.playbooks = playbooks
            .into_iter()
            .map(|playbook| match before.iter().position(|one| one.playbook.name == playbook.name) {
                Some(at) => {
                    let mut running = before.swap_remove(at);
                    running.playbook = Arc::new(playbook);
                    running
                }
                None => Running::new(playbook),
            })
            .collect();
    }

    /// The rules.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// An order.
    pub fn order(&self, id: u64) -> Option<&Order> {
        self.orders.get(&id)
    }

    /// Every order that is kept, newest first.
    pub fn orders(&self) -> impl DoubleEndedIterator<Item = &Order> {
        self.orders.values().rev()
    }

    /// The playbooks, and what each has done.
    pub fn playbooks(&self) -> impl Iterator<Item = (&Playbook, &PlaybookFigures)> {
        self.playbooks.iter().map(|one| (&*one.playbook, &one.figures))
    }

    /// How strict the node is: the strictest posture that is in force.
    pub fn posture(&self) -> Posture {
        let levels =
            self.live().filter(|order| order.state == State::InForce).filter_map(|order| {
                match order.action {
                    Action::Posture { level } => Some(level),
                    _ => None,
                }
            });
        levels.max().unwrap_or_default()
    }

    /// How full it is. Walks all orders that are kept.
    pub fn figures(&self) -> DeskFigures {
        let mut figures = DeskFigures { overflowed: self.overflowed, ..DeskFigures::default() };
        for order in self.orders.values() {
            *figures.orders.entry((order.action.name(), order.state)).or_default() += 1;
        }
        figures
    }

    /// The next thing to carry out. Jobs about one action are to be carried out in this order.
    pub fn poll_job(&mut self) -> Option<Job> {
        self.jobs.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The next record to be stored. It must be given to the store before a job is carried out that was polled later.
    pub fn poll_write(&mut self) -> Option<Write> {
        self.writes.pop_front()
    }

    /// When there is something to do at the latest.
    pub fn wake_ms(&self) -> Option<u64> {
        let wakes = self.live().flat_map(|order| match order.state {
            State::Proposed => [Some(order.requested_ms.saturating_add(self.settings.proposal_ms)), None],
            _ => [order.until_ms.filter(|_| order.ending.is_none()), order.retry_ms],
        });
        wakes.flatten().min()
    }

    /// Takes up a record that was stored.
    ///
    /// # Errors
    /// If it cannot be understood; nothing has changed then.
    pub fn restore(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        let wrong = |what: String| Error::Record { key: key.escape_debug().to_string(), what };
        let id = key.strip_prefix(KEY).and_then(|id| id.parse::<u64>().ok());
        let id = id.ok_or_else(|| wrong("its key is no order's".into()))?;
        let order: Order = serde_json::from_slice(value).map_err(|error| wrong(error.to_string()))?;
        if order.id != id {
            return Err(wrong(format!("it is about order {}", order.id)));
        }
        self.next = self.next.max(id.saturating_add(1));
        if order.state.is_live() {
            self.live.insert(id);
        }
        self.orders.insert(id, order);
        Ok(())
    }

    /// Every record, for a checkpoint.
    pub fn dump(&self, mut write: impl FnMut(&str, &[u8])) {
        for order in self.orders.values() {
            write(&key_of(order.id), &to_json(order));
        }
    }

    /// What restricts clients and is to be put into force again: order and action.
    pub fn restrictions(&self) -> Vec<(u64, Action)> {
        let restricts = |action: &Action| {
            let raised = matches!(action, Action::Posture { level } if *level != Posture::Normal);
            raised
                || matches!(
                    action,
                    Action::Freeze { .. } | Action::Quarantine { .. } | Action::Throttle { .. }
                )
        };
        let held = self.live().filter(|order| order.holds() && restricts(&order.action));
        held.map(|order| (order.id, order.action.clone())).collect()
    }

    /// Whether a playbook names the certificate of a client.
    pub fn wants_certificate(&self) -> bool {
        self.playbooks.iter().any(|one| one.playbook.steps.iter().any(Step::wants_certificate))
    }

    fn live(&self) -> impl Iterator<Item = &Order> {
        self.live.iter().filter_map(|id| self.orders.get(id))
    }

    fn known(&self, id: u64) -> Result<&Order, Error> {
        self.orders.get(&id).ok_or(Error::Unknown(id))
    }

    /// Changes an order, and has it stored.
    fn change(&mut self, id: u64, change: impl FnOnce(&mut Order)) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        change(order);
        if order.state.is_live() {
            self.live.insert(id);
        } else {
            self.live.remove(&id);
        }
        let value = Some(to_json(order));
        self.writes.push_back(Write { key: key_of(id), value });
    }

    /// Takes in a new order, and forgets the oldest that has ended if there is no room.
    fn insert(&mut self, mut order: Order) -> u64 {
        let id = self.next;
        self.next += 1;
        order.id = id;
        while self.orders.len() >= self.settings.limits.kept_max.max(1) {
            let oldest = self.orders.values().find(|order| !order.state.is_live()).map(|order| order.id);
            let Some(oldest) = oldest else { break };
            self.orders.remove(&oldest);
            self.writes.push_back(Write { key: key_of(oldest), value: None });
        }
        self.orders.insert(id, order);
        self.change(id, |_| {});
        id
    }

    /// Hands an order out to be carried out.
    fn start(&mut self, id: u64, again: bool) {
        self.change(id, |order| {
            if !again {
                order.state = State::Running;
            }
            order.at_work = true;
            order.retry_ms = None;
        });
        let Some(order) = self.orders.get(&id) else { return };
        self.jobs.push_back(Job::Do {
            order: id,
            action: order.action.clone(),
            by: Arc::clone(&order.by),
            why: order.why.clone(),
            until_ms: order.until_ms,
            again,
            prior: order.prior.clone(),
        });
    }

    /// Begins to end an order that is in force; one that is at work is ended as soon as that is over.
    fn end(&mut self, id: u64, ending: Ending) {
        self.change(id, |order| order.ending = Some(ending));
        self.take_back(id);
    }

    fn take_back(&mut self, id: u64) {
        let Some(order) = self.orders.get_mut(&id) else { return };
        let Some(ending) = order.ending.clone().filter(|_| !order.at_work) else { return };
        order.at_work = true;
        order.retry_ms = None;
        self.jobs.push_back(Job::Undo {
            order: id,
            action: order.action.clone(),
            by: ending.by,
            prior: order.prior.clone(),
        });
    }

    fn refuse(&mut self, at_ms: u64, id: u64, by: Arc<str>, why: String) {
        let ending = Ending { into: State::Refused, by, why };
        self.change(id, |order| {
            order.state = State::Refused;
            order.ended_ms = Some(at_ms);
            order.ending = Some(ending);
        });
        let Some(order) = self.orders.get(&id) else { return };
        let Some(ending) = &order.ending else { return };
        self.events.push_back(Event::ActionRefused {
            order: id,
            action: order.action.name(),
            subject: order.action.subject(),
            by: ending.by.to_string(),
            why: ending.why.clone(),
        });
    }

    fn propose(&mut self, id: u64) {
        let Some(order) = self.orders.get(&id) else { return };
        self.events.push_back(Event::ActionProposed {
            order: id,
            action: order.action.name(),
            subject: order.action.subject(),
            by: order.by.to_string(),
            alarm: order.alarm.map(|alarm| alarm.id),
            approvals: order.missing(),
            why: order.why.clone(),
        });
    }
}

fn key_of(id: u64) -> String {
    // With zeros in front, the records of a store are in the order of their numbers.
    format!("{KEY}{id:020}")
}

fn to_json(order: &Order) -> Vec<u8> {
    serde_json::to_vec(order).unwrap_or_default()
}

/// A reason without what could drive a terminal, and not longer than is read.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(WHY_CHARS_MAX).collect()
}

/// At most so many bytes of a text, whole characters.
fn at_most(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
