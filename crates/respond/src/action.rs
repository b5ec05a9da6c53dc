//! The actions.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What is done with messages of a frozen topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frozen {
    /// They are refused.
    #[default]
    Drop,
    /// They wait: QoS 1 and 2 are not acknowledged until the freeze ends, QoS 0 up to a limit.
    Hold,
}

/// Which way is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Nobody publishes, nobody receives.
    #[default]
    Both,
    /// Nobody publishes.
    Publish,
    /// Nobody receives.
    Receive,
}

/// What becomes of retained messages of a frozen topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retained {
    /// They stay, and are not handed out while it is frozen.
    #[default]
    Withhold,
    /// They stay, and new subscribers get them.
    Serve,
}

/// How strict the node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Posture {
    /// As configured.
    #[default]
    Normal,
    /// Something is going on: tighter limits.
    Elevated,
    /// Only who must goes on.
    Lockdown,
}

impl Posture {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Posture::Normal => "normal",
            Posture::Elevated => "elevated",
            Posture::Lockdown => "lockdown",
        }
    }
}

/// Something that can be done about an alarm. Its JSON is that of the API and of playbooks.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Action {
    /// Ends a client's connection. It may come back.
    Disconnect {
        /// The client.
        client_id: Arc<str>,
    },
    /// Keeps somebody out: `client_id:NAME`, `identity:NAME`, `certificate:SHA-256` or `network:CIDR`.
    Ban {
        /// Who.
        subject: Arc<str>,
    },
    /// Puts a client into a restricted class.
    Quarantine {
        /// The client.
        client_id: Arc<str>,
    },
    /// Revokes a certificate, by its fingerprint or serial number.
    RevokeCertificate {
        /// Which.
        certificate: Arc<str>,
    },
    /// Revokes an identity: its password, tokens and certificates prove nothing any more.
    RevokeCredential {
        /// Whose.
        identity: Arc<str>,
    },
    /// Blocks a telemetry channel: the topics that match a filter.
    Freeze {
        /// The filter.
        filter: Arc<str>,
        /// What is done with messages.
        #[serde(default)]
        messages: Frozen,
        /// Which way.
        #[serde(default)]
        direction: Direction,
        /// What becomes of retained messages.
        #[serde(default)]
        retained: Retained,
    },
    /// Lets a client publish no more than so much.
    Throttle {
        /// The client.
        client_id: Arc<str>,
        /// Messages in a second.
        messages_per_s: u32,
    },
    /// Makes the node stricter, or less strict again.
    Posture {
        /// How strict.
        level: Posture,
    },
    /// Has the operating system's firewall drop what comes from a network.
    Firewall {
        /// An address, or a network as CIDR.
        network: Arc<str>,
    },
    /// Closes a listener.
    StopListener {
        /// Its name in the configuration.
        listener: Arc<str>,
    },
    /// Stops the node in stages, to a known state.
    StopNode {},
}

impl Action {
    /// The word for it, as in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Disconnect { .. } => "disconnect",
            Action::Ban { .. } => "ban",
            Action::Quarantine { .. } => "quarantine",
            Action::RevokeCertificate { .. } => "revoke_certificate",
            Action::RevokeCredential { .. } => "revoke_credential",
            Action::Freeze { .. } => "freeze",
            Action::Throttle { .. } => "throttle",
            Action::Posture { .. } => "posture",
            Action::Firewall { .. } => "firewall",
            Action::StopListener { .. } => "stop_listener",
            Action::StopNode {} => "stop_node",
        }
    }

    /// Whom or what it meets.
    pub fn subject(&self) -> String {
        match self {
            Action::Disconnect { client_id }
            | Action::Quarantine { client_id }
            | Action::Throttle { client_id, .. } => format!("client_id:{client_id}"),
            Action::Ban { subject } => subject.to_string(),
            Action::RevokeCertificate { certificate } => format!("certificate:{certificate}"),
            Action::RevokeCredential { identity } => format!("identity:{identity}"),
            Action::Freeze { filter, .. } => format!("filter:{filter}"),
            Action::Posture { level } => level.name().into(),
            Action::Firewall { network } => format!("network:{network}"),
            Action::StopListener { listener } => format!("listener:{listener}"),
            Action::StopNode {} => "node".into(),
        }
    }

    /// Whether it cuts somebody off who may be needed.
    pub fn cuts_off(&self) -> bool {
        !matches!(self, Action::Posture { level: Posture::Normal })
    }

    /// Whether what it does can be taken back. A disconnected client comes back by itself.
    pub fn has_undo(&self) -> bool {
        !matches!(self, Action::Disconnect { .. } | Action::StopNode {})
    }
}

/// `ban network:192.0.2.7/32`.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name(), self.subject())
    }
}

/// Reads an address or a network as CIDR; what is finer than an IPv6 /64 becomes that.
pub fn parse_network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(if address.is_ipv4() { 32 } else { 64 });
    (bits <= most).then_some((address, bits))
}
