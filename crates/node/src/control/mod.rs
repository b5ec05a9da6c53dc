//! The control lane's side of a node: what administers it, whatever way the order came (the REST API, `$CONTROL`, a
//! signal), and what watches it.
//!
//! A [`Control`] is a handle that any thread may hold. It changes what the shards go by (by a new policy),
//! asks them ([`Control::ask`]: the answer comes before the shard reads another socket), keeps the programme's records
//! in the encrypted store ([`Records`]) and hands what happened to whoever watches ([`Watcher`]). Nothing of it is on the
//! path of a message; the data plane never takes a lock that is held here for longer than a lookup.

mod acl;
mod actor;
mod ask;
mod bans;
mod certificate;
mod credentials;
mod detect;
mod directory;
mod drill;
mod fence;
mod inventory;
mod keys;
mod lane;
mod outward;
pub(crate) mod record;
mod records;
mod respond;
mod restrict;
mod tree;
mod watch;

pub use acl::{DryRun, DryRunDone, DryRunFailure, OwnedAction};
pub use actor::{Actor, Role, Via};
pub use ask::{ConnInfo, ShardView, Unavailable};
pub use bans::{BanDone, BanFailure};
pub(crate) use detect::Detection;
pub use detect::{DetectFailure, DetectFigures};
pub(crate) use directory::Held;
pub use directory::{DirectoryFailure, Ends};
pub use drill::{Drill, DrillFailure, PREFIX as DRILL_PREFIX};
pub use fence::{FENCED_FILE, FenceFailure, StopReason};
pub(crate) use fence::{refuse_if_fenced, seal};
pub use inventory::{Arrival, Handshake, InventoryFailure};
pub use keys::{CaStatus, CertificateDone, IssuedCertificate, KeysFailure, RevokeDone, Sessions};
pub use outward::{DestinationView, OutwardFailure};
pub use records::{Dump, Records, RecordsError, Space};
pub use respond::{OrderPreview, Reach, RespondFailure, RespondFigures, TOOK_BUCKETS_S};
pub use restrict::RestrictFailure;
pub use watch::{Watched, Watcher};

pub(crate) use ask::Order;
pub(crate) use inventory::Devices;
pub(crate) use keys::{Keys, KeysThread, cached_lists};
pub(crate) use outward::{Monitored, Outwards};
pub(crate) use records::{Loading, RecordsThread, is_programme_record};
pub(crate) use respond::Responding;
pub(crate) use tree::{Requests, Tree};
pub(crate) use watch::{REST as WATCH_REST, WatchQueue, WatchThread};

use crate::config::Config;
use crate::error::Error;
use crate::ladder::{Ladder, LadderCounters, LadderLevels};
use crate::log::EventSink;
use crate::memory::{MemoryFigures, Pressure};
use crate::metrics::{self, Figures};
use crate::policy::Policy;
use crate::rates::RateFigures;
use crate::shard::Clock;
use crate::shard::mailbox::Mailbox;
use ravelin_audit::Recorder;
use ravelin_broker::Now;
use ravelin_event::{Event, Level};
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Administers a running node. Cheap to clone; one for whoever needs it.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<Inner>);

/// What the handles share.
pub(crate) struct Inner {
    pub clock: Clock,
    pub mailboxes: Arc<[Arc<Mailbox>]>,
    pub figures: Arc<[Arc<Mutex<Figures>>]>,
    pub ladder: Arc<Mutex<Ladder>>,
    pub sink: EventSink,
    pub records: Records,
    pub watch: Arc<WatchQueue>,
    /// The record of transmissions, where the node keeps state.
    pub recorder: Option<Recorder>,
    pub tree: Tree,
    pub directory: Held,
    pub seen: acl::Seen,
    /// What the shards go by now; also the lock under which it is changed.
    pub policy: Mutex<Arc<Policy>>,
    pub config: tokio::sync::watch::Sender<Arc<Config>>,
    pub addresses: Vec<SocketAddr>,
    /// The loop that runs the node, once it does.
    pub runner: Mutex<Option<Sender<Request>>>,
    pub ban_records: bans::BanRecords,
    pub devices: Devices,
    pub detection: Detection,
    pub keys: Keys,
    pub responding: Responding,
    pub pressure: Arc<Pressure>,
    pub drills: drill::Drills,
    pub fence: fence::Fence,
    pub restricting: restrict::Restricting,
    pub outward: Outwards,
}

/// What the control lane asks of the loop that runs the node.
pub(crate) enum Request {
    /// Read the configuration again; the answer says why it did not take effect.
    Reload(Option<tokio::sync::oneshot::Sender<Result<(), String>>>),
    /// Stop in order.
    Stop,
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its name in the configuration.
    pub name: String,
    /// The version of the software.
    pub version: &'static str,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// Shards.
    pub shards: usize,
    /// Whether it serves and its store works.
    pub ready: bool,
    /// Whether it is being stopped in stages.
    pub draining: bool,
    /// Name, transport and address of each listener.
    pub listeners: Vec<(String, &'static str, SocketAddr)>,
}

/// Which parts of a policy are new, so that the shards check again only what depends on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// Anything may be: certificates are verified again, users looked up, rights checked.
    Everything,
    /// Only the trust in certificates: they are verified again, and nothing else is.
    Trust,
    /// Who may do what, and who may be connected: not the trust in certificates.
    Rights,
    /// Only which topics are frozen.
    Freezes,
    /// Only what is taken from these clients, by Client Identifier.
    Clients(Arc<[Arc<str>]>),
    /// Only the posture: what new connections, new subscriptions and rates meet.
    Posture,
    /// Only what new connections and new packets meet.
    Ahead,
}

impl Control {
    /// Takes up what the store held, once it was replayed and before the first client is served. Each subject adds
    /// its line.
    pub(crate) fn open(&self) -> Result<(), Error> {
        self.open_bans()?;
        self.open_inventory();
        self.open_keys()?;
        self.open_credentials()?;
        self.open_record();
        self.open_directory()?;
        self.open_detection();
        self.open_outward()?;
        self.open_response()?;
        Ok(())
    }

    /// The time, as the shards have it.
    pub fn now(&self) -> Now {
        self.0.clock.now()
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.0.config.borrow())
    }

    /// Follows the configuration: the receiver is told of each that takes effect.
    pub fn configs(&self) -> tokio::sync::watch::Receiver<Arc<Config>> {
        self.0.config.subscribe()
    }

    /// How the node is.
    pub fn status(&self) -> Status {
        let config = self.config();
        let listeners = config.listeners.iter().zip(&self.0.addresses);
        Status {
            name: config.node.name.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: self.now().mono_ms / 1000,
            shards: self.0.mailboxes.len(),
            ready: !self.0.records.has_failed()
                && !self.0.fence.is_stopping()
                && self.0.mailboxes.iter().all(|mailbox| !mailbox.is_closed()),
            draining: self.0.fence.is_stopping(),
            listeners: listeners
                .map(|(listener, address)| (listener.name.clone(), listener.transport.name(), *address))
                .collect(),
        }
    }

    /// The figures of all shards, at most a second old.
    pub fn figures(&self) -> Figures {
        let figures = self.0.figures.iter();
        let all: Vec<Figures> =
            figures.map(|one| *one.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        metrics::sum(&all)
    }

    /// What the first rungs of the accept ladder let in and refused.
    pub fn ladder(&self) -> LadderCounters {
        self.lock_ladder().counters()
    }

    /// The configured rates, and how often each was exceeded.
    pub fn rates(&self) -> Vec<RateFigures> {
        self.policy().rates.as_ref().map(|rates| rates.figures()).unwrap_or_default()
    }

    /// How the node's memory is.
    pub fn memory(&self) -> MemoryFigures {
        self.0.pressure.figures()
    }

    /// How full the ladder is.
    pub fn ladder_levels(&self) -> LadderLevels {
        self.lock_ladder().levels()
    }

    pub(crate) fn lock_ladder(&self) -> MutexGuard<'_, Ladder> {
        self.0.ladder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The programme's records in the encrypted store.
    pub fn records(&self) -> &Records {
        &self.0.records
    }

    /// Tells the log and whoever watches what happened.
    pub fn emit(&self, event: Event) {
        self.0.sink.emit(self.now().wall_ms, event);
    }

    /// Tells that `actor` did `action` to `subject`, and how it went. Every order that changes something ends here:
    /// the record keeps these events always.
    pub fn administered(&self, actor: &Actor, action: &str, subject: &str, outcome: Result<&str, &str>) {
        let (done, detail) = match outcome {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        self.emit(Event::Administered {
            actor: actor.name.clone(),
            role: actor.role.name(),
            via: actor.via.name(),
            address: actor.address,
            action: action.into(),
            subject: subject.into(),
            done,
            detail: detail.into(),
        });
    }

    /// Changes what the shards go by: `change` gets a copy of the policy in force, which then takes its place
    /// everywhere, before the shards read another socket.
    pub(crate) fn change_policy<T>(&self, changed: Changed, change: impl FnOnce(&mut Policy) -> T) -> T {
        let mut current = self.0.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let mut policy = Policy::clone(&current);
        let result = change(&mut policy);
        *current = Arc::new(policy);
        for mailbox in self.0.mailboxes.iter() {
            mailbox.order(Order::Policy(Arc::clone(&current), changed.clone()));
        }
        result
    }

    /// What the shards go by now.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.0.policy.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the configuration again, as SIGHUP does; the error says why it did not take effect.
    pub async fn reload(&self, actor: &Actor) -> Result<(), String> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let asked = self.request(Request::Reload(Some(answer)));
        let result = match asked {
            true => answered.await.unwrap_or_else(|_| Err("the node stops".into())),
            false => Err("the node does not run as a service that could be asked".into()),
        };
        self.administered(
            actor,
            "node.reload",
            "configuration",
            result.as_ref().map(|()| "").map_err(|e| e.as_str()),
        );
        result
    }

    /// Stops the node in order; false if nobody runs it who could.
    pub fn stop(&self, actor: &Actor) -> bool {
        self.administered(actor, "node.stop", "node", Ok(""));
        self.request(Request::Stop)
    }

    /// Changes from which level on events are logged, until the next reload.
    pub fn set_log_level(&self, actor: &Actor, level: Level) {
        self.0.sink.set_level(level);
        self.administered(actor, "log.level", "log", Ok(&format!("{level:?}")));
    }

    /// From which level on events are logged.
    pub fn log_level(&self) -> Level {
        self.0.sink.level()
    }

    /// Says who reloads and stops the node when asked.
    pub(crate) fn attend(&self, runner: Sender<Request>) {
        *self.0.runner.lock().unwrap_or_else(PoisonError::into_inner) = Some(runner);
    }

    /// Whether somebody runs the node who can be asked to reload or stop it.
    pub fn is_attended(&self) -> bool {
        self.0.runner.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn request(&self, request: Request) -> bool {
        let runner = self.0.runner.lock().unwrap_or_else(PoisonError::into_inner);
        runner.as_ref().is_some_and(|runner| runner.send(request).is_ok())
    }

    /// Puts a watcher to work. It is called on the watch thread, with what happened since its last call.
    pub fn add_watcher(&self, watcher: Box<dyn Watcher>) {
        self.0.watch.add(watcher);
        self.0.sink.set_watched(Level::Debug);
    }
}
