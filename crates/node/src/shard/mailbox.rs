//! What other threads send to a shard: messages of sister shards, connections that move house, results, orders.
//!
//! Nothing is ever dropped and nothing blocks. The bound is kept by the senders: whoever finds a sister's mailbox over
//! its limit stops reading its own sockets until the sister has caught up, so what waits is at most the limit and what
//! the senders had in hand. A turn's messages for one sister go over as one batch, under one lock.

use crate::control::Order;
use crate::shard::conn::Moved;
use crate::shard::slab::Key;
use mio::Waker;
use ravelin_broker::ShardMessage;
use ravelin_protect::{Pending, Unproven};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes that may wait in one mailbox before its senders stop reading sockets.
const BYTES_MAX: usize = 16 << 20;

pub(crate) enum Mail {
    /// Messages of a sister shard, in order.
    Sister(u16, Vec<ShardMessage>),
    /// A connection whose session lives here.
    Moved(Box<Moved>),
    /// A password or a one-time code was verified.
    Hashed(Key, Box<Pending>, Result<(), Unproven>),
    /// Retained messages to publish below `$SYS`.
    System(Vec<(String, String)>),
    /// Messages to publish below `$MONITOR`.
    Monitor(crate::control::Monitored),
    /// Say goodbye to the clients and end.
    Shutdown,
}

/// A shard's mailbox, seen from anywhere.
pub(crate) struct Mailbox {
    queue: Mutex<VecDeque<Mail>>,
    /// Orders of the control lane, which come before everything else.
    orders: Mutex<VecDeque<Order>>,
    ordered: AtomicBool,
    /// The shard has ended: nothing is taken any more.
    closed: AtomicBool,
    /// Whether the queue has something: all that is looked at when it is empty.
    filled: AtomicBool,
    bytes: AtomicUsize,
    /// A sender stopped reading sockets and wants to know when there is room.
    awaited: AtomicBool,
    wake: Wake,
}

/// Wakes a shard out of its poll, at most once a turn.
#[derive(Clone)]
pub(crate) struct Wake {
    waker: Arc<Waker>,
    rung: Arc<AtomicBool>,
}

impl Wake {
    pub fn new(waker: Waker) -> Wake {
        Wake { waker: Arc::new(waker), rung: Arc::new(AtomicBool::new(false)) }
    }

    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            // Writing to an eventfd fails only when its counter is full, and then it rings already.
            let _ = self.waker.wake();
        }
    }

    /// Said by the shard before it looks at what it was woken for.
    pub fn answer(&self) {
        self.rung.store(false, Ordering::SeqCst);
    }
}

impl Mailbox {
    pub fn new(wake: Wake) -> Mailbox {
        Mailbox {
            queue: Mutex::default(),
            orders: Mutex::default(),
            ordered: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            filled: AtomicBool::new(false),
            bytes: AtomicUsize::new(0),
            awaited: AtomicBool::new(false),
            wake,
        }
    }

    pub fn wake(&self) -> &Wake {
        &self.wake
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Mail>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the mailbox and wakes its shard.
    pub fn post(&self, mail: Mail) {
        let bytes = mail_bytes(&mail);
        {
            let mut queue = self.queue();
            queue.push_back(mail);
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.filled.store(true, Ordering::Release);
        }
        self.wake.ring();
    }

    /// Gives an order. After the shard has ended it is dropped, by which whoever waits for an answer learns of it.
    pub fn order(&self, order: Order) {
        {
            let mut orders = self.orders();
            if self.closed.load(Ordering::Relaxed) {
                return;
            }
            orders.push_back(order);
            self.ordered.store(true, Ordering::Release);
        }
        self.wake.ring();
    }

    /// The next order. One atomic load when there is none.
    #[inline]
    pub fn next_order(&self) -> Option<Order> {
        if !self.ordered.load(Ordering::Acquire) {
            return None;
        }
        let mut orders = self.orders();
        let order = orders.pop_front();
        self.ordered.store(!orders.is_empty(), Ordering::Relaxed);
        order
    }

    /// The shard has ended.
    pub fn close(&self) {
        let mut orders = self.orders();
        self.closed.store(true, Ordering::Relaxed);
        orders.clear();
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn orders(&self) -> MutexGuard<'_, VecDeque<Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves everything that waits to the end of `taken`. One atomic load when there is nothing.
    #[inline]
    pub fn take(&self, taken: &mut VecDeque<Mail>) {
        if self.filled.load(Ordering::Acquire) {
            let mut queue = self.queue();
            taken.append(&mut queue);
            self.filled.store(false, Ordering::Relaxed);
        }
    }

    /// Says that `mail` was dealt with; returns true if a sender waits for the room.
    pub fn done(&self, bytes: usize) -> bool {
        let before = self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        before - bytes < BYTES_MAX / 2
            && self.awaited.load(Ordering::Relaxed)
            && self.awaited.swap(false, Ordering::SeqCst)
    }

    /// Whether its senders must stop reading sockets. If so, they are woken when there is room.
    pub fn is_full(&self) -> bool {
        if self.bytes.load(Ordering::Relaxed) < BYTES_MAX {
            return false;
        }
        self.awaited.store(true, Ordering::SeqCst);
        // It may have been emptied between the two lines.
        self.bytes.load(Ordering::SeqCst) >= BYTES_MAX / 2
    }
}

/// What a piece of mail counts for.
pub(crate) fn mail_bytes(mail: &Mail) -> usize {
    match mail {
        Mail::Sister(_, messages) => messages.iter().map(ShardMessage::bytes).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_arrives_in_order_and_wakes_once() {
        let poll = mio::Poll::new().unwrap();
        let mailbox = Mailbox::new(Wake::new(Waker::new(poll.registry(), mio::Token(1)).unwrap()));
        let mut taken = VecDeque::new();
        mailbox.take(&mut taken);
        assert!(taken.is_empty());
        for name in ["a", "b"] {
            mailbox.post(Mail::System(vec![(name.into(), String::new())]));
        }
        assert!(mailbox.wake().rung.load(Ordering::SeqCst));
        mailbox.take(&mut taken);
        let names: Vec<_> = taken
            .iter()
            .map(|mail| if let Mail::System(entries) = mail { entries[0].0.as_str() } else { "" })
            .collect();
        assert_eq!(names, ["a", "b"]);
        assert!(!mailbox.is_full());
    }

    #[test]
    fn a_full_mailbox_tells_when_there_is_room() {
        let poll = mio::Poll::new().unwrap();
        let mailbox = Mailbox::new(Wake::new(Waker::new(poll.registry(), mio::Token(1)).unwrap()));
        mailbox.bytes.store(BYTES_MAX, Ordering::Relaxed);
        assert!(mailbox.is_full());
        assert!(!mailbox.done(1000), "not yet");
        assert!(mailbox.done(BYTES_MAX / 2), "half empty");
        assert!(!mailbox.done(1000), "told once");
        assert!(!mailbox.is_full());
    }
}
