//! The store with real threads on a real directory.

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
        let producer = store.producer(index, Box::new(move || drop(sender.send(())))).unwrap();
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
