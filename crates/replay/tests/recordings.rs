//! Whole recordings: what the detectors are told of them, and what is said where they are not in order.

use flate2::Compression;
use flate2::write::GzEncoder;
use ravelin_detect::physical::{Condition, PhysicalKind, PhysicalRule};
use ravelin_detect::value::ValueRule;
use ravelin_detect::{Engine, Settings, Sight};
use ravelin_event::{Notice, Refusal};
use ravelin_replay::{Error, Options, Player, Row, Sink, Tally, Translator, Warning, What, read};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Write;

const MOSQUITTO: &[u8] = include_bytes!("data/mosquitto.pcap.gz");
const HEADER: &str = "t,conn,src,sport,ev,dir,client,topic,plen,pay,code\n";

/// What came of a recording.
struct Played {
    result: Result<(), Error>,
    warnings: Vec<String>,
    /// The detectors that raised an alarm, and about whom.
    alarms: Vec<(String, String)>,
    tally: Tally,
}

fn play(recording: &[u8], settings: Settings) -> Played {
    let (warnings, alarms) = (RefCell::default(), RefCell::default());
    let say = |notice: Notice| {
        if let Notice::Raised(alarm) = notice {
            let alarms: &RefCell<Vec<_>> = &alarms;
            alarms.borrow_mut().push((alarm.detector.to_string(), alarm.subject.to_string()));
        }
    };
    let warn = |warning: Warning| {
        let warnings: &RefCell<Vec<_>> = &warnings;
        warnings.borrow_mut().push(warning.to_string());
    };
    let mut player = Player::new(Engine::new(settings, 1), say, warn);
    let result = read(recording, &Options::default(), &mut player).map(|_| ());
    let (_, tally) = player.finish();
    Played { result, warnings: warnings.into_inner(), alarms: alarms.into_inner(), tally }
}

fn plant() -> Settings {
    let volt = ValueRule { topic: "plant/volt".into(), max: Some(250.0), ..ValueRule::default() };
    let open = Condition { equals: Some("open".into()), ..Condition::default() };
    let kind = PhysicalKind::Door;
    let door = PhysicalRule { topic: "plant/door".into(), kind, alarm_when: open, ..PhysicalRule::default() };
    Settings { value: vec![volt], physical: vec![door], ..Settings::default() }
}

fn packed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Keeps what a node would have told, and what the rows were.
struct Told {
    translator: Translator,
    sights: Vec<Sight>,
    rows: BTreeMap<(String, bool), usize>,
}

impl Sink for Told {
    fn row(&mut self, row: &Row<'_>, _: Option<&str>) {
        *self.rows.entry((format!("{:?}", row.what), row.from_client)).or_default() += 1;
        self.translator.handle_row(row);
        while let Some((_, sight)) = self.translator.poll_sight() {
            self.sights.push(sight);
        }
    }

    fn sight(&mut self, _: u64, _: Sight) {}

    fn warn(&mut self, warning: Warning) {
        panic!("{warning}");
    }
}

#[test]
fn a_capture_of_mosquitto_has_its_log_ins_publishes_and_refusals() {
    let translator = Translator::new(vec!["plant/#".into()]);
    let mut told = Told { translator, sights: Vec::new(), rows: BTreeMap::new() };
    read(MOSQUITTO, &Options::default(), &mut told).unwrap();
    let rows = |what: What, from_client| told.rows.get(&(format!("{what:?}"), from_client)).copied();
    assert_eq!((rows(What::Open, true), rows(What::Connect, true)), (Some(35), Some(35)));
    assert_eq!((rows(What::Publish, true), rows(What::Publish, false)), (Some(14), Some(14)));
    assert_eq!((rows(What::PubAck, false), rows(What::Malformed, true)), (Some(13), None));
    let count = |of: &dyn Fn(&Sight) -> bool| told.sights.iter().filter(|sight| of(sight)).count();
    assert_eq!(count(&|sight| matches!(sight, Sight::Arrived(_))), 15);
    let refused = |sight: &Sight| matches!(sight, Sight::Refused { why: Refusal::BadCredentials, identity: Some(user), .. } if **user == *"admin");
    assert_eq!(count(&refused), 20);
    let values = told.sights.iter().filter_map(|sight| match sight {
        Sight::Observed { topic, payload, .. } => Some((&**topic, std::str::from_utf8(payload).unwrap())),
        _ => None,
    });
    let values: Vec<_> = values.collect();
    assert_eq!((values.len(), values[0]), (14, ("plant/volt", "231.1")));
    assert_eq!(values[12..], [("plant/door", "open"), ("plant/volt", "412.5")]);
}

#[test]
fn values_and_doors_in_a_capture_are_judged_by_the_settings() {
    let played = play(MOSQUITTO, plant());
    assert!(played.result.is_ok() && played.warnings.is_empty(), "{:?}", played.warnings);
    let alarms: Vec<_> = played.alarms.iter().map(|(name, subject)| (&**name, &**subject)).collect();
    let expected = [
        ("physical_door", "device:door-1"),
        ("repeated_authentication", "source:127.0.0.1"),
        ("value", "client:meter-7"),
    ];
    assert_eq!(alarms, expected);
    assert_eq!(played.tally.observed, 14);
    // Without rules nobody asks for payloads.
    assert_eq!(play(MOSQUITTO, Settings::default()).tally.observed, 0);
}

#[test]
fn values_and_doors_in_a_table_are_judged_by_the_settings() {
    let mut text = HEADER.to_owned();
    text += "1,1,10.0.0.1,9,OPEN,c,,,,,\n1,1,10.0.0.1,9,CONNECT,c,m,,,,\n1,1,10.0.0.1,9,CONNACK,b,m,,,,0\n";
    text += "2,1,10.0.0.1,9,PUBLISH,c,m,plant/volt,3,230,\n3,1,10.0.0.1,9,PUBLISH,c,m,other,3,999,\n";
    assert!(play(text.as_bytes(), plant()).alarms.is_empty());
    text += "4,1,10.0.0.1,9,PUBLISH,c,m,plant/door,4,Open,\n5,1,10.0.0.1,9,PUBLISH,c,m,plant/volt,3,251,\n";
    let played = play(&packed(text.as_bytes()), plant());
    let names: Vec<_> = played.alarms.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, played.tally.observed), (vec!["physical_door", "value"], 3));
}

#[test]
fn what_cannot_be_read_says_what_and_where() {
    let rows = "1,1,10.0.0.1,9,OPEN,c,,,,,\n".repeat(20_000);
    let cut = packed(format!("{HEADER}{rows}").as_bytes());
    let log = b"{\"colour\":\n{\"red\"\n";
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("empty", Vec::new(), "the recording is empty"),
        ("empty in gzip", packed(b""), "the recording is empty"),
        ("cut gzip", cut[..cut.len() / 2].to_vec(), "the table after line "),
        ("gzip's magic alone", b"\x1F\x8B\x08".to_vec(), "the start of the recording"),
        (
            "binary",
            b"\x7FELF\x02\x01\x01\0\0\0".to_vec(),
            "byte 0: this is no text, and it begins with 7f 45 4c 46",
        ),
        ("zstd", b"\x28\xB5\x2F\xFD\0\0".to_vec(), "compressed with zstd"),
        ("one column", b"t\n1\n2\n".to_vec(), "line 1: a table of events begins with"),
        (
            "no row is right",
            format!("{HEADER}1\n2\n3\n").into_bytes(),
            "line 4: the table ends, and not one of 3 rows",
        ),
        ("another JSON", log.to_vec(), "line 2: the log ends, and not one of 2 records"),
    ];
    for (name, bytes, says) in cases {
        let error = play(&bytes, Settings::default()).result.expect_err(name).to_string();
        assert!(error.contains(says), "{name}: {error}");
    }
}

#[test]
fn what_is_odd_and_can_be_read_is_a_warning_with_its_place() {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(MOSQUITTO), &mut plain).unwrap();
    let nothing = plain[..24].to_vec();
    let cases: [(&str, Vec<u8>, &str, bool); 4] = [
        (
            "header alone",
            HEADER.as_bytes().to_vec(),
            "line 1: the table ends: it has a header, and no row",
            false,
        ),
        (
            "one short row",
            format!("{HEADER}1,1,10.0.0.1,9,OPEN\n7\n").into_bytes(),
            "line 3, column ev",
            true,
        ),
        ("cut capture", plain[..plain.len() / 2].to_vec(), "the capture ends at byte 19", true),
        ("no packet", nothing, "packet 0: the capture ends, and none of 0 packets is of MQTT", false),
    ];
    for (name, bytes, says, has_rows) in cases {
        let played = play(&bytes, Settings::default());
        assert!(played.result.is_ok(), "{name}: {:?}", played.result);
        assert_eq!(
            (played.warnings.len(), played.tally.rows > 0),
            (1, has_rows),
            "{name}: {:?}",
            played.warnings
        );
        assert!(played.warnings[0].contains(says), "{name}: {}", played.warnings[0]);
    }
}
