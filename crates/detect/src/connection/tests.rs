//! Attacks are seen at once and said once; fleets that come back are left in peace.

use crate::world::{World, explains_itself};
use ravelin_event::{DisconnectCause, Notice, Refusal, Severity, Subject};

#[test]
fn six_refused_log_ins_of_one_address_are_an_alarm_that_explains_itself() {
    let mut world = World::settled();
    for attempt in 0..6 {
        assert_eq!(world.raised(), [], "at attempt {attempt}");
        world.refuse("198.51.100.9", Some("admin"), Refusal::BadCredentials);
        world.wait(200);
    }
    let alarm = world.only();
    explains_itself(&alarm);
    assert_eq!(&*alarm.detector, "repeated_authentication");
    assert_eq!(alarm.subject, Subject::Source("198.51.100.9".parse().unwrap()));
    assert_eq!((alarm.events, alarm.counted.len()), (6, 6));
    assert_eq!(alarm.raised_ms - alarm.first_ms, 1_000);
    assert!(
        alarm.summary.contains("6 of 6 log-ins from 198.51.100.9 were refused in 1.0 s"),
        "{}",
        alarm.summary
    );
    for _ in 0..500 {
        world.refuse("198.51.100.9", Some("admin"), Refusal::BadCredentials);
        world.wait(100);
    }
    world.only();
}

#[test]
fn a_slow_guesser_is_one_alarm_at_any_pace_and_it_ends() {
    for pause_ms in [1_000, 7 * 60_000, 5 * 3_600_000] {
        let mut world = World::settled();
        for _ in 0..60 {
            world.wait(pause_ms);
            world.refuse("198.51.100.9", Some("admin"), Refusal::BadCredentials);
        }
        let alarm = world.only();
        let worse = world.notices.iter().any(|notice| matches!(notice, Notice::Worsened(_)));
        assert!(worse || pause_ms < 60_000, "it is told again while it goes on");
        let now = world.engine.alarm(alarm.id).unwrap();
        assert_eq!((now.last_ms, now.events), (world.now_ms, 60), "{pause_ms}");
        // Four pauses, five minutes at least and a day at most.
        let hold_off_ms = (4 * pause_ms).clamp(300_000, 86_400_000);
        world.wait(hold_off_ms - 2_000);
        assert!(!matches!(world.notices.last(), Some(Notice::Cleared(_))), "{pause_ms}");
        world.wait(4_000);
        assert!(matches!(world.notices.last(), Some(Notice::Cleared(_))), "{pause_ms}");
    }
}

#[test]
fn a_guesser_who_slows_down_is_still_one_alarm_and_so_are_many_who_guess_one_user() {
    let mut world = World::settled();
    let mut pause_ms = 30_000;
    for attempt in 0..24 {
        world.refuse("198.51.100.9", Some("admin"), Refusal::BadCredentials);
        world.wait(pause_ms);
        if attempt % 2 == 0 && pause_ms < 4 * 3_600_000 {
            pause_ms *= 2;
        }
    }
    world.only();

    let mut world = World::settled();
    for attempt in 0..60 {
        let source = format!("198.51.100.{}", attempt % 20);
        world.refuse(&source, Some("operator"), Refusal::BadCredentials);
        world.wait(7 * 60_000);
    }
    let of_user = |(detector, subject): &(String, String)| {
        detector == "repeated_authentication" && subject == "identity:operator"
    };
    assert_eq!(world.raised().iter().filter(|raised| of_user(raised)).count(), 1, "{:?}", world.raised());
}

#[test]
fn spraying_over_users_is_named_so_and_a_success_with_one_does_not_hide_it() {
    let mut world = World::settled();
    for user in ["a", "b", "c"] {
        world.refuse("198.51.100.9", Some(user), Refusal::BadCredentials);
        world.wait(60_000);
        world.arrive("mine", "198.51.100.9", Some("mallory"));
    }
    for user in ["d", "e", "f", "g"] {
        world.refuse("198.51.100.9", Some(user), Refusal::BadCredentials);
        world.wait(60_000);
    }
    assert!(world.only().summary.ends_with("password spraying"), "{}", world.only().summary);
}

#[test]
fn guessing_one_user_slowly_from_many_addresses_is_seen() {
    let mut world = World::settled();
    for source in 0..6 {
        world.refuse(&format!("198.51.100.{source}"), Some("operator"), Refusal::BadCredentials);
        world.wait(3_600_000);
    }
    let alarm = world.only();
    explains_itself(&alarm);
    assert_eq!(alarm.subject, Subject::Identity("operator".into()));
    assert!(alarm.summary.contains("from 6 addresses"), "{}", alarm.summary);
}

#[test]
fn spraying_that_is_spread_over_users_and_addresses_is_one_alarm_of_the_fleet() {
    let mut world = World::settled();
    for i in 0..40 {
        world.refuse(&format!("198.51.100.{i}"), Some(&format!("user-{i}")), Refusal::BadCredentials);
        world.wait(20_000);
    }
    let alarm = world.only();
    explains_itself(&alarm);
    assert_eq!((&*alarm.detector, &alarm.subject), ("distributed_authentication", &Subject::Fleet));
}

#[test]
fn who_mistypes_and_then_gets_in_is_no_attacker_however_often() {
    let mut world = World::settled();
    for day in 0..60 {
        for _ in 0..(day % 4) {
            world.refuse("192.0.2.7", Some("alice"), Refusal::BadCredentials);
            world.wait(5_000);
        }
        world.arrive("desk", "192.0.2.7", Some("alice"));
        world.publish("desk", 1);
        world.wait(3_600_000);
        world.leave("desk", DisconnectCause::Normal);
    }
    assert_eq!(world.raised(), []);
}

#[test]
fn a_guess_that_succeeds_makes_it_critical() {
    let mut world = World::settled();
    (0..10).for_each(|_| world.refuse("198.51.100.9", Some("operator"), Refusal::BadCredentials));
    world.wait(100);
    world.arrive("console", "198.51.100.9", Some("operator"));
    let worse = world.notices.iter().find_map(|notice| match notice {
        Notice::Worsened(alarm) => Some(alarm.clone()),
        _ => None,
    });
    let worse = worse.expect("the alarm became worse");
    assert_eq!(worse.severity, Severity::Critical);
    assert!(worse.summary.contains("then operator was let in"), "{}", worse.summary);
}

#[test]
fn a_slowite_is_seen_within_its_first_connections() {
    let mut world = World::settled();
    for i in 0..1_000 {
        world.opened("198.51.100.9", 1);
        world.arrive(&format!("mqtt-{i}"), "198.51.100.9", None);
        if i % 2 == 0 {
            world.wait(1);
        }
    }
    let raised = world.raised();
    assert_eq!(raised[0].0, "repeated_connection_attempts");
    assert_eq!(
        raised.iter().filter(|(_, subject)| subject != "source:198.51.100.9").count(),
        0,
        "{raised:?}"
    );
    assert!(raised.len() <= 2, "{raised:?}");
    let first = world.notices[0].alarm();
    explains_itself(first);
    assert!(first.raised_ms - first.first_ms < 100, "{first:?}");
}

#[test]
fn a_hoard_of_idle_connections_is_seen_however_slowly_it_is_built_up() {
    let mut world = World::settled();
    for i in 0..30 {
        world.arrive(&format!("idle-{i}"), "198.51.100.9", None);
        world.wait(20_000);
    }
    let alarm = world.only();
    explains_itself(&alarm);
    assert_eq!(&*alarm.detector, "silent_connections");
    assert!(alarm.summary.contains("20 connections without data"), "{}", alarm.summary);
}

#[test]
fn half_open_connections_are_seen() {
    let mut world = World::settled();
    for _ in 0..70 {
        world.opened("198.51.100.9", 1);
        world.wait(500);
    }
    let alarm = world.only();
    explains_itself(&alarm);
    assert!(alarm.summary.contains("without a CONNECT"), "{}", alarm.summary);
}

#[test]
fn to_connect_and_close_again_and_again_is_seen_at_the_fifth_time() {
    let mut world = World::settled();
    for i in 0..5 {
        let name = format!("burst-{i}");
        world.arrive(&name, "198.51.100.9", None);
        world.wait(10);
        world.leave(&name, DisconnectCause::Normal);
    }
    let alarm = world.only();
    explains_itself(&alarm);
    assert_eq!((&*alarm.detector, alarm.events), ("silent_connections", 5));
}

#[test]
fn a_health_check_that_is_configured_and_a_client_that_waits_for_commands_are_not_silent() {
    let mut settings = crate::Settings::default();
    settings.connection.health_checks.push("198.51.100.1".parse().unwrap());
    let mut world = World::with(settings);
    world.arrive("valve", "192.0.2.1", Some("valve"));
    for _ in 0..500 {
        world.opened("198.51.100.1", 1);
        world.abandon("198.51.100.1");
        world.wait(5_000);
    }
    world.leave("valve", DisconnectCause::KeepAlive);
    assert_eq!(world.raised(), []);
}

#[test]
fn very_many_connections_in_a_second_are_a_flood_whatever_becomes_of_them() {
    let mut world = World::settled();
    for _ in 0..50 {
        world.opened("198.51.100.9", 40);
        world.wait(10);
    }
    assert_eq!(world.raised()[0].0, "connection_flood");
    let alarm = world.notices[0].alarm();
    assert!(alarm.raised_ms < world.now_ms - 450, "{alarm:?}");
    assert!(alarm.value >= alarm.threshold && alarm.baseline.is_some(), "{alarm:?}");
}

#[test]
fn one_odd_packet_is_a_finding_and_three_are_an_alarm() {
    let mut world = World::settled();
    world.refuse("198.51.100.9", None, Refusal::Malformed);
    assert_eq!((world.findings(), world.raised()), (1, vec![]));
    world.wait(1_000);
    world.refuse("198.51.100.9", None, Refusal::Protocol);
    world.arrive("fuzz", "198.51.100.9", None);
    world.leave("fuzz", DisconnectCause::ProtocolError);
    let alarm = world.only();
    explains_itself(&alarm);
    assert_eq!((&*alarm.detector, alarm.events), ("malformed_packets", 3));
    assert_eq!(world.findings(), 1);
}

#[test]
fn abnormal_ends_are_told_apart_by_cause() {
    let mut world = World::settled();
    for i in 0..11 {
        world.arrive("home-3", "192.0.2.3", None);
        world.wait(5_000);
        world
            .leave("home-3", if i % 3 == 0 { DisconnectCause::Reset } else { DisconnectCause::NoDisconnect });
        world.wait(5_000);
    }
    let alarm = world.only();
    explains_itself(&alarm);
    assert_eq!((&*alarm.detector, alarm.events), ("abnormal_termination", 11));
    assert!(alarm.summary.ends_with("7 x no DISCONNECT, 4 x reset"), "{}", alarm.summary);
    let figures: Vec<_> = alarm.figures.iter().map(|figure| (&*figure.name, figure.value)).collect();
    assert_eq!(figures, [("no DISCONNECT", 7.0), ("reset", 4.0)]);
}

#[test]
fn two_devices_with_one_name_are_seen_at_the_fourth_take_over() {
    let mut world = World::settled();
    for i in 0..5 {
        let ip = if i % 2 == 0 { "192.0.2.3" } else { "198.51.100.9" };
        world.arrive("home-3", ip, None);
        world.leave("home-3", DisconnectCause::TakenOver);
        world.wait(700);
    }
    let alarm = world.only();
    explains_itself(&alarm);
    assert_eq!((&*alarm.detector, alarm.severity), ("cloned_identity", Severity::High));
    // Told in the other order, and from one address, it is the same but for the severity.
    let mut world = World::settled();
    for _ in 0..5 {
        world.leave("home-4", DisconnectCause::TakenOver);
        world.arrive("home-4", "192.0.2.4", None);
        world.wait(700);
    }
    let alarm = world.only();
    assert_eq!((&*alarm.detector, alarm.severity), ("cloned_identity", Severity::Medium));
}

#[test]
fn a_client_that_connects_again_and_again_is_seen() {
    let mut world = World::settled();
    for _ in 0..40 {
        world.arrive("home-3", "192.0.2.3", None);
        world.publish("home-3", 1);
        world.wait(1_000);
        world.leave("home-3", DisconnectCause::Normal);
    }
    let alarm = world.only();
    explains_itself(&alarm);
    assert_eq!(alarm.subject, Subject::Client("home-3".into()));
    assert!(alarm.raised_ms - alarm.first_ms <= 60_000);
}

/// A fleet of `clients` behind `sources` addresses, with names of their own if `is_identified`.
fn fleet(clients: usize, sources: usize, is_identified: bool) -> World {
    let mut world = World::new();
    world.sight(crate::Sight::Started);
    for i in 0..clients {
        come(&mut world, i, &ip(i, sources), is_identified);
        world.wait(40);
    }
    for _ in 0..30 {
        world.wait(60_000);
        (0..clients).for_each(|i| world.publish(&format!("meter-{i}"), 1));
    }
    assert_eq!(world.raised(), [], "a fleet that comes for the first time");
    world
}

fn ip(i: usize, sources: usize) -> String {
    format!("203.0.113.{}", i % sources)
}

fn come(world: &mut World, i: usize, ip: &str, is_identified: bool) {
    let name = format!("meter-{i}");
    world.opened(ip, 1);
    world.arrive(&name, ip, is_identified.then_some(&*name));
    world.publish(&name, 1);
}

#[test]
fn a_fleet_that_loses_its_network_and_comes_back_is_one_alarm() {
    for (clients, sources, is_identified) in [(1_000, 200, true), (1_000, 1, true), (300, 200, false)] {
        let mut world = fleet(clients, sources, is_identified);
        for i in 0..clients {
            world.leave(&format!("meter-{i}"), DisconnectCause::KeepAlive);
            if i % 50 == 0 {
                world.wait(1_000);
            }
        }
        world.wait(30_000);
        // The node lets in no more than so many in a second, and they try again at once.
        for i in 0..5_000 {
            world.refuse(&ip(i, sources), None, Refusal::ConnectionRate);
        }
        for i in 0..clients {
            come(&mut world, i, &ip(i, sources), is_identified);
            world.wait(3);
        }
        let alarm = world.only();
        explains_itself(&alarm);
        assert_eq!((&*alarm.detector, &alarm.subject), ("reconnect_storm", &Subject::Fleet));
        world.wait(900_000);
        assert!(matches!(world.notices.last(), Some(Notice::Cleared(_))), "it ends");
    }
}

#[test]
fn a_fleet_that_reboots_twice_in_a_rollout_and_roams_behind_one_address_is_one_alarm_at_most() {
    let mut world = fleet(500, 100, true);
    for wave in 0..10 {
        for i in (wave * 50)..(wave * 50 + 50) {
            for _ in 0..2 {
                world.leave(&format!("meter-{i}"), DisconnectCause::Reset);
                world.wait(2_000);
                come(&mut world, i, "203.0.113.250", true);
            }
        }
        world.wait(1_800_000);
    }
    assert!(world.raised().iter().all(|(detector, _)| detector == "reconnect_storm"), "{:?}", world.raised());
    assert!(world.raised().len() <= 1, "{:?}", world.raised());
}

#[test]
fn clients_that_roam_and_sensors_that_wake_and_sleep_raise_nothing() {
    let mut world = fleet(100, 100, true);
    for hour in 0..48 {
        for i in 0..100 {
            let name = format!("meter-{i}");
            // A third roams: the old connection is still there when the new one comes, from elsewhere.
            match i % 3 {
                0 => come(&mut world, i, &ip(i + hour, 7), true),
                1 => {
                    world.leave(&name, DisconnectCause::Normal);
                    come(&mut world, i, &ip(i, 100), true);
                }
                _ => world.publish(&name, 5),
            }
            world.wait(36_000);
        }
    }
    assert_eq!(world.raised(), []);
}

#[test]
fn after_a_restart_the_fleet_is_remembered_and_its_return_is_one_alarm() {
    let mut before = fleet(300, 10, false);
    let mut world = World::new();
    // From what was written as it happened: a crash leaves no time for more.
    while let Some(write) = before.engine.poll_write() {
        world.engine.restore(&write.key, &write.value.unwrap()).unwrap();
    }
    (world.now_ms, before.now_ms) = (before.now_ms + 60_000, 0);
    world.wait(0);
    world.sight(crate::Sight::Started);
    for i in 0..300 {
        come(&mut world, i, &ip(i, 10), false);
        world.wait(10);
    }
    let alarm = world.only();
    assert_eq!(&*alarm.detector, "reconnect_storm");
    assert!(alarm.summary.contains("after the start of the node"), "{}", alarm.summary);
}

#[test]
fn what_was_missed_is_no_take_over() {
    let mut world = World::settled();
    for _ in 0..8 {
        world.arrive("home-3", "192.0.2.3", None);
        world.sight(crate::Sight::Missed { count: 1 });
        world.wait(10_000);
    }
    assert_eq!(world.raised(), []);
}

#[test]
fn thresholds_are_those_that_are_described() {
    let settings = super::Settings::default();
    let in_a_row = settings.tests().map(|test| test.in_a_row());
    assert_eq!(in_a_row, [6, 11, 3, 5, 4]);
    let counts =
        [settings.attempts_per_minute, settings.opened_per_second, settings.failing_sources_per_hour];
    let counts = counts.map(|mean| crate::statistics::poisson_threshold(mean, settings.chance));
    assert_eq!(counts, [20, 84, 9]);
}

/// A thousand clients for a day each: they publish, roam, lose their network, reboot, mistype, send an odd packet. What they
/// publish is at random here, so detectors of messages are not asked.
#[test]
fn a_thousand_benign_client_days_raise_no_alarm_of_connections() {
    let mut world = fleet(1_000, 120, true);
    let mut seed = 0x5eed_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..1_440 {
        for _ in 0..20 {
            let i = random(1_000) as usize;
            let (name, ip) = (format!("meter-{i}"), ip(random(120) as usize, 120));
            match random(200) {
                0 if random(20) == 0 => world.leave(&name, DisconnectCause::ProtocolError),
                0 => continue,
                1 => world.leave(&name, DisconnectCause::Reset),
                2 => world.leave(&name, DisconnectCause::KeepAlive),
                3 => world.leave(&name, DisconnectCause::Normal),
                4 => world.refuse(&ip, Some(&name), Refusal::BadCredentials),
                5 => {}
                _ => {
                    world.publish(&name, 1 + random(5));
                    continue;
                }
            }
            // Whoever left comes back, at home or elsewhere.
            come(&mut world, i, &ip, true);
        }
        world.wait(60_000);
    }
    let raised = world.raised();
    let ours = |name: &str| super::DETECTORS.iter().any(|info| info.name == name);
    assert!(!raised.iter().any(|(detector, _)| ours(detector)), "{raised:?}");
}
