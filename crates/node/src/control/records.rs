//! The programme's records: what is administered and discovered, as small named values in the encrypted store.
//!
//! A record has a space, a key and a value; a later one takes the place of an earlier one, and one without a value
//! deletes. They share the log with the sessions and have a producer of their own. The owners hold the values; when the
//! log is cut, each writes all of its own again ([`Records::register`]).
//!
//! An owner calls [`Records::put`] while it holds the lock of what it changes. So does the writing for a checkpoint,
//! which therefore can never put an old value behind a newer one.

use ravelin_store::{Error as StoreError, Producer, push_record};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The first byte of a programme record; the core's kinds are small numbers.
const MARK: u8 = 0xC0;
/// How long a full log is waited for, and how often it is looked at.
const FULL_WAIT: Duration = Duration::from_secs(10);
const FULL_STEP: Duration = Duration::from_millis(1);
/// Longest key.
const KEY_BYTES_MAX: usize = 4096;

/// Whose records they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Space {
    /// Identities, groups, roles, classes.
    Directory = 1,
    /// Bans.
    Bans = 2,
    /// Revoked certificates and identities.
    Revocations = 3,
    /// Certificates that were issued.
    Certificates = 4,
    /// Devices, declared and discovered.
    Inventory = 5,
    /// Tokens of the API.
    Tokens = 6,
    /// What must not be used twice.
    Used = 7,
    /// Settings that were changed while the node ran.
    Settings = 8,
    /// Alarms, suppressions, baselines, trust.
    Detection = 9,
    /// Actions: orders, what is in force, how long it took.
    Response = 10,
    /// What waits for those who are told of alarms and actions.
    Outward = 11,
}

/// Why a record was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// The disk has failed: nothing more becomes durable.
    #[error("the store has failed; see the log of the node")]
    Failed,
    /// The log takes nothing at the moment.
    #[error("the store is busy; try again")]
    Busy,
    /// Larger than any record may be.
    #[error("the record is too large: {bytes} bytes")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
}

/// Writes all records of a space for a checkpoint.
type Owner = Box<dyn Fn(&mut Dump<'_>) + Send + Sync>;

/// The programme's records. Cheap to clone.
#[derive(Clone)]
pub struct Records(Arc<Shared>);

struct Shared {
    /// `None` until the log was replayed, and after the store has closed.
    producer: Mutex<Option<Producer>>,
    owners: Mutex<BTreeMap<Space, Owner>>,
    /// What was found in the store and nobody has claimed.
    loaded: Mutex<BTreeMap<u8, BTreeMap<String, Vec<u8>>>>,
    durable: tokio::sync::watch::Sender<u64>,
    failed: AtomicBool,
}

/// Where an owner writes its records for a checkpoint.
pub struct Dump<'a> {
    records: &'a Records,
    space: u8,
    failed: bool,
}

/// What the replay of the log finds.
#[derive(Default)]
pub(crate) struct Loading(BTreeMap<u8, BTreeMap<String, Vec<u8>>>);

/// The thread that writes for checkpoints and tells what is durable.
pub(crate) struct RecordsThread {
    wake: Sender<Wake>,
    thread: JoinHandle<()>,
}

enum Wake {
    Look,
    Stop,
}

/// Whether a record of the log is the programme's; the others are the core's.
pub(crate) fn is_programme_record(record: &[u8]) -> bool {
    record.first() == Some(&MARK)
}

impl Loading {
    /// Takes a record of the log; false if it cannot be understood.
    pub fn take(&mut self, record: &[u8]) -> bool {
        let Some((space, key, value)) = decode(record) else { return false };
        let entries = self.0.entry(space).or_default();
        match value {
            Some(value) => drop(entries.insert(key.into(), value.into())),
            None => drop(entries.remove(key)),
        }
        true
    }
}

impl Records {
    pub(crate) fn new(loading: Loading) -> Records {
        let (durable, _) = tokio::sync::watch::channel(0);
        Records(Arc::new(Shared {
            producer: Mutex::new(None),
            owners: Mutex::default(),
            loaded: Mutex::new(loading.0),
            durable,
            failed: AtomicBool::new(false),
        }))
    }

    /// Hands out what the store held of `space`, once.
    pub fn load(&self, space: Space) -> BTreeMap<String, Vec<u8>> {
        lock(&self.0.loaded).remove(&(space as u8)).unwrap_or_default()
    }

    /// Says who writes the records of `space` again when the log is cut. The owner locks what it holds, and gives each
    /// record to the [`Dump`] under that lock.
    pub fn register(&self, space: Space, owner: impl Fn(&mut Dump<'_>) + Send + Sync + 'static) {
        lock(&self.0.owners).insert(space, Box::new(owner));
    }

    /// Writes a record; returns its number, for [`Records::settled`].
    pub fn put(&self, space: Space, key: &str, value: &[u8]) -> Result<u64, RecordsError> {
        self.append(space as u8, key, Some(value))
    }

    /// Deletes a record.
    pub fn delete(&self, space: Space, key: &str) -> Result<u64, RecordsError> {
        self.append(space as u8, key, None)
    }

    /// Waits until the records up to `number` are on disk.
    pub async fn settled(&self, number: u64) -> Result<(), RecordsError> {
        let mut durable = self.0.durable.subscribe();
        let reached = durable.wait_for(|&at| at >= number || self.has_failed()).await.map(|at| *at);
        match reached {
            Ok(at) if at >= number => Ok(()),
            _ => Err(RecordsError::Failed),
        }
    }

    /// [`Records::settled`] for a thread that may wait.
    pub fn blocking_settled(&self, number: u64) -> Result<(), RecordsError> {
        loop {
            if lock(&self.0.producer).as_ref().is_some_and(|producer| producer.durable() >= number) {
                return Ok(());
            }
            if self.has_failed() {
                return Err(RecordsError::Failed);
            }
            std::thread::sleep(FULL_STEP);
        }
    }

    /// What the store counted since it was opened; `None` once it has closed.
    pub(crate) fn store_stats(&self) -> Option<ravelin_store::Stats> {
        lock(&self.0.producer).as_ref().map(Producer::stats)
    }

    /// Whether the store has failed or closed.
    pub fn has_failed(&self) -> bool {
        self.0.failed.load(Ordering::Relaxed)
    }

    fn append(&self, space: u8, key: &str, value: Option<&[u8]>) -> Result<u64, RecordsError> {
        if key.len() > KEY_BYTES_MAX {
            return Err(RecordsError::TooLarge { bytes: key.len() });
        }
        let record = encode(space, key, value);
        let mut batch = Vec::with_capacity(record.len() + 4);
        push_record(&mut batch, &record);
        let mut waited = Duration::ZERO;
        loop {
            let appended = match lock(&self.0.producer).as_mut() {
                Some(producer) => producer.append(batch),
                None => return Err(RecordsError::Failed),
            };
            let Err(refused) = appended else { return appended.map_err(|_| RecordsError::Failed) };
            match refused.error {
                StoreError::Full { .. } if waited < FULL_WAIT => batch = refused.batch,
                StoreError::Full { .. } => return Err(RecordsError::Busy),
                StoreError::BatchTooLarge { bytes, .. } => return Err(RecordsError::TooLarge { bytes }),
                _ => return Err(RecordsError::Failed),
            }
            std::thread::sleep(FULL_STEP);
            waited += FULL_STEP;
        }
    }

    /// Begins to write: `open` gets what to call when the store has news.
    pub(crate) fn start<E>(
        &self,
        open: impl FnOnce(Box<dyn Fn() + Send + Sync>) -> Result<Producer, E>,
    ) -> Result<RecordsThread, E>
    where
        E: From<std::io::Error>,
    {
        let (wake, woken) = channel();
        let looks = Mutex::new(wake.clone());
        let producer = open(Box::new(move || {
            // It fails only when the thread has ended.
            let _ = lock(&looks).send(Wake::Look);
        }))?;
        *lock(&self.0.producer) = Some(producer);
        let records = self.clone();
        let thread =
            std::thread::Builder::new().name("ravelin-records".into()).spawn(move || records.run(&woken))?;
        Ok(RecordsThread { wake, thread })
    }

    fn run(&self, woken: &Receiver<Wake>) {
        while let Ok(Wake::Look) | Err(RecvTimeoutError::Timeout) = woken.recv_timeout(Duration::from_secs(1))
        {
            let (durable, failed, wanted) = {
                let producer = lock(&self.0.producer);
                let Some(producer) = producer.as_ref() else { break };
                (producer.durable(), producer.failed(), producer.checkpoint_wanted())
            };
            self.0.failed.store(failed, Ordering::Relaxed);
            self.0.durable.send_if_modified(|at| std::mem::replace(at, durable) != durable || failed);
            if let Some(checkpoint) = wanted
                && self.write_all()
                && let Some(producer) = lock(&self.0.producer).as_mut()
            {
                producer.checkpoint_done(checkpoint);
            }
        }
        // From here on nothing is taken, and nobody waits for it.
        *lock(&self.0.producer) = None;
        self.0.failed.store(true, Ordering::Relaxed);
        self.0.durable.send_modify(|_| {});
    }

    /// Every record again. False if the log did not take them all: then the checkpoint must not count.
    fn write_all(&self) -> bool {
        let mut whole = true;
        for (space, owner) in lock(&self.0.owners).iter() {
            let mut dump = Dump { records: self, space: *space as u8, failed: false };
            owner(&mut dump);
            whole &= !dump.failed;
        }
        // What an older or newer version of the software owns is kept as it is.
        for (space, entries) in lock(&self.0.loaded).iter() {
            let mut dump = Dump { records: self, space: *space, failed: false };
            for (key, value) in entries {
                dump.write(key, value);
            }
            whole &= !dump.failed;
        }
        whole
    }
}

impl Dump<'_> {
    /// Writes one record.
    pub fn write(&mut self, key: &str, value: &[u8]) {
        self.failed |= self.records.append(self.space, key, Some(value)).is_err();
    }
}

impl RecordsThread {
    /// Ends it. What was put before is in the store, which is closed after this.
    pub fn stop(self) {
        let _ = self.wake.send(Wake::Stop);
        let _ = self.thread.join();
    }
}

fn encode(space: u8, key: &str, value: Option<&[u8]>) -> Vec<u8> {
    let mut record = Vec::with_capacity(8 + key.len() + value.map_or(0, <[u8]>::len));
    record.extend([MARK, space, u8::from(value.is_some())]);
    record.extend((key.len() as u16).to_le_bytes());
    record.extend(key.as_bytes());
    record.extend(value.unwrap_or_default());
    record
}

fn decode(record: &[u8]) -> Option<(u8, &str, Option<&[u8]>)> {
    let (&[mark, space, present], rest) = record.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let (key, value) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
    let value = match present {
        0 if value.is_empty() => None,
        1 => Some(value),
        _ => return None,
    };
    (mark == MARK).then_some((space, std::str::from_utf8(key).ok()?, value))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use ravelin_store::{Keys, Options, RealDisk, Store};
    use std::path::Path;

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        for value in [None, Some(&b""[..]), Some(b"{}")] {
            let record = encode(3, "a key", value);
            assert!(is_programme_record(&record));
            assert_eq!(decode(&record), Some((3, "a key", value)));
            for cut in 0..record.len().min(9) {
                assert_eq!(decode(&record[..cut]), None);
            }
        }
        assert_eq!(decode(&[MARK, 1, 0, 1, 0, 0xFF]), None, "a key that is no text");
    }

    #[test]
    fn the_last_value_counts_and_a_deleted_one_is_gone() {
        let mut loading = Loading::default();
        for (key, value) in [("a", Some(&b"1"[..])), ("b", Some(b"2")), ("a", Some(b"3")), ("b", None)] {
            assert!(loading.take(&encode(Space::Bans as u8, key, value)));
        }
        assert!(!loading.take(&[MARK]));
        let records = Records::new(loading);
        assert_eq!(records.load(Space::Bans), BTreeMap::from([("a".into(), b"3".to_vec())]));
        assert!(records.load(Space::Bans).is_empty(), "handed out once");
    }

    type Held = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

    /// Opens the store in `directory` with its records, and puts an owner of bans to work.
    fn open(directory: &Path) -> (Store, Records, RecordsThread, Held) {
        let key = directory.join("key");
        let keys = if key.exists() { Keys::load(&key) } else { Keys::create(&key) }.unwrap();
        let disk = Arc::new(RealDisk::open(directory.join("log")).unwrap());
        let options = Options { producers: 1, ..Options::default() };
        let (store, mut recovery) = Store::open(disk, keys, options).unwrap();
        let mut loading = Loading::default();
        while let Some(record) = recovery.next_record().unwrap() {
            assert!(loading.take(record));
        }
        let records = Records::new(loading);
        let bans = Arc::new(Mutex::new(records.load(Space::Bans)));
        let thread = records.start(|wake| store.producer(0, wake).map_err(Error::from)).unwrap();
        let owned = Arc::clone(&bans);
        records.register(Space::Bans, move |dump| {
            for (key, value) in lock(&owned).iter() {
                dump.write(key, value);
            }
        });
        (store, records, thread, bans)
    }

    #[test]
    fn records_survive_restarts_and_checkpoints_whoever_owns_them() {
        let directory = tempfile::tempdir().unwrap();
        {
            let (store, records, thread, bans) = open(directory.path());
            let number = {
                let mut bans = lock(&bans);
                bans.insert("a".into(), b"1".to_vec());
                records.put(Space::Bans, "a", b"1").unwrap();
                records.put(Space::Bans, "gone", b"2").unwrap();
                records.delete(Space::Bans, "gone").unwrap()
            };
            let number = records.put(Space::Tokens, "of nobody here", b"3").unwrap().max(number);
            records.blocking_settled(number).unwrap();
            thread.stop();
            store.close().unwrap();
            assert_eq!(records.put(Space::Bans, "late", b""), Err(RecordsError::Failed));
            assert_eq!(records.blocking_settled(number + 1), Err(RecordsError::Failed));
        }
        for _ in 0..2 {
            let (store, records, thread, bans) = open(directory.path());
            assert_eq!(*lock(&bans), BTreeMap::from([("a".into(), b"1".to_vec())]));
            store.request_checkpoint();
            while store.stats().checkpoints == 0 {
                std::thread::sleep(FULL_STEP);
            }
            thread.stop();
            store.close().unwrap();
            let tokens = records.load(Space::Tokens);
            assert_eq!(tokens.get("of nobody here").map(Vec::as_slice), Some(&b"3"[..]));
        }
    }
}
