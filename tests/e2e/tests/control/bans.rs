//! `ravelin ctl ban`, `lockout`, `ladder`, with clients that are kept out by them.

use crate::{ctl, curl, subscriber};
use ravelin_e2e::{Deployment, Node, output};
use serde_json::Value;
use std::process::Command;

#[track_caller]
fn json_of(node: &Node, deployment: &Deployment, arguments: &[&str]) -> Value {
    let (code, text, error) = ctl(node, deployment, &[arguments, &["--json"]].concat());
    assert_eq!(code, 0, "{arguments:?}: {text}{error}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Whether the operator may connect under this Client Identifier.
fn may_connect(node: &Node, deployment: &Deployment, id: &str) -> bool {
    let (certificate, key) = deployment.certificate("operator");
    let mut command = Command::new("mosquitto_pub");
    command.args(["-h", "127.0.0.1", "-p", &node.port("mutual-tls").to_string(), "-V", "mqttv5", "-i", id]);
    command.arg("--cafile").arg(deployment.ca()).arg("--cert").arg(certificate).arg("--key").arg(key);
    output(command.args(["-t", "plant/x", "-m", "x", "-q", "1"]), b"").status.success()
}

#[test]
fn a_ban_takes_effect_at_once_outlives_a_restart_and_is_lifted() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let _subscriber = subscriber(&node, &deployment, "operator-7");
    let start = node.mark();
    let add = ["ban", "add", "client_id:operator-7", "--reason", "stolen", "--for", "1h"];
    let made = json_of(&node, &deployment, &add);
    assert!(made["disconnected"] == 1 && made["ban"]["by"] == "operator", "{made}");
    assert!(made["took_us"].as_u64().is_some_and(|us| us < 1_000_000), "{made}");
    node.wait_for(start, "client.disconnected", |fields| {
        fields["client_id"] == "operator-7" && fields["cause"] == "administrative"
    });
    assert!(!may_connect(&node, &deployment, "operator-7") && may_connect(&node, &deployment, "operator-8"));
    node.wait_for(start, "connection.refused", |fields| fields["why"] == "banned");
    assert!(node.stop().success());

    let node = Node::serve(&deployment);
    let (_, table, _) = ctl(&node, &deployment, &["ban", "list"]);
    assert!(table.contains("client_id:operator-7") && table.contains("stolen"), "{table}");
    assert!(!may_connect(&node, &deployment, "operator-7"));
    let (code, out, _) = ctl(&node, &deployment, &["ban", "remove", "client_id:operator-7"]);
    assert!(code == 0 && out.contains("is lifted"), "{out}");
    assert!(may_connect(&node, &deployment, "operator-7"));
    let (code, _, error) = ctl(&node, &deployment, &["ban", "remove", "client_id:operator-7"]);
    assert!(code == 1 && error.contains("there is no such ban"), "{error}");
    let (code, _, error) = ctl(&node, &deployment, &["ban", "add", "network:0.0.0.0/0"]);
    assert!(code == 1 && error.contains("everybody"), "{error}");
}

#[test]
fn failed_logins_are_counted_listed_and_forgotten() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let log_in = || {
        let mut command = Command::new("mosquitto_pub");
        let port = node.port("password-tls").to_string();
        command.args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-i", "guesser"]);
        command
            .arg("--cafile")
            .arg(deployment.ca())
            .args(["-u", "guesser", "-P", "guess", "-t", "a", "-m", "x"]);
        let output = output(&mut command, b"");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let start = node.mark();
    for _ in 0..5 {
        log_in();
    }
    node.wait_for(start, "login.failed", |fields| fields["identity"] == "guesser");
    node.wait_for(start, "login.locked_out", |fields| fields["identity"] == "guesser");
    let listed = json_of(&node, &deployment, &["lockout", "list"]);
    let pair = listed.as_array().and_then(|all| all.iter().find(|one| one["scope"] == "pair"));
    assert!(pair.is_some_and(|one| one["user"] == "guesser" && one["failures"] == 5), "{listed}");
    let (code, out, _) = ctl(&node, &deployment, &["lockout", "clear", "--user", "guesser"]);
    assert!(code == 0 && out.contains("entries are forgotten"), "{out}");
    let left = json_of(&node, &deployment, &["lockout", "list"]);
    assert!(left.as_array().is_some_and(|all| all.iter().all(|one| one["user"] != "guesser")), "{left}");

    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    loop {
        let rungs = json_of(&node, &deployment, &["ladder"]);
        let refused = rungs.as_array().and_then(|all| all.iter().find(|one| one["rung"] == "authentication"));
        if refused.is_some_and(|one| one["refused"] == 5) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{rungs}");
    }
    let metrics = curl(&node, &deployment, Some("operator"), "/metrics", &[]).body;
    for line in [
        "ravelin_logins_failed_total 5",
        "ravelin_connections_refused_total{rung=\"authentication\"} 5",
        "ravelin_memory_stage 0",
        "ravelin_limit_used{limit=\"memory_max\"}",
        "ravelin_limit_used{limit=\"bans_max\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}
