//! `[[listener]]`: an address, what is spoken on it, and who is let in.

use super::keys::{self, Ages, CrlSource, StapleConfig};
use super::read::Table;
use ravelin_protect::Network;
use ravelin_protect::tls::TlsVersion;
use ravelin_protect::{BindClientId, ClientCertificate, IdentityFrom, ListenerPolicy, Methods, SecondFactor};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// MQTT over TLS.
    Tls,
    /// MQTT over plain TCP.
    Tcp,
    /// MQTT over WebSocket over plain TCP.
    Ws,
    /// MQTT over WebSocket over TLS.
    Wss,
}

impl Transport {
    /// Whether it is encrypted.
    pub fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls | Transport::Wss)
    }

    /// Whether it is WebSocket.
    pub fn is_websocket(self) -> bool {
        matches!(self, Transport::Ws | Transport::Wss)
    }

    /// As it is written in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tls => "tls",
            Transport::Tcp => "tcp",
            Transport::Ws => "ws",
            Transport::Wss => "wss",
        }
    }
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in logs.
    pub name: String,
    /// What is spoken.
    pub transport: Transport,
    /// Where it listens.
    pub address: SocketAddr,
    /// The path of the WebSocket endpoint.
    pub websocket_path: String,
    /// Which web pages may connect; empty allows none that a browser sends (clients that are no browsers send none).
    pub allowed_origins: Vec<String>,
    /// The zone (IEC 62443) that it faces.
    pub zone: Option<String>,
    /// Who is let in.
    pub policy: ListenerPolicy,
    /// Certificates; present exactly if the transport is encrypted.
    pub tls: Option<ListenerTls>,
    /// Whose PROXY protocol header is believed; `None` expects no header.
    pub proxy_trusted: Option<Vec<Network>>,
    /// Connections of this listener.
    pub connections_max: Option<u64>,
    /// How old keys and sessions may get.
    pub ages: Ages,
    /// Plain transport beyond loopback was asked for.
    pub dangerous_plaintext: bool,
}

/// The certificates of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// The certificate chain, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// The CAs of clients, in PEM; present exactly if clients are asked for a certificate.
    pub client_ca: Option<PathBuf>,
    /// Where revocation lists come from.
    pub crl: Vec<CrlSource>,
    /// The oldest version that is spoken.
    pub version_min: TlsVersion,
    /// Whether a client that returns is spared the full handshake.
    pub session_tickets: bool,
    /// How long a ticket is good for at most.
    pub ticket_lifetime: Duration,
    /// The OCSP answer that is stapled to the certificate.
    pub staple: StapleConfig,
}

/// Reads one listener; `None` if it lacks what nothing can stand in for.
pub(super) fn read(table: &mut Table<'_, '_>, base: &Path) -> Option<Listener> {
    let path = table.path.clone();
    let key = |name: &str| format!("{path}.{name}");
    let name = table.take::<String>("name");
    let transport = table.choice(
        "transport",
        &[("tls", Transport::Tls), ("tcp", Transport::Tcp), ("ws", Transport::Ws), ("wss", Transport::Wss)],
    );
    let address = address(table);
    let websocket_path = table.take::<String>("websocket_path");
    let allowed_origins = table.take::<Vec<String>>("allowed_origins");
    let zone = table.take::<String>("zone");
    let client_certificate = table.choice(
        "client_certificate",
        &[
            ("required", ClientCertificate::Required),
            ("optional", ClientCertificate::Optional),
            ("none", ClientCertificate::None),
        ],
    );
    let certificate = table.take::<String>("certificate");
    let private_key = table.take::<String>("key");
    let client_ca = table.take::<String>("client_ca");
    let crl = keys::read_sources(table, base);
    let key_keys = keys::read_listener(table, base);
    let version_min = table.choice("tls_min", &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)]);
    let session_tickets = table.take::<bool>("session_tickets");
    let identity_from = table.choice(
        "identity_from",
        &[
            ("cn", IdentityFrom::CommonName),
            ("san-dns", IdentityFrom::SanDns),
            ("san-uri", IdentityFrom::SanUri),
            ("san-email", IdentityFrom::SanEmail),
            ("fingerprint", IdentityFrom::Fingerprint),
        ],
    );
    let bind_client_id = table.choice(
        "bind_client_id",
        &[("equal", BindClientId::Equal), ("prefix", BindClientId::Prefix), ("none", BindClientId::None)],
    );
    let methods = methods(table);
    let second_factor = second_factor(table);
    let proxy_trusted = proxy(table);
    let connections_max = table.take_between::<u64>("connections_max", 1, 1_000_000_000);
    let dangerous_plaintext = table.take::<bool>("dangerous_plaintext").unwrap_or(false);
    let anonymous = table.take::<bool>("dangerous_anonymous").unwrap_or(false);

    let written = |table: &Table<'_, '_>, name: &str| table.reader.places.contains_key(&key(name));
    for (name, missing, example) in [
        ("transport", transport.is_none(), "transport = \"tls\""),
        ("address", address.is_none(), "address = \"127.0.0.1:8883\""),
    ] {
        if missing && !written(table, name) {
            let place = table.reader.places.get(&path).cloned();
            table.reader.error(
                place.as_ref(),
                format!("the listener has no `{name}`"),
                &format!("write `{example}`"),
            );
        }
    }
    let (transport, address) = (transport?, address?);
    let name = name.unwrap_or_else(|| format!("{}-{}", transport.name(), address.port()));

    let client_certificate = client_certificate.unwrap_or(match transport.is_encrypted() {
        true => ClientCertificate::Required,
        false => ClientCertificate::None,
    });
    if transport.is_encrypted() {
        let asks = client_certificate != ClientCertificate::None;
        for (name, missing, why) in [
            ("certificate", certificate.is_none(), "TLS needs the server's certificate"),
            ("key", private_key.is_none(), "TLS needs the private key of the certificate"),
            (
                "client_ca",
                asks && client_ca.is_none(),
                "client certificates need a CA that they are verified by",
            ),
        ] {
            if missing && !written(table, name) {
                let help = format!("write `{name} = \"...\"`, or make a deployment with `ravelin init DIR`");
                table.reader.error_at(&key(name), format!("`{name}` is missing: {why}"), &help);
            }
        }
        if !asks && (written(table, "client_ca") || written(table, "crl")) {
            let at = if written(table, "client_ca") { "client_ca" } else { "crl" };
            let what = format!("`{at}` has no effect: clients are not asked for a certificate");
            table.reader.error_at(&key(at), what, "set `client_certificate` to \"required\" or \"optional\"");
        }
    } else {
        let tls_keys = ["certificate", "key", "client_ca", "crl", "tls_min", "session_tickets"];
        for name in tls_keys.iter().chain(keys::TLS_ONLY).copied() {
            if written(table, name) {
                let what = format!("`{name}` has no effect: the transport is not encrypted");
                table.reader.error_at(
                    &key(name),
                    what,
                    "use the transport \"tls\" or \"wss\", or delete the key",
                );
            }
        }
        if client_certificate != ClientCertificate::None {
            let what = "a transport without TLS cannot ask for a client certificate".into();
            table.reader.error_at(&key("client_certificate"), what, "use the transport \"tls\" or \"wss\"");
        }
        if !address.ip().to_canonical().is_loopback() {
            let what = format!("{address} is not loopback, and \"{}\" is not encrypted", transport.name());
            if dangerous_plaintext {
                let what = format!("{what}: whoever is on the way reads and changes every message");
                table.reader.warning_at(&key("dangerous_plaintext"), what, "");
            } else {
                let help = "use the transport \"tls\" or \"wss\", listen on 127.0.0.1, or (passwords and messages can \
                            then be read by anyone on the way) add `dangerous_plaintext = true`";
                table.reader.error_at(&key("address"), what, help);
            }
        }
    }
    if !transport.is_websocket() {
        for name in ["websocket_path", "allowed_origins"] {
            if written(table, name) {
                let what = format!("`{name}` has no effect: the transport is not WebSocket");
                table.reader.error_at(
                    &key(name),
                    what,
                    "use the transport \"ws\" or \"wss\", or delete the key",
                );
            }
        }
    }
    let websocket_path = websocket_path.unwrap_or_else(|| "/mqtt".into());
    if !websocket_path.starts_with('/')
        || websocket_path.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        let what = "`websocket_path` begins with `/` and has no space".into();
        table.reader.error_at(&key("websocket_path"), what, "write `websocket_path = \"/mqtt\"`");
    }
    for origin in allowed_origins.iter().flatten() {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        if host.is_empty() || host.contains(['/', '*', ' ']) {
            let what = format!("`{}` is not the origin of a web page", origin.escape_debug());
            table.reader.error_at(
                &key("allowed_origins"),
                what,
                "write scheme and host: \"https://plant.example\"",
            );
        }
    }

    let methods = methods.unwrap_or(Methods {
        certificate: client_certificate != ClientCertificate::None,
        password: client_certificate == ClientCertificate::None && !anonymous,
        scram_sha_256: client_certificate == ClientCertificate::None && !anonymous,
        scram_sha_512: client_certificate == ClientCertificate::None && !anonymous,
        jwt: false,
    });
    if second_factor != SecondFactor::None && client_certificate == ClientCertificate::None {
        let what = "`second_factor` comes beside a certificate, and clients are not asked for one".into();
        table.reader.error_at(&key("second_factor"), what, "set `client_certificate` to \"required\"");
    }
    if second_factor != SecondFactor::None && anonymous {
        let what = "`second_factor` has no effect: the listener lets anyone in".into();
        table.reader.error_at(&key("second_factor"), what, "delete `dangerous_anonymous`");
    }
    if methods.certificate && client_certificate == ClientCertificate::None {
        let what = "\"certificate\" cannot succeed: clients are not asked for a certificate".into();
        table.reader.error_at(
            &key("authentication"),
            what,
            "set `client_certificate`, or take the method out",
        );
    }
    if methods == Methods::default() && !anonymous {
        let what = "nobody can log in: no method of authentication is offered".into();
        let help = "list \"certificate\", \"password\", \"scram-sha-256\", \"scram-sha-512\" or \"jwt\"";
        table.reader.error_at(&key("authentication"), what, help);
    }
    if anonymous {
        let what = format!("the listener \"{name}\" lets anyone in without proving who it is");
        table.reader.warning_at(&key("dangerous_anonymous"), what, "");
    }
    let policy = ListenerPolicy {
        client_certificate,
        identity_from: identity_from.unwrap_or_default(),
        bind_client_id: bind_client_id.unwrap_or_default(),
        methods,
        second_factor,
        anonymous,
    };
    let tls = match (transport.is_encrypted(), certificate, private_key) {
        (true, Some(certificate), Some(key)) => Some(ListenerTls {
            certificate: base.join(certificate),
            key: base.join(key),
            client_ca: client_ca.map(|path| base.join(path)),
            crl,
            version_min: version_min.unwrap_or_default(),
            session_tickets: session_tickets.unwrap_or(true),
            ticket_lifetime: key_keys.ticket_lifetime,
            staple: key_keys.staple,
        }),
        _ => None,
    };
    Some(Listener {
        zone,
        name,
        transport,
        address,
        websocket_path,
        allowed_origins: allowed_origins.unwrap_or_default(),
        policy,
        tls,
        proxy_trusted,
        connections_max,
        ages: key_keys.ages,
        dangerous_plaintext,
    })
}

fn address(table: &mut Table<'_, '_>) -> Option<SocketAddr> {
    let text = table.take::<String>("address")?;
    match text.parse() {
        Ok(address) => Some(address),
        Err(_) => {
            let key = format!("{}.address", table.path);
            let help = "write an IP address and a port: \"127.0.0.1:8883\", \"[::1]:8883\", \"0.0.0.0:8883\" for all";
            table.reader.error_at(&key, "`address` is not an address and a port".into(), help);
            None
        }
    }
}

fn methods(table: &mut Table<'_, '_>) -> Option<Methods> {
    let list = table.take::<Vec<String>>("authentication")?;
    let mut methods = Methods::default();
    for method in &list {
        match method.as_str() {
            "certificate" => methods.certificate = true,
            "password" => methods.password = true,
            "scram-sha-256" => methods.scram_sha_256 = true,
            "scram-sha-512" => methods.scram_sha_512 = true,
            "jwt" => methods.jwt = true,
            other => {
                let key = format!("{}.authentication", table.path);
                let what = format!("`{}` is not a method of authentication", other.escape_debug());
                let help = match other {
                    "anonymous" => "add `dangerous_anonymous = true` to let anyone in",
                    "totp" => "write `second_factor = \"totp\"`: a one-time code comes beside a certificate",
                    _ => {
                        "it is \"certificate\", \"password\", \"scram-sha-256\", \"scram-sha-512\" or \"jwt\""
                    }
                };
                table.reader.error_at(&key, what, help);
            }
        }
    }
    Some(methods)
}

fn second_factor(table: &mut Table<'_, '_>) -> SecondFactor {
    let factors = [SecondFactor::None, SecondFactor::Password, SecondFactor::Token, SecondFactor::Totp];
    table.choice("second_factor", &factors.map(|factor| (factor.name(), factor))).unwrap_or_default()
}

/// `proxy_protocol = true` and `proxy_trusted`: who may say where a connection comes from.
fn proxy(table: &mut Table<'_, '_>) -> Option<Vec<Network>> {
    let enabled = table.take::<bool>("proxy_protocol").unwrap_or(false);
    let list = table.take::<Vec<String>>("proxy_trusted");
    let key = |name: &str| format!("{}.{name}", table.path);
    let (key_enabled, key_list) = (key("proxy_protocol"), key("proxy_trusted"));
    match (enabled, &list) {
        (true, None) => {
            let what = "`proxy_protocol` needs `proxy_trusted`: whose word is believed".into();
            table.reader.error_at(&key_enabled, what, "write `proxy_trusted = [\"10.0.0.5/32\"]`");
        }
        (false, Some(_)) => {
            let what = "`proxy_trusted` has no effect without `proxy_protocol = true`".into();
            table.reader.error_at(&key_list, what, "");
        }
        _ => {}
    }
    let mut networks = Vec::new();
    for text in list.iter().flatten() {
        match text.parse::<Network>() {
            Ok(network) if network.is_everything() => {
                let what = format!("`{network}` believes everyone: any client could choose its address");
                table.reader.error_at(&key_list, what, "name the networks of your proxies");
            }
            Ok(network) => networks.push(network),
            Err(()) => {
                let what = format!("`{}` is not a network", text.escape_debug());
                table.reader.error_at(&key_list, what, "write it like \"10.0.0.0/8\" or \"2001:db8::/32\"");
            }
        }
    }
    enabled.then_some(networks)
}
