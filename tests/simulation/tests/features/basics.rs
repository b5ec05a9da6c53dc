//! Connecting, subscribing, and messages to those who are connected.

use super::*;
use ravelin_mqtt::Version;

#[test]
fn both_versions_connect_and_ping() {
    on_shards(|mut c| {
        for login in [Login::v311("a"), Login::v5("b")] {
            let (conn, present) = join(&mut c, login);
            assert!(!present);
            c.send(conn, &[0xC0, 0]);
            assert_eq!(take(&mut c, conn), [Got::PingResp]);
            c.send(conn, &[0xE0, 0]);
            assert!(!c.is_open(conn));
        }
        assert_empty(&mut c);
    });
}

#[test]
fn every_qos_reaches_both_versions_at_the_lower_of_both() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("publisher"));
        for (name, version) in [("x", Version::V311), ("y", Version::V5)] {
            for granted in 0..3u8 {
                let id = format!("{name}{granted}");
                let (s, _) = join(&mut c, Login { version, ..Login::v5(&id) });
                sub(&mut c, s, "t/+", granted);
                for sent in 0..3u8 {
                    put(&mut c, p, &Message::new("t/1", "hello", sent).id(7));
                    let got = read(&mut c, s);
                    assert_eq!(got.len(), 1, "{got:?}");
                    assert_eq!(got[0].qos as u8, sent.min(granted));
                    assert_eq!((got[0].text(), &*got[0].topic), ("hello", "t/1"));
                    assert!(!got[0].retain && !got[0].dup);
                }
                c.drop_conn(s);
            }
        }
        c.drop_conn(p);
        assert_empty(&mut c);
    });
}

#[test]
fn a_publish_tells_that_nobody_wants_it() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("publisher"));
        let reason = put(&mut c, p, &Message::new("t", "x", 1).id(1));
        assert_eq!(reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
        let (s, _) = join(&mut c, Login::v5("subscriber"));
        sub(&mut c, s, "t", 0);
        assert_eq!(put(&mut c, p, &Message::new("t", "x", 2).id(1)), ReasonCode::SUCCESS);
        read(&mut c, s);
        assert_eq!(unsub(&mut c, s, "t"), 0);
        assert_eq!(unsub(&mut c, s, "t"), ReasonCode::NO_SUBSCRIPTION_EXISTED.0);
        let reason = put(&mut c, p, &Message::new("t", "x", 1).id(1));
        assert_eq!(reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
    });
}

#[test]
fn wildcards_match_and_dollar_topics_stay_hidden() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("publisher"));
        let (s, _) = join(&mut c, Login::v311("subscriber"));
        for filter in ["#", "+/b", "a/#", "/+", "$data/#"] {
            sub(&mut c, s, filter, 1);
            let mut all = Vec::new();
            for topic in ["a", "a/b", "/b", "$data/x", "a/b/c"] {
                put(&mut c, p, &Message::new(topic, topic, 0));
            }
            all.extend(read(&mut c, s));
            let expected: &[&str] = match filter {
                "#" => &["a", "a/b", "/b", "a/b/c"],
                "+/b" => &["a/b", "/b"],
                "a/#" => &["a", "a/b", "a/b/c"],
                "/+" => &["/b"],
                _ => &["$data/x"],
            };
            assert_eq!(texts(&all), expected, "{filter}");
            unsub(&mut c, s, filter);
        }
    });
}

#[test]
fn overlapping_subscriptions_give_one_copy_with_all_identifiers_and_the_highest_qos() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("publisher"));
        let (s, _) = join(&mut c, Login::v5("subscriber"));
        sub_with(&mut c, s, Some(3), &[("a/b", qos(0))]);
        sub_with(&mut c, s, Some(300_000), &[("a/+", qos(2))]);
        sub_with(&mut c, s, None, &[("a/#", qos(1))]);
        put(&mut c, p, &Message::new("a/b", "x", 2).id(4));
        let got = read(&mut c, s);
        assert_eq!(got.len(), 1);
        let mut ids = got[0].subscription_ids.clone();
        ids.sort();
        assert_eq!((ids, got[0].qos as u8), (vec![3, 300_000], 2));
    });
}

#[test]
fn subscribing_again_replaces_the_options() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("publisher"));
        let (s, _) = join(&mut c, Login::v5("subscriber"));
        sub_with(&mut c, s, Some(1), &[("a", qos(2))]);
        sub_with(&mut c, s, Some(2), &[("a", qos(1))]);
        put(&mut c, p, &Message::new("a", "x", 2).id(4));
        let got = read(&mut c, s);
        assert_eq!(got.len(), 1);
        assert_eq!((&got[0].subscription_ids[..], got[0].qos as u8), (&[2][..], 1));
    });
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("publisher"));
        let members: Vec<Conn> = (0..4).map(|i| join(&mut c, Login::v5(&format!("m{i}"))).0).collect();
        for &member in &members {
            sub_with(&mut c, member, Some(9), &[("$share/g/t/#", qos(1))]);
        }
        for i in 0..40u8 {
            put(&mut c, p, &Message::new("t/1", &i.to_string(), i % 3).id(9));
        }
        let mut all = Vec::new();
        for &member in &members {
            let got = read(&mut c, member);
            assert!(got.iter().all(|m| m.subscription_ids == [9]));
            assert!(got.len() >= 5, "the load is spread: {}", got.len());
            all.extend(got);
        }
        let mut texts: Vec<u8> = all.iter().map(|m| m.text().parse().unwrap()).collect();
        texts.sort();
        assert_eq!(texts, (0..40).collect::<Vec<u8>>());
        for &member in &members[1..] {
            c.drop_conn(member);
        }
        put(&mut c, p, &Message::new("t/1", "last", 1).id(9));
        assert_eq!(texts_of(&mut c, members[0]), ["last"]);
        assert_eq!(unsub(&mut c, members[0], "$share/g/t/#"), 0);
        c.drop_conn(members[0]);
        c.drop_conn(p);
        assert_empty(&mut c);
    });
}

fn texts_of(c: &mut Cluster, conn: Conn) -> Vec<String> {
    read(c, conn).iter().map(|m| m.text().to_owned()).collect()
}

#[test]
fn large_payloads_and_small_ones_keep_their_order() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("publisher"));
        let (s, _) = join(&mut c, Login::v311("subscriber"));
        sub(&mut c, s, "t", 1);
        let payloads: Vec<String> = (0..6).map(|i| i.to_string().repeat(1 + i % 2 * 9_000)).collect();
        for payload in &payloads {
            put(&mut c, p, &Message::new("t", payload, 1).id(1));
        }
        assert_eq!(texts_of(&mut c, s), payloads);
    });
}

#[test]
fn a_second_connect_and_a_packet_for_clients_end_the_connection() {
    on_shards(|mut c| {
        let (a, _) = join(&mut c, Login::v5("a"));
        c.send(a, &Login::v5("a").encode());
        assert_eq!(take(&mut c, a), [Got::Disconnect(ReasonCode::PROTOCOL_ERROR)]);
        assert!(!c.is_open(a));
        let (b, _) = join(&mut c, Login::v311("b"));
        c.send_frame(b, 0xD0, &[]);
        assert_eq!(take(&mut c, b), []);
        assert!(!c.is_open(b));
    });
}

#[test]
fn access_rules_hold_for_publishing_subscribing_and_receiving() {
    on_shards(|mut c| {
        c.rights = Rc::new(Rights {
            publish: Some("secret"),
            subscribe: Some("hidden"),
            receive: Some("private"),
            ..Rights::default()
        });
        let shards = c.shards();
        c.restart(shards);
        let (p, _) = join(&mut c, Login::v5("p"));
        let (s, _) = join(&mut c, Login::v5("s"));
        sub(&mut c, s, "#", 1);
        c.send(s, &subscribe(Version::V5, 5, None, &[("hidden/#", qos(1)), ("a", qos(1))]));
        let refused = Got::SubAck { id: 5, reasons: vec![ReasonCode::NOT_AUTHORIZED.0, 1] };
        assert_eq!(take(&mut c, s), [refused]);
        let reason = put(&mut c, p, &Message::new("secret/x", "no", 2).id(1));
        assert_eq!(reason, ReasonCode::NOT_AUTHORIZED);
        put(&mut c, p, &Message::new("private/x", "no", 1).id(1));
        put(&mut c, p, &Message::new("$SYS/x", "no", 1).id(1));
        put(&mut c, p, &Message::new("a", "yes", 1).id(1));
        assert_eq!(texts(&read(&mut c, s)), ["yes"]);
    });
}
