//! A node that serves.

use crate::{Deployment, Process, ravelin};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::{Command, ExitStatus};

/// A node; killed with the value.
pub struct Node {
    process: Process,
    ports: BTreeMap<String, u16>,
}

impl Node {
    /// `ravelin serve`, until every listener listens.
    pub fn serve(deployment: &Deployment) -> Node {
        let opens = |line: &&str| ["[[listener]]", "[control]"].contains(&line.trim());
        let listeners = deployment.config().lines().filter(opens).count();
        Node::start(ravelin(["serve"]).arg(deployment.dir()), listeners)
    }

    /// Starts a command that serves, and waits for as many listeners.
    pub fn start(command: &mut Command, listeners: usize) -> Node {
        let process = Process::start(command);
        let mut ports = BTreeMap::new();
        process.wait_for(0, "where it listens", |line| {
            let event = parse(line).filter(|event| event["id"] == "node.listening")?;
            let fields = &event["fields"];
            let port = fields["address"].as_str()?.rsplit(':').next()?.parse().ok()?;
            ports.insert(fields["listener"].as_str()?.to_owned(), port);
            (ports.len() == listeners).then_some(())
        });
        Node { process, ports }
    }

    /// The port of a listener.
    pub fn port(&self, listener: &str) -> u16 {
        *self.ports.get(listener).unwrap_or_else(|| panic!("no listener {listener} in {:?}", self.ports))
    }

    /// Where the log ends now.
    pub fn mark(&self) -> usize {
        self.process.mark()
    }

    /// Waits for an event after `start` of which this holds.
    pub fn wait_for(&self, start: usize, id: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.process.wait_for(start, id, |line| {
            parse(line).filter(|event| event["id"] == id && is_it(&event["fields"]))
        })
    }

    /// The events since `start` with this id.
    pub fn events(&self, start: usize, id: &str) -> Vec<Value> {
        let events = self.process.lines(start);
        events.iter().filter_map(|line| parse(line)).filter(|event| event["id"] == id).collect()
    }

    /// Waits until a client has subscribed to a filter.
    pub fn wait_subscribed(&self, start: usize, client_id: &str, filter: &str) {
        self.wait_for(start, "client.subscribed", |fields| {
            fields["client_id"] == client_id && fields["filter"] == filter
        });
    }

    /// SIGHUP, until the node has told how it went.
    pub fn reload(&self) -> Value {
        let start = self.mark();
        self.process.signal(Signal::HUP);
        self.process.wait_for(start, "node.reloaded or node.reload_failed", |line| {
            parse(line).filter(|event| event["id"] == "node.reloaded" || event["id"] == "node.reload_failed")
        })
    }

    /// SIGTERM, until it has ended.
    pub fn stop(mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait()
    }

    /// Waits until it has ended by itself.
    pub fn ended(mut self) -> ExitStatus {
        self.process.wait()
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

fn parse(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok().filter(Value::is_object)
}
