//! A client that subscribes and unsubscribes all the time. What was acknowledged must hold after the node was killed;
//! what was under way may have happened or not.

use crate::conn::Conn;
use crate::ledger::Ledger;
use crate::rng::Rng;
use crate::talk::{Talk, plain};
use crate::wire::{self, Packet, Version};
use std::io;
use std::net::SocketAddr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    On,
    Off,
    /// A request was not answered.
    Unsure,
}

/// A durable client whose subscriptions change.
pub struct Fickle {
    id: String,
    topics: Vec<(String, State)>,
    conn: Option<Conn>,
    online: bool,
    asked: Option<(usize, State)>,
    last_packet_id: u16,
}

impl Fickle {
    /// A client with so many topics to subscribe to.
    pub fn new(id: String, topics: usize) -> Fickle {
        let topics = (0..topics).map(|i| (format!("{id}/topic/{i}"), State::Off)).collect();
        Fickle { id, topics, conn: None, online: false, asked: None, last_packet_id: 0 }
    }

    fn fence_topic(&self) -> String {
        format!("{}/fence", self.id)
    }

    /// Makes its session, with the one subscription that stays.
    pub fn set_up(&mut self, address: SocketAddr) -> io::Result<()> {
        let (mut talk, _) = Talk::connect(address, &plain(&self.id, true, 3600))?;
        talk.subscribe(&self.fence_topic(), 1)
    }

    /// Publishes to all its topics and compares what it gets with what it has subscribed to.
    pub fn check(&mut self, address: SocketAddr, prober: &mut Talk, ledger: &mut Ledger) -> io::Result<()> {
        let (mut talk, present) = Talk::connect(address, &plain(&self.id, false, 3600))?;
        if !present {
            ledger.fault(format!("{}: the session is gone", self.id));
        }
        let word = format!("{} probe {}", ledger.marker, ledger.place);
        for (topic, _) in &self.topics {
            prober.publish(topic, word.as_bytes(), 1, false)?;
        }
        let fence = format!("{} fence {}", ledger.marker, ledger.place);
        prober.publish(&self.fence_topic(), fence.as_bytes(), 1, false)?;
        talk.await_message(fence.as_bytes())?;
        for (topic, state) in &mut self.topics {
            let got = talk
                .inbox
                .iter()
                .any(|publish| publish.topic == *topic && publish.payload == word.as_bytes());
            let seen = if got { State::On } else { State::Off };
            if *state != State::Unsure && *state != seen {
                ledger.fault(format!("{}: {topic} was acknowledged as {state:?} and is {seen:?}", self.id));
            }
            *state = seen;
        }
        Ok(())
    }

    /// Connects for the load.
    pub fn connect(&mut self, address: SocketAddr) {
        self.drop_connection();
        let Ok(mut conn) = Conn::open(address, Version::V5) else { return };
        wire::connect(&mut conn.out, &plain(&self.id, false, 3600));
        self.conn = Some(conn);
    }

    /// The connection is gone; what it asked for may have happened.
    pub fn drop_connection(&mut self) {
        self.conn = None;
        self.online = false;
        self.asked = None;
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.conn.is_some()
    }

    /// Does what can be done now; asks for changes while `busy`.
    pub fn turn(&mut self, ledger: &mut Ledger, rng: &mut Rng, busy: bool) -> bool {
        let Some(conn) = &mut self.conn else { return false };
        let turned = conn.turn();
        let mut moved = matches!(turned, Ok(true));
        while let Some(Ok(Some(packet))) = self.conn.as_mut().map(Conn::next_packet) {
            moved = true;
            self.handle(ledger, packet);
        }
        if turned.is_err() || self.conn.as_ref().is_some_and(Conn::has_ended) {
            self.drop_connection();
            return moved;
        }
        if busy && self.online && self.asked.is_none() {
            self.ask(rng);
            moved = true;
        }
        moved
    }

    fn handle(&mut self, ledger: &mut Ledger, packet: Packet) {
        match packet {
            Packet::ConnAck(present, code) => {
                if !present || code != 0 {
                    ledger.fault(format!("{}: CONNACK {code:#04x}, session {present}", self.id));
                }
                self.online = true;
            }
            Packet::Publish(publish) if publish.qos == 1 => {
                if let Some(conn) = &mut self.conn {
                    wire::ack(&mut conn.out, wire::PUBACK, publish.packet_id);
                }
            }
            Packet::SubAck(_, codes) | Packet::UnsubAck(_, codes) => {
                if codes.iter().any(|code| *code >= 0x80) {
                    ledger.fault(format!("{}: a request was refused: {codes:?}", self.id));
                }
                if let Some((at, state)) = self.asked.take() {
                    self.topics[at].1 = state;
                }
            }
            packet => ledger.fault(format!("{}: unexpected: {packet:?}", self.id)),
        }
    }

    fn ask(&mut self, rng: &mut Rng) {
        let Some(conn) = &mut self.conn else { return };
        let at = rng.below(self.topics.len() as u64) as usize;
        self.last_packet_id = self.last_packet_id % 60_000 + 1;
        let (topic, state) = &mut self.topics[at];
        let wanted = if *state == State::On { State::Off } else { State::On };
        match wanted {
            State::On => wire::subscribe(&mut conn.out, Version::V5, self.last_packet_id, topic, 1),
            _ => wire::unsubscribe(&mut conn.out, Version::V5, self.last_packet_id, topic),
        }
        *state = State::Unsure;
        self.asked = Some((at, wanted));
    }
}
