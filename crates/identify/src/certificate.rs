//! What the inventory keeps of a certificate.

use crate::time::rfc3339;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The kind of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// RSA.
    Rsa,
    /// ECDSA on NIST P-256.
    EcP256,
    /// ECDSA on NIST P-384.
    EcP384,
    /// ECDSA on NIST P-521.
    EcP521,
    /// EdDSA on Curve25519.
    Ed25519,
    /// Something else.
    Other,
}

impl KeyKind {
    /// Its name, as the bill of materials shows it.
    pub fn as_str(self) -> &'static str {
        match self {
            KeyKind::Rsa => "RSA",
            KeyKind::EcP256 => "ECDSA-P-256",
            KeyKind::EcP384 => "ECDSA-P-384",
            KeyKind::EcP521 => "ECDSA-P-521",
            KeyKind::Ed25519 => "Ed25519",
            KeyKind::Other => "other",
        }
    }
}

/// Facts of a certificate, as the shell reads them from what the peer presented.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFacts {
    /// SHA-256 of the DER, lower-case hex.
    pub fingerprint: String,
    /// The distinguished name of the subject.
    pub subject: String,
    /// The distinguished name of the issuer.
    pub issuer: String,
    /// The serial number, lower-case hex.
    pub serial: String,
    /// Valid from, in seconds since the Unix epoch.
    pub not_before_s: i64,
    /// Valid until, in seconds since the Unix epoch.
    pub not_after_s: i64,
    /// The kind of its key.
    pub key: KeyKind,
    /// The size of its key in bits.
    pub key_bits: u16,
    /// The algorithm that it is signed with, such as `ecdsa-with-SHA256`.
    pub signature: String,
}

/// The same, compact: a fingerprint is 32 bytes, and names that many share are kept once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) fingerprint: [u8; 32],
    pub(crate) subject: Box<str>,
    /// The bytes of it.
    pub(crate) serial: Box<[u8]>,
    pub(crate) not_before_s: i64,
    pub(crate) not_after_s: i64,
    pub(crate) issuance: Arc<Issuance>,
}

/// What the certificates of one CA have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Issuance {
    pub(crate) issuer: Arc<str>,
    pub(crate) key: KeyKind,
    pub(crate) key_bits: u16,
    pub(crate) signature: Arc<str>,
}

/// The bytes of a fingerprint in hex; `None` if it is not one.
pub(crate) fn fingerprint_bytes(hex: &str) -> Option<[u8; 32]> {
    bytes(hex)?.try_into().ok()
}

/// The bytes that hex digits stand for.
pub(crate) fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let pairs = hex.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
        _ => None,
    });
    pairs.collect()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A certificate as a list or a document shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateView {
    /// SHA-256 of the DER, lower-case hex.
    pub fingerprint: String,
    /// The distinguished name of the subject.
    pub subject: String,
    /// The distinguished name of the issuer.
    pub issuer: String,
    /// The serial number, lower-case hex.
    pub serial: String,
    /// Valid from (RFC 3339).
    pub not_before: String,
    /// Valid until (RFC 3339).
    pub not_after: String,
    /// The kind of its key.
    pub key: String,
    /// The size of its key in bits.
    pub key_bits: u16,
    /// The algorithm that it is signed with.
    pub signature: String,
}

impl From<&Certificate> for CertificateView {
    fn from(certificate: &Certificate) -> CertificateView {
        CertificateView {
            fingerprint: hex(&certificate.fingerprint),
            subject: certificate.subject.to_string(),
            issuer: certificate.issuance.issuer.to_string(),
            serial: hex(&certificate.serial),
            not_before: rfc3339(certificate.not_before_s),
            not_after: rfc3339(certificate.not_after_s),
            key: certificate.issuance.key.as_str().into(),
            key_bits: certificate.issuance.key_bits,
            signature: certificate.issuance.signature.to_string(),
        }
    }
}

impl From<&Certificate> for CertificateFacts {
    fn from(certificate: &Certificate) -> CertificateFacts {
        CertificateFacts {
            fingerprint: hex(&certificate.fingerprint),
            subject: certificate.subject.to_string(),
            issuer: certificate.issuance.issuer.to_string(),
            serial: hex(&certificate.serial),
            not_before_s: certificate.not_before_s,
            not_after_s: certificate.not_after_s,
            key: certificate.issuance.key,
            key_bits: certificate.issuance.key_bits,
            signature: certificate.issuance.signature.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_go_there_and_back() {
        let text = "00ff".repeat(16);
        assert_eq!(hex(&fingerprint_bytes(&text).unwrap()), text);
        for bad in ["", "00", &"zz".repeat(32), &"é0".repeat(21)] {
            assert_eq!(fingerprint_bytes(bad), None, "{bad}");
        }
    }
}
