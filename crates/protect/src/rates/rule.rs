//! A rate with whom it is for, what it measures and what happens to who exceeds it.

use super::Windows;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who shares one bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateScope {
    /// Each Client Identifier.
    Client,
    /// All connections of an identity.
    Identity,
    /// All clients of a class.
    Class,
    /// All connections from an address (IPv6: from a /64).
    Address,
    /// All connections of a listener.
    Listener,
    /// All messages to topics that match a filter.
    Topic,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Messages published.
    Messages,
    /// Bytes published: of the packets behind their fixed headers.
    Bytes,
    /// SUBSCRIBE packets.
    Subscribes,
    /// Connections that log in.
    Connects,
}

/// What happens to who exceeds a rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Excess {
    /// Its connection is not read until the rate allows it.
    #[default]
    Delay,
    /// QoS 0 is dropped; QoS 1 and 2 are refused with 0x97, for which 3.1.1 has no word but the end of the connection.
    Drop,
    /// It is refused with 0x97; who speaks 3.1.1, which has no such answer, or publishes with QoS 0, is disconnected.
    Refuse,
    /// It is disconnected.
    Disconnect,
}

/// A rate of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RateRule {
    /// What it is called in metrics and events.
    pub name: Arc<str>,
    /// Who shares one bucket.
    pub scope: RateScope,
    /// Only for this identity, class, listener or topic filter, as the scope says; `None`: each of them.
    pub of: Option<Arc<str>>,
    /// The windows of each measure that is limited.
    pub limits: Vec<(Measure, Windows)>,
    /// What happens beyond.
    pub on_exceed: Excess,
}

impl Measure {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Measure::Messages => "messages",
            Measure::Bytes => "bytes",
            Measure::Subscribes => "subscribes",
            Measure::Connects => "connects",
        }
    }
}

impl Excess {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Excess::Delay => "delay",
            Excess::Drop => "drop",
            Excess::Refuse => "refuse",
            Excess::Disconnect => "disconnect",
        }
    }
}

impl RateScope {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            RateScope::Client => "client",
            RateScope::Identity => "identity",
            RateScope::Class => "class",
            RateScope::Address => "address",
            RateScope::Listener => "listener",
            RateScope::Topic => "topic",
        }
    }
}

impl RateRule {
    /// The windows of a measure, if it is limited.
    pub fn windows(&self, measure: Measure) -> Option<(usize, &Windows)> {
        let mut limits = self.limits.iter().enumerate();
        limits.find(|(_, (limited, _))| *limited == measure).map(|(at, (_, windows))| (at, windows))
    }
}
