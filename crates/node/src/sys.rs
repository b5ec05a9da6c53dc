//! `$SYS`: what the node counts, under the names that Mosquitto gave them and its users' dashboards read.

use crate::ladder::Ladder;
use crate::metrics::{self, Figures};
use crate::shard::Clock;
use crate::shard::mailbox::{Mail, Mailbox};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the figures are gathered from.
pub(crate) struct SystemFigures {
    clock: Clock,
    figures: Arc<[Arc<Mutex<Figures>>]>,
    ladder: Arc<Mutex<Ladder>>,
    loads: Loads,
}

/// The thread that publishes them.
pub(crate) struct SysThread {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl SysThread {
    /// `None` if `$SYS` is off.
    pub fn start(
        mut system: SystemFigures,
        mailbox: Arc<Mailbox>,
        interval: Duration,
    ) -> std::io::Result<Option<SysThread>> {
        if interval.is_zero() {
            return Ok(None);
        }
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("ravelin-sys".into()).spawn(move || {
            // The first figures come soon: whoever subscribes after the start finds them retained.
            let mut wait = Duration::from_millis(10).min(interval);
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                mailbox.post(Mail::System(system.topics()));
                wait = interval;
            }
        })?;
        Ok(Some(SysThread { stop, thread }))
    }

    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}

impl SystemFigures {
    pub fn new(
        clock: Clock,
        figures: Arc<[Arc<Mutex<Figures>>]>,
        ladder: Arc<Mutex<Ladder>>,
    ) -> SystemFigures {
        SystemFigures { clock, figures, ladder, loads: Loads::default() }
    }

    fn topics(&mut self) -> Vec<(String, String)> {
        let all: Vec<Figures> =
            self.figures.iter().map(|one| *one.lock().unwrap_or_else(PoisonError::into_inner)).collect();
        let high = self.ladder.lock().unwrap_or_else(PoisonError::into_inner).connections_high();
        let now_ms = self.clock.now().mono_ms;
        let total = metrics::sum(&all);
        let mut topics = Vec::new();
        push_figures(&mut topics, &total, u64::from(high), now_ms / 1000);
        self.loads.push(&mut topics, &total, now_ms);
        topics
    }
}

fn push_figures(topics: &mut Vec<(String, String)>, total: &Figures, high: u64, uptime_s: u64) {
    let stats = &total.stats;
    let mut push = |name: &str, value: String| topics.push((format!("$SYS/broker/{name}"), value));
    // No number: what an unauthenticated reader learns of a version serves an attacker first.
    push("version", "ravelin".into());
    push("uptime", format!("{uptime_s} seconds"));
    let offline = stats.sessions.saturating_sub(stats.connected);
    for (name, value) in [
        ("clients/total", stats.sessions),
        ("clients/maximum", high),
        ("clients/connected", stats.connected),
        ("clients/active", stats.connected),
        ("clients/disconnected", offline),
        ("clients/inactive", offline),
        ("clients/expired", stats.sessions_expired),
        ("messages/received", stats.packets_received),
        ("messages/sent", stats.packets_sent),
        ("publish/messages/received", stats.publish_received),
        ("publish/messages/sent", stats.publish_sent),
        ("publish/messages/dropped", stats.publish_dropped),
        ("publish/bytes/received", stats.publish_bytes_received),
        ("publish/bytes/sent", stats.publish_bytes_sent),
        ("bytes/received", stats.bytes_received),
        ("bytes/sent", stats.bytes_sent),
        ("subscriptions/count", stats.subscriptions),
        ("shared_subscriptions/count", stats.shared_subscriptions),
        ("retained messages/count", stats.retained),
        ("messages/stored", stats.queued + stats.retained),
        ("store/messages/count", stats.queued + stats.retained),
        ("store/messages/bytes", stats.queued_bytes + stats.retained_bytes),
        ("heap/current", resident_bytes()),
    ] {
        push(name, value.to_string());
    }
}

/// Memory of the process, in bytes; 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    kib * 1024
}

/// Moving averages, per minute, over 1, 5 and 15 minutes.
#[derive(Default)]
struct Loads {
    at_ms: u64,
    last: [u64; 9],
    averages: [[f64; 3]; 9],
}

const LOADS: [&str; 9] = [
    "messages/received",
    "messages/sent",
    "publish/received",
    "publish/sent",
    "publish/dropped",
    "bytes/received",
    "bytes/sent",
    "sockets",
    "connections",
];

impl Loads {
    fn push(&mut self, topics: &mut Vec<(String, String)>, total: &Figures, now_ms: u64) {
        let stats = &total.stats;
        let counts = [
            stats.packets_received,
            stats.packets_sent,
            stats.publish_received,
            stats.publish_sent,
            stats.publish_dropped,
            stats.bytes_received,
            stats.bytes_sent,
            total.counters.accepted,
            total.counters.accepted.saturating_sub(refused(total)),
        ];
        let elapsed_s = now_ms.saturating_sub(self.at_ms).max(1) as f64 / 1000.0;
        self.at_ms = now_ms;
        for (index, count) in counts.into_iter().enumerate() {
            let per_minute = count.saturating_sub(self.last[index]) as f64 * 60.0 / elapsed_s;
            self.last[index] = count;
            for (average, minutes) in self.averages[index].iter_mut().zip([1.0, 5.0, 15.0]) {
                let keep = (-elapsed_s / (60.0 * minutes)).exp();
                *average = per_minute + keep * (*average - per_minute);
            }
            for (average, window) in self.averages[index].iter().zip(["1min", "5min", "15min"]) {
                topics.push((format!("$SYS/broker/load/{}/{window}", LOADS[index]), format!("{average:.2}")));
            }
        }
    }
}

fn refused(total: &Figures) -> u64 {
    let counters = &total.counters;
    counters.refused_ladder
        + counters.refused_proxy
        + counters.refused_tls
        + counters.refused_websocket
        + counters.refused_connect
        + counters.refused_deadline
        + counters.refused_authentication
        + counters.refused_busy
        + counters.refused_core
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_mosquitto() {
        let mut topics = Vec::new();
        push_figures(&mut topics, &Figures::default(), 0, 7);
        Loads::default().push(&mut topics, &Figures::default(), 1000);
        for name in ["version", "clients/connected", "retained messages/count", "load/messages/received/1min"]
        {
            assert!(topics.iter().any(|(topic, _)| topic == &format!("$SYS/broker/{name}")), "{name}");
        }
        assert!(resident_bytes() > 0);
    }

    #[test]
    fn a_load_settles_at_the_rate_per_minute() {
        let mut loads = Loads::default();
        let mut total = Figures::default();
        for second in 1..=1200 {
            total.stats.packets_received += 10;
            loads.push(&mut Vec::new(), &total, second * 1000);
        }
        assert!((loads.averages[0][0] - 600.0).abs() < 1.0, "{:?}", loads.averages[0]);
        assert!(loads.averages[0][2] < 600.0);
    }
}
