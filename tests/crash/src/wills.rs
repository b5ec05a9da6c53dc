//! Clients with wills. Whoever was connected when the node was killed has its will published, once; whoever left cleanly
//! has not.

use crate::conn::Conn;
use crate::ledger::{Ledger, Name};
use crate::rng::Rng;
use crate::talk::{Talk, plain};
use crate::wire::{self, Connect, Packet, Version, Will};
use std::io;
use std::net::SocketAddr;

/// A client that is connected, or connects.
struct Mourner {
    conn: Conn,
    will: Name,
}

/// The clients with wills of one run.
#[derive(Default)]
pub struct Wills {
    connected: Vec<Mourner>,
    /// Those that left cleanly, until that is surely durable.
    left: Vec<Name>,
    made: usize,
}

impl Wills {
    /// A new will, as a stream of its own with one message.
    fn make(&mut self, ledger: &mut Ledger, rng: &mut Rng) -> (Name, Will) {
        self.made += 1;
        let qos = 1 + rng.below(2) as u8;
        let topic = format!("{}/will/{}", ledger.marker, self.made);
        let stream = ledger.add_stream(topic.clone(), qos, 100);
        ledger.streams[stream].ordered = false;
        let name = ledger.next_message(stream);
        // At QoS 1 a will may come twice, as a message may that was sent twice.
        ledger.message(name).attempts = if qos == 1 { 2 } else { 1 };
        (name, Will { topic, payload: ledger.payload(name), qos, delay_s: 0 })
    }

    /// Opens a connection with a will.
    pub fn open(&mut self, address: SocketAddr, ledger: &mut Ledger, rng: &mut Rng) {
        let (name, will) = self.make(ledger, rng);
        let id = format!("{}-will-{}", ledger.marker, self.made);
        let version = if rng.percent(50) { Version::V5 } else { Version::V311 };
        let expiry_s = if rng.percent(50) { 3600 } else { 0 };
        let connect = Connect {
            version,
            client_id: &id,
            clean_start: version == Version::V311 && expiry_s == 0,
            expiry_s,
            receive_max: None,
            will: Some(&will),
        };
        let Ok(mut conn) = Conn::open(address, version) else { return };
        wire::connect(&mut conn.out, &connect);
        self.connected.push(Mourner { conn, will: name });
    }

    /// Connects a client with a will and leaves cleanly.
    pub fn come_and_go(&mut self, address: SocketAddr, ledger: &mut Ledger, rng: &mut Rng) -> io::Result<()> {
        let (name, will) = self.make(ledger, rng);
        let id = format!("{}-will-{}", ledger.marker, self.made);
        let connect =
            Connect { will: Some(&will), ..plain(&id, true, if rng.percent(50) { 3600 } else { 0 }) };
        let (talk, _) = Talk::connect(address, &connect)?;
        talk.disconnect();
        self.left.push(name);
        Ok(())
    }

    /// Two messages, one after the other, were made durable since the clients left: so their leaving is durable too,
    /// whichever worker wrote it.
    pub fn all_that_left_is_durable(&mut self, ledger: &mut Ledger) {
        for name in self.left.drain(..) {
            ledger.message(name).forbidden = true;
        }
    }

    /// Does what can be done now. Once CONNACK came, the will is the broker's to publish.
    pub fn turn(&mut self, ledger: &mut Ledger) -> bool {
        let mut moved = false;
        self.connected.retain_mut(|mourner| {
            let turned = mourner.conn.turn();
            moved |= matches!(turned, Ok(true));
            while let Ok(Some(packet)) = mourner.conn.next_packet() {
                match packet {
                    Packet::ConnAck(_, 0) => ledger.message(mourner.will).acked = true,
                    packet => ledger.fault(format!("will {:?}: unexpected: {packet:?}", mourner.will)),
                }
            }
            turned.is_ok() && !mourner.conn.has_ended()
        });
        moved
    }

    /// Breaks one connection, so that its will is due at once.
    pub fn break_one(&mut self) {
        self.connected.pop();
    }

    /// Whether anyone is connected.
    pub fn is_connected(&self) -> bool {
        !self.connected.is_empty()
    }
}
