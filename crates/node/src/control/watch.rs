//! What happened, for whoever watches: the inventory, the record, detectors.
//!
//! The shards and every other thread hand over what they saw at the end of a turn; one thread passes it on in batches.
//! Nobody waits: what does not fit is dropped and counted.

use super::{Arrival, Handshake};
use ravelin_broker::{Delivered, Flow, Now, Observed, Reading};
use ravelin_event::Record;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Things seen that may wait: some megabytes, and many times what comes while the thread rests.
const QUEUE_MAX: usize = 8192;
/// After a batch the thread rests so long: the next one is worth the wake.
pub(crate) const REST: Duration = Duration::from_millis(5);
/// A watcher is called so often when nothing happens.
const IDLE: Duration = Duration::from_secs(1);

/// One thing that was seen.
#[derive(Clone, Debug)]
pub enum Watched {
    /// An event, at [`ravelin_event::Level::Debug`] or above.
    Event(Arc<Record>),
    /// Something was published to a watched topic.
    Observed(Arc<Observed>),
    /// A message that is recorded has come to somebody.
    Delivered(Delivered),
    /// A client was let in.
    Arrived(Arc<Arrival>),
    /// A TLS handshake was completed.
    Handshake(Arc<Handshake>),
    /// What clients published since the last harvest, and when that was (milliseconds since the Unix epoch).
    Flows(u64, Arc<[Flow]>),
    /// An event that the log sums up with others of its kind, to protect itself: for whoever counts each of them.
    Unlogged {
        /// The last of them.
        record: Arc<Record>,
        /// How many of this kind, from this address and port, since the last that was told.
        count: u32,
    },
    /// Connections were accepted, or refused by the first rungs of the ladder.
    Opened {
        /// When, in milliseconds since the Unix epoch.
        wall_ms: u64,
        /// From where.
        address: SocketAddr,
        /// How many since the last that was told.
        count: u32,
    },
    /// A connection ended before it had a session, and nobody refused it.
    Abandoned {
        /// When, in milliseconds since the Unix epoch.
        wall_ms: u64,
        /// From where.
        address: SocketAddr,
        /// How long it was open.
        open_ms: u64,
        /// Bytes that had come.
        bytes: u64,
    },
    /// What clients did since the last harvest beside publishing, and when that was (milliseconds since the Unix epoch).
    Readings(u64, Arc<[Reading]>),
    /// A detector has said something.
    Notice(Arc<ravelin_event::Notice>),
}

/// Whoever watches. Called on the watch thread, about once a second when nothing happens.
pub trait Watcher: Send {
    /// Takes what was seen, in order. `dropped` things that came before them did not fit.
    fn watch(&mut self, now: Now, batch: &[Watched], dropped: u64);
}

/// What was seen and not passed on yet.
pub(crate) struct WatchQueue {
    queue: Mutex<Queue>,
    filled: Condvar,
    dropped: AtomicU64,
    watchers: Mutex<Vec<Box<dyn Watcher>>>,
}

#[derive(Default)]
struct Queue {
    waiting: Vec<Watched>,
    stop: bool,
}

/// The thread that passes on.
pub(crate) struct WatchThread {
    queue: Arc<WatchQueue>,
    thread: JoinHandle<()>,
}

impl WatchQueue {
    pub fn new() -> Arc<WatchQueue> {
        Arc::new(WatchQueue {
            queue: Mutex::default(),
            filled: Condvar::new(),
            dropped: AtomicU64::new(0),
            watchers: Mutex::default(),
        })
    }

    pub fn add(&self, watcher: Box<dyn Watcher>) {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner).push(watcher);
    }

    /// Hands one thing over.
    pub fn push(&self, seen: Watched) {
        self.push_all(&mut vec![seen]);
    }

    /// Hands over all of `seen`, which is empty after that.
    pub fn push_all(&self, seen: &mut Vec<Watched>) {
        if seen.is_empty() {
            return;
        }
        let was_empty = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let room = QUEUE_MAX.saturating_sub(queue.waiting.len());
            let lost = seen.len().saturating_sub(room);
            self.dropped.fetch_add(lost as u64, Ordering::Relaxed);
            seen.truncate(room);
            let was_empty = queue.waiting.is_empty();
            queue.waiting.append(seen);
            was_empty
        };
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Counts what was lost before it could be handed over.
    pub fn lost(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Begins to pass on, on a thread called `name` that rests for `rest` after a batch.
    pub fn start(
        self: &Arc<WatchQueue>,
        name: &str,
        rest: Duration,
        now: impl Fn() -> Now + Send + 'static,
    ) -> std::io::Result<WatchThread> {
        let queue = Arc::clone(self);
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(move || while queue.pass_on(rest, &now) {})?;
        Ok(WatchThread { queue: Arc::clone(self), thread })
    }

    /// Waits for something, and passes it on. False: it was the last.
    fn pass_on(&self, rest: Duration, now: &impl Fn() -> Now) -> bool {
        let (batch, stop) = {
            let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let waits = |queue: &mut Queue| queue.waiting.is_empty() && !queue.stop;
            let waited = self.filled.wait_timeout_while(queue, IDLE, waits);
            let mut queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            (std::mem::take(&mut queue.waiting), queue.stop)
        };
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        for watcher in self.watchers.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            watcher.watch(now(), &batch, dropped);
        }
        if !stop && !batch.is_empty() && !rest.is_zero() {
            std::thread::sleep(rest);
        }
        !stop
    }
}

impl WatchThread {
    /// Passes on what waits, and ends.
    pub fn stop(self) {
        self.queue.queue.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.queue.filled.notify_one();
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_event::Event;

    struct Counting(Arc<Mutex<(usize, u64)>>);

    impl Watcher for Counting {
        fn watch(&mut self, _: Now, batch: &[Watched], dropped: u64) {
            let mut seen = self.0.lock().unwrap();
            seen.0 += batch.len();
            seen.1 += dropped;
        }
    }

    #[test]
    fn all_is_passed_on_and_what_does_not_fit_is_counted() {
        let queue = WatchQueue::new();
        let seen = Arc::default();
        queue.add(Box::new(Counting(Arc::clone(&seen))));
        let event = Watched::Event(Arc::new(Record::new(0, Event::Stopped { sessions: 0 })));
        queue.push_all(&mut vec![event.clone(); QUEUE_MAX + 7]);
        let thread = queue.start("watch", REST, || Now { mono_ms: 1, wall_ms: 1 }).unwrap();
        queue.push(event);
        thread.stop();
        let seen = *seen.lock().unwrap();
        assert_eq!(seen.0 as u64 + seen.1, QUEUE_MAX as u64 + 8);
        assert!(seen.1 >= 7);
    }
}
