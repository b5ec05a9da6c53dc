//! What is known of one connection.

use ravelin_event::DisconnectCause;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is open, and there was no CONNECT.
    Open,
    /// CONNECT has come, and was not answered yet.
    Connecting,
    /// It has a session.
    In,
    /// It was open before the recording began.
    Midstream,
    /// A node would have closed it, or it is being closed.
    Over,
}

pub(super) struct Connection {
    pub address: SocketAddr,
    pub state: State,
    pub client_id: Arc<str>,
    pub identity: Option<Arc<str>>,
    pub keep_alive_s: u16,
    pub clean_start: bool,
    /// The topic of its will.
    pub will: Option<Arc<str>>,
    pub opened_ms: u64,
    /// When the client has sent something last.
    pub packet_ms: u64,
    /// Bytes that have come, at least.
    pub bytes: u64,
    /// It was closed before its CONNECT was answered, for this cause.
    pub closed: Option<DisconnectCause>,
    /// What is wrong with it came before its CONNECT was answered.
    pub malformed: bool,
    /// The place of its meter, and in which span that is.
    pub meter: (u64, u32),
    /// Filters without an answer: the Packet Identifier, the filter.
    pub pending: VecDeque<(u16, Arc<str>)>,
    /// The Packet Identifier and the topic of the last PUBLISH, and whether it counted as undelivered.
    pub last: Option<(u16, Arc<str>, bool)>,
    pub inflight: u32,
}

impl Connection {
    pub fn new(address: SocketAddr, now_ms: u64) -> Connection {
        Connection {
            address,
            state: State::Open,
            client_id: "".into(),
            identity: None,
            keep_alive_s: 0,
            clean_start: true,
            will: None,
            opened_ms: now_ms,
            packet_ms: now_ms,
            bytes: 0,
            closed: None,
            malformed: false,
            meter: (u64::MAX, 0),
            pending: VecDeque::new(),
            last: None,
            inflight: 0,
        }
    }

    /// Whether what comes is counted: there is a session, or there will be one.
    pub fn counts(&self) -> bool {
        matches!(self.state, State::In | State::Midstream | State::Connecting)
    }

    /// Whether the client has sent nothing for 1.5 times Keep Alive (MQTT-3.1.2-22), give or take a second.
    pub fn is_silent(&self, now_ms: u64) -> bool {
        let keep_alive_ms = u64::from(self.keep_alive_s) * 1000;
        keep_alive_ms > 0 && now_ms - self.packet_ms + 1000 >= keep_alive_ms * 3 / 2
    }
}
