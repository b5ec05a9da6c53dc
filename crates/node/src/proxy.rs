//! The PROXY protocol, versions 1 and 2, as a receiver reads it: who the client behind a proxy is.
//!
//! Sans-IO. A header is believed only when the connection comes from a trusted network, which is the caller's to check
//! (attack 42); here every length is checked and nothing past the header is touched.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header accepted. The longest that version 1 has is 107; version 2 allows 64 KiB of extensions, of which no
/// proxy sends more than a few hundred bytes.
pub const HEADER_BYTES_MAX: usize = 2048;

/// Longest line of version 1, with its end.
const V1_BYTES_MAX: usize = 107;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it takes.
    pub len: usize,
    /// Where the client is. `None`: the proxy speaks for itself (LOCAL) or does not know (UNKNOWN).
    pub client: Option<SocketAddr>,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyError {
    /// The connection does not begin with a header.
    Missing,
    /// The header is malformed.
    Malformed(&'static str),
    /// The header is longer than accepted.
    TooLong,
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyError::Missing => f.write_str("PROXY protocol header missing"),
            ProxyError::Malformed(what) => write!(f, "PROXY protocol header malformed: {what}"),
            ProxyError::TooLong => f.write_str("PROXY protocol header too long"),
        }
    }
}

impl std::error::Error for ProxyError {}

/// Reads the header at the start of `bytes`; `None` if its end has not arrived.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let starts = |prefix: &[u8]| bytes.starts_with(&prefix[..prefix.len().min(bytes.len())]);
    if bytes.is_empty() {
        return Ok(None);
    }
    if starts(V2_SIGNATURE) {
        return parse_v2(bytes);
    }
    if starts(b"PROXY ") {
        return parse_v1(bytes);
    }
    Err(ProxyError::Missing)
}

fn parse_v1(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let window = &bytes[..bytes.len().min(V1_BYTES_MAX)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() >= V1_BYTES_MAX { Err(ProxyError::TooLong) } else { Ok(None) };
    };
    let malformed = ProxyError::Malformed("the line of version 1");
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| malformed)?;
    let len = end + 2;
    let mut words = line.split(' ').skip(1);
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Some(Header { len, client: None }));
    }
    let (Some(source), Some(target), Some(port), Some(target_port), None) =
        (words.next(), words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed);
    };
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            Some("TCP4") => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Some("TCP6") => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let number = |text: &str| -> Option<u16> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
        if plain { text.parse().ok() } else { None }
    };
    let (Some(ip), Some(_), Some(port), Some(_)) =
        (address(source), address(target), number(port), number(target_port))
    else {
        return Err(malformed);
    };
    Ok(Some(Header { len, client: Some(SocketAddr::new(ip.to_canonical(), port)) }))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<Header>, ProxyError> {
    let Some(&version) = bytes.get(12) else { return Ok(None) };
    if version >> 4 != 2 {
        return Err(ProxyError::Malformed("the version is not 2"));
    }
    let command = version & 0x0F;
    if command > 1 {
        return Err(ProxyError::Malformed("the command is neither LOCAL nor PROXY"));
    }
    let (Some(&family), Some(&high), Some(&low)) = (bytes.get(13), bytes.get(14), bytes.get(15)) else {
        return Ok(None);
    };
    let body_len = usize::from(u16::from_be_bytes([high, low]));
    let len = 16 + body_len;
    if len > HEADER_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    let Some(body) = bytes.get(16..len) else { return Ok(None) };
    if command == 0 {
        return Ok(Some(Header { len, client: None }));
    }
    // Stream protocols only: MQTT does not run over datagrams.
    let (client, tlvs) = match family {
        0x00 => (None, body),
        0x11 => {
            let addresses = body.get(..12).ok_or(ProxyError::Malformed("the IPv4 addresses are cut"))?;
            let ip = Ipv4Addr::new(addresses[0], addresses[1], addresses[2], addresses[3]);
            let port = u16::from_be_bytes([addresses[8], addresses[9]]);
            (Some(SocketAddr::new(IpAddr::V4(ip), port)), &body[12..])
        }
        0x21 => {
            let addresses = body.get(..36).ok_or(ProxyError::Malformed("the IPv6 addresses are cut"))?;
            let mut octets = [0; 16];
            octets.copy_from_slice(&addresses[..16]);
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            let ip = IpAddr::V6(Ipv6Addr::from(octets)).to_canonical();
            (Some(SocketAddr::new(ip, port)), &body[36..])
        }
        _ => return Err(ProxyError::Malformed("the address family is neither IPv4 nor IPv6 over TCP")),
    };
    check_tlvs(if family == 0 { &[] } else { tlvs })?;
    Ok(Some(Header { len, client }))
}

/// The extensions are not used, but their lengths must add up.
fn check_tlvs(mut tlvs: &[u8]) -> Result<(), ProxyError> {
    while !tlvs.is_empty() {
        let [_, high, low, rest @ ..] = tlvs else {
            return Err(ProxyError::Malformed("an extension is cut"));
        };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        tlvs = rest.get(len..).ok_or(ProxyError::Malformed("an extension is longer than the header"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = V2_SIGNATURE.to_vec();
        bytes.extend_from_slice(&[0x20 | command, family]);
        bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
        bytes.extend_from_slice(body);
        bytes
    }

    fn client(bytes: &[u8]) -> Option<SocketAddr> {
        let mut whole = bytes.to_vec();
        whole.extend_from_slice(b"\x10rest");
        for cut in 0..bytes.len() {
            assert_eq!(parse(&whole[..cut]), Ok(None), "cut at {cut}");
        }
        let header = parse(&whole).unwrap().unwrap();
        assert_eq!(header.len, bytes.len());
        header.client
    }

    #[test]
    fn both_versions_name_the_client() {
        let v4: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let v6: SocketAddr = "[2001:db8::7]:4711".parse().unwrap();
        assert_eq!(client(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 1883\r\n"), Some(v4));
        assert_eq!(client(b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 1883\r\n"), Some(v6));
        assert_eq!(client(b"PROXY UNKNOWN\r\n"), None);
        assert_eq!(client(b"PROXY UNKNOWN what ever\r\n"), None);
        let mut body = vec![192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 7, 91];
        assert_eq!(client(&v2(1, 0x11, &body)), Some(v4));
        body.extend_from_slice(&[0x04, 0, 2, 0, 0]);
        assert_eq!(client(&v2(1, 0x11, &body)), Some(v4));
        let IpAddr::V6(ip) = v6.ip() else { unreachable!() };
        let body = [&ip.octets()[..], &[0; 16], &[0x12, 0x67, 7, 91]].concat();
        assert_eq!(client(&v2(1, 0x21, &body)), Some(v6));
        assert_eq!(client(&v2(0, 0x00, &[])), None);
    }

    #[test]
    fn what_is_not_a_header_is_refused_at_the_first_byte_that_shows_it() {
        let malformed = |bytes: &[u8]| matches!(parse(bytes), Err(ProxyError::Malformed(_)));
        assert_eq!(parse(b"\x10"), Err(ProxyError::Missing));
        assert_eq!(parse(b"PROXX"), Err(ProxyError::Missing));
        assert!(malformed(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n"));
        assert!(malformed(b"PROXY TCP4 2001:db8::7 198.51.100.1 4711 1883\r\n"));
        assert!(malformed(b"PROXY TCP4 192.0.2.7 198.51.100.1 04711 1883\r\n"));
        assert!(malformed(b"PROXY TCP4 192.0.2.7 198.51.100.1 70000 1883\r\n"));
        assert!(malformed(b"PROXY TCP4 192.0.2.7\n 198.51.100.1 1 1\r\n"));
        assert_eq!(parse(&[b"PROXY UNKNOWN ".as_slice(), &[b'a'; 100]].concat()), Err(ProxyError::TooLong));
        assert!(malformed(&[V2_SIGNATURE.as_slice(), &[0x11]].concat()));
        assert!(malformed(&v2(2, 0x11, &[0; 12])));
        assert!(malformed(&v2(1, 0x12, &[0; 12])), "datagrams");
        assert!(malformed(&v2(1, 0x11, &[0; 11])), "cut addresses");
        assert!(malformed(&v2(1, 0x11, &[&[0; 12][..], &[4, 0, 9, 0]].concat())), "extension overruns");
        assert!(malformed(&v2(1, 0x11, &[&[0; 12][..], &[4, 0]].concat())), "extension is cut");
        assert_eq!(parse(&v2(1, 0x11, &[0; 4000])), Err(ProxyError::TooLong));
    }
}
