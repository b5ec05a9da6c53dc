//! Playbooks: which alarm is answered by which actions, and how far a playbook may go by itself.

use crate::action::{Action, Posture};
use ravelin_event::{Alarm, Severity, Subject, Verification};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

/// What a playbook does when its conditions are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Mode {
    /// It acts, where the action's policy lets a rule act by itself and within its bound; else it asks.
    Automatic,
    /// It proposes; a person approves.
    Ask,
    /// It says what it would have done.
    #[default]
    Observe,
}

impl Mode {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Automatic => "automatic",
            Mode::Ask => "ask",
            Mode::Observe => "observe",
        }
    }
}

/// What an alarm must be like. An empty list lets everything through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// One of these detectors or behaviours.
    pub detectors: Vec<Arc<str>>,
    /// At least so bad.
    pub severity: Severity,
    /// At least so sure, in percent.
    pub confidence: u8,
    /// About a client of one of these classes.
    pub classes: Vec<Arc<str>>,
    /// About one of these kinds of things: `client`, `source`, `identity`, `topic`, ... ([`Subject::kind`]).
    pub subjects: Vec<Arc<str>>,
    /// An operator has found it to be one of these.
    pub verification: Vec<Verification>,
    /// So many different alarms that are like this within [`Conditions::within_ms`], this one included.
    pub alarms: u32,
    /// See there.
    pub within_ms: u64,
    /// The posture is at least this.
    pub posture: Posture,
}

impl Default for Conditions {
    fn default() -> Conditions {
        Conditions {
            detectors: Vec::new(),
            severity: Severity::Low,
            confidence: 0,
            classes: Vec::new(),
            subjects: Vec::new(),
            verification: vec![Verification::Unknown, Verification::TruePositive],
            alarms: 1,
            within_ms: 600_000,
            posture: Posture::Normal,
        }
    }
}

impl Conditions {
    /// Alarms that can be asked for at most.
    pub const ALARMS_MAX: u32 = 1000;

    /// Whether an alarm is like this, apart from how many there are.
    pub fn meets(&self, alarm: &Alarm, posture: Posture) -> bool {
        let listed = |list: &[Arc<str>], name: Option<&str>| {
            list.is_empty() || name.is_some_and(|name| list.iter().any(|one| **one == *name))
        };
        !alarm.suppressed
            && listed(&self.detectors, Some(&alarm.detector))
            && alarm.severity >= self.severity
            && alarm.confidence >= self.confidence
            && listed(&self.classes, alarm.class.as_deref())
            && listed(&self.subjects, Some(alarm.subject.kind()))
            && (self.verification.is_empty() || self.verification.contains(&alarm.verification))
            && posture >= self.posture
    }
}

/// One action of a playbook. Its names may have places that the alarm fills: `{client_id}`, `{address}`, `{identity}`,
/// `{certificate}`, `{topic}`, `{class}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What is done.
    pub action: Action,
    /// For how long, in seconds; `None`: as the action's policy has it.
    pub time_s: Option<u64>,
}

/// How far a playbook may go by itself; beyond it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Clients, or addresses of nobody who is connected, within [`Bound::within_ms`].
    pub clients: u32,
    /// See there.
    pub within_ms: u64,
    /// At most so many in a hundred of those who are connected; one is always let through.
    pub percent: u8,
}

impl Bound {
    /// Clients that a playbook may be let act on at most.
    pub const CLIENTS_MAX: u32 = 10_000;
}

impl Default for Bound {
    fn default() -> Bound {
        Bound { clients: 10, within_ms: 600_000, percent: 5 }
    }
}

/// A playbook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Playbook {
    /// Its name.
    pub name: Arc<str>,
    /// What it is for.
    pub description: Arc<str>,
    /// The rows of the Core that it serves.
    pub core: Vec<Arc<str>>,
    /// What it does when its conditions are met.
    pub mode: Mode,
    /// Its conditions.
    pub when: Conditions,
    /// Its actions, in order.
    pub steps: Vec<Step>,
    /// How far it may go by itself.
    pub bound: Bound,
    /// What whoever is told reads; the alarm's own sentence follows.
    pub notify: Arc<str>,
}

/// What fills the places of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// The client.
    pub client_id: Option<Arc<str>>,
    /// Its identity.
    pub identity: Option<Arc<str>>,
    /// Its class.
    pub class: Option<Arc<str>>,
    /// Where it is.
    pub address: Option<IpAddr>,
    /// The fingerprint of its certificate.
    pub certificate: Option<Arc<str>>,
    /// The topic or filter.
    pub topic: Option<Arc<str>>,
}

/// Why a step cannot be done for an alarm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Missing {
    /// The alarm does not know it.
    #[error("the alarm has no {0}")]
    Value(String),
    /// There is no such place.
    #[error(
        "there is no `{{{0}}}`; there are {{client_id}}, {{address}}, {{identity}}, {{certificate}}, {{topic}} and {{class}}"
    )]
    Place(String),
    /// What comes of it cannot be meant.
    #[error("{0}")]
    Invalid(#[from] crate::action::Invalid),
    /// It would freeze more than one branch of the topics.
    #[error("`{0}` is too broad to be frozen by a rule: its first level must be a name")]
    Broad(String),
    /// Rules do not do this to a whole fleet.
    #[error("the alarm is about many at once: a rule does not {0} a fleet")]
    Fleet(&'static str),
}

impl Values {
    /// What an alarm knows. The certificate is looked up by whoever can.
    pub fn of(alarm: &Alarm, certificate: Option<Arc<str>>) -> Values {
        let subject = |wanted: fn(&Subject) -> Option<&Arc<str>>| wanted(&alarm.subject).cloned();
        let source = match &alarm.subject {
            Subject::Source(address) => Some(*address),
            _ => None,
        };
        Values {
            client_id: alarm.client_id.clone().or_else(|| {
                subject(|subject| if let Subject::Client(name) = subject { Some(name) } else { None })
            }),
            identity: alarm.identity.clone().or_else(|| {
                subject(|subject| if let Subject::Identity(name) = subject { Some(name) } else { None })
            }),
            class: alarm.class.clone(),
            address: source.or(alarm.address.map(|address| address.ip().to_canonical())),
            certificate,
            topic: alarm.topic.clone().or_else(|| {
                subject(|subject| if let Subject::Topic(name) = subject { Some(name) } else { None })
            }),
        }
    }

    fn value(&self, place: &str) -> Result<String, Missing> {
        let text = |value: &Option<Arc<str>>| value.as_ref().map(ToString::to_string);
        let value = match place {
            "client_id" => text(&self.client_id),
            "identity" => text(&self.identity),
            "class" => text(&self.class),
            "address" => self.address.map(|address| address.to_string()),
            "certificate" => text(&self.certificate),
            "topic" => text(&self.topic),
            _ => return Err(Missing::Place(place.into())),
        };
        value.ok_or_else(|| Missing::Value(place.into()))
    }

    /// Fills the places of a text, once: what fills them is not looked at again.
    fn fill(&self, template: &str) -> Result<Arc<str>, Missing> {
        let (mut filled, mut rest) = (String::with_capacity(template.len()), template);
        while let Some((before, behind)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((place, behind)) = behind.split_once('}') else {
                return Err(Missing::Place(behind.into()));
            };
            filled.push_str(&self.value(place)?);
            rest = behind;
        }
        filled.push_str(rest);
        Ok(filled.into())
    }
}

impl Step {
    /// The action for an alarm.
    ///
    /// # Errors
    /// If the alarm does not know what a place needs, or what comes of it is more than a rule may do.
    pub fn fill(&self, alarm: &Alarm, values: &Values) -> Result<Action, Missing> {
        let many = matches!(alarm.subject, Subject::Fleet | Subject::Class(_));
        if many && self.action.is_against_clients() {
            return Err(Missing::Fleet(self.action.name()));
        }
        let action = self.with(|text| values.fill(text))?.checked()?;
        if let Action::Freeze { filter, .. } = &action
            && (filter.starts_with(['#', '+', '$', '/']))
        {
            return Err(Missing::Broad(filter.to_string()));
        }
        Ok(action)
    }

    /// Whether its places are places, and it means something once they are filled.
    ///
    /// # Errors
    /// As [`Step::fill`] for an alarm that knows everything.
    pub fn check(&self) -> Result<(), Missing> {
        let name = |name: &str| Some(name.into());
        let values = Values {
            client_id: name("client"),
            identity: name("identity"),
            class: name("class"),
            address: Some([192, 0, 2, 1].into()),
            certificate: Some("00".repeat(32).into()),
            topic: name("a/b"),
        };
        self.with(|text| values.fill(text))?.checked()?;
        Ok(())
    }

    /// Whether it names the certificate of a client.
    pub fn wants_certificate(&self) -> bool {
        self.action.subject().contains("{certificate}")
    }

    fn with(&self, fill: impl Fn(&str) -> Result<Arc<str>, Missing>) -> Result<Action, Missing> {
        let mut action = self.action.clone();
        match &mut action {
            Action::Disconnect { client_id } | Action::Quarantine { client_id } => {
                *client_id = fill(client_id)?
            }
            Action::Throttle { client_id, .. } => *client_id = fill(client_id)?,
            Action::Ban { subject } => *subject = fill(subject)?,
            Action::RevokeCertificate { certificate } => *certificate = fill(certificate)?,
            Action::RevokeCredential { identity } => *identity = fill(identity)?,
            Action::Freeze { filter, .. } => *filter = fill(filter)?,
            Action::Firewall { network } => *network = fill(network)?,
            Action::StopListener { listener } => *listener = fill(listener)?,
            Action::Posture { .. } | Action::StopNode {} => {}
        }
        Ok(action)
    }
}

/// What a playbook has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlaybookFigures {
    /// Alarms that met its conditions.
    pub matched: u64,
    /// Actions that it would have taken.
    pub observed: u64,
    /// Actions that it asked for.
    pub asked: u64,
    /// Actions that it took.
    pub acted: u64,
    /// Actions that it may not take, or that the alarm had no names for.
    pub refused: u64,
    /// The last alarm that met its conditions.
    pub last_alarm: Option<u64>,
    /// When that was.
    pub last_ms: Option<u64>,
}

/// What was spent of a bound. Holds no more entries than the bound has clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spent {
    entries: VecDeque<(u64, u32)>,
    sum: u32,
}

impl Spent {
    /// How much was spent within the window.
    pub fn within(&mut self, at_ms: u64, window_ms: u64) -> u32 {
        while let Some(&(spent_ms, clients)) = self.entries.front() {
            if at_ms.saturating_sub(spent_ms) < window_ms {
                break;
            }
            self.sum -= clients;
            self.entries.pop_front();
        }
        self.sum
    }

    /// Spends.
    pub fn spend(&mut self, at_ms: u64, clients: u32) {
        let clients = clients.min(u32::MAX - self.sum);
        self.entries.push_back((at_ms, clients));
        self.sum += clients;
    }
}

/// A playbook at work.
#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub playbook: Arc<Playbook>,
    pub figures: PlaybookFigures,
    pub spent: Spent,
    /// Alarms that met the conditions: when, and which. Holds no more than are asked for.
    seen: VecDeque<(u64, u64)>,
}

impl Running {
    pub fn new(playbook: Playbook) -> Running {
        Running {
            playbook: Arc::new(playbook),
            figures: PlaybookFigures::default(),
            spent: Spent::default(),
            seen: VecDeque::new(),
        }
    }

    /// Whether enough alarms have met the conditions with this one.
    pub fn meets(&mut self, at_ms: u64, alarm: &Alarm, posture: Posture) -> bool {
        let when = &self.playbook.when;
        if !when.meets(alarm, posture) {
            return false;
        }
        if when.alarms > 1 {
            let wanted = when.alarms.min(Conditions::ALARMS_MAX) as usize;
            while let Some(&(seen_ms, _)) = self.seen.front() {
                if at_ms.saturating_sub(seen_ms) < when.within_ms {
                    break;
                }
                self.seen.pop_front();
            }
            if self.seen.iter().all(|&(_, id)| id != alarm.id) {
                if self.seen.len() >= wanted {
                    self.seen.pop_front();
                }
                self.seen.push_back((at_ms, alarm.id));
            }
            if self.seen.len() < wanted {
                return false;
            }
        }
        self.figures.matched += 1;
        self.figures.last_alarm = Some(alarm.id);
        self.figures.last_ms = Some(at_ms);
        true
    }
}
