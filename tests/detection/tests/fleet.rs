//! A simulated fleet over virtual days: what its detectors find, and what they say although nothing is wrong.

use ravelin_detection::fleet::{CLASSES, Plan, run};
use ravelin_detection::play;
use ravelin_detection::score::Score;

fn scored(plan: Plan) -> Score {
    let played = play(|see| run(plan, see));
    let mut score = Score::default();
    score.judge(&format!("seed {}", plan.seed), &played.truth, &played.alarms);
    score
}

#[test]
fn a_thousand_client_days_without_an_attack() {
    let score = scored(Plan { clients: 400, days: 3, attacks: 0, seed: 1 });
    println!("{}", score.table());
    assert!(score.client_days > 1_000.0, "{}", score.client_days);
    // That a part of the network was lost is told, and true, once; nothing else may be.
    assert!(score.false_alarms.is_empty(), "benign devices were accused");
    let losses = &score.classes["network_loss"];
    assert!(losses.found > 0, "no loss of the network was told");
    assert_eq!(score.true_alarms, losses.found, "one alarm of one network: {:?}", losses.alarms);
}

#[test]
fn attacks_on_a_fleet_that_lives() {
    let score = scored(Plan { clients: 400, days: 3, attacks: 3, seed: 2 });
    println!("{}", score.table());
    assert!(score.precision() >= 0.99, "precision {}", score.precision());
    for (name, _, _) in CLASSES {
        let figures = &score.classes[name];
        // Of three insertions into a rhythm one is not told apart from a change of it.
        let least = if name == "off_rhythm" { 2 } else { figures.episodes };
        assert!(figures.found >= least, "{name}: {} of {} were found", figures.found, figures.episodes);
    }
    // An attack is one alarm, and so may be the user whom it is about; who guesses slowly is not told at each attempt.
    let guessed = &score.classes["guess_slow"];
    assert!(guessed.alarms["repeated_authentication"] <= 2 * guessed.episodes, "{:?}", guessed.alarms);
}
