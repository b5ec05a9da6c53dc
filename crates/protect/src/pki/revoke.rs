//! The CA's revocation list: who may not connect any more although the certificate has not expired.

use super::{Ca, failed};
use crate::{Error, file};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, pem::PemObject};
use std::path::Path;
use std::time::Duration;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

/// Largest list that is rewritten.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// A certificate that was revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// Its serial number.
    pub serial: Vec<u8>,
    /// When it was revoked, in seconds since the Unix epoch.
    pub at_s: u64,
}

impl Ca {
    /// A revocation list in PEM. `number` must grow from list to list.
    pub fn issue_crl(
        &self,
        revoked: &[Revoked],
        number: u64,
        now_s: u64,
        validity: Duration,
    ) -> Result<String, Error> {
        let list = CertificateRevocationListParams {
            this_update: instant!(Duration::from_secs(now_s)),
            next_update: instant!(Duration::from_secs(now_s) + validity),
            crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|revoked| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&revoked.serial),
                    revocation_time: instant!(Duration::from_secs(revoked.at_s)),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).and_then(|list| list.pem()).map_err(failed)
    }

    /// Adds a certificate to the list in the file `list` (which may not exist yet) and replaces the file. Gives
    /// whether it was not on the list before.
    pub fn revoke(
        &self,
        certificate: &Path,
        list: &Path,
        now_s: u64,
        validity: Duration,
    ) -> Result<bool, Error> {
        let serial = serial_of(certificate)?;
        let (mut revoked, number) = match file::read(list, LIST_BYTES_MAX) {
            Err(Error::Io { kind: std::io::ErrorKind::NotFound, .. }) => (Vec::new(), 0),
            read => read_list(&read?).map_err(|detail| Error::content(list, detail))?,
        };
        let new = revoked.iter().all(|known| known.serial != serial);
        if new {
            revoked.push(Revoked { serial, at_s: now_s });
        }
        let pem = self.issue_crl(&revoked, now_s.max(number + 1), now_s, validity)?;
        file::replace(list, pem.as_bytes())?;
        Ok(new)
    }
}

/// The serial number of a certificate in a PEM file.
fn serial_of(path: &Path) -> Result<Vec<u8>, Error> {
    let bytes = file::read(path, 64 << 10)?;
    let der = CertificateDer::from_pem_slice(&bytes).map_err(|_| Error::content(path, "is not PEM"))?;
    let (_, certificate) =
        X509Certificate::from_der(&der).map_err(|_| Error::content(path, "is not a certificate"))?;
    Ok(certificate.raw_serial().to_vec())
}

/// What is on a list in PEM, and its number. The signature is not verified.
pub fn read_list(pem: &[u8]) -> Result<(Vec<Revoked>, u64), String> {
    let der =
        CertificateRevocationListDer::from_pem_slice(pem).map_err(|_| "is not a revocation list in PEM")?;
    let (_, list) =
        CertificateRevocationList::from_der(der.as_ref()).map_err(|_| "is not a revocation list")?;
    let revoked = list.iter_revoked_certificates().map(|entry| Revoked {
        serial: entry.raw_serial().to_vec(),
        at_s: entry.revocation_date.timestamp().max(0) as u64,
    });
    let number = list.crl_number().and_then(|number| number.to_u64_digits().first().copied()).unwrap_or(0);
    Ok((revoked.collect(), number))
}
