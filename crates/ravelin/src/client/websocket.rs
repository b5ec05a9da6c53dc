//! The client side of WebSocket (RFC 6455) as MQTT uses it (MQTT 5.0 section 6): the opening handshake and binary frames.
//!
//! Bytes in, bytes out: the socket is the transport's.

use super::Error;
use base64::Engine as _;

/// The most bytes of an answer to the handshake.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// The most bytes of one frame: the largest MQTT packet.
const FRAME_BYTES_MAX: u64 = 268_435_460;

const CONTINUATION: u8 = 0x0;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xA;

/// The request that opens the WebSocket; `key` is random.
pub fn request(authority: &str, path: &str, key: &[u8; 16]) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
        base64::engine::general_purpose::STANDARD.encode(key)
    )
    .into_bytes()
}

/// Reads the answer to [`request`]: how many bytes it takes, or `None` if its end has not arrived.
pub fn check_response(bytes: &[u8], key: &[u8; 16]) -> Result<Option<usize>, Error> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        if bytes.len() > RESPONSE_BYTES_MAX {
            return Err(Error::WebSocket("the answer to the handshake does not end".into()));
        }
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("101") {
        return Err(Error::WebSocket(format!("the server answered \"{}\"", status.escape_debug())));
    }
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(':')).collect();
    let header = |name: &str| {
        headers.iter().find(|(key, _)| key.trim().eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    if header("Sec-WebSocket-Accept") != Some(accept(key).as_str()) {
        return Err(Error::WebSocket(
            "the server did not answer this handshake (Sec-WebSocket-Accept)".into(),
        ));
    }
    // MQTT-6.0.0-3 and -4: client and server agree on the subprotocol "mqtt".
    if header("Sec-WebSocket-Protocol") != Some("mqtt") {
        return Err(Error::WebSocket("the server does not speak MQTT there (Sec-WebSocket-Protocol)".into()));
    }
    Ok(Some(end + 4))
}

/// The only right answer to `key` (RFC 6455 section 4.2.2).
fn accept(key: &[u8; 16]) -> String {
    let engine = base64::engine::general_purpose::STANDARD;
    let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", engine.encode(key));
    engine.encode(sha1(text.as_bytes()))
}

/// Appends one binary frame, masked as a client must (RFC 6455 section 5.3).
pub fn encode(out: &mut Vec<u8>, payload: &[u8], mask: [u8; 4]) {
    encode_frame(out, BINARY, payload, mask);
}

/// Appends a close frame that says "normal closure".
pub fn encode_close(out: &mut Vec<u8>, mask: [u8; 4]) {
    encode_frame(out, CLOSE, &1000u16.to_be_bytes(), mask);
}

fn encode_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: [u8; 4]) {
    out.push(0x80 | opcode);
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length @ 126..=65_535 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// What [`decode`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// More bytes are needed.
    NeedMore,
    /// The server closed the WebSocket.
    Closed,
}

/// Takes whole frames from the start of `raw`: their data goes to `data`, answers to pings to `reply`.
pub fn decode(
    raw: &mut Vec<u8>,
    data: &mut Vec<u8>,
    reply: &mut Vec<u8>,
    mask: [u8; 4],
) -> Result<Decoded, Error> {
    let mut at = 0;
    let result = loop {
        let Some(frame) = frame(&raw[at..])? else { break Decoded::NeedMore };
        let payload = &raw[at + frame.header..at + frame.header + frame.payload];
        at += frame.header + frame.payload;
        match frame.opcode {
            BINARY | CONTINUATION => data.extend_from_slice(payload),
            PING => encode_frame(reply, PONG, payload, mask),
            PONG => {}
            CLOSE => {
                encode_frame(reply, CLOSE, payload.get(..2).unwrap_or_default(), mask);
                break Decoded::Closed;
            }
            // MQTT-6.0.0-1: text frames are not for MQTT.
            opcode => return Err(Error::WebSocket(format!("the server sent a frame of type {opcode}"))),
        }
    };
    raw.drain(..at);
    Ok(result)
}

struct FrameHeader {
    opcode: u8,
    header: usize,
    payload: usize,
}

fn frame(bytes: &[u8]) -> Result<Option<FrameHeader>, Error> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Error::WebSocket("the server uses an extension that was not agreed on".into()));
    }
    // RFC 6455 section 5.1: a server must not mask.
    if second & 0x80 != 0 {
        return Err(Error::WebSocket("the server sent a masked frame".into()));
    }
    let (length, extra) = match second & 0x7F {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 2),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (u64::from_be_bytes(*length), 8),
            None => return Ok(None),
        },
        length => (u64::from(length), 0),
    };
    if length > FRAME_BYTES_MAX {
        return Err(Error::WebSocket(format!("the server sent a frame of {length} bytes")));
    }
    let (header, payload) = (2 + extra, length as usize);
    Ok((bytes.len() >= header + payload).then_some(FrameHeader { opcode: first & 0x0F, header, payload }))
}

/// SHA-1 (FIPS 180-4), which the handshake wants as a checksum; nothing rests on its strength.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    let mut state = [0x6745_2301u32, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    for block in padded.chunks_exact(64) {
        let mut words = [0u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for index in 16..80 {
            words[index] =
                (words[index - 3] ^ words[index - 8] ^ words[index - 14] ^ words[index - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (index, &word) in words.iter().enumerate() {
            let (mix, constant) = match index {
                0..20 => (b & c | !b & d, 0x5A82_7999),
                20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
                40..60 => (b & c | b & d | c & d, 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6),
            };
            let next =
                a.rotate_left(5).wrapping_add(mix).wrapping_add(e).wrapping_add(constant).wrapping_add(word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (sum, value) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(value);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_the_example_of_the_rfc() {
        assert_eq!(accept(b"the sample nonce"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn sha1_at_the_borders_of_a_block() {
        let hex = |message: &[u8]| sha1(message).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(b""), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(hex(b"abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(
            hex(b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1"
        );
    }

    #[test]
    fn only_the_right_answer_opens_it() {
        let key = b"the sample nonce";
        let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nsec-websocket-accept: \
                    s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
        assert_eq!(check_response(good.as_bytes(), key).unwrap(), Some(good.len()));
        assert_eq!(check_response(&good.as_bytes()[..good.len() - 1], key).unwrap(), None);
        for bad in [good.replace("101", "404"), good.replace("s3p", "x3p"), good.replace(": mqtt", ": soap")]
        {
            assert!(check_response(bad.as_bytes(), key).is_err(), "{bad}");
        }
        assert!(check_response(&[b'x'; RESPONSE_BYTES_MAX + 1], key).is_err());
    }

    #[test]
    fn frames_of_every_length_arrive_in_pieces() {
        for length in [0usize, 1, 125, 126, 65_535, 65_536] {
            let mut masked = Vec::new();
            encode(&mut masked, &vec![7; length], [1, 2, 3, 4]);
            // A server's frame is the same without the mask.
            let mut server = masked.clone();
            server[1] &= 0x7F;
            let header = masked.len() - length - 4;
            server.truncate(header);
            server.extend(std::iter::repeat_n(7u8, length));
            let (mut raw, mut data, mut reply) = (Vec::new(), Vec::new(), Vec::new());
            let (head, tail) = server.split_at(server.len() - 1);
            raw.extend_from_slice(head);
            decode(&mut raw, &mut data, &mut reply, [0; 4]).unwrap();
            assert!(data.is_empty());
            raw.extend_from_slice(tail);
            decode(&mut raw, &mut data, &mut reply, [0; 4]).unwrap();
            assert_eq!(data, vec![7; length]);
            assert!(raw.is_empty() && reply.is_empty());
        }
    }

    #[test]
    fn ping_is_answered_and_close_closes() {
        let (mut data, mut reply) = (Vec::new(), Vec::new());
        let mut raw = vec![0x89, 2, b'h', b'i', 0x88, 2, 3, 0xE8];
        assert_eq!(decode(&mut raw, &mut data, &mut reply, [0; 4]).unwrap(), Decoded::Closed);
        assert_eq!(reply, [0x8A, 0x82, 0, 0, 0, 0, b'h', b'i', 0x88, 0x82, 0, 0, 0, 0, 3, 0xE8]);
    }

    #[test]
    fn masked_text_and_oversized_frames_are_refused() {
        for raw in [
            vec![0x82, 0x80, 0, 0, 0, 0],
            vec![0x81, 1, b'x'],
            vec![0xC2, 0],
            vec![0x82, 127, 0xFF, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(decode(&mut raw.clone(), &mut Vec::new(), &mut Vec::new(), [0; 4]).is_err(), "{raw:?}");
        }
    }
}
