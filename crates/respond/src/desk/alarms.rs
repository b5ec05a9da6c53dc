//! What playbooks make of an alarm.

use super::people::time_of;
use super::{Desk, Facts, Verdict, Wanted, plain};
use crate::order::{AlarmTimes, Order, State};
use crate::playbook::{Mode, Values};
use ravelin_event::{Alarm, Event, Notice};
use std::sync::Arc;

/// A playbook that was refused the same within this time is not recorded again.
const REFUSED_AGAIN_MS: u64 = 600_000;
/// Orders that are looked at for that.
const REFUSED_LOOK: usize = 200;

impl Desk {
    /// Takes what a detector said; returns what the playbooks want done about it. For each, the facts are gathered and given
    /// to [`Desk::handle_wanted`]. `certificate` is the fingerprint of the client's certificate, if it is known.
    pub fn handle_notice(
        &mut self,
        at_ms: u64,
        notice: &Notice,
        certificate: Option<Arc<str>>,
    ) -> Vec<Wanted> {
        let (Notice::Raised(alarm) | Notice::Worsened(alarm)) = notice else { return Vec::new() };
        self.alarms.insert(alarm.id, AlarmTimes::of(alarm));
        while self.alarms.len() > self.settings.limits.alarms_max {
            self.alarms.pop_first();
        }
        let posture = self.posture();
        let values = Values::of(alarm, certificate);
        let mut wanted = Vec::new();
        let mut cannot = Vec::new();
        for running in &mut self.playbooks {
            if !running.meets(at_ms, alarm, posture) {
                continue;
            }
            let playbook = &running.playbook;
            for step in &playbook.steps {
                match step.fill(alarm, &values) {
                    Ok(action) => wanted.push(Wanted {
                        playbook: Arc::clone(playbook),
                        action,
                        time_s: step.time_s,
                        alarm: Arc::clone(alarm),
                    }),
                    Err(missing) => {
                        running.figures.refused += 1;
                        cannot.push((Arc::clone(playbook), step.action.name(), missing));
                    }
                }
            }
        }
        for (playbook, action, missing) in cannot {
            self.observed(
                &playbook.name,
                alarm,
                action,
                alarm.subject.to_string(),
                format!("cannot: {missing}"),
            );
        }
        wanted
    }

    /// Does, asks for, or only notes what a playbook wants.
    pub fn handle_wanted(&mut self, at_ms: u64, wanted: &Wanted, facts: &Facts) -> Verdict {
        let Some(at) = self.playbooks.iter().position(|one| one.playbook.name == wanted.playbook.name) else {
            return Verdict::Refused("the playbook is gone".into());
        };
        let (action, mode) = (&wanted.action, wanted.playbook.mode);
        let never = action.is_against_clients() && !action.stops() && !facts.never_cut.is_empty();
        let why = plain(format!("{} {}", wanted.playbook.notify, wanted.alarm.summary).trim_start());
        if mode == Mode::Observe {
            let text = if never { "would be refused: never cut".into() } else { why };
            self.playbooks[at].figures.observed += 1;
            self.observed(&wanted.playbook.name, &wanted.alarm, action.name(), action.subject(), text);
            return Verdict::Observed;
        }
        if never {
            let why = format!("a rule does not cut off {}", facts.never_cut.join(", "));
            return self.not_done(at_ms, at, wanted, why);
        }
        let policy = *self.settings.policy(action);
        let time_s = match time_of(action, &policy, wanted.time_s, false) {
            Ok(time_s) => time_s,
            Err(error) => return self.not_done(at_ms, at, wanted, error.to_string()),
        };
        let mut needs = policy.approvals;
        if mode == Mode::Ask {
            needs = needs.max(1);
        }
        let beyond = if needs == 0 { self.beyond(at_ms, at, facts) } else { None };
        if beyond.is_some() {
            needs = 1;
        }
        match self.same(action) {
            Ok(Some(id)) => {
                if needs == 0 {
                    self.refresh(at_ms, id, time_s);
                }
                return Verdict::Ordered(id);
            }
            Ok(None) => {}
            Err(error) => return self.not_done(at_ms, at, wanted, error.to_string()),
        }
        if let Err(error) = self.room() {
            self.overflowed += 1;
            self.playbooks[at].figures.refused += 1;
            return Verdict::Refused(error.to_string());
        }
        if needs == 0 {
            let clients = facts.clients.max(1);
            self.playbooks[at].spent.spend(at_ms, clients);
            self.automatic.spend(at_ms, 1);
            self.playbooks[at].figures.acted += 1;
        } else {
            self.playbooks[at].figures.asked += 1;
        }
        let why = beyond.map_or(why.clone(), |beyond| plain(&format!("{beyond}; {why}")));
        let id = self.insert(Order { why, needs, time_s, ..of_playbook(at_ms, wanted) });
        self.release_or_propose(at_ms, id);
        Verdict::Ordered(id)
    }

    /// Why a playbook may not go on by itself.
    fn beyond(&mut self, at_ms: u64, at: usize, facts: &Facts) -> Option<String> {
        let limits = self.settings.limits;
        if self.automatic.within(at_ms, limits.automatic_window_ms) >= limits.automatic_max {
            return Some(format!("playbooks have acted {} times by themselves", limits.automatic_max));
        }
        let running = &mut self.playbooks[at];
        let bound = running.playbook.bound;
        let before = running.spent.within(at_ms, bound.within_ms);
        let clients = before.saturating_add(facts.clients.max(1));
        if clients > bound.clients {
            return Some(format!(
                "it would meet {clients} within its window, and may meet {}",
                bound.clients
            ));
        }
        let share = u64::from(facts.connected) * u64::from(bound.percent) / 100;
        if u64::from(clients) > share.max(1) {
            let connected = facts.connected;
            return Some(format!(
                "it would meet {clients} of {connected} clients, and may meet {} %",
                bound.percent
            ));
        }
        None
    }

    /// Records that a playbook may not do something: once, however often the alarm comes.
    fn not_done(&mut self, at_ms: u64, at: usize, wanted: &Wanted, why: String) -> Verdict {
        self.playbooks[at].figures.refused += 1;
        let by = Some(&wanted.playbook.name);
        let before = self.orders().take(REFUSED_LOOK).any(|order| {
            order.state == State::Refused
                && order.playbook.as_ref() == by
                && order.action == wanted.action
                && at_ms.saturating_sub(order.requested_ms) < REFUSED_AGAIN_MS
        });
        if !before {
            let order = of_playbook(at_ms, wanted);
            let name = Arc::clone(&order.by);
            let id = self.insert(order);
            self.refuse(at_ms, id, name, plain(&why));
        }
        Verdict::Refused(why)
    }

    fn observed(
        &mut self,
        playbook: &str,
        alarm: &Alarm,
        action: &'static str,
        subject: String,
        why: String,
    ) {
        let playbook = playbook.into();
        self.events.push_back(Event::PlaybookObserved { playbook, alarm: alarm.id, action, subject, why });
    }
}

fn of_playbook(at_ms: u64, wanted: &Wanted) -> Order {
    Order {
        by: format!("playbook:{}", wanted.playbook.name).into(),
        playbook: Some(Arc::clone(&wanted.playbook.name)),
        alarm: Some(AlarmTimes::of(&wanted.alarm)),
        ..Order::new(at_ms, wanted.action.clone())
    }
}
