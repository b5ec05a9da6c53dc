//! Who may do what: the decision on a question with all its reasons, and new rules tried on what clients did.

use super::{Control, Inner, Unavailable, Watched, Watcher};
use ravelin_broker::{Broker, Now, SessionInfo, home_shard};
use ravelin_event::Principal;
use ravelin_protect::directory::dynsec::{Batch, Connections, DynsecLimits};
use ravelin_protect::directory::{
    Action, Credentials, Listening, Published, TrafficLog, WouldRefuse, dry_run, received,
};
use ravelin_protect::rights::Explanation;
use ravelin_protect::{AccessRules, Rights};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Publishers and topics that are remembered for a dry run.
const ROWS_MAX: usize = 100_000;
/// Publishes, deliveries and subscriptions that one dry run tries.
const TRIED_MAX: usize = 1_000_000;
/// What a dry run tells of.
const REFUSED_MAX: usize = 10_000;
/// Sessions that are read at once.
const PAGE: usize = 1000;

/// What clients published, for dry runs.
pub(crate) struct Seen(Mutex<TrafficLog>);

impl Default for Seen {
    fn default() -> Seen {
        Seen(Mutex::new(TrafficLog::new(ROWS_MAX)))
    }
}

/// New rules, to be tried on what clients did.
#[derive(Clone, Debug, Default)]
pub struct DryRun {
    /// The text of a new access-rules file; `None`: the one in force.
    pub rules: Option<String>,
    /// Commands of dynamic security, to be applied to a copy of the directory.
    pub commands: Vec<Value>,
    /// Only what was done within so long; `None`: all that is remembered.
    pub within: Option<Duration>,
}

/// What a dry run found.
#[derive(Clone, Debug, Default)]
pub struct DryRunDone {
    /// Publishes, deliveries and subscriptions that were tried.
    pub tried: u64,
    /// What would be refused and is allowed now, the most frequent first.
    pub refused: Vec<WouldRefuse>,
    /// The answers to the commands.
    pub responses: Vec<Value>,
}

/// Why new rules could not be tried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DryRunFailure {
    /// The rules cannot be read.
    #[error("{0}")]
    Rules(ravelin_protect::FileErrors),
    /// The commands cannot be read.
    #[error("{0}")]
    Commands(String),
    /// A shard did not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl Control {
    /// What clients may do, by the access rules and the directory together.
    pub fn rights(&self) -> Rights {
        self.policy().rights()
    }

    /// The decision on what a client wants to do, with everything that it rests on. `client_id` is that of a session, whose
    /// certificate then counts too; or else of a client that might connect as `identity` (`None`: by the same name; empty: as
    /// nobody).
    pub async fn explain(
        &self,
        client_id: &str,
        identity: Option<&str>,
        action: OwnedAction,
    ) -> Result<Explanation, Unavailable> {
        let wanted = client_id.to_string();
        let found = self
            .ask(home_shard(client_id, self.shards()), move |view| {
                let now = view.now();
                view.broker().session(now, &wanted).map(|session| session.who)
            })
            .await?;
        let who = match (found, identity) {
            (Some(who), None) => who,
            (Some(who), Some(identity)) if who.identity.as_deref() == Some(identity) => who,
            (_, identity) => {
                let mut who = Principal::anonymous(client_id);
                who.identity =
                    Some(identity.unwrap_or(client_id)).filter(|name| !name.is_empty()).map(Arc::from);
                // One that might connect: not one of which the certificate was forgotten.
                who.address = Some(([127, 0, 0, 1], 0).into());
                who
            }
        };
        Ok(self.rights().explain(&who, action.as_ref()))
    }

    /// Tries new rules on what clients published, subscribed to and were sent. Nothing changes. For a thread that may wait.
    pub fn dry_run(&self, new: DryRun) -> Result<DryRunDone, DryRunFailure> {
        let old = self.rights();
        let mut rights = old.clone();
        if let Some(text) = &new.rules {
            let rules = AccessRules::parse(text, "rules").map_err(DryRunFailure::Rules)?;
            rights.access = Arc::new(rules);
        }
        let mut responses = Vec::new();
        if !new.commands.is_empty() {
            let payload = json!({ "commands": new.commands }).to_string();
            let batch = Batch::parse(payload.as_bytes(), DynsecLimits::default());
            let mut batch = batch.map_err(|answer| {
                let error = answer["responses"][0]["error"].as_str().unwrap_or_default();
                DryRunFailure::Commands(error.to_string())
            })?;
            // What proves an identity is no matter of rights.
            batch.hash_passwords(|_| Ok(Credentials::default()));
            let outcome = batch.apply(&rights.directory, &Connections::new());
            rights.directory = outcome.directory;
            responses = outcome.response["responses"].as_array().cloned().unwrap_or_default();
        }
        let listening = self.listening()?;
        let now_s = (self.now().wall_ms / 1000) as u32;
        let since_s = new.within.map_or(0, |within| now_s.saturating_sub(within.as_secs() as u32));
        let known: HashMap<&str, &Principal> =
            listening.iter().map(|client| (&*client.who.client_id, &client.who)).collect();
        let seen = self.0.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut traffic = seen.since(since_s, |client_id| known.get(client_id).map(|who| (*who).clone()));
        drop(seen);
        traffic.extend(received(&traffic, &listening, now_s, TRIED_MAX));
        let refused = dry_run(&old, &rights, &traffic, REFUSED_MAX);
        Ok(DryRunDone { tried: traffic.len() as u64, refused, responses })
    }

    /// Every session and what it has subscribed to.
    fn listening(&self) -> Result<Vec<Listening>, Unavailable> {
        let mut all = Vec::new();
        self.blocking_each_session(
            |broker, session| {
                let found = broker.subscriptions_of(&session.who.client_id).unwrap_or_default().into_iter();
                let filters = found.map(|one| (one.filter, one.options.qos as u8)).collect();
                Some(Listening { who: session.who, filters })
            },
            |listening| all.push(listening),
        )?;
        Ok(all)
    }

    /// Has every session looked at on its shard, a page at a time, and what is found `taken`. For a thread that may wait.
    pub(super) fn blocking_each_session<T: Send + 'static>(
        &self,
        look: impl Fn(&Broker, SessionInfo) -> Option<T> + Copy + Send + 'static,
        mut taken: impl FnMut(T),
    ) -> Result<(), Unavailable> {
        for shard in 0..self.shards() {
            let mut after = None;
            loop {
                let (found, next) = self.blocking_ask(shard, move |view| {
                    let now = view.now();
                    let page = view.broker().sessions_page(now, after, PAGE);
                    let broker = &*view.broker();
                    let sessions = page.sessions.into_iter();
                    (sessions.filter_map(|session| look(broker, session)).collect::<Vec<T>>(), page.next)
                })?;
                found.into_iter().for_each(&mut taken);
                match next {
                    Some(_) => after = next,
                    None => break,
                }
            }
        }
        Ok(())
    }
}

/// Remembers what clients publish.
pub(super) struct Recorder(pub Weak<Inner>);

impl Watcher for Recorder {
    fn watch(&mut self, _: Now, batch: &[Watched], _: u64) {
        let Some(inner) = self.0.upgrade() else { return };
        for seen in batch {
            let Watched::Flows(at_ms, flows) = seen else { continue };
            let last_s = (at_ms / 1000) as u32;
            let mut log = inner.seen.0.lock().unwrap_or_else(PoisonError::into_inner);
            // What found no place of its own is nobody's.
            for flow in flows.iter().filter(|flow| !flow.client_id.is_empty()) {
                log.published(Published {
                    client_id: &flow.client_id,
                    identity: flow.identity.as_ref(),
                    topic: &flow.topic,
                    qos: flow.qos.iter().rposition(|count| *count > 0).unwrap_or(0) as u8,
                    retain: flow.retained > 0,
                    count: flow.messages,
                    last_s,
                });
            }
        }
    }
}

/// An action whose topic is its own, to be sent to another thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnedAction {
    /// Publish to a topic.
    Publish {
        /// The topic.
        topic: String,
        /// The QoS.
        qos: u8,
        /// Whether the message is to be retained.
        retain: bool,
    },
    /// Be delivered a message of a topic.
    Receive {
        /// The topic.
        topic: String,
    },
    /// Subscribe to a filter, with `$share/group/` if it is shared.
    Subscribe {
        /// The filter.
        filter: String,
        /// The QoS.
        qos: u8,
    },
    /// Unsubscribe from a filter.
    Unsubscribe {
        /// The filter.
        filter: String,
    },
}

impl OwnedAction {
    fn as_ref(&self) -> Action<'_> {
        match self {
            OwnedAction::Publish { topic, qos, retain } => {
                Action::Publish { topic, qos: *qos, retain: *retain }
            }
            OwnedAction::Receive { topic } => Action::Receive { topic },
            OwnedAction::Subscribe { filter, qos } => {
                let (group, filter) = shared(filter);
                Action::Subscribe { filter, group, qos: *qos }
            }
            OwnedAction::Unsubscribe { filter } => Action::Unsubscribe { filter: shared(filter).1 },
        }
    }
}

fn shared(filter: &str) -> (Option<&str>, &str) {
    match filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/')) {
        Some((group, filter)) => (Some(group), filter),
        None => (None, filter),
    }
}
