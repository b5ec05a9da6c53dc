//! Packets: what each of them says about its client.

use super::connection::{Connection, State};
use super::{CLOSING_MS, Translator, meter};
use crate::{Row, What};
use ravelin_detect::{Arrived, Operation, Sight};
use ravelin_event::{DisconnectCause, Refusal};
use ravelin_mqtt::{check_filter, check_topic, matches};
use std::cmp::Reverse;
use std::sync::Arc;

/// Levels that a topic may have, as a node's limits have it.
const LEVELS_MAX: u16 = 128;
/// Filters that may wait for their SUBACK on one connection.
const PENDING_MAX: usize = 4096;
/// A broker that closes within this time of a packet does it because of that packet.
const BECAUSE_MS: u64 = 1_000;
/// No Matching Subscribers (MQTT 5.0 section 3.4.2.1).
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
/// Not authorized.
const NOT_AUTHORIZED: u8 = 0x87;

impl Translator {
    pub(super) fn connect(&mut self, row: &Row<'_>) {
        let client_id = if row.client_id.is_empty() {
            // A broker gives a name of its own.
            self.names.keep(&format!("auto-{}", row.connection))
        } else {
            self.names.keep(row.client_id)
        };
        let identity = (!row.user_name.is_empty()).then(|| self.names.keep(row.user_name));
        let will =
            row.will.then(|| self.names.keep(if row.topic.is_empty() { "unknown" } else { row.topic }));
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get_mut(&row.connection) else { return };
        match connection.state {
            State::Open => {}
            // MQTT-3.1.0-2: a second CONNECT is a protocol violation.
            State::In | State::Connecting => return self.malformed(row.connection),
            State::Midstream | State::Over => return,
        }
        connection.state = State::Connecting;
        connection.client_id = Arc::clone(&client_id);
        connection.identity = identity;
        connection.keep_alive_s = row.keep_alive_s;
        connection.clean_start = row.clean_start;
        connection.will = will;
        connection.packet_ms = now_ms;
        connection.bytes += 14 + row.client_id.len() as u64 + row.user_name.len() as u64;
        *self.awaited.entry(client_id).or_default() += 1;
    }

    pub(super) fn connack(&mut self, row: &Row<'_>) {
        let Some(connection) = self.connections.get_mut(&row.connection) else { return };
        if connection.state != State::Connecting {
            return;
        }
        let client_id = Arc::clone(&connection.client_id);
        let (identity, address) = (connection.identity.clone(), connection.address);
        self.no_longer_awaited(&client_id);
        let code = row.code.unwrap_or(0);
        if code != 0 {
            if let Some(connection) = self.connections.get_mut(&row.connection) {
                connection.state = State::Over;
            }
            return self.refused(address, Some(client_id), identity, refusal(code));
        }
        // MQTT-3.1.4-3: who is connected with the same Client Identifier is thrown out.
        if let Some(&other) = self.live.get(&client_id).filter(|other| **other != row.connection) {
            self.left(other, DisconnectCause::TakenOver);
        }
        let Some(connection) = self.connections.get_mut(&row.connection) else { return };
        connection.state = State::In;
        let arrived = Arrived {
            client_id: Arc::clone(&client_id),
            identity,
            class: None,
            certificate: None,
            address,
            keep_alive_s: connection.keep_alive_s,
            clean_start: connection.clean_start,
            will: connection.will.is_some(),
            declared: false,
        };
        let (closed, malformed) = (connection.closed, connection.malformed);
        if arrived.clean_start {
            self.subscriptions.end(&client_id);
        }
        self.live.insert(client_id, row.connection);
        self.tell(Sight::Arrived(Arc::new(arrived)));
        if malformed {
            self.left(row.connection, DisconnectCause::ProtocolError);
        } else if let Some(cause) = closed {
            self.left(row.connection, cause);
            self.forget(row.connection);
        }
    }

    pub(super) fn publish(&mut self, row: &Row<'_>) {
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get_mut(&row.connection) else { return };
        if connection.state == State::Open {
            // MQTT-3.1.0-1: the first packet is a CONNECT.
            connection.state = State::Over;
            let address = connection.address;
            return self.refused(address, None, None, Refusal::Protocol);
        }
        if !connection.counts() {
            return;
        }
        if row.qos > 2 || (!row.topic.is_empty() && check_topic(row.topic, LEVELS_MAX).is_err()) {
            return self.malformed(row.connection);
        }
        connection.packet_ms = now_ms;
        let topic = (!row.topic.is_empty()).then(|| match &connection.last {
            Some((_, topic, _)) if **topic == *row.topic => Arc::clone(topic),
            _ => self.names.keep(row.topic),
        });
        let undelivered =
            self.midstream == 0 && topic.as_ref().is_some_and(|topic| !self.subscriptions.reach(topic));
        if let Some(metered) = self.meters.of(connection, now_ms) {
            meter::count(metered, row, topic.as_ref(), now_ms, undelivered);
        }
        let Some(topic) = topic else { return };
        connection.last = Some((row.packet_id, Arc::clone(&topic), undelivered));
        if self.watched.iter().any(|filter| matches(filter, &topic)) {
            let client_id = Arc::clone(&connection.client_id);
            self.tell(Sight::Observed { client_id, topic, payload: row.payload.into(), retain: row.retain });
        }
    }

    /// A broker has sent a message to a client.
    pub(super) fn sent(&mut self, row: &Row<'_>) {
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get_mut(&row.connection) else { return };
        if !connection.counts() {
            return;
        }
        connection.inflight += u32::from(row.qos > 0);
        let client_id = Arc::clone(&connection.client_id);
        if let Some(metered) = self.meters.of(connection, now_ms) {
            metered.sent += 1;
            metered.inflight = connection.inflight;
        }
        // Retained messages come at the time of the subscribe, perhaps before its SUBACK.
        if !row.retain && !row.topic.is_empty() && !self.subscriptions.has(&client_id, row.topic) {
            let topic = self.names.keep(row.topic);
            self.subscriptions.add(&client_id, topic);
        }
    }

    pub(super) fn subscribe(&mut self, row: &Row<'_>) {
        if check_filter(row.topic, LEVELS_MAX).is_err() {
            return self.malformed(row.connection);
        }
        let filter = self.names.keep(row.topic);
        let Some(connection) = self.packet(row) else { return };
        if connection.pending.len() < PENDING_MAX {
            connection.pending.push_back((row.packet_id, filter));
        }
    }

    pub(super) fn suback(&mut self, row: &Row<'_>) {
        let Some(connection) = self.connections.get_mut(&row.connection) else { return };
        if !connection.counts() {
            return;
        }
        let asked = connection.pending.iter().position(|(packet_id, _)| *packet_id == row.packet_id);
        let Some((_, filter)) = asked.and_then(|at| connection.pending.remove(at)) else { return };
        let client_id = Arc::clone(&connection.client_id);
        if row.code.unwrap_or(0) >= 0x80 {
            let (operation, why) = (Operation::Subscribe, Refusal::AccessRule);
            return self.tell(Sight::Denied { client_id, operation, name: filter, why, count: 1 });
        }
        self.subscriptions.add(&client_id, Arc::clone(&filter));
        self.tell(Sight::Subscribed { client_id, filter });
    }

    pub(super) fn unsubscribe(&mut self, row: &Row<'_>) {
        let Some(connection) = self.packet(row) else { return };
        let client_id = Arc::clone(&connection.client_id);
        self.subscriptions.remove(&client_id, row.topic);
    }

    /// All other packets: acknowledgements, pings.
    pub(super) fn acknowledged(&mut self, row: &Row<'_>) {
        if row.from_client {
            if let Some(connection) = self.packet(row)
                && matches!(row.what, What::PubAck | What::PubComp)
            {
                connection.inflight = connection.inflight.saturating_sub(1);
            }
            return;
        }
        let code = row.code.unwrap_or(0);
        if code == 0 || !matches!(row.what, What::PubAck | What::PubRec) {
            return;
        }
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get_mut(&row.connection) else { return };
        let client_id = Arc::clone(&connection.client_id);
        let last = connection.last.as_mut().filter(|(packet_id, ..)| *packet_id == row.packet_id);
        let Some((_, topic, undelivered)) = last else { return };
        if code == NOT_AUTHORIZED {
            let (operation, name, why) = (Operation::Publish, Arc::clone(topic), Refusal::AccessRule);
            self.tell(Sight::Denied { client_id, operation, name, why, count: 1 });
        } else if code == NO_MATCHING_SUBSCRIBERS && !*undelivered {
            *undelivered = true;
            let topic = Arc::clone(topic);
            if let Some(metered) = self.meters.of(connection, now_ms) {
                metered.undelivered += 1;
                if let Some(meter) = metered.topics.iter_mut().find(|known| known.topic == topic) {
                    meter.undelivered += 1;
                }
            }
        }
    }

    /// Counts a packet of a client; `None` if there is no session that it belongs to.
    fn packet(&mut self, row: &Row<'_>) -> Option<&mut Connection> {
        let now_ms = self.now_ms;
        let connection = self.connections.get_mut(&row.connection)?;
        if !connection.counts() {
            return None;
        }
        connection.packet_ms = now_ms;
        if let Some(metered) = self.meters.of(connection, now_ms) {
            metered.packets += 1;
        }
        Some(connection)
    }

    pub(super) fn malformed(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let (address, client_id) = (connection.address, Arc::clone(&connection.client_id));
        let client_id = (!client_id.is_empty()).then_some(client_id);
        match connection.state {
            State::Open => {
                connection.state = State::Over;
                self.refused(address, None, None, Refusal::Malformed);
            }
            State::Connecting => connection.malformed = true,
            State::In => self.left(number, DisconnectCause::ProtocolError),
            State::Midstream => {
                connection.state = State::Over;
                self.midstream -= 1;
                self.refused(address, None, None, Refusal::Malformed);
            }
            State::Over => self.refused(address, client_id, None, Refusal::Malformed),
        }
    }

    pub(super) fn disconnect(&mut self, row: &Row<'_>) {
        let code = row.code.unwrap_or(0);
        let cause = if row.from_client { goodbye(code) } else { sent_away(code) };
        let Some(connection) = self.connections.get_mut(&row.connection) else { return };
        match connection.state {
            State::In => self.left(row.connection, cause),
            State::Connecting => connection.closed = Some(cause),
            State::Midstream => {
                connection.state = State::Over;
                self.midstream -= 1;
            }
            State::Open | State::Over => {}
        }
    }

    pub(super) fn closed(&mut self, row: &Row<'_>) {
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get_mut(&row.connection) else { return };
        let cause = match (row.from_client, row.what) {
            (true, What::CloseRst) => DisconnectCause::Reset,
            (true, _) => DisconnectCause::NoDisconnect,
            (false, _) if connection.is_silent(now_ms) => DisconnectCause::KeepAlive,
            (false, _) if now_ms - connection.packet_ms <= BECAUSE_MS => DisconnectCause::ProtocolError,
            (false, _) => DisconnectCause::Administrative,
        };
        match connection.state {
            State::Open => self.abandoned(row.connection),
            State::Connecting if row.from_client => {
                // Its CONNECT may be accepted all the same.
                connection.closed.get_or_insert(cause);
                self.deadlines.push(Reverse((now_ms + CLOSING_MS, row.connection)));
            }
            State::Connecting => {
                // A broker that does not answer a CONNECT refuses it.
                let (address, client_id) = (connection.address, Arc::clone(&connection.client_id));
                let identity = connection.identity.clone();
                self.refused(address, Some(client_id), identity, Refusal::Protocol);
                self.forget(row.connection);
            }
            State::In => {
                let taken_over = !row.from_client && self.awaited.contains_key(&connection.client_id);
                let cause = if taken_over { DisconnectCause::TakenOver } else { cause };
                self.left(row.connection, cause);
                self.forget(row.connection);
            }
            State::Midstream | State::Over => self.forget(row.connection),
        }
    }
}

/// Why a client goes that says so.
fn goodbye(code: u8) -> DisconnectCause {
    // MQTT 5.0 section 3.14.2.1: 0x04 is Disconnect with Will Message; from 0x80 on something was wrong.
    if code == 0 { DisconnectCause::Normal } else { DisconnectCause::WithWill }
}

/// Why a broker sends a client away (MQTT 5.0 section 3.14.2.1).
fn sent_away(code: u8) -> DisconnectCause {
    match code {
        0x81 | 0x82 | 0x90 | 0x94 | 0x95 | 0x99 => DisconnectCause::ProtocolError,
        0x8B => DisconnectCause::Shutdown,
        0x8D => DisconnectCause::KeepAlive,
        0x8E => DisconnectCause::TakenOver,
        0x93 | 0x96 | 0x97 => DisconnectCause::LimitExceeded,
        0xA0 => DisconnectCause::Expired,
        _ => DisconnectCause::Administrative,
    }
}

/// Why a CONNECT was refused: return codes of 3.1.1 (section 3.2.2.3), reason codes of 5.0 (section 3.2.2.2).
fn refusal(code: u8) -> Refusal {
    match code {
        1 | 0x82 | 0x84 => Refusal::Protocol,
        2 | 0x85 | 0x90 => Refusal::BadName,
        3 | 0x88 | 0x89 => Refusal::Busy,
        0x81 => Refusal::Malformed,
        0x8A => Refusal::Banned,
        0x8C => Refusal::BadAuthenticationMethod,
        0x95 => Refusal::TooLarge,
        0x97 => Refusal::TooManyConnections,
        0x9F => Refusal::ConnectionRate,
        // Brokers answer a wrong password with "not authorized", too.
        _ => Refusal::BadCredentials,
    }
}
