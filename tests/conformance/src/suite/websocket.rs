//! MQTT over WebSocket (RFC 6455): subprotocol, kinds of frame, packets across frames.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use anyhow::{Context as _, Result, bail, ensure};

use crate::context::Context;
use crate::packet::{self, Packet};
use crate::peer::PATIENCE;
use crate::wire::{Publish, subscribe};

super::tests! {
    the_subprotocol_is_mqtt @WebSocket: ["6.0-1"] ["6.0.0-4"];
    text_frames_are_refused @WebSocket: ["6.0-1"] ["6.0.0-1"];
    packets_need_not_be_aligned_with_frames @WebSocket: ["6.0-1"] ["6.0.0-2"];
    large_packets_pass_both_ways @WebSocket: ["6.0-1"] ["6.0.0-2"];
}

// Key and answer from section 1.3 of RFC 6455.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

struct WebSocket {
    stream: TcpStream,
    unread: Vec<u8>,
    packets: Vec<u8>,
    version: crate::wire::Version,
}

impl WebSocket {
    fn open(ctx: &Context) -> Result<Self> {
        let address = ctx.websocket.as_deref().context("no address was given")?;
        let mut stream =
            TcpStream::connect(address).with_context(|| format!("failed to connect to {address}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /mqtt HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            ensure!(stream.read(&mut byte)? == 1, "the connection was closed during the handshake");
            answer.push(byte[0]);
        }
        check_handshake(&String::from_utf8_lossy(&answer))?;
        Ok(Self { stream, unread: Vec::new(), packets: Vec::new(), version: ctx.version })
    }

    fn join(ctx: &Context) -> Result<Self> {
        let mut socket = Self::open(ctx)?;
        socket.send(BINARY, true, &ctx.connect().bytes())?;
        match socket.packet()? {
            Some(Packet::ConnAck { reason: 0, .. }) => Ok(socket),
            other => bail!("expected a CONNACK that accepts, got {other:?}"),
        }
    }

    /// Sends one frame, masked as a client's must be.
    fn send(&mut self, kind: u8, last: bool, payload: &[u8]) -> Result<()> {
        let mut bytes = vec![u8::from(last) << 7 | kind];
        match payload.len() {
            length @ 0..126 => bytes.push(0x80 | length as u8),
            length @ 126..65_536 => {
                bytes.push(0x80 | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            length => {
                bytes.push(0x80 | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        let mask = [0x11, 0x22, 0x33, 0x44];
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        match self.stream.write_all(&bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                Ok(())
            }
            other => other.context("failed to send"),
        }
    }

    /// One frame from the server, or nothing if the connection has ended.
    fn frame(&mut self) -> Result<Option<(u8, Vec<u8>)>> {
        loop {
            if let Some((kind, payload, used)) = decode_frame(&self.unread)? {
                self.unread.drain(..used);
                return Ok(Some((kind, payload)));
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(count) => self.unread.extend(&chunk[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(error).context("nothing came"),
            }
        }
    }

    /// One packet, whichever frames it is in, or nothing if the connection has ended.
    fn packet(&mut self) -> Result<Option<Packet>> {
        loop {
            if let Some((header, length)) = packet::fixed_header(&self.packets)?
                && self.packets.len() >= header + length
            {
                let bytes: Vec<u8> = self.packets.drain(..header + length).collect();
                return packet::decode(self.version, bytes[0], &bytes[header..]).map(Some);
            }
            let Some((kind, payload)) = self.frame()? else { return Ok(None) };
            match kind {
                // MQTT-6.0-1 and MQTT-6.0.0-1: packets are sent in binary frames.
                BINARY | CONTINUATION => self.packets.extend(payload),
                CLOSE => return Ok(None),
                PING => self.send(PONG, true, &payload)?,
                PONG => {}
                other => bail!("the server sent a frame of type {other}"),
            }
        }
    }

    fn closed(&mut self) -> Result<()> {
        loop {
            match self.packet()? {
                None => return Ok(()),
                Some(Packet::Disconnect { reason: 0x80.., .. }) => {}
                Some(other) => bail!("the server answered with {} and went on", other.name()),
            }
        }
    }
}

fn check_handshake(answer: &str) -> Result<()> {
    let mut lines = answer.lines();
    let status = lines.next().unwrap_or_default();
    ensure!(status.starts_with("HTTP/1.1 101"), "the handshake got {status:?}");
    let headers: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let header = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
    ensure!(header("sec-websocket-accept") == Some(ACCEPT), "Sec-WebSocket-Accept is wrong");
    let protocol = header("sec-websocket-protocol");
    ensure!(protocol == Some("mqtt"), "the server selected the subprotocol {protocol:?}");
    Ok(())
}

/// Type, payload and length of a frame, or nothing if more bytes are needed.
fn decode_frame(bytes: &[u8]) -> Result<Option<(u8, Vec<u8>, usize)>> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    ensure!(first & 0x70 == 0, "reserved bits of a frame are set");
    ensure!(second & 0x80 == 0, "a server's frame is masked");
    let wide = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some((length, rest)) = rest.split_at_checked(wide) else { return Ok(None) };
    let length = match wide {
        0 => usize::from(second & 0x7f),
        _ => length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
    };
    Ok(rest.get(..length).map(|payload| (first & 0x0f, payload.to_vec(), 2 + wide + length)))
}

fn the_subprotocol_is_mqtt(ctx: &Context) -> Result<()> {
    let mut socket = WebSocket::join(ctx)?;
    socket.send(BINARY, true, &[0xc0, 0])?;
    ensure!(socket.packet()? == Some(Packet::PingResp), "no answer to a PINGREQ");
    Ok(())
}

fn text_frames_are_refused(ctx: &Context) -> Result<()> {
    let mut socket = WebSocket::join(ctx)?;
    socket.send(TEXT, true, &[0x30, 4, 0, 1, b'a', b'x'])?;
    socket.closed()?;
    let mut socket = WebSocket::open(ctx)?;
    socket.send(TEXT, true, &ctx.connect().bytes())?;
    socket.closed()
}

fn packets_need_not_be_aligned_with_frames(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut socket = WebSocket::open(ctx)?;
    for byte in ctx.connect().bytes() {
        socket.send(BINARY, true, &[byte])?;
    }
    ensure!(matches!(socket.packet()?, Some(Packet::ConnAck { reason: 0, .. })), "not accepted");
    // Two packets and a half in a frame, the rest in fragments of another, with a ping between them.
    let publish = |payload| Publish::new(ctx.version, &topic, payload).bytes();
    let all = [subscribe(ctx.version, 1, &[], &[(&topic, 0)]), publish("x"), publish("y")].concat();
    let (head, tail) = all.split_at(all.len() - 5);
    socket.send(BINARY, true, head)?;
    socket.send(BINARY, false, &tail[..2])?;
    socket.send(PING, true, b"between")?;
    socket.send(CONTINUATION, true, &tail[2..])?;
    // Section 3.8.4 permits messages of the subscription before its SUBACK.
    let (mut subscribed, mut payloads) = (false, Vec::new());
    while !subscribed || payloads.len() < 2 {
        match socket.packet()? {
            Some(Packet::SubAck { packet_id: 1, .. }) if !subscribed => subscribed = true,
            Some(Packet::Publish(message)) => payloads.extend(message.payload),
            other => bail!("expected a SUBACK and two PUBLISH, got {other:?}"),
        }
    }
    ensure!(payloads == b"xy", "the messages came as {:?}", String::from_utf8_lossy(&payloads));
    Ok(())
}

fn large_packets_pass_both_ways(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut socket = WebSocket::join(ctx)?;
    socket.send(BINARY, true, &subscribe(ctx.version, 1, &[], &[(&topic, 0)]))?;
    ensure!(matches!(socket.packet()?, Some(Packet::SubAck { .. })), "no SUBACK");
    for size in [100, 126, 1000, 65_000, 100_000] {
        let payload = vec![b'x'; size];
        socket.send(BINARY, true, &Publish::new(ctx.version, &topic, &payload).bytes())?;
        match socket.packet()? {
            Some(Packet::Publish(message)) if message.payload == payload => {}
            other => bail!("{size} bytes came back as {:?}", other.map(|packet| packet.name())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn handshakes_and_frames_are_judged() {
        let good = format!(
            "HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {ACCEPT}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
        );
        assert!(check_handshake(&good).is_ok());
        assert!(check_handshake(&good.replace("mqtt", "mqttv3.1")).is_err());
        assert!(check_handshake(&good.replace("101", "200")).is_err());
        assert!(decode_frame(&[0x82, 0x81, 0, 0, 0, 0, 0]).is_err());
        assert!(decode_frame(&[0xc2, 0]).is_err());
        assert_eq!(decode_frame(&[0x82, 2, 7]).unwrap(), None);
        assert_eq!(decode_frame(&[0x82, 126, 0, 1, 7, 9]).unwrap(), Some((2, vec![7], 5)));
    }
}
