//! A shard: one thread, one poll, one [`Broker`], the connections whose sessions it owns.
//!
//! | file | what of it |
//! |---|---|
//! | `turn` | the loop: what happens in which order |
//! | `accept` | new connections, the first rungs of the ladder |
//! | `read` | from the socket through TLS and WebSocket to frames |
//! | `login` | bans and lock-out of who logs in |
//! | `inventory` | whom the inventory lets in, and what it is told |
//! | `preauth` | CONNECT, authentication, moving house |
//! | `reauth` | AUTH of a live client |
//! | `price` | what a refused connection costs |
//! | `tokens` | clients whose proof expires |
//! | `posture` | whom the posture keeps out |
//! | `meter` | rates of connections that have a session |
//! | `pressure` | what is given up when memory is short |
//! | `flush` | from the core's outbounds to the socket |
//! | `close` | how connections end |
//! | `keys` | certificates and keys of live connections: revoked, distrusted, too old |
//! | `mail` | what other threads ask |
//!
//! Nothing here is shared with another thread but the mailboxes, the ladder (asked when a connection begins and ends)
//! and the published figures.

mod accept;
mod alarm;
mod close;
pub(crate) mod conn;
mod fence;
mod flush;
mod inventory;
mod journal;
mod keys;
mod login;
mod mail;
pub(crate) mod mailbox;
mod meter;
mod posture;
mod preauth;
mod pressure;
mod price;
mod read;
mod reauth;
mod sights;
pub(crate) mod slab;
mod tokens;
mod turn;
mod unlogged;

pub(crate) use accept::{Bound, Spare};
pub(crate) use turn::{WAKE, run};

use crate::control::record::RecordLane;
use crate::control::{Requests, WatchQueue, Watched};
use crate::hashpool::HashPool;
use crate::ladder::{Ladder, Rung, Rungs};
use crate::log::{EventSink, Suppressor};
use crate::memory::{MemoryStage, Pressure};
use crate::metrics::{Counters, Figures};
use crate::policy::Policy;
use crate::transport::Scratch;
use alarm::Alarm;
use conn::Conn;
use journal::Journal;
use mailbox::{Mail, Mailbox};
use meter::RateMeter;
use mio::{Events, Poll};
use ravelin_audit::Recorder;
use ravelin_broker::{Broker, Now, ShardMessage};
use ravelin_event::Event;
use ravelin_store::Producer;
use slab::{Key, Slab};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Barrier, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The buffer that every socket of a shard is read into; also the most that one connection reads in a turn.
const READ_BYTES_MAX: usize = 256 << 10;

/// The clock of the node: one origin for all shards.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { origin: Instant::now() }
    }

    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // From 1, so that 0 is before everything.
        Now { mono_ms: self.origin.elapsed().as_millis() as u64 + 1, wall_ms: wall.as_millis() as u64 }
    }
}

/// What a shard is made of before its thread runs.
pub(crate) struct Seed {
    pub id: u16,
    pub clock: Clock,
    pub poll: Poll,
    pub mailboxes: Arc<[Arc<Mailbox>]>,
    pub policy: Arc<Policy>,
    pub ladder: Arc<Mutex<Ladder>>,
    pub pressure: Arc<Pressure>,
    pub hash_pool: HashPool,
    pub sink: EventSink,
    pub watch: Arc<WatchQueue>,
    pub requests: Requests,
    pub figures: Arc<Mutex<Figures>>,
    /// Random, for the core's hash tables.
    pub random: u64,
    /// Batches of records to restore, oldest first; an empty one is the last.
    pub records: Receiver<Arc<Vec<u8>>>,
    /// How it went on from there.
    pub begin: Receiver<Begin>,
    /// Where the shards meet before they serve.
    pub met: Arc<Barrier>,
}

/// What a shard needs to begin to serve.
pub(crate) struct Begin {
    pub producer: Producer,
    pub bound: Vec<Bound>,
    /// What to go by, now that the programme's records are known.
    pub policy: Arc<Policy>,
    /// The record of transmissions, if there is one.
    pub recorder: Option<Recorder>,
}

/// The state of a running shard.
pub(crate) struct Shard {
    pub(crate) id: u16,
    clock: Clock,
    pub(crate) now: Now,
    /// Rings at the next deadline.
    alarm: Alarm,
    poll: Poll,
    events: Events,
    pub(crate) broker: Broker,
    policy: Arc<Policy>,
    conns: Slab<Conn>,
    bound: Vec<Bound>,
    spare: Spare,
    mailboxes: Arc<[Arc<Mailbox>]>,
    mail: VecDeque<Mail>,
    outboxes: Vec<Vec<ShardMessage>>,
    journal: Journal,
    ladder: Arc<Mutex<Ladder>>,
    hash_pool: HashPool,
    sink: EventSink,
    watch: Arc<WatchQueue>,
    /// Where what is published to `$CONTROL/...` goes.
    requests: Requests,
    /// What this turn saw, for whoever watches.
    seen: Vec<Watched>,
    /// What of it must be recorded.
    record: RecordLane,
    suppressor: Suppressor,
    /// What the log sums up and detectors count.
    unlogged: unlogged::Unlogged,
    figures: Arc<Mutex<Figures>>,
    counters: Counters,
    rungs: Rungs,
    /// Where rates are configured.
    meter: Option<Rc<RateMeter>>,
    /// How short memory is, and what was seen of it last.
    pressure: Arc<Pressure>,
    pressure_epoch: u32,
    stage: MemoryStage,
    /// Connections that are not read until a time.
    delays: BinaryHeap<Reverse<(u64, Key)>>,
    /// What the connections whose price is taken have cost so far.
    prices: price::Prices,
    /// Certificates and keys of live connections.
    care: keys::KeyCare,
    /// Connections whose sockets may hold more than was read.
    readable: Vec<Key>,
    /// Connections with something to write.
    dirty: Vec<Key>,
    /// Connections whose socket took nothing.
    blocked: Vec<Key>,
    /// Connections to be moved to another shard at the end of the turn.
    moving: Vec<Key>,
    /// By when a client must be authenticated, in order.
    connect_deadlines: VecDeque<(u64, Key)>,
    /// By when a connection that ends is closed, in order.
    close_deadlines: VecDeque<(u64, Key)>,
    tokens: tokens::Tokens,
    input: Box<[u8]>,
    scratch: Scratch,
    ws_scratch: Vec<u8>,
    /// Bytes that were read in this turn.
    turn_bytes: usize,
    /// The core's work at which the turn has done its share.
    turn_work_end: u64,
    next_tick_ms: u64,
    next_harvest_ms: u64,
    /// Deadlines are not enforced before.
    patient_until_ms: u64,
    /// Some connections are to end once what is under way is done.
    draining: bool,
    stopping: bool,
}

impl Shard {
    fn shards(&self) -> u16 {
        self.mailboxes.len() as u16
    }

    fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailboxes[usize::from(self.id)]
    }

    fn ladder(&self) -> MutexGuard<'_, Ladder> {
        self.ladder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&mut self, event: Event) {
        if !self.sink.wants(event.level()) {
            return;
        }
        if self.suppressor.admit(&event) {
            // Whoever watches sees things in the order in which they happened.
            self.watch.push_all(&mut self.seen);
            self.sink.emit(self.now.wall_ms, event);
        } else if self.sink.is_watched(event.level()) {
            self.unlogged.take(self.now.wall_ms, event, &mut self.seen);
        }
    }

    fn mark_dirty(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && !std::mem::replace(&mut conn.flags.dirty, true)
        {
            self.dirty.push(key);
        }
    }

    fn list_readable(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && !std::mem::replace(&mut conn.flags.listed, true)
        {
            self.readable.push(key);
        }
    }
}
