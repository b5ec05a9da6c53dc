//! From a client certificate to an identity. The chain was verified by TLS; this reads the names, strictly.

use crate::IdentityFrom;
use crate::revocation::normal_serial;
use aws_lc_rs::digest;
use ravelin_event::CertificateAttributes;
use std::sync::Arc;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{AttributeTypeAndValue, FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Longest identity, in bytes.
const IDENTITY_BYTES_MAX: usize = 256;
/// More names than this in a certificate are not looked at: it is refused.
const NAMES_MAX: usize = 64;

/// What Ravelin reads in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// SHA-256 of the certificate, in lower-case hex.
    pub fingerprint: Arc<str>,
    /// Begin of validity, in seconds since the Unix epoch.
    pub not_before_s: i64,
    /// End of validity, in seconds since the Unix epoch.
    pub not_after_s: i64,
    /// Serial number, in lower-case hex without leading zeros.
    pub serial: String,
    /// Its key.
    pub key: KeyFacts,
    /// Whether it is good for client authentication.
    pub is_for_clients: bool,
    /// The algorithm that its issuer signed it with, as `openssl x509 -text` calls it; `other` if it is not a known one.
    pub signature: &'static str,
    common_names: Vec<Result<String, IdentityError>>,
    dns: Vec<Result<String, IdentityError>>,
    uris: Vec<Result<String, IdentityError>>,
    emails: Vec<Result<String, IdentityError>>,
    attributes: Arc<CertificateAttributes>,
}

/// Of what kind a public key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyType {
    /// RSA.
    Rsa,
    /// ECDSA on P-256.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// ECDSA on P-521.
    EcdsaP521,
    /// Ed25519.
    Ed25519,
    /// Anything else.
    Other,
}

/// A public key: of what kind, how large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct KeyFacts {
    /// Of what kind.
    pub kind: KeyType,
    /// The modulus or the curve, in bits; 0 if it is not known.
    pub bits: u32,
}

impl KeyType {
    /// As inventories write it.
    pub fn name(self) -> &'static str {
        match self {
            KeyType::Rsa => "RSA",
            KeyType::EcdsaP256 => "ECDSA-P256",
            KeyType::EcdsaP384 => "ECDSA-P384",
            KeyType::EcdsaP521 => "ECDSA-P521",
            KeyType::Ed25519 => "Ed25519",
            KeyType::Other => "other",
        }
    }
}

impl KeyFacts {
    /// Reads a `SubjectPublicKeyInfo`.
    pub(crate) fn of(key: &SubjectPublicKeyInfo<'_>) -> KeyFacts {
        let known = |kind, bits| KeyFacts { kind, bits };
        if key.algorithm.algorithm.to_id_string() == "1.3.101.112" {
            return known(KeyType::Ed25519, 256);
        }
        let curve = key.algorithm.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
        match (key.parsed(), curve.map(|oid| oid.to_id_string()).as_deref()) {
            (Ok(PublicKey::RSA(rsa)), _) => known(KeyType::Rsa, bit_length(rsa.modulus)),
            (_, Some("1.2.840.10045.3.1.7")) => known(KeyType::EcdsaP256, 256),
            (_, Some("1.3.132.0.34")) => known(KeyType::EcdsaP384, 384),
            (_, Some("1.3.132.0.35")) => known(KeyType::EcdsaP521, 521),
            _ => known(KeyType::Other, 0),
        }
    }
}

/// Why a certificate gives no identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The bytes are not a certificate.
    #[error("not an X.509 certificate")]
    Malformed,
    /// It has no such name.
    #[error("it has no name of the kind that is asked for")]
    Missing,
    /// It has several Common Names: which one is meant cannot be known.
    #[error("it has more than one Common Name")]
    Ambiguous,
    /// It has more names than are looked at.
    #[error("it has too many names")]
    TooMany,
    /// The name is empty or too long.
    #[error("the name is empty or longer than {IDENTITY_BYTES_MAX} bytes")]
    Length,
    /// The name has a character that could change the meaning of a rule or of a log line.
    #[error(
        "the name has a character that no identity may have (control, `+`, `#`, `/`, or a space at an end)"
    )]
    Character,
    /// The name is of a string type that is not plain text.
    #[error("the name is not of a text type")]
    Encoding,
}

impl CertificateFacts {
    /// Reads a certificate in DER form. Never panics, whatever the bytes.
    pub fn parse(der: &[u8]) -> Result<CertificateFacts, IdentityError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| IdentityError::Malformed)?;
        if !rest.is_empty() {
            return Err(IdentityError::Malformed);
        }
        let mut facts = CertificateFacts {
            fingerprint: hex(digest::digest(&digest::SHA256, der).as_ref()).into(),
            not_before_s: certificate.validity().not_before.timestamp(),
            not_after_s: certificate.validity().not_after.timestamp(),
            serial: normal_serial(&hex(certificate.raw_serial())),
            key: KeyFacts::of(certificate.public_key()),
            is_for_clients: certificate
                .extended_key_usage()
                .map_err(|_| IdentityError::Malformed)?
                .is_none_or(|usage| usage.value.client_auth || usage.value.any),
            signature: signature_name(&certificate.signature_algorithm.algorithm.to_id_string()),
            common_names: Vec::new(),
            dns: Vec::new(),
            uris: Vec::new(),
            emails: Vec::new(),
            attributes: Arc::default(),
        };
        for name in certificate.subject().iter_common_name() {
            facts.common_names.push(name.as_str().map(str::to_owned).map_err(|_| IdentityError::Encoding));
        }
        let alternatives = certificate.subject_alternative_name().map_err(|_| IdentityError::Malformed)?;
        for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(dns) => facts.dns.push(Ok((*dns).to_owned())),
                GeneralName::URI(uri) => facts.uris.push(Ok((*uri).to_owned())),
                GeneralName::RFC822Name(email) => facts.emails.push(Ok((*email).to_owned())),
                // A name that cannot be read could be the one that is asked for: it is kept, as an error.
                GeneralName::Invalid(tag, _) => match tag.0 {
                    1 => facts.emails.push(Err(IdentityError::Encoding)),
                    2 => facts.dns.push(Err(IdentityError::Encoding)),
                    6 => facts.uris.push(Err(IdentityError::Encoding)),
                    _ => {}
                },
                _ => {}
            }
        }
        let names = facts.common_names.len() + facts.dns.len() + facts.uris.len() + facts.emails.len();
        if names > NAMES_MAX {
            return Err(IdentityError::TooMany);
        }
        facts.attributes = Arc::new(facts.read_attributes(&certificate));
        Ok(facts)
    }

    /// A name that is there twice, or that could change the meaning of a rule or of a log line, is not there: a rule that
    /// needs it does not match.
    fn read_attributes(&self, certificate: &X509Certificate<'_>) -> CertificateAttributes {
        fn one<'n, 'a: 'n>(mut names: impl Iterator<Item = &'n AttributeTypeAndValue<'a>>) -> Option<String> {
            let name = names.next()?.as_str().ok()?;
            (names.next().is_none() && check_text(name).is_ok()).then(|| name.to_owned())
        }
        let plain = |names: &[Result<String, IdentityError>]| {
            names.iter().flatten().filter(|name| check_text(name).is_ok()).cloned().collect()
        };
        let subject = certificate.subject();
        CertificateAttributes {
            common_name: one(subject.iter_common_name()),
            organization: one(subject.iter_organization()),
            organizational_unit: one(subject.iter_organizational_unit()),
            country: one(subject.iter_country()),
            serial: self.serial.clone(),
            issuer: certificate.issuer().to_string(),
            dns: plain(&self.dns),
            uri: plain(&self.uris),
            email: plain(&self.emails),
            not_after_s: self.not_after_s,
        }
    }

    /// What it says, for access rules and the inventory.
    pub fn attributes(&self) -> Arc<CertificateAttributes> {
        self.attributes.clone()
    }

    /// The identity that the certificate gives its holder.
    pub fn identity(&self, from: IdentityFrom) -> Result<Arc<str>, IdentityError> {
        let names = match from {
            IdentityFrom::CommonName if self.common_names.len() > 1 => return Err(IdentityError::Ambiguous),
            IdentityFrom::CommonName => &self.common_names,
            IdentityFrom::SanDns => &self.dns,
            IdentityFrom::SanUri => &self.uris,
            IdentityFrom::SanEmail => &self.emails,
            // The certificate itself gives no name.
            IdentityFrom::Fingerprint => return Err(IdentityError::Missing),
        };
        let name = names.first().ok_or(IdentityError::Missing)?.as_ref().map_err(|error| *error)?;
        match from {
            IdentityFrom::SanUri => check_uri(name)?,
            _ => check_identity(name)?,
        }
        Ok(name.as_str().into())
    }
}

/// Whether `name` can be an identity: not empty, not too long, and without a character that could change the meaning
/// of an access rule (CVE-2017-7650) or of a log line.
pub fn check_identity(name: &str) -> Result<(), IdentityError> {
    check_text(name)?;
    if name.contains(['+', '#', '/']) { Err(IdentityError::Character) } else { Ok(()) }
}

/// A URI has slashes (`spiffe://plant/meter-7`); the pattern rules never match such an identity, `user` rules do.
fn check_uri(name: &str) -> Result<(), IdentityError> {
    check_text(name)?;
    if name.contains(['+', '#']) { Err(IdentityError::Character) } else { Ok(()) }
}

pub(crate) fn check_text(name: &str) -> Result<(), IdentityError> {
    if name.is_empty() || name.len() > IDENTITY_BYTES_MAX {
        return Err(IdentityError::Length);
    }
    let bad = |c: char| {
        c.is_control()
            // Line and paragraph separators, and what reverses or hides text in a log.
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}')
            || matches!(c, '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{FFF0}'..='\u{FFFF}')
    };
    if name.contains(bad) || name.trim() != name { Err(IdentityError::Character) } else { Ok(()) }
}

/// The serial number of a certificate in DER, in lower-case hex without leading zeros, without reading the rest.
pub fn serial_of(der: &[u8]) -> Option<String> {
    Some(normal_serial(&hex(crate::signed::certificate_parts(der)?.serial)))
}

/// The bits of an unsigned number.
fn bit_length(number: &[u8]) -> u32 {
    let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let number = &number[start..];
    number.first().map_or(0, |first| (number.len() as u32) * 8 - first.leading_zeros())
}

/// The algorithms by which certificates are signed.
fn signature_name(oid: &str) -> &'static str {
    match oid {
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "rsassaPss",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.3.101.112" => "ED25519",
        "2.16.840.1.101.3.4.3.17" => "ML-DSA-44",
        "2.16.840.1.101.3.4.3.18" => "ML-DSA-65",
        "2.16.840.1.101.3.4.3.19" => "ML-DSA-87",
        _ => "other",
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}
