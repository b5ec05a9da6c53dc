//! The ceiling of the node's memory: how near it is, and what is given up in which order.
//!
//! | stage | from | what is given up |
//! |---|---|---|
//! | calm | | nothing |
//! | refusing | 85 % | new connections; remembered routes, which are found again |
//! | shedding | 92 % | QoS 0: what waits in queues, what is published, what would make a connection's buffer longer than 64 KiB; who publishes with QoS 1 or 2 is read once a second |
//! | cutting | 97 % | the connections of those who read too slowly, the longest buffers first; their sessions stay |
//!
//! A stage ends 3 % below where it began. What was acknowledged is never given up: it is kept, and acknowledging more of
//! it becomes slower.

use crate::ladder::Ladder;
use crate::log::EventSink;
use crate::shard::Clock;
use crate::shard::mailbox::Mailbox;
use ravelin_event::Event;
use std::io;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Hundredths of the ceiling at which the stages begin.
const BEGIN: [u64; 4] = [0, 85, 92, 97];
/// So many hundredths below that they end.
const SLACK: u64 = 3;
/// Measured so often at the ceiling, and so often far from it.
const NEAR: Duration = Duration::from_millis(3);
const FAR: Duration = Duration::from_millis(500);
/// Faster than this the process does not grow, in bytes a millisecond: what is left until QoS 0 is given up says when to
/// measure again.
const GROWTH_MAX: u64 = 4 << 20;

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemoryStage {
    /// There is enough.
    #[default]
    Calm,
    /// Nobody new.
    Refusing,
    /// No QoS 0.
    Shedding,
    /// Slow readers go.
    Cutting,
}

/// How the node's memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryFigures {
    /// Bytes in use, as they were measured last.
    pub used_bytes: u64,
    /// The most there were.
    pub used_bytes_high: u64,
    /// The ceiling; 0: none.
    pub ceiling_bytes: u64,
    /// What is given up.
    pub stage: MemoryStage,
}

impl MemoryStage {
    const ALL: [MemoryStage; 4] =
        [MemoryStage::Calm, MemoryStage::Refusing, MemoryStage::Shedding, MemoryStage::Cutting];

    /// Its name in events and metrics.
    pub fn name(self) -> &'static str {
        ["calm", "refusing", "shedding", "cutting"][self as usize]
    }

    fn does(self) -> &'static str {
        [
            "everything is as usual",
            "new connections are refused, routes are forgotten",
            "QoS 0 is dropped, publishers are slowed down",
            "clients that read too slowly are disconnected",
        ][self as usize]
    }
}

/// Between the thread that measures and the shards. One load and one store for each turn.
pub(crate) struct Pressure {
    stage: AtomicU8,
    /// Goes up whenever there is something to give up.
    epoch: AtomicU32,
    /// What is to be freed, in bytes.
    excess: AtomicU64,
    /// What waits in each shard, in bytes.
    waiting: Box<[AtomicU64]>,
    used: AtomicU64,
    used_high: AtomicU64,
    ceiling: AtomicU64,
}

impl Pressure {
    pub fn new(shards: usize, ceiling: u64) -> Arc<Pressure> {
        Arc::new(Pressure {
            stage: AtomicU8::new(0),
            epoch: AtomicU32::new(0),
            excess: AtomicU64::new(0),
            waiting: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            used: AtomicU64::new(0),
            used_high: AtomicU64::new(0),
            ceiling: AtomicU64::new(ceiling),
        })
    }

    pub fn set_ceiling(&self, ceiling: u64) {
        self.ceiling.store(ceiling, Ordering::Relaxed);
    }

    #[inline]
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    pub fn stage(&self) -> MemoryStage {
        MemoryStage::ALL[usize::from(self.stage.load(Ordering::Relaxed)).min(3)]
    }

    /// What one shard is to free.
    pub fn share_of_excess(&self) -> u64 {
        self.excess.load(Ordering::Relaxed).div_ceil(self.waiting.len() as u64)
    }

    #[inline]
    pub fn set_waiting(&self, shard: u16, bytes: usize) {
        self.waiting[usize::from(shard)].store(bytes as u64, Ordering::Relaxed);
    }

    pub fn figures(&self) -> MemoryFigures {
        MemoryFigures {
            used_bytes: self.used.load(Ordering::Relaxed),
            used_bytes_high: self.used_high.load(Ordering::Relaxed),
            ceiling_bytes: self.ceiling.load(Ordering::Relaxed),
            stage: self.stage(),
        }
    }
}

/// Tells stages from measurements.
///
/// What is freed stays with the allocator for a while, and is used again before the process grows: so the resident bytes
/// alone would keep a stage up for ever. What waited when the process was largest and no longer waits is counted off, as
/// far as it was not given back to the operating system.
#[derive(Default)]
struct Gauge {
    stage: MemoryStage,
    peak_resident: u64,
    peak_waiting: u64,
}

impl Gauge {
    /// The bytes in use, and the stage by them.
    fn measure(&mut self, resident: u64, waiting: u64, ceiling: u64) -> (u64, MemoryStage) {
        // A little growth is not demand that the freed memory could not meet.
        let grown = resident > self.peak_resident + ceiling / 128;
        if grown || waiting >= self.peak_waiting {
            (self.peak_resident, self.peak_waiting) = (resident, waiting);
        }
        let freed = self.peak_waiting - waiting;
        let given_back = self.peak_resident.saturating_sub(resident);
        let used = resident.saturating_sub(freed.saturating_sub(given_back));
        let hundredths = |bytes: u64| bytes.saturating_mul(100) / ceiling.max(1);
        let reached = |stage: &MemoryStage| {
            let begin = BEGIN[*stage as usize];
            hundredths(used) >= if *stage <= self.stage { begin.saturating_sub(SLACK) } else { begin }
        };
        let stage = MemoryStage::ALL.into_iter().rev().find(reached).unwrap_or_default();
        self.stage = if ceiling == 0 { MemoryStage::Calm } else { stage };
        (used, self.stage)
    }
}

/// The thread that measures.
pub(crate) struct MemoryThread {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// What the thread tells.
pub(crate) struct Told {
    pub clock: Clock,
    pub pressure: Arc<Pressure>,
    pub ladder: Arc<Mutex<Ladder>>,
    pub mailboxes: Arc<[Arc<Mailbox>]>,
    pub sink: EventSink,
}

impl MemoryThread {
    pub fn start(told: Told) -> io::Result<MemoryThread> {
        let (stop, stopped) = channel();
        let mut gauge = Gauge::default();
        let thread = std::thread::Builder::new().name("ravelin-memory".into()).spawn(move || {
            let mut rest = NEAR;
            while stopped.recv_timeout(rest) == Err(RecvTimeoutError::Timeout) {
                rest = told.look(&mut gauge);
            }
        })?;
        Ok(MemoryThread { stop, thread })
    }

    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

impl Told {
    /// Measures, and tells who must know. Returns when to measure again.
    fn look(&self, gauge: &mut Gauge) -> Duration {
        let Some(resident) = resident_bytes() else { return FAR };
        let pressure = &self.pressure;
        let ceiling = pressure.ceiling.load(Ordering::Relaxed);
        let waiting = pressure.waiting.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum();
        let before = gauge.stage;
        let (used, stage) = gauge.measure(resident, waiting, ceiling);
        pressure.used.store(used, Ordering::Relaxed);
        pressure.used_high.fetch_max(used, Ordering::Relaxed);
        let calm_below = ceiling / 100 * BEGIN[MemoryStage::Cutting as usize];
        pressure.excess.store(used.saturating_sub(calm_below), Ordering::Relaxed);
        if stage != before {
            pressure.stage.store(stage as u8, Ordering::Relaxed);
            let mut ladder = self.ladder.lock().unwrap_or_else(PoisonError::into_inner);
            ladder.set_short_of_memory(stage >= MemoryStage::Refusing);
            drop(ladder);
            let event = Event::MemoryStage {
                stage: stage.name(),
                used_bytes: used,
                ceiling_bytes: ceiling,
                does: stage.does().into(),
            };
            self.sink.emit(self.clock.now().wall_ms, event);
        }
        if stage != before || stage >= MemoryStage::Shedding {
            pressure.epoch.fetch_add(1, Ordering::Relaxed);
            self.mailboxes.iter().for_each(|mailbox| mailbox.wake().ring());
        }
        let left = (ceiling / 100 * BEGIN[MemoryStage::Shedding as usize]).saturating_sub(used);
        if ceiling == 0 { FAR } else { Duration::from_millis(left / GROWTH_MAX).clamp(NEAR, FAR) }
    }
}

/// Resident bytes of the process.
fn resident_bytes() -> Option<u64> {
    kilobytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// What the machine has, or what the control group may have, whichever is less.
pub(crate) fn machine_bytes() -> u64 {
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| kilobytes(&text, "MemTotal:"));
    let group = std::fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| {
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?.to_owned();
        group_max(&path, |file| std::fs::read_to_string(file).ok())
    });
    total.unwrap_or(u64::MAX).min(group.unwrap_or(u64::MAX))
}

/// The bytes of a line of kilobytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

/// The least of the limits of a control group and of those above it.
fn group_max(path: &str, read: impl Fn(&str) -> Option<String>) -> Option<u64> {
    let mut least = None;
    let mut path = path.trim_end_matches('/');
    loop {
        let limit = read(&format!("/sys/fs/cgroup{path}/memory.max"));
        if let Some(bytes) = limit.and_then(|text| text.trim().parse::<u64>().ok()) {
            least = Some(least.map_or(bytes, |other: u64| other.min(bytes)));
        }
        match path.rfind('/') {
            Some(at) => path = &path[..at],
            None => return least,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn stages_follow_the_bytes_with_slack() {
        let mut gauge = Gauge::default();
        let mut stage = |used: u64| gauge.measure(used * MIB, 0, 100 * MIB).1;
        assert_eq!(stage(84), MemoryStage::Calm);
        assert_eq!(stage(85), MemoryStage::Refusing);
        assert_eq!(stage(82), MemoryStage::Refusing, "not at once");
        assert_eq!(stage(81), MemoryStage::Calm);
        assert_eq!(stage(120), MemoryStage::Cutting);
        assert_eq!(stage(93), MemoryStage::Shedding);
        assert_eq!(stage(50), MemoryStage::Calm);
    }

    #[test]
    fn what_was_freed_and_stays_with_the_allocator_does_not_count() {
        let mut gauge = Gauge::default();
        assert_eq!(gauge.measure(98 * MIB, 60 * MIB, 100 * MIB).1, MemoryStage::Cutting);
        // Everything was delivered; the process is as large as before.
        assert_eq!(gauge.measure(98 * MIB, 0, 100 * MIB), (38 * MIB, MemoryStage::Calm));
        // Half of it went back to the operating system: the same.
        assert_eq!(gauge.measure(68 * MIB, 0, 100 * MIB), (38 * MIB, MemoryStage::Calm));
        // It grows beyond what it was: that counts, whatever waits.
        assert_eq!(gauge.measure(99 * MIB, 10 * MIB, 100 * MIB), (99 * MIB, MemoryStage::Cutting));
    }

    #[test]
    fn no_ceiling_is_never_near() {
        assert_eq!(Gauge::default().measure(1 << 40, 0, 0).1, MemoryStage::Calm);
    }

    #[test]
    fn the_machine_and_its_control_groups_are_read() {
        assert_eq!(kilobytes("MemFree: 1 kB\nMemTotal:       16000 kB\n", "MemTotal:"), Some(16_384_000));
        let read = |file: &str| match file {
            "/sys/fs/cgroup/a/b/memory.max" => Some("max\n".into()),
            "/sys/fs/cgroup/a/memory.max" => Some("4096\n".to_owned()),
            _ => None,
        };
        assert_eq!(group_max("/a/b", read), Some(4096));
        assert_eq!(group_max("/", read), None);
        assert!(machine_bytes() > MIB && resident_bytes().is_some_and(|bytes| bytes > MIB));
    }
}
