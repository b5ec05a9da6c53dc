//! The node's side of response: orders of people and of playbooks go to the [`Desk`], and what it hands out is carried out by
//! threads of their own.
//!
//! Who calls waits for no shard but by a question. What is ordered is in the store before it is carried out: the log has
//! one order, so nothing can be in force after a crash without its order.

mod carry;
mod facts;
mod figures;
mod threads;

pub use facts::Reach;
pub use figures::{RespondFigures, TOOK_BUCKETS_S};

use super::{Actor, Control, Inner, RecordsError, Role, Space, Unavailable, Via, Watched, Watcher};
use crate::config::RespondConfig;
use crate::error::Error;
use figures::Meter;
use ravelin_broker::Now;
use ravelin_event::{Event, Notice};
use ravelin_protect::BanSubject;
use ravelin_respond::{
    Action, Desk, Error as DeskError, Job, OrderView, Person, Playbook, Request, Role as DeskRole, State,
};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Instant;

/// Notices that may wait for the playbooks; more are dropped and counted.
const NOTICES_MAX: usize = 1024;

/// Why an order was not taken, or not changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RespondFailure {
    /// The desk has refused.
    #[error(transparent)]
    Desk(#[from] DeskError),
    /// What it names cannot be meant on this node.
    #[error("{0}")]
    Invalid(String),
    /// It could not be stored.
    #[error("it was taken, but could not be stored: {0}")]
    Records(#[from] RecordsError),
    /// A shard did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What an order would come to, and whom it would meet.
#[derive(Clone, Debug)]
pub struct OrderPreview {
    /// What it would come to.
    pub preview: ravelin_respond::Preview,
    /// Whom it would meet.
    pub reach: Reach,
}

/// Orders, and the threads that carry them out.
pub(crate) struct Responding {
    held: Mutex<Held>,
    lanes: Mutex<Option<Lanes>>,
    notices: AtomicUsize,
    notices_dropped: AtomicU64,
    meter: Meter,
    /// Rises with each thing that becomes of an order.
    changed: tokio::sync::watch::Sender<u64>,
}

struct Held {
    desk: Desk,
    /// The number of the last record, or why there is none.
    stored: Result<u64, RecordsError>,
}

/// What carries out: the first everything that is quick, the second what waits for the system.
struct Lanes {
    quick: Sender<Work>,
    slow: Sender<Work>,
    threads: Vec<JoinHandle<()>>,
}

/// What a thread is given.
enum Work {
    /// Carry this out; it was ordered, or approved, at the time.
    Job(Job, Instant),
    /// A detector has said something.
    Notice(Arc<Notice>),
    /// Look at the time again.
    Wake,
    /// End.
    Stop,
}

impl Responding {
    pub fn new(config: &RespondConfig, playbooks: Vec<Playbook>) -> Responding {
        Responding {
            held: Mutex::new(Held { desk: Desk::new(config.settings.clone(), playbooks), stored: Ok(0) }),
            lanes: Mutex::default(),
            notices: AtomicUsize::new(0),
            notices_dropped: AtomicU64::new(0),
            meter: Meter::default(),
            changed: tokio::sync::watch::Sender::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, work: Work) {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(lanes) = lanes.as_ref() else { return };
        let slow = matches!(&work, Work::Job(job, _) if is_slow(job));
        // It fails only when the node stops.
        let _ = if slow { lanes.slow.send(work) } else { lanes.quick.send(work) };
    }
}

/// Whether a job waits for the operating system, or for clients to come to an end.
fn is_slow(job: &Job) -> bool {
    let (Job::Do { action, .. } | Job::Undo { action, .. }) = job;
    matches!(action, Action::Firewall { .. } | Action::StopListener { .. } | Action::StopNode {})
}

impl Control {
    /// Looks at the desk; `look` is told the time in milliseconds since the Unix epoch.
    pub fn respond<T>(&self, look: impl FnOnce(&Desk, u64) -> T) -> T {
        let now_ms = self.now().wall_ms;
        look(&self.0.responding.lock().desk, now_ms)
    }

    /// Orders an action. Waits until it is in force and on disk, or, if it needs approval, proposed.
    pub async fn order(&self, actor: &Actor, request: Request) -> Result<OrderView, RespondFailure> {
        let began = Instant::now();
        let subject = request.action.subject();
        let name = format!("order.{}", request.action.name());
        let taken = async {
            let request = self.normal(request)?;
            let facts = self.facts_of(&request.action).await?;
            let taken = self
                .with_desk(began, |desk, now_ms| desk.handle_order(now_ms, &person(actor), request, &facts));
            Ok(taken?)
        };
        self.ordered(actor, &name, &subject, taken.await).await
    }

    /// What an order would come to, and whom it would meet. Changes nothing.
    pub async fn preview_order(
        &self,
        actor: &Actor,
        request: Request,
    ) -> Result<OrderPreview, RespondFailure> {
        let request = self.normal(request)?;
        let reach = self.reach_of(&request.action).await?;
        let facts = self.facts_of(&request.action).await?;
        let preview = self.respond(|desk, _| desk.preview(&person(actor), &request, &facts))?;
        Ok(OrderPreview { preview, reach })
    }

    /// Agrees to an order. Waits until it is in force, unless more people must agree.
    pub async fn approve_order(&self, actor: &Actor, id: u64) -> Result<OrderView, RespondFailure> {
        let approved = self.with_desk(Instant::now(), |desk, now_ms| {
            desk.handle_approval(now_ms, &person(actor), id).map(|()| id)
        });
        self.ordered(actor, "order.approve", &self.name_of(id), approved.map_err(Into::into)).await
    }

    /// Refuses an order that waits.
    pub async fn reject_order(&self, actor: &Actor, id: u64, why: &str) -> Result<OrderView, RespondFailure> {
        let rejected = self.with_desk(Instant::now(), |desk, now_ms| {
            desk.handle_rejection(now_ms, &person(actor), id, why).map(|()| id)
        });
        self.ordered(actor, "order.reject", &self.name_of(id), rejected.map_err(Into::into)).await
    }

    /// Takes an order back. Waits until it is; if that fails, it is tried again, and the answer says so.
    pub async fn undo_order(&self, actor: &Actor, id: u64, why: &str) -> Result<OrderView, RespondFailure> {
        let undone = self.with_desk(Instant::now(), |desk, now_ms| {
            desk.handle_undo(now_ms, &person(actor), id, why).map(|()| id)
        });
        self.ordered(actor, "order.undo", &self.name_of(id), undone.map_err(Into::into)).await
    }

    /// What was counted of response.
    pub fn respond_figures(&self) -> RespondFigures {
        let responding = &self.0.responding;
        RespondFigures {
            desk: responding.lock().desk.figures(),
            took: responding.meter.figures(),
            notices_dropped: responding.notices_dropped.load(Ordering::Relaxed),
        }
    }

    /// `order 12 (ban client_id:a)`, for whoever reads the record.
    fn name_of(&self, id: u64) -> String {
        self.respond(|desk, _| match desk.order(id) {
            Some(order) => format!("order {id} ({})", order.action),
            None => format!("order {id}"),
        })
    }

    /// Waits for what becomes of an order, and leaves an entry of who gave it.
    async fn ordered(
        &self,
        actor: &Actor,
        name: &str,
        subject: &str,
        taken: Result<u64, RespondFailure>,
    ) -> Result<OrderView, RespondFailure> {
        let result = match taken {
            Ok(id) => self.settle_order(id).await,
            Err(error) => Err(error),
        };
        let outcome = match &result {
            Ok(view) => match &view.error {
                Some(error) if view.state == State::Failed => Err(format!("order {}: {error}", view.id)),
                _ => Ok(format!("order {} is {}; {}", view.id, view.state.name(), view.why)),
            },
            Err(error) => Err(error.to_string()),
        };
        let outcome = outcome.as_ref().map(String::as_str).map_err(String::as_str);
        self.administered(actor, name, subject, outcome);
        result
    }

    /// Waits until nothing is being done about an order, and its record is on disk.
    async fn settle_order(&self, id: u64) -> Result<OrderView, RespondFailure> {
        let mut changed = self.0.responding.changed.subscribe();
        loop {
            let (view, at_work, stored) = {
                let held = self.0.responding.lock();
                let order = held.desk.order(id).ok_or(DeskError::Unknown(id))?;
                (order.view(), order.is_at_work(), held.stored.clone())
            };
            if !at_work {
                self.records().settled(stored?).await?;
                return Ok(view);
            }
            // It fails only when the node is gone.
            if changed.changed().await.is_err() {
                return Ok(view);
            }
        }
    }

    /// Has the desk do something, stores what must be, tells what happened and hands out what is to be done.
    fn with_desk<T>(&self, began: Instant, act: impl FnOnce(&mut Desk, u64) -> T) -> T {
        let (result, events) = {
            let mut held = self.0.responding.lock();
            let result = act(&mut held.desk, self.now().wall_ms);
            let mut events = Vec::new();
            self.flush(&mut held, began, &mut events);
            (result, events)
        };
        for event in events {
            if let Event::ActionTaken { took_us, action, .. } = &event {
                self.0.responding.meter.took(action, *took_us);
            }
            self.emit(event);
        }
        self.0.responding.changed.send_modify(|count| *count = count.wrapping_add(1));
        result
    }

    /// Under the lock: a checkpoint in between would else write an older state behind a newer one.
    fn flush(&self, held: &mut Held, began: Instant, events: &mut Vec<Event>) {
        while let Some(write) = held.desk.poll_write() {
            let stored = match &write.value {
                Some(value) => self.records().put(Space::Response, &write.key, value),
                None => self.records().delete(Space::Response, &write.key),
            };
            held.stored = stored;
        }
        while let Some(job) = held.desk.poll_job() {
            self.0.responding.send(Work::Job(job, began));
        }
        events.extend(std::iter::from_fn(|| held.desk.poll_event()));
    }

    fn normal(&self, request: Request) -> Result<Request, RespondFailure> {
        Ok(Request { action: self.normal_action(request.action)?, ..request })
    }

    /// The action with its names as this node has them.
    fn normal_action(&self, action: Action) -> Result<Action, RespondFailure> {
        let mut action = action.checked().map_err(DeskError::from)?;
        if let Action::Ban { subject } = &mut action {
            let parsed = BanSubject::parse(subject);
            let parsed = parsed.map_err(|error| RespondFailure::Invalid(error.to_string()))?;
            *subject = parsed.key().into();
        }
        if let Action::StopListener { listener } = &action
            && self.config().listeners.iter().all(|one| *one.name != **listener)
        {
            return Err(RespondFailure::Invalid(format!("there is no listener {listener:?}")));
        }
        Ok(action)
    }

    /// Takes up the orders that the store held, begins to carry out, and puts into force again what was. What restricts
    /// clients is in force when this returns, before the first of them is served.
    pub(crate) fn open_response(&self) -> Result<(), Error> {
        let mut held = self.0.responding.lock();
        for (key, value) in self.records().load(Space::Response) {
            if let Err(error) = held.desk.restore(&key, &value) {
                self.emit(Event::RecordUnreadable { detail: error.to_string() });
            }
        }
        let inner = Arc::downgrade(&self.0);
        self.records().register(Space::Response, move |dump| {
            let Some(inner) = inner.upgrade() else { return };
            inner.responding.lock().desk.dump(|key, value| dump.write(key, value));
        });
        held.desk.resume(self.now().wall_ms);
        let restrictions = held.desk.restrictions();
        drop(held);
        for (order, action) in restrictions {
            // The job that follows does the same again, and says what is wrong with it.
            let _ = self.blocking_restrict(order, &action);
        }
        self.start_lanes()?;
        self.with_desk(Instant::now(), |_, _| ());
        self.add_watcher(Box::new(Eyes(Arc::downgrade(&self.0))));
        Ok(())
    }

    /// Goes by the configuration in force, and these playbooks.
    pub(crate) fn configure_response(&self, playbooks: Vec<Playbook>) {
        let config = self.config();
        self.0.responding.lock().desk.configure(config.respond.settings.clone(), playbooks);
        self.0.responding.send(Work::Wake);
    }
}

/// Who asks, as the desk knows people.
fn person(actor: &Actor) -> Person {
    let role = match actor.role {
        Role::Viewer => DeskRole::Viewer,
        Role::Operator => DeskRole::Operator,
        Role::Admin => DeskRole::Admin,
    };
    Person { name: actor.name.as_str().into(), role }
}

/// Hands notices over, and sees what is taken back past the desk. On the watch thread.
struct Eyes(Weak<Inner>);

impl Watcher for Eyes {
    fn watch(&mut self, _: Now, batch: &[Watched], _: u64) {
        let Some(inner) = self.0.upgrade() else { return };
        for seen in batch {
            match seen {
                Watched::Notice(notice) => {
                    if inner.responding.notices.fetch_add(1, Ordering::Relaxed) >= NOTICES_MAX {
                        inner.responding.notices.fetch_sub(1, Ordering::Relaxed);
                        inner.responding.notices_dropped.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    inner.responding.send(Work::Notice(Arc::clone(notice)));
                }
                Watched::Event(record) => lifted(&inner, &record.event),
                _ => {}
            }
        }
    }
}

/// A ban or a revocation that an order made was lifted by its own command: the order has ended.
fn lifted(inner: &Arc<Inner>, event: &Event) {
    let Event::Administered { actor, via, action, subject, done: true, .. } = event else { return };
    if *via == Via::Node.name() {
        return;
    }
    let control = Control(Arc::clone(inner));
    let lifted = match action.as_str() {
        "ban.remove" => {
            let gone = BanSubject::parse(subject).is_ok_and(|subject| control.ban_on(&subject).is_none());
            gone.then(|| Action::Ban { subject: subject.as_str().into() })
        }
        "certificate.lift" => subject
            .strip_prefix("identity/")
            .map(|identity| Action::RevokeCredential { identity: identity.into() }),
        _ => None,
    };
    if let Some(action) = lifted {
        control.with_desk(Instant::now(), |desk, now_ms| desk.handle_lifted(now_ms, &action, actor));
    }
}
