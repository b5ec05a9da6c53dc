//! Time, as an argument.

/// A moment, on both clocks. The shell reads them once a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds on a clock that never jumps; all deadlines are on it.
    pub mono_ms: u64,
    /// Milliseconds since the Unix epoch; only for what must be understood after a restart.
    pub wall_ms: u64,
}

impl Now {
    /// A deadline on the monotonic clock, as the wall clock's time.
    pub(crate) fn wall_of(self, mono_ms: u64) -> u64 {
        if mono_ms >= self.mono_ms {
            self.wall_ms.saturating_add(mono_ms - self.mono_ms)
        } else {
            self.wall_ms.saturating_sub(self.mono_ms - mono_ms)
        }
    }

    /// A wall-clock time, as a deadline on the monotonic clock; the past becomes now.
    pub(crate) fn mono_of(self, wall_ms: u64) -> u64 {
        self.mono_ms + wall_ms.saturating_sub(self.wall_ms)
    }
}
