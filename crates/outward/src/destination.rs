//! One destination: what waits for it, and the thread that sends it, in order, until it is taken.

use crate::figures::Figures;
use crate::senders::{Sender, Target};
use crate::{DestinationView, Entry, Error, Form, Host, Item, Origin, Selection, Spool, SpoolLimits, State};
use ravelin_event::{Event, Severity};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A destination that comes and goes is told of so often at most.
const TELL_EVERY_MS: u64 = 60_000;

/// How long after a failure it is tried again: twice as long each time, less a random part so that nodes do not come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// After the first.
    pub first: Duration,
    /// At most.
    pub max: Duration,
}

impl Default for Backoff {
    /// From one second to one minute.
    fn default() -> Backoff {
        Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The pause after so many failures in a row; `random` takes up to half of it away.
    pub fn pause(&self, failures: u32, random: u16) -> Duration {
        let doubled = self.first.saturating_mul(1 << failures.saturating_sub(1).min(20)).min(self.max);
        doubled - doubled / 2 * u32::from(random) / u32::from(u16::MAX)
    }
}

/// A destination, as configured.
#[derive(Clone)]
pub struct Settings {
    /// Its name: letters, digits, `.`, `_` and `-`.
    pub name: String,
    /// `webhook`, `syslog`, `fail2ban`, `file`.
    pub kind: &'static str,
    /// What it is told of.
    pub selection: Arc<Selection>,
    /// In which form.
    pub form: Form,
    /// Where it is.
    pub target: Target,
    /// How much may wait.
    pub limits: SpoolLimits,
    /// When it is tried again.
    pub backoff: Backoff,
}

/// A destination at work.
pub(crate) struct Destination {
    pub name: String,
    settings: Mutex<Arc<Settings>>,
    /// Held while it is written to the host, never while something is sent.
    spool: Mutex<Spool>,
    figures: Mutex<Figures>,
    signal: Mutex<Signal>,
    changed: Condvar,
}

#[derive(Default)]
struct Signal {
    /// Something may wait.
    work: bool,
    /// The settings are new.
    renewed: bool,
    /// It ends; until then it may still send what waits.
    stop: Option<Instant>,
}

impl Destination {
    /// `kept`: what waited at the last end, and up to which number everything was done.
    pub fn new(settings: Arc<Settings>, first: u64, kept: Vec<Entry>) -> Destination {
        let mut spool = Spool::new(settings.limits, first.min(kept.first().map_or(first, |entry| entry.seq)));
        let mut dropped = 0;
        for entry in kept {
            dropped += spool.push(entry).len() as u64;
        }
        let next = first.max(spool.next());
        spool.skip_to(next);
        Destination {
            name: settings.name.clone(),
            settings: Mutex::new(settings),
            spool: Mutex::new(spool),
            figures: Mutex::new(Figures { dropped, untold: dropped, ..Figures::default() }),
            signal: Mutex::new(Signal { work: true, ..Signal::default() }),
            changed: Condvar::new(),
        }
    }

    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&lock(&self.settings))
    }

    /// Goes by other settings. What waits in a form that is no more asked for cannot be sent any more.
    pub fn renew(&self, host: &dyn Host, settings: Arc<Settings>) {
        let mark = settings.form.mark();
        {
            let mut spool = lock(&self.spool);
            spool.set_limits(settings.limits);
            let unfit: Vec<u64> =
                spool.entries().filter(|entry| entry.form != mark).map(|entry| entry.seq).collect();
            for seq in &unfit {
                spool.forget(*seq);
                host.forget(&self.key(*seq));
            }
            self.count_dropped(unfit.len() as u64);
        }
        *lock(&self.settings) = settings;
        self.signal(|signal| (signal.work, signal.renewed) = (true, true));
    }

    /// Has it told of `item`; the number that this has, unless the form has no words for it.
    pub fn take(&self, origin: &Origin, host: &dyn Host, item: &Item) -> Option<u64> {
        let settings = self.settings();
        let mut spool = lock(&self.spool);
        let seq = spool.next();
        let uid = format!("{}.{}.{seq}", origin.node, self.name);
        let body = settings.form.render(origin, item, &uid)?.into();
        let entry =
            Entry { seq, at_ms: item.at_ms, severity: item.severity(), form: settings.form.mark(), body };
        host.keep(&self.key(seq), &entry.encode());
        let gone = spool.push(entry);
        for seq in &gone {
            host.forget(&self.key(*seq));
        }
        self.count_dropped(gone.len() as u64);
        Some(seq)
    }

    /// There is something to send.
    pub fn wake(&self) {
        self.signal(|signal| signal.work = true);
    }

    /// Ends its thread; until `deadline` it may send what waits.
    pub fn stop(&self, deadline: Instant) {
        self.signal(|signal| signal.stop = Some(deadline));
    }

    /// What was dropped since this was asked last, once there is room again to tell the destination so.
    pub fn untold(&self) -> Option<u64> {
        let (waiting, _) = lock(&self.spool).waiting();
        let mut figures = lock(&self.figures);
        let room = waiting <= self.settings().limits.entries_max / 2;
        (figures.untold > 0 && room).then(|| std::mem::take(&mut figures.untold))
    }

    /// Up to which number everything has arrived, was dropped or is refused; and why the last attempt has failed.
    pub fn progress(&self) -> (u64, Option<String>) {
        let figures = lock(&self.figures);
        (figures.through, figures.error.clone())
    }

    pub fn dropped(&self) -> u64 {
        lock(&self.figures).dropped
    }

    pub fn view(&self, now_ms: u64) -> DestinationView {
        let settings = self.settings();
        let ((waiting, bytes), oldest) = {
            let spool = lock(&self.spool);
            (spool.waiting(), spool.oldest_ms())
        };
        let figures = lock(&self.figures).clone();
        DestinationView {
            name: self.name.clone(),
            kind: settings.kind,
            target: settings.target.shown(),
            state: figures.state,
            waiting: waiting as u64,
            waiting_bytes: bytes as u64,
            sent: figures.sent,
            failed: figures.failed,
            dropped: figures.dropped,
            refused: figures.refused,
            oldest_ms: oldest.map_or(0, |at_ms| now_ms.saturating_sub(at_ms)),
            last_sent_ms: figures.last_sent_ms,
            error: figures.error,
        }
    }

    /// Everything that it keeps, for a checkpoint of the host.
    pub fn dump(&self, write: &mut dyn FnMut(&str, &[u8])) {
        let spool = lock(&self.spool);
        write(&cursor_key(&self.name), &spool.next().to_le_bytes());
        spool.entries().for_each(|entry| write(&self.key(entry.seq), &entry.encode()));
    }

    /// Nothing of it is kept any more.
    pub fn forget_all(&self, host: &dyn Host) {
        let spool = lock(&self.spool);
        spool.entries().for_each(|entry| host.forget(&self.key(entry.seq)));
        host.forget(&cursor_key(&self.name));
    }

    fn key(&self, seq: u64) -> String {
        format!("{}/{seq:016x}", self.name)
    }

    fn count_dropped(&self, count: u64) {
        let mut figures = lock(&self.figures);
        figures.dropped += count;
        figures.untold += count;
    }

    fn signal(&self, change: impl FnOnce(&mut Signal)) {
        change(&mut lock(&self.signal));
        self.changed.notify_all();
    }

    /// Sends what waits, until it is told to stop.
    pub fn run(&self, origin: &Origin, host: &dyn Host) {
        let mut sender: Option<Box<dyn Sender>> = None;
        let (mut failures, mut told_ms) = (0u32, None);
        loop {
            let (renewed, stop) = self.wait_for_work();
            if renewed {
                sender = None;
            }
            while let Some(result) = self.send_some(origin, host, &mut sender) {
                let ends = lock(&self.signal).stop.is_some_and(|deadline| Instant::now() >= deadline);
                match result {
                    Ok(()) if ends => break,
                    Ok(()) => {
                        self.recovered(host, &mut failures, &mut told_ms);
                        if lock(&self.signal).renewed {
                            sender = None;
                        }
                    }
                    Err(error) => {
                        sender = None;
                        failures = failures.saturating_add(1);
                        self.failed(host, failures, &error, &mut told_ms);
                        if lock(&self.signal).stop.is_some() {
                            return;
                        }
                        self.pause(failures, &error);
                    }
                }
                if ends {
                    return;
                }
            }
            if stop {
                return;
            }
        }
    }

    /// Whether the settings are new, and whether it ends after what waits.
    fn wait_for_work(&self) -> (bool, bool) {
        let idle = |signal: &mut Signal| !signal.work && signal.stop.is_none();
        let waited = self.changed.wait_while(lock(&self.signal), idle);
        let mut signal = waited.unwrap_or_else(PoisonError::into_inner);
        signal.work = false;
        (std::mem::take(&mut signal.renewed), signal.stop.is_some())
    }

    /// Sends one batch; `None`: nothing waits.
    fn send_some(
        &self,
        origin: &Origin,
        host: &dyn Host,
        sender: &mut Option<Box<dyn Sender>>,
    ) -> Option<Result<(), Error>> {
        if lock(&self.spool).waiting().0 == 0 {
            lock(&self.figures).state = State::Idle;
            return None;
        }
        let ready = match sender {
            Some(sender) => sender,
            None => match self.settings().target.sender(origin, &self.name) {
                Ok(made) => sender.insert(made),
                Err(error) => return Some(Err(error)),
            },
        };
        let (entries_max, bytes_max) = ready.batch_max();
        let batch = lock(&self.spool).take(entries_max, bytes_max);
        let last = batch.last()?.seq;
        {
            let mut figures = lock(&self.figures);
            if figures.failing_since_ms.is_none() {
                figures.state = State::Sending;
            }
        }
        match ready.send(&batch, host.now_ms()) {
            Ok(()) => {
                self.done(host, &batch, last, false);
                Some(Ok(()))
            }
            Err(Error::Refused { status }) if batch.len() == 1 => {
                host.emit(Event::OutwardDropped {
                    destination: self.name.clone(),
                    dropped: 1,
                    why: format!("it refuses what it was sent: {status}"),
                });
                self.done(host, &batch, last, true);
                Some(Ok(()))
            }
            // From here on one by one.
            Err(Error::Refused { .. }) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    }

    fn done(&self, host: &dyn Host, batch: &[Entry], last: u64, refused: bool) {
        {
            let mut spool = lock(&self.spool);
            spool.done(last);
            for entry in batch {
                host.forget(&self.key(entry.seq));
            }
            if spool.waiting().0 == 0 {
                host.keep(&cursor_key(&self.name), &spool.next().to_le_bytes());
            }
        }
        let mut figures = lock(&self.figures);
        figures.through = last;
        match refused {
            true => figures.refused += batch.len() as u64,
            false => {
                figures.sent += batch.len() as u64;
                figures.last_sent_ms = Some(host.now_ms());
            }
        }
    }

    fn failed(&self, host: &dyn Host, failures: u32, error: &Error, told_ms: &mut Option<u64>) {
        let now_ms = host.now_ms();
        let waiting = lock(&self.spool).waiting().0 as u64;
        {
            let mut figures = lock(&self.figures);
            figures.state = State::Retrying;
            figures.failed += 1;
            figures.error = Some(error.to_string());
            figures.failing_since_ms.get_or_insert(now_ms);
        }
        let due = told_ms.is_none_or(|told| now_ms >= told.saturating_add(TELL_EVERY_MS));
        if failures == 1 && due {
            *told_ms = Some(now_ms);
            let destination = self.name.clone();
            host.emit(Event::OutwardFailing { destination, error: error.to_string(), waiting });
        }
    }

    fn recovered(&self, host: &dyn Host, failures: &mut u32, told_ms: &mut Option<u64>) {
        if std::mem::take(failures) == 0 {
            return;
        }
        let now_ms = host.now_ms();
        let since_ms = {
            let mut figures = lock(&self.figures);
            figures.error = None;
            figures.state = State::Sending;
            figures.failing_since_ms.take()
        };
        if told_ms.is_some_and(|told| since_ms.is_some_and(|since| told >= since)) {
            let waiting = lock(&self.spool).waiting().0 as u64;
            let failed_s = now_ms.saturating_sub(since_ms.unwrap_or(now_ms)) / 1000;
            host.emit(Event::OutwardRecovered { destination: self.name.clone(), failed_s, waiting });
        }
    }

    /// Waits before it is tried again; new settings and the end cut that short.
    fn pause(&self, failures: u32, error: &Error) {
        let mut random = [0; 2];
        // Without randomness the pause is a whole one.
        let _ = aws_lc_rs::rand::fill(&mut random);
        let mut pause = self.settings().backoff.pause(failures, u16::from_le_bytes(random));
        if let Error::Busy { pause: Some(asked), .. } = error {
            pause = pause.max(*asked);
        }
        let signal = lock(&self.signal);
        let waits = |signal: &mut Signal| signal.stop.is_none() && !signal.renewed;
        drop(self.changed.wait_timeout_while(signal, pause, waits));
    }
}

/// A number that none of its entries has had, after all that have.
pub(crate) fn cursor_key(name: &str) -> String {
    format!("{name}/next")
}

/// A test that somebody asked for, and a note of what was dropped, are not informational: they must arrive.
pub(crate) fn dropped_item(at_ms: u64, destination: &str, dropped: u64) -> Item {
    let why = "there was no room for what waits".into();
    let event = Event::OutwardDropped { destination: destination.into(), dropped, why };
    debug_assert!(
        Item::event(Arc::new(ravelin_event::Record::new(0, event.clone()))).severity() > Severity::Low
    );
    Item::event(Arc::new(ravelin_event::Record::new(at_ms, event)))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_spread() {
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(60) };
        let whole: Vec<_> = (1..9).map(|failures| backoff.pause(failures, 0).as_secs()).collect();
        assert_eq!(whole, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.pause(1, u16::MAX), Duration::from_millis(500));
        assert_eq!(backoff.pause(u32::MAX, 0), Duration::from_secs(60));
    }
}
