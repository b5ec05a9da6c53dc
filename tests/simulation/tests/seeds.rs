//! The seeds of the ordinary test run. A seed that fails tells how to replay it; `cargo run -p ravelin-simulation` runs more.

use ravelin_simulation::World;

fn run(seeds: std::ops::Range<u64>, steps: u64) {
    for seed in seeds {
        World::new(seed).run(steps);
    }
}

#[test]
fn many_worlds() {
    run(0..2_000, 2_000);
}

#[test]
fn some_long_worlds() {
    run(10_000..10_040, 20_000);
}
