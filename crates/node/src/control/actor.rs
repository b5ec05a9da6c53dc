//! Who administers, and what they may do.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Who gave an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The identity, or the name of the token.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// How the order came.
    pub via: Via,
    /// From where; `None` for the node itself.
    pub address: Option<SocketAddr>,
}

/// What an administrator may do. Each role includes the ones before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// See.
    Viewer,
    /// Act on clients: disconnect, ban, revoke.
    Operator,
    /// Change who may do what, and the node.
    Admin,
}

/// How an order came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The REST API.
    Api,
    /// `$CONTROL/...` over MQTT.
    Mqtt,
    /// The node's own rules and timers.
    Node,
}

impl Actor {
    /// The node itself: rules, timers, expiry.
    pub fn node() -> Actor {
        Actor { name: "ravelin".into(), role: Role::Admin, via: Via::Node, address: None }
    }
}

impl Role {
    /// As it is written in configurations and answers.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl Via {
    /// As it is written in events.
    pub fn name(self) -> &'static str {
        match self {
            Via::Api => "api",
            Via::Mqtt => "mqtt",
            Via::Node => "node",
        }
    }
}
