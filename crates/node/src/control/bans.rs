//! Bans and lock-outs, as they are administered.
//!
//! A ban is in the ladder first, where every new connection meets it; then the shards cut whoever is connected. A
//! connection between the two is met by the ladder again when its session is to begin. What is stored follows under a lock
//! of its own, so that the ladder's is never held while the log is waited for.

use super::{Actor, Control, Inner, Records, RecordsError, ShardView, Space, Unavailable, Watched, Watcher};
use crate::error::Error;
use crate::ladder::Ladder;
use ravelin_broker::Now;
use ravelin_event::Event;
use ravelin_mqtt::ReasonCode;
use ravelin_protect::lockout::{LockoutCounters, LockoutEntry};
use ravelin_protect::{Ban, BanError, BanSubject};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Bans that are read under the ladder's lock at once.
const PAGE: usize = 1000;

/// What a ban did.
#[derive(Clone, Debug, PartialEq)]
pub struct BanDone {
    /// The ban as it is in force.
    pub ban: Ban,
    /// Sessions that were disconnected.
    pub disconnected: usize,
    /// From the order until the last of them was.
    pub took: Duration,
}

/// Why a ban was not made or not lifted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BanFailure {
    /// It cannot be.
    #[error(transparent)]
    Ban(#[from] BanError),
    /// It is in force, but will not outlive a restart.
    #[error("it is in force until the node stops, but could not be stored: {0}")]
    Records(#[from] RecordsError),
    /// A shard did not answer: a session may still be connected.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Held while bans and their records change, and while the records are written for a checkpoint.
#[derive(Default)]
pub(crate) struct BanRecords(Mutex<()>);

impl BanRecords {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Bans, and disconnects whom it is meant for. Returns when the last of them is, and the ban is stored.
    pub async fn ban(&self, actor: &Actor, ban: Ban) -> Result<BanDone, BanFailure> {
        let (began, subject) = (Instant::now(), ban.subject.key());
        let result = async {
            let (ban, stored) = self.insert_ban(ban)?;
            let meant = ban.clone();
            let ended = self.ask_all(move |view| cut(view, &meant)).await?;
            let done = BanDone { ban, disconnected: ended.iter().sum(), took: began.elapsed() };
            self.records().settled(stored?).await?;
            Ok(done)
        };
        self.banned(actor, &subject, result.await)
    }

    /// [`Control::ban`] for a thread that may wait.
    pub fn blocking_ban(&self, actor: &Actor, ban: Ban) -> Result<BanDone, BanFailure> {
        let (began, subject) = (Instant::now(), ban.subject.key());
        let result = || {
            let (ban, stored) = self.insert_ban(ban)?;
            let meant = ban.clone();
            let ended = self.blocking_ask_all(move |view| cut(view, &meant))?;
            let done = BanDone { ban, disconnected: ended.iter().sum(), took: began.elapsed() };
            self.records().blocking_settled(stored?)?;
            Ok(done)
        };
        self.banned(actor, &subject, result())
    }

    /// Lifts a ban; returns it, or `None` if there is none.
    pub async fn unban(&self, actor: &Actor, subject: &BanSubject) -> Result<Option<Ban>, BanFailure> {
        let lifted = self.remove_ban(subject);
        let result = match lifted {
            None => Ok(None),
            Some((ban, stored)) => match stored {
                Ok(number) => self.records().settled(number).await.map(|()| Some(ban)),
                Err(error) => Err(error),
            },
        };
        self.lifted(actor, subject, result)
    }

    /// [`Control::unban`] for a thread that may wait.
    pub fn blocking_unban(&self, actor: &Actor, subject: &BanSubject) -> Result<Option<Ban>, BanFailure> {
        let result = match self.remove_ban(subject) {
            None => Ok(None),
            Some((ban, stored)) => {
                stored.and_then(|number| self.records().blocking_settled(number)).map(|()| Some(ban))
            }
        };
        self.lifted(actor, subject, result)
    }

    /// Up to `max` bans in the order of their subjects, those behind `after`.
    pub fn bans(&self, after: Option<&BanSubject>, max: usize) -> Vec<Ban> {
        self.lock_ladder().bans.page(after, max)
    }

    /// The ban that meets a client with these names, if there is one.
    pub fn ban_of(
        &self,
        client_id: &str,
        identity: Option<&str>,
        certificate: Option<&str>,
        address: Option<IpAddr>,
    ) -> Option<Ban> {
        let now_s = self.now().wall_ms / 1000;
        let ladder = self.lock_ladder();
        let by_address = address.and_then(|address| ladder.bans.of_address(address, now_s));
        by_address.or_else(|| ladder.bans.of_client(client_id, identity, certificate, now_s)).cloned()
    }

    /// The ban of exactly this subject.
    pub fn ban_on(&self, subject: &BanSubject) -> Option<Ban> {
        self.lock_ladder().bans.get(subject).cloned()
    }

    /// What lock-out counts and who waits, those that wait longest first, at most `max`.
    pub fn lockouts(&self, max: usize) -> Vec<LockoutEntry> {
        self.lock_ladder().lockout.list(self.now().mono_ms, max)
    }

    /// What lock-out did since the start.
    pub fn lockout_counters(&self) -> LockoutCounters {
        self.lock_ladder().lockout.counters()
    }

    /// Forgets the failed log-ins of a user, of an address, of both together, or all. Returns how many entries there were.
    pub fn clear_lockouts(&self, actor: &Actor, user: Option<&str>, address: Option<IpAddr>) -> usize {
        let cleared = self.lock_ladder().lockout.clear(user, address);
        let subject = match (user, address) {
            (None, None) => "all".into(),
            (Some(user), None) => format!("user:{user}"),
            (None, Some(address)) => format!("address:{address}"),
            (Some(user), Some(address)) => format!("user:{user} address:{address}"),
        };
        self.administered(actor, "lockout.clear", &subject, Ok(&format!("{cleared} entries")));
        cleared
    }

    /// Takes up the bans that the store held, and looks for those that end.
    pub(crate) fn open_bans(&self) -> Result<(), Error> {
        let now_s = self.now().wall_ms / 1000;
        for (key, value) in self.records().load(Space::Bans) {
            let ban: Result<Ban, _> = serde_json::from_slice(&value);
            let unreadable = match ban {
                Ok(ban) if !ban.is_in_force(now_s) => {
                    // It ended while the node was stopped.
                    let _ = self.records().delete(Space::Bans, &key);
                    continue;
                }
                Ok(ban) => self.lock_ladder().bans.restore(ban, now_s).err().map(|error| error.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(detail) = unreadable {
                self.emit(Event::RecordUnreadable { detail: format!("the ban of {key}: {detail}") });
            }
        }
        let inner = Arc::downgrade(&self.0);
        self.records().register(Space::Bans, move |dump| {
            let Some(inner) = inner.upgrade() else { return };
            let _held = inner.ban_records.lock();
            let mut after: Option<BanSubject> = None;
            loop {
                let page = lock(&inner.ladder).bans.page(after.as_ref(), PAGE);
                let Some(last) = page.last() else { return };
                after = Some(last.subject.clone());
                for ban in &page {
                    dump.write(&ban.subject.key(), &to_json(ban));
                }
            }
        });
        self.0.watch.add(Box::new(Expiry(Arc::downgrade(&self.0))));
        Ok(())
    }

    fn insert_ban(&self, ban: Ban) -> Result<(Ban, Result<u64, RecordsError>), BanError> {
        let _held = self.0.ban_records.lock();
        let ban = self.lock_ladder().bans.insert(ban, self.now().wall_ms / 1000)?;
        let stored = self.records().put(Space::Bans, &ban.subject.key(), &to_json(&ban));
        Ok((ban, stored))
    }

    fn remove_ban(&self, subject: &BanSubject) -> Option<(Ban, Result<u64, RecordsError>)> {
        let _held = self.0.ban_records.lock();
        let ban = self.lock_ladder().bans.remove(subject)?;
        let stored = self.records().delete(Space::Bans, &ban.subject.key());
        Some((ban, stored))
    }

    fn banned(
        &self,
        actor: &Actor,
        subject: &str,
        result: Result<BanDone, BanFailure>,
    ) -> Result<BanDone, BanFailure> {
        let outcome = match &result {
            Ok(done) => Ok(format!(
                "{} sessions disconnected in {} us; {}",
                done.disconnected,
                done.took.as_micros(),
                done.ban.reason
            )),
            Err(error) => Err(error.to_string()),
        };
        self.administered(
            actor,
            "ban.add",
            subject,
            outcome.as_ref().map(|text| text.as_str()).map_err(|text| text.as_str()),
        );
        result
    }

    fn lifted(
        &self,
        actor: &Actor,
        subject: &BanSubject,
        result: Result<Option<Ban>, RecordsError>,
    ) -> Result<Option<Ban>, BanFailure> {
        let error = result.as_ref().err().map(ToString::to_string);
        let outcome = match (&result, &error) {
            (Ok(Some(_)), _) => Ok(""),
            (_, Some(error)) => Err(error.as_str()),
            _ => Err("there is no such ban"),
        };
        self.administered(actor, "ban.remove", &subject.key(), outcome);
        Ok(result?)
    }
}

/// Ends the sessions of a shard that a ban is meant for.
fn cut(view: &mut ShardView<'_>, ban: &Ban) -> usize {
    let detail = if ban.reason.is_empty() { "banned".into() } else { format!("banned: {}", ban.reason) };
    view.disconnect_where(ReasonCode::BANNED, &detail, |conn| {
        let who = conn.principal;
        ban.covers(
            &who.client_id,
            who.identity.as_deref(),
            who.certificate.as_deref(),
            Some(conn.address.ip()),
        )
    })
}

fn to_json(ban: &Ban) -> Vec<u8> {
    // A ban is text and numbers, which JSON always has words for.
    serde_json::to_vec(ban).unwrap_or_default()
}

fn lock(ladder: &Mutex<Ladder>) -> MutexGuard<'_, Ladder> {
    ladder.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes out the bans that have ended. They stopped to count by themselves; this frees their place.
struct Expiry(Weak<Inner>);

impl Watcher for Expiry {
    fn watch(&mut self, now: Now, _: &[Watched], _: u64) {
        let Some(inner) = self.0.upgrade() else { return };
        loop {
            let held = inner.ban_records.lock();
            let ended = lock(&inner.ladder).bans.expire(now.wall_ms / 1000, PAGE);
            for ban in &ended {
                delete(&inner.records, ban);
            }
            drop(held);
            let more = ended.len() == PAGE;
            for ban in ended {
                let event = Event::BanEnded {
                    subject: ban.subject.key(),
                    reason: ban.reason.to_string(),
                    by: ban.by.to_string(),
                };
                inner.sink.emit(now.wall_ms, event);
            }
            if !more {
                return;
            }
        }
    }
}

/// If it cannot be deleted, it is when the node starts the next time.
fn delete(records: &Records, ban: &Ban) {
    let _ = records.delete(Space::Bans, &ban.subject.key());
}
