//! Recorded attacks and attack tools against a real node: which alarm comes, and how fast.

use ravelin_attacks::node::Node;
use ravelin_detection::live::{alarms, head, node, now_ms, play};
use ravelin_detection::recorded::{name, recordings};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What was recorded of attacks for which the pauses between events do not matter.
const ATTACKS: [&str; 5] = [
    "mqttset_bruteforce",
    "mqttset_malformed",
    "mqttset_slowite",
    "tool_doania_duplicate_id",
    "tool_doania_reconnect_burst",
];
/// As many rows of each are enough, and take some seconds.
const ROWS_MAX: usize = 2_500;
/// Rows of benign traffic, in their own time: fifteen seconds.
const BENIGN_ROWS: usize = 250;

#[test]
fn a_node_raises_alarms_about_recorded_attacks_and_none_about_sensors() {
    let recordings = match recordings() {
        Ok(recordings) => recordings,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    println!("{}", head());
    let mut silent = Vec::new();
    for path in recordings.iter().filter(|path| ATTACKS.contains(&name(path).as_str())) {
        let node = node();
        let said = play(&node, path, ROWS_MAX, Duration::from_millis(2));
        println!("{}", said.line(&name(path)));
        if said.alarms.is_empty() {
            silent.push(name(path));
        }
    }
    let benign = recordings.iter().find(|path| name(path) == "mqttset_benign").expect("the sensors");
    let node = node();
    let said = play(&node, benign, BENIGN_ROWS, Duration::from_secs(2));
    println!("{}", said.line("mqttset_benign"));
    assert!(said.alarms.is_empty(), "sensors were accused: {:?}", said.alarms);
    assert!(silent.is_empty(), "no alarm about {silent:?}");
}

#[test]
fn a_node_raises_an_alarm_about_ncrack() {
    let Some(tool) = tool("/usr/bin/ncrack") else { return };
    let node = node();
    let address = node.addresses[1];
    let folder = node.path().join("words");
    let words: String = (0..40).map(|number| format!("secret{number}\n")).collect();
    std::fs::write(&folder, words).expect("a list of words");
    let since_ms = now_ms();
    run(Command::new(tool)
        .args(["--user", "admin,root", "-P"])
        .arg(&folder)
        .arg(format!("mqtt://{address}")));
    report("ncrack mqtt", &node, since_ms);
}

#[test]
fn a_node_raises_an_alarm_about_nmap() {
    let Some(tool) = tool("/usr/bin/nmap") else { return };
    let node = node();
    let port = node.addresses[0].port().to_string();
    let since_ms = now_ms();
    run(Command::new(tool).args(["-Pn", "-n", "-sT", "-sV", "--version-all", "-p", &port, "127.0.0.1"]));
    report("nmap -sV", &node, since_ms);
}

fn tool(path: &'static str) -> Option<&'static str> {
    if Path::new(path).exists() {
        return Some(path);
    }
    println!("skipped: {path} is not installed (`cargo xtask test --stage detection` installs it)");
    None
}

/// Runs a tool to its end, or for a minute.
fn run(command: &mut Command) {
    let mut limited = Command::new("timeout");
    limited.arg("60").arg(command.get_program()).args(command.get_args());
    let output = limited.stdin(Stdio::null()).output().expect("the tool starts");
    println!("{}", String::from_utf8_lossy(&output.stdout));
}

fn report(what: &str, node: &Node, since_ms: u64) {
    let said = alarms(node, since_ms, true);
    println!("{}\n{}", head(), said.line(what));
    assert!(said.first_s.is_some(), "no alarm about {what}");
}
