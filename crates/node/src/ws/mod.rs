//! MQTT over WebSocket (MQTT 5.0 section 6), the server's side: the opening handshake and the framing of RFC 6455.
//!
//! Sans-IO. Frames are not gathered: what has arrived of a binary frame is unmasked in place and handed on at once, so
//! a frame costs no memory, however large it says it is. Going out, a frame is a header in front of the core's bytes.

mod frame;
pub mod handshake;

pub use frame::{CLOSE_BAD_DATA, CLOSE_NORMAL, CLOSE_PROTOCOL, CLOSE_TOO_BIG, Frames, WsError};
use handshake::{Handshake, Rules};
use ravelin_broker::Outbound;

/// The WebSocket side of a connection.
pub struct WebSocket {
    /// The opening handshake, until it is done.
    handshake: Option<Handshake>,
    frames: Frames,
    /// Bytes that go out before anything else: the handshake's answer, a frame header, control frames.
    head: Vec<u8>,
    /// Bytes of the core that the frame under way still holds.
    committed: usize,
    /// Control frames that wait for the end of the frame under way.
    control: Vec<u8>,
    closing: bool,
}

/// Answers to pings that may wait for a peer that does not read.
const CONTROL_BYTES_MAX: usize = 4096;

impl WebSocket {
    /// A connection whose opening handshake comes next.
    pub fn new() -> WebSocket {
        WebSocket {
            handshake: Some(Handshake::default()),
            frames: Frames::default(),
            head: Vec::new(),
            committed: 0,
            control: Vec::new(),
            closing: false,
        }
    }

    /// Whether the opening handshake is done.
    pub fn is_open(&self) -> bool {
        self.handshake.is_none()
    }

    /// Takes bytes of the peer. `data` is given what belongs to MQTT. Returns false once the peer has closed.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        rules: &Rules,
        mut data: impl FnMut(&[u8]),
    ) -> Result<bool, WsError> {
        let mut bytes = bytes;
        if let Some(handshake) = &mut self.handshake {
            match handshake.receive(bytes, rules) {
                Ok(None) => return Ok(true),
                Ok(Some((used, answer))) => {
                    self.head.extend_from_slice(&answer);
                    self.handshake = None;
                    bytes = &mut bytes[used..];
                }
                Err(refusal) => {
                    self.head.extend_from_slice(refusal.answer().as_bytes());
                    return Err(WsError::Handshake(refusal));
                }
            }
        }
        let control = &mut self.control;
        let open = self.frames.receive(bytes, rules.frame_bytes_max, control, &mut data)?;
        if self.control.len() > CONTROL_BYTES_MAX {
            return Err(WsError::TooManyPings);
        }
        Ok(open)
    }

    /// Whether nothing of its own waits to be written.
    pub fn is_idle(&self) -> bool {
        self.head.is_empty() && self.control.is_empty() && self.committed == 0
    }

    /// Puts a close frame behind what waits.
    pub fn queue_close(&mut self, code: u16) {
        if self.is_open() && !self.closing {
            self.closing = true;
            let [high, low] = code.to_be_bytes();
            self.control.extend_from_slice(&[0x88, 2, high, low]);
        }
    }

    /// Fills `slices` with what goes out next: at most one frame that carries what waits in `out`.
    pub fn fill<'a>(&'a mut self, out: &'a Outbound, slices: &mut [&'a [u8]]) -> usize {
        if self.head.is_empty() && self.committed == 0 {
            self.begin_frame(out.len());
        }
        let mut filled = 0;
        if !self.head.is_empty() {
            slices[0] = &self.head;
            filled = 1;
        }
        if self.committed > 0 {
            let count = out.slices(&mut slices[filled..]);
            let mut room = self.committed;
            for slice in &mut slices[filled..filled + count] {
                *slice = &slice[..slice.len().min(room)];
                room -= slice.len();
                filled += usize::from(!slice.is_empty());
            }
        }
        filled
    }

    fn begin_frame(&mut self, bytes: usize) {
        // A close frame is the last one.
        if !self.control.is_empty() && (!self.closing || bytes == 0) {
            self.head.append(&mut self.control);
        }
        if bytes > 0 && self.is_open() {
            frame::push_header(&mut self.head, bytes);
            self.committed = bytes;
        }
    }

    /// Says that the first `written` bytes of what [`WebSocket::fill`] gave were written.
    pub fn consume(&mut self, out: &mut Outbound, written: usize) {
        let of_head = written.min(self.head.len());
        if of_head == self.head.len() {
            self.head = Vec::new();
        } else {
            self.head.drain(..of_head);
        }
        let of_out = written - of_head;
        debug_assert!(of_out <= self.committed);
        self.committed -= of_out;
        out.consume(of_out);
    }
}

impl Default for WebSocket {
    fn default() -> WebSocket {
        WebSocket::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> WebSocket {
        let mut ws = WebSocket::new();
        ws.handshake = None;
        ws
    }

    fn drain(ws: &mut WebSocket, out: &mut Outbound, step: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        loop {
            let taken = {
                let mut slices = [&[][..]; 4];
                let filled = ws.fill(out, &mut slices);
                let bytes = slices[..filled].concat();
                let taken = step.min(bytes.len());
                wire.extend_from_slice(&bytes[..taken]);
                taken
            };
            if taken == 0 {
                return wire;
            }
            ws.consume(out, taken);
        }
    }

    #[test]
    fn a_frame_keeps_its_length_through_partial_writes_and_growth() {
        for step in [1, 2, 3, 7, 1000] {
            let (mut ws, mut out) = (open(), Outbound::default());
            out.buffer().extend_from_slice(b"abcdef");
            let mut slices = [&[][..]; 4];
            ws.fill(&out, &mut slices);
            ws.consume(&mut out, 3);
            // More arrives while the frame of six bytes is under way: it goes into the next one.
            out.buffer().extend_from_slice(b"gh");
            ws.control.extend_from_slice(&[0x8A, 0]);
            assert_eq!(drain(&mut ws, &mut out, step), b"bcdef\x8a\x00\x82\x02gh", "step {step}");
            assert!(ws.is_idle() && out.is_empty());
        }
    }

    #[test]
    fn a_close_frame_comes_after_the_last_data() {
        let (mut ws, mut out) = (open(), Outbound::default());
        out.buffer().extend_from_slice(b"x");
        ws.queue_close(CLOSE_NORMAL);
        ws.queue_close(CLOSE_PROTOCOL);
        assert_eq!(drain(&mut ws, &mut out, 100), b"\x82\x01x\x88\x02\x03\xe8");
    }
}
