//! What the core can give up when memory runs short, without losing anything that was acknowledged.

use crate::Broker;

impl Broker {
    /// Bytes that wait: in the queues of sessions and in the outbound buffers of connections.
    pub fn waiting_bytes(&self) -> usize {
        self.queued_bytes + self.outbound_bytes
    }

    /// Forgets all routes. They are found again when they are needed.
    pub fn forget_routes(&mut self) {
        self.routes.clear();
    }

    /// Drops the QoS 0 messages that wait in queues; returns how many there were.
    pub fn drop_waiting_qos0(&mut self) -> usize {
        let mut dropped = 0;
        for index in self.sessions.indexes() {
            let Some(session) = self.sessions.get_mut(index) else { continue };
            let before = (session.sending.queue.len(), session.sending.queue_bytes);
            session.sending.drop_qos0();
            let gone = before.0 - session.sending.queue.len();
            self.queued -= gone;
            self.queued_bytes -= before.1 - session.sending.queue_bytes;
            session.dropped += gone as u64;
            dropped += gone;
        }
        self.stats.publish_dropped += dropped as u64;
        dropped
    }
}
