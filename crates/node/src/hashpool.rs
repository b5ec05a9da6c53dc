//! The threads that verify passwords and one-time codes. Bounded in threads and in waiting jobs: hashing is dear by design, and a flood
//! of log-ins (attack 24) must cost neither the shards nor more memory than a few hashes.

use crate::shard::mailbox::{Mail, Mailbox};
use crate::shard::slab::Key;
use ravelin_protect::{HashJob, Pending, Unproven};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Where jobs are handed in. The threads end when the last one is dropped.
#[derive(Clone)]
pub(crate) struct HashPool {
    sender: SyncSender<Job>,
}

struct Job {
    key: Key,
    hash: HashJob,
    pending: Box<Pending>,
    home: Arc<Mailbox>,
}

impl HashPool {
    pub fn start(threads: usize, queue_max: usize) -> std::io::Result<HashPool> {
        let (sender, receiver) = sync_channel::<Job>(queue_max);
        let receiver = Arc::new(Mutex::new(receiver));
        for index in 0..threads.max(1) {
            let receiver = Arc::clone(&receiver);
            std::thread::Builder::new()
                .name(format!("ravelin-hash-{index}"))
                .spawn(move || work(&receiver))?;
        }
        Ok(HashPool { sender })
    }

    /// Hands a job in; the result comes to `home`. False: too many wait.
    pub fn submit(&self, key: Key, hash: HashJob, pending: Pending, home: Arc<Mailbox>) -> bool {
        self.sender.try_send(Job { key, hash, pending: Box::new(pending), home }).is_ok()
    }
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    loop {
        let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { key, hash, pending, home }) = job else { return };
        // A job that panics is a log-in that failed.
        let result = catch_unwind(AssertUnwindSafe(|| hash.run())).unwrap_or(Err(Unproven::Wrong));
        home.post(Mail::Hashed(key, pending, result));
    }
}
