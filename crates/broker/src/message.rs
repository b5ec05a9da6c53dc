//! An application message that is kept: queued, retained, in flight or a will.

use crate::Now;
use crate::author::Author;
use ravelin_mqtt::QoS;
use std::cell::Cell;
use std::rc::Rc;

/// Topic, properties to pass on and payload, in one block, shared by all who hold the message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    bytes: Rc<[u8]>,
    topic_len: u16,
    forward_len: u32,
    /// The publisher's QoS.
    pub qos: QoS,
    /// The publisher's RETAIN flag.
    pub retain: bool,
    /// When it expires, on the monotonic clock.
    pub expires_ms: Option<u64>,
    /// Its name in the transmission record; 0: it is not recorded.
    pub record: u64,
    /// Whose it is, where that is asked again: if it is retained.
    pub author: Option<Rc<Author>>,
    /// Its name in the journal; 0 while it was not journaled.
    pub id: Cell<u64>,
    /// The checkpoint in which the body was last written.
    pub epoch: Cell<u32>,
}

/// The parts of a message, borrowed from wherever they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts<'a> {
    pub topic: &'a str,
    /// Property bytes to pass on as they are.
    pub forward: &'a [u8],
    pub payload: &'a [u8],
    pub qos: QoS,
    pub retain: bool,
    pub expires_ms: Option<u64>,
    /// Its name in the transmission record; 0: it is not recorded.
    pub record: u64,
}

impl Parts<'_> {
    /// Copies the parts into a message of their own.
    pub fn to_message(self) -> Message {
        let mut bytes = Vec::with_capacity(self.topic.len() + self.forward.len() + self.payload.len());
        bytes.extend_from_slice(self.topic.as_bytes());
        bytes.extend_from_slice(self.forward);
        bytes.extend_from_slice(self.payload);
        Message {
            bytes: bytes.into(),
            topic_len: self.topic.len() as u16,
            forward_len: self.forward.len() as u32,
            qos: self.qos,
            retain: self.retain,
            expires_ms: self.expires_ms,
            record: self.record,
            author: None,
            id: Cell::new(0),
            epoch: Cell::new(0),
        }
    }

    /// Seconds of life left, for the Message Expiry Interval of a delivery (MQTT-3.3.2-6); `Err` when none is left.
    pub fn expiry_left_s(&self, now: Now) -> Result<Option<u32>, Expired> {
        match self.expires_ms {
            None => Ok(None),
            Some(at) if at <= now.mono_ms => Err(Expired),
            Some(at) => Ok(Some((at - now.mono_ms).div_ceil(1000) as u32)),
        }
    }
}

/// The message's expiry interval has passed (MQTT-3.3.2-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expired;

impl Message {
    pub fn topic(&self) -> &str {
        // The topic was text when the message was made.
        std::str::from_utf8(&self.bytes[..self.topic_len as usize]).unwrap_or_default()
    }

    pub fn forward(&self) -> &[u8] {
        &self.bytes[self.topic_len as usize..][..self.forward_len as usize]
    }

    pub fn payload(&self) -> &[u8] {
        &self.bytes[self.payload_at()..]
    }

    /// Where the payload begins in the block.
    pub fn payload_at(&self) -> usize {
        self.topic_len as usize + self.forward_len as usize
    }

    /// The whole block, to be shared with a connection.
    pub fn block(&self) -> &Rc<[u8]> {
        &self.bytes
    }

    /// Memory that the message holds, in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len() + size_of::<Message>() + 2 * size_of::<usize>()
    }

    pub fn parts(&self) -> Parts<'_> {
        Parts {
            topic: self.topic(),
            forward: self.forward(),
            payload: self.payload(),
            qos: self.qos,
            retain: self.retain,
            expires_ms: self.expires_ms,
            record: self.record,
        }
    }
}
