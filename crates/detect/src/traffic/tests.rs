//! The detectors of messages through the engine: from sights to alarms.

use crate::traffic::{Expectation, Inspection};
use crate::{Arrived, Engine, Metered, Operation, Settings, Sight, TopicMeter};
use ravelin_event::{Alarm, DisconnectCause, Notice, Refusal, Subject};
use std::sync::Arc;

const START_MS: u64 = 1_700_000_000_000;

/// An engine, its clock, and what it has said.
struct Bench {
    engine: Engine,
    now_ms: u64,
    raised: Vec<Arc<Alarm>>,
    cleared: Vec<Arc<Alarm>>,
    findings: Vec<Arc<Alarm>>,
}

impl Bench {
    fn new(settings: Settings) -> Bench {
        let engine = Engine::new(settings, 7);
        let mut bench = Bench { engine, now_ms: START_MS, raised: vec![], cleared: vec![], findings: vec![] };
        bench.pass(1_000);
        bench
    }

    fn drain(&mut self) {
        while let Some(notice) = self.engine.poll_notice() {
            match notice {
                Notice::Raised(alarm) => self.raised.push(alarm),
                Notice::Cleared(alarm) => self.cleared.push(alarm),
                Notice::Finding(alarm) => self.findings.push(alarm),
                _ => {}
            }
        }
    }

    fn see(&mut self, sight: Sight) {
        self.engine.handle(self.now_ms, &sight);
        self.drain();
    }

    /// Time passes, with a tick each second.
    fn pass(&mut self, ms: u64) {
        let until = self.now_ms + ms;
        while self.now_ms < until {
            self.now_ms = (self.now_ms + 1_000).min(until);
            self.engine.handle_tick(self.now_ms);
        }
        self.drain();
    }

    fn arrive(&mut self, client_id: &str, class: Option<&str>) {
        self.see(arrived(client_id, class));
    }

    /// `messages` to each of `topics` within the last second.
    fn publish(&mut self, client_id: &str, topics: &[&str], messages: u64, undelivered: bool) {
        let meter = metered(self.now_ms, client_id, topics, messages, undelivered);
        self.see(Sight::Metered(Arc::new(meter)));
    }

    fn names(&self) -> Vec<&str> {
        self.raised.iter().map(|alarm| &*alarm.detector).collect()
    }

    fn found(&self, detector: &str) -> bool {
        self.findings.iter().any(|alarm| &*alarm.detector == detector)
    }
}

fn arrived(client_id: &str, class: Option<&str>) -> Sight {
    Sight::Arrived(Arc::new(Arrived {
        client_id: client_id.into(),
        identity: class.map(|_| client_id.into()),
        class: class.map(Arc::from),
        certificate: None,
        address: "192.0.2.7:4711".parse().unwrap(),
        keep_alive_s: 60,
        clean_start: true,
        will: false,
        declared: class.is_some(),
    }))
}

fn metered(at_ms: u64, client_id: &str, topics: &[&str], messages: u64, undelivered: bool) -> Metered {
    let all = messages * topics.len() as u64;
    Metered {
        client_id: client_id.into(),
        from_ms: at_ms - 1_000,
        to_ms: at_ms,
        messages: all,
        bytes: all * 20,
        largest: 20,
        undelivered: if undelivered { all } else { 0 },
        qos: [all, 0, 0],
        packets: all,
        topics: topics
            .iter()
            .map(|topic| TopicMeter {
                topic: (*topic).into(),
                messages,
                bytes: messages * 20,
                undelivered: if undelivered { messages } else { 0 },
                retained: 0,
                first_ms: if messages > 1 { at_ms - 900 } else { at_ms },
                last_ms: at_ms,
            })
            .collect(),
        ..Metered::default()
    }
}

fn left(client_id: &str, cause: DisconnectCause) -> Sight {
    Sight::Left { client_id: client_id.into(), address: None, cause }
}

#[test]
fn hot_state_is_small() {
    assert!(size_of::<super::State>() <= 40, "{}", size_of::<super::State>());
}

#[test]
fn a_flood_is_told_in_its_first_second() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("flooder", None);
    bench.pass(1_000);
    bench.publish("flooder", &["a"], 600, false);
    assert_eq!(bench.names(), ["message_flood"]);
    for _ in 0..20 {
        bench.pass(1_000);
        bench.publish("flooder", &["a"], 2_300, false);
    }
    assert_eq!(bench.names(), ["message_flood"], "one episode is one alarm");
    let alarm = &bench.raised[0];
    assert!(alarm.value >= alarm.threshold && alarm.summary.contains("flooder"), "{alarm:?}");
}

#[test]
fn a_sensor_floods_at_less_than_a_stranger_and_a_busy_one_at_more() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("sensor", None);
    for _ in 0..120 {
        bench.pass(1_000);
        bench.publish("sensor", &["a"], 1, false);
    }
    bench.publish("sensor", &["a"], 150, false);
    assert_eq!(bench.names(), ["message_flood"]);

    let mut bench = Bench::new(Settings::default());
    bench.arrive("busy", None);
    for _ in 0..120 {
        bench.pass(1_000);
        bench.publish("busy", &["a"], 20, false);
    }
    for _ in 0..10 {
        bench.pass(1_000);
        bench.publish("busy", &["a"], 70, false);
    }
    assert!(bench.raised.is_empty(), "{:?}", bench.raised);
}

#[test]
fn what_was_due_during_an_outage_may_come_at_once() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("logger", None);
    for _ in 0..300 {
        bench.pass(1_000);
        bench.publish("logger", &["a"], 2, false);
    }
    bench.see(left("logger", DisconnectCause::KeepAlive));
    bench.pass(600_000);
    bench.arrive("logger", None);
    bench.publish("logger", &["a"], 1_200, false);
    assert!(bench.raised.is_empty(), "{:?}", bench.raised);
}

#[test]
fn a_slow_ramp_is_found_within_the_documented_bound() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("meter", None);
    let mut sent = 0.0;
    // Ten messages a second for an hour, and then a thousandth more each ten seconds, for days.
    for window in 0..100_000u64 {
        sent = if window < 400 { 100.0 } else { sent * 1.001 };
        bench.now_ms += 10_000;
        bench.publish("meter", &["a"], sent as u64, false);
        if !bench.raised.is_empty() {
            break;
        }
    }
    assert_eq!(bench.names(), ["message_flood"]);
    let most = 100.0 * 4.0 * f64::from(crate::baseline::ANCHOR_MULTIPLE);
    assert!(bench.raised[0].threshold <= most, "{:?}", bench.raised[0]);
}

#[test]
fn an_attack_does_not_teach() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("sensor", None);
    for _ in 0..100 {
        bench.pass(1_000);
        bench.publish("sensor", &["a"], 1, false);
    }
    for _ in 0..120 {
        bench.pass(1_000);
        bench.publish("sensor", &["a"], 500, false);
    }
    bench.pass(3_600_000);
    bench.publish("sensor", &["a"], 1, false);
    bench.pass(20_000);
    bench.publish("sensor", &["a"], 150, false);
    assert_eq!(
        bench.names().iter().filter(|name| **name == "message_flood").count(),
        2,
        "{:?}",
        bench.names()
    );
}

#[test]
fn enumerating_filters_is_a_scan_and_an_operator_station_is_none() {
    let mut bench = Bench::new(Settings::default());
    for meter in 0..40 {
        bench.publish("plant", &[&format!("plant/m{meter}/power")], 1, false);
    }
    bench.arrive("station", None);
    for meter in 0..40 {
        let filter = format!("plant/m{meter}/power").into();
        bench.see(Sight::Subscribed { client_id: "station".into(), filter });
    }
    assert!(bench.raised.is_empty(), "{:?}", bench.raised);
    bench.arrive("scanner", None);
    for name in 0..12 {
        let filter = format!("factory/sensor{name}/telemetry").into();
        bench.see(Sight::Subscribed { client_id: "scanner".into(), filter });
    }
    assert_eq!(bench.names(), ["topic_scan"]);
    assert_eq!(bench.raised[0].client_id.as_deref(), Some("scanner"));
}

#[test]
fn denials_of_new_names_are_a_scan_and_of_one_name_are_not() {
    let denied = |client: &str, name: String| Sight::Denied {
        client_id: client.into(),
        operation: Operation::Publish,
        name: name.into(),
        why: Refusal::AccessRule,
        count: 1,
    };
    let mut bench = Bench::new(Settings::default());
    bench.arrive("wrong_rule", Some("meter"));
    for _ in 0..500 {
        bench.pass(1_000);
        bench.see(denied("wrong_rule", "not/mine".into()));
    }
    assert!(bench.raised.is_empty(), "{:?}", bench.raised);
    for name in 0..10 {
        bench.see(denied("wrong_rule", format!("try/{name}")));
    }
    assert_eq!(bench.names(), ["topic_scan"]);
}

#[test]
fn publishing_to_many_unwanted_topics_is_a_scan() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("scanner", None);
    for topic in 0..16 {
        bench.pass(250);
        bench.publish("scanner", &[&format!("topic/{topic}")], 1, true);
    }
    assert_eq!(bench.names(), ["topic_scan"]);
}

#[test]
fn everything_and_sys_is_an_alarm_and_everything_alone_a_finding() {
    let subscribed = |filter: &str| Sight::Subscribed { client_id: "nmap".into(), filter: filter.into() };
    let mut bench = Bench::new(Settings::default());
    bench.arrive("nmap", None);
    bench.see(subscribed("#"));
    assert!(bench.raised.is_empty() && bench.found("wide_subscription"));
    bench.see(subscribed("$SYS/#"));
    assert_eq!(bench.names(), ["wide_subscription"]);

    let mut settings = Settings::default();
    settings.traffic.wide_classes = vec!["historian".into()];
    let mut bench = Bench::new(settings);
    bench.see(arrived("nmap", Some("historian")));
    bench.see(subscribed("#"));
    bench.see(subscribed("$SYS/#"));
    assert!(bench.raised.is_empty() && !bench.found("wide_subscription"));
}

#[test]
fn a_stranger_that_only_listens_is_told_after_a_minute() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("listener", None);
    bench.see(Sight::Subscribed { client_id: "listener".into(), filter: "#".into() });
    let listen = |bench: &mut Bench| {
        let meter = Metered {
            client_id: "listener".into(),
            from_ms: bench.now_ms - 1_000,
            to_ms: bench.now_ms,
            sent: 12,
            packets: 1,
            ..Metered::default()
        };
        bench.see(Sight::Metered(Arc::new(meter)));
    };
    bench.pass(30_000);
    listen(&mut bench);
    assert!(bench.raised.is_empty());
    bench.pass(31_000);
    listen(&mut bench);
    bench.pass(61_000);
    listen(&mut bench);
    assert_eq!(bench.names(), ["silent_wide_subscriber"]);
}

#[test]
fn one_sensor_without_a_subscriber_is_no_alarm_and_many_messages_are() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("sensor", None);
    for _ in 0..600 {
        bench.pass(1_000);
        bench.publish("sensor", &["unwanted"], 1, true);
    }
    assert!(bench.raised.is_empty(), "{:?}", bench.raised);
    bench.arrive("covert", None);
    for _ in 0..40 {
        bench.pass(1_000);
        bench.publish("covert", &["drop/box"], 4, true);
    }
    assert_eq!(bench.names(), ["undeliverable_messages"]);
    assert_eq!(bench.raised[0].topic.as_deref(), Some("drop/box"));
}

#[test]
fn retained_and_qos_2_abuse() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("abuser", None);
    for _ in 0..6 {
        bench.pass(1_000);
        let mut meter = metered(bench.now_ms, "abuser", &["a", "b"], 10, false);
        (meter.retained, meter.qos, meter.packets) = (10, [0, 13, 7], 27);
        bench.see(Sight::Metered(Arc::new(meter)));
    }
    assert_eq!(bench.names(), ["retained_qos_abuse"]);

    let mut bench = Bench::new(Settings::default());
    bench.arrive("unreleased", None);
    for _ in 0..30 {
        bench.pass(1_000);
        let mut meter = metered(bench.now_ms, "unreleased", &["a"], 1, false);
        (meter.qos, meter.packets) = ([0, 0, 1], 1);
        bench.see(Sight::Metered(Arc::new(meter)));
    }
    assert_eq!(bench.names(), ["retained_qos_abuse"]);
}

#[test]
fn one_large_payload_is_a_finding_and_two_are_an_alarm() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("sensor", None);
    let send = |bench: &mut Bench, largest: u32| {
        bench.pass(1_000);
        let mut meter = metered(bench.now_ms, "sensor", &["a"], 1, false);
        (meter.largest, meter.bytes) = (largest, largest.into());
        bench.see(Sight::Metered(Arc::new(meter)));
    };
    (0..60).for_each(|_| send(&mut bench, 100));
    send(&mut bench, 50_000);
    assert!(bench.raised.is_empty() && bench.found("payload_size"));
    send(&mut bench, 50_000);
    assert_eq!(bench.names(), ["payload_size"]);
}

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
fn a_baseline_survives_a_restart() {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("sensor", None);
    for _ in 0..600 {
        bench.pass(1_000);
        bench.publish("sensor", &["a"], 1, false);
    }
    let records = bench.engine.dump();
    let mut again = Bench::new(Settings::default());
    for record in records {
        again.engine.restore(&record.key, &record.value.unwrap()).unwrap();
    }
    again.see(Sight::Started);
    again.arrive("sensor", None);
    again.publish("sensor", &["a"], 150, false);
    assert_eq!(again.names(), ["message_flood"], "a stranger may send 500");
    assert!(again.engine.restore("baseline/x", b"nonsense").is_err());
}

#[test]
fn a_new_member_of_a_known_class_is_no_stranger() {
    let mut bench = Bench::new(Settings::default());
    for client in 0..10 {
        bench.arrive(&format!("m{client}"), Some("meter"));
    }
    for _ in 0..120 {
        bench.pass(1_000);
        for client in 0..10 {
            bench.publish(&format!("m{client}"), &["a"], 1, false);
        }
    }
    bench.arrive("new", Some("meter"));
    bench.publish("new", &["a"], 150, false);
    assert_eq!(bench.names(), ["message_flood"]);
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
