//! What a rate costs a publish: `cargo run --release -p ravelin-protect --example rates_bench`.
//!
//! Three windows for messages and one for bytes, as a bucket that several shards share and as one that one shard alone
//! counts in, alternately; the fastest of ten rounds each.

use ravelin_protect::rates::{Bucket, Windows};
use std::hint::black_box;
use std::time::Instant;

const PUBLISHES: u64 = 5_000_000;

fn main() {
    let messages = Windows::parse(["1000000/s", "50000000/m", "1000000000/h"]).expect("rates");
    let bytes = Windows::parse(["1GiB/s"]).expect("a rate");
    let [shared, alone] = [(); 2].map(|()| (Bucket::new(&messages), Bucket::new(&bytes)));
    let mut best = [f64::MAX; 2];
    for _ in 0..10 {
        let took = time(|now_ms, length| {
            shared.0.charge(black_box(&messages), now_ms, 1)
                + shared.1.charge(black_box(&bytes), now_ms, length)
        });
        best[0] = best[0].min(took);
        let took = time(|now_ms, length| {
            alone.0.charge_alone(black_box(&messages), now_ms, 1)
                + alone.1.charge_alone(black_box(&bytes), now_ms, length)
        });
        best[1] = best[1].min(took);
    }
    println!("shared {:.1} ns a publish, alone {:.1} ns", best[0], best[1]);
}

/// Nanoseconds of one publish.
fn time(charge: impl Fn(u64, u64) -> u64) -> f64 {
    let started = Instant::now();
    for publish in 0..PUBLISHES {
        black_box(charge(1000 + publish / 1000, black_box(80)));
    }
    started.elapsed().as_nanos() as f64 / PUBLISHES as f64
}
