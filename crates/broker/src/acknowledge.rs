//! Acknowledgements, both ways, and when they may go.

use crate::broker::LinkId;
use crate::journal::Kind;
use crate::link::{Pending, PendingAck};
use crate::publish::Asked;
use crate::sending::Stage;
use crate::share::Waiter;
use crate::{Broker, How, Now};
use ravelin_event::DisconnectCause;
use ravelin_mqtt::{
    Ack, AckKind, Packet, Properties, Publish, QoS, ReasonCode, Sender, Version, decode, encode_ack,
    encode_pingresp,
};

impl Broker {
    /// Acknowledges once the journal is durable up to a number, the sister shards that were asked have answered, and the
    /// record has the message, if it has a name there.
    #[inline(always)]
    pub(crate) fn answer_accepted(
        &mut self,
        index: u32,
        publish: &Publish<'_>,
        (seq, asked, record): (u64, Asked, u64),
        reason: ReasonCode,
    ) {
        let kind = match publish.qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => AckKind::PubAck,
            QoS::ExactlyOnce => {
                if let Some(session) = self.sessions.get_mut(index)
                    && !session.received.contains(&publish.packet_id)
                {
                    session.received.push(publish.packet_id);
                }
                AckKind::PubRec
            }
        };
        let held = if record == 0 { 0 } else { self.answers_of_record(record) };
        let number = self.acknowledge(index, seq, asked.shards + held, kind, publish.packet_id, reason);
        self.expect_answers(index, number, asked);
        if held > 0 {
            self.expect_record(index, record, number);
        }
    }

    /// Sends an acknowledgement once the journal is durable up to `seq` and `shards` sister shards have answered, and not
    /// before those that came earlier (MQTT-4.6.0-2 to -4). Returns its number among the link's pending ones.
    pub(crate) fn acknowledge(
        &mut self,
        index: u32,
        seq: u64,
        shards: u16,
        kind: AckKind,
        packet_id: u16,
        reason: ReasonCode,
    ) -> u32 {
        self.defer(index, seq, shards, PendingAck::Ack(kind, packet_id, reason))
    }

    pub(crate) fn defer(&mut self, index: u32, seq: u64, shards: u16, what: PendingAck) -> u32 {
        let durable = self.journal.durable();
        let Some(link) = self.link_mut(index) else { return 0 };
        if link.pending.is_empty() && seq <= durable && shards == 0 {
            self.send_pending(index, what);
            return 0;
        }
        if matches!(what, PendingAck::Ack(AckKind::PubAck, ..)) {
            link.qos1_pending = link.qos1_pending.saturating_add(1);
        }
        let number = link.pending_base.wrapping_add(link.pending.len() as u32);
        link.pending.push_back(Pending { seq, shards, what });
        if seq > durable {
            self.waiting.push_back((seq, index));
        }
        number
    }

    fn send_pending(&mut self, index: u32, what: PendingAck) {
        match what {
            PendingAck::Ack(kind, packet_id, reason) => self.send_ack(index, kind, packet_id, reason),
            PendingAck::Packet(bytes) => {
                if let Some(link) = self.touch(index) {
                    link.out.buffer().extend_from_slice(&bytes);
                    self.stats.packets_sent += 1;
                    self.stats.bytes_sent += bytes.len() as u64;
                }
            }
        }
    }

    /// After the store has failed: what waits for it would wait for ever, and everything behind it. The client is told to
    /// come again; what it sends then is refused, or needs no disk.
    pub(crate) fn end_if_stuck(&mut self, now: Now, index: u32) {
        let durable = self.journal.durable();
        let stuck = self.link_mut(index).is_some_and(|link| link.pending.iter().any(|one| one.seq > durable));
        if stuck {
            self.end_stuck(now, index);
        }
    }

    pub(crate) fn end_stuck(&mut self, now: Now, index: u32) {
        let reason = Some(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
        let detail = Some("the store has failed".into());
        self.close_link(now, index, reason, DisconnectCause::Internal, detail);
    }

    /// Sends what is due of a link's pending acknowledgements.
    pub(crate) fn flush_pending(&mut self, index: u32) {
        let durable = self.journal.durable();
        loop {
            let Some(link) = self.link_mut(index) else { return };
            let due = link.pending.front().is_some_and(|front| front.seq <= durable && front.shards == 0);
            if !due {
                if link.pending.is_empty() && link.pending.capacity() > 64 {
                    link.pending = Default::default();
                }
                return;
            }
            let Some(front) = link.pending.pop_front() else { return };
            link.pending_base = link.pending_base.wrapping_add(1);
            if matches!(front.what, PendingAck::Ack(AckKind::PubAck, ..)) {
                link.qos1_pending = link.qos1_pending.saturating_sub(1);
            }
            self.send_pending(index, front.what);
        }
    }

    /// A sister shard answered for one of a link's pending acknowledgements.
    pub(crate) fn shard_answered(&mut self, link: LinkId, number: u32) {
        let Some(index) = self.session_of(link) else { return };
        let Some(link) = self.link_mut(index) else { return };
        let at = number.wrapping_sub(link.pending_base) as usize;
        if let Some(pending) = link.pending.get_mut(at) {
            pending.shards = pending.shards.saturating_sub(1);
        }
        self.flush_pending(index);
    }

    /// Remembers which pending acknowledgement the answers of sister shards are for.
    pub(crate) fn expect_answers(&mut self, index: u32, number: u32, asked: Asked) {
        if asked.shards > 0 {
            let link = LinkId::new(index, self.sessions.generation(index));
            self.groups.answers.insert(asked.token, (Waiter::Link(link, number), asked.shards));
        }
    }

    pub(crate) fn send_ack(&mut self, index: u32, kind: AckKind, packet_id: u16, reason: ReasonCode) {
        let Some(version) = self.sessions.get(index).map(|session| session.version) else { return };
        let Some(link) = self.touch(index) else { return };
        let before = link.out.len();
        let ack = Ack { kind, packet_id, reason, reason_string: None, properties: Properties::EMPTY };
        encode_ack(link.out.buffer(), version, &ack);
        let bytes = link.out.len() - before;
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += bytes as u64;
    }

    pub(crate) fn handle_ack(&mut self, now: Now, index: u32, first: u8, body: &[u8]) {
        let Some(version) = self.sessions.get(index).map(|session| session.version) else { return };
        // The common form: Success, and nothing but the Packet Identifier.
        let plain = match (first, body) {
            (0x40, &[high, low]) => Some((AckKind::PubAck, high, low)),
            (0x50, &[high, low]) => Some((AckKind::PubRec, high, low)),
            (0x62, &[high, low]) => Some((AckKind::PubRel, high, low)),
            (0x70, &[high, low]) => Some((AckKind::PubComp, high, low)),
            _ => None,
        };
        let (kind, packet_id, reason) = match plain {
            Some((kind, high, low)) if high | low != 0 => {
                (kind, u16::from_be_bytes([high, low]), ReasonCode::SUCCESS)
            }
            _ => match decode(first, body, version, Sender::Client, &self.limits.decode) {
                Ok(Packet::Ack(ack)) => (ack.kind, ack.packet_id, ack.reason),
                Ok(_) => return,
                Err(error) => return self.fail(now, index, &error),
            },
        };
        match kind {
            AckKind::PubAck => self.handle_puback(now, index, packet_id, reason),
            AckKind::PubRec => self.handle_pubrec(now, index, packet_id, reason),
            AckKind::PubRel => self.handle_pubrel(index, packet_id),
            AckKind::PubComp => self.handle_pubcomp(now, index, packet_id),
        }
    }

    /// The message under way with an identifier: its number, how far it has come, and whether somebody records it.
    #[inline]
    fn seq_at(&mut self, index: u32, packet_id: u16, qos: QoS) -> Option<(u64, Stage, bool)> {
        let sending = &mut self.sessions.get_mut(index)?.sending;
        let seq = sending.seq_of(packet_id)?;
        let slot = sending.slot_mut(seq)?;
        (slot.qos == qos).then_some((seq, slot.stage, slot.record != 0))
    }

    fn handle_puback(&mut self, now: Now, index: u32, packet_id: u16, reason: ReasonCode) {
        // An identifier that is not under way: the message was acknowledged before. Nothing to do.
        if let Some((seq, _, recorded)) = self.seq_at(index, packet_id, QoS::AtLeastOnce) {
            if recorded {
                self.told(now, index, seq, QoS::AtLeastOnce, reason);
            }
            self.finish(index, seq);
            self.pump(now, index);
        }
    }

    /// The receiver has said whether it took a message. Whoever records that is told once.
    #[cold]
    fn told(&mut self, now: Now, index: u32, seq: u64, qos: QoS, reason: ReasonCode) {
        let slot = self.sessions.get_mut(index).and_then(|session| session.sending.slot_mut(seq));
        let Some(slot) = slot.filter(|slot| slot.record != 0) else { return };
        let id = std::mem::take(&mut slot.record);
        let how = if reason.is_failure() { How::Refused } else { How::Acknowledged };
        self.delivered(now, index, id, qos, how);
    }

    fn handle_pubrec(&mut self, now: Now, index: u32, packet_id: u16, reason: ReasonCode) {
        let Some((seq, stage, recorded)) = self.seq_at(index, packet_id, QoS::ExactlyOnce) else {
            // MQTT 5.0 section 3.6.2.1: tell the client that nothing is known of it. In 3.1.1 the code is not sent.
            let reason = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
            self.acknowledge(index, 0, 0, AckKind::PubRel, packet_id, reason);
            return;
        };
        if recorded {
            self.told(now, index, seq, QoS::ExactlyOnce, reason);
        }
        if reason.is_failure() {
            // MQTT-4.9.0-2: the client does not want it; its Packet Identifier is free again.
            self.finish(index, seq);
            return self.pump(now, index);
        }
        let Some(session) = self.sessions.get_mut(index) else { return };
        // A PUBREC that is repeated must wait for the record of the first.
        let mut after = if session.durable { self.journal.seq() } else { 0 };
        if stage == Stage::Sent {
            if let Some(slot) = session.sending.slot_mut(seq) {
                slot.stage = Stage::Released;
                slot.delivery = None;
            }
            if session.durable {
                let uid = session.uid;
                // PUBREL waits for the disk: sent and then forgotten, the message would be sent again as a new one.
                after = self.journal.record(Kind::Received, |record| {
                    record.int(uid);
                    record.int(seq);
                });
            }
        }
        self.acknowledge(index, after, 0, AckKind::PubRel, packet_id, ReasonCode::SUCCESS);
    }

    fn handle_pubrel(&mut self, index: u32, packet_id: u16) {
        let (known, seq, asked) = self.release(index, packet_id);
        let reason = match known {
            true => ReasonCode::SUCCESS,
            // MQTT-4.3.3-11 still asks for the PUBCOMP.
            false => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        let number = self.acknowledge(index, seq, asked.shards, AckKind::PubComp, packet_id, reason);
        self.expect_answers(index, number, asked);
    }

    /// A client's QoS 2 message is over, its Packet Identifier free: here, in the journal and on the sister shards. Tells
    /// whether it was known, and what the answer must wait for.
    pub(crate) fn release(&mut self, index: u32, packet_id: u16) -> (bool, u64, Asked) {
        let Some(session) = self.sessions.get_mut(index) else { return (false, 0, Asked::default()) };
        let before = session.received.len();
        session.received.retain(|id| *id != packet_id);
        session.received_unsure.retain(|id| *id != packet_id);
        let known = session.received.len() < before;
        let origin = (session.uid, packet_id);
        let named = session.named;
        let taken = self.taken.release(origin).is_some();
        if !named && !taken {
            return (known, 0, Asked::default());
        }
        // The answer waits for the disk: sent and then forgotten, the identifier's next message would be taken for a
        // duplicate. That holds for a PUBREL that is repeated as well; and what is unknown here may be known to a record of
        // another shard.
        let seq = self.journal_released(origin);
        (known, seq, self.release_on_sisters(origin))
    }

    fn handle_pubcomp(&mut self, now: Now, index: u32, packet_id: u16) {
        if let Some((seq, Stage::Released, _)) = self.seq_at(index, packet_id, QoS::ExactlyOnce) {
            self.finish(index, seq);
            self.pump(now, index);
        }
    }

    /// All packets but PUBLISH and its acknowledgements.
    pub(crate) fn handle_other(&mut self, now: Now, index: u32, first: u8, body: &[u8]) {
        let Some(version) = self.sessions.get(index).map(|session| session.version) else { return };
        if first >> 4 == 1 {
            // MQTT-3.1.0-2: whatever a second CONNECT holds, it is the violation; the reasons that a CONNECT is refused
            // for are not reasons of a DISCONNECT.
            let reason = Some(ReasonCode::PROTOCOL_ERROR);
            let detail = Some("a second CONNECT".into());
            return self.close_link(now, index, reason, DisconnectCause::ProtocolError, detail);
        }
        match decode(first, body, version, Sender::Client, &self.limits.decode) {
            Ok(Packet::PingReq) => {
                if let Some(link) = self.touch(index) {
                    encode_pingresp(link.out.buffer());
                    self.stats.packets_sent += 1;
                    self.stats.bytes_sent += 2;
                }
            }
            Ok(Packet::Subscribe(subscribe)) => self.handle_subscribe(now, index, &subscribe),
            Ok(Packet::Unsubscribe(unsubscribe)) => self.handle_unsubscribe(index, &unsubscribe),
            Ok(Packet::Disconnect(disconnect)) => self.handle_disconnect(now, index, &disconnect),
            Ok(_) => {
                // A packet that only a server sends.
                let reason = (version == Version::V5).then_some(ReasonCode::PROTOCOL_ERROR);
                let detail = format!("packet type {} is not allowed here", first >> 4);
                self.close_link(now, index, reason, DisconnectCause::ProtocolError, Some(detail));
            }
            Err(error) => self.fail(now, index, &error),
        }
    }
}
