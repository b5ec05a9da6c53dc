//! Tokens: what is accepted, and every way in which one is not.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaEncoding};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ravelin_protect::jwt::{
    Algorithm, ClaimNames, Claims, Freshness, Issuer, IssuerSettings, KeyCell, KeySet, KeySetError,
    TokenError, looks_like_token,
};
use serde_json::{Value, json};
use std::sync::OnceLock;

const NOW_S: u64 = 1_800_000_000;

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A provider with one key of each type.
struct Provider {
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    rsa: RsaKeyPair,
}

fn provider() -> &'static Provider {
    static ONE: OnceLock<Provider> = OnceLock::new();
    ONE.get_or_init(|| Provider {
        p256: EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        p384: EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
        ed25519: Ed25519KeyPair::generate().unwrap(),
        rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    })
}

impl Provider {
    fn jwks(&self) -> Value {
        let point = |key: &EcdsaKeyPair, kid: &str, crv: &str| {
            let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
            json!({"kty": "EC", "kid": kid, "crv": crv, "use": "sig", "x": base64url(x), "y": base64url(y)})
        };
        json!({"keys": [
            point(&self.p256, "p256", "P-256"),
            point(&self.p384, "p384", "P-384"),
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": base64url(self.ed25519.public_key())},
            self.rsa_jwk(),
            {"kty": "EC", "crv": "secp256k1", "kid": "other", "x": "AA", "y": "AA"},
            {"kty": "RSA", "use": "enc", "kid": "enc", "n": "AA", "e": "AQAB"},
        ]})
    }

    fn rsa_jwk(&self) -> Value {
        let public = self.rsa.public_key();
        let n = public.modulus().big_endian_without_leading_zero().to_vec();
        let e = public.exponent().big_endian_without_leading_zero().to_vec();
        json!({"kty": "RSA", "kid": "rsa", "n": base64url(n), "e": base64url(e)})
    }

    fn sign(&self, algorithm: &str, signed: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |encoding: &'static dyn RsaEncoding| {
            let mut out = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(encoding, &random, signed, &mut out).unwrap();
            out
        };
        match algorithm {
            "ES256" => self.p256.sign(&random, signed).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, signed).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed25519.sign(signed).as_ref().to_vec(),
            "RS256" => rsa(&signature::RSA_PKCS1_SHA256),
            "RS384" => rsa(&signature::RSA_PKCS1_SHA384),
            "RS512" => rsa(&signature::RSA_PKCS1_SHA512),
            "PS256" => rsa(&signature::RSA_PSS_SHA256),
            "PS384" => rsa(&signature::RSA_PSS_SHA384),
            "PS512" => rsa(&signature::RSA_PSS_SHA512),
            other => panic!("{other}"),
        }
    }

    fn kid(algorithm: &str) -> &'static str {
        match algorithm {
            "ES256" => "p256",
            "ES384" => "p384",
            "EdDSA" => "ed",
            _ => "rsa",
        }
    }

    /// A token with this header and these claims, as text, signed as `algorithm` says.
    fn token_of(&self, algorithm: &str, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", base64url(header), base64url(claims));
        format!("{signed}.{}", base64url(self.sign(algorithm, signed.as_bytes())))
    }

    fn token(&self, algorithm: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": Provider::kid(algorithm)});
        self.token_of(algorithm, &header.to_string(), &claims.to_string())
    }
}

fn settings() -> IssuerSettings {
    IssuerSettings {
        issuer: "https://id.plant".into(),
        audience: vec!["ravelin".into(), "bus".into()],
        algorithms: Algorithm::ALL.to_vec(),
        leeway_s: 30,
        lifetime_max_s: 3600,
        keys_url: Some("https://id.plant/jwks.json".into()),
        keys_age_max_s: 600,
        claims: ClaimNames::default(),
    }
}

fn issuer_with(settings: IssuerSettings) -> Issuer {
    let keys = KeyCell::default();
    keys.set(KeySet::parse(provider().jwks().to_string().as_bytes()).unwrap(), NOW_S);
    Issuer::new(settings, keys)
}

fn good() -> Value {
    json!({"iss": "https://id.plant", "aud": "ravelin", "sub": "meter-7", "iat": NOW_S, "exp": NOW_S + 600})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn verify(token: &str) -> Result<Claims, TokenError> {
    Issuer::verify(&[issuer_with(settings())], token.as_bytes(), NOW_S).map(|(claims, _)| claims)
}

#[test]
fn every_algorithm_verifies_its_own_signature_and_no_other() {
    for algorithm in Algorithm::ALL {
        let name = algorithm.name();
        let token = provider().token(name, &good());
        let claims = verify(&token).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((claims.identity.as_str(), claims.until_s), ("meter-7", NOW_S + 630));
        // One bit of the signature, of the payload, and another name for the algorithm.
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        bytes[7] ^= 1;
        assert_eq!(verify(&format!("{signed}.{}", base64url(&bytes))), Err(TokenError::Signature), "{name}");
        assert_eq!(verify(&format!("{signed}.")), Err(TokenError::Signature), "{name}");
        let header = token.split('.').next().unwrap();
        let other = base64url(with("sub", json!("operator")).to_string());
        assert_eq!(verify(&format!("{header}.{other}.{signature}")), Err(TokenError::Signature), "{name}");
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            let header = json!({"alg": other.name(), "kid": Provider::kid(name)}).to_string();
            let token = provider().token_of(name, &header, &good().to_string());
            assert!(
                matches!(verify(&token), Err(TokenError::Signature | TokenError::UnknownKey)),
                "{name} as {}",
                other.name()
            );
        }
        // And one that is not on the list.
        let algorithms = Algorithm::ALL.into_iter().filter(|other| *other != algorithm).collect();
        let strict = issuer_with(IssuerSettings { algorithms, ..settings() });
        assert_eq!(Issuer::verify(&[strict], token.as_bytes(), NOW_S).err(), Some(TokenError::Algorithm));
    }
}

/// RFC 7515, appendix A.3, and RFC 8037, appendix A.4: other people's signatures.
#[test]
fn the_vectors_of_the_standards_verify() {
    let key = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                  "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let token = "eyJhbGciOiJFUzI1NiJ9.\
                 eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.\
                 DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let keys = KeyCell::default();
    keys.set(KeySet::parse(key.as_bytes()).unwrap(), 1_300_819_000);
    let joe = Issuer::new(IssuerSettings { issuer: "joe".into(), ..settings() }, keys);
    let verify =
        |token: &str| Issuer::verify(std::slice::from_ref(&joe), token.as_bytes(), 1_300_819_000).err();
    // It has no audience, so it is refused: after its signature was found right.
    assert_eq!(verify(token), Some(TokenError::Audience));
    assert_eq!(verify(&token.replace("DtEh", "DtEi")), Some(TokenError::Signature));
}

#[test]
fn none_and_shared_secrets_are_no_algorithms() {
    let claims = good().to_string();
    for algorithm in ["none", "None", "nOnE", "", "HS256", "HS384", "HS512", "rs256", "ES256K", "ES512"] {
        let header = json!({"alg": algorithm}).to_string();
        let unsigned = format!("{}.{}.", base64url(&header), base64url(&claims));
        assert_eq!(verify(&unsigned), Err(TokenError::Algorithm), "{algorithm}");
        // The classic: HMAC with the public key, which everyone has.
        let key = aws_lc_rs::hmac::Key::new(
            aws_lc_rs::hmac::HMAC_SHA256,
            provider().rsa_jwk()["n"].as_str().unwrap().as_bytes(),
        );
        let signed = unsigned.trim_end_matches('.');
        let tag = aws_lc_rs::hmac::sign(&key, signed.as_bytes());
        assert_eq!(
            verify(&format!("{signed}.{}", base64url(tag))),
            Err(TokenError::Algorithm),
            "{algorithm}"
        );
    }
}

#[test]
fn a_header_cannot_bring_its_own_key_or_rules() {
    let provider = provider();
    let own = Provider {
        p256: EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
        p384: EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
        ed25519: Ed25519KeyPair::generate().unwrap(),
        rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    };
    let jwk = own.jwks()["keys"][0].clone();
    for header in [
        json!({"alg": "ES256", "kid": "p256", "jwk": jwk}),
        json!({"alg": "ES256", "kid": "p256", "jku": "https://evil.example/jwks"}),
        json!({"alg": "ES256", "kid": "p256", "x5c": ["AAAA"]}),
    ] {
        let token = own.token_of("ES256", &header.to_string(), &good().to_string());
        assert_eq!(verify(&token), Err(TokenError::Signature), "{header}");
    }
    for (header, error) in [
        (r#"{"alg":"ES256","kid":"p256","crit":["exp"],"exp":1}"#, TokenError::Critical),
        (r#"{"alg":"ES256","kid":"p256","b64":false}"#, TokenError::Critical),
        (r#"{"alg":"ES256","alg":"ES256","kid":"p256"}"#, TokenError::Duplicate),
        (r#"{"kid":"p256"}"#, TokenError::Malformed("the header has no `alg`")),
        (r#"{"alg":7}"#, TokenError::Malformed("a member of the header is not a string")),
        (
            r#"{"alg":"ES256","kid":"p256","typ":"logout+jwt"}"#,
            TokenError::Malformed("its type is not that of a token for access"),
        ),
        (r#"{"alg":"ES256","kid":"gone"}"#, TokenError::UnknownKey),
        (r#"{"alg":"ES256","kid":"ed"}"#, TokenError::UnknownKey),
    ] {
        let token = provider.token_of("ES256", header, &good().to_string());
        assert_eq!(verify(&token), Err(error), "{header}");
    }
    // Without a name, the only key that fits is meant.
    let token = provider.token_of("ES256", r#"{"alg":"ES256"}"#, &good().to_string());
    assert!(verify(&token).is_ok());
}

#[test]
fn what_is_no_token_is_refused_and_told_from_a_password() {
    let good = provider().token("ES256", &good());
    assert!(looks_like_token(good.as_bytes()));
    for password in ["", "correct horse", "a.b.c", "eyJ", "eyJ.a", "eyJ.a.b.c"] {
        assert!(!looks_like_token(password.as_bytes()), "{password}");
        assert!(matches!(verify(password), Err(TokenError::Malformed(_))), "{password}");
    }
    let parts: Vec<&str> = good.split('.').collect();
    for bad in [
        format!("{}.{}", parts[0], parts[1]),
        format!("{good}.x"),
        format!("{good}="),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{}.{}.{}", parts[0], "!", parts[2]),
        format!("{}.{}.{}", base64url("[]"), parts[1], parts[2]),
        format!("{}.{}.{}", base64url("{\"alg\":\"ES256\"} x"), parts[1], parts[2]),
    ] {
        assert!(matches!(verify(&bad), Err(TokenError::Malformed(_))), "{bad}");
    }
    assert_eq!(verify(&format!("eyJ{}.a.b", "A".repeat(20_000))), Err(TokenError::TooLong));
    let twice =
        r#"{"iss":"https://id.plant","aud":"ravelin","sub":"meter-7","exp":1800000600,"sub":"operator"}"#;
    let token = provider().token_of("ES256", r#"{"alg":"ES256","kid":"p256"}"#, twice);
    assert_eq!(verify(&token), Err(TokenError::Duplicate));
}

#[test]
fn claims_of_time_and_place_are_demanded() {
    let claim = |name: &str, what| TokenError::Claim { name: name.into(), what };
    for (claims, error) in [
        (without("iss"), claim("iss", "is missing")),
        (without("aud"), TokenError::Audience),
        (without("exp"), claim("exp", "is missing")),
        (without("sub"), claim("sub", "is missing")),
        (with("iss", json!("https://evil.example")), TokenError::Issuer),
        (with("iss", json!("https://id.plant/")), TokenError::Issuer),
        (with("iss", json!(["https://id.plant"])), claim("iss", "is not a string")),
        (with("aud", json!("Ravelin")), TokenError::Audience),
        (with("aud", json!([])), TokenError::Audience),
        (with("aud", json!({"ravelin": 1})), claim("aud", "is not a list of strings")),
        (with("aud", json!(vec!["x"; 1000])), claim("aud", "names too many")),
        (with("exp", json!(NOW_S - 30)), TokenError::Expired),
        (with("exp", json!(0)), TokenError::Expired),
        (with("exp", json!("1800000600")), claim("exp", "is not a time in seconds")),
        (with("exp", json!(-1)), claim("exp", "is not a time in seconds")),
        (with("exp", json!(1e300)), claim("exp", "is not a time in seconds")),
        (with("exp", json!(u64::MAX)), claim("exp", "is not a time in seconds")),
        (with("exp", json!(null)), claim("exp", "is not a time in seconds")),
        (with("exp", json!(NOW_S + 3631)), TokenError::Lifetime),
        (with("iat", json!(NOW_S - 3100)), TokenError::Lifetime),
        (with("iat", json!(NOW_S + 31)), TokenError::NotYet),
        (with("nbf", json!(NOW_S + 31)), TokenError::NotYet),
        (with("sub", json!("")), claim("sub", "is empty")),
        (with("sub", json!(7)), claim("sub", "is not a string")),
        (with("sub", json!("+")), claim("sub", "cannot be an identity")),
        (with("sub", json!("a/#")), claim("sub", "cannot be an identity")),
        (with("sub", json!("a\u{0}b")), claim("sub", "cannot be an identity")),
        (with("sub", json!("x".repeat(300))), claim("sub", "is too long")),
    ] {
        let token = provider().token("ES256", &claims);
        assert_eq!(verify(&token), Err(error), "{claims}");
    }
    for claims in [
        with("aud", json!(["other", "bus"])),
        with("exp", json!(NOW_S - 29)),
        with("exp", json!(NOW_S as f64 + 0.5)),
        with("nbf", json!(NOW_S + 30)),
        without("iat"),
    ] {
        assert!(verify(&provider().token("ES256", &claims)).is_ok(), "{claims}");
    }
}

#[test]
fn other_claims_bind_name_and_class() {
    let names = ClaimNames {
        identity: "device".into(),
        client_id: Some("client".into()),
        class: Some("class".into()),
        groups: Some("groups".into()),
        roles: Some("roles".into()),
    };
    let issuer = issuer_with(IssuerSettings { claims: names, ..settings() });
    let verify = |claims: &Value| {
        let token = provider().token("EdDSA", claims);
        Issuer::verify(std::slice::from_ref(&issuer), token.as_bytes(), NOW_S).map(|(claims, _)| claims)
    };
    let mut claims = with("device", json!("pump"));
    let missing = TokenError::Claim { name: "client".into(), what: "is missing" };
    assert_eq!(verify(&claims), Err(missing), "a claim that binds is demanded");
    claims["client"] = json!("pump-1");
    let said = verify(&claims).unwrap();
    assert_eq!(
        (said.identity.as_str(), said.client_id.as_deref(), said.class),
        ("pump", Some("pump-1"), None)
    );
    claims["class"] = json!("field");
    claims["groups"] = json!(["a", "b"]);
    claims["roles"] = json!("r");
    let said = verify(&claims).unwrap();
    assert_eq!((said.class.as_deref(), said.groups.len(), said.roles.len()), (Some("field"), 2, 1));
    claims["groups"] = json!([1]);
    assert!(verify(&claims).is_err());
}

#[test]
fn keys_that_are_missing_or_too_old_let_nobody_in() {
    let token = provider().token("ES256", &good());
    let cell = KeyCell::default();
    let issuer = Issuer::new(settings(), cell.clone());
    let verify = |now_s| Issuer::verify(std::slice::from_ref(&issuer), token.as_bytes(), now_s).map(drop);
    assert_eq!(cell.freshness(NOW_S), Freshness::Missing);
    assert_eq!(verify(NOW_S), Err(TokenError::NoKeys));
    let keys = || KeySet::parse(provider().jwks().to_string().as_bytes()).unwrap();
    assert!(cell.set(keys(), NOW_S - 600));
    assert!(!cell.set(keys(), NOW_S - 600), "the same keys again");
    assert_eq!(verify(NOW_S), Ok(()));
    assert_eq!(cell.freshness(NOW_S), Freshness::Aged(600));
    assert_eq!(verify(NOW_S + 1), Err(TokenError::NoKeys));
    // The key is gone: a fetch is asked for, once.
    let others = json!({"keys": [provider().rsa_jwk()]}).to_string();
    assert!(!cell.take_wanted());
    assert!(cell.set(KeySet::parse(others.as_bytes()).unwrap(), NOW_S));
    assert_eq!(verify(NOW_S), Err(TokenError::UnknownKey));
    assert!(cell.take_wanted() && !cell.take_wanted());
}

#[test]
fn key_sets_are_read_strictly() {
    let set = |keys: Value| KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).map(|set| set.len());
    let p256 = &provider().jwks()["keys"][0];
    let changed = |name: &str, value: Value| {
        let mut key = p256.clone();
        key[name] = value;
        json!([key])
    };
    let wrong = |result: Result<usize, KeySetError>| match result {
        Err(KeySetError::Key { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(set(json!([p256])), Ok(1));
    assert_eq!(KeySet::parse(provider().jwks().to_string().as_bytes()).unwrap().len(), 4);
    assert!(wrong(set(json!([p256, {"kty": "oct", "k": "AAAA"}]))).contains("shared secret"));
    assert!(wrong(set(changed("d", json!("AAAA")))).contains("private key"));
    assert!(wrong(set(json!([p256, p256]))).contains("same `kid`"));
    assert!(wrong(set(changed("alg", json!("RS256")))).contains("does not go with"));
    assert!(wrong(set(changed("x", json!("AAAA")))).contains("length"));
    assert!(wrong(set(changed("x", p256["y"].clone()))).contains("curve"), "not a point");
    assert!(wrong(set(changed("x", json!(7)))).contains("missing"));
    assert!(wrong(set(changed("use", json!(7)))).contains("string"));
    let rsa = |n: &[u8], e: &[u8]| json!([{"kty": "RSA", "n": base64url(n), "e": base64url(e)}]);
    let (n2048, n2047) = ([&[0x80][..], &[1; 255]].concat(), [&[0x7F][..], &[1; 255]].concat());
    assert_eq!(set(rsa(&n2048, &[1, 0, 1])), Ok(1));
    assert_eq!(set(rsa(&[&[0][..], &n2048].concat(), &[1, 0, 1])), Ok(1), "a zero in front");
    assert!(wrong(set(rsa(&n2047, &[1, 0, 1]))).contains("2048"));
    assert!(wrong(set(rsa(&[0x80; 2000], &[1, 0, 1]))).contains("2048"));
    for exponent in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[1; 5]] {
        assert!(wrong(set(rsa(&n2048, exponent))).contains("exponent"), "{exponent:?}");
    }
    assert_eq!(set(json!([])), Err(KeySetError::NoKeys));
    assert_eq!(set(json!([{"kty": "unheard of"}])), Err(KeySetError::NoKeys));
    assert!(matches!(set(json!(vec![p256; 65])), Err(KeySetError::Malformed(_))));
    for bad in ["", "{}", "[]", "{\"keys\":{}}", "{\"keys\":[],\"keys\":[]}", "<html>"] {
        assert!(matches!(KeySet::parse(bad.as_bytes()), Err(KeySetError::Malformed(_))), "{bad}");
    }
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "a".repeat(300_000));
    assert_eq!(KeySet::parse(large.as_bytes()), Err(KeySetError::TooLarge));
}
