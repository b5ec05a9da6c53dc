//! What is acknowledged only once the transmission record has it.
//!
//! A publish to a recorded topic comes out as [`crate::Observed`]. If the shell holds acknowledgements for the record
//! ([`Broker::set_recording`]), its PUBACK or PUBREC waits, as for one more sister shard, until the shell says that the entry
//! is durable. Deliveries do not wait: the record is told of them when they have happened.

use crate::broker::LinkId;
use crate::{Broker, Now};
use ravelin_event::{DisconnectCause, Refusal};
use ravelin_mqtt::{Publish, QoS, ReasonCode, Version};
use std::collections::VecDeque;

/// Whether, and for what, acknowledgements wait for the record.
#[derive(Default)]
pub(crate) struct Recording {
    /// Whether they do at all.
    held: bool,
    /// The record takes nothing: what would have to be recorded is refused.
    pub refusing: bool,
    /// The name of a message, and the pending acknowledgement that waits for it.
    waiting: VecDeque<(u64, LinkId, u32)>,
}

impl Broker {
    /// Whether acknowledgements of recorded publishes wait for [`Broker::handle_recorded`]. `refusing`: the record takes
    /// nothing, so publishes to recorded topics are refused.
    pub fn set_recording(&mut self, held: bool, refusing: bool) {
        self.recording.held = held;
        self.recording.refusing = refusing;
        if !held {
            self.handle_recorded(u64::MAX);
        }
    }

    /// The record has all messages with names up to `id`, of this shard.
    pub fn handle_recorded(&mut self, id: u64) {
        while let Some(&(at, link, number)) = self.recording.waiting.front()
            && at <= id
        {
            self.recording.waiting.pop_front();
            self.shard_answered(link, number);
        }
    }

    /// What cannot be recorded is not let through: no acknowledgement may say that it was taken.
    pub(crate) fn refuse_unrecorded(&mut self, now: Now, index: u32, publish: &Publish<'_>, topic: &str) {
        self.refused_publish(index, topic, Refusal::Storage);
        match self.sessions.get(index).map(|session| session.version) {
            // An acknowledgement of 3.1.1 has no reason: whatever is answered says that all is well.
            Some(Version::V311) if publish.qos != QoS::AtMostOnce => {
                let detail = Some("the record takes nothing".into());
                self.close_link(now, index, None, DisconnectCause::Internal, detail);
            }
            _ => self.answer_publish(index, publish, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR),
        }
    }

    /// How many answers the acknowledgement of a message with this name waits for on behalf of the record; 0 is no name.
    pub(crate) fn answers_of_record(&self, id: u64) -> u16 {
        u16::from(id != 0 && self.recording.held)
    }

    /// The name of the last message that the record has yet to take; 0 if it has them all.
    pub(crate) fn last_unrecorded(&self) -> u64 {
        self.recording.waiting.back().map_or(0, |(id, ..)| *id)
    }

    /// Remembers which pending acknowledgement waits for the record to have the message `id`.
    pub(crate) fn expect_record(&mut self, index: u32, id: u64, number: u32) {
        if self.answers_of_record(id) > 0 {
            let link = LinkId::new(index, self.sessions.generation(index));
            self.recording.waiting.push_back((id, link, number));
        }
    }
}
