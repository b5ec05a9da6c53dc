//! What the verification of a token costs, by algorithm: `cargo run --release -p ravelin-protect --example token_bench`.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ravelin_protect::jwt::{Algorithm, ClaimNames, Issuer, IssuerSettings, KeyCell, KeySet};
use serde_json::{Value, json};

const NOW_S: u64 = 1_800_000_000;
const ROUNDS: u32 = 5_000;

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Processor time of this thread, in nanoseconds: the machine may have other things to do.
fn cpu_ns() -> Result<f64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/schedstat")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let random = SystemRandom::new();
    let p256 = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)?;
    let ed25519 = Ed25519KeyPair::generate()?;
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048)?;
    let (x, y) = p256.public_key().as_ref()[1..].split_at(32);
    let n = rsa.public_key().modulus().big_endian_without_leading_zero().to_vec();
    let set = json!({"keys": [
        {"kty": "EC", "crv": "P-256", "kid": "ES256", "x": base64url(x), "y": base64url(y)},
        {"kty": "OKP", "crv": "Ed25519", "kid": "EdDSA", "x": base64url(ed25519.public_key())},
        {"kty": "RSA", "kid": "RS256", "n": base64url(n), "e": "AQAB"},
    ]});
    let keys = KeyCell::default();
    keys.set(KeySet::parse(set.to_string().as_bytes())?, NOW_S);
    let settings = IssuerSettings {
        issuer: "id".into(),
        audience: vec!["bus".into()],
        algorithms: Algorithm::ALL.into(),
        leeway_s: 0,
        lifetime_max_s: 3600,
        keys_url: None,
        keys_age_max_s: 0,
        claims: ClaimNames::default(),
    };
    let issuers = [Issuer::new(settings, keys)];
    for algorithm in ["ES256", "EdDSA", "RS256"] {
        let part = |value: Value| base64url(value.to_string());
        let claims = json!({"iss": "id", "aud": "bus", "sub": "meter-7", "exp": NOW_S + 600});
        let signed = format!("{}.{}", part(json!({"alg": algorithm, "kid": algorithm})), part(claims));
        let bytes = match algorithm {
            "ES256" => p256.sign(&random, signed.as_bytes())?.as_ref().to_vec(),
            "EdDSA" => ed25519.sign(signed.as_bytes()).as_ref().to_vec(),
            _ => {
                let mut bytes = vec![0; rsa.public_modulus_len()];
                rsa.sign(&signature::RSA_PKCS1_SHA256, &random, signed.as_bytes(), &mut bytes)?;
                bytes
            }
        };
        let token = format!("{signed}.{}", base64url(bytes));
        let started_ns = cpu_ns()?;
        for _ in 0..ROUNDS {
            Issuer::verify(&issuers, token.as_bytes(), NOW_S)?;
        }
        println!("{algorithm}: {:.1} us", (cpu_ns()? - started_ns) / 1e3 / f64::from(ROUNDS));
    }
    Ok(())
}
