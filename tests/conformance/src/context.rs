//! What a test is given: where the broker is, which version to speak, names that no other test uses.

use std::cell::{Cell, RefCell};

use anyhow::{Context as _, Result, bail, ensure};

use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE, Peer};
use crate::wire::{Connect, Publish, Version};

/// User name and password for the tests of enhanced authentication.
#[derive(Clone)]
pub struct ScramCredential {
    /// The user name, as registered with the broker.
    pub user: String,
    /// The password.
    pub password: String,
}

/// The surroundings of one run of one test.
pub(crate) struct Context {
    pub(crate) address: String,
    pub(crate) websocket: Option<String>,
    pub(crate) scram: Option<ScramCredential>,
    pub(crate) version: Version,
    /// Unique for this run of this test: letters and digits.
    tag: String,
    count: Cell<u32>,
    sessions: RefCell<Vec<Vec<u8>>>,
}

impl Context {
    pub(crate) fn new(
        address: String,
        websocket: Option<String>,
        scram: Option<ScramCredential>,
        version: Version,
        tag: String,
    ) -> Self {
        Self { address, websocket, scram, version, tag, count: Cell::new(0), sessions: RefCell::default() }
    }

    /// A client identifier of at most 23 letters and digits that nobody else uses.
    pub(crate) fn name(&self) -> String {
        self.count.set(self.count.get() + 1);
        format!("c{}x{}", self.tag, self.count.get())
    }

    /// A topic below this test's own prefix.
    pub(crate) fn topic(&self, rest: &str) -> String {
        format!("{}/{rest}", self.tag)
    }

    /// A CONNECT with a fresh client identifier and a clean session.
    pub(crate) fn connect(&self) -> Connect {
        self.connect_as(&self.name())
    }

    pub(crate) fn connect_as(&self, client_id: &str) -> Connect {
        Connect::new(self.version, client_id)
    }

    /// A connection of a fresh client with a clean session.
    pub(crate) fn join(&self) -> Result<Peer> {
        Peer::join(self, &self.connect())
    }

    /// A connection of a fresh client that subscribed to the filter.
    pub(crate) fn subscriber(&self, filter: &str, options: u8) -> Result<Peer> {
        let mut peer = self.join()?;
        peer.subscribe(filter, options)?;
        Ok(peer)
    }

    pub(crate) fn publish(&self, topic: &str, payload: &str) -> Publish {
        Publish::new(self.version, topic, payload)
    }

    pub(crate) fn is_v5(&self) -> bool {
        self.version == Version::V5
    }

    /// An accepted connection that sends these bytes must be closed, in MQTT 5 with one of the reasons if with any.
    pub(crate) fn refuses(&self, what: &str, bytes: &[u8], reasons: &[u8]) -> Result<()> {
        let mut peer = self.join()?;
        peer.send(bytes)?;
        peer.closed(reasons).with_context(|| what.to_owned())
    }

    /// A connection whose first bytes are these must be closed: in 3.1.1 without a CONNACK, in MQTT 5 with at most one
    /// that refuses.
    pub(crate) fn refuses_first(&self, what: &str, bytes: &[u8]) -> Result<()> {
        let mut peer = Peer::dial(self)?;
        peer.send(bytes)?;
        let first = peer.hear(PATIENCE).with_context(|| what.to_owned())?;
        match first {
            Heard::Closed => Ok(()),
            Heard::Packet(Packet::ConnAck { reason: 0x80.., .. }) if self.is_v5() => {
                peer.closed(&[]).with_context(|| what.to_owned())
            }
            other => bail!("{what}: expected the end of the connection, got {}", other.name()),
        }
    }

    /// The broker still serves others.
    pub(crate) fn is_alive(&self) -> Result<()> {
        self.join()?.ping().context("the broker does not serve another client any more")
    }

    /// `publisher` sends a message that `subscriber` must not get; a second one on `path`, which it does get, proves it.
    pub(crate) fn only_marker_arrives(
        &self,
        subscriber: &mut Peer,
        publisher: &mut Peer,
        path: &str,
    ) -> Result<()> {
        publisher.publish(path, 0, "marker")?;
        let before = subscriber.until("marker")?;
        ensure!(
            before.is_empty(),
            "a message arrived that must not: {}",
            Packet::Publish(before[0].clone()).name()
        );
        Ok(())
    }

    /// Notes a session to be ended after the test.
    pub(crate) fn remember(&self, client_id: &[u8]) {
        let mut sessions = self.sessions.borrow_mut();
        if !client_id.is_empty() && !sessions.iter().any(|other| other == client_id) {
            sessions.push(client_id.to_vec());
        }
    }

    /// Ends the sessions and removes the retained messages that the test left.
    pub(crate) fn tidy(&self) -> Result<()> {
        for client_id in self.sessions.take() {
            Peer::join(self, &Connect::new(self.version, client_id))?.leave()?;
        }
        let mut peer = self.join()?;
        let marker = self.topic("tidy-marker");
        peer.subscribe(format!("{}/#", self.tag), 0)?;
        peer.publish(&marker, 0, "all of it")?;
        for message in peer.until("all of it")? {
            peer.deliver(Publish::new(self.version, &message.topic, "").retained())?;
        }
        peer.leave()
    }
}
