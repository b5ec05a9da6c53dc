//! The broker of the demo: set up by `ravelin init`, run by `ravelin serve`, its log followed.

use super::matrix::Matrix;
use super::story::Story;
use anyhow::{Context, bail};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What has not happened by then does not.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The lab consents to be attacked, and says what its readings and commands can be.
const CONSENT: &str = r#"
[drill]
allow = true
play = ["smart-meter", "dms"]

[[value]]
name = "meter voltage"
topic = "field/smart-meter/voltage"
pattern = "{} V"
min = 90
max = 140

[[value]]
name = "voltage set-point"
topic = "field/power-supply/command"
pattern = "volt-{}"
min = 100
max = 130
"#;

/// A deployment and, once it serves, its process.
pub struct Broker {
    binary: PathBuf,
    dir: PathBuf,
    keep: bool,
    process: Option<Child>,
    log: Arc<Log>,
    port: u16,
    control: String,
}

/// The lines that the broker wrote, and whether it still runs.
#[derive(Default)]
struct Log {
    state: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Broker {
    /// `ravelin init`, with what the demo needs otherwise than usual.
    pub fn create(binary: &Path, keep: Option<&Path>, story: &mut Story) -> anyhow::Result<Broker> {
        let dir = match keep {
            Some(dir) => std::path::absolute(dir)?,
            None => std::env::temp_dir().join(format!("ravelin-demo-{}", std::process::id())),
        };
        let broker = Broker {
            binary: binary.to_owned(),
            dir,
            keep: keep.is_some(),
            process: None,
            log: Arc::default(),
            port: 0,
            control: String::new(),
        };
        broker.done(broker.command().arg("init").arg(&broker.dir))?;
        let config = broker.dir.join("ravelin.toml");
        let mut text = std::fs::read_to_string(&config).context("failed to read the configuration")?;
        for (from, to) in [
            // Any free port; a device's two processes share its identity, under two Client Identifiers.
            ("address = \"127.0.0.1:8883\"", "address = \"127.0.0.1:0\""),
            ("address = \"127.0.0.1:8885\"", "address = \"127.0.0.1:0\""),
            ("address = \"127.0.0.1:8886\"", "address = \"127.0.0.1:0\""),
            ("#bind_client_id = \"equal\"", "bind_client_id = \"prefix\""),
            ("#topics = []", "topics = [\"field/#\"]"),
            ("#format = \"text\"", "format = \"json\""),
            ("#level = \"info\"", "level = \"debug\""),
        ] {
            if !text.contains(from) {
                bail!("{} has no {from}", config.display());
            }
            text = text.replacen(from, to, 1);
        }
        text.push_str(CONSENT);
        std::fs::write(&config, text).context("failed to write the configuration")?;
        story
            .fact("ravelin init", "private CA, server certificate, access rules, key of the encrypted store");
        Ok(broker)
    }

    /// `ravelin client add`: a certificate, and the access rules of the scenario.
    pub fn add_client(&self, name: &str, matrix: &Matrix, story: &mut Story) -> anyhow::Result<()> {
        let mut command = self.command();
        command.args(["client", "add", name, "--dir"]).arg(&self.dir);
        let mut may = Vec::new();
        for (option, word, topics) in [
            ("--publish", "publishes", matrix.publishes(name)),
            ("--subscribe", "subscribes to", matrix.subscribes(name)),
        ] {
            for topic in &topics {
                command.arg(option).arg(topic);
            }
            if !topics.is_empty() {
                may.push(format!("{word} {}", topics.join(", ")));
            }
        }
        self.done(&mut command)?;
        story.fact(name, &format!("a certificate; {}", may.join("; ")));
        Ok(())
    }

    /// `ravelin serve`, until it listens.
    pub fn serve(&mut self, story: &mut Story) -> anyhow::Result<()> {
        let mut command = self.command();
        command.arg("serve").arg(&self.dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().context("failed to run ravelin serve")?;
        let errors = process.stderr.take().context("no standard error")?;
        self.process = Some(process);
        let log = self.log.clone();
        std::thread::spawn(move || log.follow(BufReader::new(errors)));
        let (_, event) = self.log.wait_for(0, |event| {
            event["id"] == "node.listening" && event["fields"]["listener"] == "mutual-tls"
        })?;
        let (_, control) = self.log.wait_for(0, |event| {
            event["id"] == "node.listening" && event["fields"]["listener"] == "control"
        })?;
        let control = control["fields"]["address"].as_str().unwrap_or_default();
        self.control = format!("https://{control}");
        let address = event["fields"]["address"].as_str().unwrap_or_default();
        self.port = address.rsplit(':').next().and_then(|port| port.parse().ok()).context("no port")?;
        story.fact("ravelin serve", &format!("mutual TLS on {address}"));
        Ok(())
    }

    /// `ravelin pub` or `ravelin sub`, as this client or as one without a certificate.
    pub fn client(&self, command: &str, name: Option<&str>) -> Command {
        let mut client = self.command();
        client.args([command, "-h", "localhost", "-p", &self.port.to_string(), "--cafile"]);
        client.arg(self.dir.join("ca/ca.crt"));
        if let Some(name) = name {
            let clients = self.dir.join("clients");
            client.arg("--cert").arg(clients.join(format!("{name}.crt")));
            client.arg("--key").arg(clients.join(format!("{name}.key")));
        }
        client
    }

    /// `ravelin ctl`, as the operator.
    pub fn ctl(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = self.command();
        self.done(command.arg("ctl").args(arguments).args(["--url", &self.control, "--dir"]).arg(&self.dir))
            .map(drop)
    }

    /// `ravelin drill`, as the operator: its report. An attack that was missed is in the report, not an error.
    pub fn drill(&self, scenario: &str) -> anyhow::Result<Value> {
        let mut command = self.command();
        command.args(["drill", scenario, "--json", "--url", &self.control, "--dir"]).arg(&self.dir);
        let output = command.stdin(Stdio::null()).output().context("failed to run ravelin drill")?;
        let told = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("ravelin drill failed: {}", told.trim()))
    }

    /// What a command prints that reads the deployment.
    pub fn output(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = self.done(self.command().args(arguments).arg(&self.dir))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The deployment.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where mutual TLS is spoken.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many lines the log has: where to look for what happens next.
    pub fn log_end(&self) -> usize {
        self.log.state.lock().map_or(0, |state| state.0.len())
    }

    /// The line of the first event of this kind after `start`, once it is there.
    pub fn wait_for(&self, start: usize, is_it: impl Fn(&Value) -> bool) -> anyhow::Result<String> {
        self.log.wait_for(start, is_it).map(|(line, _)| line)
    }

    /// Stops it in order.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        self.done(Command::new("kill").args(["-TERM", &process.id().to_string()]))?;
        self.log.wait_for(0, |event| event["id"] == "node.stopped")?;
        let status = process.wait().context("failed to wait for the broker")?;
        if !status.success() {
            bail!("the broker stopped with {status}");
        }
        Ok(())
    }

    fn command(&self) -> Command {
        Command::new(&self.binary)
    }

    fn done(&self, command: &mut Command) -> anyhow::Result<Output> {
        let output: Output = command.stdin(Stdio::null()).output().context("failed to run a command")?;
        if !output.status.success() {
            bail!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Whatever cannot be tidied up is in the way of nobody.
        if let Some(process) = &mut self.process {
            process.kill().ok();
            process.wait().ok();
        }
        if !self.keep {
            std::fs::remove_dir_all(&self.dir).ok();
        }
    }
}

impl Log {
    fn follow(&self, errors: impl BufRead) {
        for line in errors.lines().map_while(Result::ok) {
            self.change(|state| state.0.push(line));
        }
        self.change(|state| state.1 = true);
    }

    fn change(&self, change: impl FnOnce(&mut (Vec<String>, bool))) {
        if let Ok(mut state) = self.state.lock() {
            change(&mut state);
        }
        self.changed.notify_all();
    }

    fn wait_for(&self, start: usize, is_it: impl Fn(&Value) -> bool) -> anyhow::Result<(String, Value)> {
        let deadline = Instant::now() + PATIENCE;
        let mut next = start;
        let mut state = self.state.lock().map_err(|_| anyhow::anyhow!("the log's reader failed"))?;
        loop {
            while let Some(line) = state.0.get(next) {
                next += 1;
                if let Ok(event) = serde_json::from_str::<Value>(line)
                    && is_it(&event)
                {
                    return Ok((line.clone(), event));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.1 {
                bail!("the broker did not log what was expected; its log:\n{}", state.0.join("\n"));
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .map_err(|_| anyhow::anyhow!("the log's reader failed"))?
                .0;
        }
    }
}
