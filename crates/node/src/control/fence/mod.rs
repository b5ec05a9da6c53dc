//! What is closed from outside: the operating system's firewall, listeners, the node itself.
//!
//! A closed listener keeps its socket, since a port may not be opened again once the sandbox is closed: whoever
//! connects is let go at once, and the order can be taken back.

mod stop;

pub use stop::FENCED_FILE;
pub(crate) use stop::refuse_if_fenced;

use super::{Control, ShardView, Unavailable};
use crate::config::{Config, Network};
use crate::firewall::rules::{BLOCKED_MAX, Blocked, PORTS_MAX, disjoint};
use crate::firewall::{Agent, Firewall, FirewallView};
use ravelin_event::Event;
use ravelin_mqtt::ReasonCode;
use ravelin_respond::Action;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Coarser networks are not blocked: that is a mistake, or an attack by way of whoever gives orders.
const PREFIX_MIN: [u8; 2] = [8, 16];
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
    /// The known state could not be written; nothing was stopped.
    #[error("failed to write {path}: {error}")]
    State {
        /// The file.
        path: String,
        /// Why.
        error: String,
    },
}

/// What is closed.
#[derive(Default)]
pub(crate) struct Fence {
    closed: Mutex<Closed>,
    /// The node stops in stages: it is not ready any more.
    stopping: AtomicBool,
}

#[derive(Default)]
struct Closed {
    firewall: Firewall,
    /// Networks by order, and until when (milliseconds since the Unix epoch).
    networks: BTreeMap<u64, (Network, Option<u64>)>,
    /// Listeners by order, as an index in the configuration's order.
    listeners: BTreeMap<u64, u16>,
}

impl Fence {
    fn lock(&self) -> MutexGuard<'_, Closed> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

impl Closed {
    /// Tells the firewall what is blocked now. Whether it really is.
    fn apply(&mut self, now_ms: u64) -> bool {
        self.networks.retain(|_, (_, until_ms)| until_ms.is_none_or(|until_ms| until_ms > now_ms));
        let seconds = |until_ms: &u64| u32::try_from((until_ms - now_ms).div_ceil(1000)).unwrap_or(u32::MAX);
        let blocked = self.networks.values().map(|(network, until_ms)| Blocked {
            network: *network,
            seconds: until_ms.as_ref().map(seconds),
        });
        self.firewall.block(disjoint(blocked.collect()))
    }

    fn effect(&self) -> String {
        match self.firewall.problem() {
            None => format!("packets are dropped by nftables ({})", self.firewall.place()),
            Some(why) => {
                format!("dry run, nothing is dropped: {why}; nft would be told: {}", self.firewall.text())
            }
        }
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
        closed.firewall.attach(agent, &config.firewall, ports);
        closed.apply(self.now().wall_ms);
        let problem = closed.firewall.problem().filter(|_| config.firewall.enabled).map(String::from);
        drop(closed);
        if let Some(error) = problem {
            self.emit(Event::ResourceExhausted { resource: "firewall: it runs dry".into(), error });
        }
    }

    /// How the firewall is.
    pub fn firewall(&self) -> FirewallView {
        let enabled = self.config().firewall.enabled;
        let mut closed = self.0.fence.lock();
        closed.apply(self.now().wall_ms);
        closed.firewall.view(enabled)
    }

    /// Puts `action` (firewall, stop_listener, stop_node) into force as order `order`, for `ttl_s` seconds where it has a
    /// time limit; says what it met. Called again with the same order, as after a restart, it changes nothing.
    pub fn blocking_fence(
        &self,
        order: u64,
        action: &Action,
        ttl_s: Option<u64>,
    ) -> Result<String, FenceFailure> {
        match action {
            Action::Firewall { network } => self.block_network(order, network, ttl_s),
            Action::StopListener { listener } => self.close_listener(order, listener),
            Action::StopNode {} => self.fence_node(order),
            other => Err(FenceFailure::Invalid(format!("{other} closes nothing from outside"))),
        }
    }

    /// Takes back what the order has put into force; says what that met.
    pub fn blocking_unfence(&self, order: u64, action: &Action) -> Result<String, FenceFailure> {
        match action {
            Action::Firewall { network } => {
                let mut closed = self.0.fence.lock();
                closed.networks.remove(&order);
                closed.apply(self.now().wall_ms);
                Ok(format!("{network} is not blocked by this order any more"))
            }
            Action::StopListener { listener } => self.open_listener(order, listener),
            other => Err(FenceFailure::Invalid(format!("{other} cannot be taken back"))),
        }
    }

    fn block_network(&self, order: u64, network: &str, ttl_s: Option<u64>) -> Result<String, FenceFailure> {
        let network = blockable(&self.config(), &self.0.addresses, network).map_err(FenceFailure::Invalid)?;
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
            closed.apply(now_ms);
            closed.effect()
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

    fn close_listener(&self, order: u64, name: &str) -> Result<String, FenceFailure> {
        let index = self.listener_index(name)?;
        self.0.fence.lock().listeners.insert(order, index);
        self.blocking_ask_all(move |view| view.close_listener(index, true))?;
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
        self.blocking_ask_all(move |view| view.close_listener(index, false))?;
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

    /// Ends the connections of some listeners: when their acknowledgements are out or the time for that is over, and those
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
                    self.blocking_ask_all(move |view| view.unsettled(&meant))?.iter().sum();
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

/// The network of an order, if it may be blocked.
fn blockable(config: &Config, own: &[std::net::SocketAddr], text: &str) -> Result<Network, String> {
    let network: Network = text
        .parse()
        .map_err(|()| format!("{text:?} is no address or network: write 192.0.2.7 or 192.0.2.0/24"))?;
    let network = network.to_canonical();
    let (address, prefix) = (network.address(), network.prefix());
    let least = PREFIX_MIN[usize::from(address.is_ipv6())];
    if prefix < least {
        return Err(format!("{network} is too wide to be blocked: /{least} at least"));
    }
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Err(format!("{network} is this machine, nobody, or everybody: it is not blocked"));
    }
    let overlaps = |other: &Network| network.contains(other.address()) || other.contains(address);
    if let Some(never) = config.firewall.never.iter().find(|never| overlaps(never)) {
        return Err(format!("{network} has addresses of {never}, which `[firewall] never` protects"));
    }
    if let Some(own) = own.iter().find(|own| network.contains(own.ip())) {
        return Err(format!("{network} has the node's own address {}", own.ip()));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_not_be_blocked_is_not() {
        let mut config = Config::dangerous_open("127.0.0.1:0".parse().unwrap(), None, 1).unwrap();
        config.firewall.never = vec!["10.1.0.0/16".parse().unwrap()];
        let own = ["192.0.2.1:8883".parse().unwrap()];
        for (text, why) in [
            ("nonsense", "no address"),
            ("0.0.0.0/0", "too wide"),
            ("::/8", "too wide"),
            ("127.0.0.1", "this machine"),
            ("224.0.0.1", "everybody"),
            ("10.1.2.3", "never"),
            ("10.0.0.0/8", "never"),
            ("192.0.2.0/24", "own address"),
        ] {
            let refused = blockable(&config, &own, text).unwrap_err();
            assert!(refused.contains(why), "{text}: {refused}");
        }
        assert_eq!(blockable(&config, &own, "198.51.100.7").unwrap().to_string(), "198.51.100.7/32");
        assert_eq!(blockable(&config, &own, "2001:db8::7").unwrap().prefix(), 64);
    }
}
