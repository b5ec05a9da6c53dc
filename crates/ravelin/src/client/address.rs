//! Where the broker is: a host and port with a transport, from separate options or from one URL.

use super::Error;

/// The port of plain MQTT.
pub const PORT_PLAIN: u16 = 1883;
/// The port of MQTT over TLS.
pub const PORT_TLS: u16 = 8883;
/// The path of MQTT over WebSocket where none is given.
pub const WEB_SOCKET_PATH: &str = "/mqtt";

/// How MQTT is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// TCP.
    Mqtt,
    /// TLS.
    Mqtts,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Scheme {
    /// Whether the transport is encrypted.
    pub fn is_tls(self) -> bool {
        matches!(self, Scheme::Mqtts | Scheme::Wss)
    }

    /// Whether MQTT is carried in WebSocket frames.
    pub fn is_web_socket(self) -> bool {
        matches!(self, Scheme::Ws | Scheme::Wss)
    }

    fn port(self) -> u16 {
        match self {
            Scheme::Mqtt => PORT_PLAIN,
            Scheme::Mqtts => PORT_TLS,
            Scheme::Ws => 80,
            Scheme::Wss => 443,
        }
    }
}

/// A parsed `-L` URL: `mqtt(s)://[user[:password]@]host[:port][/topic]` or `ws(s)://[user[:password]@]host[:port][/path]`.
///
/// No `Debug`: it may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// The transport.
    pub scheme: Scheme,
    /// The host name or address, without brackets.
    pub host: String,
    /// The port, the scheme's own where none is given.
    pub port: u16,
    /// The user name, percent-decoded.
    pub username: Option<String>,
    /// The password, percent-decoded.
    pub password: Option<String>,
    /// What follows the host's slash: the topic of `mqtt` and `mqtts`.
    pub topic: Option<String>,
    /// The path of `ws` and `wss`, with its slash.
    pub path: String,
}

impl BrokerUrl {
    /// Parses a URL.
    pub fn parse(url: &str) -> Result<BrokerUrl, Error> {
        let wrong = |why: &str| Error::Usage(format!("the URL is not valid: {why}"));
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| wrong("it does not start with a scheme such as mqtts://"))?;
        let scheme = match scheme {
            "mqtt" => Scheme::Mqtt,
            "mqtts" => Scheme::Mqtts,
            "ws" => Scheme::Ws,
            "wss" => Scheme::Wss,
            _ => return Err(wrong("its scheme is none of mqtt, mqtts, ws, wss")),
        };
        let (authority, tail) = match rest.split_once('/') {
            Some((authority, tail)) => (authority, Some(tail)),
            None => (rest, None),
        };
        // The last `@`: a password may contain one that was not escaped.
        let (user, host_port) = match authority.rsplit_once('@') {
            Some((user, host_port)) => (Some(user), host_port),
            None => (None, authority),
        };
        let (username, password) = match user.map(|user| user.split_once(':').unwrap_or((user, ""))) {
            None => (None, None),
            Some((name, password)) => {
                let has_password = user.is_some_and(|user| user.contains(':'));
                let password = if has_password { Some(percent_decoded(password)?) } else { None };
                (Some(percent_decoded(name)?), password)
            }
        };
        let (host, port) =
            split_host_port(host_port).ok_or_else(|| wrong("its host or port cannot be read"))?;
        if host.is_empty() {
            return Err(wrong("it has no host"));
        }
        let (topic, path) = match (scheme.is_web_socket(), tail) {
            (true, Some(path)) if !path.is_empty() => (None, format!("/{path}")),
            (true, _) => (None, WEB_SOCKET_PATH.into()),
            (false, Some(topic)) if !topic.is_empty() => (Some(topic.to_owned()), String::new()),
            (false, _) => (None, String::new()),
        };
        Ok(BrokerUrl {
            scheme,
            host: host.to_owned(),
            port: port.unwrap_or(scheme.port()),
            username,
            password,
            topic,
            path,
        })
    }
}

/// `host`, `host:port`, `[v6]` or `[v6]:port`.
fn split_host_port(text: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((text, None)),
    }
}

fn percent_decoded(text: &str) -> Result<String, Error> {
    let wrong = || Error::Usage("the URL is not valid: a percent escape in its user name or password".into());
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| (byte as char).to_digit(16)).ok_or_else(wrong);
        out.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(out).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> BrokerUrl {
        BrokerUrl::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn everything_at_once() {
        let url = parse("mqtts://meter-7:p%40ss%3a@bus.example:9883/site/1/temp");
        assert_eq!(url.scheme, Scheme::Mqtts);
        assert_eq!((url.host.as_str(), url.port), ("bus.example", 9883));
        assert_eq!(url.username.as_deref(), Some("meter-7"));
        assert_eq!(url.password.as_deref(), Some("p@ss:"));
        assert_eq!(url.topic.as_deref(), Some("site/1/temp"));
    }

    #[test]
    fn each_scheme_has_its_port() {
        for (url, port) in [("mqtt://h", 1883), ("mqtts://h/", 8883), ("ws://h", 80), ("wss://h/x", 443)] {
            assert_eq!(parse(url).port, port);
        }
    }

    #[test]
    fn the_tail_is_a_topic_or_a_path() {
        assert_eq!(parse("mqtt://h//a").topic.as_deref(), Some("/a"));
        assert_eq!(parse("mqtt://h/").topic, None);
        assert_eq!(parse("ws://h:8080/a/b").path, "/a/b");
        assert_eq!(parse("ws://h:8080").path, "/mqtt");
    }

    #[test]
    fn addresses_of_version_6_stand_in_brackets() {
        assert_eq!(
            (parse("mqtt://[::1]:1884").host.as_str(), parse("mqtt://[::1]:1884").port),
            ("::1", 1884)
        );
        assert_eq!(parse("mqtt://[::1]/t").host, "::1");
        assert!(BrokerUrl::parse("mqtt://[::1/t").is_err());
        assert!(BrokerUrl::parse("mqtt://[::1]x/t").is_err());
    }

    #[test]
    fn a_user_without_password_and_an_empty_password_differ() {
        assert_eq!(parse("mqtt://u@h").password, None);
        assert_eq!(parse("mqtt://u:@h").password.as_deref(), Some(""));
    }

    #[test]
    fn nonsense_is_refused_without_showing_the_password() {
        for url in [
            "h",
            "http://h",
            "mqtt://",
            "mqtt://h:x",
            "mqtt://h:70000",
            "mqtt://u:secret%4@h",
            "mqtt://:1883",
        ] {
            let Err(error) = BrokerUrl::parse(url) else { panic!("{url} was accepted") };
            assert!(!error.to_string().contains("secret"));
        }
    }
}
