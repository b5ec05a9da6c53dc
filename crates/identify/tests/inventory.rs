//! The inventory as a shell drives it: sights in, views, findings and records out.

use ravelin_event::{DisconnectCause, Event};
use ravelin_identify::birth::{BirthFormat, BirthRule};
use ravelin_identify::seen::{BirthSeen, FlowSeen, Gone, Seen};
use ravelin_identify::{
    Admission, CertificateFacts, Declared, Error, Filter, FindingKind, Inventory, KeyKind, Limits, Places,
    Position, Settings, Site, State, Traffic, Unknown,
};

const DAY_MS: u64 = 86_400_000;
/// 2026-11-24.
const START_MS: u64 = 1_795_478_400_000;

fn inventory(settings: Settings) -> Inventory {
    let site = |name: &str, network: &str| Site {
        name: name.into(),
        position: Position::new(48.0, 16.0),
        networks: vec![network.parse().unwrap()],
        zone: Some("field".into()),
    };
    let places = Places {
        node: "bus1".into(),
        sites: vec![site("north", "10.1.0.0/16"), site("south", "10.2.0.0/16")],
        ..Places::default()
    };
    Inventory::new(settings, places, 7, START_MS)
}

fn seen<'a>(at_ms: u64, client_id: &'a str, identity: Option<&'a str>, address: &str) -> Seen<'a> {
    Seen {
        at_ms,
        client_id,
        identity,
        address: Some(address.parse().unwrap()),
        listener: Some("field"),
        class: None,
        version: "5",
        keep_alive_s: 60,
        certificate: None,
        properties: &[],
    }
}

fn certificate(number: u8) -> CertificateFacts {
    CertificateFacts {
        fingerprint: format!("{number:02x}").repeat(32),
        subject: format!("CN=meter{number}"),
        issuer: "CN=Plant CA".into(),
        serial: "0badcafe".into(),
        not_before_s: 1_790_000_000,
        not_after_s: 1_800_000_000,
        key: KeyKind::EcP256,
        key_bits: 256,
        signature: "ecdsa-with-SHA256".into(),
    }
}

fn events(inventory: &mut Inventory) -> Vec<Event> {
    std::iter::from_fn(|| inventory.poll_event()).collect()
}

fn found(inventory: &Inventory) -> Vec<FindingKind> {
    inventory.findings().iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_device_is_described_by_what_it_does() {
    let mut inventory = inventory(Settings::default());
    let facts = certificate(1);
    let properties = [("Library", "paho-rust 0.12"), ("firmware", "2.1\n")];
    let first = Seen {
        certificate: Some(&facts),
        properties: &properties,
        ..seen(START_MS, "m-1", Some("meter1"), "10.1.0.7")
    };
    inventory.handle_seen(&first);
    inventory.handle_subscribed(START_MS, "m-1", "meters/m-1/cmd");
    inventory.handle_flow(&FlowSeen {
        at_ms: START_MS + 1_000,
        client_id: "m-1",
        identity: Some("meter1"),
        topic: "meters/meter1/volt",
        traffic: Traffic { messages: 60, bytes: 600, qos: [0, 60, 0], retained: 60 },
    });
    let view = inventory.device("identity:meter1", START_MS + 1_000).unwrap();
    assert_eq!((view.state, view.connected, view.version.as_deref()), (State::Active, true, Some("5")));
    assert_eq!((view.library.as_deref(), view.firmware.as_deref()), (Some("paho-rust 0.12"), Some("2.1")));
    assert_eq!(view.certificate.unwrap().not_after, "2027-01-15T08:00:00Z");
    assert_eq!((view.site.as_deref(), view.zone.as_deref()), (Some("north"), Some("field")));
    assert_eq!((&*view.published[0].topic, view.published[0].messages), ("meters/meter1/volt", 60));
    assert_eq!((view.published[0].qos.clone(), view.published[0].retain), (vec![1], true));
    assert_eq!(view.subscribed[0].topic, "meters/m-1/cmd");
    assert!(matches!(events(&mut inventory)[0], Event::DeviceDiscovered { .. }));
    inventory.handle_unsubscribed("m-1", "meters/m-1/cmd");
    inventory.handle_gone(&Gone { at_ms: START_MS + 5_000, client_id: "m-1", taken_over: false });
    let view = inventory.device("identity:meter1", START_MS).unwrap();
    assert!(!view.connected && view.subscribed.is_empty());
    assert_eq!(view.last_seen.as_deref(), Some("2026-11-24T00:00:05Z"));
}

#[test]
fn a_birth_message_tells_firmware_and_place() {
    let births = vec![BirthRule {
        filter: "devices/+/birth".into(),
        format: BirthFormat::Json,
        firmware: vec!["/fw".into()],
        latitude: vec!["/lat".into()],
        longitude: vec!["/lon".into()],
        ..BirthRule::sparkplug()
    }];
    let mut inventory = inventory(Settings { births, ..Settings::default() });
    inventory.handle_seen(&seen(START_MS, "m-1", None, "192.0.2.1"));
    let payload = br#"{"fw":"7.5","lat":48.25,"lon":16.5}"#;
    let birth =
        BirthSeen { at_ms: START_MS, client_id: "m-1", identity: None, topic: "devices/m-1/birth", payload };
    assert!(inventory.handle_birth(&birth));
    let view = inventory.device("client:m-1", START_MS).unwrap();
    assert_eq!((view.firmware.as_deref(), view.position), (Some("7.5"), Some((48.25, 16.5))));
    let long = vec![b' '; 65_537];
    assert!(!inventory.handle_birth(&BirthSeen { payload: &long, ..birth }));
}

#[test]
fn retired_devices_are_refused_until_they_are_reinstated() {
    let mut inventory = inventory(Settings::default());
    inventory
        .declare(vec![Declared { client_ids: vec!["m-1".into()], ..Declared::named("meter1") }], START_MS)
        .unwrap();
    assert_eq!(inventory.device("meter1", START_MS).unwrap().state, State::Registered);
    inventory.handle_seen(&seen(START_MS, "m-1", None, "10.1.0.7"));
    assert_eq!(inventory.device("meter1", START_MS).unwrap().state, State::Active);
    assert_eq!(inventory.admissions().decide("m-1", None), Admission::Admit);
    assert_eq!(inventory.set_state("meter1", State::Retired, "replaced").unwrap().len(), 1);
    assert_eq!(inventory.admissions().decide("m-1", None), Admission::Refuse(State::Retired));
    let again =
        Declared { client_ids: vec!["m-1".into()], owner: Some("grid".into()), ..Declared::named("meter1") };
    inventory.declare(vec![again], START_MS).unwrap();
    assert_eq!(
        inventory.admissions().decide("m-1", None),
        Admission::Refuse(State::Retired),
        "declared anew"
    );
    let error = inventory.set_state("meter1", State::Dormant, "").unwrap_err();
    assert!(error.to_string().contains("reinstate it"), "{error}");
    inventory.set_state("meter1", State::Active, "").unwrap();
    assert_eq!(inventory.device("meter1", START_MS).unwrap().state, State::Dormant);
    assert_eq!(inventory.admissions().decide("m-1", None), Admission::Admit);
    assert_eq!(inventory.set_state("nobody", State::Retired, ""), Err(Error::Unknown("nobody".into())));
}

#[test]
fn unknown_devices_go_where_they_are_sent() {
    let settings = Settings { unknown: Unknown::Quarantine, ..Settings::default() };
    let mut inventory = inventory(settings);
    inventory.declare(vec![Declared::named("meter1")], START_MS).unwrap();
    let admissions = inventory.admissions();
    assert_eq!(admissions.decide("x", Some("meter1")), Admission::Admit);
    assert_eq!(admissions.decide("meter1", None), Admission::Quarantine("quarantine".into()));
    inventory.undeclare("meter1").unwrap();
    assert_eq!(
        inventory.admissions().decide("x", Some("meter1")),
        Admission::Quarantine("quarantine".into())
    );
    assert!(inventory.is_empty());
}

#[test]
fn a_device_that_is_not_seen_falls_asleep_and_wakes() {
    let mut inventory = inventory(Settings::default());
    inventory.handle_seen(&seen(START_MS, "m-1", None, "10.1.0.7"));
    let later = START_MS + 31 * DAY_MS;
    inventory.tick(later);
    assert_eq!(inventory.device("client:m-1", later).unwrap().state, State::Active, "connected all the time");
    inventory.handle_gone(&Gone { at_ms: START_MS, client_id: "m-1", taken_over: false });
    events(&mut inventory);
    inventory.tick(later);
    assert_eq!(inventory.device("client:m-1", later).unwrap().state, State::Dormant);
    assert!(matches!(events(&mut inventory)[..], [Event::DeviceState { from: "active", to: "dormant", .. }]));
    inventory.handle_seen(&seen(later, "m-1", None, "10.1.0.7"));
    assert_eq!(inventory.device("client:m-1", later).unwrap().state, State::Active);
}

#[test]
fn the_difference_lists_missing_unknown_and_mismatched() {
    let mut inventory = inventory(Settings::default());
    let declared = Declared {
        identity: Some("meter1".into()),
        networks: vec!["10.1.0.0/16".parse().unwrap()],
        site: Some("north".into()),
        version: Some("3.1.1".into()),
        certificate: Some("02".repeat(32).into()),
        publishes: vec!["meters/%u/#".into()],
        firmware: Some(">=3".into()),
        ..Declared::named("Meter 1")
    };
    inventory.declare(vec![declared, Declared::named("meter2")], START_MS).unwrap();
    let facts = certificate(1);
    let properties = [("fw", "2.9")];
    let one = Seen {
        certificate: Some(&facts),
        properties: &properties,
        ..seen(START_MS, "m-1", Some("meter1"), "10.2.0.7")
    };
    inventory.handle_seen(&one);
    inventory.handle_seen(&seen(START_MS, "stranger", None, "10.1.0.1"));
    for topic in ["meters/meter1/volt", "other/topic"] {
        let traffic = Traffic { messages: 1, ..Traffic::default() };
        inventory.handle_flow(&FlowSeen {
            at_ms: START_MS,
            client_id: "m-1",
            identity: Some("meter1"),
            topic,
            traffic,
        });
    }
    let difference = inventory.difference(100);
    assert_eq!(difference.missing, ["meter2"]);
    assert_eq!(difference.unknown, ["client:stranger"]);
    let fields: Vec<&str> = difference.mismatched.iter().map(|mismatch| &*mismatch.field).collect();
    assert_eq!(fields, ["networks", "site", "certificate", "version", "firmware", "publishes"]);
    assert_eq!(difference.mismatched[5].observed, "other/topic");
    assert!(inventory.difference(1).truncated);
}

#[test]
fn no_two_declarations_are_of_one_device() {
    let mut inventory = inventory(Settings::default());
    let one = Declared { identity: Some("meter1".into()), ..Declared::named("a") };
    let other = Declared { identity: Some("meter1".into()), ..Declared::named("b") };
    assert!(inventory.declare(vec![one.clone(), other.clone()], START_MS).is_err());
    assert_eq!(inventory.declarations().count(), 0, "all or none");
    inventory.declare(vec![one], START_MS).unwrap();
    assert!(inventory.declare(vec![other], START_MS).unwrap_err().to_string().contains("\"a\" already"));
}

#[test]
fn clients_that_throw_each_other_out_are_a_finding() {
    let mut inventory = inventory(Settings::default());
    for (second, address) in (0..12).zip(["192.0.2.1", "198.51.100.1"].into_iter().cycle()) {
        inventory.handle_seen(&seen(START_MS + second * 1_000, "m-1", None, address));
        let gone = Event::Disconnected {
            client_id: "m-1".into(),
            identity: None,
            address: None,
            cause: DisconnectCause::TakenOver,
            detail: None,
        };
        inventory.handle_event(START_MS + second * 1_000, &gone);
    }
    assert_eq!(found(&inventory), [FindingKind::DuplicateClient]);
    let duplicates =
        events(&mut inventory).into_iter().filter(|event| matches!(event, Event::DuplicateClient { .. }));
    assert_eq!(duplicates.count(), 1, "told once");
}

#[test]
fn roaming_and_reconnecting_are_no_duplicates() {
    let mut inventory = inventory(Settings::default());
    // A car drives through ten cells, and its old connection is still half-open each time.
    for cell in 0..10 {
        inventory.handle_seen(&seen(START_MS + cell * 10_000, "car", None, &format!("192.0.2.{cell}")));
    }
    // A bad line behind a translated address: the same address again and again.
    for second in 0..100 {
        inventory.handle_seen(&seen(START_MS + second * 1_000, "shed", None, "198.51.100.1"));
    }
    // Two uplinks of a declared network that take turns, as often as once a minute.
    let networks = vec!["10.1.0.0/16".parse().unwrap()];
    inventory.declare(vec![Declared { networks, ..Declared::named("router") }], START_MS).unwrap();
    for minute in 0..60 {
        let address = if minute % 2 == 0 { "10.1.0.1" } else { "10.1.1.1" };
        inventory.handle_seen(&seen(START_MS + minute * 60_000, "r", Some("router"), address));
    }
    assert_eq!(found(&inventory), []);
}

#[test]
fn one_certificate_in_two_places_is_a_finding() {
    let mut inventory = inventory(Settings::default());
    let facts = certificate(1);
    let with = |at_ms, client_id, address| Seen {
        certificate: Some(&facts),
        ..seen(at_ms, client_id, Some("meter1"), address)
    };
    inventory.handle_seen(&with(START_MS, "m-1", "192.0.2.1"));
    inventory.handle_seen(&with(START_MS + 1_000, "clone", "198.51.100.1"));
    inventory.tick(START_MS + 90_000);
    assert_eq!(found(&inventory), [], "the first one may be what is left of a connection");
    inventory.tick(START_MS + 97_000);
    assert_eq!(found(&inventory), [FindingKind::ClonedCertificate]);
    let told =
        events(&mut inventory).into_iter().find(|event| matches!(event, Event::ClonedCertificate { .. }));
    let Some(Event::ClonedCertificate { client_ids, certificate, .. }) = told else { panic!("not told") };
    assert_eq!(
        (client_ids, certificate),
        (vec!["m-1".to_owned(), "clone".to_owned()], facts.fingerprint.clone())
    );
}

#[test]
fn a_certificate_that_moves_on_or_has_two_connections_is_none() {
    let mut inventory = inventory(Settings::default());
    let (one, two, three) = (certificate(1), certificate(2), certificate(3));
    let with = |facts, at_ms, client_id, address| Seen {
        certificate: Some(facts),
        ..seen(at_ms, client_id, Some("x"), address)
    };
    // Roams, with a new Client Identifier at each connect; the old connection ends by its Keep Alive.
    inventory.handle_seen(&with(&one, START_MS, "a", "192.0.2.1"));
    inventory.handle_seen(&with(&one, START_MS + 1_000, "b", "198.51.100.1"));
    inventory.handle_gone(&Gone { at_ms: START_MS + 91_000, client_id: "a", taken_over: false });
    // Two connections of one host.
    inventory.handle_seen(&with(&two, START_MS, "c", "192.0.2.7"));
    inventory.handle_seen(&with(&two, START_MS, "d", "192.0.2.7"));
    // One host with both families.
    inventory.handle_seen(&with(&three, START_MS, "e", "192.0.2.8"));
    inventory.handle_seen(&with(&three, START_MS, "f", "2001:db8::8"));
    inventory.tick(START_MS + 1_000_000);
    assert_eq!(found(&inventory), []);
}

#[test]
fn a_device_that_leaves_its_place_is_a_finding() {
    let mut inventory = inventory(Settings::default());
    let networks = vec!["10.1.0.0/16".parse().unwrap()];
    inventory.declare(vec![Declared { networks, ..Declared::named("meter1") }], START_MS).unwrap();
    inventory
        .declare(vec![Declared { site: Some("north".into()), ..Declared::named("meter2") }], START_MS)
        .unwrap();
    inventory.handle_seen(&seen(START_MS, "a", Some("meter1"), "10.1.200.7"));
    inventory.handle_seen(&seen(START_MS, "b", Some("meter2"), "10.1.0.8"));
    assert_eq!(found(&inventory), []);
    for day in 0..3 {
        inventory.handle_seen(&seen(START_MS + day, "a", Some("meter1"), "10.2.0.7"));
        inventory.handle_seen(&seen(START_MS + day, "b", Some("meter2"), "10.2.0.8"));
    }
    assert_eq!(found(&inventory), [FindingKind::MovedDevice, FindingKind::MovedDevice]);
    let whys: Vec<String> = inventory.findings().into_iter().map(|finding| finding.why).collect();
    assert!(whys.iter().any(|why| why.contains("none of its declared networks 10.1.0.0/16")), "{whys:?}");
    assert!(whys.iter().any(|why| why.contains("at site \"south\", declared is \"north\"")), "{whys:?}");
    let told =
        events(&mut inventory).into_iter().filter(|event| matches!(event, Event::MovedDevice { .. })).count();
    assert_eq!(told, 2, "each once");
}

#[test]
fn an_undeclared_device_has_moved_only_after_it_had_settled() {
    let mut inventory = inventory(Settings::default());
    for day in 0..9 {
        inventory.handle_seen(&seen(START_MS + day * DAY_MS, "settled", None, &format!("192.0.2.{day}")));
        inventory.handle_seen(&seen(START_MS + day * DAY_MS, "nomad", None, &format!("192.{day}.2.1")));
    }
    inventory.handle_seen(&seen(START_MS + 9 * DAY_MS, "fresh", None, "192.0.2.1"));
    assert_eq!(found(&inventory), []);
    for client in ["settled", "nomad", "fresh"] {
        inventory.handle_seen(&seen(START_MS + 10 * DAY_MS, client, None, "198.51.100.1"));
    }
    let subjects: Vec<String> = inventory.findings().into_iter().map(|finding| finding.subject).collect();
    assert_eq!(subjects, ["client:settled"]);
}

#[test]
fn what_was_kept_is_known_again() {
    let mut one = inventory(Settings::default());
    let facts = certificate(1);
    let declared = Declared {
        identity: Some("meter1".into()),
        owner: Some("grid".into()),
        ..Declared::named("Meter 1")
    };
    one.declare(vec![declared, Declared::named("old")], START_MS).unwrap();
    one.set_state("old", State::Retired, "scrapped").unwrap();
    assert_eq!(one.poll_urgent().len(), 5, "two declarations, two devices, one change of state");
    one.handle_seen(&Seen { certificate: Some(&facts), ..seen(START_MS, "m-1", Some("meter1"), "10.1.0.7") });
    one.handle_subscribed(START_MS, "m-1", "meters/m-1/cmd");
    assert_eq!(one.poll_writes(1, 100).len(), 1);
    assert_eq!(one.poll_writes(1, 100).len(), 0, "nothing new");
    let mut other = inventory(Settings::default());
    one.dump(|key, value| other.restore(key, value).unwrap());
    one.handle_gone(&Gone { at_ms: START_MS, client_id: "m-1", taken_over: false });
    let page = |inventory: &Inventory| inventory.page(None, 10, &Filter::default(), START_MS);
    assert_eq!(page(&other), page(&one));
    assert_eq!(other.admissions().decide("x", Some("old")), Admission::Refuse(State::Retired));
    assert!(other.restore("d:identity:x", b"{").is_err() && other.restore("?", b"").is_err());
    assert!(other.restore("n:x", br#"{"name":"y"}"#).is_err());
}

#[test]
fn writes_are_spread_over_time() {
    let mut inventory = inventory(Settings::default());
    for client in 0..10 {
        inventory.handle_seen(&seen(START_MS, &format!("m-{client}"), None, "10.1.0.7"));
    }
    let now_s = u32::try_from(START_MS / 1000).unwrap();
    assert_eq!(inventory.poll_writes(now_s, 6).len(), 6);
    assert_eq!(inventory.poll_writes(now_s, 6).len(), 4);
    inventory.handle_seen(&seen(START_MS + 60_000, "m-1", None, "10.1.0.7"));
    assert_eq!(inventory.poll_writes(now_s, 6).len(), 0, "only its times moved on");
    inventory.handle_seen(&seen(START_MS + 3_601_000, "m-1", None, "10.1.0.7"));
    assert_eq!(inventory.poll_writes(now_s, 6).len(), 1);
}

#[test]
fn strangers_do_not_push_out_those_an_operator_knows() {
    let limits = Limits { devices_max: 100, ..Limits::default() };
    let mut inventory = inventory(Settings { limits, ..Settings::default() });
    inventory.declare(vec![Declared::named("meter1")], START_MS).unwrap();
    inventory.handle_seen(&seen(START_MS, "old", Some("stolen"), "10.1.0.7"));
    inventory.set_state("identity:stolen", State::Lost, "reported").unwrap();
    for client in 0..1_000 {
        let name = format!("stranger-{client}");
        inventory.handle_seen(&seen(START_MS + 1 + client, &name, None, "192.0.2.1"));
        inventory.handle_gone(&Gone { at_ms: START_MS + 1 + client, client_id: &name, taken_over: false });
    }
    assert!(inventory.len() <= 100, "{}", inventory.len());
    assert!(
        inventory.device("meter1", START_MS).is_ok() && inventory.device("identity:stolen", START_MS).is_ok()
    );
}

#[test]
fn pages_go_through_all_of_it() {
    let mut inventory = inventory(Settings::default());
    for client in 0..25 {
        inventory.handle_seen(&seen(START_MS, &format!("m-{client:02}"), None, "10.1.0.7"));
    }
    let (mut after, mut keys) = (None, Vec::new());
    loop {
        let page = inventory.page(after.as_deref(), 10, &Filter::default(), START_MS);
        keys.extend(page.devices.into_iter().map(|device| device.key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(keys.len(), 25);
    assert!(keys.is_sorted());
    let filter = Filter {
        text: Some("-07".into()),
        connected: Some(true),
        site: Some("north".into()),
        ..Filter::default()
    };
    assert_eq!(inventory.page(None, 10, &filter, START_MS).devices.len(), 1);
    let summary = inventory.summary(START_MS);
    assert_eq!((summary.devices, summary.connected, summary.states["active"]), (25, 25, 25));
}

#[test]
fn what_one_client_can_make_grow_is_bounded() {
    let mut inventory = inventory(Settings::default());
    for number in 0..1_000u64 {
        let name = format!("id-{number}");
        inventory.handle_seen(&seen(
            START_MS + number,
            &name,
            Some("greedy"),
            &format!("10.1.{}.{}", number / 250, number % 250),
        ));
        let topic = format!("{}/{}/{number}", number % 7, number % 3);
        let traffic = Traffic { messages: 1, ..Traffic::default() };
        inventory.handle_flow(&FlowSeen {
            at_ms: START_MS,
            client_id: &name,
            identity: Some("greedy"),
            topic: &topic,
            traffic,
        });
        inventory.handle_subscribed(START_MS, &name, &topic);
    }
    let long = "x".repeat(60_000);
    inventory.handle_seen(&seen(START_MS, &long, None, "10.1.0.7"));
    let view = inventory.device("identity:greedy", START_MS).unwrap();
    assert_eq!((view.client_ids.len(), view.more_client_ids, view.addresses.len()), (8, true, 4));
    assert!(view.published.len() <= 16 && view.subscribed.len() <= 16);
    assert_eq!(view.published.iter().map(|topic| topic.messages).sum::<u64>(), 1_000);
    let lists = serde_json::to_string(&inventory.page(None, 10, &Filter::default(), START_MS)).unwrap();
    assert!(lists.len() < 20_000, "{}", lists.len());
}
