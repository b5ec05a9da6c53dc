//! What the log costs: batches and records per second, processor time per record, latency of `fdatasync`.
//!
//! ```text
//! cargo run --release -p ravelin-store --example store_bench -- [directory] [seconds per case]
//! ```
//!
//! Each case keeps so many records outstanding: it appends again what has become durable, as publishers do that wait
//! for their acknowledgement.

use ravelin_store::{Durability, Keys, Options, Preallocate, Producer, RealDisk, Store, push_record};
use std::{
    path::Path,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

struct Case {
    name: &'static str,
    producers: usize,
    /// Per producer.
    outstanding: u64,
    record_bytes: usize,
    durability: Durability,
    preallocate: Preallocate,
}

const MIB: u64 = 1 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let seconds = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3.0);
    let case = |name, producers, outstanding, record_bytes, durability, preallocate| Case {
        name,
        producers,
        outstanding,
        record_bytes,
        durability,
        preallocate,
    };
    use Durability::{Commit, Interval};
    use Preallocate::{Off, Reserve, Zero};
    let second = Duration::from_secs(1);
    let cases = [
        case("1 x 1 small", 1, 1, 150, Commit, Off),
        case("1 x 1 small, reserve", 1, 1, 150, Commit, Reserve(16 * MIB)),
        case("1 x 1 small, zero", 1, 1, 150, Commit, Zero(MIB)),
        case("2 x 40 small", 2, 40, 150, Commit, Off),
        case("2 x 40 small, reserve", 2, 40, 150, Commit, Reserve(16 * MIB)),
        case("2 x 40 small, zero", 2, 40, 150, Commit, Zero(MIB)),
        case("2 x 2000 small", 2, 2000, 150, Commit, Off),
        case("2 x 2000 small, zero", 2, 2000, 150, Commit, Zero(MIB)),
        case("2 x 16 of 64 KiB", 2, 16, 64 << 10, Commit, Off),
        case("2 x 16 of 64 KiB, zero", 2, 16, 64 << 10, Commit, Zero(MIB)),
        case("2 x 2000 small, interval", 2, 2000, 150, Interval(second), Off),
    ];
    println!(
        "{:<26} {:>10} {:>11} {:>9} {:>9} {:>10} {:>9} {:>9} {:>9}",
        "case", "commits/s", "records/s", "MiB/s", "rec/comm", "cpu us/rec", "sync us", "p99 us", "max us"
    );
    for case in &cases {
        measure(&folder, seconds, case);
    }
    measure_recovery(&folder);
}

/// How long a start takes with a log of 256 MiB of small records.
fn measure_recovery(folder: &Path) {
    let folder = folder.join(format!("store-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder to write in");
    Keys::create(folder.join("key")).expect("a key");
    let open = || {
        let disk = Arc::new(RealDisk::open(folder.join("store")).expect("the directory opens"));
        let keys = Keys::load(folder.join("key")).expect("the key");
        // No checkpoint begins while this runs.
        let options = Options { checkpoint_bytes_min: 1 << 40, ..Options::default() };
        Store::open(disk, keys, options).expect("the store opens")
    };
    let (store, _) = open();
    let (sender, wakes) = mpsc::sync_channel(1);
    let wake = Box::new(move || {
        let _ = sender.try_send(());
    });
    let mut producer = store.producer(0, wake).expect("a producer");
    let mut written = 0;
    while written < 256 * MIB {
        let mut batch = producer.recycle();
        (0..500).for_each(|_| push_record(&mut batch, &[0x42; 150]));
        written += batch.len() as u64;
        let last = producer.append(batch).expect("the queue has room");
        while producer.durable() < last {
            let _ = wakes.recv_timeout(Duration::from_secs(1));
        }
    }
    store.close().expect("the disk holds");
    let begin = Instant::now();
    let (store, recovery) = open();
    let opened = begin.elapsed();
    let mut bytes = 0;
    let report = recovery.for_each_record(|record| bytes += record.len()).expect("the log is sound");
    println!(
        "start with {} records, {} MiB: verified in {opened:.0?}, replayed after {:.0?}",
        report.records,
        bytes as u64 / MIB,
        begin.elapsed()
    );
    store.close().expect("the disk holds");
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}

fn measure(folder: &Path, seconds: f64, case: &Case) {
    let folder = folder.join(format!("store-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder to write in");
    let disk = Arc::new(RealDisk::open(folder.join("store")).expect("the directory opens"));
    let options = Options {
        producers: case.producers,
        durability: case.durability,
        preallocate: case.preallocate,
        ..Options::default()
    };
    let (store, _) = Store::open(disk, Keys::generate().expect("a key"), options).expect("the store opens");
    let cpu = cpu_time();
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(seconds);
    thread::scope(|scope| {
        for index in 0..case.producers {
            let (sender, wakes) = mpsc::sync_channel(1);
            let wake = Box::new(move || {
                let _ = sender.try_send(());
            });
            let producer = store.producer(index, wake).expect("a producer");
            scope.spawn(move || produce(producer, &wakes, end, case));
        }
    });
    let elapsed = begin.elapsed().as_secs_f64();
    let cpu = cpu_time() - cpu;
    let stats = store.stats();
    store.close().expect("the disk holds");
    println!(
        "{:<26} {:>10.0} {:>11.0} {:>9.1} {:>9.1} {:>10.2} {:>9} {:>9} {:>9}",
        case.name,
        stats.commits as f64 / elapsed,
        stats.records as f64 / elapsed,
        stats.bytes_written as f64 / elapsed / MIB as f64,
        stats.records as f64 / stats.commits as f64,
        cpu * 1e6 / stats.records as f64,
        stats.sync_latency.mean().as_micros(),
        stats.sync_latency.quantile(0.99).as_micros(),
        stats.sync_latency.max.as_micros(),
    );
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}

fn produce(mut producer: Producer, wakes: &mpsc::Receiver<()>, end: Instant, case: &Case) {
    let record = vec![0x42; case.record_bytes];
    while Instant::now() < end {
        if let Some(id) = producer.checkpoint_wanted() {
            // No state is kept here, so there is none to repeat.
            producer.checkpoint_done(id);
        }
        let room = case.outstanding - (producer.last() - producer.durable());
        if room == 0 {
            let _ = wakes.recv_timeout(Duration::from_secs(1));
            continue;
        }
        let mut batch = producer.recycle();
        for _ in 0..room {
            push_record(&mut batch, &record);
        }
        producer.append(batch).expect("the queue has room");
    }
}

/// User and system time of this process, in seconds.
fn cpu_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
