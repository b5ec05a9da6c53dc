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
        self.kind().name()
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

    /// Which action it is, without whom it meets.
    pub fn kind(&self) -> ActionKind {
        match self {
            Action::Disconnect { .. } => ActionKind::Disconnect,
            Action::Ban { .. } => ActionKind::Ban,
            Action::Quarantine { .. } => ActionKind::Quarantine,
            Action::RevokeCertificate { .. } => ActionKind::RevokeCertificate,
            Action::RevokeCredential { .. } => ActionKind::RevokeCredential,
            Action::Freeze { .. } => ActionKind::Freeze,
            Action::Throttle { .. } => ActionKind::Throttle,
            Action::Posture { .. } => ActionKind::Posture,
            Action::Firewall { .. } => ActionKind::Firewall,
            Action::StopListener { .. } => ActionKind::StopListener,
            Action::StopNode {} => ActionKind::StopNode,
        }
    }

    /// Whether it cuts somebody off who may be needed.
    pub fn cuts_off(&self) -> bool {
        !matches!(self, Action::Posture { level: Posture::Normal })
    }

    /// Whether it takes something from single clients. A rule does not do that to one that must never be cut, nor to a
    /// whole fleet.
    pub fn is_against_clients(&self) -> bool {
        !matches!(self, Action::Freeze { .. } | Action::Posture { .. })
    }

    /// Whether it stops a listener or the node. That meets everyone on it, and two people know that.
    pub fn stops(&self) -> bool {
        matches!(self, Action::StopListener { .. } | Action::StopNode {})
    }

    /// Whether what it does can be taken back. A disconnected client comes back by itself; a revoked certificate stays
    /// on the lists of those who fetched them.
    pub fn has_undo(&self) -> bool {
        use Action::{Disconnect, Posture as Level, RevokeCertificate, StopNode};
        !matches!(self, Disconnect { .. } | RevokeCertificate { .. } | StopNode {})
            && !matches!(self, Level { level: Posture::Normal })
    }

    /// How it is taken back, in words, to be read before it is done.
    pub fn undo_text(&self) -> &'static str {
        match self {
            Action::Disconnect { .. } => "none is needed: the client may come back at once",
            Action::RevokeCertificate { .. } => {
                "none: a revoked certificate stays revoked; issue another one for whoever needs it"
            }
            Action::StopNode {} => "start the node again",
            Action::Posture { level: Posture::Normal } => "raise the posture again",
            _ => "lifted when its time is over, or by `ravelin respond undo`",
        }
    }

    /// The same action with its names checked and in their one form, so that two that mean the same are equal.
    ///
    /// # Errors
    /// If a name is empty, too long, or is no fingerprint or network; says which key, and what is wrong.
    pub fn checked(self) -> Result<Action, Invalid> {
        let named = |key: &'static str, text: &Arc<str>| match text.len() {
            0 => Err(Invalid { key, what: "is empty".into() }),
            len if len > NAME_BYTES_MAX => {
                Err(Invalid { key, what: format!("has {len} bytes; at most {NAME_BYTES_MAX} are taken") })
            }
            _ if text.contains('\0') => Err(Invalid { key, what: "has a NUL".into() }),
            _ => Ok(()),
        };
        match &self {
            Action::Disconnect { client_id } | Action::Quarantine { client_id } => {
                named("client_id", client_id)?
            }
            Action::Throttle { client_id, messages_per_s } => {
                named("client_id", client_id)?;
                if *messages_per_s == 0 {
                    let what = "is 0; to silence a client, quarantine it or freeze its topics".into();
                    return Err(Invalid { key: "messages_per_s", what });
                }
            }
            Action::Ban { subject } => named("subject", subject)?,
            Action::RevokeCertificate { certificate } => named("certificate", certificate)?,
            Action::RevokeCredential { identity } => named("identity", identity)?,
            Action::Freeze { filter, .. } => {
                named("filter", filter)?;
                check_filter(filter)?;
            }
            Action::Firewall { network } => named("network", network)?,
            Action::StopListener { listener } => named("listener", listener)?,
            Action::Posture { .. } | Action::StopNode {} => {}
        }
        match self {
            Action::Firewall { network } => {
                let found = parse_network(&network).ok_or_else(|| Invalid {
                    key: "network",
                    what: format!("`{}` is no address and no network as CIDR", network.escape_debug()),
                })?;
                Ok(Action::Firewall { network: network_text(found).into() })
            }
            Action::RevokeCertificate { certificate } => {
                let plain: String = certificate.chars().filter(|c| *c != ':').collect();
                Ok(Action::RevokeCertificate { certificate: plain.to_ascii_lowercase().into() })
            }
            other => Ok(other),
        }
    }
}

/// Longest name in an action, in bytes.
pub const NAME_BYTES_MAX: usize = 4096;

/// Why an action cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` {what}")]
pub struct Invalid {
    /// The key of its JSON that is wrong.
    pub key: &'static str,
    /// What is wrong with it.
    pub what: String,
}

/// An [`Action`] without whom it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ActionKind {
    /// [`Action::Disconnect`].
    Disconnect,
    /// [`Action::Ban`].
    Ban,
    /// [`Action::Quarantine`].
    Quarantine,
    /// [`Action::RevokeCertificate`].
    RevokeCertificate,
    /// [`Action::RevokeCredential`].
    RevokeCredential,
    /// [`Action::Freeze`].
    Freeze,
    /// [`Action::Throttle`].
    Throttle,
    /// [`Action::Posture`].
    Posture,
    /// [`Action::Firewall`].
    Firewall,
    /// [`Action::StopListener`].
    StopListener,
    /// [`Action::StopNode`].
    StopNode,
}

impl ActionKind {
    /// All of them.
    pub const ALL: [ActionKind; 11] = [
        ActionKind::Disconnect,
        ActionKind::Ban,
        ActionKind::Quarantine,
        ActionKind::RevokeCertificate,
        ActionKind::RevokeCredential,
        ActionKind::Freeze,
        ActionKind::Throttle,
        ActionKind::Posture,
        ActionKind::Firewall,
        ActionKind::StopListener,
        ActionKind::StopNode,
    ];

    /// The word for it, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            ActionKind::Disconnect => "disconnect",
            ActionKind::Ban => "ban",
            ActionKind::Quarantine => "quarantine",
            ActionKind::RevokeCertificate => "revoke_certificate",
            ActionKind::RevokeCredential => "revoke_credential",
            ActionKind::Freeze => "freeze",
            ActionKind::Throttle => "throttle",
            ActionKind::Posture => "posture",
            ActionKind::Firewall => "firewall",
            ActionKind::StopListener => "stop_listener",
            ActionKind::StopNode => "stop_node",
        }
    }
}

/// MQTT-4.7.1-2, MQTT-4.7.1-3: `#` is alone in the last level, `+` alone in its own.
fn check_filter(filter: &str) -> Result<(), Invalid> {
    let last = filter.split('/').count() - 1;
    let wrong = filter.split('/').enumerate().any(|(index, level)| match level {
        "#" => index != last,
        "+" => false,
        other => other.contains(['#', '+']),
    });
    if wrong || filter.starts_with("$share/") {
        return Err(Invalid {
            key: "filter",
            what: format!("`{}` is not a topic filter", filter.escape_debug()),
        });
    }
    Ok(())
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

/// `192.0.2.0/24`, with nothing set behind the prefix.
fn network_text((address, bits): (IpAddr, u8)) -> String {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            format!("{}/{bits}", std::net::Ipv4Addr::from(u32::from(address) & mask))
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            format!("{}/{bits}", std::net::Ipv6Addr::from(u128::from(address) & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_network_has_one_form() {
        for (text, form) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("2001:db8::5", "2001:db8::/64"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            let action = Action::Firewall { network: text.into() }.checked().unwrap();
            assert_eq!(action, Action::Firewall { network: form.into() });
        }
        assert_eq!(Action::Firewall { network: "house".into() }.checked().unwrap_err().key, "network");
    }

    #[test]
    fn names_that_cannot_be_meant_are_told_by_their_key() {
        let freeze = |filter: &str| Action::Freeze {
            filter: filter.into(),
            messages: Frozen::Drop,
            direction: Direction::Both,
            retained: Retained::Withhold,
        };
        for good in ["a/b", "a/+/c", "a/#", "#"] {
            assert!(freeze(good).checked().is_ok(), "{good}");
        }
        for bad in ["", "a/#/b", "a+/b", "$share/g/a"] {
            assert_eq!(freeze(bad).checked().unwrap_err().key, "filter", "{bad}");
        }
        let throttle = Action::Throttle { client_id: "a".into(), messages_per_s: 0 };
        assert_eq!(throttle.checked().unwrap_err().key, "messages_per_s");
        let long = Action::Disconnect { client_id: "x".repeat(NAME_BYTES_MAX + 1).into() };
        assert_eq!(long.checked().unwrap_err().key, "client_id");
    }

    #[test]
    fn json_of_an_action_says_what_it_is() {
        for (json, subject) in [
            (r#"{"action":"ban","subject":"client_id:a"}"#, "client_id:a"),
            (r#"{"action":"stop_node"}"#, "node"),
            (r#"{"action":"freeze","filter":"a/#"}"#, "filter:a/#"),
        ] {
            let action: Action = serde_json::from_str(json).unwrap();
            assert_eq!(action.subject(), subject);
            let again: Action = serde_json::from_str(&serde_json::to_string(&action).unwrap()).unwrap();
            assert_eq!(again, action);
        }
        assert!(serde_json::from_str::<Action>(r#"{"action":"ban","subject":"a","for":"1h"}"#).is_err());
    }
}
