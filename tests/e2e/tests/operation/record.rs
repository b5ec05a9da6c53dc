//! The record: who sent what to whom, and that nobody changes it unnoticed.

use crate::{mosquitto, publish, subscribe};
use ravelin_e2e::{Deployment, Node, output, ravelin};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const TOPIC: &str = "commands/17/switch";

fn recorded() -> Deployment {
    let deployment = Deployment::new();
    deployment.edit("#topics = []", "topics = [\"commands/#\"]");
    deployment.edit("#checkpoint_interval = \"5s\"", "checkpoint_interval = \"100ms\"");
    deployment
}

fn audit(what: &str, deployment: &Deployment, arguments: &[&str]) -> Output {
    output(ravelin(["audit", what]).arg(deployment.dir()).args(arguments), b"")
}

fn verify(deployment: &Deployment, arguments: &[&str]) -> (i32, Value) {
    let output = audit("verify", deployment, &[&["--json"], arguments].concat());
    let found = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().expect("an exit status"), found)
}

/// The entries that `show` picks, once there are as many as expected.
fn show(deployment: &Deployment, arguments: &[&str], count: usize) -> Vec<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let output = audit("show", deployment, &[&["--json"], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let line = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["entry"].clone();
        let entries: Vec<Value> = text.lines().map(line).collect();
        if entries.len() >= count || Instant::now() > deadline {
            return entries;
        }
        std::thread::yield_now();
    }
}

fn sha256sum(text: &str) -> String {
    let output = output(&mut Command::new("sha256sum"), text.as_bytes());
    String::from_utf8_lossy(&output.stdout).split(' ').next().expect("a digest").to_owned()
}

fn segment(deployment: &Deployment) -> std::path::PathBuf {
    let folder = deployment.path("data/record");
    let mut names: Vec<_> =
        std::fs::read_dir(folder).expect("the record").map(|entry| entry.expect("an entry").path()).collect();
    names.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    names.sort();
    names.remove(0)
}

#[test]
fn it_tells_who_sent_what_to_whom_and_tampering_is_located() {
    let deployment = recorded();
    for name in ["switch-1", "switch-2"] {
        deployment.add_client(name, &["--subscribe", "commands/#"]);
    }
    let node = Node::serve(&deployment);
    let first = subscribe(&node, &deployment, "switch-1", "commands/#", &["-q", "1"]);
    let second = subscribe(&node, &deployment, "switch-2", "commands/#", &["-q", "0"]);
    publish(&node, &deployment, &["-t", TOPIC, "-m", "open", "-q", "1"]);
    publish(&node, &deployment, &["-t", "meters/7", "-m", "not recorded", "-q", "1"]);
    first.wait_for_lines(1);
    second.wait_for_lines(1);

    // While the node runs.
    let sent = show(&deployment, &["--kind", "transmission"], 1);
    assert_eq!(sent.len(), 1, "only the topic that asked for it: {sent:?}");
    assert_eq!(sent[0]["sha256"], sha256sum("open"));
    assert_eq!((&sent[0]["client_id"], &sent[0]["identity"]), (&"operator-pub".into(), &"operator".into()));
    assert_eq!((&sent[0]["topic"], &sent[0]["qos"]), (&TOPIC.into(), &1.into()));
    assert!(sent[0]["certificate"].as_str().is_some_and(|print| print.len() == 64));
    let delivered = show(&deployment, &["--topic", "commands/+/switch", "--kind", "delivery"], 2);
    let mut got: Vec<_> = delivered
        .iter()
        .map(|entry| (entry["client_id"].as_str().unwrap_or(""), entry["how"].as_str().unwrap_or("")))
        .collect();
    got.sort_unstable();
    assert_eq!(got, [("switch-1", "acknowledged"), ("switch-2", "written")]);
    assert!(delivered.iter().all(|entry| entry["id"] == sent[0]["id"]));
    let (status, found) = verify(&deployment, &[]);
    assert_eq!(status, 0, "{found}");
    drop((first, second));
    assert!(node.stop().success());
    let (status, found) = verify(&deployment, &[]);
    assert_eq!((status, &found["closed"]), (0, &true.into()), "{found}");

    // One flipped bit.
    let path = segment(&deployment);
    let mut bytes = std::fs::read(&path).expect("a segment");
    let at = bytes.len() * 2 / 3;
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).expect("a segment");
    let (status, found) = verify(&deployment, &[]);
    assert_eq!(status, 1, "{found}");
    let damage = &found["damage"][0];
    assert!(damage["file"].as_str().is_some_and(|file| path.ends_with(file)), "{found}");
    assert!(damage["offset"].as_u64().is_some_and(|offset| offset <= at as u64), "{found}");
    // Cut off.
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes[..at]).expect("a segment");
    assert_eq!(verify(&deployment, &[]).0, 1);
    std::fs::write(&path, &bytes).expect("a segment");
    assert_eq!(verify(&deployment, &[]).0, 0);
    let missing = output(&mut ravelin(["audit", "verify", "/nowhere"]), b"");
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn evidence_is_verified_without_any_key_of_the_node() {
    let deployment = recorded();
    let node = Node::serve(&deployment);
    publish(&node, &deployment, &["-t", TOPIC, "-m", "open", "-q", "1"]);
    publish(&node, &deployment, &["-t", "commands/18/switch", "-m", "secret", "-q", "1"]);
    assert!(node.stop().success());
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| elsewhere.path().join(name);
    let save = |name: &str, output: &Output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(path(name), &output.stdout).expect("a file");
    };
    save("evidence.jsonl", &audit("export", &deployment, &["--topic", TOPIC]));
    save("key.pem", &audit("key", &deployment, &[]));
    save("head", &audit("head", &deployment, &[]));
    let evidence = std::fs::read_to_string(path("evidence.jsonl")).expect("the evidence");
    assert!(evidence.contains(&sha256sum("open")) && !evidence.contains("commands/18"), "{evidence}");
    let check = |evidence: &Path| {
        let mut command = ravelin(["audit", "verify"]);
        command.arg(evidence).arg("--public-key").arg(path("key.pem")).arg("--anchor").arg(path("head"));
        output(&mut command, b"").status.code()
    };
    assert_eq!(check(&path("evidence.jsonl")), Some(0));
    std::fs::write(path("forged.jsonl"), evidence.replace("operator-pub", "somebody-els")).expect("a file");
    assert_eq!(check(&path("forged.jsonl")), Some(1));
    // Another node's record is whole in itself, but not signed with this key.
    let other = recorded();
    assert!(Node::serve(&other).stop().success());
    save("other.jsonl", &audit("export", &other, &[]));
    assert_eq!(check(&path("other.jsonl")), Some(1));
    assert_eq!(verify(&deployment, &["--anchor", &path("head").display().to_string()]).0, 0);
}

#[test]
fn refusals_are_recorded_and_a_flood_of_them_is_summed_up() {
    let deployment = recorded();
    deployment.add_client("meter", &["--publish", "meters/meter/#"]);
    let node = Node::serve(&deployment);
    let mut denied = mosquitto("pub", node.port("mutual-tls"), &deployment, "meter", "meter");
    output(denied.args(["-t", TOPIC, "-m", "open", "-q", "1"]), b"");
    let refused = show(&deployment, &["--topic", TOPIC, "--kind", "refusal"], 1);
    assert_eq!(refused[0]["event"], "publish.refused");
    assert_eq!((&refused[0]["client_id"], &refused[0]["why"]), (&"meter".into(), &"access_rule".into()));
    assert!(show(&deployment, &["--kind", "transmission"], 0).is_empty(), "what was refused was not sent");
    let mut lines = mosquitto("pub", node.port("mutual-tls"), &deployment, "meter", "meter");
    let flood = "x\n".repeat(2000);
    output(lines.args(["-t", TOPIC, "-l", "-q", "1"]), flood.as_bytes());
    assert!(node.stop().success());
    let single = show(&deployment, &["--kind", "refusal"], 1).len();
    let summed: u64 = show(&deployment, &["--kind", "refusals"], 1)
        .iter()
        .filter_map(|entry| entry["count"].as_u64())
        .sum();
    assert!(single < 300 && summed >= 1000, "{single} single, {summed} summed up");
}

#[test]
fn a_rotated_key_leaves_the_record_readable() {
    let deployment = recorded();
    let node = Node::serve(&deployment);
    publish(&node, &deployment, &["-t", TOPIC, "-m", "open", "-q", "1"]);
    let rotated = output(ravelin(["rotate-key"]).arg(deployment.dir()), b"");
    assert!(rotated.status.success());
    node.reload();
    publish(&node, &deployment, &["-t", TOPIC, "-m", "close", "-q", "1"]);
    assert!(node.stop().success());
    let (status, found) = verify(&deployment, &[]);
    assert_eq!((status, found["keys"].as_array().map(Vec::len)), (0, Some(2)), "{found}");
    assert_eq!(show(&deployment, &["--kind", "transmission"], 2).len(), 2);
}
