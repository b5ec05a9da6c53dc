//! From the core's outbounds to the sockets: one vectored write for each connection that has something, each turn.

use super::Shard;
use super::conn::Stage;
use super::slab::Key;
use crate::transport::{self, Written};
use ravelin_broker::Outbound;
use ravelin_event::DisconnectCause;
use ravelin_mqtt::ReasonCode;
use std::net::Shutdown;

impl Shard {
    /// Writes what waits for the connections of this turn.
    pub(super) fn flush_all(&mut self) {
        while let Some((_, token)) = self.broker.poll_flush() {
            self.mark_dirty(Key(token));
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            if let Some(conn) = self.conns.get_mut(key) {
                conn.flags.dirty = false;
                if !conn.flags.blocked {
                    self.contain(key, |shard| shard.flush(key));
                }
                self.count_waiting(key);
            }
        }
        // Keeps the room, and what was marked meanwhile.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    /// Tells the core what waits for a socket that does not take it, and listens again to who was not listened to
    /// because of that.
    fn count_waiting(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !conn.flags.blocked && conn.waiting_bytes == 0 && !conn.flags.readable {
            return;
        }
        let (link, before, paused) = (conn.link(), conn.waiting_bytes, conn.flags.paused);
        let after = match (&conn.stage, link) {
            (Stage::Closing(closing), _) => closing.out.len(),
            (_, Some(link)) => self.broker.outbound(link).map_or(0, |out| out.len()),
            _ => 0,
        };
        let after = u32::try_from(after).unwrap_or(u32::MAX);
        conn.waiting_bytes = after;
        self.broker.count_outbound(before as usize, after as usize);
        if conn.flags.readable && !paused && !link.is_some_and(|link| self.broker.is_choked(link)) {
            conn.flags.readable = false;
            self.list_readable(key);
        }
    }

    /// The socket takes bytes again.
    pub(super) fn writable(&mut self, key: Key) {
        if let Some(conn) = self.conns.get_mut(key)
            && std::mem::replace(&mut conn.flags.blocked, false)
        {
            self.mark_dirty(key);
        }
    }

    fn flush(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let mut own = match &mut conn.stage {
            Stage::Live(_) => Outbound::default(),
            Stage::Pre(pre) => std::mem::take(&mut pre.out),
            Stage::Closing(closing) => std::mem::take(&mut closing.out),
        };
        let link = conn.link();
        let out = match link {
            Some(link) => self.broker.outbound(link).unwrap_or(&mut own),
            None => &mut own,
        };
        let result = transport::write(conn, out, &mut self.scratch);
        let released = if link.is_some() { out.release() } else { None };
        match &mut conn.stage {
            Stage::Live(_) => {}
            Stage::Pre(pre) => pre.out = own,
            Stage::Closing(closing) => closing.out = own,
        }
        if let Some(buffer) = released {
            self.broker.recycle(buffer);
        }
        match result {
            Ok(Written::All) => match link {
                Some(link) => self.broker.handle_drained(self.now, link),
                None => self.written(key),
            },
            Ok(Written::Blocked(progress)) => self.block(key, progress),
            Err(error) => {
                let Some(conn) = self.conns.get(key) else { return };
                if let Some(link) = conn.link() {
                    self.broker.handle_closed(
                        self.now,
                        link,
                        DisconnectCause::Reset,
                        Some(error.to_string()),
                    );
                }
                self.remove(key);
            }
        }
    }

    /// Everything of a connection without link was written.
    fn written(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Stage::Closing(closing) = &mut conn.stage else { return };
        if !closing.finished {
            closing.finished = true;
            if let Some(tls) = &mut conn.tls {
                tls.queue_close();
                if !tls.outgoing.is_empty() {
                    self.mark_dirty(key);
                    return;
                }
            }
        }
        if closing.linger_bytes == 0
            || conn.flags.read_closed
            || conn.socket.shutdown(Shutdown::Write).is_err()
        {
            self.remove(key);
        }
    }

    fn block(&mut self, key: Key, progress: bool) {
        let now_ms = self.now.mono_ms;
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.flags.blocked = true;
        if progress || conn.progress_ms == 0 {
            conn.progress_ms = now_ms;
        }
        if !std::mem::replace(&mut conn.flags.watched, true) {
            // It was not blocked before: its time begins now.
            conn.progress_ms = now_ms;
            self.blocked.push(key);
        }
    }

    /// Disconnects those that have taken nothing for too long (attack 32).
    pub(super) fn check_blocked(&mut self) {
        let limit_ms = self.policy.shell.stall_timeout_ms;
        let mut blocked = std::mem::take(&mut self.blocked);
        blocked.retain(|&key| {
            let Some(conn) = self.conns.get_mut(key) else { return false };
            if !conn.flags.blocked {
                conn.flags.watched = false;
                return false;
            }
            if self.now.mono_ms < conn.progress_ms + limit_ms {
                return true;
            }
            match conn.link() {
                Some(link) => {
                    let (reason, cause) = (ReasonCode::QUOTA_EXCEEDED, DisconnectCause::SlowReader);
                    let detail = Some("the client takes nothing of what is sent to it".to_owned());
                    self.broker.disconnect(self.now, link, reason, cause, detail);
                    true
                }
                None => {
                    self.remove(key);
                    false
                }
            }
        });
        self.blocked = blocked;
    }
}
