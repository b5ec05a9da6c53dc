//! What the producers and the writer thread share.

use crate::{Error, Keys, queue::Lane, stats::Counters};
use std::{
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{AcqRel, Acquire, Release, SeqCst},
        },
        mpsc,
    },
    thread::Thread,
};

/// What the owner of the store asks of the writer thread.
pub(crate) enum Command {
    Checkpoint,
    RotateKey(Box<Keys>, mpsc::SyncSender<Result<(), Error>>),
}

pub(crate) struct Shared {
    pub(crate) lanes: Vec<Lane>,
    pub(crate) queue_bytes_max: usize,
    /// Set by whoever left something for the writer; the writer clears it before it looks.
    pending: AtomicBool,
    pub(crate) failed: AtomicBool,
    pub(crate) closing: AtomicBool,
    /// The running checkpoint, 0 for none.
    checkpoint: AtomicU64,
    pub(crate) commands: Mutex<Vec<Command>>,
    pub(crate) counters: Counters,
    pub(crate) writer: OnceLock<Thread>,
}

impl Shared {
    pub(crate) fn new(producers: usize, queue_bytes_max: usize) -> Shared {
        Shared {
            lanes: (0..producers).map(|_| Lane::default()).collect(),
            queue_bytes_max,
            pending: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            checkpoint: AtomicU64::new(0),
            commands: Mutex::new(Vec::new()),
            counters: Counters::default(),
            writer: OnceLock::new(),
        }
    }

    /// Tells the writer that there is something to do. Cheap while it is busy.
    pub(crate) fn nudge(&self) {
        if !self.pending.swap(true, SeqCst)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    pub(crate) fn take_pending(&self) -> bool {
        self.pending.swap(false, SeqCst)
    }

    pub(crate) fn send(&self, command: Command) {
        lock(&self.commands).push(command);
        self.nudge();
    }

    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Acquire)
    }

    pub(crate) fn fail(&self, error: &Error) {
        self.counters.fail(error);
        if !self.failed.swap(true, AcqRel) {
            self.wake_all();
        }
    }

    pub(crate) fn checkpoint(&self) -> u64 {
        self.checkpoint.load(Acquire)
    }

    pub(crate) fn publish_checkpoint(&self, id: u64) {
        self.checkpoint.store(id, Release);
        if id != 0 {
            self.wake_all();
        }
    }

    pub(crate) fn wake_all(&self) {
        self.lanes.iter().for_each(Lane::wake);
    }
}

/// Locks a mutex. A panic elsewhere leaves nothing half done in what these mutexes guard.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
