//! A client that keeps the protocol's rules, and what it remembers between connections.

use crate::wire::{Login, Message};
use crate::{Cluster, Conn, Got, ack, publish};
use ravelin_mqtt::{AckKind, QoS, ReasonCode, Version};
use std::collections::{BTreeMap, VecDeque};

/// A message that the client has sent and that is not done with.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub message: Message,
    pub tag: u64,
    /// PUBREC came: PUBREL is what is sent again.
    pub released: bool,
}

/// What the world must hear of what a client received.
#[derive(Debug)]
pub(crate) enum Heard {
    /// CONNACK, with Session Present.
    Connected(bool),
    /// A message for the application, and how far into the connection its packet ends.
    Message(Message, u64),
    /// The broker has taken over responsibility for a message.
    Accepted(u64),
    /// The client may not publish it.
    Denied(u64),
    /// SUBACK, for these subscriptions.
    Subscribed(Vec<u64>),
    /// UNSUBACK, for these.
    Unsubscribed(Vec<u64>),
    /// The broker ends the connection.
    Ended(ReasonCode),
}

/// A client.
pub(crate) struct Client {
    pub id: String,
    pub login: Login,
    pub conn: Option<Conn>,
    /// The CONNACK has come.
    pub ready: bool,
    /// It has forgotten its session, and does not know yet whether the broker has.
    pub must_clean: bool,
    /// It does not read.
    pub stalled: bool,
    pub outgoing: Vec<Outgoing>,
    /// Packet Identifiers of QoS 2 messages received and not released.
    incoming: BTreeMap<u16, Vec<u8>>,
    /// Acknowledgements not yet sent.
    owed: VecDeque<(AckKind, u16)>,
    subscribing: BTreeMap<u16, Vec<u64>>,
    unsubscribing: BTreeMap<u16, Vec<u64>>,
    /// Wall clock when it last sent something.
    pub sent_ms: u64,
    /// Wall clock when all that had been written was read.
    pub read_ms: u64,
}

impl Client {
    pub fn new(id: &str) -> Client {
        Client {
            id: id.into(),
            login: Login::v5(id),
            conn: None,
            ready: false,
            must_clean: false,
            stalled: false,
            outgoing: Vec::new(),
            incoming: BTreeMap::new(),
            owed: VecDeque::new(),
            subscribing: BTreeMap::new(),
            unsubscribing: BTreeMap::new(),
            sent_ms: 0,
            read_ms: 0,
        }
    }

    pub fn version(&self) -> Version {
        self.login.version
    }

    /// Connects.
    pub fn connect(&mut self, cluster: &mut Cluster, login: Login) {
        self.lose();
        self.login = login;
        if self.login.clean {
            self.must_clean = true;
            self.outgoing.clear();
        }
        let conn = match cluster.connect(&self.login) {
            Ok(conn) => conn,
            Err(reason) => panic!("{} was refused: {reason}", self.id),
        };
        self.conn = Some(conn);
        self.sent_ms = cluster.now.wall_ms;
        self.read_ms = cluster.now.wall_ms;
    }

    /// The broker has begun a new session. The client learns it from the CONNACK only; but were that lost, it could not
    /// tell the new session's messages from the old one's, and no broker could help it.
    pub fn forget_received(&mut self) {
        self.incoming.clear();
    }

    /// MQTT-4.4.0-1. Returns the tags of the messages that were sent again.
    pub fn send_again(&mut self, cluster: &mut Cluster) -> Vec<u64> {
        let mut again = Vec::new();
        for at in 0..self.outgoing.len() {
            let Some(outgoing) = self.outgoing.get(at).cloned() else { break };
            let version = self.version();
            if outgoing.released {
                let id = outgoing.message.id;
                self.send(cluster, &ack(version, AckKind::PubRel, id, ReasonCode::SUCCESS));
            } else {
                again.push(outgoing.tag);
                self.send(cluster, &publish(version, &outgoing.message.again()));
            }
        }
        again
    }

    /// The connection is gone, and what was on it.
    pub fn lose(&mut self) {
        self.conn = None;
        self.ready = false;
        self.stalled = false;
        self.owed.clear();
        self.subscribing.clear();
        self.unsubscribing.clear();
    }

    pub fn send(&mut self, cluster: &mut Cluster, bytes: &[u8]) {
        if let Some(conn) = self.conn {
            self.sent_ms = cluster.now.wall_ms;
            cluster.send(conn, bytes);
        }
    }

    /// A Packet Identifier that is not in use.
    pub fn free_id(&self) -> u16 {
        let used = |id: &u16| {
            self.outgoing.iter().any(|outgoing| outgoing.message.id == *id)
                || self.subscribing.contains_key(id)
                || self.unsubscribing.contains_key(id)
        };
        (1..=u16::MAX).find(|id| !used(id)).expect("few are in use")
    }

    pub fn publish(&mut self, cluster: &mut Cluster, mut message: Message, tag: u64) {
        if message.qos != QoS::AtMostOnce {
            message.id = self.free_id();
            self.outgoing.push(Outgoing { message: message.clone(), tag, released: false });
        }
        let bytes = publish(self.version(), &message);
        self.send(cluster, &bytes);
    }

    pub fn await_suback(&mut self, id: u16, subscriptions: Vec<u64>) {
        self.subscribing.insert(id, subscriptions);
    }

    pub fn await_unsuback(&mut self, id: u16, subscriptions: Vec<u64>) {
        self.unsubscribing.insert(id, subscriptions);
    }

    /// Sends up to `most` of the acknowledgements that are owed.
    pub fn acknowledge(&mut self, cluster: &mut Cluster, most: usize) {
        for _ in 0..most {
            let Some((kind, id)) = self.owed.pop_front() else { return };
            let bytes = ack(self.version(), kind, id, ReasonCode::SUCCESS);
            self.send(cluster, &bytes);
        }
    }

    /// Reads all that has arrived.
    pub fn read(&mut self, cluster: &mut Cluster) -> Vec<Heard> {
        let Some(conn) = self.conn.filter(|_| !self.stalled) else { return Vec::new() };
        let mut heard = Vec::new();
        while let Some(got) = cluster.receive_one(conn) {
            let at = cluster.bytes_read(conn);
            self.take(got, at, &mut heard);
        }
        heard
    }

    fn take(&mut self, got: Got, at: u64, heard: &mut Vec<Heard>) {
        if !self.ready {
            let Got::ConnAck { present, reason: ReasonCode::SUCCESS, .. } = got else {
                panic!("{} did not get a CONNACK first: {got:?}", self.id);
            };
            assert!(!present || !self.login.clean, "MQTT-3.2.2-2");
            self.ready = true;
            self.must_clean = false;
            if !present {
                // MQTT-3.2.2-5
                self.outgoing.clear();
            }
            return heard.push(Heard::Connected(present));
        }
        match got {
            Got::Publish(message) => match message.qos {
                QoS::AtMostOnce => {
                    assert!(!message.dup, "MQTT-3.3.1-2");
                    heard.push(Heard::Message(message, at));
                }
                QoS::AtLeastOnce => {
                    self.owed.push_back((AckKind::PubAck, message.id));
                    heard.push(Heard::Message(message, at));
                }
                QoS::ExactlyOnce => {
                    self.owed.push_back((AckKind::PubRec, message.id));
                    match self.incoming.get(&message.id) {
                        Some(known) => assert_eq!(
                            known, &message.payload,
                            "{}: identifier {} is in use for another message",
                            self.id, message.id
                        ),
                        None => {
                            self.incoming.insert(message.id, message.payload.clone());
                            heard.push(Heard::Message(message, at));
                        }
                    }
                }
            },
            Got::Ack { kind, id, reason } => self.take_ack(kind, id, reason, heard),
            Got::SubAck { id, reasons } => {
                assert!(reasons.iter().all(|reason| *reason < 0x80), "{reasons:?}");
                heard.extend(self.subscribing.remove(&id).map(Heard::Subscribed));
            }
            Got::UnsubAck { id, .. } => {
                heard.extend(self.unsubscribing.remove(&id).map(Heard::Unsubscribed));
            }
            Got::Disconnect(reason) => heard.push(Heard::Ended(reason)),
            Got::PingResp => {}
            Got::ConnAck { .. } | Got::Auth => panic!("{} did not expect {got:?}", self.id),
        }
    }

    fn take_ack(&mut self, kind: AckKind, id: u16, reason: ReasonCode, heard: &mut Vec<Heard>) {
        let at = self.outgoing.iter().position(|outgoing| outgoing.message.id == id);
        match kind {
            AckKind::PubAck => {
                let at = at.unwrap_or_else(|| panic!("{}: PUBACK {id} for nothing", self.id));
                let tag = self.outgoing.remove(at).tag;
                heard.push(accepted(tag, reason));
            }
            AckKind::PubRec => {
                let at = at.unwrap_or_else(|| panic!("{}: PUBREC {id} for nothing", self.id));
                if reason.is_failure() {
                    // MQTT-4.3.3-9: the identifier is free.
                    return heard.push(accepted(self.outgoing.remove(at).tag, reason));
                }
                if !std::mem::replace(&mut self.outgoing[at].released, true) {
                    heard.push(Heard::Accepted(self.outgoing[at].tag));
                }
                self.owed.push_back((AckKind::PubRel, id));
            }
            AckKind::PubRel => {
                self.incoming.remove(&id);
                self.owed.push_back((AckKind::PubComp, id));
            }
            AckKind::PubComp => {
                // A PUBREL that was sent twice is answered twice.
                if let Some(at) = at.filter(|&at| self.outgoing[at].released) {
                    self.outgoing.remove(at);
                }
            }
        }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.outgoing.is_empty() && self.owed.is_empty() && self.incoming.is_empty()
    }
}

fn accepted(tag: u64, reason: ReasonCode) -> Heard {
    match reason {
        ReasonCode::NOT_AUTHORIZED => Heard::Denied(tag),
        _ if reason.is_failure() => panic!("{tag} was answered with {reason}"),
        _ => Heard::Accepted(tag),
    }
}
