//! The keys of the record, sealed with the key of the store: those that encrypt segments, and the one that signs.
//!
//! The record has data keys of its own, so that a rotated store key can be dropped although old segments stay; and the
//! signing key is on disk in no other form.

use crate::chain::Signer;
use crate::error::Error;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ravelin_store::{Disk, KeyId, Keys};
use serde::{Deserialize, Serialize};
use std::io;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub(crate) const FILE: &str = "KEYS";
const TEMPORARY: &str = "KEYS.tmp";
const MAGIC: &[u8; 8] = b"RAVELKEY";
const VERSION: u32 = 1;
/// Magic, version, zero, id of the store's key, salt.
const HEAD_BYTES: usize = 8 + 4 + 4 + 8 + 32;
const FILE_BYTES_MAX: u64 = 4 << 20;
const PURPOSE: &str = "ravelin record keys";
/// Data keys that may be in use at once: one for each rotation that a retained segment has lived through.
const DATA_KEYS_MAX: usize = 4096;

/// The keys of a record.
pub(crate) struct Ring {
    pub record: [u8; 16],
    /// The current one first.
    pub data: Keys,
    pub signer: Signer,
    secrets: Secrets,
    /// The key of the store that the file is sealed with.
    pub sealed_with: KeyId,
}

/// What is sealed. Zeroed on drop.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Secrets {
    record: [u8; 16],
    data: Vec<[u8; 32]>,
    /// PKCS #8, in Base64.
    signing: String,
}

impl Ring {
    /// Makes the keys of a new record, and the file.
    pub fn create(disk: &dyn Disk, store: &Keys) -> Result<Ring, Error> {
        let secrets = Secrets {
            record: random()?,
            data: vec![random()?],
            signing: STANDARD.encode(Signer::generate()?.as_slice()),
        };
        let ring = Ring::of(secrets, store.current_id())
            .ok_or(Error::Crypto { operation: "use a key that it has made" })?;
        ring.write(disk, store)?;
        Ok(ring)
    }

    /// Opens the file with whichever key of `store` it is sealed with. `None`: there is none.
    pub fn load(disk: &dyn Disk, store: &Keys) -> Result<Option<Ring>, Error> {
        let path = disk.path(FILE);
        let problem = |problem: &str| Error::Ring { path: path.clone(), problem: problem.into() };
        let file = match disk.open(FILE) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(Error::io("open", &path))?,
        };
        let length = file.length().map_err(Error::io("measure", &path))?;
        if length > FILE_BYTES_MAX {
            return Err(problem("it is far too large"));
        }
        let mut bytes = vec![0; length as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64).map_err(Error::io("read", &path))? {
                0 => return Err(problem("it became shorter while it was read")),
                more => filled += more,
            }
        }
        let Some((head, sealed)) = bytes.split_at_mut_checked(HEAD_BYTES) else {
            return Err(problem("it is too short"));
        };
        if head[..8] != *MAGIC {
            return Err(problem("it does not begin as such a file does"));
        }
        if head[8..12] != VERSION.to_le_bytes() {
            return Err(problem("it has a version that this version cannot read"));
        }
        let (mut id, mut salt) = ([0; 8], [0; 32]);
        id.copy_from_slice(&head[16..24]);
        salt.copy_from_slice(&head[24..56]);
        let id = KeyId::from_bytes(id);
        let Some(key) = store.derive(id, &salt, PURPOSE)? else {
            return Err(problem(&format!(
                "they are sealed with the store's key {id}, which the key file does not hold"
            )));
        };
        let opened = key.open(0, head, sealed).ok_or_else(|| problem("they are not authentic"))?;
        let secrets = serde_json::from_slice(opened);
        opened.zeroize();
        let ring = secrets.ok().and_then(|secrets| Ring::of(secrets, id));
        ring.map(Some).ok_or_else(|| problem("they cannot be understood"))
    }

    fn of(secrets: Secrets, sealed_with: KeyId) -> Option<Ring> {
        let data = Keys::kept_elsewhere(&secrets.data).ok()?;
        let signing = Zeroizing::new(STANDARD.decode(&secrets.signing).ok()?);
        let signer = Signer::from_pkcs8(&signing)?;
        Some(Ring { record: secrets.record, data, signer, secrets, sealed_with })
    }

    /// The same record with a new data key and a new signing key; nothing is written yet.
    pub fn rotated(&self, store: &Keys) -> Result<Ring, Error> {
        let mut data = vec![random()?];
        data.extend_from_slice(&self.secrets.data);
        data.truncate(DATA_KEYS_MAX);
        let secrets =
            Secrets { record: self.record, data, signing: STANDARD.encode(Signer::generate()?.as_slice()) };
        Ring::of(secrets, store.current_id()).ok_or(Error::Crypto { operation: "use a key that it has made" })
    }

    /// Drops the data keys that no segment uses any more.
    pub fn retain(&mut self, disk: &dyn Disk, store: &Keys, used: &[KeyId]) -> Result<(), Error> {
        let ids = self.data.ids();
        let keep = |index: usize| index == 0 || ids.get(index).is_some_and(|id| used.contains(id));
        if (0..ids.len()).all(keep) {
            return Ok(());
        }
        let mut index = 0;
        self.secrets.data.retain(|_| {
            index += 1;
            keep(index - 1)
        });
        self.data = Keys::kept_elsewhere(&self.secrets.data)?;
        self.write(disk, store)
    }

    /// Replaces the file, sealed with the current key of `store`.
    pub fn write(&self, disk: &dyn Disk, store: &Keys) -> Result<(), Error> {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        let salt: [u8; 32] = random()?;
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&VERSION.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&store.current_id().to_bytes());
        head.extend_from_slice(&salt);
        let failed = Error::Crypto { operation: "find the store's key" };
        let key = store.derive(store.current_id(), &salt, PURPOSE)?.ok_or(failed)?;
        // Sized ahead: a growing buffer would leave copies of the keys in freed memory.
        let mut text = Zeroizing::new(Vec::with_capacity(1024 + 160 * self.secrets.data.len()));
        serde_json::to_writer(&mut *text, &self.secrets)
            .map_err(|_| Error::Crypto { operation: "write down its keys" })?;
        let tag = key.seal(0, &head, &mut text)?;
        let bytes = [&head[..], &text, &tag].concat();
        replace(disk, FILE, TEMPORARY, &bytes)
    }
}

/// Replaces a file as a whole.
pub(crate) fn replace(disk: &dyn Disk, name: &str, temporary: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = disk.path(temporary);
    match disk.remove(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &path)(error));
        }
        _ => {}
    }
    let mut file = disk.create(temporary).map_err(Error::io("create", &path))?;
    file.write_at(bytes, 0).map_err(Error::io("write", &path))?;
    file.sync().map_err(Error::io("sync", &path))?;
    drop(file);
    disk.rename(temporary, name).map_err(Error::io("replace", disk.path(name)))?;
    disk.sync_dir().map_err(Error::io("sync directory", disk.path("")))
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Error::Crypto { operation: "draw random bytes" })?;
    Ok(bytes)
}
