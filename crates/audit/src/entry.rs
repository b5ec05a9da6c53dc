//! What the record holds: typed entries, each one JSON object.
//!
//! The JSON text is what is hashed, so whoever verifies an entry needs no knowledge of its kinds; and a kind or a field
//! that a later version adds breaks nothing.

use serde::{Deserialize, Serialize};

/// Something that happened, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since the Unix epoch, by the clock of the node.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened. The tag in JSON is `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// A client published on a topic that is recorded.
    Transmission(Transmission),
    /// A recorded message reached somebody.
    Delivery(Delivery),
    /// Somebody administered the node.
    Administration(Administration),
    /// Something was refused.
    Refusal(Refusal),
    /// Many refusals of one kind, summed up so that a flood cannot fill the disk.
    Refusals(Refusals),
    /// The node began to record.
    Started(Started),
    /// The node stopped in order.
    Stopped {},
    /// The clock of the node was set: `to_ms` came where `from_ms` was due.
    ClockJump {
        /// What the time should have been, in milliseconds since the Unix epoch.
        from_ms: u64,
        /// What it was.
        to_ms: u64,
    },
    /// Entries were lost before this one, for a reason that the node knew of.
    Gap(Gap),
    /// The end of the record was found damaged when the node started.
    Damaged(Damaged),
    /// A segment begins.
    Segment(SegmentBegin),
    /// All entries up to a number are signed for.
    Checkpoint(Checkpoint),
    /// Another key signs from the next segment on.
    Signer(PublicKeyOf),
    /// The oldest entries were deleted, as configured.
    Pruned(Pruned),
}

/// Who sent what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transmission {
    /// Names the message; its deliveries carry the same.
    pub id: String,
    /// The Client Identifier of the publisher.
    pub client_id: String,
    /// The identity that it proved.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<String>,
    /// SHA-256 of its certificate, in hex.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
    /// From where it was connected.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// The topic.
    pub topic: String,
    /// SHA-256 of the payload, in hex.
    pub sha256: String,
    /// Bytes of the payload.
    pub bytes: u64,
    /// Quality of service, 0 to 2.
    pub qos: u8,
    /// Whether it was to be retained.
    pub retain: bool,
    /// Whether the publisher said that it may have sent it before.
    pub duplicate: bool,
}

/// Whom a message reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// The message.
    pub id: String,
    /// The Client Identifier of the receiver.
    pub client_id: String,
    /// The identity of the receiver.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<String>,
    /// Quality of service that it was delivered with.
    pub qos: u8,
    /// How it is known.
    pub how: How,
}

/// How a delivery is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It was handed to the connection (quality of service 0).
    Written,
    /// The receiver acknowledged it.
    Acknowledged,
    /// The receiver answered that it did not take it.
    Refused,
}

/// Who changed what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Administration {
    /// Who.
    pub actor: String,
    /// In which role.
    pub role: String,
    /// How the order came: the API, MQTT, the node itself, a signal.
    pub via: String,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// What was ordered.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Whether it was done.
    pub done: bool,
    /// What there is to say of it.
    pub detail: String,
}

/// What was refused to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The id of the event: `connection.refused`, `publish.refused`.
    pub event: String,
    /// Why.
    pub why: String,
    /// The Client Identifier, if one was told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub client_id: Option<String>,
    /// The identity, proven or claimed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub identity: Option<String>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// The topic or filter.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subject: Option<String>,
}

/// Refusals that have no entry of their own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// The id of the event.
    pub event: String,
    /// Why.
    pub why: String,
    /// How many.
    pub count: u64,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The address most of them may have come from: that of the last one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_address: Option<String>,
}

/// The start of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The name of the node.
    pub node: String,
    /// The version of the software.
    pub version: String,
    /// Bytes of an unfinished write, as a crash leaves them, that were cut off at the end of the record.
    pub torn_bytes: u64,
}

/// What was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// How many entries.
    pub lost: u64,
    /// Since when, in milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Why.
    pub why: String,
}

/// What was found at a start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// The last entry that could be read.
    pub after: u64,
    /// The first entry from which on the record goes on.
    pub before: u64,
    /// What was found.
    pub detail: String,
}

/// The begin of a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentBegin {
    /// The id of the record, in hex.
    pub record: String,
    /// The number of the segment.
    pub segment: u64,
    /// The number of this entry.
    pub sequence: u64,
    /// The head of the chain before this entry, in hex.
    pub head: String,
    /// Who signs for this segment.
    pub signer: PublicKeyOf,
}

/// A public key that verifies checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicKeyOf {
    /// Its id: the first 8 bytes of its SHA-256, in hex.
    pub key: String,
    /// The key (ECDSA on P-256) as SubjectPublicKeyInfo, in Base64.
    pub public_key: String,
}

/// A signed statement on the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The id of the record, in hex.
    pub record: String,
    /// The last entry that is signed for.
    pub sequence: u64,
    /// The head of the chain after it, in hex.
    pub head: String,
    /// When it was signed, in milliseconds since the Unix epoch.
    pub signed_ms: u64,
    /// Whether the record was closed with it.
    pub closed: bool,
    /// The id of the key.
    pub key: String,
    /// ECDSA on P-256 with SHA-256 (ASN.1) of [`Checkpoint::text`], in Base64.
    pub signature: String,
}

impl Checkpoint {
    /// What is signed.
    pub fn text(&self) -> String {
        let Checkpoint { record, sequence, head, signed_ms, closed, key, .. } = self;
        format!(
            "ravelin record checkpoint 1\nrecord {record}\nsequence {sequence}\nhead {head}\nsigned_ms {signed_ms}\n\
             closed {closed}\nkey {key}\n"
        )
    }
}

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// The last entry that was.
    pub up_to: u64,
    /// The head of the chain after it, in hex.
    pub head: String,
    /// How many segments.
    pub segments: u64,
    /// Why.
    pub why: String,
}

impl Entry {
    /// An entry.
    pub fn new(at_ms: u64, what: What) -> Entry {
        Entry { at_ms, what }
    }

    /// The text that is kept and hashed.
    pub fn to_json(&self) -> String {
        // Strings, numbers and booleans in structs: nothing that could fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads the text back; `None` for a kind that this version does not know.
    pub fn from_json(text: &str) -> Option<Entry> {
        serde_json::from_str(text).ok()
    }
}

impl What {
    /// The name of the kind, as in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            What::Transmission(_) => "transmission",
            What::Delivery(_) => "delivery",
            What::Administration(_) => "administration",
            What::Refusal(_) => "refusal",
            What::Refusals(_) => "refusals",
            What::Started(_) => "started",
            What::Stopped {} => "stopped",
            What::ClockJump { .. } => "clock_jump",
            What::Gap(_) => "gap",
            What::Damaged(_) => "damaged",
            What::Segment(_) => "segment",
            What::Checkpoint(_) => "checkpoint",
            What::Signer(_) => "signer",
            What::Pruned(_) => "pruned",
        }
    }

    /// Whether it is of the record itself, and not of what it records.
    pub fn is_structure(&self) -> bool {
        matches!(
            self,
            What::Started(_)
                | What::Stopped {}
                | What::ClockJump { .. }
                | What::Gap(_)
                | What::Damaged(_)
                | What::Segment(_)
                | What::Checkpoint(_)
                | What::Signer(_)
                | What::Pruned(_)
        )
    }

    /// Whether it tells of a message.
    pub fn is_traffic(&self) -> bool {
        matches!(self, What::Transmission(_) | What::Delivery(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_flat_and_reads_back() {
        let entry = Entry::new(
            7,
            What::Delivery(Delivery {
                id: "1".into(),
                client_id: "a\"\n\u{7f}ü".into(),
                identity: None,
                qos: 1,
                how: How::Acknowledged,
            }),
        );
        let text = entry.to_json();
        assert_eq!(
            text,
            "{\"at_ms\":7,\"kind\":\"delivery\",\"id\":\"1\",\"client_id\":\"a\\\"\\n\u{7f}ü\",\"qos\":1,\
             \"how\":\"acknowledged\"}"
        );
        assert_eq!(Entry::from_json(&text), Some(entry));
        assert_eq!(Entry::from_json("{\"at_ms\":7,\"kind\":\"of the future\"}"), None);
        let stopped = Entry::new(1, What::Stopped {});
        assert_eq!(stopped.to_json(), "{\"at_ms\":1,\"kind\":\"stopped\"}");
        assert_eq!(Entry::from_json(&stopped.to_json()), Some(stopped));
    }
}
