//! What waits for a destination is written in its form at once: it does not change any more, whatever becomes of the node.

use crate::{Item, Origin, fail2ban, native, ocsf, syslog};

/// The form that a destination takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// OCSF 1.8 in JSON.
    Ocsf,
    /// JSON of our own.
    Native,
    /// RFC 5424.
    Syslog(syslog::Style),
    /// A line for fail2ban.
    Fail2ban,
}

impl Form {
    /// What is kept of the form beside what waits: after a change of the configuration it does not fit any more.
    pub(crate) fn mark(self) -> u8 {
        match self {
            Form::Ocsf => 1,
            Form::Native => 2,
            Form::Syslog(_) => 3,
            Form::Fail2ban => 4,
        }
    }

    /// Writes `item`; `None`: it cannot be said in this form.
    pub(crate) fn render(self, origin: &Origin, item: &Item, uid: &str) -> Option<String> {
        match self {
            Form::Ocsf => Some(ocsf::value(origin, item, uid).to_string()),
            Form::Native => Some(native::value(origin, item, uid).to_string()),
            Form::Syslog(style) => Some(syslog::message(origin, item, uid, style)),
            Form::Fail2ban => fail2ban::line(origin, item),
        }
    }
}
