//! Who is told, as the node's configuration has it: monitors over MQTT, and what is wrong with it.

mod support;

use ravelin_mqtt::QoS;
use ravelin_node::Node;
use ravelin_node::config::Config;
use ravelin_node::control::{Actor, Role, Via};
use serde_json::Value;
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
    for topic in
        ["meters/1/voltage", "meters/1/voltage", "meters/2/voltage", "other/1", "meters/2/end", "meters/3/a"]
    {
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
    assert!(
        !rules.may_subscribe(&who, "$MONITOR/#") && !rules.may_subscribe(&who, "$share/g/$MONITOR/alarms/#")
    );
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
        (
            "[[outward]]\nkind = \"mqtt\"\ntap = [\"$MONITOR/#\"]\n",
            3,
            "not a topic filter of clients' messages",
        ),
        (
            "[[outward]]\nkind = \"file\"\npath = \"a\"\n[[outward]]\nkind = \"file\"\npath = \"b\"\n",
            4,
            "called \"file\"",
        ),
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
