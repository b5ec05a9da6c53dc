//! Syslog over TLS (RFC 5425), plain TCP (RFC 6587, octet counting) or UDP (RFC 5426).
//!
//! Syslog has no acknowledgement. A batch counts as sent when it was written and the connection is still whole a moment later
//! (`settle`): a receiver that goes away, restarts or resets the connection shows within that, and gets the batch
//! again. What a receiver has taken off the wire and then loses is lost. UDP tells nothing: at most once.

use super::{ClientTls, Sender};
use crate::{Entry, Error, syslog};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

const BATCH_ENTRIES_MAX: usize = 500;
const BATCH_BYTES_MAX: usize = 256 << 10;
/// RFC 5426, 3.2: a receiver must take 480 octets, should take 2048; more than a packet of IPv6 has room for is cut.
const DATAGRAM_BYTES_MAX: usize = 8 << 10;

/// How it gets there.
#[derive(Clone)]
pub enum Transport {
    /// TLS, by these certificates.
    Tls(ClientTls),
    /// TCP: whoever is on the way reads and changes it.
    DangerousTcp,
    /// UDP: the same, and it may be lost.
    DangerousUdp,
}

/// A receiver of syslog.
#[derive(Clone)]
pub struct SyslogTarget {
    /// Its name or address; of TLS also the name that its certificate must have.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How it gets there.
    pub transport: Transport,
    /// For the name, the connection, the handshake and each write.
    pub timeout: Duration,
    /// How long the connection must stay whole after a batch.
    pub settle: Duration,
}

impl SyslogTarget {
    pub(super) fn shown(&self) -> String {
        let transport = match self.transport {
            Transport::Tls(_) => "tls",
            Transport::DangerousTcp => "tcp",
            Transport::DangerousUdp => "udp",
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{transport}://{host}:{}", self.port)
    }
}

pub(crate) struct Syslog {
    target: SyslogTarget,
    tls: Option<(Arc<rustls::ClientConfig>, ServerName<'static>)>,
    open: Option<Stream>,
}

enum Stream {
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    Tcp(TcpStream),
    Udp(UdpSocket),
}

impl Syslog {
    pub fn new(target: &SyslogTarget) -> Result<Syslog, Error> {
        let tls = match &target.transport {
            Transport::Tls(tls) => {
                let name = ServerName::try_from(target.host.clone())
                    .map_err(|_| Error::Settings(format!("{:?} is not the name of a server", target.host)))?;
                Some((tls.config()?, name))
            }
            _ => None,
        };
        Ok(Syslog { target: target.clone(), tls, open: None })
    }

    fn connect(&self) -> Result<Stream, Error> {
        let SyslogTarget { host, port, timeout, .. } = &self.target;
        let shown = self.target.shown();
        let failed = |error: std::io::Error| Error::io(&format!("failed to reach {shown}"), &error);
        let addresses: Vec<SocketAddr> = (host.as_str(), *port).to_socket_addrs().map_err(failed)?.collect();
        let mut last = Error::Unreachable(format!("{shown} has no address"));
        for address in addresses {
            match self.connect_to(address, *timeout) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = failed_or(error, failed),
            }
        }
        Err(last)
    }

    fn connect_to(&self, address: SocketAddr, timeout: Duration) -> std::io::Result<Stream> {
        if matches!(self.target.transport, Transport::DangerousUdp) {
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
                SocketAddr::V6(_) => ([0u16; 8], 0).into(),
            };
            let socket = UdpSocket::bind(any)?;
            socket.connect(address)?;
            return Ok(Stream::Udp(socket));
        }
        let socket = TcpStream::connect_timeout(&address, timeout)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        let Some((config, name)) = &self.tls else { return Ok(Stream::Tcp(socket)) };
        let connection = ClientConnection::new(Arc::clone(config), name.clone());
        let connection = connection.map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(connection, socket);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn failed_or(error: std::io::Error, failed: impl Fn(std::io::Error) -> Error) -> Error {
    match error.kind() {
        ErrorKind::WouldBlock => failed(std::io::Error::new(ErrorKind::TimedOut, "it does not answer")),
        _ => failed(error),
    }
}

impl Sender for Syslog {
    fn send(&mut self, batch: &[Entry], _: u64) -> Result<(), Error> {
        let mut stream = match self.open.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let shown = self.target.shown();
        let failed = |error| Error::io(&format!("failed to send to {shown}"), &error);
        stream.write(batch).map_err(|error| failed_or(error, failed))?;
        stream.settle(self.target.settle, self.target.timeout).map_err(|error| failed_or(error, failed))?;
        self.open = Some(stream);
        Ok(())
    }

    fn batch_max(&self) -> (usize, usize) {
        (BATCH_ENTRIES_MAX, BATCH_BYTES_MAX)
    }
}

impl Stream {
    fn write(&mut self, batch: &[Entry]) -> std::io::Result<()> {
        if let Stream::Udp(socket) = self {
            for entry in batch {
                let mut end = entry.body.len().min(DATAGRAM_BYTES_MAX);
                while !entry.body.is_char_boundary(end) {
                    end -= 1;
                }
                socket.send(&entry.body.as_bytes()[..end])?;
            }
            return Ok(());
        }
        let frames: Vec<u8> = batch.iter().flat_map(|entry| syslog::frame(&entry.body)).collect();
        match self {
            Stream::Tls(stream) => stream.write_all(&frames).and_then(|()| stream.flush()),
            Stream::Tcp(stream) => stream.write_all(&frames),
            Stream::Udp(_) => Ok(()),
        }
    }

    /// Waits whether the other side goes away. It has nothing to say, but for what TLS does by itself.
    fn settle(&mut self, settle: Duration, timeout: Duration) -> std::io::Result<()> {
        let socket = match self {
            Stream::Tls(stream) => &stream.sock,
            Stream::Tcp(stream) => stream,
            Stream::Udp(_) => return Ok(()),
        };
        socket.set_read_timeout(Some(settle.max(Duration::from_millis(1))))?;
        let mut nothing = [0; 256];
        let read = match self {
            Stream::Tls(stream) => stream.read(&mut nothing),
            Stream::Tcp(stream) => stream.read(&mut nothing),
            Stream::Udp(_) => return Ok(()),
        };
        match read {
            Ok(0) => {
                return Err(std::io::Error::new(ErrorKind::ConnectionReset, "it has closed the connection"));
            }
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(error);
            }
            _ => {}
        }
        let socket = match self {
            Stream::Tls(stream) => &stream.sock,
            Stream::Tcp(stream) => stream,
            Stream::Udp(_) => return Ok(()),
        };
        socket.set_read_timeout(Some(timeout))
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        if let Some(Stream::Tls(stream)) = &mut self.open {
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    }
}
