//! The engine: hands each sight to the detectors that it concerns, and keeps what they know.

use crate::cx::Cx;
use crate::{DetectorInfo, Error, Settings, Sight, Suppression, Trust, TrustChange, connection, traffic};
use ravelin_event::{Alarm, Notice, Verification};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// All detectors, and all that they know.
pub struct Engine {
    pub(crate) cx: Cx,
    connection: connection::Shared,
    pub(crate) traffic: traffic::Shared,
    sights: u64,
    /// The next client whose trust is looked at because time has passed.
    ages_from: u32,
}

/// Figures of the engine, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EngineFigures {
    /// Sights that were handled.
    pub sights: u64,
    /// Clients that are known.
    pub clients: u64,
    /// Of those, connected as far as was seen.
    pub online: u64,
    /// Addresses that are known.
    pub sources: u64,
    /// Clients that had to make room.
    pub clients_evicted: u64,
    /// Addresses that had to make room.
    pub sources_evicted: u64,
    /// Alarms that are kept.
    pub alarms: u64,
    /// Notices that nobody took in time.
    pub notices_lost: u64,
    /// What found no place in a bounded table of the detectors of messages, or gave way there.
    pub traffic_evicted: u64,
    /// Changes that nobody took in time.
    pub changes_lost: u64,
    /// By detector.
    pub detectors: BTreeMap<Arc<str>, DetectorFigures>,
}

/// Figures of one detector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DetectorFigures {
    /// Alarms that it has raised.
    pub raised: u64,
    /// Those that were suppressed.
    pub suppressed: u64,
    /// Those that were left out because there were too many.
    pub limited: u64,
    /// Those that are open.
    pub open: u64,
}

impl Engine {
    /// One that knows nothing yet. `seed` is for the hashes of its tables and sketches: random in a node, fixed in a test.
    pub fn new(settings: Settings, seed: u64) -> Engine {
        let settings = Arc::new(settings);
        Engine {
            connection: connection::Shared::new(&settings, seed),
            traffic: traffic::Shared::new(&settings, seed),
            cx: Cx::new(settings, seed),
            sights: 0,
            ages_from: 0,
        }
    }

    /// What it goes by.
    pub fn settings(&self) -> &Settings {
        &self.cx.settings
    }

    /// Goes by other settings from now on. The sizes of its tables stay as they are.
    pub fn set_settings(&mut self, settings: Settings) {
        self.cx.settings = Arc::new(settings);
    }

    /// Something was seen at `at_ms`, in milliseconds since the Unix epoch. Sights come in order, give or take some
    /// milliseconds.
    pub fn handle(&mut self, at_ms: u64, sight: &Sight) {
        self.sights += 1;
        let cx = &mut self.cx;
        cx.now_ms = cx.now_ms.max(at_ms);
        if cx.first_ms == 0 {
            cx.first_ms = at_ms;
        }
        let slot = cx.resolve(at_ms, sight);
        connection::handle(&mut self.connection, cx, at_ms, slot, sight);
        traffic::handle(&mut self.traffic, cx, at_ms, slot, sight);
    }

    /// Time has passed. At least once a second.
    pub fn handle_tick(&mut self, at_ms: u64) {
        self.cx.now_ms = self.cx.now_ms.max(at_ms);
        connection::tick(&mut self.connection, &mut self.cx, at_ms);
        traffic::tick(&mut self.traffic, &mut self.cx, at_ms);
        self.cx.tick_episodes(at_ms);
        let clients = self.cx.clients.len() as u32;
        for _ in 0..clients.div_ceil(300).min(clients) {
            self.ages_from = if self.ages_from >= clients { 0 } else { self.ages_from };
            self.cx.trust_ages(at_ms, self.ages_from);
            self.ages_from += 1;
        }
    }

    /// What is to be told.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        self.cx.episodes.notices.pop_front()
    }

    /// A change of a client's trust that crosses a band (0 to 29, 30 to 79, 80 to 100) or a multiple of ten.
    pub fn poll_trust(&mut self) -> Option<TrustChange> {
        self.cx.trust_changes.pop_front()
    }

    /// A detector of which alarms were left out since the last call, because there were too many, and how many.
    pub fn poll_limited(&mut self) -> Option<(Arc<str>, u64)> {
        self.cx.episodes.take_limited()
    }

    /// The alarm with this number, if it is kept.
    pub fn alarm(&self, id: u64) -> Option<&Arc<Alarm>> {
        self.cx.episodes.alarms.find(id)
    }

    /// All alarms that are kept, newest first: those that are open, and the recent ones.
    pub fn alarms(&self) -> impl Iterator<Item = &Arc<Alarm>> {
        self.cx.episodes.alarms.newest_first()
    }

    /// Keeps alarms from being told; those that are open already go on. Returns the suppression's number.
    ///
    /// # Errors
    /// [`Error::SuppressesAll`] or [`Error::TooManySuppressions`].
    pub fn suppress(&mut self, suppression: Suppression) -> Result<u64, Error> {
        self.cx.suppress(suppression)
    }

    /// Takes a suppression away.
    ///
    /// # Errors
    /// [`Error::NoSuchSuppression`].
    pub fn unsuppress(&mut self, id: u64) -> Result<(), Error> {
        self.cx.unsuppress(id)
    }

    /// The suppressions, oldest first.
    pub fn suppressions(&self) -> impl Iterator<Item = &Suppression> {
        self.cx.episodes.suppressions.values()
    }

    /// Says what an alarm was found to be. Who said so, and what else he said, is a matter of the record. If it was no attack,
    /// it is not held against the client any more.
    ///
    /// # Errors
    /// [`Error::NoSuchAlarm`].
    pub fn verify(
        &mut self,
        id: u64,
        verification: Verification,
        _by: &str,
        _note: &str,
    ) -> Result<(), Error> {
        self.cx.verify(id, verification)
    }

    /// How far a client can be trusted, as of the latest time that was told.
    pub fn trust(&self, client_id: &str) -> Option<Trust> {
        self.cx.clients.find(client_id).map(|slot| self.cx.trust_of(slot))
    }

    /// The trust of all clients, in the order in which they became known. Each costs some microseconds: take a page.
    pub fn trusts(&self) -> impl Iterator<Item = (&Arc<str>, Trust)> {
        self.trusts_from(0)
    }

    /// The same without the first `from` of them.
    pub fn trusts_from(&self, from: u32) -> impl Iterator<Item = (&Arc<str>, Trust)> {
        (from..self.cx.clients.len() as u32).map(|slot| (self.cx.clients.key(slot), self.cx.trust_of(slot)))
    }

    /// What there is to know of all detectors.
    pub fn detectors() -> &'static [DetectorInfo] {
        static ALL: OnceLock<Vec<DetectorInfo>> = OnceLock::new();
        ALL.get_or_init(|| [connection::DETECTORS, traffic::DETECTORS].concat())
    }

    /// Its figures.
    pub fn figures(&self) -> EngineFigures {
        let cx = &self.cx;
        let mut detectors: BTreeMap<Arc<str>, DetectorFigures> = BTreeMap::new();
        for (name, raised, suppressed, limited) in cx.episodes.counts() {
            let figures = DetectorFigures { raised, suppressed, limited, open: 0 };
            detectors.insert(Arc::clone(name), figures);
        }
        for (name, open) in cx.episodes.open_by_detector() {
            detectors.entry(name).or_default().open = open;
        }
        EngineFigures {
            sights: self.sights,
            clients: cx.clients.len() as u64,
            online: cx.online.into(),
            sources: cx.sources.len() as u64,
            clients_evicted: cx.clients.evicted(),
            sources_evicted: cx.sources.evicted(),
            alarms: cx.episodes.alarms.len() as u64,
            notices_lost: cx.episodes.notices_lost,
            traffic_evicted: self.traffic.evictions(),
            changes_lost: cx.changes_lost,
            detectors,
        }
    }
}
