//! Items 36, 37, 40 and 41: names with wildcards, proofs that are left out, sources of identities that are not there, and
//! certificates that are taken for somebody else's.

use crate::support::source;
use ravelin_attacks::node::Setup;
use ravelin_attacks::secure::{Authority, Identity, listener, tls};
use ravelin_attacks::wire::binary;
use ravelin_attacks::{Connect, Node, Peer, Publish};
use rcgen::{CertificateParams, DistinguishedName, DnType, SanType};
use rustls::ClientConfig;
use std::net::SocketAddr;
use std::sync::Arc;

const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
const NOT_AUTHORIZED: u8 = 0x87;
const SERVER_UNAVAILABLE: u8 = 0x88;

const PASSWORDS: &str = "transport = \"tcp\"\nbind_client_id = \"none\"\nauthentication = [\"password\"]";

/// The reason code of the CONNACK; `None` if there is none.
fn answer(address: SocketAddr, connect: &Connect) -> Option<u8> {
    Peer::open(address).greet(connect).map(|connack| connack.reason())
}

fn answer_tls(address: SocketAddr, config: &Arc<ClientConfig>, connect: &Connect) -> Option<u8> {
    tls(address, config).ok()?.greet(connect).map(|connack| connack.reason())
}

/// What is in no packet of a client that connects: it must be refused whatever the way.
fn assert_refused(reason: Option<u8>, what: &str) {
    assert_ne!(reason, Some(0), "{what}: let in");
}

/// CVE-2017-7650: a user called `+` or `#` reads what a pattern gives everyone of his own.
#[test]
fn a36_names_with_wildcards_in_patterns() {
    let names = ["+", "a/b", "a/+", "+/#", "$SYS", "victim"];
    let users: Vec<_> = names.iter().map(|name| (*name, "secret")).collect();
    let mut node = Setup::default()
        .listener(PASSWORDS)
        .passwords(&users)
        .rules("pattern readwrite private/%u/#\npattern readwrite clients/%c/#\n")
        .start();
    let mut victim = Peer::connect(node.address(), &Connect::v5("victim").user("victim", "secret"));
    assert_eq!(victim.subscribe("private/victim/#", 1), 1);
    for name in names.iter().filter(|name| **name != "victim") {
        // By the user name, and by the Client Identifier of somebody who is let in.
        for connect in [Connect::v5("plain").user(name, "secret"), Connect::v5(name).user("victim", "secret")]
        {
            let mut peer = Peer::open(node.address());
            // A Client Identifier with a wildcard may be refused at once; whoever is let in must gain nothing by it.
            if peer.greet(&connect).is_none_or(|connack| connack.reason() != 0) {
                continue;
            }
            for filter in ["clients/+/#", "clients/victim/#", "private/+/#", "private/other/#", "#"] {
                if peer.subscribe(filter, 1) < 0x80 {
                    panic!("{name:?} may subscribe to {filter}");
                }
            }
            peer.send(&Publish::new("clients/victim/order", "x").qos(1, 7).to_bytes());
            assert!(peer.expect(4).reason() >= 0x80, "{name:?} publishes as the victim");
        }
    }
    victim.ping();
    assert!(victim.drain().is_empty(), "something reached the victim");
    node.assert_healthy();
}

/// RabbitMQ CVE-2016-9877, CVE-2018-12551, CVE-2018-12550: what is left out, empty or malformed is no proof.
#[test]
fn a37_a_password_that_is_left_out() {
    let mut node = Setup::default().listener(PASSWORDS).passwords(&[("alice", "secret")]).start();
    let mut number = 0;
    for level in [4, 5] {
        for (what, password) in [
            ("an empty password", &b""[..]),
            ("a wrong one", b"secre"),
            ("a longer one", b"secret\0"),
            ("NUL", b"\0"),
        ] {
            let connect = Connect { level, ..Connect::v5("alice") }.user("alice", password);
            // An address each: failed log-ins make for a pause, which is another test's.
            number += 1;
            let mut peer = Peer::open_from(node.address(), source(number));
            let reason = peer.greet(&connect).map(|connack| connack.reason());
            assert!(matches!(reason, Some(BAD_USER_NAME_OR_PASSWORD | 4 | 5)), "{what}: {reason:?}");
        }
        for connect in
            [Connect::v5("alice"), Connect::v5("alice").user("", "secret"), Connect::v5("alice").user("", "")]
        {
            assert_refused(answer(node.address(), &Connect { level, ..connect }), "no name");
        }
        let nameless = Connect { level, password: None, ..Connect::v5("alice").user("alice", "") };
        assert_refused(answer(node.address(), &nameless), "a name without a password");
    }
    let right = Connect::v5("alice").user("alice", "secret");
    Peer::connect_from(node.address(), source(99), &right);
    node.assert_healthy();
}

/// A password file with one line that is not right admits nobody: the node does not start with it, and a running node
/// keeps the one it has.
#[test]
fn a37_a_malformed_password_line() {
    for line in [
        "alice:",
        "alice",
        "",
        ":",
        "alice:$7$",
        "alice:plain",
        "alice:$6$$",
        "alice:$totp$alg=SHA1",
        "alice:*",
    ] {
        let setup = Setup::default()
            .listener(PASSWORDS)
            .section("[authentication]\npassword_file = \"passwords\"")
            .file("passwords", format!("# users\n{line}\n").as_bytes());
        let (code, said) = setup.refuses_to_start();
        assert!(code.is_some_and(|code| code != 0), "{line:?}: it starts");
        assert!(said.contains("passwords:2"), "{line:?}: {said}");
    }
    let mut node = Setup::default().listener(PASSWORDS).passwords(&[("alice", "secret")]).start();
    std::fs::write(node.path().join("passwords"), "alice:\n").expect("the file");
    node.signal(rustix::process::Signal::HUP);
    node.expect("node.reload_failed", &[]);
    assert_refused(
        answer(node.address(), &Connect::v5("alice").user("alice", "")),
        "after a reload that failed",
    );
    assert_eq!(answer(node.address(), &Connect::v5("alice").user("alice", "secret")), Some(0));
    node.assert_healthy();
}

/// No rules, and an empty file of rules, allow nothing.
#[test]
fn a37_rules_that_are_empty() {
    for rules in ["", "# nothing\n", "user somebody\n"] {
        let mut node = Setup::default().open_listener().rules(rules).start();
        let mut peer = Peer::connect(node.address(), &Connect::v5("anyone"));
        assert!(peer.subscribe("#", 1) >= 0x80 && peer.subscribe("a", 0) >= 0x80);
        peer.send(&Publish::new("a", "x").qos(1, 7).to_bytes());
        assert!(peer.expect(4).reason() >= 0x80);
        node.assert_healthy();
    }
}

/// Moquette CVE-2026-95848, emqx#17715: whatever says who somebody is can be missing, and then nobody is anybody.
#[test]
fn a40_sources_that_are_missing() {
    let jwt = |keys: &str| {
        format!(
            "[[jwt]]\nissuer = \"https://id\"\naudience = [\"bus\"]\n{keys}\n[authentication]\npassword_file = \"passwords\""
        )
    };
    let both = "transport = \"tcp\"\nbind_client_id = \"none\"\nauthentication = [\"password\", \"jwt\"]";
    // At the start: the node does not start.
    for section in [
        jwt("jwks_file = \"nowhere.json\""),
        jwt("jwks_file = \"passwords\""),
        "[authentication]\npassword_file = \"nowhere\"".into(),
    ] {
        let setup = Setup::default().listener(both).section(&section).file("passwords", b"# nobody\n");
        let (code, said) = setup.refuses_to_start();
        assert!(code.is_some_and(|code| code != 0), "{section}: it starts");
        assert!(
            said.contains("nowhere") || said.contains("jwt") || said.contains("jwks"),
            "{section}: {said}"
        );
    }
    // While it runs: an issuer that nothing answers for. Refused, said so, and the password of others is good.
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let mut node = Setup::default()
        .listener(both)
        .passwords(&[("alice", "secret")])
        .section(&format!(
            "[[jwt]]\nissuer = \"https://id\"\naudience = [\"bus\"]\njwks_url = \"http://{closed}/jwks\""
        ))
        .start();
    node.expect("issuer.keys_stale", &[("issuer", "https://id")]);
    // {"alg":"ES256"} . {"iss":"https://id","aud":"bus","sub":"alice","exp":4000000000} . 64 bytes
    let token = format!(
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkIiwiYXVkIjoiYnVzIiwic3ViIjoiYWxpY2UiLCJleHAiOjQwMDAwMDAwMDB9.{}",
        "A".repeat(86)
    );
    assert_eq!(answer(node.address(), &Connect::v5("alice").user("alice", &token)), Some(SERVER_UNAVAILABLE));
    node.expect_where("why", |event| {
        event.is("credential.refused", &[("credential", "jwt")]) && event.text("what").contains("no keys")
    });
    assert_eq!(answer(node.address(), &Connect::v5("alice").user("alice", "secret")), Some(0));
    // A reload that names a file that is gone changes nothing.
    std::fs::remove_file(node.path().join("passwords")).expect("the file");
    node.signal(rustix::process::Signal::HUP);
    node.expect("node.reload_failed", &[]);
    assert_eq!(answer(node.address(), &Connect::v5("alice").user("alice", "secret")), Some(0));
    assert_refused(answer(node.address(), &Connect::v5("alice").user("alice", "wrong")), "after it");
    node.assert_healthy();
}

/// Tokens of every kind that was ever taken for a good one: refused, each with a plain answer and its reason in the log.
#[test]
fn a40_tokens_that_nobody_signed() {
    let key = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"a","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                 "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
    let mut node = Setup::default()
        .listener("transport = \"tcp\"\nbind_client_id = \"none\"\nauthentication = [\"jwt\"]")
        .section("[[jwt]]\nissuer = \"https://id\"\naudience = [\"bus\"]\njwks_file = \"jwks.json\"")
        .file("jwks.json", key.as_bytes())
        .start();
    let claims = r#"{"iss":"https://id","aud":"bus","sub":"alice","exp":4000000000}"#;
    let (zeros, nothing) = ("A".repeat(86), String::new());
    for (header, claims, signature, what) in [
        (r#"{"alg":"none"}"#, claims, &nothing, "algorithm is not accepted"),
        (r#"{"alg":"HS256","kid":"a"}"#, claims, &zeros, "algorithm is not accepted"),
        (r#"{"alg":"ES256","kid":"a"}"#, claims, &zeros, "signature is wrong"),
        (r#"{"alg":"ES256","kid":"a"}"#, claims, &nothing, "signature is wrong"),
        (r#"{"alg":"ES256","kid":"../../etc/passwd"}"#, claims, &zeros, "no such key"),
        (r#"{"alg":"ES256","crit":["exp"]}"#, claims, &zeros, "crit"),
        (r#"{"alg":"ES256","alg":"none"}"#, claims, &zeros, "twice"),
        (r#"{"alg":"ES256"}"#, r#"{"iss":"https://evil"}"#, &zeros, "\"exp\" is missing"),
        (r#"{"alg":"ES256"}"#, r#"{"iss":"https://evil","exp":4000000000}"#, &zeros, "issuer is not one"),
        (r#"{"alg":"ES256"}"#, "[1]", &zeros, "malformed"),
    ] {
        let token = format!("{}.{}.{signature}", base64url(header), base64url(claims));
        assert_eq!(
            answer(node.address(), &Connect::v5("alice").user("", &token)),
            Some(BAD_USER_NAME_OR_PASSWORD),
            "{header}"
        );
        node.expect_where(what, |event| {
            event.is("credential.refused", &[]) && event.text("what").contains(what)
        });
    }
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for token in [
        format!("eyJ.{}.{}", "x".repeat(60_000), "y"),
        format!("{}.{}.A", base64url(r#"{"alg":"ES256"}"#), base64url(&deep)),
    ] {
        assert_refused(answer(node.address(), &Connect::v5("alice").user("", &token)), "a bomb");
    }
    node.assert_healthy();
}

/// A listener for certificates, over TLS and over WebSocket over TLS, with certificates of any shape.
struct Gate {
    node: Node,
    authority: Authority,
}

fn gate(keys: &str, sections: &str) -> Gate {
    let authority = Authority::default();
    let server = authority.server();
    let setup = Setup::default()
        .listener(&format!("{}{keys}", listener("tls", "required")))
        .listener(&format!("{}{keys}", listener("wss", "required")))
        .listener(&format!(
            "{}{keys}\nauthentication = [\"certificate\"]\ndangerous_anonymous = true",
            listener("tls", "optional")
        ))
        .section(sections)
        .file("ca.crt", authority.certificate.as_bytes())
        .file("server.crt", server.certificate.as_bytes())
        .file("server.key", server.key.as_bytes())
        .rules("pattern readwrite private/%u/#\n");
    Gate { node: setup.start(), authority }
}

impl Gate {
    fn config(&self, identity: &Identity) -> Arc<ClientConfig> {
        self.authority.config(Some((identity, &[])))
    }

    fn with_names(&self, names: &[&str]) -> Identity {
        let mut params = CertificateParams::default();
        for name in names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        self.authority.issue(params)
    }
}

/// NATS GO-2026-4828 and its like: which name of a certificate counts, and what else it may hold.
#[test]
fn a41_names_in_certificates() {
    let mut gate = gate("bind_client_id = \"none\"", "");
    let address = gate.node.address();
    let good = gate.config(&gate.with_names(&["meter-7"]));
    assert_eq!(answer_tls(address, &good, &Connect::v5("meter-7")), Some(0));
    for name in ["+", "#", "a/b", "meter-7/#", " meter-7", "meter-7 ", "meter\n7", "meter\u{202E}7", ""] {
        let config = gate.config(&gate.with_names(&[name]));
        let reason = answer_tls(address, &config, &Connect::v5("meter-7"));
        assert_eq!(reason, Some(NOT_AUTHORIZED), "{name:?}");
    }
    // A name in another place of the certificate is not the one that counts.
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names.push(SanType::DnsName("meter-7".try_into().expect("a name")));
    params.distinguished_name.push(DnType::OrganizationName, "meter-7");
    let elsewhere = gate.config(&gate.authority.issue(params));
    assert_eq!(answer_tls(address, &elsewhere, &Connect::v5("meter-7")), Some(NOT_AUTHORIZED));
    gate.node.expect_where("why", |event| {
        event.is("credential.refused", &[("credential", "certificate")])
            && event.text("what").contains("no name")
    });
    // Another user name than the certificate's, with and without a password.
    for connect in [Connect::v5("x").user("operator", ""), Connect::v5("x").user("operator", "anything")] {
        assert_refused(answer_tls(address, &good, &connect), "another's name");
    }
    gate.node.assert_healthy();
}

/// FlashMQ 1.27.1: anonymous beside certificates; mosquitto 1.5.4: WebSocket does not ask for the certificate.
#[test]
fn a41_ways_around_the_certificate() {
    let mut gate = gate("bind_client_id = \"none\"", "");
    let nobody = gate.authority.config(None);
    let [over_tls, over_wss, optional] = gate.node.addresses[..] else { panic!("three listeners") };
    for address in [over_tls, over_wss] {
        assert_refused(answer_tls(address, &nobody, &Connect::v5("meter-7")), "no certificate");
        assert_refused(answer(address, &Connect::v5("meter-7")), "plain text");
    }
    // Where anonymous is allowed, whoever proves nothing is nobody, and has nobody's rights.
    let mut peer = tls(optional, &nobody).expect("a connection");
    let connect = Connect::v5("meter-7").user("meter-7", "anything");
    assert_eq!(peer.greet(&connect).map(|connack| connack.reason()), Some(0));
    assert!(peer.subscribe("private/meter-7/#", 1) >= 0x80, "a name that is not proven has rights");
    let mut stranger = tls(optional, &gate.config(&gate.with_names(&["a/+"]))).expect("a connection");
    assert_refused(
        stranger.greet(&Connect::v5("x")).map(|connack| connack.reason()),
        "a bad certificate is not ignored",
    );
    gate.node.assert_healthy();
}

/// AWS: a broad subscription must not bring what a denial keeps away; and a second factor is not left out by any way in.
#[test]
fn a41_broad_subscriptions_and_factors_that_are_left_out() {
    let authority = Authority::default();
    let server = authority.server();
    let mut node = Setup::default()
        .listener(&format!("{}bind_client_id = \"none\"", listener("tls", "required")))
        .listener(&format!("{}bind_client_id = \"none\"\nsecond_factor = \"password\"", listener("tls", "required")))
        .listener(&format!(
            "{}bind_client_id = \"none\"\nauthentication = [\"certificate\", \"password\", \"scram-sha-256\"]\n\
             second_factor = \"totp\"",
            listener("tls", "optional")
        ))
        .passwords(&[("meter-7", "secret")])
        .file("ca.crt", authority.certificate.as_bytes())
        .file("server.crt", server.certificate.as_bytes())
        .file("server.key", server.key.as_bytes())
        .rules("user meter-7\ntopic readwrite #\ntopic deny secrets/#\n")
        .start();
    let [plain, password, totp] = node.addresses[..] else { panic!("three listeners") };
    let member = authority.config(Some((&authority.client("meter-7", 0), &[])));
    let enter = |client_id: &str| {
        let mut peer = tls(plain, &member).expect("a connection");
        assert_eq!(peer.greet(&Connect::v5(client_id)).map(|connack| connack.reason()), Some(0));
        peer
    };
    let (mut reader, mut writer) = (enter("reader"), enter("writer"));
    // The denial covers a part of `#`: either the subscription is refused or its part is not delivered.
    for filter in ["#", "+/#", "secrets/+", "$share/g/#"] {
        reader.subscribe(filter, 1);
    }
    for topic in ["secrets/1", "open/1"] {
        writer.send(&Publish::new(topic, "x").qos(1, 7).to_bytes());
        writer.expect(4);
    }
    reader.ping();
    assert!(reader.drain().iter().all(|packet| !packet.topic().starts_with("secrets/")));
    // The second factor.
    assert_eq!(answer_tls(password, &member, &Connect::v5("m").user("meter-7", "secret")), Some(0));
    for connect in [
        Connect::v5("m"),
        Connect::v5("m").user("meter-7", ""),
        Connect::v5("m").user("meter-7", "wrong"),
        Connect::v5("m").user("operator", "secret"),
    ] {
        assert_refused(answer_tls(password, &member, &connect), "without the password");
    }
    let nobody = authority.config(None);
    for (config, secret) in [(&nobody, "secret"), (&nobody, "000000"), (&member, "secret"), (&member, "")] {
        let connect = Connect::v5("m").user("meter-7", secret);
        assert_refused(answer_tls(totp, config, &connect), "a password for a code, or no certificate");
    }
    let scram = Connect::v5("m").properties(
        &[&[0x15][..], &binary("SCRAM-SHA-256"), &[0x16], &binary("n,,n=meter-7,r=abcdef")].concat(),
    );
    assert_refused(answer_tls(totp, &nobody, &scram), "an exchange without a certificate");
    node.assert_healthy();
}

fn base64url(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(word >> (18 - 6 * place) & 63) as usize]));
        }
    }
    out
}
