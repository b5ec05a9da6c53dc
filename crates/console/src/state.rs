//! What every handler can reach: the node's [`Control`] and the lane's own state.

use crate::buckets::Buckets;
use crate::events::Recent;
use crate::metrics::Calls;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::tokens::Tokens;
use axum::extract::FromRef;
use ravelin_node::control::Control;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::Semaphore;

/// The state of the API. Cheap to clone; a handler takes it, or only the [`Control`], by axum's `State`.
#[derive(Clone)]
pub struct ApiState {
    /// The node.
    pub control: Control,
    pub(crate) lane: Arc<Lane>,
}

/// The lane's own state.
pub(crate) struct Lane {
    settings: RwLock<Arc<Settings>>,
    pub tokens: Tokens,
    pub recent: Recent,
    pub calls: Calls,
    pub requests: Mutex<Buckets>,
    pub failures: Mutex<Buckets>,
    pub in_flight: Arc<Semaphore>,
    /// An operator asked that no new work be sent here.
    pub draining: AtomicBool,
    pub counters: LaneCounters,
}

/// What the lane counts of itself.
#[derive(Default)]
pub(crate) struct LaneCounters {
    pub connections: AtomicU64,
    pub connections_refused: AtomicU64,
    pub handshakes_failed: AtomicU64,
    pub unauthenticated: AtomicU64,
    pub forbidden: AtomicU64,
    pub throttled: AtomicU64,
}

impl ApiState {
    /// The state of a lane that goes by `settings`.
    pub(crate) fn new(control: Control, settings: Settings) -> ApiState {
        let limits = &settings.limits;
        let lane = Lane {
            tokens: Tokens::load(control.records()),
            recent: Recent::new(limits.events_max as usize),
            calls: Calls::default(),
            requests: Mutex::new(Buckets::new(
                limits.request_rate_per_address,
                limits.request_burst_per_address,
            )),
            failures: Mutex::new(Buckets::new(
                limits.failure_rate_per_address,
                limits.failure_burst_per_address,
            )),
            in_flight: Arc::new(Semaphore::new(limits.requests_in_flight_max as usize)),
            draining: AtomicBool::new(false),
            counters: LaneCounters::default(),
            settings: RwLock::new(Arc::new(settings)),
        };
        control.add_watcher(lane.recent.watcher());
        ApiState { control, lane: Arc::new(lane) }
    }

    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.lane.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes by other settings from the next request on.
    pub(crate) fn set_settings(&self, settings: Settings) {
        let limits = &settings.limits;
        lock(&self.lane.requests).set(limits.request_rate_per_address, limits.request_burst_per_address);
        lock(&self.lane.failures).set(limits.failure_rate_per_address, limits.failure_burst_per_address);
        *self.lane.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// The time in seconds since the Unix epoch.
    pub fn now_s(&self) -> u64 {
        self.control.now().wall_ms / 1000
    }
}

impl FromRef<ApiState> for Control {
    fn from_ref(state: &ApiState) -> Control {
        state.control.clone()
    }
}

/// Does what may wait (for the store, for a lock that is held long, for a large computation) on a thread of its own, so
/// that the lane answers others in the meantime.
///
/// # Errors
/// If it panicked.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::internal("the node met an error of its own"))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
