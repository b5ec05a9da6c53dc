//! The opening handshake of RFC 6455: one GET request, answered with 101 or with what is wrong.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::fmt;

/// Longest request, head and all.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// Most header lines.
const HEADERS_MAX: usize = 64;
/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What a listener accepts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The path, such as `/mqtt`.
    pub path: String,
    /// Origins of pages that may connect; a request without Origin does not come from a page. Empty: no page may.
    pub origins: Vec<String>,
    /// Largest frame.
    pub frame_bytes_max: u64,
}

/// Why a handshake was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Not a well-formed request for an upgrade.
    BadRequest(&'static str),
    /// Not a GET.
    Method,
    /// Another path.
    NotFound,
    /// The page is not on the list of origins.
    Origin,
    /// The client does not offer the subprotocol `mqtt` (MQTT-6.0.0-3).
    Subprotocol,
    /// Not version 13.
    Version,
    /// The request is too long.
    TooLarge,
}

impl HandshakeError {
    /// The answer to the peer. It names no product.
    pub fn answer(self) -> &'static str {
        match self {
            HandshakeError::BadRequest(_) | HandshakeError::Subprotocol => {
                "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            }
            HandshakeError::Method => {
                "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            }
            HandshakeError::NotFound => {
                "HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            }
            HandshakeError::Origin => {
                "HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            }
            HandshakeError::Version => {
                "HTTP/1.1 426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nConnection: close\r\n\
                 Content-Length: 0\r\n\r\n"
            }
            HandshakeError::TooLarge => {
                "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            }
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HandshakeError::BadRequest(what) => what,
            HandshakeError::Method => "the method is not GET",
            HandshakeError::NotFound => "the path is not that of the listener",
            HandshakeError::Origin => "the origin is not on the list",
            HandshakeError::Subprotocol => "the subprotocol mqtt is not offered (MQTT-6.0.0-3)",
            HandshakeError::Version => "the WebSocket version is not 13",
            HandshakeError::TooLarge => "the request is too large",
        })
    }
}

impl std::error::Error for HandshakeError {}

/// Reads the request.
#[derive(Default)]
pub struct Handshake {
    request: Vec<u8>,
}

impl Handshake {
    /// Takes bytes. `Ok(None)`: the request is not complete. Otherwise how many of `bytes` belong to it, and the answer.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        rules: &Rules,
    ) -> Result<Option<(usize, Vec<u8>)>, HandshakeError> {
        let before = self.request.len();
        let take = bytes.len().min(REQUEST_BYTES_MAX - before);
        self.request.extend_from_slice(&bytes[..take]);
        // What cannot become a GET is refused at once (attack 2).
        let start = &self.request[..self.request.len().min(4)];
        if !b"GET ".starts_with(start) {
            return Err(HandshakeError::Method);
        }
        let search = before.saturating_sub(3);
        let end = self.request[search..].windows(4).position(|window| window == b"\r\n\r\n");
        let Some(end) = end.map(|at| search + at + 4) else {
            if self.request.len() == REQUEST_BYTES_MAX {
                return Err(HandshakeError::TooLarge);
            }
            return Ok(None);
        };
        let key = check(&self.request[..end - 4], rules)?;
        Ok(Some((end - before, answer(&key))))
    }
}

/// Checks the head of a request and returns its key.
fn check(head: &[u8], rules: &Rules) -> Result<String, HandshakeError> {
    let head =
        std::str::from_utf8(head).map_err(|_| HandshakeError::BadRequest("the request is not UTF-8"))?;
    let mut lines = head.split("\r\n");
    check_request_line(lines.next().unwrap_or_default(), rules)?;
    let mut seen = Seen::default();
    for (count, line) in lines.enumerate() {
        if count == HEADERS_MAX {
            return Err(HandshakeError::TooLarge);
        }
        let (name, value) =
            line.split_once(':').ok_or(HandshakeError::BadRequest("a header without a colon"))?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty()
            || !name.bytes().all(is_name)
            || value.bytes().any(|byte| byte < b' ' && byte != b'\t')
        {
            return Err(HandshakeError::BadRequest("a header that is not well-formed"));
        }
        seen.header(name, value.trim_matches([' ', '\t']), rules)?;
    }
    seen.finish()
}

fn check_request_line(line: &str, rules: &Rules) -> Result<(), HandshakeError> {
    let mut words = line.split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    if words.next().is_some() || version != Some("HTTP/1.1") {
        return Err(HandshakeError::BadRequest("the request line is not that of HTTP/1.1"));
    }
    if method != Some("GET") {
        return Err(HandshakeError::Method);
    }
    let path = target.unwrap_or_default().split('?').next().unwrap_or_default();
    if path != rules.path { Err(HandshakeError::NotFound) } else { Ok(()) }
}

#[derive(Default)]
struct Seen {
    host: bool,
    upgrade: bool,
    connection: bool,
    version: bool,
    subprotocol: bool,
    key: Option<String>,
    origin: bool,
}

impl Seen {
    fn header(&mut self, name: &str, value: &str, rules: &Rules) -> Result<(), HandshakeError> {
        let has = |word: &str| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word));
        let once = |seen: &mut bool| {
            if std::mem::replace(seen, true) {
                Err(HandshakeError::BadRequest("a header twice"))
            } else {
                Ok(())
            }
        };
        match name.to_ascii_lowercase().as_str() {
            "host" => once(&mut self.host)?,
            "upgrade" => self.upgrade |= has("websocket"),
            "connection" => self.connection |= has("upgrade"),
            "sec-websocket-version" => {
                once(&mut self.version)?;
                if value != "13" {
                    return Err(HandshakeError::Version);
                }
            }
            // MQTT-6.0.0-3: the client must offer mqtt.
            "sec-websocket-protocol" => {
                self.subprotocol |= value.split(',').any(|part| part.trim() == "mqtt")
            }
            "sec-websocket-key" => {
                let is_nonce = STANDARD.decode(value).is_ok_and(|nonce| nonce.len() == 16);
                if self.key.is_some() || !is_nonce {
                    return Err(HandshakeError::BadRequest("the key is not 16 bytes in base 64, once"));
                }
                self.key = Some(value.into());
            }
            "origin" => {
                // Cross-site hijack (CVE-2026-67405): a browser says which page asks, and only listed ones may.
                once(&mut self.origin)?;
                if !rules.origins.iter().any(|origin| origin == "*" || origin.eq_ignore_ascii_case(value)) {
                    return Err(HandshakeError::Origin);
                }
            }
            "content-length" if value != "0" => {
                return Err(HandshakeError::BadRequest("a request with a body"));
            }
            "transfer-encoding" => return Err(HandshakeError::BadRequest("a request with a body")),
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<String, HandshakeError> {
        if !self.host || !self.upgrade || !self.connection {
            return Err(HandshakeError::BadRequest("not a request to upgrade to WebSocket"));
        }
        if !self.version {
            return Err(HandshakeError::Version);
        }
        if !self.subprotocol {
            return Err(HandshakeError::Subprotocol);
        }
        self.key.ok_or(HandshakeError::BadRequest("no key"))
    }
}

/// MQTT-6.0.0-4: the subprotocol that is chosen is mqtt.
fn answer(key: &str) -> Vec<u8> {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(GUID);
    let accept = STANDARD.encode(context.finish());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n\r\n";

    fn rules() -> Rules {
        Rules {
            path: "/mqtt".into(),
            origins: vec!["https://console.example".into()],
            frame_bytes_max: 1 << 20,
        }
    }

    fn run(request: &str) -> Result<Option<(usize, Vec<u8>)>, HandshakeError> {
        Handshake::default().receive(request.as_bytes(), &rules())
    }

    #[test]
    fn the_example_of_the_rfc_at_any_cut() {
        for step in [1, 3, 64, GOOD.len() + 3] {
            let wire = format!("{GOOD}abc");
            let mut handshake = Handshake::default();
            let mut at = 0;
            let (used, answer) = loop {
                let chunk = &wire.as_bytes()[at..(at + step).min(wire.len())];
                if let Some((used, answer)) = handshake.receive(chunk, &rules()).unwrap() {
                    break (at + used, answer);
                }
                at += chunk.len();
            };
            assert_eq!(used, GOOD.len());
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
            assert!(answer.contains("Sec-WebSocket-Protocol: mqtt\r\n"));
        }
    }

    #[test]
    fn pages_connect_only_from_listed_origins() {
        let with = |origin: &str| GOOD.replace("Host: a", &format!("Host: a\r\nOrigin: {origin}"));
        assert!(run(&with("https://console.example")).is_ok());
        assert_eq!(run(&with("https://evil.example")), Err(HandshakeError::Origin));
        assert_eq!(run(&with("null")), Err(HandshakeError::Origin));
        assert_eq!(run(&with("https://console.example.evil.example")), Err(HandshakeError::Origin));
    }

    #[test]
    fn what_is_not_an_upgrade_is_refused() {
        use HandshakeError::*;
        assert_eq!(run("POST /mqtt HTTP/1.1\r\n"), Err(Method));
        assert_eq!(run("\x10"), Err(Method));
        assert_eq!(run(&GOOD.replace("/mqtt ", "/other ")), Err(NotFound));
        assert_eq!(run(&GOOD.replace("mqttv3.1, mqtt", "mqttv3.1")), Err(Subprotocol));
        assert_eq!(run(&GOOD.replace("Version: 13", "Version: 8")), Err(Version));
        assert!(matches!(run(&GOOD.replace("WebSocket\r\n", "h2c\r\n")), Err(BadRequest(_))));
        assert!(matches!(run(&GOOD.replace("dGhlIHNhbXBsZSBub25jZQ==", "short")), Err(BadRequest(_))));
        assert!(matches!(run(&GOOD.replace("Host: a", "Host: a\r\n folded")), Err(BadRequest(_))));
        assert!(matches!(
            run(&GOOD.replace("Host: a", "Host: a\r\nTransfer-Encoding: chunked")),
            Err(BadRequest(_))
        ));
        let mut handshake = Handshake::default();
        let endless = format!("GET /{}", "a".repeat(REQUEST_BYTES_MAX));
        assert_eq!(handshake.receive(endless.as_bytes(), &rules()), Err(TooLarge));
    }
}
