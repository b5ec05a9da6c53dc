//! The few MQTT packets that the test's clients need, for 3.1.1 and 5.0: written and read byte by byte, on purpose
//! without the codec of the broker that is tested.

use std::io;

/// The protocol version of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1
    V311,
    /// MQTT 5.0
    V5,
}

/// PUBACK's first byte; the others below are likewise.
pub const PUBACK: u8 = 0x40;
/// Publish received.
pub const PUBREC: u8 = 0x50;
/// Publish released.
pub const PUBREL: u8 = 0x62;
/// Publish complete.
pub const PUBCOMP: u8 = 0x70;

/// A will.
#[derive(Clone, Debug)]
pub struct Will {
    /// Where it is published.
    pub topic: String,
    /// What is published.
    pub payload: Vec<u8>,
    /// At which QoS.
    pub qos: u8,
    /// How long after the connection ended; MQTT 5.0 only.
    pub delay_s: u32,
}

/// What a CONNECT says.
#[derive(Clone, Debug)]
pub struct Connect<'a> {
    /// The protocol version.
    pub version: Version,
    /// The Client Identifier.
    pub client_id: &'a str,
    /// Clean Start, or Clean Session.
    pub clean_start: bool,
    /// Session Expiry Interval; MQTT 5.0 only.
    pub expiry_s: u32,
    /// Receive Maximum; MQTT 5.0 only.
    pub receive_max: Option<u16>,
    /// The will.
    pub will: Option<&'a Will>,
}

/// A PUBLISH, either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Sent before.
    pub dup: bool,
    /// 0 to 2.
    pub qos: u8,
    /// To be retained, or was retained.
    pub retain: bool,
    /// Where.
    pub topic: String,
    /// 0 at QoS 0.
    pub packet_id: u16,
    /// What.
    pub payload: Vec<u8>,
}

/// What a broker sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Whether the session was there, and the return or reason code.
    ConnAck(bool, u8),
    /// A message.
    Publish(Publish),
    /// One of [`PUBACK`], [`PUBREC`], [`PUBREL`], [`PUBCOMP`]; the Packet Identifier; the reason code.
    Ack(u8, u16, u8),
    /// Packet Identifier and codes.
    SubAck(u16, Vec<u8>),
    /// Packet Identifier and, in MQTT 5.0, codes.
    UnsubAck(u16, Vec<u8>),
    /// The answer to PINGREQ.
    PingResp,
    /// The reason code.
    Disconnect(u8),
}

fn text(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

fn packet(out: &mut Vec<u8>, first: u8, body: &[u8]) {
    out.push(first);
    let mut left = body.len();
    loop {
        let byte = (left % 128) as u8;
        left /= 128;
        if left == 0 {
            out.push(byte);
            break;
        }
        out.push(byte | 0x80);
    }
    out.extend_from_slice(body);
}

/// Writes a CONNECT.
pub fn connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let mut body = Vec::new();
    text(&mut body, b"MQTT");
    body.push(if connect.version == Version::V5 { 5 } else { 4 });
    let will_flags = connect.will.map_or(0, |will| 0x04 | will.qos << 3);
    body.push(will_flags | (connect.clean_start as u8) << 1);
    body.extend_from_slice(&600u16.to_be_bytes());
    if connect.version == Version::V5 {
        let mut properties = vec![0x11];
        properties.extend_from_slice(&connect.expiry_s.to_be_bytes());
        if let Some(receive_max) = connect.receive_max {
            properties.push(0x21);
            properties.extend_from_slice(&receive_max.to_be_bytes());
        }
        body.push(properties.len() as u8);
        body.extend_from_slice(&properties);
    }
    text(&mut body, connect.client_id.as_bytes());
    if let Some(will) = connect.will {
        if connect.version == Version::V5 {
            body.extend_from_slice(&[5, 0x18]);
            body.extend_from_slice(&will.delay_s.to_be_bytes());
        }
        text(&mut body, will.topic.as_bytes());
        text(&mut body, &will.payload);
    }
    packet(out, 0x10, &body);
}

/// Writes a PUBLISH.
pub fn publish(out: &mut Vec<u8>, version: Version, publish: &Publish) {
    let mut body = Vec::with_capacity(publish.payload.len() + publish.topic.len() + 8);
    text(&mut body, publish.topic.as_bytes());
    if publish.qos > 0 {
        body.extend_from_slice(&publish.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        body.push(0);
    }
    body.extend_from_slice(&publish.payload);
    packet(out, 0x30 | (publish.dup as u8) << 3 | publish.qos << 1 | publish.retain as u8, &body);
}

/// Writes a PUBACK, PUBREC, PUBREL or PUBCOMP.
pub fn ack(out: &mut Vec<u8>, kind: u8, packet_id: u16) {
    packet(out, kind, &packet_id.to_be_bytes());
}

/// Writes a SUBSCRIBE of one filter. The options are the QoS and, in MQTT 5.0, the flags above it.
pub fn subscribe(out: &mut Vec<u8>, version: Version, packet_id: u16, filter: &str, options: u8) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    text(&mut body, filter.as_bytes());
    body.push(options);
    packet(out, 0x82, &body);
}

/// Writes an UNSUBSCRIBE of one filter.
pub fn unsubscribe(out: &mut Vec<u8>, version: Version, packet_id: u16, filter: &str) {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    text(&mut body, filter.as_bytes());
    packet(out, 0xA2, &body);
}

/// Writes a PINGREQ.
pub fn pingreq(out: &mut Vec<u8>) {
    packet(out, 0xC0, &[]);
}

/// Writes a DISCONNECT: a clean one, so that no will is published.
pub fn disconnect(out: &mut Vec<u8>) {
    packet(out, 0xE0, &[]);
}

/// Bytes from a broker, cut into packets.
#[derive(Default)]
pub struct Frames {
    bytes: Vec<u8>,
    at: usize,
}

impl Frames {
    /// Takes what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next complete packet.
    pub fn next_packet(&mut self, version: Version) -> io::Result<Option<Packet>> {
        let bytes = &self.bytes[self.at..];
        let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
        let Some((len, len_bytes)) = varint(rest)? else { return Ok(None) };
        let Some(body) = rest.get(len_bytes..len_bytes + len) else { return Ok(None) };
        let packet = parse(first, body, version)?;
        self.at += 1 + len_bytes + len;
        Ok(Some(packet))
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the broker sent {what}"))
}

fn varint(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().take(4).enumerate() {
        value |= ((byte & 0x7F) as usize) << (7 * i);
        if byte < 0x80 {
            return Ok(Some((value, i + 1)));
        }
    }
    if bytes.len() >= 4 { Err(malformed("a length of more than four bytes")) } else { Ok(None) }
}

/// Splits off the properties of MQTT 5.0, which the clients of this test need not understand.
fn skip_properties(body: &[u8], version: Version) -> io::Result<&[u8]> {
    if version == Version::V311 || body.is_empty() {
        return Ok(body);
    }
    let (len, len_bytes) = varint(body)?.ok_or_else(|| malformed("cut properties"))?;
    body.get(len_bytes + len..).ok_or_else(|| malformed("cut properties"))
}

fn take_u16(body: &[u8]) -> io::Result<(u16, &[u8])> {
    let (head, rest) = body.split_first_chunk::<2>().ok_or_else(|| malformed("a packet that is cut"))?;
    Ok((u16::from_be_bytes(*head), rest))
}

fn parse(first: u8, body: &[u8], version: Version) -> io::Result<Packet> {
    Ok(match first >> 4 {
        2 => {
            let [flags, code, ..] = *body else { return Err(malformed("a cut CONNACK")) };
            Packet::ConnAck(flags & 1 != 0, code)
        }
        3 => Packet::Publish(parse_publish(first, body, version)?),
        4..=7 => {
            let (packet_id, rest) = take_u16(body)?;
            Packet::Ack(first, packet_id, rest.first().copied().unwrap_or(0))
        }
        9 => {
            let (packet_id, rest) = take_u16(body)?;
            Packet::SubAck(packet_id, skip_properties(rest, version)?.to_vec())
        }
        11 => {
            let (packet_id, rest) = take_u16(body)?;
            Packet::UnsubAck(packet_id, skip_properties(rest, version)?.to_vec())
        }
        13 => Packet::PingResp,
        14 => Packet::Disconnect(body.first().copied().unwrap_or(0)),
        other => return Err(malformed(&format!("a packet of type {other}"))),
    })
}

fn parse_publish(first: u8, body: &[u8], version: Version) -> io::Result<Publish> {
    let qos = first >> 1 & 3;
    let (len, rest) = take_u16(body)?;
    let (topic, mut rest) =
        rest.split_at_checked(len as usize).ok_or_else(|| malformed("a PUBLISH that is cut"))?;
    let mut packet_id = 0;
    if qos > 0 {
        (packet_id, rest) = take_u16(rest)?;
    }
    Ok(Publish {
        dup: first & 8 != 0,
        qos,
        retain: first & 1 != 0,
        topic: String::from_utf8(topic.to_vec()).map_err(|_| malformed("a topic that is not UTF-8"))?,
        packet_id,
        payload: skip_properties(rest, version)?.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_publish_comes_back_as_it_was_written() {
        for version in [Version::V311, Version::V5] {
            let sent = Publish {
                dup: true,
                qos: 2,
                retain: false,
                topic: "a/b".into(),
                packet_id: 513,
                payload: vec![7; 300],
            };
            let mut bytes = Vec::new();
            publish(&mut bytes, version, &sent);
            let mut frames = Frames::default();
            frames.feed(&bytes[..bytes.len() - 1]);
            assert_eq!(frames.next_packet(version).unwrap(), None);
            frames.feed(&bytes[bytes.len() - 1..]);
            assert_eq!(frames.next_packet(version).unwrap(), Some(Packet::Publish(sent)));
            assert_eq!(frames.next_packet(version).unwrap(), None);
        }
    }
}
