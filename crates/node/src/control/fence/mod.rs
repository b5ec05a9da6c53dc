//! What is closed from outside: the operating system's firewall, listeners, the node itself.
//!
//! A closed listener keeps its socket, since a port may not be opened again once the sandbox is closed: whoever
//! connects is let go at once, and the order can be taken back.

mod stop;

pub use stop::{FENCED_FILE, StopReason};
pub(crate) use stop::{refuse_if_fenced, seal};

use super::{Control, ShardView, Unavailable};
use crate::config::Network;
use crate::firewall::guard::{self, Spared};
use crate::firewall::rules::{BLOCKED_MAX, Blocked, PORTS_MAX, disjoint};
use crate::firewall::{Agent, Dropped, Firewall, FirewallView};
use ravelin_event::Event;
use ravelin_mqtt::ReasonCode;
use ravelin_respond::Action;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What the firewall still drops so long after the start, and nobody has ordered again, nobody wants any more.
const SETTLE: Duration = Duration::from_secs(10);
/// How long acknowledgements of those who are to be cut off are waited for.
const DRAIN_MAX: Duration = Duration::from_secs(2);
const DRAIN_STEP: Duration = Duration::from_millis(20);

/// Why something was not closed or not opened again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FenceFailure {
    /// It cannot be, and what to do about it.
    #[error("{0}")]
    Invalid(String),
    /// A shard did not answer: something may still be open.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The firewall works, and refused this; what was dropped before still is.
    #[error("the firewall did not take it: {0}")]
    Firewall(String),
    /// The known state could not be written; nothing was stopped.
    #[error("failed to write {path}: {error}")]
    State {
        /// The file.
        path: String,
        /// Why.
        error: String,
    },
    /// The node goes on: what was closed to stop it is open again, as far as it says.
    #[error("{cause}; the node goes on, and {listeners}")]
    NotStopped {
        /// Why it was not stopped.
        cause: Box<FenceFailure>,
        /// How its listeners are.
        listeners: &'static str,
    },
}

/// What is closed.
#[derive(Default)]
pub(crate) struct Fence {
    closed: Mutex<Closed>,
    /// Addresses that are connected to the control lane, and how often.
    lane: Mutex<BTreeMap<IpAddr, u32>>,
    /// The node stops in stages: it is not ready any more.
    stopping: AtomicBool,
}

#[derive(Default)]
struct Closed {
    firewall: Firewall,
    /// Networks by order, and until when (milliseconds since the Unix epoch).
    networks: BTreeMap<u64, (Network, Option<u64>)>,
    /// What an earlier node has left in the firewall, until when, and no order wants so far.
    left: Vec<(Network, Option<u64>)>,
    /// Listeners by order, as an index in the configuration's order.
    listeners: BTreeMap<u64, u16>,
}

impl Fence {
    fn lock(&self) -> MutexGuard<'_, Closed> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lane(&self) -> MutexGuard<'_, BTreeMap<IpAddr, u32>> {
        self.lane.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

impl Closed {
    /// What is to be dropped now.
    fn wanted(&mut self, now_ms: u64) -> Vec<Blocked> {
        let lasts = |until_ms: &Option<u64>| until_ms.is_none_or(|until_ms| until_ms > now_ms);
        self.networks.retain(|_, (_, until_ms)| lasts(until_ms));
        self.left.retain(|(_, until_ms)| lasts(until_ms));
        let seconds = |until_ms: u64| u32::try_from((until_ms - now_ms).div_ceil(1000)).unwrap_or(u32::MAX);
        let all = self.networks.values().chain(&self.left);
        disjoint(
            all.map(|(network, until_ms)| Blocked { network: *network, seconds: until_ms.map(seconds) })
                .collect(),
        )
    }

    /// Tells the firewall what is dropped now.
    ///
    /// # Errors
    /// Why it is not.
    fn apply(&mut self, now_ms: u64) -> Result<(), String> {
        let wanted = self.wanted(now_ms);
        self.firewall.block(wanted)
    }

    /// Takes out of what was left what no order wants; returns it.
    fn take_strays(&mut self) -> Vec<Network> {
        let ordered =
            |one: &Network| self.networks.values().any(|(network, _)| guard::covers(*network, *one));
        std::mem::take(&mut self.left)
            .into_iter()
            .map(|(network, _)| network)
            .filter(|one| !ordered(one))
            .collect()
    }
}

impl Control {
    /// Takes up the firewall's agent, which was started before the sandbox was entered, and has it block what is to be
    /// blocked by now.
    pub fn attach_firewall(&self, agent: Option<Result<Agent, String>>) {
        let config = self.config();
        let mut ports: Vec<u16> = self.0.addresses.iter().map(|address| address.port()).collect();
        ports.sort_unstable();
        ports.dedup();
        ports.truncate(PORTS_MAX);
        let mut closed = self.0.fence.lock();
        let now_ms = self.now().wall_ms;
        let left = closed.firewall.attach(agent, &config.firewall, ports);
        let until_ms = |one: &Dropped| one.seconds.map(|seconds| now_ms + u64::from(seconds) * 1000);
        closed.left = left.iter().map(|one| (one.network, until_ms(one))).collect();
        let result = closed.apply(now_ms);
        let are_left = !closed.left.is_empty();
        drop(closed);
        if let Err(error) = result
            && config.firewall.enabled
        {
            self.emit(Event::ResourceExhausted { resource: "firewall: it runs dry".into(), error });
        }
        if are_left {
            self.settle_later();
        }
    }

    /// By then, all orders that are still in force have been given again.
    fn settle_later(&self) {
        let inner = Arc::downgrade(&self.0);
        let settle = move || {
            std::thread::sleep(SETTLE);
            if let Some(inner) = inner.upgrade() {
                Control(inner).blocking_settle_firewall();
            }
        };
        if let Err(error) = std::thread::Builder::new().name("ravelin-settle".into()).spawn(settle) {
            let error = error.to_string();
            self.emit(Event::ResourceExhausted { resource: "threads".into(), error });
        }
    }

    /// Removes what the firewall drops since an earlier run and no order wants, with an event.
    pub fn blocking_settle_firewall(&self) {
        let mut closed = self.0.fence.lock();
        let strays = closed.take_strays();
        let result = closed.apply(self.now().wall_ms);
        drop(closed);
        if strays.is_empty() {
            return;
        }
        let networks: Vec<String> = strays.iter().map(Network::to_string).collect();
        let error = result.err();
        self.emit(Event::FirewallStraysRemoved { networks: networks.join(", "), error });
    }

    /// How the firewall is.
    pub fn firewall(&self) -> FirewallView {
        let enabled = self.config().firewall.enabled;
        let mut closed = self.0.fence.lock();
        let wanted = closed.wanted(self.now().wall_ms);
        closed.firewall.view(enabled, &wanted)
    }

    /// Somebody has connected to the control lane: the address is not blocked until [`Control::lane_left`].
    pub fn lane_joined(&self, address: IpAddr) {
        *self.0.fence.lane().entry(address.to_canonical()).or_default() += 1;
    }

    /// The connection has ended.
    pub fn lane_left(&self, address: IpAddr) {
        if let Entry::Occupied(mut entry) = self.0.fence.lane().entry(address.to_canonical()) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// Puts `action` (firewall, stop_listener) into force as order `order`, for `ttl_s` seconds where it has a
    /// time limit; says what it met. Called again with the same order, as after a restart, it changes nothing. The node itself is stopped
    /// by [`Control::blocking_stop_node`].
    pub fn blocking_fence(
        &self,
        order: u64,
        action: &Action,
        ttl_s: Option<u64>,
    ) -> Result<String, FenceFailure> {
        match action {
            Action::Firewall { network } => self.block_network(order, network, ttl_s),
            Action::StopListener { listener } => self.close_listener(order, listener),
            other => Err(FenceFailure::Invalid(format!("{other} closes nothing from outside"))),
        }
    }

    /// Takes back what the order has put into force; says what that met.
    pub fn blocking_unfence(&self, order: u64, action: &Action) -> Result<String, FenceFailure> {
        match action {
            Action::Firewall { network } => self.let_network_in(order, network),
            Action::StopListener { listener } => self.open_listener(order, listener),
            other => Err(FenceFailure::Invalid(format!("{other} cannot be taken back"))),
        }
    }

    fn block_network(&self, order: u64, network: &str, ttl_s: Option<u64>) -> Result<String, FenceFailure> {
        let network = parse(network)?;
        self.spare(network).map_err(|spared| FenceFailure::Invalid(spared.to_string()))?;
        let now_ms = self.now().wall_ms;
        let effect = {
            let mut closed = self.0.fence.lock();
            if closed.networks.len() >= BLOCKED_MAX && !closed.networks.contains_key(&order) {
                return Err(FenceFailure::Invalid(format!(
                    "{BLOCKED_MAX} networks are blocked; take one back first"
                )));
            }
            let until_ms = ttl_s.map(|seconds| now_ms.saturating_add(seconds.saturating_mul(1000)));
            closed.networks.insert(order, (network, until_ms));
            match closed.apply(now_ms) {
                Ok(()) => format!("packets are dropped by nftables ({})", closed.firewall.place()),
                Err(why) if closed.firewall.is_active() => {
                    closed.networks.remove(&order);
                    return Err(FenceFailure::Firewall(why));
                }
                Err(why) => {
                    let wanted = closed.wanted(now_ms);
                    let text = closed.firewall.text(&wanted);
                    format!("dry run, nothing is dropped: {why}; nft would be told: {text}")
                }
            }
        };
        // Their packets are dropped: the connections would only end with their keep alive.
        let ended = self.blocking_ask_all(move |view| {
            view.disconnect_where(ReasonCode::ADMINISTRATIVE_ACTION, "blocked", |conn| {
                network.contains(conn.address.ip())
            })
        });
        // At the start no shard serves yet, and nobody is connected.
        let ended: usize = ended.unwrap_or_default().iter().sum();
        Ok(format!("{network}: {effect}; {ended} connections ended"))
    }

    fn let_network_in(&self, order: u64, network: &str) -> Result<String, FenceFailure> {
        let network = parse(network)?;
        let mut closed = self.0.fence.lock();
        let now_ms = self.now().wall_ms;
        closed.networks.remove(&order);
        match closed.apply(now_ms) {
            // The order stays undone: what is dropped is settled with the next change, or by its own time limit.
            Err(why) if closed.firewall.is_active() => return Err(FenceFailure::Firewall(why)),
            Err(why) => return Ok(format!("dry run, {network} was not blocked: {why}")),
            Ok(()) => {}
        }
        let still = closed.wanted(now_ms).into_iter().find(|one| guard::overlap(one.network, network));
        Ok(match still {
            Some(one) => format!("{network} is not blocked by this order any more; {} still is", one.network),
            None => format!("{network} is not blocked any more"),
        })
    }

    /// Whether a network may be blocked. The agent asks most of this again.
    fn spare(&self, network: Network) -> Result<(), Spared> {
        guard::check(network, &self.config().firewall.never, &guard::own_addresses())?;
        match self.0.fence.lane().keys().find(|address| network.contains(**address)) {
            Some(address) => Err(Spared::Lane(network, *address)),
            None => Ok(()),
        }
    }

    fn close_listener(&self, order: u64, name: &str) -> Result<String, FenceFailure> {
        let index = self.listener_index(name)?;
        self.0.fence.lock().listeners.insert(order, index);
        self.blocking_ask_all(move |view| view.close_listener(index))?;
        let ended = self.drain(move |listener| listener == index, "the listener was closed")?;
        Ok(format!("listener {name} is closed; {ended} connections ended"))
    }

    fn open_listener(&self, order: u64, name: &str) -> Result<String, FenceFailure> {
        let index = self.listener_index(name)?;
        let mut closed = self.0.fence.lock();
        closed.listeners.remove(&order);
        if closed.listeners.values().any(|other| *other == index) {
            return Ok(format!("listener {name} stays closed by another order"));
        }
        drop(closed);
        self.blocking_ask_all(move |view| view.open_listeners(&|listener| listener == index))?;
        Ok(format!("listener {name} is open"))
    }

    fn listener_index(&self, name: &str) -> Result<u16, FenceFailure> {
        let config = self.config();
        let found = config.listeners.iter().position(|listener| listener.name == name);
        found.and_then(|at| u16::try_from(at).ok()).ok_or_else(|| {
            let names: Vec<&str> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
            FenceFailure::Invalid(format!("there is no listener {name:?}; there are {}", names.join(", ")))
        })
    }

    /// Ends the connections of some listeners: nothing more is taken of what they publish, and when their acknowledgements are out or the time for that is over, and those
    /// of classes that are never cut off last.
    fn drain(
        &self,
        is_meant: impl Fn(u16) -> bool + Send + Sync + Clone + 'static,
        detail: &'static str,
    ) -> Result<usize, FenceFailure> {
        let mut ended = 0;
        for last in [false, true] {
            let until = Instant::now() + DRAIN_MAX;
            loop {
                let meant = is_meant.clone();
                let unsettled: usize =
                    self.blocking_ask_all(move |view| view.drain_listeners(&meant, last))?.iter().sum();
                if unsettled == 0 || Instant::now() >= until {
                    break;
                }
                std::thread::sleep(DRAIN_STEP);
            }
            let meant = is_meant.clone();
            let cut = move |view: &mut ShardView<'_>| view.cut_listeners(&meant, last, detail);
            ended += self.blocking_ask_all(cut)?.iter().sum::<usize>();
        }
        Ok(ended)
    }
}

fn parse(network: &str) -> Result<Network, FenceFailure> {
    let parsed = network.parse::<Network>().map(Network::to_canonical);
    parsed.map_err(|()| {
        FenceFailure::Invalid(format!(
            "{network:?} is no address or network: write 192.0.2.7 or 192.0.2.0/24"
        ))
    })
}
