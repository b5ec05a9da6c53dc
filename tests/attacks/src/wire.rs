//! Bytes of MQTT packets, well-formed or not: nothing here is checked.

/// Bytes from hexadecimal digits; white space is left out.
pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "half a byte in {text}");
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or_else(|| panic!("{text} is not hexadecimal"));
    digits.chunks(2).map(|pair| (digit(pair[0]) << 4 | digit(pair[1])) as u8).collect()
}

/// A length of two bytes and the bytes.
pub fn binary(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).expect("at most 65535 bytes");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A Variable Byte Integer.
pub fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let more = value >= 128;
        bytes.push((value & 0x7F) as u8 | u8::from(more) << 7);
        value >>= 7;
        if !more {
            return bytes;
        }
    }
}

/// A packet: first byte, Remaining Length, body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &varint(body.len()), body].concat()
}

/// A block of properties with its length.
pub fn properties(block: &[u8]) -> Vec<u8> {
    [&varint(block.len())[..], block].concat()
}

/// A User Property.
pub fn user_property(name: &str, value: &str) -> Vec<u8> {
    [&[0x26][..], &binary(name), &binary(value)].concat()
}

/// A will.
#[derive(Clone)]
pub struct Will {
    /// Bytes of the topic.
    pub topic: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// Properties, without their length.
    pub properties: Vec<u8>,
    /// QoS.
    pub qos: u8,
}

/// A CONNECT of MQTT 5.0 or 3.1.1.
#[derive(Clone)]
pub struct Connect {
    /// The protocol level: 5 or 4.
    pub level: u8,
    /// Client Identifier.
    pub client_id: Vec<u8>,
    /// Clean Start.
    pub clean: bool,
    /// Keep Alive.
    pub keep_alive_s: u16,
    /// Properties, without their length.
    pub properties: Vec<u8>,
    /// The will.
    pub will: Option<Will>,
    /// User Name.
    pub username: Option<Vec<u8>>,
    /// Password.
    pub password: Option<Vec<u8>>,
}

impl Connect {
    /// MQTT 5.0, clean, 60 s.
    pub fn v5(client_id: impl AsRef<[u8]>) -> Connect {
        Connect {
            level: 5,
            client_id: client_id.as_ref().to_vec(),
            clean: true,
            keep_alive_s: 60,
            properties: Vec::new(),
            will: None,
            username: None,
            password: None,
        }
    }

    /// MQTT 3.1.1, clean, 60 s.
    pub fn v311(client_id: impl AsRef<[u8]>) -> Connect {
        Connect { level: 4, ..Connect::v5(client_id) }
    }

    /// With another Keep Alive.
    pub fn keep_alive(self, keep_alive_s: u16) -> Connect {
        Connect { keep_alive_s, ..self }
    }

    /// A session that lasts: not clean, with the longest expiry.
    pub fn lasting(self) -> Connect {
        let mut connect = Connect { clean: false, ..self };
        if connect.level == 5 {
            connect.properties.extend([0x11, 0xFF, 0xFF, 0xFF, 0xFF]);
        }
        connect
    }

    /// With these properties behind those that are there.
    pub fn properties(mut self, block: &[u8]) -> Connect {
        self.properties.extend_from_slice(block);
        self
    }

    /// With a will of QoS 0.
    pub fn will(self, topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Connect {
        let (topic, payload) = (topic.as_ref().to_vec(), payload.as_ref().to_vec());
        Connect { will: Some(Will { topic, payload, properties: Vec::new(), qos: 0 }), ..self }
    }

    /// With a user name and a password.
    pub fn user(self, name: impl AsRef<[u8]>, password: impl AsRef<[u8]>) -> Connect {
        let (name, password) = (name.as_ref().to_vec(), password.as_ref().to_vec());
        Connect { username: Some(name), password: Some(password), ..self }
    }

    /// The bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 4 | will.qos << 3;
        }
        flags |= u8::from(self.username.is_some()) << 7 | u8::from(self.password.is_some()) << 6;
        let mut body = [&binary("MQTT")[..], &[self.level, flags], &self.keep_alive_s.to_be_bytes()].concat();
        if self.level == 5 {
            body.extend(properties(&self.properties));
        }
        body.extend(binary(&self.client_id));
        if let Some(will) = &self.will {
            if self.level == 5 {
                body.extend(properties(&will.properties));
            }
            body.extend(binary(&will.topic));
            body.extend(binary(&will.payload));
        }
        for field in [&self.username, &self.password].into_iter().flatten() {
            body.extend(binary(field));
        }
        packet(0x10, &body)
    }
}

/// A PUBLISH of MQTT 5.0.
#[derive(Clone)]
pub struct Publish {
    /// Bytes of the topic.
    pub topic: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: u8,
    /// Packet Identifier, for QoS 1 and 2.
    pub packet_id: u16,
    /// Retain.
    pub retain: bool,
    /// Duplicate.
    pub dup: bool,
    /// Properties, without their length.
    pub properties: Vec<u8>,
}

impl Publish {
    /// QoS 0.
    pub fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Publish {
        Publish {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            qos: 0,
            packet_id: 0,
            retain: false,
            dup: false,
            properties: Vec::new(),
        }
    }

    /// With a QoS and a Packet Identifier.
    pub fn qos(self, qos: u8, packet_id: u16) -> Publish {
        Publish { qos, packet_id, ..self }
    }

    /// Retained.
    pub fn retain(self) -> Publish {
        Publish { retain: true, ..self }
    }

    /// Sent again.
    pub fn dup(self) -> Publish {
        Publish { dup: true, ..self }
    }

    /// With these properties.
    pub fn properties(self, block: impl AsRef<[u8]>) -> Publish {
        Publish { properties: block.as_ref().to_vec(), ..self }
    }

    /// The bytes for MQTT 5.0.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.encode(true)
    }

    /// The bytes for MQTT 3.1.1.
    pub fn to_bytes_v311(&self) -> Vec<u8> {
        self.encode(false)
    }

    fn encode(&self, v5: bool) -> Vec<u8> {
        let first = 0x30 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut body = binary(&self.topic);
        if self.qos > 0 {
            body.extend(self.packet_id.to_be_bytes());
        }
        if v5 {
            body.extend(properties(&self.properties));
        }
        body.extend_from_slice(&self.payload);
        packet(first, &body)
    }
}

/// A SUBSCRIBE of MQTT 5.0: filters with their options.
pub fn subscribe<F: AsRef<[u8]>>(packet_id: u16, filters: &[(F, u8)]) -> Vec<u8> {
    subscribe_with(packet_id, &[], filters)
}

/// The same with properties.
pub fn subscribe_with<F: AsRef<[u8]>>(packet_id: u16, block: &[u8], filters: &[(F, u8)]) -> Vec<u8> {
    let mut body = [&packet_id.to_be_bytes()[..], &properties(block)].concat();
    for (filter, options) in filters {
        body.extend(binary(filter));
        body.push(*options);
    }
    packet(0x82, &body)
}

/// A SUBSCRIBE of MQTT 3.1.1.
pub fn subscribe_v311<F: AsRef<[u8]>>(packet_id: u16, filters: &[(F, u8)]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    for (filter, qos) in filters {
        body.extend(binary(filter));
        body.push(*qos);
    }
    packet(0x82, &body)
}

/// An UNSUBSCRIBE of MQTT 5.0.
pub fn unsubscribe<F: AsRef<[u8]>>(packet_id: u16, filters: &[F]) -> Vec<u8> {
    let mut body = [&packet_id.to_be_bytes()[..], &[0]].concat();
    for filter in filters {
        body.extend(binary(filter));
    }
    packet(0xA2, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP without reason code.
pub fn ack(first: u8, packet_id: u16) -> Vec<u8> {
    packet(first, &packet_id.to_be_bytes())
}

/// PINGREQ.
pub const PINGREQ: &[u8] = &[0xC0, 0];
/// DISCONNECT, reason Normal disconnection.
pub const DISCONNECT: &[u8] = &[0xE0, 0];
