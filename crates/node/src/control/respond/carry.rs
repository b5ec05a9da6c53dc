//! How each action is carried out and taken back.

use super::super::{Actor, BanFailure, Control, KeysFailure, Role, Sessions, StopReason, Via};
use ravelin_broker::home_shard;
use ravelin_mqtt::ReasonCode;
use ravelin_protect::{Ban, BanSubject, RevocationSubject};
use ravelin_respond::{Action, Job, Outcome, Posture};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest reason of a ban or a revocation, in bytes.
const REASON_BYTES_MAX: usize = 200;
/// What an order notes that found an identity revoked.
const REVOKED_BEFORE: &str = "it was revoked before";

/// What carrying out came to.
struct Done {
    effect: String,
    warning: Option<String>,
    /// From its begin until it was so, if that is not the whole time.
    took: Option<Duration>,
}

impl Done {
    fn of(effect: impl Into<String>) -> Done {
        Done { effect: effect.into(), warning: None, took: None }
    }
}

/// One order, as it is carried out.
struct Order<'a> {
    id: u64,
    by: &'a str,
    why: &'a str,
    until_ms: Option<u64>,
    prior: Option<String>,
}

/// Who carries out in the name of whoever has ordered.
pub(super) fn actor_of(name: &str) -> Actor {
    Actor { name: name.into(), role: Role::Admin, via: Via::Node, address: None }
}

impl Order<'_> {
    /// By this an order knows its own: `order 12: `.
    fn mark(&self) -> String {
        mark(self.id)
    }

    fn reason(&self) -> String {
        let mut reason = format!("{}{}", self.mark(), self.why);
        while reason.len() > REASON_BYTES_MAX {
            reason.pop();
        }
        reason
    }
}

fn mark(id: u64) -> String {
    format!("order {id}: ")
}

impl Control {
    /// Carries a job out. `ordered` is when it was ordered or approved.
    pub(super) fn carry_out(&self, job: Job, ordered: Instant) -> Outcome {
        match job {
            Job::Do { order, action, by, why, until_ms, again, prior } => {
                let wanted = Order { id: order, by: &by, why: &why, until_ms, prior };
                let (began, began_ms) = (Instant::now(), self.now().wall_ms);
                let result = self.put_into_force(&wanted, &action);
                let elapsed = began.elapsed();
                match result {
                    Ok(done) => {
                        let took = done.took.unwrap_or(elapsed).min(elapsed);
                        let from_order = began.duration_since(ordered) + took;
                        Outcome::Done {
                            effective_ms: began_ms.saturating_add(took.as_millis() as u64),
                            took_us: u64::try_from(from_order.as_micros()).unwrap_or(u64::MAX),
                            effect: done.effect,
                            warning: done.warning,
                        }
                    }
                    Err(error) => {
                        if !again {
                            // Half of it may be there. What cannot be cleared up either has no more to say than this.
                            let _ = self.take_out(order, &action, &by, wanted.prior.as_deref());
                        }
                        Outcome::Failed(error)
                    }
                }
            }
            Job::Undo { order, action, by, prior } => {
                let result = self.take_out(order, &action, &by, prior.as_deref());
                let outcome = result.as_ref().map(String::as_str).map_err(String::as_str);
                let subject = format!("order {order} ({action})");
                self.administered(&actor_of(&by), "order.end", &subject, outcome);
                match result {
                    Ok(_) => Outcome::Undone,
                    Err(error) => Outcome::NotUndone(error),
                }
            }
        }
    }

    fn put_into_force(&self, order: &Order<'_>, action: &Action) -> Result<Done, String> {
        match action {
            Action::Disconnect { client_id } => self.cut_client(order, client_id),
            Action::Ban { subject } => self.put_ban(order, subject),
            Action::RevokeCertificate { certificate } => self.put_revocation(order, certificate),
            Action::RevokeCredential { identity } => self.put_credential(order, identity),
            Action::Posture { level: Posture::Normal } => {
                Ok(Done::of(format!("the posture is {}", self.posture().name())))
            }
            Action::Freeze { .. }
            | Action::Quarantine { .. }
            | Action::Throttle { .. }
            | Action::Posture { .. } => {
                self.blocking_restrict(order.id, action).map(Done::of).map_err(|error| error.to_string())
            }
            Action::StopNode {} => {
                let stopped = self.blocking_stop_node(order.id, &self.stop_reason(order));
                stopped.map(Done::of).map_err(|error| error.to_string())
            }
            _ => {
                let now_ms = self.now().wall_ms;
                let left = order.until_ms.map(|until_ms| until_ms.saturating_sub(now_ms).div_ceil(1000));
                self.blocking_fence(order.id, action, left).map(Done::of).map_err(|error| error.to_string())
            }
        }
    }

    /// Who stands behind a stop of the node, for the record. The desk goes on while the node is being stopped.
    fn stop_reason(&self, order: &Order<'_>) -> StopReason {
        let approved_by = self.respond(|desk, _| {
            let approvals = desk.order(order.id).map(|known| known.approvals.as_slice()).unwrap_or_default();
            approvals.iter().map(|one| one.by.to_string()).filter(|name| name != order.by).collect()
        });
        StopReason { by: order.by.into(), approved_by, why: order.why.into() }
    }

    /// Takes back what an order has put into force; puts back what was there before.
    fn take_out(&self, id: u64, action: &Action, by: &str, prior: Option<&str>) -> Result<String, String> {
        match action {
            Action::Ban { subject } => self.lift_ban(id, subject, by, prior),
            Action::RevokeCredential { .. } if prior.is_some() => Ok(REVOKED_BEFORE.into()),
            Action::RevokeCredential { identity } => {
                let subject = RevocationSubject::identity(identity).map_err(|error| error.to_string())?;
                let lifted = self.lift_revocation(&actor_of(by), &subject);
                lifted.map(|_| "enabled again".into()).map_err(|error| error.to_string())
            }
            Action::Freeze { .. }
            | Action::Quarantine { .. }
            | Action::Throttle { .. }
            | Action::Posture { .. } => self.blocking_lift(id, action).map_err(|error| error.to_string()),
            Action::Firewall { .. } | Action::StopListener { .. } => {
                self.blocking_unfence(id, action).map_err(|error| error.to_string())
            }
            _ => Ok("nothing stays of it".into()),
        }
    }

    fn cut_client(&self, order: &Order<'_>, client_id: &Arc<str>) -> Result<Done, String> {
        let (wanted, detail) = (Arc::clone(client_id), order.reason());
        let asked = self.blocking_ask(home_shard(client_id, self.shards()), move |view| {
            let now = view.now();
            let known = view.broker().session(now, &wanted).is_some();
            let reason = ReasonCode::ADMINISTRATIVE_ACTION;
            (known, view.broker().disconnect_session(now, &wanted, reason, Some(detail)))
        });
        let outcome = match asked.map_err(|error| error.to_string())? {
            (_, true) => Ok("disconnected"),
            (true, false) => Ok("it was not connected"),
            (false, false) => Err("there is no session with this Client Identifier"),
        };
        self.administered(&actor_of(order.by), "client.disconnect", client_id, outcome);
        outcome.map(Done::of).map_err(Into::into)
    }

    fn put_ban(&self, order: &Order<'_>, subject: &str) -> Result<Done, String> {
        let subject = BanSubject::parse(subject).map_err(|error| error.to_string())?;
        let mut prior: Option<Ban> =
            order.prior.as_deref().and_then(|prior| serde_json::from_str(prior).ok());
        if prior.is_none()
            && let Some(found) = self.ban_on(&subject).filter(|ban| !ban.reason.starts_with(&order.mark()))
        {
            // It is on its way to the store before the ban takes its place.
            let note = serde_json::to_string(&found).unwrap_or_default();
            self.with_desk(Instant::now(), |desk, _| desk.handle_found(order.id, note));
            prior = Some(found);
        }
        let mut until_s = order.until_ms.map(|until_ms| until_ms.div_ceil(1000));
        if let Some(prior) = &prior {
            // It does not end sooner for being ordered twice.
            until_s = until_s.zip(prior.until_s).map(|(own, before)| own.max(before));
        }
        let ban = Ban {
            subject: subject.clone(),
            reason: order.reason().into(),
            by: order.by.into(),
            at_s: self.now().wall_ms / 1000,
            until_s,
        };
        match self.blocking_ban(&actor_of(order.by), ban) {
            Ok(done) => Ok(Done {
                effect: format!("{} sessions disconnected", done.disconnected),
                warning: None,
                took: Some(done.took),
            }),
            // It is in force all the same.
            Err(error @ (BanFailure::Records(_) | BanFailure::Unavailable(_))) => {
                Ok(Done { warning: Some(error.to_string()), ..Done::of("banned") })
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn lift_ban(&self, id: u64, subject: &str, by: &str, prior: Option<&str>) -> Result<String, String> {
        let subject = BanSubject::parse(subject).map_err(|error| error.to_string())?;
        let own = self.ban_on(&subject).filter(|ban| ban.reason.starts_with(&mark(id)));
        let prior: Option<Ban> = prior.and_then(|prior| serde_json::from_str(prior).ok());
        let prior = prior.filter(|prior| prior.is_in_force(self.now().wall_ms / 1000));
        match (own, prior) {
            (None, None) => Ok("it was lifted already".into()),
            // Somebody has banned the same by hand meanwhile.
            (None, Some(_)) if self.ban_on(&subject).is_some() => Ok("another ban of the same stays".into()),
            (_, Some(prior)) => {
                let put_back = self.blocking_ban(&actor_of(by), prior);
                put_back
                    .map(|_| "the ban that was there before is back".into())
                    .map_err(|error| error.to_string())
            }
            (Some(_), None) => {
                let lifted = self.blocking_unban(&actor_of(by), &subject);
                lifted.map(|_| "lifted".into()).map_err(|error| error.to_string())
            }
        }
    }

    fn put_revocation(&self, order: &Order<'_>, certificate: &str) -> Result<Done, String> {
        let subject = match certificate.len() {
            64 => RevocationSubject::fingerprint(certificate),
            _ => RevocationSubject::serial(certificate, None),
        };
        let subject = subject.map_err(|error| error.to_string())?;
        let done = self.revoke_certificate(&actor_of(order.by), subject, &order.reason(), Sessions::Keep);
        revoked(done.map(|done| (done.disconnected, done.took)))
    }

    fn put_credential(&self, order: &Order<'_>, identity: &str) -> Result<Done, String> {
        if order.prior.is_some() {
            return Ok(Done::of(REVOKED_BEFORE));
        }
        let subject = RevocationSubject::identity(identity).map_err(|error| error.to_string())?;
        let found = self.revocations(None, usize::MAX).into_iter().find(|one| one.subject == subject);
        if found.is_some_and(|found| !found.reason.starts_with(&order.mark())) {
            self.with_desk(Instant::now(), |desk, _| desk.handle_found(order.id, REVOKED_BEFORE.into()));
            return Ok(Done::of(REVOKED_BEFORE));
        }
        let done = self.revoke_identity(&actor_of(order.by), identity, &order.reason(), Sessions::Keep);
        revoked(done.map(|done| (done.disconnected, done.took)))
    }
}

fn revoked(done: Result<(usize, Duration), KeysFailure>) -> Result<Done, String> {
    match done {
        Ok((count, took)) => Ok(Done { took: Some(took), ..Done::of(format!("{count} connections ended")) }),
        // It is in force all the same.
        Err(error @ (KeysFailure::Records(_) | KeysFailure::Unavailable(_))) => {
            Ok(Done { warning: Some(error.to_string()), ..Done::of("revoked") })
        }
        Err(error) => Err(error.to_string()),
    }
}
