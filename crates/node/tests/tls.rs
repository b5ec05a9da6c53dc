//! TLS: certificates, passwords, reloads that change whom the node trusts.

mod support;

use ravelin_mqtt::{QoS, Version};
use ravelin_node::Node;
use ravelin_node::config::Config;
use ravelin_protect::password::Edit;
use ravelin_protect::pki::Ca;
use ravelin_protect::{Secret, tls};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::*;

const DAY: Duration = Duration::from_secs(86_400);

type Tls = StreamOwned<ClientConnection, TcpStream>;

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A deployment: two listeners, the first with certificates, the second with passwords.
struct Plant {
    directory: tempfile::TempDir,
    ca: Ca,
}

impl Plant {
    fn new() -> Plant {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let (ca, issued) = Ca::create("plant", now_s(), DAY).unwrap();
        issued.save(&path.join("ca.crt"), &path.join("ca.key")).unwrap();
        let server = ca.issue_server(&["localhost".into()], now_s(), DAY).unwrap();
        server.save(&path.join("server.crt"), &path.join("server.key")).unwrap();
        std::fs::write(path.join("ca.crl"), ca.issue_crl(&[], 1, now_s(), DAY).unwrap()).unwrap();
        std::fs::write(path.join("rules"), "pattern readwrite #\n").unwrap();
        let plant = Plant { directory, ca };
        plant.set_password("alice", "secret");
        for name in ["meter-1", "meter-2"] {
            plant.issue(name);
        }
        plant
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn issue(&self, name: &str) {
        let issued = self.ca.issue_client(name, now_s(), DAY).unwrap();
        issued
            .save(&self.path().join(format!("{name}.crt")), &self.path().join(format!("{name}.key")))
            .unwrap();
    }

    fn set_password(&self, user: &str, password: &str) {
        let mut edit = Edit::open(&self.path().join("passwords")).unwrap();
        edit.set(user, &Secret::new(password)).unwrap();
        edit.save().unwrap();
    }

    fn config(&self) -> Config {
        let text = r#"
            [[listener]]
            name = "certificates"
            transport = "tls"
            address = "127.0.0.1:0"
            certificate = "server.crt"
            key = "server.key"
            client_certificate = "required"
            client_ca = "ca.crt"
            crl = ["ca.crl"]
            authentication = ["certificate"]
            session_tickets = true

            [[listener]]
            name = "passwords"
            transport = "tls"
            address = "127.0.0.1:0"
            certificate = "server.crt"
            key = "server.key"
            client_certificate = "none"
            bind_client_id = "none"
            authentication = ["password", "scram-sha-256"]

            [[listener]]
            name = "pages"
            transport = "wss"
            address = "127.0.0.1:0"
            certificate = "server.crt"
            key = "server.key"
            websocket_path = "/mqtt"
            client_certificate = "required"
            client_ca = "ca.crt"
            authentication = ["certificate"]

            [authentication]
            password_file = "passwords"

            [access]
            rules_file = "rules"
        "#;
        Config::parse(text, self.path()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn client_config(&self, identity: Option<&str>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path().join("ca.crt")).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        match identity {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = CertificateDer::pem_file_iter(self.path().join(format!("{name}.crt"))).unwrap();
                let chain = chain.map(Result::unwrap).collect();
                let key = PrivateKeyDer::from_pem_file(self.path().join(format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        }
    }

    fn client(&self, node: &Node, identity: &str) -> Client<Tls> {
        let mut client = Client::new(stream(node, 0, self.client_config(Some(identity)).into()), Version::V5);
        client.connect(&connect(identity));
        client
    }
}

fn stream(node: &Node, listener: usize, config: Arc<ClientConfig>) -> Tls {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(config, name).unwrap();
    StreamOwned::new(connection, connect_socket(node.addresses()[listener]))
}

#[test]
fn a_certificate_is_who_its_holder_is() {
    let plant = Plant::new();
    let (node, log) = start(plant.config());
    let mut subscriber = plant.client(&node, "meter-1");
    subscriber.subscribe("a/#", QoS::AtMostOnce);
    let mut publisher = plant.client(&node, "meter-2");
    let large = vec![3; 300_000];
    for payload in [&b"x"[..], &large, b"y"] {
        publisher.publish("a/b", payload);
        assert_eq!(subscriber.message().1, payload);
    }
    // Another's Client Identifier.
    let mut forger = Client::new(stream(&node, 0, plant.client_config(Some("meter-2")).into()), Version::V5);
    assert_eq!(forger.try_connect(&connect("meter-1")).0, 0x87);
    log.wait_for(&["connection.refused", "client_id=meter-1", "identity_mismatch"]);
    subscriber.ping();
    node.shutdown().unwrap();
}

#[test]
fn without_certificate_there_is_no_connection() {
    let plant = Plant::new();
    let (node, log) = start(plant.config());
    let mut stream = stream(&node, 0, plant.client_config(None).into());
    let refused = stream.write_all(&[0xC0, 0]).and_then(|()| stream.read(&mut [0; 16]));
    assert!(refused.is_err(), "{refused:?}");
    log.wait_for(&["connection.refused", "no_certificate"]);
    // Plain bytes on a TLS port.
    let mut plain = Client::new(connect_socket(node.addresses()[0]), Version::V5);
    plain.stream.write_all(b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x3c\x00\x00").unwrap();
    let mut answer = Vec::new();
    let _ = plain.stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer[0] == 0x15, "an alert at most: {answer:02x?}");
    log.wait_for(&["connection.refused", "why=tls"]);
    node.shutdown().unwrap();
}

#[test]
fn a_password_lets_in_and_a_wrong_one_does_not() {
    let plant = Plant::new();
    let (node, log) = start(plant.config());
    let with = |password: &'static [u8]| {
        let mut client = Client::new(stream(&node, 1, plant.client_config(None).into()), Version::V5);
        let mut connect = connect("alice-1");
        (connect.username, connect.password) = (Some("alice"), Some(password));
        let reason = client.try_connect(&connect).0;
        (reason, client)
    };
    let (reason, mut client) = with(b"secret");
    assert_eq!(reason, 0);
    client.ping();
    assert_eq!(with(b"wrong").0, 0x86);
    assert_eq!(with(b"").0, 0x86);
    log.wait_for(&["connection.refused", "bad_credentials", "identity=alice"]);
    node.shutdown().unwrap();
}

#[test]
fn a_reload_disconnects_who_is_trusted_no_longer_and_nobody_else() {
    let plant = Plant::new();
    let (mut node, log) = start(plant.config());
    let resumable: Arc<ClientConfig> = plant.client_config(Some("meter-2")).into();
    let mut revoked = Client::new(stream(&node, 0, Arc::clone(&resumable)), Version::V5);
    revoked.connect(&connect("meter-2"));
    revoked.ping();
    let mut valid = plant.client(&node, "meter-1");
    let mut alice = Client::new(stream(&node, 1, plant.client_config(None).into()), Version::V5);
    let mut connect_alice = connect("alice-1");
    (connect_alice.username, connect_alice.password) = (Some("alice"), Some(&b"secret"[..]));
    alice.connect(&connect_alice);

    // Something is wrong: nothing changes.
    std::fs::write(plant.path().join("rules"), "nonsense here\n").unwrap();
    assert!(node.reload(plant.config()).is_err());
    log.wait_for(&["node.reload_failed"]);
    for client in [&mut revoked, &mut valid, &mut alice] {
        client.ping();
    }

    std::fs::write(plant.path().join("rules"), "pattern readwrite #\n").unwrap();
    plant.ca.revoke(&plant.path().join("meter-2.crt"), &plant.path().join("ca.crl"), now_s(), DAY).unwrap();
    let mut edit = Edit::open(&plant.path().join("passwords")).unwrap();
    edit.delete("alice");
    edit.save().unwrap();
    node.reload(plant.config()).unwrap();
    assert_eq!(revoked.expect_end(), Some(0x87));
    assert_eq!(alice.expect_end(), Some(0x87));
    valid.ping();
    log.wait_for(&["client.disconnected", "client_id=meter-2", "administrative"]);
    log.wait_for(&["client.disconnected", "client_id=alice-1", "administrative"]);

    // A session ticket does not outlive the change of trust.
    let mut again = stream(&node, 0, resumable);
    let refused = again.write_all(&[0xC0, 0]).and_then(|()| again.read(&mut [0; 16]));
    assert!(refused.is_err(), "{refused:?}");
    node.shutdown().unwrap();
}

#[test]
fn a_stalled_handshake_ends_at_the_deadline() {
    let plant = Plant::new();
    let mut config = plant.config();
    config.limits.connect_deadline = Duration::from_millis(300);
    let (node, log) = start(config);
    let mut stalled = connect_socket(node.addresses()[0]);
    stalled.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
    assert_eq!(stalled.read(&mut [0; 16]).unwrap_or(0), 0);
    log.wait_for(&["connection.refused", "connect_deadline"]);
    node.shutdown().unwrap();
}

#[test]
fn a_scram_exchange_proves_both_sides_and_can_be_repeated() {
    use ravelin_mqtt::{Auth, ReasonCode, encode_auth};
    use ravelin_protect::scram::{Mechanism, ScramClient};
    let plant = Plant::new();
    let (node, log) = start(plant.config());
    let mut client = Client::new(stream(&node, 1, plant.client_config(None).into()), Version::V5);
    let method = "SCRAM-SHA-256";
    let auth_data = |packet: &[u8]| -> Vec<u8> {
        let at = packet.windows(1).position(|w| w[0] == 0x16).unwrap();
        let len = usize::from(u16::from_be_bytes([packet[at + 1], packet[at + 2]]));
        packet[at + 3..at + 3 + len].to_vec()
    };
    for round in 0..2 {
        let (mut exchange, first) = ScramClient::begin(
            Mechanism::Sha256,
            "alice",
            Secret::new("secret"),
            &format!("nonce-of-round-{round}-long-enough"),
        )
        .unwrap();
        if round == 0 {
            let mut connect = connect("scram");
            (connect.auth_method, connect.auth_data) = (Some(method), Some(&first[..]));
            let mut out = Vec::new();
            ravelin_mqtt::encode_connect(&mut out, &connect);
            client.send(&out);
        } else {
            let mut out = Vec::new();
            let reason = ReasonCode::RE_AUTHENTICATE;
            encode_auth(
                &mut out,
                &Auth { reason, method: Some(method), data: Some(&first), ..Auth::default() },
            );
            client.send(&out);
        }
        let challenge = client.packet().unwrap();
        assert_eq!((challenge[0], challenge[2]), (0xF0, 0x18));
        let last = exchange.prove(&auth_data(&challenge)).unwrap();
        let mut out = Vec::new();
        let reason = ReasonCode::CONTINUE_AUTHENTICATION;
        encode_auth(&mut out, &Auth { reason, method: Some(method), data: Some(&last), ..Auth::default() });
        client.send(&out);
        let done = client.packet().unwrap();
        assert_eq!(done[0], if round == 0 { 0x20 } else { 0xF0 }, "{done:02x?}");
        exchange.verify(&auth_data(&done)).unwrap();
    }
    log.wait_for(&["client.reauthenticated", "client_id=scram"]);
    client.ping();
    node.shutdown().unwrap();
}

#[test]
fn secure_websocket_knows_the_certificate() {
    let plant = Plant::new();
    let (node, log) = start(plant.config());
    let mut certified = plant.client(&node, "meter-1");
    certified.subscribe("a", QoS::AtMostOnce);
    let stream = stream(&node, 2, plant.client_config(Some("meter-2")).into());
    let mut page = Client::new(WebSocket::open(stream, 700), Version::V5);
    page.connect(&connect("meter-2"));
    log.wait_for(&["client.connected", "identity=meter-2"]);
    page.subscribe("b", QoS::AtMostOnce);
    let large = vec![8; 150_000];
    for payload in [&b"x"[..], &large] {
        page.publish("a", payload);
        assert_eq!(certified.message().1, payload);
        certified.publish("b", payload);
        assert_eq!(page.message().1, payload);
    }
    node.shutdown().unwrap();
}

#[test]
fn the_bill_of_cryptography_has_what_handshakes_agreed_on() {
    let plant = Plant::new();
    let (node, _) = start(plant.config());
    let resumable: Arc<ClientConfig> = plant.client_config(Some("meter-1")).into();
    for _ in 0..2 {
        let mut meter = Client::new(stream(&node, 0, Arc::clone(&resumable)), Version::V5);
        meter.connect(&connect("meter-1"));
        meter.ping();
    }
    let control = node.control();
    let handshakes = || control.inventory(|inventory, _| inventory.handshakes());
    let counted = |full, resumed| handshakes().iter().any(|one| (one.full, one.resumed) >= (full, resumed));
    wait_until(
        || counted(1, 0) && handshakes().iter().any(|one| one.resumed == 1),
        || format!("{:?}", handshakes()),
    );
    let first = handshakes().remove(0);
    assert_eq!((&*first.listener, &*first.version), ("certificates", "1.3"));
    assert!(first.suite.starts_with("TLS_") && first.group.is_some(), "{first:?}");
    let certificate = || {
        let view = control.inventory(|inventory, now_ms| inventory.device("identity:meter-1", now_ms));
        view.ok().and_then(|view| view.certificate)
    };
    wait_until(|| certificate().is_some(), || "no certificate".into());
    let certificate = certificate().unwrap();
    assert_eq!((&*certificate.key, certificate.key_bits), ("ECDSA-P-256", 256));
    assert!(certificate.subject.contains("CN=meter-1"), "{certificate:?}");
    let bill = control.inventory(|inventory, now_ms| inventory.cbom("test", now_ms)).to_string();
    for part in ["TLS 1.3", &first.suite, "CN=meter-1", "localhost", "ecdsa-with-SHA256"] {
        assert!(bill.contains(part), "{part}: {bill}");
    }
    node.shutdown().unwrap();
}
