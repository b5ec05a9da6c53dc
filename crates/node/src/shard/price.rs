//! What a refused connection costs: one in so many is timed, from accept to close, without what it waits for.

use super::conn::Conn;
use super::slab::{Key, Slab};
use super::{Rung, Shard};
use foldhash::HashMap;
use ravelin_event::Refusal;
use std::time::{Duration, Instant};

/// One connection in so many is timed: two readings of the clock for each step of it.
const SAMPLE_EVERY: u64 = 32;
/// Connections that are timed at once; more live ones are not.
const TIMED_MAX: usize = 1024;

/// Runs if the connection is one of those that are timed.
pub(super) type Timer = Option<Instant>;

#[derive(Default)]
pub(super) struct Prices {
    open: HashMap<Key, Price>,
}

#[derive(Default)]
struct Price {
    spent: Duration,
    /// What refused it.
    rung: Option<Rung>,
}

impl Prices {
    /// A timer for every so-manyth connection.
    pub fn timer(&self, number: u64) -> Timer {
        (number.is_multiple_of(SAMPLE_EVERY) && self.open.len() < TIMED_MAX).then(Instant::now)
    }

    /// A timer for a step of a connection, if it is timed.
    pub fn timer_of(&self, key: Key, conns: &Slab<Conn>) -> Timer {
        conns.get(key).is_some_and(|conn| conn.flags.priced).then(Instant::now)
    }
}

impl Shard {
    /// A connection was refused at once.
    pub(super) fn price(&mut self, timer: Timer, rung: Rung) {
        if let Some(began) = timer {
            self.rungs.price(rung, began.elapsed().as_nanos() as u64);
        }
    }

    /// A connection was admitted; its price goes on.
    pub(super) fn begin_price(&mut self, key: Key, timer: Timer) {
        if let Some(began) = timer
            && let Some(conn) = self.conns.get_mut(key)
        {
            conn.flags.priced = true;
            self.prices.open.insert(key, Price { spent: began.elapsed(), rung: None });
        }
    }

    /// Does a step of a connection, and adds what it took if the connection is timed.
    #[inline]
    pub(super) fn timed(&mut self, key: Key, step: impl FnOnce(&mut Shard)) {
        let timer = self.prices.timer_of(key, &self.conns);
        step(self);
        if let Some(began) = timer
            && let Some(price) = self.prices.open.get_mut(&key)
        {
            price.spent += began.elapsed();
        }
    }

    /// Says what refused a connection.
    pub(super) fn price_is_of(&mut self, key: Key, why: Refusal) {
        if let Some(price) = self.prices.open.get_mut(&key) {
            price.rung = price.rung.or(Rung::behind(why));
        }
    }

    /// A connection has a session: it is not timed any longer.
    pub(super) fn drop_price(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && std::mem::take(&mut conn.flags.priced)
        {
            self.prices.open.remove(&key);
        }
    }

    /// A connection was closed.
    pub(super) fn end_price(&mut self, key: Key, timer: Timer) {
        let Some(began) = timer else { return };
        if let Some(Price { spent, rung: Some(rung) }) = self.prices.open.remove(&key) {
            self.rungs.price(rung, (spent + began.elapsed()).as_nanos() as u64);
        }
    }
}
