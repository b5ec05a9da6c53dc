//! Which client certificates are accepted: the CAs, and what they have revoked. Built afresh on every reload, so that
//! a CA that was removed is trusted no longer (Mosquitto's store only grows).

use crate::der::{self, Der, SEQUENCE};
use crate::{ClientCertificate, Error, FileError, FileErrors, file, signed};
use rustls::RootCertStore;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest bundle of CAs or certificate chain.
pub(crate) const CERTIFICATES_BYTES_MAX: u64 = 4 << 20;
/// Largest revocation list: some two million serial numbers.
pub const CRL_BYTES_MAX: u64 = 96 << 20;

/// The CAs whose clients are accepted, less what they have revoked. Cheap to clone: the lists are parsed once.
#[derive(Clone)]
pub struct Trust {
    /// Accepts who shows nothing, too; [`Trust::verifier`] says whether that counts.
    verifier: Arc<dyn ClientCertVerifier>,
    authorities: usize,
    lists: Arc<[ListFacts]>,
    missing: Arc<[String]>,
}

/// What a revocation list says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListFacts {
    /// Whose list it is (distinguished name).
    pub issuer: String,
    /// When it was made, in seconds since the Unix epoch.
    pub this_update_s: i64,
    /// When there should be another one, in seconds since the Unix epoch.
    pub next_update_s: Option<i64>,
    /// Its size.
    pub bytes: usize,
}

impl ListFacts {
    /// Reads the head of a list in DER: the time that takes does not grow with what is on it.
    pub fn read(der: &[u8]) -> Option<ListFacts> {
        Some(list_head(der)?.facts)
    }
}

struct ListHead<'a> {
    facts: ListFacts,
    issuer: &'a [u8],
}

impl Trust {
    /// Reads the bundle of CAs and the revocation lists (PEM or DER). A list that is missing or broken is an error:
    /// without it, nobody could say who is revoked.
    pub fn load(client_ca: &Path, crls: &[PathBuf]) -> Result<Trust, Error> {
        let authorities = load_certificates(client_ca)?;
        let mut lists = Vec::new();
        for path in crls {
            lists.extend(load_crls(path)?);
        }
        Trust::new(authorities, lists, &client_ca.display().to_string())
    }

    /// The trust in `authorities`, less what `crls` revoke.
    pub fn new(
        authorities: Vec<CertificateDer<'static>>,
        crls: Vec<CertificateRevocationListDer<'static>>,
        name: &str,
    ) -> Result<Trust, Error> {
        Trust::with_missing(authorities, crls, Vec::new(), name)
    }

    /// The same where the lists `missing` should be there too and are not: nobody is accepted whose CA has no list.
    pub fn with_missing(
        authorities: Vec<CertificateDer<'static>>,
        mut crls: Vec<CertificateRevocationListDer<'static>>,
        missing: Vec<String>,
        name: &str,
    ) -> Result<Trust, Error> {
        let heads: Option<Vec<_>> = crls.iter().map(|list| list_head(list)).collect();
        let heads = heads.ok_or_else(|| Error::Tls("not a certificate revocation list".into()))?;
        for (list, head) in crls.iter().zip(&heads) {
            check_signer(list, head, &authorities)?;
        }
        let facts: Vec<ListFacts> = heads.into_iter().map(|head| head.facts).collect();
        // Of two lists of one CA, the first that is found counts: it must be the newer one.
        crls.sort_by_cached_key(|list| {
            ListFacts::read(list).map(|facts| std::cmp::Reverse(facts.this_update_s))
        });
        let mut roots = RootCertStore::empty();
        let authority_count = authorities.len();
        for (index, authority) in authorities.into_iter().enumerate() {
            roots.add(authority).map_err(|error| {
                Error::File(FileErrors(vec![FileError {
                    file: name.into(),
                    line: 1,
                    column: 1,
                    what: format!("certificate {} cannot be a trusted CA: {error}", index + 1),
                    help: "take it out of the bundle".into(),
                }]))
            })?;
        }
        let covered = !crls.is_empty();
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots.into(), crate::tls::provider())
            .with_crls(crls)
            .allow_unauthenticated();
        // With a list, each certificate of the chain must be covered by one, and a list that is out of date proves
        // nothing: webpki's defaults deny an unknown status, this denies an expired list.
        if covered {
            builder = builder.enforce_revocation_expiration();
        }
        let verifier: Arc<dyn ClientCertVerifier> =
            builder.build().map_err(|error| Error::Tls(format!("client certificates: {error}")))?;
        // Without any list webpki would check none.
        let closed = !covered && !missing.is_empty();
        let verifier = Arc::new(Verifier { inner: verifier, mandatory: false, closed });
        Ok(Trust { verifier, authorities: authority_count, lists: facts.into(), missing: missing.into() })
    }

    /// What to tell of a revocation list that is out of date at `now_s` (seconds since the Unix epoch), if one is.
    pub fn expired_list(&self, now_s: u64) -> Option<String> {
        let expired = |facts: &&ListFacts| facts.next_update_s.is_some_and(|next| next < now_s as i64);
        // An old list beside a newer one of the same CA does no harm.
        let newer = |old: &ListFacts| {
            self.lists
                .iter()
                .any(|other| other.issuer == old.issuer && other.this_update_s > old.this_update_s)
        };
        let old = self.lists.iter().filter(expired).find(|facts| !newer(facts))?;
        Some(format!("the revocation list of {} is out of date", old.issuer))
    }

    /// What the revocation lists say of themselves.
    pub fn lists(&self) -> &[ListFacts] {
        &self.lists
    }

    /// The lists that should be there and are not.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// How many CAs are trusted.
    pub fn authorities(&self) -> usize {
        self.authorities
    }

    /// The verifier, or none if clients are not asked for a certificate.
    pub fn verifier(&self, demand: ClientCertificate) -> Option<Arc<dyn ClientCertVerifier>> {
        match demand {
            ClientCertificate::Required => {
                let inner = Arc::clone(&self.verifier);
                Some(Arc::new(Verifier { inner, mandatory: true, closed: false }))
            }
            ClientCertificate::Optional => Some(Arc::clone(&self.verifier)),
            ClientCertificate::None => None,
        }
    }

    /// Whether a chain that was accepted once (end entity first) is accepted by this trust at `now`: after a reload,
    /// whoever is connected with one that is not is disconnected.
    pub fn accepts(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Some((end_entity, intermediates)) = chain.split_first() else { return false };
        self.verifier.verify_client_cert(end_entity, intermediates, now).is_ok()
    }
}

/// webpki's verifier, which parsed the lists once and for all listeners, and what a listener asks beside it.
#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
    /// Who shows no certificate is refused.
    mandatory: bool,
    /// The revocation lists could not be had: nobody is accepted.
    closed: bool,
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if self.closed {
            return Err(CertificateError::UnknownRevocationStatus.into());
        }
        self.inner.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.inner.requires_raw_public_keys()
    }
}

/// RFC 5280, 5.1: version, algorithm, issuer, this update, next update, and what is revoked.
fn list_head(der: &[u8]) -> Option<ListHead<'_>> {
    use x509_parser::prelude::{FromDer, X509Name};
    let mut said = Der::new(signed::split(der)?.said).enter(SEQUENCE)?;
    said.optional(der::INTEGER);
    said.expect(SEQUENCE)?;
    let issuer = said.expect(SEQUENCE)?.whole;
    let this_update_s = der::time_s(&said.any()?)?;
    let mut rest = said;
    let next_update_s = rest.any().and_then(|element| der::time_s(&element));
    let (_, name) = X509Name::from_der(issuer).ok()?;
    let facts = ListFacts { issuer: name.to_string(), this_update_s, next_update_s, bytes: der.len() };
    Some(ListHead { facts, issuer })
}

/// A list in the name of one of our CAs that this CA did not sign is a forgery. Of another CA (an intermediate one) we
/// learn only from the clients' chains whether it signed; webpki checks that in each handshake.
fn check_signer(
    list: &[u8],
    head: &ListHead<'_>,
    authorities: &[CertificateDer<'static>],
) -> Result<(), Error> {
    let mut named = authorities
        .iter()
        .filter_map(|authority| signed::certificate_parts(authority))
        .filter(|parts| parts.subject == head.issuer)
        .peekable();
    let signed = signed::split(list);
    if named.peek().is_some() && !named.any(|parts| signed.as_ref().is_some_and(|s| s.is_by(parts.spki))) {
        return Err(Error::Tls(format!("the revocation list of {} is not signed by it", head.facts.issuer)));
    }
    Ok(())
}

/// Reads a chain or bundle of certificates in PEM.
pub fn load_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = file::read(path, CERTIFICATES_BYTES_MAX)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| Error::content(path, format!("is not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(Error::content(path, "holds no certificate in PEM"));
    }
    Ok(certificates)
}

/// Reads the revocation lists in a file, in PEM or DER.
pub fn load_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let bytes = file::read(path, CRL_BYTES_MAX)?;
    parse_crls(&bytes).map_err(|detail| Error::content(path, detail))
}

/// The revocation lists in PEM or DER bytes; the error says what the bytes are not.
pub fn parse_crls(bytes: &[u8]) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    // A DER sequence begins with 0x30; PEM is text.
    let lists: Vec<_> = if bytes.first() == Some(&0x30) {
        vec![CertificateRevocationListDer::from(bytes.to_vec())]
    } else {
        CertificateRevocationListDer::pem_slice_iter(bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| format!("is not PEM: {error}"))?
    };
    if lists.is_empty() {
        return Err("holds no revocation list".into());
    }
    if lists.iter().any(|list| list_head(list).is_none()) {
        return Err("is not a certificate revocation list".into());
    }
    Ok(lists)
}
