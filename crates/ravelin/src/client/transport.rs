//! The bytes of one connection: TCP, TLS and WebSocket below one pair of buffers, with waiting that has a deadline and that
//! another thread can interrupt.
//!
//! One socket on one poll. While bytes wait to be written, what arrives is read: two peers that both wait to write would
//! otherwise wait for ever.

use super::options::ConnectOptions;
use super::{Error, websocket};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use rustls::ClientConnection;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SOCKET: Token = Token(0);
const WAKER: Token = Token(1);

/// How much input is kept before the peer has to wait.
const INPUT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How waiting for input ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// There is new input.
    Input,
    /// The deadline passed.
    Deadline,
    /// Another thread called.
    Woken,
    /// The peer closed the connection.
    Closed,
}

/// One connection.
pub struct Transport {
    socket: TcpStream,
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    tls: Option<Box<ClientConnection>>,
    web_socket: bool,
    /// Bytes as TCP or TLS gave them, where WebSocket frames have to be taken off.
    raw: Vec<u8>,
    /// MQTT as received, from `taken` on.
    input: Vec<u8>,
    taken: usize,
    /// Bytes for the socket, from `written` on. Empty with TLS, which has its own buffer.
    output: Vec<u8>,
    written: usize,
    /// The socket may have input: it did not say `WouldBlock` since the last event.
    readable: bool,
    closed: bool,
    woken: bool,
}

impl Transport {
    /// Connects, and performs the handshakes of TLS and WebSocket.
    pub fn connect(options: &ConnectOptions, deadline: Instant) -> Result<Transport, Error> {
        let stream = connect_tcp(options, deadline)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(stream);
        let poll = Poll::new()?;
        poll.registry().register(&mut socket, SOCKET, Interest::READABLE | Interest::WRITABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let tls = match &options.tls {
            Some(tls) => {
                let mut connection = ClientConnection::new(tls.config.clone(), tls.name.clone())?;
                connection.set_buffer_limit(None);
                Some(Box::new(connection))
            }
            None => None,
        };
        let mut transport = Transport {
            socket,
            poll,
            events: Events::with_capacity(8),
            waker,
            tls,
            web_socket: false,
            raw: Vec::new(),
            input: Vec::new(),
            taken: 0,
            output: Vec::new(),
            written: 0,
            readable: true,
            closed: false,
            woken: false,
        };
        transport.finish_tls(deadline)?;
        if options.scheme.is_web_socket() {
            transport.open_web_socket(options, deadline)?;
        }
        Ok(transport)
    }

    /// What another thread calls to end a [`Transport::wait`].
    pub fn waker(&self) -> Arc<Waker> {
        self.waker.clone()
    }

    /// A word about TLS: version and cipher suite.
    pub fn tls_description(&self) -> Option<String> {
        let tls = self.tls.as_ref()?;
        Some(format!("{:?} {:?}", tls.protocol_version()?, tls.negotiated_cipher_suite()?.suite()))
    }

    /// The MQTT bytes that arrived and were not taken yet.
    pub fn input(&self) -> &[u8] {
        &self.input[self.taken..]
    }

    /// Takes `count` bytes from the input.
    pub fn take(&mut self, count: usize) {
        self.taken += count;
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        } else if self.taken > INPUT_BYTES_MAX {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
    }

    /// Queues MQTT bytes for [`Transport::flush`].
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.web_socket {
            let mut framed = Vec::with_capacity(bytes.len() + 14);
            websocket::encode(&mut framed, bytes, random()?);
            return self.send_raw(&framed);
        }
        self.send_raw(bytes)
    }

    /// Writes everything that is queued.
    pub fn flush(&mut self, deadline: Instant) -> Result<(), Error> {
        loop {
            if self.write_some()? {
                return Ok(());
            }
            if self.input.len() - self.taken < INPUT_BYTES_MAX {
                self.read_some()?;
            }
            if self.closed {
                return Err(Error::Closed { reason: None, text: None });
            }
            if Instant::now() >= deadline {
                return Err(Error::NoAnswer("what was sent"));
            }
            self.poll_until(Some(deadline))?;
        }
    }

    /// Waits until there is more input than before.
    pub fn wait(&mut self, deadline: Option<Instant>) -> Result<Wait, Error> {
        loop {
            let before = self.input.len() - self.taken;
            self.read_some()?;
            if self.input.len() - self.taken > before {
                return Ok(Wait::Input);
            }
            if self.closed {
                return Ok(Wait::Closed);
            }
            if std::mem::take(&mut self.woken) {
                return Ok(Wait::Woken);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Wait::Deadline);
            }
            self.write_some()?;
            if !self.readable {
                self.poll_until(deadline)?;
            }
        }
    }

    /// Says goodbye: everything is written, then the peer closes, or the deadline does.
    ///
    /// Waiting for the peer matters: who closes a socket with unread input sends a reset, which can overtake what was written.
    pub fn close(mut self, deadline: Instant) -> Result<(), Error> {
        if self.web_socket {
            let mut close = Vec::new();
            websocket::encode_close(&mut close, random()?);
            self.send_raw(&close)?;
        }
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush(deadline)?;
        let _ = self.socket.shutdown(std::net::Shutdown::Write);
        loop {
            self.input.clear();
            self.taken = 0;
            match self.wait(Some(deadline)) {
                Ok(Wait::Input | Wait::Woken) => {}
                // However the peer ends it now, everything was written.
                Ok(Wait::Closed | Wait::Deadline) | Err(_) => return Ok(()),
            }
        }
    }

    fn finish_tls(&mut self, deadline: Instant) -> Result<(), Error> {
        while self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
            // Reading first: what it brings may have to be answered before anything else comes.
            self.read_some()?;
            self.write_some()?;
            if self.closed {
                return Err(Error::Closed { reason: None, text: None });
            }
            if Instant::now() >= deadline {
                return Err(Error::NoAnswer("the TLS handshake"));
            }
            if !self.readable && self.tls.as_ref().is_some_and(|tls| tls.is_handshaking()) {
                self.poll_until(Some(deadline))?;
            }
        }
        Ok(())
    }

    fn open_web_socket(&mut self, options: &ConnectOptions, deadline: Instant) -> Result<(), Error> {
        let key = random()?;
        self.send_raw(&websocket::request(&options.address(), &options.path, &key))?;
        self.flush(deadline)?;
        loop {
            if let Some(length) = websocket::check_response(self.input(), &key)? {
                self.take(length);
                break;
            }
            match self.wait(Some(deadline))? {
                Wait::Input | Wait::Woken => {}
                Wait::Closed => return Err(Error::Closed { reason: None, text: None }),
                Wait::Deadline => return Err(Error::NoAnswer("the WebSocket handshake")),
            }
        }
        // What came behind the answer is the first frame.
        self.web_socket = true;
        self.raw = self.input.split_off(self.taken);
        self.input.clear();
        self.taken = 0;
        self.unframe()
    }

    fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match &mut self.tls {
            Some(tls) => tls.writer().write_all(bytes)?,
            None => self.output.extend_from_slice(bytes),
        }
        Ok(())
    }

    /// Writes what the socket takes; true when nothing is left.
    fn write_some(&mut self) -> Result<bool, Error> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            return Ok(true);
        }
        while self.written < self.output.len() {
            match self.socket.write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(true)
    }

    /// Reads until the socket has no more, or the input is full.
    fn read_some(&mut self) -> Result<(), Error> {
        let mut buffer = [0u8; 16 * 1024];
        while self.readable && !self.closed && self.input.len() - self.taken < INPUT_BYTES_MAX {
            let count = match &mut self.tls {
                Some(tls) => match tls.read_tls(&mut self.socket) {
                    Ok(0) => Ok(0),
                    Ok(count) => match tls.process_new_packets() {
                        Ok(state) => {
                            let sink = if self.web_socket { &mut self.raw } else { &mut self.input };
                            let start = sink.len();
                            sink.resize(start + state.plaintext_bytes_to_read(), 0);
                            tls.reader().read_exact(&mut sink[start..])?;
                            if state.peer_has_closed() {
                                self.closed = true;
                            }
                            Ok(count)
                        }
                        Err(error) => {
                            // The alert that says why is still to be sent.
                            let _ = tls.write_tls(&mut self.socket);
                            return Err(Error::Tls(error));
                        }
                    },
                    Err(error) => Err(error),
                },
                None => self.socket.read(&mut buffer).inspect(|&count| {
                    let sink = if self.web_socket { &mut self.raw } else { &mut self.input };
                    sink.extend_from_slice(&buffer[..count]);
                }),
            };
            match count {
                Ok(0) => self.closed = true,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A broker that refuses may reset the connection; what it said before counts.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => self.closed = true,
                Err(error) => return Err(error.into()),
            }
            if self.web_socket {
                self.unframe()?;
            }
        }
        Ok(())
    }

    fn unframe(&mut self) -> Result<(), Error> {
        let mut reply = Vec::new();
        let mask = random()?;
        if websocket::decode(&mut self.raw, &mut self.input, &mut reply, mask)? == websocket::Decoded::Closed
        {
            self.closed = true;
        }
        if !reply.is_empty() {
            self.send_raw(&reply)?;
            self.write_some()?;
        }
        Ok(())
    }

    fn poll_until(&mut self, deadline: Option<Instant>) -> Result<(), Error> {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &self.events {
            match event.token() {
                SOCKET if event.is_readable() || event.is_read_closed() || event.is_error() => {
                    self.readable = true
                }
                WAKER => self.woken = true,
                _ => {}
            }
        }
        Ok(())
    }
}

fn connect_tcp(options: &ConnectOptions, deadline: Instant) -> Result<std::net::TcpStream, Error> {
    let failed = |source| Error::Connect { address: options.address(), source };
    let addresses: Vec<SocketAddr> = (options.host.as_str(), options.port)
        .to_socket_addrs()
        .map_err(|source| Error::Resolve { host: options.host.clone(), source })?
        .collect();
    let mut last = io::Error::new(ErrorKind::NotFound, "the host has no address");
    for address in addresses {
        let left = deadline.saturating_duration_since(Instant::now()).min(CONNECT_TIMEOUT);
        if left.is_zero() {
            return Err(Error::NoAnswer("the connection"));
        }
        let stream = match options.bind_address {
            None => std::net::TcpStream::connect_timeout(&address, left),
            Some(local) => connect_from(local, address),
        };
        match stream {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn connect_from(local: std::net::IpAddr, to: SocketAddr) -> io::Result<std::net::TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    bind(&socket, &SocketAddr::new(local, 0))?;
    connect(&socket, &to)?;
    Ok(socket.into())
}

/// Random bytes for what WebSocket asks for.
fn random<const N: usize>() -> Result<[u8; N], Error> {
    ravelin_protect::random().map_err(|why| Error::WebSocket(why.to_string()))
}
