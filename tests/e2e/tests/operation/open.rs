//! `ravelin serve --dangerous-open`.

use crate::succeed;
use ravelin_e2e::{Node, output, ravelin};
use std::process::Command;

#[test]
fn it_lets_everyone_in_on_loopback_and_warns() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let mut command = ravelin(["serve", "--dangerous-open", "127.0.0.1:0", "--workers", "1", "--data"]);
    let process = ravelin_e2e::Process::start(command.arg(data.path().join("data")));
    process.wait_for(0, "a warning", |line| line.contains("no encryption").then_some(()));
    let port = process.wait_for(0, "where it listens", |line| {
        let address = line.split("127.0.0.1:").nth(1)?;
        let digits: String = address.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u16>().ok().filter(|port| *port != 0)
    });
    for version in ["mqttv311", "mqttv5"] {
        let mut publish = Command::new("mosquitto_pub");
        publish.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", version]);
        succeed(output(publish.args(["-q", "1", "-r", "-t", "open", "-m", version]), b""));
    }
    let mut subscribe = Command::new("mosquitto_sub");
    subscribe.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "#", "-C", "1"]);
    assert_eq!(succeed(output(&mut subscribe, b"")), "mqttv5\n");
}

#[test]
fn it_is_refused_beyond_loopback() {
    let output = output(&mut ravelin(["serve", "--dangerous-open", "0.0.0.0:0"]), b"");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("loopback"), "{output:?}");
}

#[test]
fn a_node_says_which_settings_lower_its_security() {
    let deployment = ravelin_e2e::Deployment::new();
    deployment.edit("rules_file = \"access.rules\"\n", "");
    deployment.edit("#dangerous_allow_everything = false", "dangerous_allow_everything = true");
    let node = Node::serve(&deployment);
    let event = node.wait_for(0, "node.dangerous_setting", |_| true);
    assert_eq!(event["fields"]["setting"], "dangerous_allow_everything");
    let meaning = event["fields"]["meaning"].as_str().unwrap_or_default();
    assert!(meaning.contains("every client may read and write every topic"), "{event}");
}

#[test]
fn a_warning_that_lowers_no_security_is_an_event_of_its_own() {
    let deployment = ravelin_e2e::Deployment::new();
    deployment.edit("rules_file = \"access.rules\"\n", "");
    let node = Node::serve(&deployment);
    let event = node.wait_for(0, "node.configuration_warning", |_| true);
    let warning = event["fields"]["warning"].as_str().unwrap_or_default();
    assert!(warning.contains("nobody may publish or subscribe"), "{event}");
    assert!(event["fields"]["place"].as_str().unwrap_or_default().contains("ravelin.toml"), "{event}");
    assert!(node.events(0, "node.dangerous_setting").is_empty());
}
