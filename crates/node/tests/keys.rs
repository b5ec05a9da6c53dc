//! Certificates and keys of a running node: revoked, issued, reloaded, fetched, renewed, aged.

#[path = "support/plant.rs"]
mod plant;
mod support;

use plant::*;
use ravelin_mqtt::{QoS, Version};
use ravelin_node::control::{Actor, KeysFailure, Sessions};
use ravelin_protect::pki::{Ca, Request, new_request, sign_renewal};
use ravelin_protect::{RevocationSubject, tls};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::*;

fn serial(name: &str) -> RevocationSubject {
    RevocationSubject::serial(name, None).unwrap()
}

#[test]
fn a_revoked_certificate_ends_its_sessions_and_resumes_nothing() {
    let plant = Plant::new();
    let (node, log) = start(plant.config("crl = [\"ca.crl\"]", ""));
    let (one, two) = (plant.of("meter-1"), plant.of("meter-2"));
    // On both shards, so that some came over TLS on another one.
    let mut revoked: Vec<_> = (0..8).map(|i| join(&node, &one, &format!("meter-1-{i}x"))).collect();
    let mut other = join(&node, &two, "meter-2");
    other.ping();
    for client in &mut revoked {
        client.ping();
    }
    // It resumes while it is trusted.
    let mut verified = shake_hands(&node, &one);
    assert_eq!(verified.conn.handshake_kind(), Some(HandshakeKind::Resumed));

    let done = node
        .control()
        .revoke_certificate(&Actor::node(), serial(&plant.serial("meter-1")), "stolen", Sessions::Keep)
        .unwrap();
    // Eight sessions, and a connection that has not said CONNECT yet.
    assert_eq!(done.disconnected, 9);
    assert!(done.took < Duration::from_secs(1), "{:?}", done.took);
    eprintln!("connections ended in {:?}", done.took);
    // Nor does a connection that was verified before, and says CONNECT only now.
    let mut out = Vec::new();
    ravelin_mqtt::encode_connect(&mut out, &connect("meter-1"));
    let late = verified
        .write_all(&out)
        .and_then(|()| verified.flush())
        .and_then(|()| verified.read_exact(&mut [0; 4]));
    assert!(late.is_err(), "a session after the revocation");
    for client in &mut revoked {
        assert_eq!(client.expect_end(), Some(0x87));
    }
    other.ping();
    log.wait_for(&["certificate.revoked", "reason=stolen"]);
    log.wait_for(&["admin.order", "certificate.revoke"]);
    // Neither with its ticket nor by a full handshake, though the CA's list says nothing of it.
    for _ in 0..3 {
        assert!(!is_served(&node, &one, "meter-1"));
    }
    log.wait_for(&["connection.refused", "why=revoked"]);
    assert!(is_served(&node, &two, "meter-2-b"));
    node.shutdown().unwrap();

    // Nor after a restart.
    let (node, _log) = start(plant.config("crl = [\"ca.crl\"]", ""));
    assert!(!is_served(&node, &one, "meter-1") && is_served(&node, &two, "meter-2-b"));
    assert_eq!(node.control().revocations(None, 10).len(), 1);
    node.shutdown().unwrap();
}

#[test]
fn a_ticket_is_refused_after_a_revocation_by_openssl_too() {
    let plant = Plant::new();
    let (node, _log) = start(plant.config("crl = [\"ca.crl\"]", ""));
    let address = node.addresses()[0].to_string();
    let s_client = |more: &[&str]| {
        let mut command = Command::new("openssl");
        command.current_dir(plant.directory.path());
        command.args(["s_client", "-connect", &address, "-servername", "localhost", "-CAfile", "ca.crt"]);
        command.args(["-cert", "meter-1.crt", "-key", "meter-1.key"]).args(more);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        // CONNECT, then the end.
        let mut out = Vec::new();
        ravelin_mqtt::encode_connect(&mut out, &connect("meter-1"));
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(&out).and_then(|()| stdin.flush());
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(700));
            drop(stdin);
        });
        String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
    };
    let first = s_client(&["-tls1_2", "-sess_out", "session"]);
    assert!(first.contains("New, TLSv1.2"), "{first}");
    let again = s_client(&["-tls1_2", "-sess_in", "session"]);
    assert!(again.contains("Reused, TLSv1.2"), "{again}");
    let control = node.control();
    let subject = RevocationSubject::certificates_of("meter-1").unwrap();
    control.revoke_certificate(&Actor::node(), subject, "", Sessions::Keep).unwrap();
    let after = s_client(&["-tls1_2", "-sess_in", "session"]);
    assert!(!after.contains("Reused"), "{after}");
    assert!(!is_served(&node, &plant.of("meter-1"), "meter-1"));
    node.shutdown().unwrap();
}

#[test]
fn a_revoked_identity_loses_its_queue_if_so_ordered_and_can_come_back() {
    let plant = Plant::new();
    let (node, _log) = start(plant.config("crl = [\"ca.crl\"]", ""));
    let (one, two) = (plant.of("meter-1"), plant.of("meter-2"));
    let mut publisher = join(&node, &two, "meter-2");
    let control = node.control();
    for (sessions, present) in [(Sessions::Keep, true), (Sessions::Wipe, false)] {
        let mut reader = join(&node, &one, "meter-1");
        reader.subscribe("orders", QoS::AtLeastOnce);
        drop(reader);
        publisher.publish_acknowledged("orders", 1, false, b"open");
        let done = control.revoke_identity(&Actor::node(), "meter-1", "lost", sessions).unwrap();
        assert_eq!(done.wiped, usize::from(!present), "{sessions:?}");
        assert!(!is_served(&node, &one, "meter-1"));
        let identity = RevocationSubject::identity("meter-1").unwrap();
        assert!(control.lift_revocation(&Actor::node(), &identity).unwrap());
        assert!(!control.lift_revocation(&Actor::node(), &identity).unwrap(), "once");
        let mut back = Client::new(stream(&node, &one), Version::V5);
        let mut wanted = connect("meter-1");
        (wanted.clean_start, wanted.session_expiry_s) = (false, Some(3600));
        assert_eq!(back.try_connect(&wanted), (0, present), "{sessions:?}");
        if present {
            assert_eq!(back.message().1, b"open");
        }
        back.ping();
    }
    node.shutdown().unwrap();
}

#[test]
fn a_device_enrols_renews_and_is_on_the_list_when_it_is_revoked() {
    let plant = Plant::new();
    let ca = "[ca]\ncertificate = \"ca.crt\"\nkey = \"ca.key\"\ncrl = \"ca.crl\"\nvalidity = \"7d\"";
    let (node, log) = start(plant.config("crl = [\"ca.crl\"]", ca));
    let control = node.control();
    let (key, request) = new_request("meter-9").unwrap();
    let done = control.enrol(&Actor::node(), "meter-9", request.as_bytes(), None).unwrap();
    assert_eq!(done.issued.not_after_s - now_s() as i64, 7 * 86_400);
    let first = plant.client_config(&done.certificate, &key);
    let mut client = join(&node, &first, "meter-9");
    client.ping();
    assert!(matches!(
        control.enrol(&Actor::node(), "meter-1", request.as_bytes(), None),
        Err(KeysFailure::Request(_))
    ));
    // It renews its certificate by its key alone.
    let (new_key, pem) = new_request("meter-9").unwrap();
    let signature = sign_renewal(&key, &Request::parse(pem.as_bytes()).unwrap()).unwrap();
    let renewed = control.renew(None, done.certificate.as_bytes(), pem.as_bytes(), &signature).unwrap();
    let second = plant.client_config(&renewed.certificate, &new_key);
    assert!(is_served(&node, &second, "meter-9-b"));
    assert!(control.renew(None, done.certificate.as_bytes(), pem.as_bytes(), b"forged").is_err());
    assert_eq!(control.certificates(None, 10).len(), 2);
    // Revoked: cut, on the list of the CA, and not renewed any more.
    let revoked =
        control.revoke_certificate(&Actor::node(), serial(&done.issued.serial), "", Sessions::Keep).unwrap();
    assert_eq!(revoked.list.to_string(), "published with 1 entries");
    assert_eq!(client.expect_end(), Some(0x87));
    assert!(!is_served(&node, &first, "meter-9") && is_served(&node, &second, "meter-9-b"));
    let again = control.renew(None, done.certificate.as_bytes(), pem.as_bytes(), &signature);
    assert!(matches!(again, Err(KeysFailure::Revoked(_))), "{again:?}");
    let text =
        Command::new("openssl").args(["crl", "-noout", "-text", "-in"]).arg(plant.path("ca.crl")).output();
    let text = String::from_utf8(text.unwrap().stdout).unwrap().to_lowercase();
    assert!(text.contains(&done.issued.serial), "{text}");
    // The node itself takes the new list up, and an identity that is revoked gets nothing.
    log.wait_for(&["node.reloaded", "revocation lists"]);
    control.revoke_identity(&Actor::node(), "meter-9", "", Sessions::Keep).unwrap();
    assert!(control.enrol(&Actor::node(), "meter-9", pem.as_bytes(), None).is_err());
    node.shutdown().unwrap();
}

#[test]
fn a_new_certificate_is_good_at_once_after_all_before_were_revoked() {
    let plant = Plant::new();
    let ca = "[ca]\ncertificate = \"ca.crt\"\nkey = \"ca.key\"";
    let (node, _log) = start(plant.config("", ca));
    let control = node.control();
    let subject = RevocationSubject::certificates_of("meter-1").unwrap();
    control.revoke_certificate(&Actor::node(), subject, "", Sessions::Keep).unwrap();
    assert!(!is_served(&node, &plant.of("meter-1"), "meter-1"));
    let (key, request) = new_request("meter-1").unwrap();
    let done = control.enrol(&Actor::node(), "meter-1", request.as_bytes(), None).unwrap();
    let fresh = plant.client_config(&done.certificate, &key);
    // It begins with the second after the revocation.
    wait_until(|| is_served(&node, &fresh, "meter-1"), || "the new certificate is refused".into());
    node.shutdown().unwrap();
}

#[test]
fn files_that_change_are_taken_up_and_broken_ones_are_not() {
    let plant = Plant::new();
    let (node, log) = start(plant.config("crl = [\"ca.crl\"]", "[certificates]\nwatch = \"200ms\""));
    let (one, two) = (plant.of("meter-1"), plant.of("meter-2"));
    let (mut revoked, mut other) = (join(&node, &one, "meter-1"), join(&node, &two, "meter-2"));
    // Broken: what was in force stays.
    let good = std::fs::read(plant.path("ca.crl")).unwrap();
    std::fs::write(plant.path("ca.crl"), "rubbish").unwrap();
    log.wait_for(&["certificate.files_refused", "ca.crl"]);
    revoked.ping();
    assert!(is_served(&node, &one, "meter-1-b"));
    std::fs::write(plant.path("ca.crl"), good).unwrap();
    log.wait_for(&["node.reloaded"]);
    // Another process revokes, and nobody sends a signal.
    plant.ca.revoke(&plant.path("meter-1.crt"), &plant.path("ca.crl"), now_s(), DAY).unwrap();
    assert_eq!(revoked.expect_end(), Some(0x87));
    assert!(!is_served(&node, &one, "meter-1"));
    other.ping();
    // A new server certificate.
    let before = std::fs::read(plant.path("server.crt")).unwrap();
    let server = plant.ca.issue_server(&["localhost".into()], now_s(), DAY * 2).unwrap();
    std::fs::write(plant.path("server.key"), server.key.as_bytes()).unwrap();
    std::fs::write(plant.path("server.crt"), &server.certificate).unwrap();
    let shown = || {
        let mut stream = stream(&node, &two);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    };
    let new = CertificateDer::from_pem_slice(server.certificate.as_bytes()).unwrap();
    assert_ne!(before, server.certificate.as_bytes());
    wait_until(|| shown() == new.as_ref(), || "the old certificate is still shown".into());
    other.ping();
    node.shutdown().unwrap();
}

/// Serves what the closure gives, one request after another.
fn serve(answer: impl Fn() -> Option<Vec<u8>> + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://127.0.0.1:{}/ca.crl", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let _ = socket.read(&mut [0; 4096]);
            let (status, body) = match answer() {
                Some(body) => ("200 OK", body),
                None => ("503 Unavailable", Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(&body));
        }
    });
    url
}

#[test]
fn a_list_that_comes_from_a_url_fails_closed_and_is_kept_while_it_counts() {
    let plant = Plant::new();
    let body: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
    let served = Arc::clone(&body);
    let url = serve(move || served.lock().unwrap().clone());
    let listener = format!("crl = [\"{url}\"]");
    let sections = "[certificates]\ncrl_refresh = \"1s\"\nfetch_timeout = \"2s\"";
    let (node, log) = start(plant.config(&listener, sections));
    let (one, two) = (plant.of("meter-1"), plant.of("meter-2"));
    // Never fetched: nobody is accepted, and that is said.
    log.wait_for(&["revocation_list.failed", "503"]);
    assert!(!is_served(&node, &one, "meter-1"));
    let set = |list: Vec<u8>| *body.lock().unwrap() = Some(list);
    let issue = |revoked: &[ravelin_protect::pki::Revoked], at_s: u64, validity: Duration| {
        plant.ca.issue_crl(revoked, at_s, at_s, validity).unwrap().into_bytes()
    };
    // Expired, broken, or a forgery: still nobody.
    set(b"rubbish".to_vec());
    assert!(!is_served(&node, &one, "meter-1"));
    let (namesake, _) = Ca::create("plant", now_s(), DAY).unwrap();
    set(namesake.issue_crl(&[], 9, now_s(), DAY).unwrap().into_bytes());
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!is_served(&node, &one, "meter-1"), "a list that the CA did not sign");
    set(issue(&[], now_s() - 3 * 86_400, DAY));
    log.wait_for(&["revocation_list.fetched"]);
    log.wait_for(&["revocation_list.failed", "out of date"]);
    assert!(!is_served(&node, &one, "meter-1"), "a list that has run out");
    // A good one.
    let good = issue(&[], now_s() - 100, DAY);
    set(good.clone());
    wait_until(|| is_served(&node, &one, "meter-1"), || log.text());
    let (mut revoked, mut other) = (join(&node, &one, "meter-1"), join(&node, &two, "meter-2"));
    let serial_bytes = {
        let serial = plant.serial("meter-1");
        let even = if serial.len() % 2 == 1 { format!("0{serial}") } else { serial };
        (0..even.len()).step_by(2).map(|i| u8::from_str_radix(&even[i..i + 2], 16).unwrap()).collect()
    };
    let entry = ravelin_protect::pki::Revoked { serial: serial_bytes, at_s: now_s() };
    set(issue(&[entry], now_s(), DAY));
    assert_eq!(revoked.expect_end(), Some(0x87));
    other.ping();
    // The list from before cannot be brought back, and a server that is down changes nothing.
    set(good);
    log.wait_for(&["revocation_list.failed", "older than"]);
    assert!(!is_served(&node, &one, "meter-1") && is_served(&node, &two, "meter-2-b"));
    *body.lock().unwrap() = None;
    node.shutdown().unwrap();
    // After a restart the list that was fetched last counts.
    let (node, _log) = start(plant.config(&listener, sections));
    assert!(!is_served(&node, &one, "meter-1") && is_served(&node, &two, "meter-2-b"));
    node.shutdown().unwrap();
}

#[test]
fn keys_are_renewed_and_old_sessions_end() {
    let plant = Plant::new();
    let (node, _log) = start(plant.config("key_age_max = \"1s\"", ""));
    let mut client = join(&node, &plant.of("meter-1"), "meter-1");
    client.subscribe("a", QoS::AtMostOnce);
    let begin = Instant::now();
    while node.figures().counters.keys_refreshed < 2 {
        client.publish("a", &[7; 50_000]);
        assert_eq!(client.message().1.len(), 50_000);
        client.ping();
        assert!(begin.elapsed() < PATIENCE, "no new keys");
    }
    client.ping();
    node.shutdown().unwrap();

    // Bytes count too, and TLS 1.2, which has no new keys, ends.
    let (node, _log) = start(plant.config("key_age_max = \"0s\"\nkey_bytes_max = \"100KB\"", ""));
    let mut old = (*plant.of("meter-1")).clone();
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(plant.path("ca.crt")).unwrap()).unwrap();
    let resolver = Arc::clone(&old.client_auth_cert_resolver);
    old = builder.with_root_certificates(roots).with_client_cert_resolver(resolver);
    let mut old = join(&node, &old.into(), "meter-1");
    let mut new = join(&node, &plant.of("meter-2"), "meter-2");
    for client in [&mut old, &mut new] {
        client.publish("a", &[7; 150_000]);
    }
    assert_eq!(old.expect_end(), Some(0xA0));
    wait_until(|| node.figures().counters.keys_refreshed >= 1, || "no new keys".into());
    new.ping();
    node.shutdown().unwrap();

    let (node, log) = start(plant.config("session_age_max = \"1s\"", ""));
    let mut client = join(&node, &plant.of("meter-1"), "meter-1");
    assert_eq!(client.expect_end(), Some(0xA0));
    log.wait_for(&["client.disconnected", "session_age_max"]);
    node.shutdown().unwrap();
}

/// A certificate whose status can be asked for at `url`, made by OpenSSL from our CA.
fn certificate_with_responder(dir: &Path, url: &str) {
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").current_dir(dir).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?} {output:?}");
    };
    let extensions = format!(
        "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nauthorityInfoAccess=OCSP;URI:{url}\n"
    );
    std::fs::write(dir.join("ext"), extensions).unwrap();
    let subject =
        ["req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=s"];
    openssl(&[&subject[..], &["-keyout", "server.key", "-out", "s.csr"]].concat());
    openssl(&[
        "x509",
        "-req",
        "-in",
        "s.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-days",
        "2",
        "-extfile",
        "ext",
        "-out",
        "server.crt",
    ]);
}

/// OpenSSL's responder for a server certificate that names it; `None` if its port was taken meanwhile.
fn responder(plant: &Plant) -> Option<std::process::Child> {
    let dir = plant.directory.path();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    certificate_with_responder(dir, &format!("http://127.0.0.1:{port}/"));
    let serial = plant.serial("server").to_uppercase();
    let serial = if serial.len() % 2 == 1 { format!("0{serial}") } else { serial };
    std::fs::write(dir.join("index"), format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=s\n")).unwrap();
    let files = ["-index", "index", "-CA", "ca.crt", "-rsigner", "ca.crt", "-rkey", "ca.key", "-ndays", "1"];
    let mut responder = Command::new("openssl")
        .current_dir(dir)
        .arg("ocsp")
        .args(files)
        .args(["-port", &port.to_string()])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    // It says when it listens; whoever connects and asks nothing would keep it from answering others.
    let mut said = [0; 6];
    let listens = responder.stdout.as_mut().unwrap().read_exact(&mut said).is_ok();
    if !listens {
        let _ = responder.wait();
        return None;
    }
    assert_eq!(&said, b"ACCEPT");
    Some(responder)
}

#[test]
fn an_ocsp_answer_is_fetched_and_stapled() {
    let plant = Plant::new();
    let dir = plant.directory.path();
    // Another test may take a port that was free a moment ago.
    let mut responder = (0..5).find_map(|_| responder(&plant)).expect("a responder that listens");
    let (node, log) = start(plant.config("ocsp_fetch = true\nocsp_issuer = \"ca.crt\"", ""));
    log.wait_for(&["ocsp.stapled"]);
    let status = || {
        let output = Command::new("openssl")
            .current_dir(dir)
            .args(["s_client", "-connect", &node.addresses()[0].to_string(), "-status", "-CAfile", "ca.crt"])
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let shown = status();
    assert!(
        shown.contains("OCSP Response Status: successful") && shown.contains("Cert Status: good"),
        "{shown}"
    );
    responder.kill().unwrap();
    let _ = responder.wait();
    node.shutdown().unwrap();
    // A responder that is down is said, and nothing is stapled.
    let (node, log) = start(plant.config("ocsp_fetch = true\nocsp_issuer = \"ca.crt\"", ""));
    log.wait_for(&["ocsp.failed"]);
    node.shutdown().unwrap();
}

#[test]
fn a_list_of_a_million_serial_numbers_holds_up_nobody() {
    let plant = Plant::new();
    let (node, log) = start(plant.config("crl = [\"ca.crl\"]", "[certificates]\nwatch = \"200ms\""));
    let mut client = join(&node, &plant.of("meter-1"), "meter-1");
    let revoked: Vec<_> = (0..1_000_000_u64)
        .map(|i| {
            let serial = [&[0x55; 8][..], &i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()].concat();
            ravelin_protect::pki::Revoked { serial, at_s: now_s() }
        })
        .collect();
    let list = plant.ca.issue_crl(&revoked, 2, now_s(), DAY).unwrap();
    drop(revoked);
    std::fs::write(plant.path("new.crl"), list).unwrap();
    std::fs::rename(plant.path("new.crl"), plant.path("ca.crl")).unwrap();
    let (begin, mut slowest) = (Instant::now(), Duration::ZERO);
    let mut pings = 0;
    while !log.text().contains("node.reloaded") {
        let asked = Instant::now();
        client.ping();
        slowest = slowest.max(asked.elapsed());
        pings += 1;
        assert!(begin.elapsed() < Duration::from_secs(120), "the list was not taken up");
    }
    eprintln!("a list of 1e6: taken up after {:?}; slowest of {pings} pings {slowest:?}", begin.elapsed());
    // Parsing takes seconds; a ping that waited for it would show.
    assert!(slowest < begin.elapsed() / 2, "{slowest:?}");
    client.ping();
    assert!(is_served(&node, &plant.of("meter-2"), "meter-2"));
    node.shutdown().unwrap();
}
