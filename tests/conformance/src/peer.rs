//! A connection of a test to the broker: sends bytes, reads and verifies packets, does the usual exchanges.
//!
//! It has no thread and no timers: a test reads when it wants to, so it also decides when to acknowledge.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::context::Context as Ctx;
use crate::packet::{self, Message, Packet, Properties};
use crate::verify::Verifier;
use crate::wire::{
    self, Connect, PINGREQ, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, Publish, Version, frame,
};

/// How long to wait for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// What came, if anything.
#[derive(Debug)]
pub(crate) enum Heard {
    Packet(Packet),
    Closed,
    Silence,
}

impl Heard {
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Packet(packet) => packet.name(),
            Self::Closed => "the end of the connection".into(),
            Self::Silence => "nothing".into(),
        }
    }
}

/// The properties and flags of the CONNACK that accepted a connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Welcome {
    pub(crate) session_present: bool,
    pub(crate) properties: Properties,
    /// The bytes of the CONNACK.
    pub(crate) size: usize,
}

/// One network connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) version: Version,
    pub(crate) welcome: Welcome,
    stream: TcpStream,
    unread: Vec<u8>,
    stash: VecDeque<Packet>,
    verifier: Verifier,
    last_id: u16,
    last_size: usize,
}

impl Peer {
    /// A network connection, without a CONNECT.
    pub(crate) fn dial(ctx: &Ctx) -> Result<Self> {
        let stream = TcpStream::connect(&ctx.address)
            .with_context(|| format!("failed to connect to {}", ctx.address))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            version: ctx.version,
            welcome: Welcome::default(),
            stream,
            unread: Vec::new(),
            stash: VecDeque::new(),
            verifier: Verifier::new(ctx.version),
            last_id: 0,
            last_size: 0,
        })
    }

    /// Connects and must be accepted.
    pub(crate) fn join(ctx: &Ctx, connect: &Connect) -> Result<Self> {
        let mut peer = Self::dial(ctx)?;
        peer.introduce(ctx, connect)?;
        peer.accepted()?;
        Ok(peer)
    }

    /// Connects; the answer is for the test to judge.
    pub(crate) fn knock(ctx: &Ctx, connect: &Connect) -> Result<(Self, Heard)> {
        let mut peer = Self::dial(ctx)?;
        peer.introduce(ctx, connect)?;
        let heard = peer.hear(PATIENCE)?;
        Ok((peer, heard))
    }

    /// Sends a CONNECT and tells the verifier what it promises.
    pub(crate) fn introduce(&mut self, ctx: &Ctx, connect: &Connect) -> Result<()> {
        if !connect.clean {
            ctx.remember(&connect.client_id);
        }
        self.verifier.promised(&connect.promise, connect.clean);
        self.send(&connect.bytes())
    }

    /// Waits for a CONNACK that accepts.
    pub(crate) fn accepted(&mut self) -> Result<()> {
        match self.hear(PATIENCE)? {
            Heard::Packet(Packet::ConnAck { session_present, reason: 0, properties }) => {
                self.welcome = Welcome { session_present, properties, size: self.last_size };
                Ok(())
            }
            other => bail!("expected a CONNACK that accepts, got {}", other.name()),
        }
    }

    /// Writes bytes as they are. A connection that the server has closed is noticed by the next read.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        match self.stream.write_all(bytes) {
            Err(error) if is_closed(error.kind()) => Ok(()),
            other => other.context("failed to send"),
        }
    }

    /// The next packet from the socket, verified.
    pub(crate) fn hear(&mut self, within: Duration) -> Result<Heard> {
        let deadline = Instant::now() + within;
        loop {
            if let Some((header, length)) = packet::fixed_header(&self.unread)?
                && self.unread.len() >= header + length
            {
                let bytes: Vec<u8> = self.unread.drain(..header + length).collect();
                let mut packet = packet::decode(self.version, bytes[0], &bytes[header..])?;
                self.verifier.heard(&mut packet, bytes.len())?;
                self.last_size = bytes.len();
                return Ok(Heard::Packet(packet));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Heard::Silence);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(Heard::Closed),
                Ok(count) => self.unread.extend(&chunk[..count]),
                Err(error) if is_closed(error.kind()) => return Ok(Heard::Closed),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("failed to read"),
            }
        }
    }

    /// The first packet that `wanted` picks; others before it are kept for later.
    pub(crate) fn wait(&mut self, what: &str, wanted: impl Fn(&Packet) -> bool) -> Result<Packet> {
        if let Some(index) = self.stash.iter().position(&wanted)
            && let Some(packet) = self.stash.remove(index)
        {
            return Ok(packet);
        }
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.hear(deadline.saturating_duration_since(Instant::now()))? {
                Heard::Packet(packet) if wanted(&packet) => return Ok(packet),
                Heard::Packet(packet @ Packet::Disconnect { .. }) => {
                    bail!("expected {what}, got {}", packet.name())
                }
                Heard::Packet(packet) => self.stash.push_back(packet),
                Heard::Closed => bail!("expected {what}, but the connection was closed"),
                Heard::Silence => bail!("expected {what}, but it did not come"),
            }
        }
    }

    /// The next PUBLISH, not acknowledged.
    pub(crate) fn arrival(&mut self) -> Result<Message> {
        match self.wait("a PUBLISH", |packet| matches!(packet, Packet::Publish(_)))? {
            Packet::Publish(message) => Ok(message),
            other => bail!("expected a PUBLISH, got {}", other.name()),
        }
    }

    /// The next PUBLISH, acknowledged according to its QoS.
    pub(crate) fn message(&mut self) -> Result<Message> {
        let message = self.arrival()?;
        self.accept(&message)?;
        Ok(message)
    }

    /// Messages up to the one with the payload `last`, which is left out; each is acknowledged.
    pub(crate) fn until(&mut self, last: &str) -> Result<Vec<Message>> {
        let mut messages = Vec::new();
        loop {
            let message = self.message().with_context(|| format!("waiting for the message {last:?}"))?;
            if message.payload == last.as_bytes() {
                return Ok(messages);
            }
            messages.push(message);
        }
    }

    /// Does the receiver's part of the QoS exchange.
    pub(crate) fn accept(&mut self, message: &Message) -> Result<()> {
        match message.qos {
            0 => Ok(()),
            1 => self.ack(PUBACK, message.packet_id, 0),
            _ => {
                self.ack(PUBREC, message.packet_id, 0)?;
                self.expect_ack(PUBREL, message.packet_id)?;
                self.ack(PUBCOMP, message.packet_id, 0)
            }
        }
    }

    pub(crate) fn ack(&mut self, kind: u8, packet_id: u16, reason: u8) -> Result<()> {
        self.verifier.acknowledged(kind, packet_id, reason);
        self.send(&wire::ack(self.version, kind, packet_id, reason))
    }

    /// Waits for an acknowledgement and gives its reason.
    pub(crate) fn expect_ack(&mut self, wanted: u8, expected: u16) -> Result<u8> {
        let what = format!("packet type {wanted} for {expected}");
        let packet = self.wait(
            &what,
            |packet| matches!(packet, Packet::Ack { kind, packet_id, .. } if (*kind, *packet_id) == (wanted, expected)),
        )?;
        match packet {
            Packet::Ack { reason, .. } => Ok(reason),
            other => bail!("expected {what}, got {}", other.name()),
        }
    }

    /// A packet identifier that this connection has not used.
    pub(crate) fn next_id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }

    /// Publishes and completes the exchange; an error reason is a failure.
    pub(crate) fn publish(
        &mut self,
        topic: impl AsRef<[u8]>,
        qos: u8,
        payload: impl AsRef<[u8]>,
    ) -> Result<()> {
        let publish = Publish::new(self.version, topic, payload).qos(qos);
        let reason = self.deliver(publish)?;
        ensure!(reason < 0x80, "a PUBLISH was refused with 0x{reason:02x}");
        Ok(())
    }

    /// Publishes, completes the exchange and gives the reason of PUBACK or PUBREC.
    pub(crate) fn deliver(&mut self, mut publish: Publish) -> Result<u8> {
        if publish.qos > 0 && publish.packet_id == 0 {
            publish.packet_id = self.next_id();
        }
        self.send(&publish.bytes())?;
        let packet_id = publish.packet_id;
        match publish.qos {
            0 => Ok(0),
            1 => self.expect_ack(PUBACK, packet_id),
            _ => {
                let reason = self.expect_ack(PUBREC, packet_id)?;
                if reason < 0x80 {
                    self.ack(PUBREL, packet_id, 0)?;
                    self.expect_ack(PUBCOMP, packet_id)?;
                }
                Ok(reason)
            }
        }
    }

    /// Subscribes to one filter and gives the granted QoS; a refusal is a failure.
    pub(crate) fn subscribe(&mut self, filter: impl AsRef<[u8]>, options: u8) -> Result<u8> {
        let reasons = self.subscribe_all(&[], &[(filter, options)])?;
        ensure!(reasons.len() == 1, "SUBACK with {} reasons for one filter", reasons.len());
        ensure!(reasons[0] < 0x80, "a SUBSCRIBE was refused with 0x{:02x}", reasons[0]);
        Ok(reasons[0])
    }

    /// Subscribes to several filters and gives the reasons.
    pub(crate) fn subscribe_all(
        &mut self,
        properties: &[u8],
        filters: &[(impl AsRef<[u8]>, u8)],
    ) -> Result<Vec<u8>> {
        let wanted = self.next_id();
        self.send(&wire::subscribe(self.version, wanted, properties, filters))?;
        let is_it =
            |packet: &Packet| matches!(packet, Packet::SubAck { packet_id, .. } if *packet_id == wanted);
        match self.wait("a SUBACK", is_it)? {
            Packet::SubAck { reasons, .. } => Ok(reasons),
            other => bail!("expected a SUBACK, got {}", other.name()),
        }
    }

    /// Unsubscribes and gives the reasons (none in 3.1.1).
    pub(crate) fn unsubscribe(&mut self, filters: &[impl AsRef<[u8]>]) -> Result<Vec<u8>> {
        let wanted = self.next_id();
        self.send(&wire::unsubscribe(self.version, wanted, filters))?;
        let is_it =
            |packet: &Packet| matches!(packet, Packet::UnsubAck { packet_id, .. } if *packet_id == wanted);
        match self.wait("an UNSUBACK", is_it)? {
            Packet::UnsubAck { reasons, .. } => Ok(reasons),
            other => bail!("expected an UNSUBACK, got {}", other.name()),
        }
    }

    /// Sends a PINGREQ and waits for its answer.
    pub(crate) fn ping(&mut self) -> Result<()> {
        self.send(&frame(PINGREQ << 4, &[]))?;
        self.wait("a PINGRESP", |packet| *packet == Packet::PingResp)?;
        Ok(())
    }

    /// The packets that came while waiting for others, without the ones taken since.
    pub(crate) fn leftovers(&mut self) -> Vec<Packet> {
        self.stash.drain(..).collect()
    }

    /// Waits for the server to close the connection. In MQTT 5 it may say why: with an error reason, and, if
    /// `reasons` are given, one of those. Packets that were under way before are passed over.
    pub(crate) fn closed(&mut self, reasons: &[u8]) -> Result<()> {
        let mut given = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.hear(deadline.saturating_duration_since(Instant::now()))? {
                Heard::Closed => break,
                Heard::Silence => bail!("the server did not close the connection"),
                Heard::Packet(Packet::Disconnect { reason, .. } | Packet::ConnAck { reason, .. }) => {
                    given = Some(reason);
                }
                Heard::Packet(Packet::PingResp | Packet::Publish(_)) => {}
                Heard::Packet(other) => bail!("the server answered with {} and went on", other.name()),
            }
        }
        let Some(reason) = given else { return Ok(()) };
        let least = if self.version == Version::V5 { 0x80 } else { 1 };
        ensure!(reason >= least, "closed with reason 0x{reason:02x}");
        ensure!(
            reasons.is_empty() || reasons.contains(&reason),
            "closed with reason 0x{reason:02x}, expected one of {reasons:02x?}"
        );
        Ok(())
    }

    /// Says good-bye and waits until the server has closed the connection.
    pub(crate) fn leave(self) -> Result<()> {
        self.leave_with(0, &[])
    }

    /// Says good-bye with a reason and properties, and waits until the server has closed the connection.
    pub(crate) fn leave_with(mut self, reason: u8, properties: &[u8]) -> Result<()> {
        self.send(&wire::disconnect(self.version, reason, properties))?;
        self.stream.shutdown(Shutdown::Write).ok();
        loop {
            match self.hear(PATIENCE)? {
                Heard::Closed => return Ok(()),
                Heard::Packet(_) => {}
                Heard::Silence => bail!("the server did not close the connection after a DISCONNECT"),
            }
        }
    }

    /// Breaks the connection without a good-bye and waits until the server has noticed.
    pub(crate) fn cut(mut self) -> Result<()> {
        self.stream.shutdown(Shutdown::Write).ok();
        loop {
            match self.hear(PATIENCE)? {
                Heard::Closed => return Ok(()),
                Heard::Packet(_) => {}
                Heard::Silence => bail!("the server did not close a connection that the client had closed"),
            }
        }
    }

    /// The first byte of a PUBLISH without flags, for tests that build packets by hand.
    pub(crate) const PUBLISH_FIRST: u8 = PUBLISH << 4;
}

fn is_closed(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
            | ErrorKind::UnexpectedEof
    )
}
