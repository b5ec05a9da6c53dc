//! From the first byte to the session: CONNECT under a cap and a deadline, authentication, and the way to the shard
//! where the session lives.

use super::Shard;
use super::conn::{Conn, Moved, Pre, Reauth, Stage};
use super::mailbox::Mail;
use super::slab::Key;
use ravelin_broker::{Connecting, home_shard};
use ravelin_event::{Event, Refusal};
use ravelin_mqtt::{
    Auth, ConnAck, Connect, Error, Frame, Packet, ReasonCode, Sender, Version, connect_version, decode,
    encode_auth, encode_connack, peek,
};
use ravelin_protect::{Admission, Attempt, Denied, Step};
use std::sync::Arc;

const CONNECT: u8 = 0x10;
const AUTH: u8 = 0xF0;

impl Shard {
    /// Bytes of a client that is not authenticated.
    pub(super) fn receive_pre(&mut self, key: Key, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.partial.extend_from_slice(bytes);
        while self.next_preauth(key) {}
    }

    /// Handles the next packet, if it is there and may be handled now.
    fn next_preauth(&mut self, key: Key) -> bool {
        let bytes_max = self.policy.shell.connect_bytes_max;
        let Some(conn) = self.conns.get_mut(key) else { return false };
        let Stage::Pre(pre) = &mut conn.stage else { return false };
        if conn.flags.paused || conn.partial.is_empty() {
            return false;
        }
        // MQTT-3.1.0-1: CONNECT comes first; and during an exchange nothing but AUTH (MQTT-4.12.0-1).
        let expected = if pre.exchange.is_some() { AUTH } else { CONNECT };
        if conn.partial[0] != expected {
            self.counters.refused_connect += 1;
            let why = if expected == AUTH { Refusal::Protocol } else { Refusal::Malformed };
            self.drop_preauth(key, why);
            return false;
        }
        match peek(&conn.partial, bytes_max) {
            Ok(Some(frame)) if frame.total_len <= conn.partial.len() => {
                let rest = conn.partial.split_off(frame.total_len);
                let packet = std::mem::replace(&mut conn.partial, rest);
                if expected == AUTH {
                    self.receive_preauth_auth(key, &packet[frame.header_len..]);
                } else {
                    self.receive_connect(key, packet, frame);
                }
                true
            }
            Ok(_) => false,
            Err(error) => {
                self.counters.refused_connect += 1;
                let why = if matches!(error, Error::PacketTooLarge { .. }) {
                    Refusal::TooLarge
                } else {
                    Refusal::Malformed
                };
                self.drop_preauth(key, why);
                false
            }
        }
    }

    fn receive_connect(&mut self, key: Key, packet: Vec<u8>, frame: Frame) {
        let body = &packet[frame.header_len..];
        let decoded = decode(frame.first, body, Version::V5, Sender::Client, &self.policy.core.decode);
        let connect = match decoded {
            Ok(Packet::Connect(connect)) => connect,
            Ok(_) => return self.drop_preauth(key, Refusal::Protocol),
            Err(error) => {
                self.counters.refused_connect += 1;
                return self.refuse_connect(key, body, &error);
            }
        };
        // MQTT-3.1.3-8 (3.1.1): without an identifier there is no session to keep.
        if connect.client_id.is_empty() && connect.version == Version::V311 && !connect.clean_start {
            let reason = ReasonCode::CLIENT_IDENTIFIER_NOT_VALID;
            return self.refuse(key, &connect, Refusal::BadName, reason);
        }
        let certificate = self.pre(key).and_then(|pre| pre.certificate.as_ref());
        let fingerprint = certificate.map(|facts| facts.fingerprint.clone());
        if self.is_banned(connect.client_id, None, fingerprint.as_deref()) {
            return self.refuse(key, &connect, Refusal::Banned, ReasonCode::BANNED);
        }
        let Some(conn) = self.conns.get_mut(key) else { return };
        let Stage::Pre(pre) = &mut conn.stage else { return };
        let attempt = Attempt {
            client_id: connect.client_id,
            username: connect.username,
            password: connect.password,
            certificate: pre.certificate.as_ref(),
            auth_method: connect.auth_method,
            auth_data: connect.auth_data,
            address: conn.address,
            now_s: self.now.wall_ms / 1000,
        };
        let policy = &self.policy.entrances[usize::from(conn.entrance)].listener;
        let step = self.policy.authenticator.begin(policy, attempt);
        pre.connect = Some(packet);
        self.authenticate(key, step);
    }

    fn receive_preauth_auth(&mut self, key: Key, body: &[u8]) {
        let decoded = decode(AUTH, body, Version::V5, Sender::Client, &self.policy.core.decode);
        let Some(exchange) = self.pre(key).and_then(|pre| pre.exchange.take()) else { return };
        let step = match decoded {
            // MQTT-4.12.0-5: the method stays the same.
            Ok(Packet::Auth(auth))
                if auth.reason == ReasonCode::CONTINUE_AUTHENTICATION
                    && auth.method == Some(exchange.method()) =>
            {
                exchange.proceed(&self.policy.authenticator, auth.data.unwrap_or_default())
            }
            Ok(_) => Step::Refuse(Denied::new(Refusal::Protocol, ReasonCode::PROTOCOL_ERROR)),
            Err(error) => Step::Refuse(Denied::new(Refusal::Malformed, ReasonCode::from(&error))),
        };
        self.authenticate(key, step);
    }

    /// The password or the one-time code of a client was verified.
    pub(super) fn hashed(&mut self, key: Key, step: Step) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if matches!(&conn.stage, Stage::Pre(pre) if pre.connect.is_some()) {
            conn.flags.paused = false;
            self.authenticate(key, step);
            self.resume(key);
        }
    }

    fn authenticate(&mut self, key: Key, step: Step) {
        let step = match self.count_login(key, step) {
            Ok(step) => step,
            Err(reason) => return self.refuse_pending(key, Refusal::LockedOut, reason),
        };
        match step {
            Step::Accept(admission) => self.accepted(key, admission),
            Step::Refuse(denied) => {
                self.counters.refused_authentication += 1;
                self.tell_finding(key, &denied);
                self.refuse_pending(key, denied.why, denied.reason);
            }
            Step::Hash(job, pending) => {
                let home = Arc::clone(self.mailbox());
                if self.hash_pool.submit(key, job, pending, home) {
                    if let Some(conn) = self.conns.get_mut(key) {
                        conn.flags.paused = true;
                    }
                } else {
                    self.counters.refused_busy += 1;
                    self.refuse_pending(key, Refusal::Busy, ReasonCode::SERVER_BUSY);
                }
            }
            Step::Challenge { data, state } => {
                let Some(pre) = self.pre(key) else { return };
                let method = state.method();
                pre.exchange = Some(state);
                let reason = ReasonCode::CONTINUE_AUTHENTICATION;
                let auth = Auth { reason, method: Some(method), data: Some(&data), ..Auth::default() };
                let start = pre.out.buffer().len();
                encode_auth(pre.out.buffer(), &auth);
                // MQTT-3.1.2-24: nothing larger than the client takes is sent; without AUTH there is no exchange.
                if pre.out.buffer().len() - start > self.packet_bytes_max(key) {
                    if let Some(pre) = self.pre(key) {
                        pre.out.buffer().truncate(start);
                    }
                    return self.refuse_pending(key, Refusal::TooLarge, ReasonCode::PACKET_TOO_LARGE);
                }
                self.mark_dirty(key);
            }
        }
    }

    /// Says what exactly was wrong, where the reason alone would leave an operator guessing. Never to the client.
    fn tell_finding(&mut self, key: Key, denied: &Denied) {
        let Some(finding) = &denied.finding else { return };
        let limits = self.policy.core.decode;
        let connect = self.pre(key).and_then(|pre| pre.connect.as_deref());
        let connect = connect.and_then(|packet| decode_connect(packet, &limits));
        let client_id = connect.map(|(connect, _)| connect.client_id.to_owned());
        let Some(address) = self.conns.get(key).map(|conn| conn.address) else { return };
        self.emit(Event::CredentialRefused {
            address,
            client_id,
            identity: finding.identity.as_deref().map(Into::into),
            credential: finding.credential,
            what: finding.what.clone(),
        });
    }

    /// The Maximum Packet Size of the client whose CONNECT waits.
    fn packet_bytes_max(&mut self, key: Key) -> usize {
        let limits = self.policy.core.decode;
        let packet = self.pre(key).and_then(|pre| pre.connect.as_deref());
        let connect = packet.and_then(|packet| decode_connect(packet, &limits));
        connect.and_then(|(connect, _)| connect.packet_bytes_max).map_or(usize::MAX, |max| max as usize)
    }

    fn accepted(&mut self, key: Key, accepted: Box<Admission>) {
        let home = home_shard(&accepted.principal.client_id, self.shards());
        let Some(pre) = self.pre(key) else { return };
        pre.accepted = Some(accepted);
        if home == self.id {
            self.enter(key);
            return;
        }
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.flags.paused = true;
        conn.flags.moving = true;
        self.moving.push(key);
    }

    /// Hands a connection to the shard where its session lives.
    pub(super) fn move_out(&mut self, key: Key) {
        if !self.conns.get(key).is_some_and(|conn| conn.flags.moving) {
            return;
        }
        let Some(mut conn) = self.conns.remove(key) else { return };
        let _ = self.poll.registry().deregister(&mut conn.socket);
        let Conn { socket, address, entrance, flags, stage, tls, ws, partial, .. } = conn;
        let Stage::Pre(pre) = stage else { return };
        let Pre { connect: Some(connect), accepted: Some(accepted), .. } = *pre else { return };
        let home = home_shard(&accepted.principal.client_id, self.shards());
        let read_closed = flags.read_closed;
        let moved = Moved { socket, address, entrance, read_closed, tls, ws, partial, connect, accepted };
        self.counters.moved += 1;
        self.mailboxes[usize::from(home)].post(Mail::Moved(Box::new(moved)));
    }

    /// Gives an accepted client to the core, which answers with CONNACK.
    pub(super) fn enter(&mut self, key: Key) {
        let Some(pre) = self.pre(key) else { return };
        let (Some(packet), Some(accepted)) = (pre.connect.take(), pre.accepted.take()) else { return };
        let Admission { principal, auth_data, standing } = *accepted;
        let Some((connect, _)) = decode_connect(&packet, &self.policy.core.decode) else {
            return self.drop_preauth(key, Refusal::Malformed);
        };
        // Here and not before: who is banned while its connection is on its way between two shards is met by neither.
        let identity = principal.identity.as_deref();
        let address = principal.address.map(|address| address.ip());
        if self.is_banned(&principal.client_id, identity, principal.certificate.as_deref())
            || address.is_some_and(|address| self.is_address_banned(address))
        {
            return self.refuse(key, &connect, Refusal::Banned, ReasonCode::BANNED);
        }
        if self.revocation_of_client(key, &principal).is_some() {
            return self.refuse(key, &connect, Refusal::Revoked, ReasonCode::NOT_AUTHORIZED);
        }
        let mut principal = principal;
        if let Some(why) = self.admission(&mut principal) {
            return self.refuse(key, &connect, why, ReasonCode::NOT_AUTHORIZED);
        }
        let listener = self.conns.get(key).map_or(0, |conn| conn.entrance);
        if let Some(why) = self.posture_refuses(&principal, listener) {
            return self.refuse(key, &connect, why, ReasonCode::NOT_AUTHORIZED);
        }
        if !self.may_connect(&principal, listener) {
            return self.refuse(key, &connect, Refusal::RateExceeded, ReasonCode::CONNECTION_RATE_EXCEEDED);
        }
        let reauth = connect.auth_method.map(|method| Reauth { method: method.into(), exchange: None });
        let connecting = Connecting {
            connect: &connect,
            token: key.0,
            client_id_assigned: connect.client_id.is_empty(),
            principal,
            auth_method: connect.auth_method,
            auth_data: auth_data.as_deref(),
        };
        let arrival = self.arrival(&connecting, listener);
        let proven_s = (self.now.mono_ms / 1000) as u32;
        match self.broker.handle_connect(self.now, connecting) {
            Ok(link) => {
                let Some(conn) = self.conns.get_mut(key) else { return };
                conn.stage = Stage::Live(link);
                conn.reauth = reauth.map(Box::new);
                conn.proven_s = proven_s;
                conn.flags.authenticated = true;
                conn.flags.paused = false;
                let address = conn.address.ip();
                self.keep_standing(key, &standing);
                self.ladder().authenticated(address);
                self.drop_price(key);
                self.begin_metering(key, link);
                self.seen.extend(arrival);
                self.resume(key);
            }
            Err(reason) => {
                self.counters.refused_core += 1;
                self.refuse(key, &connect, refusal_of(reason), reason);
            }
        }
    }

    /// Handles what came behind CONNECT, and reads on.
    fn resume(&mut self, key: Key) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.flags.paused {
            return;
        }
        let waiting = std::mem::take(&mut conn.partial);
        let readable = std::mem::take(&mut conn.flags.readable);
        if !waiting.is_empty() {
            self.receive_mqtt(key, &waiting);
        }
        if readable {
            self.list_readable(key);
        }
    }

    pub(super) fn pre(&mut self, key: Key) -> Option<&mut Pre> {
        match &mut self.conns.get_mut(key)?.stage {
            Stage::Pre(pre) => Some(pre),
            _ => None,
        }
    }

    /// Refuses the client whose CONNECT waits.
    pub(super) fn refuse_pending(&mut self, key: Key, why: Refusal, reason: ReasonCode) {
        let Some(packet) = self.pre(key).and_then(|pre| pre.connect.take()) else {
            return self.drop_preauth(key, why);
        };
        match decode_connect(&packet, &self.policy.core.decode) {
            Some((connect, _)) => self.refuse(key, &connect, why, reason),
            None => self.drop_preauth(key, why),
        }
    }

    fn refuse(&mut self, key: Key, connect: &Connect<'_>, why: Refusal, reason: ReasonCode) {
        let Some(conn) = self.conns.get(key) else { return };
        let event = Event::ConnectionRefused {
            address: conn.address,
            client_id: Some(connect.client_id.into()),
            identity: connect.username.map(Into::into),
            why,
        };
        self.emit(event);
        self.count_refusal(why);
        self.price_is_of(key, why);
        // MQTT-3.2.2-16: no CONNACK that the client could not take.
        self.answer(key, connect.version, reason, connect.packet_bytes_max.unwrap_or(u32::MAX));
    }

    /// A CONNECT that could not be decoded. It is answered if it asks for a version that is spoken or newer ones do.
    fn refuse_connect(&mut self, key: Key, body: &[u8], error: &Error) {
        let Some(conn) = self.conns.get(key) else { return };
        let address = conn.address;
        let why = match error {
            Error::Malformed(_) => Refusal::Malformed,
            Error::PacketTooLarge { .. } | Error::LimitExceeded(_) => Refusal::TooLarge,
            Error::InvalidClientId(_) | Error::InvalidTopic(_) => Refusal::BadName,
            _ => Refusal::Protocol,
        };
        let version = match (error, connect_version(body)) {
            // 3.1.1 knows a return code for a version and for an identifier; everything else is a closed connection.
            (Error::InvalidClientId(_), Some(version)) => Some(version),
            (_, Some(Version::V5)) => Some(Version::V5),
            // MQTT-3.1.2-2: older clients read the CONNACK of 3.1.1 (0x01), newer ones that of 5.0 (0x84).
            (Error::UnsupportedVersion(level), _) => {
                Some(if *level > 5 && *level < 0x80 { Version::V5 } else { Version::V311 })
            }
            _ => None,
        };
        let Some(version) = version else { return self.drop_preauth(key, why) };
        self.refused(address, why);
        self.price_is_of(key, why);
        self.answer(key, version, ReasonCode::from(error), u32::MAX);
    }

    fn answer(&mut self, key: Key, version: Version, reason: ReasonCode, bytes_max: u32) {
        let Some(pre) = self.pre(key) else { return };
        let mut out = std::mem::take(&mut pre.out);
        let start = out.buffer().len();
        encode_connack(out.buffer(), version, &ConnAck { reason, ..ConnAck::default() });
        if out.buffer().len() - start > bytes_max as usize {
            out.buffer().truncate(start);
        }
        self.begin_closing(key, out, super::READ_BYTES_MAX);
    }
}

/// The CONNECT of a whole packet. It was decoded before, so this does not fail but after a reload of the limits.
pub(super) fn decode_connect<'a>(
    packet: &'a [u8],
    limits: &ravelin_mqtt::DecodeLimits,
) -> Option<(Connect<'a>, Frame)> {
    let frame = peek(packet, u32::MAX).ok()??;
    match decode(frame.first, packet.get(frame.header_len..)?, Version::V5, Sender::Client, limits) {
        Ok(Packet::Connect(connect)) => Some((connect, frame)),
        _ => None,
    }
}

/// Why the core refused a client, for the log.
fn refusal_of(reason: ReasonCode) -> Refusal {
    match reason {
        ReasonCode::NOT_AUTHORIZED => Refusal::AccessRule,
        ReasonCode::QUOTA_EXCEEDED => Refusal::TooManySessions,
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID | ReasonCode::TOPIC_NAME_INVALID => Refusal::BadName,
        ReasonCode::PACKET_TOO_LARGE => Refusal::TooLarge,
        ReasonCode::SERVER_SHUTTING_DOWN => Refusal::ShuttingDown,
        ReasonCode::SERVER_BUSY => Refusal::TooManySessions,
        ReasonCode::SERVER_UNAVAILABLE => Refusal::Storage,
        _ => Refusal::Protocol,
    }
}
