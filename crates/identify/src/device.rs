//! One device, compact.

use crate::certificate::{Certificate, CertificateView};
use crate::lifecycle::State;
use crate::settings::KeyedBy;
use crate::time::rfc3339;
use crate::topics::{Own, RETAINED, Topic, Topics, decay};
use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::fmt;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

/// What a record of the inventory is kept by. An anonymous client cannot get into the record of an identity by calling
/// itself so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A Client Identifier.
    Client(Arc<str>),
    /// A proven identity.
    Identity(Arc<str>),
}

impl Key {
    /// The key of a client.
    pub fn of(by: KeyedBy, client_id: &str, identity: Option<&str>) -> Key {
        match (by, identity) {
            (KeyedBy::Identity, Some(identity)) => Key::identity(identity),
            _ => Key::client(client_id),
        }
    }

    /// The key of a Client Identifier.
    pub fn client(client_id: &str) -> Key {
        Key::Client(short(client_id))
    }

    /// The key of an identity.
    pub fn identity(identity: &str) -> Key {
        Key::Identity(short(identity))
    }

    /// Reads what [`Key`]'s `Display` writes.
    pub fn parse(text: &str) -> Option<Key> {
        match text.split_once(':')? {
            ("client", name) if !name.is_empty() => Some(Key::client(name)),
            ("identity", name) if !name.is_empty() => Some(Key::identity(name)),
            _ => None,
        }
    }

    /// The Client Identifier or identity.
    pub fn name(&self) -> &str {
        match self {
            Key::Client(name) | Key::Identity(name) => name,
        }
    }
}

/// A name of up to this many bytes is kept as it is.
const NAME_BYTES_MAX: usize = 256;

/// The name; of a longer one its beginning, its length and a checksum. (MQTT allows 65,535 bytes.)
pub(crate) fn short(name: &str) -> Arc<str> {
    if name.len() <= NAME_BYTES_MAX {
        return name.into();
    }
    let sum = FixedState::default().hash_one(name);
    format!("{}…{}-{sum:016x}", &name[..name.floor_char_boundary(NAME_BYTES_MAX - 40)], name.len()).into()
}

/// `client:{Client Identifier}` or `identity:{identity}`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Client(name) => write!(f, "client:{name}"),
            Key::Identity(name) => write!(f, "identity:{name}"),
        }
    }
}

/// A Client Identifier that the device used.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) id: Arc<str>,
    pub(crate) last_s: u32,
    pub(crate) connected: bool,
}

/// An address that the device came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) ip: IpAddr,
    pub(crate) first_s: u32,
    pub(crate) last_s: u32,
}

/// What the devices of a fleet have in common: how they came in, and what they told of themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Facts {
    pub(crate) listener: Option<Arc<str>>,
    pub(crate) class: Option<Arc<str>>,
    pub(crate) library: Option<Arc<str>>,
    pub(crate) firmware: Option<Arc<str>>,
    pub(crate) model: Option<Arc<str>>,
}

/// A device as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) clients: SmallVec<[Client; 1]>,
    /// More Client Identifiers were seen than are kept.
    pub(crate) more_clients: bool,
    /// The identity, where the key is not.
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) certificate: Option<Box<Certificate>>,
    pub(crate) addresses: SmallVec<[Address; 1]>,
    pub(crate) facts: Arc<Facts>,
    /// Where it says that it is: latitude and longitude.
    pub(crate) position: Option<Box<(f32, f32)>>,
    pub(crate) version: Version,
    pub(crate) state: State,
    pub(crate) first_s: u32,
    /// 0: never.
    pub(crate) last_s: u32,
    /// Since when it has not left the network around its address.
    pub(crate) settled_s: u32,
    pub(crate) connects: u32,
    pub(crate) published: Topics,
    pub(crate) subscribed: Topics,
    /// Its record on disk is behind.
    pub(crate) dirty: bool,
    pub(crate) written_s: u32,
}

/// The protocol version that it last spoke.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Version {
    #[default]
    #[serde(rename = "")]
    Unknown,
    #[serde(rename = "3.1.1")]
    V311,
    #[serde(rename = "5")]
    V5,
}

impl Version {
    pub(crate) fn parse(text: &str) -> Version {
        match text {
            "3.1.1" | "MQTT 3.1.1" | "4" => Version::V311,
            "5" | "5.0" | "MQTT 5" | "MQTT 5.0" => Version::V5,
            _ => Version::Unknown,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Version::Unknown => "",
            Version::V311 => "3.1.1",
            Version::V5 => "5",
        }
    }
}

impl Device {
    pub(crate) fn new(now_s: u32, facts: Arc<Facts>) -> Device {
        Device {
            clients: SmallVec::new(),
            more_clients: false,
            identity: None,
            certificate: None,
            addresses: SmallVec::new(),
            facts,
            position: None,
            version: Version::Unknown,
            state: State::Active,
            first_s: now_s,
            last_s: now_s,
            settled_s: now_s,
            connects: 0,
            published: Topics::default(),
            subscribed: Topics::default(),
            dirty: false,
            written_s: 0,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.clients.iter().any(|client| client.connected)
    }

    /// The names that its patterns stand for. Where several Client Identifiers are known, the latest.
    pub(crate) fn own<'a>(&'a self, key: &'a Key) -> Own<'a> {
        let latest = self.clients.iter().max_by_key(|client| client.last_s).map(|client| &*client.id);
        match key {
            Key::Client(name) => Own { client_id: name, identity: self.identity.as_deref() },
            Key::Identity(name) => Own { client_id: latest.unwrap_or(name), identity: Some(name) },
        }
    }

    /// Its last address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.addresses.iter().max_by_key(|address| address.last_s).map(|address| address.ip)
    }
}

/// A device as a list or a document shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeviceView {
    /// `identity:{identity}` or `client:{Client Identifier}`.
    pub key: String,
    /// The name it is declared by, if it is.
    pub declared: Option<String>,
    /// Where it is in its life.
    pub state: State,
    /// Its Client Identifiers, the latest ones.
    pub client_ids: Vec<String>,
    /// More than those were seen.
    pub more_client_ids: bool,
    /// The identity that it proved.
    pub identity: Option<String>,
    /// Whether it is connected.
    pub connected: bool,
    /// The certificate that it last presented.
    pub certificate: Option<CertificateView>,
    /// Its addresses, latest first.
    pub addresses: Vec<AddressView>,
    /// The listener that it last came by.
    pub listener: Option<String>,
    /// The protocol version: `3.1.1` or `5`.
    pub version: Option<String>,
    /// The client library, as it says.
    pub library: Option<String>,
    /// The firmware version, as it says.
    pub firmware: Option<String>,
    /// The model, as declared or as it says.
    pub model: Option<String>,
    /// When it was first seen (RFC 3339).
    pub first_seen: Option<String>,
    /// When it was last seen (RFC 3339).
    pub last_seen: Option<String>,
    /// How often it connected.
    pub connects: u32,
    /// The topics that it published to; generalised where they were many.
    pub published: Vec<TopicView>,
    /// The topic filters that it subscribed to.
    pub subscribed: Vec<TopicView>,
    /// The class of its identity.
    pub class: Option<String>,
    /// Who owns it, as declared.
    pub owner: Option<String>,
    /// How critical it is, as declared.
    pub criticality: Option<String>,
    /// The site, as declared or by its network.
    pub site: Option<String>,
    /// The zone, by its network, site or listener.
    pub zone: Option<String>,
    /// Latitude and longitude in degrees: declared, told, or of its site.
    pub position: Option<(f64, f64)>,
}

/// An address as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressView {
    /// The address.
    pub address: IpAddr,
    /// First seen there (RFC 3339).
    pub first_seen: String,
    /// Last seen there (RFC 3339).
    pub last_seen: String,
}

impl From<&Address> for AddressView {
    fn from(known: &Address) -> AddressView {
        let time = |second: u32| rfc3339(i64::from(second));
        AddressView { address: known.ip, first_seen: time(known.first_s), last_seen: time(known.last_s) }
    }
}

/// A topic pattern as a list shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicView {
    /// The topic, or a filter that covers many.
    pub topic: String,
    /// Messages.
    pub messages: u64,
    /// Bytes of payload and topic.
    pub bytes: u64,
    /// Messages per second, lately.
    pub rate: f32,
    /// The Qualities of Service that were used.
    pub qos: Vec<u8>,
    /// Whether messages were to be retained.
    pub retain: bool,
    /// When last (RFC 3339).
    pub last_seen: String,
}

impl TopicView {
    pub(crate) fn of(topic: &Topic, own: Own<'_>, now_s: u32) -> TopicView {
        TopicView {
            topic: own.expand(&topic.pattern),
            messages: topic.messages,
            bytes: topic.bytes,
            rate: decay(topic.rate, now_s.saturating_sub(topic.last_s)),
            qos: (0..3).filter(|level| topic.flags & (1 << level) != 0).collect(),
            retain: topic.flags & RETAINED != 0,
            last_seen: rfc3339(i64::from(topic.last_s)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_call_itself_into_an_identity() {
        let identity = Key::of(KeyedBy::Identity, "x", Some("meter1"));
        let client = Key::of(KeyedBy::Identity, "meter1", None);
        assert_ne!(identity, client);
        for key in [identity, client, Key::Client("identity:meter1".into())] {
            assert_eq!(Key::parse(&key.to_string()), Some(key));
        }
        assert_eq!(Key::of(KeyedBy::ClientId, "x", Some("fleet")), Key::Client("x".into()));
        assert_eq!(Key::parse("identity:"), None);
    }
}
