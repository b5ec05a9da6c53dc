//! What can be chosen when the store is opened.

use std::time::Duration;

/// When a batch counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When `fdatasync` returned. Survives a power failure.
    #[default]
    Commit,
    /// When it was written; `fdatasync` runs at this interval. Survives the end of the process; a power failure
    /// loses at most the interval.
    Interval(Duration),
    /// When it was written. Synced only when a segment ends, at a checkpoint, and on close.
    None,
}

/// How room for the coming writes is made, so that `fdatasync` need not write the file's metadata each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preallocate {
    /// Not at all: the file grows with each write.
    Off,
    /// Reserve blocks in chunks of this many bytes without changing the file's length.
    Reserve(u64),
    /// Write zeros ahead in chunks of this many bytes, unless a write is large against the chunk. Then a small write
    /// changes no metadata, and its sync costs about half. Each byte is written twice.
    Zero(u64),
}

/// What can be chosen when the store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a batch counts as durable. Default: [`Durability::Commit`].
    pub durability: Durability,
    /// A segment that reached this size is followed by a new one. Default: 64 MiB.
    pub segment_bytes_max: u64,
    /// How many producers there will be. Default: 1.
    pub producers: usize,
    /// How many bytes of one producer may wait for the disk. Default: 32 MiB.
    pub queue_bytes_max: usize,
    /// No checkpoint begins by itself while the log is smaller than this. Default: 64 MiB.
    pub checkpoint_bytes_min: u64,
    /// A checkpoint begins when the log is this many times what it was after the last one. Default: 3.
    pub checkpoint_growth: u64,
    /// So long after a sync, at most, the manifest records how far the log reaches, so that a later cut is detected.
    /// Default: 2 s.
    pub anchor_interval: Duration,
    /// The same after this many bytes, if that is sooner. Default: 16 MiB.
    pub anchor_bytes: u64,
    /// How room for the coming writes is made. Default: zeros, 1 MiB ahead.
    pub preallocate: Preallocate,
    /// Open a damaged log: keep what is readable, set the damaged files aside, report the loss. Default: false.
    pub accept_damage: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            durability: Durability::Commit,
            segment_bytes_max: 64 << 20,
            producers: 1,
            queue_bytes_max: 32 << 20,
            checkpoint_bytes_min: 64 << 20,
            checkpoint_growth: 3,
            anchor_interval: Duration::from_secs(2),
            anchor_bytes: 16 << 20,
            preallocate: Preallocate::Zero(1 << 20),
            accept_damage: false,
        }
    }
}
