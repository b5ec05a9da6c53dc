//! What was revoked while the node ran: certificates by serial number or fingerprint, whole identities. It holds from
//! the moment it is said, whatever the revocation lists of the CAs say and however old a session ticket is.
//!
//! [`Revocations`] is a snapshot that is asked once for each handshake and log-in. Adding to it makes another snapshot,
//! which shares all but one sixty-fourth with the one before.

use crate::CertificateFacts;
use foldhash::HashMap;
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher;
use std::sync::Arc;

const BUCKETS: usize = 64;
/// As many may be kept.
pub const REVOCATIONS_MAX: usize = 1_000_000;
/// Longest name, issuer or reason, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// What is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationSubject {
    /// The certificate with this serial number (lower-case hex without leading zeros), of this issuer (distinguished
    /// name) or, without one, of any.
    Serial {
        /// The serial number.
        serial: String,
        /// The issuer.
        issuer: Option<String>,
    },
    /// The certificate with this SHA-256 fingerprint, in lower-case hex.
    Fingerprint(String),
    /// Every certificate of this identity that was valid from a time before the revocation: newer ones are good.
    CertificatesOf(String),
    /// This identity, however it proves itself, until the revocation is lifted.
    Identity(String),
}

/// A revocation: of what, why, by whom, when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// What is revoked.
    pub subject: RevocationSubject,
    /// Why.
    pub reason: String,
    /// By whom.
    pub by: String,
    /// When, in seconds since the Unix epoch.
    pub at_s: u64,
}

/// Why something cannot be revoked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationError {
    /// Not hex, or of a length that no serial number and no fingerprint has.
    #[error("{0:?} is not a {1} in hex")]
    Hex(String, &'static str),
    /// Empty, too long, or with control characters.
    #[error("the {0} is empty, longer than {TEXT_BYTES_MAX} bytes, or has control characters")]
    Text(&'static str),
    /// The table is full.
    #[error("{REVOCATIONS_MAX} revocations are kept; lift some first")]
    Full,
}

/// What is revoked now. Cheap to clone.
#[derive(Clone)]
pub struct Revocations {
    buckets: Arc<[Arc<Bucket>]>,
    len: usize,
}

type Bucket = HashMap<Box<str>, Vec<Arc<Revocation>>>;

impl Default for Revocations {
    fn default() -> Revocations {
        Revocations { buckets: (0..BUCKETS).map(|_| Arc::default()).collect(), len: 0 }
    }
}

impl RevocationSubject {
    /// A certificate by its serial number, as any tool prints it (`0A:1B`, upper case, leading zeros).
    pub fn serial(serial: &str, issuer: Option<&str>) -> Result<RevocationSubject, RevocationError> {
        let plain = normal_serial(serial);
        let hex = plain.len() <= 40 && plain.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hex || plain.is_empty() {
            return Err(RevocationError::Hex(shortened(serial), "serial number"));
        }
        let issuer = issuer.map(|issuer| check_text(issuer, "issuer")).transpose()?;
        Ok(RevocationSubject::Serial { serial: plain, issuer })
    }

    /// A certificate by its SHA-256 fingerprint, as any tool prints it.
    pub fn fingerprint(text: &str) -> Result<RevocationSubject, RevocationError> {
        let plain: String = text.chars().filter(|c| *c != ':').collect::<String>().to_ascii_lowercase();
        if plain.len() != 64 || !plain.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(RevocationError::Hex(shortened(text), "SHA-256 fingerprint"));
        }
        Ok(RevocationSubject::Fingerprint(plain))
    }

    /// The certificates of an identity.
    pub fn certificates_of(identity: &str) -> Result<RevocationSubject, RevocationError> {
        check_text(identity, "identity").map(RevocationSubject::CertificatesOf)
    }

    /// An identity.
    pub fn identity(identity: &str) -> Result<RevocationSubject, RevocationError> {
        check_text(identity, "identity").map(RevocationSubject::Identity)
    }

    /// A text that names this subject and no other: the key of its record.
    pub fn key(&self) -> String {
        match self {
            RevocationSubject::Serial { serial, issuer: None } => format!("serial/{serial}"),
            RevocationSubject::Serial { serial, issuer: Some(issuer) } => format!("serial/{serial}/{issuer}"),
            RevocationSubject::Fingerprint(fingerprint) => format!("fingerprint/{fingerprint}"),
            RevocationSubject::CertificatesOf(identity) => format!("certificates/{identity}"),
            RevocationSubject::Identity(identity) => format!("identity/{identity}"),
        }
    }

    /// What it is found by.
    fn index(&self) -> Box<str> {
        match self {
            RevocationSubject::Serial { serial, .. } => format!("s{serial}"),
            RevocationSubject::Fingerprint(fingerprint) => format!("f{fingerprint}"),
            RevocationSubject::CertificatesOf(identity) | RevocationSubject::Identity(identity) => {
                format!("i{identity}")
            }
        }
        .into()
    }
}

impl Revocations {
    /// The snapshot that holds these.
    pub fn new(revocations: impl IntoIterator<Item = Revocation>) -> Revocations {
        let mut buckets: Vec<Bucket> = (0..BUCKETS).map(|_| Bucket::default()).collect();
        let mut len = 0;
        for revocation in revocations {
            len += usize::from(put(&mut buckets[bucket_of(&revocation.subject.index())], revocation));
        }
        Revocations { buckets: buckets.into_iter().map(Arc::new).collect(), len }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is revoked.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Another snapshot with this revocation, which replaces one of the same subject.
    pub fn with(&self, revocation: Revocation) -> Result<Revocations, RevocationError> {
        if self.len >= REVOCATIONS_MAX {
            return Err(RevocationError::Full);
        }
        let mut added = self.clone();
        let new = added.change(&revocation.subject.index(), |bucket| put(bucket, revocation));
        added.len += usize::from(new);
        Ok(added)
    }

    /// Another snapshot without it, and what was lifted.
    pub fn without(&self, subject: &RevocationSubject) -> (Revocations, Option<Arc<Revocation>>) {
        let mut left = self.clone();
        let index = subject.index();
        let lifted = left.change(&index, |bucket| {
            let found = bucket.get_mut(&index)?;
            let at = found.iter().position(|revocation| revocation.subject == *subject)?;
            let lifted = found.swap_remove(at);
            if found.is_empty() {
                bucket.remove(&index);
            }
            Some(lifted)
        });
        left.len -= usize::from(lifted.is_some());
        (left, lifted)
    }

    fn change<T>(&mut self, index: &str, change: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = self.buckets.to_vec();
        let result = change(Arc::make_mut(&mut buckets[bucket_of(index)]));
        self.buckets = buckets.into();
        result
    }

    /// The revocation of this certificate itself.
    pub fn of_certificate(&self, facts: &CertificateFacts) -> Option<Arc<Revocation>> {
        if self.is_empty() {
            return None;
        }
        let by_serial = self.found('s', &facts.serial).find(|revocation| match &revocation.subject {
            RevocationSubject::Serial { issuer: Some(issuer), .. } => *issuer == facts.attributes().issuer,
            _ => true,
        });
        by_serial.or_else(|| self.found('f', &facts.fingerprint).next()).cloned()
    }

    /// The revocation of this identity, or of the certificate by which it was proven.
    pub fn of_identity(
        &self,
        identity: &str,
        certificate: Option<&CertificateFacts>,
    ) -> Option<Arc<Revocation>> {
        if self.is_empty() {
            return None;
        }
        let holds = |revocation: &&Arc<Revocation>| match revocation.subject {
            RevocationSubject::CertificatesOf(_) => {
                certificate.is_some_and(|facts| facts.not_before_s <= revocation.at_s as i64)
            }
            _ => true,
        };
        self.found('i', identity).find(holds).cloned()
    }

    /// Until when the certificates of this identity are revoked, in seconds since the Unix epoch: newer ones are good.
    pub fn certificates_until_s(&self, identity: &str) -> Option<u64> {
        let of_certificates = |revocation: &&Arc<Revocation>| {
            matches!(revocation.subject, RevocationSubject::CertificatesOf(_))
        };
        self.found('i', identity).filter(of_certificates).map(|revocation| revocation.at_s).max()
    }

    fn found(&self, kind: char, name: &str) -> impl Iterator<Item = &Arc<Revocation>> {
        let index = format!("{kind}{name}");
        self.buckets[bucket_of(&index)].get(index.as_str()).into_iter().flatten()
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Revocation>> {
        self.buckets.iter().flat_map(|bucket| bucket.values()).flatten()
    }
}

/// Adds or replaces; true if its subject is new.
fn put(bucket: &mut Bucket, revocation: Revocation) -> bool {
    let found = bucket.entry(revocation.subject.index()).or_default();
    match found.iter_mut().find(|known| known.subject == revocation.subject) {
        Some(known) => {
            *known = Arc::new(revocation);
            false
        }
        None => {
            found.push(Arc::new(revocation));
            true
        }
    }
}

/// The seed is fixed: which bucket a name is in decides nothing, and each bucket has a seed of its own.
fn bucket_of(index: &str) -> usize {
    foldhash::fast::FixedState::default().hash_one(index) as usize % BUCKETS
}

/// A serial number without separators and leading zeros, in lower case.
pub fn normal_serial(serial: &str) -> String {
    let plain: String = serial.trim().chars().filter(|c| *c != ':').collect();
    let plain = plain.strip_prefix("0x").unwrap_or(&plain).trim_start_matches('0').to_ascii_lowercase();
    if plain.is_empty() && serial.contains('0') { "0".into() } else { plain }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn check_text(text: &str, what: &'static str) -> Result<String, RevocationError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX || text.contains(|c: char| c.is_control()) {
        return Err(RevocationError::Text(what));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::{Ca, DAY};
    use rustls::pki_types::{CertificateDer, pem::PemObject};

    const NOW_S: u64 = 1_800_000_000;

    fn revocation(subject: RevocationSubject, at_s: u64) -> Revocation {
        Revocation { subject, reason: "lost".into(), by: "ops".into(), at_s }
    }

    fn facts(ca: &Ca, name: &str, now_s: u64) -> CertificateFacts {
        let issued = ca.issue_client(name, now_s, DAY).unwrap();
        CertificateFacts::parse(&CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap())
            .unwrap()
    }

    #[test]
    fn a_certificate_is_found_by_what_tools_print_of_it() {
        let (ca, _) = Ca::create("CA", NOW_S, DAY * 10).unwrap();
        let (meter, other) = (facts(&ca, "meter", NOW_S), facts(&ca, "meter", NOW_S));
        let printed: Vec<String> = meter
            .serial
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).to_uppercase())
            .collect();
        let issuer = meter.attributes().issuer.clone();
        for subject in [
            RevocationSubject::serial(&format!("00:{}", printed.join(":")), None).unwrap(),
            RevocationSubject::serial(&meter.serial, Some(&issuer)).unwrap(),
            RevocationSubject::fingerprint(&meter.fingerprint.to_uppercase()).unwrap(),
        ] {
            let set = Revocations::default().with(revocation(subject.clone(), NOW_S)).unwrap();
            assert!(set.of_certificate(&meter).is_some(), "{subject:?}");
            assert!(set.of_certificate(&other).is_none() && set.of_identity("meter", Some(&meter)).is_none());
            let (left, lifted) = set.without(&subject);
            assert!(lifted.is_some() && left.is_empty() && left.of_certificate(&meter).is_none());
            assert!(set.of_certificate(&meter).is_some(), "a snapshot does not change");
        }
        let foreign = RevocationSubject::serial(&meter.serial, Some("CN=Another")).unwrap();
        let set = Revocations::default().with(revocation(foreign, NOW_S)).unwrap();
        assert!(set.of_certificate(&meter).is_none(), "a serial number of another issuer");
    }

    #[test]
    fn certificates_of_an_identity_are_revoked_up_to_a_time_and_an_identity_for_good() {
        let (ca, _) = Ca::create("CA", NOW_S, DAY * 10).unwrap();
        let (old, new) = (facts(&ca, "meter", NOW_S), facts(&ca, "meter", NOW_S + 7200));
        let certificates = RevocationSubject::certificates_of("meter").unwrap();
        let set = Revocations::default().with(revocation(certificates.clone(), NOW_S)).unwrap();
        assert!(set.of_identity("meter", Some(&old)).is_some());
        assert!(set.of_identity("meter", Some(&new)).is_none(), "issued after it");
        assert!(set.of_identity("meter", None).is_none(), "a password is no certificate");
        assert!(set.of_identity("meter-2", Some(&old)).is_none());
        assert_eq!(set.certificates_until_s("meter"), Some(NOW_S));
        let identity = RevocationSubject::identity("meter").unwrap();
        let set = set.with(revocation(identity.clone(), NOW_S)).unwrap();
        assert!(set.of_identity("meter", Some(&new)).is_some() && set.of_identity("meter", None).is_some());
        assert_eq!(set.len(), 2);
        assert_eq!(set.with(revocation(identity, NOW_S + 1)).unwrap().len(), 2, "said again");
        let records: Vec<Revocation> = set
            .iter()
            .map(|one| serde_json::from_slice(&serde_json::to_vec(&**one).unwrap()).unwrap())
            .collect();
        let again = Revocations::new(records);
        assert!(again.len() == 2 && again.of_identity("meter", None).is_some());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for bad in ["", "xyz", ":", &"a".repeat(41)] {
            assert!(RevocationSubject::serial(bad, None).is_err(), "{bad:?}");
        }
        for bad in ["", "00", &"g".repeat(64)] {
            assert!(RevocationSubject::fingerprint(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "a\nb", &"a".repeat(2000)] {
            assert!(RevocationSubject::identity(bad).is_err());
        }
        assert_eq!(normal_serial("00:0A:1b"), "a1b");
        assert_eq!(normal_serial("00"), "0");
    }
}
