//! Options of subscriptions and of connections.

use super::*;
use ravelin_mqtt::Version;

#[test]
fn a_retained_message_greets_new_subscriptions_and_is_cleared_by_an_empty_one() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("publisher"));
        put(&mut c, p, &Message::new("r/1", "old", 1).id(1).retained());
        put(&mut c, p, &Message::new("r/1", "new", 2).id(1).retained());
        put(&mut c, p, &Message::new("r/2", "two", 0).retained());
        for (name, version) in [("x", Version::V311), ("y", Version::V5)] {
            let (s, _) = join(&mut c, Login { version, ..Login::v5(name) });
            let mut got = sub(&mut c, s, "r/#", 2);
            got.extend(read(&mut c, s));
            let mut got: Vec<_> = got.iter().map(|m| (m.text(), m.retain, m.qos as u8)).collect();
            got.sort();
            assert_eq!(got, [("new", true, 2), ("two", true, 0)]);
            c.drop_conn(s);
        }
        put(&mut c, p, &Message::new("r/1", "", 1).id(1).retained());
        put(&mut c, p, &Message::new("r/2", "", 0).retained());
        let (s, _) = join(&mut c, Login::v5("late"));
        assert_eq!(sub(&mut c, s, "r/#", 2), []);
        for stats in c.stats() {
            assert_eq!((stats.retained, stats.retained_bytes), (0, 0));
        }
    });
}

#[test]
fn retain_handling_decides_about_retained_messages() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("publisher"));
        put(&mut c, p, &Message::new("r", "x", 1).id(1).retained());
        let (s, _) = join(&mut c, Login::v5("s"));
        use RetainHandling::{DoNotSend, Send, SendIfNew};
        let cases = [(DoNotSend, 0), (SendIfNew, 0), (Send, 1), (Send, 1), (DoNotSend, 0)];
        for (option, count) in cases {
            assert_eq!(sub_with(&mut c, s, None, &[("r", handling(option))]).len(), count, "{option:?}");
            read(&mut c, s);
        }
        unsub(&mut c, s, "r");
        assert_eq!(sub_with(&mut c, s, None, &[("r", handling(SendIfNew))]).len(), 1);
    });
}

#[test]
fn retain_as_published_keeps_the_flag() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("publisher"));
        let (s, _) = join(&mut c, Login::v5("s"));
        let (t, _) = join(&mut c, Login::v5("t"));
        sub_with(&mut c, s, None, &[("r", SubscribeOptions { retain_as_published: true, ..qos(1) })]);
        sub(&mut c, t, "r", 1);
        put(&mut c, p, &Message::new("r", "1", 1).id(1).retained());
        put(&mut c, p, &Message::new("r", "2", 1).id(1));
        let flags = |got: Vec<Message>| got.iter().map(|m| m.retain).collect::<Vec<_>>();
        assert_eq!(flags(read(&mut c, s)), [true, false]);
        assert_eq!(flags(read(&mut c, t)), [false, false]);
    });
}

#[test]
fn no_local_keeps_own_messages_away_but_not_those_of_other_subscriptions() {
    on_shards(|mut c| {
        let (s, _) = join(&mut c, Login::v5("s"));
        let (other, _) = join(&mut c, Login::v5("other"));
        sub_with(&mut c, s, Some(1), &[("a/+", SubscribeOptions { no_local: true, ..qos(2) })]);
        c.send(s, &publish(Version::V5, &Message::new("a/b", "own", 0)));
        assert_eq!(take(&mut c, s), []);
        put(&mut c, other, &Message::new("a/b", "other", 0));
        assert_eq!(texts(&read(&mut c, s)), ["other"]);
        sub_with(&mut c, s, Some(2), &[("a/b", qos(0))]);
        c.send(s, &publish(Version::V5, &Message::new("a/b", "own", 0)));
        let got = read(&mut c, s);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].subscription_ids, [2], "only the subscription that wants own messages");
    });
}

#[test]
fn topic_aliases_work_both_ways() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        let (s, _) = join(&mut c, Login { alias_max: 1, ..Login::v5("s") });
        sub(&mut c, s, "#", 1);
        for (topic, text) in [("long/topic", "1"), ("", "2"), ("other", "3"), ("", "4"), ("long/topic", "5")]
        {
            put(&mut c, p, &Message { alias: Some(5), ..Message::new(topic, text, 0) });
        }
        let got = read(&mut c, s);
        let topics: Vec<&str> = got.iter().map(|m| &*m.topic).collect();
        assert_eq!(topics, ["long/topic", "long/topic", "other", "other", "long/topic"]);
        let aliases: Vec<_> = got.iter().map(|m| m.alias).collect();
        assert_eq!(aliases, [Some(1), Some(1), None, None, Some(1)]);
        c.send(p, &publish(Version::V5, &Message { alias: Some(6), ..Message::new("", "x", 0) }));
        assert_eq!(take(&mut c, p), [Got::Disconnect(ReasonCode::PROTOCOL_ERROR)]);
        let (p, _) = join(&mut c, Login::v5("p"));
        c.send(p, &publish(Version::V5, &Message { alias: Some(65), ..Message::new("a", "x", 0) }));
        assert_eq!(take(&mut c, p), [Got::Disconnect(ReasonCode::TOPIC_ALIAS_INVALID)]);
    });
}

#[test]
fn receive_maximum_of_the_client_bounds_what_is_under_way() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        for login in [Login::v5("s"), Login::v5("s").kept()] {
            let (s, _) = join(&mut c, Login { receive_max: Some(2), ..login });
            sub(&mut c, s, "t", 2);
            for i in 0..6u8 {
                put(&mut c, p, &Message::new("t", &i.to_string(), 1 + i % 2).id(1));
            }
            assert_eq!(texts(&messages(take(&mut c, s))), ["0", "1"]);
            c.send(s, &ack(Version::V5, AckKind::PubAck, 1, ReasonCode::SUCCESS));
            c.send(s, &ack(Version::V5, AckKind::PubRec, 2, ReasonCode::SUCCESS));
            let got = take(&mut c, s);
            assert_eq!(texts(&messages(got.clone())), ["2"], "PUBREC does not free a place: {got:?}");
            c.send(s, &ack(Version::V5, AckKind::PubComp, 2, ReasonCode::SUCCESS));
            c.send(s, &ack(Version::V5, AckKind::PubAck, 3, ReasonCode::SUCCESS));
            assert_eq!(texts(&read(&mut c, s)), ["3", "4", "5"]);
            c.send(s, &[0xE0, 2, 0, 0]);
        }
    });
}

#[test]
fn receive_maximum_of_the_server_is_enforced() {
    on_shards(|mut c| {
        let shards = c.shards();
        c.limits.receive_max = 2;
        c.restart(shards);
        let (p, _) = join(&mut c, Login::v5("p"));
        for id in 1..4 {
            c.send(p, &publish(Version::V5, &Message::new("t", "x", 2).id(id)));
            c.settle();
        }
        let got = c.receive(p);
        assert_eq!(got.last(), Some(&Got::Disconnect(ReasonCode::RECEIVE_MAXIMUM_EXCEEDED)));
        assert!(!c.is_open(p));
    });
}

#[test]
fn what_is_larger_than_the_client_takes_is_left_out() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        for login in [Login::v5("s"), Login::v5("s").kept()] {
            let (s, _) = join(&mut c, Login { packet_bytes_max: Some(60), receive_max: Some(1), ..login });
            sub(&mut c, s, "t", 2);
            for q in 0..3u8 {
                put(&mut c, p, &Message::new("t", &"x".repeat(60), q).id(1));
                put(&mut c, p, &Message::new("t", &q.to_string(), q).id(1));
            }
            assert_eq!(texts(&read(&mut c, s)), ["0", "1", "2"]);
            c.send(s, &[0xE0, 2, 0, 0]);
        }
    });
}

#[test]
fn a_disconnect_is_no_larger_than_the_client_takes() {
    on_shards(|mut c| {
        let (s, _) = join(&mut c, Login { packet_bytes_max: Some(30), ..Login::v5("s") });
        c.send_frame(s, 0x30, &[0, 200, 1]);
        let mut raw = take(&mut c, s);
        assert_eq!(raw.pop(), Some(Got::Disconnect(ReasonCode::MALFORMED_PACKET)));
        assert!(c.largest_packet(s) <= 30, "MQTT-3.14.2-3: {} bytes", c.largest_packet(s));
    });
}
