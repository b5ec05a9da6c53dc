//! What an operator does with a node, and relies on.

mod dynsec;
mod firewall;
mod identity;
mod open;
mod outward;
mod proxy;
mod record;
mod reload;
mod restart;
mod sandbox;
mod secrecy;
mod snippets;
mod sys;
mod systemd;

use ravelin_e2e::{Deployment, Node, Process, output};
use std::path::Path;
use std::process::{Command, Output};

/// Mosquitto's client, as one that has a certificate.
fn mosquitto(what: &str, port: u16, deployment: &Deployment, name: &str, id: &str) -> Command {
    let mut command = Command::new(format!("mosquitto_{what}"));
    let (certificate, key) = deployment.certificate(name);
    command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-V", "mqttv5", "-i", id]);
    command.arg("--cafile").arg(deployment.ca());
    command.arg("--cert").arg(certificate).arg("--key").arg(key);
    command
}

/// Publishes as the operator, who may do everything.
fn publish(node: &Node, deployment: &Deployment, arguments: &[&str]) {
    let mut command = mosquitto("pub", node.port("mutual-tls"), deployment, "operator", "operator-pub");
    succeed(output(command.args(arguments), b""));
}

/// Subscribes, and waits until that is in force.
fn subscribe(node: &Node, deployment: &Deployment, name: &str, filter: &str, arguments: &[&str]) -> Process {
    let start = node.mark();
    let mut command = mosquitto("sub", node.port("mutual-tls"), deployment, name, name);
    let process = Process::start(command.args(["-v", "-t", filter]).args(arguments));
    node.wait_subscribed(start, name, filter);
    process
}

fn succeed(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Every file below a folder, with its content.
fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        {
            if entry.is_dir() {
                folders.push(entry);
            } else {
                found.push((entry.clone(), std::fs::read(&entry).expect("a file")));
            }
        }
    }
    found
}
