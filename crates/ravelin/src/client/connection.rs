//! One MQTT connection: CONNECT to DISCONNECT, keep alive, topic aliases, and the answers that QoS 2 asks of a receiver.
//!
//! What is acknowledged, and when, is the caller's decision: [`Connection::acknowledge`] comes after the message was dealt
//! with, so that a message is never lost between the broker and the one who wanted it.

use super::error::Error;
use super::message::Message;
use super::options::{ConnectOptions, WillOptions};
use super::property::{MessageProperties, UserProperties, user_builder};
use super::scram::Exchange;
use super::transport::{Transport, Wait};
use mio::Waker;
use ravelin_mqtt::{
    Ack, AckKind, Auth, ConnAck, Connect, DecodeLimits, Disconnect, Packet, Properties, PropertiesBuilder,
    PublishOut, QoS, ReasonCode, Sender, Subscription, Version, Will, decode, encode_ack, encode_auth,
    encode_connect, encode_disconnect, encode_pingreq, encode_publish, encode_subscribe, encode_unsubscribe,
    peek, publish_len,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the broker may take for an answer, or to take what was sent.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the broker may take to close after the DISCONNECT.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The client takes whatever the protocol allows.
const LIMITS: DecodeLimits = DecodeLimits {
    topic_levels_max: u16::MAX,
    topic_bytes_max: u16::MAX,
    user_properties_max: u16::MAX,
    properties_bytes_max: u32::MAX,
    filters_max: u16::MAX,
    client_id_bytes_max: u16::MAX,
    username_bytes_max: u16::MAX,
    password_bytes_max: u16::MAX,
};

/// What happened while waiting.
#[derive(Debug)]
pub enum Event {
    /// A packet came.
    Received(Incoming),
    /// The deadline passed.
    Deadline,
    /// Another thread called.
    Woken,
}

/// A packet that is for the caller.
#[derive(Debug)]
pub enum Incoming {
    /// A message; a QoS 2 message comes here once.
    Message(Message),
    /// PUBACK, PUBREC or PUBCOMP for a message of ours.
    Ack {
        /// Which of them.
        kind: AckKind,
        /// The packet identifier.
        packet_id: u16,
        /// The reason.
        reason: ReasonCode,
        /// The broker's words.
        text: Option<String>,
    },
    /// SUBACK: one reason code a filter.
    SubAck(Vec<ReasonCode>),
    /// UNSUBACK: one reason code a filter, or none from a 3.1.1 broker.
    UnsubAck(Vec<ReasonCode>),
}

/// What the broker's CONNACK says about it and the session.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The broker still had the session.
    pub session_present: bool,
    /// QoS 1 and 2 messages that may be unacknowledged.
    pub receive_max: u16,
    /// The highest QoS it takes.
    pub qos_max: u8,
    /// Whether it keeps retained messages.
    pub retain_available: bool,
    /// The largest packet it takes.
    pub packet_bytes_max: u32,
    /// The highest topic alias it takes.
    pub topic_alias_max: u16,
    /// The client identifier it chose.
    pub assigned_client_id: Option<String>,
}

/// The QoS 2 messages that were taken but not yet released by the broker: state of the session that outlives a connection.
#[derive(Debug, Default)]
pub struct Unreleased(HashSet<u16>);

/// A message to publish.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    /// Topic.
    pub topic: &'a str,
    /// Payload.
    pub payload: &'a [u8],
    /// QoS.
    pub qos: QoS,
    /// Retain.
    pub retain: bool,
    /// Message Expiry Interval and Topic Alias; the rest is in `forward`.
    pub properties: &'a MessageProperties,
    /// The bytes of the other properties.
    pub forward: &'a [u8],
}

/// An open connection.
pub struct Connection {
    transport: Transport,
    version: Version,
    /// What the broker said when it accepted.
    pub terms: Terms,
    /// Bytes of the largest packet to take.
    packet_bytes_max: u32,
    keep_alive: Option<Duration>,
    last_sent: Instant,
    ping_sent: Option<Instant>,
    aliases: HashMap<u16, String>,
    topic_alias_max: u16,
    unreleased: Unreleased,
    next_packet_id: u16,
    debug: bool,
}

impl Connection {
    /// Connects and waits until the broker accepts. `unreleased` comes from an earlier connection of the same session.
    pub fn open(
        options: &ConnectOptions,
        unreleased: Unreleased,
        deadline: Option<Instant>,
    ) -> Result<Connection, Error> {
        let limit = Instant::now() + ANSWER_TIMEOUT;
        let limit = deadline.map_or(limit, |deadline| deadline.min(limit));
        let transport = Transport::connect(options, limit)?;
        if options.debug {
            let tls = transport.tls_description().map(|tls| format!(", {tls}")).unwrap_or_default();
            eprintln!("connected to {}{tls}", options.address());
        }
        let mut connection = Connection {
            transport,
            version: options.version,
            terms: Terms {
                session_present: false,
                receive_max: u16::MAX,
                qos_max: 2,
                retain_available: true,
                packet_bytes_max: u32::MAX,
                topic_alias_max: 0,
                assigned_client_id: None,
            },
            packet_bytes_max: options.properties.connect.packet_bytes_max.unwrap_or(u32::MAX),
            keep_alive: Some(options.keep_alive_s).filter(|&s| s != 0).map(|s| Duration::from_secs(s.into())),
            last_sent: Instant::now(),
            ping_sent: None,
            aliases: HashMap::new(),
            topic_alias_max: options.properties.connect.topic_alias_max.unwrap_or(0),
            unreleased,
            next_packet_id: 0,
            debug: options.debug,
        };
        connection.greet(options, limit)?;
        Ok(connection)
    }

    /// What another thread calls to end a [`Connection::next`].
    pub fn waker(&self) -> Arc<Waker> {
        self.transport.waker()
    }

    /// Waits for the next packet, and keeps the connection alive meanwhile.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Event, Error> {
        loop {
            if let Some(incoming) = self.take_packet()? {
                return Ok(Event::Received(incoming));
            }
            self.flush()?;
            let alive = self.keep_alive_due()?;
            let wait = [deadline, alive].into_iter().flatten().min();
            match self.transport.wait(wait)? {
                Wait::Input => {}
                Wait::Woken => return Ok(Event::Woken),
                Wait::Closed => return Err(Error::Closed { reason: None, text: None }),
                Wait::Deadline if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    return Ok(Event::Deadline);
                }
                Wait::Deadline => {}
            }
        }
    }

    /// Whether [`Connection::next`] may have to wait: no whole packet is there.
    pub fn is_drained(&self) -> bool {
        match peek(self.transport.input(), self.packet_bytes_max) {
            Ok(Some(frame)) => self.transport.input().len() < frame.total_len,
            Ok(None) => true,
            Err(_) => false,
        }
    }

    /// Queues a message; gives its packet identifier, 0 at QoS 0. Whoever uses QoS 1 or 2 keeps to `terms.receive_max`.
    pub fn publish(&mut self, message: Outgoing<'_>) -> Result<u16, Error> {
        let packet_id = if message.qos == QoS::AtMostOnce { 0 } else { self.packet_id() };
        let publish = PublishOut {
            dup: false,
            qos: message.qos,
            retain: message.retain,
            topic: message.topic,
            packet_id,
            topic_alias: message.properties.topic_alias,
            expiry_s: message.properties.expiry_s,
            subscription_ids: &[],
            forward: message.forward,
            payload: message.payload,
        };
        // MQTT-3.2.2-15: nothing larger than the broker takes.
        let length = publish_len(self.version, &publish);
        if length > (self.terms.packet_bytes_max as usize).min(268_435_460) {
            return Err(Error::NotOffered(format!(
                "the message takes {length} bytes, the broker takes {}",
                self.terms.packet_bytes_max.min(268_435_460)
            )));
        }
        self.tell(|| {
            format!(
                "sending PUBLISH (d0, q{}, r{}, m{packet_id}, '{}', {} bytes)",
                message.qos as u8,
                u8::from(message.retain),
                message.topic,
                message.payload.len()
            )
        });
        let mut out = Vec::with_capacity(length);
        encode_publish(&mut out, self.version, &publish);
        self.send(&out)?;
        Ok(packet_id)
    }

    /// Queues the PUBREL that follows a PUBREC.
    pub fn release(&mut self, packet_id: u16) -> Result<(), Error> {
        self.send_ack(AckKind::PubRel, packet_id, ReasonCode::SUCCESS)
    }

    /// Queues the acknowledgement of a received message.
    pub fn acknowledge(&mut self, packet_id: u16, qos: QoS) -> Result<(), Error> {
        match qos {
            QoS::AtMostOnce => Ok(()),
            QoS::AtLeastOnce => self.send_ack(AckKind::PubAck, packet_id, ReasonCode::SUCCESS),
            QoS::ExactlyOnce => {
                self.unreleased.0.insert(packet_id);
                self.send_ack(AckKind::PubRec, packet_id, ReasonCode::SUCCESS)
            }
        }
    }

    /// Queues a SUBSCRIBE.
    pub fn subscribe(
        &mut self,
        subscriptions: &[Subscription<'_>],
        subscription_id: Option<u32>,
        user: &UserProperties,
    ) -> Result<(), Error> {
        self.tell(|| {
            let filters: Vec<&str> = subscriptions.iter().map(|subscription| subscription.filter).collect();
            format!("sending SUBSCRIBE ({})", filters.join(", "))
        });
        let mut out = Vec::new();
        let packet_id = self.packet_id();
        let user = user_builder(user);
        encode_subscribe(
            &mut out,
            self.version,
            packet_id,
            subscription_id,
            subscriptions,
            user.properties(),
        );
        self.send(&out)
    }

    /// Queues an UNSUBSCRIBE.
    pub fn unsubscribe(&mut self, filters: &[&str], user: &UserProperties) -> Result<(), Error> {
        self.tell(|| format!("sending UNSUBSCRIBE ({})", filters.join(", ")));
        let mut out = Vec::new();
        let packet_id = self.packet_id();
        encode_unsubscribe(&mut out, self.version, packet_id, filters, user_builder(user).properties());
        self.send(&out)
    }

    /// Writes what is queued.
    pub fn flush(&mut self) -> Result<(), Error> {
        self.transport.flush(Instant::now() + ANSWER_TIMEOUT)
    }

    /// Sends DISCONNECT and closes; what was sent before has reached the broker's side.
    pub fn disconnect(mut self, expiry_s: Option<u32>, user: &UserProperties) -> Result<(), Error> {
        self.tell(|| "sending DISCONNECT".into());
        let user = user_builder(user);
        let packet =
            Disconnect { session_expiry_s: expiry_s, properties: user.properties(), ..Disconnect::default() };
        let mut out = Vec::new();
        encode_disconnect(&mut out, self.version, &packet);
        self.send(&out)?;
        self.transport.flush(Instant::now() + ANSWER_TIMEOUT)?;
        self.transport.close(Instant::now() + CLOSE_TIMEOUT)
    }

    /// Takes what the next connection of the session has to know.
    pub fn into_unreleased(self) -> Unreleased {
        self.unreleased
    }

    fn greet(&mut self, options: &ConnectOptions, deadline: Instant) -> Result<(), Error> {
        let mut exchange = Exchange::begin(options)?;
        self.send_connect(options, exchange.as_ref())?;
        self.transport.flush(deadline)?;
        loop {
            if let Some(frame) = peek(self.transport.input(), self.packet_bytes_max)?
                && self.transport.input().len() >= frame.total_len
            {
                let body = &self.transport.input()[frame.header_len..frame.total_len];
                let reply = match decode(frame.first, body, self.version, Sender::Server, &LIMITS)? {
                    Packet::ConnAck(connack) => {
                        if !connack.reason.is_failure()
                            && let Some(exchange) = exchange.take()
                        {
                            exchange.verify(connack.auth_data)?;
                        }
                        let accepted = accept(&connack);
                        self.transport.take(frame.total_len);
                        return self.settle(accepted?);
                    }
                    Packet::Auth(auth) => answer(exchange.as_mut(), &auth)?,
                    Packet::Disconnect(disconnect) => return Err(ended(&disconnect)),
                    _ => return Err(Error::Protocol("its first packet is not a CONNACK".into())),
                };
                self.transport.take(frame.total_len);
                self.tell(|| "received AUTH, sending AUTH".into());
                self.send(&reply)?;
                self.transport.flush(deadline)?;
                continue;
            }
            match self.transport.wait(Some(deadline))? {
                Wait::Input | Wait::Woken => {}
                Wait::Closed => return Err(Error::Closed { reason: None, text: None }),
                Wait::Deadline => return Err(Error::NoAnswer("CONNECT")),
            }
        }
    }

    fn send_connect(&mut self, options: &ConnectOptions, exchange: Option<&Exchange>) -> Result<(), Error> {
        let properties = &options.properties.connect;
        let user = user_builder(&properties.user);
        let will_properties = options.will.as_ref().map(|will| will.properties.builder());
        // SCRAM proves the password; sending it as well would give it away.
        let password = options.password.as_ref().filter(|_| exchange.is_none());
        let connect = Connect {
            version: self.version,
            clean_start: options.clean_start,
            keep_alive_s: options.keep_alive_s,
            client_id: &options.client_id,
            will: options.will.as_ref().map(|options| will(options, will_properties.as_ref())),
            username: options.username.as_deref(),
            password: password.map(|password| password.expose()),
            session_expiry_s: options.session_expiry_s,
            receive_max: properties.receive_max,
            packet_bytes_max: properties.packet_bytes_max,
            topic_alias_max: properties.topic_alias_max.unwrap_or(0),
            request_response_info: properties.request_response_info.unwrap_or(false),
            request_problem_info: properties.request_problem_info.unwrap_or(true),
            auth_method: exchange.map(Exchange::method).or(properties.auth_method.as_deref()),
            auth_data: exchange.map(Exchange::first).or(properties.auth_data.as_deref()),
            properties: user.properties(),
        };
        self.tell(|| format!("sending CONNECT ({:?}, client '{}')", options.version, options.client_id));
        let mut out = Vec::new();
        encode_connect(&mut out, &connect);
        self.send(&out)
    }

    /// Takes over the terms of the CONNACK.
    fn settle(&mut self, (terms, keep_alive_s): (Terms, Option<u16>)) -> Result<(), Error> {
        if let Some(seconds) = keep_alive_s {
            // MQTT-3.1.2-21: the server's Keep Alive replaces the client's.
            self.keep_alive = Some(seconds).filter(|&s| s != 0).map(|s| Duration::from_secs(s.into()));
        }
        if !terms.session_present {
            self.unreleased.0.clear();
        }
        self.tell(|| {
            let id =
                terms.assigned_client_id.as_ref().map(|id| format!(", client id '{id}'")).unwrap_or_default();
            format!("received CONNACK (session present {}{id})", terms.session_present)
        });
        self.terms = terms;
        Ok(())
    }

    /// Takes packets from the input until one is for the caller.
    fn take_packet(&mut self) -> Result<Option<Incoming>, Error> {
        loop {
            let input = self.transport.input();
            let Some(frame) = peek(input, self.packet_bytes_max)? else { return Ok(None) };
            if input.len() < frame.total_len {
                return Ok(None);
            }
            let body = &input[frame.header_len..frame.total_len];
            let incoming = match decode(frame.first, body, self.version, Sender::Server, &LIMITS)? {
                Packet::Publish(publish) => {
                    let topic = match publish.topic_alias {
                        None => publish.topic,
                        // MQTT-3.1.2-26: no alias above what this client announced.
                        Some(alias) if alias > self.topic_alias_max => {
                            return Err(Error::Protocol(format!("topic alias {alias} was not offered")));
                        }
                        Some(alias) if publish.topic.is_empty() => {
                            self.aliases.get(&alias).ok_or_else(|| {
                                Error::Protocol(format!("topic alias {alias} stands for nothing"))
                            })?
                        }
                        Some(alias) => {
                            self.aliases.insert(alias, publish.topic.to_owned());
                            publish.topic
                        }
                    };
                    Some(Incoming::Message(Message::from_publish(&publish, topic)))
                }
                Packet::Ack(ack) => Some(Incoming::Ack {
                    kind: ack.kind,
                    packet_id: ack.packet_id,
                    reason: ack.reason,
                    text: ack.reason_string.map(str::to_owned),
                }),
                Packet::SubAck(suback) => {
                    Some(Incoming::SubAck(suback.reasons.iter().copied().map(ReasonCode).collect()))
                }
                Packet::UnsubAck(ack) => {
                    Some(Incoming::UnsubAck(ack.reasons.iter().copied().map(ReasonCode).collect()))
                }
                Packet::PingResp => {
                    self.ping_sent = None;
                    None
                }
                Packet::Disconnect(disconnect) => return Err(ended(&disconnect)),
                _ => return Err(Error::Protocol("a packet that is not for a connected client".into())),
            };
            self.transport.take(frame.total_len);
            if let Some(incoming) = incoming
                && let Some(incoming) = self.handle(incoming)?
            {
                return Ok(Some(incoming));
            }
        }
    }

    /// Answers what needs no caller: duplicates at QoS 2, and releases.
    fn handle(&mut self, incoming: Incoming) -> Result<Option<Incoming>, Error> {
        match incoming {
            Incoming::Message(message) => {
                self.tell(|| {
                    format!(
                        "received PUBLISH (d{}, q{}, r{}, m{}, '{}', {} bytes)",
                        u8::from(message.dup),
                        message.qos as u8,
                        u8::from(message.retain),
                        message.packet_id,
                        message.topic,
                        message.payload.len()
                    )
                });
                // MQTT-4.3.3-10: a packet identifier that was not released is the same message again.
                if message.qos == QoS::ExactlyOnce && self.unreleased.0.contains(&message.packet_id) {
                    self.send_ack(AckKind::PubRec, message.packet_id, ReasonCode::SUCCESS)?;
                    return Ok(None);
                }
                Ok(Some(Incoming::Message(message)))
            }
            Incoming::Ack { kind: AckKind::PubRel, packet_id, .. } => {
                self.tell(|| format!("received PUBREL (m{packet_id})"));
                // MQTT-4.3.3-11: every PUBREL is answered by a PUBCOMP.
                let reason = match self.unreleased.0.remove(&packet_id) {
                    true => ReasonCode::SUCCESS,
                    false => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
                };
                self.send_ack(AckKind::PubComp, packet_id, reason)?;
                Ok(None)
            }
            other => {
                self.tell(|| format!("received {other:?}"));
                Ok(Some(other))
            }
        }
    }

    /// Sends a PINGREQ when it is time, and says when to look again.
    fn keep_alive_due(&mut self) -> Result<Option<Instant>, Error> {
        let Some(interval) = self.keep_alive else { return Ok(None) };
        let now = Instant::now();
        if let Some(sent) = self.ping_sent {
            let limit = sent + interval;
            return if now >= limit { Err(Error::NoAnswer("PINGREQ")) } else { Ok(Some(limit)) };
        }
        // MQTT-3.1.2-20: something is sent within the Keep Alive; with room for the way there.
        let due = self.last_sent + interval.mul_f32(0.75);
        if now < due {
            return Ok(Some(due));
        }
        self.tell(|| "sending PINGREQ".into());
        let mut out = Vec::new();
        encode_pingreq(&mut out);
        self.send(&out)?;
        self.flush()?;
        self.ping_sent = Some(now);
        Ok(Some(now + interval))
    }

    fn send_ack(&mut self, kind: AckKind, packet_id: u16, reason: ReasonCode) -> Result<(), Error> {
        self.tell(|| format!("sending {kind:?} (m{packet_id}, {reason})"));
        let ack = Ack { kind, packet_id, reason, reason_string: None, properties: Properties::EMPTY };
        let mut out = Vec::new();
        encode_ack(&mut out, self.version, &ack);
        self.send(&out)
    }

    fn send(&mut self, packet: &[u8]) -> Result<(), Error> {
        self.last_sent = Instant::now();
        self.transport.send(packet)
    }

    /// The next packet identifier. The caller has at most Receive Maximum of them in use, and they are used in turn.
    fn packet_id(&mut self) -> u16 {
        self.next_packet_id = self.next_packet_id % u16::MAX + 1;
        self.next_packet_id
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.debug {
            eprintln!("{}", what());
        }
    }
}

fn will<'a>(options: &'a WillOptions, properties: Option<&'a PropertiesBuilder>) -> Will<'a> {
    Will {
        topic: &options.topic,
        payload: &options.payload,
        qos: options.qos,
        retain: options.retain,
        delay_s: options.properties.delay_s.unwrap_or(0),
        expiry_s: options.properties.expiry_s,
        properties: properties.map_or(Properties::EMPTY, PropertiesBuilder::properties),
    }
}

/// The terms of a CONNACK and the server's Keep Alive, or the refusal.
fn accept(connack: &ConnAck<'_>) -> Result<(Terms, Option<u16>), Error> {
    if connack.reason.is_failure() {
        return Err(Error::Refused {
            reason: connack.reason,
            text: connack.reason_string.map(str::to_owned),
        });
    }
    let terms = Terms {
        session_present: connack.session_present,
        receive_max: connack.receive_max.unwrap_or(u16::MAX),
        qos_max: connack.qos_max.unwrap_or(2),
        retain_available: connack.retain_available.unwrap_or(true),
        packet_bytes_max: connack.packet_bytes_max.unwrap_or(u32::MAX),
        topic_alias_max: connack.topic_alias_max.unwrap_or(0),
        assigned_client_id: connack.assigned_client_id.map(str::to_owned),
    };
    Ok((terms, connack.server_keep_alive_s))
}

/// The AUTH packet that answers the broker's.
fn answer(exchange: Option<&mut Exchange>, auth: &Auth<'_>) -> Result<Vec<u8>, Error> {
    let Some(exchange) = exchange else {
        return Err(Error::Authentication(
            "the broker asks for more than this client was told to give".into(),
        ));
    };
    // MQTT-4.12.0-5: the method stays the same.
    if auth.reason != ReasonCode::CONTINUE_AUTHENTICATION || auth.method != Some(exchange.method()) {
        return Err(Error::Protocol("its AUTH does not continue the exchange".into()));
    }
    let data = exchange.prove(auth.data.unwrap_or_default())?;
    let reply = Auth {
        reason: ReasonCode::CONTINUE_AUTHENTICATION,
        method: Some(exchange.method()),
        data: Some(&data),
        ..Auth::default()
    };
    let mut out = Vec::new();
    encode_auth(&mut out, &reply);
    Ok(out)
}

fn ended(disconnect: &Disconnect<'_>) -> Error {
    Error::Closed { reason: Some(disconnect.reason), text: disconnect.reason_string.map(str::to_owned) }
}
