//! The store as the core sees it: one log for all shards that becomes durable late, and loses its end in a crash.

use crate::Random;
use std::collections::VecDeque;

/// A simulated disk.
#[derive(Default)]
pub struct Disk {
    /// What survives, oldest first.
    log: Vec<Vec<u8>>,
    /// By shard: records that were handed over and are not durable.
    pending: Vec<VecDeque<Vec<u8>>>,
    /// By shard: records that are durable, counted from the start of the process.
    durable: Vec<u64>,
    /// Where the log will begin once all shards have written their checkpoint.
    cut: Option<usize>,
}

impl Disk {
    /// A new process with so many shards has opened the log.
    pub(crate) fn reopen(&mut self, shards: u16) {
        self.pending = vec![VecDeque::new(); shards as usize];
        self.durable = vec![0; shards as usize];
        self.cut = None;
    }

    /// The records of the log.
    pub fn records(&self) -> &[Vec<u8>] {
        &self.log
    }

    /// Replaces the log.
    pub fn set_records(&mut self, log: Vec<Vec<u8>>) {
        self.log = log;
    }

    pub(crate) fn append(&mut self, shard: u16, mut batch: &[u8]) {
        while let Some((prefix, rest)) = batch.split_first_chunk::<4>() {
            let (record, rest) = rest.split_at(u32::from_le_bytes(*prefix) as usize);
            self.pending[shard as usize].push_back(record.to_vec());
            batch = rest;
        }
        assert!(batch.is_empty(), "a batch is whole records");
    }

    /// Makes up to `most` of a shard's records durable.
    pub fn sync(&mut self, shard: u16, most: usize) {
        let pending = &mut self.pending[shard as usize];
        let n = most.min(pending.len());
        self.durable[shard as usize] += n as u64;
        self.log.extend(pending.drain(..n));
    }

    /// Records of a shard that are not durable.
    pub fn pending(&self, shard: u16) -> usize {
        self.pending[shard as usize].len()
    }

    /// How many of a shard's records are durable.
    pub fn durable(&self, shard: u16) -> u64 {
        self.durable[shard as usize]
    }

    /// The process dies: of what was not durable, some prefix of each shard's records survives all the same.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        let mut order: Vec<u16> = (0..self.pending.len() as u16).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i + 1));
        }
        for shard in order {
            let most = random.below(self.pending(shard) + 1);
            self.sync(shard, most);
        }
    }

    pub(crate) fn checkpoint_begun(&mut self) {
        self.cut = Some(self.log.len());
    }

    /// All shards have written their state, and it is durable: what came before goes.
    pub(crate) fn checkpoint_done(&mut self) {
        if let Some(cut) = self.cut.take() {
            self.log.drain(..cut);
        }
    }
}
