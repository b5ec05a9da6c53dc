//! The list of events. Everything that is logged, counted or alarmed on is defined here, once.

use crate::{DisconnectCause, Level, Refusal};
use serde::Serialize;
use std::net::SocketAddr;

/// One line of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The event's id, as it appears in logs and metrics.
    pub id: &'static str,
    /// Its level.
    pub level: Level,
    /// What it means.
    pub description: &'static str,
}

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident = $id:literal, $level:ident { $($(#[doc = $fdoc:literal])* $field:ident: $type:ty,)* })*) => {
        /// What happened.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(untagged)]
        #[non_exhaustive]
        pub enum Event {
            $($(#[doc = $doc])+ $name { $($(#[doc = $fdoc])* #[doc = concat!("`", stringify!($field), "`")] $field: $type,)* },)*
        }

        impl Event {
            /// The stable id, as it appears in logs and metrics.
            pub fn id(&self) -> &'static str {
                match self { $(Event::$name { .. } => $id,)* }
            }

            /// The level.
            pub fn level(&self) -> Level {
                match self { $(Event::$name { .. } => Level::$level,)* }
            }

            /// The place in [`CATALOG`].
            pub fn index(&self) -> usize {
                #[allow(non_camel_case_types, clippy::enum_variant_names)]
                enum Order { $($name,)* }
                match self { $(Event::$name { .. } => Order::$name as usize,)* }
            }
        }

        /// Every event, in the order of [`Event::index`].
        pub const CATALOG: &[Entry] = &[
            $(Entry { id: $id, level: Level::$level, description: concat!($($doc,)+) },)*
        ];
    };
}

events! {
    /// The node serves; one event a listener.
    Listening = "node.listening", Info { listener: String, address: SocketAddr, transport: String, }
    /// The node starts with a setting that begins with `dangerous_`.
    DangerousSetting = "node.dangerous_setting", Warn { setting: String, meaning: String, }
    /// Something in the configuration or a file that it names deserves attention; the node runs all the same.
    ConfigurationWarning = "node.configuration_warning", Warn { place: String, warning: String, }
    /// The configuration was read again and took effect.
    Reloaded = "node.reloaded", Info { what: String, }
    /// The configuration could not be read again; the old one stays in force.
    ReloadFailed = "node.reload_failed", Warn { error: String, }
    /// The node stops; all sessions were written.
    Stopped = "node.stopped", Info { sessions: u64, }
    /// The node was stopped by an order, in stages; this is what it was by then. It does not serve until it is released.
    Fenced = "node.fenced", Warn {
        order: u64, by: String, approved_by: String, why: String, config_sha256: String, sessions: u64, retained: u64, record_sequence: Option<u64>,
    }
    /// What an earlier run of the node had the firewall drop, and no order wants any more, was taken out of it.
    FirewallStraysRemoved = "firewall.strays_removed", Warn { networks: String, error: Option<String>, }
    /// A node that was stopped by an order serves again.
    Released = "node.released", Warn { why: String, state: String, }
    /// A failure inside the node was contained to one connection.
    InternalError = "node.internal_error", Warn { what: String, address: Option<SocketAddr>, }
    /// The node is out of a resource of the operating system.
    ResourceExhausted = "node.resource_exhausted", Warn { resource: String, error: String, }

    /// An administrator, or a rule of the node, gave an order.
    Administered = "admin.order", Info {
        actor: String, role: &'static str, via: &'static str, address: Option<SocketAddr>, action: String,
        subject: String, done: bool, detail: String,
    }
    /// Somebody was refused at the control lane: not known, or without the role.
    AdminRefused = "admin.refused", Warn {
        actor: Option<String>, address: Option<SocketAddr>, method: String, path: String, why: String,
    }

    /// State was restored from disk.
    Restored = "store.restored", Info { sessions: u64, retained: u64, queued: u64, records: u64, bytes: u64, }
    /// The end of the log was torn, as a crash leaves it; nothing acknowledged was in it.
    TornTail = "store.torn_tail", Info { segment: u64, offset: u64, bytes: u64, }
    /// The log is damaged: what is lost.
    StoreDamaged = "store.damaged", Warn { segment: u64, offset: u64, detail: String, }
    /// A record could not be understood.
    RecordUnreadable = "store.record_unreadable", Warn { detail: String, }
    /// Writing failed; nothing more is acknowledged that must be durable.
    StoreFailed = "store.failed", Warn { error: String, }
    /// What is written from now on is encrypted with a new key; the log is written again with it.
    StoreKeyRotated = "store.key_rotated", Info { key: String, }
    /// The log was compacted.
    Checkpointed = "store.checkpointed", Info { bytes_before: u64, bytes_after: u64, }

    /// What the process has given up: it can only do what a node must.
    SandboxClosed = "sandbox.closed", Info { applied: String, }
    /// A part of the sandbox could not be closed.
    SandboxIncomplete = "sandbox.incomplete", Warn { applied: String, missing: String, }

    /// The record of transmissions is open; from here on it goes on.
    RecordOpened = "record.opened", Info { record: String, directory: String, created: bool, sequence: u64, }
    /// The end of the record was found damaged; `ravelin audit verify` says what is whole.
    RecordDamaged = "record.damaged", Warn { detail: String, }
    /// The end of the record was torn, as a crash leaves it; nothing acknowledged was in it.
    RecordTornTail = "record.torn_tail", Info { bytes: u64, }
    /// The record cannot be written; refusing: messages that would have to be recorded are refused meanwhile.
    RecordFailed = "record.failed", Warn { error: String, refusing: bool, }
    /// The record has its largest size, and nothing in it is old enough to be deleted.
    RecordFull = "record.full", Warn { refusing: bool, }
    /// The record is written again.
    RecordRecovered = "record.recovered", Info { lost: u64, }
    /// The oldest entries of the record were deleted, as configured.
    RecordPruned = "record.pruned", Info { up_to: u64, }
    /// The record is signed up to here; keep this elsewhere, and it proves that the record was not cut or replaced.
    RecordSigned = "record.signed", Info { record: String, sequence: u64, head: String, key: String, }
    /// The clock was set.
    ClockJumped = "node.clock_jumped", Warn { from_ms: u64, to_ms: u64, }

    /// A connection was refused before it had a session.
    ConnectionRefused = "connection.refused", Warn {
        address: SocketAddr, client_id: Option<String>, identity: Option<String>, why: Refusal,
    }
    /// A log-in failed.
    LoginFailed = "login.failed", Warn {
        address: SocketAddr, client_id: String, identity: Option<String>, why: Refusal,
    }
    /// Too many log-ins failed: until the pause is over, none is tried.
    LoginLockedOut = "login.locked_out", Warn {
        address: SocketAddr, client_id: String, identity: Option<String>, scope: &'static str, failures: u32,
        pause_s: u64,
    }
    /// A certificate or an identity was revoked.
    CertificateRevoked = "certificate.revoked", Warn { subject: String, by: String, reason: String, }
    /// The private CA issued a certificate.
    CertificateIssued = "certificate.issued", Info {
        identity: String, serial: String, not_after_s: i64, by: String,
    }
    /// Certificates, keys or revocation lists have changed on disk and cannot be used; the old ones stay in force.
    CertificateFilesRefused = "certificate.files_refused", Warn { error: String, help: String, }
    /// A revocation list is missing, broken or out of date.
    RevocationListFailed = "revocation_list.failed", Warn { source: String, error: String, help: String, }
    /// A newer revocation list was fetched.
    RevocationListFetched = "revocation_list.fetched", Info {
        source: String, issuer: String, bytes: u64, next_update_s: Option<i64>,
    }
    /// The private CA's revocation list was written again.
    RevocationListPublished = "revocation_list.published", Info { entries: u64, }
    /// A current OCSP answer is stapled to a listener's certificate.
    OcspStapled = "ocsp.stapled", Info { listener: String, next_update_s: i64, }
    /// There is no OCSP answer that could be stapled.
    OcspFailed = "ocsp.failed", Warn { listener: String, error: String, }
    /// A ban has ended.
    BanEnded = "ban.ended", Info { subject: String, reason: String, by: String, }
    /// A configured rate was exceeded; one event for each connection and ten seconds.
    RateExceeded = "rate.exceeded", Warn {
        rate: String, measure: &'static str, client_id: String, identity: Option<String>,
        address: Option<SocketAddr>, action: &'static str,
    }
    /// The node's memory has come near its ceiling, or fallen again: what it does about it.
    MemoryStage = "node.memory", Warn { stage: &'static str, used_bytes: u64, ceiling_bytes: u64, does: String, }
    /// What exactly was wrong with what a client presented: a token, a one-time code, a certificate, its class.
    CredentialRefused = "credential.refused", Warn {
        address: SocketAddr, client_id: Option<String>, identity: Option<String>, credential: &'static str,
        what: String,
    }
    /// The keys of an issuer of tokens were fetched and are others than before.
    IssuerKeysChanged = "issuer.keys_changed", Info { issuer: String, keys: u64, }
    /// The keys of an issuer of tokens could not be fetched; what was fetched last counts until it is too old.
    IssuerKeysStale = "issuer.keys_stale", Warn { issuer: String, error: String, age_s: Option<u64>, trusted: bool, }
    /// Events of one kind from one address were left out to protect the log.
    Suppressed = "log.suppressed", Info { id: String, address: Option<SocketAddr>, count: u64, }
    /// A client connected.
    Connected = "client.connected", Info {
        client_id: String, identity: Option<String>, address: Option<SocketAddr>, version: &'static str,
        keep_alive_s: u16, clean_start: bool, session_present: bool,
    }
    /// A client's connection ended.
    Disconnected = "client.disconnected", Info {
        client_id: String, identity: Option<String>, address: Option<SocketAddr>, cause: DisconnectCause,
        detail: Option<String>,
    }
    /// A client re-authenticated.
    Reauthenticated = "client.reauthenticated", Info { client_id: String, identity: Option<String>, }
    /// A client subscribed.
    Subscribed = "client.subscribed", Debug { client_id: String, filter: String, qos: u8, }
    /// A client unsubscribed.
    Unsubscribed = "client.unsubscribed", Debug { client_id: String, filter: String, }
    /// A session ended: it expired or was replaced by a clean start.
    SessionEnded = "session.ended", Debug { client_id: String, expired: bool, }

    /// A device was seen for the first time.
    DeviceDiscovered = "inventory.discovered", Info {
        device: String, client_id: String, identity: Option<String>, address: Option<String>, declared: Option<String>,
    }
    /// A device went from one state of its life to another.
    DeviceState = "inventory.state", Info { device: String, from: &'static str, to: &'static str, why: String, }
    /// Two clients use one Client Identifier and throw each other out.
    DuplicateClient = "inventory.duplicate_client", Warn {
        client_id: String, device: String, addresses: Vec<String>, why: String,
    }
    /// Two clients use one certificate at the same time.
    ClonedCertificate = "inventory.cloned_certificate", Warn {
        certificate: String, client_ids: Vec<String>, addresses: Vec<String>, why: String,
    }
    /// A device is where it should not be.
    MovedDevice = "inventory.moved_device", Warn { device: String, address: String, why: String, }

    /// A detector has raised an alarm, or it has become worse.
    AlarmRaised = "alarm.raised", Warn {
        alarm: u64, detector: String, severity: &'static str, confidence: u8, subject: String, technique: Option<String>,
        client_id: Option<String>, identity: Option<String>, address: Option<SocketAddr>, events: u64, summary: String,
    }
    /// An alarm is over.
    AlarmCleared = "alarm.cleared", Info { alarm: u64, detector: String, subject: String, lasted_ms: u64, }
    /// Something odd was seen that is no alarm.
    FindingLogged = "alarm.finding", Info {
        alarm: u64, detector: String, subject: String, client_id: Option<String>, address: Option<SocketAddr>,
        summary: String,
    }
    /// Alarms of one kind were left out because too many came.
    AlarmsSuppressed = "alarm.suppressed", Warn { detector: String, count: u64, why: String, }
    /// A client's trust has gone from one band to another.
    TrustChanged = "trust.changed", Info {
        client_id: String, identity: Option<String>, from: u8, to: u8, why: String,
    }

    /// A playbook that only observes would have done this, or one that may act cannot.
    PlaybookObserved = "playbook.observed", Info {
        playbook: String, alarm: u64, action: &'static str, subject: String, why: String,
    }
    /// An action waits for approval: a playbook or an operator asked for it.
    ActionProposed = "action.proposed", Warn {
        order: u64, action: &'static str, subject: String, by: String, alarm: Option<u64>, approvals: u8, why: String,
    }
    /// An action is in force.
    ActionTaken = "action.taken", Warn {
        order: u64, action: &'static str, subject: String, by: String, alarm: Option<u64>, effect: String, took_us: u64,
        until_ms: Option<u64>,
    }
    /// An action could not be carried out.
    ActionFailed = "action.failed", Warn { order: u64, action: &'static str, subject: String, error: String, }
    /// An action has ended: it was undone, or its time was over.
    ActionEnded = "action.ended", Info {
        order: u64, action: &'static str, subject: String, by: String, why: &'static str,
    }
    /// An action was refused, or nobody approved it in time.
    ActionRefused = "action.refused", Info {
        order: u64, action: &'static str, subject: String, by: String, why: String,
    }
    /// The posture of the node has changed.
    PostureChanged = "posture.changed", Warn { from: &'static str, to: &'static str, by: String, closes: String, }

    /// A destination cannot be told of anything at the moment; what it has to know waits.
    OutwardFailing = "outward.failing", Warn { destination: String, error: String, waiting: u64, }
    /// A destination takes what waits for it again.
    OutwardRecovered = "outward.recovered", Info { destination: String, failed_s: u64, waiting: u64, }
    /// A destination was not told of something: there was no room for what waits, or it refuses it.
    OutwardDropped = "outward.dropped", Warn { destination: String, dropped: u64, why: String, }

    /// A publish was refused.
    PublishRefused = "publish.refused", Warn {
        client_id: String, identity: Option<String>, address: Option<SocketAddr>, topic: String, why: Refusal,
    }
    /// A subscription was refused.
    SubscribeRefused = "subscribe.refused", Warn {
        client_id: String, identity: Option<String>, address: Option<SocketAddr>, filter: String, why: Refusal,
    }
    /// A client may not end a subscription.
    UnsubscribeRefused = "unsubscribe.refused", Warn {
        client_id: String, identity: Option<String>, address: Option<SocketAddr>, filter: String, why: Refusal,
    }
    /// A will message was refused.
    WillRefused = "will.refused", Warn {
        client_id: String, identity: Option<String>, address: Option<SocketAddr>, topic: String, why: Refusal,
    }
    /// A will message was published.
    WillPublished = "will.published", Info { client_id: String, topic: String, }
    /// Messages for a client were dropped because its queue was full.
    QueueFull = "queue.full", Warn { client_id: String, dropped: u64, }
    /// Messages that waited for a client, or that it had not acknowledged, were dropped: it may not receive them any more.
    DeliveriesWithdrawn = "queue.withdrawn", Info { client_id: String, messages: u64, }
    /// A message could not be delivered: no subscriber matched.
    Undeliverable = "publish.undeliverable", Trace { client_id: String, topic: String, }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_and_dotted() {
        let mut seen = std::collections::BTreeSet::new();
        for entry in CATALOG {
            assert!(seen.insert(entry.id), "{} twice", entry.id);
            assert!(entry.id.contains('.') && !entry.description.trim().is_empty());
        }
    }

    #[test]
    fn index_points_into_the_catalogue() {
        let event = Event::QueueFull { client_id: "a".into(), dropped: 1 };
        assert_eq!(CATALOG[event.index()].id, event.id());
    }
}
