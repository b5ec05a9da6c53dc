//! A deployment in a temporary directory, as `ravelin init` makes it, on free ports.

use crate::{output, ravelin};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A deployment; deleted with the value.
pub struct Deployment {
    parent: tempfile::TempDir,
    /// What `init` printed as the operator's password.
    pub operator_password: String,
}

impl Deployment {
    /// `ravelin init`, with free ports, a log that programs read, and secure WebSocket switched on.
    pub fn new() -> Deployment {
        let parent = tempfile::tempdir().expect("a temporary directory");
        let output = output(ravelin(["init"]).arg(parent.path().join("plant")), b"");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let shown = text.lines().find(|line| line.starts_with("The operator's password"));
        let operator_password =
            shown.and_then(|line| line.rsplit(' ').next()).expect("the operator's password").to_owned();
        let deployment = Deployment { parent, operator_password };
        deployment.edit("address = \"127.0.0.1:8883\"", "address = \"127.0.0.1:0\"");
        deployment.edit("address = \"127.0.0.1:8885\"", "address = \"127.0.0.1:0\"");
        deployment.edit("address = \"127.0.0.1:8886\"", "address = \"127.0.0.1:0\"");
        deployment.edit("#bind_client_id = \"equal\"", "bind_client_id = \"prefix\"");
        deployment.edit("#format = \"text\"", "format = \"json\"");
        deployment.edit("#level = \"info\"", "level = \"debug\"");
        deployment.append(
            "\
[[listener]]
name = \"websocket\"
transport = \"wss\"
address = \"127.0.0.1:0\"
certificate = \"tls/server.crt\"
key = \"tls/server.key\"
client_certificate = \"none\"
bind_client_id = \"prefix\"
authentication = [\"password\", \"scram-sha-256\"]
",
        );
        deployment
    }

    /// Its directory.
    pub fn dir(&self) -> PathBuf {
        self.parent.path().join("plant")
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// The CA that its clients trust.
    pub fn ca(&self) -> PathBuf {
        self.path("ca/ca.crt")
    }

    /// The certificate and key of a client.
    pub fn certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        (self.path(&format!("clients/{name}.crt")), self.path(&format!("clients/{name}.key")))
    }

    /// The text of its configuration.
    pub fn config(&self) -> String {
        read(&self.path("ravelin.toml"))
    }

    /// Replaces what stands in the configuration once or first.
    pub fn edit(&self, from: &str, to: &str) {
        let text = self.config();
        assert!(text.contains(from), "the configuration has no {from}:\n{text}");
        self.write_config(&text.replacen(from, to, 1));
    }

    /// Adds to the end of the configuration.
    pub fn append(&self, text: &str) {
        self.write_config(&format!("{}\n{text}", self.config()));
    }

    /// Writes the whole configuration.
    pub fn write_config(&self, text: &str) {
        std::fs::write(self.path("ravelin.toml"), text).expect("the configuration");
    }

    /// `ravelin client add NAME --json`; gives what it printed.
    pub fn add_client(&self, name: &str, options: &[&str]) -> Value {
        let mut command = ravelin(["client", "add", name, "--json", "--dir"]);
        let output = output(command.arg(self.dir()).args(options), b"");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

impl Default for Deployment {
    fn default() -> Deployment {
        Deployment::new()
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
