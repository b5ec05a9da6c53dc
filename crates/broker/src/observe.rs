//! What those who watch topics are told.

use crate::message::Parts;
use crate::output::{Delivered, How, Observed};
use crate::publish::Asked;
use crate::route::Route;
use crate::{Broker, Now, Output, Watch};
use ravelin_event::Principal;
use ravelin_mqtt::{Publish, QoS, ReasonCode};

/// Names are below `1 << 60`, which the journal's integers hold: 6 bits for the shard, 54 for the time and a count.
const COUNT_BITS: u32 = 54;
/// Messages that are named within a millisecond before names run ahead of the clock.
const PER_MS_BITS: u32 = 12;

/// What an observer is told beside the message itself.
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub duplicate: bool,
    pub will: bool,
}

impl Broker {
    /// A publish that is for the broker itself: whoever watches is told, and it goes nowhere else.
    #[cold]
    pub(crate) fn take_control(&mut self, now: Now, index: u32, publish: &Publish<'_>, route: &Route) {
        let mut forward = Vec::new();
        publish.properties.forward_into(&mut forward);
        let parts = Parts {
            topic: &route.topic,
            forward: &forward,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            expires_ms: None,
            record: 0,
        };
        self.observe_client(now, index, route.watch, &parts, Seen { duplicate: publish.dup, will: false });
        self.answer_accepted(index, publish, (0, Asked::default(), 0), ReasonCode::SUCCESS);
    }

    /// A name for a message that is recorded. No two shards give out the same, nor two processes, while the wall clock does
    /// not go back from one to the next.
    pub(crate) fn next_record(&mut self, now: Now) -> u64 {
        self.last_record = (self.last_record + 1).max(now.wall_ms << PER_MS_BITS);
        (self.shard as u64) << COUNT_BITS | self.last_record & ((1 << COUNT_BITS) - 1)
    }

    /// Tells of a client's publish to a watched topic. Returns the name that the message has from here on, 0 if it is not
    /// recorded.
    #[cold]
    pub(crate) fn observe_client(
        &mut self,
        now: Now,
        index: u32,
        watch: Watch,
        parts: &Parts<'_>,
        seen: Seen,
    ) -> u64 {
        let Some(session) = self.sessions.get(index) else { return 0 };
        let who = session.who.clone();
        self.observe(now, watch, &who, parts, seen)
    }

    /// Tells of a publish to a watched topic. Returns the name that the message has from here on, 0 if it is not recorded.
    pub(crate) fn observe(
        &mut self,
        now: Now,
        watch: Watch,
        who: &Principal,
        parts: &Parts<'_>,
        seen: Seen,
    ) -> u64 {
        let id = self.next_record(now);
        self.outputs.push_back(Output::Observed(Box::new(Observed {
            watch,
            id,
            who: who.clone(),
            topic: parts.topic.into(),
            payload: parts.payload.into(),
            properties: parts.forward.into(),
            qos: parts.qos,
            retain: parts.retain,
            duplicate: seen.duplicate,
            will: seen.will,
            wall_ms: now.wall_ms,
        })));
        if watch.contains(Watch::RECORD) { id } else { 0 }
    }

    /// A message that is recorded has come to a session.
    #[cold]
    pub(crate) fn delivered(&mut self, now: Now, index: u32, id: u64, qos: QoS, how: How) {
        let Some(session) = self.sessions.get(index) else { return };
        let delivered = Delivered {
            id,
            to: session.who.client_id.clone(),
            identity: session.who.identity.clone(),
            qos,
            wall_ms: now.wall_ms,
            how,
        };
        self.outputs.push_back(Output::Delivered(delivered));
    }
}
