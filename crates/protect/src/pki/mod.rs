//! A private CA for a deployment: one self-signed root, and the certificates of its server and its clients.
//!
//! What it makes itself is ECDSA P-256; devices may bring a key of their own ([`Request`]). Random serial numbers of 128 bits, `pathlen:0` (the root signs end entities only). A client
//! certificate is good for client authentication only, a server certificate for server authentication only, so that
//! a meter cannot pose as the broker. The time is an argument.

/// The time so long after the Unix epoch, in a type that rcgen takes and does not name.
macro_rules! instant {
    ($since_epoch:expr) => {
        rcgen::date_time_ymd(1970, 1, 1) + $since_epoch
    };
}

mod enrol;
mod request;
mod revoke;
mod signer;

pub use enrol::{EnrolRules, Enrolled, renewal_message, sign_renewal};
pub use request::{AllowedNames, REQUEST_BYTES_MAX, Request, RequestError, new_request};
pub use revoke::{Revoked, read_list};
pub use signer::{FileSigner, Signer, SignerAlgorithm};

use crate::{Error, check_identity, file, random};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use signer::Signing;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use zeroize::Zeroizing;

/// A day.
pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How far a certificate is dated back, for clocks that are behind.
pub const BACKDATE: Duration = Duration::from_secs(60 * 60);

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
    issuer: Issuer<'static, Signing>,
    certificate: String,
    /// Its distinguished name in DER, and as it is printed.
    subject: Vec<u8>,
    name: String,
    /// Its public key in DER.
    spki: Vec<u8>,
    not_after_s: i64,
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
        let ca = Ca::new(certificate, Arc::new(FileSigner::new(key)?)).map_err(Error::Certificate)?;
        Ok((ca, issued))
    }

    /// Loads a CA from its certificate and key files.
    pub fn load(certificate: &Path, key: &Path) -> Result<Ca, Error> {
        Ca::with_signer(certificate, Arc::new(FileSigner::load(key)?))
    }

    /// The CA of a certificate file whose key `signer` holds.
    pub fn with_signer(certificate: &Path, signer: Arc<dyn Signer>) -> Result<Ca, Error> {
        let pem = file::read_text(certificate, 64 << 10)?;
        Ca::new(pem.to_string(), signer).map_err(|detail| Error::content(certificate, detail))
    }

    fn new(certificate: String, signer: Arc<dyn Signer>) -> Result<Ca, String> {
        use rustls::pki_types::{CertificateDer, pem::PemObject};
        use x509_parser::prelude::{FromDer, X509Certificate};
        let der =
            CertificateDer::from_pem_slice(certificate.as_bytes()).map_err(|_| "is not PEM".to_string())?;
        let (_, read) = X509Certificate::from_der(&der).map_err(|_| "is not a certificate".to_string())?;
        if !read.is_ca() {
            return Err("is not the certificate of a CA".into());
        }
        let signing = Signing(signer);
        if read.public_key().raw != signing.subject_public_key_info() {
            return Err("does not belong to the CA's key".into());
        }
        let (subject, name) = (read.subject().as_raw().to_vec(), read.subject().to_string());
        let (spki, not_after_s) = (read.public_key().raw.to_vec(), read.validity().not_after.timestamp());
        let issuer = Issuer::from_ca_cert_der(&der, signing)
            .map_err(|error| format!("is not the certificate of a CA: {error}"))?;
        Ok(Ca { issuer, certificate, subject, name, spki, not_after_s })
    }

    /// Its distinguished name, as it stands in the issuer of what it signs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// End of its own validity, in seconds since the Unix epoch.
    pub fn not_after_s(&self) -> i64 {
        self.not_after_s
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
        let mut params = client_params(identity, now_s, validity)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params)
    }

    fn issue(&self, mut params: CertificateParams) -> Result<Issued, Error> {
        restrict(&mut params);
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

/// What every certificate of an end entity is restricted to.
fn restrict(params: &mut CertificateParams) {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
}

/// A client's names: the identity as Common Name, and where it is a DNS name as an alternative name too.
fn client_params(identity: &str, now_s: u64, validity: Duration) -> Result<CertificateParams, Error> {
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
    Ok(params)
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

fn failed(error: rcgen::Error) -> Error {
    Error::Certificate(error.to_string())
}
