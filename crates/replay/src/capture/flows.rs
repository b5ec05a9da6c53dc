//! The connections in a capture: which of them are MQTT, where each begins and ends.

use super::link::{ACK, FIN, RST, SYN, Segment};
use super::mqtt::{Agreed, Reader, is_connect};
use super::stream::{Piece, Stream};
use crate::{Row, Sink, What};
use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use ravelin_mqtt::Sender;
use std::net::SocketAddr;

/// Connections that are followed at once.
const FLOWS_MAX: usize = 1 << 18;
/// Addresses at which MQTT was recognised.
const SERVERS_MAX: usize = 4096;
/// What comes within this time after the end of a connection is a straggler of it.
const STRAGGLER_US: u64 = 60_000_000;
/// Ended connections are cleared away after so many segments.
const CLEAR_EVERY: u64 = 1 << 16;

/// Takes rows.
pub(super) trait Emit {
    /// A row; `fill` says what is particular about it.
    fn row<'a>(&mut self, what: What, from_client: bool, fill: impl FnOnce(&mut Row<'a>));
    /// The Client Identifier of the connection, from here on.
    fn client(&mut self, client_id: &str);
}

struct Out<'s, S> {
    sink: &'s mut S,
    at_us: u64,
    number: u64,
    source: SocketAddr,
    client_id: &'s mut String,
}

impl<S: Sink> Emit for Out<'_, S> {
    fn row<'a>(&mut self, what: What, from_client: bool, fill: impl FnOnce(&mut Row<'a>)) {
        let mut row = Row::new(self.at_us, self.number, self.source, what, from_client);
        fill(&mut row);
        let row = Row { client_id: self.client_id, ..row };
        self.sink.row(&row, None);
    }

    fn client(&mut self, client_id: &str) {
        client_id.clone_into(self.client_id);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// SYN has come.
    Syn,
    /// It is open, and it is MQTT.
    Open,
    /// It has ended, or it is not MQTT.
    Done,
}

struct Flow {
    number: u64,
    client: SocketAddr,
    server: SocketAddr,
    stage: Stage,
    last_us: u64,
    to_server: Stream,
    to_client: Stream,
    from_client: Reader,
    from_server: Reader,
    agreed: Agreed,
    client_id: String,
    /// The rows have an end of it.
    closed: bool,
    /// Directions that have ended.
    ended: [bool; 2],
}

impl Flow {
    fn new(client: SocketAddr, server: SocketAddr, in_step: bool) -> Flow {
        Flow {
            number: 0,
            client,
            server,
            stage: Stage::Syn,
            last_us: 0,
            to_server: Stream::default(),
            to_client: Stream::default(),
            from_client: Reader::new(Sender::Client, in_step),
            from_server: Reader::new(Sender::Server, in_step),
            agreed: Agreed::default(),
            client_id: String::new(),
            closed: false,
            ended: [false; 2],
        }
    }

    fn begin<S: Sink>(&mut self, at_us: u64, number: u64, what: What, sink: &mut S) {
        self.number = number;
        self.stage = Stage::Open;
        sink.row(&Row::new(at_us, number, self.client, what, what == What::Open), None);
    }

    /// Hands a segment to its direction (`None`: all that waits in both), and emits what comes out.
    fn play<S: Sink>(&mut self, at_us: u64, from_client: bool, segment: Option<&Segment<'_>>, sink: &mut S) {
        let (stream, reader) = if from_client {
            (&mut self.to_server, &mut self.from_client)
        } else {
            (&mut self.to_client, &mut self.from_server)
        };
        let (agreed, closed) = (&mut self.agreed, &mut self.closed);
        let mut ended = false;
        let mut out =
            Out { sink, at_us, number: self.number, source: self.client, client_id: &mut self.client_id };
        let take = |piece: Piece<'_>| match piece {
            Piece::Bytes(bytes) => reader.handle(bytes, agreed, &mut out),
            Piece::Gap => reader.gap(),
            Piece::Fin => {
                ended = true;
                if !std::mem::replace(closed, true) {
                    out.row(What::CloseFin, from_client, |_| {});
                }
            }
        };
        match segment {
            Some(segment) => {
                let fin = segment.flags & FIN != 0;
                stream.handle(at_us, segment.sequence, segment.payload, segment.missing, fin, take);
            }
            None => stream.flush(take),
        }
        if ended {
            self.ended[usize::from(from_client)] = true;
            if self.ended == [true; 2] {
                self.stage = Stage::Done;
            }
        }
    }

    fn close<S: Sink>(&mut self, at_us: u64, what: What, from_client: bool, sink: &mut S) {
        if self.stage == Stage::Open {
            for side in [true, false] {
                self.play(at_us, side, None, sink);
            }
            if !std::mem::replace(&mut self.closed, true) {
                let row = Row::new(at_us, self.number, self.client, what, from_client);
                sink.row(&Row { client_id: &self.client_id, ..row }, None);
            }
        }
        self.stage = Stage::Done;
    }
}

/// All connections.
pub(super) struct Flows {
    flows: HashMap<(SocketAddr, SocketAddr), Flow, FixedState>,
    ports: Vec<u16>,
    /// Where MQTT was recognised.
    servers: HashSet<SocketAddr, FixedState>,
    numbers: u64,
    segments: u64,
    now_us: u64,
}

impl Flows {
    pub fn new(ports: &[u16]) -> Flows {
        Flows {
            flows: HashMap::default(),
            ports: ports.to_vec(),
            servers: HashSet::default(),
            numbers: 0,
            segments: 0,
            now_us: 0,
        }
    }

    /// Connections that were of MQTT.
    pub fn count(&self) -> u64 {
        self.numbers
    }

    pub fn handle_segment(&mut self, at_us: u64, segment: &Segment<'_>, sink: &mut impl Sink) {
        // Captures of several interfaces are not always in order.
        self.now_us = self.now_us.max(at_us);
        let at_us = self.now_us;
        self.segments += 1;
        if self.segments.is_multiple_of(CLEAR_EVERY) {
            self.flows.retain(|_, flow| flow.stage == Stage::Open || at_us - flow.last_us < STRAGGLER_US);
        }
        let key =
            if segment.from <= segment.to { (segment.from, segment.to) } else { (segment.to, segment.from) };
        let opens = segment.flags & (SYN | ACK) == SYN;
        if opens && let Some(old) = self.flows.get_mut(&key) {
            let again = old.stage == Stage::Syn && old.client == segment.from;
            if !again && (old.stage == Stage::Done || old.client == segment.from) {
                // The same ports again: nobody has seen how the last connection ended.
                old.close(at_us, What::End, true, sink);
                self.flows.remove(&key);
            }
        }
        if !self.flows.contains_key(&key) {
            if self.flows.len() >= FLOWS_MAX {
                return;
            }
            let Some(flow) = self.first(at_us, segment, sink) else { return };
            self.flows.insert(key, flow);
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        flow.last_us = at_us;
        let from_client = segment.from == flow.client;
        if segment.flags & RST != 0 {
            return flow.close(at_us, What::CloseRst, from_client, sink);
        }
        if segment.flags & SYN != 0 {
            let stream = if from_client { &mut flow.to_server } else { &mut flow.to_client };
            if flow.stage == Stage::Syn {
                stream.begin(segment.sequence);
            }
            return;
        }
        if flow.stage == Stage::Syn {
            let known = self.ports.contains(&flow.server.port()) || self.servers.contains(&flow.server);
            if !known {
                if segment.payload.is_empty() {
                    return;
                }
                if !from_client || !is_connect(segment.payload) {
                    flow.stage = Stage::Done;
                    return;
                }
                if self.servers.len() < SERVERS_MAX {
                    self.servers.insert(flow.server);
                }
            }
            self.numbers += 1;
            flow.begin(at_us, self.numbers, What::Open, sink);
        }
        if flow.stage == Stage::Open {
            flow.play(at_us, from_client, Some(segment), sink);
        }
    }

    /// A connection of which this is the first segment; `None`: it is not followed.
    fn first(&mut self, at_us: u64, segment: &Segment<'_>, sink: &mut impl Sink) -> Option<Flow> {
        let is_server =
            |address: SocketAddr| self.ports.contains(&address.port()) || self.servers.contains(&address);
        match segment.flags & (SYN | ACK | RST) {
            SYN => return Some(Flow::new(segment.from, segment.to, true)),
            flags if flags == SYN | ACK => return Some(Flow::new(segment.to, segment.from, true)),
            flags if flags & RST != 0 => return None,
            _ if segment.payload.is_empty() => return None,
            _ => {}
        }
        if is_connect(segment.payload) {
            return Some(Flow::new(segment.from, segment.to, true));
        }
        let (client, server) = if is_server(segment.to) {
            (segment.from, segment.to)
        } else if is_server(segment.from) {
            (segment.to, segment.from)
        } else {
            return None;
        };
        let mut flow = Flow::new(client, server, false);
        self.numbers += 1;
        flow.begin(at_us, self.numbers, What::Midstream, sink);
        Some(flow)
    }

    /// The capture has ended.
    pub fn finish(mut self, sink: &mut impl Sink) {
        let mut open: Vec<Flow> =
            self.flows.drain().map(|(_, flow)| flow).filter(|flow| flow.stage == Stage::Open).collect();
        open.sort_by_key(|flow| flow.number);
        for flow in &mut open {
            flow.close(self.now_us, What::End, true, sink);
        }
    }
}
