//! Labelled recordings, run through the detectors in the recording's own time.

use ravelin_detection::recorded::{name, recordings, replay};
use ravelin_detection::score::Score;

/// Classes of which not every episode is found, and how many are. Whoever makes a detector better raises the figure here.
///
/// * one odd payload is a finding at most, by intention;
/// * values that are modified and come in their rhythm show only where `[[value]]` says what is plausible;
/// * a silence may be too short after others of the same client: each makes the patience with it longer;
/// * inserted messages are found at the third that is early, which is the fourth of twelve episodes.
const PARTLY: [(&str, u64); 4] =
    [("doania_payload_anomaly", 0), ("values_modified", 0), ("removed", 16), ("messages_inserted", 7)];

#[test]
fn recorded_attacks_are_found_and_benign_traffic_is_left_alone() {
    let recordings = match recordings() {
        Ok(recordings) => recordings,
        Err(why) => {
            println!("skipped: {why}");
            return;
        }
    };
    let mut score = Score::default();
    for path in &recordings {
        let played = replay(path);
        score.judge(&name(path), &played.truth, &played.alarms);
    }
    println!("{}", score.table());
    assert!(score.false_alarms.is_empty(), "benign traffic was accused");
    assert!(score.classes.len() >= 17, "recordings are missing");
    for (class, figures) in &score.classes {
        let partly = PARTLY.iter().find(|(name, _)| name == class).map(|(_, found)| *found);
        assert_eq!(figures.found, partly.unwrap_or(figures.episodes), "episodes of {class} that were found");
    }
}
