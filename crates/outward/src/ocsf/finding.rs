//! An alarm as a Detection Finding (2004): created, updated, closed.

use super::{Base, Class, attack, endpoint, user};
use crate::{Item, Origin};
use ravelin_event::{Alarm, Notice, Subject, Verification};
use serde_json::{Value, json};

const CREATE: u32 = 1;
const UPDATE: u32 = 2;
const CLOSE: u32 = 3;

pub(super) fn of(origin: &Origin, item: &Item, notice: &Notice, uid: &str) -> Value {
    let alarm = notice.alarm();
    let activity = match notice {
        Notice::Cleared(_) => CLOSE,
        Notice::Worsened(_) => UPDATE,
        _ => CREATE,
    };
    let base = Base { origin, at_ms: item.at_ms, id: item.id(), severity: item.severity(), uid };
    let mut finding = base.of(Class::DetectionFinding, activity);
    let mut put = |name: &str, value: Value| drop(finding.insert(name.into(), value));
    put("finding_info", info(origin, alarm));
    put("message", alarm.summary.as_str().into());
    put("confidence_score", alarm.confidence.into());
    put("confidence_id", confidence_id(alarm.confidence).into());
    put("is_alert", (!matches!(notice, Notice::Finding(_))).into());
    put("status_id", status_id(alarm).into());
    put("count", alarm.events.max(1).into());
    put("start_time", alarm.first_ms.into());
    put("end_time", alarm.last_ms.into());
    put("duration", alarm.last_ms.saturating_sub(alarm.first_ms).into());
    put("evidences", evidences(alarm));
    put("observables", observables(alarm));
    put("enrichments", enrichments(alarm));
    if let Some(technique) = &alarm.technique {
        put("attacks", attack(technique));
    }
    if !matches!(alarm.verification, Verification::Unknown) {
        put("comment", json!(alarm.verification).as_str().unwrap_or_default().into());
    }
    put("unmapped", json!({ "mqtt": item.fields() }));
    Value::Object(finding)
}

fn info(origin: &Origin, alarm: &Alarm) -> Value {
    let mut info = json!({
        // What becomes of one alarm has one uid.
        "uid": format!("{}/alarm/{}", origin.node, alarm.id),
        "title": format!("{} of {}", alarm.detector, alarm.subject),
        "desc": alarm.summary,
        "types": [alarm.subcategory],
        "data_sources": ["mqtt"],
        "created_time": alarm.raised_ms,
        "modified_time": alarm.cleared_ms.unwrap_or(alarm.last_ms),
        "first_seen_time": alarm.first_ms,
        "last_seen_time": alarm.last_ms,
        "related_events_count": alarm.events,
        // 3: statistical.
        "analytic": { "type_id": 3, "name": alarm.detector, "algorithm": alarm.statistic, "desc": alarm.false_alarms },
    });
    if let Some(technique) = &alarm.technique {
        info["attacks"] = attack(technique);
    }
    info
}

/// 1: low, 2: medium, 3: high.
fn confidence_id(percent: u8) -> u8 {
    match percent {
        0..50 => 1,
        50..80 => 2,
        _ => 3,
    }
}

/// 1: new, 2: in progress, 3: suppressed, 4: resolved.
fn status_id(alarm: &Alarm) -> u8 {
    match alarm {
        alarm if alarm.suppressed => 3,
        alarm if !alarm.is_open() => 4,
        alarm if alarm.verification != Verification::Unknown => 2,
        _ => 1,
    }
}

fn evidences(alarm: &Alarm) -> Value {
    let mut evidence = json!({
        "data": {
            "statistic": alarm.statistic, "value": alarm.value, "threshold": alarm.threshold, "baseline": alarm.baseline,
            "unit": alarm.unit, "window_ms": alarm.window_ms, "events": alarm.events, "counted": alarm.counted,
            "figures": alarm.figures,
        },
    });
    if let Some(address) = alarm.address {
        evidence["src_endpoint"] = endpoint(address);
    }
    if alarm.identity.is_some() || alarm.client_id.is_some() {
        evidence["user"] = user(alarm.identity.as_deref(), alarm.client_id.as_deref());
    }
    json!([evidence])
}

/// What a SIEM can look for: addresses (2), user names (4), and what the alarm is about (10: a resource's uid).
fn observables(alarm: &Alarm) -> Value {
    let mut all = Vec::new();
    let mut observe = |type_id: u8, name: &str, value: String| {
        all.push(json!({ "type_id": type_id, "name": name, "value": value }));
    };
    if let Some(address) = alarm.address {
        observe(2, "evidences[].src_endpoint.ip", address.ip().to_canonical().to_string());
    }
    if let Some(identity) = &alarm.identity {
        observe(4, "evidences[].user.name", identity.to_string());
    }
    match &alarm.subject {
        Subject::Source(address) if alarm.address.is_none() => {
            observe(2, "unmapped.mqtt.subject", address.to_canonical().to_string());
        }
        subject => observe(10, "unmapped.mqtt.subject", subject.to_string()),
    }
    all.into()
}

fn enrichments(alarm: &Alarm) -> Value {
    let all = [
        ("mqtt.client_id", alarm.client_id.as_deref()),
        ("mqtt.topic", alarm.topic.as_deref()),
        ("mqtt.class", alarm.class.as_deref()),
    ];
    let known = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
    known
        .map(|(name, value)| json!({ "name": name, "value": value, "data": { "value": value } }))
        .collect::<Vec<_>>()
        .into()
}
