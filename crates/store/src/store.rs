//! Opening, closing, and what concerns all producers at once.

use crate::{
    Disk, Error, Keys, Options, Producer, Recovery, Stats,
    log::Log,
    shared::{Command, Shared},
    writer,
};
use std::{
    any::Any,
    sync::{Arc, atomic::Ordering::Release, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

const ANSWER_POLL: Duration = Duration::from_millis(200);

/// An open log, with its writer thread. Dropping it closes it.
pub struct Store {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    _lock: Box<dyn Any + Send>,
}

impl Store {
    /// Opens the log in `disk`, creating it where there is none, after having verified all of it. Replay the
    /// [`Recovery`] before taking the producers.
    ///
    /// Fails with [`Error::Damaged`], having changed nothing, when the log was altered, cut or lost a file, unless
    /// [`Options::accept_damage`] is set. A torn write at the very end is not damage; the report tells of it.
    pub fn open(disk: Arc<dyn Disk>, keys: Keys, options: Options) -> Result<(Store, Recovery), Error> {
        let lock = disk.lock().map_err(|source| match source.kind() {
            std::io::ErrorKind::WouldBlock => Error::Locked { path: disk.path("") },
            _ => Error::Io { operation: "lock", path: disk.path(""), source },
        })?;
        keys.check_file()?;
        let (log, recovery) = Log::open(&disk, keys, &options)?;
        let shared = Arc::new(Shared::new(options.producers, options.queue_bytes_max));
        let thread = thread::Builder::new()
            .name("ravelin-store".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || writer::run(log, shared, &options)
            })
            .map_err(Error::io("start the writer thread of", disk.path("")))?;
        let _ = shared.writer.set(thread.thread().clone());
        Ok((Store { shared, thread: Some(thread), _lock: lock }, recovery))
    }

    /// Takes the producer `index` (below [`Options::producers`]), once. The writer thread calls `wake` when
    /// [`Producer::durable`] advanced, when a checkpoint begins, and when the store fails; it must not block.
    pub fn producer(&self, index: usize, wake: Box<dyn Fn() + Send + Sync>) -> Result<Producer, Error> {
        let lane = self.shared.lanes.get(index).ok_or(Error::NoSuchProducer { index })?;
        if !lane.attach(wake) {
            return Err(Error::NoSuchProducer { index });
        }
        self.shared.nudge();
        Ok(Producer::new(Arc::clone(&self.shared), index))
    }

    /// Asks for a checkpoint now, whatever the size of the log. It begins when all producers were taken, and after
    /// the one that runs, if one does.
    pub fn request_checkpoint(&self) {
        self.shared.send(Command::Checkpoint);
    }

    /// Encrypts everything from now on with the current key of `keys` (from [`Keys::rotate`]) and asks for a
    /// checkpoint, after which no segment uses the older keys and they are dropped from the key file.
    pub fn rotate_key(&self, keys: Keys) -> Result<(), Error> {
        if self.shared.failed() {
            return Err(Error::Failed);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        self.shared.send(Command::RotateKey(Box::new(keys), answer));
        loop {
            match answered.recv_timeout(ANSWER_POLL) {
                Ok(result) => return result,
                // A thread that panicked answers nothing and drops nothing.
                Err(mpsc::RecvTimeoutError::Timeout) if !self.thread_ended() => {}
                Err(_) => return Err(Error::Failed),
            }
        }
    }

    /// What was counted since the store was opened.
    pub fn stats(&self) -> Stats {
        self.shared.counters.snapshot(self.shared.checkpoint() != 0)
    }

    /// Writes and syncs all that was appended, ends the writer thread, and gives the directory free. Fails when the
    /// store had failed.
    pub fn close(mut self) -> Result<(), Error> {
        self.stop()
    }

    fn thread_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn stop(&mut self) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        self.shared.closing.store(true, Release);
        thread.thread().unpark();
        thread.join().unwrap_or(Err(Error::WriterPanicked))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Nobody is left to tell; `Producer::failed` and `Store::close` do.
        let _ = self.stop();
    }
}
