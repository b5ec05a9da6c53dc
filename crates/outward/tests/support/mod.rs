//! An alarm, events and who tells of them, for the tests.

#![allow(dead_code, reason = "each test uses a part")]

use ravelin_event::{
    Alarm, Counted, Event, Figure, Notice, Record, Refusal, Severity, Subject, Verification,
};
use ravelin_outward::{Item, Origin};
use std::sync::Arc;

pub fn origin() -> Origin {
    Origin { node: "plant".into(), version: "0.1.0".into(), host: "bus-1".into(), process: 4711 }
}

/// What a hostile client calls itself: everything that ends a line, a quotation, a list or a direction somewhere.
pub const HOSTILE: &str = "a\"]\\\n<0>1 forged\r\t\u{0}\u{7f}\u{9b}31m\u{202e}\u{2028}\u{feff}/+#%é漢😀 address=198.51.100.9 [x@1 y=\"z\"]";

pub fn alarm(severity: Severity, name: &str) -> Alarm {
    Alarm {
        id: 7,
        detector: "repeated_authentication".into(),
        subcategory: "DE.CM-1".into(),
        technique: Some("T0812".into()),
        severity,
        confidence: 97,
        subject: Subject::Client(name.into()),
        client_id: Some(name.into()),
        identity: Some(name.into()),
        class: Some("meters".into()),
        address: Some("192.0.2.7:50123".parse().unwrap()),
        topic: Some(name.into()),
        first_ms: 1_795_503_220_000,
        raised_ms: 1_795_503_223_007,
        last_ms: 1_795_503_224_000,
        cleared_ms: None,
        statistic: "log-likelihood CUSUM of refused logins".into(),
        value: 9.5,
        threshold: 8.0,
        baseline: Some(0.1),
        unit: "nats".into(),
        window_ms: 3000,
        events: 6,
        counted: vec![Counted { at_ms: 1_795_503_220_000, what: name.into() }],
        figures: vec![Figure { name: "failures".into(), value: 6.0, unit: "logins".into() }],
        summary: format!("6 failed log-ins of {name}"),
        false_alarms: "less than one in 1,000 client-days".into(),
        verification: Verification::Unknown,
        suppressed: false,
    }
}

pub fn raised(name: &str) -> Item {
    Item::notice(Arc::new(Notice::Raised(Arc::new(alarm(Severity::High, name)))))
}

pub fn event(at_ms: u64, event: Event) -> Item {
    Item::event(Arc::new(Record::new(at_ms, event)))
}

pub fn refused(name: &str) -> Item {
    event(
        1_795_503_223_007,
        Event::LoginFailed {
            address: "[::ffff:192.0.2.7]:4711".parse().unwrap(),
            client_id: name.into(),
            identity: Some(name.into()),
            why: Refusal::BadCredentials,
        },
    )
}

/// An event of little weight, with a number.
pub fn numbered(number: u64) -> Item {
    event(number, Event::RecordPruned { up_to: number })
}
