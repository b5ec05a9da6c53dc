//! A request for a certificate (PKCS#10), as a device sends it: read strictly, with proof that whoever asks has the key.

use crate::certificate::{KeyFacts, KeyType, check_text};
use crate::{Error, check_identity, signed};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use rustls::pki_types::{CertificateSigningRequestDer, pem::PemObject};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

/// Largest request, as PEM.
pub const REQUEST_BYTES_MAX: usize = 32 << 10;
/// More names than this are not looked at.
const NAMES_MAX: usize = 16;

/// A request whose signature proves that the requester has the private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    der: Vec<u8>,
    spki: Vec<u8>,
    /// Its key.
    pub key: KeyFacts,
    /// The Common Name that is asked for.
    pub common_name: Option<String>,
    /// The DNS names that are asked for.
    pub dns: Vec<String>,
    /// The URIs that are asked for.
    pub uri: Vec<String>,
    /// The e-mail addresses that are asked for.
    pub email: Vec<String>,
}

/// Why a request gets no certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Not a request in PEM or DER, or too large.
    #[error("not a certificate signing request (PKCS#10, PEM or DER, at most {REQUEST_BYTES_MAX} bytes)")]
    Malformed,
    /// The signature is not that of the key.
    #[error("the request is not signed by its own key, or with an algorithm that is not accepted")]
    Unproven,
    /// The key is too weak or of a kind that is not accepted.
    #[error(
        "the key ({0}) is not accepted: it is ECDSA on P-256 or P-384, Ed25519, or RSA of {1} bits or more"
    )]
    Key(String, u32),
    /// A name is asked for that the requester may not have.
    #[error("the name {0:?} may not be in a certificate of {1:?}")]
    Name(String, String),
    /// Something is asked for that no client's certificate has.
    #[error("the request asks for {0}, which no client's certificate has")]
    Extension(&'static str),
    /// The certificate that is to be renewed is not good for that.
    #[error("the certificate cannot be renewed: {0}")]
    Renewal(&'static str),
}

impl Request {
    /// Reads a request, and verifies that it was signed by its own key. Never panics, whatever the bytes.
    pub fn parse(bytes: &[u8]) -> Result<Request, RequestError> {
        if bytes.len() > REQUEST_BYTES_MAX {
            return Err(RequestError::Malformed);
        }
        let der = match bytes.first() {
            Some(0x30) => bytes.to_vec(),
            _ => CertificateSigningRequestDer::from_pem_slice(bytes)
                .map_err(|_| RequestError::Malformed)?
                .to_vec(),
        };
        let parts = signed::split(&der).ok_or(RequestError::Malformed)?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| RequestError::Malformed)?;
        if !rest.is_empty() {
            return Err(RequestError::Malformed);
        }
        let info = &request.certification_request_info;
        if !parts.is_by(info.subject_pki.raw) {
            return Err(RequestError::Unproven);
        }
        let mut names = info.subject.iter_common_name();
        let common_name = match (names.next(), names.next()) {
            (None, _) => None,
            (Some(name), None) => Some(name.as_str().map_err(|_| RequestError::Malformed)?.to_owned()),
            (Some(_), Some(_)) => return Err(RequestError::Extension("more than one Common Name")),
        };
        let (spki, key) = (info.subject_pki.raw.to_vec(), KeyFacts::of(&info.subject_pki));
        let mut read = Request {
            spki,
            key,
            common_name,
            dns: Vec::new(),
            uri: Vec::new(),
            email: Vec::new(),
            der: Vec::new(),
        };
        for extension in request.requested_extensions().into_iter().flatten() {
            read.take_extension(extension)?;
        }
        read.der = der.clone();
        Ok(read)
    }

    fn take_extension(&mut self, extension: &ParsedExtension<'_>) -> Result<(), RequestError> {
        match extension {
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    match name {
                        GeneralName::DNSName(name) => self.dns.push((*name).to_owned()),
                        GeneralName::URI(name) => self.uri.push((*name).to_owned()),
                        GeneralName::RFC822Name(name) => self.email.push((*name).to_owned()),
                        _ => {
                            return Err(RequestError::Extension("a name that is no DNS name, URI or e-mail"));
                        }
                    }
                }
                let count = self.dns.len() + self.uri.len() + self.email.len();
                if count > NAMES_MAX { Err(RequestError::Extension("too many names")) } else { Ok(()) }
            }
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                Err(RequestError::Extension("the powers of a CA"))
            }
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => {
                Err(RequestError::Extension("the powers of a CA"))
            }
            ParsedExtension::ExtendedKeyUsage(usage)
                if usage.any || usage.server_auth || usage.code_signing || usage.ocsp_signing =>
            {
                Err(RequestError::Extension("another purpose than client authentication"))
            }
            // What is left says nothing that the CA does not decide itself.
            _ => Ok(()),
        }
    }

    /// The request in DER.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The `SubjectPublicKeyInfo` in DER.
    pub(super) fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Whether the key is strong enough; RSA needs `rsa_bits_min`.
    pub fn check_key(&self, rsa_bits_min: u32) -> Result<(), RequestError> {
        let strong = match self.key.kind {
            KeyType::Rsa => self.key.bits >= rsa_bits_min.max(2048),
            KeyType::EcdsaP256 | KeyType::EcdsaP384 | KeyType::Ed25519 => true,
            _ => false,
        };
        let shown = || format!("{}, {} bits", self.key.kind.name(), self.key.bits);
        if strong { Ok(()) } else { Err(RequestError::Key(shown(), rsa_bits_min.max(2048))) }
    }

    /// Whether `identity` may have every name that is asked for.
    pub fn check_names(&self, identity: &str, allowed: &AllowedNames) -> Result<(), RequestError> {
        let refused = |name: &str| Err(RequestError::Name(name.into(), identity.into()));
        if let Some(name) = self.common_name.as_deref().filter(|name| *name != identity) {
            return refused(name);
        }
        let kinds = [(&self.dns, &allowed.dns), (&self.uri, &allowed.uri), (&self.email, &allowed.email)];
        for (asked, templates) in kinds {
            for name in asked {
                let fits = templates.iter().any(|template| template.replace("%u", identity) == *name);
                if !fits || check_text(name).is_err() || name.contains(['+', '#', '*']) {
                    return refused(name);
                }
            }
        }
        Ok(())
    }
}

/// Which alternative names an identity may have in its certificate; `%u` stands for the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// URIs.
    pub uri: Vec<String>,
    /// E-mail addresses.
    pub email: Vec<String>,
}

impl Default for AllowedNames {
    /// The identity itself as a DNS name.
    fn default() -> AllowedNames {
        AllowedNames { dns: vec!["%u".into()], uri: Vec::new(), email: Vec::new() }
    }
}

/// A new key (ECDSA on P-256) and a request for a certificate of `identity`, both in PEM. What a device does, for
/// those that cannot.
pub fn new_request(identity: &str) -> Result<(Zeroizing<String>, String), Error> {
    check_identity(identity)
        .map_err(|error| Error::Value(format!("{identity:?} cannot be an identity: {error}")))?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(super::failed)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, identity);
    if let Ok(name) = super::dns_name(identity) {
        params.subject_alt_names.push(SanType::DnsName(name.try_into().map_err(super::failed)?));
    }
    let request = params.serialize_request(&key).and_then(|request| request.pem()).map_err(super::failed)?;
    Ok((Zeroizing::new(key.serialize_pem()), request))
}
