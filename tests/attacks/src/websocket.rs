//! The client's side of WebSocket, as far as attacks need it.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// A binary message.
pub const BINARY: u8 = 0x82;

/// An opening handshake with these header lines besides those that every one has.
pub fn request(path: &str, headers: &[&str]) -> Vec<u8> {
    let mut text = format!(
        "GET {path} HTTP/1.1\r\nHost: node\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    );
    for header in headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// A masked frame; `first` holds the opcode and whether it is the last of its message.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A stream of MQTT over WebSocket: each write is a frame.
pub struct WebSocket {
    socket: TcpStream,
    input: Vec<u8>,
    payload: Vec<u8>,
}

impl WebSocket {
    /// Shakes hands; the answer must be that of a server that agrees.
    pub fn open(mut socket: TcpStream, path: &str) -> io::Result<WebSocket> {
        socket.write_all(&request(path, &["Sec-WebSocket-Protocol: mqtt"]))?;
        let mut input = Vec::new();
        loop {
            if let Some(at) = input.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = input.split_off(at + 4);
                let head = String::from_utf8_lossy(&input).to_lowercase();
                let agreed =
                    head.starts_with("http/1.1 101") && head.contains("sec-websocket-protocol: mqtt");
                assert!(agreed, "{head}");
                return Ok(WebSocket { socket, input: rest, payload: Vec::new() });
            }
            let mut chunk = [0; 1024];
            let count = socket.read(&mut chunk)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            input.extend_from_slice(&chunk[..count]);
        }
    }

    /// Takes whole frames; false at a close frame.
    fn unpack(&mut self) -> bool {
        loop {
            let (length, header) = match (self.input.get(1).map(|byte| byte & 0x7F), self.input.len()) {
                (Some(126), 4..) => (usize::from(u16::from_be_bytes([self.input[2], self.input[3]])), 4),
                (Some(127), 10..) => {
                    let bytes = self.input[2..10].try_into().expect("8 bytes");
                    (u64::from_be_bytes(bytes) as usize, 10)
                }
                (Some(length @ ..126), _) => (usize::from(length), 2),
                _ => return true,
            };
            if self.input.len() < header + length {
                return true;
            }
            match self.input[0] & 0x0F {
                8 => return false,
                0 | 2 => self.payload.extend_from_slice(&self.input[header..header + length]),
                _ => {}
            }
            self.input.drain(..header + length);
        }
    }
}

impl Read for WebSocket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.payload.is_empty() {
            let mut chunk = [0; 16 << 10];
            let count = self.socket.read(&mut chunk)?;
            self.input.extend_from_slice(&chunk[..count]);
            if count == 0 || !self.unpack() {
                return Ok(0);
            }
        }
        let count = out.len().min(self.payload.len());
        out[..count].copy_from_slice(&self.payload[..count]);
        self.payload.drain(..count);
        Ok(count)
    }
}

impl Write for WebSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write_all(&frame(BINARY, bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}
