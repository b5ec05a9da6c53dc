//! What is told in OCSF is valid in OCSF 1.8.0, whatever happened and whatever a client chose; and nothing of the catalogue
//! was forgotten.

mod support;

use jsonschema::Validator;
use proptest::prelude::*;
use ravelin_event::{CATALOG, Notice, Severity, Subject};
use ravelin_outward::ocsf::{self, Class, Mapping};
use ravelin_outward::{Item, What};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use support::{HOSTILE, alarm, origin, raised, refused};

fn schemas() -> &'static BTreeMap<u64, Validator> {
    static SCHEMAS: OnceLock<BTreeMap<u64, Validator>> = OnceLock::new();
    SCHEMAS.get_or_init(|| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/ocsf-1.8.0");
        let files =
            std::fs::read_dir(folder).expect("the schemas").map(|entry| entry.expect("an entry").path());
        let files = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
        files
            .map(|path| {
                let text = std::fs::read_to_string(&path).expect("a schema");
                let schema: Value = serde_json::from_str(&text).expect("JSON");
                let class = &schema["properties"]["class_uid"];
                let uid = class["const"].as_u64().or_else(|| class["enum"][0].as_u64()).expect("a class");
                (uid, jsonschema::validator_for(&schema).expect("a sound schema"))
            })
            .collect()
    })
}

fn check(what: &str, event: &Value) {
    let uid = event["class_uid"].as_u64().expect("a class");
    let schema = schemas().get(&uid).unwrap_or_else(|| panic!("{what}: no schema of class {uid}"));
    let errors: Vec<_> =
        schema.iter_errors(event).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{what}: {errors:#?}\n{event:#}");
    let type_uid = event["type_uid"].as_u64().expect("a type");
    assert_eq!(type_uid, uid * 100 + event["activity_id"].as_u64().expect("an activity"), "{what}");
}

/// Every name of a field that an event has, each with something in it.
fn all_fields(text: &str) -> Map<String, Value> {
    let mut fields = Map::new();
    for name in [
        "listener",
        "transport",
        "setting",
        "meaning",
        "place",
        "warning",
        "what",
        "error",
        "resource",
        "actor",
        "role",
        "via",
        "action",
        "subject",
        "detail",
        "method",
        "path",
        "why",
        "key",
        "applied",
        "missing",
        "record",
        "directory",
        "head",
        "client_id",
        "identity",
        "scope",
        "by",
        "reason",
        "serial",
        "help",
        "source",
        "issuer",
        "rate",
        "measure",
        "stage",
        "does",
        "credential",
        "id",
        "filter",
        "cause",
        "device",
        "declared",
        "from",
        "to",
        "certificate",
        "detector",
        "severity",
        "technique",
        "summary",
        "effect",
        "closes",
        "topic",
        "destination",
    ] {
        fields.insert(name.into(), text.into());
    }
    for name in
        ["alarm", "order", "count", "events", "approvals", "took_us", "dropped", "confidence", "failures"]
    {
        fields.insert(name.into(), 7.into());
    }
    fields.insert("address".into(), "192.0.2.7:4711".into());
    fields.insert("done".into(), false.into());
    fields.insert("addresses".into(), json!([text]));
    fields
}

#[test]
fn every_event_of_the_catalogue_has_its_row_and_every_row_its_event() {
    for entry in CATALOG {
        let mapping = ocsf::mapping(entry.id);
        let mapping =
            mapping.unwrap_or_else(|| panic!("{}: a row in src/ocsf/table.rs is missing", entry.id));
        if let Mapping::Not(why) = mapping {
            assert!(why.len() > 20, "{} is not told of, and no reason is given", entry.id);
        }
    }
    for (index, (id, _)) in ocsf::TABLE.iter().enumerate() {
        assert!(CATALOG.iter().any(|entry| entry.id == *id), "there is no event {id}");
        assert!(!ocsf::TABLE[..index].iter().any(|(other, _)| other == id), "{id} twice");
    }
}

#[test]
fn every_event_is_valid_with_all_of_its_fields_and_with_none() {
    for entry in CATALOG {
        for fields in
            [Map::new(), all_fields("a"), all_fields(HOSTILE), all_fields("disconnect"), all_fields("freeze")]
        {
            let event = ocsf::of_fields(&origin(), 1, entry.id, Severity::Medium, fields, "plant.siem.1");
            check(entry.id, &event);
            if let Some(Mapping::To(class, _)) = ocsf::mapping(entry.id)
                && class != Class::RemediationActivity
            {
                assert_eq!(event["class_uid"], class.uid(), "{}", entry.id);
            }
        }
    }
}

#[test]
fn an_alarm_is_created_updated_and_closed_under_one_uid() {
    let base = Arc::new(alarm(Severity::High, "meter-7"));
    let mut ended = alarm(Severity::High, "meter-7");
    ended.cleared_ms = Some(1_795_503_300_000);
    let notices = [
        (Notice::Raised(Arc::clone(&base)), 1, 1),
        (Notice::Worsened(Arc::clone(&base)), 2, 1),
        (Notice::Cleared(Arc::new(ended)), 3, 4),
        (Notice::Finding(base), 1, 1),
    ];
    for (notice, activity, status) in notices {
        let alert = !matches!(notice, Notice::Finding(_));
        let event = ocsf::value(&origin(), &Item::notice(Arc::new(notice)), "plant.siem.9");
        check("an alarm", &event);
        assert_eq!((&event["class_uid"], &event["activity_id"]), (&json!(2004), &json!(activity)));
        assert_eq!((&event["status_id"], &event["is_alert"]), (&json!(status), &json!(alert)));
        assert_eq!(event["finding_info"]["uid"], "plant/alarm/7");
        assert_eq!(event["attacks"][0]["technique"]["uid"], "T0812");
        assert_eq!(event["evidences"][0]["src_endpoint"]["ip"], "192.0.2.7");
        assert_eq!(event["unmapped"]["mqtt"]["client_id"], "meter-7");
    }
}

#[test]
fn a_log_in_that_failed_is_an_authentication_with_who_and_from_where() {
    let event = ocsf::value(&origin(), &refused("meter-7"), "u");
    check("login.failed", &event);
    assert_eq!((&event["class_uid"], &event["status_id"]), (&json!(3002), &json!(2)));
    assert_eq!(
        (&event["user"]["name"], &event["src_endpoint"]["ip"]),
        (&json!("meter-7"), &json!("192.0.2.7"))
    );
    assert_eq!(
        (&event["status_detail"], &event["metadata"]["uid"]),
        (&json!("bad_credentials"), &json!("u"))
    );
}

#[test]
fn bare_alarms_and_tests_are_valid() {
    let mut bare = alarm(Severity::Informational, "");
    (bare.technique, bare.client_id, bare.identity, bare.class) = (None, None, None, None);
    (bare.address, bare.topic, bare.baseline) = (None, None, None);
    bare.subject = Subject::Fleet;
    check(
        "a bare alarm",
        &ocsf::value(&origin(), &Item::notice(Arc::new(Notice::Finding(Arc::new(bare)))), "u"),
    );
    let test = Item::test(5, "siem", "alice");
    assert!(matches!(test.what, What::Test { .. }));
    check("a test", &ocsf::value(&origin(), &test, "u"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_a_client_calls_itself_it_is_valid(name in any::<String>()) {
        check("an alarm", &ocsf::value(&origin(), &raised(&name), "u"));
        check("a log-in", &ocsf::value(&origin(), &refused(&name), "u"));
    }
}
