//! What the node and the firewall agent say to each other: requests of fixed parts, and an answer.
//!
//! ```text
//! request  "RF" op:u8 0:u8 count:u32le, then count entries
//!   1 ports   entry: port u16le
//!   2 block   entry: family:u8 (4, 6) prefix:u8 0:u16 seconds:u32le (0: no end) address:[u8; 16] (of IPv4 the first 4)
//!   3 list    no entries
//! answer   done:u8 (1, 0) length:u32le, then length bytes of text
//! ```

use super::rules::{BLOCKED_MAX, Blocked, PORTS_MAX};
use crate::config::Network;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const MAGIC: [u8; 2] = *b"RF";
const HEAD: usize = 8;
const ENTRY: usize = 24;
/// The head of an answer.
pub(crate) const ANSWER_HEAD: usize = 5;
/// Longest text of an answer.
const TEXT_MAX: usize = 4 << 20;

/// What the agent is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make the table, for these ports. None: take it away.
    Ports(Vec<u16>),
    /// Drop what comes from these networks, and from nobody else.
    Block(Vec<Blocked>),
    /// Say what the table holds.
    List,
}

impl Request {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (op, count) = match self {
            Request::Ports(ports) => (1, ports.len()),
            Request::Block(blocked) => (2, blocked.len()),
            Request::List => (3, 0),
        };
        let mut bytes = vec![MAGIC[0], MAGIC[1], op, 0];
        bytes.extend((count as u32).to_le_bytes());
        match self {
            Request::Ports(ports) => ports.iter().for_each(|port| bytes.extend(port.to_le_bytes())),
            Request::Block(blocked) => blocked.iter().for_each(|one| push_entry(&mut bytes, one)),
            Request::List => {}
        }
        bytes
    }

    /// Reads the next request; `None` at the end of the stream. Whatever is not one exactly is an error.
    pub fn read(from: &mut impl Read) -> io::Result<Option<Request>> {
        let mut head = [0; HEAD];
        if from.read(&mut head[..1])? == 0 {
            return Ok(None);
        }
        from.read_exact(&mut head[1..])?;
        let count = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if head[..2] != MAGIC || head[3] != 0 {
            return Err(invalid("it does not begin as a request does"));
        }
        match (head[2], count) {
            (1, 0..=PORTS_MAX) => {
                let mut ports = vec![0; count * 2];
                from.read_exact(&mut ports)?;
                let ports = ports.as_chunks::<2>().0.iter().map(|port| u16::from_le_bytes(*port));
                Ok(Some(Request::Ports(ports.collect())))
            }
            (2, 0..=BLOCKED_MAX) => {
                let mut entries = vec![0; count * ENTRY];
                from.read_exact(&mut entries)?;
                let blocked = entries.as_chunks::<ENTRY>().0.iter().map(entry);
                Ok(Some(Request::Block(blocked.collect::<Option<_>>().ok_or_else(|| invalid("no network"))?)))
            }
            (3, 0) => Ok(Some(Request::List)),
            _ => Err(invalid("there is no such request, or not with so many parts")),
        }
    }
}

fn push_entry(bytes: &mut Vec<u8>, blocked: &Blocked) {
    let network = blocked.network.to_canonical();
    let mut address = [0; 16];
    let family = match network.address() {
        IpAddr::V4(v4) => {
            address[..4].copy_from_slice(&v4.octets());
            4
        }
        IpAddr::V6(v6) => {
            address = v6.octets();
            6
        }
    };
    bytes.extend([family, network.prefix(), 0, 0]);
    bytes.extend(blocked.seconds.unwrap_or(0).to_le_bytes());
    bytes.extend(address);
}

fn entry(bytes: &[u8; ENTRY]) -> Option<Blocked> {
    let (v4, v6) = (bytes[8..].first_chunk::<4>()?, bytes[8..].first_chunk::<16>()?);
    let (address, most) = match bytes[0] {
        4 => (IpAddr::V4(Ipv4Addr::from(*v4)), 32),
        6 => (IpAddr::V6(Ipv6Addr::from(*v6)), 128),
        _ => return None,
    };
    if bytes[1] > most || bytes[2..4] != [0, 0] || most == 32 && bytes[12..] != [0; 12] {
        return None;
    }
    let seconds = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    let network = Network::new(address, bytes[1]);
    Some(Blocked { network, seconds: (seconds > 0).then_some(seconds) })
}

/// An answer as bytes.
pub(crate) fn answer(result: &Result<String, String>) -> Vec<u8> {
    let (Ok(text) | Err(text)) = result;
    let text = &text.as_bytes()[..text.len().min(TEXT_MAX)];
    let mut bytes = vec![u8::from(result.is_ok())];
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text);
    bytes
}

/// Whether the agent did what it was asked, and how long its text is.
pub(crate) fn answer_head(head: [u8; ANSWER_HEAD]) -> Option<(bool, usize)> {
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    (head[0] <= 1 && length <= TEXT_MAX).then_some((head[0] == 1, length))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut bytes: &[u8]) -> io::Result<Option<Request>> {
        Request::read(&mut bytes)
    }

    #[test]
    fn requests_are_read_as_they_were_written() {
        let blocked = |network: &str, seconds| Blocked { network: network.parse().unwrap(), seconds };
        for request in [
            Request::Ports(vec![8883, 8885]),
            Request::Ports(vec![]),
            Request::Block(vec![blocked("192.0.2.0/24", Some(60)), blocked("2001:db8::/64", None)]),
            Request::List,
        ] {
            assert_eq!(read(&request.encode()).unwrap(), Some(request.clone()));
            let bytes = request.encode();
            for end in 1..bytes.len() {
                assert!(read(&bytes[..end]).is_err(), "{request:?} cut at {end}");
            }
        }
        assert_eq!(read(&[]).unwrap(), None);
    }

    #[test]
    fn nothing_else_is_a_request() {
        let block = Request::Block(vec![Blocked { network: "192.0.2.1/32".parse().unwrap(), seconds: None }])
            .encode();
        for (at, byte) in [(0, b'X'), (2, 9), (3, 1), (4, 2), (7, 0xFF), (8, 5), (9, 33), (10, 1), (31, 1)] {
            let mut bytes = block.clone();
            bytes[at] = byte;
            assert!(read(&bytes).is_err(), "byte {at}");
        }
    }
}
