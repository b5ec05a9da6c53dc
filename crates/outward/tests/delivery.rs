//! At least once, in order, bounded, whatever receivers do.

#[path = "support/receivers.rs"]
mod receivers;
mod support;

use ravelin_event::{Event, Level};
use ravelin_outward::senders::{FileTarget, SyslogTarget, Target, Transport, WebhookTarget};
use ravelin_outward::sign::Secret;
use ravelin_outward::{Backoff, Form, Outward, Selection, Settings, SpoolLimits, State, syslog};
use receivers::{Certificates, Memory, Turn, certificates, https, wait};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use support::{numbered, origin, raised};

fn settings(name: &str, form: Form, target: Target) -> Settings {
    let selection = Selection { events: vec!["*".into()], level: Level::Debug, ..Selection::default() };
    Settings {
        name: name.into(),
        kind: "webhook",
        selection: Arc::new(selection),
        form,
        target,
        limits: SpoolLimits::default(),
        backoff: Backoff { first: Duration::from_millis(10), max: Duration::from_millis(50) },
    }
}

fn webhook(url: String, certificates: &Certificates) -> WebhookTarget {
    WebhookTarget {
        url,
        tls: Some(certificates.client.clone()),
        secret: None,
        header: None,
        timeout: Duration::from_secs(2),
        batch_max: 10,
    }
}

/// A port that nobody listens on.
fn closed() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn dead(name: &str, certificates: &Certificates) -> Settings {
    let target = webhook(format!("https://localhost:{}/", closed()), certificates);
    settings(name, Form::Native, Target::Webhook(Box::new(target)))
}

fn start(host: &Arc<Memory>, settings: Vec<Settings>) -> Outward {
    let kept = host.kept.lock().unwrap().clone();
    Outward::start(origin(), Arc::clone(host) as Arc<_>, settings, kept).unwrap()
}

/// The numbers in bodies of JSON arrays, each the first time that it came.
fn numbers<'a>(bodies: impl Iterator<Item = &'a str>) -> Vec<u64> {
    let mut seen = BTreeSet::new();
    let mut numbers = Vec::new();
    for body in bodies {
        let items: Vec<serde_json::Value> = serde_json::from_str(body).expect("an array");
        let of = |item: &serde_json::Value| item["fields"]["up_to"].as_u64();
        numbers.extend(items.iter().filter_map(of).filter(|number| seen.insert(*number)));
    }
    numbers
}

#[test]
fn a_webhook_that_fails_stalls_and_resets_gets_everything_in_order_and_signed() {
    let certificates = certificates();
    let script =
        vec![Turn::Status(503), Turn::Reset, Turn::Stall, Turn::Status(429), Turn::Status(302), Turn::Take];
    let (receiver, taken) = https(Arc::clone(&certificates.server), script, |_| 200);
    let mut target =
        webhook(format!("https://localhost:{}/hook?key=1", receiver.address.port()), &certificates);
    target.secret = Some(Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").ok().unwrap());
    target.header = Some(("x-token".into(), "abc".into()));
    let host = Arc::new(Memory::default());
    let outward = start(&host, vec![settings("siem", Form::Native, Target::Webhook(Box::new(target)))]);
    (1..=95).for_each(|number| outward.tell(numbered(number), false));
    let all: Vec<u64> = (1..=95).collect();
    wait("everything", || {
        numbers(taken.lock().unwrap().iter().map(|request| request.body.as_str())) == all
            && outward.views()[0].waiting == 0
    });
    let view = outward.views().remove(0);
    assert!(view.failed >= 5 && view.error.is_none() && view.dropped == 0, "{view:?}");
    assert!(!view.target.contains("key=1"), "a secret of the URL is not shown");
    let events = host.events.lock().unwrap().clone();
    let ids: Vec<_> = events.iter().map(Event::id).collect();
    assert_eq!(ids, ["outward.failing", "outward.recovered"], "one of each, not one for each attempt");
    outward.stop();
    let requests = taken.lock().unwrap().clone();
    for request in &requests {
        assert_eq!(request.headers["x-token"], "abc");
        is_signed(request);
    }
    let kept = host.kept.lock().unwrap();
    assert_eq!(kept.keys().map(String::as_str).collect::<Vec<_>>(), ["siem/next"], "nothing waits any more");
}

/// By the standard library of Python, which shares nothing with what signed it.
fn is_signed(request: &receivers::Request) {
    const VERIFY: &str = "import base64, hashlib, hmac, sys\n\
        key = base64.b64decode('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw')\n\
        said = (sys.argv[1] + '.' + sys.argv[2] + '.').encode() + sys.stdin.buffer.read()\n\
        print('v1,' + base64.b64encode(hmac.new(key, said, hashlib.sha256).digest()).decode())";
    use std::io::Write;
    let headers = &request.headers;
    let mut python = Command::new("python3")
        .args(["-c", VERIFY, &headers["webhook-id"], &headers["webhook-timestamp"]])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    python.stdin.take().unwrap().write_all(request.body.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), headers["webhook-signature"]);
}

#[test]
fn what_a_webhook_refuses_for_good_is_left_out_and_the_rest_arrives() {
    let certificates = certificates();
    let judge = |request: &receivers::Request| if request.body.contains("\"up_to\":7}") { 422 } else { 200 };
    let (receiver, taken) = https(Arc::clone(&certificates.server), Vec::new(), judge);
    let target = webhook(format!("https://localhost:{}/", receiver.address.port()), &certificates);
    let host = Arc::new(Memory::default());
    let outward = start(&host, vec![settings("siem", Form::Native, Target::Webhook(Box::new(target)))]);
    (1..=30).for_each(|number| outward.tell(numbered(number), false));
    let others: Vec<u64> = (1..=30).filter(|number| *number != 7).collect();
    wait("all but one", || {
        numbers(taken.lock().unwrap().iter().map(|request| request.body.as_str())) == others
            && outward.views()[0].waiting == 0
    });
    let view = outward.views().remove(0);
    assert_eq!((view.refused, view.sent), (1, 29));
    assert!(host.events.lock().unwrap().iter().any(|event| event.id() == "outward.dropped"));
    outward.stop();
}

#[test]
fn a_syslog_receiver_that_goes_and_comes_back_gets_everything_in_order() {
    let certificates = certificates();
    let script = vec![Turn::TakeSome(3), Turn::Reset, Turn::TakeSome(0), Turn::TakeSome(10), Turn::Take];
    let (receiver, taken) = receivers::syslog(Arc::clone(&certificates.server), script);
    let target = SyslogTarget {
        host: "localhost".into(),
        port: receiver.address.port(),
        transport: Transport::Tls(certificates.client.clone()),
        timeout: Duration::from_secs(5),
        settle: Duration::from_millis(300),
    };
    let form = Form::Syslog(syslog::Style { facility: 10, enterprise: syslog::ENTERPRISE, ocsf: false });
    let host = Arc::new(Memory::default());
    let outward = start(&host, vec![settings("logs", form, Target::Syslog(Box::new(target)))]);
    (1..=40).for_each(|number| outward.tell(numbered(number), false));
    let first_of_each = || {
        let mut seen = BTreeSet::new();
        let taken = taken.lock().unwrap();
        let numbers =
            taken.iter().filter_map(|line| line.split("up_to=\"").nth(1)?.split('"').next()?.parse().ok());
        numbers.filter(|number: &u64| seen.insert(*number)).collect::<Vec<_>>()
    };
    wait("everything", || first_of_each() == (1..=40).collect::<Vec<_>>() && outward.views()[0].waiting == 0);
    assert!(receiver.turns.load(std::sync::atomic::Ordering::SeqCst) >= 5);
    let taken = taken.lock().unwrap().clone();
    assert!(
        taken
            .iter()
            .all(|line| line.starts_with("<86>1 ") && line.contains(" record.pruned [ravelin@32473 "))
    );
    outward.stop();
}

#[test]
fn a_server_that_no_ca_vouches_for_gets_nothing() {
    let (ours, theirs) = (certificates(), certificates());
    let (receiver, taken) = https(theirs.server, Vec::new(), |_| 200);
    let target = webhook(format!("https://localhost:{}/", receiver.address.port()), &ours);
    let host = Arc::new(Memory::default());
    let outward = start(&host, vec![settings("siem", Form::Native, Target::Webhook(Box::new(target)))]);
    outward.tell(numbered(1), false);
    wait("failures", || outward.views()[0].failed >= 3);
    assert_eq!(outward.views()[0].state, State::Retrying);
    let error = outward.blocking_test("siem", "alice").unwrap_err();
    assert!(error.to_string().contains("it waits"), "{error}");
    assert!(outward.blocking_test("other", "alice").is_err());
    assert!(taken.lock().unwrap().is_empty());
    outward.stop();
}

#[test]
fn what_was_not_delivered_is_delivered_after_a_restart_and_one_dead_destination_hurts_no_other() {
    let certificates = certificates();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let file = || settings("file", Form::Ocsf, Target::File(FileTarget { path: path.clone() }));
    let host = Arc::new(Memory::default());
    let outward = start(&host, vec![dead("siem", &certificates), file()]);
    (1..=50).for_each(|number| outward.tell(numbered(number), false));
    let lines = || std::fs::read_to_string(&path).unwrap_or_default().lines().count();
    wait("the file", || lines() == 50 && outward.views()[0].waiting == 50);
    // As after `kill -9`: nothing is ended in order, and all there is is what the host has kept.
    let kept = Arc::new(Memory::default());
    *kept.kept.lock().unwrap() = host.kept.lock().unwrap().clone();
    let (receiver, taken) = https(Arc::clone(&certificates.server), Vec::new(), |_| 200);
    let target = webhook(format!("https://localhost:{}/", receiver.address.port()), &certificates);
    let alive = settings("siem", Form::Native, Target::Webhook(Box::new(target)));
    let again = start(&kept, vec![alive, file()]);
    again.tell(numbered(51), false);
    wait("what waited, and then what is new", || {
        numbers(taken.lock().unwrap().iter().map(|request| request.body.as_str()))
            == (1..=51).collect::<Vec<_>>()
    });
    wait("only what is new", || lines() == 51);
    again.stop();
    outward.stop();
    // A destination that is not configured any more leaves nothing behind.
    start(&kept, Vec::new()).stop();
    assert!(kept.kept.lock().unwrap().is_empty());
}

#[test]
fn new_settings_send_what_waits_to_the_new_place() {
    let certificates = certificates();
    let host = Arc::new(Memory::default());
    let outward = start(&host, vec![dead("siem", &certificates)]);
    (1..=20).for_each(|number| outward.tell(numbered(number), false));
    wait("what waits", || outward.views()[0].waiting == 20);
    let (receiver, taken) = https(Arc::clone(&certificates.server), Vec::new(), |_| 200);
    let target = webhook(format!("https://localhost:{}/", receiver.address.port()), &certificates);
    outward.configure(vec![settings("siem", Form::Native, Target::Webhook(Box::new(target)))]).unwrap();
    wait("everything", || {
        numbers(taken.lock().unwrap().iter().map(|request| request.body.as_str()))
            == (1..=20).collect::<Vec<_>>()
    });
    assert!(outward.blocking_test("siem", "alice").is_ok());
    outward.configure(Vec::new()).unwrap();
    assert!(outward.views().is_empty());
    wait("nothing kept", || host.kept.lock().unwrap().is_empty());
    outward.stop();
}

#[test]
fn a_flood_of_100_000_events_stays_bounded_and_alarms_outlive_it() {
    let certificates = certificates();
    let host = Arc::new(Memory::default());
    let mut dead = dead("siem", &certificates);
    dead.limits = SpoolLimits { entries_max: 1000, bytes_max: 4 << 20 };
    let outward = start(&host, vec![dead]);
    for number in 0..100_000_u64 {
        if number % 10_000 == 0 {
            outward.tell(raised(&format!("meter-{number}")), false);
        }
        outward.tell(numbered(number), false);
    }
    let accounted = || {
        let view = outward.views().remove(0);
        assert!(view.waiting <= 1000 && view.waiting_bytes <= 4 << 20, "{view:?}");
        view.waiting + view.dropped + outward.lost()
    };
    wait("the flood to be taken in", || accounted() >= 100_010);
    let kept = host.kept.lock().unwrap().clone();
    assert!(kept.len() <= 1001, "{} are kept", kept.len());
    let alarms =
        kept.values().filter(|value| String::from_utf8_lossy(value).contains("alarm.raised")).count();
    assert_eq!(alarms, 10, "the informational went first");
    outward.stop();
}

#[test]
fn a_file_is_opened_again_when_it_was_rotated_and_is_not_for_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refused.log");
    let host = Arc::new(Memory::default());
    let mut file = settings("jail", Form::Fail2ban, Target::File(FileTarget { path: path.clone() }));
    file.kind = "fail2ban";
    let outward = start(&host, vec![file]);
    let lines = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default().lines().count();
    outward.tell(support::refused("a"), false);
    wait("the first line", || lines(&path) == 1);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777 & !0o640, 0);
    let rotated = folder.path().join("refused.log.1");
    std::fs::rename(&path, &rotated).unwrap();
    outward.tell(support::refused("b"), false);
    wait("the second line, in a new file", || lines(&path) == 1);
    assert_eq!(lines(&rotated), 1);
    // What has no address has no line, and does not wait.
    outward.tell(numbered(1), false);
    assert!(outward.blocking_test("jail", "alice").is_ok());
    assert_eq!(lines(&path), 2);
    outward.stop();
}
