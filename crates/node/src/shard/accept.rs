//! New connections: accepted in batches, and past the first rungs of the ladder.

use super::conn::{Conn, Stage};
use super::price::Timer;
use super::slab::Key;
use super::{Rung, Shard, conn::Moved};
use crate::transport::tls::Tls;
use crate::ws::WebSocket;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Token};
use ravelin_event::{Event, Refusal};
use ravelin_mqtt::ReasonCode;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Connections that are accepted from one listener at once: those who are served wait no longer for a flood of them.
const BATCH: usize = 8;
/// After the node ran out of file descriptors, a listener rests so long.
const REST_MS: u64 = 100;

/// A listener of this shard.
pub(crate) struct Bound {
    pub listener: TcpListener,
    /// Its place in the policy's entrances.
    pub entrance: u16,
    /// There may be more connections to accept, and no event will tell.
    pub pending: bool,
    /// Not before this time.
    pub not_before_ms: u64,
    /// Closed by an order: whoever connects is let go.
    pub closed: bool,
}

/// A file descriptor kept for when there are none: with it, a connection can be accepted and closed instead of
/// staying in the backlog, where it would wake the loop for ever.
pub(crate) struct Spare(Option<File>);

impl Spare {
    pub fn new() -> Spare {
        Spare(File::open("/dev/null").ok())
    }
}

impl Shard {
    /// Accepts from every listener that may have something. Returns whether some may have more.
    pub(super) fn accept_pending(&mut self) -> bool {
        let mut more = false;
        for index in 0..self.bound.len() {
            let bound = &self.bound[index];
            if bound.pending && bound.not_before_ms <= self.now.mono_ms && !self.stopping {
                self.accept_batch(index);
                let bound = &self.bound[index];
                more |= bound.pending && bound.not_before_ms <= self.now.mono_ms;
            }
        }
        more
    }

    fn accept_batch(&mut self, index: usize) {
        for _ in 0..BATCH {
            let timer = self.prices.timer(self.counters.accepted);
            match self.bound[index].listener.accept() {
                Ok((socket, address)) if self.bound[index].closed => {
                    drop(socket);
                    self.let_go(address);
                }
                Ok((socket, address)) => self.admit(socket, address, self.bound[index].entrance, timer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.bound[index].pending = false;
                    return;
                }
                Err(error) if is_exhausted(&error) => {
                    self.shed(index, &error);
                    return;
                }
                // The peer gave up, or a signal came: the next one.
                Err(_) => {}
            }
        }
    }

    /// Out of file descriptors or memory: turn one connection away with the spare descriptor, then rest.
    fn shed(&mut self, index: usize, error: &io::Error) {
        self.spare.0 = None;
        drop(self.bound[index].listener.accept());
        self.spare = Spare::new();
        self.bound[index].not_before_ms = self.now.mono_ms + REST_MS;
        self.emit(Event::ResourceExhausted { resource: "file descriptors".into(), error: error.to_string() });
    }

    fn admit(&mut self, socket: TcpStream, address: SocketAddr, entrance: u16, timer: Timer) {
        self.counters.accepted += 1;
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let mut conn = Conn::new(self.now.mono_ms, socket, address, entrance);
        if let Some(networks) = &self.policy.entrances[usize::from(entrance)].proxies {
            // Whoever is not a trusted proxy could say anything (attack 42). The client's own address climbs the
            // ladder once it is known.
            if !networks.iter().any(|network| network.contains(address.ip())) {
                self.counters.refused_proxy += 1;
                self.refused(address, Refusal::ProxyProtocol);
                drop(conn);
                return self.price(timer, Rung::Proxy);
            }
            conn.flags.proxy = true;
        } else {
            self.opened(address);
            if let Err(rung) = self.climb(&mut conn) {
                // The socket is closed at once, and so cheaply that it is not even told why.
                drop(conn);
                return self.price(timer, rung);
            }
        }
        // Latency over packet count: a turn's bytes go out in one write anyway. A socket that is gone says so later.
        let _ = conn.socket.set_nodelay(true);
        let key = self.conns.insert(conn);
        if !self.prepare_transport(key) || !self.register(key) {
            self.remove(key);
            return;
        }
        self.begin_price(key, timer);
        let limits = self.policy.shell;
        self.connect_deadlines.push_back((self.now.mono_ms + limits.connect_deadline_ms, key));
    }

    /// Asks the ladder, or says which rung refuses the connection.
    fn climb(&mut self, conn: &mut Conn) -> Result<(), Rung> {
        let entrance_max = self.policy.entrances[usize::from(conn.entrance)].connections_max;
        let admitted = self.ladder().admit(self.now, conn.address.ip(), conn.entrance, entrance_max);
        match admitted {
            Ok(()) => conn.flags.admitted = true,
            Err(rung) => {
                self.counters.refused_ladder += 1;
                self.rungs.refuse(rung);
                self.tell_refused(conn.address, rung.refusal());
            }
        }
        admitted
    }

    fn prepare_transport(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let entrance = &self.policy.entrances[usize::from(conn.entrance)];
        if entrance.websocket.is_some() {
            conn.ws = Some(Box::new(WebSocket::new()));
        }
        let Some(files) = &entrance.files else { return true };
        match Tls::new(Arc::clone(&files.tls), self.now.mono_ms) {
            Ok(tls) => {
                conn.tls = Some(Box::new(tls));
                true
            }
            Err(error) => {
                let address = conn.address;
                self.emit(Event::InternalError {
                    what: format!("failed to begin TLS: {error}"),
                    address: Some(address),
                });
                false
            }
        }
    }

    pub(super) fn register(&mut self, key: Key) -> bool {
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let result = self.poll.registry().register(&mut conn.socket, Token(key.0 as usize), interest);
        if let Err(error) = &result {
            self.emit(Event::ResourceExhausted { resource: "poll".into(), error: error.to_string() });
        }
        result.is_ok()
    }

    pub(super) fn refused(&mut self, address: SocketAddr, why: Refusal) {
        self.count_refusal(why);
        self.tell_refused(address, why);
    }

    pub(super) fn count_refusal(&mut self, why: Refusal) {
        if let Some(rung) = Rung::behind(why) {
            self.rungs.refuse(rung);
        }
    }

    pub(super) fn tell_refused(&mut self, address: SocketAddr, why: Refusal) {
        self.emit(Event::ConnectionRefused { address, client_id: None, identity: None, why });
    }

    /// A connection that another shard accepted and whose session lives here.
    pub(super) fn take_in(&mut self, moved: Moved) {
        let mut conn = Conn::new(self.now.mono_ms, moved.socket, moved.address, moved.entrance);
        conn.tls = moved.tls;
        conn.ws = moved.ws;
        conn.partial = moved.partial;
        conn.flags.admitted = true;
        conn.flags.read_closed = moved.read_closed;
        if let Stage::Pre(pre) = &mut conn.stage {
            pre.connect = Some(moved.connect);
            pre.accepted = Some(moved.accepted);
        }
        let key = self.conns.insert(conn);
        if !self.register(key) {
            self.remove(key);
            return;
        }
        // Its listener was closed while it was on its way.
        if self.is_closed(moved.entrance) {
            return self.refuse_pending(key, Refusal::ShuttingDown, ReasonCode::SERVER_SHUTTING_DOWN);
        }
        self.enter(key);
        // What arrived while it was on its way may have raised its event on the old shard.
        self.list_readable(key);
    }
}

/// No file descriptors (EMFILE, ENFILE), no buffers (ENOBUFS) or no memory (ENOMEM).
fn is_exhausted(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(24 | 23 | 105 | 12))
}
