//! Who is told of alarms, actions and events: wires what was seen to the destinations of the configuration.
//!
//! A watcher hands over what happened and never waits; `ravelin-outward` does the rest, on threads of its own. What waits for
//! a destination is in the encrypted store ([`Space::Outward`]). Monitors ([`monitor`]) get theirs over MQTT, and nothing waits.

mod monitor;
mod watcher;

pub(crate) use monitor::Monitored;

use super::{Actor, Control, Records, Space};
use crate::config::ConfigErrors;
use crate::error::Error;
use crate::log::EventSink;
use crate::shard::Clock;
use monitor::Monitor;
use ravelin_event::Event;
pub use ravelin_outward::DestinationView;
use ravelin_outward::{Host, Origin, Outward, State};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Why a destination could not be tested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OutwardFailure {
    /// There is none of that name.
    #[error("there is no destination {0:?}; `ravelin ctl outward` lists them")]
    Unknown(String),
    /// It has not arrived yet, and why.
    #[error("the test has not arrived: {0}")]
    Waits(String),
}

/// What the node has of its destinations.
#[derive(Default)]
pub(crate) struct Outwards {
    outward: OnceLock<Outward>,
    /// `None`: monitors are told of nothing.
    monitor: Arc<Mutex<Option<Monitor>>>,
}

/// What destinations need of the node: neither more nor less.
struct Kept {
    records: Records,
    sink: EventSink,
    clock: Clock,
}

impl Host for Kept {
    fn keep(&self, key: &str, value: &[u8]) {
        // A store that has failed says so itself, loudly; what waits is then in memory only.
        let _ = self.records.put(Space::Outward, key, value);
    }

    fn forget(&self, key: &str) {
        let _ = self.records.delete(Space::Outward, key);
    }

    fn now_ms(&self) -> u64 {
        self.clock.now().wall_ms
    }

    fn emit(&self, event: Event) {
        self.sink.emit(self.clock.now().wall_ms, event);
    }
}

impl Control {
    /// Takes up what waited at the last end, and begins to tell.
    pub(crate) fn open_outward(&self) -> Result<(), Error> {
        let config = self.config();
        let mut found = Vec::new();
        let settings = config.outward_settings(&mut found);
        if found.iter().any(|diagnostic| diagnostic.severity == crate::config::Severity::Error) {
            return Err(ConfigErrors(found).into());
        }
        let kept = self.records().load(Space::Outward);
        let inner = &self.0;
        let host = Kept { records: inner.records.clone(), sink: inner.sink.clone(), clock: inner.clock };
        let outward = Outward::start(self.origin(), Arc::new(host), settings, kept)
            .map_err(Error::system("start the threads that tell others"))?;
        let dumped = outward.clone();
        self.records().register(Space::Outward, move |dump| {
            dumped.dump(&mut |key, value| dump.write(key, value));
        });
        self.configure_monitor();
        self.add_watcher(Box::new(watcher::Teller::new(self.clone(), outward.clone())));
        let _ = inner.outward.outward.set(outward);
        Ok(())
    }

    /// Goes by the configuration in force, whose files were found sound.
    pub(crate) fn configure_outward(&self) {
        let Some(outward) = self.0.outward.outward.get() else { return };
        let settings = self.config().outward_settings(&mut Vec::new());
        if let Err(error) = outward.configure(settings) {
            let (resource, error) = ("threads that tell others".into(), error.to_string());
            self.emit(Event::ResourceExhausted { resource, error });
        }
        self.configure_monitor();
    }

    fn configure_monitor(&self) {
        let config = self.config();
        let configured = config.outward.iter().find(|destination| destination.monitor().is_some());
        let mut monitor = self.0.outward.monitor.lock().unwrap_or_else(PoisonError::into_inner);
        *monitor = match (configured, monitor.take()) {
            (Some(destination), Some(known)) => Some(known.configured(destination)),
            (Some(destination), None) => Some(Monitor::new(self.origin(), destination)),
            (None, _) => None,
        };
    }

    /// Ends: what waits is kept, and sent after the next start.
    pub(crate) fn close_outward(&self) {
        if let Some(outward) = self.0.outward.outward.get() {
            outward.stop();
        }
    }

    /// How each destination is doing.
    pub fn destinations(&self) -> Vec<DestinationView> {
        let mut views = self.0.outward.outward.get().map(Outward::views).unwrap_or_default();
        let monitor = self.0.outward.monitor.lock().unwrap_or_else(PoisonError::into_inner);
        views.extend(monitor.as_ref().map(Monitor::view));
        views
    }

    /// What was dropped before it was any destination's, because too much came at once.
    pub fn outward_lost(&self) -> u64 {
        self.0.outward.outward.get().map_or(0, Outward::lost)
    }

    /// Sends a test to the destination, and waits until it has arrived.
    pub fn blocking_test_destination(
        &self,
        actor: &Actor,
        name: &str,
    ) -> Result<DestinationView, OutwardFailure> {
        let result = self.try_test_destination(actor, name);
        let outcome = result.as_ref().map(|_| "").map_err(ToString::to_string);
        self.administered(
            actor,
            "outward.test",
            name,
            outcome.as_ref().map(|told| *told).map_err(String::as_str),
        );
        result
    }

    fn try_test_destination(&self, actor: &Actor, name: &str) -> Result<DestinationView, OutwardFailure> {
        {
            let mut monitor = self.0.outward.monitor.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(monitor) = monitor.as_mut().filter(|monitor| monitor.name() == name) {
                monitor.test(self, &actor.name);
                return Ok(DestinationView { state: State::Idle, ..monitor.view() });
            }
        }
        let unknown = || OutwardFailure::Unknown(name.chars().take(200).collect());
        let outward = self.0.outward.outward.get().ok_or_else(unknown)?;
        outward.blocking_test(name, &actor.name).map_err(|error| match error {
            ravelin_outward::Error::Unknown(_) => unknown(),
            error => OutwardFailure::Waits(error.to_string()),
        })
    }

    fn origin(&self) -> Origin {
        let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Origin {
            node: self.config().node.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            host: machine,
            process: std::process::id(),
        }
    }
}
