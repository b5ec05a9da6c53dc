//! What binds a server over a whole connection: order of packets, sizes, aliases, packet identifiers, quota.
//!
//! A [`Verifier`] is told what the client promised in its CONNECT and is shown each packet in turn; its first
//! objection fails the test that was running.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, bail, ensure};

use crate::packet::{Message, Packet};
use crate::wire::{PUBREC, PUBREL, Promise, Version, id};

/// The rules of one network connection.
#[derive(Debug)]
pub(crate) struct Verifier {
    version: Version,
    promise: Promise,
    clean: bool,
    stage: Stage,
    aliases: BTreeMap<u32, String>,
    /// Packet identifiers that the server has in use.
    in_flight: BTreeSet<u16>,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Opened,
    Accepted,
    Over(String),
}

impl Verifier {
    pub(crate) fn new(version: Version) -> Self {
        Self {
            version,
            promise: Promise::default(),
            clean: false,
            stage: Stage::Opened,
            aliases: BTreeMap::new(),
            in_flight: BTreeSet::new(),
        }
    }

    /// The client sends a CONNECT.
    pub(crate) fn promised(&mut self, promise: &Promise, clean: bool) {
        self.promise = promise.clone();
        self.clean = clean;
    }

    /// The client acknowledges a packet of the server.
    pub(crate) fn acknowledged(&mut self, kind: u8, packet_id: u16, reason: u8) {
        // A PUBREC without error leaves the identifier in use until PUBCOMP.
        if kind != PUBREL && (kind != PUBREC || reason >= 0x80) {
            self.in_flight.remove(&packet_id);
        }
    }

    /// The server sent a packet of `size` bytes. Puts the topic in place of an alias.
    pub(crate) fn heard(&mut self, packet: &mut Packet, size: usize) -> Result<()> {
        if let Stage::Over(last) = &self.stage {
            bail!("{} after {last}", packet.name());
        }
        if let Some(max) = self.promise.packet_max {
            ensure!(size as u64 <= max.into(), "{} of {size} bytes, maximum {max}", packet.name());
        }
        self.check_problem_information(packet)?;
        match packet {
            Packet::ConnAck { .. } => self.connack(packet)?,
            Packet::Auth { properties, .. } => {
                let Some(method) = &self.promise.auth_method else {
                    bail!("AUTH to a client that gave no authentication method");
                };
                let given = properties.text(id::AUTH_METHOD);
                ensure!(given == Some(method), "AUTH with method {given:?}, not {method:?}");
            }
            Packet::Disconnect { .. } => {
                ensure!(self.stage == Stage::Accepted, "{} before a CONNACK", packet.name());
                self.stage = Stage::Over(packet.name());
            }
            _ => ensure!(self.stage == Stage::Accepted, "{} before a CONNACK", packet.name()),
        }
        if let Packet::Publish(message) = packet {
            self.resolve_alias(message)?;
            self.count(message)?;
        }
        Ok(())
    }

    fn check_problem_information(&self, packet: &Packet) -> Result<()> {
        let exempt =
            matches!(packet, Packet::Publish(_) | Packet::ConnAck { .. } | Packet::Disconnect { .. });
        if !self.promise.no_problem_info || exempt {
            return Ok(());
        }
        let Some(properties) = packet.properties() else { return Ok(()) };
        ensure!(
            !properties.has(id::REASON_STRING) && !properties.has(id::USER_PROPERTY),
            "{} explains itself, though the client asked for no problem information",
            packet.name()
        );
        Ok(())
    }

    fn connack(&mut self, packet: &Packet) -> Result<()> {
        let Packet::ConnAck { session_present, reason, properties } = packet else { return Ok(()) };
        ensure!(self.stage == Stage::Opened, "a second CONNACK");
        ensure!(!self.clean || !session_present, "Session Present after a clean start");
        ensure!(
            self.promise.response_info || !properties.has(id::RESPONSE_INFO),
            "response information that the client did not ask for"
        );
        let method = properties.text(id::AUTH_METHOD);
        match &self.promise.auth_method {
            None => ensure!(method.is_none(), "CONNACK with an authentication method nobody asked for"),
            Some(wanted) => ensure!(
                method == Some(wanted) || *reason != 0,
                "CONNACK with authentication method {method:?}, not {wanted:?}"
            ),
        }
        self.stage = if *reason == 0 { Stage::Accepted } else { Stage::Over(packet.name()) };
        Ok(())
    }

    fn resolve_alias(&mut self, message: &mut Message) -> Result<()> {
        let Some(alias) = message.properties.number(id::TOPIC_ALIAS) else { return Ok(()) };
        let max = u32::from(self.promise.alias_max);
        ensure!(alias <= max, "topic alias {alias}, maximum {max}");
        if !message.topic.is_empty() {
            self.aliases.insert(alias, message.topic.clone());
            return Ok(());
        }
        let Some(topic) = self.aliases.get(&alias) else { bail!("topic alias {alias} is unknown") };
        message.topic.clone_from(topic);
        Ok(())
    }

    fn count(&mut self, message: &Message) -> Result<()> {
        if message.qos == 0 {
            return Ok(());
        }
        let new = self.in_flight.insert(message.packet_id);
        ensure!(new, "packet identifier {} is already in use", message.packet_id);
        if self.version == Version::V5 {
            let max = usize::from(self.promise.receive_max.unwrap_or(u16::MAX));
            ensure!(self.in_flight.len() <= max, "more than {max} messages in flight");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Properties, Value};
    use crate::wire::{PUBACK, PUBCOMP};

    fn accepted(promise: &Promise) -> Verifier {
        let mut verifier = Verifier::new(Version::V5);
        verifier.promised(promise, true);
        verifier.heard(&mut connack(false, 0), 5).unwrap();
        verifier
    }

    fn connack(session_present: bool, reason: u8) -> Packet {
        Packet::ConnAck { session_present, reason, properties: Properties::default() }
    }

    fn message(packet_id: u16, topic: &str, alias: Option<u32>) -> Packet {
        let properties = alias.map(|alias| (id::TOPIC_ALIAS, Value::Number(alias))).into_iter().collect();
        Packet::Publish(Message {
            dup: false,
            qos: u8::from(packet_id > 0),
            retain: false,
            topic: topic.into(),
            packet_id,
            properties: Properties(properties),
            payload: Vec::new(),
        })
    }

    #[test]
    fn nothing_precedes_the_only_connack_and_nothing_follows_a_refusal() {
        let mut verifier = Verifier::new(Version::V5);
        assert!(verifier.heard(&mut Packet::PingResp, 2).is_err());
        let disconnect = || Packet::Disconnect { reason: 0x81, properties: Properties::default() };
        assert!(verifier.heard(&mut disconnect(), 3).is_err());
        verifier.heard(&mut connack(false, 0x81), 5).unwrap();
        assert!(verifier.heard(&mut Packet::PingResp, 2).is_err());

        let mut verifier = accepted(&Promise::default());
        assert!(verifier.heard(&mut connack(false, 0), 5).is_err());
        verifier.heard(&mut disconnect(), 3).unwrap();
        assert!(verifier.heard(&mut Packet::PingResp, 2).is_err());
    }

    #[test]
    fn sizes_sessions_and_methods_are_those_promised() {
        let mut verifier = accepted(&Promise { packet_max: Some(20), ..Promise::default() });
        assert!(verifier.heard(&mut message(0, "a", None), 21).is_err());
        assert!(verifier.heard(&mut message(0, "a", None), 20).is_ok());

        let mut verifier = Verifier::new(Version::V5);
        verifier.promised(&Promise::default(), true);
        assert!(verifier.heard(&mut connack(true, 0), 5).is_err());

        let promise = Promise { auth_method: Some("M".into()), ..Promise::default() };
        let mut verifier = Verifier::new(Version::V5);
        verifier.promised(&promise, true);
        assert!(verifier.heard(&mut connack(false, 0), 5).is_err());
        let properties = Properties(vec![(id::AUTH_METHOD, Value::Text("N".into()))]);
        assert!(verifier.heard(&mut Packet::Auth { reason: 0x18, properties }, 9).is_err());
        let properties = Properties(vec![(id::AUTH_METHOD, Value::Text("M".into()))]);
        assert!(verifier.heard(&mut Packet::Auth { reason: 0x18, properties }, 9).is_ok());
    }

    #[test]
    fn explanations_nobody_wanted_are_refused() {
        let mut verifier = accepted(&Promise { no_problem_info: true, ..Promise::default() });
        let properties = Properties(vec![(id::REASON_STRING, Value::Text("no".into()))]);
        let mut packet = Packet::SubAck { packet_id: 1, reasons: vec![0x80], properties };
        assert!(verifier.heard(&mut packet, 9).is_err());
    }

    #[test]
    fn aliases_stay_in_range_and_are_known() {
        let mut verifier = accepted(&Promise { alias_max: 2, ..Promise::default() });
        assert!(verifier.heard(&mut message(0, "a", Some(3)), 9).is_err());
        assert!(verifier.heard(&mut message(0, "", Some(1)), 9).is_err());
        verifier.heard(&mut message(0, "a", Some(1)), 9).unwrap();
        let mut packet = message(0, "", Some(1));
        verifier.heard(&mut packet, 9).unwrap();
        assert_eq!(packet, message(0, "a", Some(1)));
    }

    #[test]
    fn packet_identifiers_are_unused_and_within_the_quota() {
        let mut verifier = accepted(&Promise { receive_max: Some(2), ..Promise::default() });
        verifier.heard(&mut message(1, "a", None), 9).unwrap();
        assert!(verifier.heard(&mut message(1, "a", None), 9).is_err());
        verifier.heard(&mut message(2, "a", None), 9).unwrap();
        assert!(verifier.heard(&mut message(3, "a", None), 9).is_err());
        verifier.acknowledged(PUBACK, 1, 0);
        verifier.acknowledged(PUBREC, 2, 0);
        verifier.acknowledged(PUBACK, 3, 0);
        assert!(verifier.heard(&mut message(2, "a", None), 9).is_err());
        verifier.acknowledged(PUBCOMP, 2, 0);
        assert!(verifier.heard(&mut message(2, "a", None), 9).is_ok());
    }
}
