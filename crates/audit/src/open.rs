//! Finds where a record ends, so that it can go on. Reads the first frame of each segment and the last segment whole;
//! whether all of it is whole is for [`crate::verify`] to say.

use crate::body;
use crate::chain::{Chain, PublicKey, unhex};
use crate::entry::{Entry, SegmentBegin, What};
use crate::error::Error;
use crate::head::Head;
use crate::log::Segment;
use crate::ring::Ring;
use ravelin_store::{
    Disk, Keys, OpenedSegment, SegmentEnd, SegmentFrames, segment_file_name, segment_numbers,
};

/// Where a record ends.
pub(crate) struct Found {
    pub ring: Ring,
    /// Those that can be read at all, oldest first.
    pub segments: Vec<Segment>,
    /// From where it goes on.
    pub chain: Chain,
    /// The end of the last segment that can be read.
    pub last: SegmentEnd,
    pub torn: Option<Torn>,
    pub damage: Vec<String>,
    /// The last entry that could be read, if what followed is damaged or lost.
    pub lost_after: Option<u64>,
    pub created: bool,
    /// Who may have signed `HEAD`.
    signers: Vec<PublicKey>,
}

/// Where the last segment is cut off: at the end of its last frame. `bytes` of an unfinished write follow, or none.
pub(crate) struct Torn {
    pub segment: u64,
    pub offset: u64,
    pub bytes: u64,
}

/// The number of the next segment.
pub(crate) fn next_number(disk: &dyn Disk) -> Result<u64, Error> {
    Ok(segment_numbers(disk)?.last().map_or(1, |last| last.saturating_add(1)))
}

/// Cuts an unfinished write off.
pub(crate) fn cut(disk: &dyn Disk, segment: u64, length: u64) -> Result<(), Error> {
    let name = segment_file_name(segment);
    let path = disk.path(&name);
    let mut file = disk.open(&name).map_err(Error::io("open", &path))?;
    file.truncate(length).map_err(Error::io("truncate", &path))?;
    file.sync().map_err(Error::io("sync", &path))
}

/// The first entry of a segment and the chain before it; `None` if what stands there is not such an entry.
pub(crate) fn begin_of(frames: &SegmentFrames, number: u64) -> Option<(Entry, SegmentBegin, Chain)> {
    let item = body::items(frames.body()).next()?.ok()?;
    let entry = Entry::from_json(item.text)?;
    let What::Segment(begin) = entry.what.clone() else { return None };
    let sound = begin.segment == number && unhex(&begin.record) == Some(frames.log());
    let before = Chain { sequence: begin.sequence.checked_sub(1)?, head: unhex(&begin.head)? };
    sound.then_some((entry, begin, before))
}

/// Looks at what there is; makes the keys where there is nothing.
pub(crate) fn find(disk: &dyn Disk, store: &Keys) -> Result<Found, Error> {
    let mut numbers = segment_numbers(disk)?;
    let ring = match Ring::load(disk, store)? {
        Some(ring) => ring,
        None if numbers.is_empty() => Ring::create(disk, store)?,
        None => {
            let problem =
                "there are segments, but not their keys; move the directory aside to begin anew".into();
            return Err(Error::Ring { path: disk.path(crate::ring::FILE), problem });
        }
    };
    drop_unused(disk, &ring, &mut numbers)?;
    let head = Head::load(disk)?;
    let mut found = Found {
        signers: vec![ring.signer.public().clone()],
        chain: Chain::start(ring.record),
        created: numbers.is_empty() && head.is_none(),
        ring,
        segments: Vec::new(),
        last: SegmentEnd::default(),
        torn: None,
        damage: Vec::new(),
        lost_after: None,
    };
    for (place, number) in numbers.iter().copied().enumerate() {
        found.look_at(disk, number, place + 1 == numbers.len())?;
    }
    found.compare(head, numbers.is_empty());
    Ok(found)
}

/// A crash while a segment was created leaves one without an entry, which nothing can have followed.
fn drop_unused(disk: &dyn Disk, ring: &Ring, numbers: &mut Vec<u64>) -> Result<(), Error> {
    while let Some(&last) = numbers.last() {
        let unused = match SegmentFrames::open(disk, &ring.data, Some(ring.record), last)? {
            OpenedSegment::Missing => true,
            OpenedSegment::Unreadable { content, .. } => content <= 128,
            OpenedSegment::Sound(mut frames) => {
                !frames.advance()? && frames.content_end()? <= frames.offset()
            }
        };
        if !unused {
            return Ok(());
        }
        let name = segment_file_name(last);
        if let Err(error) = disk.remove(&name)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(Error::io("remove", disk.path(&name))(error));
        }
        disk.sync_dir().map_err(Error::io("sync directory", disk.path("")))?;
        numbers.pop();
    }
    Ok(())
}

impl Found {
    fn look_at(&mut self, disk: &dyn Disk, number: u64, is_last: bool) -> Result<(), Error> {
        let name = segment_file_name(number);
        let opened = SegmentFrames::open(disk, &self.ring.data, Some(self.ring.record), number)?;
        let OpenedSegment::Sound(mut frames) = opened else {
            if is_last {
                self.damage.push(format!("{name} cannot be read"));
                self.lost_after = Some(self.chain.sequence);
            }
            return Ok(());
        };
        let begin = if frames.advance()? { begin_of(&frames, number) } else { None };
        let Some((entry, begin, before)) = begin else {
            if is_last {
                return self.ended_early(&name, number, &mut frames, self.chain, true);
            }
            return Ok(());
        };
        self.signers.extend(PublicKey::from_entry(&begin.signer));
        let bytes = disk
            .open(&name)
            .and_then(|file| file.length())
            .map_err(Error::io("measure", disk.path(&name)))?;
        self.segments.push(Segment { number, key: frames.key(), before, began_ms: entry.at_ms, bytes });
        // The chain before the segment is the end of the one before it, whether or not that can be read to its end.
        self.chain = before;
        if !is_last {
            return Ok(());
        }
        loop {
            let mut foreign = false;
            for item in body::items(frames.body()) {
                match item {
                    Ok(item) => self.chain.add(&item.salt, item.text.as_bytes()),
                    Err(()) => foreign = true,
                }
            }
            if foreign {
                return self.ended_early(&name, number, &mut frames, self.chain, true);
            }
            if !frames.advance()? {
                break;
            }
        }
        self.ended_early(&name, number, &mut frames, self.chain, false)
    }

    /// The last segment was read as far as it is sound: is what follows an unfinished write?
    fn ended_early(
        &mut self,
        name: &str,
        number: u64,
        frames: &mut SegmentFrames,
        chain: Chain,
        foreign: bool,
    ) -> Result<(), Error> {
        self.chain = chain;
        self.last = frames.end();
        let (end, content) = (frames.offset(), frames.content_end()?);
        if foreign || content > end && frames.later_frame_proves_loss()? {
            self.damage.push(format!("{name} is damaged at offset {end}"));
            self.lost_after = Some(self.chain.sequence);
        } else {
            self.torn = Some(Torn { segment: number, offset: end, bytes: content - end });
        }
        Ok(())
    }

    /// What `HEAD` says was there, must be there.
    fn compare(&mut self, head: Option<Result<Head, Error>>, empty: bool) {
        let signed = match head {
            // A crash before the first checkpoint: no more than the first entries.
            None if self.chain.sequence <= 3 => return,
            None => {
                self.damage.push("HEAD is missing".into());
                self.lost_after = self.lost_after.or(Some(self.chain.sequence));
                return;
            }
            Some(Ok(head))
                if head.is_of(self.ring.record)
                    && head.key().is_some_and(|key| self.signers.contains(&key)) =>
            {
                head.chain()
            }
            Some(_) => {
                self.damage.push("HEAD is not authentic".into());
                self.lost_after = self.lost_after.or(Some(self.chain.sequence));
                return;
            }
        };
        let Some(signed) = signed else { return };
        // The checkpoint's own entry was on disk before HEAD told of it.
        if signed.sequence >= self.chain.sequence && !(empty && signed.sequence == 0) {
            let last = self.chain.sequence;
            self.damage
                .push(format!("the record ends at {last}, but was signed for up to {}", signed.sequence));
            self.lost_after = Some(last);
            self.torn = None;
            // No number is used twice: it goes on behind what was signed for.
            self.chain = signed;
        }
    }
}
