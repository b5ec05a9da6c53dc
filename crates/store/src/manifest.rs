//! The manifest: which segments make up the log, how far each is known to reach, replaced as a whole each time.

use crate::{
    Disk, Error, KeyId, Keys,
    crypto::{self, SealingKey, TAG_BYTES, Tag},
    layout::{Fields, Link, StoreId, VERSION},
};

pub(crate) const MANIFEST: &str = "MANIFEST";
const TEMPORARY: &str = "MANIFEST.tmp";
const MAGIC: &[u8; 8] = b"RAVELMAN";
/// Magic, version, reserved, key id, store id, salt.
const HEAD_BYTES: usize = 8 + 4 + 4 + 8 + 16 + 32;
/// No sound manifest comes near it.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// A position in a segment: the end of its frame number `frames`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) frames: u64,
    pub(crate) offset: u64,
    /// The tag of that frame (of the header when `frames` is 0).
    pub(crate) tag: Tag,
}

/// A live segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) segment: u64,
    pub(crate) key: KeyId,
    pub(crate) header_tag: Tag,
    /// True: the segment ends exactly at `reached`. False: it reaches at least that far.
    pub(crate) ended: bool,
    /// True: what was before it was lost, and the loss was accepted.
    pub(crate) gap_before: bool,
    pub(crate) reached: Position,
}

impl Entry {
    pub(crate) fn link(&self) -> Link {
        Link { segment: self.segment, tag: self.reached.tag }
    }
}

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) store: StoreId,
    pub(crate) generation: u64,
    pub(crate) next_segment: u64,
    /// The size of the log after the last checkpoint.
    pub(crate) checkpoint_bytes: u64,
    pub(crate) closed_cleanly: bool,
    /// Oldest first.
    pub(crate) entries: Vec<Entry>,
}

/// Why there is no manifest to be had.
pub(crate) enum Unreadable {
    Missing,
    Altered,
    /// Written by another version of the format, or altered to look so.
    Version(u32),
    /// Written with a key that is not there, or altered to look so.
    Key(KeyId),
}

impl Manifest {
    /// Replaces the manifest on disk: write beside it, sync, rename, sync the directory.
    pub(crate) fn write(&mut self, disk: &dyn Disk, keys: &Keys) -> Result<(), Error> {
        self.generation += 1;
        let salt: [u8; 32] = crypto::random()?;
        let (id, master) = keys.current();
        let mut bytes = Vec::with_capacity(HEAD_BYTES + 64 + self.entries.len() * 66 + TAG_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&id.0);
        bytes.extend_from_slice(&self.store);
        bytes.extend_from_slice(&salt);
        debug_assert_eq!(bytes.len(), HEAD_BYTES);
        self.encode(&mut bytes);
        // The salt makes the key unique, so the nonce may be constant.
        let key = SealingKey::derive(master, &salt, &[b"ravelin manifest", &self.store])?;
        let (head, body) = bytes.split_at_mut(HEAD_BYTES);
        let tag = key.seal(0, head, body)?;
        bytes.extend_from_slice(&tag);

        let path = disk.path(TEMPORARY);
        let mut file = match disk.create(TEMPORARY) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                disk.remove(TEMPORARY).map_err(Error::io("remove", &path))?;
                disk.create(TEMPORARY).map_err(Error::io("create", &path))?
            }
            other => other.map_err(Error::io("create", &path))?,
        };
        file.write_at(&bytes, 0).map_err(Error::io("write", &path))?;
        file.sync().map_err(Error::io("sync", &path))?;
        drop(file);
        disk.rename(TEMPORARY, MANIFEST).map_err(Error::io("rename", &path))?;
        disk.sync_dir().map_err(Error::io("sync directory", disk.path("")))
    }

    /// Reads the manifest. The outer error is the disk's.
    pub(crate) fn read(disk: &dyn Disk, keys: &Keys) -> Result<Result<Manifest, Unreadable>, Error> {
        let path = disk.path(MANIFEST);
        let file = match disk.open(MANIFEST) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Err(Unreadable::Missing));
            }
            other => other.map_err(Error::io("open", &path))?,
        };
        let length = file.length().map_err(Error::io("measure", &path))?;
        if length > MANIFEST_BYTES_MAX {
            return Ok(Err(Unreadable::Altered));
        }
        let mut bytes = vec![0; length as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64).map_err(Error::io("read", &path))? {
                0 => break,
                more => filled += more,
            }
        }
        bytes.truncate(filled);
        let altered = Ok(Err(Unreadable::Altered));
        let Some((head, body)) = bytes.split_at_mut_checked(HEAD_BYTES) else { return altered };
        let mut fields = Fields { rest: head };
        if fields.take() != Some(*MAGIC) {
            return altered;
        }
        match fields.u32() {
            Some(VERSION) => {}
            Some(version) => return Ok(Err(Unreadable::Version(version))),
            None => return altered,
        }
        let (Some(_), Some(id), Some(store), Some(salt)) =
            (fields.take::<4>(), fields.take(), fields.take::<16>(), fields.take::<32>())
        else {
            return altered;
        };
        let id = KeyId(id);
        let Some(master) = keys.secret(id) else { return Ok(Err(Unreadable::Key(id))) };
        let key = SealingKey::derive(master, &salt, &[b"ravelin manifest", &store])?;
        let Some(body) = key.open(0, head, body) else { return altered };
        match Manifest::decode(store, body) {
            Some(manifest) => Ok(Ok(manifest)),
            None => altered,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.next_segment.to_le_bytes());
        out.extend_from_slice(&self.checkpoint_bytes.to_le_bytes());
        out.extend_from_slice(&[u8::from(self.closed_cleanly)]);
        out.extend_from_slice(&(self.entries.len() as u32).to_le_bytes());
        for entry in &self.entries {
            out.extend_from_slice(&entry.segment.to_le_bytes());
            out.extend_from_slice(&entry.key.0);
            out.extend_from_slice(&entry.header_tag);
            out.extend_from_slice(&[u8::from(entry.ended), u8::from(entry.gap_before)]);
            out.extend_from_slice(&entry.reached.frames.to_le_bytes());
            out.extend_from_slice(&entry.reached.offset.to_le_bytes());
            out.extend_from_slice(&entry.reached.tag);
        }
    }

    /// The body, after it was found authentic. Still never trusted with a panic.
    pub(crate) fn decode(store: StoreId, body: &[u8]) -> Option<Manifest> {
        let mut fields = Fields { rest: body };
        let generation = fields.u64()?;
        let next_segment = fields.u64()?;
        let checkpoint_bytes = fields.u64()?;
        let closed_cleanly = fields.take::<1>()? != [0];
        let count = fields.u32()?;
        let mut entries = Vec::new();
        for _ in 0..count {
            let entry = Entry {
                segment: fields.u64()?,
                key: KeyId(fields.take()?),
                header_tag: fields.take()?,
                ended: fields.take::<1>()? != [0],
                gap_before: fields.take::<1>()? != [0],
                reached: Position { frames: fields.u64()?, offset: fields.u64()?, tag: fields.take()? },
            };
            let ascending = entries.last().is_none_or(|before: &Entry| before.segment < entry.segment);
            if !ascending || entry.segment >= next_segment {
                return None;
            }
            entries.push(entry);
        }
        fields.rest.is_empty().then_some(Manifest {
            store,
            generation,
            next_segment,
            checkpoint_bytes,
            closed_cleanly,
            entries,
        })
    }
}
