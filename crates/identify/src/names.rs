//! Strings that many devices share are kept once.

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use std::sync::Arc;

/// A set of shared strings. What nobody refers to any more is swept out as the set grows.
#[derive(Debug)]
pub(crate) struct Names {
    set: HashSet<Arc<str>, FixedState>,
    sweep_at: usize,
}

/// Below this many names nothing is swept.
const SWEEP_MIN: usize = 1024;

impl Names {
    pub(crate) fn new(seed: u64) -> Names {
        Names { set: HashSet::with_hasher(FixedState::with_seed(seed)), sweep_at: SWEEP_MIN }
    }

    /// The one copy of `text`.
    pub(crate) fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.set.get(text) {
            return known.clone();
        }
        if self.set.len() >= self.sweep_at {
            self.set.retain(|name| Arc::strong_count(name) > 1);
            // Twice what is in use: sweeping costs a constant per new name.
            self.sweep_at = (self.set.len() * 2).max(SWEEP_MIN);
        }
        let name: Arc<str> = text.into();
        self.set.insert(name.clone());
        name
    }
}

/// `text` as it may be kept: no control characters, at most `max` bytes (cut at a character).
pub(crate) fn tidy(text: &str, max: usize) -> String {
    let mut kept = String::with_capacity(text.len().min(max));
    for character in text.trim().chars().filter(|character| !character.is_control()) {
        if kept.len() + character.len_utf8() > max {
            break;
        }
        kept.push(character);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_not_for_ever() {
        let mut names = Names::new(1);
        let first = names.intern("sensor");
        assert!(Arc::ptr_eq(&first, &names.intern("sensor")));
        for number in 0..10_000 {
            names.intern(&format!("gone {number}"));
        }
        assert!(names.set.len() <= 2 * SWEEP_MIN, "{} kept", names.set.len());
        assert!(Arc::ptr_eq(&first, &names.intern("sensor")));
    }

    #[test]
    fn control_characters_and_length_are_cut() {
        assert_eq!(tidy(" 1.2\r\n\u{1b}[31m ", 64), "1.2[31m");
        assert_eq!(tidy("éé", 3), "é");
    }
}
