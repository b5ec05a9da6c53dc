//! CONNECT: a client that was authenticated takes up a session.

use crate::authorize::is_control;
use crate::broker::{Connecting, LinkId};
use crate::journal::Kind;
use crate::link::{Aliases, Link};
use crate::message::Parts;
use crate::outbound::Outbound;
use crate::session::{Session, StoredWill, Subscriptions};
use crate::timers::{Timer, TimerKind};
use crate::{Broker, Now, Publishing};
use ravelin_event::{DisconnectCause, Event, Refusal};
use ravelin_mqtt::{ConnAck, Connect, ReasonCode, Version, Will, encode_connack};
use std::collections::VecDeque;
use std::rc::Rc;

/// The largest packet that the protocol can express.
const PACKET_BYTES_MAX: u32 = 268_435_460;

impl Broker {
    /// A client has proven who it is. On success its CONNACK waits in the new link's outbound, which may be written once
    /// [`Broker::poll_flush`] tells of it, and an earlier connection
    /// with the same Client Identifier is closed. On refusal nothing has changed and the shell sends the CONNACK.
    pub fn handle_connect(&mut self, now: Now, connecting: Connecting<'_>) -> Result<LinkId, ReasonCode> {
        self.sweep_timers();
        let connect = connecting.connect;
        let expiry_s = self.granted_expiry(connect);
        let mut will = match &connect.will {
            Some(will) => Some(Box::new(self.check_will_of(&connecting, will)?)),
            None => None,
        };
        let mut connack = Vec::new();
        self.write_connack(&connecting, expiry_s, false, &mut connack);
        if connack.len() > connect.packet_bytes_max.unwrap_or(u32::MAX) as usize {
            // MQTT-3.2.2-16: all that it says must be said, so there is none.
            return Err(ReasonCode::PACKET_TOO_LARGE);
        }
        let found = self.sessions.find(&connecting.principal.client_id);
        if found.is_none() && self.sessions.len() >= self.limits.sessions_max {
            return Err(ReasonCode::QUOTA_EXCEEDED);
        }
        // Whoever has a session keeps it: another identity gets neither its messages nor the power to end it.
        if let Some(session) = found.and_then(|index| self.sessions.get(index))
            && session.who.identity != connecting.principal.identity
        {
            return Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID);
        }
        if let Some(will) = &mut will {
            will.name = self.next_uid();
        }
        let mut present = false;
        let index = match found {
            Some(index) => {
                self.take_over(now, index);
                if connect.clean_start || !self.sessions.get(index).is_some_and(|session| session.durable) {
                    // MQTT-3.1.2-4
                    self.close_session(now, index, false);
                    self.open_session(&connecting, expiry_s)
                } else {
                    present = true;
                    index
                }
            }
            None => self.open_session(&connecting, expiry_s),
        };
        let generation = self.sessions.bump(index);
        self.resume(now, index, &connecting, expiry_s, will, present);
        self.send_connack(index, &connecting, expiry_s, present);
        self.connected += 1;
        self.open_when_durable(index);
        self.connected_event(index, connect, present);
        if present {
            self.drop_forbidden(index);
        }
        self.pump(now, index);
        Ok(LinkId::new(index, generation))
    }

    /// What CONNACK tells must hold after a crash: that there is a session, or that the earlier one is gone, and that the
    /// will is published. And what is sent after it must be known to have been sent. So nothing is written to a connection
    /// before all records so far are durable: that the earlier session is gone may be told by the record of an earlier
    /// connection that got no CONNACK.
    fn open_when_durable(&mut self, index: u32) {
        let seq = self.journal.seq();
        if seq <= self.journal.durable() || self.store_failed {
            return;
        }
        if let Some(link) = self.link_mut(index) {
            link.opens_after = seq;
            self.waiting.push_back((seq, index));
        }
    }

    /// The records of a link's connection are durable, or never will be.
    pub(crate) fn open(&mut self, index: u32) {
        let until = if self.store_failed { u64::MAX } else { self.journal.durable() };
        let Some(link) = self.link_mut(index) else { return };
        if link.opens_after != 0 && link.opens_after <= until {
            link.opens_after = 0;
            if link.dirty {
                self.dirty.push_back(index);
            }
        }
    }

    fn granted_expiry(&self, connect: &Connect<'_>) -> u32 {
        let asked = match connect.version {
            Version::V5 => connect.session_expiry_s.unwrap_or(0),
            // 3.1.1 knows no expiry: a session that is not clean lives as long as any may.
            Version::V311 if connect.clean_start => 0,
            Version::V311 => u32::MAX,
        };
        asked.min(self.limits.session_expiry_s_max)
    }

    fn check_will_of(
        &mut self,
        connecting: &Connecting<'_>,
        will: &Will<'_>,
    ) -> Result<StoredWill, ReasonCode> {
        let who = &connecting.principal;
        let what = Publishing { topic: will.topic, qos: will.qos, retain: will.retain };
        // Nobody is there any more to be answered, nor to answer for it.
        let reserved = crate::publish::is_reserved(will.topic) || is_control(will.topic);
        let refusal = if reserved || !self.authorizer.may_publish(who, &what) {
            Some((ReasonCode::NOT_AUTHORIZED, Refusal::AccessRule))
        } else if will.payload.len() > self.limits.will_bytes_max {
            Some((ReasonCode::PACKET_TOO_LARGE, Refusal::TooLarge))
        } else {
            None
        };
        if let Some((reason, why)) = refusal {
            let event = Event::WillRefused {
                client_id: who.client_id.to_string(),
                identity: who.identity.as_deref().map(str::to_owned),
                address: who.address,
                topic: will.topic.to_owned(),
                why,
            };
            self.stats.denied += 1;
            self.event(event);
            return Err(reason);
        }
        let mut forward = Vec::new();
        will.properties.forward_into(&mut forward);
        let parts = Parts {
            topic: will.topic,
            forward: &forward,
            payload: will.payload,
            qos: will.qos,
            retain: will.retain,
            expires_ms: None,
            record: 0,
        };
        Ok(StoredWill {
            name: 0,
            restored: false,
            message: Rc::new(parts.to_message()),
            expiry_s: will.expiry_s,
            delay_s: will.delay_s.min(self.limits.will_delay_s_max),
            due_ms: None,
        })
    }

    /// MQTT-3.1.4-3: an existing connection with the same Client Identifier is told and closed.
    fn take_over(&mut self, now: Now, index: u32) {
        if self.sessions.get(index).is_some_and(|session| session.link.is_some()) {
            self.stats.takeovers += 1;
            let reason = Some(ReasonCode::SESSION_TAKEN_OVER);
            self.detach(index, reason, DisconnectCause::TakenOver, None);
            if self.sessions.get(index).is_some_and(|s| s.will.as_ref().is_some_and(|will| will.delay_s == 0))
            {
                self.publish_will(now, index);
            }
        }
    }

    fn open_session(&mut self, connecting: &Connecting<'_>, expiry_s: u32) -> u32 {
        let uid = self.next_uid();
        self.sessions.insert(Session {
            uid,
            who: connecting.principal.clone(),
            version: connecting.connect.version,
            expiry_s,
            durable: false,
            named: false,
            journaled: false,
            link: None,
            subscriptions: Subscriptions::default(),
            shares: Vec::new(),
            extra_weight: 0,
            sending: Default::default(),
            received: Vec::new(),
            received_unsure: Vec::new(),
            will: None,
            expires_ms: None,
            dropped: 0,
        })
    }

    /// Gives the session its new connection.
    fn resume(
        &mut self,
        now: Now,
        index: u32,
        connecting: &Connecting<'_>,
        expiry_s: u32,
        will: Option<Box<StoredWill>>,
        present: bool,
    ) {
        let connect = connecting.connect;
        let window_max = connect.receive_max.unwrap_or(u16::MAX).min(self.limits.inflight_max);
        let keep_alive_s = self.keep_alive_of(connect);
        let alias_max = connect.topic_alias_max.min(self.limits.topic_alias_max);
        let alias_bytes_max = self.limits.topic_alias_bytes_max;
        let generation = self.sessions.generation(index);
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.who = connecting.principal.clone();
        session.version = connect.version;
        session.expiry_s = expiry_s;
        session.expires_ms = None;
        let was_durable = std::mem::replace(&mut session.durable, expiry_s > 0);
        session.named |= session.durable;
        let old = std::mem::replace(&mut session.will, will);
        session.link = Some(Box::new(Link {
            token: connecting.token,
            out: Outbound::default(),
            dirty: false,
            opens_after: 0,
            problem_info: connect.request_problem_info,
            packet_bytes_max: connect.packet_bytes_max.unwrap_or(u32::MAX).min(PACKET_BYTES_MAX),
            window_max,
            unacked: 0,
            qos1_pending: 0,
            keep_alive_ms: keep_alive_s as u32 * 1000,
            clean_start: connect.clean_start,
            since_ms: now.wall_ms,
            last_heard_ms: now.mono_ms,
            memo: None,
            counting: false,
            limited: 0,
            traffic: Default::default(),
            told: Default::default(),
            pending: VecDeque::new(),
            pending_base: 0,
            resend_at: session.sending.first_seq(),
            aliases: (alias_max > 0).then(|| {
                Box::new(Aliases {
                    outbound_max: alias_max,
                    bytes_max: alias_bytes_max,
                    ..Aliases::default()
                })
            }),
        }));
        if keep_alive_s > 0 {
            let at_ms = now.mono_ms + keep_alive_s as u64 * 1500;
            self.timers.push(Timer { at_ms, key: index, generation, kind: TimerKind::KeepAlive });
        }
        let journaled = session.durable || session.will.is_some();
        if present && was_durable {
            self.journal_connected(now, index);
            self.share_state(index, true);
        } else if journaled {
            if let Some(session) = self.sessions.get_mut(index) {
                session.journaled = true;
            }
            self.sessions.index_uid(index);
            self.journal_session(now, index);
        }
        if let Some(old) = old.filter(|old| old.restored) {
            self.end_taken(old.name);
        }
    }

    /// Keep Alive as the broker wants it. MQTT 5.0 clients are told by Server Keep Alive (MQTT-3.2.2-21); 3.1.1 clients
    /// cannot be told, but a server may disconnect who is silent too long, whatever was agreed (3.1.1, section 3.1.2.10).
    /// Without that a client that asks for none would hold its connection for ever (attack 32).
    fn keep_alive_of(&self, connect: &Connect<'_>) -> u16 {
        match (connect.keep_alive_s, self.limits.keep_alive_s_max) {
            (asked, 0) => asked,
            (0, max) => max,
            (asked, max) => asked.min(max),
        }
    }

    fn send_connack(&mut self, index: u32, connecting: &Connecting<'_>, expiry_s: u32, present: bool) {
        let mut packet = std::mem::take(&mut self.scratch);
        packet.clear();
        self.write_connack(connecting, expiry_s, present, &mut packet);
        if let Some(link) = self.touch(index) {
            link.out.buffer().extend_from_slice(&packet);
        }
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += packet.len() as u64;
        self.stats.packets_received += 1;
        self.scratch = packet;
    }

    fn write_connack(&self, connecting: &Connecting<'_>, expiry_s: u32, present: bool, out: &mut Vec<u8>) {
        let connect = connecting.connect;
        let keep_alive_s = self.keep_alive_of(connect);
        let (receive_max, alias_max) = (self.limits.receive_max, self.limits.topic_alias_max);
        let client_id = &*connecting.principal.client_id;
        let connack = ConnAck {
            session_present: present,
            reason: ReasonCode::SUCCESS,
            session_expiry_s: (connect.session_expiry_s.unwrap_or(0) != expiry_s).then_some(expiry_s),
            receive_max: (receive_max != u16::MAX).then_some(receive_max),
            packet_bytes_max: Some(self.limits.packet_bytes_max),
            assigned_client_id: connecting.client_id_assigned.then_some(client_id),
            topic_alias_max: (alias_max > 0).then_some(alias_max),
            server_keep_alive_s: (keep_alive_s != connect.keep_alive_s).then_some(keep_alive_s),
            auth_method: connecting.auth_method,
            auth_data: connecting.auth_data,
            ..ConnAck::default()
        };
        encode_connack(out, connect.version, &connack);
    }

    fn connected_event(&mut self, index: u32, connect: &Connect<'_>, present: bool) {
        let Some(session) = self.sessions.get(index) else { return };
        let event = Event::Connected {
            client_id: session.who.client_id.to_string(),
            identity: session.who.identity.as_deref().map(str::to_owned),
            address: session.who.address,
            version: match connect.version {
                Version::V311 => "3.1.1",
                Version::V5 => "5.0",
            },
            keep_alive_s: connect.keep_alive_s,
            clean_start: connect.clean_start,
            session_present: present,
        };
        self.event(event);
    }

    fn journal_connected(&mut self, now: Now, index: u32) {
        let Some(session) = self.sessions.get(index) else { return };
        self.journal.record(Kind::Connected, |record| {
            record.int(session.uid);
            record.u8(session.version as u8);
            record.int(session.expiry_s as u64);
            crate::checkpoint::write_will(record, now, session.will.as_deref());
        });
    }
}
