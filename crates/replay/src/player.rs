//! Runs a recording through the detectors, in the recording's own time.

use crate::translate::METER_MS;
use crate::{Place, Row, Sink, Translator, Warning};
use ravelin_detect::{Engine, Sight};
use ravelin_event::Notice;

/// Where nothing happens, the detectors are told the time so often, as a node does.
const TICK_MS: u64 = 1_000;
/// A silence that is longer than this is a hole in the recording, and is jumped over.
const HOLE_MS: u64 = 32 * 24 * 3_600_000;

/// How much there was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows of a table, or packets of a capture.
    pub rows: u64,
    /// Things that the detectors were told.
    pub sights: u64,
    /// Messages among them whose payload they were told.
    pub observed: u64,
    /// When the first of them was, in milliseconds since the Unix epoch.
    pub first_ms: u64,
    /// And the last.
    pub last_ms: u64,
}

/// A sink that hands everything to the detectors, and what they say to `say`.
///
/// Time goes on through gaps, so that a silence is noticed, and stops where the recording does.
pub struct Player<S, W> {
    engine: Engine,
    translator: Translator,
    tally: Tally,
    now_ms: Option<u64>,
    tick_ms: u64,
    say: S,
    warn: W,
}

impl<S: FnMut(Notice), W: FnMut(Warning)> Player<S, W> {
    /// One that plays to this engine, which is told the messages to the topics that its settings name, as in a node.
    pub fn new(engine: Engine, say: S, warn: W) -> Player<S, W> {
        let watched = engine.settings().topics().map(str::to_owned).collect();
        Player {
            engine,
            translator: Translator::new(watched),
            tally: Tally::default(),
            now_ms: None,
            tick_ms: 0,
            say,
            warn,
        }
    }

    /// The recording has ended.
    pub fn finish(mut self) -> (Engine, Tally) {
        if let Some(now_ms) = self.now_ms {
            // What was counted in the last part of a second belongs to it.
            self.pass_to(now_ms + if self.translator.is_metering() { METER_MS } else { 0 });
            let now_ms = self.now_ms.unwrap_or(now_ms);
            self.engine.handle_tick(now_ms);
            self.drain();
        }
        (self.engine, self.tally)
    }

    /// How much there was so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Lets time pass up to `at_ms`; what is late counts as now.
    pub fn pass_to(&mut self, at_ms: u64) {
        let Some(now_ms) = self.now_ms else {
            self.now_ms = Some(at_ms);
            self.tally.first_ms = at_ms;
            self.tally.last_ms = at_ms;
            self.tick_ms = at_ms - at_ms % METER_MS + METER_MS;
            return;
        };
        if at_ms <= now_ms {
            return;
        }
        if at_ms - now_ms > HOLE_MS {
            (self.warn)(Warning {
                place: Place::Event(self.tally.rows),
                column: "t",
                what: format!("{} days without anything are left out", (at_ms - now_ms) / 86_400_000),
            });
            self.tick_ms = at_ms - at_ms % METER_MS;
        }
        while self.tick_ms <= at_ms {
            let tick_ms = self.tick_ms;
            // A node has woken to harvest its meters: that is a tick, too.
            let metering = self.translator.is_metering();
            self.translator.handle_time(tick_ms);
            self.drain();
            self.engine.handle_tick(tick_ms);
            self.drain();
            self.tick_ms = if metering || self.translator.is_metering() {
                tick_ms + METER_MS
            } else {
                (tick_ms + TICK_MS).min((at_ms - at_ms % METER_MS).max(tick_ms) + METER_MS)
            };
        }
        self.now_ms = Some(at_ms);
        self.tally.last_ms = at_ms;
    }

    fn drain(&mut self) {
        while let Some((at_ms, sight)) = self.translator.poll_sight() {
            self.tally.sights += 1;
            self.tally.observed += u64::from(matches!(sight, Sight::Observed { .. }));
            self.engine.handle(at_ms, &sight);
        }
        while let Some(notice) = self.engine.poll_notice() {
            (self.say)(notice);
        }
    }
}

impl<S: FnMut(Notice), W: FnMut(Warning)> Sink for Player<S, W> {
    fn row(&mut self, row: &Row<'_>, _label: Option<&str>) {
        self.tally.rows += 1;
        self.pass_to(row.at_us / 1000);
        self.translator.handle_row(row);
        self.drain();
    }

    fn sight(&mut self, at_ms: u64, sight: Sight) {
        self.tally.rows += 1;
        self.pass_to(at_ms);
        self.tally.sights += 1;
        self.engine.handle(self.now_ms.unwrap_or(at_ms), &sight);
        self.drain();
    }

    fn warn(&mut self, warning: Warning) {
        (self.warn)(warning);
    }
}
