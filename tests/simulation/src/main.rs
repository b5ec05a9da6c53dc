//! Long soaks: `cargo run -p ravelin-simulation --release -- --seeds N --steps M --start S`.

use ravelin_simulation::World;

fn main() {
    let (mut seeds, mut steps, mut start) = (1_000, 5_000, 0);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().and_then(|value| value.parse::<u64>().ok());
        let place = match name.as_str() {
            "--seeds" => &mut seeds,
            "--steps" => &mut steps,
            "--start" => &mut start,
            _ => usage(),
        };
        *place = value.unwrap_or_else(|| usage());
    }
    for seed in start..start + seeds {
        World::new(seed).run(steps);
        if (seed + 1 - start).is_multiple_of(100) {
            println!("{} seeds", seed + 1 - start);
        }
    }
    println!("{seeds} seeds of {steps} steps, from {start} on: nothing found");
}

fn usage() -> ! {
    eprintln!("usage: ravelin-simulation [--seeds N] [--steps M] [--start S]");
    std::process::exit(2)
}
