//! Repeated authentication attempts: by one source, against one user, and spread over many of both.
//!
//! Statistic: log-likelihood CUSUM of log-ins (refused or not) by source and by User Name, t0 = 0.1, t1 = 0.8, h = 11.5: six
//! refused in a row, and a false alarm once in 100,000 log-ins at most where up to a tenth are refused. What an attacker can
//! choose is left out: a success takes back its own user's failures and no other's, and speaks for its source once an hour.
//! User Names are kept by space-saving with a sketch of the sources, so that guessing that is spread over many addresses is
//! seen at its sixth attempt, however slow.
//!
//! An attack is one alarm, at whatever pace: it stays open for four times the longest pause between the attempts that are
//! remembered (eight), five minutes at least and a day at most. Whoever tries less often than once in a day is told each time.
//!
//! Spraying that is spread over both is seen by the sources whose first log-in fails: a decayed count (tau one hour) beside a
//! Poisson tail of what was usual in the days before, and one an hour at least.

use super::Shared;
use super::state::Logins;
use super::trail::{Step, Trail};
use crate::Raise;
use crate::entities::source_of;
use crate::statistics::{Cusum, poisson_threshold};
use crate::{Arrived, Cx, DetectorInfo};
use ravelin_event::{Severity, Subject};
use std::net::SocketAddr;
use std::sync::Arc;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// An alarm waits for the next attempt as long as so many pauses between the attempts before.
const PAUSES: u64 = 4;

pub(super) const AUTHENTICATION: DetectorInfo = DetectorInfo {
    name: "repeated_authentication",
    subcategory: "DE.ID-1",
    technique: Some("T1110"),
    statistic: "log-likelihood CUSUM of refused log-ins, t0 = 0.1, t1 = 0.8",
    threshold: "h = 11.5: 6 refused in a row",
    false_alarms: "at most once in 100,000 log-ins of a source or user of which up to 10 % are refused (Lorden's bound)",
    entity: "source, identity",
    description: "Log-ins are refused again and again: from one address (with one user: guessing; with many: spraying), or \
                  for one user from many addresses. A log-in that then succeeds makes it critical. It is one alarm while \
                  attempts go on at their pace.",
};

pub(super) const DISTRIBUTED: DetectorInfo = DetectorInfo {
    name: "distributed_authentication",
    subcategory: "DE.ID-1",
    technique: Some("T1110.003"),
    statistic: "decayed count of sources whose first log-in is refused (tau 1 h) beside a Poisson tail",
    threshold: "P(N >= n) <= 1e-5 for the usual rate, and one an hour at least: 9 sources in an hour",
    false_alarms: "less than once in 100,000 failing sources at the usual rate",
    entity: "fleet",
    description: "Log-ins are refused at many addresses that were never refused before, few at each: spraying that is spread \
                  over addresses and users, or a credential that was changed for a fleet.",
};

pub(super) fn failed(
    shared: &mut Shared,
    cx: &mut Cx,
    at_ms: u64,
    source: u32,
    address: SocketAddr,
    identity: Option<&Arc<str>>,
    count: u32,
) {
    let user: Arc<str> = identity.cloned().unwrap_or_default();
    let user_hash = cx.hash(&*user);
    let test = cx.settings.authentication();
    let logins = &mut cx.sources.at_mut(source).connection.logins;
    let is_first = logins.cusum.bad() == 0;
    let is_alarm = logins.cusum.count_bad(&test, at_ms, count);
    logins.note(user_hash, count);
    if is_alarm {
        raise_source(cx, at_ms, source, address, identity);
        let state = &cx.sources.at(source).connection;
        let quiet_ms = hold_off_ms(cx, at_ms, &state.logins.cusum, &state.trail);
        let subject = Subject::Source(*cx.sources.key(source));
        cx.wait_for(AUTHENTICATION.name, &subject, quiet_ms);
    }
    if is_first {
        failing_source(shared, cx, at_ms, source, address);
    }
    if !user.is_empty() {
        user_failed(shared, cx, at_ms, source, address, &user, count);
    }
}

fn raise_source(cx: &mut Cx, at_ms: u64, source: u32, address: SocketAddr, identity: Option<&Arc<str>>) {
    let subject = Subject::Source(*cx.sources.key(source));
    let state = &cx.sources.at(source).connection;
    let (cusum, users) = (state.logins.cusum, f64::from(state.logins.seen.estimate()).round());
    let test = cx.settings.authentication();
    if cx.goes_on(at_ms, AUTHENTICATION.name, &subject, cusum.score().into(), Severity::High) {
        return;
    }
    let state = &cx.sources.at(source).connection;
    let how = if users >= 4.0 { "password spraying" } else { "password guessing" };
    let mut raise = Raise::new(&AUTHENTICATION, subject, Severity::High, 95);
    raise.address = Some(address);
    raise.identity = identity.cloned();
    (raise.value, raise.threshold) = (cusum.score().into(), test.threshold.into());
    raise.baseline = Some(test.tolerated.into());
    raise.unit = "ln likelihood ratio";
    raise.first_ms = cusum.since_ms();
    raise.window_ms = at_ms.saturating_sub(cusum.since_ms());
    raise.events = cusum.bad().into();
    raise.counted = state.logins_counted(cusum.since_ms());
    raise.summary = format!(
        "{} of {} log-ins from {} were refused in {}, for {users:.0} user names: {how}",
        cusum.bad(),
        cusum.all(),
        address.ip(),
        seconds(raise.window_ms),
    );
    raise = raise.figure("refused", cusum.bad().into(), "log-ins").figure(
        "log_ins",
        cusum.all().into(),
        "log-ins",
    );
    raise = raise.figure("users", users, "user names");
    raise.false_alarms = Some(format!(
        "a stream with {:.0} % refused would do this less than once in {:.0} log-ins",
        test.tolerated * 100.0,
        test.outcomes_per_false_alarm()
    ));
    cx.raise(at_ms, raise);
}

fn user_failed(
    shared: &mut Shared,
    cx: &mut Cx,
    at_ms: u64,
    source: u32,
    address: SocketAddr,
    user: &Arc<str>,
    count: u32,
) {
    let source_key = *cx.sources.key(source);
    let hash = cx.hash(&source_key);
    let test = cx.settings.authentication();
    let entry = shared.failing.count(user, count.into());
    let failing = &mut entry.value;
    failing.sources.insert(hash);
    failing.trail.push(at_ms, Step::BadLogin);
    failing.last = Some(source_key);
    let is_alarm = failing.cusum.count_bad(&test, at_ms, count);
    if !is_alarm {
        return;
    }
    let subject = Subject::Identity(Arc::clone(user));
    let cusum = failing.cusum;
    let sources = f64::from(failing.sources.estimate()).round().max(1.0);
    let quiet_ms = hold_off_ms(cx, at_ms, &cusum, &failing.trail);
    if cx.goes_on(at_ms, AUTHENTICATION.name, &subject, cusum.score().into(), Severity::High) {
        return cx.wait_for(AUTHENTICATION.name, &subject, quiet_ms);
    }
    // What its source is known for already needs no second alarm.
    if cx.is_open(AUTHENTICATION.name, &Subject::Source(source_key)) {
        return;
    }
    let mut raise = Raise::new(&AUTHENTICATION, subject, Severity::High, 95);
    raise.address = Some(address);
    raise.identity = Some(Arc::clone(user));
    (raise.value, raise.threshold) = (cusum.score().into(), test.threshold.into());
    raise.baseline = Some(test.tolerated.into());
    raise.unit = "ln likelihood ratio";
    raise.first_ms = cusum.since_ms();
    raise.window_ms = at_ms.saturating_sub(cusum.since_ms());
    raise.events = cusum.bad().into();
    raise.counted = failing.trail.counted(cusum.since_ms(), &[Step::BadLogin]);
    raise.summary = format!(
        "{} of {} log-ins as {user} were refused in {}, from {sources:.0} addresses",
        cusum.bad(),
        cusum.all(),
        seconds(raise.window_ms),
    );
    raise = raise.figure("refused", cusum.bad().into(), "log-ins").figure("sources", sources, "addresses");
    raise.quiet_ms = Some(quiet_ms);
    cx.raise(at_ms, raise);
}

/// How long after an attempt the attack is not over yet: four times the longest pause that is remembered between attempts, or
/// the mean pause if others than attackers fill the trail.
fn hold_off_ms<const N: usize>(cx: &Cx, at_ms: u64, cusum: &Cusum, trail: &Trail<N>) -> u64 {
    let pauses = u64::from(cusum.bad().saturating_sub(1)).max(1);
    let mean_ms = at_ms.saturating_sub(cusum.since_ms()) / pauses;
    let pause_ms = trail.longest_gap_ms(Step::BadLogin).max(mean_ms);
    pause_ms.saturating_mul(PAUSES).min(DAY_MS).max(cx.settings.episodes.quiet_ms)
}

/// A source has failed that had not before, or whose failures were made up for.
fn failing_source(shared: &mut Shared, cx: &mut Cx, at_ms: u64, source: u32, address: SocketAddr) {
    if shared.failing_since_ms == 0 {
        shared.failing_since_ms = at_ms;
    }
    let settings = &cx.settings.connection;
    let many = f64::from(shared.failing_sources.add(HOUR_MS, at_ms, 1.0));
    // Until there are days to look back on, what is allowed is all that is usual.
    let days = at_ms.saturating_sub(shared.failing_since_ms) as f64 / DAY_MS as f64;
    let slow = f64::from(shared.failing_sources_slow.now(7 * DAY_MS, at_ms));
    let usual = if days >= 1.0 { slow / (days.min(7.0) * 24.0) } else { 0.0 };
    let mean = usual.max(settings.failing_sources_per_hour);
    if many > mean && cx.goes_on(at_ms, DISTRIBUTED.name, &Subject::Fleet, many, Severity::High) {
        return;
    }
    let settings = &cx.settings.connection;
    let threshold = poisson_threshold(mean, settings.chance) as f64;
    let is_alarm = many + 0.01 >= threshold;
    if !is_alarm {
        // Nothing is learned from what may be an attack.
        shared.failing_sources_slow.add(7 * DAY_MS, at_ms, 1.0);
        return;
    }
    let trail = cx.sources.at(source).connection.trail;
    let mut raise = Raise::new(&DISTRIBUTED, Subject::Fleet, Severity::High, 80);
    raise.address = Some(address);
    (raise.value, raise.threshold, raise.baseline) = (many, threshold, Some(mean));
    (raise.unit, raise.window_ms, raise.events) = ("sources", HOUR_MS, many.round() as u64);
    raise.first_ms = at_ms.saturating_sub(HOUR_MS).max(shared.failing_since_ms);
    raise.counted = trail.counted(raise.first_ms, &[Step::BadLogin]);
    raise.quiet_ms = Some(HOUR_MS);
    raise.summary = format!(
        "the first log-ins of {many:.0} addresses were refused within an hour, where {mean:.1} are usual; the last at {}",
        address.ip()
    );
    cx.raise(at_ms, raise);
}

/// A client was let in.
pub(super) fn succeeded(
    shared: &mut Shared,
    cx: &mut Cx,
    at_ms: u64,
    slot: u32,
    source: u32,
    arrived: &Arrived,
) {
    let test = cx.settings.authentication();
    let user_hash = cx.hash(arrived.identity.as_deref().unwrap_or_default());
    let state = &mut cx.clients.at_mut(slot).connection;
    let speaks = at_ms >= state.credited_ms + HOUR_MS || state.credited_ms == 0;
    let logins = &mut cx.sources.at_mut(source).connection.logins;
    let own = logins.take_back(user_hash, test.bad());
    if own > 0 && logins.cusum.bad() == 0 && shared.failing_sources.now(HOUR_MS, at_ms) >= 1.0 {
        // It was a mistake, and is made up for.
        shared.failing_sources.add(HOUR_MS, at_ms, -1.0);
    }
    if speaks && own == 0 {
        logins.cusum.count(&test, at_ms, false);
        cx.clients.at_mut(slot).connection.credited_ms = at_ms;
    }
    let Some(identity) = &arrived.identity else { return };
    let source_key = source_of(arrived.address.ip());
    if own >= 3 && cx.is_open(AUTHENTICATION.name, &Subject::Source(source_key)) {
        guessed(cx, at_ms, Subject::Source(source_key), arrived);
    }
    let Some(failing) = shared.failing.find_mut(identity) else { return };
    let was_here = failing.value.last == Some(source_key);
    failing.value = Default::default();
    let subject = Subject::Identity(Arc::clone(identity));
    if was_here && cx.is_open(AUTHENTICATION.name, &subject) {
        guessed(cx, at_ms, subject, arrived);
    } else {
        cx.clear(at_ms, AUTHENTICATION.name, &subject);
    }
}

/// Whoever has tried again and again has got in.
fn guessed(cx: &mut Cx, at_ms: u64, subject: Subject, arrived: &Arrived) {
    let who = arrived.identity.as_deref().unwrap_or_default();
    let note = format!("; then {who} was let in from {} as {}", arrived.address.ip(), arrived.client_id);
    cx.add_to_summary(AUTHENTICATION.name, &subject, &note);
    cx.goes_on(at_ms, AUTHENTICATION.name, &subject, 0.0, Severity::Critical);
}

/// Counts of User Names lose half of their weight in a day.
pub(super) fn tick(shared: &mut Shared, at_ms: u64) {
    if shared.aged_ms == 0 {
        shared.aged_ms = at_ms;
    }
    if at_ms >= shared.aged_ms + DAY_MS {
        shared.aged_ms = at_ms;
        shared.failing.age();
    }
}

pub(super) fn seconds(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{:.1} s", ms as f64 / 1e3),
        10_000..600_000 => format!("{} s", ms / 1_000),
        600_000..36_000_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / HOUR_MS),
    }
}

impl Logins {
    fn note(&mut self, user_hash: u64, count: u32) {
        self.seen.insert(user_hash);
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        let short = user_hash as u32 | 1;
        let at = self.users.iter().position(|(user, _)| *user == short);
        let at = at.unwrap_or_else(|| {
            // The place of the one with fewest failures.
            let least = (0..self.users.len()).min_by_key(|at| self.users[*at].1).unwrap_or(0);
            self.users[least] = (short, 0);
            least
        });
        self.users[at].1 = self.users[at].1.saturating_add(count);
    }

    /// Takes back the failures of a user, and says how many they were.
    fn take_back(&mut self, user_hash: u64, bad: f32) -> u16 {
        let short = user_hash as u32 | 1;
        let Some(entry) = self.users.iter_mut().find(|(user, count)| *user == short && *count > 0) else {
            return 0;
        };
        let failures = std::mem::take(&mut entry.1);
        self.cusum.take_back(bad * f32::from(failures), failures);
        if self.cusum.score() == 0.0 {
            self.seen.clear();
        }
        failures
    }
}
