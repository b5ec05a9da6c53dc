//! How connections end: the last bytes are written, our side is shut, what the peer still sends is thrown away for a
//! moment (a socket closed with unread bytes is reset, and the peer might never see the last packet), then it is closed.

use super::Shard;
use super::conn::{Closing, Stage};
use super::slab::Key;
use ravelin_broker::{Close, Outbound};
use ravelin_event::{DisconnectCause, Event, Refusal};
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// From the decision to close to the close, whatever is left to write or read.
const CLOSE_MS: u64 = 2000;
/// The same when the node stops, and nobody is served meanwhile.
const STOP_MS: u64 = 500;
/// Bytes that are read and thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 256 << 10;

impl Shard {
    /// The core has ended a connection.
    pub(super) fn handle_close(&mut self, close: Close) {
        let key = Key(close.token);
        let owner = self.conns.get(key).and_then(|conn| conn.link());
        if owner.is_some_and(|link| link != close.link) {
            return;
        }
        self.counters.slow_readers += u64::from(close.cause == DisconnectCause::SlowReader);
        self.begin_closing(key, close.last, LINGER_BYTES_MAX);
    }

    /// The peer has ended a connection, or it failed.
    pub(super) fn peer_closed(&mut self, key: Key, cause: DisconnectCause, detail: Option<String>) {
        let Some(conn) = self.conns.get(key) else { return };
        if let Some(link) = conn.link() {
            self.broker.handle_closed(self.now, link, cause, detail);
        } else if matches!(conn.stage, Stage::Pre(_)) {
            self.abandoned(key);
        }
        self.begin_closing(key, Outbound::default(), 0);
    }

    /// Ends a connection that is not authenticated: the event, then what waits for it (an alert, an HTTP answer).
    pub(super) fn drop_preauth(&mut self, key: Key, why: Refusal) {
        if self.pre(key).is_some() {
            self.count_refusal(why);
            self.end_preauth(key, why);
        }
    }

    /// The same for a refusal that was counted already.
    pub(super) fn end_preauth(&mut self, key: Key, why: Refusal) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let address = conn.address;
        let Stage::Pre(pre) = &mut conn.stage else { return };
        let out = std::mem::take(&mut pre.out);
        // Whoever never spoke the protocol is not listened to any longer.
        let linger = if conn.transport_is_idle() && out.is_empty() { 0 } else { LINGER_BYTES_MAX };
        self.tell_refused(address, why);
        self.price_is_of(key, why);
        self.begin_closing(key, out, linger);
    }

    /// From now on only `out` is written.
    pub(super) fn begin_closing(&mut self, key: Key, out: Outbound, linger_bytes: usize) {
        self.give_up_login(key);
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.partial = Vec::new();
        conn.flags.paused = false;
        conn.flags.stashed = false;
        conn.flags.delayed = false;
        conn.flags.moving = false;
        if let Stage::Closing(closing) = &mut conn.stage {
            if closing.out.is_empty() && !closing.finished {
                closing.out = out;
            }
        } else {
            let deadline_ms = self.now.mono_ms + if self.stopping { STOP_MS } else { CLOSE_MS };
            let closing = Closing { out, deadline_ms, linger_bytes, finished: false };
            conn.stage = Stage::Closing(Box::new(closing));
            self.close_deadlines.push_back((deadline_ms, key));
        }
        if let Some(ws) = &mut conn.ws {
            ws.queue_close(crate::ws::CLOSE_NORMAL);
        }
        self.mark_dirty(key);
    }

    /// Takes a connection out of the table, which closes its socket.
    pub(super) fn remove(&mut self, key: Key) {
        self.give_up_login(key);
        let timer = self.prices.timer_of(key, &self.conns);
        let Some(mut conn) = self.conns.remove(key) else { return };
        self.tokens.release(key);
        // It fails only if the socket was never registered.
        let _ = self.poll.registry().deregister(&mut conn.socket);
        self.broker.count_outbound(conn.waiting_bytes as usize, 0);
        self.end_metering(key);
        if conn.flags.admitted {
            self.ladder().release(conn.address.ip(), conn.entrance, conn.flags.authenticated);
        }
        drop(conn);
        self.end_price(key, timer);
    }

    /// Does work for one connection. A panic in it ends that connection and no other (attack 47).
    pub(super) fn contain(&mut self, key: Key, work: impl FnOnce(&mut Shard)) {
        let (address, link) = match self.conns.get(key) {
            Some(conn) => (Some(conn.address), conn.link()),
            None => (None, None),
        };
        if self.survive(address, work) {
            return;
        }
        if let Some(link) = self.conns.get(key).and_then(|conn| conn.link()).or(link) {
            // The core may be what panicked; then the link stays with it until its keep alive ends.
            self.survive(address, |shard| {
                shard.broker.handle_closed(shard.now, link, DisconnectCause::Internal, None);
            });
        }
        self.remove(key);
    }

    /// Does work that no fault of it may end the shard for. Returns false if it panicked.
    pub(super) fn survive(&mut self, address: Option<SocketAddr>, work: impl FnOnce(&mut Shard)) -> bool {
        let Err(panic) = catch_unwind(AssertUnwindSafe(|| work(self))) else { return true };
        self.counters.panics += 1;
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("panic")
            .to_owned();
        self.emit(Event::InternalError { what, address });
        false
    }
}
