//! Frames of RFC 6455, as a server reads and writes them.

use super::handshake::HandshakeError;
use std::fmt;

/// Everything was said.
pub const CLOSE_NORMAL: u16 = 1000;
/// The peer breaks RFC 6455.
pub const CLOSE_PROTOCOL: u16 = 1002;
/// The peer sends text, which carries no MQTT (MQTT-6.0.0-1).
pub const CLOSE_BAD_DATA: u16 = 1003;
/// The peer sends more than is accepted.
pub const CLOSE_TOO_BIG: u16 = 1009;

const OP_CONTINUATION: u8 = 0;
const OP_TEXT: u8 = 1;
const OP_BINARY: u8 = 2;
const OP_CLOSE: u8 = 8;
const OP_PING: u8 = 9;
const OP_PONG: u8 = 10;

/// Why a WebSocket ends.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WsError {
    /// The opening handshake was refused.
    Handshake(HandshakeError),
    /// The peer breaks RFC 6455.
    Protocol(&'static str),
    /// The peer sends text frames (MQTT-6.0.0-1).
    NotBinary,
    /// A frame is larger than accepted.
    TooBig,
    /// The peer sends pings faster than it takes the answers.
    TooManyPings,
}

impl WsError {
    /// The status code of the close frame.
    pub fn close_code(&self) -> u16 {
        match self {
            WsError::Handshake(_) | WsError::Protocol(_) | WsError::TooManyPings => CLOSE_PROTOCOL,
            WsError::NotBinary => CLOSE_BAD_DATA,
            WsError::TooBig => CLOSE_TOO_BIG,
        }
    }
}

impl fmt::Display for WsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WsError::Handshake(error) => write!(f, "WebSocket handshake refused: {error}"),
            WsError::Protocol(what) => write!(f, "WebSocket protocol error: {what}"),
            WsError::NotBinary => f.write_str("WebSocket text frame (MQTT-6.0.0-1)"),
            WsError::TooBig => f.write_str("WebSocket frame too big"),
            WsError::TooManyPings => f.write_str("WebSocket pings are not waited for"),
        }
    }
}

impl std::error::Error for WsError {}

/// Reads the frames of a peer.
#[derive(Default)]
pub struct Frames {
    /// The header of the next frame, as far as it has arrived.
    header: [u8; 14],
    header_len: u8,
    /// Payload of the frame under way that has not arrived.
    remaining: u64,
    mask: [u8; 4],
    mask_at: u8,
    opcode: u8,
    finished: bool,
    /// A binary message is under way: its next frame is a continuation.
    in_message: bool,
    /// The payload of a control frame.
    control: Option<Box<Control>>,
    closed: bool,
}

struct Control {
    bytes: [u8; 125],
    len: u8,
}

impl Frames {
    /// Takes bytes, unmasks them in place, gives the payload of binary frames to `data` and appends answers to
    /// `answers`. Returns false once the peer has closed.
    pub fn receive(
        &mut self,
        bytes: &mut [u8],
        frame_bytes_max: u64,
        answers: &mut Vec<u8>,
        data: &mut impl FnMut(&[u8]),
    ) -> Result<bool, WsError> {
        let mut at = 0;
        // Between frames there is no payload; a frame without payload ends where its header ends.
        while !self.closed && (at < bytes.len()) {
            if self.remaining == 0 {
                self.header[usize::from(self.header_len)] = bytes[at];
                self.header_len += 1;
                at += 1;
                if !self.parse_header(frame_bytes_max)? || self.remaining > 0 {
                    continue;
                }
            }
            let take = self.remaining.min((bytes.len() - at) as u64) as usize;
            let payload = &mut bytes[at..at + take];
            at += take;
            self.remaining -= take as u64;
            self.unmask(payload);
            match &mut self.control {
                None => {
                    if !payload.is_empty() {
                        data(payload);
                    }
                }
                Some(control) => {
                    let len = usize::from(control.len);
                    control.bytes[len..len + take].copy_from_slice(payload);
                    control.len += take as u8;
                }
            }
            if self.remaining == 0 {
                self.end_frame(answers)?;
            }
        }
        Ok(!self.closed)
    }

    /// Whether the header is complete; then it was checked and the frame is under way.
    fn parse_header(&mut self, frame_bytes_max: u64) -> Result<bool, WsError> {
        let len = usize::from(self.header_len);
        let first = self.header[0];
        if first & 0x70 != 0 {
            return Err(WsError::Protocol("a reserved bit is set"));
        }
        let (opcode, fin) = (first & 0x0F, first & 0x80 != 0);
        let is_control = opcode & 0x08 != 0;
        match opcode {
            OP_BINARY if self.in_message => return Err(WsError::Protocol("a message inside a message")),
            OP_CONTINUATION if !self.in_message => {
                return Err(WsError::Protocol("a continuation of nothing"));
            }
            OP_CONTINUATION | OP_BINARY => {}
            // MQTT-6.0.0-1: only binary frames.
            OP_TEXT => return Err(WsError::NotBinary),
            OP_CLOSE | OP_PING | OP_PONG if !fin => {
                return Err(WsError::Protocol("a fragmented control frame"));
            }
            OP_CLOSE | OP_PING | OP_PONG => {}
            _ => return Err(WsError::Protocol("a reserved opcode")),
        }
        if len < 2 {
            return Ok(false);
        }
        if self.header[1] & 0x80 == 0 {
            return Err(WsError::Protocol("a frame that is not masked"));
        }
        let short = self.header[1] & 0x7F;
        if is_control && short > 125 {
            return Err(WsError::Protocol("a control frame of more than 125 bytes"));
        }
        let extended = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        if len < 2 + extended + 4 {
            return Ok(false);
        }
        let length =
            self.header[2..2 + extended].iter().fold(0u64, |length, byte| length << 8 | u64::from(*byte));
        let (length, minimal) = match extended {
            0 => (u64::from(short), true),
            2 => (length, length > 125),
            _ => (length, length > 0xFFFF),
        };
        if !minimal {
            return Err(WsError::Protocol("a length that is not minimal"));
        }
        if length > frame_bytes_max {
            return Err(WsError::TooBig);
        }
        self.mask.copy_from_slice(&self.header[2 + extended..2 + extended + 4]);
        self.mask_at = 0;
        self.header_len = 0;
        self.remaining = length;
        self.opcode = opcode;
        self.finished = fin;
        if is_control {
            self.control = Some(Box::new(Control { bytes: [0; 125], len: 0 }));
        } else {
            self.in_message = !fin;
        }
        Ok(true)
    }

    fn unmask(&mut self, payload: &mut [u8]) {
        if payload.is_empty() {
            return;
        }
        let mut mask = self.mask;
        mask.rotate_left(usize::from(self.mask_at));
        let mut chunks = payload.chunks_exact_mut(4);
        for chunk in &mut chunks {
            for (byte, key) in chunk.iter_mut().zip(mask) {
                *byte ^= key;
            }
        }
        for (byte, key) in chunks.into_remainder().iter_mut().zip(mask) {
            *byte ^= key;
        }
        self.mask_at = ((usize::from(self.mask_at) + payload.len()) % 4) as u8;
    }

    fn end_frame(&mut self, answers: &mut Vec<u8>) -> Result<(), WsError> {
        let Some(control) = self.control.take() else { return Ok(()) };
        let payload = &control.bytes[..usize::from(control.len)];
        match self.opcode {
            OP_PING => {
                answers.extend_from_slice(&[0x80 | OP_PONG, control.len]);
                answers.extend_from_slice(payload);
            }
            OP_CLOSE => {
                if payload.len() == 1 {
                    return Err(WsError::Protocol("a close frame with half a status code"));
                }
                self.closed = true;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The header of a binary frame with `bytes` of payload, as a server sends it: final, not masked.
pub(super) fn push_header(out: &mut Vec<u8>, bytes: usize) {
    out.push(0x80 | OP_BINARY);
    match bytes {
        0..=125 => out.push(bytes as u8),
        126..=0xFFFF => {
            out.push(126);
            out.extend_from_slice(&(bytes as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(bytes as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut bytes = Vec::new();
        push_header(&mut bytes, payload.len());
        bytes[0] = first;
        bytes[1] |= 0x80;
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]));
        bytes
    }

    fn receive(wire: &[u8], step: usize) -> (Result<bool, WsError>, Vec<u8>, Vec<u8>) {
        let (mut frames, mut answers, mut got) = (Frames::default(), Vec::new(), Vec::new());
        let mut result = Ok(true);
        for chunk in wire.chunks(step) {
            result = frames
                .receive(&mut chunk.to_vec(), 1 << 20, &mut answers, &mut |data| got.extend_from_slice(data));
            if result != Ok(true) {
                break;
            }
        }
        (result, answers, got)
    }

    #[test]
    fn packets_span_and_share_frames_at_any_cut() {
        let large = vec![7; 70_000];
        let wire = [
            frame(0x82, b"abc"),
            frame(0x02, b"de"),
            frame(0x89, b"ping"),
            frame(0x00, b""),
            frame(0x80, b"fg"),
            frame(0x82, &vec![9; 300]),
            frame(0x82, &large),
            frame(0x8A, b""),
        ]
        .concat();
        let expected = [&b"abcdefg"[..], &[9; 300], &large].concat();
        for step in [1, 2, 3, 5, 4096, wire.len()] {
            let (result, answers, got) = receive(&wire, step);
            assert_eq!(result, Ok(true));
            assert_eq!(answers, b"\x8a\x04ping");
            assert!(got == expected, "step {step}");
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused_at_the_first_byte_that_shows_it() {
        let protocol = |wire: &[u8]| matches!(receive(wire, 1).0, Err(WsError::Protocol(_)));
        assert!(protocol(&[0xC2]), "reserved bit");
        assert!(protocol(&[0x83]), "reserved opcode");
        assert!(protocol(&[0x8B]), "reserved control opcode");
        assert!(protocol(&[0x82, 0x01]), "not masked");
        assert!(protocol(&[0x80]), "continuation of nothing");
        assert!(protocol(&[frame(0x02, b"a"), vec![0x82]].concat()), "message in a message");
        assert!(protocol(&[0x09]), "fragmented ping");
        assert!(protocol(&[0x89, 0xFE]), "long ping");
        assert!(protocol(&[0x82, 0xFE, 0, 125, 1, 2, 3, 4]), "not minimal");
        assert!(protocol(&[0x82, 0xFE, 0, 0, 1, 2, 3, 4]), "not minimal");
        assert!(protocol(&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 1, 2, 3, 4]), "not minimal");
        assert!(protocol(&frame(0x88, b"x")), "half a status code");
        assert_eq!(receive(&[0x81], 1).0, Err(WsError::NotBinary));
        let huge = [0x82, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4];
        assert_eq!(receive(&huge, 14).0, Err(WsError::TooBig));
    }

    #[test]
    fn nothing_counts_after_a_close() {
        let wire = [frame(0x82, b"a"), frame(0x88, &1000u16.to_be_bytes()), frame(0x82, b"b")].concat();
        let (result, _, got) = receive(&wire, wire.len());
        assert_eq!((result, got), (Ok(false), b"a".to_vec()));
    }
}
