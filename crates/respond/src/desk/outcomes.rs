//! How jobs went, what time ends, and what goes on after a restart.

use super::{Desk, EFFECT_BYTES_MAX, Outcome, at_most};
use crate::action::Action;
use crate::order::{Ending, Order, State};
use ravelin_event::Event;

/// Who ends what nobody ended.
const NODE: &str = "ravelin";

impl Desk {
    /// Takes what became of the job about an order.
    pub fn handle_outcome(&mut self, at_ms: u64, id: u64, outcome: Outcome) {
        let Some(order) = self.orders.get_mut(&id).filter(|order| order.at_work) else { return };
        order.at_work = false;
        match outcome {
            Outcome::Done { effective_ms, took_us, effect, warning } => {
                self.done(id, effective_ms, took_us, effect, warning);
            }
            Outcome::Failed(error) => self.failed(at_ms, id, error),
            Outcome::Undone => return self.ended(at_ms, id),
            Outcome::NotUndone(error) => {
                let retry_ms = at_ms.saturating_add(self.settings.retry_ms);
                self.change(id, |order| {
                    order.error = Some(at_most(error, EFFECT_BYTES_MAX));
                    order.retry_ms = Some(retry_ms);
                });
                return;
            }
        }
        // Somebody wanted it back while it was being done.
        if self.orders.get(&id).is_some_and(|order| order.state == State::InForce) {
            self.take_back(id);
        }
    }

    /// Notes what an order found that is put back when it ends. It is stored before the order is carried out: after that
    /// nobody could tell any more.
    pub fn handle_found(&mut self, id: u64, prior: String) {
        let known = self.orders.get(&id).is_some_and(|order| order.at_work && order.prior.is_none());
        if known && prior.len() <= EFFECT_BYTES_MAX {
            self.change(id, |order| order.prior = Some(prior));
        }
    }

    fn done(&mut self, id: u64, effective_ms: u64, took_us: u64, effect: String, warning: Option<String>) {
        let Some(order) = self.orders.get(&id) else { return };
        let first = order.state == State::Running && order.effective_ms.is_none();
        self.change(id, |order| {
            order.state = if order.action.has_undo() { State::InForce } else { State::Done };
            if first {
                order.effective_ms = Some(effective_ms);
                order.took_us = Some(took_us);
                order.effect = Some(at_most(effect, EFFECT_BYTES_MAX));
            }
            order.error = warning.map(|warning| at_most(warning, EFFECT_BYTES_MAX));
            if order.state == State::Done {
                order.ended_ms = Some(effective_ms);
            }
        });
        if first && let Some(order) = self.orders.get(&id) {
            self.events.push_back(Event::ActionTaken {
                order: id,
                action: order.action.name(),
                subject: order.action.subject(),
                by: order.by.to_string(),
                alarm: order.alarm.map(|alarm| alarm.id),
                effect: order.effect.clone().unwrap_or_default(),
                took_us,
                until_ms: order.until_ms,
            });
        }
    }

    fn failed(&mut self, at_ms: u64, id: u64, error: String) {
        let Some(order) = self.orders.get(&id) else { return };
        let error = at_most(error, EFFECT_BYTES_MAX);
        self.events.push_back(Event::ActionFailed {
            order: id,
            action: order.action.name(),
            subject: order.action.subject(),
            error: error.clone(),
        });
        let was_in_force = order.effective_ms.is_some();
        let retry_ms = at_ms.saturating_add(self.settings.retry_ms);
        self.change(id, |order| {
            order.error = Some(error);
            if was_in_force {
                // It is owed until it ends: after a restart, it is tried again.
                order.state = State::InForce;
                order.retry_ms = Some(retry_ms).filter(|_| order.ending.is_none());
            } else {
                order.state = State::Failed;
                order.ended_ms = Some(at_ms);
            }
        });
    }

    /// It has ended, and nothing of it is in force.
    pub(super) fn ended(&mut self, at_ms: u64, id: u64) {
        self.change(id, |order| {
            order.state = order.ending.as_ref().map_or(State::Undone, |ending| ending.into);
            order.ended_ms = Some(at_ms);
            order.retry_ms = None;
        });
        let Some(order) = self.orders.get(&id) else { return };
        self.events.push_back(Event::ActionEnded {
            order: id,
            action: order.action.name(),
            subject: order.action.subject(),
            by: order.ending.as_ref().map_or(NODE, |ending| &ending.by).into(),
            why: order.state.name(),
        });
    }

    /// Ends what is over, and tries again what has failed. Call it at [`Desk::wake_ms`], or oftener.
    pub fn handle_tick(&mut self, at_ms: u64) {
        let due: Vec<u64> =
            self.live().filter(|order| self.is_due(order, at_ms)).map(|order| order.id).collect();
        for id in due {
            let Some(order) = self.orders.get(&id) else { continue };
            if order.state == State::Proposed {
                self.refuse(at_ms, id, NODE.into(), "nobody approved it in time".into());
            } else if order.ending.is_some() {
                self.take_back(id);
            } else if order.until_ms.is_some_and(|until_ms| until_ms <= at_ms) {
                self.expire(id);
            } else {
                self.start(id, true);
            }
        }
    }

    fn is_due(&self, order: &Order, at_ms: u64) -> bool {
        match order.state {
            State::Proposed => at_ms >= order.requested_ms.saturating_add(self.settings.proposal_ms),
            _ if order.at_work => false,
            _ => {
                let over = order.ending.is_none() && order.until_ms.is_some_and(|until_ms| until_ms <= at_ms);
                over || order.retry_ms.is_some_and(|retry_ms| retry_ms <= at_ms)
            }
        }
    }

    fn expire(&mut self, id: u64) {
        let ending = Ending { into: State::Expired, by: NODE.into(), why: "its time is over".into() };
        self.end(id, ending);
    }

    /// After all records were restored: what was in force is put into force again, what is over is taken back, and what
    /// was being done is done.
    pub fn resume(&mut self, at_ms: u64) {
        self.recount();
        let live: Vec<u64> = self.live.iter().copied().collect();
        for id in live {
            let Some(order) = self.orders.get(&id) else { continue };
            match (order.state, &order.action) {
                (State::Proposed, _) => {}
                (State::Running, Action::StopNode {}) => self.change(id, |order| {
                    order.state = State::Done;
                    order.effective_ms = Some(order.approved_ms.unwrap_or(at_ms));
                    order.ended_ms = Some(at_ms);
                    order.effect = Some("the node stopped, and was started again".into());
                }),
                (State::Running, Action::Disconnect { .. }) => {
                    self.failed(
                        at_ms,
                        id,
                        "the node stopped before it was done; everybody was disconnected".into(),
                    );
                }
                _ if order.ending.is_some() => self.take_back(id),
                _ if order.until_ms.is_some_and(|until_ms| until_ms <= at_ms) => self.expire(id),
                (state, _) => self.start(id, state == State::InForce),
            }
        }
    }

    /// What playbooks have spent of their bounds is in their orders. How many clients each met is not: one is counted.
    fn recount(&mut self) {
        for order in self.orders.values() {
            let Some(name) =
                order.playbook.as_ref().filter(|_| order.needs == 0 && order.approved_ms.is_some())
            else {
                continue;
            };
            self.automatic.spend(order.requested_ms, 1);
            if let Some(running) = self.playbooks.iter_mut().find(|one| one.playbook.name == *name) {
                running.spent.spend(order.requested_ms, 1);
            }
        }
    }
}
