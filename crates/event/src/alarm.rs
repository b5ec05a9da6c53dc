//! What a detector says: an alarm that explains itself.

use crate::Level;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// How bad it is if it is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth keeping; nobody needs to look now. A finding, not an alarm.
    Informational,
    /// Somebody should look when there is time.
    Low,
    /// Somebody should look today.
    Medium,
    /// Somebody should look now.
    High,
    /// The plant is in danger.
    Critical,
}

impl Severity {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Informational => "informational",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// The level of its event.
    pub fn level(self) -> Level {
        if self == Severity::Informational { Level::Info } else { Level::Warn }
    }
}

/// What an alarm is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Subject {
    /// A client, by its Client Identifier.
    Client(Arc<str>),
    /// An address; of IPv6 the first of its /64.
    Source(IpAddr),
    /// An identity or User Name.
    Identity(Arc<str>),
    /// A topic.
    Topic(Arc<str>),
    /// A device of the inventory.
    Device(Arc<str>),
    /// A class of clients.
    Class(Arc<str>),
    /// All of them.
    Fleet,
    /// The node itself.
    Node,
}

impl Subject {
    /// The kind, as it is serialized.
    pub fn kind(&self) -> &'static str {
        match self {
            Subject::Client(_) => "client",
            Subject::Source(_) => "source",
            Subject::Identity(_) => "identity",
            Subject::Topic(_) => "topic",
            Subject::Device(_) => "device",
            Subject::Class(_) => "class",
            Subject::Fleet => "fleet",
            Subject::Node => "node",
        }
    }
}

/// `client:meter-7`, `source:192.0.2.7`, `fleet`.
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Client(name) | Subject::Identity(name) | Subject::Topic(name) => {
                write!(f, "{}:{name}", self.kind())
            }
            Subject::Device(name) | Subject::Class(name) => write!(f, "{}:{name}", self.kind()),
            Subject::Source(address) => write!(f, "source:{address}"),
            Subject::Fleet | Subject::Node => f.write_str(self.kind()),
        }
    }
}

/// As it is shown.
impl FromStr for Subject {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Subject, &'static str> {
        let wrong = "a subject is `client:NAME`, `source:ADDRESS`, `identity:NAME`, `topic:NAME`, `device:NAME`, `class:NAME`, \
                     `fleet` or `node`";
        let (kind, name) = match text.split_once(':') {
            Some((kind, name)) if !name.is_empty() => (kind, name),
            Some(_) => return Err(wrong),
            None => (text, ""),
        };
        Ok(match kind {
            "fleet" if name.is_empty() => Subject::Fleet,
            "node" if name.is_empty() => Subject::Node,
            _ if name.is_empty() => return Err(wrong),
            "client" => Subject::Client(name.into()),
            "identity" => Subject::Identity(name.into()),
            "topic" => Subject::Topic(name.into()),
            "device" => Subject::Device(name.into()),
            "class" => Subject::Class(name.into()),
            "source" => Subject::Source(name.parse().map_err(|_| "`source:` is followed by an address")?),
            _ => return Err(wrong),
        })
    }
}

/// One figure of an alarm: `{"name":"failures","value":6,"unit":"logins"}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is.
    pub name: Arc<str>,
    /// How much.
    pub value: f64,
    /// Of what: `messages/s`, `logins`, `ms`; empty for a bare number.
    pub unit: Arc<str>,
}

/// One event that counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What it was, without any payload.
    pub what: Arc<str>,
}

/// What an operator has found an alarm to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// It was what it says.
    TruePositive,
    /// It was so, and it was meant to be.
    BenignPositive,
    /// It was not so.
    FalsePositive,
}

/// An alarm: what was seen, by which statistic, beside which baseline and threshold, and how sure that is.
///
/// Its JSON is the same everywhere: the API, webhooks, the log of `ravelin detect replay`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Its number; rises with each, never used twice by one node.
    pub id: u64,
    /// Which detector (`repeated_authentication`), or the name of a configured behaviour.
    pub detector: Arc<str>,
    /// The subcategory of the Core that it serves, such as `DE.ID-1`.
    pub subcategory: Arc<str>,
    /// The technique of ATT&CK, such as `T0814`, where one fits.
    pub technique: Option<Arc<str>>,
    /// How bad it is.
    pub severity: Severity,
    /// How sure it is, in percent.
    pub confidence: u8,
    /// What it is about.
    pub subject: Subject,
    /// The client, where one is known.
    pub client_id: Option<Arc<str>>,
    /// Its identity, or the User Name that was tried.
    pub identity: Option<Arc<str>>,
    /// Its class.
    pub class: Option<Arc<str>>,
    /// Where it is.
    pub address: Option<SocketAddr>,
    /// The topic or filter, where one is meant.
    pub topic: Option<Arc<str>>,
    /// The first event that counts, in milliseconds since the Unix epoch.
    pub first_ms: u64,
    /// When it was raised.
    pub raised_ms: u64,
    /// When it was last seen to go on.
    pub last_ms: u64,
    /// When it ended; `None` while it goes on.
    pub cleared_ms: Option<u64>,
    /// The test: `log-likelihood CUSUM of refused logins`.
    pub statistic: Arc<str>,
    /// Its value when the alarm was raised.
    pub value: f64,
    /// From where on it is an alarm.
    pub threshold: f64,
    /// What is usual, where that is known.
    pub baseline: Option<f64>,
    /// The unit of the three.
    pub unit: Arc<str>,
    /// Over which time it was counted, in milliseconds.
    pub window_ms: u64,
    /// How many events count.
    pub events: u64,
    /// The first and the last of them, at most [`Alarm::COUNTED_MAX`].
    pub counted: Vec<Counted>,
    /// More figures.
    pub figures: Vec<Figure>,
    /// One sentence for an operator.
    pub summary: String,
    /// How often it would be raised without an attack, in words: what the test promises.
    pub false_alarms: Arc<str>,
    /// What an operator has found it to be.
    #[serde(default)]
    pub verification: Verification,
    /// Whether a suppression kept it from being told.
    #[serde(default)]
    pub suppressed: bool,
}

impl Alarm {
    /// Events that an alarm names.
    pub const COUNTED_MAX: usize = 8;

    /// Whether it goes on.
    pub fn is_open(&self) -> bool {
        self.cleared_ms.is_none()
    }
}

/// What became of an alarm.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "notice", content = "alarm", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Notice {
    /// It is new.
    Raised(Arc<Alarm>),
    /// It has become worse.
    Worsened(Arc<Alarm>),
    /// It is over.
    Cleared(Arc<Alarm>),
    /// Something odd that is no alarm: it is logged, and nobody is woken.
    Finding(Arc<Alarm>),
}

impl Notice {
    /// The alarm.
    pub fn alarm(&self) -> &Arc<Alarm> {
        match self {
            Notice::Raised(alarm)
            | Notice::Worsened(alarm)
            | Notice::Cleared(alarm)
            | Notice::Finding(alarm) => alarm,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_is_read_as_it_is_shown() {
        for text in [
            "client:a:b",
            "source:2001:db8::",
            "source:192.0.2.7",
            "identity:x",
            "topic:a/b",
            "fleet",
            "node",
        ] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for text in ["", "client", "client:", "source:x", "fleet:1", "pump:1"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
