//! From a captured frame to the TCP segment in it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub sequence: u32,
    pub flags: u8,
    pub payload: &'a [u8],
    /// Bytes of the payload that were not captured.
    pub missing: u32,
}

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const ACK: u8 = 0x10;

/// A link type that is not read.
pub(super) struct UnknownLink(pub u16);

/// The segment in a frame; `None` if there is none, or not a whole header of one.
pub(super) fn segment(link_type: u16, frame: &[u8]) -> Result<Option<Segment<'_>>, UnknownLink> {
    let packet = match link_type {
        // NULL and LOOP: a family in four bytes, of the byte order of the machine; the IP header says the same.
        0 | 108 => frame.get(4..),
        1 => ethernet(frame),
        // RAW, as various systems number it.
        12 | 14 | 101 | 228 | 229 => Some(frame),
        // Linux cooked captures: the protocol in front of the packet, or at the start of the header.
        113 => frame.get(14..16).and_then(|kind| tagged(kind, frame.get(16..)?)),
        276 => frame.get(..2).and_then(|kind| tagged(kind, frame.get(20..)?)),
        other => return Err(UnknownLink(other)),
    };
    Ok(packet.and_then(ip))
}

fn ethernet(frame: &[u8]) -> Option<&[u8]> {
    tagged(frame.get(12..14)?, frame.get(14..)?)
}

/// Goes through the tags of virtual networks to the packet.
fn tagged<'a>(mut kind: &'a [u8], mut rest: &'a [u8]) -> Option<&'a [u8]> {
    for _ in 0..4 {
        match kind {
            [0x08, 0x00] | [0x86, 0xDD] => return Some(rest),
            [0x81, 0x00] | [0x88, 0xA8] | [0x91, 0x00] => {
                kind = rest.get(2..4)?;
                rest = rest.get(4..)?;
            }
            _ => return None,
        }
    }
    None
}

fn ip(packet: &[u8]) -> Option<Segment<'_>> {
    match packet.first()? >> 4 {
        4 => ipv4(packet),
        6 => ipv6(packet),
        _ => None,
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn ipv4(packet: &[u8]) -> Option<Segment<'_>> {
    let header = usize::from(packet[0] & 0x0F) * 4;
    let fragment = be16(packet, 6)?;
    // A fragment has no TCP header but the first, and that lacks the rest.
    if header < 20 || *packet.get(9)? != 6 || fragment & 0x3FFF != 0 {
        return None;
    }
    let address =
        |at: usize| Some(IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?)));
    let (from, to) = (address(12)?, address(16)?);
    // With offloading the kernel may say 0: then it is all that is there.
    let total = match usize::from(be16(packet, 2)?) {
        0 => packet.len(),
        total => total,
    };
    tcp(from, to, packet.get(header..)?, total.checked_sub(header)?)
}

fn ipv6(packet: &[u8]) -> Option<Segment<'_>> {
    let address =
        |at: usize| Some(IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?)));
    let (from, to) = (address(8)?, address(24)?);
    let mut rest = packet.get(40..)?;
    let mut left = match usize::from(be16(packet, 4)?) {
        0 => rest.len(),
        length => length,
    };
    let mut next = *packet.get(6)?;
    for _ in 0..8 {
        let length = match next {
            6 => return tcp(from, to, rest, left),
            // Hop-by-Hop, Routing, Destination Options.
            0 | 43 | 60 => 8 + usize::from(*rest.get(1)?) * 8,
            _ => return None,
        };
        next = rest[0];
        rest = rest.get(length..)?;
        left = left.checked_sub(length)?;
    }
    None
}

/// `length` is what the IP header says; less may have been captured, and more if the frame was padded.
fn tcp(from: IpAddr, to: IpAddr, segment: &[u8], length: usize) -> Option<Segment<'_>> {
    let header = usize::from(segment.get(12)? >> 4) * 4;
    if header < 20 {
        return None;
    }
    let sequence = u32::from_be_bytes(segment.get(4..8)?.try_into().ok()?);
    let payload_len = length.checked_sub(header)?;
    let captured = segment.get(header..)?;
    let payload = &captured[..captured.len().min(payload_len)];
    Some(Segment {
        from: SocketAddr::new(from, be16(segment, 0)?),
        to: SocketAddr::new(to, be16(segment, 2)?),
        sequence,
        flags: *segment.get(13)?,
        payload,
        missing: u32::try_from(payload_len - payload.len()).ok()?,
    })
}
