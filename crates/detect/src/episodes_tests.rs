//! One alarm of an episode, one of a fleet, none that is suppressed, and no number twice.

use crate::world::World;
use crate::{DetectorInfo, Engine, Error, Raise, Settings, Suppression};
use ravelin_event::{Notice, Refusal, Severity, Subject, Verification};

const TESTED: DetectorInfo = DetectorInfo {
    name: "tested",
    subcategory: "DE.ID-2",
    technique: None,
    statistic: "a test",
    threshold: "1",
    false_alarms: "never",
    entity: "client",
    description: "A test.",
};

fn raise(client: &str) -> Raise {
    let mut raise = Raise::new(&TESTED, Subject::Client(client.into()), Severity::Medium, 90);
    (raise.value, raise.threshold, raise.summary) = (2.0, 1.0, "It is tested".into());
    raise
}

fn client(world: &mut World, i: usize) -> String {
    let name = format!("client-{i}");
    world.arrive(&name, &format!("192.0.2.{}", i % 250), Some(&name));
    world.publish(&name, 1);
    name
}

impl World {
    fn raise(&mut self, raise: Raise) -> Option<u64> {
        let id = self.engine.cx.raise(self.now_ms, raise);
        self.wait(0);
        while let Some(notice) = self.engine.poll_notice() {
            self.notices.push(notice);
        }
        id
    }

    fn kinds(&self) -> Vec<&'static str> {
        self.notices
            .iter()
            .map(|notice| match notice {
                Notice::Raised(_) => "raised",
                Notice::Worsened(_) => "worsened",
                Notice::Cleared(_) => "cleared",
                _ => "finding",
            })
            .collect()
    }
}

#[test]
fn an_episode_is_one_alarm_that_worsens_and_ends_by_itself() {
    let mut world = World::new();
    let id = world.raise(raise("a"));
    for _ in 0..200 {
        world.wait(1_000);
        assert_eq!(world.raise(raise("a")), id);
    }
    assert_eq!(world.kinds(), ["raised", "worsened"], "after a minute, and four times as many");
    assert!(world.notices[1].alarm().summary.ends_with("; by now 61 events"), "{:?}", world.notices[1]);
    world.notices.drain(1..);
    let mut worse = raise("a");
    worse.value = 4.0;
    world.raise(worse.clone());
    world.raise(worse.clone());
    worse.severity = Severity::High;
    world.raise(worse);
    assert_eq!(world.kinds(), ["raised", "worsened", "worsened"]);
    let last_ms = world.now_ms;
    world.wait(299_000);
    assert_eq!(world.kinds().len(), 3);
    world.wait(2_000);
    assert_eq!(world.kinds().last(), Some(&"cleared"));
    let alarm = world.engine.alarm(id.unwrap()).unwrap();
    assert_eq!((alarm.last_ms, alarm.events, alarm.severity), (last_ms, 204, Severity::High));
    assert_ne!(world.raise(raise("a")), id, "what comes after is another episode");
}

#[test]
fn a_detector_that_says_it_is_over_is_believed_after_the_hold_off() {
    let mut world = World::new();
    let subject = Subject::Client("a".into());
    world.raise(raise("a"));
    world.engine.cx.clear(world.now_ms, "tested", &subject);
    world.wait(59_000);
    assert_eq!(world.kinds(), ["raised"]);
    world.wait(2_000);
    assert_eq!(world.kinds(), ["raised", "cleared"]);
}

#[test]
fn when_many_clients_raise_the_same_there_is_one_alarm() {
    let mut world = World::new();
    let names: Vec<String> = (0..100).map(|i| client(&mut world, i)).collect();
    for name in &names[..60] {
        world.raise(raise(name));
        world.wait(100);
    }
    let raised = world.raised();
    assert_eq!(raised.len(), 10, "nine of clients, and then one of all: {raised:?}");
    assert_eq!(raised[9], ("tested".into(), "fleet".into()));
    let cleared = world.kinds().iter().filter(|kind| **kind == "cleared").count();
    assert_eq!(cleared, 9, "those of clients are over");
    let fleet = world.engine.alarms().next().unwrap();
    assert!(
        fleet.is_open() && fleet.summary.starts_with("10 of 100 known clients raised tested"),
        "{fleet:?}"
    );
    assert_eq!(fleet.counted.len(), 8);
}

#[test]
fn what_may_wait_is_raised_for_the_fleet_alone() {
    let mut world = World::new();
    let names: Vec<String> = (0..100).map(|i| client(&mut world, i)).collect();
    for name in &names[..60] {
        let mut raise = raise(name);
        raise.gather_ms = 10_000;
        assert_eq!(world.raise(raise).is_some(), world.raised().len() == 1);
        world.wait(100);
    }
    world.wait(60_000);
    assert_eq!(world.raised(), [("tested".into(), "fleet".into())]);
    let mut world = World::new();
    let name = client(&mut world, 1);
    let mut one = raise(&name);
    one.gather_ms = 10_000;
    world.raise(one);
    assert_eq!(world.raised(), []);
    world.wait(11_000);
    assert_eq!(world.raised().len(), 1, "nobody else came");
}

#[test]
fn many_at_one_address_are_one_alarm_about_that_address() {
    let mut world = World::new();
    for i in 0..12 {
        let name = format!("bot-{i}");
        world.arrive(&name, "198.51.100.9", Some(&name));
        let mut raise = raise(&name);
        raise.client = world.engine.cx.clients.find(name.as_str());
        raise.gather_ms = 500;
        world.raise(raise);
    }
    assert_eq!(world.raised(), [("tested".into(), "source:198.51.100.9".into())]);
}

#[test]
fn a_detector_that_never_stops_is_limited_and_what_is_left_out_is_counted() {
    let mut world = World::new();
    for i in 0..100 {
        let mut raise = raise(&format!("c{i}"));
        raise.folds = false;
        world.raise(raise);
    }
    assert_eq!(world.raised().len(), 30);
    assert_eq!(world.engine.poll_limited(), Some(("tested".into(), 70)));
    assert_eq!(world.engine.poll_limited(), None);
    let figures = world.engine.figures().detectors["tested"];
    assert_eq!((figures.raised, figures.limited, figures.open), (30, 70, 30));
}

#[test]
fn what_is_suppressed_is_kept_and_not_told_and_not_held_against_anybody() {
    let mut world = World::new();
    let name = client(&mut world, 1);
    let trust = world.engine.trust(&name).unwrap().score;
    let until_ms = world.now_ms + 100_000;
    let suppression = Suppression {
        id: 0,
        detector: Some("tested".into()),
        subject: Some(Subject::Client(name.as_str().into())),
        until_ms: Some(until_ms),
        by: "alice".into(),
        why: "its battery is being changed".into(),
    };
    let number = world.engine.suppress(suppression.clone()).unwrap();
    let id = world.raise(raise(&name)).unwrap();
    assert_eq!(world.raised(), []);
    assert!(world.engine.alarm(id).unwrap().suppressed);
    assert_eq!(world.engine.trust(&name).unwrap().score, trust);
    world.raise(raise("another"));
    assert_eq!(world.raised().len(), 1);
    world.wait(500_000);
    assert_eq!(world.engine.suppressions().count(), 0, "its time is over");
    assert_eq!(world.engine.unsuppress(number), Err(Error::NoSuchSuppression(number)));
    let all = Suppression { detector: None, subject: None, until_ms: None, ..suppression };
    assert_eq!(world.engine.suppress(all), Err(Error::SuppressesAll));
}

#[test]
fn an_alarm_that_was_none_is_forgiven() {
    let mut world = World::new();
    let name = client(&mut world, 1);
    let before = world.engine.trust(&name).unwrap();
    let mut against = raise(&name);
    (against.client, against.severity) = (world.engine.cx.clients.find(name.as_str()), Severity::High);
    let id = world.raise(against).unwrap();
    let after = world.engine.trust(&name).unwrap();
    assert!(before.score > 70 && after.score < 20, "{before:?} {after:?}");
    assert_eq!(&*after.reasons[0].what, format!("alarms, the last {id}"));
    let change = world.engine.poll_trust().unwrap();
    assert_eq!((change.from, change.to), (before.score, after.score));
    world.engine.verify(id, Verification::FalsePositive, "alice", "a test").unwrap();
    assert_eq!(world.engine.trust(&name).unwrap().score, before.score);
    assert_eq!(world.engine.alarm(id).unwrap().verification, Verification::FalsePositive);
    assert_eq!(
        world.engine.verify(id + 1_000, Verification::FalsePositive, "alice", ""),
        Err(Error::NoSuchAlarm(id + 1_000))
    );
}

#[test]
fn after_a_restart_nothing_is_lost_and_no_number_is_used_again() {
    let mut world = World::new();
    let name = client(&mut world, 1);
    let mut against = raise(&name);
    against.client = world.engine.cx.clients.find(name.as_str());
    let id = world.raise(against).unwrap();
    let suppression = Suppression {
        id: 0,
        detector: Some("other".into()),
        subject: None,
        until_ms: None,
        by: "alice".into(),
        why: "noise".into(),
    };
    let number = world.engine.suppress(suppression).unwrap();
    // What was written as it happened is all that a dump has.
    let mut written = std::collections::BTreeMap::new();
    while let Some(write) = world.engine.poll_write() {
        written.insert(write.key, write.value.unwrap());
    }
    let dumped = world.engine.dump().into_iter().map(|write| (write.key, write.value.unwrap()));
    assert_eq!(written, dumped.collect());
    let trust = world.engine.trust(&name).unwrap();

    let mut again = Engine::new(Settings::default(), 8);
    written.iter().for_each(|(key, value)| again.restore(key, value).unwrap());
    assert_eq!(again.alarm(id), world.engine.alarm(id));
    assert_eq!(again.suppressions().next().unwrap().id, number);
    again.handle_tick(world.now_ms);
    assert_eq!(again.trust(&name).unwrap(), trust);
    let mut after = World { engine: again, ..world };
    assert_eq!(after.raise(raise(&name)), Some(id), "the episode goes on");
    let next = after.raise(raise("another")).unwrap();
    assert!(next > id.max(number) && next >= 100, "{next}");
}

#[test]
fn what_cannot_be_read_back_is_an_error_that_says_so() {
    let mut engine = Engine::new(Settings::default(), 1);
    for (key, value) in [("trust/a", "{}"), ("alarm/1", "nonsense"), ("numbers", "-1"), ("else/1", "{}")] {
        let error = engine.restore(key, value.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
}

#[test]
fn a_client_that_only_claims_a_name_does_not_spoil_it() {
    let mut world = World::new();
    let name = client(&mut world, 1);
    let before = world.engine.trust(&name).unwrap().score;
    for ip in ["198.51.100.9", "192.0.2.1"] {
        for _ in 0..6 {
            let address = format!("{ip}:4711").parse().unwrap();
            let why = Refusal::BadCredentials;
            world.sight(crate::Sight::Refused {
                address,
                client_id: Some(name.as_str().into()),
                identity: Some("x".into()),
                why,
                count: 1,
            });
        }
        let score = world.engine.trust(&name).unwrap().score;
        assert_eq!(score == before, ip == "198.51.100.9", "{ip}: {score}");
    }
    assert!(world.engine.trust(&name).unwrap().score < 30, "a guesser is red at its sixth failure");
}

#[test]
fn notices_that_nobody_takes_are_counted_and_not_kept_without_end() {
    let mut settings = Settings::default();
    settings.limits.notices = 5;
    settings.limits.alarms = 4;
    let mut engine = Engine::new(settings, 1);
    for i in 0..10 {
        let mut raise = raise(&format!("c{i}"));
        raise.folds = false;
        engine.cx.raise(1_000 + i, raise);
    }
    assert_eq!(engine.figures().notices_lost, 5);
    assert_eq!(engine.alarms().count(), 4);
    assert_eq!(engine.figures().detectors["tested"].open, 4);
}
