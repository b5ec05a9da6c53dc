//! The private CA: certificates for requests, their renewal, and the list of what it has revoked.

use super::super::{Actor, Control, Role, Space, Via};
use super::{KeysFailure, lock, revocations, to_json};
use crate::config::CaConfig;
use ravelin_event::Event;
use ravelin_protect::pki::{BACKDATE, Ca, EnrolRules, Enrolled, Request, Revoked, read_list};
use ravelin_protect::revocation::normal_serial;
use ravelin_protect::trust::{ListFacts, load_crls};
use ravelin_protect::{
    CertificateFacts, Error, IdentityFrom, Revocation, RevocationSubject, Revocations, file, hex,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Certificates that are remembered.
const ISSUED_MAX: usize = 1_000_000;
/// Largest list of the CA that is written again.
const LIST_BYTES_MAX: u64 = 64 << 20;

/// A certificate that the CA issued while the node ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCertificate {
    /// Serial number, in lower-case hex.
    pub serial: String,
    /// Whose it is.
    pub identity: String,
    /// SHA-256 of it, in lower-case hex.
    pub fingerprint: String,
    /// Kind of the key.
    pub key: String,
    /// Begin of validity, in seconds since the Unix epoch.
    pub not_before_s: i64,
    /// End of validity, in seconds since the Unix epoch.
    pub not_after_s: i64,
    /// Who ordered it.
    pub by: String,
    /// When it was revoked, in seconds since the Unix epoch.
    pub revoked_s: Option<u64>,
}

/// A certificate that was just issued.
#[derive(Clone, Debug)]
pub struct CertificateDone {
    /// The certificate, in PEM.
    pub certificate: String,
    /// The CA's certificate, in PEM.
    pub ca: String,
    /// What is remembered of it.
    pub issued: IssuedCertificate,
}

/// How the CA is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaStatus {
    /// Its distinguished name.
    pub name: String,
    /// End of its validity, in seconds since the Unix epoch.
    pub not_after_s: i64,
    /// Certificates that are remembered.
    pub issued: usize,
    /// Its published list, if it has one.
    pub list: Option<ListFacts>,
}

/// What became of the CA's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListOutcome {
    /// It was written with so many entries.
    Published(usize),
    /// The node has no CA, or publishes no list.
    None,
    /// It could not be written; the revocation holds all the same.
    Failed(String),
}

impl fmt::Display for ListOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListOutcome::Published(entries) => write!(f, "published with {entries} entries"),
            ListOutcome::None => f.write_str("not kept here"),
            ListOutcome::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

/// The certificates that are remembered, by serial number.
#[derive(Default)]
pub(super) struct IssuedTable(BTreeMap<String, IssuedCertificate>);

impl IssuedTable {
    /// Takes what the store held; gives what is wrong with it.
    pub fn load(&mut self, records: BTreeMap<String, Vec<u8>>) -> Vec<String> {
        let mut unreadable = Vec::new();
        for (serial, value) in records {
            match serde_json::from_slice(&value) {
                Ok(issued) => drop(self.0.insert(serial, issued)),
                Err(error) => unreadable.push(format!("the certificate {serial}: {error}")),
            }
        }
        unreadable
    }

    pub fn records(&self) -> impl Iterator<Item = (&str, Vec<u8>)> {
        self.0.iter().map(|(serial, issued)| (serial.as_str(), to_json(issued)))
    }

    pub fn fingerprint_of(&self, serial: &str) -> Option<String> {
        self.0.get(serial).map(|issued| issued.fingerprint.clone())
    }

    /// Marks those that a revocation meets; gives their records.
    pub fn revoke(&mut self, revocation: &Revocation) -> Vec<(String, Vec<u8>)> {
        let mut changed = Vec::new();
        let meets = |issued: &IssuedCertificate| match &revocation.subject {
            RevocationSubject::Serial { serial, .. } => issued.serial == *serial,
            RevocationSubject::Fingerprint(print) => issued.fingerprint == *print,
            RevocationSubject::CertificatesOf(name) => {
                issued.identity == *name && issued.not_before_s <= revocation.at_s as i64
            }
            // Its certificates are good again when the revocation is lifted.
            RevocationSubject::Identity(_) => false,
        };
        for (serial, issued) in self.0.iter_mut().filter(|(_, issued)| issued.revoked_s.is_none()) {
            if meets(issued) {
                issued.revoked_s = Some(revocation.at_s);
                changed.push((serial.clone(), to_json(issued)));
            }
        }
        changed
    }

    /// Forgets those that have expired; gives their serial numbers.
    fn forget_expired(&mut self, now_s: i64) -> Vec<String> {
        let expired: Vec<String> = self
            .0
            .iter()
            .filter(|(_, one)| one.not_after_s < now_s)
            .map(|(serial, _)| serial.clone())
            .collect();
        for serial in &expired {
            self.0.remove(serial);
        }
        expired
    }

    fn revoked(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.values().filter_map(|issued| Some((issued.serial.as_str(), issued.revoked_s?)))
    }
}

impl Control {
    /// Issues a certificate for `identity` to the key of a request (PKCS#10, PEM or DER), for `validity` or, without
    /// one, as long as configured; never longer than that.
    pub fn enrol(
        &self,
        actor: &Actor,
        identity: &str,
        request: &[u8],
        validity: Option<Duration>,
    ) -> Result<CertificateDone, KeysFailure> {
        let result = Request::parse(request)
            .map_err(KeysFailure::from)
            .and_then(|request| self.issue(actor, identity, &request, validity));
        self.told("certificate.enrol", actor, identity, result)
    }

    /// Issues the next certificate to the holder of one: `signature` is one by its key over
    /// [`ravelin_protect::pki::renewal_message`], which nobody else can make. Whoever asks needs no other permission.
    pub fn renew(
        &self,
        address: Option<SocketAddr>,
        certificate: &[u8],
        request: &[u8],
        signature: &[u8],
    ) -> Result<CertificateDone, KeysFailure> {
        let mut actor = Actor { name: "unknown".into(), role: Role::Viewer, via: Via::Api, address };
        let result = self.checked_renewal(certificate, request, signature).and_then(|(request, identity)| {
            actor.name = identity.clone();
            self.issue(&actor, &identity, &request, None)
        });
        let identity = actor.name.clone();
        self.told("certificate.renew", &actor, &identity, result)
    }

    fn checked_renewal(
        &self,
        certificate: &[u8],
        request: &[u8],
        signature: &[u8],
    ) -> Result<(Request, String), KeysFailure> {
        let (_, ca) = self.load_ca()?;
        let request = Request::parse(request)?;
        let facts = ca.check_renewal(certificate, &request, signature, self.now().wall_ms / 1000)?;
        let identity = facts
            .identity(IdentityFrom::CommonName)
            .map_err(|_| ravelin_protect::pki::RequestError::Renewal("it has no identity"))?;
        self.refuse_revoked(&identity, Some(&facts))?;
        Ok((request, identity.to_string()))
    }

    fn refuse_revoked(&self, identity: &str, facts: Option<&CertificateFacts>) -> Result<(), KeysFailure> {
        let revocations = revocations(&self.0);
        let of_certificate = facts.and_then(|facts| revocations.of_certificate(facts));
        let found = of_certificate.or_else(|| revocations.of_identity(identity, facts));
        let listed = facts.is_some_and(|facts| {
            lock(&self.0.keys.issued).0.get(&facts.serial).is_some_and(|issued| issued.revoked_s.is_some())
                || self.is_listed(&facts.serial)
        });
        match found {
            Some(revocation) => Err(KeysFailure::Revoked(revocation.subject.key())),
            None if listed => Err(KeysFailure::Revoked(format!("the certificate of {identity}"))),
            None => Ok(()),
        }
    }

    /// Whether the CA's own list has the serial number: `ravelin client remove` writes it there.
    fn is_listed(&self, serial: &str) -> bool {
        let Some(path) = self.config().ca.as_ref().and_then(|ca| ca.crl.clone()) else { return false };
        // A list that is there and cannot be read says nothing good of anybody.
        match file::read(&path, LIST_BYTES_MAX) {
            Err(Error::Io { kind: std::io::ErrorKind::NotFound, .. }) => false,
            Err(_) => true,
            Ok(bytes) => read_list(&bytes).map_or(true, |(revoked, _)| {
                revoked.iter().any(|one| normal_serial(&hex(&one.serial)) == serial)
            }),
        }
    }

    fn load_ca(&self) -> Result<(CaConfig, Ca), KeysFailure> {
        let config = self.config().ca.clone().ok_or(KeysFailure::NoCa)?;
        // Read each time: a key that was replaced or taken away counts at once, and none stays in memory.
        let ca = Ca::load(&config.certificate, &config.key)?;
        Ok((config, ca))
    }

    fn issue(
        &self,
        actor: &Actor,
        identity: &str,
        request: &Request,
        validity: Option<Duration>,
    ) -> Result<CertificateDone, KeysFailure> {
        let (config, ca) = self.load_ca()?;
        self.refuse_revoked(identity, None)?;
        let rules = EnrolRules {
            validity: validity.unwrap_or(config.rules.validity).min(config.rules.validity),
            ..config.rules
        };
        let now_s = self.now().wall_ms / 1000;
        let until_s = revocations(&self.0).certificates_until_s(identity);
        // Dated back for clocks that are behind, but not into the time whose certificates are revoked.
        let from_s = (now_s - BACKDATE.as_secs()).max(until_s.map_or(0, |until_s| until_s + 1));
        let Enrolled { certificate, facts } =
            ca.enrol(request, identity, &rules, from_s, now_s.max(from_s))??;
        let issued = IssuedCertificate {
            serial: facts.serial.clone(),
            identity: identity.into(),
            fingerprint: facts.fingerprint.to_string(),
            key: facts.key.kind.name().into(),
            not_before_s: facts.not_before_s,
            not_after_s: facts.not_after_s,
            by: actor.name.clone(),
            revoked_s: None,
        };
        let number = {
            let mut table = lock(&self.0.keys.issued);
            if table.0.len() >= ISSUED_MAX {
                for serial in table.forget_expired(now_s as i64) {
                    self.records().delete(Space::Certificates, &serial)?;
                }
            }
            if table.0.len() >= ISSUED_MAX {
                return Err(KeysFailure::TooMany(ISSUED_MAX));
            }
            table.0.insert(issued.serial.clone(), issued.clone());
            self.records().put(Space::Certificates, &issued.serial, &to_json(&issued))?
        };
        // Nobody has it before it is on record.
        self.records().blocking_settled(number)?;
        Ok(CertificateDone { certificate, ca: ca.certificate().into(), issued })
    }

    fn told(
        &self,
        action: &str,
        actor: &Actor,
        identity: &str,
        result: Result<CertificateDone, KeysFailure>,
    ) -> Result<CertificateDone, KeysFailure> {
        let outcome = match &result {
            Ok(done) => {
                self.emit(Event::CertificateIssued {
                    identity: done.issued.identity.clone(),
                    serial: done.issued.serial.clone(),
                    not_after_s: done.issued.not_after_s,
                    by: actor.name.clone(),
                });
                Ok(format!("serial {}", done.issued.serial))
            }
            Err(error) => Err(error.to_string()),
        };
        let outcome = outcome.as_ref().map(String::as_str).map_err(String::as_str);
        self.administered(actor, action, identity, outcome);
        result
    }

    /// Up to `max` certificates that were issued, in the order of their serial numbers, those behind `after`.
    pub fn certificates(&self, after: Option<&str>, max: usize) -> Vec<IssuedCertificate> {
        use std::ops::Bound;
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let table = lock(&self.0.keys.issued);
        table.0.range::<str, _>((begin, Bound::Unbounded)).take(max).map(|(_, one)| one.clone()).collect()
    }

    /// How the CA is.
    pub fn ca_status(&self) -> Result<CaStatus, KeysFailure> {
        let (config, ca) = self.load_ca()?;
        let list = config.crl.as_deref().and_then(|path| load_crls(path).ok());
        let list = list.and_then(|lists| ListFacts::read(lists.first()?));
        let issued = lock(&self.0.keys.issued).0.len();
        Ok(CaStatus { name: ca.name().into(), not_after_s: ca.not_after_s(), issued, list })
    }

    /// The CA's revocation list as it is published, in PEM.
    pub fn ca_list(&self) -> Result<Vec<u8>, KeysFailure> {
        let config = self.config().ca.clone().ok_or(KeysFailure::NoCa)?;
        let path = config.crl.ok_or(KeysFailure::NoCa)?;
        Ok(file::read(&path, LIST_BYTES_MAX)?.to_vec())
    }

    /// After a revocation the list is written again; if that fails, it is said, and tried again by the keeper.
    pub(super) fn list_after_revocation(&self) -> ListOutcome {
        let wanted = self.config().ca.as_ref().is_some_and(|ca| ca.crl.is_some());
        if !wanted {
            return ListOutcome::None;
        }
        match self.publish_list() {
            Ok(entries) => ListOutcome::Published(entries),
            Err(error) => ListOutcome::Failed(error.to_string()),
        }
    }

    /// Writes the CA's list: what was on it, and what was revoked here. Gives how many entries it has.
    pub(super) fn publish_list(&self) -> Result<usize, KeysFailure> {
        let _held = lock(&self.0.keys.list);
        let (config, ca) = self.load_ca()?;
        let path = config.crl.as_deref().ok_or(KeysFailure::NoCa)?;
        let (listed, number) = match file::read(path, LIST_BYTES_MAX) {
            Err(Error::Io { kind: std::io::ErrorKind::NotFound, .. }) => (Vec::new(), 0),
            read => {
                read_list(&read?).map_err(|detail| Error::Value(format!("{}: {detail}", path.display())))?
            }
        };
        let mut all: BTreeMap<String, u64> =
            listed.iter().map(|one| (normal_serial(&hex(&one.serial)), one.at_s)).collect();
        let snapshot = revocations(&self.0);
        for (serial, at_s) in lock(&self.0.keys.issued).revoked().chain(by_serial(&snapshot, ca.name())) {
            all.entry(serial.into()).or_insert(at_s);
        }
        let revoked: Vec<Revoked> = all
            .iter()
            .filter_map(|(serial, at_s)| Some(Revoked { serial: bytes_of(serial)?, at_s: *at_s }))
            .collect();
        let now_s = self.now().wall_ms / 1000;
        let pem = ca.issue_crl(&revoked, now_s.max(number + 1), now_s, config.crl_validity)?;
        file::replace(path, pem.as_bytes())?;
        self.emit(Event::RevocationListPublished { entries: revoked.len() as u64 });
        Ok(revoked.len())
    }
}

/// What was revoked by the serial number of this CA.
fn by_serial<'a>(snapshot: &'a Revocations, ca: &str) -> impl Iterator<Item = (&'a str, u64)> {
    snapshot.iter().filter_map(move |revocation| match &revocation.subject {
        RevocationSubject::Serial { serial, issuer } if issuer.as_ref().is_none_or(|issuer| issuer == ca) => {
            Some((serial.as_str(), revocation.at_s))
        }
        _ => None,
    })
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let even = if hex.len().is_multiple_of(2) { hex.to_owned() } else { format!("0{hex}") };
    (0..even.len()).step_by(2).map(|at| u8::from_str_radix(even.get(at..at + 2)?, 16).ok()).collect()
}
