//! From the socket to frames: everything is read into one buffer of the shard and parsed there; only what is
//! incomplete is kept by the connection.

use super::conn::Stage;
use super::slab::Key;
use super::{READ_BYTES_MAX, Shard};
use crate::proxy;
use crate::transport::tls::Part;
use ravelin_broker::LinkId;
use ravelin_event::{DisconnectCause, Refusal};
use ravelin_mqtt::{Error, ReasonCode, peek};
use ravelin_protect::CertificateFacts;
use std::io::{self, Read};
use std::net::SocketAddr;

/// What is read at once from a client that is not authenticated.
const PREAUTH_READ_BYTES_MAX: usize = 16 << 10;
/// All that is read in a turn before what it caused is written.
const TURN_BYTES_MAX: usize = 4 << 20;
/// After so many bytes the journal is handed to the store within a turn.
const JOURNAL_EVERY_BYTES: usize = 1 << 20;

/// The first byte of SUBSCRIBE.
const SUBSCRIBE: u8 = 0x82;

impl Shard {
    /// Whether sockets must wait: the store or a sister shard has not caught up, or the turn has done its share.
    pub(super) fn reads_stopped(&self) -> bool {
        self.turn_bytes >= TURN_BYTES_MAX || self.is_overworked() || self.is_held_up()
    }

    /// Whether what was read so far has caused enough work for one turn: a few bytes can go to many (attack 20).
    fn is_overworked(&self) -> bool {
        self.broker.work() >= self.turn_work_end
    }

    /// Whether the store or a sister shard has not caught up; they ring when they have.
    pub(super) fn is_held_up(&self) -> bool {
        self.journal.is_full()
            || self.record.is_full()
            || self
                .mailboxes
                .iter()
                .enumerate()
                .any(|(id, mailbox)| id != usize::from(self.id) && mailbox.is_full())
    }

    /// Reads a connection that has something, within its share of the turn. A panic ends that connection only.
    pub(super) fn read_ready(&mut self, key: Key) {
        if self.reads_stopped() {
            self.list_readable(key);
            return;
        }
        let before = self.turn_bytes;
        let mut input = std::mem::take(&mut self.input);
        self.timed(key, |shard| shard.contain(key, |shard| shard.read(key, &mut input)));
        self.input = input;
        if self.turn_bytes / JOURNAL_EVERY_BYTES != before / JOURNAL_EVERY_BYTES {
            self.journal.append(&mut self.broker);
        }
    }

    fn read(&mut self, key: Key, input: &mut [u8]) {
        let mut left = READ_BYTES_MAX;
        loop {
            let Some(conn) = self.conns.get_mut(key) else { return };
            if conn.flags.delayed {
                conn.flags.readable = true;
                return;
            }
            if conn.flags.stashed
                && let Some(link) = conn.link()
            {
                self.receive_live(key, link, &[]);
                if self.conns.get(key).is_some_and(|conn| conn.flags.stashed) {
                    return;
                }
                continue;
            }
            // Who does not take the answers is not asked for more; the end of the stream is still found.
            let choked = conn.flags.blocked
                && !conn.flags.read_closed
                && conn.link().is_some_and(|link| self.broker.is_choked(link));
            if conn.flags.paused || choked {
                conn.flags.readable = true;
                return;
            }
            // What TLS could not use before stands in front of what comes.
            let carry = match &conn.tls {
                Some(tls) => {
                    input[..tls.incoming.len()].copy_from_slice(&tls.incoming);
                    tls.incoming.len()
                }
                None => 0,
            };
            let share = if matches!(conn.stage, Stage::Pre(_)) { PREAUTH_READ_BYTES_MAX } else { left };
            let end = (carry + share).min(input.len());
            match conn.socket.read(&mut input[carry..end]) {
                Ok(0) => {
                    self.peer_closed(key, DisconnectCause::NoDisconnect, None);
                    return;
                }
                Ok(count) => {
                    self.counters.socket_bytes_in += count as u64;
                    self.turn_bytes += count;
                    // What a sister shard acknowledged before these bytes were sent must be known before they are
                    // handled.
                    self.take_mail();
                    self.receive(key, &mut input[..carry + count]);
                    // A short read has drained the socket; the end of the stream is another read away.
                    let Some(conn) = self.conns.get(key) else { return };
                    if carry + count < end && !conn.flags.read_closed {
                        return;
                    }
                    left = left.saturating_sub(count);
                    if left == 0 || self.reads_stopped() {
                        self.list_readable(key);
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.peer_closed(key, DisconnectCause::Reset, Some(error.to_string()));
                    return;
                }
            }
        }
    }

    /// Bytes from the socket.
    fn receive(&mut self, key: Key, bytes: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if let Stage::Closing(closing) = &mut conn.stage {
            closing.linger_bytes = closing.linger_bytes.saturating_sub(bytes.len());
            if closing.linger_bytes == 0 {
                closing.deadline_ms = 0;
                self.mark_dirty(key);
            }
            return;
        }
        if conn.flags.proxy {
            self.receive_proxy(key, bytes);
        } else if conn.tls.is_some() {
            self.receive_tls(key, bytes);
        } else if conn.ws.is_some() {
            self.receive_ws(key, bytes);
        } else {
            self.receive_mqtt(key, bytes);
        }
        if self.conns.get(key).is_some_and(|conn| !conn.transport_is_idle()) {
            self.mark_dirty(key);
        }
    }

    /// A PROXY protocol header comes before everything else, TLS included.
    fn receive_proxy(&mut self, key: Key, bytes: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        conn.partial.extend_from_slice(bytes);
        let header = match proxy::parse(&conn.partial) {
            Ok(Some(header)) => header,
            Ok(None) => return,
            Err(_) => {
                self.counters.refused_proxy += 1;
                self.drop_preauth(key, Refusal::ProxyProtocol);
                return;
            }
        };
        let mut rest = conn.partial.split_off(header.len);
        conn.partial = Vec::new();
        conn.flags.proxy = false;
        if let Some(client) = header.client {
            conn.address = SocketAddr::new(client.ip().to_canonical(), client.port());
        }
        let (from, entrance) = (conn.address, conn.entrance);
        let address = from.ip();
        self.opened(from);
        let entrance_max = self.policy.entrances[usize::from(entrance)].connections_max;
        let admitted = self.ladder().admit(self.now, address, entrance, entrance_max);
        match admitted {
            Ok(()) => {
                if let Some(conn) = self.conns.get_mut(key) {
                    conn.flags.admitted = true;
                }
                self.receive(key, &mut rest);
            }
            Err(rung) => {
                self.counters.refused_ladder += 1;
                self.rungs.refuse(rung);
                self.end_preauth(key, rung.refusal());
            }
        }
    }

    fn receive_tls(&mut self, key: Key, bytes: &mut [u8]) {
        let Some(mut tls) = self.conns.get_mut(key).and_then(|conn| conn.tls.take()) else { return };
        let Some(conn) = self.conns.get(key) else { return };
        let (entrance, was_pre) = (conn.entrance, matches!(conn.stage, Stage::Pre(_)));
        let was_established = tls.is_established();
        // Revoked between the handshake and CONNECT: what was verified then is looked at again.
        let mut revoked = was_pre
            && was_established
            && self.revocation_of_chain(entrance, tls.peer_certificates()).is_some();
        let mut closed = false;
        let result = tls.open(bytes, |part| match part {
            Part::Established(chain) => {
                revoked = self.revocation_of_chain(entrance, chain).is_some();
                let facts = chain.first().and_then(|certificate| CertificateFacts::parse(certificate).ok());
                if let Some(Stage::Pre(pre)) = self.conns.get_mut(key).map(|conn| &mut conn.stage) {
                    pre.certificate = facts;
                }
            }
            // Whoever is revoked is not heard, whether the handshake was a full one or a resumption.
            Part::Data(_) if revoked => {}
            Part::Data(data) => self.receive_plaintext(key, data),
            Part::Closed => closed = true,
        });
        let Some(conn) = self.conns.get_mut(key) else { return };
        let established = tls.is_established();
        if established && !was_established {
            self.seen.push(super::inventory::handshake(&tls, self.now.wall_ms, entrance));
        }
        conn.tls = Some(tls);
        match result {
            Ok(()) if revoked => self.drop_preauth(key, Refusal::Revoked),
            Ok(()) if closed => self.peer_closed(key, DisconnectCause::NoDisconnect, None),
            Ok(()) => {}
            Err(error) => {
                if let Some(link) = conn.link() {
                    let detail = Some(error.to_string());
                    self.broker.disconnect(
                        self.now,
                        link,
                        ReasonCode::PROTOCOL_ERROR,
                        DisconnectCause::Tls,
                        detail,
                    );
                } else {
                    self.counters.refused_tls += u64::from(!established);
                    self.drop_preauth(key, tls_refusal(&error));
                }
            }
        }
    }

    fn receive_plaintext(&mut self, key: Key, data: &[u8]) {
        if self.conns.get(key).is_some_and(|conn| conn.ws.is_some()) {
            // Frames are unmasked in place, which the record of TLS does not allow.
            let mut scratch = std::mem::take(&mut self.ws_scratch);
            scratch.clear();
            scratch.extend_from_slice(data);
            self.receive_ws(key, &mut scratch);
            self.ws_scratch = scratch;
        } else {
            self.receive_mqtt(key, data);
        }
    }

    fn receive_ws(&mut self, key: Key, bytes: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        let entrance = usize::from(conn.entrance);
        let Some(mut ws) = conn.ws.take() else { return };
        let policy = std::sync::Arc::clone(&self.policy);
        let rules = policy.entrances[entrance].websocket.as_ref();
        let result = match rules {
            Some(rules) => ws.receive(bytes, rules, |data| self.receive_mqtt(key, data)),
            None => Ok(false),
        };
        let Some(conn) = self.conns.get_mut(key) else { return };
        match &result {
            Ok(true) => {}
            Ok(false) => ws.queue_close(crate::ws::CLOSE_NORMAL),
            Err(error) => ws.queue_close(error.close_code()),
        }
        conn.ws = Some(ws);
        match result {
            Ok(true) => {}
            Ok(false) => self.peer_closed(key, DisconnectCause::NoDisconnect, None),
            Err(error) => {
                if let Some(link) = self.conns.get(key).and_then(|conn| conn.link()) {
                    let (detail, cause) = (Some(error.to_string()), DisconnectCause::ProtocolError);
                    self.broker.disconnect(self.now, link, ReasonCode::PROTOCOL_ERROR, cause, detail);
                } else {
                    self.counters.refused_websocket += 1;
                    self.drop_preauth(key, Refusal::WebSocket);
                }
            }
        }
    }

    /// Bytes of the MQTT stream.
    pub(super) fn receive_mqtt(&mut self, key: Key, bytes: &[u8]) {
        match self.conns.get(key).map(|conn| &conn.stage) {
            Some(Stage::Live(link)) => self.receive_live(key, *link, bytes),
            Some(Stage::Pre(_)) => self.receive_pre(key, bytes),
            _ => {}
        }
    }

    pub(super) fn receive_live(&mut self, key: Key, link: LinkId, mut bytes: &[u8]) {
        let overworked = self.is_overworked();
        let Some(conn) = self.conns.get_mut(key) else { return };
        if conn.flags.stashed || conn.flags.delayed {
            conn.partial.extend_from_slice(bytes);
            if conn.flags.delayed {
                conn.flags.stashed = !conn.partial.is_empty();
                return;
            }
            if overworked {
                return self.list_readable(key);
            }
            conn.flags.stashed = false;
            let waiting = std::mem::take(&mut conn.partial);
            return self.receive_packets(key, link, &waiting);
        }
        if !conn.partial.is_empty() {
            match self.complete_partial(key, link, bytes) {
                Some(rest) if self.must_wait(key) => return self.stash(key, rest),
                Some(rest) => bytes = rest,
                None => return,
            }
        }
        self.receive_packets(key, link, bytes);
    }

    /// Bytes that begin with a packet.
    fn receive_packets(&mut self, key: Key, link: LinkId, mut bytes: &[u8]) {
        let bytes_max = self.policy.core.packet_bytes_max;
        loop {
            match peek(bytes, bytes_max) {
                Ok(Some(frame)) if frame.total_len <= bytes.len() => {
                    let (packet, rest) = bytes.split_at(frame.total_len);
                    self.frame(key, link, frame.first, &packet[frame.header_len..]);
                    bytes = rest;
                    if self.is_overworked() || self.must_wait(key) {
                        return self.stash(key, bytes);
                    }
                }
                Ok(_) => break,
                Err(error) => {
                    self.malformed(link, &error);
                    return;
                }
            }
        }
        if !bytes.is_empty()
            && let Some(conn) = self.conns.get_mut(key)
        {
            conn.partial.extend_from_slice(bytes);
        }
    }

    /// Keeps packets for the next turn.
    fn stash(&mut self, key: Key, bytes: &[u8]) {
        let Some(conn) = self.conns.get_mut(key) else { return };
        if !bytes.is_empty() && conn.link().is_some() {
            conn.partial.extend_from_slice(bytes);
            conn.flags.stashed = true;
        }
        if !bytes.is_empty() && !conn.flags.delayed {
            self.list_readable(key);
        }
    }

    /// Adds to the packet that had not arrived whole. `None`: it still has not. It grows as bytes arrive, never by
    /// what its header claims (attack 1).
    fn complete_partial<'a>(&mut self, key: Key, link: LinkId, mut bytes: &'a [u8]) -> Option<&'a [u8]> {
        let bytes_max = self.policy.core.packet_bytes_max;
        let mut partial = std::mem::take(&mut self.conns.get_mut(key)?.partial);
        loop {
            let missing = match peek(&partial, bytes_max) {
                Ok(Some(frame)) if frame.total_len <= partial.len() => {
                    self.frame(key, link, frame.first, &partial[frame.header_len..frame.total_len]);
                    return Some(bytes);
                }
                Ok(Some(frame)) => frame.total_len - partial.len(),
                Ok(None) => 1,
                Err(error) => {
                    self.malformed(link, &error);
                    return None;
                }
            };
            if bytes.is_empty() {
                self.conns.get_mut(key)?.partial = partial;
                return None;
            }
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            partial.extend_from_slice(taken);
            bytes = rest;
        }
    }

    /// Whether the packet that was handled last has exceeded a rate. Without rates this is one comparison.
    #[inline]
    fn must_wait(&mut self, key: Key) -> bool {
        self.meter.is_some() && self.is_delayed(key)
    }

    #[inline]
    fn frame(&mut self, key: Key, link: LinkId, first: u8, body: &[u8]) {
        // What is not acknowledged is sent again, to whoever serves the client next.
        if self.draining && first >> 4 == 3 && self.is_draining(key) {
            return;
        }
        if first == SUBSCRIBE && self.meter.is_some() && !self.may_subscribe(key, link) {
            return;
        }
        // AUTH of a client that authenticates by a method of its own is the shell's; the core refuses any other.
        if first >= 0xF0 && self.conns.get(key).is_some_and(|conn| conn.reauth.is_some()) {
            self.receive_auth(key, link, first, body);
        } else {
            self.broker.handle_frame(self.now, link, first, body);
        }
    }

    pub(super) fn malformed(&mut self, link: LinkId, error: &Error) {
        let cause = match error {
            Error::PacketTooLarge { .. } | Error::LimitExceeded(_) => DisconnectCause::LimitExceeded,
            _ => DisconnectCause::ProtocolError,
        };
        self.broker.disconnect(self.now, link, ReasonCode::from(error), cause, Some(error.to_string()));
    }
}

fn tls_refusal(error: &rustls::Error) -> Refusal {
    match error {
        rustls::Error::NoCertificatesPresented => Refusal::NoCertificate,
        rustls::Error::InvalidCertificate(_) | rustls::Error::InvalidCertRevocationList(_) => {
            Refusal::BadCertificate
        }
        _ => Refusal::Tls,
    }
}
