//! Control packets in a stream of bytes, as rows. MQTT 3.1, 3.1.1 and 5.0.

use super::flows::Emit;
use crate::What;
use ravelin_mqtt::{AckKind, DecodeLimits, Packet, Publish, Sender, Version, connect_version, decode, peek};

/// Bytes of a packet that are kept; of a longer PUBLISH the rest of the payload is counted and skipped.
const PACKET_BYTES_MAX: usize = 64 << 10;
/// Aliases that a client may use in a capture.
const ALIASES_MAX: u16 = 1024;

/// One direction.
pub(super) struct Reader {
    sender: Sender,
    /// What has come of a packet.
    buffer: Vec<u8>,
    /// Bytes of a long packet that are still to come.
    skip: usize,
    /// Whether packets begin where they should: not after a gap, and not in the middle.
    in_step: bool,
    aliases: Vec<(u16, String)>,
}

/// What both directions must agree on.
#[derive(Default)]
pub(super) struct Agreed {
    pub version: Option<Version>,
}

impl Reader {
    pub fn new(sender: Sender, in_step: bool) -> Reader {
        Reader { sender, buffer: Vec::new(), skip: 0, in_step, aliases: Vec::new() }
    }

    /// Something was lost: the next packet has to be found.
    pub fn gap(&mut self) {
        self.buffer.clear();
        self.skip = 0;
        self.in_step = false;
    }

    /// Takes bytes, and emits the packets that are whole.
    pub fn handle(&mut self, bytes: &[u8], agreed: &mut Agreed, emit: &mut impl Emit) {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        let bytes = &bytes[skipped..];
        if !self.in_step {
            // A packet mostly begins with a segment: what was cut does not help to find it.
            self.buffer.clear();
            if !self.fits(bytes, agreed) {
                return;
            }
            self.in_step = true;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut rest = if buffer.is_empty() {
            bytes
        } else {
            buffer.extend_from_slice(bytes);
            &buffer[..]
        };
        while !rest.is_empty() {
            match self.packet(rest, agreed, emit) {
                Some(0) | None => break,
                Some(count) => rest = &rest[count..],
            }
        }
        if self.in_step {
            self.buffer = rest.to_vec();
        }
    }

    /// Whether a packet of this direction could begin here.
    fn fits(&self, bytes: &[u8], agreed: &Agreed) -> bool {
        let Ok(Some(frame)) = peek(bytes, u32::MAX) else { return false };
        if frame.total_len > bytes.len() {
            // A long PUBLISH may go on in the next segment; nothing else is so long.
            return frame.first >> 4 == 3 && bytes.len() > 256;
        }
        let body = &bytes[frame.header_len..frame.total_len];
        let fits = |version| {
            let decoded = decode(frame.first, body, version, self.sender, &limits());
            matches!(decoded, Ok(ref packet) if !matches!(packet, Packet::Publish(Publish { topic: "", .. })))
        };
        match agreed.version {
            Some(version) => fits(version),
            None => fits(Version::V311) || fits(Version::V5),
        }
    }

    /// Reads the first packet: how many bytes it has, 0 if it is not whole, `None` if nothing can be read any more.
    fn packet(&mut self, bytes: &[u8], agreed: &mut Agreed, emit: &mut impl Emit) -> Option<usize> {
        let frame = match peek(bytes, u32::MAX) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Some(0),
            Err(_) => return self.malformed(emit),
        };
        let kept = frame.total_len.min(PACKET_BYTES_MAX);
        if bytes.len() < kept {
            return Some(0);
        }
        let is_publish = frame.first >> 4 == 3;
        if frame.total_len > PACKET_BYTES_MAX && !is_publish {
            return self.malformed(emit);
        }
        let body = &bytes[frame.header_len..kept];
        let cut = frame.total_len - kept;
        if !self.decoded(frame.first, body, cut, agreed, emit) {
            return self.malformed(emit);
        }
        let there = frame.total_len.min(bytes.len());
        self.skip = frame.total_len - there;
        Some(there)
    }

    fn malformed(&mut self, emit: &mut impl Emit) -> Option<usize> {
        self.gap();
        emit.row(What::Malformed, self.sender == Sender::Client, |_| {});
        None
    }

    fn decoded(
        &mut self,
        first: u8,
        body: &[u8],
        cut: usize,
        agreed: &mut Agreed,
        emit: &mut impl Emit,
    ) -> bool {
        let from_client = self.sender == Sender::Client;
        let limits = limits();
        if first >> 4 == 1 && from_client {
            return connect(first, body, &limits, agreed, emit);
        }
        let version = agreed.version.unwrap_or_else(|| {
            // In the middle of a connection: the version under which it can be read.
            let v311 = decode(first, body, Version::V311, self.sender, &limits).is_ok();
            if v311 { Version::V311 } else { Version::V5 }
        });
        let Ok(packet) = decode(first, body, version, self.sender, &limits) else { return false };
        match packet {
            Packet::Publish(publish) => return self.publish(&publish, cut, emit),
            Packet::ConnAck(connack) => {
                emit.row(What::ConnAck, from_client, |row| row.code = Some(connack.reason.0));
            }
            Packet::Ack(ack) => {
                let what = match ack.kind {
                    AckKind::PubAck => What::PubAck,
                    AckKind::PubRec => What::PubRec,
                    AckKind::PubRel => What::PubRel,
                    AckKind::PubComp => What::PubComp,
                };
                emit.row(what, from_client, |row| {
                    row.packet_id = ack.packet_id;
                    row.code = Some(ack.reason.0);
                });
            }
            Packet::Subscribe(subscribe) => {
                for subscription in subscribe.filters() {
                    emit.row(What::Subscribe, from_client, |row| {
                        row.packet_id = subscribe.packet_id;
                        row.topic = subscription.filter;
                        row.qos = subscription.options.qos as u8;
                    });
                }
            }
            Packet::Unsubscribe(unsubscribe) => {
                for filter in unsubscribe.filters() {
                    emit.row(What::Unsubscribe, from_client, |row| {
                        row.packet_id = unsubscribe.packet_id;
                        row.topic = filter;
                    });
                }
            }
            Packet::SubAck(suback) => {
                for &code in suback.reasons {
                    emit.row(What::SubAck, from_client, |row| {
                        row.packet_id = suback.packet_id;
                        row.code = Some(code);
                    });
                }
            }
            Packet::UnsubAck(unsuback) => {
                emit.row(What::UnsubAck, from_client, |row| row.packet_id = unsuback.packet_id);
            }
            Packet::PingReq => emit.row(What::PingReq, from_client, |_| {}),
            Packet::PingResp => emit.row(What::PingResp, from_client, |_| {}),
            Packet::Disconnect(disconnect) => {
                emit.row(What::Disconnect, from_client, |row| row.code = Some(disconnect.reason.0));
            }
            Packet::Auth(_) => emit.row(What::Auth, from_client, |_| {}),
            Packet::Connect(_) => return false,
        }
        true
    }

    fn publish(&mut self, publish: &Publish<'_>, cut: usize, emit: &mut impl Emit) -> bool {
        let mut topic = publish.topic;
        if let Some(alias) = publish.topic_alias {
            let known = self.aliases.iter().position(|(known, _)| *known == alias);
            match known {
                Some(at) if topic.is_empty() => topic = &self.aliases[at].1,
                Some(at) => self.aliases[at].1 = topic.into(),
                None if !topic.is_empty() && alias <= ALIASES_MAX => self.aliases.push((alias, topic.into())),
                None => {}
            }
        }
        emit.row(What::Publish, self.sender == Sender::Client, |row| {
            row.topic = topic;
            row.qos = publish.qos as u8;
            row.retain = publish.retain;
            row.dup = publish.dup;
            row.packet_id = publish.packet_id;
            row.payload_len = u32::try_from(publish.payload.len() + cut).unwrap_or(u32::MAX);
            row.payload = publish.payload;
        });
        true
    }
}

/// What a broker at its most generous would read: a capture shows what came, not what is allowed here.
fn limits() -> DecodeLimits {
    DecodeLimits {
        properties_bytes_max: PACKET_BYTES_MAX as u32,
        client_id_bytes_max: u16::MAX,
        username_bytes_max: u16::MAX,
        password_bytes_max: u16::MAX,
        topic_bytes_max: u16::MAX,
        ..DecodeLimits::default()
    }
}

/// Whether a connection that begins with these bytes is one of MQTT.
pub(super) fn is_connect(bytes: &[u8]) -> bool {
    let Ok(Some(frame)) = peek(bytes, u32::MAX) else { return false };
    let body = &bytes[frame.header_len.min(bytes.len())..];
    frame.first == 0x10 && (body.starts_with(b"\x00\x04MQTT") || body.starts_with(b"\x00\x06MQIsdp"))
}

fn connect(first: u8, body: &[u8], limits: &DecodeLimits, agreed: &mut Agreed, emit: &mut impl Emit) -> bool {
    // MQTT 3.1 is 3.1.1 under another name, as far as a CONNECT goes.
    let renamed: Vec<u8>;
    let body = match body.strip_prefix(b"\x00\x06MQIsdp\x03") {
        Some(rest) => {
            renamed = [b"\x00\x04MQTT\x04", rest].concat();
            &renamed[..]
        }
        None => body,
    };
    agreed.version = agreed.version.or(connect_version(body));
    let Ok(Packet::Connect(connect)) = decode(first, body, Version::V5, Sender::Client, limits) else {
        return false;
    };
    agreed.version = Some(connect.version);
    emit.client(connect.client_id);
    emit.row(What::Connect, true, |row| {
        row.user_name = connect.username.unwrap_or_default();
        row.keep_alive_s = connect.keep_alive_s;
        row.clean_start = connect.clean_start;
        row.will = connect.will.is_some();
        row.topic = connect.will.as_ref().map_or("", |will| will.topic);
    });
    true
}
