//! Which client certificates are accepted: the CAs, and what they have revoked. Built afresh on every reload, so that
//! a CA that was removed is trusted no longer (Mosquitto's store only grows).

use crate::{ClientCertificate, Error, FileError, FileErrors, file};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest bundle of CAs or certificate chain.
pub(crate) const CERTIFICATES_BYTES_MAX: u64 = 4 << 20;
/// Largest revocation list: some two million serial numbers.
const CRL_BYTES_MAX: u64 = 96 << 20;

/// The CAs whose clients are accepted, and their revocation lists.
#[derive(Clone)]
pub struct Trust {
    roots: Arc<RootCertStore>,
    crls: Arc<[CertificateRevocationListDer<'static>]>,
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
        let mut roots = RootCertStore::empty();
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
        let trust = Trust { roots: Arc::new(roots), crls: crls.into() };
        // What would fail when a client connects fails now.
        trust.verifier(ClientCertificate::Required)?;
        Ok(trust)
    }

    /// What to tell of a revocation list that is out of date at `now_s` (seconds since the Unix epoch), if one is.
    pub fn expired_list(&self, now_s: u64) -> Option<String> {
        use x509_parser::prelude::FromDer;
        self.crls.iter().find_map(|list| {
            let (_, list) =
                x509_parser::revocation_list::CertificateRevocationList::from_der(list.as_ref()).ok()?;
            let next = list.next_update()?.timestamp();
            (next < now_s as i64).then(|| format!("the revocation list of {} is out of date", list.issuer()))
        })
    }

    /// How many CAs are trusted.
    pub fn authorities(&self) -> usize {
        self.roots.len()
    }

    /// A fresh verifier, or none if clients are not asked for a certificate.
    pub fn verifier(&self, demand: ClientCertificate) -> Result<Option<Arc<dyn ClientCertVerifier>>, Error> {
        let provider = crate::tls::provider();
        let mut builder = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider)
            .with_crls(self.crls.iter().cloned());
        // With a list, each certificate of the chain must be covered by one, and a list that is out of date proves
        // nothing: webpki's defaults deny an unknown status, this denies an expired list.
        if !self.crls.is_empty() {
            builder = builder.enforce_revocation_expiration();
        }
        builder = match demand {
            ClientCertificate::Required => builder,
            ClientCertificate::Optional => builder.allow_unauthenticated(),
            ClientCertificate::None => return Ok(None),
        };
        builder.build().map(Some).map_err(|error| Error::Tls(format!("client certificates: {error}")))
    }

    /// Whether a chain that was accepted once (end entity first) is accepted by this trust at `now`: after a reload,
    /// whoever is connected with one that is not is disconnected.
    pub fn accepts(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> bool {
        let Some((end_entity, intermediates)) = chain.split_first() else { return false };
        match self.verifier(ClientCertificate::Required) {
            Ok(Some(verifier)) => verifier.verify_client_cert(end_entity, intermediates, now).is_ok(),
            _ => false,
        }
    }

    /// [`Trust::accepts`] for many chains, with one verifier.
    pub fn accepts_each<'a>(
        &self,
        chains: impl IntoIterator<Item = &'a [CertificateDer<'a>]>,
        now: UnixTime,
    ) -> Vec<bool> {
        let verifier = self.verifier(ClientCertificate::Required).ok().flatten();
        let accepts = |chain: &[CertificateDer<'_>]| match (&verifier, chain.split_first()) {
            (Some(verifier), Some((end, rest))) => verifier.verify_client_cert(end, rest, now).is_ok(),
            _ => false,
        };
        chains.into_iter().map(accepts).collect()
    }
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

/// Reads revocation lists, in PEM or DER.
fn load_crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Error> {
    let bytes = file::read(path, CRL_BYTES_MAX)?;
    // A DER sequence begins with 0x30; PEM is text.
    let lists: Vec<_> = if bytes.first() == Some(&0x30) {
        vec![CertificateRevocationListDer::from(bytes.to_vec())]
    } else {
        CertificateRevocationListDer::pem_slice_iter(&bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| Error::content(path, format!("is not PEM: {error}")))?
    };
    if lists.is_empty() {
        return Err(Error::content(path, "holds no revocation list"));
    }
    for list in &lists {
        use x509_parser::prelude::FromDer;
        x509_parser::revocation_list::CertificateRevocationList::from_der(list.as_ref())
            .map_err(|_| Error::content(path, "is not a certificate revocation list"))?;
    }
    Ok(lists)
}
