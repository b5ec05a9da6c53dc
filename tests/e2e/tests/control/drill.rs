//! `ravelin drill` against a deployment that `ravelin init` made: consent, what is reported, and that nothing is left over.

use super::{ctl, operator};
use ravelin_e2e::{Deployment, Node, ravelin};
use serde_json::Value;
use std::process::Stdio;

/// What is expected of the drill's clients: a contact that tells tampering, and a sensor that is heard of every second.
const EXPECTED: &str = r#"
[[expect]]
class = "drill-sensors"
interval = "1s"
grace = "1s"

[[physical]]
kind = "tamper"
topic = "drill/+/tamper"
alarm_when = { equals = "open" }
"#;

fn drill(node: &Node, deployment: &Deployment, arguments: &[&str]) -> (i32, String, String) {
    let mut command = ravelin(["drill"]);
    command.arg("--dir").arg(deployment.dir());
    command.args(["--url", &format!("https://localhost:{}", node.port("control"))]).args(arguments);
    // It takes longer than other commands may: a sensor's silence is only known after half a minute.
    let output = command.stdin(Stdio::null()).output().expect("ravelin drill runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("an exit code"), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_node_that_does_not_consent_is_not_attacked() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let start = node.mark();
    let (code, out, told) = drill(&node, &deployment, &["note"]);
    assert_eq!((code, out.as_str()), (1, ""), "{told}");
    assert!(told.contains("does not consent") && told.contains("[drill]"), "what to do about it: {told}");
    node.wait_for(start, "admin.order", |fields| {
        fields["action"] == "drill.begin" && fields["done"] == false
    });
    assert!(node.events(start, "client.connected").is_empty());

    let (code, _, told) = drill(&node, &deployment, &["flood"]);
    assert_eq!(code, 2);
    assert!(told.contains("note, energy-provider"), "{told}");
}

#[test]
fn every_detection_of_the_note_is_alarmed_and_nothing_is_left_over() {
    let deployment = Deployment::new();
    deployment.append(&format!("[drill]\nallow = true\n{EXPECTED}"));
    let node = Node::serve(&deployment);
    let start = node.mark();
    let (code, out, told) = drill(&node, &deployment, &["note", "--json"]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{told}"));
    let results = report["results"].as_array().expect("results");
    for result in results {
        let outcome = result["outcome"].as_str().unwrap_or_default();
        assert!(outcome == "alarmed" || outcome == "stopped_and_alarmed", "{result:#}");
        assert!(!result["summary"].as_str().unwrap_or_default().is_empty(), "{result:#}");
    }
    assert_eq!((code, results.len()), (0, 12), "{told}");

    node.wait_for(start, "admin.order", |fields| fields["action"] == "drill.end");
    let left = operator(&node, &deployment, "GET", "/v1/directory/identities?limit=1000", "").body;
    assert!(!left.contains("drill-"), "{left}");
    let left = operator(&node, &deployment, "GET", "/v1/directory/roles?limit=1000", "").body;
    assert!(!left.contains("drill-"), "{left}");
    let (_, bans, _) = ctl(&node, &deployment, &["ban", "list"]);
    assert!(!bans.contains("drill-"), "what cuts off only observes unless it is told otherwise: {bans}");
}
