//! For tests and fuzz targets alone; no part of the API, and may change at any time.

use crate::entry::{Delivery, Entry, How, What};
use crate::error::Error;
use crate::head::Head;
use crate::log::{OpenReport, RecordLog};
use crate::{body, export, verify};
use ravelin_store::testing::{SimDisk, keys};
use ravelin_store::{Disk, Keys};
use std::sync::{Arc, OnceLock};

/// The record without its thread, for tests that decide on every step.
pub struct Engine {
    log: RecordLog,
}

#[allow(missing_docs)]
impl Engine {
    pub fn open(
        disk: Arc<dyn Disk>,
        store: Keys,
        segment_bytes_max: u64,
        now_ms: u64,
    ) -> Result<(Engine, OpenReport), Error> {
        let (log, report) = RecordLog::open(disk, Arc::new(store), ("test", "0"), segment_bytes_max, now_ms)?;
        Ok((Engine { log }, report))
    }

    pub fn append(&mut self, entry: &Entry) -> Result<u64, Error> {
        self.log.append(entry)?;
        Ok(self.log.sequence())
    }

    pub fn commit(&mut self) -> Result<(), Error> {
        self.log.commit()
    }

    pub fn checkpoint(&mut self, now_ms: u64) -> Result<Head, Error> {
        self.log.checkpoint(now_ms, false)
    }

    pub fn rotate_if_due(&mut self, now_ms: u64) -> Result<(), Error> {
        self.log.rotate_if_due(now_ms)
    }

    pub fn rotate_keys(&mut self, store: Keys, now_ms: u64) -> Result<(), Error> {
        self.log.rotate_keys(Some(store), now_ms)
    }

    pub fn prune(
        &mut self,
        keep_from_ms: u64,
        bytes_max: u64,
        force: bool,
        now_ms: u64,
    ) -> Result<Option<u64>, Error> {
        self.log.prune(keep_from_ms, bytes_max, force, now_ms)
    }

    pub fn close(&mut self, now_ms: u64) -> Result<Head, Error> {
        self.log.close(now_ms)
    }

    pub fn sequence(&self) -> u64 {
        self.log.sequence()
    }

    pub fn record(&self) -> [u8; 16] {
        self.log.record()
    }
}

/// Any bytes as every structure of a record and of an export, and over a sound record.
pub fn fuzz(bytes: &[u8]) {
    body::items(bytes).for_each(drop);
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Some(entry) = Entry::from_json(text) {
            assert_eq!(Entry::from_json(&entry.to_json()), Some(entry));
        }
        let _ = Head::parse(text, "fuzz");
        let _ = crate::PublicKey::from_pem(text);
    }
    let _ = export::verify(&mut &*bytes, "fuzz", Vec::new(), None);
    let sound = sound_record();
    for name in ["KEYS", "HEAD", "segment-0000000000000001.log"] {
        let disk = sound.fork();
        disk.put(name, bytes);
        open_and_verify(&disk);
    }
    // Written over a part of the segment: two bytes say where.
    if let [low, high, patch @ ..] = bytes {
        let disk = sound.fork();
        let mut file = disk.read("segment-0000000000000001.log");
        let at = usize::from(u16::from_le_bytes([*low, *high])) % (file.len() + 1);
        let overlap = patch.len().min(file.len() - at);
        let changed = file[at..at + overlap] != patch[..overlap]
            || patch.len() > overlap && patch[overlap..].iter().any(|byte| *byte != 0);
        file[at..at + overlap].copy_from_slice(&patch[..overlap]);
        file.extend_from_slice(&patch[overlap..]);
        disk.put("segment-0000000000000001.log", &file);
        if let Ok(found) = verify(&disk, &keys(&[1]), Vec::new(), None) {
            assert_eq!(found.is_whole() && found.unfinished_bytes == 0, !changed, "{found:?}");
        }
        open_and_verify(&disk);
    }
}

fn open_and_verify(disk: &SimDisk) {
    let _ = verify(disk, &keys(&[1]), Vec::new(), None);
    if let Ok((mut engine, _)) = Engine::open(Arc::new(disk.clone()), keys(&[1]), 1 << 20, 9) {
        let _ = engine.append(&delivery(1));
        let _ = engine.commit();
        drop(engine);
        // Whatever was there, it goes on, and is verified again.
        let _ = verify(disk, &keys(&[1]), Vec::new(), None);
    }
}

/// An entry for tests.
pub fn delivery(id: u64) -> Entry {
    let what = Delivery {
        id: id.to_string(),
        client_id: format!("client {id}"),
        identity: None,
        qos: 1,
        how: How::Acknowledged,
    };
    Entry::new(1000 + id, What::Delivery(what))
}

fn sound_record() -> &'static SimDisk {
    static SOUND: OnceLock<SimDisk> = OnceLock::new();
    SOUND.get_or_init(|| {
        let disk = SimDisk::new(0);
        let (mut engine, _) = Engine::open(Arc::new(disk.clone()), keys(&[1]), 1 << 20, 1)
            .expect("a new record opens on a sound disk");
        for id in 0..3 {
            engine.append(&delivery(id)).expect("a sound disk");
            engine.commit().expect("a sound disk");
        }
        engine.close(5).expect("a sound disk");
        disk
    })
}

/// Files of a sound record, an export of it, and single entries.
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let disk = sound_record();
    let mut text = Vec::new();
    let mut reader = crate::Reader::open(Arc::new(disk.clone()), &keys(&[1])).expect("a sound record");
    export::write(&mut reader, &mut text, |item| item.sequence != 4).expect("a sound record");
    let mut body = Vec::new();
    body::push(&mut body, &[7; 16], delivery(1).to_json().as_bytes());
    body::push(&mut body, &[8; 16], Entry::new(2, What::Stopped {}).to_json().as_bytes());
    let reader = crate::Reader::open(Arc::new(disk.clone()), &keys(&[1])).expect("a sound record");
    vec![
        ("body", body),
        ("entry", delivery(1).to_json().into_bytes()),
        ("export", text),
        ("head", disk.read("HEAD")),
        ("keys", disk.read("KEYS")),
        ("public-key", reader.public_key().to_pem().into_bytes()),
        ("segment", disk.read("segment-0000000000000001.log")),
    ]
}
