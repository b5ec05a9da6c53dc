//! Behaviours, from sights to alarms.

use super::*;
use crate::{Arrived, Metered};

fn behaviour(json: &str) -> Behaviour {
    let behaviour: Behaviour = serde_json::from_str(json).unwrap();
    behaviour.check().unwrap();
    behaviour
}

fn sent(messages: u64) -> Sight {
    Sight::Metered(Arc::new(Metered { messages, bytes: messages * 10, largest: 10, ..Metered::default() }))
}

/// Runs `datapoints` of one client, each of 300 s; tells after which the alarm was raised and cleared.
fn run(behaviours: &[Behaviour], clients: u64, datapoints: &[&[u64]]) -> Vec<(usize, &'static str)> {
    let (mut all, mut told) = (Behaviours::new(7), Vec::new());
    let start = 1_000_000u64;
    all.handle_tick(behaviours, start, &mut Vec::new());
    for (nth, counts) in datapoints.iter().enumerate() {
        let mut out = Vec::new();
        let at = start + nth as u64 * 300_000 + 1_000;
        for client in 0..clients {
            let client_id: Arc<str> = format!("c{client}").into();
            let count = counts[client as usize % counts.len()];
            all.handle(behaviours, at, (&client_id, None), &sent(count), &mut out);
        }
        for second in 0..300 {
            all.handle_tick(behaviours, at + second * 1_000, &mut out);
        }
        told.extend(out.iter().map(|change| match change {
            Change::Raised(_) => (nth, "raised"),
            Change::Ended(..) => (nth, "cleared"),
        }));
    }
    told
}

#[test]
fn datapoints_in_a_row_raise_and_clear() {
    let behaviours = [behaviour(
        r#"{"name":"sent","metric":"aws:num-messages-sent","criteria":{"comparisonOperator":"less-than-equals",
        "value":{"count":100},"durationSeconds":300,"consecutiveDatapointsToAlarm":2,"consecutiveDatapointsToClear":2}}"#,
    )];
    let told = run(&behaviours, 1, &[&[50], &[101], &[50], &[200], &[200], &[200], &[1], &[1], &[1], &[1]]);
    let kinds: Vec<_> = told.iter().map(|(_, kind)| *kind).collect();
    assert_eq!(kinds, ["raised", "cleared"], "{told:?}");
    assert!((4..=5).contains(&told[0].0) && (7..=8).contains(&told[1].0), "{told:?}");
}

#[test]
fn too_little_is_found_without_any_event() {
    let behaviours = [behaviour(
        r#"{"name":"heartbeat","metric":"aws:num-messages-sent","criteria":{"comparisonOperator":"greater-than-equals",
        "value":{"count":1},"durationSeconds":300}}"#,
    )];
    let told = run(&behaviours, 1, &[&[5], &[5], &[0], &[0]]);
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn a_percentile_is_of_all_clients_and_the_loud_one_is_found() {
    let behaviours = [behaviour(
        r#"{"name":"p99","metric":"aws:num-messages-sent","criteria":{"comparisonOperator":"less-than-equals",
        "statisticalThreshold":{"statistic":"p99"},"durationSeconds":300,"consecutiveDatapointsToAlarm":3}}"#,
    )];
    let quiet: Vec<u64> = (0..200).map(|client| 8 + client % 4).collect();
    let mut loud = quiet.clone();
    loud[17] = 500;
    let mut datapoints: Vec<&[u64]> = vec![&quiet; 4];
    datapoints.extend([&loud[..]; 5]);
    let told = run(&behaviours, 200, &datapoints);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(run(&behaviours, 200, &[&quiet[..]; 9]).is_empty());
}

#[test]
fn what_is_learned_is_of_each_client_and_a_ramp_does_not_teach_it() {
    let behaviours = [behaviour(
        r#"{"name":"learned","metric":"aws:num-messages-sent","criteria":{"mlDetectionConfig":{"confidenceLevel":"HIGH"}}}"#,
    )];
    let steady = vec![&[100u64][..]; 20];
    assert!(run(&behaviours, 1, &steady).is_empty());
    let jump: Vec<&[u64]> = steady.iter().copied().chain([&[400u64][..]; 2]).collect();
    assert_eq!(run(&behaviours, 1, &jump).len(), 1);
    // A tenth more each time: it is found before it is fivefold.
    let ramp: Vec<[u64; 1]> = (0..25).map(|nth| [(100.0 * 1.15f64.powi(nth)) as u64]).collect();
    let all: Vec<&[u64]> = steady.iter().copied().chain(ramp.iter().map(|point| &point[..])).collect();
    let told = run(&behaviours, 1, &all);
    assert_eq!(told.first().map(|(_, kind)| *kind), Some("raised"), "{told:?}");
}

#[test]
fn an_address_outside_of_its_networks_is_told_once() {
    let behaviours = [behaviour(
        r#"{"name":"where","metric":"aws:source-ip-address","criteria":{"comparisonOperator":"in-cidr-set",
        "value":{"cidrs":["10.0.0.0/8"]}}}"#,
    )];
    let (mut all, mut out) = (Behaviours::new(7), Vec::new());
    let client: Arc<str> = "meter".into();
    for address in ["10.1.2.3:1", "192.0.2.7:1", "192.0.2.7:2", "10.1.2.3:2"] {
        let arrived = Arrived {
            client_id: client.clone(),
            identity: None,
            class: None,
            certificate: None,
            address: address.parse().unwrap(),
            keep_alive_s: 60,
            clean_start: true,
            will: false,
            declared: true,
        };
        all.handle(&behaviours, 1, (&client, None), &Sight::Arrived(Arc::new(arrived)), &mut out);
    }
    assert!(matches!(&out[..], [Change::Raised(_), Change::Ended(..)]), "{out:?}");
}

#[test]
fn the_size_of_a_message_is_judged_at_once() {
    let behaviours = [behaviour(
        r#"{"name":"size","metric":"aws:message-byte-size","criteria":{"comparisonOperator":"less-than-equals",
        "value":{"count":1024}}}"#,
    )];
    let (mut all, mut out) = (Behaviours::new(7), Vec::new());
    let client: Arc<str> = "meter".into();
    for largest in [100, 1024, 1025] {
        let metered = Metered { messages: 1, largest, ..Metered::default() };
        all.handle(&behaviours, 1, (&client, None), &Sight::Metered(Arc::new(metered)), &mut out);
    }
    assert_eq!(out.len(), 1);
}
