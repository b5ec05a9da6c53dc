//! Which class of OCSF each event is, and which activity of that class.

/// A class of OCSF 1.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
#[allow(missing_docs, reason = "their names and numbers are OCSF's")]
pub enum Class {
    DetectionFinding = 2004,
    AccountChange = 3001,
    Authentication = 3002,
    AuthorizeSession = 3003,
    EntityManagement = 3004,
    NetworkActivity = 4001,
    InventoryInfo = 5001,
    DeviceConfigStateChange = 5019,
    ApplicationLifecycle = 6002,
    ApiActivity = 6003,
    ApplicationError = 6008,
    RemediationActivity = 7001,
    NetworkRemediationActivity = 7004,
}

impl Class {
    /// Its number.
    pub fn uid(self) -> u32 {
        self as u32
    }
}

/// What an event is in OCSF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// An activity of a class. 99 is one that the class has no word for; its name is then the event's id.
    To(Class, u32),
    /// It is not told, and why.
    Not(&'static str),
}

use Class as C;
use Mapping::{Not, To};

/// Every event of the catalogue. A test walks both.
pub const TABLE: &[(&str, Mapping)] = &[
    ("node.listening", To(C::NetworkActivity, 7)),
    ("node.dangerous_setting", To(C::DeviceConfigStateChange, 1)),
    ("node.configuration_warning", To(C::DeviceConfigStateChange, 1)),
    ("node.reloaded", To(C::DeviceConfigStateChange, 1)),
    ("node.reload_failed", To(C::DeviceConfigStateChange, 1)),
    ("node.stopped", To(C::ApplicationLifecycle, 4)),
    ("node.internal_error", To(C::ApplicationError, 1)),
    ("node.resource_exhausted", To(C::ApplicationError, 1)),
    ("node.clock_jumped", To(C::DeviceConfigStateChange, 1)),
    ("node.fenced", To(C::ApplicationLifecycle, 4)),
    ("node.released", To(C::ApplicationLifecycle, 3)),
    ("node.memory", To(C::ApplicationError, 1)),
    ("admin.order", To(C::ApiActivity, 3)),
    ("admin.refused", To(C::ApiActivity, 99)),
    ("store.restored", To(C::ApplicationLifecycle, 3)),
    ("store.torn_tail", To(C::ApplicationError, 1)),
    ("store.damaged", To(C::ApplicationError, 1)),
    ("store.record_unreadable", To(C::ApplicationError, 1)),
    ("store.failed", To(C::ApplicationError, 1)),
    ("store.key_rotated", To(C::DeviceConfigStateChange, 1)),
    ("store.checkpointed", Not("the store tidies up; nothing that concerns security has happened")),
    ("sandbox.closed", To(C::DeviceConfigStateChange, 1)),
    ("sandbox.incomplete", To(C::DeviceConfigStateChange, 1)),
    ("record.opened", To(C::ApplicationLifecycle, 3)),
    ("record.damaged", To(C::ApplicationError, 1)),
    ("record.torn_tail", To(C::ApplicationError, 1)),
    ("record.failed", To(C::ApplicationError, 1)),
    ("record.full", To(C::ApplicationError, 1)),
    ("record.recovered", To(C::ApplicationLifecycle, 99)),
    ("record.pruned", To(C::ApplicationLifecycle, 99)),
    ("record.signed", To(C::ApplicationLifecycle, 99)),
    ("connection.refused", To(C::NetworkActivity, 5)),
    ("login.failed", To(C::Authentication, 1)),
    ("login.locked_out", To(C::AccountChange, 9)),
    ("credential.refused", To(C::Authentication, 1)),
    ("certificate.revoked", To(C::EntityManagement, 9)),
    ("certificate.issued", To(C::EntityManagement, 1)),
    ("certificate.files_refused", To(C::DeviceConfigStateChange, 1)),
    ("revocation_list.failed", To(C::ApplicationError, 1)),
    ("revocation_list.fetched", To(C::DeviceConfigStateChange, 1)),
    ("revocation_list.published", To(C::DeviceConfigStateChange, 1)),
    ("ocsp.stapled", To(C::DeviceConfigStateChange, 1)),
    ("ocsp.failed", To(C::ApplicationError, 1)),
    ("issuer.keys_changed", To(C::DeviceConfigStateChange, 1)),
    ("issuer.keys_stale", To(C::ApplicationError, 1)),
    ("ban.ended", To(C::NetworkRemediationActivity, 3)),
    ("rate.exceeded", To(C::NetworkActivity, 5)),
    ("log.suppressed", Not("a sum of lines that the log left out; whoever counts is told of each of them")),
    ("client.connected", To(C::Authentication, 1)),
    ("client.disconnected", To(C::NetworkActivity, 2)),
    ("client.reauthenticated", To(C::Authentication, 1)),
    ("client.subscribed", To(C::ApiActivity, 1)),
    ("client.unsubscribed", To(C::ApiActivity, 4)),
    ("session.ended", To(C::Authentication, 2)),
    ("inventory.discovered", To(C::InventoryInfo, 2)),
    ("inventory.state", To(C::EntityManagement, 3)),
    ("inventory.duplicate_client", To(C::DetectionFinding, 1)),
    ("inventory.cloned_certificate", To(C::DetectionFinding, 1)),
    ("inventory.moved_device", To(C::DetectionFinding, 1)),
    // Beside the notice, which says more, and which is what is sent.
    ("alarm.raised", To(C::DetectionFinding, 1)),
    ("alarm.cleared", To(C::DetectionFinding, 3)),
    ("alarm.finding", To(C::DetectionFinding, 1)),
    ("alarm.suppressed", To(C::DetectionFinding, 2)),
    ("trust.changed", To(C::DetectionFinding, 2)),
    ("action.proposed", To(C::RemediationActivity, 99)),
    ("action.taken", To(C::RemediationActivity, 1)),
    ("action.failed", To(C::RemediationActivity, 1)),
    ("action.ended", To(C::RemediationActivity, 3)),
    ("action.refused", To(C::RemediationActivity, 99)),
    ("playbook.observed", To(C::RemediationActivity, 99)),
    ("firewall.strays_removed", To(C::NetworkRemediationActivity, 3)),
    ("posture.changed", To(C::DeviceConfigStateChange, 1)),
    ("publish.refused", To(C::AuthorizeSession, 99)),
    ("subscribe.refused", To(C::AuthorizeSession, 99)),
    ("unsubscribe.refused", To(C::AuthorizeSession, 99)),
    ("will.refused", To(C::AuthorizeSession, 99)),
    ("will.published", To(C::ApiActivity, 1)),
    ("queue.full", To(C::ApplicationError, 1)),
    ("queue.withdrawn", To(C::AuthorizeSession, 99)),
    ("publish.undeliverable", To(C::ApiActivity, 99)),
    ("outward.failing", Not(OWN)),
    ("outward.recovered", Not(OWN)),
    ("outward.dropped", To(C::ApplicationError, 1)),
];

const OWN: &str = "who is told is not told of failures to tell; the log, the API and the metrics say it";

/// What an event is in OCSF; `None`: the table has no row for it.
pub fn mapping(id: &str) -> Option<Mapping> {
    TABLE.iter().find(|(known, _)| *known == id).map(|(_, mapping)| *mapping)
}

/// An action that meets a connection or a network: its remediation is one of the network.
pub(super) fn is_of_the_network(action: &str) -> bool {
    matches!(action, "disconnect" | "ban" | "firewall" | "quarantine" | "throttle" | "stop_listener")
}
