//! The thread that writes the record, and the handles that feed it.
//!
//! What waits is written at once, synced once, and then everyone who handed something over is told how far the record is
//! durable. A full queue asks its senders to stop ([`Recorder::is_full`]). When the disk fails, the thread keeps what it
//! has and tries again; meanwhile [`Recorder::refuses`] says that nothing should be let through that must be recorded, or,
//! as configured, entries are dropped, counted, and a gap is recorded once the disk works again.

use crate::entry::{Entry, What};
use crate::error::Error;
use crate::head::Head;
use crate::log::OpenReport;
use crate::writer::Writer;
use ravelin_store::{Disk, Keys};
use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What happens to what cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnFull {
    /// It is not let through: see [`Recorder::refuses`].
    #[default]
    Refuse,
    /// It is let through, and a gap is recorded.
    Gap,
    /// At the largest size, the oldest segments are deleted although they are younger than the retention; when the disk
    /// fails, as with [`OnFull::Gap`].
    Prune,
}

/// What can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The name of the node, for the entries that it makes itself.
    pub node: String,
    /// The version of the software.
    pub version: String,
    /// A segment that has reached this size is followed by a new one. Default: 16 MiB.
    pub segment_bytes_max: u64,
    /// The largest size of all segments. Default: 8 GiB.
    pub bytes_max: u64,
    /// Segments that ended so long ago are deleted; zero keeps them. Default: 90 days.
    pub retention: Duration,
    /// What happens to what cannot be recorded. Default: it is refused.
    pub on_full: OnFull,
    /// So long after an entry, at most, it is signed for. Default: 5 s.
    pub checkpoint_interval: Duration,
    /// The same after so many entries, if that is sooner. Default: 4096.
    pub checkpoint_entries: u64,
    /// Bytes that may wait for the disk before senders are asked to stop. Default: 16 MiB.
    pub queue_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            node: "ravelin".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            segment_bytes_max: 16 << 20,
            bytes_max: 8 << 30,
            retention: Duration::from_secs(90 * 86_400),
            on_full: OnFull::Refuse,
            checkpoint_interval: Duration::from_secs(5),
            checkpoint_entries: 4096,
            queue_bytes_max: 16 << 20,
        }
    }
}

/// An entry to be: made on the thread that writes, which has the time to hash a payload.
pub struct Draft {
    /// What it counts for in the queue.
    pub bytes: usize,
    /// Whether it tells of a message, and may be lost where the configuration says so.
    pub is_traffic: bool,
    make: Box<dyn FnOnce() -> Entry + Send>,
}

impl Draft {
    /// An entry of a message, which takes `bytes` of memory until it is made.
    pub fn traffic(bytes: usize, make: impl FnOnce() -> Entry + Send + 'static) -> Draft {
        Draft { bytes: bytes + 128, is_traffic: true, make: Box::new(make) }
    }

    pub(crate) fn make(self) -> Entry {
        (self.make)()
    }
}

impl From<Entry> for Draft {
    fn from(entry: Entry) -> Draft {
        Draft { bytes: 512, is_traffic: entry.what.is_traffic(), make: Box::new(move || entry) }
    }
}

/// What the thread has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The record was signed for.
    Signed(Box<Head>),
    /// The disk refuses; what happens to entries is as configured.
    Failed {
        /// Why.
        error: String,
        /// Whether recorded messages are refused meanwhile.
        refusing: bool,
    },
    /// The disk works again.
    Recovered {
        /// Entries that were lost meanwhile.
        lost: u64,
    },
    /// The record has its largest size, and nothing in it is old enough to be deleted.
    Full {
        /// Whether recorded messages are refused meanwhile.
        refusing: bool,
    },
    /// The oldest entries were deleted.
    Pruned {
        /// The last of them.
        up_to: u64,
    },
    /// The clock was set.
    ClockJump {
        /// What the time should have been, in milliseconds since the Unix epoch.
        from_ms: u64,
        /// What it was.
        to_ms: u64,
    },
}

/// How the record is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its id, in hex.
    pub record: String,
    /// The first entry that is kept.
    pub first: u64,
    /// The last entry.
    pub sequence: u64,
    /// The last entry that is signed for.
    pub signed: u64,
    /// The head after it, in hex.
    pub head: String,
    /// Fingerprint of the key that signs, in hex.
    pub key_fingerprint: String,
    /// Bytes on disk.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes that wait.
    pub queued_bytes: u64,
    /// Entries lost since the start.
    pub lost: u64,
    /// Whether recorded messages are refused.
    pub refusing: bool,
    /// Why the disk fails, while it does.
    pub failure: Option<String>,
}

pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;
pub(crate) type Notify = Box<dyn Fn(Notice) + Send>;

/// What the handles share with the thread.
pub(crate) struct Shared {
    pub queue: Mutex<Queue>,
    pub filled: Condvar,
    pub bytes: AtomicU64,
    pub durable: AtomicU64,
    pub refusing: AtomicBool,
    pub wakes: Mutex<Vec<Wake>>,
    pub status: Mutex<Status>,
    pub queue_bytes_max: u64,
    awaited: AtomicBool,
}

#[derive(Default)]
pub(crate) struct Queue {
    pub drafts: Vec<Draft>,
    /// The number of the last batch.
    pub ticket: u64,
    /// Entries that were not taken, since, and their first time is that of the queue.
    pub dropped: u64,
    pub keys: Option<(Keys, SyncSender<Result<(), Error>>)>,
    pub closed: bool,
}

/// Feeds the record. Cheap to clone.
#[derive(Clone)]
pub struct Recorder(pub(crate) Arc<Shared>);

/// The record while it is written. Dropping it closes it.
pub struct Recording {
    recorder: Recorder,
    thread: Option<JoinHandle<Result<(), Error>>>,
    _lock: Box<dyn Any + Send>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recording {
    /// Opens the record in `disk`, making it where there is none, and starts the thread that writes it. `store` are the
    /// keys of the store, which seal those of the record. `now_ms` is the time, in milliseconds since the Unix epoch.
    pub fn start(
        disk: Arc<dyn Disk>,
        store: Keys,
        options: Options,
        now_ms: u64,
        notify: impl Fn(Notice) + Send + 'static,
    ) -> Result<(Recording, OpenReport), Error> {
        let guard = disk.lock().map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => Error::Locked { path: disk.path("") },
            _ => Error::Io { operation: "lock", path: disk.path(""), source },
        })?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            bytes: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            refusing: AtomicBool::new(false),
            wakes: Mutex::default(),
            status: Mutex::default(),
            queue_bytes_max: options.queue_bytes_max as u64,
            awaited: AtomicBool::new(false),
        });
        let path = disk.path("");
        let (writer, report) =
            Writer::open(disk, store, options, Arc::clone(&shared), now_ms, Box::new(notify))?;
        let thread = std::thread::Builder::new()
            .name("ravelin-record".into())
            .spawn(move || writer.run())
            .map_err(Error::io("start the thread that writes", path))?;
        Ok((Recording { recorder: Recorder(shared), thread: Some(thread), _lock: guard }, report))
    }

    /// A handle to feed it.
    pub fn recorder(&self) -> Recorder {
        self.recorder.clone()
    }

    /// Writes what waits, signs for it, and ends the thread.
    pub fn close(mut self) -> Result<(), Error> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        lock(&self.recorder.0.queue).closed = true;
        self.recorder.0.filled.notify_one();
        thread.join().unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Nobody is left to tell; `close` does.
        let _ = self.stop();
    }
}

impl Recorder {
    /// Hands entries over; returns the number up to which [`Recorder::durable`] must come for them to be on disk. Never
    /// waits. What is handed over although the queue is far beyond its bound is dropped, counted, and told in a gap.
    pub fn append(&self, drafts: impl IntoIterator<Item = Draft>) -> u64 {
        let shared = &*self.0;
        let (ticket, was_empty) = {
            let mut queue = lock(&shared.queue);
            let was_empty = queue.drafts.is_empty();
            let mut room = (2 * shared.queue_bytes_max).saturating_sub(shared.bytes.load(Ordering::Relaxed));
            let before = room;
            for draft in drafts {
                let bytes = draft.bytes as u64;
                if queue.closed || bytes > room {
                    queue.dropped += 1;
                    continue;
                }
                room -= bytes;
                queue.drafts.push(draft);
            }
            shared.bytes.fetch_add(before - room, Ordering::Relaxed);
            queue.ticket += 1;
            (queue.ticket, was_empty)
        };
        if was_empty {
            shared.filled.notify_one();
        }
        ticket
    }

    /// Hands over an entry that does not tell of a message.
    pub fn note(&self, at_ms: u64, what: What) -> u64 {
        self.append([Entry::new(at_ms, what).into()])
    }

    /// Everything up to this number is on disk, or counted as lost where the configuration allows it.
    pub fn durable(&self) -> u64 {
        self.0.durable.load(Ordering::Acquire)
    }

    /// Whether what must be recorded should not be let through.
    pub fn refuses(&self) -> bool {
        self.0.refusing.load(Ordering::Relaxed)
    }

    /// Whether senders should stop until they are woken.
    pub fn is_full(&self) -> bool {
        let shared = &*self.0;
        if shared.bytes.load(Ordering::Relaxed) < shared.queue_bytes_max {
            return false;
        }
        shared.awaited.store(true, Ordering::SeqCst);
        // It may have been emptied between the two lines.
        shared.bytes.load(Ordering::SeqCst) >= shared.queue_bytes_max
    }

    /// Calls `wake` whenever [`Recorder::durable`] advanced, or there is room again. It must not block.
    pub fn on_progress(&self, wake: impl Fn() + Send + Sync + 'static) {
        lock(&self.0.wakes).push(Box::new(wake));
    }

    /// How the record is.
    pub fn status(&self) -> Status {
        let mut status = lock(&self.0.status).clone();
        status.queued_bytes = self.0.bytes.load(Ordering::Relaxed);
        status.refusing = self.refuses();
        status
    }

    /// Encrypts and signs with new keys from now on, sealed with the current key of `store`. The store may drop its older
    /// keys only after this has returned.
    pub fn rotate_key(&self, store: Keys) -> Result<(), Error> {
        let (answer, answered) = std::sync::mpsc::sync_channel(1);
        {
            let mut queue = lock(&self.0.queue);
            if queue.closed {
                return Err(Error::Closed);
            }
            queue.keys = Some((store, answer));
        }
        self.0.filled.notify_one();
        // A thread that ended drops its end.
        answered.recv().unwrap_or(Err(Error::Closed))
    }

    /// A handle to nothing, for tests of those who feed it: what is handed over is counted and durable at once.
    #[doc(hidden)]
    pub fn discarding() -> Recorder {
        Recorder(Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            bytes: AtomicU64::new(0),
            durable: AtomicU64::new(u64::MAX),
            refusing: AtomicBool::new(false),
            wakes: Mutex::default(),
            status: Mutex::default(),
            queue_bytes_max: u64::MAX / 4,
            awaited: AtomicBool::new(false),
        }))
    }

    /// Takes what was handed to [`Recorder::discarding`].
    #[doc(hidden)]
    pub fn take(&self) -> Vec<Entry> {
        let drafts = std::mem::take(&mut lock(&self.0.queue).drafts);
        self.0.bytes.store(0, Ordering::Relaxed);
        drafts.into_iter().map(Draft::make).collect()
    }
}

impl Shared {
    /// Says that the batches up to `ticket`, of `bytes`, were dealt with.
    pub fn publish(&self, ticket: u64, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        let before = self.durable.swap(ticket, Ordering::AcqRel);
        let awaited = self.awaited.swap(false, Ordering::SeqCst);
        if before != ticket || awaited {
            self.wake();
        }
    }

    pub fn wake(&self) {
        for wake in lock(&self.wakes).iter() {
            wake();
        }
    }
}
