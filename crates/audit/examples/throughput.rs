//! What the record costs: `cargo run --release -p ravelin-audit --example throughput [DIRECTORY]`.
//!
//! Transmissions with a payload of 256 bytes, hashed, written as texts, chained, encrypted, synced, signed; in batches as a busy
//! shard hands them over, and one by one as a single client waits for each. Then the time to verify all of it.

use ravelin_audit::entry::{Entry, Transmission, What};
use ravelin_audit::{Draft, Options, ReadOnlyDisk, Recording, hex, sha256, verify};
use ravelin_store::{Keys, RealDisk};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const PAYLOAD: usize = 256;
const BATCHES: u64 = 2000;
const BATCH: u64 = 250;
const SINGLE: u64 = 500;

fn draft(id: u64) -> Draft {
    let payload = vec![id as u8; PAYLOAD];
    Draft::traffic(PAYLOAD, move || {
        let message = Transmission {
            id: format!("{id:016x}"),
            client_id: "meter-000017".into(),
            identity: Some("meter-000017".into()),
            certificate: Some("0".repeat(64)),
            address: Some("192.0.2.17:49152".into()),
            topic: "meters/000017/reading".into(),
            sha256: hex(&sha256(&payload)),
            bytes: payload.len() as u64,
            qos: 1,
            retain: false,
            duplicate: false,
        };
        Entry::new(1_800_000_000_000, What::Transmission(message))
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(parent)?;
    let (path, key) = (folder.path().join("record"), folder.path().join("key"));
    Keys::create(&key)?;
    let now_ms = std::time::UNIX_EPOCH.elapsed()?.as_millis() as u64;
    let disk = Arc::new(RealDisk::open(&path)?);
    let (recording, _) = Recording::start(disk, Keys::load(&key)?, Options::default(), now_ms, |_| {})?;
    let recorder = recording.recorder();
    let (wake, woken) = mpsc::channel();
    recorder.on_progress(move || wake.send(()).unwrap_or(()));
    let settle = |ticket| {
        while recorder.durable() < ticket {
            let _ = woken.recv_timeout(Duration::from_millis(100));
        }
    };
    let start = Instant::now();
    let mut last = 0;
    for batch in 0..BATCHES {
        while recorder.is_full() {
            let _ = woken.recv_timeout(Duration::from_millis(10));
        }
        last = recorder.append((0..BATCH).map(|n| draft(batch * BATCH + n)));
    }
    settle(last);
    let (entries, elapsed) = (BATCHES * BATCH, start.elapsed().as_secs_f64());
    println!("batches: {entries} entries in {elapsed:.2} s: {:.0} a second", entries as f64 / elapsed);
    let mut times = Vec::new();
    for id in 0..SINGLE {
        let start = Instant::now();
        settle(recorder.append([draft(id)]));
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!(
        "one by one: median {:?}, 99th percentile {:?}",
        times[times.len() / 2],
        times[times.len() * 99 / 100]
    );
    let bytes = recorder.status().bytes;
    println!("on disk: {} bytes an entry", bytes / (entries + SINGLE));
    recording.close()?;
    let start = Instant::now();
    let found = verify(&ReadOnlyDisk::new(&path), &Keys::load(&key)?, Vec::new(), None)?;
    assert!(found.is_whole(), "{:?}", found.damage);
    let elapsed = start.elapsed().as_secs_f64();
    println!(
        "verify: {:.2} s, {:.0} entries a second, {} signatures",
        elapsed,
        found.entries as f64 / elapsed,
        found.checkpoints
    );
    Ok(())
}
