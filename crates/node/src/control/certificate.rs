//! From a certificate to what the inventory keeps of it.

use aws_lc_rs::digest;
use ravelin_identify::{CertificateFacts, KeyKind};
use ravelin_protect::hex;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;

/// The facts of a certificate in DER; `None` if it is none.
pub(super) fn facts_of(der: &[u8]) -> Option<CertificateFacts> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let (key, key_bits) = key_of(&certificate);
    Some(CertificateFacts {
        fingerprint: hex(digest::digest(&digest::SHA256, der).as_ref()),
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: hex(certificate.raw_serial()),
        not_before_s: certificate.validity().not_before.timestamp(),
        not_after_s: certificate.validity().not_after.timestamp(),
        key,
        key_bits,
        signature: signature_name(&certificate.signature_algorithm.algorithm.to_id_string()),
    })
}

fn key_of(certificate: &X509Certificate<'_>) -> (KeyKind, u16) {
    let info = certificate.public_key();
    let bits = |bits: usize| u16::try_from(bits).unwrap_or(u16::MAX);
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => (KeyKind::Rsa, bits(key.key_size())),
        Ok(PublicKey::EC(point)) => match point.key_size() {
            256 => (KeyKind::EcP256, 256),
            384 => (KeyKind::EcP384, 384),
            // A coordinate of P-521 takes 66 bytes.
            521..=528 => (KeyKind::EcP521, 521),
            other => (KeyKind::Other, bits(other)),
        },
        // RFC 8410, section 3.
        _ if info.algorithm.algorithm.to_id_string() == "1.3.101.112" => (KeyKind::Ed25519, 256),
        _ => (KeyKind::Other, 0),
    }
}

/// The name of a signature algorithm, as its standard has it; else its object identifier.
fn signature_name(oid: &str) -> String {
    let known = match oid {
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "RSASSA-PSS",
        "1.3.101.112" => "Ed25519",
        other => other,
    };
    known.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_has_no_facts() {
        assert!(facts_of(b"").is_none() && facts_of(&[0x30; 64]).is_none());
    }
}
