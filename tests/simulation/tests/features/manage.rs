//! What administrators see and do.

use super::*;
use ravelin_broker::{Meter, Metered, Now, Verdict};
use ravelin_event::Principal;
use ravelin_mqtt::Version;
use std::collections::BTreeMap;

#[test]
fn every_session_is_on_one_page() {
    on_shards(|mut c| {
        let mut expected = Vec::new();
        for n in 0..50 {
            let id = format!("c{n}");
            let (conn, _) = join(&mut c, Login::v5(&id).kept());
            if n % 3 == 0 {
                c.drop_conn(conn);
            }
            expected.push((id, n % 3 != 0));
        }
        expected.sort();
        let mut found = Vec::new();
        let now = c.now;
        for shard in 0..c.shards() {
            let mut after = None;
            loop {
                let page = c.shard(shard).sessions_page(now, after, 7);
                assert!(page.sessions.len() <= 7);
                let one = |info: &ravelin_broker::SessionInfo| {
                    (info.who.client_id.to_string(), info.link.is_some())
                };
                found.extend(page.sessions.iter().map(one));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        found.sort();
        assert_eq!(found, expected);
    });
}

#[test]
fn a_session_is_described() {
    on_shards(|mut c| {
        let will = Message::new("w", "x", 0);
        let login =
            Login { identity: Some("alice"), keep_alive_s: 30, ..Login::v5("s").kept() }.with_will(will, 0);
        let (s, _) = join(&mut c, login);
        let (p, _) = join(&mut c, Login::v5("p"));
        sub_with(&mut c, s, Some(9), &[("a/+", qos(1)), ("$share/g/b", qos(2))]);
        put(&mut c, s, &Message::new("c", "123", 0));
        put(&mut c, s, &Message::new("d", "1234", 2).id(4));
        put(&mut c, p, &Message::new("a/b", "12345", 1).id(1));
        take(&mut c, s);
        let (home, now) = c.home("s");
        let info = home.session(now, "s").expect("it is here");
        assert_eq!(info.who.identity.as_deref(), Some("alice"));
        assert_eq!((info.version, info.expiry_s, info.expires_wall_ms), (Version::V5, 3600, None));
        assert_eq!((info.subscriptions, info.queued, info.inflight, info.received), (2, 0, 1, 0));
        assert!(info.will);
        let link = info.link.expect("it is connected");
        assert_eq!((link.keep_alive_s, link.since_ms, link.clean_start), (30, now.wall_ms, false));
        assert_eq!((link.messages_in, link.bytes_in, link.messages_out), (2, 7, 1));
        assert!(link.bytes_out > 20, "{link:?}");
        let all = home.subscriptions_of("s").expect("it is here");
        let all: Vec<_> = all.iter().map(|one| (&*one.filter, one.options.qos as u8, one.id)).collect();
        assert_eq!(all, [("a/+", 1, Some(9)), ("$share/g/b", 2, Some(9))]);
        c.drop_conn(s);
        put(&mut c, p, &Message::new("a/b", "12345", 1).id(1));
        let (home, now) = c.home("s");
        let info = home.session(now, "s").expect("it is here");
        assert_eq!((info.link, info.queued, info.inflight, info.will), (None, 1, 1, false));
        assert_eq!(info.expires_wall_ms, Some(now.wall_ms + 3_600_000));
        assert_eq!(home.session(now, "nobody"), None);
        assert_eq!(home.subscriptions_of("nobody"), None);
    });
}

#[test]
fn a_connection_is_ended_and_its_session_kept() {
    on_shards(|mut c| {
        let (watcher, _) = join(&mut c, Login::v5("watcher"));
        sub(&mut c, watcher, "w", 1);
        let (s, _) = join(&mut c, Login::v5("s").kept().with_will(Message::new("w", "gone", 1), 0));
        sub(&mut c, s, "t", 1);
        let (home, now) = c.home("s");
        let detail = Some("because".to_owned());
        assert!(home.disconnect_session(now, "s", ReasonCode::ADMINISTRATIVE_ACTION, detail));
        assert!(!home.disconnect_session(now, "s", ReasonCode::ADMINISTRATIVE_ACTION, None), "it is gone");
        c.turn_all();
        let got = take(&mut c, s);
        assert_eq!(got, [Got::Disconnect(ReasonCode::ADMINISTRATIVE_ACTION)]);
        assert_eq!(texts(&read(&mut c, watcher)), ["gone"]);
        put(&mut c, watcher, &Message::new("t", "later", 1).id(1));
        let (_, got) = rejoin(&mut c, Login::v5("s").kept());
        assert_eq!(texts(&messages(got)), ["later"]);
    });
}

#[test]
fn a_session_is_wiped_for_good_or_kept() {
    for wipe in [false, true] {
        for connected in [false, true] {
            on_shards(|mut c| {
                let (p, _) = join(&mut c, Login::v5("p"));
                let (s, _) = join(&mut c, Login::v5("s").kept());
                sub(&mut c, s, "t", 2);
                put(&mut c, p, &Message::new("t", "x", 2).id(1));
                take(&mut c, s);
                if !connected {
                    c.drop_conn(s);
                }
                let (home, now) = c.home("s");
                assert!(home.end_session(now, "s", wipe));
                assert!(!home.end_session(now, "nobody", wipe));
                c.turn_all();
                assert!(!c.is_open(s));
                c.settle();
                let shards = c.shards();
                c.restart(shards);
                let login = Login::v5("s").kept();
                let conn = c.connect(&login).expect("not refused");
                let got = take(&mut c, conn);
                let Got::ConnAck { present, .. } = got[0] else { panic!("{got:?}") };
                assert_eq!(present, !wipe);
                assert_eq!(messages(got).len(), usize::from(!wipe));
            });
        }
    }
}

#[test]
fn a_direct_message_needs_no_subscription() {
    on_shards(|mut c| {
        let (s, _) = join(&mut c, Login::v5("s").kept());
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let (home, now) = c.home("s");
            assert!(home.publish_direct(now, "s", "$CONTROL/x/response", b"yes", qos));
            c.turn_all();
            let got = read(&mut c, s);
            assert_eq!((texts(&got), got[0].qos, got[0].retain), (vec!["yes"], qos, false));
        }
        c.drop_conn(s);
        let (home, now) = c.home("s");
        assert!(!home.publish_direct(now, "s", "d", b"lost", QoS::AtMostOnce), "nobody keeps QoS 0");
        assert!(!home.publish_direct(now, "nobody", "d", b"lost", QoS::AtLeastOnce));
        assert!(home.publish_direct(now, "s", "d", b"kept", QoS::AtLeastOnce));
        c.turn_all();
        c.settle();
        let shards = c.shards();
        c.restart(shards);
        let (_, got) = rejoin(&mut c, Login::v5("s").kept());
        assert_eq!(texts(&messages(got)), ["kept"]);
    });
}

/// Refuses what begins with "no", and ends connections over what begins with "out".
struct Strict;

impl Meter for Strict {
    fn publish(&self, _: Now, token: u64, who: &Principal, what: &Metered<'_>) -> Verdict {
        assert!(token > 0 && !who.client_id.is_empty() && what.bytes > what.topic.len());
        match what.topic {
            topic if topic.starts_with("no") => Verdict::Refuse,
            topic if topic.starts_with("out") => Verdict::Disconnect,
            _ => Verdict::Pass,
        }
    }
}

#[test]
fn a_meter_refuses_and_disconnects() {
    on_shards(|mut c| {
        for shard in 0..c.shards() {
            c.shard(shard).set_meter(Some(Rc::new(Strict)));
        }
        let (s, _) = join(&mut c, Login::v5("s"));
        sub(&mut c, s, "#", 2);
        let (p, _) = join(&mut c, Login::v5("p").kept());
        assert!(!put(&mut c, p, &Message::new("yes", "0", 1).id(1)).is_failure());
        assert_eq!(put(&mut c, p, &Message::new("no", "1", 1).id(1)), ReasonCode::QUOTA_EXCEEDED);
        assert_eq!(put(&mut c, p, &Message::new("no", "2", 2).id(2)), ReasonCode::QUOTA_EXCEEDED);
        put(&mut c, p, &Message::new("no", "3", 0));
        assert!(c.is_open(p));
        // A message that was taken is not refused when it comes again: it would be sent as another one.
        c.send(p, &publish(Version::V5, &Message::new("yes", "4", 2).id(3)));
        assert_eq!(expect_ack_settled(&mut c, p, AckKind::PubRec, 3), ReasonCode::SUCCESS);
        c.send(p, &publish(Version::V5, &Message::new("no", "4", 2).id(3).again()));
        assert_eq!(expect_ack_settled(&mut c, p, AckKind::PubRec, 3), ReasonCode::SUCCESS);
        c.send(p, &publish(Version::V5, &Message::new("out", "5", 0)));
        assert_eq!(take(&mut c, p), [Got::Disconnect(ReasonCode::QUOTA_EXCEEDED)]);
        // A client of 3.1.1 cannot be told.
        let (p, _) = join(&mut c, Login::v311("old"));
        put(&mut c, p, &Message::new("no", "6", 0));
        assert!(c.is_open(p));
        c.send(p, &publish(Version::V311, &Message::new("no", "7", 1).id(1)));
        assert!(!c.is_open(p));
        assert_eq!(texts(&read(&mut c, s)), ["0", "4"]);
        let limited: u64 = c.stats().iter().map(|stats| stats.publish_limited).sum();
        assert_eq!(limited, 6);
    });
}

fn expect_ack_settled(c: &mut Cluster, conn: Conn, kind: AckKind, id: u16) -> ReasonCode {
    c.settle();
    expect_ack(c, conn, kind, id)
}

/// By publisher and topic: messages, bytes, messages by QoS, and retained ones.
type Flows = BTreeMap<(String, String), (u64, u64, [u64; 3], u64)>;

fn flows(c: &mut Cluster, page: usize) -> Flows {
    let mut all = BTreeMap::new();
    for shard in 0..c.shards() {
        loop {
            let now = c.now;
            let some = c.shard(shard).take_flows(now, page);
            if some.is_empty() {
                break;
            }
            assert!(some.len() <= page);
            for flow in some {
                let key = (flow.client_id.to_string(), flow.topic.to_string());
                let old = all.insert(key, (flow.messages, flow.bytes, flow.qos, flow.retained));
                assert_eq!(old, None, "one row each");
            }
        }
    }
    all
}

#[test]
fn flows_are_counted_by_publisher_and_topic() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        let (q, _) = join(&mut c, Login::v5("q"));
        for round in 0..3 {
            put(&mut c, p, &Message::new("a", "12", 0));
            put(&mut c, p, &Message::new("a", "1", 1).id(1));
            put(&mut c, p, &Message::new("b", "123", 2).id(2).retained());
            put(&mut c, q, &Message::new("a", "1234", 0));
            // What a connection has counted is not lost with it.
            if round == 1 {
                c.drop_conn(q);
            }
        }
        let mut expected = BTreeMap::new();
        let key = |who: &str, topic: &str| (who.to_owned(), topic.to_owned());
        expected.insert(key("p", "a"), (6, 9, [3, 3, 0], 0));
        expected.insert(key("p", "b"), (3, 9, [0, 0, 3], 3));
        expected.insert(key("q", "a"), (2, 8, [2, 0, 0], 0));
        assert_eq!(flows(&mut c, 1), expected);
        assert_eq!(flows(&mut c, 10), BTreeMap::new(), "they were taken");
        c.set_rights(Rc::new(Rights { publish: Some("b"), ..Rights::default() }));
        put(&mut c, p, &Message::new("b", "x", 1).id(1));
        put(&mut c, p, &Message::new("a", "x", 1).id(1));
        assert_eq!(
            flows(&mut c, 10),
            BTreeMap::from([(key("p", "a"), (1, 1, [0, 1, 0], 0))]),
            "accepted ones only"
        );
    });
}

#[test]
fn a_meter_knows_what_found_nobody_and_when_it_came() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        let (s, _) = join(&mut c, Login::v5("s"));
        sub(&mut c, s, "heard", 0);
        let first = c.now;
        put(&mut c, p, &Message::new("nobody", "1234567", 0));
        c.now.mono_ms += 40;
        c.now.wall_ms += 40;
        put(&mut c, p, &Message::new("nobody", "1", 1).id(1));
        put(&mut c, p, &Message::new("heard", "12", 0));
        let (mut all, mut readings) = (Vec::new(), Vec::new());
        for shard in 0..c.shards() {
            let now = c.now;
            all.extend(c.shard(shard).take_flows(now, 10));
            readings.extend(c.shard(shard).take_readings());
        }
        all.sort_by(|a, b| a.topic.cmp(&b.topic));
        let [heard, nobody] = &all[..] else { panic!("{all:?}") };
        assert_eq!((heard.undelivered, heard.largest, heard.messages), (0, 2, 1));
        assert_eq!((nobody.undelivered, nobody.largest, nobody.messages), (2, 7, 2));
        assert_eq!((nobody.first_wall_ms, nobody.last_wall_ms), (first.wall_ms, first.wall_ms + 40));
        readings.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        let told: Vec<_> = readings.iter().map(|one| (&*one.client_id, one.packets, one.sent)).collect();
        assert_eq!(told, [("p", 3, 0), ("s", 1, 1)], "the SUBSCRIBE is a packet, too");
        for shard in 0..c.shards() {
            let now = c.now;
            assert!(!c.shard(shard).has_flows() && c.shard(shard).take_flows(now, 10).is_empty());
            assert!(c.shard(shard).take_readings().is_empty(), "told once");
        }
    });
}

#[test]
fn flows_without_a_place_are_counted_together() {
    let limits = ravelin_broker::Limits { flows_max: 2, ..Default::default() };
    let mut c = Cluster::with_limits(1, limits);
    let (p, _) = join(&mut c, Login::v5("p"));
    for topic in ["a", "b", "c", "d", "a", "d"] {
        put(&mut c, p, &Message::new(topic, "12", 0));
    }
    let found = flows(&mut c, 10);
    let messages: Vec<_> = found.iter().map(|((who, topic), row)| (&**who, &**topic, row.0, row.1)).collect();
    assert_eq!(messages, [("", "", 3, 6), ("p", "a", 2, 4), ("p", "b", 1, 2)]);
}
