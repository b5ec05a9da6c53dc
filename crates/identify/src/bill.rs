//! The cryptographic bill of materials: CycloneDX 1.6, from real handshakes and the certificates of devices and listeners.

use crate::certificate::{Certificate, CertificateFacts, hex};
use crate::crypto::{Count, Kind};
use crate::inventory::Inventory;
use crate::time::rfc3339;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An algorithm as CycloneDX describes it.
struct Algorithm {
    name: &'static str,
    primitive: &'static str,
    parameters: &'static str,
    curve: Option<&'static str>,
    mode: Option<&'static str>,
    functions: &'static [&'static str],
    /// Classical bits, and the NIST post-quantum category (0: none).
    strength: (u16, u8),
}

#[rustfmt::skip]
const ALGORITHMS: [Algorithm; 22] = [
    Algorithm { name: "AES-128-GCM", primitive: "ae", parameters: "128", curve: None, mode: Some("gcm"), functions: &["encrypt", "decrypt", "tag"], strength: (128, 1) },
    Algorithm { name: "AES-256-GCM", primitive: "ae", parameters: "256", curve: None, mode: Some("gcm"), functions: &["encrypt", "decrypt", "tag"], strength: (256, 5) },
    Algorithm { name: "ChaCha20-Poly1305", primitive: "ae", parameters: "256", curve: None, mode: None, functions: &["encrypt", "decrypt", "tag"], strength: (256, 5) },
    Algorithm { name: "SHA-256", primitive: "hash", parameters: "256", curve: None, mode: None, functions: &["digest"], strength: (128, 2) },
    Algorithm { name: "SHA-384", primitive: "hash", parameters: "384", curve: None, mode: None, functions: &["digest"], strength: (192, 4) },
    Algorithm { name: "X25519", primitive: "key-agree", parameters: "255", curve: Some("Curve25519"), mode: None, functions: &["keygen", "keyderive"], strength: (128, 0) },
    Algorithm { name: "ECDH-P-256", primitive: "key-agree", parameters: "256", curve: Some("P-256"), mode: None, functions: &["keygen", "keyderive"], strength: (128, 0) },
    Algorithm { name: "ECDH-P-384", primitive: "key-agree", parameters: "384", curve: Some("P-384"), mode: None, functions: &["keygen", "keyderive"], strength: (192, 0) },
    Algorithm { name: "ECDH-P-521", primitive: "key-agree", parameters: "521", curve: Some("P-521"), mode: None, functions: &["keygen", "keyderive"], strength: (256, 0) },
    Algorithm { name: "X25519MLKEM768", primitive: "combiner", parameters: "768", curve: Some("Curve25519"), mode: None, functions: &["keygen", "encapsulate", "decapsulate"], strength: (192, 3) },
    Algorithm { name: "SecP256r1MLKEM768", primitive: "combiner", parameters: "768", curve: Some("P-256"), mode: None, functions: &["keygen", "encapsulate", "decapsulate"], strength: (192, 3) },
    Algorithm { name: "ML-KEM-768", primitive: "kem", parameters: "768", curve: None, mode: None, functions: &["keygen", "encapsulate", "decapsulate"], strength: (192, 3) },
    Algorithm { name: "ML-KEM-1024", primitive: "kem", parameters: "1024", curve: None, mode: None, functions: &["keygen", "encapsulate", "decapsulate"], strength: (256, 5) },
    Algorithm { name: "RSA", primitive: "signature", parameters: "", curve: None, mode: None, functions: &["sign", "verify"], strength: (112, 0) },
    Algorithm { name: "ECDSA-P-256", primitive: "signature", parameters: "256", curve: Some("P-256"), mode: None, functions: &["sign", "verify"], strength: (128, 0) },
    Algorithm { name: "ECDSA-P-384", primitive: "signature", parameters: "384", curve: Some("P-384"), mode: None, functions: &["sign", "verify"], strength: (192, 0) },
    Algorithm { name: "ECDSA-P-521", primitive: "signature", parameters: "521", curve: Some("P-521"), mode: None, functions: &["sign", "verify"], strength: (256, 0) },
    Algorithm { name: "Ed25519", primitive: "signature", parameters: "255", curve: Some("Curve25519"), mode: None, functions: &["sign", "verify"], strength: (128, 0) },
    Algorithm { name: "ecdsa-with-SHA256", primitive: "signature", parameters: "256", curve: None, mode: None, functions: &["sign", "verify"], strength: (128, 0) },
    Algorithm { name: "ecdsa-with-SHA384", primitive: "signature", parameters: "384", curve: None, mode: None, functions: &["sign", "verify"], strength: (192, 0) },
    Algorithm { name: "sha256WithRSAEncryption", primitive: "signature", parameters: "256", curve: None, mode: None, functions: &["sign", "verify"], strength: (112, 0) },
    Algorithm { name: "sha384WithRSAEncryption", primitive: "signature", parameters: "384", curve: None, mode: None, functions: &["sign", "verify"], strength: (112, 0) },
];

/// Cipher suites by their IANA names: the two bytes of the registry.
const SUITES: [(&str, [u8; 2]); 9] = [
    ("TLS_AES_128_GCM_SHA256", [0x13, 0x01]),
    ("TLS_AES_256_GCM_SHA384", [0x13, 0x02]),
    ("TLS_CHACHA20_POLY1305_SHA256", [0x13, 0x03]),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", [0xC0, 0x2B]),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", [0xC0, 0x2C]),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", [0xC0, 0x2F]),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", [0xC0, 0x30]),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", [0xCC, 0xA8]),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", [0xCC, 0xA9]),
];

/// The algorithms that a cipher suite names.
fn algorithms_of(suite: &str) -> Vec<&'static str> {
    let parts = [
        ("AES_128_GCM", "AES-128-GCM"),
        ("AES_256_GCM", "AES-256-GCM"),
        ("CHACHA20_POLY1305", "ChaCha20-Poly1305"),
    ];
    let hashes = [("_SHA256", "SHA-256"), ("_SHA384", "SHA-384")];
    let cipher = parts.iter().filter(|(part, _)| suite.contains(part));
    let hash = hashes.iter().filter(|(end, _)| suite.ends_with(end));
    cipher.chain(hash).map(|(_, name)| *name).collect()
}

/// The algorithm of a key exchange group.
fn algorithm_of_group(group: &str) -> &str {
    match group {
        "secp256r1" => "ECDH-P-256",
        "secp384r1" => "ECDH-P-384",
        "secp521r1" => "ECDH-P-521",
        "MLKEM768" => "ML-KEM-768",
        "MLKEM1024" => "ML-KEM-1024",
        other => other,
    }
}

fn algorithm_ref(name: &str) -> String {
    format!("algorithm/{name}")
}

/// The document while it is made.
#[derive(Default)]
struct Bill {
    /// Algorithms that are referred to, and how often they were used.
    algorithms: BTreeMap<String, u64>,
    components: Vec<Value>,
    dependencies: Vec<Value>,
}

impl Inventory {
    /// The cryptographic bill of materials: a CycloneDX 1.6 document. `version` is that of the software, `now_ms` the time of the
    /// document in milliseconds since the Unix epoch.
    pub fn cbom(&self, version: &str, now_ms: u64) -> Value {
        let mut bill = Bill::default();
        self.protocols(&mut bill);
        let certificates = self.certificates();
        let left_out = certificates.len().saturating_sub(self.settings.limits.bill_certificates_max);
        for (facts, holders) in certificates.into_values().take(self.settings.limits.bill_certificates_max) {
            bill.certificate(&facts, &holders);
        }
        let Bill { algorithms, mut components, dependencies } = bill;
        components.extend(algorithms.iter().map(|(name, uses)| algorithm(name, *uses)));
        let property =
            |name: &str, value: String| json!({ "name": format!("ravelin:{name}"), "value": value });
        json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "timestamp": rfc3339(i64::try_from(now_ms / 1000).unwrap_or(i64::MAX)),
                "tools": { "components": [{ "type": "application", "name": "ravelin", "version": version }] },
                "component": {
                    "type": "application",
                    "bom-ref": "node",
                    "name": self.places().node.as_str(),
                    "version": version,
                },
                "properties": [
                    property("counted-since", rfc3339(i64::from(self.since_s))),
                    property("handshakes-not-told-apart", self.handshakes.others.to_string()),
                    property("certificates-left-out", left_out.to_string()),
                ],
            },
            "components": components,
            "dependencies": dependencies,
        })
    }

    /// Every certificate once, in the order of their expiry: with the devices and listeners that have it.
    fn certificates(&self) -> BTreeMap<(i64, String), (CertificateFacts, Vec<String>)> {
        let mut found = BTreeMap::new();
        let mut add = |facts: CertificateFacts, holder: Option<String>| {
            let key = (facts.not_after_s, facts.fingerprint.clone());
            let entry = found.entry(key).or_insert_with(|| (facts, Vec::new()));
            entry.1.extend(holder);
        };
        for facts in self.handshakes.own.values() {
            add(facts.clone(), Some("the node".into()));
        }
        for (key, device) in &self.devices {
            if let Some(certificate) = &device.certificate {
                add(CertificateFacts::from(&**certificate as &Certificate), Some(key.to_string()));
            }
        }
        found
    }

    fn protocols(&self, bill: &mut Bill) {
        let mut versions: BTreeMap<&str, Vec<(&Kind, &Count)>> = BTreeMap::new();
        for (kind, count) in &self.handshakes.kinds {
            versions.entry(&kind.version).or_default().push((kind, count));
        }
        for (version, kinds) in versions {
            let mut suites: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
            let (mut refs, mut properties) = (BTreeSet::new(), Vec::new());
            for (kind, count) in kinds {
                let uses = count.full.saturating_add(count.resumed);
                let suite = suites.entry(&kind.suite).or_default();
                *suite = (suite.0.saturating_add(count.full), suite.1.saturating_add(count.resumed));
                for name in algorithms_of(&kind.suite)
                    .into_iter()
                    .chain(kind.group.as_deref().map(algorithm_of_group))
                {
                    refs.insert(bill.uses(name, uses));
                }
                let group = kind.group.as_deref().unwrap_or("none");
                let name = format!("ravelin:handshakes:{}:{}:{group}", kind.listener, kind.suite);
                let value =
                    format!("{} full, {} resumed, last {}", count.full, count.resumed, rfc3339(count.last_s));
                properties.push(json!({ "name": name, "value": value }));
            }
            let reference = format!("protocol/tls-{version}");
            bill.dependencies.push(json!({ "ref": reference, "dependsOn": refs }));
            bill.components.push(json!({
                "type": "cryptographic-asset",
                "bom-ref": reference,
                "name": format!("TLS {version}"),
                "cryptoProperties": {
                    "assetType": "protocol",
                    "protocolProperties": {
                        "type": "tls",
                        "version": version,
                        "cipherSuites": suites.keys().map(|suite| cipher_suite(suite)).collect::<Vec<_>>(),
                        "cryptoRefArray": refs,
                    },
                },
                "properties": properties,
            }));
        }
    }
}

impl Bill {
    /// Notes that an algorithm is used; the reference to it.
    fn uses(&mut self, name: &str, times: u64) -> String {
        let uses = self.algorithms.entry(name.to_owned()).or_default();
        *uses = uses.saturating_add(times);
        algorithm_ref(name)
    }

    fn certificate(&mut self, facts: &CertificateFacts, holders: &[String]) {
        let reference = format!("certificate/{}", facts.fingerprint);
        let key_reference = format!("key/{}", facts.fingerprint);
        let signature = self.uses(&facts.signature, 1);
        let key_algorithm = self.uses(facts.key.as_str(), 1);
        self.dependencies.push(json!({ "ref": reference, "dependsOn": [signature, key_reference] }));
        self.dependencies.push(json!({ "ref": key_reference, "dependsOn": [key_algorithm] }));
        let shown = holders.iter().take(HOLDERS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
        self.components.push(json!({
            "type": "cryptographic-asset",
            "bom-ref": reference,
            "name": facts.subject,
            "hashes": [{ "alg": "SHA-256", "content": facts.fingerprint }],
            "cryptoProperties": {
                "assetType": "certificate",
                "certificateProperties": {
                    "subjectName": facts.subject,
                    "issuerName": facts.issuer,
                    "notValidBefore": rfc3339(facts.not_before_s),
                    "notValidAfter": rfc3339(facts.not_after_s),
                    "signatureAlgorithmRef": signature,
                    "subjectPublicKeyRef": key_reference,
                    "certificateFormat": "X.509",
                },
            },
            "properties": [
                { "name": "ravelin:serial-number", "value": facts.serial },
                { "name": "ravelin:holders", "value": holders.len().to_string() },
                { "name": "ravelin:held-by", "value": shown },
            ],
        }));
        self.components.push(json!({
            "type": "cryptographic-asset",
            "bom-ref": key_reference,
            "name": format!("public key of {}", facts.subject),
            "cryptoProperties": {
                "assetType": "related-crypto-material",
                "relatedCryptoMaterialProperties": {
                    "type": "public-key",
                    "id": facts.fingerprint,
                    "size": facts.key_bits,
                    "algorithmRef": key_algorithm,
                },
            },
        }));
    }
}

/// Holders of one certificate that are named: more than one is a finding already.
const HOLDERS_SHOWN: usize = 16;

fn cipher_suite(name: &str) -> Value {
    let algorithms: Vec<String> = algorithms_of(name).into_iter().map(algorithm_ref).collect();
    let mut suite = json!({ "name": name, "algorithms": algorithms });
    if let Some((_, bytes)) = SUITES.iter().find(|(known, _)| *known == name) {
        suite["identifiers"] = json!(bytes.map(|byte| format!("0x{}", hex(&[byte]).to_uppercase())));
    }
    suite
}

fn algorithm(name: &str, uses: u64) -> Value {
    let mut properties = json!({ "primitive": "other" });
    if let Some(known) = ALGORITHMS.iter().find(|known| known.name == name) {
        properties = json!({
            "primitive": known.primitive,
            "executionEnvironment": "software-plain-ram",
            "cryptoFunctions": known.functions,
            "classicalSecurityLevel": known.strength.0,
            "nistQuantumSecurityLevel": known.strength.1,
        });
        if !known.parameters.is_empty() {
            properties["parameterSetIdentifier"] = known.parameters.into();
        }
        for (field, value) in [("curve", known.curve), ("mode", known.mode)] {
            if let Some(value) = value {
                properties[field] = value.into();
            }
        }
    }
    json!({
        "type": "cryptographic-asset",
        "bom-ref": algorithm_ref(name),
        "name": name,
        "cryptoProperties": { "assetType": "algorithm", "algorithmProperties": properties },
        "properties": [{ "name": "ravelin:uses", "value": uses.to_string() }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::KeyKind;

    #[test]
    fn every_suite_is_taken_apart() {
        for (suite, _) in SUITES {
            let algorithms = algorithms_of(suite);
            assert_eq!(algorithms.len(), 2, "{suite}: {algorithms:?}");
            for name in algorithms {
                assert!(ALGORITHMS.iter().any(|known| known.name == name), "{name}");
            }
        }
        for kind in [KeyKind::Rsa, KeyKind::EcP256, KeyKind::EcP384, KeyKind::EcP521, KeyKind::Ed25519] {
            assert!(ALGORITHMS.iter().any(|known| known.name == kind.as_str()), "{kind:?}");
        }
    }
}
