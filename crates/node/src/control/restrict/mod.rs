//! What is taken from clients for a time, by an order: frozen topics, quarantine, throttles, the posture; and what too
//! little trust costs.
//!
//! What is in force is a snapshot ([`crate::restrictions::Restrictions`]) that follows from the orders alone, so that
//! lifting one restores exactly what was. A restriction never grants anything. Nothing is kept on disk here: whoever gives
//! the orders gives those that are in force again after a restart.

mod posture;

use super::{Changed, Control};
use crate::config::RestrictConfig;
use crate::policy::Policy;
use crate::reload;
use crate::restrictions::is_system;
use ravelin_broker::home_shard;
use ravelin_mqtt::check_filter;
use ravelin_respond::{Action, Posture};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Orders in force at once; each frozen filter is compared with every new topic.
const ORDERS_MAX: usize = 1000;
/// Clients whose trust is remembered for other rules.
const SCORES_MAX: usize = 1 << 20;
/// A shard answers within milliseconds; one that does not is not waited for longer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Why a restriction was not made or not lifted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestrictFailure {
    /// It cannot be, and what to do about it.
    #[error("{0}")]
    Invalid(String),
    /// A shard did not answer: the restriction is made, and may not hold everywhere.
    #[error(transparent)]
    Unavailable(#[from] super::Unavailable),
}

/// What is known beside the orders.
#[derive(Default)]
pub(crate) struct Restricting {
    /// The shards serve, so that they can be waited for.
    serving: AtomicBool,
    /// The clients that are not trusted wholly, as told last: other rules for trust are asked about them.
    scores: Mutex<HashMap<Arc<str>, u8>>,
}

impl Restricting {
    pub fn begin(&self) {
        self.serving.store(true, Ordering::Release);
    }

    fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    fn note(&self, scores: &[(Arc<str>, u8)]) {
        let mut known = self.scores.lock().unwrap_or_else(PoisonError::into_inner);
        for (client_id, score) in scores {
            match score {
                100.. => known.remove(client_id),
                // Whom there is no room for is noted when its trust changes again.
                _ if known.len() >= SCORES_MAX && !known.contains_key(client_id) => None,
                score => known.insert(client_id.clone(), *score),
            };
        }
    }
}

impl Control {
    /// Whether rules must not cut this client off: the class of its session says so, or that of its identity; of a client
    /// without a session, that of the identity with its name. Waits for a shard for some milliseconds if any class says so.
    pub fn is_never_cut(&self, client_id: &str) -> bool {
        let directory = self.directory();
        if !directory.classes().any(|class| class.never_cut) {
            return false;
        }
        let never_cut = |class: Option<&str>| {
            class.and_then(|name| directory.class(name)).is_some_and(|class| class.never_cut)
        };
        let of_identity = |name: &str| directory.class_of(name).is_some_and(|class| class.never_cut);
        // Not by a future: this is also asked within runtimes, where a thread must not wait for one.
        let (answer, answered) = sync_channel(1);
        let wanted = client_id.to_owned();
        let asked = self.post(home_shard(client_id, self.shards()), move |view| {
            let now = view.now();
            let _ = answer.send(view.broker().session(now, &wanted).map(|session| session.who));
        });
        let who = self.0.restricting.is_serving().then(|| answered.recv_timeout(ANSWER_MAX));
        drop(asked);
        match who.and_then(Result::ok).flatten() {
            Some(who) => never_cut(who.class.as_deref()) || who.identity.as_deref().is_some_and(of_identity),
            None => of_identity(client_id),
        }
    }

    /// Puts `action` (freeze, quarantine, throttle, posture) into force as order `order`; says what it met. Called again
    /// with the same order, as after a restart, it changes nothing. When it returns, every shard goes by it.
    pub fn blocking_restrict(&self, order: u64, action: &Action) -> Result<String, RestrictFailure> {
        self.check_restriction(action)?;
        let changed = changed_by(action);
        let before = self.posture();
        let known = matches!(action, Action::Posture { .. }).then(|| self.known_devices());
        let next = self.change_policy(changed, |policy| {
            let restrictions = &policy.programme.restrictions;
            let Some(next) = restrictions.with_order(order, action) else { return Ok(()) };
            if restrictions.len() >= ORDERS_MAX {
                let what = format!("{ORDERS_MAX} restrictions are in force; lift one first");
                return Err(RestrictFailure::Invalid(what));
            }
            policy.programme.restrictions = match known {
                Some((known, declared)) => next.with_known(known, declared),
                None => next,
            };
            self.posture_rates(policy);
            Ok(())
        });
        next?;
        self.settle_restriction(order, action, before)?;
        Ok(self.effect_of(action))
    }

    /// Takes back what the order has put into force; says what that met. When it returns, every shard goes by it.
    pub fn blocking_lift(&self, order: u64, action: &Action) -> Result<String, RestrictFailure> {
        let before = self.posture();
        let lifted = self.change_policy(changed_by(action), |policy| {
            let next = policy.programme.restrictions.without_order(order);
            let is_in_force = next.is_some();
            policy.programme.restrictions = next.unwrap_or_else(|| policy.programme.restrictions.clone());
            self.posture_rates(policy);
            is_in_force
        });
        if !lifted {
            return Ok("it was not in force".into());
        }
        self.settle_restriction(order, action, before)?;
        Ok(match action {
            Action::Posture { .. } => {
                let posture = self.posture();
                format!(
                    "the posture is {}; closed: {}",
                    posture.name(),
                    self.restrict_config().closes(posture)
                )
            }
            action => format!("{action} has ended"),
        })
    }

    /// Clients' trust has changed: rules that go by it are asked again, for these clients. Trust restricts, it never grants.
    pub fn trust_changed(&self, scores: &[(Arc<str>, u8)]) {
        self.0.restricting.note(scores);
        if scores.is_empty() || self.restrict_config().trust.is_empty() {
            return;
        }
        let (_, changed) = self.policy().programme.restrictions.with_scores(scores);
        if changed.is_empty() {
            return;
        }
        self.change_policy(Changed::Clients(changed.into()), |policy| {
            policy.programme.restrictions = policy.programme.restrictions.with_scores(scores).0;
        });
    }

    /// Asks rules for trust that have just been read about everybody who is not trusted wholly.
    pub(crate) fn trust_again(&self, policy: &mut Policy) {
        let known = self.0.restricting.scores.lock().unwrap_or_else(PoisonError::into_inner);
        let scores: Vec<(Arc<str>, u8)> = known.iter().map(|(name, score)| (name.clone(), *score)).collect();
        policy.programme.restrictions = policy.programme.restrictions.with_scores(&scores).0;
    }

    /// The rates as the posture has them; the same as before where it has not changed.
    fn posture_rates(&self, policy: &mut Policy) {
        let stage = policy.programme.restrictions.stage();
        policy.rates = reload::rates(&self.config(), stage, policy.rates.as_ref());
    }

    /// The posture of the node.
    pub fn posture(&self) -> Posture {
        self.policy().programme.restrictions.posture()
    }

    /// What a posture closes on this node, in words.
    pub fn posture_closes(&self, posture: Posture) -> String {
        self.restrict_config().closes(posture)
    }

    pub(super) fn restrict_config(&self) -> Arc<RestrictConfig> {
        Arc::clone(&self.config().restrict)
    }

    fn check_restriction(&self, action: &Action) -> Result<(), RestrictFailure> {
        let invalid = |what: String| Err(RestrictFailure::Invalid(what));
        match action {
            Action::Freeze { filter, .. } => {
                let text = filter.escape_debug();
                match check_filter(filter, u16::MAX) {
                    Err(_) => invalid(format!("`{text}` is not a topic filter; write one such as plant/1/#")),
                    _ if is_system(filter) && !filter.starts_with("$share/") => {
                        invalid(format!("`{text}` is the system's own and is not frozen"))
                    }
                    Ok(Some(shared)) => invalid(format!(
                        "a freeze is of topics, however they are subscribed to; write `{}` instead of `{text}`",
                        shared.filter.escape_debug()
                    )),
                    Ok(None) => Ok(()),
                }
            }
            Action::Throttle { messages_per_s: 0, .. } => invalid(
                "a throttle lets at least 1 message a second through; use quarantine or freeze".into(),
            ),
            Action::Quarantine { client_id } | Action::Throttle { client_id, .. } if client_id.is_empty() => {
                invalid("name the client".into())
            }
            Action::Quarantine { .. } | Action::Throttle { .. } | Action::Posture { .. } => Ok(()),
            other => invalid(format!("{other} is no restriction")),
        }
    }

    /// Has what is not the shards' follow, and waits until every shard goes by what was changed.
    fn settle_restriction(
        &self,
        order: u64,
        action: &Action,
        before: Posture,
    ) -> Result<(), RestrictFailure> {
        if matches!(action, Action::Posture { .. }) {
            self.follow_posture(order, before);
        }
        // What waits for the start will go by it from the start.
        if self.0.restricting.is_serving() {
            self.blocking_ask_all(|_| ())?;
        }
        Ok(())
    }

    /// What a restriction met, in words.
    fn effect_of(&self, action: &Action) -> String {
        match action {
            Action::Freeze { .. } => {
                let figures = self.blocking_figures();
                let held = figures.map_or(0, |(held, _)| held);
                format!("{action}: in force on {} shards; {held} messages wait", self.shards())
            }
            Action::Quarantine { client_id } => {
                let subscriptions = self.blocking_figures_of(client_id);
                match subscriptions {
                    Some(left) => format!("the client is connected and has {left} subscriptions left"),
                    None => "the client is not connected; it holds for its next connection".into(),
                }
            }
            Action::Posture { .. } => {
                let posture = self.posture();
                format!(
                    "the posture is {}; closed: {}",
                    posture.name(),
                    self.restrict_config().closes(posture)
                )
            }
            action => format!("{action}: in force"),
        }
    }

    fn blocking_figures(&self) -> Option<(u64, u64)> {
        if !self.0.restricting.is_serving() {
            return None;
        }
        let all = self.blocking_ask_all(|view| {
            let stats = view.broker().stats();
            (stats.held, stats.held_bytes)
        });
        all.ok().map(|all| all.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1)))
    }

    /// How many subscriptions a connected client has.
    fn blocking_figures_of(&self, client_id: &str) -> Option<usize> {
        if !self.0.restricting.is_serving() {
            return None;
        }
        let wanted = client_id.to_owned();
        let found = self.blocking_ask(home_shard(client_id, self.shards()), move |view| {
            let now = view.now();
            let session = view.broker().session(now, &wanted);
            session.filter(|session| session.link.is_some()).map(|session| session.subscriptions)
        });
        found.ok().flatten()
    }
}

/// Whom or what a restriction is about.
fn changed_by(action: &Action) -> Changed {
    match action {
        Action::Quarantine { client_id } | Action::Throttle { client_id, .. } => {
            Changed::Clients([client_id.clone()].into())
        }
        Action::Posture { .. } => Changed::Posture,
        _ => Changed::Freezes,
    }
}
