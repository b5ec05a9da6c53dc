//! `ravelin ctl directory` and `ravelin ctl acl`, with clients that live by what they change.

use crate::{ctl, run};
use ravelin_e2e::{Deployment, Node, Process, output, ravelin};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

/// A client that connects by its password.
fn mosquitto(what: &str, node: &Node, deployment: &Deployment, name: &str) -> Command {
    let mut command = Command::new(format!("mosquitto_{what}"));
    command.args(["-h", "127.0.0.1", "-p", &node.port("password-tls").to_string(), "-V", "mqttv5"]);
    command.arg("--cafile").arg(deployment.ca()).args(["-i", name, "-u", name, "-P", "secret"]);
    command
}

fn file(deployment: &Deployment, name: &str, content: &str) -> String {
    let path = deployment.path(name);
    std::fs::write(&path, content).expect("a file");
    path.display().to_string()
}

#[track_caller]
fn done(node: &Node, deployment: &Deployment, arguments: &[&str]) -> String {
    let (code, text, error) = ctl(node, deployment, arguments);
    assert_eq!(code, 0, "{arguments:?}: {text}{error}");
    text
}

fn json_of(node: &Node, deployment: &Deployment, arguments: &[&str]) -> Value {
    let text = done(node, deployment, &[arguments, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn decisions_are_explained_unused_grants_found_and_new_rules_tried_on_real_traffic() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let role = json!({"acls": [
        {"acltype": "publishClientSend", "topic": "meters/%u/#", "allow": true},
        {"acltype": "publishClientSend", "topic": "never/used", "allow": true},
        {"acltype": "subscribePattern", "topic": "meters/#", "allow": true}]});
    let role = file(&deployment, "role.json", &role.to_string());
    done(&node, &deployment, &["directory", "set", "roles", "meter", &role]);
    for name in ["m1", "m2"] {
        let identity = json!({"password": "secret", "roles": [{"rolename": "meter"}]}).to_string();
        let identity = file(&deployment, "identity.json", &identity);
        done(&node, &deployment, &["directory", "set", "identities", name, &identity]);
    }
    let listed = done(&node, &deployment, &["directory", "list", "identities"]);
    assert!(listed.contains("m1") && listed.contains("argon2id"), "{listed}");

    let start = node.mark();
    let reader = Process::start(mosquitto("sub", &node, &deployment, "m2").args(["-v", "-t", "meters/#"]));
    node.wait_subscribed(start, "m2", "meters/#");
    let mut publish = mosquitto("pub", &node, &deployment, "m1");
    assert!(output(publish.args(["-q", "1", "-t", "meters/m1/a", "-m", "x"]), b"").status.success());
    assert_eq!(reader.wait_for_lines(1), ["meters/m1/a x"]);

    let why = json_of(&node, &deployment, &["acl", "why", "m2", "receive", "meters/m1/a"]);
    assert_eq!((&why["allowed"], &why["identity"]), (&json!(true), &json!("m2")), "{why}");
    let why = done(&node, &deployment, &["acl", "why", "m1", "publish", "meters/m2/a"]);
    assert!(
        why.starts_with("denied") && why.contains("none of its 2 rules on this is about the topic"),
        "{why}"
    );
    let why = done(&node, &deployment, &["acl", "why", "m1", "publish", "meters/m1/a"]);
    assert!(why.contains("=> directory role meter: allow publishClientSend meters/%u/#"), "{why}");

    // The clock by which use is marked is set about once a second, and flows are harvested as often.
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let mut publish = mosquitto("pub", &node, &deployment, "m1");
        assert!(output(publish.args(["-q", "1", "-t", "meters/m1/a", "-m", "x"]), b"").status.success());
        let unused = json_of(&node, &deployment, &["acl", "unused", "--for", "1h"]);
        let rules: Vec<&str> = unused["grants"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|one| one["rule"].as_str())
            .collect();
        assert!(rules.iter().any(|rule| rule.contains("never/used")), "{unused}");
        let is_used = !rules.iter().any(|rule| rule.contains("meters/%u/#"));
        let change = json!({"commands": [{"command": "removeRoleACL", "rolename": "meter",
            "acltype": "publishClientSend", "topic": "meters/%u/#"}]});
        let change = file(&deployment, "change.json", &change.to_string());
        let (code, text, error) =
            ctl(&node, &deployment, &["acl", "dry-run", "--commands", &change, "--json"]);
        let result: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}{error}"));
        let refused = result["refused"].as_array().expect("a list");
        if is_used && !refused.is_empty() {
            assert_eq!(code, 1, "somebody would be refused");
            let one = &refused[0];
            assert_eq!(
                (&one["client_id"], &one["action"], &one["topic"]),
                (&json!("m1"), &json!("publish"), &json!("meters/m1/a"))
            );
            break;
        }
        assert!(Instant::now() < until, "{unused}\n{result}");
    }
    // Denying the reader what it is sent would be noticed as well.
    let change = json!({"commands": [{"command": "addRoleACL", "rolename": "meter", "acltype": "publishClientReceive",
        "topic": "meters/m1/#", "allow": false}]});
    let change = file(&deployment, "change.json", &change.to_string());
    let (code, text, _) = ctl(&node, &deployment, &["acl", "dry-run", "--commands", &change, "--json"]);
    let result: Value = serde_json::from_str(&text).expect("JSON");
    let told = result["refused"].as_array().expect("a list").iter();
    let told: Vec<_> = told.map(|one| (one["client_id"].clone(), one["action"].clone())).collect();
    assert_eq!((code, told), (1, vec![(json!("m2"), json!("receive"))]), "{result}");
    // Nothing of it was done.
    assert_eq!(
        json_of(&node, &deployment, &["directory", "show", "roles", "meter"])["acls"]
            .as_array()
            .map(Vec::len),
        Some(3)
    );

    let start = node.mark();
    done(&node, &deployment, &["directory", "delete", "identities", "m2"]);
    node.wait_for(start, "client.disconnected", |fields| fields["client_id"] == "m2");
    let (code, _, error) = ctl(&node, &deployment, &["directory", "show", "identities", "m2"]);
    assert!(code == 1 && error.contains("there is no identity"), "{error}");
}

#[test]
fn a_directory_of_mosquittos_is_taken_over() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let theirs = deployment.path("dynamic-security.json");
    let mut init = Command::new("mosquitto_ctrl");
    let (code, text, error) = run(init.args(["dynsec", "init"]).arg(&theirs).args(["boss", "boss-password"]));
    assert_eq!(code, 0, "{text}{error}");
    let theirs = theirs.display().to_string();
    let shown = done(&node, &deployment, &["directory", "import", &theirs]);
    assert!(shown.contains("administered Mosquitto") && shown.contains("boss"), "{shown}");
    let boss = |action: &[&str]| {
        let mut command = Command::new("mosquitto_ctrl");
        command.args(["-h", "127.0.0.1", "-p", &node.port("password-tls").to_string(), "-i", "boss"]);
        command.arg("--cafile").arg(deployment.ca()).args(["-u", "boss", "-P", "boss-password", "dynsec"]);
        run(command.args(action))
    };
    let (_, text, error) = boss(&["listRoles"]);
    assert!(!text.contains("admin"), "its password is good, and it administers nothing: {text}{error}");
    let (code, _, error) = ctl(&node, &deployment, &["directory", "import", &theirs]);
    assert!(code == 1 && error.contains("already exists"), "{error}");
    done(&node, &deployment, &["directory", "import", &theirs, "--replace", "--administrators"]);
    let (code, text, error) = boss(&["listRoles"]);
    assert_eq!((code, text.as_str()), (0, "admin\n"), "{error}");

    let (code, _, error) = run(ravelin(["ctl", "acl", "dry-run", "--url", "https://localhost:1"])
        .arg("--dir")
        .arg(deployment.dir()));
    assert!(code == 2 && error.contains("--rules or --commands"), "{error}");
}
