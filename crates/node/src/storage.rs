//! Where a node keeps its state: the directory, the keys, the secret of the node, the store.

use crate::config::{Config, Durability};
use crate::control::is_programme_record;
use crate::error::Error;
use crate::log::EventSink;
use ravelin_event::Event;
use ravelin_protect::NodeSecret;
use ravelin_store::{KeyId, Keys, Options, RealDisk, Recovery, Report, Store, push_record};
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of records that are handed to the shards at once.
const REPLAY_BATCH_BYTES: usize = 1 << 20;
const SECRET_FILE: &str = "node.secret";
const KEY_FILE: &str = "store.key";

/// The directory of a node.
pub(crate) struct Place {
    directory: PathBuf,
    /// Made for this run only, and removed after it.
    temporary: bool,
}

/// A store that was opened and not replayed.
pub(crate) struct Opened {
    pub store: Store,
    pub recovery: Recovery,
    /// The key that is written with.
    pub key: KeyId,
}

impl Place {
    /// Makes the directory if it does not exist. Without one in the configuration, a fresh one that lasts as long as
    /// the node.
    pub fn prepare(config: &Config) -> Result<Place, Error> {
        let place = match &config.node.data {
            Some(directory) => Place { directory: directory.clone(), temporary: false },
            None => {
                let name = format!("ravelin-{:016x}", u64::from_le_bytes(ravelin_protect::random()?));
                Place { directory: std::env::temp_dir().join(name), temporary: true }
            }
        };
        DirBuilder::new().recursive(!place.temporary).mode(0o700).create(&place.directory).map_err(
            |source| Error::Directory {
                operation: "create the directory",
                path: place.directory.clone(),
                source,
            },
        )?;
        Ok(place)
    }

    /// The secret that stays the same between restarts.
    pub fn secret(&self) -> Result<NodeSecret, Error> {
        if self.temporary {
            return Ok(NodeSecret::generate()?);
        }
        let path = self.directory.join(SECRET_FILE);
        let failed = |operation: &'static str| {
            let path = path.clone();
            move |source| Error::Directory { operation, path, source }
        };
        match fs::read(&path) {
            Ok(bytes) => {
                let bytes: [u8; 32] = bytes.try_into().map_err(|_| {
                    failed("read")(io::Error::other("it is not 32 bytes; delete it to have it made anew"))
                })?;
                Ok(NodeSecret::new(bytes))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let bytes: [u8; 32] = ravelin_protect::random()?;
                let mut options = OpenOptions::new();
                let file = options.write(true).create_new(true).mode(0o600).open(&path);
                let mut file = file.map_err(failed("create"))?;
                file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed("write"))?;
                Ok(NodeSecret::new(bytes))
            }
            Err(error) => Err(failed("read")(error)),
        }
    }

    pub fn open(&self, config: &Config, shards: usize) -> Result<Opened, Error> {
        let directory = self.directory.join("log");
        let disk = RealDisk::open(&directory).map_err(|source| Error::Directory {
            operation: "open the directory",
            path: directory.clone(),
            source,
        })?;
        let options = Options {
            durability: match config.store.durability {
                Durability::Commit => ravelin_store::Durability::Commit,
                Durability::Interval => ravelin_store::Durability::Interval(config.store.interval),
                Durability::None => ravelin_store::Durability::None,
            },
            // One for each shard, and one for the programme's records.
            producers: shards + 1,
            ..Options::default()
        };
        let keys = self.keys(config)?;
        let key = keys.current_id();
        let (store, recovery) = Store::open(Arc::new(disk), keys, options)?;
        Ok(Opened { store, recovery, key })
    }

    /// The keys that the configuration names; an open node makes its own.
    pub fn keys(&self, config: &Config) -> Result<Keys, Error> {
        let own = self.directory.join(KEY_FILE);
        let keys = match &config.store.key_file {
            Some(path) => Keys::load(path),
            None if self.temporary => Keys::generate(),
            None if own.exists() => Keys::load(own),
            None => Keys::create(own),
        };
        Ok(keys?)
    }

    /// The key file as it is now, if the configuration names one and its current key is not `used`.
    pub fn new_keys(&self, config: &Config, used: KeyId) -> Result<Option<Keys>, Error> {
        let Some(path) = &config.store.key_file else { return Ok(None) };
        let keys = Keys::load(path)?;
        Ok((keys.current_id() != used).then_some(keys))
    }

    pub fn remove_if_temporary(&self) {
        if self.temporary {
            // What is left of it is unreadable: its key is gone.
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    #[cfg(test)]
    fn path(&self) -> &std::path::Path {
        &self.directory
    }
}

/// Hands the core's records to `deliver`, in batches, and the others to `programme`; returns how many records and bytes there were.
pub(crate) fn replay(
    mut recovery: Recovery,
    mut programme: impl FnMut(&[u8]),
    mut deliver: impl FnMut(Arc<Vec<u8>>) -> Result<(), Error>,
) -> Result<(u64, u64), Error> {
    let (mut records, mut bytes) = (0, 0);
    let mut batch = Vec::new();
    while let Some(record) = recovery.next_record()? {
        records += 1;
        bytes += record.len() as u64;
        if is_programme_record(record) {
            programme(record);
            continue;
        }
        push_record(&mut batch, record);
        if batch.len() >= REPLAY_BATCH_BYTES {
            deliver(Arc::new(std::mem::take(&mut batch)))?;
        }
    }
    if !batch.is_empty() {
        deliver(Arc::new(batch))?;
    }
    Ok((records, bytes))
}

/// Says what was found when the log was opened.
pub(crate) fn report(report: &Report, sink: &EventSink, now_ms: u64) {
    if let Some(torn) = &report.torn_tail {
        let event = Event::TornTail { segment: torn.segment, offset: torn.offset, bytes: torn.bytes_lost };
        sink.emit(now_ms, event);
    }
    for damage in &report.damage {
        let (segment, offset) = (damage.segment.unwrap_or(0), damage.offset);
        sink.emit(now_ms, Event::StoreDamaged { segment, offset, detail: damage.to_string() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_of_a_node_is_made_once_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let data = Some(directory.path().join("data"));
        let config = Config::dangerous_open(([127, 0, 0, 1], 0).into(), data, 1).unwrap();
        let place = Place::prepare(&config).unwrap();
        place.secret().unwrap();
        let file = place.path().join(SECRET_FILE);
        let first = fs::read(&file).unwrap();
        place.secret().unwrap();
        assert_eq!(fs::read(&file).unwrap(), first);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(place.path()).unwrap().permissions().mode() & 0o777, 0o700);
        place.remove_if_temporary();
        assert!(file.exists());
    }

    #[test]
    fn without_a_directory_nothing_stays() {
        let config = Config::dangerous_open(([127, 0, 0, 1], 0).into(), None, 1).unwrap();
        let place = Place::prepare(&config).unwrap();
        assert!(place.path().exists());
        place.remove_if_temporary();
        assert!(!place.path().exists());
    }
}
