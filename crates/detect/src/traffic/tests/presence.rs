//! Who should be there: silence, rhythms, inspections; and a fleet to which all of it happens.

use super::{Bench, START_MS, arrived, left};
use crate::traffic::{Expectation, Inspection};
use crate::{Arrived, Engine, Settings, Sight};
use ravelin_event::{DisconnectCause, Subject};

#[test]
fn silence_of_a_regular_client_is_one_alarm_that_ends_when_it_returns() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("meter", None);
    for _ in 0..20 {
        bench.pass(60_000);
        bench.publish("meter", &["a"], 1, false);
    }
    bench.pass(100_000);
    assert!(bench.raised.is_empty());
    bench.pass(7_200_000);
    assert_eq!(bench.names(), ["client_silent"]);
    bench.publish("meter", &["a"], 1, false);
    assert_eq!(bench.cleared.len(), 1);
}

#[test]
fn silence_is_not_concluded_from_what_was_not_seen() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("meter", None);
    for _ in 0..20 {
        bench.pass(60_000);
        bench.publish("meter", &["a"], 1, false);
    }
    for _ in 0..20 {
        bench.pass(60_000);
        bench.see(Sight::Missed { count: 1 });
    }
    assert!(bench.raised.is_empty(), "{:?}", bench.raised);
    bench.see(Sight::Started);
    bench.pass(600_000);
    assert!(bench.raised.is_empty(), "{:?}", bench.raised);
}

#[test]
fn an_outage_of_the_fleet_is_one_alarm() {
    let mut bench = Bench::new(Settings::default());
    for client in 0..200 {
        bench.arrive(&format!("m{client}"), Some("meter"));
    }
    for _ in 0..20 {
        bench.pass(60_000);
        for client in 0..200 {
            bench.publish(&format!("m{client}"), &[&format!("m/{client}")], 1, false);
        }
    }
    bench.pass(90_000);
    for client in 0..200 {
        bench.see(left(&format!("m{client}"), DisconnectCause::KeepAlive));
    }
    bench.pass(7_200_000);
    let silent: Vec<_> = bench.raised.iter().filter(|alarm| alarm.detector.contains("silent")).collect();
    assert_eq!(silent.len(), 1, "{silent:?}");
    assert_eq!((&*silent[0].detector, &silent[0].subject), ("fleet_silent", &Subject::Fleet));
}

/// 60 meters behind `sources` addresses, of which a quarter sends every ten seconds.
fn meters(bench: &mut Bench, sources: u8) {
    for client in 0..60u8 {
        let Sight::Arrived(arrived) = arrived(&format!("m{client}"), Some("meter")) else { unreachable!() };
        let address = format!("192.0.2.{}:4711", client % sources).parse().unwrap();
        bench.see(Sight::Arrived(Arrived { address, ..(*arrived).clone() }.into()));
    }
    send(bench, 20, |_| true);
}

fn send(bench: &mut Bench, minutes: u32, sends: impl Fn(u8) -> bool) {
    for step in 0..minutes * 6 {
        bench.pass(10_000);
        for client in (0..60u8).filter(|client| sends(*client) && (client % 4 == 0 || step % 6 == 0)) {
            bench.publish(&format!("m{client}"), &[&format!("m/{client}")], 1, false);
        }
    }
}

#[test]
fn a_network_that_is_lost_is_one_alarm_about_its_address_and_ends_with_the_loss() {
    let mut bench = Bench::new(Settings::default());
    meters(&mut bench, 12);
    let is_there = |client: u8| client % 12 != 4;
    send(&mut bench, 30, is_there);
    assert_eq!(bench.names(), ["fleet_silent"], "{:?}", bench.raised);
    assert_eq!(bench.raised[0].subject, Subject::Source("192.0.2.4".parse().unwrap()));
    assert!(bench.raised[0].summary.starts_with("5 of 5 clients behind 192.0.2.4"), "{:?}", bench.raised[0]);
    send(&mut bench, 10, |_| true);
    assert_eq!((bench.raised.len(), bench.cleared.len()), (1, 1));
}

#[test]
fn a_part_of_the_fleet_with_nothing_in_common_but_the_moment_is_one_alarm() {
    let mut bench = Bench::new(Settings::default());
    meters(&mut bench, 60);
    for loss in 0..2 {
        send(&mut bench, 30, |client| client % 12 != 4 + loss);
        assert_eq!(bench.names().len(), 1 + usize::from(loss), "{:?}", bench.raised);
        send(&mut bench, 10, |_| true);
        assert_eq!(bench.cleared.len(), 1 + usize::from(loss));
    }
    assert!(bench.raised.iter().all(|alarm| alarm.subject == Subject::Fleet), "{:?}", bench.raised);
}

#[test]
fn one_of_many_behind_an_address_is_told_by_itself() {
    let mut bench = Bench::new(Settings::default());
    meters(&mut bench, 2);
    send(&mut bench, 30, |client| client != 8);
    assert_eq!(bench.names(), ["client_silent"], "{:?}", bench.raised);
    assert_eq!(bench.raised[0].subject, Subject::Client("m8".into()));
}

#[test]
fn whoever_says_goodbye_is_not_missed() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("laptop", None);
    for _ in 0..30 {
        bench.pass(60_000);
        bench.publish("laptop", &["a"], 1, false);
    }
    bench.see(left("laptop", DisconnectCause::Normal));
    bench.pass(7_200_000);
    assert!(bench.raised.is_empty(), "{:?}", bench.raised);
}

#[test]
fn an_expectation_counts_from_the_first_day() {
    let expect = Expectation {
        class: "relay".into(),
        interval_s: Some(10.0),
        grace_s: Some(20.0),
        ..Expectation::default()
    };
    let mut bench = Bench::new(Settings { expect: vec![expect], ..Settings::default() });
    bench.arrive("relay-1", Some("relay"));
    bench.publish("relay-1", &["a"], 1, false);
    bench.see(left("relay-1", DisconnectCause::Reset));
    bench.pass(29_000);
    assert!(bench.raised.is_empty());
    bench.pass(60_000);
    assert_eq!(bench.names(), ["client_silent"]);
}

#[test]
fn a_topic_that_falls_silent_is_told_while_the_client_goes_on() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("rtu", None);
    for second in 0..3_000u64 {
        bench.pass(1_000);
        bench.publish("rtu", &["rtu/heartbeat"], 1, false);
        if second % 60 == 0 && second < 2_000 {
            bench.publish("rtu", &["rtu/status"], 1, false);
        }
    }
    assert_eq!(bench.names(), ["messages_missing"]);
    assert_eq!(bench.raised[0].topic.as_deref(), Some("rtu/status"));
}

#[test]
fn inserted_messages_are_off_rhythm() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("meter", None);
    for _ in 0..30 {
        bench.pass(300_000);
        bench.publish("meter", &["a"], 1, false);
    }
    for _ in 0..3 {
        bench.pass(90_000);
        bench.publish("meter", &["a"], 1, false);
    }
    assert_eq!(bench.names(), ["off_rhythm"]);
}

#[test]
fn flapping_counts_what_ends_abnormally() {
    let expect = Expectation { class: "meter".into(), connected: true, ..Expectation::default() };
    let mut bench = Bench::new(Settings { expect: vec![expect], ..Settings::default() });
    for cause in [DisconnectCause::Normal, DisconnectCause::KeepAlive] {
        for _ in 0..7 {
            bench.arrive("modem", Some("meter"));
            bench.pass(30_000);
            bench.see(left("modem", cause));
            bench.pass(30_000);
        }
        let flaps = bench.names().iter().filter(|name| **name == "client_flapping").count();
        assert_eq!(flaps, usize::from(cause != DisconnectCause::Normal), "{:?}", bench.names());
    }
}

#[test]
fn inspections_become_due_are_recorded_and_survive() {
    let expect = Expectation { class: "relay".into(), inspection_days: Some(30), ..Expectation::default() };
    let settings = Settings { expect: vec![expect], ..Settings::default() };
    let mut bench = Bench::new(settings.clone());
    bench.arrive("relay-1", Some("relay"));
    bench.pass(1_000_000);
    assert!(bench.engine.inspection_due_ms("relay-1").is_some());
    bench.now_ms += 31 * 86_400_000;
    bench.pass(1_000);
    assert_eq!(bench.names(), ["inspection_overdue"]);
    let inspection = Inspection {
        device: "relay-1".into(),
        class: Some("relay".into()),
        by: "A. Person".into(),
        at_ms: bench.now_ms,
        document: "rounds/2026-11.pdf".into(),
    };
    bench.pass(120_000);
    bench.engine.record_inspection(inspection.clone()).unwrap();
    bench.pass(1_000);
    assert_eq!(bench.cleared.len(), 1);
    let writes: Vec<_> = std::iter::from_fn(|| bench.engine.poll_write()).collect();
    let mut again = Engine::new(settings, 8);
    for write in writes.into_iter().filter(|write| write.key.starts_with("inspection/")) {
        again.restore(&write.key, &write.value.unwrap()).unwrap();
    }
    assert_eq!(again.inspections().collect::<Vec<_>>(), [&inspection]);
}

#[test]
fn nobody_who_says_goodbye_in_the_evening_is_missed() {
    let mut bench = Bench::new(Settings::default());
    for _ in 0..4 {
        bench.arrive("crane", None);
        for _ in 0..60 {
            bench.pass(60_000);
            bench.publish("crane", &["crane/load"], 1, false);
        }
        let address = None;
        bench.see(Sight::Left { client_id: "crane".into(), address, cause: DisconnectCause::Normal });
        bench.pass(8 * 3_600_000);
    }
    assert_eq!(bench.names(), [""; 0]);
}

#[test]
fn new_firmware_with_other_topics_misses_nothing() {
    let mut bench = Bench::new(Settings::default());
    for topics in [["rtu/value", "rtu/state"], ["rtu/value", "rtu/version"]] {
        bench.arrive("rtu", None);
        for _ in 0..60 {
            bench.pass(60_000);
            bench.publish("rtu", &topics, 1, false);
        }
        let address = None;
        bench.see(Sight::Left { client_id: "rtu".into(), address, cause: DisconnectCause::Normal });
        bench.pass(90_000);
    }
    assert_eq!(bench.names(), [""; 0]);
}

/// Meters, sensors that publish on change, devices that sleep and a gateway; some lose messages, their network or their power,
/// and all get new firmware. Days of that: no alarm about any of them.
#[test]
fn a_benign_fleet_raises_no_alarm_about_any_client() {
    const CLIENTS: u64 = 60;
    let days: u64 = 3;
    let mut bench = Bench::new(Settings::default());
    let mut seed = 0x5eed_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let name = |client: u64| format!("device-{client}");
    for client in 0..CLIENTS {
        bench.arrive(&name(client), Some("meter"));
    }
    let mut next: Vec<u64> = (0..CLIENTS).map(|client| bench.now_ms + client * 700).collect();
    let mut away: Vec<u64> = vec![0; CLIENTS as usize];
    let mut old = vec![true; CLIENTS as usize];
    let end = bench.now_ms + days * 86_400_000;
    while bench.now_ms < end {
        bench.pass(1_000);
        let rollout = (bench.now_ms - START_MS) / 86_400_000 >= 1;
        for client in 0..CLIENTS {
            let (at, id) = (client as usize, name(client));
            if bench.now_ms < next[at] {
                continue;
            }
            if away[at] > 0 {
                bench.arrive(&id, Some("meter"));
                let waiting = (bench.now_ms - away[at]) / 60_000;
                // Half of them send what waited.
                if client % 8 < 4 && waiting > 0 {
                    bench.publish(&id, &[&format!("m/{client}")], waiting, false);
                }
                away[at] = 0;
            }
            let period = match client % 4 {
                0 | 1 => 60_000 + random(1_500),
                2 => 1_000 + random(600_000),
                _ if !old[at] => 120_000,
                _ => 300_000,
            };
            next[at] = bench.now_ms + period;
            // New firmware is a new connection.
            let updated = rollout && std::mem::replace(&mut old[at], false);
            match if updated { 6 } else { random(2_000) } {
                // A message is lost.
                0..5 => continue,
                5 => bench.see(left(&id, DisconnectCause::KeepAlive)),
                6 => bench.see(left(&id, DisconnectCause::Reset)),
                7 => bench.see(left(&id, DisconnectCause::Normal)),
                _ => {
                    let own = format!("m/{client}");
                    bench.publish(&id, &[&own], 1, false);
                    continue;
                }
            }
            away[at] = bench.now_ms;
            next[at] = bench.now_ms + 5_000 + random(600_000);
        }
    }
    let about: Vec<_> = bench.raised.iter().filter(|alarm| alarm.subject != Subject::Fleet).collect();
    assert!(about.is_empty(), "{:?}", about.iter().map(|alarm| &alarm.summary).collect::<Vec<_>>());
}
