//! Builders of the bytes that a client sends, right or deliberately wrong.
//!
//! Every field of a packet can be set to something that no well-behaved client would send: this is no client
//! library, and it shares nothing with any broker.

use std::fmt;

/// The protocol version that a test speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// MQTT 3.1.1 (protocol level 4).
    V311,
    /// MQTT 5.0 (protocol level 5).
    V5,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V311 => "v3.1.1",
            Self::V5 => "v5",
        })
    }
}

pub(crate) const CONNECT: u8 = 1;
pub(crate) const CONNACK: u8 = 2;
pub(crate) const PUBLISH: u8 = 3;
pub(crate) const PUBACK: u8 = 4;
pub(crate) const PUBREC: u8 = 5;
pub(crate) const PUBREL: u8 = 6;
pub(crate) const PUBCOMP: u8 = 7;
pub(crate) const SUBSCRIBE: u8 = 8;
pub(crate) const SUBACK: u8 = 9;
pub(crate) const UNSUBSCRIBE: u8 = 10;
pub(crate) const UNSUBACK: u8 = 11;
pub(crate) const PINGREQ: u8 = 12;
pub(crate) const PINGRESP: u8 = 13;
pub(crate) const DISCONNECT: u8 = 14;
pub(crate) const AUTH: u8 = 15;

/// Property identifiers of MQTT 5.
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_ID: u8 = 0x0b;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTH_METHOD: u8 = 0x15;
    pub(crate) const AUTH_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFO: u8 = 0x17;
    pub(crate) const WILL_DELAY: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFO: u8 = 0x19;
    pub(crate) const RESPONSE_INFO: u8 = 0x1a;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1c;
    pub(crate) const REASON_STRING: u8 = 0x1f;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARD_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_ID_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_AVAILABLE: u8 = 0x2a;
}

/// A variable byte integer in its shortest form.
pub(crate) fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value % 128) as u8;
        value /= 128;
        if value == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// A two-byte length and the bytes: a string or binary data. The bytes are not checked.
pub(crate) fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let length = u16::try_from(bytes.len()).expect("a field of at most 65,535 bytes");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A whole packet: first byte, remaining length, body.
pub(crate) fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first][..], &varint(body.len()), body].concat()
}

pub(crate) fn p1(id: u8, value: u8) -> Vec<u8> {
    vec![id, value]
}

pub(crate) fn p2(id: u8, value: u16) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}

pub(crate) fn p4(id: u8, value: u32) -> Vec<u8> {
    [&[id][..], &value.to_be_bytes()].concat()
}

pub(crate) fn pvar(id: u8, value: usize) -> Vec<u8> {
    [&[id][..], &varint(value)].concat()
}

pub(crate) fn pstr(id: u8, value: impl AsRef<[u8]>) -> Vec<u8> {
    [&[id][..], &field(value)].concat()
}

pub(crate) fn ppair(name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Vec<u8> {
    [&[id::USER_PROPERTY][..], &field(name), &field(value)].concat()
}

/// Property length and properties in MQTT 5, nothing in 3.1.1.
fn properties(version: Version, bytes: &[u8]) -> Vec<u8> {
    match version {
        Version::V311 => Vec::new(),
        Version::V5 => [&varint(bytes.len())[..], bytes].concat(),
    }
}

/// The will of a CONNECT.
#[derive(Clone, Debug)]
pub(crate) struct Will {
    pub(crate) topic: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    pub(crate) properties: Vec<u8>,
}

impl Will {
    pub(crate) fn new(topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            topic: topic.as_ref().to_vec(),
            payload: payload.as_ref().to_vec(),
            qos: 0,
            retain: false,
            properties: Vec::new(),
        }
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    pub(crate) fn property(mut self, bytes: Vec<u8>) -> Self {
        self.properties.extend(bytes);
        self
    }
}

/// A CONNECT packet.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    pub(crate) version: Version,
    pub(crate) name: Vec<u8>,
    pub(crate) level: u8,
    pub(crate) first: u8,
    /// Bits to flip in the connect flags that the other fields imply.
    pub(crate) flip: u8,
    pub(crate) clean: bool,
    pub(crate) keep_alive_s: u16,
    pub(crate) properties: Vec<u8>,
    pub(crate) client_id: Vec<u8>,
    pub(crate) will: Option<Will>,
    pub(crate) user: Option<Vec<u8>>,
    pub(crate) password: Option<Vec<u8>>,
    /// What the verifier must know of the properties.
    pub(crate) promise: Promise,
}

/// What a client told the server about itself, which binds the server as a sender.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promise {
    pub(crate) packet_max: Option<u32>,
    pub(crate) alias_max: u16,
    pub(crate) receive_max: Option<u16>,
    pub(crate) no_problem_info: bool,
    pub(crate) response_info: bool,
    pub(crate) auth_method: Option<String>,
}

impl Connect {
    pub(crate) fn new(version: Version, client_id: impl AsRef<[u8]>) -> Self {
        Self {
            version,
            name: b"MQTT".to_vec(),
            level: match version {
                Version::V311 => 4,
                Version::V5 => 5,
            },
            first: CONNECT << 4,
            flip: 0,
            clean: true,
            keep_alive_s: 60,
            properties: Vec::new(),
            client_id: client_id.as_ref().to_vec(),
            will: None,
            user: None,
            password: None,
            promise: Promise::default(),
        }
    }

    /// Resume the session if there is one, and keep it for five minutes afterwards.
    pub(crate) fn persist(self) -> Self {
        self.resume().session_expiry(300)
    }

    pub(crate) fn resume(mut self) -> Self {
        self.clean = false;
        self
    }

    /// Has no effect in 3.1.1, which has no such property.
    pub(crate) fn session_expiry(self, seconds: u32) -> Self {
        self.property(p4(id::SESSION_EXPIRY, seconds))
    }

    pub(crate) fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive_s = seconds;
        self
    }

    pub(crate) fn property(mut self, bytes: Vec<u8>) -> Self {
        if self.version == Version::V5 {
            self.properties.extend(bytes);
        }
        self
    }

    pub(crate) fn packet_max(mut self, bytes: u32) -> Self {
        self.promise.packet_max = Some(bytes);
        self.property(p4(id::MAXIMUM_PACKET_SIZE, bytes))
    }

    pub(crate) fn receive_max(mut self, count: u16) -> Self {
        self.promise.receive_max = Some(count);
        self.property(p2(id::RECEIVE_MAXIMUM, count))
    }

    pub(crate) fn alias_max(mut self, count: u16) -> Self {
        self.promise.alias_max = count;
        self.property(p2(id::TOPIC_ALIAS_MAXIMUM, count))
    }

    pub(crate) fn auth(mut self, method: &str, data: Option<&[u8]>) -> Self {
        self.promise.auth_method = Some(method.to_owned());
        self = self.property(pstr(id::AUTH_METHOD, method));
        match data {
            Some(data) => self.property(pstr(id::AUTH_DATA, data)),
            None => self,
        }
    }

    pub(crate) fn no_problem_info(mut self) -> Self {
        self.promise.no_problem_info = true;
        self.property(p1(id::REQUEST_PROBLEM_INFO, 0))
    }

    pub(crate) fn will(mut self, will: Will) -> Self {
        self.will = Some(will);
        self
    }

    pub(crate) fn user(mut self, user: impl AsRef<[u8]>) -> Self {
        self.user = Some(user.as_ref().to_vec());
        self
    }

    pub(crate) fn password(mut self, password: impl AsRef<[u8]>) -> Self {
        self.password = Some(password.as_ref().to_vec());
        self
    }

    pub(crate) fn flip(mut self, bits: u8) -> Self {
        self.flip = bits;
        self
    }

    pub(crate) fn flags(&self) -> u8 {
        let mut flags = u8::from(self.clean) << 1;
        if let Some(will) = &self.will {
            flags |= 0x04 | (will.qos << 3) | (u8::from(will.retain) << 5);
        }
        flags |= u8::from(self.password.is_some()) << 6;
        flags |= u8::from(self.user.is_some()) << 7;
        flags ^ self.flip
    }

    /// The packet without its fixed header.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut body = field(&self.name);
        body.extend([self.level, self.flags()]);
        body.extend(self.keep_alive_s.to_be_bytes());
        body.extend(properties(self.version, &self.properties));
        body.extend(field(&self.client_id));
        if let Some(will) = &self.will {
            body.extend(properties(self.version, &will.properties));
            body.extend(field(&will.topic));
            body.extend(field(&will.payload));
        }
        for credential in [&self.user, &self.password].into_iter().flatten() {
            body.extend(field(credential));
        }
        body
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        frame(self.first, &self.body())
    }
}

/// A PUBLISH packet.
#[derive(Clone, Debug)]
pub(crate) struct Publish {
    pub(crate) version: Version,
    pub(crate) topic: Vec<u8>,
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
    pub(crate) packet_id: u16,
    pub(crate) properties: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Publish {
    pub(crate) fn new(version: Version, topic: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> Self {
        Self {
            version,
            topic: topic.as_ref().to_vec(),
            qos: 0,
            dup: false,
            retain: false,
            packet_id: 0,
            properties: Vec::new(),
            payload: payload.as_ref().to_vec(),
        }
    }

    pub(crate) fn qos(mut self, qos: u8) -> Self {
        self.qos = qos;
        self
    }

    pub(crate) fn packet_id(mut self, packet_id: u16) -> Self {
        self.packet_id = packet_id;
        self
    }

    pub(crate) fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    pub(crate) fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Has no effect in 3.1.1.
    pub(crate) fn property(mut self, bytes: Vec<u8>) -> Self {
        if self.version == Version::V5 {
            self.properties.extend(bytes);
        }
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let first = PUBLISH << 4 | u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        let mut body = field(&self.topic);
        if self.qos > 0 {
            body.extend(self.packet_id.to_be_bytes());
        }
        body.extend(properties(self.version, &self.properties));
        body.extend(&self.payload);
        frame(first, &body)
    }
}

/// A SUBSCRIBE packet with the given (filter, options) pairs.
pub(crate) fn subscribe(
    version: Version,
    packet_id: u16,
    props: &[u8],
    filters: &[(impl AsRef<[u8]>, u8)],
) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(properties(version, props));
    for (filter, options) in filters {
        body.extend(field(filter));
        body.push(*options);
    }
    frame(SUBSCRIBE << 4 | 2, &body)
}

/// An UNSUBSCRIBE packet with the given filters.
pub(crate) fn unsubscribe(version: Version, packet_id: u16, filters: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend(properties(version, &[]));
    for filter in filters {
        body.extend(field(filter));
    }
    frame(UNSUBSCRIBE << 4 | 2, &body)
}

/// A PUBACK, PUBREC, PUBREL or PUBCOMP. A reason code other than success exists in MQTT 5 only.
pub(crate) fn ack(version: Version, kind: u8, packet_id: u16, reason: u8) -> Vec<u8> {
    let first = kind << 4 | if kind == PUBREL { 2 } else { 0 };
    let mut body = packet_id.to_be_bytes().to_vec();
    if reason != 0 && version == Version::V5 {
        body.push(reason);
    }
    frame(first, &body)
}

/// A DISCONNECT; reason and properties exist in MQTT 5 only.
pub(crate) fn disconnect(version: Version, reason: u8, props: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    if version == Version::V5 && (reason != 0 || !props.is_empty()) {
        body.push(reason);
        body.extend(properties(version, props));
    }
    frame(DISCONNECT << 4, &body)
}

/// An AUTH packet.
pub(crate) fn auth(reason: u8, method: &str, data: Option<&[u8]>) -> Vec<u8> {
    let mut props = pstr(id::AUTH_METHOD, method);
    if let Some(data) = data {
        props.extend(pstr(id::AUTH_DATA, data));
    }
    frame(AUTH << 4, &[&[reason][..], &varint(props.len()), &props].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connect_has_the_bytes_of_the_specification() {
        let bytes = Connect::new(Version::V311, "a").keep_alive(10).bytes();
        assert_eq!(bytes, [0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 10, 0, 1, b'a']);
        let bytes = Connect::new(Version::V5, "a").resume().keep_alive(10).session_expiry(1).bytes();
        assert_eq!(bytes[..13], [0x10, 19, 0, 4, b'M', b'Q', b'T', b'T', 5, 0, 0, 10, 5]);
        assert_eq!(bytes[13..], [0x11, 0, 0, 0, 1, 0, 1, b'a']);
    }

    #[test]
    fn variable_byte_integers_are_minimal() {
        assert_eq!(varint(0), [0]);
        assert_eq!(varint(127), [127]);
        assert_eq!(varint(128), [0x80, 1]);
        assert_eq!(varint(268_435_455), [0xff, 0xff, 0xff, 0x7f]);
    }
}
