//! An encrypted, durable, strictly ordered record log with group commit.
//!
//! A record is opaque bytes. Several [`Producer`]s (one per shard) hand whole batches of records to one writer
//! thread, which encrypts everything that is pending into few frames, writes them at once, syncs once, and then
//! tells each producer how far its records are durable. On start the log is replayed through [`Recovery`].
//!
//! The log is cut by *checkpoints*: every producer re-emits its whole state as ordinary records, after which the
//! older segments are deleted. Records must therefore be idempotent: after a crash inside a checkpoint, the old
//! records are replayed first and the part of the new state that had been written comes after them.
//!
//! ```
//! use ravelin_store::{Keys, Options, RealDisk, Store, push_record};
//! use std::sync::{Arc, mpsc};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let (store_path, key_path) = (folder.path().join("store"), folder.path().join("key"));
//! Keys::create(&key_path)?;
//! let disk = Arc::new(RealDisk::open(&store_path)?);
//! let (store, recovery) = Store::open(disk, Keys::load(&key_path)?, Options::default())?;
//! let report = recovery.for_each_record(|record| println!("{record:?}"))?;
//! assert_eq!(report.records, 0);
//!
//! let (wake, wakes) = mpsc::channel();
//! let mut producer = store.producer(0, Box::new(move || wake.send(()).unwrap_or(())))?;
//! let mut batch = producer.recycle();
//! push_record(&mut batch, b"a record");
//! let last = producer.append(batch)?;
//! while producer.durable() < last {
//!     wakes.recv()?;
//! }
//! store.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! What this crate does not do: it has no index, it cannot read a record by its position, and it knows
//! nothing of MQTT. The format on disk, and what can and cannot be detected of tampering, is in `FORMAT.md`.
#![forbid(unsafe_code)]

mod crypto;
mod disk;
mod error;
mod frames;
mod keys;
mod layout;
mod log;
mod manifest;
mod options;
mod queue;
mod recovery;
mod repair;
mod report;
mod segment;
mod shared;
mod stats;
mod store;
#[doc(hidden)]
pub mod testing;
mod verify;
mod writer;

pub use crypto::SealingKey;
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::{Error, Refused};
pub use frames::{FrameWriter, OpenedSegment, SegmentEnd, SegmentFrames, segment_file_name, segment_numbers};
pub use keys::{KeyId, Keys};
pub use options::{Durability, Options, Preallocate};
pub use queue::{CheckpointId, Producer, Seq, push_record};
pub use recovery::Recovery;
pub use report::{Damage, DamageKind, Report, TornTail};
pub use stats::{Latency, Stats};
pub use store::Store;
