//! Failures of one name, address or device: a level that rises with each failure, falls with time, and from some height on
//! means a pause that doubles.

/// The state of one count.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    /// Failures that are not forgotten.
    pub level: u32,
    /// Log-ins under way.
    pub pending: u32,
    /// Until when it waits.
    pub until_ms: u64,
    /// From when on the next failure is forgotten after `forget_ms`.
    since_ms: u64,
}

impl Count {
    /// Forgets a failure for each `forget_ms` that went by without a failure or a pause.
    pub fn forget(&mut self, now_ms: u64, forget_ms: u64) {
        let passed = now_ms.saturating_sub(self.since_ms) / forget_ms.max(1);
        self.level = self.level.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
        self.since_ms = self.since_ms.saturating_add(passed.saturating_mul(forget_ms)).max(self.since_ms);
    }

    /// Until when a log-in must wait; `None`: it may be tried. After a pause, one at a time is: whoever comes with many at
    /// once does not get many guesses for one pause.
    pub fn locked_until(&self, now_ms: u64, free: u32, pause_max_ms: u64) -> Option<u64> {
        if now_ms < self.until_ms {
            return Some(self.until_ms.min(now_ms + pause_max_ms));
        }
        (self.level >= free.max(1) && self.pending > 0).then_some(now_ms + 1)
    }

    /// Counts a failure; returns until when to wait, if there is a pause.
    pub fn fail(&mut self, now_ms: u64, free: u32, first_ms: u64, pause_max_ms: u64) -> Option<u64> {
        let free = free.max(1);
        // No higher than what the longest pause needs, or it would take hours to come down.
        let highest = free + (pause_max_ms / first_ms.max(1)).max(1).ilog2() + 1;
        self.level = (self.level + 1).min(highest);
        self.since_ms = now_ms;
        if self.level < free {
            return None;
        }
        let doubled = first_ms.saturating_mul(1 << (self.level - free).min(40));
        self.until_ms = self.until_ms.max(now_ms + doubled.min(pause_max_ms));
        // Nothing is forgotten while it waits.
        self.since_ms = self.until_ms;
        Some(self.until_ms)
    }

    /// When it means nothing any more: what decides which entry of a full table gives way.
    pub fn remembered_until(&self, forget_ms: u64) -> u64 {
        self.since_ms.saturating_add(u64::from(self.level).saturating_mul(forget_ms))
    }
}
