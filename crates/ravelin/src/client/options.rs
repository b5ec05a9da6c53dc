//! What `pub` and `sub` are told about the broker, and who they are: the options that both have, with the names of
//! `mosquitto_pub` and `mosquitto_sub`.

use super::address::{BrokerUrl, PORT_PLAIN, PORT_TLS, Scheme, WEB_SOCKET_PATH};
use super::error::Error;
use super::property::{MessageProperties, PacketProperties, PropertyArgs};
use super::tls::{TlsArgs, server_name};
use ravelin_mqtt::{QoS, Version, check_topic};
use ravelin_protect::Secret;
use ravelin_protect::scram::Mechanism;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::net::IpAddr;
use std::sync::Arc;

/// The environment variable that holds the password where `-P` would show it to every user of the machine.
const PASSWORD_VARIABLE: &str = "RAVELIN_PASSWORD";

/// The options of `pub` and `sub` that are about the connection. No `Debug`: they may hold a password.
#[derive(clap::Args, Clone)]
pub struct ConnectArgs {
    /// Connect to this host [default: localhost]
    #[arg(short = 'h', long, value_name = "HOST", help_heading = "Connection", conflicts_with = "url")]
    host: Option<String>,
    /// Connect to this port [default: 1883, over TLS 8883]; 8883 turns TLS on
    #[arg(short = 'p', long, value_name = "PORT", help_heading = "Connection", conflicts_with = "url")]
    port: Option<u16>,
    // Not a doc comment: rustdoc would take the brackets for links.
    #[arg(
        short = 'L',
        long,
        value_name = "URL",
        help_heading = "Connection",
        help = "Take user, password, host, port and topic from a URL: mqtt(s)://[user[:password]@]host[:port][/topic], or \
                ws(s)://host[:port][/path] for WebSocket"
    )]
    url: Option<String>,
    /// Carry MQTT over WebSocket, with the path /mqtt
    #[arg(long, help_heading = "Connection")]
    ws: bool,
    /// Bind the connection to this local address
    #[arg(short = 'A', value_name = "ADDRESS", help_heading = "Connection")]
    bind_address: Option<IpAddr>,
    /// Client identifier [default: chosen by the broker]
    #[arg(short = 'i', long, value_name = "ID", help_heading = "Connection", conflicts_with = "id_prefix")]
    id: Option<String>,
    /// Client identifier from this prefix and the process id
    #[arg(short = 'I', long, value_name = "PREFIX", help_heading = "Connection")]
    id_prefix: Option<String>,
    /// User name
    #[arg(short = 'u', long, value_name = "NAME", help_heading = "Connection")]
    username: Option<String>,
    /// Password; better in the variable RAVELIN_PASSWORD, which other users of the machine cannot see
    #[arg(
        short = 'P',
        long = "pw",
        value_name = "PASSWORD",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    password: Option<String>,
    /// Prove the password by SCRAM instead of sending it (MQTT 5.0) [default hash: sha-256]
    #[arg(
        long,
        value_name = "sha-256|sha-512",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "sha-256",
        value_parser = parse_mechanism,
        help_heading = "Connection"
    )]
    scram: Option<Mechanism>,
    /// Keep Alive in seconds; 0 turns it off
    #[arg(short = 'k', long, value_name = "SECONDS", default_value_t = 60, help_heading = "Connection")]
    keepalive: u16,
    /// Keep the session after the connection ends (clean session or clean start is off); needs -i
    #[arg(short = 'c', long = "disable-clean-session", help_heading = "Connection")]
    keep_session: bool,
    /// Keep the session this many seconds after the connection ends (MQTT 5.0); -1 for ever
    #[arg(
        short = 'x',
        long = "session-expiry-interval",
        value_name = "SECONDS",
        help_heading = "Connection",
        allow_hyphen_values = true
    )]
    session_expiry: Option<String>,
    /// MQTT version
    #[arg(
        short = 'V',
        long = "protocol-version",
        value_name = "VERSION",
        default_value = "5",
        value_parser = parse_version,
        help_heading = "Connection"
    )]
    version: Version,
    /// Accepted and without effect: small packets are never held back
    #[arg(long, hide = true)]
    nodelay: bool,
    /// Topic of the will, which the broker publishes if this client is lost
    #[arg(long, value_name = "TOPIC", help_heading = "Will")]
    will_topic: Option<String>,
    /// Payload of the will [default: empty]
    #[arg(
        long,
        value_name = "TEXT",
        help_heading = "Will",
        requires = "will_topic",
        allow_hyphen_values = true
    )]
    will_payload: Option<String>,
    /// QoS of the will
    #[arg(long, value_name = "QOS", help_heading = "Will", requires = "will_topic", value_parser = parse_qos)]
    will_qos: Option<QoS>,
    /// Retain the will
    #[arg(long, help_heading = "Will", requires = "will_topic")]
    will_retain: bool,
    #[command(flatten)]
    tls: TlsArgs,
    #[command(flatten)]
    properties: PropertyArgs,
    /// Tell every packet on standard error
    #[arg(short = 'd', long, help_heading = "Output")]
    debug: bool,
    /// Print no errors
    #[arg(long, help_heading = "Output")]
    pub quiet: bool,
}

/// The will to announce.
pub struct WillOptions {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: QoS,
    /// Retain.
    pub retain: bool,
    /// Properties.
    pub properties: MessageProperties,
}

/// TLS as one connection needs it.
pub struct TlsOptions {
    /// The configuration.
    pub config: Arc<ClientConfig>,
    /// The name that the certificate must have.
    pub name: ServerName<'static>,
}

/// Everything that one connection needs, checked. No `Debug`: it may hold a password.
pub struct ConnectOptions {
    /// The transport.
    pub scheme: Scheme,
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path of WebSocket.
    pub path: String,
    /// The local address to bind to.
    pub bind_address: Option<IpAddr>,
    /// TLS, if the scheme has it.
    pub tls: Option<TlsOptions>,
    /// The MQTT version.
    pub version: Version,
    /// The client identifier; empty lets the broker choose.
    pub client_id: String,
    /// The user name.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// Whether to authenticate by SCRAM, and by which member of the family.
    pub scram: Option<Mechanism>,
    /// Keep Alive in seconds.
    pub keep_alive_s: u16,
    /// Clean Session or Clean Start.
    pub clean_start: bool,
    /// Session Expiry Interval in seconds.
    pub session_expiry_s: Option<u32>,
    /// The will.
    pub will: Option<WillOptions>,
    /// The properties of `-D`.
    pub properties: PacketProperties,
    /// The topic of the URL.
    pub url_topic: Option<String>,
    /// Whether to tell every packet.
    pub debug: bool,
}

impl ConnectArgs {
    /// Checks the options against each other.
    pub fn resolve(&self) -> Result<ConnectOptions, Error> {
        let url = self.url.as_deref().map(BrokerUrl::parse).transpose()?;
        let properties = self.properties.parse()?;
        if self.version == Version::V311 {
            self.refuse_what_needs_version_5()?;
        }
        let username = self.username.clone().or_else(|| url.as_ref()?.username.clone());
        let password = self.password.clone().or_else(|| url.as_ref()?.password.clone());
        let password =
            password.or_else(|| username.as_ref().and_then(|_| std::env::var(PASSWORD_VARIABLE).ok()));
        if self.scram.is_some() && (username.is_none() || password.is_none()) {
            return Err(Error::Usage(
                "--scram needs a user name (-u) and a password (-P or RAVELIN_PASSWORD)".into(),
            ));
        }
        let client_id = match (&self.id, &self.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => format!("{prefix}{}", std::process::id()),
            (None, None) => String::new(),
        };
        if self.keep_session && client_id.is_empty() {
            return Err(Error::Usage(
                "-c needs a client identifier (-i): a kept session is found again by it".into(),
            ));
        }
        let (scheme, host, port) = self.address(url.as_ref());
        let tls = match scheme.is_tls() {
            true => Some(TlsOptions { config: Arc::new(self.tls.config()?), name: server_name(&host)? }),
            false => None,
        };
        Ok(ConnectOptions {
            scheme,
            port,
            path: url
                .as_ref()
                .map(|url| url.path.clone())
                .filter(|path| !path.is_empty())
                .unwrap_or(WEB_SOCKET_PATH.into()),
            host,
            bind_address: self.bind_address,
            tls,
            version: self.version,
            client_id,
            username,
            password: password.map(Secret::new),
            scram: self.scram,
            keep_alive_s: self.keepalive,
            clean_start: !self.keep_session,
            session_expiry_s: self.session_expiry_s(&properties)?,
            will: self.will(&properties)?,
            properties,
            url_topic: url.and_then(|url| url.topic),
            debug: self.debug,
        })
    }

    /// The QoS-independent part of what only MQTT 5.0 can express.
    fn refuse_what_needs_version_5(&self) -> Result<(), Error> {
        let what = match () {
            () if !self.properties.is_empty() => "-D",
            () if self.session_expiry.is_some() => "-x",
            () if self.scram.is_some() => "--scram",
            () => return Ok(()),
        };
        Err(Error::Usage(format!("{what} needs MQTT 5.0: use -V 5")))
    }

    fn address(&self, url: Option<&BrokerUrl>) -> (Scheme, String, u16) {
        if let Some(url) = url {
            let scheme = match url.scheme {
                Scheme::Mqtt if self.ws && self.tls.asks_for_tls() => Scheme::Wss,
                Scheme::Mqtt if self.ws => Scheme::Ws,
                Scheme::Mqtt if self.tls.asks_for_tls() => Scheme::Mqtts,
                Scheme::Mqtts if self.ws => Scheme::Wss,
                Scheme::Ws if self.tls.asks_for_tls() => Scheme::Wss,
                other => other,
            };
            return (scheme, url.host.clone(), url.port);
        }
        let tls = self.tls.asks_for_tls() || self.port == Some(PORT_TLS);
        let scheme = match (self.ws, tls) {
            (false, false) => Scheme::Mqtt,
            (false, true) => Scheme::Mqtts,
            (true, false) => Scheme::Ws,
            (true, true) => Scheme::Wss,
        };
        let port = self.port.unwrap_or(if tls { PORT_TLS } else { PORT_PLAIN });
        (scheme, self.host.clone().unwrap_or_else(|| "localhost".into()), port)
    }

    fn session_expiry_s(&self, properties: &PacketProperties) -> Result<Option<u32>, Error> {
        if self.version == Version::V311 {
            return Ok(None);
        }
        match self.session_expiry.as_deref() {
            Some("-1" | "∞") => Ok(Some(u32::MAX)),
            Some(text) => match text.parse() {
                Ok(seconds) => Ok(Some(seconds)),
                Err(_) => Err(Error::Usage(format!(
                    "-x {text}: expected seconds from 0 to 4294967294, or -1 for ever"
                ))),
            },
            // Who keeps a session means to come back.
            None => Ok(properties.connect.session_expiry_s.or(self.keep_session.then_some(u32::MAX))),
        }
    }

    fn will(&self, properties: &PacketProperties) -> Result<Option<WillOptions>, Error> {
        let Some(topic) = &self.will_topic else {
            if properties.will != MessageProperties::default() {
                return Err(Error::Usage("-D will needs a will: --will-topic".into()));
            }
            return Ok(None);
        };
        check_topic(topic, u16::MAX).map_err(|why| Error::Usage(format!("--will-topic {topic}: {why}")))?;
        Ok(Some(WillOptions {
            topic: topic.clone(),
            payload: self.will_payload.clone().unwrap_or_default().into_bytes(),
            qos: self.will_qos.unwrap_or_default(),
            retain: self.will_retain,
            properties: properties.will.clone(),
        }))
    }
}

impl ConnectOptions {
    /// The address as it is shown.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// Parses a QoS.
pub fn parse_qos(text: &str) -> Result<QoS, String> {
    text.parse().ok().and_then(QoS::from_u8).ok_or_else(|| "expected 0, 1 or 2".into())
}

/// Parses the hash of SCRAM.
fn parse_mechanism(text: &str) -> Result<Mechanism, String> {
    let known =
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name().ends_with(&text.to_ascii_uppercase()));
    known.filter(|_| text.len() == 7).ok_or_else(|| "expected sha-256 or sha-512".into())
}

/// Parses an MQTT version as `mosquitto_pub` names them, or as a number.
pub fn parse_version(text: &str) -> Result<Version, String> {
    match text {
        "5" | "5.0" | "mqttv5" => Ok(Version::V5),
        "4" | "311" | "3.1.1" | "mqttv311" => Ok(Version::V311),
        _ => Err("expected mqttv5 (or 5) or mqttv311 (or 4)".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Line {
        #[command(flatten)]
        connect: ConnectArgs,
    }

    fn resolve(line: &str) -> Result<ConnectOptions, Error> {
        let words = std::iter::once("test").chain(line.split(' ').filter(|word| !word.is_empty()));
        Line::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}")).connect.resolve()
    }

    fn usage(line: &str) -> String {
        match resolve(line) {
            Err(Error::Usage(why)) => why,
            _ => panic!("{line} was accepted"),
        }
    }

    #[test]
    fn plain_by_default_and_tls_when_something_asks_for_it() {
        for (line, scheme, port) in [
            ("", Scheme::Mqtt, 1883),
            ("--port 1999", Scheme::Mqtt, 1999),
            ("-h bus -p 8883", Scheme::Mqtts, 8883),
            ("--dangerous-insecure", Scheme::Mqtts, 8883),
            ("--dangerous-insecure -p 1", Scheme::Mqtts, 1),
            ("-L mqtts://bus", Scheme::Mqtts, 8883),
            ("-L mqtt://bus --dangerous-insecure", Scheme::Mqtts, 1883),
            ("--ws -p 9001", Scheme::Ws, 9001),
            ("-L ws://bus:9001/x", Scheme::Ws, 9001),
        ] {
            let options = resolve(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!((options.scheme, options.port), (scheme, port), "{line}");
            assert_eq!(options.tls.is_some(), scheme.is_tls());
        }
    }

    #[test]
    fn the_url_gives_what_the_options_do_not() {
        let options = resolve("-L mqtt://u:p@bus:1884/a/b -u other").unwrap();
        assert_eq!(options.username.as_deref(), Some("other"));
        assert_eq!(options.password.as_ref().map(Secret::expose), Some(&b"p"[..]));
        assert_eq!(options.url_topic.as_deref(), Some("a/b"));
        assert_eq!(options.address(), "bus:1884");
    }

    #[test]
    fn a_kept_session_has_a_name_and_does_not_expire() {
        assert!(usage("-c").contains("client identifier"));
        let options = resolve("-c -i me").unwrap();
        assert_eq!((options.clean_start, options.session_expiry_s), (false, Some(u32::MAX)));
        assert_eq!(resolve("-c -i me -x 30").unwrap().session_expiry_s, Some(30));
        assert_eq!(resolve("-x -1").unwrap().session_expiry_s, Some(u32::MAX));
        assert_eq!(resolve("-c -i me -V mqttv311").unwrap().session_expiry_s, None);
        assert!(usage("-x soon").contains("expected seconds"));
    }

    #[test]
    fn what_3_1_1_cannot_express_is_refused() {
        for line in ["-x 1", "-D connect receive-maximum 1", "--scram -u a -P b"] {
            assert!(usage(&format!("-V mqttv311 {line}")).contains("needs MQTT 5.0"), "{line}");
        }
    }

    #[test]
    fn a_will_has_a_topic_that_can_be_published() {
        assert!(usage("--will-topic a/+").contains("wildcard"));
        assert!(usage("-D will will-delay-interval 1").contains("--will-topic"));
        let will =
            resolve("--will-topic a --will-payload -x --will-qos 2 --will-retain").unwrap().will.unwrap();
        assert_eq!((will.payload.as_slice(), will.qos, will.retain), (&b"-x"[..], QoS::ExactlyOnce, true));
    }
}
