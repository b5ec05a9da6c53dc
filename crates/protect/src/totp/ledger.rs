//! What was used: no code works twice, and whoever guesses is slowed down.
//!
//! One ledger for the whole node, shared by all snapshots of the authenticator. It is asked once for each log-in with
//! a code, never for a message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Wrong codes that are free.
const FREE_FAILURES: u32 = 5;
/// The first wait after these; each further wrong code doubles it.
const WAIT_FIRST_S: u64 = 30;
const WAIT_MAX_S: u64 = 3600;
/// Above so many identities, those with nothing left to remember are looked for and forgotten.
const PRUNE_ABOVE: usize = 1024;

/// Why a code does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// It, or a later one, was used before.
    #[error("the one-time code was used before")]
    Used,
    /// Too many wrong ones came before.
    #[error("too many wrong one-time codes; the next is looked at in {wait_s} s")]
    Waiting {
        /// Seconds left.
        wait_s: u64,
    },
    /// What is used could not be kept, so that it could be used again after a restart.
    #[error("the use of the one-time code could not be kept")]
    NotKept,
}

/// Keeps what was used beyond a restart.
pub trait Keeper: Send + Sync {
    /// Takes a use down: identity, step, and until when (seconds since the Unix epoch) it must be remembered. Called in
    /// the order of the uses. Returns a number for [`Keeper::settle`]; `None`: it cannot be kept.
    fn keep(&self, identity: &str, step: u64, over_s: u64) -> Option<u64>;

    /// Waits until what has this number is safe; false if it will not be.
    fn settle(&self, number: u64) -> bool;
}

/// Keeps nothing: for a node without a store, and for tests.
struct Forgetful;

impl Keeper for Forgetful {
    fn keep(&self, _: &str, _: u64, _: u64) -> Option<u64> {
        Some(0)
    }

    fn settle(&self, _: u64) -> bool {
        true
    }
}

/// Which steps were used, by identity.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    lines: Mutex<Lines>,
    keeper: Box<dyn Keeper>,
}

#[derive(Default)]
struct Lines {
    by_identity: HashMap<Box<str>, Line>,
    /// Grows with what cannot be forgotten, so that a full ledger is not searched at every log-in.
    prune_above: usize,
}

#[derive(Clone, Copy, Default)]
struct Line {
    /// One more than the last step that was used; 0 is none.
    next_step: u64,
    /// When no code of that step is accepted any more, in seconds since the Unix epoch.
    over_s: u64,
    failures: u32,
    /// Codes are not looked at before, in seconds since the Unix epoch.
    blocked_until_s: u64,
}

impl Default for Ledger {
    /// A ledger that is lost with the process.
    fn default() -> Ledger {
        Ledger::new(Forgetful)
    }
}

impl Ledger {
    /// An empty ledger. A use counts only once `keeper` has it.
    pub fn new(keeper: impl Keeper + 'static) -> Ledger {
        Ledger(Arc::new(Inner { lines: Mutex::default(), keeper: Box::new(keeper) }))
    }

    /// Puts a use back that was kept.
    pub fn restore(&self, identity: &str, step: u64, over_s: u64) {
        self.with(identity, 0, |line| {
            line.next_step = line.next_step.max(step.saturating_add(1));
            line.over_s = line.over_s.max(over_s);
        });
    }

    /// Gives the uses that still matter at `now_s` to `write` (identity, step, until when), while no other is taken down.
    pub fn each_use(&self, now_s: u64, mut write: impl FnMut(&str, u64, u64)) {
        let lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        for (identity, line) in &lines.by_identity {
            if line.next_step > 0 && line.over_s > now_s {
                write(identity, line.next_step - 1, line.over_s);
            }
        }
    }

    /// Uses `step` up, or says why it does not count. `step` is what [`Totp::verify`](super::Totp::verify) found; `None`
    /// is a wrong code, which counts against the identity.
    ///
    /// `Ok(false)`: the code is wrong.
    pub fn settle(
        &self,
        identity: &str,
        step: Option<u64>,
        over_s: u64,
        now_s: u64,
    ) -> Result<bool, LedgerError> {
        let kept = self.with(identity, now_s, |line| {
            if now_s < line.blocked_until_s {
                return Err(LedgerError::Waiting { wait_s: line.blocked_until_s - now_s });
            }
            let Some(step) = step else {
                line.fail(now_s);
                return Ok(None);
            };
            // Once no code of the last step is accepted any more, its number says nothing: the period may be another.
            if step < line.next_step && now_s < line.over_s {
                return Err(LedgerError::Used);
            }
            *line = Line { next_step: step.saturating_add(1), over_s, failures: 0, blocked_until_s: 0 };
            // Under the lock, so that uses are kept in their order.
            self.0.keeper.keep(identity, step, over_s).ok_or(LedgerError::NotKept).map(Some)
        })?;
        // Outside of it: whoever asks meanwhile finds the step used.
        match kept {
            Some(number) if !self.0.keeper.settle(number) => Err(LedgerError::NotKept),
            kept => Ok(kept.is_some()),
        }
    }

    fn with<R>(&self, identity: &str, now_s: u64, change: impl FnOnce(&mut Line) -> R) -> R {
        let mut lines = self.0.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.prune(now_s);
        if !lines.by_identity.contains_key(identity) {
            lines.by_identity.insert(identity.into(), Line::default());
        }
        match lines.by_identity.get_mut(identity) {
            Some(line) => change(line),
            None => change(&mut Line::default()),
        }
    }
}

impl Lines {
    fn prune(&mut self, now_s: u64) {
        if self.by_identity.len() > self.prune_above.max(PRUNE_ABOVE) {
            self.by_identity.retain(|_, line| line.matters(now_s));
            self.prune_above = self.by_identity.len() * 2;
        }
    }
}

impl Line {
    fn fail(&mut self, now_s: u64) {
        self.failures = self.failures.saturating_add(1);
        if self.failures >= FREE_FAILURES {
            let doublings = (self.failures - FREE_FAILURES).min(12);
            self.blocked_until_s = now_s + (WAIT_FIRST_S << doublings).min(WAIT_MAX_S);
        }
    }

    /// Failures are remembered for as long again as the longest wait.
    fn matters(&self, now_s: u64) -> bool {
        now_s < self.over_s || (self.failures > 0 && now_s < self.blocked_until_s + WAIT_MAX_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_step_is_used_once_and_none_before_it() {
        let ledger = Ledger::default();
        assert_eq!(ledger.settle("a", Some(10), 360, 300), Ok(true));
        assert_eq!(ledger.settle("a", Some(10), 360, 300), Err(LedgerError::Used));
        assert_eq!(ledger.settle("a", Some(9), 330, 300), Err(LedgerError::Used));
        assert_eq!(ledger.settle("b", Some(10), 360, 300), Ok(true), "another identity");
        assert_eq!(ledger.settle("a", Some(11), 390, 300), Ok(true));
        // Every snapshot of the authenticator shares it.
        assert_eq!(ledger.clone().settle("a", Some(11), 390, 300), Err(LedgerError::Used));
    }

    #[derive(Default)]
    struct Book {
        lines: Mutex<Vec<(String, u64, u64)>>,
        full: AtomicBool,
        lost: AtomicBool,
    }

    impl Keeper for Arc<Book> {
        fn keep(&self, identity: &str, step: u64, over_s: u64) -> Option<u64> {
            self.lines.lock().unwrap().push((identity.into(), step, over_s));
            (!self.full.load(Ordering::Relaxed)).then_some(7)
        }

        fn settle(&self, number: u64) -> bool {
            number == 7 && !self.lost.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn what_was_used_is_kept_and_put_back() {
        let book = Arc::new(Book::default());
        let ledger = Ledger::new(book.clone());
        assert_eq!(ledger.settle("a", Some(10), 360, 300), Ok(true));
        let uses = |now_s| {
            let mut uses = Vec::new();
            ledger.each_use(now_s, |identity, step, over_s| uses.push((identity.to_string(), step, over_s)));
            uses
        };
        assert_eq!(uses(300), [("a".to_string(), 10, 360)]);
        assert_eq!(uses(360), []);
        let again = Ledger::default();
        for (identity, step, over_s) in book.lines.lock().unwrap().iter() {
            again.restore(identity, *step, *over_s);
        }
        assert_eq!(again.settle("a", Some(10), 360, 301), Err(LedgerError::Used));
        for (number, refuses) in [&book.full, &book.lost].into_iter().enumerate() {
            refuses.store(true, Ordering::Relaxed);
            let step = 11 + number as u64;
            assert_eq!(ledger.settle("a", Some(step), 390, 300), Err(LedgerError::NotKept));
            assert_eq!(ledger.settle("a", Some(step), 390, 300), Err(LedgerError::Used), "lost is not free");
            refuses.store(false, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_new_secret_with_another_period_is_not_measured_by_the_old_steps() {
        let ledger = Ledger::default();
        assert_eq!(ledger.settle("a", Some(60_000_000), 1_800_000_060, 1_800_000_000), Ok(true));
        assert_eq!(
            ledger.settle("a", Some(30_000_001), 1_800_000_180, 1_800_000_030),
            Err(LedgerError::Used)
        );
        assert_eq!(ledger.settle("a", Some(30_000_001), 1_800_000_180, 1_800_000_061), Ok(true));
    }

    #[test]
    fn wrong_codes_slow_down_and_a_right_one_ends_it() {
        let ledger = Ledger::default();
        let mut now_s = 1000;
        for _ in 0..FREE_FAILURES {
            assert_eq!(ledger.settle("a", None, 0, now_s), Ok(false));
        }
        assert_eq!(ledger.settle("a", Some(99), 3000, now_s), Err(LedgerError::Waiting { wait_s: 30 }));
        assert_eq!(ledger.settle("b", Some(99), 3000, now_s), Ok(true), "another identity does not wait");
        let mut tries = 0;
        while now_s < 1000 + 86_400 {
            now_s += 1;
            if ledger.settle("a", None, 0, now_s).is_ok() {
                tries += 1;
            }
        }
        assert!(tries <= 32, "{tries} guesses in a day, of 333,333 that are needed for one hit");
        now_s += WAIT_MAX_S;
        assert_eq!(ledger.settle("a", Some(50_000), now_s + 60, now_s), Ok(true));
        assert_eq!(ledger.settle("a", None, 0, now_s), Ok(false), "free again");
    }

    #[test]
    fn what_no_longer_matters_is_forgotten() {
        let ledger = Ledger::default();
        for identity in 0..10 * PRUNE_ABOVE as u64 {
            let now_s = 100 * identity;
            assert_eq!(ledger.settle(&identity.to_string(), Some(1), now_s + 60, now_s), Ok(true));
        }
        assert!(ledger.0.lines.lock().unwrap().by_identity.len() <= PRUNE_ABOVE + 1);
    }
}
