//! The messages on their way to one client: those sent and not yet acknowledged, and those that wait.
//!
//! Every QoS 1 or 2 message gets a sequence number when it is taken in, and its Packet Identifier follows from that
//! number. So the identifier need not be stored: a message that is sent again after a crash has the same one
//! (MQTT-4.4.0-1), and two that are under way at once never share one.

use crate::message::Message;
use ravelin_mqtt::QoS;
use std::collections::VecDeque;
use std::rc::Rc;

/// Packet Identifiers there are.
const IDS: u64 = 65_535;

/// The Packet Identifier of a sequence number.
pub(crate) fn packet_id(seq: u64) -> u16 {
    ((seq - 1) % IDS + 1) as u16
}

/// One message for one client.
#[derive(Clone, Debug)]
pub(crate) struct Delivery {
    pub message: Rc<Message>,
    pub qos: QoS,
    pub retain: bool,
    pub subscription_ids: Option<Rc<[u32]>>,
}

/// A message that waits to be sent.
#[derive(Clone, Debug)]
pub(crate) struct Queued {
    pub delivery: Delivery,
    /// 0 at QoS 0.
    pub seq: u64,
    /// It may be sent once the journal is durable up to here. Only QoS 2 waits: were the message sent and then forgotten
    /// in a crash, its identifier could be given to another message, which the client would take for a duplicate.
    pub after: u64,
    /// The client may not have it any more, but may hold its identifier from before a restart: PUBREL is sent in its place.
    pub released: bool,
    /// It was sent before under another identifier: it carries DUP.
    pub again: bool,
}

/// How far a message in the window has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// PUBLISH sent.
    Sent,
    /// PUBREC received; PUBREL is sent, or waits for the disk.
    Released,
    /// PUBLISH sent at QoS 1; the client may not have it any more. It may still acknowledge it on this connection.
    Withdrawn,
    /// Acknowledged, expired or given up.
    Done,
}

/// A message in the window.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub stage: Stage,
    pub qos: QoS,
    /// It takes up one of the client's Receive Maximum on the present connection.
    pub counted: bool,
    /// It may have been sent before: DUP must be set (MQTT-3.3.1-1).
    pub dup: bool,
    /// Kept only if the session outlives the connection.
    pub delivery: Option<Delivery>,
    /// Its name in the transmission record until the client has acknowledged it; 0: none.
    pub record: u64,
}

/// The sending half of a session.
#[derive(Default)]
pub(crate) struct Sending {
    /// Sequence number of the first slot of the window, less 1.
    base: u64,
    pub window: VecDeque<Slot>,
    pub queue: VecDeque<Queued>,
    pub queue_bytes: usize,
    /// Sequence numbers given out.
    last_seq: u64,
    /// Messages of the queue up to here may have been sent before the node was started: they carry DUP.
    sent_before: u64,
}

impl Sending {
    /// Gives out the next sequence number.
    pub fn next_seq(&mut self) -> u64 {
        self.last_seq += 1;
        self.last_seq
    }

    /// Sequence numbers given out so far.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Continues after a restart: nothing at or before `seq` is under way.
    pub fn continue_after(&mut self, seq: u64) {
        if self.window.is_empty() && self.queue.is_empty() {
            self.base = self.base.max(seq);
        }
        self.last_seq = self.last_seq.max(seq);
    }

    /// The sequence number of the first slot.
    pub fn first_seq(&self) -> u64 {
        self.base + 1
    }

    /// The sequence number after the last slot.
    pub fn end_seq(&self) -> u64 {
        self.base + 1 + self.window.len() as u64
    }

    /// Messages up to here may have been sent before the restart that this follows.
    pub fn may_have_sent(&mut self, seq: u64) {
        self.sent_before = seq;
    }

    /// Messages of the queue up to this one may have been sent before.
    pub fn sent_before(&self) -> u64 {
        self.sent_before
    }

    /// Whether a message of the queue may have been sent before.
    pub fn was_sent(&self, seq: u64) -> bool {
        seq <= self.sent_before
    }

    /// No message after this one was ever sent.
    pub fn last_sent(&self) -> u64 {
        (self.end_seq() - 1).max(self.sent_before)
    }

    /// Whether the window may reach to a sequence number without two messages sharing an identifier.
    pub fn window_open(&self, seq: u64) -> bool {
        self.window.is_empty() || seq - self.base < IDS
    }

    /// Moves the message with the next sequence number into the window.
    pub fn open_slot(&mut self, seq: u64, slot: Slot) {
        if self.window.is_empty() {
            self.base = seq - 1;
        }
        // Numbers between were given up before they were sent.
        while self.end_seq() < seq {
            self.window.push_back(Slot {
                stage: Stage::Done,
                qos: QoS::AtLeastOnce,
                counted: false,
                dup: false,
                delivery: None,
                record: 0,
            });
        }
        debug_assert_eq!(self.end_seq(), seq);
        self.window.push_back(slot);
    }

    /// The sequence number under way with a Packet Identifier.
    pub fn seq_of(&self, packet_id: u16) -> Option<u64> {
        let first = (self.base % IDS) as i64;
        let offset = (packet_id as i64 - 1 - first).rem_euclid(IDS as i64) as u64;
        let slot = self.window.get(offset as usize)?;
        (slot.stage != Stage::Done).then_some(self.base + 1 + offset)
    }

    pub fn slot_mut(&mut self, seq: u64) -> Option<&mut Slot> {
        self.window.get_mut(seq.checked_sub(self.base + 1)? as usize)
    }

    /// The message is done with. Returns its slot as it was.
    #[inline]
    pub fn finish(&mut self, seq: u64) -> Option<Slot> {
        let slot = self.slot_mut(seq)?;
        if slot.stage == Stage::Done {
            return None;
        }
        let done = std::mem::replace(
            slot,
            Slot { stage: Stage::Done, qos: slot.qos, counted: false, dup: false, delivery: None, record: 0 },
        );
        while self.window.front().is_some_and(|slot| slot.stage == Stage::Done) {
            self.window.pop_front();
            self.base += 1;
        }
        if self.window.is_empty() && self.window.capacity() > 64 {
            self.window = VecDeque::new();
        }
        Some(done)
    }

    /// The connection is gone: whatever was sent on it may have arrived, and what is not sent again is done with.
    pub fn disconnected(&mut self) {
        let first = self.first_seq();
        let mut withdrawn = Vec::new();
        for (at, slot) in self.window.iter_mut().enumerate() {
            slot.dup = true;
            slot.counted = false;
            if slot.stage == Stage::Withdrawn {
                withdrawn.push(first + at as u64);
            }
        }
        for seq in withdrawn {
            self.finish(seq);
        }
    }

    pub fn push(&mut self, queued: Queued) {
        self.queue_bytes += queued.delivery.message.size();
        self.queue.push_back(queued);
    }

    /// Drops the QoS 0 messages of the queue.
    pub fn drop_qos0(&mut self) {
        let bytes = &mut self.queue_bytes;
        self.queue.retain(|queued| {
            let keep = queued.delivery.qos != QoS::AtMostOnce;
            if !keep {
                *bytes -= queued.delivery.message.size();
            }
            keep
        });
    }

    pub fn pop(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queue_bytes -= queued.delivery.message.size();
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        Some(queued)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot {
            stage: Stage::Sent,
            qos: QoS::AtLeastOnce,
            counted: true,
            dup: false,
            delivery: None,
            record: 0,
        }
    }

    #[test]
    fn identifiers_are_found_across_the_wrap() {
        let mut sending = Sending::default();
        sending.continue_after(65_533);
        for _ in 0..5 {
            let seq = sending.next_seq();
            sending.open_slot(seq, slot());
        }
        let ids: Vec<u16> = (65_534..65_539).map(packet_id).collect();
        assert_eq!(ids, [65_534, 65_535, 1, 2, 3]);
        for (id, seq) in ids.iter().zip(65_534u64..) {
            assert_eq!(sending.seq_of(*id), Some(seq));
        }
        assert_eq!(sending.seq_of(4), None);
        assert!(sending.finish(65_536).is_some());
        assert_eq!(sending.seq_of(1), None, "acknowledged once");
        assert!(sending.finish(65_534).is_some());
        assert_eq!(sending.first_seq(), 65_535);
        assert_eq!(sending.seq_of(3), Some(65_538));
    }
}
