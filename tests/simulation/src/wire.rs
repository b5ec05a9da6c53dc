//! Packets as a client writes and reads them.

use ravelin_mqtt::{
    Ack, AckKind, Connect, DecodeLimits, Packet, Properties, Property, PublishOut, QoS, ReasonCode, Sender,
    SubscribeOptions, Subscription, Version, Will, decode, encode_ack, encode_connect, encode_publish,
    encode_subscribe, encode_unsubscribe,
};

/// A CONNECT in the making.
#[derive(Clone, Debug)]
pub struct Login {
    /// The Client Identifier.
    pub client_id: String,
    /// The protocol version.
    pub version: Version,
    /// Clean Start.
    pub clean: bool,
    /// Session Expiry Interval.
    pub expiry_s: Option<u32>,
    /// Keep Alive.
    pub keep_alive_s: u16,
    /// Receive Maximum.
    pub receive_max: Option<u16>,
    /// Maximum Packet Size.
    pub packet_bytes_max: Option<u32>,
    /// Topic Alias Maximum.
    pub alias_max: u16,
    /// The will, its Will Delay Interval and Message Expiry Interval.
    pub will: Option<(Message, u32, Option<u32>)>,
    /// Who the client proves to be.
    pub identity: Option<&'static str>,
}

impl Login {
    /// A client of MQTT 5.0 that starts anew and leaves nothing behind.
    pub fn v5(client_id: &str) -> Login {
        Login {
            client_id: client_id.into(),
            version: Version::V5,
            clean: true,
            expiry_s: None,
            keep_alive_s: 0,
            receive_max: None,
            packet_bytes_max: None,
            alias_max: 0,
            will: None,
            identity: None,
        }
    }

    /// A client of MQTT 3.1.1 with Clean Session.
    pub fn v311(client_id: &str) -> Login {
        Login { version: Version::V311, ..Login::v5(client_id) }
    }

    /// ... whose session is kept, for an hour where the version has an expiry.
    pub fn kept(self) -> Login {
        let expiry_s = (self.version == Version::V5).then_some(3600);
        Login { clean: false, expiry_s, ..self }
    }

    /// ... with a will.
    pub fn with_will(self, will: Message, delay_s: u32) -> Login {
        Login { will: Some((will, delay_s, None)), ..self }
    }

    /// The packet's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let will = self.will.as_ref().map(|(message, delay_s, expiry_s)| Will {
            topic: &message.topic,
            payload: &message.payload,
            qos: message.qos,
            retain: message.retain,
            delay_s: *delay_s,
            expiry_s: *expiry_s,
            properties: Properties::EMPTY,
        });
        let connect = Connect {
            version: self.version,
            clean_start: self.clean,
            keep_alive_s: self.keep_alive_s,
            client_id: &self.client_id,
            will,
            username: None,
            password: None,
            session_expiry_s: self.expiry_s,
            receive_max: self.receive_max,
            packet_bytes_max: self.packet_bytes_max,
            topic_alias_max: self.alias_max,
            request_response_info: false,
            request_problem_info: true,
            auth_method: None,
            auth_data: None,
            properties: Properties::EMPTY,
        };
        let mut bytes = Vec::new();
        encode_connect(&mut bytes, &connect);
        bytes
    }
}

/// A message to publish or as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic Name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: QoS,
    /// RETAIN.
    pub retain: bool,
    /// DUP.
    pub dup: bool,
    /// Packet Identifier, 0 at QoS 0.
    pub id: u16,
    /// Message Expiry Interval.
    pub expiry_s: Option<u32>,
    /// Topic Alias.
    pub alias: Option<u16>,
    /// Subscription Identifiers.
    pub subscription_ids: Vec<u32>,
}

impl Message {
    /// A message at QoS 0, 1 or 2.
    pub fn new(topic: &str, payload: &str, qos: u8) -> Message {
        Message {
            topic: topic.into(),
            payload: payload.into(),
            qos: QoS::from_u8(qos).expect("0, 1 or 2"),
            retain: false,
            dup: false,
            id: 0,
            expiry_s: None,
            alias: None,
            subscription_ids: Vec::new(),
        }
    }

    /// ... with a Packet Identifier.
    pub fn id(self, id: u16) -> Message {
        Message { id, ..self }
    }

    /// ... with RETAIN.
    pub fn retained(self) -> Message {
        Message { retain: true, ..self }
    }

    /// ... with DUP.
    pub fn again(self) -> Message {
        Message { dup: true, ..self }
    }

    /// The payload as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).unwrap_or("(binary)")
    }
}

/// A packet that a client received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are those of the packet")]
pub enum Got {
    ConnAck { present: bool, reason: ReasonCode, expiry_s: Option<u32>, keep_alive_s: Option<u16> },
    Publish(Message),
    Ack { kind: AckKind, id: u16, reason: ReasonCode },
    SubAck { id: u16, reasons: Vec<u8> },
    UnsubAck { id: u16, reasons: Vec<u8> },
    PingResp,
    Disconnect(ReasonCode),
    Auth,
}

impl Got {
    /// Reads a packet from the server. It must be one: what the core writes is never malformed.
    pub(crate) fn read(first: u8, body: &[u8], version: Version) -> Got {
        let limits = DecodeLimits::default();
        match decode(first, body, version, Sender::Server, &limits) {
            Ok(packet) => Got::from_packet(packet),
            Err(error) => panic!("the core wrote {first:#x} {body:?}: {error}"),
        }
    }

    fn from_packet(packet: Packet<'_>) -> Got {
        match packet {
            Packet::ConnAck(connack) => Got::ConnAck {
                present: connack.session_present,
                reason: connack.reason,
                expiry_s: connack.session_expiry_s,
                keep_alive_s: connack.server_keep_alive_s,
            },
            Packet::Publish(publish) => Got::Publish(Message {
                topic: publish.topic.into(),
                payload: publish.payload.into(),
                qos: publish.qos,
                retain: publish.retain,
                dup: publish.dup,
                id: publish.packet_id,
                expiry_s: publish.expiry_s,
                alias: publish.topic_alias,
                subscription_ids: publish
                    .properties
                    .iter()
                    .filter_map(|property| match property {
                        Property::SubscriptionId(id) => Some(id),
                        _ => None,
                    })
                    .collect(),
            }),
            Packet::Ack(ack) => Got::Ack { kind: ack.kind, id: ack.packet_id, reason: ack.reason },
            Packet::SubAck(ack) => Got::SubAck { id: ack.packet_id, reasons: ack.reasons.to_vec() },
            Packet::UnsubAck(ack) => Got::UnsubAck { id: ack.packet_id, reasons: ack.reasons.to_vec() },
            Packet::PingResp => Got::PingResp,
            Packet::Disconnect(disconnect) => Got::Disconnect(disconnect.reason),
            Packet::Auth(_) => Got::Auth,
            packet => panic!("a server does not send {packet:?}"),
        }
    }
}

/// PUBLISH.
pub fn publish(version: Version, message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    let packet = PublishOut {
        dup: message.dup,
        qos: message.qos,
        retain: message.retain,
        topic: &message.topic,
        packet_id: message.id,
        topic_alias: message.alias,
        expiry_s: message.expiry_s,
        subscription_ids: &[],
        forward: &[],
        payload: &message.payload,
    };
    encode_publish(&mut bytes, version, &packet);
    bytes
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub fn ack(version: Version, kind: AckKind, packet_id: u16, reason: ReasonCode) -> Vec<u8> {
    let mut bytes = Vec::new();
    let ack = Ack { kind, packet_id, reason, reason_string: None, properties: Properties::EMPTY };
    encode_ack(&mut bytes, version, &ack);
    bytes
}

/// SUBSCRIBE with one or more filters.
pub fn subscribe(
    version: Version,
    packet_id: u16,
    subscription_id: Option<u32>,
    filters: &[(&str, SubscribeOptions)],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let subscriptions: Vec<_> =
        filters.iter().map(|&(filter, options)| Subscription { filter, options }).collect();
    encode_subscribe(&mut bytes, version, packet_id, subscription_id, &subscriptions, Properties::EMPTY);
    bytes
}

/// UNSUBSCRIBE.
pub fn unsubscribe(version: Version, packet_id: u16, filters: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_unsubscribe(&mut bytes, version, packet_id, filters, Properties::EMPTY);
    bytes
}
