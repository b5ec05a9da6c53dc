//! Reads the whole log once and finds what is sound, what is torn and what is damaged. Changes nothing.

use crate::{
    Damage, DamageKind, Disk, Error, Keys, Report, TornTail,
    crypto::{self, Tag},
    frames::{OpenedSegment, SegmentFrames},
    layout::{HEADER_BYTES, Link, Records, SegmentHeader, StoreId, parse_segment_name, segment_name},
    manifest::{Entry, MANIFEST, Manifest, Position, Unreadable},
    recovery::Readable,
    segment::FrameReader,
};

/// What was found, and what the log will be when it is repaired.
pub(crate) struct Verified {
    /// Lists what can be replayed; every segment has ended.
    pub(crate) manifest: Manifest,
    pub(crate) readable: Vec<Readable>,
    pub(crate) report: Report,
    /// Changes to make before the log goes on, in this order.
    pub(crate) repairs: Vec<Repair>,
    /// Files that are no part of the log, to be removed when the new manifest stands.
    pub(crate) leftovers: Vec<String>,
}

/// A change to a file.
pub(crate) enum Repair {
    /// Keep a copy of a damaged file beside the log.
    SetAside(String),
    /// Cut off what is not sound.
    Truncate(String, u64),
    /// Make durable what a crash may have left in the operating system's cache alone.
    Sync(String),
    /// Remove a file whose name is needed.
    Remove(String),
}

/// Reads everything.
pub(crate) fn verify(disk: &dyn Disk, keys: &Keys) -> Result<Verified, Error> {
    let names = disk.list().map_err(Error::io("list", disk.path("")))?;
    let mut segments: Vec<u64> = names.iter().filter_map(|name| parse_segment_name(name)).collect();
    segments.sort_unstable();
    let mut verifier = Verifier { disk, keys, found: Verified::empty()?, gap: false };
    let blamed = match Manifest::read(disk, keys)? {
        Ok(manifest) => {
            verifier.with_manifest(manifest, &segments)?;
            return Ok(verifier.found);
        }
        Err(Unreadable::Missing) => {
            if verifier.is_new(&segments)? {
                return Ok(verifier.found);
            }
            None
        }
        Err(Unreadable::Altered) => None,
        Err(Unreadable::Version(version)) => {
            Some(Error::UnknownVersion { path: disk.path(MANIFEST), version })
        }
        Err(Unreadable::Key(id)) => Some(Error::UnknownKey { path: disk.path(MANIFEST), id }),
    };
    verifier.without_manifest(&segments, names.iter().any(|name| name == MANIFEST), blamed)?;
    Ok(verifier.found)
}

impl Verified {
    fn empty() -> Result<Verified, Error> {
        let manifest = Manifest {
            store: crypto::random()?,
            generation: 0,
            next_segment: 1,
            checkpoint_bytes: 0,
            closed_cleanly: false,
            entries: Vec::new(),
        };
        Ok(Verified {
            manifest,
            readable: Vec::new(),
            report: Report::default(),
            repairs: Vec::new(),
            leftovers: Vec::new(),
        })
    }
}

struct Verifier<'a> {
    disk: &'a dyn Disk,
    keys: &'a Keys,
    found: Verified,
    /// Something was lost since the last segment that was kept.
    gap: bool,
}

/// A segment file whose header is authentic, with its frames read.
struct Scan {
    header: SegmentHeader,
    reader: FrameReader,
    header_tag: Tag,
    length: u64,
    records: u64,
    bytes: u64,
}

enum Opened {
    Missing,
    /// With the length of the file and where its last byte is that is not zero.
    BadHeader {
        length: u64,
        content: u64,
        reason: Option<Error>,
    },
    Sound(Box<Scan>),
}

impl Verifier<'_> {
    fn with_manifest(&mut self, manifest: Manifest, segments: &[u64]) -> Result<(), Error> {
        self.found.report.closed_cleanly = manifest.closed_cleanly;
        self.found.manifest = Manifest { entries: Vec::new(), ..manifest.clone() };
        let mut before: Option<Link> = None;
        for entry in &manifest.entries {
            self.gap |= entry.gap_before;
            self.listed(&manifest, entry, before)?;
            before = Some(entry.link());
        }
        for segment in segments.iter().copied() {
            if manifest.entries.iter().any(|entry| entry.segment == segment) {
                continue;
            }
            if segment < manifest.next_segment {
                // The manifest disowned it: a crash kept it from being removed.
                self.found.leftovers.push(segment_name(segment));
            } else {
                self.unknown(manifest.store, segment)?;
            }
        }
        self.drop_empty_tail();
        Ok(())
    }

    /// A segment that the manifest lists.
    fn listed(&mut self, manifest: &Manifest, entry: &Entry, before: Option<Link>) -> Result<(), Error> {
        let Entry { segment, reached, .. } = *entry;
        let limit = if entry.ended { reached.offset } else { u64::MAX };
        let scan = match self.open(Some(manifest.store), segment, limit)? {
            Opened::Missing => {
                self.damage(DamageKind::SegmentMissing, segment, 0, reached.offset);
                self.gap = true;
                return Ok(());
            }
            Opened::BadHeader { length, reason, .. } => {
                // The manifest is authentic, so what it says of the key is true.
                if let Some(error @ Error::UnknownKey { id, .. }) = reason
                    && id == entry.key
                {
                    return Err(error);
                }
                return self.unreadable(segment, length);
            }
            Opened::Sound(scan) if scan.header_tag != entry.header_tag => {
                return self.unreadable(segment, scan.length);
            }
            Opened::Sound(scan) => scan,
        };
        if let Some(before) = before
            && scan.header.previous != before
            && !entry.gap_before
        {
            self.damage(DamageKind::ChainBroken, segment, 0, 0);
            self.gap = true;
        }
        let end = scan.reader.position();
        let content = scan.reader.last_content()?;
        // The file may be longer than the limit of the reader; `last_content` looked behind it.
        if end.frames < reached.frames || (entry.ended && end != reached) {
            let kind = if scan.length < reached.offset { DamageKind::Cut } else { DamageKind::FrameAltered };
            let lost = reached.offset.max(content) - end.offset;
            self.damage(kind, segment, end.offset, lost);
            self.keep_damaged(*scan, entry);
            return Ok(());
        }
        if content > end.offset {
            if entry.ended {
                self.damage(DamageKind::TrailingBytes, segment, end.offset, content - end.offset);
                self.set_aside(segment);
                self.cut(segment, end.offset);
            } else {
                return self.unfinished(scan, Some(entry), content);
            }
        } else if !entry.ended {
            self.cut(segment, end.offset);
        }
        self.keep(*scan, entry.gap_before);
        Ok(())
    }

    /// The last segment, with something behind its last authentic frame: a torn write, or damage.
    fn unfinished(&mut self, mut scan: Box<Scan>, entry: Option<&Entry>, content: u64) -> Result<(), Error> {
        let segment = scan.header.segment;
        let end = scan.reader.position();
        if scan.reader.later_frame_proves_loss()? {
            self.damage(DamageKind::FrameAltered, segment, end.offset, content - end.offset);
            self.set_aside(segment);
        } else {
            self.found.report.torn_tail =
                Some(TornTail { segment, offset: end.offset, bytes_lost: content - end.offset });
        }
        self.cut(segment, end.offset);
        self.keep(*scan, entry.is_some_and(|entry| entry.gap_before));
        Ok(())
    }

    /// A segment that is newer than the manifest.
    fn unknown(&mut self, store: StoreId, segment: u64) -> Result<(), Error> {
        match self.open(Some(store), segment, u64::MAX)? {
            Opened::Missing => {}
            Opened::BadHeader { length, content, .. } => {
                if content <= HEADER_BYTES as u64 {
                    // A crash while it was created.
                    self.found.repairs.push(Repair::Remove(segment_name(segment)));
                } else {
                    self.unreadable(segment, length)?;
                }
            }
            Opened::Sound(scan) => {
                let end = scan.reader.position();
                let content = scan.reader.last_content()?;
                if end.frames == 0 && content <= end.offset {
                    self.found.repairs.push(Repair::Remove(segment_name(segment)));
                    return Ok(());
                }
                // Frames are written only after the manifest knows their segment.
                self.damage(DamageKind::ManifestOutdated, segment, end.offset, content - end.offset);
                self.gap = true;
                if content > end.offset {
                    self.set_aside(segment);
                }
                self.cut(segment, end.offset);
                self.keep(*scan, true);
            }
        }
        Ok(())
    }

    /// True when there never was a log here: nothing, or what a crash left of the very first start.
    fn is_new(&mut self, segments: &[u64]) -> Result<bool, Error> {
        let new = match segments {
            [] => true,
            [1] => match self.open(None, 1, u64::MAX)? {
                Opened::Missing => true,
                Opened::BadHeader { content, .. } => content <= HEADER_BYTES as u64,
                Opened::Sound(scan) => {
                    scan.reader.position().frames == 0 && scan.reader.last_content()? <= HEADER_BYTES as u64
                }
            },
            _ => false,
        };
        if new {
            self.found.report.created = true;
            self.found.repairs.extend(segments.iter().map(|segment| Repair::Remove(segment_name(*segment))));
        }
        Ok(new)
    }

    /// Makes the best of segments that no manifest vouches for. `blamed` is what seems wrong with the manifest; it
    /// is believed when the segments say nothing to the contrary.
    fn without_manifest(
        &mut self,
        segments: &[u64],
        manifest_exists: bool,
        blamed: Option<Error>,
    ) -> Result<(), Error> {
        let kind = if manifest_exists { DamageKind::ManifestAltered } else { DamageKind::ManifestMissing };
        self.found.report.damage.push(Damage {
            kind,
            file: MANIFEST.into(),
            segment: None,
            offset: 0,
            bytes_lost: 0,
        });
        if manifest_exists {
            self.found.repairs.push(Repair::SetAside(MANIFEST.into()));
        }
        let mut store = None;
        let mut blamed = blamed;
        // The segment before, and the last before it that has frames: an empty one may have been left out.
        let mut links: [Option<Link>; 2] = [None, None];
        for (place, segment) in segments.iter().copied().enumerate() {
            self.found.manifest.next_segment =
                self.found.manifest.next_segment.max(segment.saturating_add(1));
            let scan = match self.open(store, segment, u64::MAX)? {
                Opened::Missing => continue,
                Opened::BadHeader { length, reason, .. } => {
                    blamed = blamed.or(reason);
                    self.unreadable(segment, length)?;
                    continue;
                }
                Opened::Sound(scan) => scan,
            };
            store = Some(scan.header.store);
            let end = scan.reader.position();
            let content = scan.reader.last_content()?;
            let known = links.iter().flatten().any(|link| *link == scan.header.previous);
            if links[0].is_some() && !known && !self.gap {
                self.damage(DamageKind::ChainBroken, segment, 0, 0);
                self.gap = true;
            }
            let link = Link { segment, tag: end.tag };
            links = [Some(link), if end.frames > 0 { Some(link) } else { links[1] }];
            let gap = self.gap;
            if content > end.offset && place + 1 == segments.len() {
                self.unfinished(scan, None, content)?;
            } else {
                if content > end.offset {
                    self.damage(DamageKind::FrameAltered, segment, end.offset, content - end.offset);
                    self.set_aside(segment);
                }
                self.cut(segment, end.offset);
                self.keep(*scan, gap);
                self.gap = content > end.offset;
            }
        }
        match (store, blamed) {
            (Some(store), _) => self.found.manifest.store = store,
            (None, Some(error)) => return Err(error),
            (None, None) => {}
        }
        self.drop_empty_tail();
        Ok(())
    }

    fn open(&self, store: Option<StoreId>, segment: u64, limit: u64) -> Result<Opened, Error> {
        let frames = match SegmentFrames::open_to(self.disk, self.keys, store, segment, limit)? {
            OpenedSegment::Missing => return Ok(Opened::Missing),
            OpenedSegment::Unreadable { length, content, reason } => {
                return Ok(Opened::BadHeader { length, content, reason });
            }
            OpenedSegment::Sound(frames) => *frames,
        };
        let SegmentFrames { header, header_tag, reader, length } = frames;
        let mut scan = Scan { header, reader, header_tag, length, records: 0, bytes: 0 };
        while scan.reader.advance()? {
            for record in Records::new(scan.reader.records()) {
                scan.records += 1;
                scan.bytes += record.len() as u64;
            }
        }
        Ok(Opened::Sound(Box::new(scan)))
    }

    fn damage(&mut self, kind: DamageKind, segment: u64, offset: u64, bytes_lost: u64) {
        let file = segment_name(segment);
        self.found.report.damage.push(Damage { kind, file, segment: Some(segment), offset, bytes_lost });
    }

    /// Nothing of the segment can be read.
    fn unreadable(&mut self, segment: u64, length: u64) -> Result<(), Error> {
        self.damage(DamageKind::HeaderAltered, segment, 0, length);
        self.set_aside(segment);
        self.found.leftovers.push(segment_name(segment));
        self.gap = true;
        Ok(())
    }

    fn keep_damaged(&mut self, scan: Scan, entry: &Entry) {
        let (segment, end) = (entry.segment, scan.reader.position());
        self.set_aside(segment);
        self.cut(segment, end.offset);
        self.keep(scan, entry.gap_before);
        self.gap = true;
    }

    fn set_aside(&mut self, segment: u64) {
        self.found.repairs.push(Repair::SetAside(segment_name(segment)));
    }

    fn cut(&mut self, segment: u64, length: u64) {
        let name = segment_name(segment);
        self.found.repairs.push(Repair::Truncate(name.clone(), length));
        self.found.repairs.push(Repair::Sync(name));
    }

    /// Lists the sound part of a segment for replay, and in the manifest to be.
    fn keep(&mut self, scan: Scan, gap_before: bool) {
        let end: Position = scan.reader.position();
        let report = &mut self.found.report;
        report.records += scan.records;
        report.bytes += scan.bytes;
        if !report.keys.contains(&scan.header.key) {
            report.keys.push(scan.header.key);
        }
        let segment = scan.header.segment;
        self.found.manifest.next_segment = self.found.manifest.next_segment.max(segment.saturating_add(1));
        self.found.manifest.entries.push(Entry {
            segment,
            key: scan.header.key,
            header_tag: scan.header_tag,
            ended: true,
            gap_before: gap_before || self.gap,
            reached: end,
        });
        self.gap = false;
        self.found.readable.push(Readable {
            segment,
            header_tag: scan.header_tag,
            end,
            key: scan.reader.into_key(),
        });
    }

    /// A start and a stop without a record between them leave no trace.
    fn drop_empty_tail(&mut self) {
        while let Some(last) = self.found.manifest.entries.last()
            && last.reached.frames == 0
        {
            let name = segment_name(last.segment);
            self.found.repairs.retain(|repair| match repair {
                Repair::Truncate(file, _) | Repair::Sync(file) => *file != name,
                Repair::SetAside(_) | Repair::Remove(_) => true,
            });
            self.found.leftovers.push(name);
            self.found.manifest.entries.pop();
            self.found.readable.pop();
        }
        self.found.report.segments = self.found.readable.len() as u64;
    }
}
