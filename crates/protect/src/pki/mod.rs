//! A private CA for a deployment: one self-signed root, and the certificates of its server and its clients.
//!
//! ECDSA P-256 throughout, random serial numbers of 128 bits, `pathlen:0` (the root signs end entities only). A client
//! certificate is good for client authentication only, a server certificate for server authentication only, so that
//! a meter cannot pose as the broker. The time is an argument.

/// The time so long after the Unix epoch, in a type that rcgen takes and does not name.
macro_rules! instant {
    ($since_epoch:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + $since_epoch
    };
}

mod revoke;

pub use revoke::Revoked;

use crate::{Error, check_identity, file, random};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use zeroize::Zeroizing;

/// A day.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How far a certificate is dated back, for clocks that are behind.
const BACKDATE: Duration = Duration::from_secs(60 * 60);

/// A certificate and its private key, in PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// The private key (PKCS#8).
    pub key: Zeroizing<String>,
}

/// A CA that can issue.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Ca {
    /// A new CA, valid from `now` (seconds since the Unix epoch) for `validity`. Gives the CA and what to keep of it.
    pub fn create(name: &str, now_s: u64, validity: Duration) -> Result<(Ca, Issued), Error> {
        let key = new_key()?;
        let mut params = params(name, now_s, validity)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(failed)?.pem();
        let issued = Issued { certificate: certificate.clone(), key: Zeroizing::new(key.serialize_pem()) };
        Ok((Ca { issuer: Issuer::new(params, key), certificate }, issued))
    }

    /// Loads a CA from its certificate and key files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Ca, Error> {
        let pem = file::read_text(certificate, 64 << 10)?;
        let key_pem = file::read_text(key, 64 << 10)?;
        let pair = KeyPair::from_pem(&key_pem)
            .map_err(|error| Error::content(key, format!("holds no private key that can sign: {error}")))?;
        let public = pair.subject_public_key_info();
        let issuer = Issuer::from_ca_cert_pem(&pem, pair).map_err(|error| {
            Error::content(certificate, format!("is not the certificate of a CA: {error}"))
        })?;
        check_ca(&pem, &public).map_err(|detail| Error::content(certificate, detail))?;
        Ok(Ca { issuer, certificate: pem.to_string() })
    }

    /// The CA's own certificate, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for a server that is reached by these names and addresses.
    pub fn issue_server(&self, hosts: &[String], now_s: u64, validity: Duration) -> Result<Issued, Error> {
        let Some(first) = hosts.first() else {
            return Err(Error::Value("a server certificate needs a host name or address".into()));
        };
        let mut params = params(first, now_s, validity)?;
        for host in hosts {
            params.subject_alt_names.push(match host.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(dns_name(host)?.try_into().map_err(failed)?),
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// A certificate for a client with this identity: the Common Name, and where it is a DNS name an alternative name
    /// too.
    pub fn issue_client(&self, identity: &str, now_s: u64, validity: Duration) -> Result<Issued, Error> {
        check_identity(identity)
            .map_err(|error| Error::Value(format!("{identity:?} cannot be an identity: {error}")))?;
        // X.520: a Common Name has at most 64 characters.
        if identity.chars().count() > 64 {
            return Err(Error::Value("the name in a certificate has at most 64 characters".into()));
        }
        let mut params = params(identity, now_s, validity)?;
        if let Ok(name) = dns_name(identity) {
            params.subject_alt_names.push(SanType::DnsName(name.try_into().map_err(failed)?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Issued, Error> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = new_key()?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Issued { certificate, key: Zeroizing::new(key.serialize_pem()) })
    }
}

impl Issued {
    /// Writes both to files that must not exist yet; the key is private to its owner.
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), Error> {
        file::create(key, self.key.as_bytes(), file::Mode::Private)?;
        file::create(certificate, self.certificate.as_bytes(), file::Mode::Public)
    }
}

fn new_key() -> Result<KeyPair, Error> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)
}

fn params(name: &str, now_s: u64, validity: Duration) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let now = Duration::from_secs(now_s);
    let not_after = now.checked_add(validity).filter(|end| end.as_secs() < 253_370_764_800);
    params.not_before = instant!(now.saturating_sub(BACKDATE));
    params.not_after =
        instant!(not_after.ok_or_else(|| Error::Value("the validity ends beyond year 9999".into()))?);
    // RFC 5280, 4.1.2.2: positive, at most 20 bytes.
    let mut serial = random::<16>()?;
    serial[0] = (serial[0] & 0x7F) | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// The name, if it can be a DNS name (a `*` may stand for the first label).
fn dns_name(name: &str) -> Result<&str, Error> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let valid = name.len() <= 253 && name.strip_prefix("*.").unwrap_or(name).split('.').all(label);
    if valid { Ok(name) } else { Err(Error::Value(format!("{name:?} is not a host name"))) }
}

/// Whether a certificate is that of a CA, and the key its own.
fn check_ca(pem: &str, public_key: &[u8]) -> Result<(), String> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use x509_parser::prelude::{FromDer, X509Certificate};
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| "is not PEM".to_string())?;
    let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| "is not a certificate".to_string())?;
    if !certificate.is_ca() {
        return Err("is not the certificate of a CA".into());
    }
    if certificate.public_key().raw != public_key {
        return Err("does not belong to the CA's key".into());
    }
    Ok(())
}

fn failed(error: rcgen::Error) -> Error {
    Error::Certificate(error.to_string())
}
