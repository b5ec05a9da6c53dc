//! What waits for one destination: in order, bounded in entries and bytes. What is least bad and oldest goes first when there
//! is no room.

use ravelin_event::Severity;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes that an entry takes beside its text.
const OVERHEAD: usize = 160;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Entries.
    pub entries_max: usize,
    /// Bytes of their texts, with what holds them.
    pub bytes_max: usize,
}

impl Default for SpoolLimits {
    /// 10,000 entries, 16 MiB.
    fn default() -> SpoolLimits {
        SpoolLimits { entries_max: 10_000, bytes_max: 16 << 20 }
    }
}

/// One thing that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number: rises with each, of one destination.
    pub seq: u64,
    /// When it happened, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// How bad it is.
    pub severity: Severity,
    /// The form that it was written in.
    pub form: u8,
    /// As it is sent.
    pub body: Arc<str>,
}

/// What waits for one destination.
#[derive(Debug)]
pub struct Spool {
    entries: BTreeMap<u64, Entry>,
    by_severity: [BTreeSet<u64>; 5],
    bytes: usize,
    limits: SpoolLimits,
    next: u64,
    /// Up to here it is being sent, and stays.
    under_way: u64,
}

impl Spool {
    /// Nothing waits; the first number is `first`.
    pub fn new(limits: SpoolLimits, first: u64) -> Spool {
        Spool {
            entries: BTreeMap::new(),
            by_severity: Default::default(),
            bytes: 0,
            limits,
            next: first.max(1),
            under_way: 0,
        }
    }

    /// The number that the next entry gets.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Entries that wait, and their bytes.
    pub fn waiting(&self) -> (usize, usize) {
        (self.entries.len(), self.bytes)
    }

    /// When the oldest that waits happened.
    pub fn oldest_ms(&self) -> Option<u64> {
        self.entries.values().next().map(|entry| entry.at_ms)
    }

    /// Everything that waits, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }

    /// Goes by other limits from the next entry on.
    pub fn set_limits(&mut self, limits: SpoolLimits) {
        self.limits = limits;
    }

    /// Numbers go on from `next`: what is before it was given out once.
    pub fn skip_to(&mut self, next: u64) {
        self.next = self.next.max(next);
    }

    /// Takes an entry under its own number, which is at least [`Spool::next`]. Returns what had to go: perhaps itself.
    pub fn push(&mut self, entry: Entry) -> Vec<u64> {
        debug_assert!(entry.seq >= self.next, "numbers rise");
        self.next = self.next.max(entry.seq) + 1;
        self.bytes += entry.body.len() + OVERHEAD;
        self.by_severity[entry.severity as usize].insert(entry.seq);
        self.entries.insert(entry.seq, entry);
        let mut gone = Vec::new();
        while self.entries.len() > self.limits.entries_max || self.bytes > self.limits.bytes_max {
            let after = self.under_way + 1;
            let least = self.by_severity.iter().find_map(|seqs| seqs.range(after..).next().copied());
            let Some(seq) = least else { break };
            self.remove(seq);
            gone.push(seq);
        }
        gone
    }

    /// The first entries, at most so many and (but for the first) so many bytes. They stay until [`Spool::done`] or
    /// [`Spool::forget`], and cannot be dropped meanwhile.
    pub fn take(&mut self, entries_max: usize, bytes_max: usize) -> Vec<Entry> {
        let mut batch: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        for entry in self.entries.values().take(entries_max.max(1)) {
            bytes += entry.body.len();
            if !batch.is_empty() && bytes > bytes_max {
                break;
            }
            batch.push(entry.clone());
        }
        self.under_way = batch.last().map_or(0, |entry| entry.seq);
        batch
    }

    /// What was up to `seq` has arrived.
    pub fn done(&mut self, seq: u64) {
        while let Some(first) = self.entries.keys().next().copied().filter(|first| *first <= seq) {
            self.remove(first);
        }
        self.under_way = 0;
    }

    /// Takes one out that must not be sent.
    pub fn forget(&mut self, seq: u64) {
        self.remove(seq);
        self.under_way = 0;
    }

    fn remove(&mut self, seq: u64) {
        if let Some(entry) = self.entries.remove(&seq) {
            self.bytes -= entry.body.len() + OVERHEAD;
            self.by_severity[entry.severity as usize].remove(&seq);
        }
    }
}

impl Entry {
    /// For the store: form, severity, time, text.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![self.form, self.severity as u8];
        bytes.extend(self.at_ms.to_le_bytes());
        bytes.extend(self.body.as_bytes());
        bytes
    }

    /// What [`Entry::encode`] wrote; `None`: it is something else.
    pub(crate) fn decode(seq: u64, bytes: &[u8]) -> Option<Entry> {
        let (&[form, severity], rest) = bytes.split_first_chunk()?;
        let (at_ms, body) = rest.split_first_chunk::<8>()?;
        let severity = match severity {
            0 => Severity::Informational,
            1 => Severity::Low,
            2 => Severity::Medium,
            3 => Severity::High,
            4 => Severity::Critical,
            _ => return None,
        };
        let body = std::str::from_utf8(body).ok()?.into();
        Some(Entry { seq, at_ms: u64::from_le_bytes(*at_ms), severity, form, body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(seq: u64, severity: Severity) -> Entry {
        Entry { seq, at_ms: seq, severity, form: 1, body: "x".repeat(40).into() }
    }

    fn seqs(spool: &Spool) -> Vec<u64> {
        spool.entries().map(|entry| entry.seq).collect()
    }

    #[test]
    fn the_oldest_informational_go_first_and_what_is_under_way_stays() {
        let mut spool = Spool::new(SpoolLimits { entries_max: 3, bytes_max: 1 << 20 }, 1);
        for (seq, severity) in [(1, Severity::High), (2, Severity::Informational), (3, Severity::Low)] {
            assert!(spool.push(entry(seq, severity)).is_empty());
        }
        assert_eq!(spool.push(entry(4, Severity::Informational)), [2]);
        assert_eq!(spool.push(entry(5, Severity::Informational)), [4]);
        assert_eq!(spool.push(entry(6, Severity::High)), [5]);
        assert_eq!(spool.push(entry(7, Severity::Informational)), [7], "itself, being the least");
        assert_eq!(spool.take(2, 1 << 20).iter().map(|entry| entry.seq).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(spool.push(entry(8, Severity::Critical)), [6], "not 3, which is being sent");
        spool.done(3);
        assert_eq!(seqs(&spool), [8]);
        assert_eq!(spool.waiting(), (1, 40 + OVERHEAD));
    }

    #[test]
    fn bytes_are_bounded_too_and_a_batch_has_at_least_one() {
        let mut spool = Spool::new(SpoolLimits { entries_max: 100, bytes_max: 3 * (40 + OVERHEAD) }, 1);
        for seq in 1..=10 {
            spool.push(entry(seq, Severity::Low));
        }
        assert_eq!(seqs(&spool), [8, 9, 10]);
        assert_eq!(spool.take(10, 1).len(), 1);
        assert_eq!(spool.take(10, 80).len(), 2);
    }

    #[test]
    fn what_is_kept_comes_back() {
        let entry = entry(7, Severity::Medium);
        assert_eq!(Entry::decode(7, &entry.encode()), Some(entry.clone()));
        for cut in 0..10 {
            assert_eq!(Entry::decode(7, &entry.encode()[..cut]), None);
        }
    }
}
