//! The generator's event loop: one thread, one poll, any number of connections, and a handler that is told what arrived.
//!
//! A turn reads everything that is there, hands each packet to the handler where it lies in the buffer, and writes once for
//! each connection that has something to say.

use super::args::Target;
use super::link::{Link, Scratch, SessionKind, State};
use mio::{Events, Interest, Poll, Token};
use ravelin_mqtt::{Packet, Sender, decode, peek};
use std::io;
use std::time::{Duration, Instant};

/// Events that one poll gives.
const EVENTS: usize = 1024;

/// What a scenario does with what happens. A connection is known by its number.
pub trait Handler {
    /// A packet came on a ready connection. What is appended to `link.out` is sent at the end of the turn.
    fn packet(&mut self, number: usize, link: &mut Link, first: u8, body: &[u8], now_ns: u64);

    /// The broker accepted the connection.
    fn opened(&mut self, _number: usize, _link: &mut Link, _now_ns: u64) {}

    /// The socket takes more again.
    fn writable(&mut self, _number: usize) {}

    /// The connection is gone: it left, or it was lost.
    fn closed(&mut self, _number: usize) {}
}

/// For times in which nothing is expected.
pub struct Quiet;

impl Handler for Quiet {
    fn packet(&mut self, _number: usize, _link: &mut Link, _first: u8, _body: &[u8], _now_ns: u64) {}
}

/// The event loop with its connections.
pub struct Engine {
    poll: Poll,
    events: Events,
    /// The connections; a lost or ended one is `None`.
    pub links: Vec<Option<Link>>,
    /// Whom they are connected to.
    pub target: Target,
    began: Instant,
    scratch: Scratch,
    serial: u32,
    /// Connections that failed, were refused or were closed by the broker.
    pub lost: u64,
    /// Why the first of them was.
    pub first_error: Option<String>,
}

impl Engine {
    /// An engine without connections.
    pub fn new(target: Target) -> io::Result<Engine> {
        Ok(Engine {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS),
            links: Vec::new(),
            target,
            began: Instant::now(),
            scratch: Scratch::default(),
            serial: 0,
            lost: 0,
            first_error: None,
        })
    }

    /// Nanoseconds since the engine was made: the run's clock.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.began.elapsed().as_nanos() as u64
    }

    /// The connection, if it is there and the broker has accepted it.
    #[inline]
    pub fn ready(&mut self, number: usize) -> Option<&mut Link> {
        self.links.get_mut(number)?.as_mut().filter(|link| link.state == State::Ready)
    }

    /// Notes a reason, if it is the first.
    pub fn note(&mut self, why: impl Into<String>) {
        self.first_error.get_or_insert_with(|| why.into());
    }

    /// Starts connection `number`, which is a new or a free one.
    pub fn open(&mut self, number: usize, client_id: &str, session: SessionKind) -> bool {
        if self.links.len() <= number {
            self.links.resize_with(number + 1, || None);
        }
        self.serial = self.serial.wrapping_add(1);
        let opened =
            Link::open(&self.target, client_id, session, self.serial, self.now_ns()).and_then(|mut link| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut link.socket, Token(number), interest)?;
                Ok(link)
            });
        match opened {
            Ok(link) => {
                self.links[number] = Some(link);
                true
            }
            Err(error) => {
                self.lost += 1;
                self.note(format!("failed to open a connection: {error}"));
                false
            }
        }
    }

    /// Writes what the connection has to say.
    pub fn flush<H: Handler>(&mut self, number: usize, handler: &mut H) {
        let Some(link) = self.links[number].as_mut() else { return };
        match link.flush() {
            Err(error) => self.fail(number, &format!("failed to write: {error}"), handler),
            Ok(()) if link.state == State::Leaving && link.is_flushed() => link.shut(),
            Ok(()) => {}
        }
    }

    /// Lets things happen for at most `timeout`.
    pub fn turn<H: Handler>(&mut self, timeout: Duration, handler: &mut H) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let number = event.token().0;
            if event.is_writable() {
                self.handle_writable(number, handler);
            }
            if event.is_readable() || event.is_read_closed() || event.is_error() {
                self.handle_readable(number, event.is_read_closed() || event.is_error(), handler);
            }
        }
        self.events = events;
        Ok(())
    }

    /// Lets things happen for `duration`, whatever they are.
    pub fn idle(&mut self, duration: Duration) -> io::Result<()> {
        let until = Instant::now() + duration;
        while let left = until.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            self.turn(left, &mut Quiet)?;
        }
        Ok(())
    }

    fn handle_writable<H: Handler>(&mut self, number: usize, handler: &mut H) {
        let Some(link) = self.links[number].as_mut() else { return };
        if link.state == State::Connecting {
            match link.finish_connecting() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.fail(number, &format!("failed to connect: {error}"), handler),
            }
        } else if link.is_flushed() {
            // Every event of a socket says that it is writable; it is news only to who waited for it.
            return;
        }
        self.flush(number, handler);
        handler.writable(number);
    }

    fn handle_readable<H: Handler>(&mut self, number: usize, until_closed: bool, handler: &mut H) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(link) = self.links[number].as_mut().filter(|link| link.state != State::Connecting) {
            let got = match link.read(&mut scratch) {
                Ok(got) => got,
                Err(error) if link.state != State::Leaving => {
                    self.fail(number, &format!("failed to read: {error}"), handler);
                    break;
                }
                Err(_) => {
                    self.end(number, handler);
                    break;
                }
            };
            self.handle_bytes(number, &scratch.plain[..got.bytes], handler);
            if got.closed {
                self.closed_by_broker(number, handler);
                break;
            }
            // The poll tells of a close once: who was told reads on until it comes.
            if got.fresh == 0 || !got.more && !until_closed {
                break;
            }
        }
        self.scratch = scratch;
        if self.links[number].as_ref().is_some_and(|link| !link.out.is_empty()) {
            self.flush(number, handler);
        }
    }

    fn handle_bytes<H: Handler>(&mut self, number: usize, bytes: &[u8], handler: &mut H) {
        let now_ns = self.now_ns();
        let mut rest = bytes;
        loop {
            let Some(link) = self.links[number].as_mut() else { return };
            let frame = match peek(rest, u32::MAX) {
                Ok(Some(frame)) if rest.len() >= frame.total_len => frame,
                Ok(_) => {
                    link.keep(rest);
                    return;
                }
                Err(error) => return self.fail(number, &error.to_string(), handler),
            };
            let (packet, tail) = rest.split_at(frame.total_len);
            let body = &packet[frame.header_len..];
            rest = tail;
            match link.state {
                State::Ready => {
                    if frame.first >> 4 == 14 {
                        let why = disconnect_reason(frame.first, body, self.target.version);
                        return self.fail(number, &why, handler);
                    }
                    handler.packet(number, link, frame.first, body, now_ns);
                }
                State::Greeting => match link.greeted(frame.first, body, self.target.version) {
                    Ok(()) => handler.opened(number, link, now_ns),
                    Err(why) => return self.fail(number, &why, handler),
                },
                State::Connecting | State::Leaving => {}
            }
        }
    }

    fn closed_by_broker<H: Handler>(&mut self, number: usize, handler: &mut H) {
        match &self.links[number] {
            Some(link) if link.state != State::Leaving => self.fail(number, "closed by the broker", handler),
            _ => self.end(number, handler),
        }
    }

    fn fail<H: Handler>(&mut self, number: usize, why: &str, handler: &mut H) {
        if self.links[number].as_ref().is_some_and(|link| link.state != State::Leaving) {
            self.lost += 1;
            self.note(why);
        }
        self.end(number, handler);
    }

    fn end<H: Handler>(&mut self, number: usize, handler: &mut H) {
        if self.links[number].take().is_some() {
            handler.closed(number);
        }
    }
}

fn disconnect_reason(first: u8, body: &[u8], version: ravelin_mqtt::Version) -> String {
    match decode(first, body, version, Sender::Server, &super::wire::LIMITS) {
        Ok(Packet::Disconnect(disconnect)) => format!("disconnected by the broker: {}", disconnect.reason),
        _ => "disconnected by the broker".into(),
    }
}
