//! What the broker, this generator and the machine spend: CPU time and memory, from `/proc`.

use std::fs;
use std::time::Instant;

/// The kernel counts CPU time for user space in hundredths of a second, whatever its own clock is.
const TICKS_PER_S: f64 = 100.0;

/// One look at the machine.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// CPU seconds of the broker and its children, all threads.
    pub broker_cpu_s: f64,
    /// Resident memory of the broker and its children.
    pub broker_rss_bytes: u64,
    /// Threads of the broker and its children.
    pub broker_threads: u64,
    /// CPU seconds of this process.
    pub own_cpu_s: f64,
    /// Busy CPU seconds of all processes.
    pub machine_cpu_s: f64,
}

/// The broker to look at.
#[derive(Clone, Copy, Debug)]
pub struct BrokerProcess {
    pid: Option<u32>,
}

impl BrokerProcess {
    /// The process with this id, or none.
    pub fn new(pid: Option<u32>) -> BrokerProcess {
        BrokerProcess { pid }
    }

    /// Whether there is one to look at.
    pub fn is_known(&self) -> bool {
        self.pid.is_some()
    }

    /// Whether it runs; true when none is known.
    pub fn is_alive(&self) -> bool {
        let Some(pid) = self.pid else { return true };
        stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| state != "Z" && state != "X"))
    }

    /// Looks now.
    pub fn sample(&self) -> Sample {
        let mut sample = Sample {
            at: Instant::now(),
            broker_cpu_s: 0.0,
            broker_rss_bytes: 0,
            broker_threads: 0,
            own_cpu_s: cpu(std::process::id()).0,
            machine_cpu_s: machine_cpu_s(),
        };
        for pid in self.pid.map(family).unwrap_or_default() {
            let (cpu_s, threads) = cpu(pid);
            sample.broker_cpu_s += cpu_s;
            sample.broker_threads += threads;
            sample.broker_rss_bytes += rss_bytes(pid);
        }
        sample
    }
}

impl Sample {
    /// Seconds from `earlier` to this sample.
    pub fn since_s(&self, earlier: &Sample) -> f64 {
        (self.at - earlier.at).as_secs_f64()
    }

    /// Cores that others than the broker and this generator kept busy since `earlier`: noise.
    pub fn other_cores(&self, earlier: &Sample) -> f64 {
        let ours = self.broker_cpu_s - earlier.broker_cpu_s + self.own_cpu_s - earlier.own_cpu_s;
        ((self.machine_cpu_s - earlier.machine_cpu_s - ours) / self.since_s(earlier)).max(0.0)
    }
}

/// The process and all that descend from it.
fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(&parent) = all.get(next) {
        next += 1;
        for thread in threads(parent) {
            let children =
                fs::read_to_string(format!("/proc/{parent}/task/{thread}/children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    all
}

fn threads(pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
}

/// CPU seconds and threads. The scheduler's counters are exact to the nanosecond, but only of living threads; the process's
/// own total has them all, in steps of 10 ms.
fn cpu(pid: u32) -> (f64, u64) {
    let threads = threads(pid);
    let fine: f64 = threads.iter().filter_map(|thread| on_cpu_s(pid, *thread)).sum();
    let coarse = stat(pid).and_then(|fields| {
        Some((fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?) / TICKS_PER_S)
    });
    let ended_threads = coarse.filter(|&coarse| coarse > fine + 0.05);
    (ended_threads.unwrap_or(fine), threads.len() as u64)
}

fn on_cpu_s(pid: u32, thread: u32) -> Option<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{thread}/schedstat")).ok()?;
    Some(text.split_whitespace().next()?.parse::<f64>().ok()? / 1e9)
}

/// The fields of `/proc/PID/stat` from the state on; the name before them may contain anything.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn rss_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn machine_cpu_s() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let numbers: Vec<f64> = text
        .lines()
        .next()
        .unwrap_or("")
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    // user nice system idle iowait irq softirq: all but the two that wait.
    [0, 1, 2, 5, 6].iter().filter_map(|&index| numbers.get(index)).sum::<f64>() / TICKS_PER_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_working() {
        let this = BrokerProcess::new(Some(std::process::id()));
        assert!(this.is_alive());
        let before = this.sample();
        let mut sum = 0u64;
        while this.sample().broker_cpu_s - before.broker_cpu_s < 0.02 {
            sum = (0..10_000u64).fold(sum, |sum, value| sum.wrapping_mul(31).wrapping_add(value));
        }
        let after = this.sample();
        assert!(after.broker_rss_bytes > 100_000 && after.broker_threads >= 1, "{after:?} {sum}");
        assert!(after.machine_cpu_s >= before.machine_cpu_s);
    }

    #[test]
    fn without_a_process_nothing_is_spent() {
        let none = BrokerProcess::new(None);
        assert!(none.is_alive() && !none.is_known());
        assert_eq!(none.sample().broker_rss_bytes, 0);
        assert!(!BrokerProcess::new(Some(u32::MAX)).is_alive());
    }
}
