//! TLS as a listener speaks it: who is accepted, what is negotiated, and what a reload ends.

use ravelin_protect::pki::{Ca, DAY, Issued};
use ravelin_protect::tls::{
    Protocol, ServerConfig, ServerIdentity, ServerSettings, TICKET_LIFETIME, TlsVersion, provider,
    server_config, with_new_tickets,
};
use ravelin_protect::{CertificateFacts, ClientCertificate, Error, IdentityError, IdentityFrom, Trust, file};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

struct Plant {
    dir: tempfile::TempDir,
    ca: Ca,
    identity: ServerIdentity,
}

fn chain(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap();
    (vec![certificate], PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap())
}

impl Plant {
    fn new() -> Plant {
        let dir = tempfile::tempdir().unwrap();
        let (ca, issued) = Ca::create("CA", now_s(), DAY * 10).unwrap();
        issued.save(&dir.path().join("ca.crt"), &dir.path().join("ca.key")).unwrap();
        let list = ca.issue_crl(&[], 1, now_s(), DAY).unwrap();
        file::create(&dir.path().join("ca.crl"), list.as_bytes(), file::Mode::Public).unwrap();
        let server = ca.issue_server(&["localhost".into(), "127.0.0.1".into()], now_s(), DAY).unwrap();
        server.save(&dir.path().join("server.crt"), &dir.path().join("server.key")).unwrap();
        let identity =
            ServerIdentity::load(&dir.path().join("server.crt"), &dir.path().join("server.key")).unwrap();
        Plant { dir, ca, identity }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn trust(&self) -> Result<Trust, Error> {
        Trust::load(&self.path("ca.crt"), &[self.path("ca.crl")])
    }

    fn server(&self, demand: ClientCertificate, tickets: bool) -> Arc<ServerConfig> {
        let trust = self.trust().unwrap();
        let settings = ServerSettings {
            identity: &self.identity,
            trust: Some(&trust),
            client_certificate: demand,
            version_min: TlsVersion::Tls12,
            ticket_lifetime: tickets.then_some(TICKET_LIFETIME),
            protocol: Protocol::Mqtt,
        };
        Arc::new(server_config(&settings).unwrap())
    }

    fn client(
        &self,
        issued: Option<&Issued>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.path("ca.crt")).unwrap()).unwrap();
        let builder =
            ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match issued.map(chain) {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        })
    }
}

/// Runs a handshake in memory; gives both ends once they have also exchanged a byte, so that tickets arrived.
fn connect(
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
    let mut client = ClientConnection::new(client, "localhost".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    for _ in 0..10 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok((client, server))
}

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
const OLD: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

#[test]
fn mutual_tls_with_the_post_quantum_group() {
    let plant = Plant::new();
    let meter = plant.ca.issue_client("meter-7", now_s(), DAY).unwrap();
    let (client, server) =
        connect(plant.client(Some(&meter), BOTH), plant.server(ClientCertificate::Required, true)).unwrap();
    assert_eq!(client.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert_eq!(client.negotiated_key_exchange_group().unwrap().name(), rustls::NamedGroup::X25519MLKEM768);
    let facts = CertificateFacts::parse(&server.peer_certificates().unwrap()[0]).unwrap();
    assert_eq!(&*facts.identity(IdentityFrom::CommonName).unwrap(), "meter-7");
    assert_eq!(&*facts.identity(IdentityFrom::SanDns).unwrap(), "meter-7");
    assert_eq!(facts.identity(IdentityFrom::SanUri), Err(IdentityError::Missing));
    connect(plant.client(Some(&meter), OLD), plant.server(ClientCertificate::Required, true)).unwrap();
}

#[test]
fn who_is_not_of_our_ca_is_refused() {
    let (plant, other) = (Plant::new(), Plant::new());
    let required = || plant.server(ClientCertificate::Required, true);
    assert!(connect(plant.client(None, BOTH), required()).is_err(), "no certificate");
    let stranger = other.ca.issue_client("meter-7", now_s(), DAY).unwrap();
    assert!(connect(plant.client(Some(&stranger), BOTH), required()).is_err(), "another CA");
    assert!(
        connect(plant.client(Some(&stranger), BOTH), plant.server(ClientCertificate::Optional, true))
            .is_err()
    );
    let server = plant.ca.issue_server(&["meter-7".into()], now_s(), DAY).unwrap();
    assert!(connect(plant.client(Some(&server), BOTH), required()).is_err(), "a server's certificate");
    let expired = plant.ca.issue_client("meter-7", now_s() - 86_400 * 3, DAY).unwrap();
    assert!(connect(plant.client(Some(&expired), BOTH), required()).is_err(), "expired");
    let early = plant.ca.issue_client("meter-7", now_s() + 86_400 * 3, DAY).unwrap();
    assert!(connect(plant.client(Some(&early), BOTH), required()).is_err(), "not yet valid");
    assert!(connect(plant.client(None, BOTH), plant.server(ClientCertificate::Optional, true)).is_ok());
}

#[test]
fn a_revoked_certificate_is_refused_and_live_sessions_are_found() {
    let plant = Plant::new();
    let meter = plant.ca.issue_client("meter-7", now_s(), DAY).unwrap();
    let other = plant.ca.issue_client("meter-8", now_s(), DAY).unwrap();
    meter.save(&plant.path("meter.crt"), &plant.path("meter.key")).unwrap();
    let before = plant.trust().unwrap();
    // Revoked by a CA that was loaded again, as another process does it.
    let ca = Ca::load(&plant.path("ca.crt"), &plant.path("ca.key")).unwrap();
    assert!(ca.revoke(&plant.path("meter.crt"), &plant.path("ca.crl"), now_s(), DAY).unwrap());
    assert!(!ca.revoke(&plant.path("meter.crt"), &plant.path("ca.crl"), now_s(), DAY).unwrap(), "once");
    let after = plant.trust().unwrap();
    let now = UnixTime::now();
    assert!(before.accepts(&chain(&meter).0, now) && !after.accepts(&chain(&meter).0, now));
    assert!(after.accepts(&chain(&other).0, now) && !after.accepts(&[], now));
    assert!(
        connect(plant.client(Some(&meter), BOTH), plant.server(ClientCertificate::Required, true)).is_err()
    );
    assert!(
        connect(plant.client(Some(&other), BOTH), plant.server(ClientCertificate::Required, true)).is_ok()
    );
}

#[test]
fn a_revocation_list_that_is_missing_broken_or_old_fails_closed() {
    let plant = Plant::new();
    let meter = plant.ca.issue_client("meter-7", now_s(), DAY).unwrap();
    assert!(Trust::load(&plant.path("ca.crt"), &[plant.path("none.crl")]).is_err());
    for broken in [
        &b""[..],
        b"rubbish",
        b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        b"\x30\x03\x02\x01\x01",
    ] {
        std::fs::write(plant.path("ca.crl"), broken).unwrap();
        assert!(plant.trust().is_err(), "{broken:?}");
    }
    let old = plant.ca.issue_crl(&[], 1, now_s() - 86_400 * 3, DAY).unwrap();
    std::fs::write(plant.path("ca.crl"), old).unwrap();
    let trust = plant.trust().unwrap();
    assert!(trust.expired_list(now_s()).is_some() && !trust.accepts(&chain(&meter).0, UnixTime::now()));
    // A list of another CA says nothing about ours; one in the name of ours that it did not sign is a forgery.
    let (other, _) = Ca::create("another CA", now_s(), DAY).unwrap();
    std::fs::write(plant.path("ca.crl"), other.issue_crl(&[], 1, now_s(), DAY).unwrap()).unwrap();
    assert!(!plant.trust().unwrap().accepts(&chain(&meter).0, UnixTime::now()));
    let namesake = Plant::new();
    std::fs::copy(namesake.path("ca.crl"), plant.path("ca.crl")).unwrap();
    assert!(plant.trust().is_err());
}

#[test]
fn a_ticket_does_not_outlive_a_reload() {
    for versions in [BOTH, OLD] {
        let plant = Plant::new();
        let meter = plant.ca.issue_client("meter-7", now_s(), DAY).unwrap();
        let server = plant.server(ClientCertificate::Required, true);
        let client = plant.client(Some(&meter), versions);
        let (first, _) = connect(client.clone(), server.clone()).unwrap();
        assert_eq!(first.handshake_kind(), Some(HandshakeKind::Full));
        let (again, end) = connect(client.clone(), server).unwrap();
        assert_eq!(again.handshake_kind(), Some(HandshakeKind::Resumed));
        assert!(end.peer_certificates().is_some(), "the identity comes with the resumed session");
        let reloaded = plant.server(ClientCertificate::Required, true);
        let (after, _) = connect(client.clone(), reloaded).unwrap();
        assert_ne!(
            after.handshake_kind(),
            Some(HandshakeKind::Resumed),
            "a ticket outlived its configuration"
        );
        // And a client that was revoked in between is out.
        meter.save(&plant.path("meter.crt"), &plant.path("meter.key")).unwrap();
        plant.ca.revoke(&plant.path("meter.crt"), &plant.path("ca.crl"), now_s(), DAY).unwrap();
        assert!(connect(client, plant.server(ClientCertificate::Required, true)).is_err());
    }
}

#[test]
fn new_ticket_keys_end_what_could_be_resumed_and_nothing_else() {
    for versions in [BOTH, OLD] {
        let plant = Plant::new();
        let meter = plant.ca.issue_client("meter-7", now_s(), DAY).unwrap();
        let server = plant.server(ClientCertificate::Required, true);
        let client = plant.client(Some(&meter), versions);
        connect(client.clone(), server.clone()).unwrap();
        let rotated = Arc::new(with_new_tickets(&server).unwrap());
        assert_eq!(rotated.ticketer.lifetime(), server.ticketer.lifetime());
        let (after, end) = connect(client.clone(), rotated.clone()).unwrap();
        assert_eq!(after.handshake_kind(), Some(HandshakeKind::Full));
        assert!(end.peer_certificates().is_some());
        let (again, _) = connect(client, rotated).unwrap();
        assert_eq!(again.handshake_kind(), Some(HandshakeKind::Resumed));
        let without = plant.server(ClientCertificate::Required, false);
        assert!(!with_new_tickets(&without).unwrap().ticketer.enabled());
    }
}

#[test]
fn a_forged_or_missing_list_lets_nobody_in() {
    let plant = Plant::new();
    let meter = plant.ca.issue_client("meter-7", now_s(), DAY).unwrap();
    let authorities = ravelin_protect::trust::load_certificates(&plant.path("ca.crt")).unwrap();
    let genuine = ravelin_protect::trust::load_crls(&plant.path("ca.crl")).unwrap();
    let mut forged = genuine[0].to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let error = Trust::new(authorities.clone(), vec![forged.into()], "a").err().unwrap().to_string();
    assert!(error.contains("is not signed by it"), "{error}");
    let missing = vec!["http://crl.example/a".to_string()];
    let closed = Trust::with_missing(authorities.clone(), Vec::new(), missing.clone(), "a").unwrap();
    assert!(!closed.accepts(&chain(&meter).0, UnixTime::now()));
    assert_eq!(closed.missing(), missing);
    // Where the CA has a list, what is missing of another does not matter to its clients.
    let open = Trust::with_missing(authorities, genuine, missing, "a").unwrap();
    assert!(open.accepts(&chain(&meter).0, UnixTime::now()));
}

#[test]
fn the_newer_of_two_lists_counts() {
    let plant = Plant::new();
    let meter = plant.ca.issue_client("meter-7", now_s(), DAY).unwrap();
    let authorities = ravelin_protect::trust::load_certificates(&plant.path("ca.crt")).unwrap();
    let list = |at_s| {
        let pem = plant.ca.issue_crl(&[], at_s, at_s, DAY).unwrap();
        CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap()
    };
    let (old, new) = (list(now_s() - 86_400 * 3), list(now_s()));
    for lists in [vec![old.clone(), new.clone()], vec![new, old]] {
        let trust = Trust::new(authorities.clone(), lists, "a").unwrap();
        assert_eq!(trust.expired_list(now_s()), None);
        assert!(trust.accepts(&chain(&meter).0, UnixTime::now()));
    }
}

#[test]
fn without_tickets_nothing_is_resumed() {
    for versions in [BOTH, OLD] {
        let plant = Plant::new();
        let (server, client) = (plant.server(ClientCertificate::None, false), plant.client(None, versions));
        for _ in 0..2 {
            let (end, _) = connect(client.clone(), server.clone()).unwrap();
            assert_eq!(end.handshake_kind(), Some(HandshakeKind::Full));
        }
    }
}

#[test]
fn versions_and_protocols_are_as_configured() {
    let plant = Plant::new();
    let settings = |version_min, protocol| ServerSettings {
        identity: &plant.identity,
        trust: None,
        client_certificate: ClientCertificate::None,
        version_min,
        ticket_lifetime: Some(TICKET_LIFETIME),
        protocol,
    };
    let strict = server_config(&settings(TlsVersion::Tls13, Protocol::WebSocket)).unwrap();
    assert_eq!(strict.alpn_protocols, [b"http/1.1".to_vec()]);
    assert_eq!((strict.max_early_data_size, strict.send_half_rtt_data), (0, false));
    assert!(connect(plant.client(None, OLD), Arc::new(strict)).is_err());
    let mut wrong = (*plant.client(None, BOTH)).clone();
    wrong.alpn_protocols = vec![b"h2".to_vec()];
    let mqtt = Arc::new(server_config(&settings(TlsVersion::Tls12, Protocol::Mqtt)).unwrap());
    assert!(connect(Arc::new(wrong.clone()), mqtt.clone()).is_err(), "no HTTP/2 on an MQTT listener");
    wrong.alpn_protocols = vec![b"mqtt".to_vec()];
    assert_eq!(connect(Arc::new(wrong), mqtt).unwrap().0.alpn_protocol(), Some(&b"mqtt"[..]));
    let mut demand = settings(TlsVersion::Tls12, Protocol::Mqtt);
    demand.client_certificate = ClientCertificate::Required;
    assert!(server_config(&demand).is_err(), "client certificates without a CA");
}

#[test]
fn keys_that_do_not_belong_together_are_noticed() {
    let (plant, other) = (Plant::new(), Plant::new());
    let error = ServerIdentity::load(&plant.path("server.crt"), &other.path("server.key")).err().unwrap();
    assert!(error.to_string().contains("is not the key of the certificate"), "{error}");
    assert!(ServerIdentity::load(&plant.path("server.crt"), &plant.path("server.crt")).is_err());
    assert!(Ca::load(&plant.path("ca.crt"), &other.path("ca.key")).is_err());
    assert!(Ca::load(&plant.path("server.crt"), &plant.path("server.key")).is_err(), "not a CA");
}

#[test]
fn names_that_could_change_a_rule_are_no_identities() {
    let plant = Plant::new();
    for bad in ["", "+", "#", "a/b", "a\nb", "a\0b", " a", "a\u{202e}b", "a\u{7f}", &"x".repeat(65)] {
        assert!(plant.ca.issue_client(bad, now_s(), DAY).is_err(), "{bad:?}");
    }
    // And where another CA issued them, they are refused when read.
    let issue = |names: &[&str]| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        for name in names {
            params.distinguished_name.push(rcgen::DnType::CommonName, *name);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        CertificateFacts::parse(params.self_signed(&key).unwrap().der())
            .and_then(|facts| facts.identity(IdentityFrom::CommonName))
    };
    for bad in ["+", "#", "a/b", "a\nb", "a\0b", " a", "a\u{202e}b"] {
        assert_eq!(issue(&[bad]), Err(IdentityError::Character), "{bad:?}");
    }
    assert_eq!(issue(&[""]), Err(IdentityError::Length));
    assert_eq!(issue(&[]), Err(IdentityError::Missing));
    assert_eq!(issue(&["Zähler 7"]).as_deref(), Ok("Zähler 7"));
    assert_eq!(CertificateFacts::parse(b"").err(), Some(IdentityError::Malformed));
    let der = plant.identity.end_entity().unwrap().to_vec();
    for cut in 0..der.len() {
        assert!(CertificateFacts::parse(&der[..cut]).is_err());
    }
    for at in 0..der.len() {
        let mut altered = der.clone();
        altered[at] ^= 0x55;
        let _ = CertificateFacts::parse(&altered);
    }
}

#[test]
fn openssl_agrees_with_what_was_issued() {
    let plant = Plant::new();
    let verify = |purpose: &str, file: &str| {
        let mut command = std::process::Command::new("openssl");
        command.args(["verify", "-x509_strict", "-crl_check", "-purpose", purpose, "-CAfile"]);
        command.arg(plant.path("ca.crt")).arg("-CRLfile").arg(plant.path("ca.crl")).arg(plant.path(file));
        command.output().unwrap()
    };
    plant
        .ca
        .issue_client("meter-7", now_s(), DAY)
        .unwrap()
        .save(&plant.path("m.crt"), &plant.path("m.key"))
        .unwrap();
    for (purpose, file, good) in [
        ("sslclient", "m.crt", true),
        ("sslserver", "m.crt", false),
        ("sslserver", "server.crt", true),
        ("sslclient", "server.crt", false),
    ] {
        let output = verify(purpose, file);
        assert_eq!(output.status.success(), good, "{purpose} {file}: {output:?}");
    }
    plant.ca.revoke(&plant.path("m.crt"), &plant.path("ca.crl"), now_s(), DAY).unwrap();
    assert!(!verify("sslclient", "m.crt").status.success());
}
