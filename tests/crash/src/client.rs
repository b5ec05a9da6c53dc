//! A durable client: a publisher, a subscriber, or both. It keeps its half of the session while the node is killed, as
//! the specification asks of a client, and sends again what it must.

use crate::conn::Conn;
use crate::ledger::{Ledger, Name, Reader};
use crate::rng::Rng;
use crate::wire::{self, Packet, Publish, Version};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How a subscriber acknowledges, until its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acking {
    /// At once.
    Prompt,
    /// Each up to so many milliseconds later.
    Late(u64),
    /// Not at all.
    Never,
    /// At once, but the first message of the connection not at all.
    AllButFirst,
}

/// A message that this client publishes and that is under way.
struct Outgoing {
    packet_id: u16,
    name: Name,
    released: bool,
}

/// A durable client.
pub struct Client {
    /// The Client Identifier.
    pub id: String,
    version: Version,
    receive_max: Option<u16>,
    /// What it subscribes to, if it does.
    pub filter: Option<(String, u8)>,
    subscribed: bool,
    /// Its streams.
    pub streams: Vec<usize>,
    /// What it got.
    pub reader: Reader,
    /// How it acknowledges.
    pub acking: Acking,
    /// Messages that it may have under way.
    pub window: usize,
    /// Messages that it may still publish.
    pub quota: usize,
    conn: Option<Conn>,
    online: bool,
    /// CONNACK was received once: the session is there.
    has_session: bool,
    outgoing: VecDeque<Outgoing>,
    last_packet_id: u16,
    acks: VecDeque<(Instant, u8, u16)>,
    got_on_connection: u64,
}

impl Client {
    /// A client with neither streams nor a filter.
    pub fn new(id: String, version: Version) -> Client {
        Client {
            reader: Reader::new(&id),
            id,
            version,
            receive_max: None,
            filter: None,
            subscribed: false,
            streams: Vec::new(),
            acking: Acking::Prompt,
            window: 16,
            quota: 0,
            conn: None,
            online: false,
            has_session: false,
            outgoing: VecDeque::new(),
            last_packet_id: 0,
            acks: VecDeque::new(),
            got_on_connection: 0,
        }
    }

    /// It subscribes, once.
    pub fn reads(mut self, filter: &str, qos: u8, receive_max: Option<u16>) -> Client {
        self.filter = Some((filter.into(), qos));
        self.receive_max = receive_max;
        self
    }

    /// It publishes.
    pub fn writes(mut self, streams: &[usize]) -> Client {
        self.streams = streams.to_vec();
        self
    }

    /// Connects to the node.
    pub fn connect(&mut self, address: SocketAddr) {
        self.drop_connection();
        // A node that has just been killed refuses: the next round will do.
        let Ok(mut conn) = Conn::open(address, self.version) else { return };
        let connect = wire::Connect {
            version: self.version,
            client_id: &self.id,
            clean_start: false,
            expiry_s: 3600,
            receive_max: self.receive_max,
            will: None,
        };
        wire::connect(&mut conn.out, &connect);
        self.conn = Some(conn);
    }

    /// The connection is gone, and what belongs to it.
    pub fn drop_connection(&mut self) {
        self.conn = None;
        self.online = false;
        self.acks.clear();
        self.got_on_connection = 0;
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.conn.is_some()
    }

    /// Whether its connection was accepted.
    pub fn is_online(&self) -> bool {
        self.online
    }

    /// Whether it is connected, subscribed as it wants to be, and has nothing under way.
    pub fn is_idle(&self) -> bool {
        self.online
            && (self.filter.is_none() || self.subscribed)
            && self.outgoing.is_empty()
            && self.acks.is_empty()
            && self.quota == 0
    }

    /// Messages under way.
    pub fn under_way(&self) -> usize {
        self.outgoing.len()
    }

    /// Does what can be done now. True if something was.
    pub fn turn(&mut self, ledger: &mut Ledger, rng: &mut Rng, now: Instant) -> bool {
        let Some(conn) = &mut self.conn else { return false };
        let turned = conn.turn();
        let mut moved = matches!(turned, Ok(true));
        loop {
            let packet = match self.conn.as_mut().map(Conn::next_packet) {
                Some(Ok(Some(packet))) => packet,
                Some(Ok(None)) | None => break,
                Some(Err(error)) => {
                    ledger.fault(format!("{}: {error}", self.id));
                    self.drop_connection();
                    break;
                }
            };
            moved = true;
            self.handle(ledger, rng, now, packet);
        }
        if turned.is_err() || self.conn.as_ref().is_some_and(Conn::has_ended) {
            self.drop_connection();
            return moved;
        }
        self.send_due_acks(now);
        if self.online {
            moved |= self.publish_more(ledger, rng);
        }
        moved
    }

    fn handle(&mut self, ledger: &mut Ledger, rng: &mut Rng, now: Instant, packet: Packet) {
        match packet {
            Packet::ConnAck(present, code) => self.connected(ledger, present, code),
            Packet::Publish(publish) => self.delivered(ledger, rng, now, &publish),
            Packet::Ack(wire::PUBREL, packet_id, _) => {
                self.reader.release(packet_id);
                self.ack(rng, now, wire::PUBCOMP, packet_id);
            }
            Packet::Ack(kind, packet_id, reason) => self.acked(ledger, kind, packet_id, reason),
            Packet::SubAck(_, codes) => {
                if codes.iter().any(|code| *code > 2) {
                    ledger.fault(format!("{}: the subscription was refused: {codes:?}", self.id));
                }
                self.subscribed = true;
            }
            Packet::Disconnect(reason) => ledger.fault(format!("{}: DISCONNECT {reason:#04x}", self.id)),
            Packet::UnsubAck(..) | Packet::PingResp => {}
        }
    }

    fn connected(&mut self, ledger: &mut Ledger, present: bool, code: u8) {
        if code != 0 {
            ledger.fault(format!("{}: CONNACK {code:#04x}", self.id));
            return;
        }
        if self.has_session && !present {
            ledger.fault(format!("{}: the session is gone", self.id));
            self.outgoing.clear();
        }
        self.has_session = true;
        self.online = true;
        let Some(conn) = &mut self.conn else { return };
        if let Some((filter, qos)) = self.filter.as_ref().filter(|_| !self.subscribed) {
            wire::subscribe(&mut conn.out, self.version, 65_535, filter, *qos);
        }
        // MQTT-4.4.0-1: what is not acknowledged is sent again, in the order in which it was sent (MQTT-4.6.0-1).
        for outgoing in &self.outgoing {
            if outgoing.released {
                wire::ack(&mut conn.out, wire::PUBREL, outgoing.packet_id);
            } else {
                write_publish(&mut conn.out, self.version, ledger, outgoing, true);
            }
        }
    }

    fn delivered(&mut self, ledger: &mut Ledger, rng: &mut Rng, now: Instant, publish: &Publish) {
        self.reader.take(ledger, publish);
        self.got_on_connection += 1;
        if self.acking == Acking::AllButFirst && self.got_on_connection == 1 {
            return;
        }
        match publish.qos {
            1 => self.ack(rng, now, wire::PUBACK, publish.packet_id),
            2 => self.ack(rng, now, wire::PUBREC, publish.packet_id),
            _ => {}
        }
    }

    fn ack(&mut self, rng: &mut Rng, now: Instant, kind: u8, packet_id: u16) {
        let delay_ms = match self.acking {
            Acking::Never => return,
            Acking::Late(most_ms) => rng.below(most_ms + 1),
            Acking::Prompt | Acking::AllButFirst => 0,
        };
        // Acknowledgements keep their order (MQTT-4.6.0-2 to -4).
        let due = self.acks.back().map_or(now, |(due, ..)| now.max(*due));
        self.acks.push_back((due.max(now + Duration::from_millis(delay_ms)), kind, packet_id));
    }

    fn send_due_acks(&mut self, now: Instant) {
        let Some(conn) = &mut self.conn else { return };
        while let Some(&(due, kind, packet_id)) = self.acks.front() {
            if due > now {
                break;
            }
            wire::ack(&mut conn.out, kind, packet_id);
            self.acks.pop_front();
        }
    }

    fn acked(&mut self, ledger: &mut Ledger, kind: u8, packet_id: u16, reason: u8) {
        let found = self.outgoing.iter().position(|outgoing| outgoing.packet_id == packet_id);
        let Some(at) = found else {
            ledger.fault(format!("{}: {kind:#04x} for packet id {packet_id}, which is free", self.id));
            return;
        };
        let name = self.outgoing[at].name;
        let qos = ledger.streams[name.0].qos;
        // 0x92 answers a PUBREL whose handshake had ended before the node was killed.
        if reason >= 0x80 && !(kind == wire::PUBCOMP && reason == 0x92) {
            ledger.fault(format!("{}: {name:?} was refused: {reason:#04x}", self.id));
        }
        match (kind, qos) {
            (wire::PUBACK, 1) => {
                ledger.message(name).acked = true;
                self.outgoing.remove(at);
            }
            (wire::PUBREC, 2) => {
                ledger.message(name).acked = true;
                self.outgoing[at].released = true;
                if let Some(conn) = &mut self.conn {
                    wire::ack(&mut conn.out, wire::PUBREL, packet_id);
                }
            }
            (wire::PUBCOMP, 2) if self.outgoing[at].released => {
                self.outgoing.remove(at);
            }
            _ => ledger.fault(format!("{}: {kind:#04x} for {name:?}, which is QoS {qos}", self.id)),
        }
    }

    fn publish_more(&mut self, ledger: &mut Ledger, rng: &mut Rng) -> bool {
        let mut moved = false;
        while self.quota > 0 && self.outgoing.len() < self.window && !self.streams.is_empty() {
            let Some(conn) = &mut self.conn else { return moved };
            if conn.out.len() > 256 << 10 {
                return moved;
            }
            let stream = self.streams[rng.below(self.streams.len() as u64) as usize];
            let name = ledger.next_message(stream);
            self.last_packet_id = self.last_packet_id % 60_000 + 1;
            let outgoing = Outgoing { packet_id: self.last_packet_id, name, released: false };
            write_publish(&mut conn.out, self.version, ledger, &outgoing, false);
            self.outgoing.push_back(outgoing);
            self.quota -= 1;
            moved = true;
        }
        moved
    }
}

fn write_publish(out: &mut Vec<u8>, version: Version, ledger: &mut Ledger, outgoing: &Outgoing, dup: bool) {
    ledger.message(outgoing.name).attempts += 1;
    let stream = &ledger.streams[outgoing.name.0];
    let publish = Publish {
        dup,
        qos: stream.qos,
        retain: stream.retained,
        topic: stream.topic.clone(),
        packet_id: outgoing.packet_id,
        payload: ledger.payload(outgoing.name),
    };
    wire::publish(out, version, &publish);
}
