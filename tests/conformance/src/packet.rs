//! Reads what a server sends, and refuses every packet that a server must not send.
//!
//! Only what one packet shows by itself is judged here: flags, lengths, properties, reason codes, strings. What
//! depends on the connection is in [`crate::verify`].

use anyhow::{Context, Result, bail, ensure};

use crate::wire::{
    AUTH, CONNACK, DISCONNECT, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, UNSUBACK, Version,
    id,
};

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u32),
    Text(String),
    Binary(Vec<u8>),
    Pair(String, String),
}

/// The properties of a packet, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Properties(pub(crate) Vec<(u8, Value)>);

impl Properties {
    pub(crate) fn number(&self, id: u8) -> Option<u32> {
        self.0.iter().find_map(|(other, value)| match value {
            Value::Number(number) if *other == id => Some(*number),
            _ => None,
        })
    }

    pub(crate) fn text(&self, id: u8) -> Option<&str> {
        self.0.iter().find_map(|(other, value)| match value {
            Value::Text(text) if *other == id => Some(text.as_str()),
            _ => None,
        })
    }

    pub(crate) fn binary(&self, id: u8) -> Option<&[u8]> {
        self.0.iter().find_map(|(other, value)| match value {
            Value::Binary(bytes) if *other == id => Some(bytes.as_slice()),
            _ => None,
        })
    }

    pub(crate) fn pairs(&self) -> Vec<(&str, &str)> {
        let pair = |(_, value): &'_ (u8, Value)| matches!(value, Value::Pair(..));
        self.0
            .iter()
            .filter(|p| pair(p))
            .filter_map(|(_, value)| match value {
                Value::Pair(name, value) => Some((name.as_str(), value.as_str())),
                _ => None,
            })
            .collect()
    }

    /// The subscription identifiers, in rising order.
    pub(crate) fn subscription_ids(&self) -> Vec<u32> {
        let mut ids: Vec<u32> = self
            .0
            .iter()
            .filter_map(|(other, value)| match value {
                Value::Number(number) if *other == id::SUBSCRIPTION_ID => Some(*number),
                _ => None,
            })
            .collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn has(&self, id: u8) -> bool {
        self.0.iter().any(|(other, _)| *other == id)
    }
}

/// A PUBLISH from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) dup: bool,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) topic: String,
    /// Zero for QoS 0.
    pub(crate) packet_id: u16,
    pub(crate) properties: Properties,
    pub(crate) payload: Vec<u8>,
}

/// A packet from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    ConnAck { session_present: bool, reason: u8, properties: Properties },
    Publish(Message),
    Ack { kind: u8, packet_id: u16, reason: u8, properties: Properties },
    SubAck { packet_id: u16, reasons: Vec<u8>, properties: Properties },
    UnsubAck { packet_id: u16, reasons: Vec<u8>, properties: Properties },
    PingResp,
    Disconnect { reason: u8, properties: Properties },
    Auth { reason: u8, properties: Properties },
}

impl Packet {
    /// A name to say in a failure.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::ConnAck { reason, .. } => format!("CONNACK 0x{reason:02x}"),
            Self::Publish(message) => format!("PUBLISH on {} qos {}", message.topic, message.qos),
            Self::Ack { kind, packet_id, reason, .. } => {
                let name = ["PUBACK", "PUBREC", "PUBREL", "PUBCOMP"][usize::from(kind - PUBACK)];
                format!("{name} {packet_id} 0x{reason:02x}")
            }
            Self::SubAck { packet_id, reasons, .. } => format!("SUBACK {packet_id} {reasons:02x?}"),
            Self::UnsubAck { packet_id, reasons, .. } => format!("UNSUBACK {packet_id} {reasons:02x?}"),
            Self::PingResp => "PINGRESP".into(),
            Self::Disconnect { reason, .. } => format!("DISCONNECT 0x{reason:02x}"),
            Self::Auth { reason, .. } => format!("AUTH 0x{reason:02x}"),
        }
    }

    pub(crate) fn properties(&self) -> Option<&Properties> {
        match self {
            Self::Publish(message) => Some(&message.properties),
            Self::ConnAck { properties, .. }
            | Self::Ack { properties, .. }
            | Self::SubAck { properties, .. }
            | Self::UnsubAck { properties, .. }
            | Self::Disconnect { properties, .. }
            | Self::Auth { properties, .. } => Some(properties),
            Self::PingResp => None,
        }
    }
}

/// Length of a fixed header and remaining length, or nothing if more bytes are needed.
pub(crate) fn fixed_header(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let Some(rest) = bytes.get(1..) else { return Ok(None) };
    Ok(decode_varint(rest).context("remaining length")?.map(|(value, used)| (1 + used, value)))
}

/// Value and length of a variable byte integer, or nothing if it goes on.
fn decode_varint(bytes: &[u8]) -> Result<Option<(usize, usize)>> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            // MQTT-1.5.5-1: the minimum number of bytes.
            ensure!(index == 0 || *byte != 0, "a variable byte integer is longer than it must be");
            return Ok(Some((value, index + 1)));
        }
    }
    ensure!(bytes.len() < 4, "a variable byte integer has more than four bytes");
    Ok(None)
}

/// Decodes and verifies one packet.
pub(crate) fn decode(version: Version, first: u8, body: &[u8]) -> Result<Packet> {
    let kind = first >> 4;
    let flags = first & 0x0f;
    let mut input = Input { version, rest: body };
    // MQTT-2.1.3-1 (5.0) and MQTT-2.2.2-1 (3.1.1): reserved flags have the value listed.
    let expected = if kind == PUBREL { 2 } else { 0 };
    ensure!(kind == PUBLISH || flags == expected, "packet type {kind} with header flags {flags:04b}");
    let packet = match kind {
        CONNACK => connack(&mut input)?,
        PUBLISH => publish(&mut input, flags)?,
        PUBACK..=PUBCOMP => acknowledgement(&mut input, kind)?,
        SUBACK | UNSUBACK => subscription_acknowledgement(&mut input, kind)?,
        PINGRESP => Packet::PingResp,
        DISCONNECT | AUTH if version == Version::V5 => last_words(&mut input, kind)?,
        other => bail!("a server must not send packet type {other} in {version}"),
    };
    ensure!(input.rest.is_empty(), "{} has {} bytes too many", packet.name(), input.rest.len());
    Ok(packet)
}

fn connack(input: &mut Input<'_>) -> Result<Packet> {
    let flags = input.byte()?;
    ensure!(flags <= 1, "reserved bits of the CONNACK flags are set: {flags:08b}");
    let reason = input.byte()?;
    let legal: &[u8] = match input.version {
        Version::V311 => &[0, 1, 2, 3, 4, 5],
        Version::V5 => &[
            0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8c, 0x90, 0x95, 0x97,
            0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9f,
        ],
    };
    ensure!(legal.contains(&reason), "CONNACK with illegal reason 0x{reason:02x}");
    ensure!(flags == 0 || reason == 0, "Session Present in a CONNACK with reason 0x{reason:02x}");
    let properties = input.properties(CONNACK)?;
    Ok(Packet::ConnAck { session_present: flags == 1, reason, properties })
}

fn publish(input: &mut Input<'_>, flags: u8) -> Result<Packet> {
    let (dup, qos, retain) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
    ensure!(qos < 3, "PUBLISH with QoS 3");
    ensure!(qos > 0 || !dup, "PUBLISH with QoS 0 and DUP");
    let topic = input.text().context("topic name")?;
    ensure!(!topic.contains(['+', '#']), "PUBLISH to a topic name with a wildcard: {topic}");
    let packet_id = if qos > 0 { input.packet_id()? } else { 0 };
    let properties = input.properties(PUBLISH)?;
    ensure!(!topic.is_empty() || properties.has(id::TOPIC_ALIAS), "PUBLISH with an empty topic name");
    let payload = std::mem::take(&mut input.rest).to_vec();
    Ok(Packet::Publish(Message { dup, qos, retain, topic, packet_id, properties, payload }))
}

fn acknowledgement(input: &mut Input<'_>, kind: u8) -> Result<Packet> {
    let packet_id = input.packet_id()?;
    let (mut reason, mut properties) = (0, Properties::default());
    if input.version == Version::V5 && !input.rest.is_empty() {
        reason = input.byte()?;
        if !input.rest.is_empty() {
            properties = input.properties(kind)?;
        }
    }
    let legal: &[u8] = match kind {
        PUBACK | PUBREC => &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
        _ => &[0x00, 0x92],
    };
    let packet = Packet::Ack { kind, packet_id, reason, properties };
    ensure!(legal.contains(&reason), "{} has an illegal reason", packet.name());
    Ok(packet)
}

fn subscription_acknowledgement(input: &mut Input<'_>, kind: u8) -> Result<Packet> {
    let packet_id = input.packet_id()?;
    let properties = input.properties(kind)?;
    let reasons = std::mem::take(&mut input.rest).to_vec();
    let legal: &[u8] = match (kind, input.version) {
        (SUBACK, Version::V311) => &[0, 1, 2, 0x80],
        (SUBACK, Version::V5) => &[0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
        (_, Version::V311) => &[],
        (_, Version::V5) => &[0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
    };
    for reason in &reasons {
        ensure!(legal.contains(reason), "packet type {kind} with illegal reason 0x{reason:02x}");
    }
    Ok(match kind {
        SUBACK => Packet::SubAck { packet_id, reasons, properties },
        _ => Packet::UnsubAck { packet_id, reasons, properties },
    })
}

fn last_words(input: &mut Input<'_>, kind: u8) -> Result<Packet> {
    let (mut reason, mut properties) = (0, Properties::default());
    if !input.rest.is_empty() {
        reason = input.byte()?;
        if !input.rest.is_empty() {
            properties = input.properties(kind)?;
        }
    }
    if kind == AUTH {
        ensure!([0x00, 0x18].contains(&reason), "AUTH from a server with reason 0x{reason:02x}");
        return Ok(Packet::Auth { reason, properties });
    }
    let legal: &[u8] = &[
        0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
        0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2,
    ];
    ensure!(legal.contains(&reason), "DISCONNECT from a server with reason 0x{reason:02x}");
    Ok(Packet::Disconnect { reason, properties })
}

/// How a property is encoded.
enum Form {
    One,
    Two,
    Four,
    Variable,
    Text,
    Binary,
    Pair,
}

/// The packets in which a server may send a property, and the property's form.
fn property_rule(id: u8) -> Option<(&'static [u8], Form)> {
    use Form::{Binary, Four, One, Pair, Text, Two, Variable};
    const EVERY: &[u8] =
        &[CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH];
    const REASON: &[u8] = &[CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH];
    Some(match id {
        id::PAYLOAD_FORMAT => (&[PUBLISH], One),
        id::MESSAGE_EXPIRY => (&[PUBLISH], Four),
        id::CONTENT_TYPE | id::RESPONSE_TOPIC => (&[PUBLISH], Text),
        id::CORRELATION_DATA => (&[PUBLISH], Binary),
        id::SUBSCRIPTION_ID => (&[PUBLISH], Variable),
        // MQTT-3.14.2-2: never in a DISCONNECT from the server.
        id::SESSION_EXPIRY => (&[CONNACK], Four),
        id::ASSIGNED_CLIENT_ID | id::RESPONSE_INFO => (&[CONNACK], Text),
        id::SERVER_KEEP_ALIVE | id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS_MAXIMUM => (&[CONNACK], Two),
        id::AUTH_METHOD => (&[CONNACK, AUTH], Text),
        id::AUTH_DATA => (&[CONNACK, AUTH], Binary),
        id::SERVER_REFERENCE => (&[CONNACK, DISCONNECT], Text),
        id::REASON_STRING => (REASON, Text),
        id::TOPIC_ALIAS => (&[PUBLISH], Two),
        id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARD_AVAILABLE
        | id::SUBSCRIPTION_ID_AVAILABLE
        | id::SHARED_AVAILABLE => (&[CONNACK], One),
        id::USER_PROPERTY => (EVERY, Pair),
        id::MAXIMUM_PACKET_SIZE => (&[CONNACK], Four),
        _ => return None,
    })
}

struct Input<'a> {
    version: Version,
    rest: &'a [u8],
}

impl Input<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let Some((head, tail)) = self.rest.split_at_checked(count) else {
            bail!("the packet ends in the middle of a field");
        };
        self.rest = tail;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn two(&mut self) -> Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn packet_id(&mut self) -> Result<u16> {
        let packet_id = self.two()?;
        ensure!(packet_id != 0, "a packet identifier of zero");
        Ok(packet_id)
    }

    fn variable(&mut self) -> Result<usize> {
        let Some((value, used)) = decode_varint(self.rest)? else {
            bail!("the packet ends in a variable byte integer");
        };
        self.take(used)?;
        Ok(value)
    }

    fn binary(&mut self) -> Result<Vec<u8>> {
        let length = usize::from(self.two()?);
        Ok(self.take(length)?.to_vec())
    }

    fn text(&mut self) -> Result<String> {
        let text = String::from_utf8(self.binary()?).context("ill-formed UTF-8")?;
        ensure!(!text.contains('\0'), "a string with U+0000");
        Ok(text)
    }

    fn properties(&mut self, kind: u8) -> Result<Properties> {
        if self.version == Version::V311 {
            return Ok(Properties::default());
        }
        let length = self.variable().context("property length")?;
        let mut inner = Input { version: self.version, rest: self.take(length)? };
        let mut properties = Properties::default();
        while !inner.rest.is_empty() {
            let id = inner.byte()?;
            let Some((packets, form)) = property_rule(id) else {
                bail!("property 0x{id:02x} is not one that a server sends");
            };
            ensure!(packets.contains(&kind), "property 0x{id:02x} in packet type {kind}");
            let repeats = id == id::USER_PROPERTY || id == id::SUBSCRIPTION_ID;
            ensure!(repeats || !properties.has(id), "property 0x{id:02x} twice in packet type {kind}");
            let value = inner.value(&form).with_context(|| format!("property 0x{id:02x}"))?;
            check_value(id, &value)?;
            properties.0.push((id, value));
        }
        Ok(properties)
    }

    fn value(&mut self, form: &Form) -> Result<Value> {
        Ok(match form {
            Form::One => Value::Number(self.byte()?.into()),
            Form::Two => Value::Number(self.two()?.into()),
            Form::Four => Value::Number(u32::from(self.two()?) << 16 | u32::from(self.two()?)),
            Form::Variable => Value::Number(self.variable()? as u32),
            Form::Text => Value::Text(self.text()?),
            Form::Binary => Value::Binary(self.binary()?),
            Form::Pair => Value::Pair(self.text()?, self.text()?),
        })
    }
}

fn check_value(id: u8, value: &Value) -> Result<()> {
    match (id, value) {
        (
            id::PAYLOAD_FORMAT
            | id::MAXIMUM_QOS
            | id::RETAIN_AVAILABLE
            | id::WILDCARD_AVAILABLE
            | id::SUBSCRIPTION_ID_AVAILABLE
            | id::SHARED_AVAILABLE,
            Value::Number(number),
        ) => ensure!(*number <= 1, "property 0x{id:02x} is {number}, neither 0 nor 1"),
        (
            id::SUBSCRIPTION_ID | id::RECEIVE_MAXIMUM | id::TOPIC_ALIAS | id::MAXIMUM_PACKET_SIZE,
            Value::Number(number),
        ) => ensure!(*number > 0, "property 0x{id:02x} is zero"),
        (id::RESPONSE_TOPIC, Value::Text(topic)) => {
            ensure!(!topic.contains(['+', '#']), "a response topic with a wildcard: {topic}");
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{field, p1, p2, p4, pstr, varint};

    fn v5(first: u8, body: &[u8]) -> Result<Packet> {
        decode(Version::V5, first, body)
    }

    fn refused(first: u8, body: &[u8], why: &str) {
        let error = format!("{:#}", v5(first, body).expect_err("the verifier must refuse this"));
        assert!(error.contains(why), "{error:?} does not mention {why:?}");
    }

    fn connack_with(properties: &[u8]) -> Vec<u8> {
        [&[0, 0][..], &varint(properties.len()), properties].concat()
    }

    #[test]
    fn a_length_longer_than_needed_is_refused() {
        assert!(fixed_header(&[0x20, 0x83, 0x00]).is_err());
        assert!(fixed_header(&[0x20, 0x80, 0x80, 0x80, 0x80]).is_err());
        assert_eq!(fixed_header(&[0x20, 0x80, 0x01]).unwrap(), Some((3, 128)));
        assert_eq!(fixed_header(&[0x20, 0x80]).unwrap(), None);
        refused(0x20, &[0, 0, 0x80, 0x00], "longer than it must be");
    }

    #[test]
    fn reserved_flags_are_refused() {
        refused(0x21, &[0, 0, 0], "header flags");
        refused(0x60, &[0, 1], "header flags");
        refused(0x20, &[2, 0, 0], "CONNACK flags");
        assert!(v5(0x62, &[0, 1]).is_ok());
    }

    #[test]
    fn illegal_reasons_are_refused() {
        refused(0x20, &[0, 0x92, 0], "illegal reason");
        refused(0x20, &[1, 0x80, 0], "Session Present");
        refused(0x40, &[0, 1, 0x92], "illegal reason");
        refused(0x70, &[0, 1, 0x10], "illegal reason");
        refused(0x90, &[0, 1, 0, 0x03], "illegal reason");
        refused(0xe0, &[0x04], "DISCONNECT");
        refused(0xf0, &[0x19], "AUTH");
        assert!(decode(Version::V311, 0x20, &[0, 6]).is_err());
        assert!(decode(Version::V311, 0xe0, &[]).is_err());
    }

    #[test]
    fn properties_out_of_place_twice_or_out_of_range_are_refused() {
        let twice = [p2(id::TOPIC_ALIAS_MAXIMUM, 1), p2(id::TOPIC_ALIAS_MAXIMUM, 1)].concat();
        refused(0x20, &connack_with(&twice), "twice");
        refused(0x20, &connack_with(&p2(id::TOPIC_ALIAS, 1)), "in packet type");
        refused(0x20, &connack_with(&p2(id::RECEIVE_MAXIMUM, 0)), "is zero");
        refused(0x20, &connack_with(&p1(id::MAXIMUM_QOS, 2)), "neither 0 nor 1");
        refused(0x20, &connack_with(&[0x7e, 0]), "not one that a server sends");
        refused(0x20, &connack_with(&pstr(id::REASON_STRING, [0xff])), "UTF-8");
        let disconnect = [&[0x8e, 5][..], &p4(id::SESSION_EXPIRY, 1)].concat();
        refused(0xe0, &disconnect, "in packet type 14");
        refused(0x20, &[0, 0], "ends in a variable byte integer");
        assert!(v5(0x20, &connack_with(&p1(id::MAXIMUM_QOS, 1))).is_ok());
    }

    #[test]
    fn publishes_are_verified() {
        let body = |topic: &[u8], rest: &[u8]| [&field(topic)[..], rest].concat();
        refused(0x36, &body(b"a", &[0, 1, 0]), "QoS 3");
        refused(0x38, &body(b"a", &[0]), "DUP");
        refused(0x32, &body(b"a", &[0, 0, 0]), "identifier of zero");
        refused(0x30, &body(b"a/+", &[0]), "wildcard");
        refused(0x30, &body(b"\xc0\x80", &[0]), "UTF-8");
        refused(0x30, &body(b"a\0", &[0]), "U+0000");
        refused(0x30, &body(b"", &[0]), "empty topic");
        refused(0xd0, &[0], "too many");
        assert!(v5(0x3b, &body(b"a", &[0, 9, 0, 1])).is_ok());
    }
}
