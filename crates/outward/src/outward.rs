//! All destinations, and the thread that puts what happened into what waits for each of them.
//!
//! Three steps, so that nobody waits for anybody: whoever sees what happens hands it over ([`Outward::tell`], which never
//! waits), one thread writes it in each destination's form and has the host keep it, and each destination has a thread that
//! sends. One that is slow or dead fills its own spool and nothing else.

use crate::destination::{Destination, cursor_key, dropped_item, lock};
use crate::{DestinationView, Entry, Error, Item, Origin, Selection, Settings, What, selection};
use ravelin_event::{Event, Severity};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Things that may wait to be written in each destination's form: some megabytes.
const INCOMING_MAX: usize = 8192;
/// How often what was dropped is looked at.
const TICK: Duration = Duration::from_secs(1);
/// What was dropped is told of so often at most.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// When everything ends, what waits may still be sent so long.
const GRACE: Duration = Duration::from_secs(2);
/// How long a test is waited for.
const TEST_WAIT: Duration = Duration::from_secs(15);

/// Where everything runs: it keeps what waits over a restart, has the time, and the log.
pub trait Host: Send + Sync {
    /// Keeps `value` under `key`. It may wait for a disk; it must not fail loudly: what is not kept is only lost by a crash.
    fn keep(&self, key: &str, value: &[u8]);
    /// Keeps nothing under `key` any more.
    fn forget(&self, key: &str);
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;
    /// Logs what has become of a destination.
    fn emit(&self, event: Event);
}

/// All destinations. Cheap to clone.
#[derive(Clone)]
pub struct Outward(Arc<Inner>);

struct Inner {
    origin: Origin,
    host: Arc<dyn Host>,
    destinations: Mutex<Arc<Vec<Arc<Destination>>>>,
    incoming: Mutex<Incoming>,
    filled: Condvar,
    /// Dropped before it was any destination's.
    lost: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Incoming {
    items: VecDeque<(Item, bool)>,
    stop: bool,
}

impl Outward {
    /// Begins. `kept` is what the host has kept: of a destination that is not among `settings` any more nothing stays.
    pub fn start(
        origin: Origin,
        host: Arc<dyn Host>,
        settings: Vec<Settings>,
        kept: BTreeMap<String, Vec<u8>>,
    ) -> std::io::Result<Outward> {
        let outward = Outward(Arc::new(Inner {
            origin,
            host,
            destinations: Mutex::default(),
            incoming: Mutex::default(),
            filled: Condvar::new(),
            lost: AtomicU64::new(0),
            threads: Mutex::default(),
        }));
        let mut kept = Kept::sorted(kept);
        let mut destinations = Vec::new();
        for settings in settings {
            let (first, entries) = kept.of(&settings, &*outward.0.host);
            destinations.push(outward.open(Arc::new(settings), first, entries)?);
        }
        kept.forget_rest(&*outward.0.host);
        *lock(&outward.0.destinations) = Arc::new(destinations);
        let inner = Arc::clone(&outward.0);
        let keeper = std::thread::Builder::new().name("ravelin-outward".into()).spawn(move || inner.run())?;
        lock(&outward.0.threads).push(keeper);
        Ok(outward)
    }

    fn open(
        &self,
        settings: Arc<Settings>,
        first: u64,
        kept: Vec<Entry>,
    ) -> std::io::Result<Arc<Destination>> {
        let destination = Arc::new(Destination::new(settings, first, kept));
        let (inner, opened) = (Arc::clone(&self.0), Arc::clone(&destination));
        let thread = std::thread::Builder::new()
            .name("ravelin-outward".into())
            .spawn(move || opened.run(&inner.origin, &*inner.host))?;
        lock(&self.0.threads).push(thread);
        Ok(destination)
    }

    /// Goes by other settings: what waits for a destination that stays, stays.
    pub fn configure(&self, settings: Vec<Settings>) -> std::io::Result<()> {
        let host = &*self.0.host;
        let before = self.destinations();
        let mut after = Vec::new();
        for settings in settings {
            let settings = Arc::new(settings);
            match before.iter().find(|destination| destination.name == settings.name) {
                Some(known) => {
                    known.renew(host, settings);
                    after.push(Arc::clone(known));
                }
                None => after.push(self.open(settings, 1, Vec::new())?),
            }
        }
        let stays = |name: &str| after.iter().any(|destination| destination.name == name);
        let gone: Vec<_> = before.iter().filter(|destination| !stays(&destination.name)).cloned().collect();
        *lock(&self.0.destinations) = Arc::new(after);
        for destination in gone {
            destination.stop(Instant::now());
            destination.forget_all(host);
        }
        lock(&self.0.threads).retain(|thread| !thread.is_finished());
        Ok(())
    }

    /// Hands over what happened, to whoever is to be told of it. Never waits. `summed_up`: the log sums it up with others.
    pub fn tell(&self, item: Item, summed_up: bool) {
        let destinations = self.destinations();
        let selections: Vec<_> =
            destinations.iter().map(|destination| Arc::clone(&destination.settings().selection)).collect();
        if !selection::any(selections.iter(), &item, summed_up) {
            return;
        }
        {
            let mut incoming = lock(&self.0.incoming);
            if incoming.items.len() >= INCOMING_MAX {
                self.0.lost.fetch_add(1, Ordering::Relaxed);
                let least = |(item, _): &(Item, bool)| item.severity() == Severity::Informational;
                let oldest = match item.severity() {
                    Severity::Informational => None,
                    _ => incoming.items.iter().position(least),
                };
                let Some(oldest) = oldest else { return };
                incoming.items.remove(oldest);
            }
            incoming.items.push_back((item, summed_up));
        }
        self.0.filled.notify_one();
    }

    /// Whether anybody wants to be told of anything.
    pub fn is_empty(&self) -> bool {
        self.destinations().is_empty()
    }

    /// Whether some destination counts each of those events that the log sums up.
    pub fn wants_each(&self) -> bool {
        self.destinations().iter().any(|destination| destination.settings().selection.each)
    }

    /// Sends a test to one destination, and waits until it has arrived; an error says why it has not yet.
    pub fn blocking_test(&self, name: &str, by: &str) -> Result<DestinationView, Error> {
        let destinations = self.destinations();
        let found = destinations.iter().find(|destination| destination.name == name);
        let destination = found.ok_or_else(|| Error::Unknown(name.into()))?;
        let item = Item::test(self.0.host.now_ms(), name, by);
        let seq = destination.take(&self.0.origin, &*self.0.host, &item);
        let seq = seq.ok_or_else(|| Error::Settings("its form has no words for a test".into()))?;
        destination.wake();
        let end = Instant::now() + TEST_WAIT;
        loop {
            let (through, error) = destination.progress();
            if through >= seq {
                return Ok(destination.view(self.0.host.now_ms()));
            }
            if let Some(error) = error {
                return Err(Error::Unreachable(format!("it waits, for now: {error}")));
            }
            if Instant::now() >= end {
                return Err(Error::Unreachable("it waits: other things are sent first".into()));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// How each destination is doing.
    pub fn views(&self) -> Vec<DestinationView> {
        let now_ms = self.0.host.now_ms();
        self.destinations().iter().map(|destination| destination.view(now_ms)).collect()
    }

    /// Dropped because too much came at once, before it was any destination's.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Everything that is to be kept, for a checkpoint of the host.
    pub fn dump(&self, write: &mut dyn FnMut(&str, &[u8])) {
        self.destinations().iter().for_each(|destination| destination.dump(write));
    }

    /// Ends: what was handed over is kept, and what can be sent within two seconds is.
    pub fn stop(&self) {
        lock(&self.0.incoming).stop = true;
        self.0.filled.notify_one();
        let end = Instant::now() + GRACE + Duration::from_millis(500);
        for thread in lock(&self.0.threads).drain(..) {
            // Whoever still waits for an answer from outside is not waited for: what it sends is kept.
            while !thread.is_finished() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }

    fn destinations(&self) -> Arc<Vec<Arc<Destination>>> {
        Arc::clone(&lock(&self.0.destinations))
    }
}

impl Inner {
    /// Writes what was handed over in each destination's form.
    fn run(&self) {
        let mut told = BTreeMap::new();
        let mut looked = Instant::now();
        loop {
            let (items, stop) = {
                let idle = |incoming: &mut Incoming| incoming.items.is_empty() && !incoming.stop;
                let waited = self.filled.wait_timeout_while(lock(&self.incoming), TICK, idle);
                let mut incoming = waited.unwrap_or_else(PoisonError::into_inner).0;
                (std::mem::take(&mut incoming.items), incoming.stop)
            };
            let destinations = Arc::clone(&lock(&self.destinations));
            for (item, summed_up) in &items {
                for destination in destinations.iter() {
                    if is_for(destination, item, *summed_up) {
                        destination.take(&self.origin, &*self.host, item);
                    }
                }
            }
            if looked.elapsed() >= TICK || stop {
                looked = Instant::now();
                destinations.iter().for_each(|destination| self.tell_of_drops(destination, &mut told));
            }
            if !items.is_empty() || stop {
                destinations.iter().for_each(|destination| destination.wake());
            }
            if stop {
                let deadline = Instant::now() + GRACE;
                return destinations.iter().for_each(|destination| destination.stop(deadline));
            }
        }
    }

    /// Tells the log, and, once there is room, the destination itself: what comes after is not all there was.
    fn tell_of_drops(&self, destination: &Destination, told: &mut BTreeMap<String, (u64, Instant)>) {
        let dropped = destination.dropped();
        let (before, at) = told.get(&destination.name).copied().unzip();
        let new = dropped.saturating_sub(before.unwrap_or(0));
        if new > 0 && at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            told.insert(destination.name.clone(), (dropped, Instant::now()));
            let why = "there was no room for what waits".into();
            let name = destination.name.clone();
            self.host.emit(Event::OutwardDropped { destination: name, dropped: new, why });
        }
        if let Some(dropped) = destination.untold() {
            let item = dropped_item(self.host.now_ms(), &destination.name, dropped);
            destination.take(&self.origin, &*self.host, &item);
            destination.wake();
        }
    }
}

fn is_for(destination: &Destination, item: &Item, summed_up: bool) -> bool {
    match &item.what {
        What::Test { destination: name, .. } => **name == *destination.name,
        _ => selection_of(destination).wants(item, summed_up),
    }
}

fn selection_of(destination: &Destination) -> Arc<Selection> {
    Arc::clone(&destination.settings().selection)
}

/// What the host has kept, by destination.
struct Kept(BTreeMap<String, KeptOf>);

/// The next free number of a destination, and what waits by its number.
type KeptOf = (u64, Vec<(u64, Vec<u8>)>);

impl Kept {
    /// The keys are `NAME/next` and `NAME/` with a number in hex.
    fn sorted(kept: BTreeMap<String, Vec<u8>>) -> Kept {
        let mut sorted: BTreeMap<String, KeptOf> = BTreeMap::new();
        for (key, value) in kept {
            let Some((name, number)) = key.split_once('/') else { continue };
            let of = sorted.entry(name.into()).or_default();
            match (u64::from_str_radix(number, 16), value.first_chunk::<8>()) {
                (Ok(seq), _) => of.1.push((seq, value)),
                (Err(_), Some(next)) => of.0 = u64::from_le_bytes(*next),
                (Err(_), None) => {}
            }
        }
        Kept(sorted)
    }

    /// The first free number of a destination, and what waits for it.
    fn of(&mut self, settings: &Settings, host: &dyn Host) -> (u64, Vec<Entry>) {
        let (next, kept) = self.0.remove(&settings.name).unwrap_or_default();
        let mut entries = Vec::new();
        for (seq, bytes) in kept {
            match Entry::decode(seq, &bytes).filter(|entry| entry.form == settings.form.mark()) {
                Some(entry) => entries.push(entry),
                None => host.forget(&format!("{}/{seq:016x}", settings.name)),
            }
        }
        entries.sort_by_key(|entry| entry.seq);
        // Numbers of what was dropped just before a crash are not given out again.
        let last = entries.last().map_or(0, |entry| entry.seq);
        (next.max(last + 1) + u64::from(last > 0) * INCOMING_MAX as u64, entries)
    }

    fn forget_rest(self, host: &dyn Host) {
        for (name, (_, entries)) in self.0 {
            entries.iter().for_each(|(seq, _)| host.forget(&format!("{name}/{seq:016x}")));
            host.forget(&cursor_key(&name));
        }
    }
}
