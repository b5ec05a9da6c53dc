//! Long soaks: `cargo run -p ravelin-simulation --release -- --seeds N --steps M --start S`.

use ravelin_simulation::World;
use std::panic::catch_unwind;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut seeds, mut steps, mut start) = (1_000, 5_000, 0);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().and_then(|value| value.parse::<u64>().ok());
        let place = match name.as_str() {
            "--seeds" => &mut seeds,
            "--steps" => &mut steps,
            "--start" => &mut start,
            _ => return usage(),
        };
        let Some(value) = value else { return usage() };
        *place = value;
    }
    let fails = |seed: &u64| catch_unwind(|| World::new(*seed).run(steps)).is_err();
    let failed: Vec<u64> = (start..start + seeds).filter(fails).collect();
    if failed.is_empty() {
        println!("{seeds} seeds of {steps} steps, from {start} on: nothing found");
        return ExitCode::SUCCESS;
    }
    eprintln!("{} of {seeds} seeds failed: {failed:?}", failed.len());
    ExitCode::FAILURE
}

fn usage() -> ExitCode {
    eprintln!("usage: ravelin-simulation [--seeds N] [--steps M] [--start S]");
    ExitCode::from(2)
}
