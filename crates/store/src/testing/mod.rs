//! For tests and fuzz targets alone; no part of the API, and may change at any time.

mod sim_disk;

pub use sim_disk::{Fault, SimDisk};

use crate::{
    Disk, Error, Keys, Options, Preallocate, Recovery,
    layout::{FrameHeader, HEADER_BYTES, Records, SegmentHeader},
    log::Log,
    manifest::{MANIFEST, Manifest},
    push_record,
};
use std::sync::{Arc, OnceLock};

/// Keys that are the same each time; the first is the current one.
pub fn keys(seeds: &[u8]) -> Keys {
    let bytes: Vec<[u8; 32]> = seeds.iter().map(|seed| [*seed; 32]).collect();
    Keys::fixed(&bytes).expect("fixed keys derive their ids")
}

/// The log without its writer thread, for tests that decide on every step.
pub struct Engine {
    log: Log,
}

#[allow(missing_docs)]
impl Engine {
    pub fn open(disk: Arc<dyn Disk>, keys: Keys, options: &Options) -> Result<(Engine, Recovery), Error> {
        let (log, recovery) = Log::open(&disk, keys, options)?;
        Ok((Engine { log }, recovery))
    }

    pub fn append(&mut self, batches: &[&[u8]]) -> Result<(), Error> {
        self.log.append(batches.iter().copied())
    }

    pub fn sync(&mut self) -> Result<(), Error> {
        self.log.sync()
    }

    pub fn anchor(&mut self) -> Result<(), Error> {
        self.log.anchor()
    }

    pub fn begin_checkpoint(&mut self) -> Result<u64, Error> {
        self.log.begin_checkpoint()
    }

    pub fn end_checkpoint(&mut self, first_segment: u64) -> Result<(), Error> {
        self.log.end_checkpoint(first_segment)?
    }

    pub fn replace_keys(&mut self, keys: Keys) -> Result<(), Error> {
        self.log.replace_keys(keys)
    }

    pub fn close(&mut self) -> Result<(), Error> {
        self.log.close()
    }
}

/// A fuzz target over everything that is read from disk: no bytes may cause a panic, a hang or a large allocation.
///
/// The bytes are read as each structure as they are; written over a part of a sound log's segment or manifest, which
/// is then opened strictly and with its damage accepted; and sealed into an authentic frame, so that what comes after
/// authentication is reached too.
pub fn fuzz_open(bytes: &[u8]) {
    if let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
        let _ = SegmentHeader::parse(header);
    }
    let _ = FrameHeader::parse(bytes);
    let _ = Records::count(bytes);
    let _ = Manifest::decode([0; 16], bytes);
    let _ = Keys::parse_for_fuzzing(bytes);

    let disk = sound_log().fork();
    if let [selector, high, low, patch @ ..] = bytes {
        let segment = disk.names().into_iter().find(|name| name.starts_with("segment"));
        let name = if selector & 1 == 0 { segment.unwrap_or_default() } else { MANIFEST.to_owned() };
        let mut file = disk.read(&name);
        let at = usize::from(u16::from_be_bytes([*high, *low])) % (file.len() + 1);
        if selector & 2 == 0 {
            file.truncate(at);
        }
        let overlap = patch.len().min(file.len() - at);
        file[at..at + overlap].copy_from_slice(&patch[..overlap]);
        file.extend_from_slice(&patch[overlap..]);
        disk.put(&name, &file);
        open_and_drain(&disk, false);
        open_and_drain(&disk, true);
        open_and_drain(&disk, false);
    }

    let disk = SimDisk::new(0);
    if let Ok((mut engine, _)) = Engine::open(Arc::new(disk.clone()), keys(&[1]), &small()) {
        let _ = engine.append(&[bytes]);
        let _ = engine.sync();
    }
    open_and_drain(&disk, false);
}

/// Without room ahead: megabytes of zeros would have to be read each time.
fn small() -> Options {
    Options { preallocate: Preallocate::Off, ..Options::default() }
}

fn open_and_drain(disk: &SimDisk, accept_damage: bool) {
    let options = Options { accept_damage, ..small() };
    if let Ok((_, recovery)) = Engine::open(Arc::new(disk.clone()), keys(&[1]), &options) {
        let _ = recovery.for_each_record(|_| {});
    }
}

fn sound_log() -> &'static SimDisk {
    static SOUND: OnceLock<SimDisk> = OnceLock::new();
    SOUND.get_or_init(|| {
        let disk = SimDisk::new(0);
        let (mut engine, _) = Engine::open(Arc::new(disk.clone()), keys(&[1]), &small())
            .expect("a new log opens on a sound disk");
        for record in [&b"first"[..], b"second", b"third"] {
            let mut batch = Vec::new();
            push_record(&mut batch, record);
            engine.append(&[&batch]).expect("a sound disk");
            engine.sync().expect("a sound disk");
        }
        disk
    })
}
