//! The packets of a file: pcap (magic A1B2C3D4 or A1B23C4D, of both byte orders) and pcapng.

use crate::Error;
use std::io::Read;

/// A packet, or a block of pcapng, may be so long, in bytes; programs that capture cut at 256 KiB.
const BLOCK_BYTES_MAX: usize = 16 << 20;
/// Interfaces of one section of pcapng.
const INTERFACES_MAX: usize = 4096;

/// Section Header Block.
const SECTION: u32 = 0x0A0D_0D0A;

pub(super) struct Packet<'a> {
    /// The number of the packet in the file, from 1.
    pub number: u64,
    /// Microseconds since the Unix epoch.
    pub at_us: u64,
    pub link_type: u16,
    pub bytes: &'a [u8],
}

pub(super) struct Blocks<R> {
    input: R,
    offset: u64,
    number: u64,
    little: bool,
    kind: Kind,
    block: Vec<u8>,
    last_us: u64,
}

enum Kind {
    /// Fractions of a second, and the link type.
    Pcap {
        nanoseconds: bool,
        link_type: u16,
    },
    Pcapng {
        interfaces: Vec<Interface>,
    },
}

#[derive(Clone, Copy)]
struct Interface {
    link_type: u16,
    /// Units of time in a second.
    units: u64,
    /// Seconds that are added.
    offset_s: u64,
}

pub(super) fn is_capture(start: &[u8]) -> bool {
    start.get(..4).is_some_and(|magic| pcap(magic).is_some() || magic == [0x0A, 0x0D, 0x0D, 0x0A])
}

/// Whether a pcap is little-endian, and whether it has nanoseconds.
fn pcap(magic: &[u8]) -> Option<(bool, bool)> {
    match magic {
        [0xD4, 0xC3, 0xB2, 0xA1] => Some((true, false)),
        [0xA1, 0xB2, 0xC3, 0xD4] => Some((false, false)),
        [0x4D, 0x3C, 0xB2, 0xA1] => Some((true, true)),
        [0xA1, 0xB2, 0x3C, 0x4D] => Some((false, true)),
        _ => None,
    }
}

impl<R: Read> Blocks<R> {
    pub fn new(input: R) -> Result<Blocks<R>, Error> {
        let kind = Kind::Pcapng { interfaces: Vec::new() };
        let mut blocks =
            Blocks { input, offset: 0, number: 0, little: true, kind, block: Vec::new(), last_us: 0 };
        if !blocks.fill(4)? {
            return Err(blocks.damaged("it is empty"));
        }
        if let Some((little, nanoseconds)) = pcap(&blocks.block) {
            blocks.little = little;
            if !blocks.fill(20)? {
                return Err(blocks.damaged("the header is cut off"));
            }
            // The upper bits say how long the check sum of a frame is.
            let link_type = (blocks.u32(16) & 0xFFFF) as u16;
            blocks.kind = Kind::Pcap { nanoseconds, link_type };
        } else {
            blocks.section()?;
        }
        Ok(blocks)
    }

    /// Packets that were read.
    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, Error> {
        let found = match &self.kind {
            Kind::Pcap { nanoseconds, link_type } => self.pcap_packet(*nanoseconds, *link_type)?,
            Kind::Pcapng { .. } => self.pcapng_packet()?,
        };
        let Some((at_us, link_type, start, end)) = found else { return Ok(None) };
        self.number += 1;
        self.last_us = at_us;
        Ok(Some(Packet { number: self.number, at_us, link_type, bytes: &self.block[start..end] }))
    }

    #[allow(clippy::type_complexity, reason = "a time, a link type, and where the bytes are")]
    fn pcap_packet(
        &mut self,
        nanoseconds: bool,
        link_type: u16,
    ) -> Result<Option<(u64, u16, usize, usize)>, Error> {
        if !self.fill(16)? {
            return Ok(None);
        }
        let (seconds, fraction, length) = (self.u32(0), self.u32(4), self.u32(8) as usize);
        let micros = if nanoseconds { fraction / 1000 } else { fraction };
        let at_us = u64::from(seconds) * 1_000_000 + u64::from(micros);
        self.body(length)?;
        Ok(Some((at_us, link_type, 0, length)))
    }

    #[allow(clippy::type_complexity, reason = "a time, a link type, and where the bytes are")]
    fn pcapng_packet(&mut self) -> Result<Option<(u64, u16, usize, usize)>, Error> {
        loop {
            if !self.fill(4)? {
                return Ok(None);
            }
            let kind = self.u32(0);
            if kind == SECTION {
                self.section()?;
                continue;
            }
            if !self.fill(4)? {
                return Err(self.damaged("a block is cut off"));
            }
            let length = self.u32(0) as usize;
            if length < 12 || !length.is_multiple_of(4) {
                return Err(self.damaged("a block has a length that cannot be"));
            }
            // The type and the length were read; the length stands at the end once more.
            self.body(length - 8)?;
            let end = length - 12;
            let found = match kind {
                1 => {
                    self.interface(end)?;
                    None
                }
                2 | 6 if end >= 20 => {
                    let interface = if kind == 6 { self.u32(0) as usize } else { usize::from(self.u16(0)) };
                    let time = u64::from(self.u32(4)) << 32 | u64::from(self.u32(8));
                    self.timed(interface, Some(time), 20, self.u32(12) as usize, end)?
                }
                3 if end >= 4 => {
                    let length = (self.u32(0) as usize).min(end - 4);
                    self.timed(0, None, 4, length, end)?
                }
                _ => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    #[allow(clippy::type_complexity, reason = "a time, a link type, and where the bytes are")]
    fn timed(
        &self,
        interface: usize,
        time: Option<u64>,
        start: usize,
        length: usize,
        end: usize,
    ) -> Result<Option<(u64, u16, usize, usize)>, Error> {
        let Kind::Pcapng { interfaces } = &self.kind else { return Ok(None) };
        let Some(interface) = interfaces.get(interface) else {
            return Err(self.damaged("a packet is of an interface that was not described"));
        };
        if length > end - start {
            return Err(self.damaged("a packet is longer than its block"));
        }
        let at_us = time.map_or(self.last_us, |time| {
            let (seconds, rest) = (time / interface.units, time % interface.units);
            let micros = (u128::from(rest) * 1_000_000 / u128::from(interface.units)) as u64;
            seconds.saturating_add(interface.offset_s).saturating_mul(1_000_000).saturating_add(micros)
        });
        Ok(Some((at_us, interface.link_type, start, start + length)))
    }

    /// A Section Header Block, of which the type was read: the byte order, and no interface yet.
    fn section(&mut self) -> Result<(), Error> {
        if !self.fill(8)? {
            return Err(self.damaged("the section header is cut off"));
        }
        self.little = match self.block[4..8] {
            [0x4D, 0x3C, 0x2B, 0x1A] => true,
            [0x1A, 0x2B, 0x3C, 0x4D] => false,
            _ => return Err(self.damaged("the byte order of a section is unknown")),
        };
        let length = self.u32(0) as usize;
        if length < 28 || !length.is_multiple_of(4) {
            return Err(self.damaged("the section header has a length that cannot be"));
        }
        self.body(length - 12)?;
        self.kind = Kind::Pcapng { interfaces: Vec::new() };
        Ok(())
    }

    /// An Interface Description Block of `end` bytes.
    fn interface(&mut self, end: usize) -> Result<(), Error> {
        if end < 8 {
            return Err(self.damaged("an interface is cut off"));
        }
        let mut interface = Interface { link_type: self.u16(0), units: 1_000_000, offset_s: 0 };
        let mut at = 8;
        while at + 4 <= end {
            let (code, length) = (self.u16(at), usize::from(self.u16(at + 2)));
            if code == 0 || at + 4 + length > end {
                break;
            }
            match code {
                // if_tsresol: a power of ten, or of two if the upper bit is set.
                9 if length == 1 => {
                    let value = self.block[at + 4];
                    let exponent = u32::from(value & 0x7F);
                    let base: u64 = if value & 0x80 == 0 { 10 } else { 2 };
                    interface.units = base.checked_pow(exponent).unwrap_or(u64::MAX);
                }
                // if_tsoffset.
                14 if length == 8 => {
                    let (first, second) = (u64::from(self.u32(at + 4)), u64::from(self.u32(at + 8)));
                    interface.offset_s =
                        if self.little { second << 32 | first } else { first << 32 | second };
                }
                _ => {}
            }
            at += 4 + length.next_multiple_of(4);
        }
        let Kind::Pcapng { interfaces } = &mut self.kind else { return Ok(()) };
        if interfaces.len() < INTERFACES_MAX {
            interfaces.push(interface);
        }
        Ok(())
    }

    /// Reads exactly so many bytes; false at the end of the file.
    fn fill(&mut self, count: usize) -> Result<bool, Error> {
        self.block.clear();
        let mut limited = self.input.by_ref().take(count as u64);
        let read = limited.read_to_end(&mut self.block).map_err(|source| {
            let what = format!("the capture after packet {}, byte {}", self.number, self.offset);
            Error::Read { what, source }
        })?;
        self.offset += read as u64;
        if read > 0 && read < count {
            return Err(self.damaged("it is cut off"));
        }
        Ok(read == count)
    }

    fn body(&mut self, length: usize) -> Result<(), Error> {
        if length > BLOCK_BYTES_MAX {
            return Err(self.damaged(&format!("a packet of {length} bytes cannot be")));
        }
        if length > 0 && !self.fill(length)? {
            return Err(self.damaged("it is cut off"));
        }
        if length == 0 {
            self.block.clear();
        }
        Ok(())
    }

    fn damaged(&self, what: &str) -> Error {
        Error::Damaged { offset: self.offset, what: what.into() }
    }

    fn u16(&self, at: usize) -> u16 {
        let bytes = [self.block[at], self.block[at + 1]];
        if self.little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) }
    }

    fn u32(&self, at: usize) -> u32 {
        let bytes = [self.block[at], self.block[at + 1], self.block[at + 2], self.block[at + 3]];
        if self.little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) }
    }
}
