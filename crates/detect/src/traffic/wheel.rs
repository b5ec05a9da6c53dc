//! What is to be looked at, and when: a timing wheel of seconds.

/// Seconds of one turn; what is later is looked at once a turn.
const SLOTS: usize = 512;

/// A timing wheel. Each thing has at most one place in it; whoever finds that it is too early puts it in again.
#[derive(Clone, Debug)]
pub struct Wheel<T> {
    slots: Vec<Vec<T>>,
    /// The last second that was looked at.
    now_s: u64,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Wheel { slots: (0..SLOTS).map(|_| Vec::new()).collect(), now_s: 0 }
    }
}

impl<T> Wheel<T> {
    /// Puts `thing` in, to come out at `at_ms`, at the latest after one turn.
    pub fn insert(&mut self, thing: T, at_ms: u64) {
        let at_s = (at_ms / 1_000 + 1).clamp(self.now_s + 1, self.now_s + SLOTS as u64 - 1);
        self.slots[at_s as usize % SLOTS].push(thing);
    }

    /// What is due up to `at_ms`, in the order of time.
    pub fn take_due(&mut self, at_ms: u64, due: &mut Vec<T>) {
        let now_s = at_ms / 1_000;
        if self.now_s == 0 {
            // Nothing was put in before the first second: one turn lies within reach of it.
            self.now_s = now_s.saturating_sub(1);
        }
        let first = (self.now_s + 1).max(now_s.saturating_sub(SLOTS as u64 - 1));
        for second in first..=now_s {
            due.append(&mut self.slots[second as usize % SLOTS]);
        }
        self.now_s = self.now_s.max(now_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_come_out_once_and_not_before_their_time() {
        let mut wheel = Wheel::default();
        let mut due = Vec::new();
        wheel.take_due(1_000_000_000, &mut due);
        wheel.insert("soon", 1_000_001_500);
        wheel.insert("later", 1_000_100_000);
        wheel.insert("much later", 1_009_000_000);
        wheel.take_due(1_000_001_000, &mut due);
        assert!(due.is_empty());
        wheel.take_due(1_000_002_900, &mut due);
        assert_eq!(due, ["soon"]);
        wheel.take_due(1_000_600_000, &mut due);
        assert_eq!(due, ["soon", "later", "much later"], "after a turn it is looked at");
        wheel.take_due(1_100_000_000, &mut due);
        assert_eq!(due.len(), 3);
    }
}
