//! Certificates for those who ask with a request: enrolment and renewal.

use super::request::{AllowedNames, Request, RequestError};
use super::{Ca, failed};
use crate::certificate::CertificateFacts;
use crate::{Error, signed};
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, SanType, SigningKey, SubjectPublicKeyInfo};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::time::Duration;

/// What stands in front of a request when the holder of a certificate signs it to renew that certificate.
const RENEWAL: &[u8] = b"ravelin certificate renewal, version 1\0";

/// What a CA demands of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolRules {
    /// How long a certificate is valid.
    pub validity: Duration,
    /// Smallest RSA key, in bits.
    pub rsa_bits_min: u32,
    /// Alternative names that an identity may have.
    pub names: AllowedNames,
}

impl Default for EnrolRules {
    /// 30 days, RSA of 3072 bits, the identity as a DNS name.
    fn default() -> EnrolRules {
        let names = AllowedNames::default();
        EnrolRules { validity: Duration::from_secs(30 * 86_400), rsa_bits_min: 3072, names }
    }
}

/// A certificate that was issued for a request.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// The certificate, in PEM.
    pub certificate: String,
    /// What it says.
    pub facts: CertificateFacts,
}

impl Ca {
    /// A certificate of `identity` for the key of `request`. It is valid from `from_s` (seconds since the Unix epoch;
    /// the caller dates it back for clocks that are behind) to the end of the rules' validity after `now_s`, and no
    /// longer than the CA.
    pub fn enrol(
        &self,
        request: &Request,
        identity: &str,
        rules: &EnrolRules,
        from_s: u64,
        now_s: u64,
    ) -> Result<Result<Enrolled, RequestError>, Error> {
        let checked =
            request.check_key(rules.rsa_bits_min).and_then(|()| request.check_names(identity, &rules.names));
        if let Err(refused) = checked {
            return Ok(Err(refused));
        }
        let mut params = super::client_params(identity, now_s, self.capped(now_s, rules.validity)?)?;
        params.not_before = instant!(Duration::from_secs(from_s.min(now_s)));
        for name in &request.dns {
            let name = SanType::DnsName(name.as_str().try_into().map_err(failed)?);
            if !params.subject_alt_names.contains(&name) {
                params.subject_alt_names.push(name);
            }
        }
        for name in &request.uri {
            params.subject_alt_names.push(SanType::URI(name.as_str().try_into().map_err(failed)?));
        }
        for name in &request.email {
            params.subject_alt_names.push(SanType::Rfc822Name(name.as_str().try_into().map_err(failed)?));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        super::restrict(&mut params);
        let key = SubjectPublicKeyInfo::from_der(request.spki()).map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let facts = CertificateFacts::parse(certificate.der())
            .map_err(|error| Error::Certificate(format!("what was issued cannot be read: {error}")))?;
        Ok(Ok(Enrolled { certificate: certificate.pem(), facts }))
    }

    /// The validity, or what is left of the CA's own.
    fn capped(&self, now_s: u64, validity: Duration) -> Result<Duration, Error> {
        let left = self.not_after_s.saturating_sub(now_s as i64);
        match u64::try_from(left) {
            Ok(left) if left > 0 => Ok(validity.min(Duration::from_secs(left))),
            _ => Err(Error::Certificate("the CA's own certificate has expired".into())),
        }
    }

    /// Whether the holder of `certificate` (PEM or DER) has signed `request` to renew it: the certificate is of this
    /// CA and valid at `now_s`, and `signature` is one by its key over [`renewal_message`]. Gives what it says; whether
    /// it was revoked is for the caller to know.
    pub fn check_renewal(
        &self,
        certificate: &[u8],
        request: &Request,
        signature: &[u8],
        now_s: u64,
    ) -> Result<CertificateFacts, RequestError> {
        let refused = RequestError::Renewal;
        let der = match certificate.first() {
            Some(0x30) => certificate.to_vec(),
            _ => CertificateDer::from_pem_slice(certificate)
                .map_err(|_| refused("it is not a certificate in PEM or DER"))?
                .to_vec(),
        };
        let facts = CertificateFacts::parse(&der).map_err(|_| refused("it cannot be read"))?;
        let parts = signed::certificate_parts(&der).ok_or(refused("it cannot be read"))?;
        let ours = parts.issuer == self.subject
            && signed::split(&der).is_some_and(|signed| signed.is_by(&self.spki));
        if !ours {
            return Err(refused("it is not of this CA"));
        }
        if !(facts.not_before_s..=facts.not_after_s).contains(&(now_s as i64)) {
            return Err(refused("it is not valid now; enrol again"));
        }
        if !facts.is_for_clients {
            return Err(refused("it is not a client's certificate"));
        }
        if !signed::verify_any(parts.spki, &renewal_message(request), signature) {
            return Err(refused("the request is not signed by its holder"));
        }
        Ok(facts)
    }
}

/// What the holder of a certificate signs to renew it.
pub fn renewal_message(request: &Request) -> Vec<u8> {
    [RENEWAL, request.der()].concat()
}

/// Signs `request` with the key of the certificate that is to be renewed (PEM).
pub fn sign_renewal(key: &str, request: &Request) -> Result<Vec<u8>, Error> {
    let key = KeyPair::from_pem(key).map_err(failed)?;
    SigningKey::sign(&key, &renewal_message(request)).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::{DAY, new_request};
    use super::*;
    use crate::certificate::KeyType;
    use crate::{IdentityFrom, Trust};
    use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa};
    use rustls::pki_types::UnixTime;

    const NOW_S: u64 = 1_800_000_000;

    fn ca() -> Ca {
        Ca::create("CA", NOW_S, DAY * 100).unwrap().0
    }

    fn request(edit: impl FnOnce(&mut CertificateParams), key: &KeyPair) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "meter-7");
        edit(&mut params);
        params.serialize_request(key).unwrap().der().to_vec()
    }

    fn p256() -> KeyPair {
        KeyPair::generate().unwrap()
    }

    #[test]
    fn a_request_becomes_a_short_lived_certificate_that_tls_accepts() {
        let ca = ca();
        let (key, pem) = new_request("meter-7").unwrap();
        let parsed = Request::parse(pem.as_bytes()).unwrap();
        assert_eq!(Request::parse(parsed.der()).unwrap(), parsed, "PEM and DER");
        let from_s = NOW_S - 3600;
        let enrolled = ca.enrol(&parsed, "meter-7", &EnrolRules::default(), from_s, NOW_S).unwrap().unwrap();
        let facts = &enrolled.facts;
        assert_eq!(&*facts.identity(IdentityFrom::CommonName).unwrap(), "meter-7");
        assert_eq!((facts.not_before_s, facts.not_after_s), (from_s as i64, (NOW_S + 30 * 86_400) as i64));
        assert_eq!((facts.key.kind, facts.key.bits), (KeyType::EcdsaP256, 256));
        assert!(facts.serial.len() >= 30 && facts.is_for_clients);
        let der = CertificateDer::from_pem_slice(enrolled.certificate.as_bytes()).unwrap();
        let root = CertificateDer::from_pem_slice(ca.certificate().as_bytes()).unwrap();
        let trust = Trust::new(vec![root], Vec::new(), "ca").unwrap();
        assert!(trust.accepts(&[der], UnixTime::since_unix_epoch(Duration::from_secs(NOW_S))));
        // No longer than the CA itself.
        let long = EnrolRules { validity: DAY * 1000, ..EnrolRules::default() };
        let enrolled = ca.enrol(&parsed, "meter-7", &long, NOW_S, NOW_S).unwrap().unwrap();
        assert_eq!(enrolled.facts.not_after_s, ca.not_after_s);
        assert!(
            ca.enrol(&parsed, "meter-7", &long, NOW_S, NOW_S + 101 * 86_400).is_err(),
            "the CA has expired"
        );
        drop(key);
    }

    #[test]
    fn who_does_not_have_the_key_gets_no_certificate() {
        let der = request(|_| {}, &p256());
        for at in 0..der.len() {
            let mut altered = der.clone();
            altered[at] ^= 1;
            assert!(Request::parse(&altered).is_err(), "byte {at}");
            assert!(Request::parse(&der[..at]).is_err());
        }
        assert_eq!(Request::parse(&[&der[..], b"x"].concat()), Err(RequestError::Malformed));
        assert_eq!(Request::parse(&vec![0x30; REQUEST_MAX + 1]), Err(RequestError::Malformed));
    }
    const REQUEST_MAX: usize = super::super::REQUEST_BYTES_MAX;

    #[test]
    fn weak_keys_are_refused() {
        let rules = EnrolRules::default();
        let openssl = |args: &[&str]| {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("csr");
            let mut command = std::process::Command::new("openssl");
            command.args(["req", "-new", "-nodes", "-subj", "/CN=meter-7", "-keyout", "/dev/null", "-out"]);
            assert!(command.arg(&path).args(args).output().unwrap().status.success(), "{args:?}");
            std::fs::read(path).unwrap()
        };
        for (args, good) in [
            (&["-newkey", "rsa:1024"][..], false),
            (&["-newkey", "rsa:2048"], false),
            (&["-newkey", "rsa:3072"], true),
            (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"], true),
            (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp521r1"], false),
            (&["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp256k1"], false),
            (&["-newkey", "ed25519"], true),
            (&["-newkey", "rsa:3072", "-sha1"], false),
        ] {
            let issued = Request::parse(&openssl(args))
                .and_then(|request| ca().enrol(&request, "meter-7", &rules, NOW_S, NOW_S).unwrap());
            assert_eq!(issued.is_ok(), good, "{args:?}: {:?}", issued.err());
        }
        let lower = EnrolRules { rsa_bits_min: 1024, ..rules };
        let weak = Request::parse(&openssl(&["-newkey", "rsa:2047"]));
        assert!(
            weak.and_then(|request| ca().enrol(&request, "meter-7", &lower, NOW_S, NOW_S).unwrap()).is_err()
        );
    }

    #[test]
    fn a_requester_gets_no_name_and_no_power_that_is_not_its_own() {
        let ca = ca();
        let names = AllowedNames { uri: vec!["urn:plant:%u".into()], ..AllowedNames::default() };
        let rules = EnrolRules { names, ..EnrolRules::default() };
        let dns = |name: &str| SanType::DnsName(name.try_into().unwrap());
        let uri = |name: &str| SanType::URI(name.try_into().unwrap());
        type Edit = Box<dyn FnOnce(&mut CertificateParams)>;
        let bad: Vec<Edit> = vec![
            Box::new(move |p| p.subject_alt_names.push(dns("meter-8"))),
            Box::new(move |p| p.subject_alt_names.push(dns("*"))),
            Box::new(move |p| p.subject_alt_names.push(uri("urn:plant:meter-8"))),
            Box::new(|p| p.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()))),
            Box::new(|p| p.subject_alt_names.push(SanType::Rfc822Name("a@b".try_into().unwrap()))),
            Box::new(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
            Box::new(|p| p.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign]),
            Box::new(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            Box::new(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning]),
            Box::new(|p| p.distinguished_name.push(DnType::CommonName, "meter-8")),
        ];
        for (at, edit) in bad.into_iter().enumerate() {
            let issued = Request::parse(&request(edit, &p256()))
                .and_then(|request| ca.enrol(&request, "meter-7", &rules, NOW_S, NOW_S).unwrap());
            assert!(issued.is_err(), "case {at}");
        }
        let good = request(
            |p| {
                p.subject_alt_names = vec![dns("meter-7"), uri("urn:plant:meter-7")];
                p.distinguished_name.push(DnType::OrganizationName, "Operations");
                p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            },
            &p256(),
        );
        let request = Request::parse(&good).unwrap();
        let issued = ca.enrol(&request, "meter-7", &rules, NOW_S, NOW_S).unwrap().unwrap();
        assert_eq!(issued.facts.attributes().dns, ["meter-7"]);
        assert_eq!(issued.facts.attributes().uri, ["urn:plant:meter-7"]);
        assert_eq!(issued.facts.attributes().organization, None, "the CA does not know that");
        assert!(ca.enrol(&request, "meter-8", &rules, NOW_S, NOW_S).unwrap().is_err(), "another's name");
    }

    #[test]
    fn a_certificate_is_renewed_by_its_holder_only() {
        let (ca, other) = (ca(), Ca::create("CA", NOW_S, DAY * 10).unwrap().0);
        let now = ca.issue_client("meter-7", NOW_S, DAY).unwrap();
        let (_, pem) = new_request("meter-7").unwrap();
        let request = Request::parse(pem.as_bytes()).unwrap();
        let signature = sign_renewal(&now.key, &request).unwrap();
        let check = |certificate: &str, signature: &[u8], at_s| {
            ca.check_renewal(certificate.as_bytes(), &request, signature, at_s).map(|facts| facts.serial)
        };
        assert!(check(&now.certificate, &signature, NOW_S).is_ok());
        assert!(check(&now.certificate, &signature, NOW_S + 2 * 86_400).is_err(), "expired");
        let stranger = ca.issue_client("meter-8", NOW_S, DAY).unwrap();
        assert!(check(&now.certificate, &sign_renewal(&stranger.key, &request).unwrap(), NOW_S).is_err());
        let foreign = other.issue_client("meter-7", NOW_S, DAY).unwrap();
        assert!(check(&foreign.certificate, &sign_renewal(&foreign.key, &request).unwrap(), NOW_S).is_err());
        let server = ca.issue_server(&["meter-7".into()], NOW_S, DAY).unwrap();
        assert!(check(&server.certificate, &sign_renewal(&server.key, &request).unwrap(), NOW_S).is_err());
        // The signature is for this request.
        let (_, pem) = new_request("meter-7").unwrap();
        let second = Request::parse(pem.as_bytes()).unwrap();
        assert!(ca.check_renewal(now.certificate.as_bytes(), &second, &signature, NOW_S).is_err());
        assert!(check("", &signature, NOW_S).is_err() && check(&now.certificate, b"", NOW_S).is_err());
    }
}
