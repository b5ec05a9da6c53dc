//! Lines for others: golden ones, and that nothing which a client chose gets out of its place.

mod support;

use proptest::prelude::*;
use ravelin_event::{Notice, Severity, Subject};
use ravelin_outward::syslog::{self, Style};
use ravelin_outward::{Item, fail2ban, native, topics};
use std::sync::Arc;
use support::{HOSTILE, alarm, event, origin, raised, refused};

const STYLE: Style = Style { facility: 16, enterprise: syslog::ENTERPRISE, ocsf: false };

#[test]
fn a_refused_log_in_reads_as_rfc_5424_has_it() {
    let line = syslog::message(&origin(), &refused("meter-7"), "plant.siem.1", STYLE);
    assert_eq!(
        line,
        "<132>1 2026-11-24T06:53:43.007Z bus-1 ravelin 4711 login.failed [ravelin@32473 node=\"plant\" uid=\"plant.siem.1\" \
         severity=\"medium\" address=\"[::ffff:192.0.2.7\\]:4711\" client_id=\"meter-7\" identity=\"meter-7\" \
         why=\"bad_credentials\"] login.failed address=\"[::ffff:192.0.2.7]:4711\" client_id=\"meter-7\" \
         identity=\"meter-7\" why=\"bad_credentials\""
    );
    assert_eq!(syslog::frame("abc é"), "6 abc é".as_bytes(), "octets, not characters");
}

#[test]
fn priority_is_facility_and_severity() {
    for (severity, facility, priority) in [
        (Severity::Critical, 0, "<1>1 "),
        (Severity::High, 10, "<82>1 "),
        (Severity::Medium, 16, "<132>1 "),
        (Severity::Low, 23, "<189>1 "),
        (Severity::Informational, 4, "<38>1 "),
    ] {
        let item = Item::notice(Arc::new(Notice::Raised(Arc::new(alarm(severity, "a")))));
        let line = syslog::message(&origin(), &item, "u", Style { facility, ..STYLE });
        assert!(line.starts_with(priority), "{line}");
        assert!(line.contains(" alarm.raised [ravelin@32473 "), "{line}");
    }
}

/// Reads RFC 5424 back: header fields, parameters of the structured data, message. Written from the grammar of the RFC.
fn parse(line: &str) -> (Vec<String>, Vec<(String, String)>, String) {
    let data = line.find('[').expect("structured data");
    let header: Vec<String> = line[..data].trim_end().split(' ').map(str::to_owned).collect();
    let mut characters = line[data + 1..].chars().peekable();
    let id: String = std::iter::from_fn(|| characters.next_if(|c| *c != ' ' && *c != ']')).collect();
    assert!(!id.is_empty() && id.len() <= 32, "{id}");
    let mut parameters = Vec::new();
    while characters.next_if_eq(&' ').is_some() {
        let name: String = std::iter::from_fn(|| characters.next_if(|c| *c != '=')).collect();
        assert!(!name.is_empty() && name.len() <= 32 && name.bytes().all(|b| b.is_ascii_graphic()), "{name}");
        assert_eq!((characters.next(), characters.next()), (Some('='), Some('"')));
        let mut value = String::new();
        loop {
            match characters.next().expect("an end of the value") {
                '"' => break,
                '\\' => value.push(characters.next().expect("an escaped character")),
                ']' => panic!("an unescaped bracket in {line}"),
                c => value.push(c),
            }
        }
        parameters.push((name, value));
    }
    assert_eq!((characters.next(), characters.next()), (Some(']'), Some(' ')), "{line}");
    (header, parameters, characters.collect())
}

fn is_sound(line: &str, name: &str) {
    let (header, parameters, message) = parse(line);
    assert_eq!(header.len(), 6, "{line}");
    assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{message}");
    assert!(!line.chars().any(|c| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)), "{line}");
    let plain = !name.is_empty() && name.len() < 200 && name.chars().all(|c| c.is_ascii_graphic());
    if plain {
        let found = parameters.iter().find(|(label, _)| label == "client_id");
        assert_eq!(found.map(|(_, value)| value.as_str()), Some(name), "{line}");
    }
}

#[test]
fn hostile_names_stay_in_their_place_in_every_format() {
    for name in [HOSTILE, "]\"\\", "x] <13>1 - - - - - -", "\n", "漢", &"😀\"".repeat(5000)] {
        for item in [raised(name), refused(name)] {
            for ocsf in [false, true] {
                is_sound(&syslog::message(&origin(), &item, "u", Style { ocsf, ..STYLE }), name);
            }
            let line = fail2ban::line(&origin(), &item).expect("a line");
            assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line}");
            assert_eq!(
                line.split(" address=").nth(1).map(|rest| rest.starts_with("192.0.2.7 ")),
                Some(true),
                "{line}"
            );
            let json = native::value(&origin(), &item, "u").to_string();
            assert!(!json.contains('\n'));
        }
    }
}

#[test]
fn a_line_for_fail2ban_says_first_what_is_matched() {
    let line = fail2ban::line(&origin(), &refused("a\" b")).unwrap();
    assert_eq!(
        line,
        "2026-11-24T06:53:43.007Z ravelin[plant]: refused address=192.0.2.7 reason=login.failed:bad_credentials \
         client=\"a\\\" b\" identity=\"a\\\" b\""
    );
    let mut nowhere = alarm(Severity::High, "a");
    nowhere.address = None;
    assert_eq!(fail2ban::line(&origin(), &Item::notice(Arc::new(Notice::Raised(Arc::new(nowhere))))), None);
    let test = fail2ban::line(&origin(), &Item::test(0, "jail", "alice")).unwrap();
    assert!(test.contains(" test address=192.0.2.1 "), "{test}");
}

#[test]
fn monitors_get_topics_that_nobody_can_break_out_of() {
    let (topic, _, retained) = topics::message(&origin(), &raised(HOSTILE), "u").unwrap();
    assert_eq!((topic.as_str(), retained), ("$MONITOR/alarms/high/repeated_authentication", false));
    let changed = ravelin_event::Event::TrustChanged {
        client_id: "a/+/#".into(),
        identity: None,
        from: 90,
        to: 20,
        why: "b".into(),
    };
    let (topic, payload, retained) = topics::message(&origin(), &event(1, changed), "u").unwrap();
    assert_eq!((topic.as_str(), retained), ("$MONITOR/trust/a%2F%2B%2F%23", true));
    assert!(payload.contains("\"to\":20"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn whatever_a_client_calls_itself_lines_stay_lines(name in any::<String>()) {
        for item in [raised(&name), refused(&name)] {
            is_sound(&syslog::message(&origin(), &item, "u", STYLE), &name);
            let line = fail2ban::line(&origin(), &item).unwrap();
            prop_assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        let level = topics::level(&name);
        prop_assert!(!level.is_empty() && !level.contains(['/', '+', '#', '\0', '\n']));
        let subject = Subject::Client(name.as_str().into());
        prop_assert!(subject.to_string().starts_with("client:"));
    }
}
