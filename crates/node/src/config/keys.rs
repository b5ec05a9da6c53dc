//! `[ca]`, `[certificates]` and what a listener says about the life of keys.

use super::read::Table;
use crate::fetch::{self, FetchLimits};
use ravelin_protect::pki::{AllowedNames, EnrolRules};
use ravelin_protect::tls::TICKET_LIFETIME;
use ravelin_protect::trust::CRL_BYTES_MAX;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Where a revocation list comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CrlSource {
    /// A file, in PEM or DER.
    File(PathBuf),
    /// A URL of http or https, in PEM or DER.
    Url(String),
}

impl std::fmt::Display for CrlSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CrlSource::File(path) => path.display().fmt(f),
            CrlSource::Url(url) => f.write_str(url.split(['?', '#']).next().unwrap_or_default()),
        }
    }
}

/// The private CA that the node issues certificates with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaConfig {
    /// Its certificate, in PEM.
    pub certificate: PathBuf,
    /// Its key, in PEM.
    pub key: PathBuf,
    /// Where its revocation list is published; `None` publishes none.
    pub crl: Option<PathBuf>,
    /// How long a revocation list is valid. It is renewed when half of that has passed.
    pub crl_validity: Duration,
    /// What is demanded of requests.
    pub rules: EnrolRules,
}

/// How certificates, keys and revocation lists are kept up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatesConfig {
    /// How often their files are looked at; zero is never: then only a reload takes changes up.
    pub watch: Duration,
    /// How often revocation lists are fetched from their URLs.
    pub crl_refresh: Duration,
    /// What fetching one may cost.
    pub fetch: FetchLimits,
}

/// The OCSP answer that is stapled to a listener's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StapleConfig {
    /// A file with the answer, in DER, that something else keeps up to date.
    pub file: Option<PathBuf>,
    /// Whether the answer is fetched from the responder that the certificate names.
    pub fetch: bool,
    /// The certificate of the issuer, where the chain does not have it.
    pub issuer: Option<PathBuf>,
}

impl StapleConfig {
    /// Whether anything is stapled.
    pub fn is_wanted(&self) -> bool {
        self.file.is_some() || self.fetch
    }
}

/// How old keys and sessions of a listener may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ages {
    /// After so long a connection gets new keys (TLS 1.3) or ends (TLS 1.2); zero is never.
    pub key: Duration,
    /// After so many bytes, too; 0 is never.
    pub key_bytes: u64,
    /// After so long a client must have authenticated again, or its connection ends; zero is never.
    pub session: Duration,
}

/// Keys of a listener that are for TLS only.
pub(super) const TLS_ONLY: &[&str] =
    &["ticket_lifetime", "ocsp_file", "ocsp_fetch", "ocsp_issuer", "key_age_max", "key_bytes_max"];

/// What a listener says about the life of keys.
pub(super) struct KeyKeys {
    pub ticket_lifetime: Duration,
    pub staple: StapleConfig,
    pub ages: Ages,
}

pub(super) fn read_listener(table: &mut Table<'_, '_>, base: &Path) -> KeyKeys {
    let long = Duration::from_secs(10 * 365 * 86_400);
    let path = |text: Option<String>| text.map(|text| base.join(text));
    KeyKeys {
        ticket_lifetime: table
            .take_between("ticket_lifetime", MINUTE, TICKET_LIFETIME)
            .unwrap_or(TICKET_LIFETIME),
        staple: StapleConfig {
            file: path(table.take("ocsp_file")),
            fetch: table.take("ocsp_fetch").unwrap_or(false),
            issuer: path(table.take("ocsp_issuer")),
        },
        ages: Ages {
            key: table.take_between("key_age_max", Duration::ZERO, long).unwrap_or(DAY),
            key_bytes: table.take_between("key_bytes_max", 0, u64::MAX).unwrap_or(64 << 30),
            session: table.take_between("session_age_max", Duration::ZERO, long).unwrap_or(Duration::ZERO),
        },
    }
}

/// The `crl` of a listener: files and URLs.
pub(super) fn read_sources(table: &mut Table<'_, '_>, base: &Path) -> Vec<CrlSource> {
    let list = table.take::<Vec<String>>("crl").unwrap_or_default();
    let mut sources = Vec::new();
    for text in list {
        if !fetch::is_url(&text) {
            sources.push(CrlSource::File(base.join(text)));
        } else if let Err(error) = fetch::check_url(&text) {
            let key = format!("{}.crl", table.path);
            table.reader.error_at(&key, error.to_string(), "write `http://host/path` or `https://host/path`");
        } else {
            sources.push(CrlSource::Url(text));
        }
    }
    sources
}

pub(super) fn read_ca(table: &mut Table<'_, '_>, base: &Path) -> Option<CaConfig> {
    let certificate = table.take::<String>("certificate");
    let key = table.take::<String>("key");
    let crl = table.take::<String>("crl");
    let crl_validity = table.take_between("crl_validity", HOUR, DAY * 36_500).unwrap_or(DAY * 30);
    let validity = table.take_between("validity", MINUTE * 5, DAY * 3650).unwrap_or(DAY * 30);
    let rsa_bits_min = table.take_between::<u64>("rsa_bits_min", 2048, 8192).unwrap_or(3072) as u32;
    let mut names = AllowedNames::default();
    let lists = [("san_dns", &mut names.dns), ("san_uri", &mut names.uri), ("san_email", &mut names.email)];
    for (name, list) in lists {
        if let Some(templates) = table.take::<Vec<String>>(name) {
            if let Some(template) = templates.iter().find(|template| !template.contains("%u")) {
                let what = format!("`{}` would be in everyone's certificate", template.escape_debug());
                let help = "write %u where the identity stands: \"%u.plant.example\"";
                table.reader.error_at(&format!("ca.{name}"), what, help);
            }
            *list = templates;
        }
    }
    let rules = EnrolRules { validity, rsa_bits_min, names };
    match (certificate, key) {
        (Some(certificate), Some(key)) => Some(CaConfig {
            certificate: base.join(certificate),
            key: base.join(key),
            crl: crl.map(|path| base.join(path)),
            crl_validity,
            rules,
        }),
        (None, None) if !table.reader.places.contains_key("ca") => None,
        (certificate, _) => {
            let missing = if certificate.is_none() { "certificate" } else { "key" };
            let what = format!("the CA has no `{missing}`");
            table.reader.error_at(
                "ca",
                what,
                "write `certificate = \"ca/ca.crt\"` and `key = \"ca/ca.key\"`",
            );
            None
        }
    }
}

pub(super) fn read_certificates(table: &mut Table<'_, '_>, base: &Path) -> CertificatesConfig {
    let watch = table.take_between("watch", Duration::ZERO, HOUR).unwrap_or(Duration::from_secs(5));
    let crl_refresh = table.take_between("crl_refresh", Duration::from_secs(1), DAY * 30).unwrap_or(HOUR);
    let defaults = FetchLimits::default();
    let fetch = FetchLimits {
        bytes_max: table.take_between("crl_bytes_max", 1024, CRL_BYTES_MAX).unwrap_or(CRL_BYTES_MAX),
        timeout: table
            .take_between("fetch_timeout", Duration::from_millis(100), MINUTE * 10)
            .unwrap_or(defaults.timeout),
        ca: table.take::<String>("fetch_ca").map(|path| base.join(path)),
        ..defaults
    };
    CertificatesConfig { watch, crl_refresh, fetch }
}
