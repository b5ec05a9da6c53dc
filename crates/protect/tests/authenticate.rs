//! Who is let in, and every way around it.

use ravelin_event::{Principal, Refusal};
use ravelin_mqtt::ReasonCode;
use ravelin_protect::pki::{Ca, DAY};
use ravelin_protect::scram::{Mechanism, ScramClient, ScramVerifier};
use ravelin_protect::{
    Attempt, Authenticator, BindClientId, CertificateFacts, ClientCertificate, Exchange, IdentityFrom,
    ListenerPolicy, Methods, NodeSecret, PasswordFile, SecondFactor, Secret, Sources, Step,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::sync::{Arc, OnceLock};

const NOW_S: u64 = 1_800_000_000;
const METHOD: &str = "SCRAM-SHA-256";
const MTLS: ListenerPolicy = ListenerPolicy {
    client_certificate: ClientCertificate::Required,
    identity_from: IdentityFrom::CommonName,
    bind_client_id: BindClientId::Equal,
    methods: Methods {
        certificate: true,
        password: false,
        scram_sha_256: false,
        scram_sha_512: false,
        jwt: false,
    },
    second_factor: SecondFactor::None,
    anonymous: false,
};
const MIXED: ListenerPolicy = ListenerPolicy {
    client_certificate: ClientCertificate::Optional,
    methods: Methods {
        certificate: true,
        password: true,
        scram_sha_256: true,
        scram_sha_512: false,
        jwt: false,
    },
    ..MTLS
};

fn facts(name: &str) -> CertificateFacts {
    static CA: OnceLock<Ca> = OnceLock::new();
    let ca = CA.get_or_init(|| Ca::create("CA", NOW_S, DAY).unwrap().0);
    let issued = ca.issue_client(name, NOW_S, DAY).unwrap();
    CertificateFacts::parse(&CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()).unwrap()
}

fn authenticator() -> Authenticator {
    static KNOWN: OnceLock<Authenticator> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let password = Secret::new("correct horse");
        let hash = ravelin_protect::password::StoredHash::create(&password).unwrap();
        let scram = ScramVerifier::create_with(Mechanism::Sha256, &password, b"salt of alice", 4096).unwrap();
        let text = format!("alice:{hash}\nalice:{scram}\n");
        let passwords = Some(Arc::new(PasswordFile::parse(&text, "f").unwrap()));
        Authenticator::new(Sources { passwords, ..Sources::default() }, NodeSecret::new([3; 32]))
    });
    known.clone()
}

fn attempt(client_id: &str) -> Attempt<'_> {
    Attempt {
        client_id,
        username: None,
        password: None,
        certificate: None,
        auth_method: None,
        auth_data: None,
        address: "192.0.2.1:5000".parse().unwrap(),
        now_s: NOW_S,
    }
}

#[derive(Debug, PartialEq)]
enum End {
    In(Option<String>),
    Out(Refusal, ReasonCode),
}

const BAD: End = End::Out(Refusal::BadCredentials, ReasonCode::BAD_USER_NAME_OR_PASSWORD);
const MISMATCH: End = End::Out(Refusal::IdentityMismatch, ReasonCode::NOT_AUTHORIZED);

fn end(step: Step) -> End {
    match step {
        Step::Accept(admission) => End::In(admission.principal.identity.map(|identity| identity.to_string())),
        Step::Refuse(denied) => End::Out(denied.why, denied.reason),
        Step::Hash(job, pending) => {
            let result = job.run();
            end(pending.finish(&authenticator(), result))
        }
        Step::Challenge { .. } => panic!("a challenge"),
    }
}

fn identity(name: &str) -> End {
    End::In(Some(name.into()))
}

#[test]
fn a_certificate_is_an_identity() {
    let (auth, alice) = (authenticator(), facts("alice"));
    let with = |certificate| Attempt { certificate, ..attempt("alice") };
    assert_eq!(end(auth.begin(&MTLS, with(Some(&alice)))), identity("alice"));
    let Step::Accept(admission) = auth.begin(&MTLS, with(Some(&alice))) else { panic!() };
    let principal = admission.principal;
    assert_eq!(principal.attributes.unwrap().common_name.as_deref(), Some("alice"));
    assert_eq!(principal.certificate.as_deref(), Some(&*alice.fingerprint));
    assert_eq!(alice.fingerprint.len(), 64);
    // A transport that forgot to ask for the certificate (Mosquitto's WebSocket did) lets nobody in.
    assert_eq!(
        end(auth.begin(&MTLS, with(None))),
        End::Out(Refusal::NoCertificate, ReasonCode::NOT_AUTHORIZED)
    );
    let other_id = Attempt { certificate: Some(&alice), ..attempt("bob") };
    assert_eq!(end(auth.begin(&MTLS, other_id)), MISMATCH);
    let other_user = Attempt { username: Some("bob"), ..with(Some(&alice)) };
    assert_eq!(end(auth.begin(&MTLS, other_user)), MISMATCH);
    let same_user = Attempt { username: Some("alice"), ..with(Some(&alice)) };
    assert_eq!(end(auth.begin(&MTLS, same_user)), identity("alice"));
    assert_eq!(end(auth.begin(&MIXED, same_user)), identity("alice"));
    let san = ListenerPolicy { identity_from: IdentityFrom::SanEmail, ..MTLS };
    assert_eq!(
        end(auth.begin(&san, with(Some(&alice)))),
        End::Out(Refusal::BadCertificate, ReasonCode::NOT_AUTHORIZED),
        "a certificate without the name that is asked for"
    );
}

#[test]
fn a_certificate_that_is_shown_is_never_ignored() {
    let (auth, bob) = (authenticator(), facts("bob"));
    // The password is right, the certificate is somebody else's.
    let both = Attempt {
        certificate: Some(&bob),
        username: Some("alice"),
        password: Some(b"correct horse"),
        ..attempt("alice")
    };
    assert_eq!(end(auth.begin(&MIXED, both)), MISMATCH);
    let password_only = ListenerPolicy { methods: Methods { password: true, ..Methods::default() }, ..MIXED };
    assert_eq!(end(auth.begin(&password_only, both)), MISMATCH);
    // A right certificate does not excuse a wrong password.
    let alice = facts("alice");
    let wrong = Attempt { certificate: Some(&alice), password: Some(b"wrong"), ..both };
    assert_eq!(end(auth.begin(&MIXED, wrong)), BAD);
    let right = Attempt { certificate: Some(&alice), ..both };
    assert_eq!(end(auth.begin(&MIXED, right)), identity("alice"));
    // A certificate alone is not enough where it is no method.
    let shown = Attempt { certificate: Some(&alice), ..attempt("alice") };
    assert!(matches!(end(auth.begin(&password_only, shown)), End::Out(..)));
}

#[test]
fn a_password_is_verified_and_nothing_stands_in_for_it() {
    let auth = authenticator();
    let with = |username, password| Attempt { username, password, ..attempt("alice") };
    assert_eq!(end(auth.begin(&MIXED, with(Some("alice"), Some(b"correct horse")))), identity("alice"));
    for (username, password) in [
        (Some("alice"), Some(&b"wrong"[..])),
        (Some("alice"), Some(&b""[..])),
        (Some("alice"), None),
        (Some("nobody"), Some(&b"correct horse"[..])),
        (Some(""), Some(&b"correct horse"[..])),
        (None, Some(&b"correct horse"[..])),
        (Some("alice"), Some(&[b'x'; 5000][..])),
    ] {
        assert_eq!(end(auth.begin(&MIXED, with(username, password))), BAD, "{username:?} {password:?}");
    }
    assert!(matches!(end(auth.begin(&MIXED, with(None, None))), End::Out(_, ReasonCode::NOT_AUTHORIZED)));
    let other_id = Attempt { client_id: "bob", ..with(Some("alice"), Some(b"correct horse")) };
    assert_eq!(end(auth.begin(&MIXED, other_id)), MISMATCH);
    // Where passwords are not offered, a right one is of no use.
    assert!(matches!(end(auth.begin(&MTLS, with(Some("alice"), Some(b"correct horse")))), End::Out(..)));
    let none = Authenticator::new(Sources::default(), NodeSecret::new([3; 32]));
    assert_eq!(end(none.begin(&MIXED, with(Some("alice"), Some(b"correct horse")))), BAD, "no password file");
}

#[test]
fn nobody_is_let_in_by_default_and_anonymous_is_nobody() {
    let auth = authenticator();
    assert!(matches!(end(auth.begin(&ListenerPolicy::default(), attempt("x"))), End::Out(..)));
    let open = ListenerPolicy::dangerous_open();
    assert_eq!(end(auth.begin(&open, attempt("x"))), End::In(None));
    let claims = Attempt { username: Some("alice"), password: Some(b"anything"), ..attempt("x") };
    assert_eq!(end(auth.begin(&open, claims)), End::In(None), "a name that is not proven is no identity");
    // Where passwords are a method, a wrong one is refused, not let in as nobody.
    let both = ListenerPolicy { methods: Methods { password: true, ..Methods::default() }, ..open };
    assert_eq!(end(auth.begin(&both, claims)), BAD);
    assert_eq!(end(auth.begin(&both, attempt("x"))), End::In(None));
    // Anonymous does not stand in for a certificate that is required.
    let required = ListenerPolicy { client_certificate: ClientCertificate::Required, ..open };
    assert_eq!(
        end(auth.begin(&required, attempt("x"))),
        End::Out(Refusal::NoCertificate, ReasonCode::NOT_AUTHORIZED)
    );
}

#[test]
fn an_assigned_client_id_is_the_identitys_own() {
    let (auth, alice) = (authenticator(), facts("alice"));
    let ids: Vec<_> = (0..2)
        .map(|_| match auth.begin(&MTLS, Attempt { certificate: Some(&alice), ..attempt("") }) {
            Step::Accept(admission) => admission.principal.client_id.clone(),
            _ => panic!(),
        })
        .collect();
    assert!(ids[0].starts_with("alice-") && ids[0] != ids[1], "{ids:?}");
}

fn challenge(auth: &Authenticator, policy: &ListenerPolicy, attempt: Attempt<'_>) -> (Vec<u8>, Exchange) {
    match auth.begin(policy, attempt) {
        Step::Challenge { data, state } => (data, state),
        other => panic!("{:?}", end(other)),
    }
}

#[test]
fn scram_lets_in_and_proves_the_server() {
    let auth = authenticator();
    let log_in = |user: &str, password: &str, client_id: &str| {
        let (mut client, first) =
            ScramClient::begin(Mechanism::Sha256, user, Secret::new(password), "nonce").unwrap();
        let attempt = Attempt { auth_method: Some(METHOD), auth_data: Some(&first), ..attempt(client_id) };
        let (data, state) = challenge(&auth, &MIXED, attempt);
        let proof = client.prove(&data).unwrap();
        match state.proceed(&auth, &proof) {
            Step::Accept(admission) => {
                client.verify(admission.auth_data.as_deref().unwrap()).unwrap();
                identity(admission.principal.identity.as_deref().unwrap())
            }
            other => end(other),
        }
    };
    assert_eq!(log_in("alice", "correct horse", "alice"), identity("alice"));
    assert_eq!(log_in("alice", "wrong", "alice"), BAD);
    assert_eq!(log_in("nobody", "correct horse", "nobody"), BAD);
    assert_eq!(log_in("alice", "correct horse", "bob"), MISMATCH);
}

#[test]
fn scram_is_refused_where_it_is_not_offered_or_not_understood() {
    let auth = authenticator();
    let with =
        |method, data| Attempt { auth_method: Some(method), auth_data: Some(data), ..attempt("alice") };
    let method = End::Out(Refusal::BadAuthenticationMethod, ReasonCode::BAD_AUTHENTICATION_METHOD);
    for (policy, name) in [(&MTLS, METHOD), (&MIXED, "scram-sha-256"), (&MIXED, "GS2-KRB5"), (&MIXED, "")] {
        let attempt = Attempt { certificate: Some(&facts("alice")), ..with(name, b"n,,n=alice,r=x") };
        assert_eq!(end(auth.begin(policy, attempt)), method, "{name}");
    }
    assert!(matches!(end(auth.begin(&MIXED, with(METHOD, b"rubbish"))), End::Out(Refusal::Protocol, _)));
    let none = Attempt { auth_data: None, ..with(METHOD, b"") };
    assert!(matches!(end(auth.begin(&MIXED, none)), End::Out(..)));
    let other_user = Attempt { username: Some("bob"), ..with(METHOD, b"n,,n=alice,r=x") };
    assert_eq!(end(auth.begin(&MIXED, other_user)), MISMATCH);
    let bob = facts("bob");
    let other_certificate = Attempt { certificate: Some(&bob), ..with(METHOD, b"n,,n=alice,r=x") };
    assert_eq!(end(auth.begin(&MIXED, other_certificate)), MISMATCH);
}

#[test]
fn re_authentication_keeps_the_identity() {
    let auth = authenticator();
    let current = Principal {
        identity: Some("alice".into()),
        address: Some("192.0.2.1:5000".parse().unwrap()),
        ..Principal::anonymous("meter")
    };
    let (mut client, first) =
        ScramClient::begin(Mechanism::Sha256, "alice", Secret::new("correct horse"), "nonce").unwrap();
    let Step::Challenge { data, state } = auth.begin_again(&MIXED, &current, METHOD, Some(&first), NOW_S)
    else {
        panic!()
    };
    let Step::Accept(admission) = state.proceed(&auth, &client.prove(&data).unwrap()) else { panic!() };
    assert_eq!(admission.principal, current);
    let bob = Principal { identity: Some("bob".into()), ..current.clone() };
    assert_eq!(end(auth.begin_again(&MIXED, &bob, METHOD, Some(&first), NOW_S)), MISMATCH);
    let nobody = Principal { identity: None, ..current.clone() };
    assert_eq!(end(auth.begin_again(&MIXED, &nobody, METHOD, Some(&first), NOW_S)), MISMATCH);
    assert!(matches!(end(auth.begin_again(&MTLS, &current, METHOD, Some(&first), NOW_S)), End::Out(..)));
}
