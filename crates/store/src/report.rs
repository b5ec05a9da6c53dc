//! What was found when the log was opened.

use crate::KeyId;
use std::fmt;

/// What recovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Records that are replayed.
    pub records: u64,
    /// Bytes of those records, without their length prefixes.
    pub bytes: u64,
    /// Segments that hold them.
    pub segments: u64,
    /// True when the store did not exist before.
    pub created: bool,
    /// True when the store had been closed in order.
    pub closed_cleanly: bool,
    /// An unfinished write at the end of the last segment, which was cut off. What a crash leaves; nothing that was
    /// reported durable can be in it, unless the disk lied.
    pub torn_tail: Option<TornTail>,
    /// What was altered or lost. Only ever non-empty with `Options::accept_damage`.
    pub damage: Vec<Damage>,
    /// The master keys that the live segments use.
    pub keys: Vec<KeyId>,
}

/// An unfinished write at the end of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub segment: u64,
    /// Where its sound part ends.
    pub offset: u64,
    /// How many bytes of an unfinished write followed.
    pub bytes_lost: u64,
}

/// One thing that was altered or lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What kind.
    pub kind: DamageKind,
    /// The file, within the directory of the store.
    pub file: String,
    /// The segment, unless it is the manifest.
    pub segment: Option<u64>,
    /// Where in the file the unreadable part begins.
    pub offset: u64,
    /// How many bytes are unreadable, as far as is known.
    pub bytes_lost: u64,
}

/// Kinds of damage.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DamageKind {
    /// A segment that the manifest lists is not there.
    SegmentMissing,
    /// A segment's header is not authentic, or is that of another segment.
    HeaderAltered,
    /// A frame is not authentic although it was on disk once.
    FrameAltered,
    /// A segment ends before what was once on disk.
    Cut,
    /// Bytes follow the end of a finished segment.
    TrailingBytes,
    /// A segment does not continue the one before it.
    ChainBroken,
    /// There are segments but no manifest.
    ManifestMissing,
    /// The manifest is not authentic.
    ManifestAltered,
    /// There is a segment with records that the manifest does not know: the manifest is an older one.
    ManifestOutdated,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { kind, file, offset, bytes_lost, .. } = self;
        match kind {
            DamageKind::SegmentMissing => write!(f, "{file} is missing (at least {bytes_lost} bytes)"),
            DamageKind::HeaderAltered => {
                write!(f, "{file} has a header that is not authentic ({bytes_lost} bytes unreadable)")
            }
            DamageKind::FrameAltered => {
                write!(f, "{file} was altered at offset {offset} ({bytes_lost} bytes unreadable)")
            }
            DamageKind::Cut => {
                write!(f, "{file} was cut at offset {offset} (at least {bytes_lost} bytes lost)")
            }
            DamageKind::TrailingBytes => {
                write!(f, "{file} has {bytes_lost} foreign bytes after its end at offset {offset}")
            }
            DamageKind::ChainBroken => write!(f, "{file} does not continue the segment before it"),
            DamageKind::ManifestMissing => write!(f, "{file} is missing although there are segments"),
            DamageKind::ManifestAltered => write!(f, "{file} is not authentic"),
            DamageKind::ManifestOutdated => {
                write!(f, "{file} is newer than the manifest, which was replaced by an older one")
            }
        }
    }
}
