//! SCRAM: the vector of RFC 7677, the same exchange with SHA-512, malformed messages, users that do not exist.

use ravelin_protect::scram::{ClientFirst, Mechanism, ScramClient, ScramError, ScramServer, ScramVerifier};
use ravelin_protect::{NodeSecret, PasswordFile, Secret};
use std::sync::Arc;

// RFC 7677, section 3.
const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SALT: &[u8] =
    &[0x5B, 0x6D, 0x99, 0x68, 0x9D, 0x12, 0x35, 0x8E, 0xEC, 0xA0, 0x4B, 0x14, 0x12, 0x36, 0xFA, 0x81];
const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

// The same exchange with SHA-512.
const CLIENT_FINAL_512: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==";
const SERVER_FINAL_512: &str =
    "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==";

fn verifier(password: &str) -> Arc<ScramVerifier> {
    Arc::new(ScramVerifier::create_with(Mechanism::Sha256, &Secret::new(password), SALT, 4096).unwrap())
}

fn server(first: &str) -> ScramServer {
    let first = ClientFirst::parse(first.as_bytes()).unwrap();
    ScramServer::begin(first, verifier("pencil"), true, SERVER_NONCE).unwrap().0
}

#[test]
fn the_exchange_of_rfc_7677() {
    let (mut client, first) =
        ScramClient::begin(Mechanism::Sha256, "user", Secret::new("pencil"), CLIENT_NONCE).unwrap();
    assert_eq!(first, CLIENT_FIRST.as_bytes());
    let parsed = ClientFirst::parse(&first).unwrap();
    assert_eq!(parsed.user, "user");
    let (server, server_first) = ScramServer::begin(parsed, verifier("pencil"), true, SERVER_NONCE).unwrap();
    assert_eq!(server_first, SERVER_FIRST.as_bytes());
    let client_final = client.prove(&server_first).unwrap();
    assert_eq!(client_final, CLIENT_FINAL.as_bytes());
    let server_final = server.finish(&client_final).unwrap();
    assert_eq!(server_final, SERVER_FINAL.as_bytes());
    client.verify(&server_final).unwrap();
}

#[test]
fn a_wrong_password_and_a_user_that_does_not_exist_fail_alike() {
    let (mut client, first) =
        ScramClient::begin(Mechanism::Sha256, "user", Secret::new("pencils"), CLIENT_NONCE).unwrap();
    let client_final = client.prove(SERVER_FIRST.as_bytes()).unwrap();
    assert_eq!(server(CLIENT_FIRST).finish(&client_final), Err(ScramError::Proof));
    // The right proof for a verifier that is not a user's.
    let parsed = ClientFirst::parse(&first).unwrap();
    let (made_up, _) = ScramServer::begin(parsed, verifier("pencil"), false, SERVER_NONCE).unwrap();
    assert_eq!(made_up.finish(CLIENT_FINAL.as_bytes()), Err(ScramError::Proof));
}

#[test]
fn a_server_that_does_not_know_the_password_is_noticed() {
    let (mut client, _) =
        ScramClient::begin(Mechanism::Sha256, "user", Secret::new("pencil"), CLIENT_NONCE).unwrap();
    client.prove(SERVER_FIRST.as_bytes()).unwrap();
    let forged = b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(client.verify(forged), Err(ScramError::Proof));
    let (client, _) =
        ScramClient::begin(Mechanism::Sha256, "user", Secret::new("pencil"), CLIENT_NONCE).unwrap();
    assert_eq!(client.verify(SERVER_FINAL.as_bytes()), Err(ScramError::Malformed), "before any proof");
}

#[test]
fn malformed_first_messages_are_refused() {
    for (message, error) in [
        ("", ScramError::Malformed),
        ("n", ScramError::Malformed),
        ("n,,", ScramError::Malformed),
        ("n,,n=user", ScramError::Malformed),
        ("n,,r=abc,n=user", ScramError::Malformed),
        ("x,,n=user,r=abc", ScramError::Malformed),
        ("p=tls-unique,,n=user,r=abc", ScramError::Unsupported),
        ("n,,m=ext,n=user,r=abc", ScramError::Unsupported),
        ("n,a=other,n=user,r=abc", ScramError::Unsupported),
        ("n,b=other,n=user,r=abc", ScramError::Malformed),
        ("n,,n=,r=abc", ScramError::Malformed),
        ("n,,n=us=2Xer,r=abc", ScramError::Malformed),
        ("n,,n=us\u{e9}r,r=abc", ScramError::Characters),
        ("n,,n=user,r=", ScramError::Malformed),
        ("n,,n=user,r=a b", ScramError::Malformed),
        ("n,,n=us\0er,r=abc", ScramError::Malformed),
    ] {
        assert_eq!(ClientFirst::parse(message.as_bytes()).err(), Some(error), "{message:?}");
    }
    let long = format!("n,,n={},r=abc", "u".repeat(2000));
    assert_eq!(ClientFirst::parse(long.as_bytes()).err(), Some(ScramError::TooLong));
    for good in ["n,,n=user,r=abc", "y,,n=user,r=abc", "n,a=user,n=user,r=abc", "n,,n=a=2Cb=3D,r=abc,x=ext"] {
        assert!(ClientFirst::parse(good.as_bytes()).is_ok(), "{good}");
    }
    assert_eq!(ClientFirst::parse(b"n,,n=a=2Cb=3D,r=abc").unwrap().user, "a,b=");
}

#[test]
fn malformed_proofs_are_refused() {
    let nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    for (message, error) in [
        (String::new(), ScramError::Malformed),
        (format!("c=biws,r={nonce}"), ScramError::Malformed),
        (format!("c=eSws,r={nonce},p={proof}"), ScramError::Unsupported),
        (format!("c=biws,r={nonce}x,p={proof}"), ScramError::Nonce),
        (format!("c=biws,r={CLIENT_NONCE},p={proof}"), ScramError::Nonce),
        (format!("c=biws,r={nonce},p=AAAA"), ScramError::Malformed),
        (format!("c=biws,r={nonce},p=!"), ScramError::Malformed),
        (format!("c=biws,r={nonce},p="), ScramError::Malformed),
        (format!("c=biws,r={nonce},m=1,p={proof}"), ScramError::Proof),
    ] {
        assert_eq!(server(CLIENT_FIRST).finish(message.as_bytes()), Err(error), "{message}");
    }
    // A client that says `y` must repeat `y`: else somebody on the way took the server's offer away.
    assert_eq!(
        server("y,,n=user,r=rOprNGfwEbeRWgbNEkqO").finish(CLIENT_FINAL.as_bytes()),
        Err(ScramError::Unsupported)
    );
}

#[test]
fn a_client_refuses_what_a_server_must_not_ask() {
    let ask = |message: &str| {
        let (mut client, _) =
            ScramClient::begin(Mechanism::Sha256, "user", Secret::new("pencil"), CLIENT_NONCE).unwrap();
        client.prove(message.as_bytes()).err()
    };
    let salt = "W22ZaJ0SNY7soEsUEjb6gQ==";
    assert_eq!(ask(&format!("r={CLIENT_NONCE}x,s={salt},i=1")), Some(ScramError::Iterations));
    assert_eq!(ask(&format!("r={CLIENT_NONCE}x,s={salt},i=4000000000")), Some(ScramError::Iterations));
    assert_eq!(ask(&format!("r={CLIENT_NONCE},s={salt},i=4096")), Some(ScramError::Nonce));
    assert_eq!(ask(&format!("r=other,s={salt},i=4096")), Some(ScramError::Nonce));
    assert_eq!(ask("e=other-error"), Some(ScramError::Malformed));
}

#[test]
fn users_cannot_be_probed() {
    let line = format!("alice:{}", verifier("pencil"));
    let file = PasswordFile::parse(&line, "f").unwrap();
    let secret = NodeSecret::new([1; 32]);
    let (alice, known) = file.verifier(Mechanism::Sha256, "alice", &secret);
    assert!(known && alice.salt == SALT);
    let (nobody, known) = file.verifier(Mechanism::Sha256, "nobody", &secret);
    assert!(!known);
    assert_eq!((nobody.iterations, nobody.salt.len()), (alice.iterations, alice.salt.len()));
    assert!(
        nobody.salt == file.verifier(Mechanism::Sha256, "nobody", &secret).0.salt,
        "the same salt each time"
    );
    assert!(
        nobody.salt != file.verifier(Mechanism::Sha256, "somebody", &secret).0.salt,
        "and another for another user"
    );
    assert!(nobody.salt != file.verifier(Mechanism::Sha256, "nobody", &NodeSecret::new([2; 32])).0.salt);
}

/// An exchange with SHA-512 between this server and a client that was written down by another implementation: the
/// figures are those of Python's hashlib and hmac over RFC 5802's formulas.
#[test]
fn the_exchange_with_sha_512_agrees_with_another_implementation() {
    let verifier = ScramVerifier::create_with(Mechanism::Sha512, &Secret::new("pencil"), SALT, 4096).unwrap();
    let (mut client, first) =
        ScramClient::begin(Mechanism::Sha512, "user", Secret::new("pencil"), CLIENT_NONCE).unwrap();
    let parsed = ClientFirst::parse(&first).unwrap();
    let (server, server_first) = ScramServer::begin(parsed, Arc::new(verifier), true, SERVER_NONCE).unwrap();
    assert_eq!((server_first.as_slice(), server.mechanism()), (SERVER_FIRST.as_bytes(), Mechanism::Sha512));
    let client_final = client.prove(&server_first).unwrap();
    assert_eq!(String::from_utf8(client_final.clone()).unwrap(), CLIENT_FINAL_512);
    let server_final = server.finish(&client_final).unwrap();
    assert_eq!(String::from_utf8(server_final.clone()).unwrap(), SERVER_FINAL_512);
    client.verify(&server_final).unwrap();
}

#[test]
fn the_two_mechanisms_do_not_stand_in_for_each_other() {
    let verifier = ScramVerifier::create_with(Mechanism::Sha512, &Secret::new("pencil"), SALT, 4096).unwrap();
    let parsed = ClientFirst::parse(CLIENT_FIRST.as_bytes()).unwrap();
    let (server, _) = ScramServer::begin(parsed, Arc::new(verifier.clone()), true, SERVER_NONCE).unwrap();
    assert_eq!(server.finish(CLIENT_FINAL.as_bytes()), Err(ScramError::Malformed), "a proof of 32 bytes");
    let entry = verifier.to_string();
    assert!(entry.parse::<ScramVerifier>().unwrap() == verifier);
    let wrong = entry.replace("$scram-sha-512$", "$scram-sha-256$");
    assert!(wrong.parse::<ScramVerifier>().is_err(), "keys of 64 bytes are not those of SHA-256");
}
