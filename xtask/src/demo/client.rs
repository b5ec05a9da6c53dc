//! A client of the scenario: a `ravelin sub` that stays connected, and a `ravelin pub` for each message.

use super::broker::{Broker, PATIENCE};
use anyhow::{Context, bail};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

/// One of the five.
pub struct Client {
    pub name: &'static str,
    process: Option<Child>,
    received: Receiver<String>,
    /// Ready to be given a topic and a payload.
    publish: Vec<std::ffi::OsString>,
    binary: std::ffi::OsString,
}

impl Client {
    /// Connects, and waits until its subscriptions are in force.
    pub fn start(broker: &Broker, name: &'static str, topics: Vec<&str>) -> anyhow::Result<Client> {
        let publish = broker.client("pub", Some(name));
        let (sender, received) = channel();
        let mut client = Client {
            name,
            process: None,
            received,
            publish: publish.get_args().map(ToOwned::to_owned).collect(),
            binary: publish.get_program().to_owned(),
        };
        if topics.is_empty() {
            return Ok(client);
        }
        let start = broker.log_end();
        let mut command = broker.client("sub", Some(name));
        command.args(["-i", name, "-q", "2", "-F", "%t %p"]);
        for topic in &topics {
            command.args(["-t", topic]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn().context("failed to run ravelin sub")?;
        let output = process.stdout.take().context("no standard output")?;
        client.process = Some(process);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        for topic in topics {
            broker.wait_for(start, |event| {
                let fields = &event["fields"];
                event["id"] == "client.subscribed" && fields["client_id"] == name && fields["filter"] == topic
            })?;
        }
        Ok(client)
    }

    /// Publishes, and waits until the broker has taken it.
    pub fn publish(&self, topic: &str, payload: &str, options: &[&str]) -> anyhow::Result<()> {
        let output = self.try_publish(topic, payload, options)?;
        if !output.status.success() {
            bail!("{} could not publish: {}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Publishes, and gives what became of it.
    pub fn try_publish(&self, topic: &str, payload: &str, options: &[&str]) -> anyhow::Result<Output> {
        let mut command = Command::new(&self.binary);
        command.args(&self.publish).args(["-i", &format!("{}-pub", self.name), "-t", topic, "-m", payload]);
        command.args(options).stdin(Stdio::null()).output().context("failed to run ravelin pub")
    }

    /// The payload of the next message, which must be of this topic.
    pub fn receive(&self, topic: &str) -> anyhow::Result<String> {
        let line = match self.received.recv_timeout(PATIENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => bail!("{} received nothing on {topic}", self.name),
            Err(RecvTimeoutError::Disconnected) => bail!("{} lost its connection", self.name),
        };
        match line.split_once(' ') {
            Some((found, payload)) if found == topic => Ok(payload.to_owned()),
            _ => bail!("{} expected a message on {topic} and received: {line}", self.name),
        }
    }

    /// Fails if there is a message that nobody has asked for.
    pub fn expect_nothing_more(&self) -> anyhow::Result<()> {
        match self.received.try_recv() {
            Ok(line) => bail!("{} received more than its part: {line}", self.name),
            Err(_) => Ok(()),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself.
            process.kill().ok();
            process.wait().ok();
        }
    }
}
