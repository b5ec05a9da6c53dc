//! A simulated fleet of any size for any time: prints its figures, and fails if benign devices are accused.
//!
//! `cargo run --release -p ravelin-detection -- --clients 400 --days 7 --attacks 5 --seed 3`

use ravelin_detection::fleet::{Plan, run};
use ravelin_detection::play;
use ravelin_detection::score::Score;
use std::process::ExitCode;

const USAGE: &str = "usage: ravelin-detection [--clients N] [--days N] [--attacks N] [--seed N]";

fn main() -> ExitCode {
    let Some(plan) = plan(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let name = format!("{plan:?}");
    println!("{name}");
    let played = play(|see| run(plan, see));
    let mut score = Score::default();
    score.judge(&name, &played.truth, &played.alarms);
    println!("{}", score.table());
    // What is measured in `tests/fleet.rs` with a seed holds for others, give or take.
    let accused = score.false_alarms.len() as f64 > score.client_days / 100.0;
    if accused {
        println!("more than one false alarm in a hundred client-days");
    }
    ExitCode::from(u8::from(accused))
}

fn plan(mut words: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan { clients: 400, days: 3, attacks: 3, seed: 1 };
    while let Some(word) = words.next() {
        let value: u64 = words.next()?.parse().ok()?;
        match word.as_str() {
            "--clients" => plan.clients = usize::try_from(value).ok()?.max(10),
            "--days" => plan.days = value.clamp(1, 365),
            "--attacks" => plan.attacks = usize::try_from(value).ok()?,
            "--seed" => plan.seed = value,
            _ => return None,
        }
    }
    Some(plan)
}
