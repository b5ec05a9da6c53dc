//! Who is told, as the node's configuration has it: monitors over MQTT, and a node that tells from inside the sandbox.

mod support;

use ravelin_mqtt::QoS;
use ravelin_node::config::Config;
use ravelin_node::control::{Actor, Role, Via};
use ravelin_node::{Node, Sandbox};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use support::*;

const OPEN: &str = "\
[[listener]]
name = \"open\"
transport = \"tcp\"
address = \"127.0.0.1:0\"
bind_client_id = \"none\"
dangerous_anonymous = true
[access]
rules_file = \"access.rules\"
";

const MONITOR: &str = "\
[[outward]]
kind = \"mqtt\"
tap = [\"meters/#\"]
payload = [\"meters/1/#\"]
payload_bytes_max = 4
";

fn actor() -> Actor {
    Actor { name: "alice".into(), role: Role::Operator, via: Via::Api, address: None }
}

fn monitored(rules: &str) -> (Node, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("access.rules"), rules).unwrap();
    let (node, _) = node(&[OPEN, MONITOR, "[node]\nworkers = 2\n"].concat(), folder.path());
    (node, folder)
}

/// The next message below `topic`; what else the node tells is left out.
fn next(client: &mut Client<std::net::TcpStream>, topic: &str) -> (String, Value) {
    loop {
        let (at, payload, _) = client.message();
        if at.starts_with(topic) {
            return (at, serde_json::from_slice(&payload).expect("JSON"));
        }
    }
}

#[test]
fn a_tap_tells_who_published_what_and_the_payload_only_where_that_was_granted() {
    let (node, _folder) = monitored("topic readwrite #\ntopic read $MONITOR/#\n");
    let address = node.addresses()[0];
    let mut everything = client(address, "everything");
    everything.subscribe("#", QoS::AtMostOnce);
    let mut meter = client(address, "meter");
    // Nobody taps yet: nothing of it is told later either.
    meter.publish_acknowledged("meters/1/voltage", 1, false, b"before");
    let mut monitor = client(address, "monitor");
    monitor.subscribe("$MONITOR/#", QoS::AtLeastOnce);
    meter.publish_acknowledged("meters/1/voltage", 2, false, b"secret");
    meter.publish_acknowledged("meters/2/voltage", 3, true, b"hidden");
    meter.publish_acknowledged("other/1", 4, false, b"not tapped");
    meter.publish_acknowledged("meters/2/end", 5, false, b"");
    let (topic, told) = next(&mut monitor, "$MONITOR/tap/");
    assert_eq!((topic.as_str(), &told["client_id"]), ("$MONITOR/tap/meters/1/voltage", &"meter".into()));
    assert_eq!((&told["payload"], &told["bytes"], &told["qos"]), (&"c2Vjcg==".into(), &6.into(), &1.into()));
    let (topic, told) = next(&mut monitor, "$MONITOR/tap/");
    assert_eq!((topic.as_str(), &told["payload"]), ("$MONITOR/tap/meters/2/voltage", &Value::Null));
    assert_eq!(told["retain"], true);
    assert_eq!(next(&mut monitor, "$MONITOR/tap/").0, "$MONITOR/tap/meters/2/end");
    // A subscription without wildcards taps as well, from its first message on.
    let mut one = client(address, "one");
    one.subscribe("$MONITOR/tap/meters/3/a", QoS::AtMostOnce);
    meter.publish_acknowledged("meters/3/a", 6, false, b"x");
    assert_eq!(next(&mut one, "$MONITOR/").0, "$MONITOR/tap/meters/3/a");
    // MQTT-4.7.2-1: `#` does not match what begins with `$`.
    for topic in ["meters/1/voltage", "meters/1/voltage", "meters/2/voltage", "other/1", "meters/2/end", "meters/3/a"] {
        assert_eq!(everything.message().0, topic);
    }
    assert!(node.control().blocking_test_destination(&actor(), "mqtt").is_ok());
    assert_eq!(next(&mut monitor, "$MONITOR/test").1["fields"]["by"], "alice");
    let mut status = client(address, "late");
    status.subscribe("$MONITOR/status", QoS::AtMostOnce);
    assert_eq!(next(&mut status, "$MONITOR/status").1["ready"], true, "retained");
    node.shutdown().unwrap();
}

#[test]
fn nobody_publishes_below_monitor_and_nobody_reads_there_without_a_rule_that_names_it() {
    use ravelin_protect::AccessRules;
    let who = ravelin_event::Principal::anonymous("a");
    let rules = AccessRules::parse("topic readwrite #\ntopic write $MONITOR/#\n", "rules").unwrap();
    assert!(!rules.may_subscribe(&who, "$MONITOR/#") && !rules.may_subscribe(&who, "$share/g/$MONITOR/alarms/#"));
    assert!(!rules.may_publish(&who, "$MONITOR/status"));
    let open = AccessRules::allow_everything();
    assert!(!open.may_subscribe(&who, "$MONITOR/#"));
    assert!(!open.may_publish(&who, "$MONITOR/status"));
    let named = AccessRules::parse("topic read $MONITOR/status\n", "rules").unwrap();
    assert!(named.may_subscribe(&who, "$MONITOR/status") && !named.may_subscribe(&who, "$MONITOR/#"));
    let (node, _folder) = monitored("topic readwrite #\ntopic readwrite $MONITOR/#\n");
    let mut liar = client(node.addresses()[0], "liar");
    let packet = publish_bytes("$MONITOR/status", QoS::AtLeastOnce, 9, true, b"{\"ready\":false}");
    liar.send(&packet);
    let answer = liar.packet().expect("PUBACK");
    assert_eq!((answer[0], answer[4]), (0x40, 0x87), "not authorized: {answer:02x?}");
    node.shutdown().unwrap();
}

#[test]
fn what_is_wrong_is_said_at_its_line() {
    let wrong = |text: &str| {
        let whole = [OPEN, text].concat();
        let errors = Config::parse(&whole, Path::new("/nowhere")).expect_err("errors").to_string();
        let first = OPEN.lines().count();
        (errors, first)
    };
    for (text, line, what) in [
        ("[[outward]]\nkind = \"web hook\"\n", 2, "did you mean \"webhook\"?"),
        ("[[outward]]\nkind = \"webhook\"\n", 1, "`url` is missing"),
        ("[[outward]]\nkind = \"webhook\"\nurl = \"http://a/\"\n", 3, "dangerous_plain = true"),
        ("[[outward]]\nkind = \"syslog\"\naddress = \"siem\"\n", 3, "and a port"),
        ("[[outward]]\nkind = \"syslog\"\naddress = \"a:514\"\ntransport = \"udp\"\n", 4, "not encrypted"),
        ("[[outward]]\nkind = \"file\"\npath = \"a\"\nevents = [\"acton.*\"]\n", 4, "there is no event"),
        ("[[outward]]\nkind = \"mqtt\"\ntap = [\"$MONITOR/#\"]\n", 3, "not a topic filter of clients' messages"),
        ("[[outward]]\nkind = \"file\"\npath = \"a\"\n[[outward]]\nkind = \"file\"\npath = \"b\"\n", 4, "called \"file\""),
        ("[[outward]]\nkind = \"file\"\npath = \"a\"\nname = \"a/b\"\n", 4, "is not a name"),
        ("[[outward]]\nkind = \"webhook\"\nurl = \"https://a/\"\nkey = \"k\"\n", 4, "of no use without"),
    ] {
        let (errors, first) = wrong(text);
        assert!(errors.contains(what) && errors.contains(&format!(":{}:", first + line)), "{text}\n{errors}");
    }
}

#[test]
fn files_that_it_names_are_checked_with_all_others() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("access.rules"), "topic read a\n").unwrap();
    let text = "[[outward]]\nkind = \"webhook\"\nurl = \"https://a/\"\nca = \"none.crt\"\n\
        [[outward]]\nkind = \"file\"\npath = \"none/x.log\"\n";
    let config = Config::parse(&[OPEN, text].concat(), folder.path()).unwrap();
    let secret = ravelin_protect::NodeSecret::generate().unwrap();
    let errors = config.load_files(secret, 1).err().expect("errors").to_string();
    for what in ["none.crt", "none/x.log does not exist"] {
        assert!(errors.contains(what), "{errors}");
    }
}

/// Answers every POST with 200, and counts the bodies that hold `wanted`.
fn hook(wanted: &'static str) -> (u16, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, mut seen, mut buffer) = (socket.unwrap(), Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = socket.read(&mut buffer) {
                seen.extend(&buffer[..count]);
                if String::from_utf8_lossy(&seen).contains(wanted) {
                    let _ = sender.send(());
                }
                // A whole body ends the array.
                if seen.ends_with(b"}]") {
                    seen.clear();
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            }
        }
    });
    (port, receiver)
}

fn inside(folder: &Path, text: &str) {
    let load = || Config::parse(text, folder).unwrap_or_else(|errors| panic!("{errors}"));
    let config = load();
    let sandbox = Sandbox::enter(&config).expect("a kernel with landlock");
    let mut node = Node::start_with_log(config, Box::new(std::io::sink())).expect("a node");
    assert_eq!(sandbox.close().expect("seccomp").expect("an event").id(), "sandbox.closed");
    let control = node.control();
    for name in ["hook", "jail", "json"] {
        control.blocking_test_destination(&actor(), name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    node.reload(load()).expect("a reload");
    control.blocking_test_destination(&actor(), "json").expect("a test after a reload");
    let refused = std::fs::write(folder.join("secrets/x"), b"x").expect_err("only what is configured is written");
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    assert!(std::fs::read_dir(folder.join("lines")).is_err(), "others' lines are not listed");
    assert_eq!(control.destinations().len(), 3);
    node.shutdown().expect("an end in order");
}

#[test]
fn from_inside_the_sandbox_everybody_configured_is_told_and_nothing_else_is_possible() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["lines", "secrets"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    let (port, arrived) = hook("outward.test");
    let text = format!(
        "{}[node]\nworkers = 1\n[sandbox]\nmode = \"require\"\n\
         [[outward]]\nkind = \"webhook\"\nname = \"hook\"\nurl = \"http://localhost:{port}/\"\ndangerous_plain = true\n\
         [[outward]]\nkind = \"fail2ban\"\nname = \"jail\"\npath = \"lines/refused.log\"\n\
         [[outward]]\nkind = \"file\"\nname = \"json\"\npath = \"lines/events.jsonl\"\n",
        OPEN.replace("rules_file = \"access.rules\"", "dangerous_allow_everything = true")
    );
    // Files are a thread's affair, so that this one can tidy up.
    std::thread::scope(|scope| {
        scope.spawn(|| inside(folder.path(), &text)).join().expect("the sandbox");
    });
    arrived.recv_timeout(PATIENCE).expect("the test came to the webhook");
    let lines = |name: &str| std::fs::read_to_string(folder.path().join("lines").join(name)).unwrap();
    assert!(lines("refused.log").contains("test address=192.0.2.1"));
    // The orders to test are told too: `admin.*` is what is told unless something else is asked for.
    assert!(lines("events.jsonl").contains("\"event_code\":\"admin.order\""), "{}", lines("events.jsonl"));
}
