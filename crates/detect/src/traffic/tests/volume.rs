//! Floods, what is expensive, what nobody wants, and what is usual.

use super::{Bench, left, metered};
use crate::{Settings, Sight};
use ravelin_event::DisconnectCause;
use std::sync::Arc;

#[test]
fn hot_state_is_small() {
    assert!(size_of::<crate::traffic::State>() <= 40, "{}", size_of::<crate::traffic::State>());
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
