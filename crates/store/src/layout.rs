//! The bytes of a segment: its header, the headers of its frames, and what each authenticates. See `FORMAT.md`.

use crate::{
    KeyId,
    crypto::{SealingKey, Secret, TAG_BYTES, Tag},
    error::Error,
};

pub(crate) const VERSION: u32 = 1;
pub(crate) const HEADER_BYTES: usize = 128;
pub(crate) const FRAME_HEADER_BYTES: usize = 16;
/// What a frame adds to its body.
pub(crate) const FRAME_OVERHEAD: usize = FRAME_HEADER_BYTES + TAG_BYTES;
/// The counter of durable frames, ahead of the records.
pub(crate) const BODY_PREFIX_BYTES: usize = 8;
/// Frames are closed when they reach this size; only a single larger record makes a larger frame.
pub(crate) const FRAME_BYTES_TARGET: usize = 1 << 20;
/// A record may be as large as the largest MQTT packet and some; no frame claims more.
pub(crate) const RECORD_BYTES_MAX: usize = (256 << 20) + (1 << 20);
/// The length in front of each record.
pub(crate) const RECORD_PREFIX_BYTES: usize = 4;

const SEGMENT_MAGIC: &[u8; 8] = b"RAVELSEG";
const FRAME_MAGIC: [u8; 4] = *b"RvFr";
const SEALED_HEADER_BYTES: usize = HEADER_BYTES - TAG_BYTES;

/// Tells one store from another.
pub(crate) type StoreId = [u8; 16];

/// What identifies the segment before: its id and the tag of its last frame (of its header when it has none).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) segment: u64,
    pub(crate) tag: Tag,
}

/// The head of a segment file.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store: StoreId,
    pub(crate) segment: u64,
    pub(crate) key: KeyId,
    pub(crate) salt: [u8; 32],
    pub(crate) previous: Link,
}

/// Why bytes are not the header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeaderProblem {
    NotAHeader,
    Version(u32),
}

impl SegmentHeader {
    /// The header's bytes, with its tag, and the tag.
    pub(crate) fn seal(&self, key: &SealingKey) -> Result<([u8; HEADER_BYTES], Tag), Error> {
        let mut bytes = [0; HEADER_BYTES];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(SEGMENT_MAGIC);
        put(&VERSION.to_le_bytes());
        put(&[0; 4]);
        put(&self.store);
        put(&self.segment.to_le_bytes());
        put(&self.key.0);
        put(&self.salt);
        put(&self.previous.segment.to_le_bytes());
        put(&self.previous.tag);
        // Counter 0 is the header's; frames count from 1.
        let tag = key.seal(0, &bytes[..SEALED_HEADER_BYTES], &mut [])?;
        bytes[SEALED_HEADER_BYTES..].copy_from_slice(&tag);
        Ok((bytes, tag))
    }

    /// Reads the fields. Nothing is known to be true before [`SegmentHeader::authenticate`].
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<SegmentHeader, HeaderProblem> {
        let mut fields = Fields { rest: bytes };
        if fields.take::<8>() != Some(*SEGMENT_MAGIC) {
            return Err(HeaderProblem::NotAHeader);
        }
        match fields.u32() {
            Some(VERSION) => {}
            Some(other) => return Err(HeaderProblem::Version(other)),
            None => return Err(HeaderProblem::NotAHeader),
        }
        let header = (|| {
            fields.take::<4>()?;
            Some(SegmentHeader {
                store: fields.take()?,
                segment: fields.u64()?,
                key: KeyId(fields.take()?),
                salt: fields.take()?,
                previous: Link { segment: fields.u64()?, tag: fields.take()? },
            })
        })();
        header.ok_or(HeaderProblem::NotAHeader)
    }

    /// The header's tag, when the header is authentic.
    pub(crate) fn authenticate(bytes: &[u8; HEADER_BYTES], key: &SealingKey) -> Option<Tag> {
        let mut tag: Tag = bytes[SEALED_HEADER_BYTES..].try_into().ok()?;
        let stored = tag;
        key.open(0, &bytes[..SEALED_HEADER_BYTES], &mut tag)?;
        Some(stored)
    }

    /// The key of this segment alone.
    pub(crate) fn derive_key(&self, master: &Secret) -> Result<SealingKey, Error> {
        SealingKey::derive(master, &self.salt, &[b"ravelin segment", &self.segment.to_le_bytes()])
    }
}

/// The head of a frame, in clear, authenticated with the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of the ciphertext, without the tag.
    pub(crate) length: u32,
    /// Counts the frames of the segment from 1; the nonce.
    pub(crate) counter: u64,
}

impl FrameHeader {
    pub(crate) fn to_bytes(self) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[4..8].copy_from_slice(&self.length.to_le_bytes());
        bytes[8..].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<FrameHeader> {
        let mut fields = Fields { rest: bytes };
        if fields.take::<4>()? != FRAME_MAGIC {
            return None;
        }
        let header = FrameHeader { length: fields.u32()?, counter: fields.u64()? };
        let length = header.length as usize;
        let plausible = BODY_PREFIX_BYTES..=BODY_PREFIX_BYTES + RECORD_PREFIX_BYTES + RECORD_BYTES_MAX;
        plausible.contains(&length).then_some(header)
    }

    /// Where the next candidate for a frame begins in `bytes`.
    pub(crate) fn find(bytes: &[u8]) -> Option<usize> {
        bytes.windows(FRAME_MAGIC.len()).position(|window| window == FRAME_MAGIC)
    }
}

/// What a frame authenticates beside its body: its place. A frame that was moved, left out, repeated, or taken from
/// another segment or store is not authentic.
pub(crate) fn frame_aad(
    store: &StoreId,
    segment: u64,
    offset: u64,
    header: FrameHeader,
    previous: &Tag,
) -> [u8; 60] {
    let mut aad = [0; 60];
    aad[..16].copy_from_slice(store);
    aad[16..24].copy_from_slice(&segment.to_le_bytes());
    aad[24..32].copy_from_slice(&offset.to_le_bytes());
    aad[32..40].copy_from_slice(&header.counter.to_le_bytes());
    aad[40..44].copy_from_slice(&header.length.to_le_bytes());
    aad[44..].copy_from_slice(previous);
    aad
}

/// The records of a batch or of a frame's body: `(u32 LE length, bytes)*`.
#[derive(Clone)]
pub(crate) struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Records<'a> {
        Records { rest: bytes }
    }

    /// The number of records, when the bytes are whole records and nothing else.
    pub(crate) fn count(bytes: &[u8]) -> Option<u64> {
        let mut records = Records::new(bytes);
        let mut count = 0;
        while records.next().is_some() {
            count += 1;
        }
        records.rest.is_empty().then_some(count)
    }

    /// The largest number of bytes up to `room` that ends at the end of a record.
    pub(crate) fn split(bytes: &[u8], room: usize) -> usize {
        let mut records = Records::new(bytes);
        let mut end = 0;
        while records.next().is_some() {
            let now = bytes.len() - records.rest.len();
            if now > room {
                break;
            }
            end = now;
        }
        end
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (prefix, rest) = self.rest.split_first_chunk::<RECORD_PREFIX_BYTES>()?;
        let length = u32::from_le_bytes(*prefix) as usize;
        if length > RECORD_BYTES_MAX {
            return None;
        }
        let (record, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(record)
    }
}

/// Reads fixed fields off the front of bytes.
pub(crate) struct Fields<'a> {
    pub(crate) rest: &'a [u8],
}

impl Fields<'_> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*field)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}

/// The file of a segment.
pub(crate) fn segment_name(segment: u64) -> String {
    format!("segment-{segment:016x}.log")
}

/// The segment that a file name is for.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let hex = name.strip_prefix("segment-")?.strip_suffix(".log")?;
    let segment = u64::from_str_radix(hex, 16).ok()?;
    // Only the one spelling: "+1" and "0001" parse too.
    (segment_name(segment) == name).then_some(segment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_round_trips_and_every_altered_bit_is_noticed() {
        let master = Secret([3; 32]);
        let header = SegmentHeader {
            store: [1; 16],
            segment: 9,
            key: KeyId([2; 8]),
            salt: [4; 32],
            previous: Link { segment: 8, tag: [5; 16] },
        };
        let key = header.derive_key(&master).unwrap();
        let (bytes, tag) = header.seal(&key).unwrap();
        assert!(SegmentHeader::parse(&bytes).unwrap() == header);
        assert_eq!(SegmentHeader::authenticate(&bytes, &key), Some(tag));
        for bit in 0..HEADER_BYTES * 8 {
            let mut altered = bytes;
            altered[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::authenticate(&altered, &key), None, "bit {bit}");
        }
    }

    #[test]
    fn records_split_only_at_their_ends() {
        let batch =
            [&3u32.to_le_bytes()[..], b"abc", &0u32.to_le_bytes(), &2u32.to_le_bytes(), b"de"].concat();
        assert_eq!(Records::count(&batch), Some(3));
        assert_eq!(Records::count(&batch[..batch.len() - 1]), None);
        assert_eq!(Records::split(&batch, 6), 0);
        assert_eq!(Records::split(&batch, 7), 7);
        assert_eq!(Records::split(&batch, 16), 11);
        assert_eq!(Records::split(&batch, 17), 17);
    }

    #[test]
    fn segment_names_have_one_spelling() {
        assert_eq!(parse_segment_name(&segment_name(u64::MAX)), Some(u64::MAX));
        assert_eq!(parse_segment_name("segment-1.log"), None);
        assert_eq!(parse_segment_name("segment-+000000000000001.log"), None);
    }
}
