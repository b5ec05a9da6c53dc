//! From the core's journal to the store: what the store does not take now waits here, and the shard reads nothing
//! meanwhile.

use ravelin_broker::{Broker, Now};
use ravelin_store::{CheckpointId, Error, Producer};
use std::collections::VecDeque;

/// State that is written again for a checkpoint in one turn.
const CHECKPOINT_STEP_BYTES: usize = 256 << 10;

pub(crate) struct Journal {
    producer: Producer,
    waiting: VecDeque<Vec<u8>>,
    durable: u64,
    checkpoint: Option<Checkpoint>,
    failed: bool,
}

struct Checkpoint {
    id: CheckpointId,
    written: bool,
}

impl Journal {
    pub fn new(producer: Producer) -> Journal {
        Journal { producer, waiting: VecDeque::new(), durable: 0, checkpoint: None, failed: false }
    }

    /// Whether sockets must not be read.
    pub fn is_full(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether there is more to do in the next turn without waiting for anything.
    pub fn is_busy(&self) -> bool {
        !self.is_full() && self.checkpoint.as_ref().is_some_and(|checkpoint| !checkpoint.written)
    }

    /// Hands what the core has journalled to the store.
    pub fn append(&mut self, broker: &mut Broker) {
        while let Some(batch) = self.waiting.pop_front() {
            if !self.hand_over(batch) {
                return;
            }
        }
        while let Some(batch) = broker.take_journal(self.producer.recycle()) {
            if !self.hand_over(batch) {
                return;
            }
        }
    }

    /// False: the rest waits.
    fn hand_over(&mut self, batch: Vec<u8>) -> bool {
        let Err(refused) = self.producer.append(batch) else { return true };
        match refused.error {
            Error::Full { .. } => {
                self.waiting.push_front(refused.batch);
                false
            }
            Error::BatchTooLarge { .. } => {
                let Some(rest) = split(refused.batch, &mut self.waiting) else { return true };
                self.waiting.push_front(rest);
                let first = self.waiting.pop_front().unwrap_or_default();
                self.hand_over(first)
            }
            // The store has failed, which `failed` tells; what it refused cannot be acknowledged any more.
            _ => true,
        }
    }

    /// How far the core's records are durable, if that is news.
    pub fn poll_durable(&mut self) -> Option<u64> {
        let durable = self.producer.durable();
        (durable != std::mem::replace(&mut self.durable, durable)).then_some(durable)
    }

    /// True once: the store has failed.
    pub fn poll_failed(&mut self) -> bool {
        let failed = self.producer.failed();
        failed && !std::mem::replace(&mut self.failed, failed)
    }

    /// Does a part of a checkpoint, if one is wanted.
    pub fn checkpoint(&mut self, now: Now, broker: &mut Broker) {
        if self.is_full() {
            return;
        }
        let checkpoint = match &mut self.checkpoint {
            Some(checkpoint) => checkpoint,
            None => {
                let Some(id) = self.producer.checkpoint_wanted() else { return };
                broker.checkpoint_begin();
                self.checkpoint.insert(Checkpoint { id, written: false })
            }
        };
        if !checkpoint.written {
            checkpoint.written = broker.checkpoint_step(now, CHECKPOINT_STEP_BYTES);
        }
        self.append(broker);
        if let Some(Checkpoint { id, written: true }) = self.checkpoint
            && !self.is_full()
        {
            self.producer.checkpoint_done(id);
            self.checkpoint = None;
        }
    }
}

/// Splits a batch that is larger than the store's queue between two records: the front part is returned, the rest goes
/// to the front of `waiting`. `None` if it holds a single record, which then can never be stored.
fn split(mut batch: Vec<u8>, waiting: &mut VecDeque<Vec<u8>>) -> Option<Vec<u8>> {
    let mut at = 0;
    while let Some(prefix) = batch.get(at..at + 4) {
        let len = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
        let next = at + 4 + len;
        if at > 0 && next > batch.len() / 2 {
            waiting.push_front(batch.split_off(at));
            return Some(batch);
        }
        at = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_split_between_records() {
        let mut batch = Vec::new();
        for record in [&b"aaaa"[..], b"bbbb", b"cccc", b"dd"] {
            ravelin_store::push_record(&mut batch, record);
        }
        let whole = batch.clone();
        let mut waiting = VecDeque::new();
        let front = split(batch, &mut waiting).unwrap();
        assert_eq!(front.len(), 8);
        assert_eq!([front, waiting.pop_front().unwrap()].concat(), whole);
        let mut single = Vec::new();
        ravelin_store::push_record(&mut single, b"aaaa");
        assert_eq!(split(single, &mut waiting), None);
    }
}
