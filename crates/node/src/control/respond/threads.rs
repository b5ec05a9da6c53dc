//! The threads that carry orders out, and listen to detectors.

use super::super::{Control, Inner};
use super::{Lanes, Work};
use crate::error::Error;
use ravelin_event::Notice;
use ravelin_respond::{Job, Outcome, Verdict};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// The clock is looked at so often, if nothing is to be done before.
const IDLE: Duration = Duration::from_secs(1);
/// Not oftener than this.
const BUSY: Duration = Duration::from_millis(5);

impl Control {
    pub(super) fn start_lanes(&self) -> Result<(), Error> {
        let ((quick, quick_work), (slow, slow_work)) = (channel(), channel());
        let inner = Arc::downgrade(&self.0);
        let lane = |name: &str, work: Receiver<Work>, tells_time: bool| {
            let inner = inner.clone();
            thread::Builder::new().name(name.into()).spawn(move || run(&inner, &work, tells_time))
        };
        let started =
            || Ok(vec![lane("ravelin-respond", quick_work, true)?, lane("ravelin-fence", slow_work, false)?]);
        let threads = started().map_err(Error::system("start the threads that carry orders out"))?;
        let lanes = Lanes { quick, slow, threads };
        *self.0.responding.lanes.lock().unwrap_or_else(PoisonError::into_inner) = Some(lanes);
        Ok(())
    }

    /// Ends the threads: what they were given is carried out first.
    pub(crate) fn close_response(&self) {
        let lanes = self.0.responding.lanes.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Lanes { quick, slow, threads }) = lanes else { return };
        let _ = (quick.send(Work::Stop), slow.send(Work::Stop));
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn tick(&self) {
        self.with_desk(Instant::now(), |desk, now_ms| desk.handle_tick(now_ms));
    }

    /// What the playbooks do about what a detector said.
    fn answer(&self, notice: &Notice) {
        let (began, alarm) = (Instant::now(), notice.alarm());
        let raised = matches!(notice, Notice::Raised(_) | Notice::Worsened(_));
        let asks = raised && self.respond(|desk, _| desk.wants_certificate());
        let client_id = alarm.client_id.as_deref().filter(|_| asks);
        let certificate = client_id.and_then(|client_id| self.blocking_certificate_of(client_id));
        let wanted = self.with_desk(began, |desk, now_ms| desk.handle_notice(now_ms, notice, certificate));
        for mut one in wanted {
            let action = one.action.to_string();
            let name = format!("playbook:{}", one.playbook.name);
            let facts = self.normal_action(one.action.clone()).and_then(|action| {
                one.action = action;
                self.blocking_facts_of(&one.action)
            });
            let verdict = match facts {
                Ok(facts) => self.with_desk(began, |desk, now_ms| desk.handle_wanted(now_ms, &one, &facts)),
                Err(error) => Verdict::Refused(error.to_string()),
            };
            let (detail, actor) = (format!("alarm {}", alarm.id), super::carry::actor_of(&name));
            match verdict {
                Verdict::Observed => {}
                Verdict::Ordered(id) => {
                    let detail = format!("order {id}, {detail}");
                    self.administered(&actor, "order.playbook", &action, Ok(&detail));
                }
                Verdict::Refused(why) => {
                    let why = format!("{detail}: {why}");
                    self.administered(&actor, "order.playbook", &action, Err(&why));
                }
            }
        }
    }

    fn work(&self, job: Job, ordered: Instant) {
        let id = match &job {
            Job::Do { order, .. } | Job::Undo { order, .. } => *order,
        };
        let undoes = matches!(job, Job::Undo { .. });
        // A failure of our own must not leave every order after it undone.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.carry_out(job, ordered)));
        let outcome = outcome.unwrap_or_else(|_| {
            let what = "the node met an error of its own".to_owned();
            if undoes { Outcome::NotUndone(what) } else { Outcome::Failed(what) }
        });
        self.with_desk(Instant::now(), |desk, now_ms| desk.handle_outcome(now_ms, id, outcome));
    }

    /// How long until something is to be done.
    fn rest(&self) -> Duration {
        let wait_ms =
            self.respond(|desk, now_ms| desk.wake_ms().map(|wake_ms| wake_ms.saturating_sub(now_ms)));
        wait_ms.map_or(IDLE, |ms| Duration::from_millis(ms).clamp(BUSY, IDLE))
    }
}

/// A thread: it ends when it is told to, or the node is gone.
fn run(inner: &Weak<Inner>, work: &Receiver<Work>, tells_time: bool) {
    loop {
        let rest = match inner.upgrade() {
            Some(inner) if tells_time => Control(inner).rest(),
            Some(_) => IDLE,
            None => return,
        };
        let given = work.recv_timeout(rest);
        let Some(inner) = inner.upgrade() else { return };
        let control = Control(inner);
        match given {
            Ok(Work::Job(job, ordered)) => control.work(job, ordered),
            Ok(Work::Notice(notice)) => {
                control.0.responding.notices.fetch_sub(1, Ordering::Relaxed);
                control.answer(&notice);
            }
            Ok(Work::Wake) | Err(RecvTimeoutError::Timeout) => {}
            Ok(Work::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
        if tells_time {
            control.tick();
        }
    }
}
