//! The file `HEAD`: the newest checkpoint by itself, in clear, so that it can be copied off and compared later.
//!
//! It says how far the record had come. What is cut off the end of the record behind a checkpoint is noticed by it; and a
//! copy of it that is kept elsewhere (an *anchor*) proves the same even if the whole directory was replaced.

use crate::chain::{PublicKey, hex, unhex};
use crate::entry::{Checkpoint, PublicKeyOf};
use crate::error::Error;
use crate::ring::replace;
use ravelin_store::Disk;
use serde::{Deserialize, Serialize};
use std::io;

pub(crate) const FILE: &str = "HEAD";
const TEMPORARY: &str = "HEAD.tmp";
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A checkpoint and the key that verifies it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// What is signed.
    #[serde(flatten)]
    pub checkpoint: Checkpoint,
    /// Who signed it: SubjectPublicKeyInfo, in Base64.
    pub public_key: String,
}

impl Head {
    pub(crate) fn new(checkpoint: Checkpoint, key: &PublicKey) -> Head {
        Head { checkpoint, public_key: key.to_entry().public_key }
    }

    /// Parses it, and verifies the signature with the key that it carries. Whether that is the right key is another
    /// question.
    pub fn parse(text: &str, what: &str) -> Result<Head, Error> {
        let head: Head = serde_json::from_str(text)
            .map_err(|error| Error::malformed(what, format!("it is not the head of a record: {error}")))?;
        let key =
            head.key().ok_or_else(|| Error::malformed(what, "it does not carry the key that signed it"))?;
        if head.chain().is_none() || unhex::<16>(&head.checkpoint.record).is_none() {
            return Err(Error::malformed(what, "a hash in it is not one"));
        }
        if !key.verifies(&head.checkpoint) {
            return Err(Error::malformed(what, "its signature is not valid"));
        }
        Ok(head)
    }

    /// As it is written: one line of JSON.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The key that signed it.
    pub fn key(&self) -> Option<PublicKey> {
        let Checkpoint { key, .. } = &self.checkpoint;
        PublicKey::from_entry(&PublicKeyOf { key: key.clone(), public_key: self.public_key.clone() })
    }

    /// The chain that is signed for.
    pub(crate) fn chain(&self) -> Option<crate::chain::Chain> {
        let Checkpoint { sequence, head, .. } = &self.checkpoint;
        Some(crate::chain::Chain { sequence: *sequence, head: unhex(head)? })
    }

    /// Whether it is of this record.
    pub(crate) fn is_of(&self, record: [u8; 16]) -> bool {
        self.checkpoint.record == hex(&record)
    }

    /// Reads the file. `None`: there is none.
    pub(crate) fn load(disk: &dyn Disk) -> Result<Option<Result<Head, Error>>, Error> {
        let path = disk.path(FILE);
        let file = match disk.open(FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("open", &path))?,
        };
        let length = file.length().map_err(Error::io("measure", &path))?.min(FILE_BYTES_MAX);
        let mut bytes = vec![0; length as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64).map_err(Error::io("read", &path))? {
                0 => break,
                more => filled += more,
            }
        }
        let text = String::from_utf8(bytes).unwrap_or_default();
        Ok(Some(Head::parse(&text, &path.display().to_string())))
    }

    pub(crate) fn write(&self, disk: &dyn Disk) -> Result<(), Error> {
        replace(disk, FILE, TEMPORARY, self.to_json().as_bytes())
    }
}
