//! The shard's next deadline, as a timer of the kernel's that wakes the poll.
//!
//! A timeout given to every poll is set and cleared with each of them, thousands of times a second, though the deadlines
//! hardly change. This timer is only set when the next deadline is earlier than the one that it is set for.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

pub(crate) struct Alarm {
    timer: OwnedFd,
    /// When it rings; `None` when it is not set.
    at_ms: Option<u64>,
}

impl Alarm {
    /// A timer that is not set. It rings as a readable event of `token`, which needs no reading: the registration is
    /// edge-triggered, and every ring is an edge.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Alarm> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        registry.register(&mut SourceFd(&timer.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Alarm { timer, at_ms: None })
    }

    /// Rings at `at_ms` or before.
    pub fn set(&mut self, now_ms: u64, at_ms: u64) -> io::Result<()> {
        if self.at_ms.is_some_and(|set| now_ms < set && set <= at_ms) {
            return Ok(());
        }
        let wait_ms = at_ms.saturating_sub(now_ms).max(1);
        let it_value = Timespec {
            tv_sec: i64::try_from(wait_ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: (wait_ms % 1000 * 1_000_000) as i64,
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        self.at_ms = Some(now_ms.saturating_add(wait_ms));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll};
    use std::time::{Duration, Instant};

    #[test]
    fn it_rings_every_time_that_it_is_set() {
        let mut poll = Poll::new().expect("a poll");
        let mut alarm = Alarm::new(poll.registry(), Token(7)).expect("a timer");
        let mut events = Events::with_capacity(4);
        for now_ms in [100, 200, 300] {
            // A later deadline does not put off an earlier one.
            alarm.set(now_ms, now_ms + 5).expect("set");
            alarm.set(now_ms, now_ms + 60_000).expect("set");
            let started = Instant::now();
            poll.poll(&mut events, Some(Duration::from_secs(20))).expect("polled");
            assert_eq!(events.iter().next().map(|event| event.token()), Some(Token(7)));
            assert!(started.elapsed() >= Duration::from_millis(4));
        }
    }
}
