//! Second factors that are administered while the node runs.

use crate::ctl;
use ravelin_e2e::{Deployment, Node, Process, code};
use serde_json::{Value, json};
use std::process::Command;

/// All of it administered while the node runs: a class that demands a code, an identity in it, its enrolment, its end.
#[test]
fn a_class_demands_a_code_and_who_is_disabled_is_cut_off() {
    let deployment = Deployment::new();
    deployment.add_client("meter", &["--certificate", "--publish", "meters/#", "--subscribe", "meters/#"]);
    let node = Node::serve(&deployment);
    let order = |arguments: &[&str]| {
        let (code, text, error) = ctl(&node, &deployment, arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}{error}");
        text
    };
    let set = |kind: &str, name: &str, value: Value| {
        let file = deployment.path("value.json");
        std::fs::write(&file, value.to_string()).expect("a file");
        order(&["directory", "set", kind, name, &file.display().to_string()]);
    };
    let enter = |secret: Option<&str>| {
        let mut command = Command::new("mosquitto_sub");
        let (certificate, key) = deployment.certificate("meter");
        let port = node.port("mutual-tls").to_string();
        command.args(["-h", "127.0.0.1", "-p", &port, "-V", "mqttv5", "-i", "meter", "-t", "meters/#"]);
        command.arg("--cafile").arg(deployment.ca()).arg("--cert").arg(certificate).arg("--key").arg(key);
        if let Some(secret) = secret {
            command.args(["-u", "meter", "-P", secret]);
        }
        Process::start(&mut command)
    };
    let start = node.mark();
    let _by_certificate = enter(None);
    node.wait_subscribed(start, "meter", "meters/#");
    // From now on its class demands a code: a connection that has shown none does not stay.
    set("classes", "field", json!({"secondfactor": "totp"}));
    set("identities", "meter", json!({"class": "field"}));
    let ended = node.wait_for(start, "client.disconnected", |fields| fields["client_id"] == "meter");
    assert!(
        ended["fields"]["detail"].as_str().is_some_and(|detail| detail.contains("more is demanded")),
        "{ended}"
    );
    let start = node.mark();
    let _refused = enter(None);
    node.wait_for(start, "credential.refused", |fields| fields["identity"] == "meter");
    let enrolled: Value =
        serde_json::from_str(&order(&["identity", "totp", "meter", "--json"])).expect("JSON");
    let uri = enrolled["uri"].as_str().expect("a URI");
    let start = node.mark();
    let _by_both = enter(Some(&code(uri, 0)));
    node.wait_subscribed(start, "meter", "meters/#");
    set("identities", "meter", json!({"class": "field", "disabled": true}));
    node.wait_for(start, "client.disconnected", |fields| fields["client_id"] == "meter");
    let start = node.mark();
    let _disabled = enter(Some(&code(uri, 1)));
    node.wait_for(start, "connection.refused", |fields| fields["why"] == "disabled");
}
