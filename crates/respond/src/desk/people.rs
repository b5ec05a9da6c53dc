//! What people do: order, approve, refuse, take back.

use super::{Desk, Error, Facts, Preview, Request, plain};
use crate::action::{Action, Posture};
use crate::order::{Approval, Ending, Order, State};
use crate::policy::{Person, Policy, Role};
use std::sync::Arc;

/// People who must stand behind an order that cuts off who must never be.
const OVERRIDE_APPROVALS: u8 = 2;

impl Desk {
    /// What an order would come to. Changes nothing.
    ///
    /// # Errors
    /// As [`Desk::handle_order`].
    pub fn preview(&self, person: &Person, request: &Request, facts: &Facts) -> Result<Preview, Error> {
        let action = request.action.clone().checked()?;
        let policy = self.settings.policy(&action);
        if person.role < policy.ordered_by {
            return Err(Error::NotAllowed { what: action.name(), needs: policy.ordered_by });
        }
        let time_s = time_of(&action, policy, request.time_s, request.until_lifted)?;
        let mut needs = policy.approvals;
        if action.is_against_clients() && !facts.never_cut.is_empty() && !action.stops() {
            if !request.override_never_cut {
                return Err(Error::NeverCut(facts.never_cut.clone()));
            }
            needs = needs.max(OVERRIDE_APPROVALS);
        }
        let refreshes = self.same(&action)?;
        if refreshes.is_none() {
            self.room()?;
        }
        Ok(Preview { action, needs, time_s, refreshes })
    }

    /// Takes an order; returns its number, or that of the order of the same which is in force already and now lasts as
    /// long as this one would.
    ///
    /// # Errors
    /// If it cannot be meant, is not allowed, meets who must never be cut off, conflicts with another, or finds no room.
    pub fn handle_order(
        &mut self,
        at_ms: u64,
        person: &Person,
        request: Request,
        facts: &Facts,
    ) -> Result<u64, Error> {
        let preview = self.preview(person, &request, facts)?;
        let own = Approval { by: Arc::clone(&person.name), at_ms };
        if let Some(id) = preview.refreshes {
            self.again(at_ms, id, own, preview.needs, preview.time_s);
            return Ok(id);
        }
        let alarm = request.alarm.and_then(|id| self.alarms.get(&id).copied());
        let id = self.insert(Order {
            by: Arc::clone(&person.name),
            alarm,
            why: plain(&request.why),
            override_never_cut: request.override_never_cut && !facts.never_cut.is_empty(),
            needs: preview.needs,
            approvals: vec![own],
            time_s: preview.time_s,
            ..Order::new(at_ms, preview.action)
        });
        self.release_or_propose(at_ms, id);
        Ok(id)
    }

    /// The same was ordered by hand again: whoever did stands behind it if it waits, and it lasts longer if it is in force
    /// and enough people stand behind that.
    fn again(&mut self, at_ms: u64, id: u64, own: Approval, needs: u8, time_s: Option<u64>) {
        let Some(order) = self.orders.get(&id) else { return };
        let known = order.approvals.iter().any(|approval| approval.by == own.by);
        if order.state == State::Proposed {
            let policy = self.settings.policy(&order.action);
            if !known && order.missing() > 0 && policy.approved_by <= Role::Operator {
                self.change(id, |order| order.approvals.push(own));
                self.release_if_approved(at_ms, id);
            }
        } else if needs <= 1 {
            self.refresh(at_ms, id, time_s);
        }
    }

    /// Lets an order in force last as long as one that is made now would.
    pub(super) fn refresh(&mut self, at_ms: u64, id: u64, time_s: Option<u64>) {
        let Some(order) = self.orders.get(&id).filter(|order| order.state == State::InForce) else { return };
        let until_ms = time_s.map(|time_s| at_ms.saturating_add(time_s.saturating_mul(1000)));
        // `None` is until it is lifted: nothing is later.
        let longer = order.until_ms.is_some_and(|before| until_ms.is_none_or(|until_ms| until_ms > before));
        self.change(id, |order| {
            order.refreshed = order.refreshed.saturating_add(1);
            if longer {
                (order.until_ms, order.time_s) = (until_ms, time_s);
            }
        });
        if !longer {
            return;
        }
        if self.orders.get(&id).is_some_and(|order| order.at_work) {
            // What is with whoever carries it out knows the earlier end.
            self.change(id, |order| order.retry_ms = Some(at_ms));
        } else {
            self.start(id, true);
        }
    }

    /// Somebody agrees.
    ///
    /// # Errors
    /// If there is no such order that waits, or whoever agrees may not, or stands behind it already.
    pub fn handle_approval(&mut self, at_ms: u64, person: &Person, id: u64) -> Result<(), Error> {
        let order = self.known(id)?;
        if order.state != State::Proposed {
            return Err(Error::NotProposed { order: id, state: order.state });
        }
        let policy = self.settings.policy(&order.action);
        if person.role < policy.approved_by {
            return Err(Error::NotAllowed { what: "to approve this", needs: policy.approved_by });
        }
        if order.approvals.iter().any(|approval| approval.by == person.name) {
            return Err(Error::SamePerson { order: id, by: Arc::clone(&person.name) });
        }
        let approval = Approval { by: Arc::clone(&person.name), at_ms };
        self.change(id, |order| order.approvals.push(approval));
        self.release_if_approved(at_ms, id);
        Ok(())
    }

    /// Somebody refuses an order that waits.
    ///
    /// # Errors
    /// If there is no such order that waits, or whoever refuses may not.
    pub fn handle_rejection(&mut self, at_ms: u64, person: &Person, id: u64, why: &str) -> Result<(), Error> {
        let order = self.known(id)?;
        if order.state != State::Proposed {
            return Err(Error::NotProposed { order: id, state: order.state });
        }
        self.may_order(person, &order.action)?;
        self.refuse(at_ms, id, Arc::clone(&person.name), plain(why));
        Ok(())
    }

    /// Somebody takes an order back.
    ///
    /// # Errors
    /// If there is no such order that is in force, it is final, or whoever asks may not.
    pub fn handle_undo(&mut self, at_ms: u64, person: &Person, id: u64, why: &str) -> Result<(), Error> {
        let order = self.known(id)?;
        self.may_order(person, &order.action)?;
        match order.state {
            State::Proposed => {
                self.refuse(at_ms, id, Arc::clone(&person.name), plain(why));
                return Ok(());
            }
            State::Running | State::InForce if order.ending.is_some() => return Err(Error::Ending(id)),
            State::Running | State::InForce if order.action.has_undo() => {}
            State::Done | State::Running if !order.action.has_undo() => {
                return Err(Error::Final { action: order.action.name(), why: order.action.undo_text() });
            }
            state => return Err(Error::NotInForce { order: id, state }),
        }
        self.end(id, Ending { into: State::Undone, by: Arc::clone(&person.name), why: plain(why) });
        Ok(())
    }

    /// What an order did was taken back past the desk: a ban was lifted by its own command.
    pub fn handle_lifted(&mut self, at_ms: u64, action: &Action, by: &str) {
        let found = self.live().find(|order| order.holds() && order.action == *action).map(|order| order.id);
        let Some(id) = found else { return };
        let ending = Ending { into: State::Undone, by: by.into(), why: "lifted by its own command".into() };
        self.change(id, |order| order.ending = Some(ending));
        if self.orders.get(&id).is_some_and(|order| !order.at_work) {
            self.ended(at_ms, id);
        }
    }

    fn may_order(&self, person: &Person, action: &Action) -> Result<(), Error> {
        let needs = self.settings.policy(action).ordered_by;
        if person.role < needs { Err(Error::NotAllowed { what: action.name(), needs }) } else { Ok(()) }
    }

    /// The order of the same action that waits or is in force.
    pub(super) fn same(&self, action: &Action) -> Result<Option<u64>, Error> {
        let mut found = None;
        for order in self.live() {
            if order.action == *action {
                if order.ending.is_some() {
                    return Err(Error::Ending(order.id));
                }
                found = Some(order.id);
            } else if let Some(what) =
                conflict(&order.action, action).filter(|_| order.state != State::Proposed)
            {
                return Err(Error::Conflict { order: order.id, what });
            }
        }
        Ok(found)
    }

    pub(super) fn room(&self) -> Result<(), Error> {
        let limits = &self.settings.limits;
        if self.live.len() >= limits.live_max {
            return Err(Error::Full { max: limits.live_max, what: "wait or are in force" });
        }
        let proposed = self.live().filter(|order| order.state == State::Proposed).count();
        if proposed >= limits.proposed_max {
            return Err(Error::Full { max: limits.proposed_max, what: "wait for approval" });
        }
        Ok(())
    }

    pub(super) fn release_or_propose(&mut self, at_ms: u64, id: u64) {
        if !self.release_if_approved(at_ms, id) {
            self.propose(id);
        }
    }

    fn release_if_approved(&mut self, at_ms: u64, id: u64) -> bool {
        if self.orders.get(&id).is_none_or(|order| order.missing() > 0) {
            return false;
        }
        self.change(id, |order| {
            order.approved_ms = Some(at_ms);
            order.until_ms = order.time_s.map(|time_s| at_ms.saturating_add(time_s.saturating_mul(1000)));
        });
        let normal = Action::Posture { level: Posture::Normal };
        if self.orders.get(&id).is_some_and(|order| order.action == normal) {
            self.lower(id);
        }
        self.start(id, false);
        true
    }

    /// Back to normal: every posture that is in force is taken back.
    fn lower(&mut self, by: u64) {
        let who = self.orders.get(&by).map(|order| Arc::clone(&order.by)).unwrap_or_default();
        let raised = self.live().filter(|order| {
            order.id != by && order.holds() && matches!(order.action, Action::Posture { .. })
        });
        let raised: Vec<u64> = raised.map(|order| order.id).collect();
        for id in raised {
            let why = format!("order {by}: back to normal");
            self.end(id, Ending { into: State::Undone, by: Arc::clone(&who), why });
        }
    }
}

impl Order {
    /// An order that nobody stands behind yet. Its number comes with [`Desk::insert`].
    pub(super) fn new(at_ms: u64, action: Action) -> Order {
        Order {
            id: 0,
            action,
            state: State::Proposed,
            by: Arc::default(),
            playbook: None,
            alarm: None,
            why: String::new(),
            override_never_cut: false,
            needs: 0,
            approvals: Vec::new(),
            requested_ms: at_ms,
            approved_ms: None,
            effective_ms: None,
            time_s: None,
            until_ms: None,
            ended_ms: None,
            ending: None,
            took_us: None,
            effect: None,
            error: None,
            prior: None,
            refreshed: 0,
            at_work: false,
            retry_ms: None,
        }
    }
}

/// For how long an action is in force.
pub(super) fn time_of(
    action: &Action,
    policy: &Policy,
    time_s: Option<u64>,
    until_lifted: bool,
) -> Result<Option<u64>, Error> {
    let name = action.name();
    if !action.has_undo() {
        return match time_s {
            None => Ok(None),
            Some(_) => Err(Error::TakesNoTime { action: name, why: action.undo_text() }),
        };
    }
    match time_s {
        _ if until_lifted => {
            if policy.until_lifted {
                Ok(None)
            } else {
                Err(Error::NeedsTime { action: name })
            }
        }
        Some(0) => Err(Error::NeedsTime { action: name }),
        Some(time_s) if time_s > policy.time_max_s => {
            Err(Error::TooLong { action: name, max_s: policy.time_max_s })
        }
        Some(time_s) => Ok(Some(time_s)),
        None => Ok(policy.time_s),
    }
}

/// What of `before` is in the way of `wanted`.
fn conflict(before: &Action, wanted: &Action) -> Option<String> {
    let same = match (before, wanted) {
        (Action::Throttle { client_id: a, .. }, Action::Throttle { client_id: b, .. }) => a == b,
        (Action::Freeze { filter: a, .. }, Action::Freeze { filter: b, .. }) => a == b,
        (Action::StopNode {}, _) => true,
        _ => false,
    };
    same.then(|| format!("{before} in another way; take it back first"))
}
