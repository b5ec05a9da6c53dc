//! Targets for identities and rules, `ravelin-protect`.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ravelin_event::Principal;
use ravelin_protect::access::Action;
use ravelin_protect::jwt::{
    Algorithm, ClaimNames, Issuer, IssuerSettings, KEY_SET_BYTES_MAX, KeyCell, KeySet, TOKEN_BYTES_MAX,
};
use ravelin_protect::password::check_user;
use ravelin_protect::scram::{
    ClientFirst, MESSAGE_BYTES_MAX, Mechanism, ScramClient, ScramServer, ScramVerifier,
};
use ravelin_protect::*;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

/// A password file. One that is accepted can be written, and read again.
pub fn passwords(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = match PasswordFile::parse(text, "passwords") {
        Ok(file) => file,
        Err(errors) => return check_errors(&errors, text),
    };
    let written = written(&file);
    let lines = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(written.lines().count(), lines, "a line is a hash, a verifier or a secret");
    let again = PasswordFile::parse(&written, "written").expect("what was accepted is accepted again");
    assert_eq!(self::written(&again), written);
    assert!(file.user("nobody:here").is_none());
}

fn written(file: &PasswordFile) -> String {
    let mut text = String::new();
    for (name, user) in file.users() {
        assert!(check_user(name).is_ok(), "{name:?}");
        if let Some(hash) = &user.password {
            let _ = writeln!(text, "{name}:{hash}");
        }
        for verifier in Mechanism::ALL.into_iter().filter_map(|mechanism| user.scram(mechanism)) {
            let _ = writeln!(text, "{name}:{verifier}");
        }
        if let Some(totp) = &user.totp {
            let _ = writeln!(text, "{name}:{}", *totp.to_entry());
        }
    }
    text
}

/// A Client Identifier, an identity (or nothing) and a topic, each in a line, and then the access rules.
pub fn access_rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(4, '\n');
    let mut next = || parts.next().unwrap_or_default();
    let (client_id, identity, topic, text) = (next(), next(), next(), next());
    let rules = match AccessRules::parse(text, "access.rules") {
        Ok(rules) => rules,
        Err(errors) => return check_errors(&errors, text),
    };
    let mut who = Principal::anonymous(client_id);
    who.identity = (!identity.is_empty()).then(|| identity.into());
    for action in [Action::Publish, Action::Receive, Action::Subscribe] {
        let allowed = match action {
            Action::Publish => rules.may_publish(&who, topic),
            Action::Receive => rules.may_receive(&who, topic),
            Action::Subscribe => rules.may_subscribe(&who, topic),
        };
        let decision = rules.explain(&who, action, topic);
        assert_eq!(decision.allowed, allowed, "{action:?}");
        assert!(!allowed || decision.rule.is_some(), "nothing is allowed without a rule");
        if let Some(rule) = decision.rule {
            let line = text.lines().nth(rule.line - 1).unwrap_or_default();
            assert_eq!(rule.text, line.trim(), "the rule is where it says");
        }
    }
    assert!(!rules.may_publish(&who, "$SYS/broker/version"));
}

fn check_errors(errors: &FileErrors, text: &str) {
    assert!(!errors.0.is_empty() && errors.0.len() <= 100);
    for error in &errors.0 {
        let line = text.lines().nth(error.line.wrapping_sub(1)).expect("the line is in the file");
        assert!((1..=line.chars().count() + 1).contains(&error.column), "{error:?}");
        assert!(!error.what.is_empty());
    }
}

/// The user of the SCRAM targets and of their seeds.
pub const USER: &str = "user";
/// The user's password.
pub const PASSWORD: &str = "pencil";
/// The nonce of the client.
pub const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
/// What the server adds to it.
pub const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

/// What the server knows of the user.
pub fn verifier() -> Arc<ScramVerifier> {
    static VERIFIER: LazyLock<Arc<ScramVerifier>> = LazyLock::new(|| {
        let password = Secret::new(PASSWORD);
        Arc::new(
            ScramVerifier::create_with(Mechanism::Sha256, &password, &[7; 16], 4096)
                .expect("a good password and salt"),
        )
    });
    VERIFIER.clone()
}

/// What a client sends to the server, in two lines: client-first and client-final.
pub fn scram_server(data: &[u8]) {
    let (first, last) = halves(data);
    let Ok(first) = ClientFirst::parse(first) else { return };
    assert!(!first.user.is_empty() && first.user.bytes().all(|byte| (0x20..0x7F).contains(&byte)));
    let begin = |known| {
        let (server, message) = ScramServer::begin(first.clone(), verifier(), known, SERVER_NONCE)
            .expect("the nonce of the server is good");
        assert!(message.starts_with(b"r=") && message.len() <= MESSAGE_BYTES_MAX + 128);
        assert_eq!(server.user(), first.user);
        server
    };
    if let Ok(message) = begin(true).finish(last) {
        assert!(message.starts_with(b"v="));
    }
    assert!(begin(false).finish(last).is_err(), "an unknown user is let in");
}

/// What a server sends to the client, in two lines: server-first and server-final.
pub fn scram_client(data: &[u8]) {
    let (first, last) = halves(data);
    // A million iterations are legal, and too slow for here.
    let text = String::from_utf8_lossy(first);
    if text.split(",i=").nth(1).is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count > 5000)) {
        return;
    }
    let (mut client, _) = ScramClient::begin(Mechanism::Sha256, USER, Secret::new(PASSWORD), CLIENT_NONCE)
        .expect("a good user");
    let proof = client.prove(first);
    if let Ok(proof) = &proof {
        assert!(proof.starts_with(b"c=biws,r="));
        assert!(text.starts_with(&format!("r={CLIENT_NONCE}")), "another nonce than the client's");
    }
    if client.verify(last).is_ok() {
        assert!(proof.is_ok(), "a server is believed without an exchange");
    }
}

fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    (&data[..at], data.get(at + 1..).unwrap_or_default())
}

/// A client's certificate in DER form.
pub fn certificate(data: &[u8]) {
    let Ok(facts) = CertificateFacts::parse(data) else { return };
    assert_eq!(facts.fingerprint.len(), 64);
    assert_eq!(CertificateFacts::parse(data).as_ref(), Ok(&facts));
    for from in [IdentityFrom::CommonName, IdentityFrom::SanDns, IdentityFrom::SanUri, IdentityFrom::SanEmail]
    {
        let Ok(identity) = facts.identity(from) else { continue };
        assert!(!identity.contains(['+', '#']) && !identity.contains(char::is_control), "{identity:?}");
        assert!(from == IdentityFrom::SanUri || check_identity(&identity).is_ok(), "{identity:?}");
    }
}

/// A request for a certificate, PKCS#10 in PEM or DER. One that is read proves its key, and reads the same from its DER.
pub fn certificate_request(data: &[u8]) {
    let Ok(request) = pki::Request::parse(data) else { return };
    assert_eq!(pki::Request::parse(request.der()).as_ref(), Ok(&request));
    let rules = pki::EnrolRules::default();
    if request.check_names("meter-7", &rules.names).is_ok() {
        assert!(request.dns.iter().all(|name| name == "meter-7") && request.uri.is_empty());
    }
    if request.check_key(rules.rsa_bits_min).is_ok() {
        assert!(request.key.bits >= 256);
    }
}

/// An OCSP answer about a certificate that is in the corpus. One that is believed is current.
pub fn ocsp_answer(data: &[u8]) {
    const CERTIFICATE: &[u8] = include_bytes!("../corpus/certificate/ocsp_server.der");
    const ISSUER: &[u8] = include_bytes!("../corpus/certificate/ocsp_issuer.der");
    let now_s = NOW_S as i64;
    if let Ok(answer) = ocsp::check(data, CERTIFICATE, ISSUER, now_s) {
        assert!(answer.this_update_s <= now_s + 300 && answer.next_update_s > now_s);
    }
    // As a certificate, too: whose status is asked for is what an administrator configured.
    let _ = ocsp::question(data, ISSUER);
    let _ = ocsp::responder(data);
}

/// A revocation list, in PEM or DER. What it says of itself is read without what is on it.
pub fn revocation_list(data: &[u8]) {
    if let Ok(lists) = trust::parse_crls(data) {
        for list in &lists {
            assert!(trust::ListFacts::read(list).is_some_and(|facts| facts.bytes == list.len()));
        }
    }
    let _ = pki::read_list(data);
    let _ = serial_of(data);
}

/// The time of the token targets, in seconds since the Unix epoch.
pub const NOW_S: u64 = 1_800_000_000;

/// An issuer whose private key is known to this target, so that it can sign what it is given.
fn issuer() -> &'static (Ed25519KeyPair, Issuer) {
    static ISSUER: LazyLock<(Ed25519KeyPair, Issuer)> = LazyLock::new(|| {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a seed of 32 bytes");
        let x = URL_SAFE_NO_PAD.encode(pair.public_key());
        let set = format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"a","x":"{x}"}}]}}"#);
        let keys = KeyCell::default();
        keys.set(KeySet::parse(set.as_bytes()).expect("a good key set"), NOW_S);
        let text = |text: &str| Some(text.to_string());
        let settings = IssuerSettings {
            issuer: "joe".into(),
            audience: vec!["ravelin".into()],
            algorithms: Algorithm::ALL.into(),
            leeway_s: 30,
            lifetime_max_s: 86_400,
            keys_url: None,
            keys_age_max_s: 0,
            claims: ClaimNames {
                client_id: text("c"),
                class: text("k"),
                groups: text("g"),
                ..ClaimNames::default()
            },
        };
        (pair, Issuer::new(settings, keys))
    });
    &ISSUER
}

/// A token; or, in two lines, a header and claims, which are then signed by a key that is trusted.
pub fn token(data: &[u8]) {
    let (pair, issuer) = issuer();
    let issuers = std::slice::from_ref(issuer);
    let (header, claims) = halves(data);
    if claims.is_empty() {
        assert!(Issuer::verify(issuers, data, NOW_S).is_err(), "a token is accepted that we did not sign");
        return;
    }
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes())));
    let Ok((said, _)) = Issuer::verify(issuers, token.as_bytes(), NOW_S) else { return };
    assert!(token.len() <= TOKEN_BYTES_MAX);
    assert!(check_identity(&said.identity).is_ok(), "{:?}", said.identity);
    assert!(said.client_id.is_some_and(|id| !id.is_empty()), "the claim that binds is there");
    assert!(said.until_s > NOW_S && said.until_s <= NOW_S + 86_400 + 60, "{}", said.until_s);
    let mut other = token.into_bytes();
    other[2] ^= 1;
    assert!(Issuer::verify(issuers, &other, NOW_S).is_err(), "another header under the same signature");
}

/// A JSON Web Key Set.
pub fn key_set(data: &[u8]) {
    let Ok(set) = KeySet::parse(data) else { return };
    assert!(data.len() <= KEY_SET_BYTES_MAX && !set.is_empty() && set.len() <= 64);
    assert!(KeySet::parse(data).is_ok_and(|again| again == set));
}
