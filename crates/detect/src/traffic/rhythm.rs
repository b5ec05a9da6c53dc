//! The rhythm of one client's messages, of all of them and topic by topic: when the next is due, what comes too early, what
//! is missing.
//!
//! Only a regular rhythm is judged: one whose gaps deviate from their mean by less than an eighth. Devices that publish on
//! change, by hand or in bursts have none, and nothing is said of them.

use crate::baseline::{KeptRhythm, Usual};

/// If more than this share of the gaps has missing messages, there is no rhythm: two in a row.
const MISSING: f32 = 0.2;
/// A gap deviates by less than this share of the mean, or there is no rhythm.
const REGULAR: f32 = 0.125;
/// What a message before half the period adds to the CUSUM: ln(0.8 / 0.01).
const EARLY: f32 = 4.382;
/// And one that is on time: ln(0.2 / 0.99).
const ON_TIME: f32 = -1.599;
/// With a new connection a device may have another rhythm (new firmware, new settings), if its first gaps are alike.
const SETTLING: u8 = 4;
/// What comes within this share of the period is one burst.
const BURST: f32 = 1.0 / 16.0;
/// Messages that may be caught up after a pause.
const CATCH_UP_MAX: f32 = 10_000.0;
/// Silence of a learned rhythm counts after so many periods: two messages are missing, and half a period has gone by.
const SILENT_PERIODS: f32 = 2.5;
/// A rhythm is known for silence after so many gaps that span [`SILENT_SPAN_MS`].
const SILENT_GAPS: u16 = 3;
/// Alarms of silence after which each more doubles the patience.
const SILENCES: u8 = 3;
/// A quarter of an hour.
const SILENT_SPAN_MS: f32 = 900_000.0;
/// The value of the CUSUM is held here: a long attack is soon forgotten when it is over.
const EARLY_MAX: f32 = 30.0;

/// The rhythm of the messages to one topic, or of all messages of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rhythm {
    /// When the last message came, in milliseconds since the Unix epoch; 0: none yet.
    pub last_ms: u64,
    /// The gap between two messages, in milliseconds.
    pub gap: Usual,
    /// The longest gap that was usual, in milliseconds.
    pub longest: f32,
    /// The CUSUM of early messages.
    pub early: f32,
    /// Early messages since the CUSUM left 0.
    pub earlies: u16,
    /// When the first of them came.
    pub first_early_ms: u64,
    /// When the last of them came.
    last_early_ms: u64,
    /// The share of gaps in which messages were missing, of the last eight or so.
    missing: f32,
    /// Messages that may come early, because so many were due during a pause.
    catch_up: f32,
    /// The next gap says nothing: the client has just connected.
    fresh: bool,
    /// Gaps of a new connection that may still begin another rhythm, and those so far.
    settling: u8,
    settled: Usual,
    /// Alarms of silence so far: from the fourth on each doubles the patience, for devices that rest now and then.
    pub silences: u8,
}

impl Rhythm {
    /// From what was kept.
    pub fn from_kept(kept: &KeptRhythm) -> Rhythm {
        Rhythm { gap: kept.gap, longest: kept.longest, fresh: true, ..Rhythm::default() }
    }

    /// The form that is kept.
    pub fn to_kept(self, topic: Option<std::sync::Arc<str>>) -> KeptRhythm {
        KeptRhythm { topic, gap: self.gap, longest: self.longest }
    }

    /// Whether the gaps are alike.
    pub fn is_regular(&self) -> bool {
        self.gap.count >= SILENT_GAPS
            && self.gap.deviation <= self.gap.mean * REGULAR
            && self.missing <= MISSING
    }

    /// A connection began: devices send at once what they have, whatever the rhythm.
    pub fn handle_connected(&mut self) {
        self.fresh = true;
        (self.settling, self.settled) = (SETTLING, Usual::default());
    }

    /// `messages` came between `first_ms` and `last_ms`. `learn`: no alarm is open. `gaps_min`: gaps after which the rhythm is
    /// judged. Returns whether the CUSUM of early messages has grown.
    pub fn handle(&mut self, messages: u64, first_ms: u64, last_ms: u64, learn: bool, gaps_min: u16) -> bool {
        let before = self.early;
        let judged = self.gap.count >= gaps_min && self.is_regular();
        if self.last_ms > 0 && first_ms >= self.last_ms {
            self.handle_gap((first_ms - self.last_ms) as f32, 1.0, first_ms, judged, learn);
        }
        if messages > 1 {
            let inner = (messages - 1) as f32;
            let gap = last_ms.saturating_sub(first_ms) as f32 / inner;
            self.handle_gap(gap, inner, first_ms, judged, learn);
        }
        self.last_ms = self.last_ms.max(last_ms);
        self.fresh = false;
        self.early > before
    }

    fn handle_gap(&mut self, gap: f32, times: f32, at_ms: u64, judged: bool, learn: bool) {
        let period = self.gap.mean;
        if judged && gap < period * 0.5 {
            if self.fresh {
                return;
            }
            if self.settling > 0 {
                if gap >= period * BURST {
                    self.settle(gap);
                }
                return;
            }
            // A client whose network stood still sends what was due meanwhile; that is no insertion.
            let caught_up = self.catch_up.min(times);
            self.catch_up -= caught_up;
            if times - caught_up < 0.5 {
                return;
            }
            // A burst is one oddity, however many came in it.
            if (at_ms.saturating_sub(self.last_early_ms) as f32) < period * BURST {
                return;
            }
            self.last_early_ms = at_ms;
            if self.early == 0.0 {
                (self.earlies, self.first_early_ms) = (0, at_ms);
            }
            self.earlies = self.earlies.saturating_add(1);
            self.early = (self.early + EARLY).min(EARLY_MAX);
            // An early gap is never learned while the rhythm holds: whoever inserts messages does not change it.
            return;
        }
        if judged {
            if !self.fresh {
                // The old rhythm holds.
                self.settling = 0;
            }
            if gap > period * 1.5 {
                self.catch_up = (self.catch_up + gap / period).min(CATCH_UP_MAX);
            }
            self.early = (self.early + ON_TIME * times).max(0.0);
        }
        if self.fresh || !learn {
            return;
        }
        self.longest = self.longest.max(gap);
        if self.gap.count >= SILENT_GAPS {
            let is_missing = f32::from(u8::from(gap > period * 1.5));
            self.missing += (is_missing - self.missing) / 8.0;
        }
        // A missing message hardly touches the rhythm of those that come, and a lasting change is followed all the same.
        let most = if self.gap.count >= 8 && self.is_regular() { period * 1.4 } else { f32::MAX };
        for _ in 0..(times as u32).min(8) {
            self.gap.learn(gap.min(most));
        }
    }

    /// A gap of a new connection is far shorter than the rhythm's.
    fn settle(&mut self, gap: f32) {
        self.settled.learn(gap);
        self.settling -= 1;
        if self.settling == 0 && self.settled.deviation <= self.settled.mean * REGULAR {
            (self.gap, self.longest, self.missing) = (self.settled, self.settled.mean, 0.0);
        }
    }

    /// When silence is an alarm, by what was learned; `None`: there is no rhythm, or it is not known for long enough.
    /// `floor_ms`: nothing is said before that.
    pub fn silent_after_ms(&self, floor_ms: u64) -> Option<u64> {
        let span = self.gap.mean * f32::from(self.gap.count);
        if !self.is_regular() || self.last_ms == 0 || span < SILENT_SPAN_MS {
            return None;
        }
        let patience = (self.gap.mean * SILENT_PERIODS + 4.0 * self.gap.deviation).max(self.longest * 1.5);
        let patience = patience * f32::from(1u16 << self.silences.saturating_sub(SILENCES).min(6));
        Some((patience as u64).max(floor_ms))
    }

    /// How many messages were due since the last.
    pub fn missing(&self, at_ms: u64) -> u64 {
        let gone = at_ms.saturating_sub(self.last_ms) as f32;
        if self.gap.mean > 0.0 { (gone / self.gap.mean + 0.25) as u64 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(rhythm: &mut Rhythm, from_ms: u64, period_ms: u64, times: u64) -> u64 {
        for nth in 0..times {
            let at = from_ms + nth * period_ms;
            rhythm.handle(1, at, at, true, 16);
        }
        from_ms + times * period_ms
    }

    #[test]
    fn messages_that_are_inserted_are_seen_at_the_third() {
        let mut rhythm = Rhythm::default();
        let at = every(&mut rhythm, 1_000, 300_000, 30);
        let mut alarmed_at = None;
        for nth in 1..=14 {
            let inserted = at - 300_000 + nth * 90_000;
            rhythm.handle(1, inserted, inserted, true, 16);
            if rhythm.early >= 11.5 && alarmed_at.is_none() {
                alarmed_at = Some(nth);
            }
        }
        assert_eq!(alarmed_at, Some(3));
        assert!((rhythm.gap.mean - 300_000.0).abs() < 1.0, "the insertions were not learned");
        every(&mut rhythm, at + 10_000_000, 300_000, 20);
        assert_eq!(rhythm.early, 0.0);
    }

    #[test]
    fn what_was_due_during_a_stall_may_be_caught_up() {
        let mut rhythm = Rhythm::default();
        let at = every(&mut rhythm, 1_000, 1_000, 100);
        rhythm.handle(1, at + 30_000, at + 30_000, true, 16);
        rhythm.handle(30, at + 30_001, at + 30_100, true, 16);
        assert_eq!(rhythm.early, 0.0);
    }

    #[test]
    fn the_first_message_of_a_connection_is_never_early() {
        let mut rhythm = Rhythm::default();
        let mut at = every(&mut rhythm, 1_000, 60_000, 40);
        for _ in 0..20 {
            rhythm.handle_connected();
            at -= 55_000;
            rhythm.handle(1, at, at, true, 16);
            at = every(&mut rhythm, at + 60_000, 60_000, 3);
        }
        assert_eq!(rhythm.early, 0.0);
    }

    #[test]
    fn a_new_connection_may_have_another_rhythm_and_a_running_one_may_not() {
        let mut rhythm = Rhythm::default();
        let at = every(&mut rhythm, 1_000, 300_000, 40);
        let mut running = rhythm;
        every(&mut running, at, 120_000, 20);
        assert!(running.early >= 11.5);
        rhythm.handle_connected();
        every(&mut rhythm, at, 120_000, 40);
        assert_eq!(rhythm.early, 0.0);
        assert!((rhythm.gap.mean - 120_000.0).abs() < 1.0);
    }

    #[test]
    fn publishing_on_change_has_no_rhythm() {
        let mut rhythm = Rhythm::default();
        let (mut at, mut seed) = (1_000u64, 7u64);
        for _ in 0..2_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            at += 1 + (seed >> 33) % 120_000;
            rhythm.handle(1, at, at, true, 16);
            assert!(rhythm.early < 11.5);
            assert!(rhythm.silent_after_ms(0).is_none_or(|after| after > 180_000), "{rhythm:?}");
        }
    }

    #[test]
    fn a_rhythm_that_was_and_is_no_more_is_not_judged() {
        let mut rhythm = Rhythm::default();
        let (mut at, mut seed) = (every(&mut rhythm, 1_000, 60_000, 30), 7u64);
        for _ in 0..5_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            at += 1 + (seed >> 33) % 600_000;
            rhythm.handle(1, at, at, true, 16);
            assert!(rhythm.early < 11.5, "{rhythm:?}");
        }
    }

    #[test]
    fn silence_needs_a_quarter_of_an_hour_of_rhythm_and_two_missing_messages() {
        let mut rhythm = Rhythm::default();
        every(&mut rhythm, 1_000, 300_100, 3);
        assert_eq!(rhythm.silent_after_ms(0), None);
        let last = 1_000 + 3 * 300_100;
        rhythm.handle(1, last, last, true, 16);
        let after = rhythm.silent_after_ms(60_000).unwrap();
        assert!((750_000..760_000).contains(&after), "{after}");
        assert_eq!(rhythm.missing(last + after), 2);
        rhythm.silences = 3;
        assert_eq!(rhythm.silent_after_ms(60_000), Some(after));
        rhythm.silences = 4;
        assert!(rhythm.silent_after_ms(0).unwrap() > 1_500_000);
    }

    #[test]
    fn a_rhythm_that_is_kept_is_judged_after_a_restart() {
        let mut rhythm = Rhythm::default();
        every(&mut rhythm, 1_000, 10_000, 100);
        let restored = Rhythm::from_kept(&rhythm.to_kept(None));
        assert_eq!((restored.gap, restored.last_ms), (rhythm.gap, 0));
        assert!(restored.is_regular());
    }
}
