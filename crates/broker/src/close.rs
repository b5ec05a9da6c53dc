//! The end of connections and sessions, and what becomes due after it: wills and expiry.

use crate::broker::LinkId;
use crate::journal::Kind;
use crate::link::PendingAck;
use crate::timers::{Timer, TimerKind};
use crate::{Broker, Close, Now, Output};
use ravelin_event::{DisconnectCause, Event};
use ravelin_mqtt::{AckKind, Disconnect, ReasonCode, Version, encode_disconnect};

impl Broker {
    /// The network connection of a link has ended.
    pub fn handle_closed(&mut self, now: Now, link: LinkId, cause: DisconnectCause, detail: Option<String>) {
        if let Some(index) = self.session_of(link) {
            self.forget_link(index, cause, detail);
            self.after_close(now, index, true);
        }
    }

    /// Ends a connection from this side; a client of MQTT 5.0 is told why.
    pub(crate) fn close_link(
        &mut self,
        now: Now,
        index: u32,
        reason: Option<ReasonCode>,
        cause: DisconnectCause,
        detail: Option<String>,
    ) {
        self.detach(index, reason, cause, detail);
        self.after_close(now, index, true);
    }

    pub(crate) fn handle_disconnect(&mut self, now: Now, index: u32, disconnect: &Disconnect<'_>) {
        let Some(session) = self.sessions.get_mut(index) else { return };
        if let Some(expiry_s) = disconnect.session_expiry_s {
            if session.expiry_s == 0 && expiry_s != 0 {
                // MQTT-3.14.2-2 and section 3.14.2.2.2
                let detail = Some("session expiry set by DISCONNECT after 0 in CONNECT".into());
                let reason = Some(ReasonCode::PROTOCOL_ERROR);
                return self.close_link(now, index, reason, DisconnectCause::ProtocolError, detail);
            }
            session.expiry_s = expiry_s.min(self.limits.session_expiry_s_max);
        }
        let normal = disconnect.reason == ReasonCode::SUCCESS;
        let cause = if normal { DisconnectCause::Normal } else { DisconnectCause::WithWill };
        if normal {
            // MQTT-3.14.4-3
            session.will = None;
        }
        let detail = disconnect.reason_string.map(str::to_owned);
        self.detach(index, None, cause, detail);
        self.after_close(now, index, !normal);
    }

    /// Takes the link off its session and asks the shell to close it. The session is left as it is.
    pub(crate) fn detach(
        &mut self,
        index: u32,
        reason: Option<ReasonCode>,
        cause: DisconnectCause,
        detail: Option<String>,
    ) {
        let generation = self.sessions.generation(index);
        let Some(session) = self.sessions.get_mut(index) else { return };
        let version = session.version;
        let Some(link) = session.link.as_deref_mut() else { return };
        let (token, mut last) = (link.token, std::mem::take(&mut link.out));
        if let Some(reason) = reason.filter(|_| version == Version::V5) {
            let told = detail.as_deref().filter(|_| link.problem_info && reason.is_failure());
            // MQTT-3.14.2-3, MQTT-3.1.2-24: the reason string, and then the packet, is left out where it is too long.
            for reason_string in [told, None] {
                let mut bytes = Vec::new();
                encode_disconnect(
                    &mut bytes,
                    version,
                    &Disconnect { reason, reason_string, ..Disconnect::default() },
                );
                if bytes.len() <= link.packet_bytes_max as usize {
                    last.buffer().extend_from_slice(&bytes);
                    self.stats.packets_sent += 1;
                    self.stats.bytes_sent += bytes.len() as u64;
                    break;
                }
            }
        }
        self.forget_link(index, cause, detail);
        let link = LinkId::new(index, generation);
        self.outputs.push_back(Output::Close(Close { link, token, last, cause }));
    }

    fn forget_link(&mut self, index: u32, cause: DisconnectCause, detail: Option<String>) {
        self.hand_over_flow(index);
        let left = LinkId::new(index, self.sessions.generation(index));
        self.sessions.bump(index);
        let Some(session) = self.sessions.get_mut(index) else { return };
        let Some(link) = session.link.take() else { return };
        for pending in &link.pending {
            // Sister shards had not yet said that they have the message: they are asked again when it comes again.
            if let PendingAck::Ack(AckKind::PubRec, id, reason) = pending.what
                && pending.shards > 0
                && !reason.is_failure()
                // One that was released without waiting for PUBREC does not come again.
                && session.received.contains(&id)
                && !session.received_unsure.contains(&id)
            {
                session.received_unsure.push(id);
            }
        }
        session.sending.disconnected();
        if self.hold.on {
            self.hold.forget_link(left, &session.who);
        }
        let event = Event::Disconnected {
            client_id: session.who.client_id.to_string(),
            identity: session.who.identity.as_deref().map(str::to_owned),
            address: session.who.address,
            cause,
            detail,
        };
        self.connected -= 1;
        self.event(event);
    }

    /// What follows the end of a connection: the will, and the session's expiry (sections 3.1.2.5, 3.1.2.11.2).
    fn after_close(&mut self, now: Now, index: u32, with_will: bool) {
        let generation = self.sessions.generation(index);
        let never = self.limits.session_expiry_s_max == u32::MAX;
        let Some(session) = self.sessions.get_mut(index) else { return };
        if session.link.is_some() {
            return;
        }
        if session.expiry_s == 0 {
            return self.close_session(now, index, false);
        }
        let expiry_ms = session.expiry_s as u64 * 1000;
        session.expires_ms = (!never || session.expiry_s != u32::MAX).then_some(now.mono_ms + expiry_ms);
        // QoS 0 messages that wait are not part of the session state.
        let before = (session.sending.queue.len(), session.sending.queue_bytes);
        session.sending.drop_qos0();
        self.hold.drop_qos0(index);
        self.queued -= before.0 - session.sending.queue.len();
        self.queued_bytes -= before.1 - session.sending.queue_bytes;
        if let Some(at_ms) = session.expires_ms {
            self.timers.push(Timer { at_ms, key: index, generation, kind: TimerKind::SessionExpiry });
        }
        let mut due = None;
        if with_will && let Some(will) = &mut session.will {
            let at_ms = now.mono_ms + (will.delay_s as u64 * 1000).min(expiry_ms);
            will.due_ms = Some(at_ms);
            due = Some(at_ms);
        }
        self.journal_disconnected(now, index);
        self.share_state(index, false);
        match due {
            Some(at_ms) if at_ms <= now.mono_ms => self.publish_will(now, index),
            Some(at_ms) => {
                self.timers.push(Timer { at_ms, key: index, generation, kind: TimerKind::WillDelay });
            }
            None => {}
        }
    }

    /// Journals that a session has no connection from now on.
    pub(crate) fn journal_disconnected(&mut self, now: Now, index: u32) {
        let Some(session) = self.sessions.get(index).filter(|session| session.journaled) else { return };
        self.journal.record(Kind::Disconnected, |record| {
            record.int(session.uid);
            record.int(now.wall_ms);
            record.int(session.expiry_s as u64);
            record.u8(session.will.is_some() as u8);
            record.int(session.sending.last_sent());
        });
    }

    /// Ends a session: its will is due at once (MQTT-3.1.3-9), its subscriptions and messages go.
    pub(crate) fn close_session(&mut self, now: Now, index: u32, expired: bool) {
        self.publish_will(now, index);
        self.unsubscribe_all(index);
        let Some(session) = self.sessions.remove(index) else { return };
        self.hold.forget_session(index);
        self.queued -= session.sending.queue.len();
        self.queued_bytes -= session.sending.queue_bytes;
        if session.journaled {
            let uid = session.uid;
            self.journal.record(Kind::SessionEnded, |record| record.int(uid));
            self.end_taken(uid);
        }
        if session.durable {
            if expired {
                self.stats.sessions_expired += 1;
            }
            self.event(Event::SessionEnded { client_id: session.who.client_id.to_string(), expired });
        }
    }

    pub(crate) fn check_will(&mut self, now: Now, index: u32) {
        let due = self.sessions.get(index).and_then(|session| session.will.as_ref()?.due_ms);
        if due.is_some_and(|at_ms| at_ms <= now.mono_ms) {
            self.publish_will(now, index);
        }
    }

    pub(crate) fn check_expiry(&mut self, now: Now, index: u32) {
        let at = self.sessions.get(index).and_then(|session| session.expires_ms);
        if at.is_some_and(|at_ms| at_ms <= now.mono_ms) {
            self.close_session(now, index, true);
        }
    }

    /// MQTT-3.1.2-22: no packet within 1.5 times Keep Alive is a network failure.
    pub(crate) fn check_keep_alive(&mut self, now: Now, index: u32) {
        let generation = self.sessions.generation(index);
        let Some(link) = self.link_mut(index) else { return };
        let at_ms = link.last_heard_ms + link.keep_alive_ms as u64 * 3 / 2;
        if at_ms <= now.mono_ms {
            let reason = Some(ReasonCode::KEEP_ALIVE_TIMEOUT);
            self.close_link(now, index, reason, DisconnectCause::KeepAlive, None);
        } else {
            self.timers.push(Timer { at_ms, key: index, generation, kind: TimerKind::KeepAlive });
        }
    }
}
