//! A client that sends any bytes and reads packets.

use crate::wire::{Connect, PINGREQ, ack, subscribe, subscribe_v311};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long an answer may take, on a machine that is busy.
pub const ANSWER: Duration = Duration::from_secs(10);

/// A stream of bytes.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// A packet of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The first byte.
    pub first: u8,
    /// What follows the fixed header.
    pub body: Vec<u8>,
}

impl Packet {
    /// The packet type.
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    /// The reason code of a CONNACK, an acknowledgement or a DISCONNECT; 0 where it is left out.
    pub fn reason(&self) -> u8 {
        let at = match self.kind() {
            2 => 1,
            4..=7 => 2,
            _ => 0,
        };
        self.body.get(at).copied().unwrap_or(0)
    }

    /// The Packet Identifier of an acknowledgement.
    pub fn packet_id(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// The reason codes of a SUBACK or UNSUBACK of MQTT 5.0 (whose properties are less than 128 bytes).
    pub fn reasons(&self) -> &[u8] {
        assert!(matches!(self.kind(), 9 | 11), "{self:?}");
        &self.body[3 + usize::from(self.body[2])..]
    }

    /// The topic of a PUBLISH.
    pub fn topic(&self) -> String {
        assert_eq!(self.kind(), 3, "{self:?}");
        let length = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        String::from_utf8(self.body[2..2 + length].to_vec()).expect("a topic in UTF-8")
    }

    /// The Packet Identifier of a PUBLISH of QoS 1 or 2.
    pub fn publish_id(&self) -> u16 {
        let at = 2 + self.topic().len();
        u16::from_be_bytes([self.body[at], self.body[at + 1]])
    }
}

/// A connection to the node.
pub struct Peer {
    stream: Box<dyn Stream>,
    socket: TcpStream,
    /// Where the node sees it come from.
    pub address: SocketAddr,
    input: Vec<u8>,
    v5: bool,
}

impl Peer {
    /// A TCP connection.
    pub fn open(node: SocketAddr) -> Peer {
        Peer::open_from(node, Ipv4Addr::LOCALHOST)
    }

    /// A TCP connection from this address of the loopback network, for what is limited or told for each address.
    pub fn open_from(node: SocketAddr, source: Ipv4Addr) -> Peer {
        Peer::try_open(node, source, None).expect("the node accepts connections")
    }

    /// The same, with a small receive buffer for those who do not read.
    pub fn try_open(node: SocketAddr, source: Ipv4Addr, receive_bytes: Option<usize>) -> io::Result<Peer> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
        socket.connect(&SockAddr::from(node))?;
        let socket = TcpStream::from(socket);
        socket.set_nodelay(true)?;
        Ok(Peer::over(Box::new(socket.try_clone()?), socket))
    }

    /// A connection over a stream (TLS, WebSocket) that runs on `socket`.
    pub fn over(stream: Box<dyn Stream>, socket: TcpStream) -> Peer {
        socket.set_read_timeout(Some(ANSWER)).expect("a time limit");
        socket.set_write_timeout(Some(ANSWER)).expect("a time limit");
        let address = socket.local_addr().expect("a connected socket");
        Peer { stream, socket, address, input: Vec::new(), v5: true }
    }

    /// A client that the node has accepted.
    pub fn connect(node: SocketAddr, connect: &Connect) -> Peer {
        Peer::connect_from(node, Ipv4Addr::LOCALHOST, connect)
    }

    /// A client from this address that the node has accepted.
    pub fn connect_from(node: SocketAddr, source: Ipv4Addr, connect: &Connect) -> Peer {
        let mut peer = Peer::open_from(node, source);
        let connack = peer.greet(connect).expect("an answer to CONNECT");
        assert_eq!((connack.kind(), connack.reason()), (2, 0), "{connack:?}");
        peer
    }

    /// Sends CONNECT and reads the answer.
    pub fn greet(&mut self, connect: &Connect) -> Option<Packet> {
        self.v5 = connect.level == 5;
        self.try_send(&connect.to_bytes()).ok()?;
        self.read()
    }

    /// Sends bytes that the node must take.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the node takes the bytes");
    }

    /// Sends bytes that the node may refuse to take by closing.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// The socket.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The next packet; `None` once the node has closed. Panics if neither comes.
    pub fn read(&mut self) -> Option<Packet> {
        self.read_until(Instant::now() + ANSWER)
    }

    /// The same with a time limit.
    pub fn read_until(&mut self, deadline: Instant) -> Option<Packet> {
        loop {
            if let Some(packet) = self.take_packet() {
                return Some(packet);
            }
            if !self.fill(deadline) {
                return None;
            }
        }
    }

    /// The next packet within `time`; `None` if there is none.
    pub fn poll(&mut self, time: Duration) -> Option<Packet> {
        if let Some(packet) = self.take_packet() {
            return Some(packet);
        }
        self.socket.set_read_timeout(Some(time.max(Duration::from_millis(1)))).expect("a time limit");
        let mut chunk = [0; 16 << 10];
        if let Ok(count) = self.stream.read(&mut chunk) {
            self.input.extend_from_slice(&chunk[..count]);
        }
        self.socket.set_read_timeout(Some(ANSWER)).expect("a time limit");
        self.take_packet()
    }

    /// Reads more. False: the node has closed.
    fn fill(&mut self, deadline: Instant) -> bool {
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.input.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                assert!(Instant::now() < deadline, "{}: the node neither answers nor closes", self.address);
                true
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => true,
            Err(_) => false,
        }
    }

    fn take_packet(&mut self) -> Option<Packet> {
        let (mut length, mut at) = (0usize, 1);
        loop {
            let byte = *self.input.get(at)?;
            length |= usize::from(byte & 0x7F) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if self.input.len() < at + length {
            return None;
        }
        let rest = self.input.split_off(at + length);
        let packet = std::mem::replace(&mut self.input, rest);
        Some(Packet { first: packet[0], body: packet[at..].to_vec() })
    }

    /// All that comes until the node closes, which it must.
    pub fn read_to_close(&mut self) -> Vec<Packet> {
        std::iter::from_fn(|| self.read()).collect()
    }

    /// Raw bytes until the node closes.
    pub fn read_bytes_to_close(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + ANSWER;
        while self.fill(deadline) {}
        std::mem::take(&mut self.input)
    }

    /// The node must close now. A client of MQTT 5.0 is told this reason before; one of 3.1.1 nothing.
    pub fn is_ended_with(&mut self, reason: u8) {
        self.is_ended_with_one_of(&[reason]);
    }

    /// The same with several reasons that would do.
    pub fn is_ended_with_one_of(&mut self, reasons: &[u8]) {
        let packets = self.read_to_close();
        let last = packets.last();
        if !self.v5 {
            assert!(last.is_none_or(|packet| packet.kind() != 14), "3.1.1 has no DISCONNECT from a server");
            return;
        }
        let told = last.filter(|packet| packet.kind() == 14).map(Packet::reason);
        assert!(told.is_some_and(|told| reasons.contains(&told)), "{reasons:02x?} expected: {last:02x?}");
    }

    /// Skips to the next packet of a type.
    pub fn expect(&mut self, kind: u8) -> Packet {
        loop {
            let packet = self.read().unwrap_or_else(|| panic!("closed before a packet of type {kind}"));
            if packet.kind() == kind {
                return packet;
            }
            assert_ne!(packet.kind(), 14, "disconnected before a packet of type {kind}: {packet:02x?}");
        }
    }

    /// Subscribes; the reason code.
    pub fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        let v5 = self.v5;
        self.send(&if v5 {
            subscribe(1, &[(filter, options)])
        } else {
            subscribe_v311(1, &[(filter, options)])
        });
        let suback = self.expect(9);
        *suback.body.last().expect("a reason code")
    }

    /// Everything sent before was dealt with, and the node still listens to this client.
    pub fn ping(&mut self) {
        self.send(PINGREQ);
        self.expect(13);
    }

    /// Messages until the answer to a ping, acknowledged as their QoS asks.
    pub fn drain(&mut self) -> Vec<Packet> {
        self.send(PINGREQ);
        let mut messages = Vec::new();
        loop {
            let packet = self.read().expect("an open connection");
            match packet.kind() {
                3 => {
                    match packet.first >> 1 & 3 {
                        1 => self.send(&ack(0x40, packet.publish_id())),
                        2 => self.send(&ack(0x50, packet.publish_id())),
                        _ => {}
                    }
                    messages.push(packet);
                }
                6 => self.send(&ack(0x70, packet.packet_id())),
                13 => return messages,
                kind => assert!(kind != 14, "disconnected: {packet:02x?}"),
            }
        }
    }

    /// Goes without a word.
    pub fn reset(self) {
        let socket = Socket::from(self.socket);
        socket.set_linger(Some(Duration::ZERO)).ok();
        let _ = socket.shutdown(Shutdown::Both);
    }
}
