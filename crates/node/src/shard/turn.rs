//! The loop of a shard. One turn: control first, then what sockets brought, then the journal, then what goes out.

use super::alarm::Alarm;
use super::conn::Stage;
use super::journal::Journal;
use super::price::Prices;
use super::slab::{Key, Slab};
use super::{Bound, READ_BYTES_MAX, Seed, Shard, Spare};
use crate::control::Watched;
use crate::control::record::RecordLane;
use crate::ladder::Rungs;
use crate::log::Suppressor;
use crate::memory::MemoryStage;
use crate::metrics::{Counters, Figures};
use crate::policy::Rights;
use crate::transport::Scratch;
use mio::{Events, Interest, Token};
use ravelin_broker::{Broker, Observed, Output, RestoreSummary, Watch};
use ravelin_event::{Event, Refusal};
use ravelin_mqtt::ReasonCode;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Barrier, PoisonError};
use std::time::Duration;

/// Of the waker. Above every key of a connection.
pub(crate) const WAKE: Token = Token(usize::MAX);
/// Of the alarm.
const ALARM: Token = Token(usize::MAX - 1);
/// Of the first listener; the others follow below it.
const LISTENER: usize = usize::MAX - 2;
const LISTENERS_MAX: usize = 1 << 16;
const EVENTS_MAX: usize = 1024;
/// A flood of refusals from one address leaves so many lines in ten seconds.
const SUPPRESS_WINDOW_MS: u64 = 10_000;
const SUPPRESS_BURST: u32 = 10;
const TICK_MS: u64 = 1000;
/// Deliveries, and filters compared with new topics, in one turn: some 10 ms.
const TURN_WORK_MAX: u64 = 200_000;
/// Between two turns there is a tick. If there is so much more, the process was stopped, or the machine was.
const PAUSE_MS: u64 = TICK_MS + 500;
/// After that, deadlines are not enforced for so long.
const PATIENCE_MS: u64 = 1000;

/// The life of a shard's thread: restore, then serve until told to stop.
pub(crate) fn run(seed: Seed, restored: &SyncSender<RestoreSummary>) -> io::Result<()> {
    let now = seed.clock.now();
    let rights = Rc::new(Rights::of(&seed.policy));
    let shards = seed.mailboxes.len() as u16;
    let mut broker = Broker::new(seed.id, shards, seed.policy.core.clone(), rights, seed.random);
    while let Ok(batch) = seed.records.recv() {
        if batch.is_empty() {
            break;
        }
        for record in records(&batch) {
            if let Err(error) = broker.restore(now, record) {
                seed.sink.emit(now.wall_ms, Event::RecordUnreadable { detail: error.to_string() });
            }
        }
    }
    // Whoever started this thread may have given up; then there is nothing to serve.
    let _ = restored.send(broker.finish_restore(now));
    let Ok(begin) = seed.begin.recv() else { return Ok(()) };
    let mut shard = Shard {
        id: seed.id,
        clock: seed.clock,
        now,
        alarm: Alarm::new(seed.poll.registry(), ALARM)?,
        poll: seed.poll,
        events: Events::with_capacity(EVENTS_MAX),
        broker,
        policy: begin.policy,
        conns: Slab::new(),
        bound: begin.bound,
        spare: Spare::new(),
        outboxes: (0..shards).map(|_| Vec::new()).collect(),
        mailboxes: seed.mailboxes,
        mail: VecDeque::new(),
        journal: Journal::new(begin.producer),
        ladder: seed.ladder,
        hash_pool: seed.hash_pool,
        sink: seed.sink,
        watch: seed.watch,
        requests: seed.requests,
        seen: Vec::new(),
        record: RecordLane::new(begin.recorder),
        suppressor: Suppressor::new(SUPPRESS_WINDOW_MS, SUPPRESS_BURST),
        unlogged: Default::default(),
        figures: seed.figures,
        counters: Counters::default(),
        rungs: Rungs::default(),
        meter: None,
        pressure: seed.pressure,
        pressure_epoch: 0,
        stage: MemoryStage::Calm,
        delays: BinaryHeap::new(),
        prices: Prices::default(),
        care: Default::default(),
        readable: Vec::new(),
        dirty: Vec::new(),
        blocked: Vec::new(),
        moving: Vec::new(),
        connect_deadlines: VecDeque::new(),
        close_deadlines: VecDeque::new(),
        tokens: Default::default(),
        input: vec![0; READ_BYTES_MAX].into_boxed_slice(),
        scratch: Scratch::default(),
        ws_scratch: Vec::new(),
        turn_bytes: 0,
        turn_work_end: 0,
        next_tick_ms: 0,
        next_harvest_ms: 0,
        patient_until_ms: 0,
        draining: false,
        stopping: false,
    };
    // Whoever's rights went while the node was stopped has none now.
    shard.broker.set_authorizer(shard.now, Rc::new(Rights::of(&shard.policy)));
    shard.set_rates();
    shard.meet_sisters(&seed.met);
    shard.listen()?;
    while !shard.is_done() {
        shard.turn()?;
    }
    shard.finish_turn();
    // What was left out of the log and is not told of yet.
    for summary in shard.suppressor.poll(shard.now.mono_ms + SUPPRESS_WINDOW_MS) {
        shard.sink.emit(shard.now.wall_ms, summary);
    }
    shard.publish_figures();
    shard.mailbox().close();
    Ok(())
}

/// The records of a batch: each a length of four bytes and as many bytes.
fn records(mut batch: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (prefix, rest) = batch.split_first_chunk::<4>()?;
        let len = u32::from_le_bytes(*prefix) as usize;
        let (record, rest) = rest.split_at_checked(len)?;
        batch = rest;
        Some(record)
    })
}

impl Shard {
    /// Tells the sisters what the restored sessions want, and hears what theirs want, before anything is published: a
    /// will that is due, or the first message of the first client, must find every subscriber. Twice, because the home
    /// of a shared subscription's group tells the others about it once it has heard of the members.
    fn meet_sisters(&mut self, met: &Barrier) {
        for _ in 0..2 {
            self.drain_outputs();
            self.post_outboxes();
            met.wait();
            self.take_mail();
        }
    }

    fn listen(&mut self) -> io::Result<()> {
        for (index, Bound { listener, .. }) in self.bound.iter_mut().enumerate() {
            self.poll.registry().register(listener, Token(LISTENER - index), Interest::READABLE)?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.stopping && self.conns.len() == 0 && !self.journal.is_full()
    }

    fn turn(&mut self) -> io::Result<()> {
        let timeout = self.timeout()?;
        match self.poll.poll(&mut self.events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => self.events.clear(),
            Err(error) => return Err(error),
        }
        let before_ms = std::mem::replace(&mut self.now, self.clock.now()).mono_ms;
        if self.now.mono_ms > before_ms + PAUSE_MS {
            // The whole process was stopped: what clients sent in time is still to be read.
            self.patient_until_ms = self.now.mono_ms + PATIENCE_MS;
        }
        self.turn_bytes = 0;
        self.turn_work_end = self.broker.work() + TURN_WORK_MAX;
        self.counters.turns += 1;
        self.mailbox().wake().answer();
        self.take_orders();
        self.verify_some();
        self.look_at_memory();
        self.take_mail();
        self.settle_store();
        self.settle_record();
        self.accept_pending();
        // Those that were not finished in an earlier turn have waited longer than those of the new events.
        let mut waiting = std::mem::take(&mut self.readable);
        let mut served = 0;
        while served < waiting.len() && !self.reads_stopped() {
            let key = waiting[served];
            served += 1;
            self.take_orders();
            if let Some(conn) = self.conns.get_mut(key) {
                conn.flags.listed = false;
                self.read_ready(key);
            }
        }
        // Who had no turn comes before those who want another one.
        waiting.drain(..served);
        waiting.append(&mut self.readable);
        self.readable = waiting;
        self.dispatch();
        // After what came: a packet that was in time counts, however late it is read.
        self.expire();
        self.finish_turn();
        Ok(())
    }

    /// How long the poll may wait: not at all when there is work, else until the alarm, which is set here.
    fn timeout(&mut self) -> io::Result<Option<Duration>> {
        let now_ms = self.now.mono_ms;
        let accepting = self.bound.iter().any(|bound| bound.pending && bound.not_before_ms <= now_ms);
        // A list that must wait for the store or a sister is woken by them.
        let reading = !self.readable.is_empty() && !self.is_held_up();
        if accepting || reading || self.care.is_busy() || !self.dirty.is_empty() || self.journal.is_busy() {
            return Ok(Some(Duration::ZERO));
        }
        let mut next_ms = self.next_tick_ms;
        let deadlines = [&self.connect_deadlines, &self.close_deadlines];
        for deadline in deadlines.iter().filter_map(|queue| queue.front()) {
            next_ms = next_ms.min(deadline.0);
        }
        for bound in &self.bound {
            if bound.pending {
                next_ms = next_ms.min(bound.not_before_ms);
            }
        }
        for due_ms in [self.broker.poll_timeout(), self.tokens.next_ms()].into_iter().flatten() {
            next_ms = next_ms.min(due_ms);
        }
        if let Some(Reverse((until_ms, _))) = self.delays.peek() {
            next_ms = next_ms.min(*until_ms);
        }
        if self.has_sights() {
            next_ms = next_ms.min(self.next_harvest_ms);
        }
        self.alarm.set(now_ms, next_ms.max(self.patient_until_ms))?;
        Ok(None)
    }

    /// What the poll brought.
    fn dispatch(&mut self) {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let token = event.token();
            if token == WAKE || token == ALARM {
                continue;
            }
            if token.0 > LISTENER - LISTENERS_MAX {
                if let Some(bound) = self.bound.get_mut(LISTENER - token.0) {
                    bound.pending = true;
                }
                continue;
            }
            self.take_orders();
            let key = Key(token.0 as u64);
            if event.is_writable() {
                self.writable(key);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                let Some(conn) = self.conns.get_mut(key) else { continue };
                conn.flags.read_closed |= event.is_read_closed() || event.is_error();
                if !conn.flags.listed {
                    self.read_ready(key);
                }
            }
        }
        self.events = events;
        self.accept_pending();
    }

    /// What the turn has caused: the journal first, then the sisters, then the sockets.
    fn finish_turn(&mut self) {
        self.journal.append(&mut self.broker);
        self.journal.checkpoint(self.now, &mut self.broker);
        self.drain_outputs();
        self.post_outboxes();
        let mut moving = std::mem::take(&mut self.moving);
        for key in moving.drain(..) {
            self.move_out(key);
        }
        self.moving = moving;
        self.flush_all();
        self.pressure.set_waiting(self.id, self.broker.waiting_bytes());
        // What ended while it was written.
        self.drain_outputs();
        self.post_outboxes();
        self.watch.push_all(&mut self.seen);
        self.record.post();
    }

    fn observed(&mut self, observed: Box<Observed>) {
        if observed.watch.contains(Watch::CONTROL) {
            if !self.requests.push(observed) {
                let (resource, error) = ("$CONTROL".into(), "too many requests wait".into());
                self.emit(Event::ResourceExhausted { resource, error });
            }
            return;
        }
        let observed: Arc<Observed> = Arc::from(observed);
        if observed.watch.contains(Watch::RECORD) {
            self.record.observed(&observed);
        }
        let watches = [Watch::OBSERVE, Watch::DETECT, Watch::TAP];
        if watches.iter().any(|watch| observed.watch.contains(*watch)) {
            self.seen.push(Watched::Observed(observed));
        }
    }

    fn drain_outputs(&mut self) {
        while let Some(output) = self.broker.poll_output() {
            match output {
                Output::Close(close) => self.handle_close(close),
                Output::Event(event) => self.emit(event),
                Output::Send(shard, message) => self.outboxes[usize::from(shard)].push(message),
                Output::Observed(observed) => self.observed(observed),
                Output::Delivered(delivered) => self.record.delivered(delivered),
            }
        }
    }

    /// What the record has done since.
    fn settle_record(&mut self) {
        if !self.record.is_kept() {
            return;
        }
        self.broker.set_recording(true, self.record.refuses());
        if let Some(id) = self.record.poll_durable() {
            self.survive(None, |shard| shard.broker.handle_recorded(id));
        }
    }

    /// What the store has done since.
    fn settle_store(&mut self) {
        if let Some(durable) = self.journal.poll_durable() {
            self.survive(None, |shard| shard.broker.handle_durable(shard.now, durable));
        }
        if self.journal.is_full() {
            self.journal.append(&mut self.broker);
        }
        if self.journal.poll_failed() {
            self.emit(Event::StoreFailed {
                error: "the store has failed; nothing durable is acknowledged".into(),
            });
            self.broker.handle_store_failed(self.now);
        }
    }

    /// What is due.
    fn expire(&mut self) {
        let now_ms = self.now.mono_ms;
        self.end_delays();
        self.harvest(false);
        if now_ms < self.patient_until_ms {
            return;
        }
        if self.broker.poll_timeout().is_some_and(|due_ms| due_ms <= now_ms) {
            self.survive(None, |shard| shard.broker.handle_timeout(shard.now));
        }
        while let Some(key) = pop_due(&mut self.connect_deadlines, now_ms) {
            if self.pre(key).is_some() {
                self.counters.refused_deadline += 1;
                self.refuse_pending(key, Refusal::ConnectDeadline, ReasonCode::NOT_AUTHORIZED);
            }
        }
        while let Some(key) = pop_due(&mut self.close_deadlines, now_ms) {
            if matches!(self.conns.get(key).map(|conn| &conn.stage), Some(Stage::Closing(_))) {
                self.remove(key);
            }
        }
        self.expire_tokens();
        if now_ms >= self.next_tick_ms {
            self.next_tick_ms = now_ms + TICK_MS;
            self.check_blocked();
            self.excuse_delayed();
            self.tell_rates();
            self.check_ages();
            self.harvest(true);
            self.publish_figures();
            for summary in self.suppressor.poll(now_ms) {
                self.sink.emit(self.now.wall_ms, summary);
            }
        }
    }

    fn publish_figures(&self) {
        let figures = Figures {
            counters: self.counters,
            stats: self.broker.stats(),
            rungs: self.rungs,
            connections: self.conns.len() as u64,
        };
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

fn pop_due(queue: &mut VecDeque<(u64, Key)>, now_ms: u64) -> Option<Key> {
    let &(due_ms, key) = queue.front()?;
    if due_ms > now_ms {
        return None;
    }
    queue.pop_front();
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_read_record_by_record() {
        let mut batch = Vec::new();
        for record in [&b"a"[..], b"", b"bcd"] {
            ravelin_store::push_record(&mut batch, record);
        }
        assert_eq!(records(&batch).collect::<Vec<_>>(), [&b"a"[..], b"", b"bcd"]);
        assert_eq!(records(&batch[..batch.len() - 1]).count(), 2, "a cut record is not one");
    }

    #[test]
    fn deadlines_are_popped_when_due() {
        let mut queue = VecDeque::from([(5, Key(1)), (7, Key(2))]);
        assert_eq!(pop_due(&mut queue, 4), None);
        assert_eq!(pop_due(&mut queue, 6), Some(Key(1)));
        assert_eq!(pop_due(&mut queue, 6), None);
    }
}
