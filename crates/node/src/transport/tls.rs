//! TLS over slices: records are decrypted from the shard's read buffer and encrypted into its write buffer. Nothing
//! is held per connection but keys, an incomplete record and what the socket did not take.
//!
//! Built on the unbuffered interface of rustls, whose buffered one would keep a read buffer per idle connection.

use rustls::pki_types::CertificateDer;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{HandshakeKind, ProtocolVersion, ServerConfig};
use std::sync::Arc;

/// The largest part of a backlog that is encrypted before the socket has taken it.
pub(crate) const SEAL_BYTES_MAX: usize = 64 << 10;

/// Incomplete records and handshake messages of a peer may take so much.
const INCOMING_BYTES_MAX: usize = 96 << 10;

/// The TLS side of a connection.
pub(crate) struct Tls {
    connection: UnbufferedServerConnection,
    /// Encrypted bytes that are not a whole record (or a whole handshake message) yet.
    pub incoming: Vec<u8>,
    /// Encrypted bytes that wait for the socket.
    pub outgoing: Vec<u8>,
    established: bool,
    /// Since when it has its keys, in milliseconds of the node's clock.
    keys_since_ms: u64,
    /// Bytes that were encrypted or decrypted with them.
    bytes: u64,
}

/// What was agreed on in a handshake.
pub(crate) struct Agreed {
    pub version: &'static str,
    pub suite: Option<&'static str>,
    pub group: Option<&'static str>,
    pub resumed: bool,
}

/// What [`Tls::open`] found, in order.
pub(crate) enum Part<'a> {
    /// The handshake ended; the chain that the client was verified by, end entity first. Comes before any data.
    Established(&'a [CertificateDer<'static>]),
    /// A decrypted record.
    Data(&'a [u8]),
    /// The peer said that nothing more will come.
    Closed,
}

impl Tls {
    pub fn new(config: Arc<ServerConfig>, now_ms: u64) -> Result<Tls, rustls::Error> {
        Ok(Tls {
            connection: UnbufferedServerConnection::new(config)?,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            established: false,
            keys_since_ms: now_ms,
            bytes: 0,
        })
    }

    pub fn is_established(&self) -> bool {
        self.established
    }

    /// The chain that the client was verified by, end entity first. Also there after a resumption.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        self.connection.peer_certificates().unwrap_or_default()
    }

    /// Takes encrypted bytes and gives each part found to `visit`. What is not complete is kept; what must be answered
    /// is in `outgoing`. After an error, `outgoing` holds the alert.
    ///
    /// `bytes` must begin with what `incoming` held; the caller has put it there.
    pub fn open(&mut self, bytes: &mut [u8], mut visit: impl FnMut(Part<'_>)) -> Result<(), rustls::Error> {
        let mut used = 0;
        let result = loop {
            let UnbufferedStatus { mut discard, state } =
                self.connection.process_tls_records(&mut bytes[used..]);
            let more = match state {
                Ok(ConnectionState::ReadTraffic(traffic)) if !self.established => {
                    // The record stays where it is: who the client is comes first.
                    drop(traffic);
                    self.established = true;
                    visit(Part::Established(self.connection.peer_certificates().unwrap_or_default()));
                    Ok(true)
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => {
                            discard += record.discard;
                            self.bytes += record.payload.len() as u64;
                            visit(Part::Data(record.payload));
                        }
                        Some(Err(error)) => break Err(error),
                        None => break Ok(true),
                    }
                },
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    push_encoded(&mut self.outgoing, |out| data.encode(out)).map(|()| true)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(true)
                }
                Ok(ConnectionState::PeerClosed) => {
                    visit(Part::Closed);
                    Ok(true)
                }
                Ok(ConnectionState::WriteTraffic(_)) => {
                    if !self.established {
                        self.established = true;
                        visit(Part::Established(self.connection.peer_certificates().unwrap_or_default()));
                    }
                    Ok(false)
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => Ok(false),
                Ok(_) => Err(rustls::Error::General("early data was not offered".into())),
                Err(error) => Err(error),
            };
            used += discard;
            match more {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if result.is_err() {
            self.incoming = Vec::new();
            self.queue_alert();
            return result;
        }
        self.keep(&bytes[used..])
    }

    fn keep(&mut self, rest: &[u8]) -> Result<(), rustls::Error> {
        if rest.len() > INCOMING_BYTES_MAX {
            return Err(rustls::Error::General("too many bytes of unfinished handshake".into()));
        }
        if rest.is_empty() {
            self.incoming = Vec::new();
        } else {
            self.incoming.clear();
            self.incoming.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Encrypts `plaintext` to the end of `sealed`.
    pub fn seal(&mut self, plaintext: &[u8], sealed: &mut Vec<u8>) -> Result<(), rustls::Error> {
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.incoming);
        let mut traffic = match state? {
            ConnectionState::WriteTraffic(traffic) => traffic,
            // A key update or a ticket stands before the data.
            ConnectionState::EncodeTlsData(mut data) => {
                push_encoded(sealed, |out| data.encode(out))?;
                return self.seal(plaintext, sealed);
            }
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                return self.seal(plaintext, sealed);
            }
            _ => return Err(rustls::Error::HandshakeNotComplete),
        };
        let start = sealed.len();
        // Header, tag, content type and explicit nonce of each record of 16 KiB, and one more for a key update.
        let room = plaintext.len() + (plaintext.len() / (16 << 10) + 2) * 64;
        sealed.resize(start + room, 0);
        let written = match traffic.encrypt(plaintext, &mut sealed[start..]) {
            Ok(written) => written,
            Err(EncryptError::InsufficientSize(need)) => {
                sealed.resize(start + need.required_size, 0);
                traffic
                    .encrypt(plaintext, &mut sealed[start..])
                    .map_err(|error| rustls::Error::General(error.to_string()))?
            }
            Err(error) => return Err(rustls::Error::General(error.to_string())),
        };
        sealed.truncate(start + written);
        self.bytes += plaintext.len() as u64;
        Ok(())
    }

    /// Since when it has its keys.
    pub fn keys_since_ms(&self) -> u64 {
        self.keys_since_ms
    }

    /// Bytes that its keys have encrypted and decrypted.
    pub fn bytes_since_keys(&self) -> u64 {
        self.bytes
    }

    /// What was agreed on in the handshake, for whoever keeps an inventory of it.
    pub fn agreed(&self) -> Agreed {
        let version = self.connection.protocol_version();
        Agreed {
            version: match version {
                Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
                _ => "other",
            },
            suite: self.connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()),
            group: self.connection.negotiated_key_exchange_group().and_then(|group| group.name().as_str()),
            resumed: self.connection.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }

    /// Has both sides take new keys, and puts what tells the peer behind what waits. False: this version of TLS cannot.
    pub fn refresh_keys(&mut self, now_ms: u64) -> Result<bool, rustls::Error> {
        if self.connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Ok(false);
        }
        let mut asked = false;
        loop {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.incoming);
            match state? {
                ConnectionState::WriteTraffic(traffic) if !asked => {
                    traffic.refresh_traffic_keys()?;
                    asked = true;
                }
                ConnectionState::WriteTraffic(_) => break,
                ConnectionState::EncodeTlsData(mut data) => {
                    push_encoded(&mut self.outgoing, |out| data.encode(out))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                _ => return Err(rustls::Error::HandshakeNotComplete),
            }
        }
        (self.keys_since_ms, self.bytes) = (now_ms, 0);
        Ok(true)
    }

    /// Puts `close_notify` behind what waits.
    pub fn queue_close(&mut self) {
        if !self.established {
            return;
        }
        let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut self.incoming);
        if let Ok(ConnectionState::WriteTraffic(mut traffic)) = state {
            let mut alert = [0; 64];
            if let Ok(written) = traffic.queue_close_notify(&mut alert) {
                self.outgoing.extend_from_slice(&alert[..written]);
            }
        }
    }

    /// After an error, the alert that tells the peer waits inside the connection. Nothing is read for it: what came
    /// after the error would be met as a second one.
    fn queue_alert(&mut self) {
        while self.connection.wants_write() {
            let UnbufferedStatus { state, .. } = self.connection.process_tls_records(&mut []);
            let Ok(ConnectionState::EncodeTlsData(mut data)) = state else { return };
            if push_encoded(&mut self.outgoing, |out| data.encode(out)).is_err() {
                return;
            }
        }
    }
}

fn push_encoded(
    out: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), rustls::Error> {
    let start = out.len();
    let need = match encode(&mut []) {
        Err(EncodeError::InsufficientSize(need)) => need.required_size,
        Err(EncodeError::AlreadyEncoded) | Ok(_) => return Ok(()),
    };
    out.resize(start + need, 0);
    encode(&mut out[start..]).map_err(|error| rustls::Error::General(error.to_string()))?;
    Ok(())
}
