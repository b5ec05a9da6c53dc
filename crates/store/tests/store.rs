//! The store with real threads on a real directory.

use ravelin_store::testing::{Fault, SimDisk, keys};
use ravelin_store::{Durability, Error, Keys, Options, Producer, RealDisk, Recovery, Store, push_record};
use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

/// A directory with a key file and a store in it.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Site {
        let folder = tempfile::tempdir().unwrap();
        Keys::create(folder.path().join("key")).unwrap();
        Site { folder }
    }

    fn key_path(&self) -> std::path::PathBuf {
        self.folder.path().join("key")
    }

    fn store_path(&self) -> std::path::PathBuf {
        self.folder.path().join("store")
    }

    fn open(&self, options: Options) -> (Store, Recovery) {
        self.try_open(options).unwrap()
    }

    fn try_open(&self, options: Options) -> Result<(Store, Recovery), Error> {
        let disk = RealDisk::open(self.store_path()).unwrap();
        Store::open(Arc::new(disk), Keys::load(self.key_path())?, options)
    }
}

/// A producer whose wakes can be waited for.
struct Waiting {
    producer: Producer,
    wakes: mpsc::Receiver<()>,
}

impl Waiting {
    fn take(store: &Store, index: usize) -> Waiting {
        let (sender, wakes) = mpsc::channel();
        let producer = store
            .producer(
                index,
                Box::new(move || {
                    let _ = sender.send(());
                }),
            )
            .unwrap();
        Waiting { producer, wakes }
    }

    /// Waits for a wake until the condition holds.
    fn until(&self, condition: impl Fn(&Producer) -> bool) {
        while !condition(&self.producer) {
            self.wakes.recv_timeout(Duration::from_secs(20)).expect("a wake");
        }
    }

    fn append(&mut self, records: &[&[u8]]) -> u64 {
        let mut batch = self.producer.recycle();
        records.iter().for_each(|record| push_record(&mut batch, record));
        self.producer.append(batch).unwrap()
    }

    fn commit(&mut self, records: &[&[u8]]) {
        let last = self.append(records);
        self.until(|producer| producer.durable() >= last);
    }
}

fn replay(recovery: Recovery) -> Vec<Vec<u8>> {
    recovery.map(Result::unwrap).collect()
}

fn log_files(folder: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(".log")).collect();
    names.sort();
    names
}

#[test]
fn what_was_durable_is_replayed_in_order() {
    let site = Site::new();
    let (store, recovery) = site.open(Options::default());
    assert!(recovery.report().created);
    assert_eq!(replay(recovery).len(), 0);
    let mut producer = Waiting::take(&store, 0);
    producer.commit(&[b"one", b"", b"three"]);
    producer.commit(&[b"four"]);
    store.close().unwrap();

    let (store, recovery) = site.open(Options::default());
    assert!(recovery.report().closed_cleanly);
    assert_eq!(recovery.report().records, 4);
    assert_eq!(replay(recovery), [&b"one"[..], b"", b"three", b"four"]);
    store.close().unwrap();
}

#[test]
fn many_threads_each_find_their_records_in_order() {
    const THREADS: usize = 4;
    const RECORDS: u64 = 3000;
    let site = Site::new();
    let options = Options { producers: THREADS, segment_bytes_max: 100_000, ..Options::default() };
    let (store, _) = site.open(options.clone());
    std::thread::scope(|scope| {
        for index in 0..THREADS {
            let mut producer = Waiting::take(&store, index);
            scope.spawn(move || {
                let mut number = 0u64;
                while number < RECORDS {
                    let mut batch = producer.producer.recycle();
                    assert!(batch.is_empty());
                    for _ in 0..(number % 7 + 1).min(RECORDS - number) {
                        number += 1;
                        push_record(
                            &mut batch,
                            &[&(index as u64).to_le_bytes()[..], &number.to_le_bytes()].concat(),
                        );
                    }
                    assert_eq!(producer.producer.append(batch).unwrap(), number);
                    producer.until(|producer| producer.durable() + 100 > number);
                }
                producer.until(|producer| producer.durable() == RECORDS);
            });
        }
    });
    let stats = store.stats();
    assert_eq!(stats.records, THREADS as u64 * RECORDS);
    assert!(stats.segments > 2 && stats.sync_latency.count > 0, "{stats:?}");
    store.close().unwrap();

    let (_store, recovery) = site.open(options);
    let mut next = [1u64; THREADS];
    for record in replay(recovery) {
        let thread = u64::from_le_bytes(record[..8].try_into().unwrap()) as usize;
        assert_eq!(u64::from_le_bytes(record[8..].try_into().unwrap()), next[thread]);
        next[thread] += 1;
    }
    assert_eq!(next, [RECORDS + 1; THREADS]);
}

#[test]
fn checkpoint_deletes_what_is_older_once_all_producers_are_done() {
    let site = Site::new();
    let options = Options { producers: 2, segment_bytes_max: 2000, ..Options::default() };
    let (store, _) = site.open(options.clone());
    let mut first = Waiting::take(&store, 0);
    for _ in 0..30 {
        first.commit(&[&[7; 300]]);
    }
    store.request_checkpoint();
    // The second shard has not begun: a checkpoint now would lose what it holds.
    first.commit(&[b"more"]);
    assert_eq!(first.producer.checkpoint_wanted(), None);
    let mut second = Waiting::take(&store, 1);
    first.until(|producer| producer.checkpoint_wanted().is_some());
    let id = first.producer.checkpoint_wanted().unwrap();
    let before = log_files(&site.store_path()).len();
    assert!(before > 4);
    first.append(&[b"state of first"]);
    first.producer.checkpoint_done(id);
    assert_eq!(first.producer.checkpoint_wanted(), None);
    first.commit(&[b"after"]);
    assert_eq!(store.stats().checkpoints, 0);
    assert!(log_files(&site.store_path()).len() >= before);
    second.append(&[b"state of second"]);
    second.producer.checkpoint_done(second.producer.checkpoint_wanted().unwrap());
    second.commit(&[b"end"]);
    // The commit that told of "end" may come before the deletion; the next cannot.
    second.commit(&[b"end"]);
    assert_eq!(store.stats().checkpoints, 1);
    store.close().unwrap();

    let (_store, recovery) = site.open(options);
    assert_eq!(log_files(&site.store_path()).len(), 2);
    let records = replay(recovery);
    assert_eq!(records, [&b"state of first"[..], b"after", b"state of second", b"end", b"end"]);
}

#[test]
fn a_checkpoint_begins_by_itself_when_the_log_has_grown() {
    let site = Site::new();
    let options = Options { checkpoint_bytes_min: 20_000, segment_bytes_max: 5_000, ..Options::default() };
    let (store, _) = site.open(options);
    let mut producer = Waiting::take(&store, 0);
    let mut largest = 0;
    for _ in 0..400 {
        producer.commit(&[&[1; 500]]);
        if let Some(id) = producer.producer.checkpoint_wanted() {
            producer.append(&[b"state"]);
            producer.producer.checkpoint_done(id);
        }
        largest = largest.max(store.stats().live_bytes);
    }
    assert!(store.stats().checkpoints > 5);
    assert!(largest < 40_000, "{largest}");
}

#[test]
fn a_full_queue_refuses_and_gives_the_batch_back() {
    let site = Site::new();
    let (store, _) = site.open(Options { queue_bytes_max: 1000, ..Options::default() });
    let mut producer = Waiting::take(&store, 0);
    let mut large = Vec::new();
    push_record(&mut large, &[0; 2000]);
    let refused = producer.producer.append(large.clone()).unwrap_err();
    assert!(matches!(refused.error, Error::BatchTooLarge { bytes: 2004, max: 1000 }));
    assert_eq!(refused.batch, large);
    let refused = producer.producer.append(vec![9, 0, 0, 0, 1]).unwrap_err();
    assert!(matches!(refused.error, Error::MalformedBatch));
    let mut full = false;
    for _ in 0..100_000 {
        let mut batch = producer.producer.recycle();
        push_record(&mut batch, &[0; 600]);
        if let Err(refused) = producer.producer.append(batch) {
            assert!(matches!(refused.error, Error::Full { producer: 0, .. }));
            assert_eq!(refused.batch.len(), 604);
            full = true;
            break;
        }
    }
    assert!(full);
    let last = producer.producer.last();
    producer.until(|producer| producer.durable() == last);
    producer.commit(&[&[0; 600]]);
}

#[test]
fn large_records_make_frames_of_their_own() {
    let site = Site::new();
    let (store, _) = site.open(Options { segment_bytes_max: 2 << 20, ..Options::default() });
    let mut producer = Waiting::take(&store, 0);
    let large = vec![0xab; 3 << 20];
    producer.commit(&[b"before", &large, b"after", &large[..1 << 20], &large[..(1 << 20) - 1]]);
    drop(store);
    let (_store, recovery) = site.open(Options::default());
    let lengths: Vec<usize> = replay(recovery).iter().map(Vec::len).collect();
    assert_eq!(lengths, [6, 3 << 20, 5, 1 << 20, (1 << 20) - 1]);
}

#[test]
fn every_durability_keeps_what_was_appended_before_a_close() {
    for durability in [Durability::Commit, Durability::Interval(Duration::from_millis(5)), Durability::None] {
        let site = Site::new();
        let (store, _) = site.open(Options { durability, ..Options::default() });
        let mut producer = Waiting::take(&store, 0);
        for _ in 0..50 {
            producer.commit(&[b"x"]);
        }
        producer.append(&[b"last"]);
        store.close().unwrap();
        let refused = producer.producer.append(vec![0; 4]).unwrap_err();
        assert!(matches!(refused.error, Error::Closed));
        let (_store, recovery) = site.open(Options::default());
        assert_eq!(recovery.report().records, 51);
    }
}

#[test]
fn interval_syncs_without_further_traffic() {
    let site = Site::new();
    let durability = Durability::Interval(Duration::from_millis(2));
    let (store, _) =
        site.open(Options { durability, anchor_interval: Duration::from_millis(2), ..Options::default() });
    let mut producer = Waiting::take(&store, 0);
    producer.commit(&[b"x"]);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while store.stats().sync_latency.count == 0 {
        assert!(std::time::Instant::now() < deadline, "no sync");
        std::thread::yield_now();
    }
}

#[test]
fn two_stores_cannot_share_a_directory() {
    let site = Site::new();
    let (store, _) = site.open(Options::default());
    assert!(matches!(site.try_open(Options::default()), Err(Error::Locked { .. })));
    drop(store);
    site.try_open(Options::default()).unwrap();
}

#[test]
fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    std::fs::create_dir(site.store_path()).unwrap();
    std::fs::set_permissions(site.store_path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (store, _) = site.open(Options::default());
    Waiting::take(&store, 0).commit(&[b"x"]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&site.store_path()), 0o700);
    assert_eq!(mode(&site.key_path()), 0o600);
    for entry in std::fs::read_dir(site.store_path()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
    std::fs::set_permissions(site.key_path(), std::fs::Permissions::from_mode(0o640)).unwrap();
    drop(store);
    let Err(error) = site.try_open(Options::default()) else { panic!("a readable key file was accepted") };
    assert!(error.to_string().contains("0640"), "{error}");
}

#[test]
fn plaintext_occurs_in_no_file() {
    let site = Site::new();
    let secret = b"substation 4711 breaker open";
    let (store, _) = site.open(Options::default());
    let mut producer = Waiting::take(&store, 0);
    for _ in 0..20 {
        producer.commit(&[secret, &[secret.as_slice(); 50].concat()]);
    }
    store.close().unwrap();
    for entry in std::fs::read_dir(site.store_path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(12).any(|window| window == &secret[..12]));
    }
}

#[test]
fn rotated_keys_are_dropped_after_the_next_checkpoint() {
    let site = Site::new();
    let (store, _) = site.open(Options::default());
    let mut producer = Waiting::take(&store, 0);
    producer.commit(&[b"with the old key"]);
    let old = Keys::load(site.key_path()).unwrap().current_id();
    store.rotate_key(Keys::rotate(site.key_path()).unwrap()).unwrap();
    let rotated = Keys::load(site.key_path()).unwrap();
    assert_ne!(rotated.current_id(), old);
    assert_eq!(rotated.ids().len(), 2);
    producer.commit(&[b"with the new key"]);
    drop(store);

    // Before the checkpoint both keys are needed, and there.
    let (store, recovery) = site.open(Options::default());
    assert_eq!(recovery.report().keys.len(), 2);
    assert_eq!(replay(recovery).len(), 2);
    let mut producer = Waiting::take(&store, 0);
    store.request_checkpoint();
    producer.until(|producer| producer.checkpoint_wanted().is_some());
    producer.append(&[b"state"]);
    producer.producer.checkpoint_done(producer.producer.checkpoint_wanted().unwrap());
    store.close().unwrap();
    assert_eq!(Keys::load(site.key_path()).unwrap().ids(), [rotated.current_id()]);

    let (store, recovery) = site.open(Options::default());
    assert_eq!(recovery.report().keys, [rotated.current_id()]);
    assert_eq!(replay(recovery), [b"state"]);
    // A key that the file does not hold would be lost with the process.
    std::fs::remove_file(site.key_path()).unwrap();
    Keys::create(site.key_path()).unwrap();
    drop(store);
    assert!(matches!(site.try_open(Options::default()), Err(Error::UnknownKey { .. })));
}

#[test]
fn each_producer_is_taken_once() {
    let site = Site::new();
    let (store, _) = site.open(Options::default());
    let _first = store.producer(0, Box::new(|| {})).unwrap();
    assert!(matches!(store.producer(0, Box::new(|| {})), Err(Error::NoSuchProducer { index: 0 })));
    assert!(matches!(store.producer(1, Box::new(|| {})), Err(Error::NoSuchProducer { index: 1 })));
}

#[test]
fn a_panicking_wake_does_not_stop_the_log() {
    let site = Site::new();
    let (store, _) = site.open(Options::default());
    let mut producer = store.producer(0, Box::new(|| panic!("a fault of the caller"))).unwrap();
    for _ in 0..3 {
        let mut batch = Vec::new();
        push_record(&mut batch, b"x");
        producer.append(batch).unwrap();
    }
    store.close().unwrap();
    assert_eq!(producer.durable(), 3);
}

/// Nothing is durable after the first error, even though the disk would work again.
#[test]
fn a_failed_disk_is_told_and_never_believed_again() {
    for nth in 1..12 {
        let disk = Arc::new(SimDisk::new(nth));
        let (store, _) = Store::open(disk.clone(), keys(&[1]), Options::default()).unwrap();
        let mut producer = Waiting::take(&store, 0);
        producer.commit(&[b"kept"]);
        disk.plan(nth, Fault::Error);
        let mut promised = 1;
        loop {
            let mut batch = Vec::new();
            push_record(&mut batch, b"perhaps");
            match producer.producer.append(batch) {
                Ok(last) => producer.until(|producer| producer.failed() || producer.durable() >= last),
                Err(refused) => {
                    assert!(matches!(refused.error, Error::Failed));
                    break;
                }
            }
            promised = producer.producer.durable();
        }
        assert!(producer.producer.failed());
        assert_eq!(producer.producer.durable(), promised);
        let failure = store.stats().failure.unwrap();
        assert!(failure.starts_with("failed to ") && failure.ends_with("planned error"), "{failure}");
        assert!(matches!(store.rotate_key(keys(&[2, 1])), Err(Error::Failed)));
        assert!(matches!(store.close(), Err(Error::Io { .. })));
        disk.restart(true);
        let (_store, recovery) = Store::open(disk, keys(&[1]), Options::default()).unwrap();
        assert!(recovery.report().records >= promised);
    }
}

#[test]
fn the_manifest_learns_how_far_the_log_reaches() {
    let disk = Arc::new(SimDisk::new(1));
    let options = Options { anchor_interval: Duration::from_millis(1), ..Options::default() };
    let (store, _) = Store::open(disk.clone(), keys(&[1]), options).unwrap();
    let mut producer = Waiting::take(&store, 0);
    let before = disk.read("MANIFEST");
    producer.commit(&[b"x"]);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while disk.read("MANIFEST") == before {
        assert!(std::time::Instant::now() < deadline, "no anchor");
        std::thread::yield_now();
    }
}
