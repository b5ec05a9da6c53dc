//! A connection that never blocks: bytes out, packets in.

use crate::wire::{Frames, Packet, Version};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a step that waits for one packet may take before it counts as a fault of the broker.
pub const STEP_MAX: Duration = Duration::from_secs(20);

/// A network connection of a client.
pub struct Conn {
    stream: TcpStream,
    frames: Frames,
    /// What is to be written.
    pub out: Vec<u8>,
    version: Version,
    ended: bool,
}

impl Conn {
    /// Connects, on loopback.
    pub fn open(address: SocketAddr, version: Version) -> io::Result<Conn> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Conn { stream, frames: Frames::default(), out: Vec::new(), version, ended: false })
    }

    /// Writes what waits, reads what is there. An error is the end of the connection; what came before it can still be
    /// taken with [`Conn::next_packet`].
    pub fn turn(&mut self) -> io::Result<bool> {
        let mut moved = self.read()?;
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.out.drain(..n);
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    // The other side is gone. What it had sent before is worth reading.
                    let _ = self.read();
                    return Err(error);
                }
            }
        }
        Ok(moved)
    }

    fn read(&mut self) -> io::Result<bool> {
        let mut moved = false;
        let mut buffer = [0; 64 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    return if moved { Ok(true) } else { Err(ErrorKind::UnexpectedEof.into()) };
                }
                Ok(n) => {
                    self.frames.feed(&buffer[..n]);
                    moved = true;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(moved),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the broker has closed the connection.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next packet that has come.
    pub fn next_packet(&mut self) -> io::Result<Option<Packet>> {
        self.frames.next_packet(self.version)
    }

    /// Waits for the next packet.
    pub fn wait(&mut self) -> io::Result<Packet> {
        let until = Instant::now() + STEP_MAX;
        loop {
            let turned = self.turn();
            if let Some(packet) = self.next_packet()? {
                return Ok(packet);
            }
            if !turned? {
                if Instant::now() > until {
                    return Err(io::Error::new(ErrorKind::TimedOut, "the broker does not answer"));
                }
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }

    /// Writes all that waits, then waits until the broker closes the connection.
    pub fn wait_for_end(&mut self) {
        let until = Instant::now() + STEP_MAX;
        while self.turn().is_ok() && Instant::now() < until {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}
