//! What is documented of each detector of this room: the guide, the API and the alarms take it from here.

use super::Detector;
use crate::DetectorInfo;
use crate::behaviour::BEHAVIOUR;
use crate::physical::PHYSICAL;
use crate::value::VALUE;
use ravelin_event::Severity;

macro_rules! detectors {
    ($($name:ident = $id:literal, $subcategory:literal, $technique:expr, $severity:ident, $confidence:literal, $entity:literal {
        $description:literal, $statistic:literal, $threshold:literal, $false_alarms:literal
    })*) => {
        $(#[doc = $description] pub static $name: Detector = Detector {
            info: DetectorInfo {
                name: $id, subcategory: $subcategory, technique: $technique, entity: $entity, statistic: $statistic,
                threshold: $threshold, false_alarms: $false_alarms, description: $description,
            },
            severity: Severity::$severity,
            confidence: $confidence,
        };)*
        /// All of them.
        pub static DETECTORS: &[DetectorInfo] = &[$($name.info,)* VALUE.info, PHYSICAL.info, BEHAVIOUR.info];
    };
}

detectors! {
    FLOOD = "message_flood", "DE.ID-3", Some("T0814"), High, 95, "client" {
        "A client sends far more than it uses to.",
        "messages and bytes of a window of 10 s against the learned peak",
        "max(100 messages or 1 MiB, 4 x peak); 500 or 5 MiB for a new client of an unknown class; never above the quota",
        "a window four times the largest in the client's history; what was due while it was away is allowed for"
    }
    RETAINED_QOS_ABUSE = "retained_qos_abuse", "DE.ID-3", Some("T0814"), Medium, 85, "client" {
        "A client makes the node keep messages: retained ones, QoS 2, QoS 2 without release.",
        "retained and QoS 2 messages of a window of 10 s against the learned peak; new retained topics and unreleased QoS 2, decayed over 60 s",
        "max(50, 4 x peak), 300 for a new declared client; 60 new retained topics; 20 unreleased",
        "a window four times the largest in the client's history; devices retain few topics and release what they begin"
    }
    UNDELIVERABLE = "undeliverable_messages", "DE.ID-3", Some("T0869"), Medium, 80, "client" {
        "A client sends messages to topics that nobody subscribed to.",
        "messages that no subscription matched, decayed over 60 s, against what is usual for the client",
        "max(90, 4 x usual) a minute, and half of what it sends",
        "none while over 60 % of the other clients have no subscriber either: then one finding about the fleet"
    }
    TOPIC_SCAN = "topic_scan", "DE.ID-2", Some("T0861"), High, 90, "client" {
        "A client tries names: it subscribes or publishes to many new ones that are denied, dead or unwanted.",
        "log-likelihood CUSUM of new filters (t0 0.2, t1 0.8) and of new topics (t0 0.4, t1 0.9)",
        "11.5: 9 new filters or 15 new topics in a row that come to nothing",
        "at most once in 100,000 new names, for any client of which a share of t0 at most comes to nothing (Lorden's bound)"
    }
    WIDE_SUBSCRIPTION = "wide_subscription", "DE.ID-2", Some("T0802"), Medium, 75, "client, source" {
        "A client that need not subscribes to everything. Those at one address that nobody knows are one alarm about the address.",
        "policy: filters that ask for everything, by clients of no class that may",
        "a finding; an alarm when it is denied, or when a client that nobody knows goes on to $SYS/# or to parts of what it has",
        "certain, by policy: name the classes that may in wide_classes"
    }
    SILENT_WIDE_SUBSCRIBER = "silent_wide_subscriber", "DE.ID-4", Some("T0842"), Medium, 80, "client" {
        "A client that nobody knows takes every message and sends none. Of a client that is known it is a finding.",
        "policy: seconds since it subscribed to #, without a message of its own",
        "60 s; an alarm without identity, class and declaration",
        "certain, by policy: give the client an identity or a class; dashboards and historians are a finding, and in wide_classes nothing"
    }
    OFF_RHYTHM = "off_rhythm", "DE.ID-3", Some("T0856"), Medium, 80, "client" {
        "Messages come between those of a regular rhythm: inserted or repeated ones.",
        "log-likelihood CUSUM of gaps below half the learned period (t0 0.01, t1 0.8)",
        "11.5: 3 in a row, after 16 gaps that deviate by less than an eighth",
        "at most once in 100,000 messages of a client of which one in a hundred is early; catching up is allowed for"
    }
    PAYLOAD_SIZE = "payload_size", "DE.ID-3", Some("T0856"), Low, 70, "client" {
        "Payloads are far larger than the client's.",
        "log-likelihood CUSUM of meters whose largest payload is 8 times the largest usual one (t0 0.001, t1 0.5)",
        "11.5: 2 in a row; one is a finding",
        "at most once in 100,000 meters of a client of which one in a thousand has an outlier"
    }
    SILENT = "client_silent", "DE.PM-1", Some("T0815"), Medium, 85, "client" {
        "A client is expected to send and does not, or is expected and is not there.",
        "time since the last message against the expectation of its class, or against its learned rhythm",
        "interval + grace; learned: 2.5 periods + 4 deviations, 1.5 x the longest gap, 1.5 x Keep Alive + 10 s, the largest of them",
        "learned only after 15 minutes of regular gaps; from the fourth alarm on each doubles the patience; a silent fleet is one alarm"
    }
    LATE = "client_late", "DE.PM-1", Some("T0804"), Informational, 70, "client" {
        "A message of a regular rhythm is missing.",
        "gap between two messages against the learned period",
        "1.5 periods",
        "a finding, no alarm"
    }
    MISSING = "messages_missing", "DE.PM-1", Some("T0804"), Medium, 80, "client" {
        "A client sends, but not to one of its topics.",
        "time since the last message to the topic against its learned rhythm",
        "2.5 periods + 4 deviations, 1.5 x the longest gap, the largest of them, and other messages came meanwhile",
        "learned only after 15 minutes of regular gaps; from the fourth alarm on each doubles the patience"
    }
    FLEET_SILENT = "fleet_silent", "DE.PM-1", Some("T0815"), High, 80, "source, fleet" {
        "Clients fell silent together: a network or power outage, not so many failures. About their address, if they share one.",
        "clients whose silence may have begun at one moment; clients that became silent within an hour and still are",
        "2 and more than half behind one address, or 3, at one moment; within an hour 10 and 5 % of the clients that are expected, or 3 and half",
        "it stands for the alarms of the single clients, which are not raised"
    }
    FLAPPING = "client_flapping", "DE.PM-1", Some("T0815"), Low, 80, "client" {
        "A client's connection is lost again and again.",
        "connections that ended abnormally, decayed over 10 minutes",
        "4.5: about 6 in 10 minutes",
        "what ends with DISCONNECT, by an order or with the node does not count; a finding unless the class is expected to be connected"
    }
    WILL = "will_published", "DE.PM-1", None, Informational, 90, "client" {
        "A client's will was published: its connection ended abnormally.",
        "an event",
        "one; only for classes that are expected to be connected",
        "a finding, no alarm"
    }
    INSPECTION = "inspection_overdue", "DE.PM-2", Some("T0864"), Low, 99, "device" {
        "A device was not inspected when it was due.",
        "days since the last recorded inspection",
        "inspection_days of its class",
        "certain: recorded inspections end it"
    }
}
