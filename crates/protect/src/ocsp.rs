//! OCSP, as far as a server needs it that staples the answer about its own certificate (RFC 6960, RFC 6066 section 8):
//! the question, and whether an answer can be given to clients.
//!
//! An answer is believed if it is about this certificate, is signed by the issuer or by a responder that the issuer
//! has certified for that, and is current. The time is an argument.

use crate::der::{self, Der, ENUMERATED, GENERALIZED_TIME, INTEGER, OCTET_STRING, OID, SEQUENCE, context};
use crate::signed::{self, certificate_parts};
use aws_lc_rs::digest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// Largest answer.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// How far a responder's clock may be ahead of ours.
const SKEW_S: i64 = 300;
/// `id-pkix-ocsp-basic`, and `sha1` and `sha256` as algorithm identifiers, and `id-kp-OCSPSigning`, as DER content.
const BASIC: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
const SHA1: &[u8] = &[0x2B, 0x0E, 0x03, 0x02, 0x1A];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];

/// What an answer says of the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is not revoked.
    Good,
    /// It is revoked.
    Revoked,
    /// The responder does not know it.
    Unknown,
}

/// An answer that can be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it says.
    pub status: Status,
    /// Since when that is known, in seconds since the Unix epoch.
    pub this_update_s: i64,
    /// When the next answer is due, in seconds since the Unix epoch.
    pub next_update_s: i64,
}

/// Why an answer is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcspError {
    /// Not an OCSP answer.
    #[error("not an OCSP answer")]
    Malformed,
    /// One of the certificates cannot be read.
    #[error("the certificate or that of its issuer cannot be read")]
    Certificate,
    /// The responder refuses to answer.
    #[error("the responder answered with error {0}")]
    Refused(u8),
    /// It is about other certificates.
    #[error("the answer is not about this certificate")]
    AnotherCertificate,
    /// The signature is wrong, or its maker may not sign for this issuer.
    #[error("the answer is not signed by the issuer or a responder of its own")]
    Unsigned,
    /// It is of the future, or out of date.
    #[error("the answer is not current")]
    NotCurrent,
    /// It does not say until when it can be used.
    #[error("the answer does not say until when it is valid")]
    NoEnd,
}

/// The question whether `certificate` of `issuer` (both DER) is revoked. It has no nonce: the answer is for everyone.
pub fn question(certificate: &[u8], issuer: &[u8]) -> Result<Vec<u8>, OcspError> {
    let certificate = certificate_parts(certificate).ok_or(OcspError::Certificate)?;
    let issuer = certificate_parts(issuer).ok_or(OcspError::Certificate)?;
    let key = key_bits(issuer.spki).ok_or(OcspError::Certificate)?;
    let hash = |bytes| der::element(OCTET_STRING, sha1(bytes).as_ref());
    // RFC 5019, 2.1.1: SHA-1, which only names the issuer here.
    let algorithm = der::sequence(&[&der::element(OID, SHA1), &der::element(der::NULL, &[])]);
    let serial = der::element(INTEGER, certificate.serial);
    let id = der::sequence(&[&algorithm, &hash(issuer.subject), &hash(key), &serial]);
    let list = der::sequence(&[&der::sequence(&[&id])]);
    Ok(der::sequence(&[&der::sequence(&[&list])]))
}

/// Where the certificate says that its status can be asked for.
pub fn responder(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else { return None };
        access.accessdescs.iter().find_map(|description| match &description.access_location {
            GeneralName::URI(url) if description.access_method.to_id_string() == "1.3.6.1.5.5.7.48.1" => {
                Some((*url).to_owned())
            }
            _ => None,
        })
    })
}

/// What `answer` says of `certificate` of `issuer` at `now_s` (seconds since the Unix epoch). Never panics, whatever the
/// bytes.
pub fn check(answer: &[u8], certificate: &[u8], issuer: &[u8], now_s: i64) -> Result<Answer, OcspError> {
    if answer.len() > ANSWER_BYTES_MAX {
        return Err(OcspError::Malformed);
    }
    let basic = open(answer)?;
    let parts = Basic::read(basic).ok_or(OcspError::Malformed)?;
    let certificate = certificate_parts(certificate).ok_or(OcspError::Certificate)?;
    let issuer = certificate_parts(issuer).ok_or(OcspError::Certificate)?;
    let signed_by_issuer = signed::verify(issuer.spki, parts.algorithm, parts.said, parts.signature);
    if !signed_by_issuer && !signed_by_responder(&parts, &issuer, now_s) {
        return Err(OcspError::Unsigned);
    }
    let mut found = None;
    let mut responses = Der::new(parts.responses);
    while !responses.is_empty() {
        let single = responses.enter(SEQUENCE).ok_or(OcspError::Malformed)?;
        let single = Single::read(single).ok_or(OcspError::Malformed)?;
        if single.is_about(&certificate, &issuer) {
            found = Some(single);
        }
    }
    let single = found.ok_or(OcspError::AnotherCertificate)?;
    let next_update_s = single.next_update_s.ok_or(OcspError::NoEnd)?;
    if single.this_update_s > now_s + SKEW_S || next_update_s <= now_s {
        return Err(OcspError::NotCurrent);
    }
    Ok(Answer { status: single.status, this_update_s: single.this_update_s, next_update_s })
}

/// The basic answer in the envelope that says whether there is one.
fn open(answer: &[u8]) -> Result<&[u8], OcspError> {
    let envelope = || {
        let mut outer = Der::new(answer);
        let parts = outer.enter(SEQUENCE)?;
        outer.end()?;
        Some(parts)
    };
    let mut parts = envelope().ok_or(OcspError::Malformed)?;
    let status = parts.expect(ENUMERATED).ok_or(OcspError::Malformed)?;
    match status.content {
        [0] => {}
        [code] => return Err(OcspError::Refused(*code)),
        _ => return Err(OcspError::Malformed),
    }
    let mut basic = || {
        let mut typed = parts.enter(context(0))?.enter(SEQUENCE)?;
        let kind = typed.expect(OID)?.content;
        let basic = typed.expect(OCTET_STRING)?.content;
        typed.end()?;
        (kind == BASIC).then_some(basic)
    };
    basic().ok_or(OcspError::Malformed)
}

/// A `BasicOCSPResponse`, taken apart.
struct Basic<'a> {
    said: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    /// Certificates that the responder sends along, one after another.
    certificates: &'a [u8],
    /// Who says he is the responder: by name or by key.
    responder: der::Element<'a>,
    responses: &'a [u8],
}

impl<'a> Basic<'a> {
    fn read(basic: &'a [u8]) -> Option<Basic<'a>> {
        let mut outer = Der::new(basic);
        let mut parts = outer.enter(SEQUENCE)?;
        outer.end()?;
        let said = parts.expect(SEQUENCE)?;
        let algorithm = parts.expect(SEQUENCE)?.content;
        let signature = der::bits(&parts.any()?)?;
        let certificates = match parts.enter(context(0)) {
            Some(mut list) => list.expect(SEQUENCE)?.content,
            None => &[],
        };
        parts.end()?;
        let mut data = Der::new(said.content);
        data.optional(context(0));
        let responder = data.any()?;
        data.expect(GENERALIZED_TIME)?;
        let responses = data.expect(SEQUENCE)?.content;
        Some(Basic { said: said.whole, algorithm, signature, certificates, responder, responses })
    }
}

/// RFC 6960, 4.2.2.2: a responder's certificate is issued directly by the issuer and is good for signing OCSP answers.
fn signed_by_responder(basic: &Basic<'_>, issuer: &signed::CertificateParts<'_>, now_s: i64) -> bool {
    let mut certificates = Der::new(basic.certificates);
    while let Some(one) = certificates.expect(SEQUENCE) {
        let Some(parts) = certificate_parts(one.whole) else { return false };
        let named = match basic.responder.tag {
            tag if tag == context(1) => basic.responder.content == parts.subject,
            tag if tag == context(2) => key_bits(parts.spki).is_some_and(|key| {
                Der::new(basic.responder.content)
                    .expect(OCTET_STRING)
                    .is_some_and(|hash| hash.content == sha1(key).as_ref())
            }),
            _ => false,
        };
        let certified = parts.issuer == issuer.subject
            && signed::split(one.whole).is_some_and(|signed| signed.is_by(issuer.spki))
            && may_answer(one.whole, now_s);
        if named && certified && signed::verify(parts.spki, basic.algorithm, basic.said, basic.signature) {
            return true;
        }
    }
    false
}

/// Whether a certificate is for signing OCSP answers, and valid.
fn may_answer(certificate: &[u8], now_s: i64) -> bool {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { return false };
    let validity = certificate.validity();
    let valid = (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now_s);
    let usage = certificate.extended_key_usage().ok().flatten();
    valid && usage.is_some_and(|usage| usage.value.ocsp_signing)
}

/// What is said of one certificate.
struct Single<'a> {
    hash: &'a [u8],
    issuer_name: &'a [u8],
    issuer_key: &'a [u8],
    serial: &'a [u8],
    status: Status,
    this_update_s: i64,
    next_update_s: Option<i64>,
}

impl<'a> Single<'a> {
    fn read(mut single: Der<'a>) -> Option<Single<'a>> {
        let mut id = single.enter(SEQUENCE)?;
        let hash = id.enter(SEQUENCE)?.expect(OID)?.content;
        let issuer_name = id.expect(OCTET_STRING)?.content;
        let issuer_key = id.expect(OCTET_STRING)?.content;
        let serial = id.expect(INTEGER)?.content;
        id.end()?;
        let status = match single.any()?.tag {
            0x80 => Status::Good,
            0xA1 => Status::Revoked,
            0x82 => Status::Unknown,
            _ => return None,
        };
        let this_update_s = der::time_s(&single.expect(GENERALIZED_TIME)?)?;
        let next_update_s = match single.enter(context(0)) {
            Some(mut next) => Some(der::time_s(&next.expect(GENERALIZED_TIME)?)?),
            None => None,
        };
        Some(Single { hash, issuer_name, issuer_key, serial, status, this_update_s, next_update_s })
    }

    fn is_about(
        &self,
        certificate: &signed::CertificateParts<'_>,
        issuer: &signed::CertificateParts<'_>,
    ) -> bool {
        let algorithm = match self.hash {
            SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            SHA256 => &digest::SHA256,
            _ => return false,
        };
        let Some(key) = key_bits(issuer.spki) else { return false };
        self.serial == certificate.serial
            && self.issuer_name == digest::digest(algorithm, issuer.subject).as_ref()
            && self.issuer_key == digest::digest(algorithm, key).as_ref()
            && certificate.issuer == issuer.subject
    }
}

fn sha1(bytes: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes)
}

/// The key within a `SubjectPublicKeyInfo`.
fn key_bits(spki: &[u8]) -> Option<&[u8]> {
    let mut parts = Der::new(spki).enter(SEQUENCE)?;
    parts.expect(SEQUENCE)?;
    der::bits(&parts.any()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Ca, DAY, Issued};
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    fn now_s() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    fn der_of(pem: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
    }

    /// OpenSSL's database of what a CA has issued: one line a certificate.
    fn index(issued: &Issued, revoked: bool, path: &Path) {
        let facts = crate::CertificateFacts::parse(&der_of(&issued.certificate)).unwrap();
        let serial = facts.serial.to_uppercase();
        let serial = if serial.len() % 2 == 1 { format!("0{serial}") } else { serial };
        let (state, when) = if revoked { ("R", "250101000000Z") } else { ("V", "") };
        std::fs::write(path, format!("{state}\t491231235959Z\t{when}\t{serial}\tunknown\t/CN=server\n"))
            .unwrap();
    }

    struct Plant {
        dir: tempfile::TempDir,
        ca: Vec<u8>,
        server: Issued,
    }

    impl Plant {
        fn new() -> Plant {
            let dir = tempfile::tempdir().unwrap();
            let (ca, issued) = Ca::create("CA", now_s(), DAY * 10).unwrap();
            issued.save(&dir.path().join("ca.crt"), &dir.path().join("ca.key")).unwrap();
            let server = ca.issue_server(&["localhost".into()], now_s(), DAY * 5).unwrap();
            index(&server, false, &dir.path().join("index"));
            Plant { ca: der_of(ca.certificate()), dir, server }
        }

        /// What OpenSSL's responder, with this certificate and key, answers to our question.
        fn answer(&self, signer: &str, more: &[&str]) -> Vec<u8> {
            let path = |name: &str| self.dir.path().join(name);
            std::fs::write(path("q"), question(&der_of(&self.server.certificate), &self.ca).unwrap())
                .unwrap();
            let mut command = Command::new("openssl");
            command.arg("ocsp").arg("-index").arg(path("index")).arg("-CA").arg(path("ca.crt"));
            command.arg("-rsigner").arg(path(&format!("{signer}.crt")));
            command.arg("-rkey").arg(path(&format!("{signer}.key")));
            command.arg("-reqin").arg(path("q")).arg("-respout").arg(path("a")).args(more);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{output:?}");
            std::fs::read(path("a")).unwrap()
        }

        fn check(&self, answer: &[u8], at_s: u64) -> Result<Answer, OcspError> {
            check(answer, &der_of(&self.server.certificate), &self.ca, at_s as i64)
        }
    }

    #[test]
    fn an_answer_of_openssl_to_our_question_is_understood() {
        let plant = Plant::new();
        let answer = plant.answer("ca", &["-ndays", "1"]);
        let good = plant.check(&answer, now_s()).unwrap();
        assert_eq!(good.status, Status::Good);
        assert!((good.next_update_s - good.this_update_s - 86_400).abs() < 2);
        assert_eq!(plant.check(&answer, now_s() + 2 * 86_400), Err(OcspError::NotCurrent));
        assert_eq!(plant.check(&answer, now_s() - 86_400), Err(OcspError::NotCurrent), "of the future");
        assert_eq!(plant.check(&plant.answer("ca", &[]), now_s()), Err(OcspError::NoEnd));
        index(&plant.server, true, &plant.dir.path().join("index"));
        let revoked = plant.check(&plant.answer("ca", &["-ndays", "1"]), now_s()).unwrap();
        assert_eq!(revoked.status, Status::Revoked);
        std::fs::write(plant.dir.path().join("index"), "").unwrap();
        let unknown = plant.check(&plant.answer("ca", &["-ndays", "1"]), now_s()).unwrap();
        assert_eq!(unknown.status, Status::Unknown);
    }

    #[test]
    fn only_the_issuer_and_its_responders_are_believed() {
        let plant = Plant::new();
        let path = |name: &str| plant.dir.path().join(name);
        let openssl = |args: &[&str]| {
            let output = Command::new("openssl").current_dir(plant.dir.path()).args(args).output().unwrap();
            assert!(output.status.success(), "{args:?} {output:?}");
        };
        std::fs::write(path("ext"), "extendedKeyUsage=OCSPSigning\n").unwrap();
        std::fs::write(path("none"), "keyUsage=digitalSignature\n").unwrap();
        for (name, extensions) in [("responder", "ext"), ("stranger", "none")] {
            let (key, request, certificate) =
                (&format!("{name}.key"), &format!("{name}.csr"), &format!("{name}.crt"));
            openssl(&[
                "req", "-new", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=r", "-keyout", key, "-out",
                request,
            ]);
            openssl(&[
                "x509",
                "-req",
                "-in",
                request,
                "-CA",
                "ca.crt",
                "-CAkey",
                "ca.key",
                "-days",
                "2",
                "-extfile",
                extensions,
                "-out",
                certificate,
            ]);
        }
        let by_name = plant.answer("responder", &["-ndays", "1"]);
        assert_eq!(plant.check(&by_name, now_s()).unwrap().status, Status::Good);
        let by_key = plant.answer("responder", &["-ndays", "1", "-resp_key_id"]);
        assert_eq!(plant.check(&by_key, now_s()).unwrap().status, Status::Good);
        let stranger = plant.answer("stranger", &["-ndays", "1"]);
        assert_eq!(plant.check(&stranger, now_s()), Err(OcspError::Unsigned), "not certified for it");
        // Another CA's answer, and one about another certificate.
        let other = Plant::new();
        let foreign = other.answer("ca", &["-ndays", "1"]);
        assert_eq!(plant.check(&foreign, now_s()), Err(OcspError::Unsigned));
        let ca = Ca::load(&path("ca.crt"), &path("ca.key")).unwrap();
        let second = ca.issue_server(&["localhost".into()], now_s(), Duration::from_secs(86_400)).unwrap();
        let about_first = plant.answer("ca", &["-ndays", "1"]);
        let about = check(&about_first, &der_of(&second.certificate), &plant.ca, now_s() as i64);
        assert_eq!(about, Err(OcspError::AnotherCertificate));
    }

    #[test]
    fn no_altered_answer_is_believed() {
        let plant = Plant::new();
        let answer = plant.answer("ca", &["-ndays", "1", "-resp_no_certs"]);
        for at in 0..answer.len() {
            assert!(plant.check(&answer[..at], now_s()).is_err());
            let mut altered = answer.clone();
            altered[at] ^= 0x01;
            // The only bytes that the signature does not cover are in the envelope, whose every byte is checked; who
            // the responder says it is does not matter where the issuer's key has signed.
            assert!(plant.check(&altered, now_s()).is_err(), "byte {at}");
        }
        assert_eq!(plant.check(&[0x30, 3, 0x0A, 1, 6], now_s()), Err(OcspError::Refused(6)));
        assert_eq!(plant.check(&vec![0x30; ANSWER_BYTES_MAX + 1], now_s()), Err(OcspError::Malformed));
        assert!(question(b"", &plant.ca).is_err() && responder(b"").is_none());
        assert_eq!(responder(&der_of(&plant.server.certificate)), None);
    }
}
