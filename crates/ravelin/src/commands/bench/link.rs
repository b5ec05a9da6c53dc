//! One non-blocking connection of the generator: TCP or TLS below one buffer for what goes out and one for what is incomplete.

use super::args::Target;
use super::wire::LIMITS;
use mio::net::TcpStream;
use ravelin_mqtt::{
    Connect, Disconnect, Packet, Properties, Sender, Version, decode, encode_connect, encode_disconnect,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use rustls::ClientConnection;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Bytes that one read takes at most.
const READ_BYTES: usize = 256 * 1024;
/// Output that stays allocated while there is none to write: idle connections cost the generator nothing.
const KEPT_BYTES: usize = 64 * 1024;
/// Local addresses that connections to a loopback broker come from: each has its own 28,000 ports.
const SOURCE_ADDRESSES: u32 = 40;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// TCP is being opened.
    Connecting,
    /// CONNECT is on its way.
    Greeting,
    /// The broker accepted.
    Ready,
    /// DISCONNECT is on its way, and nothing is expected any more.
    Leaving,
}

/// Whether the broker keeps the session when the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// It begins and ends with the connection.
    Clean,
    /// It is kept.
    Kept,
}

/// Buffers that all connections share while they read.
#[derive(Default)]
pub struct Scratch {
    /// What the parser sees.
    pub plain: Vec<u8>,
    raw: Vec<u8>,
}

/// What a read brought.
#[derive(Clone, Copy, Debug)]
pub struct Got {
    /// Bytes in [`Scratch::plain`] that are valid.
    pub bytes: usize,
    /// Bytes that came from the socket this time.
    pub fresh: usize,
    /// The socket may have more.
    pub more: bool,
    /// The broker closed.
    pub closed: bool,
}

/// A connection.
pub struct Link {
    /// The socket, for the poll.
    pub socket: TcpStream,
    /// Where it is in its life.
    pub state: State,
    /// Packets to send; append and flush.
    pub out: Vec<u8>,
    written: usize,
    /// The start of a packet whose end has not arrived.
    incomplete: Vec<u8>,
    tls: Option<Box<ClientConnection>>,
    /// When it was opened, in nanoseconds of the run's clock.
    pub opened_ns: u64,
    /// The broker's Receive Maximum.
    pub receive_max: u16,
    /// The broker had the session.
    pub session_present: bool,
}

impl Link {
    /// Starts to connect, with the CONNECT in the buffer. `serial` spreads the source addresses.
    pub fn open(
        target: &Target,
        client_id: &str,
        session: SessionKind,
        serial: u32,
        now_ns: u64,
    ) -> io::Result<Link> {
        let socket = start(target.address, serial)?;
        let tls = match &target.tls {
            Some((config, name)) => {
                let mut tls =
                    ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
                tls.set_buffer_limit(None);
                Some(Box::new(tls))
            }
            None => None,
        };
        let mut out = Vec::new();
        let kept = session == SessionKind::Kept;
        let hello = Connect {
            version: target.version,
            clean_start: !kept,
            keep_alive_s: target.keep_alive_s,
            client_id,
            will: None,
            username: target.username.as_deref(),
            password: target.password.as_ref().map(|password| password.expose()),
            session_expiry_s: kept.then_some(3600),
            receive_max: None,
            packet_bytes_max: None,
            topic_alias_max: 0,
            request_response_info: false,
            request_problem_info: true,
            auth_method: None,
            auth_data: None,
            properties: Properties::EMPTY,
        };
        encode_connect(&mut out, &hello);
        Ok(Link {
            socket,
            state: State::Connecting,
            out,
            written: 0,
            incomplete: Vec::new(),
            tls,
            opened_ns: now_ns,
            receive_max: u16::MAX,
            session_present: false,
        })
    }

    /// Bytes that the socket has not taken.
    #[inline]
    pub fn pending(&self) -> usize {
        self.out.len() - self.written
    }

    /// Looks whether TCP is open; an error is the reason why it is not.
    pub fn finish_connecting(&mut self) -> io::Result<bool> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        match self.socket.peer_addr() {
            Ok(_) => {
                self.state = State::Greeting;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Gives the socket what it takes, in one write where it takes all.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.state == State::Connecting {
            return Ok(());
        }
        if let Some(tls) = &mut self.tls {
            if !tls.is_handshaking() && !self.out.is_empty() {
                tls.writer().write_all(&self.out)?;
                clear(&mut self.out);
            }
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            return Ok(());
        }
        while self.written < self.out.len() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        clear(&mut self.out);
        self.written = 0;
        Ok(())
    }

    /// Whether everything left for the network.
    pub fn is_flushed(&self) -> bool {
        self.pending() == 0 && self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// Reads into `scratch.plain`, behind the incomplete packet of the last time.
    #[inline]
    pub fn read(&mut self, scratch: &mut Scratch) -> io::Result<Got> {
        let before = self.incomplete.len();
        if scratch.plain.len() < before + READ_BYTES {
            scratch.plain.resize(before + READ_BYTES, 0);
        }
        scratch.plain[..before].copy_from_slice(&self.incomplete);
        self.incomplete.clear();
        if self.tls.is_some() {
            return self.read_tls(scratch, before);
        }
        let room = scratch.plain.len() - before;
        let (count, closed) = read_once(&mut self.socket, &mut scratch.plain[before..])?;
        Ok(Got { bytes: before + count, fresh: count, more: count == room, closed })
    }

    fn read_tls(&mut self, scratch: &mut Scratch, before: usize) -> io::Result<Got> {
        scratch.raw.resize(READ_BYTES, 0);
        let (count, closed) = read_once(&mut self.socket, &mut scratch.raw)?;
        let mut got = Got { bytes: before, fresh: count, more: count == READ_BYTES, closed };
        let Some(tls) = &mut self.tls else { return Ok(got) };
        let mut raw = &scratch.raw[..count];
        while !raw.is_empty() {
            tls.read_tls(&mut raw)?;
            let state = tls.process_new_packets().map_err(io::Error::other)?;
            let end = got.bytes + state.plaintext_bytes_to_read();
            if scratch.plain.len() < end {
                scratch.plain.resize(end, 0);
            }
            tls.reader().read_exact(&mut scratch.plain[got.bytes..end])?;
            got.bytes = end;
            got.closed |= state.peer_has_closed();
        }
        if tls.wants_write() || !self.out.is_empty() {
            self.flush()?;
        }
        Ok(got)
    }

    /// Keeps the start of a packet for the next read.
    #[inline]
    pub fn keep(&mut self, tail: &[u8]) {
        self.incomplete.extend_from_slice(tail);
    }

    /// Takes the CONNACK; an error says why the broker refused.
    pub fn greeted(&mut self, first: u8, body: &[u8], version: Version) -> Result<(), String> {
        match decode(first, body, version, Sender::Server, &LIMITS) {
            Ok(Packet::ConnAck(connack)) if !connack.reason.is_failure() => {
                self.state = State::Ready;
                self.receive_max = connack.receive_max.unwrap_or(u16::MAX);
                self.session_present = connack.session_present;
                Ok(())
            }
            Ok(Packet::ConnAck(connack)) => Err(format!("connection refused: {}", connack.reason)),
            Ok(_) => Err("the first packet is not a CONNACK".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Queues the end of the connection.
    pub fn leave(&mut self, version: Version) {
        encode_disconnect(&mut self.out, version, &Disconnect::default());
        self.state = State::Leaving;
    }

    /// Ends the sending side, so that the broker sees a proper end after the DISCONNECT.
    pub fn shut(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            let _ = self.flush();
        }
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
    }
}

/// Opens a non-blocking socket and starts to connect it.
fn start(to: SocketAddr, serial: u32) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    if to.is_ipv4() && to.ip().is_loopback() {
        let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + serial % SOURCE_ADDRESSES);
        bind(&socket, &SocketAddr::new(IpAddr::V4(source), 0))?;
    }
    match connect(&socket, &to) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = std::net::TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(TcpStream::from_std(stream))
}

/// Reads once: how many bytes, and whether it was the end.
#[inline]
fn read_once(socket: &mut TcpStream, into: &mut [u8]) -> io::Result<(usize, bool)> {
    loop {
        return match socket.read(into) {
            Ok(count) => Ok((count, count == 0)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok((0, false)),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
    }
}

fn clear(out: &mut Vec<u8>) {
    out.clear();
    if out.capacity() > KEPT_BYTES {
        out.shrink_to(KEPT_BYTES);
    }
}
