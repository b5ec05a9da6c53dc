//! The shell's state of one connection. Small, because there may be a million idle ones: what only some connections
//! need, or need only for a while, is boxed.

use crate::transport::tls::Tls;
use crate::ws::WebSocket;
use mio::net::TcpStream;
use ravelin_broker::{LinkId, Outbound};
use ravelin_protect::lockout::Ticket;
use ravelin_protect::{Admission, CertificateFacts, Exchange, Proof};
use std::net::SocketAddr;

pub(crate) struct Conn {
    pub socket: TcpStream,
    /// Where the client is; with the PROXY protocol, what the proxy says.
    pub address: SocketAddr,
    /// The listener, as an index into the policy's entrances.
    pub entrance: u16,
    pub flags: Flags,
    pub stage: Stage,
    pub tls: Option<Box<Tls>>,
    pub ws: Option<Box<WebSocket>>,
    /// Bytes of a packet that has not arrived whole (before CONNECT was accepted: all that waits for that).
    pub partial: Vec<u8>,
    /// When the peer last took something of what waits for it; before the first time, when it connected.
    pub progress_ms: u64,
    /// When the client last proved who it is, in seconds of the node's clock.
    pub proven_s: u32,
    /// Bytes that waited for the socket when they were last counted.
    pub waiting_bytes: u32,
    /// Enhanced authentication of an MQTT 5.0 client that used it.
    pub reauth: Option<Box<Reauth>>,
    /// What the client proved itself with, and which of its credentials it was. What a token gave it, the shard's list
    /// of tokens has.
    pub proof: Proof,
    pub proof_tag: u32,
}

/// How far a connection has come.
pub(crate) enum Stage {
    /// Not authenticated.
    Pre(Box<Pre>),
    /// The core has a link for it.
    Live(LinkId),
    /// Only the last bytes are still written.
    Closing(Box<Closing>),
}

#[derive(Clone, Copy, Default)]
pub(crate) struct Flags {
    /// The kernel may have more to read, and no event will tell.
    pub readable: bool,
    /// On the list of those to read in the next turn.
    pub listed: bool,
    /// The peer has closed its side: read to the end.
    pub read_closed: bool,
    /// Do not read: an answer is awaited (a hash, a new home).
    pub paused: bool,
    /// The last write did not take everything: wait for the writable event.
    pub blocked: bool,
    /// A PROXY protocol header must come first.
    pub proxy: bool,
    /// It has exceeded a rate: do not read until its time has come.
    pub delayed: bool,
    /// Whole packets wait in `partial`: the turn had done its share.
    pub stashed: bool,
    /// The ladder has let it in.
    pub admitted: bool,
    /// The ladder was told that it is authenticated.
    pub authenticated: bool,
    /// On the list of those whose progress is watched.
    pub watched: bool,
    /// It is timed, in case that it is refused.
    pub priced: bool,
    /// On the list of those to write in this turn.
    pub dirty: bool,
    /// It is to end: what it publishes from now on is left unread, and so not acknowledged.
    pub draining: bool,
    /// Its session lives on another shard, to which it is to be moved.
    pub moving: bool,
}

/// Before authentication.
#[derive(Default)]
pub(crate) struct Pre {
    /// What is to be written.
    pub out: Outbound,
    /// CONNECT, while its authentication is under way.
    pub connect: Option<Vec<u8>>,
    pub exchange: Option<Exchange>,
    pub certificate: Option<CertificateFacts>,
    /// Accepted, but its session lives on another shard.
    pub accepted: Option<Box<Admission>>,
    /// Its log-in, as lock-out counts it.
    pub login: Option<Box<Ticket>>,
}

/// The end of a connection.
pub(crate) struct Closing {
    pub out: Outbound,
    /// By when it is closed, whatever is left to write.
    pub deadline_ms: u64,
    /// Bytes that are still read and thrown away, so that the peer sees the last packet before a reset.
    pub linger_bytes: usize,
    /// Everything was written and our side is shut.
    pub finished: bool,
}

/// Enhanced authentication of a live client.
pub(crate) struct Reauth {
    pub method: Box<str>,
    pub exchange: Option<Exchange>,
}

/// A connection on its way to the shard where its session lives.
pub(crate) struct Moved {
    pub socket: TcpStream,
    pub address: SocketAddr,
    pub entrance: u16,
    pub read_closed: bool,
    pub tls: Option<Box<Tls>>,
    pub ws: Option<Box<WebSocket>>,
    pub partial: Vec<u8>,
    pub connect: Vec<u8>,
    pub accepted: Box<Admission>,
}

impl Conn {
    pub fn new(now_ms: u64, socket: TcpStream, address: SocketAddr, entrance: u16) -> Conn {
        Conn {
            socket,
            address,
            entrance,
            flags: Flags::default(),
            stage: Stage::Pre(Box::default()),
            tls: None,
            ws: None,
            partial: Vec::new(),
            progress_ms: now_ms,
            proven_s: 0,
            waiting_bytes: 0,
            reauth: None,
            proof: Proof::default(),
            proof_tag: 0,
        }
    }

    /// When it was opened, as long as nothing has waited for it.
    pub fn opened_ms(&self) -> u64 {
        self.progress_ms
    }

    pub fn link(&self) -> Option<LinkId> {
        if let Stage::Live(link) = self.stage { Some(link) } else { None }
    }

    /// Whether nothing of the transport itself waits to be written.
    pub fn transport_is_idle(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.outgoing.is_empty())
            && self.ws.as_ref().is_none_or(|ws| ws.is_idle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_small() {
        assert!(size_of::<Conn>() <= 160, "{}", size_of::<Conn>());
    }
}
