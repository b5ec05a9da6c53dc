//! Detection in a running node: attackers over TCP, and alarms that say why, once, and also after a restart.

mod support;

use ravelin_detect::Suppression;
use ravelin_event::{Alarm, Severity, Subject, Verification};
use ravelin_mqtt::{Connect, Properties, QoS, SubscribeOptions, Subscription, Version, encode_subscribe};
use ravelin_node::Node;
use ravelin_node::config::Config;
use ravelin_node::control::{Actor, DetectFailure};
use ravelin_protect::Secret;
use ravelin_protect::password::Edit;
use socket2::{Domain, Socket, Type};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use support::*;

const GUESSING: &str = "repeated_authentication";

/// A node with a store in `base` on which `alice` and `bob` may do something in `own/NAME/#`; `more` are further sections.
fn started(base: &Path, more: &str) -> (Node, Log) {
    let key = base.join("store.key");
    if !key.exists() {
        ravelin_store::Keys::create(&key).unwrap();
        let mut edit = Edit::open(&base.join("passwords")).unwrap();
        for (user, password) in [("alice", "right"), ("bob", "right too")] {
            edit.set(user, &Secret::new(password)).unwrap();
        }
        edit.save().unwrap();
        std::fs::write(base.join("access.rules"), "pattern readwrite own/%u/#\n").unwrap();
    }
    node(&text(more), base)
}

fn text(more: &str) -> String {
    format!(
        "[node]\nworkers = 2\ndata = \"data\"\n[store]\nkey_file = \"store.key\"\n\
         [[listener]]\nname = \"a\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\nbind_client_id = \"none\"\n\
         authentication = [\"password\"]\n[authentication]\npassword_file = \"passwords\"\n\
         [access]\nrules_file = \"access.rules\"\n{more}"
    )
}

/// A connection from 127.0.0.`host`.
fn socket_from(host: u8, to: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, host), 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

fn log_in(node: &Node, host: u8, client_id: &str, user: &str, password: &str) -> (u8, Client<TcpStream>) {
    let mut client = Client::new(socket_from(host, node.addresses()[0]), Version::V5);
    let connect = Connect { username: Some(user), password: Some(password.as_bytes()), ..connect(client_id) };
    let (reason, _) = client.try_connect(&connect);
    (reason, client)
}

fn alarms(node: &Node) -> Vec<Arc<Alarm>> {
    node.control().detection(|engine, _| engine.alarms().map(Arc::clone).collect())
}

/// Waits for an alarm of `detector` about `subject`.
fn wait_for_alarm(node: &Node, detector: &str, subject: &Subject) -> Arc<Alarm> {
    let find =
        || alarms(node).into_iter().find(|alarm| *alarm.detector == *detector && alarm.subject == *subject);
    wait_until(|| find().is_some(), || format!("no {detector} of {subject} in {:#?}", alarms(node)));
    find().unwrap()
}

fn source(host: u8) -> Subject {
    Subject::Source(Ipv4Addr::new(127, 0, 0, host).into())
}

/// Tries `times` passwords for alice.
fn guess(node: &Node, host: u8, times: u32) {
    for attempt in 0..times {
        let (reason, _) = log_in(node, host, "panel", "alice", &format!("guess {attempt}"));
        assert_ne!(reason, 0);
    }
}

/// Those that somebody is told of.
fn told(node: &Node) -> Vec<(String, String)> {
    let mut told: Vec<_> = alarms(node)
        .iter()
        .filter(|alarm| alarm.severity > Severity::Informational && !alarm.suppressed)
        .map(|alarm| (alarm.detector.to_string(), alarm.subject.to_string()))
        .collect();
    told.sort();
    told
}

fn one(detector: &str, subject: &Subject) -> Vec<(String, String)> {
    vec![(detector.into(), subject.to_string())]
}

#[test]
fn a_guesser_is_one_alarm_that_says_why_and_outlives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = started(directory.path(), "");
    let control = node.control();
    guess(&node, 66, 8);
    let alarm = wait_for_alarm(&node, GUESSING, &source(66));
    assert_eq!(told(&node), one(GUESSING, &source(66)), "{:#?}", alarms(&node));
    assert!(alarm.value >= alarm.threshold && alarm.events >= 6 && !alarm.counted.is_empty(), "{alarm:#?}");
    assert!(alarm.summary.contains("127.0.0.66") && !alarm.false_alarms.is_empty(), "{alarm:#?}");
    assert_eq!((&*alarm.subcategory, alarm.identity.as_deref()), ("DE.ID-1", Some("alice")));
    log.wait_for(&["alarm.raised", GUESSING, "source:127.0.0.66", "severity=high"]);

    control.verify_alarm(&Actor::node(), alarm.id, Verification::TruePositive, "the red team").unwrap();
    log.wait_for(&["admin.order", "alarm.verify", "true_positive the red team"]);
    let unknown = control.verify_alarm(&Actor::node(), 4_711_000, Verification::TruePositive, "");
    assert!(matches!(unknown, Err(DetectFailure::Detect(_))), "{unknown:?}");
    let figures = control.detect_figures();
    assert_eq!(figures.engine.detectors[GUESSING].raised, 1, "{figures:#?}");
    assert!(figures.engine.sights >= 8 && figures.missed == 0, "{figures:#?}");
    assert!(!figures.sights_took.is_zero() && figures.written > 0, "{figures:#?}");
    node.shutdown().unwrap();

    let (node, _) = started(directory.path(), "");
    let again = node.control().detection(|engine, _| engine.alarm(alarm.id).cloned()).unwrap();
    assert_eq!((again.verification, &again.summary), (Verification::TruePositive, &alarm.summary));
    guess(&node, 67, 8);
    let next = wait_for_alarm(&node, GUESSING, &source(67));
    assert!(next.id > alarm.id, "{} is used again", next.id);
    node.shutdown().unwrap();
}

#[test]
fn what_is_suppressed_is_kept_and_nobody_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = started(directory.path(), "");
    let suppression = Suppression {
        id: 0,
        detector: Some(GUESSING.into()),
        subject: Some(source(66)),
        until_ms: None,
        by: "tester".into(),
        why: "a drill".into(),
    };
    let nothing = Suppression { detector: None, subject: None, ..suppression.clone() };
    let control = node.control();
    assert!(control.suppress_alarms(&Actor::node(), nothing).is_err());
    let id = control.suppress_alarms(&Actor::node(), suppression).unwrap();
    guess(&node, 66, 8);
    guess(&node, 67, 8);
    assert!(!wait_for_alarm(&node, GUESSING, &source(67)).suppressed);
    assert!(wait_for_alarm(&node, GUESSING, &source(66)).suppressed);
    log.wait_for(&["alarm.raised", "source:127.0.0.67"]);
    assert!(!log.text().contains("alarm.raised alarm=1 "), "{}", log.text());
    assert!(!log.text().lines().any(|line| line.contains("alarm.raised") && line.contains("127.0.0.66")));
    node.shutdown().unwrap();

    let (node, log) = started(directory.path(), "");
    let control = node.control();
    let kept: Vec<u64> = control.detection(|engine, _| engine.suppressions().map(|one| one.id).collect());
    assert_eq!(kept, [id]);
    control.unsuppress_alarms(&Actor::node(), id).unwrap();
    assert!(control.unsuppress_alarms(&Actor::node(), id).is_err());
    log.wait_for(&["admin.order", "alarm.unsuppress"]);
    node.shutdown().unwrap();
}

#[test]
fn two_devices_with_one_name_are_one_alarm() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = started(directory.path(), "");
    let mut held = Vec::new();
    for round in 0..8 {
        let (reason, client) = log_in(&node, 2 + round % 2, "pump", "alice", "right");
        assert_eq!(reason, 0);
        held.push(client);
    }
    let subject = Subject::Client("pump".into());
    let alarm = wait_for_alarm(&node, "cloned_identity", &subject);
    log.wait_for(&["alarm.raised", "cloned_identity", "client:pump"]);
    assert_eq!(told(&node), one("cloned_identity", &subject), "{:#?}", alarms(&node));
    assert_eq!((alarm.client_id.as_deref(), alarm.identity.as_deref()), (Some("pump"), Some("alice")));
    let trust = node.control().detection(|engine, _| engine.trust("pump")).unwrap();
    assert!(trust.score < 75 && !trust.reasons.is_empty(), "{trust:?}");
    node.shutdown().unwrap();
}

/// Asks for a subscription, whatever the answer.
fn try_subscribe(client: &mut Client<TcpStream>, filter: &str) {
    let mut out = Vec::new();
    let filters = [Subscription { filter, options: SubscribeOptions::default() }];
    encode_subscribe(&mut out, Version::V5, 1, None, &filters, Properties::default());
    client.send(&out);
    assert_eq!(client.packet().expect("SUBACK")[0], 0x90);
}

#[test]
fn a_scanner_is_one_alarm() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = started(directory.path(), "");
    let (_, mut probe) = log_in(&node, 9, "probe", "bob", "right too");
    for number in 0..24 {
        try_subscribe(&mut probe, &format!("plant/line{number}/#"));
    }
    let subject = Subject::Client("probe".into());
    let alarm = wait_for_alarm(&node, "topic_scan", &subject);
    log.wait_for(&["alarm.raised", "topic_scan", "client:probe"]);
    assert_eq!(told(&node), one("topic_scan", &subject), "{:#?}", alarms(&node));
    assert_eq!(&*alarm.subcategory, "DE.ID-2");
    assert!(alarm.value >= alarm.threshold && alarm.events >= 9, "{alarm:#?}");
    node.shutdown().unwrap();
}

#[test]
fn a_flood_is_one_alarm() {
    let directory = tempfile::tempdir().unwrap();
    let (node, log) = started(directory.path(), "");
    let (_, mut hmi) = log_in(&node, 4, "hmi", "alice", "right");
    hmi.subscribe("own/alice/#", QoS::AtMostOnce);
    let (_, mut meter) = log_in(&node, 5, "meter-a", "alice", "right");
    let batch: Vec<u8> = (0..4_000u16)
        .flat_map(|number| publish_bytes("own/alice/volt", QoS::AtMostOnce, 0, false, &number.to_be_bytes()))
        .collect();
    meter.send(&batch);
    for _ in 0..4_000 {
        hmi.message();
    }
    let subject = Subject::Client("meter-a".into());
    let alarm = wait_for_alarm(&node, "message_flood", &subject);
    log.wait_for(&["alarm.raised", "message_flood", "client:meter-a"]);
    assert_eq!(told(&node), one("message_flood", &subject), "{:#?}", alarms(&node));
    assert!(alarm.value >= alarm.threshold && !alarm.summary.is_empty(), "{alarm:#?}");
    node.shutdown().unwrap();
}

#[test]
fn a_door_and_a_set_point_are_watched_where_the_configuration_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let more = "[[physical]]\ntopic = \"own/+/door\"\nkind = \"door\"\nalarm_when = { equals = \"open\" }\n\
                [[value]]\ntopic = \"own/+/setpoint\"\nmin = 110\nmax = 130\n";
    let (node, log) = started(directory.path(), more);
    let (_, mut bank) = log_in(&node, 5, "capbank-1", "bob", "right too");
    bank.publish_acknowledged("own/bob/door", 1, false, b"closed");
    bank.publish_acknowledged("own/bob/setpoint", 2, false, b"118");
    bank.publish_acknowledged("own/bob/door", 3, false, b"open");
    log.wait_for(&["alarm.raised", "physical", "capbank-1"]);
    bank.publish_acknowledged("own/bob/setpoint", 4, false, b"400");
    log.wait_for(&["alarm.raised", "own/bob/setpoint"]);
    assert_eq!(told(&node).len(), 2, "{:#?}", alarms(&node));
    node.shutdown().unwrap();
}

#[test]
fn who_does_what_it_should_is_no_alarm() {
    let directory = tempfile::tempdir().unwrap();
    let (node, _) = started(directory.path(), "");
    for round in 0..3u8 {
        let (_, mut alice) = log_in(&node, 2, "meter-a", "alice", "right");
        let (_, mut bob) = log_in(&node, 3, "meter-b", "bob", "right too");
        alice.subscribe("own/alice/commands", QoS::AtLeastOnce);
        for at in 0..20u16 {
            alice.publish_acknowledged("own/alice/volt", at + 1, false, b"230");
        }
        bob.publish("own/bob/volt", &[round]);
        bob.ping();
        for mut client in [alice, bob] {
            client.send(&[0xE0, 0]);
            client.expect_end();
        }
    }
    // One mistyped password is no attack.
    assert_ne!(log_in(&node, 2, "meter-a", "alice", "rihgt").0, 0);
    let control = node.control();
    let known = || control.detection(|engine, _| engine.figures().clients);
    wait_until(|| known() == 2, || format!("{} clients", known()));
    assert_eq!(told(&node), []);
    node.shutdown().unwrap();
}

#[test]
fn a_reload_changes_settings_and_forgets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (mut node, _) = started(directory.path(), "");
    guess(&node, 66, 8);
    let alarm = wait_for_alarm(&node, GUESSING, &source(66));
    let more = "[detect]\nquiet = \"7m\"\n";
    let config = Config::parse(&text(more), directory.path()).unwrap();
    node.reload(config).unwrap();
    let control = node.control();
    assert_eq!(control.detection(|engine, _| engine.settings().episodes.quiet_ms), 420_000);
    assert!(control.detection(|engine, _| engine.alarm(alarm.id).is_some()));
    let off = Config::parse(&text("[detect]\nenabled = false\n"), directory.path()).unwrap();
    node.reload(off).unwrap();
    guess(&node, 67, 8);
    // When the inventory knows that bob has come and gone, whatever happened before has been passed on, or not.
    let is_connected = || {
        control.inventory(|inventory, now_ms| {
            inventory.device("identity:bob", now_ms).ok().map(|view| view.connected)
        })
    };
    let (_, bob) = log_in(&node, 3, "meter-b", "bob", "right too");
    wait_until(|| is_connected() == Some(true), || "bob has not come".into());
    drop(bob);
    wait_until(|| is_connected() == Some(false), || "bob has not gone".into());
    node.reload(Config::parse(&text(""), directory.path()).unwrap()).unwrap();
    guess(&node, 68, 8);
    wait_for_alarm(&node, GUESSING, &source(68));
    assert!(!alarms(&node).iter().any(|alarm| alarm.subject == source(67)), "{:#?}", alarms(&node));
    node.shutdown().unwrap();
}
