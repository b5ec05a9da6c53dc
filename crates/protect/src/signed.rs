//! Verifies signatures over what certificates, revocation lists, requests and OCSP answers say, with the algorithms that
//! TLS accepts: nothing weaker is believed in one place than in another.

use crate::der::{self, Der, SEQUENCE};
use crate::tls;

/// The three parts of everything signed in X.509: what is said, by which algorithm, the signature.
pub(crate) struct Signed<'a> {
    /// What is said, with its tag.
    pub said: &'a [u8],
    /// The content of the `AlgorithmIdentifier`.
    pub algorithm: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

/// Splits a `SEQUENCE { said, algorithm, signature }` that has nothing behind it.
pub(crate) fn split(whole: &[u8]) -> Option<Signed<'_>> {
    let mut outer = Der::new(whole);
    let mut parts = outer.enter(SEQUENCE)?;
    outer.end()?;
    let said = parts.expect(SEQUENCE)?.whole;
    let algorithm = parts.expect(SEQUENCE)?.content;
    let signature = der::bits(&parts.any()?)?;
    parts.end()?;
    Some(Signed { said, algorithm, signature })
}

impl Signed<'_> {
    /// Whether the holder of the key `spki` (a `SubjectPublicKeyInfo` in DER) has signed it.
    pub fn is_by(&self, spki: &[u8]) -> bool {
        verify(spki, self.algorithm, self.said, self.signature)
    }
}

/// Whether `signature` is one over `message` by the key `spki`, with the algorithm of this identifier's content.
pub(crate) fn verify(spki: &[u8], algorithm: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Some((key_algorithm, key)) = split_key(spki) else { return false };
    tls::provider().signature_verification_algorithms.all.iter().any(|known| {
        known.public_key_alg_id().as_ref() == key_algorithm
            && known.signature_alg_id().as_ref() == algorithm
            && known.verify_signature(key, message, signature).is_ok()
    })
}

/// The same with whichever accepted algorithm the key is for.
pub(crate) fn verify_any(spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let Some((key_algorithm, key)) = split_key(spki) else { return false };
    tls::provider().signature_verification_algorithms.all.iter().any(|known| {
        known.public_key_alg_id().as_ref() == key_algorithm
            && known.verify_signature(key, message, signature).is_ok()
    })
}

/// The content of the algorithm's identifier, and the key.
fn split_key(spki: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts = Der::new(spki).enter(SEQUENCE)?;
    let algorithm = parts.expect(SEQUENCE)?.content;
    let key = der::bits(&parts.any()?)?;
    parts.end()?;
    Some((algorithm, key))
}

/// Where in a certificate what is compared stands, in DER.
pub(crate) struct CertificateParts<'a> {
    pub serial: &'a [u8],
    pub issuer: &'a [u8],
    pub subject: &'a [u8],
    pub spki: &'a [u8],
}

/// RFC 5280, 4.1: version, serial number, algorithm, issuer, validity, subject, key.
pub(crate) fn certificate_parts(certificate: &[u8]) -> Option<CertificateParts<'_>> {
    let mut said = Der::new(split(certificate)?.said).enter(SEQUENCE)?;
    said.optional(der::context(0));
    let serial = said.expect(der::INTEGER)?.content;
    said.expect(SEQUENCE)?;
    let issuer = said.expect(SEQUENCE)?.whole;
    said.expect(SEQUENCE)?;
    let subject = said.expect(SEQUENCE)?.whole;
    let spki = said.expect(SEQUENCE)?.whole;
    Some(CertificateParts { serial, issuer, subject, spki })
}
