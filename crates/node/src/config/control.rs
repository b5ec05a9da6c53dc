//! `[control]`: where the node is administered, by whom, and what that lane may cost.

use super::read::{Reader, Table};
use ravelin_protect::ClientCertificate;
use ravelin_protect::tls::TlsVersion;
use ravelin_protect::units::Rate;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The control lane; without the section there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its certificates; `None` is plain HTTP, which `dangerous_plaintext` asked for.
    pub tls: Option<ControlTls>,
    /// Identities of certificates (Common Name, or `sha256:` and the fingerprint) that may do everything.
    pub admins: Vec<String>,
    /// Those that may act on clients and bans, but not change who may do what.
    pub operators: Vec<String>,
    /// Those that may look.
    pub viewers: Vec<String>,
    /// Where `/metrics` is also served, in plain HTTP to whoever asks: an address of loopback.
    pub metrics_address: Option<SocketAddr>,
    /// What the lane may cost.
    pub limits: ControlLimits,
}

/// The certificates of the control lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlTls {
    /// The certificate chain, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Whether a client certificate is asked for.
    pub client_certificate: ClientCertificate,
    /// The CAs of those who administer, in PEM; present exactly if a certificate is asked for.
    pub client_ca: Option<PathBuf>,
    /// Revocation lists.
    pub crl: Vec<PathBuf>,
    /// The oldest version that is spoken.
    pub version_min: TlsVersion,
}

/// What the control lane may cost. A count of 0 does not exist: every one of them is a limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlLimits {
    /// Largest body of a request.
    pub body_bytes_max: u64,
    /// Largest head of a request.
    pub header_bytes_max: u64,
    /// Connections.
    pub connections_max: u64,
    /// Connections of one address (of one /64 for IPv6).
    pub connections_per_address_max: u64,
    /// Requests that are dealt with at once.
    pub requests_in_flight_max: u64,
    /// How long a TLS handshake may take, and the head of a request; also how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a request may take, its body included.
    pub request_timeout: Duration,
    /// How long a client may take nothing of its answer.
    pub write_timeout: Duration,
    /// Requests of one address.
    pub request_rate_per_address: Rate,
    /// How many of them may come at once.
    pub request_burst_per_address: u64,
    /// Failed authentications of one address; beyond it they are refused without an event each.
    pub failure_rate_per_address: Rate,
    /// How many of them may come at once.
    pub failure_burst_per_address: u64,
    /// API tokens.
    pub tokens_max: u64,
    /// Recent events that are kept for `GET /v1/events`.
    pub events_max: u64,
}

impl Default for ControlLimits {
    fn default() -> ControlLimits {
        ControlLimits {
            body_bytes_max: 4 << 20,
            header_bytes_max: 16 << 10,
            connections_max: 128,
            connections_per_address_max: 64,
            requests_in_flight_max: 64,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            request_rate_per_address: Rate { events: 1000, per: Duration::from_secs(1) },
            request_burst_per_address: 2000,
            failure_rate_per_address: Rate { events: 10, per: Duration::from_secs(60) },
            failure_burst_per_address: 10,
            tokens_max: 1000,
            events_max: 10_000,
        }
    }
}

/// The keys of the section with a default, for the commented configuration: name, default, meaning.
pub const CONTROL_LIMITS: &[(&str, &str, &str)] = &[
    ("body_bytes_max", "\"4MiB\"", "Largest body of a request."),
    ("header_bytes_max", "\"16KiB\"", "Largest head of a request."),
    ("connections_max", "128", "Connections of the control lane."),
    ("connections_per_address_max", "64", "The same for one address (one /64 for IPv6)."),
    ("requests_in_flight_max", "64", "Requests that are dealt with at once."),
    (
        "header_timeout",
        "\"10s\"",
        "How long a handshake, or the head of a request, may take; longest idle time.",
    ),
    ("request_timeout", "\"30s\"", "How long a request may take, its body included."),
    ("write_timeout", "\"30s\"", "How long a client may take nothing of its answer."),
    ("request_rate_per_address", "\"1000/s\"", "Requests of one address."),
    ("request_burst_per_address", "2000", "How many of them may come at once."),
    (
        "failure_rate_per_address",
        "\"10/m\"",
        "Failed authentications of one address; certificates and tokens that are good pass all the same.",
    ),
    ("failure_burst_per_address", "10", "How many of them may come at once."),
    ("tokens_max", "1000", "API tokens."),
    ("events_max", "10_000", "Recent events that are kept to be asked for."),
];

/// Reads the section; `None` if it is not written, or lacks what nothing can stand in for.
pub(super) fn read(table: &mut Table<'_, '_>, base: &Path) -> Option<ControlConfig> {
    let written = table.reader.places.contains_key("control");
    let address = socket(table, "address");
    let certificate = table.take::<String>("certificate").map(|path| base.join(path));
    let key = table.take::<String>("key").map(|path| base.join(path));
    let client_ca = table.take::<String>("client_ca").map(|path| base.join(path));
    let crl = table.take::<Vec<String>>("crl").unwrap_or_default();
    let client_certificate = table.choice(
        "client_certificate",
        &[
            ("required", ClientCertificate::Required),
            ("optional", ClientCertificate::Optional),
            ("none", ClientCertificate::None),
        ],
    );
    let version_min = table.choice("tls_min", &[("1.2", TlsVersion::Tls12), ("1.3", TlsVersion::Tls13)]);
    let mut names = |key| table.take::<Vec<String>>(key).unwrap_or_default();
    let (admins, operators, viewers) = (names("admins"), names("operators"), names("viewers"));
    let metrics_address = socket(table, "metrics_address");
    let plaintext = table.take::<bool>("dangerous_plaintext").unwrap_or(false);
    let without = table.take::<bool>("dangerous_without_client_certificate").unwrap_or(false);
    let limits = limits(table);
    if !written {
        return None;
    }
    if address.is_none() && !table.reader.places.contains_key("control.address") {
        let what = "the control lane has no `address`".into();
        table.reader.error_at("control", what, "write `address = \"127.0.0.1:8886\"`, or delete the section");
    }
    let address = address?;
    let client_certificate = client_certificate.unwrap_or(match client_ca {
        Some(_) => ClientCertificate::Optional,
        None => ClientCertificate::None,
    });
    let crl = crl.into_iter().map(|path| base.join(path)).collect();
    let version_min = version_min.unwrap_or(TlsVersion::Tls13);
    let tls = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            Some(ControlTls { certificate, key, client_certificate, client_ca, crl, version_min })
        }
        (None, None) => None,
        (certificate, _) => {
            let missing = if certificate.is_none() { "certificate" } else { "key" };
            let what = format!("`{missing}` is missing: TLS needs the certificate and its key");
            table.reader.error_at("control.certificate", what, "write both, or neither");
            return None;
        }
    };
    let config = ControlConfig { address, tls, admins, operators, viewers, metrics_address, limits };
    check(&config, plaintext, without, table.reader);
    Some(config)
}

fn socket(table: &mut Table<'_, '_>, name: &'static str) -> Option<SocketAddr> {
    let text = table.take::<String>(name)?;
    let address = text.parse().ok();
    if address.is_none() {
        let what = format!("`{name}` is an address and a port, but is \"{}\"", text.escape_debug());
        table.reader.error_at(&format!("control.{name}"), what, "write \"127.0.0.1:8886\" or \"[::1]:8886\"");
    }
    address
}

fn limits(table: &mut Table<'_, '_>) -> ControlLimits {
    const RATE_MAX: Rate = Rate { events: 1_000_000, per: Duration::from_millis(1) };
    const RATE_MIN: Rate = Rate { events: 1, per: Duration::from_secs(86_400) };
    let mut limits = ControlLimits::default();
    let seconds = Duration::from_secs;
    macro_rules! read {
        ($($name:ident: $min:expr => $max:expr;)*) => {
            $(if let Some(value) = table.take_between(stringify!($name), $min, $max) {
                limits.$name = value;
            })*
        };
    }
    read! {
        body_bytes_max: 1024 => 256 << 20;
        header_bytes_max: 8 << 10 => MIB;
        connections_max: 1 => 100_000;
        connections_per_address_max: 1 => 100_000;
        requests_in_flight_max: 1 => 10_000;
        header_timeout: Duration::from_millis(100) => seconds(300);
        request_timeout: Duration::from_millis(100) => seconds(3600);
        write_timeout: Duration::from_millis(100) => seconds(3600);
        request_rate_per_address: RATE_MIN => RATE_MAX;
        request_burst_per_address: 1 => 1_000_000_000;
        failure_rate_per_address: RATE_MIN => RATE_MAX;
        failure_burst_per_address: 1 => 1_000_000;
        tokens_max: 1 => 100_000;
        events_max: 16 => 1_000_000;
    }
    limits
}

const MIB: u64 = 1 << 20;

/// What must agree, and what lowers security only if it was asked for by name.
fn check(config: &ControlConfig, plaintext: bool, without: bool, reader: &mut Reader<'_>) {
    let loopback = config.address.ip().to_canonical().is_loopback();
    match &config.tls {
        None if plaintext => {
            let what = "the control lane is not encrypted: whoever sees it has its tokens".into();
            reader.warning_at("control.dangerous_plaintext", what, "");
        }
        None => {
            let what = "the control lane has no certificate".into();
            let help = "write `certificate` and `key`, or (tokens can then be read on the way) add \
                        `dangerous_plaintext = true`";
            reader.error_at("control.certificate", what, help);
        }
        Some(tls) => check_tls(config, tls, loopback, without, reader),
    }
    if let Some(metrics) = config.metrics_address
        && !metrics.ip().to_canonical().is_loopback()
    {
        let what = format!("{metrics} is not loopback, and whoever reaches it needs no token");
        let help = "use 127.0.0.1, or scrape `/metrics` of the control lane with a viewer's token";
        reader.error_at("control.metrics_address", what, help);
    }
    let mut seen = std::collections::BTreeSet::new();
    let lists = [("admins", &config.admins), ("operators", &config.operators), ("viewers", &config.viewers)];
    for (key, names) in lists {
        for name in names {
            let bad = match name.strip_prefix("sha256:") {
                Some(print) => print.len() != 64 || !print.bytes().all(|b| b"0123456789abcdef".contains(&b)),
                None => ravelin_protect::check_identity(name).is_err(),
            };
            let shown = name.escape_debug();
            if bad {
                let what = format!(
                    "\"{shown}\" is neither an identity nor `sha256:` and 64 digits of lower-case hex"
                );
                reader.error_at(&format!("control.{key}"), what, "");
            } else if !seen.insert(name) {
                let what = format!("\"{shown}\" has two roles");
                reader.error_at(&format!("control.{key}"), what, "leave it in one of the lists");
            }
        }
    }
}

fn check_tls(
    config: &ControlConfig,
    tls: &ControlTls,
    loopback: bool,
    without: bool,
    reader: &mut Reader<'_>,
) {
    let asks = tls.client_certificate != ClientCertificate::None;
    if asks && tls.client_ca.is_none() {
        let what = "client certificates need a CA that they are verified by".into();
        reader.error_at("control.client_certificate", what, "write `client_ca = \"ca/ca.crt\"`");
    }
    if !asks && (tls.client_ca.is_some() || !tls.crl.is_empty()) {
        let what = "`client_ca` and `crl` have no effect: nobody is asked for a certificate".into();
        reader.error_at("control.client_certificate", what, "set it to \"required\" or \"optional\"");
    }
    let named = !(config.admins.is_empty() && config.operators.is_empty() && config.viewers.is_empty());
    if !asks && named {
        let what =
            "`admins`, `operators` and `viewers` have no effect: nobody is asked for a certificate".into();
        reader.error_at("control.client_certificate", what, "set it to \"required\" or \"optional\"");
    }
    if !loopback && tls.client_certificate != ClientCertificate::Required {
        let what = format!("{} is not loopback, and no client certificate is required", config.address);
        if without {
            let what = format!("{what}: a stolen token is enough");
            reader.warning_at("control.dangerous_without_client_certificate", what, "");
        } else {
            let help = "set `client_certificate = \"required\"`, listen on 127.0.0.1, or (a stolen token is then enough) \
                        add `dangerous_without_client_certificate = true`";
            reader.error_at("control.address", what, help);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CONTROL_LIMITS, Config, ControlLimits};
    use std::path::Path;

    fn parse(keys: &str) -> Result<Config, String> {
        let text = format!(
            "[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:1\"\nbind_client_id = \"none\"\n\
             dangerous_anonymous = true\n[access]\nrules_file = \"r\"\n{keys}"
        );
        Config::parse(&text, Path::new("/etc/ravelin")).map_err(|errors| errors.to_string())
    }

    const TLS: &str = "certificate = \"c\"\nkey = \"k\"\nclient_ca = \"ca\"\n";

    #[test]
    fn without_the_section_there_is_no_lane() {
        assert!(parse("").unwrap().control.is_none());
        assert!(parse("[control]\n").unwrap_err().contains("no `address`"));
        let lane =
            parse(&format!("[control]\naddress = \"127.0.0.1:8886\"\n{TLS}")).unwrap().control.unwrap();
        assert_eq!(lane.limits, ControlLimits::default());
        assert_eq!(lane.tls.unwrap().certificate, Path::new("/etc/ravelin/c"));
    }

    #[test]
    fn what_lowers_security_is_refused_unless_it_is_named() {
        let plain = "[control]\naddress = \"127.0.0.1:1\"\n";
        assert!(parse(plain).unwrap_err().contains("no certificate"));
        let open = parse(&format!("{plain}dangerous_plaintext = true")).unwrap();
        assert!(open.warnings.iter().any(|warning| warning.key() == Some("dangerous_plaintext")));
        let far = format!("[control]\naddress = \"0.0.0.0:1\"\n{TLS}");
        assert!(parse(&far).unwrap_err().contains("not loopback"));
        assert!(parse(&format!("{far}client_certificate = \"optional\"")).is_err());
        assert!(parse(&format!("{far}client_certificate = \"required\"")).is_ok());
        let warned = parse(&format!("{far}dangerous_without_client_certificate = true")).unwrap();
        assert!(warned.warnings.iter().any(|one| one.key() == Some("dangerous_without_client_certificate")));
        let metrics = format!("[control]\naddress = \"127.0.0.1:1\"\n{TLS}metrics_address = \"0.0.0.0:9\"");
        assert!(parse(&metrics).unwrap_err().contains("needs no token"));
    }

    #[test]
    fn roles_are_names_or_fingerprints_and_one_each() {
        let lane = |keys: &str| parse(&format!("[control]\naddress = \"127.0.0.1:1\"\n{TLS}{keys}"));
        let print = "ab".repeat(32);
        assert!(lane(&format!("admins = [\"alice\", \"sha256:{print}\"]\nviewers = [\"bob\"]")).is_ok());
        for bad in ["sha256:abc", "a/b", "", "sha256:", &format!("sha256:{}", print.to_uppercase())] {
            assert!(lane(&format!("admins = [\"{bad}\"]")).is_err(), "{bad}");
        }
        assert!(lane("admins = [\"alice\"]\nviewers = [\"alice\"]").unwrap_err().contains("two roles"));
        let nobody =
            "[control]\naddress = \"127.0.0.1:1\"\ncertificate = \"c\"\nkey = \"k\"\nadmins = [\"a\"]";
        assert!(parse(nobody).unwrap_err().contains("no effect"));
    }

    #[test]
    fn every_limit_is_documented_with_its_default() {
        let mut keys = format!("[control]\naddress = \"127.0.0.1:1\"\n{TLS}");
        for (name, default, meaning) in CONTROL_LIMITS {
            assert!(meaning.ends_with('.'), "{name}");
            keys += &format!("{name} = {default}\n");
        }
        assert_eq!(parse(&keys).unwrap().control.unwrap().limits, ControlLimits::default());
        // As many as the struct has: `Debug` names each field once.
        let fields = format!("{:?}", ControlLimits::default());
        for (name, ..) in CONTROL_LIMITS {
            assert!(fields.contains(&format!("{name}:")), "{name}");
        }
        assert_eq!(
            fields.matches("_max:").count()
                + fields.matches("_timeout:").count()
                + fields.matches("_per_address:").count(),
            CONTROL_LIMITS.len()
        );
    }
}
