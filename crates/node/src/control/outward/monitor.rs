//! `$MONITOR`: what the node tells others over MQTT. Clients subscribe where a rule says so, and never publish there.
//!
//! Nothing waits and nothing is kept: what a shard has not taken when more comes is dropped and counted. A tap costs
//! nothing while nobody subscribes to it: the broker looks when it finds out who gets a topic's messages.

use crate::config::{MonitorConfig, OutwardConfig};
use crate::control::Control;
use crate::shard::mailbox::Mail;
use ravelin_broker::{Now, Observed};
use ravelin_outward::topics::{self, ROOT, TAP};
use ravelin_outward::{DestinationView, Item, Origin, Selection, State};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Messages that may be on their way to the shard; a second of them at full speed.
const UNDER_WAY_MAX: usize = 8192;
/// Clients whose trust is retained.
const RETAINED_MAX: usize = 10_000;
/// How often the state is told.
const STATUS_EVERY_MS: u64 = 10_000;

/// Messages to publish, and what counts them until they are.
pub(crate) struct Monitored {
    pub messages: Vec<MonitorMessage>,
    under_way: Arc<AtomicUsize>,
}

pub(crate) struct MonitorMessage {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
}

impl Drop for Monitored {
    fn drop(&mut self) {
        self.under_way.fetch_sub(self.messages.len(), Ordering::Relaxed);
    }
}

/// What monitors are told.
pub(super) struct Monitor {
    name: String,
    origin: Origin,
    selection: Selection,
    config: MonitorConfig,
    waiting: Vec<MonitorMessage>,
    under_way: Arc<AtomicUsize>,
    retained: BTreeSet<String>,
    status_ms: Option<u64>,
    count: u64,
    sent: u64,
    dropped: u64,
}

impl Monitor {
    pub fn new(origin: Origin, destination: &OutwardConfig) -> Monitor {
        let monitor = Monitor {
            name: String::new(),
            origin,
            selection: Selection::default(),
            config: MonitorConfig::default(),
            waiting: Vec::new(),
            under_way: Arc::default(),
            retained: BTreeSet::new(),
            status_ms: None,
            count: 0,
            sent: 0,
            dropped: 0,
        };
        monitor.configured(destination)
    }

    /// The same with another configuration.
    pub fn configured(self, destination: &OutwardConfig) -> Monitor {
        Monitor {
            name: destination.name.clone(),
            selection: destination.selection.clone(),
            config: destination.monitor().cloned().unwrap_or_default(),
            ..self
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes what happened, if monitors are told of it.
    pub fn tell(&mut self, item: &Item) {
        if self.selection.wants(item, false) {
            self.push_item(item);
        }
    }

    fn push_item(&mut self, item: &Item) {
        self.count += 1;
        let uid = format!("{}.{}.{}", self.origin.node, self.name, self.count);
        let Some((topic, payload, retain)) = topics::message(&self.origin, item, &uid) else { return };
        let known = self.retained.contains(&topic);
        let retain = retain && (known || self.retained.len() < RETAINED_MAX);
        if retain && !known {
            self.retained.insert(topic.clone());
        }
        self.push(topic, payload.into_bytes(), retain);
    }

    /// Takes that somebody has published to a topic of a tap.
    pub fn tap(&mut self, seen: &Observed) {
        let grants = |filter: &String| ravelin_mqtt::matches(filter, &seen.topic);
        let mut told = json!({
            "at_ms": seen.wall_ms,
            "topic": &*seen.topic,
            "client_id": &*seen.who.client_id,
            "identity": seen.who.identity.as_deref(),
            "qos": seen.qos as u8,
            "retain": seen.retain,
            "bytes": seen.payload.len(),
        });
        if self.config.payload.iter().any(grants) {
            use base64::Engine;
            let end = seen.payload.len().min(self.config.payload_bytes_max);
            told["payload"] = base64::prelude::BASE64_STANDARD.encode(&seen.payload[..end]).into();
        }
        self.push(format!("{TAP}/{}", seen.topic), told.to_string().into_bytes(), false);
    }

    fn push(&mut self, topic: String, payload: Vec<u8>, retain: bool) {
        if self.under_way.load(Ordering::Relaxed) + self.waiting.len() >= UNDER_WAY_MAX {
            self.dropped += 1;
            return;
        }
        self.waiting.push(MonitorMessage { topic, payload, retain });
    }

    /// Tells that somebody wants to know whether it arrives.
    pub fn test(&mut self, control: &Control, by: &str) {
        self.push_item(&Item::test(control.now().wall_ms, &self.name, by));
        self.hand_over(control);
    }

    /// Hands what waits to a shard, which passes it on to the others.
    pub fn publish(&mut self, control: &Control, now: Now) {
        if self.status_ms.is_none_or(|told| now.mono_ms >= told + STATUS_EVERY_MS) {
            self.status_ms = Some(now.mono_ms);
            let status = control.status();
            let told = json!({
                "at_ms": now.wall_ms, "node": status.name, "ready": status.ready, "uptime_s": status.uptime_s,
                "shards": status.shards, "sent": self.sent, "dropped": self.dropped,
            });
            self.push(format!("{ROOT}/status"), told.to_string().into_bytes(), true);
        }
        self.hand_over(control);
    }

    fn hand_over(&mut self, control: &Control) {
        if self.waiting.is_empty() {
            return;
        }
        let messages = std::mem::take(&mut self.waiting);
        self.sent += messages.len() as u64;
        self.under_way.fetch_add(messages.len(), Ordering::Relaxed);
        let monitored = Monitored { messages, under_way: Arc::clone(&self.under_way) };
        if let Some(mailbox) = control.0.mailboxes.first() {
            mailbox.post(Mail::Monitor(monitored));
        }
    }

    pub fn view(&self) -> DestinationView {
        DestinationView {
            name: self.name.clone(),
            kind: "mqtt",
            target: format!("{ROOT}/#"),
            state: State::Idle,
            waiting: self.under_way.load(Ordering::Relaxed) as u64,
            waiting_bytes: 0,
            sent: self.sent,
            failed: 0,
            dropped: self.dropped,
            refused: 0,
            oldest_ms: 0,
            last_sent_ms: None,
            error: None,
        }
    }
}
