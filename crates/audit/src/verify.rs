//! Reads a whole record and finds whatever is not as it was written. Changes nothing.

use crate::body;
use crate::chain::{Chain, PublicKey};
use crate::error::Error;
use crate::head::{self, Head};
use crate::open::begin_of;
use crate::ring::Ring;
use crate::walk::{Place, Walk};
use ravelin_store::{
    Disk, Keys, OpenedSegment, SegmentEnd, SegmentFrames, segment_file_name, segment_numbers,
};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The id of the record, in hex.
    pub record: String,
    /// The number of the first entry that is there.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
    /// The head of the chain after it, in hex.
    pub head: String,
    /// Entries that were read.
    pub entries: u64,
    /// Entries of which only the leaf was there.
    pub withheld: u64,
    /// Entries by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Segments that begin in what was read.
    pub segments: u64,
    /// Signatures that were verified.
    pub checkpoints: u64,
    /// The last entry that is signed for.
    pub signed: u64,
    /// When that was, in milliseconds since the Unix epoch.
    pub signed_ms: u64,
    /// Whether the record was closed in order behind its last entry.
    pub closed: bool,
    /// When the first entry was made.
    pub first_ms: u64,
    /// When the last one was.
    pub last_ms: u64,
    /// Entries up to this one were deleted, and that is signed for.
    pub pruned_to: u64,
    /// Entries that the record itself says were lost.
    pub lost: u64,
    /// Bytes of an unfinished write at the end: the node is writing, or a crash left them.
    pub unfinished_bytes: u64,
    /// Anchors that agree.
    pub anchors: u64,
    /// Anchors for entries older than the first.
    pub anchors_too_old: u64,
    /// SHA-256 of the keys that signed, in hex, in order.
    pub keys: Vec<String>,
    /// Only a part of a record was given, and was meant to be.
    pub partial: bool,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// What kind.
    pub kind: DamageKind,
    /// The file; empty where none is meant.
    pub file: String,
    /// The byte of a segment, or the line of an export.
    pub offset: u64,
    /// The last entry before it that is sound.
    pub after: u64,
    /// The first one behind it, where there is one.
    pub before: Option<u64>,
    /// More.
    pub detail: String,
}

/// Kinds of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DamageKind {
    /// A segment is not there.
    SegmentMissing,
    /// A segment's header is not authentic, or is that of another segment or record.
    HeaderAltered,
    /// What stands there is not what was written.
    Altered,
    /// Entries are not there.
    Cut,
    /// Bytes follow the end of a segment.
    TrailingBytes,
    /// A part does not continue the one before it: something was exchanged, repeated or put in another order.
    ChainBroken,
    /// A signature is not valid, or is for something else.
    CheckpointInvalid,
    /// Entries of an export are not signed for.
    Unsigned,
    /// A key signs that no earlier key vouches for.
    UnknownSigner,
    /// The oldest entries are not there, and nobody signed for their deletion.
    BeginMissing,
    /// `HEAD` is not there.
    HeadMissing,
    /// `HEAD` is not authentic.
    HeadAltered,
    /// An anchor that was kept elsewhere does not agree.
    AnchorMismatch,
    /// A start of the node found damage, and wrote that down.
    FoundEarlier,
}

impl Verification {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.damage.is_empty()
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { kind, file, offset, after, before, detail } = self;
        let kind = serde_json::to_value(kind).ok();
        write!(f, "{}", kind.as_ref().and_then(|kind| kind.as_str()).unwrap_or_default())?;
        if !file.is_empty() {
            write!(f, " in {file} at {offset}")?;
        }
        match before {
            Some(before) => write!(f, ", between entries {after} and {before}")?,
            None => write!(f, ", after entry {after}")?,
        }
        write!(f, ": {detail}")
    }
}

/// Verifies the record in `disk`. `store` are the keys of the store. Each of `anchors` must agree; with `pinned`, that
/// key must have signed.
pub fn verify(
    disk: &dyn Disk,
    store: &Keys,
    anchors: Vec<Head>,
    pinned: Option<PublicKey>,
) -> Result<Verification, Error> {
    let nothing = || Error::NoRecord { path: disk.path("") };
    let names = disk.list().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => nothing(),
        _ => Error::io("list", disk.path(""))(error),
    })?;
    let Some(ring) = Ring::load(disk, store)? else {
        if names.is_empty() {
            return Err(nothing());
        }
        let problem = "they are missing: without them nothing of the record can be read".into();
        return Err(Error::Ring { path: disk.path(crate::ring::FILE), problem });
    };
    // Before the segments: a node that writes only adds to what HEAD tells of.
    let head = Head::load(disk)?;
    let numbers = segment_numbers(disk)?;
    let walk = Walk::new(anchors, pinned);
    let mut check = Check { disk, ring, walk, last: None, tail: None, whole: true, end: Place::default() };
    for (place, number) in numbers.iter().copied().enumerate() {
        check.segment(number, place + 1 == numbers.len())?;
    }
    check.compare(head, numbers.is_empty());
    Ok(check.walk.finish())
}

struct Check<'a> {
    disk: &'a dyn Disk,
    ring: Ring,
    walk: Walk,
    /// The end of the segment before.
    last: Option<SegmentEnd>,
    /// Bytes behind the last sound frame of the segment before.
    tail: Option<Place>,
    /// Whether the segment before was read to its end.
    whole: bool,
    /// Where the last sound frame ends.
    end: Place,
}

impl Check<'_> {
    fn segment(&mut self, number: u64, is_last: bool) -> Result<(), Error> {
        let file = segment_file_name(number);
        let place = Place { file: file.clone(), offset: 0 };
        let mut frames =
            match SegmentFrames::open(self.disk, &self.ring.data, Some(self.ring.record), number)? {
                // Deleted since it was listed: the retention of a node that writes. The next segment tells.
                OpenedSegment::Missing => return Ok(()),
                // A start that has just begun, or ended there.
                OpenedSegment::Unreadable { content, .. } if is_last && content <= 128 => return Ok(()),
                OpenedSegment::Unreadable { reason, length, .. } => {
                    let why =
                        reason.map_or("its header is not authentic".into(), |reason| reason.to_string());
                    self.walk.damage(
                        DamageKind::HeaderAltered,
                        &place,
                        None,
                        format!("{why} ({length} bytes)"),
                    );
                    self.whole = false;
                    self.last = None;
                    return Ok(());
                }
                OpenedSegment::Sound(frames) => frames,
            };
        let begin = if frames.advance()? { begin_of(&frames, number) } else { None };
        let Some((_, _, before)) = begin else {
            return self.without_begin(&place, &frames, is_last);
        };
        self.connect(number, &frames, before);
        loop {
            let place = Place { file: file.clone(), offset: frames.offset() };
            for item in body::items(frames.body()) {
                let Ok(item) = item else {
                    self.walk.damage(DamageKind::Altered, &place, None, "a frame holds what is no entry");
                    break;
                };
                self.walk.entry(&place, &item.salt, item.text);
            }
            if !frames.advance()? {
                break;
            }
        }
        self.end(file, &mut frames, is_last)
    }

    fn without_begin(&mut self, place: &Place, frames: &SegmentFrames, is_last: bool) -> Result<(), Error> {
        let empty = frames.frames() == 0 && frames.content_end()? <= frames.offset();
        if !(is_last && empty) {
            let detail = "its first entry cannot be read";
            self.walk.damage(DamageKind::Altered, place, None, detail);
            self.whole = false;
            self.last = None;
        }
        Ok(())
    }

    /// The begin of a segment against the end of the one before.
    fn connect(&mut self, number: u64, frames: &SegmentFrames, before: Chain) {
        let place = Place { file: segment_file_name(number), offset: 0 };
        if !self.walk.is_started() {
            self.walk.start(self.ring.record, before);
            return;
        }
        let follows = before == self.walk.chain;
        let linked = self.last == Some(frames.previous());
        if let Some(tail) = self.tail.take() {
            let (kind, what) = match follows {
                true => (DamageKind::TrailingBytes, "foreign bytes follow the end of the segment"),
                false => (DamageKind::Altered, "what follows cannot be read"),
            };
            self.walk.damage(kind, &tail, Some(before.sequence + 1), what);
        } else if !follows && self.whole {
            let earlier = self.last.map_or(0, |last| last.segment);
            let (sequence, next) = (self.walk.chain.sequence, before.sequence + 1);
            let (kind, detail) = if before.sequence <= sequence {
                (DamageKind::ChainBroken, format!("it begins with entry {next} again"))
            } else if number > earlier + 1 {
                let missing = segment_file_name(earlier + 1);
                (DamageKind::SegmentMissing, format!("{missing} is not there, or more"))
            } else {
                let missing = before.sequence - sequence;
                (DamageKind::Cut, format!("{missing} entries are missing at the end of the segment before"))
            };
            self.walk.damage(kind, &place, Some(next), detail);
        } else if follows && self.whole && !linked {
            let detail = "it was written behind another segment than the one before it";
            self.walk.damage(DamageKind::ChainBroken, &place, Some(before.sequence + 1), detail);
        } else if !self.whole
            && let Some(damage) = self.walk.found.damage.last_mut()
        {
            damage.before = Some(before.sequence + 1);
        }
        if !follows {
            self.walk.jump(before);
        }
        self.whole = true;
    }

    /// What follows the last frame that could be read.
    fn end(&mut self, file: String, frames: &mut SegmentFrames, is_last: bool) -> Result<(), Error> {
        self.last = Some(frames.end());
        self.end = Place { file: file.clone(), offset: frames.offset() };
        let (end, content) = (frames.offset(), frames.content_end()?);
        if content <= end {
            return Ok(());
        }
        let place = Place { file, offset: end };
        if !is_last {
            self.tail = Some(place);
        } else if frames.later_frame_proves_loss()? {
            let detail = format!("{} bytes that had been written whole cannot be read", content - end);
            self.walk.damage(DamageKind::Altered, &place, None, detail);
        } else {
            self.walk.found.unfinished_bytes = content - end;
        }
        Ok(())
    }

    fn compare(&mut self, head: Option<Result<Head, Error>>, empty: bool) {
        let place = Place { file: head::FILE.into(), offset: 0 };
        let last = self.walk.chain.sequence;
        let head = match head {
            // A node that has just made its first entries.
            None if last <= 3 && !empty => return,
            None => {
                return self.walk.damage(DamageKind::HeadMissing, &place, None, "the file is not there");
            }
            Some(Err(error)) => {
                return self.walk.damage(DamageKind::HeadAltered, &place, None, error.to_string());
            }
            Some(Ok(head)) => head,
        };
        let known = head
            .key()
            .is_some_and(|key| self.walk.knows_signer(&key) || empty && key == *self.ring.signer.public());
        if !known || !head.is_of(self.ring.record) {
            let detail = "it was signed with another key, or for another record";
            return self.walk.damage(DamageKind::HeadAltered, &place, None, detail);
        }
        let signed = head.checkpoint.sequence;
        if signed >= last {
            let detail = format!("the record ends with entry {last}, but was signed for up to {signed}");
            // What follows the end cannot be an unfinished write then.
            let unfinished = std::mem::take(&mut self.walk.found.unfinished_bytes);
            let kind = if unfinished > 0 { DamageKind::Altered } else { DamageKind::Cut };
            let place = if self.end.file.is_empty() { place } else { self.end.clone() };
            self.walk.damage(kind, &place, None, detail);
        } else if signed > self.walk.found.signed {
            let detail = format!("it was signed for up to {signed}, which no entry says");
            self.walk.damage(DamageKind::HeadAltered, &place, None, detail);
        }
    }
}
