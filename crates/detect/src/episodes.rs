//! From what detectors find to what is told: one alarm of an episode, one of a whole fleet's, none that is suppressed, and
//! not more than anybody can read.

use crate::cx::Cx;
use crate::fleet::Recent;
use crate::persist::Changed;
use crate::{AlarmTable, Error, Raise, Settings, Suppression, trust};
use foldhash::fast::FixedState;
use hashbrown::{Equivalent, HashMap};
use ravelin_event::{Alarm, Notice, Severity, Subject, Verification};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Numbers that are reserved at once, so that none is used again after a crash.
const RESERVED: u64 = 100;
/// Raises that wait for others of their kind.
const GATHERED_MAX: usize = 4_096;

#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Key {
    detector: Arc<str>,
    subject: Subject,
}

#[derive(PartialEq, Eq)]
pub(crate) struct KeyRef<'a> {
    pub detector: &'a str,
    pub subject: &'a Subject,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef { detector: &self.detector, subject: &self.subject }.hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.detector.hash(state);
        self.subject.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self.detector == *key.detector && *self.subject == key.subject
    }
}

/// An alarm that goes on.
pub(crate) struct Episode {
    pub id: u64,
    since_ms: u64,
    last_ms: u64,
    quiet_ms: u64,
    /// What was told last, and when.
    told: f64,
    told_events: u64,
    told_ms: u64,
    severity: Severity,
    /// The detector says that it is over.
    is_calm: bool,
}

/// What is kept of each detector.
#[derive(Default)]
pub(crate) struct PerDetector {
    /// Alarms that may still be raised (a token bucket), as of when.
    tokens: Option<(f64, u64)>,
    findings: Option<(f64, u64)>,
    pub recent: VecDeque<Recent>,
    /// The one alarm that stands for many.
    pub fleet: Option<Subject>,
    raised: u64,
    suppressed: u64,
    limited: u64,
    /// Of those, what was not told yet.
    limited_untold: u64,
}

pub(crate) struct Gathered {
    due_ms: u64,
    pub raise: Raise,
}

/// All episodes.
pub(crate) struct Episodes {
    pub open: HashMap<Key, Episode, FixedState>,
    /// When a finding was last told of a subject.
    found: HashMap<Key, u64, FixedState>,
    per_detector: BTreeMap<Arc<str>, PerDetector>,
    pub gathered: Vec<Gathered>,
    pub alarms: AlarmTable,
    pub suppressions: BTreeMap<u64, Suppression>,
    pub notices: VecDeque<Notice>,
    pub notices_lost: u64,
    next: u64,
    /// All numbers below are used, or may be.
    pub reserved: u64,
    swept_ms: u64,
}

/// Findings of which it is remembered that they were told.
const FOUND_MAX: usize = 4_096;
/// A finding about one subject is told again after so long.
const FOUND_AGAIN_MS: u64 = 600_000;
/// An alarm that becomes worse is told again after so long at the earliest, unless its severity rises.
const WORSE_AGAIN_MS: u64 = 60_000;
/// What is added to the sentence of an alarm that becomes worse.
const BY_NOW: &str = "; by now ";

impl Episodes {
    pub fn new(settings: &Settings, seed: u64) -> Episodes {
        Episodes {
            open: HashMap::with_hasher(FixedState::with_seed(seed)),
            found: HashMap::with_hasher(FixedState::with_seed(seed)),
            per_detector: BTreeMap::new(),
            gathered: Vec::new(),
            alarms: AlarmTable::new(settings.limits.alarms),
            suppressions: BTreeMap::new(),
            notices: VecDeque::new(),
            notices_lost: 0,
            next: 1,
            reserved: 1,
            swept_ms: 0,
        }
    }

    /// No number below is used again.
    pub fn number_from(&mut self, reserved: u64) {
        self.reserved = self.reserved.max(reserved);
        self.next = self.next.max(reserved);
    }

    fn tell(&mut self, notice: Notice, max: usize) {
        if self.notices.len() < max {
            self.notices.push_back(notice);
        } else {
            self.notices_lost += 1;
        }
    }

    pub fn detector(&mut self, name: &str) -> &mut PerDetector {
        if !self.per_detector.contains_key(name) {
            self.per_detector.insert(name.into(), PerDetector::default());
        }
        self.per_detector.get_mut(name).expect("it was inserted")
    }

    fn suppression(&self, at_ms: u64, detector: &str, subject: &Subject) -> bool {
        self.suppressions.values().any(|suppression| suppression.meets(at_ms, detector, subject))
    }

    /// Names of the detectors that have raised something, with what became of that: raised, suppressed, left out.
    pub fn counts(&self) -> impl Iterator<Item = (&Arc<str>, u64, u64, u64)> {
        self.per_detector.iter().map(|(name, d)| (name, d.raised, d.suppressed, d.limited))
    }

    /// A detector of which alarms were left out since the last call because they were too many, and how many.
    pub fn take_limited(&mut self) -> Option<(Arc<str>, u64)> {
        let (name, detector) = self.per_detector.iter_mut().find(|(_, d)| d.limited_untold > 0)?;
        Some((Arc::clone(name), std::mem::take(&mut detector.limited_untold)))
    }

    pub fn open_by_detector(&self) -> BTreeMap<Arc<str>, u64> {
        let mut open = BTreeMap::new();
        for key in self.open.keys() {
            *open.entry(Arc::clone(&key.detector)).or_default() += 1;
        }
        open
    }
}

/// Takes a token of a bucket that holds `per_minute` and fills up in a minute.
fn take_token(bucket: &mut Option<(f64, u64)>, at_ms: u64, per_minute: u32) -> bool {
    let most = f64::from(per_minute.max(1));
    let (tokens, since) = bucket.unwrap_or((most, at_ms));
    let filled = (tokens + most * at_ms.saturating_sub(since) as f64 / 60_000.0).min(most);
    let is_free = filled >= 1.0;
    *bucket = Some((if is_free { filled - 1.0 } else { filled }, at_ms.max(since)));
    is_free
}

impl Cx {
    /// Whether `detector` has an open alarm about `subject`, or one that stands for it.
    pub fn is_open(&self, detector: &str, subject: &Subject) -> bool {
        self.episodes.open.contains_key(&KeyRef { detector, subject })
    }

    /// Goes on with an open alarm, if there is one: cheaper than making up what [`Cx::raise`] takes. The alarm is told again if
    /// its severity has risen, or, after a minute, if `value` (in the unit of the alarm's) is twice what was told, or there are
    /// four times as many events.
    pub fn goes_on(
        &mut self,
        at_ms: u64,
        detector: &str,
        subject: &Subject,
        value: f64,
        severity: Severity,
    ) -> bool {
        let Some(episode) = self.episodes.open.get_mut(&KeyRef { detector, subject }) else { return false };
        (episode.last_ms, episode.is_calm) = (episode.last_ms.max(at_ms), false);
        let rises = severity > episode.severity;
        let waited = at_ms >= episode.told_ms + WORSE_AGAIN_MS;
        let id = episode.id;
        let Some(alarm) = self.episodes.alarms.find_mut(id) else { return true };
        (alarm.last_ms, alarm.events) = (alarm.last_ms.max(at_ms), alarm.events.saturating_add(1));
        let grows = value >= 2.0 * episode.told || alarm.events >= episode.told_events.saturating_mul(4);
        let is_worse = rises || (grows && waited);
        if !is_worse {
            return true;
        }
        episode.told_events = alarm.events;
        alarm.summary.truncate(alarm.summary.find(BY_NOW).unwrap_or(alarm.summary.len()));
        alarm.summary.push_str(&format!("{BY_NOW}{} events", alarm.events));
        alarm.value = alarm.value.max(value);
        alarm.severity = alarm.severity.max(severity);
        let (alarm, is_suppressed) = (Arc::new(alarm.clone()), alarm.suppressed);
        (episode.told, episode.told_ms, episode.severity) = (alarm.value, at_ms, alarm.severity);
        self.change(Changed::Alarm(id));
        if !is_suppressed {
            self.episodes.tell(Notice::Worsened(alarm), self.settings.limits.notices);
        }
        true
    }

    /// An open alarm waits so long for another sign of it, in milliseconds since the last one.
    pub fn wait_for(&mut self, detector: &str, subject: &Subject, quiet_ms: u64) {
        if let Some(episode) = self.episodes.open.get_mut(&KeyRef { detector, subject }) {
            episode.quiet_ms = quiet_ms;
        }
    }

    /// Something more is to be said with an open alarm, once, when it is told again.
    pub(crate) fn add_to_summary(&mut self, detector: &str, subject: &Subject, note: &str) {
        let Some(episode) = self.episodes.open.get(&KeyRef { detector, subject }) else { return };
        let (id, severity) = (episode.id, episode.severity);
        if let Some(alarm) = self.episodes.alarms.find_mut(id)
            && severity < Severity::Critical
        {
            alarm.summary.push_str(note);
        }
    }

    /// What a detector has found becomes an alarm, or goes on with one. Returns its number, if it has one now.
    pub fn raise(&mut self, at_ms: u64, mut raise: Raise) -> Option<u64> {
        if raise.is_finding {
            return self.find(at_ms, raise);
        }
        let key = KeyRef { detector: raise.detector(), subject: &raise.subject };
        if let Some(episode) = self.episodes.open.get(&key) {
            let id = episode.id;
            self.figures_go_on(id, &raise);
            let name = raise.name.take();
            let detector = name.as_deref().unwrap_or(raise.info.name);
            self.goes_on(at_ms, detector, &raise.subject, raise.value, raise.severity);
            return Some(id);
        }
        self.fill_in(&mut raise);
        if raise.folds && !matches!(raise.subject, Subject::Fleet | Subject::Node) {
            if let Some(id) = self.fold(at_ms, &raise) {
                return Some(id);
            }
            if raise.gather_ms > 0 {
                self.gather(at_ms, raise);
                return None;
            }
        }
        self.open(at_ms, raise)
    }

    /// The figures of an open alarm are those of now.
    fn figures_go_on(&mut self, id: u64, raise: &Raise) {
        if raise.figures.is_empty() {
            return;
        }
        let Some(alarm) = self.episodes.alarms.find_mut(id) else { return };
        for figure in &mut alarm.figures {
            if let Some(now) = raise.figures.iter().find(|now| now.name == figure.name) {
                figure.value = now.value;
            }
        }
    }

    fn fill_in(&self, raise: &mut Raise) {
        let Some(slot) = raise.client else { return };
        let names = self.names(slot);
        raise.client_id.get_or_insert_with(|| Arc::clone(&names.client_id));
        raise.identity = raise.identity.take().or_else(|| names.identity.clone());
        raise.address = raise.address.or(names.address);
    }

    fn find(&mut self, at_ms: u64, mut raise: Raise) -> Option<u64> {
        let key = Key { detector: raise.detector().into(), subject: raise.subject.clone() };
        let told = self.episodes.found.get(&key).copied();
        if told.is_some_and(|told| at_ms < told + FOUND_AGAIN_MS) || self.episodes.open.contains_key(&key) {
            return None;
        }
        if self.episodes.found.len() >= FOUND_MAX {
            self.episodes.found.retain(|_, told| at_ms < *told + FOUND_AGAIN_MS);
        }
        let per_minute = self.settings.episodes.alarms_per_minute;
        let detector = self.episodes.detector(&key.detector);
        if !take_token(&mut detector.findings, at_ms, per_minute) {
            return None;
        }
        if self.episodes.found.len() < FOUND_MAX {
            self.episodes.found.insert(key.clone(), at_ms);
        }
        self.fill_in(&mut raise);
        let class = raise.client.and_then(|slot| self.names(slot).class.clone());
        let mut alarm = raise.alarm(at_ms, class);
        alarm.suppressed = self.episodes.suppression(at_ms, &key.detector, &key.subject);
        alarm.id = self.number();
        alarm.cleared_ms = Some(at_ms);
        let id = alarm.id;
        if !alarm.suppressed {
            self.episodes.tell(Notice::Finding(Arc::new(alarm)), self.settings.limits.notices);
        }
        Some(id)
    }

    pub(crate) fn number(&mut self) -> u64 {
        let episodes = &mut self.episodes;
        let id = episodes.next;
        episodes.next += 1;
        if id >= episodes.reserved {
            episodes.reserved = id + RESERVED;
            self.changed.insert(Changed::Numbers);
        }
        id
    }

    fn gather(&mut self, at_ms: u64, raise: Raise) {
        let gathered = &mut self.episodes.gathered;
        let waits = |other: &Gathered| {
            other.raise.subject == raise.subject && other.raise.detector() == raise.detector()
        };
        if gathered.len() < GATHERED_MAX && !gathered.iter().any(waits) {
            gathered.push(Gathered { due_ms: at_ms + raise.gather_ms, raise });
        }
    }

    pub(crate) fn open(&mut self, at_ms: u64, raise: Raise) -> Option<u64> {
        let per_minute = self.settings.episodes.alarms_per_minute;
        let name: Arc<str> = raise.detector().into();
        let is_suppressed = self.episodes.suppression(at_ms, &name, &raise.subject);
        let detector = self.episodes.detector(&name);
        if is_suppressed {
            detector.suppressed += 1;
        } else if !take_token(&mut detector.tokens, at_ms, per_minute) {
            detector.limited += 1;
            detector.limited_untold += 1;
            return None;
        } else {
            detector.raised += 1;
        }
        let quiet_ms = raise.quiet_ms.unwrap_or(self.settings.episodes.quiet_ms);
        let (client, severity) = (raise.client, raise.severity);
        let class = client.and_then(|slot| self.names(slot).class.clone());
        let mut alarm = raise.alarm(at_ms, class);
        alarm.id = self.number();
        alarm.suppressed = is_suppressed;
        let (id, value, events, subject) = (alarm.id, alarm.value, alarm.events, alarm.subject.clone());
        let alarm = Arc::new(alarm);
        if let Some(gone) = self.episodes.alarms.insert(Arc::clone(&alarm)) {
            self.episodes.open.retain(|_, episode| episode.id != gone);
            self.change(Changed::Alarm(gone));
        }
        let episode = Episode {
            id,
            since_ms: at_ms,
            last_ms: at_ms,
            quiet_ms,
            told: value,
            told_events: events,
            told_ms: at_ms,
            severity,
            is_calm: false,
        };
        self.episodes.open.insert(Key { detector: name, subject: subject.clone() }, episode);
        self.change(Changed::Alarm(id));
        if !is_suppressed {
            self.episodes.tell(Notice::Raised(alarm), self.settings.limits.notices);
            if let (Some(slot), Subject::Client(_)) = (client, &subject) {
                self.distrust_alarm(at_ms, slot, id, severity);
            }
        }
        Some(id)
    }

    /// The detector says that it is over. It stays open for the hold-off time at least.
    pub fn clear(&mut self, at_ms: u64, detector: &str, subject: &Subject) {
        let gathered = &mut self.episodes.gathered;
        if !gathered.is_empty() {
            gathered.retain(|other| other.raise.subject != *subject || other.raise.detector() != detector);
        }
        let hold_off_ms = self.settings.episodes.hold_off_ms;
        let Some(episode) = self.episodes.open.get_mut(&KeyRef { detector, subject }) else { return };
        if at_ms < episode.since_ms + hold_off_ms {
            episode.is_calm = true;
        } else {
            self.close(at_ms, detector, subject);
        }
    }

    pub(crate) fn close(&mut self, at_ms: u64, detector: &str, subject: &Subject) {
        let Some(episode) = self.episodes.open.remove(&KeyRef { detector, subject }) else { return };
        let Some(alarm) = self.episodes.alarms.find_mut(episode.id) else { return };
        alarm.cleared_ms = Some(at_ms.max(alarm.last_ms));
        let (alarm, is_suppressed) = (Arc::new(alarm.clone()), alarm.suppressed);
        self.change(Changed::Alarm(episode.id));
        if !is_suppressed {
            self.episodes.tell(Notice::Cleared(alarm), self.settings.limits.notices);
        }
    }

    /// Raises what has waited, and clears what is over. Once a second is enough.
    pub(crate) fn tick_episodes(&mut self, at_ms: u64) {
        let due = |gathered: &mut Gathered| gathered.due_ms <= at_ms;
        let due: Vec<Gathered> = self.episodes.gathered.extract_if(.., due).collect();
        for gathered in due {
            self.open(at_ms, gathered.raise);
        }
        if at_ms < self.episodes.swept_ms + 1_000 {
            return;
        }
        self.episodes.swept_ms = at_ms;
        let hold_off_ms = self.settings.episodes.hold_off_ms;
        let is_over = |episode: &Episode| {
            at_ms >= episode.last_ms + episode.quiet_ms
                || (episode.is_calm && at_ms >= episode.since_ms + hold_off_ms)
        };
        let mut over: Vec<(u64, Key)> = self
            .episodes
            .open
            .iter()
            .filter(|(_, episode)| is_over(episode))
            .map(|(key, episode)| (episode.id, key.clone()))
            .collect();
        over.sort_by_key(|(id, _)| *id);
        for (_, key) in over {
            self.close(at_ms, &key.detector, &key.subject);
        }
        let ended: Vec<u64> = self
            .episodes
            .suppressions
            .values()
            .filter(|suppression| suppression.is_over(at_ms))
            .map(|suppression| suppression.id)
            .collect();
        for id in ended {
            self.episodes.suppressions.remove(&id);
            self.change(Changed::Suppression(id));
        }
    }

    pub(crate) fn suppress(&mut self, mut suppression: Suppression) -> Result<u64, Error> {
        let max = self.settings.limits.suppressions;
        if suppression.detector.is_none() && suppression.subject.is_none() && suppression.until_ms.is_none() {
            return Err(Error::SuppressesAll);
        }
        if self.episodes.suppressions.len() >= max {
            return Err(Error::TooManySuppressions(max));
        }
        suppression.id = self.number();
        let id = suppression.id;
        self.episodes.suppressions.insert(id, suppression);
        self.change(Changed::Suppression(id));
        Ok(id)
    }

    pub(crate) fn unsuppress(&mut self, id: u64) -> Result<(), Error> {
        self.episodes.suppressions.remove(&id).ok_or(Error::NoSuchSuppression(id))?;
        self.change(Changed::Suppression(id));
        Ok(())
    }

    pub(crate) fn verify(&mut self, id: u64, verification: Verification) -> Result<(), Error> {
        let alarm = self.episodes.alarms.find_mut(id).ok_or(Error::NoSuchAlarm(id))?;
        let was = std::mem::replace(&mut alarm.verification, verification);
        let (subject, severity) = (alarm.subject.clone(), alarm.severity);
        self.change(Changed::Alarm(id));
        // What was no attack is not held against the client.
        let (Subject::Client(client_id), false) = (subject, is_innocent(was)) else { return Ok(()) };
        if let (Some(slot), true) = (self.clients.find(&*client_id), is_innocent(verification)) {
            self.pardon(self.now_ms, slot, trust::alarm_weight(severity));
        }
        Ok(())
    }

    /// An alarm of before the restart: it goes on if it was open, until it has been quiet for long enough.
    pub(crate) fn restore_alarm(&mut self, alarm: Alarm) {
        self.episodes.number_from(alarm.id + 1);
        if alarm.is_open() {
            let key = Key { detector: Arc::clone(&alarm.detector), subject: alarm.subject.clone() };
            let episode = Episode {
                id: alarm.id,
                since_ms: alarm.raised_ms,
                last_ms: alarm.last_ms,
                quiet_ms: self.settings.episodes.quiet_ms,
                told: alarm.value,
                told_events: alarm.events,
                told_ms: alarm.raised_ms,
                severity: alarm.severity,
                is_calm: false,
            };
            self.episodes.open.insert(key, episode);
        }
        if let Some(gone) = self.episodes.alarms.insert(Arc::new(alarm)) {
            self.episodes.open.retain(|_, episode| episode.id != gone);
        }
    }
}

fn is_innocent(verification: Verification) -> bool {
    matches!(verification, Verification::BenignPositive | Verification::FalsePositive)
}
