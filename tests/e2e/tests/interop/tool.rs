//! One way to subscribe and publish with each client.

use crate::rumqtt;
use ravelin_e2e::{Process, output, ravelin, target};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Mosquitto,
    Paho,
    MqttJs,
    Rumqttc,
    Ravelin,
}

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V311,
    V5,
}

impl Version {
    pub fn text(self) -> &'static str {
        match self {
            Version::V311 => "3.1.1",
            Version::V5 => "5.0",
        }
    }

    /// As mosquitto_pub and `ravelin pub` call it.
    fn option(self) -> &'static str {
        match self {
            Version::V311 => "mqttv311",
            Version::V5 => "mqttv5",
        }
    }
}

/// How to reach the node.
pub struct Access {
    pub port: u16,
    pub ca: PathBuf,
    pub id: String,
    pub credentials: Credentials,
    pub websocket: bool,
}

/// What proves who one is.
pub enum Credentials {
    /// Certificate and key.
    Certificate((PathBuf, PathBuf)),
    /// User name and password.
    Password(String, String),
    /// A certificate, and a second factor in the password field.
    Both((PathBuf, PathBuf), String, String),
}

impl Credentials {
    /// Certificate and key.
    pub fn certificate(&self) -> Option<&(PathBuf, PathBuf)> {
        match self {
            Credentials::Certificate(pair) | Credentials::Both(pair, ..) => Some(pair),
            Credentials::Password(..) => None,
        }
    }

    /// User name, and what stands in the password field.
    pub fn password(&self) -> Option<(&str, &str)> {
        match self {
            Credentials::Password(user, password) | Credentials::Both(_, user, password) => {
                Some((user, password))
            }
            Credentials::Certificate(_) => None,
        }
    }
}

/// A client that is subscribed; each message is a line: topic, QoS, retained, payload.
pub enum Subscriber {
    Process(Process),
    Rumqttc(rumqtt::Subscriber),
}

impl Subscriber {
    /// The messages, once there are so many.
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        match self {
            Subscriber::Process(process) => process.wait_for_lines(count),
            Subscriber::Rumqttc(subscriber) => subscriber.wait_for(count),
        }
    }
}

impl Tool {
    pub fn name(self) -> &'static str {
        match self {
            Tool::Mosquitto => "mosquitto",
            Tool::Paho => "paho",
            Tool::MqttJs => "mqtt-js",
            Tool::Rumqttc => "rumqttc",
            Tool::Ravelin => "ravelin",
        }
    }

    pub fn subscribe(self, access: &Access, version: Version, qos: u8, topic: &str) -> Subscriber {
        if self == Tool::Rumqttc {
            return Subscriber::Rumqttc(rumqtt::subscribe(access, version, qos, topic));
        }
        let mut command = self.command("sub", access, version, qos, topic);
        if matches!(self, Tool::Mosquitto | Tool::Ravelin) {
            command.args(["-F", "%t %q %r %p"]);
        }
        Subscriber::Process(Process::start(&mut command))
    }

    /// Publishes, and waits for the acknowledgement that the QoS has.
    pub fn publish(
        self,
        access: &Access,
        version: Version,
        qos: u8,
        topic: &str,
        payload: &str,
    ) -> Result<(), String> {
        if self == Tool::Rumqttc {
            return rumqtt::publish(access, version, qos, topic, payload);
        }
        let mut command = self.command("pub", access, version, qos, topic);
        if matches!(self, Tool::Mosquitto | Tool::Ravelin) {
            command.arg("-s");
        }
        let output = output(&mut command, payload.as_bytes());
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }

    fn command(self, what: &str, access: &Access, version: Version, qos: u8, topic: &str) -> Command {
        match self {
            Tool::Mosquitto => {
                assert!(!access.websocket, "Debian's mosquitto clients speak no WebSocket");
                like_mosquitto(Command::new(format!("mosquitto_{what}")), access, version, qos, topic)
            }
            Tool::Ravelin => {
                let mut command = like_mosquitto(ravelin([what]), access, version, qos, topic);
                if access.websocket {
                    command.arg("--ws");
                }
                command
            }
            Tool::Paho => {
                let python = installed("e2e-python/bin/python");
                let mut command = Command::new(python);
                command.arg(script("python/client.py")).arg(what);
                command.args(["--host", "127.0.0.1", "--port", &access.port.to_string()]);
                long_options(&mut command, access, version, qos, topic);
                if access.websocket {
                    command.arg("--websocket");
                }
                command
            }
            Tool::MqttJs => {
                let scheme = if access.websocket { "wss" } else { "mqtts" };
                let path = if access.websocket { "/mqtt" } else { "" };
                let mut command = Command::new("node");
                command.env("NODE_PATH", installed("e2e-node/node_modules"));
                command.arg(script("node/client.js")).arg(what);
                command.arg("--url").arg(format!("{scheme}://127.0.0.1:{}{path}", access.port));
                long_options(&mut command, access, version, qos, topic);
                command
            }
            Tool::Rumqttc => unreachable!("rumqttc is no program"),
        }
    }
}

fn like_mosquitto(mut command: Command, access: &Access, version: Version, qos: u8, topic: &str) -> Command {
    command.args(["-h", "127.0.0.1", "-p", &access.port.to_string(), "-V", version.option()]);
    command.args(["-i", &access.id, "-q", &qos.to_string(), "-t", topic]);
    command.arg("--cafile").arg(&access.ca);
    if let Some((certificate, key)) = access.credentials.certificate() {
        command.arg("--cert").arg(certificate).arg("--key").arg(key);
    }
    if let Some((user, password)) = access.credentials.password() {
        command.args(["-u", user, "-P", password]);
    }
    command
}

fn long_options(command: &mut Command, access: &Access, version: Version, qos: u8, topic: &str) {
    command.arg("--ca").arg(&access.ca);
    command.args(["--id", &access.id, "--mqtt", version.text(), "--qos", &qos.to_string(), "--topic", topic]);
    if let Some((certificate, key)) = access.credentials.certificate() {
        command.arg("--cert").arg(certificate).arg("--key").arg(key);
    }
    if let Some((user, password)) = access.credentials.password() {
        command.args(["--username", user, "--password", password]);
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What `cargo xtask test` installs.
fn installed(name: &str) -> PathBuf {
    let path = target().join(name);
    assert!(path.exists(), "{} is missing: `cargo xtask test --stage e2e` installs it", path.display());
    path
}
