//! Who looks for topics, and who asks for everything.

use super::{Bench, arrived, left};
use crate::{Metered, Operation, Settings, Sight};
use ravelin_event::{DisconnectCause, Refusal, Subject};
use std::sync::Arc;

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
fn strangers_at_one_address_are_one_alarm_that_counts_them_and_who_is_known_is_himself() {
    let mut bench = Bench::new(Settings::default());
    for client in 0..24 {
        let name = format!("throw-away-{client}");
        bench.arrive(&name, None);
        for filter in ["#", "$SYS/#"] {
            bench.see(Sight::Subscribed { client_id: name.as_str().into(), filter: filter.into() });
        }
        bench.see(left(&name, DisconnectCause::Normal));
        // A few at a time, and then a pause longer than an alarm lasts that is told nothing else.
        bench.pass(if client % 6 == 5 { 900_000 } else { 5_000 });
    }
    let wide: Vec<_> = bench.raised.iter().filter(|alarm| &*alarm.detector == "wide_subscription").collect();
    assert_eq!(wide.len(), 1, "{wide:?}");
    assert_eq!(wide[0].subject, Subject::Source("192.0.2.7".parse().unwrap()));
    assert_eq!(wide[0].client_id.as_deref(), Some("throw-away-0"));
    let now = bench.engine.alarm(wide[0].id).unwrap();
    let clients = now.figures.iter().find(|figure| &*figure.name == "clients").unwrap();
    // A sketch counts them, by its standard error of 13 %.
    assert!((18.0..=30.0).contains(&clients.value) && now.events == 24, "{now:?}");

    bench.arrive("meter-1", Some("meter"));
    bench.see(Sight::Denied {
        client_id: "meter-1".into(),
        operation: Operation::Subscribe,
        name: "#".into(),
        why: Refusal::AccessRule,
        count: 1,
    });
    let last = bench.raised.last().unwrap();
    assert_eq!((&*last.detector, &last.subject), ("wide_subscription", &Subject::Client("meter-1".into())));
}

#[test]
fn who_only_listens_is_told_after_a_minute_and_of_who_is_known_it_is_a_finding() {
    for class in [None, Some("dashboard")] {
        listens(class);
    }
}

fn listens(class: Option<&str>) {
    let mut bench = Bench::new(Settings::default());
    bench.arrive("listener", class);
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
    assert!(bench.raised.is_empty() && !bench.found("silent_wide_subscriber"));
    bench.pass(31_000);
    listen(&mut bench);
    bench.pass(61_000);
    listen(&mut bench);
    let alarms: &[&str] = if class.is_none() { &["silent_wide_subscriber"] } else { &[] };
    assert_eq!(bench.names(), alarms);
    assert_eq!(bench.found("silent_wide_subscriber"), class.is_some());
}
