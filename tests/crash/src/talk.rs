//! A client that takes one step after the other and waits for each answer.

use crate::conn::Conn;
use crate::wire::{self, Connect, Packet, Publish, Version};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// A client that is connected.
pub struct Talk {
    conn: Conn,
    version: Version,
    last_packet_id: u16,
    /// Messages that came, oldest first.
    pub inbox: Vec<Publish>,
    /// Whether messages are acknowledged.
    pub acking: bool,
    /// Packet Identifiers that the broker has released.
    pub released: Vec<u16>,
}

/// A CONNECT of MQTT 5.0 with nothing special.
pub fn plain(client_id: &str, clean_start: bool, expiry_s: u32) -> Connect<'_> {
    Connect { version: Version::V5, client_id, clean_start, expiry_s, receive_max: None, will: None }
}

fn unexpected(packet: &Packet) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("unexpected: {packet:?}"))
}

impl Talk {
    /// Connects; tells whether the session was there.
    pub fn connect(address: SocketAddr, connect: &Connect<'_>) -> io::Result<(Talk, bool)> {
        let mut conn = Conn::open(address, connect.version)?;
        wire::connect(&mut conn.out, connect);
        let version = connect.version;
        match conn.wait()? {
            Packet::ConnAck(present, 0) => {
                let talk = Talk {
                    conn,
                    version,
                    last_packet_id: 0,
                    inbox: Vec::new(),
                    acking: true,
                    released: Vec::new(),
                };
                Ok((talk, present))
            }
            packet => Err(unexpected(&packet)),
        }
    }

    fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id += 1;
        self.last_packet_id
    }

    /// The next packet that is not a message or part of one's delivery; those are dealt with.
    fn answer(&mut self) -> io::Result<Packet> {
        loop {
            let packet = self.conn.wait()?;
            if let Some(packet) = self.deal_with(packet) {
                return Ok(packet);
            }
        }
    }

    fn deal_with(&mut self, packet: Packet) -> Option<Packet> {
        match packet {
            Packet::Publish(publish) => self.take(publish),
            Packet::Ack(wire::PUBREL, id, _) => {
                wire::ack(&mut self.conn.out, wire::PUBCOMP, id);
                self.released.push(id);
            }
            packet => return Some(packet),
        }
        None
    }

    fn take(&mut self, publish: Publish) {
        match publish.qos {
            1 if self.acking => wire::ack(&mut self.conn.out, wire::PUBACK, publish.packet_id),
            2 if self.acking => wire::ack(&mut self.conn.out, wire::PUBREC, publish.packet_id),
            _ => {}
        }
        self.inbox.push(publish);
    }

    /// Subscribes, with the QoS and the flags above it.
    pub fn subscribe(&mut self, filter: &str, options: u8) -> io::Result<()> {
        let id = self.next_packet_id();
        wire::subscribe(&mut self.conn.out, self.version, id, filter, options);
        match self.answer()? {
            Packet::SubAck(of, codes) if of == id && codes == [options & 3] => Ok(()),
            packet => Err(unexpected(&packet)),
        }
    }

    /// Publishes at QoS 1 or 2 and waits for the end of the handshake. Returns the Packet Identifier.
    pub fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool) -> io::Result<u16> {
        let id = self.send(topic, payload, qos, retain);
        let expected: &[u8] = if qos == 1 { &[wire::PUBACK] } else { &[wire::PUBREC, wire::PUBCOMP] };
        for kind in expected {
            match self.answer()? {
                Packet::Ack(got, of, reason) if got == *kind && of == id && reason < 0x80 => {}
                packet => return Err(unexpected(&packet)),
            }
            if *kind == wire::PUBREC {
                wire::ack(&mut self.conn.out, wire::PUBREL, id);
            }
        }
        Ok(id)
    }

    /// Publishes without waiting; the packet goes with the next step.
    pub fn send(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool) -> u16 {
        let id = self.next_packet_id();
        self.send_as(topic, payload, qos, retain, id, false);
        id
    }

    /// Publishes with a Packet Identifier of the caller's choice.
    pub fn send_as(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool, id: u16, dup: bool) {
        let payload = payload.to_vec();
        let publish = Publish { dup, qos, retain, topic: topic.into(), packet_id: id, payload };
        wire::publish(&mut self.conn.out, self.version, &publish);
    }

    /// Writes what waits.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.conn.out.is_empty() {
            self.conn.turn()?;
        }
        Ok(())
    }

    /// Waits for an acknowledgement.
    pub fn await_ack(&mut self, kind: u8, id: u16) -> io::Result<()> {
        match self.answer()? {
            Packet::Ack(got, of, reason) if got == kind && of == id && reason < 0x80 => Ok(()),
            packet => Err(unexpected(&packet)),
        }
    }

    /// Sends PUBREL and waits for the answer.
    pub fn release(&mut self, id: u16) -> io::Result<()> {
        wire::ack(&mut self.conn.out, wire::PUBREL, id);
        match self.answer()? {
            Packet::Ack(wire::PUBCOMP, of, _) if of == id => Ok(()),
            packet => Err(unexpected(&packet)),
        }
    }

    /// Waits for the answer to a PINGREQ: all that the broker had to say before has come.
    pub fn ping(&mut self) -> io::Result<()> {
        wire::pingreq(&mut self.conn.out);
        match self.answer()? {
            Packet::PingResp => Ok(()),
            packet => Err(unexpected(&packet)),
        }
    }

    /// Waits until a message with this payload has come.
    pub fn await_message(&mut self, payload: &[u8]) -> io::Result<()> {
        while !self.inbox.iter().any(|publish| publish.payload == payload) {
            let packet = self.conn.wait()?;
            if let Some(packet) = self.deal_with(packet) {
                return Err(unexpected(&packet));
            }
        }
        // What it answered must be on its way too.
        self.ping()
    }

    /// Waits until the broker has released so many messages.
    pub fn await_released(&mut self, count: usize) -> io::Result<()> {
        while self.released.len() < count {
            let packet = self.conn.wait()?;
            if let Some(packet) = self.deal_with(packet) {
                return Err(unexpected(&packet));
            }
        }
        Ok(())
    }

    /// Ends the connection cleanly, and waits until the broker has done so too.
    pub fn disconnect(mut self) {
        wire::disconnect(&mut self.conn.out);
        self.conn.wait_for_end();
    }
}
