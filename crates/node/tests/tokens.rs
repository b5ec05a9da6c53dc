//! Tokens over the wire: enhanced authentication, a new token before the old one expires, and the end when it does.

mod support;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ravelin_mqtt::{Auth, ReasonCode, encode_auth};
use ravelin_node::Node;
use serde_json::json;
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::*;

const METHOD: &str = "JWT";
const AUTH: u8 = 0xF0;

struct Plant {
    node: Node,
    log: Log,
    pair: Ed25519KeyPair,
    _directory: tempfile::TempDir,
}

fn plant() -> Plant {
    let directory = tempfile::tempdir().unwrap();
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    let set = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": x}]});
    std::fs::write(directory.path().join("jwks.json"), set.to_string()).unwrap();
    let text = "[node]\nworkers = 3\n[[listener]]\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
                authentication = [\"jwt\"]\n[[jwt]]\nissuer = \"id\"\naudience = [\"bus\"]\njwks_file = \"jwks.json\"\n\
                leeway = \"0s\"\ngroups_claim = \"groups\"\n[access]\ndangerous_allow_everything = true\n";
    let (node, log) = node(text, directory.path());
    Plant { node, log, pair, _directory: directory }
}

impl Plant {
    fn token(&self, identity: &str, seconds: u64, groups: &[&str]) -> Vec<u8> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims =
            json!({"iss": "id", "aud": "bus", "sub": identity, "exp": now_s + seconds, "groups": groups});
        let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&json!({"alg": "EdDSA"})), part(&claims));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()))).into_bytes()
    }

    fn enter(&self, name: &str, seconds: u64) -> Client<TcpStream> {
        let token = self.token(name, seconds, &[]);
        let mut client = Client::new(connect_socket(self.node.addresses()[0]), ravelin_mqtt::Version::V5);
        let mut connect = connect(name);
        (connect.auth_method, connect.auth_data) = (Some(METHOD), Some(&token[..]));
        client.connect(&connect);
        client
    }
}

fn prove_again(client: &mut Client<TcpStream>, method: &str, token: &[u8]) {
    let mut out = Vec::new();
    let reason = ReasonCode::RE_AUTHENTICATE;
    encode_auth(&mut out, &Auth { reason, method: Some(method), data: Some(token), ..Auth::default() });
    client.send(&out);
}

#[test]
fn a_connection_ends_with_its_token() {
    let plant = plant();
    let mut clients: Vec<_> = (0..6).map(|number| plant.enter(&format!("meter-{number}"), 2)).collect();
    let started = Instant::now();
    for client in &mut clients {
        // 0xA0: the maximum connection time that was authorized.
        assert_eq!(client.expect_end(), Some(0xA0));
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    plant.log.wait_for(&["client.disconnected", "meter-3", "token has expired"]);
    plant.node.shutdown().unwrap();
}

#[test]
fn a_new_token_keeps_the_connection() {
    let plant = plant();
    let mut client = plant.enter("meter-7", 3);
    prove_again(&mut client, METHOD, &plant.token("meter-7", 600, &[]));
    let answer = client.packet().unwrap();
    // Success may leave the reason out; the method must be said.
    assert!(answer[0] == AUTH && answer.get(2).is_none_or(|reason| *reason == 0), "{answer:02x?}");
    std::thread::sleep(Duration::from_millis(3500));
    client.ping();
    // A token of another identity, one that gives other groups, one that has expired, another method: each is the end.
    let bad = [
        (METHOD, plant.token("meter-8", 600, &[]), 0x87),
        (METHOD, plant.token("meter-9", 600, &["operators"]), 0x87),
        (METHOD, plant.token("meter-9", 0, &[]), 0x87),
        (METHOD, b"rubbish".to_vec(), 0x87),
        ("OAUTH2-JWT", plant.token("meter-9", 600, &[]), 0x82),
    ];
    for (method, token, reason) in bad {
        let mut client = plant.enter("meter-9", 600);
        prove_again(&mut client, method, &token);
        assert_eq!(client.expect_end(), Some(reason));
    }
    plant.log.wait_for(&["credential.refused", "meter-9", "token has expired"]);
    plant.node.shutdown().unwrap();
}
