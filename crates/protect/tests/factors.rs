//! Two factors, classes, tokens and one-time codes: who is let in, and who may stay.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ravelin_event::Refusal;
use ravelin_mqtt::ReasonCode;
use ravelin_protect::directory::{Class, Credentials, DirectoryLimits, Identity};
use ravelin_protect::jwt::{Algorithm, ClaimNames, Issuer, IssuerSettings, KeyCell, KeySet};
use ravelin_protect::pki::{Ca, DAY};
use ravelin_protect::scram::{Mechanism, ScramClient};
use ravelin_protect::totp::{Totp, TotpAlgorithm};
use ravelin_protect::*;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

const NOW_S: u64 = 1_800_000_000;
const PASSWORD: &str = "correct horse";

const MTLS: ListenerPolicy = ListenerPolicy {
    client_certificate: ClientCertificate::Optional,
    identity_from: IdentityFrom::CommonName,
    bind_client_id: BindClientId::Equal,
    methods: Methods {
        certificate: true,
        password: true,
        scram_sha_256: true,
        scram_sha_512: true,
        jwt: true,
    },
    second_factor: SecondFactor::None,
    anonymous: false,
};

fn demanding(second_factor: SecondFactor) -> ListenerPolicy {
    ListenerPolicy { second_factor, client_certificate: ClientCertificate::Required, ..MTLS }
}

fn facts(name: &str) -> CertificateFacts {
    static CA: OnceLock<Ca> = OnceLock::new();
    let ca = CA.get_or_init(|| Ca::create("CA", NOW_S, DAY).unwrap().0);
    let issued = ca.issue_client(name, NOW_S, DAY).unwrap();
    CertificateFacts::parse(&CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()).unwrap()
}

fn totp() -> Totp {
    Totp::new(TotpAlgorithm::Sha1, 6, 30, Secret::new([7; 20])).unwrap()
}

fn credentials() -> Credentials {
    static ONE: OnceLock<Credentials> = OnceLock::new();
    let password = ONE.get_or_init(|| Credentials::create(&Secret::new(PASSWORD)).unwrap());
    let totp = totp().to_entry();
    let lines: Vec<String> = password.lines().map(str::to_owned).chain([totp.to_string()]).collect();
    Credentials::parse(lines.iter().map(String::as_str)).unwrap()
}

/// alice is in no class; carol in one that demands a code, dave in one that demands a password; all have both. erin has
/// nothing, frank is disabled.
fn directory() -> Directory {
    let mut edit = Directory::new(DirectoryLimits::default()).edit();
    for (name, second_factor) in [("field", SecondFactor::Totp), ("office", SecondFactor::Password)] {
        edit.set_class(Class { name: name.into(), second_factor, ..Class::default() }).unwrap();
    }
    for (name, class) in
        [("alice", None), ("carol", Some("field")), ("dave", Some("office")), ("erin", None), ("frank", None)]
    {
        let mut identity = Identity::new(name);
        identity.class = class.map(Into::into);
        identity.disabled = name == "frank";
        if name != "erin" {
            identity.credentials = credentials();
        }
        edit.create_identity(identity).unwrap();
    }
    edit.finish().unwrap().0
}

fn signer() -> &'static Ed25519KeyPair {
    static ONE: OnceLock<Ed25519KeyPair> = OnceLock::new();
    ONE.get_or_init(|| Ed25519KeyPair::generate().unwrap())
}

fn keys() -> KeySet {
    let x = URL_SAFE_NO_PAD.encode(signer().public_key());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x}]});
    KeySet::parse(set.to_string().as_bytes()).unwrap()
}

fn issuer() -> Issuer {
    let cell = KeyCell::default();
    cell.set(keys(), NOW_S);
    let settings = IssuerSettings {
        issuer: "id".into(),
        audience: vec!["bus".into()],
        algorithms: vec![Algorithm::EdDsa],
        leeway_s: 0,
        lifetime_max_s: 3600,
        keys_url: None,
        keys_age_max_s: 0,
        claims: ClaimNames {
            class: Some("class".into()),
            groups: Some("groups".into()),
            roles: Some("roles".into()),
            ..ClaimNames::default()
        },
    };
    Issuer::new(settings, cell)
}

fn token_with(identity: &str, more: Value) -> String {
    let mut claims = json!({"iss": "id", "aud": "bus", "sub": identity, "exp": NOW_S + 600});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "EdDSA", "kid": "a"})), part(&claims));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signer().sign(signed.as_bytes())))
}

fn token(identity: &str) -> String {
    token_with(identity, json!({}))
}

fn authenticator() -> Authenticator {
    let sources = Sources { directory: Some(directory()), issuers: [issuer()].into(), ..Sources::default() };
    Authenticator::new(sources, NodeSecret::new([3; 32]))
}

fn attempt<'a>(
    client_id: &'a str,
    certificate: Option<&'a CertificateFacts>,
    password: Option<&'a str>,
) -> Attempt<'a> {
    Attempt {
        client_id,
        username: None,
        password: password.map(str::as_bytes),
        certificate,
        auth_method: None,
        auth_data: None,
        address: "192.0.2.1:5000".parse().unwrap(),
        now_s: NOW_S,
    }
}

fn settle(auth: &Authenticator, step: Step) -> Result<Box<Admission>, Denied> {
    match step {
        Step::Accept(admission) => Ok(admission),
        Step::Refuse(denied) => Err(denied),
        Step::Hash(job, pending) => {
            let result = job.run();
            settle(auth, pending.finish(auth, result))
        }
        Step::Challenge { .. } => panic!("a challenge"),
    }
}

fn why(result: Result<Box<Admission>, Denied>) -> Refusal {
    match result {
        Err(denied) => denied.why,
        Ok(admission) => panic!("let in: {:?}", admission.principal),
    }
}

fn told(result: Result<Box<Admission>, Denied>) -> (Refusal, ReasonCode, String) {
    let denied = result.map(|admission| admission.principal).expect_err("refused");
    (denied.why, denied.reason, denied.finding.map(|finding| finding.what).unwrap_or_default())
}

fn scram(
    auth: &Authenticator,
    policy: &ListenerPolicy,
    mechanism: Mechanism,
    user: &str,
    certificate: Option<&CertificateFacts>,
) -> Result<Box<Admission>, Denied> {
    let (mut client, first) =
        ScramClient::begin(mechanism, user, Secret::new(PASSWORD), "a-nonce-of-ours").unwrap();
    let attempt = Attempt {
        auth_method: Some(mechanism.name()),
        auth_data: Some(&first),
        ..attempt(user, certificate, None)
    };
    match auth.begin(policy, attempt) {
        Step::Challenge { data, state } => {
            assert_eq!(state.method(), mechanism.name());
            let proof = client.prove(&data).unwrap();
            settle(auth, state.proceed(auth, &proof))
        }
        other => settle(auth, other),
    }
}

#[test]
fn a_listener_demands_a_code_beside_the_certificate() {
    let (auth, policy) = (authenticator(), demanding(SecondFactor::Totp));
    let (alice, bob) = (facts("alice"), facts("bob"));
    let code = totp().code(NOW_S / 30);
    let begin = |attempt: Attempt<'_>| settle(&auth, auth.begin(&policy, attempt));
    assert_eq!(why(begin(attempt("alice", None, Some(&code)))), Refusal::NoCertificate);
    let missing = told(begin(attempt("alice", Some(&alice), None)));
    assert_eq!((missing.0, missing.1), (Refusal::SecondFactor, ReasonCode::BAD_USER_NAME_OR_PASSWORD));
    assert!(missing.2.contains("missing"), "{}", missing.2);
    for wrong in ["000000", "", PASSWORD, &token("alice")] {
        let refused = told(begin(attempt("alice", Some(&alice), Some(wrong))));
        assert_eq!((refused.0, refused.1), (Refusal::SecondFactor, ReasonCode::BAD_USER_NAME_OR_PASSWORD));
        assert!(wrong.is_empty() || !refused.2.contains(wrong), "a secret in an event: {}", refused.2);
    }
    let admission = begin(attempt("alice", Some(&alice), Some(&code))).unwrap();
    assert_eq!(admission.standing.proof, Proof { certificate: true, with: With::Totp });
    // The same code again, and again after a reload of everything.
    let again = told(begin(attempt("alice", Some(&alice), Some(&code))));
    assert!(again.0 == Refusal::SecondFactor && again.2.contains("used before"), "{again:?}");
    let reloaded = authenticator().after(&auth);
    let again = settle(&reloaded, reloaded.begin(&policy, attempt("alice", Some(&alice), Some(&code))));
    assert_eq!(why(again), Refusal::SecondFactor);
    // Who has no secret has no right code.
    assert_eq!(why(begin(attempt("bob", Some(&bob), Some(&code)))), Refusal::SecondFactor);
}

#[test]
fn guessing_codes_is_slowed_down_and_the_client_is_told_nothing() {
    let (auth, policy, alice) = (authenticator(), demanding(SecondFactor::Totp), facts("alice"));
    let begin = |code: &str| settle(&auth, auth.begin(&policy, attempt("alice", Some(&alice), Some(code))));
    let mut answers = Vec::new();
    for guess in 0..8 {
        let (why, reason, what) = told(begin(&format!("99999{guess}")));
        assert_eq!((why, reason), (Refusal::SecondFactor, ReasonCode::BAD_USER_NAME_OR_PASSWORD));
        answers.push(what);
    }
    assert!(answers[..5].iter().all(|what| what.contains("is wrong")), "{answers:?}");
    assert!(answers[5..].iter().all(|what| what.contains("too many")), "{answers:?}");
    assert_eq!(why(begin(&totp().code(NOW_S / 30))), Refusal::SecondFactor, "not even the right one");
}

#[test]
fn a_password_or_scram_is_the_second_factor() {
    let (auth, policy, alice) = (authenticator(), demanding(SecondFactor::Password), facts("alice"));
    let begin = |attempt: Attempt<'_>| settle(&auth, auth.begin(&policy, attempt));
    let both = begin(attempt("alice", Some(&alice), Some(PASSWORD))).unwrap();
    assert_eq!(both.standing.proof, Proof { certificate: true, with: With::Password });
    assert_eq!(both.principal.identity.as_deref(), Some("alice"));
    assert_eq!(why(begin(attempt("alice", Some(&alice), Some("wrong")))), Refusal::BadCredentials);
    assert_eq!(why(begin(attempt("alice", Some(&alice), None))), Refusal::SecondFactor);
    assert_eq!(why(begin(attempt("alice", Some(&alice), Some(&token("alice"))))), Refusal::BadCredentials);
    let named = Attempt { username: Some("alice"), ..attempt("alice", None, Some(PASSWORD)) };
    assert_eq!(why(begin(named)), Refusal::NoCertificate);
    let other = Attempt { username: Some("dave"), ..attempt("alice", Some(&alice), Some(PASSWORD)) };
    assert_eq!(why(begin(other)), Refusal::IdentityMismatch);
    for mechanism in Mechanism::ALL {
        let admission = scram(&auth, &policy, mechanism, "alice", Some(&alice)).unwrap();
        assert_eq!(admission.standing.proof, Proof { certificate: true, with: With::Scram(mechanism) });
        assert_eq!(why(scram(&auth, &policy, mechanism, "alice", None)), Refusal::NoCertificate);
        let code = demanding(SecondFactor::Totp);
        assert_eq!(why(scram(&auth, &code, mechanism, "alice", Some(&alice))), Refusal::SecondFactor);
    }
}

#[test]
fn a_token_is_the_second_factor_and_must_be_of_the_same_identity() {
    let (auth, policy, alice) = (authenticator(), demanding(SecondFactor::Token), facts("alice"));
    let begin = |attempt: Attempt<'_>| settle(&auth, auth.begin(&policy, attempt));
    let token = token("alice");
    let both = begin(attempt("alice", Some(&alice), Some(&token))).unwrap();
    assert_eq!(both.standing.proof, Proof { certificate: true, with: With::Token });
    assert_eq!(both.standing.token.unwrap().until_s, NOW_S + 600);
    let others = self::token("dave");
    assert_eq!(why(begin(attempt("alice", Some(&alice), Some(&others)))), Refusal::IdentityMismatch);
    assert_eq!(why(begin(attempt("alice", Some(&alice), Some(PASSWORD)))), Refusal::BadToken);
    assert_eq!(why(begin(attempt("alice", None, Some(&token)))), Refusal::NoCertificate);
    let by_method = Attempt {
        auth_method: Some("OAUTH2-JWT"),
        auth_data: Some(token.as_bytes()),
        ..attempt("alice", Some(&alice), None)
    };
    assert!(begin(by_method).is_ok());
}

#[test]
fn a_class_can_demand_more_and_never_less() {
    let auth = authenticator();
    let (carol, dave) = (facts("carol"), facts("dave"));
    let begin = |policy: &ListenerPolicy, attempt: Attempt<'_>| settle(&auth, auth.begin(policy, attempt));
    let code = totp().code(NOW_S / 30);
    // carol's class demands a code, whatever the listener does.
    assert_eq!(why(begin(&MTLS, attempt("carol", Some(&carol), None))), Refusal::SecondFactor);
    let office = demanding(SecondFactor::Password);
    assert_eq!(why(begin(&office, attempt("carol", Some(&carol), Some(PASSWORD)))), Refusal::SecondFactor);
    let admission = begin(&office, attempt("carol", Some(&carol), Some(&code))).unwrap();
    assert_eq!(admission.principal.class.as_deref(), Some("field"));
    // dave's demands less than this listener.
    let field = demanding(SecondFactor::Totp);
    assert_eq!(why(begin(&field, attempt("dave", Some(&dave), Some(PASSWORD)))), Refusal::SecondFactor);
    assert!(begin(&MTLS, attempt("dave", Some(&dave), Some(PASSWORD))).is_ok());
    // A password alone, a token alone, SCRAM alone: as if it had been wrong.
    let named = Attempt { username: Some("carol"), ..attempt("carol", None, Some(PASSWORD)) };
    let right = told(begin(&MTLS, named));
    let wrong = told(begin(&MTLS, Attempt { password: Some(b"wrong"), ..named }));
    assert_eq!((right.0, right.1), (Refusal::SecondFactor, wrong.1), "a right guess is not told apart");
    assert_eq!(why(begin(&MTLS, attempt("carol", None, Some(&token("carol"))))), Refusal::SecondFactor);
    assert_eq!(why(scram(&auth, &MTLS, Mechanism::Sha512, "carol", None)), Refusal::SecondFactor);
}

#[test]
fn who_is_disabled_or_in_no_class_that_exists_is_refused_by_every_way() {
    let auth = authenticator();
    let frank = facts("frank");
    let begin = |attempt: Attempt<'_>| settle(&auth, auth.begin(&MTLS, attempt));
    let named = |password| Attempt { username: Some("frank"), ..attempt("frank", None, Some(password)) };
    assert_eq!(why(begin(attempt("frank", Some(&frank), None))), Refusal::Disabled);
    assert_eq!(why(begin(named(PASSWORD))), Refusal::Disabled);
    assert_eq!(why(begin(named("wrong"))), Refusal::BadCredentials, "only who proves it learns it");
    assert_eq!(why(begin(attempt("frank", None, Some(&token("frank"))))), Refusal::Disabled);
    assert_eq!(why(scram(&auth, &MTLS, Mechanism::Sha256, "frank", None)), Refusal::Disabled);
    // A token can name a class, of those that there are.
    let classed = |class: &str| token_with("newcomer", json!({"class": class}));
    assert_eq!(why(begin(attempt("newcomer", None, Some(&classed("nowhere"))))), Refusal::UnknownClass);
    assert_eq!(why(begin(attempt("newcomer", None, Some(&classed("field"))))), Refusal::SecondFactor);
    // And not for those whose class is known.
    let carols = token_with("dave", json!({"class": "field"}));
    assert_eq!(why(begin(attempt("dave", None, Some(&carols)))), Refusal::SecondFactor);
}

#[test]
fn a_token_alone_lets_in_and_its_user_name_may_be_empty() {
    let auth = authenticator();
    let begin = |attempt: Attempt<'_>| settle(&auth, auth.begin(&MTLS, attempt));
    let token = token("alice");
    for username in [None, Some(""), Some("alice")] {
        let admission = begin(Attempt { username, ..attempt("alice", None, Some(&token)) }).unwrap();
        assert_eq!(admission.principal.identity.as_deref(), Some("alice"));
        assert_eq!(admission.standing.proof, Proof { certificate: false, with: With::Token });
    }
    let other = Attempt { username: Some("dave"), ..attempt("alice", None, Some(&token)) };
    assert_eq!(why(begin(other)), Refusal::IdentityMismatch);
    assert_eq!(why(begin(attempt("dave", None, Some(&token)))), Refusal::IdentityMismatch, "bound client id");
    let late = Attempt { now_s: NOW_S + 600, ..attempt("alice", None, Some(&token)) };
    let (refusal, reason, what) = told(begin(late));
    assert_eq!((refusal, reason), (Refusal::BadToken, ReasonCode::BAD_USER_NAME_OR_PASSWORD));
    assert!(what.contains("expired"), "{what}");
    let methods = Methods { jwt: false, ..MTLS.methods };
    let unoffered = ListenerPolicy { methods, ..MTLS };
    let named = Attempt { username: Some("alice"), ..attempt("alice", None, Some(&token)) };
    assert!(settle(&auth, auth.begin(&unoffered, named)).is_err());
    let by_method = Attempt {
        auth_method: Some("JWT"),
        auth_data: Some(token.as_bytes()),
        ..attempt("alice", None, None)
    };
    let admission = settle(&auth, auth.begin(&MTLS, by_method)).unwrap();
    let unoffered = settle(&auth, auth.begin(&unoffered, by_method));
    assert_eq!(why(unoffered), Refusal::BadAuthenticationMethod);
    // Again, before it expires: the same identity only.
    let again = |identity: &str| {
        let token = token_with(identity, json!({"exp": NOW_S + 900}));
        let step = auth.begin_again(&MTLS, &admission.principal, "JWT", Some(token.as_bytes()), NOW_S + 300);
        settle(&auth, step)
    };
    assert_eq!(again("alice").unwrap().standing.token.unwrap().until_s, NOW_S + 900);
    assert_eq!(why(again("dave")), Refusal::IdentityMismatch);
}

#[test]
fn a_directory_entry_binds_its_client_id_and_replaces_the_passwords_of_the_file() {
    let old = password::StoredHash::create(&Secret::new("old password")).unwrap();
    let scram = scram::ScramVerifier::create(Mechanism::Sha256, &Secret::new("old password")).unwrap();
    let text = format!("alice:{old}\nalice:{scram}\nerin:{old}\n");
    let passwords = Some(Arc::new(PasswordFile::parse(&text, "f").unwrap()));
    let mut edit = directory().edit();
    edit.modify_identity("erin", |erin| {
        erin.client_id = Some("pump-1".into());
        Ok(())
    })
    .unwrap();
    let directory = Some(edit.finish().unwrap().0);
    let auth =
        Authenticator::new(Sources { passwords, directory, ..Sources::default() }, NodeSecret::new([3; 32]));
    let log_in = |name: &'static str, client_id: &'static str, password: &'static str| {
        let attempt = Attempt { username: Some(name), ..attempt(client_id, None, Some(password)) };
        settle(&auth, auth.begin(&MTLS, attempt))
    };
    assert!(log_in("alice", "alice", PASSWORD).is_ok());
    assert_eq!(why(log_in("alice", "alice", "old password")), Refusal::BadCredentials);
    // Nor by SCRAM, whose verifier only the file might have had.
    let known = auth.begin(
        &MTLS,
        Attempt {
            auth_method: Some("SCRAM-SHA-256"),
            auth_data: Some(b"n,,n=alice,r=x"),
            ..attempt("alice", None, None)
        },
    );
    let Step::Challenge { data, .. } = known else { panic!() };
    use base64::engine::general_purpose::STANDARD;
    let salt = STANDARD.encode(&scram.salt);
    assert!(!String::from_utf8(data).unwrap().contains(&salt));
    // erin has no password in the directory: the file's counts; and one client id alone.
    assert_eq!(why(log_in("erin", "erin", "old password")), Refusal::IdentityMismatch);
    assert!(log_in("erin", "pump-1", "old password").is_ok());
    let assigned = log_in("erin", "", "old password").unwrap();
    assert_eq!(&*assigned.principal.client_id, "pump-1");
}

/// What must end a connection, and what must not.
#[test]
fn who_would_not_be_let_in_again_may_not_stay() {
    let auth = authenticator();
    let (alice, dave) = (facts("alice"), facts("dave"));
    let admit =
        |policy: &ListenerPolicy, attempt: Attempt<'_>| settle(&auth, auth.begin(policy, attempt)).unwrap();
    let named = Attempt { username: Some("alice"), ..attempt("alice", None, Some(PASSWORD)) };
    let by_password = admit(&MTLS, named);
    let by_token = admit(&MTLS, attempt("alice", None, Some(&token("alice"))));
    let by_certificate = admit(&MTLS, attempt("alice", Some(&alice), None));
    let by_scram = scram(&auth, &MTLS, Mechanism::Sha512, "alice", None).unwrap();
    let by_both = admit(&MTLS, attempt("dave", Some(&dave), Some(PASSWORD)));
    let all = [&by_password, &by_token, &by_certificate, &by_scram, &by_both];
    let stay = |auth: &Authenticator, policy: &ListenerPolicy| {
        all.map(|one| auth.still_admits(policy, &one.principal, &one.standing).is_ok())
    };
    assert_eq!(stay(&auth, &MTLS), [true; 5]);
    let changed = |change: &dyn Fn(&mut Identity)| {
        let mut edit = directory().edit();
        for name in ["alice", "dave"] {
            edit.modify_identity(name, |one| {
                change(one);
                Ok(())
            })
            .unwrap();
        }
        auth.clone().with_directory(edit.finish().unwrap().0)
    };
    assert_eq!(stay(&changed(&|one| one.disabled = true), &MTLS), [false; 5]);
    let new = Credentials::create(&Secret::new("another")).unwrap();
    let password = changed(&|one| one.credentials = new.clone());
    assert_eq!(stay(&password, &MTLS), [false, true, true, false, false], "the password was changed");
    let class = changed(&|one| one.class = Some("field".into()));
    assert_eq!(stay(&class, &MTLS), [false; 5], "a code is demanded now");
    let bound = changed(&|one| one.client_id = Some("another".into()));
    assert_eq!(stay(&bound, &MTLS), [false; 5]);
    let gone = auth.clone().with_directory(Directory::new(DirectoryLimits::default()));
    assert_eq!(stay(&gone, &MTLS), [false, true, true, false, false], "who had no password needs no entry");
    let only = |methods| ListenerPolicy { methods, ..MTLS };
    let tokens = only(Methods { jwt: true, ..Methods::default() });
    assert_eq!(stay(&auth, &tokens), [false, true, false, false, true]);
    assert_eq!(stay(&auth, &demanding(SecondFactor::Totp)), [false; 5]);
    // The key that signed the token is withdrawn.
    let other = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a",
                       "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]});
    let set = KeySet::parse(other.to_string().as_bytes()).unwrap();
    assert!(auth.issuers()[0].keys().set(set, NOW_S));
    assert_eq!(stay(&auth, &MTLS), [true, false, true, true, true]);
}

#[test]
fn an_identity_that_does_not_exist_looks_like_one_that_does() {
    let auth = authenticator();
    let first = |user: &str, mechanism: Mechanism| {
        let (_, first) = ScramClient::begin(mechanism, user, Secret::new("x"), "nonce").unwrap();
        let attempt = Attempt {
            auth_method: Some(mechanism.name()),
            auth_data: Some(&first),
            ..attempt(user, None, None)
        };
        let Step::Challenge { data, .. } = auth.begin(&MTLS, attempt) else { panic!("{user}") };
        String::from_utf8(data).unwrap()
    };
    let rest = |message: String| message.split_once(",s=").unwrap().1.to_owned();
    for mechanism in Mechanism::ALL {
        let (alice, nobody) = (rest(first("alice", mechanism)), rest(first("nobody", mechanism)));
        assert_eq!(alice.len(), nobody.len());
        assert_eq!(alice.split_once(",i=").unwrap().1, nobody.split_once(",i=").unwrap().1);
        assert_eq!(nobody, rest(first("nobody", mechanism)), "the same salt each time");
        assert_ne!(nobody, rest(first("somebody", mechanism)));
    }
    assert_ne!(rest(first("nobody", Mechanism::Sha256)), rest(first("nobody", Mechanism::Sha512)));
}

#[test]
fn a_fingerprint_belongs_to_one_identity_of_the_directory() {
    let meter = facts("whatever the name says");
    let policy = ListenerPolicy { identity_from: IdentityFrom::Fingerprint, ..MTLS };
    let begin = |auth: &Authenticator, attempt: Attempt<'_>| settle(auth, auth.begin(&policy, attempt));
    let auth = authenticator();
    let (refusal, reason, what) = told(begin(&auth, attempt("alice", Some(&meter), None)));
    assert_eq!((refusal, reason), (Refusal::BadCertificate, ReasonCode::NOT_AUTHORIZED));
    assert!(what.contains(&*meter.fingerprint), "{what}");
    let mut edit = directory().edit();
    let fingerprint = meter.fingerprint.clone();
    edit.modify_identity("alice", |alice| {
        alice.fingerprints = vec![fingerprint];
        Ok(())
    })
    .unwrap();
    let before = auth.clone();
    let auth = auth.with_directory(edit.finish().unwrap().0);
    let admission = begin(&auth, attempt("alice", Some(&meter), None)).unwrap();
    assert_eq!(admission.principal.identity.as_deref(), Some("alice"));
    let stays = |auth: &Authenticator| auth.still_admits(&policy, &admission.principal, &admission.standing);
    assert!(stays(&auth).is_ok() && stays(&before).is_err(), "the fingerprint was taken away");
    assert_eq!(why(begin(&auth, attempt("dave", Some(&meter), None))), Refusal::IdentityMismatch);
    assert_eq!(why(begin(&auth, attempt("alice", Some(&facts("alice")), None))), Refusal::BadCertificate);
    let named = Attempt { username: Some("dave"), ..attempt("alice", Some(&meter), None) };
    assert_eq!(why(begin(&auth, named)), Refusal::IdentityMismatch);
}

#[test]
fn a_token_gives_groups_and_roles_that_exist_and_never_administration() {
    use ravelin_protect::directory::{Action, Group, Membership, Role, Rule, RuleType};
    let mut edit = directory().edit();
    for (name, topic, allow) in [
        ("readers", "meters/#", true),
        ("writers", "orders/%g/#", true),
        ("no-secrets", "meters/secret", false),
    ] {
        let mut role = Role::new(name);
        role.rules = vec![Rule::new(RuleType::PublishClientSend, topic, allow)];
        edit.create_role(role).unwrap();
    }
    let mut operators = Group::new("operators");
    operators.roles = vec![Membership::new("writers")];
    edit.create_group(operators).unwrap();
    edit.modify_identity("alice", |alice| {
        alice.roles = vec![Membership::new("no-secrets")];
        Ok(())
    })
    .unwrap();
    let directory = edit.finish().unwrap().0;
    let auth = authenticator().with_directory(directory.clone());
    let may = |more: Value, topic: &str| {
        let token = token_with("alice", more);
        let admission = settle(&auth, auth.begin(&MTLS, attempt("alice", None, Some(&token)))).unwrap();
        directory.decide(&admission.principal, Action::Publish { topic, qos: 0, retain: false }).allowed
    };
    assert!(!may(json!({}), "meters/1"));
    assert!(may(json!({"roles": "readers"}), "meters/1"));
    assert!(!may(json!({"roles": ["readers"]}), "meters/secret"), "a denial of the directory comes first");
    assert!(may(json!({"groups": ["nowhere", "operators"]}), "orders/operators/1"));
    assert!(!may(json!({"groups": ["nowhere", "operators"]}), "orders/nowhere/1"), "no such group");
    for topic in ["$CONTROL/dynamic-security/v1", "meters/1"] {
        assert!(!may(json!({"roles": ["admin"], "groups": ["admin"]}), topic), "{topic}");
    }
}
