//! Whom an action would meet.

use super::super::{ConnInfo, Control, Unavailable};
use super::RespondFailure;
use crate::config::Network;
use ravelin_broker::home_shard;
use ravelin_event::Principal;
use ravelin_mqtt::ReasonCode;
use ravelin_protect::revocation::normal_serial;
use ravelin_protect::{Ban, BanSubject, Directory};
use ravelin_respond::{Action, Facts};
use std::net::IpAddr;
use std::sync::Arc;

/// Names that are told.
const NAMES_MAX: usize = 20;
/// Sessions that are looked at in one question to a shard.
const PAGE: usize = 500;

/// Whom an action would meet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Connected clients.
    pub clients: u64,
    /// Sessions, connected or not.
    pub sessions: u64,
    /// Their subscriptions; of a freeze, those that overlap with its filter.
    pub subscriptions: u64,
    /// Some of them.
    pub names: Vec<Arc<str>>,
    /// Some that must never be cut off.
    pub never_cut: Vec<Arc<str>>,
    /// Connected clients in all.
    pub connected: u64,
}

/// Who is meant, in a form that a shard can ask by.
enum Meant {
    Nobody,
    Everybody,
    Client(Arc<str>),
    Identity(Arc<str>),
    Certificate(Arc<str>),
    Listener(usize),
    Network(Network),
    Banned(Ban),
}

impl Meant {
    fn of(control: &Control, action: &Action) -> Result<Meant, RespondFailure> {
        let invalid = |what: String| RespondFailure::Invalid(what);
        Ok(match action {
            Action::Disconnect { client_id }
            | Action::Quarantine { client_id }
            | Action::Throttle { client_id, .. } => Meant::Client(Arc::clone(client_id)),
            Action::Ban { subject } => {
                let subject = BanSubject::parse(subject).map_err(|error| invalid(error.to_string()))?;
                let (reason, by) = (Arc::default(), Arc::default());
                Meant::Banned(Ban { subject, reason, by, at_s: 0, until_s: None })
            }
            Action::RevokeCertificate { certificate } => Meant::Certificate(Arc::clone(certificate)),
            Action::RevokeCredential { identity } => Meant::Identity(Arc::clone(identity)),
            Action::Firewall { network } => {
                let parsed = network.parse().map_err(|()| invalid(format!("{network} is no network")))?;
                Meant::Network(parsed)
            }
            Action::StopListener { listener } => {
                let at = control.config().listeners.iter().position(|one| *one.name == **listener);
                Meant::Listener(at.ok_or_else(|| invalid(format!("there is no listener {listener:?}")))?)
            }
            Action::StopNode {} => Meant::Everybody,
            _ => Meant::Nobody,
        })
    }

    fn meets(&self, who: &Principal, address: Option<IpAddr>, listener: Option<u16>) -> bool {
        match self {
            Meant::Nobody => false,
            Meant::Everybody => true,
            Meant::Client(name) => who.client_id == *name,
            Meant::Identity(name) => who.identity.as_ref() == Some(name),
            Meant::Certificate(name) => {
                who.certificate.as_ref() == Some(name)
                    || who
                        .attributes
                        .as_ref()
                        .is_some_and(|one| normal_serial(&one.serial) == normal_serial(name))
            }
            Meant::Listener(at) => listener.is_some_and(|listener| usize::from(listener) == *at),
            Meant::Network(network) => address.is_some_and(|address| network.contains(address)),
            Meant::Banned(ban) => {
                ban.covers(&who.client_id, who.identity.as_deref(), who.certificate.as_deref(), address)
            }
        }
    }
}

fn is_never_cut(directory: &Directory, who: &Principal) -> bool {
    let class = who.class.as_deref().and_then(|name| directory.class(name));
    let of_identity = who.identity.as_deref().and_then(|name| directory.class_of(name));
    class.is_some_and(|class| class.never_cut) || of_identity.is_some_and(|class| class.never_cut)
}

impl Reach {
    fn add(&mut self, other: Reach) {
        self.clients += other.clients;
        self.sessions += other.sessions;
        self.subscriptions += other.subscriptions;
        self.connected += other.connected;
        self.names.extend(other.names);
        self.names.truncate(NAMES_MAX);
        self.never_cut.extend(other.never_cut);
        self.never_cut.truncate(NAMES_MAX);
    }

    fn meet(&mut self, who: &Principal, directory: &Directory) {
        if self.names.len() < NAMES_MAX {
            self.names.push(Arc::clone(&who.client_id));
        }
        if self.never_cut.len() < NAMES_MAX && is_never_cut(directory, who) {
            self.never_cut.push(Arc::clone(&who.client_id));
        }
    }

    fn facts(self) -> Facts {
        let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        Facts { never_cut: self.never_cut, clients: count(self.clients), connected: count(self.connected) }
    }
}

impl Control {
    /// What the desk must know of an action: one question to each shard.
    pub(super) async fn facts_of(&self, action: &Action) -> Result<Facts, RespondFailure> {
        let (meant, directory) = (Meant::of(self, action)?, self.directory());
        let answers = self.ask_all(move |view| look(view, &meant, &directory)).await?;
        Ok(self.finish(action, answers))
    }

    /// [`Control::facts_of`] for a thread that may wait.
    pub(super) fn blocking_facts_of(&self, action: &Action) -> Result<Facts, RespondFailure> {
        let (meant, directory) = (Meant::of(self, action)?, self.directory());
        let answers = self.blocking_ask_all(move |view| look(view, &meant, &directory))?;
        Ok(self.finish(action, answers))
    }

    fn finish(&self, action: &Action, answers: Vec<Reach>) -> Facts {
        let mut reach = Reach::default();
        answers.into_iter().for_each(|answer| reach.add(answer));
        reach.never_cut.extend(self.never_cut_by_name(action).filter(|_| reach.never_cut.is_empty()));
        reach.facts()
    }

    /// Who is named must not be cut off even while it is away.
    fn never_cut_by_name(&self, action: &Action) -> Option<Arc<str>> {
        let name = match action {
            Action::Disconnect { client_id }
            | Action::Quarantine { client_id }
            | Action::Throttle { client_id, .. } => Arc::clone(client_id),
            Action::RevokeCredential { identity } => {
                let class = self.directory().class_of(identity).is_some_and(|class| class.never_cut);
                return class.then(|| Arc::clone(identity));
            }
            Action::Ban { subject } => match BanSubject::parse(subject).ok()? {
                BanSubject::ClientId(name) => name,
                BanSubject::Identity(name) => {
                    let class = self.directory().class_of(&name).is_some_and(|class| class.never_cut);
                    return class.then_some(name);
                }
                _ => return None,
            },
            _ => return None,
        };
        self.is_never_cut(&name).then_some(name)
    }

    /// Whom an action would meet, sessions of those who are away included: some questions to each shard, in pages.
    pub(super) async fn reach_of(&self, action: &Action) -> Result<Reach, RespondFailure> {
        let (meant, directory) = (Arc::new(Meant::of(self, action)?), self.directory());
        let filter: Option<Arc<str>> = match action {
            Action::Freeze { filter, .. } => Some(Arc::clone(filter)),
            _ => None,
        };
        let mut reach = Reach::default();
        for shard in 0..self.shards() {
            let mut after = None;
            loop {
                let (meant, directory, filter) = (Arc::clone(&meant), directory.clone(), filter.clone());
                let (page, next) = self
                    .ask(shard, move |view| page_of(view, after, &meant, &directory, filter.as_deref()))
                    .await?;
                reach.add(page);
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        let named = self.never_cut_by_name(action);
        reach.never_cut.extend(named.filter(|_| reach.never_cut.is_empty()));
        Ok(reach)
    }

    /// The fingerprint of the certificate that a client's session has.
    pub(super) fn blocking_certificate_of(&self, client_id: &str) -> Option<Arc<str>> {
        let wanted = client_id.to_owned();
        let asked: Result<_, Unavailable> =
            self.blocking_ask(home_shard(client_id, self.shards()), move |view| {
                let now = view.now();
                view.broker().session(now, &wanted).and_then(|session| session.who.certificate)
            });
        asked.ok().flatten()
    }
}

/// One look at the connections of a shard.
fn look(view: &mut super::super::ShardView<'_>, meant: &Meant, directory: &Directory) -> Reach {
    let mut reach = Reach { connected: view.broker().stats().connected, ..Reach::default() };
    if matches!(meant, Meant::Nobody) {
        return reach;
    }
    view.disconnect_where(ReasonCode::SUCCESS, "", |conn: ConnInfo<'_>| {
        if meant.meets(conn.principal, Some(conn.address.ip()), Some(conn.listener)) {
            reach.clients += 1;
            reach.meet(conn.principal, directory);
        }
        // It only looks.
        false
    });
    reach
}

/// One page of the sessions of a shard, and where the next begins.
fn page_of(
    view: &mut super::super::ShardView<'_>,
    after: Option<u32>,
    meant: &Meant,
    directory: &Directory,
    filter: Option<&str>,
) -> (Reach, Option<u32>) {
    let mut reach = match after {
        // Connections know the listener and the address that they have now.
        None => look(view, meant, directory),
        Some(_) => Reach::default(),
    };
    let now = view.now();
    let page = view.broker().sessions_page(now, after, PAGE);
    for session in page.sessions {
        let who = &session.who;
        if let Some(filter) = filter {
            let subscriptions = view.broker().subscriptions_of(&who.client_id).unwrap_or_default();
            let met =
                subscriptions.iter().filter(|one| ravelin_identify::overlaps(plain(&one.filter), filter));
            let met = met.count() as u64;
            if met > 0 {
                reach.sessions += 1;
                reach.clients += u64::from(session.link.is_some());
                reach.subscriptions += met;
                reach.meet(who, directory);
            }
        } else if meant.meets(who, who.address.map(|address| address.ip()), None) {
            reach.sessions += 1;
            reach.subscriptions += session.subscriptions as u64;
            if session.link.is_none() {
                reach.meet(who, directory);
            }
        }
    }
    (reach, page.next)
}

/// The filter of a shared subscription without its group.
fn plain(filter: &str) -> &str {
    filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')).map_or(filter, |(_, filter)| filter)
}
