//! What the detectors find, how fast, and what they say falsely: measured, not claimed.
//!
//! * [`recorded`]: labelled recordings, run through the detectors as `ravelin detect replay` does;
//! * [`fleet`]: a fleet in code that reboots, roams, loses its network and rolls out firmware, over virtual days, with
//!   attacks at times that are known;
//! * [`live`]: the same recordings, and attack tools, against a real node over TCP;
//! * [`score`]: alarms beside labels, the same for both, and for a real node.

pub mod fleet;
pub mod live;
pub mod recorded;
pub mod score;

use ravelin_detect::{Engine, Settings};
use ravelin_event::Notice;
use ravelin_replay::{Player, Row, Sink, Warning};
use score::{Alarms, Truth};
use std::cell::RefCell;

/// The seed of the detectors: their alarms are the same in every run.
pub const SEED: u64 = 7;

/// Something that is played: what was true, and what was said.
#[derive(Default)]
pub struct Played {
    /// The labels.
    pub truth: Truth,
    /// The alarms.
    pub alarms: Alarms,
}

/// Plays rows with their labels: the detectors see the rows, [`Truth`] sees the labels.
pub fn play(feed: impl FnOnce(&mut dyn FnMut(&Row<'_>, &str))) -> Played {
    let alarms = RefCell::new(Alarms::default());
    let mut truth = Truth::default();
    let say = |notice: Notice| alarms.borrow_mut().hear(&notice);
    let warn = |warning: Warning| panic!("{warning}");
    let mut player = Player::new(Engine::new(Settings::default(), SEED), say, warn);
    feed(&mut |row, label| {
        truth.see(row, label);
        player.row(row, None);
    });
    player.finish();
    Played { truth, alarms: alarms.into_inner() }
}
